//! The names of the columns.

use std::collections::HashSet;

use migration::printable::printable;

use super::{Dialect, Fields, Misquoted};

/// The names of the columns, each of them once and none empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header(Vec<String>);

/// Why names can't be those of columns. Columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// There is no name at all.
    #[error("there is no column")]
    Empty,
    /// A name without a letter.
    #[error("column {0} has no name")]
    Nameless(usize),
    /// A name that two columns have.
    #[error("columns {first} and {second} are both named `{name}`")]
    Twice {
        /// The name, fit for a terminal.
        name: String,
        /// The one that came first.
        first: usize,
        /// The other one.
        second: usize,
    },
    /// Bytes that are no text.
    #[error("the name of column {0} is not UTF-8")]
    NotUtf8(usize),
    /// Quotes that don't say where a name ends.
    #[error("the name of column {0} has text behind its closing quote, or no closing quote")]
    Misquoted(usize),
}

impl Header {
    /// Takes names as they were given.
    pub fn new(names: Vec<String>) -> Result<Header, HeaderError> {
        if names.is_empty() {
            return Err(HeaderError::Empty);
        }
        let mut seen = HashSet::new();
        for (second, name) in (1..).zip(&names) {
            if name.is_empty() {
                return Err(HeaderError::Nameless(second));
            }
            if !seen.insert(name) {
                let first = names.iter().position(|other| other == name).map_or(second, |index| index + 1);
                return Err(HeaderError::Twice { name: printable(name), first, second });
            }
        }
        Ok(Header(names))
    }

    /// Takes the names of a file's first row, given without its end.
    pub fn from_row(row: &[u8], dialect: Dialect) -> Result<Header, HeaderError> {
        let mut fields = Fields::new(row, dialect);
        let mut names = Vec::new();
        loop {
            let column = names.len() + 1;
            let misquoted = |_: Misquoted| HeaderError::Misquoted(column);
            let Some(field) = fields.next_field().map_err(misquoted)? else { return Header::new(names) };
            let mut scratch = Vec::new();
            let name = str::from_utf8(field.unquoted(dialect.quote, &mut scratch)).map_err(|_| HeaderError::NotUtf8(column))?;
            names.push(name.to_owned());
        }
    }

    /// The names in order.
    pub fn names(&self) -> &[String] {
        &self.0
    }
}
