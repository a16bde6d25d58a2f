//! CPU in use over time: a small picture for each setting, all on the same scale.

use report::figures::show;
use report::html::{Figure, Numbers};
use report::markup::Element;
use report::svg::{Anchor, Scale, Words, curve, label, left_axis, line, picture};

use super::{colour, results};
use crate::figures::{Comparison, Round};
use crate::pages::good_rounds;

const WIDTH: f64 = 180.0;
const HEIGHT: f64 = 116.0;
/// A page stays readable: the first settings of the table, and it says how many are left out.
const MOST_PANELS: usize = 24;

/// The picture; nothing where no setting lasted long enough for its CPU to be sampled.
pub fn figure(comparison: &Comparison, numbers: &Numbers<'_>) -> Option<Element> {
    let (mut panels, mut too_short) = (Vec::new(), Vec::new());
    for (row, summary) in results(comparison).into_iter().zip(&comparison.results) {
        match middle_round(comparison, summary.setting) {
            Some(middle) => panels.push((row, middle)),
            None => too_short.push(row.name),
        }
    }
    let left_out = panels.split_off(panels.len().min(MOST_PANELS));
    let left_out: Vec<&str> = left_out.iter().map(|(row, _)| row.name.as_str()).collect();
    let reading = reading(&left_out, &too_short);
    let of_round = |round: &Round| round.cpu_over_time.iter().map(|(_, cores)| f64::from(*cores)).fold(0.0, f64::max);
    let most = panels.iter().map(|(_, (_, round))| of_round(round)).reduce(f64::max)?;
    let time = panels.iter().flat_map(|(_, (_, round))| round.cpu_over_time.last()).map(|(at, _)| *at).max()?;
    let cores = |row: &super::ChartRow| numbers.get(&format!("{}.cpu_cores", row.path));
    let busiest = panels.iter().filter_map(|(row, _)| Some((row, cores(row)?))).max_by(|a, b| a.1.total_cmp(&b.1));
    let sentence = busiest.map_or_else(String::new, |(row, cores)| {
        format!(
            "{} uses the most CPU: {} cores, of {} that there are.",
            row.name,
            show(cores),
            comparison.environment.processors
        )
    });
    let pictures = panels.iter().map(|(row, (index, round))| {
        let mean = cores(row).map_or_else(String::new, |cores| format!("median {} cores", show(cores)));
        let words = Words { id: format!("cpu-{}", row.path.replace('.', "-")), title: &row.name, description: &mean };
        panel(numbers, &words, *index, round, &colour(row.variant), most, f64::from(time))
    });
    let figure = Figure { id: "cpu", title: "CPU over time", sentence: &sentence, reading: &reading, legend: None };
    Some(figure.holding([Element::of_class("div", "panels").with_all(pictures)]))
}

/// How to read it, and which settings are not drawn.
fn reading(left_out: &[&str], too_short: &[String]) -> String {
    let mut out =
        "Processors in use in the round with the middle speed. Thick: all of the setting's processes and threads; thin: each \
                   worker process."
            .to_owned();
    if !left_out.is_empty() {
        out += &format!(" Left out here: {}.", left_out.join("; "));
    }
    if !too_short.is_empty() {
        out += &format!(" Over too soon for a curve: {}.", too_short.join("; "));
    }
    out
}

/// The round with the middle speed among those that were sampled, and its index.
fn middle_round(comparison: &Comparison, setting: u32) -> Option<(usize, &Round)> {
    let mut rounds: Vec<&Round> = good_rounds(comparison, setting).filter(|round| round.cpu_over_time.len() > 1).collect();
    rounds.sort_by(|a, b| (a.records * b.elapsed_us.max(1)).cmp(&(b.records * a.elapsed_us.max(1))));
    let middle = *rounds.get(rounds.len().checked_sub(1)? / 2)?;
    let index = comparison.rounds.iter().position(|round| std::ptr::eq(round, middle))?;
    Some((index, middle))
}

fn panel(numbers: &Numbers<'_>, words: &Words<'_>, index: usize, round: &Round, colour: &str, most: f64, time: f64) -> Element {
    let (left, right, top, bottom) = (26.0, WIDTH - 4.0, 24.0, HEIGHT - 20.0);
    let up = Scale::from_zero(most, (bottom, top), 2);
    let along = Scale::from_zero(time / 1000.0, (left, right), 3);
    let place = |points: &[(u32, f32)]| -> Vec<(f64, f64)> {
        points.iter().map(|(at, cores)| (along.at(f64::from(*at) / 1000.0), up.at(f64::from(*cores)))).collect()
    };
    let mut marks = left_axis(&up, &up.ticks(2), left, right, "");
    marks.push(label("strong", 0.0, 6.0, Anchor::Start, words.title));
    marks.push(line("base", (left, bottom), (right, bottom)));
    for (at, text) in along.ticks(3) {
        let text = if at == along.ends().1 { format!("{text} s") } else { text };
        marks.push(label("tick", along.at(at).min(right - 10.0), bottom + 11.0, Anchor::Middle, &text));
    }
    marks.extend(round.cpu_by_worker.iter().map(|points| curve("worker", &place(points))));
    let points = place(&round.cpu_over_time);
    let (first, last) = (points[0], points[points.len() - 1]);
    let below: Vec<(f64, f64)> = [&[(first.0, bottom)], points.as_slice(), &[(last.0, bottom)]].concat();
    marks.push(curve("fill", &below).set("fill", colour));
    let mark = curve("mark curve", &points).set("stroke", colour).set("data-rounds", index);
    let all: f64 = round.cpu_over_time.iter().map(|(_, cores)| f64::from(*cores)).sum::<f64>() / points.len() as f64;
    let title = Element::new("title").text(&format!("{}: {} cores on average", words.title, show(all)));
    marks.push(numbers.mark(mark, &format!("rounds.{index}.cpu_ms")).with(title));
    picture(words, "panel", WIDTH, HEIGHT, marks)
}
