//! The settings that are fixed from a job's first record on, as text: what its state keeps, so that a config that says
//! something else later is told by key and values.
//!
//! Responsible for which these are and for how two lists of them differ. Not responsible for what follows
//! ([`crate::resume`]), nor for the plan's id, which is a hash of the same settings ([`crate::Identity`]).

use crate::Job;
use crate::config::Vocabulary as _;
use crate::job::{CsvFormat, CsvHeader, FieldPath, RecordRules, SourceRules};
use crate::printable::printable;
use crate::units::show_count;

/// How many characters of a value are shown.
const SHOWN: usize = 40;
/// How many changes are told.
const TOLD: usize = 5;
/// What a setting that is not there is called.
const NOT_SET: &str = "not set";
/// The field that is the key.
const KEY: &str = "record.key";
/// The kind of the source: where it is another one, the keys of both tables differ and say nothing.
const SOURCE: &str = "source";
/// Where a record's time is.
const TIMESTAMP: &str = "record.timestamp";
/// What chooses a key's partition.
const PARTITIONER: &str = "kafka.partitioner";
/// Where a job that delivers exactly once keeps how far it is.
const PROGRESS: &str = "checkpoint.topic";
/// The headers' names in their order.
const HEADERS: &str = "record.headers";

/// Where dead letters go, if that is a topic.
const LETTERS_TOPIC: &str = "dead_letters.topic";

/// Settings in names and values.
pub type FixedSettings = Vec<(String, String)>;

/// Those of a job. Each field of the rules is named here, so that none is forgotten.
pub fn settings(job: &Job) -> FixedSettings {
    let RecordRules { key, on_missing, validate, timestamp, timestamp_unit, headers } = &job.record;
    let path = |path: &Option<FieldPath>| path.as_ref().map_or_else(|| NOT_SET.to_owned(), ToString::to_string);
    let mut all = vec![
        (SOURCE.to_owned(), job.source.table().to_owned()),
        (format!("{}.max_line", job.source.table()), show_count(job.source.files().max_line)),
        (KEY.to_owned(), path(key)),
        ("record.on_missing".to_owned(), on_missing.typed().to_owned()),
        ("record.validate".to_owned(), validate.typed().to_owned()),
        (TIMESTAMP.to_owned(), path(timestamp)),
        ("record.timestamp_unit".to_owned(), timestamp_unit.typed().to_owned()),
    ];
    all.extend(headers.iter().map(|(name, value)| (format!("{HEADERS}.{name}"), format!("{value:?}"))));
    all.push((HEADERS.to_owned(), headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")));
    if let SourceRules::Csv(source) = &job.source {
        csv(&source.format, &mut all);
    }
    all.push((PARTITIONER.to_owned(), job.kafka.partitioner.typed().to_owned()));
    all.push(("kafka.delivery".to_owned(), job.kafka.delivery.typed().to_owned()));
    if job.exactly_once() {
        all.push((PROGRESS.to_owned(), job.checkpoint.topic.clone()));
    }
    if let Some(topic) = job.letters_topic() {
        all.push((LETTERS_TOPIC.to_owned(), topic));
    }
    all
}

/// The progress topic of a job that delivers exactly once.
pub fn progress_topic(settings: &[(String, String)]) -> Option<String> {
    settings.iter().find(|(name, _)| name == PROGRESS).map(|(_, topic)| topic.clone())
}

/// Whether a job's records have keys.
pub fn is_keyed(settings: &[(String, String)]) -> bool {
    settings.iter().any(|(name, value)| name == KEY && value != NOT_SET)
}

/// The topic that a job's dead letters go to; `None`: files.
pub fn letters_topic(settings: &[(String, String)]) -> Option<&str> {
    settings.iter().find(|(name, _)| name == LETTERS_TOPIC).map(|(_, topic)| topic.as_str())
}

/// Whether two lists of settings are the same but for where dead letters go.
pub fn differ_in_letters_alone(then: &[(String, String)], now: &[(String, String)]) -> bool {
    let rest = |settings: &[(String, String)]| -> FixedSettings {
        settings.iter().filter(|(name, _)| name != LETTERS_TOPIC).cloned().collect()
    };
    letters_topic(then) != letters_topic(now) && changes(&rest(then), &rest(now)).is_none()
}

fn csv(format: &CsvFormat, all: &mut FixedSettings) {
    let CsvFormat { delimiter, quote, header, multiline, null, types } = format;
    let mut add = |name: &str, value: String| all.push((format!("source.csv.{name}"), value));
    add("delimiter", format!("{:?}", char::from(*delimiter)));
    add("quote", format!("{:?}", char::from(*quote)));
    add(
        "header",
        match header {
            CsvHeader::FirstRow => "true".to_owned(),
            CsvHeader::Names(names) => format!("{names:?}"),
        },
    );
    add("multiline", multiline.to_string());
    add("null", format!("{null:?}"));
    types.iter().for_each(|(column, word)| add(&format!("types.{column}"), word.typed().to_owned()));
}

/// What differs, in a sentence: `record.key was .customer.idd and is .customer.id`. `None`: nothing.
pub fn changes(then: &[(String, String)], now: &[(String, String)]) -> Option<String> {
    let of = |settings: &[(String, String)], name: &str| {
        settings.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    };
    let tell = |name: &str| {
        let shown = |settings| of(settings, name).map_or_else(|| NOT_SET.to_owned(), |value| shown(&value));
        format!("{name} was {} and is {}", shown(then), shown(now))
    };
    if of(then, SOURCE) != of(now, SOURCE) {
        return Some(tell(SOURCE));
    }
    let gone = then.iter().filter(|(name, _)| of(now, name).is_none());
    let names: Vec<&str> = now.iter().chain(gone).map(|(name, _)| name.as_str()).collect();
    let mut changed: Vec<&str> = names.into_iter().filter(|name| of(then, name) != of(now, name)).collect();
    // Their order alone.
    if changed.iter().any(|name| name.len() > HEADERS.len() && name.starts_with(HEADERS)) {
        changed.retain(|name| *name != HEADERS);
    }
    let more = changed.len().saturating_sub(TOLD);
    let mut told: Vec<String> = changed.into_iter().take(TOLD).map(tell).collect();
    if more > 0 {
        told.push(format!("{more} more changed"));
    }
    (!told.is_empty()).then(|| told.join("; "))
}

/// What differs of what must be the same for all records of a topic that are compared together, those of a job and
/// those that are sent again of its dead letters: headers, whether times are set, and the partitioner.
pub fn changes_for_retry(then: &[(String, String)], now: &[(String, String)]) -> Option<String> {
    let kept = |settings: &[(String, String)]| -> FixedSettings {
        let judged = settings.iter().filter_map(|(name, value)| match name.as_str() {
            TIMESTAMP if value != NOT_SET => Some((name.clone(), "set".to_owned())),
            TIMESTAMP | PARTITIONER => Some((name.clone(), value.clone())),
            _ => name.starts_with(HEADERS).then(|| (name.clone(), value.clone())),
        });
        judged.collect()
    };
    changes(&kept(then), &kept(now))
}

/// Whether the records were made of what the source has, as of rows of CSV.
pub fn makes_records(settings: &[(String, String)]) -> bool {
    let [_, csv] = SourceRules::TABLES;
    settings.iter().any(|(name, value)| name == SOURCE && value == csv)
}

/// A value in one line, and not all of a long one.
fn shown(value: &str) -> String {
    let mut head: String = value.chars().take(SHOWN).collect();
    if head.len() < value.len() {
        head.push('…');
    }
    if head.is_empty() { NOT_SET.to_owned() } else { printable(&head) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "[job]\nname = \"j\"\n[source.jsonl]\npaths = [\"x\"]\n[kafka]\nbrokers = [\"a:1\"]\ntopic = \"t\"\n";

    fn of(rest: &str) -> FixedSettings {
        settings(&Job::of_text(&format!("{BASE}{rest}")))
    }

    fn change(then: &str, now: &str) -> Option<String> {
        changes(&of(then), &of(now))
    }

    #[test]
    fn each_key_that_changed_is_named_with_both_values() {
        let told = |then: &str, now: &str| change(then, now).unwrap();
        assert_eq!(
            told("[record]\nkey = \".customer.idd\"", "[record]\nkey = \".customer.id\""),
            "record.key was .customer.idd and is .customer.id"
        );
        assert_eq!(told("", "[record]\nkey = \".id\""), "record.key was not set and is .id");
        assert_eq!(
            told("[record]\nkey = \".id\"\non_missing = \"null\"", "[record]\nvalidate = \"whole\""),
            "record.key was .id and is not set; record.on_missing was null and is dead-letter; record.validate was field \
             and is whole"
        );
        assert_eq!(
            told("", "[record]\ntimestamp = \".at\"\ntimestamp_unit = \"ms\""),
            "record.timestamp was not set and is .at; record.timestamp_unit was rfc3339 and is ms"
        );
        assert_eq!(told("partitioner = \"crc32\"", ""), "kafka.partitioner was crc32 and is murmur2");
        assert_eq!(change("", ""), None);
        assert_eq!(change("[workers]\ncount = 3", "[limits]\nmax_bad_records = 9"), None, "these may change at any time");
    }

    #[test]
    fn a_retry_may_have_other_rules_but_for_what_is_compared_of_all_records() {
        let change = |then: &str, now: &str| changes_for_retry(&of(then), &of(now));
        let mended = "[record]\nkey = \".b\"\non_missing = \"null\"\ntimestamp = \".at\"\ntimestamp_unit = \"ms\"";
        assert_eq!(change("[record]\nkey = \".a\"\ntimestamp = \".created\"", mended), None);
        assert_eq!(change("", "[record]\ntimestamp = \".at\"").unwrap(), "record.timestamp was not set and is set");
        assert_eq!(
            change("[kafka]\npartitioner = \"crc32\"".trim_start_matches("[kafka]\n"), "").unwrap(),
            "kafka.partitioner was crc32 and is murmur2"
        );
        let told = change("[record]\nheaders = { a = \"1\" }", "[record]\nheaders = { a = \"2\" }");
        assert_eq!(told.unwrap(), "record.headers.a was \"1\" and is \"2\"");
        assert!(change("[record]\nheaders = { a = \"1\" }", "").is_some());
        let csv = settings(&Job::of_text(&BASE.replace("jsonl", "csv")));
        assert!(makes_records(&csv) && !makes_records(&of("")));
    }

    #[test]
    fn headers_are_told_by_name_and_long_values_are_cut() {
        let long = "x".repeat(100);
        let told = change("[record]\nheaders = { a = \"1\" }", &format!("[record]\nheaders = {{ a = \"{long}\", b = \"2\" }}"));
        let cut = "x".repeat(39);
        assert_eq!(
            told.unwrap(),
            format!("record.headers.a was \"1\" and is \"{cut}…; record.headers.b was not set and is \"2\"")
        );
        let swapped = change("[record]\nheaders = { a = \"1\", b = \"2\" }", "[record]\nheaders = { b = \"2\", a = \"1\" }");
        assert_eq!(swapped.unwrap(), "record.headers was a, b and is b, a");
    }

    #[test]
    fn sources_are_told_by_kind_or_by_what_changed_of_one() {
        let csv = |rest: &str| {
            let text = BASE.replace("[source.jsonl]", &format!("[source.csv]\n{rest}"));
            settings(&Job::of_text(&text))
        };
        assert_eq!(changes(&of(""), &csv("")).unwrap(), "source was source.jsonl and is source.csv");
        assert_eq!(
            changes(&csv("delimiter = \";\""), &csv("types = { total = \"number\" }\nmax_line = \"1MiB\"")).unwrap(),
            "source.csv.max_line was 4,194,304 and is 1,048,576; source.csv.delimiter was ';' and is ','; \
             source.csv.types.total was not set and is number"
        );
    }
}
