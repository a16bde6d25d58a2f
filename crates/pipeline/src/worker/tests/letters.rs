//! Records that are set aside: what the topic's settings decide is never sent, the limit stops the attempt, and what a
//! broker refuses costs its neighbours nothing.

use std::time::{SystemTime, UNIX_EPOCH};

use migration::Counts;

use super::*;
use crate::Alone;

/// Every tenth record has no key.
fn some_without_key(count: u64) -> Rig {
    let lines = (0..count).map(|n| match n % 10 {
        3 => format!("{{\"n\":{n}}}"),
        _ => format!("{{\"k\":\"key-{}\",\"n\":{n}}}", n % 50),
    });
    let mut rig = Rig::new(lines.collect::<Vec<_>>()).keyed();
    rig.settings.topic.compacted = true;
    // As a compacted topic does, if it is asked.
    rig.behaviour.refuse = |value| !value.starts_with(b"{\"k\"");
    rig
}

fn groups(rig: &Rig) -> usize {
    rig.topic.as_ref().unwrap().borrow().groups.len()
}

fn sum(chunks: &[Chunk]) -> Counts {
    let mut sum = Counts::default();
    chunks.iter().for_each(|chunk| sum.add(&chunk.counts));
    sum
}

#[test]
fn a_compacted_topic_is_not_asked_about_records_without_a_key() {
    let mut rig = some_without_key(20_000);
    let attempt = rig.run_through();
    assert!(attempt.end.unwrap().complete);
    assert_eq!(attempt.log, [""; 0], "nothing was refused by the broker");
    assert_eq!(sum(&attempt.chunks).dead_lettered, 2_000);
    assert!(rig.letters().iter().all(|letter| letter.reason.contains("cleanup.policy")));
    // Nor where no record has one.
    let mut keyless = Rig::new(plain(5_000));
    keyless.settings.topic.compacted = true;
    let attempt = keyless.run_through();
    assert_eq!((sum(&attempt.chunks).dead_lettered, groups(&keyless)), (5_000, 0));
}

#[test]
fn an_empty_key_is_a_key_in_a_compacted_topic() {
    let mut rig = Rig::new(["{\"k\":\"\",\"n\":0}".to_owned()]).keyed();
    rig.settings.topic.compacted = true;
    assert_eq!(sum(&rig.run_through().chunks).acknowledged, 1);
}

#[test]
fn times_outside_of_the_topics_limits_are_not_sent_and_those_near_to_them_are() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let hour = 3_600_000;
    // The last two are for the brokers to judge: within a minute of the limit.
    let offsets = [0, -hour / 2, hour / 2, -2 * hour, 2 * hour, 100 * hour, -hour - 30_000, hour + 30_000];
    let lines = offsets.iter().enumerate().map(|(n, offset)| format!("{{\"n\":{n},\"t\":{}}}", now + offset));
    let mut rig = Rig::new(lines.collect::<Vec<_>>());
    rig.rules.timestamp = Some(FieldPath(vec!["t".to_owned()]));
    (rig.settings.topic.before_max_ms, rig.settings.topic.after_max_ms) = (Some(hour), Some(hour));
    let attempt = rig.run_through();
    assert_eq!((sum(&attempt.chunks).acknowledged, sum(&attempt.chunks).dead_lettered), (5, 3));
    let letters = rig.letters();
    let found: Vec<_> = letters.iter().map(|l| (number(&l.record), l.reason.contains("message.timestamp.before"))).collect();
    assert_eq!(found, [(3, true), (4, false), (5, false)]);
    assert!(letters[1].reason.contains("message.timestamp.after.max.ms = 3600000"), "{}", letters[1].reason);
}

#[test]
fn a_record_whose_batch_is_just_too_large_is_not_sent() {
    let line = |n: u64, bytes: usize| format!("{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(bytes - 16));
    let mut rig = Rig::new([line(0, 1_000), line(1, 1_001)]);
    let headers = (1, migration::topic::header_bytes(3, 5));
    rig.settings.headers_bytes = 8;
    let bytes = migration::topic::batch_bytes_of_one(None, 1_000, headers);
    rig.behaviour.limits.alone = Some(Alone { bytes, headers: headers.0, header_bytes: headers.1 });
    let attempt = rig.run_through();
    assert_eq!((sum(&attempt.chunks).acknowledged, sum(&attempt.chunks).dead_lettered), (1, 1));
    let letters = rig.letters();
    assert_eq!(number(&letters[0].record), 1);
    assert!(letters[0].reason.contains(&format!("max.message.bytes = {bytes}")), "{}", letters[0].reason);
}

#[test]
fn at_one_letter_more_than_is_left_the_attempt_commits_what_it_has_and_fails() {
    for flush in [FlushPolicy::Chunk, FlushPolicy::Record] {
        for left in [0, 1, 7] {
            let mut rig = some_without_key(20_000);
            rig.settings.flush = flush;
            rig.settings.letters_left = left;
            let attempt = rig.run_through();
            let failure = attempt.end.expect_err("there are more");
            assert_eq!(failure.kind, FailureKind::TooManyBad, "{failure}");
            let counts = sum(&attempt.chunks);
            assert_eq!((counts.dead_lettered, counts.read), (left + 1, left * 10 + 4), "{flush:?}, {left} left");
            assert_eq!(rig.letters().len() as u64, left + 1);
            assert_eq!(rig.delivered().iter().map(Vec::len).sum::<usize>() as u64, counts.acknowledged);
        }
    }
}

#[test]
fn exactly_as_many_letters_as_are_left_are_no_failure() {
    let mut rig = some_without_key(1_000);
    rig.settings.letters_left = 100;
    assert!(rig.run_through().end.unwrap().complete);
    assert_eq!(rig.letters().len(), 100);
}

#[test]
fn records_that_the_broker_names_are_set_aside_and_their_neighbours_sent_again_at_once() {
    for keyed in [true, false] {
        let lines = keys(100_000, NonZeroU64::new(500).unwrap());
        let mut clean = Rig::new(keys(100_000, NonZeroU64::new(500).unwrap()));
        let mut rig = Rig::new(lines);
        if keyed {
            (clean, rig) = (clean.keyed(), rig.keyed());
        }
        clean.run_through().end.unwrap();
        rig.behaviour.names = true;
        rig.behaviour.refuse = |value| number(value) % 100 == 7;
        let attempt = rig.run_through();
        assert!(attempt.end.unwrap().complete);
        assert_eq!((sum(&attempt.chunks).acknowledged, sum(&attempt.chunks).dead_lettered), (99_000, 1_000));
        assert!(rig.letters().iter().all(|letter| number(&letter.record) % 100 == 7));
        let delivered = rig.delivered();
        assert!(delivered.iter().all(|partition| partition.is_sorted_by(|a, b| a < b)), "in source order, each once");
        // Each group goes twice at most, whatever of it was refused.
        assert!(groups(&rig) <= 2 * groups(&clean) + 8, "{} groups, {} without refusals", groups(&rig), groups(&clean));
    }
}

#[test]
fn a_group_of_which_everything_is_named_comes_to_letters_in_one_go() {
    let mut rig = Rig::new(plain(2_000));
    rig.behaviour.names = true;
    rig.behaviour.refuse = |_| true;
    let attempt = rig.run_through();
    assert!(attempt.end.unwrap().complete);
    assert_eq!((sum(&attempt.chunks).dead_lettered, groups(&rig)), (2_000, 1));
}

#[test]
fn the_search_in_a_topic_that_refuses_everything_ends_with_the_limit() {
    let mut rig = Rig::new(plain(20_000));
    rig.behaviour.refuse = |_| true;
    rig.settings.letters_left = 2;
    let attempt = rig.run_through();
    assert_eq!(attempt.end.unwrap_err().kind, FailureKind::TooManyBad);
    assert!(groups(&rig) < 100, "{} groups were sent", groups(&rig));
    assert!(attempt.chunks.is_empty() && rig.letters().is_empty(), "no letter is committed without its chunk");
}

#[test]
fn letters_of_a_chunk_that_was_never_committed_are_forgotten() {
    let mut rig = some_without_key(20_000);
    rig.settings.chunk.records = 500;
    let (mut from, mut attempts) = (Position::default(), 0);
    for step in (5..).step_by(3) {
        rig.kill_at = Some(step);
        let attempt = rig.run(from, &mut |_, _| ());
        attempts += 1;
        if let Some(last) = attempt.chunks.last() {
            from = last.position;
            rig.committed_letters = last.letters;
        }
        // As many as the committed records have.
        assert_eq!(rig.letters().len() as u64, (from.records + 6) / 10, "after {attempts} attempts, at {}", from.records);
        if attempt.end.is_ok() {
            break;
        }
    }
    assert!(attempts > 2, "{attempts} attempts");
    assert_eq!(rig.letters().len(), 2_000);
    let all = dead_letter::uncommitted(&rig.letters_folder(), &[(ShardId(0), rig.committed_letters)], |path, options| {
        options.open(path)
    })
    .unwrap();
    assert_eq!(all, 0);
}

#[test]
fn letters_in_a_folder_that_was_removed_are_not_committed() {
    let mut rig = some_without_key(20_000);
    rig.settings.chunk.records = 500;
    let folder = rig.letters_folder();
    let mut removed_at = None;
    let attempt = rig.run(Position::default(), &mut |_, told| {
        if told.chunks == 10 && removed_at.is_none() {
            std::fs::remove_dir_all(&folder).unwrap();
            removed_at = Some(told.chunks);
        }
    });
    let failure = attempt.end.unwrap_err();
    assert_eq!(failure.kind, FailureKind::State);
    assert!(failure.message.contains("removed or replaced while it was written"), "{failure}");
    assert_eq!(attempt.chunks.len(), 10, "the next chunk has letters");
    // Run again: what was not committed is set aside again, and only what was committed is gone.
    let from = attempt.chunks[9].position;
    assert!(rig.run(from, &mut |_, _| ()).end.unwrap().complete);
    assert_eq!(rig.letters().len() as u64, 2_000 - sum(&attempt.chunks).dead_lettered);
    let all = [((ShardId(0), rig.committed_letters), 2_000)];
    let gone = dead_letter::gone(&rig.letters_folder(), &all, |path, options| options.open(path)).unwrap();
    assert_eq!(gone[0].letters, sum(&attempt.chunks).dead_lettered);
}
