//! `shardlift run`: the pass. Each step's result is the next one's input.

use std::io::{BufRead, IsTerminal, Write};
use std::time::Instant;

use kafka::Preflight;
use migration::report::JobReport;
use migration::{Exit, Job, Plan};
use process::RunningHelper;
use serde_json::{Map, Value};
use supervisor::{JobState, NewJob, StateDir, Store, load_report};

use crate::args::RunArgs;
use crate::error::CliError;
use crate::ui::Ui;
use crate::verify::Verified;
use crate::worker::WorkerContext;
use crate::{embedded, helper, log, preflight, report, send, settings, state, verify};

/// Runs a job, or continues it.
pub fn run(args: &RunArgs, ui: &Ui) -> Result<Exit, CliError> {
    let started = Instant::now();
    let mut job = settings::load(&args.job)?;
    let (dir, earlier) = open_state(&job, args, ui)?;
    let broker = embedded::start_if_wanted(&mut job)?;
    tracing::debug!("phase 1 of 5, preflight");
    let found = preflight::preflight(&job, earlier.is_some())?;
    found.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    tracing::debug!("phase 2 of 5, plan");
    let (plan, mut store) = open_job(&job, &dir, earlier, &found)?;
    tracing::debug!(shards = plan.shards.len(), ms = started.elapsed().as_millis() as u64, "phase 3 of 5, send");
    let context = WorkerContext {
        dead_letters: StateDir::dead_letters_path(dir.path()),
        max_message_bytes: found.max_message_bytes,
        job,
        plan,
    };
    let end = send::send(&context, &dir, &mut store, broker.as_ref(), args.single, ui)?;
    drop(store);
    finish(args, ui, &context, &dir, broker, end.exit)
}

/// Takes both locks and reads what an earlier run left. A connection is never open across a fork: it is closed again here.
fn open_state(job: &Job, args: &RunArgs, ui: &Ui) -> Result<(StateDir, Option<JobState>), CliError> {
    let dir = StateDir::open(&job.state_path()).map_err(|error| CliError::new(error.exit(), error))?;
    let path = StateDir::store_path(dir.path());
    let clear = |dir: &StateDir| {
        verify::forget(dir.path());
        dir.clear().map_err(|error| CliError::new(error.exit(), error))
    };
    if !Store::exists(&path) {
        // Dead letters without a checkpoint belong to nothing.
        clear(&dir)?;
        return Ok((dir, None));
    }
    let state = Store::open(&path).and_then(|store| store.load()).map_err(state::unusable);
    let embedded = job.kafka.brokers == migration::job::Brokers::Embedded;
    if embedded && state.as_ref().is_ok_and(|state| state::is_of_embedded(&state.binding)) {
        // The embedded broker of the earlier run is gone, and what was sent to it.
        clear(&dir)?;
        return Ok((dir, None));
    }
    if args.restart {
        confirm(args, job, ui)?;
        clear(&dir)?;
        return Ok((dir, None));
    }
    let state = state?;
    if embedded {
        return Err(state::not_of_embedded(job, &state.binding));
    }
    Ok((dir, Some(state)))
}

fn confirm(args: &RunArgs, job: &Job, ui: &Ui) -> Result<(), CliError> {
    if args.yes {
        return Ok(());
    }
    let refused = |what: &str| CliError::new(Exit::Usage, what).hint("add --yes to start over without a question");
    if !std::io::stdin().is_terminal() {
        return Err(refused("--restart forgets how far the job is, and nobody is at a terminal to confirm it"));
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

/// The plan and the open checkpoint: of the earlier run if it is still about the same things, else new ones.
fn open_job(job: &Job, dir: &StateDir, earlier: Option<JobState>, found: &Preflight) -> Result<(Plan, Store), CliError> {
    let path = StateDir::store_path(dir.path());
    if let Some(state) = earlier {
        for warning in state::check_binding(job, &state, found)? {
            tracing::warn!("{warning}");
        }
        helper::ask("shardlift plan", || state::check_source(job, &state.plan))?;
        let store = Store::open(&path).map_err(state::unusable)?;
        return Ok((state.plan, store));
    }
    let plan = helper::ask("shardlift plan", || state::make_plan(job))?;
    let binding = state::binding(job, found);
    let plan_id = state::plan_id(job, &plan, &binding)?;
    let new = NewJob { name: &job.name, plan_id, plan: &plan, binding: &binding };
    let store = Store::create(&path, &new).map_err(state::unusable)?;
    Ok((plan, store))
}

/// Verifies if that was asked for, and reports.
fn finish(
    args: &RunArgs,
    ui: &Ui,
    context: &WorkerContext,
    dir: &StateDir,
    broker: Option<RunningHelper>,
    exit: Exit,
) -> Result<Exit, CliError> {
    let path = StateDir::store_path(dir.path());
    let load = || Store::read_only(&path).and_then(|store| load_report(&store, false)).map_err(state::unusable);
    let mut found = load()?;
    // What an embedded broker received can be compared only while it lives.
    let complete = found.shards.done == found.shards.total;
    let wanted = complete && (args.verify || broker.is_some());
    tracing::debug!(wanted, "phase 4 of 5, verify");
    let verified = if wanted {
        Some(verify::verify(&context.job, &context.plan, &context.dead_letters, &found.binding, ui)?)
    } else {
        None
    };
    let exit = match &verified {
        Some(verified) => {
            verify::keep(dir.path(), verified);
            exit.worse(verified.exit())
        }
        None => exit,
    };
    tracing::debug!("phase 5 of 5, report");
    found.exit = Some(exit);
    found.outcome = exit.into();
    let embedded_stopped = broker.is_some() && !complete;
    drop(broker);
    log::print_through(None);
    ui.result(|| text(&found, verified.as_ref(), embedded_stopped, args), || object(&found, verified.as_ref()));
    Ok(exit)
}

fn text(found: &JobReport, verified: Option<&Verified>, embedded_stopped: bool, args: &RunArgs) -> String {
    let mut out = report::text(found);
    if let Some(verified) = verified {
        out += &format!("\n{}", verified.text());
    }
    if embedded_stopped {
        out += "\nthe embedded broker is gone, and what it received: the next run starts over\n";
    } else if found.exit == Some(Exit::Stopped) {
        out += &format!("\nthe state is saved; to continue: shardlift run -c {}\n", args.job.config.display());
    }
    out
}

fn object(found: &JobReport, verified: Option<&Verified>) -> Map<String, Value> {
    let mut map = report::object(found);
    map.insert("verify".into(), verified.map_or(Value::Null, |verified| Value::Object(verified.object())));
    map
}
