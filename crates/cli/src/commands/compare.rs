//! `shardlift compare`: the job's records in several ways side by side.

use std::num::NonZeroU64;
use std::os::fd::AsFd as _;
use std::path::Path;

use compare::environment::environment;
use compare::figures::{Comparison, Setting, Variant};
use compare::rows::{in_bulk, most_sharing, most_workers, require_room, rows};
use compare::{Asked, CompareError, ComparisonRun, Log, Standing, TopicFacts};
use kafka::Right;
use migration::job::{Brokers, FlushPolicy, ShardRules};
use migration::printable::printable_path;
use migration::units::show_things;
use migration::{Exit, Job, Order, Purpose, UserError};
use pipeline::source::PlanRules;

use crate::args::{Choice, VariantsArgs};
use crate::interrupt::Interrupt;
use crate::output_file::OutputFile;
use crate::own_topic::{OwnTopic, Wanted};
use crate::ui::Ui;
use crate::{helper, log, preflight, settings, source, words};

/// Measures, and prints what came out.
pub fn compare(args: &VariantsArgs, ui: &Ui) -> Result<Exit, UserError> {
    let (mut job, left_alone) = settings::load_for_comparison(&args.config)?;
    let flushes = if args.flush.is_empty() { std::slice::from_ref(&job.workers.flush) } else { &args.flush };
    let mut rows = rows(&variants(args), &args.workers, flushes, args.shared_producer);
    require_records(args, &rows)?;
    require_room(&rows).map_err(|error| UserError::new(Exit::Preflight, error))?;
    let files = OutputFiles::open(args.html.as_deref(), args.csv.as_deref())?;
    files.are_none_of([args.config.config.as_path()])?;
    if !ui.quiet {
        left_alone.told().into_iter().for_each(|told| ui.say(told));
    }
    let interrupt = Interrupt::new()?;
    // Tasks that share a producer have partitions each for itself, whatever the keys are.
    let by_key = source::order_of(&job)? == Order::Key && !args.shared_producer;
    let rtt = (job.kafka.brokers == Brokers::Embedded).then_some(args.rtt);
    let brokers = brokers_asked(&job);
    let source = source::source_of(&job);
    let plan = helper::ask("shardlift plan", Some(&interrupt), || {
        let rules = PlanRules {
            shards: if by_key { &ShardRules::uncut() } else { &job.shards },
            flush: FlushPolicy::Record,
            workers: most_workers(&rows),
            most_workers: most_workers(&rows),
            record_limit: job.record_limit,
            needs_fields: job.record.needs_fields(),
            beside: None,
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
        in_bulk: in_bulk(&rows),
        rtt: args.rtt,
        into: args.into_topic.as_deref(),
    };
    let topic = OwnTopic::make(&mut job, &wanted, &interrupt, ui)?;
    let found = preflight::preflight(&job, Purpose::Begin, None, &[Right::Write], Some(&interrupt))?;
    let partitions = u32::try_from(found.partitions.len()).unwrap_or(u32::MAX);
    if by_key {
        leave_out_more_than(partitions, &mut rows, ui);
    }
    let facts = TopicFacts { partitions, replication: found.replication, max_message_bytes: found.settings.max_message_bytes };
    let asked = Asked {
        rows,
        rtt,
        brokers,
        by_key,
        wait: args.wait,
        cpu: args.cpu,
        seconds: args.seconds,
        records: args.records.map(NonZeroU64::get),
        rounds: args.rounds,
    };
    let comparison_run = asked.of(&job, plan, &facts, environment(words::joined(words::of_this_process())));
    let (comparison, kept) = measure(&comparison_run, &interrupt, ui)?;
    let deleted = topic.delete();
    let object = compare::pages::object(&comparison);
    let written =
        files.write(|| compare::pages::html(&comparison, &ui.object(object.clone())), || compare::pages::csv(&comparison));
    ui.result(|| compare::pages::text(&comparison), || object.clone());
    written?;
    if kept.is_ok() && comparison.interrupted {
        ui.say("interrupted: the figures are those of the runs that had ended");
    }
    let exit = kept.map_or_else(|error| complaint(&error, ui), |()| comparison.exit());
    Ok(with_deletion(exit, deleted, ui))
}

/// One run, in the process that a comparison started for it.
pub fn round() -> Result<Exit, UserError> {
    let log = Log { keep: log::keep_lines, take: log::take_lines };
    compare::serve(&mut std::io::stdin(), &mut std::io::stdout(), log)
        .map(|()| Exit::Done)
        .map_err(|error| UserError::new(Exit::Usage, error))
}

fn variants(args: &VariantsArgs) -> Vec<Variant> {
    let asked = |variant: &Variant| args.variants.iter().any(|choice| [Choice::All, Choice::One(*variant)].contains(choice));
    Variant::ALL.into_iter().filter(asked).collect()
}

/// A job with order by key runs with at most one worker for each partition: so does what is compared with it.
fn leave_out_more_than(partitions: u32, rows: &mut Vec<Setting>, ui: &Ui) {
    let before = rows.len();
    rows.retain(|row| row.workers <= partitions);
    if rows.len() < before && !ui.quiet {
        let partitions = show_things(u64::from(partitions), "partition");
        ui.say(format!(
            "left out: settings with more workers than the topic has partitions ({partitions}); with order by key each worker has \
             partitions of its own (--partitions N, or --set shards.by_key=false)"
        ));
    }
}

/// The brokers, as they were named.
pub fn brokers_asked(job: &Job) -> String {
    match &job.kafka.brokers {
        Brokers::Embedded => "embedded".to_owned(),
        Brokers::Bootstrap(brokers) => brokers.join(","),
    }
}

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
pub struct OutputFiles {
    html: Option<OutputFile>,
    csv: Option<OutputFile>,
}

impl OutputFiles {
    /// Opens them.
    pub fn open(html: Option<&Path>, csv: Option<&Path>) -> Result<OutputFiles, UserError> {
        if let (Some(page), Some(rows)) = (html, csv)
            && page == rows
        {
            let message = format!("--html and --csv both name {}", printable_path(page));
            return Err(UserError::new(Exit::Usage, message).hint("give each a file of its own"));
        }
        Ok(OutputFiles { html: OutputFile::open(html)?, csv: OutputFile::open(csv)? })
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
    comparison_run: &ComparisonRun,
    interrupt: &Interrupt,
    ui: &Ui,
) -> Result<(Comparison, Result<(), UserError>), UserError> {
    if !ui.quiet {
        ui.say(comparison_run.announce());
    }
    let mut say = |standing: &Standing| {
        if !ui.quiet {
            ui.say(standing.tell(comparison_run.conditions.rounds));
        }
    };
    let not_kept = |error: CompareError| UserError::new(Exit::State, error);
    let (comparison, kept) = comparison_run.run(interrupt.as_fd(), &mut say).map_err(not_kept)?;
    Ok((comparison, kept.map_err(not_kept)))
}
