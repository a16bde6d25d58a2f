//! A job's report: text for people, JSON for machines, a page with pictures, and what would make it faster.

mod advice;
mod charts;
mod ending;
#[cfg(test)]
pub(crate) mod example;
mod happened;
mod html;
mod json;
mod series;
mod settings;
mod text;
mod timeline;
mod verified;

pub use advice::advice;
pub use ending::ending;
pub use html::{Extras, html};
pub use json::object;
pub use series::add_samples;
pub use settings::settings;
pub use text::text;

use migration::printable::printable;
use migration::report::{AttemptOutcome, AttemptReport, JobReport};

/// Which checks were told to let pass what they would refuse, if any.
fn accepted(report: &JobReport) -> Option<String> {
    let names = report.accepted.join(", ");
    (!names.is_empty()).then(|| format!("told to let pass what these checks refuse: {names}"))
}

/// What is told beside the number of records that were sent elsewhere. A worker that did not end well may have
/// committed without being heard: what it sent is known from the progress topic, too.
fn elsewhere_note(report: &JobReport) -> &'static str {
    let heard = |attempt: &AttemptReport| matches!(attempt.outcome, AttemptOutcome::Finished | AttemptOutcome::Drained);
    if report.attempts.iter().all(heard) { " of these" } else { " of these, or here and not heard of" }
}

/// What the job promises about duplicates, and where it keeps how far it is.
fn delivery(report: &JobReport) -> String {
    let delivery = report.delivery().name();
    match &report.progress_topic {
        Some(topic) => format!("{delivery}; progress in topic {}", printable(topic)),
        None => delivery.to_owned(),
    }
}
