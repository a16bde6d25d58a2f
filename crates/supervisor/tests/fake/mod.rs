//! Fake workers and a job to run them in.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use migration::job::{ChunkLimits, FlushPolicy, Limits, RestartRules, WorkerRules};
use migration::report::{Binding, JobReport};
use migration::{
    Chunk, Compression, Counts, Finished, Level, Phase, Plan, Position, Progress, Segment, SourceObject, Work, WorkerEvent,
};
use process::{Pid, Signal, own_memory, send_signal};
use supervisor::{
    AutoSlots, NewJob, Owners, RunEnd, Setup, Snapshot, StateDir, Store, SupervisorGone, Watcher, WorkOrder, WorkerPort,
    load_report, run, run_single,
};
use tempfile::TempDir;

/// Bytes of a fake record.
const RECORD: u64 = 10;
/// Records of a fake chunk.
pub const CHUNK: u64 = 10;

/// How long a fake chunk takes; forked workers inherit it.
static PACE_US: AtomicU64 = AtomicU64::new(0);

/// A folder that is gone when the scenario is over. Not in memory, as the system's may be: locks and checkpoints are
/// synced.
pub struct Folder(TempDir);

impl Folder {
    pub fn new(name: &str) -> Self {
        Folder(tempfile::Builder::new().prefix(name).tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("writable"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// When a signal is sent to the supervisor: at an event, since no time is right on a slow machine and on a fast one.
#[derive(Clone, Copy)]
pub enum When {
    /// At the first look.
    AtOnce,
    /// When this number of workers has been started.
    Workers(usize),
    /// When this number of records is committed.
    Committed(u64),
    /// When the run drains.
    Drains,
}

impl When {
    fn is_now(self, snapshot: &Snapshot) -> bool {
        match self {
            When::AtOnce => true,
            When::Workers(count) => snapshot.workers.len() >= count,
            When::Committed(records) => snapshot.committed.read >= records,
            When::Drains => snapshot.draining,
        }
    }
}

/// A job of equal shards.
pub struct Job {
    path: PathBuf,
    plan: Plan,
    pub rules: WorkerRules,
    pub limits: Limits,
    pub slots: u32,
    pub pace: Duration,
    /// Sent to this process, one after the other.
    pub signals: Vec<(When, Signal)>,
    /// A child that the job can't do without.
    pub needs: Option<Pid>,
}

impl Job {
    pub fn new(folder: &Folder, shards: u32, size: u64) -> Self {
        Job::at(folder.path(), shards, size)
    }

    pub fn at(path: &Path, shards: u32, size: u64) -> Self {
        let chunk = ChunkLimits { records: CHUNK, bytes: 1 << 20, interval: Duration::from_secs(1) };
        let (backoff_min, backoff_max) = (Duration::from_millis(20), Duration::from_millis(200));
        Job {
            path: path.to_owned(),
            plan: plan(shards, size),
            rules: WorkerRules {
                count: None,
                max: 1,
                flush: FlushPolicy::Chunk,
                chunk,
                in_flight: 1 << 20,
                restart: RestartRules { max_without_progress: 5, backoff_min, backoff_max },
                heartbeat_timeout: Duration::from_secs(60),
                drain_timeout: Duration::from_secs(20),
                memory_limit: 1 << 30,
            },
            limits: Limits { rate_records: None, rate_bytes: None, max_bad_records: 0 },
            slots: 2,
            pace: Duration::ZERO,
            signals: Vec::new(),
            needs: None,
        }
    }

    pub fn run(&mut self, work: &mut supervisor::Work<'_>) -> (RunEnd, Screen) {
        self.run_with(|setup, screen| run(setup, work, screen))
    }

    pub fn run_single(&mut self, work: &mut supervisor::Work<'_>) -> (RunEnd, Screen) {
        self.run_with(|setup, screen| run_single(setup, work, screen))
    }

    fn run_with(
        &mut self,
        run: impl FnOnce(Setup<'_>, &mut Screen) -> Result<RunEnd, supervisor::SupervisorError>,
    ) -> (RunEnd, Screen) {
        PACE_US.store(self.pace.as_micros() as u64, Ordering::Relaxed);
        let state = StateDir::open(&self.path, Owners::Trusted).expect("the folder is free");
        let path = StateDir::store_path(state.path());
        let mut store = if Store::exists(&path) {
            Store::open(&path).expect("sound")
        } else {
            let binding = Binding { end_offsets: vec![0, 7], ..Binding::default() };
            Store::create(
                &path,
                &NewJob {
                    name: "fake",
                    plan_id: 42,
                    plan: &self.plan,
                    binding: &binding,
                    settings: &[],
                    origin: migration::StateOrigin::default(),
                },
            )
            .expect("new")
        };
        let mut screen = Screen { signals: self.signals.clone(), needs: self.needs, ..Screen::default() };
        let setup = Setup {
            give_up_after: Duration::from_secs(900),
            plan: &self.plan,
            workers: &self.rules,
            slots: self.slots,
            auto: AutoSlots { on: false, first: 2, most: 2 },
            paused: false,
            split: true,
            keep_order: true,
            limits: &self.limits,
            accept: &BTreeSet::new(),
            command: "",
            delivery: migration::job::Delivery::AtLeastOnce,
            topic: None,
            round_trip: None,
            state: &state,
            store: &mut store,
            seed: 7,
        };
        let end = run(setup, &mut screen).expect("it can run");
        (end, screen)
    }

    pub fn report(&self) -> JobReport {
        let running = StateDir::holder(&self.path).expect("readable").is_some();
        load_report(&Store::read_only(&StateDir::store_path(&self.path)).expect("readable"), running).expect("sound")
    }
}

fn plan(shards: u32, size: u64) -> Plan {
    let bytes = size * RECORD;
    let object = SourceObject {
        path: "a.jsonl".into(),
        bytes: Some(bytes * u64::from(shards)),
        modified_ns: 0,
        fingerprint: 1,
        compression: Compression::None,
        splittable: true,
        record_starts: Vec::new(),
    };
    let mut plan = Plan { objects: vec![object], ..Plan::default() };
    for start in (0..u64::from(shards)).map(|id| id * bytes) {
        plan.add(vec![Segment { object: 0, start, end: start + bytes, bytes: Some(bytes) }], size);
    }
    plan
}

#[derive(Default)]
pub struct Screen {
    pub last: Option<Snapshot>,
    pub lines: Vec<String>,
    /// When the last signal was sent.
    pub signalled: Option<Instant>,
    signals: Vec<(When, Signal)>,
    needs: Option<Pid>,
}

impl Watcher for Screen {
    fn tick(&mut self, snapshot: &Snapshot) {
        assert!(snapshot.source_bytes_done <= snapshot.source_bytes);
        if self.signals.first().is_some_and(|(when, _)| when.is_now(snapshot)) {
            let (_, signal) = self.signals.remove(0);
            self.signalled = Some(Instant::now());
            send_signal(Pid::this(), signal).expect("sent to itself");
        }
        self.last = Some(snapshot.clone());
    }

    fn log(&mut self, _: Level, text: &str) {
        self.lines.push(text.to_owned());
    }

    fn other_child_ended(&mut self, pid: i32, how: &str) -> Option<String> {
        (self.needs.map(Pid::as_raw) == Some(pid)).then(|| format!("a helper ended: {how}"))
    }
}

fn at(order: &WorkOrder, records: u64) -> Position {
    let from = order.from.position;
    let start = from.place - from.records * RECORD;
    Position { segment: 0, place: start + records * RECORD, records }
}

/// A chunk of shard 0.
pub fn chunk(number: u64, from: u64, to: u64) -> Chunk {
    let count = to - from;
    let counts = Counts {
        read: count,
        acknowledged: count,
        bytes_read: count * RECORD,
        bytes_sent: count * RECORD,
        ..Counts::default()
    };
    let mut work = Work { partitions: vec![count, 0], ..Work::default() };
    work.phases.spend(Phase::Flush, 1000);
    work.flush.record(5);
    let now = process::monotonic_us();
    work.deliveries = Some((now, now));
    Chunk {
        number,
        position: Position { segment: 0, place: to * RECORD, records: to },
        token: None,
        counts,
        work,
        letters: 0,
        ..Chunk::default()
    }
}

/// Commits up to record `end` and waits each time until it is recorded; how far it came when told to drain.
pub fn commit_up_to(order: &WorkOrder, port: &mut dyn WorkerPort, end: u64) -> Result<u64, SupervisorGone> {
    commit(order, port, end, 0)
}

fn commit(order: &WorkOrder, port: &mut dyn WorkerPort, end: u64, mut dead: u64) -> Result<u64, SupervisorGone> {
    let (mut taken, mut number) = (order.from.position.records, 0);
    while port.control()?.hold {
        port.wait(Duration::from_millis(100), None)?;
    }
    while taken < end && !port.control()?.drain {
        let pace = Duration::from_micros(PACE_US.load(Ordering::Relaxed));
        std::thread::sleep(pace);
        let to = (taken + CHUNK).min(end);
        number += 1;
        let mut chunk = Chunk { position: at(order, to), ..chunk(number, taken, to) };
        if order.from.position.records == 0 {
            chunk.counts.acknowledged -= dead;
            chunk.counts.dead_lettered += std::mem::take(&mut dead);
        }
        taken = to;
        if taken == end {
            port.send(&WorkerEvent::AtEnd).map_err(|_| SupervisorGone)?;
        }
        port.send(&WorkerEvent::Committed(chunk)).map_err(|_| SupervisorGone)?;
        while port.control()?.recorded < number {
            port.wait(Duration::from_millis(100), None)?;
        }
    }
    Ok(taken)
}

/// That a worker begins where it was told, on a topic with this number of partitions.
pub fn started(order: &WorkOrder, partitions: u32) -> WorkerEvent {
    let topic = migration::SeenTopic { id: None, partitions };
    WorkerEvent::Started(migration::Started { topic, from: order.from.clone() })
}

/// A worker as it should be.
pub fn good(order: &WorkOrder, port: &mut dyn WorkerPort, size: u64) -> u8 {
    with_dead_letters(order, port, size, 0)
}

/// A good worker that sets some records of its shard's first chunk aside.
pub fn with_dead_letters(order: &WorkOrder, port: &mut dyn WorkerPort, size: u64, dead: u64) -> u8 {
    let peak_memory_bytes = own_memory().map_or(0, |memory| memory.peak_bytes);
    let begun = port.send(&started(order, 0));
    let position = Progress { position: order.from.position, peak_memory_bytes, ..Progress::default() };
    if begun.and_then(|()| port.send(&WorkerEvent::Progress(position))).is_err() {
        return 1;
    }
    let Ok(taken) = commit(order, port, size, dead) else { return 1 };
    let last =
        Finished { position: at(order, taken), complete: taken == size, cuts: None, work: Work::default(), peak_memory_bytes };
    u8::from(port.send(&WorkerEvent::Finished(last)).is_err())
}

/// Claims that shard 0 is at its end.
pub fn finish_at(port: &mut dyn WorkerPort, records: u64) {
    let position = Position { segment: 0, place: records * RECORD, records };
    let last = Finished { position, complete: true, cuts: None, work: Work::default(), peak_memory_bytes: 0 };
    port.send(&WorkerEvent::Finished(last)).expect("heard");
}

/// Starts this program again if it was started with signals ignored, as a shell does with what it runs in the
/// background: those stay ignored, and the scenarios send them.
pub fn heed_signals() {
    use std::os::unix::process::CommandExt as _;
    let heard = [Signal::SIGINT, Signal::SIGTERM];
    if heard.iter().any(|signal| process::is_ignored(*signal).expect("it can be asked")) {
        let program = std::env::current_exe().expect("known");
        let e = std::process::Command::new("env")
            .args(["--default-signal=INT", "--default-signal=TERM"])
            .arg(program)
            .args(std::env::args_os().skip(1))
            .exec();
        panic!("no env: {e}");
    }
}

/// Writes bytes into every pipe of this process that can be written to.
pub fn write_into_pipes(bytes: &[u8]) {
    for number in 3..64 {
        let link = format!("/proc/self/fd/{number}");
        let is_pipe = fs::read_link(&link).is_ok_and(|target| target.to_string_lossy().starts_with("pipe:"));
        let flags = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
        // The last octal digit of the flags: 1 is a write end.
        let writable = flags.lines().any(|line| line.starts_with("flags:") && line.ends_with('1'));
        if is_pipe && writable {
            File::options().write(true).open(&link).and_then(|mut pipe| pipe.write_all(bytes)).expect("room in the pipe");
            return;
        }
    }
    panic!("no pipe to write into");
}

/// Closes every pipe of this process by executing a program that keeps none.
pub fn close_pipes() {
    use std::os::unix::process::CommandExt as _;
    let e = std::process::Command::new("sleep").arg("60").exec();
    panic!("no sleep: {e}");
}

/// No child of this process is left, not even a zombie.
pub fn no_child_is_left() -> bool {
    process::reap_all();
    let pid = std::process::id();
    fs::read_to_string(format!("/proc/self/task/{pid}/children")).is_ok_and(|children| children.trim().is_empty())
}

/// Whether a signal waits to be read by a process.
pub fn has_pending_signals(pid: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:")).expect("a line of it");
    pending.trim().bytes().any(|digit| digit != b'0')
}

/// Whether a process exists and is no zombie.
pub fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with('Z') && !rest.is_empty())
}

pub fn records_of(report: &JobReport) -> u64 {
    report.shard_reports.iter().map(|shard| shard.position.records).sum()
}
