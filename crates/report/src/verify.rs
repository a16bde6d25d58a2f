//! What a comparison found, in words and as JSON. Each sentence says no more than what was compared.

use std::fmt::Write as _;
use std::time::Duration;

use migration::printable::printable;
use migration::report::verify::{
    Compared, KeptVerdict, LastValues, LetterCounts, Taker, Verdict, Verified, VerifyExample, VerifyReport,
};
use migration::units::{show_count, show_duration, show_things, show_utc};
use serde_json::{Map, Value, json};

/// How many partitions are named of those that lack offsets.
const PARTITIONS_SHOWN: usize = 10;

/// Counts that have no row when they are 0.
const SHOWN_IF_ANY: [&str; 5] = ["superseded", "doubtful", "outdated", "retried", "others"];

/// The members of the JSON object. `show_values`: whether keys and values of examples are shown.
pub fn object(verified: &Verified, show_values: bool) -> Map<String, Value> {
    let r = &verified.report;
    let value = json!({
        "outcome": verified.verdict().name(),
        "exit_code": verified.exit().code(),
        "source_records": r.source_records,
        "dead_lettered": r.dead_lettered,
        "retried": r.retried,
        "dead_letters": {
            "committed": verified.letters.committed,
            "counted": verified.letters.counted,
            "uncommitted": verified.letters.uncommitted,
            "altered": r.altered_letters,
        },
        "topic_records": r.topic_records,
        "missing": r.missing,
        "superseded": r.superseded,
        "doubtful": r.doubtful,
        "outdated": r.outdated,
        "last_values": r.last_values.name(),
        "duplicates": r.duplicates,
        "altered": r.altered,
        "misplaced": r.misplaced,
        "unexpected": r.unexpected,
        "others": r.others,
        "allowed_duplicates": verified.allowed.map(|allowed| allowed.at_most),
        "compared": {
            "partitions": r.compared.partitions,
            "headers": r.compared.headers,
            "timestamps": r.compared.times && r.compared.replaced_times == 0,
        },
        "replaced_timestamps": r.compared.replaced_times,
        "compacted": r.compacted,
        "starts": r.partitions.iter().map(|range| range.start).collect::<Vec<_>>(),
        "ends": r.partitions.iter().map(|range| range.end).collect::<Vec<_>>(),
        "older": r.older(),
        "gone": r.gone().map(|(partition, offsets)| json!({ "partition": partition, "offsets": offsets })).collect::<Vec<_>>(),
        "gone_by": r.gone().next().map(|_| verified.taker().name()),
        "examples": r.examples.iter().map(|example| example_object(example, show_values)).collect::<Vec<_>>(),
        "new_files": verified.new_files,
        "elapsed_ms": verified.elapsed_ms,
    });
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn example_object(example: &VerifyExample, show_values: bool) -> Value {
    let mut object = json!({
        "kind": example.kind.name(),
        "path": example.path,
        "start": example.start,
        "partition": example.partition,
        "offset": example.offset,
    });
    if show_values {
        object["key"] = example.key.as_deref().map(String::from_utf8_lossy).into();
        object["value"] = String::from_utf8_lossy(&example.value).into();
    }
    object
}

/// The same for people.
pub fn text(verified: &Verified, show_values: bool) -> String {
    let r = &verified.report;
    let took = show_duration(Duration::from_millis(verified.elapsed_ms));
    let mut out = format!("verified: {} ({took})\n", verdict(verified));
    if let Some(new) = verified.more_files() {
        let _ = writeln!(out, "  THE SOURCE HAS MORE NOW: {new}");
    }
    let rows = [
        ("source records", r.source_records),
        ("dead letters", r.dead_lettered),
        ("retried", r.retried),
        ("topic records", r.topic_records),
        ("missing", r.missing),
        ("superseded", r.superseded),
        ("doubtful", r.doubtful),
        ("outdated", r.outdated),
        ("duplicates", r.duplicates),
        ("altered", r.altered),
        ("misplaced", r.misplaced),
        ("unexpected", r.unexpected),
        ("others", r.others),
    ];
    for (name, count) in rows.iter().filter(|(name, count)| *count > 0 || !SHOWN_IF_ANY.contains(name)) {
        let _ = writeln!(out, "  {name:<16}{:>16}", show_count(*count));
    }
    beside_the_sources(&mut out, r);
    compared(&mut out, &r.compared);
    letters(&mut out, verified.letters);
    if r.altered_letters > 0 {
        let letters = show_things(r.altered_letters, "dead letter");
        let _ = writeln!(out, "  {letters} with another length or other bytes than the source has there");
    }
    range(&mut out, r);
    gone(&mut out, verified);
    compaction(&mut out, r);
    if !r.examples.is_empty() {
        out += "\n  examples\n";
    }
    for example in &r.examples {
        let _ = writeln!(out, "  {}", example_text(example, show_values));
    }
    out
}

/// What the state keeps of the last comparison, for people: when it was made and what it found, in a few lines.
pub fn kept_text(kept: &KeptVerdict) -> String {
    let KeptVerdict { run, unix_ms, verified, sent_since } = kept;
    let r = &verified.report;
    let mut out = format!("verified after run {run}, {}: {}\n", show_utc(unix_ms.unsigned_abs()), verdict(verified));
    let found = [
        (r.missing, "missing"),
        (r.doubtful, "doubtful"),
        (r.outdated, "outdated"),
        (r.duplicates, "duplicates"),
        (r.altered, "altered"),
        (r.misplaced, "misplaced"),
        (r.unexpected, "unexpected"),
        (r.others, "others"),
    ];
    let found: Vec<_> =
        found.iter().filter(|(count, _)| *count > 0).map(|(n, name)| format!("{name} {}", show_count(*n))).collect();
    if !found.is_empty() {
        let _ = writeln!(out, "  {}", found.join(", "));
    }
    for note in notes(verified) {
        let _ = writeln!(out, "  {note}");
    }
    if *sent_since {
        out += "  a later run sent records, of which it says nothing: `shardlift verify` compares again\n";
    }
    out
}

/// What is to be said of a kept result besides its counts.
pub(crate) fn notes(verified: &Verified) -> Vec<String> {
    let gone: u64 = verified.report.gone().map(|(_, offsets)| offsets).sum();
    let gone = (gone > 0).then(|| {
        let taker = taken_by(verified.taker());
        format!("{} of the job could not be read any more; what took them: {taker}", show_things(gone, "offset"))
    });
    let more = verified.more_files().map(|new| format!("the source had more then: {new}"));
    [replaced_times(&verified.report.compared), gone, more].into_iter().flatten().collect()
}

/// The same for machines: the comparison's result, when it was made, and whether it still says all.
pub fn kept_object(kept: &KeptVerdict) -> Map<String, Value> {
    let mut map = object(&kept.verified, false);
    map.insert("run".into(), kept.run.into());
    map.insert("unix_ms".into(), kept.unix_ms.into());
    map.insert("sent_since".into(), kept.sent_since.into());
    map
}

/// What a comparison came to, in a sentence.
pub(crate) fn verdict(verified: &Verified) -> String {
    let r = &verified.report;
    let clean = r.is_clean(verified.allowed);
    if clean && r.altered_letters > 0 {
        return "DEAD LETTERS DIFFER FROM THE SOURCE, whatever the topic holds".to_owned();
    }
    if clean && !verified.is_clean() {
        return "THE DEAD LETTERS DIFFER FROM THE STATE, so that it can't be told what the topic should hold".to_owned();
    }
    if !clean {
        let why = verified.why_different().map(|why| format!(": {why}")).unwrap_or_default();
        return format!("THE TOPIC DIFFERS FROM THE SOURCE{why}");
    }
    let but = but(r);
    let beside = beside(verified);
    let records = records(verified);
    if r.superseded > 0 {
        let n = show_things(r.superseded, "record");
        return format!(
            "nothing in the topic contradicts {records}{but}, but of {n} it can't be told whether they arrived: the \
             topic is compacted{beside}"
        );
    }
    let gone = r.gone().next().is_some();
    if verified.verdict() == Verdict::Complete {
        let where_ = match () {
            () if gone => "in what can still be read from the job's start on ",
            () if r.older() > 0 => "from the job's start on ",
            () => "",
        };
        let every = match verified.limit {
            None if verified.new_files.is_empty() => "every record of the source".to_owned(),
            _ => format!("every one of {records}"),
        };
        return format!("{where_}{every} is there{but}{beside}");
    }
    let holds = match () {
        () if gone => "what can still be read from the job's start on is",
        () if r.older() > 0 => "from the job's start on, the topic holds",
        () => "the topic holds",
    };
    format!("{holds} exactly {records}{but}{beside}")
}

/// Whose records the verdict is about.
fn records(verified: &Verified) -> String {
    match verified.limit {
        _ if !verified.new_files.is_empty() => "the planned files' records".to_owned(),
        Some(limit) => format!("the source's first {}", show_things(limit, "record")),
        None => "the source's records".to_owned(),
    }
}

/// What is not expected of them, and what is besides.
fn but(r: &VerifyReport) -> String {
    let were = |records| if records == 1 { "was" } else { "were" };
    let mut but = match r.dead_lettered {
        0 => String::new(),
        n => format!(" but for {} that {} set aside", show_things(n, "record"), were(n)),
    };
    if r.retried > 0 {
        but += &format!(", and {} that {} sent again", show_things(r.retried, "record"), were(r.retried));
    }
    but
}

/// What a topic without a difference holds besides.
fn beside(verified: &Verified) -> String {
    let r = &verified.report;
    let mut parts = Vec::new();
    if r.not_the_sources() > 0 {
        let records = show_things(r.not_the_sources(), "record");
        let are = if r.not_the_sources() == 1 { "is" } else { "are" };
        parts.push(format!("{records} that {are} not the source's: other producers', or altered"));
    }
    if let Some(allowed) = verified.allowed.filter(|_| r.duplicates > 0) {
        let (found, most) = (show_things(r.duplicates, "duplicate"), show_count(allowed.at_most));
        parts.push(format!("{found}, allowed: the known deaths explain up to {most}"));
    }
    if r.others > 0 {
        parts.push(format!("{} of other producers, without the job's headers", show_things(r.others, "record")));
    }
    if parts.is_empty() { String::new() } else { format!("; beside them {}", parts.join(", and ")) }
}

/// What may be an error where a topic is the job's alone.
fn beside_the_sources(out: &mut String, r: &VerifyReport) {
    if r.not_the_sources() > 0 {
        out.push_str(
            "  UNEXPECTED RECORDS ARE NOT JUDGED: the job sets no record.headers, by which\n  \
             another producer's record could be told from an altered one. In a topic that\n  \
             is the job's alone each of them is wrong\n",
        );
    }
}

fn example_text(example: &VerifyExample, show_values: bool) -> String {
    let mut text = format!("{:<10}", example.kind.name());
    if let (Some(path), Some(start)) = (&example.path, example.start) {
        let _ = write!(text, " {} byte {start}", printable(path));
    }
    if let (Some(partition), Some(offset)) = (example.partition, example.offset) {
        let _ = write!(text, " partition {partition} offset {offset}");
    }
    if show_values {
        let key = example.key.as_deref().map_or("(null)".into(), String::from_utf8_lossy);
        let _ = write!(text, " key {key:?} value {:?}", String::from_utf8_lossy(&example.value));
    }
    text
}

/// What "the same record" means: what the job does not set may be anything.
fn compared(out: &mut String, compared: &Compared) {
    let parts = [
        (compared.headers, "headers"),
        (compared.times && compared.replaced_times == 0, "timestamp"),
        (compared.partitions, "partition"),
    ];
    let named = |wanted: bool| parts.iter().filter(|part| part.0 == wanted).map(|part| part.1).collect::<Vec<_>>();
    let and = ["key", "value"].into_iter().chain(named(true)).collect::<Vec<_>>().join(", ");
    let _ = write!(out, "  compared: {and}");
    let left = named(false).join(", ");
    let _ = if left.is_empty() { writeln!(out, " of each record") } else { writeln!(out, " of each record; not its {left}") };
    if let Some(replaced) = replaced_times(compared) {
        let _ = writeln!(out, "  {replaced}");
    }
}

/// That the topic's brokers wrote over the job's times, if they did.
fn replaced_times(compared: &Compared) -> Option<String> {
    let records = show_things(compared.replaced_times, "record");
    (compared.replaced_times > 0).then(|| {
        format!(
            "timestamps NOT compared: the brokers wrote their own over those of {records} \
             (message.timestamp.type=LogAppendTime)"
        )
    })
}

/// What is to be said of dead letters, if anything.
fn letters(out: &mut String, LetterCounts { committed, counted, uncommitted }: LetterCounts) {
    if committed != counted {
        let (letters, state) = (show_things(committed, "dead letter"), show_count(counted));
        let _ =
            writeln!(out, "  {letters} are there, the state counts {state}: a record whose letter is gone counts as missing");
    }
    if uncommitted > 0 {
        let letters = show_things(uncommitted, "dead letter");
        let _ = writeln!(out, "  {letters} of chunks that were never committed: not counted, their records are looked for");
    }
}

/// From where on was looked, unless that is where every partition begins.
fn range(out: &mut String, r: &VerifyReport) {
    let starts = r.partitions.iter().map(|range| u64::try_from(range.start).unwrap_or(0));
    let (Some(least), Some(most)) = (starts.clone().min(), starts.max()) else { return };
    if most == 0 {
        return;
    }
    let from = match r.partitions.len() {
        _ if least == most => format!("offset {} on in each of {}", show_count(most), partitions(r.partitions.len())),
        n => format!("offset {} to {} on in {} (-o json has each)", show_count(least), show_count(most), partitions(n)),
    };
    let _ = writeln!(out, "  judged from {from}: where they ended when the job began");
    match r.older() {
        0 => out.push_str("  no older record is there\n"),
        older => {
            let _ = writeln!(out, "  NOT judged: what stands before, at most {}", show_things(older, "older record"));
        }
    }
}

fn partitions(count: usize) -> String {
    show_things(count as u64, "partition")
}

fn gone(out: &mut String, verified: &Verified) {
    const WHAT: &str = "of the job can't be read any more";
    let r = &verified.report;
    for (partition, offsets) in r.gone().take(PARTITIONS_SHOWN) {
        let _ = writeln!(out, "  partition {partition}: {} {WHAT}", show_things(offsets, "offset"));
    }
    let (more, offsets) = r.gone().skip(PARTITIONS_SHOWN).fold((0, 0), |(n, sum), (_, offsets)| (n + 1, sum + offsets));
    if more > 0 {
        let _ = writeln!(out, "  {} more: {} {WHAT}", partitions(more), show_things(offsets, "offset"));
    }
    if r.gone().next().is_some() {
        let _ = writeln!(out, "  what took them: {}", taken_by(verified.taker()));
    }
}

/// What took offsets away, in words.
fn taken_by(taker: Taker) -> String {
    match taker {
        Taker::Embedded => "the embedded broker's own limit: it keeps the newest 5 MiB or 100,000 batches of each \
                            partition, whatever the data; real brokers (-b) keep what the topic's settings say"
            .to_owned(),
        Taker::RetentionOrRequest { ms, bytes } => {
            let limits = [("retention.ms", ms), ("retention.bytes", bytes)];
            let limits: Vec<_> = limits.iter().filter_map(|(name, limit)| Some(format!("{name}={}", (*limit)?))).collect();
            format!("retention ({}), or a DeleteRecords request", limits.join(", "))
        }
        Taker::Request => "a DeleteRecords request: by the topic's settings as they are now, retention keeps what the job \
                           sent"
            .to_owned(),
        Taker::Unknown => "retention, or a DeleteRecords request: the brokers don't tell the topic's settings".to_owned(),
    }
}

fn compaction(out: &mut String, r: &VerifyReport) {
    if r.superseded > 0 {
        out.push_str(
            "  superseded: the topic does not have them, but a newer record of the same key and partition, so that \
             compaction may have taken them\n",
        );
    }
    if r.doubtful > 0 {
        out.push_str(
            "  doubtful: of the superseded ones those under whose key the topic has a record\n  \
             that the source does not have. It may have replaced them, or be one of them\n  \
             that was altered: a job that sets record.headers can be told from others\n",
        );
    }
    if r.outdated > 0 {
        out.push_str(
            "  outdated: keys of this compacted topic whose newest record is one of the source's,\n  \
             and not the last one that the source has: who reads the topic has an old value\n",
        );
    }
    if r.last_values == LastValues::NotPromised {
        out.push_str(
            "  last values NOT compared: the topic is compacted, and the order of a key's records\n  \
             was not promised (no key, shards.by_key = false, or the topic has other partitions now)\n",
        );
    }
    match r.compacted {
        Some(true) if r.missing > 0 => out.push_str(
            "  the topic is compacted: of what is missing it has no newer record of the key, or one that was sent \
             before. Compaction explains it only if a newer one was there and is gone too (a tombstone, \
             or a topic that also deletes)\n",
        ),
        None if r.missing > 0 => {
            out.push_str(
                "  the brokers don't tell whether the topic is compacted: if it is, that may be why records \
                          are missing\n",
            );
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use migration::Exit;
    use migration::report::verify::{AllowedDuplicates, PartitionRange, Retention};

    use super::*;

    /// As the functions of this module show it.
    trait Shown {
        fn text(&self) -> String;
        fn object(&self) -> Map<String, Value>;
    }

    impl Shown for Verified {
        fn text(&self) -> String {
            text(self, false)
        }

        fn object(&self) -> Map<String, Value> {
            object(self, false)
        }
    }

    fn verified(report: VerifyReport) -> Verified {
        let letters = LetterCounts::default();
        Verified { report, letters, elapsed_ms: 1200, ..Verified::default() }
    }

    fn range(start: i64, older: i64, gone: i64) -> PartitionRange {
        PartitionRange { start, end: start + 100, older, gone }
    }

    fn clean(partitions: Vec<PartitionRange>) -> VerifyReport {
        VerifyReport { source_records: 100, topic_records: 100, partitions, compacted: Some(false), ..VerifyReport::default() }
    }

    fn first_line(verified: &Verified) -> String {
        verified.text().lines().next().unwrap_or_default().to_owned()
    }

    #[test]
    fn exactly_is_said_of_what_was_compared_only() {
        let fresh = clean(vec![range(0, 0, 0)]);
        let said = |report: VerifyReport| first_line(&verified(report));
        assert_eq!(said(fresh.clone()), "verified: the topic holds exactly the source's records (1.20 s)");
        let aside = VerifyReport { dead_lettered: 2, ..fresh.clone() };
        assert!(said(aside.clone()).contains("the source's records but for 2 records that were set aside ("));
        let again = VerifyReport { retried: 1, ..aside };
        assert!(said(again.clone()).contains("that were set aside, and 1 record that was sent again ("));
        assert!(verified(again.clone()).text().contains("  retried                        1\n"));
        assert_eq!(verified(again).object()["retried"], 1);
        let used = clean(vec![range(50, 50, 0), range(7, 3, 0)]);
        assert!(said(used).starts_with("verified: from the job's start on, the topic holds exactly"));
        let cut = clean(vec![range(50, 0, 3)]);
        assert!(said(cut).starts_with("verified: what can still be read from the job's start on is exactly"));
        let limited = Verified { limit: Some(100), ..verified(fresh.clone()) };
        assert!(first_line(&limited).contains("exactly the source's first 100 records"));
        let different = VerifyReport { missing: 1, ..fresh };
        assert!(said(different).contains("DIFFERS"));
    }

    #[test]
    fn with_headers_others_records_are_told_and_nothing_else_changes() {
        let compared = Compared { headers: true, ..Compared::default() };
        let live = VerifyReport { others: 300, topic_records: 400, compared, ..clean(vec![range(0, 0, 0)]) };
        let verified = self::verified(live.clone());
        assert_eq!((verified.exit(), verified.verdict().name()), (Exit::Done, "same"));
        assert_eq!(
            first_line(&verified),
            "verified: the topic holds exactly the source's records; beside them 300 records of other producers, \
             without the job's headers (1.20 s)"
        );
        assert!(verified.text().contains("  others                       300\n"), "{}", verified.text());
        assert_eq!(verified.object()["others"], 300);
        // With the job's headers only the job can have sent it.
        let ours = self::verified(VerifyReport { unexpected: 1, ..live });
        assert_eq!((ours.exit(), ours.verdict().name()), (Exit::Difference, "different"));
    }

    #[test]
    fn without_headers_what_is_not_the_sources_is_told_and_not_judged() {
        let live = VerifyReport { unexpected: 300, ..clean(vec![range(0, 0, 0)]) };
        let told = verified(live.clone());
        assert_eq!((told.exit(), told.verdict().name()), (Exit::Done, "complete"));
        let said = "every record of the source is there; beside them 300 records that are not the source's: other \
                    producers', or altered";
        assert_eq!(first_line(&told), format!("verified: {said} (1.20 s)"));
        assert!(told.text().contains("  UNEXPECTED RECORDS ARE NOT JUDGED: the job sets no record.headers"), "{}", told.text());
        assert!(told.text().lines().skip(1).all(|line| line.len() <= 80), "{}", told.text());
        let from = verified(VerifyReport { partitions: vec![range(9, 9, 0)], dead_lettered: 1, unexpected: 1, ..live.clone() });
        let said = "verified: from the job's start on every record of the source is there but for 1 record that was set \
                    aside; beside them 1 record that is not the source's: other producers', or altered (";
        assert!(first_line(&from).starts_with(said), "{}", from.text());
        // Something is missing: then it may be what was made of it.
        let lacks = verified(VerifyReport { missing: 1, ..live });
        assert_eq!((lacks.exit(), lacks.verdict().name()), (Exit::Difference, "different"));
    }

    #[test]
    fn duplicates_are_excused_as_far_as_the_known_deaths_explain_them_and_nothing_else_is() {
        let twice = VerifyReport { duplicates: 5, ..clean(vec![range(0, 0, 0)]) };
        let with = |at_most: Option<u64>, report: VerifyReport| {
            let allowed = at_most.map(|at_most| AllowedDuplicates { at_most });
            Verified { allowed, ..verified(report) }
        };
        assert_eq!(with(None, twice.clone()).exit(), Exit::Difference);
        let above = with(Some(4), twice.clone());
        assert_eq!((above.exit(), above.verdict().name()), (Exit::Difference, "different"));
        let said = "THE TOPIC DIFFERS FROM THE SOURCE: 5 duplicates, and the known deaths explain at most 4";
        assert!(first_line(&above).contains(said), "{}", above.text());
        assert_eq!(above.reason(), said.replace("THE TOPIC DIFFERS FROM THE SOURCE", "the topic differs from the source"));
        let within = with(Some(5), twice.clone());
        assert_eq!((within.exit(), within.verdict().name()), (Exit::Done, "complete"));
        let said = "every record of the source is there; beside them 5 duplicates, allowed: the known deaths explain up to 5";
        assert!(first_line(&within).contains(said), "{}", within.text());
        assert!(!within.text().contains("NOT JUDGED"));
        assert_eq!((&within.object()["allowed_duplicates"], &within.object()["duplicates"]), (&json!(5), &json!(5)));
        let compared = Compared { headers: true, ..Compared::default() };
        for worse in [
            VerifyReport { missing: 1, ..twice.clone() },
            VerifyReport { altered: 1, ..twice.clone() },
            VerifyReport { misplaced: 1, ..twice.clone() },
            VerifyReport { unexpected: 1, compared, ..twice },
        ] {
            assert_eq!(with(Some(5), worse).exit(), Exit::Difference);
        }
    }

    #[test]
    fn what_took_offsets_away_is_told_apart() {
        let by = |retention, age_ms| {
            let report = VerifyReport { missing: 4, retention, ..clean(vec![range(10, 0, 4)]) };
            let verified = Verified { age_ms, ..verified(report) };
            let text = verified.text();
            let line = text.lines().find_map(|line| line.strip_prefix("  what took them: ")).unwrap_or_default().to_owned();
            (line, verified.object()["gone_by"].clone())
        };
        let settings = |ms, bytes| Retention::Settings { ms, bytes };
        let (line, name) = by(Retention::Embedded, Some(1));
        assert!(line.starts_with("the embedded broker's own limit: it keeps the newest 5 MiB or 100,000 batches"), "{line}");
        assert_eq!(name, "embedded-limit");
        let (line, name) = by(settings(Some(1000), Some(5)), Some(2000));
        assert_eq!(line, "retention (retention.ms=1000, retention.bytes=5), or a DeleteRecords request");
        assert_eq!(name, "retention-or-delete-records");
        assert!(by(settings(Some(1000), Some(5)), Some(10)).0.starts_with("retention (retention.bytes=5), or"));
        assert!(by(settings(Some(1000), None), None).0.starts_with("retention (retention.ms=1000), or"));
        // Too young for it, or it deletes nothing.
        for (retention, age) in [(settings(Some(1000), None), Some(10)), (settings(None, None), None)] {
            let (line, name) = by(retention, age);
            assert!(line.starts_with("a DeleteRecords request: by the topic's settings as they are now"), "{line}");
            assert_eq!(name, "delete-records");
        }
        // Beside others' records, of whatever time.
        let live = VerifyReport { others: 1, retention: settings(Some(1000), None), ..clean(vec![range(10, 0, 4)]) };
        let live = Verified { age_ms: Some(10), ..verified(live) };
        assert!(live.text().contains("what took them: retention (retention.ms=1000), or a DeleteRecords request"));
        assert!(by(Retention::Unknown, None).0.contains("don't tell the topic's settings"));
        assert_eq!(verified(clean(vec![range(0, 0, 0)])).object()["gone_by"], Value::Null);
    }

    #[test]
    fn what_is_compared_and_what_is_not_is_told() {
        let with = |compared| verified(VerifyReport { compared, ..clean(vec![range(0, 0, 0)]) });
        let nothing = with(Compared::default()).text();
        assert!(
            nothing.contains("  compared: key, value of each record; not its headers, timestamp, partition\n"),
            "{nothing}"
        );
        let all = Compared { partitions: true, headers: true, times: true, replaced_times: 0 };
        let text = with(all).text();
        assert!(text.contains("  compared: key, value, headers, timestamp, partition of each record\n"), "{text}");
        assert_eq!(with(all).object()["compared"], json!({ "partitions": true, "headers": true, "timestamps": true }));
        let replaced = with(Compared { replaced_times: 2_000, ..all });
        let text = replaced.text();
        assert!(text.contains("  compared: key, value, headers, partition of each record; not its timestamp\n"), "{text}");
        assert!(text.contains("timestamps NOT compared: the brokers wrote their own over those of 2,000 records"), "{text}");
        let object = replaced.object();
        assert_eq!((&object["compared"]["timestamps"], &object["replaced_timestamps"]), (&json!(false), &json!(2000)));
    }

    #[test]
    fn dead_letters_that_are_not_what_the_source_has_are_a_difference() {
        let report = VerifyReport { dead_lettered: 3, altered_letters: 2, ..clean(vec![range(0, 0, 0)]) };
        let letters = LetterCounts { committed: 3, counted: 3, uncommitted: 0 };
        let altered = Verified { letters, ..verified(report) };
        assert_eq!((altered.exit(), altered.verdict().name()), (Exit::Difference, "different"));
        assert_eq!(altered.reason(), "dead letters do not hold the source's records");
        assert!(first_line(&altered).contains("DEAD LETTERS DIFFER FROM THE SOURCE"), "{}", altered.text());
        assert!(altered.text().contains("2 dead letters with another length"), "{}", altered.text());
        assert_eq!(altered.object()["dead_letters"]["altered"], 2);
    }

    #[test]
    fn misplaced_records_are_a_difference() {
        let moved = verified(VerifyReport { misplaced: 3, ..clean(vec![range(0, 0, 0)]) });
        assert_eq!(
            (moved.exit(), moved.verdict().name(), &moved.object()["misplaced"]),
            (Exit::Difference, "different", &json!(3))
        );
        assert!(first_line(&moved).contains("DIFFERS"), "{}", moved.text());
    }

    #[test]
    fn older_records_are_told_with_the_offsets() {
        let used = verified(clean(vec![range(5000, 4000, 0), range(1200, 20, 0)]));
        let text = used.text();
        assert!(text.contains("judged from offset 1,200 to 5,000 on in 2 partitions"), "{text}");
        assert!(text.contains("NOT judged: what stands before, at most 4,020 older records"), "{text}");
        let object = used.object();
        assert_eq!((&object["older"], &object["starts"]), (&json!(4020), &json!([5000, 1200])));
        let gone = verified(clean(vec![range(5000, 0, 0); 2])).text();
        assert!(gone.contains("judged from offset 5,000 on in each of 2 partitions"), "{gone}");
        assert!(gone.contains("no older record is there"), "{gone}");
        assert!(!verified(clean(vec![range(0, 0, 0)])).text().contains("judged"));
    }

    #[test]
    fn dead_letters_that_are_not_the_states_are_a_difference_and_uncommitted_ones_are_told() {
        let with = |committed, counted, uncommitted| {
            let letters = LetterCounts { committed, counted, uncommitted };
            Verified { letters, ..verified(clean(vec![range(0, 0, 0)])) }
        };
        assert_eq!(with(3, 3, 0).exit(), Exit::Done);
        assert!(!with(3, 3, 0).text().contains("never committed"));
        let differs = with(5, 3, 0);
        assert_eq!((differs.exit(), &differs.object()["outcome"]), (Exit::Difference, &json!("different")));
        assert!(differs.text().contains("5 dead letters are there, the state counts 3"), "{}", differs.text());
        assert!(!differs.text().contains("exactly"));
        assert!(differs.reason().starts_with("the dead letters differ from the state"), "{}", differs.reason());
        let both = Verified { report: VerifyReport { missing: 1, ..differs.report.clone() }, ..differs };
        assert_eq!(both.reason(), "the topic differs from the source");
        let left = with(0, 0, 383);
        assert_eq!((left.exit(), &left.object()["dead_letters"]["uncommitted"]), (Exit::Done, &json!(383)));
        assert!(left.text().contains("383 dead letters of chunks that were never committed"), "{}", left.text());
    }

    #[test]
    fn a_compacted_topic_is_never_the_same() {
        let report = VerifyReport { superseded: 7, compacted: Some(true), ..clean(vec![range(0, 0, 0)]) };
        let verified = verified(report);
        assert_eq!(verified.exit(), Exit::Done);
        let line = first_line(&verified);
        assert!(line.contains("nothing in the topic contradicts the source's records, but of 7 records"), "{line}");
        assert!(!verified.text().contains("exactly"));
        let object = verified.object();
        assert_eq!(
            (&object["outcome"], &object["superseded"], &object["compacted"]),
            (&json!("compacted"), &json!(7), &json!(true))
        );
    }

    #[test]
    fn what_an_altered_record_may_have_replaced_is_a_difference() {
        let report = VerifyReport { superseded: 7, doubtful: 2, unexpected: 1, ..clean(vec![range(0, 0, 0)]) };
        let verified = verified(VerifyReport { compacted: Some(true), ..report });
        assert_eq!((verified.exit(), verified.verdict().name()), (Exit::Difference, "different"));
        let line = first_line(&verified);
        let why = "2 records are not there, and under their key stands what the source does not have: another producer's \
                   newer record, or an altered one, which only record.headers could tell";
        assert!(line.starts_with(&format!("verified: THE TOPIC DIFFERS FROM THE SOURCE: {why}")), "{line}");
        assert!(verified.text().contains("  doubtful                       2\n"), "{}", verified.text());
        assert_eq!((&verified.object()["doubtful"], verified.reason().ends_with(why)), (&json!(2), true));
        assert!(verified.text().contains("  doubtful: of the superseded"), "{}", verified.text());
    }

    #[test]
    fn a_source_that_has_more_files_is_not_the_same() {
        let mut verified = verified(clean(vec![range(0, 0, 0)]));
        verified.new_files = (0..12).map(|n| format!("/data/{n}.jsonl").into()).collect();
        assert_eq!((verified.exit(), &verified.object()["outcome"]), (Exit::Source, &json!("different")));
        assert!(verified.reason().contains("/data/9.jsonl, and 2 more: not planned, not sent, not compared"));
        let text = verified.text();
        assert!(text.starts_with("verified: the topic holds exactly the planned files' records"), "{text}");
        assert!(text.contains("THE SOURCE HAS MORE NOW: /data/0.jsonl, "), "{text}");
        assert_eq!(verified.object()["new_files"].as_array().map(Vec::len), Some(12));
    }

    #[test]
    fn what_a_compacted_topic_lacks_is_not_said_to_have_never_come() {
        let text = verified(VerifyReport { missing: 1, compacted: Some(true), ..clean(vec![range(0, 0, 0)]) }).text();
        assert!(text.contains("only if a newer one was there and is gone too (a tombstone, "), "{text}");
        assert!(!text.contains("does not explain"), "{text}");
    }

    #[test]
    fn many_partitions_that_lack_offsets_take_few_lines() {
        let text = verified(clean(vec![range(10, 0, 4); 1000])).text();
        assert!(text.contains("  990 partitions more: 3,960 offsets of the job"), "{text}");
        assert!(text.lines().count() < 25, "{text}");
    }

    #[test]
    fn a_kept_result_says_when_it_was_made_and_what_it_is_about() {
        let same = self::verified(VerifyReport { source_records: 9, topic_records: 9, ..VerifyReport::default() });
        let mut kept = KeptVerdict { run: 2, unix_ms: 1_795_000_000_000, verified: same, sent_since: false };
        assert_eq!(
            kept_text(&kept),
            "verified after run 2, 2026-11-18 11:06:40 UTC: the topic holds exactly the source's records\n"
        );
        let mut live = kept.clone();
        live.verified.report.compared = Compared { headers: true, times: true, replaced_times: 9, ..Compared::default() };
        live.verified.report.others = 7;
        let text = kept_text(&live);
        assert!(text.contains("exactly the source's records; beside them 7 records of other producers"), "{text}");
        assert!(text.contains("  timestamps NOT compared: the brokers wrote their own over those of 9 records"), "{text}");
        kept.verified.report.missing = 1_234;
        kept.verified.report.duplicates = 2;
        kept.sent_since = true;
        let text = kept_text(&kept);
        assert!(text.contains("THE TOPIC DIFFERS FROM THE SOURCE\n  missing 1,234, duplicates 2\n"), "{text}");
        assert!(text.contains("a later run sent records, of which it says nothing"), "{text}");
        let object = kept_object(&kept);
        assert_eq!((&object["run"], &object["sent_since"], &object["missing"]), (&json!(2), &json!(true), &json!(1_234)));
        assert_eq!((&object["unix_ms"], &object["outcome"]), (&json!(1_795_000_000_000_i64), &json!("different")));
    }
}
