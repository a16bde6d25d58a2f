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

/// The lines of a hatch inside an area. They are drawn and not an SVG pattern: a browser that prints a page turns each
/// area with a pattern into a hundred kilobytes of PDF.
pub fn hatch(hatch: Hatch, from: (f64, f64), to: (f64, f64)) -> Option<Element> {
    let ((left, top), (right, bottom)) = (from, to);
    let steps = |start: f64, end: f64, step: f64| {
        let all = (0..).map(move |i| start + f64::from(i) * step);
        all.take_while(move |at| *at <= end)
    };
    let mut path = String::new();
    let mut stroke = |x: f64, y: f64, dx: f64, dy: f64| path += &format!("M{x:.1} {y:.1}l{dx:.1} {dy:.1}");
    // The part inside of a line that begins at (at, bottom) and rises, or at (at, top) and falls.
    let height = bottom - top;
    let slant = |at: f64| (at.max(left), (at + height).min(right));
    let slanted = |step: f64| {
        steps(left - height + step / 2.0, right, step).map(move |at| (at, slant(at))).filter(|(_, (a, b))| b - a > 0.3)
    };
    match hatch {
        Hatch::Plain => return None,
        Hatch::Dots => {
            for (row, y) in steps(top + 3.0, bottom - 1.5, 4.0).enumerate() {
                steps(left + 2.0 + (row % 2) as f64 * 3.0, right - 1.8, 6.0).for_each(|x| stroke(x, y, 1.3, 0.0));
            }
        }
        Hatch::Across => steps(top + 2.5, bottom - 1.0, 4.5).for_each(|y| stroke(left, y, right - left, 0.0)),
        Hatch::Down => steps(left + 2.0, right - 0.5, 4.5).for_each(|x| stroke(x, top, 0.0, height)),
        Hatch::Rising => slanted(7.0).for_each(|(at, (a, b))| stroke(a, bottom - (a - at), b - a, a - b)),
        Hatch::Sparse => slanted(14.0).for_each(|(at, (a, b))| stroke(a, bottom - (a - at), b - a, a - b)),
        Hatch::Falling => slanted(7.0).for_each(|(at, (a, b))| stroke(a, top + (a - at), b - a, b - a)),
        Hatch::Crossed => slanted(9.0).for_each(|(at, (a, b))| {
            stroke(a, bottom - (a - at), b - a, a - b);
            stroke(a, top + (a - at), b - a, b - a);
        }),
    }
    (!path.is_empty()).then(|| Element::of_class("path", "hatch").set("d", path))
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

    #[test]
    fn hatches_stay_inside_their_area() {
        let all = [Hatch::Dots, Hatch::Across, Hatch::Down, Hatch::Rising, Hatch::Falling, Hatch::Crossed, Hatch::Sparse];
        let paths: BTreeSet<String> =
            all.map(|kind| hatch(kind, (100.0, 50.0), (161.5, 68.0)).expect("lines").to_string()).into();
        assert_eq!(paths.len(), all.len());
        for path in paths {
            let (_, d) = path.split_once(" d=\"").expect("a path");
            for line in d.split('M').skip(1) {
                let numbers: Vec<f64> = line.split([' ', 'l', '"']).filter_map(|n| n.parse().ok()).take(4).collect();
                let [x, y, dx, dy] = numbers[..] else { panic!("{line}") };
                for (x, y) in [(x, y), (x + dx, y + dy)] {
                    assert!((99.9..=161.6).contains(&x) && (49.9..=68.1).contains(&y), "{line}");
                }
            }
        }
        assert!(hatch(Hatch::Plain, (0.0, 0.0), (9.0, 9.0)).is_none());
        assert!(hatch(Hatch::Dots, (0.0, 0.0), (0.5, 0.5)).is_none(), "an area without room");
    }
}
