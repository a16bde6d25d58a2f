//! `single`: one worker, one thread, which waits in the client. And the same with the binding's own flush.

use std::time::Instant;

use kafka::compare::StockFlush;
use kafka::{Producer, ProducerOptions};
use migration::Failure;
use pipeline::Sink;
use worker::{WorkerContext, peak_memory};

use crate::connected::{Clock, ConnectedWorker, OwnPort, attempt, failure, work_blocking};
use crate::measured::Figures;
use crate::spec::RoundSpec;

/// Our own flush.
pub(crate) fn run(context: &WorkerContext, spec: &RoundSpec) -> Result<Figures, Failure> {
    run_with(context, spec, || Ok(Box::new(Producer::create(&options(context, 0))?)))
}

/// The binding's flush.
pub(crate) fn run_stock(context: &WorkerContext, spec: &RoundSpec) -> Result<Figures, Failure> {
    run_with(context, spec, || Ok(Box::new(StockFlush::create(&options(context, 0))?)))
}

fn run_with(
    context: &WorkerContext,
    spec: &RoundSpec,
    connect: impl FnOnce() -> Result<Box<dyn Sink>, Failure>,
) -> Result<Figures, Failure> {
    let mut port = OwnPort::default();
    let mut connected = ConnectedWorker::open(context, &attempt(context, 0), connect)?;
    let cpu_before = process::own_cpu().total_us();
    let clock = Clock::starting(Instant::now(), spec);
    let mut measured = work_blocking(&mut connected, &mut port, &clock).map_err(failure)?;
    measured.cpu_us = process::own_cpu().total_us() - cpu_before;
    measured.peak_memory_bytes = peak_memory();
    connected.drain(&mut port).map_err(failure)?;
    connected.worker.finish()?;
    Ok(Figures::of_threads(vec![measured]))
}

/// What the producer of a worker needs to know.
pub(crate) fn options(context: &WorkerContext, worker: u32) -> ProducerOptions {
    ProducerOptions::for_job(&context.job, &format!("compare-{worker}"), context.topic.max_message_bytes)
}
