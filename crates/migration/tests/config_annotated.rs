//! The annotated file: its comments are the defaults, no key is missing, and `init` renders what is read back.

mod common;

use common::{mean, read};
use migration::Job;
use migration::config::{AnnotatedTime, AnnotatedValues, Declared, KEYS, SECTIONS, Typed, annotated};
use migration::job::{Brokers, SourceRules, TimestampUnit};
use proptest::prelude::*;

/// The file at the project's root: the first run's job.
const ANNOTATED: &str = include_str!("../../../orchestrator.toml");

fn first_run() -> AnnotatedValues {
    AnnotatedValues {
        job_name: "first-run".into(),
        paths: vec!["data/orders-*.jsonl".into()],
        delimiter: None,
        key: Some(".customer_id".into()),
        time: None,
        topic: "orders".into(),
        brokers: vec![],
    }
}

/// Keys of the source that the annotated file has as an example.
fn is_csv(key: &Declared) -> bool {
    key.table() == SourceRules::TABLES[1]
}

/// The text with CSV as its source: a block ends at an empty line.
fn with_csv(text: &str) -> String {
    let block = |block: &str| {
        if block.contains("\n[source.jsonl]\n") {
            String::new()
        } else if block.contains("#   [source.csv]\n") {
            uncommented(&block.replace("#   [", "["), true) + "\n"
        } else {
            format!("{block}\n\n")
        }
    };
    text.split("\n\n").map(|text| block(&format!("{text}\n"))).collect()
}

/// The text with `# key = value` lines made active; with `examples`, `#   key = value` lines too.
fn uncommented(text: &str, examples: bool) -> String {
    let is_key = |line: &str| {
        let name = line.split(" = ").next().unwrap_or_default();
        line.contains(" = ")
            && !name.is_empty()
            && (name.starts_with('"') || !name.contains(|c: char| !c.is_ascii_lowercase() && c != '_'))
    };
    let line = |line: &str| match line.strip_prefix("# ") {
        Some(rest) if is_key(rest) || (examples && is_key(rest.trim_start())) => format!("{}\n", rest.trim_start()),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

fn parse(text: &str) -> Typed {
    Typed::parse(text, "orchestrator.toml").unwrap_or_else(|errors| panic!("{errors}"))
}

fn job(text: &str) -> Job {
    read(text).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn the_active_lines_are_the_first_runs_job() {
    let job = job(ANNOTATED);
    assert_eq!(job.name, "first-run");
    assert_eq!(job.source.files().paths, ["/jobs/data/orders-*.jsonl"]);
    assert_eq!(job.record.key.map(|key| key.to_string()).as_deref(), Some(".customer_id"));
    assert_eq!((job.kafka.brokers, job.kafka.topic.as_str()), (Brokers::Embedded, "orders"));
}

#[test]
fn its_comments_are_the_defaults_and_all_of_them() {
    let all = uncommented(ANNOTATED, false);
    assert_eq!(job(&all), job(ANNOTATED));
    let typed = parse(&all);
    for key in KEYS.iter().filter(|key| key.default.is_some() && !is_csv(key)) {
        assert!(typed.has(key.path), "{} is missing from orchestrator.toml", key.path);
    }
}

#[test]
fn its_examples_are_keys_and_no_key_is_missing() {
    let without_csv: String = ANNOTATED.split_inclusive("\n\n").filter(|block| !block.contains("[source.csv]\n")).collect();
    for (text, csv) in [(without_csv, false), (with_csv(ANNOTATED), true)] {
        let mut typed = parse(&uncommented(&text, true));
        for key in KEYS.iter().filter(|key| !key.path.starts_with("source.") || is_csv(key) == csv) {
            assert!(typed.has(key.path), "{} is missing from orchestrator.toml", key.path);
        }
        typed.set("kafka.properties.\"sasl.password\".env", "PASSWORD", "test");
        typed.set("kafka.brokers", "kafka-1:9092", "test");
        typed.set("dead_letters.to", "topic", "test");
        let job = mean(typed).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        assert_eq!(job.source.table() == SourceRules::TABLES[1], csv);
    }
}

#[test]
fn each_key_stands_in_a_section_and_each_section_has_keys() {
    for key in KEYS.iter() {
        let known = SECTIONS.iter().any(|section| section.table == key.table());
        assert!(known, "{} stands in no section of the annotated file", key.path);
        assert!(!key.doc.is_empty() && !key.example.is_empty(), "{} is not explained", key.path);
    }
    for section in SECTIONS {
        assert!(KEYS.iter().any(|key| key.table() == section.table), "[{}] has no keys", section.table);
    }
}

/// The smallest config of a key's source.
fn smallest(key: &Declared) -> &'static str {
    if is_csv(key) { common::SMALLEST_CSV } else { common::SMALLEST }
}

#[test]
fn a_default_that_is_typed_is_the_default() {
    for key in KEYS.iter() {
        if let Some(default) = key.default {
            let mut typed = parse(smallest(key));
            typed.set(key.path, default, "test");
            assert_eq!(mean(typed).unwrap_or_else(|errors| panic!("{errors}")), job(smallest(key)), "{}", key.path);
        }
    }
}

#[test]
fn an_example_that_is_typed_is_read() {
    for key in KEYS.iter() {
        let mut typed = parse(smallest(key));
        // Others without which some examples mean nothing.
        typed.set("record.key", ".a", "test");
        typed.set("record.timestamp", ".b", "test");
        typed.set("kafka.brokers", "b:9092", "test");
        typed.set("dead_letters.to", "topic", "test");
        typed.set(key.path, key.example, "test");
        mean(typed).unwrap_or_else(|errors| panic!("{errors}"));
    }
}

#[test]
fn rendering_the_first_runs_values_gives_the_file_itself() {
    common::snapshot("../../orchestrator.toml", &annotated(&first_run()));
    let named = AnnotatedValues { brokers: vec!["embedded".into()], ..first_run() };
    assert_eq!(annotated(&named), annotated(&first_run()));
}

#[test]
fn without_a_key_its_line_is_an_example() {
    let text = annotated(&AnnotatedValues { key: None, ..first_run() });
    assert!(text.contains("\n#   key = \".customer_id\"\n"));
    assert_eq!(job(&text).record.key, None);
    assert_eq!(job(&uncommented(&text, false)), job(&text));
}

/// What deletes records by their times is not switched on by a look at the data.
#[test]
fn a_time_that_is_only_proposed_is_a_comment() {
    let time = AnnotatedTime { path: ".at".into(), unit: TimestampUnit::Milliseconds, active: false };
    let text = annotated(&AnnotatedValues { time: Some(time.clone()), ..first_run() });
    assert!(text.contains("retention.ms is deleted") && text.contains("\n#   timestamp = \".at\"\n"), "{text}");
    assert!(text.contains("\n#   timestamp_unit = \"ms\"\n") && !text.contains("timestamp_unit = \"rfc3339\""));
    assert_eq!(job(&text), job(ANNOTATED));
    assert_eq!(job(&uncommented(&text, false)), job(ANNOTATED));
    let active = job(&annotated(&AnnotatedValues { time: Some(AnnotatedTime { active: true, ..time }), ..first_run() }));
    assert_eq!(active.record.timestamp_unit, TimestampUnit::Milliseconds);
}

proptest! {
    #[test]
    fn what_init_writes_is_what_is_read(
        name in "[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,40}",
        paths in prop::collection::vec("/[^\\p{C}$\\{]{1,30}", 1..4),
        delimiter in prop::option::of(prop::sample::select(vec![',', ';', '\t', '|'])),
        key in prop::option::of("(\\.[a-z_\\-ßé$@#=]{1,8}){1,3}"),
        time in prop::option::of((
            "(\\.[a-z_\\-ßé$@#=]{1,8}){1,3}",
            prop::sample::select(vec![
                TimestampUnit::Rfc3339, TimestampUnit::Seconds, TimestampUnit::Milliseconds, TimestampUnit::Microseconds,
            ]),
            any::<bool>(),
        )),
        topic in "[a-zA-Z0-9_-]{1,60}",
        brokers in prop::collection::vec("[a-z0-9-]{1,12}:[1-9][0-9]{0,3}", 0..3),
    ) {
        let time = time.map(|(path, unit, active)| AnnotatedTime { path, unit, active });
        let values = AnnotatedValues { job_name: name, paths, delimiter, key, time, topic, brokers };
        let text = annotated(&values);
        let read = job(&text);
        prop_assert_eq!(&read.name, &values.job_name);
        prop_assert_eq!(&read.source.files().paths, &values.paths);
        let of_csv = |source: &SourceRules| match source {
            SourceRules::Csv(source) => Some(char::from(source.format.delimiter)),
            SourceRules::Jsonl(_) => None,
        };
        prop_assert_eq!(of_csv(&read.source), values.delimiter);
        prop_assert_eq!(read.record.key.as_ref().map(ToString::to_string), values.key);
        let active = values.time.as_ref().filter(|time| time.active);
        prop_assert_eq!(read.record.timestamp.as_ref().map(ToString::to_string), active.map(|time| time.path.clone()));
        prop_assert_eq!(read.record.timestamp_unit, active.map_or(TimestampUnit::Rfc3339, |time| time.unit));
        prop_assert_eq!(&read.kafka.topic, &values.topic);
        let brokers = if values.brokers.is_empty() { Brokers::Embedded } else { Brokers::Bootstrap(values.brokers) };
        prop_assert_eq!(&read.kafka.brokers, &brokers);
        prop_assert_eq!(job(&uncommented(&text, false)), read);
    }

    #[test]
    fn no_text_makes_it_panic(text in "(\\[[a-z.]{1,9}\\]\n|[a-z_.\"=]{1,12} = [0-9a-z\"\\[\\]{}=,]{0,12}\n|\\PC{0,8}\n){0,8}", path in "\\PC{0,12}", value in "\\PC{0,12}") {
        if let Ok(mut typed) = Typed::parse(&text, "f") {
            typed.set(&path, &value, "test");
            typed.set_assignment(&path, "--set");
            typed.set_property(&value, "-X");
            if let Err(errors) = mean(typed) {
                prop_assert!(!errors.to_string().is_empty());
            }
        }
    }
}
