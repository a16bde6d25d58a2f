//! What is in a topic before a job's first record: a sample of each partition's newest records.
//!
//! Responsible for: reading a few records from each partition's end, whatever they are (open transactions and aborted
//! records too), how far the ends move meanwhile, and never taking more than a few seconds. Not responsible for: what
//! follows for a job (`migration::check`), or the process: it creates a client, hence threads.

mod form;
mod statistics;

use std::rc::Rc;
use std::time::{Duration, Instant};

use migration::Job;
use migration::check::facts::ExistingRecords;
use rdkafka::types::RDKafkaRespErr as E;

use crate::classify::{Verdict, verdict};
use crate::ffi::{Client, ClientKind, Code, FetchQueue, Fetched, Notice, Topic};
use crate::notice::Complaints;
use crate::options::{Role, client_properties, configure};
use crate::preflight::{PartitionEnds, Preflight};
use crate::problem::{PreflightProblem, PreflightProblemKind};
use form::FormTally;
use statistics::longest_throttle;

/// The most records of a sample.
const MOST_RECORDS: u64 = 2_000;
/// The most bytes of a sample.
const MOST_BYTES: u64 = 16 << 20;
/// How long it may take to fetch them.
const LONGEST: Duration = Duration::from_millis(2_500);
/// How long one call waits for records.
const WAIT: Duration = Duration::from_millis(50);
/// The most partitions whose ends are watched: each is asked on its own.
const MOST_WATCHED: usize = 64;
/// How long one of them may take to tell its end.
const ANSWER: Duration = Duration::from_millis(500);

/// Samples the newest records of a job's topic, of which preflight has just found `found`, and watches its ends for
/// `watch`. A topic without records is answered at once.
pub fn existing_records(job: &Job, found: &Preflight, watch: Duration) -> Result<ExistingRecords, PreflightProblem> {
    let records = found.partitions.iter().map(|ends| ends.high.saturating_sub(ends.low).max(0).unsigned_abs()).sum();
    if records == 0 {
        return Ok(ExistingRecords::default());
    }
    let topic = &job.kafka.topic;
    let bad = |error: String| {
        let message = format!("the records of topic {topic:?} can't be sampled: {error}");
        PreflightProblem::new(PreflightProblemKind::Other, message)
    };
    let client = configure(&properties(job)).map_err(bad)?.into_client_with_statistics(ClientKind::Consumer).map_err(bad)?;
    let mut sampling = Sampling {
        topic: Topic::new(&client, topic).map_err(|code| bad(code.to_string()))?,
        client,
        tally: FormTally::new(found.partitions.len() as u32),
        throttled: Duration::ZERO,
        complaints: Complaints::default(),
    };
    let watched = sampling.watched(topic, &found.partitions);
    let began = Instant::now();
    sampling.sample(&found.partitions, began + LONGEST).map_err(|(partition, code, text)| {
        let kind = match verdict(code) {
            Verdict::AllRejected => PreflightProblemKind::NotAuthorised,
            _ => PreflightProblemKind::Other,
        };
        let message = format!("the records of topic {topic:?} can't be sampled: partition {partition}: {text} ({code})");
        PreflightProblem::new(kind, message)
    })?;
    while began.elapsed() < watch {
        std::thread::sleep((watch.saturating_sub(began.elapsed())).min(WAIT));
        sampling.hear();
    }
    let grew = sampling.grown(topic, &watched).map(|grown| (grown, began.elapsed()));
    sampling.hear();
    let throttled = (!sampling.throttled.is_zero()).then_some(sampling.throttled);
    Ok(ExistingRecords { records, grew, throttled, ..sampling.tally.told() })
}

/// Properties of a client that reads whatever is there, and little of it.
fn properties(job: &Job) -> Vec<(String, String)> {
    let mut properties = client_properties(job, Role::Reader);
    for (name, value) in [
        // Of transactions, too: what is asked is how records look.
        ("isolation.level", "read_uncommitted"),
        ("statistics.interval.ms", "200"),
        ("fetch.wait.max.ms", "20"),
        ("queued.max.messages.kbytes", "1024"),
        ("fetch.message.max.bytes", "262144"),
    ] {
        properties.push((name.to_owned(), value.to_owned()));
    }
    properties
}

struct Sampling {
    // Before the client, which the topic belongs to.
    topic: Topic,
    client: Rc<Client>,
    tally: FormTally,
    throttled: Duration,
    complaints: Complaints,
}

impl Sampling {
    /// Reads the newest records of each partition until all are at their end, or time or room is over.
    fn sample(&mut self, partitions: &[PartitionEnds], deadline: Instant) -> Result<(), (u32, Code, String)> {
        let mut starts = starts(partitions);
        // Freed after the partitions have been stopped.
        let mut queue = FetchQueue::new(&self.client, 500, true);
        for &(partition, start, _) in &starts {
            self.topic.start(partition, start, &queue).map_err(|code| (partition, code, code.to_string()))?;
        }
        let all: Vec<u32> = starts.iter().map(|&(partition, ..)| partition).collect();
        let (mut bytes, mut failed) = (0, None);
        while !starts.is_empty() && failed.is_none() && bytes < MOST_BYTES && Instant::now() < deadline {
            let tally = &mut self.tally;
            queue.fetch(WAIT, &mut |fetched| {
                let Some(place) = starts.iter().position(|&(partition, ..)| partition == fetched.partition) else { return };
                if fetched.code == Code::NONE {
                    // A batch may begin before the start.
                    if fetched.offset >= starts[place].1 && bytes < MOST_BYTES && tally.sampled() < MOST_RECORDS {
                        bytes += (fetched.value.len() + fetched.key.map_or(0, <[u8]>::len)) as u64;
                        tally.take(&fetched);
                    }
                    if fetched.offset + 1 >= starts[place].2 {
                        starts.swap_remove(place);
                    }
                } else if is_over(&fetched) {
                    starts.swap_remove(place);
                } else if verdict(fetched.code) == Verdict::AllRejected {
                    let text = String::from_utf8_lossy(fetched.value).into_owned();
                    failed = Some((fetched.partition, fetched.code, text));
                }
            });
            self.hear();
        }
        all.into_iter().for_each(|partition| self.topic.stop(partition));
        failed.map_or(Ok(()), Err)
    }

    /// Where some partitions end now.
    fn watched(&self, topic: &str, partitions: &[PartitionEnds]) -> Vec<(u32, i64)> {
        let step = partitions.len().div_ceil(MOST_WATCHED).max(1);
        self.ends(topic, (0..partitions.len() as u32).step_by(step))
    }

    /// Asks until one is not answered: a leader that is away is waited for once.
    fn ends(&self, topic: &str, partitions: impl Iterator<Item = u32>) -> Vec<(u32, i64)> {
        let end = |partition| Some((partition, self.client.watermarks(topic, partition, ANSWER).ok()?.1));
        partitions.map_while(end).collect()
    }

    /// By how many records they have moved; `None`: that was not told.
    fn grown(&self, topic: &str, before: &[(u32, i64)]) -> Option<u64> {
        let now = self.ends(topic, before.iter().map(|&(partition, _)| partition));
        let moved = |(now, before): (&(u32, i64), &(u32, i64))| now.1.saturating_sub(before.1).max(0).unsigned_abs();
        (!now.is_empty()).then(|| now.iter().zip(before).map(moved).sum())
    }

    /// Serves what the client says.
    fn hear(&mut self) {
        while let Some(notice) = self.client.serve(Duration::ZERO) {
            match &notice {
                Notice::Statistics(json) => self.throttled = self.throttled.max(longest_throttle(json)),
                Notice::Log { .. } | Notice::Error { .. } => self.complaints.hear(&notice),
            }
        }
    }
}

/// What is read of which partition: its number, the first offset and the end. No partition gets more than its share,
/// and one that holds less leaves none to others: the newest of each are wanted.
fn starts(partitions: &[PartitionEnds]) -> Vec<(u32, i64, i64)> {
    let filled = (0u32..).zip(partitions).filter(|(_, ends)| ends.high > ends.low);
    let count = filled.clone().count() as u64;
    let share = (MOST_RECORDS / count.max(1)).max(1) as i64;
    let step = count.div_ceil(MOST_RECORDS).max(1) as usize;
    filled.step_by(step).map(|(partition, ends)| (partition, ends.low.max(ends.high - share), ends.high)).collect()
}

/// Whether nothing more comes of a partition: its end, or records that were taken away meanwhile.
fn is_over(fetched: &Fetched<'_>) -> bool {
    matches!(
        fetched.code.known(),
        Some(
            E::RD_KAFKA_RESP_ERR__PARTITION_EOF
                | E::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET
                | E::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_gives_its_newest_records() {
        let ends = |low, high| PartitionEnds { low, high };
        assert_eq!(starts(&[ends(0, 10), ends(5, 5), ends(0, 5_000)]), [(0, 0, 10), (2, 4_000, 5_000)]);
        assert_eq!(starts(&[ends(3, 3)]), []);
        let many: Vec<_> = (0..5_000).map(|_| ends(0, 9)).collect();
        let chosen = starts(&many);
        assert!(chosen.len() <= MOST_RECORDS as usize && chosen.len() > 1_000, "{}", chosen.len());
        assert!(chosen.iter().all(|&(_, start, end)| (start, end) == (8, 9)));
    }
}
