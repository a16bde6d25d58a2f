//! Between the machine and the world: gives inputs to the machine, carries its actions to the store, the watcher and the
//! hands that hold the workers, and gives their answers back.
//!
//! Responsible for the order of these things, above all that a worker hears `Recorded` only after the store returned. Not
//! responsible for what is decided (the machine) or how a worker is reached ([`Hands`]).

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use migration::report::Sample;
use migration::steer::{Pace, Steer, SteerEvent};
use migration::{Cause, Causes, Control, Cut, Level, Pieces, Plan, Progress, Rate, ShardId, WorkerEvent};

use crate::control::{Answer, Request};
use crate::machine::{
    Action, AttemptEnd, AttemptId, Ended, Ending, Extent, Input, Machine, Rules, ShardStart, Split, WorkOrder,
};
use crate::pace::{Paces, Told};
use crate::series::{self, Series};
use crate::store::{AttemptUsage, Store};
use crate::watch::{self, Snapshot, Speed, Watcher, Wish};
use crate::{RunEnd, Setup, StateGuard, SupervisorError};

/// Between two calls of [`Watcher::tick`].
const WATCH_EVERY: Duration = Duration::from_millis(200);

/// Between two looks at the job's folder when nothing is written.
const GUARD_EVERY: Duration = Duration::from_secs(1);

/// More workers are never asked for in earnest: each is a process with threads and connections of its own.
const MOST_SLOTS: u32 = 1_000;
/// Descriptors of the supervisor besides the two of each worker: standard streams, locks, signals, SQLite, helpers, clients.
const OWN_DESCRIPTORS: u64 = 64;

/// Processes and threads of a worker: itself, and of its client the main thread and at least two for brokers.
pub const TASKS_OF_A_WORKER: u64 = 4;

/// Reaches the workers.
pub(crate) trait Hands {
    /// Starts a worker and gives its process id.
    fn fork(&mut self, plan: &Plan, order: &WorkOrder) -> Result<i32, String>;
    /// Tells a worker; never blocks.
    fn tell(&mut self, attempt: AttemptId, control: &Control);
    /// Kills a worker.
    fn kill(&mut self, attempt: AttemptId);
}

/// A worker as the outside knows it.
#[derive(Debug)]
struct ProcessMeter {
    pid: i32,
    forked_us: u64,
    first_delivery_us: Option<u64>,
    cpu_us: u64,
    speed: Speed,
    told: Told,
    series: Series,
    /// CPU time that its process had used before: in single-process mode that is this very process.
    cpu_before_us: u64,
    /// Acknowledged so far, and of these committed.
    acknowledged: (u64, u64),
    /// The largest that a heartbeat told.
    peak_memory_bytes: u64,
}

impl ProcessMeter {
    fn lasts_us(&self) -> u64 {
        process::monotonic_us().saturating_sub(self.forked_us)
    }

    /// CPU time so far; what was known last if it can't be told.
    fn cpu_so_far_us(&self) -> u64 {
        cpu_of(self.pid).map_or(self.cpu_us, |cpu| cpu.saturating_sub(self.cpu_before_us))
    }

    fn sample(&mut self, progress: &Progress) {
        let at_ms = self.lasts_us() / 1000;
        if self.series.due(at_ms) {
            let cpu_us = self.cpu_so_far_us();
            self.series.take(Sample {
                at_ms,
                acknowledged: progress.counts.acknowledged,
                cpu_us,
                phases: progress.work.phases,
            });
        }
    }
}

/// A run in motion.
pub(crate) struct Driver<'a> {
    pub(crate) machine: Machine,
    store: &'a mut Store,
    watcher: &'a mut dyn Watcher,
    plan: Rc<Plan>,
    meters: BTreeMap<AttemptId, ProcessMeter>,
    paces: Paces,
    clock: Instant,
    watched: Option<Duration>,
    ended: Option<Ended>,
    /// The job's folder as it was when the run began, and when it was last looked at.
    guard: StateGuard,
    guarded: Duration,
    /// Samples of the job so far.
    samples: u64,
    /// CPU time of this process when the run began.
    cpu_before_us: u64,
    /// CPU time that attempts spent in this very process.
    pub(crate) cpu_of_attempts_us: u64,
}

impl<'a> Driver<'a> {
    /// Begins the run in the store. `shared`: whether workers are processes of their own that may be replaced.
    pub(crate) fn begin(setup: Setup<'a>, watcher: &'a mut dyn Watcher, shared: bool) -> Result<Self, SupervisorError> {
        let state = setup.store.load()?;
        if state.plan != *setup.plan {
            return Err(SupervisorError::ForeignPlan);
        }
        let slots = if shared { setup.slots.max(1) } else { 1 };
        setup.store.begin_run(slots, setup.accept)?;
        let rules = rules(&setup, slots, shared);
        let machine = Machine::new(rules, &state.starts(), setup.seed);
        let samples = setup.store.count_samples()?;
        let guard = setup.state.guard()?;
        Ok(Driver {
            machine,
            store: setup.store,
            watcher,
            plan: Rc::new(state.plan),
            meters: BTreeMap::new(),
            paces: Paces::default(),
            clock: Instant::now(),
            watched: None,
            ended: None,
            guard,
            guarded: Duration::ZERO,
            samples,
            cpu_before_us: process::own_cpu().total_us(),
            cpu_of_attempts_us: 0,
        })
    }

    /// The plan as it stands now.
    pub(crate) fn plan(&self) -> Rc<Plan> {
        Rc::clone(&self.plan)
    }

    pub(crate) fn now(&self) -> Duration {
        self.clock.elapsed()
    }

    pub(crate) fn over(&self) -> bool {
        self.ended.is_some()
    }

    /// How long the shell may wait for something to happen.
    pub(crate) fn patience(&self) -> Duration {
        let deadline = self.machine.next_deadline().map_or(Duration::MAX, |at| at.saturating_sub(self.now()));
        // A little more than the rest of a millisecond, so that the deadline is reached when the wait is over.
        deadline.saturating_add(Duration::from_micros(100)).min(WATCH_EVERY)
    }

    /// Gives an input, and carries out everything that follows from it.
    pub(crate) fn give(&mut self, input: Input, hands: &mut dyn Hands) {
        self.note_figures(&input);
        let mut actions = VecDeque::from(self.machine.on(input, self.now()));
        while let Some(action) = actions.pop_front() {
            if let Some(answer) = self.carry_out(action, hands) {
                actions.extend(self.machine.on(answer, self.now()));
            }
        }
    }

    /// Time passed.
    pub(crate) fn tick(&mut self, hands: &mut dyn Hands) {
        self.look_at_state(hands);
        self.give(Input::Tick, hands);
        self.watch(false);
        for wish in self.watcher.wishes() {
            let input = match wish {
                Wish::Steer(steer) => Input::Steer(steer),
                Wish::Stop(reason) => Input::Stop { reason },
                Wish::Topic(change) => Input::Topic(change),
            };
            self.give(input, hands);
        }
    }

    /// Between two chunks the folder may go too, or a run may send nothing for long.
    fn look_at_state(&mut self, hands: &mut dyn Hands) {
        let now = self.now();
        if now.saturating_sub(self.guarded) < GUARD_EVERY {
            return;
        }
        self.guarded = now;
        if let Err(e) = self.guard.check() {
            self.give(Input::StateLost { reason: e.to_string() }, hands);
        }
    }

    /// Does what a command asks, and gives the answer.
    pub(crate) fn obey(&mut self, request: Request, hands: &mut dyn Hands) -> Answer {
        match request {
            Request::Steer(steer) => match self.machine.objection(&steer).or_else(|| self.no_room(&steer)) {
                Some(objection) => Answer::Refused(objection),
                None => {
                    self.give(Input::Steer(steer), hands);
                    Answer::Standing(self.machine.standing())
                }
            },
            Request::State | Request::Watch => Answer::State(Box::new(self.snapshot().without_details())),
        }
    }

    /// Why the system has no room for the workers that a wish adds, as far as that is certain.
    fn no_room(&self, steer: &Steer) -> Option<String> {
        let Steer::Scale(scale) = steer else { return None };
        let more = self.machine.wanted_slots(*scale).saturating_sub(self.machine.attempts().len() as u64);
        process::require_processes(TASKS_OF_A_WORKER * more).err().map(|error| error.to_string())
    }

    /// Takes a signal that steers; what can't be done is said in the log, because a signal has no answer.
    pub(crate) fn steer_by_signal(&mut self, name: &str, steer: Steer, hands: &mut dyn Hands) {
        if let Answer::Refused(objection) = self.obey(Request::Steer(steer), hands) {
            self.watcher.log(Level::Warning, &format!("{name}: {objection}"));
        }
    }

    /// Prints the state of each worker to the log.
    pub(crate) fn log_workers(&mut self) {
        let snapshot = self.snapshot();
        self.watcher.log(Level::Info, &snapshot.standing.to_string());
        for worker in &snapshot.workers {
            self.watcher.log(Level::Info, &watch::worker_line(worker));
        }
    }

    pub(crate) fn log(&mut self, level: Level, text: &str) {
        self.watcher.log(level, text);
    }

    /// Adds CPU time to an attempt that is about to end.
    pub(crate) fn used_cpu(&mut self, attempt: AttemptId, cpu_us: u64) {
        if let Some(meter) = self.meters.get_mut(&attempt) {
            meter.cpu_us = cpu_us;
        }
    }

    pub(crate) fn ended(&mut self, attempt: AttemptId, ending: Ending, hands: &mut dyn Hands) {
        self.give(Input::Ended { attempt, ending }, hands);
    }

    pub(crate) fn stray_child(&mut self, pid: i32, how: &str, hands: &mut dyn Hands) {
        if let Some(reason) = self.watcher.other_child_ended(pid, how) {
            self.give(Input::Stop { reason }, hands);
        }
    }

    fn carry_out(&mut self, action: Action, hands: &mut dyn Hands) -> Option<Input> {
        match action {
            Action::Fork(order) => self.fork(&order, hands),
            Action::Tell(attempt, control) => {
                hands.tell(attempt, &control);
                None
            }
            Action::Kill(attempt) => {
                hands.kill(attempt);
                None
            }
            Action::Record(attempt, chunk) => {
                if let Err(e) = self.guard.check() {
                    return Some(Input::StoreFailed { attempt, reason: e.to_string() });
                }
                let usage = self.usage(attempt);
                Some(match self.store.record_chunk(attempt, &chunk, &usage) {
                    Ok(()) => Input::Recorded { attempt },
                    Err(e) => Input::StoreFailed { attempt, reason: e.to_string() },
                })
            }
            Action::Close(end) => {
                if let Some(meter) = self.meters.get_mut(&end.attempt) {
                    let (at_ms, cpu_us) = (meter.lasts_us() / 1000, meter.cpu_us);
                    meter.series.end(at_ms, meter.acknowledged.0, cpu_us, end.work.phases);
                }
                let usage = self.usage(end.attempt);
                self.meters.remove(&end.attempt);
                Some(self.close(*end, &usage))
            }
            Action::Log { level, text, keep } => {
                if keep {
                    self.keep(&text);
                }
                self.watcher.log(level, &text);
                None
            }
            Action::Notice(text) => {
                if let Err(e) = self.store.notice(&text) {
                    self.watcher.log(Level::Warning, &format!("not kept in the job's history: {e}"));
                }
                self.watcher.log(Level::Warning, &text);
                None
            }
            Action::Steered(text) => {
                self.watcher.log(Level::Info, &text);
                self.keep_turn(text);
                None
            }
            Action::End(ended) => {
                self.ended = Some(ended);
                None
            }
        }
    }

    /// Puts the end of an attempt on disk, with what its cuts make of the plan.
    fn close(&mut self, mut end: AttemptEnd, usage: &AttemptUsage) -> Input {
        let attempt = end.attempt;
        if let Err(e) = self.guard.check() {
            return Input::StoreFailed { attempt, reason: e.to_string() };
        }
        let pieces = self.pieces(&mut end);
        let added = pieces.as_ref().map(Pieces::added).unwrap_or_default();
        if let Err(e) = self.store.end_attempt(&end, usage, added.clone()) {
            return Input::StoreFailed { attempt, reason: e.to_string() };
        }
        let split = pieces.map(|pieces| {
            // While workers are processes, this is the only holder of the plan, and it is not copied.
            let plan = Rc::make_mut(&mut self.plan);
            plan.put(pieces);
            let shard = Extent::of(plan, &plan.shards[attempt.shard.0 as usize]);
            let added = plan.shards[added.start as usize..].iter().map(|piece| ShardStart::fresh(plan, piece)).collect();
            Split { shard, added }
        });
        Input::Closed { attempt, split }
    }

    /// What the cuts of an attempt make of its shard; nothing without cuts.
    fn pieces(&mut self, end: &mut AttemptEnd) -> Option<Pieces> {
        let apart = end.apart.and_then(|index| Some((index, self.plan.shards.get(end.attempt.shard.0 as usize)?)));
        let start = |(index, shard)| Some((index, self.plan.segments(shard).get(index as usize)?.start));
        end.cuts.extend(apart.and_then(start).map(|(segment, place)| Cut { segment, place }));
        if end.cuts.is_empty() {
            return None;
        }
        let pieces = self.plan.pieces(end.attempt.shard, &self.machine.position(end.attempt.shard), &end.cuts);
        if let Err(wrong) = &pieces {
            self.watcher.log(Level::Warning, &format!("not split: {wrong}"));
            end.cuts.clear();
        }
        pieces.ok()
    }

    /// Keeps a line in the job's history. That is for people: whatever must be on disk fails by itself.
    fn keep(&mut self, text: &str) {
        if let Err(e) = self.store.note(text) {
            self.watcher.log(Level::Warning, &format!("not kept in the job's history: {e}"));
        }
    }

    /// Keeps a turn of the knobs with the pace before it, which is the pace after the turn before.
    fn keep_turn(&mut self, text: String) {
        let now = self.now();
        let last = self.paces.close(now);
        let event = SteerEvent { unix_ms: unix_ms(), text, before: self.paces.before(now), after: None };
        match self.store.note_turn(&event, last) {
            Ok(key) => self.paces.turned(key, event, now),
            Err(e) => self.watcher.log(Level::Warning, &format!("not kept in the job's history: {e}")),
        }
    }

    fn keep_pace(&mut self, after: Option<(i64, Pace)>) {
        if let Some((key, pace)) = after
            && let Err(e) = self.store.note_pace(key, &pace)
        {
            self.watcher.log(Level::Warning, &format!("not kept in the job's history: {e}"));
        }
    }

    /// Whether as many workers run, connected, as were asked for, as far as there is work for them.
    fn settled(&self) -> bool {
        let standing = self.machine.standing();
        let complete = standing.running >= standing.asked || standing.waiting == 0 || standing.paused;
        complete && standing.leaving == 0 && self.machine.attempts().iter().all(|attempt| attempt.started)
    }

    fn fork(&mut self, order: &WorkOrder, hands: &mut dyn Hands) -> Option<Input> {
        let attempt = order.id();
        if let Err(e) = self.store.begin_attempt(attempt, self.machine.orphan_may_send()) {
            return Some(Input::NotBegun { attempt, reason: e.to_string() });
        }
        let (forked_us, now) = (process::monotonic_us(), self.now());
        match hands.fork(&self.plan, order) {
            Ok(pid) => {
                let meter = ProcessMeter {
                    pid,
                    forked_us,
                    first_delivery_us: None,
                    cpu_us: 0,
                    speed: Speed::new(now),
                    series: Series::new(series::interval(self.samples)),
                    cpu_before_us: cpu_of(pid).unwrap_or(0),
                    acknowledged: (0, 0),
                    peak_memory_bytes: 0,
                    told: Told::default(),
                };
                self.meters.insert(attempt, meter);
                None
            }
            Err(reason) => Some(Input::ForkFailed { attempt, reason }),
        }
    }

    /// What goes to disk with an attempt's next transaction; its samples are given away.
    fn usage(&mut self, attempt: AttemptId) -> AttemptUsage {
        let Some(meter) = self.meters.get_mut(&attempt) else { return AttemptUsage::default() };
        let samples = meter.series.give();
        self.samples += samples.samples.len() as u64;
        AttemptUsage {
            samples,
            pid: meter.pid,
            elapsed_us: meter.lasts_us(),
            cpu_us: meter.cpu_us,
            first_delivery_us: meter.first_delivery_us.map(|at| at.saturating_sub(meter.forked_us)),
            peak_memory_bytes: meter.peak_memory_bytes,
        }
    }

    /// Takes from an event what the display and the attempt's row need.
    fn note_figures(&mut self, input: &Input) {
        let Input::Event { attempt, event } = input else { return };
        let now = self.now();
        let Some(meter) = self.meters.get_mut(attempt) else { return };
        self.paces.hear(&mut meter.told, event);
        let work = match event {
            WorkerEvent::Progress(progress) => {
                meter.speed.heartbeat(progress.counts, now);
                meter.acknowledged.0 = meter.acknowledged.0.max(progress.counts.acknowledged);
                meter.peak_memory_bytes = meter.peak_memory_bytes.max(progress.peak_memory_bytes);
                meter.sample(progress);
                &progress.work
            }
            WorkerEvent::Committed(chunk) => {
                let committed = meter.acknowledged.1 + chunk.counts.acknowledged;
                meter.acknowledged = (meter.acknowledged.0.max(committed), committed);
                &chunk.work
            }
            WorkerEvent::Finished(finished) => &finished.work,
            WorkerEvent::Started(_) | WorkerEvent::Log { .. } | WorkerEvent::Notice(_) | WorkerEvent::Failed(_) => return,
        };
        if meter.first_delivery_us.is_none() {
            meter.first_delivery_us = work.deliveries.map(|(first, _)| first);
        }
    }

    /// Shows how things stand, if it is time.
    pub(crate) fn watch(&mut self, at_once: bool) {
        let now = self.now();
        if at_once || self.watched.is_none_or(|last| now - last >= WATCH_EVERY) {
            self.watched = Some(now);
            let after = self.paces.tick(now, self.settled());
            self.keep_pace(after);
            let snapshot = self.snapshot();
            self.watcher.tick(&snapshot);
        }
    }

    /// How many records the plan expects in a shard.
    fn records_of(&self, shard: ShardId) -> u64 {
        self.plan.shards.get(shard.0 as usize).map_or(0, |shard| shard.records_estimate)
    }

    /// How things stand. Made several times a second: it costs as much as there are workers, however many shards there are.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let (views, totals) = (self.machine.attempts(), self.machine.totals());
        let mut counts = totals.counts;
        views.iter().for_each(|view| counts.add(&view.ahead));
        Snapshot {
            elapsed: self.now(),
            counts,
            committed: totals.counts,
            shards: watch::shard_totals(&self.machine),
            source_bytes: totals.bytes,
            source_bytes_done: self.machine.bytes_done(),
            slots: self.machine.slots(),
            standing: self.machine.standing(),
            draining: self.machine.stopping(),
            workers: views
                .iter()
                .filter_map(|view| self.meters.get(&view.attempt).map(|meter| (view, meter)))
                .map(|(view, meter)| meter.speed.view(view, meter.pid, self.records_of(view.attempt.shard)))
                .collect(),
            steering: self.paces.shown(),
        }
    }

    /// Ends the run in the store and says how it ended.
    pub(crate) fn finish(mut self) -> RunEnd {
        let mut causes = self.ended.take().map_or_else(unended, |ended| ended.causes);
        let after = self.paces.close(self.now());
        self.keep_pace(after);
        let cpu_us = process::own_cpu().total_us() - self.cpu_before_us;
        let cpu_us = cpu_us.saturating_sub(self.cpu_of_attempts_us);
        if let Err(e) = self.store.end_run(causes.exit().code(), &causes.reasons(), self.machine.slots(), cpu_us) {
            causes.add(Cause::State, e.to_string());
        }
        self.watch(true);
        let (counts, shards) = (self.machine.totals().counts, watch::shard_totals(&self.machine));
        RunEnd { causes, counts, shards, elapsed: self.now() }
    }
}

/// The causes of a run that the machine never ended.
fn unended() -> Causes {
    let mut causes = Causes::default();
    causes.add(Cause::Internal, "the supervisor's loop ended before its run; this is a bug, please report it");
    causes
}

/// Wall-clock time, for people only.
fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(0))
}

/// How many workers this process can have at once, by its descriptors: both pipes of each, and its own.
fn most_slots() -> u32 {
    let by_descriptors =
        process::descriptor_limit().map_or(u64::from(MOST_SLOTS), |limit| limit.saturating_sub(OWN_DESCRIPTORS) / 2);
    by_descriptors.clamp(1, MOST_SLOTS.into()) as u32
}

/// CPU time of a process so far, microseconds; `None` when it has ended.
fn cpu_of(pid: i32) -> Option<u64> {
    let used = process::cpu_of(u32::try_from(pid).ok()?).ok()?;
    u64::try_from(used.as_micros()).ok()
}

fn rules(setup: &Setup<'_>, slots: u32, shared: bool) -> Rules {
    let (workers, limits) = (setup.workers, setup.limits);
    let rate = |limit: Option<u64>| limit.map_or(f64::INFINITY, |rate| rate as f64);
    Rules {
        slots,
        auto_slots: setup.auto_slots,
        most_slots: if shared { most_slots().max(slots) } else { 1 },
        paused: setup.paused,
        split: setup.split && shared,
        max_without_progress: workers.restart.max_without_progress,
        backoff_min: workers.restart.backoff_min,
        backoff_max: workers.restart.backoff_max,
        heartbeat_timeout: shared.then_some(workers.heartbeat_timeout),
        give_up_after: setup.give_up_after,
        drain_timeout: workers.drain_timeout,
        max_bad_records: limits.max_bad_records,
        chunk_records: workers.chunk.records,
        rate: Rate { records: rate(limits.rate_records), bytes: rate(limits.rate_bytes) },
        retry: shared,
        topic: setup.topic.cloned(),
    }
}
