//! Makes a JSON object of a row.

use migration::job::CsvType;
use migration::printable::printable;
use pipeline::mapping::not_whole;

use super::text::{escape, is_number};
use super::{Dialect, Field, Fields, Header, Misquoted};

/// What fields of a type are.
fn name(kind: CsvType) -> &'static str {
    match kind {
        CsvType::String => "text",
        CsvType::Number => "a JSON number",
        CsvType::Bool => "true or false",
        CsvType::Json => "JSON",
    }
}

/// Why a row is no record. Columns and fields count from 1, bytes of a row or field from 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRow {
    /// A row with more or fewer fields than there are columns.
    #[error("the row has {fields} field{} and {columns} {} expected", if *.fields == 1 { "" } else { "s" }, if *.columns == 1 { "is" } else { "are" })]
    Fields {
        /// How many it has.
        fields: usize,
        /// How many it should have.
        columns: usize,
    },
    /// A field that opens with a quote which nothing closes.
    #[error("the quote at byte {0} of the row is never closed")]
    NeverClosed(usize),
    /// A quoted field that goes on behind its closing quote.
    #[error("text follows the closing quote at byte {0} of the row: a quote within quotes is written twice")]
    TextBehind(usize),
    /// A field that is no text.
    #[error("column `{column}` is not UTF-8 at byte {at} of the field")]
    NotUtf8 {
        /// The column's name.
        column: String,
        /// The first byte that is not.
        at: usize,
    },
    /// A field that is not of its column's type.
    #[error("column `{column}` is not {}", name(*.kind))]
    Kind {
        /// The column's name.
        column: String,
        /// What it should be.
        kind: CsvType,
    },
}

impl From<Misquoted> for BadRow {
    fn from(misquoted: Misquoted) -> BadRow {
        match misquoted {
            Misquoted::NeverClosed(at) => BadRow::NeverClosed(at),
            Misquoted::TextBehind(at) => BadRow::TextBehind(at - 1),
        }
    }
}

/// Makes rows of one file into JSON objects: one member for each column, in the header's order, without spaces.
#[derive(Clone, Debug)]
pub struct RowMaker {
    dialect: Dialect,
    /// A field without quotes that equals it becomes `null`.
    null: Box<[u8]>,
    columns: Vec<CsvColumn>,
    scratch: Vec<u8>,
}

#[derive(Clone, Debug)]
struct CsvColumn {
    /// What stands before its value: a brace or comma, its name and a colon.
    before: Box<[u8]>,
    kind: CsvType,
    name: String,
}

impl RowMaker {
    /// Makes rows of a file with this header.
    pub fn new(dialect: Dialect, null: &str, header: &Header, kind: impl Fn(&str) -> CsvType) -> Self {
        let column = |(index, name): (usize, &String)| {
            let mut before = vec![if index == 0 { b'{' } else { b',' }, b'"'];
            escape(name.as_bytes(), &mut before);
            before.extend_from_slice(b"\":");
            CsvColumn { before: before.into(), kind: kind(name), name: name.clone() }
        };
        let columns = header.names().iter().enumerate().map(column).collect();
        RowMaker { dialect, null: null.as_bytes().into(), columns, scratch: Vec::new() }
    }

    /// Appends the object of a row that is given without its end. A bad row appends nothing.
    #[inline]
    pub fn make(&mut self, row: &[u8], into: &mut Vec<u8>) -> Result<(), BadRow> {
        let before = into.len();
        let made = self.append(row, into);
        if made.is_err() {
            into.truncate(before);
        }
        made
    }

    #[inline]
    fn append(&mut self, row: &[u8], into: &mut Vec<u8>) -> Result<(), BadRow> {
        let RowMaker { dialect, null, columns, scratch } = self;
        let mut fields = Fields::new(row, *dialect);
        for (index, column) in columns.iter().enumerate() {
            let Some(field) = fields.next_field()? else {
                return Err(BadRow::Fields { fields: index, columns: columns.len() });
            };
            into.extend_from_slice(&column.before);
            if !field.quoted && field.text == &**null {
                into.extend_from_slice(b"null");
            } else if field.clean && column.kind == CsvType::String {
                into.push(b'"');
                into.extend_from_slice(field.text);
                into.push(b'"');
            } else {
                column.append(&field, dialect.quote, scratch, into)?;
            }
        }
        match fields.count_rest() {
            0 => into.push(b'}'),
            more => return Err(BadRow::Fields { fields: columns.len() + more, columns: columns.len() }),
        }
        Ok(())
    }
}

impl CsvColumn {
    /// Appends the value of a field that is not `null`.
    fn append(&self, field: &Field<'_>, quote: u8, scratch: &mut Vec<u8>, into: &mut Vec<u8>) -> Result<(), BadRow> {
        let text = field.unquoted(quote, scratch);
        if let Err(error) = str::from_utf8(text) {
            return Err(BadRow::NotUtf8 { column: printable(&self.name), at: error.valid_up_to() });
        }
        match self.kind {
            CsvType::String => {
                into.push(b'"');
                escape(text, into);
                into.push(b'"');
            }
            CsvType::Number if is_number(text) => into.extend_from_slice(text),
            CsvType::Json if not_whole(text).is_none() => into.extend_from_slice(text),
            CsvType::Bool if is_one_of(text, ["true", "t", "1"]) => into.extend_from_slice(b"true"),
            CsvType::Bool if is_one_of(text, ["false", "f", "0"]) => into.extend_from_slice(b"false"),
            kind => return Err(BadRow::Kind { column: printable(&self.name), kind }),
        }
        Ok(())
    }
}

fn is_one_of(text: &[u8], words: [&str; 3]) -> bool {
    words.iter().any(|word| text.eq_ignore_ascii_case(word.as_bytes()))
}
