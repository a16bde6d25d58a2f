//! `shardlift run`: the pass, as docs/architecture.md draws it. Each phase's result is the next one's input, and none
//! goes back.

mod earlier;
mod exit;
mod in_kafka;
mod pass;
mod plan;
mod report;
mod retried;
mod send;
mod topic_watch;
mod verify;

use std::time::Instant;

use kafka::{Preflight, Right};
use migration::check::CheckLevel;
use migration::job::{Brokers, SourceRules};
use migration::{Exit, Purpose, UserError, resume};

use self::earlier::Restart;
use crate::args::RunArgs;
use crate::state::Earlier;
use crate::surplus_file::SurplusFile;
use crate::ui::Ui;
use crate::{preflight, settings};

pub use self::earlier::{is_gone, may_be_used};
pub use self::in_kafka::{Agreed, Side, claim, judge, look, new_job, was_begun_elsewhere};
pub use self::pass::Pass;
pub use self::retried::RetriedJob;
pub use self::send::require_room;
pub use self::verify::Comparing;

/// Runs a job, or continues it.
pub fn run(args: &RunArgs, ui: &Ui) -> Result<Exit, UserError> {
    let &RunArgs { job: ref wanted, single, restart, yes, add, verify: wanted_at_end, ref judge } = args;
    let job = settings::load_to_judge(wanted, judge)?;
    if add && job.record_limit.is_some() {
        return Err(resume::limit_has_an_end());
    }
    if add && job.exactly_once() {
        return Err(resume::exactly_once_has_an_end());
    }
    if judge.duplicates.is_some() && !wanted_at_end && job.kafka.brokers != Brokers::Embedded {
        return Err(nothing_to_list());
    }
    send::require_room(&job, single)?;
    let restart = Restart::of(restart, yes);
    let (dir, earlier) = earlier::find(&job, restart, add, ui)?;
    let comparing = Comparing { wanted: wanted_at_end, list: list_of_duplicates(args, &job.source, earlier.as_ref())? };
    let pass = Pass::begin(job, dir, single, add, ui)?;
    go(Pass { restart, ..pass }, earlier, comparing)
}

/// The pass of a job that begins, or goes on with what an earlier run left.
pub fn go(mut pass: Pass<'_>, mut earlier: Option<Earlier>, comparing: Comparing) -> Result<Exit, UserError> {
    let (started, verify) = (Instant::now(), comparing.wanted);
    let goes_on = earlier.is_some();
    let noted = |pass: &Pass<'_>, error: UserError| if goes_on { pass.refused(error) } else { error };

    tracing::debug!("phase 1 of 5, preflight");
    let mut found = preflight(&pass, earlier.as_ref(), verify).map_err(|error| noted(&pass, error))?;
    match in_kafka::agree(&mut pass, earlier.take()) {
        Ok(known) => earlier = known,
        Err(error) => return Err(noted(&pass, error)),
    }
    pass.anew = earlier.as_ref().and_then(|earlier| earlier::begins_anew(&pass, earlier, &found));
    if pass.anew.is_some() {
        // From here on as a first run.
        earlier = None;
        found = preflight(&pass, None, verify).map_err(|error| noted(&pass, error))?;
    }
    let refused = |error: UserError| noted(&pass, error);
    tracing::debug!("phase 2 of 5, plan");
    let planned = plan::plan(&pass, earlier, found).map_err(refused)?;
    if let Some(list) = &comparing.list {
        list.is_none_of(planned.files()).map_err(refused)?;
    }
    let mut ready = planned.ready(&pass).map_err(refused)?;
    let shards = ready.context.plan.shards.len();
    tracing::debug!(shards, ms = started.elapsed().as_millis() as u64, "phase 3 of 5, send");
    let end = send::send(&pass, &mut ready)?;
    let reported = report::report(&pass, ready, end)?;
    tracing::debug!("phase 4 of 5, verify");
    let verified = verify::verify(&pass, reported, comparing);
    tracing::debug!("phase 5 of 5, report");
    Ok(exit::exit(pass, verified))
}

/// Prepares the list of duplicates, if one is wanted: now, so that a name that can't be written to is not noticed when
/// all is sent.
fn list_of_duplicates(
    args: &RunArgs,
    source: &SourceRules,
    earlier: Option<&Earlier>,
) -> Result<Option<SurplusFile>, UserError> {
    let file = SurplusFile::prepare(args.judge.duplicates.as_deref())?;
    if let Some(file) = &file {
        file.is_none_of([args.job.config.config.as_path()])?;
        file.is_outside(source)?;
        // Those of a job that begins are not known yet.
        let planned = earlier.iter().flat_map(|earlier| &earlier.state.plan.objects);
        file.is_none_of(planned.map(|object| object.path.as_path()))?;
    }
    Ok(file)
}

fn nothing_to_list() -> UserError {
    UserError::new(Exit::Usage, "--duplicates lists what a comparison finds, and none is asked for")
        .hint("add --verify, or leave it to `shardlift verify --duplicates FILE`")
}

/// Asks the brokers what must be known before a record moves. `verify`: whether the topic will be read, too.
fn preflight(pass: &Pass<'_>, earlier: Option<&Earlier>, verify: bool) -> Result<Preflight, UserError> {
    let purpose = if earlier.is_some() { Purpose::GoOn } else { Purpose::Begin };
    let bound = earlier.map(|earlier| &earlier.state.binding);
    let needs: &[Right] = if verify { &[Right::Write, Right::Read] } else { &[Right::Write] };
    if let (None, Some(retried)) = (earlier, &pass.retried) {
        retried.require_cluster(&pass.job, purpose, &pass.interrupt)?;
    }
    let found = preflight::preflight(&pass.job, purpose, bound, needs, Some(&pass.interrupt))?;
    found.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let letters = preflight::letters(&pass.job, purpose, &found, Some(&pass.interrupt))?;
    letters.iter().filter(|finding| finding.level >= CheckLevel::Warn).for_each(|finding| tracing::warn!("{}", finding.line()));
    Ok(found)
}
