//! Records by partition.

use migration::report::JobReport;
use migration::units::show_count;

use crate::figures::show;
use crate::html::{Figure, Numbers};
use crate::markup::Element;
use crate::svg::{Room, Scale, Words, area, label, left_axis, line, picture};

/// More bars than that are hairs.
const MOST_BARS: usize = 128;

/// The picture; nothing without a record.
pub fn figure(report: &JobReport, numbers: &Numbers<'_>) -> Option<Element> {
    let counts = &report.work.partitions;
    let (least, most) = (*counts.iter().min()?, *counts.iter().max().filter(|most| **most > 0)?);
    let mean = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    let sentence = format!(
        "{} partitions, from {} to {} records; the fullest has {} times the mean.",
        counts.len(),
        show_count(least),
        show_count(most),
        show(most as f64 / mean)
    );
    let shown = counts.len().min(MOST_BARS);
    let draw = |room: Room| {
        let (left, right, top, bottom) = (52.0, room.width() - 4.0, 34.0, 190.0);
        let up = Scale::from_zero(most as f64, (bottom, top), 3);
        let mut marks = left_axis(&up, &up.ticks(3), left, right, "records");
        let step = (right - left) / shown as f64;
        let gap = (step * 0.2).min(4.0);
        for (partition, count) in counts.iter().take(shown).enumerate() {
            let x = left + partition as f64 * step;
            let title = Element::new("title").text(&format!("partition {partition}: {} records", show_count(*count)));
            let bar =
                area("mark", (x + gap / 2.0, up.at(*count as f64)), (x + step - gap / 2.0, bottom)).set("fill", "var(--s5)");
            marks.push(numbers.mark(bar, &format!("partitions.{partition}")).with(title));
            let every = (26.0 / step).ceil().max(1.0) as usize;
            if partition % every == 0 {
                marks.push(label("tick", x + step / 2.0, bottom + 11.0, crate::svg::Anchor::Middle, &partition.to_string()));
            }
        }
        marks.push(line("ideal", (left, up.at(mean)), (right, up.at(mean))));
        marks.push(label("unit", (left + right) / 2.0, bottom + 30.0, crate::svg::Anchor::Middle, "partition"));
        let words = Words { id: format!("partitions-{}", room.name()), title: "Records by partition", description: &sentence };
        picture(&words, room.name(), room.width(), bottom + 38.0, marks)
    };
    let reading = match shown < counts.len() {
        true => format!("Dotted: the mean. The first {shown} of {} partitions.", counts.len()),
        false => "Dotted: the mean.".to_owned(),
    };
    let figure =
        Figure { id: "partitions", title: "Where the records went", sentence: &sentence, reading: &reading, legend: None };
    Some(figure.drawn(draw))
}
