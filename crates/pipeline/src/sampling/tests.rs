use std::time::Duration;

use migration::job::{FieldPath, OnMissing, ShardOrder, ShardRules, TimestampUnit, Validate};
use migration::{Cut, Position, Segment, ShardId, SourceObject, Token};

use super::*;
use crate::doubles::{MadeRows, MemorySource};
use crate::source::{Beginning, Changes, PlanRules, Probes, Sent};

const LONG: Duration = Duration::from_secs(60);

fn rules(key: &str, timestamp: Option<&str>) -> RecordRules {
    let path = |name: &str| FieldPath(name.split('.').map(str::to_owned).collect());
    RecordRules {
        key: Some(path(key)),
        on_missing: OnMissing::DeadLetter,
        validate: Validate::Field,
        timestamp: timestamp.map(path),
        timestamp_unit: TimestampUnit::Milliseconds,
        headers: vec![("source".to_owned(), "test".to_owned())],
    }
}

fn plan(source: &dyn Source) -> Plan {
    let shards = ShardRules { target_size: None, order: ShardOrder::Source, by_key: None };
    let rules = PlanRules::of_one_worker(&shards);
    source.plan(&rules).unwrap()
}

fn look(source: &dyn Source, rules: &RecordRules) -> SourceSample {
    sample(source, &plan(source), rules, LONG).unwrap()
}

#[test]
fn what_rows_have_and_become_is_counted() {
    let text = "{\"k\":\"a\",\"t\":1700000000000}\n\n{\"k\":\"b\",\"t\":1700000000001,\"more\":{\"x\":1}}\n{\"k\":\"a\",\"t\":\"x\"}\n\
                {\"k\":null,\"t\":5}\n{\"t\":6}\nnot json\n{\"k\":1,oops\n [1]\n";
    let source = MemorySource::new(vec![text.as_bytes().to_vec()], 1000);
    let sample = look(&source, &rules("k", Some("t")));
    assert_eq!((sample.files, sample.files_sampled, sample.rows, sample.records), (1, 1, 8, 2));
    assert_eq!(sample.row_bytes, text.len() as u64 - 1, "all but the blank line");
    assert_eq!((sample.objects, sample.without_key, sample.without_time), (5, 3, 1), "an array has no field either");
    let reasons: Vec<(&str, u64, u64)> =
        sample.set_aside.iter().map(|(reason, rows, place)| (reason.as_str(), *rows, place.start)).collect();
    assert_eq!(reasons.iter().map(|(_, rows, _)| rows).sum::<u64>(), 6);
    assert!(reasons.contains(&("no field .k", 1, 107)), "{reasons:?}");
    let (first, second) = (r#"{"k":"a","t":1700000000000}"#, r#"{"k":"b","t":1700000000001,"more":{"x":1}}"#);
    let beside = "a".len() + "sourcetest".len();
    assert_eq!(sample.record_bytes as usize, first.len() + second.len() + 2 * beside);
    let largest = (second.len() + beside) as u64;
    assert_eq!(sample.largest, Some((largest, SampledPlace { path: "0.jsonl".to_owned(), start: 29 })));
    assert_eq!(sample.times_ms, [1_700_000_000_000, 1_700_000_000_001]);
    assert_eq!(sample.looked, 6, "two rows are not JSON up to the fields");
    assert_eq!(sample.keys, [(b"a".to_vec(), 1), (b"b".to_vec(), 1)]);
    assert_eq!(sample.fields[0], (".t".to_owned(), 5));
    assert!(sample.fields.contains(&(".more.x".to_owned(), 1)));
    let record = &sample.first[1];
    assert_eq!((record.key.as_deref(), record.time_ms, record.value_bytes), (Some(&b"b"[..]), Some(1_700_000_000_001), 42));
    assert_eq!((record.value.as_slice(), record.place.start), (second.as_bytes(), 29));
    assert_eq!(record.headers, [("source".to_owned(), "test".to_owned())]);
    assert_eq!(sample.unpacked_bytes, Some(text.len() as u64));
    assert!(sample.speed.is_some_and(|(rows, took)| rows == 9 && took > Duration::ZERO));
}

#[test]
fn without_a_field_keys_may_be_null() {
    let source = MemorySource::new(vec![b"{\"k\":1}\n{}\n{\"k\":null}\n".to_vec()], 1000);
    let sample = look(&source, &RecordRules { on_missing: OnMissing::Null, ..rules("k", None) });
    assert_eq!((sample.records, sample.without_key, sample.set_aside.len()), (3, 2, 0));
    assert_eq!(sample.keys, [(b"1".to_vec(), 1)]);
}

#[test]
fn reasons_with_other_numbers_are_one() {
    let source = MemorySource::new(vec![b"{]\n{ ]\n{  ]\n{\"k\":1}\n".to_vec()], 1000);
    let set_aside = look(&source, &rules("k", None)).set_aside;
    assert_eq!(set_aside.len(), 1, "{set_aside:?}");
    assert!(set_aside[0].0.contains("at byte 1 of the line") && set_aside[0].1 == 3, "{set_aside:?}");
}

#[test]
fn rows_that_are_too_long_and_long_keys_are_held_in_part() {
    let long = format!("{{\"k\":\"{}\"}}\n", "x".repeat(5000));
    let lines = [long.as_bytes(), &[b'y'; 10_000], b"\n"].concat();
    let sample = look(&MemorySource::new(vec![lines], 9_000), &rules("k", None));
    assert_eq!((sample.rows, sample.records, sample.row_bytes), (2, 1, long.len() as u64 + 10_001));
    assert!(sample.set_aside[0].0.contains("too long"), "{:?}", sample.set_aside);
    assert_eq!((sample.keys[0].0.len(), sample.first[0].value.len()), (256, 4096));
    assert_eq!(sample.first[0].value_bytes, long.len() as u64 - 1);
}

#[test]
fn many_files_are_sampled_at_a_hundred_of_them_and_few_rows_each() {
    let lines = |file: usize| (0..200).map(|n| format!("{{\"k\":\"{file}-{n}\"}}\n")).collect::<String>().into_bytes();
    let source = MemorySource::new((0..500).map(lines).collect(), 1000);
    let sample = look(&source, &rules("k", None));
    // Each file can be entered anywhere: room is kept for three places.
    assert_eq!((sample.files, sample.files_sampled, sample.rows), (500, 100, 1000));
    assert!(sample.keys.iter().any(|(key, _)| key == b"499-0"));
    assert_eq!(sample.first[0].key.as_deref(), Some(&b"0-0"[..]));
}

#[test]
fn only_rows_of_the_plan_count() {
    let source = MemorySource::new(vec![b"{\"k\":1}\n{\"k\":2}\n{\"k\":3}\n".to_vec(), b"{\"k\":4}\n".to_vec()], 1000);
    let mut limited = Plan { max_line: 1000, objects: plan(&source).objects, ..Plan::default() };
    limited.add(vec![Segment { object: 0, start: 0, end: 16, bytes: Some(16) }], 2);
    let sample = sample(&source, &limited, &rules("k", None), LONG).unwrap();
    assert_eq!((sample.rows, sample.files_sampled, sample.unpacked_bytes), (2, 1, Some(16)));
    assert_eq!(sample.keys, [(b"1".to_vec(), 1), (b"2".to_vec(), 1)]);
}

#[test]
fn sets_of_partitions_read_the_same_rows() {
    let source = MemorySource::new(vec![b"{\"k\":1}\n{\"k\":2}\n".to_vec()], 1000);
    let sets = plan(&source).into_sets(4, 2);
    let sample = sample(&source, &sets, &rules("k", None), LONG).unwrap();
    assert_eq!((sample.rows, sample.unpacked_bytes), (2, Some(16)));
}

#[test]
fn rows_that_the_reader_makes_are_sampled_and_their_size_is_not_known() {
    let source = MadeRows::new(vec![b"{\"k\":1}\n{\"k\":2}\n".to_vec(), b"{\"k\":3}\n".to_vec()], 100);
    let sample = look(&source, &rules("k", None));
    assert_eq!((sample.records, sample.files_sampled, sample.unpacked_bytes), (3, 2, None));
    assert_eq!(sample.first[1].place, SampledPlace { path: "0.jsonl".to_owned(), start: 1 });
}

#[test]
fn no_time_is_no_row() {
    let source = MemorySource::new(vec![b"{\"k\":1}\n".to_vec()], 1000);
    let sample = sample(&source, &plan(&source), &rules("k", None), Duration::ZERO).unwrap();
    assert_eq!((sample.files, sample.files_sampled, sample.rows, sample.speed), (1, 0, 0, None));
}

/// A source whose first object can't be read.
#[derive(Debug)]
struct Broken(MemorySource);

impl Source for Broken {
    fn plan(&self, rules: &PlanRules<'_>) -> Result<Plan, SourceError> {
        self.0.plan(rules)
    }

    fn check(&self, plan: &Plan) -> Result<(), SourceError> {
        self.0.check(plan)
    }

    fn open(&self, plan: &Plan, shard: ShardId, at: &Position, token: Option<&Token>) -> Result<Box<dyn Reader>, SourceError> {
        self.0.open(plan, shard, at, token)
    }

    fn changes(&self, plan: &Plan) -> Result<Changes, SourceError> {
        self.0.changes(plan)
    }

    fn cuts(&self, plan: &Plan, shard: ShardId, from: &Position, pieces: u32) -> Result<Vec<Cut>, SourceError> {
        self.0.cuts(plan, shard, from, pieces)
    }

    fn probes(&self, plan: &Plan, object: u32) -> Result<Probes, SourceError> {
        if object == 0 { Err(SourceError("0.jsonl: torn".to_owned())) } else { self.0.probes(plan, object) }
    }

    fn replaced(
        &self,
        plan: &Plan,
        sent: &dyn Fn(u32) -> Result<Sent, String>,
    ) -> Result<Vec<(u32, SourceObject)>, SourceError> {
        self.0.replaced(plan, sent)
    }

    fn beginning(&self, object: &SourceObject, place: u64) -> Result<Box<dyn Beginning>, SourceError> {
        self.0.beginning(object, place)
    }
}

#[test]
fn a_file_that_cannot_be_read_is_told_beside_the_others() {
    let source = |files: usize| Broken(MemorySource::new(vec![b"{\"k\":1}\n".to_vec(); files], 1000));
    let seen = look(&source(2), &rules("k", None));
    assert_eq!((seen.rows, seen.files_sampled, seen.unreadable.as_slice()), (1, 2, &["0.jsonl: torn".to_owned()][..]));
    let alone = source(1);
    assert_eq!(sample(&alone, &plan(&alone), &rules("k", None), LONG), Err(SourceError("0.jsonl: torn".to_owned())));
}
