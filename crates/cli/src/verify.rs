//! Comparing the topic with the source, in a helper process, and saying what was found.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kafka::{TopicReader, partitioner};
use migration::report::Binding;
use migration::units::{show_count, show_duration, show_things};
use migration::{Exit, Job, Plan};
use pipeline::dead_letter;
use pipeline::verify::{Verification, VerifyError, VerifyExample, VerifyKind, VerifyProgress, VerifyReport};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::error::CliError;
use crate::helper;
use crate::interrupt::Interrupt;
use crate::ui::{ProgressStyle, Ui};

/// The result of the last comparison, in the job's folder: an embedded broker's topic can't be read again.
const KEPT: &str = "verify.json";

/// A comparison that was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Verified {
    report: VerifyReport,
    elapsed_ms: u64,
    /// Whether keys and values of examples are shown.
    #[serde(skip)]
    pub show_values: bool,
}

/// Compares a job's topic with its source. Both are read again; nothing that was counted while sending is used.
pub fn verify(
    job: &Job,
    plan: &Plan,
    dead_letters: &Path,
    binding: &Binding,
    interrupt: Option<&Interrupt>,
    ui: &Ui,
) -> Result<Verified, CliError> {
    let started = Instant::now();
    let style = ui.progress;
    let report = helper::ask("shardlift verif", interrupt, || compare(job, plan, dead_letters, binding, style))?;
    Ok(Verified { report, elapsed_ms: started.elapsed().as_millis() as u64, show_values: false })
}

/// The helper's part.
fn compare(
    job: &Job,
    plan: &Plan,
    dead_letters: &Path,
    binding: &Binding,
    style: ProgressStyle,
) -> Result<VerifyReport, CliError> {
    let letters = dead_letter::places(dead_letters).map_err(|error| {
        CliError::new(Exit::State, format!("cannot read dead letters in {}: {error}", dead_letters.display()))
    })?;
    let verification = Verification {
        plan,
        rules: &job.record,
        windows: job.workers.windows(),
        dead_letters: &letters,
        partitioner: partitioner::choose(job.kafka.partitioner),
        partitions: binding.end_offsets.len() as u32,
        limits: Default::default(),
    };
    let mut topic = TopicReader::new(job, binding.end_offsets.clone());
    let mut teller = Teller { style, started: Instant::now(), said: Instant::now() };
    pipeline::verify::verify(&verification, &mut topic, &mut |progress| teller.tell(progress)).map_err(|error| match error {
        VerifyError::Source(_) => CliError::new(Exit::Source, error),
        VerifyError::Topic(_) => {
            CliError::new(Exit::Preflight, error).hint("run `shardlift verify` again when the topic can be read")
        }
    })
}

/// Says now and then how far the comparison is. The helper may print: its parent waits for it.
struct Teller {
    style: ProgressStyle,
    started: Instant,
    said: Instant,
}

impl Teller {
    fn tell(&mut self, progress: VerifyProgress) {
        let every = match self.style {
            ProgressStyle::None => return,
            ProgressStyle::Bars => Duration::from_secs(2),
            ProgressStyle::Plain | ProgressStyle::Json => Duration::from_secs(10),
        };
        if self.said.elapsed() < every {
            return;
        }
        self.said = Instant::now();
        let side = if progress.topic { "topic" } else { "source" };
        let elapsed = self.started.elapsed();
        let line = if self.style == ProgressStyle::Json {
            json!({ "_event": "verify", "reading": side, "records": progress.records, "slice": progress.slice, "slices": progress.slices,
                    "of": progress.of, "elapsed_ms": elapsed.as_millis() as u64 })
            .to_string()
        } else {
            let slice =
                if progress.slices > 0 { format!(" slice={}/{}", progress.slice, progress.slices) } else { String::new() };
            let of = progress.of.map_or(String::new(), |records| format!(" of={records}"));
            format!("verify reading={side}{slice} records={}{of} elapsed={}s", progress.records, elapsed.as_secs())
        };
        drop(writeln!(std::io::stderr(), "{line}"));
    }
}

impl Verified {
    /// What it means for the exit code.
    pub fn exit(&self) -> Exit {
        if self.report.is_clean() { Exit::Done } else { Exit::Difference }
    }

    /// The members of the JSON object.
    pub fn object(&self) -> Map<String, Value> {
        let r = &self.report;
        let value = json!({
            "outcome": if r.is_clean() { "same" } else { "different" },
            "exit_code": self.exit().code(),
            "source_records": r.source_records,
            "dead_lettered": r.dead_lettered,
            "topic_records": r.topic_records,
            "missing": r.missing,
            "duplicates": r.duplicates,
            "altered": r.altered,
            "unexpected": r.unexpected,
            "gone": r.gone.iter().map(|(partition, offsets)| json!({ "partition": partition, "offsets": offsets })).collect::<Vec<_>>(),
            "examples": r.examples.iter().map(|example| self.example_object(example)).collect::<Vec<_>>(),
            "elapsed_ms": self.elapsed_ms,
        });
        match value {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }

    fn example_object(&self, example: &VerifyExample) -> Value {
        let mut object = json!({
            "kind": kind(example.kind),
            "path": example.path,
            "start": example.start,
            "partition": example.partition,
            "offset": example.offset,
        });
        if self.show_values {
            object["key"] = example.key.as_deref().map(String::from_utf8_lossy).into();
            object["value"] = String::from_utf8_lossy(&example.value).into();
        }
        object
    }

    /// The same for people.
    pub fn text(&self) -> String {
        let r = &self.report;
        let took = show_duration(Duration::from_millis(self.elapsed_ms));
        let mut out = if r.is_clean() {
            let but = match r.dead_lettered {
                0 => String::new(),
                n => format!(" but for {} that {} set aside", show_things(n, "record"), if n == 1 { "was" } else { "were" }),
            };
            format!("verified: the topic holds exactly the source's records{but} ({took})\n")
        } else {
            format!("verified: THE TOPIC DIFFERS FROM THE SOURCE ({took})\n")
        };
        let rows = [
            ("source records", r.source_records),
            ("dead letters", r.dead_lettered),
            ("topic records", r.topic_records),
            ("missing", r.missing),
            ("duplicates", r.duplicates),
            ("altered", r.altered),
            ("unexpected", r.unexpected),
        ];
        for (name, count) in rows {
            let _ = writeln!(out, "  {name:<16}{:>16}", show_count(count));
        }
        for (partition, offsets) in &r.gone {
            let offsets = show_count(u64::try_from(*offsets).unwrap_or(0));
            let _ = writeln!(
                out,
                "  partition {partition}: {offsets} offsets of the job can't be read any more (retention or DeleteRecords)"
            );
        }
        if !r.examples.is_empty() {
            out += "\n  examples\n";
        }
        for example in &r.examples {
            let _ = writeln!(out, "  {}", self.example_text(example));
        }
        out
    }

    fn example_text(&self, example: &VerifyExample) -> String {
        let mut text = format!("{:<10}", kind(example.kind));
        if let (Some(path), Some(start)) = (&example.path, example.start) {
            let _ = write!(text, " {path} byte {start}");
        }
        if let (Some(partition), Some(offset)) = (example.partition, example.offset) {
            let _ = write!(text, " partition {partition} offset {offset}");
        }
        if self.show_values {
            let key = example.key.as_deref().map_or("(null)".into(), String::from_utf8_lossy);
            let _ = write!(text, " key {key:?} value {:?}", String::from_utf8_lossy(&example.value));
        }
        text
    }
}

fn kind(kind: VerifyKind) -> &'static str {
    match kind {
        VerifyKind::Missing => "missing",
        VerifyKind::Duplicate => "duplicate",
        VerifyKind::Altered => "altered",
        VerifyKind::Unexpected => "unexpected",
    }
}

fn kept_path(folder: &Path) -> PathBuf {
    folder.join(KEPT)
}

/// Keeps a result in the job's folder. Best effort: the result was shown.
pub fn keep(folder: &Path, verified: &Verified) {
    let text = serde_json::to_vec(verified).unwrap_or_default();
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(kept_path(folder));
    if let Err(error) = file.and_then(|mut file| file.write_all(&text)) {
        tracing::warn!("the result of verify could not be kept in {}: {error}", folder.display());
    }
}

/// The result that was kept, if any.
pub fn kept(folder: &Path) -> Option<Verified> {
    serde_json::from_slice(&std::fs::read(kept_path(folder)).ok()?).ok()
}

/// Forgets a kept result: the job starts over.
pub fn forget(folder: &Path) {
    drop(std::fs::remove_file(kept_path(folder)));
}
