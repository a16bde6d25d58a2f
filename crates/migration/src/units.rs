//! Sizes, durations and rates as people write them: `4MiB`, `100kB`, `512`; `5ms`, `1s`, `15min`; `50k/s`, `20MiB/s`.

use std::time::Duration;

use jiff::Timestamp;

const SIZES: [(&str, u64); 11] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
    ("", 1),
];

const TIMES: [(&str, u64); 9] = [
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("min", 60_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
    ("ns", 1),
];

/// Bytes of `"4MiB"`, `"100kB"`, `"512"`; fractions such as `"1.5GiB"` too.
pub fn parse_size(text: &str) -> Result<u64, String> {
    parse(text, &SIZES)
        .ok_or_else(|| format!("`{text}` is not a size; write a number with B, kB, KiB, MB, MiB, GB or GiB, such as \"4MiB\""))
}

/// The duration of `"100ms"`, `"1s"`, `"15min"`, `"2h"`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    parse(text, &TIMES)
        .map(Duration::from_nanos)
        .ok_or_else(|| format!("`{text}` is not a duration; write a number with us, ms, s, min, h or d, such as \"500ms\""))
}

const COUNTS: [(&str, u64); 4] = [("", 1), ("k", 1_000), ("M", 1_000_000), ("G", 1_000_000_000)];

/// Records a second of `"50000"`, `"50_000/s"`, `"50k"`, `"2.5/s"`; `"none"` is infinity.
pub fn parse_rate(text: &str) -> Result<f64, String> {
    parse_a_second(text, &COUNTS)
        .ok_or_else(|| format!("`{text}` is not a number of records a second above 0; write 50000, 50_000/s, 50k or none"))
}

/// Bytes a second of `"20MiB/s"`, `"100kB"`; `"none"` is infinity.
pub fn parse_byte_rate(text: &str) -> Result<f64, String> {
    parse_a_second(text, &SIZES)
        .ok_or_else(|| format!("`{text}` is not a number of bytes a second above 0; write 20MiB/s, 500kB or none"))
}

fn parse_a_second(text: &str, units: &[(&str, u64)]) -> Option<f64> {
    let text = text.trim();
    if text == "none" {
        return Some(f64::INFINITY);
    }
    let text = text.strip_suffix("/s").unwrap_or(text).trim_end();
    let (number, factor) = number_and_factor(text, units)?;
    let rate = number.parse::<f64>().ok()? * factor as f64;
    (rate.is_finite() && rate > 0.0).then_some(rate)
}

fn number_and_factor(text: &str, units: &[(&str, u64)]) -> Option<(String, u64)> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
    let unit = text[split..].trim();
    let factor = units.iter().find(|(name, _)| *name == unit)?.1;
    Some((text[..split].replace('_', ""), factor))
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, factor) = number_and_factor(text.trim(), units)?;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    let scaled = number.parse::<f64>().ok()? * factor as f64;
    (scaled.is_finite() && scaled >= 0.0 && scaled < u64::MAX as f64).then_some(scaled as u64)
}

/// A size for people: `132 B`, `4.0 KiB`, `1.3 GiB`.
pub fn show_size(bytes: u64) -> String {
    const NAMES: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < NAMES.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", NAMES[unit])
}

/// A count for people: `1,234,567`.
pub fn show_count(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// How many of many like things are told one by one.
const FIRST: usize = 3;

/// The first of many like things; `more` says what there is besides, from how many there are.
pub fn first_few(mut all: Vec<String>, more: impl FnOnce(u64) -> String) -> Vec<String> {
    let besides = all.len().saturating_sub(FIRST) as u64;
    all.truncate(FIRST);
    all.extend((besides > 0).then(|| more(besides)));
    all
}

/// A count of things for people: `1 file`, `1,234 files`.
pub fn show_things(count: u64, one: &str) -> String {
    format!("{} {one}{}", show_count(count), if count == 1 { "" } else { "s" })
}

/// A time of day (UTC, as the log has it) for people, from milliseconds since 1970: `08:31:07Z`.
pub fn show_time_of_day(unix_ms: u64) -> String {
    moment(unix_ms).strftime("%H:%M:%SZ").to_string()
}

/// A time of day, with its date if that is another day than that of `since`.
pub fn show_time_after(unix_ms: u64, since_ms: u64) -> String {
    let day = |unix_ms| moment(unix_ms).strftime("%Y-%m-%d").to_string();
    if day(unix_ms) == day(since_ms) { show_time_of_day(unix_ms) } else { show_utc(unix_ms) }
}

/// A moment for people, in UTC: 2026-11-23 08:35:28 UTC.
pub fn show_utc(unix_ms: u64) -> String {
    moment(unix_ms).strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Two moments for people, in UTC, from nanoseconds since 1970: to the second, or as exact as it takes to tell them
/// apart.
pub fn show_times_apart(one_ns: i64, other_ns: i64) -> (String, String) {
    let exact = one_ns.div_euclid(1_000_000_000) == other_ns.div_euclid(1_000_000_000);
    let form = if exact { "%Y-%m-%d %H:%M:%S.%9f UTC" } else { "%Y-%m-%d %H:%M:%S UTC" };
    let show = |ns: i64| Timestamp::from_nanosecond(ns.into()).unwrap_or(Timestamp::MAX).strftime(form).to_string();
    (show(one_ns), show(other_ns))
}

/// What is after the year 9999 is shown as its end: only a damaged file or a wrong clock says so.
fn moment(unix_ms: u64) -> Timestamp {
    i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX)
}

/// A duration for people: `3.2 ms`, `4.71 s`, `2 min 05 s`, `3 h 07 min`.
pub fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    let whole = seconds.round() as u64;
    if seconds < 0.001 {
        format!("{:.0} us", seconds * 1e6)
    } else if seconds < 1.0 {
        format!("{:.1} ms", seconds * 1e3)
    } else if whole < 60 {
        format!("{seconds:.2} s")
    } else if whole < 3600 {
        format!("{} min {:02} s", whole / 60, whole % 60)
    } else {
        format!("{} h {:02} min", whole / 3600, whole % 3600 / 60)
    }
}

/// A duration for people in whole seconds: `31 s`, `2 min 05 s`, `3 h 07 min`.
pub fn show_whole_seconds(duration: Duration) -> String {
    let whole = duration.as_secs_f64().round() as u64;
    if whole < 60 { format!("{whole} s") } else { show_duration(Duration::from_secs(whole)) }
}

/// A duration as a config has it, in the largest unit that needs no fraction: `15min`, `90s`, `1500ms`.
pub fn show_config_duration(duration: Duration) -> String {
    const UNITS: [(&str, u128); 4] = [("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1)];
    let ms = duration.as_millis();
    let fits = UNITS.iter().find(|(_, unit)| ms > 0 && ms.is_multiple_of(*unit));
    fits.map_or_else(|| format!("{ms}ms"), |(name, unit)| format!("{}{name}", ms / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_times_are_told_apart() {
        let (second, text) = (1_000_000_000, |text: &str| text.to_owned());
        assert_eq!(
            show_times_apart(0, 86_400 * second + 7),
            (text("1970-01-01 00:00:00 UTC"), text("1970-01-02 00:00:00 UTC"))
        );
        let close = ("1970-01-01 00:00:01.000000000 UTC", "1970-01-01 00:00:01.000000007 UTC");
        assert_eq!(show_times_apart(second, second + 7), (text(close.0), text(close.1)));
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("4MiB"), Ok(4 << 20));
        assert_eq!(parse_size("100 kB"), Ok(100_000));
        assert_eq!(parse_size("1.5KiB"), Ok(1536));
        assert_eq!(parse_size("1_000"), Ok(1000));
        for bad in ["", "MiB", "4 MiBs", "-1", "1e9", "99999999999TiB", "."] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
        assert_eq!(show_size(132), "132 B");
        assert_eq!(show_size(4 << 20), "4.0 MiB");
        assert_eq!(show_size((1 << 20) - 1), "1.0 MiB");
    }

    #[test]
    fn rates() {
        for (text, rate) in [("50000", 5e4), ("50_000/s", 5e4), ("50k", 5e4), ("1.5M/s", 1.5e6), ("0.5", 0.5)] {
            assert_eq!(parse_rate(text), Ok(rate), "{text}");
        }
        assert_eq!(parse_byte_rate("20MiB/s"), Ok(20.0 * 1048576.0));
        assert_eq!(parse_byte_rate("none"), Ok(f64::INFINITY));
        for bad in ["", "0", "/s", "-5", "5KiB", "inf", "NaN", "1e9", "50 per second", "none/s"] {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
        assert!(parse_byte_rate("0B/s").is_err());
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(parse_duration("15min"), Ok(Duration::from_secs(900)));
        assert_eq!(parse_duration("2.5ms"), Ok(Duration::from_micros(2500)));
        for bad in ["", "5", "ms", "-1s", "5 fortnights"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert_eq!(show_duration(Duration::from_secs(125)), "2 min 05 s");
        assert_eq!(show_duration(Duration::from_millis(4710)), "4.71 s");
        assert_eq!(show_duration(Duration::from_secs_f64(59.999)), "1 min 00 s");
        assert_eq!(show_time_of_day(1_795_422_667_999), "08:31:07Z");
        let after = |ms: u64| show_time_after(1_795_422_667_999 + ms, 1_795_422_667_999);
        assert_eq!((after(0), after(86_400_000)), ("08:31:07Z".into(), "2026-11-24 08:31:07 UTC".into()));
        let whole = [400, 31_400, 125_000, 11_220_000].map(|ms| show_whole_seconds(Duration::from_millis(ms)));
        assert_eq!(whole, ["0 s", "31 s", "2 min 05 s", "3 h 07 min"]);
        for text in ["15min", "90s", "1500ms", "2h", "20s"] {
            assert_eq!(show_config_duration(parse_duration(text).unwrap()), text);
        }
    }

    #[test]
    fn counts() {
        assert_eq!(show_count(0), "0");
        assert_eq!(show_count(999), "999");
        assert_eq!(show_count(1_234_567), "1,234,567");
        assert_eq!(show_things(1, "file"), "1 file");
        assert_eq!(show_things(1_000, "file"), "1,000 files");
    }
}
