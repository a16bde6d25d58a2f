//! Properties of Kafka's Java clients that librdkafka does not have: each with what to use here.
//!
//! Responsible for names that people copy from producers, consumers and brokers of the Java world. Not responsible for
//! names that both know: those follow the rules of `properties`.

/// What a property is for people, and what to write instead.
const NOTHING: &str = "delete it; it has no meaning here";
const TRUST: &str = "use \"ssl.ca.location\" with the CA's certificates as PEM (keytool -exportcert -rfc), or \"ssl.ca.pem\"";
const NO_TRUST_PASSWORD: &str = "delete it: certificates as PEM (\"ssl.ca.location\") have no password";
const BYTES_AS_THEY_ARE: &str = "delete it: key and value are sent as the bytes that the source has";
const BOUNDS: &str = "delete it; use `workers.in_flight`, which bounds the bytes of each worker";
const PARTITIONS: &str = "delete it; use `kafka.partitioner`: \"murmur2\" puts keys where Java clients do";
const CREDENTIALS: &str =
    "use \"sasl.mechanisms\", \"sasl.username\" and \"sasl.password\" = { env = \"KAFKA_SASL_PASSWORD\" }";
const LOGIN: &str = "delete it: librdkafka logs in by itself with \"sasl.mechanisms\", \"sasl.username\" and \"sasl.password\"";
const KEYSTORE: &str =
    "use \"ssl.certificate.location\" and \"ssl.key.location\" (PEM), or a PKCS#12 file as \"ssl.keystore.location\"";
const OIDC: &str = "delete it; librdkafka has sasl.oauthbearer.* of its own (its CONFIGURATION.md)";
const NO_REGISTRY: &str = "delete it: this version has no schema registry; the source's bytes are sent as they are";
const LEVEL: &str = "use \"compression.level\"";
const METRICS: &str = "delete it; the figures of a job are those of `shardlift status` and `shardlift report`";
const FOREIGN_CODE: &str = "delete it: it names a Java class";

/// Names, those that end with a dot standing for all that begin so, each with what to do. The first that fits counts.
pub const JAVA_NAMES: &[(&str, &str)] = &[
    // Producers.
    ("max.request.size", "delete it: the topic's max.message.bytes is read from the brokers, and batches follow from it"),
    ("buffer.memory", BOUNDS),
    ("max.block.ms", "delete it; use `kafka.give_up_after`, how long a run waits for brokers"),
    ("key.serializer", BYTES_AS_THEY_ARE),
    ("value.serializer", BYTES_AS_THEY_ARE),
    ("partitioner.", PARTITIONS),
    ("send.buffer.bytes", "use \"socket.send.buffer.bytes\""),
    ("receive.buffer.bytes", "use \"socket.receive.buffer.bytes\""),
    ("compression.gzip.level", LEVEL),
    ("compression.lz4.level", LEVEL),
    ("compression.zstd.level", LEVEL),
    ("interceptor.classes", FOREIGN_CODE),
    ("metadata.max.idle.ms", NOTHING),
    ("transaction.two.phase.commit.enable", "delete it; use `kafka.delivery`"),
    // Every client.
    ("default.api.timeout.ms", "use \"socket.timeout.ms\" for one request, `kafka.give_up_after` for the whole wait"),
    ("socket.connection.setup.timeout.max.ms", "use \"socket.connection.setup.timeout.ms\""),
    ("bootstrap.controllers", "use `kafka.brokers`"),
    ("security.providers", FOREIGN_CODE),
    ("config.providers", "delete it; a secret is { env = \"NAME\" } or { file = \"PATH\" }"),
    ("metric.reporters", METRICS),
    ("metrics.", METRICS),
    ("auto.include.jmx.reporter", METRICS),
    // Consumers.
    ("key.deserializer", BYTES_AS_THEY_ARE),
    ("value.deserializer", BYTES_AS_THEY_ARE),
    ("max.poll.records", NOTHING),
    ("fetch.max.wait.ms", "use \"fetch.wait.max.ms\""),
    ("exclude.internal.topics", NOTHING),
    // TLS.
    ("ssl.truststore.password", NO_TRUST_PASSWORD),
    ("ssl.truststore.type", NO_TRUST_PASSWORD),
    ("ssl.truststore.", TRUST),
    (
        "ssl.keystore.type",
        "delete it: \"ssl.keystore.location\" is a PKCS#12 file (keytool -importkeystore -deststoretype PKCS12)",
    ),
    ("ssl.keystore.key", "use \"ssl.key.pem\" = { file = \"client.key\" }, or \"ssl.key.location\""),
    (
        "ssl.keystore.certificate.chain",
        "use \"ssl.certificate.pem\" = { file = \"client.crt\" }, or \"ssl.certificate.location\"",
    ),
    ("ssl.keymanager.algorithm", KEYSTORE),
    ("ssl.trustmanager.algorithm", TRUST),
    ("ssl.secure.random.implementation", NOTHING),
    ("ssl.engine.factory.class", FOREIGN_CODE),
    ("ssl.protocol", "delete it: the newest TLS that both sides speak is used"),
    ("ssl.enabled.protocols", "delete it: the newest TLS that both sides speak is used"),
    ("ssl.provider", FOREIGN_CODE),
    // SASL.
    ("sasl.jaas.config", CREDENTIALS),
    ("sasl.client.callback.handler.class", LOGIN),
    ("sasl.server.callback.handler.class", LOGIN),
    ("sasl.login.", LOGIN),
    ("sasl.kerberos.ticket.renew.", NOTHING),
    ("sasl.oauthbearer.jwks.", OIDC),
    ("sasl.oauthbearer.jwt.", OIDC),
    ("sasl.oauthbearer.clock.skew.seconds", OIDC),
    ("sasl.oauthbearer.expected.", OIDC),
    ("sasl.oauthbearer.scope.claim.name", OIDC),
    ("sasl.oauthbearer.sub.claim.name", OIDC),
    ("sasl.oauthbearer.header.urlencode", OIDC),
    // What stands beside them in such files.
    ("schema.registry.", NO_REGISTRY),
    ("basic.auth.", NO_REGISTRY),
    ("auto.register.schemas", NO_REGISTRY),
    ("use.latest.version", NO_REGISTRY),
    ("value.subject.name.strategy", NO_REGISTRY),
    ("key.subject.name.strategy", NO_REGISTRY),
];

/// What to do about a property that only Java clients have; `None`: it is none of theirs.
pub(super) fn java_name(name: &str) -> Option<&'static str> {
    let fits = |known: &str| if known.ends_with('.') { name.starts_with(known) } else { name == known };
    JAVA_NAMES.iter().find(|(known, _)| fits(known)).map(|(_, instead)| *instead)
}
