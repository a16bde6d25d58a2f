//! A proxy in front of a broker that knows requests for the end of a transaction (EndTxn), and does to the next one
//! what it is told.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

const END_TXN: i16 = 26;

/// What becomes of the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The broker has it, and the client's connection breaks before the answer.
    AnswerLost,
    /// The client's connection breaks, and the broker has it only when it is let go.
    Late,
    /// The broker never has it, and nothing breaks.
    Silence,
}

#[derive(Default)]
struct Shared {
    next: Mutex<Option<Fate>>,
    held: Mutex<Vec<(TcpStream, Vec<u8>)>>,
    met: AtomicBool,
}

/// A running proxy.
pub struct Proxy(Arc<Shared>);

impl Proxy {
    /// Listens on `port` of loopback for a broker at `target`.
    pub fn start(port: u16, target: String) -> Proxy {
        let shared = Arc::new(Shared::default());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        let held = Arc::clone(&shared);
        spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(broker) = TcpStream::connect(&target) else { continue };
                let shared = Arc::clone(&held);
                spawn(move || pass(client, broker, &shared));
            }
        });
        Proxy(shared)
    }

    /// Says what becomes of the next request.
    pub fn next(&self, fate: Fate) {
        self.0.met.store(false, Ordering::SeqCst);
        *self.0.next.lock().unwrap() = Some(fate);
    }

    /// Whether there has been one since.
    pub fn met(&self) -> bool {
        self.0.met.load(Ordering::SeqCst)
    }

    /// Sends the broker what is late, and waits for its answers; returns their error codes.
    pub fn let_go(&self) -> Vec<i16> {
        let held: Vec<_> = self.0.held.lock().unwrap().drain(..).collect();
        held.into_iter()
            .map(|(mut broker, frame)| {
                broker.write_all(&frame).unwrap();
                broker.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                // Correlation id, (tags,) throttle time, error: the last two bytes but for tags.
                let answer = read_frame(&mut broker).unwrap();
                let body = &answer[4 + 4..];
                let at = if body.len().is_multiple_of(2) { 4 } else { 5 };
                i16::from_be_bytes([body[at], body[at + 1]])
            })
            .collect()
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the tests' process; the supervisor is another one")]
fn spawn(work: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    thread::spawn(work)
}

/// A frame with its length before it.
fn read_frame(from: &mut TcpStream) -> Option<Vec<u8>> {
    let mut frame = vec![0; 4];
    from.read_exact(&mut frame).ok()?;
    let length = u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize;
    frame.resize(4 + length, 0);
    from.read_exact(&mut frame[4..]).ok()?;
    Some(frame)
}

fn pass(mut client: TcpStream, mut broker: TcpStream, shared: &Arc<Shared>) {
    let (mut answers, mut back) = (broker.try_clone().unwrap(), client.try_clone().unwrap());
    let lost = Arc::new(AtomicBool::new(false));
    let is_lost = Arc::clone(&lost);
    // One connection's answers; when it is late, nothing is read of what is let go.
    let answering = spawn(move || {
        answers.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut buffer = vec![0; 1 << 16];
        loop {
            if is_lost.load(Ordering::SeqCst) {
                return;
            }
            match answers.read(&mut buffer) {
                Ok(0) => break,
                Ok(_) if is_lost.load(Ordering::SeqCst) => return,
                Ok(count) if back.write_all(&buffer[..count]).is_err() => break,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
                Err(_) => break,
            }
        }
        let _ = back.shutdown(Shutdown::Both);
    });
    while let Some(frame) = read_frame(&mut client) {
        let key = i16::from_be_bytes([frame[4], frame[5]]);
        let fate = if key == END_TXN { shared.next.lock().unwrap().take() } else { None };
        match fate {
            None => {
                if broker.write_all(&frame).is_err() {
                    break;
                }
            }
            Some(Fate::AnswerLost) => {
                lost.store(true, Ordering::SeqCst);
                broker.write_all(&frame).unwrap();
                thread::sleep(Duration::from_millis(200));
                shared.met.store(true, Ordering::SeqCst);
                break;
            }
            Some(Fate::Late) => {
                lost.store(true, Ordering::SeqCst);
                answering.join().unwrap();
                shared.held.lock().unwrap().push((broker, frame));
                let _ = client.shutdown(Shutdown::Both);
                shared.met.store(true, Ordering::SeqCst);
                return;
            }
            Some(Fate::Silence) => shared.met.store(true, Ordering::SeqCst),
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = broker.shutdown(Shutdown::Both);
}
