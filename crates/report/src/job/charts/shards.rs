//! Shards over time: a bar for each attempt, and how it ended.

use std::time::Duration;

use migration::report::{AttemptOutcome, AttemptReport, JobReport};
use migration::units::{show_count, show_duration};

use super::TimeAxis;
use crate::html::{Figure, Numbers};
use crate::job::timeline::{Placed, Timeline};
use crate::markup::Element;
use crate::svg::{Anchor, Hatch, Room, Words, area, hatch, label, marker, picture};

/// With more shards a row is a slot.
const MOST_SHARDS: usize = 40;
/// More bars than that are not drawn: the troubled ones first, then the longest.
const MOST_BARS: usize = 1_500;

/// The picture; nothing without an attempt.
pub fn figure(report: &JobReport, timeline: &Timeline<'_>, numbers: &Numbers<'_>) -> Option<Element> {
    if timeline.attempts.is_empty() || timeline.length_ms <= 0.0 {
        return None;
    }
    let by_shard = report.shard_reports.len() <= MOST_SHARDS;
    let rows = if by_shard { report.shard_reports.len() } else { timeline.slots };
    let mut shown: Vec<&Placed<'_>> = timeline.attempts.iter().collect();
    shown.sort_by_key(|placed| (!troubled(placed.report), std::cmp::Reverse(placed.report.elapsed_us)));
    let left_out = shown.len().saturating_sub(MOST_BARS);
    shown.truncate(MOST_BARS);
    let sentence = sentence(report, left_out);
    let draw = |room: Room| {
        let (left, right, top) = (if room == Room::Wide { 74.0 } else { 28.0 }, room.width() - 12.0, 6.0);
        let height = if rows <= 24 { 24.0 } else { 15.0 };
        let bottom = top + rows as f64 * height + 2.0;
        let axis = TimeAxis::new(timeline, left, right);
        let mut marks = axis.draw(room, top, bottom);
        for row in 0..rows {
            let name = match (by_shard, room) {
                (true, Room::Wide) => format!("shard {row}"),
                (false, Room::Wide) => format!("slot {}", row + 1),
                (_, Room::Narrow) => (row + usize::from(!by_shard)).to_string(),
            };
            marks.push(label("tick", left - 8.0, top + (row as f64 + 0.5) * height, Anchor::End, &name));
        }
        for placed in &shown {
            let row = if by_shard { placed.report.shard.0 as usize } else { placed.slot };
            let y = top + row as f64 * height;
            marks.push(bar(numbers, placed, &axis, (y + 3.0, y + height - 3.0)));
        }
        marks.extend(axis.seams(timeline, top, bottom));
        let words = Words { id: format!("shards-{}", room.name()), title: "Attempts over time", description: &sentence };
        picture(&words, room.name(), room.width(), bottom + 38.0, marks)
    };
    let figure = Figure {
        id: "shards",
        title: if by_shard { "Shards over time" } else { "Attempts over time" },
        sentence: &sentence,
        reading: "A bar for each attempt; the mark at its end says how it ended. Hover for the reason; the table below has it too.",
        legend: Some(legend(report)),
    };
    Some(figure.drawn(draw))
}

fn sentence(report: &JobReport, left_out: usize) -> String {
    let troubled = report.attempts.iter().filter(|attempt| troubled(attempt)).count();
    let shards = show_count(report.shards.total);
    let mut out = match troubled {
        0 => format!("{shards} shards in {} attempts; none ended badly.", show_count(report.attempts.len() as u64)),
        n => format!("{shards} shards in {} attempts; {n} ended badly.", show_count(report.attempts.len() as u64)),
    };
    if left_out > 0 {
        out += &format!(" {} short ones are not drawn.", show_count(left_out as u64));
    }
    out
}

/// Whether it needs a look.
pub fn troubled(attempt: &AttemptReport) -> bool {
    !matches!(attempt.outcome, AttemptOutcome::Finished | AttemptOutcome::Drained | AttemptOutcome::Running)
}

/// Marker and colour of an outcome.
fn look(outcome: AttemptOutcome) -> (usize, &'static str) {
    match outcome {
        AttemptOutcome::Finished => (0, "var(--good)"),
        AttemptOutcome::Running => (2, "var(--accent)"),
        AttemptOutcome::Drained => (1, "var(--soft)"),
        AttemptOutcome::Stopped => (6, "var(--soft)"),
        AttemptOutcome::Unreachable | AttemptOutcome::Fenced => (4, "var(--bad)"),
        AttemptOutcome::Orphaned | AttemptOutcome::Unreadable | AttemptOutcome::Refused => (3, "var(--bad)"),
        AttemptOutcome::Died => (5, "var(--bad)"),
    }
}

fn mark(outcome: AttemptOutcome, x: f64, y: f64) -> Element {
    let (shape, colour) = look(outcome);
    let mark = marker(shape, x, y, 4.5).set("fill", colour).set("class", "edge");
    // A plus that stands on its arms is a cross: the sign of a death.
    if outcome == AttemptOutcome::Died { mark.set("transform", format!("rotate(45 {x:.1} {y:.1})")) } else { mark }
}

fn bar(numbers: &Numbers<'_>, placed: &Placed<'_>, axis: &TimeAxis, (top, bottom): (f64, f64)) -> Element {
    let attempt = placed.report;
    let (from, to) = (axis.at(placed.span.0), axis.at(placed.span.1).max(axis.at(placed.span.0) + 1.0));
    let (_, colour) = look(attempt.outcome);
    let took = show_duration(Duration::from_micros(attempt.elapsed_us));
    let mut words = format!(
        "shard {}, attempt {} of run {}: {} after {took}, {} records",
        attempt.shard,
        attempt.number,
        attempt.run,
        attempt.outcome.name(),
        show_count(attempt.counts.acknowledged)
    );
    if !attempt.reason.is_empty() {
        words += &format!(": {}", attempt.reason);
    }
    let ground = area("attempt", (from, top), (to, bottom)).set("fill", colour);
    let ground = numbers.mark(ground, &format!("attempts.{}.elapsed_ms", placed.index));
    let lines = troubled(attempt).then(|| hatch(Hatch::Crossed, (from, top), (to, bottom))).flatten();
    Element::of_class("g", "mark").with(Element::new("title").text(&words)).with(ground).with_all(lines).with(mark(
        attempt.outcome,
        to,
        (top + bottom) / 2.0,
    ))
}

/// What the marks mean; only those that occur.
fn legend(report: &JobReport) -> Element {
    let occurs = |outcome: &AttemptOutcome| report.attempts.iter().any(|attempt| attempt.outcome == *outcome);
    let items = AttemptOutcome::ALL.into_iter().filter(occurs).map(|outcome| {
        let svg = Element::new("svg").set("viewBox", "0 0 26 14").set("aria-hidden", "true").with(mark(outcome, 13.0, 7.0));
        Element::new("li").with(svg).text(outcome.name())
    });
    Element::of_class("ul", "legend").with_all(items)
}
