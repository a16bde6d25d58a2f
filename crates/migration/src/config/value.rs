//! What a key's value may be, and reading it: each kind knows its TOML types, its range and how to say what is allowed.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeArray, DeInteger, DeValue};

use super::checks::Refusal;
use super::error::ErrorCode;
use super::origin::{At, ValueOrigin};
use super::suggest::nearest;
use crate::job::property::Property;
use crate::units::{parse_duration, parse_size};

/// Why a known word is refused: it may come in a later version.
pub const NOT_YET: &str = "is not in this version";

/// Which texts are allowed.
#[derive(Clone, Copy, Debug)]
pub struct TextRule {
    /// What such a text is: `field path`.
    pub noun: &'static str,
    /// What is allowed, in more words.
    pub allowed: &'static str,
    /// Says why a text is not.
    pub check: fn(&str) -> Result<(), Refusal>,
}

/// What a key's value may be.
#[derive(Clone, Copy, Debug)]
pub enum ValueKind {
    /// A string of some kind.
    Text(TextRule),
    /// One of some words; the second list holds words (`*`: all others) that are known and refused, each with the
    /// reason: `NOT_YET`, or one of its own, which completes "which …".
    Word(&'static [&'static str], &'static [(&'static str, &'static str)]),
    /// A list of some words, which may be empty; or one string with commas.
    Words(&'static [&'static str]),
    /// `true` or `false`.
    Bool,
    /// `true`, `false`, or a word for neither.
    BoolOr(&'static str),
    /// A whole number of at least this.
    Count(u64),
    /// A whole number from 1 to this (as large as its type allows), or a word that means "no number".
    CountOr(u64, &'static str),
    /// A size of at least 1 byte.
    Size,
    /// A size of at least 1 byte, or a word that means "no size".
    SizeOr(&'static str),
    /// A duration of at least this number of milliseconds.
    Time(u64),
    /// Two durations, `"MIN..MAX"`.
    Times,
    /// A list of strings (one string is a list of one).
    Texts(TextRule),
    /// Like a list of strings, or a word, or one string with commas.
    TextsOr(TextRule, &'static str),
    /// `true`, or a list of strings that differ.
    TrueOr(TextRule),
    /// A table of the user's own names, each with a string.
    Headers,
    /// A table of the user's own names, each with one of some words.
    Choices(&'static [&'static str]),
    /// A table of librdkafka's names, each with a string, number or boolean, or a reference to a secret.
    Properties,
}

/// A value that its kind accepted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TypedValue {
    Text(String),
    Word(&'static str),
    Words(Vec<&'static str>),
    /// `None`: the kind's word stands there.
    Bool(Option<bool>),
    /// `None`: the kind's word stands there.
    Number(Option<u64>),
    Time(Duration),
    Times(Duration, Duration),
    /// `None`: the kind's word stands there.
    Texts(Option<Vec<String>>),
    /// Entries of a table of the user's own names.
    Pairs(Vec<(String, String)>),
    /// The client's properties, secrets resolved.
    Properties(Vec<(String, Property)>),
}

/// Why a value was refused.
#[derive(Debug)]
pub(super) struct InvalidValue {
    pub(super) code: ErrorCode,
    /// The part of the value that is wrong.
    pub(super) span: Range<usize>,
    /// Completes "`key` …".
    pub(super) message: String,
    /// Shown before what is allowed.
    pub(super) near: Option<String>,
    /// Shown in the place of what is allowed.
    pub(super) instead: Option<String>,
}

impl ValueKind {
    /// What is allowed, for people.
    pub fn allowed(&self) -> String {
        match self {
            ValueKind::Text(rule) | ValueKind::Texts(rule) | ValueKind::TextsOr(rule, _) | ValueKind::TrueOr(rule) => {
                rule.allowed.into()
            }
            ValueKind::Word(words, _) => quoted_words(words).join(" or "),
            ValueKind::Words(words) => format!("a list of {}", quoted_words(words).join(", ")),
            ValueKind::Bool => "true or false".into(),
            ValueKind::BoolOr(word) => format!("\"{word}\", true or false"),
            ValueKind::Count(0) => "a whole number".into(),
            ValueKind::Count(min) => format!("a whole number of at least {min}"),
            ValueKind::CountOr(_, word) => format!("\"{word}\" or a whole number of at least 1"),
            ValueKind::Size => "a size of at least 1 byte, such as \"4MiB\"".into(),
            ValueKind::SizeOr(word) => format!("\"{word}\" or a size of at least 1 byte, such as \"64MiB\""),
            ValueKind::Time(min) if *min >= 1000 => format!("a duration of at least {} s, such as \"30s\"", min / 1000),
            ValueKind::Time(min) => format!("a duration of at least {min} ms, such as \"500ms\" or \"30s\""),
            ValueKind::Times => "two durations, \"MIN..MAX\", such as \"100ms..30s\"".into(),
            ValueKind::Headers => "a table of names with a string each, such as { source = \"backfill\" }".into(),
            ValueKind::Choices(words) => format!("a table of names, each with {}", quoted_words(words).join(" or ")),
            ValueKind::Properties => "a table of librdkafka properties".into(),
        }
    }

    /// What is allowed, for a column of a table.
    pub fn noun(&self) -> String {
        match self {
            ValueKind::Text(rule) => rule.noun.into(),
            ValueKind::Word(words, _) => either(words),
            ValueKind::Words(_) => "list of names".into(),
            ValueKind::Bool => "boolean".into(),
            ValueKind::BoolOr(word) => format!("`\"{word}\"` or boolean"),
            ValueKind::Count(_) => "number".into(),
            ValueKind::CountOr(_, word) => format!("`\"{word}\"` or number"),
            ValueKind::Size => "size".into(),
            ValueKind::SizeOr(word) => format!("`\"{word}\"` or size"),
            ValueKind::Time(least) if *least >= 1000 => format!("duration, at least {} s", least / 1000),
            ValueKind::Time(_) => "duration".into(),
            ValueKind::Times => "two durations".into(),
            ValueKind::Texts(rule) => format!("list of {}", rule.noun),
            ValueKind::TextsOr(rule, word) => format!("`\"{word}\"` or list of {}", rule.noun),
            ValueKind::TrueOr(rule) => format!("`true` or list of {}", rule.noun),
            ValueKind::Headers => "table of strings".into(),
            ValueKind::Choices(words) => format!("table of {}", either(words)),
            ValueKind::Properties => "table".into(),
        }
    }

    /// Whether it is a table of the user's own names, which `typed` reads entry by entry.
    pub(super) fn has_entries(&self) -> bool {
        matches!(self, ValueKind::Headers | ValueKind::Choices(_) | ValueKind::Properties)
    }

    /// Reads a value; not of a kind that has entries.
    pub(super) fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<TypedValue, InvalidValue> {
        let (span, value) = (value.span(), value.get_ref());
        let wrong = || refuse(ErrorCode::WrongType, &span, value);
        match (self, value) {
            (ValueKind::Text(rule), DeValue::String(text)) => {
                (rule.check)(text).map_err(|why| because(&span, text, why))?;
                Ok(TypedValue::Text(text.to_string()))
            }
            (ValueKind::Word(words, refused), DeValue::String(text)) => word(words, refused, text, &span),
            (ValueKind::Words(known), DeValue::String(text)) => {
                words(known, text.split(',').map(|text| (text.trim(), span.clone())))
            }
            (ValueKind::Words(known), DeValue::Array(items)) => words(known, strings(items)?.into_iter()),
            (ValueKind::Bool | ValueKind::BoolOr(_), DeValue::Boolean(flag)) => Ok(TypedValue::Bool(Some(*flag))),
            (ValueKind::BoolOr(word), DeValue::String(text)) => match text.as_ref() {
                "true" => Ok(TypedValue::Bool(Some(true))),
                "false" => Ok(TypedValue::Bool(Some(false))),
                text if text == *word => Ok(TypedValue::Bool(None)),
                _ => Err(InvalidValue { near: near(text, &[word]), ..refuse(ErrorCode::BadValue, &span, value) }),
            },
            (ValueKind::Count(min), DeValue::Integer(number)) => {
                in_range(number, *min, u64::MAX, &span).map(|n| TypedValue::Number(Some(n)))
            }
            (ValueKind::CountOr(_, word), DeValue::String(text)) if text == word => Ok(TypedValue::Number(None)),
            (ValueKind::CountOr(max, word), DeValue::String(text)) => match text.parse::<u64>() {
                Ok(number) if (1..=*max).contains(&number) => Ok(TypedValue::Number(Some(number))),
                _ => Err(InvalidValue { near: near(text, &[word]), ..refuse(ErrorCode::BadValue, &span, value) }),
            },
            (ValueKind::CountOr(max, _), DeValue::Integer(number)) => {
                in_range(number, 1, *max, &span).map(|n| TypedValue::Number(Some(n)))
            }
            (ValueKind::SizeOr(word), DeValue::String(text)) if text == word => Ok(TypedValue::Number(None)),
            (ValueKind::Size | ValueKind::SizeOr(_), DeValue::String(text)) => match parse_size(text) {
                Ok(size) if size > 0 => Ok(TypedValue::Number(Some(size))),
                _ => Err(refuse(ErrorCode::BadValue, &span, value)),
            },
            (ValueKind::Size | ValueKind::SizeOr(_), DeValue::Integer(number)) => {
                in_range(number, 1, u64::MAX, &span).map(|n| TypedValue::Number(Some(n)))
            }
            (ValueKind::Time(min), DeValue::String(text)) => match parse_duration(text) {
                Ok(time) if time >= Duration::from_millis(*min) => Ok(TypedValue::Time(time)),
                _ => Err(refuse(ErrorCode::BadValue, &span, value)),
            },
            (ValueKind::Times, DeValue::String(text)) => times(text, &span),
            (ValueKind::TextsOr(_, word), DeValue::String(text)) if text == word => Ok(TypedValue::Texts(None)),
            (ValueKind::TextsOr(_, word), DeValue::String(text)) if near(text, &[word]).is_some() => {
                Err(InvalidValue { near: near(text, &[word]), ..refuse(ErrorCode::BadValue, &span, value) })
            }
            (ValueKind::TextsOr(rule, _), DeValue::String(text)) => {
                texts(text.split(',').map(|t| (t.trim(), span.clone())), rule)
            }
            (ValueKind::Texts(rule), DeValue::String(text)) => texts([(text.as_ref(), span.clone())].into_iter(), rule),
            (ValueKind::TrueOr(_), DeValue::Boolean(true)) => Ok(TypedValue::Texts(None)),
            (ValueKind::TrueOr(_), DeValue::Boolean(false)) => Err(refuse(ErrorCode::BadValue, &span, value)),
            (ValueKind::Texts(rule) | ValueKind::TextsOr(rule, _) | ValueKind::TrueOr(rule), DeValue::Array(items)) => {
                let strings = strings(items)?;
                if strings.is_empty() {
                    return Err(InvalidValue { message: "is empty".into(), ..refuse(ErrorCode::BadValue, &span, value) });
                }
                if let (ValueKind::TrueOr(_), Some((text, span))) = (self, repeated(&strings)) {
                    let message = format!("has {} twice", quoted(text));
                    return Err(InvalidValue { message, ..refuse(ErrorCode::BadValue, &span, value) });
                }
                texts(strings.into_iter(), rule)
            }
            _ => Err(wrong()),
        }
    }
}

fn refuse(code: ErrorCode, span: &Range<usize>, value: &DeValue<'_>) -> InvalidValue {
    InvalidValue { code, span: span.clone(), message: format!("is {}", seen(value)), near: None, instead: None }
}

fn because(span: &Range<usize>, text: &str, refusal: Refusal) -> InvalidValue {
    let Refusal { why, instead } = refusal;
    let message = format!("is {}: {why}", quoted(text));
    InvalidValue { code: ErrorCode::BadValue, span: span.clone(), message, near: None, instead }
}

fn not_yet(span: &Range<usize>, what: &str) -> InvalidValue {
    let message = format!("is {what}, which {NOT_YET}");
    InvalidValue { code: ErrorCode::NotYet, span: span.clone(), message, near: None, instead: None }
}

fn near(text: &str, words: &[&'static str]) -> Option<String> {
    nearest(text, words.iter().copied()).map(str::to_owned)
}

fn word(
    words: &'static [&'static str],
    refused: &[(&str, &str)],
    text: &str,
    span: &Range<usize>,
) -> Result<TypedValue, InvalidValue> {
    if let Some(word) = words.iter().find(|word| **word == text) {
        return Ok(TypedValue::Word(word));
    }
    let message = match refused.iter().find(|(word, _)| *word == text || *word == "*") {
        Some((_, why)) if *why == NOT_YET => return Err(not_yet(span, &quoted(text))),
        Some((_, why)) => format!("is {}, which {why}", quoted(text)),
        None => format!("is {}", quoted(text)),
    };
    Err(InvalidValue { code: ErrorCode::BadValue, span: span.clone(), message, near: near(text, words), instead: None })
}

/// Each word once, in the order of the known ones.
fn words<'a>(
    known: &'static [&'static str],
    items: impl Iterator<Item = (&'a str, Range<usize>)>,
) -> Result<TypedValue, InvalidValue> {
    let mut found = Vec::new();
    for (text, span) in items {
        if !known.contains(&text) {
            let message = format!("has {}", quoted(text));
            return Err(InvalidValue { code: ErrorCode::BadValue, span, message, near: near(text, known), instead: None });
        }
        found.push(text);
    }
    Ok(TypedValue::Words(known.iter().copied().filter(|word| found.contains(word)).collect()))
}

/// The strings of a list, each with its place.
fn strings<'a>(items: &'a DeArray<'_>) -> Result<Vec<(&'a str, Range<usize>)>, InvalidValue> {
    let string = |item: &'a Spanned<DeValue<'_>>| match item.get_ref() {
        DeValue::String(text) => Ok((text.as_ref(), item.span())),
        other => Err(refuse(ErrorCode::WrongType, &item.span(), other)),
    };
    items.iter().map(string).collect()
}

fn in_range(number: &DeInteger<'_>, min: u64, max: u64, span: &Range<usize>) -> Result<u64, InvalidValue> {
    u64::from_str_radix(number.as_str(), number.radix()).ok().filter(|n| (min..=max).contains(n)).ok_or_else(|| InvalidValue {
        code: ErrorCode::BadValue,
        span: span.clone(),
        message: format!("is {number}"),
        near: None,
        instead: None,
    })
}

fn times(text: &str, span: &Range<usize>) -> Result<TypedValue, InvalidValue> {
    let pair = text.split_once("..").and_then(|(a, b)| Some((parse_duration(a).ok()?, parse_duration(b).ok()?)));
    match pair {
        Some((min, max)) if min > max => Err(because(span, text, "the first is longer than the second".into())),
        Some((min, max)) if !min.is_zero() => Ok(TypedValue::Times(min, max)),
        _ => Err(InvalidValue {
            code: ErrorCode::BadValue,
            span: span.clone(),
            message: format!("is {}", quoted(text)),
            near: None,
            instead: None,
        }),
    }
}

/// The first string of a list that stood before.
fn repeated<'a>(strings: &[(&'a str, Range<usize>)]) -> Option<(&'a str, Range<usize>)> {
    let mut before = BTreeSet::new();
    strings.iter().find(|(text, _)| !before.insert(*text)).cloned()
}

/// Words in quotes.
fn quoted_words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| format!("\"{word}\"")).collect()
}

/// Words as Markdown: `"a"`, `"b"` or `"c"`.
fn either(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
    match words.split_last() {
        Some((last, first)) if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        _ => words.concat(),
    }
}

fn texts<'a>(items: impl Iterator<Item = (&'a str, Range<usize>)>, rule: &TextRule) -> Result<TypedValue, InvalidValue> {
    let mut out = Vec::new();
    for (text, span) in items {
        (rule.check)(text).map_err(|why| because(&span, text, why))?;
        out.push(text.to_owned());
    }
    Ok(TypedValue::Texts(Some(out)))
}

/// The kind in a declaration decides which of these holds: a test reads every default and every example.
impl TypedValue {
    pub(crate) fn text(&self) -> &str {
        match self {
            TypedValue::Text(text) => text,
            other => wrong(other),
        }
    }

    pub(crate) fn word(&self) -> &'static str {
        match self {
            TypedValue::Word(word) => word,
            other => wrong(other),
        }
    }

    pub(crate) fn words(&self) -> &[&'static str] {
        match self {
            TypedValue::Words(words) => words,
            other => wrong(other),
        }
    }

    pub(crate) fn bool(&self) -> Option<bool> {
        match self {
            TypedValue::Bool(flag) => *flag,
            other => wrong(other),
        }
    }

    pub(crate) fn number(&self) -> Option<u64> {
        match self {
            TypedValue::Number(number) => *number,
            other => wrong(other),
        }
    }

    pub(crate) fn time(&self) -> Duration {
        match self {
            TypedValue::Time(time) => *time,
            other => wrong(other),
        }
    }

    pub(crate) fn times(&self) -> (Duration, Duration) {
        match self {
            TypedValue::Times(least, most) => (*least, *most),
            other => wrong(other),
        }
    }

    pub(crate) fn texts(&self) -> Option<&[String]> {
        match self {
            TypedValue::Texts(texts) => texts.as_deref(),
            other => wrong(other),
        }
    }

    pub(crate) fn pairs(&self) -> &[(String, String)] {
        match self {
            TypedValue::Pairs(pairs) => pairs,
            other => wrong(other),
        }
    }

    pub(crate) fn properties(&self) -> &[(String, Property)] {
        match self {
            TypedValue::Properties(properties) => properties,
            other => wrong(other),
        }
    }
}

fn wrong(value: &TypedValue) -> ! {
    unreachable!("a declaration's kind gave another value than it reads: {value:?}")
}

/// What stands there, for people.
pub(super) fn seen(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(date) => format!("the date {date}"),
        DeValue::Array(_) => "an array".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

/// A text in quotes: control characters escaped, long ones cut.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{:?}…", &text[..cut]),
        None => format!("{text:?}"),
    }
}

/// The value of an entry in a table of the user's own names.
#[derive(Clone, PartialEq)]
pub(super) enum EntryValue {
    /// As typed.
    Plain(String),
    /// `{ env = "NAME" }`
    Env(String),
    /// `{ file = "PATH" }`
    File(String),
}

/// Plain values may be secrets that were typed in the wrong place, so they are never shown.
impl std::fmt::Debug for EntryValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            EntryValue::Plain(_) => f.write_str("Plain(…)"),
            EntryValue::Env(name) => write!(f, "Env({name:?})"),
            EntryValue::File(path) => write!(f, "File({path:?})"),
        }
    }
}

/// One entry of a table of the user's own names.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct NamedValue {
    /// Its name and where that stands.
    pub(super) name: At<String>,
    /// Its value and where that stands.
    pub(super) value: At<EntryValue>,
}

/// The text of a string, number or boolean.
pub(super) fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok().map(|n| n.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}

impl NamedValue {
    /// Whether the entry stands in the file.
    pub(super) fn in_file(&self) -> bool {
        matches!(self.name.origin, ValueOrigin::File(_))
    }
}
