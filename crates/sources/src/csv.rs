//! CSV: where a row ends, what its fields are, and the JSON object that it becomes.
//!
//! The rules are those of RFC 4180 and, where that is silent, of the `csv` crate, whose reading judges ours in the tests:
//!
//! - `\n`, `\r\n` and a `\r` alone end a row. The last row of a file may lack its end. A row without any byte is blank.
//! - A quote opens a quoted field only where the field begins; anywhere else it is a byte like others. In a quoted field a quote
//!   stands twice for itself; what stands once closes it. Quoted fields may hold delimiters and line ends; with `multiline = false`
//!   every line end ends a row.
//! - What `csv` mends without a word is a bad row here: text behind a closing quote, a quote that is never closed, a number of fields
//!   that is not the header's, bytes that are not UTF-8.
//!
//! Why the fields are not found by `csv-core`: it does not say whether a field had quotes (an empty one is `null`, an empty one in
//! quotes is not), where a row ends in the file, or that it mended something; and it copies each field once more.

mod dialect;
mod fields;
mod header;
mod row;
mod row_ends;
mod row_starts;
#[cfg(test)]
mod tests;
mod text;

pub use dialect::Dialect;
pub use fields::{Field, Fields, Misquoted};
pub use header::{Header, HeaderError};
pub use row::{BadRow, RowMaker};
pub use row_ends::RowEnds;
pub use row_starts::{RowStarts, row_starts};
