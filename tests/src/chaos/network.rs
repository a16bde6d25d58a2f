//! A network that fails: a TCP proxy before each broker that knows where Kafka's requests and answers begin and end.
//!
//! It delays answers, cuts connections, leaves them half open, lets nothing through in one direction or both, and holds
//! single requests back until their client has gone on without them. Which connections it does that to is told by the
//! name that clients give themselves in each request.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::random::Random;

/// The request that ends a transaction, by Kafka's number.
const END_TXN: i16 = 26;
/// Answers of one connection that may be on their way at once.
const ON_THE_WAY: usize = 1024;
/// Between two looks at whether something is let through again.
const LOOK: Duration = Duration::from_millis(2);
/// How long a broker may take to answer a request whose client has gone.
const ANSWER: Duration = Duration::from_secs(10);

/// A running network; dropping it cuts all connections.
pub struct Network {
    shared: Arc<Shared>,
    first_port: u16,
    accepting: Vec<JoinHandle<()>>,
}

/// Which direction nothing comes through in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// Neither requests nor answers.
    Both,
    /// Requests arrive, answers do not.
    Answers,
}

/// How requests that end transactions are held back.
#[derive(Clone, Debug)]
pub struct Hold {
    /// One in this number.
    pub one_in: u64,
    /// For how long, in milliseconds: from, to.
    pub ms: (u64, u64),
    /// How often, of 4 times, the client sees its connection closed when its request is held; else it waits.
    pub cut_of_4: u64,
    /// What it is drawn from.
    pub seed: u64,
}

/// A request that was held back.
#[derive(Clone, Debug)]
pub struct Held {
    /// The name of its client.
    pub client: String,
    /// Its number, from 0.
    pub number: usize,
    /// Whether the client saw its connection closed.
    pub cut: bool,
    /// Whether it has been let through.
    pub released: bool,
    /// Whether the client had gone when it was let through.
    pub late: bool,
    /// The error code of the broker's answer.
    pub answer: Option<i16>,
}

#[derive(Default)]
struct Shared {
    targets: OnceLock<Vec<SocketAddr>>,
    ended: AtomicBool,
    delay_us: AtomicU64,
    links: Mutex<Vec<Arc<Link>>>,
    /// Parts of clients' names, and what is blocked for them.
    blocked: Mutex<Vec<(String, Blocked)>>,
    holds: Mutex<Vec<(String, Hold, Random)>>,
    held: Mutex<Vec<Held>>,
}

/// A client's connection.
struct Link {
    client: TcpStream,
    broker: TcpStream,
    name: Mutex<String>,
    abandoned: AtomicBool,
    client_gone: AtomicBool,
    /// Of a request that was held: its answer's number, whether its header has tags, which one it was.
    awaited: Mutex<Option<(i32, bool, usize)>>,
}

impl Network {
    /// Listens on as many ports in a row as there are brokers. Connections before [`Network::connect_to`] are closed.
    pub fn listen(brokers: u16) -> Network {
        let (first_port, listeners) = ports_in_a_row(brokers);
        let shared = Arc::new(Shared::default());
        let accepting = listeners.into_iter().enumerate().map(|(number, listener)| {
            let shared = Arc::clone(&shared);
            spawn(move || accept(&listener, number, &shared))
        });
        let accepting = accepting.collect();
        Network { shared, first_port, accepting }
    }

    /// Says where the brokers are; once.
    pub fn connect_to(&self, targets: Vec<SocketAddr>) {
        self.shared.targets.set(targets).expect("a network has its brokers once");
    }

    /// The port of the first broker.
    pub fn first_port(&self) -> u16 {
        self.first_port
    }

    /// `host:port` of all brokers.
    pub fn bootstrap(&self) -> String {
        let ports = (0..self.accepting.len() as u16).map(|number| self.first_port + number);
        ports.map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
    }

    /// From now on answers come that much later.
    pub fn delay(&self, round_trip: Duration) {
        self.shared.delay_us.store(round_trip.as_micros() as u64, Ordering::SeqCst);
    }

    /// How many connections clients with such a part in their name have.
    pub fn links(&self, part: &str) -> usize {
        self.shared.links_of(part).len()
    }

    /// Cuts the connections of these clients; new ones pass. Returns how many that were.
    pub fn cut(&self, part: &str) -> usize {
        let links = self.shared.links_of(part);
        links.iter().for_each(|link| link.close());
        links.len()
    }

    /// From now on nothing comes through the connections that these clients have, and they are not told; new ones pass.
    /// Returns how many that were.
    pub fn abandon(&self, part: &str) -> usize {
        let links = self.shared.links_of(part);
        links.iter().for_each(|link| link.abandoned.store(true, Ordering::SeqCst));
        links.len()
    }

    /// Lets nothing through in a direction, on new connections neither, until [`Network::heal`].
    pub fn block(&self, part: &str, what: Blocked) {
        lock(&self.shared.blocked).push((part.to_owned(), what));
    }

    /// Holds requests that end transactions back, until [`Network::heal`].
    pub fn hold(&self, part: &str, hold: Hold) {
        let random = Random::new(hold.seed);
        lock(&self.shared.holds).push((part.to_owned(), hold, random));
    }

    /// Everything passes again; what waited arrives.
    pub fn heal(&self, part: &str) {
        self.shared.delay_us.store(0, Ordering::SeqCst);
        lock(&self.shared.blocked).retain(|(other, _)| other != part);
        lock(&self.shared.holds).retain(|(other, _, _)| other != part);
    }

    /// The requests of these clients that were held.
    pub fn held(&self, part: &str) -> Vec<Held> {
        lock(&self.shared.held).iter().filter(|held| held.client.contains(part)).cloned().collect()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        for number in 0..self.accepting.len() as u16 {
            let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.first_port + number)); // wakes who accepts
        }
        for accepting in self.accepting.drain(..) {
            let _ = accepting.join();
        }
        for link in lock(&self.shared.links).drain(..) {
            link.close();
        }
    }
}

impl Shared {
    fn links_of(&self, part: &str) -> Vec<Arc<Link>> {
        let links = lock(&self.links);
        links.iter().filter(|link| lock(&link.name).contains(part)).cloned().collect()
    }

    /// Waits while a direction is blocked for a link; false if the link is to be given up.
    fn wait_while_blocked(&self, link: &Link, answers: bool) -> bool {
        loop {
            if self.ended.load(Ordering::SeqCst) || link.abandoned.load(Ordering::SeqCst) {
                return false;
            }
            let name = lock(&link.name).clone();
            let blocks = |(part, what): &(String, Blocked)| name.contains(part.as_str()) && (answers || *what == Blocked::Both);
            if !lock(&self.blocked).iter().any(blocks) {
                return true;
            }
            thread::sleep(LOOK);
        }
    }

    /// Whether a request that ends a transaction is held: for how long, and whether its client's connection is cut.
    fn draw(&self, name: &str) -> Option<(Duration, bool)> {
        let mut holds = lock(&self.holds);
        let (_, hold, random) = holds.iter_mut().find(|(part, _, _)| name.contains(part.as_str()))?;
        let held = random.between(0, hold.one_in) == 0;
        let drawn = (Duration::from_millis(random.between(hold.ms.0, hold.ms.1)), random.between(0, 4) < hold.cut_of_4);
        held.then_some(drawn)
    }
}

impl Link {
    fn close(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.broker.shutdown(Shutdown::Both);
    }
}

fn accept(listener: &TcpListener, number: usize, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.ended.load(Ordering::SeqCst) {
            return;
        }
        // A client that has gone again, or a broker that does not listen: the client sees its connection closed.
        if let (Ok(client), Some(targets)) = (client, shared.targets.get()) {
            let _ = join(client, targets[number], shared);
        }
    }
}

/// Connects a client with its broker.
fn join(client: TcpStream, target: SocketAddr, shared: &Arc<Shared>) -> std::io::Result<()> {
    let broker = TcpStream::connect(target)?;
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let link = Arc::new(Link {
        client,
        broker,
        name: Mutex::default(),
        abandoned: AtomicBool::new(false),
        client_gone: AtomicBool::new(false),
        awaited: Mutex::new(None),
    });
    lock(&shared.links).push(Arc::clone(&link));
    let (queue, answers) = sync_channel(ON_THE_WAY);
    spawn({
        let (link, shared) = (Arc::clone(&link), Arc::clone(shared));
        move || {
            let _ = pass_requests(&link, &shared);
            link.close();
            lock(&shared.links).retain(|other| !Arc::ptr_eq(other, &link));
        }
    });
    spawn({
        let (link, shared) = (Arc::clone(&link), Arc::clone(shared));
        move || {
            let _ = take_answers(&link, &shared, &queue);
        }
    });
    let shared = Arc::clone(shared);
    spawn(move || {
        let _ = pass_answers(&link, &shared, &answers);
        link.client_gone.store(true, Ordering::SeqCst);
        let _ = link.client.shutdown(Shutdown::Both);
    });
    Ok(())
}

/// Passes a client's requests on, one by one.
fn pass_requests(link: &Link, shared: &Shared) -> std::io::Result<()> {
    while let Some(frame) = read_frame(&link.client)? {
        let request = Request::of(&frame);
        if let Some(request) = &request {
            *lock(&link.name) = request.client.clone();
            if request.kind == END_TXN
                && let Some((time, cut)) = shared.draw(&request.client)
            {
                hold_back(link, shared, request, &frame, time, cut)?;
                continue;
            }
        }
        if !shared.wait_while_blocked(link, false) {
            return swallow(&link.client); // half open: the client writes, and hears nothing
        }
        (&link.broker).write_all(&frame)?;
    }
    Ok(())
}

/// Lets a request through later; what comes behind it on this connection waits.
fn hold_back(link: &Link, shared: &Shared, request: &Request, frame: &[u8], time: Duration, cut: bool) -> std::io::Result<()> {
    let number = {
        let mut held = lock(&shared.held);
        let (client, number) = (request.client.clone(), held.len());
        held.push(Held { client, number, cut, released: false, late: false, answer: None });
        number
    };
    *lock(&link.awaited) = Some((request.number, request.version >= 3, number));
    if cut {
        link.client.shutdown(Shutdown::Both)?;
        link.client_gone.store(true, Ordering::SeqCst);
    }
    thread::sleep(time);
    let late = cut || link.client_gone.load(Ordering::SeqCst) || is_closed(&link.client);
    (&link.broker).write_all(frame)?;
    {
        let mut held = lock(&shared.held);
        held[number].released = true;
        held[number].late = late;
    }
    // The broker shall answer before its connection ends with the client's.
    let begin = Instant::now();
    while late && lock(&shared.held)[number].answer.is_none() && begin.elapsed() < ANSWER {
        thread::sleep(LOOK);
    }
    Ok(())
}

/// Takes a broker's answers, each with the time at which it is due at the client.
fn take_answers(link: &Link, shared: &Shared, queue: &SyncSender<(Instant, Vec<u8>)>) -> std::io::Result<()> {
    while let Some(frame) = read_frame(&link.broker)? {
        let mut awaited = lock(&link.awaited);
        if let Some((number, tagged, held)) = *awaited
            && frame.get(4..8) == Some(&number.to_be_bytes())
        {
            // The answer's number, perhaps tags (none: one byte), the throttle time, the error.
            let place = if tagged { 13 } else { 12 };
            let answer = frame.get(place..place + 2).map(|code| i16::from_be_bytes([code[0], code[1]]));
            lock(&shared.held)[held].answer = answer;
            *awaited = None;
        }
        drop(awaited);
        let due = Instant::now() + Duration::from_micros(shared.delay_us.load(Ordering::SeqCst));
        if queue.send((due, frame)).is_err() {
            return swallow(&link.broker);
        }
    }
    Ok(())
}

/// Passes a broker's answers on when they are due. A client that has gone does not end the broker's side: a request of
/// it may still be held.
fn pass_answers(link: &Link, shared: &Shared, answers: &Receiver<(Instant, Vec<u8>)>) -> std::io::Result<()> {
    for (due, frame) in answers {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if shared.wait_while_blocked(link, true) {
            (&link.client).write_all(&frame)?;
        } // else it is lost
    }
    Ok(())
}

/// A whole request or answer with its length; nothing at the end of a connection.
fn read_frame(mut from: &TcpStream) -> std::io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    if from.read(&mut length[..1])? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut length[1..])?;
    let mut frame = vec![0; 4 + u32::from_be_bytes(length) as usize];
    frame[..4].copy_from_slice(&length);
    from.read_exact(&mut frame[4..])?;
    Ok(Some(frame))
}

/// Reads what comes to its end, and does nothing with it.
fn swallow(mut from: &TcpStream) -> std::io::Result<()> {
    std::io::copy(&mut from, &mut std::io::sink()).map(|_| ())
}

/// Whether the other side has closed its connection.
fn is_closed(stream: &TcpStream) -> bool {
    if stream.set_nonblocking(true).is_err() {
        return true;
    }
    let closed = match stream.peek(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    };
    closed || stream.set_nonblocking(false).is_err()
}

/// What the header of a request says.
struct Request {
    kind: i16,
    version: i16,
    number: i32,
    client: String,
}

impl Request {
    fn of(frame: &[u8]) -> Option<Self> {
        let two = |place: usize| Some(i16::from_be_bytes(frame.get(place..place + 2)?.try_into().ok()?));
        let number = i32::from_be_bytes(frame.get(8..12)?.try_into().ok()?);
        let length = usize::try_from(two(12)?).unwrap_or(0);
        let client = String::from_utf8_lossy(frame.get(14..14 + length)?).into_owned();
        Some(Request { kind: two(4)?, version: two(6)?, number, client })
    }
}

/// Listeners on free ports in a row.
fn ports_in_a_row(count: u16) -> (u16, Vec<TcpListener>) {
    for _ in 0..1000 {
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        let port = first.local_addr().expect("a listener has an address").port();
        let others: Vec<TcpListener> =
            (1..count).filter_map(|number| TcpListener::bind((Ipv4Addr::LOCALHOST, port.checked_add(number)?)).ok()).collect();
        if others.len() + 1 == usize::from(count) {
            return (port, std::iter::once(first).chain(others).collect());
        }
    }
    panic!("no {count} free ports in a row");
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::disallowed_methods, reason = "this is the tests' process; the supervisor is another one")]
fn spawn(work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    thread::spawn(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &str = "shardlift/1 orders/3";

    fn request(kind: i16, number: i32) -> Vec<u8> {
        let mut body = [kind.to_be_bytes(), 3_i16.to_be_bytes()].concat();
        body.extend(number.to_be_bytes());
        body.extend((CLIENT.len() as i16).to_be_bytes());
        body.extend(CLIENT.as_bytes());
        [&(body.len() as u32).to_be_bytes()[..], &body].concat()
    }

    /// A network before something that answers each request with its number, a byte, no throttle and error 47, and says
    /// which it got.
    fn network() -> (Network, Receiver<i32>) {
        let broker = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let network = Network::listen(1);
        network.connect_to(vec![broker.local_addr().expect("an address")]);
        let (got, numbers) = sync_channel(100);
        spawn(move || {
            for stream in broker.incoming() {
                let (stream, got) = (stream.expect("the network connects"), got.clone());
                spawn(move || {
                    while let Ok(Some(frame)) = read_frame(&stream) {
                        let request = Request::of(&frame).expect("a request");
                        let _ = got.send(request.number);
                        let mut answer = 11_u32.to_be_bytes().to_vec();
                        answer.extend(request.number.to_be_bytes());
                        answer.extend([0, 0, 0, 0, 0, 0, 47]);
                        let _ = (&stream).write_all(&answer);
                    }
                });
            }
        });
        (network, numbers)
    }

    fn client(network: &Network) -> TcpStream {
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, network.first_port())).expect("the network listens");
        client.set_read_timeout(Some(Duration::from_millis(300))).expect("it can be set");
        client
    }

    fn ask(client: &TcpStream, kind: i16, number: i32) -> std::io::Result<Option<i32>> {
        (&*client).write_all(&request(kind, number))?;
        Ok(read_frame(client)?.map(|frame| i32::from_be_bytes(frame[4..8].try_into().expect("four bytes"))))
    }

    #[test]
    fn requests_and_answers_pass_and_answers_take_their_time() {
        let (network, _numbers) = network();
        let client = client(&network);
        assert_eq!(ask(&client, 0, 1).expect("an answer"), Some(1));
        network.delay(Duration::from_millis(50));
        let begin = Instant::now();
        assert_eq!(ask(&client, 0, 2).expect("an answer"), Some(2));
        assert!(begin.elapsed() >= Duration::from_millis(50));
        network.heal("orders");
        network.block("orders", Blocked::Answers);
        assert!(ask(&client, 0, 3).is_err(), "no answer comes");
        network.heal("orders");
        assert_eq!(read_frame(&client).expect("it comes now").map(|frame| frame[7]), Some(3));
        network.abandon("orders");
        assert!(ask(&client, 0, 4).is_err(), "half open");
        network.cut("another");
        let client = self::client(&network);
        assert_eq!(ask(&client, 0, 5).expect("a new connection passes"), Some(5));
        network.cut("orders");
        assert!(matches!(ask(&client, 0, 6), Ok(None) | Err(_)), "cut");
    }

    #[test]
    fn a_held_request_arrives_when_its_client_has_gone_on_without_it() {
        let (network, numbers) = network();
        network.hold("orders/", Hold { one_in: 1, ms: (200, 201), cut_of_4: 4, seed: 1 });
        let one = client(&network);
        assert_eq!(ask(&one, 0, 1).expect("another request is not held"), Some(1));
        assert!(matches!(ask(&one, END_TXN, 2), Ok(None) | Err(_)), "the client's connection is cut");
        let other = client(&network);
        assert_eq!(ask(&other, 0, 3).expect("its next one passes"), Some(3));
        assert_eq!(numbers.iter().take(3).collect::<Vec<_>>(), [1, 3, 2]);
        crate::waiting::wait_until("the answer is seen", Duration::from_secs(5), || {
            network.held("orders").iter().all(|held| held.late && held.answer == Some(47))
        });
        assert_eq!((network.held("orders").len(), network.held("another").len()), (1, 0));
    }
}
