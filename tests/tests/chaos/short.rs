//! What runs with every change: a trial of each kind with a fixed seed, a short round of mixed faults, and whether the
//! document has the results that are kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use whole_program::chaos::Delivery::{self, AtLeastOnce, ExactlyOnce};
use whole_program::chaos::job::{Cluster, Job, Place, Shape, await_workers};
use whole_program::chaos::nemesis;
use whole_program::chaos::source::Source;
use whole_program::chaos::trial::{Outcome, Trial};
use whole_program::chaos::trials::{KINDS, Needs, with_faults};
use whole_program::suite::{Clusters, Test};
use whole_program::test;

use crate::results;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Works, Nothing, the_table_is_that_of_the_results),
    test!(Works, Nothing, what_is_tested_is_named_by_its_commit),
    test!(Waits, Kafka, a_trial_that_panics_keeps_what_tells_of_it),
    test!(Outage, Kafka, "mixed_faults_at_least_once", |_| mixed_faults(AtLeastOnce)),
    test!(Outage, Kafka, "mixed_faults_exactly_once", |_| mixed_faults(ExactlyOnce)),
    test!(Waits, Kafka, "worker_kills_exactly_once", |_| trial("worker-kills", ExactlyOnce)),
    test!(Waits, Kafka, "supervisor_kills_exactly_once", |_| trial("supervisor-kills", ExactlyOnce)),
    test!(Waits, Kafka, "zombies_exactly_once", |_| trial("zombies", ExactlyOnce)),
    test!(Waits, Kafka, "two_machines_exactly_once", |_| trial("two-machines", ExactlyOnce)),
    test!(Waits, Kafka, "late_ends_exactly_once", |_| trial("late-ends", ExactlyOnce)),
    test!(Waits, Kafka, "worker_kills_at_least_once", |_| trial("worker-kills", AtLeastOnce)),
    test!(Waits, Kafka, "supervisor_kills_at_least_once", |_| trial("supervisor-kills", AtLeastOnce)),
    test!(Waits, Kafka, "double_starts_at_least_once", |_| trial("double-starts", AtLeastOnce)),
    test!(Waits, Kafka, "stopped_workers_at_least_once", |_| trial("stopped-workers", AtLeastOnce)),
    test!(Waits, Kafka, "signals_at_least_once", |_| trial("signals", AtLeastOnce)),
    test!(Waits, Kafka, "full_disks_at_least_once", |_| trial("disk-full", AtLeastOnce)),
    test!(Waits, Kafka, "changed_sources_at_least_once", |_| trial("source-changed", AtLeastOnce)),
];

/// Lines of the dataset: a few seconds of each job.
const LINES: u64 = 100_000;
const SEED: u64 = 17;
/// Faults of the short round of mixed ones.
const STEPS: usize = 5;

static SOURCE: OnceLock<Source> = OnceLock::new();

fn source() -> &'static Source {
    SOURCE.get_or_init(|| Source::new(SEED, LINES))
}

/// Removes the dataset: what a static owns is never dropped.
pub fn clean_up() {
    if let Some(folder) = SOURCE.get().and_then(|source| source.path().parent().map(Path::to_owned)) {
        let _ = fs::remove_dir_all(folder);
    }
}

fn the_table_is_that_of_the_results(_: &Clusters) {
    crate::table::is_up_to_date();
}

fn what_is_tested_is_named_by_its_commit(_: &Clusters) {
    let git =
        |status: &'static str| move |words: &[&str]| Some(if words[0] == "status" { status } else { "0123abc\n" }.to_owned());
    assert_eq!(results::commit(None, false, git("")).as_deref(), Ok("0123abc"));
    assert_eq!(results::commit(None, false, git(" M crates/cli/src/main.rs\n")).as_deref(), Ok("0123abc-dirty"));
    assert_eq!(results::commit(Some("v1.2"), true, git("")).as_deref(), Ok("v1.2"));
    assert!(results::commit(None, true, git("")).is_err_and(|error| error.contains("SHARDLIFT_COMMIT")), "another build");
    assert!(results::commit(Some(" "), true, git("")).is_err());
    assert!(results::commit(None, false, |_| None).is_err_and(|error| error.contains("SHARDLIFT_COMMIT")), "no git");
}

/// As one that hangs does: what waits for it panics. Not with exactly-once, whose open transactions would keep the
/// others waiting.
fn a_trial_that_panics_keeps_what_tells_of_it(_: &Clusters) {
    let place = shared();
    let mut folder = PathBuf::new();
    let nothing = Outcome::nothing("signals", AtLeastOnce, SEED, 1, source().len());
    let outcome = nothing.of(|| {
        let shape = Shape {
            delivery: AtLeastOnce,
            keyed: false,
            chunk: 1_000,
            through_network: false,
            workers: 2,
            shard: "1MiB",
            rate: Some(1_000),
            more: Vec::new(),
        };
        let trial = Trial::begin("signals", SEED, Job::new(place, "trial-that-panics", shape));
        folder = trial.job.program.folder().to_owned();
        let mut running = trial.job.start(1);
        assert!(await_workers(&mut running, Duration::from_secs(60)), "{}", running.stderr());
        panic!("something was waited for in vain")
    });
    assert_eq!(outcome.wrong, ["it panicked: something was waited for in vain"]);
    let told = fs::read_to_string(folder.join("outcome.txt")).expect("what is known is kept");
    assert!(told.contains("it panicked") && told.contains("shard "), "outcome and processes: {told}");
    for kept in ["orchestrator.toml", "state-1", "all.txt", "committed.txt"] {
        assert!(folder.join(kept).exists(), "{kept} is kept");
    }
    place.kafka.delete_topic("trial-that-panics");
    fs::remove_dir_all(&folder).expect("it is ours");
}

/// The cluster of the kinds that go beside each other. It goes with this binary.
fn shared() -> Place<'static> {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(1)).place(source())
}

/// One of those kinds.
fn trial(kind: &str, delivery: Delivery) {
    let place = shared();
    let kind = KINDS.iter().find(|known| known.name == kind && known.needs == Needs::Shared).expect("there is such a kind");
    judge(&with_faults(SEED, |seed| (kind.run)(place, delivery, seed)));
}

/// On a cluster of its own, because its broker is ended.
fn mixed_faults(delivery: Delivery) {
    static CLUSTER: Mutex<Option<Cluster>> = Mutex::new(None);
    let mut cluster = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = cluster.get_or_insert_with(|| Cluster::start(1));
    cluster.kafka.heal();
    judge(&with_faults(SEED, |seed| nemesis::round(cluster.place(source()), delivery, seed, STEPS)));
}

fn judge(outcome: &Outcome) {
    assert!(outcome.wrong.is_empty(), "{outcome:#?}");
    println!(
        "{} {} seed {}: {} faults, {} lost, {} twice, {:.1} s",
        outcome.kind,
        outcome.delivery.name(),
        outcome.seed,
        outcome.faults,
        outcome.lost,
        outcome.twice,
        outcome.seconds
    );
}
