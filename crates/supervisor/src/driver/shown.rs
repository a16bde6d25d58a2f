//! How a run shows itself: to its watcher, to a command that asks, in its log.

use migration::{Level, ShardId};

use super::{Driver, WATCH_EVERY};
use crate::watch::{self, Snapshot};

impl Driver<'_> {
    /// Shows how things stand, if it is time.
    pub(crate) fn watch(&mut self, at_once: bool) {
        let now = self.now();
        if at_once || self.watched.is_none_or(|last| now - last >= WATCH_EVERY) {
            self.watched = Some(now);
            let after = self.recorder.paces.tick(now, self.settled());
            let kept = self.recorder.pace(after);
            self.tell_if_not_kept(kept);
            let snapshot = self.snapshot();
            self.watcher.tick(&snapshot);
        }
    }

    /// How many records the plan expects in a shard.
    fn records_of(&self, shard: ShardId) -> u64 {
        self.plan.shards.get(shard.0 as usize).map_or(0, |shard| shard.records_estimate)
    }

    /// How things stand. Made several times a second: it costs as much as there are workers, however many shards there
    /// are.
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
            workers: self.recorder.meters.views(&views, |shard| self.records_of(shard)),
            steering: self.recorder.paces.shown(),
        }
    }

    /// Whether as many workers run, connected, as were asked for, as far as there is work for them.
    fn settled(&self) -> bool {
        let standing = self.machine.standing();
        let complete = standing.running >= standing.asked || standing.waiting == 0 || standing.paused;
        complete && standing.leaving == 0 && self.machine.attempts().iter().all(|attempt| attempt.started)
    }

    /// Prints the state of each worker to the log.
    pub(crate) fn log_workers(&mut self) {
        let snapshot = self.snapshot();
        self.watcher.log(Level::Info, &snapshot.standing.to_string());
        for worker in &snapshot.workers {
            self.watcher.log(Level::Info, &watch::worker_line(worker));
        }
    }
}
