//! The control socket of a real loop with real forks: it is served while workers work, no worker keeps it, and clients
//! that mean no good change nothing. The clients are other processes, as in life: the supervisor has one thread.

#[expect(dead_code, reason = "these scenarios need a part of it")]
mod fake;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

use fake::{Folder, Job, good, no_child_is_left};
use migration::Exit;
use migration::steer::{Scale, Standing, Steer};
use process::ExitState;
use supervisor::control::{Answer, ControlClient, ControlError, Request};

const SIZE: u64 = 1_000;
const SOCKET: &str = "control.sock";
/// For everything that should take a moment.
const PATIENCE: Duration = Duration::from_secs(60);
/// The user writes it when all wishes were taken: no worker begins before.
const ASKED: &str = "asked";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [who, folder] if who == "be-a-user" => be_a_user(Path::new(folder)),
        [who, folder] if who == "be-hostile" => be_hostile(Path::new(folder)),
        _ => {
            for (name, scenario) in [
                ("wishes_are_taken_while_workers_work", wishes_are_taken_while_workers_work as fn()),
                ("hostile_clients_change_nothing", hostile_clients_change_nothing),
                ("no_worker_keeps_the_socket", no_worker_keeps_the_socket),
            ] {
                scenario();
                assert!(no_child_is_left(), "{name}: a process is left");
                println!("test {name} ... ok");
            }
        }
    }
    ExitCode::SUCCESS
}

/// Starts this program again in another role.
fn other(who: &str, folder: &Folder) -> Child {
    let program = std::env::current_exe().expect("known");
    Command::new(program).arg(who).arg(folder.path()).spawn().expect("it can be started")
}

/// A job of some seconds.
fn job(folder: &Folder) -> Job {
    let mut job = Job::new(folder, 8, SIZE);
    job.pace = Duration::from_millis(10);
    job.slots = 4;
    job
}

fn ask(folder: &Path, steer: Steer) -> Standing {
    match ControlClient::connect(folder).and_then(|client| client.ask(&Request::Steer(steer))) {
        Ok(Answer::Standing(standing)) => standing,
        other => panic!("{other:?}"),
    }
}

fn await_socket(folder: &Path) {
    let begin = Instant::now();
    while matches!(ControlClient::connect(folder), Err(ControlError::NoSocket)) {
        assert!(begin.elapsed() < PATIENCE, "no socket");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn be_a_user(folder: &Path) {
    await_socket(folder);
    assert_eq!(ask(folder, Steer::Scale(Scale::To(6))).asked, 6);
    assert!(ask(folder, Steer::Pause).paused);
    assert_eq!(ask(folder, Steer::Scale(Scale::Down(4))).asked, 2);
    assert!(!ask(folder, Steer::Continue).paused);
    let mut watcher = ControlClient::connect(folder).expect("room for a watcher");
    watcher.send(&Request::Watch).expect("sent");
    fs::write(folder.join(ASKED), "").expect("written");
    let mut seen = 0;
    while let Ok(Answer::State(snapshot)) = watcher.receive(PATIENCE) {
        seen += 1;
        assert!(snapshot.steering.iter().any(|turn| turn.text == "scaled 6 -> 2"));
    }
    fs::write(folder.join("seen"), seen.to_string()).expect("written");
}

#[expect(clippy::zombie_processes, reason = "the supervisor under test reaps every child of its process")]
fn wishes_are_taken_while_workers_work() {
    let folder = Folder::new("steered");
    let _user = other("be-a-user", &folder);
    let mut job = job(&folder);
    let asked = folder.path().join(ASKED);
    let (end, screen) = job.run(&mut |_, order, port| {
        let begin = Instant::now();
        while !asked.exists() && begin.elapsed() < PATIENCE && port.control().is_ok_and(|control| !control.drain) {
            std::thread::sleep(Duration::from_millis(10));
        }
        good(order, port, SIZE)
    });
    assert_eq!((end.exit(), end.counts.read), (Exit::Done, 8 * SIZE));
    for text in ["scaled 4 -> 6", "paused", "scaled 6 -> 2", "continued"] {
        assert!(screen.lines.iter().any(|line| line == text), "{text}: {:?}", screen.lines);
    }
    let turns = job.report().steering;
    assert_eq!(turns.len(), 4);
    assert!(!folder.path().join(SOCKET).exists());
    let begin = Instant::now();
    while !folder.path().join("seen").exists() {
        assert!(begin.elapsed() < PATIENCE, "the watcher does not see the end");
        std::thread::sleep(Duration::from_millis(10));
    }
    let seen: u64 = fs::read_to_string(folder.path().join("seen")).expect("readable").parse().expect("a number");
    assert!(seen >= 3, "it saw {seen} views");
    process::reap_all();
}

/// Crowds, silence, garbage, floods, half a frame, questions whose answers are never read.
fn be_hostile(folder: &Path) {
    await_socket(folder);
    let path = folder.join(SOCKET);
    let mut kept = Vec::new();
    let mut made = 0;
    for round in 0.. {
        let Ok(mut stream) = UnixStream::connect(&path) else { break };
        made += 1;
        stream.set_nonblocking(true).expect("it can be set");
        let _ = match round % 6 {
            0 => stream.write_all(&[0xA5; 60_000]),
            1 => stream.write_all(&[3, 0, 0, 0, 1]),
            2 => stream.write_all(&[0; 9]),
            3 => Ok(()),
            4 => stream.read(&mut [0; 16]).map(drop),
            _ => stream.write_all(&u32::MAX.to_le_bytes()),
        };
        if round % 3 == 0 {
            kept.push(stream);
        }
        if kept.len() > 200 {
            kept.clear();
        }
        if round % 20 == 7 {
            // Wishes that can be taken, as fast as they are: each changes something.
            let records = Some(1e9 + f64::from(round % 40));
            let wish = Request::Steer(Steer::Throttle { records, bytes: None });
            let _ = ControlClient::connect(folder).and_then(|mut client| client.send(&wish));
        }
    }
    fs::write(folder.join("made"), made.to_string()).expect("written");
}

/// It made its crowd and ended by itself, well; its wishes were taken no faster than wishes are.
fn assert_hostile(folder: &Folder, client: &Child, turns: usize, elapsed: Duration) {
    let begin = Instant::now();
    let reaped = loop {
        if let Some(reaped) = process::reap_all().into_iter().find(|reaped| reaped.pid.as_raw() as u32 == client.id()) {
            break reaped;
        }
        assert!(begin.elapsed() < PATIENCE, "the hostile client goes on");
        std::thread::sleep(Duration::from_millis(10));
    };
    assert_eq!(reaped.state, ExitState::Code(0), "the hostile client failed");
    let made: u64 = fs::read_to_string(folder.path().join("made")).expect("readable").parse().expect("a number");
    println!("{made} connections, {turns} turns in {elapsed:?}");
    assert!(made >= 100, "{made} connections are no crowd");
    let most = 21.0 + 10.0 * elapsed.as_secs_f64();
    assert!((1.0..=most).contains(&(turns as f64)), "{turns} turns of the knobs in {elapsed:?}");
}

fn hostile_clients_change_nothing() {
    let took = |hostile: bool| {
        let folder = Folder::new(if hostile { "hostile" } else { "quiet" });
        let client = hostile.then(|| other("be-hostile", &folder));
        let mut job = job(&folder);
        let (end, _) = job.run(&mut |_, order, port| good(order, port, SIZE));
        assert_eq!((end.exit(), end.counts.read), (Exit::Done, 8 * SIZE));
        let report = job.report();
        assert_eq!((report.workers.forked, report.workers.restarts), (8, 0));
        assert!(hostile || report.steering.is_empty());
        if let Some(client) = client {
            assert_hostile(&folder, &client, report.steering.len(), end.elapsed);
        }
        end.elapsed
    };
    let (quiet, hostile) = (took(false), took(true));
    println!("quiet {quiet:?}, hostile {hostile:?}");
    // A client that can't be heard any more ends by itself.
    let begin = Instant::now();
    while !no_child_is_left() {
        assert!(begin.elapsed() < PATIENCE, "the hostile client goes on");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(hostile < quiet * 3 + Duration::from_secs(2), "{quiet:?} without them, {hostile:?} with them");
}

fn no_worker_keeps_the_socket() {
    let folder = Folder::new("kept");
    let mut job = Job::new(&folder, 3, 10);
    let (end, _) = job.run(&mut |_, order, port| {
        let links = fs::read_dir("/proc/self/fd").expect("there").filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
        let sockets = links.filter(|link| link.to_string_lossy().starts_with("socket:")).count();
        if sockets > 0 { 9 } else { good(order, port, 10) }
    });
    assert_eq!(end.exit(), Exit::Done, "{:?}", end.reasons());
    assert_eq!(job.report().workers.restarts, 0);
}
