//! `shardlift verify --repair`: sends what the topic lacks of a job's records, as a job of its own that goes through
//! the same pass as `run`.
//!
//! Responsible for: what is sent, and that nothing else runs meanwhile. Not responsible for: finding it, or sending.
//! What a repair keeps is needed by nothing else: one that was killed is made again, and finds by its own comparison
//! what is missing still.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead as _, BufWriter, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use kafka::Right;
use migration::report::verify::{Verified, VerifyReport};
use migration::units::{show_count, show_things};
use migration::{Exit, Job, Purpose, UserError};
use serde_json::json;
use supervisor::{JobState, StateDir, Store};

use super::report_of;
use crate::args::VerifyArgs;
use crate::commands::run::{Comparing, Pass, RetriedJob, claim, go};
use crate::interrupt::Interrupt;
use crate::letters::Letters;
use crate::missing_list::MissingList;
use crate::preflight;
use crate::retries::{self, Retries, RetryPlace, RetryRules, unusable};
use crate::state::{self, Earlier};
use crate::surplus_file::SurplusFile;
use crate::ui::Ui;
use crate::verify::{self, Lists, Sent};

/// What a repair did.
struct Repaired {
    /// Records that it set out to send.
    wanted: u64,
    /// Records that were delivered.
    sent: u64,
    /// What the comparison before found.
    before: VerifyReport,
    /// How the sending ended.
    exit: Exit,
}

/// Compares, sends what is missing, and compares again.
pub fn repair(job: Job, args: &VerifyArgs, ui: &Ui) -> Result<Exit, UserError> {
    let folder = job.state_path();
    // Held to the end: neither the job nor a retry of its dead letters runs meanwhile.
    let held = StateDir::open_to_repair(&folder, state::owners(&job)).map_err(|error| UserError::new(error.exit(), error))?;
    retries::none_runs(&job.name, &folder, state::owners(&job))?;
    let left =
        Store::read_only(&StateDir::store_path(&folder)).and_then(|store| Earlier::of(&store)).map_err(state::unusable)?;
    let retries = verify::retries_of(&folder, &left.state)?;
    require_ends(&job, &left, &retries)?;
    let list = SurplusFile::prepare(args.judge.duplicates.as_deref())?;
    if let Some(file) = &list {
        file.is_none_of([args.config.config.as_path()])?;
        file.is_outside(&job.source)?;
    }
    let bound = Some(&left.state.binding);
    let found = preflight::preflight(&job, Purpose::Compare, bound, &[Right::Read, Right::Write], None)?;
    for warning in left.may_be_compared(&job, &found.binding(&job))? {
        tracing::warn!("{warning}");
    }
    let space = Space::make(&job)?;
    let claims = space.claims(&job, &left.state, retries.all.len())?;
    let missing = MissingList::new(&space.place(0).folder);
    let before = compare(&job, &left, &retries, Lists { surplus: None, missing: Some(&missing) }, None, ui)?;
    let parts = split(&job, &retries, &missing, &space)?;
    let wanted: u64 = parts.iter().map(|part| part.rules.records).sum();
    let mut repaired = Repaired { wanted, sent: 0, before: before.verified.report.clone(), exit: Exit::Done };
    if wanted > 0 {
        require_known(&before.verified)?;
        confirm(&job, wanted, args.yes, ui)?;
    }
    for part in parts {
        repaired.exit = send(&part, claims.get(part.expected).copied().unwrap_or(0), &left, ui)?;
        repaired.sent += delivered(&part.place);
        if matches!(repaired.exit, Exit::Stopped | Exit::Signal(_)) {
            return Err(stopped(&repaired));
        }
        if repaired.exit != Exit::Done {
            break;
        }
    }
    // The loop that sent has taken the signals.
    let interrupt = Interrupt::new()?;
    let compared = compare(&job, &left, &retries, Lists { surplus: list, missing: None }, Some(&interrupt), ui)?;
    let verified = compared.verified;
    verify::keep(&StateDir::store_path(held.path()), &verified, &left.state);
    let exit = if repaired.exit == Exit::Done { verified.exit() } else { repaired.exit };
    tell(&verified, &repaired, exit, args, ui);
    compared.list.map_or(Ok(()), SurplusFile::keep)?;
    Ok(exit)
}

/// What the job, or a retry of its dead letters, sends when it goes on is not missing yet: it would be sent twice.
fn require_ends(job: &Job, left: &Earlier, retries: &Retries) -> Result<(), UserError> {
    let refused = |name: &str, hint: &str| {
        let what = format!("{name} is not at its end, as far as is known here: what it did not send yet is not missing");
        Err(UserError::new(Exit::Preflight, what).hint(hint))
    };
    match retries.unfinished() {
        _ if !left.state.is_done() => refused(&format!("job {}", job.name), "run it first with `shardlift run`"),
        Some(retry) => refused(&retry.place.name, "let it end first with `shardlift dlq retry`"),
        None => Ok(()),
    }
}

/// Whether what counts as missing is: not what the cleaner of a compacted topic took, and not what was set aside.
fn require_known(before: &Verified) -> Result<(), UserError> {
    let refused = |what: String, hint: &str| Err(UserError::new(Exit::Preflight, what).hint(hint));
    if before.report.compacted.is_none() {
        return refused(
            "the brokers do not tell whether the topic is compacted: an old value could be sent over a newer one, and nothing was \
             sent"
                .to_owned(),
            "grant DescribeConfigs on the topic (kafka-acls.sh --add --operation DescribeConfigs --topic TOPIC)",
        );
    }
    let (there, counted) = (before.letters.committed, before.letters.counted);
    if there != counted || before.report.altered_letters > 0 {
        let what = format!(
            "of {} there are {}, {} of them altered: which records were set aside is not known, and nothing was sent",
            show_things(counted, "dead letter"),
            show_count(there),
            show_count(before.report.altered_letters)
        );
        return refused(what, "bring them back to where they were; `shardlift verify` names what is missing all the same");
    }
    Ok(())
}

/// How many records the job of a place delivered, as far as it was kept.
fn delivered(place: &RetryPlace) -> u64 {
    let state = Store::read_only(&StateDir::store_path(&place.folder)).and_then(|store| store.load());
    state.map_or(0, |state| state.counts().acknowledged)
}

fn stopped(repaired: &Repaired) -> UserError {
    let what = format!(
        "stopped when {} of {} were sent, and not compared again",
        show_count(repaired.sent),
        show_things(repaired.wanted, "missing record")
    );
    UserError::new(repaired.exit, what).hint("run it again: what is missing then is found anew, and sent")
}

/// The folders of a repair, which are removed when it ends: one for each of the sources whose records it may send.
/// Their names are those of the jobs that send.
struct Space {
    parent: PathBuf,
    job: String,
}

impl Space {
    /// Makes the first one. What a repair left that was killed goes, once its workers have ended.
    fn make(job: &Job) -> Result<Space, UserError> {
        let space = Space { parent: job.state_dir.clone(), job: job.name.clone() };
        let prefix = format!("{}.repair-", job.name);
        let of_repair = |name: &OsStr| {
            let number = name.to_str().and_then(|name| name.strip_prefix(&prefix));
            number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
        };
        for entry in fs::read_dir(&space.parent).into_iter().flatten().flatten() {
            if of_repair(&entry.file_name()) {
                let _held = Self::hold(&entry.path(), job)?;
                fs::remove_dir_all(entry.path()).map_err(|error| unusable(&entry.path(), &error))?;
            }
        }
        Self::hold(&space.place(0).folder, job)?;
        Ok(space)
    }

    fn hold(folder: &Path, job: &Job) -> Result<StateDir, UserError> {
        StateDir::open(folder, state::owners(job)).map_err(|error| UserError::new(error.exit(), error))
    }

    /// Where the records of one of the sources expected are sent from.
    fn place(&self, expected: usize) -> RetryPlace {
        let name = format!("{}.repair-{}", self.job, expected + 1);
        RetryPlace { number: 0, folder: self.parent.join(&name), name }
    }

    /// With exactly-once, the start of each of these jobs in Kafka after which is looked for what is missing. Earlier
    /// ones send nothing any more, on no machine.
    fn claims(&self, job: &Job, state: &JobState, retries: usize) -> Result<Vec<u32>, UserError> {
        if !job.exactly_once() {
            return Ok(Vec::new());
        }
        let claim = |expected| {
            let RetryPlace { name, folder, .. } = self.place(expected);
            claim(&Job { name, ..job.clone() }, state, &folder)
        };
        (0..=retries).map(claim).collect()
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let mut expected = 0;
        while fs::remove_dir_all(self.place(expected).folder).is_ok() {
            expected += 1;
        }
    }
}

fn compare(
    job: &Job,
    left: &Earlier,
    retries: &Retries,
    lists: Lists<'_>,
    interrupt: Option<&Interrupt>,
    ui: &Ui,
) -> Result<verify::Compared, UserError> {
    let folder = job.state_path();
    let letters = Letters::of(&folder, &left.state);
    let report = report_of(&folder)?;
    let sent = Sent { plan: &left.state.plan, letters: &letters, retries, report: &report };
    verify::verify(job, sent, lists, interrupt, ui)
}

/// What is sent of one of the sources expected, as a job of its own.
struct Part {
    /// Which: the job's own (0), or a retry of its dead letters.
    expected: usize,
    /// The job whose records they are.
    base: Job,
    rules: RetryRules,
    place: RetryPlace,
}

/// Writes what is missing as sources of jobs: one of the job's own records, and one for each retry of its dead letters,
/// which may have other rules.
fn split(job: &Job, retries: &Retries, missing: &MissingList, space: &Space) -> Result<Vec<Part>, UserError> {
    let mut parts: BTreeMap<usize, (Part, BufWriter<fs::File>)> = BTreeMap::new();
    let begin = |expected: usize| -> io::Result<_> {
        let place = space.place(expected);
        StateDir::open(&place.folder, state::owners(job)).map_err(io::Error::other)?;
        let retry = expected.checked_sub(1).and_then(|index| retries.all.get(index));
        let base = retry.map_or_else(|| job.clone(), |retry| retry.job(job));
        let out = BufWriter::new(place.make_records()?);
        Ok((Part { expected, rules: RetryRules::new(&base, 0), base, place }, out))
    };
    missing.read(&mut |record| {
        let (Part { rules, .. }, out) = match parts.entry(record.expected as usize) {
            Entry::Occupied(part) => part.into_mut(),
            Entry::Vacant(free) => {
                let part = begin(*free.key())?;
                free.insert(part)
            }
        };
        rules.records += 1;
        rules.max_line = rules.max_line.max(record.line.len() as u64);
        out.write_all(&record.line)?;
        out.write_all(b"\n")
    })?;
    let flushed = parts.into_values().map(|(part, mut out)| out.flush().map(|()| part));
    flushed.collect::<io::Result<_>>().map_err(|error| unusable(&space.place(0).folder, &error))
}

/// Sends the records of one source to their end. `claim`: which start in Kafka they were found missing after.
fn send(part: &Part, claim: u32, left: &Earlier, ui: &Ui) -> Result<Exit, UserError> {
    let dir = Space::hold(&part.place.folder, &part.base)?;
    let job = part.rules.job(&part.base, &part.place);
    let between = ui.in_between();
    let pass = Pass::begin(job, dir, false, false, &between)?;
    let retried = RetriedJob::to_repair(left.state.name.clone(), left.clone(), claim);
    go(Pass { retried: Some(retried), ..pass }, None, Comparing::default())
}

/// What is missing, before it is known whether it will be sent: it may not be confirmed, or the sending be refused.
fn lacks(job: &Job, records: &str) -> String {
    let mut what = format!("the topic {} lacks {records} of job {}", job.kafka.topic, job.name);
    if job.record.key.is_some() {
        what += "; a repair sends them BEHIND newer ones of the same key, whose order is not restored";
    }
    what
}

fn confirm(job: &Job, sent: u64, yes: bool, ui: &Ui) -> Result<(), UserError> {
    let records = show_things(sent, "record");
    if !ui.quiet || !yes {
        ui.say(lacks(job, &records));
    }
    if yes {
        return Ok(());
    }
    let refused = |why: &str| {
        UserError::new(Exit::Usage, format!("{records} are missing, and {why}: nothing was sent"))
            .hint("add --yes to send them without a question")
    };
    if !io::stdin().is_terminal() {
        return Err(refused("there is no terminal to confirm it at"));
    }
    drop(write!(io::stderr(), "type the job's name to go on: "));
    let mut answer = String::new();
    drop(io::stdin().lock().read_line(&mut answer));
    if answer.trim() == job.name { Ok(()) } else { Err(refused("not confirmed")) }
}

fn tell(verified: &Verified, repaired: &Repaired, exit: Exit, args: &VerifyArgs, ui: &Ui) {
    let Repaired { wanted, sent, before, exit: sending } = repaired;
    let text = || {
        let mut text = match wanted {
            0 => "nothing was sent: no record that could be sent is missing\n".to_owned(),
            wanted if sent < wanted => {
                format!("ONLY {} of {} were sent: see above\n", show_count(*sent), show_things(*wanted, "missing record"))
            }
            _ => format!("{} sent again\n", show_things(*sent, "missing record")),
        };
        if *sent > 0 && verified.report.compared.partitions {
            text += "  a repair does not restore order: they stand behind newer records of their keys\n";
        }
        text + &report::verify::text(verified, args.show_values)
    };
    ui.result(text, || {
        let mut object = report::verify::object(verified, args.show_values);
        let counts = json!({
            "missing": before.missing,
            "superseded": before.superseded,
            "duplicates": before.duplicates,
            "altered": before.altered,
            "misplaced": before.misplaced,
            "outdated": before.outdated,
            "unexpected": before.unexpected,
        });
        object.insert("exit_code".into(), exit.code().into());
        object.insert("repaired".into(), json!({ "records": sent, "exit_code": sending.code(), "before": counts }));
        object
    });
}
