//! Workers killed at seeded moments (row 2): nothing is missing, and each kill costs at most one chunk of duplicates.

use std::time::Duration;

use whole_program::faults::{self, CHUNK, attempts, await_worth_killing, kill_process, kills, lines_for_kills, patience};
use whole_program::multiset::Multiset;
use whole_program::program::Running;
use whole_program::random::Random;
use whole_program::scene::{Scene, assert_balances};
use whole_program::suite::{Clusters, Test};
use whole_program::test;
use whole_program::waiting::wait_until;

/// The tests of this module.
pub const TESTS: &[Test] =
    &[test!(Waits, Kafka, killed_workers_lose_nothing), test!(Waits, Kafka, killed_workers_of_a_gzip_file_lose_nothing)];

fn killed_workers_lose_nothing(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "worker-kills");
    // Without a key full groups leave before a chunk ends, so that a kill costs duplicates.
    scene.configure(&faults::keys(&[]));
    let source = scene.orders(3, lines_for_kills());
    let records = scene.records_of_shards();
    kill_and_judge(&scene, &source, &records);
}

/// By place a compressed file is one shard: always the same worker's successor dies.
fn killed_workers_of_a_gzip_file_lose_nothing(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "worker-kills-gzip");
    scene.configure(&faults::keys(&[("record.key", "\".customer_id\""), ("shards.by_key", "false")]));
    let source = scene.orders_gzip(4, lines_for_kills());
    kill_and_judge(&scene, &source, &[source.len()]);
}

fn kill_and_judge(scene: &Scene, source: &Multiset, records: &[u64]) {
    let mut random = Random::seeded(&scene.topic);
    let running = scene.start(&[]);
    let killed = kill_workers(scene, &running, records, &mut random);
    let report = scene.let_it_end(running).expect_code(0).json();
    assert_balances(&report);
    assert_eq!(report["outcome"], "done");
    assert_eq!(report["records"]["acknowledged"], source.len(), "{report:#}");
    let died = attempts(&report).iter().filter(|attempt| attempt.outcome == "died").count() as u64;
    assert_eq!(died, killed, "each kill is one death: {report:#}");
    assert_eq!(report["workers"]["restarts"], killed);
    faults::assert_no_shard_was_repeated(&report);
    let difference = scene.judge_and_verify(source);
    assert_eq!((difference.missing, difference.unexpected), (0, 0), "{difference:?}");
    assert!(difference.duplicates <= CHUNK * killed, "{difference:?} after {killed} kills");
    faults::assert_told(&report, difference.duplicates);
    println!(
        "{}: {killed} kills in {:.0} s, 0 missing, {} duplicates ({} a kill; the bound is {CHUNK})",
        scene.topic,
        report["elapsed_ms"].as_f64().unwrap_or(0.0) / 1000.0,
        difference.duplicates,
        difference.duplicates / killed,
    );
    scene.program.assert_nothing_left();
}

/// Kills workers, spread over the run, until enough kills counted; returns how many attempts were killed.
fn kill_workers(scene: &Scene, running: &Running, records: &[u64], random: &mut Random) -> u64 {
    let mut killed = 0;
    while killed < kills() {
        let pause = faults::run_time().as_millis() as u64 * 3 / 4 / kills();
        std::thread::sleep(Duration::from_millis(random.between(pause / 4, pause)));
        let worth = await_worth_killing(scene, records, patience());
        assert!(!worth.is_empty(), "the run ended after {killed} kills: {}", running.stderr());
        let victim = random.pick(&worth).clone();
        kill_process(victim.pid);
        let mut outcome = String::new();
        wait_until("the supervisor notices a death", patience(), || {
            let all = attempts(&scene.status().expect("there is a state"));
            let same = |attempt: &&faults::Attempt| attempt.shard == victim.shard && attempt.number == victim.number;
            outcome = all.iter().find(same).expect("an attempt stays in the report").outcome.clone();
            outcome != "running"
        });
        // It may have finished between the look and the kill: that one does not count.
        killed += u64::from(outcome == "died");
    }
    killed
}
