//! Reads a topic back: every partition from a given offset to where it ended when the reader was made.
//!
//! Responsible for: committed records only, gaps (transactions' markers, aborted records, compaction) and records that retention
//! takes away while it reads. Not responsible for: comparing. No consumer group is joined and nothing is committed.

use std::rc::Rc;
use std::time::{Duration, Instant};

use migration::Job;
use pipeline::verify::{self, TopicRecord, VerifyError};
use rdkafka::types::RDKafkaRespErr as E;

use crate::classify::{Verdict, verdict};
use crate::ffi::{Client, Code, FetchQueue, Fetched, Kind, Topic};
use crate::notice::{Complaints, Patience, until_answered};
use crate::options::{Role, client_properties, configure};

/// Records that one call asks for.
const AT_ONCE: usize = 10_000;
/// The client's memory for records that are fetched and not yet visited, all partitions together.
const FETCHED_BYTES: usize = 48 << 20;
/// No record for so long although the end is not reached: give up.
const STALLED: Duration = Duration::from_secs(60);
/// How long one call waits for records.
const WAIT: Duration = Duration::from_millis(200);
/// How long a broker may take to answer a question.
const ANSWER: Duration = Duration::from_secs(30);

/// Where to read, as fixed at the first [`verify::TopicReader::restart`], and how far it has come.
#[derive(Clone, Copy, Debug, Default)]
struct Range {
    /// The job's start.
    start: i64,
    /// The first offset that is not read.
    end: i64,
    /// The next offset to visit.
    position: i64,
    /// Offsets of the range that nobody can read any more.
    gone: i64,
}

impl Range {
    fn is_read(&self) -> bool {
        self.position >= self.end
    }
}

/// Reads a topic. See [`verify::TopicReader`].
pub struct TopicReader {
    properties: Vec<(String, String)>,
    topic: String,
    starts: Vec<i64>,
    ranges: Vec<Range>,
    fetcher: Option<Fetcher>,
}

struct Fetcher {
    queue: FetchQueue,
    topic: Topic,
    client: Rc<Client>,
    complaints: Complaints,
    unread: usize,
    newest: Instant,
}

impl TopicReader {
    /// A reader of a job's topic from `starts`, an offset for each partition; partitions without one are read from their first
    /// offset. The job's brokers are addresses by now. Nothing is contacted before the first restart.
    pub fn new(job: &Job, starts: Vec<i64>) -> TopicReader {
        TopicReader {
            properties: client_properties(job, Role::Reader),
            topic: job.kafka.topic.clone(),
            starts,
            ranges: Vec::new(),
            fetcher: None,
        }
    }

    fn failed(&self, what: &str, reason: impl std::fmt::Display) -> VerifyError {
        VerifyError::Topic(format!("topic {:?}: {what}: {reason}", self.topic))
    }

    fn client(&self) -> Result<Rc<Client>, VerifyError> {
        let bad = |e: String| self.failed("can't create a Kafka consumer", e);
        let mut properties = self.properties.clone();
        // The client's limits hold for each partition.
        let each = FETCHED_BYTES / self.ranges.len().max(self.starts.len()).max(1);
        properties.push(("queued.max.messages.kbytes".into(), (each / 1024).max(64).to_string()));
        properties.push(("fetch.message.max.bytes".into(), each.clamp(64 << 10, 4 << 20).to_string()));
        configure(&properties).map_err(bad)?.into_client(Kind::Consumer).map_err(bad)
    }

    /// Fixes where each partition ends.
    fn find_ranges(&mut self, client: &Rc<Client>, topic: &Topic) -> Result<(), VerifyError> {
        let mut complaints = Complaints::default();
        let metadata = until_answered(client, ANSWER, Patience::UntilHopeless, &mut complaints, |timeout| {
            let found = client.metadata(Some(topic), timeout)?;
            if found.code == 0 && !found.partitions.is_empty() { Ok(found) } else { Err(Code(found.code)) }
        })
        .map_err(|code| self.failed("no metadata", complaints.reason(code)))?;
        let mut ranges = Vec::new();
        for partition in 0..metadata.partitions.len() {
            let (low, high) = self.watermarks(client, partition as u32)?;
            let start = self.starts.get(partition).copied().unwrap_or(low);
            let end = high.max(start);
            ranges.push(Range { start, end, position: start, gone: (low.min(end) - start).max(0) });
        }
        self.ranges = ranges;
        Ok(())
    }

    fn watermarks(&self, client: &Client, partition: u32) -> Result<(i64, i64), VerifyError> {
        let deadline = Instant::now() + ANSWER;
        loop {
            match client.watermarks(&self.topic, partition, ANSWER) {
                Ok(ends) => return Ok(ends),
                Err(code) if verdict(code) == Verdict::Refused || Instant::now() >= deadline => {
                    return Err(self.failed(&format!("no offsets of partition {partition}"), code));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Skips to the first readable offset after records were taken away.
    fn skip(&mut self, fetcher: &mut Fetcher, partition: u32) -> Result<(), VerifyError> {
        let (low, _) = self.watermarks(&fetcher.client, partition)?;
        let range = &mut self.ranges[partition as usize];
        let next = low.clamp(range.position, range.end);
        // Every pass counts from the start: what is below the first offset is gone.
        range.gone = range.gone.max(next - range.start);
        range.position = next;
        fetcher.topic.stop(partition);
        if range.is_read() {
            fetcher.unread -= 1;
            return Ok(());
        }
        fetcher
            .topic
            .start(partition, next, &fetcher.queue)
            .map_err(|code| self.failed(&format!("can't read partition {partition} from {next}"), code))
    }
}

impl verify::TopicReader for TopicReader {
    fn restart(&mut self) -> Result<(), VerifyError> {
        self.fetcher = None;
        let client = self.client()?;
        let topic = Topic::new(&client, &self.topic).map_err(|code| self.failed("can't be used", code))?;
        if self.ranges.is_empty() {
            self.find_ranges(&client, &topic)?;
        }
        let queue = FetchQueue::new(&client, AT_ONCE);
        let mut unread = 0;
        for partition in 0..self.ranges.len() {
            let range = &mut self.ranges[partition];
            range.position = range.start + range.gone;
            if !range.is_read() {
                let position = range.position;
                topic
                    .start(partition as u32, position, &queue)
                    .map_err(|code| self.failed(&format!("can't read partition {partition} from {position}"), code))?;
                unread += 1;
            }
        }
        let complaints = Complaints::default();
        self.fetcher = Some(Fetcher { queue, topic, client, complaints, unread, newest: Instant::now() });
        Ok(())
    }

    fn next(&mut self, visit: &mut dyn FnMut(TopicRecord<'_>)) -> Result<bool, VerifyError> {
        let Some(mut fetcher) = self.fetcher.take() else { return Ok(false) };
        if fetcher.unread == 0 {
            return Ok(false);
        }
        let ranges = &mut self.ranges;
        let mut outcome = Outcome::default();
        let count = fetcher.queue.fetch(WAIT, &mut |fetched| outcome.take(fetched, ranges, visit));
        fetcher.unread -= outcome.read.len();
        if count > 0 {
            fetcher.newest = Instant::now();
        }
        fetcher.complaints.hear_all(&fetcher.client);
        for partition in outcome.skipped {
            self.skip(&mut fetcher, partition)?;
        }
        if let Some((partition, code, text)) = outcome.failed {
            return Err(self.failed(&format!("can't read partition {partition}: {text}"), code));
        }
        if fetcher.newest.elapsed() > STALLED {
            let lagging = self.ranges.iter().position(|r| !r.is_read()).unwrap_or(0);
            let at = self.ranges[lagging].position;
            let reason = fetcher.complaints.reason(Code::of(E::RD_KAFKA_RESP_ERR__TIMED_OUT));
            let what = format!("no record for {} s, partition {lagging} is at offset {at}", STALLED.as_secs());
            return Err(self.failed(&what, reason));
        }
        let more = fetcher.unread > 0;
        if more {
            self.fetcher = Some(fetcher);
        }
        Ok(more)
    }

    fn gone(&self) -> Vec<(u32, i64)> {
        self.ranges.iter().enumerate().filter(|(_, r)| r.gone > 0).map(|(p, r)| (p as u32, r.gone)).collect()
    }
}

/// What one fetch brought besides records.
#[derive(Default)]
struct Outcome {
    /// Partitions that came to their end.
    read: Vec<u32>,
    /// Partitions whose next offset can't be read any more.
    skipped: Vec<u32>,
    failed: Option<(u32, Code, String)>,
}

impl Outcome {
    fn take(&mut self, fetched: Fetched<'_>, ranges: &mut [Range], visit: &mut dyn FnMut(TopicRecord<'_>)) {
        let Some(range) = ranges.get_mut(fetched.partition as usize) else { return };
        if range.is_read() {
            return;
        }
        match fetched.code.known() {
            Some(E::RD_KAFKA_RESP_ERR_NO_ERROR) => {
                if fetched.offset < range.position {
                    // Fetched before a skip, or from the middle of a batch that begins before the start.
                    return;
                }
                range.position = fetched.offset + 1;
                // An offset beyond the end proves that the range is read: whatever was between is not a committed record.
                if fetched.offset < range.end {
                    let Fetched { partition, offset, key, value, .. } = fetched;
                    visit(TopicRecord { partition, offset, key, value });
                }
            }
            // Nothing committed below this offset is left to read.
            Some(E::RD_KAFKA_RESP_ERR__PARTITION_EOF) => range.position = range.position.max(fetched.offset),
            Some(E::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET | E::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE) => {
                self.skipped.push(fetched.partition);
            }
            _ if verdict(fetched.code) == Verdict::Refused => {
                let text = String::from_utf8_lossy(fetched.value).into_owned();
                self.failed.get_or_insert((fetched.partition, fetched.code, text));
            }
            // The client goes on by itself.
            _ => {}
        }
        if range.is_read() {
            self.read.push(fetched.partition);
        }
    }
}
