//! How many workers, and how each works.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{COUNT_32, Merged, SIZE, TIMES, count, count_32_or, key, rules, time, word_but, words};

/// Why a flush policy of earlier versions is refused.
const NO_WINDOW: &str = "was removed: \"chunk\" is as fast and simpler (docs/design/0004-window-flush.md)";

rules! {
    /// How many workers and how each works.
    #[derive(Clone, Debug, PartialEq)]
    pub struct WorkerRules {
        /// How many worker processes. `auto`: the run finds the number.
        ///
        /// It begins with as many as this cgroup has processors and tries more while a doubling makes the job a tenth
        /// faster, up to `max`.
        count: Option<NonZeroU32> = key COUNT key("workers.count", count_32_or("auto"))
            .default("\"auto\"").example("8").flag("--workers", "SHARDLIFT_WORKERS");
        /// The most workers that `count = "auto"` tries.
        ///
        /// Memory for `2 * in_flight + 56 MiB` each bounds it too, less where `memory_limit` is less.
        max: u32 = key MAX key("workers.max", COUNT_32).default("64").example("16");
        /// When a worker waits for all its delivery reports: `chunk` (at each chunk's end) or `record` (after each
        /// record).
        flush: FlushPolicy = key FLUSH
            key("workers.flush", word_but(&[("window", NO_WINDOW)])).default("\"chunk\"").example("\"record\"");
        /// The records between two commits.
        chunk: ChunkLimits = table;
        /// Bytes of records taken and not yet delivered: what bounds a worker's memory. At most half of `memory_limit`.
        ///
        /// With keys the room that groups have for more counts too, at least 1 KiB for each partition in use. A record
        /// counts as at least 128 bytes.
        in_flight: u64 = key IN_FLIGHT key("workers.in_flight", SIZE).default("\"32MiB\"").example("\"64MiB\"");
        /// How often and how soon a shard is tried again.
        restart: RestartRules = table;
        /// A worker that says nothing for this time is killed and replaced.
        heartbeat_timeout: Duration = key HEARTBEAT_TIMEOUT
            key("workers.heartbeat_timeout", time(2000)).default("\"60s\"").example("\"30s\"");
        /// How long workers may take to end their chunks when the run is told to stop.
        drain_timeout: Duration = key DRAIN_TIMEOUT key("workers.drain_timeout", time(1)).default("\"20s\"").example("\"5s\"");
        /// The memory that each worker may use for data (`RLIMIT_DATA`). zstd files with a window above 128 MiB may
        /// need more.
        ///
        /// Such a file (`--long=28` and more) needs its window, four times `in_flight` and 64 MiB.
        memory_limit: u64 = key MEMORY_LIMIT key("workers.memory_limit", SIZE).default("\"512MiB\"").example("\"1GiB\"");
    }
}

rules! {
    /// The records between two commits; the first limit that is reached ends the chunk.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct ChunkLimits {
        /// A chunk, the records between two commits, ends after this number of records.
        records: u64 = key RECORDS key("workers.chunk.records", count(1)).default("1_000_000").example("10_000");
        /// … or this number of bytes.
        bytes: u64 = key BYTES key("workers.chunk.bytes", SIZE).default("\"256MiB\"").example("\"16MiB\"");
        /// … or this time, whichever comes first.
        interval: Duration = key INTERVAL key("workers.chunk.interval", time(1)).default("\"1s\"").example("\"60s\"");
    }
}

rules! {
    /// How often and how soon a shard is tried again.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct RestartRules {
        /// This number of deaths of workers at one position quarantines the shard.
        max_without_progress: u32 = key MAX_WITHOUT_PROGRESS
            key("workers.restart.max_without_progress", COUNT_32).default("5").example("3");
        /// The pause before a shard is tried again: the first, and the longest that it grows to.
        key BACKOFF: (Duration, Duration) =
            key("workers.restart.backoff", TIMES).default("\"100ms..30s\"").example("\"1s..60s\"");
        /// The first pause.
        backoff_min: Duration = by |config: &Merged<'_>| config.get(&Self::BACKOFF).0;
        /// The longest pause.
        backoff_max: Duration = by |config: &Merged<'_>| config.get(&Self::BACKOFF).1;
    }
}

impl ChunkLimits {
    /// No wait inside a transaction is longer than half of its time, and one of a chunk lasts as long as the chunk.
    pub const TRANSACTION_INTERVALS: u32 = 2;

    /// For how long a transaction of a chunk may be open.
    pub fn transaction_timeout(&self) -> Duration {
        LEAST_TRANSACTION.max(self.interval.saturating_mul(Self::TRANSACTION_INTERVALS))
    }
}

/// The shortest time that a transaction may be open: brokers that are slow for a while abort none.
pub(crate) const LEAST_TRANSACTION: Duration = Duration::from_secs(60);
/// The longest: the brokers' own limit (`transaction.max.timeout.ms`) where it was not changed.
pub const LONGEST_TRANSACTION: Duration = Duration::from_secs(15 * 60);

/// When a worker waits for all its delivery reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlushPolicy {
    /// After each record.
    Record,
    /// At each chunk's end.
    Chunk,
}

words! { FlushPolicy { Chunk = "chunk", Record = "record" } }

impl WorkerRules {
    /// What a worker's memory has room for besides its records and its client.
    pub fn windows(&self) -> WindowLimit {
        let beside = OTHER_MEMORY.saturating_add(self.in_flight.saturating_mul(MEMORY_PER_IN_FLIGHT));
        WindowLimit { most: self.memory_limit.saturating_sub(beside).max(USUAL_WINDOW), beside }
    }
}

/// What a worker needs for each byte that may be in flight: the client holds up to three times as much for short
/// records.
const MEMORY_PER_IN_FLIGHT: u64 = 4;
/// What else a worker needs.
const OTHER_MEMORY: u64 = 64 << 20;
/// A window that is always tried: the largest that zstd's tool makes and reads without being told to.
const USUAL_WINDOW: u64 = 128 << 20;
/// The largest window that zstd's tool reads.
const LARGEST_WINDOW: u64 = 2 << 30;

/// How much memory a decompressor may take for its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowLimit {
    /// The largest window, in bytes.
    pub most: u64,
    /// What the process needs besides, in bytes.
    pub beside: u64,
}

impl WindowLimit {
    /// The `workers.memory_limit` that a window of `window` bytes needs.
    pub fn memory_for(&self, window: u64) -> u64 {
        window.saturating_add(self.beside)
    }
}

impl Default for WindowLimit {
    /// Every window that zstd's tool reads.
    fn default() -> Self {
        WindowLimit { most: LARGEST_WINDOW, beside: OTHER_MEMORY }
    }
}
