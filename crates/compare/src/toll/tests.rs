//! Waits and CPU for each record, on simulated time but for their phase.

use std::cell::{Cell, RefCell};

use migration::job::{ChunkLimits, FieldPath, FlushPolicy, OnMissing, RecordRules, TimestampUnit, Validate};
use migration::{Chunk, Control, Finished, LedgerEntry, Phase, TopicSettings, WorkerEvent};
use pipeline::dead_letter::{DeadLetterFile, Letters};
use pipeline::doubles::{Behaviour, MemoryReader, MemorySink, Topic};
use pipeline::mapping::Mapping;
use pipeline::worker::ledger::Ledger;
use pipeline::worker::refused::Refused;
use pipeline::worker::{ShardWorker, Step, WaitReason, WorkerSettings};

use super::*;

thread_local! {
    /// How often the CPU of a toll was asked for, and how much of it.
    static BURNT: Cell<(u64, Duration)> = const { Cell::new((0, Duration::ZERO)) };
    /// What time it is; `None`: what the clock says.
    static NOW: Cell<Option<Instant>> = const { Cell::new(None) };
}

const WAIT: Duration = Duration::from_micros(2_500);
const CPU: Duration = Duration::from_micros(300);

fn toll(wait: Duration) -> Toll {
    let burn = |cpu| {
        BURNT.with(|burnt| {
            let (times, sum) = burnt.get();
            burnt.set((times + 1, sum + cpu));
        });
    };
    BURNT.set((0, Duration::ZERO));
    NOW.set(None);
    Toll { wait, cpu: CPU, burn, now: || NOW.get().unwrap_or_else(Instant::now) }
}

/// A worker whose source has `records` records with keys, and the topic that it sends to.
fn worker(
    records: u64,
    toll: Toll,
    change: impl FnOnce(&mut WorkerSettings, &mut Behaviour),
) -> (ShardWorker, Rc<RefCell<Topic>>) {
    let (mut settings, mut behaviour) = (settings(), Behaviour::default());
    change(&mut settings, &mut behaviour);
    let text: String = (0..records).map(|n| format!("{{\"k\":\"key-{}\",\"n\":{n}}}\n", n % 40)).collect();
    let reader = MemoryReader::new(Rc::new(vec![text.into_bytes()]), 0, 0, 1 << 20);
    let reader = TollReader::new(Box::new(reader), toll);
    let sink = MemorySink::new(4, behaviour, 1);
    let topic = sink.topic();
    let rules = RecordRules {
        key: Some(FieldPath(vec!["k".to_owned()])),
        on_missing: OnMissing::Null,
        validate: Validate::Field,
        timestamp: None,
        timestamp_unit: TimestampUnit::Milliseconds,
        headers: Vec::new(),
    };
    // No record is set aside, so nothing is written there.
    let folder = std::env::temp_dir();
    let letters =
        DeadLetterFile::open(&folder, ShardId(u32::MAX), &[folder.join("0.jsonl")], 0, |path, options| options.open(path));
    let mapping = Mapping::new(&rules);
    let from = LedgerEntry::default();
    let worker = ShardWorker::new(
        settings,
        Box::new(reader),
        mapping,
        Box::new(sink),
        Letters::File(letters.unwrap()),
        from,
        Instant::now(),
    );
    (worker, topic)
}

fn settings() -> WorkerSettings {
    WorkerSettings {
        flush: FlushPolicy::Chunk,
        chunk: ChunkLimits { records: 1_000_000, bytes: 256 << 20, interval: Duration::from_secs(1) },
        in_flight: 1 << 20,
        partitioner: |key, partitions| Some(u32::from(key[key.len() - 1]) % partitions),
        give_up_after: Duration::from_secs(900),
        headers_bytes: 0,
        topic: TopicSettings::default(),
        own: None,
        letters_left: u64::MAX,
        refused: Refused::default(),
        ledger: Ledger::Checkpoint,
    }
}

/// What an attempt came to.
struct Attempt {
    chunks: Vec<Chunk>,
    end: Finished,
    elapsed: Duration,
    /// How often it waited for its source.
    waits: u64,
}

/// Steps to the end, on simulated time. `drain`: whether to stop, by the time and by when the first chunk was
/// committed.
fn run(mut worker: ShardWorker, mut drain: impl FnMut(Duration, usize) -> bool) -> Attempt {
    let (start, mut elapsed, mut waits, mut chunks) = (Instant::now(), Duration::ZERO, 0, Vec::new());
    let mut control = Control::default();
    for _ in 0..5_000_000 {
        let now = start + elapsed;
        NOW.set(Some(now));
        control.recorded = chunks.len() as u64;
        control.drain = drain(elapsed, chunks.len());
        let step = worker.step(&control, now).unwrap();
        chunks.extend(std::iter::from_fn(|| worker.next_event()).filter_map(|event| match event {
            WorkerEvent::Committed(chunk) => Some(chunk),
            WorkerEvent::AtEnd => None,
            other => panic!("{other:?}"),
        }));
        match step {
            Step::Busy => elapsed += Duration::from_nanos(500),
            Step::Wait { until, reason } => {
                assert!(until <= now + Duration::from_secs(1), "a wait without a look at the control pipe");
                waits += u64::from(reason == WaitReason::Source);
                let rest = until.saturating_duration_since(now).max(Duration::from_micros(1));
                let served = reason == WaitReason::Reports;
                worker.wait(if served { Duration::from_millis(1) } else { Duration::ZERO }).unwrap();
                elapsed += if served { rest.min(Duration::from_millis(1)) } else { rest };
            }
            Step::Done => return Attempt { chunks, end: worker.finish().unwrap(), elapsed, waits },
        }
    }
    panic!("the attempt does not end");
}

#[test]
fn each_record_pays_once_before_it_is_taken() {
    for flush in [FlushPolicy::Record, FlushPolicy::Chunk] {
        let (worker, topic) = worker(500, toll(WAIT), |settings, behaviour| {
            settings.flush = flush;
            // Full and blocked lanes, and chunks that close meanwhile: what was paid stays paid.
            behaviour.limits.batch_bytes = 300;
            behaviour.patience = 20;
            settings.chunk.records = 70;
        });
        let attempt = run(worker, |_, _| false);
        assert!(attempt.end.complete);
        assert_eq!(BURNT.get(), (500, CPU * 500));
        assert!(attempt.waits >= 500 && attempt.elapsed >= WAIT * 500, "{} waits in {:?}", attempt.waits, attempt.elapsed);
        assert_eq!(topic.borrow().partitions.iter().map(Vec::len).sum::<usize>(), 500);
        assert_eq!(attempt.chunks.iter().map(|chunk| chunk.counts.acknowledged).sum::<u64>(), 500);
    }
}

#[test]
fn the_wait_has_a_phase_of_its_own() {
    let (mut worker, _) = worker(3, toll(WAIT), |_, _| ());
    let started = Instant::now();
    while worker.taken() < 3 {
        let now = Instant::now();
        if let Step::Wait { until, .. } = worker.step(&Control::default(), now).unwrap() {
            std::thread::sleep(until.saturating_duration_since(now));
        }
    }
    let wall = started.elapsed();
    let outside = Duration::from_nanos(worker.progress(Instant::now()).work.phases.get(Phase::Outside));
    assert!(outside >= WAIT * 2 && outside <= wall, "{outside:?} of {wall:?}");
}

#[test]
fn a_long_wait_ends_with_a_drain_and_a_chunk_closes_in_it() {
    let (worker, _) = worker(10, toll(Duration::from_secs(60)), |_, _| ());
    let mut committed_at = None;
    let attempt = run(worker, |elapsed, chunks| {
        if chunks == 1 {
            committed_at.get_or_insert(elapsed);
        }
        elapsed > Duration::from_secs(90)
    });
    assert!(!attempt.end.complete);
    assert_eq!((attempt.chunks.len(), attempt.chunks[0].counts.read), (1, 1));
    let at = committed_at.unwrap().as_secs_f64();
    assert!((60.9..61.3).contains(&at), "the interval is over a second after the first record, not at {at} s");
    assert!(attempt.elapsed < Duration::from_secs(93), "{:?}", attempt.elapsed);
}

/// Gives one block of made rows of two segments, of which one can't be a record.
struct MadeRows(bool);

impl Reader for MadeRows {
    fn next(&mut self, _: &mut BlockPool, into: &mut Rows) -> Result<Next, SourceError> {
        into.clear();
        if std::mem::replace(&mut self.0, true) {
            return Ok(Next::End);
        }
        let start = |start, segment, at| RowStart { start, segment, at, whole: 3 };
        let table = Some(Rc::new(vec![start(0, 4, 100), start(3, 4, 107), start(6, 5, 0)]));
        into.block = Some(Rc::new(Block { bytes: b"one...two".to_vec(), segment: 4, place: 100, table }));
        into.rows.push(Row::new(0, 3, 7, 107));
        into.push_bad(Row::new(3, 3, 9, 116), "torn".to_owned());
        into.rows.push(Row::new(6, 3, 5, 5));
        Ok(Next::Rows)
    }

    fn unchanged(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    fn segment(&self) -> u32 {
        5
    }
}

#[test]
fn made_rows_and_bad_ones_keep_their_places() {
    let mut reader = TollReader::new(Box::new(MadeRows(false)), toll(Duration::ZERO));
    let (mut pool, mut rows, mut seen) = (BlockPool::new(0), Rows::default(), Vec::new());
    while reader.next(&mut pool, &mut rows).unwrap() == Next::Rows {
        let (block, row) = (rows.block.as_ref().unwrap(), rows.rows[0]);
        let place = block.place_of(0, &row);
        assert_eq!(rows.rows.len(), 1, "one at a time");
        seen.push((row.text(block).to_vec(), place.segment, place.start, row.after, rows.bad.clone()));
    }
    let torn = vec![(0, "torn".to_owned())];
    let expected = [(&b"one"[..], 4, 100, 107, vec![]), (b"...", 4, 107, 116, torn), (b"two", 5, 0, 5, vec![])];
    assert_eq!(seen, expected.map(|(text, segment, start, after, bad)| (text.to_vec(), segment, start, after, bad)));
    assert_eq!(BURNT.get().0, 3);
}
