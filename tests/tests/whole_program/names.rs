//! Brokers' names whose look-up lasts: it can't be interrupted, and a thread of the client that waits for it outlives
//! the client.
//!
//! The resolver is a function of the C library; here another one stands before it that takes its time for some names.

use std::process::Command;

use whole_program::faults::patience;
use whole_program::program::Finished;
use whole_program::scene::{Scene, assert_balances};
use whole_program::suite::{Clusters, Test};
use whole_program::test;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Waits, Kafka, a_look_up_that_fails_late_or_at_once_takes_no_verdict_from_a_single_process),
    test!(Waits, Kafka, a_look_up_that_does_not_end_leaves_a_single_process_without_a_verdict),
    test!(Waits, Kafka, a_look_up_that_does_not_end_is_no_death_of_a_worker),
];

/// Names in `.slow` are looked up for this number of seconds, and are not found.
const SLOW_RESOLVER: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int resolver(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *name, const char *port, const struct addrinfo *hints, struct addrinfo **found) {
    if (name && strstr(name, ".slow")) {
        sleep(atoi(getenv("SLOW_SECONDS")));
        return EAI_AGAIN;
    }
    return ((resolver *)dlsym(RTLD_NEXT, "getaddrinfo"))(name, port, hints, found);
}
"#;

/// Lines of these tests.
const LINES: u64 = 2_000;

/// A scene with one broker and many names beside it.
fn scene<'a>(clusters: &'a Clusters, topic: &str, keys: &[(&str, &str)]) -> Scene<'a> {
    let scene = Scene::new(clusters.one(), topic);
    let slow: String = (0..12).map(|number| format!(", \"broker-{number}.slow:9092\"")).collect();
    let brokers = format!("[\"{}\"{slow}]", scene.kafka.bootstrap());
    scene.configure(&[&[("kafka.brokers", brokers.as_str())], keys].concat());
    let source = scene.program.write("slow.c", SLOW_RESOLVER);
    let library = scene.program.join("slow.so");
    // The C compiler that the Kafka client was built with.
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl").status();
    assert!(built.expect("cc can be started").success(), "cc failed");
    scene
}

fn run(scene: &Scene, seconds: u32, words: &[&str]) -> Finished {
    let mut command = scene.program.command(&[&["run", "-o", "json"], words].concat());
    command.env("LD_PRELOAD", scene.program.join("slow.so")).env("SLOW_SECONDS", seconds.to_string());
    scene.program.spawn(command).finish(patience())
}

fn a_look_up_that_fails_late_or_at_once_takes_no_verdict_from_a_single_process(clusters: &Clusters) {
    for seconds in [0, 4] {
        let scene = scene(clusters, &format!("slow-names-{seconds}"), &[]);
        let source = scene.orders(31, LINES);
        let report = run(&scene, seconds, &["--single", "--verify"]).expect_code(0).json();
        assert_balances(&report);
        assert_eq!(report["verify"]["outcome"], "same", "{report:#}");
        assert_eq!(scene.judge(&source).0, Default::default());
        scene.program.assert_nothing_left();
    }
}

fn a_look_up_that_does_not_end_leaves_a_single_process_without_a_verdict(clusters: &Clusters) {
    let scene = scene(clusters, "endless-names", &[]);
    let source = scene.orders(32, LINES);
    let report = run(&scene, 1000, &["--single", "--verify"]).expect_code(75).json();
    assert_balances(&report);
    assert_eq!((&report["outcome"], &report["verify"]), (&"stopped".into(), &serde_json::Value::Null), "{report:#}");
    let reasons = report["reasons"].to_string();
    assert!(reasons.contains("still looks up a broker's name; run again, or without --single"), "{reasons}");
    let status = scene.status().expect("there is a state");
    assert_eq!((&status["exit_code"], &status["reasons"]), (&75.into(), &report["reasons"]), "{status:#}");
    // Nothing is sent again.
    run(&scene, 0, &["--verify"]).expect_code(0);
    assert_eq!(scene.judge(&source).0, Default::default());
    scene.program.assert_nothing_left();
}

/// Its producer is left behind while a name is looked up.
fn a_look_up_that_does_not_end_is_no_death_of_a_worker(clusters: &Clusters) {
    let keys = [("workers.heartbeat_timeout", "\"2s\""), ("workers.count", "3"), ("shards.target_size", "\"64KiB\"")];
    let scene = scene(clusters, "workers-names", &keys);
    let source = scene.orders(33, LINES);
    let report = run(&scene, 20, &["--verify"]).expect_code(0).json();
    assert_eq!((&report["workers"]["restarts"], &report["records"]["resent"]), (&0.into(), &0.into()), "{report:#}");
    assert_eq!(scene.judge(&source).0, Default::default());
    scene.program.assert_nothing_left();
}
