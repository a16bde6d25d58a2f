//! Counts what a topic has of a source, with readers that know nothing of shardlift: kcat, Kafka's own
//! VerifiableConsumer, and a reader of committed records that watches while the job runs.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;

use super::Delivery;
use super::source::Source;
use crate::kafka::Kafka;
use crate::order::{self, Findings, Judge};
use crate::topic::{self, FORMAT, Isolation, next_record};
use crate::{root, waiting};

/// How long a reader may need for what is there.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a reader waits for a record more than there shall be.
const QUIET: Duration = Duration::from_millis(500);

/// How often each record of a source was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copies {
    counts: Vec<u16>,
    unexpected: u64,
    seen: u64,
}

impl Copies {
    /// Nothing seen yet.
    pub fn new(source: &Source) -> Self {
        Copies { counts: vec![0; source.len() as usize], unexpected: 0, seen: 0 }
    }

    /// Sees a value; its place in the source.
    pub fn see(&mut self, source: &Source, value: &[u8]) -> Option<u32> {
        let place = source.place(value);
        self.seen += 1;
        match place {
            Some(place) => self.counts[place as usize] += 1,
            None => self.unexpected += 1,
        }
        place
    }

    /// How many records were seen.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Records that were not seen.
    pub fn lost(&self) -> u64 {
        self.counts.iter().filter(|count| **count == 0).count() as u64
    }

    /// Surplus copies.
    pub fn twice(&self) -> u64 {
        self.counts.iter().map(|count| u64::from(count.saturating_sub(1))).sum()
    }

    /// Records that the source does not have.
    pub fn unexpected(&self) -> u64 {
        self.unexpected
    }

    /// Where the source was seen not once: places and how often, the first of them.
    pub fn examples(&self) -> Vec<(usize, u16)> {
        let wrong = self.counts.iter().copied().enumerate().filter(|(_, count)| *count != 1);
        wrong.take(20).collect()
    }
}

/// A record's arrival, as the broker noted it.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Milliseconds since 1970.
    pub time_ms: i64,
    /// Its place in the source.
    pub place: u32,
}

/// What a reader of a job with this promise reads.
pub fn isolation(delivery: Delivery) -> Isolation {
    match delivery {
        Delivery::AtLeastOnce => Isolation::Uncommitted,
        Delivery::ExactlyOnce => Isolation::Committed,
    }
}

/// What kcat saw.
pub struct Seen {
    /// How often each record.
    pub copies: Copies,
    /// When they came, in this order.
    pub arrivals: Vec<Arrival>,
    /// The judgement on order, where records have keys.
    pub order: Option<Findings>,
}

/// Reads a topic with kcat to its end. Of records with keys the order is judged, too.
pub fn read(kafka: &Kafka, topic: &str, isolation: Isolation, source: &Source, keyed_partitions: Option<u32>) -> Seen {
    let mut copies = Copies::new(source);
    let mut arrivals = Vec::new();
    let mut judge = keyed_partitions.map(|partitions| Judge::new(source.expected(), partitions, order::by_murmur2));
    topic::read(kafka.bootstrap(), topic, isolation, |record| {
        let place = copies.see(source, record.value.as_deref().unwrap_or_default());
        arrivals.extend(place.map(|place| Arrival { time_ms: record.timestamp, place }));
        if let Some(judge) = &mut judge {
            judge.see(&record);
        }
    });
    arrivals.sort_unstable_by_key(|arrival| arrival.time_ms);
    Seen { copies, arrivals, order: judge.map(Judge::findings) }
}

/// Reads a topic with Kafka's own consumer for system tests, until it has seen what kcat saw and no more comes.
pub fn read_with_verifiable_consumer(kafka: &Kafka, topic: &str, isolation: Isolation, source: &Source, wanted: u64) -> Copies {
    let config = crate::temporary::TempDir::new("verifiable-consumer");
    std::fs::write(config.join("consumer.properties"), format!("{}\n", isolation.setting())).expect("it can be written");
    let mut words = vec!["tool", "org.apache.kafka.tools.VerifiableConsumer", "--bootstrap-server", kafka.bootstrap()];
    let path = config.join("consumer.properties").display().to_string();
    let group = format!("oracle-of-{topic}");
    words.extend([
        "--topic",
        topic,
        "--group-id",
        &group,
        "--reset-policy",
        "earliest",
        "--verbose",
        "--command-config",
        &path,
    ]);
    let mut command = Command::new(root().join("scripts/kafka"));
    command.arg("--dir").arg(kafka.folder()).args(words);
    let follower = Follower::start(command, |line| {
        let event: Value = serde_json::from_slice(line).unwrap_or_default();
        (event["name"] == "record_data").then(|| event["value"].as_str().unwrap_or_default().as_bytes().to_vec())
    });
    follower.copies(source, wanted)
}

/// A reader that follows a topic while a job writes to it.
pub struct Follower {
    child: Child,
    values: Arc<Mutex<Vec<Vec<u8>>>>,
    reading: Option<JoinHandle<()>>,
}

impl Follower {
    /// Begins to read committed records with kcat; brokers that are away do not end it.
    pub fn of_committed(kafka: &Kafka, topic: &str) -> Self {
        let mut kcat = Command::new("stdbuf");
        kcat.args(["-oL", "kcat", "-C", "-q", "-E", "-b", kafka.bootstrap(), "-t", topic, "-o", "beginning"]);
        kcat.args(["-X", Isolation::Committed.setting(), "-f", "%s\\n"]);
        Follower::start(kcat, |line| Some(line.to_vec()))
    }

    /// `value` makes a value of a line, unless the line is about something else.
    fn start(mut command: Command, value: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.process_group(0); // a script's Java ends with it
        let mut child = command.spawn().unwrap_or_else(|error| panic!("can't start {command:?}: {error}"));
        let mut out = BufReader::with_capacity(1 << 20, child.stdout.take().expect("stdout is a pipe"));
        let values = Arc::new(Mutex::new(Vec::new()));
        let reading = spawn({
            let values = Arc::clone(&values);
            move || {
                let mut line = Vec::new();
                while out.read_until(b'\n', &mut line).unwrap_or(0) > 0 {
                    let read = value(line.strip_suffix(b"\n").unwrap_or(&line));
                    values.lock().unwrap_or_else(PoisonError::into_inner).extend(read);
                    line.clear();
                }
            }
        });
        Follower { child, values, reading: Some(reading) }
    }

    /// What it has seen, when that is as much as wanted and no more comes.
    pub fn copies(self, source: &Source, wanted: u64) -> Copies {
        let seen = || self.values.lock().unwrap_or_else(PoisonError::into_inner).len() as u64;
        let begin = Instant::now();
        while seen() < wanted && begin.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
        let (mut last, mut since) = (seen(), Instant::now());
        while since.elapsed() < QUIET {
            std::thread::sleep(Duration::from_millis(20));
            if seen() != last {
                (last, since) = (seen(), Instant::now());
            }
        }
        let mut copies = Copies::new(source);
        for value in self.values.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            copies.see(source, value);
        }
        copies
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let group = i32::try_from(self.child.id()).expect("process ids are below 2^22");
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        let _ = self.child.wait();
        if let Some(reading) = self.reading.take() {
            let _ = reading.join();
        }
    }
}

/// A progress record of a shard as Kafka has it.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Milliseconds since 1970.
    pub time_ms: i64,
    /// The shard's number.
    pub shard: u64,
    /// What it says.
    pub value: Value,
}

/// The committed progress records of a job, from a moment on.
pub fn progress(kafka: &Kafka, topic: &str, job: &str, from_ms: i64) -> Vec<Progress> {
    let mut kcat = Command::new("kcat");
    kcat.args(["-C", "-q", "-e", "-b", kafka.bootstrap(), "-t", topic, "-o", &format!("s@{from_ms}")]);
    kcat.args(["-X", Isolation::Committed.setting(), "-f", FORMAT]);
    let child = kcat.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kcat can be started");
    let output = waiting::collect(child, "kcat", PATIENCE);
    assert!(output.status.success(), "kcat could not read {topic}: {}", String::from_utf8_lossy(&output.stderr));
    let mut out = &output.stdout[..];
    let mut found = Vec::new();
    while let Some(record) = next_record(&mut out) {
        let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
        let shard = key.strip_prefix(&format!("{job}/shard/")).and_then(|shard| shard.parse().ok());
        let value = record.value.and_then(|value| serde_json::from_slice(&value).ok());
        if let (Some(shard), Some(value)) = (shard, value) {
            found.push(Progress { time_ms: record.timestamp, shard, value });
        }
    }
    found.sort_by_key(|record| record.time_ms);
    found
}

#[expect(clippy::disallowed_methods, reason = "this is the tests' process; the supervisor is another one")]
fn spawn(work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::spawn(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_twice_and_unknown_is_counted() {
        let source = Source::new(1, 10);
        let text = std::fs::read(source.path()).expect("it was written");
        let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        let mut copies = Copies::new(&source);
        lines[..8].iter().for_each(|line| assert!(copies.see(&source, line).is_some()));
        copies.see(&source, lines[3]);
        copies.see(&source, lines[3]);
        assert_eq!(copies.see(&source, b"another"), None);
        assert_eq!((copies.lost(), copies.twice(), copies.unexpected(), copies.seen()), (2, 2, 1, 11));
        assert_eq!(copies.examples(), [(3, 3), (8, 0), (9, 0)]);
    }
}
