//! What `run` makes of what earlier runs left, here and in Kafka: judged by what `run` judges by, while nothing is
//! changed and no lock is held.

use kafka::{Preflight, PreflightProblem};
use migration::check::machine::EarlierRun;
use migration::printable::printable;
use migration::report::ShardStatus;
use migration::{Check, Finding, Job, JobInTopic, Purpose, StoredJob, UserError, resume};
use report::check::Sends;
use supervisor::{JobState, StateDir};

use crate::commands::run::{self, Agreed, Side};
use crate::state::{self, Earlier};
use crate::{helper, preflight, retries, source};

/// What is in the job's folder.
pub enum Left {
    /// Nothing that a run goes on with.
    Nothing,
    /// A process works there: which, in words.
    Running(String),
    /// A run goes on with it, if brokers and source are as they were.
    Begun(Box<Earlier>),
    /// No run does.
    Refused(UserError),
}

impl Left {
    /// Looks at it.
    pub fn of(job: &Job) -> Left {
        let folder = job.state_path();
        let here = StateDir::holder(&folder).ok().flatten().map(|holder| (format!("job {}", job.name), holder));
        if let Some((name, holder)) = here.or_else(|| retries::running(&job.name, &folder)) {
            return Left::Running(format!("{name} runs now ({holder})"));
        }
        match state::stored(job) {
            Ok(Some(earlier)) if !run::is_gone(job, &earlier) => match run::may_be_used(job, &folder, &earlier) {
                Ok(()) => Left::Begun(Box::new(earlier)),
                Err(error) => Left::Refused(error),
            },
            Ok(_) => Left::Nothing,
            Err(error) => Left::Refused(error),
        }
    }

    /// What a run left that may go on.
    pub fn begun(&self) -> Option<&Earlier> {
        match self {
            Left::Begun(earlier) => Some(earlier),
            Left::Nothing | Left::Running(_) | Left::Refused(_) => None,
        }
    }

    /// What brokers are asked for.
    pub fn purpose(&self) -> Purpose {
        if self.begun().is_some() { Purpose::GoOn } else { Purpose::Begin }
    }
}

/// What a run makes of it.
#[derive(Default)]
pub struct Outlook {
    /// Whether the job goes on.
    pub run: EarlierRun,
    /// Whether a run would not begin it.
    begun: bool,
    /// What is told besides.
    told: Vec<String>,
    /// Whether the source is as planned, with what is told of it; `None`: it was not asked.
    source: Option<Result<Vec<String>, UserError>>,
}

impl From<EarlierRun> for Outlook {
    fn from(run: EarlierRun) -> Outlook {
        Outlook { begun: !matches!(run, EarlierRun::None | EarlierRun::Anew(_)), run, ..Outlook::default() }
    }
}

impl Outlook {
    /// Judges what is left. `seen`: what the brokers say, and what they have of a job that delivers exactly once.
    pub fn of(job: &Job, left: &Left, seen: Option<(&Preflight, Option<&Result<JobInTopic, PreflightProblem>>)>) -> Outlook {
        let here = match left {
            Left::Running(what) => return EarlierRun::Running(what.clone()).into(),
            Left::Refused(error) => return EarlierRun::Refused(error.clone()).into(),
            Left::Begun(_) | Left::Nothing => left.begun().cloned(),
        };
        let begun = here.is_some();
        let unknown = |why: &str| Outlook { begun, ..EarlierRun::Unknown(why.to_owned()).into() };
        let Some((found, progress)) = seen else {
            return match here.is_some() || job.exactly_once() {
                true => unknown("the brokers could not be asked"),
                false => EarlierRun::None.into(),
            };
        };
        let known = match progress {
            None if job.exactly_once() => return unknown("the progress topic could not be asked, see delivery"),
            None => Ok(Known::of(here)),
            Some(Ok(there)) => Known::agreed(job, here, there.clone()),
            Some(Err(problem)) => Err(preflight::explain(problem.clone(), left.purpose())),
        };
        known.map_or_else(|error| EarlierRun::Refused(error).into(), |known| known.outlook(job, found))
    }

    /// A finding about the source, the room or the replicas refuses a run that begins the job. One that goes on judges
    /// the files by its plan, had room before, and waits for replicas as its workers do: it is told.
    pub fn hold(&self, finding: Finding) -> Finding {
        if self.begun { finding.told() } else { finding }
    }

    /// What a run sends.
    pub fn sends(&self) -> Sends {
        match &self.run {
            EarlierRun::Begun { done, total } if done == total => Sends::Nothing,
            EarlierRun::Begun { .. } | EarlierRun::Elsewhere { .. } => Sends::Rest,
            _ => Sends::All,
        }
    }

    /// Adds what is to be said besides whether the job goes on.
    pub fn add_to(&self, findings: &mut Vec<Finding>) {
        findings.extend(self.told.iter().map(|told| Finding::warn(Check::State, told.clone())));
        match &self.source {
            Some(Err(error)) => {
                // A run that goes on holds the files against the plan, and makes no other one.
                findings.retain(|finding| finding.check != Check::Files);
                findings.push(Finding::of_error(Check::Files, error.clone()));
            }
            Some(Ok(told)) => findings.extend(told.iter().map(|told| Finding::warn(Check::Files, told.clone()))),
            None => {}
        }
    }
}

/// A job as folder and Kafka have it together.
struct Known {
    earlier: Option<Earlier>,
    /// What Kafka has, if it is all that there is.
    from: Option<Box<StoredJob>>,
    begun_elsewhere: bool,
}

impl Known {
    /// That of a folder alone.
    fn of(earlier: Option<Earlier>) -> Known {
        Known { earlier, from: None, begun_elsewhere: false }
    }

    /// What a run would go on with.
    fn agreed(job: &Job, here: Option<Earlier>, there: JobInTopic) -> Result<Known, UserError> {
        let folder = job.state_path();
        let begun_elsewhere = run::was_begun_elsewhere(&folder, &there);
        let state = here.as_ref().map(|earlier| &earlier.state);
        let side = Side { job, folder: &folder, state, retry: false, restart: false };
        let known = match run::judge(&side, there)? {
            Agreed::Here => Known::of(here),
            Agreed::Nothing | Agreed::StartsOver => Known::of(None),
            Agreed::Ahead(ahead) => Known::of(here.map(|mut earlier| {
                earlier.state.adopt(&ahead.shards);
                earlier.state.settings = ahead.settings.unwrap_or(earlier.state.settings);
                earlier
            })),
            Agreed::Elsewhere(stored) => {
                let mut state = JobState::new(&run::new_job(&stored.plan));
                state.adopt(&stored.shards);
                Known { from: Some(stored), ..Known::of(Some(Earlier { state, sent: Vec::new() })) }
            }
        };
        Ok(Known { begun_elsewhere, ..known })
    }

    /// Whether config, topic and source are those that it began with.
    fn outlook(self, job: &Job, found: &Preflight) -> Outlook {
        let Some(earlier) = &self.earlier else { return EarlierRun::None.into() };
        let now = found.binding(job);
        let config = earlier.goes_on(job, &now);
        let source = helper::ask("shardlift plan", None, || source::check_source(job, &earlier.state, false));
        let refused = config.as_ref().err().or(source.as_ref().err());
        if let Some(refused) = refused.filter(|_| !self.begun_elsewhere && earlier.sent_nothing())
            && let Some(anew) = earlier.begins_anew(job, &now, refused)
        {
            return EarlierRun::Anew(anew.told()).into();
        }
        let mut told = match config {
            Ok(told) => told,
            Err(error) => return EarlierRun::Refused(error).into(),
        };
        told.extend(resume::letters_move(job, &earlier.state.settings));
        let source = source.map(|now| resume::replaced_notices(&earlier.state.plan, &now.replaced));
        Outlook { told, source: Some(source), ..self.how_far(&earlier.state).into() }
    }

    fn how_far(&self, state: &JobState) -> EarlierRun {
        let total = state.shards.len() as u64;
        match &self.from {
            Some(stored) => EarlierRun::Elsewhere {
                made_by: printable(&stored.plan.made_by),
                moved: stored.shards.len() as u64,
                total,
                records: state.counts().acknowledged,
            },
            None => {
                let done = state.shards.iter().filter(|shard| shard.status == ShardStatus::Done).count() as u64;
                EarlierRun::Begun { done, total }
            }
        }
    }
}
