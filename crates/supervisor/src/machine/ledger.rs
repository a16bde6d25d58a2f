//! What follows from the place of a worker's commits: the supervisor's checkpoint, or, with exactly-once, Kafka.
//!
//! Responsible for: whether an attempt may go on from where it says; taking over what Kafka has of a shard, forward
//! only; records that the brokers refused, until they are passed. Not responsible for: how a commit is made (the
//! worker), or when it is written down (the driver).

use std::time::Duration;

use migration::job::Delivery;
use migration::report::Resent;
use migration::{Counts, Failure, FailureKind, LedgerEntry, Position, RefusedRecord};

use super::attempt::{Attempt, Kill, Verdict, forward, show};
use super::values::{Action, AttemptId};
use super::{Machine, Shard};
use crate::random::backoff;

/// The first pause after an attempt that another producer fenced. Without one, two runs of a job fence each other for
/// ever.
const FENCED_PAUSE: Duration = Duration::from_secs(1);
/// The successor was fenced again within this number of pauses: the next pause is twice as long. A commit is no sign
/// that the other is gone: each of two runs may commit a little before the other one is back, and both are slow.
const UNDISTURBED: u32 = 4;

/// The last time that a shard's attempt was fenced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fence {
    /// How often in a row.
    times: u32,
    /// How long its successor waited, and until when.
    pause: Duration,
    until: Duration,
}

impl Machine {
    /// Whether Kafka has how far the shards are.
    pub(super) fn commits_to_kafka(&self) -> bool {
        self.rules.delivery == Delivery::ExactlyOnce
    }

    /// An attempt goes on from `from`: as it was told, or, with exactly-once, from where Kafka says. What is behind
    /// what was committed ends the attempt, or the job. False: it does not go on.
    pub(super) fn begins(&mut self, id: AttemptId, from: &LedgerEntry, out: &mut Vec<Action>) -> bool {
        let in_kafka = self.commits_to_kafka();
        let Some(attempt) = self.attempts.get_mut(&id) else { return false };
        if !in_kafka {
            let Err(wrong) = attempt.check_begin(from) else { return true };
            // It may have gone on before the kill: what it says from here on is behind records that were not sent.
            attempt.garbled = true;
            attempt.verdict.get_or_insert(Verdict::Failed(Failure::new(FailureKind::Retry, wrong.as_str())));
            self.kill(id, Kill::Fault(wrong), out);
            return false;
        }
        let known = &self.shards[id.shard.0 as usize].entry;
        if !forward(&known.position, &from.position) {
            let what = format!(
                "the progress topic has the shard at {}, but it was committed up to {}: the topic lost records, or was made \
                 again. Nothing more is sent: find out what happened to it, or start over with --restart",
                show(&from.position),
                show(&known.position)
            );
            attempt.verdict.get_or_insert(Verdict::Failed(Failure::new(FailureKind::Ledger, what.as_str())));
            self.kill(id, Kill::Fault(what), out);
            return false;
        }
        if from != known {
            self.take_over(id, from, out);
        }
        true
    }

    /// Another machine, or an attempt whose last word was not heard, has committed more.
    fn take_over(&mut self, id: AttemptId, entry: &LedgerEntry, out: &mut Vec<Action>) {
        let shard = &mut self.shards[id.shard.0 as usize];
        let before = shard.entry.counts;
        shard.comes_to(&entry.position);
        self.change(id.shard, |shard| shard.entry = entry.clone());
        let came = entry.counts.since(&before);
        self.totals.counts.add(&came);
        self.taken_over.add(&came);
        out.push(Action::Adopt(id, entry.clone()));
    }

    /// What was taken over in this run: no rate counts it.
    pub fn taken_over(&self) -> Counts {
        self.taken_over
    }

    /// How long the successor of an attempt waits that was fenced.
    pub(super) fn fenced_pause(&mut self, id: AttemptId, now: Duration) -> Duration {
        let max = self.rules.backoff_max.max(FENCED_PAUSE);
        let shard = &mut self.shards[id.shard.0 as usize];
        let again = shard.fence.filter(|fence| now < fence.until + fence.pause * UNDISTURBED);
        let times = again.map_or(1, |fence| fence.times + 1);
        let pause = self.random.jitter(backoff(times, FENCED_PAUSE, max));
        shard.fence = Some(Fence { times, pause, until: now + pause });
        pause
    }

    /// What an attempt may have sent beyond what is recorded, as far as a reader can see it: of a transaction that was
    /// not committed that is nothing.
    pub(super) fn uncommitted(&self, attempt: &Attempt) -> Resent {
        if self.commits_to_kafka() { Resent::NONE } else { attempt.uncommitted(self.rules.chunk_records) }
    }
}

impl Shard {
    /// It is committed up to there: what counts what happened at one position begins anew.
    pub(super) fn comes_to(&mut self, position: &Position) {
        if *position > self.entry.position {
            (self.deaths, self.pauses, self.unreachable_since) = (0, 0, None);
        }
        self.refused.retain(|record| (record.segment, record.start) >= (position.segment, position.place));
    }

    /// Keeps what the brokers refused until it is passed; false if all of it was known.
    pub(super) fn keep_refused(&mut self, refused: &[RefusedRecord]) -> bool {
        let known = self.refused.len();
        for record in refused {
            if !self.refused.iter().any(|known| (known.segment, known.start) == (record.segment, record.start)) {
                self.refused.push(record.clone());
            }
        }
        self.refused.len() > known
    }
}

#[cfg(test)]
mod tests {
    use migration::report::AttemptOutcome;
    use migration::{Cause, Counts, Exit, ShardId, Started, WorkerEvent};

    use super::super::tests::world::{SECOND, at, chunk, fresh, rules};
    use super::super::values::{After, AttemptEnd, Ending, Input, Rules, WorkOrder};
    use super::*;

    fn exactly_once() -> Rules {
        Rules { delivery: Delivery::ExactlyOnce, ..rules(1) }
    }

    fn id(number: u32) -> AttemptId {
        AttemptId { shard: ShardId(0), number }
    }

    fn entry(records: u64) -> LedgerEntry {
        LedgerEntry::default().with(&chunk(1, 0, records))
    }

    fn begun(from: LedgerEntry) -> (Machine, Vec<Action>) {
        let mut machine = Machine::new(exactly_once(), &fresh(1), 1);
        machine.on(Input::Tick, Duration::ZERO);
        let started = WorkerEvent::Started(Started { from, ..Started::default() });
        let actions = machine.on(Input::Event { attempt: id(1), event: started }, SECOND);
        (machine, actions)
    }

    fn end(machine: &mut Machine, number: u32, ending: Ending, now: Duration) -> (AttemptEnd, Vec<Action>) {
        let actions = machine.on(Input::Ended { attempt: id(number), ending }, now);
        let end = actions.iter().find_map(|action| if let Action::Close(end) = action { Some((**end).clone()) } else { None });
        let after = machine.on(Input::Closed { attempt: id(number), split: None }, now);
        (end.expect("it is closed"), after)
    }

    fn order(actions: &[Action]) -> Option<&WorkOrder> {
        actions.iter().find_map(|action| if let Action::Fork(order) = action { Some(order) } else { None })
    }

    #[test]
    fn what_kafka_has_is_taken_over_before_the_first_chunk() {
        let (mut machine, actions) = begun(entry(30));
        assert!(actions.contains(&Action::Adopt(id(1), entry(30))), "{actions:?}");
        assert_eq!((machine.entry(ShardId(0)), machine.totals().counts.read), (entry(30), 30));
        assert_eq!(machine.taken_over().read, 30);
        assert_eq!(machine.recount(), (machine.totals(), machine.bytes_done()));
        let event = WorkerEvent::Committed(chunk(1, 30, 50));
        let actions = machine.on(Input::Event { attempt: id(1), event }, SECOND);
        assert!(matches!(actions[..], [Action::Record(..)]), "{actions:?}");
    }

    #[test]
    fn a_ledger_that_went_back_stops_the_job_with_4() {
        let (mut machine, _) = begun(entry(30));
        end(&mut machine, 1, Ending::Signal(9), SECOND);
        let event = WorkerEvent::Started(Started { from: entry(20), ..Started::default() });
        let actions = machine.on(Input::Event { attempt: id(2), event }, 2 * SECOND);
        assert!(actions.contains(&Action::Kill(id(2))), "{actions:?}");
        let (_, actions) = end(&mut machine, 2, Ending::Signal(9), 2 * SECOND);
        let ended = actions.into_iter().find_map(|action| if let Action::End(ended) = action { Some(ended) } else { None });
        let causes = ended.expect("it is over").causes;
        assert_eq!(causes.exit(), Exit::Preflight);
        assert!(causes.reasons()[0].contains("the progress topic has the shard at"), "{causes:?}");
    }

    #[test]
    fn a_death_repeats_nothing_and_its_successor_starts_at_once() {
        let (mut machine, _) = begun(entry(30));
        let (died, actions) = end(&mut machine, 1, Ending::Signal(9), SECOND);
        assert_eq!((died.outcome, died.resent), (AttemptOutcome::Died, Resent::NONE));
        let order = order(&actions).expect("a successor");
        assert_eq!((order.attempt, &order.from), (2, &entry(30)));
    }

    #[test]
    fn the_slot_of_a_dead_worker_is_its_successors_whatever_else_waits() {
        let mut machine = Machine::new(exactly_once(), &fresh(3), 1);
        let actions = machine.on(Input::Tick, Duration::ZERO);
        assert_eq!(order(&actions).map(|order| order.shard), Some(ShardId(0)));
        let died = machine.on(Input::Ended { attempt: id(1), ending: Ending::Signal(9) }, SECOND);
        assert!(order(&died).is_none(), "what it left open is ended first");
        let closed = machine.on(Input::Closed { attempt: id(1), split: None }, SECOND);
        assert_eq!(order(&closed).map(|order| (order.shard, order.attempt)), Some((ShardId(0), 2)));
        // A second death in a row has a pause, in which the slot is another shard's.
        machine.on(Input::Ended { attempt: id(2), ending: Ending::Signal(9) }, SECOND);
        let closed = machine.on(Input::Closed { attempt: id(2), split: None }, SECOND);
        let running = machine.attempts.keys().map(|id| id.shard).collect::<Vec<_>>();
        assert_eq!(running, [ShardId(1)], "{closed:?}");
    }

    #[test]
    fn who_is_fenced_waits_longer_each_time_until_it_is_left_alone() {
        let (mut machine, _) = begun(entry(0));
        let mut now = SECOND;
        for (number, most) in [(1, 1), (2, 2), (3, 4)] {
            let failure = Failure::new(FailureKind::Fenced, "fenced");
            machine.on(Input::Event { attempt: id(number), event: WorkerEvent::Failed(failure) }, now);
            let (ended, actions) = end(&mut machine, number, Ending::Code(1), now);
            assert_eq!((ended.deaths, ended.after), (0, After::Waiting), "it is no death");
            assert!(order(&actions).is_none());
            let pause = machine.next_deadline().expect("a pause").saturating_sub(now);
            assert!((Duration::from_secs(most) / 2..=Duration::from_secs(most)).contains(&pause), "{number}: {pause:?}");
            now += pause;
            assert!(order(&machine.on(Input::Tick, now)).is_some());
        }
        let event = WorkerEvent::Committed(chunk(1, 0, 10));
        machine.on(Input::Event { attempt: id(4), event: WorkerEvent::Started(Started::default()) }, now);
        machine.on(Input::Event { attempt: id(4), event }, now);
        machine.on(Input::Recorded { attempt: id(4) }, now);
        assert!(machine.fenced_pause(id(4), now + SECOND) > SECOND, "the other one may be back at once");
        assert!(machine.fenced_pause(id(4), now + 60 * SECOND) <= SECOND, "it was left alone");
    }

    #[test]
    fn refused_records_are_kept_until_they_are_passed() {
        let (mut machine, _) = begun(entry(0));
        let refused = |start| RefusedRecord { segment: 0, start, reason: "too old".into() };
        let mut failure = Failure::new(FailureKind::Refused, "records are refused");
        failure.refused = vec![refused(at(5).place), refused(at(15).place)];
        machine.on(Input::Event { attempt: id(1), event: WorkerEvent::Failed(failure.clone()) }, SECOND);
        let (ended, actions) = end(&mut machine, 1, Ending::Code(1), SECOND);
        assert_eq!((ended.deaths, ended.after), (0, After::Waiting));
        assert_eq!(order(&actions).map(|order| &order.refused), Some(&failure.refused));
        machine.on(Input::Event { attempt: id(2), event: WorkerEvent::Started(Started::default()) }, SECOND);
        machine.on(Input::Event { attempt: id(2), event: WorkerEvent::Committed(chunk(1, 0, 10)) }, SECOND);
        machine.on(Input::Recorded { attempt: id(2) }, SECOND);
        let (_, actions) = end(&mut machine, 2, Ending::Signal(9), SECOND);
        assert_eq!(order(&actions).map(|order| order.refused.clone()), Some(vec![refused(at(15).place)]));
        // The same ones again: the successor did not set them aside, which is a fault of its own.
        failure.refused = vec![refused(at(15).place)];
        machine.on(Input::Event { attempt: id(3), event: WorkerEvent::Failed(failure) }, SECOND);
        assert_eq!(end(&mut machine, 3, Ending::Code(1), SECOND).0.outcome, AttemptOutcome::Died);
    }

    #[test]
    fn a_chunk_with_too_many_refused_records_stops_the_job_however_many_attempts_found_them() {
        let (mut machine, _) = begun(entry(0));
        let mut refuse = |number: u32, places: std::ops::Range<u64>| {
            let mut failure = Failure::new(FailureKind::Refused, "records are refused");
            failure.refused = places.map(|start| RefusedRecord { segment: 0, start, reason: "too old".into() }).collect();
            machine.on(Input::Event { attempt: id(number), event: WorkerEvent::Failed(failure) }, SECOND);
            end(&mut machine, number, Ending::Code(1), SECOND)
        };
        assert_eq!(refuse(1, 0..600).0.outcome, AttemptOutcome::Refused);
        assert_eq!(refuse(2, 400..1_000).0.outcome, AttemptOutcome::Refused, "1,000 are not too many");
        let (ended, actions) = refuse(3, 1_000..1_001);
        assert_eq!(ended.outcome, AttemptOutcome::Stopped);
        let over = actions.into_iter().find_map(|action| if let Action::End(ended) = action { Some(ended) } else { None });
        let causes = over.expect("it is over").causes;
        assert_eq!(causes.exit(), Exit::Failed);
        assert!(causes.reasons()[0].contains("refuse 1,001 records of one chunk for good"), "{causes:?}");
    }

    #[test]
    fn an_unreadable_segment_divides_no_shard() {
        let (mut machine, _) = begun(entry(0));
        machine.shards[0].extent.segments = 3;
        assert_eq!(machine.apart(id(1), 1), None);
        machine.rules.slots = 2;
        assert_eq!(machine.fewer(), Some(migration::steer::Fewer::Undivided), "and that is said");
        machine.rules.delivery = Delivery::AtLeastOnce;
        assert_eq!(machine.apart(id(1), 1), Some(1));
        assert_eq!(Cause::Preflight, FailureKind::Ledger.stops_job().expect("it stops the job"));
        assert_eq!(Counts::default().since(&Counts::default()), Counts::default());
    }
}
