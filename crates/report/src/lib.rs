//! A job's results as text for people, JSON for machines, and one self-contained HTML page; and what pages and tables
//! are made of (figures, tables, markup, drawing), for the pages of comparisons too.
//!
//! Responsible for how a result looks. Not responsible for how it came about: everything here takes finished values of
//! `migration` and gives text back; nothing is measured, read or written.

pub mod check;
pub mod dlq;
pub mod figures;
pub mod html;
pub mod job;
pub mod letters;
pub mod markup;
pub mod masked;
pub mod plan;
pub mod preview;
pub mod receipts;
pub mod run;
pub mod sample;
pub mod standing;
pub mod status;
pub mod svg;
pub mod table;
pub mod verify;
pub mod wrapped;
