//! From a job to the properties of a client, and what a user may set among them.
//!
//! Responsible for: which properties this tool sets and why, names and values checked by the client library itself without
//! creating a client, which typed key owns a property, which properties are secrets. Not responsible for: where in a config
//! file a bad property stands.

use migration::Job;
use migration::job::Brokers;

use crate::ffi::{Conf, ConfError};

/// What a client is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sends a shard.
    Producer,
    /// Reads a topic back.
    Reader,
    /// Asks the cluster.
    Admin,
}

/// What is wrong with a property that a user wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PropertyProblem {
    /// Its name as written.
    pub name: String,
    /// What is wrong.
    pub kind: PropertyProblemKind,
}

/// What is wrong with a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PropertyProblemKind {
    /// The client knows no such property.
    Unknown {
        /// One that is spelled much alike.
        did_you_mean: Option<String>,
    },
    /// The client refuses the value.
    BadValue {
        /// In the client's words; without the value if the property is a secret.
        message: String,
    },
    /// A typed key of the config owns the property.
    Owned {
        /// The key to use, or why there is none.
        typed_key: &'static str,
    },
}

/// The properties that typed keys own, and which key.
const OWNED: &[(&str, &str)] = &[
    ("bootstrap.servers", "kafka.brokers"),
    ("metadata.broker.list", "kafka.brokers"),
    ("client.id", "job.name"),
    ("acks", "kafka.delivery"),
    ("request.required.acks", "kafka.delivery"),
    ("enable.idempotence", "kafka.delivery"),
    ("transactional.id", "kafka.delivery"),
    ("partitioner", "kafka.partitioner"),
    ("linger.ms", "workers.flush"),
    ("batch.size", "workers.in_flight"),
    ("batch.num.messages", "workers.in_flight"),
    ("message.max.bytes", "the topic's own max.message.bytes"),
    ("allow.auto.create.topics", "nothing: topics are never created by a run"),
];

/// The key that owns every property with a prefix.
const OWNED_PREFIXES: &[(&str, &str)] = &[("queue.buffering.", "workers.in_flight")];

/// Properties whose values must not be shown, logged or stand in a command line.
const SECRETS: &[&str] = &[
    "sasl.password",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.assertion.private.key.passphrase",
    "sasl.oauthbearer.assertion.private.key.pem",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
];

/// Whether a property's value is a secret: by name, or because the name looks like one.
pub fn is_secret(name: &str) -> bool {
    SECRETS.contains(&name) || name.ends_with("password") || name.ends_with("secret") || name.ends_with("passphrase")
}

/// The typed key that owns a property.
pub fn owner(name: &str) -> Option<&'static str> {
    let exact = OWNED.iter().find(|(owned, _)| *owned == name);
    let prefix = || OWNED_PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix));
    exact.or_else(prefix).map(|(_, key)| *key)
}

/// Checks what a user wrote, name by name, without creating a client (and hence without a thread).
pub fn check_properties(properties: &[(String, String)]) -> Vec<PropertyProblem> {
    let mut conf = Conf::new();
    let mut problems = Vec::new();
    for (name, value) in properties {
        let kind = match (owner(name), conf.set(name, value)) {
            (Some(typed_key), _) => PropertyProblemKind::Owned { typed_key },
            (None, Ok(())) => continue,
            (None, Err(ConfError::Unknown)) => PropertyProblemKind::Unknown { did_you_mean: alike(name, conf.names()) },
            (None, Err(ConfError::Invalid(message))) => PropertyProblemKind::BadValue {
                message: if is_secret(name) { format!("the client refuses the value of {name}") } else { message },
            },
        };
        problems.push(PropertyProblem { name: name.clone(), kind });
    }
    problems
}

/// Properties that the client takes and does not list: other names, and ones without a default.
const ALIASES: &[&str] = &[
    "bootstrap.servers",
    "compression.type",
    "delivery.timeout.ms",
    "fetch.message.max.bytes",
    "max.in.flight",
    "max.partition.fetch.bytes",
    "retries",
    "sasl.mechanism",
    "sasl.username",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.extensions",
    "sasl.oauthbearer.scope",
    "sasl.oauthbearer.token.endpoint.url",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.cipher.suites",
    "ssl.crl.location",
    "ssl.key.location",
    "ssl.keystore.location",
    "client.rack",
    "debug",
    "group.id",
];

/// The known name that is most like `name`, if one is like it at all.
fn alike(name: &str, known: Vec<String>) -> Option<String> {
    let others = SECRETS.iter().chain(ALIASES).map(|&s| s.to_owned());
    known
        .into_iter()
        .chain(others)
        .map(|candidate| (strsim::damerau_levenshtein(name, &candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 6)
        .min()
        .map(|(_, candidate)| candidate)
}

/// The features that the client library was built with.
pub fn builtin_features() -> Vec<String> {
    let features = Conf::new().get("builtin.features").unwrap_or_default();
    features.split(',').map(|f| f.trim().to_owned()).collect()
}

/// The version of the client library.
pub fn client_version() -> String {
    crate::ffi::version()
}

/// The name that brokers see in quotas and audit logs.
pub fn client_id(job: &str, shard: Option<&str>) -> String {
    let version = env!("CARGO_PKG_VERSION");
    match shard {
        Some(shard) => format!("shardlift/{version} {job}/{shard}"),
        None => format!("shardlift/{version} {job}"),
    }
}

/// The properties of a client for a job: our defaults, then what the user set, then what typed keys own. The job's brokers must
/// be addresses by now: the embedded broker is started by the caller, who puts its address into the job.
///
/// What a producer sets beyond this depends on its shard and topic: [`crate::ProducerOptions`].
pub fn client_properties(job: &Job, role: Role) -> Vec<(String, String)> {
    let mut properties: Vec<(String, String)> = defaults(role).iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
    properties.extend(job.kafka.properties.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())));
    if let Brokers::Bootstrap(brokers) = &job.kafka.brokers {
        properties.push(("bootstrap.servers".into(), brokers.join(",")));
    }
    properties.push(("client.id".into(), client_id(&job.name, None)));
    properties.push(("allow.auto.create.topics".into(), "false".into()));
    properties
}

/// Defaults that a user may change.
fn defaults(role: Role) -> &'static [(&'static str, &'static str)] {
    match role {
        Role::Producer => &[
            // Half of it also passes before the client connects to a second broker, at the start too.
            ("reconnect.backoff.ms", "20"),
            // A worker may sleep this long after its broker is back.
            ("reconnect.backoff.max.ms", "1000"),
            ("enable.metrics.push", "false"),
            ("log.connection.close", "false"),
            // A record waits for its broker for ever: stalls end by `give_up_after` and heartbeats, not by duplicates.
            ("message.timeout.ms", "0"),
        ],
        Role::Reader => &[
            ("reconnect.backoff.ms", "20"),
            ("reconnect.backoff.max.ms", "1000"),
            ("enable.metrics.push", "false"),
            ("log.connection.close", "false"),
            ("isolation.level", "read_committed"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("enable.partition.eof", "true"),
            ("auto.offset.reset", "error"),
            ("check.crcs", "true"),
            // A fetch that waits at the end of a partition must not hold up the others of the same broker.
            ("fetch.wait.max.ms", "100"),
            ("queued.min.messages", "20000"),
        ],
        Role::Admin => &[
            ("reconnect.backoff.ms", "20"),
            ("reconnect.backoff.max.ms", "1000"),
            ("enable.metrics.push", "false"),
            ("log.connection.close", "false"),
        ],
    }
}

/// Puts properties into a fresh configuration. The text of an error never holds a secret.
pub(crate) fn configure(properties: &[(String, String)]) -> Result<Conf, String> {
    let mut conf = Conf::new();
    for (name, value) in properties {
        conf.set(name, value).map_err(|error| match error {
            ConfError::Unknown => format!("the Kafka client knows no property {name:?}"),
            ConfError::Invalid(_) if is_secret(name) => format!("the Kafka client refuses the value of {name}"),
            ConfError::Invalid(message) => message,
        })?;
    }
    Ok(conf)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, value: &str) -> Option<PropertyProblemKind> {
        check_properties(&[(name.into(), value.into())]).pop().map(|p| p.kind)
    }

    #[test]
    fn the_client_was_built_with_what_users_need() {
        let features = builtin_features();
        for feature in ["ssl", "sasl_scram", "sasl_plain", "sasl_oauthbearer", "gzip", "zstd", "lz4", "snappy"] {
            assert!(features.iter().any(|f| f == feature), "{feature} is missing in {features:?}");
        }
    }

    #[test]
    fn good_properties_pass() {
        for (name, value) in
            [("compression.type", "lz4"), ("sasl.password", "x"), ("message.timeout.ms", "5000"), ("debug", "broker,eos")]
        {
            assert_eq!(check(name, value), None, "{name}");
        }
    }

    #[test]
    fn typos_are_answered() {
        let unknown = |s: &str| Some(PropertyProblemKind::Unknown { did_you_mean: Some(s.into()) });
        assert_eq!(check("compresion.type", "lz4"), unknown("compression.type"));
        assert_eq!(check("sasl.pasword", "x"), unknown("sasl.password"));
        assert_eq!(check("sasl.usernme", "x"), unknown("sasl.username"));
        assert_eq!(check("security.protocoll", "ssl"), unknown("security.protocol"));
        assert_eq!(check("ssl.ca.locaton", "x"), unknown("ssl.ca.location"));
        assert_eq!(check("message.timeout", "5"), unknown("message.timeout.ms"));
        assert_eq!(check("entirely.else", "1"), Some(PropertyProblemKind::Unknown { did_you_mean: None }));
    }

    #[test]
    fn bad_values_are_refused_in_the_clients_words() {
        let Some(PropertyProblemKind::BadValue { message }) = check("compression.type", "rar") else { panic!("accepted") };
        assert!(message.contains("rar") && message.contains("compression"), "{message}");
        assert!(matches!(check("socket.timeout.ms", "soon"), Some(PropertyProblemKind::BadValue { .. })));
    }

    #[test]
    fn a_refused_secret_is_not_repeated() {
        let problem = check("ssl.key.pem", "very\0secret");
        assert!(!format!("{problem:?}").contains("very"), "{problem:?}");
        assert!(
            ["sasl.password", "ssl.key.password", "ssl.keystore.password", "sasl.oauthbearer.client.secret", "ssl.key.pem"]
                .iter()
                .all(|s| is_secret(s))
        );
        assert!(!is_secret("sasl.username"));
    }

    #[test]
    fn every_owned_property_is_known_to_the_client_and_names_its_key() {
        let names = Conf::new().names();
        for (name, key) in OWNED {
            assert_eq!(check(name, "1"), Some(PropertyProblemKind::Owned { typed_key: key }), "{name}");
            assert!(names.iter().any(|n| n == name) || Conf::new().set(name, "1") != Err(ConfError::Unknown), "{name}");
        }
        assert!(matches!(check("queue.buffering.max.kbytes", "1"), Some(PropertyProblemKind::Owned { .. })));
        assert!(matches!(check("queue.buffering.max.ms", "1"), Some(PropertyProblemKind::Owned { .. })));
    }

    #[test]
    fn every_suggestion_is_a_property() {
        for name in SECRETS.iter().chain(ALIASES) {
            assert_ne!(Conf::new().set(name, "1"), Err(ConfError::Unknown), "{name}");
        }
    }

    #[test]
    fn every_default_is_taken_by_the_client() {
        for role in [Role::Producer, Role::Reader, Role::Admin] {
            let all: Vec<_> = defaults(role).iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
            assert!(configure(&all).is_ok());
            assert_eq!(check_properties(&all), []);
        }
    }
}
