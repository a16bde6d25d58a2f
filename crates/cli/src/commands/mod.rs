//! One file for each command.

pub mod broker;
pub mod check;
pub mod compare;
pub mod compare_web;
pub mod dlq;
pub mod init;
pub mod plan;
pub mod report;
pub mod run;
pub mod status;
pub mod steer;
pub mod verify;
pub mod watch;
