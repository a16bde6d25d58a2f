//! Phases as areas: each has a colour and a hatch that are the same in all pictures.

use migration::Phase;

use super::Numbers;
use crate::figures::show_percent;
use crate::markup::Element;
use crate::svg::{Hatch, area, chip, hatch, text_width};

fn kind(phase: Phase) -> Hatch {
    match phase {
        Phase::Start => Hatch::Sparse,
        Phase::Read => Hatch::Dots,
        Phase::Outside => Hatch::Plain,
        Phase::Map => Hatch::Across,
        Phase::Enqueue => Hatch::Down,
        Phase::Wait => Hatch::Falling,
        Phase::Flush => Hatch::Rising,
        Phase::Throttled => Hatch::Crossed,
        Phase::Commit => Hatch::Dots,
        Phase::Other => Hatch::Plain,
    }
}

/// What a phase means, for those who read a report for the first time.
fn meaning(phase: Phase) -> &'static str {
    match phase {
        Phase::Start => "start: source, client, first metadata",
        Phase::Read => "read: reading and decompressing, other CPU",
        Phase::Outside => "outside: waits of the source, other waits of a record",
        Phase::Map => "map: lines, keys, lanes",
        Phase::Enqueue => "enqueue: handing over to the client",
        Phase::Wait => "wait: in_flight is full",
        Phase::Flush => "flush: waiting for delivery reports",
        Phase::Throttled => "throttled: rate limit or pause",
        Phase::Commit => "commit: writing the position down",
        Phase::Other => "other: heartbeats, control, waiting for its turn",
    }
}

/// An area of a phase: its colour, and its hatch on top.
pub fn phase_area(phase: Phase, from: (f64, f64), to: (f64, f64)) -> (Element, Option<Element>) {
    (area("edge", from, to).set("fill", format!("var(--{})", phase.name())), hatch(kind(phase), from, to))
}

/// What the areas mean; only the phases that took time.
pub fn legend(shown: impl Fn(Phase) -> bool) -> Element {
    let items = Phase::ALL.into_iter().filter(|phase| shown(*phase)).map(|phase| {
        let (ground, lines) = phase_area(phase, (0.0, 0.0), (26.0, 14.0));
        let picture = Element::new("svg").set("viewBox", "0 0 26 14").set("aria-hidden", "true").with(ground).with_all(lines);
        Element::new("li").with(picture).text(meaning(phase))
    });
    Element::of_class("ul", "legend").with_all(items)
}

/// One line of stacked areas: the phases at `path` (an object of milliseconds by phase) as parts of their sum.
pub fn stack(numbers: &Numbers<'_>, path: &str, name: &str, left: f64, right: f64, top: f64, bottom: f64) -> Vec<Element> {
    let times = Phase::ALL.map(|phase| (phase, format!("{path}.{}", phase.name())));
    let times = times.map(|(phase, path)| (phase, numbers.get(&path).unwrap_or(0.0), path));
    let total: f64 = times.iter().map(|(_, time, _)| time).sum();
    let (mut out, mut from) = (Vec::new(), left);
    for (phase, time, path) in times.iter().filter(|(_, time, _)| *time > 0.0) {
        let to = from + (right - left) * time / total;
        let text = format!("{} %", show_percent(time / total));
        if to - from >= 0.3 {
            let words = Element::new("title").text(&format!("{name}: {} {text}", phase.name()));
            let (ground, lines) = phase_area(*phase, (from, top), (to, bottom));
            let mark = numbers.mark(ground, path).with(words);
            out.push(Element::of_class("g", "mark").with(mark).with_all(lines));
        }
        if to - from > text_width(&text) + 8.0 {
            out.extend(chip((from + to) / 2.0, (top + bottom) / 2.0, &text));
        }
        from = to;
    }
    out
}
