//! `shardlift compare`: the job's records in several ways side by side.

use std::os::fd::AsFd as _;
use std::path::Path;

use kafka::ProducerOptions;
use migration::compare::{Comparison, Conditions, Setting, Variant};
use migration::config::is_secret_property;
use migration::job::{Brokers, FlushPolicy, Property};
use migration::units::{show_duration, show_things};
use migration::{Exit, Job};
use pipeline::source::jsonl;
use runner::compare::{Bench, CompareError, Log, Standing, Undertaking, estimate};

use crate::args::{Choice, VariantsArgs};
use crate::environment::environment;
use crate::error::CliError;
use crate::interrupt::Interrupt;
use crate::own_topic::{OwnTopic, Wanted};
use crate::ui::Ui;
use crate::{embedded, helper, log, preflight, settings};

/// Processes and threads of a worker, as for a job.
const TASKS_OF_A_WORKER: u64 = 4;
/// Descriptors of a green thread: its producer's sockets, pipes and eventfd.
const DESCRIPTORS_OF_A_WORKER: u64 = 16;

/// Measures, and prints what came out.
pub fn compare(args: &VariantsArgs, ui: &Ui) -> Result<Exit, CliError> {
    let mut job = settings::load_config(&args.config)?;
    let rows = rows(args);
    require_room(&rows)?;
    let interrupt = Interrupt::new()?;
    let embedded = job.kafka.brokers == Brokers::Embedded;
    let brokers = match &job.kafka.brokers {
        Brokers::Embedded => "embedded".to_owned(),
        Brokers::Bootstrap(brokers) => brokers.join(","),
    };
    let folder = job.state_dir.join("compare");
    let plan = helper::ask("shardlift plan", Some(&interrupt), || {
        jsonl::plan(&job.source, &job.shards, FlushPolicy::Record, most_workers(&rows), job.record_limit)
            .map_err(|error| CliError::new(Exit::Source, error))
    })?;
    if plan.records_estimate() == 0 {
        let paths = job.source.paths.join(", ");
        return Err(CliError::new(Exit::Source, format!("there is no record in {paths}: nothing to compare with")));
    }
    let partitions = args.partitions.unwrap_or_else(|| embedded::PARTITIONS.max(most_sharing(&rows)));
    let wanted = Wanted { partitions, rtt: args.rtt, into: args.into_topic.as_deref() };
    let topic = OwnTopic::make(&mut job, &wanted, &interrupt, ui)?;
    let found = preflight::preflight(&job, false, Some(&interrupt))?;
    let conditions = Conditions {
        rtt_us: embedded.then_some(args.rtt.as_micros() as u64),
        brokers,
        topic: job.kafka.topic.clone(),
        partitions: u32::try_from(found.partitions.len()).unwrap_or(u32::MAX),
        wait_us: args.wait.as_micros() as u64,
        cpu_us: args.cpu.as_micros() as u64,
        seconds: args.seconds,
        records: args.records.map(std::num::NonZeroU64::get),
        rounds: args.rounds,
        properties: shown_properties(&job, &rows, found.max_message_bytes),
        source: job.source.paths.clone(),
        source_repeated: false,
    };
    let undertaking = Undertaking {
        bench: Bench::of(&job, plan, found.max_message_bytes),
        conditions,
        environment: environment(),
        reference: rows.iter().position(|row| row.variant == Variant::Single).map(|index| index as u32),
        settings: rows,
        folder,
    };
    let comparison = measure(&undertaking, &interrupt, ui)?;
    drop(topic);
    let written = write_files(args, &comparison, ui);
    ui.result(|| report::compare::text(&comparison), || report::compare::object(&comparison));
    written?;
    Ok(exit(&comparison, ui))
}

/// One run, in the process that a comparison started for it.
pub fn round() -> Result<Exit, CliError> {
    let log = Log { keep: log::keep_lines, take: log::take_lines };
    runner::compare::serve(&mut std::io::stdin(), &mut std::io::stdout(), log)
        .map(|()| Exit::Done)
        .map_err(|error| CliError::new(Exit::Usage, error))
}

/// The rows of the table: the reference first, then each variant in the order of the story.
fn rows(args: &VariantsArgs) -> Vec<Setting> {
    let asked = |variant| args.variants.iter().any(|choice| [Choice::All, Choice::One(variant)].contains(choice));
    let mut workers = args.workers.clone();
    workers.sort_unstable();
    workers.dedup();
    let mut rows: Vec<Setting> = Vec::new();
    for variant in Variant::ALL.into_iter().filter(|&variant| variant == Variant::Single || asked(variant)) {
        let counts: &[u32] = if variant.is_alone() { &[1] } else { &workers };
        for &flush in &args.flush {
            // The binding's own flush is about single records.
            if variant == Variant::StockFlush && flush != args.flush[0] {
                continue;
            }
            let shared_producer = args.shared_producer && variant.can_share();
            for &workers in counts {
                let row = Setting { variant, workers, flush, shared_producer };
                if !rows.contains(&row) {
                    rows.push(row);
                }
            }
        }
    }
    rows
}

fn most_workers(rows: &[Setting]) -> u32 {
    rows.iter().map(|row| row.workers).max().unwrap_or(1)
}

fn most_sharing(rows: &[Setting]) -> u32 {
    rows.iter().filter(|row| row.shared_producer).map(|row| row.workers).max().unwrap_or(0)
}

/// Refuses at once what this machine allows too few descriptors or processes for.
fn require_room(rows: &[Setting]) -> Result<(), CliError> {
    let workers = u64::from(most_workers(rows));
    process::raise_descriptor_limit()
        .and_then(|_| process::require_descriptors(64 + DESCRIPTORS_OF_A_WORKER * workers))
        .and_then(|()| process::require_processes(TASKS_OF_A_WORKER * workers))
        .map_err(|error| CliError::new(Exit::Preflight, error))
}

/// The producers' properties that matter for speed, for each flush policy; no secret is among them.
fn shown_properties(job: &Job, rows: &[Setting], max_message_bytes: u32) -> Vec<(FlushPolicy, Vec<(String, String)>)> {
    let mut found: Vec<(FlushPolicy, Vec<(String, String)>)> = Vec::new();
    for row in rows {
        if found.iter().all(|(flush, _)| *flush != row.flush) {
            let mut job = job.clone();
            job.workers.flush = row.flush;
            let options = ProducerOptions::for_job(&job, "compare", max_message_bytes);
            found.push((row.flush, properties_for_speed(&job, &options)));
        }
    }
    found
}

/// The properties of a producer of this job that matter for speed, and the job's own; no secret is among them.
pub fn properties_for_speed(job: &Job, options: &ProducerOptions) -> Vec<(String, String)> {
    let plain = |(name, value): &(String, Property)| {
        (matches!(value, Property::Plain(_)) && !is_secret_property(name)).then(|| name.clone())
    };
    let shown: Vec<String> = job.kafka.properties.iter().filter_map(plain).collect();
    options.properties_for_speed(&shown)
}

/// Writes a file that was asked for.
pub fn write_file(path: &Path, text: String) -> Result<(), CliError> {
    std::fs::write(path, text)
        .map_err(|error| CliError::new(Exit::State, format!("the result can't be written to {}: {error}", path.display())))
}

fn measure(undertaking: &Undertaking, interrupt: &Interrupt, ui: &Ui) -> Result<Comparison, CliError> {
    if !ui.quiet {
        ui.say(format!(
            "{} of {}, about {}; each result is kept in {}",
            show_things(u64::from(undertaking.conditions.rounds), "round"),
            show_things(undertaking.settings.len() as u64, "setting"),
            show_duration(estimate(undertaking)),
            undertaking.results_path().display()
        ));
    }
    let mut say = |standing: &Standing| {
        if !ui.quiet {
            ui.say(progress(standing, undertaking.conditions.rounds));
        }
    };
    undertaking.run(interrupt.as_fd(), &mut say).map_err(|error| match error {
        CompareError::Folder { .. } => CliError::new(Exit::State, error),
    })
}

fn progress(standing: &Standing, rounds: u32) -> String {
    let Setting { variant, workers, flush, .. } = standing.setting;
    let many = if variant.is_alone() { String::new() } else { format!(" × {workers}") };
    let flush = match flush {
        FlushPolicy::Record => "",
        FlushPolicy::Chunk => ", chunk",
        FlushPolicy::Window => ", window",
    };
    let apart = if standing.apart { ", without waits and CPU" } else { "" };
    format!(
        "round {} of {rounds}: {}{many}{flush}{apart} (run {} of {}, about {} left)",
        standing.round,
        variant.name(),
        standing.run,
        standing.runs,
        show_duration(standing.left)
    )
}

/// The files that were asked for. The result itself is printed whether they can be written or not.
fn write_files(args: &VariantsArgs, comparison: &Comparison, ui: &Ui) -> Result<(), CliError> {
    if let Some(path) = &args.html {
        write_file(path, report::compare::html(comparison, &ui.object(report::compare::object(comparison))))?;
    }
    if let Some(path) = &args.csv {
        write_file(path, report::compare::csv(comparison))?;
    }
    Ok(())
}

fn exit(comparison: &Comparison, ui: &Ui) -> Exit {
    if comparison.interrupted {
        ui.say("interrupted: the figures are those of the runs that had ended");
        return Exit::Stopped;
    }
    // A row without any figure: the comparison is not what was asked for.
    let has_figures = |index: usize| comparison.results.iter().any(|result| result.setting as usize == index);
    if (0..comparison.settings.len()).all(has_figures) { Exit::Done } else { Exit::Failed }
}
