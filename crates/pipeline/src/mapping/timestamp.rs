//! Timestamps: from a field's text to milliseconds since 1970. No guessing: the unit is the config's, a text that is
//! not in it is an error, and so is a time before 1970, which Kafka can't hold, and 0, which its client can't send.
//! What is finer than a millisecond is cut off.

use jiff::SignedDuration;
use jiff::civil::{Date, date};
use migration::job::TimestampUnit;

/// What a timestamp in this unit should be.
pub(super) fn expected(unit: TimestampUnit) -> &'static str {
    match unit {
        TimestampUnit::Rfc3339 => "a string with an RFC 3339 time",
        TimestampUnit::Seconds => "a number of seconds",
        TimestampUnit::Milliseconds => "a number of milliseconds",
        TimestampUnit::Microseconds => "a number of microseconds",
    }
}

/// Why a time of 0 is no time: the client's own sign for "no time was given".
const ZERO: &str = "is 0 milliseconds since 1970, which a Kafka client can't send: it writes the time of sending instead";
const NO_TIME: &str = "is not an RFC 3339 time with an offset";

const EPOCH: Date = date(1970, 1, 1);

/// Milliseconds of an RFC 3339 time with an offset, years 0000 to 9999. `T` and `Z` may be small, a space may stand for
/// the `T`; a leap second (23:59:60 UTC at a month's end) is the last millisecond before it. The shape is read here,
/// because jiff's own parser takes more shapes (no seconds, `+02`, `[UTC]`), fewer years, and twice the time; the
/// calendar is jiff's.
pub(super) fn from_text(text: &[u8]) -> Result<i64, &'static str> {
    let (seconds, millis) = seconds_and_millis(text).ok_or(NO_TIME)?;
    match seconds * 1000 + millis {
        _ if seconds < 0 => Err("is before 1970"),
        0 => Err(ZERO),
        millis => Ok(millis),
    }
}

fn seconds_and_millis(text: &[u8]) -> Option<(i64, i64)> {
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T' | b't' | b' ', h1, h2, b':', n1, n2, b':', s1, s2, ref rest @ ..] =
        text
    else {
        return None;
    };
    let year = i16::from(pair(y1, y2)?) * 100 + i16::from(pair(y3, y4)?);
    let (hour, minute, second) = (pair(h1, h2)?, pair(n1, n2)?, pair(s1, s2)?);
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let day = Date::new(year, pair(m1, m2)?, pair(d1, d2)?).ok()?;
    let (millis, offset) = fraction(rest)?;
    let of_day = i64::from(hour) * 60 + i64::from(minute);
    let utc_minutes = day.duration_since(EPOCH).as_mins() + of_day - offset_minutes(offset)?;
    if second < 60 {
        return Some((utc_minutes * 60 + i64::from(second), millis));
    }
    is_last_of_a_month(utc_minutes).then_some((utc_minutes * 60 + 59, 999))
}

/// Whether this minute since 1970, in UTC, is its month's last: the only one that may have a leap second.
fn is_last_of_a_month(minutes: i64) -> bool {
    let utc = EPOCH.at(0, 0, 0, 0).checked_add(SignedDuration::from_mins(minutes));
    utc.is_ok_and(|utc| utc.date() == utc.date().last_of_month() && (utc.hour(), utc.minute()) == (23, 59))
}

/// Two digits.
fn pair(tens: u8, ones: u8) -> Option<i8> {
    (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| (tens - b'0') as i8 * 10 + (ones - b'0') as i8)
}

/// Milliseconds of a fraction of a second of any length, if one is there, and what stands behind it.
fn fraction(rest: &[u8]) -> Option<(i64, &[u8])> {
    let Some(digits) = rest.strip_prefix(b".") else { return Some((0, rest)) };
    let length = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    let digit = |at: usize| if at < length { i64::from(digits[at] - b'0') } else { 0 };
    (length > 0).then(|| (digit(0) * 100 + digit(1) * 10 + digit(2), &digits[length..]))
}

/// By how many minutes the time is ahead of UTC.
fn offset_minutes(offset: &[u8]) -> Option<i64> {
    match *offset {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (i64::from(pair(h1, h2)?), i64::from(pair(m1, m2)?));
            let ahead = hours * 60 + minutes;
            (hours < 24 && minutes < 60).then_some(if sign == b'-' { -ahead } else { ahead })
        }
        _ => None,
    }
}

/// Milliseconds of a JSON number in `unit`; exact whatever its length, fraction or exponent.
pub(super) fn from_number(text: &[u8], unit: TimestampUnit) -> Result<i64, &'static str> {
    let magnitude = text.strip_prefix(b"-").unwrap_or(text);
    let mantissa = magnitude.split(|b| matches!(b, b'e' | b'E')).next().unwrap_or(magnitude);
    if magnitude.len() < text.len() && mantissa.iter().any(|b| matches!(b, b'1'..=b'9')) {
        return Err("is negative");
    }
    match millis_of(magnitude, unit)? {
        0 => Err(ZERO),
        millis => Ok(millis),
    }
}

fn millis_of(text: &[u8], unit: TimestampUnit) -> Result<i64, &'static str> {
    const TOO_LARGE: &str = "is too large";
    let shift = match unit {
        TimestampUnit::Seconds => 3,
        TimestampUnit::Microseconds => -3,
        TimestampUnit::Milliseconds | TimestampUnit::Rfc3339 => 0,
    };
    let split = text.iter().position(|b| matches!(b, b'e' | b'E')).unwrap_or(text.len());
    let (mantissa, exponent) = (&text[..split], text.get(split + 1..).unwrap_or(b""));
    let point = mantissa.iter().position(|&b| b == b'.').unwrap_or(mantissa.len());
    let mut whole_digits = point as i64 + shift + signed(exponent);
    let mut millis: i64 = 0;
    for digit in mantissa.iter().filter(|&&b| b != b'.') {
        if whole_digits <= 0 {
            return Ok(millis);
        }
        whole_digits -= 1;
        millis = millis.checked_mul(10).and_then(|m| m.checked_add(i64::from(digit - b'0'))).ok_or(TOO_LARGE)?;
    }
    // The number's digits are used up, its zeros are not.
    match (millis, u32::try_from(whole_digits.max(0))) {
        (0, _) => Ok(0),
        (_, Ok(zeros)) => 10i64.checked_pow(zeros).and_then(|factor| millis.checked_mul(factor)).ok_or(TOO_LARGE),
        _ => Err(TOO_LARGE),
    }
}

/// An exponent's value, held within what matters; 0 for none.
fn signed(exponent: &[u8]) -> i64 {
    const FAR: i64 = 1 << 40;
    let (sign, digits) = match exponent {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] => (1, digits),
        digits => (1, digits),
    };
    sign * digits.iter().fold(0, |sum: i64, digit| (sum * 10 + i64::from(digit - b'0')).min(FAR))
}
