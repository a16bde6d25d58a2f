//! Groups: the records that go to one partition in one piece. A group owns its share of the blocks, so that whoever holds the
//! group holds the bytes: a sink keeps it until every record has its delivery report, then gives it back.

use std::rc::Rc;

use crate::Block;

/// What a record costs in a batch besides key, value and headers.
pub const RECORD_OVERHEAD: usize = 40;

/// One message as a sink sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// `None` is a null key; an empty one is a key.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: &'a [u8],
    /// Milliseconds since 1970; `None` = the client sets the time of sending.
    pub timestamp: Option<i64>,
}

/// Where a record stands in its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordPlace {
    /// Index of the segment.
    pub segment: u32,
    /// Place of its first byte.
    pub start: u64,
    /// Its length, without the line end.
    pub bytes: u64,
}

/// Where a key's bytes are.
#[derive(Clone, Copy, Debug)]
pub enum KeyBytes<'a> {
    /// No key.
    Null,
    /// `len` bytes of the block from `start`.
    InBlock {
        /// First byte.
        start: u32,
        /// Length.
        len: u32,
    },
    /// Bytes that stand nowhere in the source (unescaped ones): the group copies them.
    Copied(&'a [u8]),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    block: u32,
    start: u32,
    len: u32,
    key_start: u32,
    key_len: u32,
    key: KeyIn,
    timestamp: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyIn {
    Null,
    Block,
    Side,
}

/// "No timestamp" inside an entry.
const NO_TIMESTAMP: i64 = i64::MIN;

/// Some records for one partition, in source order, and the blocks they stand in.
#[derive(Debug, Default)]
pub struct Group {
    blocks: Vec<Rc<Block>>,
    side: Vec<u8>,
    entries: Vec<Entry>,
    bytes: usize,
    timestamps: bool,
    /// How many marks had been set when its records were taken (see [`crate::lanes`]).
    marks: u64,
}

impl Group {
    /// Adds the record at `start..start + len` of `block`.
    #[inline]
    pub fn push(&mut self, block: &Rc<Block>, start: u32, len: u32, key: KeyBytes<'_>, timestamp: Option<i64>) {
        if !self.blocks.last().is_some_and(|last| Rc::ptr_eq(last, block)) {
            self.blocks.push(Rc::clone(block));
        }
        let (key, key_start, key_len) = match key {
            KeyBytes::Null => (KeyIn::Null, 0, 0),
            KeyBytes::InBlock { start, len } => (KeyIn::Block, start, len),
            KeyBytes::Copied(bytes) => {
                let start = self.side.len() as u32;
                self.side.extend_from_slice(bytes);
                (KeyIn::Side, start, bytes.len() as u32)
            }
        };
        self.bytes += len as usize + key_len as usize;
        self.timestamps |= timestamp.is_some();
        self.entries.push(Entry {
            block: self.blocks.len() as u32 - 1,
            start,
            len,
            key_start,
            key_len,
            key,
            timestamp: timestamp.unwrap_or(NO_TIMESTAMP),
        });
    }

    /// How many records.
    #[inline]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of keys and values.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many marks had been set when its records were taken.
    pub(crate) fn marks(&self) -> u64 {
        self.marks
    }

    /// Notes how many marks have been set.
    pub(crate) fn set_marks(&mut self, marks: u64) {
        self.marks = marks;
    }

    /// How many records fit without growing: what a cleared group costs to keep.
    pub fn capacity(&self) -> usize {
        self.entries.capacity()
    }

    /// The message at `index`.
    #[inline]
    pub fn message(&self, index: usize) -> Message<'_> {
        let e = &self.entries[index];
        self.resolve(e, &self.blocks[e.block as usize].bytes)
    }

    /// All messages in order.
    pub fn messages(&self) -> impl ExactSizeIterator<Item = Message<'_>> {
        self.messages_from(0)
    }

    /// The messages from `first` on, in order. Neighbours mostly share a block, which is looked up once for them.
    #[inline]
    pub fn messages_from(&self, first: usize) -> impl ExactSizeIterator<Item = Message<'_>> {
        let mut current = u32::MAX;
        let mut block: &[u8] = &[];
        self.entries[first..].iter().map(move |e| {
            if e.block != current {
                (current, block) = (e.block, &self.blocks[e.block as usize].bytes);
            }
            self.resolve(e, block)
        })
    }

    /// Whether any message has a timestamp.
    #[inline]
    pub fn has_timestamps(&self) -> bool {
        self.timestamps
    }

    #[inline]
    fn resolve<'a>(&'a self, e: &Entry, block: &'a [u8]) -> Message<'a> {
        Message {
            key: match e.key {
                KeyIn::Null => None,
                KeyIn::Block => Some(range(block, e.key_start, e.key_len)),
                KeyIn::Side => Some(range(&self.side, e.key_start, e.key_len)),
            },
            value: range(block, e.start, e.len),
            timestamp: (e.timestamp != NO_TIMESTAMP).then_some(e.timestamp),
        }
    }

    /// Where the record at `index` stands in its shard.
    pub fn place(&self, index: usize) -> RecordPlace {
        let e = &self.entries[index];
        let block = &self.blocks[e.block as usize];
        RecordPlace { segment: block.segment, start: block.place + u64::from(e.start), bytes: u64::from(e.len) }
    }

    /// The order of the group's first record in the shard: who compares two groups learns which holds the older one.
    pub fn oldest(&self) -> Option<(u32, u64)> {
        (!self.is_empty()).then(|| {
            let place = self.place(0);
            (place.segment, place.start)
        })
    }

    /// A new group of the records at `indexes`, in that order, on the same side of a mark.
    pub fn select(&self, indexes: impl IntoIterator<Item = usize>) -> Group {
        let mut part = Group { marks: self.marks, ..Group::default() };
        indexes.into_iter().for_each(|index| part.push_of(self, index));
        part
    }

    /// Adds all records of another group.
    pub fn append(&mut self, other: &Group) {
        (0..other.len()).for_each(|index| self.push_of(other, index));
    }

    /// Adds another group's record.
    fn push_of(&mut self, other: &Group, index: usize) {
        let e = other.entries[index];
        let key = match e.key {
            KeyIn::Null => KeyBytes::Null,
            KeyIn::Block => KeyBytes::InBlock { start: e.key_start, len: e.key_len },
            KeyIn::Side => KeyBytes::Copied(range(&other.side, e.key_start, e.key_len)),
        };
        let timestamp = (e.timestamp != NO_TIMESTAMP).then_some(e.timestamp);
        self.push(&other.blocks[e.block as usize], e.start, e.len, key, timestamp);
    }

    /// Empties the group, lets its blocks go and keeps its memory for reuse.
    pub fn clear(&mut self) {
        self.blocks.clear();
        self.side.clear();
        self.entries.clear();
        self.bytes = 0;
        self.timestamps = false;
    }
}

#[inline]
fn range(bytes: &[u8], start: u32, len: u32) -> &[u8] {
    &bytes[start as usize..start as usize + len as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_keep_their_bytes_and_places() {
        let block = Rc::new(Block { bytes: b"{\"k\":\"a\"}\n{}".to_vec(), segment: 3, place: 100 });
        let mut group = Group::default();
        group.push(&block, 0, 9, KeyBytes::InBlock { start: 6, len: 1 }, Some(7));
        group.push(&block, 10, 2, KeyBytes::Copied(b"b\""), None);
        assert_eq!(group.message(0), Message { key: Some(b"a"), value: b"{\"k\":\"a\"}", timestamp: Some(7) });
        assert_eq!(group.message(1), Message { key: Some(b"b\""), value: b"{}", timestamp: None });
        assert_eq!(group.place(1), RecordPlace { segment: 3, start: 110, bytes: 2 });
        assert_eq!(group.bytes(), 9 + 1 + 2 + 2);
        let mut part = group.select([1]);
        assert_eq!(part.message(0), group.message(1));
        part.append(&group);
        assert!(part.len() == 3 && part.has_timestamps() && part.bytes() == group.bytes() + 4);
        assert_eq!((part.message(1), part.message(2)), (group.message(0), group.message(1)));
        group.clear();
        drop(part);
        assert_eq!(Rc::strong_count(&block), 1);
    }
}
