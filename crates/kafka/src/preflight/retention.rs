//! What a topic's settings say of how long its records stay, and of its replicas.
//!
//! Responsible for: their meaning as facts. Not responsible for: asking the brokers, what follows for a job, or which
//! records the topic takes (`migration::TopicSettings`).

use migration::check::facts::Retention;

use crate::ffi::TopicSetting;

/// Retention, and `min.insync.replicas` if it is told. What can't be understood counts as no limit.
pub(super) fn read(settings: &[TopicSetting]) -> (Retention, Option<u32>) {
    let find = |name: &str| settings.iter().find(|setting| setting.name == name);
    // -1 is no limit.
    let limit = |name: &str| find(name).and_then(|setting| setting.value.parse::<u64>().ok());
    let is_own = |name: &str| find(name).is_some_and(|setting| setting.is_own);
    let policy = find("cleanup.policy").map_or("delete", |setting| &setting.value);
    let retention = Retention {
        ms: limit("retention.ms"),
        ms_is_own: is_own("retention.ms"),
        bytes: limit("retention.bytes"),
        bytes_is_own: is_own("retention.bytes"),
        deletes: policy.split(',').any(|policy| policy.trim() == "delete"),
        append_time: find("message.timestamp.type").is_some_and(|setting| setting.value == "LogAppendTime"),
    };
    (retention, find("min.insync.replicas").and_then(|setting| setting.value.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(triples: &[(&str, &str, bool)]) -> Vec<TopicSetting> {
        let setting =
            |&(name, value, is_own): &(&str, &str, bool)| TopicSetting { name: name.into(), value: value.into(), is_own };
        triples.iter().map(setting).collect()
    }

    #[test]
    fn limits_and_whose_they_are() {
        let found = read(&settings(&[
            ("retention.ms", "604800000", false),
            ("retention.bytes", "1073741824", true),
            ("cleanup.policy", "compact, delete", true),
            ("message.timestamp.type", "LogAppendTime", true),
            ("min.insync.replicas", "2", false),
        ]));
        let expected = Retention {
            ms: Some(604_800_000),
            ms_is_own: false,
            bytes: Some(1 << 30),
            bytes_is_own: true,
            deletes: true,
            append_time: true,
        };
        assert_eq!(found, (expected, Some(2)));
    }

    #[test]
    fn minus_one_is_no_limit_and_a_compacted_topic_deletes_nothing_by_age() {
        let (found, least) = read(&settings(&[
            ("retention.ms", "-1", true),
            ("retention.bytes", "-1", false),
            ("cleanup.policy", "compact", true),
            ("message.timestamp.type", "CreateTime", false),
        ]));
        assert_eq!(found, Retention { ms_is_own: true, ..Retention::default() });
        assert_eq!(least, None);
    }
}
