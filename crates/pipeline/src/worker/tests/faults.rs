//! What the client does wrong is never taken for success.

use super::*;

fn failure(rig: &mut Rig) -> Failure {
    let attempt = rig.run_through();
    assert!(attempt.chunks.iter().all(|chunk| chunk.counts.balance()));
    attempt.end.expect_err("the attempt must not end well")
}

#[test]
fn a_swallowed_report_fails_the_attempt_and_commits_nothing() {
    for keyed in [false, true] {
        let mut rig = Rig::new(keys(20_000, NonZeroU64::new(50).unwrap()));
        rig.behaviour.lose_record = Some(2);
        if keyed {
            rig = rig.keyed();
        }
        let attempt = rig.run_through();
        let failure = attempt.end.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Retry);
        assert!(failure.message.contains("a delivery report is missing"), "{failure}");
        assert!(attempt.chunks.is_empty());
    }
}

#[test]
fn a_group_that_never_comes_back_fails_the_attempt() {
    let mut rig = Rig::new(plain(30_000));
    rig.behaviour.lose_group = Some(3);
    let failure = failure(&mut rig);
    assert_eq!(failure.kind, FailureKind::Retry);
    assert!(failure.message.contains("the client has nothing in flight"), "{failure}");
}

#[test]
fn a_group_that_comes_back_twice_fails_the_attempt() {
    let mut rig = Rig::new(plain(30_000));
    rig.behaviour.report_twice = Some(1);
    // With one partition only the barrier can tell; with more, the lane may be in flight with another group.
    for partitions in [1, 4] {
        rig.partitions = partitions;
        rig.topic = None;
        let failure = failure(&mut rig);
        assert_eq!(failure.kind, FailureKind::Retry);
    }
}

#[test]
fn an_error_of_the_client_is_passed_on_as_it_is() {
    let mut rig = Rig::new(plain(30_000));
    let fatal = Failure::new(FailureKind::Unreachable, "timed out");
    rig.behaviour.fail = Some((2, fatal.clone()));
    assert_eq!(failure(&mut rig), fatal);
}

#[test]
fn a_source_that_changed_behind_what_was_read_is_never_done_and_nothing_of_it_is_sent_twice() {
    let mut rig = Rig::new(plain(100));
    rig.changed = true;
    let attempt = rig.run_through();
    assert_eq!(attempt.end.unwrap_err().kind, FailureKind::Source);
    let end = attempt.chunks.last().expect("what was read before is committed").position;
    assert_eq!(end.records, 100);
    // As long as it is not put back, and then.
    assert_eq!(rig.run(end, &mut |_, _| ()).end.unwrap_err().kind, FailureKind::Source);
    rig.changed = false;
    assert!(rig.run(end, &mut |_, _| ()).end.unwrap().complete);
    assert_eq!(rig.delivered().iter().map(Vec::len).sum::<usize>(), 100);
    let mut empty = Rig::new([]);
    empty.changed = true;
    assert_eq!(empty.run_through().end.unwrap_err().kind, FailureKind::Source);
}

/// What was taken before is committed, and a successor behind it sends nothing twice.
#[test]
fn a_damaged_file_costs_what_is_damaged_and_nothing_before_it() {
    for (place, taken) in [(0, 300), (5, 300), (300, 330), (309, 330), (310, 331)] {
        let mut rig = Rig::new(plain(300));
        let more: String = plain(400).skip(300).map(|line| line + "\n").collect();
        assert_eq!(more.find("{\"n\":330}"), Some(300));
        rig.segments = Rc::new(vec![rig.segments[0].clone(), more.clone().into_bytes(), b"{\"n\":400}\n".to_vec()]);
        rig.damaged = Some((1, place));
        let attempt = rig.run_through();
        let failure = attempt.end.unwrap_err();
        assert_eq!((failure.kind, failure.damage.map(|damage| damage.segment)), (FailureKind::Source, Some(1)));
        let last = attempt.chunks.last().expect("what was taken is committed").position;
        assert_eq!((last.records, last.segment), (taken, u32::from(taken > 300)));
        assert_eq!(rig.delivered().iter().map(Vec::len).sum::<usize>(), taken as usize);
        // Mended, it goes on behind what was committed.
        rig.damaged = None;
        let position = attempt.chunks.last().map(|chunk| chunk.position).unwrap_or_default();
        assert!(rig.run(position, &mut |_, _| ()).end.unwrap().complete);
        assert_eq!(rig.delivered().iter().map(Vec::len).sum::<usize>(), 401);
    }
}

#[test]
fn dead_letters_that_cannot_be_written_stop_the_attempt() {
    let mut rig = Rig::new(["{\"k\":[],\"n\":0}".to_owned()]).keyed();
    let folder = rig.letters_folder();
    // A file in the place of the folder, once the worker is there.
    let attempt = rig.run(Position::default(), &mut |_, _| std::fs::write(&folder, "").unwrap());
    std::fs::remove_file(&folder).unwrap();
    let failure = attempt.end.unwrap_err();
    assert_eq!(failure.kind, FailureKind::State);
    assert!(failure.message.contains("00000.jsonl: dead letters can't be written"), "{failure}");
    assert!(attempt.chunks.is_empty());
}

/// At the chunk's end, or in the middle of a block when there are more letters than a buffer holds.
#[test]
fn what_was_sent_is_told_when_dead_letters_cannot_be_written() {
    for bad in [1, 20_000] {
        let lines = |count: u64, key: &'static str| (0..count).map(move |n| format!("{{\"k\":{key},\"n\":{n}}}"));
        let mut rig = Rig::new(lines(6_000, "1").chain(lines(bad, "[]"))).keyed();
        let folder = rig.letters_folder();
        let attempt = rig.run(Position::default(), &mut |_, _| std::fs::write(&folder, "").unwrap());
        std::fs::remove_file(&folder).unwrap();
        assert_eq!(attempt.end.unwrap_err().kind, FailureKind::State);
        let Counts { read, dead_lettered, .. } = attempt.taken;
        assert!(rig.stored() > 0 && read - dead_lettered == 6_000 && read <= 6_000 + bad, "{:?}", attempt.taken);
    }
}

#[test]
fn silence_ends_the_attempt_only_after_give_up_after() {
    let mut rig = Rig::new(plain(10));
    rig.settings.give_up_after = Duration::from_secs(60);
    *rig.behaviour.mute.borrow_mut() = true;
    let attempt = rig.run_through();
    assert_eq!(attempt.end.unwrap_err().kind, FailureKind::GaveUp);
    assert!(attempt.elapsed >= Duration::from_secs(60) && attempt.elapsed < Duration::from_secs(63), "{:?}", attempt.elapsed);
}

#[test]
fn a_silence_that_ends_in_time_is_survived_and_named() {
    let mut rig = Rig::new(plain(10));
    rig.settings.give_up_after = Duration::from_secs(60);
    let mute = Rc::clone(&rig.behaviour.mute);
    *mute.borrow_mut() = true;
    let attempt = rig.run(Position::default(), &mut |_, told| *mute.borrow_mut() = told.elapsed < Duration::from_secs(59));
    assert!(attempt.end.unwrap().complete);
}

#[test]
fn a_suspended_worker_does_not_take_the_pause_for_silence() {
    let mut rig = Rig::new(plain(10));
    rig.settings.give_up_after = Duration::from_secs(60);
    *rig.behaviour.mute.borrow_mut() = true;
    let mut worker = rig.worker(Position::default());
    let mut now = Instant::now();
    for _ in 0..20 {
        worker.step(&Control::default(), now).unwrap();
        now += Duration::from_millis(10);
    }
    worker.step(&Control::default(), now + Duration::from_secs(600)).unwrap();
}

#[test]
fn one_refused_record_among_many_is_one_dead_letter() {
    let mut rig = Rig::new(keys(40_000, NonZeroU64::new(100).unwrap())).keyed();
    rig.behaviour.refuse = |value| number(value) == 12_345;
    let attempt = rig.run_through();
    assert!(attempt.end.unwrap().complete);
    let letters = rig.letters();
    assert_eq!(letters.len(), 1);
    assert_eq!((number(&letters[0].record), letters[0].reason.as_str()), (12_345, "refused by the broker"));
    assert_eq!(attempt.log.len(), 1, "{:?}", attempt.log);
    let delivered = rig.delivered();
    assert!(delivered.iter().all(|partition| partition.is_sorted_by(|a, b| a < b)));
    assert_eq!(delivered.iter().map(Vec::len).sum::<usize>(), 39_999);
}
