//! The starts of rows near wished places: one pass over a file from a place on where a row starts, because only what
//! comes before a line end says whether it stands in quotes.

use std::io::{self, Read};

use super::{Dialect, RowEnds};

/// How much is read at once.
const PIECE_BYTES: usize = 256 << 10;

/// What a pass found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowStarts {
    /// For each wished place the first start of a row at it or behind it; each start once, none at the end of the file.
    pub starts: Vec<u64>,
    /// Where the row begins in which a quote opens that is never closed: it goes to the end of the file.
    pub never_closed: Option<u64>,
}

/// Reads `file` from `from` on, which is its next byte's place and where a row starts, and finds starts of rows.
/// `wished` is ascending. The pass ends behind the last wished place. `reached` hears after each piece which place that
/// was.
pub fn row_starts(
    mut file: impl Read,
    dialect: Dialect,
    from: u64,
    wished: impl IntoIterator<Item = u64>,
    mut reached: impl FnMut(u64),
) -> io::Result<RowStarts> {
    let mut wished = wished.into_iter().peekable();
    let (mut ends, mut place, mut row) = (RowEnds::new(dialect), from, from);
    let mut found = RowStarts::default();
    let mut piece = vec![0; PIECE_BYTES];
    // A start that nothing follows is the end of the file: whether something does is seen by reading on.
    while wished.peek().is_some() || found.starts.last() == Some(&place) {
        let read = match file.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if read == 0 {
            found.starts.pop_if(|last| *last == place);
            found.never_closed = ends.in_quotes().then_some(row);
            break;
        }
        let mut at = 0;
        while let Some(end) = ends.next(&piece[..read], at) {
            (at, row) = (end, place + end as u64);
            if wished.next_if(|wished| *wished <= row).is_some() {
                found.starts.push(row);
                while wished.next_if(|wished| *wished <= row).is_some() {}
            }
        }
        place += read as u64;
        reached(place);
    }
    Ok(found)
}
