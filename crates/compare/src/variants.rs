//! The variants: the same shard worker, stepped by somebody else in each.

pub(super) mod green;
pub(super) mod processes;
pub(super) mod single;
pub(super) mod threads;
