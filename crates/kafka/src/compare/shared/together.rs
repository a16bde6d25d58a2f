//! Records of several slots in one batch.
//!
//! Responsible for: what the slots handed over waits until it is sent, a partition gets the next batch only when
//! nothing of it is in flight, and each slot gets back its own groups with the verdicts on its own records. Not
//! responsible for when to send ([`super::SharedProducer::send_waiting`]).
//!
//! Why: the client keeps at most five requests in flight to a broker, and one request carries one partition's batch.
//! Sixty-four slots with a record each and partitions of their own wait for one another; with few partitions between
//! them their records travel together.

use std::collections::VecDeque;

use pipeline::lanes::GROUP_RECORDS;
use pipeline::{Delivered, Group, RejectedRecord};

/// As many partitions as the idempotent client has requests in flight to one broker.
pub(super) const LANES: u32 = 5;

/// How many partitions this number of slots uses: each has equally many slots, hence is complete at the same number of
/// records.
pub(super) fn lanes(slots: u32, partitions: u32) -> u32 {
    (1..=partitions.clamp(1, LANES)).rev().find(|lanes| slots.is_multiple_of(*lanes)).unwrap_or(1)
}

/// A slot's group.
#[derive(Debug)]
struct Piece {
    slot: u32,
    group: Group,
}

/// What goes to one partition.
#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Piece>,
    /// In the order in which they stand in the batch.
    flying: Vec<Piece>,
}

/// All lanes; index = partition.
#[derive(Debug)]
pub(super) struct Together {
    lanes: Vec<Lane>,
    batch_bytes: usize,
}

impl Together {
    /// Lanes for a topic with `partitions` partitions, of which as many are used as pay.
    pub(super) fn new(slots: u32, partitions: u32, batch_bytes: usize) -> Self {
        Together { lanes: std::iter::repeat_with(Lane::default).take(lanes(slots, partitions) as usize).collect(), batch_bytes }
    }

    /// The partition of a slot.
    pub(super) fn partition_of(&self, slot: u32) -> u32 {
        slot % self.lanes.len().max(1) as u32
    }

    /// Takes a slot's group.
    pub(super) fn put(&mut self, slot: u32, group: Group) {
        let lane = self.partition_of(slot) as usize;
        self.lanes[lane].waiting.push_back(Piece { slot, group });
    }

    /// The batches that can go now, each with its partition.
    pub(super) fn depart(&mut self) -> Vec<(u32, Group)> {
        let most_bytes = self.batch_bytes / 10 * 9;
        let idle = (0..).zip(&mut self.lanes).filter(|(_, lane)| lane.flying.is_empty() && !lane.waiting.is_empty());
        idle.map(|(partition, lane)| (partition, lane.depart(most_bytes))).collect()
    }

    /// Whether anything waits for a batch.
    pub(super) fn is_waiting(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.waiting.is_empty())
    }

    /// Gives each slot its part of a batch that came back.
    pub(super) fn arrive(&mut self, delivered: &Delivered) -> Vec<(u32, Delivered)> {
        let lane = &mut self.lanes[delivered.partition as usize];
        let complete = delivered.acknowledged + delivered.refused.len() == delivered.group.len();
        let (mut parts, mut first) = (Vec::new(), 0);
        for Piece { slot, group } in lane.flying.drain(..) {
            let own = first..first + group.len();
            let refused: Vec<RejectedRecord> = delivered
                .refused
                .iter()
                .filter(|refusal| own.contains(&refusal.index))
                .map(|refusal| RejectedRecord { index: refusal.index - own.start, ..refusal.clone() })
                .collect();
            // Whose report is missing can't be said: then no slot's records count as acknowledged.
            let acknowledged = if complete { group.len() - refused.len() } else { 0 };
            first = own.end;
            parts.push((slot, Delivered { partition: 0, group, acknowledged, refused }));
        }
        parts
    }

    /// Records of a slot that wait to be sent, and that are in flight.
    pub(super) fn records_of(&self, slot: u32) -> (usize, usize) {
        let lane = &self.lanes[self.partition_of(slot) as usize];
        let count = |pieces: &mut dyn Iterator<Item = &Piece>| {
            pieces.filter(|piece| piece.slot == slot).map(|piece| piece.group.len()).sum::<usize>()
        };
        (count(&mut lane.waiting.iter()), count(&mut lane.flying.iter()))
    }
}

impl Lane {
    /// The oldest pieces, as many as fit into a batch.
    fn depart(&mut self, most_bytes: usize) -> Group {
        let mut batch = Group::default();
        while let Some(piece) = self.waiting.front() {
            let (records, bytes) = (batch.len() + piece.group.len(), batch.bytes() + piece.group.bytes());
            let fits = records <= GROUP_RECORDS && bytes + records * pipeline::group::RECORD_OVERHEAD <= most_bytes;
            if !batch.is_empty() && !fits {
                break;
            }
            batch.append(&piece.group);
            self.flying.extend(self.waiting.pop_front());
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use pipeline::Block;
    use pipeline::group::Key;

    use super::*;

    fn group(text: &str, records: usize) -> Group {
        let block = Rc::new(Block { bytes: text.as_bytes().to_vec(), ..Block::default() });
        let mut group = Group::default();
        (0..records).for_each(|_| group.push(&block, 0, text.len() as u32, Key::Null, None));
        group
    }

    fn values(group: &Group) -> Vec<&[u8]> {
        group.messages().map(|message| message.value).collect()
    }

    #[test]
    fn what_waits_travels_together_and_the_next_batch_waits_for_the_first() {
        let mut together = Together::new(3, 1, 1_000_000);
        together.put(0, group("a", 1));
        together.put(1, group("b", 2));
        let sent = together.depart();
        assert_eq!((sent.len(), values(&sent[0].1)), (1, vec![&b"a"[..], b"b", b"b"]));
        together.put(2, group("c", 1));
        assert!(together.depart().is_empty(), "its partition has a batch in flight");
        assert_eq!((together.records_of(1), together.records_of(2)), ((0, 2), (1, 0)));
        let (_, batch) = sent.into_iter().next().unwrap();
        let refused = vec![RejectedRecord { index: 2, reason: "no".to_owned(), blame: pipeline::Blame::Unknown }];
        let parts = together.arrive(&Delivered { partition: 0, group: batch, acknowledged: 2, refused });
        assert_eq!(parts.iter().map(|(slot, part)| (*slot, part.acknowledged)).collect::<Vec<_>>(), [(0, 1), (1, 1)]);
        assert_eq!(parts[1].1.refused[0].index, 1);
        assert_eq!(values(&parts[1].1.group), [b"b", b"b"]);
        assert_eq!(values(&together.depart()[0].1), [b"c"]);
    }

    #[test]
    fn a_missing_report_acknowledges_nobody() {
        let mut together = Together::new(2, 1, 1_000_000);
        together.put(0, group("a", 1));
        together.put(1, group("b", 1));
        let (partition, batch) = together.depart().remove(0);
        let parts = together.arrive(&Delivered { partition, group: batch, acknowledged: 1, refused: Vec::new() });
        assert!(parts.iter().all(|(_, part)| part.acknowledged == 0));
    }

    #[test]
    fn a_batch_has_no_more_than_fits_and_a_large_piece_goes_alone() {
        let mut together = Together::new(4, 1, 1_000);
        for (slot, records) in [(0, 15), (1, 15), (2, 200), (3, 1)] {
            together.put(slot, group("0123456789", records));
        }
        let mut sizes = Vec::new();
        while let Some((partition, batch)) = together.depart().pop() {
            sizes.push(batch.len());
            let acknowledged = batch.len();
            together.arrive(&Delivered { partition, group: batch, acknowledged, refused: Vec::new() });
        }
        assert_eq!(sizes, [15, 15, 200, 1]);
    }

    #[test]
    fn seats_share_as_few_partitions_as_there_are_requests_in_flight() {
        let together = Together::new(10, 64, 1_000_000);
        assert_eq!((0..7).map(|slot| together.partition_of(slot)).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 0, 1]);
        assert_eq!(Together::new(4, 2, 1_000_000).partition_of(3), 1);
    }

    #[test]
    fn lanes_have_equally_many_seats() {
        let found = [1, 2, 5, 6, 7, 14, 28, 64, 65].map(|slots| lanes(slots, 16));
        assert_eq!(found, [1, 2, 5, 3, 1, 2, 4, 4, 5]);
        assert_eq!([lanes(64, 1), lanes(64, 2), lanes(63, 2), lanes(64, 3)], [1, 2, 1, 2]);
    }
}
