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
}

impl UserError {
    /// An error with its exit code.
    pub fn new(exit: Exit, message: impl std::fmt::Display) -> Self {
        UserError { exit, message: message.to_string(), hint: None }
    }

    /// Adds what to do next.
    pub fn hint(mut self, hint: impl std::fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }
}

impl std::fmt::Display for UserError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Errors of the config bring their own head, with a code.
        let head = if self.message.starts_with("error") { "" } else { "error: " };
        write!(f, "{head}{}", self.message.trim_end())?;
        match &self.hint {
            Some(hint) => write!(f, "\n  next: {hint}"),
            None => Ok(()),
        }
    }
}
