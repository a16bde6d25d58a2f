//! Why records were set aside: reasons with their counts and first places, from the committed letters.
//!
//! Responsible for reading no more than a bound, and for memory that does not depend on how many letters there are.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use migration::report::LetterReason;
use serde::Deserialize;

use super::letter::{CommittedLength, Opener, Written, path_of};
use super::read::{each_line, shards_in};
use crate::{reason, sampling};

/// How many kinds of reasons are told apart: brokers may say anything.
pub(super) const MOST_KINDS: usize = 200;
/// How many fields of a record are named.
const MOST_FIELDS: usize = 10;
/// What the reasons begin with for which a record's fields are named: they say that one is not there.
const OF_A_FIELD: [&str; 2] = ["no field ", "null in "];

/// Why records were set aside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasons {
    /// The most frequent first.
    pub reasons: Vec<LetterReason>,
    /// How many letters were not read, or are of one kind too many.
    pub unread: u64,
}

/// A letter without its record.
#[derive(Deserialize)]
struct LetterHead<'a> {
    #[serde(borrow)]
    reason: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    path: std::borrow::Cow<'a, str>,
    start: u64,
}

/// A kind of reason so far; `rank` is where its first letter's file stands in the source.
struct ReasonKind {
    found: LetterReason,
    rank: usize,
}

/// The reasons of the committed letters of some shards, and how many letters each has by the state. `rank` says where a
/// file stands in the source, so that the first place is the same whichever worker was faster. At most `budget` bytes
/// are read, of each shard about as many.
pub fn reasons(
    directory: &Path,
    committed: &[(CommittedLength, u64)],
    rank: &dyn Fn(&str) -> Option<usize>,
    budget: u64,
    opener: Opener,
) -> io::Result<Reasons> {
    let expected: Vec<_> = committed.iter().filter(|(_, letters)| *letters > 0).collect();
    if expected.is_empty() {
        return Ok(Reasons::default());
    }
    let there = shards_in(directory)?;
    let mut all = Found::default();
    let (mut left, mut shards) = (budget, expected.len() as u64);
    for &&((shard, length), letters) in &expected {
        let share = left / shards;
        (left, shards) = (left - share.min(length), shards - 1);
        if !there.contains(&shard) {
            continue;
        }
        let mut read = 0;
        each_line(&path_of(directory, shard), length.min(share), opener, &mut |line| {
            read += 1;
            // The last line may be half read, where the share ends.
            match serde_json::from_slice::<LetterHead<'_>>(line) {
                Ok(head) => all.add(&head, line, rank),
                Err(_) if length > share => read -= 1,
                // It is none of ours, or damaged: the others speak all the same.
                Err(_) => all.unread += 1,
            }
            Ok(())
        })?;
        if length > share {
            all.unread += letters.saturating_sub(read);
        }
    }
    Ok(all.sorted())
}

/// What was found so far.
#[derive(Default)]
struct Found {
    kinds: HashMap<String, ReasonKind>,
    unread: u64,
}

impl Found {
    fn add(&mut self, head: &LetterHead<'_>, line: &[u8], rank: &dyn Fn(&str) -> Option<usize>) {
        let kind = reason::kind(&head.reason);
        let rank = |path: &str| rank(path).unwrap_or(usize::MAX);
        let Some(known) = self.kinds.get_mut(&*kind) else {
            if self.kinds.len() >= MOST_KINDS {
                self.unread += 1;
                return;
            }
            let found = first(head, line, 1);
            self.kinds.insert(kind.into_owned(), ReasonKind { found, rank: rank(&head.path) });
            return;
        };
        known.found.letters += 1;
        let same_file = known.found.path == *head.path;
        // Letters of a file come in its order, those of another shard may be of a file before.
        if same_file && head.start >= known.found.start {
            return;
        }
        let its = if same_file { known.rank } else { rank(&head.path) };
        if (its, &*head.path, head.start) < (known.rank, &*known.found.path, known.found.start) {
            *known = ReasonKind { found: first(head, line, known.found.letters), rank: its };
        }
    }

    fn sorted(self) -> Reasons {
        let mut kinds: Vec<ReasonKind> = self.kinds.into_values().collect();
        kinds.sort_by(|a, b| {
            let place = |kind: &ReasonKind| (kind.rank, kind.found.start);
            b.found
                .letters
                .cmp(&a.found.letters)
                .then_with(|| place(a).cmp(&place(b)))
                .then_with(|| a.found.reason.cmp(&b.found.reason))
        });
        Reasons { reasons: kinds.into_iter().map(|kind| kind.found).collect(), unread: self.unread }
    }
}

/// What is told of the first letter of a kind.
fn first(head: &LetterHead<'_>, line: &[u8], letters: u64) -> LetterReason {
    let of_a_field = OF_A_FIELD.iter().any(|begin| head.reason.starts_with(begin));
    let whole = of_a_field.then(|| serde_json::from_slice::<Written<'_>>(line).ok()).flatten();
    let fields = whole.and_then(|whole| whole.record).map(|record| sampling::fields_of(record.as_bytes(), MOST_FIELDS));
    LetterReason {
        reason: head.reason.clone().into_owned(),
        letters,
        path: head.path.clone().into_owned(),
        start: head.start,
        fields: fields.unwrap_or_default(),
    }
}
