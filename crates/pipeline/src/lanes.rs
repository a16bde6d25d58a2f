//! Lanes: the worker's own batching above the client, one lane for each partition of the topic.
//!
//! Responsible for: which records travel together, that a partition has at most one group in flight, that a lane's
//! records go out in source order even when some are refused, and that every record handed over comes back. Not
//! responsible for: when records are taken or a chunk is closed ([`crate::worker`]), or how a group is sent ([`Sink`]).
//!
//! Why: a client that has a batch ready while another of the same partition is in flight busy-loops until the answer
//! comes. So a partition gets its next group only when nothing of it is in flight, and one batch in flight can't be
//! reordered by a retry.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use migration::{Failure, FailureKind, Receipt};

use crate::group::{Key, RECORD_OVERHEAD};
use crate::receipt;
use crate::{Blame, Block, Delivered, Group, RejectedRecord, Sink, SinkLimits};

/// The most records in a group near the brokers: what is in flight then fits best into the processors' caches.
pub const GROUP_RECORDS: usize = 2_500;
/// The most in a group at all.
const MOST_GROUP_RECORDS: usize = 20_000;
/// How many records a group may have for each millisecond of the way: eight lanes with as many are far more than one
/// worker can send, which leaves room for what an answer takes besides the way.
const RECORDS_A_MS: u128 = 1_000;
/// Of a batch's bytes this many are left to what else stands in its request: names, ids and lengths.
const REQUEST_BYTES: usize = 2_048;

/// How many records a group has at most: the more, the longer its lane waits for the answer. `room`: how many records
/// of the mean size fit into a batch, as far as that is known. A group that is cut by its bytes leaves only after the
/// client's linger, so it is to be full by its number just before.
pub fn group_records(round_trip: Option<Duration>, room: Option<usize>) -> usize {
    let by_distance = RECORDS_A_MS * round_trip.map_or(0, |time| time.as_micros()) / 1_000;
    let most = room.map_or(MOST_GROUP_RECORDS, |room| MOST_GROUP_RECORDS.min(room * 97 / 100));
    usize::try_from(by_distance).unwrap_or(usize::MAX).min(most).max(GROUP_RECORDS)
}

/// How many bytes of records, each with [`RECORD_OVERHEAD`], are surely one batch of the client's.
pub fn group_bytes(batch_bytes: usize, headers: bool) -> usize {
    // What the client counts for headers besides their bytes is not counted here.
    let rest = if headers { usize::MAX } else { REQUEST_BYTES };
    batch_bytes - rest.min(batch_bytes.div_ceil(10))
}

/// How many bytes of memory cleared groups may keep for reuse, all lanes together.
const SPARE_BYTES: usize = 8 << 20;

/// What became of a record that was offered to the lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    /// It is in a group.
    Taken,
    /// Its group is full and can go: hand it over with [`Lanes::hand_over`], then offer the record again.
    Full(Ready),
    /// Its group is full and its partition (`None`: every partition) still has a group in flight: wait for reports.
    Blocked(Option<u32>),
    /// There is no memory for a copy of it: hand over what [`Lanes::for_room`] names, or wait for reports.
    NoRoom,
}

/// A group that can be handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// The filling group of the lane with this index, which is idle.
    Lane(usize),
    /// The group of records without a key, to any idle lane.
    Open,
}

/// What a delivered group came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Records acknowledged.
    pub acknowledged: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Records set aside.
    pub dead_lettered: u64,
    /// Of the acknowledged records.
    pub receipt: Receipt,
    /// The broker's words, if it refused a batch without saying because of which record: it is sent again in halves.
    pub halved: Option<String>,
    /// The broker's words for the first of the records that it named; their neighbours are sent again.
    pub named: Option<String>,
}

#[derive(Debug, Default)]
struct Lane {
    filling: Group,
    /// A record did not fit into `filling`: it goes as soon as the lane is idle.
    full: bool,
    /// Records in flight; 0 = idle.
    flying: usize,
    /// The oldest of them.
    oldest: Option<(u32, u64)>,
    /// Parts of a refused group: older than everything in `filling`, in source order.
    again: VecDeque<Group>,
    spare: Option<Group>,
}

/// Some records, by number and by bytes of keys and values.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    records: usize,
    bytes: usize,
}

impl Load {
    fn add(&mut self, group: &Group) {
        self.records += group.len();
        self.bytes += group.bytes();
    }

    fn subtract(&mut self, group: &Group) {
        self.records -= group.len();
        self.bytes -= group.bytes();
    }

    fn add_record(&mut self, bytes: usize) {
        self.records += 1;
        self.bytes += bytes;
    }
}

/// All lanes of a worker.
#[derive(Debug)]
pub struct Lanes {
    lanes: Vec<Lane>,
    /// Records that may go to any partition; only where no record has a key. With keys, a record without one joins a
    /// lane when it is taken, or else it could be overtaken within its partition.
    open: Group,
    /// Whose turn it is among idle lanes.
    next: usize,
    /// The lane that records without a key join, where others have keys.
    joined: Option<usize>,
    group_records: usize,
    group_bytes: usize,
    overhead: usize,
    /// Groups in flight, and what is in them.
    flying: usize,
    in_flight: Load,
    /// Memory of all groups' copies, the spare ones' too, and how much it may be.
    copies_memory: usize,
    copies_limit: usize,
    /// What is filling or to be sent again.
    held: Load,
    /// While true, a lane that becomes idle hands over what it has.
    flushing: bool,
    /// Memory of the spare groups.
    spare_memory: usize,
}

impl Lanes {
    /// Lanes for a topic of `partitions` partitions. `headers_bytes` is what the fixed headers add to each record.
    pub fn new(partitions: u32, limits: SinkLimits, headers_bytes: usize) -> Self {
        Lanes {
            lanes: std::iter::repeat_with(Lane::default).take(partitions as usize).collect(),
            open: Group::default(),
            next: 0,
            joined: None,
            group_records: limits.batch_records,
            group_bytes: group_bytes(limits.batch_bytes, headers_bytes > 0),
            overhead: RECORD_OVERHEAD + headers_bytes,
            flying: 0,
            in_flight: Load::default(),
            copies_memory: 0,
            copies_limit: usize::MAX,
            held: Load::default(),
            flushing: false,
            spare_memory: 0,
        }
    }

    /// How many partitions the topic has.
    pub fn partitions(&self) -> u32 {
        self.lanes.len() as u32
    }

    /// Whether any group is in flight.
    pub fn in_flight(&self) -> bool {
        self.flying > 0
    }

    /// Whether any record is filling, in flight or to be sent again.
    pub fn busy(&self) -> bool {
        self.records() > 0
    }

    /// How many records are filling, in flight or to be sent again.
    pub fn records(&self) -> usize {
        self.in_flight.records + self.held.records
    }

    /// Memory of all groups' copies, the spare ones' too.
    pub fn copies_memory(&self) -> usize {
        self.copies_memory
    }

    /// From now on copies may take `bytes` of memory.
    pub fn limit_copies(&mut self, bytes: usize) {
        self.copies_limit = bytes;
    }

    /// With nothing in flight: whether what is counted is what is there.
    #[cfg(test)]
    pub(crate) fn check_accounts(&self) {
        assert_eq!((self.flying, self.in_flight.records, self.in_flight.bytes), (0, 0, 0));
        let groups = || self.lanes.iter().flat_map(|lane| lane.again.iter().chain([&lane.filling])).chain([&self.open]);
        let spares = || self.lanes.iter().filter_map(|lane| lane.spare.as_ref());
        assert_eq!(self.held.records, groups().map(Group::len).sum::<usize>());
        assert_eq!(self.held.bytes, groups().map(Group::bytes).sum::<usize>());
        assert_eq!(self.copies_memory, groups().chain(spares()).map(Group::copies_memory).sum::<usize>());
        assert_eq!(self.spare_memory, spares().map(Group::memory).sum::<usize>());
    }

    /// Gives the memory back that is kept for reuse.
    pub fn drop_spares(&mut self) {
        if self.spare_memory == 0 {
            return;
        }
        for spare in self.lanes.iter_mut().filter_map(|lane| lane.spare.take()) {
            self.copies_memory -= spare.copies_memory();
        }
        self.spare_memory = 0;
    }

    /// Offers a record that may go to any partition, where no record of the shard has a key. It stays in its block:
    /// neighbours travel together.
    #[inline]
    pub fn push_open(&mut self, block: &Rc<Block>, start: u32, len: u32, timestamp: Option<i64>) -> Push {
        if !self.fits(&self.open, len as usize) {
            return if self.flying < self.lanes.len() { Push::Full(Ready::Open) } else { Push::Blocked(None) };
        }
        self.open.push(block, start, len, Key::Null, timestamp);
        self.held.add_record(len as usize);
        Push::Taken
    }

    /// Offers a record that may go to any partition (its key, if any, is one that the partitioner ignores), where other
    /// records have keys.
    pub fn push_any(&mut self, block: &Rc<Block>, start: u32, len: u32, key: Key<'_>, timestamp: Option<i64>) -> Push {
        while let Some(index) = self.lane_to_join() {
            match self.push(index, block, start, len, key, timestamp) {
                Push::Blocked(_) => self.joined = None,
                other => return other,
            }
        }
        Push::Blocked(None)
    }

    /// Offers a record for the partition with this index. It is copied: neighbours of the source mostly part here, and
    /// the client would read a group record by record out of far more memory than the processors' caches hold.
    pub fn push(
        &mut self,
        index: usize,
        block: &Rc<Block>,
        start: u32,
        len: u32,
        key: Key<'_>,
        timestamp: Option<i64>,
    ) -> Push {
        let bytes = len as usize + key.len();
        if !self.fits(&self.lanes[index].filling, bytes) {
            let lane = &mut self.lanes[index];
            lane.full = true;
            return if lane.flying == 0 { Push::Full(Ready::Lane(index)) } else { Push::Blocked(Some(index as u32)) };
        }
        if self.lanes[index].filling.growth(bytes) > 0 && !self.grow(index, bytes) {
            return Push::NoRoom;
        }
        self.lanes[index].filling.push_copy(block, start, len, key, timestamp);
        self.held.add_record(bytes);
        Push::Taken
    }

    /// Whether a group has room for a record of this size; one that is larger than a group goes alone.
    #[inline]
    fn fits(&self, group: &Group, bytes: usize) -> bool {
        let of_all = group.bytes() + bytes + (group.len() + 1) * self.overhead;
        group.is_empty() || (group.len() < self.group_records && of_all <= self.group_bytes)
    }

    /// Hands over a group that [`Push::Full`] or [`Lanes::for_room`] named.
    pub fn hand_over(&mut self, ready: Ready, sink: &mut dyn Sink) -> Result<(), Failure> {
        match ready {
            Ready::Lane(index) => self.hand_over_lane(index, sink),
            Ready::Open => self.hand_over_open(sink),
        }
    }

    /// Which group to hand over when no memory is left: the fullest of the idle lanes; `None`: wait for reports. That
    /// is better while much is in flight: memory comes back group by group, and a hand-over at each makes smaller and
    /// smaller groups.
    pub fn for_room(&self) -> Option<Ready> {
        if 2 * self.in_flight.bytes > self.held.bytes {
            return None;
        }
        if !self.open.is_empty() && self.flying < self.lanes.len() {
            return Some(Ready::Open);
        }
        let idle = self.lanes.iter().enumerate().filter(|(_, lane)| lane.flying == 0 && !lane.filling.is_empty());
        idle.max_by_key(|(_, lane)| lane.filling.bytes()).map(|(index, _)| Ready::Lane(index))
    }

    /// Hands over all that idle lanes have and, until [`Lanes::flushed`], whatever a lane has when it becomes idle.
    pub fn flush(&mut self, sink: &mut dyn Sink) -> Result<(), Failure> {
        self.flushing = true;
        self.hand_over_idle(sink)
    }

    /// Hands over all that idle lanes have.
    pub fn hand_over_idle(&mut self, sink: &mut dyn Sink) -> Result<(), Failure> {
        self.hand_over_open(sink)?;
        for index in 0..self.lanes.len() {
            if self.lanes[index].flying == 0 {
                self.hand_over_lane(index, sink)?;
            }
        }
        Ok(())
    }

    /// Ends what [`Lanes::flush`] began.
    pub fn flushed(&mut self) {
        self.flushing = false;
    }

    /// Accounts for a delivered group, sets aside (through `dead`) what was refused for good, and hands over what its
    /// lane has to send next. A report that is missing or came twice is a failure.
    pub fn delivered(
        &mut self,
        delivered: Delivered,
        sink: &mut dyn Sink,
        dead: &mut dyn FnMut(&Group, usize, &str) -> Result<(), Failure>,
    ) -> Result<Settled, Failure> {
        let Delivered { partition, group, acknowledged, refused } = delivered;
        let index = partition as usize;
        let lane = self.lanes.get_mut(index).filter(|lane| lane.flying > 0).ok_or_else(|| {
            wrong(format!("partition {partition}: delivery reports came twice, or for a group that was never handed over"))
        })?;
        let handed = lane.flying;
        if group.len() != handed || acknowledged + refused.len() != handed {
            return Err(wrong(format!(
                "partition {partition}: a delivery report is missing: {handed} records were handed over, {acknowledged} were \
                 acknowledged and {} refused",
                refused.len()
            )));
        }
        if refused.iter().any(|r| r.index >= handed) || !refused.is_sorted_by(|a, b| a.index < b.index) {
            return Err(wrong(format!("partition {partition}: delivery reports name records that were not handed over")));
        }
        lane.flying = 0;
        lane.oldest = None;
        self.flying -= 1;
        self.in_flight.subtract(&group);

        let mut settled = Settled { acknowledged: acknowledged as u64, ..Settled::default() };
        // A single suspect was alone in its batch.
        let suspects = refused.iter().filter(|refusal| refusal.blame == Blame::Unknown).count();
        let is_dead = |refusal: &RejectedRecord| match refusal.blame {
            Blame::Own => true,
            Blame::Unknown => suspects == 1,
            Blame::Others => false,
        };
        let mut refused_bytes = 0;
        let mut rest = Vec::new();
        for refusal in &refused {
            refused_bytes += message_bytes(&group, refusal.index);
            if is_dead(refusal) {
                dead(&group, refusal.index, &refusal.reason)?;
                settled.dead_lettered += 1;
            } else {
                rest.push(refusal.index);
            }
        }
        settled.bytes = (group.bytes() - refused_bytes) as u64;
        let mut not_sent = refused.iter().map(|refusal| refusal.index).peekable();
        for (index, message) in group.messages().enumerate() {
            if not_sent.next_if_eq(&index).is_none() {
                receipt::add(&mut settled.receipt, message.key, message.value);
            }
        }
        let again = rest.len();
        let first = |blame| refused.iter().find(|refusal| refusal.blame == blame).map(|refusal| refusal.reason.clone());
        let halves = if suspects > 1 {
            settled.halved = first(Blame::Unknown);
            rest.split_at(again / 2)
        } else {
            settled.named = first(Blame::Own).filter(|_| again > 0);
            rest.split_at(again)
        };
        for half in [halves.1, halves.0].into_iter().filter(|half| !half.is_empty()) {
            let part = group.select(half.iter().copied());
            self.copies_memory += part.copies_memory();
            self.held.add(&part);
            lane.again.push_front(part);
        }
        self.recycle(index, group);
        self.go_on(index, sink)?;
        Ok(settled)
    }

    /// The partition whose record in flight is the oldest: the one that a stalled worker waits for.
    pub fn slowest(&self) -> Option<u32> {
        let flying = self.lanes.iter().enumerate().filter(|(_, lane)| lane.flying > 0);
        flying.min_by_key(|(_, lane)| lane.oldest).map(|(index, _)| index as u32)
    }

    /// The partitions with records in flight, the one with the oldest first.
    pub fn flying(&self) -> Vec<u32> {
        let flying = self.lanes.iter().enumerate().filter(|(_, lane)| lane.flying > 0);
        let mut found: Vec<_> = flying.map(|(index, lane)| (lane.oldest, index as u32)).collect();
        found.sort_unstable();
        found.into_iter().map(|(_, partition)| partition).collect()
    }

    fn go_on(&mut self, index: usize, sink: &mut dyn Sink) -> Result<(), Failure> {
        let lane = &mut self.lanes[index];
        if let Some(part) = lane.again.pop_front() {
            return self.send(index, part, sink);
        }
        if lane.full || (self.flushing && !lane.filling.is_empty()) {
            return self.hand_over_lane(index, sink);
        }
        if self.flushing { self.hand_over_open(sink) } else { Ok(()) }
    }

    fn hand_over_lane(&mut self, index: usize, sink: &mut dyn Sink) -> Result<(), Failure> {
        if self.lanes[index].filling.is_empty() {
            return Ok(());
        }
        let group = self.cut_filling(index);
        self.send(index, group, sink)
    }

    /// Takes what a lane has, to be sent as it is.
    fn cut_filling(&mut self, index: usize) -> Group {
        if self.joined == Some(index) {
            self.joined = None;
        }
        let lane = &mut self.lanes[index];
        lane.full = false;
        std::mem::take(&mut lane.filling)
    }

    /// Takes the records that may go to any partition, to be sent to this one.
    fn cut_open(&mut self, index: usize) -> Group {
        let spare = self.spare(index);
        std::mem::replace(&mut self.open, spare)
    }

    /// Memory for a copy of `bytes` in a lane; false: there is none. A record is copied in any case when no other is
    /// held.
    #[cold]
    fn grow(&mut self, index: usize, bytes: usize) -> bool {
        if self.lanes[index].filling.is_empty() {
            let spare = self.spare(index);
            let empty = std::mem::replace(&mut self.lanes[index].filling, spare);
            self.copies_memory -= empty.copies_memory();
        }
        let by = self.lanes[index].filling.growth(bytes);
        if self.copies_memory + by > self.copies_limit {
            self.drop_spares();
            if self.copies_memory + by > self.copies_limit && self.busy() {
                return false;
            }
        }
        let filling = &mut self.lanes[index].filling;
        self.copies_memory -= filling.copies_memory();
        filling.grow(by);
        self.copies_memory += filling.copies_memory();
        true
    }

    /// An empty group, with a lane's spare memory if it has any.
    fn spare(&mut self, index: usize) -> Group {
        let spare = self.lanes[index].spare.take().unwrap_or_default();
        self.spare_memory -= spare.memory();
        spare
    }

    fn hand_over_open(&mut self, sink: &mut dyn Sink) -> Result<(), Failure> {
        if self.open.is_empty() {
            return Ok(());
        }
        let Some(index) = self.turn(|lane| lane.flying == 0) else { return Ok(()) };
        let group = self.cut_open(index);
        self.send(index, group, sink)
    }

    fn send(&mut self, index: usize, group: Group, sink: &mut dyn Sink) -> Result<(), Failure> {
        let lane = &mut self.lanes[index];
        lane.flying = group.len();
        lane.oldest = group.oldest();
        self.flying += 1;
        self.in_flight.add(&group);
        self.held.subtract(&group);
        sink.hand_over(index as u32, group)
    }

    /// The lane that the next record without a key joins: the same until its group goes, then an idle one, else any
    /// that is not full.
    fn lane_to_join(&mut self) -> Option<usize> {
        if self.joined.is_none() {
            let idle = self.turn(|lane| lane.flying == 0 && !lane.full);
            self.joined = idle.or_else(|| self.turn(|lane| !lane.full));
        }
        self.joined
    }

    /// The next lane in turn that suits.
    fn turn(&mut self, suits: impl Fn(&Lane) -> bool) -> Option<usize> {
        let count = self.lanes.len();
        let found = (self.next..count).chain(0..self.next).find(|&index| suits(&self.lanes[index]))?;
        self.next = (found + 1) % count;
        Some(found)
    }

    fn recycle(&mut self, index: usize, mut group: Group) {
        self.copies_memory -= group.copies_memory();
        group.clear();
        let kept = self.spare_memory + group.memory();
        let lane = &mut self.lanes[index];
        if lane.spare.is_none() && kept <= SPARE_BYTES {
            self.copies_memory += group.copies_memory();
            self.spare_memory = kept;
            lane.spare = Some(group);
        }
    }
}

fn message_bytes(group: &Group, index: usize) -> usize {
    let message = group.message(index);
    message.value.len() + message.key.map_or(0, <[u8]>::len)
}

/// Accounting that does not add up: only a fresh client can be trusted again.
fn wrong(message: String) -> Failure {
    Failure::new(FailureKind::Retry, message)
}

#[cfg(test)]
mod tests;
