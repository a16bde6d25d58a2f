//! JSON in its forms: a value on each line, or something else that only looks like it.

use pipeline::mapping::not_whole;

use super::known::{self, Known};

/// How many lines that are not blank are looked at.
const LINES: usize = 50;

/// What the lines of a text's beginning are.
#[derive(Default)]
struct Lines<'a> {
    /// Not blank, without their ends and the white space around.
    lines: Vec<&'a [u8]>,
    /// A JSON value each.
    values: usize,
    /// Of these, or nearly these (`NaN`, letters of another encoding), objects.
    objects: usize,
    /// Begin as objects do, with a name.
    begun: usize,
    /// Are objects with a comma behind.
    with_comma: usize,
}

/// The form of JSON that a text has; `None`: it is none. `whole`: these are all of its bytes.
pub(super) fn of(text: &[u8], whole: bool) -> Option<&'static Known> {
    if text[0] == 0x1e {
        return Some(&known::SEQUENCE);
    }
    let first = text.trim_ascii_start();
    let Some(seen) = looked(first, whole) else {
        // A line that is longer than what is seen.
        return match first[0] {
            b'{' if closes_within(first) => Some(&known::ON_ONE_LINE),
            b'{' => Some(&known::OBJECTS),
            b'[' if is_array_of_values(first) => Some(&known::ARRAY),
            b'[' if is_array(first) => Some(&known::VALUES),
            _ => None,
        };
    };
    let Lines { lines, values, objects, begun, with_comma } = seen;
    let most = |count: usize| count * 2 >= lines.len();
    let alone = lines.len() == 1 && whole;
    if alone && first[0] == b'[' && (is_array_of_values(first) || lines[0] == b"[]") {
        return Some(&known::ARRAY);
    }
    if most(values) || is_object(lines[0]) {
        return Some(if is_action(lines[0]) && lines.get(1).is_none_or(|line| is_object(line)) {
            &known::BULK
        } else if most(objects) || objects * 2 >= values {
            &known::OBJECTS
        } else {
            &known::VALUES
        });
    }
    if first[0] == b'[' {
        let by_line = lines.get(1).is_some_and(|line| line.starts_with(b"{") && line.ends_with(b"},"));
        return match is_array(first) {
            true if by_line => Some(&known::ARRAY_BY_LINE),
            true => Some(&known::ARRAY),
            false => None,
        };
    }
    if most(lines.iter().filter(|line| line.starts_with(b"{'") || line.starts_with(b"{u'")).count()) {
        return Some(&known::PYTHON);
    }
    if first[0] != b'{' {
        return None;
    }
    if lines.iter().any(|line| {
        [&b"ObjectId("[..], b"ISODate(", b"NumberLong("].iter().any(|word| memchr::memmem::find(line, word).is_some())
    }) {
        return Some(&known::MONGO);
    }
    if most(with_comma) && with_comma > 0 {
        return Some(&known::WITH_COMMAS);
    }
    if most(lines.iter().filter(|line| closes_within(line)).count()) {
        return Some(&known::ON_ONE_LINE);
    }
    // Lines that are broken in one way or another: the mapping says how.
    if most(begun) && !spans_lines(first) {
        return Some(&known::OBJECTS);
    }
    if !matches!(first[1..].trim_ascii_start().first(), None | Some(b'"' | b'}')) {
        return None;
    }
    let end = value_end(first).unwrap_or(first.len());
    Some(match first[end..].trim_ascii_start().first() {
        Some(b'{') => &known::DOCUMENTS,
        Some(b',') => &known::WITH_COMMAS,
        _ => &known::DOCUMENT,
    })
}

/// Looks at the lines; `None`: no line ends in what is seen.
fn looked(text: &[u8], whole: bool) -> Option<Lines<'_>> {
    let text = if whole { text } else { &text[..memchr::memrchr(b'\n', text)?] };
    let mut seen = Lines::default();
    for line in text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()).take(LINES) {
        let object = is_object(line);
        seen.values += usize::from(object || is_value(line));
        seen.objects += usize::from(object);
        let inside = line.strip_prefix(b"{").map(<[u8]>::trim_ascii_start);
        seen.begun += usize::from(inside.is_some_and(|inside| inside.starts_with(b"\"")));
        seen.with_comma += usize::from(line.ends_with(b"},") && is_object(&line[..line.len() - 1]));
        seen.lines.push(line);
    }
    Some(seen)
}

/// Whether a line is a JSON value. In which encoding its letters are is no matter.
fn is_value(line: &[u8]) -> bool {
    not_whole(line).is_none_or(|(what, _)| what == "bytes that are not UTF-8")
}

/// Whether a line is a JSON object, or one with a value that JSON does not know: `NaN`.
fn is_object(line: &[u8]) -> bool {
    if !line.starts_with(b"{") {
        return false;
    }
    let named = line[1..].trim_ascii_start().starts_with(b"\"") && memchr::memchr(b'(', line).is_none();
    is_value(line) || named && value_end(line) == Some(line.len())
}

/// Whether a line says what is done with the document that follows: `{"index":{…}}`.
fn is_action(line: &[u8]) -> bool {
    let Some(inside) = line.strip_prefix(b"{").map(<[u8]>::trim_ascii_start) else { return false };
    let named =
        [&b"\"index\""[..], b"\"create\"", b"\"update\"", b"\"delete\""].iter().find_map(|name| inside.strip_prefix(*name));
    let Some(behind) = named.map(<[u8]>::trim_ascii_start).and_then(|behind| behind.strip_prefix(b":")) else { return false };
    let behind = behind.trim_ascii_start();
    // Nothing but what says where the document goes.
    let own = [&b"{}"[..], b"{\"_", b"{ \"_", b"{\"retry_on_conflict", b"{\"routing", b"{\"pipeline"];
    let Some(end) = value_end(behind) else { return false };
    own.iter().any(|begin| behind.starts_with(begin)) && behind[end..].trim_ascii() == b"}"
}

/// Whether a text begins with an array: an opening bracket alone makes none.
fn is_array(text: &[u8]) -> bool {
    let Some(inside) = text.strip_prefix(b"[").map(<[u8]>::trim_ascii_start) else { return false };
    match inside.first() {
        None => true,
        Some(b'{') => matches!(inside[1..].trim_ascii_start().first(), None | Some(b'"' | b'}')),
        Some(b'[') => is_array(inside),
        Some(b']') => inside[1..].trim_ascii().is_empty(),
        _ => {
            let end = scalar_end(inside);
            let behind = inside[end..].trim_ascii_start().first();
            end == inside.len()
                || is_value(&inside[..end]) && matches!(behind, None | Some(b','))
                || is_value(&inside[..end]) && behind == Some(&b']') && value_end(text) == Some(text.trim_ascii_end().len())
        }
    }
}

/// Whether a text begins with an array of objects or arrays.
fn is_array_of_values(text: &[u8]) -> bool {
    let inside = text.get(1..).unwrap_or_default().trim_ascii_start();
    matches!(inside.first(), Some(b'{' | b'[')) && is_array(text)
}

/// One past the end of a string, number or word.
fn scalar_end(text: &[u8]) -> usize {
    if text.first() == Some(&b'"') {
        return value_end(text).unwrap_or(text.len());
    }
    text.iter().position(|byte| matches!(byte, b',' | b']' | b'}') || byte.is_ascii_whitespace()).unwrap_or(text.len())
}

/// Whether the object at the beginning of a line ends within it and another begins there.
fn closes_within(line: &[u8]) -> bool {
    value_end(line).is_some_and(|end| line[..end].ends_with(b"}") && line[end..].trim_ascii_start().starts_with(b"{\""))
}

/// Whether the object at the beginning is over only on a later line, by a line that is its end alone or begins with a
/// name.
fn spans_lines(text: &[u8]) -> bool {
    let Some(newline) = memchr::memchr(b'\n', text) else { return false };
    if value_end(&text[..newline]).is_some() {
        return false;
    }
    let next = text[newline..].trim_ascii_start().first();
    text[..newline].trim_ascii_end().ends_with(b",") && next == Some(&b'"') || next == Some(&b'}')
}

/// One past the end of the object, array or string that a text begins with; `None`: it does not end here.
fn value_end(text: &[u8]) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        match text[at] {
            b'"' => {
                at = string_end(text, at)?;
                if depth == 0 {
                    return Some(at);
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// One past the quote that closes the string at a place.
fn string_end(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}
