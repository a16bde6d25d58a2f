//! What a file is by its first bytes, whatever its name says.
//!
//! Responsible for: telling lines of JSON, other text, and what is no text at all apart, by the first 64 KiB (of a
//! compressed file, of what it unpacks to), and what a user is told of each ([`rules`]). Not responsible for: single
//! lines that are broken; a file of which most of the first lines are JSON is lines of JSON.

mod json;
mod known;
mod magic;
mod rules;
#[cfg(test)]
mod tests;
mod text;

use migration::Compression;

pub(super) use known::Known;
pub(crate) use rules::{Expects, is_refusal, judge};

/// A byte order mark of UTF-8.
pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";

/// What the first bytes of a file say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    known: &'static Known,
    /// What stands in it that may surprise, of lines of JSON.
    odd: Option<String>,
}

/// The first bytes of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    /// Up to 64 KiB of what it unpacks to.
    pub(super) bytes: &'a [u8],
    /// Whether these are all of it.
    pub(super) whole: bool,
    /// How the file is packed.
    pub(super) compression: Compression,
}

impl Kind {
    /// Judges the first bytes.
    pub(super) fn of(head: Head<'_>) -> Kind {
        let plain = |known| Kind { known, odd: None };
        let text = head.bytes.strip_prefix(BOM).unwrap_or(head.bytes);
        if head.bytes.is_empty() || text.trim_ascii().is_empty() {
            return plain(&known::BLANK);
        }
        if let Some(known) = magic::strong(head) {
            return plain(known);
        }
        let json = json::of(text, head.whole);
        if let Some(known) = json.filter(|known| known.is_lines()) {
            return Kind { known, odd: text::odd(text, head.bytes.len() - text.len()) };
        }
        if let Some(known) = magic::weak(head.bytes) {
            return plain(known);
        }
        plain(json.unwrap_or_else(|| text::of(text, head.whole)))
    }

    /// Of a file whose head can't be unpacked: nothing is known of it.
    pub(super) fn unknown() -> Kind {
        Kind { known: &known::BLANK, odd: None }
    }

    /// Whether nothing but blanks was seen.
    pub(super) fn is_blank(&self) -> bool {
        self.known.class == known::Class::Blank
    }

    /// What stands in it that may surprise.
    pub(super) fn odd(&self) -> Option<&str> {
        self.odd.as_deref()
    }
}
