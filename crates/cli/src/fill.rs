//! The state of a job with exactly-once delivery in a folder that has none, made of what its progress topic has.
//!
//! Responsible for: whether there is a job, whether it can be judged in this folder, and making its state. Not
//! responsible for a state that is there already (`catch_up`).

use std::path::Path;

use kafka::progress::JobLook;
use migration::printable::{printable, printable_path};
use migration::units::show_things;
use migration::{Exit, Job, LedgerEntry, ShardId, StoredJob, StoredPlan, UserError, fixed};
use pipeline::dead_letter;
use supervisor::{StateDir, Store};

use crate::catch_up;
use crate::commands::run::{Agreed, Side, judge, new_job};
use crate::state::{self, Earlier};
use crate::ui::Ui;

/// Makes sure that a job has a state in its folder; an error if nothing was sent yet, as far as is known.
pub fn require_state(job: &Job, folder: &Path, ui: &Ui) -> Result<(), UserError> {
    if state::exists(folder)? {
        return Ok(());
    }
    if !job.exactly_once() {
        return Err(nothing_sent(job, folder, ""));
    }
    let side = Side { job, folder, state: None, retry: false, restart: false };
    match judge(&side, catch_up::ask(job, JobLook::Any)?)? {
        Agreed::Elsewhere(stored) => {
            let dir = StateDir::open(folder, state::owners(job)).map_err(|error| UserError::new(error.exit(), error))?;
            // A run may have begun here meanwhile.
            if !state::exists(folder)? {
                fill(job, &dir, &stored, ui)?;
            }
            Ok(())
        }
        Agreed::Here | Agreed::Nothing | Agreed::StartsOver | Agreed::Ahead(..) => {
            Err(nothing_sent(job, folder, &format!(", and topic {} has no progress of it", job.checkpoint.topic)))
        }
    }
}

fn nothing_sent(job: &Job, folder: &Path, asked: &str) -> UserError {
    let what = format!("job {} has no state in {}{asked}: nothing was sent yet", job.name, printable_path(folder));
    UserError::new(Exit::Preflight, what).hint("run it first with `shardlift run`, or name another config with -c")
}

/// Makes the state of what Kafka has, for a job that was begun elsewhere or whose folder is gone, once that is judged.
pub fn fill(job: &Job, dir: &StateDir, stored: &StoredJob, ui: &Ui) -> Result<Earlier, UserError> {
    let StoredJob { plan, shards } = stored;
    // The letters may have been brought here, and were looked at.
    dir.clear_checkpoint().map_err(|error| UserError::new(error.exit(), error))?;
    let told = format!(
        "the job's state here is what {} has of it: begun by {}, {} of {} with progress",
        job.checkpoint.topic,
        printable(&plan.made_by),
        shards.len(),
        show_things(plan.plan.shards.len() as u64, "shard"),
    );
    ui.say(&told);
    let mut store = Store::create(&StateDir::store_path(dir.path()), &new_job(plan)).map_err(state::unusable)?;
    let made = store.adopt(shards).and_then(|()| store.note(&told)).and_then(|()| Earlier::of(&store));
    made.map_err(state::unusable)
}

/// The letters that these entries count, if letters go to files: they are in the folder of the run that set them aside,
/// and nowhere else.
pub fn require_letters(
    job: &Job,
    folder: &Path,
    plan: &StoredPlan,
    entries: &[(ShardId, LedgerEntry)],
) -> Result<(), UserError> {
    if fixed::letters_topic(&plan.settings).is_some() {
        return Ok(());
    }
    let folder = StateDir::dead_letters_path(folder);
    let committed: Vec<_> = entries.iter().map(|(id, entry)| ((*id, entry.letters), entry.counts.dead_lettered)).collect();
    let gone = dead_letter::gone(&folder, &committed, process::open_private_below).map_err(|error| {
        UserError::new(Exit::State, format!("cannot read dead letters in {}: {error}", printable_path(&folder)))
    })?;
    let gone: u64 = gone.iter().map(|shard| shard.letters).sum();
    if gone == 0 {
        return Ok(());
    }
    let what = format!(
        "{} of job {} went to files (dead_letters.to = \"file\") that are not in {}: another machine, or another folder, has \
         them (the job was begun by {})",
        show_things(gone, "dead letter"),
        job.name,
        printable_path(&folder),
        printable(&plan.made_by)
    );
    Err(UserError::new(Exit::Preflight, what).hint(
        "go on there, or bring the folder of its dead letters here, or start over with --restart; a job that has \
         dead_letters.to = \"topic\" before it sets a record aside goes on anywhere",
    ))
}
