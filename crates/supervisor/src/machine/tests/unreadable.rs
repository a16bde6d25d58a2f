//! Files that can't be read: what else there is goes on, and the run ends with 7.

use std::time::Duration;

use migration::report::AttemptOutcome;
use migration::{Damage, Exit, Failure, FailureKind, LedgerEntry, Position, ShardId, WorkerEvent};

use super::world::{at, fresh, rules};
use crate::machine::{Action, After, AttemptEnd, AttemptId, Ending, Extent, Input, Machine, ShardStart, Split};

/// A shard of this number of segments that no worker had yet.
fn shard(segments: u32) -> ShardStart {
    let start = fresh(1).pop().expect("one was asked for");
    ShardStart { extent: Extent { segments, splittable: false, ..start.extent }, ..start }
}

/// Lets an attempt fail at a segment; what the machine wants on disk.
fn fail(machine: &mut Machine, attempt: AttemptId, segment: u32) -> AttemptEnd {
    let damage = Some(Damage { segment, hash: None });
    let failure = Failure { damage, ..Failure::new(FailureKind::Source, "b.gz: truncated") };
    machine.on(Input::Event { attempt, event: WorkerEvent::Failed(failure) }, Duration::ZERO);
    let actions = machine.on(Input::Ended { attempt, ending: Ending::Code(1) }, Duration::ZERO);
    let end = actions.into_iter().find_map(|action| if let Action::Close(end) = action { Some(*end) } else { None });
    end.expect("it is closed")
}

/// Answers that the end is on disk; which shards start then.
fn close(machine: &mut Machine, attempt: AttemptId, split: Option<Split>) -> (Vec<u32>, Vec<Action>) {
    let actions = machine.on(Input::Closed { attempt, split }, Duration::ZERO);
    let forks = actions.iter().filter_map(|a| if let Action::Fork(order) = a { Some(order.shard.0) } else { None }).collect();
    (forks, actions)
}

fn id(shard: u32, number: u32) -> AttemptId {
    AttemptId { shard: ShardId(shard), number }
}

#[test]
fn a_file_in_the_middle_of_a_shard_is_set_aside_alone() {
    let mut machine = Machine::new(rules(4), &[shard(3)], 1);
    machine.on(Input::Tick, Duration::ZERO);
    // Nothing was taken of the second segment: what comes before it is a shard of its own first.
    let end = fail(&mut machine, id(0, 1), 1);
    assert_eq!((end.outcome, end.after, end.apart, end.deaths), (AttemptOutcome::Unreadable, After::Waiting, Some(1), 0));
    let split = Split { shard: shard(1).extent, added: vec![shard(2)] };
    let (forks, _) = close(&mut machine, id(0, 1), Some(split));
    assert_eq!(forks, [0, 1]);
    // Then what comes after it.
    let end = fail(&mut machine, id(1, 1), 0);
    assert_eq!((end.after, end.apart), (After::Quarantined, Some(1)));
    let split = Split { shard: shard(1).extent, added: vec![shard(1)] };
    let (forks, _) = close(&mut machine, id(1, 1), Some(split));
    assert_eq!(forks, [2]);
    let mut last = Vec::new();
    for shard in [0, 2] {
        let number = if shard == 0 { 2 } else { 1 };
        let finished = migration::Finished {
            position: at(0),
            complete: true,
            cuts: None,
            work: migration::Work::default(),
            peak_memory_bytes: 0,
        };
        let attempt = id(shard, number);
        machine.on(Input::Event { attempt, event: WorkerEvent::Finished(finished) }, Duration::ZERO);
        machine.on(Input::Ended { attempt, ending: Ending::Code(0) }, Duration::ZERO);
        last = close(&mut machine, attempt, None).1;
    }
    let Some(Action::End(ended)) = last.last() else { panic!("{last:?}") };
    assert_eq!(ended.causes.exit(), Exit::Source);
    assert_eq!(ended.causes.reasons()[0], "b.gz: truncated");
    assert_eq!((machine.totals().done, machine.totals().quarantined), (2, 1));
}

#[test]
fn a_segment_that_makes_no_sense_or_a_plan_that_takes_no_cut_sets_the_shard_aside() {
    for (segment, segments, apart) in [(0, 1, None), (7, 3, None), (u32::MAX, 3, None), (2, 3, Some(2))] {
        let mut machine = Machine::new(rules(1), &[shard(segments)], 1);
        machine.on(Input::Tick, Duration::ZERO);
        let end = fail(&mut machine, id(0, 1), segment);
        assert_eq!(end.apart, apart, "{segment} of {segments}");
        assert_eq!(end.after, if apart.is_some() { After::Waiting } else { After::Quarantined });
        let (forks, _) = close(&mut machine, id(0, 1), None);
        assert_eq!(forks.len(), usize::from(apart.is_some()), "no cut: it is tried once more");
        if apart.is_some() {
            assert_eq!(fail(&mut machine, id(0, 2), segment).after, After::Quarantined);
        }
    }
}

#[test]
fn what_was_committed_of_a_file_stays_with_it() {
    let counts = migration::Counts { read: 5, acknowledged: 5, ..migration::Counts::default() };
    let entry = LedgerEntry { position: Position { segment: 1, ..at(5) }, counts, ..LedgerEntry::default() };
    let mut machine = Machine::new(rules(1), &[ShardStart { entry, ..shard(3) }], 1);
    machine.on(Input::Tick, Duration::ZERO);
    let end = fail(&mut machine, id(0, 1), 1);
    assert_eq!((end.after, end.apart), (After::Quarantined, Some(2)));
}

#[test]
fn a_folder_that_is_gone_does_not_cut_the_plan_into_its_files() {
    let mut machine = Machine::new(rules(1), &[shard(1000)], 1);
    machine.on(Input::Tick, Duration::ZERO);
    let (mut segments, mut shards) = (1000, 1);
    loop {
        let attempt = id(shards - 1, 1);
        let end = fail(&mut machine, attempt, 0);
        segments -= 1;
        if end.apart.is_none() {
            assert_eq!((shards, end.after), (51, After::Waiting), "it stops after fifty files, and cuts no more");
            let (_, last) = close(&mut machine, attempt, None);
            let Some(Action::End(ended)) = last.last() else { panic!("{last:?}") };
            assert_eq!(ended.causes.exit(), Exit::Source);
            return;
        }
        let split = Split { shard: shard(1).extent, added: vec![shard(segments)] };
        assert_eq!(close(&mut machine, attempt, Some(split)).0, [shards]);
        shards += 1;
    }
}
