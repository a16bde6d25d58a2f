//! Reads a topic back: every partition from a given offset to where its log ended when the reader was made.
//!
//! Responsible for: committed records only, gaps (transactions' markers, aborted records, compaction), records that
//! retention takes away while it reads, and transactions of others that are open. Not responsible for: comparing. No
//! consumer group is joined and nothing is committed.

mod ranges;

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use migration::Job;
use migration::identity::is_embedded_cluster;
use migration::report::verify::{PartitionRange, Retention};
use migration::units::show_whole_seconds;
use pipeline::verify::{self, TopicRecord, VerifyError};
use rdkafka::types::RDKafkaRespErr as E;
use serde::{Deserialize, Serialize};

use crate::classify::{Verdict, verdict};
use crate::ffi::{Client, ClientKind, Code, FetchQueue, Topic, ask_ends, topic_settings};
use crate::notice::{Complaints, Patience, until_answered};
use crate::options::{Role, client_properties, configure};
use ranges::{FetchOutcome, Next, Range, unread};

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

/// How long a transaction of another producer may stay open before the comparison is given up, if `kafka.give_up_after`
/// is not less: longer than Kafka's default for a producer that died in one (60 s, and up to 10 s until the brokers
/// look).
const OPEN_TRANSACTION: Duration = Duration::from_secs(90);
/// Time without a record after which the brokers are asked why.
const SILENT: Duration = Duration::from_secs(1);
/// From when on it is said that nothing comes.
const WORTH_A_WORD: Duration = Duration::from_secs(3);
/// The longest time for asking all partitions together; those that are left are asked the next time.
const LONGEST_ASKING: Duration = Duration::from_secs(5);
/// How long the controller may be unknown after the brokers have answered.
const CONTROLLER: Duration = Duration::from_secs(2);

/// Reads a topic. See [`verify::TopicReader`].
pub struct TopicReader {
    properties: Vec<(String, String)>,
    /// Of the client that asks where logs end; the one that reads is told where open transactions begin.
    asking: Vec<(String, String)>,
    topic: String,
    starts: Vec<i64>,
    range: TopicRange,
    /// Which partitions are read; `None`: all.
    partitions: Option<Vec<u32>>,
    /// Whether headers are compared.
    headers: bool,
    /// Whether the job's own workers send in transactions.
    transactional: bool,
    /// How long an open transaction may last.
    patience: Duration,
    fetcher: Option<Fetcher>,
}

/// What is read of a topic: fixed once, and the same for all that read it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicRange {
    /// By partition; empty: not known yet.
    ranges: Vec<Range>,
    settings: KeepingSettings,
}

impl TopicRange {
    /// How many offsets each partition has to read.
    pub fn offsets(&self) -> Vec<u64> {
        let whole = |range: &Range| Range { position: range.start + range.gone, ..*range }.left();
        self.ranges.iter().map(whole).collect()
    }
}

struct Fetcher {
    queue: FetchQueue,
    topic: Topic,
    client: Rc<Client>,
    complaints: Complaints,
    newest: Instant,
    /// Why nothing comes, as far as it was asked since `newest`.
    why: Option<Silence>,
    /// It was said that nothing comes.
    told: bool,
}

/// Why no record comes although a partition is not at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Silence {
    /// It can't be told: brokers are away, or slow.
    Unknown,
    /// What another producer wrote from `since` on is neither committed nor aborted; so in `partitions` partitions, the
    /// first of which is `partition`.
    OpenTransaction { partition: u32, since: i64, partitions: usize },
}

impl Silence {
    /// In words. `transactional`: whether the job's own workers send in transactions. One of a worker that died can't
    /// be told from another producer's.
    fn told(&self, transactional: bool) -> String {
        let Silence::OpenTransaction { partition, since, partitions } = *self else {
            return "nothing is known about why".to_owned();
        };
        let whose = match transactional {
            true => "a transaction of another producer, or of a worker of this job that died,",
            false => "another producer's transaction",
        };
        let more = if partitions > 1 { format!(", and in {} more partitions", partitions - 1) } else { String::new() };
        format!(
            "{whose} is open in partition {partition} since offset {since}{more}: what it holds, and what stands after it, \
             can't be read before it ends"
        )
    }
}

/// What takes records away from a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct KeepingSettings {
    /// `None`: the brokers don't tell.
    compacted: Option<bool>,
    retention: Retention,
}

impl KeepingSettings {
    /// From the topic's settings by name.
    fn of<'a>(value: impl Fn(&str) -> Option<&'a str>) -> KeepingSettings {
        let Some(policy) = value("cleanup.policy") else { return KeepingSettings::default() };
        let has = |wanted: &str| policy.split(',').any(|one| one.trim() == wanted);
        // -1 is no limit.
        let limit = |name| value(name).and_then(|text| text.trim().parse().ok()).filter(|_| has("delete"));
        let retention = Retention::Settings { ms: limit("retention.ms"), bytes: limit("retention.bytes") };
        KeepingSettings { compacted: Some(has("compact")), retention }
    }
}

impl TopicReader {
    /// A reader of a job's topic from `starts`, an offset for each partition; partitions without one are read from
    /// their first offset. The job's brokers are addresses by now. Nothing is contacted before the first restart.
    pub fn new(job: &Job, starts: Vec<i64>) -> TopicReader {
        TopicReader {
            properties: client_properties(job, Role::Reader),
            asking: client_properties(job, Role::Admin),
            topic: job.kafka.topic.clone(),
            starts,
            range: TopicRange::default(),
            partitions: None,
            headers: !job.record.headers.is_empty(),
            transactional: job.exactly_once(),
            patience: job.kafka.give_up_after.min(OPEN_TRANSACTION),
            fetcher: None,
        }
    }

    /// One that reads some partitions of a range that another reader fixed; `None`: all.
    pub fn within(job: &Job, range: &TopicRange, partitions: Option<Vec<u32>>) -> TopicReader {
        TopicReader { range: range.clone(), partitions, ..TopicReader::new(job, Vec::new()) }
    }

    /// What it reads, which is fixed now if it was not before.
    pub fn range(&mut self) -> Result<&TopicRange, VerifyError> {
        if self.range.ranges.is_empty() {
            self.find_ranges()?;
        }
        Ok(&self.range)
    }

    /// A reader of a topic of dead letters, from its first record on.
    pub fn of_letters(job: &Job, topic: &str) -> TopicReader {
        TopicReader { topic: topic.to_owned(), headers: true, ..TopicReader::new(job, Vec::new()) }
    }

    fn failed(&self, what: &str, reason: impl std::fmt::Display) -> VerifyError {
        VerifyError::Topic(format!("topic {:?}: {what}: {reason}", self.topic))
    }

    /// An error that a later comparison need not meet.
    fn not_now(&self, what: &str, reason: impl std::fmt::Display) -> VerifyError {
        VerifyError::NotNow(format!("topic {:?}: {what}: {reason}", self.topic))
    }

    /// Which of both it is.
    fn by_code(&self, code: Code, what: &str, reason: impl std::fmt::Display) -> VerifyError {
        if verdict(code) == Verdict::AllRejected { self.failed(what, reason) } else { self.not_now(what, reason) }
    }

    fn client(&self) -> Result<Rc<Client>, VerifyError> {
        let bad = |e: String| self.failed("can't create a Kafka consumer", e);
        let mut properties = self.properties.clone();
        // The client's limits hold for each partition.
        let all = self.range.ranges.len().max(self.starts.len());
        let each = FETCHED_BYTES / self.partitions.as_ref().map_or(all, Vec::len).max(1);
        properties.push(("queued.max.messages.kbytes".into(), (each / 1024).max(64).to_string()));
        properties.push(("fetch.message.max.bytes".into(), each.clamp(64 << 10, 4 << 20).to_string()));
        configure(&properties).map_err(bad)?.into_client(ClientKind::Consumer).map_err(bad)
    }

    /// A client that is told where logs end.
    fn asker(&self) -> Result<Rc<Client>, VerifyError> {
        let bad = |e: String| self.failed("can't create a Kafka client", e);
        configure(&self.asking).map_err(bad)?.into_client(ClientKind::Consumer).map_err(bad)
    }

    /// Fixes where each partition ends, and finds out whether the topic is compacted.
    fn find_ranges(&mut self) -> Result<(), VerifyError> {
        let client = self.asker()?;
        let topic = Topic::new(&client, &self.topic).map_err(|code| self.failed("can't be used", code))?;
        let mut complaints = Complaints::default();
        let metadata = until_answered(&client, ANSWER, Patience::UntilHopeless, &mut complaints, |timeout| {
            let found = client.metadata(Some(&topic), timeout)?;
            if found.code == 0 && !found.partitions.is_empty() { Ok(found) } else { Err(Code(found.code)) }
        })
        .map_err(|code| match &complaints.hopeless {
            Some(_) => self.failed("no metadata", complaints.reason(code)),
            None => self.by_code(code, "no metadata", complaints.reason(code)),
        })?;
        let mut ranges = Vec::new();
        let mut told = self.told_at_once(&client, &metadata.partitions)?;
        for partition in 0..metadata.partitions.len() {
            let ends = match told.remove(&(partition as u32)) {
                Some(ends) => ends,
                None => self.watermarks(&client, partition as u32)?,
            };
            ranges.push(Range::new(self.starts.get(partition).copied(), ends));
        }
        self.range = TopicRange { ranges, settings: self.ask_settings(&client, &metadata.brokers) };
        Ok(())
    }

    /// What takes records away from the topic, as far as the brokers tell.
    fn ask_settings(&self, client: &Client, brokers: &[i32]) -> KeepingSettings {
        if client.cluster_id(ANSWER).is_some_and(|id| is_embedded_cluster(&id)) {
            // The embedded broker has no settings and compacts nothing: asking it would only take time.
            return KeepingSettings { compacted: Some(false), retention: Retention::Embedded };
        }
        if !brokers.contains(&client.controller(CONTROLLER)) {
            return KeepingSettings::default();
        }
        let settings = topic_settings(client, &self.topic, ANSWER).unwrap_or_default();
        KeepingSettings::of(|name| settings.iter().find(|setting| setting.name == name).map(|setting| setting.value.as_str()))
    }

    /// Where those partitions begin and end whose leaders tell it at once. `partitions`: error and leader of each.
    fn told_at_once(&self, client: &Client, partitions: &[(i32, i32)]) -> Result<HashMap<u32, (i64, i64)>, VerifyError> {
        let with_leader = (0u32..).zip(partitions).filter(|(_, (_, leader))| *leader >= 0);
        let asked: Vec<u32> = with_leader.map(|(partition, _)| partition).collect();
        let answers = ask_ends(client, &self.topic, &asked, ANSWER).unwrap_or_default();
        let mut told = HashMap::new();
        for (partition, answer) in asked.into_iter().zip(answers) {
            match answer {
                Ok(ends) => _ = told.insert(partition, ends),
                Err(code) if verdict(code) == Verdict::AllRejected => return Err(self.no_offsets(partition, code)),
                Err(_) => {}
            }
        }
        Ok(told)
    }

    fn no_offsets(&self, partition: u32, code: Code) -> VerifyError {
        self.by_code(code, &format!("no offsets of partition {partition}"), code)
    }

    /// Where a partition begins and ends. The end is the log's or the last stable offset, as the client was made.
    fn watermarks(&self, client: &Client, partition: u32) -> Result<(i64, i64), VerifyError> {
        let deadline = Instant::now() + ANSWER;
        loop {
            match client.watermarks(&self.topic, partition, ANSWER) {
                Ok(ends) => return Ok(ends),
                Err(code) if verdict(code) == Verdict::AllRejected || Instant::now() >= deadline => {
                    return Err(self.no_offsets(partition, code));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Goes on at the first readable offset after records were taken away.
    fn skip(&mut self, fetcher: &mut Fetcher, partition: u32) -> Result<(), VerifyError> {
        let ends = self.watermarks(&*self.asker()?, partition)?;
        let range = &mut self.range.ranges[partition as usize];
        let before = range.position;
        let next = range.skip(ends);
        if range.position > before {
            fetcher.newest = Instant::now();
        }
        fetcher.topic.stop(partition);
        match next {
            Next::Done => Ok(()),
            Next::CutOff => Err(self.cut_off(partition, ends.1)),
            Next::From(offset) => {
                // Not in a tight loop where nothing moves: the time without a record ends it.
                if offset == before {
                    std::thread::sleep(WAIT);
                }
                fetcher
                    .topic
                    .start(partition, offset, &fetcher.queue)
                    .map_err(|code| self.failed(&format!("can't read partition {partition} from {offset}"), code))
            }
        }
    }

    fn cut_off(&self, partition: u32, end: i64) -> VerifyError {
        let was = self.range.ranges[partition as usize].end;
        self.not_now(
            &format!("partition {partition} ends at offset {end} now and ended at {was} when the comparison began"),
            "its newest records were lost (an unclean leader election), or the topic was made again",
        )
    }

    /// Looks at why nothing comes, and gives up when it lasts too long.
    fn endure(&self, fetcher: &mut Fetcher) -> Result<(), VerifyError> {
        let silent = fetcher.newest.elapsed();
        if silent < SILENT.min(self.patience) {
            fetcher.why = None;
            if std::mem::take(&mut fetcher.told) {
                tracing::info!("topic {:?}: records come again", self.topic);
            }
            return Ok(());
        }
        if fetcher.why.is_none() {
            fetcher.why = Some(self.why(&fetcher.client)?);
            if let Some(why @ Silence::OpenTransaction { .. }) = fetcher.why {
                tracing::warn!(
                    "topic {:?}: {}; waiting up to {:?} for its end",
                    self.topic,
                    why.told(self.transactional),
                    self.patience
                );
            }
        }
        if fetcher.why == Some(Silence::Unknown) && silent >= WORTH_A_WORD && !std::mem::replace(&mut fetcher.told, true) {
            let cause = fetcher.complaints.cause(0, |_| true).map_or_else(String::new, |cause| format!(" ({cause})"));
            let (silent, limit) = (show_whole_seconds(silent), show_whole_seconds(STALLED));
            tracing::warn!("topic {:?}: no record for {silent}{cause}; waiting up to {limit} for the next", self.topic);
        }
        let limit = |why| if why == Silence::Unknown { STALLED } else { self.patience };
        if fetcher.why.is_some_and(|why| silent <= limit(why)) {
            return Ok(());
        }
        // It may be something else by now.
        let why = self.why(&fetcher.client)?;
        fetcher.why = Some(why);
        if silent <= limit(why) {
            return Ok(());
        }
        let nothing = format!("no record for {} s", silent.as_secs());
        Err(match why {
            Silence::OpenTransaction { .. } => self.not_now(
                &nothing,
                format!(
                    "{} (kafka-transactions.sh find-hanging names such producers, and can abort what they left)",
                    why.told(self.transactional)
                ),
            ),
            Silence::Unknown => {
                let lagging = self.range.ranges.iter().position(|r| !r.is_read()).unwrap_or(0);
                let at = self.range.ranges[lagging].position;
                let reason = fetcher.complaints.reason(Code::of(E::RD_KAFKA_RESP_ERR__TIMED_OUT));
                self.not_now(&format!("{nothing}, partition {lagging} is at offset {at}"), reason)
            }
        })
    }

    /// Why the partitions that are not at their end give nothing. `reading` is told where open transactions begin.
    fn why(&self, reading: &Client) -> Result<Silence, VerifyError> {
        let asker = self.asker()?;
        let mut open: Option<(u32, i64, usize)> = None;
        let asked = Instant::now();
        for (partition, range) in (0..).zip(&self.range.ranges).filter(|(_, range)| !range.is_read()) {
            // Brokers that don't answer are waited for once, not once for each of a thousand partitions.
            if asked.elapsed() >= LONGEST_ASKING {
                break;
            }
            let ends = |client: &Client| client.watermarks(&self.topic, partition, WAIT.max(SILENT));
            let Ok((_, stable)) = ends(reading) else { continue };
            let Ok((_, end)) = ends(&asker) else { continue };
            if end < range.end {
                return Err(self.cut_off(partition, end));
            }
            if stable < range.end {
                let (first, since, partitions) = open.unwrap_or((partition, stable, 0));
                open = Some((first, since, partitions + 1));
            }
        }
        Ok(open.map_or(Silence::Unknown, |(partition, since, partitions)| Silence::OpenTransaction {
            partition,
            since,
            partitions,
        }))
    }
}

impl verify::TopicReader for TopicReader {
    fn restart(&mut self) -> Result<(), VerifyError> {
        self.fetcher = None;
        self.range()?;
        let client = self.client()?;
        let topic = Topic::new(&client, &self.topic).map_err(|code| self.failed("can't be used", code))?;
        let queue = FetchQueue::new(&client, AT_ONCE, self.headers);
        for partition in 0..self.range.ranges.len() {
            let range = &mut self.range.ranges[partition];
            range.rewind();
            if self.partitions.as_ref().is_some_and(|wanted| !wanted.contains(&(partition as u32))) {
                range.position = range.end;
            }
            if !range.is_read() {
                let position = range.position;
                topic
                    .start(partition as u32, position, &queue)
                    .map_err(|code| self.failed(&format!("can't read partition {partition} from {position}"), code))?;
            }
        }
        let complaints = Complaints::default();
        self.fetcher = Some(Fetcher { queue, topic, client, complaints, newest: Instant::now(), why: None, told: false });
        Ok(())
    }

    fn next(&mut self, visit: &mut dyn FnMut(TopicRecord<'_>)) -> Result<bool, VerifyError> {
        let Some(mut fetcher) = self.fetcher.take() else { return Ok(false) };
        if unread(&self.range.ranges) == 0 {
            return Ok(false);
        }
        let ranges = &mut self.range.ranges;
        let mut outcome = FetchOutcome::default();
        fetcher.queue.fetch(WAIT, &mut |fetched| outcome.take(fetched, ranges, visit));
        if outcome.advanced {
            fetcher.newest = Instant::now();
        }
        fetcher.complaints.hear_all(&fetcher.client);
        for partition in outcome.skipped {
            self.skip(&mut fetcher, partition)?;
        }
        if let Some((partition, code, text)) = outcome.failed {
            return Err(self.failed(&format!("can't read partition {partition}: {text}"), code));
        }
        let more = unread(&self.range.ranges) > 0;
        if more {
            self.endure(&mut fetcher)?;
            self.fetcher = Some(fetcher);
        }
        Ok(more)
    }

    fn left(&self) -> u64 {
        self.range.ranges.iter().map(Range::left).sum()
    }

    fn ranges(&self) -> Vec<PartitionRange> {
        self.range.ranges.iter().map(Range::told).collect()
    }

    fn is_compacted(&self) -> Option<bool> {
        self.range.settings.compacted
    }

    fn retention(&self) -> Retention {
        self.range.settings.retention
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_transaction_is_told_in_one_sentence() {
        let open = |partitions| Silence::OpenTransaction { partition: 3, since: 70, partitions };
        let told = |partitions| open(partitions).told(false);
        assert!(told(1).starts_with(
            "another producer's transaction is open in partition 3 since offset 70: what it holds, and what stands"
        ));
        assert!(told(3).contains("offset 70, and in 2 more partitions: what"), "{}", told(3));
        assert!(!told(3).contains("  "), "{}", told(3));
        let own = open(1).told(true);
        let said =
            "a transaction of another producer, or of a worker of this job that died, is open in partition 3 since offset 70:";
        assert!(own.starts_with(said), "{own}");
    }

    #[test]
    fn what_takes_records_away_is_what_the_policy_and_its_limits_say() {
        let of = |policy: &'static str, ms: &'static str, bytes: &'static str| {
            let settings = [("cleanup.policy", policy), ("retention.ms", ms), ("retention.bytes", bytes)];
            let found = KeepingSettings::of(|name| settings.iter().find(|(known, _)| *known == name).map(|(_, value)| *value));
            let Retention::Settings { ms, bytes } = found.retention else { panic!("{found:?}") };
            (found.compacted, ms, bytes)
        };
        assert_eq!(of("delete", "604800000", "-1"), (Some(false), Some(604_800_000), None));
        assert_eq!(of("compact,delete", "-1", "1000"), (Some(true), None, Some(1000)));
        assert_eq!(of("compact", "604800000", "1000"), (Some(true), None, None));
        assert_eq!(KeepingSettings::of(|_| None), KeepingSettings::default());
    }
}
