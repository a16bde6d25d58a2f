//! How a dataset differs from the one that was planned.

use std::path::PathBuf;

use migration::SourceObject;
use migration::printable::printable_path;
use migration::units::show_times_apart;

use super::{NOT_AS_PLANNED, SourceError};

/// How many objects a message names.
const NAMED: usize = 10;

/// What is not as planned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Planned files that are gone or have other bytes, or that the patterns don't mean any more, each with what was
    /// seen.
    pub changed: Vec<String>,
    /// Planned files of which only the time of modification is another one.
    pub retimed: Vec<Retimed>,
    /// Files that the patterns mean now and did not when planned.
    pub new: Vec<PathBuf>,
}

/// A planned file that has another time of modification, and is the same as far as its size and its ends tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retimed {
    /// Index into [`Plan::objects`](migration::Plan::objects).
    pub object: u32,
    /// The planned file, with the time that it has now.
    pub facts: SourceObject,
    planned_ns: i64,
}

impl Retimed {
    /// A planned file whose time is `now_ns` now, nanoseconds since 1970.
    pub fn of(object: u32, planned: &SourceObject, now_ns: i64) -> Retimed {
        let facts = SourceObject { modified_ns: now_ns, ..planned.clone() };
        Retimed { object, facts, planned_ns: planned.modified_ns }
    }
}

impl std::fmt::Display for Retimed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (planned, now) = show_times_apart(self.planned_ns, self.facts.modified_ns);
        write!(
            f,
            "{}: has the planned size and the same first and last 64 KiB, but was modified at {now} instead of {planned}",
            printable_path(&self.facts.path)
        )
    }
}

impl Changes {
    /// Whether the files are those of the plan.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.retimed.is_empty() && self.new.is_empty()
    }

    /// Whether all planned files are as they were, and others came.
    pub fn only_new(&self) -> bool {
        self.changed.is_empty() && self.retimed.is_empty() && !self.new.is_empty()
    }

    /// Whether planned files have other times of modification, and all are the same in everything else.
    pub fn only_times(&self) -> bool {
        self.changed.is_empty() && !self.retimed.is_empty()
    }

    /// In words, with names. `sent`: everything planned was sent.
    pub fn error(&self, sent: bool) -> SourceError {
        let mut parts = Vec::new();
        if !self.changed.is_empty() {
            parts.push(format!("{}; {NOT_AS_PLANNED}", named(&self.changed)));
        }
        if !self.retimed.is_empty() {
            let retimed = named(&self.retimed.iter().map(Retimed::to_string).collect::<Vec<_>>());
            parts.push(format!("{retimed}; `--accept mtime` lets that pass"));
        }
        if !self.new.is_empty() {
            let (match_, them) = if self.new.len() == 1 { ("matches", "it") } else { ("match", "them") };
            let what = format!("{match_} the source's paths now and did not when planned");
            let rest = if sent {
                format!("all records of the plan's files were sent or set aside, and none of {them}")
            } else {
                format!("a plan is frozen when its job first runs, so nothing of {them} is sent")
            };
            parts.push(format!("{}: {what}; {rest}", files_named(&self.new)));
        }
        SourceError(parts.join("; "))
    }
}

/// The first of some files by name, and how many more there are.
pub fn files_named(files: &[PathBuf]) -> String {
    named(&files.iter().map(|path| printable_path(path)).collect::<Vec<_>>())
}

fn named(all: &[String]) -> String {
    let mut text = all.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if all.len() > NAMED {
        text += &format!(", and {} more", all.len() - NAMED);
    }
    text
}
