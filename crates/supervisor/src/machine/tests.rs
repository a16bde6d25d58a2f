//! The machine against fake worlds.

mod early;
mod fake_plan;
mod oracle;
mod searching;
mod sets;
mod throttled;
mod unreadable;
pub(super) mod world;

use std::time::Duration;

use migration::report::{AttemptOutcome, Work};
use migration::steer::{Scale, Steer};
use migration::{Counts, Cut, Division, Exit, Failure, FailureKind, LedgerEntry, Level, Rate, Started, Token, WorkerEvent};

use self::fake_plan::FakePlan;
use self::world::{SECOND, World, at, chunk, fresh, rules, starts};
use super::{Action, After, AttemptId, Ending, Input, Machine};
use crate::random::Random;

/// Whatever happens, in any order: one attempt per shard, no position goes back, counts never exceed, `Recorded` only
/// after the store, a drain ends, the exit code is the documented one of all causes that applied, never 0 with one, and
/// in a good world every shard ends done or quarantined. Files of shards that can't be read any more, in the middle of
/// a run or before it, cost nothing but themselves: a run that nothing stops counts each good record exactly once and
/// ends with 7 exactly if there is such a file, and a later run sends what a whole copy in its place has more. Some
/// runs are killed. In half of the worlds the shards have sets of partitions: each record is sent by the shard with its
/// partition alone, and unless a run may go past what can't be read, first and last copies of each partition are in the
/// order of the files. Between two runs files may be added: they are sent behind all others, and a set that was done
/// goes on with them. The world asserts; a failure names its seed.
///
/// `SHARDLIFT_TEST_WORLDS` says how many (2,000), `SHARDLIFT_TEST_SEED` the first one's seed instead of a new one each
/// time.
#[test]
fn random_worlds_keep_the_rules() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let clock = || std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64 / 1000 % 1_000_000_000 * 1000);
    let (worlds, first) =
        (number("SHARDLIFT_TEST_WORLDS").unwrap_or(2_000), number("SHARDLIFT_TEST_SEED").unwrap_or_else(clock));
    println!("random_worlds_keep_the_rules: SHARDLIFT_TEST_SEED={first}");
    let mut seen = Seen::default();
    for seed in first..first + worlds {
        let outcome = std::panic::catch_unwind(|| one_random_world(seed));
        let Ok(world) = outcome else { panic!("SHARDLIFT_TEST_SEED={seed} SHARDLIFT_TEST_WORLDS=1 repeats it") };
        seen.add(&world);
    }
    println!("of {worlds} worlds: {seen:?}");
    if worlds >= 10_000 {
        let Seen { splits, parted, sets_stopped, lacks, late_stops, aparts, mended, grown, false_starts, .. } = &seen;
        let each = [*splits, *parted, *sets_stopped, *lacks, *late_stops, *aparts, *mended, *grown, *false_starts];
        let (each, exits) = ([&each[..], &[seen.early, seen.admitted]].concat(), &seen.exits);
        assert!(each.iter().all(|n| *n > 0) && exits.len() == 7, "each occurs: {seen:?}");
    }
}

/// What occurred in many worlds.
#[derive(Debug, Default)]
struct Seen {
    /// How often a shard was split.
    splits: u64,
    /// How often a set of partitions was parted, and how often one stopped at what can't be read.
    parted: u64,
    sets_stopped: u64,
    /// How often a job went on with fewer workers because no more could be forked.
    lacks: u64,
    /// How often all was sent, and a limit decided although the job was told to stop.
    late_stops: u64,
    /// How often a shard was cut beside a file that can't be read, and a file was replaced.
    aparts: u64,
    mended: u64,
    /// How often files were added between two runs.
    grown: u64,
    false_starts: u64,
    /// How many workers came early, and how many of them got a slot.
    early: u64,
    admitted: u64,
    /// How often a run ended with each code.
    exits: std::collections::BTreeMap<u8, u64>,
}

impl Seen {
    fn add(&mut self, world: &World) {
        self.splits += world.splits;
        self.early += world.early;
        self.admitted += world.admitted;
        self.parted += world.parted;
        self.sets_stopped += world.sets_stopped;
        self.lacks += world.scaled_for_lack;
        self.late_stops += world.late_stops;
        self.aparts += world.aparts;
        self.mended += world.mended;
        self.grown += world.grown;
        self.false_starts += world.false_starts;
        world.exits.iter().for_each(|exit| *self.exits.entry(*exit).or_default() += 1);
    }
}

fn one_random_world(seed: u64) -> World {
    let shape = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    // In some a stop and the last chunk are close together.
    let short = seed % 4 == 1;
    let (shards, size) = if short { (1, 1 + (shape >> 32) % 5) } else { (1 + (shape >> 8) as usize % 6, (shape >> 32) % 40) };
    let limit = if short { (shape >> 24) % 2 } else { [u64::MAX, 0, 3, 10][(shape >> 24) as usize % 4] };
    let topic = Some(world::topic(shape & 64 == 0));
    let rules = super::Rules { max_bad_records: limit, topic, ..rules(1 + (shape >> 16) as u32 % 4) };
    let mut plan = random_plan(shape, shards, size, short);
    if shape & 32 == 0 {
        plan = random_sets(shape, size, short);
    }
    let mut world = World::with_plan(seed, plan, size, rules);
    if seed.is_multiple_of(2) {
        world.stride = 1;
    }
    let forks_that_fail = if seed.is_multiple_of(5) { world.below(100) } else { 0 };
    if seed.is_multiple_of(3) {
        world.bad_records = world.below(20);
        world.stops = world.below(30);
    }
    if shape & 128 == 0 {
        world.damages = world.below(10);
        let damaged = world.below(3);
        (0..damaged).for_each(|_| world.damage());
    }
    if short {
        (world.stride, world.bad_records, world.stops) = (size, 80, 60);
    }
    for run in 0..1 + (shape >> 40) % 3 {
        if run > 0 {
            world.mend(2);
            if world.below(3) == 0 {
                world.grow();
            }
            world.next_run();
        }
        world.forks_that_fail = forks_that_fail;
        one_run(&mut world);
    }
    world.mend(1);
    if world.below(4) == 0 {
        world.grow();
    }
    world.next_run();
    world.be_good(2_000);
    assert!(world.ended.is_some(), "what is mended comes to its end");
    world
}

/// Shards of one to four files, some of which can't be cut.
fn random_plan(shape: u64, shards: usize, size: u64, short: bool) -> FakePlan {
    let mut random = Random::new(shape);
    let mut plan = FakePlan::default();
    for _ in 0..shards {
        let files = if short { 1 } else { 1 + random.next() % 4 };
        let sizes: Vec<u64> =
            if files == 1 { vec![size] } else { (0..files).map(|_| random.next() % (1 + 2 * size / files)).collect() };
        let plain = random.next();
        plan.add_shard(&sizes, |file| short || plain & 1 << file == 0);
    }
    plan
}

/// Shards that all read the same files, each with a set of partitions.
fn random_sets(shape: u64, size: u64, short: bool) -> FakePlan {
    let mut plan = random_plan(shape, 1, 2 * size, short);
    let partitions = 1 + (shape >> 44) % 7;
    plan.part_all(partitions, 1 + (shape >> 50) % partitions);
    plan
}

/// One run, whose supervisor is killed in some.
fn one_run(world: &mut World) {
    world.give(Input::Tick);
    let steps = world.below(300);
    for _ in 0..steps {
        world.happen();
    }
    match world.below(8) {
        0 | 1 if world.ended.is_none() => drain(world),
        2 | 3 => world.answer(false),
        4 if world.damages > 0 => return,
        _ => {}
    }
    world.be_good(2_000);
    assert!(world.ended.is_some(), "a good world comes to its end");
}

/// Even if nothing in the world answers any more.
fn drain(world: &mut World) {
    let (begin, forks) = (world.now, world.forks);
    world.gaps = false;
    world.give(Input::Signal { number: 15 });
    if world.below(2) == 0 {
        world.hang_all();
    }
    while world.ended.is_none() {
        world.happen();
        // No input can be later than this: the shell ticks at least every second.
        assert!(world.now - begin < Duration::from_secs(25), "a drain ends");
        world.give(Input::Tick);
    }
    assert_eq!(world.forks, forks);
}

fn started(shards: usize, size: u64, slots: u32) -> World {
    let mut world = World::new(1, shards, size, rules(slots));
    world.give(Input::Tick);
    world
}

#[test]
fn a_good_world_is_done_with_one_attempt_a_shard() {
    let mut world = started(7, 100, 3);
    world.be_good(1000);
    assert_eq!(world.ended.as_ref().map(|e| (e.causes.exit(), e.causes.reasons().len())), Some((Exit::Done, 0)));
    assert_eq!(world.forks, 7);
    assert_eq!(world.machine.totals().counts.read, 700);
}

#[test]
fn five_deaths_at_one_position_quarantine_the_shard_and_the_others_go_on() {
    let mut world = started(3, 10, 1);
    for death in 1..=5 {
        let id = world.only_child();
        assert_eq!((id.shard.0, id.number), (0, death));
        world.kill_child(id);
        world.answer(true);
        // After the first the successor has the slot at once. After the second there is a pause, in which the other
        // shards take it: let them finish before the successor's turn.
        while death > 1 && world.shards_in(|a| a.is_some()) < 2 {
            world.behave_all();
        }
        world.now += 31 * SECOND;
        world.give(Input::Tick);
    }
    let ended = world.ended.expect("the run is over");
    assert_eq!(ended.causes.exit(), Exit::Failed);
    assert_eq!(ended.causes.reasons(), ["1 of 3 shards are quarantined"]);
}

#[test]
fn a_commit_resets_the_deaths() {
    let mut world = started(1, 100, 1);
    for round in 0..20 {
        let id = world.only_child();
        if round % 3 == 2 {
            let from = world.shard_position(0).records;
            world.tell_event(id, WorkerEvent::Committed(chunk(1, from, from + 1)));
            world.answer(true);
        }
        world.kill_child(id);
        world.answer(true);
        world.now += 31 * SECOND;
        world.give(Input::Tick);
    }
    assert!(world.ended.is_none());
}

#[test]
fn unreachable_brokers_are_never_a_death() {
    let mut world = started(1, 10, 1);
    for _ in 0..50 {
        let id = world.only_child();
        world.tell_event(id, WorkerEvent::Failed(Failure::new(FailureKind::Unreachable, "no answer")));
        world.exit_child(id, 1);
        world.answer(true);
        assert_eq!(world.running().len(), 0, "a pause comes first");
        world.now += 2 * SECOND;
        world.give(Input::Tick);
    }
    world.be_good(100);
    assert_eq!(world.ended.map(|e| e.causes.exit()), Some(Exit::Done));
}

#[test]
fn a_shard_that_never_reaches_its_broker_stops_the_job_after_give_up_after() {
    let limited = super::Rules { give_up_after: 20 * SECOND, ..rules(1) };
    let mut world = World::new(1, 1, 10, limited);
    world.give(Input::Tick);
    let mut attempts = 0;
    while world.ended.is_none() && attempts < 50 {
        attempts += 1;
        let id = world.only_child();
        world.tell_event(id, WorkerEvent::Failed(Failure::new(FailureKind::Unreachable, "its leader does not answer")));
        world.exit_child(id, 1);
        world.answer(true);
        world.now += 2 * SECOND;
        world.give(Input::Tick);
    }
    assert_eq!(world.ended.map(|e| e.causes.exit()), Some(Exit::Stopped));
    assert_eq!(attempts, 11, "20 s at 2 s each");
}

#[test]
fn a_stop_while_the_limit_is_passed_ends_with_the_limits_exit() {
    let mut world = started(1, 1000, 2);
    let id = world.only_child();
    world.give(Input::Signal { number: 15 });
    world.tell_event(id, WorkerEvent::Failed(Failure::new(FailureKind::TooManyBad, "more than may be")));
    world.exit_child(id, 1);
    world.be_good(10);
    assert_eq!(world.ended.expect("drained").causes.exit(), Exit::Failed);
}

#[test]
fn failures_that_stop_the_job_drain_the_others_and_choose_the_exit() {
    let cases = [
        (FailureKind::Source, Exit::Source),
        (FailureKind::Permanent, Exit::Failed),
        (FailureKind::TooManyBad, Exit::Failed),
        (FailureKind::State, Exit::State),
    ];
    for (kind, exit) in cases {
        let mut world = started(4, 1000, 2);
        let id = world.only_child();
        world.tell_event(id, WorkerEvent::Failed(Failure::new(kind, "because")));
        world.exit_child(id, 1);
        assert!(world.running().iter().all(|(_, control)| control.drain), "{kind:?}");
        world.be_good(10);
        let ended = world.ended.expect("drained");
        assert_eq!((ended.causes.exit(), ended.causes.reasons()[0].as_str()), (exit, "shard 00000: because"));
        assert_eq!(world.forks, 2);
    }
}

#[test]
fn workers_that_give_up_are_one_reason_which_says_what_to_do() {
    let mut world = started(4, 1000, 2);
    for (id, _) in world.running() {
        let failure = Failure::new(FailureKind::GaveUp, format!("no broker answered for 2{} s: k:1: refused", id.shard.0));
        world.tell_event(id, WorkerEvent::Failed(failure));
        world.exit_child(id, 1);
    }
    world.be_good(10);
    let causes = world.ended.expect("stopped").causes;
    let told = "no broker answered for 20 s: k:1: refused; see whether the brokers are up, then run it again to continue";
    assert_eq!((causes.exit(), causes.reasons()), (Exit::Stopped, vec![told.to_owned()]));
}

fn by_place(records: &[u64]) -> Division {
    Division::Places(records.iter().map(|&records| Cut { segment: 0, place: at(records).place }).collect())
}

/// A last word: how far its shard is, and before which records the rest can be cut, if that was asked.
fn finished(complete: bool, records: u64, cuts: Option<&[u64]>) -> WorkerEvent {
    let cuts = cuts.map(|cuts| cuts.iter().map(|&records| Cut { segment: 0, place: at(records).place }).collect());
    let (work, position) = (migration::Work::default(), at(records));
    WorkerEvent::Finished(migration::Finished { position, complete, cuts, work, peak_memory_bytes: 0 })
}

#[test]
fn half_an_end_is_a_death() {
    // Finished without code 0; code 0 without Finished; finished beyond what is committed; drained unasked.
    let cases = [
        (Some(finished(true, 0, None)), 3),
        (None, 0),
        (Some(finished(true, 10, None)), 0),
        (Some(finished(false, 0, None)), 0),
        (Some(finished(false, 0, Some(&[5]))), 0),
    ];
    for (event, code) in cases {
        let mut world = started(1, 10, 1);
        let id = world.only_child();
        event.into_iter().for_each(|event| world.tell_event(id, event));
        world.exit_child(id, code);
        world.answer(true);
        assert!(world.ended.is_none());
        world.now += SECOND;
        world.give(Input::Tick);
        assert_eq!(world.only_child().number, 2);
    }
}

#[test]
fn a_silent_worker_is_killed_and_replaced() {
    let mut world = started(1, 10, 1);
    world.hang_all();
    for second in 1..=59 {
        world.now = SECOND * second;
        world.give(Input::Tick);
        world.reap_killed();
        assert_eq!(world.running().len(), 1);
    }
    world.now = SECOND * 60;
    world.give(Input::Tick);
    world.reap_killed();
    assert_eq!(world.running().len(), 0);
    world.answer(true);
    world.now += SECOND;
    world.give(Input::Tick);
    assert_eq!(world.only_child().number, 2);
}

#[test]
fn a_gap_of_the_supervisor_itself_is_no_missing_heartbeat() {
    let mut world = started(1, 10, 1);
    world.hang_all();
    world.now = Duration::from_secs(600);
    world.give(Input::Tick);
    world.reap_killed();
    assert_eq!(world.only_child().number, 1);
}

#[test]
fn the_first_signal_drains_and_the_second_kills() {
    let mut world = started(4, 1000, 2);
    world.give(Input::Signal { number: 2 });
    assert!(world.running().iter().all(|(_, control)| control.drain));
    world.hang_all();
    world.now += SECOND;
    world.give(Input::Signal { number: 2 });
    world.reap_killed();
    while world.ended.is_none() {
        world.answer(true);
    }
    assert_eq!(world.ended.map(|e| e.causes.exit()), Some(Exit::Signal(2)));
}

#[test]
fn two_signals_of_one_kind_that_come_together_are_one() {
    let mut world = started(4, 1000, 2);
    // As `timeout` does it: to its child, then to the group.
    for ms in [0, 3, 490] {
        world.now += Duration::from_millis(ms);
        world.give(Input::Signal { number: 15 });
        assert!(world.running().iter().all(|(_, control)| control.drain), "it drains");
    }
    world.hang_all();
    // Another kind counts at once, and so does the same later.
    world.give(Input::Signal { number: 2 });
    world.reap_killed();
    while world.ended.is_none() {
        world.answer(true);
    }
    assert_eq!(world.ended.map(|e| e.causes.exit()), Some(Exit::Signal(2)));
}

#[test]
fn what_does_not_drain_in_time_is_killed_within_it() {
    let mut world = started(2, 1000, 2);
    world.give(Input::Signal { number: 15 });
    world.hang_all();
    while world.ended.is_none() {
        world.now += Duration::from_millis(100);
        world.give(Input::Tick);
    }
    assert_eq!(world.ended.clone().map(|e| e.causes.exit()), Some(Exit::Stopped));
    assert!(world.now <= 20 * SECOND, "{:?}", world.now);
}

#[test]
fn a_stop_after_the_last_shard_has_nothing_to_continue() {
    let mut world = started(1, 0, 1);
    world.give(Input::Signal { number: 2 });
    world.be_good(10);
    assert_eq!(world.ended.map(|e| e.causes.exit()), Some(Exit::Done));
}

#[test]
fn the_first_ten_warnings_about_the_source_are_kept_each_once_and_the_others_counted() {
    let mut machine = Machine::new(rules(1), &fresh(1), 1);
    machine.on(Input::Tick, Duration::ZERO);
    let attempt = AttemptId { shard: migration::ShardId(0), number: 1 };
    let (mut kept, mut told) = (Vec::new(), 0);
    let mut count = |actions: Vec<Action>| {
        for action in actions {
            match action {
                Action::Notice(text) => kept.push(text),
                Action::Log { level: Level::Debug, keep: false, .. } => told += 1,
                _ => {}
            }
        }
    };
    // Two workers' words of the same file, a second apart from the next.
    for file in 0..25 {
        for _ in 0..2 {
            let event = WorkerEvent::Notice(format!("{file}.gz:\u{7} padded"));
            count(machine.on(Input::Event { attempt, event }, SECOND * file));
        }
    }
    machine.on(Input::Event { attempt, event: finished(true, 0, None) }, SECOND * 25);
    machine.on(Input::Ended { attempt, ending: super::Ending::Code(0) }, SECOND * 25);
    count(machine.on(Input::Closed { attempt, split: None }, SECOND * 25));
    assert_eq!(told, 40, "the others are details");
    assert_eq!(kept.len(), 11);
    assert_eq!((kept[0].as_str(), kept[9].as_str()), ("0.gz:\\u{7} padded", "9.gz:\\u{7} padded"));
    assert_eq!(kept[10], "30 more such warnings; -v logs them");
}

#[test]
fn warnings_about_the_source_are_counted_however_much_a_worker_logs() {
    let mut machine = Machine::new(rules(1), &fresh(1), 1);
    machine.on(Input::Tick, Duration::ZERO);
    let attempt = AttemptId { shard: migration::ShardId(0), number: 1 };
    let mut say = |event| machine.on(Input::Event { attempt, event }, SECOND);
    // More than is printed in a second.
    (0..100).for_each(|line| drop(say(WorkerEvent::Log { level: Level::Warning, text: format!("line {line}") })));
    let kept = |actions: Vec<Action>| actions.into_iter().filter(|action| matches!(action, Action::Notice(_))).count();
    let first: usize = (0..200).map(|file| kept(say(WorkerEvent::Notice(format!("{file}.gz: padded"))))).sum();
    assert_eq!(first, 10);
    say(finished(true, 0, None));
    machine.on(Input::Ended { attempt, ending: super::Ending::Code(0) }, SECOND);
    let last = machine.on(Input::Closed { attempt, split: None }, SECOND);
    assert!(last.contains(&Action::Notice("190 more such warnings; -v logs them".to_owned())), "{last:?}");
}

#[test]
fn too_many_dead_letters_over_all_runs_stop_the_job() {
    let mut starts = fresh(2);
    starts[0].entry.counts = Counts { read: 3, dead_lettered: 3, ..Counts::default() };
    starts[0].done = true;
    let mut machine = Machine::new(super::Rules { max_bad_records: 2, ..rules(1) }, &starts, 1);
    let actions = machine.on(Input::Tick, Duration::ZERO);
    assert!(!actions.iter().any(|a| matches!(a, Action::Fork(_))));
    assert!(matches!(actions.last(), Some(Action::End(ended)) if ended.causes.exit() == Exit::Failed));
}

#[test]
fn without_retry_the_first_death_stops_the_job() {
    let mut world = World::new(1, 2, 10, super::Rules { retry: false, ..rules(1) });
    world.give(Input::Tick);
    let id = world.only_child();
    world.exit_child(id, 1);
    world.answer(true);
    assert_eq!(world.ended.map(|e| e.causes.exit()), Some(Exit::Stopped));
}

/// A heartbeat of an attempt that has read `read` records.
fn heartbeat(machine: &mut Machine, shard: u32, read: u64, now: Duration) {
    let counts = Counts { read, bytes_read: read * 10, ..Counts::default() };
    let progress = migration::Progress { position: at(read), counts, ..Default::default() };
    let attempt = AttemptId { shard: migration::ShardId(shard), number: 1 };
    machine.on(Input::Event { attempt, event: WorkerEvent::Progress(progress) }, now);
}

/// The shards whose workers are told to drain by these actions, and those told to stay.
fn told(actions: &[Action]) -> (Vec<u32>, Vec<u32>) {
    let drain = |wanted| {
        move |action: &Action| match action {
            Action::Tell(id, control) if control.drain == wanted => Some(id.shard.0),
            _ => None,
        }
    };
    (actions.iter().filter_map(drain(true)).collect(), actions.iter().filter_map(drain(false)).collect())
}

#[test]
fn scaling_down_drains_the_workers_that_would_finish_last() {
    let mut machine = Machine::new(rules(4), &starts(8, 1000), 1);
    machine.on(Input::Tick, Duration::ZERO);
    // After two seconds: 100, 400, 200 and 300 records of 1,000, so 18 s, 3 s, 8 s and 4.7 s are left.
    for second in 1..=2u64 {
        for (shard, speed) in [(0, 50), (1, 200), (2, 100), (3, 150)] {
            heartbeat(&mut machine, shard, speed * second, SECOND * second as u32);
        }
    }
    let now = 2 * SECOND;
    let down = machine.on(Input::Steer(Steer::Scale(Scale::To(2))), now);
    assert_eq!(told(&down), (vec![0, 2], vec![]));
    assert_eq!((machine.standing().running, machine.standing().leaving), (2, 2));
    // One more: of those that were to leave, the one that finishes sooner stays; no new one is started for it.
    let up = machine.on(Input::Steer(Steer::Scale(Scale::Up(1))), now);
    assert_eq!(told(&up), (vec![], vec![2]));
    assert!(!up.iter().any(|action| matches!(action, Action::Fork(_))));
    let one = machine.on(Input::Steer(Steer::Scale(Scale::To(1))), now);
    assert_eq!(told(&one), (vec![2, 3], vec![]), "the fastest stays");
}

#[test]
fn a_worker_that_ended_its_drain_is_replaced_when_more_are_asked_for_again() {
    let mut world = started(8, 1000, 4);
    world.scale(1);
    let leaving = |world: &World| world.running().iter().filter(|(_, control)| control.drain).count();
    assert_eq!(leaving(&world), 3);
    let id = world.running().iter().find(|(_, control)| control.drain).map(|(id, _)| *id).expect("one");
    // It says that it finished, and only then more are asked for: it can't come back.
    world.tell_event(id, finished(false, 0, None));
    world.scale(4);
    assert_eq!(leaving(&world), 1);
    world.exit_child(id, 0);
    world.answer(true);
    assert_eq!((world.running().len(), leaving(&world), world.forks), (4, 0, 5));
    world.scale(6);
    assert_eq!(world.running().len(), 6);
    world.be_good(5_000);
    assert_eq!(world.ended.as_ref().map(|e| e.causes.exit()), Some(Exit::Done));
    assert_eq!(world.machine.totals().counts.read, 8_000);
}

#[test]
fn a_place_that_becomes_free_goes_to_a_worker_that_was_to_leave() {
    let mut world = started(4, 1000, 4);
    world.scale(2);
    let stays = world.running().iter().find(|(_, control)| !control.drain).map(|(id, _)| *id).expect("one");
    world.kill_child(stays);
    let drain: Vec<bool> = world.running().iter().map(|(_, control)| control.drain).collect();
    assert_eq!(drain.iter().filter(|drain| **drain).count(), 1, "{drain:?}");
}

#[test]
fn shares_of_the_rate_follow_the_workers() {
    let limited = super::Rules { rate: Rate { records: 1000.0, bytes: f64::INFINITY }, ..rules(4) };
    let mut world = World::new(1, 4, 1000, limited);
    world.give(Input::Tick);
    let sum = |world: &World| world.running().iter().map(|(_, c)| c.rate.records).sum::<f64>();
    assert!((sum(&world) - 1000.0).abs() < 1e-6, "{}", sum(&world));
    let id = world.only_child();
    world.kill_child(id);
    assert!((sum(&world) - 1000.0).abs() < 1e-6, "{}", sum(&world));
    assert_eq!(world.running().len(), 3);
}

#[test]
fn pausing_tells_all_and_starts_nobody() {
    let mut world = started(4, 10, 2);
    world.give(Input::Steer(Steer::Pause));
    assert!(world.running().iter().all(|(_, control)| control.paused));
    let id = world.only_child();
    world.kill_child(id);
    world.answer(true);
    world.now += 40 * SECOND;
    world.give(Input::Tick);
    assert_eq!(world.running().len(), 1);
    world.give(Input::Steer(Steer::Continue));
    assert_eq!(world.running().len(), 2);
}

/// What the machine answers to a wish: its event, if anything changed.
fn steered(machine: &mut Machine, steer: Steer) -> Option<String> {
    let actions = machine.on(Input::Steer(steer), machine.last_input);
    actions.into_iter().find_map(|action| if let Action::Steered(text) = action { Some(text) } else { None })
}

#[test]
fn each_turn_of_a_knob_is_an_event_and_the_same_value_again_is_none() {
    let mut machine = Machine::new(rules(2), &fresh(20), 1);
    machine.on(Input::Tick, Duration::ZERO);
    let cases = [
        (Steer::Scale(Scale::To(8)), Some("scaled 2 -> 8")),
        (Steer::Scale(Scale::To(8)), None),
        (Steer::Scale(Scale::Up(1)), Some("scaled 8 -> 9")),
        (Steer::Scale(Scale::Down(50)), Some("scaled 9 -> 1")),
        (Steer::Scale(Scale::Down(1)), None),
        (Steer::Scale(Scale::Auto), Some("scaled 1 -> auto, from 2 workers on")),
        (Steer::Scale(Scale::Auto), None),
        (Steer::Scale(Scale::To(2)), Some("stays at 2 workers")),
        (Steer::Pause, Some("paused")),
        (Steer::Pause, None),
        (Steer::Continue, Some("continued")),
        (Steer::Continue, None),
        (throttle(Some(50_000.0), None), Some("throttled to 50,000 records/s")),
        (throttle(None, Some(20.0 * 1024.0 * 1024.0)), Some("throttled to 50,000 records/s and 20.0 MiB/s")),
        (throttle(Some(f64::INFINITY), None), Some("throttled to 20.0 MiB/s")),
        (throttle(Some(f64::INFINITY), None), None),
        (throttle(None, Some(f64::INFINITY)), Some("throttle taken away")),
    ];
    for (steer, text) in cases {
        assert_eq!(steered(&mut machine, steer).as_deref(), text, "{steer:?}");
    }
}

fn throttle(records: Option<f64>, bytes: Option<f64>) -> Steer {
    Steer::Throttle { records, bytes }
}

#[test]
fn a_wish_that_can_not_be_taken_says_why_and_changes_nothing() {
    let mut machine = Machine::new(rules(2), &fresh(20), 1);
    machine.on(Input::Tick, Duration::ZERO);
    let before = machine.standing();
    let wrong = [
        (Steer::Scale(Scale::To(0)), "at least 1 worker"),
        (Steer::Scale(Scale::To(101)), "101 workers are more than the 100"),
        (Steer::Scale(Scale::Up(u32::MAX)), "more than the 100"),
        (throttle(None, None), "neither"),
        (throttle(Some(0.0), None), "above 0"),
        (throttle(None, Some(f64::NAN)), "above 0"),
        (throttle(Some(-1.0), None), "above 0"),
    ];
    for (steer, why) in wrong {
        assert!(machine.objection(&steer).is_some_and(|text| text.contains(why)), "{steer:?}");
        assert_eq!(steered(&mut machine, steer), None, "{steer:?}");
        assert_eq!(machine.standing(), before);
    }
    machine.on(Input::Signal { number: 15 }, Duration::ZERO);
    assert!(machine.objection(&Steer::Pause).is_some_and(|text| text.contains("stopping")));
    let single = Machine::new(super::Rules { most_slots: 1, ..rules(1) }, &fresh(2), 1);
    assert!(single.objection(&Steer::Scale(Scale::To(1))).is_some_and(|text| text.contains("--single")));
    assert_eq!(single.objection(&Steer::Pause), None);
}

#[test]
fn a_worker_that_begins_where_it_was_not_told_is_killed_and_replaced() {
    let right = LedgerEntry::default();
    let token = Some(Token::try_from(vec![1]).expect("it is short"));
    let wrong = [
        (LedgerEntry { position: at(1), ..right.clone() }, "at segment 0, place 10, record 1 instead of segment 0, place 0"),
        (LedgerEntry { counts: Counts { read: 1, ..Counts::default() }, ..right.clone() }, "with Counts"),
        (LedgerEntry { token, ..right.clone() }, "with another token"),
    ];
    for (from, reason) in wrong {
        let mut machine = Machine::new(rules(1), &fresh(1), 1);
        let forked = machine.on(Input::Tick, Duration::ZERO);
        let Some(Action::Fork(order)) = forked.first() else { panic!("{forked:?}") };
        assert_eq!(order.from, right);
        let (attempt, started) = (order.id(), Started { from, ..Started::default() });
        let told = machine.on(Input::Event { attempt, event: WorkerEvent::Started(started) }, SECOND);
        assert_eq!(told, [Action::Kill(attempt)]);
        assert!(!machine.attempts()[0].started);
        // It had said more before the kill came, and ended by itself.
        let last = at(100);
        let counts = Counts { read: 100, acknowledged: 100, ..Counts::default() };
        let chunk = migration::Chunk { number: 1, position: last, counts, ..Default::default() };
        let finished =
            migration::Finished { position: last, complete: true, cuts: None, work: Work::default(), peak_memory_bytes: 0 };
        for event in [WorkerEvent::Committed(chunk), WorkerEvent::Finished(finished)] {
            let told = machine.on(Input::Event { attempt, event }, SECOND);
            assert!(!told.iter().any(|action| matches!(action, Action::Record(..))), "{told:?}");
        }
        let ended = machine.on(Input::Ended { attempt, ending: Ending::Code(0) }, SECOND);
        let Some(Action::Close(end)) = ended.iter().find(|action| matches!(action, Action::Close(_))) else {
            panic!("{ended:?}")
        };
        assert!(end.outcome == AttemptOutcome::Died && end.reason.contains(reason), "{end:?}");
        assert!(end.resent.most > 0 && !end.resent.exact, "it may have sent records: {end:?}");
    }
}

#[test]
fn a_worker_is_told_how_far_away_the_brokers_are() {
    let orders = |actions: &[Action]| {
        let orders = actions.iter().filter_map(|action| match action {
            Action::Fork(order) => Some(order.round_trip),
            _ => None,
        });
        orders.collect::<Vec<_>>()
    };
    let ms = |ms| Some(Duration::from_millis(ms));
    let mut machine = Machine::new(super::Rules { round_trip: ms(90), ..rules(1) }, &fresh(1), 1);
    assert_eq!(orders(&machine.on(Input::Tick, Duration::ZERO)), [ms(90)], "as preflight found");
    // What a worker measured counts for the next; one that is late by chance, or measured nothing, changes nothing.
    let measured = [(ms(80), ms(80)), (ms(200), ms(80)), (None, ms(80))];
    for (number, (quickest, expected)) in (1..).zip(measured) {
        let (attempt, now) = (AttemptId { shard: migration::ShardId(0), number }, SECOND * 60 * number);
        let quickest_us = quickest.map(|time: Duration| time.as_micros() as u64);
        let mut work = Work { quickest_us, ..Work::default() };
        work.phases.spend(migration::Phase::Wait, 1);
        let event = WorkerEvent::Progress(migration::Progress { position: at(0), work, ..Default::default() });
        machine.on(Input::Event { attempt, event }, now);
        machine.on(Input::Ended { attempt, ending: Ending::Signal(9) }, now);
        let mut told = machine.on(Input::Closed { attempt, split: None }, now);
        told.extend(machine.on(Input::Tick, now + SECOND * 30));
        assert_eq!(orders(&told), [expected]);
    }
    let without = &mut Machine::new(rules(1), &fresh(1), 1);
    assert_eq!(orders(&without.on(Input::Tick, Duration::ZERO)), [None]);
}

#[test]
fn a_job_that_begins_paused_has_its_workers_wait_before_the_first_record() {
    let mut world = World::new(1, 4, 10, super::Rules { paused: true, ..rules(2) });
    world.give(Input::Tick);
    assert!(world.running().len() == 2 && world.running().iter().all(|(_, control)| control.paused));
    let id = world.only_child();
    assert!(world.machine.attempts().iter().all(|view| !view.started));
    world.tell_event(id, WorkerEvent::Started(migration::Started::default()));
    assert_eq!(world.machine.attempts().iter().filter(|view| view.started).count(), 1);
    world.kill_child(id);
    world.answer(true);
    world.now += 40 * SECOND;
    world.give(Input::Tick);
    assert_eq!(world.running().len(), 2, "a successor at the start line");
    world.give(Input::Steer(Steer::Continue));
    assert!(world.running().iter().all(|(_, control)| !control.paused));
    world.be_good(1000);
    assert_eq!(world.ended.map(|e| e.causes.exit()), Some(Exit::Done));
}

/// One shard of `size` records in one slot, of which a worker did 100 in two seconds; then eight are asked for.
fn one_slow_shard(size: u64) -> (Machine, Vec<Action>) {
    let mut machine = Machine::new(rules(1), &starts(1, size), 1);
    machine.on(Input::Tick, Duration::ZERO);
    let attempt = AttemptId { shard: migration::ShardId(0), number: 1 };
    machine.on(Input::Event { attempt, event: WorkerEvent::Started(migration::Started::default()) }, Duration::ZERO);
    heartbeat(&mut machine, 0, 50, SECOND);
    heartbeat(&mut machine, 0, 100, 2 * SECOND);
    let actions = machine.on(Input::Steer(Steer::Scale(Scale::To(8))), 2 * SECOND);
    (machine, actions)
}

/// Into how many pieces workers are told to cut.
fn asked(actions: &[Action]) -> Vec<u32> {
    let pieces = |action: &Action| if let Action::Tell(_, control) = action { Some(control.pieces) } else { None };
    actions.iter().filter_map(pieces).filter(|pieces| *pieces > 0).collect()
}

#[test]
fn a_shard_with_much_left_is_split_for_idle_slots_and_a_short_one_is_not() {
    // At 50 a second: 198 s are left; 7.6 s, which are 7 pieces of a second; 3 s, which are not worth it.
    for (size, pieces) in [(10_000, vec![8]), (480, vec![7]), (250, vec![])] {
        let (_, actions) = one_slow_shard(size);
        assert_eq!(asked(&actions), pieces, "{size}");
    }
}

#[test]
fn what_a_split_shard_leaves_is_handed_out_at_once_and_a_shard_that_can_not_be_cut_is_asked_once() {
    let attempt = AttemptId { shard: migration::ShardId(0), number: 1 };
    for cut in [true, false] {
        let (mut machine, _) = one_slow_shard(10_000);
        let now = 2 * SECOND;
        machine.on(Input::Event { attempt, event: WorkerEvent::Committed(chunk(1, 0, 100)) }, now);
        machine.on(Input::Recorded { attempt }, now);
        machine.on(Input::Event { attempt, event: finished(false, 100, Some(if cut { &[5_000] } else { &[] })) }, now);
        let end = machine.on(Input::Ended { attempt, ending: super::Ending::Code(0) }, now);
        let [Action::Close(end)] = &end[..] else { panic!("{end:?}") };
        assert_eq!((end.after, end.division.clone()), (After::Waiting, cut.then(|| by_place(&[5_000]))));
        let split = cut.then(|| super::Split { shard: starts(1, 5_000)[0].extent, added: starts(1, 5_000) });
        let next = machine.on(Input::Closed { attempt, split }, now);
        let forked: Vec<(u32, u64)> = next
            .iter()
            .filter_map(|action| {
                if let Action::Fork(order) = action { Some((order.shard.0, order.from.position.records)) } else { None }
            })
            .collect();
        assert_eq!(forked, if cut { vec![(0, 100), (1, 0)] } else { vec![(0, 100)] });
        assert_eq!(machine.totals().shards, 1 + u64::from(cut));
        if !cut {
            let attempt = AttemptId { number: 2, ..attempt };
            machine.on(Input::Event { attempt, event: WorkerEvent::Started(migration::Started::default()) }, now);
            for second in 3..9 {
                let counts = Counts { read: 50, bytes_read: 500, ..Counts::default() };
                let progress = migration::Progress { position: at(150), counts, ..Default::default() };
                let actions = machine.on(Input::Event { attempt, event: WorkerEvent::Progress(progress) }, SECOND * second);
                assert!(asked(&actions).is_empty());
            }
        }
    }
}

#[test]
fn no_shard_is_split_where_that_would_not_help() {
    // Slots that shards wait for, a pause, and a limit that is what makes the job slow.
    let limited = Steer::Throttle { records: Some(52.0), bytes: None };
    for (shards, steer) in [(8, Steer::Continue), (1, Steer::Pause), (1, limited)] {
        let mut machine = Machine::new(rules(1), &starts(shards, 10_000), 1);
        machine.on(Input::Tick, Duration::ZERO);
        let attempt = AttemptId { shard: migration::ShardId(0), number: 1 };
        machine.on(Input::Event { attempt, event: WorkerEvent::Started(migration::Started::default()) }, Duration::ZERO);
        heartbeat(&mut machine, 0, 50, SECOND);
        heartbeat(&mut machine, 0, 100, 2 * SECOND);
        machine.on(Input::Steer(steer), 2 * SECOND);
        let actions = machine.on(Input::Steer(Steer::Scale(Scale::To(8))), 2 * SECOND);
        assert!(asked(&actions).is_empty(), "{steer:?}");
    }
}

#[test]
fn a_flood_of_lines_is_cut_and_what_it_says_is_harmless() {
    let mut machine = Machine::new(rules(1), &fresh(1), 1);
    machine.on(Input::Tick, Duration::ZERO);
    let attempt = AttemptId { shard: migration::ShardId(0), number: 1 };
    let mut say = |now| {
        let event = WorkerEvent::Log { level: Level::Error, text: format!("\u{1b}]0;x\u{7}{}", "y".repeat(100_000)) };
        machine.on(Input::Event { attempt, event }, now)
    };
    let lines: Vec<Action> = (0..1000).flat_map(|_| say(SECOND)).collect();
    assert_eq!(lines.len(), 20);
    let next = say(3 * SECOND);
    let Some(Action::Log { text, .. }) = next.first() else { panic!("{next:?}") };
    assert!(text.ends_with("(980 lines before it dropped)") && text.len() < 3000 && !text.contains('\u{1b}'));
}

#[test]
fn a_full_disk_stops_the_job_without_telling_recorded() {
    let mut world = started(4, 100, 2);
    let id = world.only_child();
    world.tell_event(id, WorkerEvent::Committed(chunk(1, 0, 10)));
    world.answer(false);
    world.be_good(100);
    let ended = world.ended.clone().expect("over");
    assert_eq!((ended.causes.exit(), ended.causes.reasons()[0].as_str()), (Exit::State, "disk full"));
    assert_eq!(world.shard_position(0), at(0));
    assert_eq!(world.forks, 2);
}

#[test]
fn a_fork_that_fails_is_tried_again_and_five_in_a_row_stop_the_job() {
    let mut machine = Machine::new(rules(1), &fresh(1), 1);
    let (mut now, mut forks) = (Duration::ZERO, 0);
    let mut waiting: Vec<Action> = machine.on(Input::Tick, now);
    let exit = loop {
        match waiting.pop() {
            Some(Action::Fork(order)) => {
                forks += 1;
                assert_eq!((order.attempt, order.from.position), (forks, at(0)));
                waiting = machine.on(Input::ForkFailed { attempt: order.id(), reason: "no memory".into() }, now);
            }
            Some(Action::Close(end)) => {
                assert_eq!((end.after, end.deaths), (After::Waiting, 0));
                waiting = machine.on(Input::Closed { attempt: end.attempt, split: None }, now);
                assert!(!waiting.iter().any(|a| matches!(a, Action::Fork(_))), "a pause comes first");
            }
            Some(Action::End(ended)) => break ended.causes.exit(),
            Some(_) => {}
            None => {
                now += 4 * SECOND;
                waiting = machine.on(Input::Tick, now);
            }
        }
    };
    assert_eq!((exit, forks), (Exit::Stopped, 5));
}

#[test]
fn an_attempt_that_the_store_can_not_begin_stops_the_job_with_74() {
    let mut machine = Machine::new(rules(2), &fresh(3), 1);
    let orders: Vec<AttemptId> = machine
        .on(Input::Tick, Duration::ZERO)
        .iter()
        .filter_map(|action| if let Action::Fork(order) = action { Some(order.id()) } else { None })
        .collect();
    assert_eq!(orders.len(), 2);
    let mut last = Vec::new();
    for attempt in orders {
        last = machine.on(Input::NotBegun { attempt, reason: "the disk is full".into() }, Duration::ZERO);
        assert!(!last.iter().any(|action| matches!(action, Action::Fork(_) | Action::Close(_))), "{last:?}");
    }
    let ended = last.iter().find_map(|action| if let Action::End(ended) = action { Some(ended.clone()) } else { None });
    let ended = ended.expect("no worker runs");
    assert_eq!((ended.causes.exit(), ended.causes.reasons()), (Exit::State, vec!["the disk is full".to_owned()]));
}

/// Workers that have started, one for each of `running` shards; then many more are asked for, of which none can be
/// forked.
fn no_more_can_be_forked(running: u32) -> (Machine, Vec<Action>) {
    let mut machine = Machine::new(rules(running), &fresh(40), 1);
    let mut waiting: std::collections::VecDeque<Action> = machine.on(Input::Tick, Duration::ZERO).into();
    waiting.iter().for_each(|action| {
        let Action::Fork(order) = action else { panic!("{action:?}") };
        machine.on(
            Input::Event { attempt: order.id(), event: WorkerEvent::Started(migration::Started::default()) },
            Duration::ZERO,
        );
    });
    waiting = machine.on(Input::Steer(Steer::Scale(Scale::To(40))), Duration::ZERO).into();
    let mut seen = Vec::new();
    let mut now = Duration::ZERO;
    while now < 5 * SECOND {
        let Some(action) = waiting.pop_front() else {
            now += SECOND / 4;
            waiting.extend(machine.on(Input::Tick, now));
            continue;
        };
        match &action {
            Action::Fork(order) => {
                let reason = "Resource temporarily\nunavailable".to_owned();
                waiting.extend(machine.on(Input::ForkFailed { attempt: order.id(), reason }, now));
            }
            Action::Close(end) => waiting.extend(machine.on(Input::Closed { attempt: end.attempt, split: None }, now)),
            _ => {}
        }
        seen.push(action);
    }
    (machine, seen)
}

#[test]
fn a_wish_for_more_workers_than_can_be_forked_never_stops_those_that_run() {
    for running in [1, 12] {
        let (mut machine, seen) = no_more_can_be_forked(running);
        assert!(!machine.stopping(), "{seen:?}");
        let turns: Vec<&str> =
            seen.iter().filter_map(|action| if let Action::Steered(text) = action { Some(&**text) } else { None }).collect();
        let fewer = format!("scaled 40 -> {running}: no more workers can be started: Resource temporarily\\nunavailable");
        assert_eq!(turns, [format!("scaled {running} -> 40"), fewer], "one line for all");
        assert_eq!((machine.standing().asked, machine.standing().running), (running, running));
        let forks = seen.iter().filter(|action| matches!(action, Action::Fork(_))).count();
        assert!(forks < super::MOST_FORKS_AT_ONCE + 5, "{forks} forks were tried");
        let again = machine.on(Input::Steer(Steer::Scale(Scale::Up(1))), 6 * SECOND);
        assert!(again.iter().any(|action| matches!(action, Action::Fork(_))), "a new wish is tried");
    }
}

#[test]
fn a_thousand_workers_are_forked_a_few_at_a_time_and_none_is_taken_for_silent_meanwhile() {
    let short = super::Rules { most_slots: 1_000, heartbeat_timeout: Some(4 * SECOND), ..rules(1_000) };
    let mut machine = Machine::new(short, &fresh(1_000), 1);
    let (mut now, mut running) = (Duration::ZERO, 0);
    while running < 1_000 {
        let actions = machine.on(Input::Tick, now);
        let forks = actions.iter().filter(|action| matches!(action, Action::Fork(_))).count();
        assert!((1..=super::MOST_FORKS_AT_ONCE).contains(&forks), "{forks}");
        assert!(!actions.iter().any(|action| matches!(action, Action::Kill(_))), "{actions:?}");
        running += forks;
        assert_eq!(machine.next_deadline().is_some_and(|at| at <= now), running < 1_000, "the next ones at once");
        now += SECOND * 21 / 10;
    }
}

#[test]
fn a_worker_that_was_not_asked_for_cuts_in_time_does_not_make_its_shard_whole() {
    let attempt = AttemptId { shard: migration::ShardId(0), number: 1 };
    let (mut machine, _) = one_slow_shard(10_000);
    let now = 2 * SECOND;
    machine.on(Input::Event { attempt, event: WorkerEvent::Committed(chunk(1, 0, 100)) }, now);
    machine.on(Input::Recorded { attempt }, now);
    machine.on(Input::Event { attempt, event: finished(false, 100, None) }, now);
    machine.on(Input::Ended { attempt, ending: super::Ending::Code(0) }, now);
    machine.on(Input::Closed { attempt, split: None }, now);
    let attempt = AttemptId { number: 2, ..attempt };
    let from = LedgerEntry::default().with(&chunk(1, 0, 100));
    machine.on(Input::Event { attempt, event: WorkerEvent::Started(Started { from, ..Started::default() }) }, now);
    let told = (3..9).flat_map(|second| {
        let read = 50 * (second - 2);
        let counts = Counts { read, bytes_read: 10 * read, ..Counts::default() };
        let progress = migration::Progress { position: at(100 + read), counts, ..Default::default() };
        machine.on(Input::Event { attempt, event: WorkerEvent::Progress(progress) }, SECOND * second as u32)
    });
    assert_eq!(asked(&told.collect::<Vec<_>>()).len(), 1, "its successor is asked");
}

/// One shard, a worker that has a chunk with these dead letters out, and a limit of two.
fn letters_out(letters: u64) -> (World, AttemptId) {
    let limited = super::Rules { max_bad_records: 2, ..rules(1) };
    let mut world = World::new(1, 1, 10, limited);
    world.give(Input::Tick);
    let id = world.only_child();
    let mut chunk = chunk(1, 0, 10);
    (chunk.counts.dead_lettered, chunk.counts.acknowledged) = (letters, 10 - letters);
    world.tell_event(id, WorkerEvent::Committed(chunk));
    (world, id)
}

#[test]
fn a_stop_and_a_limit_end_with_the_limit_in_any_order() {
    for (letters, exit) in [(2, Exit::Done), (3, Exit::Failed)] {
        for stop_first in [true, false] {
            let (mut world, id) = letters_out(letters);
            let steps: [&dyn Fn(&mut World); 2] =
                [&|world| world.give(Input::Signal { number: 15 }), &|world| world.answer(true)];
            let [first, second] = if stop_first { [0, 1] } else { [1, 0] };
            steps[first](&mut world);
            steps[second](&mut world);
            world.tell_event(id, finished(true, 10, None));
            world.exit_child(id, 0);
            world.answer(true);
            let causes = world.ended.expect("over").causes;
            assert_eq!(causes.exit(), exit, "{letters} letters, the stop first: {stop_first}");
            let limit = (letters > 2).then(|| "there are more dead letters than limits.max_bad_records = 2".to_owned());
            assert_eq!(causes.reasons(), Vec::from_iter(limit));
        }
    }
}
