//! Keys and values that are not to be read: how long they are and what they look like stays, what they say goes.

/// What stands for a letter or digit.
const MASK: char = '•';
/// Shorter texts show nothing of themselves.
const SHOWS_ENDS: usize = 6;

/// A key: `c••••••5`. What is neither letter nor digit stays; of a longer one also the first and the last.
pub fn masked(text: &str) -> String {
    let last = text.chars().count().saturating_sub(1);
    let shows_ends = last + 1 >= SHOWS_ENDS;
    let mask = |(at, letter): (usize, char)| if shows_ends && (at == 0 || at == last) { letter } else { hide(letter) };
    text.chars().enumerate().map(mask).collect()
}

/// A value, or what it begins with. Of JSON the names of fields stay, and `null`.
pub fn masked_value(text: &str) -> String {
    // A line of a log may begin with a bracket: what it quotes before a colon is no field's name.
    let begins = text.trim_start();
    let behind = begins.strip_prefix(['{', '[']).map(|behind| behind.trim_start().chars().next());
    if !behind.is_some_and(|next| next.is_none_or(|next| matches!(next, '"' | '{' | '[' | '}' | ']') || next.is_ascii_digit()))
    {
        return text.chars().map(hide).collect();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            let (string, behind) = rest.split_at(end_of_string(rest));
            let in_object = out.trim_end().ends_with(['{', ',']);
            let is_name = in_object && string.len() > 1 && string.ends_with('"') && behind.trim_start().starts_with(':');
            if is_name {
                out.push_str(string);
            } else {
                hide_string(string, &mut out);
            }
            rest = behind;
        } else if let Some(behind) = rest.strip_prefix("null") {
            out.push_str("null");
            rest = behind;
        } else {
            out.push(hide(first));
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

/// Where a string that begins here ends, closing quote included; all of it, if that is missing.
fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            b'"' if !escaped => return at + 1,
            _ => escaped = byte == b'\\' && !escaped,
        }
    }
    text.len()
}

/// An escape stands for one letter.
fn hide_string(string: &str, out: &mut String) {
    let mut letters = string.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => {
                if letters.next() == Some('u') {
                    letters.by_ref().take(4).for_each(drop);
                }
                out.push(MASK);
            }
            letter => out.push(hide(letter)),
        }
    }
}

fn hide(letter: char) -> char {
    if letter.is_ascii() && !letter.is_ascii_alphanumeric() { letter } else { MASK }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_length_and_shape() {
        assert_eq!(masked("abcdefg5"), "a••••••5");
        assert_eq!(masked("12345"), "•••••");
        assert_eq!(masked("ab-12_34.ü"), "a•-••_••.ü");
        assert_eq!(masked("é"), "•");
        assert_eq!(masked(""), "");
    }

    #[test]
    fn values_keep_the_names_of_fields_alone() {
        let value = r#"{"id": 17, "na\"me":"O\"Neill \u00e9\n", "tags":["a b",null,true,-1.5e3],"in":{"x":""}}"#;
        let hidden = r#"{"id": ••, "na\"me":"••••••• ••", "tags":["• •",null,••••,-•.•••],"in":{"x":""}}"#;
        assert_eq!(masked_value(value), hidden);
        assert_eq!(masked_value("Jan 5 host: x"), "••• • ••••: •");
        assert_eq!(masked_value(r#"[error] user "al@x": no"#), r#"[•••••] •••• "••@•": ••"#);
        assert_eq!(masked_value(r#"["al@x": 1]"#), r#"["••@•": •]"#);
    }

    #[test]
    fn a_value_that_is_cut_off_shows_nothing_of_what_was_cut() {
        assert_eq!(masked_value(r#"{"a":"secret"#), r#"{"a":"••••••"#);
        assert_eq!(masked_value(r#"{"a":"b","secr"#), r#"{"a":"•","••••"#);
        assert_eq!(masked_value(r#"{"a":"b\"#), r#"{"a":"••"#);
        assert_eq!(masked_value(r#"["key:", "a:b"]"#), r#"["•••:", "•:•"]"#);
    }
}
