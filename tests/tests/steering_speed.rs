//! What turning the knobs does to the rate, counted by the broker's clock: a throttle that is kept.

use std::process::ExitCode;
use std::time::Duration;

use whole_program::faults::patience;
use whole_program::multiset::Difference;
use whole_program::scene::Scene;
use whole_program::steering::{distant, window, workers};
use whole_program::suite::{Clusters, Need, ROUND_TRIP, Test, main as run};
use whole_program::timeline::{ARRIVAL, Timeline, millis};
use whole_program::waiting::wait_until;

fn main() -> ExitCode {
    run(&[
        Test { name: "one_record_a_round_trip", needs: Need::Kafka, run: one_record_a_round_trip },
        Test { name: "one_worker_keeps_a_throttle", needs: Need::Kafka, run: |clusters| keep_throttle(clusters, 1) },
        Test { name: "four_workers_keep_a_throttle", needs: Need::Kafka, run: |clusters| keep_throttle(clusters, 4) },
        Test { name: "sixteen_workers_keep_a_throttle", needs: Need::Kafka, run: |clusters| keep_throttle(clusters, 16) },
    ])
}

/// What the other tests stand on: through the proxy, one worker that flushes after each record sends one a round trip.
fn one_record_a_round_trip(clusters: &Clusters) {
    let scene = distant(clusters.distant(), "one", &[("workers.count", "1")]);
    scene.orders(60, 600);
    let report = scene.run(&[]).expect_code(0).json();
    let timeline = Timeline::read(scene.kafka.bootstrap(), &scene.topic);
    let first = timeline.first_from(0).expect("there are records");
    let rate = timeline.rate(first, Duration::from_secs(2));
    println!("one worker, {} ms away: {rate:.0}/s; flush {}", ROUND_TRIP.as_millis(), report["flush"]);
    // A busy machine is slower than its network.
    let bound = 1.0 / ROUND_TRIP.as_secs_f64();
    assert!((0.1 * bound..bound).contains(&rate), "{rate}/s at {ROUND_TRIP:?}");
    scene.program.assert_nothing_left();
}

/// Row 6: 50,000 records a second and then half of it, from the second second after each command on.
fn keep_throttle(clusters: &Clusters, count: u64) {
    let scene = Scene::with_topic(clusters.distant(), &format!("throttle-{count}"), 8, &[ARRIVAL]);
    let workers_count = count.to_string();
    scene.configure(&[("workers.count", &workers_count), ("limits.rate_records", "10_000")]);
    let settled = Duration::from_secs(2);
    let source = scene.orders(63, 75_000 * (settled + window()).as_secs() + 100_000);
    let running = scene.start(&[]);
    wait_until("all workers run", patience(), || workers(&running) == count);
    let mut asked = Vec::new();
    for rate in [50_000, 25_000] {
        asked.push((rate, scene.steer(&["throttle", &rate.to_string()]).asked_ms));
        std::thread::sleep(settled + window());
    }
    scene.steer(&["throttle", "none"]);
    let report = running.finish(patience()).expect_code(0).json();
    assert_eq!(report["workers"]["restarts"], 0, "{report:#}");
    assert_eq!(scene.judge_and_verify(&source), Difference::default());
    let timeline = Timeline::read(scene.kafka.bootstrap(), &scene.topic);
    for (rate, asked_ms) in asked {
        let seen = timeline.rate(asked_ms + millis(settled), window());
        let off = (seen / f64::from(rate) - 1.0) * 100.0;
        println!("throttle: {count} workers, {rate} asked, {seen:.0}/s in {} s ({off:+.1} %)", window().as_secs());
        assert!(off.abs() < 5.0, "{seen}/s, {rate} asked");
    }
    scene.program.assert_nothing_left();
}
