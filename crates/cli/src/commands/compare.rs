//! `shardlift compare`: the job's records in several ways side by side.

use std::os::fd::AsFd as _;
use std::path::Path;

use compare::figures::{Comparison, Conditions, Setting, Variant};
use compare::{Bench, CompareError, Log, Standing, Undertaking, estimate};
use kafka::compare::SharedProducer;
use kafka::{ProducerOptions, Right};
use migration::config::is_secret_property;
use migration::job::{Brokers, FlushPolicy, Property};
use migration::printable::printable_path;
use migration::units::{show_duration, show_things};
use migration::{Exit, Job, Purpose, UserError};
use pipeline::source::PlanRules;

use crate::args::{Choice, VariantsArgs};
use crate::environment::environment;
use crate::interrupt::Interrupt;
use crate::output_file::OutputFile;
use crate::own_topic::{OwnTopic, Wanted};
use crate::ui::Ui;
use crate::{helper, log, preflight, settings, source};

/// Descriptors of a green thread: its producer's sockets, pipes and eventfd.
const DESCRIPTORS_OF_A_WORKER: u64 = 16;

/// Measures, and prints what came out.
pub fn compare(args: &VariantsArgs, ui: &Ui) -> Result<Exit, UserError> {
    let mut job = settings::load_config(&args.config)?;
    let rows = rows(args);
    require_records(args, &rows)?;
    require_room(&rows)?;
    let files = Files::open(args.html.as_deref(), args.csv.as_deref())?;
    files.are_none_of([args.config.config.as_path()])?;
    let interrupt = Interrupt::new()?;
    let embedded = job.kafka.brokers == Brokers::Embedded;
    let brokers = match &job.kafka.brokers {
        Brokers::Embedded => "embedded".to_owned(),
        Brokers::Bootstrap(brokers) => brokers.join(","),
    };
    let folder = job.state_dir.join("compare");
    let source = source::source_of(&job)?;
    let plan = helper::ask("shardlift plan", Some(&interrupt), || {
        let rules = PlanRules {
            shards: &job.shards,
            flush: FlushPolicy::Record,
            workers: most_workers(&rows),
            record_limit: job.record_limit,
        };
        source.plan(&rules).map_err(|error| UserError::new(Exit::Source, error))
    })?;
    files.are_none_of(plan.objects.iter().map(|object| object.path.as_path()))?;
    if plan.records_estimate() == 0 {
        let paths = job.source.files().paths.join(", ");
        return Err(UserError::new(Exit::Source, format!("there is no record in {paths}: nothing to compare with")));
    }
    let wanted = Wanted {
        partitions: args.partitions,
        least_partitions: most_sharing(&rows),
        in_bulk: rows.iter().any(|row| row.flush != FlushPolicy::Record),
        rtt: args.rtt,
        into: args.into_topic.as_deref(),
    };
    let topic = OwnTopic::make(&mut job, &wanted, &interrupt, ui)?;
    let found = preflight::preflight(&job, Purpose::Begin, None, &[Right::Write], Some(&interrupt))?;
    let partitions = u32::try_from(found.partitions.len()).unwrap_or(u32::MAX);
    let conditions = Conditions {
        rtt_us: embedded.then_some(args.rtt.as_micros() as u64),
        brokers,
        topic: job.kafka.topic.clone(),
        partitions,
        replication: (!embedded && found.replication > 0).then_some(found.replication),
        partitioner: job.kafka.partitioner.name().to_owned(),
        chunk_records: job.workers.chunk.records,
        chunk_bytes: job.workers.chunk.bytes,
        chunk_interval_ms: job.workers.chunk.interval.as_millis() as u64,
        in_flight_bytes: job.workers.in_flight,
        wait_us: args.wait.as_micros() as u64,
        cpu_us: args.cpu.as_micros() as u64,
        seconds: args.seconds,
        records: args.records.map(std::num::NonZeroU64::get),
        rounds: args.rounds,
        properties_instead: properties_instead(&job, &rows, found.settings.max_message_bytes, partitions),
        properties: shown_properties(&job, &rows, found.settings.max_message_bytes),
        source: job.source.files().paths.clone(),
        source_repeated: false,
    };
    let undertaking = Undertaking {
        bench: Bench::of(&job, plan, found.settings.max_message_bytes, partitions),
        conditions,
        environment: environment(),
        reference: rows.iter().position(|row| row.variant == Variant::Single).map(|index| index as u32),
        settings: rows,
        folder,
    };
    let (comparison, kept) = measure(&undertaking, &interrupt, ui)?;
    let deleted = topic.delete();
    let object = compare::pages::object(&comparison);
    let written =
        files.write(|| compare::pages::html(&comparison, &ui.object(object.clone())), || compare::pages::csv(&comparison));
    ui.result(|| compare::pages::text(&comparison), || object.clone());
    written?;
    let exit = kept.map_or_else(|error| complaint(&error, ui), |()| exit(&comparison, ui));
    Ok(with_deletion(exit, deleted, ui))
}

/// One run, in the process that a comparison started for it.
pub fn round() -> Result<Exit, UserError> {
    let log = Log { keep: log::keep_lines, take: log::take_lines };
    compare::serve(&mut std::io::stdin(), &mut std::io::stdout(), log)
        .map(|()| Exit::Done)
        .map_err(|error| UserError::new(Exit::Usage, error))
}

/// The rows of the table: the reference first, then each variant in the order of the story.
fn rows(args: &VariantsArgs) -> Vec<Setting> {
    let asked = |variant| args.variants.iter().any(|choice| [Choice::All, Choice::One(variant)].contains(choice));
    let mut workers = args.workers.clone();
    workers.sort_unstable();
    workers.dedup();
    // The reference is the first row: one that flushes each record if there is any, in whatever order they were typed.
    let mut flushes = args.flush.clone();
    flushes.sort_by_key(|flush| *flush != FlushPolicy::Record);
    let mut rows: Vec<Setting> = Vec::new();
    for variant in Variant::ALL.into_iter().filter(|&variant| variant == Variant::Single || asked(variant)) {
        let counts: &[u32] = if variant.is_alone() { &[1] } else { &workers };
        for &flush in &flushes {
            // The binding's own flush is about single records.
            if variant == Variant::StockFlush && flush != flushes[0] {
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
/// Each worker sends a record at least: with fewer than workers nothing would be compared.
fn require_records(args: &VariantsArgs, rows: &[Setting]) -> Result<(), UserError> {
    let workers = most_workers(rows);
    match args.records {
        Some(records) if records.get() < u64::from(workers) => {
            let message = format!("--records {records} is less than a record for each of {workers} workers");
            Err(UserError::new(Exit::Usage, message).hint("take more records or fewer --workers"))
        }
        _ => Ok(()),
    }
}

fn require_room(rows: &[Setting]) -> Result<(), UserError> {
    let workers = u64::from(most_workers(rows));
    process::raise_descriptor_limit()
        .and_then(|_| process::require_descriptors(64 + DESCRIPTORS_OF_A_WORKER * workers))
        .and_then(|()| process::require_processes(supervisor::TASKS_OF_A_WORKER * workers))
        .map_err(|error| UserError::new(Exit::Preflight, error))
}

/// The producers' properties that matter for speed, for each flush policy; no secret is among them.
fn shown_properties(job: &Job, rows: &[Setting], max_message_bytes: u32) -> Vec<(FlushPolicy, Vec<(String, String)>)> {
    let mut found: Vec<(FlushPolicy, Vec<(String, String)>)> = Vec::new();
    for row in rows {
        if found.iter().all(|(flush, _)| *flush != row.flush) {
            found.push((row.flush, properties_for_speed(job, &options_of(job, row.flush, max_message_bytes))));
        }
    }
    found
}

/// What the producers of some rows have instead: where a comparison's rows differ in more than who steps the workers, it says so.
fn properties_instead(
    job: &Job,
    rows: &[Setting],
    max_message_bytes: u32,
    partitions: u32,
) -> Vec<(Setting, Vec<(String, String)>)> {
    let together = rows.iter().filter(|row| row.shared_producer && row.variant == Variant::GreenWakeup);
    let different = together.map(|row| {
        let options = options_of(job, row.flush, max_message_bytes);
        let usual = properties_for_speed(job, &options);
        let mut own = properties_for_speed(job, &SharedProducer::options_together(&options, row.workers, partitions));
        own.retain(|property| !usual.contains(property));
        (*row, own)
    });
    different.filter(|(_, own)| !own.is_empty()).collect()
}

fn options_of(job: &Job, flush: FlushPolicy, max_message_bytes: u32) -> ProducerOptions {
    let mut job = job.clone();
    job.workers.flush = flush;
    ProducerOptions::for_job(&job, "compare", max_message_bytes)
}

/// The properties of a producer of this job that matter for speed, the job's own among them; no secret, no name of a user.
pub fn properties_for_speed(job: &Job, options: &ProducerOptions) -> Vec<(String, String)> {
    let plain = |(name, value): &(String, Property)| {
        let may_be_shown = matches!(value, Property::Plain(_)) && !is_secret_property(name) && matters_for_speed(name);
        may_be_shown.then(|| name.clone())
    };
    let shown: Vec<String> = job.kafka.properties.iter().filter_map(plain).collect();
    options.properties_for_speed(&shown)
}

/// Whether a property of the client changes how fast records go. Everything else is nobody's business: results are passed on.
fn matters_for_speed(name: &str) -> bool {
    const FAMILIES: [&str; 11] = [
        "acks",
        "batch.",
        "compression.",
        "enable.idempotence",
        "linger.",
        "max.in.flight",
        "message.",
        "queue.",
        "request.",
        "socket.",
        "sticky.partitioning.",
    ];
    FAMILIES.iter().any(|family| name.starts_with(family))
}

/// How a command ends whose topic was deleted or not: one that is left must be noticed, in a batch engine too.
pub fn with_deletion(exit: Exit, deleted: Result<(), UserError>, ui: &Ui) -> Exit {
    match deleted {
        Ok(()) => exit,
        Err(error) => exit.worse(complaint(&error, ui)),
    }
}

/// How a command ends that printed what it has and then says what went wrong.
pub fn complaint(error: &UserError, ui: &Ui) -> Exit {
    ui.complain(error);
    error.exit
}

/// The files that were asked for, opened before the first run.
pub struct Files {
    html: Option<OutputFile>,
    csv: Option<OutputFile>,
}

impl Files {
    /// Opens them.
    pub fn open(html: Option<&Path>, csv: Option<&Path>) -> Result<Files, UserError> {
        if let (Some(page), Some(rows)) = (html, csv)
            && page == rows
        {
            let message = format!("--html and --csv both name {}", printable_path(page));
            return Err(UserError::new(Exit::Usage, message).hint("give each a file of its own"));
        }
        Ok(Files { html: OutputFile::open(html)?, csv: OutputFile::open(csv)? })
    }

    /// Refuses to replace what the job is made of.
    pub fn are_none_of<'a>(&self, inputs: impl IntoIterator<Item = &'a Path> + Clone) -> Result<(), UserError> {
        self.html.iter().chain(&self.csv).try_for_each(|file| file.is_none_of(inputs.clone()))
    }

    /// Writes them. The result itself is printed whether they can be written or not.
    pub fn write(self, html: impl FnOnce() -> String, csv: impl FnOnce() -> String) -> Result<(), UserError> {
        let html = self.html.map_or(Ok(()), |file| file.write(&html()));
        let csv = self.csv.map_or(Ok(()), |file| file.write(&csv()));
        html.and(csv)
    }
}

/// The comparison, and whether all its results were kept.
fn measure(
    undertaking: &Undertaking,
    interrupt: &Interrupt,
    ui: &Ui,
) -> Result<(Comparison, Result<(), UserError>), UserError> {
    if !ui.quiet {
        ui.say(format!(
            "{} of {}, about {}; each result is kept in {}",
            show_things(u64::from(undertaking.conditions.rounds), "round"),
            show_things(undertaking.settings.len() as u64, "setting"),
            show_duration(estimate(undertaking)),
            printable_path(&undertaking.results_path())
        ));
    }
    let mut say = |standing: &Standing| {
        if !ui.quiet {
            ui.say(progress(standing, undertaking.conditions.rounds));
        }
    };
    let not_kept = |error: CompareError| UserError::new(Exit::State, error);
    let (comparison, kept) = undertaking.run(interrupt.as_fd(), &mut say).map_err(not_kept)?;
    Ok((comparison, kept.map_err(not_kept)))
}

fn progress(standing: &Standing, rounds: u32) -> String {
    let Setting { variant, workers, flush, .. } = standing.setting;
    let many = if variant.is_alone() { String::new() } else { format!(" × {workers}") };
    let flush = match flush {
        FlushPolicy::Record => "",
        FlushPolicy::Chunk => ", chunk",
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

fn exit(comparison: &Comparison, ui: &Ui) -> Exit {
    if comparison.interrupted {
        ui.say("interrupted: the figures are those of the runs that had ended");
        return Exit::Stopped;
    }
    // A row without any figure: the comparison is not what was asked for.
    let has_figures = |index: usize| comparison.results.iter().any(|result| result.setting as usize == index);
    if (0..comparison.settings.len()).all(has_figures) { Exit::Done } else { Exit::Failed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_matters_for_speed_is_shown() {
        for name in ["linger.ms", "batch.size", "compression.type", "acks", "socket.nagle.disable", "queue.buffering.max.ms"] {
            assert!(matters_for_speed(name), "{name}");
        }
        for name in ["sasl.username", "sasl.password", "ssl.ca.location", "client.rack", "security.protocol"] {
            assert!(!matters_for_speed(name), "{name}");
        }
    }
}
