//! Results as text for people, JSON and CSV for machines, and one self-contained HTML page.
//!
//! Responsible for how a result looks. Not responsible for how it came about: everything here takes finished values of
//! `migration` and gives text back; nothing is measured, read or written.

pub mod compare;
mod figures;
mod html;
pub mod job;
mod markup;
mod svg;
mod table;
pub mod verify;
pub mod web;
