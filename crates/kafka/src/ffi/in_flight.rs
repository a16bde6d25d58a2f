//! A group of records on its way: which of them the client has, and which are reported.
//!
//! Wraps: the opaque value that a message carries to its report and back. Safety rule kept here: the numbers that say
//! whether the client may still read the group's bytes.

use pipeline::Group;

/// Bits of a message's opaque value: partition, generation of the partition's group, index in the group.
const INDEX_BITS: u32 = 20;
pub(super) const GENERATION_BITS: u32 = 20;
pub(super) const PARTITION_BITS: u32 = 24;
const _: () = assert!(usize::BITS == 64 && INDEX_BITS + GENERATION_BITS + PARTITION_BITS == 64);

/// The most records a group can have.
pub(crate) const MOST_RECORDS: usize = 1 << INDEX_BITS;

/// The value that a message carries.
pub(super) fn opaque(partition: u32, generation: u32, index: usize) -> usize {
    ((partition as usize) << (INDEX_BITS + GENERATION_BITS)) | ((generation as usize) << INDEX_BITS) | index
}

/// A partition that no topic has: of the records that a client has copied.
const COPIED: u32 = (1 << PARTITION_BITS) - 1;

/// The value that a copied record carries.
pub(super) fn progress_opaque(serial: u32) -> usize {
    opaque(COPIED, 0, serial as usize & (MOST_RECORDS - 1))
}

/// The serial of a copied record; `None`: it is one of a group.
pub(super) fn progress_serial(opaque: usize) -> Option<u32> {
    let (partition, _, serial) = from_opaque(opaque);
    (partition == COPIED).then_some(serial as u32)
}

/// Another such one: of dead letters.
const LETTER: u32 = COPIED - 1;
const LETTER_MASK: usize = (1 << (INDEX_BITS + GENERATION_BITS)) - 1;

/// The value that the message of a dead letter with this number carries.
pub(super) fn letter_opaque(number: u64) -> usize {
    opaque(LETTER, 0, 0) | (number as usize & LETTER_MASK)
}

/// The number of a dead letter; `None`: it is none.
pub(super) fn letter_from_opaque(opaque: usize) -> Option<u64> {
    (from_opaque(opaque).0 == LETTER).then_some((opaque & LETTER_MASK) as u64)
}

/// Partition, generation and index of a message.
pub(super) fn from_opaque(opaque: usize) -> (u32, u32, usize) {
    let generation = (opaque >> INDEX_BITS) & ((1 << GENERATION_BITS) - 1);
    ((opaque >> (INDEX_BITS + GENERATION_BITS)) as u32, generation as u32, opaque & (MOST_RECORDS - 1))
}

/// A group whose bytes the client may read at any time.
pub(super) struct GroupInFlight {
    pub(super) group: Group,
    /// Tells its reports from those of an older group of the partition.
    pub(super) generation: u32,
    /// Handed over up to here.
    pub(super) next: usize,
    /// Accepted by the client and not reported yet.
    pub(super) waiting: usize,
    /// One bit a record: it needs no report any more.
    settled: Vec<u64>,
}

impl GroupInFlight {
    /// A group of which nothing was handed over.
    pub(super) fn new(group: Group, generation: u32) -> GroupInFlight {
        let settled = vec![0; group.len().div_ceil(64)];
        GroupInFlight { group, generation, next: 0, waiting: 0, settled }
    }

    /// Settles a record; false if it was settled before.
    pub(super) fn settle(&mut self, index: usize) -> bool {
        let (word, bit) = (index / 64, 1u64 << (index % 64));
        let fresh = self.settled[word] & bit == 0;
        self.settled[word] |= bit;
        fresh
    }

    /// Notes the report of a record; false if it is not one that was waited for.
    pub(super) fn report(&mut self, generation: u32, index: usize) -> bool {
        let expected = self.generation == generation && index < self.next && self.settle(index);
        self.waiting -= usize::from(expected);
        expected
    }
}
