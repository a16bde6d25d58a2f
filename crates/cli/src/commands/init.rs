//! `shardlift init`: looks at some data and writes a commented config.
//!
//! Responsible for what is written, and for what was typed against what was seen. Not responsible for what a field may
//! be good for (`migration::sample`), nor for how data is looked at ([`mod@look`]).

mod look;
mod walk;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use migration::config::{AnnotatedTime, AnnotatedValues, ConfigErrors, Context, Typed, annotated, as_pattern};
use migration::job::{Job, JsonlSource, KafkaRules, RecordRules};
use migration::printable::{printable, printable_path};
use migration::sample::{RecordSample, guess_topic};
use migration::units::show_count;
use migration::{Exit, UserError};
use report::sample::ShownSample;

use crate::args::InitArgs;
use crate::ui::Ui;

use look::{Looked, look};

/// Fields that a message names.
const FIELDS_NAMED: usize = 20;
/// What is typed for no field.
const NONE: &str = "none";

/// Writes the config and says what was seen.
pub fn init(args: &InitArgs, ui: &Ui) -> Result<Exit, UserError> {
    let (key, timestamp) = (WishedField::of(args.key.as_deref()), WishedField::of(args.timestamp.as_deref()));
    check_arguments(args)?;
    // Lines that are not JSON are of use only if nothing of them is asked for.
    let as_they_are = key == WishedField::None && !matches!(timestamp, WishedField::Field(_));
    let Looked { plan, sample, delimiter } = look(&args.from, !as_they_are)?;
    if sample.records > 0 && sample.objects() == 0 && !as_they_are {
        return Err(no_objects(&sample));
    }
    let mut notes = plan.notes.clone();
    let key = match key {
        WishedField::Guess => sample.key(),
        WishedField::None => None,
        WishedField::Field(path) => Some(chosen_key(path, &sample, &mut notes)?),
    };
    let time = match timestamp {
        WishedField::Guess => sample.time().map(|(path, times)| AnnotatedTime { path, unit: times.unit, active: false }),
        WishedField::None => None,
        WishedField::Field(path) => Some(chosen_time(path, &sample, &mut notes)?),
    };
    let topic = args.topic.clone().unwrap_or_else(|| guess_topic(&plan));
    let values = AnnotatedValues {
        job_name: format!("{topic}-backfill"),
        paths: written_paths(&args.from, &args.config),
        delimiter,
        key,
        time,
        topic,
        brokers: if args.brokers.is_empty() { vec!["embedded".into()] } else { args.brokers.clone() },
    };
    let text_of_config = annotated(&values);
    check(Typed::parse(&text_of_config, "the config that would be written"))?;
    write_new(&args.config, &text_of_config)?;
    let shown = ShownSample { plan: &plan, sample: &sample, values: &values, notes: &notes, config: &args.config };
    ui.result(|| report::sample::text(&shown), || report::sample::object(&shown));
    Ok(Exit::Done)
}

/// What is wanted of a field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WishedField<'a> {
    /// One that looks like it.
    Guess,
    None,
    /// This one.
    Field(&'a str),
}

impl<'a> WishedField<'a> {
    fn of(typed: Option<&'a str>) -> Self {
        match typed {
            None => WishedField::Guess,
            Some(NONE) => WishedField::None,
            Some(path) => WishedField::Field(path),
        }
    }
}

/// What was typed is judged by the rules of the config, before anything is read: errors name the flag.
fn check_arguments(args: &InitArgs) -> Result<(), UserError> {
    let mut typed = Typed::parse("", "").map_err(|errors| UserError::new(Exit::Usage, errors))?;
    let list = |texts: &[String]| toml_list(texts);
    typed.set(JsonlSource::PATHS.declared().path, &list(&args.from), "--from");
    typed.set_text(KafkaRules::TOPIC.declared().path, args.topic.as_deref().unwrap_or("records"), "--topic");
    typed.set_text(Job::NAME.declared().path, "init", "--topic");
    if !args.brokers.is_empty() {
        typed.set_text(KafkaRules::BROKERS.declared().path, &args.brokers.join(","), "--brokers");
    }
    let fields = [
        (&args.key, RecordRules::KEY.declared(), "--key"),
        (&args.timestamp, RecordRules::TIMESTAMP.declared(), "--timestamp"),
    ];
    for (field, key, flag) in fields {
        if let WishedField::Field(path) = WishedField::of(field.as_deref()) {
            typed.set_text(key.path, path, flag);
        }
    }
    check(Ok(typed))
}

/// Strings as a list of TOML.
fn toml_list(texts: &[String]) -> String {
    serde_json::Value::from(texts.to_vec()).to_string()
}

/// A config that `run` would refuse is not worth writing: what was typed here is wrong.
fn check(typed: Result<Typed, ConfigErrors>) -> Result<(), UserError> {
    let context = Context {
        config_dir: Path::new("/"),
        env: &|_| None,
        read_secret_file: &|path| std::fs::read_to_string(path),
        check_properties: &|_| Vec::new(),
        is_folder: &|_| Ok(false),
        contacts_brokers: false,
    };
    typed.and_then(|typed| typed.mean(&context)).map(drop).map_err(|errors| UserError::new(Exit::Usage, errors))
}

/// Nothing of what was sampled is a record of fields.
fn no_objects(sample: &RecordSample) -> UserError {
    let first = sample.first_invalid.as_deref().unwrap_or_default();
    let of = if sample.records == 1 {
        "the only sampled line".to_owned()
    } else {
        format!("none of the {} sampled lines", show_count(sample.records))
    };
    let is = if sample.records == 1 { "is no" } else { "is a" };
    UserError::new(Exit::Source, format!("{of} {is} JSON object; nothing was written. The first one, {first}"))
        .hint("lines that are to be sent as they are, without a key: --key none")
}

/// The key that was typed, if records have it.
fn chosen_key(path: &str, sample: &RecordSample, notes: &mut Vec<String>) -> Result<String, UserError> {
    let path = present("--key", path, sample, notes)?;
    let Some(field) = sample.fields.get(&path) else { return Ok(path) };
    if let Some(kind) = field.kinds.iter().find(|kind| matches!(**kind, "array" | "object")) {
        let message = format!("--key {}: it is an {kind}, and a key is a string, a number or a boolean", printable(&path));
        return Err(UserError::new(Exit::Usage, message).hint(fields_there(sample)));
    }
    if field.distinct.len() == 1 && field.present > 1 {
        notes.push(format!("key {}: all sampled records have the same value; all go to one partition", printable(&path)));
    }
    Ok(path)
}

/// The time that was typed, if records have it and it is one.
fn chosen_time(path: &str, sample: &RecordSample, notes: &mut Vec<String>) -> Result<AnnotatedTime, UserError> {
    let path = present("--timestamp", path, sample, notes)?;
    let Some(times) = sample.times_of(&path).filter(|_| sample.fields.contains_key(&path)) else {
        let message = format!(
            "--timestamp {}: its values are no times from 1990 to next year, neither as RFC 3339 nor as a number of s, ms or us",
            printable(&path)
        );
        let found: Vec<_> = sample
            .named()
            .into_iter()
            .filter(|path| sample.times_of(path).is_some())
            .take(FIELDS_NAMED)
            .map(printable)
            .collect();
        let hint = match found.as_slice() {
            [] => "no field of the sample is a time".to_owned(),
            found => format!("fields that are times: {}", found.join(", ")),
        };
        return Err(UserError::new(Exit::Usage, message).hint(hint));
    };
    let others = sample.fields[&path].present - times.count;
    if others > 0 {
        notes.push(format!(
            "timestamp {}: {} of {} values are no times of this kind: such records become dead letters",
            printable(&path),
            show_count(others),
            show_count(sample.fields[&path].present)
        ));
    }
    Ok(AnnotatedTime { path, unit: times.unit, active: true })
}

/// A path that was typed, if some sampled record has it.
fn present(flag: &str, path: &str, sample: &RecordSample, notes: &mut Vec<String>) -> Result<String, UserError> {
    let shown = printable(path);
    let Some(field) = sample.fields.get(path) else {
        if sample.records == 0 {
            return Ok(path.to_owned());
        }
        let holds =
            |end: &str| sample.fields.keys().any(|field| field.strip_prefix(path).is_some_and(|rest| rest.starts_with(end)));
        let what = if holds(".") {
            "it is an object, and a field in it must be named".to_owned()
        } else if holds("[]") {
            "it is an array, and no element of one can be named".to_owned()
        } else {
            format!("no record of {} sampled has it", show_count(sample.objects()))
        };
        return Err(UserError::new(Exit::Usage, format!("{flag} {shown}: {what}")).hint(fields_there(sample)));
    };
    let without = sample.objects() - field.present;
    if without > 0 {
        let of = show_count(sample.objects());
        notes
            .push(format!("{} of {of} sampled records have no {shown}: such records become dead letters", show_count(without)));
    }
    Ok(path.to_owned())
}

/// The fields that records have.
fn fields_there(sample: &RecordSample) -> String {
    let named = sample.named();
    let more = named.len().saturating_sub(FIELDS_NAMED);
    let mut shown: Vec<_> = named.into_iter().take(FIELDS_NAMED).map(printable).collect();
    shown.extend((more > 0).then(|| format!("and {more} more")));
    format!("fields are {}", shown.join(", "))
}

/// Relative patterns are relative to the config's folder: kept where that is the current one, made absolute elsewhere.
fn written_paths(patterns: &[String], config: &Path) -> Vec<String> {
    let here = config.parent().is_none_or(|folder| folder.as_os_str().is_empty() || folder == Path::new("."));
    let absolute = |pattern: &String| match std::env::current_dir() {
        Ok(folder) if Path::new(pattern).is_relative() => {
            format!("{}/{}", as_pattern(&folder.to_string_lossy()), pattern.strip_prefix("./").unwrap_or(pattern))
        }
        _ => pattern.clone(),
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

    #[test]
    fn a_config_elsewhere_has_absolute_patterns() {
        let here = std::env::current_dir().unwrap();
        let here = as_pattern(here.to_str().unwrap());
        let written = |config: &str| written_paths(&["./d/*.jsonl".into(), "/x".into()], Path::new(config));
        assert_eq!(written("o.toml"), ["./d/*.jsonl", "/x"]);
        assert_eq!(written("/tmp/o.toml"), [format!("{here}/d/*.jsonl"), "/x".into()]);
        assert_eq!(as_pattern("/a[1]*/{x,y}/$HOME"), "/a[[]1[]][*]/[{]x,y}/[$]HOME");
    }
}
