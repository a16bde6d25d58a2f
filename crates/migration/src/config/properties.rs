//! What is known about librdkafka's properties without librdkafka: which ones a user may set, and which are secrets.

/// The key below which properties stand.
pub(super) const PROPERTIES: &str = "kafka.properties";

/// Something that librdkafka does not accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PropertyProblem {
    /// The property, as given.
    pub name: String,
    /// What is wrong, in one line.
    pub message: String,
    /// A property with a similar name.
    pub did_you_mean: Option<String>,
}

/// What a user may do with a property of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PropertyRule {
    /// Any value that the client takes.
    Free,
    /// A number of at least this.
    AtLeast(u64),
    /// Nothing: another key decides it, or a value other than ours would break a promise. The text says what to do.
    Owned(&'static str),
}

const ADDRESSES: PropertyRule = PropertyRule::Owned("use `kafka.brokers`");
const ALL_REPLICAS: PropertyRule = PropertyRule::Owned("use `kafka.delivery`: every promise needs all in-sync replicas");
const BATCHES: PropertyRule =
    PropertyRule::Owned("use `workers.in_flight`: batches follow from it and the topic's max.message.bytes");
const LINGER: PropertyRule = PropertyRule::Owned("use `workers.flush`: it decides how long records wait for company");
const RETRIES: PropertyRule =
    PropertyRule::Owned("use `kafka.give_up_after`: until then a record is tried again, so that none is given up alone");
const REPORTS: PropertyRule = PropertyRule::Owned("a record counts when its own delivery report has come, the good ones too");
const ORDER: PropertyRule = PropertyRule::Owned("each partition has one batch under way, in the source's order");
const VERSIONS: PropertyRule =
    PropertyRule::Owned("brokers are asked what they speak; older formats have no headers, timestamps or de-duplication");
const VERDICT: PropertyRule = PropertyRule::Owned("`shardlift verify` depends on it");
const NO_GROUP: PropertyRule =
    PropertyRule::Owned("`shardlift verify` joins no consumer group and commits no offsets: another reader's could be moved");
const FOREIGN_CODE: PropertyRule =
    PropertyRule::Owned("it would run other code in this program and between it and the brokers");
const NOT_TEXT: PropertyRule = PropertyRule::Owned("it is set by a program, not by a text");
/// Below a second every answer could come too late: the same request would be sent for ever.
const A_SECOND: PropertyRule = PropertyRule::AtLeast(1000);

/// What is decided for each property of the client, family by family. A name that ends with a dot stands for all that
/// begin with it; the first that fits counts. What is not here is refused: a test compares with all that the client
/// knows.
const RULES: &[(&str, PropertyRule)] = &[
    ("bootstrap.servers", ADDRESSES),
    ("metadata.broker.list", ADDRESSES),
    (
        "client.id",
        PropertyRule::Owned("use `kafka.client_id`; without it the client id is made of `job.name` and the shard's number"),
    ),
    ("acks", ALL_REPLICAS),
    ("request.required.acks", ALL_REPLICAS),
    ("enable.idempotence", PropertyRule::Owned("use `kafka.delivery`: the producer is always idempotent")),
    (
        "transactional.id",
        PropertyRule::Owned("use `kafka.delivery`: with \"exactly-once\" each shard has an id of its own, made of `job.name`"),
    ),
    (
        "transaction.timeout.ms",
        PropertyRule::Owned(
            "it follows from `workers.chunk.interval`: twice that, and at least a minute (with `kafka.delivery` \"exactly-once\")",
        ),
    ),
    ("partitioner", PropertyRule::Owned("use `kafka.partitioner`")),
    ("linger.ms", LINGER),
    ("queue.buffering.max.ms", LINGER),
    ("queue.buffering.", PropertyRule::Owned("use `workers.in_flight`: the client's queue is sized by it")),
    ("batch.size", BATCHES),
    ("batch.num.messages", BATCHES),
    (
        "message.max.bytes",
        PropertyRule::Owned("use `workers.in_flight`: the topic's max.message.bytes is read from the broker"),
    ),
    (
        "allow.auto.create.topics",
        PropertyRule::Owned("create `kafka.topic` before the run: a client must never do it by accident"),
    ),
    ("topic.blacklist", PropertyRule::Owned("a job has one topic, `kafka.topic`")),
    ("message.timeout.ms", RETRIES),
    ("delivery.timeout.ms", RETRIES),
    ("retries", RETRIES),
    ("message.send.max.retries", RETRIES),
    ("delivery.report.only.error", REPORTS),
    ("enable.gapless.guarantee", REPORTS),
    ("produce.offset.report", REPORTS),
    ("max.in.flight", ORDER),
    ("max.in.flight.requests.per.connection", ORDER),
    ("queuing.strategy", ORDER),
    ("socket.max.fails", PropertyRule::Owned("after a request that was not answered the connection must be a new one")),
    ("api.version.", VERSIONS),
    ("broker.version.fallback", VERSIONS),
    ("socket.timeout.ms", A_SECOND),
    ("request.timeout.ms", A_SECOND),
    ("isolation.level", VERDICT),
    ("auto.offset.reset", VERDICT),
    ("check.crcs", VERDICT),
    ("enable.partition.eof", VERDICT),
    ("consume.callback.max.messages", VERDICT),
    ("group.", NO_GROUP),
    ("session.timeout.ms", NO_GROUP),
    ("heartbeat.interval.ms", NO_GROUP),
    ("max.poll.interval.ms", NO_GROUP),
    ("partition.assignment.strategy", NO_GROUP),
    ("coordinator.query.interval.ms", NO_GROUP),
    ("enable.auto.commit", NO_GROUP),
    ("auto.commit.", NO_GROUP),
    ("enable.auto.offset.store", NO_GROUP),
    ("offset.store.", NO_GROUP),
    ("plugin.library.paths", FOREIGN_CODE),
    ("interceptors", FOREIGN_CODE),
    ("internal.termination.signal", PropertyRule::Owned("a signal of that number could end this program")),
    ("log.queue", PropertyRule::Owned("the client's log goes into this program's")),
    ("enabled_events", NOT_TEXT),
    ("builtin.features", PropertyRule::Owned("it says what the client was built with")),
    ("background_event_cb", NOT_TEXT),
    ("closesocket_cb", NOT_TEXT),
    ("connect_cb", NOT_TEXT),
    ("consume_cb", NOT_TEXT),
    ("default_topic_conf", NOT_TEXT),
    ("dr_cb", NOT_TEXT),
    ("dr_msg_cb", NOT_TEXT),
    ("error_cb", NOT_TEXT),
    ("log_cb", NOT_TEXT),
    ("msg_order_cmp", NOT_TEXT),
    ("oauthbearer_token_refresh_cb", NOT_TEXT),
    ("offset_commit_cb", NOT_TEXT),
    ("opaque", NOT_TEXT),
    ("open_cb", NOT_TEXT),
    ("partitioner_cb", NOT_TEXT),
    ("rebalance_cb", NOT_TEXT),
    ("resolve_cb", NOT_TEXT),
    ("socket_cb", NOT_TEXT),
    ("ssl.certificate.verify_cb", NOT_TEXT),
    ("ssl_ca", NOT_TEXT),
    ("ssl_certificate", NOT_TEXT),
    ("ssl_engine_callback_data", NOT_TEXT),
    ("ssl_key", NOT_TEXT),
    ("stats_cb", NOT_TEXT),
    ("throttle_cb", NOT_TEXT),
    // How it connects, proves who it is and finds its brokers.
    ("security.protocol", PropertyRule::Free),
    ("sasl.", PropertyRule::Free),
    ("enable.sasl.oauthbearer.unsecure.jwt", PropertyRule::Free),
    ("ssl.", PropertyRule::Free),
    ("https.", PropertyRule::Free),
    ("enable.ssl.certificate.verification", PropertyRule::Free),
    ("client.rack", PropertyRule::Free),
    ("client.dns.lookup", PropertyRule::Free),
    ("broker.address.", PropertyRule::Free),
    ("socket.", PropertyRule::Free),
    ("connections.max.idle.ms", PropertyRule::Free),
    ("reconnect.backoff.", PropertyRule::Free),
    ("retry.backoff.", PropertyRule::Free),
    ("metadata.max.age.ms", PropertyRule::Free),
    ("metadata.recovery.", PropertyRule::Free),
    ("topic.metadata.", PropertyRule::Free),
    ("receive.message.max.bytes", PropertyRule::Free),
    // How much it costs.
    ("compression.", PropertyRule::Free),
    ("message.copy.max.bytes", PropertyRule::Free),
    ("sticky.partitioning.linger.ms", PropertyRule::Free),
    ("fetch.", PropertyRule::Free),
    ("max.partition.fetch.bytes", PropertyRule::Free),
    ("queued.", PropertyRule::Free),
    // What it tells.
    ("debug", PropertyRule::Free),
    ("log_level", PropertyRule::Free),
    ("log.", PropertyRule::Free),
    ("statistics.interval.ms", PropertyRule::Free),
    ("enable.metrics.push", PropertyRule::Free),
    ("enable.random.seed", PropertyRule::Free),
];

/// What is decided for a property; `None`: nothing, because it is unknown here. The client takes a topic's properties
/// with `topic.` in front too.
pub fn property_rule(name: &str) -> Option<PropertyRule> {
    let rule = |name: &str| {
        let fits = |known: &str| if known.ends_with('.') { name.starts_with(known) } else { name == known };
        RULES.iter().find(|(known, _)| fits(known)).map(|(_, rule)| *rule)
    };
    rule(name).or_else(|| rule(name.strip_prefix("topic.")?))
}

/// Whether a librdkafka property has the client compress. It takes a topic's properties with `topic.` in front too, and
/// values in any case and with white space around them.
pub fn is_compressing(name: &str, value: &str) -> bool {
    let is_codec = matches!(name.strip_prefix("topic.").unwrap_or(name), "compression.type" | "compression.codec");
    is_codec && !value.trim().eq_ignore_ascii_case("none")
}

/// Whether a librdkafka property holds a secret, judged by its name.
pub fn is_secret_property(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "secret", "passphrase"].iter().any(|word| name.contains(word))
        || name.ends_with("key.pem")
        || matches!(name.as_str(), "sasl.oauthbearer.config" | "sasl.jaas.config" | "ssl.keystore.key")
        || name.ends_with("user.info")
}

/// How a secret is given: a reference to a variable.
pub(super) fn typed_form(name: &str) -> String {
    let variable: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    format!("  {name:?} = {{ env = \"KAFKA_{variable}\" }}")
}

/// A line of the config as errors may show it: what follows a secret's name is cut, but for references.
pub(super) fn mask_secrets(line: &str) -> String {
    for (at, _) in line.match_indices('=') {
        let name = line[..at].rsplit(['{', ',', '=']).next().unwrap_or_default();
        if is_secret_property(&name.replace([' ', '"', '\''], "")) && !line[at + 1..].trim_start().starts_with('{') {
            return format!("{}= …", &line[..at]);
        }
    }
    line.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_name() {
        for name in
            ["sasl.password", "ssl.key.password", "ssl.keystore.password", "ssl.key.pem", "sasl.oauthbearer.client.secret"]
        {
            assert!(is_secret_property(name), "{name}");
        }
        for name in ["sasl.username", "ssl.key.location", "compression.type", "ssl.certificate.pem"] {
            assert!(!is_secret_property(name), "{name}");
        }
    }

    #[test]
    fn a_masked_line_keeps_references_only() {
        assert_eq!(mask_secrets("\"sasl.password\" = \"hunter2\""), "\"sasl.password\" = …");
        assert_eq!(mask_secrets("\"sasl.password\" = \"hunter2"), "\"sasl.password\" = …");
        assert_eq!(mask_secrets("\"sasl.password\" = { env = \"P\" }"), "\"sasl.password\" = { env = \"P\" }");
        assert_eq!(mask_secrets("p = { a = 1, \"ssl.key.password\" = 'x' }"), "p = { a = 1, \"ssl.key.password\" = …");
        assert_eq!(mask_secrets("[kafka]"), "[kafka]");
    }

    #[test]
    fn prefixes_stand_for_all_their_properties() {
        assert!(matches!(property_rule("queue.buffering.max.kbytes"), Some(PropertyRule::Owned(_))));
        assert_eq!(property_rule("compression.type"), Some(PropertyRule::Free));
        assert_eq!(property_rule("test.mock.num.brokers"), None);
    }

    #[test]
    fn another_spelling_is_no_way_around_a_rule() {
        for name in ["topic.acks", "topic.message.timeout.ms", "topic.queuing.strategy", "topic.request.required.acks"] {
            assert!(matches!(property_rule(name), Some(PropertyRule::Owned(_))), "{name}");
        }
        assert_eq!(property_rule("topic.metadata.refresh.interval.ms"), Some(PropertyRule::Free));
        assert_eq!(property_rule("topic.request.timeout.ms"), Some(PropertyRule::AtLeast(1000)));
    }

    #[test]
    fn what_breaks_delivery_is_owned() {
        for name in [
            "delivery.report.only.error",
            "enable.gapless.guarantee",
            "retries",
            "message.send.max.retries",
            "max.in.flight",
            "max.in.flight.requests.per.connection",
            "queuing.strategy",
            "message.timeout.ms",
            "delivery.timeout.ms",
            "group.id",
            "isolation.level",
            "transactional.id",
            "transaction.timeout.ms",
        ] {
            assert!(matches!(property_rule(name), Some(PropertyRule::Owned(_))), "{name}");
        }
    }
}
