//! How a dataset differs from the one that was planned.

use std::path::PathBuf;

use super::{NOT_AS_PLANNED, SourceError};

/// How many objects a message names.
const NAMED: usize = 10;

/// What is not as planned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Planned files that are gone or have other bytes, or that the patterns don't mean any more, each with what was
    /// seen.
    pub changed: Vec<String>,
    /// Files that the patterns mean now and did not when planned.
    pub new: Vec<PathBuf>,
}

impl Changes {
    /// Whether the files are those of the plan.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.new.is_empty()
    }

    /// Whether all planned files are as they were, and others came.
    pub fn only_new(&self) -> bool {
        self.changed.is_empty() && !self.new.is_empty()
    }

    /// In words, with names. `sent`: everything planned was sent.
    pub fn error(&self, sent: bool) -> SourceError {
        let mut parts = Vec::new();
        if !self.changed.is_empty() {
            parts.push(format!("{}; {NOT_AS_PLANNED}", named(&self.changed)));
        }
        if !self.new.is_empty() {
            let new: Vec<_> = self.new.iter().map(|path| path.display().to_string()).collect();
            let (match_, them) = if new.len() == 1 { ("matches", "it") } else { ("match", "them") };
            let what = format!("{match_} the source's paths now and did not when planned");
            let rest = if sent {
                format!("all records of the plan's files were sent or set aside, and none of {them}")
            } else {
                format!("a plan is frozen when its job first runs, so nothing of {them} is sent")
            };
            parts.push(format!("{}: {what}; {rest}", named(&new)));
        }
        SourceError(parts.join("; "))
    }
}

fn named(all: &[String]) -> String {
    let mut text = all.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if all.len() > NAMED {
        text += &format!(", and {} more", all.len() - NAMED);
    }
    text
}
