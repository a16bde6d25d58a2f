//! Making a child: its pipes, the fork, its rules, its body.
//!
//! Responsible for: what goes before the fork and after it, on both sides. Not responsible for: the fork itself
//! (`fork.rs`), the rules of a child (`child_rules.rs`).

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::unistd::{Pid, getpid};

use crate::child::{Child, ChildEnds, ChildSettings, EXIT_PANICKED, EXIT_SETUP_FAILED};
use crate::child_rules::{ChildAction, apply_rules};
use crate::fork::{self, ForkError, Forked};
use crate::pipe::{Pipe, set_nonblocking};

/// Forks a child that applies the rules of a child, runs `body` and exits with the code that `body` returns (101 when
/// it panics). The child never returns from this call, and no inherited destructor or exit handler runs in it, with one
/// exception: what `body` captured by value is dropped in the child too. Capture plain values only, never a database
/// connection, a lock file or a client.
///
/// Refused unless this process has exactly one thread and is not a child itself. Stdout and stderr are flushed before.
pub fn fork_child(settings: &ChildSettings, body: impl FnOnce(ChildEnds) -> u8) -> Result<Child, ForkError> {
    let may_fork = fork::may_fork()?;
    let events = Pipe::new().map_err(ForkError::Pipe)?;
    let control = Pipe::new().map_err(ForkError::Pipe)?;
    for end in [&events.read, &control.write, &control.read] {
        set_nonblocking(end).map_err(ForkError::Pipe)?;
    }
    let dev_null = File::options().read(true).write(true).open("/dev/null").map_err(ForkError::DevNull)?;
    // An empty range far above every descriptor: only asks whether the call exists, while an error can still be
    // returned.
    fork::close_descriptors(u32::MAX, u32::MAX).map_err(ForkError::CloseRange)?;
    let parent = getpid();
    match fork::fork_once(may_fork)? {
        Forked::Child => {
            drop((events.read, control.write));
            let ends = ChildEnds { events: events.write, control: control.read };
            let code = run_child(settings, parent, ends, &dev_null, body);
            fork::exit_now(code)
        }
        Forked::Parent(pid) => Ok(Child { pid, events: events.read, control: control.write }),
    }
}

fn run_child(
    settings: &ChildSettings,
    parent: Pid,
    ends: ChildEnds,
    dev_null: &File,
    body: impl FnOnce(ChildEnds) -> u8,
) -> u8 {
    match apply_rules(settings, parent, &ends, dev_null) {
        Ok(ChildAction::Ready) => {}
        Ok(ChildAction::Orphaned) => fork::exit_now(EXIT_SETUP_FAILED),
        Err(error) => {
            // Unbuffered, and if stderr is gone too then the exit code still says it.
            let _ = nix::unistd::write(io::stderr(), error.line(settings).as_bytes());
            fork::exit_now(EXIT_SETUP_FAILED)
        }
    }
    match catch_unwind(AssertUnwindSafe(|| body(ends))) {
        Ok(code) => code,
        Err(payload) => {
            // Dropping the payload could panic again, outside of any catch.
            std::mem::forget(payload);
            EXIT_PANICKED
        }
    }
}
