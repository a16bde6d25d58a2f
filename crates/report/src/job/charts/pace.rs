//! Records a second over time, with what happened; and what the workers were busy with.

use migration::report::{JobReport, Samples};
use migration::{Phase, units::show_count};

use super::{TimeAxis, steps};
use crate::figures::{show, show_percent};
use crate::html::{Figure, phase_area, phase_legend};
use crate::job::timeline::{Step, Timeline};
use crate::markup::Element;
use crate::svg::{Anchor, Room, Scale, Words, apart, curve, label, left_axis, line, picture};

/// Events that get a line of their own in the picture; the page lists all.
const MOST_EVENTS: usize = 20;

/// Records a second; nothing without samples.
pub fn rate(report: &JobReport, timeline: &Timeline<'_>, samples: &Samples) -> Option<Element> {
    let steps_of = |room: Room| timeline.steps(samples, None, steps(room));
    if steps_of(Room::Wide).iter().all(|step| step.acknowledged <= 0.0) {
        return None;
    }
    let mean = report.per_second(|here| here.acknowledged)?;
    let sentence = format!("{} records a second over the whole time.", show(mean));
    let draw = |room: Room| {
        let steps = steps_of(room);
        let width = timeline.length_ms / steps.len() as f64;
        let rates: Vec<f64> = steps.iter().map(|step| step.acknowledged * 1000.0 / width).collect();
        let (left, right, top, bottom) = (52.0, room.width() - 8.0, 44.0, if room == Room::Wide { 250.0 } else { 220.0 });
        let axis = TimeAxis::new(timeline, left, right);
        let up = Scale::from_zero(rates.iter().copied().fold(0.0, f64::max), (bottom, top), 4);
        let mut marks = axis.draw(room, top, bottom);
        marks.extend(left_axis(&up, &up.ticks(4), left, right, "records a second"));
        marks.extend(axis.seams(timeline, top, bottom));
        marks.extend(events(timeline, &axis, top, bottom, (left, right)));
        let points = stairs(&rates, width, |ms| axis.at(ms), |rate| up.at(rate));
        let mut below = points.clone();
        below.extend([(right, bottom), (left, bottom)]);
        marks.push(curve("fill", &below).set("fill", "var(--s5)"));
        marks.push(curve("mark curve", &points).set("stroke", "var(--s5)"));
        let words = Words { id: format!("rate-{}", room.name()), title: "Rate over time", description: &sentence };
        picture(&words, room.name(), room.width(), bottom + 38.0, marks)
    };
    let figure = Figure {
        id: "rate",
        title: "How fast it went",
        sentence: &sentence,
        reading: "Records acknowledged a second, all workers together. Numbered lines: what happened, listed below under the same number.",
        legend: None,
    };
    Some(figure.drawn(draw))
}

/// A line that stays level during each step.
fn stairs(values: &[f64], width: f64, x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
    let level = |(i, value): (usize, &f64)| [(x(i as f64 * width), y(*value)), (x((i + 1) as f64 * width), y(*value))];
    values.iter().enumerate().flat_map(level).collect()
}

fn events(timeline: &Timeline<'_>, axis: &TimeAxis, top: f64, bottom: f64, room: (f64, f64)) -> Vec<Element> {
    let shown = &timeline.events[timeline.events.len().saturating_sub(MOST_EVENTS)..];
    let places: Vec<f64> = shown.iter().map(|(at, _)| axis.at(*at)).collect();
    let labels = apart(&places, 16.0, (room.0 + 8.0, room.1));
    let pairs = shown.iter().zip(places.into_iter().zip(labels));
    let draw = |((_, index), (x, place)): (&(f64, usize), (f64, f64))| {
        let number = label("strong", place, top - 18.0, Anchor::Middle, &(index + 1).to_string());
        [line("event", (x, top), (x, bottom)), line("leader", (x, top), (place, top - 10.0)), number]
    };
    pairs.flat_map(draw).collect()
}

/// What all workers were busy with, over time; nothing without samples.
pub fn phases(report: &JobReport, timeline: &Timeline<'_>, samples: &Samples) -> Option<Element> {
    let total = report.work.phases.total();
    if total == 0 || samples.is_empty() {
        return None;
    }
    let share = |phase: Phase| report.work.phases.get(phase) as f64 / total as f64;
    let top = Phase::ALL.into_iter().max_by(|a, b| share(*a).total_cmp(&share(*b)))?;
    let sentence = format!(
        "{} % of the workers' time is {}; {} attempts worked, {} at once at most.",
        show_percent(share(top)),
        top.name(),
        show_count(timeline.attempts.len() as u64),
        timeline.slots
    );
    let draw = |room: Room| {
        let steps = timeline.steps(samples, None, if room == Room::Wide { 60 } else { 30 });
        let width = timeline.length_ms / steps.len() as f64;
        let busy = |step: &Step| step.phases.iter().sum::<f64>() / width;
        let (left, right, top, bottom) = (34.0, room.width() - 8.0, 34.0, if room == Room::Wide { 260.0 } else { 230.0 });
        let axis = TimeAxis::new(timeline, left, right);
        let up = Scale::from_zero(steps.iter().map(busy).fold(0.0, f64::max), (bottom, top), 4);
        let mut marks = axis.draw(room, top, bottom);
        marks.extend(left_axis(&up, &up.ticks(4), left, right, "workers"));
        for (i, step) in steps.iter().enumerate() {
            let (from, to) = (axis.at(i as f64 * width), axis.at((i + 1) as f64 * width));
            marks.extend(column(step, width, (from, to), &up));
        }
        marks.extend(axis.seams(timeline, top, bottom));
        let words = Words { id: format!("phases-{}", room.name()), title: "Phases over time", description: &sentence };
        picture(&words, room.name(), room.width(), bottom + 38.0, marks)
    };
    let figure = Figure {
        id: "phases",
        title: "What the workers were busy with",
        sentence: &sentence,
        reading: "The height is the number of workers at work; each area the part of them that a phase takes.",
        legend: Some(phase_legend(|phase| share(phase) >= 0.0005)),
    };
    Some(figure.drawn(draw))
}

fn column(step: &Step, width: f64, (from, to): (f64, f64), up: &Scale) -> Vec<Element> {
    let (mut out, mut base) = (Vec::new(), 0.0);
    for (phase, time) in Phase::ALL.into_iter().zip(step.phases) {
        let part = time / width;
        let (low, high) = (up.at(base), up.at(base + part));
        if low - high >= 0.3 {
            let title = Element::new("title").text(&format!("{}: {} workers", phase.name(), show(part)));
            let (ground, hatch) = phase_area(phase, (from, high), (to, low));
            out.push(Element::of_class("g", "mark").with(ground.with(title)).with_all(hatch));
        }
        base += part;
    }
    out
}
