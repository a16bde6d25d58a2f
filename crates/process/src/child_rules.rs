//! The rules of a new child, in the order that they demand: which descriptors stay open, its parent-death signal, the
//! signals that it ignores, its name and its limits. The calls that need `unsafe` are in `fork.rs`.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Pid, dup2_stdin, dup2_stdout, getppid};

use crate::child::{ChildEnds, ChildSettings};
use crate::fork;

/// The longest process name that the kernel keeps, in bytes.
const NAME_BYTES: usize = 15;

/// Which rule could not be applied, and the system's answer.
pub(crate) struct SetupError {
    step: &'static str,
    errno: Errno,
}

impl SetupError {
    fn at(step: &'static str) -> impl Fn(Errno) -> SetupError {
        move |errno| SetupError { step, errno }
    }

    /// One line for stderr.
    pub(crate) fn line(&self, settings: &ChildSettings) -> String {
        format!("{}: a new child process could not {}: {}\n", settings.name, self.step, self.errno.desc())
    }
}

/// What a new child should do after its rules were applied.
pub(crate) enum ChildAction {
    /// Run the body.
    Ready,
    /// The parent died before its death could be noticed: exit at once.
    Orphaned,
}

/// Applies the rules of a child, in order. Called in the child with all signals still blocked, so that nothing can end
/// it between the fork and the moment its signals are ignored.
pub(crate) fn apply_rules(
    settings: &ChildSettings,
    parent: Pid,
    ends: &ChildEnds,
    dev_null: &File,
) -> Result<ChildAction, SetupError> {
    close_foreign_descriptors(settings, ends, dev_null)?;

    // Only after arming can the death of the parent be noticed by the kernel; before it, the changed parent tells.
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(SetupError::at("arm its parent-death signal"))?;
    if getppid() != parent {
        return Ok(ChildAction::Orphaned);
    }

    fork::ignore_group_signals().map_err(SetupError::at("ignore signals"))?;
    SigSet::empty().thread_set_mask().map_err(SetupError::at("unblock signals"))?;

    prctl::set_name(&process_name(&settings.name)).map_err(SetupError::at("set its name"))?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(SetupError::at("forbid core files (RLIMIT_CORE)"))?;
    if let Some(bytes) = settings.data_limit {
        limit_data(bytes).map_err(SetupError::at("limit its memory (RLIMIT_DATA)"))?;
    }
    fork::set_default_thread_stack(settings.thread_stack).map_err(SetupError::at("set the default thread stack"))?;
    Ok(ChildAction::Ready)
}

/// Keeps the pipe ends, stderr and what the settings say; stdin and stdout become /dev/null; everything else is closed,
/// or a sibling's inherited pipe end would hide the parent's death from that sibling.
fn close_foreign_descriptors(settings: &ChildSettings, ends: &ChildEnds, dev_null: &File) -> Result<(), SetupError> {
    dup2_stdin(dev_null).map_err(SetupError::at("put /dev/null on stdin"))?;
    dup2_stdout(dev_null).map_err(SetupError::at("put /dev/null on stdout"))?;
    let mut kept = vec![0, 1, 2, ends.events.as_raw_fd(), ends.control.as_raw_fd()];
    kept.extend(settings.keep.iter().filter(|fd| **fd >= 0));
    kept.sort_unstable();
    kept.dedup();
    let mut first: u32 = 0;
    for fd in kept.iter().map(|fd| fd.unsigned_abs()) {
        if first < fd {
            fork::close_descriptors(first, fd - 1).map_err(SetupError::at("close inherited descriptors"))?;
        }
        first = fd + 1;
    }
    fork::close_descriptors(first, u32::MAX).map_err(SetupError::at("close inherited descriptors"))
}

/// A limit above the inherited hard one can't be set without privileges, and the lower one is the stricter anyway.
fn limit_data(bytes: u64) -> Result<(), Errno> {
    let (_, hard) = getrlimit(Resource::RLIMIT_DATA)?;
    let bytes = bytes.min(hard);
    setrlimit(Resource::RLIMIT_DATA, bytes, bytes)
}

/// Gives this process another name, for `ps`. Only from its main thread.
pub fn rename(name: &str) -> std::io::Result<()> {
    Ok(prctl::set_name(&process_name(name))?)
}

/// The first 15 bytes of the name that end at a character's end, without NUL bytes.
fn process_name(name: &str) -> CString {
    let clean: String = name.chars().filter(|c| *c != '\0').collect();
    let mut end = clean.len().min(NAME_BYTES);
    while !clean.is_char_boundary(end) {
        end -= 1;
    }
    CString::new(&clean[..end]).expect("NUL bytes were filtered out")
}

#[cfg(test)]
mod tests {
    use super::process_name;

    #[test]
    fn names_are_cut_at_a_character_within_15_bytes() {
        assert_eq!(process_name("shard 12").to_str(), Ok("shard 12"));
        assert_eq!(process_name("a-name-that-is-too-long").to_str(), Ok("a-name-that-is-"));
        assert_eq!(process_name("12345678901234é").to_str(), Ok("12345678901234"));
        assert_eq!(process_name("a\0b").to_str(), Ok("ab"));
        assert_eq!(process_name("").to_str(), Ok(""));
    }
}
