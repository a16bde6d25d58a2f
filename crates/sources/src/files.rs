//! What all sources of files have in common.
//!
//! Responsible for: which files the patterns mean, what proves that a file did not change, unpacking, and files that took the place of
//! planned ones. Not responsible for: where a record begins and ends.

mod changes;
mod list;
mod object;
mod pattern;
mod replaced;
mod sample;
mod stream;
mod unpack;

use std::path::Path;

use migration::printable::printable_path;
use pipeline::SourceError;
use pipeline::source::NOT_AS_PLANNED;

pub(crate) use changes::changes;
pub(crate) use list::{Link, Listed, files};
pub(crate) use object::{Seen, check, check_windows, look, read_at, unreadable};
pub(crate) use replaced::{FileBeginning, replaced};
pub(crate) use stream::Stream;

/// An error about one file.
pub(crate) fn fail(path: &Path, what: impl std::fmt::Display) -> SourceError {
    SourceError(format!("{}: {what}", printable_path(path)))
}

/// An error about a file that is not as planned.
pub(crate) fn changed(path: &Path, what: impl std::fmt::Display) -> SourceError {
    SourceError(format!("{}: {what}; {NOT_AS_PLANNED}", printable_path(path)))
}
