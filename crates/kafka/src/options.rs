//! From a job to the properties of a client, and what a user may set among them.
//!
//! Responsible for: which properties this tool sets and why, names and values checked by the client library itself
//! without creating a client. Not responsible for: where in a config file a bad property stands, which ones a user may
//! not set.

use migration::Job;
use migration::config::{PropertyProblem, PropertyRule, is_secret_property, property_rule};
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

/// Checks what a user wrote, name by name, without creating a client (and hence without a thread). Which properties a
/// user may not set at all is the config's business.
pub fn check_properties(properties: &[(String, String)]) -> Vec<PropertyProblem> {
    let mut conf = Conf::new();
    let mut problems = Vec::new();
    for (name, value) in properties {
        let (message, did_you_mean) = match conf.set(name, value) {
            Ok(()) => match out_of_bounds(name, &conf) {
                Some(message) => (message, None),
                None => continue,
            },
            Err(ConfError::Unknown) => ("the Kafka client knows no such property".to_owned(), alike(name, conf.names())),
            Err(ConfError::Invalid(_)) if is_secret_property(name) => ("the Kafka client refuses the value".to_owned(), None),
            Err(ConfError::Invalid(message)) => (message, None),
        };
        problems.push(PropertyProblem { name: name.clone(), message, did_you_mean });
    }
    problems
}

/// Why a property that the client took is refused all the same.
fn out_of_bounds(name: &str, conf: &Conf) -> Option<String> {
    match property_rule(name) {
        // The value as the client has read it: `0x10` is a number to it.
        Some(PropertyRule::AtLeast(least)) => {
            let value = conf.get(name.strip_prefix("topic.").unwrap_or(name));
            let small = value.and_then(|value| value.parse::<u64>().ok()).is_some_and(|value| value < least);
            small.then(|| format!("it must be at least {least}: answers that come later would count as none"))
        }
        // Hidden ones are for the client's own tests: one has it talk to brokers of its own.
        None => Some("it is for the Kafka client's own tests".to_owned()),
        Some(PropertyRule::Free | PropertyRule::Owned(_)) => None,
    }
}

/// Properties that the client takes and does not list: other names, and ones without a default.
const UNLISTED: &[&str] = &[
    "client.rack",
    "compression.type",
    "debug",
    "fetch.message.max.bytes",
    "max.partition.fetch.bytes",
    "sasl.mechanism",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.extensions",
    "sasl.oauthbearer.scope",
    "sasl.oauthbearer.token.endpoint.url",
    "sasl.password",
    "sasl.username",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.cipher.suites",
    "ssl.crl.location",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.location",
    "ssl.keystore.password",
];

/// The known name that is most like `name`, if one is like it at all.
fn alike(name: &str, known: Vec<String>) -> Option<String> {
    let unlisted = UNLISTED.iter().map(|&s| s.to_owned());
    known
        .into_iter()
        .chain(unlisted)
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

/// The name that brokers see in quotas and audit logs: the config's, or one of its own for each client.
pub fn client_id(job: &Job, shard: Option<&str>) -> String {
    let (version, name) = (env!("CARGO_PKG_VERSION"), &job.name);
    match (&job.kafka.client_id, shard) {
        (Some(id), _) => id.clone(),
        (None, Some(shard)) => format!("shardlift/{version} {name}/{shard}"),
        (None, None) => format!("shardlift/{version} {name}"),
    }
}

/// The properties of a client for a job: our defaults, then what the user set, then what typed keys own. The job's
/// brokers must be addresses by now: the embedded broker is started by the caller, who puts its address into the job.
///
/// What a producer sets beyond this depends on its shard and topic: [`crate::ProducerOptions`].
pub fn client_properties(job: &Job, role: Role) -> Vec<(String, String)> {
    let mut properties: Vec<(String, String)> = defaults(role).iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
    properties.extend(job.kafka.properties.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())));
    if let Brokers::Bootstrap(brokers) = &job.kafka.brokers {
        properties.push(("bootstrap.servers".into(), brokers.join(",")));
    }
    properties.push(("client.id".into(), client_id(job, None)));
    properties.push(("allow.auto.create.topics".into(), "false".into()));
    properties.extend(required(role).iter().map(|&(k, v)| (k.to_owned(), v.to_owned())));
    properties
}

/// What a user may not change (see [`migration::config::property_rule`]), because the answers of a client rest on it:
/// these stand after what the user set.
fn required(role: Role) -> &'static [(&'static str, &'static str)] {
    match role {
        // A record waits for its broker for ever: stalls end by `give_up_after` and heartbeats, not by duplicates.
        Role::Producer => &[("message.timeout.ms", "0")],
        Role::Reader => &[
            ("isolation.level", "read_committed"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("enable.partition.eof", "true"),
            ("auto.offset.reset", "error"),
            ("check.crcs", "true"),
        ],
        // Where a partition ends is where its log ends, not where the oldest open transaction begins.
        Role::Admin => &[("isolation.level", "read_uncommitted")],
    }
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
        ],
        Role::Reader => &[
            ("reconnect.backoff.ms", "20"),
            ("reconnect.backoff.max.ms", "1000"),
            ("enable.metrics.push", "false"),
            ("log.connection.close", "false"),
            // A fetch that waits at the end of a partition must not hold up the others of the same broker.
            ("fetch.wait.max.ms", "100"),
            ("queued.min.messages", "20000"),
            // Its default of 1 s is how long a partition stands still each time its queue was full: 18 s a million
            // records.
            ("fetch.queue.backoff.ms", "10"),
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
            ConfError::Invalid(_) if is_secret_property(name) => format!("the Kafka client refuses the value of {name}"),
            ConfError::Invalid(message) => message,
        })?;
    }
    Ok(conf)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small job with more lines.
    fn job_with(lines: &str) -> Result<Job, migration::config::ConfigErrors> {
        let text = format!("job.name = 'j'\nsource.jsonl.paths = ['x']\nkafka.topic = 't'\nkafka.brokers = ['a:1']\n{lines}");
        let context = migration::config::Context {
            config_dir: std::path::Path::new("/"),
            env: &|_| None,
            read_secret_file: &|_| Ok(String::new()),
            check_properties: &check_properties,
            is_folder: &|_| Ok(false),
            contacts_brokers: true,
        };
        migration::config::Typed::parse(&text, "test").expect("TOML").mean(&context)
    }

    fn check(name: &str, value: &str) -> Option<PropertyProblem> {
        check_properties(&[(name.into(), value.into())]).pop()
    }

    #[test]
    fn a_client_id_of_the_config_is_that_of_all_clients() {
        let ids = |job: &Job| {
            let of = |properties: Vec<(String, String)>| {
                properties.into_iter().rfind(|(name, _)| name == "client.id").map(|(_, value)| value).unwrap_or_default()
            };
            let roles = [Role::Admin, Role::Reader, Role::Producer].map(|role| of(client_properties(job, role)));
            (roles, crate::ProducerOptions::for_job(job, "00007", 1_000_000).client_id)
        };
        let (roles, producer) = ids(&job_with("").expect("valid"));
        assert!(roles.iter().all(|id| id.ends_with(" j")) && producer.ends_with(" j/00007"), "{roles:?} {producer}");
        let job = job_with("kafka.client_id = 'orders-backfill'").expect("valid");
        assert_eq!(ids(&job), (["orders-backfill"; 3].map(str::to_owned), "orders-backfill".to_owned()));
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
            [("compression.type", "lz4"), ("sasl.password", "x"), ("socket.timeout.ms", "5000"), ("debug", "broker,eos")]
        {
            assert_eq!(check(name, value), None, "{name}");
        }
    }

    /// A property that a new version of the client brings must be looked at before users may set it.
    #[test]
    fn each_property_of_the_client_is_decided() {
        let all = Conf::all_properties();
        assert!(all.len() > 180 && all.iter().any(|name| name == "queuing.strategy"), "{all:?}");
        let undecided: Vec<_> = all.iter().filter(|name| property_rule(name).is_none()).collect();
        assert!(undecided.is_empty(), "{undecided:?}");
    }

    #[test]
    fn what_only_the_clients_own_tests_set_is_refused() {
        for name in
            ["test.mock.num.brokers", "topic.test.mock.num.brokers", "ut_handle_ProduceResponse", "client.software.name"]
        {
            assert!(check(name, "1").is_some(), "{name}");
        }
    }

    #[test]
    fn times_in_which_no_answer_can_come_are_refused() {
        for (name, value, fine) in [
            ("socket.timeout.ms", "999", false),
            ("socket.timeout.ms", "0x1f4", false),
            ("socket.timeout.ms", "1000", true),
            ("request.timeout.ms", "1", false),
            ("topic.request.timeout.ms", "1", false),
            ("topic.request.timeout.ms", "1000", true),
        ] {
            assert_eq!(check(name, value).is_none(), fine, "{name}={value}");
        }
    }

    #[test]
    fn what_typed_keys_own_is_set_after_what_a_user_gave() {
        let job = |name: &str, value: &str| job_with(&format!("[kafka.properties]\n{name:?} = {value:?}\n"));
        for name in ["message.timeout.ms", "delivery.timeout.ms", "topic.message.timeout.ms"] {
            let errors = job(name, "500").expect_err("it is owned").to_string();
            assert!(errors.contains("kafka.give_up_after"), "{errors}");
        }
        let properties = client_properties(&job("compression.type", "lz4").expect("valid"), Role::Producer);
        assert_eq!(configure(&properties).expect("valid").get("message.timeout.ms").as_deref(), Some("0"));
    }

    #[test]
    fn names_of_java_clients_are_none_of_this_one() {
        for (name, instead) in migration::config::JAVA_NAMES {
            let name = if name.ends_with('.') { format!("{name}x") } else { (*name).to_owned() };
            assert_ne!(Conf::new().set(&name, "1"), Ok(()), "{name}");
            // What is to be used instead is a property.
            for named in instead.split('"').filter(|part| part.contains('.') && !part.contains([' ', '*'])) {
                let known = Conf::new().names().iter().any(|known| known == named) || UNLISTED.contains(&named);
                let file = ["client.crt", "client.key"].contains(&named);
                assert!(known || file, "{name} is told to be {named}, which the client does not know");
            }
        }
    }

    #[test]
    fn typos_are_answered() {
        for (typo, name) in [
            ("compresion.type", "compression.type"),
            ("sasl.pasword", "sasl.password"),
            ("sasl.usernme", "sasl.username"),
            ("ssl.ca.locaton", "ssl.ca.location"),
            ("security.protocoll", "security.protocol"),
            ("socket.timeout", "socket.timeout.ms"),
        ] {
            assert_eq!(check(typo, "1").unwrap().did_you_mean.as_deref(), Some(name));
        }
        let problem = check("entirely.else", "1").unwrap();
        assert!(problem.message.contains("no such property") && problem.did_you_mean.is_none(), "{problem:?}");
    }

    #[test]
    fn every_suggestion_is_a_property() {
        for name in UNLISTED {
            assert_ne!(Conf::new().set(name, "1"), Err(ConfError::Unknown), "{name}");
        }
    }

    #[test]
    fn bad_values_are_refused_in_the_clients_words() {
        let problem = check("compression.type", "rar").unwrap();
        assert!(problem.message.contains("rar") && problem.message.contains("compression"), "{problem:?}");
        assert!(check("socket.timeout.ms", "soon").is_some());
    }

    #[test]
    fn a_refused_secret_is_not_repeated() {
        let problem = check("ssl.key.pem", "very\0secret");
        assert!(problem.is_some() && !format!("{problem:?}").contains("very"), "{problem:?}");
    }

    #[test]
    fn every_default_is_taken_by_the_client() {
        for role in [Role::Producer, Role::Reader, Role::Admin] {
            let all: Vec<_> = defaults(role).iter().chain(required(role)).map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
            assert!(configure(&all).is_ok());
            assert_eq!(check_properties(&all), []);
        }
    }
}
