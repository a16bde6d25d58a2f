//! A topic that changes under a job: deleted, made again, with more partitions. The job notices before it says "done",
//! and no record goes to another topic or to another partition than its plan says.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;
use whole_program::faults::patience;
use whole_program::multiset::{Difference, Multiset};
use whole_program::murmur2;
use whole_program::program::Finished;
use whole_program::scene::Scene;
use whole_program::suite::{Clusters, Test};
use whole_program::test;
use whole_program::waiting::wait_until_still;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Waits, Kafka, a_topic_made_again_in_a_pause_gets_no_record),
    test!(Waits, Kafka, "a_topic_made_again_in_a_pause_gets_no_record_of_a_single_process", |clusters| {
        made_again_in_a_pause(clusters, "again-paused-single", &["--single"])
    }),
    test!(Waits, Kafka, a_topic_made_again_just_before_the_end_is_no_success),
    test!(Waits, Kafka, added_partitions_stop_a_job_with_keys),
    test!(Waits, Kafka, added_partitions_are_told_where_no_key_is_concerned),
];

/// Lines of these tests, each with one of fifty keys.
const LINES: usize = 12_000;
/// Partitions when the job begins, and after some were added.
const PARTITIONS: (u32, u32) = (3, 7);
/// The longest time from a change of the topic to its notice.
const NOTICED: Duration = Duration::from_secs(30);

/// A scene whose job lasts longer than any machine needs to change its topic.
fn scene<'a>(clusters: &'a Clusters, topic: &str, keyed: bool) -> (Scene<'a>, Multiset) {
    let scene = Scene::with_topic(clusters.one(), topic, PARTITIONS.0, &[]);
    let mut keys =
        vec![("workers.count", "2"), ("workers.chunk", "{ records = 500, interval = \"1s\" }"), ("limits.rate_records", "300")];
    if keyed {
        keys.push(("record.key", "\".k\""));
    }
    scene.configure(&keys);
    let lines: String = (0..LINES).map(|i| format!("{{\"k\":\"key-{}\",\"n\":{i}}}\n", i % 50)).collect();
    let path = scene.program.write("data/lines.jsonl", lines);
    (scene, Multiset::of_lines(&[path]))
}

/// For the rest of a job, which is disturbed no more.
const NO_LIMIT: [&str; 2] = ["--set", "limits.rate_records=\"none\""];

fn make_again(scene: &Scene) {
    scene.kafka.delete_topic(&scene.topic);
    scene.kafka.create_topic(&scene.topic, PARTITIONS.0, &[]);
}

/// It says what happened to the topic, in the run that noticed and in the next one.
fn assert_made_again(scene: &Scene, finished: Finished) {
    let report = finished.expect_code(4).json();
    let said = report["reasons"].to_string();
    assert!(said.contains("was deleted and made again (its id was "), "{report:#}");
    assert_ne!(report["outcome"], "done", "{report:#}");
    let status = scene.status().expect("there is a state");
    assert_eq!((&status["exit_code"], &status["reasons"]), (&4.into(), &report["reasons"]), "{status:#}");
    assert_next_run_tells(scene);
}

fn assert_next_run_tells(scene: &Scene) {
    let next = scene.run(&NO_LIMIT).expect_code(4);
    assert!(next.stderr.contains("was deleted and made again"), "{next:?}");
    scene.program.assert_nothing_left();
}

fn a_topic_made_again_in_a_pause_gets_no_record(clusters: &Clusters) {
    made_again_in_a_pause(clusters, "again-paused", &[]);
}

/// A worker that waits in a pause has a producer for which a topic of the same name is as good as the old one.
fn made_again_in_a_pause(clusters: &Clusters, topic: &str, words: &[&str]) {
    let (scene, _) = scene(clusters, topic, true);
    let running = scene.start(words);
    scene.await_records();
    scene.steer(&["pause"]);
    // What is in flight when the pause begins belongs to the old topic: a busy machine takes its time with it.
    wait_until_still("nothing more is committed", Duration::from_secs(2), patience(), || scene.acknowledged());
    make_again(&scene);
    // In a long pause the watching helper has seen it before anybody continues.
    drop(scene.program.run(&["continue"], patience()));
    assert_made_again(&scene, running.finish(patience()));
    assert_eq!(scene.kafka.records(&scene.topic).len(), 0, "not one record went to the new topic");
}

/// All records are acknowledged, some by a topic that is gone: the next look at it would have come 10 s later.
fn a_topic_made_again_just_before_the_end_is_no_success(clusters: &Clusters) {
    let (scene, _) = scene(clusters, "again-end", false);
    let running = scene.start(&[]);
    scene.await_records();
    make_again(&scene);
    let again = Instant::now();
    let finished = scene.let_it_end(running);
    assert!(again.elapsed() < NOTICED, "noticed after {:?}", again.elapsed());
    let report = finished.expect_code(4).json();
    assert_ne!(report["outcome"], "done", "{report:#}");
    // Who looked while there was no topic of the name has seen no more than that.
    let said = report["reasons"].to_string();
    assert!(said.contains(&format!("topic {} was deleted", scene.topic)), "{report:#}");
    assert_next_run_tells(&scene);
}

fn partitions_of_keys(scene: &Scene) -> BTreeMap<Vec<u8>, Vec<u32>> {
    let mut found: BTreeMap<Vec<u8>, Vec<u32>> = BTreeMap::new();
    for record in scene.kafka.records(&scene.topic) {
        let partitions = found.entry(record.key.expect("each line has a key")).or_default();
        if !partitions.contains(&record.partition) {
            partitions.push(record.partition);
        }
    }
    found
}

/// Each key is where its plan says, and nowhere else.
fn assert_as_planned(scene: &Scene) {
    let keys = partitions_of_keys(scene);
    for (key, partitions) in &keys {
        let planned = murmur2::partition_of(key, PARTITIONS.0);
        assert_eq!(partitions, &[planned], "{}", String::from_utf8_lossy(key));
    }
}

fn added_partitions_stop_a_job_with_keys(clusters: &Clusters) {
    let (scene, source) = scene(clusters, "added-more", true);
    let running = scene.start(&[]);
    scene.await_records();
    scene.kafka.add_partitions(&scene.topic, PARTITIONS.1);
    let added = Instant::now();
    let report = running.finish(patience()).expect_code(4).json();
    assert!(added.elapsed() < NOTICED, "noticed after {:?}", added.elapsed());
    let said = report["reasons"].to_string();
    assert!(said.contains("partitions 3 -> 7") && said.contains("--accept partitions"), "{report:#}");
    assert_eq!(report["records"]["resent"], 0, "the workers closed their chunks: {report:#}");
    assert_as_planned(&scene);
    // Nor does it go on by itself.
    let before = scene.kafka.records(&scene.topic).len();
    assert!(scene.run(&NO_LIMIT).expect_code(4).stderr.contains("--accept partitions"));
    assert_eq!(scene.kafka.records(&scene.topic).len(), before);
    // What goes on goes on with the plan's count.
    let report = scene.run(&[&NO_LIMIT[..], &["--accept", "partitions"]].concat()).expect_code(0).json();
    assert_eq!(report["accepted"], Value::from(vec!["partitions"]), "{report:#}");
    assert_as_planned(&scene);
    assert_eq!(partitions_of_keys(&scene).len(), 50);
    assert_eq!(scene.judge_and_verify(&source), Difference::default());
    let verified = scene.verify().1;
    assert!(verified.stderr.contains("partitions 3 -> 7"), "verify tells it: {}", verified.stderr);
    scene.program.assert_nothing_left();
}

fn added_partitions_are_told_where_no_key_is_concerned(clusters: &Clusters) {
    let (scene, source) = scene(clusters, "added-keyless", false);
    let running = scene.start(&[]);
    scene.await_records();
    scene.kafka.add_partitions(&scene.topic, PARTITIONS.1);
    let finished = scene.let_it_end(running).expect_code(0);
    let told = finished.stderr.matches("partitions 3 -> 7").count();
    assert_eq!(told, 1, "{}", finished.stderr);
    assert_eq!(scene.judge_and_verify(&source), Difference::default());
    assert!(scene.kafka.records(&scene.topic).iter().all(|record| record.partition < PARTITIONS.0));
    scene.program.assert_nothing_left();
}
