//! `shardlift compare web`: requests that wait for their record, beside ones that don't, under each flush.
//!
//! For each round and flush a fresh server process and a fresh process that asks it, so that no run inherits anything of another.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

use compare::results::Results;
use compare::web;
use compare::web::desk::{Desk, DeskSettings};
use compare::web::figures::{WebComparison, WebConditions, WebFlush, WebRound};
use compare::web::load::{Load, LoadFigures};
use compare::web::records::Records;
use kafka::{ProducerOptions, Right};
use migration::job::{Brokers, FlushPolicy};
use migration::{Exit, Job, Plan, Purpose, UserError};
use process::{ChildEnds, HelperError, HelperOptions, RunningHelper};

use super::compare::{Files, complaint, properties_for_speed, with_deletion};
use crate::args::WebArgs;
use crate::environment::environment;
use crate::interrupt::Interrupt;
use crate::own_topic::{OwnTopic, Wanted};
use crate::ui::Ui;
use crate::{helper, preflight, settings, source};

/// Descriptors of a producer: sockets, pipes and an eventfd.
const DESCRIPTORS_OF_A_PRODUCER: u64 = 16;
/// Its threads.
const TASKS_OF_A_PRODUCER: u64 = 4;

/// How long a process may take besides its clock, and so much more for each producer: a server creates them one after the other, some
/// round trips each.
const PATIENCE: Duration = Duration::from_secs(60);
const PATIENCE_EACH: Duration = Duration::from_secs(2);

/// What a server writes before the reason why it does not listen.
const REFUSED: char = '!';

/// What all runs have in common.
struct Scene<'a> {
    job: &'a Job,
    plan: &'a Plan,
    producer: ProducerOptions,
    load: Load,
    shared_producer: bool,
    interrupt: &'a Interrupt,
}

/// Why no round follows.
struct Interrupted;

/// Measures, and prints what came out.
pub fn web(args: &WebArgs, ui: &Ui) -> Result<Exit, UserError> {
    let mut job = settings::load_config(&args.config)?;
    // One record at a time: sent at once, without waiting for a batch.
    job.workers.flush = FlushPolicy::Record;
    require_room(args)?;
    let environment = environment();
    let name = format!("{}-{}-web.jsonl", environment.started_unix_ms / 1000, std::process::id());
    let kept = job.state_dir.join("compare").join(name);
    let files = Files::open(args.html.as_deref(), args.csv.as_deref())?;
    files.are_none_of([args.config.config.as_path()])?;
    let interrupt = Interrupt::new()?;
    let embedded = job.kafka.brokers == Brokers::Embedded;
    let brokers = match &job.kafka.brokers {
        Brokers::Embedded => "embedded".to_owned(),
        Brokers::Bootstrap(brokers) => brokers.join(","),
    };
    let plan = helper::ask("shardlift plan", Some(&interrupt), || source::make_plan(&job))?;
    files.are_none_of(plan.objects.iter().map(|object| object.path.as_path()))?;
    let wanted = Wanted {
        partitions: None,
        least_partitions: if args.shared_producer { args.clients } else { 1 },
        in_bulk: false,
        rtt: args.rtt,
        into: args.into_topic.as_deref(),
    };
    let topic = OwnTopic::make(&mut job, &wanted, &interrupt, ui)?;
    let found = preflight::preflight(&job, Purpose::Begin, None, &[Right::Write], Some(&interrupt))?;
    let producer = ProducerOptions::for_job(&job, "web", found.settings.max_message_bytes);
    helper::ask("shardlift plan", Some(&interrupt), || {
        let read = Records::read(&job, &plan, found.settings.max_message_bytes as usize);
        read.map(drop).map_err(|failure| UserError::new(Exit::Source, failure))
    })?;
    let conditions = WebConditions {
        rtt_us: embedded.then(|| micros(args.rtt)),
        brokers,
        topic: job.kafka.topic.clone(),
        clients: args.clients,
        others: args.others,
        pause_us: micros(args.pause),
        seconds: args.seconds,
        rounds: args.rounds,
        shared_producer: args.shared_producer,
        source: job.source.files().paths.clone(),
        properties: properties_for_speed(&job, &producer),
    };
    let (clients, others) = (args.clients, args.others);
    let scene = Scene {
        job: &job,
        plan: &plan,
        producer,
        load: Load { clients, others, pause: args.pause, duration: Duration::from_secs_f64(args.seconds) },
        shared_producer: args.shared_producer,
        interrupt: &interrupt,
    };
    let results = Results::create(&kept).and_then(|mut file| file.add(&(&conditions, &environment)).map(|()| file));
    let results = results.map_err(|error| not_kept(&kept, &error))?;
    let flushes = in_order(&args.flush);
    let (rounds, end) = measure(&scene, &flushes, args.rounds, results, ui);
    let deleted = topic.delete();
    let results = web::summary::summarise(&rounds);
    let mut comparison = WebComparison {
        conditions,
        environment,
        results,
        rounds,
        advice: Vec::new(),
        interrupted: !matches!(end, End::Complete),
    };
    comparison.advice = web::summary::advice(&comparison);
    let object = compare::web::pages::object(&comparison);
    let written = files
        .write(|| compare::web::pages::html(&comparison, &ui.object(object.clone())), || compare::web::pages::csv(&comparison));
    ui.result(|| compare::web::pages::text(&comparison), || object.clone());
    written?;
    let exit = match end {
        End::NotKept(error) => complaint(&not_kept(&kept, &error), ui),
        End::Complete | End::Interrupted => exit(&comparison, &flushes, ui),
    };
    Ok(with_deletion(exit, deleted, ui))
}

/// Refuses at once what this machine allows too few descriptors or processes for.
fn require_room(args: &WebArgs) -> Result<(), UserError> {
    let (producers, connections) = (u64::from(args.clients), u64::from(args.clients + args.others));
    process::raise_descriptor_limit()
        .and_then(|_| process::require_descriptors(64 + DESCRIPTORS_OF_A_PRODUCER * producers + 2 * connections))
        .and_then(|()| process::require_processes(8 + TASKS_OF_A_PRODUCER * producers))
        .map_err(|error| UserError::new(Exit::Preflight, error))
}

/// Each flush once, in the order of the table.
fn in_order(asked: &[WebFlush]) -> Vec<WebFlush> {
    WebFlush::ALL.into_iter().filter(|flush| asked.contains(flush)).collect()
}

fn not_kept(path: &Path, error: &io::Error) -> UserError {
    let folder = migration::printable::printable_path(path.parent().unwrap_or(path));
    UserError::new(Exit::State, format!("results can't be kept in {folder}: {error}"))
        .hint("job.state_dir must be on a local, writable disk with space left")
}

fn exit(comparison: &WebComparison, flushes: &[WebFlush], ui: &Ui) -> Exit {
    if comparison.interrupted {
        ui.say("interrupted: the figures are those of the runs that had ended");
        return Exit::Stopped;
    }
    // A flush without any figure: the comparison is not what was asked for.
    let has_figures = |flush: &WebFlush| comparison.results.iter().any(|result| result.flush == *flush);
    if flushes.iter().all(has_figures) { Exit::Done } else { Exit::Failed }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// How the rounds ended.
enum End {
    Complete,
    Interrupted,
    /// A result could not be kept.
    NotKept(io::Error),
}

/// The rounds of all flushes, in turn, each kept as soon as it is known; if they end early those that had ended.
fn measure(scene: &Scene<'_>, flushes: &[WebFlush], rounds: u32, mut results: Results, ui: &Ui) -> (Vec<WebRound>, End) {
    let mut done = Vec::new();
    for number in 1..=rounds {
        // Each round begins with another flush, so that none always follows the same one.
        let first = (number as usize - 1) % flushes.len();
        for flush in flushes[first..].iter().chain(&flushes[..first]) {
            let Ok(round) = scene.run(*flush, number) else { return (done, End::Interrupted) };
            if !ui.quiet {
                ui.say(progress(&round, rounds));
            }
            let kept = results.add(&round);
            done.push(round);
            if let Err(error) = kept {
                return (done, End::NotKept(error));
            }
        }
    }
    (done, End::Complete)
}

fn progress(round: &WebRound, rounds: u32) -> String {
    let head = format!("round {} of {rounds}, {}", round.round, round.flush.name());
    match &round.failure {
        Some(failure) => format!("{head}: failed: {failure}"),
        None => format!(
            "{head}: plain p50 {:.2} ms, produce p50 {:.2} ms",
            round.plain.quantile(0.5) as f64 / 1e3,
            round.produce.quantile(0.5) as f64 / 1e3
        ),
    }
}

impl Scene<'_> {
    /// One flush, once.
    fn run(&self, flush: WebFlush, number: u32) -> Result<WebRound, Interrupted> {
        let figures = match self.serve(flush) {
            Ok(server) => self.ask(&server),
            Err(error) => Err(error),
        };
        match figures {
            Err(HelperError::Interrupted { .. }) => Err(Interrupted),
            Err(error) => Ok(web::round(flush, number, &self.load, Err(error.to_string()))),
            Ok(figures) => Ok(web::round(flush, number, &self.load, figures)),
        }
    }

    /// Starts a server process. It ends when its handle is dropped.
    fn serve(&self, flush: WebFlush) -> Result<RunningHelper, HelperError> {
        let settings = DeskSettings {
            flush,
            seats: self.load.clients,
            shared_producer: self.shared_producer,
            producer: self.producer.clone(),
        };
        process::start_helper(&self.helper("shardlift web"), |ends| serve(&settings, self.job, self.plan, ends))
    }

    /// Has a process of its own ask the server.
    fn ask(&self, server: &RunningHelper) -> Result<Result<LoadFigures, String>, HelperError> {
        let said = String::from_utf8_lossy(&server.ready).into_owned();
        let address: SocketAddr = match said.parse() {
            Ok(address) => address,
            Err(_) => return Ok(Err(said.trim_start_matches(REFUSED).to_owned())),
        };
        let output = process::run_helper_with(&self.helper("shardlift ask"), |answer| {
            let figures = web::load::ask(address, &self.load).map_err(|error| error.to_string());
            let written = postcard::to_stdvec(&figures).map(|bytes| answer.write_all(&bytes));
            u8::from(!matches!(written, Ok(Ok(()))))
        })?;
        let unreadable = || format!("the process that asks ended badly: {}", output.status);
        if !output.status.is_success() {
            return Ok(Err(unreadable()));
        }
        Ok(postcard::from_bytes(&output.bytes).unwrap_or_else(|_| Err(unreadable())))
    }

    fn helper(&self, name: &str) -> HelperOptions<'_> {
        HelperOptions {
            interrupt: Some(self.interrupt.as_fd()),
            timeout: Some(PATIENCE + PATIENCE_EACH * self.load.clients + self.load.duration),
            ..HelperOptions::named(name)
        }
    }
}

/// The server process: says where it listens, or why it does not, and serves until its control pipe is closed.
fn serve(settings: &DeskSettings, job: &Job, plan: &Plan, ends: ChildEnds) -> u8 {
    let mut events = std::fs::File::from(ends.events);
    let desk = Desk::open(settings, job, plan).and_then(|desk| desk.warm_up().map(|()| desk));
    let served = match desk {
        Ok(desk) => web::server::serve(desk, ends.control, |address| writeln!(events, "{address}")),
        Err(failure) => writeln!(events, "{REFUSED}{}", failure.message.replace('\n', " ")),
    };
    u8::from(served.is_err())
}
