//! The run of a job, seen from another process: whether there is one, and what to say if there is none or it does not
//! answer.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use migration::printable::printable_path;
use migration::report::JobReport;
use migration::{Exit, Job, UserError};
use supervisor::control::ControlError;
use supervisor::{StateDir, Store, load_report};

use crate::args::{BegunJobArgs, JobArgs};
use crate::retries::RetryPlace;
use crate::{settings, state};

/// Where a job's state is.
#[derive(Debug)]
pub struct StatePlace {
    /// The job's name.
    pub name: String,
    /// Its folder.
    pub path: PathBuf,
    /// Whether it is a retry of a job's dead letters.
    pub is_retry: bool,
    /// The topic that may know of a job of which the folder does not.
    pub progress: Option<String>,
}

impl StatePlace {
    /// That of a job.
    pub fn of(job: &Job) -> StatePlace {
        let progress = job.exactly_once().then(|| job.checkpoint.topic.clone());
        StatePlace { name: job.name.clone(), path: job.state_path(), is_retry: false, progress }
    }

    /// The place of the job that the arguments name. Secrets of its config are not needed for that, so another terminal
    /// need not have them.
    pub fn find(args: &JobArgs) -> Result<StatePlace, UserError> {
        settings::load_without_secrets(args).map(|job| StatePlace::of(&job))
    }

    /// The same, or that of one of its retries.
    pub fn find_begun(args: &BegunJobArgs) -> Result<StatePlace, UserError> {
        StatePlace::find(&args.job).map(|place| place.or_retry(args))
    }

    /// The place of the retry that is meant, if one is.
    pub fn or_retry(self, args: &BegunJobArgs) -> StatePlace {
        let Some(number) = args.retry else { return self };
        let RetryPlace { name, folder, .. } = RetryPlace::of(&self.name, &self.path, number.get());
        StatePlace { name, path: folder, is_retry: true, progress: None }
    }

    /// The command that goes on with it.
    fn command(&self) -> &'static str {
        if self.is_retry { "shardlift dlq retry" } else { "shardlift run" }
    }
}

/// Who works on the job now, in its own words. The lock decides: what a killed supervisor left in the state says
/// nothing about it.
pub fn holder(place: &StatePlace) -> Result<Option<String>, UserError> {
    StateDir::holder(&place.path).map_err(|error| UserError::new(error.exit(), error))
}

/// Whether the job itself runs: a repair holds its lock, too, and sends as a job of its own.
pub fn runs(holder: Option<&str>) -> bool {
    holder.is_some_and(|holder| !StateDir::repairs(holder))
}

/// The job's report; `None` if it was never run.
pub fn report(place: &StatePlace, running: bool) -> Result<Option<JobReport>, UserError> {
    if !state::exists(&place.path)? {
        return Ok(None);
    }
    let path = StateDir::store_path(&place.path);
    Store::read_only(&path).and_then(|store| load_report(&store, running)).map(Some).map_err(state::unusable)
}

/// The files of the plan, in its order; none if the state can't be read.
pub fn files(place: &StatePlace) -> Vec<PathBuf> {
    let state = Store::read_only(&StateDir::store_path(&place.path)).and_then(|store| store.load());
    state.map_or_else(|_| Vec::new(), |state| state.plan.objects.into_iter().map(|object| object.path).collect())
}

/// The job was never run, as far as is known without asking a broker.
pub fn never_run(place: &StatePlace) -> UserError {
    let (never, hint) = match &place.progress {
        _ if place.is_retry => ("it was never run", "`shardlift dlq list` tells of the job's retries".to_owned()),
        None => ("it was never run", "run it with `shardlift run`, or name another config with -c".to_owned()),
        Some(topic) => (
            "it was never run in this folder",
            format!(
                "whether it was run elsewhere topic {topic} knows, which is not asked here: `shardlift verify` judges by what \
                 is there, and `shardlift run` goes on with it; or name another config with -c"
            ),
        ),
    };
    let what = format!("job {} has no state in {}: {never}", place.name, printable_path(&place.path));
    UserError::new(Exit::Preflight, what).hint(hint)
}

/// No process works on the job: what is the case instead, and what to do.
pub fn not_running(place: &StatePlace) -> UserError {
    let report = match report(place, false) {
        Ok(Some(report)) => report,
        Ok(None) => return never_run(place),
        Err(error) => return error,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (what, hint) = report::job::ending(&report, now, place.command());
    UserError::new(Exit::Preflight, format!("job {} does not run: {what}", place.name)).hint(hint)
}

/// A supervisor holds the job's lock but gives no answer.
pub fn no_answer(place: &StatePlace, error: ControlError) -> UserError {
    let of_job = |exit: Exit, what: String| UserError::new(exit, format!("job {}: {what}", place.name));
    match error {
        ControlError::NoSocket | ControlError::Closed => {
            of_job(Exit::Stopped, "its run takes no commands now: it has not begun to send, or it has ended sending".to_owned())
                .hint("try again in a moment; `shardlift status` tells how far it is")
        }
        ControlError::Silent => of_job(Exit::Stopped, error.to_string())
            .hint("`shardlift status` tells how the job stands, and whether the wish was taken"),
        ControlError::Version(_) => {
            of_job(Exit::Preflight, error.to_string()).hint("use the program that the run was started with")
        }
        ControlError::Stranger(_) => of_job(Exit::State, error.to_string()).hint("ask that user, or use sudo"),
        ControlError::Nonsense(_) => of_job(Exit::Internal, error.to_string()),
        ControlError::Io(_) => {
            of_job(Exit::State, error.to_string()).hint("only the user who runs the job, and root, may steer it")
        }
    }
}
