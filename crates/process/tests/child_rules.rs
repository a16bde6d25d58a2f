//! The rules of a child, each seen from inside a real one.

mod common;

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::{Folder, ask, command_as, read_to_end, reap_one, role, run};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use process::{
    ChildSettings, EXIT_PANICKED, EXIT_SETUP_FAILED, ExitState, ForkError, Interest, SignalFd, default_signals_for, fork_child,
    is_ignored, poll, processors, restore_default_signals, send_signal, thread_count,
};

fn main() {
    match role().as_deref() {
        Some("prints-and-forks") => prints_and_forks(),
        Some("sigchld-ignored") => sigchld_ignored(),
        Some("bad-stack") => bad_stack(),
        Some("few-descriptors") => few_descriptors(),
        _ => run(&[
            ("only_its_own_descriptors_are_open", only_its_own_descriptors_are_open),
            ("a_sibling_hides_no_end_of_file", a_sibling_hides_no_end_of_file),
            ("group_signals_are_ignored_and_none_is_blocked", group_signals_are_ignored_and_none_is_blocked),
            ("group_signals_do_not_stop_a_child_and_sigkill_does", group_signals_do_not_stop_a_child_and_sigkill_does),
            ("a_users_command_gets_default_signals", a_users_command_gets_default_signals),
            ("the_name_is_set", the_name_is_set),
            ("exit_codes_arrive", exit_codes_arrive),
            ("a_panic_exits_101", a_panic_exits_101),
            ("limits_are_set", limits_are_set),
            ("a_second_thread_refuses_the_fork", a_second_thread_refuses_the_fork),
            ("a_child_never_forks", a_child_never_forks),
            ("nothing_is_printed_or_dropped_twice", nothing_is_printed_or_dropped_twice),
            ("exit_codes_arrive_though_sigchld_was_ignored", exit_codes_arrive_though_sigchld_was_ignored),
            ("a_rule_that_fails_exits_102_and_says_which", a_rule_that_fails_exits_102_and_says_which),
            ("no_descriptor_left_is_an_error_value", no_descriptor_left_is_an_error_value),
            ("a_full_event_pipe_blocks_and_control_does_not", a_full_event_pipe_blocks_and_control_does_not),
            ("processors_follow_the_affinity", processors_follow_the_affinity),
        ]),
    }
}

fn named(name: &str) -> ChildSettings {
    ChildSettings::named(name)
}

/// `number target` of every open descriptor, but for the one that lists them.
fn open_descriptors() -> String {
    let mut lines: Vec<(i32, PathBuf)> = Vec::new();
    for entry in fs::read_dir("/proc/self/fd").unwrap() {
        let path = entry.unwrap().path();
        let number = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        lines.extend(fs::read_link(&path).ok().map(|target| (number, target)));
    }
    lines.sort();
    lines.retain(|(_, target)| !target.starts_with("/proc"));
    lines.iter().map(|(number, target)| format!("{number} {}\n", target.display())).collect()
}

fn only_its_own_descriptors_are_open() {
    let folder = Folder::new("descriptors");
    let kept = File::create(folder.file("kept")).unwrap();
    let _other = File::create(folder.file("other")).unwrap();
    let sibling = fork_child(&named("sibling"), |ends| {
        ends.wait_for_close();
        0
    })
    .unwrap();
    // Above all that the child keeps.
    let high = nix::fcntl::fcntl(&kept, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(900)).unwrap();
    let keep = vec![kept.as_raw_fd(), kept.as_raw_fd(), -1, 800];
    let (text, state) = ask(&ChildSettings { keep, ..named("lists") }, |ends| {
        format!("{} {}\n{}", ends.events.as_raw_fd(), ends.control.as_raw_fd(), open_descriptors())
    });
    assert_eq!(state, ExitState::Code(0));
    let mut lines = text.lines();
    let own: Vec<&str> = lines.next().unwrap().split(' ').collect();
    let seen: Vec<(&str, &str)> = lines.map(|line| line.split_once(' ').unwrap()).collect();
    let kept_number = kept.as_raw_fd().to_string();
    for (number, target) in &seen {
        match *number {
            "0" | "1" => assert_eq!(*target, "/dev/null"),
            "2" => {}
            n if own.contains(&n) => assert!(target.starts_with("pipe:")),
            n if n == kept_number => assert!(target.ends_with("kept")),
            n => panic!("descriptor {n} ({target}) is open in the child"),
        }
    }
    assert_eq!(seen.len(), 6, "{text}");
    nix::unistd::close(high).unwrap();
    drop(sibling.control);
    assert_eq!(common::reap_count(1)[0].pid, sibling.pid);
}

fn a_sibling_hides_no_end_of_file() {
    let wait = |name: &str| {
        fork_child(&named(name), |ends| {
            ends.wait_for_close();
            5
        })
        .unwrap()
    };
    let (first, second) = (wait("first"), wait("second"));
    drop(first.control);
    assert_eq!(common::reap_count(1)[0].pid, first.pid);
    drop(second.control);
    assert_eq!(common::reap_count(1)[0].state, ExitState::Code(5));
}

/// Whether a line of a status file has a signal.
fn has(status: &str, field: &str, signal: Signal) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    let mask = u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap();
    mask & (1 << (signal as i32 - 1)) != 0
}

const GROUP: [Signal; 7] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGPIPE, Signal::SIGUSR1, Signal::SIGTTIN, Signal::SIGTTOU];

fn group_signals_are_ignored_and_none_is_blocked() {
    let _blocked = SignalFd::new(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGCHLD, Signal::SIGUSR1]).unwrap();
    let before = fs::read_to_string("/proc/self/status").unwrap();
    let (status, _) = ask(&named("signals"), |_| fs::read_to_string("/proc/self/status").unwrap());
    for signal in GROUP {
        assert!(has(&status, "SigIgn", signal), "{signal}");
    }
    assert!(!has(&status, "SigIgn", Signal::SIGCHLD));
    assert!(status.contains("SigBlk:\t0000000000000000"), "{status}");
    let after = fs::read_to_string("/proc/self/status").unwrap();
    for field in ["SigBlk", "SigIgn"] {
        let of = |status: &str| status.lines().find(|line| line.starts_with(field)).map(str::to_owned);
        assert_eq!(of(&before), of(&after), "the parent is as before");
    }
    let (defaults, _) = ask(&named("defaults"), |_| {
        restore_default_signals().unwrap();
        fs::read_to_string("/proc/self/status").unwrap()
    });
    for signal in GROUP {
        assert!(!has(&defaults, "SigIgn", signal), "{signal}");
    }
}

fn group_signals_do_not_stop_a_child_and_sigkill_does() {
    let child = fork_child(&named("stays"), |ends| {
        ends.wait_for_close();
        3
    })
    .unwrap();
    // At once, so that some come before the child ran its first instruction.
    for signal in GROUP {
        send_signal(child.pid, signal).unwrap();
    }
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(process::reap_all(), vec![]);
    send_signal(child.pid, Signal::SIGKILL).unwrap();
    assert_eq!(reap_one(&child).state, ExitState::Signal { number: 9, core: false });
}

fn a_users_command_gets_default_signals() {
    let (status, _) = ask(&named("executes"), |_| {
        let mut command = Command::new("cat");
        let output = default_signals_for(command.arg("/proc/self/status")).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    });
    for signal in GROUP {
        assert!(!has(&status, "SigIgn", signal), "{signal}");
    }
    assert!(status.contains("SigBlk:\t0000000000000000"));
}

fn the_name_is_set() {
    let name = |name: &str| ask(&named(name), |_| fs::read_to_string("/proc/self/comm").unwrap()).0;
    assert_eq!(name("shard 17"), "shard 17\n");
    assert_eq!(name("shard 17 of a long job"), "shard 17 of a l\n");
}

fn exit_codes_arrive() {
    for code in [0, 1, 75, 255] {
        let child = fork_child(&named("code"), |_| code).unwrap();
        assert_eq!(reap_one(&child).state, ExitState::Code(code));
    }
}

fn a_panic_exits_101() {
    let child = fork_child(&named("panics"), |ends| {
        std::panic::set_hook(Box::new(move |info| {
            nix::unistd::write(&ends.events, info.to_string().as_bytes()).unwrap();
        }));
        panic!("as the test wants");
    })
    .unwrap();
    assert!(read_to_end(&child).contains("as the test wants"), "the hook runs");
    assert_eq!(reap_one(&child).state, ExitState::Code(EXIT_PANICKED));
}

fn limits_are_set() {
    let limit = 64 * 1024 * 1024;
    let (text, _) = ask(&ChildSettings { data_limit: Some(limit), ..named("limited") }, |_| {
        let refused = Vec::<u8>::new().try_reserve_exact(2 * 64 * 1024 * 1024).is_err();
        let limits = [Resource::RLIMIT_CORE, Resource::RLIMIT_DATA].map(|of| getrlimit(of).unwrap());
        format!("{refused} {limits:?}")
    });
    assert_eq!(text, format!("true [(0, 0), ({limit}, {limit})]"));
    let inherited = getrlimit(Resource::RLIMIT_DATA).unwrap();
    let (text, _) = ask(&named("unlimited"), |_| format!("{:?}", getrlimit(Resource::RLIMIT_DATA).unwrap()));
    assert_eq!(text, format!("{inherited:?}"));
}

fn a_second_thread_refuses_the_fork() {
    assert_eq!(thread_count().unwrap(), 1);
    let (stop, stopped) = mpsc::channel::<()>();
    let thread = std::thread::Builder::new().spawn(move || stopped.recv()).unwrap();
    let refused = fork_child(&named("never"), |_| 0).map(|child| child.pid);
    assert!(matches!(refused, Err(ForkError::Threads(2))), "{refused:?}");
    drop(stop);
    assert!(thread.join().unwrap().is_err());
    let deadline = Instant::now() + common::PATIENCE;
    while thread_count().unwrap() > 1 {
        assert!(Instant::now() < deadline);
    }
    let child = fork_child(&named("again"), |_| 0).unwrap();
    assert!(reap_one(&child).state.is_success());
}

fn a_child_never_forks() {
    let (text, _) = ask(&named("child"), |_| format!("{:?}", fork_child(&named("grandchild"), |_| 0).map(|child| child.pid)));
    assert_eq!(text, "Err(IsChild)");
}

/// Says on a file which process dropped it.
struct Guard(PathBuf);

impl Drop for Guard {
    fn drop(&mut self) {
        let line = format!("{}\n", std::process::id());
        OpenOptions::new().append(true).open(&self.0).unwrap().write_all(line.as_bytes()).unwrap();
    }
}

std::thread_local! {
    /// Dropped by exit(3), which a child must not call.
    static AT_EXIT: std::cell::OnceCell<Guard> = const { std::cell::OnceCell::new() };
}

fn prints_and_forks() {
    let path = PathBuf::from(std::env::var("GUARD").unwrap());
    let _guard = Guard(path.clone());
    AT_EXIT.with(|cell| assert!(cell.set(Guard(path)).is_ok()));
    print!("{} once", std::process::id()); // No newline: it stays in the buffer.
    let returns = fork_child(&named("returns"), |_| {
        print!("never seen");
        eprint!(", then the child");
        0
    })
    .unwrap();
    reap_one(&returns);
    let panics = fork_child(&named("panics"), |_| {
        std::panic::set_hook(Box::new(|_| {}));
        panic!("quietly")
    })
    .unwrap();
    reap_one(&panics);
}

fn nothing_is_printed_or_dropped_twice() {
    let folder = Folder::new("twice");
    let guard = folder.file("guard");
    let printed = folder.file("printed");
    File::create(&guard).unwrap();
    let both = OpenOptions::new().append(true).create(true).open(&printed).unwrap();
    let mut command = command_as("prints-and-forks");
    command.env("GUARD", &guard).stdout(both.try_clone().unwrap()).stderr(both);
    let mut parent = command.spawn().unwrap();
    assert!(parent.wait().unwrap().success());
    // What the parent printed before the fork stands before what the child prints.
    assert_eq!(fs::read_to_string(&printed).unwrap(), format!("{} once, then the child", parent.id()));
    let dropped = fs::read_to_string(&guard).unwrap();
    assert!(!dropped.is_empty());
    assert!(dropped.lines().all(|pid| pid == parent.id().to_string()), "a child ran inherited destructors: {dropped}");
}

fn sigchld_ignored() {
    assert!(is_ignored(Signal::SIGCHLD).unwrap() && is_ignored(Signal::SIGHUP).unwrap());
    assert!(!is_ignored(Signal::SIGTERM).unwrap());
    let child = fork_child(&named("code"), |_| 9).unwrap();
    assert_eq!(reap_one(&child).state, ExitState::Code(9));
}

fn exit_codes_arrive_though_sigchld_was_ignored() {
    let mut command = Command::new("env");
    command.args(["--ignore-signal=CHLD", "--ignore-signal=HUP"]).arg(std::env::current_exe().unwrap());
    assert!(command.env("PROCESS_TEST_ROLE", "sigchld-ignored").status().unwrap().success());
}

fn bad_stack() {
    let child = fork_child(&ChildSettings { thread_stack: 1, ..named("shard 4") }, |_| 0).unwrap();
    assert_eq!(reap_one(&child).state, ExitState::Code(EXIT_SETUP_FAILED));
}

fn a_rule_that_fails_exits_102_and_says_which() {
    let output = command_as("bad-stack").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert_eq!(said, "shard 4: a new child process could not set the default thread stack: Invalid argument\n");
}

fn few_descriptors() {
    setrlimit(Resource::RLIMIT_NOFILE, 24, 24).unwrap();
    let mut children = Vec::new();
    let error = loop {
        let forked = fork_child(&named("waits"), |ends| {
            ends.wait_for_close();
            0
        });
        match forked {
            Ok(child) => children.push(child),
            Err(error) => break error,
        }
        assert!(children.len() < 24);
    };
    assert!(matches!(error, ForkError::Pipe(_) | ForkError::DevNull(_)), "{error}");
    assert!(!children.is_empty());
    // What the failed attempt had opened is closed again, so room for one is room for one.
    drop(children.pop());
    common::reap_count(1);
    children.push(fork_child(&named("fits"), |_| 0).unwrap());
    let count = children.len();
    drop(children);
    common::reap_count(count);
}

fn no_descriptor_left_is_an_error_value() {
    assert!(command_as("few-descriptors").status().unwrap().success());
}

fn a_full_event_pipe_blocks_and_control_does_not() {
    let child = fork_child(&named("writes"), |ends| {
        if nix::unistd::read(&ends.control, &mut [0; 1]) != Err(nix::errno::Errno::EAGAIN) {
            return 1;
        }
        // More than the pipe holds: blocks until the parent reads.
        let mut file = File::from(ends.events);
        u8::from(file.write_all(&vec![b'x'; 1_000_000]).is_err()) * 2
    })
    .unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(process::reap_all(), vec![]);
    // The parent's write end fills up and says so.
    let full = std::iter::repeat_with(|| nix::unistd::write(&child.control, &[0; 4096])).find(Result::is_err);
    assert_eq!(full, Some(Err(nix::errno::Errno::EAGAIN)));
    assert_eq!(read_to_end(&child).len(), 1_000_000);
    assert_eq!(reap_one(&child).state, ExitState::Code(0));
    let gone = poll(&[((), child.control.as_fd(), Interest::Write)], None).unwrap();
    assert!(gone[0].writable, "a dead reader is noticed");
}

fn processors_follow_the_affinity() {
    let (text, _) = ask(&named("one cpu"), |_| {
        let all = nix::sched::sched_getaffinity(Pid::from_raw(0)).unwrap();
        let first = (0..CpuSet::count()).find(|cpu| all.is_set(*cpu).unwrap()).unwrap();
        let mut one = CpuSet::new();
        one.set(first).unwrap();
        sched_setaffinity(Pid::from_raw(0), &one).unwrap();
        processors().to_string()
    });
    assert_eq!(text, "1");
}
