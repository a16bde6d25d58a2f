//! The variants side by side: each run of each setting in a fresh process, the runs interleaved, figures over the rounds.
//!
//! Responsible for what is measured and how ([`round`]: one run; [`undertaking`]: all of them), and for what the figures say
//! ([`statistics`], [`model`], [`advice`]). Not responsible for the brokers, the topic, what was typed, or how a result looks.

pub mod advice;
mod bench_plan;
mod meter;
pub mod model;
pub mod round;
mod run_process;
mod sampler;
mod schedule;
mod seat;
pub mod spec;
pub mod statistics;
mod temporary;
pub mod undertaking;
mod variants;
mod warm_up;

pub use round::{Log, RoundError, serve};
pub use spec::Bench;
pub use undertaking::{CompareError, Standing, Undertaking, estimate};
