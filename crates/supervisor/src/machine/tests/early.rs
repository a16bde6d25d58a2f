//! Workers that connect while the one before them in their slot ends.

use migration::report::AttemptOutcome;
use migration::steer::{Scale, Steer};
use migration::{Control, Exit, Failure, FailureKind, Rate, WorkerEvent};

use super::world::{SECOND, World, chunk, fresh, rules};
use crate::machine::{Action, AttemptId, Ending, Input, Machine};

fn world(shards: usize, slots: u32) -> World {
    let mut world = World::new(1, shards, 100, rules(slots));
    world.give(Input::Tick);
    world
}

/// Which shards have a worker, and which of these one that holds.
fn running(world: &World) -> Vec<(u32, bool)> {
    world.running().iter().map(|(id, control)| (id.shard.0, control.hold)).collect()
}

fn id(world: &World, shard: u32) -> AttemptId {
    world.running().into_iter().map(|(id, _)| id).find(|id| id.shard.0 == shard).expect("it runs")
}

fn at_end(world: &mut World, shard: u32) {
    world.tell_event(id(world, shard), WorkerEvent::AtEnd);
}

#[test]
fn the_next_worker_comes_at_the_end_of_a_shard_and_gets_the_slot_when_that_ones_is_reaped() {
    let mut world = world(4, 2);
    at_end(&mut world, 0);
    at_end(&mut world, 0);
    assert_eq!(running(&world), [(0, false), (1, false), (2, true)], "one for the slot");
    at_end(&mut world, 1);
    assert_eq!(running(&world), [(0, false), (1, false), (2, true), (3, true)]);
    let standing = world.machine.standing();
    assert_eq!((standing.asked, standing.running, standing.waiting), (2, 2, 2), "they are no workers of the count");
    let slots: Vec<u32> = world.machine.attempts().iter().map(|view| view.slot).collect();
    assert_eq!(slots, [0, 1]);
    world.now += SECOND;
    world.kill_child(id(&world, 1));
    // Nothing yet: the end of that attempt is not on disk, and its shard goes on in its slot.
    assert_eq!(running(&world), [(0, false), (2, true), (3, true)]);
    world.be_good(1000);
    assert_eq!((world.forks, world.admitted >= 2), (5, true));
    assert_eq!(world.ended.as_ref().map(|ended| ended.causes.exit()), Some(Exit::Done));
    assert_eq!(world.machine.totals().counts.read, 400);
}

/// Its own slot's worker was the only one, or another slot is free first.
#[test]
fn an_early_worker_takes_the_first_slot_that_is_free_at_once() {
    let mut world = world(3, 2);
    at_end(&mut world, 0);
    // The other one is done first.
    let other = id(&world, 1);
    world.tell_event(other, WorkerEvent::Failed(Failure::new(FailureKind::Unreachable, "no answer")));
    world.now += SECOND;
    world.exit_child(other, 1);
    assert_eq!(running(&world), [(0, false), (2, false)], "a pause comes before its successor, so its slot is free");
    let (_, control) = world.running()[1];
    assert_eq!(control.held_us, 1_000_000, "what it did meanwhile cost no slot");
}

#[test]
fn a_shard_whose_worker_died_at_its_end_keeps_its_slot_and_the_early_worker_waits_on() {
    let mut world = world(2, 1);
    at_end(&mut world, 0);
    assert_eq!(running(&world), [(0, false), (1, true)]);
    world.kill_child(id(&world, 0));
    assert_eq!(running(&world), [(1, true)]);
    world.answer(true);
    assert_eq!(running(&world), [(0, false), (1, true)], "its successor goes on in its slot");
    at_end(&mut world, 0);
    assert_eq!(running(&world), [(0, false), (1, true)]);
    world.be_good(1000);
    assert_eq!((world.forks, world.early, world.admitted), (3, 1, 1));
}

#[test]
fn an_early_worker_that_dies_has_a_successor_and_sent_nothing() {
    let mut world = world(2, 1);
    at_end(&mut world, 0);
    let early = id(&world, 1);
    world.kill_child(early);
    assert_eq!(running(&world), [(0, false)]);
    world.answer(true);
    assert_eq!(running(&world), [(0, false), (1, true)]);
    assert_eq!(id(&world, 1).number, early.number + 1);
    world.be_good(1000);
    assert_eq!(world.ended.as_ref().map(|ended| ended.causes.exit()), Some(Exit::Done));
}

/// What the machine says of the end of a worker that was told to drain before it had a slot.
fn drained(input: Input) -> (Vec<Action>, AttemptOutcome) {
    let mut machine = Machine::new(rules(1), &fresh(2), 1);
    machine.on(Input::Tick, SECOND);
    let [first, early] = [0, 1].map(|shard| AttemptId { shard: migration::ShardId(shard), number: 1 });
    machine.on(Input::Event { attempt: first, event: WorkerEvent::AtEnd }, SECOND);
    let told = machine.on(input, SECOND);
    let last = migration::Finished {
        position: super::at(0),
        complete: false,
        cuts: None,
        work: migration::Work::default(),
        peak_memory_bytes: 0,
    };
    machine.on(Input::Event { attempt: early, event: WorkerEvent::Finished(last) }, SECOND);
    let actions = machine.on(Input::Ended { attempt: early, ending: Ending::Code(0) }, SECOND);
    let end = actions.iter().find_map(|action| if let Action::Close(end) = action { Some(end) } else { None });
    let end = end.expect("it is closed");
    assert_eq!((end.attempt, end.resent.most, end.resent.exact, end.deaths), (early, 0, true, 0));
    (told, end.outcome)
}

#[test]
fn a_stop_ends_an_early_worker_at_once() {
    let (told, outcome) = drained(Input::Signal { number: 15 });
    let told: Vec<&Control> =
        told.iter().filter_map(|action| if let Action::Tell(_, control) = action { Some(control) } else { None }).collect();
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|control| control.drain && !control.hold));
    assert_eq!(outcome, AttemptOutcome::Drained);
}

#[test]
fn with_fewer_slots_early_workers_leave_first_and_none_comes() {
    let mut world = world(6, 3);
    at_end(&mut world, 0);
    assert_eq!(world.running().len(), 4);
    world.scale(2);
    assert!(world.running().iter().all(|(id, control)| control.drain == (id.shard.0 >= 2) && !control.hold), "{world:?}");
    at_end(&mut world, 1);
    assert_eq!(world.running().len(), 4, "the next slot that is free is no slot any more");
    world.be_good(1000);
    assert_eq!(world.ended.as_ref().map(|ended| ended.causes.exit()), Some(Exit::Done));
}

#[test]
fn a_worker_that_sends_before_it_has_a_slot_is_killed() {
    let mut world = world(2, 1);
    at_end(&mut world, 0);
    let early = id(&world, 1);
    world.tell_event(early, WorkerEvent::Committed(chunk(1, 0, 10)));
    world.reap_killed();
    assert_eq!(running(&world), [(0, false)], "nothing of it is recorded");
}

#[test]
fn no_share_of_the_limit_is_an_early_workers_until_it_has_its_slot() {
    let limit = Rate { records: 1_000.0, bytes: f64::INFINITY };
    let mut world = World::new(1, 2, 100, super::super::Rules { rate: limit, ..rules(1) });
    world.give(Input::Tick);
    world.behave_all();
    at_end(&mut world, 0);
    world.now += SECOND;
    world.give(Input::Tick);
    let share = |world: &World, shard: usize| world.running()[shard].1.rate.records;
    assert!(share(&world, 0) >= 900.0, "{}", share(&world, 0));
    let first = id(&world, 0);
    world.tell_event(first, WorkerEvent::Failed(Failure::new(FailureKind::Unreachable, "no answer")));
    world.exit_child(first, 1);
    assert!(share(&world, 0) >= 900.0, "{}", share(&world, 0));
}

#[test]
fn in_a_pause_none_comes_and_one_that_is_there_gets_its_slot_paused() {
    let mut world = world(3, 1);
    at_end(&mut world, 0);
    world.give(Input::Steer(Steer::Pause));
    let first = id(&world, 0);
    world.tell_event(first, WorkerEvent::Failed(Failure::new(FailureKind::Unreachable, "no answer")));
    world.exit_child(first, 1);
    let (_, control) = world.running()[0];
    assert!(control.paused && !control.hold);
    at_end(&mut world, 1);
    assert_eq!(world.running().len(), 1);
    world.give(Input::Steer(Steer::Scale(Scale::To(1))));
    world.be_good(1000);
    assert_eq!(world.ended.as_ref().map(|ended| ended.causes.exit()), Some(Exit::Done));
}

#[test]
fn where_no_worker_can_be_forked_early_the_job_goes_on_without_and_keeps_its_slots() {
    let mut world = world(5, 2);
    world.forks_that_fail = 100;
    at_end(&mut world, 0);
    assert_eq!(running(&world), [(0, false), (1, false)]);
    world.forks_that_fail = 0;
    world.answer(true);
    at_end(&mut world, 1);
    assert_eq!(running(&world), [(0, false), (1, false)]);
    world.be_good(1000);
    assert_eq!((world.early, world.machine.slots(), world.forks), (1, 2, 5));
}
