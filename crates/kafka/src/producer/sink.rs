//! The producer itself: groups in, delivery reports counted one by one, groups out.
//!
//! Responsible for: counting every report, telling a record's refusal from a failure of the attempt, and ending
//! quickly. Not responsible for: how it comes to its client (`connecting.rs`).

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

use migration::report::AnswerTimes;
use migration::{Failure, FailureKind, LedgerEntry, SeenTopic, TopicSettings};
use pipeline::dead_letter::OutgoingLetter;
use pipeline::{Blame, Delivered, Group, LettersInFlight, RejectedRecord, Sink, SinkLimits, Trouble};
use rdkafka::types::RDKafkaRespErr as E;

use super::batch::{Batch, Refusal, ReportTally};
use super::culprits::CulpritSearch;
use super::epochs::Epochs;
use super::options::ProducerOptions;
use super::transaction::{Transactions, is_late};
use crate::classify::{Verdict, verdict};
use crate::ffi::{Client, Code, MOST_RECORDS, Notice, Sender, Served, Wakeup, monotonic_micros};
use crate::notice::Complaints;
use crate::topic_probe::TopicProbe;

/// How long a dropped producer waits for the reports of what it purged.
const PURGE_TIMEOUT: Duration = Duration::from_millis(500);
/// How long "is any broker there?" may take once records have failed.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// From when on a silent leader may be another broker by now, and how often that is asked.
const LEADERS_AFTER: Duration = Duration::from_secs(3);
/// How long this question may take: a broker that answers is quick.
const LEADERS_TIMEOUT: Duration = Duration::from_millis(100);

/// What was found of the topic at the start.
pub(super) struct FoundTopic {
    /// How it is now.
    pub(super) seen: SeenTopic,
    /// `None`: not asked, or not told.
    pub(super) settings: Option<TopicSettings>,
    /// There is one if a topic is bound.
    pub(super) probe: Option<TopicProbe>,
}

/// A [`Sink`] into a Kafka topic.
pub struct Producer {
    // Of the same client as the sender, like all that follows.
    pub(super) sender: Sender,
    topic: String,
    /// The topic of the dead letters, if they go to one.
    letters: Option<String>,
    seen: SeenTopic,
    settings: Option<TopicSettings>,
    /// How long "is any broker there?" may take.
    probe_timeout: Duration,
    probe: Option<Rc<TopicProbe>>,
    limits: SinkLimits,
    leaders: Vec<Option<i32>>,
    /// When the leaders were asked for (microseconds of the monotonic clock).
    led: u64,
    tallies: Vec<ReportTally>,
    ready: Vec<Delivered>,
    complaints: Complaints,
    deliveries: Option<(u64, u64)>,
    /// The quickest answer to a group.
    quickest_us: Option<u64>,
    /// How long answers took, by [`answered_in`].
    answers: AnswerTimes,
    /// How many groups each broker has, as far as the leader of their partition was known.
    queues: BTreeMap<Option<i32>, usize>,
    /// How many requests the client sends a broker at a time.
    at_once: u64,
    pub(super) failure: Option<Failure>,
    epochs: Epochs,
    pub(super) transactions: Option<Transactions>,
    /// For the records because of which the brokers refused a batch: the transaction is lost, and nothing more is sent.
    pub(super) search: Option<CulpritSearch>,
    resumed: Option<LedgerEntry>,
}

impl Producer {
    /// A producer that has sent nothing. `leaders` by partition; `complaints`: what the client said until now.
    pub(super) fn new(
        options: &ProducerOptions,
        sender: Sender,
        leaders: Vec<Option<i32>>,
        found: FoundTopic,
        complaints: Complaints,
        begun: Option<(Transactions, Option<LedgerEntry>)>,
    ) -> Producer {
        let (mut transactions, resumed) = begun.map_or((None, None), |(transactions, resumed)| (Some(transactions), resumed));
        transactions.iter_mut().for_each(|transactions| transactions.search = Some(Box::new(options.clone())));
        let partitions = sender.partitions();
        Producer {
            sender,
            topic: options.topic.clone(),
            letters: options.letters.clone(),
            seen: found.seen,
            settings: found.settings,
            probe_timeout: PROBE_TIMEOUT.min(options.metadata_timeout),
            probe: found.probe.map(Rc::new),
            limits: options.limits(),
            leaders,
            led: monotonic_micros(),
            tallies: (0..partitions).map(|_| ReportTally::default()).collect(),
            ready: Vec::new(),
            complaints,
            deliveries: None,
            quickest_us: None,
            answers: AnswerTimes::default(),
            queues: BTreeMap::new(),
            at_once: requests_at_once(&options.properties),
            failure: None,
            epochs: Epochs::new(partitions),
            transactions,
            search: None,
            resumed,
        }
    }

    /// What the topic's settings were when the producer was made; `None`: not asked, or not told.
    pub fn settings(&self) -> Option<TopicSettings> {
        self.settings
    }

    /// The topic as it was seen when the producer was made.
    pub fn seen(&self) -> &SeenTopic {
        &self.seen
    }

    /// How far the progress topic says that the shard is; `None`: it says nothing of it, or was not asked.
    pub fn resumed(&self) -> Option<&LedgerEntry> {
        self.resumed.as_ref()
    }

    /// For looking at the topic again, even after this producer has failed; there is one if a topic is bound.
    pub fn probe(&self) -> Option<Rc<TopicProbe>> {
        self.probe.clone()
    }

    /// A descriptor that becomes readable when there is something to serve; see [`Wakeup`] for the order of things.
    pub fn wakeup(&self) -> io::Result<Wakeup> {
        self.sender.client().wakeup()
    }

    /// How many things are not served yet: records without a served report, and events.
    pub fn queue_length(&self) -> usize {
        self.sender.client().queue_length()
    }

    /// How many records of some partitions the client took and has not reported.
    pub(crate) fn waiting_in(&self, partitions: Range<u32>) -> usize {
        self.sender.waiting_in(partitions)
    }

    /// Groups that are complete and not given back yet.
    pub(crate) fn ready(&mut self) -> &mut Vec<Delivered> {
        &mut self.ready
    }

    /// The client.
    pub(super) fn client(&self) -> &Client {
        self.sender.client()
    }

    /// How many records the client took and has not reported.
    pub(super) fn waiting(&self) -> usize {
        self.sender.waiting() + self.sender.letters_in_flight().count
    }

    /// Notes what ended this producer, if nothing has before.
    pub(super) fn fail(&mut self, failure: &Failure) {
        self.failure.get_or_insert_with(|| failure.clone());
    }

    /// Those of which records were refused, and which are complete and not given back yet.
    pub(super) fn refused_groups(&self) -> impl Iterator<Item = &Delivered> {
        self.ready.iter().filter(|delivered| !delivered.refused.is_empty())
    }

    /// Serves one event. False: none came within `timeout`. A transaction that is lost is concluded.
    pub(crate) fn serve(&mut self, timeout: Duration) -> bool {
        let served = self.serve_once(timeout);
        let is_doomed = self.transactions.as_ref().is_some_and(Transactions::is_doomed);
        if self.failure.is_none() && self.search.is_none() && is_doomed {
            self.conclude();
        }
        served
    }

    /// Serves one event. False: none came within `timeout`.
    pub(super) fn serve_once(&mut self, timeout: Duration) -> bool {
        let Producer { sender, tallies, complaints, failure, topic, epochs, transactions, .. } = self;
        let mut acknowledged = false;
        // What one event tells is about one batch.
        let mut batch = Batch { delivered: false, code: Code::NONE, refused: Vec::new() };
        let mut complete: Vec<u32> = Vec::new();
        let mut failed: Option<(Code, u32, usize)> = None;
        let mut letter_failed: Option<Code> = None;
        let served = sender.serve(timeout, &mut |served| match served {
            Served::Delivered { partition, records } => {
                batch.delivered = true;
                tallies[partition as usize].acknowledged += records;
                acknowledged = true;
                touched(&mut complete, partition);
            }
            Served::Failed { partition, index, code, batch: whole } => {
                match verdict(code) {
                    Verdict::RecordRejected => {
                        batch.code = whole;
                        batch.refused.push((partition, index, code));
                    }
                    Verdict::Delivered | Verdict::AllRejected | Verdict::Unreachable | Verdict::Retry => {
                        failed.get_or_insert((code, partition, index));
                    }
                }
                touched(&mut complete, partition);
            }
            Served::Stray { partition, index, code } => {
                let what = format!(
                    "the client reported record {index} of partition {partition} of {topic:?} a second time, or after its \
                     group was complete ({code})"
                );
                failure.get_or_insert(Failure::new(FailureKind::Retry, what));
            }
            Served::Copied { serial, code } => {
                transactions.iter_mut().for_each(|transactions| transactions.reported(serial, code));
            }
            Served::LetterDelivered => acknowledged = true,
            Served::LetterFailed { code } => _ = letter_failed.get_or_insert(code),
            Served::Notice(notice) => {
                transactions.iter_mut().for_each(|transactions| transactions.hear(&notice));
                complaints.hear(&notice);
                if let Notice::Error { code, .. } = &notice {
                    epochs.broke |= verdict(*code) == Verdict::Unreachable;
                }
                // Any other error is one of a connection, which the client cures by itself or which nothing cures: then
                // no report comes.
                if let Notice::Error { code, fatal: true, text } = notice
                    && transactions.is_none()
                {
                    failure.get_or_insert(cannot_go_on("", code, &text));
                }
            }
        });
        if acknowledged {
            let now = monotonic_micros();
            self.complaints.answered();
            self.deliveries = Some((self.deliveries.map_or(now, |(first, _)| first), now));
        }
        if let Some((code, partition, index)) = failed {
            match &mut self.transactions {
                Some(transactions) => transactions.failed(code, partition, index),
                None if self.failure.is_none() => self.failure = Some(self.failure_of(code, partition, index)),
                None => {}
            }
        }
        if let Some(code) = letter_failed {
            match &mut self.transactions {
                Some(transactions) => transactions.letter_failed(code),
                None if self.failure.is_none() => self.failure = Some(self.letter_failure(code)),
                None => {}
            }
        }
        if !batch.refused.is_empty() {
            self.epochs.refused(|partition| self.sender.waiting_in(partition..partition + 1) > 0);
            let Producer { sender, tallies, transactions, topic, .. } = self;
            for (partition, refusal) in batch.judge() {
                if let Some(transactions) = transactions {
                    let place = sender.place(partition, refusal.index);
                    let RejectedRecord { index, reason, blame } = refusal.clone();
                    transactions.refused(topic, Refusal { partition, index, reason, blame, place });
                }
                tallies[partition as usize].refused.push(refusal);
            }
        }
        for partition in complete {
            self.complete(partition);
        }
        served
    }

    /// Moves a group with all its reports to the ones that are ready to be given back.
    fn complete(&mut self, partition: u32) {
        if let Some(group) = self.sender.take(partition) {
            let mut tally = std::mem::take(&mut self.tallies[partition as usize]);
            tally.refused.sort_by_key(|r| r.index);
            self.epochs.settled(partition, tally.acknowledged);
            self.note_answer(&tally);
            self.ready.push(Delivered { partition, group, acknowledged: tally.acknowledged, refused: tally.refused });
        }
    }

    /// Takes the time of a group that was delivered.
    fn note_answer(&mut self, tally: &ReportTally) {
        if let Some(queue) = self.queues.get_mut(&tally.leader) {
            *queue = queue.saturating_sub(1);
        }
        let Some((_, last)) = self.deliveries.filter(|_| tally.acknowledged > 0) else { return };
        let took_us = last.saturating_sub(tally.handed_us);
        self.quickest_us = Some(self.quickest_us.map_or(took_us, |quickest| quickest.min(took_us)));
        // Of partitions whose leaders are not known it is not known either which queue they share.
        if tally.leader.is_none() {
            return;
        }
        self.answers.note(answered_in(took_us, tally.queue, self.at_once));
    }

    /// What a record's failure means for the attempt.
    pub(super) fn failure_of(&self, code: Code, partition: u32, index: usize) -> Failure {
        self.failure_at(format!("topic {:?}, partition {partition}, record {index} of its group", self.topic), code)
    }

    fn failure_at(&self, place: String, code: Code) -> Failure {
        if let Some((cause, text)) = self.sender.client().fatal_error() {
            return cannot_go_on(&format!("{place}: {code}: "), cause, &text);
        }
        match verdict(code) {
            Verdict::AllRejected => Failure::new(FailureKind::Permanent, format!("{place}: {code}")),
            Verdict::Unreachable => Failure::new(FailureKind::Unreachable, format!("{place}: {code}")),
            _ if is_late(code) && self.transactions.is_some() => {
                let what = format!(
                    "{place}: {code}: not written within the time of its transaction. Is a leader there, and are \
                     min.insync.replicas of its replicas in sync?"
                );
                Failure::new(FailureKind::Unreachable, what)
            }
            // Because no broker was there, or because the record could not be written in time?
            _ if is_late(code) && !self.a_broker_answers() => {
                let reason = self.complaints.reason(code);
                Failure::new(FailureKind::Unreachable, format!("{place}: {code}; no broker answers: {reason}"))
            }
            _ => Failure::new(FailureKind::Retry, format!("{place}: {code}")),
        }
    }

    /// What it means that a dead letter is not delivered: no record may be lost, so that one which can't be set aside
    /// stops the job.
    pub(super) fn letter_failure(&self, code: Code) -> Failure {
        let topic = self.letters.as_deref().unwrap_or_default();
        if matches!(verdict(code), Verdict::RecordRejected | Verdict::AllRejected) {
            return letter_refused(topic, code);
        }
        self.failure_at(letters_place(topic), code)
    }

    fn a_broker_answers(&self) -> bool {
        self.sender.client().metadata(Some(self.sender.topic()), self.probe_timeout).is_ok()
    }

    /// Asks which brokers lead the topic's partitions now, if reports fail to come: a leader that does not answer is
    /// known by its number.
    fn learn_leaders(&mut self) {
        let now = monotonic_micros();
        let heard = self.deliveries.map_or(0, |(_, last)| last).max(self.led);
        if self.complaints.all_down() || self.sender.waiting() == 0 || now < heard + LEADERS_AFTER.as_micros() as u64 {
            return;
        }
        self.led = now;
        let Ok(metadata) = self.sender.client().metadata(Some(self.sender.topic()), LEADERS_TIMEOUT) else { return };
        for (known, (_, leader)) in self.leaders.iter_mut().zip(metadata.partitions) {
            *known = (leader >= 0).then_some(leader);
        }
    }

    /// What ended this producer, if something did.
    pub(crate) fn fail_if_failed(&self) -> Result<(), Failure> {
        self.failure.clone().map_or(Ok(()), Err)
    }
}

/// The client gave up for `cause`, which decides what comes of it: the reports of its records, which may be served
/// before it says so, have only codes that follow from it. `place`: of a record whose report it is, or nothing.
pub(super) fn cannot_go_on(place: &str, cause: Code, text: &str) -> Failure {
    let kind = if verdict(cause) == Verdict::AllRejected { FailureKind::Permanent } else { FailureKind::Retry };
    Failure::new(kind, format!("{place}the producer can't go on: {text} ({cause})"))
}

/// How many requests the client sends a broker before it waits for an answer.
fn requests_at_once(properties: &[(String, String)]) -> u64 {
    /// With idempotence, and so with every producer of ours, the client takes no more.
    const MOST: u64 = 5;
    const NAMES: [&str; 2] = ["max.in.flight.requests.per.connection", "max.in.flight"];
    let asked = properties.iter().rfind(|(name, _)| NAMES.contains(&name.as_str()));
    asked.and_then(|(_, value)| value.trim().parse().ok()).map_or(MOST, |asked: u64| asked.clamp(1, MOST))
}

/// How long the answer to a group took that came back after `took_us` microseconds, and was the last of `queue` groups
/// that its broker had: without the time in which it waited in the client for the answers to those before it. Of these
/// some were on their way for a while.
fn answered_in(took_us: u64, queue: usize, at_once: u64) -> u64 {
    took_us * at_once / (queue as u64).max(at_once)
}

fn letters_place(topic: &str) -> String {
    format!("topic {topic:?} of the dead letters")
}

/// Where letters go is fixed from the first record on: naming another topic is no way out.
fn letter_refused(topic: &str, code: Code) -> Failure {
    let what = format!(
        "{} refuses a letter for good ({code}); nothing is lost: its chunk is not committed. Mend the topic, then run again",
        letters_place(topic)
    );
    Failure::new(FailureKind::State, what)
}

/// Remembers a partition whose group may be complete now. Reports come by partition: each is remembered once.
fn touched(complete: &mut Vec<u32>, partition: u32) {
    if complete.last() != Some(&partition) {
        complete.push(partition);
    }
}

impl Sink for Producer {
    fn partitions(&self) -> u32 {
        self.sender.partitions()
    }

    fn limits(&self) -> SinkLimits {
        self.limits
    }

    fn hand_over(&mut self, partition: u32, group: Group) -> Result<(), Failure> {
        self.fail_if_failed()?;
        let bug =
            |what: &str| Failure::new(FailureKind::Retry, format!("partition {partition}: {what} (a bug of this program)"));
        if group.is_empty() {
            return Err(bug("an empty group was handed over"));
        }
        if self.search.is_some() {
            return Ok(());
        }
        if let Some(transactions) = &mut self.transactions {
            let begun = transactions.begin(self.sender.client());
            begun.inspect_err(|failure| self.fail(failure))?;
        }
        let records = group.len();
        let handed_us = monotonic_micros();
        self.sender.begin(partition, group).map_err(|_| {
            bug(&format!("unknown, or its last group is still in flight, or {records} records are more than {MOST_RECORDS}"))
        })?;
        let leader = self.leader(partition);
        let queue = self.queues.entry(leader).or_default();
        *queue += 1;
        let tally = &mut self.tallies[partition as usize];
        (tally.handed_us, tally.leader, tally.queue) = (handed_us, leader, *queue);
        loop {
            let mut failed = None;
            let tally = &mut self.tallies[partition as usize];
            let all = self.sender.enqueue(partition, &mut |index, code| match verdict(code) {
                Verdict::RecordRejected => {
                    let reason = format!("the Kafka client does not take it: {code}");
                    tally.refused.push(RejectedRecord { index, reason, blame: Blame::Own });
                }
                _ => _ = failed.get_or_insert((code, index)),
            });
            if let Some((code, index)) = failed {
                match &mut self.transactions {
                    // Of a transaction that is lost the client takes nothing more, and the reason is on its way.
                    Some(transactions) => {
                        transactions.failed(code, partition, index);
                        self.conclude();
                    }
                    None => self.failure = Some(self.failure_of(code, partition, index)),
                }
                return self.fail_if_failed();
            }
            if all {
                break;
            }
            // The settings make a full queue impossible; should it happen all the same, wait for room.
            if self.sender.waiting() == 0 {
                return Err(bug("a record does not fit into the client's empty queue"));
            }
            self.serve(Duration::from_millis(10));
            self.fail_if_failed()?;
            if self.search.is_some() {
                return Ok(());
            }
        }
        if self.tallies[partition as usize].refused.len() < records {
            self.transactions.iter_mut().for_each(Transactions::has_records);
        }
        // Nothing of it may have been taken.
        self.complete(partition);
        Ok(())
    }

    fn poll(&mut self, timeout: Duration, done: &mut Vec<Delivered>) -> Result<(), Failure> {
        if self.search_on() {
            return self.fail_if_failed();
        }
        let deadline = (!timeout.is_zero()).then(|| Instant::now() + timeout);
        let mut wait = if self.ready.is_empty() { timeout } else { Duration::ZERO };
        while self.failure.is_none() && self.search.is_none() && self.serve(wait) {
            // A log line does not end the wait, a complete group does.
            wait = match deadline {
                Some(deadline) if self.ready.is_empty() => deadline.saturating_duration_since(Instant::now()),
                _ => Duration::ZERO,
            };
        }
        self.fail_if_failed()?;
        if self.search.is_some() {
            return Ok(());
        }
        self.learn_leaders();
        done.append(&mut self.ready);
        Ok(())
    }

    fn outstanding(&self) -> usize {
        if let Some(search) = &self.search {
            return search.left();
        }
        // The client counts its own events too. With all reports accounted for the smaller is the exact number; when a
        // report was lost it is the client's, which comes down to 0. A group whose every record was refused at once
        // waits to be given back.
        let ready: usize = self.ready.iter().map(|delivered| delivered.group.len()).sum();
        self.sender.client().queue_length().min(self.sender.waiting() + self.sender.letters_in_flight().count) + ready
    }

    fn set_aside(&mut self, letter: OutgoingLetter) -> Result<(), Failure> {
        self.fail_if_failed()?;
        if let Some(transactions) = &mut self.transactions {
            let begun = transactions.begin(self.sender.client());
            begun.inspect_err(|failure| self.fail(failure))?;
        }
        while let Some(letters) = self.sender.letters() {
            if self.search.is_some() {
                return Ok(());
            }
            match letters.send(&letter) {
                Ok(()) => {
                    self.transactions.iter_mut().for_each(Transactions::has_records);
                    return Ok(());
                }
                // The settings make a full queue impossible; should it happen all the same, wait for room.
                Err(code) if code.known() == Some(E::RD_KAFKA_RESP_ERR__QUEUE_FULL) => {
                    self.serve(Duration::from_millis(10));
                    self.fail_if_failed()?;
                }
                Err(code) => {
                    match &mut self.transactions {
                        // Of a transaction that is lost the client takes nothing more, and the reason is on its way.
                        Some(transactions) => {
                            transactions.letter_failed(code);
                            self.conclude();
                        }
                        None => self.failure = Some(self.letter_failure(code)),
                    }
                    return self.fail_if_failed();
                }
            }
        }
        Err(Failure::new(FailureKind::Permanent, "no topic of dead letters is known (a bug of this program)"))
    }

    fn letters_in_flight(&self) -> LettersInFlight {
        self.sender.letters_in_flight()
    }

    fn leader(&self, partition: u32) -> Option<i32> {
        self.leaders.get(partition as usize).copied().flatten()
    }

    fn trouble(&self) -> Trouble {
        let all = self.complaints.all_down();
        let since = self.deliveries.map_or(0, |(_, last)| last);
        let awaited = |broker: i32| {
            (0..)
                .zip(&self.leaders)
                .any(|(partition, leader)| *leader == Some(broker) && self.waiting_in(partition..partition + 1) > 0)
        };
        Trouble { all, cause: self.complaints.cause(since, |broker| all || broker.is_some_and(awaited)) }
    }

    fn lines_not_shown(&self) -> u32 {
        self.complaints.hidden()
    }

    fn deliveries(&self) -> Option<(u64, u64)> {
        self.deliveries
    }

    fn quickest_us(&self) -> Option<u64> {
        self.quickest_us
    }

    fn answers(&self) -> AnswerTimes {
        self.answers
    }

    fn held_back(&self) -> AnswerTimes {
        self.sender.client().held_back()
    }

    fn perhaps_doubled(&self) -> u64 {
        let in_flight =
            |partition: u32| self.sender.waiting_in(partition..partition + 1) + self.tallies[partition as usize].acknowledged;
        self.epochs.perhaps_doubled(in_flight)
    }

    fn commit(&mut self, entry: &LedgerEntry) -> Result<(), Failure> {
        self.commit_with(entry)
    }

    fn finish(self: Box<Self>) -> Result<(), Failure> {
        if self.transactions.as_ref().is_some_and(Transactions::is_unfinished) {
            let what = "the producer was ended with records that were not committed";
            return Err(Failure::new(FailureKind::Retry, what));
        }
        let (waiting, ready) = (self.waiting(), self.ready.len());
        if waiting > 0 || ready > 0 {
            let what = format!("the producer was ended with {waiting} records and {ready} groups in flight");
            return Err(Failure::new(FailureKind::Retry, what));
        }
        self.fail_if_failed()
    }
}

impl Drop for Producer {
    /// What is in flight is given up at once. The client's threads have ended when this returns, or end by themselves.
    fn drop(&mut self) {
        if self.waiting() > 0 {
            self.sender.client().purge();
            let deadline = Instant::now() + PURGE_TIMEOUT;
            while self.waiting() > 0 && Instant::now() < deadline {
                self.sender.serve(Duration::from_millis(20), &mut |_| {});
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_in_the_client_for_other_answers_is_no_part_of_an_answer() {
        let of = |name: &str, value: &str| requests_at_once(&[(name.to_owned(), value.to_owned())]);
        assert_eq!((of("linger.ms", "3"), of("max.in.flight", "2"), of("max.in.flight", "99")), (5, 2, 5));
        let queues = [0, 1, 5, 6, 10, 11].map(|queue| answered_in(90_000, queue, 5));
        assert_eq!(queues, [90_000, 90_000, 90_000, 75_000, 45_000, 40_909]);
    }

    #[test]
    fn a_refused_letter_is_told_with_what_can_be_done() {
        let failure = letter_refused("letters", Code::of(E::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE));
        assert_eq!(failure.kind, FailureKind::State);
        let expected = "topic \"letters\" of the dead letters refuses a letter for good (Broker: Message size too large (MSG_SIZE_TOO_LARGE)); nothing \
                        is lost: its chunk is not committed. Mend the topic, then run again";
        assert_eq!(failure.message, expected);
    }
}
