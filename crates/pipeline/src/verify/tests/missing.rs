//! The list of all records that the topic lacks.

use super::*;

/// The missing records that `processes` processes list, in the order of their numbers.
fn listed(source: &Dataset, topic: &Topic, limits: VerifyLimits, processes: usize) -> (VerifyReport, Vec<Vec<u8>>) {
    let expected = &[source.expected()];
    let job = Verification {
        expected,
        rules: &source.rules,
        partitioner: partition,
        partitions: PARTITIONS,
        last_values: super::last_values(expected, PARTITIONS, topic),
        limits,
    };
    let divided = division_of(expected, 1).unwrap();
    let counted = count(&job, divided.part(0), &mut topic.clone(), &mut |_| ()).unwrap();
    let (mut report, differing) = counted.settle(&job, topic.compacted, Retention::Embedded);
    let mut all = std::collections::BTreeMap::new();
    let mut matched = Vec::new();
    for process in 0..processes {
        let mut list = |missing: &MissingRecord<'_>| {
            assert!(all.insert(missing.number, missing.value.to_vec()).is_none(), "each once");
            Ok(())
        };
        let mut listings = Listings { surplus: &mut |_| Ok(()), missing: Some(&mut list) };
        let Some(differing) = &differing else { continue };
        let (topic, step) = (&mut topic.clone(), processes);
        matched.push(differing.find(&job, topic, (process, step), &report, &mut listings, &mut |_| ()).unwrap());
    }
    if let Some(differing) = differing {
        differing.finish(matched, limits.examples, &mut report).unwrap();
    }
    (report, all.into_values().collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sending_what_is_listed_leaves_nothing_missing(
        lines in prop::collection::vec((prop::sample::select(vec!["a", "a", "b", "c", "-"]), 0u32..12, 0u32..4), 1..60),
        extra in prop::collection::vec((prop::sample::select(vec!["a", "b", "zz", "-"]), 0u32..15, 0..PARTITIONS), 0..6),
        examples in prop::sample::select(vec![0usize, 2]),
        records in prop::sample::select(vec![1usize, 2, 9, 1000]),
        keys in prop::sample::select(vec![1usize, 1000]),
        processes in 1usize..4,
        compacted: bool,
    ) {
        let lines: Vec<_> = lines.into_iter().filter(|(key, ..)| !(compacted && *key == "-")).collect();
        // A copy out of its order in a compacted topic is another matter.
        let is_copy = |key: &str, value: u32| lines.iter().any(|(other, known, _)| (*other, *known) == (key, value));
        let extra: Vec<_> = extra.into_iter().filter(|(key, value, _)| !(compacted && is_copy(key, *value))).collect();
        let texts: Vec<_> = lines.iter().map(|(key, value, _)| line(key, *value)).collect();
        let source = if compacted { last_values::ordered(&texts) } else { Dataset::new(&texts) };
        let kept = lines.iter().filter(|(_, _, fate)| *fate > 0);
        let mut topic: Vec<_> = kept.map(|(key, value, _)| (at(key), record(key, *value))).collect();
        topic.extend(extra.iter().map(|(key, value, partition)| (*partition, record(key, *value))));
        let limits = VerifyLimits { examples, records, keys };
        let read = |records: &[(u32, Record)]| Topic { compacted: Some(compacted), ..Topic::new(records.to_vec()) };
        let (report, missing) = listed(&source, &read(&topic), limits, processes);
        prop_assert_eq!(&missing, &listed(&source, &read(&topic), limits, 1).1, "whatever the number of processes");
        if compacted {
            prop_assert!(missing.len() as u64 <= report.missing + report.altered);
        } else {
            prop_assert_eq!(missing.len() as u64, report.missing);
        }
        for value in &missing {
            let parsed: serde_json::Value = serde_json::from_slice(value).unwrap();
            let key = parsed["k"].as_str().unwrap_or("-");
            topic.push((at(key), record(key, parsed["v"].as_u64().unwrap() as u32)));
        }
        let (after, left) = listed(&source, &read(&topic), limits, processes);
        prop_assert_eq!((after.missing, left.len()), (0, 0));
        prop_assert_eq!((after.duplicates, after.altered), (report.duplicates, report.altered));
    }
}
