//! Which bytes have a meaning of their own.

use migration::job::CsvFormat;

/// Which bytes part and surround fields. Both are ASCII, differ from each other, and are no line ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// Stands between two fields.
    pub delimiter: u8,
    /// Stands around a field, and twice in it for itself.
    pub quote: u8,
    /// Whether a quoted field may hold line ends.
    pub multiline: bool,
}

impl Default for Dialect {
    fn default() -> Self {
        Dialect { delimiter: b',', quote: b'"', multiline: true }
    }
}

impl From<&CsvFormat> for Dialect {
    fn from(format: &CsvFormat) -> Self {
        Dialect { delimiter: format.delimiter, quote: format.quote, multiline: format.multiline }
    }
}
