//! A TCP proxy that puts a network between a client and a broker on loopback: what the broker answers arrives later.
//!
//! Each piece of an answer waits for its own time in a queue, so that the delay is that of a long cable: it does not
//! limit how much goes through. All of a round trip's time is put on the way back; a client that waits for answers
//! can't tell the difference.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

/// Pieces of one connection's answers that may be on their way at once.
const ON_THE_WAY: usize = 1024;

/// A running proxy; dropping it cuts its connections.
pub struct Proxy {
    shared: Arc<Shared>,
    port: u16,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    target: OnceLock<SocketAddr>,
    round_trip: Duration,
    ended: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Listens on a free port of loopback. Connections before [`Proxy::connect_to`] are refused.
    pub fn listen(round_trip: Duration) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        let port = listener.local_addr().expect("a listener has an address").port();
        let shared =
            Arc::new(Shared { target: OnceLock::new(), round_trip, ended: AtomicBool::new(false), streams: Mutex::default() });
        let accepting = spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Proxy { shared, port, accepting: Some(accepting) }
    }

    /// Says where connections go; once.
    pub fn connect_to(&self, target: SocketAddr) {
        self.shared.target.set(target).expect("a proxy has one target");
    }

    /// Cuts every connection that there is; new ones pass.
    pub fn cut(&self) {
        for stream in self.shared.streams.lock().expect("no holder panics").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)); // wakes the thread that accepts
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        for stream in self.shared.streams.lock().expect("no holder panics").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn accept(listener: &TcpListener, shared: &Shared) {
    for client in listener.incoming() {
        if shared.ended.load(Ordering::SeqCst) {
            return;
        }
        // A client that has gone again, or a broker that does not listen: the client sees its connection closed.
        if let Ok(client) = client {
            let _ = join(client, shared);
        }
    }
}

/// Connects a client with the target.
fn join(client: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let Some(target) = shared.target.get() else { return Ok(()) };
    let broker = TcpStream::connect(target)?;
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let mut streams = shared.streams.lock().expect("no holder panics");
    streams.retain(|stream| stream.peer_addr().is_ok());
    streams.push(client.try_clone()?);
    streams.push(broker.try_clone()?);
    let (from_client, to_broker) = (client.try_clone()?, broker.try_clone()?);
    let round_trip = shared.round_trip;
    spawn(move || pass_on(from_client, to_broker));
    spawn(move || {
        // An error is the end of either side, and closes the other one.
        let _ = hold_back(broker, client.try_clone().expect("a socket can be cloned"), round_trip);
        let _ = client.shutdown(Shutdown::Both);
    });
    Ok(())
}

/// What the client says arrives at once.
fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write); // answers may still be on their way
}

/// What the broker says arrives later, each piece at its own time.
fn hold_back(mut from: TcpStream, mut to: TcpStream, delay: Duration) -> std::io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    let mut on_the_way: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let mut more = true;
    while more || !on_the_way.is_empty() {
        let due = on_the_way.front().map(|(time, _)| time.saturating_duration_since(Instant::now()));
        if more && on_the_way.len() < ON_THE_WAY {
            if is_readable(&from, due)? {
                let count = from.read(&mut buffer)?;
                more = count > 0;
                if more {
                    on_the_way.push_back((Instant::now() + delay, buffer[..count].to_vec()));
                }
            }
        } else {
            thread::sleep(due.unwrap_or_default());
        }
        while on_the_way.front().is_some_and(|(time, _)| *time <= Instant::now()) {
            let (_, piece) = on_the_way.pop_front().expect("it was just seen");
            to.write_all(&piece)?;
        }
    }
    Ok(())
}

/// Waits until there is something to read, or for a time.
fn is_readable(stream: &TcpStream, time: Option<Duration>) -> std::io::Result<bool> {
    let mut wanted = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
    Ok(ppoll(&mut wanted, time.map(TimeSpec::from_duration), None)? > 0)
}

#[expect(clippy::disallowed_methods, reason = "this is the tests' process; the supervisor is another one")]
fn spawn(work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    thread::spawn(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(20);

    /// A connection to something that sends back whatever it gets.
    fn echo() -> (Proxy, TcpStream) {
        let echo = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let proxy = Proxy::listen(ROUND_TRIP);
        proxy.connect_to(echo.local_addr().expect("an address"));
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).expect("the proxy listens");
        let (mut from, _) = echo.accept().expect("the proxy connects");
        spawn(move || {
            let mut to = from.try_clone().expect("a socket can be cloned");
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
        (proxy, client)
    }

    #[test]
    fn answers_take_a_round_trip_and_all_of_a_stream_only_one() {
        let (_proxy, mut client) = echo();
        let start = Instant::now();
        for _ in 0..10 {
            client.write_all(b"?").expect("the proxy reads");
            client.read_exact(&mut [0]).expect("an answer");
        }
        assert!(start.elapsed() >= ROUND_TRIP * 10, "{:?}", start.elapsed());
        // 16 MiB are hundreds of pieces: if each waited for the one before it, that would take several seconds.
        let start = Instant::now();
        let mut sending = client.try_clone().expect("a socket can be cloned");
        let sent = spawn(move || sending.write_all(&vec![7; 16 << 20]).expect("the proxy reads"));
        let mut back = vec![0; 16 << 20];
        client.read_exact(&mut back).expect("all comes back");
        sent.join().expect("all was sent");
        assert!(back.iter().all(|byte| *byte == 7));
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }

    #[test]
    fn the_end_of_either_side_is_passed_on() {
        let (proxy, mut client) = echo();
        drop(proxy);
        assert_eq!(client.read(&mut [0]).unwrap_or(0), 0, "dropping the proxy cuts");
        let (_proxy, mut client) = echo();
        client.write_all(b"last").expect("the proxy reads");
        client.shutdown(Shutdown::Write).expect("connected");
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).expect("the connection ends cleanly");
        assert_eq!(rest, b"last");
    }
}
