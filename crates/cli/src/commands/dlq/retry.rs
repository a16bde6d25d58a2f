//! `shardlift dlq retry`: sends dead letters again, as a job of its own that goes through the same pass as `run`.

use std::path::Path;

use migration::job::{Brokers, SourceRules};
use migration::printable::printable_path;
use migration::report::still_set_aside;
use migration::units::show_things;
use migration::{Exit, Job, UserError, fixed, resume};
use supervisor::{StateDir, Store, load_report};

use super::records;
use crate::args::{DlqRetryArgs, SelectionArgs};
use crate::catch_up::catch_up;
use crate::commands::run::{Comparing, Pass, RetriedJob, go, require_room};
use crate::fill::require_state;
use crate::retries::{Retries, Retry, RetryPlace, RetryRules};
use crate::running::{self, StatePlace};
use crate::set_aside::{self, ChosenLetter, LeftOut, Selection, SetAside};
use crate::state::{self, Earlier};
use crate::ui::Ui;
use crate::{letters, settings};

/// Sends what is set aside, or goes on with what an earlier retry began.
pub fn retry(args: &DlqRetryArgs, ui: &Ui) -> Result<Exit, UserError> {
    send_again(args, ui).map_err(resume::of_retry)
}

fn send_again(args: &DlqRetryArgs, ui: &Ui) -> Result<Exit, UserError> {
    let job = settings::load(&args.job)?;
    require_room(&job, args.single)?;
    let folder = job.state_path();
    let Some(ready) = Preparing::begin(&job, &folder, ui)?.ready(args)? else { return Ok(Exit::Done) };
    let ReadyRetry { job: retry, dir, retried, earlier } = ready;
    let pass = Pass::begin(retry, dir, args.single, false, ui)?;
    let exit =
        go(Pass { retried: Some(retried), ..pass }, earlier, Comparing::default()).map_err(|error| mended(error, args))?;
    if !ui.quiet {
        // The result is printed: what can't be read now is no other end.
        tell_rest(&folder, ui).unwrap_or_else(|error| tracing::warn!("{}", error.message));
    }
    Ok(exit)
}

/// The flag that asks for other records than those that a retry began with. Which letters it was asked for is not kept:
/// each flag that chooses some is one.
fn other_records(retry: &Retry, args: &DlqRetryArgs) -> Result<Option<&'static str>, UserError> {
    let SelectionArgs { reason, shard, cut } = args.selection;
    let edited = |edited| records::is_same(&retry.place, edited).map(|same| !(retry.rules.edited && same));
    let edited = args.edited.as_deref().map(edited).transpose()?.unwrap_or(false);
    let flags = [("--edited", edited), ("--reason", reason.is_some()), ("--shard", shard.is_some()), ("--cut", cut)];
    Ok(flags.into_iter().find_map(|(flag, other)| other.then_some(flag)))
}

/// What none of the letters has is mended by editing them, too.
fn mended(error: UserError, args: &DlqRetryArgs) -> UserError {
    if args.edited.is_some() || !error.message.starts_with("mapping:") {
        return error;
    }
    let edit = "`shardlift dlq show --records > FILE`, edit it, and `shardlift dlq retry --edited FILE`";
    let other = error.hint.clone().map(|hint| format!("; or {hint}")).unwrap_or_default();
    error.hint(format!("mend the records: {edit}{other}"))
}

/// What is set aside by now.
fn tell_rest(folder: &Path, ui: &Ui) -> Result<(), UserError> {
    let state = Store::read_only(&StateDir::store_path(folder)).and_then(|store| store.load()).map_err(state::unusable)?;
    let retries = Retries::of_state(folder, &state)?.reports()?;
    ui.say(report::dlq::retries(state.counts().dead_lettered, &retries).trim_end());
    Ok(())
}

/// A retry that can begin or go on.
struct ReadyRetry {
    job: Job,
    dir: StateDir,
    retried: RetriedJob,
    earlier: Option<Earlier>,
}

/// A job whose letters are about to be sent again. Its lock is held as long as that is prepared, so that it does not
/// run meanwhile, and no two retries take the same letters.
struct Preparing<'a> {
    job: &'a Job,
    folder: &'a Path,
    earlier: Earlier,
    retries: Retries,
    ui: &'a Ui,
    _held: StateDir,
}

impl<'a> Preparing<'a> {
    fn begin(job: &'a Job, folder: &'a Path, ui: &'a Ui) -> Result<Preparing<'a>, UserError> {
        let place = StatePlace::of(job);
        require_state(job, folder, ui)?;
        if let Some(holder) = running::holder(&place)? {
            return Err(UserError::new(
                Exit::Stopped,
                format!("job {} is running ({holder}): its dead letters can be sent again when it has ended", job.name),
            ));
        }
        catch_up(job, folder)?;
        let held = StateDir::open(folder, state::owners(job)).map_err(|error| UserError::new(error.exit(), error))?;
        let store = Store::open(&StateDir::store_path(folder)).map_err(state::unusable)?;
        let earlier = Earlier::of(&store).map_err(state::unusable)?;
        if earlier.state.binding.is_of_embedded() {
            return Err(UserError::new(
                Exit::Preflight,
                "the embedded broker died with its run, and the topic with it: the dead letters can't be sent to where the other \
                 records went",
            )
            .hint("run the job on real brokers with -b; `shardlift dlq list` and `dlq show` work all the same"));
        }
        if job.kafka.brokers == Brokers::Embedded {
            return Err(resume::is_of_real_brokers(job, &earlier.state.binding));
        }
        let report = load_report(&store, false).map_err(state::unusable)?;
        if fixed::letters_topic(&earlier.state.settings).is_none() {
            letters::require(&report, &StateDir::dead_letters_path(folder))?;
        }
        let retries = Retries::of_state(folder, &earlier.state)?;
        Ok(Preparing { job, folder, earlier, retries, ui, _held: held })
    }

    /// What is sent; `None`: there is nothing to send, and that was said.
    fn ready(self, args: &DlqRetryArgs) -> Result<Option<ReadyRetry>, UserError> {
        if let Some(retry) = self.retries.unfinished() {
            return self.go_on(retry, args).map(Some);
        }
        if !self.earlier.state.is_done() {
            tracing::warn!(
                "not every shard of job {} is done: what it sets aside from now on is for a later retry",
                self.job.name
            );
        }
        let letters = SetAside::of(self.folder, &self.earlier.state, &self.retries, || Ok(self.job.clone()))?;
        let selection = Selection::from(args.selection);
        let chosen = letters.choose(&selection)?;
        let (chosen, left) = match (selection.cut, &args.edited) {
            (true, Some(_)) => (chosen, LeftOut::default()),
            (_, edited) => set_aside::part(chosen, edited.is_some()),
        };
        records::tell(left, false);
        if chosen.is_empty() {
            return self.nothing(left, selection);
        }
        let place = RetryPlace::of(&self.job.name, self.folder, self.retries.next);
        let dir =
            StateDir::open(&place.folder, state::owners(self.job)).map_err(|error| UserError::new(error.exit(), error))?;
        let rules = self.write(&place, &letters, &chosen, args.edited.as_deref())?;
        place.keep(&rules)?;
        let job = rules.job(self.job, &place);
        Ok(Some(ReadyRetry { job, dir, retried: self.retried(), earlier: None }))
    }

    /// Nothing is set aside, or nothing that can be sent.
    fn nothing(&self, left: LeftOut, selection: Selection) -> Result<Option<ReadyRetry>, UserError> {
        let name = &self.job.name;
        if left.all() > 0 {
            let (letters, are) = (show_things(left.all(), "dead letter"), if left.all() == 1 { "it is" } else { "they are" });
            return Err(UserError::new(Exit::Failed, format!("{letters} of job {name} can't be sent as {are}"))
                .hint("see what is said above of each kind"));
        }
        let retries = self.retries.reports()?;
        let still = still_set_aside(self.earlier.state.counts().dead_lettered, &retries);
        let told = match still {
            0 => format!("no dead letter of job {name} is set aside: nothing to send again"),
            _ if selection == Selection::default() => format!("no dead letter of job {name} can be sent again"),
            still => {
                format!("none of the {} of job {name} is one of those that were asked for", show_things(still, "dead letter"))
            }
        };
        let object = || {
            let mut map = serde_json::Map::new();
            map.insert("job".into(), name.clone().into());
            map.insert("outcome".into(), "done".into());
            map.insert("exit_code".into(), Exit::Done.code().into());
            map.insert("set_aside".into(), still.into());
            map.insert("retries".into(), report::dlq::retries_object(&retries));
            map
        };
        self.ui.result(|| told.clone(), object);
        Ok(None)
    }

    /// Writes the records, and says what is taken.
    fn write(
        &self,
        place: &RetryPlace,
        letters: &SetAside<'_>,
        chosen: &[ChosenLetter],
        edited: Option<&Path>,
    ) -> Result<RetryRules, UserError> {
        let taken = show_things(chosen.len() as u64, "dead letter");
        let count = chosen.len() as u64;
        let mut rules = RetryRules::new(self.job, self.earlier.state.origin.created_ms);
        (rules.letters, rules.records) = (count, count);
        rules.taken = letters.taken(chosen.iter().copied());
        match edited {
            None => {
                records::write(place, letters, chosen)?;
                self.say(&format!("{}: {taken} of job {} sent again as they are", place.name, self.job.name));
            }
            Some(edited) => {
                (rules.edited, rules.records) = (true, records::copy(place, edited)?);
                rules.raw = matches!(&self.job.source, SourceRules::Jsonl(source) if source.raw);
                let records = show_things(rules.records, "record");
                let from = printable_path(edited);
                self.say(&format!("{}: {records} of {from} in place of {taken} of job {}", place.name, self.job.name));
                if rules.records < count {
                    tracing::warn!(
                        "{from} has {records}, and {taken} count as sent again with it: what it lacks is not sent, and not listed as \
                         set aside any more"
                    );
                }
            }
        }
        Ok(rules)
    }

    /// Goes on with the records and rules that it began with.
    fn go_on(&self, retry: &Retry, args: &DlqRetryArgs) -> Result<ReadyRetry, UserError> {
        let name = &retry.place.name;
        if let Some(flag) = other_records(retry, args)? {
            let what = format!("{name} has begun and is not at its end: it goes on with the records that it began with");
            let hint = format!(
                "let it end first: run `shardlift dlq retry` without {flag} (if it stopped at limits.max_bad_records, with a larger \
                 one); what it sets aside is there for the next retry"
            );
            return Err(UserError::new(Exit::Usage, what).hint(hint));
        }
        let dir = StateDir::open(&retry.place.folder, state::owners(self.job))
            .map_err(|error| UserError::new(error.exit(), error))?;
        let store = Store::open(&StateDir::store_path(dir.path()));
        let earlier = store.and_then(|store| Earlier::of(&store)).map_err(state::unusable)?;
        retry.place.require_in_place(&earlier.state.plan)?;
        let job = retry.job(self.job);
        let wanted = Job { record: self.job.record.clone(), ..job.clone() };
        if let Some(what) = fixed::changes(&fixed::settings(&job), &fixed::settings(&wanted)) {
            tracing::warn!("{what} since {name} began: it goes on with what it began with");
        }
        self.say(&format!("{name} goes on: {} of job {}", show_things(retry.rules.letters, "dead letter"), self.job.name));
        Ok(ReadyRetry { job, dir, retried: self.retried(), earlier: Some(earlier) })
    }

    fn retried(&self) -> RetriedJob {
        RetriedJob::new(self.job.name.clone(), self.earlier.clone())
    }

    fn say(&self, text: &str) {
        if !self.ui.quiet {
            self.ui.say(text);
        }
    }
}
