//! The annotated config file, made of the keys' declarations: the one at the project's root, and what `shardlift init`
//! writes.

use super::key::Declared;
use super::schema::KEYS;
use super::value::ValueKind;
use crate::job::{SourceRules, TimestampUnit};

/// What stands above all tables.
const INTRODUCTION: &str = "\
# A job of shardlift: one dataset into one topic.
#
# Active lines are what this job needs. A comment of the form `# key = value` shows a default: removing its `# ` changes
# nothing. A comment that is indented further is an example of a key without a default, or of a table that is not used.
# Sizes: \"512\", \"100kB\", \"4MiB\". Durations: \"5ms\", \"1s\", \"15min\". Relative paths start at this file's folder.
# Everything about each key: docs/configuration.md
";

/// Properties that many clusters need.
const PROPERTIES: &str = "\
#   \"compression.type\" = \"lz4\"
#   \"security.protocol\" = \"SASL_SSL\"
#   \"sasl.mechanisms\" = \"SCRAM-SHA-512\"
#   \"sasl.username\" = \"shardlift\"
#   \"sasl.password\" = { env = \"KAFKA_PASSWORD\" }
";

/// How long a comment's line may be, without its `# `.
const COLUMNS: usize = 118;

/// A table of the annotated file.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Its path.
    pub table: &'static str,
    /// What is said above it.
    pub comment: &'static str,
    /// Whether it stands on one line of the table above.
    pub inline: bool,
}

const fn section(table: &'static str, comment: &'static str) -> Section {
    Section { table, comment, inline: false }
}

/// All tables, in the order of the annotated file.
pub const SECTIONS: &[Section] = &[
    section("job", ""),
    section("source.jsonl", "Exactly one source. JSON lines: one record a line, plain or compressed with gzip or zstd."),
    section("source.csv", "Or CSV: each row becomes a JSON object of its fields. One of the two tables, not both."),
    section("shards", "How the dataset is cut. The plan is frozen when the job first runs."),
    section("record", "From a record to a message."),
    section("kafka", "Where records go."),
    section("workers", ""),
    Section {
        inline: true,
        ..section("workers.chunk", "The records between two commits; the first limit that is reached ends the chunk.")
    },
    Section {
        inline: true,
        ..section(
            "workers.restart",
            "This number of deaths of workers at one position quarantines a shard; the pause between two attempts doubles from MIN to MAX.",
        )
    },
    section("limits", "Limits of the whole job, all workers together."),
    section(
        "checks",
        "What checks refuse and you want to let pass, by name; `shardlift check` tells names and reasons, and so does a\n\
         run that is refused. The report keeps the names.",
    ),
    section("dead_letters", "Records that can't be sent are set aside with their reason."),
    section("checkpoint", "Where it is kept how far the job is: in job.state_dir, and with exactly-once in a topic."),
    section("verify", "What a comparison of topic and source lets pass."),
];

/// What `shardlift init` knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnotatedValues {
    /// The job's name.
    pub job_name: String,
    /// The source's files or patterns.
    pub paths: Vec<String>,
    /// What stands between two fields, if the files are CSV; `None`: they are JSON lines.
    pub delimiter: Option<char>,
    /// Where the key is, such as `.customer_id`; `None` = no key.
    pub key: Option<String>,
    /// Where the time is, if a field looks like one.
    pub time: Option<AnnotatedTime>,
    /// The topic.
    pub topic: String,
    /// Brokers as `host:port`; none, or `embedded` alone: the embedded broker.
    pub brokers: Vec<String>,
}

/// A field that may be the records' time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnotatedTime {
    /// Where it is, such as `.created_at`.
    pub path: String,
    /// How it is written.
    pub unit: TimestampUnit,
    /// Whether it is to be used. If not, its lines are comments: a topic deletes by the time of its records, so that to
    /// set one is a decision of its own.
    pub active: bool,
}

impl AnnotatedValues {
    /// Whether a table is used: all are but those of other sources.
    fn uses(&self, table: &str) -> bool {
        let [jsonl, csv] = SourceRules::TABLES;
        table != if self.delimiter.is_some() { jsonl } else { csv }
    }

    /// What stands on a key's active line.
    fn active(&self, key: &Declared) -> Option<String> {
        match key.path {
            "job.name" => Some(quote(&self.job_name)),
            "source.jsonl.paths" | "source.csv.paths" => Some(list(&self.paths)),
            "source.csv.delimiter" => self.delimiter.filter(|c| *c != ',').map(|c| quote(&c.to_string())),
            "record.key" => self.key.as_deref().map(quote),
            "record.timestamp" => self.time.as_ref().filter(|time| time.active).map(|time| quote(&time.path)),
            "record.timestamp_unit" => self.time.as_ref().filter(|time| time.active && time.unit != USUAL_UNIT).map(unit),
            "kafka.topic" => Some(quote(&self.topic)),
            "kafka.brokers" => Some(match self.brokers.as_slice() {
                [] => quote("embedded"),
                [one] if one == "embedded" => quote(one),
                several => list(several),
            }),
            _ => None,
        }
    }
}

/// How times are written by default.
const USUAL_UNIT: TimestampUnit = TimestampUnit::Rfc3339;

fn unit(time: &AnnotatedTime) -> String {
    quote(time.unit.name())
}

/// The lines of a time that is only proposed.
fn proposed(out: &mut String, key: &Declared, values: &AnnotatedValues) -> bool {
    let Some(time) = values.time.as_ref().filter(|time| !time.active) else { return false };
    match key.path {
        "record.timestamp" => {
            comment(
                out,
                [
                    "In the sample this is a field of times. With it the topic keeps records by these times: what is older than its",
                    "retention.ms is deleted. `shardlift check` compares the two.",
                ]
                .into_iter(),
            );
            out.push_str(&format!("#   timestamp = {}\n", quote(&time.path)));
        }
        "record.timestamp_unit" if time.unit != USUAL_UNIT => out.push_str(&format!("#   timestamp_unit = {}\n", unit(time))),
        _ => return false,
    }
    true
}

/// The annotated file with these values on its active lines. Without a key its line is an example in a comment.
pub fn annotated(values: &AnnotatedValues) -> String {
    let mut out = String::from(INTRODUCTION);
    for section in SECTIONS.iter().filter(|section| !section.inline) {
        let used = values.uses(section.table);
        out.push('\n');
        comment(&mut out, section.comment.lines());
        out.push_str(&if used { format!("[{}]\n", section.table) } else { format!("#   [{}]\n", section.table) });
        let mut inline = "";
        for key in KEYS.iter().filter(|key| is_in(key, section.table)) {
            if key.table() == section.table {
                one_key(&mut out, key, values, used);
            } else if key.table() != inline {
                inline = key.table();
                one_table(&mut out, inline, section.table);
            }
        }
    }
    out
}

fn is_in(key: &Declared, table: &str) -> bool {
    key.path.strip_prefix(table).is_some_and(|rest| rest.starts_with('.'))
}

fn comment<'a>(out: &mut String, lines: impl Iterator<Item = &'a str>) {
    lines.for_each(|line| out.push_str(&format!("# {}\n", line.trim())));
}

/// A paragraph in lines.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is one");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() > COLUMNS {
            lines.push(word.to_owned());
        } else {
            line.push(' ');
            line.push_str(word);
        }
    }
    lines
}

fn one_key(out: &mut String, key: &Declared, values: &AnnotatedValues, used: bool) {
    let summary = key.doc.iter().take_while(|line| !line.is_empty()).map(|line| line.trim());
    let plain = wrapped(&summary.collect::<Vec<_>>().join(" ").replace('`', ""));
    if matches!(key.kind, ValueKind::Properties) {
        out.push('\n');
        comment(out, plain.iter().map(String::as_str));
        out.push_str(&format!("[{}]\n{PROPERTIES}", key.path));
        return;
    }
    comment(out, plain.iter().map(String::as_str));
    if proposed(out, key, values) {
        return;
    }
    let line = match (values.active(key).filter(|_| used), key.default) {
        (Some(value), _) => format!("{} = {value}", key.name()),
        (None, Some(default)) if used => format!("# {} = {default}", key.name()),
        (None, default) => format!("#   {} = {}", key.name(), default.unwrap_or(key.example)),
    };
    out.push_str(&(line + "\n"));
}

/// A table on one line.
fn one_table(out: &mut String, table: &str, above: &str) {
    let about = SECTIONS.iter().find(|section| section.table == table).map_or("", |section| section.comment);
    comment(out, about.lines());
    let keys = KEYS.iter().filter(|key| key.table() == table);
    let keys: Vec<String> = keys.map(|key| format!("{} = {}", key.name(), key.default.unwrap_or(key.example))).collect();
    out.push_str(&format!("# {} = {{ {} }}\n", &table[above.len() + 1..], keys.join(", ")));
}

fn list(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|text| quote(text)).collect::<Vec<_>>().join(", "))
}

fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
