//! Where a worker's commits go, and what a commit waits for there.
//!
//! Responsible for what has to have happened before a chunk may be committed, and for what its commit is. Not
//! responsible for when a chunk is closed, or that everything of it was delivered or set aside (the worker's loop).

use migration::{Chunk, Control, LedgerEntry, WorkerEvent};

use super::WaitReason;

/// Where commits go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ledger {
    /// The supervisor's checkpoint: a commit is said to the supervisor, which puts it on disk and says `Recorded`. A
    /// worker is at most one chunk ahead of that.
    Checkpoint,
}

impl Ledger {
    /// From where an attempt goes on to which the supervisor handed out an entry.
    pub fn begin(&self, handed_out: &LedgerEntry) -> LedgerEntry {
        match self {
            Ledger::Checkpoint => handed_out.clone(),
        }
    }

    /// What the commit of a chunk with this number waits for; `None`: nothing.
    pub(super) fn waits_for(&self, number: u64, control: &Control) -> Option<WaitReason> {
        match self {
            Ledger::Checkpoint => (control.recorded + 1 < number).then_some(WaitReason::Recorded),
        }
    }

    /// Commits a chunk of which everything is delivered or set aside; gives what is to be told.
    pub(super) fn commit(&mut self, chunk: Chunk) -> WorkerEvent {
        match self {
            Ledger::Checkpoint => WorkerEvent::Committed(chunk),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checkpoint_is_at_most_one_chunk_behind() {
        let mut ledger = Ledger::Checkpoint;
        let waits = |number, recorded| ledger.waits_for(number, &Control { recorded, ..Control::default() });
        assert_eq!((waits(1, 0), waits(2, 1), waits(2, 5)), (None, None, None));
        assert_eq!((waits(2, 0), waits(7, 5)), (Some(WaitReason::Recorded), Some(WaitReason::Recorded)));
        let chunk = Chunk { number: 3, letters: 5, ..Chunk::default() };
        assert_eq!(ledger.commit(chunk.clone()), WorkerEvent::Committed(chunk));
    }
}
