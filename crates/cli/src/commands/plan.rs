//! `shardlift plan`: the shards and what could go wrong; contacts no broker and sends nothing.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use migration::printable::printable_path;
use migration::units::{show_count, show_duration, show_size, show_things};
use migration::{Compression, Exit, Job, Plan, Segment, UserError};
use serde_json::{Map, Value, json};

use crate::args::JobArgs;
use crate::settings;
use crate::ui::Ui;
use crate::{source, state};

/// Shards listed in the text; `-o json` has them all.
const SHARDS_SHOWN: usize = 40;

/// Shows the plan: the stored one if the job has run, else the one that a run would make now.
pub fn plan(args: &JobArgs, ui: &Ui) -> Result<Exit, UserError> {
    let job = settings::load(args)?;
    let stored = state::stored_plan(&job)?;
    let frozen = stored.is_some();
    let plan = match stored {
        Some(plan) => plan,
        None => source::make_plan(&job)?,
    };
    let risks = risks(&job, &plan);
    ui.result(|| text(&job, &plan, frozen, &risks), || object(&job, &plan, frozen, &risks));
    Ok(Exit::Done)
}

fn text(job: &Job, plan: &Plan, frozen: bool, risks: &[String]) -> String {
    let mut out = format!(
        "{}: {} over {}, {}, about {} records, for topic {}{}\n\n",
        job.name,
        show_things(plan.shards.len() as u64, "shard"),
        show_things(plan.objects.len() as u64, "file"),
        show_size(plan.bytes()),
        show_count(plan.records_estimate()),
        job.kafka.topic,
        if frozen { " (the plan of the job that has begun)" } else { "" }
    );
    let here = std::env::current_dir().unwrap_or_default();
    let _ = writeln!(out, "  {:<6}{:>11}{:>14}  ranges", "shard", "bytes", "records ~");
    for shard in plan.shards.iter().take(SHARDS_SHOWN) {
        let _ = writeln!(
            out,
            "  {:<6}{:>11}{:>14}  {}",
            shard.id,
            shard.bytes.map_or_else(|| "?".to_owned(), show_size),
            show_count(shard.records_estimate),
            ranges(plan, plan.segments(shard), &here)
        );
    }
    if plan.shards.len() > SHARDS_SHOWN {
        let _ = writeln!(out, "  … and {} more; -o json has them all", plan.shards.len() - SHARDS_SHOWN);
    }
    if !risks.is_empty() {
        out.push_str("\nworth knowing\n");
        for risk in risks {
            let _ = writeln!(out, "  - {risk}");
        }
    }
    out.push_str("\nnothing was sent; `shardlift run` sends it\n");
    out
}

fn ranges(plan: &Plan, segments: &[Segment], here: &Path) -> String {
    let one = |segment: &Segment| {
        let object = plan.object(segment);
        let path = printable_path(object.path.strip_prefix(here).unwrap_or(&object.path));
        match object.compression {
            Compression::None if segment.start == 0 && Some(segment.end) == object.bytes => path,
            Compression::None => format!("{path} {}..{}", segment.start, segment.end),
            Compression::Gzip | Compression::Zstd => format!("{path} (compressed)"),
        }
    };
    match segments {
        [] => String::new(),
        [first] => one(first),
        [first, rest @ ..] => format!("{} and {} more", one(first), rest.len()),
    }
}

fn object(job: &Job, plan: &Plan, frozen: bool, risks: &[String]) -> Map<String, Value> {
    let shards: Vec<_> = plan
        .shards
        .iter()
        .map(|shard| {
            let segments: Vec<_> = plan
                .segments(shard)
                .iter()
                .map(|segment| {
                    let object = plan.object(segment);
                    // A compressed object is read to the end of its stream, whose length nobody knows yet: its end is the file's.
                    let end = if segment.end == Segment::WHOLE { object.bytes } else { Some(segment.end) };
                    json!({ "path": object.path, "start": segment.start, "end": end })
                })
                .collect();
            json!({ "id": shard.id.0, "bytes": shard.bytes, "records_estimate": shard.records_estimate, "segments": segments })
        })
        .collect();
    let mut map = Map::new();
    map.insert("job".into(), job.name.clone().into());
    map.insert("topic".into(), job.kafka.topic.clone().into());
    map.insert("frozen".into(), frozen.into());
    map.insert("bytes".into(), plan.bytes().into());
    map.insert("records_estimate".into(), plan.records_estimate().into());
    map.insert("files".into(), plan.objects.len().into());
    map.insert("shards".into(), shards.into());
    map.insert("risks".into(), risks.into());
    map
}

/// What a user should know before sending.
fn risks(job: &Job, plan: &Plan) -> Vec<String> {
    let mut risks = plan.notes.clone();
    let compressed = plan.objects.iter().filter(|o| o.compression != Compression::None).count();
    if compressed > 0 {
        risks.push(format!(
            "{compressed} compressed files can't be cut: each is read by one worker, and resuming decompresses again up to where it was"
        ));
    }
    let workers = job.workers.count.map_or_else(process::processors, |n| n.get() as usize);
    if plan.shards.len() < workers {
        risks.push(format!(
            "only {} shards for {workers} workers: a smaller shards.target_size would use them all",
            plan.shards.len()
        ));
    }
    let fresh = SystemTime::now() - Duration::from_secs(60);
    let fresh = fresh.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i64);
    if plan.objects.iter().any(|o| o.modified_ns > fresh) {
        risks.push("some files changed within the last minute: a file that changes during the run stops it with exit 7".into());
    }
    if job.record.timestamp.is_some() {
        risks.push(
            "records carry event times: a topic with time-based retention deletes records that are older than it, and Kafka 3.6 or \
             later may reject them (message.timestamp.before.max.ms)"
                .into(),
        );
    }
    if job.record.key.is_none() {
        risks.push("records have no key: their order in the topic is kept only within a shard and partition".into());
    }
    if let Some(rate) = job.limits.rate_records {
        let seconds = plan.records_estimate() as f64 / rate as f64;
        risks.push(format!("limits.rate_records = {rate}: at least {}", show_duration(Duration::from_secs_f64(seconds))));
    }
    if let Some(rate) = job.limits.rate_bytes {
        let seconds = plan.bytes() as f64 / rate as f64;
        risks.push(format!("limits.rate_bytes = {rate}: at least {}", show_duration(Duration::from_secs_f64(seconds))));
    }
    risks
}
