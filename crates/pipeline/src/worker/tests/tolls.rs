//! Waits and CPU that a comparison adds for each record.

use std::cell::Cell;

use super::*;
use crate::worker::toll::Toll;

thread_local! {
    /// How often the CPU of a toll was asked for, and how much of it.
    static BURNT: Cell<(u64, Duration)> = const { Cell::new((0, Duration::ZERO)) };
}

const WAIT: Duration = Duration::from_micros(2_500);
const CPU: Duration = Duration::from_micros(300);

fn toll() -> Option<Toll> {
    let burn = |cpu| {
        BURNT.with(|burnt| {
            let (times, sum) = burnt.get();
            burnt.set((times + 1, sum + cpu));
        });
    };
    BURNT.set((0, Duration::ZERO));
    Some(Toll { wait: WAIT, cpu: CPU, burn })
}

#[test]
fn each_record_pays_once_before_it_is_taken() {
    for flush in [FlushPolicy::Record, FlushPolicy::Chunk] {
        let mut rig = Rig::new(keys(500, NonZeroU64::new(40).unwrap())).keyed();
        rig.settings.flush = flush;
        rig.settings.toll = toll();
        // Full and blocked lanes, and chunks that close meanwhile: what was paid stays paid.
        rig.behaviour.limits.batch_bytes = 300;
        rig.behaviour.patience = 20;
        rig.settings.chunk.records = 70;
        let mut waits = 0;
        let attempt = rig.run(Position::default(), &mut |_, told| waits += u64::from(told.waits == Some(WaitReason::Outside)));
        assert!(attempt.end.unwrap().complete);
        assert_eq!(BURNT.get(), (500, CPU * 500));
        assert!(waits >= 500 && attempt.elapsed >= WAIT * 500, "{waits} waits in {:?}", attempt.elapsed);
        assert_eq!(rig.delivered().concat().len(), 500);
    }
}

#[test]
fn the_wait_has_a_phase_of_its_own() {
    let mut rig = Rig::new(plain(3));
    rig.settings.toll = toll();
    let mut worker = rig.worker(Position::default());
    let started = Instant::now();
    while worker.cursor < 3 {
        let now = Instant::now();
        if let Step::Wait { until, .. } = worker.step(&Control::default(), now).unwrap() {
            std::thread::sleep(until.saturating_duration_since(now));
        }
    }
    let wall = started.elapsed();
    let outside = Duration::from_nanos(worker.progress(Instant::now()).work.phases.get(migration::Phase::Outside));
    assert!(outside >= WAIT * 2 && outside <= wall, "{outside:?} of {wall:?}");
}

#[test]
fn a_long_wait_ends_with_a_drain_and_a_chunk_closes_in_it() {
    let mut rig = Rig::new(plain(10));
    rig.settings.toll = toll().map(|toll| Toll { wait: Duration::from_secs(60), ..toll });
    let mut committed_at = None;
    let attempt = rig.run(Position::default(), &mut |control, told| {
        if told.chunks == 1 {
            committed_at.get_or_insert(told.elapsed);
        }
        control.drain = told.elapsed > Duration::from_secs(90);
    });
    assert!(!attempt.end.unwrap().complete);
    assert_eq!((attempt.chunks.len(), attempt.chunks[0].counts.read), (1, 1));
    let at = committed_at.unwrap().as_secs_f64();
    assert!((60.9..61.3).contains(&at), "the interval is over a second after the first record, not at {at} s");
    assert!(attempt.elapsed < Duration::from_secs(93), "{:?}", attempt.elapsed);
}
