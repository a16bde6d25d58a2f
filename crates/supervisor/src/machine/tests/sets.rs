//! Sets of partitions: how one is split, how far it is, and where it stops.

use std::time::Duration;

use migration::report::AttemptOutcome;
use migration::steer::{Scale, Steer};
use migration::{
    Chunk, Counts, Damage, Division, Exit, Failure, FailureKind, Finished, LedgerEntry, Position, Progress, ShardId, Started,
    Work, WorkerEvent,
};

use super::world::{SECOND, at, rules, starts};
use crate::machine::{
    Action, After, AttemptEnd, AttemptId, Before, Ending, Extent, Input, Machine, Rules, SetSize, ShardStart, Split,
};

/// What a set of `partitions` of 8 reads: this number of records of ten bytes in three files.
fn extent(partitions: u32, size: u64) -> Extent {
    Extent { set: Some(SetSize { partitions, of: 8 }), segments: 3, ..starts(1, size)[0].extent }
}

fn set(partitions: u32, size: u64) -> ShardStart {
    ShardStart { extent: extent(partitions, size), ..starts(1, size).remove(0) }
}

fn id(shard: u32, number: u32) -> AttemptId {
    AttemptId { shard: ShardId(shard), number }
}

/// Half of the rows are a set's own.
fn half(passed: u64) -> Counts {
    let own = passed / 2;
    let (others, bytes_read, bytes_others) = (passed - own, own * 10, (passed - own) * 10);
    Counts { read: own, acknowledged: own, others, bytes_read, bytes_others, ..Counts::default() }
}

fn say(machine: &mut Machine, attempt: AttemptId, event: WorkerEvent, now: Duration) -> Vec<Action> {
    machine.on(Input::Event { attempt, event }, now)
}

/// A set that passed 100 of `size` records in two seconds; then eight workers are asked for. What follows.
fn slow_set(partitions: u32, size: u64) -> (Machine, Vec<Action>) {
    let mut machine = Machine::new(rules(1), &[set(partitions, size)], 1);
    machine.on(Input::Tick, Duration::ZERO);
    say(&mut machine, id(0, 1), WorkerEvent::Started(Started::default()), Duration::ZERO);
    for second in 1..=2u64 {
        let (position, counts) = (at(50 * second), half(50 * second));
        let progress = Progress { position, counts, ..Progress::default() };
        say(&mut machine, id(0, 1), WorkerEvent::Progress(progress), SECOND * second as u32);
    }
    let actions = machine.on(Input::Steer(Steer::Scale(Scale::To(8))), 2 * SECOND);
    (machine, actions)
}

/// Passed up to a record, and nothing sent.
fn entry(records: u64) -> LedgerEntry {
    LedgerEntry { position: at(records), ..LedgerEntry::default() }
}

/// The end of an attempt that drained where it was, which is on disk.
fn drain(machine: &mut Machine) -> AttemptEnd {
    let now = 2 * SECOND;
    let chunk = Chunk { number: 1, position: at(100), counts: half(100), ..Chunk::default() };
    say(machine, id(0, 1), WorkerEvent::Committed(chunk), now);
    machine.on(Input::Recorded { attempt: id(0, 1) }, now);
    let finished = Finished { position: at(100), complete: false, cuts: None, work: Work::default(), peak_memory_bytes: 0 };
    say(machine, id(0, 1), WorkerEvent::Finished(finished), now);
    closed(machine.on(Input::Ended { attempt: id(0, 1), ending: Ending::Code(0) }, now))
}

fn closed(actions: Vec<Action>) -> AttemptEnd {
    let mut ends = actions.into_iter().filter_map(|action| if let Action::Close(end) = action { Some(*end) } else { None });
    ends.next().expect("it is closed")
}

#[test]
fn a_set_is_parted_for_idle_slots_down_to_one_partition() {
    for (partitions, size, sets) in [(8, 10_000, Some(8)), (3, 10_000, Some(3)), (1, 10_000, None), (8, 250, None)] {
        let (mut machine, actions) = slow_set(partitions, size);
        let told = actions.iter().find_map(|action| if let Action::Tell(_, control) = action { Some(*control) } else { None });
        assert_eq!(told.map(|control| (control.drain, control.pieces)), sets.map(|_| (true, 0)), "nothing to look for");
        if let Some(sets) = sets {
            let end = drain(&mut machine);
            let asked = (AttemptOutcome::Drained, After::Waiting, Some(Division::Partitions(sets)));
            assert_eq!((end.outcome, end.after, end.division), asked);
        }
    }
}

#[test]
fn a_set_is_parted_into_no_more_sets_than_there_are_slots_when_it_drained() {
    for (slots, division) in [(3, Some(Division::Partitions(3))), (1, None)] {
        let (mut machine, _) = slow_set(8, 10_000);
        machine.on(Input::Steer(Steer::Scale(Scale::To(slots))), 2 * SECOND);
        assert_eq!(drain(&mut machine).division, division, "{slots} slots");
    }
    let (mut machine, _) = slow_set(8, 10_000);
    machine.on(Input::Stop { reason: "enough".into() }, 2 * SECOND);
    assert_eq!(drain(&mut machine).division, None, "the job stops");
}

#[test]
fn a_parted_set_begins_where_the_other_had_come_and_the_sums_stay() {
    let (mut machine, _) = slow_set(8, 10_000);
    assert_eq!((machine.totals().bytes, machine.bytes_done()), (100_000, 500), "its own rows are through");
    drain(&mut machine);
    let before = Before { records: 100, bytes: 1_000 };
    let piece = ShardStart { entry: entry(100), extent: Extent { before, ..extent(4, 10_000) }, ..set(4, 10_000) };
    let split = Split { shard: extent(4, 10_000), added: vec![piece] };
    let actions = machine.on(Input::Closed { attempt: id(0, 1), split: Some(split) }, 2 * SECOND);
    let begin =
        |action: &Action| if let Action::Fork(order) = action { Some((order.shard.0, order.from.position)) } else { None };
    assert_eq!(actions.iter().filter_map(begin).collect::<Vec<_>>(), [(0, at(100)), (1, at(100))]);
    assert_eq!((machine.totals().bytes, machine.bytes_done()), (100_000, 500));
    for (shard, number) in [(0, 2), (1, 1)] {
        let from = machine.entry(ShardId(shard));
        say(&mut machine, id(shard, number), WorkerEvent::Started(Started { from, ..Started::default() }), 2 * SECOND);
        let rest = Chunk { number: 1, position: at(10_000), counts: half(9_900), ..Chunk::default() };
        say(&mut machine, id(shard, number), WorkerEvent::Committed(rest), 2 * SECOND);
        machine.on(Input::Recorded { attempt: id(shard, number) }, 2 * SECOND);
        assert_eq!(machine.bytes_done(), if shard == 0 { 50_000 } else { 99_500 });
    }
    assert_eq!(machine.totals().counts.read, 50 + 2 * 4_950, "own rows");
}

#[test]
fn of_a_compressed_set_its_rows_say_how_much_is_through() {
    let packed = Extent { splittable: false, before: Before { records: 100, bytes: 0 }, ..extent(2, 1_000) };
    let start = ShardStart { entry: entry(100), extent: packed, ..set(2, 1_000) };
    let mut machine = Machine::new(rules(1), &[start], 1);
    assert_eq!((machine.totals().bytes, machine.totals().bytes_done), (2_500, 0), "a quarter of it");
    machine.on(Input::Tick, Duration::ZERO);
    let progress = Progress { position: at(500), counts: half(400), ..Progress::default() };
    say(&mut machine, id(0, 1), WorkerEvent::Progress(progress), SECOND);
    assert_eq!(machine.bytes_done(), 2_000, "200 own rows of 1,000 in all, whatever part of the partitions it has");
    assert!((packed.bytes_left(&half(400)) - 5_000.0).abs() < 1e-6, "500 rows of ten bytes");
}

/// Sets of one partition each, with a worker for each.
fn sets(count: usize, rules: Rules) -> Machine {
    let mut machine = Machine::new(Rules { slots: count as u32, ..rules }, &vec![set(1, 1_000); count], 1);
    machine.on(Input::Tick, Duration::ZERO);
    machine
}

/// Lets a worker fail at a segment.
fn fail(machine: &mut Machine, attempt: AttemptId, segment: u32) -> (AttemptEnd, Vec<Action>) {
    let damage = Some(Damage { segment, hash: None });
    let failure = Failure { damage, ..Failure::new(FailureKind::Source, "b.gz: truncated") };
    say(machine, attempt, WorkerEvent::Failed(failure), SECOND);
    let actions = machine.on(Input::Ended { attempt, ending: Ending::Code(1) }, SECOND);
    (closed(actions.clone()), actions)
}

#[test]
fn what_cannot_be_read_stops_each_set_there_and_is_told_once() {
    let mut machine = sets(60, rules(1));
    let mut told = Vec::new();
    let mut last = Vec::new();
    for shard in 0..60 {
        let (end, actions) = fail(&mut machine, id(shard, 1), 1);
        assert_eq!((end.outcome, end.after, end.apart), (AttemptOutcome::Unreadable, After::Quarantined, None));
        told.extend(actions.into_iter().filter_map(|a| if let Action::Log { text, .. } = a { Some(text) } else { None }));
        last = machine.on(Input::Closed { attempt: id(shard, 1), split: None }, SECOND);
    }
    let Some(Action::End(ended)) = last.last() else { panic!("{last:?}") };
    assert_eq!(ended.causes.exit(), Exit::Source, "more than fifty sets are no folder that is gone");
    assert_eq!(told, ended.causes.reasons()[..1]);
    assert!(told[0].starts_with("b.gz: truncated; nothing behind it is sent") && told[0].contains("shards.by_key = false"));
}

#[test]
fn without_an_order_to_keep_a_set_is_cut_by_place_as_any_other_shard() {
    let mut machine = sets(2, Rules { keep_order: false, ..rules(1) });
    let (end, _) = fail(&mut machine, id(1, 1), 1);
    assert_eq!((end.after, end.apart, end.division), (After::Waiting, Some(1), None));
    // All sets meet the same file: it counts once for the limit of fifty.
    let mut machine = sets(8, Rules { keep_order: false, ..rules(1) });
    for number in 1..=50 {
        for shard in 0..8 {
            assert_eq!(fail(&mut machine, id(shard, number), 1).0.apart, Some(1), "{number}");
            machine.on(
                Input::Closed { attempt: id(shard, number), split: Some(Split { shard: extent(1, 9), added: vec![] }) },
                SECOND,
            );
        }
    }
    assert_eq!(fail(&mut machine, id(0, 51), 1).0.apart, None);
    // A shard without a set does not care.
    let plain = ShardStart { extent: Extent { set: None, ..extent(1, 1_000) }, ..set(1, 1_000) };
    let mut machine = Machine::new(rules(1), &[plain], 1);
    machine.on(Input::Tick, Duration::ZERO);
    assert_eq!(fail(&mut machine, id(0, 1), 1).0.apart, Some(1));
}

#[test]
fn a_set_whose_worker_dies_again_and_again_says_that_nothing_behind_it_is_sent() {
    for (keep_order, partitions) in [(true, Some(1)), (false, Some(1)), (true, None)] {
        let shard = ShardStart {
            extent: Extent { set: partitions.map(|_| SetSize { partitions: 1, of: 8 }), ..extent(1, 9) },
            ..set(1, 9)
        };
        let mut machine = Machine::new(Rules { keep_order, max_without_progress: 1, ..rules(1) }, &[shard], 1);
        machine.on(Input::Tick, Duration::ZERO);
        let actions = machine.on(Input::Ended { attempt: id(0, 1), ending: Ending::Signal(11) }, SECOND);
        let text = actions.iter().find_map(|a| if let Action::Log { text, .. } = a { Some(text.as_str()) } else { None });
        let says = text.expect("it is told").contains("nothing behind it is sent, because each key's records keep their order");
        assert_eq!(says, keep_order && partitions.is_some(), "{text:?}");
    }
}

#[test]
fn rows_of_others_are_counted_by_sets_alone() {
    for (set_of, taken) in [(Some(SetSize { partitions: 1, of: 8 }), true), (None, false)] {
        let start = ShardStart { extent: Extent { set: set_of, ..extent(1, 100) }, ..set(1, 100) };
        let mut machine = Machine::new(rules(1), &[start], 1);
        machine.on(Input::Tick, Duration::ZERO);
        say(&mut machine, id(0, 1), WorkerEvent::Started(Started::default()), SECOND);
        let chunk = Chunk { number: 1, position: at(10), counts: half(10), ..Chunk::default() };
        let actions = say(&mut machine, id(0, 1), WorkerEvent::Committed(chunk), SECOND);
        assert_eq!(actions.iter().any(|action| matches!(action, Action::Record(..))), taken);
        assert_eq!(actions.iter().any(|action| matches!(action, Action::Kill(_))), !taken);
    }
}

#[test]
fn what_a_set_has_before_its_start_is_in_the_plan() {
    use migration::{Compression, Plan, Segment, SourceObject};
    let object = |name: &str, compression: Compression| SourceObject {
        path: name.into(),
        bytes: Some(100),
        modified_ns: 0,
        fingerprint: 0,
        compression,
        splittable: compression == Compression::None,
        record_starts: Vec::new(),
    };
    for (compression, bytes) in [(Compression::None, 130), (Compression::Gzip, 0)] {
        let mut plan = Plan { objects: vec![object("a", Compression::None), object("b", compression)], ..Plan::default() };
        let segment = |object| Segment { object, start: 0, end: 100, bytes: Some(100) };
        plan.add(vec![segment(0), segment(1)], 20);
        let mut plan = plan.into_sets(4, 1);
        let from = Position { segment: 1, place: 30, records: 13 };
        plan.split(ShardId(0), &from, &Division::Partitions(2)).expect("it has four partitions");
        let [first, second] = [0, 1].map(|shard| Extent::of(&plan, &plan.shards[shard]));
        assert_eq!((first.before, second.before), (Before::default(), Before { records: 13, bytes }));
        let set = Some(SetSize { partitions: 2, of: 4 });
        assert_eq!((first.set, second.set, first.bytes), (set, set, Some(200)));
    }
}

#[test]
fn a_set_that_drained_to_be_parted_makes_no_other_drain() {
    let mut machine = Machine::new(rules(2), &[set(4, 10_000), set(4, 10_000)], 1);
    machine.on(Input::Tick, Duration::ZERO);
    for shard in [0, 1] {
        say(&mut machine, id(shard, 1), WorkerEvent::Started(Started::default()), Duration::ZERO);
    }
    for second in 1..=2u64 {
        for shard in [0, 1] {
            // The second has less left: the first is asked.
            let passed = 50 * second + u64::from(shard) * 1_000;
            let progress = Progress { position: at(passed), counts: half(passed), ..Progress::default() };
            say(&mut machine, id(shard, 1), WorkerEvent::Progress(progress), SECOND * second as u32);
        }
    }
    let drains = |actions: &[Action]| -> Vec<u32> {
        let of = |action: &Action| match action {
            Action::Tell(attempt, control) if control.drain => Some(attempt.shard.0),
            _ => None,
        };
        actions.iter().filter_map(of).collect()
    };
    let asked = machine.on(Input::Steer(Steer::Scale(Scale::To(3))), 2 * SECOND);
    assert_eq!(drains(&asked), [0]);
    let now = 2 * SECOND;
    let chunk = Chunk { number: 1, position: at(100), counts: half(100), ..Chunk::default() };
    let finished = Finished { position: at(100), complete: false, cuts: None, work: Work::default(), peak_memory_bytes: 0 };
    let mut after = say(&mut machine, id(0, 1), WorkerEvent::Committed(chunk), now);
    after.extend(machine.on(Input::Recorded { attempt: id(0, 1) }, now));
    after.extend(say(&mut machine, id(0, 1), WorkerEvent::Finished(finished), now));
    after.extend(machine.on(Input::Ended { attempt: id(0, 1), ending: Ending::Code(0) }, now));
    assert!(!drains(&after).contains(&1), "the pieces are on their way: {after:?}");
    assert_eq!(closed(after).division, Some(Division::Partitions(2)));
}
