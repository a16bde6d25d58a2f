//! `shardlift status`: how far a job is, from its state, while it runs and after; what a run was asked for, from the run itself.

use std::path::Path;
use std::time::Duration;

use migration::report::{JobReport, ShardStatus};
use migration::steer::Standing;
use migration::{Exit, UserError};
use serde_json::{Map, Value, json};
use supervisor::control::Client;
use supervisor::{StateDir, Store};

use super::watch::{self, Watched};
use crate::args::StatusArgs;
use crate::letters;
use crate::running::{self, Place};
use crate::ui::Ui;

/// Prints the job's report. Never says "running" unless a supervisor holds the lock.
pub fn status(args: &StatusArgs, ui: &Ui) -> Result<Exit, UserError> {
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
    let standing = holder.as_ref().and_then(|_| standing(&place));
    ui.result(
        || text(&found, holder.as_deref(), standing.as_ref(), &StateDir::dead_letters_path(&place.path)),
        || object(&found, standing.as_ref(), &StateDir::dead_letters_path(&place.path)),
    );
    Ok(Exit::Done)
}

/// What the run itself says; a run that prepares, compares or stands still says nothing.
pub fn standing(place: &Place) -> Option<Standing> {
    const PATIENCE: Duration = Duration::from_secs(1);
    let state = Client::connect(&place.path).and_then(|client| client.state(PATIENCE));
    state.ok().flatten().map(|snapshot| snapshot.standing)
}

/// The report for people.
pub fn text(found: &JobReport, holder: Option<&str>, standing: Option<&Standing>, dead_letters: &Path) -> String {
    let mut out = report::job::text(found) + &letters::text(found, dead_letters);
    if let Some(holder) = holder {
        out += &format!("\nrunning: {holder}\n");
    }
    if let Some(standing) = standing {
        out += &format!("  {standing}\n");
    }
    out
}

/// The report for machines, with each shard.
pub fn object(found: &JobReport, standing: Option<&Standing>, dead_letters: &Path) -> Map<String, Value> {
    let mut map = report::job::object(found);
    map.insert("uncommitted_dead_letters".into(), letters::uncommitted(found, dead_letters).into());
    let missing: u64 = letters::missing(found, dead_letters).iter().map(|gone| gone.letters).sum();
    map.insert("missing_dead_letters".into(), missing.into());
    map.insert("standing".into(), standing.map_or(Value::Null, |standing| running::standing_object(standing).into()));
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
