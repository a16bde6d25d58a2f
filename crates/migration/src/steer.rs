//! What a user asks of a running job, and how the job stands when it has taken it. Values only: the socket and its
//! codec are the supervisor crate's.

use serde::{Deserialize, Serialize};

use crate::units::{show_count, show_things, show_time_of_day};
use crate::{Counts, Rate};

/// One wish.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Steer {
    /// Another number of workers.
    Scale(Scale),
    /// Commit, then take nothing until [`Steer::Continue`].
    Pause,
    /// End a pause.
    Continue,
    /// Another limit for all workers together; `None` leaves that half as it is.
    Throttle {
        /// Records a second; infinity is none.
        records: Option<f64>,
        /// Bytes (key and value) a second; infinity is none.
        bytes: Option<f64>,
    },
}

/// How many workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scale {
    /// This number.
    To(u32),
    /// More by this number.
    Up(u32),
    /// Fewer by this number; one is always left.
    Down(u32),
    /// As many as make it fastest: it finds the number, beginning with as many as its machine has processors for it.
    Auto,
}

/// How a job stands: the answer to each wish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Workers asked for.
    pub asked: u32,
    /// Workers that run and stay.
    pub running: u32,
    /// Workers that run and are to end at their next commit, because fewer are asked for.
    pub leaving: u32,
    /// Shards that wait for a worker.
    pub waiting: u64,
    /// Whether the job is paused.
    pub paused: bool,
    /// The limit for all workers together.
    pub rate: Rate,
    /// Whether the job is stopping: then nothing that is asked has an effect any more.
    pub stopping: bool,
    /// Committed, over all runs.
    pub counts: Counts,
    /// Why fewer run than are asked for, if that is not about to change.
    pub fewer: Option<Fewer>,
}

/// Why fewer workers run than are asked for, although none of them waits for its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fewer {
    /// In a pause none is started.
    Paused,
    /// Each has one partition, this number together, and order by key gives a partition to one worker.
    Partitions(u32),
    /// What is left can't be cut, or not any further.
    Whole,
    /// The rate limit holds back those that run.
    Limited,
    /// What is left takes a few seconds: a worker more would not be connected sooner.
    NearEnd,
    /// A shard is divided for them as soon as its worker has been measured, or has drained.
    Soon,
    /// With exactly-once no shard is divided.
    Undivided,
}

impl std::fmt::Display for Fewer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fewer::Paused => f.write_str("none is started in a pause"),
            Fewer::Partitions(1) => f.write_str("order by key gives the only partition left one worker"),
            Fewer::Partitions(left) => write!(f, "order by key gives each of the {left} partitions left one worker"),
            Fewer::Whole => f.write_str("what is left can't be cut for more of them"),
            Fewer::Limited => f.write_str("the rate limit holds them back, more would not be faster"),
            Fewer::NearEnd => f.write_str("what is left takes a few seconds only"),
            Fewer::Soon => f.write_str("a shard is being divided for the others"),
            Fewer::Undivided => f.write_str("with exactly-once no shard is divided for the others"),
        }
    }
}

impl std::fmt::Display for Standing {
    /// "8 workers asked, 2 running, 8 shards waiting".
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Standing { asked, running, leaving, waiting, paused, rate, stopping, counts: _, fewer } = self;
        write!(f, "{} asked, {running} running, ", show_things(u64::from(*asked), "worker"))?;
        if *leaving > 0 {
            write!(f, "{leaving} leaving, ")?;
        }
        write!(f, "{} waiting", show_things(*waiting, "shard"))?;
        if *rate != Rate::UNLIMITED {
            write!(f, ", at most {rate}")?;
        }
        if *paused {
            f.write_str(", paused")?;
        }
        if *stopping {
            f.write_str(", stopping")?;
        }
        if let Some(fewer) = fewer {
            write!(f, "; no more run: {fewer}")?;
        }
        Ok(())
    }
}

/// A turn of the knobs that the job took, for its history: what changed, when, and what the job did before and after,
/// so that a user sees whether it paid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SteerEvent {
    /// Milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// For people: "scaled 2 -> 8".
    pub text: String,
    /// Just before.
    pub before: Pace,
    /// Once the new pace had settled; `None` before that, or when the next turn or the end came first.
    pub after: Option<Pace>,
}

impl SteerEvent {
    /// "scaled 2 -> 8 at 08:31:07Z".
    pub fn headline(&self) -> String {
        format!("{} at {}", self.text, show_time_of_day(self.unix_ms))
    }
}

impl std::fmt::Display for SteerEvent {
    /// "scaled 2 -> 8 at 08:31:07Z: 1,210 records/s (77 % flush) before, 9,870 records/s (75 % flush) after".
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} before", self.headline(), self.before)?;
        match &self.after {
            Some(after) => write!(f, ", {after} after"),
            None => Ok(()),
        }
    }
}

impl std::fmt::Display for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rate = show_count(self.records_per_second.round() as u64);
        write!(f, "{rate} records/s ({:.0} % flush)", self.flush_share * 100.0)
    }
}

/// How fast a job went over a few seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    /// Records acknowledged a second.
    pub records_per_second: f64,
    /// The part of the workers' time that was flush, 0 to 1.
    pub flush_share: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_says_what_it_brought() {
        let pace = |records_per_second, flush_share| Pace { records_per_second, flush_share };
        let (unix_ms, text) = (1_795_422_667_999, "scaled 2 -> 8".to_owned());
        let turn = SteerEvent { unix_ms, text, before: pace(1210.4, 0.77), after: None };
        assert_eq!(turn.to_string(), "scaled 2 -> 8 at 08:31:07Z: 1,210 records/s (77 % flush) before");
        let turn = SteerEvent { after: Some(pace(4800.0, 0.753)), ..turn };
        assert_eq!(
            turn.to_string(),
            "scaled 2 -> 8 at 08:31:07Z: 1,210 records/s (77 % flush) before, 4,800 records/s (75 % flush) after"
        );
    }

    #[test]
    fn a_standing_is_one_line() {
        let standing = Standing { asked: 8, running: 2, waiting: 8, ..Standing::default() };
        assert_eq!(standing.to_string(), "8 workers asked, 2 running, 8 shards waiting");
        let fewer = Standing { asked: 4, running: 3, waiting: 0, fewer: Some(Fewer::Partitions(3)), ..standing };
        assert_eq!(
            fewer.to_string(),
            "4 workers asked, 3 running, 0 shards waiting; no more run: order by key gives each of the 3 partitions left one worker"
        );
        let rate = Rate { records: 50_000.0, bytes: 20.0 * 1048576.0 };
        let standing = Standing { asked: 1, running: 1, leaving: 7, waiting: 1, paused: true, rate, ..standing };
        assert_eq!(
            standing.to_string(),
            "1 worker asked, 1 running, 7 leaving, 1 shard waiting, at most 50,000 records/s and 20.0 MiB/s, paused"
        );
    }
}
