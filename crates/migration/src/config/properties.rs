//! What is known about librdkafka's properties without librdkafka: which ones typed keys own, and which are secrets.

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

/// What to do instead of giving a property that a typed key owns.
pub(super) struct Owner {
    /// The property, or the start of its name (`queue.buffering.`).
    property: &'static str,
    /// What to do.
    pub(super) instead: &'static str,
}

const OWNERS: [Owner; 15] = [
    owner("bootstrap.servers", "use `kafka.brokers`"),
    owner("metadata.broker.list", "use `kafka.brokers`"),
    owner("client.id", "use `job.name`: the client id is made of it and the shard's number"),
    owner("acks", "use `kafka.delivery`: every promise needs all in-sync replicas"),
    owner("request.required.acks", "use `kafka.delivery`: every promise needs all in-sync replicas"),
    owner("enable.idempotence", "use `kafka.delivery`: the producer is always idempotent"),
    owner("transactional.id", "use `kafka.delivery`"),
    owner("partitioner", "use `kafka.partitioner`"),
    owner("linger.ms", "use `workers.flush`: it decides how long records wait for company"),
    owner("batch.size", "use `workers.in_flight`: batches follow from it and the topic's max.message.bytes"),
    owner("batch.num.messages", "use `workers.in_flight`: batches follow from it and the topic's max.message.bytes"),
    owner("message.max.bytes", "use `workers.in_flight`: the topic's max.message.bytes is read from the broker"),
    owner("queue.buffering.max.ms", "use `workers.flush`: it decides how long records wait for company"),
    owner("queue.buffering.", "use `workers.in_flight`: the client's queue is sized by it"),
    owner("allow.auto.create.topics", "create `kafka.topic` before the run: a client must never do it by accident"),
];

const fn owner(property: &'static str, instead: &'static str) -> Owner {
    Owner { property, instead }
}

/// Who owns a property, if a typed key does.
pub(super) fn owner_of(name: &str) -> Option<&'static Owner> {
    let matches = |known: &str| if known.ends_with('.') { name.starts_with(known) } else { name == known };
    OWNERS.iter().find(|owner| matches(owner.property))
}

/// Whether a librdkafka property holds a secret, judged by its name.
pub fn is_secret_property(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "secret", "passphrase"].iter().any(|word| name.contains(word))
        || name.ends_with("key.pem")
        || name == "sasl.oauthbearer.config"
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
    fn prefixes_own_all_their_properties() {
        assert!(owner_of("queue.buffering.max.kbytes").is_some());
        assert!(owner_of("compression.type").is_none());
    }
}
