//! Rounds of mixed faults, one after the other, as `scripts/chaos` asks for them.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use whole_program::chaos::Delivery;
use whole_program::chaos::job::Cluster;
use whole_program::chaos::nemesis;
use whole_program::chaos::source::Source;
use whole_program::chaos::trial::Outcome;

use crate::campaign::{LINES, new_seed};

const USAGE: &str = "usage: scripts/chaos [--seed S] [--minutes M] [--delivery at-least-once|exactly-once] [--brokers 1|3]\n";

/// Plays them.
pub fn main(words: &[String]) -> ExitCode {
    let Some((seed, minutes, delivery, brokers)) = parse(words) else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    let source = Source::new(17, LINES);
    let cluster = Cluster::start(brokers);
    let begin = Instant::now();
    let limit = Duration::try_from_secs_f64(minutes * 60.0).unwrap_or(Duration::MAX);
    for round in 0.. {
        let seed = seed.wrapping_add(round);
        println!("chaos: --seed {seed} --delivery {} --brokers {brokers}", delivery.name());
        for step in nemesis::sequence(seed, delivery, brokers, nemesis::STEPS) {
            println!("  {} ms, then {:?}", step.pause_ms, step.fault);
        }
        let nothing = Outcome::nothing("mixed", delivery, seed, brokers, source.len());
        let outcome = nothing.of(|| nemesis::mixed(cluster.place(&source), delivery, seed));
        println!(
            "  {} faults, {} records: {} lost, {} twice (verify {}), seen by {} readers, {:.0} s",
            outcome.faults,
            outcome.records,
            outcome.lost,
            outcome.twice,
            outcome.verify,
            outcome.readers.len(),
            outcome.seconds
        );
        if !outcome.wrong.is_empty() {
            println!("WRONG: {:#?}", outcome.wrong);
            return ExitCode::FAILURE;
        }
        if outcome.faults == 0 {
            println!("WRONG: no fault took effect");
            return ExitCode::FAILURE;
        }
        if begin.elapsed() >= limit {
            break;
        }
    }
    ExitCode::SUCCESS
}

fn parse(words: &[String]) -> Option<(u64, f64, Delivery, u32)> {
    let (mut seed, mut minutes, mut delivery, mut brokers) = (new_seed(), 0.0, Delivery::AtLeastOnce, 1);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = words.next()?;
        match word.as_str() {
            "--seed" => seed = value.parse().ok()?,
            "--minutes" => minutes = value.parse().ok()?,
            "--delivery" => delivery = Delivery::ALL.into_iter().find(|delivery| delivery.name() == value)?,
            "--brokers" => brokers = value.parse().ok().filter(|count| [1, 3].contains(count))?,
            _ => return None,
        }
    }
    Some((seed, minutes, delivery, brokers))
}
