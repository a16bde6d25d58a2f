//! In a compacted topic the newest record of a key has to be the last one that the source has of it.

use super::*;

/// A dataset whose records of a key were sent in its order.
pub(super) fn ordered(lines: &[String]) -> Dataset {
    let mut source = Dataset::new(lines);
    let segment = migration::Segment { object: 0, start: 0, end: source.plan.objects[0].bytes.unwrap(), bytes: None };
    let mut whole = migration::Plan { segments: Vec::new(), shards: Vec::new(), ..source.plan.clone() };
    whole.add(vec![segment], lines.len() as u64);
    source.plan = whole.into_sets(PARTITIONS, 2);
    source
}

fn judge(source: &Dataset, topic: &[(&str, u32)]) -> VerifyReport {
    let records: Vec<_> = topic.iter().map(|(key, value)| (at(key), record(key, *value))).collect();
    let reports = [VerifyLimits::default(), tiny(5)].map(|limits| {
        let topic = Topic { compacted: Some(true), ..Topic::new(records.clone()) };
        source.verify(&mut topic.clone(), limits).unwrap()
    });
    assert_eq!((reports[0].outdated, reports[0].missing), (reports[1].outdated, reports[1].missing));
    let [report, _] = reports;
    assert_eq!(report.last_values, LastValues::Compared);
    let named = report.examples.iter().filter(|example| example.kind == VerifyKind::Outdated).count() as u64;
    assert_eq!(named, report.outdated);
    report
}

#[test]
fn an_older_value_that_stands_as_the_newest_one_is_outdated() {
    let lines = [line("a", 1), line("a", 2), line("b", 1), line("c", 1), line("b", 2)];
    let source = ordered(&lines);
    let all = [("a", 1), ("a", 2), ("b", 1), ("c", 1), ("b", 2)];
    assert!(judge(&source, &all).is_clean(None));
    // What the cleaner takes is none.
    assert!(judge(&source, &[("c", 1), ("a", 2), ("b", 2)]).is_clean(None));
    // Everything is there, and in another order: sums alone do not tell.
    let report = judge(&source, &[("a", 2), ("a", 1), ("b", 1), ("c", 1), ("b", 2)]);
    let counts = (report.missing, report.duplicates, report.outdated, report.is_clean(None));
    assert_eq!(counts, (0, 0, 1, false));
    let [example] = &report.examples[..] else { panic!("{:?}", report.examples) };
    assert_eq!((example.kind, example.start, example.offset), (VerifyKind::Outdated, Some(16), Some(1)));
    assert_eq!(example.value, line("a", 1).into_bytes());
    // An allowed copy does not hide it.
    let report = judge(&source, &[&all[..], &[("a", 1)]].concat());
    let allowed = migration::report::verify::AllowedDuplicates { at_most: 9 };
    assert_eq!((report.duplicates, report.outdated, report.is_clean(Some(allowed))), (1, 1, false));
    // The last one never came: it is missing, and what stands there is not the last value.
    let report = judge(&source, &[("a", 1), ("b", 2), ("c", 1)]);
    assert_eq!((report.missing, report.superseded, report.outdated), (1, 1, 1));
    // A copy of all that one death repeats ends with the last one.
    assert_eq!(judge(&source, &[&all[..], &all[..]].concat()).outdated, 0);
}

#[test]
fn where_another_producers_record_is_the_newest_nothing_is_outdated() {
    let source = ordered(&[line("a", 1), line("a", 2)]);
    let report = judge(&source, &[("a", 2), ("a", 1), ("a", 9)]);
    assert_eq!((report.missing, report.unexpected, report.outdated), (0, 1, 0));
    assert_eq!(judge(&source, &[("a", 9), ("a", 2), ("a", 1)]).outdated, 1);
}

#[test]
fn what_was_not_promised_is_not_judged() {
    let source = Dataset::new(&[line("a", 1), line("a", 2)]);
    let records = [2, 1].map(|value| (at("a"), record("a", value))).to_vec();
    let topic = Topic { compacted: Some(true), ..Topic::new(records.clone()) };
    let report = source.verify(&mut topic.clone(), tiny(3)).unwrap();
    assert_eq!((report.last_values, report.outdated, report.is_clean(None)), (LastValues::NotPromised, 0, true));
    // In a topic that keeps all records the order is not looked at.
    let source = ordered(&[line("a", 1), line("a", 2)]);
    let report = source.verify(&mut Topic::new(records), tiny(3)).unwrap();
    assert_eq!((report.last_values, report.outdated, report.is_clean(None)), (LastValues::NotCompacted, 0, true));
}

fn last<'a>(of: &[(&'a str, u32)], key: &str) -> Option<(&'a str, u32)> {
    of.iter().rev().find(|(other, _)| *other == key).copied()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn outdated_keys_are_those_of_an_oracle(
        lines in prop::collection::vec((prop::sample::select(vec!["a", "a", "b", "c", "d", ""]), 0u32..30), 1..40),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        whole: bool,
        foreign in prop::collection::vec((prop::sample::select(vec!["a", "b", "zz"]), 100u32..105), 0..3),
        records in prop::sample::select(vec![4usize, 12, 1000]),
        examples in 0usize..4,
    ) {
        let source = ordered(&lines.iter().map(|(key, value)| line(key, *value)).collect::<Vec<_>>());
        // All of it, then copies of some in any order; or these alone.
        let mut topic: Vec<_> = if whole { lines.clone() } else { Vec::new() };
        topic.extend(picks.iter().map(|pick| *pick.get(&lines)));
        topic.extend(&foreign);
        let sent: Vec<_> = topic.iter().map(|(key, value)| (at(key), record(key, *value))).collect();
        let read = Topic { compacted: Some(true), ..Topic::new(sent.clone()) };
        let limits = VerifyLimits { examples, records, keys: 1000 };
        let report = source.verify(&mut read.clone(), limits).unwrap();
        let keys: HashSet<_> = lines.iter().map(|(key, _)| *key).filter(|key| !key.is_empty()).collect();
        let outdated = keys.iter().filter(|key| {
            last(&topic, key).is_some_and(|newest| lines.contains(&newest) && last(&lines, key) != Some(newest))
        });
        prop_assert_eq!(report.outdated, outdated.count() as u64);
        let named: Vec<_> = report.examples.iter().filter(|example| example.kind == VerifyKind::Outdated).collect();
        prop_assert_eq!(named.len() as u64, report.outdated.min(examples as u64));
        for example in named {
            let (key, newest) = &sent[example.offset.unwrap() as usize].1;
            prop_assert_eq!((&example.key, &example.value), (key, newest));
            let text = source.source.bytes(0);
            let place = &text[example.start.unwrap() as usize..];
            let expected = last(&lines, str::from_utf8(key.as_ref().unwrap()).unwrap()).unwrap();
            prop_assert!(place.starts_with(line(expected.0, expected.1).as_bytes()));
        }
    }
}
