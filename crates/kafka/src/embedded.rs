//! The embedded broker: the client library's mock cluster, in the calling process.
//!
//! Responsible for: topics with a fixed number of partitions, an injected round-trip time and injected errors. Not
//! responsible for: living in a process of its own (callers fork a helper), or durability: it keeps the newest 5 MiB or
//! 100,000 batches of a partition, and ends with its owner.

use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

/// What an embedded broker is to be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddedOptions {
    /// Partitions of each topic.
    pub partitions: u32,
    /// Topics that exist from the start; no other is served, because no client of ours creates topics.
    pub topics: Vec<String>,
    /// How long each answer is held back.
    pub rtt: Duration,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        EmbeddedOptions { partitions: 16, topics: Vec::new(), rtt: Duration::ZERO }
    }
}

/// The embedded broker could not be started, or refuses an instruction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the embedded broker {0}")]
pub struct EmbeddedError(String);

/// A running embedded broker; dropping it ends it.
pub struct EmbeddedBroker {
    cluster: MockCluster<'static, DefaultProducerContext>,
    partitions: u32,
}

/// The only broker's id.
const BROKER: i32 = 1;

impl EmbeddedBroker {
    /// Starts it on a free port of the loopback interface. It adds threads to the process.
    pub fn start(options: &EmbeddedOptions) -> Result<EmbeddedBroker, EmbeddedError> {
        let cluster = MockCluster::new(1).map_err(|e| EmbeddedError(format!("could not be started: {e}")))?;
        let broker = EmbeddedBroker { cluster, partitions: options.partitions };
        for topic in &options.topics {
            broker.create_topic(topic)?;
        }
        broker.set_rtt(options.rtt)?;
        Ok(broker)
    }

    /// Its address.
    pub fn bootstrap(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    /// Adds a topic.
    pub fn create_topic(&self, topic: &str) -> Result<(), EmbeddedError> {
        let partitions = i32::try_from(self.partitions).unwrap_or(i32::MAX);
        self.cluster
            .create_topic(topic, partitions, 1)
            .map_err(|e| EmbeddedError(format!("could not create topic {topic:?} with {partitions} partitions: {e}")))
    }

    /// Holds back each answer from now on.
    pub fn set_rtt(&self, rtt: Duration) -> Result<(), EmbeddedError> {
        self.cluster
            .broker_round_trip_time(BROKER, rtt)
            .map_err(|e| EmbeddedError(format!("refuses a round-trip time of {rtt:?}: {e}")))
    }

    /// Closes all connections and accepts none until told otherwise.
    pub fn set_down(&self, down: bool) -> Result<(), EmbeddedError> {
        let result = if down { self.cluster.broker_down(BROKER) } else { self.cluster.broker_up(BROKER) };
        result.map_err(|e| EmbeddedError(format!("could not be taken {}: {e}", if down { "down" } else { "up" })))
    }

    /// Answers the next requests of a kind with these errors, one each.
    pub fn push_request_errors(&self, api: RDKafkaApiKey, errors: &[RDKafkaRespErr]) {
        self.cluster.request_errors(api, errors);
    }

    /// Forgets the errors that were pushed for a kind of request.
    pub fn clear_request_errors(&self, api: RDKafkaApiKey) {
        self.cluster.clear_request_errors(api);
    }

    /// Takes a partition's leader away, or gives it back.
    pub fn set_leader(&self, topic: &str, partition: u32, has_one: bool) -> Result<(), EmbeddedError> {
        let number = i32::try_from(partition).unwrap_or(i32::MAX);
        self.cluster
            .partition_leader(topic, number, has_one.then_some(BROKER))
            .map_err(|e| EmbeddedError(format!("can't change the leader of partition {partition} of {topic:?}: {e}")))
    }

    /// Answers every metadata request for a topic with an error.
    pub fn set_topic_error(&self, topic: &str, error: RDKafkaRespErr) -> Result<(), EmbeddedError> {
        self.cluster.topic_error(topic, error).map_err(|e| EmbeddedError(format!("can't set an error on {topic:?}: {e}")))
    }
}
