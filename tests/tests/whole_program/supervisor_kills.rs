//! The supervisor killed at seeded moments and run again (row 3): no process stays, nothing is missing, each kill costs
//! at most two chunks of duplicates a worker, a finished shard is never started again, and `status` never says that a
//! dead job runs.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use whole_program::faults::{
    self, CHUNK, WORKERS, await_worth_killing, finished_shards, kills, lines_for_kills, patience, worth_killing,
};
use whole_program::program::Running;
use whole_program::random::Random;
use whole_program::scene::{Scene, assert_balances};
use whole_program::suite::{Clusters, Test};
use whole_program::test;
use whole_program::waiting::wait_until;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Waits, Kafka, a_killed_supervisor_loses_nothing),
    test!(Waits, Kafka, a_killed_single_process_loses_nothing),
    test!(Alone, Kafka, a_second_after_its_kill_no_process_is_left),
];

fn a_killed_supervisor_loses_nothing(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "supervisor-kills");
    // Without a key full groups leave before a chunk ends, so that a kill costs duplicates.
    scene.configure(&faults::keys(&[]));
    let bound = 2 * CHUNK * WORKERS;
    let shards_before_the_last_kill = if kills() >= 10 { 5 } else { 1 };
    kill_and_judge(&scene, &[], bound, shards_before_the_last_kill);
}

fn a_killed_single_process_loses_nothing(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "single-kills");
    // One process has the whole rate, so its chunk takes half a second. In order by key it would have one shard.
    let by_place = [("record.key", "\".customer_id\""), ("shards.by_key", "false")];
    scene.configure(&[&faults::keys(&[])[1..], &by_place].concat());
    kill_and_judge(&scene, &["--single"], 2 * CHUNK, 1);
}

/// The promise of which the others only measure how it was kept.
fn a_second_after_its_kill_no_process_is_left(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "supervisor-gone");
    scene.configure(&faults::slow_keys(&[("workers.count", "4")]));
    scene.orders(9, 100_000);
    for _ in 0..3 {
        let running = scene.start(&[]);
        let committed = scene.acknowledged();
        wait_until("it commits", patience(), || scene.acknowledged() > committed);
        let took = kill_all(&scene, running);
        assert!(took < Duration::from_secs(1), "all processes were gone after {took:?}");
    }
    scene.program.assert_nothing_left();
}

/// Kills the supervisor; how long it took until all of its processes were gone.
fn kill_all(scene: &Scene, running: Running) -> Duration {
    running.signal(Signal::SIGKILL);
    let killed_at = Instant::now();
    assert_eq!(running.finish(patience()).code, 137);
    wait_until("all processes are gone", patience(), || scene.program.processes().is_empty());
    killed_at.elapsed()
}

/// `bound` is for each kill.
fn kill_and_judge(scene: &Scene, words: &[&str], bound: u64, shards_before_the_last_kill: usize) {
    let mut random = Random::seeded(&scene.topic);
    let source = scene.orders(5, lines_for_kills());
    let records = scene.records_of_shards();
    let mut done = std::collections::BTreeMap::new();
    let mut slowest_end = Duration::ZERO;
    for kill in 1..=kills() {
        let mut running = scene.start(words);
        // The last kill waits until enough shards are done; each needs a worker with a committed chunk and more to do.
        wait_until("the run is in the state", patience(), || {
            // Before that the attempts of the run before look like this one's.
            scene.status().is_some_and(|status| status["runs"].as_array().map(Vec::len) == Some(kill as usize))
        });
        let enough = if kill == kills() { shards_before_the_last_kill } else { 0 };
        loop {
            let worth = await_worth_killing(scene, &records, patience());
            assert!(!worth.is_empty() && running.is_running(), "the job ended before kill {kill}: {}", running.stderr());
            // Commits come every two seconds: anywhere between two of them.
            std::thread::sleep(Duration::from_millis(random.between(0, 2000)));
            let status = scene.status().expect("there is a state");
            if finished_shards(&status).len() >= enough && !worth_killing(&status, &records).is_empty() {
                break;
            }
        }
        slowest_end = slowest_end.max(kill_all(scene, running));
        let status = scene.status().expect("the state can be read");
        assert_ne!(status["outcome"], "running", "no process runs after kill {kill}: {status:#}");
        for (shard, attempts) in &done {
            assert_eq!(finished_shards(&status).get(shard), Some(attempts), "shard {shard} had finished: {status:#}");
        }
        done = finished_shards(&status);
    }
    assert!(done.len() >= shards_before_the_last_kill, "{done:?}");
    let rest = ["--set", "limits.rate_records=\"none\""];
    let report = scene.run(&[words, &rest].concat()).expect_code(0).json();
    assert_balances(&report);
    assert_eq!(report["outcome"], "done");
    assert_eq!(report["records"]["acknowledged"], source.len(), "{report:#}");
    assert_eq!(report["runs"].as_array().map(Vec::len), Some(kills() as usize + 1), "{report:#}");
    faults::assert_no_shard_was_repeated(&report);
    let difference = scene.judge_and_verify(&source);
    assert_eq!((difference.missing, difference.unexpected), (0, 0), "{difference:?}");
    assert!(difference.duplicates <= bound * kills(), "{difference:?} after {} kills", kills());
    faults::assert_told(&report, difference.duplicates);
    println!(
        "{}: {} kills, {} shards done before the last, all processes gone after {} ms at most, 0 missing, {} duplicates \
         ({} a kill; the bound is {bound})",
        scene.topic,
        kills(),
        done.len(),
        slowest_end.as_millis(),
        difference.duplicates,
        difference.duplicates / kills(),
    );
    scene.program.assert_nothing_left();
}
