//! The supervisor's end of the control socket, served by its own poll loop: no thread, no wait.
//!
//! Responsible for how many connections there are and who may make one. So that no client can stall the run or fill its
//! memory: at most 16 connections at once and 320 a second (more wait in the kernel's queue, which is short), at most 8
//! of them watchers, at most 10 wishes a second after the first 20 (more wait in their connections), and what one may
//! cost is [`Session`]'s. Not responsible for what is answered: that is a closure.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use process::{Interest, LocalListener, LocalStream, own_user, poll};

use super::session::Session;
use super::wire::{Answer, Request, encode};
use super::{SOCKET, Steered, may_steer};
use migration::printable::printable_path;

use crate::watch::Snapshot;

/// Connections at once.
const MOST_CONNECTIONS: usize = 16;
/// When all of them are taken, who has not asked within this time leaves.
const CROWD_PATIENCE: Duration = Duration::from_millis(250);
/// Watchers among them.
const MOST_WATCHERS: usize = 8;
/// Connections that the kernel keeps for us until one of ours ends.
const BACKLOG: i32 = 32;
/// Between two views for the watchers.
const SHOW_EVERY: Duration = Duration::from_millis(250);
/// How long no connection is accepted after an error of accept(2) (no descriptor is left).
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// The most connections that are accepted within [`WINDOW`], so that a crowd that comes and goes can't keep the loop
/// busy either.
const MOST_A_WINDOW: u32 = 16;
const WINDOW: Duration = Duration::from_millis(50);
/// The most wishes that are taken at once, and a second after that: each is a line of history on disk. The others wait.
const MOST_WISHES: f64 = 20.0;
const WISHES_A_SECOND: f64 = 10.0;

/// Where something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketPlace {
    /// A client wants to connect.
    Listener,
    /// A connection has something to read or to write.
    Connection(u64),
}

/// The control socket of a run, if it could be opened: a run that can't be steered sends all the same.
#[derive(Debug)]
pub(crate) struct ControlServer(Option<ControlSocket>);

impl ControlServer {
    /// Opens the socket in the job's folder, whose lock has to be held. With a warning if it can't be.
    pub(crate) fn open(folder: &Path) -> (Self, Option<String>) {
        let socket = ControlSocket::open(folder);
        let warning = socket.as_ref().err().map(|error| {
            let path = printable_path(&folder.join(SOCKET));
            format!(
                "this run can't be steered from outside but by signals: {path} can't be opened: {error}; a state directory on a \
                 local disk can have one"
            )
        });
        (ControlServer(socket.ok()), warning)
    }

    /// What to wait for.
    pub(crate) fn entries(&self, now: Duration) -> impl Iterator<Item = (SocketPlace, BorrowedFd<'_>, Interest)> {
        self.0.iter().flat_map(move |socket| socket.entries(now))
    }

    /// Serves what is ready.
    pub(crate) fn serve(&mut self, place: SocketPlace, run: &mut dyn Steered) {
        if let Some(socket) = &mut self.0 {
            socket.serve(place, run.now(), &mut |request| run.obey(request));
        }
    }

    /// Takes wishes that had to wait, if it is time.
    pub(crate) fn grant(&mut self, run: &mut dyn Steered) {
        if let Some(socket) = &mut self.0 {
            socket.grant_waiting(run.now(), &mut |request| run.obey(request));
        }
    }

    /// Shows watchers how the run stands, if it is time.
    pub(crate) fn show(&mut self, run: &dyn Steered, at_once: bool) {
        if let Some(socket) = &mut self.0 {
            socket.tick(run.now(), at_once, || run.snapshot().without_details());
        }
    }

    /// Serves whatever is ready now.
    pub(crate) fn look(&mut self, run: &mut dyn Steered) {
        let entries: Vec<_> = self.entries(run.now()).collect();
        // Nothing is ready either when the system can't tell; the next look may.
        for found in poll(&entries, Some(Duration::ZERO)).unwrap_or_default() {
            self.serve(found.token, run);
        }
        self.grant(run);
        self.show(run, false);
    }
}

/// The socket and its connections.
#[derive(Debug)]
struct ControlSocket {
    listener: LocalListener,
    connections: Vec<Connection>,
    next_id: u64,
    shown: Option<Duration>,
    closed_until: Duration,
    /// When the present window began, and how many were let in since.
    window: (Duration, u32),
    /// How many wishes may be taken at once, and since when.
    wishes: (Duration, f64),
}

#[derive(Debug)]
struct Connection {
    id: u64,
    stream: LocalStream,
    session: Session,
    /// A wish that has to wait.
    wish: Option<Request>,
}

impl ControlSocket {
    /// Opens the socket in the job's folder, in place of one that a killed run left. The job's lock has to be held.
    fn open(folder: &Path) -> io::Result<Self> {
        let listener = LocalListener::bind(folder, SOCKET, BACKLOG)?;
        Ok(ControlSocket {
            listener,
            connections: Vec::new(),
            next_id: 0,
            shown: None,
            closed_until: Duration::ZERO,
            window: (Duration::ZERO, 0),
            wishes: (Duration::ZERO, MOST_WISHES),
        })
    }

    /// What to wait for.
    fn entries(&self, now: Duration) -> impl Iterator<Item = (SocketPlace, BorrowedFd<'_>, Interest)> {
        let open = self.connections.len() < MOST_CONNECTIONS && now >= self.closed_until;
        let listener = open.then(|| (SocketPlace::Listener, self.listener.as_fd(), Interest::Read));
        // One that has gone while its wish waits would be ready all the time.
        let connections = self
            .connections
            .iter()
            .filter(|c| c.wish.is_none())
            .map(|c| (SocketPlace::Connection(c.id), c.stream.as_fd(), c.session.interest()));
        listener.into_iter().chain(connections)
    }

    /// Serves what is ready; `obey` gives the answer to a request. Never waits.
    fn serve(&mut self, place: SocketPlace, now: Duration, obey: &mut dyn FnMut(Request) -> Answer) {
        match place {
            SocketPlace::Listener => self.let_in(now),
            SocketPlace::Connection(id) => {
                let watchers = self.connections.iter().filter(|c| c.session.is_watching()).count();
                if let Some(connection) = self.connections.iter_mut().find(|c| c.id == id) {
                    connection.serve(now, watchers < MOST_WATCHERS, obey);
                }
                self.grant(now, obey);
            }
        }
        self.leave(now);
    }

    /// Leaves who ended or took too long; of a full house also who has been silent for a moment, so that the next one
    /// is heard.
    fn leave(&mut self, now: Duration) {
        let full = self.connections.len() >= MOST_CONNECTIONS;
        let silent = |c: &Connection| c.wish.is_none() && c.session.is_silent_since(now.saturating_sub(CROWD_PATIENCE));
        self.connections.retain(|c| !(c.session.is_over(now) || full && silent(c)));
    }

    /// Takes wishes that wait, the oldest connection's first, as many as may be taken now.
    fn grant(&mut self, now: Duration, obey: &mut dyn FnMut(Request) -> Answer) {
        let (since, tokens) = self.wishes;
        let more = now.saturating_sub(since).as_secs_f64() * WISHES_A_SECOND;
        self.wishes = (now, (tokens + more).min(MOST_WISHES));
        for Connection { stream, session, wish, .. } in &mut self.connections {
            if self.wishes.1 < 1.0 {
                return;
            }
            if let Some(wish) = wish.take() {
                self.wishes.1 -= 1.0;
                session.answer(&obey(wish), stream, now);
            }
        }
    }

    fn let_in(&mut self, now: Duration) {
        if now.saturating_sub(self.window.0) >= WINDOW {
            self.window = (now, 0);
        }
        while self.connections.len() < MOST_CONNECTIONS {
            if self.window.1 >= MOST_A_WINDOW {
                self.closed_until = self.window.0 + WINDOW;
                return;
            }
            match self.listener.accept() {
                Ok(None) => return,
                Ok(Some(stream)) => {
                    self.window.1 += 1;
                    if stream.peer_user().is_ok_and(|user| may_steer(user, own_user())) {
                        let session = Session::new(now);
                        self.connections.push(Connection { id: self.next_id, stream, session, wish: None });
                        self.next_id += 1;
                    }
                }
                Err(_) => {
                    self.closed_until = now + ACCEPT_PAUSE;
                    return;
                }
            }
        }
    }

    /// Time passed: wishes that waited are taken.
    fn grant_waiting(&mut self, now: Duration, obey: &mut dyn FnMut(Request) -> Answer) {
        if self.connections.iter().any(|c| c.wish.is_some()) {
            self.grant(now, obey);
            self.leave(now);
        }
    }

    /// Time passed: leaves who took too long, and shows the watchers how the run stands.
    fn tick(&mut self, now: Duration, at_once: bool, snapshot: impl FnOnce() -> Snapshot) {
        self.leave(now);
        let due = at_once || self.shown.is_none_or(|last| now.saturating_sub(last) >= SHOW_EVERY);
        if !due || !self.connections.iter().any(|c| c.session.is_watching()) {
            return;
        }
        self.shown = Some(now);
        let payload = encode(&Answer::State(Box::new(snapshot())));
        for connection in &mut self.connections {
            connection.session.show(&payload, &connection.stream, now);
        }
    }
}

impl Connection {
    fn serve(&mut self, now: Duration, may_watch: bool, obey: &mut dyn FnMut(Request) -> Answer) {
        let Connection { stream, session, wish, .. } = self;
        session.flush(stream);
        match session.read(stream, now) {
            None => {}
            Some(Request::Watch) if may_watch => {
                session.watch();
                session.show(&encode(&obey(Request::Watch)), stream, now);
            }
            Some(Request::Watch) => {
                let many = format!("{MOST_WATCHERS} others watch this run already, which is as many as may");
                session.answer(&Answer::Refused(many), stream, now);
            }
            Some(request @ Request::Steer(_)) => {
                session.wait();
                *wish = Some(request);
            }
            Some(request @ Request::State) => session.answer(&obey(request), stream, now),
        }
    }
}

#[cfg(test)]
mod tests {

    use migration::steer::Steer;

    use super::*;
    use crate::control::{ControlClient, ControlError};

    /// Serves whatever is ready, at a time that the test chooses; how many requests were obeyed.
    fn turn(socket: &mut ControlSocket, now: Duration) -> usize {
        let entries: Vec<_> = socket.entries(now).collect();
        let ready = poll(&entries, Some(Duration::from_millis(1))).unwrap();
        let mut obeyed = 0;
        for found in ready {
            socket.serve(found.token, now, &mut |request| {
                obeyed += 1;
                match request {
                    Request::Steer(_) => Answer::Refused("as the test wants".to_owned()),
                    Request::State | Request::Watch => Answer::State(Box::default()),
                }
            });
        }
        socket.tick(now, false, Snapshot::default);
        obeyed
    }

    const NOW: Duration = Duration::from_secs(1);
    const SOON: Duration = Duration::from_millis(500);

    #[test]
    fn more_connections_than_16_wait_outside_until_the_silent_ones_are_left() {
        let folder = tempfile::tempdir().unwrap();
        let mut socket = ControlSocket::open(folder.path()).unwrap();
        let silent: Vec<_> = (0..MOST_CONNECTIONS).map(|_| ControlClient::connect(folder.path()).unwrap()).collect();
        turn(&mut socket, NOW);
        assert_eq!(socket.connections.len(), MOST_CONNECTIONS);
        let mut late = ControlClient::connect(folder.path()).unwrap();
        late.send(&Request::State).unwrap();
        assert_eq!(turn(&mut socket, NOW), 0);
        assert!(!socket.entries(NOW).any(|(place, ..)| place == SocketPlace::Listener), "a full house does not spin");
        assert_eq!(socket.connections.len(), MOST_CONNECTIONS);
        let later = NOW + CROWD_PATIENCE;
        turn(&mut socket, later);
        assert!(socket.connections.is_empty());
        assert_eq!((turn(&mut socket, later), turn(&mut socket, later)), (0, 1));
        assert!(matches!(late.receive(SOON), Ok(Answer::State(_))));
        drop(silent);
    }

    #[test]
    fn a_wish_is_answered_and_the_connection_closed() {
        let folder = tempfile::tempdir().unwrap();
        let mut socket = ControlSocket::open(folder.path()).unwrap();
        let mut client = ControlClient::connect(folder.path()).unwrap();
        client.send(&Request::Steer(Steer::Pause)).unwrap();
        turn(&mut socket, NOW);
        assert_eq!(turn(&mut socket, NOW), 1);
        assert_eq!(client.receive(SOON).unwrap(), Answer::Refused("as the test wants".to_owned()));
        assert!(socket.connections.is_empty());
        assert!(matches!(client.receive(SOON), Err(ControlError::Closed)));
    }

    #[test]
    fn a_flood_of_wishes_is_taken_ten_a_second_and_each_is_answered() {
        let folder = tempfile::tempdir().unwrap();
        let mut socket = ControlSocket::open(folder.path()).unwrap();
        let (mut clients, mut taken) = (Vec::new(), 0);
        for round in 0..3 {
            for _ in 0..10 {
                let mut client = ControlClient::connect(folder.path()).unwrap();
                client.send(&Request::Steer(Steer::Pause)).unwrap();
                clients.push(client);
            }
            taken += turn(&mut socket, NOW + WINDOW * round) + turn(&mut socket, NOW + WINDOW * round);
        }
        assert!((20..=22).contains(&taken), "{taken} at once");
        let (mut now, mut later) = (NOW + WINDOW * 3, 0);
        while taken + later < 30 {
            now += Duration::from_millis(100);
            assert!(now < NOW + 5 * Duration::from_secs(1), "{taken} and {later} were taken");
            let before = later;
            later += turn(&mut socket, now);
            socket.grant_waiting(now, &mut |_| {
                later += 1;
                Answer::Refused("as the test wants".to_owned())
            });
            assert!(later <= before + 2, "{} in a tenth of a second", later - before);
        }
        for client in &mut clients {
            assert!(matches!(client.receive(SOON), Ok(Answer::Refused(_))));
        }
        assert!(socket.connections.is_empty());
    }

    #[test]
    fn watchers_are_few_and_leave_room_for_wishes() {
        let folder = tempfile::tempdir().unwrap();
        let mut socket = ControlSocket::open(folder.path()).unwrap();
        let mut watchers = Vec::new();
        for _ in 0..MOST_WATCHERS {
            let mut client = ControlClient::connect(folder.path()).unwrap();
            client.send(&Request::Watch).unwrap();
            turn(&mut socket, NOW);
            turn(&mut socket, NOW);
            watchers.push(client);
        }
        let mut one_more = ControlClient::connect(folder.path()).unwrap();
        one_more.send(&Request::Watch).unwrap();
        turn(&mut socket, NOW);
        turn(&mut socket, NOW);
        assert!(matches!(one_more.receive(SOON), Ok(Answer::Refused(_))));
        socket.tick(NOW + SHOW_EVERY, false, Snapshot::default);
        for watcher in &mut watchers {
            for _ in 0..2 {
                assert!(matches!(watcher.receive(SOON), Ok(Answer::State(_))));
            }
        }
        drop(watchers);
        turn(&mut socket, NOW);
        assert!(socket.connections.is_empty(), "who has gone is noticed at once");
        drop(socket);
        assert!(matches!(ControlClient::connect(folder.path()), Err(ControlError::NoSocket)));
    }
}
