//! The kinds of trials: each does one kind of fault to a job, as often as the job lasts.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::job::{Job, Place, Shape, await_workers, is_there, last_lines, send, unix_ms, workers};
use super::nemesis::{Changed, Disk, mixed};
use super::network::Hold;
use super::oracle;
use super::trial::{Deaths, Outcome, Trial};
use super::{CHUNK, Delivery};
use crate::faults::attempts;
use crate::program::{Finished, Process, Running};
use crate::random::Random;

/// How often a trial is made again that had no fault.
const AGAIN: u64 = 3;
/// For what takes moments, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);
/// One in this number of trials is read by Kafka's own consumer, too, which costs seconds.
const ALL_READERS: u64 = 16;

/// A kind of trial.
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// What it counts.
    pub unit: &'static str,
    /// How many of that are wanted with each promise; 0 = it has no meaning there.
    pub wanted: [u64; 2],
    /// The cluster that it needs.
    pub needs: Needs,
    /// Does one with a seed.
    pub run: fn(Place, Delivery, u64) -> Outcome,
}

/// The cluster that a kind of trial needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// One broker, beside other trials.
    Shared,
    /// One broker, which is ended and started.
    One,
    /// Three brokers, which are ended and started.
    Three,
    /// One broker, and no other trial beside it: it measures times.
    Alone,
}

impl Kind {
    /// How many are wanted with a promise.
    pub fn wanted(&self, delivery: Delivery) -> u64 {
        self.wanted[delivery as usize]
    }
}

/// All kinds. The numbers of the first eight are those that the promises are judged by.
pub const KINDS: &[Kind] = &[
    kind("worker-kills", "workers killed", [1000, 1000], Needs::Shared, worker_kills),
    kind("supervisor-kills", "supervisors killed", [200, 200], Needs::Shared, supervisor_kills),
    kind("zombies", "woken workers that had been replaced", [0, 500], Needs::Shared, zombies),
    kind("double-starts", "second starts of a state", [300, 300], Needs::Shared, double_starts),
    kind("two-machines", "starts on a second machine", [0, 300], Needs::Shared, two_machines),
    kind("late-ends", "EndTxn requests that came late", [0, 100], Needs::Shared, late_ends),
    kind("mixed-one-broker", "faults", [180, 180], Needs::One, mixed),
    kind("mixed-three-brokers", "faults", [180, 180], Needs::Three, mixed),
    kind("first-commit", "workers killed", [100, 300], Needs::Alone, first_commits),
    kind("stopped-workers", "workers that stood still and were replaced", [100, 100], Needs::Shared, stopped_workers),
    kind("signals", "runs told to stop", [100, 100], Needs::Shared, signals),
    kind("disk-full", "full disks", [100, 100], Needs::Shared, full_disks),
    kind("source-changed", "changes of the dataset", [100, 100], Needs::Shared, changed_sources),
];

const fn kind(
    name: &'static str,
    unit: &'static str,
    wanted: [u64; 2],
    needs: Needs,
    run: fn(Place, Delivery, u64) -> Outcome,
) -> Kind {
    Kind { name, unit, wanted, needs, run }
}

/// A trial with a seed, or with one of the next ones if no fault took effect: that shows nothing. It was wrong if none
/// did in any of them.
pub fn with_faults(seed: u64, mut run: impl FnMut(u64) -> Outcome) -> Outcome {
    let mut outcome = run(seed);
    for again in 1..=AGAIN {
        if outcome.faults > 0 || !outcome.wrong.is_empty() {
            return outcome;
        }
        outcome = run(seed.wrapping_add(again));
    }
    if outcome.faults == 0 {
        outcome.wrong.push(format!("no fault took effect, with this seed and the {AGAIN} before it"));
    }
    outcome
}

/// The shape of a job whose moments are drawn at random.
fn shape(random: &mut Random, delivery: Delivery) -> Shape {
    Shape {
        delivery,
        keyed: random.between(0, 4) == 0,
        chunk: CHUNK,
        through_network: false,
        workers: random.between(2, 5),
        shard: ["1MiB", "4MiB", "8MiB"][random.between(0, 3) as usize],
        rate: *random.pick(&[None, Some(400_000), Some(150_000)]),
        more: Vec::new(),
    }
}

fn begin<'a>(kind: &'static str, place: Place<'a>, seed: u64, shape: Shape) -> Trial<'a> {
    let name = format!("{kind}-{}-{seed:010x}", shape.delivery.name());
    Trial::begin(kind, seed, Job::new(place, &name, shape))
}

fn sleep_up_to(random: &mut Random, ms: u64) {
    std::thread::sleep(Duration::from_millis(random.between(0, ms.max(1))));
}

/// One of the workers that live.
fn a_worker(random: &mut Random, running: &Running) -> Option<(u64, Process)> {
    let all = workers(running);
    (!all.is_empty()).then(|| random.pick(&all).clone())
}

/// How often an attempt of a job died.
fn died(report: &Result<Value, String>) -> u64 {
    report.as_ref().map_or(0, |report| attempts(report).iter().filter(|attempt| attempt.outcome == "died").count() as u64)
}

/// A worker that was killed.
struct Killed {
    shard: u64,
    at_ms: i64,
    successor_ms: Option<i64>,
}

/// Workers killed at random moments: also while they start, while another's successor starts, before a commit.
fn worker_kills(place: Place, delivery: Delivery, seed: u64) -> Outcome {
    const MOST: usize = 12;
    let mut random = Random::new(seed);
    let shape = shape(&mut random, delivery);
    let pause = if shape.rate.is_some() { 250 } else { 80 };
    let mut trial = begin("worker-kills", place, seed, shape);
    let mut running = trial.job.start(1);
    let mut killed = Vec::new();
    while killed.len() < MOST && await_workers(&mut running, PATIENCE) {
        sleep_up_to(&mut random, pause);
        let look = random.between(0, 2) == 0;
        killed.extend(kill_one(&mut trial, &mut random, &mut running, look));
    }
    let report = trial.job.finish(1, Some(running));
    let deaths = Deaths { workers: died(&report), of_supervisors: 0 };
    trial.outcome.faults = deaths.workers;
    let kills = killed.len() as u64;
    trial.expect(deaths.workers <= kills, || format!("{} deaths of {kills} kills", deaths.workers));
    trial.judge(1, &report, deaths, seed.is_multiple_of(ALL_READERS));
    note_times(&mut trial, &killed);
    trial.end()
}

/// Kills a worker and perhaps looks until its successor is there.
fn kill_one(trial: &mut Trial, random: &mut Random, running: &mut Running, look: bool) -> Option<Killed> {
    let (shard, victim) = a_worker(random, running)?;
    let at = Instant::now();
    if !send(victim.pid, Signal::SIGKILL) {
        return None;
    }
    while is_there(victim.pid) && at.elapsed() < PATIENCE && running.is_running() {
        std::thread::sleep(Duration::from_micros(500));
    }
    trial.note("noticed", at.elapsed().as_millis() as u64);
    let mut killed = Killed { shard, at_ms: unix_ms(at), successor_ms: None };
    let look = Duration::from_millis(if look { 3000 } else { 0 });
    while killed.successor_ms.is_none() && at.elapsed() < look && running.is_running() {
        if workers(running).iter().any(|(other, process)| *other == shard && process.pid != victim.pid) {
            killed.successor_ms = Some(unix_ms(Instant::now()));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Some(killed)
}

/// How long it took from a kill to the first record of the successor in the topic, and with exactly-once to its first
/// commit, by the broker's clock, which is ours. Not where the successor was killed, too.
fn note_times(trial: &mut Trial, killed: &[Killed]) {
    let shards = if trial.job.shape.keyed { Vec::new() } else { trial.job.shards(1) };
    let progress = match trial.job.shape.delivery {
        Delivery::AtLeastOnce => Vec::new(),
        Delivery::ExactlyOnce => {
            let job = &trial.job;
            oracle::progress(job.place.kafka, super::job::PROGRESS, &job.name, job.began_ms)
        }
    };
    for (number, kill) in killed.iter().enumerate() {
        let Some(from) = kill.successor_ms else { continue };
        let again = killed[number + 1..].iter().find(|later| later.shard == kill.shard).map(|later| later.at_ms);
        let mut note = |figure: &'static str, found: Option<i64>| {
            if let Some(time) = found.filter(|time| again.is_none_or(|again| *time < again)) {
                trial.outcome.figures.entry(figure).or_default().push((time - kill.at_ms).max(0).cast_unsigned());
            }
        };
        if let Some((_, start, end)) = shards.iter().find(|(shard, _, _)| *shard == kill.shard) {
            let lines = trial.job.place.source.lines_between(*start, *end);
            let first = trial.arrivals.iter().find(|arrival| arrival.time_ms >= from && lines.contains(&arrival.place));
            note("next-ack", first.map(|arrival| arrival.time_ms));
        }
        let commit = progress.iter().find(|record| record.shard == kill.shard && record.time_ms >= from);
        note("first-commit", commit.map(|record| record.time_ms));
    }
}

/// The supervisor killed at random moments, also before its first worker, and run again.
fn supervisor_kills(place: Place, delivery: Delivery, seed: u64) -> Outcome {
    const MOST: u64 = 6;
    let mut random = Random::new(seed);
    let shape = shape(&mut random, delivery);
    let count = shape.workers;
    let mut trial = begin("supervisor-kills", place, seed, shape);
    let mut last = None;
    let mut kills = 0;
    while kills < MOST {
        let mut running = trial.job.start(1);
        if random.between(0, 5) > 0 {
            await_workers(&mut running, PATIENCE);
        }
        sleep_up_to(&mut random, 500);
        if !running.is_running() {
            last = Some(running);
            break;
        }
        let at = Instant::now();
        running.signal(Signal::SIGKILL);
        let ended = running.finish(PATIENCE);
        while !trial.job.program.processes().is_empty() && at.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
        let gone = at.elapsed().as_millis() as u64;
        trial.expect(gone < PATIENCE.as_millis() as u64, || "workers outlive their supervisor".to_owned());
        if ended.code == 137 {
            kills += 1;
            trial.note("gone", gone);
        }
    }
    let report = trial.job.finish(1, last);
    trial.outcome.faults = kills;
    let deaths = Deaths { workers: died(&report), of_supervisors: kills * count };
    trial.judge(1, &report, deaths, seed.is_multiple_of(ALL_READERS));
    trial.end()
}

/// Workers that stand still longer than the supervisor waits, and all processes that stand still for a while.
fn stopped_workers(place: Place, delivery: Delivery, seed: u64) -> Outcome {
    let mut random = Random::new(seed);
    let more = vec![("workers.heartbeat_timeout", "\"2s\"".to_owned())];
    // The rate makes it last longer than the stops.
    let shape = Shape { rate: Some(40_000), more, ..shape(&mut random, delivery) };
    let mut trial = begin("stopped-workers", place, seed, shape);
    let mut running = trial.job.start(1);
    let mut replaced = 0;
    for _ in 0..2 {
        if !await_workers(&mut running, PATIENCE) {
            break;
        }
        sleep_up_to(&mut random, 400);
        let all = random.between(0, 4) == 0;
        if all {
            running.signal_group(Signal::SIGSTOP);
            sleep_up_to(&mut random, 3000);
            running.signal_group(Signal::SIGCONT);
            continue;
        }
        let many = random.between(0, 2) == 0;
        let stopped: Vec<_> = if many { workers(&running) } else { a_worker(&mut random, &running).into_iter().collect() };
        let at = Instant::now();
        stopped.iter().for_each(|(_, victim)| {
            send(victim.pid, Signal::SIGSTOP);
        });
        while stopped.iter().any(|(_, victim)| is_there(victim.pid)) && at.elapsed() < PATIENCE && running.is_running() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let took = at.elapsed();
        trial.expect(took < PATIENCE, || format!("workers that stand still are still there after {took:?}"));
        trial.note("replaced", took.as_millis() as u64);
        replaced += stopped.len() as u64;
    }
    let report = trial.job.let_it_end(1, running);
    trial.outcome.faults = replaced;
    let deaths = Deaths { workers: died(&report), of_supervisors: 0 };
    trial.judge(1, &report, deaths, seed.is_multiple_of(ALL_READERS));
    trial.end()
}

/// A second run of a state directory that has one.
fn double_starts(place: Place, delivery: Delivery, seed: u64) -> Outcome {
    let mut random = Random::new(seed);
    let mut trial = begin("double-starts", place, seed, Shape { rate: Some(60_000), ..shape(&mut random, delivery) });
    let mut running = trial.job.start(1);
    let mut refused = 0;
    let mut others: Vec<Running> = Vec::new();
    while running.is_running() && refused < 10 {
        sleep_up_to(&mut random, 300);
        let begun = running.elapsed();
        others.extend((0..random.between(1, 3)).map(|_| trial.job.start(1)));
        for other in others.drain(..) {
            let ended: Finished = other.finish(PATIENCE);
            if running.is_running() && begun > Duration::from_millis(500) {
                refused += 1;
                trial.note("refused", ended.elapsed.as_millis() as u64);
                trial.expect(ended.code == 75, || {
                    format!("a second run ended with {}: {}", ended.code, last_lines(&ended.stderr))
                });
            }
        }
    }
    trial.outcome.faults = refused;
    let report = trial.job.finish(1, Some(running));
    trial.judge(1, &report, Deaths::default(), seed.is_multiple_of(ALL_READERS));
    trial.end()
}

/// One machine's processes stand still while another one takes their shards over; then its workers wake, with their
/// supervisor or without it.
fn zombies(place: Place, delivery: Delivery, seed: u64) -> Outcome {
    const MOST: u32 = 4;
    let mut random = Random::new(seed);
    let shape = Shape { rate: Some(60_000), workers: 4, ..shape(&mut random, delivery) };
    let mut trial = begin("zombies", place, seed, shape);
    let mut running = trial.job.start(1);
    let mut others = Vec::new();
    let mut machine = 1;
    while machine <= MOST {
        if !await_workers(&mut running, PATIENCE) {
            break;
        }
        sleep_up_to(&mut random, 500);
        let asleep = workers(&running);
        running.signal_group(Signal::SIGSTOP);
        trial.job.copy_state(machine, machine + 1);
        let mut successor = trial.job.start(machine + 1);
        let replaced = await_shards(&mut successor, &asleep);
        sleep_up_to(&mut random, 600);
        let with_supervisor = random.between(0, 3) == 0;
        if with_supervisor {
            running.signal_group(Signal::SIGCONT);
        } else {
            asleep.iter().for_each(|(_, worker)| {
                send(worker.pid, Signal::SIGCONT);
            });
        }
        trial.outcome.faults += replaced;
        // They have to notice by themselves; with their supervisor they get successors.
        let begin = Instant::now();
        let lives = |pid: u32| crate::program::state_of(pid).is_some_and(|state| state != 'Z');
        while asleep.iter().any(|(_, worker)| lives(worker.pid)) && begin.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let left = asleep.iter().filter(|(_, worker)| lives(worker.pid)).count();
        trial.note("still-at-work", left as u64);
        if with_supervisor {
            others.push((machine, running));
        } else {
            running.signal_group(Signal::SIGKILL);
            running.finish(PATIENCE);
        }
        running = successor;
        machine += 1;
    }
    let report = trial.job.let_it_end(machine, running);
    for (machine, other) in others {
        if let Err(what) = trial.job.let_it_end(machine, other) {
            trial.wrong(what);
        }
    }
    trial.judge(machine, &report, Deaths::default(), seed.is_multiple_of(ALL_READERS));
    trial.end()
}

/// Waits until a run has workers at work on the shards of others'; how many of those.
fn await_shards(running: &mut Running, of: &[(u64, Process)]) -> u64 {
    let begin = Instant::now();
    let mut seen = std::collections::BTreeSet::new();
    while running.is_running() && begin.elapsed() < PATIENCE {
        seen.extend(workers(running).into_iter().map(|(shard, _)| shard));
        if of.iter().all(|(shard, _)| seen.contains(shard)) || begin.elapsed() > Duration::from_secs(5) && !seen.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    of.iter().filter(|(shard, _)| seen.contains(shard)).count() as u64
}

/// The same job on machines at once, each with a state directory of its own, a copy of the first one's.
fn two_machines(place: Place, delivery: Delivery, seed: u64) -> Outcome {
    let mut random = Random::new(seed);
    let mut trial = begin("two-machines", place, seed, Shape { rate: Some(150_000), ..shape(&mut random, delivery) });
    let mut first = trial.job.start(1);
    let mut others = Vec::new();
    let more = if await_workers(&mut first, PATIENCE) { random.between(1, 4) as u32 } else { 0 };
    for machine in 2..2 + more {
        sleep_up_to(&mut random, 300);
        if first.is_running() {
            first.signal_group(Signal::SIGSTOP);
            trial.job.copy_state(1, machine);
            first.signal_group(Signal::SIGCONT);
            others.push((machine, trial.job.start(machine)));
        }
    }
    trial.outcome.faults = others.len() as u64;
    let report = trial.job.finish(1, Some(first));
    for (machine, other) in others {
        if let Err(what) = trial.job.finish(machine, Some(other)) {
            trial.wrong(format!("machine {machine}: {what}"));
        }
    }
    trial.judge(1, &report, Deaths::default(), seed.is_multiple_of(ALL_READERS));
    trial.end()
}

/// Requests that end transactions are held back until their client has gone on or is dead.
fn late_ends(place: Place, delivery: Delivery, seed: u64) -> Outcome {
    let mut random = Random::new(seed);
    let impatient = random.between(0, 3) == 0;
    let mut shape = Shape { through_network: true, rate: Some(150_000), ..shape(&mut random, delivery) };
    let mut hold = Hold { one_in: 3, ms: (50, HELD_MS), cut_of_4: 3, seed };
    if impatient {
        // The client itself gives the request up, and asks again.
        shape.more.push(("kafka.properties.\"socket.timeout.ms\"", "1000".to_owned()));
        hold = Hold { one_in: 6, ms: (1050, HELD_MS), cut_of_4: 0, seed };
    }
    let mut trial = begin("late-ends", place, seed, shape);
    let part = format!("{}/", trial.job.name);
    place.network.hold(&part, hold);
    let mut running = trial.job.start(1);
    let mut seen = 0;
    let begin = Instant::now();
    while running.is_running() && begin.elapsed() < Duration::from_secs(40) {
        let held = place.network.held(&part);
        for request in &held[seen..] {
            // Some of those that wait die meanwhile.
            let shard = request.client.rsplit('/').next().and_then(|shard| shard.parse::<u64>().ok());
            let victim = workers(&running).into_iter().find(|(worker, _)| Some(*worker) == shard);
            if let Some((_, victim)) = victim.filter(|_| !request.cut && random.between(0, 2) == 0) {
                send(victim.pid, Signal::SIGKILL);
            }
        }
        seen = held.len();
        std::thread::sleep(Duration::from_millis(5));
    }
    place.network.heal(&part);
    let report = trial.job.let_it_end(1, running);
    std::thread::sleep(Duration::from_millis(HELD_MS)); // the last ones come, too
    let held = place.network.held(&part);
    trial.outcome.faults = held.iter().filter(|request| request.late && request.released).count() as u64;
    trial.note("held", held.len() as u64);
    for request in held.iter().filter(|request| request.late) {
        trial.note("answer", request.answer.map_or(999, i16::unsigned_abs).into());
    }
    trial.judge(1, &report, Deaths::default(), seed.is_multiple_of(ALL_READERS));
    trial.end()
}

/// The longest that a request is held, in milliseconds.
const HELD_MS: u64 = 2500;

/// Single workers killed in a job at full speed, each successor left alone until it has committed: how long that takes.
fn first_commits(place: Place, delivery: Delivery, seed: u64) -> Outcome {
    let mut random = Random::new(seed);
    let shape = Shape { keyed: false, workers: 2, shard: "16MiB", rate: None, ..shape(&mut random, delivery) };
    let mut trial = begin("first-commit", place, seed, shape);
    let mut running = trial.job.start(1);
    let mut killed = Vec::new();
    while killed.len() < 4 && await_workers(&mut running, PATIENCE) {
        std::thread::sleep(Duration::from_millis(random.between(20, 120)));
        killed.extend(kill_one(&mut trial, &mut random, &mut running, true));
        std::thread::sleep(Duration::from_millis(250));
    }
    let report = trial.job.finish(1, Some(running));
    let deaths = Deaths { workers: died(&report), of_supervisors: 0 };
    trial.outcome.faults = deaths.workers;
    trial.judge(1, &report, deaths, false);
    note_times(&mut trial, &killed);
    trial.end()
}

/// SIGINT or SIGTERM, to the supervisor or to its group, again and again.
fn signals(place: Place, delivery: Delivery, seed: u64) -> Outcome {
    let mut random = Random::new(seed);
    let shape = Shape { rate: Some(40_000), ..shape(&mut random, delivery) };
    let mut trial = begin("signals", place, seed, shape);
    let mut last = None;
    for _ in 0..6 {
        let mut running = trial.job.start(1);
        if !await_workers(&mut running, PATIENCE) {
            last = Some(running);
            break;
        }
        sleep_up_to(&mut random, 400);
        let signal = *random.pick(&[Signal::SIGINT, Signal::SIGTERM]);
        if running.is_running() {
            if random.between(0, 2) == 0 { running.signal(signal) } else { running.signal_group(signal) }
        }
        let told = Instant::now();
        let ended = running.finish(PATIENCE);
        match ended.code {
            75 => {
                trial.outcome.faults += 1;
                trial.note("drained", told.elapsed().as_millis() as u64);
            }
            0 => break,
            code => trial.wrong(format!("after {signal} a run ended with {code}: {}", last_lines(&ended.stderr))),
        }
    }
    let report = trial.job.finish(1, last);
    // A drain that succeeds costs no duplicates.
    trial.judge(1, &report, Deaths::default(), seed.is_multiple_of(ALL_READERS));
    trial.end()
}

/// The disk of the state gets full in mid-run, and is freed. With exactly-once the job goes on meanwhile.
fn full_disks(place: Place, delivery: Delivery, seed: u64) -> Outcome {
    let mut random = Random::new(seed);
    let shape = Shape { rate: Some(100_000), ..shape(&mut random, delivery) };
    let mut trial = begin("disk-full", place, seed, shape);
    let Some(disk) = Disk::mount(trial.job.program.join("state-1")) else {
        trial.wrong("no disk can be mounted here");
        return trial.end();
    };
    let mut deaths = Deaths::default();
    let mut last = None;
    for _ in 0..2 {
        let mut running = trial.job.start(1);
        if !await_workers(&mut running, PATIENCE) {
            last = Some(running);
            break;
        }
        sleep_up_to(&mut random, 500);
        disk.fill();
        trial.outcome.faults += 1;
        let begin = Instant::now();
        while running.is_running() && begin.elapsed() < Duration::from_secs(3) {
            std::thread::sleep(Duration::from_millis(5));
        }
        if running.is_running() {
            disk.free();
            last = Some(running);
            break;
        }
        let ended = running.finish(PATIENCE);
        trial.note("ended", begin.elapsed().as_millis() as u64);
        trial.note("code", ended.code.unsigned_abs().into());
        let right = ended.code == 74 || (ended.code == 0 && delivery == Delivery::ExactlyOnce);
        trial.expect(right, || format!("with a full disk a run ended with {}: {}", ended.code, last_lines(&ended.stderr)));
        deaths.of_supervisors += trial.job.shape.workers;
        let told = trial.job.command(1, &["status", "-o", "json"]);
        trial.expect(told.code == 0, || format!("the state can't be read on a full disk: {}", last_lines(&told.stderr)));
        disk.free();
    }
    let report = trial.job.finish(1, last);
    deaths.workers = died(&report);
    trial.judge(1, &report, deaths, seed.is_multiple_of(ALL_READERS));
    drop(disk);
    trial.end()
}

/// The dataset changes in mid-run: 7 and never done; when it is as it was, the job goes on.
fn changed_sources(place: Place, delivery: Delivery, seed: u64) -> Outcome {
    let mut random = Random::new(seed);
    let shape = Shape { rate: Some(150_000), ..shape(&mut random, delivery) };
    let mut trial = begin("source-changed", place, seed, shape);
    let own = Changed::copy(&trial.job);
    let mut running = trial.job.start(1);
    if await_workers(&mut running, PATIENCE) {
        sleep_up_to(&mut random, 700);
        if running.is_running() {
            own.change(&mut random);
            trial.outcome.faults += 1;
            let ended = running.finish(PATIENCE);
            let said = || format!("with a changed dataset a run ended with {}: {}", ended.code, last_lines(&ended.stderr));
            trial.expect(ended.code == 7, said);
            own.restore();
            running = trial.job.start(1);
        }
    }
    let report = trial.job.finish(1, Some(running));
    let died = report.as_ref().map_or(0, |report| attempts(report).iter().filter(|one| one.outcome != "finished").count());
    let deaths = Deaths { workers: died as u64, of_supervisors: 0 };
    trial.judge(1, &report, deaths, seed.is_multiple_of(ALL_READERS));
    trial.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Trials that have these numbers of faults, one after the other; how many were made, and the last one's outcome.
    fn trials(faults: &[u64], wrong: &[&str]) -> (usize, Outcome) {
        let mut made = 0;
        let outcome = with_faults(17, |seed| {
            let mut outcome = Outcome::nothing("signals", Delivery::AtLeastOnce, seed, 1, 100);
            outcome.faults = faults[made];
            outcome.wrong = wrong.iter().map(|what| (*what).to_owned()).collect();
            made += 1;
            outcome
        });
        (made, outcome)
    }

    #[test]
    fn a_trial_without_a_fault_is_made_again_and_is_wrong_if_none_comes() {
        let (made, outcome) = trials(&[2], &[]);
        assert_eq!((made, outcome.seed, outcome.wrong.len()), (1, 17, 0));
        let (made, outcome) = trials(&[0, 0, 0, 1], &[]);
        assert_eq!((made, outcome.seed, outcome.wrong.len()), (4, 20, 0));
        let (made, outcome) = trials(&[0, 0, 0, 0], &[]);
        assert_eq!((made, outcome.wrong.len()), (4, 1));
        assert_eq!(trials(&[0], &["something"]).0, 1, "what is wrong is not made again");
    }
}
