//! All runs of the web scene: for each round and flush a fresh server process and a fresh process that asks it, so that
//! no run inherits anything of another.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use kafka::ProducerOptions;
use migration::{Job, Plan};
use process::{ChildEnds, HelperError, HelperOptions, LimitError, RunningHelper};

use super::figures::{WebFlush, WebRound};
use super::load::{Load, LoadFigures};
use super::produce::{ProduceHandler, ProduceSettings};
use crate::results::Results;

/// Descriptors of a producer: sockets, pipes and an eventfd.
const DESCRIPTORS_OF_A_PRODUCER: u64 = 16;
/// Its threads.
const TASKS_OF_A_PRODUCER: u64 = 4;

/// How long a process may take besides its clock; [`PATIENCE_EACH`] is added for each producer: a server creates them
/// one after the other, some round trips each.
const PATIENCE: Duration = Duration::from_secs(60);
const PATIENCE_EACH: Duration = Duration::from_secs(2);

/// What a server writes before the reason why it does not listen.
const REFUSED: char = '!';

/// Refuses at once what this machine allows too few descriptors or processes for.
pub fn require_room(clients: u32, others: u32) -> Result<(), LimitError> {
    let (producers, connections) = (u64::from(clients), u64::from(clients) + u64::from(others));
    process::raise_descriptor_limit()?;
    process::require_descriptors(64 + DESCRIPTORS_OF_A_PRODUCER * producers + 2 * connections)?;
    process::require_processes(8 + TASKS_OF_A_PRODUCER * producers)
}

/// What all runs have in common.
pub struct Scene<'a> {
    /// The job, with the brokers and the topic to write to.
    pub job: &'a Job,
    /// Its plan.
    pub plan: &'a Plan,
    /// How each producer is made.
    pub producer: ProducerOptions,
    /// What is asked of the server.
    pub load: Load,
    /// One producer for all requests instead of one for each connection.
    pub shared_producer: bool,
    /// Readable when the user wants everything to end; it is not read.
    pub interrupt: BorrowedFd<'a>,
}

/// Why no round follows.
struct Interrupted;

/// How the rounds ended.
#[derive(Debug)]
pub enum End {
    /// All were run.
    Complete,
    /// The user wanted it to end.
    Interrupted,
    /// A result could not be kept.
    NotKept(io::Error),
}

impl Scene<'_> {
    /// The rounds of all flushes, in turn, each kept as soon as it is known; if they end early those that had ended.
    /// `say` is told after each.
    pub fn measure(
        &self,
        flushes: &[WebFlush],
        rounds: u32,
        mut results: Results,
        say: &mut dyn FnMut(&WebRound),
    ) -> (Vec<WebRound>, End) {
        let mut done = Vec::new();
        for number in 1..=rounds {
            // Each round begins with another flush, so that none always follows the same one.
            let first = (number as usize - 1) % flushes.len();
            for flush in flushes[first..].iter().chain(&flushes[..first]) {
                let Ok(round) = self.run(*flush, number) else { return (done, End::Interrupted) };
                say(&round);
                let kept = results.add(&round);
                done.push(round);
                if let Err(error) = kept {
                    return (done, End::NotKept(error));
                }
            }
        }
        (done, End::Complete)
    }

    /// One flush, once.
    fn run(&self, flush: WebFlush, number: u32) -> Result<WebRound, Interrupted> {
        let figures = match self.serve(flush) {
            Ok(server) => self.ask(&server),
            Err(error) => Err(error),
        };
        match figures {
            Err(HelperError::Interrupted { .. }) => Err(Interrupted),
            Err(error) => Ok(super::round(flush, number, &self.load, Err(error.to_string()))),
            Ok(figures) => Ok(super::round(flush, number, &self.load, figures)),
        }
    }

    /// Starts a server process. It ends when its handle is dropped.
    fn serve(&self, flush: WebFlush) -> Result<RunningHelper, HelperError> {
        let settings = ProduceSettings {
            flush,
            slots: self.load.clients,
            shared_producer: self.shared_producer,
            producer: self.producer.clone(),
        };
        process::start_helper(&self.helper("shardlift web"), |ends| serve(&settings, self.job, self.plan, ends))
    }

    /// Has a process of its own ask the server.
    fn ask(&self, server: &RunningHelper) -> Result<Result<LoadFigures, String>, HelperError> {
        let said = String::from_utf8_lossy(&server.ready).into_owned();
        let address: SocketAddr = match said.parse() {
            Ok(address) => address,
            Err(_) => return Ok(Err(said.trim_start_matches(REFUSED).to_owned())),
        };
        let output = process::run_helper_with(&self.helper("shardlift ask"), |answer| {
            let figures = super::load::ask(address, &self.load).map_err(|error| error.to_string());
            let written = postcard::to_stdvec(&figures).map(|bytes| answer.write_all(&bytes));
            u8::from(!matches!(written, Ok(Ok(()))))
        })?;
        let unreadable = || format!("the process that asks ended badly: {}", output.status);
        if !output.status.is_success() {
            return Ok(Err(unreadable()));
        }
        Ok(postcard::from_bytes(&output.bytes).unwrap_or_else(|_| Err(unreadable())))
    }

    fn helper(&self, name: &str) -> HelperOptions<'_> {
        HelperOptions {
            interrupt: Some(self.interrupt),
            timeout: Some(PATIENCE + PATIENCE_EACH * self.load.clients + self.load.duration),
            ..HelperOptions::named(name)
        }
    }
}

/// The server process: says where it listens, or why it does not, and serves until its control pipe is closed.
fn serve(settings: &ProduceSettings, job: &Job, plan: &Plan, ends: ChildEnds) -> u8 {
    let mut events = std::fs::File::from(ends.events);
    let handler = ProduceHandler::open(settings, job, plan).and_then(|handler| handler.warm_up().map(|()| handler));
    let served = match handler {
        Ok(handler) => super::server::serve(handler, ends.control, |address| writeln!(events, "{address}")),
        Err(failure) => writeln!(events, "{REFUSED}{}", failure.message.replace('\n', " ")),
    };
    u8::from(served.is_err())
}
