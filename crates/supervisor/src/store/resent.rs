//! What may be in the topic twice, and which attempts took the place of one that ended before its time: as far as the
//! whole history of a job says more than each attempt could.

use std::collections::{BTreeSet, HashMap};

use migration::ShardId;
use migration::report::{AttemptOutcome, AttemptReport, Resent, ShardStatus};

use super::{JobState, UNENDED};
use crate::machine::AttemptId;

/// Looks at the attempts (in the order in which they began) once more. `running`: whether a supervisor is at work.
pub(super) fn settle(attempts: &mut [AttemptReport], state: &JobState, running: bool) {
    for attempt in attempts.iter_mut() {
        if attempt.outcome == AttemptOutcome::Running && !running {
            attempt.outcome = AttemptOutcome::Orphaned;
            UNENDED.clone_into(&mut attempt.reason);
        }
        let doubled = Resent::at_most(attempt.work.perhaps_doubled);
        match attempt.outcome {
            AttemptOutcome::Running => attempt.resent = doubled,
            // What was noted at its begin knows nothing of the client.
            AttemptOutcome::Orphaned => attempt.resent = attempt.resent.plus(doubled),
            _ => {}
        }
    }
    bound_by_successors(attempts, state);
    mark_restarts(attempts);
}

/// What attempts whose shards are done may have sent twice at most, where that is less than the state has: known before
/// their shards read on, whose next attempts deliver what these never sent.
pub(super) fn bounds(attempts: &[AttemptReport], state: &JobState) -> Vec<(AttemptId, u64)> {
    let mut bounded = attempts.to_vec();
    settle(&mut bounded, state, false);
    let lower = attempts.iter().zip(&bounded).filter_map(|(attempt, bounded)| {
        // It is added each time to what was noted of an attempt whose end is not known.
        let orphaned = bounded.outcome == AttemptOutcome::Orphaned;
        let added = if orphaned { attempt.work.perhaps_doubled } else { 0 };
        let most = bounded.resent.most.saturating_sub(added);
        (most < attempt.resent.most).then_some((AttemptId { shard: attempt.shard, number: attempt.number }, most))
    });
    lower.collect()
}

/// What is sent again is sent by an attempt that begins later, on the same shard or on a piece of it: once all of these
/// are done, what they delivered is a bound. What the client may have doubled comes on top.
fn bound_by_successors(attempts: &mut [AttemptReport], state: &JobState) {
    let unfinished = (0..).zip(&state.shards).filter(|(_, shard)| shard.status != ShardStatus::Done);
    let open: BTreeSet<u32> = unfinished.flat_map(|(id, _)| state.line_of(id)).collect();
    let mut delivered_later: HashMap<u32, u64> = HashMap::new();
    for attempt in attempts.iter_mut().rev() {
        let shard = attempt.shard.0;
        let later = delivered_later.get(&shard).copied().unwrap_or(0);
        if !open.contains(&shard) {
            attempt.resent = attempt.resent.bounded(later + attempt.work.perhaps_doubled);
        }
        state.line_of(shard).for_each(|of| *delivered_later.entry(of).or_default() += attempt.counts.acknowledged);
    }
}

/// An attempt is a restart if the one before it on its shard died, found no broker, or lost its supervisor.
fn mark_restarts(attempts: &mut [AttemptReport]) {
    use AttemptOutcome::{Died, Orphaned, Unreachable};
    let ended: HashMap<(ShardId, u32), AttemptOutcome> = attempts.iter().map(|a| ((a.shard, a.number), a.outcome)).collect();
    for attempt in attempts {
        let before = attempt.number.checked_sub(1).and_then(|number| ended.get(&(attempt.shard, number)));
        attempt.restart = matches!(before, Some(Died | Orphaned | Unreachable));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::store::tests::{attempt_report, state_of};

    fn history(outcomes: &[(u32, u32, AttemptOutcome, u64, u64)]) -> Vec<AttemptReport> {
        let one = |&(shard, number, outcome, acknowledged, most): &(u32, u32, AttemptOutcome, u64, u64)| AttemptReport {
            outcome,
            resent: Resent::at_most(most),
            ..attempt_report(shard, number, acknowledged)
        };
        outcomes.iter().map(one).collect()
    }

    #[test]
    fn what_a_done_shard_sent_again_is_no_more_than_what_its_later_attempts_delivered() {
        let mut attempts = history(&[
            (0, 1, AttemptOutcome::Orphaned, 100, 2_000),
            (0, 2, AttemptOutcome::Died, 50, 1_000),
            (0, 3, AttemptOutcome::Finished, 30, 0),
        ]);
        let most = |attempts: &[AttemptReport]| attempts.iter().map(|a| a.resent.most).collect::<Vec<_>>();
        settle(&mut attempts, &state_of(&[ShardStatus::Waiting]), false);
        assert_eq!(most(&attempts), [2_000, 1_000, 0], "more may come");
        settle(&mut attempts, &state_of(&[ShardStatus::Done]), false);
        assert_eq!(most(&attempts), [80, 30, 0]);
        assert!(!attempts[1].resent.exact && attempts[2].resent.exact);
    }

    #[test]
    fn a_shard_that_reads_on_keeps_the_bounds_that_it_had_when_it_was_done() {
        let mut attempts = history(&[
            (0, 1, AttemptOutcome::Orphaned, 100, 2_000),
            (0, 2, AttemptOutcome::Died, 50, 10),
            (0, 3, AttemptOutcome::Finished, 30, 0),
            (1, 1, AttemptOutcome::Orphaned, 100, 2_000),
        ]);
        attempts[0].work.perhaps_doubled = 7;
        let state = state_of(&[ShardStatus::Done, ShardStatus::Waiting]);
        let id = |number| AttemptId { shard: ShardId(0), number };
        assert_eq!(bounds(&attempts, &state), [(id(1), 80)]);
        attempts[0].resent = Resent::at_most(80);
        assert_eq!(bounds(&attempts, &state), [], "once is enough");
    }

    #[test]
    fn what_the_client_may_have_doubled_is_no_successors() {
        let mut attempts = history(&[(0, 1, AttemptOutcome::Finished, 100, 7), (1, 1, AttemptOutcome::Running, 100, 2_000)]);
        attempts.iter_mut().for_each(|attempt| attempt.work.perhaps_doubled = 7);
        let orphaned = attempts.clone();
        settle(&mut attempts, &state_of(&[ShardStatus::Done, ShardStatus::Waiting]), true);
        assert_eq!(attempts.iter().map(|a| a.resent.most).collect::<Vec<_>>(), [7, 7]);
        let mut attempts = orphaned;
        settle(&mut attempts, &state_of(&[ShardStatus::Done, ShardStatus::Waiting]), false);
        assert_eq!(attempts[1].resent, Resent::at_most(2_007));
    }

    #[test]
    fn pieces_of_a_split_shard_count_with_it() {
        let mut attempts = history(&[
            (0, 1, AttemptOutcome::Died, 100, 2_000),
            (0, 2, AttemptOutcome::Drained, 10, 0),
            (1, 1, AttemptOutcome::Finished, 40, 0),
        ]);
        let split =
            |pieces: ShardStatus| JobState { parents: BTreeMap::from([(1, 0)]), ..state_of(&[ShardStatus::Done, pieces]) };
        settle(&mut attempts, &split(ShardStatus::Waiting), true);
        assert_eq!(attempts[0].resent.most, 2_000, "the piece is not done");
        settle(&mut attempts, &split(ShardStatus::Done), true);
        assert_eq!(attempts[0].resent, Resent::at_most(50));
    }

    #[test]
    fn what_a_piece_sent_again_only_it_and_its_own_pieces_send() {
        use ShardStatus::{Done, Waiting};
        let attempts = history(&[
            (0, 1, AttemptOutcome::Drained, 10, 0),
            (1, 1, AttemptOutcome::Died, 100, 65_816),
            (0, 2, AttemptOutcome::Finished, 70_000, 0),
            (1, 2, AttemptOutcome::Drained, 30, 0),
            (2, 1, AttemptOutcome::Finished, 7, 0),
            (1, 3, AttemptOutcome::Finished, 4, 0),
        ]);
        // Shard 1 was parted from shard 0, and shard 2 from shard 1.
        let most = |statuses: [ShardStatus; 3]| {
            let mut attempts = attempts.clone();
            let state = JobState { parents: BTreeMap::from([(1, 0), (2, 1)]), ..state_of(&statuses) };
            settle(&mut attempts, &state, true);
            attempts[1].resent.most
        };
        assert_eq!((most([Done, Done, Done]), most([Waiting, Done, Done])), (41, 41));
        assert_eq!(most([Done, Done, Waiting]), 65_816, "its piece is not done");
    }

    #[test]
    fn a_restart_follows_a_death_and_nothing_else() {
        use AttemptOutcome::{Died, Drained, Finished, Orphaned, Running, Stopped, Unreachable, Unreadable};
        for (before, restart) in [
            (Died, true),
            (Orphaned, true),
            (Unreachable, true),
            (Running, true),
            (Drained, false),
            (Stopped, false),
            (Unreadable, false),
        ] {
            let mut attempts = history(&[(0, 1, before, 0, 7), (0, 2, Finished, 1, 0), (1, 2, Finished, 1, 0)]);
            settle(&mut attempts, &state_of(&[ShardStatus::Done; 2]), false);
            assert_eq!(attempts.iter().map(|a| a.restart).collect::<Vec<_>>(), [false, restart, false], "{before:?}");
        }
    }

    #[test]
    fn what_a_running_attempt_sends_is_not_sent_again_yet() {
        let begun = [(0, 1, AttemptOutcome::Running, 100, 2_000)];
        let mut attempts = history(&begun);
        settle(&mut attempts, &state_of(&[ShardStatus::Waiting]), true);
        assert_eq!((attempts[0].outcome, attempts[0].resent), (AttemptOutcome::Running, Resent::NONE));
        let mut attempts = history(&begun);
        settle(&mut attempts, &state_of(&[ShardStatus::Waiting]), false);
        assert_eq!((attempts[0].outcome, attempts[0].resent.most), (AttemptOutcome::Orphaned, 2_000));
        assert_eq!(attempts[0].reason, UNENDED);
    }
}
