//! `shardlift run`: the pass. Each step's result is the next one's input.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use kafka::{Preflight, Right, TopicLook};
use migration::cause::one_line;
use migration::job::FlushPolicy;
use migration::printable::printable_path;
use migration::report::verify::Verified;
use migration::report::{Binding, JobReport};
use migration::units::show_size;
use migration::{Accept, BoundTopic, Cause, Causes, Consequence, Exit, Identity, Job, Plan, SourceObject, UserError, resume};
use process::RunningHelper;
use serde_json::{Map, Value};
use supervisor::{NewJob, Owners, RunEnd, StateDir, Store, load_report};
use worker::WorkerContext;

use crate::args::RunArgs;
use crate::interrupt::{self, Interrupt};
use crate::letters::{self, Letters};
use crate::preflight::Purpose;
use crate::send::Helpers;
use crate::state::Earlier;
use crate::topic_watch::TopicWatch;
use crate::ui::Ui;
use crate::{embedded, helper, log, preflight, send, settings, source, state, verify, words};

/// Runs a job, or continues it.
pub fn run(args: &RunArgs, ui: &Ui) -> Result<Exit, UserError> {
    let started = Instant::now();
    let mut job = settings::load(&args.job)?;
    send::require_room(&job, args.single)?;
    let (dir, earlier) = open_state(&job, args, ui)?;
    let interrupt = Interrupt::new()?;
    interrupt::hold_steering()?;
    let broker = embedded::start_if_wanted(&mut job)?;
    tracing::debug!("phase 1 of 5, preflight");
    let needs: &[Right] = if args.verify { &[Right::Write, Right::Read] } else { &[Right::Write] };
    let goes_on = earlier.is_some();
    let begun = begin(&job, earlier, needs, &dir, broker.is_some(), &interrupt);
    let Begun { found, topic, watch, plan, mut store } = begun.inspect_err(|error| {
        if goes_on {
            note_refusal(&dir, error);
        }
    })?;
    plan.notes.iter().for_each(|note| tracing::warn!("{note}"));
    if let Some(warning) = small_batches(&job, &plan, found.partitions.len() as u64) {
        tracing::warn!("{warning}");
    }
    tracing::debug!(shards = plan.shards.len(), ms = started.elapsed().as_millis() as u64, "phase 3 of 5, send");
    let context = WorkerContext {
        dead_letters: StateDir::dead_letters_path(dir.path()),
        topic: found.settings,
        bound: Some(topic),
        take_log: log::take_lines,
        source: source::source_of(&job)?,
        job,
        plan,
    };
    let helpers = Helpers { broker: broker.as_ref(), topic: watch };
    let (mut end, mut helpers) = send::send(&context, &dir, &mut store, helpers, args.single, ui)?;
    let alone = may_go_on(args, &mut end, &interrupt);
    if !alone {
        store.revise_end(end.exit().code(), &end.reasons()).map_err(state::unusable)?;
    }
    if let Some(watch) = &mut helpers.topic
        && end.exit() == Exit::Done
    {
        // No connection is open across the fork of a helper.
        drop(store);
        look_a_last_time(&mut end, watch, &context, &found, &interrupt);
        store = Store::open(&StateDir::store_path(dir.path())).map_err(state::unusable)?;
        if end.exit() != Exit::Done {
            store.revise_end(end.exit().code(), &end.reasons()).map_err(state::unusable)?;
        }
    }
    drop(helpers);
    let found = report_of(&store, &mut end, &context.job);
    // No connection is open across the fork of a helper.
    drop(store);
    finish(args, ui, &context, &dir, broker, (found, end.causes, alone), &interrupt)
}

/// A run that may send.
struct Begun {
    found: Preflight,
    topic: BoundTopic,
    watch: Option<TopicWatch>,
    plan: Plan,
    store: Store,
}

/// Looks at brokers, topic and source, and opens the state: all that can refuse the run before it begins.
fn begin(
    job: &Job,
    earlier: Option<Earlier>,
    needs: &[Right],
    dir: &StateDir,
    embedded: bool,
    interrupt: &Interrupt,
) -> Result<Begun, UserError> {
    let purpose = if earlier.is_some() { Purpose::GoOn } else { Purpose::Begin };
    let bound = earlier.as_ref().map(|earlier| earlier.state.binding.topic.as_str());
    let found = preflight::preflight(job, purpose, bound, needs, Some(interrupt))?;
    found.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    tracing::debug!("phase 2 of 5, plan");
    let now = found.binding(job);
    let mut opened = open_job(job, earlier, &now, interrupt)?;
    let topic = BoundTopic::of(job, &opened.binding, &now);
    // The last helper before the state is open. The embedded broker's topic is the program's own.
    let watch = if embedded { None } else { Some(TopicWatch::start(job, &topic, &now.end_offsets)?) };
    let store = opened.open(job, dir)?;
    Ok(Begun { found, topic, watch, plan: opened.plan, store })
}

/// A run that was refused before it began is none of the job's runs: its history tells of it, so that a later look at the job shows
/// that it was wanted.
fn note_refusal(dir: &StateDir, error: &UserError) {
    let text = format!("not begun (exit {}): {}", error.exit.code(), one_line(&error.message));
    let noted = Store::open(&StateDir::store_path(dir.path())).and_then(|mut store| store.note_refusal(&text));
    if let Err(error) = noted {
        tracing::debug!("the job's history does not tell of this: {error}");
    }
}

/// Whether what follows a complete job may fork. With `--single` the Kafka client was in this process, and one of its threads may
/// still look up a name; then nothing that follows is judged.
fn may_go_on(args: &RunArgs, end: &mut RunEnd, interrupt: &Interrupt) -> bool {
    let complete = end.shards.done == end.shards.total;
    if !args.single || !complete || matches!(end.exit(), Exit::Signal(_)) || helper::wait_until_alone(interrupt) {
        return true;
    }
    let text = "every record was acknowledged, but neither topic nor files could be looked at again: the Kafka client still looks up \
                a broker's name; run again, or without --single";
    tracing::error!("{text}");
    end.causes.add(Cause::Stopped, text);
    false
}

/// With keys a worker's records in flight are spread over all partitions: too few for each make small batches, which cost the client
/// and the brokers several times as much.
fn small_batches(job: &Job, plan: &Plan, partitions: u64) -> Option<String> {
    const RECORDS_EACH: u64 = 1000;
    job.record.key.as_ref()?;
    let record = plan.bytes().checked_div(plan.records_estimate())?.max(1);
    let needed = partitions * RECORDS_EACH * record;
    (needed > job.workers.in_flight).then(|| {
        format!(
            "{partitions} partitions and workers.in_flight = {}: batches will be small; {} would restore the speed",
            show_size(job.workers.in_flight),
            show_size(needed)
        )
    })
}

/// The embedded broker goes through a partition's batches from its first to find one: two seconds for 50,000 records in 16 partitions
/// that were each a batch of their own, half a minute for 100,000.
fn slow_reading(flush: FlushPolicy, records: u64) -> Option<String> {
    const NOTICED: u64 = 50_000;
    (flush == FlushPolicy::Record && records > NOTICED).then(|| {
        "reading back takes a while: with flush = \"record\" each record is a batch of its own, and the embedded broker searches all of \
         a partition's for each (half a minute for 100,000 records in 16 partitions, minutes for more); real brokers have an index, \
         --limit makes it shorter"
            .to_owned()
    })
}

/// Takes both locks and reads what an earlier run left, unless this run starts over. Nothing is removed before the new plan
/// stands. A connection is never open across a fork: it is closed again here.
fn open_state(job: &Job, args: &RunArgs, ui: &Ui) -> Result<(StateDir, Option<Earlier>), UserError> {
    let dir = StateDir::open(&job.state_path(), owners(job)).map_err(|error| UserError::new(error.exit(), error))?;
    let path = StateDir::store_path(dir.path());
    if !Store::exists(&path) {
        return Ok((dir, None));
    }
    let earlier = Store::open(&path).and_then(|store| Earlier::of(&store)).map_err(state::unusable);
    let embedded = job.kafka.brokers == migration::job::Brokers::Embedded;
    if embedded && earlier.as_ref().is_ok_and(|earlier| earlier.state.binding.is_of_embedded()) {
        // The embedded broker of the earlier run is gone, and what was sent to it.
        return Ok((dir, None));
    }
    if args.restart {
        confirm(args, job, ui)?;
        return Ok((dir, None));
    }
    let earlier = earlier?;
    if embedded {
        let error = resume::is_of_real_brokers(job, &earlier.state.binding);
        note_refusal(&dir, &error);
        return Err(error);
    }
    Ok((dir, Some(earlier)))
}

/// Whose folder may be used.
fn owners(job: &Job) -> Owners {
    if job.accepts(Accept::Owner) { Owners::Any } else { Owners::Trusted }
}

fn confirm(args: &RunArgs, job: &Job, ui: &Ui) -> Result<(), UserError> {
    if args.yes {
        return Ok(());
    }
    let refused = |what: &str| UserError::new(Exit::Usage, what).hint("add --yes to start over without a question");
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

/// A job that may begin: its plan and what it belongs to.
struct Opened {
    plan: Plan,
    binding: Binding,
    /// The plan's id if the state is new.
    new: Option<u128>,
    /// Files of the plan that are other ones now, of which nothing was sent.
    replaced: Vec<(u32, SourceObject)>,
}

/// The plan and what it belongs to: of the earlier run if it is still about the same things, else new ones.
fn open_job(job: &Job, earlier: Option<Earlier>, now: &Binding, interrupt: &Interrupt) -> Result<Opened, UserError> {
    if let Some(earlier) = earlier {
        for warning in earlier.may_go_on(job, now)? {
            tracing::warn!("{warning}");
        }
        let replaced = helper::ask("shardlift plan", Some(interrupt), || source::check_source(job, &earlier.state))?;
        let state = earlier.state;
        return Ok(Opened { plan: state.plan, binding: state.binding, new: None, replaced });
    }
    let plan = helper::ask("shardlift plan", Some(interrupt), || source::make_plan(job))?;
    let binding = now.clone();
    let new = Some(supervisor::plan_id(&Identity::of(job, &plan, &binding)));
    Ok(Opened { plan, binding, new, replaced: Vec::new() })
}

impl Opened {
    /// Opens the checkpoint, a new one if the job begins.
    fn open(&mut self, job: &Job, dir: &StateDir) -> Result<Store, UserError> {
        let path = StateDir::store_path(dir.path());
        let Some(plan_id) = self.new else {
            let mut store = Store::open(&path).map_err(state::unusable)?;
            if !self.replaced.is_empty() {
                store.replace_objects(&self.replaced).map_err(state::unusable)?;
                for notice in replaced_notices(&self.replaced) {
                    tracing::warn!("{notice}");
                    store.notice(&notice).map_err(state::unusable)?;
                }
                self.plan = store.load().map_err(state::unusable)?.plan;
            }
            return Ok(store);
        };
        // What is left there belongs to a job that starts over, or (dead letters without a checkpoint) to nothing.
        verify::forget(dir.path());
        dir.clear().map_err(|error| UserError::new(error.exit(), error))?;
        let new = NewJob { name: &job.name, plan_id, plan: &self.plan, binding: &self.binding };
        Store::create(&path, &new).map_err(state::unusable)
    }
}

/// Says which files took the place of others, the first ten by name: for the log, and for the job's history.
fn replaced_notices(replaced: &[(u32, SourceObject)]) -> Vec<String> {
    const NAMED: usize = 10;
    let told = |(_, object): &(u32, SourceObject)| {
        format!("{} is another file now: nothing else of it was sent than this one has, too", printable_path(&object.path))
    };
    let mut notices: Vec<String> = replaced.iter().take(NAMED).map(told).collect();
    if replaced.len() > NAMED {
        notices.push(format!("{} more files of the source are other ones now", replaced.len() - NAMED));
    }
    notices
}

/// Every record was acknowledged: by the topic that is there now? What was sent just before a topic was deleted was acknowledged, too.
fn look_a_last_time(
    end: &mut RunEnd,
    watch: &mut TopicWatch,
    context: &WorkerContext,
    found: &Preflight,
    interrupt: &Interrupt,
) {
    let Some(topic) = &context.bound else { return };
    let (cause, text) = match watch.last_look(&context.job, topic, &found.binding(&context.job).end_offsets, interrupt) {
        TopicLook::Same => return,
        TopicLook::Changed(change) if topic.consequence(&change) == Consequence::Warn => {
            if !watch.has_told(&change) {
                tracing::warn!("{}", topic.tell(&change));
            }
            return;
        }
        TopicLook::Changed(change) => (Cause::Preflight, topic.tell(&change)),
        TopicLook::Unanswered(text) => {
            let name = &topic.name;
            (
                Cause::Stopped,
                format!("every record was acknowledged, but whether topic {name} is still there can't be told: {text}"),
            )
        }
    };
    tracing::error!("{text}");
    end.causes.add(cause, text);
}

/// The state's figures. What can't be read from the state any more (a full disk) is taken from the run, and is a cause.
fn report_of(store: &Store, end: &mut RunEnd, job: &Job) -> JobReport {
    load_report(store, false).unwrap_or_else(|error| {
        tracing::error!("{error}");
        end.causes.add(Cause::State, error.to_string());
        let accepted = job.accept.iter().map(|accept| accept.name().to_owned()).collect();
        JobReport { accepted, ..end.report(&job.name) }
    })
}

/// How long an embedded broker may take to end after a second signal.
const BROKER_PATIENCE: Duration = Duration::from_millis(200);

/// Verifies if that was asked for, and reports: whatever happens from here on, the result of the run is printed. `alone`: whether
/// this process may fork.
fn finish(
    args: &RunArgs,
    ui: &Ui,
    context: &WorkerContext,
    dir: &StateDir,
    broker: Option<RunningHelper>,
    (mut found, mut causes, alone): (JobReport, Causes, bool),
    interrupt: &Interrupt,
) -> Result<Exit, UserError> {
    let before = causes.clone();
    // What an embedded broker received can be compared only while it lives.
    let complete = found.shards.done == found.shards.total;
    let may_look = complete && alone && may_verify(causes.exit());
    let wanted = may_look && (args.verify || broker.is_some());
    if args.verify && !complete {
        tracing::warn!("not verified: the job is not complete");
    }
    tracing::debug!(wanted, "phase 4 of 5, verify");
    let mut verified = None;
    if may_look && found.counts.dead_lettered > 0 {
        let folder = &context.dead_letters;
        if let Err(error) = helper::ask("shardlift plan", Some(interrupt), || letters::require(&found, folder)) {
            ui.complain(&error);
            causes.add(Cause::of(error.exit).unwrap_or(Cause::Internal), error.message);
        }
    }
    // A comparison looks at the files itself.
    if may_look && !wanted {
        let (job, plan) = (&context.job, &context.plan);
        if let Err(error) = helper::ask("shardlift plan", Some(interrupt), || source::check_files(job, plan, true)) {
            ui.complain(&error);
            causes.add(Cause::of(error.exit).unwrap_or(Cause::Internal), error.message);
        }
    }
    if wanted {
        if broker.is_some()
            && let Some(warning) = slow_reading(context.job.workers.flush, found.counts.acknowledged)
        {
            tracing::warn!("{warning}");
        }
        let kept = Store::read_only(&StateDir::store_path(dir.path())).and_then(|store| store.load());
        // The plan as it stands now: shards may have been split in this run, and records are in order only within a shard.
        let compared = kept.map_err(state::unusable).and_then(|state| {
            let letters = Letters::of(dir.path(), &state);
            verify::verify(&context.job, &state.plan, found.plan_id, &letters, &found.binding, Some(interrupt), ui)
        });
        match compared {
            Ok(result) => {
                verify::keep(dir.path(), &result);
                if let Some(cause) = Cause::of(result.exit()) {
                    causes.add(cause, result.reason());
                }
                verified = Some(result);
            }
            Err(error) => {
                ui.complain(&error);
                causes.add(Cause::of(error.exit).unwrap_or(Cause::Internal), format!("not verified: {}", error.message));
            }
        }
    }
    tracing::debug!("phase 5 of 5, report");
    let exit = causes.exit();
    (found.exit, found.outcome, found.reasons) = (Some(exit), exit.into(), causes.reasons());
    if causes != before {
        // So that `status` says the same as this run does.
        let revised =
            Store::open(&StateDir::store_path(dir.path())).and_then(|mut store| store.revise_end(exit.code(), &found.reasons));
        if let Err(error) = revised {
            tracing::warn!("the state does not know that the comparison ended with {}: {error}", exit.code());
        }
    }
    let embedded_stopped = broker.is_some() && (!complete || exit == Exit::Stopped);
    match broker {
        Some(broker) if matches!(exit, Exit::Signal(_)) => drop(broker.stop(BROKER_PATIENCE)),
        broker => drop(broker),
    }
    log::print_through(None);
    ui.result(
        || text(&found, &context.plan.notes, verified.as_ref(), embedded_stopped, &context.dead_letters),
        || object(&found, &context.plan.notes, verified.as_ref()),
    );
    Ok(exit)
}

/// After a second signal, or when the state says nothing that can be relied on, there is nothing to compare.
fn may_verify(exit: Exit) -> bool {
    !matches!(exit, Exit::Signal(_) | Exit::State | Exit::Internal)
}

fn text(
    found: &JobReport,
    notes: &[String],
    verified: Option<&Verified>,
    embedded_stopped: bool,
    dead_letters: &Path,
) -> String {
    let mut out = report::job::text(found) + &letters::text(found, dead_letters);
    if !notes.is_empty() {
        out += "\nworth knowing\n";
        notes.iter().for_each(|note| out += &format!("  - {note}\n"));
    }
    if let Some(verified) = verified {
        out += &format!("\n{}", report::verify::text(verified, false));
    }
    if embedded_stopped {
        out += "\nthe embedded broker is gone, and what it received: the next run starts over\n";
    } else if matches!(found.exit, Some(Exit::Stopped | Exit::Signal(_))) {
        let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
        out += &format!("\nthe state is saved; to continue: {}\n", again(words));
    }
    out
}

/// The command line that continues this run: what was typed, but for what would start over. Secrets never stand in it: the
/// config refuses them there.
fn again(words: impl Iterator<Item = String>) -> String {
    words::joined(words.filter(|word| word != "--restart" && word != "--yes"))
}

fn object(found: &JobReport, notes: &[String], verified: Option<&Verified>) -> Map<String, Value> {
    let mut map = report::job::object(found);
    map.insert("notes".into(), notes.into());
    map.insert(
        "verify".into(),
        verified.map_or(Value::Null, |verified| Value::Object(report::verify::object(verified, false))),
    );
    map
}

#[cfg(test)]
mod tests {
    use migration::job::FlushPolicy;

    use super::{again, slow_reading};

    fn continued(words: &[&str]) -> String {
        again(words.iter().map(|&word| word.to_owned()))
    }

    #[test]
    fn the_command_that_continues_is_the_one_that_was_typed() {
        let typed =
            ["run", "-b", "kafka-1:9092,kafka-2:9092", "--limit", "10", "--restart", "--yes", "--set", "job.name = \"it's\""];
        assert_eq!(continued(&typed), r#"shardlift run -b kafka-1:9092,kafka-2:9092 --limit 10 --set 'job.name = "it'\''s"'"#);
        assert_eq!(continued(&["run", "-c", "a b.toml", ""]), "shardlift run -c 'a b.toml' ''");
    }
    #[test]
    fn many_batches_of_one_record_are_announced() {
        assert_eq!(slow_reading(FlushPolicy::Record, 50_000), None);
        assert_eq!(slow_reading(FlushPolicy::Chunk, 50_001), None);
        assert!(slow_reading(FlushPolicy::Record, 50_001).is_some_and(|warning| warning.contains("a batch of its own")));
    }
}
