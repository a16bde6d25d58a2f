//! What turning the knobs does to the rate, counted by the broker's clock: more workers at a distance, a shard that is
//! split, a throttle that is kept. What compares rates needs a quiet machine and belongs to the night.

use std::time::Duration;

use nix::sys::signal::Signal;
use whole_program::clusters::ROUND_TRIP;
use whole_program::faults::patience;
use whole_program::multiset::Difference;
use whole_program::program::Running;
use whole_program::scene::{Scene, assert_balances};
use whole_program::steering::{distant, finish_nearby, workers};
use whole_program::suite::{Clusters, Test};
use whole_program::test;
use whole_program::timeline::{ARRIVAL, Timeline, millis};
use whole_program::waiting::wait_until;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Nightly, Kafka, one_record_a_round_trip),
    test!(Nightly, Kafka, sixteen_workers_at_a_distance),
    test!(Waits, Kafka, auto_finds_more_workers_than_processors),
    test!(Nightly, Kafka, the_last_shard_is_split),
    test!(Waits, Kafka, a_shard_is_split_for_more_workers),
    test!(Waits, Kafka, a_split_job_goes_on_after_a_kill),
    test!(Nightly, Kafka, "one_worker_keeps_a_throttle", |clusters| keep_throttle(clusters, 1, 50_000)),
    test!(Nightly, Kafka, "four_workers_keep_a_throttle", |clusters| keep_throttle(clusters, 4, 50_000)),
    test!(Light, Kafka, "a_throttle_is_kept", |clusters| keep_throttle(clusters, 4, 10_000)),
    test!(Nightly, Kafka, "sixteen_workers_keep_a_throttle", |clusters| keep_throttle(clusters, 16, 50_000)),
];

/// A rate is counted over a window of this length.
const WINDOW: Duration = Duration::from_secs(10);

/// Of a job that waits, `auto` makes more workers than there are processors, up to `workers.max`; each try is an event,
/// and none of them costs or repeats a record.
fn auto_finds_more_workers_than_processors(clusters: &Clusters) {
    let processors = std::thread::available_parallelism().expect("their number").get() as u64;
    let most = (4 * processors).to_string();
    let scene = distant(clusters.distant(), "auto", &[("workers.count", "\"auto\""), ("workers.max", &most)]);
    let source = scene.orders(64, 6_000 * processors);
    let running = scene.start(&[]);
    wait_until("four times as many workers run", patience(), || workers(&running) == 4 * processors);
    let report = scene.let_it_end(running).expect_code(0).json();
    assert_balances(&report);
    assert_eq!((&report["records"]["resent"], &report["workers"]["restarts"]), (&0.into(), &0.into()), "{report:#}");
    let turns = report["steering"].as_array().expect("turns");
    let texts: Vec<&str> = turns.iter().filter_map(|turn| turn["text"].as_str()).collect();
    println!("auto: {texts:?}");
    assert_eq!(texts[0], format!("auto: {processors} -> {} workers", 2 * processors));
    assert!(texts[1].starts_with(&format!("auto: {} -> {most} workers: {} brought ", 2 * processors, 2 * processors)));
    assert_eq!(scene.judge_and_verify(&source), Difference::default());
    scene.program.assert_nothing_left();
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

/// A fresh JVM answers each request slower than any network: some ten thousand requests without the distance.
fn warm_up(clusters: &Clusters) {
    let scene = Scene::new(clusters.distant(), "warm-up");
    scene.configure(&[("workers.flush", "\"record\""), ("workers.count", "4")]);
    scene.orders(59, 30_000);
    scene.run(&[]).expect_code(0);
}

/// Row 4.
fn sixteen_workers_at_a_distance(clusters: &Clusters) {
    warm_up(clusters);
    let scene = distant(clusters.distant(), "sixteen", &[("workers.count", "2"), ("shards.target_size", "\"256KiB\"")]);
    let source = scene.orders(61, 80_000);
    let running = scene.start(&[]);
    wait_until("two workers run", patience(), || workers(&running) == 2);
    std::thread::sleep(Duration::from_secs(1) + WINDOW);
    let answer = scene.steer(&["scale", "16"]);
    std::thread::sleep(Duration::from_secs(3) + WINDOW);
    let report = finish_nearby(&scene, running);
    assert_eq!(report["workers"]["restarts"], 0, "{report:#}");
    assert_eq!(scene.judge_and_verify(&source), Difference::default());
    let timeline = Timeline::read(scene.kafka.bootstrap(), &scene.topic);
    let before = timeline.rate(answer.asked_ms - millis(WINDOW), WINDOW);
    let after = timeline.rate(answer.asked_ms + 3000, WINDOW);
    let half_seconds = timeline.rates(answer.asked_ms, answer.asked_ms + 4000, Duration::from_millis(500));
    println!("sixteen: {before:.0}/s -> {after:.0}/s ({:.1} times); each half second: {half_seconds:.0?}", after / before);
    let one = 1.0 / ROUND_TRIP.as_secs_f64();
    assert!(before < 2.0 * one, "{before}/s: two workers can't be faster than the round trip");
    assert!(before > 1.4 * one, "{before}/s: the machine is too busy for this test");
    assert!(after >= 7.0 * before, "{after}/s after, {before}/s before");
    scene.program.assert_nothing_left();
}

/// Row 5.
fn the_last_shard_is_split(clusters: &Clusters) {
    let scene = distant(clusters.distant(), "split", &[("workers.count", "1"), ("shards.target_size", "\"1GiB\"")]);
    let source = scene.orders(62, 10_000);
    let running = scene.start(&[]);
    wait_until("one worker runs", patience(), || workers(&running) == 1);
    std::thread::sleep(Duration::from_secs(2));
    let answer = scene.steer(&["scale", "8"]);
    let report = running.finish(patience()).expect_code(0).json();
    assert_balances(&report);
    assert_eq!(report["workers"]["restarts"], 0, "{report:#}");
    assert!(report["shards"]["total"].as_u64() >= Some(8), "{report:#}");
    assert_eq!(scene.judge_and_verify(&source), Difference::default());
    let timeline = Timeline::read(scene.kafka.bootstrap(), &scene.topic);
    let rest = timeline.count(answer.asked_ms, i64::MAX);
    let end = timeline.last_before(i64::MAX).expect("there are records");
    // The fastest that one worker can be, on any machine.
    let alone = 1.0 / ROUND_TRIP.as_secs_f64();
    let (took, without) = ((end - answer.asked_ms) as f64 / 1000.0, rest as f64 / alone);
    println!(
        "split: {rest} of {} left, {} shards; {took:.1} s with eight workers, {without:.1} s with one ({alone:.0}/s): {:.1} times",
        source.len(),
        report["shards"]["total"],
        without / took
    );
    assert!(without >= 4.0 * took, "{took} s with eight, {without} s with one");
    scene.program.assert_nothing_left();
}

/// One shard that lasts: a worker that flushes each record at a distance is slow by the network, so that more of them
/// help. A throttle would not do: a shard that the job's limit holds back is not split.
const ONE_SLOW_SHARD: [(&str, &str); 3] =
    [("workers.count", "1"), ("shards.target_size", "\"1GiB\""), ("workers.chunk", "{ records = 50 }")];

fn acknowledged(scene: &Scene) -> u64 {
    scene.status().map_or(0, |status| status["records"]["acknowledged"].as_u64().expect("a number"))
}

/// Starts the job of one slow shard and asks for eight workers, which then work on its pieces.
fn split_for_eight(scene: &Scene) -> Running {
    let running = scene.start(&[]);
    wait_until("it has recorded something", patience(), || acknowledged(scene) > 0);
    scene.steer(&["scale", "8"]);
    wait_until("eight work on the pieces", patience(), || workers(&running) == 8);
    running
}

/// Row 5 without its time: each piece is sent once.
fn a_shard_is_split_for_more_workers(clusters: &Clusters) {
    let scene = distant(clusters.distant(), "split-short", &ONE_SLOW_SHARD);
    let source = scene.orders(65, 20_000);
    let running = split_for_eight(&scene);
    let report = finish_nearby(&scene, running);
    assert_balances(&report);
    assert_eq!((&report["workers"]["restarts"], &report["records"]["resent"]), (&0.into(), &0.into()), "{report:#}");
    assert!(report["shards"]["total"].as_u64() >= Some(8), "{report:#}");
    assert_eq!(scene.judge_and_verify(&source), Difference::default());
    scene.program.assert_nothing_left();
}

/// The supervisor is killed while the pieces of a split shard are under way: the next run knows the pieces and how far
/// each is.
fn a_split_job_goes_on_after_a_kill(clusters: &Clusters) {
    const CHUNK: u64 = 50;
    const WORKERS: u64 = 8;
    let scene = distant(clusters.distant(), "split-kill", &ONE_SLOW_SHARD);
    let source = scene.orders(64, 20_000);
    let running = split_for_eight(&scene);
    running.signal(Signal::SIGKILL);
    assert_eq!(running.finish(patience()).code, 137);
    wait_until("the workers are gone too", patience(), || scene.program.processes().is_empty());
    let left = scene.status().expect("there is a state");
    assert!(left["shards"]["total"].as_u64() >= Some(WORKERS), "{left:#}");
    assert!(left["records"]["acknowledged"].as_u64() < Some(source.len()), "the kill came before the end: {left:#}");
    scene.configure(&[]);
    let report = scene.run(&["-w", "8"]).expect_code(0).json();
    assert_balances(&report);
    assert_eq!(report["records"]["acknowledged"], source.len());
    let difference = scene.judge_and_verify(&source);
    println!("split and killed: {} shards, {difference:?} of {}", report["shards"]["total"], source.len());
    assert_eq!((difference.missing, difference.unexpected), (0, 0));
    // The open chunk, and one that was delivered and not yet recorded.
    assert!(difference.duplicates <= 2 * CHUNK * WORKERS, "{difference:?}");
    scene.program.assert_nothing_left();
}

/// A throttle is kept over windows of this length: in shorter ones a second's chunk is some per cent.
const KEPT_OVER: Duration = Duration::from_secs(10);

/// Row 6: a number of records a second and then half of them, from the second second after each command on. A busy
/// machine has no processor for 50,000 records a second, hence less of them in the short form.
fn keep_throttle(clusters: &Clusters, count: u64, most: u64) {
    let scene = Scene::with_topic(clusters.one(), &format!("throttle-{count}-{most}"), 8, &[ARRIVAL]);
    let workers_count = count.to_string();
    scene.configure(&[("workers.count", &workers_count), ("limits.rate_records", "5_000")]);
    let settled = Duration::from_secs(2);
    let source = scene.orders(63, (most + most / 2) * (settled + KEPT_OVER).as_secs() + most * 2);
    let running = scene.start(&[]);
    wait_until("all workers run", patience(), || workers(&running) == count);
    let mut asked = Vec::new();
    for rate in [most, most / 2] {
        asked.push((rate, scene.steer(&["throttle", &rate.to_string()]).asked_ms));
        std::thread::sleep(settled + KEPT_OVER);
    }
    scene.steer(&["throttle", "none"]);
    let report = running.finish(patience()).expect_code(0).json();
    assert_eq!(report["workers"]["restarts"], 0, "{report:#}");
    assert_eq!(scene.judge_and_verify(&source), Difference::default());
    let timeline = Timeline::read(scene.kafka.bootstrap(), &scene.topic);
    for (rate, asked_ms) in asked {
        let seen = timeline.rate(asked_ms + millis(settled), KEPT_OVER);
        let off = (seen / rate as f64 - 1.0) * 100.0;
        println!("throttle: {count} workers, {rate} asked, {seen:.0}/s in {} s ({off:+.1} %)", KEPT_OVER.as_secs());
        assert!(off.abs() < 5.0, "{seen}/s, {rate} asked");
    }
    scene.program.assert_nothing_left();
}
