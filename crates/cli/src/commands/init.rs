//! `shardlift init`: looks at some data and writes a commented config.

use std::collections::{BTreeMap, HashSet};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use migration::config::{AnnotatedValues, ConfigErrors, Context, Typed, annotated};
use migration::job::{FileRules, FlushPolicy, ShardOrder, ShardRules, WindowLimit};
use migration::printable::{printable, printable_path};
use migration::units::{show_count, show_size, show_things};
use migration::{Exit, Plan, UserError};
use pipeline::source::PlanRules;
use pipeline::{BlockPool, Lines, Source};
use serde_json::{Map, Value, json};
use sources::jsonl::JsonlFiles;

use crate::args::InitArgs;
use crate::ui::Ui;

/// How many records are looked at.
const SAMPLE: u64 = 1000;
/// As the config's default.
const MAX_LINE: u64 = 4 << 20;

/// Writes the config and says what was seen.
pub fn init(args: &InitArgs, ui: &Ui) -> Result<Exit, UserError> {
    let source = JsonlFiles::new(FileRules { paths: args.from.clone(), max_line: MAX_LINE }, WindowLimit::default());
    let plan = plan_sample(&source)?;
    let sample = Sample::read(&source, &plan)?;
    let topic = args.topic.clone().unwrap_or_else(|| guess_topic(&plan));
    let name = format!("{topic}-backfill");
    let values = AnnotatedValues {
        job_name: name,
        paths: written_paths(&args.from, &args.config),
        key: sample.key(),
        topic,
        brokers: if args.brokers.is_empty() { vec!["embedded".into()] } else { args.brokers.clone() },
    };
    let text_of_config = annotated(&values);
    check(&text_of_config)?;
    write_new(&args.config, &text_of_config)?;
    ui.result(|| text(&plan, &sample, &values, &args.config), || object(&plan, &sample, &values, &args.config));
    Ok(Exit::Done)
}

/// A config that `run` would refuse is not worth writing: what was typed here is wrong.
fn check(text: &str) -> Result<(), UserError> {
    let context = Context {
        config_dir: Path::new("/"),
        env: &|_| None,
        read_secret_file: &|path| std::fs::read_to_string(path),
        check_properties: &|_| Vec::new(),
        contacts_brokers: false,
    };
    let wrong = |errors: ConfigErrors| UserError::new(Exit::Usage, errors).hint("give another --topic, --brokers or --from");
    Typed::parse(text, "the config that would be written").and_then(|typed| typed.mean(&context)).map(drop).map_err(wrong)
}

fn plan_sample(source: &dyn Source) -> Result<Plan, UserError> {
    let shards = ShardRules { target_size: None, order: ShardOrder::Source };
    let rules = PlanRules { shards: &shards, flush: FlushPolicy::Chunk, workers: 1, record_limit: Some(SAMPLE) };
    source.plan(&rules).map_err(|e| UserError::new(Exit::Source, e))
}

/// What the first records look like.
#[derive(Debug, Default)]
struct Sample {
    records: u64,
    invalid: u64,
    fields: BTreeMap<String, Field>,
}

/// A top-level field of the sampled records.
#[derive(Debug, Default)]
struct Field {
    present: u64,
    kinds: HashSet<&'static str>,
    distinct: HashSet<String>,
}

impl Sample {
    fn read(source: &dyn Source, plan: &Plan) -> Result<Self, UserError> {
        let mut sample = Sample::default();
        let mut pool = BlockPool::new(4 << 20);
        let mut lines = Lines::default();
        for shard in &plan.shards {
            let wrong = |e| UserError::new(Exit::Source, e);
            let mut reader = source.open(plan, shard.id, &plan.start(shard)).map_err(wrong)?;
            while reader.next(&mut pool, &mut lines).map_err(wrong)? {
                let Some(block) = &lines.block else { continue };
                for line in lines.lines.iter().filter(|line| line.len > 0) {
                    sample.add(&block.bytes[line.start as usize..][..line.len as usize]);
                }
            }
        }
        Ok(sample)
    }

    fn add(&mut self, line: &[u8]) {
        self.records += 1;
        let Ok(Value::Object(record)) = serde_json::from_slice(line) else {
            self.invalid += 1;
            return;
        };
        for (name, value) in record {
            let field = self.fields.entry(name).or_default();
            field.present += 1;
            field.kinds.insert(kind(&value));
            field.distinct.insert(value.to_string());
        }
    }

    /// The field that looks most like a key: in every record, a string or number, named like an identifier, and shared by some
    /// records (an identifier of its own for each record orders nothing).
    fn key(&self) -> Option<String> {
        let plain = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
        self.fields
            .iter()
            .filter(|(name, field)| {
                let name = name.to_lowercase();
                let named = name.ends_with("id") || name.ends_with("key") || name.ends_with("uuid");
                named
                    && plain(&name)
                    && field.present == self.records
                    && field.kinds.iter().all(|k| matches!(*k, "string" | "number"))
            })
            .filter(|(_, field)| (field.distinct.len() as u64) < self.records)
            .max_by_key(|(name, field)| (field.distinct.len(), std::cmp::Reverse(name.len())))
            .map(|(name, _)| format!(".{name}"))
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The leading letters of the first file's name: `orders-2026-01.jsonl.gz` gives `orders`.
fn guess_topic(plan: &Plan) -> String {
    let name = plan.objects.first().and_then(|o| o.path.file_name()).and_then(|n| n.to_str()).unwrap_or_default();
    let word: String = name.chars().take_while(|c| c.is_ascii_alphabetic() || *c == '_').collect();
    let word = word.trim_end_matches('_');
    if word.is_empty() { "records".to_owned() } else { word.to_owned() }
}

/// Relative patterns are relative to the config's folder: kept where that is the current one, made absolute elsewhere.
fn written_paths(patterns: &[String], config: &Path) -> Vec<String> {
    let here = config.parent().is_none_or(|folder| folder.as_os_str().is_empty() || folder == Path::new("."));
    let absolute = |pattern: &String| match std::env::current_dir() {
        Ok(folder) => folder.join(pattern).to_string_lossy().into_owned(),
        Err(_) => pattern.clone(),
    };
    patterns.iter().map(|p| if here { p.clone() } else { absolute(p) }).collect()
}

fn write_new(path: &PathBuf, text: &str) -> Result<(), UserError> {
    let shown = printable_path(path);
    let written =
        OpenOptions::new().write(true).create_new(true).open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            UserError::new(Exit::Usage, format!("{shown} exists already and is never replaced"))
                .hint("choose another file with -c, or move it away")
        }
        _ => UserError::new(Exit::Usage, format!("cannot write {shown}: {error}")),
    })
}

fn text(plan: &Plan, sample: &Sample, values: &AnnotatedValues, config: &Path) -> String {
    use std::fmt::Write as _;
    let bytes: u64 = plan.objects.iter().map(|o| o.known_bytes()).sum();
    let mut out = format!(
        "{}, {}; looked at the first {}\n\n",
        show_things(plan.objects.len() as u64, "file"),
        show_size(bytes),
        show_things(sample.records, "record")
    );
    let width = sample.fields.keys().map(|name| name.len()).max().unwrap_or(0).min(40);
    for (name, field) in &sample.fields {
        let mut kinds: Vec<_> = field.kinds.iter().copied().collect();
        kinds.sort_unstable();
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

fn object(plan: &Plan, sample: &Sample, values: &AnnotatedValues, config: &Path) -> Map<String, Value> {
    let fields: Vec<_> = sample
        .fields
        .iter()
        .map(|(name, field)| {
            let mut kinds: Vec<_> = field.kinds.iter().copied().collect();
            kinds.sort_unstable();
            json!({ "path": format!(".{name}"), "kinds": kinds, "present": field.present, "distinct": field.distinct.len() })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(lines: &[&str]) -> Sample {
        let mut sample = Sample::default();
        lines.iter().for_each(|line| sample.add(line.as_bytes()));
        sample
    }

    #[test]
    fn the_key_is_an_identifier_that_records_share() {
        let s = sample(&[
            r#"{"order_id":1,"customer_id":"a","shop_id":"x","note":"n"}"#,
            r#"{"order_id":2,"customer_id":"b","shop_id":"x","note":"n"}"#,
            r#"{"order_id":3,"customer_id":"a","shop_id":"x","note":"n"}"#,
        ]);
        assert_eq!(s.key().as_deref(), Some(".customer_id"));
    }

    #[test]
    fn no_key_without_a_field_in_every_record() {
        let s = sample(&[r#"{"customer_id":"a"}"#, r#"{"customer_id":"a"}"#, r#"{}"#, "not json"]);
        assert_eq!((s.key(), s.invalid), (None, 1));
    }
}
