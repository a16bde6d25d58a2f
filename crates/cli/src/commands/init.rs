//! `shardlift init`: looks at some data and writes a commented config.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use migration::config::{AnnotatedValues, ConfigErrors, Context, Typed, annotated};
use migration::job::{
    CsvFormat, CsvHeader, CsvSource, FileRules, FlushPolicy, JsonlSource, ShardOrder, ShardRules, SourceRules, WindowLimit,
};
use migration::printable::printable_path;
use migration::sample::{Sample, guess_topic};
use migration::{Exit, Plan, UserError};
use pipeline::fate::Look;
use pipeline::source::{PlanRules, wait_for_rows};
use pipeline::{BlockPool, Rows, Source};
use report::sample::ShownSample;
use serde_json::Value;

use crate::args::InitArgs;
use crate::ui::Ui;

/// How many records are looked at.
const SAMPLE: u64 = 1000;
/// What may stand between two fields of CSV.
const DELIMITERS: &[u8] = b",;\t|";
/// As the config's default.
const MAX_LINE: u64 = 4 << 20;

/// Writes the config and says what was seen.
pub fn init(args: &InitArgs, ui: &Ui) -> Result<Exit, UserError> {
    let Looked { plan, sample, delimiter } = look(&args.from)?;
    let topic = args.topic.clone().unwrap_or_else(|| guess_topic(&plan));
    let name = format!("{topic}-backfill");
    let values = AnnotatedValues {
        job_name: name,
        paths: written_paths(&args.from, &args.config),
        delimiter,
        key: sample.key(),
        topic,
        brokers: if args.brokers.is_empty() { vec!["embedded".into()] } else { args.brokers.clone() },
    };
    let text_of_config = annotated(&values);
    check(&text_of_config)?;
    write_new(&args.config, &text_of_config)?;
    let shown = ShownSample { plan: &plan, sample: &sample, values: &values, config: &args.config };
    ui.result(|| report::sample::text(&shown), || report::sample::object(&shown));
    Ok(Exit::Done)
}

/// What was seen of the data.
struct Looked {
    plan: Plan,
    sample: Sample,
    /// What stands between two fields, if the files are CSV.
    delimiter: Option<char>,
}

/// Looks at the first records. Files are CSV if all patterns are named so.
fn look(patterns: &[String]) -> Result<Looked, UserError> {
    let files = FileRules { paths: patterns.to_vec(), max_line: MAX_LINE };
    if !patterns.iter().all(|pattern| is_csv(pattern)) {
        return read_as(SourceRules::Jsonl(JsonlSource { raw: false, files }), None);
    }
    let csv = |delimiter: u8| {
        let format = CsvFormat {
            delimiter,
            quote: b'"',
            header: CsvHeader::FirstRow,
            multiline: true,
            null: String::new(),
            types: Default::default(),
        };
        read_as(SourceRules::Csv(CsvSource { files: files.clone(), format }), Some(char::from(delimiter)))
    };
    // The delimiter is the one that parts most columns, of those by which most rows have as many fields as there are
    // columns.
    let columns =
        |looked: &Looked| if looked.sample.invalid * 2 > looked.sample.records { 0 } else { looked.sample.fields.len() };
    let mut best = csv(DELIMITERS[0]);
    for delimiter in &DELIMITERS[1..] {
        let other = csv(*delimiter);
        if best.as_ref().map_or(0, columns) < other.as_ref().map_or(0, columns) {
            best = other;
        }
    }
    best
}

/// Whether a pattern names files of CSV, compressed or not.
fn is_csv(pattern: &str) -> bool {
    let name = pattern.to_lowercase();
    let name = [".gz", ".zst"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name).to_owned();
    [".csv", ".tsv", ".csv*", ".tsv*"].iter().any(|end| name.ends_with(end))
}

fn read_as(rules: SourceRules, delimiter: Option<char>) -> Result<Looked, UserError> {
    let source = sources::source_of(&rules, WindowLimit::default());
    let plan = plan_sample(source.as_ref())?;
    let sample = read(source.as_ref(), &plan)?;
    Ok(Looked { plan, sample, delimiter })
}

/// A config that `run` would refuse is not worth writing: what was typed here is wrong.
fn check(text: &str) -> Result<(), UserError> {
    let context = Context {
        config_dir: Path::new("/"),
        env: &|_| None,
        read_secret_file: &|path| std::fs::read_to_string(path),
        check_properties: &|_| Vec::new(),
        is_folder: &|_| Ok(false),
        contacts_brokers: false,
    };
    let wrong = |errors: ConfigErrors| UserError::new(Exit::Usage, errors).hint("give another --topic, --brokers or --from");
    Typed::parse(text, "the config that would be written").and_then(|typed| typed.mean(&context)).map(drop).map_err(wrong)
}

fn plan_sample(source: &dyn Source) -> Result<Plan, UserError> {
    let shards = ShardRules { target_size: None, order: ShardOrder::Source, by_key: Some(false) };
    let rules =
        PlanRules { shards: &shards, flush: FlushPolicy::Chunk, workers: 1, record_limit: Some(SAMPLE), needs_fields: false };
    source.plan(&rules).map_err(|e| UserError::new(Exit::Source, e))
}

/// Reads the first records.
fn read(source: &dyn Source, plan: &Plan) -> Result<Sample, UserError> {
    let mut sample = Sample::default();
    let mut pool = BlockPool::new(4 << 20);
    let mut rows = Rows::default();
    let wrong = |e| UserError::new(Exit::Source, e);
    for shard in &plan.shards {
        let mut reader = source.open(plan, shard.id, &shard.start, None).map_err(wrong)?;
        while wait_for_rows(reader.as_mut(), &mut pool, &mut rows).map_err(wrong)? {
            rows.looks().for_each(|(_, look)| add(&mut sample, look));
        }
    }
    Ok(sample)
}

/// Adds a row to what was seen unless it is blank: `run` sends it, or sets it aside.
fn add(sample: &mut Sample, look: Look<'_>) {
    let text = match look {
        Look::Blank => return,
        Look::Bad(_) => None,
        Look::Record(text) => Some(text),
    };
    match text.map(serde_json::from_slice) {
        Some(Ok(Value::Object(record))) => {
            sample.add(record.into_iter().map(|(name, value)| (name, kind(&value), value.to_string())));
        }
        _ => sample.add_invalid(),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(lines: &[&str]) -> Sample {
        let mut sample = Sample::default();
        lines.iter().for_each(|line| add(&mut sample, Look::Record(line.as_bytes())));
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

    #[test]
    fn names_of_csv() {
        for name in ["a.csv", "data/*.CSV", "x.tsv.gz", "x.csv.zst", "data/*.csv*"] {
            assert!(is_csv(name), "{name}");
        }
        for name in ["a.jsonl", "csv", "a.csv/*.jsonl", "a.csv.bak"] {
            assert!(!is_csv(name), "{name}");
        }
    }
}
