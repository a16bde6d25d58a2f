//! What becomes of a row: it is a record, blank, or bad. This is the one place that decides it; sending, verifying,
//! planning with `--limit`, `init` and comparisons call it, so that they count the same rows.
//!
//! It is done in two steps. [`Rows::look`] needs the row alone: blank rows are counted and never sent, and a source
//! says itself which of its rows can't be records (too long, not of its format). [`record`] needs the job's mapping and
//! what the topic takes. Between them, where several shards read the same rows, [`OwnRows`] says whose a row is.

mod own;

use std::time::{SystemTime, UNIX_EPOCH};

use migration::TopicSettings;

use crate::mapping::{MapError, Mapped, Mapping};
use crate::source::Rows;
use crate::{Block, SinkLimits};

pub use own::{OwnRows, Whose};

/// A row as it is before the job's mapping is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look<'a> {
    /// These bytes may become a record.
    Record(&'a [u8]),
    /// Nothing but ASCII white space: counted, never sent.
    Blank,
    /// It can't become a record; why.
    Bad(&'a str),
}

impl Rows {
    /// What the row at an index of `block`, which is that of these rows, is.
    #[inline]
    pub fn look<'a>(&'a self, block: &'a Block, index: usize) -> Look<'a> {
        if !self.bad.is_empty()
            && let Some(reason) = self.reason(index)
        {
            return Look::Bad(reason);
        }
        let text = self.rows[index].text(block);
        if is_blank(text) { Look::Blank } else { Look::Record(text) }
    }

    /// Each row with what it is, in source order.
    pub fn looks(&self) -> impl Iterator<Item = (usize, Look<'_>)> {
        let block = self.block.as_ref();
        block.into_iter().flat_map(|block| (0..self.rows.len()).map(|index| (index, self.look(block, index))))
    }

    #[cold]
    fn reason(&self, index: usize) -> Option<&str> {
        let found = self.bad.binary_search_by_key(&index, |(bad, _)| *bad as usize);
        found.ok().map(|found| self.bad[found].1.as_str())
    }
}

/// Whether a row is blank.
#[inline]
pub fn is_blank(row: &[u8]) -> bool {
    row.first().is_none_or(|first| first.is_ascii_whitespace() && row.trim_ascii_start().is_empty())
}

/// What a topic takes.
#[derive(Clone, Copy, Debug)]
pub struct Takes {
    limits: SinkLimits,
    headers_bytes: usize,
    /// Value and key together are surely not too large up to this.
    surely_fits: usize,
    topic: TopicSettings,
    /// The earliest and the latest time of a record.
    times: (i64, i64),
}

impl Takes {
    /// What a topic with these settings takes now, through a client with these limits. Each record has `headers_bytes`
    /// of headers.
    pub fn now(limits: SinkLimits, headers_bytes: usize, topic: TopicSettings) -> Takes {
        let times = if topic.limits_times() { topic.times(now_ms()) } else { (i64::MIN, i64::MAX) };
        Takes { limits, headers_bytes, surely_fits: limits.surely_fits(headers_bytes), topic, times }
    }

    /// Whatever a mapping makes.
    pub fn anything() -> Takes {
        let limits = SinkLimits {
            record_bytes: usize::MAX,
            batch_bytes: usize::MAX,
            batch_records: crate::lanes::GROUP_RECORDS,
            alone: None,
        };
        Takes::now(limits, 0, TopicSettings::default())
    }

    /// Whether records without a key are refused.
    pub fn wants_keys(&self) -> bool {
        self.topic.compacted
    }

    /// Refuses a record whose key and value have these sizes.
    #[inline]
    pub fn size(&self, key: Option<usize>, value: usize) -> Result<(), String> {
        if key.unwrap_or(0) + value > self.surely_fits { self.judge_size(key, value) } else { Ok(()) }
    }

    #[cold]
    fn judge_size(&self, key: Option<usize>, value: usize) -> Result<(), String> {
        if self.limits.takes(key, value, self.headers_bytes) {
            return Ok(());
        }
        let bytes = key.unwrap_or(0) + value;
        let most = self.limits.record_bytes.saturating_sub(self.headers_bytes);
        Err(match self.limits.alone {
            Some(alone) if bytes <= most => format!(
                "the record has {bytes} bytes of key and value; with what a batch adds that is more than the topic's max.message.bytes = \
                 {} allows",
                alone.bytes
            ),
            _ => format!("the record has {bytes} bytes of key and value; the topic's max.message.bytes leaves room for {most}"),
        })
    }
}

/// Key and timestamp of a row that [`Rows::look`] found to be a record, or why it becomes none after all.
#[inline]
pub fn record<'a>(mapping: &'a mut Mapping, takes: &Takes, value: &'a [u8]) -> Result<Mapped<'a>, String> {
    taken(mapping.map(value), takes, value)
}

/// The same for the row of which [`OwnRows::whose`] was asked last.
#[inline]
pub fn own_record<'a>(mapping: &'a mut Mapping, takes: &Takes, value: &'a [u8]) -> Result<Mapped<'a>, String> {
    taken(mapping.map_behind_key(value), takes, value)
}

fn taken<'a>(mapped: Result<Mapped<'a>, MapError>, takes: &Takes, value: &[u8]) -> Result<Mapped<'a>, String> {
    let mapped = mapped.map_err(|error| error.to_string())?;
    let key = mapped.key.bytes(value).map(<[u8]>::len);
    takes.size(key, value.len())?;
    if key.is_none() && takes.topic.compacted {
        return Err(takes.topic.no_key());
    }
    if let Some(time) = mapped.timestamp
        && !(takes.times.0..=takes.times.1).contains(&time)
    {
        return Err(takes.topic.too_early_or_late(time < takes.times.0));
    }
    Ok(mapped)
}

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::source::Row;

    #[test]
    fn only_white_space_is_blank() {
        assert!([&b""[..], b" ", b"\r", b" \t \r"].into_iter().all(is_blank));
        assert!(![&b"x"[..], b" x", b"\0"].into_iter().any(is_blank));
    }

    #[test]
    fn a_bad_row_is_bad_even_if_it_looks_blank() {
        let block = Rc::new(Block { bytes: b"{} x".to_vec(), ..Block::default() });
        let mut rows = Rows { block: Some(block), ..Rows::default() };
        rows.rows.push(Row::new(0, 2, 3, 3));
        rows.rows.push(Row::new(2, 1, 2, 5));
        rows.push_bad(Row::new(2, 1, 2, 7), "a blank too much".to_owned());
        rows.rows.push(Row::new(3, 1, 1, 8));
        let looks: Vec<Look<'_>> = rows.looks().map(|(_, look)| look).collect();
        assert_eq!(looks, [Look::Record(b"{}"), Look::Blank, Look::Bad("a blank too much"), Look::Record(b"x")]);
    }
}
