//! Where records go.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::property::Property;
use crate::config::{PRESENT, Shape, TextRule, TypedValue, ValueKind, checks, key, rules, text, time, word, words};

pub(crate) const TOPIC: TextRule =
    TextRule { noun: "string", allowed: "up to 249 of the characters a-z, A-Z, 0-9, `.`, `_` and `-`", check: checks::topic };

const BROKERS: Shape<Brokers> = Shape {
    kind: ValueKind::TextsOr(
        TextRule {
            noun: "`host:port`",
            allowed: "\"embedded\" or a list of HOST:PORT, such as [\"kafka-1:9092\"]",
            check: checks::broker,
        },
        "embedded",
    ),
    read: |value, _| match value.map(TypedValue::texts).expect(PRESENT) {
        Some(brokers) => Brokers::Bootstrap(brokers.to_vec()),
        None => Brokers::Embedded,
    },
};

const CLIENT_ID: Shape<Option<String>> = Shape {
    kind: ValueKind::Text(TextRule {
        noun: "string",
        allowed: "up to 249 of the characters a-z, A-Z, 0-9, `.`, `_`, `-` and `/`",
        check: checks::client_id,
    }),
    read: |value, _| value.map(TypedValue::text).map(str::to_owned),
};

const PROPERTIES: Shape<Vec<(String, Property)>> =
    Shape { kind: ValueKind::Properties, read: |value, _| value.map(TypedValue::properties).unwrap_or_default().to_vec() };

rules! {
    /// Where records go.
    #[derive(Clone, Debug, PartialEq)]
    pub struct KafkaRules {
        /// `"embedded"`: a broker that lives as long as the run. Or a list: `["kafka-1:9092", "kafka-2:9092"]`.
        ///
        /// One string with commas is a list too. Other brokers of the same cluster continue the same job.
        brokers: Brokers = key BROKERS key("kafka.brokers", BROKERS).default("\"embedded\"")
            .example("[\"kafka-1:9092\", \"kafka-2:9092\"]").flag("--brokers", "SHARDLIFT_BROKERS");
        /// It must exist, except on the embedded broker.
        topic: String = key TOPIC
            key("kafka.topic", text(TOPIC)).required().fixed().example("\"orders\"").flag("--topic", "SHARDLIFT_TOPIC");
        /// How a key chooses its partition: `murmur2` (as Java clients do) or `crc32` (as librdkafka does; empty keys
        /// count as null).
        partitioner: Partitioner = key PARTITIONER
            key("kafka.partitioner", word()).default("\"murmur2\"").fixed().example("\"crc32\"");
        /// When no broker answers for this time, the run stops with 75.
        ///
        /// So does one that goes on and finds none at its start. One that begins the job waits at most 20 s, and ends
        /// with 4: the address is probably wrong. `verify` waits as long, at most 90 s, for another producer's open
        /// transaction.
        give_up_after: Duration = key GIVE_UP_AFTER key("kafka.give_up_after", time(1)).default("\"15min\"").example("\"1h\"");
        /// The name that brokers know the job by, for quotas and audit logs: all its clients have it. Without this line
        /// each has its own, made of `job.name` and the shard.
        ///
        /// A quota by client id holds the whole job with it (for each broker); without it, each worker for itself.
        client_id: Option<String> = key CLIENT_ID key("kafka.client_id", CLIENT_ID).example("\"orders-backfill\"");
        /// What is promised about duplicates: `at-least-once` or `exactly-once`.
        ///
        /// With `exactly-once` a chunk's records and the shard's progress are one transaction, and Kafka holds the
        /// progress: see `checkpoint.topic`.
        delivery: Delivery = key DELIVERY
            key("kafka.delivery", word()).default("\"at-least-once\"").fixed().example("\"exactly-once\"");
        /// librdkafka's properties by their own names; the ones that keys above decide are refused.
        ///
        /// See below.
        properties: Vec<(String, Property)> = key PROPERTIES
            key("kafka.properties", PROPERTIES).default("{}").example("{ \"compression.type\" = \"lz4\" }");
    }
}

/// What is promised about duplicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Delivery {
    /// No record of a done shard is missing; one may be there twice after a process died.
    AtLeastOnce,
    /// A reader of committed records sees each record of a done shard once.
    ExactlyOnce,
}

words! { Delivery { AtLeastOnce = "at-least-once", ExactlyOnce = "exactly-once" } }

/// Which brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Brokers {
    /// The embedded broker, started for this run.
    Embedded,
    /// `host:port` of some of the cluster's brokers.
    Bootstrap(Vec<String>),
}

/// How a key chooses its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Partitioner {
    /// As Java clients do.
    Murmur2,
    /// As librdkafka does by default; an empty key counts as null.
    Crc32,
}

words! { Partitioner { Murmur2 = "murmur2", Crc32 = "crc32" } }
