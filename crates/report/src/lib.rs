//! Results as text for people and JSON for machines.
//!
//! Responsible for how a result looks. Not responsible for how it came about: everything here takes finished values of
//! `migration` and gives text back; nothing is measured, read or written.

pub mod job;
