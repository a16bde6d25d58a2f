//! The jobs that send a job's dead letters again: `NAME.retry-N`, each in a folder of its own beside the job's, with
//! what it took and by which rules.
//!
//! Responsible for: where they are, what is kept of each before it begins, and what became of them. Not responsible
//! for: which letters are taken ([`crate::set_aside`]), or sending.
//!
//! A retry's folder has its records, as the source that it reads; `retry.json`, whole or not at all; and the state of a
//! job like any other. It has begun when there is such a state: what was left without one is written anew.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use migration::config::as_pattern;
use migration::job::{FileRules, JsonlSource, OnMissing, RecordRules, SourceRules};
use migration::printable::printable_path;
use migration::report::{AttemptOutcome, JobReport, RetryReport, RetryStanding};
use migration::{Accept, Exit, Job, Plan, SourceObject, UserError};
use pipeline::dead_letter::LetterSet;
use serde::{Deserialize, Serialize};
use supervisor::{JobState, Owners, StateDir, StateDirError, Store, load_report};

use crate::letters::Letters;
use crate::state;

/// The records of a retry, in its folder.
const RECORDS: &str = "records.jsonl";
/// What is kept of it before it begins.
const RULES: &str = "retry.json";
/// The version of that file.
const VERSION: u32 = 1;

/// What a retry took, and how its records are sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetryRules {
    version: u32,
    /// The job whose letters it sends.
    pub job: String,
    /// When that job's state was made, milliseconds since 1970: of a job that was started over, its retries are none.
    pub began_ms: i64,
    /// Whether the records were edited.
    pub edited: bool,
    /// How many letters it took.
    pub letters: u64,
    /// How many records it has in their place.
    pub records: u64,
    /// Whether its records are sent as they are, whatever they look like.
    pub raw: bool,
    /// The longest of its lines that is a record.
    pub max_line: u64,
    /// How a line becomes a record.
    pub record: RecordRules,
    /// Which letters it took: of the job's own (0), and of earlier retries by their numbers.
    pub taken: Vec<(u32, LetterSet)>,
}

impl RetryRules {
    /// Of a retry of a job whose state was made then, with the rules that the job's config has now.
    pub fn new(job: &Job, began_ms: i64) -> RetryRules {
        RetryRules {
            version: VERSION,
            job: job.name.clone(),
            began_ms,
            edited: false,
            letters: 0,
            records: 0,
            raw: true,
            max_line: job.source.files().max_line,
            record: job.record.clone(),
            taken: Vec::new(),
        }
    }

    /// The letters that it took of the job's own (0) or of an earlier retry.
    pub fn taken_of(&self, origin: u32) -> Option<&LetterSet> {
        self.taken.iter().find(|(of, _)| *of == origin).map(|(_, set)| set)
    }

    /// Its job: the one whose letters it sends, but for name, source and rules.
    pub fn job(&self, job: &Job, place: &RetryPlace) -> Job {
        let files = FileRules { paths: vec![as_pattern(&place.records().to_string_lossy())], max_line: self.max_line };
        let mut accept = job.accept.clone();
        // That none has the key is no slip where the job set them aside because of it.
        if self.record.on_missing == OnMissing::Null {
            accept.insert(Accept::Mapping);
        }
        Job {
            name: place.name.clone(),
            source: SourceRules::Jsonl(JsonlSource { raw: self.raw, files }),
            record: self.record.clone(),
            accept,
            record_limit: None,
            ..job.clone()
        }
    }
}

/// Where a retry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPlace {
    /// Its number, from 1.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
}

impl RetryPlace {
    /// That of a job's retry; `folder` is the job's.
    pub fn of(name: &str, folder: &Path, number: u32) -> RetryPlace {
        let name = format!("{name}.retry-{number}");
        RetryPlace { number, folder: folder.with_file_name(&name), name }
    }

    /// Its job, by the rules that it began with.
    pub fn job(&self, job: &Job) -> Result<Job, UserError> {
        self.rules().map(|rules| rules.job(job, self)).map_err(|error| unusable(&self.folder.join(RULES), &error))
    }

    /// The file of its records.
    pub fn records(&self) -> PathBuf {
        self.folder.join(RECORDS)
    }

    /// Makes the file of its records, which only this user may read.
    pub fn make_records(&self) -> io::Result<File> {
        let made = process::open_private(&self.records(), private(OpenOptions::new().write(true).create(true)))?;
        made.set_len(0)?;
        Ok(made)
    }

    /// Keeps what it takes, so that a power cut leaves all of it or what was there before.
    pub fn keep(&self, rules: &RetryRules) -> Result<(), UserError> {
        let path = self.folder.join(RULES);
        let new = path.with_extension("json.new");
        let keep = || -> io::Result<()> {
            let mut file = process::open_private(&new, private(OpenOptions::new().write(true).create(true)))?;
            file.set_len(0)?;
            file.write_all(&serde_json::to_vec(rules)?)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        keep().map_err(|error| unusable(&path, &error))
    }

    fn rules(&self) -> io::Result<RetryRules> {
        let path = self.folder.join(RULES);
        let file = process::open_private(&path, OpenOptions::new().read(true))?;
        let rules: RetryRules = serde_json::from_reader(io::BufReader::new(file))?;
        if rules.version == VERSION {
            return Ok(rules);
        }
        let what = format!("it has version {}, and this program reads version {VERSION}", rules.version);
        Err(io::Error::new(io::ErrorKind::InvalidData, what))
    }

    /// Where its records are, as its plan has to say, if they were elsewhere when it was made: its folder may have been
    /// brought here. Size and hash have to be the same; the time of change may have got lost on the way.
    fn brought_here(&self, plan: &Plan) -> Option<SourceObject> {
        let path = fs::canonicalize(self.records()).ok()?;
        let planned = plan.objects.first().filter(|object| object.path != path)?;
        let changed = fs::metadata(&path).ok()?.modified().ok()?;
        let modified_ns = changed.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64);
        Some(SourceObject { path, modified_ns, ..planned.clone() })
    }

    /// An error if it was begun in another folder: its state names its records by where they were.
    pub fn require_in_place(&self, plan: &Plan) -> Result<(), UserError> {
        if self.brought_here(plan).is_none() {
            return Ok(());
        }
        let began = plan.objects.first().and_then(|object| object.path.parent()).unwrap_or(Path::new("/"));
        let what = format!("{} was begun in {} and is not at its end", self.name, printable_path(began));
        Err(UserError::new(Exit::Preflight, what).hint("put its folder back there, and go on there: nothing was changed"))
    }

    fn has_state(&self) -> Result<bool, UserError> {
        state::exists(&self.folder)
    }

    /// What it takes; `None` if its folder has nothing of a retry. What is there and can't be read is one.
    fn found(&self) -> Option<io::Result<RetryRules>> {
        match self.rules() {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.records().exists() => None,
            rules => Some(rules),
        }
    }

    /// Takes hold of it, so that it does not run meanwhile. `name`: that of its job.
    fn hold(&self, name: &str, owners: Owners) -> Result<StateDir, UserError> {
        StateDir::open(&self.folder, owners).map_err(|error| match error {
            StateDirError::Supervisor { ref holder } => UserError::new(
                error.exit(),
                format!(
                    "{} is running ({holder}): beside it, records of job {name} would come between those that it sends again",
                    self.name
                ),
            )
            .hint("wait for its end, or stop it (Ctrl-C or SIGTERM, what it sent is kept), and run again"),
            error => UserError::new(error.exit(), format!("{}: {error}", self.name)),
        })
    }
}

fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options.mode(0o600)
}

/// What can't be used of a retry's folder.
pub fn unusable(path: &Path, error: &io::Error) -> UserError {
    UserError::new(Exit::State, format!("{} can't be used: {error}", printable_path(path)))
}

/// A retry that has begun.
#[derive(Debug)]
pub struct Retry {
    /// Where it is.
    pub place: RetryPlace,
    /// What it took, and by which rules its records are sent.
    pub rules: RetryRules,
    /// How far it is.
    pub state: JobState,
}

impl Retry {
    /// Its job.
    pub fn job(&self, job: &Job) -> Job {
        self.rules.job(job, &self.place)
    }

    /// Its own dead letters.
    pub fn letters(&self) -> Letters {
        Letters::of(&self.place.folder, &self.state)
    }

    /// Who works on it now, in its own words.
    pub fn holder(&self) -> Result<Option<String>, UserError> {
        StateDir::holder(&self.place.folder).map_err(|error| UserError::new(error.exit(), error))
    }

    fn job_report(&self, running: bool) -> Result<JobReport, UserError> {
        let store = Store::read_only(&StateDir::store_path(&self.place.folder));
        store.and_then(|store| load_report(&store, running)).map_err(state::unusable)
    }

    /// What it did, for a report.
    pub fn report(&self) -> Result<RetryReport, UserError> {
        let running = self.holder()?.is_some();
        let report = self.job_report(running)?;
        let done = report.shards.done == report.shards.total;
        Ok(RetryReport {
            number: self.place.number,
            name: self.place.name.clone(),
            taken: self.rules.letters,
            records: self.rules.records,
            edited: self.rules.edited,
            sent: report.counts.acknowledged,
            set_aside: report.counts.dead_lettered,
            standing: match (running, done) {
                (true, _) => RetryStanding::Running,
                (false, true) => RetryStanding::Done,
                (false, false) => RetryStanding::Unfinished,
            },
            sent_ms: sent_last(&report),
        })
    }
}

/// When a job may have sent last.
fn sent_last(report: &JobReport) -> Option<i64> {
    let sent = |attempt: &&migration::report::AttemptReport| {
        attempt.counts.acknowledged > 0 || attempt.resent.most > 0 || attempt.outcome == AttemptOutcome::Running
    };
    let run = report.attempts.iter().rev().find(sent)?.run;
    let run = report.runs.iter().find(|known| known.number == run)?;
    Some(run.started_ms.saturating_add_unsigned(run.elapsed_us / 1_000))
}

/// All retries of a job that have begun, in the order of their numbers.
#[derive(Debug, Default)]
pub struct Retries {
    /// Them.
    pub all: Vec<Retry>,
    /// The number of the next one.
    pub next: u32,
}

impl Retries {
    /// Those of the job of this name whose folder and state these are. Nothing is changed.
    pub fn of(name: &str, folder: &Path, began_ms: i64) -> Result<Retries, UserError> {
        let (mut all, mut last) = (Vec::new(), 0);
        for place in places(name, folder)? {
            if !place.has_state()? {
                continue;
            }
            last = place.number;
            let Some(rules) = place.found() else { continue };
            let rules = rules.map_err(|error| {
                let path = place.folder.join(RULES);
                UserError::new(
                    Exit::State,
                    format!(
                        "{}: {error}; what {} sent of the dead letters of job {name} is not known without it",
                        printable_path(&path),
                        place.name
                    ),
                )
                .hint(
                    "put the file back as it was, or start over with `shardlift run --restart` (which forgets the retries, too, \
                     and sends everything again)",
                )
            })?;
            if (rules.job.as_str(), rules.began_ms) == (name, began_ms) {
                let store = Store::read_only(&StateDir::store_path(&place.folder));
                let mut state = store.and_then(|store| store.load()).map_err(state::unusable)?;
                if let Some(records) = place.brought_here(&state.plan) {
                    state.plan.objects[0] = records;
                }
                all.push(Retry { place, rules, state });
            }
        }
        Ok(Retries { all, next: last + 1 })
    }

    /// Those of a job, as its state in its folder says.
    pub fn of_state(folder: &Path, state: &JobState) -> Result<Retries, UserError> {
        Retries::of(&state.name, folder, state.origin.created_ms)
    }

    /// What all of them did.
    pub fn reports(&self) -> Result<Vec<RetryReport>, UserError> {
        self.all.iter().map(Retry::report).collect()
    }

    /// How many records any of them may have sent twice.
    pub fn resent(&self) -> Result<u64, UserError> {
        let most = |retry: &Retry| Ok(retry.job_report(false)?.resent.map_or(0, |resent| resent.most));
        self.all.iter().map(most).sum()
    }

    /// The one that is not at its end: a next one begins when it is.
    pub fn unfinished(&self) -> Option<&Retry> {
        self.all.iter().find(|retry| !retry.state.is_done())
    }
}

/// The folders that a job's retries have, by number.
fn places(name: &str, folder: &Path) -> Result<Vec<RetryPlace>, UserError> {
    let parent = folder.parent().unwrap_or(Path::new("/"));
    let entries = match fs::read_dir(parent) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unusable(parent, &error)),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let found = entry.map_err(|error| unusable(parent, &error))?.file_name();
        numbers.extend(found.to_str().and_then(|found| number(found, name)));
    }
    numbers.sort_unstable();
    Ok(numbers.into_iter().map(|number| RetryPlace::of(name, folder, number)).collect())
}

/// The number in `NAME.retry-N`.
fn number(found: &str, name: &str) -> Option<u32> {
    let digits = found.strip_prefix(name)?.strip_prefix(".retry-")?;
    digits.parse().ok().filter(|number: &u32| *number > 0 && number.to_string() == digits)
}

/// Makes sure that no retry of a job runs, which is held itself: none begins as long as it is. One that was killed has
/// no worker any more.
pub fn none_runs(name: &str, folder: &Path, owners: Owners) -> Result<(), UserError> {
    let mut begun = places(name, folder)?.into_iter().filter(|place| place.found().is_some());
    begun.try_for_each(|place| place.hold(name, owners).map(drop))
}

/// A retry of a job that runs now, and which process works on it. Waits for nothing and changes nothing.
pub fn running(name: &str, folder: &Path) -> Option<(String, String)> {
    let places = places(name, folder).ok()?;
    places.into_iter().find_map(|place| StateDir::holder(&place.folder).ok()?.map(|holder| (place.name, holder)))
}

/// The retries of a job that begins, held: they sent letters of before, and go with its old state.
#[derive(Debug)]
pub struct OldRetries(Vec<(RetryPlace, StateDir)>);

impl OldRetries {
    /// Takes hold of all before one is touched; one that runs is an error.
    pub fn hold(name: &str, folder: &Path, owners: Owners) -> Result<OldRetries, UserError> {
        // Another job's folder may have such a name. Of what can't be read, the name has to do.
        let own = |place: &RetryPlace| place.found().is_some_and(|rules| rules.map_or(true, |rules| rules.job == name));
        let hold = |place: RetryPlace| {
            let held = place.hold(name, owners)?;
            Ok((place, held))
        };
        places(name, folder)?.into_iter().filter(own).map(hold).collect::<Result<_, _>>().map(OldRetries)
    }

    /// Forgets them, once the job's own state is gone: what a crash leaves of them is known to be of a job of before.
    /// Says which.
    pub fn forget(self) -> Result<Vec<String>, UserError> {
        let forget = |(place, held): (RetryPlace, StateDir)| {
            held.clear().map_err(|error| UserError::new(error.exit(), error))?;
            fs::remove_dir_all(&place.folder).map_err(|error| unusable(&place.folder, &error))?;
            Ok(place.name)
        };
        self.0.into_iter().map(forget).collect()
    }
}

#[cfg(test)]
pub mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use migration::report::Binding;

    use super::*;

    /// A retry that took these, and is done.
    pub fn retry(number: u32, taken: Vec<(u32, LetterSet)>) -> Retry {
        let state = JobState {
            origin: migration::StateOrigin::default(),
            name: String::new(),
            plan_id: 0,
            last_run: 1,
            binding: Binding::default(),
            settings: Vec::new(),
            plan: Plan::default(),
            frozen: None,
            shards: Vec::new(),
            damages: BTreeMap::new(),
            parents: BTreeMap::new(),
            uncertain: BTreeSet::new(),
        };
        let place = RetryPlace::of("orders", Path::new("/s/orders"), number);
        Retry { place, rules: RetryRules { taken, ..rules("orders") }, state }
    }

    #[test]
    fn only_names_of_a_jobs_own_retries_are_its_retries() {
        for (found, wanted) in [
            ("orders.retry-1", Some(1)),
            ("orders.retry-12", Some(12)),
            ("orders.retry-0", None),
            ("orders.retry-01", None),
            ("orders.retry-+1", None),
            ("orders.retry-1.retry-2", None),
            ("orders.limit-5.retry-1", None),
            ("orders", None),
            ("other.retry-1", None),
        ] {
            assert_eq!(number(found, "orders"), wanted, "{found}");
        }
        assert_eq!(number("orders.limit-5.retry-1", "orders.limit-5"), Some(1));
    }

    /// The rules of a retry of this job.
    pub fn rules(job: &str) -> RetryRules {
        RetryRules {
            version: VERSION,
            job: job.to_owned(),
            began_ms: 7,
            edited: true,
            letters: 3,
            records: 2,
            raw: false,
            max_line: 100,
            record: RecordRules {
                key: None,
                on_missing: migration::job::OnMissing::Null,
                validate: migration::job::Validate::Field,
                timestamp: None,
                timestamp_unit: migration::job::TimestampUnit::Rfc3339,
                headers: vec![("a".to_owned(), "b".to_owned())],
            },
            taken: vec![(0, LetterSet::default())],
        }
    }

    #[test]
    fn what_a_retry_takes_is_kept_whole_and_one_without_a_state_has_not_begun() {
        let state = tempfile::tempdir().unwrap();
        let folder = state.path().join("orders");
        let place = RetryPlace::of("orders", &folder, 2);
        fs::create_dir(&place.folder).unwrap();
        place.keep(&rules("orders")).unwrap();
        assert_eq!(place.rules().unwrap(), rules("orders"));
        let found = Retries::of("orders", &folder, 7).unwrap();
        assert_eq!((found.all.len(), found.next), (0, 1));

        // A state without the file, or with half of it, is not guessed at.
        fs::write(StateDir::store_path(&place.folder), "").unwrap();
        for torn in ["", "{\"version\":1", "{\"version\":9}"] {
            fs::write(place.folder.join(RULES), torn).unwrap();
            let error = Retries::of("orders", &folder, 7).unwrap_err();
            assert!(error.exit == Exit::State && error.message.contains("retry.json"), "{error}");
        }
        // A job that starts over is not held up by it.
        let old = OldRetries::hold("orders", &folder, Owners::Any).unwrap();
        assert_eq!(old.0.len(), 1);
        drop(old);
        // Of a job that was started over it is none, and its number is not used again.
        place.keep(&rules("orders")).unwrap();
        let found = Retries::of("orders", &folder, 8).unwrap();
        assert_eq!((found.all.len(), found.next), (0, 3));
    }

    #[test]
    fn a_job_that_begins_forgets_its_own_retries_and_no_other_folder() {
        let state = tempfile::tempdir().unwrap();
        let folder = state.path().join("orders");
        for (number, job) in [(1, "orders"), (2, "other"), (4, "orders")] {
            let place = RetryPlace::of("orders", &folder, number);
            fs::create_dir(&place.folder).unwrap();
            place.keep(&rules(job)).unwrap();
            place.make_records().unwrap();
        }
        fs::create_dir(state.path().join("orders.retry-3")).unwrap();
        let forget = |name: &str, folder: &Path| OldRetries::hold(name, folder, Owners::Any).and_then(OldRetries::forget);
        let left = || [1, 2, 3, 4].map(|number| RetryPlace::of("orders", &folder, number).folder.exists());
        // One that runs keeps all.
        let running = StateDir::open(&RetryPlace::of("orders", &folder, 4).folder, Owners::Any).unwrap();
        let error = forget("orders", &folder).unwrap_err();
        assert!(error.exit == Exit::Stopped && error.message.starts_with("orders.retry-4 is running (host "), "{error}");
        assert_eq!(none_runs("orders", &folder, Owners::Any).unwrap_err().message, error.message);
        assert_eq!(left(), [true; 4]);
        drop(running);
        none_runs("orders", &folder, Owners::Any).unwrap();
        assert!(!state.path().join("orders.retry-3/supervisor.lock").exists(), "what is no retry is left alone");
        // Half of what it took is a retry's, and goes, too.
        fs::write(RetryPlace::of("orders", &folder, 4).folder.join(RULES), "{").unwrap();
        assert_eq!(forget("orders", &folder).unwrap(), ["orders.retry-1", "orders.retry-4"]);
        assert_eq!(left(), [false, true, true, false]);
        assert_eq!(forget("none", &state.path().join("none/none")).unwrap(), [""; 0]);
    }
}
