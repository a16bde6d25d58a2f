//! What goes over the two pipes of a worker: both ends' messages and their codec.
//!
//! ```text
//! frame (process::FrameReader)   length, checksum, kind, payload; at most 1 MiB
//!   up    kind 1  Hello          version, once, before anything else
//!         kind 2  Event          postcard of WorkerEvent
//!   down  kind 3  Control        postcard of (version, Control); the whole state each time, the newest counts
//! ```
//!
//! Both ends are the same binary, so a version that differs is a bug that must show itself, not something to negotiate.
//! What comes up is not trusted: an unknown kind, leftover bytes or a figure that no worker can reach is an error
//! value, never a panic. Not responsible for: pipes and framing (`process`), and for whether an event makes sense now
//! (the machine).

use std::io;
use std::os::fd::AsFd;

use migration::report::AnswerTimes;
use migration::{Chunk, Control, Counts, Failure, Finished, NoAnswer, Position, Progress, Started, Work, WorkerEvent};
use process::{Filled, Flushed, FrameError, FrameReader, FrameWriter, LatestFrame};

/// The version of kinds and payloads.
pub const VERSION: u16 = 9;

const HELLO: u8 = 1;
const EVENT: u8 = 2;
const CONTROL: u8 = 3;

/// A bound for every figure: far above what one attempt can reach, far below what sums overflow at.
const LARGEST: u64 = 1 << 48;
/// More partitions than any cluster has.
const MOST_PARTITIONS: usize = 1 << 20;
/// More pieces of a shard are never asked for.
pub(crate) const MOST_PIECES: u32 = 1 << 10;
/// A worker takes no more rows than this after each heartbeat, before it sends the next: what a killed one may have
/// sent is known.
pub const MOST_UNTOLD: u64 = 1 << 16;
/// The longest text that goes up, in bytes.
const LONGEST_TEXT: usize = 8 * 1024;

/// What a pipe said makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// Not a frame.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// A frame of a kind that does not belong here.
    #[error("a frame of kind {kind} came where {expected} was expected")]
    Kind {
        /// What came.
        kind: u8,
        /// What should have.
        expected: &'static str,
    },
    /// The other end speaks another version.
    #[error("the other end speaks version {0} of the protocol, this one version {VERSION}")]
    Version(u16),
    /// Not the payload that its kind promises.
    #[error("the payload of a frame of kind {kind} can't be read: {cause}")]
    Payload {
        /// The frame's kind.
        kind: u8,
        /// What the decoder says.
        cause: String,
    },
    /// A figure that no worker can reach.
    #[error("a frame holds {0} that can't be true")]
    Implausible(&'static str),
    /// The pipe could not be read.
    #[error("the pipe can't be read: {0}")]
    Io(#[from] io::Error),
}

/// The worker's end of the event pipe.
#[derive(Debug)]
pub struct EventSender<Fd> {
    fd: Fd,
    writer: FrameWriter,
}

impl<Fd: AsFd> EventSender<Fd> {
    /// Says hello.
    pub fn greet(fd: Fd) -> io::Result<Self> {
        let mut sender = Self::on_greeted(fd);
        sender.write(HELLO, &encode(HELLO, &VERSION)?)?;
        Ok(sender)
    }

    /// A second sender on a pipe on which another said hello already.
    pub fn on_greeted(fd: Fd) -> Self {
        EventSender { fd, writer: FrameWriter::new() }
    }

    /// Sends one event; on a blocking pipe it is out when this returns. Longer texts than 8 KiB are cut.
    pub fn send(&mut self, event: &WorkerEvent) -> io::Result<()> {
        let payload = match event {
            WorkerEvent::Log { level, text } => encode(EVENT, &WorkerEvent::Log { level: *level, text: cut(text) }),
            WorkerEvent::Notice(text) => encode(EVENT, &WorkerEvent::Notice(cut(text))),
            WorkerEvent::Failed(f) => encode(EVENT, &WorkerEvent::Failed(Failure { message: cut(&f.message), ..f.clone() })),
            other => encode(EVENT, other),
        }?;
        self.write(EVENT, &payload)
    }

    fn write(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        self.writer.queue(kind, payload).map_err(io::Error::other)?;
        match self.writer.flush(&self.fd)? {
            Flushed::Done => Ok(()),
            Flushed::WouldBlock => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

/// The supervisor's end of the event pipe.
#[derive(Debug, Default)]
pub struct EventReceiver {
    reader: FrameReader,
    greeted: bool,
}

impl EventReceiver {
    /// Reads what is there, at most 64 KiB.
    pub fn fill(&mut self, fd: impl AsFd) -> io::Result<Filled> {
        self.reader.fill(fd)
    }

    /// The next event, or `None` when more bytes are needed.
    pub fn next_event(&mut self) -> Result<Option<WorkerEvent>, ProtocolError> {
        loop {
            let Some((kind, payload)) = self.reader.next_frame()? else { return Ok(None) };
            match (kind, self.greeted) {
                (HELLO, false) => {
                    let version: u16 = decode(HELLO, payload)?;
                    if version != VERSION {
                        return Err(ProtocolError::Version(version));
                    }
                    self.greeted = true;
                }
                (EVENT, true) => {
                    let event = decode(EVENT, payload)?;
                    check(&event)?;
                    return Ok(Some(event));
                }
                (kind, true) => return Err(ProtocolError::Kind { kind, expected: "an event" }),
                (kind, false) => return Err(ProtocolError::Kind { kind, expected: "hello" }),
            }
        }
    }
}

/// The supervisor's end of the control pipe: never blocks, and the newest state replaces one that is not out yet.
#[derive(Debug, Default)]
pub struct ControlSender {
    latest: LatestFrame,
}

impl ControlSender {
    /// Makes this the state to tell.
    pub fn put(&mut self, control: &Control) -> io::Result<()> {
        self.latest.put(CONTROL, &encode(CONTROL, &(VERSION, control))?).map_err(io::Error::other)
    }

    /// Whether something waits for room in the pipe.
    pub fn is_waiting(&self) -> bool {
        self.latest.is_waiting()
    }

    /// Writes what the pipe takes.
    pub fn flush(&mut self, fd: impl AsFd) -> io::Result<Flushed> {
        self.latest.flush(fd)
    }
}

/// The worker's end of the control pipe.
#[derive(Debug)]
pub struct ControlReceiver {
    reader: FrameReader,
    newest: Control,
    open: bool,
}

impl ControlReceiver {
    /// Begins with what the worker was told at its start.
    pub fn new(first: Control) -> Self {
        ControlReceiver { reader: FrameReader::new(), newest: first, open: true }
    }

    /// Reads what is there (`fd` must not block) and gives the newest state; `None` at end of file: the supervisor is
    /// gone.
    pub fn newest(&mut self, fd: impl AsFd) -> Result<Option<Control>, ProtocolError> {
        while self.open {
            match self.reader.fill(&fd)? {
                Filled::WouldBlock => break,
                Filled::Eof => self.open = false,
                Filled::Bytes(_) | Filled::Full => {}
            }
            while let Some((kind, payload)) = self.reader.next_frame()? {
                if kind != CONTROL {
                    return Err(ProtocolError::Kind { kind, expected: "control" });
                }
                let (version, control): (u16, Control) = decode(CONTROL, payload)?;
                if version != VERSION {
                    return Err(ProtocolError::Version(version));
                }
                self.newest = control;
            }
        }
        Ok(self.open.then_some(self.newest))
    }
}

fn encode<T: serde::Serialize>(kind: u8, value: &T) -> io::Result<Vec<u8>> {
    postcard::to_stdvec(value).map_err(|cause| io::Error::other(format!("a frame of kind {kind} can't be encoded: {cause}")))
}

fn decode<T: serde::de::DeserializeOwned>(kind: u8, payload: &[u8]) -> Result<T, ProtocolError> {
    match postcard::take_from_bytes(payload) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(ProtocolError::Payload { kind, cause: format!("{} bytes are left over", rest.len()) }),
        Err(cause) => Err(ProtocolError::Payload { kind, cause: cause.to_string() }),
    }
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(LONGEST_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

fn check(event: &WorkerEvent) -> Result<(), ProtocolError> {
    match event {
        WorkerEvent::Started(Started { topic: _, from }) => {
            plausible([from.letters], "a length of dead letters")?;
            plausible([from.receipt.records], "a receipt")?;
            check_position(&from.position)?;
            check_counts(&from.counts)
        }
        WorkerEvent::Log { .. } | WorkerEvent::Notice(_) | WorkerEvent::AtEnd | WorkerEvent::Failed(_) => Ok(()),
        WorkerEvent::Progress(Progress {
            position,
            counts,
            work,
            peak_memory_bytes,
            waiting_for: _,
            no_answer,
            lines_not_shown: _,
        }) => {
            check_position(position)?;
            check_counts(counts)?;
            check_work(work)?;
            if no_answer.as_deref().is_some_and(|seen| !is_plausible(seen)) {
                return Err(ProtocolError::Implausible("what it sees of brokers that don't answer"));
            }
            plausible([*peak_memory_bytes], "a peak of memory")
        }
        // A token is bounded by its type.
        WorkerEvent::Committed(Chunk { number, position, token: _, counts, work, letters, receipt }) => {
            plausible([*number], "a chunk's number")?;
            plausible([*letters], "a length of dead letters")?;
            plausible([receipt.records], "a receipt")?;
            check_position(position)?;
            check_counts(counts)?;
            check_work(work)
        }
        WorkerEvent::Finished(Finished { position, complete: _, cuts, work, peak_memory_bytes }) => {
            check_position(position)?;
            let cuts = cuts.as_deref().unwrap_or_default();
            if cuts.len() >= MOST_PIECES as usize {
                return Err(ProtocolError::Implausible("a number of cuts"));
            }
            cuts.iter().try_for_each(|cut| check_place(cut.place))?;
            check_work(work)?;
            plausible([*peak_memory_bytes], "a peak of memory")
        }
    }
}

/// Its text is bounded by the frame.
fn is_plausible(seen: &NoAnswer) -> bool {
    let most = NoAnswer::MOST_PARTITIONS;
    seen.silent.as_secs() < LARGEST && seen.partitions.len() <= most && seen.leaders.len() <= most
}

fn plausible(figures: impl IntoIterator<Item = u64>, what: &'static str) -> Result<(), ProtocolError> {
    if figures.into_iter().all(|figure| figure < LARGEST) { Ok(()) } else { Err(ProtocolError::Implausible(what)) }
}

fn check_position(position: &Position) -> Result<(), ProtocolError> {
    plausible([position.records], "a number of records")?;
    check_place(position.place)
}

/// A place is stored as a signed number.
fn check_place(place: u64) -> Result<(), ProtocolError> {
    if place <= i64::MAX as u64 { Ok(()) } else { Err(ProtocolError::Implausible("a place")) }
}

fn check_counts(counts: &Counts) -> Result<(), ProtocolError> {
    let Counts { read, acknowledged, filtered, dead_lettered, others, bytes_read, bytes_others, bytes_sent } = *counts;
    plausible([read, acknowledged, filtered, dead_lettered, others, bytes_read, bytes_others, bytes_sent], "counts")
}

fn check_work(work: &Work) -> Result<(), ProtocolError> {
    let Work { phases, flush, partitions, deliveries, quickest_us, answers, held_back, perhaps_doubled } = work;
    // 2^56 ns are two years.
    plausible(phases.0.map(|nanos| nanos >> 8), "a time")?;
    if partitions.len() > MOST_PARTITIONS || !flush.is_plausible() {
        return Err(ProtocolError::Implausible("figures of a flush or of partitions"));
    }
    plausible([*perhaps_doubled], "records that may be there twice")?;
    plausible(*quickest_us, "a round trip")?;
    for AnswerTimes { count, total_us, longest_us } in [*answers, *held_back] {
        plausible([count, total_us, longest_us], "times of answers")?;
    }
    plausible(partitions.iter().copied(), "records of a partition")?;
    plausible(deliveries.iter().flat_map(|(first, last)| [*first, *last]), "a time of delivery")
}

#[cfg(test)]
#[path = "protocol/tests.rs"]
mod tests;
