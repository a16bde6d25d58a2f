//! Chunks: when they close, what a commit waits for, how much memory is held meanwhile.

use migration::{Phase, RefusedRecord, WaitingFor};

use super::*;

#[test]
fn an_empty_shard_is_done_at_once() {
    let attempt = Rig::new([]).run_through();
    assert!(attempt.end.unwrap().complete && attempt.chunks.is_empty());
}

#[test]
fn blank_lines_alone_are_committed() {
    let attempt = Rig::new(["".to_owned(), " ".to_owned(), "\t".to_owned()]).run_through();
    assert_eq!(attempt.chunks.len(), 1);
    assert_eq!((attempt.chunks[0].counts.read, attempt.chunks[0].counts.filtered), (3, 3));
}

#[test]
fn a_commit_has_the_token_of_its_position() {
    let mut rig = Rig::new(plain(1_000));
    rig.settings.chunk.records = 300;
    let chunks = rig.run_through().chunks;
    assert_eq!(chunks.len(), 4);
    assert!(chunks.iter().all(|chunk| chunk.token == Some(crate::doubles::token_of(&chunk.position))), "{chunks:?}");
}

#[test]
fn a_chunk_closes_at_its_records_and_at_its_bytes() {
    let mut rig = Rig::new(plain(1_000));
    rig.settings.chunk.records = 300;
    let sizes: Vec<_> = rig.run_through().chunks.iter().map(|chunk| chunk.counts.read).collect();
    assert_eq!(sizes, [300, 300, 300, 100]);
    let mut rig = Rig::new((0..100).map(|n| format!("{{\"n\":{:05}}}", 10_000 + n)));
    rig.settings.chunk.bytes = 120;
    let chunks = rig.run_through().chunks;
    assert!(chunks.iter().all(|chunk| chunk.counts.bytes_read == 132 || chunk.counts.read < 11), "{chunks:?}");
}

#[test]
fn a_chunk_ends_with_the_last_record_that_is_known_to_be_refused() {
    let mut rig = Rig::new(plain(1_000));
    let places = rig.places();
    let refused = [40, 10].map(|line: usize| {
        let (segment, start) = places[line];
        RefusedRecord { segment, start, reason: "too old".to_owned() }
    });
    rig.settings.refused = Refused::of(&refused);
    let chunks = rig.run_through().chunks;
    let sizes: Vec<_> = chunks.iter().map(|chunk| (chunk.counts.read, chunk.counts.dead_lettered)).collect();
    assert_eq!(sizes, [(41, 2), (959, 0)], "what is behind it may hold more of them");
}

#[test]
fn the_interval_closes_a_chunk_that_the_rate_keeps_open() {
    let mut rig = Rig::new(plain(1_000));
    rig.settings.chunk.interval = Duration::from_secs(2);
    let attempt = rig.run(Position::default(), &mut |control, _| control.rate.records = 100.0);
    assert!((4..=6).contains(&attempt.chunks.len()), "{}", attempt.chunks.len());
    assert!((195..=205).contains(&attempt.chunks[1].counts.read), "{}", attempt.chunks[1].counts.read);
}

#[test]
fn a_chunk_is_not_closed_before_the_last_one_is_recorded() {
    let mut rig = Rig::new(plain(1_000));
    rig.settings.chunk.records = 100;
    let mut waited = 0;
    let attempt = rig.run(Position::default(), &mut |control, told| {
        // Recorded comes late: five steps that wait for it.
        let due = told.chunks as u64;
        if told.waits == Some(WaitReason::Recorded) {
            waited += 1;
        }
        control.recorded = if waited < 5 * due { due.saturating_sub(1) } else { due };
    });
    assert_eq!(attempt.chunks.len(), 10);
    assert!(waited >= 5 * 9, "{waited}");

    assert_eq!(chunks_without_recorded(), 1);
}

#[test]
fn each_record_counts_in_the_chunk_that_it_was_taken_for() {
    for keyed in [false, true] {
        let mut rig = Rig::new(keys(20_000, NonZeroU64::new(90).unwrap()));
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
fn a_refused_record_counts_in_its_chunk() {
    let mut rig = Rig::new(keys(20_000, NonZeroU64::new(40).unwrap())).keyed();
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
fn waiting_for_a_chunks_reports_is_flush() {
    let mut rig = Rig::new(plain(10_000));
    rig.settings.chunk.records = 1_000;
    *rig.behaviour.mute.borrow_mut() = true;
    let mut worker = rig.worker(Position::default());
    while !worker.flushing() {
        let _ = worker.step(&Control::default(), Instant::now()).unwrap();
    }
    assert_eq!(worker.position.records, 1_000, "the chunk is full, and nothing of the next one is taken");
    std::thread::sleep(Duration::from_millis(20));
    let phases = worker.progress(Instant::now()).work.phases;
    assert!(phases.get(Phase::Flush) >= 20_000_000, "{phases:?}");
}

/// How many chunks a worker commits when nothing is ever recorded.
fn chunks_without_recorded() -> usize {
    let mut rig = Rig::new(plain(1_000));
    rig.settings.chunk.records = 100;
    let mut worker = rig.worker(Position::default());
    let now = Instant::now();
    let mut committed = 0;
    for step in 0..2_000 {
        let now = now + Duration::from_millis(step);
        if let Step::Wait { reason: WaitReason::Recorded, .. } = worker.step(&Control::default(), now).unwrap() {
            assert_eq!(worker.progress(now).waiting_for, Some(WaitingFor::Recorded));
        }
        worker.wait(Duration::from_millis(1)).unwrap();
        committed += commits(&mut worker);
    }
    committed
}

#[test]
fn a_drain_commits_what_was_taken_and_ends_incomplete() {
    let mut rig = Rig::new(keys(20_000, NonZeroU64::new(9).unwrap())).keyed();
    let attempt = rig.run(Position::default(), &mut |control, told| control.drain = told.step > 10);
    let end = attempt.end.unwrap();
    assert!(!end.complete);
    assert_eq!(attempt.chunks.len(), 1);
    let delivered = rig.delivered().concat().len() as u64;
    assert!(delivered > 0 && delivered < 20_000);
    assert_eq!((end.position, end.position.records), (attempt.chunks[0].position, delivered));
}

#[test]
fn a_pause_commits_first_and_then_takes_nothing() {
    let mut rig = Rig::new(keys(20_000, NonZeroU64::new(9).unwrap())).keyed();
    let mut at_rest = 0;
    let attempt = rig.run(Position::default(), &mut |control, told| {
        at_rest += u64::from(told.waits == Some(WaitReason::Continue));
        control.paused = told.step > 10 && at_rest < 30;
        if told.waits == Some(WaitReason::Continue) {
            assert_eq!(told.chunks, 1);
        }
    });
    assert!(attempt.end.unwrap().complete);
    assert_eq!((at_rest, attempt.chunks.len()), (30, 2));
}

#[test]
fn a_worker_without_a_slot_takes_nothing_and_the_time_is_not_its_own() {
    let mut rig = Rig::new(plain(1_000));
    let mut worker = rig.worker(Position::default());
    let held = Control { hold: true, paused: true, ..Control::default() };
    for _ in 0..10 {
        let now = Instant::now();
        let step = worker.step(&held, now).unwrap();
        assert!(matches!(step, Step::Wait { reason: WaitReason::Slot, .. }), "{step:?}");
        let progress = worker.progress(now);
        assert_eq!((progress.counts.read, progress.waiting_for), (0, Some(WaitingFor::Slot)));
        std::thread::sleep(Duration::from_millis(20));
    }
    let since = Instant::now();
    worker.step(&Control { hold: false, ..held }, since).unwrap();
    let time = Duration::from_nanos(worker.progress(since).work.phases.total());
    assert!(time <= since.elapsed() + Duration::from_millis(1), "{time:?} although it had no slot");
    // A slot, and a pause that is not over.
    assert_eq!(worker.progress(since).waiting_for, Some(WaitingFor::Continue));
    for _ in 0..3 {
        worker.step(&Control::default(), Instant::now()).unwrap();
    }
    assert!(worker.progress(Instant::now()).counts.read > 0);
}

#[test]
fn a_worker_that_is_to_end_before_it_has_a_slot_has_sent_nothing() {
    let mut rig = Rig::new(plain(1_000));
    let attempt = rig.run(Position::default(), &mut |control, told| {
        control.hold = told.step < 10;
        control.drain = told.step >= 10;
    });
    let end = attempt.end.unwrap();
    assert_eq!((end.complete, end.position, attempt.chunks.len(), attempt.at_end), (false, Position::default(), 0, 0));
    assert_eq!(rig.stored(), 0);
}

#[test]
fn the_end_of_a_shard_is_told_before_its_last_chunk_is_committed() {
    let mut rig = Rig::new(plain(250));
    rig.settings.chunk.records = 100;
    let mut committed_before = None;
    let mut worker = rig.worker(Position::default());
    let (mut committed, mut control) = (0, Control::default());
    for step in 0..5_000 {
        worker.step(&control, Instant::now() + Duration::from_micros(step)).unwrap();
        while let Some(event) = worker.next_event() {
            match event {
                WorkerEvent::AtEnd => assert_eq!(committed_before.replace(committed), None, "told once"),
                _ => committed += 1,
            }
        }
        control.recorded = committed;
        worker.wait(Duration::from_millis(1)).unwrap();
    }
    assert_eq!((committed_before, committed), (Some(2), 3));
}

#[test]
fn flushes_are_counted_once_a_chunk_or_once_a_record() {
    let mut rig = Rig::new(plain(50));
    rig.settings.chunk.records = 10;
    let chunks = rig.run_through().chunks;
    assert!(chunks.iter().all(|chunk| chunk.work.flush.count() == 1));
    let mut rig = Rig::new(plain(50));
    rig.settings.chunk.records = 10;
    rig.settings.flush = FlushPolicy::Record;
    let chunks = rig.run_through().chunks;
    assert!(chunks.iter().all(|chunk| chunk.work.flush.count() == 10));
    assert!(rig.topic.as_ref().unwrap().borrow().groups.iter().all(|&size| size == 1));
}

#[test]
fn phases_of_all_chunks_add_up_to_the_wall_time() {
    let mut rig = Rig::new(plain(5_000));
    rig.settings.chunk.records = 700;
    let started = Instant::now();
    let attempt = rig.run_through();
    let wall = started.elapsed().as_nanos() as u64;
    let end = attempt.end.unwrap();
    let told: u64 = attempt.chunks.iter().map(|chunk| chunk.work.phases.total()).sum::<u64>() + end.work.phases.total();
    // The rig's own set-up and ending are outside.
    assert!(told <= wall && wall - told < 50_000_000, "{told} of {wall}");
}

#[test]
fn a_slow_partition_stalls_the_worker_and_grows_nothing() {
    let mut rig = Rig::new(keys(100_000, NonZeroU64::new(500).unwrap())).keyed();
    rig.settings.in_flight = 1 << 20;
    rig.behaviour.slow = Some(2);
    rig.behaviour.patience = 1;
    let mut worker = rig.worker(Position::default());
    let start = Instant::now();
    let (mut named, mut most) = (false, 0);
    let mut control = Control::default();
    for step in 0u64.. {
        let now = start + Duration::from_millis(step);
        // Serving nothing but what polls without a wait give: partition 2 never answers for a second.
        let came = worker.step(&control, now).unwrap();
        control.recorded += commits(&mut worker) as u64;
        most = most.max(worker.pool.alive_bytes() + worker.lanes.copies_memory());
        if worker.progress(now).waiting_for == Some(WaitingFor::Partition { partition: 2, leader: Some(102) }) {
            named = true;
        }
        if step > 2_000 {
            worker.wait(Duration::from_millis(1)).unwrap();
        }
        if came == Step::Done {
            break;
        }
        assert!(step < 1_000_000);
    }
    assert!(named, "the partition it waits for has a name");
    assert!(most <= (1 << 20) + worker.pool.block_bytes(), "{most} bytes");
    worker.finish().unwrap();
    assert_eq!(rig.delivered().concat().len(), 100_000);
}

#[test]
fn many_partitions_in_little_memory_still_move() {
    let mut rig = Rig::new(keys(30_000, NonZeroU64::new(3_000).unwrap())).keyed();
    rig.partitions = 1_000;
    rig.settings.in_flight = 128 << 10;
    rig.behaviour.patience = 50;
    let attempt = rig.run_through();
    assert!(attempt.end.unwrap().complete);
    assert_eq!(rig.delivered().concat().len(), 30_000);
}

#[test]
fn progress_counts_what_is_not_committed_yet() {
    let mut rig = Rig::new(plain(10_000));
    let mut worker = rig.worker(Position::default());
    let now = Instant::now();
    for _ in 0..5 {
        worker.step(&Control::default(), now).unwrap();
    }
    let progress = worker.progress(now);
    assert!(progress.counts.read > 0 && progress.position.records == progress.counts.read);
    assert!(worker.next_event().is_none());
    assert!(progress.work.phases.total() > 0);
}

#[test]
fn a_record_that_waits_longer_than_the_interval_is_waited_for_without_spinning() {
    let mut rig = Rig::new(plain(10));
    rig.settings.flush = FlushPolicy::Record;
    *rig.behaviour.mute.borrow_mut() = true;
    let mut worker = rig.worker(Position::default());
    let start = Instant::now();
    let mut waits = 0;
    for step in 0..400 {
        let now = start + Duration::from_millis(10 * step);
        if let Step::Wait { until, reason } = worker.step(&Control::default(), now).unwrap() {
            assert_eq!(reason, WaitReason::Reports);
            assert!(until > now, "{:?} after the start", now - start);
            waits += 1;
        }
    }
    assert!(waits > 390, "{waits}");
}

#[test]
fn tiny_records_count_for_what_the_client_spends_on_them() {
    let mut rig = Rig::new((0..100_000).map(|n| format!("{{\"k\":{},\"n\":{n}}}", n % 5_000))).keyed();
    rig.partitions = 500;
    rig.settings.in_flight = 2 << 20;
    *rig.behaviour.mute.borrow_mut() = true;
    let mut worker = rig.worker(Position::default());
    let start = Instant::now();
    let mut most = 0;
    for step in 0..5_000 {
        worker.step(&Control::default(), start + Duration::from_micros(step)).unwrap();
        most = most.max(worker.lanes.records());
    }
    let limit = (2 << 20) / 128;
    let block = worker.pool.block_bytes() / 15;
    assert!(most > limit && most <= limit + block, "{most} records, {limit} and a block of {block} are allowed");
    *rig.behaviour.mute.borrow_mut() = false;
    let attempt = rig.run_through();
    assert!(attempt.end.unwrap().complete);
}
