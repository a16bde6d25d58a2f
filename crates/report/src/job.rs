//! A job's report: text for people, JSON for machines, and what would make it faster.

mod advice;
mod json;
mod text;

pub use advice::advice;
pub use json::object;
pub use text::{dead_letters, text};
