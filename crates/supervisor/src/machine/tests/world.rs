//! A world of fake children and a fake store for the machine, driven by a seed: what the shell, the kernel and the disk
//! are in earnest. It keeps its own account of everything and fails as soon as the machine breaks a rule.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use migration::report::AttemptOutcome;
use migration::steer::{Scale, Steer};
use migration::{
    BoundTopic, Chunk, Control, Counts, Cut, Damage, Division, Exit, Failure, FailureKind, Finished, LedgerEntry, Level,
    Position, Progress, Rate, Receipt, ShardId, Started, Token, TopicChange, Work, WorkerEvent,
};

use super::fake_plan::{FakePlan, RECORD};
use super::oracle::Oracle;
use crate::machine::{
    Action, After, AttemptEnd, AttemptId, Before, Ended, Ending, Extent, Input, Machine, Rules, ShardStart, Split, WorkOrder,
};
use crate::random::Random;

pub(in crate::machine) const SECOND: Duration = Duration::from_secs(1);

pub(in crate::machine) fn rules(slots: u32) -> Rules {
    Rules {
        chunk_records: 1_000,
        give_up_after: Duration::from_secs(900),
        slots,
        search: false,
        auto_slots: 2,
        most_auto_slots: 8,
        most_slots: 100,
        paused: false,
        early: true,
        split: true,
        keep_order: true,
        max_without_progress: 5,
        backoff_min: Duration::from_millis(100),
        backoff_max: Duration::from_secs(30),
        heartbeat_timeout: Some(Duration::from_secs(60)),
        drain_timeout: Duration::from_secs(20),
        max_bad_records: u64::MAX,
        rate: Rate::UNLIMITED,
        retry: true,
        topic: None,
        round_trip: None,
        delivery: migration::job::Delivery::AtLeastOnce,
    }
}

/// A topic of three partitions, as good workers find it.
pub(in crate::machine) fn topic(keyed: bool) -> BoundTopic {
    BoundTopic { name: "t".into(), id: None, partitions: 3, keyed, added_accepted: false }
}

pub(in crate::machine) fn at(records: u64) -> Position {
    Position { segment: 0, place: records * RECORD, records }
}

pub(in crate::machine) fn fresh(count: usize) -> Vec<ShardStart> {
    starts(count, 100)
}

/// Shards of `size` records that no worker had yet.
pub(in crate::machine) fn starts(count: usize, size: u64) -> Vec<ShardStart> {
    let (bytes, before, set) = (Some(size * 10), Before::default(), None);
    let extent = Extent { bytes, records_estimate: size, before, set, segments: 1, splittable: true };
    let entry = LedgerEntry { position: at(0), ..LedgerEntry::default() };
    vec![ShardStart { extent, entry, done: false, last_attempt: 0 }; count]
}

/// A shard of a plan before its first attempt.
fn fresh_of(plan: &FakePlan, shard: usize) -> ShardStart {
    let entry = LedgerEntry { position: plan.start(shard), ..LedgerEntry::default() };
    ShardStart { extent: plan.extent(shard), entry, done: false, last_attempt: 0 }
}

pub(in crate::machine) fn chunk(number: u64, from: u64, to: u64) -> Chunk {
    let counts = Counts { read: to - from, acknowledged: to - from, bytes_read: (to - from) * 10, ..Counts::default() };
    Chunk { number, position: at(to), token: None, counts, work: Work::default(), letters: to * 7, receipt: Receipt::default() }
}

/// What a good worker says first that goes on from there.
fn started(from: LedgerEntry) -> Started {
    Started { topic: migration::SeenTopic { id: None, partitions: 3 }, from }
}

/// A fake worker.
#[derive(Debug)]
struct Child {
    from: LedgerEntry,
    /// Up to where it took records.
    position: Position,
    started: bool,
    sent: u64,
    control: Control,
    /// It had no slot when it was last told of one.
    early: bool,
    killed: bool,
    hung: bool,
    said_last: bool,
    said_end: bool,
    /// With which it ends then.
    code: i32,
    /// It did or said what no good worker does.
    bad: bool,
}

impl Child {
    /// It has no slot yet, or was told to end before it had one.
    fn came_early(&self) -> bool {
        self.control.hold || self.early && self.control.drain
    }
}

/// Counts of rows that were all delivered, and of others'.
fn counts((read, others): (u64, u64)) -> Counts {
    let (bytes_read, bytes_others) = (read * RECORD, others * RECORD);
    Counts { read, acknowledged: read, others, bytes_read, bytes_others, ..Counts::default() }
}

/// Everything outside the machine.
#[derive(Debug)]
pub(in crate::machine) struct World {
    pub(in crate::machine) machine: Machine,
    pub(in crate::machine) now: Duration,
    pub(in crate::machine) ended: Option<Ended>,
    pub(in crate::machine) forks: u64,
    /// How many workers came early, and how many of these got a slot.
    pub(in crate::machine) early: u64,
    pub(in crate::machine) admitted: u64,
    /// Whether the supervisor itself may stand still for a minute.
    pub(in crate::machine) gaps: bool,
    rules: Rules,
    plan: FakePlan,
    /// Largest part of a shard in one chunk.
    pub(in crate::machine) stride: u64,
    pub(in crate::machine) splits: u64,
    /// How often a set of partitions was parted, and how often one stopped at what can't be read.
    pub(in crate::machine) parted: u64,
    pub(in crate::machine) sets_stopped: u64,
    /// How many forks of a hundred fail.
    pub(in crate::machine) forks_that_fail: u64,
    /// How many of a hundred records are bad.
    pub(in crate::machine) bad_records: u64,
    /// How many of a thousand things that happen stop the job.
    pub(in crate::machine) stops: u64,
    /// How many of a thousand things that happen make a file unreadable.
    pub(in crate::machine) damages: u64,
    /// How often a file was set apart from those behind or before it, and how often one was replaced.
    pub(in crate::machine) aparts: u64,
    pub(in crate::machine) mended: u64,
    /// How often files were added.
    pub(in crate::machine) grown: u64,
    /// With which code each of its runs ended.
    pub(in crate::machine) exits: Vec<u8>,
    /// In how many runs all was sent, and a limit decided although the job was told to stop.
    pub(in crate::machine) late_stops: u64,
    oracle: Oracle,
    /// Up to where attempts that ended had taken rows.
    taken: BTreeMap<AttemptId, Position>,
    /// Attempts that said what was not so.
    liars: BTreeSet<AttemptId>,
    /// Why shards were set aside in this run: a file that can't be read, or deaths.
    aside: BTreeMap<usize, AttemptOutcome>,
    /// Whether a worker of this run could not read what can be read.
    hiccups: bool,
    max_bad_records: u64,
    failed_forks: Vec<AttemptId>,
    pub(in crate::machine) scaled_for_lack: u64,
    /// How many workers were asked for.
    asked: usize,
    children: BTreeMap<AttemptId, Child>,
    /// On the fake disk: position, state.
    disk: Vec<(Position, Counts, Option<After>)>,
    recorded: BTreeMap<AttemptId, u64>,
    /// How long the dead letters of each shard are by its last commit, and how many the job has.
    letters: BTreeMap<ShardId, u64>,
    dead_letters: u64,
    /// The token of each shard's last commit, if that had one.
    tokens: BTreeMap<ShardId, Token>,
    /// How many attempts went on from another place, or with others' counts or token, than they were told.
    pub(in crate::machine) false_starts: u64,
    last_number: Vec<u32>,
    /// Up to where a good worker sent its shard before it ended well.
    sent: BTreeMap<ShardId, u64>,
    requests: VecDeque<Action>,
    random: Random,
    stopped: bool,
}

impl World {
    pub(in crate::machine) fn new(seed: u64, shards: usize, size: u64, rules: Rules) -> Self {
        let mut plan = FakePlan::default();
        (0..shards).for_each(|_| plan.add_shard(&[size], |_| true));
        Self::with_plan(seed, plan, size, rules)
    }

    /// A world with this plan, whose workers commit up to half of `size` records at once.
    pub(in crate::machine) fn with_plan(seed: u64, plan: FakePlan, size: u64, rules: Rules) -> Self {
        let rules = Rules { chunk_records: size.max(1), ..rules };
        let (asked, max_bad_records, shards) = (rules.slots as usize, rules.max_bad_records, plan.shards());
        let disk: Vec<_> = (0..shards).map(|shard| (plan.start(shard), Counts::default(), None)).collect();
        let fresh: Vec<_> = (0..shards).map(|shard| fresh_of(&plan, shard)).collect();
        World {
            bad_records: 0,
            stops: 0,
            damages: 0,
            aparts: 0,
            mended: 0,
            grown: 0,
            exits: Vec::new(),
            late_stops: 0,
            oracle: Oracle::new(plan.has_sets()),
            taken: BTreeMap::new(),
            liars: BTreeSet::new(),
            aside: BTreeMap::new(),
            hiccups: false,
            max_bad_records,
            machine: Machine::new(rules.clone(), &fresh, seed),
            rules,
            plan,
            now: Duration::ZERO,
            ended: None,
            forks: 0,
            early: 0,
            admitted: 0,
            gaps: true,
            stride: size.max(2) / 2,
            splits: 0,
            parted: 0,
            sets_stopped: 0,
            forks_that_fail: 0,
            failed_forks: Vec::new(),
            scaled_for_lack: 0,
            asked,
            children: BTreeMap::new(),
            disk,
            recorded: BTreeMap::new(),
            letters: BTreeMap::new(),
            dead_letters: 0,
            tokens: BTreeMap::new(),
            false_starts: 0,
            last_number: vec![0; shards],
            sent: BTreeMap::new(),
            requests: VecDeque::new(),
            random: Random::new(seed ^ 0xABCD),
            stopped: false,
        }
    }

    pub(in crate::machine) fn below(&mut self, n: u64) -> u64 {
        self.random.next() % n
    }

    pub(in crate::machine) fn shards_in(&self, after: impl Fn(&Option<After>) -> bool) -> usize {
        self.disk.iter().filter(|(_, _, a)| after(a)).count()
    }

    fn all_done(&self) -> bool {
        self.disk.iter().all(|(_, _, after)| matches!(after, Some(After::Done(_))))
    }

    /// The next run begins from what is on disk, however this one ended: what the store was asked and did not answer is
    /// lost, and no worker is left.
    pub(in crate::machine) fn next_run(&mut self) {
        self.children.clear();
        self.requests.clear();
        self.failed_forks.clear();
        self.recorded.clear();
        self.taken.clear();
        self.sent.clear();
        self.aside.clear();
        self.disk.iter_mut().filter(|(_, _, after)| *after == Some(After::Quarantined)).for_each(|(_, _, after)| *after = None);
        let start = |(shard, (position, counts, after)): (usize, &(Position, Counts, Option<After>))| ShardStart {
            entry: self.entry(ShardId(shard as u32), position, counts),
            done: after.is_some(),
            last_attempt: self.last_number[shard],
            ..fresh_of(&self.plan, shard)
        };
        let starts: Vec<ShardStart> = self.disk.iter().enumerate().map(start).collect();
        if self.plan.has_sets() {
            self.rules.keep_order = self.below(3) > 0;
        }
        self.machine = Machine::new(self.rules.clone(), &starts, self.random.next());
        (self.now, self.ended, self.stopped, self.hiccups) = (Duration::ZERO, None, false, false);
        self.asked = self.rules.slots as usize;
        self.oracle = Oracle::new(self.plan.has_sets());
        self.oracle.letters(self.dead_letters, self.max_bad_records);
    }

    /// Whole copies take the place of damaged files, of each with a chance of one to `of`.
    pub(in crate::machine) fn mend(&mut self, of: u64) {
        let positions: Vec<_> =
            self.disk.iter().map(|(position, _, after)| (*position, matches!(after, Some(After::Done(_))))).collect();
        for file in 0..self.plan.files() {
            let random = self.random.next();
            if self.below(of) == 0 && self.plan.mend(file, &positions, random) {
                self.mended += 1;
            }
        }
    }

    /// Files come, and are added before the next run: a shard that was done and reads on waits where they begin.
    pub(in crate::machine) fn grow(&mut self) {
        let most = 2 * self.stride + 2;
        let sizes: Vec<u64> = (0..=self.below(3)).map(|_| self.below(most)).collect();
        let plain = self.random.next();
        for (shard, segments) in self.plan.grow(&sizes, |file| plain & 1 << file == 0) {
            let place = self.plan.start_of(shard, segments);
            let (position, _, after) = &mut self.disk[shard];
            if let Some(After::Done(_)) = after.take_if(|after| matches!(after, After::Done(_))) {
                (position.segment, position.place) = (segments, place);
                self.tokens.remove(&ShardId(shard as u32));
            }
        }
        for new in self.disk.len()..self.plan.shards() {
            self.disk.push((self.plan.start(new), Counts::default(), None));
            self.last_number.push(0);
        }
        self.grown += 1;
    }

    /// A file becomes unreadable, now and then for good.
    pub(in crate::machine) fn damage(&mut self) {
        let (file, place) = (self.below(self.plan.files() as u64) as usize, self.random.next());
        let for_good = self.below(8) == 0;
        self.plan.damage(file, place, for_good);
    }

    pub(in crate::machine) fn give(&mut self, input: Input) {
        let was_stopping = self.machine.stopping();
        self.stopped |= was_stopping || matches!(input, Input::Signal { .. } | Input::StoreFailed { .. });
        self.oracle.input(&input, &self.machine, self.now);
        let actions = self.machine.on(input, self.now);
        let sums = (self.machine.totals(), self.machine.bytes_done());
        assert_eq!(sums, self.machine.recount(), "the sums are what a look at all shards gives");
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
            Action::Adopt(..) => unreachable!("only what commits to Kafka is taken over"),
            Action::Fork(order) => self.fork(order, was_stopping),
            Action::Tell(id, control) => {
                let on_disk = self.recorded.get(&id).copied().unwrap_or(0);
                assert!(control.recorded <= on_disk, "{id} is told Recorded({}) but the disk has {on_disk}", control.recorded);
                if self.children.get(&id).is_some_and(|child| child.control.hold) && !control.hold && !control.drain {
                    self.count_slots(false);
                    self.admitted += 1;
                }
                if let Some(child) = self.children.get_mut(&id) {
                    assert!(child.control.hold || !control.hold, "a slot is never taken back");
                    assert!(control.recorded >= child.control.recorded);
                    assert!(control.drain || !was_stopping, "a stop is never taken back");
                    child.early &= control.hold || control.drain;
                    child.control = control;
                }
            }
            Action::Kill(id) => {
                let child = self.children.get_mut(&id).expect("only a running worker is killed");
                assert!(!std::mem::replace(&mut child.killed, true), "killed twice");
            }
            Action::Record(..) | Action::Close(_) => self.requests.push_back(action),
            Action::Log { text, .. } | Action::Notice(text) => assert!(!text.chars().any(char::is_control)),
            Action::Steered(text) => {
                assert!(!text.chars().any(char::is_control));
                if text.contains("no more workers can be started") {
                    self.scaled_for_lack += 1;
                    self.asked = self.machine.slots() as usize;
                    assert!(self.asked >= 1 && self.has_slot() >= self.asked);
                }
            }
            Action::End(ended) => {
                assert!(self.children.is_empty() || self.stopped, "workers are left: {:?}", self.children);
                self.oracle.judge(&ended, self.all_done());
                self.judge_records(ended.causes.exit());
                self.exits.push(ended.causes.exit().code());
                self.late_stops += u64::from(self.all_done() && self.oracle.limit_met_stop());
                self.ended = Some(ended);
            }
        }
    }

    /// A run that nothing stopped has sent all that can be read, each record counted once, and ends with 7 exactly if
    /// there is what can't.
    fn judge_records(&self, exit: Exit) {
        let is_done = |shard: usize| matches!(self.disk[shard].2, Some(After::Done(_)));
        let all = 0..self.plan.shards();
        assert!(all.clone().all(|shard| !is_done(shard) || self.plan.is_complete(shard)), "done means each record once");
        if self.all_done() {
            self.plan.check_all();
        }
        if self.oracle.stopped() {
            return;
        }
        for shard in all.clone().filter(|shard| !is_done(*shard)) {
            assert_eq!(self.disk[shard].2, Some(After::Quarantined), "nothing waits at the end");
            // The last block of a file is lost to a set that can't open the next one.
            let good = self.keeps_order()
                || self.hiccups
                || self.aside[&shard] != AttemptOutcome::Unreadable
                || self.plan.is_counted(shard);
            let (told, disk) = (self.plan.tell(shard), self.disk[shard]);
            assert!(good, "shard {shard} has good records that were not counted, {disk:?}:\n{told}");
        }
        let unreadable = all.clone().any(|shard| !is_done(shard) && self.plan.changed(shard).is_some());
        let deaths = self.aside.values().any(|outcome| *outcome != AttemptOutcome::Unreadable);
        assert!(!unreadable || deaths || exit == Exit::Source, "{exit:?} although files can't be read");
        assert!(exit != Exit::Source || self.hiccups || unreadable, "7 although everything can be read");
    }

    /// How many workers have a slot, those that were killed and not reaped included. An early one that drains never
    /// has one.
    fn has_slot(&self) -> usize {
        self.children.values().filter(|child| !child.came_early()).count()
    }

    /// Another worker gets a slot, or comes early for one whose worker has read its shard to the end.
    fn count_slots(&mut self, early: bool) {
        if !early {
            return assert!(self.has_slot() < self.asked, "more workers than slots");
        }
        let ending = self.children.values().filter(|child| !child.came_early() && child.said_end).count();
        let held = self.children.values().filter(|child| child.came_early()).count();
        assert!(held < ending && held < self.asked, "one early worker a slot at most: {held} of {ending}");
        self.early += 1;
    }

    fn fork(&mut self, order: WorkOrder, was_stopping: bool) {
        assert!(!was_stopping, "no fork while the job stops");
        assert!(!self.children.keys().any(|id| id.shard == order.shard), "one attempt per shard");
        self.count_slots(order.control.hold);
        let shard = order.shard.0 as usize;
        let (position, counts, after) = &self.disk[shard];
        assert_eq!(*after, None, "a finished or quarantined shard is not started again");
        assert_eq!(order.from, self.entry(order.shard, position, counts), "an attempt starts where the disk says");
        assert_eq!(order.attempt, self.last_number[shard] + 1);
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
            assert_eq!(order.from.position.records, sent, "nothing is sent twice without a death");
        }
        self.forks += 1;
        let child = Child {
            position: order.from.position,
            started: false,
            sent: 0,
            control: order.control,
            early: order.control.hold,
            killed: false,
            hung: false,
            said_last: false,
            said_end: false,
            code: 0,
            bad: false,
            from: order.from.clone(),
        };
        self.children.insert(order.id(), child);
    }

    /// What the disk has of a shard.
    fn entry(&self, shard: ShardId, position: &Position, counts: &Counts) -> LedgerEntry {
        LedgerEntry {
            position: *position,
            counts: *counts,
            token: self.tokens.get(&shard).cloned(),
            letters: self.letters.get(&shard).copied().unwrap_or(0),
            receipt: Receipt::default(),
        }
    }

    /// Lets the store answer its oldest request.
    pub(in crate::machine) fn answer(&mut self, well: bool) {
        let Some(request) = self.requests.pop_front() else { return };
        match request {
            Action::Record(attempt, _) if !well => self.give(Input::StoreFailed { attempt, reason: "disk full".into() }),
            Action::Record(attempt, chunk) => {
                let shard = attempt.shard.0 as usize;
                let (position, counts, _) = &mut self.disk[shard];
                assert!(chunk.position >= *position, "a position never goes back");
                assert_eq!(self.plan.count(shard, position, &chunk.position), (chunk.counts.read, chunk.counts.others));
                *position = chunk.position;
                counts.add(&chunk.counts);
                self.letters.insert(attempt.shard, chunk.letters);
                match chunk.token {
                    Some(token) => _ = self.tokens.insert(attempt.shard, token),
                    None => _ = self.tokens.remove(&attempt.shard),
                }
                self.dead_letters += chunk.counts.dead_lettered;
                self.oracle.letters(chunk.counts.dead_lettered, self.max_bad_records);
                let passed = self.plan.start(shard).records + counts.passed();
                assert!(
                    passed == position.records && passed <= self.plan.size(shard) && counts.balance(),
                    "counts never exceed"
                );
                self.recorded.insert(attempt, chunk.number);
                self.give(Input::Recorded { attempt });
            }
            Action::Close(end) if !well => {
                self.give(Input::StoreFailed { attempt: end.attempt, reason: "disk full".into() });
            }
            Action::Close(end) => {
                let shard = end.attempt.shard.0 as usize;
                let on_disk = self.disk[shard].0;
                let ahead = self.taken.remove(&end.attempt).filter(|taken| taken.records > on_disk.records);
                let open = ahead.map_or(0, |taken| self.plan.counts_between(shard, &on_disk, &taken).0);
                assert!(open <= end.resent.most || self.liars.contains(&end.attempt), "{open} rows are sent again, {end:?}");
                let (position, counts, after) = &mut self.disk[shard];
                match end.after {
                    After::Done(place) => {
                        let size = self.plan.size(shard);
                        let passed = self.plan.start(shard).records + counts.passed();
                        assert_eq!((place.records, passed), (size, size), "done means all of it");
                        assert!(self.plan.positions(shard, size, position).contains(&place));
                        *position = place;
                        *after = Some(end.after);
                    }
                    After::Quarantined => {
                        *after = Some(end.after);
                        self.aside.insert(shard, end.outcome);
                        self.sets_stopped += u64::from(self.plan.has_sets() && end.outcome == AttemptOutcome::Unreadable);
                    }
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
        let shard = end.attempt.shard.0 as usize;
        if let Some(Division::Partitions(sets)) = end.division {
            return Some(self.part(end, sets));
        }
        let apart = end.apart.map(|segment| Cut { segment, place: self.plan.start_of(shard, segment) });
        let asked = match &end.division {
            Some(Division::Places(cuts)) => cuts.clone(),
            _ => Vec::new(),
        };
        let cuts: Vec<Cut> = asked.iter().copied().chain(apart).collect();
        if cuts.is_empty() {
            return None;
        }
        assert!(!self.keeps_order(), "a set is not cut by place");
        assert!(asked.is_empty() || end.apart.is_none() && end.after == After::Waiting);
        let before = self.plan.shards();
        if !self.plan.cut(shard, &self.disk[shard].0, &cuts) {
            assert!(apart.is_none() && self.liars.contains(&end.attempt), "{cuts:?} make no sense");
            return None;
        }
        self.splits += u64::from(apart.is_none());
        self.aparts += u64::from(apart.is_some());
        Some(self.added(shard, before, None))
    }

    /// A set of partitions becomes some.
    fn part(&mut self, end: &AttemptEnd, sets: u32) -> Split {
        assert!(end.apart.is_none() && end.after == After::Waiting && end.outcome == AttemptOutcome::Drained);
        let (shard, before) = (end.attempt.shard.0 as usize, self.plan.shards());
        let from = self.disk[shard].0;
        self.plan.part(shard, &from, sets as usize);
        self.parted += 1;
        self.added(shard, before, self.tokens.get(&end.attempt.shard).cloned())
    }

    /// A shard became several, the new ones from number `before` on; these begin with a token.
    fn added(&mut self, shard: usize, before: usize, token: Option<Token>) -> Split {
        let mut added = Vec::new();
        for new in before..self.plan.shards() {
            let mut start = fresh_of(&self.plan, new);
            start.entry.token = token.clone();
            added.push(start);
            self.disk.push((self.plan.start(new), Counts::default(), None));
            self.tokens.extend(token.clone().map(|token| (ShardId(new as u32), token)));
            self.last_number.push(0);
        }
        Split { shard: self.plan.extent(shard), added }
    }

    /// Whether nothing is sent past what can't be read.
    fn keeps_order(&self) -> bool {
        self.plan.has_sets() && self.rules.keep_order
    }

    fn heartbeat(&self, id: AttemptId) -> WorkerEvent {
        let Child { from, position, .. } = &self.children[&id];
        let counts = counts(self.plan.counts_between(id.shard.0 as usize, &from.position, position));
        WorkerEvent::Progress(Progress { position: *position, counts, ..Progress::default() })
    }

    fn end_child(&mut self, attempt: AttemptId, ending: Ending) {
        let child = self.children.remove(&attempt);
        self.taken.extend(child.iter().map(|child| (attempt, child.position)));
        let good = |child: &Child| child.said_last && !child.bad && !child.killed && ending == Ending::Code(child.code);
        if let Some(child) = child.filter(good) {
            self.sent.insert(attempt.shard, child.position.records);
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
    pub(in crate::machine) fn behave(&mut self, id: AttemptId) {
        let Some(child) = self.children.get(&id) else { return };
        if child.killed {
            return self.end_child(id, Ending::Signal(9));
        }
        if child.hung {
            return;
        }
        if child.said_last {
            let code = child.code;
            return self.end_child(id, Ending::Code(code));
        }
        let event = self.next_event(id);
        if matches!(event, WorkerEvent::Failed(_)) {
            self.say_all_taken(id);
        }
        self.say(id, event);
    }

    /// What a good worker says next that reads what it can.
    fn next_event(&mut self, id: AttemptId) -> WorkerEvent {
        let shard = id.shard.0 as usize;
        let (heartbeat, hasty) = (self.below(3) == 0, self.below(2) == 0);
        let child = &self.children[&id];
        let (position, control) = (child.position, child.control);
        let (reach, unreadable) = self.plan.readable(shard, &position);
        let (unrecorded, more) = (child.sent > control.recorded, position.records < reach);
        // It opens its file before it connects.
        let at_once = hasty && !more && unreadable == Some(position.segment);
        if !child.started && !at_once {
            let child = self.children.get_mut(&id).expect("a child");
            child.started = true;
            return WorkerEvent::Started(started(child.from.clone()));
        }
        // Its last word need not wait until its last chunk is recorded.
        let says_end = child.started && !child.said_end && !control.hold && !control.drain;
        if says_end && (!more || self.below(20) == 0) && self.below(2) == 0 {
            // One that says so although it has more to read does no harm.
            self.children.get_mut(&id).expect("a child").said_end = true;
            return WorkerEvent::AtEnd;
        }
        let child = &self.children[&id];
        if child.started && (heartbeat || control.paused || control.hold || unrecorded && (more || !hasty)) {
            return self.heartbeat(id);
        }
        let next = hasty && unreadable == Some(position.segment + 1);
        match unreadable.or_else(|| if more { None } else { self.plan.changed(shard) }) {
            // The last block of a file is lost to the attempt when the next file can't be opened.
            Some(segment) if !control.drain && (!more || next) => self.cant_read(id, segment),
            _ if more && !control.drain => self.next_chunk(id, reach),
            damaged => self.last_word(id, damaged.is_none()),
        }
    }

    fn cant_read(&mut self, id: AttemptId, segment: u32) -> WorkerEvent {
        let child = self.children.get_mut(&id).expect("a child");
        (child.said_last, child.code) = (true, 1);
        let damage = Some(Damage { segment, hash: None });
        WorkerEvent::Failed(Failure { damage, ..Failure::new(FailureKind::Source, "a corrupt stream") })
    }

    /// Takes some records, `reach` of the shard at most, and commits them.
    fn next_chunk(&mut self, id: AttemptId, reach: u64) -> WorkerEvent {
        let shard = id.shard.0 as usize;
        let (step, form) = (1 + self.below(self.stride.max(1)), self.random.next() as usize);
        let bad = (0..step).filter(|_| self.random.next() % 100 < self.bad_records).count() as u64;
        let child = self.children.get_mut(&id).expect("a child");
        let from = child.position;
        let to = (from.records + step).min(reach);
        let forms = self.plan.positions(shard, to, &from);
        child.position = forms[form % forms.len()];
        child.sent += 1;
        let token = (form % 3 > 0).then(|| Token::try_from(form.to_le_bytes().to_vec()).expect("it is short"));
        let mut chunk = Chunk { position: child.position, token, ..chunk(child.sent, from.records, to) };
        chunk.counts = counts(self.plan.counts_between(shard, &from, &chunk.position));
        chunk.counts.dead_lettered = bad.min(chunk.counts.read);
        chunk.counts.acknowledged -= chunk.counts.dead_lettered;
        self.plan.send(shard, &from, &chunk.position);
        WorkerEvent::Committed(chunk)
    }

    /// It drained, or its shard is at its end and everything of it is as planned.
    fn last_word(&mut self, id: AttemptId, as_planned: bool) -> WorkerEvent {
        let (shard, cut_short) = (id.shard.0 as usize, self.below(4) == 0);
        let child = self.children.get_mut(&id).expect("a child");
        child.said_last = true;
        let (position, wanted) = (child.position, u64::from(child.control.pieces));
        let complete = as_planned && position.records == self.plan.size(shard);
        let cuts = || if cut_short { Vec::new() } else { self.plan.cuts(shard, &position, wanted) };
        let cuts = (!complete && wanted > 1).then(cuts);
        WorkerEvent::Finished(Finished { position, complete, cuts, work: Work::default(), peak_memory_bytes: 0 })
    }

    /// Something random happens, good or bad.
    pub(in crate::machine) fn happen(&mut self) {
        let millis = self.below(400);
        self.now += Duration::from_millis(millis);
        let child = self.any_child();
        if self.below(1000) < self.stops {
            return self.stop_somehow(child);
        }
        if self.below(1000) < self.damages {
            return self.damage();
        }
        match (self.below(100), child) {
            (0..45, Some(id)) => self.behave(id),
            (45..65, _) => self.answer(true),
            (65..71, Some(id)) => self.end_child(id, Ending::Signal(9)),
            (71..73, Some(id)) => self.end_child(id, Ending::Code(0)),
            (73..75, Some(id)) => self.end_child(id, Ending::Code(101)),
            (75..78, Some(id)) => self.fail(id),
            (78..80, Some(id)) => self.give(Input::Broken { attempt: id, reason: "bad checksum\u{1b}[31m".into() }),
            (80, Some(id)) => self.lie(id),
            (81, Some(id)) if self.below(3) == 0 => self.begin_elsewhere(id),
            (81, Some(id)) => self.lie(id),
            (82..84, Some(id)) => self.children.get_mut(&id).expect("a child").hung = true,
            (84, Some(id)) => self.give(Input::Silent { attempt: id }),
            (85, _) if self.gaps => self.now += Duration::from_secs(61),
            (86..89, _) => self.turn_a_knob(),
            (89, Some(id)) => self.say(id, WorkerEvent::Log { level: Level::Trace, text: "\u{1b}[2Jhello\n".into() }),
            _ => self.give(Input::Tick),
        }
    }

    fn fail(&mut self, id: AttemptId) {
        let kind = if self.below(2) == 0 { FailureKind::Retry } else { FailureKind::Unreachable };
        let mut failure = Failure::new(kind, "no answer\u{7}");
        if self.below(1000) < self.stops {
            // A segment that can be read again at once, or one that there is not.
            let damage = Damage { segment: self.below(5) as u32, hash: None };
            failure = Failure { damage: Some(damage), ..Failure::new(FailureKind::Source, "a corrupt stream") };
            self.hiccups = true;
        }
        self.say_failed(id, failure);
    }

    /// A worker tells all that it took before it says that it can't go on.
    fn say_all_taken(&mut self, id: AttemptId) {
        let heartbeat = self.heartbeat(id);
        self.say(id, heartbeat);
    }

    fn say_failed(&mut self, id: AttemptId, failure: Failure) {
        self.say_all_taken(id);
        self.say(id, WorkerEvent::Failed(failure));
        self.end_child(id, Ending::Code(1));
    }

    /// Something stops the job.
    fn stop_somehow(&mut self, child: Option<AttemptId>) {
        const KINDS: [FailureKind; 6] = [
            FailureKind::GaveUp,
            FailureKind::Source,
            FailureKind::Permanent,
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
                self.say_failed(id, Failure::new(kind, format!("{kind:?}")));
            }
            _ => {}
        }
    }

    /// It says that it begins from where it was not told to.
    fn begin_elsewhere(&mut self, id: AttemptId) {
        let what = self.below(3);
        let child = self.children.get_mut(&id).expect("a child");
        (child.bad, child.hung) = (true, true);
        let mut from = child.from.clone();
        match what {
            0 => from.position.place += RECORD,
            1 => from.counts.acknowledged += 1,
            _ if from.token.is_some() => from.token = None,
            _ => from.token = Some(Token::try_from(vec![1]).expect("it is short")),
        }
        self.false_starts += 1;
        self.say(id, WorkerEvent::Started(started(from)));
        assert!(self.children.get(&id).is_none_or(|child| child.killed), "it does not stay");
        if self.below(2) == 0 {
            // It went on before the kill came.
            let position = self.children[&id].position;
            self.say(id, WorkerEvent::Committed(chunk(1, position.records, position.records + 1)));
        }
    }

    /// A worker says what can't be true.
    fn lie(&mut self, id: AttemptId) {
        let shard = id.shard.0 as usize;
        let child = self.children.get_mut(&id).expect("a child");
        child.bad = true;
        let (position, sent) = (child.position, child.sent);
        let (taken, size) = (position.records, self.plan.size(shard));
        let last = Position { segment: self.plan.extent(shard).segments, place: 0, records: size + 1 };
        self.liars.insert(id);
        let event = match self.below(6) {
            // Others' rows where there are none, or a wrong number.
            5 => {
                let counts = Counts { others: 1, ..Counts::default() };
                let number = if self.plan.has_sets() { sent + 7 } else { sent + 1 };
                WorkerEvent::Committed(Chunk { counts, ..chunk(number, taken, taken + 1) })
            }
            0 => WorkerEvent::Committed(chunk(sent + 7, taken, taken + 1)),
            1 => {
                let position = self.plan.positions(shard, size.min(5), &Position::default())[0];
                WorkerEvent::Committed(Chunk { counts: Counts::default(), position, ..chunk(1, 0, 5) })
            }
            2 => WorkerEvent::Committed(Chunk { position: Position::default(), ..chunk(1, 0, 1) }),
            3 => WorkerEvent::Finished(Finished {
                position: last,
                complete: true,
                cuts: None,
                work: Work::default(),
                peak_memory_bytes: 0,
            }),
            _ => WorkerEvent::Finished(Finished {
                position,
                complete: false,
                cuts: Some(vec![Cut { segment: position.segment, place: position.place + RECORD }]),
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

    pub(in crate::machine) fn scale(&mut self, slots: u32) {
        self.steer(Steer::Scale(Scale::To(slots)));
    }

    /// From here on everything works: the run must come to its end.
    pub(in crate::machine) fn be_good(&mut self, steps: u32) {
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
            assert!(step < 150 || self.has_slot() <= self.asked, "no more workers than asked once the surplus drained");
        }
    }

    pub(in crate::machine) fn only_child(&self) -> AttemptId {
        *self.children.keys().next().expect("a worker runs")
    }

    pub(in crate::machine) fn kill_child(&mut self, id: AttemptId) {
        self.end_child(id, Ending::Signal(9));
    }

    pub(in crate::machine) fn tell_event(&mut self, id: AttemptId, event: WorkerEvent) {
        if let WorkerEvent::Committed(chunk) = &event {
            let shard = id.shard.0 as usize;
            self.plan.send(shard, &self.disk[shard].0, &chunk.position);
        }
        if event == WorkerEvent::AtEnd {
            self.children.get_mut(&id).expect("a child").said_end = true;
        }
        self.say(id, event);
    }

    pub(in crate::machine) fn exit_child(&mut self, id: AttemptId, code: i32) {
        self.end_child(id, Ending::Code(code));
    }

    pub(in crate::machine) fn behave_all(&mut self) {
        self.now += Duration::from_millis(1);
        let ids: Vec<AttemptId> = self.children.keys().copied().collect();
        ids.into_iter().for_each(|id| self.behave(id));
        self.answer(true);
    }

    pub(in crate::machine) fn hang_all(&mut self) {
        self.children.values_mut().for_each(|child| child.hung = true);
    }

    pub(in crate::machine) fn reap_killed(&mut self) {
        let killed: Vec<AttemptId> = self.children.iter().filter(|(_, c)| c.killed).map(|(id, _)| *id).collect();
        killed.into_iter().for_each(|id| self.kill_child(id));
    }

    pub(in crate::machine) fn running(&self) -> Vec<(AttemptId, Control)> {
        self.children.iter().map(|(id, child)| (*id, child.control)).collect()
    }

    pub(in crate::machine) fn shard_position(&self, shard: u32) -> Position {
        self.disk[ShardId(shard).0 as usize].0
    }
}
