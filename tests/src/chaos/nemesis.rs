//! The nemesis: a sequence of faults of all kinds, drawn from a seed, done to one running job.
//!
//! The same seed gives the same sequence. Moments repeat only as well as a machine's do.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::Delivery;
use super::excuses::Excuses;
use super::job::{Job, Place, Shape, await_workers, last_lines, send, workers};
use super::network::{Blocked, Hold, Network};
use super::trial::{Deaths, Outcome, Trial};
use crate::faults::attempts;
use crate::program::Running;
use crate::random::Random;
use crate::waiting;

/// Records of a chunk: small, so that there are commits between faults.
const CHUNK: u64 = 1_000;
/// Records a second, until the last fault.
const RATE: u64 = 5_000;
/// Faults of a round.
pub const STEPS: usize = 14;
/// The most workers that a job is scaled to.
const MOST_WORKERS: u64 = 8;
/// How attempts end that leave nothing half done, or by their supervisor's death, which is counted for itself.
const CLEAN: [&str; 3] = ["finished", "drained", "orphaned"];
/// How long a run may take to end or to get going, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(300);
/// Exit codes that faults explain: no broker answers, the dataset changed, the state can't be written.
const NO_BROKERS: i32 = 4;
const CHANGED: i32 = 7;
const NO_DISK: i32 = 74;
/// The command that takes a run's limits away.
const UNLIMITED: [&str; 4] = ["throttle", "none", "--bytes", "none"];

/// Something that is done to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL for a worker.
    KillWorker,
    /// A worker stands still for longer than its supervisor waits, or for less.
    StopWorker,
    /// SIGKILL for the supervisor.
    KillSupervisor,
    /// SIGTERM for the supervisor.
    TerminateSupervisor,
    /// All processes of a run stand still for a while.
    StopAll,
    /// SIGKILL for a broker, which comes back.
    KillBroker,
    /// A clean stop of a broker, which comes back.
    StopBroker,
    /// Leaders go back to where they belong.
    MoveLeaders,
    /// Answers take longer.
    Delay,
    /// Connections are cut.
    Cut,
    /// Connections are there, and nothing comes through them.
    HalfOpen,
    /// Requests arrive, answers do not, for a while.
    NoAnswers,
    /// Nothing comes through in either direction, for a while.
    NoNetwork,
    /// Requests that end transactions come late.
    LateEnds,
    /// The disk of the state is full for a while.
    DiskFull,
    /// The disk of the state can't be written when a run begins.
    ReadOnly,
    /// The dataset changes, and is as it was after a while.
    SourceChanged,
    /// A second run of the same state.
    SecondRun,
    /// A run on another machine, beside the first one.
    OtherMachine,
    /// A run stands still, another machine takes over, then it wakes.
    Zombie,
    /// Another number of workers.
    Scale,
    /// A pause, and its end.
    Pause,
}

/// A step of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Before it.
    pub pause_ms: u64,
    /// What is done.
    pub fault: Fault,
    /// For how long, if it lasts.
    pub lasts_ms: u64,
    /// Whom it concerns, and how.
    pub draw: u64,
}

/// All faults that have a meaning here.
fn deck(delivery: Delivery, brokers: u32) -> Vec<Fault> {
    use Fault::*;
    let mut deck = vec![KillWorker, KillWorker, KillWorker, StopWorker, KillSupervisor, TerminateSupervisor, StopAll];
    deck.extend([KillBroker, StopBroker, Delay, Cut, HalfOpen, NoAnswers, NoNetwork, DiskFull, ReadOnly]);
    deck.extend([SourceChanged, SecondRun, Scale, Scale, Pause]);
    if brokers > 1 {
        deck.extend([KillBroker, MoveLeaders]);
    }
    if delivery == Delivery::ExactlyOnce {
        deck.extend([LateEnds, OtherMachine, Zombie]);
    }
    deck
}

/// The sequence of a seed: each fault of the deck once before one comes again.
pub fn sequence(seed: u64, delivery: Delivery, brokers: u32, steps: usize) -> Vec<Step> {
    let mut random = Random::new(seed);
    let mut left = Vec::new();
    let mut sequence = Vec::new();
    while sequence.len() < steps {
        if left.is_empty() {
            left = deck(delivery, brokers);
        }
        let fault = left.remove(random.between(0, left.len() as u64) as usize);
        let (pause_ms, lasts_ms) = (random.between(100, 1200), random.between(300, 2500));
        sequence.push(Step { pause_ms, fault, lasts_ms, draw: random.next_u64() });
    }
    sequence
}

/// A small disk of its own for a machine's state. It goes with its owner.
pub struct Disk(PathBuf);

impl Disk {
    /// `None` where disks can't be mounted.
    pub fn mount(path: PathBuf) -> Option<Self> {
        fs::create_dir(&path).ok()?;
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", "size=12m,mode=700", "tmpfs"]).arg(&path).status();
        status.is_ok_and(|status| status.success()).then_some(Disk(path))
    }

    /// Nothing more can be written.
    pub fn fill(&self) {
        let _ = fs::write(self.0.join("filler"), vec![0; 12 << 20]);
    }

    /// There is room again.
    pub fn free(&self) {
        let _ = fs::remove_file(self.0.join("filler"));
    }

    /// False if it can't be.
    fn remount(&self, how: &str) -> bool {
        let mut mount = Command::new("mount");
        let status = mount.args(["-o", &format!("remount,{how}")]).arg(&self.0).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let kept = self.0.with_extension("kept");
        let _ = Command::new("cp").arg("-a").arg(&self.0).arg(kept).status();
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A job's own copy of the dataset, which is changed and restored.
pub struct Changed {
    path: PathBuf,
    original: PathBuf,
    time: SystemTime,
}

impl Changed {
    /// Copies it, and tells the job's config.
    pub fn copy(job: &Job) -> Self {
        let (path, original) = (job.program.join("data/orders.jsonl"), job.place.source.path());
        let copied = fs::create_dir(job.program.join("data")).and_then(|()| fs::copy(&original, &path));
        copied.expect("the dataset can be copied");
        job.configure(&path.display().to_string());
        let time = fs::metadata(&path).and_then(|meta| meta.modified()).expect("the dataset is there");
        Changed { path, original, time }
    }

    /// Lengthens, replaces, deletes or shortens it.
    pub fn change(&self, random: &mut Random) {
        let changed = match random.between(0, 4) {
            0 => fs::OpenOptions::new().append(true).open(&self.path).and_then(|mut file| file.write_all(b"{\"another\":1}\n")),
            1 => {
                let aside = self.path.with_extension("aside");
                fs::rename(&self.path, aside).and_then(|()| fs::write(&self.path, "{\"another\":1}\n"))
            }
            2 => fs::rename(&self.path, self.path.with_extension("aside")),
            _ => fs::OpenOptions::new().write(true).open(&self.path).and_then(|file| file.set_len(random.between(0, 20 << 20))),
        };
        changed.expect("a file of ours can be changed");
    }

    /// As it was, with its time of change, too.
    pub fn restore(&self) {
        let aside = self.path.with_extension("aside");
        let restored =
            if aside.exists() { fs::rename(&aside, &self.path) } else { fs::copy(&self.original, &self.path).map(|_| ()) };
        let file = restored.and_then(|()| fs::OpenOptions::new().write(true).open(&self.path));
        file.and_then(|file| file.set_modified(self.time)).expect("a file of ours can be restored");
    }
}

/// A job with its nemesis.
struct Round<'a> {
    /// Before the trial, whose folder it is mounted in: it has to go first.
    disk: Option<Disk>,
    trial: Trial<'a>,
    network: &'a Network,
    source: Changed,
    /// By machine, from 1; `None` = nothing runs there.
    runs: Vec<Option<Running>>,
    deaths: Deaths,
    excuses: Excuses,
    done: bool,
    /// A broker that is being started again, while other faults go on.
    restarting: Option<Child>,
}

/// One round of mixed faults, on a cluster that no other job uses.
pub fn mixed(place: Place, delivery: Delivery, seed: u64) -> Outcome {
    round(place, delivery, seed, STEPS)
}

/// The same with a number of steps.
pub fn round(place: Place, delivery: Delivery, seed: u64, steps: usize) -> Outcome {
    let sequence = sequence(seed, delivery, place.count, steps);
    let mut random = Random::new(seed ^ 0x0dd5);
    let shape = Shape {
        delivery,
        keyed: random.between(0, 3) == 0,
        workers: random.between(2, 5),
        shard: ["1MiB", "4MiB", "16MiB"][random.between(0, 3) as usize],
        rate: Some(RATE),
        chunk: CHUNK,
        through_network: true,
        more: vec![
            ("workers.heartbeat_timeout", "\"3s\"".to_owned()),
            // Half-open connections are noticed by this; a minute is the default.
            ("kafka.properties.\"socket.timeout.ms\"", "5000".to_owned()),
        ],
    };
    let name = format!("mixed-{}-{}-{seed:010x}", place.count, delivery.name());
    let job = Job::new(place, &name, shape);
    let source = Changed::copy(&job);
    let disk = Disk::mount(job.program.join("state-1"));
    if disk.is_none() {
        eprintln!("{name}: no disk can be mounted here, so that none gets full or read-only");
    }
    let mut round = Round {
        disk,
        trial: Trial::begin(if place.count > 1 { "mixed-three-brokers" } else { "mixed-one-broker" }, seed, job),
        network: place.network,
        source,
        runs: Vec::new(),
        deaths: Deaths::default(),
        excuses: Excuses::default(),
        done: false,
        restarting: None,
    };
    let first = round.trial.job.start(1);
    round.runs.push(Some(first));
    for step in &sequence {
        std::thread::sleep(Duration::from_millis(step.pause_ms));
        round.look_after_runs();
        if round.done || !round.trial.outcome.wrong.is_empty() {
            break;
        }
        let took_effect = round.act(step);
        round.trial.outcome.faults += u64::from(took_effect);
    }
    round.end(sequence)
}

impl Round<'_> {
    fn part(&self) -> String {
        format!("{}/", self.trial.job.name)
    }

    /// Runs that ended are judged, and the first machine's is started again.
    fn look_after_runs(&mut self) {
        let back = self.restarting.as_mut().is_some_and(|child| child.try_wait().is_ok_and(|status| status.is_some()));
        if back {
            self.await_broker();
        }
        for machine in 1..=self.runs.len() as u32 {
            let Some(mut running) = self.runs[machine as usize - 1].take() else { continue };
            if running.is_running() {
                self.runs[machine as usize - 1] = Some(running);
            } else {
                self.ended(machine, running);
            }
        }
        if self.runs[0].is_none() && !self.done {
            self.runs[0] = Some(self.trial.job.start(1));
        }
    }

    fn ended(&mut self, machine: u32, running: Running) {
        let began = running.began();
        let ended = running.finish(PATIENCE);
        self.done |= ended.code == 0 && machine == 1;
        if !self.excuses.explain(ended.code, began) {
            let said = last_lines(&ended.stderr);
            self.trial.wrong(format!("the run of machine {machine} ended with {}: {said}", ended.code));
        }
        if ended.code != 0 && ended.code != 75 {
            self.deaths.of_supervisors += MOST_WORKERS;
        }
    }

    /// Does what a step says; whether that took effect. A step may find nothing to act on.
    fn act(&mut self, step: &Step) -> bool {
        let lasts = Duration::from_millis(step.lasts_ms);
        let wait = || std::thread::sleep(lasts);
        let mut random = Random::new(step.draw);
        let part = self.part();
        match step.fault {
            Fault::KillWorker => self.a_worker(&mut random).is_some_and(|pid| send(pid, Signal::SIGKILL)),
            Fault::StopWorker => {
                let Some(pid) = self.a_worker(&mut random) else { return false };
                let stopped = send(pid, Signal::SIGSTOP);
                std::thread::sleep(lasts * 2);
                send(pid, Signal::SIGCONT);
                stopped
            }
            Fault::KillSupervisor => {
                self.deaths.of_supervisors += MOST_WORKERS;
                self.end_first(Signal::SIGKILL, 137)
            }
            Fault::TerminateSupervisor => self.end_first(Signal::SIGTERM, 75),
            Fault::StopAll => {
                let Some(running) = self.first() else { return false };
                running.signal_group(Signal::SIGSTOP);
                wait();
                running.signal_group(Signal::SIGCONT);
                true
            }
            Fault::KillBroker | Fault::StopBroker => {
                let broker = random.between(1, u64::from(self.trial.job.place.count) + 1) as u32;
                self.end_broker(step.fault == Fault::KillBroker, broker, wait)
            }
            Fault::MoveLeaders => {
                self.await_broker();
                let kafka = self.trial.job.place.kafka;
                let words = ["--election-type", "preferred", "--all-topic-partitions"];
                let tool = ["tool", "org.apache.kafka.tools.LeaderElectionCommand", "--bootstrap-server", kafka.bootstrap()];
                kafka.try_call(&[&tool[..], &words].concat()).status.success() // nothing to do is its failure
            }
            Fault::Delay => {
                self.network.delay(Duration::from_millis(random.between(5, 400)));
                wait();
                self.network.delay(Duration::ZERO);
                self.network.links(&part) > 0
            }
            Fault::Cut => self.network.cut(&part) > 0,
            Fault::HalfOpen => self.network.abandon(&part) > 0,
            Fault::NoAnswers | Fault::NoNetwork => {
                let what = if step.fault == Fault::NoAnswers { Blocked::Answers } else { Blocked::Both };
                self.network.block(&part, what);
                wait();
                let blocked = self.network.links(&part);
                if random.between(0, 2) == 0 {
                    self.network.cut(&part);
                }
                self.network.heal(&part);
                blocked > 0
            }
            Fault::LateEnds => {
                let before = self.network.held(&part).len();
                self.network.hold(&part, Hold { one_in: 2, ms: (5, 900), cut_of_4: 3, seed: step.draw });
                wait();
                self.network.heal(&part);
                self.network.held(&part).len() > before
            }
            Fault::DiskFull => self.disk_full(wait),
            Fault::ReadOnly => self.read_only(wait),
            Fault::SourceChanged => self.source_changed(&mut random, lasts),
            Fault::SecondRun => self.second_run(),
            Fault::OtherMachine => {
                if !self.await_plan() {
                    return false;
                }
                self.runs[0].as_ref().expect("it has workers").signal_group(Signal::SIGSTOP);
                self.start_another();
                self.runs[0].as_ref().expect("it stands still").signal_group(Signal::SIGCONT);
                wait();
                true
            }
            Fault::Zombie => self.zombie(lasts),
            Fault::Scale => {
                let workers = random.between(1, MOST_WORKERS + 1).to_string();
                self.trial.job.command(1, &["scale", &workers]).code == 0
            }
            Fault::Pause => {
                let paused = self.trial.job.command(1, &["pause"]).code == 0;
                wait();
                self.trial.job.command(1, &["continue"]);
                paused
            }
        }
    }

    /// The first machine's run, if it goes on.
    fn first(&mut self) -> Option<&mut Running> {
        let running = self.runs[0].as_mut()?;
        running.is_running().then_some(running)
    }

    /// Ends a broker, and begins to start it again.
    fn end_broker(&mut self, kill: bool, broker: u32, wait: impl Fn()) -> bool {
        self.await_broker();
        // A run that begins waits 20 s for its brokers, and a broker's start may take that on a busy machine.
        self.excuses.begin(NO_BROKERS);
        let kafka = self.trial.job.place.kafka;
        if kill {
            kafka.kill(broker);
        } else {
            kafka.terminate(broker);
        }
        wait();
        self.restarting = Some(kafka.begin(&["restart", &broker.to_string()]));
        true
    }

    /// Waits until the first machine has workers: then the job has its plan, and a copied state is that job's.
    fn await_plan(&mut self) -> bool {
        self.runs[0].as_mut().is_some_and(|running| await_workers(running, PATIENCE))
    }

    /// Waits until the broker that is being started answers.
    fn await_broker(&mut self) {
        if let Some(child) = self.restarting.take() {
            let output = waiting::collect(child, "scripts/kafka restart", PATIENCE);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            self.excuses.end(NO_BROKERS);
        }
    }

    /// A worker of any run.
    fn a_worker(&self, random: &mut Random) -> Option<u32> {
        let all: Vec<u32> = self.runs.iter().flatten().flat_map(workers).map(|(_, worker)| worker.pid).collect();
        (!all.is_empty()).then(|| *random.pick(&all))
    }

    /// Ends the first machine's run by a signal, and starts it again; whether the signal ended it.
    fn end_first(&mut self, signal: Signal, code: i32) -> bool {
        let Some(mut running) = self.runs[0].take() else { return false };
        let signalled = running.is_running();
        if signalled {
            running.signal(signal);
        }
        let began = running.began();
        let ended = running.finish(PATIENCE);
        self.done |= ended.code == 0;
        let by_signal = signalled && (ended.code == code || (signal == Signal::SIGTERM && ended.code == 143));
        self.trial.expect(by_signal || self.excuses.explain(ended.code, began), || {
            format!("after {signal} a run ended with {}: {}", ended.code, last_lines(&ended.stderr))
        });
        if !self.done {
            self.runs[0] = Some(self.trial.job.start(1));
        }
        by_signal
    }

    fn disk_full(&mut self, wait: impl Fn()) -> bool {
        let runs = self.first().is_some();
        let Some(disk) = &self.disk else { return false };
        self.excuses.begin(NO_DISK);
        disk.fill();
        wait();
        disk.free();
        self.excuses.end(NO_DISK);
        runs
    }

    fn read_only(&mut self, wait: impl Fn()) -> bool {
        if self.disk.is_none() {
            return false;
        }
        let Some(running) = self.runs[0].take() else { return false };
        self.deaths.of_supervisors += MOST_WORKERS;
        running.signal_group(Signal::SIGKILL);
        running.finish(PATIENCE);
        let disk = self.disk.as_ref().expect("it was looked for");
        self.excuses.begin(NO_DISK);
        let read_only = disk.remount("ro");
        let mut running = self.trial.job.start(1);
        wait();
        disk.remount("rw");
        self.excuses.end(NO_DISK);
        if !running.is_running() {
            let ended = running.finish(PATIENCE);
            let right = ended.code == 74 || self.trial.job.shape.delivery == Delivery::ExactlyOnce;
            self.trial.expect(right, || {
                format!("on a read-only disk a run ended with {}: {}", ended.code, last_lines(&ended.stderr))
            });
            running = self.trial.job.start(1);
        }
        self.runs[0] = Some(running);
        read_only
    }

    fn source_changed(&mut self, random: &mut Random, lasts: Duration) -> bool {
        // Changed before it was planned, it would be another job's.
        if !self.await_plan() {
            return false;
        }
        self.excuses.begin(CHANGED);
        self.source.change(random);
        let begin = Instant::now();
        while self.runs[0].as_mut().is_some_and(Running::is_running) && begin.elapsed() < lasts {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.source.restore();
        self.excuses.end(CHANGED);
        true
    }

    /// A second run is refused, unless the first one ends meanwhile.
    fn second_run(&mut self) -> bool {
        let second = self.trial.job.start(1);
        let began = second.began();
        let second = second.finish(PATIENCE);
        let alone = self.first().is_none();
        self.done |= second.code == 0 && alone;
        let right = second.code == 75 || (alone && self.excuses.explain(second.code, began));
        self.trial.expect(right, || format!("a second run ended with {}: {}", second.code, last_lines(&second.stderr)));
        self.trial.note("refused", second.elapsed.as_millis() as u64);
        second.code == 75 && !alone
    }

    /// Starts a run on another machine, with what the first one's disk has; all processes of that one stand still.
    fn start_another(&mut self) {
        let machine = self.runs.len() as u32 + 1;
        self.trial.job.copy_state(1, machine);
        let _ = fs::remove_file(self.trial.job.program.join(format!("state-{machine}/filler")));
        let running = self.trial.job.start(machine);
        self.runs.push(Some(running));
    }

    /// All of the first machine's processes stand still until another machine has its workers at work.
    fn zombie(&mut self, lasts: Duration) -> bool {
        if !self.await_plan() {
            return false;
        }
        self.runs[0].as_ref().expect("it has workers").signal_group(Signal::SIGSTOP);
        self.start_another();
        let other = self.runs.last_mut().and_then(Option::as_mut).expect("it was just started");
        let taken_over = await_workers(other, PATIENCE);
        std::thread::sleep(lasts);
        self.runs[0].as_ref().expect("it stands still").signal_group(Signal::SIGCONT);
        taken_over
    }

    /// Nothing disturbs any more: the job has to be done soon, and is judged.
    fn end(mut self, sequence: Vec<Step>) -> Outcome {
        self.network.heal(&self.part());
        self.await_broker();
        if let Some(disk) = &self.disk {
            disk.free();
        }
        // Two machines that fence each other are done sooner if neither is limited.
        for machine in 2..=self.runs.len() as u32 {
            self.trial.job.command(machine, &UNLIMITED);
        }
        let begin = Instant::now();
        let mut report: Option<Value> = None;
        while report.is_none() && begin.elapsed() < 2 * PATIENCE {
            let mut running = self.runs[0].take().unwrap_or_else(|| self.trial.job.start(1));
            while running.is_running() && begin.elapsed() < PATIENCE {
                if self.trial.job.command(1, &UNLIMITED).code == 0 {
                    break;
                }
            }
            let began = running.began();
            let ended = running.finish(PATIENCE);
            if ended.code == 0 {
                report = Some(ended.json());
            } else if !self.excuses.explain(ended.code, began) {
                let said = last_lines(&ended.stderr);
                self.trial.wrong(format!("with nothing to disturb it a run ended with {}: {said}", ended.code));
                break;
            }
        }
        for machine in 2..=self.runs.len() as u32 {
            if let Some(running) = self.runs[machine as usize - 1].take() {
                self.ended(machine, running);
            }
        }
        let failed = report
            .as_ref()
            .map_or(0, |report| attempts(report).iter().filter(|attempt| !CLEAN.contains(&attempt.outcome.as_str())).count());
        self.deaths.workers += failed as u64;
        let report = report.ok_or_else(|| "the job was never done".to_owned());
        let names: Vec<String> = sequence.iter().map(|step| format!("{:?}", step.fault)).collect();
        self.trial.judge(1, &report, self.deaths, true);
        let part = self.part();
        let late = self.network.held(&part).iter().filter(|held| held.late).count() as u64;
        if late > 0 {
            self.trial.note("late", late);
        }
        if !self.trial.outcome.wrong.is_empty() {
            self.trial.wrong(format!("the sequence was {}", names.join(", ")));
        }
        drop(self.disk.take());
        self.trial.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_sequence_and_another_one_another() {
        let of = |seed| sequence(seed, Delivery::ExactlyOnce, 3, 30);
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
    }

    #[test]
    fn each_fault_comes_before_one_comes_again() {
        let deck = deck(Delivery::ExactlyOnce, 3);
        let faults: Vec<Fault> = sequence(1, Delivery::ExactlyOnce, 3, deck.len()).iter().map(|step| step.fault).collect();
        let count = |list: &[Fault], fault| list.iter().filter(|other| **other == fault).count();
        assert!(deck.iter().all(|fault| count(&deck, *fault) == count(&faults, *fault)));
        let of_default = sequence(1, Delivery::AtLeastOnce, 1, 100);
        assert!(of_default.iter().all(|step| step.fault != Fault::Zombie && step.fault != Fault::MoveLeaders));
    }
}
