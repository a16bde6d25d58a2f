//! A world of fake children and a fake store for the machine, driven by a seed: what the shell, the kernel and the disk are
//! in earnest. It keeps its own account of everything and fails as soon as the machine breaks a rule.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use migration::steer::{Scale, Steer};
use migration::{
    BoundTopic, Chunk, Control, Counts, Cut, Failure, FailureKind, Finished, Position, Progress, Rate, ShardId, TopicChange,
    Work, WorkerEvent,
};

use super::oracle::Oracle;
use super::{Action, After, AttemptEnd, AttemptId, Ended, Ending, Extent, Input, Machine, Rules, ShardStart, Split, WorkOrder};
use crate::random::Random;

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn rules(slots: u32) -> Rules {
    Rules {
        chunk_records: 1_000,
        give_up_after: Duration::from_secs(900),
        slots,
        auto_slots: 2,
        most_slots: 100,
        paused: false,
        split: true,
        max_without_progress: 5,
        backoff_min: Duration::from_millis(100),
        backoff_max: Duration::from_secs(30),
        heartbeat_timeout: Some(Duration::from_secs(60)),
        drain_timeout: Duration::from_secs(20),
        max_bad_records: u64::MAX,
        rate: Rate::UNLIMITED,
        retry: true,
        topic: None,
    }
}

/// A topic of three partitions, as good workers find it.
pub(super) fn topic(keyed: bool) -> BoundTopic {
    BoundTopic { name: "t".into(), id: None, partitions: 3, keyed, added_accepted: false }
}

pub(super) fn at(records: u64) -> Position {
    Position { segment: 0, place: records * 10, records }
}

pub(super) fn fresh(count: usize) -> Vec<ShardStart> {
    starts(count, 100)
}

/// Shards of so many records that nobody worked on yet.
pub(super) fn starts(count: usize, size: u64) -> Vec<ShardStart> {
    let extent = Extent { bytes: size * 10, records_estimate: size, segments: 1, plain: true };
    vec![ShardStart { extent, position: at(0), counts: Counts::default(), done: false, last_attempt: 0, letters: 0 }; count]
}

pub(super) fn chunk(number: u64, from: u64, to: u64) -> Chunk {
    let counts = Counts { read: to - from, acknowledged: to - from, bytes_read: (to - from) * 10, ..Counts::default() };
    Chunk { number, position: at(to), counts, work: Work::default(), letters: to * 7 }
}

/// A fake worker.
#[derive(Debug)]
struct Child {
    from: u64,
    taken: u64,
    started: bool,
    sent: u64,
    control: Control,
    killed: bool,
    hung: bool,
    said_last: bool,
    /// It did or said what no good worker does.
    bad: bool,
}

/// Everything outside the machine.
#[derive(Debug)]
pub(super) struct World {
    pub(super) machine: Machine,
    pub(super) now: Duration,
    pub(super) ended: Option<Ended>,
    pub(super) forks: u64,
    /// Whether the supervisor itself may stand still for a minute.
    pub(super) gaps: bool,
    /// How many records each shard has.
    sizes: Vec<u64>,
    /// Largest part of a shard in one chunk.
    pub(super) stride: u64,
    pub(super) splits: u64,
    /// How many forks of a hundred fail.
    pub(super) forks_that_fail: u64,
    /// How many of a hundred records are bad.
    pub(super) bad_records: u64,
    /// How many of a thousand things that happen stop the job.
    pub(super) stops: u64,
    oracle: Oracle,
    max_bad_records: u64,
    failed_forks: Vec<AttemptId>,
    pub(super) scaled_for_lack: u64,
    /// How many workers were asked for.
    asked: usize,
    children: BTreeMap<AttemptId, Child>,
    /// On the fake disk: position, state.
    disk: Vec<(Position, Counts, Option<After>)>,
    recorded: BTreeMap<AttemptId, u64>,
    /// How long the dead letters of each shard are by its last commit, and how many the job has.
    letters: BTreeMap<ShardId, u64>,
    dead_letters: u64,
    last_number: Vec<u32>,
    /// Up to where a good worker sent its shard before it ended well.
    sent: BTreeMap<ShardId, u64>,
    requests: VecDeque<Action>,
    random: Random,
    stopped: bool,
}

impl World {
    pub(super) fn new(seed: u64, shards: usize, size: u64, rules: Rules) -> Self {
        let (asked, max_bad_records) = (rules.slots as usize, rules.max_bad_records);
        World {
            bad_records: 0,
            stops: 0,
            oracle: Oracle::default(),
            max_bad_records,
            machine: Machine::new(rules, &starts(shards, size), seed),
            now: Duration::ZERO,
            ended: None,
            forks: 0,
            gaps: true,
            sizes: vec![size; shards],
            stride: size.max(2) / 2,
            splits: 0,
            forks_that_fail: 0,
            failed_forks: Vec::new(),
            scaled_for_lack: 0,
            asked,
            children: BTreeMap::new(),
            disk: vec![(at(0), Counts::default(), None); shards],
            recorded: BTreeMap::new(),
            letters: BTreeMap::new(),
            dead_letters: 0,
            last_number: vec![0; shards],
            sent: BTreeMap::new(),
            requests: VecDeque::new(),
            random: Random::new(seed ^ 0xABCD),
            stopped: false,
        }
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.random.next() % n
    }

    pub(super) fn shards_in(&self, after: impl Fn(&Option<After>) -> bool) -> usize {
        self.disk.iter().filter(|(_, _, a)| after(a)).count()
    }

    fn all_done(&self) -> bool {
        self.disk.iter().all(|(_, _, after)| matches!(after, Some(After::Done(_))))
    }

    pub(super) fn limit_decided_over_stop(&self) -> bool {
        self.all_done() && self.oracle.limit_met_stop()
    }

    pub(super) fn give(&mut self, input: Input) {
        let was_stopping = self.machine.stopping();
        self.stopped |= was_stopping || matches!(input, Input::Signal { .. } | Input::StoreFailed { .. });
        self.oracle.input(&input, &self.machine);
        let actions = self.machine.on(input, self.now);
        for action in actions {
            assert!(self.ended.is_none(), "nothing follows the end: {action:?}");
            self.apply(action, was_stopping);
        }
        while let Some(attempt) = self.failed_forks.pop() {
            self.give(Input::ForkFailed { attempt, reason: "no\u{7} memory".into() });
        }
    }

    fn apply(&mut self, action: Action, was_stopping: bool) {
        self.oracle.action(&action);
        match action {
            Action::Fork(order) => self.fork(order, was_stopping),
            Action::Tell(id, control) => {
                let on_disk = self.recorded.get(&id).copied().unwrap_or(0);
                assert!(control.recorded <= on_disk, "{id} is told Recorded({}) but the disk has {on_disk}", control.recorded);
                if let Some(child) = self.children.get_mut(&id) {
                    assert!(control.recorded >= child.control.recorded);
                    assert!(control.drain || !was_stopping, "a stop is never taken back");
                    child.control = control;
                }
            }
            Action::Kill(id) => {
                let child = self.children.get_mut(&id).expect("only a running worker is killed");
                assert!(!std::mem::replace(&mut child.killed, true), "killed twice");
            }
            Action::Record(..) | Action::Close(_) => self.requests.push_back(action),
            Action::Log { text, .. } => assert!(!text.chars().any(char::is_control)),
            Action::Steered(text) => {
                assert!(!text.chars().any(char::is_control));
                if text.contains("no more workers can be started") {
                    self.scaled_for_lack += 1;
                    self.asked = self.machine.slots() as usize;
                    assert!(self.asked >= 1 && self.children.len() >= self.asked);
                }
            }
            Action::End(ended) => {
                assert!(self.children.is_empty() || self.stopped, "workers are left: {:?}", self.children);
                self.oracle.judge(&ended, self.all_done());
                self.ended = Some(ended);
            }
        }
    }

    fn fork(&mut self, order: WorkOrder, was_stopping: bool) {
        assert!(!was_stopping, "no fork while the job stops");
        assert!(!self.children.keys().any(|id| id.shard == order.shard), "one attempt per shard");
        assert!(self.children.len() < self.asked, "more workers than slots");
        let shard = order.shard.0 as usize;
        let (position, _, after) = &self.disk[shard];
        assert_eq!(*after, None, "a finished or quarantined shard is not started again");
        assert_eq!(order.from, *position, "an attempt starts where the disk says");
        assert_eq!(order.attempt, self.last_number[shard] + 1);
        assert_eq!(order.letters, self.letters.get(&order.shard).copied().unwrap_or(0), "the file's length by the last commit");
        assert_eq!(
            order.letters_left,
            self.max_bad_records - self.dead_letters,
            "no fork above the limit, and the rest is told"
        );
        self.last_number[shard] = order.attempt;
        if self.below(100) < self.forks_that_fail {
            return self.failed_forks.push(order.id());
        }
        if let Some(sent) = self.sent.remove(&order.shard) {
            assert_eq!(order.from.records, sent, "nothing is sent twice without a death");
        }
        self.forks += 1;
        let child = Child {
            from: order.from.records,
            taken: order.from.records,
            started: false,
            sent: 0,
            control: order.control,
            killed: false,
            hung: false,
            said_last: false,
            bad: false,
        };
        self.children.insert(order.id(), child);
    }

    /// Lets the store answer its oldest request.
    pub(super) fn answer(&mut self, well: bool) {
        let Some(request) = self.requests.pop_front() else { return };
        match request {
            Action::Record(attempt, _) if !well => self.give(Input::StoreFailed { attempt, reason: "disk full".into() }),
            Action::Record(attempt, chunk) => {
                let (position, counts, _) = &mut self.disk[attempt.shard.0 as usize];
                assert!(chunk.position >= *position, "a position never goes back");
                *position = chunk.position;
                counts.add(&chunk.counts);
                self.letters.insert(attempt.shard, chunk.letters);
                self.dead_letters += chunk.counts.dead_lettered;
                self.oracle.letters(chunk.counts.dead_lettered, self.max_bad_records);
                assert!(counts.read <= self.sizes[attempt.shard.0 as usize] && counts.balance(), "counts never exceed");
                self.recorded.insert(attempt, chunk.number);
                self.give(Input::Recorded { attempt });
            }
            Action::Close(end) if !well => {
                self.give(Input::StoreFailed { attempt: end.attempt, reason: "disk full".into() });
            }
            Action::Close(end) => {
                let (position, counts, after) = &mut self.disk[end.attempt.shard.0 as usize];
                match end.after {
                    After::Done(place) => {
                        let size = self.sizes[end.attempt.shard.0 as usize];
                        assert_eq!((place, counts.read), (at(size), size), "done means all of it");
                        *position = place;
                        *after = Some(end.after);
                    }
                    After::Quarantined => *after = Some(end.after),
                    After::Waiting => {}
                }
                let split = self.split(&end);
                self.give(Input::Closed { attempt: end.attempt, split });
            }
            _ => {}
        }
    }

    /// What the plan makes of the cuts of an attempt.
    fn split(&mut self, end: &AttemptEnd) -> Option<Split> {
        let first = end.cuts.first()?.place / 10;
        let shard = end.attempt.shard.0 as usize;
        assert!(end.after == After::Waiting && first > self.disk[shard].0.records);
        self.splits += 1;
        let ends = end.cuts[1..].iter().map(|cut| cut.place / 10).chain([self.sizes[shard]]);
        let sizes: Vec<u64> = end.cuts.iter().map(|cut| cut.place / 10).zip(ends).map(|(from, to)| to - from).collect();
        self.sizes[shard] = first;
        let added = sizes.iter().flat_map(|&size| starts(1, size)).collect();
        for size in sizes {
            self.sizes.push(size);
            self.disk.push((at(0), Counts::default(), None));
            self.last_number.push(0);
        }
        Some(Split { shard: starts(1, first)[0].extent, added })
    }

    fn end_child(&mut self, attempt: AttemptId, ending: Ending) {
        let child = self.children.remove(&attempt);
        if let Some(child) = child.filter(|child| child.said_last && !child.bad && !child.killed && ending == Ending::Code(0)) {
            self.sent.insert(attempt.shard, child.taken);
        }
        self.give(Input::Ended { attempt, ending });
    }

    fn say(&mut self, attempt: AttemptId, event: WorkerEvent) {
        self.give(Input::Event { attempt, event });
    }

    fn any_child(&mut self) -> Option<AttemptId> {
        let count = self.children.len() as u64;
        if count == 0 {
            return None;
        }
        let nth = self.below(count) as usize;
        self.children.keys().nth(nth).copied()
    }

    /// What a good worker does next.
    pub(super) fn behave(&mut self, id: AttemptId) {
        let size = self.sizes[id.shard.0 as usize];
        let step = 1 + self.below(self.stride.max(1));
        let (heartbeat, cut_short) = (self.below(3) == 0, self.below(4) == 0);
        let bad = (0..step).filter(|_| self.random.next() % 100 < self.bad_records).count() as u64;
        let Some(child) = self.children.get_mut(&id) else { return };
        if child.killed {
            return self.end_child(id, Ending::Signal(9));
        }
        if child.hung {
            return;
        }
        if child.said_last {
            return self.end_child(id, Ending::Code(0));
        }
        let event = if !child.started {
            child.started = true;
            WorkerEvent::Started(migration::SeenTopic { id: None, partitions: 3 })
        } else if heartbeat || child.sent > child.control.recorded || child.control.paused {
            let read = child.taken - child.from;
            let counts = Counts { read, acknowledged: read, bytes_read: read * 10, ..Counts::default() };
            WorkerEvent::Progress(Progress { position: at(child.taken), counts, ..Progress::default() })
        } else if child.taken < size && !child.control.drain {
            let to = (child.taken + step).min(size);
            child.sent += 1;
            let mut chunk = chunk(child.sent, child.taken, to);
            chunk.counts.dead_lettered = bad.min(to - child.taken);
            chunk.counts.acknowledged -= chunk.counts.dead_lettered;
            child.taken = to;
            WorkerEvent::Committed(chunk)
        } else {
            child.said_last = true;
            let (position, complete) = (at(child.taken), child.taken == size);
            let pieces = u64::from(child.control.pieces).min(size - child.taken);
            let wanted = if cut_short { 0 } else { pieces };
            let cuts =
                (1..wanted).map(|i| Cut { segment: 0, place: at(child.taken + (size - child.taken) * i / wanted).place });
            let cuts = (!complete && child.control.pieces > 1).then(|| cuts.collect());
            WorkerEvent::Finished(Finished { position, complete, cuts, work: Work::default(), peak_memory_bytes: 0 })
        };
        self.say(id, event);
    }

    /// Something random happens, good or bad.
    pub(super) fn happen(&mut self) {
        let millis = self.below(400);
        self.now += Duration::from_millis(millis);
        let child = self.any_child();
        if self.below(1000) < self.stops {
            return self.stop_somehow(child);
        }
        match (self.below(100), child) {
            (0..45, Some(id)) => self.behave(id),
            (45..65, _) => self.answer(true),
            (65..71, Some(id)) => self.end_child(id, Ending::Signal(9)),
            (71..73, Some(id)) => self.end_child(id, Ending::Code(0)),
            (73..75, Some(id)) => self.end_child(id, Ending::Code(101)),
            (75..78, Some(id)) => self.fail(id),
            (78..80, Some(id)) => self.give(Input::Broken { attempt: id, reason: "bad checksum\u{1b}[31m".into() }),
            (80..82, Some(id)) => self.lie(id),
            (82..84, Some(id)) => self.children.get_mut(&id).expect("a child").hung = true,
            (84, Some(id)) => self.give(Input::Silent { attempt: id }),
            (85, _) if self.gaps => self.now += Duration::from_secs(61),
            (86..89, _) => self.turn_a_knob(),
            (89, Some(id)) => self.say(id, WorkerEvent::Log { level: 9, text: "\u{1b}[2Jhello\n".into() }),
            _ => self.give(Input::Tick),
        }
    }

    fn fail(&mut self, id: AttemptId) {
        let kind = if self.below(2) == 0 { FailureKind::Retry } else { FailureKind::Unreachable };
        let mut failure = Failure::new(kind, "no answer\u{7}");
        if self.below(1000) < self.stops {
            // The segment that can't be read, or one that there is not.
            let damage = migration::Damage { segment: self.below(3) as u32, hash: None };
            failure = Failure { damage: Some(damage), ..Failure::new(FailureKind::Source, "a corrupt stream") };
        }
        self.say(id, WorkerEvent::Failed(failure));
        self.end_child(id, Ending::Code(1));
    }

    /// Something stops the job.
    fn stop_somehow(&mut self, child: Option<AttemptId>) {
        const KINDS: [FailureKind; 6] = [
            FailureKind::GaveUp,
            FailureKind::Source,
            FailureKind::Refused,
            FailureKind::State,
            FailureKind::TooManyBad,
            FailureKind::Topic,
        ];
        match (self.below(8), child) {
            (0..2, _) => self.give(Input::Signal { number: 15 }),
            (2, _) => self.give(Input::Stop { reason: "a helper is gone".into() }),
            (3, _) => self.answer(false),
            (4, _) => self.give(Input::Topic(TopicChange::Added { was: 3, is: 4 })),
            (5, _) if self.below(3) == 0 => self.give(Input::Topic(TopicChange::Deleted)),
            (_, Some(id)) => {
                let kind = KINDS[self.below(6) as usize];
                self.say(id, WorkerEvent::Failed(Failure::new(kind, format!("{kind:?}"))));
                self.end_child(id, Ending::Code(1));
            }
            _ => {}
        }
    }

    /// A worker says what can't be true.
    fn lie(&mut self, id: AttemptId) {
        let taken = self.children[&id].taken;
        self.children.get_mut(&id).expect("a child").bad = true;
        let event = match self.below(5) {
            0 => WorkerEvent::Committed(chunk(7, taken, taken + 1)),
            1 => WorkerEvent::Committed(Chunk { counts: Counts::default(), ..chunk(1, 0, 5) }),
            2 => WorkerEvent::Committed(Chunk { position: Position::default(), ..chunk(1, 0, 1) }),
            3 => WorkerEvent::Finished(Finished {
                position: at(self.sizes[id.shard.0 as usize] + 1),
                complete: true,
                cuts: None,
                work: Work::default(),
                peak_memory_bytes: 0,
            }),
            _ => WorkerEvent::Finished(Finished {
                position: at(taken),
                complete: false,
                cuts: Some(vec![Cut { segment: 0, place: at(taken + 1).place }]),
                work: Work::default(),
                peak_memory_bytes: 0,
            }),
        };
        if matches!(event, WorkerEvent::Finished(_)) {
            self.children.get_mut(&id).expect("a child").said_last = true;
        } else {
            // What follows from a liar is not checked by this world.
            self.children.get_mut(&id).expect("a child").hung = true;
        }
        self.say(id, event);
    }

    /// A user turns a knob, to a sensible value or not.
    fn turn_a_knob(&mut self) {
        let limits = [None, Some(f64::INFINITY), Some(1000.0), Some(0.5), Some(-1.0), Some(f64::NAN)];
        let few = self.below(5) as u32;
        let steer = match self.below(8) {
            0..3 => Steer::Scale(Scale::To(few)),
            3 => Steer::Scale(Scale::Up(few)),
            4 => Steer::Scale(Scale::Down(few)),
            5 => Steer::Pause,
            6 => Steer::Continue,
            _ => {
                let (records, bytes) = (self.below(6) as usize, self.below(6) as usize);
                Steer::Throttle { records: limits[records], bytes: limits[bytes] }
            }
        };
        self.steer(steer);
    }

    fn steer(&mut self, steer: Steer) {
        let taken = self.machine.objection(&steer).is_none();
        let paused = self.machine.standing().paused;
        if let Steer::Scale(scale) = steer
            && taken
        {
            self.asked = match scale {
                Scale::To(n) => n as usize,
                Scale::Up(n) => self.asked + n as usize,
                Scale::Down(n) => self.asked.saturating_sub(n as usize).max(1),
                Scale::Auto => 2,
            };
        }
        self.give(Input::Steer(steer));
        let after = self.machine.standing();
        assert_eq!(after.asked as usize, self.asked);
        let pauses = taken && matches!(steer, Steer::Pause) || paused && !(taken && steer == Steer::Continue);
        assert_eq!(after.paused, pauses);
    }

    pub(super) fn scale(&mut self, slots: u32) {
        self.steer(Steer::Scale(Scale::To(slots)));
    }

    /// From here on everything works: the run must come to its end.
    pub(super) fn be_good(&mut self, steps: u32) {
        self.forks_that_fail = 0;
        self.give(Input::Steer(Steer::Continue));
        for step in 0..steps {
            if self.ended.is_some() {
                return;
            }
            self.now += Duration::from_millis(500);
            let ids: Vec<AttemptId> = self.children.keys().copied().collect();
            ids.into_iter().for_each(|id| self.behave(id));
            while !self.requests.is_empty() {
                self.answer(true);
            }
            self.give(Input::Tick);
            assert!(step < 150 || self.children.len() <= self.asked, "no more workers than asked once the surplus drained");
        }
    }

    pub(super) fn only_child(&self) -> AttemptId {
        *self.children.keys().next().expect("a worker runs")
    }

    pub(super) fn kill_child(&mut self, id: AttemptId) {
        self.end_child(id, Ending::Signal(9));
    }

    pub(super) fn tell_event(&mut self, id: AttemptId, event: WorkerEvent) {
        self.say(id, event);
    }

    pub(super) fn exit_child(&mut self, id: AttemptId, code: i32) {
        self.end_child(id, Ending::Code(code));
    }

    pub(super) fn behave_all(&mut self) {
        self.now += Duration::from_millis(1);
        let ids: Vec<AttemptId> = self.children.keys().copied().collect();
        ids.into_iter().for_each(|id| self.behave(id));
        self.answer(true);
    }

    pub(super) fn hang_all(&mut self) {
        self.children.values_mut().for_each(|child| child.hung = true);
    }

    pub(super) fn reap_killed(&mut self) {
        let killed: Vec<AttemptId> = self.children.iter().filter(|(_, c)| c.killed).map(|(id, _)| *id).collect();
        killed.into_iter().for_each(|id| self.kill_child(id));
    }

    pub(super) fn running(&self) -> Vec<(AttemptId, Control)> {
        self.children.iter().map(|(id, child)| (*id, child.control)).collect()
    }

    pub(super) fn shard_position(&self, shard: u32) -> Position {
        self.disk[ShardId(shard).0 as usize].0
    }
}
