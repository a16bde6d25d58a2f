//! Each worker over time: what it was busy with, and its CPU. A slot is where one worker follows another.

use migration::Phase;
use migration::report::{JobReport, Samples};

use super::{TimeAxis, steps};
use crate::figures::show;
use crate::html::{Figure, phase_legend};
use crate::job::timeline::{Step, Timeline};
use crate::markup::Element;
use crate::svg::{Anchor, Room, Scale, Words, area, curve, label, left_axis, line, picture};

/// More slots than that would be stripes.
const MOST_SLOTS: usize = 24;

/// What each worker was busy with; nothing without samples.
pub fn workers(report: &JobReport, timeline: &Timeline<'_>, samples: &Samples) -> Option<Element> {
    if samples.is_empty() || timeline.slots == 0 {
        return None;
    }
    let slots = timeline.slots.min(MOST_SLOTS);
    let sentence = match timeline.slots > slots {
        true => format!("The first {slots} of {} slots; a slot is where one worker process follows another.", timeline.slots),
        false => format!("{slots} slots; a slot is where one worker process follows another."),
    };
    let draw = |room: Room| {
        let (left, right, top, height) = (if room == Room::Wide { 60.0 } else { 24.0 }, room.width() - 8.0, 6.0, 34.0);
        let bottom = top + slots as f64 * height;
        let axis = TimeAxis::new(timeline, left, right);
        let mut marks = axis.draw(room, top, bottom);
        for slot in 0..slots {
            let y = top + slot as f64 * height + 3.0;
            let name = if room == Room::Wide { format!("slot {}", slot + 1) } else { (slot + 1).to_string() };
            marks.push(label("", left - 8.0, y + 14.0, Anchor::End, &name));
            let steps = timeline.steps(samples, Some(slot), steps(room));
            marks.extend(strip(&steps, timeline.length_ms, &axis, (y, y + height - 6.0)));
        }
        marks.extend(axis.seams(timeline, top, bottom));
        let words = Words { id: format!("workers-{}", room.name()), title: "Phases of each worker", description: &sentence };
        picture(&words, room.name(), room.width(), bottom + 38.0, marks)
    };
    let total = report.work.phases.total().max(1) as f64;
    let figure = Figure {
        id: "workers",
        title: "What each worker was busy with",
        sentence: &sentence,
        reading: "Each strip is one slot over time, from top to bottom the phases in the order of the legend; empty where no worker sat.",
        legend: Some(phase_legend(|phase| report.work.phases.get(phase) as f64 / total >= 0.0005)),
    };
    Some(figure.drawn(draw))
}

/// One area for each phase, of a column for each step.
fn strip(steps: &[Step], length_ms: f64, axis: &TimeAxis, (top, bottom): (f64, f64)) -> Vec<Element> {
    let width = length_ms / steps.len() as f64;
    let mut paths = vec![String::new(); Phase::ALL.len()];
    for (i, step) in steps.iter().enumerate() {
        let (from, to) = (axis.at(i as f64 * width), axis.at((i + 1) as f64 * width));
        // A step that the worker did not fill leaves the rest of its height free.
        let mut y = top;
        for (path, time) in paths.iter_mut().zip(step.phases) {
            let height = (bottom - top) * (time / width).min(1.0);
            if height >= 0.2 {
                *path += &format!("M{from:.1} {y:.1}H{to:.1}V{:.1}H{from:.1}z", y + height);
                y += height;
            }
        }
    }
    let ground = area("band", (axis.at(0.0), top), (axis.at(length_ms), bottom));
    let drawn = Phase::ALL.into_iter().zip(paths).filter(|(_, path)| !path.is_empty());
    let marks = drawn.map(|(phase, path)| {
        let mark = Element::of_class("path", "mark").set("d", path).set("fill", format!("var(--{})", phase.name()));
        mark.with(Element::new("title").text(phase.name()))
    });
    [ground].into_iter().chain(marks).collect()
}

/// CPU of each worker, a small picture each, on one scale; nothing without samples.
pub fn cpu(report: &JobReport, timeline: &Timeline<'_>, samples: &Samples) -> Option<Element> {
    const COLUMNS: usize = 60;
    let slots: Vec<Vec<Step>> =
        (0..timeline.slots.min(MOST_SLOTS)).map(|slot| timeline.steps(samples, Some(slot), COLUMNS)).collect();
    let width = timeline.length_ms / COLUMNS as f64;
    let cores = |step: &Step| step.cpu_ms / width;
    let most = slots.iter().flatten().map(cores).reduce(f64::max).filter(|most| *most > 0.0)?;
    let seconds = |us: u64| show(us as f64 / 1e6);
    let sentence = format!(
        "The workers used {} s of CPU, the supervisor {} s.",
        seconds(report.cpu_workers_us),
        seconds(report.cpu_supervisor_us)
    );
    let pictures = slots.iter().enumerate().map(|(slot, steps)| {
        let values: Vec<f64> = steps.iter().map(cores).collect();
        let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
        let words = Words {
            id: format!("cpu-{slot}"),
            title: &format!("slot {}", slot + 1),
            description: &format!("{} cores on average over the whole time", show(mean)),
        };
        panel(timeline, &words, &values, most)
    });
    let figure = Figure {
        id: "cpu",
        title: "CPU of each worker",
        sentence: &sentence,
        reading: "Cores in use, the Kafka client's threads included.",
        legend: None,
    };
    Some(figure.holding([Element::of_class("div", "panels").with_all(pictures)]))
}

fn panel(timeline: &Timeline<'_>, words: &Words<'_>, values: &[f64], most: f64) -> Element {
    let (width, height) = (180.0, 116.0);
    let (left, right, top, bottom) = (26.0, width - 4.0, 24.0, height - 20.0);
    let axis = TimeAxis::new(timeline, left, right);
    let up = Scale::from_zero(most, (bottom, top), 2);
    let mut marks = left_axis(&up, &up.ticks(2), left, right, "");
    marks.push(label("strong", 0.0, 6.0, Anchor::Start, words.title));
    marks.push(line("base", (left, bottom), (right, bottom)));
    for (at, text) in axis.scale.ticks(3) {
        marks.push(label("tick", axis.scale.at(at), bottom + 11.0, Anchor::Middle, &text));
    }
    let step = timeline.length_ms / values.len() as f64;
    let points: Vec<(f64, f64)> =
        values.iter().enumerate().map(|(i, cores)| (axis.at((i as f64 + 0.5) * step), up.at(*cores))).collect();
    let below: Vec<(f64, f64)> =
        [&[(points[0].0, bottom)], points.as_slice(), &[(points[points.len() - 1].0, bottom)]].concat();
    marks.push(curve("fill", &below).set("fill", "var(--s5)"));
    marks.push(curve("mark curve", &points).set("stroke", "var(--s5)"));
    picture(words, "panel", width, height, marks)
}
