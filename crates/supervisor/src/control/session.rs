//! One connection to the supervisor's control socket: asks once, is answered once or watches, and is closed.
//!
//! Responsible for what a connection may cost: 4 KiB in, one answer out (a watcher: the newest), and a limit on the
//! time for each. Not responsible for which connections there are (the server).

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use process::{Filled, Flushed, FrameReader, Interest, LatestFrame};

use super::wire::{ANSWER, Answer, LARGEST_REQUEST, OTHER_VERSION, Request, VERSION, WireError, encode};

/// A request has to be there, and an answer to be taken, within this time.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// A watcher that does not take what it is shown for this time is left.
pub(super) const WATCHER_PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SessionStage {
    /// Its request has not come yet.
    Asking,
    /// Its answer is going out.
    Answering,
    /// It is shown how the run stands, again and again.
    Watching,
    /// To be closed.
    Over,
}

/// A connection's state, without its descriptor.
#[derive(Debug)]
pub(super) struct Session {
    stage: SessionStage,
    reader: FrameReader,
    out: LatestFrame,
    /// When it has to be further.
    deadline: Option<Duration>,
}

impl Session {
    /// A connection that was accepted at `now`.
    pub(super) fn new(now: Duration) -> Self {
        Session {
            stage: SessionStage::Asking,
            reader: FrameReader::with_limit(LARGEST_REQUEST),
            out: LatestFrame::new(),
            deadline: Some(now + PATIENCE),
        }
    }

    /// What it waits for.
    pub(super) fn interest(&self) -> Interest {
        match self.stage {
            SessionStage::Answering => Interest::Write,
            SessionStage::Watching if self.out.is_waiting() => Interest::ReadWrite,
            SessionStage::Asking | SessionStage::Watching | SessionStage::Over => Interest::Read,
        }
    }

    pub(super) fn is_watching(&self) -> bool {
        self.stage == SessionStage::Watching
    }

    /// Whether it is to be closed: it ended, or took too long.
    pub(super) fn is_over(&self, now: Duration) -> bool {
        self.stage == SessionStage::Over || self.deadline.is_some_and(|deadline| now >= deadline)
    }

    /// Whether it was there at `then` and has not asked since.
    pub(super) fn is_silent_since(&self, then: Duration) -> bool {
        self.stage == SessionStage::Asking && self.deadline.is_some_and(|deadline| deadline <= then + PATIENCE)
    }

    /// Reads once. Gives the request when it is there; answer it then.
    pub(super) fn read(&mut self, fd: &impl AsFd, now: Duration) -> Option<Request> {
        if self.stage == SessionStage::Answering {
            // Whatever it says now is not read; that it has gone is noticed when the answer is written.
            return None;
        }
        match (self.stage, self.reader.fill(fd)) {
            (_, Ok(Filled::WouldBlock)) => return None,
            (SessionStage::Asking, Ok(Filled::Bytes(_) | Filled::Full)) => {}
            // It has gone, or a watcher talks, who has nothing to say.
            _ => self.stage = SessionStage::Over,
        }
        match self.request() {
            Ok(request) => request,
            Err(WireError::Version(_)) => {
                self.send(OTHER_VERSION, &VERSION.to_le_bytes(), fd, now);
                None
            }
            Err(_) => {
                self.stage = SessionStage::Over;
                None
            }
        }
    }

    fn request(&mut self) -> Result<Option<Request>, WireError> {
        if self.stage != SessionStage::Asking {
            return Ok(None);
        }
        let Some((kind, payload)) = self.reader.next_frame()? else { return Ok(None) };
        super::read_request(kind, payload).map(Some)
    }

    /// Its request is there and is answered later.
    pub(super) fn wait(&mut self) {
        (self.stage, self.deadline) = (SessionStage::Answering, None);
    }

    /// Gives the one answer; the connection ends when it is out.
    pub(super) fn answer(&mut self, answer: &Answer, fd: &impl AsFd, now: Duration) {
        self.send(ANSWER, &encode(answer), fd, now);
    }

    fn send(&mut self, kind: u8, payload: &[u8], fd: &impl AsFd, now: Duration) {
        (self.stage, self.deadline) = (SessionStage::Answering, Some(now + PATIENCE));
        if self.out.put(kind, payload).is_err() {
            self.stage = SessionStage::Over;
        }
        self.flush(fd);
    }

    /// From now on it is shown what [`Session::show`] gets.
    pub(super) fn watch(&mut self) {
        (self.stage, self.deadline) = (SessionStage::Watching, None);
    }

    /// Shows a watcher how the run stands (an encoded answer); the newest replaces one that is not begun.
    pub(super) fn show(&mut self, payload: &[u8], fd: &impl AsFd, now: Duration) {
        if self.stage != SessionStage::Watching {
            return;
        }
        if self.out.put(ANSWER, payload).is_err() {
            self.stage = SessionStage::Over;
        }
        self.deadline.get_or_insert(now + WATCHER_PATIENCE);
        self.flush(fd);
    }

    /// Writes what is taken.
    pub(super) fn flush(&mut self, fd: &impl AsFd) {
        match self.out.flush(fd) {
            Ok(Flushed::WouldBlock) => {}
            Ok(Flushed::Done) if self.stage == SessionStage::Watching => self.deadline = None,
            Ok(Flushed::Done) if self.stage == SessionStage::Answering => self.stage = SessionStage::Over,
            Ok(Flushed::Done) => {}
            Err(error) => self.gone(&error),
        }
    }

    /// The client has gone: there is nothing to tell.
    fn gone(&mut self, _: &io::Error) {
        self.stage = SessionStage::Over;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use process::FrameWriter;

    use super::super::wire::{REQUEST, decode};
    use super::*;
    use crate::watch::Snapshot;

    const START: Duration = Duration::from_secs(100);

    fn pair() -> (UnixStream, UnixStream) {
        let (client, server) = UnixStream::pair().unwrap();
        server.set_nonblocking(true).unwrap();
        (client, server)
    }

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut frames = FrameWriter::new();
        frames.queue(kind, payload).unwrap();
        frames.flush(&writer).unwrap();
        drop(writer);
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn answers(client: &UnixStream) -> Vec<Answer> {
        client.set_nonblocking(true).unwrap();
        let (mut reader, mut answers) = (FrameReader::new(), Vec::new());
        while matches!(reader.fill(client), Ok(Filled::Bytes(_) | Filled::Full)) {
            while let Some((kind, payload)) = reader.next_frame().unwrap() {
                answers.push(decode(kind, payload, ANSWER).unwrap());
            }
        }
        answers
    }

    #[test]
    fn a_request_in_pieces_is_answered_once() {
        let (mut client, server) = pair();
        let mut session = Session::new(START);
        for byte in frame(REQUEST, &encode(&Request::State)) {
            assert_eq!(session.read(&server, START), None);
            client.write_all(&[byte]).unwrap();
        }
        assert_eq!(session.read(&server, START), Some(Request::State));
        let answer = Answer::Refused("no".to_owned());
        session.answer(&answer, &server, START);
        assert!(session.is_over(START), "the answer is out");
        assert_eq!(answers(&client), [answer]);
    }

    #[test]
    fn silence_and_half_a_frame_end_at_the_deadline() {
        let (mut client, server) = pair();
        let mut session = Session::new(START);
        client.write_all(&frame(REQUEST, &encode(&Request::State))[..7]).unwrap();
        assert_eq!(session.read(&server, START), None);
        assert!(!session.is_over(START + PATIENCE - Duration::from_millis(1)));
        assert!(session.is_over(START + PATIENCE));
    }

    #[test]
    fn garbage_floods_and_foreign_kinds_end_at_once() {
        let flood = vec![0xA5; 100_000];
        let too_long = frame(REQUEST, &vec![0; LARGEST_REQUEST + 1]);
        for bytes in [&flood[..], &too_long, &frame(ANSWER, &encode(&Request::State)), &frame(REQUEST, b"\x01\x00garbage")] {
            let (mut client, server) = pair();
            let mut session = Session::new(START);
            client.write_all(&bytes[..bytes.len().min(100_000)]).unwrap();
            assert_eq!(session.read(&server, START), None);
            assert!(session.is_over(START));
        }
    }

    #[test]
    fn another_version_is_answered_with_ours() {
        let (mut client, server) = pair();
        let mut session = Session::new(START);
        client.write_all(&frame(REQUEST, &[9, 0, 1, 2, 3])).unwrap();
        assert_eq!(session.read(&server, START), None);
        assert!(session.is_over(START));
        let mut bytes = Vec::new();
        drop(server);
        client.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, frame(OTHER_VERSION, &VERSION.to_le_bytes()));
    }

    #[test]
    fn a_client_that_vanished_is_over() {
        let (client, server) = pair();
        let mut session = Session::new(START);
        drop(client);
        assert_eq!(session.read(&server, START), None);
        assert!(session.is_over(START));
    }

    #[test]
    fn a_client_that_never_reads_its_answer_is_left() {
        let (_client, server) = pair();
        let mut session = Session::new(START);
        session.answer(&Answer::Refused("x".repeat(1_000_000)), &server, START);
        assert_eq!(session.interest(), Interest::Write);
        session.flush(&server);
        assert!(!session.is_over(START));
        assert!(session.is_over(START + PATIENCE));
    }

    #[test]
    fn a_watcher_sees_the_newest_and_is_left_when_it_stops_to_look() {
        let (client, server) = pair();
        let mut session = Session::new(START);
        session.watch();
        let state = |slots: u32| Answer::State(Box::new(Snapshot { slots, ..Snapshot::default() }));
        for n in 0..3 {
            session.show(&encode(&state(n)), &server, START);
            assert!(!session.is_over(START + Duration::from_secs(1_000)), "what is taken at once is no reason to leave");
        }
        assert_eq!(answers(&client), [state(0), state(1), state(2)]);
        let mut at = START;
        for n in 0..1_000_000 {
            at += Duration::from_millis(1);
            session.show(&encode(&state(n)), &server, at);
            if session.is_over(at) {
                assert!(at >= START + WATCHER_PATIENCE && at < START + WATCHER_PATIENCE * 3, "{at:?}");
                return;
            }
        }
        panic!("it was never left");
    }

    #[test]
    fn a_watcher_that_talks_or_goes_is_over() {
        for talk in [true, false] {
            let (mut client, server) = pair();
            let mut session = Session::new(START);
            session.watch();
            assert_eq!(session.read(&server, START), None);
            assert!(!session.is_over(START));
            if talk {
                client.write_all(b"hello").unwrap()
            } else {
                drop(client)
            }
            assert_eq!(session.read(&server, START), None);
            assert!(session.is_over(START));
        }
    }
}
