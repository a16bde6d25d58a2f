//! A job's dead letters as `dlq` tells them: by reason, one by one, and what became of those that were sent again.

use migration::ShardId;
use migration::printable::printable;
use migration::report::{
    LetterListing, LetterReason, LettersShown, ListedReason, RetryReport, RetryStanding, ShownLetter, still_set_aside,
};
use migration::units::{show_count, show_things};
use serde_json::{Map, Value, json};

use crate::masked::masked_value;
use crate::wrapped::indented;

/// Where the text of a reason begins.
const INDENT: usize = 16;
/// How many shards of a reason are named.
const SHARDS_SHOWN: usize = 8;
/// How much of a record is shown in the text; `-o json` has all that a letter holds.
const RECORD_SHOWN: usize = 150;

/// The reasons for people.
pub fn list(job: &str, listing: &LetterListing) -> String {
    let LetterListing { reasons, letters, retries } = listing;
    let still = still_set_aside(*letters, retries);
    let mut out = format!("{job}: {}", show_things(*letters, "dead letter"));
    if *letters > 0 {
        out += &format!(", {} still set aside", show_count(still));
    }
    out.push('\n');
    let mut of = None;
    for (number, one) in (1..).zip(reasons) {
        if one.retry != of {
            of = one.retry;
            out += &format!("\nset aside again by {job}.retry-{}\n", of.unwrap_or_default());
        } else if number == 1 {
            out.push('\n');
        }
        out += &reason(number, one);
    }
    for retry in retries {
        out += &format!("\n{}", indented(&retried(retry), 0));
    }
    if still > 0 {
        out += "\n`shardlift dlq show` shows them, `shardlift dlq retry` sends them again\n";
    }
    out
}

fn reason(number: usize, one: &ListedReason) -> String {
    let found = &one.found;
    let mut out = indented(&format!("{number:>3}  {:>9}  {}", show_count(found.letters), printable(&found.reason)), INDENT);
    out += &first_place(found, INDENT);
    let mut parts = vec![shards(&one.shards)];
    let kinds = [(one.cut, "cut"), (one.rows, "of rows that could not be read"), (one.line_ends, "with a line end in them")];
    parts.extend(kinds.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{} {what}", show_count(*count))));
    parts.extend(one.taken.iter().map(|(retry, count)| format!("{} taken by retry {retry}", show_count(*count))));
    if one.set_aside > 0 {
        parts.push(format!("{} set aside", show_count(one.set_aside)));
    }
    out + &indented(&format!("{:INDENT$}{}", "", parts.join("; ")), INDENT)
}

/// Where the first record of a reason stands, in a line of its own. A path is never broken: it is there to be copied.
pub(crate) fn first_place(found: &LetterReason, indent: usize) -> String {
    let first = if found.letters == 1 { "at" } else { "first at" };
    format!("{:indent$}{first} {} byte {}\n", "", printable(&found.path), show_count(found.start))
}

fn shards(shards: &[ShardId]) -> String {
    let named: Vec<String> = shards.iter().take(SHARDS_SHOWN).map(|shard| shard.0.to_string()).collect();
    let more = shards.len().saturating_sub(SHARDS_SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{} {}{more}", if shards.len() == 1 { "shard" } else { "shards" }, named.join(", "))
}

/// What a retry did, in a sentence.
pub fn retried(retry: &RetryReport) -> String {
    let RetryReport { name, taken, records, edited, sent, set_aside, standing, .. } = retry;
    let letters = |count| show_things(count, "dead letter");
    let were = |count: u64| if count == 1 { "was" } else { "were" };
    let mut out = if *edited {
        format!(
            "{} of {} {} sent by {name} in place of {}",
            show_count(*sent),
            show_things(*records, "edited record"),
            were(*sent),
            letters(*taken)
        )
    } else {
        format!("{} of {} {} sent again by {name}", show_count(*sent), letters(*taken), were(*sent))
    };
    if *set_aside > 0 {
        out += &format!("; it set {} aside again", show_count(*set_aside));
    }
    match standing {
        RetryStanding::Done => {}
        RetryStanding::Running => out += "; it runs",
        RetryStanding::Unfinished => out += "; it is not at its end: `shardlift dlq retry` goes on with it",
    }
    out
}

/// What the retries did and what they left, in sentences; none if there are no retries.
pub fn retries_told(letters: u64, retries: &[RetryReport]) -> Vec<String> {
    let mut told: Vec<String> = retries.iter().map(retried).collect();
    if !told.is_empty() {
        told.push(match still_set_aside(letters, retries) {
            0 => "no dead letter is set aside any more".to_owned(),
            1 => "1 is still set aside (`shardlift dlq list`)".to_owned(),
            still => format!("{} are still set aside (`shardlift dlq list`)", show_count(still)),
        });
    }
    told
}

/// The same in lines for a report.
pub fn retries(letters: u64, retries: &[RetryReport]) -> String {
    retries_told(letters, retries).iter().map(|text| indented(text, 2)).collect()
}

/// The reasons for machines.
pub fn list_object(job: &str, listing: &LetterListing) -> Map<String, Value> {
    let LetterListing { reasons, letters, retries } = listing;
    let reason = |(number, one): (usize, &ListedReason)| {
        json!({
            "number": number,
            "retry": one.retry,
            "reason": one.found.reason,
            "count": one.found.letters,
            "path": one.found.path,
            "start": one.found.start,
            "shards": one.shards.iter().map(|shard| shard.0).collect::<Vec<_>>(),
            "cut": one.cut,
            "unreadable_rows": one.rows,
            "line_ends": one.line_ends,
            "taken": one.taken.iter().map(|(retry, count)| json!({ "retry": retry, "count": count })).collect::<Vec<_>>(),
            "set_aside": one.set_aside,
        })
    };
    let mut map = Map::new();
    map.insert("job".into(), job.into());
    map.insert("dead_letters".into(), (*letters).into());
    map.insert("set_aside".into(), still_set_aside(*letters, retries).into());
    map.insert("reasons".into(), (1..).zip(reasons).map(reason).collect());
    map.insert("retries".into(), retries_object(retries));
    map
}

/// The retries for machines.
pub fn retries_object(retries: &[RetryReport]) -> Value {
    let one = |retry: &RetryReport| {
        json!({
            "number": retry.number,
            "job": retry.name,
            "taken": retry.taken,
            "records": retry.records,
            "edited": retry.edited,
            "acknowledged": retry.sent,
            "dead_lettered": retry.set_aside,
            "outcome": retry.standing.name(),
        })
    };
    retries.iter().map(one).collect()
}

/// Letters one by one, for people.
pub fn show(shown: &LettersShown<'_>) -> String {
    let LettersShown { job, letters, chosen, show_values } = *shown;
    let masked = if show_values { "" } else { " (masked; --show-values shows records)" };
    let count = if letters.len() as u64 == chosen {
        show_things(chosen, "dead letter")
    } else {
        format!("the first {} of {}", letters.len(), show_things(chosen, "dead letter"))
    };
    let mut out = format!("{job}: {count}{masked}\n");
    for letter in letters {
        let whose = letter.retry.map_or(String::new(), |retry| format!(", set aside again by retry {retry}"));
        let taken = letter.taken_by.map_or(String::new(), |retry| format!(", taken by retry {retry}"));
        out += &format!("\n{} byte {}\n", printable(&letter.path), show_count(letter.start));
        out += &indented(&format!("  {}", printable(&letter.reason)), 2);
        let cut = if letter.cut { "; cut: the letter holds its beginning" } else { "" };
        let facts = format!(
            "  reason {}, shard {}{whose}{taken}; {}{cut}",
            letter.number,
            letter.shard.0,
            show_things(letter.bytes, "byte")
        );
        out += &indented(&facts, 2);
        let record = record(letter, show_values);
        let head: String = record.chars().take(RECORD_SHOWN).collect();
        let more = if head.len() < record.len() || letter.cut { "…" } else { "" };
        out += &format!("  {}{more}\n", printable(&head));
    }
    out
}

fn record(letter: &ShownLetter, show_values: bool) -> String {
    let record = String::from_utf8_lossy(&letter.record);
    if show_values { record.into_owned() } else { masked_value(&record) }
}

/// The same for machines.
pub fn show_object(shown: &LettersShown<'_>) -> Map<String, Value> {
    let one = |letter: &ShownLetter| {
        json!({
            "retry": letter.retry,
            "number": letter.number,
            "shard": letter.shard.0,
            "reason": letter.reason,
            "path": letter.path,
            "start": letter.start,
            "bytes": letter.bytes,
            "cut": letter.cut,
            "taken_by": letter.taken_by,
            "record": record(letter, shown.show_values),
        })
    };
    let mut map = Map::new();
    map.insert("job".into(), shown.job.into());
    map.insert("chosen".into(), shown.chosen.into());
    map.insert("masked".into(), (!shown.show_values).into());
    map.insert("letters".into(), shown.letters.iter().map(one).collect());
    map
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::wrapped::COLUMNS;

    pub(crate) fn retry(number: u32) -> RetryReport {
        RetryReport {
            number,
            name: format!("orders.retry-{number}"),
            taken: 14,
            records: 14,
            edited: false,
            sent: 12,
            set_aside: 2,
            standing: RetryStanding::Done,
            sent_ms: Some(7),
        }
    }

    fn listed(reason: &str, letters: u64) -> ListedReason {
        let found =
            LetterReason { reason: reason.to_owned(), letters, path: "/d/a.jsonl".to_owned(), start: 1234, fields: Vec::new() };
        ListedReason { found, shards: (0..12).map(ShardId).collect(), set_aside: letters, ..ListedReason::default() }
    }

    #[test]
    fn what_a_retry_did_is_one_sentence() {
        let one = retry(1);
        assert_eq!(retried(&one), "12 of 14 dead letters were sent again by orders.retry-1; it set 2 aside again");
        let edited =
            RetryReport { edited: true, records: 13, set_aside: 1, standing: RetryStanding::Unfinished, ..one.clone() };
        assert_eq!(
            retried(&edited),
            "12 of 13 edited records were sent by orders.retry-1 in place of 14 dead letters; it set 1 aside again; it is \
             not at its end: `shardlift dlq retry` goes on with it"
        );
        let told = retries(14, &[one.clone(), RetryReport { taken: 2, records: 2, sent: 2, set_aside: 0, ..retry(2) }]);
        assert!(told.ends_with("by orders.retry-2\nno dead letter is set aside any more\n"), "{told}");
        assert!(retries(14, &[one]).ends_with("2 are still set aside (`shardlift dlq list`)\n"));
        assert_eq!(retries(14, &[]), "");
    }

    #[test]
    fn reasons_fit_a_terminal_and_name_what_became_of_their_letters() {
        let mut own = listed("no field .customer.id, but a sentence that is so long that it has to go on in another line", 12);
        own.taken = vec![(1, 10)];
        (own.set_aside, own.cut) = (2, 2);
        let again = ListedReason { retry: Some(1), ..listed("not JSON \u{1b}[2J", 1) };
        let listing = LetterListing { reasons: vec![own, again], letters: 14, retries: vec![retry(1)] };
        let text = list("orders", &listing);
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
        assert!(
            text.starts_with("orders: 14 dead letters, 2 still set aside\n\n  1         12  no field .customer.id,"),
            "{text}"
        );
        assert!(text.contains("first at /d/a.jsonl byte 1,234\n"), "{text}");
        assert!(text.contains("shards 0, 1, 2, 3, 4, 5, 6, 7 and 4 more; 2 cut; 10 taken by\n"), "{text}");
        assert!(text.contains("\nset aside again by orders.retry-1\n  2          1  not JSON \\u{1b}[2J\n"), "{text}");
        let object = list_object("orders", &listing);
        assert_eq!((&object["set_aside"], &object["reasons"][0]["taken"][0]["count"]), (&json!(2), &json!(10)));
        assert_eq!((&object["reasons"][1]["retry"], &object["retries"][0]["acknowledged"]), (&json!(1), &json!(12)));
        assert_eq!(list("orders", &LetterListing::default()), "orders: 0 dead letters\n");
    }

    #[test]
    fn records_are_masked_unless_they_are_asked_for() {
        let letter = ShownLetter {
            retry: None,
            shard: ShardId(3),
            number: 1,
            reason: "no field .id".to_owned(),
            path: "/d/a.jsonl".to_owned(),
            start: 7,
            bytes: 17,
            cut: false,
            record: br#"{"name":"secret"}"#.to_vec(),
            taken_by: Some(2),
        };
        let shown =
            |show_values| LettersShown { job: "orders", letters: std::slice::from_ref(&letter), chosen: 5, show_values };
        let text = show(&shown(false));
        assert!(text.contains(r#"{"name":"••••••"}"#) && !text.contains("secret"), "{text}");
        assert!(text.starts_with("orders: the first 1 of 5 dead letters (masked; --show-values shows records)\n"), "{text}");
        assert!(text.contains("  reason 1, shard 3, taken by retry 2; 17 bytes\n"), "{text}");
        assert!(!show_object(&shown(false))["letters"].to_string().contains("secret"));
        assert!(show(&shown(true)).contains("secret"));
        assert_eq!(show_object(&shown(true))["letters"][0]["record"], r#"{"name":"secret"}"#);
    }
}
