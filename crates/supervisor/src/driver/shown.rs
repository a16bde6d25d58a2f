//! How a run shows itself: to its watcher, to a command that asks, in its log.

use std::time::Duration;

use migration::{Level, Outage, ShardId, Unanswered, outage};

use super::{Driver, WATCH_EVERY};
use crate::outage::{Lasting, OutageNews};
use crate::recorder::unix_ms;
use crate::watch::{self, Snapshot};

impl Driver<'_> {
    /// Shows how things stand, if it is time.
    pub(crate) fn watch(&mut self, at_once: bool) {
        let now = self.now();
        if at_once || self.watched.is_none_or(|last| now - last >= WATCH_EVERY) {
            self.watched = Some(now);
            self.look_at_brokers(now);
            let after = self.recorder.paces.tick(now, self.settled());
            let kept = self.recorder.pace(after);
            self.tell_if_not_kept(kept);
            let snapshot = self.snapshot();
            self.watcher.tick(&snapshot);
        }
    }

    /// Tells that brokers don't answer, or that they do again. Both belong into the job's history.
    fn look_at_brokers(&mut self, now: Duration) {
        for news in self.outages.look(&self.machine.attempts(), now) {
            let (level, text, kept) = match news {
                OutageNews::Begun(lasting) => {
                    let outage = self.shown(&lasting, now);
                    let text = outage.to_string();
                    let all = outage.who == Unanswered::All;
                    let kept = self.recorder.outage(&text, outage.since_unix_ms, all);
                    (Level::Warning, text, kept)
                }
                OutageNews::Over { who, lasted, lines } => {
                    let text = outage::over(&who, lasted, lines);
                    let kept = self.recorder.outage_over(&text);
                    (Level::Info, text, kept)
                }
            };
            self.tell_if_not_kept(kept);
            self.watcher.log(level, &text);
        }
    }

    /// How many lines of the clients nothing was said of.
    pub(super) fn tell_lines(&mut self) {
        let lines = self.outages.take_lines();
        if lines > 0 {
            self.watcher.log(Level::Info, &outage::not_shown(lines));
        }
    }

    /// An outage by the clock on the wall.
    fn shown(&self, lasting: &Lasting, now: Duration) -> Outage {
        let unix_ms = unix_ms();
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Outage {
            since_unix_ms: unix_ms.saturating_sub(ms(now.saturating_sub(lasting.since))),
            gives_up_unix_ms: unix_ms.saturating_add(ms(lasting.gives_up.saturating_sub(now))),
            give_up_after: self.outages.give_up_after(),
            who: lasting.who.clone(),
            cause: lasting.cause.clone(),
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
            taken_over: self.machine.taken_over(),
            shards: watch::shard_totals(&self.machine),
            source_bytes: totals.bytes,
            source_bytes_done: self.machine.bytes_done(),
            slots: self.machine.slots(),
            standing: self.machine.standing(),
            draining: self.machine.stopping(),
            workers: self.recorder.meters.views(&views, |shard| self.records_of(shard)),
            steering: self.recorder.paces.shown(),
            records_estimate: self.records_estimate,
            outage: self.outages.lasting().map(|lasting| self.shown(lasting, self.now())),
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
