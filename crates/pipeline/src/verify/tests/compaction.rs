//! Compacted topics: what the cleaner takes is never called missing, what it can't have taken always is.

use std::collections::VecDeque;

use super::*;

fn compacted(records: Vec<(u32, Record)>) -> Topic {
    Topic { compacted: Some(true), ..Topic::new(records) }
}

fn sent(key: &str, values: &[u32]) -> Vec<(u32, Record)> {
    values.iter().map(|&value| (at(key), record(key, value))).collect()
}

/// Missing and superseded.
fn judge(source: &Dataset, topic: Vec<(u32, Record)>) -> (u64, u64) {
    let mut seen = Vec::new();
    for limits in [VerifyLimits::default(), tiny(10)] {
        let report = source.verify(&mut compacted(topic.clone()), limits).unwrap();
        assert_eq!(report.compacted, Some(true));
        let named = report.examples.iter().filter(|e| e.kind == VerifyKind::Missing).count() as u64;
        assert_eq!(named, report.missing.min(limits.examples as u64));
        seen.push((report.missing, report.superseded));
    }
    assert_eq!(seen[0], seen[1], "whatever fits in memory");
    seen[0]
}

#[test]
fn older_records_of_a_key_are_not_missing() {
    let source = Dataset::new(&[line("a", 1), line("b", 1), line("a", 2), line("a", 3)]);
    let topic = [sent("a", &[3]), sent("b", &[1])].concat();
    assert_eq!(judge(&source, topic.clone()), (0, 2));
    let report = source.verify(&mut compacted(topic.clone()), VerifyLimits::default()).unwrap();
    assert!(report.is_clean(None));
    // The same in a topic that is not compacted, or of which nothing is known.
    for policy in [Some(false), None] {
        let report = source.verify(&mut Topic { compacted: policy, ..Topic::new(topic.clone()) }, tiny(5)).unwrap();
        assert_eq!((report.missing, report.superseded, report.compacted), (2, 0, policy));
    }
}

#[test]
fn the_newest_of_a_key_is_missing() {
    let source = Dataset::new(&[line("a", 1), line("a", 2), line("b", 1), line("a", 3)]);
    // 3 would have come after 2, and be there.
    assert_eq!(judge(&source, [sent("a", &[2]), sent("b", &[1])].concat()), (1, 1));
    assert_eq!(judge(&source, [sent("a", &[1]), sent("b", &[1])].concat()), (2, 0));
    // Nothing newer is there at all.
    assert_eq!(judge(&source, sent("b", &[1])), (3, 0));
    // A record without a key is never taken.
    let source = Dataset::new(&[line("-", 1), line("-", 2)]);
    assert_eq!(judge(&source, sent("-", &[2])), (1, 0));
}

#[test]
fn of_sets_that_are_cut_unlike_each_other_the_order_within_a_segment_is_known() {
    let mut source = Dataset::new(&[line("a", 1), line("a", 2), line("a", 3)]);
    let (half, end) = (line("a", 1).len() as u64 + 1, source.plan.segments[0].end);
    let part = |start, end| migration::Segment { object: 0, start, end, bytes: None };
    let mut whole = migration::Plan { segments: Vec::new(), shards: Vec::new(), ..source.plan.clone() };
    whole.add(vec![part(0, half), part(half, end)], 3);
    source.plan = whole.into_sets(PARTITIONS, 2);
    // What is behind the first record was sent after it.
    assert_eq!(judge(&source, sent("a", &[1])), (2, 0));
    assert_eq!(judge(&source, sent("a", &[3])), (0, 2));
    // One set is cut: another worker may have sent the second segment before the first.
    let other = source.plan.shards[1].id;
    let cut = migration::Cut { segment: 1, place: half };
    source.plan.split(other, &Default::default(), &migration::Division::Places(vec![cut])).unwrap();
    assert_eq!(judge(&source, sent("a", &[1])), (0, 2));
    assert_eq!(judge(&source, sent("a", &[2])), (1, 1), "within the second it is known");
}

#[test]
fn the_missing_ones_are_named() {
    let source = Dataset::new(&[line("a", 1), line("a", 2), line("a", 3)]);
    let report = source.verify(&mut compacted(sent("a", &[2])), tiny(5)).unwrap();
    assert_eq!(report.examples.iter().map(|e| (e.kind, e.start)).collect::<Vec<_>>(), [(VerifyKind::Missing, Some(32))]);
}

#[test]
fn another_producers_record_explains_what_is_older_and_is_unexpected() {
    let source = Dataset::new(&[line("a", 1), line("a", 2)]);
    let topic = vec![(at("a"), (Some(b"a".to_vec()), b"foreign".to_vec()))];
    let report = source.verify(&mut compacted(topic), tiny(5)).unwrap();
    assert_eq!((report.missing, report.superseded, report.altered, report.unexpected), (0, 2, 0, 1));
    // It may be an altered one.
    assert_eq!((report.doubtful, report.is_clean(None)), (2, false));
    // In another partition it explains nothing.
    let topic = vec![((at("a") + 1) % PARTITIONS, (Some(b"a".to_vec()), b"foreign".to_vec()))];
    let report = source.verify(&mut compacted(topic), tiny(5)).unwrap();
    assert_eq!((report.missing, report.superseded, report.altered, report.unexpected), (2, 0, 0, 1));
}

#[test]
fn an_altered_record_is_not_excused_by_compaction() {
    let source = Dataset::new(&[line("a", 1), line("a", 2), line("b", 1), line("c", 1)]);
    let altered = |key: &str| vec![(at(key), (Some(key.as_bytes().to_vec()), b"corrupt".to_vec()))];
    let doubtful = |topic: Vec<(u32, Record)>| {
        let mut seen = Vec::new();
        for limits in [VerifyLimits::default(), tiny(3)] {
            let report = source.verify(&mut compacted(topic.clone()), limits).unwrap();
            assert_eq!((report.missing, report.is_clean(None)), (0, report.doubtful == 0), "{report:?}");
            seen.push((report.superseded, report.doubtful, report.unexpected));
        }
        assert_eq!(seen[0], seen[1], "whatever fits in memory");
        seen[0]
    };
    // As the newest of its key, alone or not, and as an older one that was not taken yet.
    assert_eq!(doubtful([sent("a", &[2]), altered("b"), sent("c", &[1])].concat()), (2, 1, 1));
    assert_eq!(doubtful([sent("a", &[1]), altered("a"), sent("b", &[1]), sent("c", &[1])].concat()), (1, 1, 1));
    assert_eq!(doubtful([altered("a"), sent("a", &[2]), sent("b", &[1]), sent("c", &[1])].concat()), (1, 1, 1));
    // Another producer's record of a key of which all is there, or of a key of its own, is no reason to doubt.
    let live = [sent("a", &[2]), sent("b", &[1]), altered("b"), sent("c", &[1]), altered("d")].concat();
    assert_eq!(doubtful(live), (1, 0, 2));
}

#[test]
fn headers_and_times_are_compared_beside_what_compaction_took() {
    let (source, topic) = detailed(true, true, "a");
    // The newest of four; then with another header, which may have replaced it, too.
    let newest = topic.records[3..].to_vec();
    let mut topic = Topic { records: newest, compacted: Some(true), ..topic };
    let report = source.verify(&mut topic, tiny(5)).unwrap();
    assert_eq!((report.missing, report.superseded, report.altered, report.unexpected), (0, 3, 0, 0));
    // One more header: it may be the job's. Another one in its place: it is not.
    let (right, more) = (topic.headers.clone(), header("more", None));
    for (headers, unexpected) in [([right, more].concat(), 1), (header("origin", Some("forged")), 0)] {
        topic.details.insert(0, (headers, Some(7)));
        let report = source.verify(&mut topic, tiny(5)).unwrap();
        let counts = (report.missing, report.superseded, report.altered, report.unexpected, report.others);
        assert_eq!(counts, (0, 4, 0, unexpected, 1 - unexpected));
        // With headers another producer's record is known.
        assert_eq!(report.is_clean(None), unexpected == 0);
    }
}

#[test]
fn a_key_without_a_partition_of_its_own_is_explained_by_any() {
    let source = Dataset::new(&[line("", 1), line("", 2)]);
    assert_eq!(judge(&source, vec![(2, record("", 1))]), (0, 1));
}

/// What a topic holds after shards were sent side by side, each in its order, and the cleaner passed.
fn clean(mut topic: Vec<(u32, Record)>, mut takes: impl FnMut() -> bool) -> Vec<(u32, Record)> {
    let mut newer = HashSet::new();
    topic.reverse();
    topic.retain(|(partition, (key, _))| {
        let Some(key) = key else { return true };
        newer.insert((*partition, key.clone())) || !takes()
    });
    topic.reverse();
    topic
}

/// The lines of each shard, by the plan.
fn shards(source: &Dataset, lines: &[(&str, u32)]) -> Vec<Vec<(u32, Record)>> {
    let mut places = HashMap::new();
    let mut place = 0;
    for (key, value) in lines {
        places.insert(place, (at(key), record(key, *value)));
        place += line(key, *value).len() as u64 + 1;
    }
    let of = |segment: &migration::Segment| {
        let mut inside: Vec<_> = places.iter().filter(|(place, _)| (segment.start..segment.end).contains(place)).collect();
        inside.sort();
        inside.into_iter().map(|(_, sent)| sent.clone()).collect::<Vec<_>>()
    };
    source.plan.shards.iter().map(|shard| source.plan.segments(shard).iter().flat_map(of).collect()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_the_cleaner_takes_is_never_missing_and_what_never_came_is_when_it_was_the_last(
        lines in prop::collection::vec((prop::sample::select(vec!["a", "a", "b", "c", "d"]), 0u32..30), 1..80),
        turns in prop::collection::vec(any::<u32>(), 400),
        losses in prop::collection::vec(prop::bool::weighted(0.1), 80),
        loses: bool,
        takes in 0u32..5,
        records in prop::sample::select(vec![4usize, 12, 1000]),
    ) {
        let source = Dataset::new(&lines.iter().map(|(key, value)| line(key, *value)).collect::<Vec<_>>());
        let mut turns = turns.into_iter().cycle();
        let mut waiting: Vec<VecDeque<_>> = shards(&source, &lines).into_iter().map(Into::into).collect();
        let (mut topic, mut lost, mut losses) = (Vec::new(), 0u64, losses.into_iter().cycle());
        while waiting.iter().any(|shard| !shard.is_empty()) {
            let turn = turns.next().unwrap_or(0) as usize % waiting.len();
            if let Some(sent) = waiting[turn].pop_front() {
                if loses && losses.next().unwrap_or(false) { lost += 1 } else { topic.push(sent) }
            }
        }
        let topic = clean(topic, || turns.next().unwrap_or(0) % 5 < takes);
        let limits = VerifyLimits { examples: 3, records, keys: 1000 };
        let report = source.verify(&mut compacted(topic.clone()), limits).unwrap();
        let readable = topic.len() as u64;
        prop_assert_eq!(report.missing + report.superseded, lines.len() as u64 - readable);
        prop_assert!(report.missing <= lost, "never a false alarm: {} of {lost}", report.missing);
        prop_assert_eq!((report.duplicates, report.unexpected, report.altered), (0, 0, 0));
        if source.plan.shards.len() == 1 {
            prop_assert_eq!(report.missing, after_the_newest(&lines, &topic));
        }
    }
}

/// With one shard: how many records of each key follow the last copy of its newest readable one.
fn after_the_newest(lines: &[(&str, u32)], topic: &[(u32, Record)]) -> u64 {
    let mut missing = 0;
    for key in lines.iter().map(|(key, _)| *key).collect::<HashSet<_>>() {
        let newest = topic.iter().rev().find(|(_, (found, _))| found.as_deref() == Some(key.as_bytes())).map(|(_, r)| r);
        let of_key: Vec<_> = lines.iter().filter(|(k, _)| *k == key).map(|(k, value)| record(k, *value)).collect();
        let after = newest.and_then(|newest| of_key.iter().rposition(|r| r == newest)).map_or(0, |last| last + 1);
        let mut left: HashMap<&Record, i64> = HashMap::new();
        of_key.iter().for_each(|r| *left.entry(r).or_default() += 1);
        for (_, r) in topic {
            left.entry(r).and_modify(|n| *n -= 1);
        }
        missing += (left.values().sum::<i64>() as u64).min((of_key.len() - after) as u64);
    }
    missing
}
