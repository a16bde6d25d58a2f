//! Reading what is committed in the progress topic, without waiting for strangers.
//!
//! A reader of committed records gets no further than the oldest open transaction of a partition (its last stable
//! offset), of this job or of another: another job's could hide the newest own record, and waiting for its end may take
//! a minute. So: where the log ends is asked first; committed records are read up to the last stable offset; only if
//! that is before the end, the rest is looked through for own records, committed or not, and only if there is one,
//! committed records are read until it is passed. Responsible for: the newest committed value of each own key. Not
//! responsible for: what a value says, or that nothing more is written (the caller fences the writers first).

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaRespErr as E;

use crate::classify::{Verdict, verdict};
use crate::ffi::{Client, ClientKind, Code, FetchQueue, Topic};
use crate::options::configure;
use crate::topic_probe::is_unknown_topic;
use crate::turns::Turns;

/// How long one call waits for records.
const WAIT: Duration = Duration::from_millis(20);
/// How often the caller is asked whether to go on.
const TURN: Duration = Duration::from_millis(200);
/// How many records one call gives.
const AT_ONCE: usize = 1_000;
/// How long one question for a partition's end may take.
const ANSWER: Duration = Duration::from_secs(2);

/// What a reader of the progress topic has beside the properties of all readers: it waits for nothing at the end of a
/// partition, and needs little memory.
pub(super) const READER: [(&str, &str); 4] = [
    ("fetch.wait.max.ms", "1"),
    ("queued.min.messages", "1000"),
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.message.max.bytes", "1048576"),
];

/// For how long an own record can't be read before that is told.
const TOLD_AFTER: Duration = Duration::from_secs(2);

/// Why a partition was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScanError {
    /// The cause.
    pub(crate) code: Code,
    /// What happened.
    pub(crate) text: String,
    /// Whether all that is left to read stands behind open transactions.
    pub(crate) hidden: bool,
}

impl ScanError {
    /// Whether its time ended, or nothing more was wanted: the scan can go on from where it is.
    pub(crate) fn is_late(&self) -> bool {
        self.code.known() == Some(E::RD_KAFKA_RESP_ERR__TIMED_OUT)
    }
}

/// For how long a scan may come no further. One that does may last as long as it must.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScanPatience {
    /// While brokers should answer.
    pub(crate) silent: Duration,
    /// While all that is left stands behind open transactions.
    pub(crate) hidden: Duration,
    /// Whether such a wait is told from here; that of a worker its supervisor tells.
    pub(crate) tells: bool,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// With the first record.
    Begin,
    /// With this number of the last records; a caller that finds nothing there asks again with [`Start::Begin`].
    Back(i64),
}

/// The newest values by partition and key.
pub(crate) type NewestValues = BTreeMap<(u32, Vec<u8>), Vec<u8>>;

/// How far a scan is: one that was late goes on from here.
pub(crate) struct Scanned {
    lanes: Vec<ScannedPartition>,
    found: NewestValues,
    /// Since when all that is left stands behind open transactions.
    hidden_since: Option<Instant>,
    /// Whether that was told.
    told: bool,
}

impl Scanned {
    /// What was found.
    pub(crate) fn found(self) -> NewestValues {
        self.found
    }

    /// Whether nothing was found, and older records were not looked at.
    pub(crate) fn has_older(&self) -> bool {
        self.found.is_empty() && self.lanes.iter().any(|lane| lane.skipped)
    }
}

/// A reader of the progress topic.
pub(crate) struct Scan<'a> {
    /// A client with `isolation.level=read_uncommitted`: it is told where logs end.
    pub(crate) asker: &'a Client,
    /// A client that reads committed records.
    pub(crate) committed: &'a Rc<Client>,
    /// The properties of that client: the one that reads all has them, too.
    pub(crate) properties: &'a [(String, String)],
    /// The progress topic.
    pub(crate) topic: &'a str,
}

/// One partition on its way.
struct ScannedPartition {
    partition: u32,
    /// Where its log ended.
    high: i64,
    /// Whether its first records are left out.
    skipped: bool,
    /// Up to where committed records were read.
    position: i64,
    /// Its last stable offset, once that was reached.
    stable: Option<i64>,
    /// The last own record behind it, which is to be passed.
    last_own: Option<i64>,
}

impl ScannedPartition {
    fn is_read(&self) -> bool {
        self.position >= self.high || self.stable.is_some() && self.last_own.is_none_or(|last| self.position > last)
    }
}

/// What one call gave, besides records.
enum Came {
    /// A partition has been read up to here.
    End(u32, i64),
    /// It can't be.
    Failed(u32, Code, String),
}

impl Scan<'_> {
    /// The newest committed values of own keys in some partitions. An open transaction behind which an own record
    /// stands that is `awaited` is waited for; others are not.
    pub(crate) fn newest(
        &self,
        partitions: &[u32],
        own: &dyn Fn(&[u8]) -> bool,
        awaited: &dyn Fn(&[u8]) -> bool,
        patience: ScanPatience,
        turns: &mut Turns<'_>,
    ) -> Result<NewestValues, ScanError> {
        let mut scanned = self.begin(partitions, Start::Begin, patience, turns)?;
        self.go_on(&mut scanned, own, awaited, patience, turns)?;
        Ok(scanned.found())
    }

    /// Asks where some partitions end: up to there they are to be read.
    pub(crate) fn begin(
        &self,
        partitions: &[u32],
        from: Start,
        patience: ScanPatience,
        turns: &mut Turns<'_>,
    ) -> Result<Scanned, ScanError> {
        let mut clock = ScanClock::new();
        let mut lanes = Vec::new();
        for &partition in partitions {
            let (low, high) = self.ends(partition, patience.silent, &mut clock, turns)?;
            let position = match from {
                Start::Begin => low,
                Start::Back(records) => low.max(high.saturating_sub(records)),
            };
            if high > low {
                let skipped = position > low;
                lanes.push(ScannedPartition { partition, high, skipped, position, stable: None, last_own: None });
            }
        }
        Ok(Scanned { lanes, found: NewestValues::new(), hidden_since: None, told: false })
    }

    /// Reads on, to the end.
    pub(crate) fn go_on(
        &self,
        scanned: &mut Scanned,
        own: &dyn Fn(&[u8]) -> bool,
        awaited: &dyn Fn(&[u8]) -> bool,
        patience: ScanPatience,
        turns: &mut Turns<'_>,
    ) -> Result<(), ScanError> {
        let mut clock = ScanClock::new();
        // Freed after the partitions have been stopped.
        let mut queue = FetchQueue::new(self.committed, AT_ONCE, false);
        let mut fetching = Fetching::new(self.committed, self.topic)?;
        for lane in scanned.lanes.iter().filter(|lane| !lane.is_read()) {
            fetching.start(lane.partition, lane.position, &queue)?;
        }
        while scanned.lanes.iter().any(|lane| !lane.is_read()) {
            let hidden = self.hidden(scanned, patience.tells);
            let longest = if hidden.is_some() { patience.hidden } else { patience.silent };
            clock.go_on(longest, turns).map_err(|code| self.stopped(code, hidden))?;
            let Scanned { lanes, found, .. } = &mut *scanned;
            let mut came = Vec::new();
            queue.fetch(WAIT, &mut |fetched| {
                let Some(lane) = lanes.iter_mut().find(|lane| lane.partition == fetched.partition) else { return };
                match fetched.code {
                    Code::NONE => {
                        clock.advanced();
                        lane.position = lane.position.max(fetched.offset + 1);
                        let Some(key) = fetched.key.filter(|key| own(key)) else { return };
                        let key = (fetched.partition, key.to_vec());
                        match fetched.is_null {
                            true => drop(found.remove(&key)),
                            false => drop(found.insert(key, fetched.value.to_vec())),
                        }
                    }
                    code if is_end(code) => came.push(Came::End(fetched.partition, fetched.offset)),
                    code => {
                        let text = String::from_utf8_lossy(fetched.value).into_owned();
                        came.push(Came::Failed(fetched.partition, code, text));
                    }
                }
            });
            while self.committed.serve(Duration::ZERO).is_some() {}
            for came in came {
                match came {
                    Came::Failed(partition, code, text) => return Err(self.failed(partition, code, &text)),
                    Came::End(partition, end) => {
                        let Some(lane) = lanes.iter_mut().find(|lane| lane.partition == partition) else { continue };
                        lane.position = lane.position.max(end);
                        if lane.stable.is_none() && lane.position < lane.high {
                            let range = (lane.position, lane.high);
                            lane.last_own = self.last_own(partition, range, awaited, patience.silent, &mut clock, turns)?;
                        }
                        if lane.stable.is_none() {
                            clock.advanced();
                            lane.stable = Some(lane.position);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Partition and offset of an own record that can't be read, if nothing else is left to read. Once it lasts that is
    /// told, once.
    fn hidden(&self, scanned: &mut Scanned, tells: bool) -> Option<(u32, i64)> {
        let mut left = scanned.lanes.iter().filter(|lane| !lane.is_read());
        let hidden = left.clone().next().and_then(|lane| Some((lane.partition, lane.last_own?)));
        let Some((partition, offset)) = hidden.filter(|_| left.all(|lane| lane.last_own.is_some())) else {
            scanned.hidden_since = None;
            return None;
        };
        let since = *scanned.hidden_since.get_or_insert_with(Instant::now);
        if tells && since.elapsed() >= TOLD_AFTER && !std::mem::replace(&mut scanned.told, true) {
            tracing::warn!("{}: it is waited for", self.behind(partition, offset));
        }
        Some((partition, offset))
    }

    /// The offset of the last own record in a part of a partition, committed or not.
    fn last_own(
        &self,
        partition: u32,
        (from, to): (i64, i64),
        own: &dyn Fn(&[u8]) -> bool,
        longest: Duration,
        clock: &mut ScanClock,
        turns: &mut Turns<'_>,
    ) -> Result<Option<i64>, ScanError> {
        let bad = |text: String| self.failed(partition, Code::of(E::RD_KAFKA_RESP_ERR__FAIL), &text);
        let mut properties = self.properties.to_vec();
        properties.push(("isolation.level".to_owned(), "read_uncommitted".to_owned()));
        let client = configure(&properties).and_then(|conf| conf.into_client(ClientKind::Consumer)).map_err(bad)?;
        let mut queue = FetchQueue::new(&client, AT_ONCE, false);
        let mut fetching = Fetching::new(&client, self.topic)?;
        fetching.start(partition, from, &queue)?;
        let (mut position, mut last, mut failed) = (from, None, None);
        while position < to {
            clock.go_on(longest, turns).map_err(|code| self.stopped(code, None))?;
            queue.fetch(WAIT, &mut |fetched| match fetched.code {
                Code::NONE => {
                    clock.advanced();
                    position = position.max(fetched.offset + 1);
                    if fetched.offset < to && fetched.key.is_some_and(own) {
                        last = Some(fetched.offset);
                    }
                }
                code if is_end(code) => position = position.max(fetched.offset),
                code => failed = Some((code, String::from_utf8_lossy(fetched.value).into_owned())),
            });
            while client.serve(Duration::ZERO).is_some() {}
            if let Some((code, text)) = failed {
                return Err(self.failed(partition, code, &text));
            }
        }
        Ok(last)
    }

    /// A partition's first offset and the end of its log.
    fn ends(
        &self,
        partition: u32,
        longest: Duration,
        clock: &mut ScanClock,
        turns: &mut Turns<'_>,
    ) -> Result<(i64, i64), ScanError> {
        loop {
            let left = longest.saturating_sub(clock.silent()).min(ANSWER);
            match self.asker.watermarks(self.topic, partition, turns.bound(left)) {
                Ok(ends) => {
                    clock.advanced();
                    return Ok(ends);
                }
                // Metadata had the topic: a leader may hear of it later than others.
                Err(code) if verdict(code) == Verdict::AllRejected && !is_unknown_topic(code) => {
                    return Err(self.failed(partition, code, "where it ends is not told"));
                }
                Err(code) => {
                    clock.go_on(longest, turns).map_err(|_| self.failed(partition, code, "where it ends is not told"))?;
                    std::thread::sleep(WAIT);
                }
            }
        }
    }

    fn failed(&self, partition: u32, code: Code, text: &str) -> ScanError {
        let text = format!("progress topic {:?}, partition {partition}: {text} ({code})", self.topic);
        ScanError { code, text, hidden: false }
    }

    /// Time is over, or nothing more is wanted. `hidden`: partition and place of an own record that can't be read.
    fn stopped(&self, code: Code, hidden: Option<(u32, i64)>) -> ScanError {
        let text = match hidden {
            Some((partition, offset)) => self.behind(partition, offset),
            None => format!("progress topic {:?} could not be read to its end in time", self.topic),
        };
        ScanError { code, text, hidden: hidden.is_some() }
    }

    fn behind(&self, partition: u32, offset: i64) -> String {
        format!(
            "progress topic {:?}: the newest record of this job in partition {partition} (offset {offset}) can't be read \
             while a transaction is open there: it ends by itself after its transaction.timeout.ms",
            self.topic
        )
    }
}

/// Partitions that are fetched, until this is dropped.
struct Fetching {
    topic: Topic,
    started: Vec<u32>,
}

impl Fetching {
    fn new(client: &Rc<Client>, topic: &str) -> Result<Fetching, ScanError> {
        let bad =
            |code: Code| ScanError { code, text: format!("progress topic {topic:?} can't be read: {code}"), hidden: false };
        Ok(Fetching { topic: Topic::new(client, topic).map_err(bad)?, started: Vec::new() })
    }

    fn start(&mut self, partition: u32, offset: i64, queue: &FetchQueue) -> Result<(), ScanError> {
        let bad = |code: Code| ScanError {
            code,
            text: format!("partition {partition} of the progress topic: {code}"),
            hidden: false,
        };
        self.topic.start(partition, offset, queue).map_err(bad)?;
        self.started.push(partition);
        Ok(())
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.started.iter().for_each(|&partition| self.topic.stop(partition));
    }
}

/// Since when it has come no further.
struct ScanClock {
    advanced: Instant,
    told: Instant,
}

impl ScanClock {
    fn new() -> ScanClock {
        let now = Instant::now();
        ScanClock { advanced: now, told: now }
    }

    fn advanced(&mut self) {
        self.advanced = Instant::now();
    }

    fn silent(&self) -> Duration {
        self.advanced.elapsed()
    }

    fn go_on(&mut self, longest: Duration, turns: &mut Turns<'_>) -> Result<(), Code> {
        let due = self.told.elapsed() >= TURN;
        if due {
            self.told = Instant::now();
        }
        if self.silent() >= longest || due && !turns.go_on() {
            return Err(Code::of(E::RD_KAFKA_RESP_ERR__TIMED_OUT));
        }
        Ok(())
    }
}

fn is_end(code: Code) -> bool {
    code.known() == Some(E::RD_KAFKA_RESP_ERR__PARTITION_EOF)
}
