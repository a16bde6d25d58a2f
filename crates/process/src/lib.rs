//! The operating system, as the supervisor and its workers need it: one fork wrapper, owned pipes, a local socket,
//! frames, signals as events, a poll loop, reaping, resource usage, limits and lock files.
//!
//! This crate never knows shards, records or Kafka, nor what a frame means: it moves opaque payloads and applies the
//! rules of a child. Linux only. All `unsafe` of the crate stands in `fork.rs`.

mod child;
mod child_rules;
mod disk;
mod fork;
mod frame;
mod helper;
mod latest_frame;
mod limits;
mod local_socket;
mod lock;
mod pipe;
mod poll;
mod private;
mod reap;
mod signals;
mod start;
mod usage;

pub use child::{
    Child, ChildEnds, ChildSettings, DEFAULT_THREAD_STACK, EXIT_PANICKED, EXIT_SETUP_FAILED, Told, die_with_parent,
};
pub use child_rules::rename;
pub use disk::Disk;
pub use fork::{ForkError, default_signals_for, restore_default_signals, thread_count};
pub use frame::{Filled, Flushed, FrameError, FrameReader, FrameWriter, HEADER_BYTES, MAX_FRAME};
pub use helper::{
    AskedHelper, HelperError, HelperOptions, Output, RunningHelper, begin_helper, run_helper, run_helper_with, start_helper,
};
pub use latest_frame::LatestFrame;
pub use limits::{
    LimitError, MemoryLimit, descriptor_limit, forbid_core_files, memory_limit, raise_descriptor_limit, require_descriptors,
    require_processes,
};
pub use local_socket::{LocalListener, LocalStream, own_user};
pub use lock::{LockError, LockFile};
pub use nix::sys::signal::Signal;
pub use nix::unistd::Pid;
pub use poll::{Interest, Ready, poll};
pub use private::{FileId, PrivateFolder, closed_by, folder_objection, may_write, open_private, open_private_below};
pub use reap::{ExitState, Reaped, reap_all};
pub use signals::{Caught, SignalFd, hold_signals, is_ignored, kill_group, send_signal};
pub use start::fork_child;
pub use usage::{
    Cpu, Memory, burn_cpu, children_cpu, children_of, cpu_of, host_name, monotonic_us, own_cpu, own_memory, processors,
    thread_cpu,
};
