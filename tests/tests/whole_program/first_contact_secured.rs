//! The first contact with secured brokers: each kind of security carries a job, and what is wrong is named at once, by
//! what to set, and not by pages of the client's own log.

use std::time::Duration;

use whole_program::admin::{Operation, Rule};
use whole_program::kafka::Kafka;
use whole_program::multiset::Difference;
use whole_program::program::Program;
use whole_program::scene::{PATIENCE, Scene, config};
use whole_program::suite::{Clusters, Test};
use whole_program::test;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Waits, Kafka, each_kind_of_security_carries_a_job),
    test!(Waits, Kafka, what_is_wrong_with_a_connection_is_named_at_once),
    test!(Waits, Kafka, a_missing_right_is_named_with_the_line_that_grants_it),
];

/// The longest time to name what is wrong with a connection is 2 s, with an address 5 s; what a busy machine may take.
const AT_ONCE: Duration = Duration::from_secs(15);
/// Lines of stderr are fewer than this: the client's own log is not for users.
const FEW_LINES: usize = 10;

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
        self = self.without(name);
        self.properties.push((name, value.into()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.properties.retain(|(given, _)| *given != name);
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

/// A client that can't get in.
struct Wrong {
    name: &'static str,
    client: Client,
    code: i32,
    says: &'static [&'static str],
}

fn wrong(name: &'static str, client: Client, code: i32, says: &'static [&'static str]) -> Wrong {
    Wrong { name, client, code, says }
}

/// All at the same time: each waits for the broker, and none works.
fn what_is_wrong_with_a_connection_is_named_at_once(clusters: &Clusters) {
    let kafka = clusters.secured();
    kafka.create_topic("refused", 3, &[]);
    allow(kafka, "User:alice", "refused");
    let scram = || Client::scram(kafka);
    let plain_to = |listener| Client::new(listener);
    let tls_to = |listener| Client::tls(listener, kafka);
    let cases = [
        wrong("plain-to-tls", plain_to("tls"), 4, &["security.protocol", "TLS"]),
        wrong("plain-to-mtls", plain_to("mtls"), 4, &["security.protocol", "TLS"]),
        wrong("plain-to-sasl-tls", plain_to("sasl-tls"), 4, &["security.protocol", "TLS"]),
        wrong("plain-to-sasl", plain_to("sasl"), 4, &["security.protocol", "SASL"]),
        wrong("tls-to-plain", tls_to("plain"), 4, &["security.protocol", "plaintext"]),
        wrong("tls-to-sasl-tls", tls_to("sasl-tls"), 4, &["security.protocol", "SASL_SSL"]),
        wrong("no-client-certificate", tls_to("mtls"), 4, &["ssl.certificate.location"]),
        wrong("no-ca", Client::new("tls").with("security.protocol", "SSL"), 4, &["ssl.ca.location"]),
        wrong("other-ca", tls_to("tls").certificate(kafka, "ssl.ca.location", "other-ca.pem"), 4, &["ssl.ca.location"]),
        wrong(
            "absent-ca",
            tls_to("tls").with("ssl.ca.location", "/nowhere/ca.pem"),
            3,
            &["/nowhere/ca.pem", "ssl.ca.location"],
        ),
        wrong("no-mechanism", scram().without("sasl.mechanisms"), 3, &["sasl.mechanisms"]),
        wrong("other-mechanism", scram().with("sasl.mechanisms", "SCRAM-SHA-256"), 4, &["SCRAM-SHA-256", "SCRAM-SHA-512"]),
        wrong("wrong-password", scram().with("sasl.password", "wrong"), 4, &["sasl.password", "alice"]),
        wrong("wrong-password-plain", Client::plain_password().with("sasl.password", "wrong"), 4, &["sasl.password", "carol"]),
        wrong("unresolved", plain_to("unresolved"), 4, &["kafka-internal.invalid", "resolve"]),
        wrong("dead", plain_to("dead"), 4, &["127.0.0.1:"]),
    ];
    let complaints: Vec<String> = std::thread::scope(|scope| {
        let started: Vec<_> = cases.iter().map(|case| scope.spawn(|| complaint(kafka, case))).collect();
        started.into_iter().filter_map(|case| case.join().expect("a case ends")).collect()
    });
    assert!(complaints.is_empty(), "{}", complaints.join("\n\n"));
    assert!(kafka.records("refused").is_empty(), "nothing was sent");
}

/// What is not as it should be of a refused run; all cases are looked at before the test fails.
fn complaint(kafka: &Kafka, case: &Wrong) -> Option<String> {
    let program = Program::new(case.name);
    program.write("data/1.jsonl", "{\"k\":\"a\"}\n");
    let keys = case.client.keys(kafka);
    let keys = [&borrowed(&keys)[..], &[("kafka.topic", "\"refused\"")]].concat();
    program.write("orchestrator.toml", config(case.name, "", &keys));
    let finished = program.run(&["run", "-o", "json"], PATIENCE);
    program.assert_nothing_left();
    let lines = finished.stderr.lines().count();
    let mut wrong: Vec<String> = case
        .says
        .iter()
        .filter(|part| !finished.stderr.contains(**part))
        .map(|part| format!("does not say {part:?}"))
        .collect();
    if finished.code != case.code {
        wrong.push(format!("exit code {}, not {}", finished.code, case.code));
    }
    if finished.elapsed > AT_ONCE {
        wrong.push(format!("took {:?}", finished.elapsed));
    }
    if lines >= FEW_LINES {
        wrong.push(format!("{lines} lines"));
    }
    (!wrong.is_empty()).then(|| format!("{}: {} ({:?})\n{}", case.name, wrong.join(", "), finished.elapsed, finished.stderr))
}

/// One right at a time is taken from what a job needs.
fn a_missing_right_is_named_with_the_line_that_grants_it(clusters: &Clusters) {
    let kafka = clusters.secured();
    let needed = [("Describe", Operation::Describe), ("Write", Operation::Write)];
    let client = Client::scram(kafka);
    let client_keys = client.keys(kafka);
    for (name, missing) in needed {
        let topic = format!("no-{}", name.to_lowercase());
        let scene = Scene::with_topic(kafka, &topic, 3, &[]);
        scene.configure(&borrowed(&client_keys));
        scene.orders(62, 10);
        // Other rights on a topic imply that of describing it.
        let given = needed.iter().filter(|(_, operation)| *operation != missing && missing != Operation::Describe);
        given.for_each(|(_, operation)| kafka.add_rule_for("User:alice", &topic, Rule::Allow, *operation));
        let refused = scene.run(&[]).expect_code(4);
        assert!(refused.elapsed < AT_ONCE, "{refused:?}");
        assert!(refused.stderr.lines().count() < FEW_LINES, "{}", refused.stderr);
        for part in ["kafka-acls", "User:alice", "--operation", name, topic.as_str()] {
            assert!(refused.stderr.contains(part), "{topic}: no {part:?} in\n{}", refused.stderr);
        }
        assert!(kafka.records(&topic).is_empty(), "nothing was sent");
        // What it says to do is enough.
        kafka.add_rule_for("User:alice", &topic, Rule::Allow, missing);
        needed.iter().for_each(|(_, operation)| kafka.add_rule_for("User:alice", &topic, Rule::Allow, *operation));
        scene.run(&[]).expect_code(0);
        scene.program.assert_nothing_left();
    }
}
