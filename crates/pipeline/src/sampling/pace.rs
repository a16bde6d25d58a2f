//! How fast the rows of a sample were read and mapped.

use std::time::Duration;

/// Times of blocks.
#[derive(Default)]
pub(super) struct ReadingPace {
    rows: u64,
    /// Nanoseconds a row, of each block.
    blocks: Vec<f64>,
}

impl ReadingPace {
    /// Adds a block whose rows took this time.
    pub(super) fn add(&mut self, rows: usize, spent: Duration) {
        if rows > 0 {
            self.rows += rows as u64;
            self.blocks.push(spent.as_nanos() as f64 / rows as f64);
        }
    }

    /// The rows, and the time that they take at the median block's pace: what a cold disk or a busy machine adds to
    /// some of them is no speed of the program.
    pub(super) fn speed(mut self) -> Option<(u64, Duration)> {
        self.blocks.sort_by(f64::total_cmp);
        let a_row = *self.blocks.get(self.blocks.len() / 2)?;
        Some((self.rows, Duration::from_nanos((a_row * self.rows as f64) as u64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_block_counts() {
        let mut pace = ReadingPace::default();
        for (rows, micros) in [(10, 100), (0, 7), (10, 90_000), (20, 220)] {
            pace.add(rows, Duration::from_micros(micros));
        }
        assert_eq!(pace.speed(), Some((40, Duration::from_micros(440))));
        assert_eq!(ReadingPace::default().speed(), None);
    }
}
