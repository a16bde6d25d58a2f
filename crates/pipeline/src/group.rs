//! Groups: the records that go to one partition in one piece. A group owns its share of the blocks, or copies of its
//! records, so that the bytes live as long as the group: a sink keeps it until every record has its delivery report,
//! then gives it back.

use std::rc::Rc;

use crate::Block;
use crate::block::RowStart;

/// What a record costs in a batch besides key, value and headers, at most: its length, attributes, timestamp and offset
/// relative to the batch's, and the lengths of key, value and headers.
pub const RECORD_OVERHEAD: usize = 28;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    /// No key.
    Null,
    /// `len` bytes of the value from `start`.
    Inside {
        /// First byte.
        start: u32,
        /// Length; 0 is an empty key, which is not a null one.
        len: u32,
    },
    /// Bytes that stand nowhere in the value, because it has them escaped: the group copies them.
    Copied(&'a [u8]),
}

impl Key<'_> {
    /// The key's bytes, with the value that it belongs to.
    pub fn bytes<'b>(&'b self, value: &'b [u8]) -> Option<&'b [u8]> {
        match *self {
            Key::Null => None,
            Key::Inside { start, len } => Some(range(value, start, len)),
            Key::Copied(bytes) => Some(bytes),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match *self {
            Key::Null => 0,
            Key::Inside { len, .. } => len as usize,
            Key::Copied(bytes) => bytes.len(),
        }
    }
}

/// A piece of the source that records stand in.
#[derive(Debug)]
struct Origin {
    segment: u32,
    /// Place of its first byte.
    place: u64,
    /// The places of its rows, where they don't follow from where these stand.
    table: Option<Rc<Vec<RowStart>>>,
    /// The group's share of it; `None`: the group has copies of its records.
    block: Option<Rc<Block>>,
}

/// What tells the places of an origin's rows.
#[derive(Clone, Copy)]
struct Places<'a> {
    segment: u32,
    place: u64,
    table: Option<&'a Rc<Vec<RowStart>>>,
}

impl<'a> Places<'a> {
    #[inline]
    fn of(block: &'a Block) -> Places<'a> {
        Places { segment: block.segment, place: block.place, table: block.table.as_ref() }
    }

    fn origin(self, block: Option<&Rc<Block>>) -> Origin {
        Origin { segment: self.segment, place: self.place, table: self.table.cloned(), block: block.cloned() }
    }
}

impl Origin {
    fn places(&self) -> Places<'_> {
        Places { segment: self.segment, place: self.place, table: self.table.as_ref() }
    }

    /// Whether the group has copies of records whose places are told by this.
    #[inline]
    fn copies(&self, places: Places<'_>) -> bool {
        let same_table = match (&self.table, places.table) {
            (None, None) => true,
            (Some(own), Some(other)) => Rc::ptr_eq(own, other),
            _ => false,
        };
        self.block.is_none() && same_table && (self.segment, self.place) == (places.segment, places.place)
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    origin: u32,
    /// Where it stands in the origin.
    start: u32,
    /// Where its value is in the origin's block, or among the copies.
    value: u32,
    len: u32,
    /// Where its key is, from the value's first byte: inside the value, or right behind it.
    key: u32,
    key_len: u32,
    timestamp: i64,
}

impl Entry {
    /// Else it has none, or it stands behind the value.
    fn key_is_inside(&self) -> bool {
        self.key_len != NO_KEY && u64::from(self.key) + u64::from(self.key_len) <= u64::from(self.len)
    }

    /// How many bytes of a group's copies are its.
    fn copied_bytes(&self, group: &Group) -> usize {
        let key = if self.key_len == NO_KEY || self.key_is_inside() { 0 } else { self.key_len };
        if group.origins[self.origin as usize].block.is_none() { (self.len + key) as usize } else { 0 }
    }
}

const _: () = assert!(size_of::<Entry>() == 32, "half a processor's cache line");

/// "No key" as a key's length.
const NO_KEY: u32 = u32::MAX;

/// The least by which the memory for copies grows. With thousands of partitions each has one group that is being
/// filled.
const LEAST_GROWTH: usize = 1 << 10;

/// "No timestamp" inside an entry.
const NO_TIMESTAMP: i64 = i64::MIN;

/// Some records for one partition, in source order, with their bytes: shares of the blocks they stand in, or copies.
#[derive(Debug, Default)]
pub struct Group {
    origins: Vec<Origin>,
    copies: Vec<u8>,
    entries: Vec<Entry>,
    bytes: usize,
    timestamps: bool,
}

impl Group {
    /// Adds the record at `start..start + len` of `block`, which it shares: right for records that are neighbours in
    /// the source. One whose key stands nowhere in it is copied, with its key.
    #[inline]
    pub fn push(&mut self, block: &Rc<Block>, start: u32, len: u32, key: Key<'_>, timestamp: Option<i64>) {
        if let Key::Copied(_) = key {
            return self.push_copy(block, start, len, key, timestamp);
        }
        if !self.origins.last().and_then(|last| last.block.as_ref()).is_some_and(|last| Rc::ptr_eq(last, block)) {
            self.origins.push(Places::of(block).origin(Some(block)));
        }
        self.add(start, start, len, key, timestamp);
    }

    /// Adds a copy of the record at `start..start + len` of `block`: right for records that are scattered over the
    /// source. A later reader of the group finds them one after the other, and the block is not kept for the few of its
    /// records that are here.
    #[inline]
    pub fn push_copy(&mut self, block: &Block, start: u32, len: u32, key: Key<'_>, timestamp: Option<i64>) {
        self.copy(Places::of(block), start, range(&block.bytes, start, len), key, timestamp);
    }

    #[inline]
    fn copy(&mut self, places: Places<'_>, start: u32, value: &[u8], key: Key<'_>, timestamp: Option<i64>) {
        if !self.origins.last().is_some_and(|last| last.copies(places)) {
            self.origins.push(places.origin(None));
        }
        let at = self.copies.len() as u32;
        self.copies.extend_from_slice(value);
        if let Key::Copied(bytes) = key {
            self.copies.extend_from_slice(bytes);
        }
        self.add(start, at, value.len() as u32, key, timestamp);
    }

    /// By how much its memory should grow before `bytes` are copied into it. By a quarter of what it has: growing to
    /// twice the size would leave too much of a worker's memory empty.
    #[inline]
    pub(crate) fn growth(&self, bytes: usize) -> usize {
        let room = self.copies.capacity() - self.copies.len();
        if room >= bytes { 0 } else { bytes.max(self.copies.capacity() / 4).max(LEAST_GROWTH) }
    }

    /// Grows its memory by [`Group::growth`].
    #[cold]
    pub(crate) fn grow(&mut self, by: usize) {
        self.copies.reserve_exact(by);
    }

    /// Adds a record of the last origin.
    #[inline]
    fn add(&mut self, start: u32, value: u32, len: u32, key: Key<'_>, timestamp: Option<i64>) {
        self.bytes += len as usize + key.len();
        self.timestamps |= timestamp.is_some();
        let (key, key_len) = match key {
            Key::Null => (0, NO_KEY),
            Key::Inside { start, len } => (start, len),
            Key::Copied(bytes) => (len, bytes.len() as u32),
        };
        let timestamp = timestamp.unwrap_or(NO_TIMESTAMP);
        self.entries.push(Entry { origin: self.origins.len() as u32 - 1, start, value, len, key, key_len, timestamp });
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

    /// Bytes of memory that its copies take.
    #[inline]
    pub(crate) fn copies_memory(&self) -> usize {
        self.copies.capacity()
    }

    /// Bytes of memory that it takes besides its share of blocks: what a cleared group costs to keep.
    pub fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.origins.capacity() * size_of::<Origin>() + self.copies.capacity()
    }

    /// The message at `index`.
    #[inline]
    pub fn message(&self, index: usize) -> Message<'_> {
        let e = &self.entries[index];
        Self::resolve(e, self.bytes_of(e.origin))
    }

    /// All messages in order.
    pub fn messages(&self) -> impl ExactSizeIterator<Item = Message<'_>> {
        self.messages_from(0)
    }

    /// The messages from `first` on, in order. Neighbours mostly share an origin, which is looked up once for them.
    #[inline]
    pub fn messages_from(&self, first: usize) -> impl ExactSizeIterator<Item = Message<'_>> {
        let mut current = u32::MAX;
        let mut bytes: &[u8] = &[];
        self.entries[first..].iter().map(move |e| {
            if e.origin != current {
                (current, bytes) = (e.origin, self.bytes_of(e.origin));
            }
            Self::resolve(e, bytes)
        })
    }

    /// Whether any message has a timestamp.
    #[inline]
    pub fn has_timestamps(&self) -> bool {
        self.timestamps
    }

    /// Where the values of an origin's records are.
    #[inline]
    fn bytes_of(&self, origin: u32) -> &[u8] {
        self.origins[origin as usize].block.as_ref().map_or(&self.copies, |block| &block.bytes)
    }

    #[inline]
    fn resolve<'a>(e: &Entry, bytes: &'a [u8]) -> Message<'a> {
        Message {
            key: (e.key_len != NO_KEY).then(|| range(bytes, e.value + e.key, e.key_len)),
            value: range(bytes, e.value, e.len),
            timestamp: (e.timestamp != NO_TIMESTAMP).then_some(e.timestamp),
        }
    }

    /// Where the record at `index` stands in its shard.
    pub fn place(&self, index: usize) -> RecordPlace {
        let e = &self.entries[index];
        let origin = &self.origins[e.origin as usize];
        match &origin.table {
            Some(table) => row_at(table, e.start),
            None => RecordPlace { segment: origin.segment, start: origin.place + u64::from(e.start), bytes: u64::from(e.len) },
        }
    }

    /// The order of the group's first record in the shard: who compares two groups learns which holds the older one.
    pub fn oldest(&self) -> Option<(u32, u64)> {
        (!self.is_empty()).then(|| {
            let place = self.place(0);
            (place.segment, place.start)
        })
    }

    /// A new group of the records at `indexes`, in that order.
    pub fn select(&self, indexes: impl IntoIterator<Item = usize, IntoIter: Clone>) -> Group {
        let indexes = indexes.into_iter();
        let mut part = Group::default();
        part.copies.reserve_exact(indexes.clone().map(|index| self.entries[index].copied_bytes(self)).sum());
        indexes.for_each(|index| part.push_of(self, index));
        part
    }

    /// Adds all records of another group.
    pub fn append(&mut self, other: &Group) {
        self.copies.reserve(other.copies.len());
        (0..other.len()).for_each(|index| self.push_of(other, index));
    }

    /// Adds another group's record.
    fn push_of(&mut self, other: &Group, index: usize) {
        let e = other.entries[index];
        let message = other.message(index);
        let key = match message.key {
            Some(_) if e.key_is_inside() => Key::Inside { start: e.key, len: e.key_len },
            key => key.map_or(Key::Null, Key::Copied),
        };
        let origin = &other.origins[e.origin as usize];
        match &origin.block {
            Some(block) => self.push(block, e.start, e.len, key, message.timestamp),
            None => self.copy(origin.places(), e.start, message.value, key, message.timestamp),
        }
    }

    /// Empties the group, lets its blocks go and keeps its memory for reuse, unless most of that was not used.
    pub fn clear(&mut self) {
        if self.copies.capacity() > LEAST_GROWTH && self.copies.len() < self.copies.capacity() / 2 {
            self.copies = Vec::new();
        }
        self.origins.clear();
        self.copies.clear();
        self.entries.clear();
        self.bytes = 0;
        self.timestamps = false;
    }
}

/// Where the row that begins at a byte of its block stands in the source.
fn row_at(table: &[RowStart], start: u32) -> RecordPlace {
    // A row without bytes begins where the next one does, and is never sent.
    let behind = table.partition_point(|row| row.start <= start);
    let row = &table[behind.saturating_sub(1)];
    RecordPlace { segment: row.segment, start: row.at, bytes: row.whole }
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
        let block = Rc::new(Block { bytes: b"{\"k\":\"a\"}\n{}".to_vec(), segment: 3, place: 100, table: None });
        let mut shared = Group::default();
        shared.push(&block, 0, 9, Key::Inside { start: 6, len: 1 }, Some(7));
        shared.push(&block, 10, 2, Key::Copied(b"b\""), None);
        let mut copied = Group::default();
        copied.push_copy(&block, 0, 9, Key::Inside { start: 6, len: 1 }, Some(7));
        copied.push_copy(&block, 10, 2, Key::Copied(b"b\""), None);
        for mut group in [shared, copied] {
            assert_eq!(group.message(0), Message { key: Some(b"a"), value: b"{\"k\":\"a\"}", timestamp: Some(7) });
            assert_eq!(group.message(1), Message { key: Some(b"b\""), value: b"{}", timestamp: None });
            assert_eq!(group.place(1), RecordPlace { segment: 3, start: 110, bytes: 2 });
            assert_eq!(group.bytes(), 9 + 1 + 2 + 2);
            let mut part = group.select([1]);
            assert_eq!(part.message(0), group.message(1));
            part.append(&group);
            assert!(part.len() == 3 && part.has_timestamps() && part.bytes() == group.bytes() + 4);
            assert_eq!((part.message(1), part.message(2)), (group.message(0), group.message(1)));
            assert_eq!(part.place(2), group.place(1));
            group.clear();
            assert!(group.is_empty() && group.bytes() == 0);
        }
        assert_eq!(Rc::strong_count(&block), 1);
    }

    #[test]
    fn made_records_have_their_places_from_the_table() {
        let rows = [(0, 3, 100, 8), (2, 3, 140, 0), (2, 4, 0, 5), (4, 4, 9, 7)];
        let rows = rows.map(|(start, segment, at, whole)| RowStart { start, segment, at, whole });
        let table = Some(Rc::new(rows.to_vec()));
        let block = Rc::new(Block { bytes: b"{}[]\"\"".to_vec(), segment: 3, place: 100, table });
        let mut shared = Group::default();
        let mut copied = Group::default();
        for start in [0, 2, 4] {
            shared.push(&block, start, 2, Key::Null, None);
            copied.push_copy(&block, start, 2, Key::Null, None);
        }
        drop(block);
        let places = |group: &Group| {
            (0..group.len())
                .map(|index| group.place(index))
                .map(|place| (place.segment, place.start, place.bytes))
                .collect::<Vec<_>>()
        };
        for group in [shared, copied] {
            assert_eq!(places(&group), [(3, 100, 8), (4, 0, 5), (4, 9, 7)]);
            assert_eq!(places(&group.select([2, 1])), [(4, 9, 7), (4, 0, 5)]);
            assert_eq!(group.oldest(), Some((3, 100)));
        }
    }

    #[test]
    fn shared_and_copied_records_stand_side_by_side() {
        let blocks = [b"one".to_vec(), b"two".to_vec()].map(|bytes| Rc::new(Block { bytes, ..Block::default() }));
        let mut group = Group::default();
        for block in &blocks {
            group.push(block, 0, 3, Key::Null, None);
            group.push_copy(block, 0, 3, Key::Null, None);
        }
        let values: Vec<&[u8]> = group.messages().map(|message| message.value).collect();
        assert_eq!(values, [b"one", b"one", b"two", b"two"]);
    }

    #[test]
    fn memory_that_was_hardly_used_is_not_kept() {
        let block = Rc::new(Block { bytes: vec![b'x'; 10_000], ..Block::default() });
        let mut group = Group::default();
        group.push_copy(&block, 0, 10_000, Key::Null, None);
        group.clear();
        assert!(group.copies_memory() >= 10_000, "it was full");
        group.push_copy(&block, 0, 10, Key::Null, None);
        group.clear();
        assert_eq!(group.copies_memory(), 0);
    }
}
