//! A comparison as CSV: a line for each result, for spreadsheets and scripts. The names are those of the JSON.

use report::table::csv_line;
use serde_json::Value;

use crate::figures::Comparison;

/// What a line has, in order; paths into a result of the JSON.
const COLUMNS: [&str; 22] = [
    "variant",
    "workers",
    "flush",
    "shared_producer",
    "rounds",
    "records",
    "elapsed_ms",
    "records_per_second",
    "predicted_records_per_second",
    "relative_speed",
    "relative_speed_error",
    "flush_share",
    "cpu_cores",
    "thread_cpu_cores",
    "cpu_us_per_record",
    "latency_p50_ms",
    "latency_p99_ms",
    "heartbeat_delay_p50_ms",
    "heartbeat_delay_p99_ms",
    "heartbeat_ticks_per_flush_ms",
    "peak_memory_bytes",
    "notes",
];

/// A header and a line for each result.
pub fn csv(comparison: &Comparison) -> String {
    let object = super::object(comparison);
    let results = object["results"].as_array().map(Vec::as_slice).unwrap_or_default();
    lines(&COLUMNS, results)
}

/// A header and a line for each object.
pub(crate) fn lines(columns: &[&str], objects: &[Value]) -> String {
    let mut out = csv_line(columns.iter().map(|name| (*name).to_owned()));
    for object in objects {
        out += &csv_line(columns.iter().map(|name| cell(&object[*name])));
    }
    out
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(cell).collect::<Vec<_>>().join("; "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::example;

    #[test]
    fn a_header_and_a_line_for_each_result() {
        let mut story = example::story();
        story.results[0].notes = vec!["round 2 is far off, \"slow\"".to_owned()];
        let csv = super::csv(&story);
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines.len(), 1 + story.results.len());
        assert!(lines[0].starts_with("variant,workers,flush,shared_producer,"));
        assert!(lines[1].starts_with("single,1,record,false,5,"), "{}", lines[1]);
        assert!(lines[1].ends_with(",\"round 2 is far off, \"\"slow\"\"\""), "{}", lines[1]);
        assert!(lines.iter().skip(2).all(|line| line.split(',').count() == super::COLUMNS.len()));
    }
}
