//! A running job turned from other terminals: scaled, paused, throttled, by two clients at once, with workers killed
//! among it. Whatever is asked, the topic has every record, and only a kill costs duplicates.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use whole_program::faults::{CHUNK, RATE, kill_process, kills, lines, patience, run_time};
use whole_program::multiset::Difference;
use whole_program::program::Running;
use whole_program::random::Random;
use whole_program::scene::{Scene, assert_balances};
use whole_program::steering::{Answer, commands, pause, random_command, workers};
use whole_program::suite::{Clusters, Test};
use whole_program::test;
use whole_program::timeline::{ARRIVAL, Timeline, millis, now_ms};
use whole_program::waiting::wait_until;

/// Between two commands of one client, at most.
const BETWEEN_MS: u64 = 300;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Waits, Kafka, two_eight_one_four_workers),
    test!(Waits, Kafka, random_commands_of_two_clients),
    test!(Waits, Kafka, random_commands_and_killed_workers),
    test!(Waits, Kafka, a_long_pause_is_quiet_and_harmless),
    test!(Alone, Kafka, what_is_asked_is_so_within_a_second),
];

/// What is promised of each command.
const A_SECOND: Duration = Duration::from_secs(1);
/// For the display of the system's processes.
const TO_SHOW: Duration = Duration::from_millis(500);

/// The job whose workers are counted: a chunk is a second.
const SCALED: [(&str, &str); 4] = [
    ("workers.count", "2"),
    ("workers.chunk", "{ interval = \"1s\" }"),
    ("shards.target_size", "\"1MiB\""),
    ("limits.rate_records", "10_000"),
];

/// Row 1 without its times.
fn two_eight_one_four_workers(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "scaled");
    scene.configure(&SCALED);
    let source = scene.orders(51, lines());
    let running = scene.start(&[]);
    wait_until("two workers run", patience(), || workers(&running) == 2);
    stay_at_most(&running, 2, run_time() / 6, patience());
    let mut times = Vec::new();
    for asked in [8, 1, 4] {
        let answer = scene.steer(&["scale", &asked.to_string()]);
        assert_eq!(answer.number("asked"), asked, "{:#}", answer.json);
        wait_until("the asked count runs", patience(), || workers(&running) == asked);
        times.push(format!("{asked} after {} ms", now_ms() - answer.asked_ms));
        stay_at_most(&running, asked, run_time() / 6, patience());
    }
    let report = scene.let_it_end(running).expect_code(0).json();
    assert_balances(&report);
    assert_eq!(report["records"]["acknowledged"], source.len(), "{report:#}");
    assert_eq!(report["records"]["resent"], 0, "{report:#}");
    assert_eq!(report["workers"]["restarts"], 0, "{report:#}");
    assert_eq!(scene.judge_and_verify(&source), Difference::default());
    println!("scaled: {}; 0 missing, 0 duplicates of {}", times.join(", "), source.len());
    scene.program.assert_nothing_left();
}

/// Rows 1 and 7 with their times: an asked count of workers runs within a second, or a chunk if it is less; it stays; a
/// second after a pause was answered no record comes, and a second after its end one does.
fn what_is_asked_is_so_within_a_second(clusters: &Clusters) {
    let scene = Scene::with_topic(clusters.one(), "scaled-paused", 8, &[ARRIVAL]);
    scene.configure(&SCALED);
    scene.orders(54, RATE * 10);
    let running = scene.start(&[]);
    wait_until("two workers run", patience(), || workers(&running) == 2);
    for asked in [8, 1, 4] {
        scene.steer(&["scale", &asked.to_string()]);
        wait_until("the asked count runs", A_SECOND + TO_SHOW, || workers(&running) == asked);
        stay_at_most(&running, asked, 2 * A_SECOND, A_SECOND);
    }
    let paused = scene.steer(&["pause"]);
    std::thread::sleep(2 * A_SECOND);
    let going_on = scene.steer(&["continue"]);
    std::thread::sleep(A_SECOND);
    scene.let_it_end(running).expect_code(0);
    let (last, first) = around_pause(&scene, &paused, &going_on);
    assert!(last < millis(A_SECOND), "a record came {last} ms after the pause was taken");
    assert!(first < millis(A_SECOND), "the first record came {first} ms after the job was told to go on");
    scene.program.assert_nothing_left();
}

/// By how many milliseconds the last record of a pause came after it was answered, and the first one after its end was
/// asked for.
fn around_pause(scene: &Scene, paused: &Answer, going_on: &Answer) -> (i64, i64) {
    let timeline = Timeline::read(scene.kafka.bootstrap(), &scene.topic);
    let last = timeline.last_before(going_on.asked_ms).expect("records came before the pause") - paused.answered_ms;
    let first = timeline.first_from(going_on.asked_ms).expect("records came after the pause") - going_on.asked_ms;
    (last, first)
}

/// Looks at the workers for a while: never more than this number, and this number at some moment of each `within`.
fn stay_at_most(running: &Running, asked: u64, time: Duration, within: Duration) {
    let start = Instant::now();
    let mut seen = Instant::now();
    while start.elapsed() < time {
        let count = workers(running);
        assert!(count <= asked, "{count} workers, {asked} are asked");
        if count == asked {
            seen = Instant::now();
        }
        assert!(seen.elapsed() < within, "{count} workers for {within:?}, {asked} are asked");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Row 2.
fn random_commands_of_two_clients(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "commands");
    let difference = turn_and_judge(&scene, 0);
    assert_eq!(difference, Difference::default());
}

/// Row 3.
fn random_commands_and_killed_workers(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "commands-kills");
    let difference = turn_and_judge(&scene, kills());
    assert_eq!((difference.missing, difference.unexpected), (0, 0), "{difference:?}");
    assert!(difference.duplicates <= CHUNK * kills(), "{difference:?} after {} kills", kills());
}

/// Two clients turn a job at random while workers are killed; then it runs to its end.
fn turn_and_judge(scene: &Scene, kills: u64) -> Difference {
    scene.configure(&[
        ("workers.count", "4"),
        ("workers.chunk", "{ records = 10_000, interval = \"60s\" }"),
        ("workers.restart", "{ max_without_progress = 20, backoff = \"100ms..1s\" }"),
        ("shards.target_size", "\"1MiB\""),
        ("limits.rate_records", "10_000"),
    ]);
    // Twice what the limits let through while commands are given, and more: a busy machine takes its time over each.
    let source = scene.orders(52, RATE * (10 + commands() * BETWEEN_MS / 1000));
    let mut random = Random::seeded(&scene.topic);
    let running = scene.start(&[]);
    wait_until("workers run", patience(), || workers(&running) > 0);
    let seeds = [random.next_u64(), random.next_u64()];
    let killed = std::thread::scope(|scope| {
        let clients: Vec<_> =
            seeds.iter().map(|seed| scope.spawn(|| turn(scene, &mut Random::new(*seed), commands() / 2))).collect();
        let killer = scope.spawn(|| kill_some(&running, &mut random, kills));
        let given: u64 = clients.into_iter().map(|client| client.join().expect("every command is taken")).sum();
        assert_eq!(given, commands() / 2 * 2);
        killer.join().expect("workers can be killed")
    });
    assert_eq!(killed, kills, "as many as were asked for");
    let standing = scene.status().expect("there is a state");
    assert_eq!(standing["outcome"], "running", "the run was over too soon: {standing:#}");
    scene.steer(&["throttle", "none", "--bytes", "none"]);
    scene.steer(&["scale", "4"]);
    scene.steer(&["continue"]);
    let report = running.finish(patience()).expect_code(0).json();
    assert_balances(&report);
    assert_eq!(report["outcome"], "done");
    assert_eq!(report["records"]["acknowledged"], source.len(), "{report:#}");
    assert_eq!(report["shards"]["quarantined"], 0, "{report:#}");
    let difference = scene.judge_and_verify(&source);
    println!(
        "{}: {} commands, {kills} kills in {:.0} s, {} shards, {} missing, {} duplicates of {}",
        scene.topic,
        commands() / 2 * 2,
        report["elapsed_ms"].as_f64().unwrap_or(0.0) / 1000.0,
        report["shards"]["total"],
        difference.missing,
        difference.duplicates,
        source.len(),
    );
    scene.program.assert_nothing_left();
    difference
}

/// Gives a number of random commands; each must be taken.
fn turn(scene: &Scene, random: &mut Random, commands: u64) -> u64 {
    for _ in 0..commands {
        let words = random_command(random);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        scene.steer(&words);
        std::thread::sleep(Duration::from_millis(random.between(0, BETWEEN_MS)));
    }
    commands
}

/// Kills this number of workers, spread over the time of the commands; a fast machine's may be over before the last
/// kill.
fn kill_some(running: &Running, random: &mut Random, kills: u64) -> u64 {
    let apart = commands() * BETWEEN_MS / 4 / (kills + 1);
    let start = Instant::now();
    let mut killed = 0;
    while killed < kills && start.elapsed() < patience() {
        std::thread::sleep(Duration::from_millis(random.between(apart / 2, apart)));
        let children = running.children();
        let alive: Vec<u32> = children
            .iter()
            .filter(|child| child.name.starts_with("shard ") && child.state != 'Z')
            .map(|child| child.pid)
            .collect();
        if !alive.is_empty() {
            killed += u64::from(kill_process(*random.pick(&alive)));
        }
    }
    killed
}

/// Row 7.
fn a_long_pause_is_quiet_and_harmless(clusters: &Clusters) {
    let scene = Scene::with_topic(clusters.one(), "paused", 8, &[ARRIVAL]);
    // Much less than the pause, and more than any machine keeps a worker from its processor.
    let heartbeat = format!("\"{}s\"", (pause().as_secs() / 6).max(5));
    scene.configure(&[
        ("workers.count", "4"),
        ("workers.heartbeat_timeout", &heartbeat),
        // By itself a plan has a shard for each worker: none ends before the pause.
        ("limits.rate_records", "5_000"),
    ]);
    let source = scene.orders(53, RATE * 10);
    let running = scene.start(&[]);
    wait_until("four workers run", patience(), || workers(&running) == 4);
    scene.await_records();
    let pids = || {
        let children = running.children();
        children.iter().filter(|child| child.name.starts_with("shard ")).map(|child| child.pid).collect::<BTreeSet<u32>>()
    };
    let workers_before = pids();
    assert_eq!(workers_before.len(), 4);
    let paused = scene.steer(&["pause"]);
    assert_eq!(paused.json["paused"], true, "{:#}", paused.json);
    std::thread::sleep(pause());
    assert_eq!(workers_before, pids(), "the same workers wait");
    let going_on = scene.steer(&["continue"]);
    assert_eq!(going_on.json["paused"], false, "{:#}", going_on.json);
    let report = scene.let_it_end(running).expect_code(0).json();
    assert_eq!(report["workers"]["restarts"], 0, "{report:#}");
    // What was on its way to a busy broker may still arrive; how long that takes is judged without other tests.
    let (last, first) = around_pause(&scene, &paused, &going_on);
    assert!(last < millis(pause()) / 2, "a record came {last} ms after the pause was taken");
    assert_eq!(scene.judge_and_verify(&source), Difference::default());
    println!(
        "paused: {} s, the last record {last} ms after it was taken, the first {first} ms after its end",
        pause().as_secs()
    );
    scene.program.assert_nothing_left();
}
