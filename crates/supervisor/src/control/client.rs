//! The end of a command that asks a running job.
//!
//! Responsible for asking and for not waiting for ever. Not responsible for what a command then says, nor for whether a
//! job runs at all.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use process::{Filled, FrameReader, FrameWriter, Interest, LocalStream, own_user, poll};

use super::wire::{Answer, REQUEST, Request, VERSION, WireError, encode};
use super::{SOCKET, may_steer};
use crate::watch::Snapshot;

/// The supervisor's loop turns within milliseconds; a disk that syncs slowly may hold it for longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nothing listens: the run has not begun to send yet, has ended sending, or could not open its socket.
    #[error("nothing listens at control.sock in the job's folder")]
    NoSocket,
    /// Nothing came in time. Whether the wish was taken is not known.
    #[error("the job's supervisor did not answer within {} s: it is stopped (SIGSTOP), or its disk is very slow", PATIENCE.as_secs())]
    Silent,
    /// The connection ended: the run is over, or does not talk to us.
    #[error("the job's supervisor closed the connection without an answer")]
    Closed,
    /// The run is another user's, and closed the connection for that reason.
    #[error("its run is user {0}'s: the job's supervisor takes commands of that user and of root only")]
    Stranger(u32),
    /// The program of the run is older or newer than this one.
    #[error(
        "the run was started by another version of shardlift (its control socket speaks version {0}, this program {VERSION})"
    )]
    Version(u16),
    /// What came is no answer.
    #[error("the job's supervisor answered what makes no sense: {0}")]
    Nonsense(WireError),
    /// The system refused something.
    #[error("the job's control.sock can't be used: {0}")]
    Io(#[from] io::Error),
}

/// A connection to the supervisor of a running job.
#[derive(Debug)]
pub struct ControlClient {
    stream: LocalStream,
    reader: FrameReader,
}

impl ControlClient {
    /// Connects to the supervisor that works on the job in `folder`.
    pub fn connect(folder: &Path) -> Result<ControlClient, ControlError> {
        match LocalStream::connect(folder, SOCKET, PATIENCE) {
            Ok(stream) => Ok(ControlClient { stream, reader: FrameReader::new() }),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                Err(ControlError::NoSocket)
            }
            Err(e) if e.kind() == io::ErrorKind::TimedOut => Err(ControlError::Silent),
            Err(e) => Err(e.into()),
        }
    }

    /// Asks once and gives the answer. It waits for 10 s, because the wish may be taken although the answer does not
    /// come.
    pub fn ask(mut self, request: &Request) -> Result<Answer, ControlError> {
        self.send(request)?;
        self.receive(PATIENCE)
    }

    /// How the run stands; waits at most `patience`.
    pub fn state(mut self, patience: Duration) -> Result<Option<Snapshot>, ControlError> {
        self.send(&Request::State)?;
        match self.receive(patience)? {
            Answer::State(snapshot) => Ok(Some(*snapshot)),
            Answer::Standing(_) | Answer::Refused(_) => Ok(None),
        }
    }

    /// Asks.
    pub fn send(&mut self, request: &Request) -> Result<(), ControlError> {
        let mut writer = FrameWriter::new();
        writer.queue(REQUEST, &encode(request)).map_err(io::Error::other)?;
        // A request is far smaller than what a new connection takes at once.
        match writer.flush(&self.stream) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Err(self.closed()),
            other => Ok(other.map(drop)?),
        }
    }

    /// The next answer; waits at most `patience` for it.
    pub fn receive(&mut self, patience: Duration) -> Result<Answer, ControlError> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(answer) = self.received()? {
                return Ok(answer);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if poll(&[((), self.stream.as_fd(), Interest::Read)], Some(left))?.is_empty() {
                return Err(ControlError::Silent);
            }
        }
    }

    /// The next answer if it is there; does not wait.
    pub fn received(&mut self) -> Result<Option<Answer>, ControlError> {
        loop {
            let frame = self.reader.next_frame().map_err(|e| ControlError::Nonsense(e.into()))?;
            if let Some((kind, payload)) = frame {
                return match super::read_answer(kind, payload) {
                    Ok(answer) => Ok(Some(answer)),
                    Err(WireError::Version(version)) => Err(ControlError::Version(version)),
                    Err(error) => Err(ControlError::Nonsense(error)),
                };
            }
            match self.reader.fill(&self.stream) {
                Ok(Filled::Bytes(_) | Filled::Full) => {}
                Ok(Filled::WouldBlock) => return Ok(None),
                Ok(Filled::Eof) => return Err(self.closed()),
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Err(self.closed()),
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Why the connection may have been closed without an answer.
    fn closed(&self) -> ControlError {
        match self.stream.peer_user() {
            Ok(owner) if !may_steer(own_user(), owner) => ControlError::Stranger(owner),
            _ => ControlError::Closed,
        }
    }
}

impl AsFd for ControlClient {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
