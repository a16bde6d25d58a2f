//! The job whose dead letters a run sends again: what of it the run is held to.

use kafka::Preflight;
use migration::report::Binding;
use migration::units::show_things;
use migration::{Job, UserError};

use crate::state::Earlier;

/// A job that set records aside.
#[derive(Debug)]
pub struct RetriedJob {
    name: String,
    earlier: Earlier,
    /// What the topic lacks of its records is sent, and no dead letters.
    repaired: bool,
}

impl RetriedJob {
    /// That of this name, with what its runs left.
    pub fn new(name: String, earlier: Earlier) -> RetriedJob {
        RetriedJob { name, earlier, repaired: false }
    }

    /// The same of one of whose records the topic lacks some.
    pub fn to_repair(name: String, earlier: Earlier) -> RetriedJob {
        RetriedJob { name, earlier, repaired: true }
    }

    /// Whether its records can be sent again to where it sent the others. Returns warnings.
    pub fn may_be_sent(&self, job: &Job, now: &Binding) -> Result<Vec<String>, UserError> {
        self.earlier.may_retry(&Job { name: self.name.clone(), ..job.clone() }, now)
    }

    /// What of the topic a run uses that begins now: keys choose among the partitions among which they chose before.
    pub fn used(&self, mut found: Preflight) -> Preflight {
        found.partitions.truncate(self.earlier.state.binding.end_offsets.len());
        found
    }

    /// What is to be known before a record comes behind newer ones.
    pub fn warnings(&self, job: &Job, compacted: bool) -> Vec<String> {
        let sent = self.earlier.state.counts().acknowledged;
        // A repair says what it means before it asks.
        if job.record.key.is_none() || sent == 0 || self.repaired {
            return Vec::new();
        }
        let records = show_things(sent, "record");
        let mut told = vec![format!(
            "what is sent again comes behind the {records} that job {} sent: also behind newer ones of the same key",
            self.name
        )];
        if compacted {
            told.push(format!(
                "topic {} is compacted: where a newer record of a key was sent before, the OLDER one that is sent again becomes the \
                 newest, and compaction removes the newer one for good; leave such records out with `shardlift dlq show --records` and \
                 --edited",
                job.kafka.topic
            ));
        }
        told
    }
}
