//! The rate limit through the whole worker.

use migration::Rate;

use super::*;
use crate::worker::ROWS_A_STEP;

fn seconds(count: u64, rate: Rate) -> f64 {
    let mut rig = Rig::new((0..count).map(|n| format!("{{\"n\":{n:010}}}")));
    rig.settings.chunk.interval = Duration::from_secs(1);
    rig.behaviour.patience = 1;
    let attempt = rig.run(Position::default(), &mut |control, _| control.rate = rate);
    assert!(attempt.end.unwrap().complete);
    attempt.elapsed.as_secs_f64()
}

#[test]
fn records_a_second_are_kept_within_one_percent() {
    let none = f64::INFINITY;
    let slow = seconds(1_000, Rate { records: 100.0, bytes: none });
    assert!((slow / 10.0 - 1.0).abs() < 0.01, "{slow}");
    let fast = seconds(5_000_000, Rate { records: 500_000.0, bytes: none });
    assert!((fast / 10.0 - 1.0).abs() < 0.01, "{fast}");
}

#[test]
fn bytes_a_second_are_kept_within_one_percent() {
    let bytes = seconds(100_000, Rate { records: f64::INFINITY, bytes: 160_000.0 });
    assert!((bytes / 10.0 - 1.0).abs() < 0.01, "{bytes}");
}

#[test]
fn the_rate_may_change_at_any_time() {
    let mut rig = Rig::new(plain(1_500));
    rig.settings.chunk.interval = Duration::from_secs(1);
    let attempt = rig.run(Position::default(), &mut |control, told| {
        control.rate.records = if told.elapsed < Duration::from_secs(5) { 100.0 } else { 1_000.0 };
    });
    assert!((attempt.elapsed.as_secs_f64() - 6.0).abs() < 0.1, "{:?}", attempt.elapsed);
}

#[test]
fn a_drain_is_heard_while_the_rate_allows_nothing() {
    let mut rig = Rig::new(plain(100));
    let attempt = rig.run(Position::default(), &mut |control, told| {
        control.rate.records = 0.0;
        control.drain = told.elapsed > Duration::from_secs(3);
    });
    assert!(!attempt.end.unwrap().complete && attempt.chunks.is_empty());
    assert!(attempt.elapsed < Duration::from_secs(5));
}

/// What the bound on a killed worker's duplicates stands on.
#[test]
fn a_step_takes_a_bounded_number_of_rows() {
    for line in ["", "1"] {
        let mut rig = Rig::new((0..100_000).map(|_| line.to_owned()));
        rig.partitions = 64;
        rig.settings.in_flight = 64 << 20;
        let mut worker = rig.worker(Position::default());
        let (start, mut most) = (Instant::now(), 0);
        for step in 0..1_000 {
            let before = worker.taken();
            worker.step(&Control::default(), start + Duration::from_micros(step)).unwrap();
            most = most.max(worker.taken() - before);
        }
        assert!((1..=ROWS_A_STEP).contains(&most), "{most} rows of {line:?}");
        assert!(worker.taken() > 2 * ROWS_A_STEP, "{line:?}");
    }
}
