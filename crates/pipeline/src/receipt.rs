//! Receipts: count and sum of hashes of what a shard delivered.
//!
//! Responsible for: the hash of a record, which is the same where it was sent and where it is read, and the receipt of
//! what a topic holds. Not responsible for: keeping receipts (each commit has one), or what a difference means.

use migration::Receipt;
use migration::job::RecordRules;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use crate::verify::{TopicReader, VerifyError, VerifyProgress, owns};

/// The seed of a key's hash, so that a record with an empty key is another one than one without.
const KEYED: u64 = 1;

/// Adds a record that was delivered, or that was found in the topic.
#[inline]
pub fn add(receipt: &mut Receipt, key: Option<&[u8]>, value: &[u8]) {
    let seed = key.map_or(0, |key| xxh3_64_with_seed(key, KEYED));
    receipt.records += 1;
    // A sum, unlike an exclusive or, sees pairs of copies.
    receipt.sum = receipt.sum.wrapping_add(xxh3_128_with_seed(value, seed));
}

/// What a topic holds of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FoundReceipt {
    /// Of the records that may be the job's.
    pub receipt: Receipt,
    /// How many there are without the job's headers.
    pub others: u64,
}

/// Reads all of a topic's range.
pub fn of_topic(
    rules: &RecordRules,
    topic: &mut dyn TopicReader,
    progress: &mut dyn FnMut(VerifyProgress),
) -> Result<FoundReceipt, VerifyError> {
    let (mut found, is_own) = (FoundReceipt::default(), owns(rules));
    topic.restart()?;
    let of = topic.left();
    while topic.next(&mut |record| {
        if is_own(&record) { add(&mut found.receipt, record.key, record.value) } else { found.others += 1 }
    })? {
        let (records, done) = (found.receipt.records + found.others, of.saturating_sub(topic.left()));
        progress(VerifyProgress { topic: true, records, done, of, ..VerifyProgress::default() });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(records: &[(Option<&str>, &str)]) -> Receipt {
        let mut receipt = Receipt::default();
        records.iter().for_each(|(key, value)| add(&mut receipt, key.map(str::as_bytes), value.as_bytes()));
        receipt
    }

    #[test]
    fn a_receipt_is_of_a_multiset_of_keys_and_values() {
        let two = of(&[(Some("a"), "1"), (None, "2")]);
        assert_eq!(two, of(&[(None, "2"), (Some("a"), "1")]), "in any order");
        let mut parts = of(&[(Some("a"), "1")]);
        parts.add(&of(&[(None, "2")]));
        assert_eq!(parts, two, "parts add up");
        for other in [
            [(Some("b"), "1"), (None, "2")],
            [(Some("a"), "1"), (Some(""), "2")],
            [(Some("a"), "1"), (None, "1")],
            [(Some("a"), "1"), (Some("a"), "1")],
        ] {
            assert_ne!(of(&other), two, "{other:?}");
        }
        assert_ne!(of(&[(None, "1"), (None, "1")]).sum, of(&[(None, "2"), (None, "2")]).sum, "pairs are seen");
    }
}
