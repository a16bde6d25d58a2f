//! What an earlier run of the job left, unless this one starts over.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

use kafka::Preflight;
use migration::job::Brokers;
use migration::{Exit, Job, UserError, resume};
use supervisor::{StateDir, StateDirError, Store};

use super::pass::{Pass, note_refusal};
use crate::retries::{self, Retries};
use crate::state::{self, Earlier};
use crate::ui::Ui;
use crate::{helper, source};

/// Whether the job starts over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// It goes on.
    No,
    /// If the user confirms it.
    Ask,
    /// The user has confirmed it.
    Confirmed,
}

impl Restart {
    /// As `--restart` and `--yes` say.
    pub fn of(restart: bool, yes: bool) -> Self {
        match (restart, yes) {
            (false, _) => Restart::No,
            (true, false) => Restart::Ask,
            (true, true) => Restart::Confirmed,
        }
    }
}

/// Takes both locks and reads what an earlier run left, unless this run starts over. Nothing is removed before the new
/// plan stands. A connection is never open across a fork: it is closed again here. `add`: new files are to be added,
/// which a running job does not take. No retry of its dead letters runs beside it.
pub fn find(job: &Job, restart: Restart, add: bool, ui: &Ui) -> Result<(StateDir, Option<Earlier>), UserError> {
    let dir = StateDir::open(&job.state_path(), state::owners(job)).map_err(|error| {
        let refused = UserError::new(error.exit(), &error);
        match add && matches!(error, StateDirError::Supervisor { .. }) {
            true => {
                refused.hint("a plan grows between two runs: stop this one (Ctrl-C or SIGTERM, what it sent is kept), then `shardlift run --add`")
            }
            false => refused,
        }
    })?;
    retries::none_runs(&job.name, dir.path(), state::owners(job))?;
    let path = StateDir::store_path(dir.path());
    if !Store::exists(&path) {
        return Ok((dir, None));
    }
    let earlier = Store::open(&path).and_then(|store| Earlier::of(&store)).map_err(state::unusable);
    if earlier.as_ref().is_ok_and(|earlier| is_gone(job, earlier)) {
        return Ok((dir, None));
    }
    if restart != Restart::No {
        confirm(job, restart, ui)?;
        return Ok((dir, None));
    }
    let earlier = earlier?;
    may_be_used(job, dir.path(), &earlier).inspect_err(|error| note_refusal(&dir, error))?;
    Ok((dir, Some(earlier)))
}

/// Whether all that a run sent is gone with its embedded broker.
pub fn is_gone(job: &Job, earlier: &Earlier) -> bool {
    job.kafka.brokers == Brokers::Embedded && earlier.state.binding.is_of_embedded()
}

/// Whether what an earlier run left is of any use to one that goes on, before brokers are asked.
pub fn may_be_used(job: &Job, folder: &Path, earlier: &Earlier) -> Result<(), UserError> {
    if job.kafka.brokers == Brokers::Embedded {
        return Err(resume::is_of_real_brokers(job, &earlier.state.binding));
    }
    // What `verify` needs of them at the end is known before a record moves.
    Retries::of_state(folder, &earlier.state).map(drop)
}

/// Why a job of which nothing was sent begins anew, with what is told of it: its config or its source is not as it was
/// when it began, and that can still be changed. `None`: it goes on, or is refused.
pub fn begins_anew(pass: &Pass<'_>, earlier: &Earlier, found: &Preflight) -> Option<String> {
    // What a retry sends, and by which rules, is kept with it. Who began a job elsewhere may be sending its first
    // record.
    if pass.retried.is_some() || pass.begun_elsewhere || !earlier.sent_nothing() {
        return None;
    }
    let job = &pass.job;
    let source =
        || helper::ask("shardlift plan", Some(&pass.interrupt), || source::check_source(job, &earlier.state, pass.add));
    let now = found.binding(job);
    let refused = earlier.goes_on(job, &now).map(drop).and_then(|()| source().map(drop)).err()?;
    earlier.begins_anew(job, &now, &refused).map(|anew| anew.told())
}

/// Asks whether the job is to start over, unless that is confirmed.
pub fn confirm(job: &Job, restart: Restart, ui: &Ui) -> Result<(), UserError> {
    if restart == Restart::Confirmed {
        return Ok(());
    }
    let refused = |what: &str| UserError::new(Exit::Usage, what).hint("add --yes to start over without a question");
    if !std::io::stdin().is_terminal() {
        return Err(refused("--restart forgets how far the job is, and there is no terminal to confirm it at"));
    }
    ui.say(format!(
        "this forgets the state of job {} and sends everything again; records already in the topic stay there",
        job.name
    ));
    drop(write!(std::io::stderr(), "type the job's name to go on: "));
    let mut answer = String::new();
    drop(std::io::stdin().lock().read_line(&mut answer));
    if answer.trim() == job.name { Ok(()) } else { Err(refused("not confirmed; nothing was changed")) }
}
