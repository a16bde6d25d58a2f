//! What runs with every change: a trial of each kind with a fixed seed, a short round of mixed faults, and whether the
//! document has the results that are kept.

use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};

use whole_program::chaos::Delivery::{self, AtLeastOnce, ExactlyOnce};
use whole_program::chaos::job::Cluster;
use whole_program::chaos::nemesis;
use whole_program::chaos::source::Source;
use whole_program::chaos::trial::Outcome;
use whole_program::chaos::trials::{KINDS, Needs};
use whole_program::suite::{Clusters, Test};
use whole_program::test;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Works, Nothing, the_table_is_that_of_the_results),
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

static SOURCE: LazyLock<Source> = LazyLock::new(|| Source::new(SEED, LINES));

fn the_table_is_that_of_the_results(_: &Clusters) {
    crate::table::is_up_to_date();
}

/// One of the kinds that go beside each other, on a cluster that goes with this binary.
fn trial(kind: &str, delivery: Delivery) {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    let place = CLUSTER.get_or_init(|| Cluster::start(1)).place(&SOURCE);
    let kind = KINDS.iter().find(|known| known.name == kind && known.needs == Needs::Shared).expect("there is such a kind");
    judge(&(kind.run)(place, delivery, SEED));
}

/// On a cluster of its own, because its broker is ended.
fn mixed_faults(delivery: Delivery) {
    static CLUSTER: Mutex<Option<Cluster>> = Mutex::new(None);
    let mut cluster = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = cluster.get_or_insert_with(|| Cluster::start(1));
    cluster.kafka.heal();
    judge(&nemesis::round(cluster.place(&SOURCE), delivery, SEED, STEPS));
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
