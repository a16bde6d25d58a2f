//! Steering a running job from another process: a Unix socket in the job's folder, `control.sock`.
//!
//! Responsible for what is said over it (`wire`), for a supervisor's end that no client can stall or fill (`server`, one
//! `session` for each connection), and for the end of a command that asks ([`ControlClient`]). Not responsible for what a wish
//! changes (the machine) or for whether a job runs at all (its lock tells, `state_dir`).

mod client;
pub(crate) mod server;
mod session;
mod wire;

pub use client::{ControlClient, ControlError};
pub use wire::{Answer, Request};

/// The socket's name in the job's folder.
const SOCKET: &str = "control.sock";

/// Whether a user may steer a run of `owner`'s. Root may do everything anyway.
fn may_steer(user: u32, owner: u32) -> bool {
    const ROOT: u32 = 0;
    user == owner || user == ROOT
}
