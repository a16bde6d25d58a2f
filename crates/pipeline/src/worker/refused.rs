//! Records that the brokers refused for good in an attempt before: in a transaction one refused record takes the whole
//! chunk with it, so its successor sets it aside without sending it.

use std::collections::BTreeMap;

use migration::RefusedRecord;

use crate::RecordPlace;

/// By place: why.
#[derive(Clone, Debug, Default)]
pub struct Refused(BTreeMap<(u32, u64), String>);

impl Refused {
    /// Of these records.
    pub fn of(records: &[RefusedRecord]) -> Refused {
        Refused(records.iter().map(|record| ((record.segment, record.start), record.reason.clone())).collect())
    }

    /// Why the record at a place was refused, if it was.
    #[inline]
    pub(super) fn reason(&self, place: impl FnOnce() -> RecordPlace) -> Option<&str> {
        if self.0.is_empty() {
            return None;
        }
        let RecordPlace { segment, start, .. } = place();
        self.0.get(&(segment, start)).map(String::as_str)
    }

    /// Whether no record behind this place was refused before. A chunk ends there: what comes behind may be refused,
    /// too, and would take with it all that of the chunk was sent already.
    pub(super) fn is_last(&self, place: &RecordPlace) -> bool {
        self.0.last_key_value().is_some_and(|(last, _)| *last == (place.segment, place.start))
    }
}
