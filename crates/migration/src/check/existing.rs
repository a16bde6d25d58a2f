//! What is in the topic before the first record, held against what the job sends.

use super::facts::ExistingRecords;
use super::times::share;
use super::{Check, Evidence, Finding};
use crate::Accept;
use crate::job::Partitioner;
use crate::printable::printable;
use crate::units::show_count;

/// How many keys a sample needs to tell a partitioner.
const ENOUGH_KEYS: u64 = 10;

/// Do keys lie where the job's partitioner puts them?
pub(super) fn partitioner(seen: &Evidence<'_>, existing: &ExistingRecords) -> Finding {
    let (check, own) = (Check::Partitioner, seen.job.kafka.partitioner);
    if seen.job.record.key.is_none() {
        return Finding::ok(check, "the job's records have no keys");
    }
    if existing.records > 0 && existing.sampled == 0 {
        return Finding::skip(check, "no record of the topic came in time to compare with");
    }
    if seen.partitions.is_some_and(|partitions| partitions < 2) || existing.hashed == 0 {
        return Finding::skip(check, "no keys in several partitions to compare with");
    }
    let (here, other, there) = match own {
        Partitioner::Murmur2 => (existing.by_murmur2, "crc32", existing.by_crc32),
        Partitioner::Crc32 => (existing.by_crc32, "murmur2", existing.by_murmur2),
    };
    let hashed = existing.hashed;
    if here == hashed {
        return Finding::ok(check, format!("all {} sampled keys lie where {} puts them", show_count(hashed), name(own)));
    }
    let fact = |whose: &str| {
        format!(
            "{} of topic {} lie where kafka.partitioner = \"{}\" puts them{whose}: the records of a key would be in two partitions",
            share(here, hashed, "sampled keys"),
            seen.job.kafka.topic,
            name(own)
        )
    };
    let refuse = |fact: String, mend: &str| {
        let found = if hashed >= ENOUGH_KEYS && here * 10 < hashed * 9 {
            Finding::fail(check, fact)
        } else {
            Finding::warn(check, fact)
        };
        found.mend(format!("{mend}; or --accept partitioner")).accept(Accept::Partitioner)
    };
    if there == hashed {
        return refuse(fact(&format!(", and all where {other} does")), &format!("set kafka.partitioner = \"{other}\""));
    }
    refuse(
        fact(&format!(", {} where {other} does", show_count(there))),
        "other producers choose partitions in a way of their own, or partitions were added: send to a topic of its own",
    )
}

const fn name(partitioner: Partitioner) -> &'static str {
    match partitioner {
        Partitioner::Murmur2 => "murmur2",
        Partitioner::Crc32 => "crc32",
    }
}

/// What is there, who writes, and whether it looks like what the job sends.
pub(super) fn existing(seen: &Evidence<'_>, existing: &ExistingRecords) -> Vec<Finding> {
    let check = Check::Existing;
    let topic = &seen.job.kafka.topic;
    if existing.records == 0 {
        return vec![Finding::ok(check, format!("{topic} is empty"))];
    }
    let mut found = Vec::new();
    if let Some((records, watched)) = existing.grew.filter(|(records, _)| *records > 0) {
        let fact = format!(
            "others write to {topic} now: {} records in {:.1} s beside the {} that are there",
            show_count(records),
            watched.as_secs_f64(),
            show_count(existing.records)
        );
        found.push(Finding::warn(check, fact).mend(beside_others(seen.job.exactly_once())));
    }
    found.extend(form(seen, existing));
    if found.is_empty() {
        let kind = existing.values.first().map(|(kind, _)| format!(", such as {kind}")).unwrap_or_default();
        found.push(Finding::ok(
            check,
            format!("{} records are there{kind}; none came while it was watched", show_count(existing.records)),
        ));
    }
    found
}

/// What it means that others write. A job with exactly-once delivery may run on another machine, too, and is ended
/// there when it begins here.
fn beside_others(once: bool) -> &'static str {
    match once {
        false => "`verify` counts their records as unexpected; limits.rate_records keeps room for them",
        true => {
            "`verify` counts their records as unexpected; limits.rate_records keeps room for them. If it is an older start of this \
             job on another machine, the new one ends it there, and what it sent since the new one began are duplicates"
        }
    }
}

/// Whether values, keys and headers have another form than those of the job.
fn form(seen: &Evidence<'_>, existing: &ExistingRecords) -> Option<Finding> {
    let check = Check::Existing;
    let mostly = |kinds: &[(String, u64)]| {
        let most = kinds.iter().max_by_key(|(_, records)| *records)?;
        (most.1 * 2 > existing.sampled).then(|| most.0.clone())
    };
    let sample = seen.sample;
    let ours_is_json = sample.objects * 2 > sample.rows;
    let theirs = mostly(&existing.values)?;
    if ours_is_json && sample.rows > 0 && !theirs.starts_with("JSON") && theirs != "null" {
        let fact =
            format!("the records that are there have values of another form ({}), and the job sends JSON", printable(&theirs));
        return Some(
            Finding::warn(check, fact).mend("ask who reads the topic: a consumer of the one rarely understands the other"),
        );
    }
    let keyed = existing.keyed * 2 > existing.sampled;
    if existing.sampled > 0 && keyed != seen.job.record.key.is_some() {
        let fact = if keyed {
            "the records that are there have keys, and those of the job have none"
        } else {
            "the records that are there have no keys, and those of the job have one"
        };
        return Some(Finding::warn(check, fact).mend("set or delete record.key, as consumers expect it"));
    }
    None
}

/// Did a broker hold answers back?
pub(super) fn quota(existing: &ExistingRecords) -> Finding {
    match existing.throttled.filter(|time| !time.is_zero()) {
        None if existing.records == 0 => Finding::skip(Check::Quota, "the topic is empty: too little was asked to tell"),
        Some(time) => {
            Finding::warn(Check::Quota, format!("a broker held an answer back for {} ms because of a quota", time.as_millis()))
                .mend("ask for a higher quota for this client, or set limits.rate_bytes below it")
        }
        None => Finding::ok(Check::Quota, "no answer was held back because of a quota"),
    }
}
