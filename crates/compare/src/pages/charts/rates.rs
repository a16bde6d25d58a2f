//! Records a second of each setting, with its spread and what the model says.

use report::figures::{show, show_speed};
use report::html::{Figure, Numbers};
use report::markup::Element;
use report::svg::{Anchor, Room, Scale, Words, bottom_axis, label, line, marker, picture};

use super::{Rows, bands, colour, results, series};
use crate::figures::Comparison;

/// The picture; nothing without a figure above zero.
pub fn figure(comparison: &Comparison, numbers: &Numbers<'_>) -> Option<Element> {
    let results = results(comparison);
    let rate = |path: &str| numbers.get(&format!("{path}.records_per_second")).filter(|rate| *rate > 0.0);
    let measured = || results.iter().filter_map(|row| Some((row, rate(&row.path)?)));
    let (fastest, most) = measured().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let (slowest, least) = measured().min_by(|a, b| a.1.total_cmp(&b.1))?;
    let sentence = format!("From {} a second ({}) to {} ({}).", show(least), slowest.name, show(most), fastest.name);
    let draw = |room: Room| {
        let rows =
            Rows::new(room, results.iter().map(|row| row.name.chars().count()), if room == Room::Wide { 130.0 } else { 8.0 });
        let bottom = rows.bottom(results.len());
        let scale = scale(numbers, &results, (least, most), (rows.left + 6.0, rows.right));
        let mut marks = bands(&rows, room, &results);
        marks.extend(bottom_axis(
            &scale,
            &scale.ticks(room.ticks()),
            rows.top,
            bottom,
            "records a second, each step to the right a factor",
        ));
        for (i, row) in results.iter().enumerate() {
            let (y, _) = rows.middle(i);
            marks.push(rows.name(i, &row.name));
            if let Some(rate) = rate(&row.path) {
                marks.extend(one(numbers, row, rate, &scale, y));
                let place = if room == Room::Wide {
                    (rows.right + 12.0, y, Anchor::Start)
                } else {
                    (room.width(), y - 18.0, Anchor::End)
                };
                marks.push(label("strong", place.0, place.1, place.2, &value(numbers, &row.path, rate)));
            }
        }
        let words = Words { id: format!("rates-{}", room.name()), title: "Records a second", description: &sentence };
        picture(&words, room.name(), room.width(), bottom + 38.0, marks)
    };
    let figure = Figure {
        id: "rates",
        title: "How fast each setting is",
        sentence: &sentence,
        reading: "Filled marks: the median over the rounds; the line through each: from the least to the greatest round. Hollow diamonds: \
                  what the model says. The scale is logarithmic.",
        legend: None,
    };
    Some(figure.drawn(draw))
}

/// From the least to the greatest of everything that is drawn.
fn scale(numbers: &Numbers<'_>, results: &[super::ChartRow], measured: (f64, f64), places: (f64, f64)) -> Scale {
    let (mut least, mut most) = measured;
    for row in results {
        for name in ["spread.records_per_second.0", "spread.records_per_second.1", "predicted_records_per_second"] {
            if let Some(value) = numbers.get(&format!("{}.{name}", row.path)).filter(|value| *value > 0.0) {
                (least, most) = (least.min(value), most.max(value));
            }
        }
    }
    Scale::log_around(least, most, places)
}

fn value(numbers: &Numbers<'_>, path: &str, rate: f64) -> String {
    match numbers.get(&format!("{path}.relative_speed")) {
        Some(speed) => format!("{} ({} ×)", show(rate), show_speed(speed)),
        None => show(rate),
    }
}

fn one(numbers: &Numbers<'_>, row: &super::ChartRow, rate: f64, scale: &Scale, y: f64) -> Vec<Element> {
    let get = |name: &str| numbers.get(&format!("{}.{name}", row.path));
    let mut out = Vec::new();
    let mut words = format!("{}: {} records a second", row.name, show(rate));
    if let (Some(least), Some(most)) = (get("spread.records_per_second.0"), get("spread.records_per_second.1")) {
        out.push(line("range", (scale.at(least), y), (scale.at(most), y)).set("stroke", colour(row.variant)));
        words += &format!(", from {} to {}", show(least), show(most));
    }
    if let Some(model) = get("predicted_records_per_second").filter(|model| *model > 0.0) {
        let path = format!("{}.predicted_records_per_second", row.path);
        let mark = numbers.mark(marker(3, scale.at(model), y, 6.0).set("class", "mark model"), &path);
        out.push(mark.with(Element::new("title").text(&format!("{}: the model says {}", row.name, show(model)))));
    }
    let dot = marker(series(row.variant), scale.at(rate), y, 4.5).set("class", "mark").set("fill", colour(row.variant));
    out.push(numbers.mark(dot, &format!("{}.records_per_second", row.path)).with(Element::new("title").text(&words)));
    out
}
