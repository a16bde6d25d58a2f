//! `shardlift verify --repair`: sends what the topic lacks of a job's records, as a job of its own that goes through
//! the same pass as `run`.
//!
//! Responsible for: what is sent, and that nothing else runs meanwhile. Not responsible for: finding it, or sending.
//! What a repair keeps is needed by nothing else: one that was killed is made again, and finds by its own comparison
//! what is missing still.

use std::fs;
use std::io::{self, BufRead as _, BufWriter, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use kafka::Right;
use migration::report::verify::{Verified, VerifyReport};
use migration::units::show_things;
use migration::{Exit, Job, Purpose, UserError};
use serde_json::json;
use supervisor::{StateDir, Store};

use super::report_of;
use crate::args::VerifyArgs;
use crate::commands::run::{Comparing, Pass, RetriedJob, go};
use crate::interrupt::Interrupt;
use crate::letters::Letters;
use crate::missing_list::MissingList;
use crate::preflight;
use crate::retries::{self, RetryPlace, RetryRules, unusable};
use crate::state::{self, Earlier};
use crate::surplus_file::SurplusFile;
use crate::ui::Ui;
use crate::verify::{self, Lists, Sent};

/// What a repair did.
struct Repaired {
    /// Records that were sent.
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
    let held = StateDir::open(&folder, state::owners(&job)).map_err(|error| UserError::new(error.exit(), error))?;
    retries::none_runs(&job.name, &folder, state::owners(&job))?;
    let left =
        Store::read_only(&StateDir::store_path(&folder)).and_then(|store| Earlier::of(&store)).map_err(state::unusable)?;
    if !left.state.is_done() {
        let what = format!("job {} is not at its end: what it did not send yet is not missing", job.name);
        return Err(UserError::new(Exit::Preflight, what).hint("run it first with `shardlift run`"));
    }
    let list = SurplusFile::prepare(args.judge.duplicates.as_deref())?;
    if let Some(file) = &list {
        file.is_none_of([args.config.config.as_path()])?;
        file.is_outside(&job.source)?;
    }
    let topic = Some(left.state.binding.topic.as_str());
    let found = preflight::preflight(&job, Purpose::Compare, topic, &[Right::Read, Right::Write], None)?;
    for warning in left.may_be_compared(&job, &found.binding(&job))? {
        tracing::warn!("{warning}");
    }
    let space = Space::make(&job)?;
    let missing = MissingList::new(&space.0);
    let before = compare(&job, &left, Lists { surplus: None, missing: Some(&missing) }, None, ui)?.verified;
    let sources = split(&job, &left, &missing, &space)?;
    let sent: u64 = sources.iter().map(|(_, rules, _)| rules.records).sum();
    let mut repaired = Repaired { sent, before: before.report.clone(), exit: Exit::Done };
    if sent > 0 {
        confirm(&job, sent, args.yes, ui)?;
    }
    for (base, rules, place) in sources {
        repaired.exit = send(&base, &rules, &place, &left, ui)?;
        if repaired.exit != Exit::Done {
            break;
        }
    }
    // The loop that sent has taken the signals.
    let interrupt = Interrupt::new()?;
    let compared = compare(&job, &left, Lists { surplus: list, missing: None }, Some(&interrupt), ui)?;
    let verified = compared.verified;
    verify::keep(&StateDir::store_path(held.path()), &verified, &left.state);
    tell(&verified, &repaired, args, ui);
    compared.list.map_or(Ok(()), SurplusFile::keep)?;
    Ok(if repaired.exit == Exit::Done { verified.exit() } else { repaired.exit })
}

/// The folder of a repair, which is removed when it ends. Its name is its own, and that of the job which sends: in
/// Kafka nothing of an earlier repair is taken for its own.
struct Space(PathBuf);

impl Space {
    fn make(job: &Job) -> Result<Space, UserError> {
        let parent = &job.state_dir;
        let own = format!("{}.repair-", job.name);
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            // What a repair left that was killed.
            let rest = entry.file_name().to_str().and_then(|name| name.strip_prefix(&own).map(str::to_owned));
            if rest.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')) {
                drop(fs::remove_dir_all(entry.path()));
            }
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let folder = parent.join(format!("{own}{now}"));
        let space = Space(folder);
        // Made as any job's folder is; its lock is not needed, for the job's is held.
        StateDir::open(&space.0, state::owners(job)).map(|_| space).map_err(|error| UserError::new(error.exit(), error))
    }

    /// Where the records of one of the sources expected are sent from.
    fn place(&self, expected: usize) -> RetryPlace {
        let folder = match expected {
            0 => self.0.clone(),
            _ => PathBuf::from(format!("{}-{expected}", self.0.display())),
        };
        let name = folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        RetryPlace { number: 0, name, folder }
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
    lists: Lists<'_>,
    interrupt: Option<&Interrupt>,
    ui: &Ui,
) -> Result<verify::Compared, UserError> {
    let folder = job.state_path();
    let letters = Letters::of(&folder, &left.state);
    let retries = verify::retries_of(&folder, &left.state)?;
    let report = report_of(&folder)?;
    let sent = Sent { plan: &left.state.plan, letters: &letters, retries: &retries, report: &report };
    verify::verify(job, sent, lists, interrupt, ui)
}

/// Writes what is missing as sources of jobs: one of the job's own records, and one for each retry of its dead letters,
/// which may have other rules.
fn split(
    job: &Job,
    left: &Earlier,
    missing: &MissingList,
    space: &Space,
) -> Result<Vec<(Job, RetryRules, RetryPlace)>, UserError> {
    let retries = retries::Retries::of_state(&job.state_path(), &left.state)?;
    let mut sources: Vec<(Job, RetryRules, RetryPlace)> = Vec::new();
    let mut out: Option<(u32, BufWriter<fs::File>)> = None;
    missing.read(&mut |record| {
        if out.as_ref().is_none_or(|(expected, _)| *expected != record.expected) {
            let place = space.place(sources.len());
            if !sources.is_empty() {
                StateDir::open(&place.folder, state::owners(job)).map_err(io::Error::other)?;
            }
            let retry = (record.expected as usize).checked_sub(1).and_then(|index| retries.all.get(index));
            let base = retry.map_or_else(|| job.clone(), |retry| retry.job(job));
            if let Some((_, mut written)) = out.replace((record.expected, BufWriter::new(place.make_records()?))) {
                written.flush()?;
            }
            sources.push((base.clone(), RetryRules::new(&base, 0), place));
        }
        let (Some((_, out)), Some((_, rules, _))) = (&mut out, sources.last_mut()) else { return Ok(()) };
        rules.records += 1;
        rules.max_line = rules.max_line.max(record.line.len() as u64);
        out.write_all(&record.line)?;
        out.write_all(b"\n")
    })?;
    let written = out.map_or(Ok(()), |(_, mut out)| out.flush());
    written.map_err(|error| unusable(&space.0, &error))?;
    Ok(sources)
}

/// Sends the records of one source to their end.
fn send(base: &Job, rules: &RetryRules, place: &RetryPlace, left: &Earlier, ui: &Ui) -> Result<Exit, UserError> {
    let dir = StateDir::open(&place.folder, state::owners(base)).map_err(|error| UserError::new(error.exit(), error))?;
    let job = rules.job(base, place);
    let between = ui.in_between();
    let pass = Pass::begin(job, dir, false, false, &between)?;
    let name = left.state.name.clone();
    go(Pass { retried: Some(RetriedJob::to_repair(name, left.clone())), ..pass }, None, Comparing::default())
}

fn confirm(job: &Job, sent: u64, yes: bool, ui: &Ui) -> Result<(), UserError> {
    let records = show_things(sent, "record");
    let mut what = format!("the topic {} lacks {records} of job {}, which are sent now", job.kafka.topic, job.name);
    if job.record.key.is_some() {
        what += ": they come BEHIND newer ones of the same key, whose order is not restored";
    }
    if !ui.quiet || !yes {
        ui.say(&what);
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

fn tell(verified: &Verified, repaired: &Repaired, args: &VerifyArgs, ui: &Ui) {
    let Repaired { sent, before, exit } = repaired;
    let text = || {
        let mut text = match sent {
            0 => "nothing was sent: no record that could be sent is missing\n".to_owned(),
            _ if *exit != Exit::Done => format!("NOT ALL OF {} were sent: see above\n", show_things(*sent, "missing record")),
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
        object.insert("repaired".into(), json!({ "records": sent, "exit_code": exit.code(), "before": counts }));
        object
    });
}
