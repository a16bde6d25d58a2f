//! Timestamps: from a field's text to milliseconds since 1970. No guessing: the unit is the config's, a text that is not in it
//! is an error, and so is a time before 1970, which Kafka can't hold, and 0, which its client can't send. What is finer than a
//! millisecond is cut off.

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

/// Milliseconds of an RFC 3339 time with an offset, years 0000 to 9999. `T` and `Z` may be small, a space may stand for the `T`;
/// a leap second (23:59:60 UTC at a month's end) is the last millisecond before it.
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
    let (year, month, day) = (pair(y1, y2)? * 100 + pair(y3, y4)?, pair(m1, m2)?, pair(d1, d2)?);
    let (hour, minute, second) = (pair(h1, h2)?, pair(n1, n2)?, pair(s1, s2)?);
    if !(1..=12).contains(&month) || !(1..=days_of(year, month)).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (millis, offset) = fraction(rest)?;
    let minutes = hour * 60 + minute - offset_minutes(offset)?;
    let utc = days_since_1970(year, month, day) * 86_400 + minutes * 60;
    if second < 60 {
        return Some((utc + second, millis));
    }
    let after = utc + 60;
    let month_ends = [(year, month), if month == 12 { (year + 1, 1) } else { (year, month + 1) }];
    let is_leap = month_ends.iter().any(|&(year, month)| days_since_1970(year, month, 1) * 86_400 == after);
    is_leap.then_some((after - 1, 999))
}

/// Two digits.
fn pair(tens: u8, ones: u8) -> Option<i64> {
    (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
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
            let (hours, minutes) = (pair(h1, h2)?, pair(m1, m2)?);
            let ahead = hours * 60 + minutes;
            (hours < 24 && minutes < 60).then_some(if sign == b'-' { -ahead } else { ahead })
        }
        _ => None,
    }
}

fn is_leap_year(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap_year(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01, in the calendar of today. Years are counted from March: then the leap day is a year's last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468
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
