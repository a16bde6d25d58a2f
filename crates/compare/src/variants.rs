//! The variants: the same shard worker, with another caller of its steps in each.

pub(super) mod green;
pub(super) mod processes;
pub(super) mod single;
pub(super) mod threads;
