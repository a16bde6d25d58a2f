//! What a comparison of a topic with a job's receipts found.

use crate::units::{show_count, show_things};
use crate::{Exit, Receipt};

/// What the job's commits kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Of all shards, and of what sent dead letters again.
    pub receipt: Receipt,
    /// Whether every shard is at its end.
    pub done: bool,
}

/// Both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ComparedReceipts {
    /// What was delivered.
    pub kept: Kept,
    /// What the topic holds that may be the job's.
    pub found: Receipt,
    /// Records without the job's headers.
    pub others: u64,
    /// Offsets of the job's range that can't be read any more.
    pub gone: u64,
    /// Whether the topic is compacted.
    pub compacted: bool,
    /// How many copies the known deaths explain.
    pub explained: u64,
    /// How long it took, milliseconds.
    pub elapsed_ms: u64,
}

impl ComparedReceipts {
    /// Whether count and sum are the same.
    pub fn is_same(&self) -> bool {
        self.kept.receipt == self.found
    }

    /// 0 if both are the same and all was sent, else 6.
    pub fn exit(&self) -> Exit {
        if self.is_same() && self.kept.done { Exit::Done } else { Exit::Difference }
    }

    /// The verdict in a sentence.
    pub fn verdict(&self) -> String {
        if !self.kept.done {
            return "not every shard is done: what is there is not all".to_owned();
        }
        if self.is_same() {
            return "the topic holds exactly what was delivered, by count and sum".to_owned();
        }
        let (kept, found) = (self.kept.receipt.records, self.found.records);
        let what = match found.checked_sub(kept) {
            Some(0) => "the topic holds as many records as were delivered, and not the same ones".to_owned(),
            Some(more) => {
                let explained = match (more <= self.explained, self.explained) {
                    (_, 0) => "no death explains them".to_owned(),
                    (true, most) => format!("the known deaths explain up to {} copies", show_count(most)),
                    (false, most) => format!("the known deaths explain {} copies at most", show_count(most)),
                };
                format!("the topic holds {} more than were delivered ({explained})", show_things(more, "record"))
            }
            None => format!("the topic holds {} less than were delivered", show_things(kept - found, "record")),
        };
        format!("{what}; {}", self.limits())
    }

    /// Why a difference says no more.
    fn limits(&self) -> &'static str {
        match (self.compacted, self.gone) {
            (true, _) => "it is compacted, so receipts can't tell",
            (false, 1..) => "records of it are gone, so receipts can't tell",
            (false, 0) => "a sum can't tell which: `shardlift verify` compares record by record with the source",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(found: (u64, u128)) -> ComparedReceipts {
        let receipt = Receipt { records: 10, sum: 7 };
        let found = Receipt { records: found.0, sum: found.1 };
        ComparedReceipts { kept: Kept { receipt, done: true }, found, explained: 3, ..ComparedReceipts::default() }
    }

    #[test]
    fn only_the_same_count_and_sum_are_no_difference() {
        let says = |found, what: &str| {
            let compared = compared(found);
            assert!(compared.verdict().contains(what), "{}", compared.verdict());
            compared.exit()
        };
        assert_eq!(says((10, 7), "exactly what was delivered"), Exit::Done);
        assert_eq!(says((10, 8), "as many records as were delivered, and not the same"), Exit::Difference);
        assert_eq!(
            says((12, 9), "2 records more than were delivered (the known deaths explain up to 3 copies)"),
            Exit::Difference
        );
        assert_eq!(says((14, 9), "(the known deaths explain 3 copies at most)"), Exit::Difference);
        assert_eq!(says((9, 1), "1 record less than were delivered"), Exit::Difference);
        let unfinished = ComparedReceipts { kept: Kept { done: false, ..compared((10, 7)).kept }, ..compared((10, 7)) };
        assert_eq!((unfinished.exit(), unfinished.verdict().contains("not every shard")), (Exit::Difference, true));
        let compacted = ComparedReceipts { compacted: true, ..compared((9, 1)) };
        assert!(compacted.verdict().ends_with("it is compacted, so receipts can't tell"));
    }
}
