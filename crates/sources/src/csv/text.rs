//! Bytes of fields: runs that need no look, quotes that stand twice, and JSON strings.

/// All bytes of a word are this one.
const fn all(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Which bytes end a run: the ones that part fields, and those that a JSON string can't hold as they are or that need a
/// look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stops {
    stop: u8,
    word: u64,
}

impl Stops {
    pub(super) fn new(stop: u8) -> Self {
        Stops { stop, word: all(stop) }
    }

    /// The index from `at` on of the first byte that ends the run: the stop, a control character, `"`, `\`, or one that
    /// is not ASCII.
    #[inline]
    pub(super) fn find(self, bytes: &[u8], mut at: usize) -> usize {
        while let Some(word) = bytes[at..].first_chunk::<8>() {
            let word = u64::from_le_bytes(*word);
            // In each of these the lowest high bit that is set is right; those above it may not be.
            let zero = |word: u64| word.wrapping_sub(all(1)) & !word;
            let stops = zero(word ^ self.word)
                | zero(word ^ all(b'"'))
                | zero(word ^ all(b'\\'))
                | word.wrapping_sub(all(b' ')) & !word
                | word;
            let stops = stops & all(0x80);
            if stops != 0 {
                return at + (stops.trailing_zeros() / 8) as usize;
            }
            at += 8;
        }
        let plain = b' '..0x80;
        let ends = |byte: &u8| *byte == self.stop || !plain.contains(byte) || matches!(byte, b'"' | b'\\');
        bytes[at..].iter().position(ends).map_or(bytes.len(), |found| at + found)
    }
}

/// Appends a field's text, of which each quote that stands twice counts once.
pub(super) fn unquote(text: &[u8], quote: u8, into: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(found) = memchr::memchr(quote, &text[at..]) {
        into.extend_from_slice(&text[at..=at + found]);
        at = (at + found + 2).min(text.len());
    }
    into.extend_from_slice(&text[at..]);
}

/// Appends UTF-8 as it stands between the quotes of a JSON string.
pub(super) fn escape(text: &[u8], into: &mut Vec<u8>) {
    let mut run = 0;
    for (at, &byte) in text.iter().enumerate() {
        let letter = match byte {
            b'"' | b'\\' => byte,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            0..b' ' => 0,
            _ => continue,
        };
        into.extend_from_slice(&text[run..at]);
        run = at + 1;
        if letter == 0 {
            let digit = |value: u8| b"0123456789abcdef"[usize::from(value & 15)];
            into.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte)]);
        } else {
            into.extend_from_slice(&[b'\\', letter]);
        }
    }
    into.extend_from_slice(&text[run..]);
}

/// Whether a text is a number as JSON writes it.
pub(super) fn is_number(text: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let whole = digits(text);
    let mut rest = &text[whole..];
    if whole == 0 || whole > 1 && text[0] == b'0' {
        return false;
    }
    if let [b'.', behind @ ..] = rest {
        let behind_point = digits(behind);
        if behind_point == 0 {
            return false;
        }
        rest = &behind[behind_point..];
    }
    if let [b'e' | b'E', b'+' | b'-', power @ ..] | [b'e' | b'E', power @ ..] = rest {
        return !power.is_empty() && digits(power) == power.len();
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_at_the_first_byte_that_needs_a_look() {
        for stop in *b",\t;'" {
            let stops = Stops::new(stop);
            for byte in 0..=255 {
                for at in 0..20 {
                    let mut bytes = [b'a'; 20];
                    bytes[at] = byte;
                    // What follows must not matter.
                    bytes[at + 1..].fill(if at % 2 == 0 { 0xff } else { b'a' });
                    let ends = byte == stop || byte < b' ' || !byte.is_ascii() || byte == b'"' || byte == b'\\';
                    let next = if at % 2 == 0 { at + 1 } else { 20 };
                    assert_eq!(stops.find(&bytes, 0), if ends { at } else { next }, "{stop} {byte} {at}");
                }
            }
        }
    }

    #[test]
    fn numbers_are_those_of_json() {
        for number in ["0", "-0", "12", "-1.5", "0.25", "1e5", "1E+05", "1.0e-7", "123456789012345678901234567890"] {
            assert!(is_number(number.as_bytes()), "{number}");
        }
        for other in
            ["", "-", "+1", "007", "1.", ".5", "1e", "1e+", "0x1f", "NaN", "Infinity", " 1", "1 ", "1,5", "1_000", "--1"]
        {
            assert!(!is_number(other.as_bytes()), "{other}");
        }
    }
}
