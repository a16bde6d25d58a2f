//! Checks of single texts: names, topics, brokers, field paths, file patterns. Each says why it refuses.

/// The longest job name: with the shard's number it must fit into a client id and a file name.
const LONGEST_NAME: usize = 100;
/// Kafka's limit for topic names.
const LONGEST_TOPIC: usize = 249;

fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

fn only_plain(text: &str) -> Result<(), String> {
    match text.chars().find(|c| !plain(*c)) {
        Some(c) => Err(format!("{c:?} is not allowed")),
        None if text.is_empty() => Err("it is empty".into()),
        None => Ok(()),
    }
}

/// A job's name is a folder's name and part of client ids.
pub(crate) fn job_name(text: &str) -> Result<(), String> {
    only_plain(text)?;
    if text.starts_with('.') {
        return Err("it starts with a dot".into());
    }
    if text.len() > LONGEST_NAME {
        return Err(format!("it has {} characters", text.len()));
    }
    Ok(())
}

/// Kafka's rule for topic names.
pub(crate) fn topic(text: &str) -> Result<(), String> {
    only_plain(text)?;
    if matches!(text, "." | "..") {
        return Err("Kafka reserves this name".into());
    }
    if text.len() > LONGEST_TOPIC {
        return Err(format!("it has {} characters", text.len()));
    }
    Ok(())
}

/// `host`, `host:port` or `[v6]:port`.
pub(crate) fn broker(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("it is empty".into());
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, ',' | '"' | '\'')) {
        return Err("a host has no spaces, quotes or commas".into());
    }
    if text == "embedded" {
        return Err("the embedded broker stands alone, not in a list".into());
    }
    let after = text.rsplit_once(']').map_or(text, |(_, after)| after);
    let (host, port) = match after.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (after, None),
    };
    if host.is_empty() && after.len() == text.len() {
        return Err("the host is missing".into());
    }
    match port {
        Some(port) if !port.parse::<u16>().is_ok_and(|p| p > 0) => Err(format!("{port:?} is not a port")),
        _ => Ok(()),
    }
}

/// `.name` or `.outer.inner`.
pub(crate) fn field_path(text: &str) -> Result<(), String> {
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
        Some(c) => Err(format!("{c:?} is not allowed: only names of object fields, joined by dots")),
        None => Ok(()),
    }
}

/// A path or pattern: anything but nothing.
pub(crate) fn path(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("it is empty".into());
    }
    if text.contains('\0') {
        return Err("a path has no NUL".into());
    }
    Ok(())
}

/// One ASCII character: what stands between or around fields of CSV.
pub(crate) fn character(text: &str) -> Result<(), String> {
    match text.as_bytes() {
        [b'\n' | b'\r'] => Err("it is a line end".into()),
        [b'\t'] => Ok(()),
        [c] if c.is_ascii_control() => Err("it is a control character".into()),
        [c] if c.is_ascii() => Ok(()),
        _ if text.chars().count() == 1 => Err("it is not an ASCII character".into()),
        _ => Err(format!("it has {} characters", text.chars().count())),
    }
}

/// A column's name: anything but nothing.
pub(crate) fn name(text: &str) -> Result<(), String> {
    if text.is_empty() { Err("it is empty".into()) } else { Ok(()) }
}

/// A text that can be a field of CSV without quotes.
pub(crate) fn one_line(text: &str) -> Result<(), String> {
    if text.contains(['\n', '\r']) { Err("it has a line end".into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(check: fn(&str) -> Result<(), String>, good: &[&str], bad: &[&str]) {
        good.iter().for_each(|text| assert_eq!(check(text), Ok(()), "{text}"));
        bad.iter().for_each(|text| assert!(check(text).is_err(), "{text}"));
    }

    #[test]
    fn names() {
        split(job_name, &["a", "orders-backfill", "v1.2_x"], &["", ".", "..", ".hidden", "a/b", "a b", "ü", &"x".repeat(101)]);
        split(topic, &["orders", ".x", &"x".repeat(249)], &["", ".", "..", "a/b", "a b", &"x".repeat(250)]);
    }

    #[test]
    fn brokers() {
        split(
            broker,
            &["kafka-1:9092", "localhost", "[::1]:9092", "10.0.0.1:1", "SASL_SSL://b:9093"],
            &["", "a b:1", "a:0", "a:70000", "a:x", ":9092", "a:1,b:2", "embedded", "a:"],
        );
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
