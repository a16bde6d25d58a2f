//! Why a run does not end with 0, and which of several causes decides its exit code.
//!
//! Responsible for the order in which causes count and for what a complete job makes of a stop. Not responsible for
//! what a cause makes of the run while it goes on: that is the supervisor's machine.

use crate::{Exit, FailureKind};

/// A cause, in the order in which they decide: the first that applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// A second signal, with its number: 128 more than that.
    Signal(u8),
    /// A bug of ours: 1.
    Internal,
    /// The state directory is unusable: 74.
    State,
    /// The source can't be read, or is not the plan's: 7.
    Source,
    /// Something of preflight's is not so any more: 4.
    Preflight,
    /// More dead letters than `limits.max_bad_records`: 5.
    TooManyBad,
    /// The job was told to stop, or its brokers are gone: 75. When every shard is done, a stop is none.
    Stopped,
    /// Shards or records failed: 5.
    Failed,
    /// The topic differs from the source: 6.
    Difference,
}

impl Cause {
    /// The exit code that it gives.
    pub const fn exit(self) -> Exit {
        match self {
            Cause::Signal(number) => Exit::Signal(number),
            Cause::Internal => Exit::Internal,
            Cause::State => Exit::State,
            Cause::Source => Exit::Source,
            Cause::Preflight => Exit::Preflight,
            Cause::TooManyBad | Cause::Failed => Exit::Failed,
            Cause::Stopped => Exit::Stopped,
            Cause::Difference => Exit::Difference,
        }
    }

    /// The cause behind an exit code of a step of the run; `None` if it ended well. A code that only a command's
    /// beginning has counts as one of preflight.
    pub const fn of(exit: Exit) -> Option<Cause> {
        Some(match exit {
            Exit::Done => return None,
            Exit::Signal(number) => Cause::Signal(number),
            Exit::Internal => Cause::Internal,
            Exit::State => Cause::State,
            Exit::Source => Cause::Source,
            Exit::Preflight | Exit::Usage | Exit::Config => Cause::Preflight,
            Exit::Failed => Cause::Failed,
            Exit::Stopped => Cause::Stopped,
            Exit::Difference => Cause::Difference,
        })
    }
}

impl FailureKind {
    /// As what a failed attempt stops the job; `None`: it doesn't, a successor goes on.
    pub const fn stops_job(self) -> Option<Cause> {
        match self {
            FailureKind::Retry | FailureKind::Unreachable | FailureKind::Fenced | FailureKind::Refused => None,
            FailureKind::GaveUp => Some(Cause::Stopped),
            FailureKind::Source => Some(Cause::Source),
            FailureKind::Permanent => Some(Cause::Failed),
            FailureKind::TooManyBad => Some(Cause::TooManyBad),
            FailureKind::State => Some(Cause::State),
            FailureKind::Topic | FailureKind::Ledger => Some(Cause::Preflight),
        }
    }
}

/// How many reasons are kept of each cause: a thousand workers may say the same in their own words.
const MOST_REASONS: usize = 20;

/// All causes of a run's end, with their reasons. None is forgotten because another is worse: which one decides can be
/// said only at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Causes(Vec<(Cause, String)>);

impl Causes {
    /// Adds one; true if its sentence is new and kept. Each is one line.
    pub fn add(&mut self, cause: Cause, reason: impl Into<String>) -> bool {
        let reason = one_line(&reason.into());
        let known = self.0.iter().any(|(_, known)| *known == reason);
        let of_it = self.0.iter().filter(|(known, _)| *known == cause).count();
        // The same sentence may stand for a worse cause now.
        let kept = of_it < MOST_REASONS && !(known && of_it > 0);
        if kept {
            self.0.push((cause, reason));
        }
        kept && !known
    }

    /// Says of a cause that is among them the same in a sentence that tells more; true if it was among them.
    pub fn reword(&mut self, cause: Cause, sentence: &str) -> bool {
        let Some(at) = self.0.iter().position(|(known, _)| *known == cause) else { return false };
        self.0.retain(|(known, _)| *known != cause);
        self.0.insert(at, (cause, one_line(sentence)));
        true
    }

    /// Every shard is done: what told the job to stop before left nothing to continue, and is none.
    pub fn forget_stops(&mut self) {
        self.0.retain(|(cause, _)| *cause != Cause::Stopped);
    }

    /// The exit code: that of the cause that decides.
    pub fn exit(&self) -> Exit {
        self.0.iter().map(|(cause, _)| *cause).min().map_or(Exit::Done, Cause::exit)
    }

    /// The reasons, those of the deciding cause first.
    pub fn reasons(&self) -> Vec<String> {
        let mut sorted: Vec<&(Cause, String)> = self.0.iter().collect();
        sorted.sort_by_key(|(cause, _)| *cause);
        let mut reasons: Vec<String> = Vec::new();
        for (_, reason) in sorted {
            if !reasons.contains(reason) {
                reasons.push(reason.clone());
            }
        }
        reasons
    }
}

/// A text of several lines as one, its lines joined with `; `.
pub fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_in_other_words_at_its_place() {
        let mut causes = Causes::default();
        causes.add(Cause::Failed, "a shard");
        assert!(!causes.reword(Cause::TooManyBad, "many"));
        causes.add(Cause::TooManyBad, "too many");
        causes.add(Cause::TooManyBad, "too many, says a worker");
        assert!(causes.reword(Cause::TooManyBad, "3 records\nand why"));
        assert_eq!(causes.reasons(), ["3 records; and why", "a shard"]);
        assert_eq!(causes.exit(), Exit::Failed);
    }

    #[test]
    fn a_reason_is_one_line() {
        let mut causes = Causes::default();
        assert!(causes.add(Cause::Source, "a.jsonl is gone\n\n  b.jsonl is new\r\n"));
        assert!(!causes.add(Cause::Source, "a.jsonl is gone; b.jsonl is new"), "the same");
        assert_eq!(causes.reasons(), ["a.jsonl is gone; b.jsonl is new"]);
    }

    const ORDER: [Cause; 9] = [
        Cause::Signal(2),
        Cause::Internal,
        Cause::State,
        Cause::Source,
        Cause::Preflight,
        Cause::TooManyBad,
        Cause::Stopped,
        Cause::Failed,
        Cause::Difference,
    ];

    #[test]
    fn the_documented_order_decides_whatever_came_first() {
        for (i, worse) in ORDER.iter().enumerate() {
            for other in &ORDER[i..] {
                for pair in [[worse, other], [other, worse]] {
                    let mut causes = Causes::default();
                    for cause in pair {
                        causes.add(*cause, format!("{cause:?}"));
                    }
                    assert_eq!(causes.exit(), worse.exit(), "{pair:?}");
                    assert_eq!(causes.reasons()[0], format!("{worse:?}"));
                }
            }
        }
    }

    #[test]
    fn a_complete_job_drops_its_stops_and_nothing_else() {
        for cause in ORDER {
            let mut causes = Causes::default();
            causes.add(Cause::Stopped, "stopped by signal 15");
            causes.add(cause, "because");
            causes.forget_stops();
            let expected = if cause == Cause::Stopped { Exit::Done } else { cause.exit() };
            assert_eq!(causes.exit(), expected);
            assert_eq!(causes.reasons(), if cause == Cause::Stopped { Vec::new() } else { vec!["because".to_owned()] });
        }
    }

    #[test]
    fn many_reasons_of_one_cause_hide_no_other() {
        let mut causes = Causes::default();
        for i in 0..1000 {
            causes.add(Cause::Stopped, format!("stopped {i}"));
        }
        assert!(causes.add(Cause::State, "the disk is full"));
        assert!(!causes.add(Cause::State, "the disk is full"), "said before");
        assert_eq!((causes.exit(), causes.reasons().len()), (Exit::State, 21));
        assert_eq!(causes.reasons()[0], "the disk is full");
        // The same sentence as another cause.
        causes.forget_stops();
        assert!(!causes.add(Cause::Source, "the disk is full"));
        assert_eq!((causes.exit(), causes.reasons().len()), (Exit::State, 1));
    }

    #[test]
    fn every_exit_but_0_is_a_cause() {
        for cause in ORDER {
            let back = Cause::of(cause.exit()).expect("a cause");
            assert_eq!(back.exit(), cause.exit());
        }
        assert_eq!(Cause::of(Exit::Done), None);
    }
}
