//! Waiting on a client's queue inside the executor.
//!
//! Responsible for the order that loses no signal: first the descriptor is emptied, then the caller serves what it
//! stands for.

use std::io;

use kafka::Wakeup;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Has the executor watch a client's descriptor. Inside the executor only.
#[expect(
    deprecated,
    reason = "what replaces it needs a promise that the descriptor stays open, which holds here: as long as the value that is registered"
)]
pub(crate) fn watch(wakeup: Wakeup) -> io::Result<AsyncFd<Wakeup>> {
    AsyncFd::with_interest(wakeup, Interest::READABLE)
}

/// Waits until the client has something to serve; serve all of it then.
pub(crate) async fn woken(wakeup: &AsyncFd<Wakeup>) -> io::Result<()> {
    let mut ready = wakeup.readable().await?;
    wakeup.get_ref().drain();
    ready.clear_ready();
    Ok(())
}
