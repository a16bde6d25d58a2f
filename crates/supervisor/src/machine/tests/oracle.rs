//! The exit code that a world expects of its run: from what happened in it and from docs/exit-codes.md, without the
//! machine's own list of causes.

use std::collections::BTreeSet;
use std::time::Duration;

use migration::report::AttemptOutcome;
use migration::{FailureKind, Level, TopicChange, WorkerEvent};

use crate::machine::values::{Action, After, AttemptEnd, AttemptId, Ended, Input};
use crate::machine::{Machine, Stage};

/// As docs/exit-codes.md has it.
const ORDER: [&str; 9] = ["signal", "1", "74", "7", "4", "too many", "75", "5", "6"];

/// What speaks against 0.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    seen: BTreeSet<usize>,
    signals: u8,
    last_signal: u8,
    /// The last signal that counted.
    counted: Option<(u8, Duration)>,
    failed: Vec<(AttemptId, FailureKind)>,
    said_last: BTreeSet<AttemptId>,
    dead_letters: u64,
    unreadable: u32,
    /// The shards have sets of partitions.
    sets: bool,
    /// Something ended the run before its time.
    stopped: bool,
}

impl Oracle {
    pub(super) fn new(sets: bool) -> Oracle {
        Oracle { sets, ..Oracle::default() }
    }

    fn saw(&mut self, cause: &str) {
        self.stopped = true;
        self.saw_at_the_end(cause);
    }

    /// A cause that ends no run.
    fn saw_at_the_end(&mut self, cause: &str) {
        self.seen.insert(ORDER.iter().position(|known| *known == cause).expect("a documented cause"));
    }

    /// Looks at an input before the machine gets it.
    pub(super) fn input(&mut self, input: &Input, machine: &Machine, now: Duration) {
        match input {
            _ if machine.stage == Stage::Over => {}
            // What `timeout` sends twice is one.
            Input::Signal { number }
                if self.counted.is_some_and(|(last, at)| last == *number && now - at < Duration::from_millis(500)) => {}
            Input::Signal { number } => {
                self.counted = Some((*number, now));
                self.signals += 1;
                let killing = matches!(machine.stage, Stage::Killing { .. });
                match self.signals {
                    1 => self.saw("75"),
                    _ if killing => {}
                    _ => {
                        self.saw("signal");
                        self.last_signal = *number;
                    }
                }
            }
            Input::NotBegun { .. } | Input::StoreFailed { .. } => self.saw("74"),
            Input::Stop { .. } => self.saw("75"),
            Input::Topic(TopicChange::Added { .. })
                if machine.rules.topic.as_ref().is_none_or(|topic| !topic.keyed || topic.added_accepted) => {}
            Input::Topic(_) => self.saw("4"),
            Input::Event { attempt, event: WorkerEvent::Failed(failure) } if self.said_last.insert(*attempt) => {
                self.failed.push((*attempt, failure.kind));
            }
            Input::Event { attempt, event: WorkerEvent::Finished(_) } => {
                self.said_last.insert(*attempt);
            }
            _ => {}
        }
    }

    /// Looks at what the machine wants.
    pub(super) fn action(&mut self, action: &Action) {
        match action {
            Action::Close(end) => self.close(end),
            // Brokers that are gone for too long, forks that fail.
            Action::Log { level: Level::Warning, text, .. } if text.ends_with("the job stops") => self.saw("75"),
            _ => {}
        }
    }

    fn close(&mut self, end: &AttemptEnd) {
        if end.after == After::Quarantined {
            self.saw_at_the_end("5");
        }
        if end.outcome == AttemptOutcome::Unreadable {
            // Sets count for a part of one, or not at all.
            self.unreadable += u32::from(!self.sets);
            // A file in the middle of a shard is tried again by itself, fifty times at most.
            if self.unreadable > 50 {
                self.saw("7");
            } else if end.after == After::Quarantined {
                self.saw_at_the_end("7");
            }
        }
        let failed = self.failed.iter().find(|(id, _)| *id == end.attempt).map(|(_, kind)| *kind);
        if let Some(kind) = failed.filter(|_| end.outcome == AttemptOutcome::Stopped) {
            self.saw(match kind {
                FailureKind::GaveUp => "75",
                FailureKind::Source => "7",
                FailureKind::Permanent => "5",
                FailureKind::TooManyBad => "too many",
                FailureKind::State => "74",
                FailureKind::Topic | FailureKind::Ledger => "4",
                FailureKind::Retry | FailureKind::Unreachable | FailureKind::Fenced | FailureKind::Refused => {
                    panic!("{kind:?} does not stop a job")
                }
            });
        }
    }

    /// A chunk with `letters` dead letters is on disk.
    pub(super) fn letters(&mut self, letters: u64, limit: u64) {
        self.dead_letters += letters;
        if self.dead_letters > limit {
            self.saw("too many");
        }
    }

    /// Whether the run ended although something may have waited.
    pub(super) fn stopped(&self) -> bool {
        self.stopped
    }

    /// Whether too many dead letters decide, and the job was told to stop as well.
    pub(super) fn limit_met_stop(&self) -> bool {
        let mut seen = self.seen.iter().map(|&index| ORDER[index]);
        seen.next() == Some("too many") && seen.any(|cause| cause == "75")
    }

    /// Compares the end with what was seen.
    pub(super) fn judge(&self, ended: &Ended, complete: bool) {
        let deciding = self.seen.iter().map(|&index| ORDER[index]).find(|cause| !(complete && *cause == "75"));
        let expected = match deciding {
            Some("signal") => 128 + self.last_signal,
            Some("too many") => 5,
            Some(code) => code.parse().expect("a code"),
            None => 0,
        };
        assert_eq!(ended.causes.exit().code(), expected, "seen: {self:?}, said: {ended:?}, every shard done: {complete}");
        assert_eq!(ended.causes.reasons().is_empty(), expected == 0);
        assert!(expected != 0 || complete, "0 means that all is done");
    }
}
