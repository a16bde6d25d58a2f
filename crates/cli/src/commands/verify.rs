//! `shardlift verify`: the topic against the source.

mod receipts;
mod repair;

use std::path::Path;

use kafka::Right;
use migration::job::Brokers;
use migration::report::JobReport;
use migration::report::verify::{AllowedDuplicates, Verified, VerifyReport};
use migration::units::show_count;
use migration::{Exit, Job, Purpose, UserError, resume};
use supervisor::{JobState, StateDir, Store, load_report};

use crate::args::VerifyArgs;
use crate::catch_up::{CaughtUp, catch_up};
use crate::fill::require_state;
use crate::letters::Letters;
use crate::state::Earlier;
use crate::surplus_file::SurplusFile;
use crate::ui::Ui;
use crate::verify::{Compared, Lists, Sent};
use crate::{preflight, settings, state, verify};

/// Compares and says what differs.
pub fn verify(args: &VerifyArgs, ui: &Ui) -> Result<Exit, UserError> {
    let &VerifyArgs { ref config, ref judge, show_values, .. } = args;
    let job = settings::load_to_verify(args)?;
    let folder = job.state_path();
    let (left, caught_up) = left_of(&job, &folder, ui)?;
    if args.repair {
        return repair::repair(job, args, ui);
    }
    if args.receipts {
        return receipts::compare(&job, &left, &caught_up, ui);
    }
    let list = SurplusFile::prepare(judge.duplicates.as_deref())?;
    if let Some(file) = &list {
        file.is_none_of([config.config.as_path()])?;
        file.is_outside(&job.source)?;
    }
    let earlier = &left.state;
    look_at_topic(&job, &left)?;
    let letters = Letters::of(&folder, earlier);
    let retries = verify::retries_of(&folder, earlier)?;
    let report = report_of(&folder)?;
    let sent = Sent { plan: &earlier.plan, letters: &letters, retries: &retries, report: &report };
    let Compared { verified, list } = verify::verify(&job, sent, Lists { surplus: list, missing: None }, None, ui)?;
    verify::require_same_retries(&folder, earlier, &retries)?;
    verify::require_same_job(&folder, earlier)?;
    caught_up.require_same(&folder)?;
    keep(&job, &verified, earlier);
    ui.result(|| report::verify::text(&verified, show_values), || report::verify::object(&verified, show_values));
    if let Some(hint) = may_be_allowed(&verified, sent)?.filter(|_| !ui.quiet) {
        ui.say(hint);
    }
    let listed = list.map_or(Ok(()), SurplusFile::keep);
    Ok(listed.map_or_else(
        |error| {
            ui.complain(&error);
            error.exit.worse(verified.exit())
        },
        |()| verified.exit(),
    ))
}

/// Whether the topic is there, may be read, and is the one that the job sent to.
fn look_at_topic(job: &Job, left: &Earlier) -> Result<(), UserError> {
    let bound = Some(&left.state.binding);
    let found = preflight::preflight(job, Purpose::Compare, bound, &[Right::Read], None)?;
    left.may_be_compared(job, &found.binding(job))?.iter().for_each(|warning| tracing::warn!("{warning}"));
    Ok(())
}

/// What to know of duplicates that are all that differs, and that the known deaths explain.
fn may_be_allowed(verified: &Verified, sent: Sent<'_>) -> Result<Option<String>, UserError> {
    let copies = verified.report.duplicates;
    let once = Verified { report: VerifyReport { duplicates: 0, ..verified.report.clone() }, ..verified.clone() };
    if copies == 0 || verified.allowed.is_some() || once.exit() != Exit::Done {
        return Ok(None);
    }
    let AllowedDuplicates { at_most } = verify::allowed(sent)?;
    let explained = format!(
        "  next: the known deaths explain up to {} duplicates; --allow-duplicates lets these pass, --duplicates FILE lists them",
        show_count(at_most)
    );
    Ok((copies <= at_most).then_some(explained))
}

/// What the job did. No connection to its state is open afterwards, across the fork of a helper.
fn report_of(folder: &Path) -> Result<JobReport, UserError> {
    let store = Store::read_only(&StateDir::store_path(folder));
    store.and_then(|store| load_report(&store, false)).map_err(state::unusable)
}

/// Keeps the result, as the only process that writes to the job's state now.
fn keep(job: &Job, verified: &Verified, compared: &JobState) {
    let folder = job.state_path();
    match StateDir::open(&folder, state::owners(job)) {
        Ok(_held) => verify::keep(&StateDir::store_path(&folder), verified, compared),
        Err(error) => tracing::warn!("what was found is not kept in the job's state: {error}"),
    }
}

/// What the job's last run left, if it can be compared: it ended, and its topic is still there.
fn left_of(job: &Job, folder: &Path, ui: &Ui) -> Result<(Earlier, CaughtUp), UserError> {
    let path = StateDir::store_path(folder);
    require_state(job, folder, ui)?;
    let left = || Store::read_only(&path).and_then(|store| Earlier::of(&store)).map_err(state::unusable);
    let earlier = left()?.state;
    if job.kafka.brokers == Brokers::Embedded {
        if !earlier.binding.is_of_embedded() {
            return Err(resume::is_of_real_brokers(job, &earlier.binding));
        }
        return Err(embedded_is_gone(&path)?);
    }
    if let Some(holder) = StateDir::holder(folder).map_err(|error| UserError::new(error.exit(), error))? {
        return Err(UserError::new(
            Exit::Stopped,
            format!("job {} is running ({holder}): there is nothing final to compare yet", job.name),
        )
        .hint("verify when it has ended, or run it with --verify"));
    }
    let caught_up = catch_up(job, folder)?;
    let left = left()?;
    if !left.state.is_done() {
        tracing::warn!("job {} is not at its end, as far as is known here: what was not sent yet counts as missing", job.name);
    }
    Ok((left, caught_up))
}

fn embedded_is_gone(path: &Path) -> Result<UserError, UserError> {
    let gone = "the embedded broker died with its run, and the topic with it";
    let kept = Store::read_only(path).and_then(|store| store.verified()).map_err(state::unusable)?;
    let error = match kept {
        Some(verified) => UserError::new(
            Exit::Preflight,
            format!("{gone}; before it ended, the run itself compared them:\n{}", report::verify::text(&verified, false)),
        ),
        // A comparison that broke leaves no result either, nor does one that was not kept.
        None => UserError::new(Exit::Preflight, format!("{gone}; the run kept no comparison of them")),
    };
    Ok(error.hint("run it again, or use real brokers with -b"))
}
