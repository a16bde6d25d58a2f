//! Between the machine and the world: gives inputs to the machine, carries its actions to the recorder, the watcher and
//! the hands that hold the workers, and gives their answers back.
//!
//! Responsible for the order of these things, above all that a worker hears `Recorded` only after the store returned.
//! Not responsible for what is decided (the machine), how a worker is reached ([`Hands`]), or what is written down (the
//! recorder).

mod shown;
mod steered;

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use migration::job::Delivery;
use migration::report::RunRules;
use migration::{Cause, Causes, Control, Cut, Division, Level, Pieces, Plan};

use crate::machine::{Action, AttemptEnd, AttemptId, Ended, Ending, Input, Machine, WorkOrder};
use crate::outage::Outages;
use crate::recorder::{self, Recorder};
use crate::setup::Setup;
use crate::store::StateError;
use crate::watch::{self, Watcher, Wish};
use crate::{RunEnd, SupervisorError};

/// Between two calls of [`Watcher::tick`].
const WATCH_EVERY: Duration = Duration::from_millis(200);

/// Reaches the workers.
pub(crate) trait Hands {
    /// Starts a worker and gives its process id.
    fn fork(&mut self, plan: &Plan, order: &WorkOrder) -> Result<i32, String>;
    /// Tells a worker; never blocks.
    fn tell(&mut self, attempt: AttemptId, control: &Control);
    /// Kills a worker.
    fn kill(&mut self, attempt: AttemptId);
}

/// A run in motion.
pub(crate) struct Driver<'a> {
    pub(crate) machine: Machine,
    recorder: Recorder<'a>,
    watcher: &'a mut dyn Watcher,
    plan: Rc<Plan>,
    clock: Instant,
    watched: Option<Duration>,
    ended: Option<Ended>,
    /// When the newest end of a worker was seen.
    reaped: Duration,
    /// CPU time of this process when the run began.
    cpu_before_us: u64,
    rules: RunRules,
    outages: Outages,
    /// How many records the plan expects; splits change nothing about it.
    records_estimate: u64,
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
        setup.store.begin_run(setup.slots_at_once(shared), setup.accept)?;
        setup.store.note_command(setup.command)?;
        let rules = setup.kept(shared);
        setup.store.note_rules(&rules)?;
        let outages = Outages::new(setup.give_up_after, state.binding.partitions());
        let machine = Machine::new(setup.rules(shared), &state.starts(), setup.seed);
        let cache = setup.delivery == Delivery::ExactlyOnce;
        Ok(Driver {
            machine,
            recorder: Recorder::new(setup.store, setup.state.guard()?, cache)?,
            watcher,
            records_estimate: state.plan.records_estimate(),
            plan: Rc::new(state.plan),
            clock: Instant::now(),
            watched: None,
            ended: None,
            reaped: Duration::ZERO,
            outages,
            cpu_before_us: process::own_cpu().total_us(),
            rules,
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
        let now = self.now();
        if let Input::Event { attempt, event } = &input {
            self.recorder.hear(*attempt, event, now);
        }
        let mut actions = VecDeque::from(self.machine.on(input, now));
        while let Some(action) = actions.pop_front() {
            if let Some(answer) = self.carry_out(action, hands) {
                actions.extend(self.machine.on(answer, self.now()));
            }
        }
    }

    /// Time passed.
    pub(crate) fn tick(&mut self, hands: &mut dyn Hands) {
        if let Some(reason) = self.recorder.lost(self.now()) {
            self.give(Input::StateLost { reason }, hands);
        }
        if let Some(why) = self.recorder.trouble() {
            let text = format!("the state can't be written: {why}; the job goes on, Kafka has how far it is");
            self.watcher.log(Level::Warning, &text);
        }
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

    pub(crate) fn log(&mut self, level: Level, text: &str) {
        self.watcher.log(level, text);
    }

    /// Adds CPU time to an attempt that is about to end.
    pub(crate) fn used_cpu(&mut self, attempt: AttemptId, cpu_us: u64) {
        self.recorder.meters.used_cpu(attempt, cpu_us);
    }

    pub(crate) fn ended(&mut self, attempt: AttemptId, ending: Ending, hands: &mut dyn Hands) {
        self.reaped = self.now();
        self.give(Input::Ended { attempt, ending }, hands);
    }

    pub(crate) fn stray_child(&mut self, pid: i32, how: &str, hands: &mut dyn Hands) {
        if let Some(reason) = self.watcher.other_child_ended(pid, how) {
            self.give(Input::Stop { reason }, hands);
        }
    }

    fn carry_out(&mut self, action: Action, hands: &mut dyn Hands) -> Option<Input> {
        match action {
            Action::Fork(order) => return self.fork(&order, hands),
            Action::Record(attempt, chunk) => {
                let before = self.machine.entry(attempt.shard);
                return Some(match self.recorder.record(attempt, &chunk, &before) {
                    Ok(()) => Input::Recorded { attempt },
                    Err(reason) => Input::StoreFailed { attempt, reason },
                });
            }
            Action::Adopt(attempt, entry) => self.recorder.adopt(attempt.shard, &entry),
            Action::Close(end) => return Some(self.close(*end)),
            Action::Tell(attempt, control) => {
                hands.tell(attempt, &control);
                if !control.hold && !control.drain && self.recorder.meters.admit(attempt) {
                    let ms = self.now().saturating_sub(self.reaped).as_secs_f64() * 1e3;
                    let text = format!("shard {} has its slot, {ms:.1} ms after a worker was reaped", attempt.shard);
                    self.watcher.log(Level::Debug, &text);
                }
            }
            Action::Kill(attempt) => hands.kill(attempt),
            Action::Log { level, text, keep } => {
                let kept = if keep { self.recorder.note(&text) } else { Ok(()) };
                self.tell_if_not_kept(kept);
                self.watcher.log(level, &text);
            }
            Action::Notice(text) => {
                let kept = self.recorder.notice(&text);
                self.tell_if_not_kept(kept);
                self.watcher.log(Level::Warning, &text);
            }
            Action::Steered(text) => {
                self.watcher.log(Level::Info, &text);
                let kept = self.recorder.turned(text, self.now());
                self.tell_if_not_kept(kept);
            }
            Action::End(ended) => self.ended = Some(ended),
        }
        None
    }

    /// The history is for people: whatever must be on disk fails by itself.
    fn tell_if_not_kept(&mut self, kept: Result<(), StateError>) {
        if let Err(error) = kept {
            self.watcher.log(Level::Warning, &format!("not kept in the job's history: {error}"));
        }
    }

    fn fork(&mut self, order: &WorkOrder, hands: &mut dyn Hands) -> Option<Input> {
        let attempt = order.id();
        if let Err(reason) = self.recorder.begin(attempt, self.machine.orphan_may_send()) {
            return Some(Input::NotBegun { attempt, reason });
        }
        let (forked_us, now) = (process::monotonic_us(), self.now());
        match hands.fork(&self.plan, order) {
            Ok(pid) => {
                self.recorder.meters.begin(attempt, pid, forked_us, order.control.hold, now);
                None
            }
            Err(reason) => Some(Input::ForkFailed { attempt, reason }),
        }
    }

    /// Puts the end of an attempt on disk, with what its division makes of the plan.
    fn close(&mut self, mut end: AttemptEnd) -> Input {
        let (attempt, pieces) = (end.attempt, self.pieces(&mut end));
        if let Err(reason) = self.recorder.close(&end, pieces.as_ref()) {
            return Input::StoreFailed { attempt, reason };
        }
        // While workers are processes, this is the only holder of the plan, and it is not copied.
        let token = self.machine.entry(attempt.shard).token.filter(|_| matches!(end.division, Some(Division::Partitions(_))));
        let split = pieces.map(|pieces| recorder::split(Rc::make_mut(&mut self.plan), attempt.shard, pieces, token.as_ref()));
        Input::Closed { attempt, split }
    }

    /// What the division of an attempt's shard makes of it; nothing without one.
    fn pieces(&mut self, end: &mut AttemptEnd) -> Option<Pieces> {
        let apart = end.apart.and_then(|index| Some((index, self.plan.shards.get(end.attempt.shard.0 as usize)?)));
        let start = |(index, shard)| Some((index, self.plan.segments(shard).get(index as usize)?.start));
        if let Some((segment, place)) = apart.and_then(start) {
            end.division = Some(Division::Places(vec![Cut { segment, place }]));
        }
        let from = self.machine.entry(end.attempt.shard).position;
        let pieces = self.plan.pieces(end.attempt.shard, &from, end.division.as_ref()?);
        if let Err(wrong) = &pieces {
            self.watcher.log(Level::Warning, &format!("not split: {wrong}"));
            end.division = None;
        }
        pieces.ok()
    }

    /// Ends the run in the store and says how it ended.
    pub(crate) fn finish(mut self) -> RunEnd {
        let mut causes = self.ended.take().map_or_else(unended, |ended| ended.causes);
        let after = self.recorder.paces.close(self.now());
        let kept = self.recorder.pace(after);
        self.tell_if_not_kept(kept);
        let cpu_us = process::own_cpu().total_us() - self.cpu_before_us;
        let cpu_us = cpu_us.saturating_sub(self.cpu_of_attempts_us);
        let rules = RunRules { auto: self.machine.searches(), ..self.rules };
        if let Err(error) = self.recorder.end(&causes, self.machine.slots(), cpu_us, &rules) {
            causes.add(Cause::State, error);
        }
        self.watch(true);
        self.tell_lines();
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
