//! Searches against simulated brokers, each a function from workers to records a second.

use super::*;
use crate::random::Random;

const STEP: Duration = Duration::from_millis(200);

/// A run with such a broker.
struct Run<'a> {
    rate: &'a dyn Fn(u32) -> f64,
    /// A rate differs from the broker's by up to this part of it, anew each half second.
    noise: f64,
    /// What a new worker needs to connect.
    connects: Duration,
    room: u32,
    telling: bool,
    limited: bool,
    now: Duration,
    slots: u32,
    working: u32,
    since: Duration,
    acknowledged: f64,
    factor: f64,
    random: Random,
    search: SlotSearch,
    moves: Vec<(Duration, Move)>,
}

impl<'a> Run<'a> {
    fn new(rate: &'a dyn Fn(u32) -> f64, slots: u32, most: u32) -> Run<'a> {
        Run {
            rate,
            noise: 0.0,
            connects: Duration::from_millis(500),
            room: 1_000,
            telling: true,
            limited: false,
            now: Duration::ZERO,
            slots,
            working: 0,
            since: Duration::ZERO,
            acknowledged: 0.0,
            factor: 1.0,
            random: Random::new(7),
            search: SlotSearch::new(slots, most, Duration::ZERO),
            moves: Vec::new(),
        }
    }

    fn go_on(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while self.now < end {
            self.now += STEP;
            if self.now.as_millis().is_multiple_of(500) || self.factor == 0.0 {
                let part = (self.random.next() % 2_001) as f64 / 1_000.0 - 1.0;
                self.factor = 1.0 + part * self.noise;
            }
            if self.now >= self.since + self.connects {
                self.working = self.slots.min(self.room);
            }
            self.acknowledged += (self.rate)(self.working) * self.factor * STEP.as_secs_f64();
            let sight = Sight {
                now: self.now,
                acknowledged: self.acknowledged as u64,
                through: None,
                slots: self.slots,
                working: self.working,
                room: self.room,
                telling: self.telling,
                limited: self.limited,
            };
            if let Some(found) = self.search.look(&sight) {
                self.working = self.working.min(found.to);
                (self.slots, self.since) = (found.to, self.now);
                self.moves.push((self.now, found));
            }
        }
    }

    /// The numbers that were tried.
    fn tried(&self) -> Vec<u32> {
        self.moves.iter().map(|(_, found)| found.to).collect()
    }

    fn last_move(&self) -> Duration {
        self.moves.last().map_or(Duration::ZERO, |(at, _)| *at)
    }
}

fn linear(workers: u32) -> f64 {
    f64::from(workers) * 1_000.0
}

fn saturating(workers: u32) -> f64 {
    linear(workers).min(11_000.0)
}

/// The broker is at its best with one worker.
fn falling(workers: u32) -> f64 {
    if workers == 0 { 0.0 } else { 10_000.0 / f64::from(workers) }
}

/// Two processors, which are busy.
fn computing(workers: u32) -> f64 {
    f64::from(workers.min(2)) * 100_000.0
}

#[test]
fn waiting_workers_are_doubled_up_to_the_limit_within_twenty_seconds() {
    let mut run = Run::new(&linear, 2, 64);
    run.go_on(20);
    assert_eq!(run.tried(), [4, 8, 16, 32, 64]);
    assert_eq!(run.moves[0].1.why, "");
    assert_eq!(run.moves[1].1.why, "4 brought 2.00x");
    run.go_on(600);
    assert_eq!(run.slots, 64);
    assert_eq!(run.moves.len(), 5, "it is quiet afterwards");
}

#[test]
fn a_full_broker_ends_it_where_more_bring_nothing() {
    let mut run = Run::new(&saturating, 2, 64);
    run.go_on(20);
    assert_eq!(run.tried(), [4, 8, 16, 32, 16], "{:?}", run.moves);
    assert_eq!(run.moves[4].1.why, "32 brought 1.00x");
    run.go_on(600);
    assert_eq!(run.moves.len(), 5);
}

#[test]
fn a_job_that_computes_ends_at_the_processors() {
    let mut run = Run::new(&computing, 2, 64);
    run.go_on(120);
    assert_eq!((run.tried(), run.slots), (vec![4, 2], 2));
}

#[test]
fn where_more_are_slower_fewer_are_tried() {
    let mut run = Run::new(&falling, 4, 64);
    run.go_on(20);
    assert_eq!(run.tried(), [8, 2, 1], "{:?}", run.moves);
    run.go_on(120);
    assert_eq!(run.moves.len(), 3);
    let both = |workers: u32| if workers == 2 { 10_000.0 } else { 6_000.0 };
    let mut run = Run::new(&both, 2, 64);
    run.go_on(60);
    assert_eq!((run.tried(), run.slots), (vec![4, 1, 2], 2), "fewer are no better either");
}

#[test]
fn noise_leads_to_nine_tenths_of_the_best_and_never_to_restlessness() {
    let brokers: [(&dyn Fn(u32) -> f64, u32); 4] = [(&linear, 2), (&saturating, 2), (&falling, 2), (&computing, 2)];
    for seed in 0..50 {
        for (rate, slots) in brokers {
            let mut run = Run::new(rate, slots, 64);
            (run.noise, run.random) = (0.08, Random::new(seed));
            run.go_on(30);
            let best = (0..=6).map(|doublings| rate(1 << doublings)).fold(0.0, f64::max);
            assert!(rate(run.slots) >= 0.9 * best, "seed {seed}: {:?}", run.moves);
            let moves = run.moves.len();
            run.go_on(600);
            assert_eq!(run.moves.len(), moves, "seed {seed}: {:?}", run.moves);
        }
    }
}

#[test]
fn a_rate_that_falls_by_a_quarter_begins_another_search_and_a_smaller_dip_does_not() {
    let now = std::cell::Cell::new(1.0);
    let rate = |workers: u32| saturating(workers) * now.get();
    let mut run = Run::new(&rate, 2, 64);
    run.go_on(60);
    assert_eq!(run.slots, 16);
    let moves = run.moves.len();
    now.set(0.8);
    run.go_on(120);
    assert_eq!(run.moves.len(), moves);
    now.set(0.5);
    let fell = run.now;
    run.go_on(60);
    let (_, first) = &run.moves[moves];
    assert_eq!((first.to, first.why.as_str()), (32, "the rate fell from 11,000 to 5,500 records/s"));
    assert!(run.last_move() - fell < Duration::from_secs(25));
    assert_eq!(run.slots, 16, "more did not help");
    let moves = run.moves.len();
    run.go_on(600);
    assert_eq!(run.moves.len(), moves, "what is usual is known anew");
}

#[test]
fn searches_that_find_the_same_are_ever_rarer() {
    let slow = std::cell::Cell::new(false);
    let rate = |workers: u32| computing(workers) * if slow.get() { 0.5 } else { 1.0 };
    let mut run = Run::new(&rate, 2, 64);
    for _ in 0..60 {
        slow.set(!slow.get());
        run.go_on(60);
    }
    let searches = run.tried().iter().filter(|tried| **tried == 4).count();
    assert!((2..=9).contains(&searches), "{searches} searches in an hour: {:?}", run.tried());
}

#[test]
fn a_pause_a_limit_and_shards_that_run_out_end_no_search_wrongly() {
    let mut run = Run::new(&linear, 2, 64);
    run.telling = false;
    run.go_on(60);
    assert_eq!(run.tried(), [], "a pause tells nothing");
    run.telling = true;
    run.limited = true;
    run.go_on(10);
    assert_eq!(run.tried(), [], "more workers share the same limit");

    let mut run = Run::new(&linear, 2, 64);
    run.room = 5;
    run.go_on(60);
    assert_eq!(run.tried(), [4, 5]);
    run.room = 1;
    run.go_on(60);
    assert_eq!(run.tried(), [4, 5], "the end of a job is no fall of its rate");
}

#[test]
fn what_the_system_has_no_processes_for_is_not_tried_again() {
    let mut run = Run::new(&linear, 2, 64);
    run.go_on(5);
    assert_eq!(run.tried(), [4]);
    run.slots = 3;
    run.go_on(600);
    assert_eq!((run.tried(), run.slots), (vec![4], 3));
}

#[test]
fn the_last_seconds_are_not_worth_a_try() {
    assert!((seconds_left(Some(0.5), Some(0.25), Duration::from_secs(5)) - 10.0).abs() < 1e-9);
    assert_eq!(seconds_left(None, None, Duration::from_secs(1)), f64::INFINITY);
    let mut search = SlotSearch::new(2, 64, Duration::ZERO);
    for ms in (0..10_000).step_by(200) {
        let through = Some(0.05 * ms as f64 / 500.0);
        let sight = Sight {
            now: Duration::from_millis(ms),
            acknowledged: ms,
            through,
            slots: 2,
            working: 2,
            room: 9,
            telling: true,
            limited: false,
        };
        assert_eq!(search.look(&sight), None);
    }
}
