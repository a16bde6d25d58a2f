//! A job's plan and how far its shards are, as the progress topic has them.
//!
//! Responsible for: reading all of a job, and that of several who write a plan at once exactly one has written it. Not
//! responsible for: what is done with it. Both run in a process of their own: they create clients, hence threads.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use migration::job::Partitioner;
use migration::progress::{plan_key, plan_transactional_id};
use migration::{FailureKind, Job, ShardId, StoredJob, StoredPlan};

use super::parts::{self, Found};
use super::scan::{NewestValues, Scan, ScanError, Start};
use super::{reader_properties, record};
use crate::classify::{Verdict, verdict};
use crate::ffi::{Client, ClientKind, Code, Notice, Served, StepError, Topic};
use crate::notice::{Complaints, Patience, until_answered};
use crate::options::{Role, client_properties, configure};
use crate::partitioner;
use crate::problem::{PreflightProblem, PreflightProblemKind as Kind, addresses};
use crate::producer::TransactionOptions;
use crate::producer::options::transactional_properties;
use crate::producer::transaction::{EndAnswers, no_progress_topic, refused_id};
use crate::topic_probe::is_unknown_topic;
use crate::turns::Turns;

/// How long writing a plan may take, if the job's own patience is not less.
const WRITING: Duration = Duration::from_secs(60);
/// How long one step of it may take.
const STEP: Duration = Duration::from_secs(10);
/// Between two looks at a plan of which a part is missing.
const REST: Duration = Duration::from_millis(50);

/// Whose plan stands in the topic.
#[derive(Clone, Debug, PartialEq)]
pub enum Written {
    /// The one that was to be written.
    Ours,
    /// Another one, written before.
    Others(Box<StoredJob>),
}

/// A job as its progress topic has it: the newest plan, and how far its shards are. `None`: it has no plan there. The
/// job's brokers are addresses by now. All of it may last `timeout`.
pub fn read_job(job: &Job, timeout: Duration) -> Result<Option<StoredJob>, PreflightProblem> {
    Reading::connect(job, timeout)?.read()
}

/// Writes a job's plan, unless there is another than the one of start `replaces` (0: than none). Of several who do so
/// at once, one writes.
pub fn write_plan(job: &Job, plan: &StoredPlan, replaces: u32) -> Result<Written, PreflightProblem> {
    let reading = Reading::connect(job, WRITING.min(job.kafka.give_up_after))?;
    // Without taking the transactional id away from one who writes, if there is no need.
    let mut found = reading.read()?;
    let decided = |found: Option<StoredJob>| match found {
        Some(found) if found.plan == *plan => Some(Written::Ours),
        Some(found) if found.plan.of.generation != replaces => Some(Written::Others(Box::new(found))),
        _ => None,
    };
    loop {
        if let Some(written) = decided(found) {
            return Ok(written);
        }
        // Nothing of an earlier writer is on its way once the id is taken over, so that what is read then is final.
        let writer = PlanWriter::connect(&reading)?;
        if let Some(written) = decided(reading.read()?) {
            return Ok(written);
        }
        match writer.write(plan) {
            Ok(()) => return Ok(Written::Ours),
            Err(problem) if reading.left().is_zero() || problem.kind == Kind::NotAuthorised => return Err(problem),
            Err(problem) => tracing::debug!("the plan is written again: {problem}"),
        }
        drop(writer);
        std::thread::sleep(REST);
        found = reading.read()?;
    }
}

/// Clients that read a job's progress topic.
struct Reading<'a> {
    job: &'a Job,
    asker: Rc<Client>,
    committed: Rc<Client>,
    properties: Vec<(String, String)>,
    partitions: u32,
    deadline: Instant,
}

impl<'a> Reading<'a> {
    fn connect(job: &'a Job, timeout: Duration) -> Result<Reading<'a>, PreflightProblem> {
        let deadline = Instant::now() + timeout;
        let bad = |message: String| PreflightProblem::new(Kind::BadConfig, message);
        let consumer = |properties: &[(String, String)]| {
            configure(properties).and_then(|conf| conf.into_client(ClientKind::Consumer)).map_err(bad)
        };
        let properties = reader_properties(job);
        let (asker, committed) = (consumer(&client_properties(job, Role::Admin))?, consumer(&properties)?);
        let name = &job.checkpoint.topic;
        let topic = Topic::new(&asker, name).map_err(|code| bad(format!("can't use the progress topic {name:?}: {code}")))?;
        let mut complaints = Complaints::logged_once();
        let answer = until_answered(&asker, timeout, Patience::UntilHopeless, &mut complaints, |timeout| {
            let found = asker.metadata(Some(&topic), timeout)?;
            match Code(found.code) {
                Code::NONE if found.partitions.is_empty() => Err(LEADERLESS),
                Code::NONE => Ok(found.partitions.len() as u32),
                error => Err(error),
            }
        });
        let partitions = answer.map_err(|code| no_answer(job, code, &complaints))?;
        Ok(Reading { job, asker, committed, properties, partitions, deadline })
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Reads all of the job; a plan that is being written is waited for.
    fn read(&self) -> Result<Option<StoredJob>, PreflightProblem> {
        let name = &self.job.checkpoint.topic;
        let prefix = format!("{}/", self.job.name);
        let scan = Scan { asker: &self.asker, committed: &self.committed, properties: &self.properties, topic: name };
        let all: Vec<u32> = (0..self.partitions).collect();
        loop {
            let own = |key: &[u8]| key.starts_with(prefix.as_bytes());
            let mut yes = || true;
            let newest = scan.newest(&all, Start::Begin, &own, self.left(), &mut Turns::one(&mut yes)).map_err(unread)?;
            match self.understand(&newest)? {
                Ok(found) => return Ok(found),
                Err(Incomplete) if self.left().is_zero() => {
                    let what = format!(
                        "progress topic {name:?}: the plan of job {:?} is not there as a whole: parts of it were deleted, or its \
                         writer has died (then this passes within a minute). If it lasts, begin anew with --restart",
                        self.job.name
                    );
                    return Err(PreflightProblem::new(Kind::Other, what));
                }
                Err(Incomplete) => std::thread::sleep(REST),
            }
        }
    }

    /// Puts together what was read.
    fn understand(&self, newest: &NewestValues) -> Result<Result<Option<StoredJob>, Incomplete>, PreflightProblem> {
        let name = &self.job.checkpoint.topic;
        let bad = |what: String| PreflightProblem::new(Kind::Other, format!("progress topic {name:?}: {what}"));
        let (mut parts, mut shards) = (BTreeMap::new(), BTreeMap::new());
        for ((partition, key), value) in newest {
            if partitioner::choose(Partitioner::Murmur2)(key, self.partitions) != Some(*partition) {
                let key = String::from_utf8_lossy(key);
                return Err(bad(format!(
                    "{key:?} stands in partition {partition}, where no shardlift would look for it now: partitions were added, or \
                     another program wrote it. Which record is the newest can't be told any more: begin anew with --restart \
                     and another checkpoint.topic"
                )));
            }
            let Some(own) = std::str::from_utf8(key).ok().and_then(|key| key.strip_prefix(&self.job.name)) else { continue };
            let number = |text: &str| text.parse::<u32>().ok();
            if let Some(part) = own.strip_prefix("/plan/").and_then(number) {
                parts.insert(part, value.as_slice());
            } else if let Some(shard) = own.strip_prefix("/shard/").and_then(number) {
                shards.insert(ShardId(shard), value);
            }
        }
        let plan = match parts::decode(parts.into_iter()).map_err(bad)? {
            Found::Nothing => return Ok(Ok(None)),
            Found::Incomplete => return Ok(Err(Incomplete)),
            Found::Plan(plan) => *plan,
        };
        let mut entries = Vec::new();
        for (shard, value) in shards {
            let progress =
                record::decode(value).map_err(|why| bad(format!("shard {shard} of job {:?}: {why}", self.job.name)))?;
            if progress.of == plan.of {
                entries.push((shard, progress.entry));
            }
        }
        Ok(Ok(Some(StoredJob { plan, shards: entries })))
    }
}

/// Parts of the plan are missing.
struct Incomplete;

/// A topic has no partitions yet.
const LEADERLESS: Code = Code::of(rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE);

fn no_answer(job: &Job, code: Code, complaints: &Complaints) -> PreflightProblem {
    let name = &job.checkpoint.topic;
    if is_unknown_topic(code) {
        return PreflightProblem::new(Kind::NoTopic, no_progress_topic(name));
    }
    let kind = match verdict(code) {
        Verdict::AllRejected => Kind::NotAuthorised,
        _ if complaints.hopeless.is_some() => Kind::NoTrust,
        _ => Kind::Unreachable,
    };
    let (brokers, reason) = (addresses(job), complaints.reason(code));
    PreflightProblem::new(kind, format!("the brokers at {brokers} don't tell of the progress topic {name:?}: {reason}"))
}

fn unread(error: ScanError) -> PreflightProblem {
    let kind = if verdict(error.code) == Verdict::AllRejected { Kind::NotAuthorised } else { Kind::Unreachable };
    PreflightProblem::new(kind, error.text)
}

/// A producer of a job's plan, whose transactional id it has taken over.
struct PlanWriter<'a> {
    job: &'a Job,
    // Before the client, which it belongs to.
    topic: Topic,
    client: Rc<Client>,
    partitions: u32,
}

impl<'a> PlanWriter<'a> {
    fn connect(reading: &Reading<'a>) -> Result<PlanWriter<'a>, PreflightProblem> {
        let job = reading.job;
        let bad = |message: String| PreflightProblem::new(Kind::BadConfig, message);
        let id = plan_transactional_id(&job.name);
        let mut properties = client_properties(job, Role::Producer);
        properties.extend([("acks".to_owned(), "all".to_owned()), ("linger.ms".to_owned(), "0".to_owned())]);
        let debug = properties.iter().rfind(|(name, _)| name == "debug").map(|(_, value)| value.clone());
        properties.extend(transactional_properties(&id, TransactionOptions::timeout_of(job), debug.as_deref()));
        let client = configure(&properties).and_then(|conf| conf.into_client(ClientKind::Producer)).map_err(bad)?;
        let topic = Topic::new(&client, &job.checkpoint.topic).map_err(|code| bad(code.to_string()))?;
        let mut complaints = Complaints::default();
        while let Err(error) = client.init_transactions(STEP_OF_INIT) {
            complaints.hear_all(&client);
            if !error.retriable || verdict(error.code) == Verdict::AllRejected {
                let failure = refused_id(&id, &client, &error);
                let kind = if failure.kind == FailureKind::Permanent { Kind::NotAuthorised } else { Kind::Other };
                return Err(PreflightProblem::new(kind, failure.message));
            }
            if reading.left().is_zero() {
                let what = format!("the coordinator of the transactional id {id:?} gives no answer: {}", error.text);
                return Err(PreflightProblem::new(Kind::Unreachable, what));
            }
            if client.metadata(Some(&topic), STEP.min(reading.left())).is_err() {
                std::thread::sleep(STEP_OF_INIT);
            }
        }
        Ok(PlanWriter { job, topic, client, partitions: reading.partitions })
    }

    /// Writes all parts and commits them.
    fn write(&self, plan: &StoredPlan) -> Result<(), PreflightProblem> {
        let failed = |what: &str, error: &StepError| {
            let kind = match verdict(error.code) {
                Verdict::AllRejected => Kind::NotAuthorised,
                Verdict::Unreachable => Kind::Unreachable,
                _ => Kind::Other,
            };
            let name = &self.job.checkpoint.topic;
            PreflightProblem::new(
                kind,
                format!("the plan can't be written to the progress topic {name:?}: {what}: {}", error.text),
            )
        };
        self.client.begin_transaction().map_err(|error| failed("no transaction could be begun", &error))?;
        let parts = parts::encode(plan);
        for (part, value) in (0..).zip(&parts) {
            let key = plan_key(&self.job.name, part);
            let partition = partitioner::choose(Partitioner::Murmur2)(key.as_bytes(), self.partitions).unwrap_or(0);
            self.topic
                .produce_copy(partition, key.as_bytes(), value, part)
                .map_err(|error| failed(&format!("part {part}"), &error))?;
        }
        let (mut waiting, mut bad) = (parts.len(), None);
        let mut answers = EndAnswers::default();
        let deadline = Instant::now() + STEP;
        let serve = |timeout, waiting: &mut usize, bad: &mut Option<Code>, answers: &mut EndAnswers| {
            self.client.serve_copied(timeout, &mut |served| match served {
                Served::Copied { code, .. } => {
                    *waiting = waiting.saturating_sub(1);
                    if code.is_error() {
                        bad.get_or_insert(code);
                    }
                }
                Served::Notice(notice) => {
                    answers.hear(&notice);
                    if let Notice::Error { code, fatal: true, .. } = notice {
                        bad.get_or_insert(code);
                    }
                }
                Served::Delivered { .. }
                | Served::Failed { .. }
                | Served::Stray { .. }
                | Served::LetterDelivered
                | Served::LetterFailed { .. } => {}
            })
        };
        while waiting > 0 && bad.is_none() && Instant::now() < deadline {
            serve(deadline.saturating_duration_since(Instant::now()), &mut waiting, &mut bad, &mut answers);
        }
        let lost = |code: Code| failed("a part", &StepError { code, text: code.to_string(), retriable: false, fatal: false });
        if let Some(code) = bad {
            return Err(lost(code));
        }
        if waiting > 0 {
            return Err(lost(Code::of(rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR__TIMED_OUT)));
        }
        let committed = self.client.commit_transaction(STEP);
        while serve(Duration::ZERO, &mut waiting, &mut bad, &mut answers) {}
        committed.map_err(|error| failed("the commit", &error))?;
        match answers.doubt() {
            None => Ok(()),
            Some(doubt) => {
                let what = format!("the answer to the commit of the plan was lost ({doubt})");
                Err(PreflightProblem::new(Kind::Unreachable, what))
            }
        }
    }
}

/// How long one call for the initialisation waits.
const STEP_OF_INIT: Duration = Duration::from_millis(25);
