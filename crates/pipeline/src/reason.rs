//! Why rows become no records, counted: reasons that differ in their numbers alone (at which byte, of how much) are of
//! one kind.

use std::borrow::Cow;

/// A reason with `N` for each number that stands alone. Digits of names (`.line2`, `ISO-8859-1`) stay.
pub fn kind(reason: &str) -> Cow<'_, str> {
    let bytes = reason.as_bytes();
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.') || !byte.is_ascii();
    let mut kind = String::new();
    let (mut copied, mut at) = (0, 0);
    while at < bytes.len() {
        let begins = bytes[at].is_ascii_digit() && at.checked_sub(1).is_none_or(|before| !of_name(bytes[before]));
        if !begins {
            at += 1;
            continue;
        }
        let rest = &bytes[at..];
        let mut length = rest.iter().take_while(|byte| byte.is_ascii_digit() || matches!(byte, b',' | b'.')).count();
        // A comma or full stop behind a number is the sentence's.
        while !rest[length - 1].is_ascii_digit() {
            length -= 1;
        }
        let end = at + length;
        if bytes.get(end).is_none_or(|next| !of_name(*next) || *next == b'.') {
            kind.push_str(&reason[copied..at]);
            kind.push('N');
            copied = end;
        }
        at = end;
    }
    if copied == 0 {
        return Cow::Borrowed(reason);
    }
    kind.push_str(&reason[copied..]);
    Cow::Owned(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_alone_make_no_other_kind() {
        let of = |at: u32| format!("invalid JSON before .k: expected a value at byte {at} of the line");
        assert_eq!(kind(&of(7)), kind(&of(1234)));
        assert_eq!(kind("1,024 bytes, which is more than 10, or 3."), "N bytes, which is more than N, or N.");
        assert_eq!(kind("17"), "N");
    }

    #[test]
    fn names_are_not_numbers() {
        for same in ["no field .line2", "no field .2nd.3", "v2_1 of ISO-8859-1", "é1", "", "12th"] {
            assert_eq!(kind(same), same);
        }
        assert_ne!(kind("no field .a1"), kind("no field .a2"));
    }
}
