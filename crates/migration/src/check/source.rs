//! What a sample of the source says: fields, sizes, keys.

use super::facts::KnownTopic;
use super::times::share;
use super::{Check, Evidence, Finding};
use crate::Accept;
use crate::job::OnMissing;
use crate::printable::printable;
use crate::topic::batch_bytes_of_one;
use crate::units::{show_count, show_size, show_things};

/// Fields that a message names.
const FIELDS_NAMED: usize = 12;
/// A share of the sample that is too much to be set aside only: one in this number of rows.
const MANY: u64 = 10;
/// How many rows a sample needs for its shares to mean something.
const ENOUGH: u64 = 100;

/// Have records the fields that the job names? What would be set aside?
pub(super) fn mapping(seen: &Evidence<'_>) -> Finding {
    let (check, job, sample) = (Check::Mapping, seen.job, seen.sample);
    if sample.rows == 0 {
        return Finding::skip(check, "the sample has no row");
    }
    let rules = &job.record;
    let fields = [
        ("record.key", rules.key.as_ref(), sample.without_key),
        ("record.timestamp", rules.timestamp.as_ref(), sample.without_time),
    ];
    let absent = fields
        .into_iter()
        .find_map(|(name, path, without)| path.filter(|_| without > 0 && without == sample.looked).map(|path| (name, path)));
    if let Some((name, path)) = absent {
        let of = if sample.looked == 1 {
            "the only record".to_owned()
        } else {
            format!("no record of {}", show_count(sample.looked))
        };
        let has = if sample.looked == 1 { "has no" } else { "has" };
        let fact = format!("{of} {has} {path} ({name}); {}", fields_there(seen));
        let mend = format!("name one of them with {name}, or delete it; or --accept mapping");
        return Finding::fail(check, fact).mend(mend).accept(Accept::Mapping);
    }
    let bad: u64 = sample.set_aside.iter().map(|(_, rows, _)| rows).sum();
    if bad == 0 {
        let keyless = if rules.key.is_some() && rules.on_missing == OnMissing::Null { sample.without_key } else { 0 };
        let keyless = if keyless > 0 { format!(", {} with a null key", show_count(keyless)) } else { String::new() };
        return Finding::ok(check, format!("all {} become records{keyless}", show_things(sample.rows, "sampled row")));
    }
    let reasons: Vec<String> = sample
        .set_aside
        .iter()
        .take(3)
        .map(|(reason, rows, place)| {
            format!("{} {reason} (first at {} byte {})", show_count(*rows), printable(&place.path), show_count(place.start))
        })
        .collect();
    let fact = format!(
        "{} would be set aside, and limits.max_bad_records is {}: {}",
        share(bad, sample.rows, "sampled rows"),
        show_count(job.limits.max_bad_records),
        reasons.join("; ")
    );
    let mend = "mend the records or [record], or raise limits.max_bad_records; or --accept mapping";
    if seen.allows(bad, sample.rows) {
        Finding::ok(check, fact)
    } else if bad == sample.rows || sample.rows >= ENOUGH && bad * MANY >= sample.rows {
        Finding::fail(check, fact).mend(mend).accept(Accept::Mapping)
    } else {
        Finding::warn(check, fact).mend(mend)
    }
}

/// The fields that records have.
fn fields_there(seen: &Evidence<'_>) -> String {
    let sample = seen.sample;
    let Some((bad, ..)) = sample.set_aside.first().filter(|_| sample.objects == 0) else {
        if sample.fields.is_empty() {
            return "records have no fields".to_owned();
        }
        let mut named: Vec<String> = sample.fields.iter().take(FIELDS_NAMED).map(|(field, _)| printable(field)).collect();
        let more = sample.fields.len().saturating_sub(FIELDS_NAMED);
        named.extend((more > 0).then(|| format!("and {more} more")));
        return format!("fields are {}", named.join(", "));
    };
    format!("rows are no JSON objects: {bad}")
}

/// Does the topic take the largest record?
pub(super) fn sizes(seen: &Evidence<'_>, facts: &KnownTopic) -> Finding {
    let (check, sample) = (Check::Sizes, seen.sample);
    if facts.retention.is_none() {
        return Finding::skip(check, "the topic's settings can't be read");
    }
    let Some((largest, place)) = &sample.largest else { return Finding::skip(check, "the sample has no record") };
    let limit = u64::from(facts.settings.max_message_bytes);
    let fact = format!("the largest sampled record has {}, max.message.bytes is {}", show_size(*largest), show_size(limit));
    if *largest + batch_bytes_of_one(None, 0, (0, 0)) as u64 <= limit {
        return Finding::ok(check, fact);
    }
    let fact = format!("{fact}: it would be a dead letter ({} byte {})", printable(&place.path), show_count(place.start));
    let mend = format!(
        "raise it: `kafka-configs.sh --bootstrap-server {} --alter --entity-type topics --entity-name {} --add-config \
         max.message.bytes={}`; or --accept sizes",
        super::first_broker(seen.job),
        seen.job.kafka.topic,
        (*largest * 2).next_multiple_of(1 << 20)
    );
    // Where the mean is near the limit, many are above it.
    let mean = sample.record_bytes.checked_div(sample.records).unwrap_or(0);
    if mean * 2 > limit {
        Finding::fail(check, fact).mend(mend).accept(Accept::Sizes)
    } else {
        Finding::warn(check, fact).mend(mend).accept(Accept::Sizes)
    }
}

/// Does one key, or one partition, get too much?
pub(super) fn skew(seen: &Evidence<'_>) -> Finding {
    let (check, sample) = (Check::Skew, seen.sample);
    if seen.job.record.key.is_none() {
        return Finding::ok(check, "records without keys are spread evenly");
    }
    let keyed: u64 = sample.keys.iter().map(|(_, records)| records).sum();
    let (Some(partitions), true) = (seen.partitions.filter(|partitions| *partitions > 1), keyed >= ENOUGH) else {
        return Finding::skip(check, "too few keys or partitions to tell");
    };
    let mut load = vec![0u64; partitions as usize];
    for (key, records) in &sample.keys {
        if let Some(slot) = (seen.partition_of)(key, partitions).and_then(|partition| load.get_mut(partition as usize)) {
            *slot += records;
        }
    }
    let hottest_key = sample.keys.iter().map(|(_, records)| *records).max().unwrap_or(0);
    let (hottest, most) = (0u32..).zip(&load).max_by_key(|(_, records)| **records).map_or((0, 0), |(p, records)| (p, *records));
    let even = 1.0 / f64::from(partitions);
    let part = |records: u64| records as f64 / keyed as f64;
    let percent = |records: u64| format!("{} %", records * 100 / keyed);
    if part(hottest_key) > (2.0 * even).max(0.25) {
        let fact = format!(
            "one key has {} of {} sampled records: its partition and one worker get them all",
            percent(hottest_key),
            show_count(keyed)
        );
        return Finding::warn(check, fact).mend("choose a key with more values, if its records need no order");
    }
    if part(most) > (3.0 * even).max(0.25) {
        let fact = format!("partition {hottest} gets {} of {} sampled records", percent(most), show_count(keyed));
        return Finding::warn(check, fact).mend("choose a key with more values, or other ones");
    }
    let fact = format!(
        "{} keys in {} sampled records; the hottest partition gets {}",
        show_count(sample.keys.len() as u64),
        show_count(keyed),
        percent(most)
    );
    Finding::ok(check, fact)
}
