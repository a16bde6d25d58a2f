//! A look at a port: what does it speak?
//!
//! Responsible for: a few short connections of our own, without any credentials, and never more time than a few
//! seconds, whatever the other side does. Not responsible for: what follows for a job.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::wire::{self, PortAnswer};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_millis(1_500);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_millis(700);
/// How long all of it may take: a look-up of a name knows no time limit.
const ALL: Duration = Duration::from_secs(4);

/// A broker's words for "no SASL here" and for "not this mechanism".
const ILLEGAL_STATE: i16 = 34;

/// What a port speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// The name has no address.
    Unresolved,
    /// It can't be connected to; why.
    Closed(String),
    /// TLS.
    Tls,
    /// Kafka's protocol, without TLS.
    Kafka(Sasl),
    /// It is a web server.
    Web,
    /// It takes connections and says nothing.
    Silent,
    /// It is not known.
    Unknown,
}

/// Whether a port without TLS wants SASL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sasl {
    /// It does, with one of these.
    Wanted(Vec<String>),
    /// It does not.
    NotWanted,
    /// It did not tell.
    Unknown,
}

/// Looks at addresses (`host:port`), all at the same time. `mechanism`: that of the job, if it has one.
pub(crate) fn look(addresses: &[String], mechanism: &str) -> Vec<Port> {
    let deadline = Instant::now() + ALL;
    let asked: Vec<_> = addresses.iter().map(|address| look_aside(address.clone(), mechanism.to_owned())).collect();
    asked
        .into_iter()
        .map(|answer| {
            let left = deadline.saturating_duration_since(Instant::now());
            answer.and_then(|answer| answer.recv_timeout(left).ok()).unwrap_or(Port::Unknown)
        })
        .collect()
}

/// In a thread of its own: one that looks up a name can't be interrupted, and ends by itself.
fn look_aside(address: String, mechanism: String) -> Option<mpsc::Receiver<Port>> {
    let (tell, told) = mpsc::channel();
    let look = move || {
        // The other side may have given up.
        let _ = tell.send(look_at(&address, &mechanism));
    };
    std::thread::Builder::new().name("kafka look".into()).stack_size(256 << 10).spawn(look).ok()?;
    Some(told)
}

fn look_at(address: &str, mechanism: &str) -> Port {
    let mut stream = match connect(address) {
        Ok(stream) => stream,
        Err(port) => return port,
    };
    match ask(&mut stream, &wire::ask_versions()) {
        Some((PortAnswer::Tls, _)) => Port::Tls,
        Some((PortAnswer::Web, _)) => Port::Web,
        Some((PortAnswer::Kafka(_), _)) => Port::Kafka(sasl(&mut stream, mechanism)),
        Some((PortAnswer::Unknown, _)) => Port::Unknown,
        // Nothing, or the end: some servers of TLS say nothing to what is no TLS.
        Some((PortAnswer::More, _)) | None => match connect(address) {
            Ok(mut stream) => match ask(&mut stream, &wire::client_hello()) {
                Some((PortAnswer::Tls, _)) => Port::Tls,
                Some((PortAnswer::Web, _)) => Port::Web,
                Some((PortAnswer::More, true)) => Port::Silent,
                _ => Port::Unknown,
            },
            Err(port) => port,
        },
    }
}

/// The first of an address's connections that is made.
fn connect(address: &str) -> Result<TcpStream, Port> {
    let Ok(addresses) = address.to_socket_addrs() else { return Err(Port::Unresolved) };
    let mut last = Port::Unresolved;
    for one in addresses {
        match TcpStream::connect_timeout(&one, CONNECT) {
            Ok(stream) => {
                if stream.set_read_timeout(Some(ANSWER)).and(stream.set_write_timeout(Some(ANSWER))).is_ok() {
                    return Ok(stream);
                }
            }
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                last = Port::Closed(format!("no connection within {CONNECT:?}"));
            }
            Err(error) => last = Port::Closed(words(&error)),
        }
    }
    Err(last)
}

/// An error without its number.
fn words(error: &std::io::Error) -> String {
    let text = error.to_string().to_lowercase();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Asks, and reads until it is clear what came, within the time for an answer; `true`: the time is over. `None`: the
/// connection broke.
fn ask(stream: &mut TcpStream, question: &[u8]) -> Option<(PortAnswer, bool)> {
    read(stream, question).map(|(answer, over, _)| (answer, over))
}

fn read(stream: &mut TcpStream, question: &[u8]) -> Option<(PortAnswer, bool, Vec<u8>)> {
    const MOST: usize = 64 << 10;
    let deadline = Instant::now() + ANSWER;
    stream.write_all(question).ok()?;
    let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let count = match stream.read(&mut part) {
            Ok(0) => return (!bytes.is_empty()).then(|| (wire::answer(&bytes), false, bytes)),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Some((wire::answer(&bytes), true, bytes));
            }
            Err(_) => return None,
        };
        bytes.extend(&part[..count]);
        let answer = wire::answer(&bytes);
        if answer != PortAnswer::More || bytes.len() > MOST || Instant::now() >= deadline {
            return Some((answer, Instant::now() >= deadline, bytes));
        }
    }
}

/// On a connection that has been answered.
fn sasl(stream: &mut TcpStream, mechanism: &str) -> Sasl {
    let mechanism = if mechanism.is_empty() { "PLAIN" } else { mechanism };
    let Some((PortAnswer::Kafka(at), _, bytes)) = read(stream, &wire::ask_mechanisms(mechanism)) else { return Sasl::Unknown };
    match wire::mechanisms(bytes.get(at..).unwrap_or_default()) {
        Some((ILLEGAL_STATE, _)) => Sasl::NotWanted,
        Some((_, mechanisms)) if !mechanisms.is_empty() => Sasl::Wanted(mechanisms),
        _ => Sasl::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A port that answers each connection's first bytes with these, and ends the connection.
    fn port(answer: &'static [u8], connections: usize) -> (String, std::thread::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serve = move || {
            for _ in 0..connections {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 512]);
                let _ = stream.write_all(answer);
            }
        };
        (address, std::thread::Builder::new().spawn(serve).unwrap())
    }

    #[test]
    fn ports_are_known_by_what_they_answer() {
        for (answer, connections, expected) in [
            (&[0x15, 3, 3, 0, 2, 2, 80][..], 1, Port::Tls),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", 1, Port::Web),
            (b"SSH-2.0-OpenSSH_9.2\r\n", 1, Port::Unknown),
            (b"", 2, Port::Unknown),
        ] {
            let (address, serving) = port(answer, connections);
            assert_eq!(look(&[address], ""), [expected], "{answer:?}");
            serving.join().unwrap();
        }
    }

    #[test]
    fn what_is_not_there_is_told_at_once() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let start = Instant::now();
        let found = look(&[free, "127.0.0.1:not-a-port".into()], "PLAIN");
        assert_eq!(found, [Port::Closed("connection refused".into()), Port::Unresolved]);
        assert!(start.elapsed() < ALL, "{:?}", start.elapsed());
    }

    #[test]
    fn a_port_that_says_nothing_is_left_soon() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = silent.local_addr().unwrap().to_string();
        assert_eq!(look(&[address], ""), [Port::Silent]);
    }
}
