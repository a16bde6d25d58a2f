//! The window: chunks that close without a barrier. A chunk's end is a *mark* in the stream of records; records are taken on past
//! it, and the chunk is committed when every record before the mark is acknowledged, filtered or set aside.
//!
//! Responsible for: when a mark is set, when its chunk is committed, and that no more than one is open: so at most two chunks are
//! taken and not committed. Not responsible for: telling groups before a mark from those after it ([`crate::lanes`]), or for the
//! barrier, which a drain, a pause and the shard's end still need.

use migration::job::FlushPolicy;
use migration::{Control, Failure, Phase, Position};
use std::time::Instant;

use super::chunk::OpenChunk;
use super::{LONGEST_REST, ShardWorker, Step, WaitReason};

/// A chunk that is full and not committed yet, while the next one is being taken.
#[derive(Debug)]
pub(super) struct Mark {
    pub(super) chunk: OpenChunk,
    /// Its end.
    pub(super) position: Position,
}

impl ShardWorker {
    /// Commits the marked chunk if that is possible by now. `Some`: it is not, and nothing may be taken before it is.
    pub(super) fn go_on_past_mark(&mut self, control: &Control, now: Instant) -> Result<Option<Step>, Failure> {
        self.commit_mark(control)?;
        if self.mark.is_none() || !self.chunk.full() {
            return Ok(None);
        }
        self.wait_for_mark(now).map(Some)
    }

    /// Whether records before the mark have no report yet, and nothing may be taken before they have.
    pub(super) fn mark_holds(&self) -> bool {
        self.mark.is_some() && self.chunk.full() && self.lanes.before_mark() > 0
    }

    /// Waits for what the marked chunk's commit needs.
    pub(super) fn wait_for_mark(&mut self, now: Instant) -> Result<Step, Failure> {
        if self.lanes.before_mark() > 0 {
            return self.wait_for_reports(Phase::Flush, None, now);
        }
        Ok(self.wait_for(WaitReason::Recorded, Phase::Commit, now + LONGEST_REST, now))
    }

    /// Commits the marked chunk, if there is one, if every record before the mark has its report, and if the chunk before it is
    /// recorded.
    pub(super) fn commit_mark(&mut self, control: &Control) -> Result<(), Failure> {
        let ready = |mark: &&Mark| self.lanes.before_mark() == 0 && control.recorded + 1 >= mark.chunk.number;
        let Some(Mark { chunk, .. }) = self.mark.as_ref().filter(ready) else { return Ok(()) };
        self.before_commit(chunk.number, chunk.counts)?;
        if let Some(Mark { chunk, position }) = self.mark.take() {
            self.commit(chunk, position);
        }
        Ok(())
    }

    /// Whether the open chunk's end is to be a mark rather than a barrier.
    pub(super) fn marks(&self, control: &Control) -> bool {
        self.settings.flush == FlushPolicy::Window && !control.drain && !control.paused
    }

    /// Ends the open chunk here and begins the next, without waiting. With a mark open it can only go on: the interval is over,
    /// but the chunk has room.
    pub(super) fn set_mark(&mut self) -> Result<(), Failure> {
        if self.mark.is_some() {
            return Ok(());
        }
        self.clock.switch(Phase::Enqueue);
        self.lanes.mark(self.sink.as_mut())?;
        self.mark = Some(Mark { chunk: self.chunk.end(), position: self.position });
        Ok(())
    }
}
