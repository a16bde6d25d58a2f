//! How far a shard has come.

use serde::{Deserialize, Serialize};

/// Up to where something holds in one shard.
///
/// Positions of one shard are ordered by `(segment, place)`; `records` grows with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Index into the shard's list of segments.
    pub segment: u32,
    /// The source's own measure: a byte of the file, or of the decompressed stream. For `segment`'s object, counted
    /// from the start of the object (not of the segment).
    pub place: u64,
    /// Records read from the shard up to here, blank lines included.
    pub records: u64,
}
