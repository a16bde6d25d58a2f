//! Which records of a refused batch the brokers refuse, where they don't say.
//!
//! The transaction is lost in any case. So its records are sent again, half of a batch at a time, in transactions that
//! are never committed: each refusal loses one, and the next begins with a new client, whose initialisation aborts the
//! one before. Over a long link that takes minutes: it is done in steps, so that the worker says in between that it is
//! alive. Responsible for: finding some of them. Not responsible for: finding all: what is not found is refused again
//! when the others are set aside.

use std::time::{Duration, Instant};

use migration::{Failure, FailureKind, RefusedRecord};
use pipeline::{Blame, Delivered, Group, Sink as _};

use super::connecting::Connecting;
use super::options::ProducerOptions;
use super::sink::Producer;
use crate::turns::Turns;

/// How long it goes on once one is found: with that a successor comes further.
const ENOUGH: Duration = Duration::from_secs(10);
/// How long one step waits for a report.
const STEP: Duration = Duration::from_millis(50);

/// A group of which the brokers refused records without saying which.
pub(super) struct Suspects {
    pub(super) partition: u32,
    pub(super) group: Group,
}

impl Suspects {
    /// How many trials its records take at most, this one included: less with each.
    fn trials(&self) -> usize {
        (2 * self.group.len()).saturating_sub(1)
    }
}

/// A client that sends suspects.
enum Prober {
    Connecting(Box<Connecting>),
    /// With what is in flight, if something is.
    Connected(Box<Producer>, Option<Suspects>),
}

/// A search.
pub(super) struct CulpritSearch {
    options: ProducerOptions,
    open: Vec<Suspects>,
    prober: Option<Prober>,
    found: Vec<RefusedRecord>,
    since: Instant,
    longest: Duration,
}

/// What a search came to.
pub(super) enum CulpritTrial {
    /// It goes on.
    On,
    /// It is over: these are refused when they are alone.
    Found(Vec<RefusedRecord>),
    /// It can't go on.
    Failed(Failure),
}

impl CulpritSearch {
    /// `longest`: for how long one call of a client may last.
    pub(super) fn new(options: &ProducerOptions, suspects: Vec<Suspects>, longest: Duration) -> CulpritSearch {
        // What is never committed needs neither the topic's settings nor how far the shard is: over a long link each
        // question counts.
        let mut options = ProducerOptions { bound: None, ..options.clone() };
        options.transaction.iter_mut().for_each(|transaction| transaction.resumes = false);
        CulpritSearch { options, open: suspects, prober: None, found: Vec::new(), since: Instant::now(), longest }
    }

    /// How many trials it takes at most.
    pub(super) fn left(&self) -> usize {
        let flying = match &self.prober {
            Some(Prober::Connected(_, flying)) => flying.as_ref(),
            _ => None,
        };
        self.open.iter().chain(flying).map(Suspects::trials).sum::<usize>() + 1
    }

    /// Goes on a little.
    pub(super) fn step(&mut self) -> CulpritTrial {
        match self.prober.take() {
            None if self.is_over() => CulpritTrial::Found(std::mem::take(&mut self.found)),
            None => match Connecting::new(self.options.clone()) {
                Ok(new) => self.connect(Box::new(new)),
                Err(failure) => CulpritTrial::Failed(failure),
            },
            Some(Prober::Connecting(connecting)) => self.connect(connecting),
            Some(Prober::Connected(producer, flying)) => self.probe(producer, flying),
        }
    }

    fn is_over(&self) -> bool {
        let enough = !self.found.is_empty() && self.since.elapsed() >= ENOUGH;
        self.open.is_empty() || enough || self.found.len() > RefusedRecord::MOST
    }

    fn connect(&mut self, mut connecting: Box<Connecting>) -> CulpritTrial {
        let deadline = Instant::now() + self.longest;
        let mut in_time = || Instant::now() < deadline;
        match connecting.wait(&mut Turns::new(self.longest, &mut in_time)) {
            Ok(mut producer) => {
                producer.transactions.iter_mut().for_each(|transactions| transactions.search = None);
                self.prober = Some(Prober::Connected(Box::new(producer), None));
                CulpritTrial::On
            }
            // Who waits for the search knows how long it may be silent.
            Err(failure) if failure.kind == FailureKind::Unreachable => {
                self.prober = Some(Prober::Connecting(connecting));
                CulpritTrial::On
            }
            Err(failure) => CulpritTrial::Failed(failure),
        }
    }

    fn probe(&mut self, mut producer: Box<Producer>, flying: Option<Suspects>) -> CulpritTrial {
        let mut done = Vec::new();
        let (suspects, came) = match flying {
            Some(suspects) => (suspects, producer.poll(STEP, &mut done)),
            None if self.is_over() => return CulpritTrial::Found(std::mem::take(&mut self.found)),
            None => {
                let Some(next) = self.open.pop() else { return CulpritTrial::On };
                let copy = next.group.select(0..next.group.len());
                let came = producer.hand_over(next.partition, copy);
                (next, came)
            }
        };
        match came {
            Ok(()) if done.is_empty() => self.prober = Some(Prober::Connected(producer, Some(suspects))),
            Ok(()) if is_delivered(&done) => self.prober = Some(Prober::Connected(producer, None)),
            Ok(()) => {
                let what = "a search for refused records had an answer that it does not understand (a bug of this program)";
                return CulpritTrial::Failed(Failure::new(FailureKind::Retry, what));
            }
            Err(failure) if failure.kind == FailureKind::Refused => self.narrow(suspects, failure),
            Err(failure) => return CulpritTrial::Failed(failure),
        }
        CulpritTrial::On
    }

    /// What was refused is cut in two, or found.
    fn narrow(&mut self, suspects: Suspects, failure: Failure) {
        let Suspects { partition, group } = suspects;
        let half = group.len() / 2;
        if half > 0 {
            for part in [half..group.len(), 0..half] {
                self.open.push(Suspects { partition, group: group.select(part) });
            }
            return;
        }
        let reason = failure.refused.into_iter().next().map_or(failure.message, |record| record.reason);
        let place = group.place(0);
        self.found.push(RefusedRecord { segment: place.segment, start: place.start, reason });
    }
}

fn is_delivered(done: &[Delivered]) -> bool {
    done.first().is_some_and(|done| done.refused.iter().all(|refused| refused.blame == Blame::Own))
}
