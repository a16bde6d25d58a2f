//! A harness with one thread: the tests run in order in the main thread, and each must leave no child behind.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, waitpid};
use process::{Child, ChildEnds, ChildSettings, ExitState, Interest, Reaped, fork_child, poll, reap_all};
use tempfile::TempDir;

/// What a busy machine may take for anything that should take a moment.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the tests whose name contains the first argument that is no option. A failed one panics, and the kernel kills
/// what it left behind. `--list` and `--help` run none.
pub fn run(tests: &[(&str, fn())]) {
    let mut arguments = std::env::args().skip(1);
    let (options, filters): (Vec<String>, Vec<String>) = arguments.by_ref().partition(|argument| argument.starts_with('-'));
    let only_asks = options.iter().any(|option| matches!(option.as_str(), "--list" | "--help" | "-h"));
    let filter = filters.first();
    for (name, test) in tests {
        if filter.is_none_or(|filter| name.contains(filter.as_str())) {
            if only_asks {
                println!("{name}: test");
                continue;
            }
            eprintln!("test {name} ...");
            test();
            assert_no_child(name);
        }
    }
}

/// Neither a running child nor a zombie.
pub fn assert_no_child(test: &str) {
    assert_eq!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Err(Errno::ECHILD), "{test} left a child behind");
}

/// The role that this binary was started in by [`command_as`], if any.
#[allow(dead_code, reason = "not every test binary has roles")]
pub fn role() -> Option<String> {
    std::env::var("PROCESS_TEST_ROLE").ok()
}

/// This test binary again, in a role of its own.
#[allow(dead_code, reason = "not every test binary has roles")]
pub fn command_as(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env("PROCESS_TEST_ROLE", role);
    command
}

/// Forks a child whose body writes text to its event pipe; returns the text and how it ended.
#[allow(dead_code, reason = "not every test binary asks a child")]
pub fn ask(settings: &ChildSettings, body: impl FnOnce(&ChildEnds) -> String) -> (String, ExitState) {
    let child = fork_child(settings, |ends| {
        let text = body(&ends);
        u8::from(nix::unistd::write(&ends.events, text.as_bytes()) != Ok(text.len()))
    })
    .unwrap();
    let text = read_to_end(&child);
    (text, reap_one(&child).state)
}

/// What a child writes until it closes its end.
#[allow(dead_code, reason = "not every test binary asks a child")]
pub fn read_to_end(child: &Child) -> String {
    use std::os::fd::AsFd as _;
    let mut file = File::from(child.events.try_clone().unwrap());
    let mut bytes = Vec::new();
    loop {
        let ready = poll(&[((), child.events.as_fd(), Interest::Read)], Some(PATIENCE)).unwrap();
        assert!(!ready.is_empty(), "the child wrote nothing and closed nothing for {PATIENCE:?}");
        match file.read_to_end(&mut bytes) {
            Ok(_) => return String::from_utf8(bytes).unwrap(),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
    }
}

/// Reaps until this child ended.
#[allow(dead_code, reason = "not every test binary reaps one")]
pub fn reap_one(child: &Child) -> Reaped {
    let reaped = reap_count(1).remove(0);
    assert_eq!(reaped.pid, child.pid);
    reaped
}

/// Reaps until this number of children ended.
#[allow(dead_code, reason = "not every test binary reaps")]
pub fn reap_count(count: usize) -> Vec<Reaped> {
    let deadline = Instant::now() + PATIENCE;
    let mut reaped = Vec::new();
    while reaped.len() < count {
        assert!(Instant::now() < deadline, "only {} of {count} children ended within {PATIENCE:?}", reaped.len());
        reaped.extend(reap_all());
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(reaped.len(), count);
    reaped
}

/// A folder that is removed again by the process that made it (never by a forked child, whose destructors don't run).
#[allow(dead_code, reason = "not every test binary needs files")]
pub struct Folder(TempDir);

#[allow(dead_code, reason = "not every test binary needs files")]
impl Folder {
    pub fn new(name: &str) -> Folder {
        Folder(tempfile::Builder::new().prefix(name).tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}
