//! A campaign: trials of all kinds, several at once, until it is told to stop, its time is over, or something is wrong.
//!
//! It can be stopped and continued: what was counted stands in the file of results, and the next trial is of the kind
//! of which most is missing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{SigSet, Signal};
use whole_program::chaos::Delivery;
use whole_program::chaos::job::Cluster;
use whole_program::chaos::source::Source;
use whole_program::chaos::trial::Outcome;
use whole_program::chaos::trials::{KINDS, Kind, Needs};
use whole_program::random::Random;

use crate::results;

/// Lines of the dataset.
pub const LINES: u64 = 250_000;

const USAGE: &str = "\
usage: scripts/campaign [--minutes M] [--results FILE] [--kind K]... [--delivery D]... [--jobs N] [--seed S]
";

struct Wishes {
    minutes: f64,
    results: PathBuf,
    kinds: Vec<String>,
    deliveries: Vec<Delivery>,
    jobs: u64,
    seed: Option<u64>,
}

impl Wishes {
    fn parse(words: &[String]) -> Result<Self, String> {
        let mut wishes = Wishes {
            minutes: f64::INFINITY,
            results: results::place(),
            kinds: Vec::new(),
            deliveries: Vec::new(),
            jobs: 2,
            seed: None,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
            let number = || value.parse::<u64>().map_err(|_| format!("{word} takes a number, not {value}"));
            match word.as_str() {
                "--minutes" => wishes.minutes = value.parse().map_err(|_| format!("--minutes takes a number, not {value}"))?,
                "--results" => wishes.results = PathBuf::from(value),
                "--kind" if KINDS.iter().any(|kind| kind.name == value) => wishes.kinds.push(value.clone()),
                "--kind" => return Err(format!("there is no kind {value}; there are {}", names().join(", "))),
                "--delivery" => {
                    let found = Delivery::ALL.into_iter().find(|delivery| delivery.name() == value);
                    wishes.deliveries.push(found.ok_or_else(|| format!("there is no delivery {value}"))?);
                }
                "--jobs" => wishes.jobs = number()?.max(1),
                "--seed" => wishes.seed = Some(number()?),
                _ => return Err(format!("there is no option {word}")),
            }
        }
        if wishes.seed.is_some() {
            wishes.jobs = 1;
        }
        if wishes.deliveries.is_empty() {
            wishes.deliveries = Delivery::ALL.to_vec();
        }
        Ok(wishes)
    }

    fn wants(&self, kind: &Kind, delivery: Delivery) -> bool {
        kind.wanted(delivery) > 0
            && self.deliveries.contains(&delivery)
            && (self.kinds.is_empty() || self.kinds.iter().any(|name| name == kind.name))
    }
}

fn names() -> Vec<&'static str> {
    KINDS.iter().map(|kind| kind.name).collect()
}

/// Runs one.
pub fn main(words: &[String]) -> ExitCode {
    let wishes = match Wishes::parse(words) {
        Ok(wishes) => wishes,
        Err(error) => {
            eprint!("error: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let (said, other_build) = (std::env::var("SHARDLIFT_COMMIT").ok(), std::env::var_os("SHARDLIFT_BIN").is_some());
    let commit = match results::commit(said.as_deref(), other_build, results::git) {
        Ok(commit) => commit,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    let stop = Arc::new(AtomicBool::new(false));
    heed_signals(&stop);
    let source = Source::new(17, LINES);
    let clusters = Clusters::default();
    let begin = Instant::now();
    let limit = Duration::try_from_secs_f64(wishes.minutes * 60.0).unwrap_or(Duration::MAX);
    let under_way = Mutex::new(Vec::new());
    let failed = AtomicBool::new(false);
    let one_after_the_other = || {
        while !stop.load(Ordering::SeqCst) && begin.elapsed() < limit {
            let Some((kind, delivery)) = choose(&wishes, &mut under_way.lock().expect("no holder panics")) else { return };
            let seed = wishes.seed.unwrap_or_else(new_seed);
            let brokers = if kind.needs == Needs::Three { 3 } else { 1 };
            let nothing = Outcome::nothing(kind.name, delivery, seed, brokers, source.len());
            let outcome = nothing.of(|| clusters.run(kind, delivery, seed, &source));
            results::append(&wishes.results, &outcome, &commit);
            let figures: Vec<String> = outcome.figures.iter().map(|(name, all)| format!("{name} {:?}", median(all))).collect();
            println!(
                "{} {} seed {seed}: {} faults, {} lost, {} twice (verify {}), {:.1} s; {}",
                kind.name,
                delivery.name(),
                outcome.faults,
                outcome.lost,
                outcome.twice,
                outcome.verify,
                outcome.seconds,
                figures.join(", ")
            );
            under_way.lock().expect("no holder panics").retain(|other| *other != (kind.name, delivery));
            if !outcome.wrong.is_empty() {
                println!("WRONG: {:#?}", outcome.wrong);
                failed.store(true, Ordering::SeqCst);
                stop.store(true, Ordering::SeqCst);
            }
            if wishes.seed.is_some() {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..wishes.jobs {
            scope.spawn(|| {
                let ended = catch_unwind(AssertUnwindSafe(one_after_the_other));
                if ended.is_err() {
                    failed.store(true, Ordering::SeqCst);
                    stop.store(true, Ordering::SeqCst);
                }
            });
        }
    });
    if failed.load(Ordering::SeqCst) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The clusters of a campaign, each started when it is first needed. Trials that end brokers have one for themselves.
#[derive(Default)]
struct Clusters {
    shared: OnceLock<Cluster>,
    one: Mutex<Option<Cluster>>,
    three: Mutex<Option<Cluster>>,
    /// A trial that measures times waits until it is alone.
    quiet: RwLock<()>,
}

impl Clusters {
    fn run(&self, kind: &Kind, delivery: Delivery, seed: u64, source: &Source) -> Outcome {
        let shared = || self.shared.get_or_init(|| Cluster::start(1)).place(source);
        if kind.needs == Needs::Alone {
            let _alone = self.quiet.write().unwrap_or_else(PoisonError::into_inner);
            return (kind.run)(shared(), delivery, seed);
        }
        let _beside_others = self.quiet.read().unwrap_or_else(PoisonError::into_inner);
        let (own, count) = match kind.needs {
            Needs::One => (&self.one, 1),
            Needs::Three => (&self.three, 3),
            Needs::Shared | Needs::Alone => return (kind.run)(shared(), delivery, seed),
        };
        let mut own = own.lock().unwrap_or_else(PoisonError::into_inner);
        let cluster = own.get_or_insert_with(|| Cluster::start(count));
        cluster.kafka.heal();
        (kind.run)(cluster.place(source), delivery, seed)
    }
}

/// The kind of which most is missing by its share; those under way count as done a little.
fn choose(wishes: &Wishes, under_way: &mut Vec<(&'static str, Delivery)>) -> Option<(&'static Kind, Delivery)> {
    let results = results::read(&wishes.results);
    let pairs = KINDS.iter().flat_map(|kind| Delivery::ALL.map(|delivery| (kind, delivery)));
    let share = |kind: &Kind, delivery: Delivery| {
        let beside = under_way.iter().filter(|other| **other == (kind.name, delivery)).count() as f64;
        let done = results::faults(&results, kind.name, delivery.name()).0 as f64;
        (done + beside * 10.0) / kind.wanted(delivery) as f64
    };
    let wanted = pairs.filter(|(kind, delivery)| wishes.wants(kind, *delivery));
    let chosen = wanted.min_by(|one, other| share(one.0, one.1).total_cmp(&share(other.0, other.1)))?;
    under_way.push((chosen.0.name, chosen.1));
    Some(chosen)
}

fn median(all: &[u64]) -> u64 {
    let mut sorted = all.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

/// From the clock, and short enough to be typed.
pub fn new_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_nanos() as u64;
    Random::new(now).next_u64() >> 24
}

/// The first SIGINT or SIGTERM lets the trials under way end; the second one ends us.
fn heed_signals(stop: &Arc<AtomicBool>) {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block().expect("signals can be blocked");
    let stop = Arc::clone(stop);
    #[expect(clippy::disallowed_methods, reason = "this is the tests' process; the supervisor is another one")]
    std::thread::spawn(move || {
        signals.wait().expect("signals can be waited for");
        eprintln!("the trials under way end; once more to stop at once");
        stop.store(true, Ordering::SeqCst);
        signals.thread_unblock().expect("signals can be let through");
    });
}
