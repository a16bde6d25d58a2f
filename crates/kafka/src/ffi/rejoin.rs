//! When a client that may have lost all its brokers is told of them again.
//!
//! The client forgets each broker that an answer to its question for metadata does not name. One that is being stopped
//! names none. Then the client begins again with the addresses that it was made with; but where that answer is dealt
//! with last, this is called off and never comes back (librdkafka 2.12.1: `rd_kafka_rebootstrap_tmr_stop` behind
//! `rd_kafka_rebootstrap`). Such a client has no broker, asks none and says nothing more: of 24 at one clean stop of a
//! broker that was so for five. Being told of brokers cures it. A client that knows them has one more for a while,
//! which its next metadata take away, and keeps the text: so it is told a few times only.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// So long after it was heard that all brokers are down the client is told for the first time. While it knows brokers
/// it says so again each second.
const FIRST: Duration = Duration::from_secs(2);
/// How often it is told, each time after twice the time of before.
const TIMES: u32 = 4;

/// When the client is to be told next, and how often it was since.
#[derive(Debug, Default)]
pub(super) struct Rejoin(Cell<Option<(Instant, u32)>>);

impl Rejoin {
    /// All brokers that the client knows are down.
    pub(super) fn all_down(&self, now: Instant) {
        self.0.set(Some((now + FIRST, 0)));
    }

    /// A broker answered.
    pub(super) fn answered(&self) {
        self.0.set(None);
    }

    /// Whether the client is to be told now.
    #[inline]
    pub(super) fn is_due(&self, now: impl FnOnce() -> Instant) -> bool {
        let Some((at, times)) = self.0.get() else { return false };
        let now = now();
        if now < at {
            return false;
        }
        self.0.set((times + 1 < TIMES).then(|| (now + FIRST * 2u32.pow(times + 1), times + 1)));
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};

    use super::super::{ClientKind, Conf, Topic};
    use super::*;

    #[test]
    fn a_client_is_told_after_a_while_and_not_for_ever() {
        let (rejoin, start) = (Rejoin::default(), Instant::now());
        let due = |seconds| rejoin.is_due(|| start + Duration::from_secs(seconds));
        assert!(!due(100), "nothing was down");
        rejoin.all_down(start);
        assert!(!due(1));
        rejoin.all_down(start + Duration::from_secs(1));
        assert!(!due(2), "it still knows brokers");
        let told: Vec<u64> = (3..100).filter(|second| due(*second)).collect();
        assert_eq!(told, [3, 7, 15, 31]);
        rejoin.all_down(start);
        rejoin.answered();
        assert!(!due(100));
    }

    /// A broker that knows no request but those for versions and metadata, and names itself or none.
    #[derive(Default)]
    struct Forgetful {
        port: u16,
        names_none: AtomicBool,
        /// How many answers each client had that named it, and that named none.
        answers: Mutex<HashMap<String, [u32; 2]>>,
    }

    impl Forgetful {
        #[expect(clippy::disallowed_methods, reason = "a broker beside the test")]
        fn start() -> Arc<Forgetful> {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let broker = Arc::new(Forgetful { port: listener.local_addr().unwrap().port(), ..Forgetful::default() });
            let own = Arc::clone(&broker);
            std::thread::spawn(move || {
                for connection in listener.incoming() {
                    let own = Arc::clone(&own);
                    std::thread::spawn(move || own.answer(connection.unwrap()));
                }
            });
            broker
        }

        /// Answers until the client goes.
        fn answer(&self, mut connection: TcpStream) -> Option<()> {
            loop {
                let mut length = [0; 4];
                connection.read_exact(&mut length).ok()?;
                let mut request = vec![0; u32::from_be_bytes(length) as usize];
                connection.read_exact(&mut request).ok()?;
                let client = 10 + usize::from(u16::from_be_bytes([request[8], request[9]]));
                let name = String::from_utf8(request[10..client].to_vec()).unwrap();
                let answer = match i16::from_be_bytes([request[0], request[1]]) {
                    18 => VERSIONS.to_vec(),
                    3 => self.metadata(name),
                    other => panic!("request {other}"),
                };
                let length = (4 + answer.len() as u32).to_be_bytes();
                connection.write_all(&[&length[..], &request[4..8], &answer[..]].concat()).ok()?;
            }
        }

        /// Version 1: brokers, the controller, one topic of many partitions, whose leader this is.
        fn metadata(&self, client: String) -> Vec<u8> {
            let none = self.names_none.load(Ordering::SeqCst);
            self.answers.lock().unwrap().entry(client).or_default()[usize::from(none)] += 1;
            let mut answer = u32::from(!none).to_be_bytes().to_vec();
            if !none {
                let host = b"127.0.0.1";
                answer.extend(1u32.to_be_bytes());
                answer.extend((host.len() as u16).to_be_bytes());
                answer.extend(host);
                answer.extend(u32::from(self.port).to_be_bytes());
                answer.extend((-1i16).to_be_bytes());
            }
            answer.extend(1u32.to_be_bytes());
            answer.extend(1u32.to_be_bytes());
            answer.extend([0, 0, 0, 1, b't', 0]);
            answer.extend(PARTITIONS.to_be_bytes());
            for partition in 0..PARTITIONS {
                let (code, leader) = if none { (5, -1) } else { (0i16, 1i32) };
                answer.extend(code.to_be_bytes());
                answer.extend(partition.to_be_bytes());
                answer.extend(leader.to_be_bytes());
                // Replicas, all of them in sync.
                answer.extend([0, 0, 0, 1, 0, 0, 0, 1].repeat(2));
            }
            answer
        }

        fn take_answers(&self) -> HashMap<String, [u32; 2]> {
            std::mem::take(&mut *self.answers.lock().unwrap())
        }
    }

    /// The more there are, the longer a client deals with an answer.
    const PARTITIONS: u32 = 500;

    /// Version 3: no error, metadata in version 1 and versions in 0 to 3, no throttle.
    const VERSIONS: &[u8] = &[0, 0, 3, 0, 3, 0, 1, 0, 1, 0, 0, 18, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0];

    fn client(broker: &Forgetful, number: usize) -> Topic {
        let mut conf = Conf::new();
        for (name, value) in [
            ("bootstrap.servers", format!("127.0.0.1:{}", broker.port)),
            ("client.id", number.to_string()),
            ("topic.metadata.refresh.interval.ms", "50".into()),
            ("reconnect.backoff.ms", "20".into()),
            ("reconnect.backoff.max.ms", "100".into()),
        ] {
            conf.set(name, &value).unwrap();
        }
        Topic::new(&conf.into_client(ClientKind::Producer).unwrap(), "t").unwrap()
    }

    #[test]
    fn no_client_is_lost_when_brokers_name_none() {
        const CLIENTS: usize = 12;
        let broker = Forgetful::start();
        let topics: Vec<_> = (0..CLIENTS).map(|number| client(&broker, number)).collect();
        let serve_until = |what: &str, kind: usize| {
            broker.take_answers();
            let (start, mut seen) = (Instant::now(), HashMap::new());
            while seen.len() < CLIENTS {
                assert!(start.elapsed() < Duration::from_secs(30), "{what}: only {seen:?}");
                for topic in &topics {
                    topic.client().serve(Duration::from_millis(1));
                }
                seen.extend(broker.take_answers().into_iter().filter(|(_, answers)| answers[kind] > 0));
            }
        };
        serve_until("each knows the broker", 0);
        for _ in 0..3 {
            broker.names_none.store(true, Ordering::SeqCst);
            serve_until("each has heard of none", 1);
            broker.names_none.store(false, Ordering::SeqCst);
            serve_until("each knows the broker again", 0);
        }
    }
}
