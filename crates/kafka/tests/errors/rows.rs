//! Which codes are answered to which requests, and what Kafka calls them.

use rdkafka::types::RDKafkaRespErr as E;

use super::drive::{self, Outcome};
use super::transactions;

pub const HEAD: &str = "\
# What becomes of each broker's error

Written by a test (`crates/kafka/tests/errors`): for each kind of request and each code, a mock broker answers one such
request with the code, and the rest as usual. \"Kafka\" is what Kafka's own list calls a code. Whatever the code, no
record counts as delivered that is not in the topic, and none as read that was left out; the test looks.

No code that Kafka calls retriable stops a job or is a death, but for the two that say that there is no such topic.
Kafka calls them so because a young topic is not known everywhere at once; a job is refused without its topic.

What belongs to transactions (exactly-once) is sent by a worker's producer to the mock broker directly, as a job is
refused there. A chunk is committed, then another of which one request has the code. If that commit is said to be good,
records and progress are in the topics. If not, the attempt can't commit any more, and a successor knows where the shard
is, sends, and commits. The mock broker shows what is not committed as if it were, and ends no predecessor's
transaction: that nothing of an attempt that failed can be read, a real Kafka shows
(`crates/kafka/tests/transactions.rs`). A commit to which anything but one good answer came is not believed, though the
client asked again and was told that all is well: so codes for EndTxn which elsewhere are not seen end the attempt.

| outcome | means |
|---|---|
| nothing is seen of it | the client asks again; every record arrives |
| delivered | the broker says that it has this very batch, and is believed; the mock broker lies here |
| set aside | the batch is halved and sent again until single records are refused: these are dead letters, the others arrive; in a transaction a successor does that |
| a successor goes on | the attempt ends, and the next one starts behind the newest commit; as a death, of which five without progress quarantine the shard, or, where brokers are in trouble, as none; fenced: after a pause that grows |
| stops | the job, or `verify`, ends with this code |
";

/// One code as the answer to one kind of request.
pub struct Case {
    pub request: &'static str,
    pub about: &'static str,
    pub code: E,
    pub run: fn(E) -> Outcome,
}

macro_rules! names {
    ($($code:ident $kafka:ident,)*) => {
        /// Each code that is tried, its name, and whether Kafka calls it retriable.
        pub const NAMES: &[(E, &str, bool)] = &[$((E::$code, stringify!($code), names!(@ $kafka)),)*];
    };
    (@ retriable) => { true };
    (@ permanent) => { false };
}

names! {
    RD_KAFKA_RESP_ERR_UNKNOWN permanent,
    RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE permanent,
    RD_KAFKA_RESP_ERR_INVALID_MSG retriable,
    RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART retriable,
    RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE retriable,
    RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION retriable,
    RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT retriable,
    RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE permanent,
    RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE retriable,
    RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE permanent,
    RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION retriable,
    RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS retriable,
    RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE retriable,
    RD_KAFKA_RESP_ERR_NOT_COORDINATOR retriable,
    RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION permanent,
    RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE permanent,
    RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS retriable,
    RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND retriable,
    RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS permanent,
    RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED permanent,
    RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED permanent,
    RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP permanent,
    RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION permanent,
    RD_KAFKA_RESP_ERR_INVALID_REQUEST permanent,
    RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT permanent,
    RD_KAFKA_RESP_ERR_POLICY_VIOLATION permanent,
    RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER permanent,
    RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER permanent,
    RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH permanent,
    RD_KAFKA_RESP_ERR_INVALID_TXN_STATE permanent,
    RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING permanent,
    RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT permanent,
    RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS retriable,
    RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED permanent,
    RD_KAFKA_RESP_ERR_OPERATION_NOT_ATTEMPTED permanent,
    RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR retriable,
    RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID permanent,
    RD_KAFKA_RESP_ERR_FETCH_SESSION_ID_NOT_FOUND retriable,
    RD_KAFKA_RESP_ERR_INVALID_FETCH_SESSION_EPOCH retriable,
    RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH retriable,
    RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH retriable,
    RD_KAFKA_RESP_ERR_UNSUPPORTED_COMPRESSION_TYPE permanent,
    RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE retriable,
    RD_KAFKA_RESP_ERR_INVALID_RECORD permanent,
    RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED retriable,
    RD_KAFKA_RESP_ERR_PRODUCER_FENCED permanent,
    RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID retriable,
}

/// Kafka's list calls CONCURRENT_TRANSACTIONS permanent, and Java's client asks again.
pub fn is_retriable(code: E) -> bool {
    NAMES.iter().any(|(named, _, retriable)| *named == code && *retriable)
}

/// It is retriable, and does not say that there is no such topic.
pub fn must_do_no_harm(code: E) -> bool {
    is_retriable(code) && !matches!(code, E::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART | E::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID)
}

pub fn name(code: E) -> &'static str {
    let named = NAMES.iter().find(|(named, _, _)| *named == code).map_or("?", |(_, name, _)| name);
    named.trim_start_matches("RD_KAFKA_RESP_ERR_")
}

/// What any broker may say to anything.
const ANY: &[E] = &[
    E::RD_KAFKA_RESP_ERR_UNKNOWN,
    E::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
    E::RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE,
    E::RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION,
    E::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
    E::RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION,
    E::RD_KAFKA_RESP_ERR_INVALID_REQUEST,
    E::RD_KAFKA_RESP_ERR_POLICY_VIOLATION,
    E::RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED,
];

/// What a partition's leader may say.
const LEADER: &[E] = &[
    E::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
    E::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
    E::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
    E::RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE,
    E::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
    E::RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT,
    E::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
    E::RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH,
    E::RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH,
    E::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID,
];

/// What a coordinator may say.
const COORDINATOR: &[E] = &[
    E::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
    E::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
    E::RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
];

/// What is said of a producer and its transactions.
const PRODUCER: &[E] = &[
    E::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
    E::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE,
    E::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING,
    E::RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS,
    E::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    E::RD_KAFKA_RESP_ERR_PRODUCER_FENCED,
];

const PRODUCE: &[E] = &[
    E::RD_KAFKA_RESP_ERR_INVALID_MSG,
    E::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
    E::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION,
    E::RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE,
    E::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
    E::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    E::RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS,
    E::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP,
    E::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
    E::RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER,
    E::RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
    E::RD_KAFKA_RESP_ERR_UNSUPPORTED_COMPRESSION_TYPE,
    E::RD_KAFKA_RESP_ERR_INVALID_RECORD,
];

const METADATA: &[E] = &[
    E::RD_KAFKA_RESP_ERR_UNKNOWN,
    E::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
    E::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
    E::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION,
    E::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
    E::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
    E::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID,
];

const FETCH: &[E] = &[
    E::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE,
    E::RD_KAFKA_RESP_ERR_FETCH_SESSION_ID_NOT_FOUND,
    E::RD_KAFKA_RESP_ERR_INVALID_FETCH_SESSION_EPOCH,
    E::RD_KAFKA_RESP_ERR_UNSUPPORTED_COMPRESSION_TYPE,
    E::RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE,
];

const OFFSETS: &[E] = &[E::RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE];

/// What a coordinator is asked for with.
const COORDINATOR_ID: &[E] = &[E::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED];

const IDENTITY: &[E] = &[E::RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT];

const ADD_PARTITIONS: &[E] = &[
    E::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
    E::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
    E::RD_KAFKA_RESP_ERR_OPERATION_NOT_ATTEMPTED,
    E::RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
];

const END: &[E] = &[E::RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID];

type Request = (&'static str, &'static str, fn(E) -> Outcome, &'static [&'static [E]]);

const REQUESTS: &[Request] = &[
    ("Produce", "A batch of a worker, at-least-once.", drive::produce, &[ANY, LEADER, PRODUCE, PRODUCER]),
    ("InitProducerId", "A worker's start.", drive::init_producer_id, &[ANY, COORDINATOR, PRODUCER]),
    (
        "Metadata, of a worker",
        "A worker's start. The topic's answer has the code for a third of a second.",
        drive::metadata,
        &[METADATA],
    ),
    (
        "Metadata, of preflight",
        "Checks before the first record. The topic's answer has the code for a third of a second.",
        drive::preflight_metadata,
        &[METADATA],
    ),
    (
        "ListOffsets, of preflight",
        "Where each partition begins and ends, before the first record; both answers about one partition have the code.",
        drive::preflight_offsets,
        &[ANY, LEADER, OFFSETS],
    ),
    (
        "ListOffsets, of verify",
        "What there is to read; both answers about one partition have the code.",
        drive::verify_offsets,
        &[ANY, LEADER, OFFSETS],
    ),
    ("Fetch, of verify", "Reading the topic.", drive::verify_fetch, &[ANY, LEADER, FETCH]),
    (
        "FindCoordinator, of transactions",
        "A worker's start, exactly-once.",
        transactions::find_coordinator,
        &[ANY, COORDINATOR, COORDINATOR_ID],
    ),
    (
        "InitProducerId, of transactions",
        "A worker takes over its shard's transactional id.",
        transactions::init_producer_id,
        &[ANY, COORDINATOR, PRODUCER, IDENTITY],
    ),
    (
        "ListOffsets, of progress",
        "A successor asks where the progress topic ends; both answers about the partition have the code.",
        transactions::progress_offsets,
        &[ANY, LEADER, OFFSETS],
    ),
    ("Fetch, of progress", "A successor reads how far the shard is.", transactions::progress_fetch, &[ANY, LEADER, FETCH]),
    (
        "AddPartitionsToTxn",
        "The topic's partition is added to a transaction.",
        transactions::add_partitions,
        &[ANY, COORDINATOR, PRODUCER, ADD_PARTITIONS],
    ),
    (
        "Produce, of transactions",
        "A batch of records of a transaction. A code that is about one of them is answered until one is alone.",
        transactions::produce,
        &[ANY, LEADER, PRODUCE, PRODUCER],
    ),
    (
        "Produce, of transactions, refused once",
        "A batch that is refused, and taken when it is sent again.",
        transactions::produce_refused_once,
        &[transactions::REFUSING],
    ),
    (
        "AddPartitionsToTxn, of progress",
        "The progress topic's partition is added to a transaction.",
        transactions::add_progress,
        &[ANY, COORDINATOR, PRODUCER, ADD_PARTITIONS],
    ),
    ("Produce, of progress", "A shard's progress.", transactions::produce_progress, &[ANY, LEADER, PRODUCE, PRODUCER]),
    ("EndTxn", "A commit.", transactions::end, &[ANY, COORDINATOR, PRODUCER, END]),
];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (request, about, run, codes) in REQUESTS {
        let mut codes: Vec<E> = codes.concat();
        codes.sort_unstable_by_key(|code| *code as i32);
        codes.dedup();
        cases.extend(codes.into_iter().map(|code| Case { request, about, code, run: *run }));
    }
    cases
}
