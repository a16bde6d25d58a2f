//! Drawing: a picture with its words, axes and marks, as SVG that a page's style colours.
//!
//! Why not a library of charts: docs/design/0005-own-svg.md.

mod scale;
mod shapes;

pub use scale::Scale;
pub use shapes::{Hatch, dash, hatch, marker};

use crate::markup::Element;

/// How wide a letter of the pictures' text is, about.
const LETTER: f64 = 6.6;

/// How wide a text is, about.
pub fn text_width(text: &str) -> f64 {
    text.chars().count() as f64 * LETTER
}

/// The room for a picture: what a desktop or paper shows, or what a phone does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// 920 units.
    Wide,
    /// 358 units.
    Narrow,
}

impl Room {
    /// Both: a page holds each picture for both, and shows one.
    pub const ALL: [Room; 2] = [Room::Wide, Room::Narrow];

    /// How wide it is.
    pub fn width(self) -> f64 {
        match self {
            Room::Wide => 920.0,
            Room::Narrow => 358.0,
        }
    }

    /// Its name: the class that the page's style shows or hides.
    pub fn name(self) -> &'static str {
        match self {
            Room::Wide => "wide",
            Room::Narrow => "narrow",
        }
    }

    /// How many ticks fit on an axis along it.
    pub fn ticks(self) -> usize {
        match self {
            Room::Wide => 8,
            Room::Narrow => 5,
        }
    }
}

/// What a picture is, in words: for those who can't see it, and as its tooltip.
#[derive(Clone, Debug)]
pub struct Words<'a> {
    /// Unique in the page.
    pub id: String,
    /// What it shows.
    pub title: &'a str,
    /// What there is to see.
    pub description: &'a str,
}

/// A picture of this size.
pub fn picture(words: &Words<'_>, class: &str, width: f64, height: f64, marks: impl IntoIterator<Item = Element>) -> Element {
    let (title, description) = (format!("{}-title", words.id), format!("{}-description", words.id));
    Element::of_class("svg", class)
        .set("viewBox", format!("0 0 {width:.0} {height:.0}"))
        .set("role", "img")
        .set("aria-labelledby", format!("{title} {description}"))
        .with(Element::new("title").set("id", &title).text(words.title))
        .with(Element::new("desc").set("id", &description).text(words.description))
        .with_all(marks)
}

/// How a text stands to its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// It begins there.
    Start,
    /// It is in the middle of it.
    Middle,
    /// It ends there.
    End,
}

/// Text at a place, which is the text's middle from top to bottom.
pub fn label(class: &str, x: f64, y: f64, anchor: Anchor, text: &str) -> Element {
    let anchor = match anchor {
        Anchor::Start => "start",
        Anchor::Middle => "middle",
        Anchor::End => "end",
    };
    Element::of_class("text", class).put("x", x).put("y", y + 4.0).set("text-anchor", anchor).text(text)
}

/// A line.
pub fn line(class: &str, from: (f64, f64), to: (f64, f64)) -> Element {
    Element::of_class("line", class).put("x1", from.0).put("y1", from.1).put("x2", to.0).put("y2", to.1)
}

/// An area.
pub fn area(class: &str, from: (f64, f64), to: (f64, f64)) -> Element {
    let (x, y) = (from.0.min(to.0), from.1.min(to.1));
    Element::of_class("rect", class)
        .put("x", x)
        .put("y", y)
        .put("width", (to.0 - from.0).abs())
        .put("height", (to.1 - from.1).abs())
}

/// A text on a plain ground, so that it can be read on a hatch.
pub fn chip(x: f64, y: f64, text: &str) -> [Element; 2] {
    let half = text_width(text) / 2.0 + 1.0;
    [area("chip", (x - half, y - 7.0), (x + half, y + 7.0)).put("rx", 3.0), label("", x, y, Anchor::Middle, text)]
}

/// A line through points.
pub fn curve(class: &str, points: &[(f64, f64)]) -> Element {
    let mut path = String::new();
    for (i, (x, y)) in points.iter().enumerate() {
        path += &format!("{}{x:.1} {y:.1}", if i == 0 { 'M' } else { 'L' });
    }
    Element::of_class("path", class).set("d", path)
}

/// Ticks below a drawing, a faint line up from each, and what the axis counts.
pub fn bottom_axis(scale: &Scale, ticks: &[(f64, String)], top: f64, bottom: f64, unit: &str) -> Vec<Element> {
    let mut out = Vec::new();
    for (value, text) in ticks {
        let x = scale.at(*value);
        out.push(line("grid", (x, top), (x, bottom)));
        out.push(label("tick", x, bottom + 12.0, Anchor::Middle, text));
    }
    let (left, right) = (scale.at(scale.ends().0), scale.at(scale.ends().1));
    out.push(label("unit", (left + right) / 2.0, bottom + 30.0, Anchor::Middle, unit));
    out
}

/// Ticks left of a drawing, a faint line to the right from each, and what the axis counts above.
pub fn left_axis(scale: &Scale, ticks: &[(f64, String)], left: f64, right: f64, unit: &str) -> Vec<Element> {
    let mut out = Vec::new();
    for (value, text) in ticks {
        let y = scale.at(*value);
        out.push(line("grid", (left, y), (right, y)));
        out.push(label("tick", left - 6.0, y, Anchor::End, text));
    }
    if !unit.is_empty() {
        let top = scale.at(scale.ends().1).min(scale.at(scale.ends().0));
        out.push(label("unit", 0.0, top - 16.0, Anchor::Start, unit));
    }
    out
}

/// Moves places apart, so that labels there don't cover each other; none leaves the room if there is enough of it.
pub fn apart(wanted: &[f64], distance: f64, room: (f64, f64)) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    let mut placed = wanted.to_vec();
    let mut least = room.0;
    for i in &order {
        placed[*i] = placed[*i].max(least);
        least = placed[*i] + distance;
    }
    let mut most = room.1;
    for i in order.iter().rev() {
        placed[*i] = placed[*i].min(most);
        most = placed[*i] - distance;
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_move_apart_and_stay_inside() {
        assert_eq!(apart(&[50.0, 10.0], 14.0, (0.0, 100.0)), [50.0, 10.0], "nothing to do");
        assert_eq!(apart(&[98.0, 97.0, 99.0], 14.0, (0.0, 100.0)), [86.0, 72.0, 100.0]);
        let placed = apart(&[5.0; 4], 10.0, (0.0, 100.0));
        assert_eq!(placed, [5.0, 15.0, 25.0, 35.0]);
    }

    #[test]
    fn a_picture_has_its_words() {
        let words = Words { id: "rate-wide".into(), title: "Rate", description: "One is <fast>" };
        let svg = picture(&words, "wide", 920.0, 100.4, [line("grid", (0.0, 0.0), (1.0, 1.0))]).to_string();
        assert!(
            svg.contains("viewBox=\"0 0 920 100\"")
                && svg.contains("aria-labelledby=\"rate-wide-title rate-wide-description\"")
        );
        assert!(svg.contains("<desc id=\"rate-wide-description\">One is &lt;fast&gt;</desc>"), "{svg}");
    }
}
