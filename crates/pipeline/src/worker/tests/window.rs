//! Chunks that close without a barrier.

use std::cell::Cell;

use migration::Phase;

use super::*;

fn rig(lines: impl IntoIterator<Item = String>) -> Rig {
    let mut rig = Rig::new(lines);
    rig.settings.flush = FlushPolicy::Window;
    rig
}

#[test]
fn the_counts_of_a_chunk_end_at_its_mark() {
    for keyed in [false, true] {
        let mut rig = rig(keys(20_000, NonZeroU64::new(90).unwrap()));
        if keyed {
            rig = rig.keyed();
        }
        rig.settings.chunk.records = 3_000;
        rig.behaviour.patience = 20;
        let attempt = rig.run_through();
        assert!(attempt.end.unwrap().complete);
        let sizes: Vec<_> = attempt.chunks.iter().map(|chunk| (chunk.counts.read, chunk.counts.acknowledged)).collect();
        assert_eq!(sizes, [vec![(3_000, 3_000); 6], vec![(2_000, 2_000)]].concat());
        assert!(attempt.chunks.iter().all(|chunk| chunk.work.partitions.iter().sum::<u64>() == chunk.counts.acknowledged));
    }
}

#[test]
fn records_are_taken_while_a_chunk_waits_for_its_reports() {
    let mut rig = rig(plain(100_000));
    rig.partitions = 64;
    rig.settings.chunk.records = 5_000;
    rig.settings.in_flight = 64 << 20;
    *rig.behaviour.mute.borrow_mut() = true;
    let mut worker = rig.worker(Position::default());
    let start = Instant::now();
    let mut last = Step::Busy;
    for step in 0..2_000 {
        last = worker.step(&Control::default(), start + Duration::from_micros(step)).unwrap();
    }
    // The chunk before the mark and a whole one after it, and no more.
    assert_eq!(worker.position.records, 10_000);
    assert!(matches!(last, Step::Wait { reason: WaitReason::Reports, .. }), "{last:?}");
    assert_eq!(worker.lanes.before_mark(), 5_000);
    let progress = worker.progress(start);
    assert_eq!((progress.counts.read, progress.position.records), (10_000, 10_000));
    assert!(worker.next_event().is_none());
}

#[test]
fn only_the_last_chunk_needs_a_flush() {
    let mut rig = rig(plain(55_000));
    rig.settings.chunk.records = 10_000;
    rig.settings.in_flight = 64 << 20;
    let attempt = rig.run_through();
    let flushes: Vec<_> = attempt.chunks.iter().map(|chunk| chunk.work.flush.count()).collect();
    assert_eq!(flushes, [0, 0, 0, 0, 0, 1]);
}

#[test]
fn a_mark_waits_until_the_chunk_before_is_recorded_and_taking_goes_on_meanwhile() {
    let mut rig = rig(plain(40_000));
    rig.settings.chunk.records = 10_000;
    rig.settings.in_flight = 64 << 20;
    let mut worker = rig.worker(Position::default());
    let start = Instant::now();
    let mut control = Control::default();
    let run = |worker: &mut ShardWorker, control: &Control| {
        let mut chunks = Vec::new();
        for step in 0..5_000 {
            let now = start + Duration::from_micros(step);
            let _ = worker.step(control, now).unwrap();
            worker.wait(Duration::from_millis(1)).unwrap();
            chunks.extend(std::iter::from_fn(|| worker.next_event()));
        }
        chunks.len()
    };
    assert_eq!(run(&mut worker, &control), 1, "the second is not committed before the first is recorded");
    assert_eq!(worker.position.records, 30_000, "but it and the third are taken");
    assert_eq!(worker.progress(start).waiting_for, Some(migration::WaitingFor::Recorded));
    control.recorded = 1;
    assert_eq!(run(&mut worker, &control), 1);
    assert_eq!(worker.position.records, 40_000);
    control.recorded = 2;
    assert_eq!(run(&mut worker, &control), 1);
    control.recorded = 3;
    assert_eq!(run(&mut worker, &control), 1);
    assert!(worker.finish().unwrap().complete);
}

#[test]
fn the_interval_sets_marks_and_an_open_mark_makes_nobody_spin() {
    let mut rig = rig(plain(1_000));
    rig.settings.chunk.interval = Duration::from_secs(2);
    let attempt = rig.run(Position::default(), &mut |control, _| control.rate.records = 100.0);
    assert!((4..=6).contains(&attempt.chunks.len()), "{}", attempt.chunks.len());

    let mut rig = self::rig(plain(1_000));
    *rig.behaviour.mute.borrow_mut() = true;
    let mut worker = rig.worker(Position::default());
    let mut control = Control::default();
    control.rate.records = 10.0;
    let start = Instant::now();
    for step in 0..500 {
        let now = start + Duration::from_millis(20 * step);
        if let Step::Wait { until, .. } = worker.step(&control, now).unwrap() {
            assert!(until > now, "{:?} after the start", now - start);
        }
    }
    assert!(worker.position.records > 50, "taking goes on");
}

#[test]
fn a_drain_a_pause_and_the_end_commit_what_is_on_both_sides_of_the_mark() {
    for pause in [false, true] {
        let mut rig = rig(keys(60_000, NonZeroU64::new(30).unwrap())).keyed();
        rig.settings.chunk.records = 4_000;
        rig.behaviour.patience = 50;
        let told = Rc::new(Cell::new(0));
        let at = Rc::clone(&told);
        let attempt = rig.run(Position::default(), &mut |control, seen| {
            if seen.waits == Some(WaitReason::Continue) {
                at.set(at.get() + 1);
            }
            control.drain = !pause && seen.chunks >= 3;
            control.paused = pause && seen.chunks >= 3 && at.get() < 20;
        });
        let end = attempt.end.unwrap();
        assert_eq!((end.complete, told.get()), (pause, if pause { 20 } else { 0 }));
        assert_eq!(end.position, attempt.chunks.last().unwrap().position);
        assert_eq!(rig.delivered().concat().len() as u64, end.position.records);
    }
}

#[test]
fn a_batch_that_is_refused_at_the_mark_is_halved_on_its_side_of_it() {
    let mut rig = rig(keys(20_000, NonZeroU64::new(40).unwrap())).keyed();
    rig.settings.chunk.records = 1_000;
    rig.behaviour.patience = 8;
    // The last record of a chunk, and the first of the next but one.
    rig.behaviour.refuse = |value| matches!(number(value), 4_999 | 6_000);
    let attempt = rig.run_through();
    assert!(attempt.end.unwrap().complete);
    let dead: Vec<_> = attempt.chunks.iter().map(|chunk| chunk.counts.dead_lettered).collect();
    let expected: Vec<_> = (0..20).map(|index| u64::from(index == 4 || index == 6)).collect();
    assert_eq!(dead, expected);
    assert!(rig.delivered().iter().all(|partition| partition.is_sorted_by(|a, b| a < b)));
}

#[test]
fn a_source_that_changed_behind_what_was_read_is_not_done() {
    let mut rig = rig(plain(10_000));
    rig.settings.chunk.records = 10_000;
    rig.changed = true;
    let attempt = rig.run_through();
    assert_eq!(attempt.end.unwrap_err().kind, FailureKind::Source);
    assert_eq!(attempt.chunks.last().map(|chunk| chunk.position.records), Some(10_000));
}

#[test]
fn waiting_at_a_mark_is_flush() {
    let mut rig = rig(plain(10_000));
    rig.settings.chunk.records = 1_000;
    *rig.behaviour.mute.borrow_mut() = true;
    let mut worker = rig.worker(Position::default());
    while worker.position.records < 2_000 {
        let _ = worker.step(&Control::default(), Instant::now()).unwrap();
    }
    let _ = worker.step(&Control::default(), Instant::now()).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    let phases = worker.progress(Instant::now()).work.phases;
    assert!(phases.get(Phase::Flush) >= 20_000_000, "{phases:?}");
}
