//! Sentences in a terminal of 80 columns.

/// As wide as a terminal at least is.
pub const COLUMNS: usize = 80;

/// A text in lines of at most 80 columns, broken at spaces: the first one behind `first`, the others behind `next`.
/// What has no space stays whole. Without a line end.
pub fn wrapped(text: &str, first: &str, next: &str) -> String {
    wrapped_at(COLUMNS, text, first, next)
}

/// A text in lines that fit, those behind the first indented, with a line end.
pub(crate) fn indented(text: &str, indent: usize) -> String {
    wrapped(text, "", &" ".repeat(indent)) + "\n"
}

/// The same as [`wrapped`] for another width.
pub fn wrapped_at(columns: usize, text: &str, first: &str, next: &str) -> String {
    let mut out = first.to_owned();
    let (mut column, mut begins) = (first.chars().count(), true);
    for word in text.split(' ') {
        let needed = word.chars().count() + usize::from(!begins);
        if !begins && column + needed > columns {
            out.push('\n');
            out.push_str(next);
            (column, begins) = (next.chars().count(), true);
        }
        if !begins {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += word.chars().count();
        begins = false;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_at_spaces_and_nothing_is_lost() {
        let words = "word ".repeat(40) + &"x".repeat(100) + " end";
        let text = wrapped(&words, "  ", "    ");
        assert_eq!(text.split_whitespace().collect::<Vec<_>>(), words.split_whitespace().collect::<Vec<_>>());
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS || line.trim_start().len() == 100), "{text}");
        assert!(text.lines().skip(1).all(|line| line.starts_with("    ")), "{text}");
        assert_eq!(wrapped("short", "- ", ""), "- short");
    }
}
