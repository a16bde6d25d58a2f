//! A job's plan and how far its shards are, as the progress topic has them.
//!
//! Responsible for: reading all of a job, and that of several who write a plan at once exactly one has written it. Not
//! responsible for: what its records come to (`understand`), or what is done with it. Both run in a process of their
//! own: they create clients, hence threads.

use std::rc::Rc;
use std::time::{Duration, Instant};

use migration::progress::plan_keys;
use migration::{Incarnation, Job, JobInTopic, StoredJob, StoredPlan};

use super::reader_properties;
use super::scan::{NewestValues, Scan, ScanError, ScanPatience};
use super::understand::{JobDamage, SeenJob, older, understand};
use super::writer::{Beside, Writer};
use crate::classify::{Verdict, verdict};
use crate::ffi::{Client, ClientKind, Code, Topic};
use crate::notice::{Complaints, Patience, until_answered};
use crate::options::{Role, client_properties, configure};
use crate::problem::{PreflightProblem, PreflightProblemKind as Kind, addresses};
use crate::producer::TransactionOptions;
use crate::producer::transaction::no_progress_topic;
use crate::topic_probe::is_unknown_topic;
use crate::turns::Turns;

/// How long writing a plan may take, if the job's own patience is not less.
const WRITING: Duration = Duration::from_secs(60);
/// How long after its time brokers end a transaction, at most: they look for such every 10 s.
const ABORTED_WITHIN: Duration = Duration::from_secs(15);
/// Between two looks at a job that is not whole.
const REST: Duration = Duration::from_millis(50);

/// Whose plan stands in the topic.
#[derive(Clone, Debug, PartialEq)]
pub enum Written {
    /// The one that was to be written.
    Ours,
    /// Another one, written before.
    Others(Box<StoredJob>),
}

/// What is looked for of a job. Records of it may stand behind open transactions, where they can't be read yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobLook {
    /// All that there is, if anything.
    Any,
    /// The same of one that had its plan there.
    Begun,
    /// Of one that had its plan there, that; and how far its shards are as far as that can be read. Their attempts find
    /// out, once they have ended what dead ones left open: to wait for its end here would take a minute.
    Plan,
}

/// A job as its progress topic has it: the newest plan, and how far its shards are. The job's brokers are addresses by
/// now. Brokers may not answer for `timeout`; an open transaction before what is looked for is waited for as long as
/// one of the job's own may last.
pub fn read_job(job: &Job, look: JobLook, timeout: Duration) -> Result<JobInTopic, PreflightProblem> {
    Ok(JobReading::connect(job, look, timeout)?.read()?.into())
}

/// Writes a job's plan, unless there is another than the one of start `replaces` (0: than none), or something of a
/// later start. Of several who do so at once, one writes.
pub fn write_plan(job: &Job, plan: &StoredPlan, replaces: u32) -> Result<Written, PreflightProblem> {
    let reading = JobReading::connect(job, JobLook::Any, WRITING.min(job.kafka.give_up_after))?;
    let began = Instant::now();
    loop {
        // Without taking the transactional id away from one who writes, if there is no need.
        if let Some(written) = decided(reading.look()?, plan, replaces) {
            return Ok(written);
        }
        // Nothing of an earlier writer is on its way once the id is taken over, so that what is read then is final.
        let writer = Writer::of_plan(&reading)?;
        let seen = reading.look()?;
        let beside = match &seen {
            SeenJob::Damaged(damaged) if damaged.damage.generation > replaces => {
                return Err(PreflightProblem::new(Kind::Other, damaged.damage.what.clone()));
            }
            SeenJob::Damaged(damaged) => Beside { unreadable: damaged.unreadable.clone(), ended: Vec::new() },
            SeenJob::Whole(found) => {
                Beside { unreadable: Vec::new(), ended: found.plan.plan.shards.iter().map(|shard| shard.id).collect() }
            }
            SeenJob::Nothing => Beside::default(),
        };
        if let Some(written) = decided(seen, plan, replaces) {
            return Ok(written);
        }
        match writer.write(plan, &beside) {
            Ok(()) => return Ok(Written::Ours),
            Err(problem) if began.elapsed() >= reading.patience || problem.kind == Kind::NotAuthorised => return Err(problem),
            Err(problem) => tracing::debug!("the plan is written again: {problem}"),
        }
        drop(writer);
        std::thread::sleep(REST);
    }
}

/// Writes the plan of start `of` again with the settings `after`, if it stands there with those of `before` and the job
/// has set no record aside. `Some`: it is not so, and nothing was written.
pub fn change_settings(
    job: &Job,
    of: Incarnation,
    before: &[(String, String)],
    after: &[(String, String)],
) -> Result<Option<JobInTopic>, PreflightProblem> {
    let reading = JobReading::connect(job, JobLook::Begun, WRITING.min(job.kafka.give_up_after))?;
    let began = Instant::now();
    loop {
        // Nothing of another writer is on its way, so that what is read is final.
        let writer = Writer::of_plan(&reading)?;
        let found = match reading.read()? {
            SeenJob::Whole(found) if found.plan.of == of => found,
            other => return Ok(Some(other.into())),
        };
        if found.plan.settings == after {
            return Ok(None);
        }
        if found.plan.settings != before || found.letters() > 0 {
            return Ok(Some(JobInTopic::Whole(found)));
        }
        // The start is the same: its shards get no mark that it is over.
        match writer.write(&StoredPlan { settings: after.to_vec(), ..found.plan }, &Beside::default()) {
            Ok(()) => return Ok(None),
            Err(problem) if began.elapsed() >= reading.patience || problem.kind == Kind::NotAuthorised => return Err(problem),
            Err(problem) => tracing::debug!("the plan's settings are written again: {problem}"),
        }
        drop(writer);
        std::thread::sleep(REST);
    }
}

/// Ends the starts of a job before `of`, whose plan is written: their attempts can't commit, and those that begin find
/// that they are over. Called again, it ends what is left.
pub fn end_older(job: &Job, of: Incarnation) -> Result<(), PreflightProblem> {
    let reading = JobReading::connect(job, JobLook::Begun, WRITING)?;
    for shard in older(&job.name, &reading.newest()?, of) {
        let began = Instant::now();
        // Until the mark is there an attempt of that start may take the id over again.
        while let Err(problem) = Writer::of_shard(&reading, shard)?.mark(shard, of) {
            if began.elapsed() >= reading.patience || problem.kind == Kind::NotAuthorised {
                return Err(problem);
            }
            tracing::debug!("written again: {problem}");
            std::thread::sleep(REST);
        }
    }
    Ok(())
}

/// Whether there is a plan already that is not to be replaced. What is damaged can be; later starts than that of
/// `replaces` are told apart by who writes.
fn decided(seen: SeenJob, plan: &StoredPlan, replaces: u32) -> Option<Written> {
    match seen {
        SeenJob::Whole(found) if found.plan == *plan => Some(Written::Ours),
        SeenJob::Whole(found) if found.plan.of.generation != replaces => Some(Written::Others(found)),
        SeenJob::Nothing | SeenJob::Whole(_) | SeenJob::Damaged(_) => None,
    }
}

impl From<SeenJob> for JobInTopic {
    fn from(seen: SeenJob) -> Self {
        match seen {
            SeenJob::Nothing => JobInTopic::Nothing,
            SeenJob::Whole(stored) => JobInTopic::Whole(stored),
            SeenJob::Damaged(damaged) => JobInTopic::Damaged(damaged.damage),
        }
    }
}

/// Clients that read a job's progress topic.
pub(super) struct JobReading<'a> {
    pub(super) job: &'a Job,
    look: JobLook,
    asker: Rc<Client>,
    committed: Rc<Client>,
    properties: Vec<(String, String)>,
    pub(super) partitions: u32,
    /// For how long brokers may not answer, and a job may stay in a form from which none can go on.
    pub(super) patience: Duration,
}

impl<'a> JobReading<'a> {
    fn connect(job: &'a Job, look: JobLook, timeout: Duration) -> Result<JobReading<'a>, PreflightProblem> {
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
        let partitions = answer.map_err(|code| no_answer(job, look != JobLook::Any, code, &complaints))?;
        Ok(JobReading { job, look, asker, committed, properties, partitions, patience: timeout })
    }

    /// Reads all of the job; a plan that is being written is waited for.
    fn read(&self) -> Result<SeenJob, PreflightProblem> {
        let began = Instant::now();
        let mut last: Option<JobDamage> = None;
        loop {
            let damaged = match (self.look(), last.take()) {
                (Ok(SeenJob::Damaged(damaged)), last) => {
                    // Its partitions were not read at one moment: what a second look has, too, stays.
                    let lasts = last.is_some_and(|last| last == damaged) && !damaged.may_pass;
                    if lasts || began.elapsed() >= self.patience {
                        return Ok(SeenJob::Damaged(damaged));
                    }
                    damaged
                }
                // The time ended in this look, and an earlier one says why there was another.
                (Err(problem), Some(last)) if problem.kind == Kind::Unreachable => return Ok(SeenJob::Damaged(last)),
                (seen, _) => return seen,
            };
            last = Some(damaged);
            std::thread::sleep(REST);
        }
    }

    /// All of the job as it is now.
    fn look(&self) -> Result<SeenJob, PreflightProblem> {
        let name = &self.job.checkpoint.topic;
        understand(name, &self.job.name, &self.newest()?, self.partitions)
            .map_err(|what| PreflightProblem::new(Kind::Other, what))
    }

    fn newest(&self) -> Result<NewestValues, PreflightProblem> {
        let name = &self.job.checkpoint.topic;
        let prefix = format!("{}/", self.job.name);
        let scan = Scan { asker: &self.asker, committed: &self.committed, properties: &self.properties, topic: name };
        let all: Vec<u32> = (0..self.partitions).collect();
        let own = |key: &[u8]| key.starts_with(prefix.as_bytes());
        let plan = plan_keys(&self.job.name);
        let awaited = |key: &[u8]| own(key) && (self.look != JobLook::Plan || key.starts_with(plan.as_bytes()));
        let mut yes = || true;
        let hidden = self.patience.max(TransactionOptions::timeout_of(self.job) + ABORTED_WITHIN);
        let patience = ScanPatience { silent: self.patience, hidden, tells: true };
        scan.newest(&all, &own, &awaited, patience, &mut Turns::one(&mut yes)).map_err(unread)
    }
}

/// A topic has no partitions yet.
const LEADERLESS: Code = Code::of(rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE);

fn no_answer(job: &Job, begun: bool, code: Code, complaints: &Complaints) -> PreflightProblem {
    let name = &job.checkpoint.topic;
    if is_unknown_topic(code) {
        return PreflightProblem::new(Kind::NoProgressTopic, no_progress_topic(name, begun));
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
    let kind = match verdict(error.code) {
        Verdict::AllRejected => Kind::NotAuthorised,
        _ if error.hidden => Kind::Hidden,
        _ => Kind::Unreachable,
    };
    PreflightProblem::new(kind, error.text)
}
