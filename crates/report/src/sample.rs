//! What `init` saw of a dataset and wrote, in words and as JSON.

use std::fmt::Write as _;
use std::path::Path;

use migration::Plan;
use migration::config::AnnotatedValues;
use migration::printable::{printable, printable_path};
use migration::sample::{RecordSample, SampledField, SampledFile};
use migration::units::{show_count, show_size, show_things, show_utc};
use serde_json::{Map, Value, json};

/// Files that are listed, the first and the last ones.
const FILES_SHOWN: usize = 12;
/// Fields that are listed.
const FIELDS_SHOWN: usize = 60;

/// A look at a dataset, and the config that it led to.
#[derive(Clone, Copy, Debug)]
pub struct ShownSample<'a> {
    /// The files.
    pub plan: &'a Plan,
    /// Some of their records.
    pub sample: &'a RecordSample,
    /// What stands in the config.
    pub values: &'a AnnotatedValues,
    /// What a user should know of the files and of what was chosen.
    pub notes: &'a [String],
    /// Where it was written.
    pub config: &'a Path,
}

/// What was seen and written, for people.
pub fn text(shown: &ShownSample<'_>) -> String {
    let ShownSample { plan, sample, values, notes, config } = *shown;
    let bytes: u64 = plan.objects.iter().map(|o| o.known_bytes()).sum();
    let (files, seen) = (plan.objects.len(), sample.files.len());
    let of = if seen < files { format!(" of {seen} of them") } else { String::new() };
    let mut out = format!(
        "{}, {}; looked at {}{of}\n\n",
        show_things(files as u64, "file"),
        show_size(bytes),
        show_things(sample.records, "record")
    );
    files_of(&mut out, &sample.files);
    fields_of(&mut out, sample);
    if sample.invalid > 0 {
        let first = sample.first_invalid.as_deref().unwrap_or_default();
        let fate = if values.key.is_some() || values.time.as_ref().is_some_and(|time| time.active) {
            "they become dead letters"
        } else {
            "with a key they become dead letters"
        };
        let _ = writeln!(out, "\n  {} of them are no JSON objects: {fate}. The first: {first}", show_count(sample.invalid));
    }
    if !notes.is_empty() {
        out.push('\n');
        notes.iter().for_each(|note| out.push_str(&format!("  note: {note}\n")));
    }
    let _ = writeln!(out, "\nwrote {}: topic {}, key {}", printable_path(config), values.topic, key_of(values));
    if let Some(time) = &values.time {
        let (path, unit) = (printable(&time.path), time.unit.name());
        let how = if time.active { "timestamp" } else { "proposed as a comment: timestamp" };
        let _ = writeln!(out, "{how} {path} ({unit}); old times meet the topic's retention: `shardlift check` compares them");
    }
    out.push_str("next: read it, then `shardlift check`, `shardlift plan` and `shardlift run`\n");
    out
}

fn key_of(values: &AnnotatedValues) -> String {
    match &values.key {
        Some(key) => printable(key),
        None => "none (--key PATH names one)".to_owned(),
    }
}

/// What was looked at of each file, if there are several.
fn files_of(out: &mut String, files: &[SampledFile]) {
    if files.len() < 2 {
        return;
    }
    let name = |file: &SampledFile| file.path.file_name().map_or_else(String::new, |name| printable(&name.to_string_lossy()));
    let hidden = files.len().saturating_sub(FILES_SHOWN);
    let before = if hidden > 0 { FILES_SHOWN / 2 } else { files.len() };
    let width = files.iter().map(|file| name(file).chars().count()).max().unwrap_or(0).min(60);
    for (index, file) in files.iter().enumerate() {
        if index == before {
            let records: u64 = files[before..before + hidden].iter().map(|file| file.records).sum();
            let _ = writeln!(out, "  … {}, {}", show_things(hidden as u64, "file"), show_things(records, "record"));
        }
        if index < before || index >= before + hidden {
            let bad =
                if file.invalid > 0 { format!(", {} of them no objects", show_count(file.invalid)) } else { String::new() };
            let _ = writeln!(out, "  {:width$}  {}{bad}", name(file), show_things(file.records, "record"));
        }
    }
    out.push('\n');
}

fn fields_of(out: &mut String, sample: &RecordSample) {
    let shown = || sample.fields.iter().take(FIELDS_SHOWN);
    let width = shown().map(|(path, _)| printable(path).chars().count()).max().unwrap_or(0).min(40);
    for (path, field) in shown() {
        let kinds: Vec<_> = field.kinds.iter().copied().collect();
        let share = field.present * 100 / sample.objects().max(1);
        let line = format!(
            "  {:width$}  {:<16} in {share:>3} %  {} distinct{}",
            printable(path),
            kinds.join(", "),
            show_count(field.distinct.len() as u64),
            remark(field)
        );
        out.push_str(line.trim_end());
        out.push('\n');
    }
    let more = sample.fields.len().saturating_sub(FIELDS_SHOWN);
    if more > 0 {
        let _ = writeln!(out, "  … {}", show_things(more as u64, "more field"));
    }
}

/// What a field can't be, or may be.
fn remark(field: &SampledField) -> String {
    if field.in_array {
        return "  in an array: can't be a key".to_owned();
    }
    if !field.has_path {
        return "  has a name that no path can have".to_owned();
    }
    let times = field.times.iter().find(|times| times.count == field.present);
    times.map_or_else(String::new, |times| {
        let day = |ms: i64| show_utc(u64::try_from(ms).unwrap_or(0)).chars().take(10).collect::<String>();
        format!("  a time ({}), {} to {}", times.unit.name(), day(times.first_ms), day(times.last_ms))
    })
}

/// The same for machines.
pub fn object(shown: &ShownSample<'_>) -> Map<String, Value> {
    let ShownSample { plan, sample, values, notes, config } = *shown;
    let fields: Vec<_> = sample
        .fields
        .iter()
        .map(|(path, field)| {
            let times = field.times.iter().find(|times| times.count == field.present);
            json!({
                "path": path,
                "kinds": field.kinds,
                "present": field.present,
                "distinct": field.distinct.len(),
                "in_array": field.in_array,
                "time": times.map(|times| json!({
                    "unit": times.unit.name(), "first_unix_ms": times.first_ms, "last_unix_ms": times.last_ms
                })),
            })
        })
        .collect();
    let sampled: Vec<_> = sample
        .files
        .iter()
        .map(|file| json!({ "path": file.path, "records": file.records, "invalid": file.invalid }))
        .collect();
    let time = values.time.as_ref();
    let object = json!({
        "config": config,
        "files": plan.objects.len(),
        "bytes": plan.objects.iter().map(|o| o.known_bytes()).sum::<u64>(),
        "sampled": sampled,
        "sampled_records": sample.records,
        "invalid_records": sample.invalid,
        "fields": fields,
        "notes": notes,
        "topic": values.topic,
        "key": values.key,
        "timestamp": time.map(|time| json!({ "path": time.path, "unit": time.unit.name(), "active": time.active })),
        "job": values.job_name,
    });
    match object {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
