//! The pictures of a comparison.

mod cpu;
mod phases;
mod rates;
mod scaling;

pub use cpu::figure as cpu;
pub use phases::figure as phases;
pub use rates::figure as rates;
pub use scaling::figure as scaling;

use report::svg::{Anchor, Room, label as text};
use report::{markup::Element, svg};

use super::{label, rows};
use crate::figures::{Comparison, Variant};

/// A result as a row of a picture.
struct ChartRow {
    /// Where it is in the JSON.
    path: String,
    /// What it is called.
    name: String,
    /// Who stepped.
    variant: Variant,
}

fn results(comparison: &Comparison) -> Vec<ChartRow> {
    let all = rows(comparison).enumerate();
    all.map(|(i, (setting, _))| ChartRow {
        path: format!("results.{i}"),
        name: label(comparison, setting),
        variant: setting.variant,
    })
    .collect()
}

/// The number of a variant's colour, marker and line style.
fn series(variant: Variant) -> usize {
    Variant::ALL.iter().position(|one| *one == variant).unwrap_or(0)
}

/// The colour of a variant.
fn colour(variant: Variant) -> String {
    format!("var(--s{})", series(variant))
}

/// Rows below each other, each with its name: left of the drawing where there is room, else above it.
struct Rows {
    left: f64,
    right: f64,
    top: f64,
    names_above: bool,
    height: f64,
}

impl Rows {
    /// Room for these names, and `margin` for what stands to the right of the drawing.
    fn new(room: Room, names: impl Iterator<Item = usize>, margin: f64) -> Self {
        let widest = names.max().unwrap_or(0) as f64 * 6.6 + 12.0;
        let names_above = room == Room::Narrow;
        Rows {
            left: if names_above { 2.0 } else { widest.min(320.0) },
            right: room.width() - margin,
            top: 8.0,
            names_above,
            height: if names_above { 40.0 } else { 25.0 },
        }
    }

    /// The middle of a row's drawing, and half of its height.
    fn middle(&self, row: usize) -> (f64, f64) {
        let top = self.top + row as f64 * self.height;
        if self.names_above { (top + 27.0, 8.5) } else { (top + self.height / 2.0, 9.0) }
    }

    fn bottom(&self, rows: usize) -> f64 {
        self.top + rows as f64 * self.height + 2.0
    }

    fn name(&self, row: usize, name: &str) -> Element {
        let (middle, _) = self.middle(row);
        match self.names_above {
            true => text("halo", 0.0, middle - 18.0, Anchor::Start, name),
            false => text("", self.left - 10.0, middle, Anchor::End, name),
        }
    }
}

/// Every second variant on a faint ground, so that the eye keeps the rows.
fn bands(rows: &Rows, room: Room, results: &[ChartRow]) -> Vec<Element> {
    let mut out = Vec::new();
    let mut shaded = true;
    for (i, row) in results.iter().enumerate() {
        if i > 0 && results[i - 1].variant != row.variant {
            shaded = !shaded;
        }
        if shaded {
            let top = rows.top + i as f64 * rows.height;
            out.push(svg::area("band", (0.0, top), (room.width(), top + rows.height)));
        }
    }
    out
}
