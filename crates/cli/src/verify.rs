//! Comparing the topic with the source, in a helper process, and keeping what was found.

mod progress;

use std::io::Write as _;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use kafka::{TopicRange, TopicReader, partitioner};
use migration::report::JobReport;
use migration::report::verify::{AllowedDuplicates, LastValues, LetterCounts, Verified, VerifyReport};
use migration::{Exit, Job, Plan, UserError, resume};
use pipeline::Source;
use pipeline::dead_letter::{self, Places};
use pipeline::verify::{
    Counted, DividedSource, Expected, ListMissing, Listings, MissingRecord, TopicReader as _, TopicRecord, Verification,
    VerifyError, count, divide_partitions, division_of, last_values, list,
};
use serde::{Deserialize, Serialize};
use supervisor::{JobState, StateDir, Store};

use crate::helper::{self, Heard, Voice};
use crate::interrupt::Interrupt;
use crate::letters::Letters;
use crate::letters_topic;
use crate::missing_list::MissingList;
use crate::retries::{Retries, Retry};
use crate::source::{self, FilesNow};
use crate::state;
use crate::surplus_file::SurplusFile;
use crate::ui::{ProgressStyle, Ui};
pub use progress::Teller;
use progress::{Counting, Matching};

/// The name of the helpers that compare.
const NAME: &str = "shardlift verif";
/// More of them than this are not begun, whatever is asked for.
const MOST_HELPERS: u64 = 256;
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

/// The lists that a comparison is to make.
#[derive(Default)]
pub struct Lists<'a> {
    /// Of surplus copies.
    pub surplus: Option<SurplusFile>,
    /// Of missing records.
    pub missing: Option<&'a MissingList>,
}

/// What a comparison found, and the list of surplus copies, which is not in its place yet.
pub struct Compared {
    /// What was found.
    pub verified: Verified,
    /// All surplus copies, if they were to be listed.
    pub list: Option<SurplusFile>,
}

/// Compares a job's topic with its source. Both are read again; nothing that was counted while sending is used but how
/// many duplicates the known deaths explain.
pub fn verify(
    job: &Job,
    sent: Sent<'_>,
    lists: Lists<'_>,
    interrupt: Option<&Interrupt>,
    ui: &Ui,
) -> Result<Compared, UserError> {
    let Lists { surplus, missing } = lists;
    let started = Instant::now();
    let Sent { plan, report: of_job, .. } = sent;
    if let Some(file) = &surplus {
        file.is_none_of(plan.objects.iter().map(|object| object.path.as_path()))?;
    }
    let prepared = helper::ask("shardlift plan", interrupt, || prepare(job, sent))?;
    let listed = WantedLists { surplus: surplus.as_ref(), missing };
    let (report, letters) = compare(job, sent, &prepared, listed, interrupt, ui.quiet_progress())?;
    // Empty files are in no shard, and others may have come meanwhile.
    let new_files = helper::ask("shardlift plan", interrupt, || planned_files(job, &prepared.plans[0]).map(|now| now.new))?;
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

fn most_helpers(job: &Job) -> usize {
    job.verify.workers.min(MOST_HELPERS) as usize
}

/// What the helpers that compare have in common.
#[derive(Serialize, Deserialize)]
struct Prepared {
    /// The plans as their files are now: the job's, then those of what sent its letters again.
    plans: Vec<Plan>,
    /// What each helper reads of the source.
    divided: DividedSource,
    /// What all of them read of the topic.
    range: TopicRange,
    last_values: LastValues,
}

/// Looks at the files, and fixes what is read.
fn prepare(job: &Job, sent: Sent<'_>) -> Result<Prepared, UserError> {
    let mut plans = vec![with_files_now(job, sent.plan)?];
    for retry in &sent.retries.all {
        plans.push(with_files_now(&retry.job(job), &retry.state.plan)?);
    }
    let sides = Sides::of(job, sent, false)?;
    let expected = sides.expected(job, sent, &plans);
    let ends = &sent.report.binding.end_offsets;
    let mut topic = TopicReader::new(job, ends.clone());
    let range = topic.range().map_err(not_compared)?.clone();
    let last_values = last_values(&expected, ends.len() as u32, &topic);
    let divided = division_of(&expected, most_helpers(job) as u32).map_err(not_compared)?;
    Ok(Prepared { plans, divided, range, last_values })
}

/// What one of the processes needs of both sides.
struct Sides {
    own: (Box<dyn Source>, Places),
    again: Vec<(Box<dyn Source>, Places)>,
    letters: LetterCounts,
}

impl Sides {
    /// `letters`: whether their places are needed.
    fn of(job: &Job, sent: Sent<'_>, letters: bool) -> Result<Sides, UserError> {
        let mut all = LetterCounts::default();
        let mut places = |of: &Letters| {
            if !letters {
                return Ok(Places::default());
            }
            let (places, its) = places_of(of, job)?;
            all.committed += its.committed;
            all.counted += its.counted;
            all.uncommitted += its.uncommitted;
            Ok(places)
        };
        let own = (source::source_of(job), places(sent.letters)?);
        let again = |retry: &Retry| Ok((source::source_of(&retry.job(job)), places(&retry.letters())?));
        let again = sent.retries.all.iter().map(again).collect::<Result<Vec<_>, UserError>>()?;
        Ok(Sides { own, again, letters: all })
    }

    /// What the topic should have.
    fn expected<'a>(&'a self, job: &'a Job, sent: Sent<'a>, plans: &'a [Plan]) -> Vec<Expected<'a>> {
        let rules = std::iter::once(&job.record).chain(sent.retries.all.iter().map(|retry| &retry.rules.record));
        let sides = std::iter::once(&self.own).chain(&self.again);
        let all = rules.zip(sides).zip(plans);
        all.map(|((rules, (source, dead_letters)), plan)| Expected { source: source.as_ref(), plan, rules, dead_letters })
            .collect()
    }
}

fn verification<'a>(job: &'a Job, sent: Sent<'_>, expected: &'a [Expected<'a>], prepared: &Prepared) -> Verification<'a> {
    Verification {
        expected,
        rules: &job.record,
        partitioner: partitioner::choose(job.kafka.partitioner),
        partitions: sent.report.binding.end_offsets.len() as u32,
        last_values: prepared.last_values,
        limits: Default::default(),
    }
}

/// The lists that are wanted.
#[derive(Clone, Copy)]
struct WantedLists<'a> {
    surplus: Option<&'a SurplusFile>,
    missing: Option<&'a MissingList>,
}

/// Compares, in helper processes of which each reads a part.
fn compare(
    job: &Job,
    sent: Sent<'_>,
    prepared: &Prepared,
    listed: WantedLists<'_>,
    interrupt: Option<&Interrupt>,
    style: ProgressStyle,
) -> Result<(VerifyReport, LetterCounts), UserError> {
    let Prepared { plans, divided, range, .. } = prepared;
    // What this process needs has no letters' places: helpers read them.
    let sides = Sides::of(job, sent, false)?;
    let expected = sides.expected(job, sent, plans);
    let verification = verification(job, sent, &expected, prepared);
    let sets = divide_partitions(&range.offsets(), most_helpers(job) as u32);
    let reads = |helper: usize| sets.get(helper).cloned().unwrap_or_default();
    let helpers = divided.len().max(sets.len()).max(1);
    let examples = verification.limits.examples;

    let mut teller = Teller::new(style);
    let mut sum = Counting::new(helpers, verification.expected, &range.offsets());
    let mut counted = Counted::none(&verification);
    let mut blocks = vec![0; helpers];
    let work = |helper: usize, voice: &mut Voice| {
        let sides = Sides::of(job, sent, true)?;
        let expected = sides.expected(job, sent, plans);
        let verification = self::verification(job, sent, &expected, prepared);
        let mut topic = TopicReader::within(job, range, Some(reads(helper)));
        let part = divided.part(helper);
        let counted = count(&verification, part, &mut topic, &mut |at| voice.at(at)).map_err(not_compared)?;
        voice.hands_over()?;
        for block in counted.blocks() {
            voice.piece(&block)?;
        }
        Ok((counted.totals().clone(), sides.letters))
    };
    let totals = helper::together(NAME, helpers, interrupt, &work, &mut |helper, heard| {
        match heard {
            Heard::At(at) => teller.hear(sum.hear(helper, at)),
            Heard::Piece(block) => {
                if !counted.add_block(blocks[helper], block) {
                    return Err(UserError::new(Exit::Internal, "a helper process handed over what can't be read"));
                }
                blocks[helper] += 1;
            }
        }
        Ok(())
    })?;
    let mut letters = LetterCounts::default();
    for (totals, its) in totals {
        counted.add_totals(examples, totals);
        letters = its;
    }
    let topic = TopicReader::within(job, range, None);
    let (mut report, differing) = counted.settle(&verification, topic.is_compacted(), topic.retention());
    if let Some(differing) = differing {
        let helpers = differing.slices().min(most_helpers(job)).max(1);
        let work = |helper: usize, voice: &mut Voice| {
            let sides = Sides::of(job, sent, true)?;
            let expected = sides.expected(job, sent, plans);
            let verification = self::verification(job, sent, &expected, prepared);
            let mut topic = TopicReader::within(job, range, None);
            let mut file = listed.surplus.map(SurplusFile::open).transpose()?;
            let mut surplus = |record: &TopicRecord<'_>| file.as_mut().map_or(Ok(()), |out| list(record, out));
            let mut lacking = listed.missing.map(|list| list.open(helper)).transpose()?;
            let mut missing = |record: &MissingRecord<'_>| lacking.as_mut().map_or(Ok(()), |out| MissingList::add(record, out));
            let missing: Option<ListMissing<'_>> = if listed.missing.is_some() { Some(&mut missing) } else { None };
            let mut listings = Listings { surplus: &mut surplus, missing };
            let found = differing
                .find(&verification, &mut topic, (helper, helpers), &report, &mut listings, &mut |at| voice.at(at))
                .map_err(|error| unlisted(listed, error))?;
            let flushed = file.map_or(Ok(()), |mut out| out.flush());
            lacking.map_or(Ok(()), |mut out| out.flush()).map_err(|error| not_listed(listed, &error))?;
            flushed.map_err(|error| unlisted(listed, VerifyError::Listing(error.to_string())))?;
            Ok(found)
        };
        let mut first = Matching::new(helpers);
        let matched = helper::together(NAME, helpers, interrupt, &work, &mut |helper, heard| {
            if let Heard::At(at) = heard {
                teller.hear(first.hear(helper, at));
            }
            Ok(())
        })?;
        differing.finish(matched, examples, &mut report).map_err(not_compared)?;
    }
    report.examples.sort();
    Ok((report, letters))
}

/// Why a comparison was not made.
pub fn not_compared(error: VerifyError) -> UserError {
    match error {
        VerifyError::Source(_) => UserError::new(Exit::Source, error),
        VerifyError::Topic(_) => {
            UserError::new(Exit::Preflight, error).hint("run `shardlift verify` again when the topic can be read")
        }
        VerifyError::NotNow(_) => UserError::new(Exit::Stopped, error).hint(NOT_NOW),
        VerifyError::Listing(_) => UserError::new(Exit::Internal, error),
    }
}

fn unlisted(listed: WantedLists<'_>, error: VerifyError) -> UserError {
    match (error, listed.surplus) {
        (VerifyError::Listing(error), Some(file)) => file.refused(&error),
        (VerifyError::Listing(error), None) => not_listed(listed, &error),
        (error, _) => not_compared(error),
    }
}

fn not_listed(listed: WantedLists<'_>, error: &dyn std::fmt::Display) -> UserError {
    listed.missing.map_or_else(|| UserError::new(Exit::Internal, error), |list| list.refused(error))
}

/// Where committed letters stand, and how many there are.
fn places_of(letters: &Letters, job: &Job) -> Result<(Places, LetterCounts), UserError> {
    let Letters { folder, committed, counted, .. } = letters;
    if letters.topic.is_some() {
        if *counted == 0 {
            return Ok(Default::default());
        }
        let (places, committed, uncommitted) = letters_topic::places_here(letters, job)?;
        return Ok((places, LetterCounts { committed, counted: *counted, uncommitted }));
    }
    let read = || {
        let (places, there) = dead_letter::places(folder, committed, process::open_private_below)?;
        let uncommitted = dead_letter::uncommitted(folder, committed, process::open_private_below)?;
        Ok((places, LetterCounts { committed: there, counted: *counted, uncommitted }))
    };
    read().map_err(|error: std::io::Error| letters.unreadable(&error))
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
        let job = NewJob {
            name,
            plan_id: 7,
            plan: &plan,
            binding: &binding,
            settings: &[],
            origin: migration::StateOrigin::default(),
        };
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
        taken.began_ms = state.origin.created_ms;
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
