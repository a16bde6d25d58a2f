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
    byte_rate: RecentRate,
    work: WorkTime,
}

impl Viewer {
    /// For the job of this name.
    pub fn new(job: &str) -> Self {
        Viewer { job: job.to_owned(), ..Viewer::default() }
    }

    /// What to show of a run now. Call it for each snapshot, in their order.
    pub fn view(&mut self, snapshot: &Snapshot) -> View {
        let done = share(snapshot.source_bytes_done, snapshot.source_bytes);
        let (state, elapsed) = (state(snapshot), snapshot.elapsed);
        let here = snapshot.counts.since(&snapshot.taken_over);
        let rate = self.rate.update(elapsed, here.read);
        let works = matches!(state, "running" | "draining");
        let eta = self.eta.update(self.work.update(elapsed, works), done);
        View {
            job: self.job.clone(),
            state,
            done,
            records: snapshot.counts.read,
            total: snapshot.records_estimate,
            byte_rate: self.byte_rate.update(elapsed, here.bytes_read),
            dead_letters: snapshot.counts.dead_lettered,
            rate,
            elapsed,
            // Of what stands still no end is known.
            eta: eta.filter(|_| works && rate >= 1.0),
            shards: (snapshot.shards.done, snapshot.shards.total),
            quarantined: snapshot.shards.quarantined,
            asked: snapshot.standing.asked,
            fewer: snapshot.standing.fewer,
            outage: snapshot.outage.clone(),
            workers: snapshot.workers.iter().map(worker_view).collect(),
            turn: snapshot.steering.last().cloned(),
        }
    }
}

fn state(snapshot: &Snapshot) -> &'static str {
    match (snapshot.draining, snapshot.standing.paused, &snapshot.outage) {
        (true, ..) => "draining",
        (false, true, _) => "paused",
        // Leaders of some partitions are away: the others' records may go on.
        (false, false, Some(_)) => "waiting",
        (false, false, None) => "running",
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

/// The time in which the run could work: neither paused nor without brokers. The rate before such a time says how long
/// the rest takes, and not the time itself.
#[derive(Debug, Default)]
struct WorkTime {
    last: Duration,
    idle: Duration,
}

impl WorkTime {
    fn update(&mut self, elapsed: Duration, works: bool) -> Duration {
        if !works {
            self.idle += elapsed.saturating_sub(self.last);
        }
        self.last = elapsed;
        elapsed.saturating_sub(self.idle)
    }
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

#[cfg(test)]
mod tests {
    use migration::steer::Standing;
    use migration::{Counts, Outage, Unanswered};

    use super::*;

    fn snapshot(seconds: u64, read: u64, outage: bool, paused: bool) -> Snapshot {
        let outage = outage.then(|| Outage {
            since_unix_ms: 1_795_422_667_999,
            gives_up_unix_ms: 1_795_423_567_999,
            give_up_after: Duration::from_secs(900),
            who: Unanswered::All,
            cause: None,
        });
        Snapshot {
            elapsed: Duration::from_secs(seconds),
            counts: Counts { read, bytes_read: read * 100, ..Counts::default() },
            source_bytes: 100_000,
            source_bytes_done: read * 100,
            standing: Standing { paused, ..Standing::default() },
            outage,
            ..Snapshot::default()
        }
    }

    #[test]
    fn no_end_is_promised_while_nothing_moves_and_the_gap_does_not_count_afterwards() {
        let mut viewer = Viewer::new("j");
        let mut eta = |seconds, read, outage, paused| {
            let view = viewer.view(&snapshot(seconds, read, outage, paused));
            (view.state, view.eta.map(|eta| eta.as_secs()))
        };
        (0..10).for_each(|s| _ = eta(s, s * 10, false, false));
        assert_eq!(eta(10, 100, false, false), ("running", Some(90)));
        for s in 11..100 {
            // The time until it is known that brokers are away is counted.
            let (state, left) = eta(s, 100, s > 12, false);
            assert_eq!((state, left.is_some()), if s > 12 { ("waiting", false) } else { ("running", true) }, "{s}");
        }
        for s in 100..120 {
            assert_eq!(eta(s, 100, false, true), ("paused", None));
        }
        (120..130).for_each(|s| _ = eta(s, 100 + (s - 119) * 10, false, false));
        let (state, left) = eta(130, 210, false, false);
        assert_eq!(state, "running");
        assert!(left.is_some_and(|left| (70..=110).contains(&left)), "{left:?}: 79 s at the rate before and after");
    }

    #[test]
    fn a_run_whose_rate_is_nothing_has_no_end() {
        let mut viewer = Viewer::new("j");
        (0..10).for_each(|s| _ = viewer.view(&snapshot(s, s * 10, false, false)));
        let last = (10..20).map(|s| viewer.view(&snapshot(s, 90, false, false)).eta).next_back();
        assert_eq!(last, Some(None));
    }
}
