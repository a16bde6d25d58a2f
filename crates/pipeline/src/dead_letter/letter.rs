//! One dead letter, as it is in memory and in its file; how a file of letters is named and opened.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use migration::ShardId;
use migration::printable::printable_path;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::base64::Base64;

/// Written to the file when this many bytes are waiting.
pub(super) const BUFFER_BYTES: usize = 64 << 10;

/// How a file of letters is opened; every one is opened with it. It refuses what leads elsewhere: a link in the place
/// of the file or of its folder.
pub type Opener = fn(&Path, &mut OpenOptions) -> io::Result<File>;

/// One record that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Why.
    pub reason: String,
    /// The source object it stands in.
    pub path: String,
    /// The place of its first byte there.
    pub start: u64,
    /// Its length in the source without the line end. More than `record` holds when it exceeded `max_line`.
    pub bytes: u64,
    /// The record, or its first 64 KiB.
    pub record: Vec<u8>,
    /// Whether the record goes on in the source.
    pub cut: bool,
}

/// Why the record of a letter can't be sent as the letter has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unsendable {
    /// The letter holds the record's beginning and no more.
    Cut,
    /// A row of CSV that could not be read, and so became no JSON object.
    Row,
    /// It has a line end in it, which a line can't hold.
    LineEnd,
}

impl DeadLetter {
    /// What of it can be a line of JSON lines. `made`: records of its job were made of rows.
    pub fn line(&self, made: bool) -> Result<&[u8], Unsendable> {
        if self.cut {
            return Err(Unsendable::Cut);
        }
        // A carriage return at its end would be taken for a part of the line's end.
        if self.record.contains(&b'\n') || self.record.ends_with(b"\r") {
            return Err(Unsendable::LineEnd);
        }
        if made && !is_object(&self.record) {
            return Err(Unsendable::Row);
        }
        Ok(&self.record)
    }
}

fn is_object(record: &[u8]) -> bool {
    record.starts_with(b"{") && serde_json::from_slice::<serde::de::IgnoredAny>(record).is_ok()
}

/// The line in the file: `record` where the bytes are text, else `record_base64`.
#[derive(Serialize, Deserialize)]
pub(super) struct Written<'a> {
    #[serde(borrow)]
    pub(super) reason: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) path: Cow<'a, str>,
    pub(super) start: u64,
    pub(super) bytes: u64,
    /// Files of before have none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) cut: bool,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) record: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) record_base64: Option<Base64>,
}

/// Where records stand that were set aside: for each source object the places of their first bytes, and what was kept
/// of each.
pub type Places = HashMap<String, HashMap<u64, Held>>;

/// What a letter holds of its record, as a hash: its length in the source, and the bytes that were kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held(u64);

impl Held {
    /// Of a record of `bytes` bytes, of which `record` was kept.
    pub fn of(bytes: u64, record: &[u8]) -> Held {
        Held(xxh3_64_with_seed(record, bytes))
    }
}

/// Where a letter's line stands in the file of its shard's letters: it stays there as long as the file is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LetterPlace {
    /// Whose file.
    pub shard: ShardId,
    /// Its first byte.
    pub start: u64,
    /// Its length without the line end.
    pub bytes: u64,
}

/// A shard and how long its file of dead letters is committed to be, bytes.
pub type CommittedLength = (ShardId, u64);

pub(super) fn path_of(directory: &Path, shard: ShardId) -> PathBuf {
    directory.join(format!("{shard}.jsonl"))
}

/// Opens a file, if there is one. Errors name it.
pub(super) fn open_there(path: &Path, options: &mut OpenOptions, opener: Opener) -> io::Result<Option<File>> {
    match opener(path, options) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(named(path, error)),
    }
}

pub(super) fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", printable_path(path)))
}
