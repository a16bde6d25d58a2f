//! How far a job is, in words and as JSON: its report, and what its run says if there is one.

use migration::Outage;
use migration::printable::printable;
use migration::report::{JobReport, SeenLetters};
use migration::steer::Standing;
use serde_json::{Map, Value, json};

use crate::verify;
use crate::wrapped::wrapped;
use crate::{job, letters as shown_letters, standing as shown_standing};

/// What a run says of itself while it is under way.
#[derive(Clone, Debug, PartialEq)]
pub struct RunNow {
    /// What was asked of it, and how it stands.
    pub standing: Standing,
    /// That brokers don't answer, while it lasts.
    pub outage: Option<Outage>,
}

/// The report for people.
pub fn text(report: &JobReport, holder: Option<&str>, run: Option<&RunNow>, letters: &SeenLetters) -> String {
    let mut out = job::text(report) + &shown_letters::text(report, letters);
    if let Some(kept) = &report.verified {
        out += &format!("\n{}", verify::kept_text(kept));
    }
    if let Some(holder) = holder {
        out += &format!("\n{}\n", wrapped(&format!("running: {holder}"), "", "  "));
    }
    if let Some(RunNow { standing, outage }) = run {
        out += &format!("{}\n", wrapped(&standing.to_string(), "  ", "    "));
        if let Some(outage) = outage {
            out += &format!("{}\n", wrapped(&printable(&outage.to_string()), "  ", "    "));
        }
    }
    out
}

/// The report for machines, with each shard.
pub fn object(report: &JobReport, run: Option<&RunNow>, letters: &SeenLetters) -> Map<String, Value> {
    let mut map = job::object(report);
    map.insert("dead_letters".into(), shown_letters::object(letters));
    map.insert("uncommitted_dead_letters".into(), letters.uncommitted.into());
    map.insert("missing_dead_letters".into(), letters.missing().into());
    map.insert("verify".into(), report.verified.as_ref().map_or(Value::Null, |kept| verify::kept_object(kept).into()));
    map.insert("standing".into(), run.map_or(Value::Null, |run| shown_standing::object(&run.standing).into()));
    let outage = run.and_then(|run| run.outage.as_ref());
    map.insert("outage".into(), outage.map_or(Value::Null, shown_standing::outage));
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
