//! What may change between stop and resume: what a key's declaration says is what a job's identity does.

mod common;

use migration::config::{Declared, KEYS, Resume, Typed};
use migration::identity::Identity;
use migration::report::Binding;
use migration::{Job, Plan, fixed as settings};

/// All of a job that must stay as it was: which state it has, and what that state is compared with.
fn fixed(job: &Job) -> String {
    let binding = Binding { topic: job.kafka.topic.clone(), ..Binding::default() };
    let plan = Plan { max_line: job.source.files().max_line, ..Plan::default() };
    format!("{:?} {:?} {:?}", job.state_path(), job.source.files().paths, Identity::of(job, &plan, &binding))
}

/// The job of the smallest config, with keys that others need, and one more.
fn job(key: &Declared, value: Option<&str>) -> Job {
    let csv = key.table() == "source.csv";
    let text = if csv { common::SMALLEST_CSV } else { common::SMALLEST };
    let mut typed = Typed::parse(text, "orchestrator.toml").expect("it is TOML");
    typed.set("record.key", ".id", "test");
    typed.set("record.timestamp", ".at", "test");
    typed.set("kafka.brokers", "b:9092", "test");
    if key.path == "dead_letters.topic" {
        typed.set("dead_letters.to", "topic", "test");
    }
    if let Some(value) = value {
        typed.set(key.path, value, "test");
    }
    common::mean(typed).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn what_must_not_change_is_part_of_the_identity_and_nothing_else_is() {
    let mut seen = 0;
    for key in KEYS.iter() {
        let (before, after) = (job(key, None), job(key, Some(key.example)));
        // Of some keys there is only one value in this version.
        if before != after {
            let changed = fixed(&before) != fixed(&after);
            assert_eq!(changed, key.resume == Resume::MustNot, "{}: {:?}", key.path, key.resume);
            let (then, now) = (settings::settings(&before), settings::settings(&after));
            let letters = settings::differ_in_letters_alone(&then, &now);
            assert_eq!(letters, key.resume == Resume::UntilSetAside, "{}: {:?}", key.path, key.resume);
            seen += 1;
        }
    }
    assert!(seen + 4 >= KEYS.len(), "only {seen} keys have an example that means something else than the default");
}
