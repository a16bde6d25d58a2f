//! Clients of the control socket that mean no good: strangers, crowds, garbage, half a frame, questions whose answers
//! are never read. The job goes on as if they were not there.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::unistd::geteuid;
use whole_program::faults::patience;
use whole_program::multiset::Difference;
use whole_program::program::Running;
use whole_program::random::Random;
use whole_program::scene::Scene;
use whole_program::steering::{distant, finish_nearby, workers};
use whole_program::suite::{Clusters, Test};
use whole_program::test;
use whole_program::timeline::{Timeline, millis, now_ms};
use whole_program::waiting::wait_until;

/// Connections that are held at once, as far as they are let in.
const CROWD: usize = 1000;
/// What the supervisor may grow by.
const GROWTH: u64 = 4 << 20;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Waits, Kafka, another_user_is_refused),
    test!(Waits, Kafka, a_hostile_crowd_harms_nothing),
    test!(Nightly, Kafka, a_hostile_crowd_costs_nothing),
];

/// Starts a job and waits until it can be steered.
fn start(scene: &Scene) -> Running {
    let running = scene.start(&[]);
    wait_until("workers run and the socket is there", patience(), || workers(&running) > 0 && control_socket(scene).exists());
    running
}

fn control_socket(scene: &Scene) -> PathBuf {
    scene.program.join(format!(".shardlift/{}/control.sock", scene.topic))
}

/// Row 8, its first part.
fn another_user_is_refused(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "stranger");
    scene.configure(&[("workers.count", "4"), ("limits.rate_records", "200")]);
    let source = scene.orders(71, 10_000);
    let running = start(&scene);
    let socket = control_socket(&scene);
    assert_eq!(mode(&socket), 0o600);
    if geteuid().is_root() {
        scene.steer(&["scale", "3"]);
        let as_stranger = |words: &[&str]| scene.program.spawn(scene.program.command_of_a_stranger(words)).finish(patience());
        let refused = as_stranger(&["scale", "2", "-o", "json"]).expect_code(74);
        println!("a stranger, folders closed: exit {}, {}", refused.code, refused.stderr.trim());
        let dlq = [&["dlq", "list"][..], &["dlq", "show"], &["dlq", "retry"]];
        for words in [&["status"][..], &["report"], &["pause"], &["verify"], &["run"]].into_iter().chain(dlq) {
            let refused = as_stranger(words).expect_code(74);
            let whose = "is the state of another user's job: it belongs to root (number 0) and is closed to this user";
            assert!(refused.stderr.contains(whose), "{words:?}: {refused:?}");
        }
        // With all permissions open it is the peer's user that counts.
        open_up(&scene.program.join(".shardlift"));
        let refused = as_stranger(&["scale", "2", "-o", "json"]).expect_code(74);
        assert!(refused.stderr.contains("its run is user 0's"), "{refused:?}");
        println!("a stranger, folders open: exit {}, {}", refused.code, refused.stderr.trim());
        assert_eq!(scene.steer(&["scale", "+1"]).number("asked"), 4, "what the stranger asked has had no effect");
    } else {
        println!("not run as root: no process can be another user's here");
    }
    scene.let_it_end(running).expect_code(0);
    assert_eq!(scene.judge_and_verify(&source), Difference::default());
    scene.program.assert_nothing_left();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode() & 0o777
}

/// Lets each user into a folder and at all that is in it.
fn open_up(path: &Path) {
    let folder = path.is_dir();
    fs::set_permissions(path, Permissions::from_mode(if folder { 0o777 } else { 0o666 })).expect("it is ours");
    if folder {
        fs::read_dir(path).expect("it is ours").for_each(|entry| open_up(&entry.expect("it is ours").path()));
    }
}

/// Row 8, its second part.
fn a_hostile_crowd_costs_nothing(clusters: &Clusters) {
    let quiet = Duration::from_secs(10);
    let scene = distant(clusters.distant(), "crowd", &[("workers.count", "4")]);
    let times = withstand(&scene, quiet, 1000 * (3 * quiet.as_secs() + 20), "1000000");
    let timeline = Timeline::read(scene.kafka.bootstrap(), &scene.topic);
    let second = Duration::from_secs(1);
    let [before_ms, attack_ms, after_ms, end_ms] = times;
    let calm = [timeline.rates(before_ms, attack_ms, second), timeline.rates(after_ms, end_ms, second)].concat();
    let calm = median(calm);
    let stormy = median(timeline.rates(attack_ms, attack_ms + millis(quiet), second));
    let moved = (stormy / calm - 1.0) * 100.0;
    println!("crowd: {calm:.0}/s before and after, {stormy:.0}/s meanwhile ({moved:+.1} %)");
    assert!(moved.abs() < 5.0, "{stormy}/s under attack, {calm}/s else");
}

/// The same without a judgement on the rate, which anything else on the machine moves too.
fn a_hostile_crowd_harms_nothing(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "crowd-short");
    scene.configure(&[("workers.count", "4"), ("limits.rate_records", "500")]);
    withstand(&scene, Duration::from_secs(3), 30_000, "500");
}

/// Attacks a job for a while, between two quiet times, and judges all but its rate. Returns when the first quiet time,
/// the attack and the second quiet time began, and when that ended. `rate` is what all those wish for who are
/// understood.
fn withstand(scene: &Scene, time: Duration, records: u64, rate: &str) -> [i64; 4] {
    let source = scene.orders(72, records);
    let running = start(scene);
    let mut random = Random::seeded(&scene.topic);
    raise_open_files();
    let wish = captured(scene, &["throttle", rate]);
    let watch = captured(scene, &["status", "--watch"]);
    sleep(Duration::from_secs(1)); // what was captured is forgotten
    let memory = resident(&running);
    let before_ms = now_ms();
    sleep(time);
    let attack_ms = now_ms();
    let (most, attempts, friend) = attack(scene, &running, &mut random, time, rate, [&wish, &watch]);
    let after_ms = now_ms();
    sleep(time);
    let end_ms = now_ms();
    // It still listens.
    assert_eq!(scene.steer(&["scale", "3"]).number("asked"), 3);
    let report = finish_nearby(scene, running);
    assert_eq!(report["workers"]["restarts"], 0, "{report:#}");
    assert_eq!(scene.judge_and_verify(&source), Difference::default());
    let grown = most.saturating_sub(memory);
    println!(
        "{}: {attempts} connections tried; supervisor {memory} bytes, {grown} more at most; a friend's command took {} ms",
        scene.topic,
        friend.as_millis()
    );
    assert!(grown < GROWTH, "the supervisor grew by {grown} bytes");
    scene.program.assert_nothing_left();
    [before_ms, attack_ms, after_ms, end_ms]
}

/// Sends everything bad for a while. Returns the supervisor's largest memory, how many connections were tried, and how
/// long a friend's command took among them.
fn attack(
    scene: &Scene,
    running: &Running,
    random: &mut Random,
    time: Duration,
    rate: &str,
    [wish, watch]: [&[u8]; 2],
) -> (u64, u64, Duration) {
    let folder = control_socket(scene).parent().expect("a socket is in a folder").to_path_buf();
    let address = UnixAddr::new(&folder.join("control.sock")).expect("a test's paths are short");
    let start = Instant::now();
    let mut held: Vec<UnixStream> = Vec::new();
    let (mut most, mut attempts, mut friend) = (0, 0, None);
    std::thread::scope(|scope| {
        let mut asked = None;
        while start.elapsed() < time {
            // All at once first, then five each 5 ms.
            for _ in 0..if attempts == 0 { CROWD } else { 5 } {
                attempts += 1;
                if let Some(mut stream) = connected(&address) {
                    misbehave(&mut stream, random, wish, watch);
                    held.push(stream);
                }
            }
            if held.len() > CROWD {
                held.drain(..held.len() - CROWD);
            }
            most = most.max(resident(running));
            if asked.is_none() && start.elapsed() > time / 4 {
                asked = Some(scope.spawn(|| {
                    let asked = Instant::now();
                    scene.steer(&["throttle", rate]);
                    asked.elapsed()
                }));
            }
            sleep(Duration::from_millis(5));
        }
        drop(held);
        friend = asked.map(|asked| asked.join().expect("a friend is answered in the end"));
    });
    (most, attempts as u64, friend.expect("the friend asked"))
}

/// A connection, unless there is no room; never waits.
fn connected(address: &UnixAddr) -> Option<UnixStream> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, flags, None).expect("there is a descriptor left");
    connect(socket.as_raw_fd(), address).ok()?;
    Some(UnixStream::from(socket))
}

/// Says something bad, or nothing. Whether it arrives does not matter.
fn misbehave(stream: &mut UnixStream, random: &mut Random, wish: &[u8], watch: &[u8]) {
    let garbage: Vec<u8>;
    let bytes = match random.between(0, 6) {
        0 => return,
        1 => {
            garbage = (0..random.between(1, 1 << 16)).map(|_| random.next_u64() as u8).collect();
            &garbage[..]
        }
        2 => &wish[..random.between(1, wish.len() as u64) as usize],
        3 => {
            garbage = wish.repeat(1000);
            &garbage[..]
        }
        4 => {
            garbage = damaged(wish, random);
            &garbage[..]
        }
        _ => watch,
    };
    let _ = stream.write(bytes);
}

/// A frame with one byte changed.
fn damaged(frame: &[u8], random: &mut Random) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let place = random.between(0, frame.len() as u64) as usize;
    frame[place] ^= 1 << random.between(0, 8);
    frame
}

/// What a command says to the socket: we sit in its place for a moment.
fn captured(scene: &Scene, words: &[&str]) -> Vec<u8> {
    let (socket, aside) = (control_socket(scene), control_socket(scene).with_extension("aside"));
    fs::rename(&socket, &aside).expect("the socket is there");
    let listener = UnixListener::bind(&socket).expect("its place is free");
    let asking = scene.program.start(words);
    listener.set_nonblocking(true).expect("a listener can be asked");
    let mut accepted = None;
    wait_until("the command connects", patience(), || {
        accepted = listener.accept().ok();
        accepted.is_some()
    });
    let (mut stream, _) = accepted.expect("it was waited for");
    stream.set_nonblocking(false).expect("a stream can be asked");
    // What it says it says at once, whenever it comes to that.
    stream.set_read_timeout(Some(patience())).expect("a time that is not zero");
    let (mut said, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        said.extend_from_slice(&buffer[..count]);
        stream.set_read_timeout(Some(Duration::from_millis(500))).expect("a time that is not zero");
    }
    drop((stream, listener));
    fs::rename(&aside, &socket).expect("it was not moved again");
    asking.signal(Signal::SIGKILL); // one that watches would try again
    let code = asking.finish(patience()).code;
    assert!(!said.is_empty(), "{words:?} said nothing and ended with {code}");
    said
}

/// Room for the crowd.
fn raise_open_files() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is a limit");
    assert!(most > CROWD as u64 + 200, "at most {most} files can be open here");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("up to the hard limit");
}

/// The supervisor's memory in bytes.
fn resident(running: &Running) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", running.pid())).expect("the supervisor runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of kB") << 10
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
