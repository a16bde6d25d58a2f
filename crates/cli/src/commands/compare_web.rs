//! `shardlift compare web`: requests that wait for their record, beside ones that don't, under each flush.

use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

use compare::environment::environment;
use compare::properties::properties_for_speed;
use compare::results::Results;
use compare::web::figures::{WebComparison, WebConditions, WebFlush, WebRound};
use compare::web::load::Load;
use compare::web::records::Records;
use compare::web::scene::{End, Scene, require_room};
use compare::web::{pages, summary};
use kafka::{ProducerOptions, Right};
use migration::job::{Brokers, FlushPolicy};
use migration::{Exit, Purpose, UserError};

use super::compare::{OutputFiles, brokers_asked, complaint, with_deletion};
use crate::args::WebArgs;
use crate::interrupt::Interrupt;
use crate::own_topic::{OwnTopic, Wanted};
use crate::ui::Ui;
use crate::{helper, preflight, settings, source, words};

/// Measures, and prints what came out.
pub fn web(args: &WebArgs, ui: &Ui) -> Result<Exit, UserError> {
    let (mut job, left_alone) = settings::load_for_comparison(&args.config)?;
    // One record at a time: sent at once, without waiting for a batch.
    job.workers.flush = FlushPolicy::Record;
    // Each client sends records of its own, whatever their keys.
    job.shards.by_key = Some(false);
    require_room(args.clients, args.others).map_err(|error| UserError::new(Exit::Preflight, error))?;
    let environment = environment(words::joined(words::of_this_process()));
    let name = format!("{}-{}-web.jsonl", environment.started_unix_ms / 1000, std::process::id());
    let kept = job.state_dir.join("compare").join(name);
    let files = OutputFiles::open(args.html.as_deref(), args.csv.as_deref())?;
    files.are_none_of([args.config.config.as_path()])?;
    if !ui.quiet {
        left_alone.told().into_iter().for_each(|told| ui.say(told));
    }
    let interrupt = Interrupt::new()?;
    let embedded = job.kafka.brokers == Brokers::Embedded;
    let brokers = brokers_asked(&job);
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
        interrupt: interrupt.as_fd(),
    };
    let results = Results::create(&kept).and_then(|mut file| file.add(&(&conditions, &environment)).map(|()| file));
    let results = results.map_err(|error| not_kept(&kept, &error))?;
    let flushes = WebFlush::in_order(&args.flush);
    let mut say = |round: &WebRound| {
        if !ui.quiet {
            ui.say(round.tell(args.rounds));
        }
    };
    let (rounds, end) = scene.measure(&flushes, args.rounds, results, &mut say);
    let deleted = topic.delete();
    let results = summary::summarise(&rounds);
    let mut comparison = WebComparison {
        conditions,
        environment,
        results,
        rounds,
        advice: Vec::new(),
        interrupted: !matches!(end, End::Complete),
    };
    comparison.advice = summary::advice(&comparison);
    let object = pages::object(&comparison);
    let written = files.write(|| pages::html(&comparison, &ui.object(object.clone())), || pages::csv(&comparison));
    ui.result(|| pages::text(&comparison), || object.clone());
    written?;
    let exit = match end {
        End::NotKept(error) => complaint(&not_kept(&kept, &error), ui),
        End::Interrupted => {
            ui.say("interrupted: the figures are those of the runs that had ended");
            comparison.exit(&flushes)
        }
        End::Complete => comparison.exit(&flushes),
    };
    Ok(with_deletion(exit, deleted, ui))
}

fn not_kept(path: &Path, error: &io::Error) -> UserError {
    let folder = migration::printable::printable_path(path.parent().unwrap_or(path));
    UserError::new(Exit::State, format!("results can't be kept in {folder}: {error}"))
        .hint("job.state_dir must be on a local, writable disk with space left")
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
