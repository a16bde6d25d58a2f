//! Verify: the source against the topic.

use crate::SourceError;

/// A record as it stands in the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicRecord<'a> {
    /// Its partition.
    pub partition: u32,
    /// Its offset in the partition.
    pub offset: i64,
    /// `None` is a null key.
    pub key: Option<&'a [u8]>,
    /// The value; a null value is an empty one here.
    pub value: &'a [u8],
}

/// Reads the job's part of a topic, as often as wanted: from the partitions' end offsets when the job first ran to where they
/// ended when the first pass began, so that all passes see the same range.
pub trait TopicReader {
    /// Goes to the start of the range. Called before each pass, the first included.
    fn restart(&mut self) -> Result<(), VerifyError>;

    /// Hands the next few records to `visit`, in any order of partitions; none when the broker has nothing yet. False: every
    /// partition is at its end.
    fn next(&mut self, visit: &mut dyn FnMut(TopicRecord<'_>)) -> Result<bool, VerifyError>;

    /// How many offsets of the range can't be read any more (retention, DeleteRecords), by partition; only partitions that miss
    /// some. Known after the first [`TopicReader::restart`].
    fn gone(&self) -> Vec<(u32, i64)>;
}

/// Why a comparison could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The source can't be read, or changed since the plan.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The topic can't be read: what failed, where, what was seen.
    #[error("{0}")]
    Topic(String),
}
