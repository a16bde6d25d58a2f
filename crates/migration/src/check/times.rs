//! Event times of a sample: which are odd, which unit would fit, and how they are shown.

use std::time::Duration;

use crate::config::Vocabulary as _;
use crate::job::TimestampUnit;
use crate::units::{show_count, show_duration, show_utc};

/// The first moment of 1990.
const YEAR_1990_MS: i64 = 631_152_000_000;
/// A year and some days.
const NEXT_YEAR_MS: i64 = 366 * 86_400_000;

/// Times that are probably none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Odd {
    /// How many.
    pub(super) count: u64,
    /// The first of them.
    pub(super) example: i64,
    /// Whether some are before 1990.
    pub(super) past: bool,
}

/// Times outside of 1990 to next year, if there are some.
pub(super) fn outside(times_ms: &[i64], now_ms: i64) -> Option<Odd> {
    let odd: Vec<i64> = times_ms.iter().copied().filter(|time| !is_plausible(*time, now_ms)).collect();
    let example = *odd.first()?;
    Some(Odd { count: odd.len() as u64, example, past: odd.iter().any(|time| *time < YEAR_1990_MS) })
}

/// Whether a time lies in 1990 to next year.
pub(super) fn is_plausible(time_ms: i64, now_ms: i64) -> bool {
    (YEAR_1990_MS..=now_ms.saturating_add(NEXT_YEAR_MS)).contains(&time_ms)
}

/// The unit by which nearly all times that were read as `unit` would lie in 1990 to next year.
pub(super) fn unit_that_fits(times_ms: &[i64], unit: TimestampUnit, now_ms: i64) -> Option<&'static str> {
    use TimestampUnit as U;
    // How many milliseconds one of the unit is, in billionths.
    let size = |unit| match unit {
        U::Seconds => Some(1_000_000_000_000i128),
        U::Milliseconds => Some(1_000_000_000),
        U::Microseconds => Some(1_000_000),
        U::Rfc3339 => None,
    };
    let read_as = size(unit)?;
    let fits = |other: &U| {
        let as_other = |time: i64| i64::try_from(i128::from(time) * size(*other).unwrap_or(0) / read_as).unwrap_or(i64::MAX);
        let good = times_ms.iter().filter(|time| is_plausible(as_other(**time), now_ms)).count();
        *other != unit && good * 10 >= times_ms.len() * 9 && good > 0
    };
    [U::Seconds, U::Milliseconds, U::Microseconds].iter().find(|other| fits(other)).map(|unit| unit.typed())
}

/// A time, in milliseconds since 1970, as a date.
pub fn date(time_ms: i64) -> String {
    // The last moment of 9999; what is beyond has no date that people write.
    const LAST_MS: i64 = 253_402_300_799_999;
    match u64::try_from(time_ms) {
        Ok(time) if time_ms <= LAST_MS => show_utc(time),
        _ => format!("year {}", 1970 + time_ms / 31_556_952_000),
    }
}

/// What to say of event times where no topic was asked: the oldest is more than 7 days old, Kafka's default
/// `retention.ms`.
pub fn old_times(times_ms: &[i64], now_ms: i64) -> Option<String> {
    const DEFAULT_RETENTION_MS: i64 = 7 * 86_400_000;
    let oldest = *times_ms.iter().filter(|time| is_plausible(**time, now_ms)).min()?;
    (oldest < now_ms - DEFAULT_RETENTION_MS).then(|| {
        format!(
            "times of sampled records begin at {}: a topic keeps records for 7 days unless its retention.ms says otherwise, \
             by these times; `shardlift check` asks the topic",
            date(oldest)
        )
    })
}

/// How long records are kept: whole days are days.
pub(super) fn span(ms: u64) -> String {
    const DAY: u64 = 86_400_000;
    match ms / DAY {
        1 if ms == DAY => "1 day".to_owned(),
        days if days > 1 && ms.is_multiple_of(DAY) => format!("{} days", show_count(days)),
        _ => show_duration(Duration::from_millis(ms)),
    }
}

/// `67 % of 3,000 sampled records`; few ones are counted.
pub(super) fn share(part: u64, whole: u64, what: &str) -> String {
    let of = format!("{} {what}", show_count(whole));
    if part == whole {
        return if whole == 1 { format!("the only one of 1 {what}") } else { format!("all {of}") };
    }
    if part * 100 < whole || whole < 100 {
        return format!("{} of {of}", show_count(part));
    }
    format!("{} % of {of}", part * 100 / whole.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000_000;

    #[test]
    fn times_of_a_wrong_unit_are_odd_and_the_right_one_is_named() {
        let ms = [1_700_000_000_000, 1_600_000_000_000, 1_650_000_000_000];
        assert_eq!(outside(&ms, NOW), None);
        // Milliseconds that are read as microseconds, or as seconds; seconds that are read as milliseconds.
        let as_us = ms.map(|ms| ms / 1000);
        assert_eq!(outside(&as_us, NOW), Some(Odd { count: 3, example: 1_700_000_000, past: true }));
        assert_eq!(unit_that_fits(&as_us, TimestampUnit::Microseconds, NOW), Some("ms"));
        let as_s = ms.map(|ms| ms * 1000);
        assert_eq!(unit_that_fits(&as_s, TimestampUnit::Seconds, NOW), Some("ms"));
        assert_eq!(unit_that_fits(&as_us, TimestampUnit::Milliseconds, NOW), Some("s"));
        let seconds_as_us = ms.map(|ms| ms / 1_000_000);
        assert_eq!(unit_that_fits(&seconds_as_us, TimestampUnit::Microseconds, NOW), Some("s"));
        let us_as_s = ms.map(|ms| ms * 1_000_000);
        assert_eq!(unit_that_fits(&us_as_s, TimestampUnit::Seconds, NOW), Some("us"));
        assert_eq!(unit_that_fits(&[5, 7], TimestampUnit::Milliseconds, NOW), None);
        assert_eq!(unit_that_fits(&ms, TimestampUnit::Rfc3339, NOW), None);
    }

    #[test]
    fn times_older_than_what_a_topic_keeps_by_default_are_told() {
        let day = 86_400_000;
        assert_eq!(old_times(&[NOW - 6 * day, NOW, 5], NOW), None, "1970 is the other rule's");
        assert_eq!(old_times(&[], NOW), None);
        let told = old_times(&[NOW, NOW - 8 * day], NOW);
        assert!(told.is_some_and(|told| told.starts_with("times of sampled records begin at 2026-09-13")));
    }

    #[test]
    fn shares_and_dates_are_for_people() {
        assert_eq!(share(2010, 3000, "sampled records"), "67 % of 3,000 sampled records");
        assert_eq!(share(3, 3000, "sampled records"), "3 of 3,000 sampled records");
        assert_eq!(share(30, 30, "rows"), "all 30 rows");
        assert_eq!(date(1_700_000_000), "1970-01-20 16:13:20 UTC");
        assert_eq!(date(1_700_000_000_000_000), "year 55840");
        assert!(date(-1).starts_with("year 19"));
    }
}
