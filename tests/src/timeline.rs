//! When records came into a topic, by the broker's own clock: the broker writes the time of arrival into each record of
//! a topic with `message.timestamp.type=LogAppendTime`, and kcat reads it back. So rates are counted without asking
//! shardlift.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The config of a topic whose broker notes the time of arrival.
pub const ARRIVAL: &str = "message.timestamp.type=LogAppendTime";

/// Milliseconds since 1970, by the clock that broker and tests share.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    i64::try_from(since.as_millis()).expect("it is not so late")
}

/// The times of arrival of all records of a topic, in order.
pub struct Timeline(Vec<i64>);

impl Timeline {
    /// Reads them with kcat.
    pub fn read(bootstrap: &str, topic: &str) -> Timeline {
        let mut kcat = Command::new("kcat")
            .args(["-C", "-q", "-e", "-b", bootstrap, "-t", topic, "-o", "beginning", "-f", "%T\\n"])
            .args(["-X", "isolation.level=read_uncommitted"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("kcat can be started");
        let out = BufReader::with_capacity(1 << 20, kcat.stdout.take().expect("stdout is a pipe"));
        let time = |line: std::io::Result<String>| line.expect("kcat prints text").parse().expect("kcat prints a number");
        let mut times: Vec<i64> = out.lines().map(time).collect();
        assert!(kcat.wait().expect("kcat can be waited for").success(), "kcat could not read {topic}");
        times.sort_unstable();
        Timeline(times)
    }

    /// How many records arrived from one moment until just before another.
    pub fn count(&self, from_ms: i64, to_ms: i64) -> u64 {
        let before = |moment: i64| self.0.partition_point(|time| *time < moment);
        (before(to_ms) - before(from_ms)) as u64
    }

    /// Records a second from a moment on.
    pub fn rate(&self, from_ms: i64, time: Duration) -> f64 {
        self.count(from_ms, from_ms + millis(time)) as f64 / time.as_secs_f64()
    }

    /// The rates of windows one after the other, from a moment on; only whole windows that end before another moment.
    pub fn rates(&self, from_ms: i64, to_ms: i64, window: Duration) -> Vec<f64> {
        let windows = (to_ms - from_ms) / millis(window);
        (0..windows).map(|number| self.rate(from_ms + number * millis(window), window)).collect()
    }

    /// The first arrival at or after a moment.
    pub fn first_from(&self, moment_ms: i64) -> Option<i64> {
        self.0.get(self.0.partition_point(|time| *time < moment_ms)).copied()
    }

    /// The last arrival before a moment.
    pub fn last_before(&self, moment_ms: i64) -> Option<i64> {
        self.0[..self.0.partition_point(|time| *time < moment_ms)].last().copied()
    }
}

/// A duration in whole milliseconds.
pub fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).expect("tests are short")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_counted_by_their_bounds() {
        let timeline = Timeline(vec![0, 0, 500, 1000, 1999, 2000, 3500]);
        assert_eq!((timeline.count(0, 1000), timeline.count(1000, 2000), timeline.count(2001, 3500)), (3, 2, 0));
        assert_eq!(timeline.rates(0, 3500, Duration::from_secs(1)), [3.0, 2.0, 1.0]);
        assert_eq!((timeline.first_from(2001), timeline.last_before(2000)), (Some(3500), Some(1999)));
    }
}
