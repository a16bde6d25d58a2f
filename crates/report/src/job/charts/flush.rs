//! How long flushes took: of the attempts that waited longest.

use migration::report::JobReport;
use migration::units::show_count;

use crate::figures::show;
use crate::html::{Figure, Numbers};
use crate::markup::Element;
use crate::svg::{Anchor, Room, Scale, Words, bottom_axis, label, line, marker, picture};

/// Attempts that are shown, besides all together.
const MOST: usize = 12;

/// The picture; nothing without a flush.
pub fn figure(report: &JobReport, numbers: &Numbers<'_>) -> Option<Element> {
    let get = |path: &str| numbers.get(path).filter(|value| *value > 0.0);
    let (p50, p99) = (get("flush.p50_ms")?, get("flush.p99_ms")?);
    let mut rows: Vec<(String, String, f64)> = report
        .attempts
        .iter()
        .enumerate()
        .filter_map(|(i, attempt)| {
            let path = format!("attempts.{i}.flush");
            Some((
                format!("shard {}, attempt {}", attempt.shard, attempt.number),
                path.clone(),
                get(&format!("{path}.p99_ms"))?,
            ))
        })
        .collect();
    rows.sort_by(|a, b| b.2.total_cmp(&a.2));
    rows.truncate(MOST);
    rows.insert(0, ("all attempts".to_owned(), "flush".to_owned(), p99));
    let count = show_count(get("flush.count").unwrap_or(0.0) as u64);
    let sentence = format!("{count} flushes: half took at most {} ms, 99 of 100 at most {} ms.", show(p50), show(p99));
    let values = || rows.iter().flat_map(|row| [get(&format!("{}.p50_ms", row.1)), Some(row.2)]).flatten();
    let (least, most) = (values().reduce(f64::min)?, values().reduce(f64::max)?);
    let draw = |room: Room| {
        let wide = room == Room::Wide;
        let (left, height, top) = if wide { (164.0, 24.0, 6.0) } else { (6.0, 40.0, 6.0) };
        let (right, bottom) = (room.width() - if wide { 140.0 } else { 8.0 }, top + rows.len() as f64 * height + 2.0);
        let scale = Scale::log_around(least, most, (left + 6.0, right));
        let mut marks = bottom_axis(&scale, &scale.ticks(room.ticks()), top, bottom, "ms, each step to the right a factor");
        for (i, (name, path, p99)) in rows.iter().enumerate() {
            let y = top + i as f64 * height + if wide { height / 2.0 } else { 27.0 };
            let p50 = get(&format!("{path}.p50_ms")).unwrap_or(*p99);
            let text = format!("{} / {} ms", show(p50), show(*p99));
            marks.push(if wide {
                label("", left - 12.0, y, Anchor::End, name)
            } else {
                label("halo", 0.0, y - 18.0, Anchor::Start, name)
            });
            marks.push(match wide {
                true => label("strong", right + 14.0, y, Anchor::Start, &text),
                false => label("strong halo", room.width(), y - 18.0, Anchor::End, &text),
            });
            marks.push(line("range", (scale.at(p50), y), (scale.at(*p99), y)).set("stroke", "var(--s1)"));
            let late = marker(0, scale.at(*p99), y, 4.5).set("class", "mark hollow").set("stroke", "var(--s1)");
            let middle = marker(0, scale.at(p50), y, 5.0).set("class", "mark").set("fill", "var(--s1)");
            marks.push(numbers.mark(late, &format!("{path}.p99_ms")));
            marks.push(numbers.mark(middle, &format!("{path}.p50_ms")));
        }
        let words = Words { id: format!("flush-{}", room.name()), title: "Flush latency", description: &sentence };
        picture(&words, room.name(), room.width(), bottom + 38.0, marks)
    };
    let figure = Figure {
        id: "flush",
        title: "How long flushes took",
        sentence: &sentence,
        reading: "Filled: p50, hollow: p99; all together, then the attempts with the longest. The scale is logarithmic.",
        legend: None,
    };
    Some(figure.drawn(draw))
}
