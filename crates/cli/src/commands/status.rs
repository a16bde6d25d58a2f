//! `shardlift status`: how far a job is, from its state, while it runs and after; what a run was asked for, from the
//! run itself.

use std::time::Duration;

use migration::{Exit, UserError};
use report::status::RunNow;
use supervisor::control::ControlClient;
use supervisor::{StateDir, Store};

use super::watch::{self, Watched};
use crate::args::{OutputFormat, StatusArgs};
use crate::letters;
use crate::running::{self, StatePlace};
use crate::ui::Ui;

/// Prints the job's report. Never says "running" unless a supervisor holds the lock.
pub fn status(args: &StatusArgs, ui: &Ui) -> Result<Exit, UserError> {
    let place = StatePlace::find_begun(&args.job)?;
    let mut holder = running::holder(&place)?;
    let mut end = Exit::Done;
    if args.watch {
        match &holder {
            Some(run) => match watch::watch(&place, run, ui)? {
                // Who asked for an object gets one, however the watching ended.
                Watched::Left(exit) if ui.output == OutputFormat::Json => end = exit,
                Watched::Left(exit) => return Ok(exit),
                Watched::Over => holder = running::holder(&place)?,
            },
            None if Store::exists(&StateDir::store_path(&place.path)) => ui.say(format!("job {} does not run", place.name)),
            None => {}
        }
    }
    let mut found = running::report(&place, running::runs(holder.as_deref()))?.ok_or_else(|| running::never_run(&place))?;
    let run = holder.as_ref().and_then(|_| run_now(&place));
    let letters = letters::seen(&found, &StateDir::dead_letters_path(&place.path), || running::files(&place));
    crate::letters::mark_sent_since(&mut found, &letters);
    ui.result(
        || report::status::text(&found, holder.as_deref(), run.as_ref(), &letters),
        || report::status::object(&found, run.as_ref(), &letters),
    );
    Ok(end)
}

/// What the run itself says; a run that prepares, compares or stands still says nothing.
pub fn run_now(place: &StatePlace) -> Option<RunNow> {
    const PATIENCE: Duration = Duration::from_secs(1);
    let state = ControlClient::connect(&place.path).and_then(|client| client.state(PATIENCE));
    state.ok().flatten().map(|snapshot| RunNow { standing: snapshot.standing, outage: snapshot.outage })
}
