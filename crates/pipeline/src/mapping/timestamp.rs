//! Timestamps: from a field's text to milliseconds since 1970. No guessing: the unit is the config's, a text that is not in it
//! is an error, and so is a time before 1970, which Kafka can't hold. What is finer than a millisecond is cut off.

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

/// Milliseconds of an RFC 3339 time with an offset.
pub(super) fn from_text(text: &[u8]) -> Result<i64, &'static str> {
    let time: jiff::Timestamp =
        std::str::from_utf8(text).ok().and_then(|t| t.parse().ok()).ok_or("is not an RFC 3339 time with an offset")?;
    if time < jiff::Timestamp::UNIX_EPOCH { Err("is before 1970") } else { Ok(time.as_millisecond()) }
}

/// Milliseconds of a JSON number in `unit`; exact whatever its length, fraction or exponent.
pub(super) fn from_number(text: &[u8], unit: TimestampUnit) -> Result<i64, &'static str> {
    const TOO_LARGE: &str = "is too large";
    if text.first() == Some(&b'-') {
        return Err("is negative");
    }
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
