//! `shardlift status`: how far a job is, from its state, while it runs and after.

use std::path::Path;

use migration::Exit;
use migration::report::{JobReport, ShardStatus};
use serde_json::{Map, Value, json};
use supervisor::{StateDir, Store, load_report};

use crate::args::JobArgs;
use crate::error::CliError;
use crate::ui::Ui;
use crate::{settings, state};

/// Prints the job's report. Never says "running" unless a supervisor holds the lock.
pub fn status(args: &JobArgs, ui: &Ui) -> Result<Exit, CliError> {
    let job = settings::load(args)?;
    let path = job.state_path();
    let store = StateDir::store_path(&path);
    if !Store::exists(&store) {
        return Err(CliError::new(
            Exit::Preflight,
            format!("job {} has no state in {}: it was never run", job.name, path.display()),
        )
        .hint("run it with `shardlift run`, or name another config with -c"));
    }
    // The lock decides whether a run is under way: what a killed supervisor left in the state says nothing about it.
    let holder = StateDir::holder(&path).map_err(|error| CliError::new(error.exit(), error))?;
    let found = Store::read_only(&store).and_then(|store| load_report(&store, holder.is_some())).map_err(state::unusable)?;
    ui.result(|| text(&found, holder.as_deref(), &StateDir::dead_letters_path(&path)), || object(&found));
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
