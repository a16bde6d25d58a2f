//! Config errors: a code, what is wrong, where, and what to do. Rendered as plain text with the source line and a
//! caret.

use std::fmt::{self, Write as _};
use std::ops::Range;
use std::sync::Arc;

use super::origin::{Given, ValueOrigin};
use super::properties::mask_secrets;
use crate::Exit;

/// Kinds of config errors. The codes are documented in `docs/configuration.md` and never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorCode {
    /// The text is not TOML.
    Syntax,
    /// No such key.
    UnknownKey,
    /// A value of another type is needed.
    WrongType,
    /// The type is right, the value is not allowed.
    BadValue,
    /// A key without a default is missing.
    Missing,
    /// A librdkafka property that a typed key owns.
    OwnedProperty,
    /// Two settings that can't both hold.
    Contradiction,
    /// Known, but not in this version.
    NotYet,
    /// A secret can't be resolved.
    Secret,
    /// librdkafka refuses a property.
    BadProperty,
    /// A secret on the command line.
    SecretInSight,
    /// An override that is not `NAME=VALUE`.
    BadOverride,
    /// A password or token would travel where others can read it.
    Exposed,
    /// A property that only Kafka's Java clients have.
    JavaName,
    /// A file that a property names can't be read.
    NoFile,
}

impl ErrorCode {
    /// All, in the order of their numbers.
    pub const ALL: [ErrorCode; 15] = [
        ErrorCode::Syntax,
        ErrorCode::UnknownKey,
        ErrorCode::WrongType,
        ErrorCode::BadValue,
        ErrorCode::Missing,
        ErrorCode::OwnedProperty,
        ErrorCode::Contradiction,
        ErrorCode::NotYet,
        ErrorCode::Secret,
        ErrorCode::BadProperty,
        ErrorCode::SecretInSight,
        ErrorCode::BadOverride,
        ErrorCode::Exposed,
        ErrorCode::JavaName,
        ErrorCode::NoFile,
    ];
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "K{:03}", *self as u8 + 1)
    }
}

/// Where an error is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorPlace {
    /// In the file as a whole: something is missing.
    Whole {
        /// The file's name as the user knows it.
        file: String,
    },
    /// At one place of the file.
    Text {
        /// The file's name as the user knows it.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// The line itself; control characters replaced, secrets masked.
        source_line: String,
        /// How many characters the caret underlines, at least 1.
        width: usize,
    },
    /// In a flag or variable.
    Given {
        /// Its name, never with its value.
        name: String,
    },
}

/// One problem of a config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Its kind.
    pub code: ErrorCode,
    /// What is wrong, in one line.
    pub message: String,
    /// Where.
    pub place: ErrorPlace,
    /// What is allowed and what to do, a line each.
    pub help: Vec<String>,
    /// Whether the command line is wrong (exit 2), not the config (exit 3).
    usage: bool,
    /// For the order of errors: overrides last.
    rank: usize,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code, self.message)?;
        let mut gutter = 3;
        match &self.place {
            ErrorPlace::Whole { file } => write!(f, "\n  --> {file}")?,
            ErrorPlace::Given { name } => write!(f, "\n  --> {name}")?,
            ErrorPlace::Text { file, line, column, source_line, width } => {
                gutter = line.to_string().len() + 2;
                let (pad, carets) = (" ".repeat(column - 1), "^".repeat(*width));
                write!(f, "\n{:1$}--> {file}:{line}:{column}", "", gutter - 1)?;
                write!(f, "\n{:gutter$}|\n {line} | {source_line}\n{:gutter$}| {pad}{carets}", "", "")?;
            }
        }
        self.help.iter().try_for_each(|line| write!(f, "\n{:gutter$}= {line}", ""))
    }
}

/// All problems that were found at once, in the file's order, those of overrides last. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// The errors.
    pub fn errors(&self) -> &[ConfigError] {
        &self.0
    }

    /// What the program exits with: 2 when a refused `-X` or a malformed override is among them, else 3.
    pub fn exit(&self) -> Exit {
        if self.0.iter().any(|e| e.usage) { Exit::Usage } else { Exit::Config }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(i, error)| {
            if i > 0 {
                f.write_str("\n\n")?;
            }
            error.fmt(f)
        })
    }
}

impl std::error::Error for ConfigErrors {}

/// The config file's text with its name.
pub(super) struct SourceText {
    pub(super) name: String,
    pub(super) text: String,
}

/// Without the text: a secret may stand in it.
impl fmt::Debug for SourceText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceText").field("name", &self.name).finish_non_exhaustive()
    }
}

impl SourceText {
    fn place(&self, span: &Range<usize>) -> ErrorPlace {
        let text = &self.text;
        let at = floor_char(text, span.start);
        let start = text[..at].rfind('\n').map_or(0, |i| i + 1);
        let end = text[start..].find('\n').map_or(text.len(), |i| start + i);
        let line = text[start..end].trim_end_matches('\r');
        let inside = ["\"\"\"", "'''"].iter().any(|quotes| text[..start].matches(quotes).count() % 2 == 1);
        let shown = if inside { "…".into() } else { mask_secrets(&printable(line)) };
        let masked = shown.ends_with('…') && !line.ends_with('…');
        let stop = floor_char(text, span.end).clamp(at, start + line.len().max(at - start));
        ErrorPlace::Text {
            file: self.name.clone(),
            line: text[..start].matches('\n').count() + 1,
            column: text[start..at].chars().count() + 1,
            width: if masked && shown.chars().count() < text[start..stop].chars().count() {
                1
            } else {
                text[at..stop].chars().count().max(1)
            },
            source_line: shown,
        }
    }
}

fn floor_char(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// One column for each character: tabs become spaces, control characters can't reach the terminal.
fn printable(line: &str) -> String {
    line.chars()
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// Collects errors.
#[derive(Debug)]
pub(super) struct Problems {
    pub(super) source: Arc<SourceText>,
    errors: Vec<ConfigError>,
}

impl Problems {
    /// None yet.
    pub(super) fn new(source: Arc<SourceText>) -> Self {
        Problems { source, errors: Vec::new() }
    }

    /// Adds one; hints go to what is returned.
    pub(super) fn add(&mut self, code: ErrorCode, origin: &ValueOrigin, message: impl Into<String>) -> &mut ConfigError {
        let (place, usage) = match origin {
            ValueOrigin::Default => (ErrorPlace::Whole { file: self.source.name.clone() }, false),
            ValueOrigin::File(span) => (self.source.place(span), false),
            ValueOrigin::Given(Given { name, usage }) => (ErrorPlace::Given { name: name.to_string() }, *usage),
        };
        let rank = origin.rank();
        self.errors.push(ConfigError { code, message: message.into(), place, help: Vec::new(), usage, rank });
        self.errors.last_mut().expect("one was pushed")
    }

    /// How a value's origin is called in another error's text: `(line 12)`, `(--set job.name)`, `(the default)`.
    pub(super) fn whence(&self, origin: &ValueOrigin) -> String {
        let mut out = String::from("(");
        match origin {
            ValueOrigin::Default => out.push_str("the default"),
            ValueOrigin::Given(given) => out.push_str(&given.name),
            ValueOrigin::File(span) => {
                let line = self.source.text.get(..span.start).map_or(1, |before| before.matches('\n').count() + 1);
                let _ = write!(out, "line {line}");
            }
        }
        out + ")"
    }

    /// `Err` if there is any.
    pub(super) fn result(self) -> Result<(), ConfigErrors> {
        if self.errors.is_empty() {
            return Ok(());
        }
        Err(self.into_errors())
    }

    /// All, in order; only for who added one.
    pub(super) fn into_errors(mut self) -> ConfigErrors {
        self.errors.sort_by_key(|e| e.rank);
        ConfigErrors(self.errors)
    }
}

impl ConfigError {
    /// Adds a line of help.
    pub(super) fn help(&mut self, line: impl Into<String>) -> &mut Self {
        self.help.push(line.into());
        self
    }

    /// Cuts the source line after the `=`: a secret may stand there.
    pub(super) fn hide_value(&mut self) -> &mut Self {
        if let ErrorPlace::Text { source_line, .. } = &mut self.place
            && let Some(at) = source_line.find('=')
        {
            source_line.replace_range(at.., "= …");
        }
        self
    }

    /// Adds "did you mean", if there is something near.
    pub(super) fn suggest(&mut self, near: Option<&str>) -> &mut Self {
        if let Some(near) = near {
            self.help.push(format!("did you mean `{near}`?"));
        }
        self
    }
}
