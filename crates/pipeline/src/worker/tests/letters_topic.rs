//! Records that are set aside into a topic: none is committed before its letter is acknowledged, and after deaths each
//! record is sent or has one letter that counts.

use std::collections::BTreeSet;

use super::*;

/// Of each ten records one is refused by the broker and one can't be mapped.
fn mixed(count: u64) -> Rig {
    let lines = (0..count).map(|n| match n % 10 {
        3 => format!("{{\"n\":{n}}}"),
        7 => format!("{{\"k\":\"bad-{}\",\"n\":{n}}}", n % 50),
        _ => format!("{{\"k\":\"key-{}\",\"n\":{n}}}", n % 50),
    });
    let mut rig = Rig::new(lines.collect::<Vec<_>>()).keyed();
    rig.rules.on_missing = OnMissing::DeadLetter;
    rig.behaviour.refuse = |value| value.starts_with(b"{\"k\":\"bad");
    rig.behaviour.names = true;
    rig.letters_attempt = Some(1);
    rig
}

fn dead_lettered(attempt: &Attempt) -> u64 {
    attempt.chunks.iter().map(|chunk| chunk.counts.dead_lettered).sum()
}

#[test]
fn a_letter_says_which_record_it_is_and_why() {
    let mut rig = mixed(10);
    assert!(rig.run_through().end.unwrap().complete);
    let mut letters = rig.topic_letters();
    letters.sort_by_key(|letter| letter.letter.start);
    let found: Vec<_> = letters.iter().map(|letter| (letter.letter.reason.as_str(), letter.letter.record.as_slice())).collect();
    assert_eq!(found[0].1, b"{\"n\":3}");
    assert_eq!(found[1], ("refused by the broker", b"{\"k\":\"bad-7\",\"n\":7}".as_slice()));
    assert!(letters.iter().all(|letter| letter.letter.path == "0.jsonl" && !letter.letter.cut && letter.attempt == 1));
    // What the broker refused has its key.
    let topic = rig.topic.as_ref().unwrap().borrow();
    assert_eq!(topic.letters.iter().filter(|letter| letter.key.as_deref() == Some(b"bad-7")).count(), 1);
    assert_eq!(rig.committed_letters, 0, "nothing of them is in a file");
    assert!(!rig.letters_folder().exists());
}

#[test]
fn no_chunk_is_committed_before_its_letters_are_acknowledged() {
    for seed in 1..6 {
        let mut rig = mixed(30_000);
        (rig.seed, rig.settings.chunk.records) = (seed, 1_000);
        let topic = rig.topic.insert(MemorySink::new(4, Behaviour::default(), 1).topic());
        let topic = Rc::clone(topic);
        let mut worst = 0;
        let attempt = rig.run(Position::default(), &mut |_, told| {
            // The letters of the chunks that were told are there, and a chunk more at most.
            let there = topic.borrow().letters.len();
            assert!(there >= told.chunks * 200, "{there} letters after {} chunks", told.chunks);
            worst = worst.max(there);
        });
        assert!(attempt.end.unwrap().complete);
        assert_eq!(topic.borrow().letters.len(), 6_000);
        assert_eq!(worst, 6_000);
    }
}

#[test]
fn letters_in_flight_are_bounded() {
    // Each record is bad.
    let lines = (0..200_000u64).map(|n| format!("{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(80)));
    let mut rig = Rig::new(lines.collect::<Vec<_>>()).keyed();
    rig.rules.on_missing = OnMissing::DeadLetter;
    rig.letters_attempt = Some(1);
    let attempt = rig.run_through();
    assert!(attempt.end.unwrap().complete);
    let most = rig.topic.as_ref().unwrap().borrow().most_letter_bytes;
    assert!(most <= 2 << 20, "{most} bytes in flight");
    assert_eq!(rig.counted_letters, 200_000);
}

#[test]
fn a_record_that_does_not_fit_is_cut() {
    let long = format!("{{\"n\":0,\"pad\":\"{}\"}}", "x".repeat(150_000));
    let mut rig = Rig::new([long.clone()]);
    rig.behaviour.limits.record_bytes = 100_000;
    rig.behaviour.limits.batch_bytes = 100_000;
    rig.letters_attempt = Some(1);
    assert!(rig.run_through().end.unwrap().complete);
    let (letters, _) = rig.committed_topic_letters();
    assert!(letters[0].cut && letters[0].bytes == long.len() as u64, "{:?}", letters[0].reason);
    assert_eq!(letters[0].record, long.as_bytes()[..64 << 10]);
}

#[test]
fn a_letter_that_fails_fails_the_attempt_and_commits_nothing_of_its_chunk() {
    let mut rig = mixed(5_000);
    rig.settings.chunk.records = 1_000;
    rig.behaviour.fail_letter = Some((450, Failure::new(FailureKind::State, "refused")));
    let attempt = rig.run_through();
    assert_eq!(attempt.end.unwrap_err().kind, FailureKind::State);
    assert!(attempt.chunks.len() <= 2, "{} chunks", attempt.chunks.len());
}

#[test]
fn after_deaths_each_record_was_sent_or_has_one_letter_that_counts() {
    let (mut left_behind, mut deaths) = (0, 0);
    for seed in 1..40u64 {
        let mut rig = mixed(20_000);
        (rig.seed, rig.settings.chunk.records) = (seed, 500);
        let mut from = Position::default();
        for attempt in 1.. {
            rig.letters_attempt = Some(attempt);
            rig.kill_at = (attempt < 6).then_some(20 + (seed * 37 + u64::from(attempt) * 101) % 400);
            let run = rig.run(from, &mut |_, _| ());
            from = run.chunks.last().map_or(from, |chunk| chunk.position);
            if run.end.is_ok_and(|finished| finished.complete) {
                break;
            }
            deaths += 1;
        }
        let (letters, uncommitted) = rig.committed_topic_letters();
        left_behind += uncommitted + rig.topic_letters().len() as u64 - uncommitted - letters.len() as u64;
        let aside: BTreeSet<u64> = letters.iter().map(|letter| letter.start).collect();
        assert_eq!((letters.len(), aside.len()), (4_000, 4_000), "seed {seed}: each once");
        let sent: BTreeSet<u64> = rig.delivered().into_iter().flatten().collect();
        assert_eq!(sent.len(), 16_000, "seed {seed}");
        assert!(
            letters.iter().all(|letter| letter.record.starts_with(b"{\"n\"") || letter.record.starts_with(b"{\"k\":\"bad"))
        );
    }
    assert!(deaths > 30 && left_behind > 100, "{deaths} deaths left {left_behind} letters");
}

#[test]
fn numbers_go_on_where_the_committed_letters_end() {
    let mut rig = mixed(2_000);
    rig.settings.chunk.records = 500;
    let first = rig.run_through();
    assert_eq!(dead_lettered(&first), 400);
    let numbers: BTreeSet<u64> = rig.topic_letters().iter().map(|letter| letter.number).collect();
    assert_eq!(numbers, (0..400).collect());
}
