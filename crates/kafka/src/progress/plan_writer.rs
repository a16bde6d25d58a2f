//! Writing a job's plan into the progress topic.
//!
//! Responsible for: that all of it is written or nothing, and that nothing of an earlier writer is on its way.
//! Not responsible for: whether it is to be written.

use std::rc::Rc;
use std::time::{Duration, Instant};

use migration::job::Partitioner;
use migration::progress::{plan_key, plan_transactional_id};
use migration::{FailureKind, Job, StoredPlan};

use super::job::Reading;
use super::parts;
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

/// A producer of a job's plan, whose transactional id it has taken over.
pub(super) struct PlanWriter<'a> {
    job: &'a Job,
    // Before the client, which it belongs to.
    topic: Topic,
    client: Rc<Client>,
    partitions: u32,
}

impl<'a> PlanWriter<'a> {
    /// Takes it over.
    pub(super) fn connect(reading: &Reading<'a>) -> Result<PlanWriter<'a>, PreflightProblem> {
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

    /// Writes all parts and commits them. `unreadable`: keys of records that nothing understands; they are removed.
    pub(super) fn write(&self, plan: &StoredPlan, unreadable: &[String]) -> Result<(), PreflightProblem> {
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
        let keys: Vec<String> = (0..).map(|part| plan_key(&self.job.name, part)).take(parts.len()).collect();
        let removed = unreadable.iter().filter(|key| !keys.contains(key)).map(|key| (key, None));
        let records: Vec<_> = keys.iter().zip(parts.iter().map(|part| Some(part.as_slice()))).chain(removed).collect();
        for (serial, (key, value)) in (0..).zip(&records) {
            let partition = partitioner::choose(Partitioner::Murmur2)(key.as_bytes(), self.partitions).unwrap_or(0);
            self.topic.produce_copy(partition, key.as_bytes(), *value, serial).map_err(|error| failed(key, &error))?;
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
                let what = format!("the answer to the commit of the plan was lost ({doubt})");
                Err(PreflightProblem::new(Kind::Unreachable, what))
            }
        }
    }
}
