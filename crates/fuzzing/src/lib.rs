//! Whatever reads bytes that may be anything, as fuzz targets: functions of any bytes that panic where a promise is
//! broken. The shipped program does not have this crate.
//!
//! Responsible for: what each target does, and random changes of a corpus. Not responsible for: what runs them. That is
//! libFuzzer (`fuzz/`, at night), and `tests/bounded.rs` on each change.

mod checkpoint;
mod config;
mod control;
mod files;
mod frames;
mod letters;
pub mod mutation;
mod protocol;

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Longer inputs find no more, and take longer.
pub const LONGEST: usize = 4096;

/// What reads bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name; its corpus is the folder of this name in `fuzz/corpus`.
    pub name: &'static str,
    /// Reads some bytes. Panics where a promise is broken.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "checkpoint", run: checkpoint::checkpoint },
    Target { name: "config", run: config::config },
    Target { name: "control", run: control::control },
    Target { name: "csv", run: files::csv },
    Target { name: "frames", run: frames::frames },
    Target { name: "jsonl", run: files::jsonl },
    Target { name: "letters", run: letters::letters },
    Target { name: "protocol", run: protocol::protocol },
];

/// Runs the target of a name.
///
/// # Panics
///
/// Where a promise is broken, and if there is no target of this name.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.unwrap_or_else(|| panic!("no target {name}")).run)(data);
}

/// A folder that goes when it is dropped, in memory if that can be: the disk's pace would be the limit.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::tempdir_in(parent).expect("a folder can be made")
}

/// Two ends of a stream. What is written must fit into it: 64 KiB at least.
fn pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().expect("a pair of sockets can be made")
}

/// Everything that comes until the other end is closed.
fn all_of(mut end: UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    end.read_to_end(&mut bytes).expect("a socket can be read");
    bytes
}

/// The first byte, 0 if there is none, and what comes after it.
fn first(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(byte, rest)| (*byte, rest))
}
