//! Helper processes: answers, ends that are not answers, and ones that serve.

mod common;

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use common::{PATIENCE, assert_no_child, reap_count, run};
use nix::unistd::getpid;
use process::{
    Caught, EXIT_PANICKED, ExitState, HelperError, HelperOptions, Interest, RunningHelper, Signal, SignalFd, Told, poll,
    run_helper, run_helper_with, send_signal, start_helper, thread_count,
};

fn main() {
    run(&[
        ("an_answer_comes_back_from_a_helper_with_threads", an_answer_comes_back_from_a_helper_with_threads),
        ("its_exit_code_and_panic_come_back", its_exit_code_and_panic_come_back),
        ("too_long_an_answer_kills_it", too_long_an_answer_kills_it),
        ("a_timeout_kills_it", a_timeout_kills_it),
        ("a_signal_interrupts_it", a_signal_interrupts_it),
        ("other_children_are_left_alone", other_children_are_left_alone),
        ("a_serving_helper_stops_by_itself", a_serving_helper_stops_by_itself),
        ("a_serving_helper_is_asked_and_answers", a_serving_helper_is_asked_and_answers),
        ("a_stubborn_helper_is_killed", a_stubborn_helper_is_killed),
        ("a_dropped_helper_is_stopped", a_dropped_helper_is_stopped),
        ("a_helper_that_is_never_ready_says_how_it_ended", a_helper_that_is_never_ready_says_how_it_ended),
        ("a_helper_that_died_is_not_killed_again", a_helper_that_died_is_not_killed_again),
    ]);
}

const KILLED: ExitState = ExitState::Signal { number: 9, core: false };

fn sleep_for_ever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}

fn an_answer_comes_back_from_a_helper_with_threads() {
    let answer = run_helper("plan", |out| {
        let thread = std::thread::Builder::new().spawn(|| (0..2_000_000_u32).map(|n| (n % 251) as u8).collect::<Vec<u8>>());
        let bytes = thread.unwrap().join().unwrap();
        u8::from(out.write_all(&bytes).is_err())
    })
    .unwrap();
    assert_eq!(answer.status, ExitState::Code(0));
    assert_eq!(answer.bytes.len(), 2_000_000);
    assert!(answer.bytes.iter().zip(0_u32..).all(|(byte, n)| *byte == (n % 251) as u8));
    assert!(answer.cpu_user_us + answer.cpu_system_us > 0);
    assert_eq!(thread_count().unwrap(), 1, "its threads were its own");
}

fn its_exit_code_and_panic_come_back() {
    let answer = run_helper("blocked", |out| u8::from(out.write_all(b"why").is_ok()) * 4).unwrap();
    assert_eq!((answer.bytes, answer.status), (b"why".to_vec(), ExitState::Code(4)));
    let answer = run_helper("panics", |_| {
        std::panic::set_hook(Box::new(|_| {}));
        panic!("as the test wants")
    })
    .unwrap();
    assert_eq!((answer.bytes, answer.status), (Vec::new(), ExitState::Code(EXIT_PANICKED)));
}

fn too_long_an_answer_kills_it() {
    let options = HelperOptions { max_bytes: 100_000, ..HelperOptions::named("talks") };
    let result = run_helper_with(&options, |out| {
        while out.write_all(&[b'x'; 1000]).is_ok() {}
        0
    });
    assert!(matches!(result, Err(HelperError::TooLong { limit: 100_000, .. })), "{result:?}");
    assert_no_child("killed and reaped already");
}

fn a_timeout_kills_it() {
    let options = HelperOptions { timeout: Some(Duration::from_millis(50)), ..HelperOptions::named("slow") };
    let started = Instant::now();
    let result = run_helper_with(&options, |_| sleep_for_ever());
    assert!(matches!(result, Err(HelperError::TimedOut { .. })), "{result:?}");
    assert!((Duration::from_millis(50)..PATIENCE).contains(&started.elapsed()));
    assert_no_child("killed and reaped already");
}

fn a_signal_interrupts_it() {
    let signals = SignalFd::new(&[Signal::SIGUSR1, Signal::SIGUSR2]).unwrap();
    assert_eq!(signals.read_all().unwrap(), vec![]);
    let parent = getpid();
    let options = HelperOptions { interrupt: Some(signals.as_fd()), ..HelperOptions::named("interrupted") };
    let result = run_helper_with(&options, |_| {
        for signal in [Signal::SIGUSR1, Signal::SIGUSR1, Signal::SIGUSR2] {
            send_signal(parent, signal).unwrap();
        }
        sleep_for_ever()
    });
    assert!(matches!(result, Err(HelperError::Interrupted { .. })), "{result:?}");
    assert_no_child("killed and reaped already");
    let seen = signals.read_all().unwrap();
    assert!(seen.contains(&Caught { signal: Signal::SIGUSR1, sent: true }), "the signal is left for the caller: {seen:?}");
}

fn other_children_are_left_alone() {
    let other = process::fork_child(&process::ChildSettings::named("other"), |_| 6).unwrap();
    std::thread::sleep(Duration::from_millis(20)); // It is a zombie by now.
    assert_eq!(run_helper("asked", |_| 0).unwrap().status, ExitState::Code(0));
    let reaped = reap_count(1)[0];
    assert_eq!((reaped.pid, reaped.state), (other.pid, ExitState::Code(6)));
}

/// A helper that gives an address, and then serves as told.
fn broker(serve: impl FnOnce(process::ChildEnds) -> u8) -> RunningHelper {
    start_helper(&HelperOptions::named("broker"), |ends| {
        let _thread = std::thread::Builder::new().spawn(|| sleep_for_ever());
        nix::unistd::write(&ends.events, b"127.0.0.1:").unwrap();
        std::thread::sleep(Duration::from_millis(5));
        nix::unistd::write(&ends.events, b"9092\n").unwrap();
        serve(ends)
    })
    .unwrap()
}

fn until_closed(ends: process::ChildEnds) -> u8 {
    ends.wait_for_close();
    0
}

fn a_serving_helper_stops_by_itself() {
    let helper = broker(until_closed);
    assert_eq!(helper.ready, b"127.0.0.1:9092");
    let reaped = helper.stop(PATIENCE).unwrap().unwrap();
    assert_eq!(reaped.state, ExitState::Code(0), "it was not killed");
}

/// Answers each word with a line; after the first says a line of its own when none came for a while.
fn answers(ends: process::ChildEnds) -> u8 {
    let mut wait = PATIENCE;
    loop {
        let line: &[u8] = match ends.wait_for_word(std::mem::replace(&mut wait, Duration::from_millis(300))) {
            Told::Closed => return 0,
            Told::Something => b"asked\n",
            Told::Nothing => b"quiet\n",
        };
        nix::unistd::write(&ends.events, line).unwrap();
    }
}

fn a_serving_helper_is_asked_and_answers() {
    let helper = broker(answers);
    let mut heard = Vec::new();
    assert!(helper.hear(&mut heard).unwrap() && heard.is_empty(), "it does not wait");
    // A late look hears more than one line at once.
    let mut hear = |lines: &[u8]| {
        let deadline = Instant::now() + PATIENCE;
        while heard.len() < lines.len() {
            assert!(Instant::now() < deadline, "{heard:?}");
            poll(&[((), helper.events(), Interest::Read)], Some(Duration::from_millis(50))).unwrap();
            assert!(helper.hear(&mut heard).unwrap());
        }
        assert_eq!(&heard[..lines.len()], lines);
    };
    helper.tell(b"?").unwrap();
    hear(b"asked\n");
    hear(b"asked\nquiet\n");
    send_signal(helper.pid, Signal::SIGKILL).unwrap();
    let gone = Instant::now() + PATIENCE;
    while helper.hear(&mut heard).unwrap() {
        assert!(Instant::now() < gone, "its end closes its pipe");
    }
    assert!(helper.tell(b"?").is_err(), "the reader is gone");
}

fn a_stubborn_helper_is_killed() {
    let helper = broker(|_| sleep_for_ever());
    let started = Instant::now();
    let reaped = helper.stop(Duration::from_millis(50)).unwrap().unwrap();
    assert_eq!(reaped.state, KILLED);
    assert!((Duration::from_millis(50)..PATIENCE).contains(&started.elapsed()));
}

fn a_dropped_helper_is_stopped() {
    drop(broker(until_closed));
    assert_no_child("stopped and reaped already");
}

fn a_helper_that_is_never_ready_says_how_it_ended() {
    let result = start_helper(&HelperOptions::named("broker"), |ends| {
        nix::unistd::write(&ends.events, b"no port").unwrap();
        9
    });
    match result {
        Err(HelperError::NotReady { status, bytes, .. }) => {
            assert_eq!((status, bytes), (ExitState::Code(9), b"no port".to_vec()));
        }
        other => panic!("{other:?}"),
    }
    let options = HelperOptions { timeout: Some(Duration::from_millis(50)), ..HelperOptions::named("silent") };
    let result = start_helper(&options, until_closed);
    assert!(matches!(result, Err(HelperError::TimedOut { .. })), "{result:?}");
}

fn a_helper_that_died_is_not_killed_again() {
    let mut noted = broker(until_closed);
    let unnoted = broker(until_closed);
    for helper in [&noted, &unnoted] {
        send_signal(helper.pid, Signal::SIGKILL).unwrap();
    }
    let reaped = reap_count(2);
    assert_eq!(reaped.iter().filter(|reaped| noted.note_reaped(reaped)).count(), 1);
    assert_eq!(noted.stop(Duration::ZERO).unwrap(), None);
    assert_eq!(unnoted.stop(Duration::ZERO).unwrap(), None);
}
