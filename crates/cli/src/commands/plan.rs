//! `shardlift plan`: the shards and what could go wrong; contacts no broker and sends nothing.

use std::time::{SystemTime, UNIX_EPOCH};

use migration::advice::{self, Prospect};
use migration::{Exit, Order, UserError};
use report::plan::{Reached, ShownPlan};
use supervisor::JobState;

use crate::args::JobArgs;
use crate::ui::Ui;
use crate::{settings, source, state};

/// Shows the plan: the stored one if the job has run, else the one that a run would make now.
pub fn plan(args: &JobArgs, ui: &Ui) -> Result<Exit, UserError> {
    let job = &settings::load(args)?;
    let stored = state::stored(job)?;
    let (plan, order, reached) = match &stored {
        Some(stored) => (&stored.plan, Order::of(&stored.plan), Some(reached(stored))),
        None => (&source::make_plan(job)?, source::order_of(job)?, None),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let workers = source::slots(job);
    let prospect = Prospect { job, plan, order, workers, compacted: false };
    let risks = &advice::before_sending(&prospect, now);
    let shown = ShownPlan { job, plan, order, begun: reached.as_deref(), workers, risks };
    let here = std::env::current_dir().unwrap_or_default();
    ui.result(|| report::plan::text(&shown, &here), || report::plan::object(&shown));
    Ok(Exit::Done)
}

fn reached(stored: &JobState) -> Vec<Reached> {
    stored.shards.iter().map(|shard| Reached { status: shard.status, position: shard.position }).collect()
}
