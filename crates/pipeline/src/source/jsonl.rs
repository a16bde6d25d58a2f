//! JSON lines in files: plain, gzip or zstd.
//!
//! Responsible for: which files the patterns mean ([`list`](self)), what proves that a file did not change, cutting the dataset
//! into shards without a pass over it, and reading a shard's lines from any position that a line of it ends at. Not responsible
//! for what a line means: nothing here parses JSON, but to warn of a last line that was cut off.
//!
//! A line ends with `\n`; one `\r` before it belongs to the end. The last line of a file may lack its end, and then keeps a
//! `\r`. A byte order mark is skipped at byte 0 of a file (of the decompressed stream), nowhere else. Files are read, never
//! mapped: a file that shrinks is an error, not a signal.

mod file_set;
mod list;
mod object;
mod open;
mod pattern;
mod replaced;
mod sample;
mod split;
mod stream;
#[cfg(test)]
mod tests;
mod unpack;

pub use file_set::{Changes, changes, unchanged};
pub use object::check_windows;
pub use open::open;
pub use replaced::{Beginning, Sent, replaced};
pub use split::{cuts, plan};

use std::path::Path;

use migration::printable::printable_path;

use crate::SourceError;
use crate::mapping::not_whole;

/// What to do about a file that is not as planned.
const NOT_AS_PLANNED: &str =
    "a plan is frozen when its job first runs: put the file back as it was, or start over with --restart";

/// What to tell of the last line of a file when it has no line end: an object or array that is not whole was probably cut off.
fn cut_off(path: &Path, line: &[u8]) -> Option<String> {
    let open = line.trim_ascii_start().first().is_some_and(|first| matches!(first, b'{' | b'['));
    let (what, at) = open.then(|| not_whole(line)).flatten()?;
    Some(format!(
        "{}: its last line has no line end and is not whole ({what} at byte {at} of the line): was the file cut off? \
         record.validate = \"whole\" sets such records aside",
        printable_path(path)
    ))
}

/// An error about one file.
fn fail(path: &Path, what: impl std::fmt::Display) -> SourceError {
    SourceError(format!("{}: {what}", printable_path(path)))
}

/// An error about a file that is not as planned.
fn changed(path: &Path, what: impl std::fmt::Display) -> SourceError {
    SourceError(format!("{}: {what}; {NOT_AS_PLANNED}", printable_path(path)))
}
