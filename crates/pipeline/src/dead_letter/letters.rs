//! Where an attempt sets its records aside: its shard's file, or a topic.
//!
//! Responsible for what both have in common towards the worker's loop. Not responsible for how either keeps a letter.

use migration::{Failure, FailureKind};

use super::file::DeadLetterFile;
use super::topic::TopicLetters;
use crate::{RecordPlace, Sink, SinkLimits};

/// Where letters go.
#[derive(Debug)]
pub enum Letters {
    /// The shard's file.
    File(DeadLetterFile),
    /// A topic, by the sink of the records.
    Topic(TopicLetters),
}

impl Letters {
    /// What the sink takes, known before the first letter.
    pub(crate) fn fit(&mut self, limits: SinkLimits) {
        if let Letters::Topic(letters) = self {
            letters.fit(limits);
        }
    }

    /// Sets a record aside; `cut`: it goes on in the source behind `record`. `key`: the one that it would have been
    /// sent with, if that is known. It is kept only after [`Letters::sync`].
    pub(crate) fn set_aside(
        &mut self,
        place: RecordPlace,
        reason: &str,
        key: Option<&[u8]>,
        record: &[u8],
        cut: bool,
    ) -> Result<(), Failure> {
        match self {
            Letters::File(file) if cut => file.append_head(place, reason, record).map_err(|error| not_written(file, &error)),
            Letters::File(file) => file.append(place, reason, record).map_err(|error| not_written(file, &error)),
            Letters::Topic(letters) => {
                letters.append(place, reason, key, record, cut);
                Ok(())
            }
        }
    }

    /// Hands over to the sink as many as it may have in flight.
    pub(crate) fn hand_over(&mut self, sink: &mut dyn Sink) -> Result<(), Failure> {
        match self {
            Letters::File(_) => Ok(()),
            Letters::Topic(letters) => letters.hand_over(sink),
        }
    }

    /// Whether some have no report yet: no chunk is committed before.
    pub(crate) fn busy(&self, sink: &dyn Sink) -> bool {
        matches!(self, Letters::Topic(letters) if letters.waiting() > 0 || sink.letters_in_flight().count > 0)
    }

    /// Whether no more records are to be taken before some have their reports.
    pub(crate) fn full(&self) -> bool {
        matches!(self, Letters::Topic(letters) if letters.waiting() > 0)
    }

    /// Makes everything set aside so far survive a crash of the machine. Of a topic, that is what the reports say.
    pub(crate) fn sync(&mut self) -> Result<(), Failure> {
        match self {
            Letters::File(file) => file.sync().map_err(|error| not_written(file, &error)),
            Letters::Topic(_) => Ok(()),
        }
    }

    /// How long the file is; 0 of a topic, where the shard's count of letters says which are committed.
    pub(crate) fn length(&self) -> u64 {
        match self {
            Letters::File(file) => file.length(),
            Letters::Topic(_) => 0,
        }
    }
}

fn not_written(letters: &DeadLetterFile, error: &std::io::Error) -> Failure {
    let path = migration::printable::printable_path(letters.path());
    Failure::new(FailureKind::State, format!("{path}: dead letters can't be written: {error}{}", what_to_do(error)))
}

fn what_to_do(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => "; make room, then run again",
        _ => "; put that right, then run again",
    }
}
