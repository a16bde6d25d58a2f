//! Checks of single texts: names, topics, brokers, field paths, file patterns. Each says why it refuses.

mod broker;
mod paths;

pub(crate) use broker::broker;
pub(crate) use paths::{path, pattern};

/// Why a text is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Completes "it is refused: …".
    pub why: String,
    /// What to write instead, where that is known; else what is allowed at all is told.
    pub instead: Option<String>,
}

impl Refusal {
    pub(crate) fn with(why: impl Into<String>, instead: impl Into<String>) -> Refusal {
        Refusal { why: why.into(), instead: Some(instead.into()) }
    }
}

impl From<String> for Refusal {
    fn from(why: String) -> Refusal {
        Refusal { why, instead: None }
    }
}

impl From<&str> for Refusal {
    fn from(why: &str) -> Refusal {
        why.to_owned().into()
    }
}

/// The longest job name: with the shard's number it must fit into a client id and a file name.
const LONGEST_NAME: usize = 100;
/// Kafka's limit for topic names.
const LONGEST_TOPIC: usize = 249;

fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

fn only_plain(text: &str) -> Result<(), Refusal> {
    match text.chars().find(|c| !plain(*c)) {
        Some(c) => Err(format!("{c:?} is not allowed").into()),
        None if text.is_empty() => Err("it is empty".into()),
        None => Ok(()),
    }
}

/// A job's name is a folder's name and part of client ids.
pub(crate) fn job_name(text: &str) -> Result<(), Refusal> {
    only_plain(text)?;
    if text.starts_with('.') {
        return Err("it starts with a dot".into());
    }
    for (ending, who) in [(".retry-", "that send dead letters again"), (".repair-", "that send what a topic lacks")] {
        if let Some((_, number)) = text.rsplit_once(ending)
            && !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
        {
            return Err(format!("so are the jobs called {who}").into());
        }
    }
    if text.len() > LONGEST_NAME {
        return Err(format!("it has {} characters", text.len()).into());
    }
    Ok(())
}

/// A client id: what a quota can name in a command without quotes.
pub(crate) fn client_id(text: &str) -> Result<(), Refusal> {
    only_plain(&text.replace('/', "-"))?;
    if text.len() > LONGEST_TOPIC { Err(format!("it has {} characters", text.len()).into()) } else { Ok(()) }
}

/// Kafka's rule for topic names.
pub(crate) fn topic(text: &str) -> Result<(), Refusal> {
    only_plain(text)?;
    if matches!(text, "." | "..") {
        return Err("Kafka reserves this name".into());
    }
    if text.len() > LONGEST_TOPIC {
        return Err(format!("it has {} characters", text.len()).into());
    }
    Ok(())
}

/// `.name` or `.outer.inner`.
pub(crate) fn field_path(text: &str) -> Result<(), Refusal> {
    let Some(rest) = text.strip_prefix('.') else {
        return Err("it must start with a dot".into());
    };
    if rest.is_empty() {
        return Err("the field's name is missing".into());
    }
    if rest.split('.').any(str::is_empty) {
        return Err("a field's name is empty".into());
    }
    match rest.chars().find(|c| c.is_whitespace() || c.is_control() || matches!(c, '[' | ']' | '"' | '\'' | '*')) {
        Some(c) => Err(format!("{c:?} is not allowed: only names of object fields, joined by dots").into()),
        None => Ok(()),
    }
}

/// One ASCII character: what stands between or around fields of CSV.
pub(crate) fn character(text: &str) -> Result<(), Refusal> {
    match text.as_bytes() {
        [b'\n' | b'\r'] => Err("it is a line end".into()),
        [b'\t'] => Ok(()),
        [c] if c.is_ascii_control() => Err("it is a control character".into()),
        [c] if c.is_ascii() => Ok(()),
        _ if text.chars().count() == 1 => Err("it is not an ASCII character".into()),
        _ => Err(format!("it has {} characters", text.chars().count()).into()),
    }
}

/// A column's name: anything but nothing.
pub(crate) fn name(text: &str) -> Result<(), Refusal> {
    if text.is_empty() { Err("it is empty".into()) } else { Ok(()) }
}

/// A text that can be a field of CSV without quotes.
pub(crate) fn one_line(text: &str) -> Result<(), Refusal> {
    if text.contains(['\n', '\r']) { Err("it has a line end".into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(check: fn(&str) -> Result<(), Refusal>, good: &[&str], bad: &[&str]) {
        good.iter().for_each(|text| assert_eq!(check(text), Ok(()), "{text}"));
        bad.iter().for_each(|text| assert!(check(text).is_err(), "{text}"));
    }

    #[test]
    fn names() {
        split(
            job_name,
            &["a", "orders-backfill", "v1.2_x", "a.retry-", "a.retry-1b", "a-retry-1"],
            &["", ".", "..", ".hidden", "a/b", "a b", "ü", &"x".repeat(101), "a.retry-1", "a.retry-01", "a.repair-2"],
        );
        split(topic, &["orders", ".x", &"x".repeat(249)], &["", ".", "..", "a/b", "a b", &"x".repeat(250)]);
    }

    #[test]
    fn field_paths() {
        split(
            field_path,
            &[".a", ".a.b", ".customer-id", ".größe", ".$id"],
            &["", ".", "a", ".a.", "..a", ".a[0]", ".a b", ".*"],
        );
    }

    #[test]
    fn characters_of_csv() {
        split(character, &[",", ";", "\t", "|", "'", " "], &["", ",,", "ü", "\n", "\r", "\0", "\u{7f}"]);
        split(one_line, &["", "NULL", "\\N"], &["a\nb", "\r"]);
        split(name, &["id", "a b"], &[""]);
    }
}
