//! Steering a running job from another process: a Unix socket in the job's folder, `control.sock`.
//!
//! Responsible for what is said over it (`wire`), for a supervisor's end that no client can stall or fill (`server`,
//! one `session` for each connection), and for the end of a command that asks ([`ControlClient`]). Not responsible for
//! what a wish changes (the machine) or for whether a job runs at all (its lock tells, `state_dir`).

mod client;
pub(crate) mod server;
mod session;
mod wire;

use std::time::Duration;

use crate::watch::Snapshot;

pub use client::{ControlClient, ControlError};
pub use wire::{Answer, Request, WireError};

/// The request in a frame that a command sent.
pub fn read_request(kind: u8, payload: &[u8]) -> Result<Request, WireError> {
    wire::decode(kind, payload, wire::REQUEST)
}

/// The answer in a frame that a supervisor sent.
pub fn read_answer(kind: u8, payload: &[u8]) -> Result<Answer, WireError> {
    wire::decode(kind, payload, wire::ANSWER)
}

/// A run that can be steered, as the server sees it.
pub(crate) trait Steered {
    /// Since the run began.
    fn now(&self) -> Duration;
    /// Does what a command asks, and gives the answer.
    fn obey(&mut self, request: Request) -> Answer;
    /// How the run stands.
    fn snapshot(&self) -> Snapshot;
}

/// The socket's name in the job's folder.
const SOCKET: &str = "control.sock";

/// Whether a user may steer a run of `owner`'s. Root may do everything anyway.
fn may_steer(user: u32, owner: u32) -> bool {
    const ROOT: u32 = 0;
    user == owner || user == ROOT
}
