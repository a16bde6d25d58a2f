//! Where the rows of a file begin: behind its byte order mark and its header.

use migration::job::CsvHeader;
use migration::printable::printable;
use migration::{Compression, Segment, SourceObject};
use pipeline::SourceError;

use super::{CsvFiles, Header, LINE_ENDS, RowEnds, without_end};
use crate::files::{Stream, fail};

/// How much is read at once.
const STEP_BYTES: usize = 64 << 10;

/// A byte order mark, which is passed over at byte 0 of a file (of the decompressed stream), nowhere else.
pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";

/// How a file begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The names of its columns; `None`: the file has no row at all.
    pub(super) header: Option<Header>,
    /// The place where its rows begin: behind the header row, if that is in the file.
    pub(super) end: u64,
}

impl Head {
    /// That of a file. An error: its header can't be one, or lacks a column that has a type.
    pub(super) fn of(object: &SourceObject, source: &CsvFiles) -> Result<Head, SourceError> {
        let head = match &source.format.header {
            CsvHeader::Names(names) => Head { header: Some(given(names)?), end: 0 },
            CsvHeader::FirstRow => first_row(object, source)?,
        };
        let names = head.header.as_ref().map(Header::names).unwrap_or_default();
        let missing = source.format.types.keys().find(|name| !names.contains(name));
        if let Some(missing) = missing.filter(|_| head.header.is_some()) {
            let (missing, names) = (printable(missing), printable(&names.join(", ")));
            let what = format_args!("has no column `{missing}`, which source.csv.types names; its columns are: {names}");
            return Err(fail(&object.path, what));
        }
        Ok(head)
    }
}

fn given(names: &[String]) -> Result<Header, SourceError> {
    Header::new(names.to_vec()).map_err(|error| SourceError(format!("source.csv.header: {error}")))
}

/// The names in the first row that is not blank.
fn first_row(object: &SourceObject, source: &CsvFiles) -> Result<Head, SourceError> {
    let end = if object.compression == Compression::None { object.known_bytes() } else { Segment::WHOLE };
    let segment = Segment { object: 0, start: 0, end, bytes: None };
    let mut stream = Stream::open(object, &segment, 0, LINE_ENDS, source.windows)?;
    let dialect = source.dialect();
    let header = |row: &[u8]| {
        let hint = "the first row names the columns, or source.csv.header does";
        Header::from_row(row, dialect)
            .map_err(|error| fail(&object.path, format_args!("has no usable header: {error}; {hint}")))
    };
    let (mut bytes, mut ends, mut over) = (Vec::new(), RowEnds::new(dialect), false);
    while !over && bytes.len() < BOM.len() {
        over = stream.read(STEP_BYTES, &mut bytes)?;
    }
    let mut start = if bytes.starts_with(BOM) { BOM.len() } else { 0 };
    let mut searched = start;
    loop {
        while let Some(end) = ends.next(&bytes, searched) {
            let row = without_end(&bytes[start..end]);
            if !row.is_empty() {
                return Ok(Head { header: Some(header(row)?), end: end as u64 });
            }
            (start, searched) = (end, end);
        }
        searched = bytes.len();
        if over {
            let row = if ends.at_return() { without_end(&bytes[start..]) } else { &bytes[start..] };
            let header = if row.is_empty() { None } else { Some(header(row)?) };
            return Ok(Head { header, end: searched as u64 });
        }
        // Blank lines before it count, too: looking for it takes little time and memory, whatever the file holds.
        if searched as u64 > source.files.max_line {
            let what = "has no usable header: its first row is longer than source.csv.max_line allows, or opens a quote that is not \
                        closed, or as many bytes of blank lines come before it";
            return Err(fail(&object.path, what));
        }
        over = stream.read(STEP_BYTES, &mut bytes)?;
    }
}
