//! The fields of one row.

use memchr::memchr;

use super::Dialect;
use super::text::{Stops, unquote};

/// One field of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its bytes, without the quotes around it.
    pub text: &'a [u8],
    /// Whether it has quotes around it.
    pub quoted: bool,
    /// Whether a quote stands twice in it, for itself.
    pub doubled: bool,
    /// Whether its bytes are ASCII and can stand in a JSON string as they are.
    pub clean: bool,
}

impl Field<'_> {
    /// Its text with each quote that stands twice counted once: itself, or made in `scratch`.
    pub fn unquoted<'b>(&'b self, quote: u8, scratch: &'b mut Vec<u8>) -> &'b [u8] {
        if !self.doubled {
            return self.text;
        }
        scratch.clear();
        unquote(self.text, quote, scratch);
        scratch
    }
}

/// A field whose quotes don't say where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misquoted {
    /// The quote at this byte of the row is never closed.
    NeverClosed(usize),
    /// At this byte of the row, behind a closing quote, something else than a delimiter stands.
    TextBehind(usize),
}

/// Parts a row, given without its end, into its fields: at least one.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    row: &'a [u8],
    delimiter: Stops,
    quotes: Stops,
    dialect: Dialect,
    /// Where the next field begins; `None` behind the last one.
    at: Option<usize>,
}

impl<'a> Fields<'a> {
    /// The fields of a row.
    pub fn new(row: &'a [u8], dialect: Dialect) -> Self {
        let (delimiter, quotes) = (Stops::new(dialect.delimiter), Stops::new(dialect.quote));
        Fields { row, delimiter, quotes, dialect, at: Some(0) }
    }

    /// The next field; `None` behind the last one. After an error there is none.
    #[inline]
    pub fn next_field(&mut self) -> Result<Option<Field<'a>>, Misquoted> {
        let Some(at) = self.at.take() else { return Ok(None) };
        if self.row.get(at) == Some(&self.dialect.quote) { self.quoted(at + 1).map(Some) } else { Ok(Some(self.plain(at))) }
    }

    /// How many fields there are from here on. What is misquoted is the last one.
    pub fn count_rest(&mut self) -> usize {
        let mut fields = 0;
        loop {
            match self.next_field() {
                Ok(Some(_)) => fields += 1,
                Ok(None) => return fields,
                Err(_) => return fields + 1,
            }
        }
    }

    #[inline]
    fn plain(&mut self, start: usize) -> Field<'a> {
        let row = self.row;
        let mut end = self.delimiter.find(row, start);
        let clean = end == row.len() || row[end] == self.dialect.delimiter;
        if !clean {
            end = memchr(self.dialect.delimiter, &row[end..]).map_or(row.len(), |found| end + found);
        }
        self.at = (end < row.len()).then_some(end + 1);
        Field { text: &row[start..end], quoted: false, doubled: false, clean }
    }

    /// A quoted field whose first byte is that behind its quote.
    #[inline]
    fn quoted(&mut self, start: usize) -> Result<Field<'a>, Misquoted> {
        let (row, quote) = (self.row, self.dialect.quote);
        let mut at = self.quotes.find(row, start);
        let clean = row.get(at) == Some(&quote);
        let mut doubled = false;
        loop {
            let end = at + memchr(quote, &row[at..]).ok_or(Misquoted::NeverClosed(start - 1))?;
            match row.get(end + 1) {
                None => {}
                Some(&next) if next == quote => {
                    doubled = true;
                    at = end + 2;
                    continue;
                }
                Some(&next) if next == self.dialect.delimiter => self.at = Some(end + 2),
                Some(_) => return Err(Misquoted::TextBehind(end + 1)),
            }
            return Ok(Field { text: &row[start..end], quoted: true, doubled, clean: clean && !doubled });
        }
    }
}
