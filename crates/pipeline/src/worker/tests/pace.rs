//! The rate limit through the whole worker.

use migration::Rate;

use super::*;

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
