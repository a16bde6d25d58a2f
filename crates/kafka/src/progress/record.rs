//! The bytes of a shard's record: JSON, so that people can read the topic with any tool.
//!
//! Responsible for: the form, and refusing one that this version does not know. Not responsible for: what a shard's
//! progress means.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use migration::{Counts, Incarnation, LedgerEntry, Position, Receipt, ShardProgress, Token};
use serde::{Deserialize, Serialize};

/// The form's version.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct WrittenProgress {
    version: u32,
    generation: u32,
    plan: String,
    attempt: u32,
    position: Position,
    counts: Counts,
    token: Option<String>,
    letters: u64,
    receipt: WrittenReceipt,
}

#[derive(Serialize, Deserialize)]
struct WrittenReceipt {
    records: u64,
    sum: String,
}

/// Of a form that is not known only the version can be told.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// The value of a shard's record.
pub(crate) fn encode(progress: &ShardProgress) -> Vec<u8> {
    let LedgerEntry { position, counts, token, letters, receipt } = &progress.entry;
    let written = WrittenProgress {
        version: VERSION,
        generation: progress.of.generation,
        plan: format!("{:032x}", progress.of.plan_id),
        attempt: progress.attempt,
        position: *position,
        counts: *counts,
        token: token.as_ref().map(|token| STANDARD.encode(token.bytes())),
        letters: *letters,
        receipt: WrittenReceipt { records: receipt.records, sum: format!("{:032x}", receipt.sum) },
    };
    serde_json::to_vec(&written).expect("plain values can always be written as JSON")
}

/// The value by which an attempt of an older start finds that it is over: progress that no attempt made, their numbers
/// begin at 1.
pub(crate) fn mark(of: Incarnation) -> Vec<u8> {
    encode(&ShardProgress { of, attempt: 0, entry: LedgerEntry::default() })
}

/// Whether progress is such a mark.
pub(crate) fn is_mark(progress: &ShardProgress) -> bool {
    progress.attempt == 0
}

/// What a shard's record says, or why it can't be understood.
pub(crate) fn decode(value: &[u8]) -> Result<ShardProgress, String> {
    let json = |error: serde_json::Error| format!("it is no progress of a shard: {error}");
    let Versioned { version } = serde_json::from_slice(value).map_err(json)?;
    if version != VERSION {
        return Err(format!("it has version {version}, and this shardlift knows {VERSION}: another version wrote it"));
    }
    let written: WrittenProgress = serde_json::from_slice(value).map_err(json)?;
    let number = |what: &str, hex: &str| {
        u128::from_str_radix(hex, 16).map_err(|error| format!("it is no progress of a shard: {what} {hex:?}: {error}"))
    };
    let token = |text: String| {
        let bytes = STANDARD.decode(&text).map_err(|error| format!("it is no progress of a shard: token: {error}"))?;
        Token::try_from(bytes).map_err(|error| format!("it is no progress of a shard: {error}"))
    };
    let of = Incarnation { plan_id: number("plan", &written.plan)?, generation: written.generation };
    if !of.is_possible() {
        return Err(format!("it is no progress of a shard: it is of start {}", of.generation));
    }
    let entry = LedgerEntry {
        position: written.position,
        counts: written.counts,
        token: written.token.map(token).transpose()?,
        letters: written.letters,
        receipt: Receipt { records: written.receipt.records, sum: number("sum", &written.receipt.sum)? },
    };
    entry.check_figures().map_err(|why| format!("it is no progress of a shard: {why}"))?;
    Ok(ShardProgress { of, attempt: written.attempt, entry })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn progress() -> ShardProgress {
        ShardProgress {
            of: Incarnation { plan_id: 0xabc, generation: 2 },
            attempt: 3,
            entry: LedgerEntry {
                position: Position { segment: 1, place: 4_096, records: 70 },
                counts: Counts { read: 70, acknowledged: 69, dead_lettered: 1, bytes_sent: 1 << 40, ..Counts::default() },
                token: Some(Token::try_from(vec![0, 255]).expect("short")),
                letters: 12,
                receipt: Receipt { records: 69, sum: u128::MAX },
            },
        }
    }

    /// What another version of this program, or a person, finds in the topic.
    #[test]
    fn the_form_is_pinned() {
        let text = String::from_utf8(encode(&progress())).expect("JSON is text");
        assert_eq!(
            text,
            "{\"version\":1,\"generation\":2,\"plan\":\"00000000000000000000000000000abc\",\"attempt\":3,\
             \"position\":{\"segment\":1,\"place\":4096,\"records\":70},\"counts\":{\"read\":70,\"acknowledged\":69,\
             \"filtered\":0,\"dead_lettered\":1,\"others\":0,\"bytes_read\":0,\"bytes_others\":0,\
             \"bytes_sent\":1099511627776},\"token\":\"AP8=\",\"letters\":12,\
             \"receipt\":{\"records\":69,\"sum\":\"ffffffffffffffffffffffffffffffff\"}}"
        );
        assert_eq!(decode(text.as_bytes()), Ok(progress()));
        let none = ShardProgress { entry: LedgerEntry::default(), ..progress() };
        assert_eq!(decode(&encode(&none)), Ok(none));
    }

    #[test]
    fn what_is_not_understood_is_said() {
        let other = String::from_utf8(encode(&progress())).expect("JSON is text").replace("\"version\":1", "\"version\":2");
        let said = |bytes: &[u8]| decode(bytes).expect_err("it is not understood");
        assert_eq!(said(other.as_bytes()), "it has version 2, and this shardlift knows 1: another version wrote it");
        assert_eq!(
            said(b"{\"version\":7,\"new\":[]}"),
            "it has version 7, and this shardlift knows 1: another version wrote it"
        );
        for bytes in [&b""[..], b"{}", b"\xff", b"{\"version\":1}"] {
            assert!(said(bytes).starts_with("it is no progress of a shard: "), "{}", said(bytes));
        }
        let long = String::from_utf8(encode(&progress())).expect("JSON is text").replace("AP8=", &"AAAA".repeat(400));
        assert!(said(long.as_bytes()).contains("more than 1024"), "{}", said(long.as_bytes()));
    }

    /// Whatever is in the topic, it is refused or means what it says.
    fn is_refused_or_comes_out_again(bytes: &[u8]) -> Result<(), TestCaseError> {
        if let Ok(progress) = decode(bytes) {
            prop_assert_eq!(decode(&encode(&progress)), Ok(progress.clone()));
            prop_assert!(progress.entry.counts.balance() && progress.of.is_possible());
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_come_out_again(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            is_refused_or_comes_out_again(&bytes)?;
        }

        #[test]
        fn a_changed_record_is_refused_or_comes_out_again(
            changes in prop::collection::vec((any::<prop::sample::Index>(), "[-0-9a-f\"{}\\[\\],:.+en]{0,20}", 0..3usize), 1..4),
        ) {
            let mut text = String::from_utf8(encode(&progress())).expect("JSON is text");
            for (at, put, taken) in changes {
                let at = at.index(text.len());
                let end = text.len().min(at + taken);
                text.replace_range(at..end, &put);
            }
            is_refused_or_comes_out_again(text.as_bytes())?;
        }

        #[test]
        fn figures_at_their_ends_are_refused_or_come_out_again(
            figures in prop::collection::vec(prop::sample::select(vec![0, 1, 2, 1 << 47, 1 << 48, 1 << 63, u64::MAX]), 12),
        ) {
            let mut json: serde_json::Value = serde_json::from_slice(&encode(&progress())).expect("it is JSON");
            let mut figures = figures.into_iter();
            for of in ["position", "counts", "receipt"] {
                let numbers = json[of].as_object_mut().expect("an object").values_mut().filter(|value| value.is_u64());
                numbers.zip(&mut figures).for_each(|(number, figure)| *number = figure.into());
            }
            is_refused_or_comes_out_again(json.to_string().as_bytes())?;
        }
    }
}
