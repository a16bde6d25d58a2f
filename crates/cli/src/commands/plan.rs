//! `shardlift plan`: the shards and what could go wrong; contacts no broker and sends nothing.

use std::time::{SystemTime, UNIX_EPOCH};

use migration::{Exit, UserError, advice};
use report::plan::ShownPlan;

use crate::args::JobArgs;
use crate::ui::Ui;
use crate::{settings, source, state};

/// Shows the plan: the stored one if the job has run, else the one that a run would make now.
pub fn plan(args: &JobArgs, ui: &Ui) -> Result<Exit, UserError> {
    let job = &settings::load(args)?;
    let stored = state::stored_plan(job)?;
    let frozen = stored.is_some();
    let plan = &stored.map_or_else(|| source::make_plan(job), Ok)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let risks = &advice::before_sending(job, plan, source::slots(job), now);
    let shown = ShownPlan { job, plan, frozen, risks };
    let here = std::env::current_dir().unwrap_or_default();
    ui.result(|| report::plan::text(&shown, &here), || report::plan::object(&shown));
    Ok(Exit::Done)
}
