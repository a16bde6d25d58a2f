//! A job's plan, in words and as JSON.

use std::fmt::Write as _;
use std::path::Path;

use migration::check::estimate::Estimate;
use migration::printable::printable_path;
use migration::report::ShardStatus;
use migration::units::{show_count, show_size, show_things};
use migration::{Compression, Job, Order, PartitionSet, Plan, Position, Segment, Shard};
use serde_json::{Map, Value, json};

use crate::preview::Preview;

/// Shards listed in the text; `-o json` has them all.
const SHARDS_SHOWN: usize = 40;

/// Runs of partitions listed in the text; `-o json` has them all.
const PARTITIONS_SHOWN: usize = 6;

/// A plan, and what is to be said with it.
#[derive(Clone, Copy, Debug)]
pub struct ShownPlan<'a> {
    /// Whose.
    pub job: &'a Job,
    /// Which. That of a job that has not begun has sets of partitions only if the topic was asked how many it has.
    pub plan: &'a Plan,
    /// Which order records keep.
    pub order: Order,
    /// Of a job that has begun how each shard stands, in plan order; else none.
    pub begun: Option<&'a [Reached]>,
    /// How many workers there will be.
    pub workers: u32,
    /// What a user should know before sending.
    pub risks: &'a [String],
    /// What it will come to.
    pub estimate: &'a Estimate,
    /// Its first records.
    pub preview: Preview<'a>,
}

/// How far a shard has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// How it stands.
    pub status: ShardStatus,
    /// Up to where it is committed.
    pub position: Position,
}

impl ShownPlan<'_> {
    /// The least and most sets of partitions that the job has, or will have; `None`: its shards have none.
    fn sets(&self) -> Option<(u32, u32)> {
        match (self.plan.partitions, self.order, self.begun) {
            (Some(_), ..) => Some(self.plan.shards.len() as u32).map(|sets| (sets, sets)),
            (None, Order::Key, None) => Some((1, self.workers.max(1))),
            (None, ..) => None,
        }
    }

    /// How its parts are called, and how many there are.
    fn parts(&self) -> String {
        match self.sets() {
            Some((least, most)) if least < most => format!("{least} to {most} sets of partitions"),
            Some((_, 1)) => "1 set of partitions".to_owned(),
            Some((_, sets)) => format!("{} sets of partitions", show_count(sets.into())),
            None => show_things(self.plan.shards.len() as u64, "shard"),
        }
    }
}

/// The plan for people; paths below `here` without it.
pub fn text(shown: &ShownPlan<'_>, here: &Path) -> String {
    let ShownPlan { job, plan, order, begun, risks, .. } = *shown;
    let mut out = format!(
        "{}: {} over {}, {}, about {} records, for topic {}{}\norder: {}\n\n",
        job.name,
        shown.parts(),
        files(plan, here),
        show_size(plan.bytes()),
        show_count(plan.records_estimate()),
        job.kafka.topic,
        if begun.is_some() { " (the plan of the job that has begun)" } else { "" },
        order.promise()
    );
    match (shown.sets(), plan.partitions) {
        (None, _) => shards(&mut out, plan, here),
        (Some(_), Some(_)) => sets(&mut out, plan, begun.unwrap_or_default(), here),
        (Some(_), None) => sets_to_be(&mut out, shown, here),
    }
    if !risks.is_empty() {
        out.push_str("\nworth knowing\n");
        for risk in risks {
            let _ = writeln!(out, "  - {risk}");
        }
    }
    let preview = shown.preview.text();
    if !preview.is_empty() {
        let _ = write!(out, "\n{preview}");
    }
    out.push_str("\nwhat to expect\n");
    for line in shown.estimate.lines() {
        let _ = writeln!(out, "  - {line}");
    }
    out.push_str("\nnothing was sent; `shardlift run` sends it\n");
    out
}

/// How many files there are, and how many of them are empty, with one of these.
fn files(plan: &Plan, here: &Path) -> String {
    let all = show_things(plan.objects.len() as u64, "file");
    let mut empty = plan.objects.iter().filter(|object| object.bytes == Some(0));
    let Some(first) = empty.next() else { return all };
    let path = printable_path(first.path.strip_prefix(here).unwrap_or(&first.path));
    match empty.count() as u64 {
        0 => format!("{all} (one is empty: {path})"),
        more => format!("{all} ({} are empty, {path} for example)", show_count(more + 1)),
    }
}

fn shards(out: &mut String, plan: &Plan, here: &Path) {
    let _ = writeln!(out, "  {:<6}{:>11}{:>14}  ranges", "shard", "bytes", "records ~");
    for shard in plan.shards.iter().take(SHARDS_SHOWN) {
        let _ = writeln!(
            out,
            "  {:<6}{:>11}{:>14}  {}",
            shard.id.to_string(),
            shard.bytes.map_or_else(|| "?".to_owned(), show_size),
            show_count(shard.records_estimate),
            ranges(plan, plan.segments(shard), here)
        );
    }
    more(out, plan);
}

/// The sets of a job that has begun, or of one whose topic was asked for. What each reads is told once, unless they are
/// cut by place.
fn sets(out: &mut String, plan: &Plan, reached: &[Reached], here: &Path) {
    let alike = plan.keeps_order_of_keys();
    if let (true, Some(first)) = (alike, plan.shards.first()) {
        let _ = writeln!(out, "  each reads {}\n", ranges(plan, plan.segments(first), here));
    }
    let _ = writeln!(out, "  {:<6}  {:<28}  where it is", "shard", "partitions");
    for (index, shard) in plan.shards.iter().enumerate().take(SHARDS_SHOWN) {
        let partitions = shard.partitions.as_ref().map(short).unwrap_or_default();
        let at = reached.get(index).map_or_else(|| "not begun".to_owned(), |reached| place(plan, shard, reached, here));
        let _ = write!(out, "  {:<6}  {partitions:<28}  {at}", shard.id.to_string());
        if !alike {
            let _ = write!(out, "; it reads {}", ranges(plan, plan.segments(shard), here));
        }
        out.push('\n');
    }
    more(out, plan);
}

/// The sets that a first run will make.
fn sets_to_be(out: &mut String, shown: &ShownPlan<'_>, here: &Path) {
    let Some(whole) = shown.plan.shards.first() else { return };
    let _ = writeln!(
        out,
        "  {}: as many as workers, and at most the topic's partitions, which the first run asks for.\n  Each worker reads all \
         of it, and sends the records of its set: {}",
        shown.parts(),
        ranges(shown.plan, shown.plan.segments(whole), here)
    );
}

fn more(out: &mut String, plan: &Plan) {
    if plan.shards.len() > SHARDS_SHOWN {
        let _ = writeln!(out, "  … and {} more; -o json has them all", plan.shards.len() - SHARDS_SHOWN);
    }
}

/// The partitions of a set: `0, 2, 4, 6`, the first ones of many.
fn short(set: &PartitionSet) -> String {
    let mut shown: Vec<String> = set.iter().take(PARTITIONS_SHOWN).map(|partition| partition.to_string()).collect();
    if set.len() as usize > PARTITIONS_SHOWN {
        shown.push(format!("… ({})", set.len()));
    }
    shown.join(", ")
}

/// Where a shard is, in words.
fn place(plan: &Plan, shard: &Shard, reached: &Reached, here: &Path) -> String {
    let at = match plan.segments(shard).get(reached.position.segment as usize) {
        Some(segment) => {
            let path = &plan.object(segment).path;
            let path = printable_path(path.strip_prefix(here).unwrap_or(path));
            format!("{path} at {}, {} rows", show_count(reached.position.place), show_count(reached.position.records))
        }
        None => format!("{} rows", show_count(reached.position.records)),
    };
    match reached.status {
        ShardStatus::Done => "done".to_owned(),
        ShardStatus::Waiting if reached.position == Position::default() => "not begun".to_owned(),
        ShardStatus::Waiting => at,
        ShardStatus::Quarantined => format!("quarantined: {at}"),
    }
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
    let ShownPlan { job, plan, order, begun, risks, .. } = *shown;
    let reached = |index: usize| begun.and_then(|reached| reached.get(index));
    let shards: Vec<_> = plan.shards.iter().enumerate().map(|(index, shard)| one_shard(plan, shard, reached(index))).collect();
    let mut map = Map::new();
    map.insert("job".into(), job.name.clone().into());
    map.insert("topic".into(), job.kafka.topic.clone().into());
    map.insert("frozen".into(), begun.is_some().into());
    map.insert("order".into(), order.name().into());
    map.insert("sets".into(), shown.sets().map_or(Value::Null, |(least, most)| json!({ "least": least, "most": most })));
    map.insert("partitions".into(), plan.partitions.into());
    map.insert("bytes".into(), plan.bytes().into());
    map.insert("records_estimate".into(), plan.records_estimate().into());
    map.insert("files".into(), plan.objects.len().into());
    map.insert("shards".into(), shards.into());
    map.insert("risks".into(), risks.into());
    let estimate = shown.estimate;
    let ms = |time: std::time::Duration| time.as_millis() as u64;
    let bounds = estimate.bounds.iter().map(|bound| json!({ "by": bound.name, "what": bound.what, "ms": ms(bound.takes) }));
    map.insert("unpacked_bytes".into(), estimate.unpacked_bytes.into());
    map.insert("topic_bytes".into(), estimate.topic_bytes.map(|(bytes, _)| bytes).into());
    map.insert("expected_ms".into(), estimate.least().map(ms).into());
    map.insert("expected_by".into(), bounds.collect());
    map.insert("resent_a_death".into(), estimate.resent_a_death.into());
    map.insert("preview".into(), shown.preview.object().into());
    map
}

fn one_shard(plan: &Plan, shard: &Shard, reached: Option<&Reached>) -> Value {
    let segment = |segment: &Segment| {
        let object = plan.object(segment);
        // A compressed object is read to the end of its stream, whose length is not yet known: its end is the file's.
        let end = if segment.end == Segment::WHOLE { object.bytes } else { Some(segment.end) };
        json!({ "path": object.path, "start": segment.start, "end": end })
    };
    let segments: Vec<_> = plan.segments(shard).iter().map(segment).collect();
    let position = |at: &Position| json!({ "segment": at.segment, "place": at.place, "records": at.records });
    json!({
        "id": shard.id.0,
        "bytes": shard.bytes,
        "records_estimate": shard.records_estimate,
        "partitions": shard.partitions.as_ref().map(|set| set.iter().collect::<Vec<_>>()),
        "status": reached.map(|reached| reached.status.name()),
        "position": reached.map(|reached| position(&reached.position)),
        "segments": segments,
    })
}

#[cfg(test)]
mod tests {
    use migration::config::{Context, Typed};
    use migration::{Cut, Division, ShardId, SourceObject};

    use super::*;

    fn job() -> Job {
        let text = "[job]\nname = \"j\"\n[source.jsonl]\npaths = [\"x\"]\n[kafka]\ntopic = \"t\"\n[record]\nkey = \".k\"\n";
        let context = Context {
            config_dir: Path::new("/"),
            env: &|_| None,
            read_secret_file: &|_| Err(std::io::ErrorKind::NotFound.into()),
            check_properties: &|_| Vec::new(),
            is_folder: &|_| Ok(false),
            contacts_brokers: false,
        };
        Typed::parse(text, "test").expect("valid").mean(&context).expect("valid")
    }

    /// One shard of two files.
    fn whole() -> Plan {
        let object = |path: &str| SourceObject {
            path: path.into(),
            bytes: Some(100),
            modified_ns: 0,
            fingerprint: 0,
            compression: Compression::None,
            splittable: true,
            record_starts: Vec::new(),
        };
        let mut plan = Plan { objects: vec![object("/d/a"), object("/d/b")], ..Plan::default() };
        let segment = |object| Segment { object, start: 0, end: 100, bytes: Some(100) };
        plan.add(vec![segment(0), segment(1)], 40);
        plan
    }

    fn shown<'a>(job: &'a Job, plan: &'a Plan, order: Order, begun: Option<&'a [Reached]>) -> ShownPlan<'a> {
        static NOTHING: std::sync::LazyLock<Estimate> = std::sync::LazyLock::new(Estimate::default);
        let preview = Preview { records: &[], keyed: true, partitions: None, partition_of: |_, _| None, show_values: false };
        ShownPlan { job, plan, order, begun, workers: 3, risks: &[], estimate: &NOTHING, preview }
    }

    #[test]
    fn sets_that_are_not_made_yet_are_a_range() {
        let (job, plan) = (job(), whole());
        let shown = shown(&job, &plan, Order::Key, None);
        let (text, object) = (text(&shown, Path::new("/d")), object(&shown));
        assert!(
            text.starts_with("j: 1 to 3 sets of partitions over 2 files, 200 B, about 40 records, for topic t\n"),
            "{text}"
        );
        assert!(text.contains("\norder: each key's records keep the source's order over the whole dataset\n"), "{text}");
        assert!(text.contains("at most the topic's partitions") && text.contains("its set: a and 1 more"), "{text}");
        assert_eq!((&object["order"], &object["sets"]), (&json!("key"), &json!({ "least": 1, "most": 3 })));
        assert_eq!((&object["partitions"], object["shards"].as_array().map(Vec::len)), (&Value::Null, Some(1)));
        let one = ShownPlan { workers: 1, ..shown };
        assert!(super::text(&one, Path::new("/d")).starts_with("j: 1 set of partitions over"));
    }

    #[test]
    fn sets_of_a_job_that_has_begun_are_told_with_where_they_are() {
        let (job, plan) = (job(), whole().into_sets(20, 3));
        let at = |status, segment, place, records| Reached { status, position: Position { segment, place, records } };
        let reached =
            [at(ShardStatus::Done, 1, 100, 40), at(ShardStatus::Waiting, 1, 50, 30), at(ShardStatus::Waiting, 0, 0, 0)];
        let shown = shown(&job, &plan, Order::Key, Some(&reached));
        let (text, object) = (text(&shown, Path::new("/d")), object(&shown));
        assert!(text.starts_with("j: 3 sets of partitions over 2 files"), "{text}");
        let rows: Vec<Vec<&str>> = text
            .lines()
            .filter(|line| line.starts_with("  0000"))
            .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
            .collect();
        assert_eq!(
            rows,
            [
                ["00000", "0, 3, 6, 9, 12, 15, … (7)", "done"],
                ["00001", "1, 4, 7, 10, 13, 16, … (7)", "b at 50, 30 rows"],
                ["00002", "2, 5, 8, 11, 14, 17", "not begun"],
            ]
        );
        let (sets, first) = (&object["sets"], &object["shards"][1]);
        assert_eq!((sets, &object["partitions"]), (&json!({ "least": 3, "most": 3 }), &json!(20)));
        assert_eq!(first["partitions"], json!([1, 4, 7, 10, 13, 16, 19]));
        assert_eq!((&first["status"], &first["position"]["place"]), (&json!("waiting"), &json!(50)));
    }

    #[test]
    fn sets_that_a_run_would_make_are_listed_where_the_topic_was_asked() {
        let (job, plan) = (job(), whole().into_sets(4, 3));
        let shown = shown(&job, &plan, Order::Key, None);
        let (text, object) = (text(&shown, Path::new("/d")), object(&shown));
        assert!(text.starts_with("j: 3 sets of partitions over 2 files") && !text.contains("has begun"), "{text}");
        assert!(text.contains("  00000   0, 3                          not begun\n"), "{text}");
        assert!(text.contains("  each reads a and 1 more\n"), "{text}");
        assert_eq!((&object["frozen"], &object["sets"]), (&json!(false), &json!({ "least": 3, "most": 3 })));
        assert_eq!((&object["partitions"], &object["shards"][2]["partitions"]), (&json!(4), &json!([2])));
    }

    #[test]
    fn sets_that_are_cut_by_place_are_told_with_what_each_reads() {
        let (job, mut plan) = (job(), whole().into_sets(2, 2));
        let cut = Cut { segment: 1, place: 60 };
        plan.split(ShardId(0), &Position::default(), &Division::Places(vec![cut])).expect("a place within it");
        let reached = [Reached { status: ShardStatus::Waiting, position: Position::default() }; 3];
        let text = text(&shown(&job, &plan, Order::Shard, Some(&reached)), Path::new("/d"));
        assert!(!text.contains("each reads"), "{text}");
        let reads: Vec<_> = text.lines().filter_map(|line| line.split_once("; it reads ")).map(|(_, reads)| reads).collect();
        assert_eq!(reads, ["a and 1 more", "a and 1 more", "b 60..100"], "{text}");
    }

    #[test]
    fn shards_are_listed_with_their_ranges_and_the_order_they_keep() {
        let (job, plan) = (job(), whole());
        let shown = shown(&job, &plan, Order::Shard, None);
        let (text, object) = (text(&shown, Path::new("/d")), object(&shown));
        assert!(text.starts_with("j: 1 shard over 2 files"), "{text}");
        assert!(text.contains("\norder: kept within a shard and partition only\n"), "{text}");
        assert!(text.contains("  00000       200 B            40  a and 1 more"), "{text}");
        assert_eq!((&object["order"], &object["sets"]), (&json!("shard"), &Value::Null));
    }
}
