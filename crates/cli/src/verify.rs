//! Comparing the topic with the source, in a helper process, and keeping what was found.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use kafka::{TopicReader, partitioner};
use migration::printable::printable_path;
use migration::report::Binding;
use migration::report::verify::{LetterCounts, Verified, VerifyReport};
use migration::{Exit, Job, Plan, UserError, resume};
use pipeline::dead_letter::{self, Places};
use pipeline::verify::{Expected, Verification, VerifyError, VerifyProgress};
use serde_json::json;
use supervisor::{JobState, Store};

use crate::helper;
use crate::interrupt::Interrupt;
use crate::letters::Letters;
use crate::retries::{Retries, Retry};
use crate::source::{self, FilesNow};
use crate::ui::{ProgressStyle, Ui};

/// What to do when the topic can't be judged now.
const NOT_NOW: &str = "nothing was judged; run `shardlift verify` again";

/// Compares a job's topic with its source. Both are read again; nothing that was counted while sending is used.
pub fn verify(
    job: &Job,
    plan: &Plan,
    letters: &Letters,
    retries: &Retries,
    binding: &Binding,
    interrupt: Option<&Interrupt>,
    ui: &Ui,
) -> Result<Verified, UserError> {
    let started = Instant::now();
    let style = ui.progress;
    let ((report, letters), new_files) = helper::ask("shardlift verif", interrupt, || {
        let plan = &with_files_now(job, plan)?;
        let again = |retry| with_files_now(&Retry::job(retry, job), &retry.state.plan).map(|plan| (retry, plan));
        let retries = retries.all.iter().map(again).collect::<Result<Vec<_>, _>>()?;
        let compared = compare(job, plan, letters, &retries, binding, style)?;
        // Empty files are in no shard, and others may have come meanwhile.
        Ok((compared, planned_files(job, plan)?.new))
    })?;
    let elapsed_ms = started.elapsed().as_millis() as u64;
    let limit = job.record_limit.filter(|_| plan.limit_reached);
    Ok(Verified { report, letters, elapsed_ms, limit, new_files })
}

/// The plan with the times that its files have now, if that these are others is accepted.
fn with_files_now(job: &Job, plan: &Plan) -> Result<Plan, UserError> {
    let retimed = planned_files(job, plan)?.replaced;
    resume::replaced_notices(plan, &retimed).iter().for_each(|notice| tracing::warn!("{notice}"));
    let mut now = plan.clone();
    for (object, facts) in retimed {
        now.replace(object, facts).map_err(resume::files_changed)?;
    }
    Ok(now)
}

/// What a source has, new files and planned ones with an accepted time. Refuses one whose planned files changed; files
/// that are new hinder nothing: the planned ones can be compared.
fn planned_files(job: &Job, plan: &Plan) -> Result<FilesNow, UserError> {
    let (mut changes, replaced) = source::accepted_changes(job, plan)?;
    let new = std::mem::take(&mut changes.new);
    if changes.is_empty() { Ok(FilesNow { replaced, new }) } else { Err(source::not_as_planned(job, &changes, false)) }
}

/// The helper's part.
fn compare(
    job: &Job,
    plan: &Plan,
    letters: &Letters,
    retries: &[(&Retry, Plan)],
    binding: &Binding,
    style: ProgressStyle,
) -> Result<(VerifyReport, LetterCounts), UserError> {
    let (places, mut counts) = places_of(letters)?;
    let source = source::source_of(job);
    let mut again = Vec::new();
    for (retry, _) in retries {
        let (places, its) = places_of(&retry.letters())?;
        counts.committed += its.committed;
        counts.counted += its.counted;
        counts.uncommitted += its.uncommitted;
        again.push((source::source_of(&retry.job(job)), places));
    }
    let mut expected = vec![Expected { source: source.as_ref(), plan, rules: &job.record, dead_letters: &places }];
    expected.extend(retries.iter().zip(&again).map(|((retry, plan), (source, places))| Expected {
        source: source.as_ref(),
        plan,
        rules: &retry.rules.record,
        dead_letters: places,
    }));
    let verification = Verification {
        expected: &expected,
        rules: &job.record,
        partitioner: partitioner::choose(job.kafka.partitioner),
        partitions: binding.end_offsets.len() as u32,
        limits: Default::default(),
    };
    let mut topic = TopicReader::new(job, binding.end_offsets.clone());
    let mut teller = Teller { style, started: Instant::now(), said: Instant::now() };
    let compared = pipeline::verify::verify(&verification, &mut topic, &mut |progress| teller.tell(progress));
    compared.map(|report| (report, counts)).map_err(|error| match error {
        VerifyError::Source(_) => UserError::new(Exit::Source, error),
        VerifyError::Topic(_) => {
            UserError::new(Exit::Preflight, error).hint("run `shardlift verify` again when the topic can be read")
        }
        VerifyError::NotNow(_) => UserError::new(Exit::Stopped, error).hint(NOT_NOW),
    })
}

/// Where committed letters stand, and how many there are.
fn places_of(letters: &Letters) -> Result<(Places, LetterCounts), UserError> {
    let Letters { folder, committed, counted } = letters;
    let read = || {
        let (places, there) = dead_letter::places(folder, committed, process::open_private_below)?;
        let uncommitted = dead_letter::uncommitted(folder, committed, process::open_private_below)?;
        Ok((places, LetterCounts { committed: there, counted: *counted, uncommitted }))
    };
    read().map_err(|error: std::io::Error| {
        UserError::new(Exit::State, format!("cannot read dead letters in {}: {error}", printable_path(folder)))
    })
}

/// The jobs that sent a job's dead letters again: the topic is to have their records, too.
pub fn retries_of(folder: &Path, state: &JobState) -> Result<Retries, UserError> {
    let retries = Retries::of_state(folder, state)?;
    for retry in &retries.all {
        let name = &retry.place.name;
        if let Some(holder) = retry.holder()? {
            let what = format!("{name} is running ({holder}): there is nothing final to compare yet");
            return Err(UserError::new(Exit::Stopped, what).hint("verify when it has ended"));
        }
        if !retry.state.is_done() {
            tracing::warn!("{name} is not at its end: what it did not send again yet counts as missing");
        }
    }
    Ok(retries)
}

/// Says now and then how far the comparison is. The helper may print: its parent waits for it.
struct Teller {
    style: ProgressStyle,
    started: Instant,
    said: Instant,
}

impl Teller {
    fn tell(&mut self, progress: VerifyProgress) {
        let every = match self.style {
            ProgressStyle::None => return,
            ProgressStyle::Bars => Duration::from_secs(2),
            ProgressStyle::Plain | ProgressStyle::Json => Duration::from_secs(10),
        };
        if self.said.elapsed() < every {
            return;
        }
        self.said = Instant::now();
        let side = if progress.topic { "topic" } else { "source" };
        let elapsed = self.started.elapsed();
        let line = if self.style == ProgressStyle::Json {
            json!({ "_event": "verify", "reading": side, "records": progress.records, "slice": progress.slice, "slices": progress.slices,
                    "of": progress.of, "elapsed_ms": elapsed.as_millis() as u64 })
            .to_string()
        } else {
            let slice =
                if progress.slices > 0 { format!(" slice={}/{}", progress.slice, progress.slices) } else { String::new() };
            let of = progress.of.map_or(String::new(), |records| format!(" of={records}"));
            format!("verify reading={side}{slice} records={}{of} elapsed={}s", progress.records, elapsed.as_secs())
        };
        drop(writeln!(std::io::stderr(), "{line}"));
    }
}

/// Keeps a result with the job whose state was compared. Best effort: the result was shown, or will be.
pub fn keep(path: &Path, verified: &Verified, compared: &JobState) {
    if let Err(error) = Store::open(path).and_then(|mut store| store.keep_verified(verified, compared)) {
        tracing::warn!("what was found is not kept in the job's state: {error}");
    }
}
