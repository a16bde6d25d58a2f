//! The flags of `compare web`.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};
use compare::web::figures::WebFlush;
use migration::units::parse_duration;

use super::compare::seconds;
use super::{ConfigArgs, parse_rtt};

/// Who asks the server, how long, and how it waits.
#[derive(Clone, Debug, Args)]
pub struct WebArgs {
    /// Which job's records.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// How a produce request waits for its record: blocking, cooperative, wakeup
    #[arg(
        long,
        env = "SHARDLIFT_COMPARE_WEB_FLUSH",
        value_delimiter = ',',
        default_value = "blocking,cooperative,wakeup",
        value_parser = flush,
        value_name = "FLUSH,…"
    )]
    pub flush: Vec<WebFlush>,
    /// Connections that ask for the produce route, one request after the other
    #[arg(
        long,
        env = "SHARDLIFT_COMPARE_WEB_CLIENTS",
        default_value = "8",
        value_parser = clap::value_parser!(u32).range(1..=256),
        value_name = "N"
    )]
    pub clients: u32,
    /// Connections that ask for the plain route
    #[arg(
        long,
        env = "SHARDLIFT_COMPARE_WEB_OTHERS",
        default_value = "2",
        value_parser = clap::value_parser!(u32).range(1..=256),
        value_name = "N"
    )]
    pub others: u32,
    /// How long each of those rests between an answer and its next request
    #[arg(
        long,
        env = "SHARDLIFT_COMPARE_WEB_PAUSE",
        default_value = "1ms",
        value_parser = parse_duration,
        value_name = "DURATION"
    )]
    pub pause: Duration,
    /// How long each run asks
    #[arg(long, env = "SHARDLIFT_COMPARE_WEB_SECONDS", default_value = "5", value_parser = seconds, value_name = "SECONDS")]
    pub seconds: f64,
    /// How often each flush runs
    #[arg(
        long,
        env = "SHARDLIFT_COMPARE_WEB_ROUNDS",
        default_value = "3",
        value_parser = clap::value_parser!(u32).range(1..=100),
        value_name = "N"
    )]
    pub rounds: u32,
    /// Round-trip time of the embedded broker; real ones have their own
    #[arg(long, env = "SHARDLIFT_COMPARE_WEB_RTT", default_value = "10ms", value_parser = parse_rtt, value_name = "DURATION")]
    pub rtt: Duration,
    /// One producer for all requests instead of one for each connection
    #[arg(
        long,
        env = "SHARDLIFT_COMPARE_WEB_SHARED_PRODUCER",
        value_parser = BoolishValueParser::new(),
        action = ArgAction::SetTrue
    )]
    pub shared_producer: bool,
    /// On real brokers: write to this topic, which must exist and keeps the records, instead of one that is made and
    /// deleted
    #[arg(long, env = "SHARDLIFT_COMPARE_INTO_TOPIC", value_name = "TOPIC")]
    pub into_topic: Option<String>,
    /// Write one self-contained HTML page with pictures, too
    #[arg(long, env = "SHARDLIFT_COMPARE_WEB_HTML", value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write the figures as a table, too
    #[arg(long, env = "SHARDLIFT_COMPARE_WEB_CSV", value_name = "FILE")]
    pub csv: Option<PathBuf>,
}

fn flush(name: &str) -> Result<WebFlush, String> {
    let known = WebFlush::ALL.into_iter().find(|flush| flush.name() == name.trim());
    known.ok_or_else(|| format!("one of {}", WebFlush::ALL.map(WebFlush::name).join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flush_has_its_name() {
        for known in WebFlush::ALL {
            assert_eq!(flush(known.name()), Ok(known));
        }
        assert!(flush("green").is_err_and(|error| error.contains("cooperative")));
    }
}
