//! How far a job is, in words and as JSON: its report, and what its run says if there is one.

use migration::report::{JobReport, SeenLetters};
use migration::steer::Standing;
use serde_json::{Map, Value, json};

use crate::verify;
use crate::{job, letters as shown_letters, standing as shown_standing};

/// The report for people.
pub fn text(report: &JobReport, holder: Option<&str>, standing: Option<&Standing>, letters: &SeenLetters) -> String {
    let mut out = job::text(report) + &shown_letters::text(report, letters);
    if let Some(kept) = &report.verified {
        out += &format!("\n{}", verify::kept_text(kept));
    }
    if let Some(holder) = holder {
        out += &format!("\nrunning: {holder}\n");
    }
    if let Some(standing) = standing {
        out += &format!("  {standing}\n");
    }
    out
}

/// The report for machines, with each shard.
pub fn object(report: &JobReport, standing: Option<&Standing>, letters: &SeenLetters) -> Map<String, Value> {
    let mut map = job::object(report);
    map.insert("dead_letters".into(), shown_letters::object(letters));
    map.insert("uncommitted_dead_letters".into(), letters.uncommitted.into());
    map.insert("missing_dead_letters".into(), letters.missing().into());
    map.insert("verify".into(), report.verified.as_ref().map_or(Value::Null, |kept| verify::kept_object(kept).into()));
    map.insert("standing".into(), standing.map_or(Value::Null, |standing| shown_standing::object(standing).into()));
    let shards = report.shard_reports.iter().map(|shard| {
        json!({
            "id": shard.id.0,
            "status": shard.status.name(),
            "records": shard.counts.read,
            "others": shard.counts.others,
            "acknowledged": shard.counts.acknowledged,
            "attempts": shard.attempts,
            "deaths": shard.deaths,
        })
    });
    map.insert("shard_details".into(), shards.collect());
    map
}
