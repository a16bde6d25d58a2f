//! Relative speed over the number of workers, against the ideal.

use std::collections::BTreeMap;

use migration::job::FlushPolicy;
use report::figures::show_speed;
use report::html::{Figure, Numbers};
use report::markup::Element;
use report::svg::{Anchor, Room, Scale, Words, apart, bottom_axis, curve, dash, label, left_axis, line, marker, picture};

use super::{colour, series};
use crate::figures::{Comparison, Setting, Variant};
use crate::pages::rows;

/// A line: a variant whose workers' number varies.
struct VariantLine {
    variant: Variant,
    flush: FlushPolicy,
    name: String,
    /// Workers, relative speed, and where it is in the JSON.
    points: Vec<(f64, f64, String)>,
}

/// The picture; nothing without a variant that ran with two numbers of workers.
pub fn figure(comparison: &Comparison, numbers: &Numbers<'_>) -> Option<Element> {
    let all = lines(comparison, numbers);
    let points = || all.iter().flat_map(|line| &line.points);
    let workers = points().map(|point| point.0).reduce(f64::max)?;
    // The rounds' whole range, not the medians alone.
    let ends = |end: usize| points().flat_map(move |(_, speed, path)| [Some(*speed), range_end(numbers, path, end)]).flatten();
    let (least, speed) = (ends(0).reduce(f64::min)?, ends(1).reduce(f64::max)?);
    let sentence = sentence(comparison, &all);
    let draw = |room: Room| {
        let names = all.iter().map(|line| line.name.chars().count()).max().unwrap_or(0) as f64 * 6.6;
        let (left, top) = (44.0, 34.0);
        let (right, bottom) = match room {
            Room::Wide => (room.width() - names.min(240.0) - 90.0, 400.0),
            Room::Narrow => (room.width() - 92.0, 340.0),
        };
        // Both axes by factors: the ideal is a straight line, and 1 to 2 is as wide as 16 to 32.
        let along = Scale::log((1.0, workers), (left + 10.0, right));
        let up = Scale::log_around(least.min(1.0), speed.max(workers), (bottom, top));
        let mut marks = bottom_axis(&along, &worker_ticks(&all), top, bottom, "workers");
        marks.push(line("grid", (left, top), (left, bottom)));
        marks.extend(left_axis(&up, &up.ticks(room.ticks()), left, right, "times as fast as the reference"));
        marks.push(line("ideal", (along.at(1.0), up.at(1.0)), (along.at(workers), up.at(workers))));
        let mut ends: Vec<(f64, f64, String)> = vec![(along.at(workers), up.at(workers), "ideal".into())];
        for line in &all {
            marks.extend(one(numbers, line, &along, &up));
            if let Some((n, speed, _)) = line.points.last() {
                let name = if room == Room::Wide {
                    format!("{} {}", line.name, show_speed(*speed))
                } else {
                    short(&line.name).to_owned()
                };
                ends.push((along.at(*n), up.at(*speed), name));
            }
        }
        marks.extend(end_labels(&ends, right, (top, bottom)));
        let words = Words { id: format!("scaling-{}", room.name()), title: "Scaling", description: &sentence };
        picture(&words, room.name(), room.width(), bottom + 38.0, marks)
    };
    let figure = Figure {
        id: "scaling",
        title: "What more workers bring",
        sentence: &sentence,
        reading: "Dotted: the ideal, n workers n times as fast. Marks: medians; vertical lines: from the least to the greatest round. Both \
                  scales are logarithmic.",
        legend: None,
    };
    Some(figure.drawn(draw))
}

/// What the fastest line comes to that flushes as the reference does: for any other the ideal is not n times the
/// reference.
fn sentence(comparison: &Comparison, all: &[VariantLine]) -> String {
    let of_reference = comparison.reference.map(|reference| comparison.settings[reference as usize].flush);
    let alike = all.iter().filter(|line| Some(line.flush) == of_reference);
    let best = alike.filter_map(|line| Some((line, line.points.last()?))).max_by(|a, b| a.1.1.total_cmp(&b.1.1));
    best.map_or_else(String::new, |(line, (workers, speed, _))| {
        format!(
            "{} with {} workers is {} times as fast as the reference: {} % of the ideal.",
            line.name,
            show_whole(*workers),
            show_speed(*speed),
            (speed / workers * 100.0).round()
        )
    })
}

/// Variants with two numbers of workers or more; another flush or producer makes another line.
fn lines(comparison: &Comparison, numbers: &Numbers<'_>) -> Vec<VariantLine> {
    let mut found: BTreeMap<(usize, String), VariantLine> = BTreeMap::new();
    for (i, (setting, _)) in rows(comparison).enumerate() {
        let path = format!("results.{i}");
        let Some(speed) = numbers.get(&format!("{path}.relative_speed")).filter(|speed| *speed > 0.0) else { continue };
        let name = name(comparison, setting);
        let line = found.entry((series(setting.variant), name.clone())).or_insert_with(|| VariantLine {
            variant: setting.variant,
            flush: setting.flush,
            name,
            points: Vec::new(),
        });
        line.points.push((f64::from(setting.workers), speed, path));
    }
    let mut all: Vec<VariantLine> = found.into_values().filter(|line| line.points.len() > 1).collect();
    all.iter_mut().for_each(|line| line.points.sort_by(|a, b| a.0.total_cmp(&b.0)));
    all
}

/// A setting's label without its number of workers.
fn name(comparison: &Comparison, setting: &Setting) -> String {
    crate::pages::label(comparison, setting).replacen(&format!(" × {}", setting.workers), "", 1)
}

/// What fits beside a narrow picture.
fn short(name: &str) -> &str {
    name.strip_prefix("green-").unwrap_or(name).split(',').next().unwrap_or(name)
}

fn show_whole(value: f64) -> String {
    format!("{value:.0}")
}

fn worker_ticks(all: &[VariantLine]) -> Vec<(f64, String)> {
    let mut counts: Vec<u64> = all.iter().flat_map(|line| &line.points).map(|point| point.0 as u64).collect();
    counts.sort_unstable();
    counts.dedup();
    counts.into_iter().map(|count| (count as f64, count.to_string())).collect()
}

/// The least (0) or the greatest (1) relative speed of the rounds.
fn range_end(numbers: &Numbers<'_>, path: &str, end: usize) -> Option<f64> {
    numbers.get(&format!("{path}.spread.relative_speed.{end}"))
}

fn one(numbers: &Numbers<'_>, of: &VariantLine, along: &Scale, up: &Scale) -> Vec<Element> {
    let number = series(of.variant);
    let places: Vec<(f64, f64)> = of.points.iter().map(|(n, speed, _)| (along.at(*n), up.at(*speed))).collect();
    let mut out = vec![curve("curve", &places).set("stroke", colour(of.variant)).set("stroke-dasharray", dash(number))];
    for ((n, speed, path), (x, y)) in of.points.iter().zip(places) {
        let spread = |end: usize| range_end(numbers, path, end);
        let mut words = format!("{}, {n} workers: {} times as fast", of.name, show_speed(*speed));
        if let (Some(least), Some(most)) = (spread(0), spread(1)) {
            out.push(line("range", (x, up.at(least)), (x, up.at(most))).set("stroke", colour(of.variant)));
            words += &format!(", from {} to {}", show_speed(least), show_speed(most));
        }
        let mark = marker(number, x, y, 4.5).set("class", "mark").set("fill", colour(of.variant));
        out.push(numbers.mark(mark, &format!("{path}.relative_speed")).with(Element::new("title").text(&words)));
    }
    out
}

/// The lines' names at their ends, apart from each other.
fn end_labels(ends: &[(f64, f64, String)], right: f64, room: (f64, f64)) -> Vec<Element> {
    let placed = apart(&ends.iter().map(|end| end.1).collect::<Vec<_>>(), 15.0, room);
    let pairs = ends.iter().zip(placed);
    pairs
        .flat_map(|((x, y, name), place)| {
            let leader = line("leader", (x + 7.0, *y), (right + 14.0, place));
            [leader, label("halo", right + 17.0, place, Anchor::Start, name)]
        })
        .collect()
}
