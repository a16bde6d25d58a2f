//! Which records of a refused batch the brokers refuse, where they don't say.
//!
//! The transaction is lost in any case. So its records are sent again, half of a batch at a time, in transactions that
//! are never committed: each refusal loses one, and the next begins with a new client, whose initialisation aborts the
//! one before. Responsible for: finding some of them within a time. Not responsible for: finding all: what is not found
//! is refused again when the others are set aside.

use std::time::{Duration, Instant};

use migration::{FailureKind, RefusedRecord};
use pipeline::{Blame, Group, Sink as _};

use super::connecting::Connecting;
use super::options::ProducerOptions;
use super::sink::Producer;
use crate::turns::Turns;

/// A group of which the brokers refused records without saying which.
pub(super) struct Suspects {
    pub(super) partition: u32,
    pub(super) group: Group,
}

/// The records that are refused when they are alone, as far as they are found before `deadline`.
pub(super) fn find(options: &ProducerOptions, suspects: Vec<Suspects>, deadline: Instant) -> Vec<RefusedRecord> {
    let mut found = Vec::new();
    let mut open: Vec<Suspects> = suspects;
    let mut producer = None;
    while let Some(Suspects { partition, group }) = open.pop() {
        if Instant::now() >= deadline || found.len() > RefusedRecord::MOST {
            break;
        }
        let Some(sink) = connected(&mut producer, options) else { break };
        match refusal(sink, partition, group.select(0..group.len()), deadline) {
            Tried::Delivered => {}
            Tried::Unknown => break,
            Tried::Refused(reason) => {
                producer = None;
                let half = group.len() / 2;
                if half == 0 {
                    let place = group.place(0);
                    found.push(RefusedRecord { segment: place.segment, start: place.start, reason });
                } else {
                    for part in [half..group.len(), 0..half] {
                        open.push(Suspects { partition, group: group.select(part) });
                    }
                }
            }
        }
    }
    found
}

fn connected<'a>(producer: &'a mut Option<Producer>, options: &ProducerOptions) -> Option<&'a mut Producer> {
    if producer.is_none() {
        let mut yes = || true;
        *producer = Connecting::new(options.clone()).and_then(|mut new| new.wait(&mut Turns::one(&mut yes))).ok();
        let transactions = producer.iter_mut().filter_map(|producer| producer.transactions.as_mut());
        transactions.for_each(|transactions| transactions.search = None);
    }
    producer.as_mut()
}

/// What became of a group.
enum Tried {
    Delivered,
    /// For good, with the reason.
    Refused(String),
    /// Something else went wrong.
    Unknown,
}

fn refusal(producer: &mut Producer, partition: u32, group: Group, deadline: Instant) -> Tried {
    let mut done = Vec::new();
    let mut came = producer.hand_over(partition, group);
    while came.is_ok() && done.is_empty() && Instant::now() < deadline {
        came = producer.poll(Duration::from_millis(50), &mut done);
    }
    match came {
        Ok(()) if done.first().is_some_and(|done| done.refused.iter().all(|refused| refused.blame == Blame::Own)) => {
            Tried::Delivered
        }
        Ok(()) => Tried::Unknown,
        Err(failure) if failure.kind == FailureKind::Refused => {
            Tried::Refused(failure.refused.into_iter().next().map_or(failure.message, |record| record.reason))
        }
        Err(_) => Tried::Unknown,
    }
}
