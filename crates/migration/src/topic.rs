//! What a topic's settings say of the records that it takes.
//!
//! Responsible for: which settings matter, what they mean, and whether a record is surely refused because of them. Not
//! responsible for asking the brokers for them, nor for what becomes of a record that is refused.
//!
//! A batch with one record that the topic refuses is refused whole, and makes the client begin a new producer epoch:
//! slow, and a batch whose answer is lost at that moment is doubled. So what the settings decide is decided before the
//! client is asked.

use serde::{Deserialize, Serialize};

/// `max.message.bytes` where the topic's is unknown.
pub const DEFAULT_MESSAGE_BYTES: u32 = 1_000_000;

/// By how many milliseconds a time must be outside the topic's limits to be refused here. Brokers judge by their own
/// clocks, a record is judged when it arrives, and clocks that are kept differ by far less. What is nearer to a limit
/// the brokers decide.
pub const TIME_TOLERANCE_MS: i64 = 60_000;

/// A topic's settings, as far as they decide what it takes. The default is what is assumed where they can't be read: a
/// topic that refuses nothing but large batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicSettings {
    /// `max.message.bytes`: the limit of a batch, hence of a record.
    pub max_message_bytes: u32,
    /// `cleanup.policy` has `compact`: records without a key are refused.
    pub compacted: bool,
    /// How far before the brokers' clock a record's time may be (`message.timestamp.before.max.ms`); `None`: as far as
    /// one likes.
    pub before_max_ms: Option<i64>,
    /// How far after it (`message.timestamp.after.max.ms`).
    pub after_max_ms: Option<i64>,
}

impl Default for TopicSettings {
    fn default() -> Self {
        TopicSettings { max_message_bytes: DEFAULT_MESSAGE_BYTES, compacted: false, before_max_ms: None, after_max_ms: None }
    }
}

impl TopicSettings {
    /// From the names and values that brokers tell. An error names what is missing or can't be understood; everything
    /// that is there counts all the same.
    pub fn read<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> (TopicSettings, Result<(), String>) {
        let mut found = TopicSettings::default();
        let (mut bytes, mut before, mut after, mut around, mut append_time) = (None, None, None, None, false);
        let mut strange = Vec::new();
        for (name, value) in settings {
            let limit = || value.parse::<i64>().ok().filter(|limit| *limit >= 0);
            let place = match name {
                "cleanup.policy" => {
                    found.compacted = value.split(',').any(|policy| policy.trim() == "compact");
                    continue;
                }
                "message.timestamp.type" => {
                    append_time = value == "LogAppendTime";
                    continue;
                }
                "max.message.bytes" => &mut bytes,
                "message.timestamp.before.max.ms" => &mut before,
                "message.timestamp.after.max.ms" => &mut after,
                // Both at once, before Kafka 4.
                "message.timestamp.difference.max.ms" => &mut around,
                _ => continue,
            };
            *place = limit();
            if place.is_none() {
                strange.push(format!("{name} = {value:?}"));
            }
        }
        match bytes.and_then(|bytes| u32::try_from(bytes).ok()) {
            Some(bytes) => found.max_message_bytes = bytes,
            None => strange.push("no max.message.bytes".into()),
        }
        if !append_time {
            // With `LogAppendTime` the brokers write their own time over the record's and look at none.
            let limit = |own: Option<i64>| own.filter(|ms| *ms != i64::MAX).or(around).filter(|ms| *ms != i64::MAX);
            (found.before_max_ms, found.after_max_ms) = (limit(before), limit(after));
        }
        let understood = if strange.is_empty() { Ok(()) } else { Err(strange.join(", ")) };
        (found, understood)
    }

    /// The earliest and the latest time that is not surely refused when the clock says `now_ms`; milliseconds since
    /// 1970.
    pub fn times(&self, now_ms: i64) -> (i64, i64) {
        let away = |limit: i64| limit.saturating_add(TIME_TOLERANCE_MS);
        let earliest = self.before_max_ms.map_or(i64::MIN, |limit| now_ms.saturating_sub(away(limit)));
        let latest = self.after_max_ms.map_or(i64::MAX, |limit| now_ms.saturating_add(away(limit)));
        (earliest, latest)
    }

    /// Whether it says anything about times.
    pub fn limits_times(&self) -> bool {
        self.before_max_ms.is_some() || self.after_max_ms.is_some()
    }

    /// Why a record whose time is outside of [`TopicSettings::times`] is refused.
    pub fn too_early_or_late(&self, early: bool) -> String {
        let (side, setting, limit) = match early {
            true => ("before", "message.timestamp.before.max.ms", self.before_max_ms),
            false => ("after", "message.timestamp.after.max.ms", self.after_max_ms),
        };
        let limit = limit.unwrap_or(i64::MAX);
        format!("the record's timestamp is further {side} the present than the topic's {setting} = {limit} allows")
    }

    /// Why a record without a key is refused.
    pub fn no_key(&self) -> String {
        "the record has no key, and the topic is compacted (cleanup.policy): it takes none without one".into()
    }
}

/// Bytes that a record takes in a batch of its own, uncompressed, in the format that Kafka has used since 0.11.
/// `headers`: what [`header_bytes`] says of each, added up.
pub fn batch_bytes_of_one(key: Option<usize>, value: usize, headers: (usize, usize)) -> usize {
    const BATCH: usize = 61;
    let (count, headers) = headers;
    let key = key.map_or(varint_bytes(1), |key| varint_bytes(2 * key) + key);
    // Attributes, the differences of time and offset to the batch's own (none), and the two fields and headers with
    // lengths.
    let record = 3 + key + varint_bytes(2 * value) + value + varint_bytes(2 * count) + headers;
    BATCH + varint_bytes(2 * record) + record
}

/// Bytes of one header in a batch.
pub fn header_bytes(name: usize, value: usize) -> usize {
    varint_bytes(2 * name) + name + varint_bytes(2 * value) + value
}

/// Seven bits a byte; lengths are doubled first, because the format could hold negative ones.
fn varint_bytes(value: usize) -> usize {
    let bits = usize::BITS - value.leading_zeros();
    (bits.max(1) as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (TopicSettings, Result<(), String>) {
        TopicSettings::read(pairs.iter().copied())
    }

    #[test]
    fn settings_of_kafka_4_and_of_older_ones() {
        let none = i64::MAX.to_string();
        let four = [
            ("max.message.bytes", "1048588"),
            ("cleanup.policy", "delete"),
            ("message.timestamp.type", "CreateTime"),
            ("message.timestamp.before.max.ms", none.as_str()),
            ("message.timestamp.after.max.ms", "3600000"),
            ("retention.ms", "604800000"),
        ];
        let (found, told) = read(&four);
        let expected = TopicSettings { max_message_bytes: 1_048_588, after_max_ms: Some(3_600_000), ..Default::default() };
        assert_eq!((found, told), (expected, Ok(())));
        // Until 3.5 there was one limit for both; then it counts where its successors say nothing.
        let three =
            [("max.message.bytes", "1"), ("message.timestamp.difference.max.ms", "5"), ("cleanup.policy", "compact,delete")];
        let (found, _) = read(&three);
        assert_eq!((found.before_max_ms, found.after_max_ms, found.compacted), (Some(5), Some(5), true));
        let both = [("message.timestamp.difference.max.ms", "5"), ("message.timestamp.before.max.ms", "7")];
        assert_eq!((read(&both).0.before_max_ms, read(&both).0.after_max_ms), (Some(7), Some(5)));
    }

    #[test]
    fn with_the_brokers_time_the_records_own_does_not_matter() {
        let (found, _) = read(&[("message.timestamp.after.max.ms", "0"), ("message.timestamp.type", "LogAppendTime")]);
        assert!(!found.limits_times());
        assert_eq!(found.times(5), (i64::MIN, i64::MAX));
    }

    #[test]
    fn what_is_strange_is_named_and_the_rest_counts() {
        let (found, told) = read(&[("message.timestamp.before.max.ms", "-1"), ("cleanup.policy", " delete , compact")]);
        assert!(found.compacted && !found.limits_times());
        assert_eq!(told.unwrap_err(), "message.timestamp.before.max.ms = \"-1\", no max.message.bytes");
        assert_eq!(found.max_message_bytes, DEFAULT_MESSAGE_BYTES);
    }

    #[test]
    fn only_a_time_that_is_surely_refused_is_refused() {
        let hour = TopicSettings { before_max_ms: Some(3_600_000), after_max_ms: Some(0), ..Default::default() };
        let now = 1_700_000_000_000;
        assert_eq!(hour.times(now), (now - 3_660_000, now + 60_000));
        let far = TopicSettings { before_max_ms: Some(i64::MAX - 1), after_max_ms: Some(i64::MAX - 1), ..Default::default() };
        assert_eq!(far.times(now), (now - i64::MAX, i64::MAX));
        assert_eq!(far.times(-5).0, i64::MIN);
    }

    #[test]
    fn the_size_of_a_batch_with_one_record() {
        // As Kafka's own `DefaultRecordBatch.sizeInBytes` has them.
        assert_eq!(batch_bytes_of_one(None, 0, (0, 0)), 61 + 1 + 6);
        assert_eq!(batch_bytes_of_one(Some(0), 63, (0, 0)), 61 + 2 + 3 + 1 + 1 + 63 + 1);
        assert_eq!(batch_bytes_of_one(Some(3), 64, (0, 0)), 61 + 2 + 3 + 1 + 3 + 2 + 64 + 1);
        assert_eq!(
            batch_bytes_of_one(None, 1 << 20, (1, header_bytes(1, 70))),
            61 + 4 + 3 + 1 + 4 + (1 << 20) + 1 + 1 + 1 + 2 + 70
        );
    }
}
