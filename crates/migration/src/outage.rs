//! Brokers that don't answer: what one worker sees of them, what that comes to for the whole job, and how it is told.
//! Values and sentences only.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units::{show_config_duration, show_things, show_time_after, show_time_of_day, show_whole_seconds};

/// How many partitions and leaders are named; what there are more of is counted.
const MOST_NAMED: usize = 8;

/// What a worker sees of brokers that don't answer, in a heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoAnswer {
    /// Since when: for how long no delivery report came while records are in flight, or the topic is asked for.
    pub silent: Duration,
    /// No broker answers at all, as the client says; else those that lead these partitions.
    pub all: bool,
    /// Partitions with records in flight, the first few.
    pub partitions: Vec<u32>,
    /// The brokers that led them when the attempt began.
    pub leaders: Vec<i32>,
    /// Why, as the client says: "kafka-1:9092: connection refused".
    pub cause: Option<String>,
}

impl NoAnswer {
    /// How many partitions a worker names at most.
    pub const MOST_PARTITIONS: usize = 1_000;
}

/// Who does not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unanswered {
    /// No broker does.
    All,
    /// The leaders of some partitions don't; others may.
    Leaders {
        /// The brokers, as far as they are known.
        leaders: Vec<i32>,
        /// The partitions that wait for them.
        partitions: Vec<u32>,
        /// Of how many.
        of: u32,
    },
}

/// An outage of the job's brokers that lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outage {
    /// Since when, milliseconds since 1970.
    pub since_unix_ms: u64,
    /// When the job gives up, if nothing changes before, milliseconds since 1970.
    pub gives_up_unix_ms: u64,
    /// `kafka.give_up_after`.
    pub give_up_after: Duration,
    /// Who does not answer.
    pub who: Unanswered,
    /// Why, as the client says.
    pub cause: Option<String>,
}

impl std::fmt::Display for Outage {
    /// "no broker answers since 11:02:14Z (kafka-1:9092: connection refused); workers wait, giving up at 11:17:14Z
    /// (kafka.give_up_after = 15min)".
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Outage { since_unix_ms, gives_up_unix_ms, give_up_after, who, cause } = self;
        write!(f, "{who} since {}", show_time_of_day(*since_unix_ms))?;
        if let Some(cause) = cause {
            write!(f, " ({cause})")?;
        }
        let until = show_time_after(*gives_up_unix_ms, *since_unix_ms);
        let limit = show_config_duration(*give_up_after);
        write!(f, "; workers wait, giving up at {until} (kafka.give_up_after = {limit})")
    }
}

impl Outage {
    /// The same for a line of a display: "no broker answers since 11:02:14Z, giving up at 11:17:14Z"; a job that is
    /// told to stop waits for another time.
    pub fn headline(&self, stopping: bool) -> String {
        let since = show_time_of_day(self.since_unix_ms);
        let until = show_time_after(self.gives_up_unix_ms, self.since_unix_ms);
        let gives_up = if stopping { String::new() } else { format!(", giving up at {until}") };
        format!("{} since {since}{gives_up}", self.who)
    }
}

impl std::fmt::Display for Unanswered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Unanswered::Leaders { leaders, partitions, of } = self else { return f.write_str("no broker answers") };
        let named = named(partitions.iter());
        match partitions.len() {
            0 => f.write_str("some partitions")?,
            1 => write!(f, "partition {named} of {of}")?,
            _ => write!(f, "partitions {named} of {of}")?,
        }
        match &leaders[..] {
            [] => f.write_str(": no report of a record"),
            [leader] => write!(f, ": leader {leader} does not answer"),
            several => write!(f, ": leaders {} do not answer", self::named(several.iter())),
        }
    }
}

/// "1, 2, 3", of many the first ones and how many more there are.
fn named<T: std::fmt::Display>(numbers: impl ExactSizeIterator<Item = T>) -> String {
    let more = numbers.len().saturating_sub(MOST_NAMED);
    let mut named = numbers.take(MOST_NAMED).map(|number| number.to_string()).collect::<Vec<_>>().join(", ");
    if more > 0 {
        named += &format!(" and {more} more");
    }
    named
}

/// That it is over: "brokers answer again after 31 s; sending goes on". `lines`: how many of the client's were not
/// shown.
pub fn over(who: &Unanswered, lasted: Duration, lines: u64) -> String {
    let who = match who {
        Unanswered::All => "brokers answer".to_owned(),
        Unanswered::Leaders { leaders, .. } => match &leaders[..] {
            [] => "reports of records come".to_owned(),
            [leader] => format!("leader {leader} answers"),
            several => format!("leaders {} answer", named(several.iter())),
        },
    };
    let told = format!("{who} again after {}; sending goes on", show_whole_seconds(lasted));
    if lines == 0 { told } else { format!("{told}; {}", not_shown(lines)) }
}

/// "12 lines of the Kafka client are not shown (-v shows them)".
pub fn not_shown(lines: u64) -> String {
    let (verb, them) = if lines == 1 { ("is", "it") } else { ("are", "them") };
    format!("{} of the Kafka client {verb} not shown (-v shows {them})", show_things(lines, "line"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outage(who: Unanswered, cause: Option<&str>) -> Outage {
        Outage {
            since_unix_ms: 1_795_422_667_999,
            gives_up_unix_ms: 1_795_422_667_999 + 900_000,
            give_up_after: Duration::from_secs(900),
            who,
            cause: cause.map(str::to_owned),
        }
    }

    fn leaders(leaders: &[i32], partitions: &[u32]) -> Unanswered {
        Unanswered::Leaders { leaders: leaders.to_vec(), partitions: partitions.to_vec(), of: 64 }
    }

    #[test]
    fn an_outage_is_one_sentence() {
        assert_eq!(
            outage(Unanswered::All, Some("kafka-1:9092: connection refused")).to_string(),
            "no broker answers since 08:31:07Z (kafka-1:9092: connection refused); workers wait, giving up at 08:46:07Z \
             (kafka.give_up_after = 15min)"
        );
        assert_eq!(
            outage(leaders(&[2], &[3, 7]), None).to_string(),
            "partitions 3, 7 of 64: leader 2 does not answer since 08:31:07Z; workers wait, giving up at 08:46:07Z \
             (kafka.give_up_after = 15min)"
        );
        let many: Vec<u32> = (0..12).collect();
        assert_eq!(
            leaders(&[1, 3], &many).to_string(),
            "partitions 0, 1, 2, 3, 4, 5, 6, 7 and 4 more of 64: leaders 1, 3 do not answer"
        );
        assert_eq!(leaders(&[], &[5]).to_string(), "partition 5 of 64: no report of a record");
        assert_eq!(outage(Unanswered::All, None).headline(false), "no broker answers since 08:31:07Z, giving up at 08:46:07Z");
        let day = 86_400_000;
        let long = Outage { gives_up_unix_ms: 1_795_422_667_999 + day, ..outage(Unanswered::All, None) };
        let tomorrow = "giving up at 2026-11-24 08:31:07 UTC";
        assert!(long.to_string().contains(tomorrow), "{long}");
        assert_eq!(long.headline(false), format!("no broker answers since 08:31:07Z, {tomorrow}"));
    }

    #[test]
    fn its_end_says_how_long_it_was_and_what_was_not_shown() {
        let after = Duration::from_millis(31_400);
        assert_eq!(over(&Unanswered::All, after, 0), "brokers answer again after 31 s; sending goes on");
        assert_eq!(
            over(&leaders(&[2], &[3]), after, 12),
            "leader 2 answers again after 31 s; sending goes on; 12 lines of the Kafka client are not shown (-v shows them)"
        );
        assert_eq!(not_shown(1), "1 line of the Kafka client is not shown (-v shows it)");
    }
}
