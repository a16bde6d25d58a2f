//! What `init` saw of a dataset and wrote, in words and as JSON.

use std::fmt::Write as _;
use std::path::Path;

use migration::Plan;
use migration::config::AnnotatedValues;
use migration::printable::{printable, printable_path};
use migration::sample::Sample;
use migration::units::{show_count, show_size, show_things};
use serde_json::{Map, Value, json};

/// A look at a dataset, and the config that it led to.
#[derive(Clone, Copy, Debug)]
pub struct ShownSample<'a> {
    /// The files.
    pub plan: &'a Plan,
    /// Their first records.
    pub sample: &'a Sample,
    /// What stands in the config.
    pub values: &'a AnnotatedValues,
    /// Where it was written.
    pub config: &'a Path,
}

/// What was seen and written, for people.
pub fn text(shown: &ShownSample<'_>) -> String {
    let ShownSample { plan, sample, values, config } = *shown;
    let bytes: u64 = plan.objects.iter().map(|o| o.known_bytes()).sum();
    let mut out = format!(
        "{}, {}; looked at the first {}\n\n",
        show_things(plan.objects.len() as u64, "file"),
        show_size(bytes),
        show_things(sample.records, "record")
    );
    let width = sample.fields.keys().map(|name| name.len()).max().unwrap_or(0).min(40);
    for (name, field) in &sample.fields {
        let kinds: Vec<_> = field.kinds.iter().copied().collect();
        let share = field.present * 100 / sample.records.max(1);
        let _ = writeln!(
            out,
            "  .{:width$}  {:<16} in {share:>3} %  {} distinct",
            printable(name),
            kinds.join(", "),
            show_count(field.distinct.len() as u64)
        );
    }
    if sample.invalid > 0 {
        let _ = writeln!(
            out,
            "\n  {} of them are no JSON objects: with a key they become dead letters",
            show_count(sample.invalid)
        );
    }
    let key = values.key.as_deref().unwrap_or("none (no field looks like one)");
    let _ = writeln!(
        out,
        "\nwrote {}: topic {}, key {key}\nnext: read it, then `shardlift plan`, then `shardlift run`",
        printable_path(config),
        values.topic
    );
    out
}

/// The same for machines.
pub fn object(shown: &ShownSample<'_>) -> Map<String, Value> {
    let ShownSample { plan, sample, values, config } = *shown;
    let fields: Vec<_> = sample
        .fields
        .iter()
        .map(|(name, field)| {
            let distinct = field.distinct.len();
            json!({ "path": format!(".{name}"), "kinds": field.kinds, "present": field.present, "distinct": distinct })
        })
        .collect();
    let object = json!({
        "config": config,
        "files": plan.objects.len(),
        "bytes": plan.objects.iter().map(|o| o.known_bytes()).sum::<u64>(),
        "sampled_records": sample.records,
        "invalid_records": sample.invalid,
        "fields": fields,
        "topic": values.topic,
        "key": values.key,
        "job": values.job_name,
    });
    match object {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
