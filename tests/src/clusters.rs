//! The clusters that all whole-program tests share, each started when the first test asks for it.
//!
//! Tests run at the same time, so that what they share must not be disturbed: a topic has a name of its own, and who
//! ends, stops or starts a broker takes a cluster from [`Clusters::outage`], which one test has at a time.

use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::kafka::Kafka;
use crate::program::{Program, Running};
use crate::scene::PATIENCE;
use crate::waiting::wait_until;

/// The round trip to the distant cluster.
pub const ROUND_TRIP: Duration = Duration::from_millis(5);

/// The clusters of a test binary.
#[derive(Default)]
pub struct Clusters {
    one: OnceLock<Kafka>,
    distant: OnceLock<Kafka>,
    secured: OnceLock<Kafka>,
    outage: Mutex<Option<Kafka>>,
    outage_of_three: Mutex<Option<Kafka>>,
}

/// A cluster that one test alone has; whatever it does to the brokers, the next one gets them running.
pub struct Outage<'a>(MutexGuard<'a, Option<Kafka>>);

impl Deref for Outage<'_> {
    type Target = Kafka;

    fn deref(&self) -> &Kafka {
        self.0.as_ref().expect("it is started before it is given")
    }
}

/// A cluster that a test starts beside the one that it uses: the embedded broker, alone and empty.
pub struct OtherCluster {
    program: Program,
    running: Running,
    /// Where it is.
    pub address: String,
}

impl OtherCluster {
    /// Starts it.
    pub fn start() -> OtherCluster {
        Self::start_with(&[])
    }

    /// Starts it with more words, such as `--rtt`.
    pub fn start_with(words: &[&str]) -> OtherCluster {
        let program = Program::new("broker");
        let running = program.start(&[&["broker"], words].concat());
        wait_until("its address is printed", PATIENCE, || running.stdout().contains('\n'));
        let address = running.stdout().trim().to_owned();
        OtherCluster { program, running, address }
    }

    /// Ends it.
    pub fn end(self) {
        self.running.signal(Signal::SIGTERM);
        self.running.finish(PATIENCE);
        self.program.assert_nothing_left();
    }
}

impl Clusters {
    /// A cluster of one broker.
    pub fn one(&self) -> &Kafka {
        self.one.get_or_init(Kafka::start)
    }

    /// A cluster of one broker with a second address that is a round trip of 5 ms away.
    pub fn distant(&self) -> &Kafka {
        self.distant.get_or_init(|| Kafka::start_distant(ROUND_TRIP))
    }

    /// A cluster of one broker with a listener of each kind of security.
    pub fn secured(&self) -> &Kafka {
        self.secured.get_or_init(Kafka::start_secured)
    }

    /// A cluster of one broker that may be ended, stopped and started, and cut off for clients at its second address,
    /// which is a round trip of 5 ms away. Its tests belong to the lane `Outage`.
    pub fn outage(&self) -> Outage<'_> {
        Self::alone(&self.outage, || Kafka::start_distant(ROUND_TRIP))
    }

    /// The same with three brokers.
    pub fn outage_of_three(&self) -> Outage<'_> {
        Self::alone(&self.outage_of_three, Kafka::start_three)
    }

    /// A test that panicked leaves a cluster, not a lie: what is wrong with it is mended here.
    fn alone(place: &Mutex<Option<Kafka>>, start: fn() -> Kafka) -> Outage<'_> {
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        match place.as_ref() {
            Some(kafka) => kafka.heal(),
            None => *place = Some(start()),
        }
        Outage(place)
    }
}
