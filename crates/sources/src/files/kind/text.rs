//! Text that is not JSON, and what in lines of JSON may surprise.

use pipeline::mapping::not_whole;

use super::BOM;
use super::known::{self, Known};

/// How many lines that are not blank are looked at.
const LINES: usize = 12;

/// What a text is that is not JSON. `whole`: these are all of its bytes.
pub(super) fn of(text: &[u8], whole: bool) -> &'static Known {
    let text = text.trim_ascii_start();
    let begin = String::from_utf8_lossy(&text[..text.len().min(4 << 10)]).to_lowercase();
    if begin.starts_with("version https://git-lfs.github.com/spec/") {
        return &known::LFS;
    }
    if let Some(known) = markup(&begin) {
        return known;
    }
    let lines = lines(text, whole);
    if is_sql(&begin, &lines) {
        return &known::SQL;
    }
    if begin.starts_with("window.ytd.") || is_assignment(&begin) {
        return &known::JAVASCRIPT;
    }
    let most = |is: fn(&[u8]) -> bool| lines.iter().filter(|line| is(line)).count() * 2 > lines.len();
    if most(has_object_behind_text) {
        return &known::BEHIND_TEXT;
    }
    if let Some(known) = table(&lines) {
        return known;
    }
    if is_yaml(&lines) {
        return &known::YAML;
    }
    if is_other_encoding(text) { &known::OTHER_ENCODING } else { &known::PLAIN }
}

/// The first lines that are not blank, without their ends.
fn lines(text: &[u8], whole: bool) -> Vec<&[u8]> {
    let end = if whole { text.len() } else { memchr::memrchr(b'\n', text).unwrap_or(text.len()) };
    let lines = text[..end].split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.filter(|line| !line.trim_ascii().is_empty()).take(LINES).collect()
}

/// What begins with a tag. `<nick> words` and `<34>Oct 11` begin with none.
fn markup(begin: &str) -> Option<&'static Known> {
    if begin.starts_with("<!doctype html") || begin.starts_with("<html") {
        return Some(&known::HTML);
    }
    let declared = begin.starts_with("<?xml") || begin.starts_with("<!doctype") || begin.starts_with("<!--");
    let name =
        begin.strip_prefix('<').and_then(|rest| rest.split(|letter: char| letter.is_whitespace() || letter == '>').next());
    let closes = |name: &str| begin.contains(&format!("</{name}>"));
    let named = name.is_some_and(|name| name.starts_with(|letter: char| letter.is_ascii_alphabetic()) && closes(name));
    if !declared && !named {
        return None;
    }
    Some(if begin.contains("<error>") && begin.contains("<code>") {
        &known::ERROR_PAGE
    } else if begin.contains("<html") {
        &known::HTML
    } else {
        &known::XML
    })
}

fn is_sql(begin: &str, lines: &[&[u8]]) -> bool {
    let words = ["-- mysql dump", "-- mariadb dump", "-- postgresql database dump", "-- dump", "--\n-- postgresql database"];
    let statements =
        ["create table ", "insert into ", "drop table ", "begin transaction;", "set names ", "/*!40", "pragma foreign_keys"];
    let copies = |line: &&[u8]| line.starts_with(b"COPY ") && line.ends_with(b"FROM stdin;");
    words.iter().chain(&statements).any(|word| begin.starts_with(word)) || lines.iter().any(copies)
}

/// `const orders = [`
fn is_assignment(begin: &str) -> bool {
    let name = ["var ", "let ", "const ", "export "].iter().any(|word| begin.starts_with(word));
    let Some((before, behind)) = begin.split_once('=') else { return false };
    name && before.len() < 80 && behind.trim_start().starts_with(['[', '{'])
}

/// Whether a line ends in a JSON object behind other text.
fn has_object_behind_text(line: &[u8]) -> bool {
    let start = memchr::memchr(b'{', line).filter(|start| *start > 0);
    start.is_some_and(|start| line.ends_with(b"}") && line[start..].starts_with(b"{\"") && not_whole(&line[start..]).is_none())
}

/// Rows of fields: as many of them in each, with names in the first, or at least three of them.
fn table(lines: &[&[u8]]) -> Option<&'static Known> {
    let tabs = |line: &&&[u8]| line.split(|byte| *byte == b'\t').any(|field| field == b"\\N");
    if lines.iter().any(|line| tabs(&line)) {
        return Some(&known::COPY);
    }
    let kinds = [(b',', &known::CSV), (b'\t', &known::TSV), (b';', &known::CSV_SEMICOLONS), (b'|', &known::CSV_BARS)];
    let (first, others) = lines.split_first()?;
    let fields = |line: &[u8], delimiter| split(line, delimiter).map(|fields| fields.len());
    for (delimiter, known) in kinds {
        let Some(columns) = split(first, delimiter).filter(|columns| columns.len() > 1) else { continue };
        // A row whose field goes on in the next line, or one that is broken, makes no difference.
        let same = others.iter().filter(|line| fields(line, delimiter) == Some(columns.len())).count();
        if same * 2 < others.len() {
            continue;
        }
        if columns.iter().all(|name| is_name(name)) {
            return Some(known);
        }
        if columns.len() > 2 && same == others.len() && same > 1 && (delimiter == b',' || delimiter == b'\t') {
            return Some(&known::CSV_WITHOUT_NAMES);
        }
    }
    None
}

/// The fields of a row; `None`: a quote is not closed.
fn split(line: &[u8], delimiter: u8) -> Option<Vec<&[u8]>> {
    let (mut fields, mut start, mut quoted) = (Vec::new(), 0, false);
    for (at, byte) in line.iter().enumerate() {
        match *byte {
            b'"' => quoted = !quoted,
            byte if byte == delimiter && !quoted => {
                fields.push(&line[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    fields.push(&line[start..]);
    (!quoted).then_some(fields)
}

/// Whether a field may name a column: some words, no number, no sentence.
fn is_name(field: &[u8]) -> bool {
    let field = field.trim_ascii();
    let name = field.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\"")).unwrap_or(field);
    let inside = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.# ()/$%".contains(byte) || *byte >= 0x80;
    let words = name.split(|byte| *byte == b' ').count();
    let sentence = name.ends_with(b".") || memchr::memmem::find(name, b". ").is_some();
    name.first().is_some_and(|first| first.is_ascii_alphabetic() || *first == b'_' || *first >= 0x80)
        && name.len() <= 64
        && words <= 4
        && !sentence
        && name.iter().all(inside)
}

/// A document's begin, or names with values of which some stand further in.
fn is_yaml(lines: &[&[u8]]) -> bool {
    let named = |line: &&&[u8]| {
        let item = line.trim_ascii_start();
        let item = item.strip_prefix(b"- ").unwrap_or(item);
        let name = item.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')).count();
        let behind = &item[name..];
        name > 0 && item[0].is_ascii_lowercase() && (behind.starts_with(b": ") || behind == b":")
    };
    let of_yaml = lines.iter().filter(named).count();
    let further_in = lines.iter().any(|line| line.starts_with(b"  ") || line.starts_with(b"- "));
    let begins = lines.first().is_some_and(|line| line.starts_with(b"%YAML") || line.trim_ascii_end() == b"---");
    (begins && of_yaml > 0) || (further_in && of_yaml == lines.len() && of_yaml > 1)
}

/// Whether bytes that are not UTF-8 are as frequent as letters of an encoding of single bytes.
fn is_other_encoding(text: &[u8]) -> bool {
    let wrong: usize = text.utf8_chunks().map(|chunk| chunk.invalid().len()).sum();
    // The last letter may be cut off.
    wrong > 3 && wrong * 200 > text.len() || wrong > 0 && text.len() < 200 && !text.is_empty()
}

/// What in lines of JSON may surprise, with its place: `before` bytes stand before the text.
pub(super) fn odd(text: &[u8], before: usize) -> Option<String> {
    let at_line = |at: usize| at > 0 && text[at - 1] == b'\n';
    if let Some(at) = memchr::memmem::find_iter(text, BOM).find(|at| at_line(*at)) {
        let at = at + before;
        return Some(format!("a byte order mark stands at byte {at}, as where files were put one behind the other"));
    }
    if let Some(at) = memchr::memchr(0, text) {
        return Some(format!("a zero byte stands at byte {}", at + before));
    }
    let at = memchr::memchr_iter(0x1e, text).find(|at| at_line(*at))?;
    Some(format!("a byte RS (0x1e) stands at byte {}", at + before))
}
