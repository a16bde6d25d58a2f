//! What a topic does to a job's records: whether it keeps them, takes them, and with which times.

use super::facts::{KnownTopic, Retention, SourceSample};
use super::times::{self, share};
use super::{Check, Evidence, Finding};
use crate::config::Vocabulary as _;
use crate::units::{show_count, show_size, show_things, show_utc};
use crate::{Accept, Job};

/// Less than one in this many sampled times is an exception, and no mistake of the whole source.
const FEW: u64 = 10;

/// The topic is there; has it the replicas that it wants?
pub(super) fn topic(job: &Job, facts: &KnownTopic) -> Finding {
    let (name, replicas) = (&job.kafka.topic, facts.replicas);
    let partitions = show_count(facts.partitions.into());
    match replicas.least {
        Some(least) if (1..least).contains(&replicas.assigned) => too_few(job, replicas.assigned, least),
        Some(least) if replicas.in_sync < least => Finding::fail(
            Check::Topic,
            format!(
                "a partition of {name} has {} of {}, and min.insync.replicas is {least}: brokers refuse every record for it",
                show_things(replicas.in_sync.into(), "in-sync replica"),
                replicas.assigned
            ),
        )
        .mend("start the brokers that are missing, then run again")
        .accept(Accept::Topic),
        least => {
            let least = least.map(|least| format!(", min.insync.replicas {least}")).unwrap_or_default();
            Finding::ok(Check::Topic, format!("{name}: {partitions} partitions, {} in-sync replicas{least}", replicas.in_sync))
        }
    }
}

/// It was made so: no broker is missing.
fn too_few(job: &Job, assigned: u32, least: u32) -> Finding {
    let fact = format!(
        "topic {} has {}, fewer than min.insync.replicas = {least}: brokers refuse every record for it",
        job.kafka.topic,
        show_things(assigned.into(), "replica")
    );
    let mend = format!(
        "add replicas to it with kafka-reassign-partitions.sh, or make it anew with --replication-factor {least} or more; for a test \
         cluster: {}",
        alter(job, &format!("--add-config min.insync.replicas={assigned}"))
    );
    Finding::fail(Check::Topic, fact).mend(mend).accept(Accept::Topic)
}

/// Are event times older than the topic keeps records?
pub(super) fn retention(seen: &Evidence<'_>, facts: &KnownTopic) -> Finding {
    let (check, name) = (Check::Retention, &seen.job.kafka.topic);
    let Some(retention) = &facts.retention else { return unread(check) };
    let Some(ms) = retention.ms.filter(|_| retention.deletes) else {
        return Finding::ok(check, format!("{name} deletes nothing by age"));
    };
    let kept = times::span(ms);
    if seen.job.record.timestamp.is_none() || retention.append_time {
        return Finding::ok(check, format!("records get the time of sending and are kept for {kept} from then on"));
    }
    let sample = seen.sample;
    let oldest_kept = seen.now_ms.saturating_sub_unsigned(ms);
    let older = sample.times_ms.iter().filter(|time| **time < oldest_kept).count() as u64;
    let Some(oldest) = sample.times_ms.iter().min().filter(|_| older > 0) else {
        return match sample.times_ms.len() {
            0 => Finding::skip(check, "no record of the sample has an event time"),
            times => {
                Finding::ok(check, format!("none of {} sampled event times is older than {kept}", show_count(times as u64)))
            }
        };
    };
    let fact = format!(
        "{} have event times that are older than retention.ms = {ms} ({kept}) of topic {name} allows, the oldest {}: Kafka deletes \
         them soon after they arrive",
        share(older, sample.times_ms.len() as u64, "sampled records"),
        times::date(*oldest)
    );
    // A few times that are none (1970, where a clock had not been set) stand between others, and go with them.
    let real = sample.times_ms.iter().any(|time| *time < oldest_kept && times::is_plausible(*time, seen.now_ms));
    let many = older * FEW >= sample.times_ms.len() as u64;
    let found = if real || many { Finding::fail(check, fact) } else { Finding::warn(check, fact) };
    found.mend(hold_and_put_back(seen.job, retention, ms)).accept(Accept::Retention)
}

/// The command that keeps records while the job runs, and the one that undoes it.
fn hold_and_put_back(job: &Job, retention: &Retention, ms: u64) -> String {
    let before =
        if retention.ms_is_own { format!("--add-config retention.ms={ms}") } else { "--delete-config retention.ms".into() };
    format!(
        "hold retention before the job: {}; put it back when they have been read, because it deletes them then: {}; or, to have them \
         deleted: --accept retention",
        alter(job, "--add-config retention.ms=-1"),
        alter(job, &before)
    )
}

/// A command that changes the topic's settings.
fn alter(job: &Job, change: &str) -> String {
    super::alter_topic(job, &job.kafka.topic, change)
}

/// Does the topic keep as many bytes as the job sends to each partition?
pub(super) fn retention_size(seen: &Evidence<'_>, facts: &KnownTopic) -> Finding {
    let (check, name) = (Check::RetentionSize, &seen.job.kafka.topic);
    let Some(retention) = &facts.retention else { return unread(check) };
    let Some(limit) = retention.bytes.filter(|_| retention.deletes) else {
        return Finding::ok(check, format!("{name} deletes nothing by size"));
    };
    let Some(bytes) = seen.topic_bytes() else { return Finding::skip(check, "the size of the records is not known") };
    let each = bytes / u64::from(facts.partitions.max(1));
    let compressed = seen.job.compresses();
    let what = if compressed { " before compression" } else { "" };
    let fact = format!(
        "the job sends about {}{what} to each partition of {name}, and retention.bytes is {} each",
        show_size(each),
        show_size(limit)
    );
    // What is compressed rarely takes less than a tenth.
    let room = if compressed { limit.saturating_mul(10) } else { limit };
    if each <= limit {
        return Finding::ok(check, fact);
    }
    let before = if retention.bytes_is_own {
        format!("--add-config retention.bytes={limit}")
    } else {
        "--delete-config retention.bytes".into()
    };
    let mend = format!(
        "Kafka deletes the oldest: raise it before the job: {}; put it back when they have been read: {}; or --accept retention-size",
        alter(seen.job, "--add-config retention.bytes=-1"),
        alter(seen.job, &before)
    );
    let found = if each > room { Finding::fail(check, fact) } else { Finding::warn(check, fact) };
    found.mend(mend).accept(Accept::RetentionSize)
}

/// Does the topic take the records' times, and are they times at all?
pub(super) fn timestamps(seen: &Evidence<'_>, facts: Option<&KnownTopic>) -> Finding {
    let check = Check::Timestamps;
    let Some(field) = &seen.job.record.timestamp else {
        return Finding::ok(check, "records get the time of sending (no record.timestamp)");
    };
    let name = &seen.job.kafka.topic;
    if facts.and_then(|facts| facts.retention.as_ref()).is_some_and(|retention| retention.append_time) {
        let fact = format!(
            "topic {name} replaces the records' timestamps by the time of their arrival (message.timestamp.type=LogAppendTime): those of \
             record.timestamp are lost"
        );
        let mend = format!(
            "delete record.timestamp, or have the topic keep them: {}; or --accept timestamps",
            alter(seen.job, "--add-config message.timestamp.type=CreateTime")
        );
        return Finding::fail(check, fact).mend(mend).accept(Accept::Timestamps);
    }
    let sampled = &seen.sample.times_ms;
    if sampled.is_empty() {
        return Finding::skip(check, "no record of the sample has an event time");
    }
    if let Some(found) = wrong_unit(seen, facts, &field.to_string()) {
        return found;
    }
    facts.and_then(|facts| refused_times(seen, facts)).unwrap_or_else(|| {
        let (first, last) = (sampled.iter().min(), sampled.iter().max());
        let range = first.zip(last).map(|(first, last)| format!("{} to {}", times::date(*first), times::date(*last)));
        Finding::ok(check, format!("{} sampled event times, {}", show_count(sampled.len() as u64), range.unwrap_or_default()))
    })
}

/// Times outside of 1990 to next year, with the unit that would fit. Where the topic deletes or refuses by time they
/// are refused: a wrong unit is then a loss, and not only a wrong time.
fn wrong_unit(seen: &Evidence<'_>, facts: Option<&KnownTopic>, field: &str) -> Option<Finding> {
    let sample = &seen.sample.times_ms;
    let odd = times::outside(sample, seen.now_ms)?;
    let unit = seen.job.record.timestamp_unit;
    let fact = format!(
        "{} have times outside of 1990 to next year, such as {} (record.timestamp = \"{field}\", record.timestamp_unit = \"{}\")",
        share(odd.count, sample.len() as u64, "sampled records"),
        times::date(odd.example),
        unit.typed()
    );
    let many = odd.count * FEW >= sample.len() as u64;
    let bound = facts.is_some_and(|facts| {
        let deletes = facts.retention.as_ref().is_some_and(|kept| kept.deletes && kept.ms.is_some());
        deletes && many && odd.past || refused_times(seen, facts).is_some()
    });
    let mend = match times::unit_that_fits(sample, unit, seen.now_ms) {
        Some(fits) => {
            format!("record.timestamp_unit = \"{fits}\" would give times from 1990 to next year; or --accept timestamps")
        }
        None => "look at the field's values, or --accept timestamps".to_owned(),
    };
    let found = if bound { Finding::fail(Check::Timestamps, fact) } else { Finding::warn(Check::Timestamps, fact) };
    Some(found.mend(mend).accept(Accept::Timestamps))
}

/// Times that the brokers refuse.
fn refused_times(seen: &Evidence<'_>, facts: &KnownTopic) -> Option<Finding> {
    let (earliest, latest) = facts.settings.times(seen.now_ms);
    let sample: &SourceSample = seen.sample;
    let (early, late) = (
        sample.times_ms.iter().filter(|time| **time < earliest).count() as u64,
        sample.times_ms.iter().filter(|time| **time > latest).count() as u64,
    );
    let (count, name, limit) = match (early, late) {
        (0, 0) => return None,
        (0, late) => (late, "message.timestamp.after.max.ms", facts.settings.after_max_ms),
        (early, _) => (early, "message.timestamp.before.max.ms", facts.settings.before_max_ms),
    };
    if seen.allows(count, sample.times_ms.len() as u64) {
        return None;
    }
    let limit = limit.unwrap_or_default();
    let fact = format!(
        "{} have event times that {name} = {limit} of topic {} refuses: they would be dead letters",
        share(count, sample.times_ms.len() as u64, "sampled records"),
        seen.job.kafka.topic
    );
    let mend = format!(
        "before the job: {}; put it back with {}; or --accept timestamps",
        alter(seen.job, &format!("--add-config {name}={}", i64::MAX)),
        alter(seen.job, &format!("--add-config {name}={limit}"))
    );
    Some(Finding::fail(Check::Timestamps, fact).mend(mend).accept(Accept::Timestamps))
}

/// What compaction does to the records.
pub(super) fn cleanup(seen: &Evidence<'_>, facts: &KnownTopic) -> Finding {
    let (check, job, sample) = (Check::Cleanup, seen.job, seen.sample);
    let name = &job.kafka.topic;
    if facts.retention.is_none() {
        return unread(check);
    }
    if !facts.settings.compacted {
        return Finding::ok(check, format!("{name} is not compacted"));
    }
    let keyless = match &job.record.key {
        None => sample.records,
        Some(_) => sample.without_key,
    };
    if keyless > 0 || job.record.key.is_none() {
        let fact = format!(
            "topic {name} is compacted (cleanup.policy) and takes no record without a key: {}",
            match &job.record.key {
                None => "the job names none".to_owned(),
                Some(key) => format!("{} have no {key}", share(keyless, sample.rows, "sampled rows")),
            }
        );
        let mend = "name a field that every record has with record.key; or --accept cleanup, and they become dead letters";
        return if job.record.key.is_some() && seen.allows(keyless, sample.rows) {
            Finding::ok(check, fact)
        } else if job.record.key.is_none() || keyless * 10 > sample.rows {
            Finding::fail(check, fact).mend(mend).accept(Accept::Cleanup)
        } else {
            Finding::warn(check, fact).mend(mend)
        };
    }
    let grew = seen.existing.and_then(|existing| existing.grew).is_some_and(|(records, _)| records > 0);
    if grew {
        let fact = format!(
            "topic {name} is compacted and others write to it now: an old value of the source that arrives behind their newer one stays"
        );
        return Finding::warn(check, fact)
            .mend("stop the other producers for the keys of this job, or send to a topic of its own");
    }
    Finding::ok(check, format!("{name} is compacted; records have keys"))
}

fn unread(check: Check) -> Finding {
    Finding::skip(check, "the topic's settings can't be read")
}

/// The time of the topic's newest record against this machine's clock: more than 5 minutes ahead is a warning.
pub(super) fn clock(seen: &Evidence<'_>) -> Finding {
    const AHEAD_MS: i64 = 5 * 60 * 1000;
    let newest = seen.existing.and_then(|existing| existing.newest_ms);
    match newest {
        None => Finding::skip(Check::Clock, "no record in the topic tells another clock's time"),
        Some(newest) if newest - seen.now_ms > AHEAD_MS => Finding::warn(
            Check::Clock,
            format!(
                "the topic's newest record is of {}, and this machine's clock says {}",
                times::date(newest),
                show_utc(u64::try_from(seen.now_ms).unwrap_or(0))
            ),
        )
        .mend("look at the clocks of this machine and of the other producers"),
        Some(_) => Finding::ok(Check::Clock, "no record in the topic is more than 5 minutes ahead of this machine's clock"),
    }
}
