//! Where the time of each setting's workers went.

use migration::Phase;
use report::figures::{show, show_percent};
use report::html::{Figure, Numbers, phase_legend, stack};
use report::markup::Element;
use report::svg::{Anchor, Room, Scale, Words, bottom_axis, label, picture};

use super::{ChartRow, Rows, results};
use crate::figures::Comparison;

/// The picture; nothing where no time was measured.
pub fn figure(comparison: &Comparison, numbers: &Numbers<'_>) -> Option<Element> {
    let results: Vec<ChartRow> = results(comparison).into_iter().filter(|row| total(numbers, row) > 0.0).collect();
    let first = results.first()?;
    let share = |row: &ChartRow, phase: Phase| time(numbers, row, phase) / total(numbers, row);
    let (top, part) = Phase::ALL.map(|phase| (phase, share(first, phase))).into_iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let sentence = format!("{}: {} % of the time is {}.", first.name, show_percent(part), top.name());
    let draw = |room: Room| {
        let rows =
            Rows::new(room, results.iter().map(|row| row.name.chars().count()), if room == Room::Wide { 130.0 } else { 8.0 });
        let bottom = rows.bottom(results.len());
        let scale = Scale::linear((0.0, 100.0), (rows.left, rows.right));
        let mut marks = bottom_axis(&scale, &scale.ticks(5), rows.top, bottom, "% of the workers' wall time");
        for (i, row) in results.iter().enumerate() {
            let (y, half) = rows.middle(i);
            marks.push(rows.name(i, &row.name));
            let path = format!("{}.phases_ms", row.path);
            marks.extend(stack(numbers, &path, &row.name, rows.left, rows.right, y - half, y + half));
            if let Some(each) = each(comparison, numbers, i, row) {
                let place = if room == Room::Wide {
                    (rows.right + 12.0, y, Anchor::Start)
                } else {
                    (room.width(), y - 18.0, Anchor::End)
                };
                marks.push(label("faint", place.0, place.1, place.2, &each));
            }
        }
        let words = Words { id: format!("phases-{}", room.name()), title: "Time by phase", description: &sentence };
        picture(&words, room.name(), room.width(), bottom + 38.0, marks)
    };
    let legend = phase_legend(|phase| results.iter().any(|row| share(row, phase) >= 0.0005));
    let figure = Figure {
        id: "phases",
        title: "Where the workers' time goes",
        sentence: &sentence,
        reading: "All workers and rounds of a setting together; beside it a worker's time for one record.",
        legend: Some(legend),
    };
    Some(figure.drawn(draw))
}

fn time(numbers: &Numbers<'_>, row: &ChartRow, phase: Phase) -> f64 {
    numbers.get(&format!("{}.phases_ms.{}", row.path, phase.name())).unwrap_or(0.0)
}

fn total(numbers: &Numbers<'_>, row: &ChartRow) -> f64 {
    Phase::ALL.iter().map(|phase| time(numbers, row, *phase)).sum()
}

/// A worker's time for one record: "13.7 ms a record".
fn each(comparison: &Comparison, numbers: &Numbers<'_>, row: usize, of: &ChartRow) -> Option<String> {
    let setting = comparison.results.get(row)?.setting;
    let records: u64 = super::super::good_rounds(comparison, setting).map(|round| round.records).sum();
    let each = (records > 0).then(|| total(numbers, of) / records as f64)?;
    Some(if each < 0.1 { format!("{} us a record", show(each * 1000.0)) } else { format!("{} ms a record", show(each)) })
}
