//! Waiting for something with a limit, and running a command to its end with one.

use std::io::Read;
use std::process::{Child, ExitStatus, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Between two questions, at least and at most.
const REST: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(200)];

/// Asks every 10 ms until it is true; less often where asking takes long itself (a process for each question), so that
/// those who wait leave the processors to those who work. Returns how long it took; panics with `what` after `limit`.
pub fn wait_until(what: &str, limit: Duration, mut ready: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    loop {
        let asked = Instant::now();
        if ready() {
            return start.elapsed();
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain until {what}");
        sleep((asked.elapsed() * 4).clamp(REST[0], REST[1]));
    }
}

/// Asks until the answer has stayed the same for a while; panics with `what` after `limit`.
pub fn wait_until_still<T: PartialEq>(what: &str, still: Duration, limit: Duration, mut ask: impl FnMut() -> T) {
    let mut last = (ask(), Instant::now());
    wait_until(what, limit, || {
        let now = ask();
        if now != last.0 {
            last = (now, Instant::now());
        }
        last.1.elapsed() >= still
    });
}

/// Waits for a child's end; `None` after `limit`, and the child still runs.
pub fn wait_child(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().expect("a child of ours can be waited for") {
            return Some(status);
        }
        if Instant::now() >= deadline {
            return None;
        }
        sleep(Duration::from_millis(5));
    }
}

/// Collects a child's piped stdout and stderr and waits for its end; kills it and panics after `limit`. Both pipes are
/// read by threads of their own, so that neither can fill up and stop the child.
pub fn collect(mut child: Child, what: &str, limit: Duration) -> Output {
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    std::thread::scope(|scope| {
        let stdout = scope.spawn(move || drain(stdout));
        let stderr = scope.spawn(move || drain(stderr));
        let status = wait_child(&mut child, limit);
        if status.is_none() {
            child.kill().expect("a child of ours can be killed");
            child.wait().expect("a child of ours can be waited for");
        }
        let stdout = stdout.join().expect("reading a pipe doesn't panic");
        let stderr = stderr.join().expect("reading a pipe doesn't panic");
        let Some(status) = status else {
            panic!("{what} did not end within {limit:?}; stderr:\n{}", String::from_utf8_lossy(&stderr));
        };
        Output { status, stdout, stderr }
    })
}

fn drain(pipe: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(&mut bytes).expect("a pipe can be read");
    }
    bytes
}
