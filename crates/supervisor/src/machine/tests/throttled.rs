//! A throttled job on simulated time: workers with token buckets that stop at each chunk's end, end with their shards
//! and take a while to connect. However many there are, the job as a whole keeps to its limit over each ten seconds.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use migration::steer::{Scale, Steer};
use migration::{Chunk, Control, Counts, Finished, LedgerEntry, Progress, Rate, Receipt, Started, Work, WorkerEvent};

use super::world::{at, rules, starts};
use crate::machine::{Action, AttemptId, Ending, Input, Machine, Rules};
use crate::random::Random;

/// The simulation's step, in seconds.
const STEP: f64 = 0.01;
const LIMIT: f64 = 50_000.0;

struct Worker {
    from: LedgerEntry,
    control: Control,
    connected: f64,
    started: bool,
    tokens: f64,
    /// What it could take a second without a limit.
    speed: f64,
    left: u64,
    taken: u64,
    committed: u64,
    chunk: u64,
    chunk_ends: f64,
    /// Waits for delivery reports until then.
    barrier: f64,
    heartbeat: f64,
}

pub(super) struct Job {
    pub(super) machine: Machine,
    workers: BTreeMap<AttemptId, Worker>,
    seconds: f64,
    shard: u64,
    random: Random,
    /// What all workers together can send, by their number; `None`: each has a speed of its own.
    broker: Option<fn(usize) -> f64>,
    /// What was taken in each step.
    taken: Vec<u64>,
    /// The turns of the knobs.
    pub(super) turns: Vec<String>,
}

impl Job {
    fn new(slots: u32, shard: u64, seed: u64) -> Self {
        let limited = Rules { rate: Rate { records: LIMIT, bytes: f64::INFINITY }, split: false, ..rules(slots) };
        Job::with(limited, shard, seed)
    }

    pub(super) fn with(rules: Rules, shard: u64, seed: u64) -> Self {
        let machine = Machine::new(rules, &starts(2_000, shard), seed);
        Job {
            machine,
            workers: BTreeMap::new(),
            seconds: 0.0,
            shard,
            random: Random::new(seed),
            broker: None,
            taken: Vec::new(),
            turns: Vec::new(),
        }
    }

    /// The same with a limit for all of them.
    pub(super) fn searching_below(limit: f64, broker: fn(usize) -> f64, shard: u64, seed: u64) -> Self {
        let mut job = Job::searching(broker, shard, seed);
        job.give(Input::Steer(Steer::Throttle { records: Some(limit), bytes: None }));
        job
    }

    /// A job that finds the number of its workers, of which all together can send this.
    pub(super) fn searching(broker: fn(usize) -> f64, shard: u64, seed: u64) -> Self {
        let rules = Rules { search: true, auto_slots: 2, most_auto_slots: 64, split: false, ..rules(2) };
        Job { broker: Some(broker), ..Job::with(rules, shard, seed) }
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (self.random.next() >> 11) as f64 / (1u64 << 53) as f64 * (high - low)
    }

    pub(super) fn give(&mut self, input: Input) {
        let now = Duration::from_secs_f64(self.seconds);
        let mut actions = VecDeque::from(self.machine.on(input, now));
        while let Some(action) = actions.pop_front() {
            let answer = match action {
                Action::Fork(order) => {
                    let (connected, speed) = (self.seconds + self.between(0.1, 0.3), self.between(20_000.0, 200_000.0));
                    let worker = Worker {
                        from: order.from.clone(),
                        control: order.control,
                        connected,
                        started: false,
                        tokens: 0.0,
                        speed: if self.machine.slots() == 1 { 200_000.0 } else { speed },
                        left: self.shard - order.from.position.records,
                        taken: 0,
                        committed: 0,
                        chunk: 0,
                        chunk_ends: connected + 1.0,
                        barrier: 0.0,
                        heartbeat: connected,
                    };
                    self.workers.insert(order.id(), worker);
                    continue;
                }
                Action::Tell(id, control) => {
                    if let Some(worker) = self.workers.get_mut(&id) {
                        worker.control = control;
                    }
                    continue;
                }
                Action::Record(attempt, _) => Input::Recorded { attempt },
                Action::Steered(text) => {
                    self.turns.push(text);
                    continue;
                }
                Action::Close(end) => Input::Closed { attempt: end.attempt, split: None },
                _ => continue,
            };
            actions.extend(self.machine.on(answer, now));
        }
    }

    /// One step of one worker: what it says.
    fn work(&mut self, id: AttemptId) -> Vec<WorkerEvent> {
        let (now, stall) = (self.seconds, self.between(0.005, 0.15));
        let connected = self.workers.values().filter(|w| w.started).count().max(1);
        let share = self.broker.map(|broker| broker(connected) / connected as f64);
        let Some(w) = self.workers.get_mut(&id) else { return Vec::new() };
        let mut said = Vec::new();
        if now < w.connected {
            return said;
        }
        if !std::mem::replace(&mut w.started, true) {
            said.push(WorkerEvent::Started(Started { from: w.from.clone(), ..Started::default() }));
        }
        let rate = w.control.rate.records;
        w.tokens = (w.tokens + rate * STEP).min((rate * 0.1).max(1.0));
        if now >= w.barrier && !w.control.paused && !w.control.drain {
            let most = (share.unwrap_or(w.speed) * STEP).min(w.tokens).max(0.0) as u64;
            let some = most.min(w.left);
            (w.tokens, w.left, w.taken) = (w.tokens - some as f64, w.left - some, w.taken + some);
            *self.taken.last_mut().expect("a step") += some;
        }
        let counts =
            |read: u64| Counts { read, acknowledged: read, bytes_read: read * 10, bytes_sent: read * 10, ..Counts::default() };
        let over = w.left == 0 || w.control.drain || w.control.paused;
        if w.taken > w.committed && (over || now >= w.chunk_ends) {
            w.chunk += 1;
            let chunk = Chunk {
                number: w.chunk,
                position: at(self.shard - w.left),
                token: None,
                counts: counts(w.taken - w.committed),
                work: Work::default(),
                letters: 0,
                receipt: Receipt::default(),
            };
            (w.committed, w.barrier, w.chunk_ends) = (w.taken, now + stall, now + stall + 1.0);
            said.push(WorkerEvent::Committed(chunk));
        }
        if now >= w.heartbeat {
            w.heartbeat = now + 0.2;
            let progress = Progress { position: at(self.shard - w.left), counts: counts(w.taken), ..Progress::default() };
            said.push(WorkerEvent::Progress(progress));
        }
        if w.left == 0 || w.control.drain {
            let position = at(self.shard - w.left);
            let complete = w.left == 0;
            said.push(WorkerEvent::Finished(Finished {
                position,
                complete,
                cuts: None,
                work: Work::default(),
                peak_memory_bytes: 0,
            }));
        }
        said
    }

    pub(super) fn run(&mut self, seconds: f64) {
        let end = self.seconds + seconds;
        while self.seconds < end {
            self.taken.push(0);
            self.give(Input::Tick);
            for attempt in self.workers.keys().copied().collect::<Vec<_>>() {
                let said = self.work(attempt);
                let last = matches!(said.last(), Some(WorkerEvent::Finished(_)));
                said.into_iter().for_each(|event| self.give(Input::Event { attempt, event }));
                if last {
                    self.workers.remove(&attempt);
                    self.give(Input::Ended { attempt, ending: Ending::Code(0) });
                }
            }
            self.seconds += STEP;
        }
    }

    /// What was taken a second since then.
    pub(super) fn rate(&self, since: f64) -> f64 {
        let steps = &self.taken[(since / STEP) as usize..];
        steps.iter().sum::<u64>() as f64 / (steps.len() as f64 * STEP)
    }

    /// The least and the most of a limit that was taken in any ten seconds since then.
    fn windows(&self, since: f64, limit: f64) -> (f64, f64) {
        let steps = &self.taken[(since / STEP) as usize..];
        let of = |window: &[u64]| window.iter().sum::<u64>() as f64 / (limit * 10.0);
        let all: Vec<f64> = steps.windows((10.0 / STEP) as usize).step_by(7).map(of).collect();
        (all.iter().copied().fold(f64::INFINITY, f64::min), all.iter().copied().fold(0.0, f64::max))
    }
}

fn assert_even((least, most): (f64, f64), what: &str) {
    assert!(least > 0.95 && most < 1.05, "{what}: {least:.3} to {most:.3} of the limit");
}

#[test]
fn each_ten_seconds_keep_the_limit_with_1_4_and_16_workers() {
    for slots in [1, 4, 16] {
        // Shards of 5 s to 40 s of the whole job's limit for each worker.
        for seconds in [5.0, 12.0, 40.0] {
            for seed in 0..4 {
                let shard = (LIMIT * seconds / f64::from(slots)) as u64;
                let mut job = Job::new(slots, shard, seed);
                job.run(60.0);
                assert_even(job.windows(5.0, LIMIT), &format!("{slots} workers, shards of {seconds} s, seed {seed}"));
            }
        }
    }
}

#[test]
fn scaling_and_another_limit_take_hold_within_two_seconds() {
    let mut job = Job::new(4, 300_000, 1);
    job.run(20.0);
    job.give(Input::Steer(Steer::Scale(Scale::To(16))));
    job.run(20.0);
    job.give(Input::Steer(Steer::Scale(Scale::To(2))));
    job.run(20.0);
    assert_even(job.windows(5.0, LIMIT), "scaled");
    for (records, from) in [(10_000.0, 60.0), (30_000.0, 80.0)] {
        job.give(Input::Steer(Steer::Throttle { records: Some(records), bytes: None }));
        job.run(20.0);
        assert_even(job.windows(from + 2.0, records), "another limit");
    }
}

#[test]
fn what_a_pause_left_is_not_caught_up_with() {
    let mut job = Job::new(4, 300_000, 2);
    job.run(20.0);
    job.give(Input::Steer(Steer::Pause));
    job.run(30.0);
    let pause: u64 = job.taken[2_050..5_000].iter().sum();
    job.give(Input::Steer(Steer::Continue));
    job.run(20.0);
    assert_eq!(pause, 0);
    assert_even(job.windows(51.0, LIMIT), "after the pause");
}
