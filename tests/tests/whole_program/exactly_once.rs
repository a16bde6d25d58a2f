//! `kafka.delivery = "exactly-once"`: whatever is killed, a reader of committed records sees each record once, and the
//! job goes on from what Kafka has, not from the disk.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use whole_program::clusters::OtherCluster;
use whole_program::faults::{self, attempts, kill_workers, kills, lines_for_kills, patience};
use whole_program::kafka::Kafka;
use whole_program::multiset::{Difference, Multiset};
use whole_program::murmur2::partition_of;
use whole_program::scene::{Scene, assert_balances};
use whole_program::suite::{Clusters, Test};
use whole_program::test;
use whole_program::topic::{self, Isolation};
use whole_program::waiting::wait_until;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Waits, Kafka, killed_workers_lose_and_repeat_nothing),
    test!(Waits, Kafka, killed_supervisors_lose_and_repeat_nothing),
    test!(Waits, Kafka, progress_that_is_gone_is_no_beginning),
    test!(Waits, Kafka, a_lost_plan_is_no_beginning_and_starting_over_cures_it),
    test!(Waits, Kafka, starting_over_sends_everything_again),
    test!(Waits, Kafka, starting_over_ends_what_runs_elsewhere),
    test!(Waits, Kafka, an_empty_folder_goes_on_and_the_old_one_hears_of_it),
    test!(Waits, Kafka, what_judges_fills_an_empty_folder),
    test!(Waits, Kafka, brokers_of_another_cluster_are_named_as_such),
    test!(Waits, Kafka, letters_in_files_bind_a_job_to_its_folder),
    test!(Waits, Kafka, letters_in_a_topic_go_anywhere_and_what_sent_them_again_does_not),
    test!(Waits, Kafka, letters_may_go_elsewhere_as_long_as_there_are_none),
    test!(Waits, Kafka, two_retries_at_once_send_each_letter_once),
    test!(Waits, Kafka, starting_over_ends_a_retry_that_runs_elsewhere),
    test!(Waits, Kafka, a_plan_says_nothing_that_exactly_once_can_not_do),
    test!(Waits, Kafka, of_two_repairs_at_once_one_sends),
    test!(Outage, Kafka, three_brokers_are_all_that_it_needs),
];

pub const PROGRESS_PARTITIONS: u32 = 4;
/// The state of another machine.
pub const ELSEWHERE: [&str; 2] = ["--set", "job.state_dir=\"elsewhere\""];
const CHUNKS: (&str, &str) = ("workers.chunk", "{ records = 500, interval = \"60s\" }");
/// At full speed.
pub const FAST: [&str; 2] = ["--set", "limits.rate_records=\"none\""];

/// A scene with a progress topic of its own.
pub struct Once<'a> {
    pub scene: Scene<'a>,
    /// Its name.
    pub progress: String,
}

impl<'a> Once<'a> {
    pub fn new(kafka: &'a Kafka, topic: &str, keys: &[(&str, &str)]) -> Self {
        let progress = format!("{topic}-progress");
        kafka.create_topic(&progress, PROGRESS_PARTITIONS, &["cleanup.policy=compact"]);
        let scene = Scene::new(kafka, topic);
        let name = format!("{progress:?}");
        let once = [
            ("kafka.delivery", "\"exactly-once\""),
            ("checkpoint.topic", name.as_str()),
            ("checks.accept", "[\"unreplicated\"]"),
        ];
        scene.configure(&[keys, &once].concat());
        Once { scene, progress }
    }

    /// Runs it until it has committed something, and stops it.
    pub fn begun(&self) -> u64 {
        let running = self.scene.start(&[]);
        self.scene.await_records();
        running.signal(Signal::SIGTERM);
        running.finish(patience()).expect_code(75);
        self.scene.acknowledged()
    }

    /// What a reader of committed records sees, after a check that `verify` sees the same.
    pub fn judge(&self, source: &Multiset) -> Difference {
        let values = topic::values(self.scene.kafka.bootstrap(), &self.scene.topic, Isolation::Committed);
        self.scene.verify_against(source, &values)
    }

    /// The newest value of each key of the progress topic.
    fn progress(&self) -> Vec<(String, Vec<u8>)> {
        let mut newest = std::collections::BTreeMap::new();
        topic::read(self.scene.kafka.bootstrap(), &self.progress, Isolation::Committed, |record| {
            let key = String::from_utf8(record.key.expect("a progress record has a key")).expect("a key is text");
            newest.insert(key, record.value.expect("it has a value"));
        });
        newest.into_iter().collect()
    }
}

fn assert_done(report: &Value, source: &Multiset) {
    assert_balances(report);
    assert_eq!(report["outcome"], "done", "{report:#}");
    assert_eq!(report["records"]["acknowledged"], source.len(), "{report:#}");
    assert_eq!(report["records"]["resent"], 0, "nothing was sent twice as a reader sees it: {report:#}");
}

fn killed_workers_lose_and_repeat_nothing(clusters: &Clusters) {
    let once = Once::new(clusters.one(), "once-workers", &faults::keys(&[]));
    let source = once.scene.orders(51, lines_for_kills());
    let running = once.scene.start(&[]);
    once.scene.await_records();
    let killed = kill_workers(&once.scene, &running, kills());
    let report = once.scene.let_it_end(running).expect_code(0).json();
    assert_done(&report, &source);
    let died = attempts(&report).iter().filter(|attempt| attempt.outcome == "died").count() as u64;
    assert_eq!(died, killed, "{report:#}");
    assert_eq!(once.judge(&source), Difference::default());
    let by_receipts = once.scene.program.run(&["verify", "--receipts", "-o", "json"], patience()).expect_code(0).json();
    assert_eq!((&by_receipts["outcome"], &by_receipts["topic"]["records"]), (&Value::from("same"), &source.len().into()));
    let all = topic::values(once.scene.kafka.bootstrap(), &once.scene.topic, Isolation::Uncommitted);
    println!(
        "once-workers: {killed} kills, 0 missing, 0 duplicates; {} records of aborted transactions",
        all.len() - source.len()
    );
    assert!(all.len() > source.len(), "a kill in mid-chunk leaves what only a reader of all sees");
    once.scene.program.assert_nothing_left();
}

/// The disk is older than Kafka at each kill, and once it is put back by hand.
fn killed_supervisors_lose_and_repeat_nothing(clusters: &Clusters) {
    let key = [("record.key", "\".customer_id\"")];
    let once = Once::new(clusters.one(), "once-supervisors", &faults::keys(&key));
    let source = once.scene.orders(52, lines_for_kills());
    let state = once.scene.program.join(format!(".shardlift/{}", once.scene.topic));
    for kill in 1..=kills() {
        let running = once.scene.start(&[]);
        let committed = once.scene.acknowledged();
        wait_until("something is committed", patience(), || once.scene.acknowledged() > committed);
        if kill == 1 {
            copy(&state, &once.scene.program.join("old"));
        }
        std::thread::sleep(Duration::from_millis(300 * kill));
        running.signal(Signal::SIGKILL);
        assert_eq!(running.finish(patience()).code, 137);
        wait_until("all processes are gone", patience(), || once.scene.program.processes().is_empty());
    }
    std::fs::remove_dir_all(&state).expect("no process uses it");
    std::fs::rename(once.scene.program.join("old"), &state).expect("they are in one folder");
    let report = once.scene.run(&["--set", "limits.rate_records=\"none\""]).expect_code(0).json();
    assert_done(&report, &source);
    assert_eq!(once.judge(&source), Difference::default());
    println!("once-supervisors: {} kills and a state that was put back, 0 missing, 0 duplicates", kills());
    once.scene.program.assert_nothing_left();
}

/// A copy of a folder of files and folders.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir(to).expect("it can be made");
    for entry in std::fs::read_dir(from).expect("it can be read") {
        let entry = entry.expect("it can be read");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("it has one") {
            kind if kind.is_dir() => copy(&entry.path(), &target),
            kind if kind.is_file() => _ = std::fs::copy(entry.path(), &target).expect("it can be copied"),
            // The control socket.
            _ => {}
        }
    }
    std::fs::set_permissions(to, std::fs::metadata(from).expect("it is there").permissions()).expect("it is ours");
}

fn progress_that_is_gone_is_no_beginning(clusters: &Clusters) {
    let once = Once::new(clusters.one(), "once-lost", &faults::slow_keys(&[]));
    once.scene.orders(53, 100_000);
    assert!(once.begun() > 0);
    once.scene.kafka.delete_topic(&once.progress);
    wait_until("it is gone", patience(), || !once.scene.kafka.has_topic(&once.progress));
    once.scene.kafka.create_topic(&once.progress, PROGRESS_PARTITIONS, &["cleanup.policy=compact"]);
    let refused = once.scene.run(&[]).expect_code(4);
    assert!(refused.stderr.contains("has no progress of job once-lost"), "{}", refused.stderr);
    let (_, there) = once.scene.judge(&Multiset::new());
    assert_eq!(once.scene.run(&[]).code, 4);
    assert_eq!(once.scene.judge(&Multiset::new()).1, there, "nothing was sent");
}

/// The plan's records expired, those of shards did not.
fn a_lost_plan_is_no_beginning_and_starting_over_cures_it(clusters: &Clusters) {
    let once = Once::new(clusters.one(), "once-planless", &faults::slow_keys(&[]));
    let source = once.scene.orders(57, 20_000);
    let before = once.begun();
    let is_shard = |(key, _): &(String, Vec<u8>)| key.contains("/shard/");
    let plan = partition_of(b"once-planless/plan/0", PROGRESS_PARTITIONS);
    let ends = once.scene.kafka.end_offsets(&once.progress);
    once.scene.kafka.alter_topic(&once.progress, &["cleanup.policy=compact,delete"]);
    once.scene.kafka.delete_records(&once.progress, plan, ends[plan as usize]);
    once.scene.kafka.alter_topic(&once.progress, &["cleanup.policy=compact"]);
    let shards = once.progress();
    assert!(shards.iter().all(is_shard) && !shards.is_empty(), "progress is left, and no plan: {shards:?}");
    let elsewhere = ["--set", "job.state_dir=\"elsewhere\""];
    for words in [&[][..], &elsewhere] {
        let refused = once.scene.run(words).expect_code(4);
        assert!(refused.stderr.contains("and no plan of it"), "{}", refused.stderr);
    }
    let rest = ["--restart", "--yes", "--set", "limits.rate_records=\"none\""];
    assert_done(&once.scene.run(&rest).expect_code(0).json(), &source);
    let values = topic::values(once.scene.kafka.bootstrap(), &once.scene.topic, Isolation::Committed);
    assert_eq!(values.len(), source.len() + before, "nothing of the first start was taken for the second one's");
    for (key, value) in once.progress().iter().filter(|record| is_shard(record)) {
        let value: Value = serde_json::from_slice(value).expect("it is JSON");
        assert_eq!(value["generation"], 2, "{key}: {value:#}");
    }
}

fn starting_over_sends_everything_again(clusters: &Clusters) {
    let once = Once::new(clusters.one(), "once-over", &faults::slow_keys(&[]));
    let source = once.scene.orders(54, 20_000);
    let before = once.begun();
    let rest = ["--restart", "--yes", "--set", "limits.rate_records=\"none\""];
    let report = once.scene.run(&rest).expect_code(0).json();
    assert_done(&report, &source);
    let values = topic::values(once.scene.kafka.bootstrap(), &once.scene.topic, Isolation::Committed);
    assert_eq!(values.len(), source.len() + before, "what the first start committed is there, too");
    // A run that finds all of it done sends nothing, by the same word of Kafka.
    let report = once.scene.run(&[]).expect_code(0).json();
    assert_done(&report, &source);
    let shard = once.progress().into_iter().find(|(key, _)| key == "once-over/shard/00000").expect("shard 0 has progress");
    let value: Value = serde_json::from_slice(&shard.1).expect("it is JSON");
    assert_eq!((&value["generation"], &value["version"]), (&Value::from(2), &Value::from(1)), "{value:#}");
}

/// Also shards that the older start had not begun, and one that the new start does not have.
fn starting_over_ends_what_runs_elsewhere(clusters: &Clusters) {
    let keys = [("workers.count", "2"), ("shards.target_size", "\"1MiB\""), ("limits.rate_records", "3_000"), CHUNKS];
    let once = Once::new(clusters.one(), "once-ended", &keys);
    let source = once.scene.orders(59, 60_000);
    let older = once.scene.start(&[]);
    once.scene.await_records();
    let new = ["--restart", "--yes", "--set", "shards.target_size=\"4MiB\""];
    let report = once.scene.run(&[&new[..], &ELSEWHERE, &FAST].concat()).expect_code(0).json();
    assert_done(&report, &source);
    let ended = older.finish(patience()).expect_code(4);
    assert!(ended.stderr.contains("the job was started over at another place"), "{}", ended.stderr);
    let values = || topic::values(once.scene.kafka.bootstrap(), &once.scene.topic, Isolation::Committed).len();
    let (known, there) = (once.scene.acknowledged(), values() - source.len());
    assert!((1..source.len() / 2).contains(&known), "it was ended on its way: {known}");
    // Of the last chunk of each of its two workers the answer may have come too late.
    assert!((known..=known + 2 * 500).contains(&there), "{known} known, {there} there");
    once.scene.run(&[]).expect_code(4);
    assert_eq!(values(), source.len() + there, "nothing comes after its end");
    once.scene.program.assert_nothing_left();
}

fn an_empty_folder_goes_on_and_the_old_one_hears_of_it(clusters: &Clusters) {
    let once = Once::new(clusters.one(), "once-elsewhere", &faults::slow_keys(&[]));
    let source = once.scene.orders(55, 60_000);
    let before = once.begun();
    let report = once.scene.run(&[ELSEWHERE, FAST].concat()).expect_code(0).json();
    assert_done(&report, &source);
    // The rate is that of what was sent here; what the killed run committed unheard is from elsewhere, too.
    let here: u64 = attempts(&report).iter().map(|attempt| attempt.committed).sum();
    let elsewhere = report["records"]["elsewhere"].as_u64().expect("it is known");
    assert!(elsewhere >= before && elsewhere + here == source.len(), "{elsewhere} elsewhere, {here} here, {before} before");
    let (rate, ms) = (report["records_per_second"].as_f64().unwrap(), report["elapsed_ms"].as_f64().unwrap());
    assert!((rate * ms / 1000.0 - here as f64).abs() <= ms / 1000.0, "{rate} in {ms} ms, {here} here");
    assert!(once.scene.acknowledged() == before && before < source.len(), "the first folder has its old state");
    // It judges by what Kafka has, not by that.
    let found = once.scene.program.run(&["verify", "-o", "json"], patience()).expect_code(0).json();
    assert_eq!(found["outcome"], "same", "{found:#}");
    assert_eq!(once.scene.acknowledged(), source.len(), "and keeps it");
    let status = once.scene.program.run(&["status"], patience()).expect_code(0).stdout;
    assert!(status.contains(" sent elsewhere ") && status.contains(" sent here "), "{status}");
    // A folder that finds all done has no rate.
    let third = ["--set", "job.state_dir=\"third\"", "--set", "limits.rate_records=\"none\""];
    let done = once.scene.run(&third).expect_code(0).json();
    assert_eq!(done["records"]["elsewhere"], source.len(), "{done:#}");
    assert!(done["records_per_second"].is_null(), "{done:#}");
    // Whether there is more to read only a worker finds out.
    once.scene.program.run(&["verify", "--receipts"], patience()).expect_code(4);
    let report = once.scene.run(&[]).expect_code(0).json();
    assert_eq!(report["records"]["acknowledged"], source.len(), "{report:#}");
    once.scene.program.run(&["verify", "--receipts"], patience()).expect_code(0);
    // A job that was started over is judged where it was.
    once.scene.run(&[&ELSEWHERE[..], &FAST, &["--restart", "--yes"]].concat()).expect_code(0);
    for words in [&["verify"][..], &["run"]] {
        let refused = once.scene.program.run(words, patience()).expect_code(4);
        assert!(refused.stderr.contains("(start 2), and the state here is of start 1"), "{}", refused.stderr);
    }
    once.scene.program.assert_nothing_left();
}

/// Some records that have no key, at the beginning of the source.
pub fn with_letters(once: &Once<'_>, letters: u64) {
    let line = |n: u64| format!("{{\"n\":{n},\"cust\":\"old name\"}}\n");
    once.scene.program.write("data/aa.jsonl", (0..letters).map(line).collect::<String>());
}

pub const KEYED: [(&str, &str); 2] = [("record.key", "\".customer_id\""), ("limits.max_bad_records", "100")];

/// Commands that judge, each in a folder of its own that has no state.
fn what_judges_fills_an_empty_folder(clusters: &Clusters) {
    let keys = [&KEYED[..], &[("dead_letters.to", "\"topic\""), ("shards.by_key", "false")]].concat();
    let once = Once::new(clusters.one(), "once-empty", &keys);
    once.scene.kafka.create_topic("once-empty-dead-letters", 2, &[]);
    let source = once.scene.orders(63, 5_000);
    with_letters(&once, 3);
    let line = |n: u64| format!("{{\"n\":{n},\"customer_id\":\"new\"}}\n");
    once.scene.program.write("mended.jsonl", (0..3).map(line).collect::<String>());
    let at = |folder: &str, words: &[&str], code, said: &str| {
        let place = format!("job.state_dir=\"{folder}\"");
        let finished = once.scene.program.run(&[words, &["--set", &place]].concat(), patience()).expect_code(code);
        assert!(finished.stderr.contains(said), "{words:?}, {said:?}: {}", finished.stderr);
        finished
    };
    let (verify, list, retry) =
        (&["verify"][..], &["dlq", "list", "-o", "json"], &["dlq", "retry", "--edited", "mended.jsonl"]);
    let (receipts, repair) = (&["verify", "--receipts"][..], &["verify", "--repair", "--yes"]);
    for words in [verify, receipts, repair, list, retry] {
        let refused = at("a", words, 4, "once-empty-progress has no progress of it: nothing was sent yet");
        assert!(!refused.stderr.contains("cluster and topic"), "{}", refused.stderr);
    }
    once.scene.run(&[]).expect_code(0);

    at("a", &["status"], 4, "which is not asked here");
    at("a", &["verify", "-b", "127.0.0.1:1", "--set", "kafka.give_up_after=\"1s\""], 75, "no");
    assert!(!once.scene.program.join("a/once-empty/state.sqlite").exists());
    at("a", verify, 0, "the job's state here is what once-empty-progress has of it");
    at("a", &["status"], 0, "");
    assert_eq!(at("b", list, 0, "begun by").json()["set_aside"], 3);
    // Whether there is more to read only a worker finds out.
    at("c", receipts, 4, "is not at its end, as far as is known here");
    at("d", repair, 4, "is not at its end, as far as is known here");
    let report = at("c", &["run", "-o", "json"], 0, "").json();
    assert_eq!(report["records"]["acknowledged"], source.len(), "{report:#}");
    at("c", receipts, 0, "");
    at("d", retry, 0, "3 records of mended.jsonl");
    at("d", verify, 0, "");

    // A folder that was filled has a job that had begun.
    once.scene.kafka.delete_topic(&once.progress);
    wait_until("it is gone", patience(), || !once.scene.kafka.has_topic(&once.progress));
    once.scene.kafka.create_topic(&once.progress, PROGRESS_PARTITIONS, &["cleanup.policy=compact"]);
    at("b", &["run"], 4, "has no progress of job once-empty");
    at("b", verify, 4, "has no progress of job once-empty");
    once.scene.program.assert_nothing_left();
}

/// They have neither the topics nor the progress, which says nothing of the job's own.
fn brokers_of_another_cluster_are_named_as_such(clusters: &Clusters) {
    let keys = [&KEYED[..], &[("dead_letters.to", "\"topic\""), ("shards.by_key", "false")]].concat();
    let once = Once::new(clusters.one(), "once-other", &keys);
    once.scene.kafka.create_topic("once-other-dead-letters", 2, &[]);
    once.scene.orders(64, 1_000);
    with_letters(&once, 3);
    once.scene.run(&[]).expect_code(0);
    let other = OtherCluster::start();
    for words in [
        &["run"][..],
        &["verify"],
        &["verify", "--receipts"],
        &["verify", "--repair", "--yes"],
        &["dlq", "list"],
        &["dlq", "show"],
        &["dlq", "retry"],
    ] {
        let refused = once.scene.program.run(&[words, &["-b", &other.address]].concat(), patience()).expect_code(4);
        let said = &refused.stderr;
        assert!(said.contains("the state of job once-other belongs to another cluster"), "{words:?}: {said}");
        assert!(!said.contains("warning") && !said.contains("WARN"), "{words:?}: nothing else is concluded: {said}");
    }
    other.end();
    once.scene.program.assert_nothing_left();
}

fn letters_in_files_bind_a_job_to_its_folder(clusters: &Clusters) {
    let keys = [&KEYED[..], &[("shards.by_key", "false"), ("workers.count", "1")]].concat();
    let once = Once::new(clusters.one(), "once-bound", &faults::slow_keys(&keys));
    once.scene.orders(56, 60_000);
    with_letters(&once, 3);
    once.scene.program.write("data/zz.jsonl", "{\"n\":4}\n");
    once.begun();
    let elsewhere = once.scene.run(&ELSEWHERE).expect_code(4);
    let said = &elsewhere.stderr;
    assert!(
        said.contains("3 dead letters of job once-bound went to files") && said.contains("dead_letters.to = \"topic\""),
        "{said}"
    );
    for words in [&["verify"][..], &["verify", "--receipts"], &["dlq", "list"], &["dlq", "retry"]] {
        let refused = once.scene.program.run(&[words, &ELSEWHERE].concat(), patience()).expect_code(4);
        for part in ["3 dead letters of job once-bound went to files", "the job was begun by", "bring the folder"] {
            assert!(refused.stderr.contains(part), "{words:?}, {part:?}: {}", refused.stderr);
        }
    }
    let copied = once.scene.program.join("elsewhere/once-bound");
    std::fs::remove_dir_all(copied.join("dead-letters")).ok();
    copy(&once.scene.program.join(".shardlift/once-bound/dead-letters"), &copied.join("dead-letters"));
    once.scene.run(&[ELSEWHERE, FAST].concat()).expect_code(0);
    // The one that was set aside there is not here: its record is not missing.
    for words in [&["verify"][..], &["run"]] {
        let refused = once.scene.program.run(words, patience()).expect_code(4);
        assert!(refused.stderr.contains("1 dead letter of job once-bound went to files"), "{words:?}: {}", refused.stderr);
    }
    once.scene.program.assert_nothing_left();
}

fn letters_in_a_topic_go_anywhere_and_what_sent_them_again_does_not(clusters: &Clusters) {
    let keys = [&KEYED[..], &[("dead_letters.to", "\"topic\""), ("shards.by_key", "false")]].concat();
    let once = Once::new(clusters.one(), "once-anywhere", &faults::slow_keys(&keys));
    once.scene.kafka.create_topic("once-anywhere-dead-letters", 2, &[]);
    let source = once.scene.orders(57, 40_000);
    with_letters(&once, 3);
    once.begun();
    once.scene.run(&[ELSEWHERE, FAST].concat()).expect_code(0);
    let dlq = |words: &[&str], code| once.scene.program.run(&[&["dlq"], words].concat(), patience()).expect_code(code);
    assert_eq!(dlq(&["list", "-o", "json"], 0).json()["dead_letters"], 3);
    once.scene.program.run(&["verify"], patience()).expect_code(0);
    // What is sent again is known where that was begun, and nowhere else.
    once.scene
        .program
        .write("mended.jsonl", (0..3).map(|n| format!("{{\"n\":{n},\"customer_id\":\"new\"}}\n")).collect::<String>());
    let retry = ["retry", "--edited", "mended.jsonl"];
    dlq(&[&retry[..], &ELSEWHERE].concat(), 0);
    for words in
        [&["dlq", "retry"][..], &["dlq", "list"], &["verify"], &["verify", "--receipts"], &["verify", "--repair", "--yes"]]
    {
        let refused = once.scene.program.run(words, patience()).expect_code(4);
        assert!(refused.stderr.contains("once-anywhere.retry-1") && refused.stderr.contains("begun by"), "{}", refused.stderr);
    }
    once.scene.program.run(&[&["verify"][..], &ELSEWHERE].concat(), patience()).expect_code(0);
    let values = topic::values(once.scene.kafka.bootstrap(), &once.scene.topic, Isolation::Committed);
    assert_eq!(values.len(), source.len() + 3, "each record and each mended letter once");
    // A job that starts over has letters of its own, and sends them again as any other.
    once.scene.run(&[&FAST[..], &["--restart", "--yes"]].concat()).expect_code(0);
    assert_eq!(dlq(&["list", "-o", "json"], 0).json()["dead_letters"], 3);
    dlq(&retry, 0);
    once.scene.program.run(&["verify"], patience()).expect_code(0);
    once.scene.program.assert_nothing_left();
}

/// A job that is done in two folders, both of which know its dead letters.
fn with_letters_in_two_folders<'a>(clusters: &'a Clusters, name: &str, letters: u64) -> (Once<'a>, u64) {
    let keys = [
        ("record.key", "\".customer_id\""),
        ("limits.max_bad_records", "10000"),
        ("dead_letters.to", "\"topic\""),
        ("shards.by_key", "false"),
    ];
    let once = Once::new(clusters.one(), name, &faults::keys(&keys));
    once.scene.kafka.create_topic(&format!("{name}-dead-letters"), 2, &[]);
    let source = once.scene.orders(61, 2_000);
    with_letters(&once, letters);
    once.scene.run(&FAST).expect_code(0);
    once.scene.run(&[ELSEWHERE, FAST].concat()).expect_code(0);
    (once, source.len())
}

const AS_THEY_ARE: [&str; 4] = ["dlq", "retry", "--set", "record.on_missing=\"null\""];

/// One of them does, and the other's command, given again as its exit code may ask for, does not begin anew. The folder
/// of the one can be brought to the other.
fn two_retries_at_once_send_each_letter_once(clusters: &Clusters) {
    let (once, records) = with_letters_in_two_folders(clusters, "once-race", 20);
    let program = &once.scene.program;
    let elsewhere = [AS_THEY_ARE.as_slice(), &ELSEWHERE].concat();
    let both = [program.start(&AS_THEY_ARE), program.start(&elsewhere)].map(|running| running.finish(patience()));
    let sent = both.iter().filter(|finished| finished.code == 0).count();
    assert_eq!(sent, 1, "{} {}", both[0].stderr, both[1].stderr);
    let (won, lost) = if both[0].code == 0 { (".shardlift", "elsewhere") } else { ("elsewhere", ".shardlift") };
    let at = |folder: &str| ["--set".to_owned(), format!("job.state_dir={folder:?}")];
    let in_lost = |words: &[&str]| {
        let at = at(lost);
        program.run(&[words, &[at[0].as_str(), &at[1]]].concat(), patience())
    };
    let there = || topic::values(once.scene.kafka.bootstrap(), &once.scene.topic, Isolation::Committed).len();
    for words in [&AS_THEY_ARE[..], &["verify"]] {
        let refused = in_lost(words).expect_code(4);
        assert!(refused.stderr.contains("once-race.retry-1") && refused.stderr.contains("begun by"), "{}", refused.stderr);
    }
    assert_eq!(there(), records + 20, "each letter once");
    let place = |folder: &str| program.join(folder).join("once-race.retry-1");
    std::fs::remove_dir_all(place(lost)).ok();
    copy(&place(won), &place(lost));
    std::fs::remove_dir_all(place(won)).expect("ours");
    in_lost(&["verify"]).expect_code(0);
    in_lost(&["dlq", "list"]).expect_code(0);
    program.assert_nothing_left();
}

fn starting_over_ends_a_retry_that_runs_elsewhere(clusters: &Clusters) {
    const LETTERS: u64 = 3_000;
    let (once, records) = with_letters_in_two_folders(clusters, "once-retried", LETTERS);
    let slowly = [
        &AS_THEY_ARE[..],
        &["--set", "limits.rate_records=100", "--set", "workers.chunk={ records = 100, interval = \"60s\" }"],
    ]
    .concat();
    let there = || topic::values(once.scene.kafka.bootstrap(), &once.scene.topic, Isolation::Committed).len();
    let retry = once.scene.program.start(&slowly);
    wait_until("letters are sent", patience(), || there() > records);
    once.scene.run(&[&ELSEWHERE[..], &FAST, &["--restart", "--yes"]].concat()).expect_code(0);
    let ended = retry.finish(patience()).expect_code(4);
    assert!(ended.stderr.contains("started over"), "{}", ended.stderr);
    assert!(there() < 2 * records + LETTERS, "it was ended on its way");
    once.scene.program.run(&[&AS_THEY_ARE[..], &ELSEWHERE, &FAST].concat(), patience()).expect_code(0);
    // What the old one committed before it was ended is there twice, and nothing else.
    let found = once.scene.program.run(&[&["verify", "-o", "json"][..], &ELSEWHERE].concat(), patience()).json();
    let twice = found["duplicates"].as_u64().expect("a count");
    assert!(found["missing"] == 0 && found["unexpected"] == 0 && twice < LETTERS, "{found:#}");
    once.scene.program.run(&AS_THEY_ARE, patience()).expect_code(4);
    once.scene.program.assert_nothing_left();
}

/// Begun with files, gone on at another machine with a topic: both judge by that from then on.
fn letters_may_go_elsewhere_as_long_as_there_are_none(clusters: &Clusters) {
    const TOPIC: [&str; 2] = ["--set", "dead_letters.to=\"topic\""];
    let keys = [&KEYED[..], &[("shards.by_key", "false"), ("workers.count", "1")]].concat();
    let once = Once::new(clusters.one(), "once-moved", &faults::slow_keys(&keys));
    let letters = "once-moved-dead-letters";
    once.scene.kafka.create_topic(letters, 2, &[]);
    let source = once.scene.orders(60, 60_000);
    once.scene.program.write("data/zz.jsonl", "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
    let running = once.scene.start(&[]);
    once.scene.await_records();
    running.signal(Signal::SIGINT);
    assert_eq!(running.finish(patience()).expect_code(75).json()["records"]["dead_lettered"], 0);
    let said = "dead letters of job once-moved go to topic once-moved-dead-letters from now on";
    let planned = once.scene.program.run(&[&["plan"][..], &TOPIC].concat(), patience()).expect_code(0);
    assert!(planned.stdout.contains(said), "{}", planned.stdout);
    let moved = once.scene.run(&[&TOPIC[..], &ELSEWHERE, &FAST].concat()).expect_code(0);
    assert!(moved.stderr.contains(said) && moved.stderr.contains("none is set aside yet"), "{}", moved.stderr);
    let report = moved.json();
    assert_balances(&report);
    let counts = (&report["records"]["acknowledged"], &report["records"]["dead_lettered"]);
    assert_eq!(counts, (&source.len().into(), &3.into()), "{report:#}");
    let there = topic::all(once.scene.kafka.bootstrap(), letters, Isolation::Committed);
    assert_eq!(there.len(), 3);
    // Where the job began nothing is known of it yet, and now there are letters.
    let refused = once.scene.run(&[]).expect_code(3);
    for part in ["3 records are set aside in topic once-moved-dead-letters", "keep dead_letters.to", "--restart"] {
        assert!(refused.stderr.contains(part), "{part:?}: {}", refused.stderr);
    }
    let listed = once.scene.program.run(&["dlq", "list", "-o", "json"], patience()).expect_code(0).json();
    assert_eq!(listed["set_aside"], 3, "{listed:#}");
    once.scene.run(&TOPIC).expect_code(0);
    once.scene.program.run(&[&["verify"][..], &TOPIC].concat(), patience()).expect_code(0);
    once.scene.program.assert_nothing_left();
}

fn a_plan_says_nothing_that_exactly_once_can_not_do(clusters: &Clusters) {
    let once = Once::new(clusters.one(), "once-planned", &faults::slow_keys(&[]));
    once.scene.orders(61, 20_000);
    let plan = || once.scene.program.run(&["plan", "--set", "workers.count=64"], patience()).expect_code(0).stdout;
    assert!(plan().contains("a worker that dies leaves nothing twice"), "{}", plan());
    once.begun();
    once.scene.program.write("data/zz.jsonl", "{\"n\":1}\n");
    let shown = plan();
    for part in [
        "zz.jsonl: matches the source's paths and is not planned: `run` refuses to go on (exit 7)",
        "it delivers exactly once, so that another job has to send it",
        "for 64 workers: a job that delivers exactly once splits none",
    ] {
        assert!(shown.contains(part), "{part:?} is not in\n{shown}");
    }
    assert!(!shown.contains("run --add"), "{shown}");
    let refused = once.scene.run(&[]).expect_code(7);
    assert!(!refused.stderr.contains("run --add"), "{}", refused.stderr);
}

/// Nothing is accepted: replicas, elections and the transaction log are those of a real cluster.
fn three_brokers_are_all_that_it_needs(clusters: &Clusters) {
    let kafka = clusters.outage_of_three();
    let scene = Scene::new(&kafka, "once-replicated");
    scene.configure(&[
        ("kafka.delivery", "\"exactly-once\""),
        ("checkpoint.topic", "\"once-replicated-progress\""),
        ("record.key", "\".customer_id\""),
    ]);
    let source = scene.orders(62, 20_000);
    let json = |words: &[&str]| scene.program.run(&[words, &["-o", "json"]].concat(), patience()).expect_code(0).json();
    let made = json(&["check", "--create"]);
    assert_eq!((&made["created"], &made["partitions"]), (&true.into(), &16.into()), "{made:#}");
    // The transaction log is there from the first transactional producer on, which the check makes.
    json(&["check"]);
    let checked = json(&["check"]);
    let all = checked["checks"].as_array().expect("a list");
    let levels: Vec<_> = all.iter().filter(|one| one["name"] == "delivery").map(|one| &one["level"]).collect();
    assert!(!levels.is_empty() && levels.iter().all(|level| **level == "ok"), "{checked:#}");
    assert_done(&scene.run(&["--verify"]).expect_code(0).json(), &source);
    assert_eq!(scene.judge_and_verify(&source), Difference::default());
    scene.program.assert_nothing_left();
}

fn of_two_repairs_at_once_one_sends(clusters: &Clusters) {
    let once =
        Once::new(clusters.one(), "once-repaired", &[("record.key", "\".customer_id\""), ("workers.chunk.records", "100")]);
    let source = once.scene.orders(58, 20_000);
    once.scene.run(&[]).expect_code(0);
    copy(&once.scene.program.join(".shardlift"), &once.scene.program.join("elsewhere"));
    once.scene.kafka.delete_records(&once.scene.topic, 1, 2000);
    let repair = ["verify", "--repair", "--yes", "-o", "json"];
    let slow =
        [&repair[..], &["--set", "limits.rate_records=100", "--set", "workers.chunk={ records = 100, interval = \"60s\" }"]]
            .concat();
    let first = once.scene.program.start(&slow);
    let of_repair = || once.progress().into_iter().filter(|(key, _)| key.starts_with("once-repaired.repair-1/shard")).count();
    wait_until("some of it is sent", patience(), || of_repair() > 0);
    // The first one can't send any more from the second one's comparison on.
    let second = once.scene.program.run(&[&repair[..], &ELSEWHERE].concat(), patience()).expect_code(0).json();
    assert_eq!((&second["missing"], &second["duplicates"]), (&0.into(), &0.into()), "{second:#}");
    let first = first.finish(patience());
    assert!(first.code != 0, "{}", first.stderr);
    assert_eq!(once.judge(&source), Difference::default());
    once.scene.program.run(&repair, patience()).expect_code(0);
    once.scene.program.assert_nothing_left();
}
