//! What a run did, in words and as JSON: the job's report, what is worth knowing, what a comparison found, and how to
//! continue.

use migration::Exit;
use migration::report::verify::Verified;
use migration::report::{JobReport, SeenLetters};
use serde_json::{Map, Value};

use crate::{job, letters, verify};

/// A run that has ended.
#[derive(Clone, Copy, Debug)]
pub struct EndedRun<'a> {
    /// The job after it.
    pub report: &'a JobReport,
    /// What the plan's making brought up.
    pub notes: &'a [String],
    /// What the comparison at its end found, if there was one.
    pub verified: Option<&'a Verified>,
}

/// How the job can be continued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Continued {
    /// With this command line.
    With(String),
    /// Not at all: the embedded broker is gone.
    NotAtAll,
}

/// The result for people.
pub fn text(run: &EndedRun<'_>, seen: &SeenLetters, continued: &Continued) -> String {
    let EndedRun { report, notes, verified } = *run;
    let mut out = job::text(report) + &letters::text(report, seen);
    if !notes.is_empty() {
        out += "\nworth knowing\n";
        notes.iter().for_each(|note| out += &format!("  - {note}\n"));
    }
    if let Some(verified) = verified {
        out += &format!("\n{}", verify::text(verified, false));
    }
    match continued {
        Continued::NotAtAll => out += "\nthe embedded broker is gone, and what it received: the next run starts over\n",
        Continued::With(command) if matches!(report.exit, Some(Exit::Stopped | Exit::Signal(_))) => {
            out += &format!("\nthe state is saved; to continue: {command}\n");
        }
        Continued::With(_) => {}
    }
    out
}

/// The result for machines.
pub fn object(run: &EndedRun<'_>, seen: &SeenLetters) -> Map<String, Value> {
    let mut map = job::object(run.report);
    map.insert("dead_letters".into(), letters::object(seen));
    map.insert("notes".into(), run.notes.into());
    map.insert("verify".into(), run.verified.map_or(Value::Null, |verified| Value::Object(verify::object(verified, false))));
    map
}
