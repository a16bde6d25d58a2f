//! Errors as the user sees them: what failed, where, what was seen, what to do next, and the exit code they map to.

use serde::{Deserialize, Serialize};

use crate::Exit;

/// An error that ends a command. It can come out of a helper process, hence serialisable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserError {
    /// The exit code.
    pub exit: Exit,
    /// What failed, where and what was seen.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// What else stands in the way, each with what to do.
    pub also: Vec<UserError>,
}

impl UserError {
    /// An error with its exit code.
    pub fn new(exit: Exit, message: impl std::fmt::Display) -> Self {
        UserError { exit, message: message.to_string(), hint: None, also: Vec::new() }
    }

    /// Adds what to do next.
    pub fn hint(mut self, hint: impl std::fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// The messages of all.
    pub fn messages(&self) -> Vec<&str> {
        self.all().map(|error| error.message.trim_end()).collect()
    }

    /// The hints of all that have one.
    pub fn hints(&self) -> Vec<&str> {
        self.all().filter_map(|error| error.hint.as_deref()).collect()
    }

    fn all(&self) -> impl Iterator<Item = &UserError> {
        std::iter::once(self).chain(&self.also)
    }
}

impl std::fmt::Display for UserError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Errors of the config bring their own head, with a code.
        let head = if self.message.starts_with("error") { "" } else { "error: " };
        write!(f, "{head}{}", self.message.trim_end())?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  next: {hint}")?;
        }
        self.also.iter().try_for_each(|other| write!(f, "\n{other}"))
    }
}
