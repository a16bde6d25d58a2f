//! Text that others chose (names of files, what a broker says, what stands in a state) as a terminal may show it.
//!
//! Responsible for: that no control character, no line end and no invisible or direction-changing character of such a
//! text acts on a terminal, or makes one line look like two. JSON keeps texts as they are: there they are data.

use std::path::Path;

/// A name or message in one line: what a terminal would not show as itself is written as Rust writes it, such as
/// `\u{1b}` or `\n`.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| push(&mut out, c));
    out
}

/// The same of a path. Bytes that are not UTF-8 are shown as U+FFFD.
pub fn printable_path(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

/// The same of a text of several lines: line ends and tabs stay.
pub fn printable_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\n' | '\t') { out.push(c) } else { push(&mut out, c) }
    }
    out
}

/// JSON whose strings hold no character that would act on a terminal: parsed, it is the same. JSON itself escapes the
/// first 32 only.
pub fn printable_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if is_shown(c) {
            out.push(c);
        } else {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        }
    }
    out
}

fn push(out: &mut String, c: char) {
    if is_shown(c) { out.push(c) } else { out.extend(c.escape_debug()) }
}

/// Whether a character is shown as itself. Accents and the like are, behind a letter.
fn is_shown(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    let behind_a_letter = String::from_iter(['a', c]);
    behind_a_letter.escape_debug().eq(behind_a_letter.chars())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_written_out() {
        for (raw, shown) in [
            ("data/a\x1b]0;x\x07.jsonl", "data/a\\u{1b}]0;x\\u{7}.jsonl"),
            ("one\n  0  999 MiB  forged", "one\\n  0  999 MiB  forged"),
            ("a\rb\tc\0", "a\\rb\\tc\\0"),
            ("c1 \u{9b}31m, del \u{7f}", "c1 \\u{9b}31m, del \\u{7f}"),
            ("left \u{202e}txt.exe", "left \\u{202e}txt.exe"),
            ("hidden\u{200b}\u{feff}\u{2028}", "hidden\\u{200b}\\u{feff}\\u{2028}"),
            ("C:\\it's \"quoted\" größe 例 🚀", "C:\\it's \"quoted\" größe 例 🚀"),
            ("e\u{301}te\u{301}", "e\u{301}te\u{301}"),
        ] {
            assert_eq!(printable(raw), shown);
        }
        assert_eq!(printable_path(Path::new("a\u{1b}")), "a\\u{1b}");
        assert_eq!(printable_lines("a\n\tb\x1b\n"), "a\n\tb\\u{1b}\n");
    }

    #[test]
    fn json_means_the_same() {
        let raw = "{\"a\":\"x\u{9b}\u{7f}\u{202e}\u{e0001}ö\"}";
        let shown = printable_json(raw);
        assert_eq!(shown, "{\"a\":\"x\\u009b\\u007f\\u202e\\udb40\\udc01ö\"}");
    }
}
