//! From the supervisor's snapshots to what is shown: the same for the run itself and for another terminal that watches
//! it.

use std::collections::VecDeque;
use std::time::Duration;

use supervisor::Snapshot;

use super::{Eta, View, WorkerView};

/// Makes views of a run; remembers what rates and the time left are judged by.
#[derive(Debug, Default)]
pub struct Viewer {
    job: String,
    eta: Eta,
    rate: RecentRate,
}

impl Viewer {
    /// For the job of this name.
    pub fn new(job: &str) -> Self {
        Viewer { job: job.to_owned(), ..Viewer::default() }
    }

    /// What to show of a run now. Call it for each snapshot, in their order.
    pub fn view(&mut self, snapshot: &Snapshot) -> View {
        let done = share(snapshot.source_bytes_done, snapshot.source_bytes);
        View {
            job: self.job.clone(),
            state: state(snapshot),
            done,
            records: snapshot.counts.read,
            dead_letters: snapshot.counts.dead_lettered,
            rate: self.rate.update(snapshot.elapsed, snapshot.counts.read),
            elapsed: snapshot.elapsed,
            eta: self.eta.update(snapshot.elapsed, done),
            shards: (snapshot.shards.done, snapshot.shards.total),
            quarantined: snapshot.shards.quarantined,
            asked: snapshot.standing.asked,
            workers: snapshot.workers.iter().map(worker_view).collect(),
            turn: snapshot.steering.last().cloned(),
        }
    }
}

fn state(snapshot: &Snapshot) -> &'static str {
    match (snapshot.draining, snapshot.standing.paused) {
        (true, _) => "draining",
        (false, true) => "paused",
        (false, false) => "running",
    }
}

fn worker_view(worker: &supervisor::WorkerView) -> WorkerView {
    WorkerView {
        shard: worker.attempt.shard.0,
        attempt: worker.attempt.number,
        done: worker.shard_done,
        rate: worker.records_per_second,
        flush: worker.flush_share,
        waiting_for: worker.waiting_for.as_ref().map(ToString::to_string),
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}

/// Records a second over the last few seconds, which is what a reader of a progress line expects.
#[derive(Debug, Default)]
struct RecentRate {
    marks: VecDeque<(Duration, u64)>,
}

/// How far back a rate looks.
const RATE_OVER: Duration = Duration::from_secs(5);

impl RecentRate {
    fn update(&mut self, elapsed: Duration, count: u64) -> f64 {
        self.marks.push_back((elapsed, count));
        while self.marks.len() > 2 && self.marks[1].0 + RATE_OVER <= elapsed {
            self.marks.pop_front();
        }
        let Some(&(then, before)) = self.marks.front() else { return 0.0 };
        let seconds = elapsed.saturating_sub(then).as_secs_f64();
        if seconds > 0.0 { count.saturating_sub(before) as f64 / seconds } else { 0.0 }
    }
}
