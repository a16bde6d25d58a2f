//! Reaping with CPU times, and locks that pass to children and end with them.

mod common;

use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Folder, reap_count, reap_one, run};
use process::{
    Child, ChildEnds, ChildSettings, ExitState, LockError, LockFile, Reaped, Signal, children_cpu, fork_child, monotonic_us,
    own_cpu, send_signal,
};

fn main() {
    run(&[
        ("cpu_is_told_for_each_child", cpu_is_told_for_each_child),
        ("a_real_time_signal_is_told", a_real_time_signal_is_told),
        ("the_clock_is_shared", the_clock_is_shared),
        ("a_held_lock_is_busy_and_says_who", a_held_lock_is_busy_and_says_who),
        ("waiting_for_a_lock_ends_when_it_is_free", waiting_for_a_lock_ends_when_it_is_free),
        ("a_kept_lock_lives_as_long_as_the_child", a_kept_lock_lives_as_long_as_the_child),
        ("a_lock_that_is_not_kept_ends_with_the_parents", a_lock_that_is_not_kept_ends_with_the_parents),
        ("a_child_cannot_unlock_its_parent", a_child_cannot_unlock_its_parent),
        ("a_replaced_file_guards_nothing", a_replaced_file_guards_nothing),
    ]);
}

fn fork(name: &str, body: impl FnOnce(ChildEnds) -> u8) -> Child {
    fork_child(&ChildSettings::named(name), body).unwrap()
}

fn until_closed(ends: ChildEnds) -> u8 {
    ends.wait_for_close();
    0
}

/// Burns CPU until this much is used, then says so.
fn burn(ends: &ChildEnds, cpu: Duration) {
    while own_cpu().total_us() < cpu.as_micros() as u64 {
        std::hint::black_box((0..1000_u64).sum::<u64>());
    }
    nix::unistd::write(&ends.events, b"burnt").unwrap();
}

fn cpu_is_told_for_each_child() {
    let before = children_cpu().total_us();
    let busy = fork("busy", |ends| {
        burn(&ends, Duration::from_millis(200));
        0
    });
    let killed = fork("killed", |ends| {
        burn(&ends, Duration::from_millis(100));
        until_closed(ends)
    });
    let idle = fork("idle", until_closed);
    let mut sum = 0;
    let mut check = |child: &Child, state: ExitState, at_least_ms: u64, below_ms: u64| {
        let reaped: Reaped = reap_one(child);
        let cpu_ms = (reaped.cpu_user_us + reaped.cpu_system_us) / 1000;
        assert_eq!(reaped.state, state);
        assert!((at_least_ms..below_ms).contains(&cpu_ms), "{reaped:?}");
        sum += reaped.cpu_user_us + reaped.cpu_system_us;
    };
    check(&busy, ExitState::Code(0), 195, 300);
    use std::os::fd::AsFd as _;
    process::poll(&[((), killed.events.as_fd(), process::Interest::Read)], None).unwrap();
    send_signal(killed.pid, Signal::SIGKILL).unwrap();
    check(&killed, ExitState::Signal { number: 9, core: false }, 95, 195);
    send_signal(idle.pid, Signal::SIGKILL).unwrap();
    check(&idle, ExitState::Signal { number: 9, core: false }, 0, 50);
    assert_eq!(sum, children_cpu().total_us() - before, "nothing is lost between reaps");
}

fn a_real_time_signal_is_told() {
    let child = fork("real time", until_closed);
    // A real-time signal has no name in the safe interfaces, so a shell sends it.
    let pid = child.pid.as_raw();
    assert!(Command::new("sh").args(["-c", &format!("kill -40 {pid}")]).status().unwrap().success());
    assert_eq!(reap_one(&child).state, ExitState::Signal { number: 40, core: false });
}

fn the_clock_is_shared() {
    let before = monotonic_us();
    let (text, _) = common::ask(&ChildSettings::named("clock"), |_| monotonic_us().to_string());
    let inside: u64 = text.parse().unwrap();
    assert!(before <= inside && inside <= monotonic_us());
}

fn exclusive(path: &Path, wait_ms: u64) -> Result<LockFile, LockError> {
    LockFile::exclusive(path, Duration::from_millis(wait_ms), "me")
}

fn is_busy(path: &Path) -> bool {
    match LockFile::shared_nonblocking(path) {
        Ok(_) => false,
        Err(LockError::Busy { .. }) => true,
        Err(other) => panic!("{other}"),
    }
}

fn a_held_lock_is_busy_and_says_who() {
    let folder = Folder::new("busy");
    let path = folder.file("supervisor.lock");
    assert!(matches!(LockFile::shared_nonblocking(&path), Err(LockError::Io { .. })), "looking makes no file");
    std::fs::write(&path, "a longer text of an earlier holder, whose end must go").unwrap();
    std::fs::remove_file(&path).unwrap();
    let first = LockFile::exclusive(&path, Duration::ZERO, "pid 12 on host a").unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let started = Instant::now();
    match exclusive(&path, 100) {
        Err(LockError::Busy { holder_text, .. }) => assert_eq!(holder_text, "pid 12 on host a"),
        other => panic!("{other:?}"),
    }
    let waited = started.elapsed();
    assert!((Duration::from_millis(100)..common::PATIENCE).contains(&waited), "{waited:?}");
    assert!(is_busy(&path));
    drop(first);
    let second = LockFile::exclusive(&path, Duration::ZERO, "b").unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "b");
    drop(second);
    let readers = [LockFile::shared_nonblocking(&path).unwrap(), LockFile::shared_nonblocking(&path).unwrap()];
    assert!(matches!(exclusive(&path, 0), Err(LockError::Busy { .. })));
    drop(readers);
    exclusive(&path, 0).unwrap();
}

fn waiting_for_a_lock_ends_when_it_is_free() {
    let folder = Folder::new("waiting");
    let path = folder.file("lock");
    let lock = exclusive(&path, 0).unwrap();
    let settings = ChildSettings { keep: vec![lock.as_raw_fd()], ..ChildSettings::named("holds") };
    let child = fork_child(&settings, |_| {
        std::thread::sleep(Duration::from_millis(100));
        0
    })
    .unwrap();
    drop(lock);
    exclusive(&path, 60_000).unwrap();
    reap_one(&child);
}

fn a_kept_lock_lives_as_long_as_the_child() {
    let folder = Folder::new("kept");
    let path = folder.file("workers.lock");
    let lock = exclusive(&path, 0).unwrap();
    let settings = ChildSettings { keep: vec![lock.as_raw_fd()], ..ChildSettings::named("worker") };
    let child = fork_child(&settings, until_closed).unwrap();
    drop(lock);
    assert!(is_busy(&path), "closing the parent's copy does not unlock");
    // What a worker executes must not go on holding the lock: the copy is closed on exec.
    send_signal(child.pid, Signal::SIGKILL).unwrap();
    reap_one(&child);
    assert!(!is_busy(&path));
}

fn a_lock_that_is_not_kept_ends_with_the_parents() {
    let folder = Folder::new("not-kept");
    let path = folder.file("supervisor.lock");
    let lock = exclusive(&path, 0).unwrap();
    let child = fork("worker", |ends| {
        nix::unistd::write(&ends.events, b"runs").unwrap();
        until_closed(ends)
    });
    use std::os::fd::AsFd as _;
    process::poll(&[((), child.events.as_fd(), process::Interest::Read)], None).unwrap();
    drop(lock);
    assert!(!is_busy(&path));
    drop(child.control);
    reap_count(1);
}

fn a_child_cannot_unlock_its_parent() {
    let folder = Folder::new("unlock");
    let path = folder.file("lock");
    let lock = exclusive(&path, 0).unwrap();
    let settings = ChildSettings { keep: vec![lock.as_raw_fd()], ..ChildSettings::named("drops") };
    let copy = lock.as_raw_fd();
    let child = fork_child(&settings, |_| u8::from(nix::unistd::close(copy).is_err())).unwrap();
    assert_eq!(reap_one(&child).state, ExitState::Code(0));
    assert!(is_busy(&path), "only the last copy ends the lock");
    drop(lock);
    assert!(!is_busy(&path));
}

fn a_replaced_file_guards_nothing() {
    let folder = Folder::new("replaced");
    let path = folder.file("lock");
    let old = exclusive(&path, 0).unwrap();
    std::fs::remove_file(&path).unwrap();
    let new = exclusive(&path, 0).unwrap();
    assert!(is_busy(&path));
    drop(old);
    assert!(is_busy(&path), "the new file is the lock");
    drop(new);
}
