//! The instrument: the same shard worker stepped in several ways side by side, and the web scene. The product does not
//! need it.
//!
//! Responsible for what is measured and how ([`round`]: one run; [`comparison_run`]: all of them; [`web`]: requests
//! that wait for their record), for what the figures say ([`statistics`], [`model`], [`advice`]), and how that looks
//! ([`pages`]). Each run is a fresh process, and the runs are interleaved. Not responsible for what a worker does
//! ([`worker`]), what a record is or how it is delivered (`pipeline`, `kafka`), forking and checkpoints (`supervisor`),
//! the brokers, the topic, or what was typed.

#![forbid(unsafe_code)]

pub mod advice;
pub mod asked;
mod bench_plan;
pub mod comparison_run;
pub mod conclusion;
mod connected;
pub mod environment;
pub mod figures;
mod heartbeat;
mod measured;
mod meter;
pub mod model;
pub mod pages;
pub mod properties;
pub mod results;
pub mod round;
pub mod rows;
mod run_process;
mod sampler;
mod schedule;
pub mod spec;
pub mod statistics;
mod temporary;
mod toll;
mod variants;
mod wakeup;
mod warm_up;
pub mod web;

pub use asked::{Asked, TopicFacts};
pub use comparison_run::{CompareError, ComparisonRun, Standing};
pub use measured::Log;
pub use round::{RoundError, serve};
pub use spec::Bench;
