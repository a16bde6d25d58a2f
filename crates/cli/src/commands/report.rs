//! `shardlift report`: what a job did, from its state: text, JSON, or a page with pictures.

use migration::config::is_secret_property;
use migration::job::{Brokers, Property};
use migration::units::{show_duration, show_size};
use migration::{Exit, Job, UserError};
use report::job::{Extras, add_samples, html};
use supervisor::{StateDir, Store, load_samples};

use super::status;
use crate::args::ReportArgs;
use crate::output_file::OutputFile;
use crate::running::{self, Place};
use crate::ui::Ui;
use crate::{settings, state};

/// Prints the report, and writes the page if it is asked for. The job may run, have ended, or have been killed.
pub fn report(args: &ReportArgs, ui: &Ui) -> Result<Exit, UserError> {
    let job = settings::load_without_secrets(&args.job)?;
    let place = Place { path: job.state_path(), name: job.name.clone() };
    let holder = running::holder(&place)?;
    let found = running::report(&place, holder.is_some())?.ok_or_else(|| running::never_run(&place))?;
    let store = Store::read_only(&StateDir::store_path(&place.path)).map_err(state::unusable)?;
    let samples = load_samples(&store).map_err(state::unusable)?;
    let standing = holder.as_ref().and_then(|_| status::standing(&place));
    let object = || {
        let mut object = status::object(&found, standing.as_ref(), &StateDir::dead_letters_path(&place.path));
        add_samples(&mut object, &found, &samples);
        object
    };
    // The page first: whoever reads that the command succeeded finds it.
    if let Some(path) = &args.html {
        let extras = Extras { samples: &samples, settings: &configuration(&job), version: env!("CARGO_PKG_VERSION") };
        if let Some(file) = OutputFile::open(Some(path))? {
            let kept = store.load().map_err(state::unusable)?;
            let sources = kept.plan.objects.iter().map(|object| object.path.as_path());
            file.is_none_of(sources.chain([args.job.config.config.as_path()]))?;
            file.write(&html(&found, &extras, &ui.object(object())))?;
        }
    }
    ui.result(|| status::text(&found, holder.as_deref(), standing.as_ref(), &StateDir::dead_letters_path(&place.path)), object);
    Ok(Exit::Done)
}

/// The keys of the config that explain a report, without secrets.
fn configuration(job: &Job) -> Vec<(String, String)> {
    let (workers, limits) = (&job.workers, &job.limits);
    let limit = |limit: Option<u64>, show: fn(u64) -> String| limit.map_or_else(|| "none".to_owned(), show);
    let brokers = match &job.kafka.brokers {
        Brokers::Embedded => "embedded".to_owned(),
        Brokers::Bootstrap(brokers) => brokers.join(", "),
    };
    let mut pairs = vec![
        ("kafka.brokers", brokers),
        ("kafka.partitioner", format!("{:?}", job.kafka.partitioner).to_lowercase()),
        ("record.key", job.record.key.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string)),
        ("workers.count", workers.count.map_or_else(|| "auto".to_owned(), |count| count.to_string())),
        ("workers.flush", format!("{:?}", workers.flush).to_lowercase()),
        (
            "workers.chunk",
            format!(
                "{} records, {} or {}",
                migration::units::show_count(workers.chunk.records),
                show_size(workers.chunk.bytes),
                show_duration(workers.chunk.interval)
            ),
        ),
        ("workers.in_flight", show_size(workers.in_flight)),
        ("workers.memory_limit", show_size(workers.memory_limit)),
        ("limits.rate_records", limit(limits.rate_records, migration::units::show_count)),
        ("limits.rate_bytes", limit(limits.rate_bytes, show_size)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect::<Vec<_>>();
    pairs.extend(job.kafka.properties.iter().map(|(name, value)| {
        let shown = match value {
            Property::Plain(value) if !is_secret_property(name) => value.clone(),
            _ => "(secret)".to_owned(),
        };
        (format!("kafka.properties.{name}"), shown)
    }));
    pairs
}
