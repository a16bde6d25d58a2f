//! The pictures of a job.

mod flush;
mod pace;
mod partitions;
mod shards;
mod slots;

pub use flush::figure as flush;
pub use pace::{phases, rate};
pub use partitions::figure as partitions;
pub use shards::{figure as shards, troubled};
pub use slots::{cpu, workers};

use super::timeline::Timeline;
use crate::markup::Element;
use crate::svg::{Anchor, Room, Scale, bottom_axis, label, line};

/// Steps of time in a picture.
fn steps(room: Room) -> usize {
    match room {
        Room::Wide => 90,
        Room::Narrow => 36,
    }
}

/// Time along the bottom, from zero to the end, in the unit that suits its length.
struct TimeAxis {
    scale: Scale,
    unit: &'static str,
    /// Milliseconds of one unit.
    of_unit: f64,
}

impl TimeAxis {
    fn new(timeline: &Timeline<'_>, left: f64, right: f64) -> Self {
        let units = [("hours of running time", 3_600_000.0, 3.0), ("minutes of running time", 60_000.0, 3.0)];
        let fitting = units.into_iter().find(|(_, of_unit, least)| timeline.length_ms >= of_unit * least);
        let (unit, of_unit) = fitting.map_or(("seconds of running time", 1000.0), |(unit, of_unit, _)| (unit, of_unit));
        TimeAxis { scale: Scale::linear((0.0, timeline.length_ms / of_unit), (left, right)), unit, of_unit }
    }

    fn at(&self, ms: f64) -> f64 {
        self.scale.at(ms / self.of_unit)
    }

    fn draw(&self, room: Room, top: f64, bottom: f64) -> Vec<Element> {
        bottom_axis(&self.scale, &self.scale.ticks(room.ticks()), top, bottom, self.unit)
    }

    /// Where a run ended and the next one began.
    fn seams(&self, timeline: &Timeline<'_>, top: f64, bottom: f64) -> Vec<Element> {
        let seam = |(at, run): &(f64, u32)| {
            let x = self.at(*at);
            [
                line("ideal", (x, top), (x, bottom)),
                label("faint halo", x + 4.0, top + 7.0, Anchor::Start, &format!("run {run}")),
            ]
        };
        timeline.seams.iter().flat_map(seam).collect()
    }
}
