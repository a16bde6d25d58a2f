//! The flags of `compare`.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};
use compare::figures::Variant;
use migration::job::FlushPolicy;
use migration::units::parse_duration;

use super::{ConfigArgs, parse_rtt};

/// Which variants run side by side, and how.
#[derive(Clone, Debug, Args)]
pub struct VariantsArgs {
    /// Which job's records.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Who steps the workers: single, green-blocking, green-cooperative, green-wakeup, threads, processes, stock-flush,
    /// or all; single always runs, the others are measured against it
    #[arg(
        long,
        env = "SHARDLIFT_COMPARE_VARIANTS",
        value_delimiter = ',',
        default_value = "single,green-blocking,green-cooperative,processes",
        value_parser = variants,
        value_name = "VARIANT,…"
    )]
    pub variants: Vec<Choice>,
    /// How many workers; single and stock-flush have one
    #[arg(
        long,
        env = "SHARDLIFT_COMPARE_WORKERS",
        value_delimiter = ',',
        default_value = "1,2,4,8",
        value_parser = clap::value_parser!(u32).range(1..=256),
        value_name = "N,…"
    )]
    pub workers: Vec<u32>,
    /// When a worker waits for its delivery reports: record, chunk; without it as the job says (workers.flush)
    #[arg(
        long,
        env = "SHARDLIFT_COMPARE_FLUSH",
        value_delimiter = ',',
        value_parser = flush,
        value_name = "FLUSH,…"
    )]
    pub flush: Vec<FlushPolicy>,
    /// When each run stops, in seconds
    #[arg(long, env = "SHARDLIFT_COMPARE_SECONDS", default_value = "2", value_parser = seconds, value_name = "SECONDS")]
    pub seconds: f64,
    /// Or after this number of records, whichever comes first
    #[arg(long, env = "SHARDLIFT_COMPARE_RECORDS", value_name = "N")]
    pub records: Option<NonZeroU64>,
    /// How often each setting runs; rounds far from the others are named from four on
    #[arg(
        long,
        env = "SHARDLIFT_COMPARE_ROUNDS",
        default_value = "3",
        value_parser = clap::value_parser!(u32).range(1..=100),
        value_name = "N"
    )]
    pub rounds: u32,
    /// Round-trip time of the embedded broker; real ones have their own
    #[arg(long, env = "SHARDLIFT_COMPARE_RTT", default_value = "5ms", value_parser = parse_rtt, value_name = "DURATION")]
    pub rtt: Duration,
    /// Other waits for each record (a database, another service), which green threads overlap
    #[arg(long, env = "SHARDLIFT_COMPARE_WAIT", default_value = "0ms", value_parser = parse_duration, value_name = "DURATION")]
    pub wait: Duration,
    /// CPU for each record
    #[arg(long, env = "SHARDLIFT_COMPARE_CPU", default_value = "0ms", value_parser = parse_duration, value_name = "DURATION")]
    pub cpu: Duration,
    /// One producer for all green threads of a run instead of one each
    #[arg(
        long,
        env = "SHARDLIFT_COMPARE_SHARED_PRODUCER",
        value_parser = BoolishValueParser::new(),
        action = ArgAction::SetTrue
    )]
    pub shared_producer: bool,
    /// Partitions of the topic that is made for the comparison; else as many as the job's topic has (16 without one),
    /// but one for each worker that shares a producer
    #[arg(
        long,
        env = "SHARDLIFT_COMPARE_PARTITIONS",
        value_parser = clap::value_parser!(u32).range(1..=1000),
        value_name = "N"
    )]
    pub partitions: Option<u32>,
    /// On real brokers: write to this topic, which must exist and keeps the records, instead of one that is made and
    /// deleted
    #[arg(long, env = "SHARDLIFT_COMPARE_INTO_TOPIC", value_name = "TOPIC")]
    pub into_topic: Option<String>,
    /// Write one self-contained HTML page with pictures, too
    #[arg(long, env = "SHARDLIFT_COMPARE_HTML", value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write the figures as a table, too
    #[arg(long, env = "SHARDLIFT_COMPARE_CSV", value_name = "FILE")]
    pub csv: Option<PathBuf>,
}

/// A variant, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This one.
    One(Variant),
    /// All.
    All,
}

fn variants(name: &str) -> Result<Choice, String> {
    let name = name.trim();
    if name == "all" {
        return Ok(Choice::All);
    }
    let known = Variant::ALL.into_iter().find(|variant| variant.name() == name);
    known.map(Choice::One).ok_or_else(|| format!("one of {} or all", Variant::ALL.map(Variant::name).join(", ")))
}

fn flush(name: &str) -> Result<FlushPolicy, String> {
    match name.trim() {
        "record" => Ok(FlushPolicy::Record),
        "chunk" => Ok(FlushPolicy::Chunk),
        _ => Err("one of record, chunk".to_owned()),
    }
}

/// A number of seconds that a run may last.
pub(super) fn seconds(text: &str) -> Result<f64, String> {
    let number: f64 = text.trim().parse().map_err(|_| "not a number of seconds".to_owned())?;
    if (0.1..=3_600.0).contains(&number) { Ok(number) } else { Err("from 0.1 to 3600".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_has_its_name() {
        for variant in Variant::ALL {
            assert_eq!(variants(variant.name()), Ok(Choice::One(variant)));
        }
        assert_eq!(variants("all"), Ok(Choice::All));
        assert!(variants("green").is_err_and(|error| error.contains("green-blocking")));
    }

    #[test]
    fn seconds_are_bounded() {
        assert_eq!(seconds("0.5"), Ok(0.5));
        assert!(["0", "-1", "nan", "inf", "3601", "5s"].iter().all(|text| seconds(text).is_err()));
    }
}
