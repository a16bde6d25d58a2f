//! What tells series apart without colour: markers, line styles, hatches.

use crate::markup::Element;

/// Line styles, by the number of the series.
const DASHES: [&str; 7] = ["", "7 4", "2 3", "9 3 2 3", "14 4", "5 2 1 2 1 2", "1 4"];

/// The style of a series' line.
pub fn dash(series: usize) -> &'static str {
    DASHES[series % DASHES.len()]
}

/// The marker of a series, with its middle at a place.
pub fn marker(series: usize, x: f64, y: f64, r: f64) -> Element {
    let points = |points: &[(f64, f64)]| {
        let text: Vec<String> = points.iter().map(|(dx, dy)| format!("{:.1},{:.1}", x + dx * r, y + dy * r)).collect();
        Element::new("polygon").set("points", text.join(" "))
    };
    match series % 7 {
        0 => Element::new("circle").put("cx", x).put("cy", y).put("r", r),
        1 => points(&[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),
        2 => points(&[(0.0, -1.2), (1.1, 0.8), (-1.1, 0.8)]),
        3 => points(&[(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)]),
        4 => points(&[(0.0, 1.2), (1.1, -0.8), (-1.1, -0.8)]),
        5 => points(&[
            (-0.4, -1.2),
            (0.4, -1.2),
            (0.4, -0.4),
            (1.2, -0.4),
            (1.2, 0.4),
            (0.4, 0.4),
            (0.4, 1.2),
            (-0.4, 1.2),
            (-0.4, 0.4),
            (-1.2, 0.4),
            (-1.2, -0.4),
            (-0.4, -0.4),
        ]),
        _ => points(&[(0.0, -1.2), (1.15, -0.35), (0.7, 1.0), (-0.7, 1.0), (-1.15, -0.35)]),
    }
}

/// How an area is hatched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hatch {
    /// Not at all.
    Plain,
    /// Dots.
    Dots,
    /// Lines from left to right.
    Across,
    /// Lines from top to bottom.
    Down,
    /// Lines that rise.
    Rising,
    /// Lines that fall.
    Falling,
    /// Rising and falling ones.
    Crossed,
    /// Sparse rising lines.
    Sparse,
}

/// A pattern with this colour below its hatch; areas use it as `fill: url(#ID)`.
pub fn pattern(id: &str, colour: &str, hatch: Hatch) -> Element {
    let (size, path) = match hatch {
        Hatch::Plain => (8.0, ""),
        Hatch::Dots => (7.0, "M1.5 1.5h1.6M5 5h1.6"),
        Hatch::Across => (5.0, "M0 2.5H5"),
        Hatch::Down => (5.0, "M2.5 0V5"),
        Hatch::Rising => (7.0, "M-1 8L8 -1M-1 1L1 -1M6 8L8 6"),
        Hatch::Falling => (7.0, "M-1 -1L8 8M6 -1L8 1M-1 6L1 8"),
        Hatch::Crossed => (7.0, "M-1 8L8 -1M-1 -1L8 8"),
        Hatch::Sparse => (11.0, "M-1 12L12 -1"),
    };
    let ground = Element::new("rect").put("width", size).put("height", size).set("fill", colour);
    let lines = Element::of_class("path", "hatch").set("d", path);
    Element::new("pattern")
        .set("id", id)
        .set("patternUnits", "userSpaceOnUse")
        .put("width", size)
        .put("height", size)
        .with(ground)
        .with_all((!path.is_empty()).then_some(lines))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn seven_series_look_different_without_colour() {
        let shapes: BTreeSet<String> = (0..7).map(|i| marker(i, 0.0, 0.0, 4.0).to_string()).collect();
        let lines: BTreeSet<&str> = (0..7).map(dash).collect();
        assert_eq!((shapes.len(), lines.len()), (7, 7));
    }
}
