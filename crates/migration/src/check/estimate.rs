//! What is going to happen: sizes, time, and how much a death may send twice.
//!
//! All times are lower bounds, each with what it is made of: how fast brokers take records is not known before some
//! were sent. What is not known is not told.

use std::time::Duration;

use super::facts::SourceSample;
use super::{Check, Finding};
use crate::advice::Prospect;
use crate::job::FlushPolicy;
use crate::topic::batch_bytes_of_one;
use crate::units::{show_count, show_duration, show_size, show_things};
use crate::{Job, Order};

/// What a batch has besides its records.
const BATCH_BYTES: u64 = 61;
/// Differences of time and offset to the batch's own have a byte each in a batch of one record, and about one more in
/// others.
const IN_LARGER_BATCH: u64 = 2;

/// What a job will come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Estimate {
    /// About how many records.
    pub records: u64,
    /// How many files were sampled, of how many.
    pub sampled: (u64, u64),
    /// Bytes as stored.
    pub stored_bytes: u64,
    /// Bytes once decompressed.
    pub unpacked_bytes: Option<u64>,
    /// Bytes in the topic, of one replica, before the client compresses them; and how many of these each record has
    /// besides key, value and headers.
    pub topic_bytes: Option<(u64, u64)>,
    /// What the run can't be faster than, the slowest first; empty for a job that has begun.
    pub bounds: Vec<Bound>,
    /// Whether the round trip to the brokers is known.
    pub asked_brokers: bool,
    /// How many records a worker that dies may have sent beyond what is committed.
    pub resent_a_death: u64,
    /// Whether the job delivers exactly once.
    pub exactly_once: bool,
    /// Whether the job has begun: how long the rest takes is not told.
    begun: bool,
}

/// Something that takes this time at least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Its name in JSON: `reading`, `rate_records`, `rate_bytes`, `round_trip`.
    pub name: &'static str,
    /// What it is, in words.
    pub what: String,
    /// How long it takes.
    pub takes: Duration,
}

impl Estimate {
    /// Of a job and a sample of its source. `round_trip` is that of the brokers, if it was asked; no more workers than
    /// `processors` read at once.
    pub fn of(prospect: &Prospect<'_>, sample: &SourceSample, round_trip: Option<Duration>, processors: u32) -> Estimate {
        let Prospect { job, plan, begun, .. } = *prospect;
        let records = plan.records_estimate();
        let mut bounds = if begun { Vec::new() } else { bounds(prospect, sample, round_trip, processors) };
        bounds.sort_by_key(|bound| std::cmp::Reverse(bound.takes));
        Estimate {
            records,
            sampled: (sample.files_sampled, sample.files),
            stored_bytes: plan.bytes(),
            unpacked_bytes: sample.unpacked_bytes,
            topic_bytes: topic_bytes(job, sample).zip(beside(job, sample)),
            bounds,
            asked_brokers: round_trip.is_some(),
            resent_a_death: if job.exactly_once() { 0 } else { resent_a_death(job, sample).min(records) },
            exactly_once: job.exactly_once(),
            begun,
        }
    }

    /// The least time that the run takes, as far as it can be told.
    pub fn least(&self) -> Option<Duration> {
        self.bounds.first().map(|bound| bound.takes)
    }

    /// For people, a line each.
    pub fn lines(&self) -> Vec<String> {
        [self.sizes(), self.time(), Some(self.deaths())].into_iter().flatten().collect()
    }

    /// The row of `check`.
    pub fn finding(&self) -> Finding {
        let records = format!("about {}", show_things(self.records, "record"));
        let told: Vec<String> = std::iter::once(records).chain(self.lines()).collect();
        Finding::ok(Check::Estimate, told.join("; "))
    }

    fn sizes(&self) -> Option<String> {
        let unpacked = self.unpacked_bytes?;
        let mut line = show_size(unpacked);
        if unpacked != self.stored_bytes {
            let (some, all) = self.sampled;
            let by =
                if some < all { format!("by {} of {} files", show_count(some), show_count(all)) } else { "by heads".into() };
            line += &format!(" decompressed (of {} stored, judged {by})", show_size(self.stored_bytes));
        } else {
            line += " to read";
        }
        if let Some((topic, beside)) = self.topic_bytes {
            line += &format!(
                ", about {} in the topic: each replica, before the client compresses (keys, values, headers, and {beside} bytes a \
                 record)",
                show_size(topic)
            );
        }
        Some(line)
    }

    fn time(&self) -> Option<String> {
        if self.begun {
            return None;
        }
        let Some((slowest, others)) = self.bounds.split_first() else {
            return Some("how long it takes is not known before records are sent".to_owned());
        };
        let mut line = match slowest.takes {
            moment if moment < Duration::from_secs(1) => format!("less than a second by {}", slowest.what),
            takes => format!("at least {} by {}", show_duration(takes), slowest.what),
        };
        for other in others {
            line += &format!("; {} by {}", show_duration(other.takes), other.what);
        }
        line += "; how fast the brokers take records shows only when they are sent";
        if !self.asked_brokers {
            line += " (-b asks how far away they are)";
        }
        Some(line)
    }

    fn deaths(&self) -> String {
        if self.exactly_once {
            return "a worker that dies leaves nothing twice (exactly-once)".to_owned();
        }
        format!("a worker that dies sends at most {} twice (workers.chunk)", show_things(self.resent_a_death, "record"))
    }
}

/// What a run can't be faster than.
fn bounds(prospect: &Prospect<'_>, sample: &SourceSample, round_trip: Option<Duration>, processors: u32) -> Vec<Bound> {
    let Prospect { job, plan, order, .. } = *prospect;
    let records = plan.records_estimate() as f64;
    let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    let mut bounds = Vec::new();
    let mut add = |name, takes: f64, what: String| bounds.push(Bound { name, what, takes: seconds(takes) });
    let sending = senders(prospect);
    if let Some((rows, takes)) = sample.speed.filter(|(rows, takes)| *rows > 0 && !takes.is_zero()) {
        let a_second = rows as f64 / takes.as_secs_f64();
        let (reading, who) = match order {
            Order::Key if sending > 1 => (1, "each worker reads all"),
            Order::Key => (1, "one worker"),
            Order::Shard => (sending.min(processors).max(1), ""),
        };
        let who = if who.is_empty() { show_things(reading.into(), "worker") } else { who.to_owned() };
        let what = format!("reading and mapping ({who}, {} rows a second each in the sample)", show_count(rounded(a_second)));
        add("reading", records / a_second / f64::from(reading), what);
    }
    if let Some(rate) = job.limits.rate_records {
        add("rate_records", records / rate as f64, format!("limits.rate_records = {}", show_count(rate)));
    }
    if let (Some(rate), Some(bytes)) = (job.limits.rate_bytes, sent_bytes(job, sample)) {
        add("rate_bytes", bytes / rate as f64, format!("limits.rate_bytes = {} a second", show_size(rate)));
    }
    if let Some(round_trip) = round_trip {
        let (trip, workers) = (show_duration(round_trip), show_things(sending.into(), "worker"));
        match (job.workers.flush, sent_bytes(job, sample)) {
            (FlushPolicy::Record, _) => {
                let what = format!("a round trip of {trip} for each record (workers.flush = \"record\", {workers})");
                add("round_trip", records * round_trip.as_secs_f64() / f64::from(sending), what);
            }
            (FlushPolicy::Chunk, Some(bytes)) => {
                let at_once = job.workers.in_flight as f64 * f64::from(sending);
                let in_flight = show_size(job.workers.in_flight);
                let what = format!("round trips of {trip} with at most {in_flight} under way (workers.in_flight, {workers})");
                add("round_trip", bytes / at_once * round_trip.as_secs_f64(), what);
            }
            (FlushPolicy::Chunk, None) => {}
        }
    }
    bounds
}

/// How many workers send at once.
fn senders(prospect: &Prospect<'_>) -> u32 {
    let Prospect { plan, order, workers, .. } = *prospect;
    let parts = match (order, plan.partitions) {
        // How many sets there will be is not known.
        (Order::Key, None) => workers,
        (Order::Key, Some(_)) | (Order::Shard, _) => u32::try_from(plan.shards.len()).unwrap_or(u32::MAX),
    };
    workers.min(parts).max(1)
}

/// Two digits: a sample has no more.
fn rounded(number: f64) -> u64 {
    let unit = 10f64.powf(number.max(1.0).log10().floor() - 1.0);
    ((number / unit).round() * unit).round().max(1.0) as u64
}

/// Bytes of the whole job, of which the sample has `part` for all that it read.
fn of_all(sample: &SourceSample, part: f64) -> Option<f64> {
    let unpacked = sample.unpacked_bytes.filter(|_| sample.row_bytes > 0)?;
    Some(unpacked as f64 * part / sample.row_bytes as f64)
}

/// Bytes of keys and values, which `limits.rate_bytes` and `workers.in_flight` count.
fn sent_bytes(job: &Job, sample: &SourceSample) -> Option<f64> {
    let headers: usize = job.record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    of_all(sample, sample.record_bytes.saturating_sub(sample.records * headers as u64) as f64)
}

/// Bytes that each record takes in a topic besides its key, value and headers.
fn beside(job: &Job, sample: &SourceSample) -> Option<u64> {
    let mean = sample.record_bytes.checked_div(sample.records)?;
    let headers = job.record.headers.len();
    let alone = batch_bytes_of_one(None, mean as usize, (headers, 2 * headers)) as u64 - mean;
    Some(match job.workers.flush {
        FlushPolicy::Record => alone,
        FlushPolicy::Chunk => alone - BATCH_BYTES + IN_LARGER_BATCH,
    })
}

/// Bytes of the job's records in a topic, of one replica, before they are compressed.
pub(super) fn topic_bytes(job: &Job, sample: &SourceSample) -> Option<u64> {
    let beside = sample.records * beside(job, sample).unwrap_or(0);
    of_all(sample, (sample.record_bytes + beside) as f64).map(|bytes| bytes as u64)
}

/// A worker is at most one chunk ahead of what is committed.
fn resent_a_death(job: &Job, sample: &SourceSample) -> u64 {
    let chunk = job.workers.chunk;
    let row = sample.row_bytes.checked_div(sample.rows).unwrap_or(0);
    let by_bytes = chunk.bytes.checked_div(row).map_or(u64::MAX, |rows| rows.max(1));
    chunk.records.min(by_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Plan, Segment};

    fn job(more: &str) -> Job {
        Job::of_text(&format!("job.name = \"j\"\nsource.jsonl.paths = [\"x\"]\nkafka.topic = \"t\"\n{more}"))
    }

    /// A million records in four shards.
    fn plan() -> Plan {
        let mut plan = Plan::default();
        (0..4).for_each(|_| plan.add(vec![Segment { object: 0, start: 0, end: 9, bytes: Some(5_000_000) }], 250_000));
        plan
    }

    /// Rows of 200 bytes: 199 of value, no key. 50,000 rows a second.
    fn sample() -> SourceSample {
        SourceSample {
            files: 9,
            files_sampled: 3,
            rows: 1000,
            row_bytes: 200_000,
            records: 1000,
            record_bytes: 199_000,
            unpacked_bytes: Some(200_000_000),
            speed: Some((1000, Duration::from_millis(20))),
            ..SourceSample::default()
        }
    }

    fn estimate(job: &Job, order: Order, round_trip: Option<Duration>) -> Estimate {
        let plan = plan();
        let prospect = Prospect { job, plan: &plan, begun: false, order, workers: 4, compacted: false };
        Estimate::of(&prospect, &sample(), round_trip, 2)
    }

    fn takes(estimate: &Estimate, name: &str) -> Option<f64> {
        estimate.bounds.iter().find(|bound| bound.name == name).map(|bound| bound.takes.as_secs_f64())
    }

    #[test]
    fn reading_is_shared_by_as_many_workers_as_processors_but_not_with_order_by_key() {
        let by_shard = estimate(&job(""), Order::Shard, None);
        assert_eq!(takes(&by_shard, "reading"), Some(10.0));
        let by_key = estimate(&job("record.key = \".k\""), Order::Key, None);
        assert_eq!(takes(&by_key, "reading"), Some(20.0));
        assert!(
            by_key.lines()[1]
                .starts_with("at least 20.00 s by reading and mapping (each worker reads all, 50,000 rows a second")
        );
        assert!(by_key.lines()[1].ends_with("shows only when they are sent (-b asks how far away they are)"), "{by_key:?}");
    }

    #[test]
    fn limits_are_judged_by_what_is_sent_not_by_what_is_stored() {
        let limited = estimate(&job("limits.rate_records = 20_000\nlimits.rate_bytes = \"1MB\""), Order::Shard, None);
        assert_eq!(takes(&limited, "rate_records"), Some(50.0));
        assert_eq!(takes(&limited, "rate_bytes"), Some(199.0), "20 MB are stored");
        assert_eq!(limited.least(), Some(Duration::from_secs(199)));
        let line = &limited.lines()[1];
        assert!(
            line.starts_with("at least 3 min 19 s by limits.rate_bytes = 976.6 KiB a second; 50.00 s by limits.rate_records")
        );
    }

    #[test]
    fn a_round_trip_counts_for_each_record_or_for_all_that_is_in_flight() {
        let trip = Some(Duration::from_millis(10));
        let by_record = estimate(&job("workers.flush = \"record\""), Order::Shard, trip);
        assert_eq!(takes(&by_record, "round_trip"), Some(2500.0), "a million records, four workers");
        assert!(by_record.lines()[1].starts_with("at least 41 min 40 s by a round trip of 10.0 ms for each record"));
        assert!(by_record.lines()[1].ends_with("shows only when they are sent"));
        let by_chunk = estimate(&job("workers.in_flight = \"5MB\""), Order::Shard, trip);
        let (takes_ms, by_hand) = (takes(&by_chunk, "round_trip").map(|takes| takes * 1e3), 199.0 / (4.0 * 5.0) * 10.0);
        assert!(takes_ms.is_some_and(|takes| (takes - by_hand).abs() < 0.01), "20 MB in each round trip: {by_chunk:?}");
        assert_eq!(takes(&estimate(&job(""), Order::Shard, None), "round_trip"), None);
    }

    #[test]
    fn sizes_are_told_with_what_they_are() {
        let told = estimate(&job(""), Order::Shard, None);
        // Length, attributes, two differences, key, value's length, headers.
        assert_eq!(told.topic_bytes, Some((199_000_000 + 1_000_000 * 11, 11)));
        assert_eq!(
            told.lines()[0],
            "190.7 MiB decompressed (of 19.1 MiB stored, judged by 3 of 9 files), about 200.3 MiB in the topic: each replica, \
             before the client compresses (keys, values, headers, and 11 bytes a record)"
        );
        let by_record = estimate(&job("workers.flush = \"record\""), Order::Shard, None);
        assert_eq!(by_record.topic_bytes.map(|(_, beside)| beside), Some(61 + 9), "each is a batch");
    }

    #[test]
    fn a_death_costs_a_chunk_at_most() {
        let told = |more: &str| estimate(&job(more), Order::Shard, None).resent_a_death;
        assert_eq!(told(""), 1_000_000);
        assert_eq!(told("workers.chunk.records = 500"), 500);
        let once = estimate(&job("kafka.brokers = [\"b:1\"]\nkafka.delivery = \"exactly-once\""), Order::Shard, None);
        assert_eq!(
            (once.resent_a_death, once.lines().last().map(String::as_str)),
            (0, Some("a worker that dies leaves nothing twice (exactly-once)"))
        );
        assert_eq!(told("workers.chunk.bytes = \"100kB\""), 500, "rows of 200 bytes");
        assert_eq!(told("workers.chunk.records = 5_000_000\nworkers.chunk.bytes = \"9GiB\""), 1_000_000, "no more than all");
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        let (job, plan) = (job("limits.rate_bytes = \"1MB\""), plan());
        let prospect = Prospect { job: &job, plan: &plan, begun: false, order: Order::Shard, workers: 4, compacted: false };
        let nothing = Estimate::of(&prospect, &SourceSample::default(), None, 2);
        assert_eq!((nothing.least(), nothing.unpacked_bytes, nothing.topic_bytes), (None, None, None));
        assert_eq!(nothing.lines()[0], "how long it takes is not known before records are sent");
        let begun = Estimate::of(&Prospect { begun: true, ..prospect }, &sample(), None, 2);
        assert_eq!((begun.least(), begun.lines().len()), (None, 2), "sizes and deaths");
        let finding = begun.finding();
        assert!(finding.fact.starts_with("about 1,000,000 records; 190.7 MiB"), "{finding:?}");
    }

    #[test]
    fn speeds_have_two_digits() {
        assert_eq!([0.4, 7.0, 94.6, 1234.0, 1_987_654.0].map(rounded), [1, 7, 95, 1200, 2_000_000]);
    }
}
