//! `shardlift dlq`: the records that were set aside, told, shown and sent again.

mod records;
mod retry;

use std::path::PathBuf;

use migration::report::{LetterListing, LettersShown};
use migration::{Exit, UserError, fixed};
use supervisor::{JobState, StateDir, Store};

use crate::args::{DlqCommand, DlqShowArgs, JobArgs, OutputFormat, SelectionArgs};
use crate::catch_up::catch_up;
use crate::fill::require_state;
use crate::retries::Retries;
use crate::running::StatePlace;
use crate::set_aside::{self, Selection, SetAside};
use crate::ui::Ui;
use crate::{settings, state};

/// How many letters are shown unless it is said.
const SHOWN: usize = 20;

/// Obeys it.
pub fn dlq(command: &DlqCommand, ui: &Ui) -> Result<Exit, UserError> {
    match command {
        DlqCommand::List(args) => list(args, ui),
        DlqCommand::Show(args) => show(args, ui),
        DlqCommand::Retry(args) => retry::retry(args, ui),
    }
}

/// A job whose letters are looked at: a broker is asked only for letters in a topic, and for a job of which the folder
/// knows nothing.
struct LetterJob {
    name: String,
    folder: PathBuf,
    state: JobState,
    retries: Retries,
}

impl LetterJob {
    fn find(args: &JobArgs, ui: &Ui) -> Result<LetterJob, UserError> {
        let job = settings::load_without_secrets(args)?;
        let place = StatePlace::of(&job);
        if !state::exists(&place.path)? {
            // Secrets are for brokers alone.
            let job = if job.exactly_once() { settings::load(args)? } else { job };
            require_state(&job, &place.path, ui)?;
        }
        let load = || Store::read_only(&StateDir::store_path(&place.path)).and_then(|store| store.load());
        let mut state = load().map_err(state::unusable)?;
        if fixed::letters_topic(&state.settings).is_some() {
            catch_up(&settings::load(args)?, &place.path)?;
            state = load().map_err(state::unusable)?;
        }
        let retries = Retries::of_state(&place.path, &state)?;
        Ok(LetterJob { name: place.name, folder: place.path, state, retries })
    }

    /// `args`: whose brokers are asked, if letters are in a topic.
    fn letters(&self, args: &JobArgs) -> Result<SetAside<'_>, UserError> {
        SetAside::of(&self.folder, &self.state, &self.retries, || settings::load(args))
    }
}

impl From<SelectionArgs> for Selection {
    fn from(args: SelectionArgs) -> Selection {
        let SelectionArgs { reason, shard, cut } = args;
        Selection { reason: reason.map(usize::from), shard, cut, taken: false }
    }
}

fn list(args: &JobArgs, ui: &Ui) -> Result<Exit, UserError> {
    let job = LetterJob::find(args, ui)?;
    let listing = LetterListing {
        reasons: job.letters(args)?.listing()?,
        letters: job.state.counts().dead_lettered,
        retries: job.retries.reports()?,
    };
    ui.result(|| report::dlq::list(&job.name, &listing), || report::dlq::list_object(&job.name, &listing));
    Ok(Exit::Done)
}

fn show(args: &DlqShowArgs, ui: &Ui) -> Result<Exit, UserError> {
    let &DlqShowArgs { job: ref wanted, selection, all, first, show_values, records } = args;
    if records && ui.output == OutputFormat::Json {
        return Err(UserError::new(Exit::Usage, "--records writes the records themselves, and no JSON object about them")
            .hint("leave out -o json (and SHARDLIFT_OUTPUT)"));
    }
    let job = LetterJob::find(wanted, ui)?;
    let letters = job.letters(wanted)?;
    let mut chosen = letters.choose(&Selection { taken: all, ..selection.into() })?;
    if records {
        let (mut whole, left) = set_aside::part(chosen, true);
        whole.truncate(first.map_or(usize::MAX, usize::from));
        return records::print(&letters, &whole, left, ui);
    }
    let count = chosen.len() as u64;
    chosen.truncate(first.map_or(SHOWN, usize::from));
    let mut shown = Vec::new();
    letters.read(&chosen, &mut |chosen, letter| {
        shown.push(letters.shown(chosen, letter));
        Ok(())
    })?;
    let shown = LettersShown { job: &job.name, letters: &shown, chosen: count, show_values };
    ui.result(|| report::dlq::show(&shown), || report::dlq::show_object(&shown));
    Ok(Exit::Done)
}
