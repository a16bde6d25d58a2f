//! One run of one setting: the body of a process of its own.

use std::io::{Read, Write};
use std::time::Duration;

use migration::job::FlushPolicy;
use migration::{Failure, FailureKind, TopicSettings};
use worker::WorkerContext;

use super::bench_plan::{deal, deal_by_key};
use super::measured::{Figures, Log};
use super::spec::{RoundResult, RoundSpec};
use super::toll::TollSource;
use super::variants;
use crate::figures::{Round, Setting, Variant};

/// Records a second of one worker that no setting reaches: as many are dealt to it.
const MOST_BY_RECORD: f64 = 30_000.0;
const MOST_BY_CHUNK: f64 = 4_000_000.0;

/// The whole life of the process of a run: reads what to do from `input`, does it, and writes the result to `output`.
pub fn serve(input: &mut dyn Read, output: &mut dyn Write, log: Log) -> Result<(), RoundError> {
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes).map_err(RoundError::Io)?;
    let spec: RoundSpec = postcard::from_bytes(&bytes).map_err(RoundError::Spec)?;
    process::die_with_parent(spec.parent).map_err(RoundError::Io)?;
    let result = run(&spec, log);
    let bytes = postcard::to_stdvec(&result).map_err(RoundError::Spec)?;
    output.write_all(&bytes).and_then(|()| output.flush()).map_err(RoundError::Io)
}

/// Why a run could not even say that it failed.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// The pipes.
    #[error("the process of a run can't talk to who started it: {0}")]
    Io(#[source] std::io::Error),
    /// What to do makes no sense; `shardlift` itself starts such processes.
    #[error("this command is for shardlift itself: it expects what to do on standard input ({0})")]
    Spec(#[source] postcard::Error),
}

/// Runs it. A failure is a round with its reason and no figures.
fn run(spec: &RoundSpec, log: Log) -> RoundResult {
    let head = Round { setting: spec.index, round: spec.round, ..Round::default() };
    match measure(spec, log).and_then(with_records) {
        Ok(figures) => result(head, figures),
        Err(failure) => {
            let round = Round { failure: Some(failure.message), ..head };
            RoundResult { round, began_us: 0, ended_us: 0 }
        }
    }
}

fn measure(spec: &RoundSpec, log: Log) -> Result<Figures, Failure> {
    let setting = &spec.setting;
    let job = spec.bench.job(setting);
    let records = records_needed(setting, spec.duration, spec.records);
    let plan = match spec.bench.by_key {
        true => deal_by_key(&spec.bench.plan, setting.workers, spec.bench.partitions, records),
        false => deal(&spec.bench.plan, setting.workers, records),
    };
    let context = WorkerContext {
        bound: None,
        source: TollSource::around(sources::source_of(&job.source, job.workers.windows()), spec.wait, spec.cpu),
        job,
        plan,
        dead_letters: spec.folder.join("dead-letters"),
        letters: None,
        topic: TopicSettings { max_message_bytes: spec.bench.max_message_bytes, ..TopicSettings::default() },
        ledger: None,
        take_log: log.take,
    };
    match setting.variant {
        Variant::Single => variants::single::run(&context, spec),
        Variant::StockFlush => variants::single::run_stock(&context, spec),
        Variant::GreenBlocking | Variant::GreenCooperative | Variant::GreenWakeup => variants::green::run(&context, spec),
        Variant::Threads => variants::threads::run(&context, spec),
        Variant::Processes => variants::processes::run(&context, spec, log),
    }
}

/// Figures of nothing would say that everything is for free.
fn with_records(figures: Figures) -> Result<Figures, Failure> {
    if figures.workers.iter().any(|worker| worker.records > 0) {
        return Ok(figures);
    }
    let message = "no record was acknowledged while the clock ran: the clock is shorter than --wait and a round trip (or than a chunk's interval, \
                   1 s by default, if a chunk is not full before), or the mapping sets every record aside (`shardlift run --limit 100` shows why)";
    Err(Failure::new(FailureKind::Retry, message))
}

/// How many records a worker must have so that it never runs out of them.
fn records_needed(setting: &Setting, duration: Duration, records: Option<u64>) -> u64 {
    let most = if setting.flush == FlushPolicy::Record { MOST_BY_RECORD } else { MOST_BY_CHUNK };
    let by_time = (most * duration.as_secs_f64()).ceil() as u64;
    // What is in flight when the last record of its share is acknowledged was taken too.
    let by_count = records.map(|records| records.div_ceil(u64::from(setting.workers.max(1))).saturating_add(1_000_000));
    by_count.map_or(by_time, |by_count| by_count.min(by_time))
}

fn result(head: Round, figures: Figures) -> RoundResult {
    let Figures { workers, cpu_us, thread_cpu_us, heartbeat, ticks_in_flush, flush_us, peak_memory_bytes } = figures;
    let began_us = workers.iter().map(|worker| worker.began_us).min().unwrap_or(0);
    let ended_us = workers.iter().map(|worker| worker.ended_us).max().unwrap_or(0);
    let mut round = Round {
        elapsed_us: ended_us.saturating_sub(began_us),
        cpu_us,
        thread_cpu_us,
        heartbeat,
        ticks_in_flush,
        flush_us,
        peak_memory_bytes,
        ..head
    };
    for worker in &workers {
        round.records += worker.records;
        round.phases.add(&worker.phases);
        round.latency.merge(&worker.latency);
        round.rtt_us.push(worker.rtt_us);
        round.ran_out |= worker.ran_out;
        round.set_aside += worker.set_aside;
    }
    RoundResult { round, began_us, ended_us }
}
