//! `verify --receipts`: the topic against count and sum of what was delivered, as each commit kept them. The source is
//! not read.

use std::time::Instant;

use kafka::TopicReader;
use migration::report::receipts::{ComparedReceipts, Kept};
use migration::units::{show_count, show_things};
use migration::{Exit, Job, Receipt, UserError};
use pipeline::receipt;
use pipeline::verify::TopicReader as _;
use supervisor::JobState;

use super::{look_at_topic, report_of};
use crate::catch_up::CaughtUp;
use crate::helper;
use crate::letters::Letters;
use crate::state::Earlier;
use crate::ui::Ui;
use crate::verify::{self, Sent, Teller, not_compared};

/// Compares and says whether both are the same.
pub fn compare(job: &Job, left: &Earlier, caught_up: &CaughtUp, ui: &Ui) -> Result<Exit, UserError> {
    let (started, earlier, folder) = (Instant::now(), &left.state, job.state_path());
    look_at_topic(job, left)?;
    let retries = verify::retries_of(&folder, earlier)?;
    let report = report_of(&folder)?;
    let sent = Sent { plan: &earlier.plan, letters: &Letters::of(&folder, earlier), retries: &retries, report: &report };
    let mut kept = kept_by(&earlier.name, earlier)?;
    for retry in &retries.all {
        kept.add(&kept_by(&retry.place.name, &retry.state)?);
    }
    if caught_up.is_exactly_once() && !earlier.is_done() {
        let what = format!("job {} is not at its end, as far as is known here: what is there need not be all", earlier.name);
        return Err(UserError::new(Exit::Preflight, what).hint("run it first with `shardlift run`, also if it ended elsewhere"));
    }
    let style = ui.quiet_progress();
    let read = helper::ask("shardlift verif", None, || {
        let mut topic = TopicReader::new(job, earlier.binding.end_offsets.clone());
        let mut teller = Teller::new(style);
        let found = receipt::of_topic(&job.record, &mut topic, &mut |at| teller.hear(at)).map_err(not_compared)?;
        let gone = topic.ranges().iter().map(|range| range.gone).sum::<i64>();
        Ok((found.receipt, found.others, gone.unsigned_abs(), topic.is_compacted()))
    })?;
    verify::require_same_retries(&folder, earlier, &retries)?;
    verify::require_same_job(&folder, earlier)?;
    caught_up.require_same(&folder)?;
    let (found, others, gone, compacted) = read;
    let compared = ComparedReceipts {
        kept: Kept { receipt: kept, done: earlier.is_done() },
        found,
        others,
        gone,
        compacted: compacted == Some(true),
        explained: verify::allowed(sent)?.at_most,
        elapsed_ms: started.elapsed().as_millis() as u64,
    };
    ui.result(|| report::receipts::text(&compared), || report::receipts::object(&compared));
    Ok(compared.exit())
}

/// All shards' receipts of a job. They are of all that it delivered, or of no use.
fn kept_by(name: &str, state: &JobState) -> Result<Receipt, UserError> {
    let mut sum = Receipt::default();
    state.shards.iter().for_each(|shard| sum.add(&shard.receipt));
    let delivered = state.counts().acknowledged;
    if sum.records == delivered {
        return Ok(sum);
    }
    let what = format!(
        "the state of {name} has receipts of {} of the {} that it delivered: another build of shardlift sent the rest",
        show_count(sum.records),
        show_things(delivered, "record")
    );
    Err(UserError::new(Exit::Preflight, what).hint("compare with the source: `shardlift verify` without --receipts"))
}
