//! Divides what the first pass reads among processes: the source by place, the topic by partitions.
//!
//! Responsible for: parts that are all of it once, about equally large, and, of the source, one behind the other.
//! Not responsible for: reading them.

use std::ops::Range;

use migration::{Division, Plan, ShardId};
use serde::{Deserialize, Serialize};

use super::Expected;
use crate::SourceError;

/// How many pieces of the source there are for each process, so that the parts of all are about equal.
const PIECES_EACH: u64 = 8;

/// Pieces are not smaller than this, in stored bytes: where one can begin has to be looked for.
const LEAST_BYTES: u64 = 1 << 20;

/// What is taken for the bytes of a record where the source does not tell sizes.
const RECORD_BYTES: u64 = 200;

/// A part of one of the [`Expected`]: a shard of its divided plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SourcePiece {
    pub(super) expected: u32,
    pub(super) shard: ShardId,
}

/// The source in parts, each for a process of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DividedSource {
    /// The plan of each [`Expected`], cut further.
    plans: Vec<Plan>,
    /// All pieces, in the plan's order.
    pieces: Vec<SourcePiece>,
    /// Those of each part: some, and of all parts all.
    parts: Vec<Range<usize>>,
}

/// What one process reads of the source.
#[derive(Clone, Copy, Debug)]
pub struct SourcePart<'a> {
    /// As in [`DividedSource`].
    pub(super) plans: &'a [Plan],
    pub(super) pieces: &'a [SourcePiece],
}

impl DividedSource {
    /// Divides it for this number of processes. A shard that can be cut is cut; the parts follow each other in the
    /// plan's order. Where there is little to read there are fewer of them than processes.
    pub fn new(expected: &[Expected<'_>], processes: u32) -> Result<DividedSource, SourceError> {
        let processes = u64::from(processes.max(1));
        let all: u64 = expected.iter().flat_map(|expected| expected.plan.once()).map(weight).sum();
        let piece = (all / (processes * PIECES_EACH)).max(LEAST_BYTES);
        let mut divided = DividedSource { plans: Vec::new(), pieces: Vec::new(), parts: Vec::new() };
        let mut weights = Vec::new();
        for (index, expected) in (0..).zip(expected) {
            let mut plan = expected.plan.clone();
            for shard in expected.plan.once() {
                let wanted = weight(shard).div_ceil(piece).min(processes * PIECES_EACH);
                let mut added = 0..0;
                if processes > 1 && wanted > 1 {
                    let cuts = expected.source.cuts(expected.plan, shard.id, &shard.start, wanted as u32)?;
                    // What can't be cut so is read as it is.
                    added = plan.split(shard.id, &shard.start, &Division::Places(cuts)).unwrap_or_default();
                }
                for shard in std::iter::once(shard.id.0).chain(added) {
                    weights.push(weight(&plan.shards[shard as usize]));
                    divided.pieces.push(SourcePiece { expected: index, shard: ShardId(shard) });
                }
            }
            divided.plans.push(plan);
        }
        divided.parts = in_parts(&weights, processes as usize);
        Ok(divided)
    }

    /// How many parts there are.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// One of them; behind the last one they are empty.
    pub fn part(&self, number: usize) -> SourcePart<'_> {
        let pieces = self.parts.get(number).and_then(|part| self.pieces.get(part.clone())).unwrap_or_default();
        SourcePart { plans: &self.plans, pieces }
    }
}

impl SourcePart<'_> {
    /// How many records it probably has.
    pub(super) fn records_estimate(&self) -> u64 {
        let plan = |piece: &SourcePiece| self.plans.get(piece.expected as usize);
        let shard = |piece: &SourcePiece| plan(piece).and_then(|plan| plan.shards.get(piece.shard.0 as usize));
        self.pieces.iter().filter_map(shard).map(|shard| shard.records_estimate).sum()
    }
}

fn weight(shard: &migration::Shard) -> u64 {
    shard.bytes.unwrap_or_else(|| shard.records_estimate.saturating_mul(RECORD_BYTES)).max(1)
}

/// Ranges of things with these weights, one behind the other, as even as can be. None is empty: what has nothing to
/// read is not taken for a part whose reader may be left out.
fn in_parts(weights: &[u64], parts: usize) -> Vec<Range<usize>> {
    let all: u128 = weights.iter().copied().map(u128::from).sum();
    let (mut ranges, mut start, mut before) = (Vec::new(), 0, 0u128);
    for part in 1..=parts as u128 {
        let mut end = start;
        // A thing belongs where its middle lies.
        while let Some(weight) = weights.get(end).copied().map(u128::from) {
            if part < parts as u128 && (2 * before + weight) * parts as u128 > 2 * all * part {
                break;
            }
            before += weight;
            end += 1;
        }
        if end > start {
            ranges.push(start..end);
        }
        start = end;
    }
    ranges
}

/// The partitions with offsets to read, in at most as many sets as there are processes: the largest ones first, each to
/// the set that has least.
pub fn divide_partitions(offsets: &[u64], processes: u32) -> Vec<Vec<u32>> {
    let mut wanted: Vec<(u64, u32)> = offsets.iter().copied().zip(0..).filter(|(offsets, _)| *offsets > 0).collect();
    wanted.sort_by_key(|(offsets, partition)| (std::cmp::Reverse(*offsets), *partition));
    let mut sets = vec![(0u64, Vec::new()); (processes.max(1) as usize).min(wanted.len())];
    for (offsets, partition) in wanted {
        if let Some(least) = sets.iter_mut().min_by_key(|(sum, _)| *sum) {
            least.0 += offsets;
            least.1.push(partition);
        }
    }
    sets.into_iter().map(|(_, set)| set).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_everything_once_and_about_equal() {
        assert_eq!(in_parts(&[1, 1, 1, 1], 2), [0..2, 2..4]);
        assert_eq!(in_parts(&[10, 1, 1], 3), [0..1, 1..3]);
        assert_eq!(in_parts(&[], 2), [0..0; 0]);
        for parts in 1..9 {
            assert_eq!(in_parts(&[7], parts), vec![0..1; 1], "one thing is in one part, not in {parts}");
        }
        for parts in 1..9 {
            let weights: Vec<u64> = (0..100).map(|n| n * 7 % 13 + 1).collect();
            let ranges = in_parts(&weights, parts);
            assert_eq!((ranges.len(), ranges[0].start, ranges[parts - 1].end), (parts, 0, 100));
            assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
            let even = weights.iter().sum::<u64>() / parts as u64;
            assert!(ranges.iter().all(|part| weights[part.clone()].iter().sum::<u64>() <= even + 14));
        }
    }

    #[test]
    fn partitions_are_each_in_one_set() {
        assert_eq!(divide_partitions(&[5, 0, 9, 4], 2), [vec![2], vec![0, 3]]);
        assert_eq!(divide_partitions(&[5, 0, 9, 4], 9), [vec![2], vec![0], vec![3]]);
        assert_eq!(divide_partitions(&[0, 0], 3), [[0; 0]; 0]);
    }
}
