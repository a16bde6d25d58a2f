//! Comparing the topic with the source, in a helper process, and keeping what was found.

mod progress;

use std::io::Write as _;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use kafka::{TopicReader, partitioner};
use migration::printable::printable_path;
use migration::report::JobReport;
use migration::report::verify::{AllowedDuplicates, LetterCounts, Verified, VerifyReport};
use migration::{Exit, Job, Plan, UserError, resume};
use pipeline::dead_letter::{self, Places};
use pipeline::verify::{Expected, TopicRecord, Verification, VerifyError, list};
use supervisor::{JobState, StateDir, Store};

use crate::helper;
use crate::interrupt::Interrupt;
use crate::letters::Letters;
use crate::retries::{Retries, Retry};
use crate::source::{self, FilesNow};
use crate::state;
use crate::surplus_file::SurplusFile;
use crate::ui::{ProgressStyle, Ui};
use progress::Teller;

/// What to do when the topic can't be judged now.
const NOT_NOW: &str = "nothing was judged; run `shardlift verify` again";

/// What a job sent, and what became of it.
#[derive(Clone, Copy)]
pub struct Sent<'a> {
    /// The plan as it stands now.
    pub plan: &'a Plan,
    /// The dead letters.
    pub letters: &'a Letters,
    /// What sent them again.
    pub retries: &'a Retries,
    /// The job over all its runs.
    pub report: &'a JobReport,
}

/// What a comparison found, and the list of surplus copies, which is not in its place yet.
pub struct Compared {
    /// What was found.
    pub verified: Verified,
    /// All surplus copies, if they were to be listed.
    pub list: Option<SurplusFile>,
}

/// Compares a job's topic with its source. Both are read again; nothing that was counted while sending is used but how
/// many duplicates the known deaths explain. `surplus` gets each surplus copy.
pub fn verify(
    job: &Job,
    sent: Sent<'_>,
    surplus: Option<SurplusFile>,
    interrupt: Option<&Interrupt>,
    ui: &Ui,
) -> Result<Compared, UserError> {
    let started = Instant::now();
    let Sent { plan, retries, report: of_job, .. } = sent;
    if let Some(file) = &surplus {
        file.is_none_of(plan.objects.iter().map(|object| object.path.as_path()))?;
    }
    let style = ui.quiet_progress();
    let ((report, letters), new_files) = helper::ask("shardlift verif", interrupt, || {
        let plan = &with_files_now(job, plan)?;
        let again = |retry| with_files_now(&Retry::job(retry, job), &retry.state.plan).map(|plan| (retry, plan));
        let retries = retries.all.iter().map(again).collect::<Result<Vec<_>, _>>()?;
        let compared = compare(job, Sent { plan, ..sent }, &retries, surplus.as_ref(), style)?;
        // Empty files are in no shard, and others may have come meanwhile.
        Ok((compared, planned_files(job, plan)?.new))
    })?;
    let allowed = job.verify.allow_duplicates.then(|| allowed(sent)).transpose()?;
    let verified = Verified {
        report,
        letters,
        elapsed_ms: started.elapsed().as_millis() as u64,
        limit: job.record_limit.filter(|_| plan.limit_reached),
        new_files,
        allowed,
        age_ms: age_ms(job, of_job),
    };
    Ok(Compared { verified, list: surplus })
}

/// How many duplicates the known deaths explain: of the job's workers, and of those that sent its letters again.
pub fn allowed(sent: Sent<'_>) -> Result<AllowedDuplicates, UserError> {
    let own = sent.report.resent.map_or(0, |resent| resent.most);
    Ok(AllowedDuplicates { at_most: own.saturating_add(sent.retries.resent()?) })
}

/// How old what the job sent can be; `None`: its records have times of their own.
fn age_ms(job: &Job, report: &JobReport) -> Option<u64> {
    let began = report.runs.first().filter(|_| job.record.timestamp.is_none())?.started_ms;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_millis() as u64;
    Some(now.saturating_sub(began.unsigned_abs()))
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
    sent: Sent<'_>,
    retries: &[(&Retry, Plan)],
    surplus: Option<&SurplusFile>,
    style: ProgressStyle,
) -> Result<(VerifyReport, LetterCounts), UserError> {
    let Sent { plan, letters, report, .. } = sent;
    let ends = &report.binding.end_offsets;
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
        partitions: ends.len() as u32,
        limits: Default::default(),
    };
    let mut topic = TopicReader::new(job, ends.clone());
    let mut listed = surplus.map(SurplusFile::open).transpose()?;
    let mut add = |record: &TopicRecord<'_>| listed.as_mut().map_or(Ok(()), |out| list(record, out));
    let mut teller = Teller::new(style);
    let compared = pipeline::verify::verify(&verification, &mut topic, &mut add, &mut |at| teller.hear(at));
    drop(teller);
    let unlisted = |error: &dyn std::fmt::Display| match surplus {
        Some(file) => file.refused(error),
        None => UserError::new(Exit::Internal, error),
    };
    let report = compared.map_err(|error| match error {
        VerifyError::Source(_) => UserError::new(Exit::Source, error),
        VerifyError::Topic(_) => {
            UserError::new(Exit::Preflight, error).hint("run `shardlift verify` again when the topic can be read")
        }
        VerifyError::NotNow(_) => UserError::new(Exit::Stopped, error).hint(NOT_NOW),
        VerifyError::Listing(error) => unlisted(&error),
    })?;
    listed.map_or(Ok(()), |mut out| out.flush()).map_err(|error| unlisted(&error))?;
    Ok((report, counts))
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

/// Refuses a comparison while which the job itself was run: what it sent is in the topic, and was not expected there.
pub fn require_same_job(folder: &Path, compared: &JobState) -> Result<(), UserError> {
    // First whether it runs now: a run that ends between the two looks is in the state then.
    let holder = StateDir::holder(folder).map_err(|error| UserError::new(error.exit(), error))?;
    let now = Store::read_only(&StateDir::store_path(folder)).and_then(|store| store.load()).map_err(state::unusable)?;
    if holder.is_some() || now != *compared { Err(was_run(&compared.name)) } else { Ok(()) }
}

/// The same of the jobs that send its dead letters again.
pub fn require_same_retries(folder: &Path, compared: &JobState, retries: &Retries) -> Result<(), UserError> {
    for retry in &retries.all {
        if retry.holder()?.is_some() {
            return Err(was_run(&retry.place.name));
        }
    }
    let now = Retries::of_state(folder, compared)?;
    let other = now.all.iter().find(|now| !retries.all.iter().any(|then| then.place == now.place && then.state == now.state));
    match other {
        Some(retry) => Err(was_run(&retry.place.name)),
        None if now.all.len() < retries.all.len() => Err(was_run(&compared.name)),
        None => Ok(()),
    }
}

fn was_run(name: &str) -> UserError {
    let what = format!("not judged: {name} was run while topic and source were compared");
    UserError::new(Exit::Stopped, what).hint(NOT_NOW)
}

/// Keeps a result with the job whose state was compared. Best effort: the result was shown, or will be.
pub fn keep(path: &Path, verified: &Verified, compared: &JobState) {
    if let Err(error) = Store::open(path).and_then(|mut store| store.keep_verified(verified, compared)) {
        tracing::warn!("what was found is not kept in the job's state: {error}");
    }
}

#[cfg(test)]
mod tests {
    use migration::report::Binding;
    use supervisor::{NewJob, Owners};

    use super::*;
    use crate::retries::RetryPlace;
    use crate::retries::tests::rules;

    /// A job that begins.
    fn begun(folder: &Path, name: &str) -> Store {
        drop(StateDir::open(folder, Owners::Any).unwrap());
        let (plan, binding) = (Plan::default(), Binding::default());
        let job = NewJob { name, plan_id: 7, plan: &plan, binding: &binding, settings: &[] };
        Store::create(&StateDir::store_path(folder), &job).unwrap()
    }

    fn says(result: Result<(), UserError>, name: &str) {
        let error = result.unwrap_err();
        let said = format!("not judged: {name} was run while topic and source were compared");
        assert_eq!((error.exit, error.message), (Exit::Stopped, said));
    }

    #[test]
    fn what_was_run_meanwhile_is_not_judged() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("orders");
        let mut store = begun(&folder, "orders");
        let state = store.load().unwrap();
        let none = retries_of(&folder, &state).unwrap();
        require_same_job(&folder, &state).unwrap();
        require_same_retries(&folder, &state, &none).unwrap();

        // A retry began, and is there; it runs; it ran; it is gone.
        let place = RetryPlace::of("orders", &folder, 1);
        let mut retry = begun(&place.folder, &place.name);
        let mut taken = rules("orders");
        taken.began_ms = state.created_ms;
        place.keep(&taken).unwrap();
        says(require_same_retries(&folder, &state, &none), "orders.retry-1");
        let one = retries_of(&folder, &state).unwrap();
        require_same_retries(&folder, &state, &one).unwrap();
        let held = StateDir::open(&place.folder, Owners::Any).unwrap();
        says(require_same_retries(&folder, &state, &one), "orders.retry-1");
        drop(held);
        retry.begin_run(1, &Default::default()).unwrap();
        says(require_same_retries(&folder, &state, &one), "orders.retry-1");
        std::fs::remove_dir_all(&place.folder).unwrap();
        says(require_same_retries(&folder, &state, &one), "orders");

        // The job itself runs, or ran.
        let held = StateDir::open(&folder, Owners::Any).unwrap();
        says(require_same_job(&folder, &state), "orders");
        drop(held);
        store.begin_run(1, &Default::default()).unwrap();
        says(require_same_job(&folder, &state), "orders");
        require_same_job(&folder, &store.load().unwrap()).unwrap();
    }
}
