//! Topics that live: records of other producers beside the job's.

use super::*;

/// The headers of a record in the topic of a job that sets some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Headers {
    /// Exactly the job's.
    Own,
    /// The job's in another order, and one more.
    More,
    /// One of the job's two.
    Some,
    None,
}

impl Headers {
    fn encoded(self) -> Vec<u8> {
        let (origin, empty, more) = (header("origin", Some("orders")), header("empty", Some("")), header("more", None));
        match self {
            Headers::Own => [origin, empty].concat(),
            Headers::More => [empty, more, origin].concat(),
            Headers::Some => [more, empty].concat(),
            Headers::None => Vec::new(),
        }
    }

    fn are_the_jobs(self) -> bool {
        matches!(self, Headers::Own | Headers::More)
    }
}

/// A source whose job sets headers, and a topic with them.
fn with_headers(lines: &[String], topic: &[(u32, Record, Headers)]) -> (Dataset, Topic) {
    let mut source = Dataset::new(lines);
    source.rules.headers = vec![("origin".into(), "orders".into()), ("empty".into(), String::new())];
    let details = topic.iter().map(|(.., headers)| (headers.encoded(), None)).enumerate().collect();
    let records = topic.iter().map(|(partition, record, _)| (*partition, record.clone())).collect();
    (source, Topic { details, ..Topic::new(records) })
}

#[test]
fn records_without_the_jobs_headers_are_others_and_one_reading_tells_it() {
    let sent = |v| (at("a"), record("a", v), Headers::Own);
    let foreign = |v, headers| ((at("a") + 1) % PARTITIONS, record("a", v), headers);
    // In another partition than their key chooses, one with the source's own content, one with a header of the job's.
    let live =
        [foreign(7, Headers::None), foreign(1, Headers::None), foreign(8, Headers::Some), (2, record("-", 1), Headers::None)];
    let topic = [vec![sent(1), sent(2)], live.to_vec()].concat();
    let (source, mut topic) = with_headers(&[line("a", 1), line("a", 2)], &topic);
    let report = source.verify(&mut topic, tiny(9)).unwrap();
    assert!(report.is_clean(None) && report.examples.is_empty(), "{report:?}");
    assert_eq!((report.others, report.unexpected, report.topic_records, topic.restarts), (4, 0, 6, 1));
}

#[test]
fn with_headers_a_record_that_only_the_job_can_have_sent_is_a_difference() {
    let topic = [(at("a"), record("a", 1), Headers::Own), (at("b"), record("b", 9), Headers::Own)];
    let (source, mut topic) = with_headers(&[line("a", 1)], &topic);
    let report = source.verify(&mut topic, tiny(9)).unwrap();
    assert_eq!((report.unexpected, report.not_the_sources(), report.is_clean(None)), (1, 0, false));
}

#[test]
fn without_headers_what_the_source_has_not_is_no_difference_by_itself() {
    let source = Dataset::new(&[line("a", 1), line("b", 2)]);
    let foreign = ((at("b") + 1) % PARTITIONS, (Some(b"b".to_vec()), b"live".to_vec()));
    let mut all = vec![(at("a"), record("a", 1)), (at("b"), record("b", 2)), foreign];
    let report = source.verify(&mut Topic::new(all.clone()), tiny(9)).unwrap();
    assert_eq!((report.unexpected, report.not_the_sources(), report.misplaced, report.is_clean(None)), (1, 1, 0, true));
    // An altered one lacks in its place.
    all[0].1.1 = b"changed".to_vec();
    let report = source.verify(&mut Topic::new(all.clone()), tiny(9)).unwrap();
    assert_eq!((report.altered, report.unexpected, report.is_clean(None)), (1, 1, false));
    // A copy of the source's is surplus, from whichever producer.
    all[0] = (at("b"), record("b", 2));
    all.push((at("a"), record("a", 1)));
    let report = source.verify(&mut Topic::new(all), tiny(9)).unwrap();
    assert_eq!((report.duplicates, report.unexpected, report.is_clean(None)), (1, 1, false));
}

#[test]
fn what_others_wrote_needs_no_memory_and_few_readings() {
    let lines: Vec<_> = (0..500).map(|v| line(&format!("k{v}"), v)).collect();
    let source = Dataset::new(&lines);
    let sent = (0..500).map(|v| (at(&format!("k{v}")), record(&format!("k{v}"), v)));
    let foreign = (0..20_000).map(|v| (at(&format!("f{v}")), record(&format!("f{v}"), v)));
    let mut topic = Topic::new(sent.chain(foreign).collect());
    let limits = VerifyLimits { examples: 1, records: 1_000, keys: 1 };
    let report = source.verify(&mut topic, limits).unwrap();
    assert_eq!((report.unexpected, report.is_clean(None), topic.restarts), (20_000, true, 2));
}

#[test]
fn a_list_that_takes_no_more_ends_the_comparison() {
    let source = Dataset::new(&[line("a", 1)]);
    let expected = [source.expected()];
    let (rules, partitioner) = (&source.rules, partition);
    let (last_values, limits) = (LastValues::NotCompacted, tiny(1));
    let job = Verification { expected: &expected, rules, partitioner, partitions: PARTITIONS, last_values, limits };
    let mut topic = Topic::new(vec![(at("a"), record("a", 1)); 9]);
    let mut listed = 0;
    let mut list = |_: &TopicRecord<'_>| {
        listed += 1;
        if listed < 3 { Ok(()) } else { Err(std::io::Error::other("no space left")) }
    };
    let error = verify(&job, &mut topic, &mut Listings { surplus: &mut list, missing: None }, &mut |_| ()).unwrap_err();
    assert_eq!(error, VerifyError::Listing("no space left".to_owned()));
    assert_eq!(listed, 3);
}

/// Missing, duplicate, altered, misplaced, unexpected and others' records.
fn oracle(expected: &[Record], topic: &[(u32, Record, Headers)]) -> [u64; 6] {
    let mut left: HashMap<&Record, u64> = HashMap::new();
    expected.iter().for_each(|record| *left.entry(record).or_default() += 1);
    let (mut duplicates, mut misplaced, mut unexpected, mut altered, mut others) = (0, 0, 0, 0, 0);
    // By key and partition, or without a key by value.
    type Pairs<'a> = HashMap<(Option<&'a [u8]>, Option<u32>, &'a [u8]), (u64, u64)>;
    let mut pairs: Pairs<'_> = HashMap::new();
    for (partition, record, headers) in topic.iter().filter(|(.., headers)| headers.are_the_jobs()) {
        let chosen = record.0.as_ref().and_then(|key| self::partition(key, PARTITIONS));
        let known = left.get_mut(record).filter(|_| *headers == Headers::Own);
        misplaced += u64::from(known.is_some() && chosen.is_some_and(|chosen| chosen != *partition));
        match known {
            Some(0) => duplicates += 1,
            Some(n) => *n -= 1,
            None => {
                unexpected += 1;
                let by = match &record.0 {
                    Some(key) => (Some(&key[..]), Some(*partition), &b""[..]),
                    None => (None, None, &record.1[..]),
                };
                pairs.entry(by).or_default().1 += 1;
            }
        }
    }
    for (_, record, _) in topic.iter().filter(|(.., headers)| !headers.are_the_jobs()) {
        match left.get_mut(record) {
            Some(n) if *n > 0 => {
                *n -= 1;
                altered += 1;
            }
            _ => others += 1,
        }
    }
    for (record, &n) in &left {
        let by = match &record.0 {
            Some(key) => partition(key, PARTITIONS).map(|partition| (Some(&key[..]), Some(partition), &b""[..])),
            None => Some((None, None, &record.1[..])),
        };
        if let Some(by) = by {
            pairs.entry(by).or_default().0 += n;
        }
    }
    let paired = pairs.values().map(|(a, b)| a.min(b)).sum::<u64>();
    let missing = left.values().sum::<u64>() - paired;
    [missing, duplicates, altered + paired, misplaced, unexpected - paired, others]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn counts_beside_others_records_are_those_of_an_oracle(
        lines in prop::collection::vec((prop::sample::select(vec!["a", "a", "b", "c", "", "-"]), 0u32..6), 0..30),
        kept in prop::collection::vec(prop::bool::weighted(0.8), 30),
        extra in prop::collection::vec(
            (
                prop::sample::select(vec!["a", "b", "zz", "", "-"]),
                0u32..9,
                0..PARTITIONS,
                prop::sample::select(vec![Headers::Own, Headers::More, Headers::Some, Headers::None, Headers::None]),
            ),
            0..25,
        ),
        examples in prop::sample::select(vec![0usize, 1, 1000]),
        records in prop::sample::select(vec![1usize, 2, 9, 1000]),
        keys in prop::sample::select(vec![1usize, 3, 1000]),
        turn: prop::sample::Index,
    ) {
        let expected: Vec<_> = lines.iter().map(|(key, value)| record(key, *value)).collect();
        let sent = lines.iter().zip(&kept).filter(|(_, kept)| **kept);
        let mut topic: Vec<_> = sent.map(|((key, value), _)| (at(key), record(key, *value), Headers::Own)).collect();
        topic.extend(extra.iter().map(|(key, value, partition, headers)| (*partition, record(key, *value), *headers)));
        if !topic.is_empty() {
            let by = turn.index(topic.len());
            topic.rotate_left(by);
        }
        let lines: Vec<_> = lines.iter().map(|(key, value)| line(key, *value)).collect();
        let (source, mut read) = with_headers(&lines, &topic);
        let report = source.verify(&mut read, VerifyLimits { examples, records, keys }).unwrap();
        let counts =
            [report.missing, report.duplicates, report.altered, report.misplaced, report.unexpected, report.others];
        prop_assert_eq!(counts, oracle(&expected, &topic));
        prop_assert_eq!(report.topic_records, topic.len() as u64);
        let topic: Vec<_> = topic.into_iter().map(|(partition, record, _)| (partition, record)).collect();
        check_examples(&report, &topic, examples);
    }
}
