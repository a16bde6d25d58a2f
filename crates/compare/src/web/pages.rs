//! How the web scene looks: latencies of two routes of one server, by how it flushes.

#[cfg(test)]
pub(crate) mod example;
mod html;
mod json;
mod text;

pub use html::html;
pub use json::{csv, object};
pub use text::text;

use crate::web::figures::WebComparison;

/// Rounds that gave no figure, each as a sentence.
pub(crate) fn failures(comparison: &WebComparison) -> Vec<String> {
    let failed = comparison.rounds.iter().filter_map(|round| Some((round, round.failure.as_deref()?)));
    failed.map(|(round, why)| format!("failed: {}, round {}: {why}", round.flush.name(), round.round)).collect()
}
