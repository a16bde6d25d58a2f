//! Every record once, in order, whatever the reports do.

use crate::lanes::GROUP_RECORDS;
use migration::Counts;
use proptest::prelude::*;

use super::*;

/// One line of a random source.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Keyed(u8),
    EmptyKey,
    NoKey,
    Blank,
    Refused(u8),
    RefusedLocally(u8),
    BadKey,
    NotJson,
    CutOff,
    TooLong,
}

pub(super) fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        200 => (0u8..20).prop_map(Kind::Keyed),
        40 => Just(Kind::NoKey),
        4 => Just(Kind::EmptyKey),
        4 => Just(Kind::Blank),
        1 => (0u8..20).prop_map(Kind::Refused),
        1 => (0u8..20).prop_map(Kind::RefusedLocally),
        1 => Just(Kind::BadKey),
        1 => Just(Kind::NotJson),
        1 => Just(Kind::CutOff),
        1 => Just(Kind::TooLong),
    ]
}

fn flush() -> impl Strategy<Value = FlushPolicy> {
    prop_oneof![1 => Just(FlushPolicy::Record), 9 => Just(FlushPolicy::Chunk)]
}

fn line(n: usize, kind: &Kind) -> String {
    let pad = "x".repeat(n % 41);
    match kind {
        Kind::Keyed(k) => format!("{{\"k\":\"{k}\",\"n\":{n},\"pad\":\"{pad}\"}}"),
        Kind::EmptyKey => format!("{{\"k\":\"\",\"n\":{n}}}"),
        Kind::NoKey => format!("{{\"n\":{n},\"pad\":\"{pad}\"}}"),
        Kind::Blank => " ".repeat(n % 3),
        Kind::Refused(k) => format!("{{\"k\":\"{k}\",\"n\":{n},\"poison\":1}}"),
        Kind::RefusedLocally(k) => format!("{{\"k\":\"{k}\",\"n\":{n},\"wrong\":1}}"),
        Kind::BadKey => format!("{{\"k\":[1],\"n\":{n}}}"),
        Kind::NotJson => format!("\0{{\"k\":\"a\",\"n\":{n}}}"),
        Kind::CutOff => format!("{{\"n\":{n}"),
        Kind::TooLong => format!("{{\"n\":{n},\"long\":\"{}\"}}", "x".repeat(5_000)),
    }
}

fn contains(line: &[u8], what: &[u8]) -> bool {
    line.windows(what.len()).any(|window| window == what)
}

pub(super) fn rig(kinds: &[Kind], keyed: bool, seed: u64) -> Rig {
    let mut rig = Rig::new(kinds.iter().enumerate().map(|(n, kind)| line(n, kind)));
    // Several segments, one of them empty.
    let lines = rig.lines();
    let third = lines.len() / 3;
    let join = |lines: &[&[u8]]| lines.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect::<Vec<u8>>();
    let segments = vec![join(&lines[..third]), Vec::new(), join(&lines[third..])];
    rig.segments = Rc::new(segments);
    rig.max_line = 4_000;
    rig.seed = seed;
    rig.behaviour.refuse = |value| contains(value, b"poison");
    rig.behaviour.refuse_locally = |value| contains(value, b"wrong");
    if keyed { rig.keyed() } else { rig }
}

/// Every record delivered or set aside, exactly once; order kept; counts right.
fn judge(rig: &Rig, chunks: &[Chunk]) -> Result<(), TestCaseError> {
    let topic = rig.topic.as_ref().unwrap().borrow();
    prop_assert!(!topic.two_in_flight);
    let delivered = rig.delivered();
    for partition in &delivered {
        prop_assert!(partition.is_sorted_by(|a, b| a < b), "order within a partition: {partition:?}");
    }
    let letters = rig.letters();
    let mut seen: Vec<u64> = delivered.concat();
    seen.extend(letters.iter().map(|letter| number(&letter.record)));
    seen.sort_unstable();
    let lines = rig.lines();
    let expected: Vec<u64> = lines.iter().filter(|line| !line.trim_ascii().is_empty()).map(|line| number(line)).collect();
    prop_assert_eq!(seen, expected);
    for letter in &letters {
        let segment: usize = letter.path.trim_end_matches(".jsonl").parse().unwrap();
        let (start, bytes) = (letter.start as usize, letter.bytes as usize);
        if rig.made {
            // The length is that of the line, the record what was made of it.
            let row = &rig.made_rows().rows(segment)[start];
            prop_assert!(row.len() == bytes + 1 && row.starts_with(&letter.record));
        } else {
            prop_assert!(rig.segments[segment][start..][..bytes].starts_with(&letter.record));
        }
    }

    let mut sum = Counts::default();
    for (index, chunk) in chunks.iter().enumerate() {
        prop_assert!(chunk.counts.balance());
        prop_assert!(index == 0 || chunk.position > chunks[index - 1].position);
        prop_assert_eq!(chunk.work.partitions.iter().sum::<u64>(), chunk.counts.acknowledged);
        prop_assert!(chunk.counts.read <= rig.settings.chunk.records);
        sum.add(&chunk.counts);
        prop_assert_eq!(chunk.position.records, sum.read);
    }
    prop_assert_eq!(sum.read, lines.len() as u64);
    prop_assert_eq!(sum.dead_lettered, letters.len() as u64);
    prop_assert_eq!(sum.bytes_read, rig.segments.iter().map(|s| s.len() as u64).sum::<u64>());
    let stored = topic.partitions.iter().flatten();
    prop_assert_eq!(
        sum.bytes_sent,
        stored.map(|m| m.value.len() as u64 + m.key.as_ref().map_or(0, |k| k.len() as u64)).sum::<u64>()
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_record_once_and_in_order(
        kinds in prop::collection::vec(kind(), 0..4_000),
        keyed: bool,
        made: bool,
        seed: u64,
        partitions in 1u32..7,
        patience in 1u64..30,
        batch_bytes in prop_oneof![Just(300usize), Just(3_000), Just(1_000_000)],
        chunk_records in prop_oneof![Just(1u64), Just(97), Just(1_500), Just(1_000_000)],
        flush in flush(),
    ) {
        let mut rig = rig(&kinds, keyed, seed);
        rig.made = made;
        rig.partitions = partitions;
        rig.behaviour.patience = patience;
        rig.behaviour.limits.batch_bytes = batch_bytes;
        rig.settings.chunk.records = chunk_records;
        rig.settings.in_flight = 0;
        rig.settings.flush = flush;
        let attempt = rig.run_through();
        let end = attempt.end.unwrap();
        prop_assert!(end.complete && rig.topic.as_ref().unwrap().borrow().finished);
        judge(&rig, &attempt.chunks)?;
    }

    #[test]
    fn a_drain_or_a_pause_at_any_step_loses_and_repeats_nothing(
        kinds in prop::collection::vec(kind(), 0..2_000),
        keyed: bool,
        made: bool,
        seed: u64,
        drains in prop::collection::vec(0u64..400, 0..6),
        pauses in prop::collection::vec(0u64..400, 0..3),
        chunk_records in prop_oneof![Just(10u64), Just(200), Just(1_000_000)],
        flush in flush(),
    ) {
        let mut rig = rig(&kinds, keyed, seed);
        rig.made = made;
        rig.settings.flush = flush;
        rig.behaviour.limits.batch_bytes = 2_000;
        rig.settings.chunk.records = chunk_records;
        rig.settings.in_flight = 0;
        let mut chunks = Vec::new();
        let mut from = Position::default();
        let mut complete = false;
        for drain in drains.into_iter().map(Some).chain([None]) {
            let mut paused = 0;
            let attempt = rig.run(from, &mut |control, told| {
                control.drain = drain.is_some_and(|step| told.step >= step);
                if pauses.contains(&told.step) {
                    paused = 20;
                }
                control.paused = paused > 0;
                paused -= u64::from(paused > 0);
            });
            let end = attempt.end.unwrap();
            prop_assert!(end.position >= from);
            prop_assert_eq!(end.position, attempt.chunks.last().map_or(from, |chunk| chunk.position));
            from = end.position;
            chunks.extend(attempt.chunks);
            complete = end.complete;
            if complete {
                break;
            }
        }
        prop_assert!(complete);
        judge(&rig, &chunks)?;
    }

    #[test]
    fn a_kill_at_any_step_loses_nothing_and_repeats_only_what_was_not_committed(
        kinds in prop::collection::vec(kind(), 1..2_000),
        keyed: bool,
        made: bool,
        seed: u64,
        kills in prop::collection::vec(0u64..300, 1..6),
        chunk_records in prop_oneof![Just(10u64), Just(200)],
        flush in flush(),
    ) {
        let mut rig = rig(&kinds, keyed, seed);
        rig.made = made;
        rig.settings.flush = flush;
        rig.behaviour.limits.batch_bytes = 2_000;
        rig.settings.chunk.records = chunk_records;
        rig.settings.in_flight = 0;
        let (mut from, mut deaths, mut complete) = (Position::default(), 0, false);
        for kill in kills.into_iter().map(Some).chain([None]) {
            rig.kill_at = kill;
            let attempt = rig.run(from, &mut |_, _| ());
            from = attempt.chunks.last().map_or(from, |chunk| chunk.position);
            match attempt.end {
                Err(failure) => prop_assert_eq!(failure.message, "killed"),
                Ok(end) => complete = end.complete,
            }
            if complete {
                break;
            }
            deaths += 1;
        }
        prop_assert!(complete);
        let mut seen: Vec<u64> = rig.delivered().concat();
        seen.extend(rig.letters().iter().map(|letter| number(&letter.record)));
        let total = seen.len() as u64;
        seen.sort_unstable();
        seen.dedup();
        let lines = rig.lines();
        let expected: Vec<u64> = lines.iter().filter(|line| !line.trim_ascii().is_empty()).map(|line| number(line)).collect();
        prop_assert!(total - expected.len() as u64 <= deaths * chunk_records);
        prop_assert_eq!(seen, expected);
    }
}

#[test]
fn a_record_that_is_larger_than_a_group_goes_alone() {
    let mut rig =
        Rig::new((0..30).map(|n| format!("{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(if n % 3 == 0 { 900 } else { 10 }))));
    rig.behaviour.limits.batch_bytes = 500;
    rig.run_through().end.unwrap();
    let topic = rig.topic.as_ref().unwrap().borrow();
    assert_eq!(topic.groups.iter().sum::<usize>(), 30);
    assert_eq!(topic.groups.iter().filter(|&&size| size == 1).count(), 10, "{:?}", topic.groups);
}

#[test]
fn groups_are_full_and_keyless_ones_are_spread_evenly() {
    let mut rig = Rig::new(plain(60_000));
    rig.settings.in_flight = 64 << 20;
    rig.run_through().end.unwrap();
    let topic = rig.topic.as_ref().unwrap().borrow();
    assert!(topic.groups.iter().all(|&size| size == GROUP_RECORDS), "{:?}", topic.groups);
    assert!(topic.partitions.iter().all(|stored| stored.len() >= GROUP_RECORDS));
}

#[test]
fn records_over_the_topics_limit_are_set_aside_and_a_null_timestamp_stays_unset() {
    let mut rig =
        Rig::new(["{\"k\":\"a\",\"n\":0}".to_owned(), format!("{{\"k\":\"a\",\"n\":1,\"x\":\"{}\"}}", "x".repeat(200))])
            .keyed();
    rig.behaviour.limits.record_bytes = 150;
    rig.settings.headers_bytes = 50;
    let attempt = rig.run_through();
    assert_eq!(attempt.chunks[0].counts.dead_lettered, 1);
    assert!(rig.letters()[0].reason.contains("max.message.bytes leaves room for 100"), "{:?}", rig.letters());
    let topic = rig.topic.as_ref().unwrap().borrow();
    let stored = topic.partitions.iter().flatten().next().unwrap();
    assert_eq!((stored.key.as_deref(), stored.timestamp), (Some(&b"a"[..]), None));
}
