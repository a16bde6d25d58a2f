//! A worker's own looks at its topic: before records go on after a pause, and when something failed.
//!
//! Responsible for: that no worker sends into another topic of the same name, and that the reason for a failure is told
//! where the topic is it. Not responsible for: the look at an attempt's start, which the producer makes, nor for the
//! one that the helper makes every 10 s.

use std::rc::Rc;
use std::time::Duration;

use kafka::{TopicLook, TopicProbe, Turns};
use migration::{Consequence, Failure, FailureKind, TopicChange};

/// How long a worker that has failed may look for the reason.
const LAST_LOOK: Duration = Duration::from_secs(2);

/// Looks over the client of a worker's producer.
pub(crate) struct TopicCheck {
    probe: Rc<TopicProbe>,
    patience: Duration,
}

impl TopicCheck {
    /// `patience`: how long one question may take.
    pub(crate) fn new(probe: Rc<TopicProbe>, patience: Duration) -> Self {
        TopicCheck { probe, patience }
    }

    /// Before records go on: is it still the job's topic?
    pub(crate) fn require(&self, turns: &mut Turns<'_>) -> Result<(), Failure> {
        match self.probe.look(self.patience, turns) {
            TopicLook::Changed(change) => self.gone(&change).map_or(Ok(()), Err),
            TopicLook::Same => Ok(()),
            TopicLook::Unanswered(text) => {
                let topic = &self.probe.bound().name;
                let message = format!("topic {topic}: no broker tells whether it is still the same: {text}");
                Err(Failure::new(FailureKind::Unreachable, message))
            }
        }
    }

    /// The reason behind a failure: a topic that is gone looks like a broker that does not answer, or like a record
    /// that is refused.
    pub(crate) fn explain(&self, failure: Failure, turns: &mut Turns<'_>) -> Failure {
        match failure.kind {
            FailureKind::Retry
            | FailureKind::Unreachable
            | FailureKind::Fenced
            | FailureKind::GaveUp
            | FailureKind::Permanent => {}
            FailureKind::Source
            | FailureKind::State
            | FailureKind::TooManyBad
            | FailureKind::Refused
            | FailureKind::Ledger
            | FailureKind::Topic => return failure,
        }
        match self.probe.look(self.patience.min(LAST_LOOK), turns) {
            TopicLook::Changed(change) => self.gone(&change).unwrap_or(failure),
            TopicLook::Same | TopicLook::Unanswered(_) => failure,
        }
    }

    fn gone(&self, change: &TopicChange) -> Option<Failure> {
        let topic = self.probe.bound();
        (topic.consequence(change) == Consequence::Gone).then(|| Failure::new(FailureKind::Topic, topic.tell(change)))
    }
}
