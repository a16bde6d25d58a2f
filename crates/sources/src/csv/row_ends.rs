//! Where rows end, over pieces of a file that come one after another. The only place that knows it: planning, reading
//! and skipping all ask here.

use memchr::{memchr, memchr2, memchr3};

use super::Dialect;

/// Finds the ends of rows in the pieces of a file, from a place on where a row starts. Between two pieces it keeps two
/// bytes of state.
#[derive(Clone, Copy, Debug)]
pub struct RowEnds {
    delimiter: u8,
    /// `None`: quotes don't matter for where a row ends.
    quote: Option<u8>,
    state: State,
}

/// What the bytes so far mean for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A field begins: a quote opens it.
    FieldStart,
    /// Within a field without quotes, or behind the closing quote of one with: a quote is a byte like others.
    Plain,
    /// Within a quoted field.
    Quoted,
    /// Behind a quote within a quoted field: another one makes a pair, all else closes the field.
    Quote,
    /// Behind a `\r` that ended a row: a `\n` belongs to this end.
    Return,
}

impl RowEnds {
    /// At the start of a row.
    pub fn new(dialect: Dialect) -> Self {
        RowEnds { delimiter: dialect.delimiter, quote: dialect.multiline.then_some(dialect.quote), state: State::FieldStart }
    }

    /// The index of the first byte behind the next row's end, which is searched from index `from` on; all bytes before
    /// `from` were given before. `None`: no row ends here, and the search goes on at the first byte of the next piece.
    /// A row whose end is a `\r` ends only when the byte behind it was seen: the index may be `from` itself.
    #[inline]
    pub fn next(&mut self, piece: &[u8], from: usize) -> Option<usize> {
        let mut at = from;
        loop {
            match self.state {
                State::FieldStart | State::Plain => {
                    let Some(found) = self.find(&piece[at..]) else {
                        if let Some(&last) = piece[at..].last() {
                            self.state = if last == self.delimiter { State::FieldStart } else { State::Plain };
                        }
                        return None;
                    };
                    let place = at + found;
                    self.state = match piece[place] {
                        b'\n' => State::FieldStart,
                        b'\r' => State::Return,
                        _ if self.opens(piece, at, place) => State::Quoted,
                        _ => State::Plain,
                    };
                    at = place + 1;
                    if piece[place] == b'\n' {
                        return Some(at);
                    }
                }
                State::Quoted => {
                    at += memchr(self.quote?, &piece[at..])? + 1;
                    self.state = State::Quote;
                }
                State::Quote => match piece[at..] {
                    [] => return None,
                    [next, ..] if Some(next) == self.quote => (at, self.state) = (at + 1, State::Quoted),
                    // Most often the next field has quotes, too.
                    [next, quote, ..] if next == self.delimiter && Some(quote) == self.quote => {
                        (at, self.state) = (at + 2, State::Quoted);
                    }
                    _ => self.state = State::Plain,
                },
                State::Return => {
                    let newline = *piece.get(at)? == b'\n';
                    self.state = State::FieldStart;
                    return Some(at + usize::from(newline));
                }
            }
        }
    }

    /// Whether the bytes so far end within a quoted field.
    pub fn in_quotes(&self) -> bool {
        self.state == State::Quoted
    }

    /// Whether the bytes so far end with a `\r` that ended a row, of which [`RowEnds::next`] did not tell yet.
    pub fn at_return(&self) -> bool {
        self.state == State::Return
    }

    fn find(&self, bytes: &[u8]) -> Option<usize> {
        match self.quote {
            Some(quote) => memchr3(b'\n', b'\r', quote, bytes),
            None => memchr2(b'\n', b'\r', bytes),
        }
    }

    /// Whether a quote opens a field: whether one begins there. Bytes from `at` on belong to the state.
    fn opens(&self, piece: &[u8], at: usize, place: usize) -> bool {
        if place == at { self.state == State::FieldStart } else { piece[place - 1] == self.delimiter }
    }
}
