//! A parent that is killed leaves no process behind: the kernel kills its children, and each sees end of file on its
//! control pipe.

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{command_as, role, run};
use nix::sys::prctl::{set_child_subreaper, set_pdeathsig};
use nix::unistd::Pid;
use process::{ChildSettings, ExitState, HelperOptions, Interest, Reaped, fork_child, poll, reap_all, start_helper};

/// The exit code of a child that left because of end of file.
const SAW_END_OF_FILE: u8 = 7;

fn main() {
    match role().as_deref() {
        Some("parent") => parent(),
        _ => {
            // Orphans become children of this process, which sees how they ended.
            set_child_subreaper(true).unwrap();
            run(&[("nobody_outlives_a_killed_parent", nobody_outlives_a_killed_parent)]);
        }
    }
}

fn sleep_for_ever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}

/// Two kinds of children and a helper, whose process ids go to stdout.
fn parent() {
    let mut pids = Vec::new();
    let mut children = Vec::new();
    for n in 0..3 {
        children.push(fork_child(&ChildSettings::named(format!("deaf {n}")), |_| sleep_for_ever()).unwrap());
    }
    for n in 0..3 {
        let listening = fork_child(&ChildSettings::named(format!("listens {n}")), |ends| {
            // Without the kernel's help, only end of file is left to notice.
            set_pdeathsig(None).unwrap();
            nix::unistd::write(&ends.events, b"disarmed").unwrap();
            ends.wait_for_close();
            SAW_END_OF_FILE
        });
        let listening = listening.unwrap();
        poll(&[((), listening.events.as_fd(), Interest::Read)], None).unwrap();
        children.push(listening);
    }
    let helper = start_helper(&HelperOptions::named("helper"), |ends| {
        let _thread = std::thread::Builder::new().spawn(|| sleep_for_ever());
        nix::unistd::write(&ends.events, b"ready\n").unwrap();
        sleep_for_ever()
    })
    .unwrap();
    pids.extend(children.iter().map(|child| child.pid.as_raw().to_string()));
    pids.push(helper.pid.as_raw().to_string());
    println!("{}", pids.join(" "));
    std::io::stdout().flush().unwrap();
    sleep_for_ever()
}

fn nobody_outlives_a_killed_parent() {
    let mut parent = command_as("parent").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(parent.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let pids: Vec<Pid> = line.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap())).collect();
    assert_eq!(pids.len(), 7);
    parent.kill().unwrap();
    let killed = Instant::now();
    parent.wait().unwrap();
    let mut ended: Vec<Reaped> = Vec::new();
    while ended.len() < pids.len() {
        assert!(killed.elapsed() < Duration::from_secs(1), "only {} of {} are gone after 1 s", ended.len(), pids.len());
        ended.extend(reap_all());
        std::thread::sleep(Duration::from_millis(1));
    }
    let state = |pid: &Pid| ended.iter().find(|reaped| reaped.pid == *pid).map(|reaped| reaped.state);
    let by_kernel = Some(ExitState::Signal { number: 9, core: false });
    for deaf in &pids[..3] {
        assert_eq!(state(deaf), by_kernel);
    }
    for listening in &pids[3..6] {
        assert_eq!(state(listening), Some(ExitState::Code(SAW_END_OF_FILE)));
    }
    assert_eq!(state(&pids[6]), by_kernel);
}
