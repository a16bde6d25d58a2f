//! `threads`: an OS thread for each worker, each with its own producer, all fed by a channel.

use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use kafka::Producer;
use migration::{Failure, FailureKind};
use worker::{WorkerContext, peak_memory};

use super::single::options;
use crate::connected::{Clock, ConnectedWorker, OwnPort, attempt, failure, work_blocking};
use crate::measured::{Figures, Measured};
use crate::spec::RoundSpec;

/// How many connect at a time: the embedded broker's listener takes five.
pub(crate) const AT_A_TIME: u32 = 4;

/// What a thread says.
enum ThreadMessage {
    /// Connected, or not.
    Ready(Result<(), Failure>),
    /// The clock stopped.
    Stopped(Result<Measured, Failure>),
    /// Everything is delivered.
    Drained(Result<(), Failure>),
}

/// One thread for each worker.
pub(crate) fn run(context: &WorkerContext, spec: &RoundSpec) -> Result<Figures, Failure> {
    let workers = spec.setting.workers;
    let (shards, for_threads) = unbounded::<u32>();
    let (say, words) = unbounded::<ThreadMessage>();
    std::thread::scope(|scope| {
        // Dropped when this closure is left, with an error too: threads that wait for a shard then end.
        let shards = shards;
        let mut starts: Vec<Sender<Clock>> = Vec::new();
        for _ in 0..workers {
            let (start, begin) = bounded::<Clock>(1);
            let (say, shards) = (say.clone(), for_threads.clone());
            scope.spawn(move || body(context, &shards, &begin, &say));
            starts.push(start);
        }
        drop((say, for_threads));
        for first in (0..workers).step_by(AT_A_TIME as usize) {
            let few = first..workers.min(first + AT_A_TIME);
            for shard in few.clone() {
                shards.send(shard).map_err(|_| confused())?;
            }
            for _ in few {
                let ThreadMessage::Ready(ready) = hear(&words)? else { return Err(confused()) };
                ready?;
            }
        }
        let cpu_before = process::own_cpu().total_us();
        let clock = Clock::starting(Instant::now(), spec);
        for start in &starts {
            start.send(clock).map_err(|_| confused())?;
        }
        let mut measured = Vec::new();
        while measured.len() < workers as usize {
            let ThreadMessage::Stopped(stopped) = hear(&words)? else { return Err(confused()) };
            measured.push(stopped?);
        }
        let mut figures = Figures::of_threads(measured);
        figures.cpu_us = process::own_cpu().total_us() - cpu_before;
        figures.peak_memory_bytes = peak_memory();
        // No worker drains before: it would disturb those that still work, and count.
        drop(starts);
        for _ in 0..workers {
            let ThreadMessage::Drained(drained) = hear(&words)? else { return Err(confused()) };
            drained?;
        }
        Ok(figures)
    })
}

fn hear(words: &Receiver<ThreadMessage>) -> Result<ThreadMessage, Failure> {
    words.recv().map_err(|_| Failure::new(FailureKind::Retry, "a thread of the run ended without a word"))
}

fn confused() -> Failure {
    Failure::new(FailureKind::Retry, "the threads of the run did not start together (a bug of this program)")
}

/// The life of a thread. Channels that close mean that the run has failed elsewhere: then nothing is worth saying.
fn body(context: &WorkerContext, shards: &Receiver<u32>, begin: &Receiver<Clock>, say: &Sender<ThreadMessage>) {
    let Ok(shard) = shards.recv() else { return };
    let connect = || Producer::create(&options(context, shard)).map(|producer| Box::new(producer) as _);
    let mut connected = match ConnectedWorker::open(context, &attempt(context, shard), connect) {
        Ok(connected) => connected,
        Err(failure) => return drop(say.send(ThreadMessage::Ready(Err(failure)))),
    };
    drop(say.send(ThreadMessage::Ready(Ok(()))));
    let Ok(clock) = begin.recv() else { return };
    let mut port = OwnPort::default();
    let measured = work_blocking(&mut connected, &mut port, &clock).map_err(failure);
    let failed = measured.is_err();
    drop(say.send(ThreadMessage::Stopped(measured)));
    if !failed {
        // Closed as soon as all have stopped.
        begin.iter().for_each(drop::<Clock>);
        let drained = connected.drain(&mut port).map_err(failure).and_then(|()| connected.worker.finish().map(drop));
        drop(say.send(ThreadMessage::Drained(drained)));
    }
}
