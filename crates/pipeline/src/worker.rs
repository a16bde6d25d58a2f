//! The worker's loop as a stepper: read, map, lanes, delivery reports, chunk barrier, commit.
//!
//! Responsible for: when records are taken, when a chunk is closed, and that a commit is only said when every record up
//! to it was acknowledged, filtered or set aside. Not responsible for: in what kind of process or thread it runs,
//! sleeping, the control pipe, heartbeats (the caller's), batching ([`crate::lanes`]), or the client ([`Sink`]).
//!
//! The caller repeats [`ShardWorker::step`]; after [`Step::Wait`] it waits, in [`ShardWorker::wait`] or on its own, and
//! steps again. It carries the events of [`ShardWorker::next_event`] to the listener.

pub mod chunk;
pub mod ledger;
pub mod phase_clock;
pub mod refused;
pub mod throttle;

mod intake;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use migration::job::{ChunkLimits, FlushPolicy};
use migration::units::{show_things, show_whole_seconds};
use migration::{
    Control, Counts, Damage, Failure, FailureKind, Finished, LedgerEntry, Level, NoAnswer, Phase, Phases, Position, Progress,
    TopicSettings, WaitingFor, Work, WorkerEvent,
};

use crate::dead_letter::Letters;
use crate::fate::OwnRows;
use crate::lanes::Lanes;
use crate::mapping::Mapping;
use crate::{BlockPool, Delivered, Next, Reader, Rows, Sink, SinkLimits, SourceError, Trouble};
use chunk::OpenChunk;
use intake::Stop;
use ledger::Ledger;
use phase_clock::PhaseClock;
use refused::Refused;
use throttle::Throttle;

/// The longest wait for delivery reports before the caller looks at its control pipe again.
const LONGEST_POLL: Duration = Duration::from_millis(50);
/// The longest wait for anything that is told through the control pipe.
const LONGEST_REST: Duration = Duration::from_secs(1);
/// While the rate limit holds the worker back, no record waits much longer for its group to fill: there is no speed to
/// be won, and the rate as measured at the brokers should be even.
const LONGEST_HOLD: Duration = Duration::from_millis(200);
/// From when on a wait for delivery reports is worth a word in the progress line.
const NOTEWORTHY: Duration = Duration::from_millis(500);

/// What a record counts for at least of what may be in flight: the client holds about 0.4 kB for each, whatever its
/// size.
const LEAST_RECORD_BYTES: u64 = 128;

/// The most rows that one [`ShardWorker::step`] takes.
pub const ROWS_A_STEP: u64 = 16_384;

/// How a worker works.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// When to wait for all delivery reports.
    pub flush: FlushPolicy,
    /// When a chunk is closed.
    pub chunk: ChunkLimits,
    /// Bytes of records that are taken and not yet delivered: of blocks that are held, and of copies.
    pub in_flight: u64,
    /// Key and number of partitions to a partition below that number; `None` = as a record without a key.
    pub partitioner: fn(&[u8], u32) -> Option<u32>,
    /// Which rows it takes of those that it reads; `None`: all.
    pub own: Option<OwnRows>,
    /// No delivery report for this time while something is in flight: give up.
    pub give_up_after: Duration,
    /// What the fixed headers (names and values) add to each record.
    pub headers_bytes: usize,
    /// What the topic's settings refuse is set aside without asking the sink.
    pub topic: TopicSettings,
    /// How many records may be set aside; at the next one the attempt commits what it has and fails with
    /// [`FailureKind::TooManyBad`].
    pub letters_left: u64,
    /// Records that the brokers refused before: they are set aside without being sent.
    pub refused: Refused,
    /// Where its commits go.
    pub ledger: Ledger,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Step again at once.
    Busy,
    /// Nothing to do before `until`, or before what `reason` names has come.
    Wait {
        /// When to step again at the latest.
        until: Instant,
        /// What for.
        reason: WaitReason,
    },
    /// The shard is at its end, or drained: call [`ShardWorker::finish`].
    Done,
}

/// What a worker waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitReason {
    /// Delivery reports: wait in [`ShardWorker::wait`].
    Reports,
    /// `Control::recorded`.
    Recorded,
    /// The rate limit; delivery reports may come meanwhile.
    Rate,
    /// `Control::paused` to end.
    Continue,
    /// `Control::hold` to end.
    Slot,
    /// The source, which has nothing yet: [`ShardWorker::readable`] may have before. Delivery reports may come
    /// meanwhile.
    Source,
}

/// A chunk being closed.
#[derive(Debug)]
struct Closing {
    since: Instant,
    /// All delivery reports are in.
    flushed: bool,
}

/// What the worker has been waiting for, for the progress line.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    reason: WaitReason,
    since: Instant,
    partition: Option<u32>,
}

/// One attempt at one shard.
pub struct ShardWorker {
    settings: WorkerSettings,
    reader: Box<dyn Reader>,
    mapping: Mapping,
    sink: Box<dyn Sink>,
    letters: Letters,
    limits: SinkLimits,
    pool: BlockPool,
    rows: Rows,
    /// The next of `rows` to take.
    cursor: usize,
    lanes: Lanes,
    throttle: Throttle,
    /// When it last handed over all that it held because of the rate limit.
    handed_over: Instant,
    chunk: OpenChunk,
    closing: Option<Closing>,
    /// When the record that is being flushed was handed over.
    record_flush: Option<Instant>,
    /// Up to where records were taken, and up to where they are committed.
    position: Position,
    committed: LedgerEntry,
    committed_counts: Counts,
    committed_work: Work,
    at_end: bool,
    /// The source can't be read further: said once everything that was taken is committed.
    broken: Option<Failure>,
    /// `Some(complete)`: nothing more to do.
    ended: Option<bool>,
    events: VecDeque<WorkerEvent>,
    done: Vec<Delivered>,
    clock: PhaseClock,
    waiting: Option<Waiting>,
    /// The number of the last chunk whose halved batch was logged.
    logged: u64,
    /// For how long something was in flight without any report, as far as the worker was awake.
    silent: Duration,
    outstanding: usize,
    last_step: Option<Instant>,
}

impl ShardWorker {
    /// A worker that takes records from where `from` says on. `reader` stands there; `started` is when the process
    /// began, and the phase "start" ends here.
    pub fn new(
        settings: WorkerSettings,
        reader: Box<dyn Reader>,
        mapping: Mapping,
        sink: Box<dyn Sink>,
        mut letters: Letters,
        from: LedgerEntry,
        started: Instant,
    ) -> Self {
        let mut clock = PhaseClock::new(Phase::Start, started);
        clock.switch(Phase::Other);
        let (partitions, limits) = (sink.partitions(), sink.limits());
        letters.fit(limits);
        ShardWorker {
            pool: BlockPool::new(usize::try_from(settings.in_flight).unwrap_or(usize::MAX / 2)),
            rows: Rows::default(),
            cursor: 0,
            lanes: Lanes::new(partitions, limits, settings.headers_bytes),
            throttle: Throttle::new(Instant::now()),
            handed_over: Instant::now(),
            chunk: OpenChunk::first(settings.chunk, partitions as usize),
            closing: None,
            record_flush: None,
            position: from.position,
            committed: from,
            committed_counts: Counts::default(),
            committed_work: Work::default(),
            at_end: false,
            broken: None,
            ended: None,
            events: VecDeque::new(),
            done: Vec::new(),
            clock,
            waiting: None,
            logged: 0,
            silent: Duration::ZERO,
            outstanding: 0,
            last_step: None,
            settings,
            reader,
            mapping,
            sink,
            letters,
            limits,
        }
    }

    /// Does a little work: at most one block is read, nothing is waited for. `now` only ever grows. After an error the
    /// worker is of no use: end the process without [`ShardWorker::finish`].
    pub fn step(&mut self, control: &Control, now: Instant) -> Result<Step, Failure> {
        self.clock.switch(Phase::Enqueue);
        self.serve(Duration::ZERO)?;
        self.watch(now)?;
        let step = self.go_on(control, now)?;
        match step {
            Step::Wait { .. } => {}
            Step::Busy | Step::Done => {
                self.waiting = None;
                // A commit goes on until its listener has taken it: in single-process mode that is the write to disk.
                self.clock.switch(if self.events.is_empty() { Phase::Other } else { Phase::Commit });
            }
        }
        Ok(step)
    }

    /// Serves delivery reports, waiting up to `timeout` for the first. Its time, like any time after a [`Step::Wait`],
    /// goes to the phase of that wait.
    pub fn wait(&mut self, timeout: Duration) -> Result<(), Failure> {
        self.serve(timeout)
    }

    /// What of its source becomes readable when [`WaitReason::Source`] is over.
    pub fn readable(&self) -> Option<BorrowedFd<'_>> {
        self.reader.readable()
    }

    /// Whether it waits, or is about to wait, for reports because its flush policy says so: neither because too much is
    /// in flight nor for its listener's word.
    pub fn flushing(&self) -> bool {
        self.record_flush.is_some() || self.closing.as_ref().is_some_and(|closing| !closing.flushed)
    }

    /// The next event, in order: [`WorkerEvent::Committed`], [`WorkerEvent::AtEnd`], [`WorkerEvent::Log`] or
    /// [`WorkerEvent::Notice`].
    pub fn next_event(&mut self) -> Option<WorkerEvent> {
        self.events.pop_front()
    }

    /// The attempt so far, for a heartbeat. `peak_memory_bytes` is 0: the caller knows it.
    pub fn progress(&mut self, now: Instant) -> Progress {
        let mut counts = self.committed_counts;
        counts.add(&self.chunk.counts);
        let mut work = self.committed_work.clone();
        let phases = self.clock.spent();
        let rest = self.uncounted(phases);
        work.add(&self.chunk.work(rest));
        Progress {
            position: self.position,
            counts,
            work,
            peak_memory_bytes: 0,
            waiting_for: self.waiting_for(now),
            no_answer: (self.silent >= NOTEWORTHY).then(|| Box::new(self.no_answer())),
            lines_not_shown: self.sink.lines_not_shown(),
        }
    }

    /// How many rows of its own the attempt took, committed or not.
    pub fn taken(&self) -> u64 {
        self.committed_counts.read + self.chunk.counts.read
    }

    /// Up to where the shard is committed.
    pub fn committed(&self) -> Position {
        self.committed.position
    }

    /// Closes the source, after an error, and gives back its memory: the window of a decompressor has up to 2 GiB.
    pub fn close_source(&mut self) {
        (self.reader, self.rows) = (Box::new(Closed), Rows::default());
    }

    /// Ends the client, after [`Step::Done`]. `peak_memory_bytes` is 0 and `cuts` are none: the caller knows them.
    pub fn finish(mut self) -> Result<Finished, Failure> {
        self.clock.switch(Phase::Other);
        #[cfg(test)]
        self.lanes.check_accounts();
        let work = Work { perhaps_doubled: 0, ..self.uncounted(Phases::default()) };
        self.sink.finish()?;
        let work = Work { phases: self.clock.take(), ..work };
        Ok(Finished {
            position: self.committed.position,
            complete: self.ended == Some(true),
            cuts: None,
            work,
            peak_memory_bytes: 0,
        })
    }

    /// The work since the last commit that no chunk counts: `phases`, and what the sink says.
    fn uncounted(&self, phases: Phases) -> Work {
        Work {
            phases,
            deliveries: self.sink.deliveries(),
            quickest_us: self.sink.quickest_us(),
            answers: self.sink.answers().since(&self.committed_work.answers),
            held_back: self.sink.held_back().since(&self.committed_work.held_back),
            perhaps_doubled: self.perhaps_doubled(),
            ..Work::default()
        }
    }

    /// What the sink says of it since the last commit.
    fn perhaps_doubled(&self) -> u64 {
        self.sink.perhaps_doubled().saturating_sub(self.committed_work.perhaps_doubled)
    }

    /// Records set aside by this attempt, committed or not.
    fn set_aside(&self) -> u64 {
        self.committed_counts.dead_lettered + self.chunk.counts.dead_lettered
    }

    /// Whether more records were set aside than may be.
    fn too_many_bad(&self) -> bool {
        self.set_aside() > self.settings.letters_left
    }

    fn go_on(&mut self, control: &Control, now: Instant) -> Result<Step, Failure> {
        if self.ended.is_some() {
            return Ok(Step::Done);
        }
        if control.hold || self.waiting.is_some_and(|waiting| waiting.reason == WaitReason::Slot) {
            // The slot is another worker's, and so is its time.
            self.clock.take();
        }
        if self.closing.is_some() {
            return self.close(control, now);
        }
        if let Some(failure) = self.broken.take() {
            return Err(failure);
        }
        self.throttle.set(control.rate, now);
        if let Some(since) = self.record_flush {
            if self.lanes.busy() {
                return self.wait_for_reports(Phase::Flush, None, now);
            }
            self.lanes.flushed();
            self.record_flush = None;
            self.chunk.flush.record(micros_since(since));
            // Between two records: where a caller that steps several workers may step another one.
            return Ok(Step::Busy);
        }
        let too_many_bad = self.too_many_bad();
        if self.chunk.is_empty() {
            if too_many_bad {
                return Err(Failure::new(
                    FailureKind::TooManyBad,
                    "more records were set aside than limits.max_bad_records allows",
                ));
            }
            if control.drain {
                self.ended = Some(false);
                return Ok(Step::Done);
            }
            if control.hold {
                return Ok(self.wait_for(WaitReason::Slot, Phase::Start, now + LONGEST_REST, now));
            }
            if control.paused {
                return Ok(self.wait_for(WaitReason::Continue, Phase::Throttled, now + LONGEST_REST, now));
            }
        } else if too_many_bad
            || control.drain
            || control.paused
            || self.chunk.full()
            || self.chunk.deadline().is_some_and(|at| at <= now)
        {
            return self.begin_close(control, now);
        }
        self.take(control, now)
    }

    fn take(&mut self, control: &Control, now: Instant) -> Result<Step, Failure> {
        if self.letters.full() {
            return self.wait_for_reports(Phase::Wait, None, now);
        }
        if self.cursor == self.rows.rows.len() {
            return self.read(control, now);
        }
        self.clock.switch(Phase::Map);
        let stop = self.take_rows(now)?;
        self.letters.hand_over(self.sink.as_mut())?;
        match stop {
            Stop::Block => Ok(Step::Busy),
            Stop::Record => {
                self.clock.switch(Phase::Flush);
                self.record_flush = Some(Instant::now());
                self.lanes.flush(self.sink.as_mut())?;
                Ok(Step::Busy)
            }
            Stop::Full(ready) => {
                self.clock.switch(Phase::Enqueue);
                self.lanes.hand_over(ready, self.sink.as_mut())?;
                Ok(Step::Busy)
            }
            Stop::Blocked(partition) => self.wait_for_reports(Phase::Wait, partition, now),
            Stop::NoRoom => Ok(self.make_room(now)?.unwrap_or(Step::Busy)),
            Stop::Rate(bytes) => {
                if now.saturating_duration_since(self.handed_over) >= LONGEST_HOLD {
                    self.handed_over = now;
                    self.lanes.hand_over_idle(self.sink.as_mut())?;
                }
                let until = self.throttle.next(bytes, now);
                Ok(self.wait_for(WaitReason::Rate, Phase::Throttled, until, now))
            }
        }
    }

    /// Reads the next block, if memory has room for it.
    fn read(&mut self, control: &Control, now: Instant) -> Result<Step, Failure> {
        self.rows.block = None;
        if !self.has_room()
            && let Some(step) = self.make_room(now)?
        {
            return Ok(step);
        }
        self.clock.switch(Phase::Read);
        self.cursor = 0;
        self.rows.clear();
        let read = self.reader.next(&mut self.pool, &mut self.rows);
        self.events.extend(self.reader.take_notices().into_iter().map(WorkerEvent::Notice));
        let next = match read {
            Ok(next) => next,
            Err(error) => return self.source_failed(error, control, now),
        };
        match next {
            Next::Rows => {
                if let Some(block) = self.rows.block.as_ref().filter(|block| block.segment != self.position.segment) {
                    self.position.segment = block.segment;
                    self.position.place = block.place;
                }
                return Ok(Step::Busy);
            }
            Next::Later { until } => {
                let until = until.min(now + LONGEST_REST);
                return Ok(self.wait_for(WaitReason::Source, Phase::Outside, until, now));
            }
            Next::End => {}
        }
        self.rows = Rows::default();
        self.at_end = true;
        self.events.push_back(WorkerEvent::AtEnd);
        if !self.chunk.is_empty() {
            return self.begin_close(control, now);
        }
        self.end_of_shard()
    }

    /// Everything was read and committed: the shard is done, unless a file of it is not as planned. Each was as planned
    /// when its last byte had been read, so what was sent is right whatever came after.
    fn end_of_shard(&mut self) -> Result<Step, Failure> {
        self.reader.unchanged().map_err(|error| damaged(error, self.reader.segment()))?;
        self.ended = Some(true);
        Ok(Step::Done)
    }

    /// What was taken before is as good as ever: it is committed first, so that no successor sends it again.
    fn source_failed(&mut self, error: SourceError, control: &Control, now: Instant) -> Result<Step, Failure> {
        let failure = damaged(error, self.reader.segment());
        self.rows = Rows::default();
        if self.chunk.is_empty() {
            return Err(failure);
        }
        self.broken = Some(failure);
        self.begin_close(control, now)
    }

    /// Whether more records may be held. Small ones cost the client more than their bytes.
    fn has_room(&mut self) -> bool {
        let records = self.lanes.records() as u64;
        if records.saturating_mul(LEAST_RECORD_BYTES) > self.settings.in_flight {
            return false;
        }
        if self.lanes.copies_memory() > 0 && !self.pool.has_room(self.lanes.copies_memory()) {
            self.lanes.drop_spares();
        }
        self.pool.has_room(self.lanes.copies_memory())
    }

    /// What leads to more memory; `None`: nothing holds any.
    fn make_room(&mut self, now: Instant) -> Result<Option<Step>, Failure> {
        self.clock.switch(Phase::Enqueue);
        if let Some(ready) = self.lanes.for_room() {
            self.lanes.hand_over(ready, self.sink.as_mut())?;
            return Ok(Some(Step::Busy));
        }
        if self.lanes.in_flight() { self.wait_for_reports(Phase::Wait, None, now).map(Some) } else { Ok(None) }
    }

    fn begin_close(&mut self, control: &Control, now: Instant) -> Result<Step, Failure> {
        self.clock.switch(Phase::Enqueue);
        self.closing = Some(Closing { since: Instant::now(), flushed: false });
        self.lanes.flush(self.sink.as_mut())?;
        self.close(control, now)
    }

    /// The barrier: nothing is taken until every record of the chunk has its report and the supervisor has recorded the
    /// chunk before.
    fn close(&mut self, control: &Control, now: Instant) -> Result<Step, Failure> {
        if self.lanes.busy() || self.letters.busy(self.sink.as_ref()) {
            return self.wait_for_reports(Phase::Flush, None, now);
        }
        if let Some(closing) = self.closing.as_mut().filter(|closing| !closing.flushed) {
            closing.flushed = true;
            self.lanes.flushed();
            if self.settings.flush != FlushPolicy::Record {
                self.chunk.flush.record(micros_since(closing.since));
            }
        }
        if let Some(reason) = self.settings.ledger.waits_for(self.chunk.number, control) {
            return Ok(self.wait_for(reason, Phase::Commit, now + LONGEST_REST, now));
        }
        self.commit()?;
        self.closing = None;
        if !self.at_end {
            return Ok(Step::Busy);
        }
        // What was committed just now is told first.
        self.end_of_shard().or_else(|failure| {
            self.broken = Some(failure);
            Ok(Step::Busy)
        })
    }

    /// Says that everything up to here is delivered or set aside. What fails leaves the chunk open: what was sent of it
    /// counts as that.
    fn commit(&mut self) -> Result<(), Failure> {
        let OpenChunk { number, counts, .. } = self.chunk;
        if !counts.balance() {
            let message = format!("chunk {number}: a record is unaccounted for: {counts:?}");
            return Err(Failure::new(FailureKind::Retry, message));
        }
        self.clock.switch(Phase::Commit);
        self.letters.sync()?;
        let token = self.reader.token(&self.position);
        let entry = self.chunk.entry(&self.committed, self.position, token, self.letters.length());
        self.settings.ledger.commit(&entry, self.sink.as_mut())?;
        let phases = self.clock.take();
        let rest = self.uncounted(phases);
        let chunk = self.chunk.end().close(&entry, rest);
        self.committed = entry;
        self.committed_counts.add(&chunk.counts);
        self.committed_work.add(&chunk.work);
        self.events.push_back(WorkerEvent::Committed(chunk));
        Ok(())
    }

    /// Polls the client and accounts for the groups that are complete.
    fn serve(&mut self, timeout: Duration) -> Result<(), Failure> {
        let letters = self.sink.letters_in_flight().count;
        self.sink.poll(timeout, &mut self.done)?;
        if self.done.is_empty() {
            if self.sink.letters_in_flight().count < letters {
                self.heard();
            }
            return self.letters.hand_over(self.sink.as_mut());
        }
        let ShardWorker { done, sink, lanes, letters, chunk, events, logged, .. } = self;
        let mut searching = false;
        for delivered in done.drain(..) {
            let partition = delivered.partition;
            let settled = lanes.delivered(delivered, sink.as_mut(), &mut |group, index, reason| {
                let message = group.message(index);
                letters.set_aside(group.place(index), reason, message.key, message.value, false)
            })?;
            chunk.counts.acknowledged += settled.acknowledged;
            chunk.receipt.add(&settled.receipt);
            chunk.counts.bytes_sent += settled.bytes;
            chunk.counts.dead_lettered += settled.dead_lettered;
            chunk.partitions[partition as usize] += settled.acknowledged;
            let what = match (&settled.halved, &settled.named) {
                (Some(reason), _) => format!("a batch ({reason}): looking for the record by sending halves"),
                (None, Some(reason)) => format!("records of a batch ({reason}): the others are sent again"),
                (None, None) => continue,
            };
            searching |= settled.halved.is_some();
            if *logged < chunk.number {
                *logged = chunk.number;
                events.push_back(WorkerEvent::Log {
                    level: Level::Warning,
                    text: format!("partition {partition} refused {what}"),
                });
            }
        }
        if searching && self.too_many_bad() {
            let message = "more records were set aside than limits.max_bad_records allows, and the broker refuses others without saying which: \
                           what was sent since the last commit is sent again by the next run";
            return Err(Failure::new(FailureKind::TooManyBad, message));
        }
        self.heard();
        self.letters.hand_over(self.sink.as_mut())
    }

    /// A broker answered.
    fn heard(&mut self) {
        self.silent = Duration::ZERO;
        if let Some(waiting) = &mut self.waiting {
            waiting.since = Instant::max(waiting.since, self.last_step.unwrap_or(waiting.since));
        }
    }

    /// Gives up when reports fail to come for too long. A pause of the whole process is not silence.
    fn watch(&mut self, now: Instant) -> Result<(), Failure> {
        let gap = now.saturating_duration_since(self.last_step.replace(now).unwrap_or(now));
        let outstanding = self.sink.outstanding();
        let in_flight = self.lanes.in_flight() || self.sink.letters_in_flight().count > 0;
        if !in_flight || outstanding < self.outstanding {
            self.silent = Duration::ZERO;
        } else {
            self.silent += gap.min(LONGEST_REST);
        }
        self.outstanding = outstanding;
        if self.silent < self.settings.give_up_after {
            return Ok(());
        }
        let message = gave_up(&self.no_answer(), outstanding);
        Err(Failure::new(FailureKind::GaveUp, message))
    }

    /// What it sees of brokers that don't answer.
    fn no_answer(&self) -> NoAnswer {
        let Trouble { all, cause } = self.sink.trouble();
        let mut partitions = self.lanes.flying();
        partitions.truncate(NoAnswer::MOST_PARTITIONS);
        let leaders: BTreeSet<i32> = partitions.iter().filter_map(|partition| self.sink.leader(*partition)).collect();
        NoAnswer { silent: self.silent, all, partitions, leaders: leaders.into_iter().collect(), cause }
    }

    fn wait_for_reports(&mut self, phase: Phase, partition: Option<u32>, now: Instant) -> Result<Step, Failure> {
        if self.sink.outstanding() == 0 {
            let message = "a delivery report is missing: the client has nothing in flight, yet not every record was reported";
            return Err(Failure::new(FailureKind::Retry, message));
        }
        let step = self.wait_for(WaitReason::Reports, phase, now + LONGEST_POLL, now);
        if let Some(waiting) = &mut self.waiting {
            waiting.partition = partition;
        }
        Ok(step)
    }

    fn wait_for(&mut self, reason: WaitReason, phase: Phase, until: Instant, now: Instant) -> Step {
        self.clock.switch(phase);
        let since = self.waiting.filter(|waiting| waiting.reason == reason).map_or(now, |waiting| waiting.since);
        self.waiting = Some(Waiting { reason, since, partition: None });
        // While reports are flushed the interval can't close the chunk: a deadline in the past would make the caller
        // spin.
        let flushing = self.closing.is_some() || self.record_flush.is_some();
        let deadline = self.chunk.deadline().filter(|_| !flushing);
        Step::Wait { until: deadline.map_or(until, |deadline| deadline.min(until)), reason }
    }

    fn waiting_for(&self, now: Instant) -> Option<WaitingFor> {
        let waiting = self.waiting?;
        match waiting.reason {
            WaitReason::Recorded => Some(WaitingFor::Recorded),
            WaitReason::Rate => Some(WaitingFor::Rate),
            WaitReason::Continue => Some(WaitingFor::Continue),
            WaitReason::Slot => Some(WaitingFor::Slot),
            WaitReason::Source => None,
            WaitReason::Reports if now.saturating_duration_since(waiting.since) < NOTEWORTHY => None,
            WaitReason::Reports if self.sink.trouble().all => Some(WaitingFor::Broker),
            WaitReason::Reports => {
                let partition = waiting.partition.or_else(|| self.lanes.slowest())?;
                Some(WaitingFor::Partition { partition, leader: self.sink.leader(partition) })
            }
        }
    }
}

/// Why a worker gives up on its brokers.
fn gave_up(seen: &NoAnswer, outstanding: usize) -> String {
    let waited = show_whole_seconds(seen.silent);
    let who = match (seen.all, &seen.leaders[..]) {
        (true, _) => format!("no broker answered for {waited}"),
        (false, [leader]) => format!("leader {leader} did not answer for {waited}"),
        (false, _) => format!("no delivery report for {waited}"),
    };
    let cause = seen.cause.as_ref().map_or_else(String::new, |cause| format!(": {cause}"));
    let records = show_things(outstanding as u64, "record");
    format!("{who} (kafka.give_up_after) while {records} {} in flight{cause}", if outstanding == 1 { "was" } else { "were" })
}

/// A source that was closed.
struct Closed;

impl Reader for Closed {
    fn next(&mut self, _: &mut BlockPool, into: &mut Rows) -> Result<Next, SourceError> {
        into.clear();
        Ok(Next::End)
    }

    fn unchanged(&mut self) -> Result<(), SourceError> {
        Err(SourceError("the source was closed".to_owned()))
    }

    fn segment(&self) -> u32 {
        0
    }
}

/// The failure of a source at one of the shard's segments.
fn damaged(error: SourceError, segment: u32) -> Failure {
    Failure { damage: Some(Damage { segment, hash: None }), ..error.into() }
}

fn micros_since(since: Instant) -> u64 {
    since.elapsed().as_micros() as u64
}
