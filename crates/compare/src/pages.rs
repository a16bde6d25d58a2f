//! How a comparison looks: text, JSON, CSV and one HTML page.

mod charts;
mod csv;
#[cfg(test)]
pub(crate) mod example;
pub(crate) mod figures;
mod html;
mod json;
mod text;

pub use csv::csv;
pub(crate) use csv::lines;
pub(crate) use html::environment_section;
pub use html::html;
pub use json::object;
pub(crate) use json::{environment, spread};
pub use text::text;

use migration::Phases;
use migration::job::FlushPolicy;

use crate::figures::Round;
use crate::figures::{Comparison, Setting, Summary};

/// The name of a flush policy, as in the config.
pub(crate) fn flush_name(flush: FlushPolicy) -> String {
    match serde_json::to_value(flush) {
        Ok(serde_json::Value::String(name)) => name,
        _ => format!("{flush:?}").to_lowercase(),
    }
}

/// What tells a setting apart from the others of its comparison, in words: "green-wakeup × 8, shared producer, chunk".
pub(crate) fn label(comparison: &Comparison, setting: &Setting) -> String {
    let mut label = setting.variant.name().to_owned();
    if !setting.variant.is_alone() {
        label += &format!(" × {}", setting.workers);
    }
    if setting.shared_producer {
        label += ", shared producer";
    }
    if differ(comparison, |s| s.flush) {
        label += &format!(", {}", flush_name(setting.flush));
    }
    label
}

/// Whether the settings differ in something.
pub(crate) fn differ<T: PartialEq>(comparison: &Comparison, of: impl Fn(&Setting) -> T) -> bool {
    comparison.settings.windows(2).any(|pair| of(&pair[0]) != of(&pair[1]))
}

/// Each result with its setting.
pub(crate) fn rows(comparison: &Comparison) -> impl Iterator<Item = (&Setting, &Summary)> {
    comparison.results.iter().filter_map(|result| Some((comparison.settings.get(result.setting as usize)?, result)))
}

/// A setting's rounds that gave a figure.
pub(crate) fn good_rounds(comparison: &Comparison, setting: u32) -> impl Iterator<Item = &Round> {
    comparison.rounds.iter().filter(move |round| round.setting == setting && round.failure.is_none())
}

/// A setting's wall time by phase, over all its rounds.
pub(crate) fn phases(comparison: &Comparison, setting: u32) -> Phases {
    let mut sum = Phases::default();
    good_rounds(comparison, setting).for_each(|round| sum.add(&round.phases));
    sum
}

/// Rounds that gave no figure, each as a sentence; those that say the same are told once.
pub(crate) fn failures(comparison: &Comparison) -> Vec<String> {
    let mut told: Vec<(u32, &str, Vec<u32>)> = Vec::new();
    for round in &comparison.rounds {
        let Some(why) = round.failure.as_deref() else { continue };
        match told.iter_mut().find(|(setting, text, _)| *setting == round.setting && *text == why) {
            Some((_, _, rounds)) => rounds.push(round.round),
            None => told.push((round.setting, why, vec![round.round])),
        }
    }
    let name = |setting: u32| comparison.settings.get(setting as usize).map_or_else(String::new, |s| label(comparison, s));
    told.into_iter()
        .map(|(setting, why, rounds)| {
            let rounds: Vec<String> = rounds.iter().map(u32::to_string).collect();
            let word = if rounds.len() == 1 { "round" } else { "rounds" };
            format!("{}, {word} {}: {why}", name(setting), rounds.join(", "))
        })
        .collect()
}
