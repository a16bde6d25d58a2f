//! Where a worker's commits go, and what a commit waits for there.
//!
//! Responsible for what has to have happened before a chunk may be committed, and for what its commit is. Not
//! responsible for when a chunk is closed, or that everything of it was delivered or set aside (the worker's loop).

use migration::{Control, Failure, LedgerEntry};

use super::WaitReason;
use crate::Sink;

/// Where commits go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ledger {
    /// The supervisor's checkpoint: a commit is said to the supervisor, which puts it on disk and says `Recorded`. A
    /// worker is at most one chunk ahead of that.
    Checkpoint,
    /// The progress topic: a chunk's records and the shard's progress are one transaction of the sink. The supervisor
    /// is told, and never waited for.
    Topic,
}

impl Ledger {
    /// What the commit of a chunk with this number waits for; `None`: nothing.
    pub(super) fn waits_for(&self, number: u64, control: &Control) -> Option<WaitReason> {
        match self {
            Ledger::Checkpoint => (control.recorded + 1 < number).then_some(WaitReason::Recorded),
            Ledger::Topic => None,
        }
    }

    /// Commits a chunk of which everything is delivered or set aside, with which the shard is as far as `entry` says.
    /// What is committed is told to the supervisor, whose checkpoint takes it from there.
    pub(super) fn commit(&self, entry: &LedgerEntry, sink: &mut dyn Sink) -> Result<(), Failure> {
        match self {
            Ledger::Checkpoint => Ok(()),
            Ledger::Topic => sink.commit(entry),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checkpoint_is_at_most_one_chunk_behind() {
        let ledger = Ledger::Checkpoint;
        let waits = |number, recorded| ledger.waits_for(number, &Control { recorded, ..Control::default() });
        assert_eq!((waits(1, 0), waits(2, 1), waits(2, 5)), (None, None, None));
        assert_eq!((waits(2, 0), waits(7, 5)), (Some(WaitReason::Recorded), Some(WaitReason::Recorded)));
    }

    #[test]
    fn a_commit_to_the_topic_waits_for_no_supervisor() {
        assert_eq!(Ledger::Topic.waits_for(7, &Control::default()), None);
    }
}
