//! `shardlift status`: how far a job is, from its state, while it runs and after.

use std::path::Path;

use migration::Exit;
use migration::report::{JobReport, ShardStatus};
use serde_json::{Map, Value, json};
use supervisor::{StateDir, Store};

use super::watch::{self, Watched};
use crate::args::StatusArgs;
use crate::error::CliError;
use crate::running::{self, Place};
use crate::ui::Ui;

/// Prints the job's report. Never says "running" unless a supervisor holds the lock.
pub fn status(args: &StatusArgs, ui: &Ui) -> Result<Exit, CliError> {
    let place = Place::find(&args.job)?;
    let mut holder = running::holder(&place)?;
    if args.watch {
        match &holder {
            Some(run) => match watch::watch(&place, run, ui)? {
                Watched::Left(exit) => return Ok(exit),
                Watched::Over => holder = running::holder(&place)?,
            },
            None if Store::exists(&StateDir::store_path(&place.path)) => ui.say(format!("job {} does not run", place.name)),
            None => {}
        }
    }
    let found = running::report(&place, holder.is_some())?.ok_or_else(|| running::never_run(&place))?;
    ui.result(|| text(&found, holder.as_deref(), &StateDir::dead_letters_path(&place.path)), || object(&found));
    Ok(Exit::Done)
}

fn text(found: &JobReport, holder: Option<&str>, dead_letters: &Path) -> String {
    let mut out = report::job::text(found) + &report::job::dead_letters(found, dead_letters);
    if let Some(holder) = holder {
        out += &format!("\nrunning: {holder}\n");
    }
    out
}

fn object(found: &JobReport) -> Map<String, Value> {
    let mut map = report::job::object(found);
    let shards = found.shard_reports.iter().map(|shard| {
        json!({
            "id": shard.id.0,
            "status": status_name(shard.status),
            "records": shard.position.records,
            "acknowledged": shard.counts.acknowledged,
            "attempts": shard.attempts,
            "deaths": shard.deaths,
        })
    });
    map.insert("shard_details".into(), shards.collect());
    map
}

fn status_name(status: ShardStatus) -> &'static str {
    match status {
        ShardStatus::Waiting => "waiting",
        ShardStatus::Done => "done",
        ShardStatus::Quarantined => "quarantined",
    }
}
