//! The first contact with secured brokers: each kind of security carries a job, and what is wrong is named at once, by
//! what to set, and not by pages of the client's own log.

use whole_program::admin::{Operation, Rule};
use whole_program::kafka::Kafka;
use whole_program::multiset::Difference;
use whole_program::scene::Scene;
use whole_program::suite::{Clusters, Test};
use whole_program::test;

/// The tests of this module.
pub const TESTS: &[Test] = &[test!(Waits, Kafka, each_kind_of_security_carries_a_job)];

/// A client of a listener: its security, without what a case changes of it.
struct Client {
    listener: &'static str,
    properties: Vec<(&'static str, String)>,
}

impl Client {
    fn new(listener: &'static str) -> Self {
        Client { listener, properties: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.properties.retain(|(given, _)| *given != name);
        self.properties.push((name, value.into()));
        self
    }

    fn certificate(self, kafka: &Kafka, name: &'static str, file: &str) -> Self {
        let path = kafka.certificate(file).display().to_string();
        self.with(name, path)
    }

    /// TLS that trusts the cluster's authority.
    fn tls(listener: &'static str, kafka: &Kafka) -> Self {
        Self::new(listener).with("security.protocol", "SSL").certificate(kafka, "ssl.ca.location", "ca.pem")
    }

    /// TLS with a certificate of its own: `User:CN=client`.
    fn mtls(kafka: &Kafka) -> Self {
        let client = Self::tls("mtls", kafka).certificate(kafka, "ssl.certificate.location", "client.crt");
        client.certificate(kafka, "ssl.key.location", "client.key")
    }

    /// `User:alice`, over TLS.
    fn scram(kafka: &Kafka) -> Self {
        let client = Self::tls("sasl-tls", kafka).with("security.protocol", "SASL_SSL");
        client.with("sasl.mechanisms", "SCRAM-SHA-512").with("sasl.username", "alice").with("sasl.password", "alice-secret")
    }

    /// `User:carol`, without TLS.
    fn plain_password() -> Self {
        let client = Self::new("sasl").with("security.protocol", "SASL_PLAINTEXT").with("sasl.mechanisms", "PLAIN");
        client.with("sasl.username", "carol").with("sasl.password", "carol-secret")
    }

    /// The keys of a config.
    fn keys(&self, kafka: &Kafka) -> Vec<(String, String)> {
        let mut keys = vec![("kafka.brokers".to_owned(), format!("[\"{}\"]", kafka.listener(self.listener)))];
        keys.extend(self.properties.iter().map(|(name, value)| (format!("kafka.properties.\"{name}\""), format!("{value:?}"))));
        keys
    }
}

fn borrowed(keys: &[(String, String)]) -> Vec<(&str, &str)> {
    keys.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

/// What a job needs of a topic, and no more.
fn allow(kafka: &Kafka, principal: &str, topic: &str) {
    for operation in [Operation::Describe, Operation::DescribeConfigs, Operation::Write, Operation::Read] {
        kafka.add_rule_for(principal, topic, Rule::Allow, operation);
    }
}

/// With no more rights than a job needs it is sent and verified.
fn each_kind_of_security_carries_a_job(clusters: &Clusters) {
    let kafka = clusters.secured();
    let cases = [
        ("secured-tls", None, Client::tls("tls", kafka)),
        ("secured-mtls", Some("User:CN=client"), Client::mtls(kafka)),
        ("secured-scram", Some("User:alice"), Client::scram(kafka)),
        ("secured-password", Some("User:carol"), Client::plain_password()),
    ];
    std::thread::scope(|scope| {
        for (name, principal, client) in &cases {
            scope.spawn(move || carries(kafka, name, *principal, client));
        }
    });
}

fn carries(kafka: &Kafka, name: &str, principal: Option<&str>, client: &Client) {
    let scene = Scene::with_topic(kafka, name, 3, &[]);
    if let Some(principal) = principal {
        allow(kafka, principal, name);
    }
    scene.configure(&[&borrowed(&client.keys(kafka))[..], &[("record.key", "\".customer_id\"")]].concat());
    let source = scene.orders(61, 300);
    let finished = scene.run(&[]).expect_code(0);
    assert!(!finished.stderr.to_lowercase().contains("warn"), "{name}: {}", finished.stderr);
    assert_eq!(scene.judge_and_verify(&source), Difference::default(), "{name}");
    scene.program.assert_nothing_left();
}
