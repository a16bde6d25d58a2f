//! Writing a job's plan into the progress topic, and that an older start of it is over.
//!
//! Responsible for: that all of it is written or nothing, and that nothing of an earlier writer is on its way.
//! Not responsible for: whether it is to be written.

use std::rc::Rc;
use std::time::{Duration, Instant};

use migration::job::Partitioner;
use migration::progress::{plan_key, plan_transactional_id, shard_key, shard_transactional_id};
use migration::{FailureKind, Incarnation, Job, ShardId, StoredPlan};

use super::job::JobReading;
use super::{parts, record};
use crate::classify::{Verdict, verdict};
use crate::ffi::{Client, ClientKind, Code, Notice, Served, StepError, Topic};
use crate::notice::Complaints;
use crate::options::{Role, client_properties, configure};
use crate::partitioner;
use crate::problem::{PreflightProblem, PreflightProblemKind as Kind};
use crate::producer::TransactionOptions;
use crate::producer::options::transactional_properties;
use crate::producer::transaction::{EndAnswers, refused_id};

/// How long one step of it may take.
const STEP: Duration = Duration::from_secs(10);
/// How long one call for the initialisation waits.
const STEP_OF_INIT: Duration = Duration::from_millis(25);

/// What is written with a plan.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// Keys of records that nothing understands; they are removed.
    pub(super) unreadable: Vec<String>,
    /// Shards of the start that the plan replaces: their attempts find that it is over.
    pub(super) ended: Vec<ShardId>,
}

/// A producer of records of a job, which has taken a transactional id over.
pub(super) struct Writer<'a> {
    job: &'a Job,
    // Before the client, which it belongs to.
    topic: Topic,
    client: Rc<Client>,
    partitions: u32,
}

impl<'a> Writer<'a> {
    /// Takes the id of the job's plan over.
    pub(super) fn of_plan(reading: &JobReading<'a>) -> Result<Writer<'a>, PreflightProblem> {
        Writer::of(reading, &plan_transactional_id(&reading.job.name))
    }

    /// Takes that of a shard over: what its attempts have open is ended.
    pub(super) fn of_shard(reading: &JobReading<'a>, shard: ShardId) -> Result<Writer<'a>, PreflightProblem> {
        Writer::of(reading, &shard_transactional_id(&reading.job.name, shard))
    }

    fn of(reading: &JobReading<'a>, id: &str) -> Result<Writer<'a>, PreflightProblem> {
        let job = reading.job;
        let bad = |message: String| PreflightProblem::new(Kind::BadConfig, message);
        let mut properties = client_properties(job, Role::Producer);
        properties.extend([("acks".to_owned(), "all".to_owned()), ("linger.ms".to_owned(), "0".to_owned())]);
        let debug = properties.iter().rfind(|(name, _)| name == "debug").map(|(_, value)| value.clone());
        properties.extend(transactional_properties(id, TransactionOptions::timeout_of(job), debug.as_deref()));
        let client = configure(&properties).and_then(|conf| conf.into_client(ClientKind::Producer)).map_err(bad)?;
        let topic = Topic::new(&client, &job.checkpoint.topic).map_err(|code| bad(code.to_string()))?;
        let mut complaints = Complaints::default();
        let deadline = Instant::now() + reading.patience;
        while let Err(error) = client.init_transactions(STEP_OF_INIT) {
            complaints.hear_all(&client);
            if !error.retriable || verdict(error.code) == Verdict::AllRejected {
                let failure = refused_id(id, &client, &error);
                let kind = if failure.kind == FailureKind::Permanent { Kind::NotAuthorised } else { Kind::Other };
                return Err(PreflightProblem::new(kind, failure.message));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let what = format!("the coordinator of the transactional id {id:?} gives no answer: {}", error.text);
                return Err(PreflightProblem::new(Kind::Unreachable, what));
            }
            if client.metadata(Some(&topic), STEP.min(left)).is_err() {
                std::thread::sleep(STEP_OF_INIT);
            }
        }
        Ok(Writer { job, topic, client, partitions: reading.partitions })
    }

    /// Writes all parts and commits them, with what else is to be in the same transaction.
    pub(super) fn write(&self, plan: &StoredPlan, beside: &Beside) -> Result<(), PreflightProblem> {
        let parts = parts::encode(plan);
        let keys: Vec<String> = (0..).map(|part| plan_key(&self.job.name, part)).take(parts.len()).collect();
        let removed = beside.unreadable.iter().filter(|key| !keys.contains(key)).map(|key| (key.clone(), None));
        let marks = beside.ended.iter().map(|shard| self.mark_of(*shard, plan.of));
        let written = keys.iter().cloned().zip(parts.into_iter().map(Some));
        self.commit("the plan", &written.chain(removed).chain(marks).collect::<Vec<_>>())
    }

    /// Writes by which the attempts of an older start find that it is over, as the last of the shard's records.
    pub(super) fn mark(&self, shard: ShardId, of: Incarnation) -> Result<(), PreflightProblem> {
        self.commit("the end of an older start", &[self.mark_of(shard, of)])
    }

    fn mark_of(&self, shard: ShardId, of: Incarnation) -> (String, Option<Vec<u8>>) {
        (shard_key(&self.job.name, shard), Some(record::mark(of)))
    }

    /// Writes these and commits them.
    fn commit(&self, what: &str, records: &[(String, Option<Vec<u8>>)]) -> Result<(), PreflightProblem> {
        let whole = what;
        let failed = |what: &str, error: &StepError| {
            let kind = match verdict(error.code) {
                Verdict::AllRejected => Kind::NotAuthorised,
                Verdict::Unreachable => Kind::Unreachable,
                _ => Kind::Other,
            };
            let name = &self.job.checkpoint.topic;
            PreflightProblem::new(
                kind,
                format!("{whole} can't be written to the progress topic {name:?}: {what}: {}", error.text),
            )
        };
        self.client.begin_transaction().map_err(|error| failed("no transaction could be begun", &error))?;
        for (serial, (key, value)) in (0..).zip(records) {
            let partition = partitioner::choose(Partitioner::Murmur2)(key.as_bytes(), self.partitions).unwrap_or(0);
            self.topic
                .produce_copy(partition, key.as_bytes(), value.as_deref(), serial)
                .map_err(|error| failed(key, &error))?;
        }
        let (mut waiting, mut bad) = (records.len(), None);
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
                let what = format!("the answer to the commit of {whole} was lost ({doubt})");
                Err(PreflightProblem::new(Kind::Unreachable, what))
            }
        }
    }
}
