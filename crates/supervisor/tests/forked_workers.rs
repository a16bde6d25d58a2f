//! The whole control plane with real forks: fake workers that finish, crash, lie, hang, flood and drain, and a
//! supervisor that is killed. Runs without the test harness, which has threads.

mod fake;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use fake::{Folder, Job, Screen, When, good, is_alive, no_child_is_left, records_of};
use migration::report::{AttemptOutcome, Outcome, Resent, ShardStatus};
use migration::{Exit, Failure, FailureKind, Level, WorkerEvent};
use process::{Pid, Signal, send_signal};
use supervisor::{Owners, StateDir, StateDirError, WorkOrder, WorkerPort};

type Scenario = (&'static str, fn());

const SCENARIOS: [Scenario; 21] = [
    ("all shards are done and the report balances", all_shards_are_done),
    ("a crash is replaced and its reason kept", a_crash_is_replaced),
    ("half an end is a death", half_an_end_is_a_death),
    ("a shard that always kills is quarantined, the next run tries again", a_killer_is_quarantined),
    ("a worker without a heartbeat is killed and replaced", a_hang_is_replaced),
    ("a worker that closed its pipe is killed and replaced", a_deaf_worker_is_replaced),
    ("a flood of frames is survived", a_flood_is_survived),
    ("garbage in the pipe costs one worker", garbage_costs_one_worker),
    ("a lie about the position is not recorded", a_lie_is_not_recorded),
    ("a signal drains, running again finishes", a_signal_drains),
    ("a drain that hangs ends in time", a_hanging_drain_ends),
    ("a second signal ends at once", a_second_signal_ends_at_once),
    ("workers outlive signals to the group", workers_ignore_group_signals),
    ("too many dead letters stop the job", dead_letters_stop_the_job),
    ("a stop does not hide that the limit was passed", a_stop_hides_no_limit),
    ("a changed source stops the job", a_changed_source_stops_the_job),
    ("a child that the job needs stops it by its death", a_needed_child_stops_the_job),
    ("a limit is kept by all together", a_limit_is_kept),
    ("one supervisor a job", one_supervisor_a_job),
    ("a killed supervisor leaves no worker", a_killed_supervisor_leaves_no_worker),
    ("single-process mode keeps the same rules", single_process),
];

fn main() -> ExitCode {
    fake::heed_signals();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, folder] = &arguments[..]
        && command == "be-a-supervisor"
    {
        be_a_supervisor(Path::new(folder));
        return ExitCode::SUCCESS;
    }
    // `cargo test NAME` filters, as with the harness.
    let wanted = arguments.iter().find(|a| !a.starts_with('-'));
    for (name, scenario) in SCENARIOS {
        if wanted.is_none_or(|part| name.contains(part.as_str())) {
            let begin = Instant::now();
            scenario();
            assert!(no_child_is_left(), "{name}: a process is left");
            println!("test {name} ... ok ({:.2} s)", begin.elapsed().as_secs_f64());
        }
    }
    ExitCode::SUCCESS
}

fn all_shards_are_done() {
    let folder = Folder::new("done");
    let mut job = Job::new(&folder, 6, 95);
    job.slots = 3;
    let (end, screen) = job.run(&mut |_, order, port| good(order, port, 95));
    assert_eq!((end.exit(), end.reasons().len(), end.counts.read), (Exit::Done, 0, 6 * 95));
    assert!(end.counts.balance() && end.shards.done == 6);
    let report = job.report();
    assert_eq!((report.outcome, report.workers.forked, report.workers.restarts), (Outcome::Done, 6, 0));
    assert_eq!((report.counts, report.resent), (end.counts, Some(Resent::NONE)));
    assert!(report.elapsed_us > 0 && report.cpu_workers_us > 0 && report.peak_worker_memory_bytes > Some(0));
    assert_eq!(report.work.partitions.iter().sum::<u64>(), 6 * 95);
    assert!(
        report.attempts.iter().all(|a| a.outcome == AttemptOutcome::Finished && a.pid > 0 && a.first_delivery_us.is_some())
    );
    let last = screen.last.expect("shown at least once");
    assert_eq!((last.source_bytes_done, last.source_bytes), (6 * 950, 6 * 950));
    // Nothing is left to do: no worker is started.
    let (again, _) = job.run(&mut |_, _, _| 1);
    assert_eq!((again.exit(), job.report().workers.forked), (Exit::Done, 6));
}

fn a_crash_is_replaced() {
    let folder = Folder::new("crash");
    let mut job = Job::new(&folder, 4, 50);
    let (end, _) = job.run(&mut |_, order, port| match (order.shard.0, order.attempt) {
        (0, 1) => {
            port.send(&fake::started(order, 0)).expect("heard");
            panic!("a bug in the {}", "mapping")
        }
        (1, 1) => std::process::abort(),
        (2, 1) => {
            good_until(order, port, 20);
            send_signal(Pid::this(), Signal::SIGKILL).expect("kill itself");
            0
        }
        _ => good(order, port, 50),
    });
    assert_eq!((end.exit(), end.counts.read), (Exit::Done, 200));
    let report = job.report();
    let died: Vec<_> = report.attempts.iter().filter(|a| a.outcome == AttemptOutcome::Died).collect();
    assert_eq!((died.len(), report.workers.restarts), (3, 3));
    let reason = |shard| died.iter().find(|a| a.shard.0 == shard).map(|a| a.reason.as_str()).expect("died");
    assert!(reason(0).contains("panicked at") && reason(0).ends_with("a bug in the mapping"), "{}", reason(0));
    assert!(reason(1).contains("SIGABRT") && reason(2).contains("SIGKILL"));
    assert_eq!(died.iter().find(|a| a.shard.0 == 2).map(|a| a.counts.read), Some(20));
    // A panic tells nothing of what was sent before it.
    assert_eq!(died.iter().find(|a| a.shard.0 == 0).map(|a| a.resent), Some(Resent::at_most(fake::CHUNK)));
}

/// Commits `count` records and leaves it at that.
fn good_until(order: &WorkOrder, port: &mut dyn WorkerPort, count: u64) {
    fake::commit_up_to(order, port, count).expect("the supervisor lives");
}

fn half_an_end_is_a_death() {
    let folder = Folder::new("half");
    let mut job = Job::new(&folder, 3, 20);
    let (end, _) = job.run(&mut |_, order, port| match (order.shard.0, order.attempt) {
        (0, 1) => 0,
        (1, 1) => {
            good(order, port, 20);
            9
        }
        // Committed, but the end is claimed for more.
        (2, 1) => {
            good_until(order, port, 10);
            fake::finish_at(port, 20);
            0
        }
        _ => good(order, port, 20),
    });
    assert_eq!((end.exit(), end.counts.read), (Exit::Done, 60));
    assert_eq!(job.report().workers.restarts, 3);
}

fn a_killer_is_quarantined() {
    let folder = Folder::new("killer");
    let mut job = Job::new(&folder, 4, 20);
    let (end, _) = job.run(&mut |_, order, port| if order.shard.0 == 1 { 1 } else { good(order, port, 20) });
    assert_eq!((end.exit(), end.shards.done, end.shards.quarantined), (Exit::Failed, 3, 1));
    let report = job.report();
    assert_eq!(report.outcome, Outcome::Failed);
    assert_eq!((report.shard_reports[1].status, report.shard_reports[1].attempts), (ShardStatus::Quarantined, 5));
    assert!(report.events.iter().any(|(_, text)| text.contains("shard 00001 is quarantined after 5 deaths")));
    let (end, _) = job.run(&mut |_, order, port| good(order, port, 20));
    assert_eq!(end.exit(), Exit::Done);
    assert_eq!(job.report().attempts.last().map(|a| a.number), Some(6));
}

fn a_hang_is_replaced() {
    let folder = Folder::new("hang");
    let mut job = Job::new(&folder, 2, 20);
    job.rules.heartbeat_timeout = Duration::from_millis(400);
    let (end, _) = job.run(&mut |_, order, port| {
        if order.shard.0 == 0 && order.attempt == 1 {
            std::thread::sleep(Duration::from_secs(60));
        }
        good(order, port, 20)
    });
    assert_eq!(end.exit(), Exit::Done);
    assert!(job.report().attempts[0].reason.starts_with("no heartbeat for 0.4 s"), "{}", job.report().attempts[0].reason);
}

fn a_deaf_worker_is_replaced() {
    let folder = Folder::new("deaf");
    let mut job = Job::new(&folder, 1, 20);
    let (end, _) = job.run(&mut |_, order, port| {
        if order.attempt == 1 {
            fake::close_pipes();
            std::thread::sleep(Duration::from_secs(60));
        }
        good(order, port, 20)
    });
    assert_eq!((end.exit(), job.report().attempts[0].outcome), (Exit::Done, AttemptOutcome::Died));
}

fn a_flood_is_survived() {
    let folder = Folder::new("flood");
    let mut job = Job::new(&folder, 3, 50);
    job.slots = 3;
    let before = process::own_memory().expect("readable").resident_bytes;
    let (end, screen) = job.run(&mut |_, order, port| {
        if order.shard.0 == 0 {
            let line = WorkerEvent::Log { level: Level::Warning, text: "\u{1b}[31m".repeat(1000) };
            (0..5_000).for_each(|_| port.send(&line).expect("taken"));
        }
        good(order, port, 50)
    });
    assert_eq!(end.exit(), Exit::Done);
    assert!(screen.lines.len() < 500 && screen.lines.iter().all(|line| !line.contains('\u{1b}')), "{}", screen.lines.len());
    let grown = process::own_memory().expect("readable").resident_bytes.saturating_sub(before);
    assert!(grown < 16 << 20, "grew by {grown} bytes");
}

fn garbage_costs_one_worker() {
    let folder = Folder::new("garbage");
    let mut job = Job::new(&folder, 3, 30);
    let (end, _) = job.run(&mut |_, order, port| {
        if order.shard.0 == 1 && order.attempt < 3 {
            good_until(order, port, 10 * u64::from(order.attempt));
            fake::write_into_pipes(&[0xA5; 4000]);
            std::thread::sleep(Duration::from_secs(60));
        }
        good(order, port, 30)
    });
    assert_eq!((end.exit(), end.counts.read), (Exit::Done, 90));
    let report = job.report();
    let bad: Vec<&str> =
        report.attempts.iter().filter(|a| a.outcome == AttemptOutcome::Died).map(|a| a.reason.as_str()).collect();
    assert!(bad.len() == 2 && bad.iter().all(|reason| reason.contains("frames make no sense")), "{bad:?}");
}

fn a_lie_is_not_recorded() {
    let folder = Folder::new("lie");
    let mut job = Job::new(&folder, 1, 30);
    let (end, _) = job.run(&mut |_, order, port| {
        if order.attempt == 1 {
            good_until(order, port, 20);
            let mut chunk = fake::chunk(3, 20, 30);
            chunk.counts.acknowledged -= 1;
            port.send(&WorkerEvent::Committed(chunk)).expect("heard");
            std::thread::sleep(Duration::from_secs(60));
        }
        assert_eq!(order.from.position.records, 20);
        good(order, port, 30)
    });
    assert_eq!((end.exit(), end.counts.acknowledged), (Exit::Done, 30));
    assert!(job.report().attempts[0].reason.contains("does not balance"));
}

fn a_signal_drains() {
    let folder = Folder::new("drain");
    let mut job = Job::new(&folder, 8, 1000);
    // Far from the end when the signal comes.
    job.pace = Duration::from_millis(10);
    job.signals = vec![(When::Committed(1), Signal::SIGINT)];
    let (end, screen) = job.run(&mut |_, order, port| good(order, port, 1000));
    assert_eq!(end.exit(), Exit::Stopped);
    assert!(screen.last.is_some_and(|snapshot| snapshot.draining));
    let report = job.report();
    assert_eq!((report.outcome, report.exit), (Outcome::Stopped, Some(Exit::Stopped)));
    assert!(report.attempts.iter().all(|a| a.outcome != AttemptOutcome::Died && a.resent == Resent::NONE));
    assert!(report.counts.read > 0 && report.counts.read < 8000);
    job.signals.clear();
    job.slots = 5;
    let (end, _) = job.run(&mut |_, order, port| good(order, port, 1000));
    assert_eq!((end.exit(), end.counts.read, end.counts.acknowledged), (Exit::Done, 8000, 8000));
    // Each record was taken once: what the workers committed adds up without a gap or an overlap.
    assert_eq!(job.report().attempts.iter().map(|a| a.counts.read).sum::<u64>(), 8000);
}

fn a_hanging_drain_ends() {
    let folder = Folder::new("slow-drain");
    let mut job = Job::new(&folder, 2, 100);
    job.rules.drain_timeout = Duration::from_secs(2);
    job.signals = vec![(When::Workers(2), Signal::SIGTERM)];
    let (end, screen) = job.run(&mut |_, _, _| {
        std::thread::sleep(Duration::from_secs(60));
        0
    });
    let took = screen.signalled.expect("it was sent").elapsed();
    assert_eq!(end.exit(), Exit::Stopped);
    // And a second for those who have to be killed, as after a second signal.
    assert!(took < job.rules.drain_timeout + Duration::from_secs(1), "{took:?}");
    assert!(job.report().attempts.iter().all(|a| a.outcome == AttemptOutcome::Stopped));
}

fn a_second_signal_ends_at_once() {
    let folder = Folder::new("second");
    let mut job = Job::new(&folder, 2, 100);
    // One of the same kind would be the same within half a second.
    job.signals = vec![(When::Workers(2), Signal::SIGINT), (When::Drains, Signal::SIGTERM)];
    let (end, screen) = job.run(&mut |_, _, _| {
        std::thread::sleep(Duration::from_secs(60));
        0
    });
    let took = screen.signalled.expect("it was sent").elapsed();
    assert_eq!(end.exit(), Exit::Signal(15));
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(job.report().exit, Some(Exit::Signal(15)));
}

fn workers_ignore_group_signals() {
    let folder = Folder::new("group");
    let mut job = Job::new(&folder, 2, 50);
    let (end, _) = job.run(&mut |_, order, port| {
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            send_signal(Pid::this(), signal).expect("sent");
        }
        good(order, port, 50)
    });
    assert_eq!((end.exit(), job.report().workers.forked), (Exit::Done, 2));
}

fn dead_letters_stop_the_job() {
    let folder = Folder::new("letters");
    let mut job = Job::new(&folder, 4, 50);
    job.slots = 1;
    job.limits.max_bad_records = 1;
    let mut bad =
        |_: &migration::Plan, order: &WorkOrder, port: &mut dyn WorkerPort| fake::with_dead_letters(order, port, 50, 1);
    let (end, _) = job.run(&mut bad);
    assert_eq!((end.exit(), end.counts.dead_lettered), (Exit::Failed, 2));
    assert!(end.reasons()[0].contains("limits.max_bad_records = 1"));
    assert!(job.report().shards.done < 4);
    let forked = job.report().workers.forked;
    let (end, _) = job.run(&mut bad);
    assert_eq!((end.exit(), job.report().workers.forked), (Exit::Failed, forked));
    job.limits.max_bad_records = 100;
    let (end, _) = job.run(&mut bad);
    assert_eq!((end.exit(), end.counts.read), (Exit::Done, 200));
}

/// All of the only shard is out in a chunk with too many dead letters; the signal comes before it is on disk, or after.
fn a_stop_hides_no_limit() {
    for stop_first in [true, false] {
        let folder = Folder::new(if stop_first { "stop-limit" } else { "limit-stop" });
        let mut job = Job::new(&folder, 1, 50);
        let supervisor = Pid::this();
        let (end, screen) = job.run(&mut |_, order, port| {
            let mut all = fake::chunk(1, 0, 50);
            (all.counts.acknowledged, all.counts.dead_lettered) = (47, 3);
            port.send(&fake::started(order, 2)).expect("heard");
            let stop = |port: &mut dyn WorkerPort| {
                send_signal(supervisor, Signal::SIGTERM).expect("sent");
                while !port.control().expect("it lives").drain || fake::has_pending_signals(supervisor) {
                    port.wait(Duration::from_millis(100), None).expect("it lives");
                }
            };
            if stop_first {
                stop(port);
            }
            port.send(&WorkerEvent::Committed(all)).expect("heard");
            if !stop_first {
                stop(port);
            }
            assert_eq!(order.shard.0, 0);
            fake::finish_at(port, 50);
            0
        });
        assert_eq!((end.exit(), end.shards.done), (Exit::Failed, 1), "{:?}", screen.lines);
        assert!(end.reasons().iter().all(|reason| reason.contains("max_bad_records = 0")) && end.reasons().len() == 1);
        assert_eq!((job.report().exit, job.report().outcome), (Some(Exit::Failed), Outcome::Failed));
    }
}

fn a_changed_source_stops_the_job() {
    let folder = Folder::new("source");
    let mut job = Job::new(&folder, 4, 500);
    job.pace = Duration::from_millis(1);
    let (end, _) = job.run(&mut |_, order, port| {
        if order.shard.0 == 0 {
            port.send(&WorkerEvent::Failed(Failure::new(FailureKind::Source, "a.jsonl changed"))).expect("heard");
            return 1;
        }
        good(order, port, 500)
    });
    assert_eq!((end.exit(), end.reasons()), (Exit::Source, vec!["shard 00000: a.jsonl changed".to_owned()]));
    assert_eq!(job.report().shard_reports[0].deaths, 0);
}

fn a_needed_child_stops_the_job() {
    for single in [false, true] {
        let folder = Folder::new("needed");
        let mut job = Job::new(&folder, 4, 1_000_000);
        job.pace = Duration::from_millis(1);
        let helper = process::start_helper(&process::HelperOptions::named("needed"), |ends| {
            let ready = ends.events.try_clone().and_then(|end| std::fs::File::from(end).write_all(b"ready\n"));
            ends.wait_for_close();
            u8::from(ready.is_err())
        })
        .expect("it starts");
        job.needs = Some(helper.pid);
        let needed = helper.pid;
        let mut killed = false;
        let mut work = |_: &migration::Plan, order: &WorkOrder, port: &mut dyn WorkerPort| {
            if order.shard.0 == 0 && !std::mem::replace(&mut killed, true) {
                send_signal(needed, Signal::SIGKILL).expect("it lives");
            }
            good(order, port, 1_000_000)
        };
        let (end, _) = if single { job.run_single(&mut work) } else { job.run(&mut work) };
        assert_eq!((end.exit(), end.reasons()), (Exit::Stopped, vec!["a helper ended: killed by SIGKILL".to_owned()]));
        drop(helper);
    }
}

fn a_limit_is_kept() {
    let folder = Folder::new("rate");
    let mut job = Job::new(&folder, 4, 10);
    job.slots = 4;
    job.limits.rate_records = Some(1000);
    // Each worker waits for the share that it has when all four are there: it lasts until the first of them is seen to
    // use less.
    let (end, screen) = job.run(&mut |_, order, port| {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(2) {
            let share = port.control().expect("the supervisor lives").rate.records;
            if share == 250.0 {
                port.send(&WorkerEvent::Log { level: Level::Info, text: "a quarter".to_owned() }).expect("heard");
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        good(order, port, 10)
    });
    assert_eq!(end.exit(), Exit::Done);
    assert!(screen.lines.iter().any(|line| line.contains("a quarter")), "{:?}", screen.lines);
}

fn one_supervisor_a_job() {
    let folder = Folder::new("locks");
    let state = StateDir::open(folder.path(), Owners::Trusted).expect("free");
    let begin = Instant::now();
    let second = StateDir::open(folder.path(), Owners::Trusted);
    let Err(e @ StateDirError::Supervisor { .. }) = second else { panic!("{second:?}") };
    assert!(begin.elapsed() < Duration::from_secs(1));
    assert_eq!(e.exit(), Exit::Stopped);
    assert!(e.to_string().contains(&format!("process {}", std::process::id())), "{e}");
    assert!(StateDir::holder(folder.path()).expect("readable").is_some());
    drop(state);
    assert_eq!(StateDir::holder(folder.path()).expect("readable"), None);
    let repair = StateDir::open_to_repair(folder.path(), Owners::Trusted).expect("free");
    let Err(e) = StateDir::open(folder.path(), Owners::Trusted) else { panic!("it is held") };
    assert!(e.to_string().contains("works on this job (verify --repair on host "), "{e}");
    assert!(StateDir::holder(folder.path()).expect("readable").is_some_and(|holder| StateDir::repairs(&holder)));
    drop(repair);
}

/// In a process of its own: workers that write down who they are and go on for ever.
fn be_a_supervisor(folder: &Path) {
    let mut job = Job::at(folder, 4, 1_000_000);
    job.slots = 4;
    job.pace = Duration::from_millis(1);
    job.run(&mut |_, order, port| {
        let name = folder.join(format!("worker-{}", std::process::id()));
        std::fs::write(name, "").expect("writable");
        good(order, port, 1_000_000)
    });
}

fn a_killed_supervisor_leaves_no_worker() {
    let folder = Folder::new("orphans");
    let program = std::env::current_exe().expect("known");
    let mut supervisor = Command::new(program)
        .arg("be-a-supervisor")
        .arg(folder.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("a supervisor of its own");
    let workers = wait_for_workers(folder.path(), 4);
    let mut job = Job::at(folder.path(), 4, 1_000_000);
    let begin = Instant::now();
    while job.report().counts.read == 0 {
        assert!(begin.elapsed() < Duration::from_secs(60), "nothing is committed");
        std::thread::sleep(Duration::from_millis(5));
    }
    supervisor.kill().expect("it runs");
    supervisor.wait().expect("reaped");
    let begin = Instant::now();
    while workers.iter().any(|pid| is_alive(*pid)) {
        assert!(begin.elapsed() < Duration::from_secs(1), "workers are left");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(StateDir::holder(folder.path()).expect("readable"), None);
    let before = job.report();
    assert_eq!((before.outcome, before.exit), (Outcome::Stopped, None));
    assert!(before.counts.read > 0 && before.elapsed_us > 0);
    job.signals = vec![(When::Committed(before.counts.read + 1), Signal::SIGTERM)];
    job.pace = Duration::from_millis(1);
    let (end, _) = job.run(&mut |_, order, port| good(order, port, 1_000_000));
    assert!(end.exit() == Exit::Stopped && end.counts.read > before.counts.read);
    let report = job.report();
    assert_eq!(report.attempts.iter().filter(|a| a.outcome == AttemptOutcome::Orphaned).count(), 4);
    assert_eq!(report.attempts.iter().map(|a| a.counts.read).sum::<u64>(), records_of(&report));
}

fn wait_for_workers(folder: &Path, count: usize) -> Vec<i32> {
    let begin = Instant::now();
    loop {
        assert!(begin.elapsed() < Duration::from_secs(60), "no workers");
        std::thread::sleep(Duration::from_millis(5));
        let names = std::fs::read_dir(folder).expect("there").flatten().map(|e| e.file_name().to_string_lossy().into_owned());
        let pids: Vec<i32> = names.filter_map(|name| name.strip_prefix("worker-")?.parse().ok()).collect();
        if pids.len() == count {
            return pids;
        }
    }
}

fn single_process() {
    let folder = Folder::new("single");
    let mut job = Job::new(&folder, 3, 100);
    let own = std::process::id();
    let (end, _) = job.run_single(&mut |_, order, port| {
        assert_eq!(std::process::id(), own);
        if order.shard.0 == 1 {
            good_until(order, port, 30);
            port.send(&WorkerEvent::Failed(Failure::new(FailureKind::Retry, "broken pipe"))).expect("heard");
            return 1;
        }
        good(order, port, 100)
    });
    assert_eq!((end.exit(), end.counts.read), (Exit::Stopped, 130));
    job.signals = vec![(When::AtOnce, Signal::SIGINT)];
    job.pace = Duration::from_millis(20);
    let (end, _) = job.run_single(&mut |_, order, port| good(order, port, 100));
    assert_eq!(end.exit(), Exit::Stopped);
    job.signals.clear();
    let (end, screen): (_, Screen) = job.run_single(&mut |_, order, port| good(order, port, 100));
    assert_eq!((end.exit(), end.counts.acknowledged), (Exit::Done, 300));
    assert!(screen.last.is_some());
    let report = job.report();
    assert_eq!(report.counts.read, report.attempts.iter().map(|a| a.counts.read).sum::<u64>());
    assert!(report.attempts.iter().all(|a| a.pid == own as i32));
}
