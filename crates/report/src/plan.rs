//! A job's plan, in words and as JSON.

use std::fmt::Write as _;
use std::path::Path;

use migration::printable::printable_path;
use migration::units::{show_count, show_size, show_things};
use migration::{Compression, Job, Plan, Segment};
use serde_json::{Map, Value, json};

/// Shards listed in the text; `-o json` has them all.
const SHARDS_SHOWN: usize = 40;

/// A plan, and what is to be said with it.
#[derive(Clone, Copy, Debug)]
pub struct ShownPlan<'a> {
    /// Whose.
    pub job: &'a Job,
    /// Which.
    pub plan: &'a Plan,
    /// Whether it is that of a job that has begun.
    pub frozen: bool,
    /// What a user should know before sending.
    pub risks: &'a [String],
}

/// The plan for people; paths below `here` without it.
pub fn text(shown: &ShownPlan<'_>, here: &Path) -> String {
    let ShownPlan { job, plan, frozen, risks } = *shown;
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
    let _ = writeln!(out, "  {:<6}{:>11}{:>14}  ranges", "shard", "bytes", "records ~");
    for shard in plan.shards.iter().take(SHARDS_SHOWN) {
        let _ = writeln!(
            out,
            "  {:<6}{:>11}{:>14}  {}",
            shard.id,
            shard.bytes.map_or_else(|| "?".to_owned(), show_size),
            show_count(shard.records_estimate),
            ranges(plan, plan.segments(shard), here)
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

/// The plan for machines.
pub fn object(shown: &ShownPlan<'_>) -> Map<String, Value> {
    let ShownPlan { job, plan, frozen, risks } = *shown;
    let shards: Vec<_> = plan
        .shards
        .iter()
        .map(|shard| {
            let segments: Vec<_> = plan
                .segments(shard)
                .iter()
                .map(|segment| {
                    let object = plan.object(segment);
                    // A compressed object is read to the end of its stream, whose length is not yet known: its end is
                    // the file's.
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
