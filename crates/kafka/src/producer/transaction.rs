//! Transactions: a chunk's records and the shard's progress are one.
//!
//! Responsible for: taking over the shard's transactional id, which aborts and fences any predecessor; reading then how
//! far the shard is; and committing a chunk with its progress, or saying that nothing is known of the commit. Not
//! responsible for: what happens after a failure. The process ends, nothing is ever aborted by it, and a successor
//! takes the id over.

use std::rc::Rc;
use std::time::{Duration, Instant};

use migration::job::Partitioner;
use migration::units::show_things;
use migration::{Failure, FailureKind, LedgerEntry, RefusedRecord, ShardProgress};
use pipeline::Blame;
use rdkafka::types::RDKafkaRespErr as E;

use super::batch::Refusal;
use super::connecting::Awaited;
use super::culprits::{CulpritSearch, CulpritTrial, Suspects};
use super::options::{ProducerOptions, TransactionOptions};
use super::sink::{Producer, cannot_go_on};
use crate::classify::{Verdict, verdict};
use crate::ffi::{Client, Code, Notice, StepError, Topic};
use crate::notice::{Complaints, Patience, until_answered_in};
use crate::partitioner;
use crate::progress::record;
use crate::progress::scan::{NewestValues, Scan, ScanError, ScanPatience, Scanned, Start};
use crate::topic_probe::is_unknown_topic;
use crate::turns::Turns;

/// How long one call for the initialisation waits. The client asks its broker again only when a timer of half a second
/// ends, or when it hears metadata: a predecessor that died in a transaction makes the first answer "not yet".
const INIT_STEP: Duration = Duration::from_millis(25);
/// How long the question whose answer wakes it is waited for: the client hears the answer all the same, and who waits
/// for one that takes a round trip hears of the initialisation up to a round trip late.
const WAKE: Duration = Duration::from_millis(1);
/// Such a question follows the one before once that should be answered, and no later than after this time.
const WAKE_EVERY: Duration = Duration::from_millis(100);
/// How long the initialisation is waited for where it only has to be begun.
const BEGIN: Duration = Duration::from_millis(1);
/// How often who waits is asked whether to go on.
const TURN: Duration = Duration::from_millis(200);
/// The newest records of a partition that are looked through before all of them.
const NEWEST: i64 = 2_000;
/// How long other reports are waited for once one of a transaction was bad.
const GATHER: Duration = Duration::from_secs(2);
/// Without a report for this time no more are waited for.
const GATHERED: Duration = Duration::from_millis(250);

/// Where a shard's progress record goes.
pub(super) struct ProgressPlace {
    topic: Topic,
    partition: u32,
    key: String,
}

/// A producer's transactions.
pub(super) struct Transactions {
    options: TransactionOptions,
    place: ProgressPlace,
    /// One is open.
    open: bool,
    /// Records of it were handed to the client.
    has_records: bool,
    /// Which progress record is the newest.
    serial: u32,
    /// What became of it.
    report: Option<Code>,
    answers: EndAnswers,
    doom: Doom,
    /// With what a client is made that finds out which records of a batch are refused; `None`: this is such a client.
    pub(super) search: Option<Box<ProducerOptions>>,
}

/// What is known of a transaction that can't be committed any more.
#[derive(Default)]
struct Doom {
    /// Records that the brokers refused for good.
    refused: Vec<RefusedRecord>,
    /// Others of batches of which some are, and it is not known which.
    suspects: Vec<String>,
    /// The first failure of another kind: code, partition, index.
    failed: Option<(Code, u32, usize)>,
    /// Why a dead letter was not delivered.
    letter: Option<Code>,
    /// Why the client gave the transaction up, from its log.
    given_up: Option<(Code, String)>,
}

/// What the brokers answered to the end of a transaction, from the client's log: the client asks again by itself after
/// an answer that was lost, and says then that all went well, while the first request may still be on its way.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct EndAnswers {
    good: u32,
    bad: Option<String>,
}

impl EndAnswers {
    /// Hears a line of the client's log.
    pub(crate) fn hear(&mut self, notice: &Notice) {
        let Notice::Log { facility, text, .. } = notice else { return };
        if facility != "ENDTXN" {
            return;
        }
        // "[thrd:main]: EndTxn returned NO_ERROR in state CommittingTransaction (may_retry=false)"
        match text.split_once("EndTxn returned ").and_then(|(_, rest)| rest.split_once(" in state ")) {
            Some(("NO_ERROR", _)) => self.good += 1,
            Some((name, rest)) => {
                let state = rest.split_once(' ').map_or(rest, |(state, _)| state);
                self.bad.get_or_insert(format!("{name} in state {state}"));
            }
            // A line that is not understood is no proof of anything.
            None => self.bad = Some(text.clone()),
        }
    }

    /// Why it is not known what became of a commit that the client calls good.
    pub(crate) fn doubt(&self) -> Option<String> {
        match (&self.bad, self.good) {
            (Some(bad), _) => Some(format!("EndTxn returned {bad}")),
            (None, 1) => None,
            (None, good) => Some(format!("{good} answers were seen")),
        }
    }
}

/// What the client does for a producer that is to have transactions, until it has them.
pub(super) struct Takeover {
    committed: Rc<Client>,
    properties: Vec<(String, String)>,
    topic: Topic,
    /// The same as the reader's: it learns the leaders while it connects.
    _read: Topic,
    /// How many partitions the progress topic has, and how long that answer took.
    partitions: Option<(u32, Duration)>,
    initialised: bool,
    /// What was read before the last wait ended.
    scanned: Option<Scanned>,
}

impl Takeover {
    /// `client`: the producer's. `committed`: one that reads committed records.
    pub(super) fn new(
        options: &TransactionOptions,
        client: &Rc<Client>,
        committed: Rc<Client>,
        properties: Vec<(String, String)>,
    ) -> Result<Takeover, Failure> {
        let unusable = |code: Code| {
            let what = format!("can't use the progress topic {:?}: {code}", options.ledger.topic);
            Failure::new(FailureKind::Permanent, what)
        };
        let topic = Topic::new(client, &options.ledger.topic).map_err(unusable)?;
        let read = Topic::new(&committed, &options.ledger.topic).map_err(unusable)?;
        Ok(Takeover { committed, properties, topic, _read: read, partitions: None, initialised: false, scanned: None })
    }

    /// Has the reader begin to connect, which it does by itself then: to the brokers that it was told, and when those
    /// have answered to one that they name.
    pub(super) fn wake_reader(&self) {
        let _ = self.committed.metadata(None, Duration::from_millis(1));
    }

    /// Has the client look for its coordinator with the next answer about metadata. Beside the brokers the id may be
    /// taken over by the time that this returns, and can't be waited for then; an error is heard when it is.
    pub(super) fn begin(&mut self, client: &Client) {
        if !self.initialised {
            self.initialised = client.init_transactions(BEGIN).is_ok();
        }
    }

    /// Asks for the progress topic instead of another: any answer wakes the client, and this one is needed.
    pub(super) fn look(&mut self, client: &Client, timeout: Duration) {
        let since = Instant::now();
        self.partitions = self.ask(client, timeout).ok().map(|partitions| (partitions, since.elapsed()));
    }

    /// How many partitions the progress topic has.
    fn ask(&self, client: &Client, timeout: Duration) -> Result<u32, Code> {
        let found = client.metadata(Some(&self.topic), timeout)?;
        match Code(found.code) {
            Code::NONE if found.partitions.is_empty() => Err(Code::of(E::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE)),
            Code::NONE => Ok(found.partitions.len() as u32),
            error => Err(error),
        }
    }

    /// Takes over the transactional id, which may last `timeout`, then reads how far the shard is, which may last
    /// longer while it comes further. It can be asked again after a failure of the kind `Unreachable`, and goes on from
    /// there.
    pub(super) fn go(
        &mut self,
        options: &TransactionOptions,
        client: &Rc<Client>,
        complaints: &mut Complaints,
        timeout: Duration,
        turns: &mut Turns<'_>,
        awaits: &mut Awaited,
    ) -> Result<(Transactions, Option<LedgerEntry>), Failure> {
        let deadline = Instant::now() + timeout;
        *awaits = Awaited::Progress;
        let (partitions, answered_in) = match self.partitions {
            Some(known) => known,
            None => (self.partitions(options, client, complaints, timeout, turns)?, Duration::ZERO),
        };
        if !self.initialised {
            *awaits = Awaited::TransactionalId;
            self.initialise(options, client, complaints, deadline, answered_in.min(WAKE_EVERY), turns)?;
            self.initialised = true;
            *awaits = Awaited::Progress;
        }
        let key = options.ledger.shard_key(options.shard);
        let partition = partitioner::choose(Partitioner::Murmur2)(key.as_bytes(), partitions)
            .ok_or_else(|| Failure::new(FailureKind::Unreachable, "the progress topic has no partitions yet"))?;
        let resumed = if options.resumes {
            let newest = self.read(options, client, partition, timeout, turns).map_err(unread)?;
            newest.into_values().next().map_or(Ok(None), |value| resume(options, &value))?
        } else {
            None
        };
        let topic = Topic::new(client, &options.ledger.topic)
            .map_err(|code| Failure::new(FailureKind::Retry, format!("can't use the progress topic: {code}")))?;
        let transactions = Transactions {
            options: options.clone(),
            place: ProgressPlace { topic, partition, key },
            open: false,
            has_records: false,
            serial: 0,
            report: None,
            answers: EndAnswers::default(),
            doom: Doom::default(),
            search: None,
        };
        Ok((transactions, resumed))
    }

    /// Reads what the topic has of the shard: in its newest records, or in all. Nothing more is written there by an
    /// older producer, so that what was read stays true.
    fn read(
        &mut self,
        options: &TransactionOptions,
        client: &Client,
        partition: u32,
        timeout: Duration,
        turns: &mut Turns<'_>,
    ) -> Result<NewestValues, ScanError> {
        let Takeover { committed, properties, scanned: kept, .. } = self;
        let scan = Scan { asker: client, committed, properties, topic: &options.ledger.topic };
        let key = options.ledger.shard_key(options.shard);
        let own = |candidate: &[u8]| candidate == key.as_bytes();
        let patience = ScanPatience { silent: timeout, hidden: timeout, tells: false };
        let mut scanned = match kept.take() {
            Some(scanned) => scanned,
            None => scan.begin(&[partition], Start::Back(NEWEST), patience, turns)?,
        };
        loop {
            match scan.go_on(&mut scanned, &own, &own, patience, turns) {
                Ok(()) if scanned.has_older() => scanned = scan.begin(&[partition], Start::Begin, patience, turns)?,
                Ok(()) => return Ok(scanned.found()),
                Err(error) => {
                    *kept = Some(scanned).filter(|_| error.is_late());
                    return Err(error);
                }
            }
        }
    }

    /// How many partitions the progress topic has.
    fn partitions(
        &self,
        options: &TransactionOptions,
        client: &Rc<Client>,
        complaints: &mut Complaints,
        timeout: Duration,
        turns: &mut Turns<'_>,
    ) -> Result<u32, Failure> {
        let name = &options.ledger.topic;
        let ask = |timeout| self.ask(client, timeout);
        until_answered_in(turns, client, timeout, Patience::UntilTimeout, complaints, ask).map_err(|code| {
            if is_unknown_topic(code) {
                // A job's plan stood in it before there was a worker.
                return Failure::new(FailureKind::Topic, no_progress_topic(name, true));
            }
            let kind = if verdict(code) == Verdict::AllRejected { FailureKind::Permanent } else { FailureKind::Unreachable };
            Failure::new(kind, format!("no metadata of the progress topic {name:?}: {}", complaints.reason(code)))
        })
    }

    fn initialise(
        &self,
        options: &TransactionOptions,
        client: &Client,
        complaints: &mut Complaints,
        deadline: Instant,
        wake_every: Duration,
        turns: &mut Turns<'_>,
    ) -> Result<(), Failure> {
        let (mut told, mut woken) = (Instant::now(), None::<Instant>);
        loop {
            let since = Instant::now();
            let Err(error) = client.init_transactions(turns.bound(INIT_STEP)) else { return Ok(()) };
            complaints.hear_all(client);
            let id = options.ledger.transactional_id(options.shard);
            if !error.retriable || verdict(error.code) == Verdict::AllRejected {
                return Err(refused_id(&id, client, &error));
            }
            let over = Instant::now() >= deadline;
            let due = told.elapsed() >= TURN;
            if over || due && !turns.go_on() {
                let what = format!("the coordinator of the transactional id {id:?} gives no answer: {}", error.text);
                return Err(Failure::new(FailureKind::Unreachable, what));
            }
            if due {
                told = Instant::now();
            }
            if woken.is_none_or(|woken| woken.elapsed() >= wake_every) {
                let _ = client.metadata(Some(&self.topic), WAKE);
                woken = Some(Instant::now());
            }
            // The initialisation may come back at once with an error.
            std::thread::sleep(INIT_STEP.saturating_sub(since.elapsed()));
        }
    }
}

/// What is said where there is no progress topic. `begun`: the job has had one, and an empty one would be of no use.
pub(crate) fn no_progress_topic(name: &str, begun: bool) -> String {
    if begun {
        return format!(
            "the progress topic {name:?} is gone, and with it how far the job is: nothing more is sent, for it could be there \
             already. Set checkpoint.topic as it was when the job began; if the topic was deleted, begin another job (job.name) \
             into an empty topic"
        );
    }
    format!(
        "the progress topic {name:?} does not exist: exactly-once keeps in it how far each shard is. Make it with: \
         shardlift check --create (or name another with checkpoint.topic)"
    )
}

/// Whether a code says that the brokers take this producer for an older one.
pub(crate) fn is_fenced(code: Code) -> bool {
    matches!(
        code.known(),
        Some(E::RD_KAFKA_RESP_ERR__FENCED | E::RD_KAFKA_RESP_ERR_PRODUCER_FENCED | E::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH)
    )
}

/// That this producer is taken for an older one, which may be so without another: a request of its own that came late,
/// or a transaction that lasted too long, has the same answer.
fn fenced(id: &str, code: Code, text: &str) -> Failure {
    let what = format!(
        "another producer has the transactional id {id:?} by now, or the brokers take this one for an older one: {text} ({code})"
    );
    Failure::new(FailureKind::Fenced, what)
}

/// The transactional id was not taken over, and asking again does not help.
pub(crate) fn refused_id(id: &str, client: &Client, error: &StepError) -> Failure {
    let (code, text) = client.fatal_error().unwrap_or_else(|| (error.code, error.text.clone()));
    let permanent = |what: String| Failure::new(FailureKind::Permanent, what);
    match code.known() {
        Some(E::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED) => permanent(format!(
            "the principal may not use the transactional id {id:?}. Grant it with: kafka-acls.sh --add --allow-principal \
             User:NAME --operation Write --operation Describe --transactional-id {id:?} (or, for all of a job's, a shorter \
             name with --resource-pattern-type prefixed)"
        )),
        Some(E::RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT) => permanent(format!(
            "the brokers allow no transaction as long as this job's may be: raise their transaction.max.timeout.ms, or lower \
             workers.chunk.interval ({text})"
        )),
        _ if verdict(code) == Verdict::AllRejected => {
            permanent(format!("the transactional id {id:?} can't be used: {text} ({code})"))
        }
        _ if error.fatal || is_fenced(code) => fenced(id, code, &text),
        _ => Failure::new(FailureKind::Retry, format!("the transactional id {id:?} was not taken over: {text} ({code})")),
    }
}

/// The progress topic was not read. That there is none is believed where metadata say so, which the next wait asks for.
fn unread(error: ScanError) -> Failure {
    let kind = match verdict(error.code) {
        Verdict::AllRejected if !is_unknown_topic(error.code) => FailureKind::Permanent,
        _ => FailureKind::Unreachable,
    };
    Failure::new(kind, error.text)
}

/// From where a shard goes on whose newest record is `value`; `None`: it is one of an earlier start of the job.
fn resume(options: &TransactionOptions, value: &[u8]) -> Result<Option<LedgerEntry>, Failure> {
    let (topic, key) = (&options.ledger.topic, options.ledger.shard_key(options.shard));
    let ledger = |what: String| Failure::new(FailureKind::Ledger, format!("progress topic {topic:?}, key {key:?}: {what}"));
    let progress = record::decode(value).map_err(ledger)?;
    let (found, own) = (progress.of, options.ledger.of);
    if found.generation > own.generation {
        return Err(ledger(format!(
            "the job was started over at another place (generation {}, and this is {}): what this state says is not true any \
             more. Remove the state directory of this job to go on with that one",
            found.generation, own.generation
        )));
    }
    if found.generation < own.generation {
        return Ok(None);
    }
    if found.plan_id != own.plan_id {
        return Err(ledger(format!(
            "it belongs to another plan of a job of this name (plan {:032x}, and this is {:032x}). Give one of both another \
             job.name, or begin anew with --restart",
            found.plan_id, own.plan_id
        )));
    }
    Ok((!record::is_mark(&progress)).then_some(progress.entry))
}

impl Transactions {
    /// A progress record's report.
    pub(super) fn reported(&mut self, serial: u32, code: Code) {
        if serial == self.serial & 0xf_ffff {
            self.report = Some(code);
        }
    }

    /// Hears what the client says.
    pub(super) fn hear(&mut self, notice: &Notice) {
        self.answers.hear(notice);
        if let Notice::Error { code, fatal: true, text } = notice {
            self.doom.given_up.get_or_insert_with(|| (*code, text.clone()));
        }
        // "[thrd:main]: Current transaction failed in state InTransaction: … (TOPIC_AUTHORIZATION_FAILED)"
        if let Notice::Log { facility, text, .. } = notice
            && facility == "TXNERR"
            && let Some((_, rest)) = text.split_once("Current transaction failed in state ")
        {
            let why = rest.split_once(": ").map_or(rest, |(_, why)| why);
            let name = why.rsplit_once('(').map_or("", |(_, name)| name);
            let name = name.trim_end_matches(')').split(',').next().unwrap_or_default();
            let code = Code::named(name).unwrap_or(Code::of(E::RD_KAFKA_RESP_ERR__FAIL));
            self.doom.given_up.get_or_insert((code, why.to_owned()));
        }
    }

    /// The client was given records of the open transaction.
    pub(super) fn has_records(&mut self) {
        self.has_records = true;
    }

    /// Whether records would be lost if the producer ended now.
    pub(super) fn is_unfinished(&self) -> bool {
        self.open && self.has_records
    }

    /// Whether the open transaction can't be committed any more.
    pub(super) fn is_doomed(&self) -> bool {
        let Doom { refused, suspects, failed, letter, given_up } = &self.doom;
        letter.is_some() || !refused.is_empty() || !suspects.is_empty() || failed.is_some() || given_up.is_some()
    }

    /// A record was not delivered, for another reason than that the brokers refuse it.
    pub(super) fn failed(&mut self, code: Code, partition: u32, index: usize) {
        // What the client throws away because of another failure says nothing about that.
        let known = self.doom.failed.filter(|(code, ..)| !is_purged(*code));
        self.doom.failed = Some(known.unwrap_or((code, partition, index)));
    }

    /// A dead letter was not delivered.
    pub(super) fn letter_failed(&mut self, code: Code) {
        let known = self.doom.letter.filter(|code| !is_purged(*code));
        self.doom.letter = Some(known.unwrap_or(code));
    }

    /// Records were refused for good.
    pub(super) fn refused(&mut self, topic: &str, refusal: Refusal) {
        let Refusal { partition, index, reason, blame, place } = refusal;
        let at = format!("topic {topic:?}, partition {partition}, record {index} of its group: {reason}");
        match (blame, place) {
            // Nothing is wrong with it.
            (Blame::Others, _) => {}
            (Blame::Own, Some(place)) => {
                let reason = reason.chars().take(RefusedRecord::LONGEST_REASON).collect();
                self.doom.refused.push(RefusedRecord { segment: place.segment, start: place.start, reason });
            }
            (Blame::Own | Blame::Unknown, _) => self.doom.suspects.push(at),
        }
    }

    fn id(&self) -> String {
        self.options.ledger.transactional_id(self.options.shard)
    }

    /// Why the brokers take the client for an older one, if they do.
    fn fenced(&self, client: &Client) -> Option<Failure> {
        let (code, text) = client.fatal_error()?;
        Some(if is_fenced(code) { fenced(&self.id(), code, &text) } else { cannot_go_on("", code, &text) })
    }

    /// What a step that did not succeed makes of the attempt.
    fn step_failed(&self, client: &Client, what: &str, error: &StepError) -> Failure {
        if let Some(failure) = self.fenced(client) {
            return failure;
        }
        if is_fenced(error.code) {
            return fenced(&self.id(), error.code, &error.text);
        }
        let kind = match verdict(error.code) {
            Verdict::AllRejected => FailureKind::Permanent,
            Verdict::Unreachable => FailureKind::Unreachable,
            _ if is_late(error.code) => FailureKind::Unreachable,
            Verdict::Delivered | Verdict::RecordRejected | Verdict::Retry => FailureKind::Retry,
        };
        Failure::new(kind, format!("{what}: {} ({})", error.text, error.code))
    }

    /// Begins a transaction, if none is open.
    pub(super) fn begin(&mut self, client: &Client) -> Result<(), Failure> {
        if self.open {
            return Ok(());
        }
        client.begin_transaction().map_err(|error| self.step_failed(client, "no transaction could be begun", &error))?;
        self.open = true;
        Ok(())
    }
}

fn unacknowledged(patience: Duration) -> Failure {
    let what =
        format!("the shard's progress was not acknowledged within {} s; nothing of its chunk is committed", patience.as_secs());
    Failure::new(FailureKind::Unreachable, what)
}

/// Whether a code only says that the client threw a record away.
fn is_purged(code: Code) -> bool {
    matches!(
        code.known(),
        Some(E::RD_KAFKA_RESP_ERR__PURGE_QUEUE | E::RD_KAFKA_RESP_ERR__PURGE_INFLIGHT | E::RD_KAFKA_RESP_ERR__STATE)
    )
}

/// Whether a code says that the brokers did not take something in time. In a transaction that is no fault of the
/// worker's: its time is over while a partition can't be written, and a successor meets the same until it can be. So it
/// is no death, of which five would give the shard up.
pub(super) fn is_late(code: Code) -> bool {
    matches!(code.known(), Some(E::RD_KAFKA_RESP_ERR__MSG_TIMED_OUT | E::RD_KAFKA_RESP_ERR__TIMED_OUT))
}

/// The places of the refused records, or what to say where there are too many of them.
fn refusals(mut refused: Vec<RefusedRecord>) -> Failure {
    refused.sort_by_key(|record| (record.segment, record.start));
    refused.dedup_by_key(|record| (record.segment, record.start));
    let first = refused.first().map_or_else(String::new, |record| record.reason.clone());
    let count = refused.len();
    if count > RefusedRecord::MOST {
        return Failure::new(FailureKind::Permanent, RefusedRecord::too_many(count, &first));
    }
    let what = format!("the brokers refuse {count} records of a transaction for good, which is lost with them: {first}");
    Failure { refused, ..Failure::new(FailureKind::Refused, what) }
}

/// What is said of records of which it is not known which are refused. Who searches for them knows what follows.
fn suspected(suspects: &[String]) -> Failure {
    let what =
        format!("the brokers refuse a batch of {}: {}", show_things(suspects.len() as u64, "record"), first_of(suspects));
    Failure::new(FailureKind::Refused, what)
}

/// A batch was refused, and none of its records when it was sent alone: a clock or a setting of the brokers may be
/// another one by now, so that a successor tries.
fn unfound(suspects: &[String]) -> Failure {
    let what = format!(
        "the brokers refused a batch of {}, and then none of them alone: {}",
        show_things(suspects.len() as u64, "record"),
        first_of(suspects)
    );
    Failure::new(FailureKind::Retry, what)
}

fn first_of(suspects: &[String]) -> &str {
    suspects.first().map_or("", String::as_str)
}

impl Producer {
    /// Waits a little for what else the client has to report of a transaction that is lost, and notes what that comes
    /// to, or begins to search for it.
    pub(super) fn conclude(&mut self) {
        match self.conclusion() {
            Some(failure) => self.fail(&failure),
            None => self.search = self.new_search(),
        }
    }

    /// The same at a commit, where all reports of records are in, and were good.
    fn concluded(&mut self) -> Failure {
        let bug = || Failure::new(FailureKind::Retry, "records were refused at a commit (a bug of this program)");
        self.conclusion().unwrap_or_else(bug)
    }

    /// `None`: that is to be searched for.
    fn conclusion(&mut self) -> Option<Failure> {
        let deadline = Instant::now() + GATHER;
        let mut quiet = Instant::now();
        while self.waiting() > 0 && Instant::now() < deadline && quiet.elapsed() < GATHERED {
            if self.serve_once(Duration::from_millis(20)) {
                quiet = Instant::now();
            }
        }
        let client = self.client();
        let Some(transactions) = &self.transactions else {
            let what = "a transaction failed where there is none (a bug of this program)";
            return Some(Failure::new(FailureKind::Retry, what));
        };
        let Doom { refused, suspects, failed, letter, given_up } = &transactions.doom;
        if let Some(failure) = transactions.fenced(client) {
            return Some(failure);
        }
        if let Some(code) = letter.filter(|code| !is_purged(*code) && !is_fenced(*code)) {
            return Some(self.letter_failure(code));
        }
        let failed = failed.map(|(code, partition, index)| (code, partition, index));
        Some(match (refused.as_slice(), suspects.as_slice(), failed, given_up.clone()) {
            ([_, ..], ..) => refusals(refused.clone()),
            ([], [_, ..], ..) if transactions.search.is_some() => return None,
            ([], [_, ..], ..) => suspected(suspects),
            (.., Some((code, ..)), given_up) if is_fenced(code) => {
                let text = given_up.map_or_else(|| "a record was not delivered".to_owned(), |(_, text)| text);
                fenced(&transactions.id(), code, &text)
            }
            (.., Some((code, partition, index)), None) => self.failure_of(code, partition, index),
            (.., Some((code, partition, index)), Some(_)) if !is_purged(code) => self.failure_of(code, partition, index),
            (.., Some((code, text))) => {
                let error = StepError { code, text, retriable: false, fatal: false };
                transactions.step_failed(client, "the transaction is lost", &error)
            }
            (.., None, None) => match letter {
                Some(code) if is_fenced(*code) => fenced(&transactions.id(), *code, "a dead letter was not delivered"),
                Some(code) => self.letter_failure(*code),
                None => Failure::new(FailureKind::Retry, "the transaction is lost"),
            },
        })
    }

    /// A search for those of the records of refused batches that are refused alone.
    fn new_search(&self) -> Option<CulpritSearch> {
        let options = self.transactions.as_ref()?.search.as_ref()?;
        let patience = options.transaction.as_ref()?.commit_timeout;
        let suspects = self.refused_groups().filter_map(|delivered| {
            let unknown = delivered.refused.iter().filter(|refused| refused.blame == Blame::Unknown);
            let group = delivered.group.select(unknown.map(|refused| refused.index).collect::<Vec<_>>());
            (!group.is_empty()).then_some(Suspects { partition: delivered.partition, group })
        });
        // A client that connects may ask several questions in one step.
        Some(CulpritSearch::new(options, suspects.collect(), patience / 4))
    }

    /// Goes on with a search; false: there is none.
    pub(super) fn search_on(&mut self) -> bool {
        let Some(mut search) = self.search.take() else { return false };
        let failure = match search.step() {
            CulpritTrial::On => {
                self.search = Some(search);
                return true;
            }
            CulpritTrial::Found(found) if found.is_empty() => {
                let suspects = self.transactions.as_ref().map_or(&[][..], |transactions| &transactions.doom.suspects);
                unfound(suspects)
            }
            CulpritTrial::Found(found) => refusals(found),
            CulpritTrial::Failed(failure) => failure,
        };
        self.fail(&failure);
        true
    }

    /// Commits what was handed over since the last commit together with the shard's progress.
    pub(super) fn commit_with(&mut self, entry: &LedgerEntry) -> Result<(), Failure> {
        self.fail_if_failed()?;
        let result = self.try_commit(entry);
        if let Err(failure) = &result {
            self.fail(failure);
        }
        result
    }

    fn try_commit(&mut self, entry: &LedgerEntry) -> Result<(), Failure> {
        let bug = |what: &str| Failure::new(FailureKind::Retry, format!("{what} (a bug of this program)"));
        let waiting = self.waiting();
        if waiting > 0 {
            return Err(bug(&format!("a commit with {waiting} records in flight")));
        }
        let Producer { sender, transactions, .. } = self;
        let client = sender.client();
        let transactions = transactions.as_mut().ok_or_else(|| bug("a commit of a producer without transactions"))?;
        transactions.begin(client)?;
        let progress =
            ShardProgress { of: transactions.options.ledger.of, attempt: transactions.options.attempt, entry: entry.clone() };
        transactions.serial = transactions.serial.wrapping_add(1);
        transactions.report = None;
        transactions.answers = EndAnswers::default();
        let ProgressPlace { topic, partition, key } = &transactions.place;
        topic
            .produce_copy(*partition, key.as_bytes(), Some(&record::encode(&progress)), transactions.serial)
            .map_err(|error| transactions.step_failed(client, "the shard's progress could not be handed over", &error))?;
        let patience = transactions.options.commit_timeout;
        self.await_progress(patience)?;
        let client = self.client();
        let committed = client.commit_transaction(patience);
        // What the client said of it stands in the queue by now.
        while self.serve_once(Duration::ZERO) {}
        let Producer { sender, transactions, failure, .. } = self;
        let transactions = transactions.as_mut().ok_or_else(|| bug("transactions that are gone"))?;
        transactions.judge(sender.client(), committed)?;
        if let Some(failure) = failure {
            return Err(failure.clone());
        }
        transactions.open = false;
        transactions.has_records = false;
        Ok(())
    }

    /// Waits until the brokers have the progress record.
    fn await_progress(&mut self, patience: Duration) -> Result<(), Failure> {
        let mut deadline = Instant::now() + patience;
        let mut gathered = None;
        loop {
            let report = self.transactions.as_ref().and_then(|transactions| transactions.report);
            let is_doomed = self.transactions.as_ref().is_some_and(Transactions::is_doomed);
            match report {
                Some(Code::NONE) => return Ok(()),
                Some(code) => return Err(self.progress_failed(code)),
                // The report, which says whether this record is refused, may be served only after that.
                None if is_doomed => deadline = deadline.min(*gathered.get_or_insert_with(|| Instant::now() + GATHER)),
                None => self.fail_if_failed()?,
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match (left.is_zero(), is_doomed) {
                (false, _) => _ = self.serve_once(left),
                (true, true) => return Err(self.concluded()),
                (true, false) => return Err(unacknowledged(patience)),
            }
        }
    }

    fn progress_failed(&mut self, code: Code) -> Failure {
        if is_purged(code) {
            return self.concluded();
        }
        let client = self.client();
        let Some(transactions) = &self.transactions else {
            return Failure::new(FailureKind::Retry, "a progress record without transactions (a bug of this program)");
        };
        let topic = &transactions.options.ledger.topic;
        if verdict(code) == Verdict::RecordRejected {
            let what = format!(
                "the progress topic {topic:?} refuses a shard's progress: {code}. Is it as shardlift check --create makes it?"
            );
            return Failure::new(FailureKind::Permanent, what);
        }
        let error = StepError { code, text: "it was not delivered".to_owned(), retriable: false, fatal: false };
        transactions.step_failed(client, &format!("a shard's progress, topic {topic:?}"), &error)
    }
}

impl Transactions {
    /// What a commit came to.
    fn judge(&self, client: &Client, committed: Result<(), StepError>) -> Result<(), Failure> {
        let unknown = |why: &str| {
            let what = format!(
                "the answer to a commit was lost ({why}): whether it counts is not known here. A successor looks in the progress \
                 topic how far the shard is"
            );
            Err(Failure::new(FailureKind::Unreachable, what))
        };
        match (committed, self.answers.doubt()) {
            (Ok(()), None) => Ok(()),
            (Ok(()), Some(doubt)) => unknown(&doubt),
            (Err(error), doubt) => {
                let timed_out = error.code.known() == Some(E::RD_KAFKA_RESP_ERR__TIMED_OUT);
                match doubt.filter(|_| timed_out) {
                    Some(doubt) => unknown(&format!("none came within {} s; {doubt}", self.options.commit_timeout.as_secs())),
                    None if timed_out => unknown(&error.text),
                    None => Err(self.step_failed(client, "the commit failed", &error)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Notice {
        Notice::Log { level: 7, facility: "ENDTXN".into(), text: format!("[thrd:main]: {text}") }
    }

    fn doubt(lines: &[&str]) -> Option<String> {
        let mut answers = EndAnswers::default();
        lines.iter().for_each(|text| answers.hear(&line(text)));
        answers.doubt()
    }

    /// The sentences of librdkafka 2.12.1 (`rdkafka_txnmgr.c`). With another wording no commit would be believed.
    #[test]
    fn only_one_good_answer_alone_makes_a_commit_certain() {
        let good = "EndTxn returned NO_ERROR in state CommittingTransaction (may_retry=false)";
        let lost = "EndTxn returned _TRANSPORT in state CommittingTransaction (may_retry=true)";
        assert_eq!(doubt(&[good]), None);
        assert_eq!(doubt(&[]), Some("0 answers were seen".to_owned()));
        assert_eq!(doubt(&[good, good]), Some("2 answers were seen".to_owned()));
        let expected = Some("EndTxn returned _TRANSPORT in state CommittingTransaction".to_owned());
        assert_eq!((doubt(&[lost, good]), doubt(&[lost])), (expected.clone(), expected));
        assert!(doubt(&["EndTxn came back with NO_ERROR", good]).is_some(), "another wording");
        let mut answers = EndAnswers::default();
        answers.hear(&Notice::Log { level: 7, facility: "TXNSTATE".into(), text: good.into() });
        assert!(answers.doubt().is_some(), "of another facility");
    }

    #[test]
    fn too_many_refusals_stop_the_job() {
        let some = |count: u64| (0..count).map(|start| RefusedRecord { segment: 0, start, reason: "too old".into() }).collect();
        let few = refusals(some(1_000));
        assert_eq!((few.kind, few.refused.len()), (FailureKind::Refused, 1_000));
        let many = refusals(some(1_001));
        assert_eq!((many.kind, many.refused.len()), (FailureKind::Permanent, 0));
        assert!(many.message.contains("1,001 records of one chunk"), "{}", many.message);
        // A record that two reports name is one.
        assert_eq!(refusals([some(5), some(5)].concat()).refused.len(), 5);
    }
}
