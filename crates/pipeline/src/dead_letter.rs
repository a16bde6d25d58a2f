//! Dead letters: records set aside with their reason, one JSON line each in `DIRECTORY/SHARD.jsonl`, or a record each
//! in a topic.
//!
//! Responsible for: writing them so that a commit can rely on them, and telling those that are committed from those
//! that a killed worker left behind: a commit keeps the file's length, the next attempt cuts the file back to it, and
//! who reads before that looks no further; what holds for a topic is said in `topic.rs`. Not responsible for: deciding
//! which record is bad.
//!
//! Each letter stays at the place where it was committed. Where letters were taken away (the file was moved or cut
//! off), there is a hole from then on: NUL bytes, which no letter has and which take no room on disk. So what is behind
//! the committed length is never read as committed, and the letters that are gone are missing in the count of those
//! that are there.
//!
//! A file that was removed or replaced while it is open would take letters that are never found: a commit fails then.
//! What goes after that is found by [`gone`].

pub(crate) mod base64;
mod file;
mod letter;
mod letters;
mod read;
mod reasons;
mod set;
mod spool;
#[cfg(test)]
mod tests;
mod topic;

pub use file::DeadLetterFile;
pub use letter::{CommittedLength, DeadLetter, Held, LetterPlace, Opener, Places, Unsendable};
pub use letters::Letters;
pub use read::{LetterReader, each, gone, places, read_all, uncommitted};
pub use reasons::{Reasons, reasons};
pub use set::LetterSet;
pub use spool::{LetterSpool, SpooledLetters};
pub use topic::{LettersOrigin, OutgoingLetter, TopicLetter, TopicLetters, header};
