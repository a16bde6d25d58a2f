//! The worker's side of the pipes: what the code that runs in a worker talks to.
//!
//! Responsible for carrying events up and the newest control down, and for the last word of a worker that panics. Not
//! responsible for what is said.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::panic::PanicHookInfo;
use std::time::{Duration, Instant};

use migration::{Control, Failure, FailureKind, WorkerEvent};
use process::{ChildEnds, Interest, poll};

use crate::protocol::{ControlReceiver, EventSender};

/// The supervisor is gone, or wants this worker gone: stop at once, commit nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the supervisor is gone")]
pub struct SupervisorGone;

/// What a worker talks to, whatever kind of process it runs in.
pub trait WorkerPort {
    /// Sends an event; it is out when this returns. An error means that the supervisor does not listen any more.
    fn send(&mut self, event: &WorkerEvent) -> io::Result<()>;

    /// The newest control, at most a millisecond old; does not wait. Cheap enough for every step of a loop.
    fn control(&mut self) -> Result<Control, SupervisorGone>;

    /// Waits until there is something new to be told or `also` is readable, at most `timeout`. May return early.
    fn wait(&mut self, timeout: Duration, also: Option<BorrowedFd<'_>>) -> Result<(), SupervisorGone>;
}

/// Says when it is worth a system call to look for news: [`WorkerPort::control`] is called far more often than there
/// are any.
#[derive(Debug, Default)]
pub(crate) struct Lookout {
    looked: Option<Instant>,
}

impl Lookout {
    const EVERY: Duration = Duration::from_millis(1);

    /// Whether to look now.
    pub(crate) fn due(&mut self) -> bool {
        let now = Instant::now();
        let due = self.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= Self::EVERY);
        if due {
            self.looked = Some(now);
        }
        due
    }

    /// Looks the next time in any case.
    pub(crate) fn alert(&mut self) {
        self.looked = None;
    }
}

/// The port of a forked worker.
#[derive(Debug)]
pub(crate) struct PipePort {
    ends: ChildEnds,
    sender: EventSender<std::os::fd::OwnedFd>,
    receiver: ControlReceiver,
    newest: Control,
    lookout: Lookout,
    /// What the process is called once it has a slot.
    name: Option<String>,
}

impl PipePort {
    /// Says hello, and from now on a panic of this process becomes a `Failed`. `name`: what it is called once it has a
    /// slot, if it has none yet.
    pub(crate) fn open(ends: ChildEnds, first: Control, name: Option<String>) -> io::Result<Self> {
        let sender = EventSender::greet(ends.events.try_clone()?)?;
        send_panics(ends.events.try_clone()?);
        let receiver = ControlReceiver::new(first);
        Ok(PipePort { ends, sender, receiver, newest: first, lookout: Lookout::default(), name })
    }
}

impl WorkerPort for PipePort {
    fn send(&mut self, event: &WorkerEvent) -> io::Result<()> {
        self.sender.send(event)
    }

    fn control(&mut self) -> Result<Control, SupervisorGone> {
        if self.lookout.due() {
            // A control pipe that makes no sense is as good as none.
            let newest = self.receiver.newest(&self.ends.control).ok().flatten();
            if newest.is_none() {
                self.lookout.alert();
            }
            self.newest = newest.ok_or(SupervisorGone)?;
            if !self.newest.hold
                && !self.newest.drain
                && let Some(name) = self.name.take()
            {
                // A name is for people.
                let _ = process::rename(&name);
            }
        }
        Ok(self.newest)
    }

    fn wait(&mut self, timeout: Duration, also: Option<BorrowedFd<'_>>) -> Result<(), SupervisorGone> {
        let entries: Vec<_> = also.into_iter().chain([self.ends.control.as_fd()]).map(|fd| ((), fd, Interest::Read)).collect();
        poll(&entries, Some(timeout)).map_err(|_| SupervisorGone)?;
        self.lookout.alert();
        Ok(())
    }
}

/// The hook sends `Failed` instead of printing: only the supervisor prints.
fn send_panics(events: std::os::fd::OwnedFd) {
    std::panic::set_hook(Box::new(move |info| {
        let failure = Failure::new(FailureKind::Retry, panic_text(info));
        // A failure here can't be told; the exit code still says that it was a panic.
        let _ = EventSender::on_greeted(&events).send(&WorkerEvent::Failed(failure));
    }));
}

fn panic_text(info: &PanicHookInfo<'_>) -> String {
    let place = info.location().map_or_else(String::new, |l| format!(" at {}:{}", l.file(), l.line()));
    // Short, so that the frame goes out in one piece even if another thread is writing.
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let text: String = text.unwrap_or("no message").chars().take(500).collect();
    format!("the worker panicked{place}: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A port, and the supervisor's end of its control pipe.
    fn port() -> (PipePort, std::io::PipeWriter) {
        let (control, writer) = std::io::pipe().unwrap();
        let (_, events) = std::io::pipe().unwrap();
        let ends = ChildEnds { events: events.into(), control: control.into() };
        let sender = EventSender::on_greeted(ends.events.try_clone().unwrap());
        let newest = Control::default();
        let receiver = ControlReceiver::new(newest);
        (PipePort { ends, sender, receiver, newest, lookout: Lookout::default(), name: None }, writer)
    }

    #[test]
    fn a_wait_for_a_source_ends_when_it_has_something_or_the_supervisor_is_gone() {
        let patience = Duration::from_secs(60);
        let (source, mut said) = std::io::pipe().unwrap();
        let (mut port, supervisor) = port();
        let begin = Instant::now();
        port.wait(Duration::from_millis(20), Some(source.as_fd())).unwrap();
        assert!(begin.elapsed() >= Duration::from_millis(20), "nothing came");
        io::Write::write_all(&mut said, b"x").unwrap();
        port.wait(patience, Some(source.as_fd())).unwrap();
        io::Read::read_exact(&mut &source, &mut [0]).unwrap();
        drop(supervisor);
        port.wait(patience, Some(source.as_fd())).unwrap();
        assert_eq!(port.control(), Err(SupervisorGone));
        assert!(begin.elapsed() < patience, "it did not wait for the timeout");
    }

    #[test]
    fn looks_are_rare_unless_alerted() {
        let mut lookout = Lookout::default();
        let begin = Instant::now();
        let looks = (0..100_000).filter(|_| lookout.due()).count();
        assert!(looks as u128 <= begin.elapsed().as_millis() + 1);
        lookout.alert();
        assert!(lookout.due());
    }
}
