//! `shardlift report`: what a job did, from its state: text, JSON, or a page with pictures.

use migration::{Exit, UserError};
use report::job::{Extras, add_samples, html};
use supervisor::{StateDir, Store, load_samples};

use super::status;
use crate::args::ReportArgs;
use crate::output_file::OutputFile;
use crate::retries::RetryPlace;
use crate::running::{self, StatePlace};
use crate::ui::Ui;
use crate::{letters, settings, state};

/// Prints the report, and writes the page if it is asked for. The job may run, have ended, or have been killed.
pub fn report(args: &ReportArgs, ui: &Ui) -> Result<Exit, UserError> {
    let job = settings::load_without_secrets(&args.job.job)?;
    let place = StatePlace::of(&job).or_retry(&args.job);
    let holder = running::holder(&place)?;
    let mut found = running::report(&place, running::runs(holder.as_deref()))?.ok_or_else(|| running::never_run(&place))?;
    let store = Store::read_only(&StateDir::store_path(&place.path)).map_err(state::unusable)?;
    let samples = load_samples(&store).map_err(state::unusable)?;
    let run = holder.as_ref().and_then(|_| status::run_now(&place));
    let letters = letters::seen(&found, &StateDir::dead_letters_path(&place.path), || running::files(&place));
    crate::letters::mark_sent_since(&mut found, &letters);
    let object = || {
        let mut object = report::status::object(&found, run.as_ref(), &letters);
        add_samples(&mut object, &found, &samples);
        object
    };
    // The page first: it is there when the command says that it succeeded.
    if let Some(path) = &args.html {
        let job = match args.job.retry {
            None => job,
            Some(number) => RetryPlace::of(&job.name, &job.state_path(), number.get()).job(&job)?,
        };
        let extras = Extras {
            samples: &samples,
            letters: &letters,
            settings: &report::job::settings(&job),
            version: env!("CARGO_PKG_VERSION"),
        };
        if let Some(file) = OutputFile::open(Some(path))? {
            let kept = store.load().map_err(state::unusable)?;
            let sources = kept.plan.objects.iter().map(|object| object.path.as_path());
            file.is_none_of(sources.chain([args.job.job.config.config.as_path()]))?;
            file.write(&html(&found, &extras, &ui.object(object())))?;
        }
    }
    ui.result(|| report::status::text(&found, holder.as_deref(), run.as_ref(), &letters), object);
    Ok(Exit::Done)
}
