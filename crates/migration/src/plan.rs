//! The plan: the ordered shards of a job, frozen when the job first runs.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Position;

/// A shard's number: its index in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardId(pub u32);

impl std::fmt::Display for ShardId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:05}", self.0)
    }
}

/// How a source object is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compression {
    /// Plain bytes: the object can be cut anywhere.
    None,
    /// gzip, multi-member streams included: one segment.
    Gzip,
    /// Zstandard, multi-frame streams included: one segment.
    Zstd,
}

/// One object of the source (a file) with what proves that it did not change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceObject {
    /// Where it is.
    pub path: PathBuf,
    /// Its size in bytes as stored.
    pub bytes: u64,
    /// Its modification time, nanoseconds since 1970.
    pub modified_ns: i64,
    /// 128-bit hash of its first and last 64 KiB.
    pub fingerprint: u128,
    /// How it is compressed, judged by its first bytes.
    pub compression: Compression,
}

/// One contiguous range of one source object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Index into [`Plan::objects`].
    pub object: u32,
    /// The first place of the range. Always 0 for a compressed object.
    pub start: u64,
    /// One past the last place. [`Segment::WHOLE`] for a compressed object: to the end of its stream, whose length nobody
    /// knows before it is read (`--limit` sets it to the place where the limit falls).
    pub end: u64,
}

impl Segment {
    /// The `end` of a segment that goes to the end of a compressed stream.
    pub const WHOLE: u64 = u64::MAX;
}

/// A piece of the dataset: the unit of retry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Its number, equal to its index in the plan.
    pub id: ShardId,
    /// What it consists of, in source order.
    pub segments: Vec<Segment>,
    /// Bytes as stored.
    pub bytes: u64,
    /// How many records it probably has, from a sample.
    pub records_estimate: u64,
}

impl Shard {
    /// Where the shard's first attempt starts.
    pub fn start(&self) -> Position {
        Position { segment: 0, place: self.segments.first().map_or(0, |s| s.start), records: 0 }
    }
}

/// The ordered shards of a job and the objects that they cut.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The source's objects in source order.
    pub objects: Vec<SourceObject>,
    /// The shards; handed out in this order.
    pub shards: Vec<Shard>,
}

impl Plan {
    /// The dataset's size as stored.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(|s| s.bytes).sum()
    }

    /// How many records the dataset probably has.
    pub fn records_estimate(&self) -> u64 {
        self.shards.iter().map(|s| s.records_estimate).sum()
    }

    /// The object a segment cuts.
    pub fn object(&self, segment: &Segment) -> &SourceObject {
        &self.objects[segment.object as usize]
    }
}
