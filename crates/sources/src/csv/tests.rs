//! The rules, the public cases, and random CSV against the reading of the `csv` crate.

mod random;
mod rules;
mod spectrum;

use migration::job::CsvType;

use super::*;

/// The rows of some bytes that come in pieces of `piece` bytes, each without its end.
fn rows(bytes: &[u8], dialect: Dialect, piece: usize) -> Vec<Vec<u8>> {
    let (mut ends, mut rows, mut start) = (RowEnds::new(dialect), Vec::new(), 0);
    for (index, chunk) in bytes.chunks(piece.max(1)).enumerate() {
        let (before, mut at) = (index * piece.max(1), 0);
        while let Some(end) = ends.next(chunk, at) {
            at = end;
            rows.push(without_end(&bytes[start..before + end]).to_vec());
            start = before + end;
        }
    }
    if start < bytes.len() {
        let rest = &bytes[start..];
        rows.push(if ends.at_return() { without_end(rest) } else { rest }.to_vec());
    }
    rows
}

/// What a row's fields are.
fn fields(row: &[u8], dialect: Dialect) -> Result<Vec<Vec<u8>>, Misquoted> {
    let (mut fields, mut all) = (Fields::new(row, dialect), Vec::new());
    while let Some(field) = fields.next_field()? {
        all.push(field.unquoted(dialect.quote, &mut Vec::new()).to_vec());
    }
    Ok(all)
}

/// A file with a header as JSON objects, or why a row is none.
fn objects(file: &[u8], kinds: &[(&str, CsvType)]) -> Vec<Result<String, String>> {
    let dialect = Dialect::default();
    let rows = rows(file, dialect, 7);
    let mut rows = rows.iter().filter(|row| !row.is_empty());
    let header = Header::from_row(rows.next().expect("a header"), dialect).expect("a header");
    let kind = |name: &str| kinds.iter().find(|(other, _)| *other == name).map_or(CsvType::String, |(_, kind)| *kind);
    let mut maker = RowMaker::new(dialect, "", &header, kind);
    let made = |row: &Vec<u8>| {
        let mut object = b"before".to_vec();
        let made = maker.make(row, &mut object).map_err(|error| error.to_string());
        let object = String::from_utf8(object).expect("UTF-8");
        let object = object.strip_prefix("before").expect("what was there stays").to_owned();
        assert!(made.is_ok() || object.is_empty(), "a bad row appends nothing");
        made.map(|()| object)
    };
    rows.map(made).collect()
}
