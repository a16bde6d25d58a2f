//! The rows of a comparison: which settings run, and what this machine must allow for them.

use migration::job::FlushPolicy;
use process::LimitError;

use crate::figures::{Setting, Variant};

/// Descriptors of a green thread: its producer's sockets, pipes and eventfd.
const DESCRIPTORS_OF_A_WORKER: u64 = 16;

/// The rows: the reference first, then each variant that is asked for in the order of the story.
pub fn rows(variants: &[Variant], workers: &[u32], flushes: &[FlushPolicy], shared_producer: bool) -> Vec<Setting> {
    let mut workers = workers.to_vec();
    workers.sort_unstable();
    workers.dedup();
    // The reference is the first row: one that flushes each record if there is any, in whatever order they were typed.
    let mut flushes = flushes.to_vec();
    flushes.sort_by_key(|flush| *flush != FlushPolicy::Record);
    let mut rows: Vec<Setting> = Vec::new();
    let asked = |variant: &Variant| *variant == Variant::Single || variants.contains(variant);
    for variant in Variant::ALL.into_iter().filter(asked) {
        let counts: &[u32] = if variant.is_alone() { &[1] } else { &workers };
        for &flush in &flushes {
            // The binding's own flush is about single records.
            if variant == Variant::StockFlush && flush != flushes[0] {
                continue;
            }
            let shared_producer = shared_producer && variant.can_share();
            for &workers in counts {
                let row = Setting { variant, workers, flush, shared_producer };
                if !rows.contains(&row) {
                    rows.push(row);
                }
            }
        }
    }
    rows
}

/// Where the reference is, which the others are measured against.
pub fn reference(rows: &[Setting]) -> Option<u32> {
    rows.iter().position(|row| row.variant == Variant::Single).map(|index| index as u32)
}

/// The most workers of a row.
pub fn most_workers(rows: &[Setting]) -> u32 {
    rows.iter().map(|row| row.workers).max().unwrap_or(1)
}

/// The most workers that share a producer.
pub fn most_sharing(rows: &[Setting]) -> u32 {
    rows.iter().filter(|row| row.shared_producer).map(|row| row.workers).max().unwrap_or(0)
}

/// Whether a row does not wait for each record: then runs write as fast as the brokers take it.
pub fn in_bulk(rows: &[Setting]) -> bool {
    rows.iter().any(|row| row.flush != FlushPolicy::Record)
}

/// Refuses at once what this machine allows too few descriptors or processes for.
pub fn require_room(rows: &[Setting]) -> Result<(), LimitError> {
    let workers = u64::from(most_workers(rows));
    process::raise_descriptor_limit()?;
    process::require_descriptors(64 + DESCRIPTORS_OF_A_WORKER * workers)?;
    process::require_processes(supervisor::TASKS_OF_A_WORKER * workers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_comes_first_and_no_row_twice() {
        let flushes = [FlushPolicy::Chunk, FlushPolicy::Record];
        let rows = rows(&[Variant::Processes, Variant::StockFlush], &[4, 2, 4], &flushes, true);
        let names: Vec<_> =
            rows.iter().map(|row| (row.variant.name(), row.workers, row.flush == FlushPolicy::Record)).collect();
        let expected = [
            ("single", 1, true),
            ("single", 1, false),
            ("processes", 2, true),
            ("processes", 4, true),
            ("processes", 2, false),
            ("processes", 4, false),
            ("stock-flush", 1, true),
        ];
        assert_eq!(names, expected);
        assert_eq!((reference(&rows), most_workers(&rows), most_sharing(&rows), in_bulk(&rows)), (Some(0), 4, 0, true));
    }
}
