//! The numbers that stand for names in the state. A number never gets another meaning, and is not the place of a name
//! in its type: a name that is added gets the next free one.

use migration::report::verify::Verdict;
use migration::report::{AttemptOutcome, ShardStatus};

/// How a shard stands.
pub(super) const fn of_status(status: ShardStatus) -> i64 {
    match status {
        ShardStatus::Waiting => 0,
        ShardStatus::Done => 1,
        ShardStatus::Quarantined => 2,
    }
}

/// The same back.
pub(super) fn status(code: i64) -> rusqlite::Result<ShardStatus> {
    find(&[ShardStatus::Waiting, ShardStatus::Done, ShardStatus::Quarantined], of_status, code)
}

/// How an attempt ended.
pub(super) const fn of_outcome(outcome: AttemptOutcome) -> i64 {
    match outcome {
        AttemptOutcome::Running => 0,
        AttemptOutcome::Finished => 1,
        AttemptOutcome::Drained => 2,
        AttemptOutcome::Died => 3,
        AttemptOutcome::Unreachable => 4,
        AttemptOutcome::Stopped => 5,
        AttemptOutcome::Orphaned => 6,
        AttemptOutcome::Unreadable => 7,
        AttemptOutcome::Fenced => 8,
        AttemptOutcome::Refused => 9,
    }
}

/// The same back.
pub(super) fn outcome(code: i64) -> rusqlite::Result<AttemptOutcome> {
    find(&AttemptOutcome::ALL, of_outcome, code)
}

/// What a comparison of topic and source came to.
pub(super) const fn of_verdict(verdict: Verdict) -> i64 {
    match verdict {
        Verdict::Same => 0,
        Verdict::Different => 1,
        Verdict::Compacted => 2,
        Verdict::Complete => 3,
    }
}

/// The one of a list that has this number.
fn find<T: Copy>(all: &[T], code_of: fn(T) -> i64, code: i64) -> rusqlite::Result<T> {
    all.iter().copied().find(|one| code_of(*one) == code).ok_or(rusqlite::Error::IntegralValueOutOfRange(0, code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_its_number() {
        use AttemptOutcome::{Died, Drained, Fenced, Finished, Orphaned, Refused, Running, Stopped, Unreachable, Unreadable};
        let statuses = [(0, ShardStatus::Waiting), (1, ShardStatus::Done), (2, ShardStatus::Quarantined)];
        for (code, name) in statuses {
            assert_eq!((of_status(name), status(code).ok()), (code, Some(name)));
        }
        let outcomes = [Running, Finished, Drained, Died, Unreachable, Stopped, Orphaned, Unreadable, Fenced, Refused];
        for (code, name) in (0..).zip(outcomes) {
            assert_eq!((of_outcome(name), outcome(code).ok()), (code, Some(name)));
        }
        let verdicts = [Verdict::Same, Verdict::Different, Verdict::Compacted, Verdict::Complete];
        assert_eq!(verdicts.map(of_verdict), [0, 1, 2, 3]);
        assert!(status(3).is_err() && status(-1).is_err() && outcome(10).is_err());
    }

    #[test]
    fn names_in_the_plan_have_their_numbers() {
        use migration::Compression;
        let numbers =
            [Compression::None, Compression::Gzip, Compression::Zstd].map(|name| super::super::columns::encode(&name));
        assert_eq!(numbers, [[0], [1], [2]], "the order in the type is the number there");
        let phases = migration::Phase::ALL.map(migration::Phase::name).join(" ");
        assert_eq!(
            phases, "start read outside map enqueue wait flush throttled commit other",
            "figures are kept in this order"
        );
    }
}
