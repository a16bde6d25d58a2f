//! Looking at a topic again: is it still the one that a job belongs to?
//!
//! Responsible for: asking for id and partitions over a client that is there anyway, and never taking one answer of a
//! broker that lags behind for a change. Not responsible for: what a change means (`migration::bound_topic`), or when
//! to look.

use std::rc::Rc;
use std::time::Duration;

use migration::{BoundTopic, SeenTopic, TopicChange};
use rdkafka::types::RDKafkaRespErr as E;
use serde::{Deserialize, Serialize};

use crate::ffi::{Client, Code, Topic, ask_topic};
use crate::turns::Turns;

/// How often a change has to be seen in a row: a broker that has just come back may not have heard of the newest state
/// yet.
const LOOKS: u32 = 3;
/// Between two of these looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// What a look at the topic came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TopicLook {
    /// It is the job's topic, unchanged.
    Same,
    /// It is not.
    Changed(TopicChange),
    /// The brokers did not tell: what was seen instead.
    Unanswered(String),
}

/// Looks at a topic over a client that it shares.
pub struct TopicProbe {
    topic: Topic,
    client: Rc<Client>,
    bound: BoundTopic,
}

impl TopicProbe {
    pub(crate) fn new(client: &Rc<Client>, bound: &BoundTopic) -> Result<TopicProbe, Code> {
        let topic = Topic::new(client, &bound.name)?;
        Ok(TopicProbe { topic, client: Rc::clone(client), bound: bound.clone() })
    }

    /// The topic that it compares with.
    pub fn bound(&self) -> &BoundTopic {
        &self.bound
    }

    /// Looks once, and again before it says that something changed. Each look may take `timeout`. A wait that `turns`
    /// ends is no answer.
    pub fn look(&self, timeout: Duration, turns: &mut Turns<'_>) -> TopicLook {
        let mut look = self.look_once(timeout, turns);
        for _ in 1..LOOKS {
            if !matches!(look, TopicLook::Changed(_)) {
                break;
            }
            if !turns.rest(BETWEEN_LOOKS) || !turns.go_on() {
                return TopicLook::Unanswered("the look was not finished".to_owned());
            }
            look = self.look_once(timeout, turns);
        }
        look
    }

    fn look_once(&self, timeout: Duration, turns: &mut Turns<'_>) -> TopicLook {
        // What admin requests are answered with is the same as in metadata, and the id. Without a known id there is
        // nothing to compare it with, and some brokers (the embedded one) answer no admin request.
        let seen = if self.bound.id.is_some() { self.describe(timeout, turns) } else { self.metadata(timeout, turns) };
        match seen {
            Ok(seen) => self.bound.compare(&seen).map_or(TopicLook::Same, TopicLook::Changed),
            Err((code, _)) if is_unknown_topic(code) => TopicLook::Changed(TopicChange::Deleted),
            Err((_, text)) => TopicLook::Unanswered(text),
        }
    }

    fn describe(&self, timeout: Duration, turns: &mut Turns<'_>) -> Result<SeenTopic, (Code, String)> {
        ask_topic(&self.client, &self.bound.name, timeout)?.answer(turns)
    }

    fn metadata(&self, timeout: Duration, turns: &Turns<'_>) -> Result<SeenTopic, (Code, String)> {
        let words = |code: Code| (code, code.to_string());
        let found = self.client.metadata(Some(&self.topic), turns.bound(timeout)).map_err(words)?;
        match Code(found.code) {
            Code::NONE if found.partitions.is_empty() => Err(words(Code::of(E::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE))),
            Code::NONE => Ok(SeenTopic { id: None, partitions: found.partitions.len() as u32 }),
            error => Err(words(error)),
        }
    }
}

/// Whether a code says that there is no such topic.
pub(crate) fn is_unknown_topic(code: Code) -> bool {
    matches!(
        code.known(),
        Some(
            E::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
                | E::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
                | E::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID
        )
    )
}
