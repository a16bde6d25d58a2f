//! The first records of a job as they would be sent, for its plan.

use std::fmt::Write as _;

use migration::check::date;
use migration::check::facts::SampledRecord;
use migration::printable::printable;
use migration::units::{show_count, show_things};
use serde_json::{Map, Value, json};

use crate::masked::{masked, masked_value};

/// How much of a value is shown in the text; `-o json` has more.
const VALUE_SHOWN: usize = 150;

/// Records, and what is to be shown of them.
#[derive(Clone, Copy)]
pub struct Preview<'a> {
    /// The first ones.
    pub records: &'a [SampledRecord],
    /// Whether the job's records have keys.
    pub keyed: bool,
    /// How many partitions the topic has, if that is known.
    pub partitions: Option<u32>,
    /// The partition that the job's partitioner chooses for a key; `None`: it counts as none.
    pub partition_of: fn(&[u8], u32) -> Option<u32>,
    /// Whether keys and values are shown.
    pub show_values: bool,
}

impl std::fmt::Debug for Preview<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Preview").field("records", &self.records.len()).field("partitions", &self.partitions).finish()
    }
}

impl Preview<'_> {
    /// The partition that a record's key chooses, if there is one.
    fn partition(&self, record: &SampledRecord) -> Option<u32> {
        (self.partition_of)(record.key.as_deref()?, self.partitions?)
    }

    fn key(&self, record: &SampledRecord) -> Option<String> {
        let key = String::from_utf8_lossy(record.key.as_deref()?);
        Some(if self.show_values { key.into_owned() } else { masked(&key) })
    }

    fn value(&self, record: &SampledRecord) -> String {
        let value = String::from_utf8_lossy(&record.value);
        if self.show_values { value.into_owned() } else { masked_value(&value) }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        if self.records.is_empty() {
            return out;
        }
        let masked = if self.show_values { "" } else { " (masked; --show-values shows keys and values)" };
        let _ = writeln!(out, "the first {} as sent{masked}", show_things(self.records.len() as u64, "record"));
        for record in self.records {
            let _ = writeln!(out, "  {}", self.head(record));
            let value = self.value(record);
            let shown: String = value.chars().take(VALUE_SHOWN).collect();
            let more = if shown.len() < value.len() || record.value_bytes > record.value.len() as u64 { "…" } else { "" };
            let _ = writeln!(out, "    {}{more}", printable(&shown));
        }
        out
    }

    /// All but the value.
    fn head(&self, record: &SampledRecord) -> String {
        let mut parts = Vec::new();
        parts.push(match (self.key(record), record.key.as_deref().map(<[u8]>::len)) {
            (Some(key), Some(bytes)) => format!("key \"{}\" ({})", printable(&key), show_things(bytes as u64, "byte")),
            _ => "no key".to_owned(),
        });
        match (self.partition(record), self.partitions) {
            (Some(partition), _) => parts.push(format!("partition {partition}")),
            (None, Some(_)) => parts.push("any partition".to_owned()),
            (None, None) if self.keyed => parts.push("partition unknown (-b asks how many there are)".to_owned()),
            (None, None) => parts.push("any partition".to_owned()),
        }
        parts.push(record.time_ms.map_or_else(|| "time of sending".to_owned(), date));
        let header = |(name, value): &(String, String)| format!("{} = \"{}\"", printable(name), printable(value));
        if !record.headers.is_empty() {
            parts.push(format!("headers {}", record.headers.iter().map(header).collect::<Vec<_>>().join(" ")));
        }
        parts.push(format!("value of {} bytes", show_count(record.value_bytes)));
        parts.join(", ")
    }

    /// For machines.
    pub fn object(&self) -> Vec<Value> {
        let one = |record: &SampledRecord| {
            json!({
                "path": record.place.path,
                "start": record.place.start,
                "key": self.key(record),
                "key_bytes": record.key.as_deref().map(<[u8]>::len),
                "partition": self.partition(record),
                "timestamp_ms": record.time_ms,
                "headers": record.headers.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect::<Map<_, _>>(),
                "value": self.value(record),
                "value_bytes": record.value_bytes,
                "masked": !self.show_values,
            })
        };
        self.records.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use migration::check::facts::SampledPlace;

    use super::*;

    fn record(key: Option<&str>, time_ms: Option<i64>) -> SampledRecord {
        SampledRecord {
            place: SampledPlace { path: "/d/a".to_owned(), start: 7 },
            key: key.map(|key| key.as_bytes().to_vec()),
            time_ms,
            value: br#"{"id":"customer-1"}"#.to_vec(),
            value_bytes: 1234,
            headers: vec![("source".to_owned(), "old".to_owned())],
        }
    }

    fn preview(records: &[SampledRecord], partitions: Option<u32>, show_values: bool) -> Preview<'_> {
        let by_length = |key: &[u8], partitions: u32| (!key.is_empty()).then(|| key.len() as u32 % partitions);
        Preview { records, keyed: true, partitions, partition_of: by_length, show_values }
    }

    #[test]
    fn records_are_shown_as_sent_and_masked() {
        let records = [record(Some("customer-1"), Some(1_700_000_000_000)), record(None, None)];
        let text = preview(&records, Some(4), false).text();
        assert_eq!(
            text,
            "the first 2 records as sent (masked; --show-values shows keys and values)\n  \
             key \"c•••••••-1\" (10 bytes), partition 2, 2023-11-14 22:13:20 UTC, headers source = \"old\", value of 1,234 bytes\n    \
             {\"id\":\"••••••••-•\"}…\n  \
             no key, any partition, time of sending, headers source = \"old\", value of 1,234 bytes\n    \
             {\"id\":\"••••••••-•\"}…\n"
        );
        let shown = preview(&records, None, true).text();
        assert!(shown.contains("key \"customer-1\" (10 bytes), partition unknown (-b asks"), "{shown}");
        assert!(shown.contains("{\"id\":\"customer-1\"}…"), "{shown}");
        assert_eq!(preview(&[], None, true).text(), "");
    }

    #[test]
    fn what_acts_on_a_terminal_is_written_out() {
        let mut bad = record(Some("\u{1b}[31mred"), None);
        bad.value = b"\x1b[31m\nforged".to_vec();
        for show_values in [true, false] {
            let text = preview(std::slice::from_ref(&bad), Some(1), show_values).text();
            assert_eq!((text.contains('\u{1b}'), text.lines().count()), (false, 3), "{text:?}");
        }
    }

    #[test]
    fn machines_get_the_same() {
        let records = [record(Some("customer-1"), Some(5)), record(Some(""), None)];
        let object = preview(&records, Some(4), false).object();
        assert_eq!((&object[0]["key"], &object[0]["partition"]), (&json!("c•••••••-1"), &json!(2)));
        assert_eq!((&object[0]["headers"], &object[0]["timestamp_ms"]), (&json!({"source": "old"}), &json!(5)));
        assert_eq!((&object[1]["partition"], &object[1]["key_bytes"]), (&Value::Null, &json!(0)));
        assert!(!Value::from(object).to_string().contains("customer"));
        assert_eq!(preview(&records, None, true).object()[0]["key"], "customer-1");
    }
}
