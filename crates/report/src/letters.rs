//! A job's dead letters in words: where they are, which are gone, and how many lines there are none.

use std::path::Path;

use migration::printable::{printable, printable_path};
use migration::report::{GoneLetters, JobReport, LetterReason, SeenLetters};
use migration::units::{show_count, show_things};
use serde_json::{Value, json};

use crate::dlq;
use crate::wrapped::indented;

/// How many shards are named.
const NAMED: usize = 10;
/// How many reasons are listed.
const SHOWN: usize = 10;
/// Where the text of a reason begins.
const INDENT: usize = 16;
/// How many reasons stand in a sentence.
const TOLD: usize = 3;

/// What is gone, in a sentence.
pub fn gone(gone: &[GoneLetters], folder: &Path) -> String {
    let of = |one: &GoneLetters| {
        let lacks = if one.bytes > 0 { format!(", {} at the end", show_things(one.bytes, "byte")) } else { String::new() };
        format!("{}.jsonl ({}{lacks})", one.shard, show_things(one.letters, "letter"))
    };
    let named: Vec<_> = gone.iter().take(NAMED).map(of).collect();
    let more = if gone.len() > NAMED { format!(" and {} more", gone.len() - NAMED) } else { String::new() };
    let letters: u64 = gone.iter().map(|one| one.letters).sum();
    let (were, are) = if letters == 1 { ("was", "is") } else { ("were", "are") };
    format!(
        "{} that {were} committed {are} gone from {}; of the shards' files {}{more}",
        show_things(letters, "dead letter"),
        printable_path(folder),
        named.join(", ")
    )
}

/// Where the records are that were set aside, which of them are gone, and how many more lines stand there that are
/// none.
pub fn text(report: &JobReport, seen: &SeenLetters) -> String {
    let folder = &seen.folder;
    let lost = if seen.gone.is_empty() { String::new() } else { format!("\n{}\n", gone(&seen.gone, folder)) };
    let again = dlq::retries(report.counts.dead_lettered, &seen.retries);
    let again = if again.is_empty() { again } else { format!("\n{again}") };
    place(report, seen) + &reasons(seen) + advice(report, seen) + &again + &lost + &note(seen.uncommitted, folder)
}

/// The reasons for machines.
pub fn object(seen: &SeenLetters) -> Value {
    let reason =
        |one: &LetterReason| json!({ "reason": one.reason, "count": one.letters, "path": one.path, "start": one.start });
    json!({
        "reasons": seen.reasons.iter().map(reason).collect::<Vec<_>>(),
        "unread": seen.unread,
        "retries": dlq::retries_object(&seen.retries),
    })
}

/// Why a run stopped at its limit of letters, in a sentence; `None`: it has not more than that, or nothing is known.
pub fn over_limit(report: &JobReport, seen: &SeenLetters, limit: u64) -> Option<String> {
    let letters = report.counts.dead_lettered;
    if letters <= limit || seen.reasons.is_empty() {
        return None;
    }
    let told: Vec<String> =
        seen.reasons.iter().take(TOLD).map(|one| format!("{} {}", show_count(one.letters), first(one))).collect();
    let more = seen.reasons.len().saturating_sub(TOLD);
    let more = if more > 0 { format!("; {}", show_things(more as u64, "more reason")) } else { String::new() };
    let were = if letters == 1 { "was" } else { "were" };
    Some(format!(
        "{} {were} set aside (limits.max_bad_records = {}): {}{more}{}",
        show_things(letters, "record"),
        show_count(limit),
        told.join("; "),
        not_read(seen).map(|text| format!("; {text}")).unwrap_or_default()
    ))
}

/// The reasons, the most frequent first.
fn reasons(seen: &SeenLetters) -> String {
    let mut out = String::new();
    for one in seen.reasons.iter().take(SHOWN) {
        out += &indented(&format!("  {:>12}  {}", show_count(one.letters), printable(&one.reason)), INDENT);
        out += &dlq::first_place(one, INDENT);
        if let Some(fields) = fields(one) {
            out += &indented(&format!("{:INDENT$}{fields}", ""), INDENT);
        }
    }
    if seen.reasons.len() > SHOWN {
        out += &format!(
            "  {:>12}  {}; -o json has them all\n",
            "",
            show_things((seen.reasons.len() - SHOWN) as u64, "more reason")
        );
    }
    if let Some(text) = not_read(seen) {
        out += &format!("  {:>12}  {text}\n", "");
    }
    out
}

/// A reason, and where its first record stands.
fn first(one: &LetterReason) -> String {
    let LetterReason { reason, letters, path, start, .. } = one;
    let first = if *letters == 1 { "at" } else { "first at" };
    let there = fields(one).map_or(String::new(), |fields| format!("; {fields}"));
    printable(&format!("{reason}, {first} {path} byte {}", show_count(*start))) + &there
}

/// Which fields the first record has.
fn fields(one: &LetterReason) -> Option<String> {
    (!one.fields.is_empty()).then(|| printable(&format!("fields there: {}", one.fields.join(", "))))
}

/// What may be done with them, if some of the job's records were sent and the topic is still there.
fn advice(report: &JobReport, seen: &SeenLetters) -> &'static str {
    let counts = &report.counts;
    if counts.dead_lettered == 0 || counts.acknowledged == 0 || !seen.retries.is_empty() || report.binding.is_of_embedded() {
        return "";
    }
    "\n`shardlift dlq list` tells more of them, `shardlift dlq retry` sends them again\n"
}

/// How many letters no reason stands for.
pub(crate) fn not_read(seen: &SeenLetters) -> Option<String> {
    let text = format!("{} not read for this: there are too many", show_things(seen.unread, "letter"));
    (seen.unread > 0).then(|| text.replace(" not read", if seen.unread == 1 { " was not read" } else { " were not read" }))
}

/// Where to look for the records that were set aside, if there are any.
fn place(report: &JobReport, seen: &SeenLetters) -> String {
    if report.counts.dead_lettered == 0 {
        return String::new();
    }
    let place = match &seen.topic {
        None => printable_path(&seen.folder).to_string(),
        Some(topic) => format!("topic {topic}"),
    };
    format!("\nrecords that were set aside, each with its reason: {place}\n")
}

fn note(uncommitted: u64, folder: &Path) -> String {
    if uncommitted == 0 {
        return String::new();
    }
    let letters = show_things(uncommitted, "letter");
    let (are, they) = if uncommitted == 1 { ("is", "it does") } else { ("are", "they do") };
    format!(
        "\n{letters} in {} {are} not committed: of a chunk that is open, or whose worker died; {they} not count, and \
         the shard's next attempt cuts that off\n",
        printable_path(folder)
    )
}

#[cfg(test)]
mod tests {
    use migration::ShardId;

    use super::*;

    #[test]
    fn what_is_not_committed_is_told_as_such() {
        let folder = Path::new("/jobs/j/dead-letters");
        assert_eq!(note(0, folder), "");
        assert!(note(1, folder).contains("1 letter in /jobs/j/dead-letters is not committed"), "{}", note(1, folder));
        assert!(note(383, folder).contains("383 letters in /jobs/j/dead-letters are not committed"));
        assert!(note(1, Path::new("/jobs/\u{1b}[2J")).contains(r"in /jobs/\u{1b}[2J is not"), "it can't act on a terminal");
    }

    fn reason(reason: &str, letters: u64, fields: &[&str]) -> LetterReason {
        let fields = fields.iter().map(|&field| field.to_owned()).collect();
        LetterReason { reason: reason.into(), letters, path: "/data/orders-00.jsonl".into(), start: 1234, fields }
    }

    #[test]
    fn reasons_are_told_with_count_first_place_and_fields() {
        let mut report = crate::job::example::report();
        report.counts.dead_lettered = 330_187;
        let reasons =
            vec![reason("no field .customer.idd", 330_184, &[".order", ".customer.id"]), reason("too \u{1b}[2J long", 1, &[])];
        let mut seen = SeenLetters { reasons, unread: 2, ..SeenLetters::default() };
        assert_eq!(
            over_limit(&report, &seen, 100).unwrap(),
            "330,187 records were set aside (limits.max_bad_records = 100): 330,184 no field .customer.idd, first at \
             /data/orders-00.jsonl byte 1,234; fields there: .order, .customer.id; 1 too \\u{1b}[2J long, at \
             /data/orders-00.jsonl byte 1,234; 2 letters were not read for this: there are too many"
        );
        assert_eq!(over_limit(&report, &seen, 330_187), None);
        assert_eq!(over_limit(&report, &SeenLetters::default(), 0), None, "nothing is known");
        let shown = text(&report, &seen);
        assert!(
            shown.contains(
                "\n       330,184  no field .customer.idd\n                first at /data/orders-00.jsonl byte 1,234\n\
                 \u{20}               fields there: .order, .customer.id\n"
            ),
            "{shown}"
        );
        assert_eq!(
            object(&seen),
            json!({ "unread": 2, "retries": [], "reasons": [
                { "reason": "no field .customer.idd", "count": 330_184, "path": "/data/orders-00.jsonl", "start": 1234 },
                { "reason": "too \u{1b}[2J long", "count": 1, "path": "/data/orders-00.jsonl", "start": 1234 },
            ] })
        );
        seen.reasons = (0..12).map(|n| reason(&format!("x{n}"), 5, &[])).collect();
        assert!(text(&report, &seen).contains("2 more reasons; -o json has them all\n"));
        assert!(over_limit(&report, &seen, 0).unwrap().contains("; 9 more reasons; 2 letters"));
    }

    #[test]
    fn what_is_gone_is_told_with_names_and_numbers() {
        let folder = Path::new("/jobs/j/dead-letters");
        let one = |shard, letters, bytes| GoneLetters { shard: ShardId(shard), letters, bytes };
        assert_eq!(
            gone(&[one(7, 1, 0)], folder),
            "1 dead letter that was committed is gone from /jobs/j/dead-letters; of the shards' files 00007.jsonl (1 letter)"
        );
        let many: Vec<_> = (0..12).map(|shard| one(shard, 100, 2_500)).collect();
        let text = gone(&many, folder);
        assert!(text.starts_with("1,200 dead letters that were committed are gone from /jobs/j/dead-letters"), "{text}");
        assert!(text.contains("00009.jsonl (100 letters, 2,500 bytes at the end) and 2 more"), "{text}");
    }
}
