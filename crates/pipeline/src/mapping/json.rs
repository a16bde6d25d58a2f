//! A JSON scanner that finds a few fields of one line without building anything.
//!
//! Responsible for: the grammar of what it scans (RFC 8259, strictly, except that bytes in strings need not be UTF-8
//! and `\u` escapes need not pair up), and which of several fields of one name counts (the first). Not responsible for
//! what a field's value means. It stops at the last field wanted, so that what comes after is not judged, unless it is
//! told to go on to the line's end. It does not recurse: nesting costs one byte of heap a level.

use super::Path;

/// What a value is, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool,
    Number,
    /// `escaped`: it has a backslash.
    String {
        escaped: bool,
    },
    Array,
    Object,
}

impl Kind {
    /// The kind with its article.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Bool => "a boolean",
            Kind::Number => "a number",
            Kind::String { .. } => "a string",
            Kind::Array => "an array",
            Kind::Object => "an object",
        }
    }
}

/// Where a value stands. A string without its quotes; an array or object has `end == start`: its end is not needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Why a line is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bad {
    /// The byte of the line, from 0.
    pub(super) at: usize,
    /// What is wrong there.
    pub(super) what: &'static str,
}

/// How far a field was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Search {
    /// How many names of the path are matched by the objects around the cursor.
    Open(usize),
    Absent,
    Found(Value),
}

/// Finds the first values at some paths, in one pass over a line.
#[derive(Debug)]
pub(super) struct Finder {
    wanted: Vec<(Path, Search)>,
    /// For each container around the cursor that is skipped: whether it is an object.
    stack: Vec<bool>,
    name: Vec<u8>,
}

impl Finder {
    pub(super) fn new(paths: Vec<Path>) -> Self {
        let wanted = paths.into_iter().map(|path| (path, Search::Open(0))).collect();
        Finder { wanted, stack: Vec::new(), name: Vec::new() }
    }

    /// What the last scan found at the path with this index.
    pub(super) fn found(&self, index: usize) -> Option<Value> {
        match self.wanted[index].1 {
            Search::Found(value) => Some(value),
            Search::Open(_) | Search::Absent => None,
        }
    }

    /// Scans `line` up to the last of the wanted fields, or to its end when one is absent, or when it must be `whole`:
    /// one value and nothing else.
    pub(super) fn scan(&mut self, line: &[u8], whole: bool) -> Result<(), Bad> {
        self.wanted.iter_mut().for_each(|(_, search)| *search = Search::Open(0));
        let mut cursor = Cursor { line, at: 0 };
        let first = cursor.token()?;
        if first != b'{' {
            cursor.skip_value(first, &mut self.stack)?;
            return cursor.end();
        }
        cursor.at += 1;
        // The cursor is in the object that `depth` names lead to; objects that lead nowhere are skipped as values.
        let mut depth = 0;
        let mut fresh = true;
        loop {
            let mut byte = cursor.token()?;
            if byte == b'}' {
                cursor.at += 1;
                if depth == 0 {
                    return cursor.end();
                }
                depth -= 1;
                self.leave(depth);
                if self.is_over() {
                    return if whole { cursor.finish(depth, &mut self.stack) } else { Ok(()) };
                }
                fresh = false;
                continue;
            }
            if !fresh {
                cursor.expect(b',', byte, "expected `,` or `}`")?;
                byte = cursor.token()?;
            }
            fresh = false;
            let name = cursor.name(byte)?;
            byte = cursor.token()?;
            let escaped = name.kind == Kind::String { escaped: true };
            if !self.wants(depth, &line[name.start..name.end], escaped) {
                cursor.skip_value(byte, &mut self.stack)?;
                continue;
            }
            let value = cursor.start_value(byte)?;
            let enter = self.take(depth, value);
            if self.is_over() && !whole {
                return Ok(());
            }
            if enter {
                cursor.at += 1;
                depth += 1;
                fresh = true;
            } else if matches!(value.kind, Kind::Array | Kind::Object) {
                cursor.skip_container(&mut self.stack)?;
            }
            if self.is_over() {
                return cursor.finish(depth, &mut self.stack);
            }
        }
    }

    /// Whether an open path goes on with this name; marks those that do for [`Finder::take`].
    fn wants(&mut self, depth: usize, name: &[u8], escaped: bool) -> bool {
        let mut name = name;
        if escaped {
            self.name.clear();
            if unescape(name, &mut self.name).is_err() {
                return false;
            }
            name = &self.name;
        }
        let mut any = false;
        for (path, search) in &mut self.wanted {
            if *search == Search::Open(depth) && *path[depth] == *name {
                *search = Search::Open(depth + 1);
                any = true;
            }
        }
        any
    }

    /// Gives the value to the paths that end with it. True: some path goes on inside the value.
    fn take(&mut self, depth: usize, value: Value) -> bool {
        let mut enter = false;
        for (path, search) in &mut self.wanted {
            if *search == Search::Open(depth + 1) {
                if path.len() == depth + 1 {
                    *search = Search::Found(value);
                } else if value.kind == Kind::Object {
                    enter = true;
                } else {
                    *search = Search::Absent;
                }
            }
        }
        enter
    }

    /// The object that more than `depth` names led to is over: what was not found in it is absent, as the first field
    /// of a name counts.
    fn leave(&mut self, depth: usize) {
        for (_, search) in &mut self.wanted {
            if matches!(search, Search::Open(matched) if *matched > depth) {
                *search = Search::Absent;
            }
        }
    }

    fn is_over(&self) -> bool {
        !self.wanted.iter().any(|(_, search)| matches!(search, Search::Open(_)))
    }
}

/// What runs for each byte or word of a line is inlined by order: left to itself the compiler calls it and passes its
/// results through memory, which takes twice the time.
struct Cursor<'a> {
    line: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    #[cold]
    fn bad<T>(&self, what: &'static str) -> Result<T, Bad> {
        Err(Bad { at: self.at, what: self.line.get(self.at..).map_or(EARLY, |rest| seen(rest).unwrap_or(what)) })
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    /// Skips white space and looks at the next byte.
    #[inline(always)]
    fn token(&mut self) -> Result<u8, Bad> {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.at += 1,
                Some(byte) => return Ok(byte),
                None => return self.bad(""),
            }
        }
    }

    #[inline]
    fn expect(&mut self, expected: u8, seen: u8, what: &'static str) -> Result<(), Bad> {
        if seen != expected {
            return self.bad(what);
        }
        self.at += 1;
        Ok(())
    }

    /// Only white space may be left.
    fn end(&mut self) -> Result<(), Bad> {
        match self.token() {
            Ok(_) => self.bad("more after the end of the value"),
            Err(_) => Ok(()),
        }
    }

    /// A field's name and the colon.
    #[inline(always)]
    fn name(&mut self, byte: u8) -> Result<Value, Bad> {
        if byte != b'"' {
            return self.bad("expected a field name");
        }
        let name = self.string()?;
        let byte = self.token()?;
        self.expect(b':', byte, "expected `:`")?;
        Ok(name)
    }

    /// A value up to its end; of an array or object nothing yet, the cursor stays at its bracket.
    fn start_value(&mut self, byte: u8) -> Result<Value, Bad> {
        let kind = match byte {
            b'{' => Kind::Object,
            b'[' => Kind::Array,
            _ => {
                let value = self.scalar(byte)?;
                // A number or word that the line's end cuts off may be a part of a longer one.
                if self.at == self.line.len() && !matches!(value.kind, Kind::String { .. }) {
                    return self.bad("");
                }
                return Ok(value);
            }
        };
        Ok(Value { kind, start: self.at, end: self.at })
    }

    #[inline]
    fn skip_value(&mut self, byte: u8, stack: &mut Vec<bool>) -> Result<(), Bad> {
        match byte {
            b'{' | b'[' => self.skip_container(stack),
            _ => self.scalar(byte).map(drop),
        }
    }

    /// From the opening bracket to after the closing one.
    fn skip_container(&mut self, stack: &mut Vec<bool>) -> Result<(), Bad> {
        stack.clear();
        let in_object = self.peek() == Some(b'{');
        self.at += 1;
        self.leave_container(in_object, true, stack)
    }

    /// From after a value in an object, which `depth` objects surround, to the end of the line.
    fn finish(&mut self, depth: usize, stack: &mut Vec<bool>) -> Result<(), Bad> {
        stack.clear();
        stack.resize(depth, true);
        self.leave_container(true, false, stack)?;
        self.end()
    }

    /// From within a container to after the closing bracket of the outermost on the stack. `fresh`: it has no value
    /// yet.
    fn leave_container(&mut self, mut in_object: bool, mut fresh: bool, stack: &mut Vec<bool>) -> Result<(), Bad> {
        loop {
            let mut byte = self.token()?;
            if byte == if in_object { b'}' } else { b']' } {
                self.at += 1;
                match stack.pop() {
                    Some(outer) => in_object = outer,
                    None => return Ok(()),
                }
                fresh = false;
                continue;
            }
            if !fresh {
                self.expect(b',', byte, "expected `,` or a closing bracket")?;
                byte = self.token()?;
            }
            if in_object {
                self.name(byte)?;
                byte = self.token()?;
            }
            fresh = matches!(byte, b'{' | b'[');
            if fresh {
                stack.push(in_object);
                in_object = byte == b'{';
                self.at += 1;
            } else {
                self.scalar(byte)?;
            }
        }
    }

    #[inline]
    fn scalar(&mut self, byte: u8) -> Result<Value, Bad> {
        match byte {
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.word(b"true", Kind::Bool),
            b'f' => self.word(b"false", Kind::Bool),
            b'n' => self.word(b"null", Kind::Null),
            _ => self.bad("expected a value"),
        }
    }

    fn word(&mut self, word: &[u8], kind: Kind) -> Result<Value, Bad> {
        let start = self.at;
        if !self.line[start..].starts_with(word) {
            return self.bad("expected a value");
        }
        self.at += word.len();
        self.delimiter()?;
        Ok(Value { kind, start, end: self.at })
    }

    #[inline(always)]
    fn number(&mut self) -> Result<Value, Bad> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        self.delimiter()?;
        Ok(Value { kind: Kind::Number, start, end: self.at })
    }

    #[inline(always)]
    fn digits(&mut self) -> Result<(), Bad> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { self.bad("expected a digit") } else { Ok(()) }
    }

    /// A number or word must not run into something else.
    #[inline]
    fn delimiter(&mut self) -> Result<(), Bad> {
        match self.peek() {
            None | Some(b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n') => Ok(()),
            Some(_) => self.bad("expected the end of a value"),
        }
    }

    /// A string from its opening quote to after the closing one.
    #[inline(always)]
    fn string(&mut self) -> Result<Value, Bad> {
        let start = self.at + 1;
        self.at = start;
        let mut escaped = false;
        loop {
            self.at += ordinary(&self.line[self.at..]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Value { kind: Kind::String { escaped }, start, end: self.at - 1 });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return self.bad("control character in a string"),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Bad> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                        return self.bad("expected four hexadecimal digits after `\\u`");
                    }
                    self.at += 1;
                }
            }
            _ => return self.bad("unknown escape in a string"),
        }
        Ok(())
    }
}

const EARLY: &str = "the line ends early";

/// What stands where something else was expected, if that says more than what was expected: such bytes are seen in no
/// editor, and are in each line of a file, or in its last ones.
#[cold]
fn seen(rest: &[u8]) -> Option<&'static str> {
    match rest {
        [] => Some(EARLY),
        [0xef, 0xbb, 0xbf, ..] => Some("a byte order mark (EF BB BF)"),
        [0x1e, ..] => Some("a record separator (0x1E), as in a JSON text sequence,"),
        [0, ..] => Some("a NUL byte"),
        _ => None,
    }
}

/// What a line is that was scanned without an error.
pub(super) fn kind_of(line: &[u8]) -> Option<Kind> {
    Some(match line.trim_ascii_start().first()? {
        b'{' => Kind::Object,
        b'[' => Kind::Array,
        b'"' => Kind::String { escaped: false },
        b't' | b'f' => Kind::Bool,
        b'n' => Kind::Null,
        _ => Kind::Number,
    })
}

/// How many bytes come before the first quote, backslash or control character; eight at a time, as most strings of a
/// record are too short for a vectorised search to pay its call.
#[inline]
fn ordinary(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    /// The lowest high bit set marks the first zero byte of `x`.
    fn zero(x: u64) -> u64 {
        x.wrapping_sub(ONES) & !x
    }
    let mut words = bytes.chunks_exact(8);
    let mut at = 0;
    for word in words.by_ref() {
        let x = u64::from_le_bytes(word.try_into().expect("chunks of eight"));
        let control = x.wrapping_sub(ONES * 0x20) & !x;
        let special = (zero(x ^ (ONES * u64::from(b'"'))) | zero(x ^ (ONES * u64::from(b'\\'))) | control) & HIGH;
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = words.remainder();
    at + rest.iter().position(|&b| b == b'"' || b == b'\\' || b < 0x20).unwrap_or(rest.len())
}

/// Appends the bytes that a scanned string's text stands for. The error says what can't be written as UTF-8.
pub(super) fn unescape(text: &[u8], into: &mut Vec<u8>) -> Result<(), &'static str> {
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        into.extend_from_slice(&rest[..at]);
        let code = rest[at + 1];
        rest = &rest[at + 2..];
        match code {
            b'b' => into.push(8),
            b'f' => into.push(12),
            b'n' => into.push(b'\n'),
            b'r' => into.push(b'\r'),
            b't' => into.push(b'\t'),
            b'u' => {
                let mut unit = hex(rest);
                rest = &rest[4..];
                if let (0xD800..=0xDBFF, [b'\\', b'u', low @ ..]) = (unit, rest) {
                    let second = hex(low);
                    if let 0xDC00..=0xDFFF = second {
                        unit = 0x10000 + ((unit - 0xD800) << 10) + (second - 0xDC00);
                        rest = &low[4..];
                    }
                }
                let letter = char::from_u32(unit).ok_or("half of a surrogate pair")?;
                into.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            }
            other => into.push(other),
        }
    }
    into.extend_from_slice(rest);
    Ok(())
}

/// The number that four scanned hexadecimal digits make.
fn hex(digits: &[u8]) -> u32 {
    digits[..4].iter().fold(0, |sum, &digit| sum * 16 + char::from(digit).to_digit(16).unwrap_or(0))
}
