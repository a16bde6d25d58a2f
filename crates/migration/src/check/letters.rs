//! The topic of dead letters: whether it takes and keeps them.

use std::time::Duration;

use super::facts::KnownTopic;
use super::{Check, Finding};
use crate::units::{show_count, show_size, show_things};
use crate::{Job, TopicSettings};

/// The largest batch of a client: a letter alone is no larger, and more of them are not sent together.
const BATCH_BYTES: u32 = 1_000_000;

/// Letters that go to files.
pub fn of_letter_files(job: &Job) -> Finding {
    Finding::ok(Check::DeadLetters, format!("they go to files below {}", crate::printable::printable_path(&job.state_path())))
}

/// The topic of the letters. `records`: the settings of that of the records, from which one producer has its limits.
pub fn of_letters(topic: &str, found: &KnownTopic, records: &TopicSettings) -> Finding {
    let check = Check::DeadLetters;
    if found.settings.compacted {
        return Finding::fail(
            check,
            format!(
                "topic {topic} is compacted (cleanup.policy): letters have no key or one that others have, and would be lost"
            ),
        )
        .mend("set cleanup.policy=delete on it, or, before a record is set aside, name another in dead_letters.topic");
    }
    let needed = records.max_message_bytes.min(BATCH_BYTES);
    if found.settings.max_message_bytes < needed {
        return Finding::fail(
            check,
            format!(
                "topic {topic} has max.message.bytes = {}, less than a batch of the job's producer ({} bytes): letters could be refused",
                found.settings.max_message_bytes,
                show_count(needed.into())
            ),
        )
        .mend(format!(
            "set max.message.bytes={needed} on it at least, or, before a record is set aside, name another in dead_letters.topic"
        ));
    }
    let Some(retention) = &found.retention else {
        let fact = format!(
            "the settings of topic {topic} can't be read (DescribeConfigs): how long it keeps letters, and whether it takes each, is \
             not known"
        );
        return Finding::warn(check, fact)
            .mend("grant DescribeConfigs on it, or look at cleanup.policy and retention yourself");
    };
    let (ms, bytes) = if retention.deletes { (retention.ms, retention.bytes) } else { (None, None) };
    let (mut limits, mut settings) = (Vec::new(), Vec::new());
    if let Some(ms) = ms {
        limits.push(format!("for {} (retention.ms = {ms})", age(ms)));
        settings.push("retention.ms=-1");
    }
    if let Some(bytes) = bytes {
        limits.push(format!("up to {} of each partition (retention.bytes = {bytes})", show_size(bytes)));
        settings.push("retention.bytes=-1");
    }
    if limits.is_empty() {
        return Finding::ok(check, format!("topic {topic} takes them, and keeps them"));
    }
    Finding::warn(check, format!("topic {topic} keeps letters {}", limits.join(" and ")))
        .mend(format!("read or send them again before, or set {} on it", settings.join(" and ")))
}

fn age(ms: u64) -> String {
    const DAY: u64 = 86_400_000;
    if ms >= DAY { show_things(ms / DAY, "day") } else { crate::units::show_duration(Duration::from_millis(ms)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::CheckLevel;
    use crate::check::facts::Retention;

    fn topic(settings: TopicSettings, ms: Option<u64>) -> KnownTopic {
        let retention = Some(Retention { ms, deletes: true, ..Retention::default() });
        KnownTopic { settings, retention, ..KnownTopic::default() }
    }

    #[test]
    fn what_would_lose_letters_is_refused_and_what_forgets_them_is_told() {
        let records = TopicSettings::default();
        let judged = |settings, ms| of_letters("t-dead-letters", &topic(settings, ms), &records);
        let compacted = judged(TopicSettings { compacted: true, ..records }, None);
        assert!(compacted.level == CheckLevel::Fail && compacted.fact.contains("cleanup.policy"), "{}", compacted.fact);
        let small = judged(TopicSettings { max_message_bytes: 999_999, ..records }, None);
        assert!(small.level == CheckLevel::Fail && small.fact.contains("max.message.bytes = 999999"), "{}", small.fact);
        assert_eq!(judged(TopicSettings { max_message_bytes: 1_000_000, ..records }, None).level, CheckLevel::Ok);
        // A job whose records are small has small batches.
        let few = TopicSettings { max_message_bytes: 5_000, ..records };
        assert_eq!(of_letters("t", &topic(few, None), &few).level, CheckLevel::Ok);
        let of = |retention| of_letters("t", &KnownTopic { settings: records, retention, ..KnownTopic::default() }, &records);
        let sized = of(Some(Retention { bytes: Some(1_000_000), deletes: true, ..Retention::default() }));
        assert!(sized.level == CheckLevel::Warn && sized.fact.contains("(retention.bytes = 1000000)"), "{}", sized.fact);
        let both = of(Some(Retention { ms: Some(1), bytes: Some(1), deletes: true, ..Retention::default() }));
        assert!(both.mend.as_deref().is_some_and(|mend| mend.contains("retention.ms=-1 and retention.bytes=-1")), "{both:?}");
        assert_eq!(of(Some(Retention { bytes: Some(1), deletes: false, ..Retention::default() })).level, CheckLevel::Ok);
        let unread = of(None);
        assert!(unread.level == CheckLevel::Warn && unread.fact.contains("is not known"), "{}", unread.fact);
        let week = judged(records, Some(604_800_000));
        assert!(week.level == CheckLevel::Warn && week.fact.contains("for 7 days"), "{}", week.fact);
        assert!(
            judged(records, Some(3_600_000)).fact.contains("for 60 min 00 s")
                || judged(records, Some(3_600_000)).fact.contains("1 h")
        );
    }
}
