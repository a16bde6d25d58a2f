//! The number of workers found by a whole job on simulated time: workers that connect, commit and end with their
//! shards, and brokers that are linear, full or worse with more of them.

use migration::steer::{Scale, Steer};

use super::throttled::Job;
use crate::machine::Input;

fn linear(workers: usize) -> f64 {
    workers as f64 * 10_000.0
}

fn saturating(workers: usize) -> f64 {
    linear(workers).min(110_000.0)
}

fn falling(workers: usize) -> f64 {
    100_000.0 / workers as f64
}

#[test]
fn a_job_comes_to_nine_tenths_of_its_broker_within_twenty_seconds_and_stays_there() {
    for (broker, best) in [(linear as fn(usize) -> f64, 640_000.0), (saturating, 110_000.0), (falling, 100_000.0)] {
        for seed in 0..6 {
            // Shards of 20 s of a worker's time: they end and are begun all the time.
            let mut job = Job::searching(broker, 200_000, seed);
            job.run(20.0);
            let (slots, turns) = (job.machine.slots(), job.turns.clone());
            job.run(60.0);
            // A worker that connects, or waits at its chunk's end, sends nothing.
            let reached = job.rate(20.0) / (0.85 * best);
            assert!(reached >= 0.9, "{reached:.2} with {slots} workers: {turns:?}");
            assert_eq!((job.machine.slots(), job.turns), (slots, turns), "it is quiet");
        }
    }
}

#[test]
fn a_jobs_own_limit_is_no_reason_for_more_workers_or_fewer() {
    // Shards that are over before a worker's own rate is known, and such as last. Two workers, of which one may be
    // connecting, can send more than the limit.
    for shard in [5_000, 200_000] {
        for seed in 0..20 {
            let mut job = Job::searching_below(8_000.0, linear, shard, seed);
            job.run(60.0);
            assert_eq!((job.machine.slots(), &job.turns[1..]), (2, &[][..] as &[String]), "shards of {shard}, seed {seed}");
        }
    }
}

#[test]
fn a_number_ends_the_search_and_auto_begins_another() {
    let mut job = Job::searching(linear, 200_000, 1);
    job.run(3.5);
    assert_eq!(job.turns, ["auto: 2 -> 4 workers"]);
    job.give(Input::Steer(Steer::Scale(Scale::Up(1))));
    job.run(30.0);
    assert_eq!(job.turns[1..], ["scaled 4 -> 5"], "what was asked for stays");
    job.give(Input::Steer(Steer::Scale(Scale::Auto)));
    job.run(4.0);
    assert_eq!(job.turns[2..], ["scaled 5 -> auto, from 2 workers on", "auto: 2 -> 4 workers"]);
}
