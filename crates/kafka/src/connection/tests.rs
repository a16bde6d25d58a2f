use rdkafka::types::RDKafkaRespErr as E;

use super::*;
use crate::ffi::Code;

fn access(tls: bool, sasl: bool) -> Access {
    Access {
        bootstrap: vec!["a:1".into()],
        tls,
        sasl,
        mechanism: if sasl { "SCRAM-SHA-256".into() } else { String::new() },
        compares_names: true,
        user: sasl.then(|| "alice".into()),
        authority: None,
        certificate: None,
    }
}

/// What a user reads of a complaint as the client words it.
fn said(access: &Access, code: E, complaint: &str) -> String {
    let (speaker, what) = Speaker::of(complaint).expect("a name stands before it");
    let cause = ConnectionFault::of(Code::of(code), what).expect("it has a cause");
    access.explain(&speaker.address, &cause).message
}

#[test]
fn complaints_say_who_and_which_step() {
    let of = |text| Speaker::of(text).map(|(speaker, what)| (speaker.address, speaker.broker, what.to_owned()));
    let named = |address: &str, broker, what: &str| Some((address.to_owned(), broker, what.to_owned()));
    assert_eq!(of("sasl_ssl://k:9093/bootstrap: SSL handshake failed"), named("k:9093", None, "SSL handshake failed"));
    assert_eq!(of("k-1:9092/3: Failed: x"), named("k-1:9092", Some(3), "Failed: x"));
    assert_eq!(of("1/1 brokers are down"), None);
}

#[test]
fn each_cause_names_what_to_set() {
    let sasl = access(true, true);
    let tls = access(true, false);
    for (access, code, complaint, parts) in [
        (
            &tls,
            E::RD_KAFKA_RESP_ERR__RESOLVE,
            "k:9092/1: Failed to resolve 'k:9092': Name or service not known (after 82ms in state CONNECT)",
            &["k:9092", "does not resolve"][..],
        ),
        (
            &tls,
            E::RD_KAFKA_RESP_ERR__TRANSPORT,
            "k:9092/1: Connect to ipv4#10.0.0.1:9092 failed: Connection refused (after 0ms in state CONNECT, 5 identical error(s) suppressed)",
            &["k:9092 can't be reached: connection refused"],
        ),
        (
            &tls,
            E::RD_KAFKA_RESP_ERR__SSL,
            "ssl://k:1/bootstrap: SSL handshake failed: Disconnected: SSL connection closed by peer: connecting to a PLAINTEXT broker listener? (after 3ms in state SSL_HANDSHAKE)",
            &["plaintext listener", "set security.protocol = \"PLAINTEXT\""],
        ),
        (
            &tls,
            E::RD_KAFKA_RESP_ERR__SSL,
            "ssl://k:1/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker certificate could not be verified, verify that ssl.ca.location is correctly configured (after 28ms in state SSL_HANDSHAKE)",
            &["set ssl.ca.location", "k:1"],
        ),
        (
            &tls,
            E::RD_KAFKA_RESP_ERR__TRANSPORT,
            "ssl://k:1/bootstrap: Receive failed: error:0A000412:SSL routines::ssl/tls alert bad certificate: SSL alert number 42 (after 1ms in state APIVERSION_QUERY)",
            &["wants a client certificate", "ssl.certificate.location", "ssl.key.location"],
        ),
        (
            &sasl,
            E::RD_KAFKA_RESP_ERR__AUTHENTICATION,
            "sasl_ssl://k:1/bootstrap: SASL SCRAM-SHA-256 mechanism handshake failed: Broker: Unsupported SASL mechanism: broker's supported mechanisms: SCRAM-SHA-512,PLAIN (after 304ms in state AUTH_HANDSHAKE)",
            &["no SASL mechanism SCRAM-SHA-256: set sasl.mechanisms to one of SCRAM-SHA-512, PLAIN"],
        ),
        (
            &sasl,
            E::RD_KAFKA_RESP_ERR__AUTHENTICATION,
            "sasl_ssl://k:1/bootstrap: SASL PLAIN mechanism handshake failed: Broker: Request not valid in current SASL state: broker's supported mechanisms:  (after 3ms in state AUTH_HANDSHAKE)",
            &["wants no SASL", "set security.protocol = \"SSL\""],
        ),
        (
            &sasl,
            E::RD_KAFKA_RESP_ERR__AUTHENTICATION,
            "sasl_ssl://k:1/bootstrap: SASL authentication error: Authentication failed: Invalid username or password (after 303ms in state AUTH_REQ)",
            &[
                "user \"alice\" with SASL SCRAM-SHA-256",
                "sasl.password",
                "(Authentication failed: Invalid username or password)",
            ],
        ),
    ] {
        let said = said(access, code, complaint);
        parts.iter().for_each(|part| assert!(said.contains(part), "no {part:?} in {said}"));
        assert!(!said.contains("librdkafka") && !said.contains("(after") && !said.contains("error:"), "{said}");
    }
    assert_eq!(ConnectionFault::of(Code::of(E::RD_KAFKA_RESP_ERR__TRANSPORT), "Disconnected (after 1ms in state UP)"), None);
}

#[test]
fn a_ports_protocol_is_compared_with_the_jobs() {
    let said = |access: Access, port: Port| access.of_port("k:1", &port).map(|problem| problem.message);
    let wanted = || Port::Kafka(Sasl::Wanted(vec!["PLAIN".into(), "SCRAM-SHA-512".into()]));
    for (access, port, part) in [
        (access(false, false), Port::Tls, "security.protocol is PLAINTEXT: set security.protocol = \"SSL\""),
        (access(false, true), Port::Tls, "security.protocol is SASL_PLAINTEXT: set security.protocol = \"SASL_SSL\""),
        (access(true, false), Port::Kafka(Sasl::NotWanted), "set security.protocol = \"PLAINTEXT\""),
        (access(true, false), wanted(), "set security.protocol = \"SASL_PLAINTEXT\""),
        (access(true, true), Port::Kafka(Sasl::NotWanted), "set security.protocol = \"PLAINTEXT\""),
        (access(true, true), Port::Kafka(Sasl::Unknown), "set security.protocol = \"SASL_PLAINTEXT\""),
        (access(false, false), wanted(), "wants SASL (it has PLAIN, SCRAM-SHA-512)"),
        (access(false, false), Port::Web, "is a web server"),
        (access(false, false), Port::Unresolved, "does not resolve"),
        (access(false, false), Port::Closed("connection refused".into()), "k:1 can't be reached: connection refused"),
    ] {
        let message = said(access, port.clone()).expect("it explains it");
        assert!(message.contains(part), "no {part:?} in {message}");
    }
    for fine in [Port::Kafka(Sasl::NotWanted), Port::Kafka(Sasl::Unknown), Port::Silent, Port::Unknown] {
        assert_eq!(said(access(false, false), fine.clone()), None, "{fine:?}");
    }
    assert_eq!(said(access(true, true), Port::Tls), None);
    assert_eq!(said(access(false, true), wanted()), None);
}

#[test]
fn addresses_are_read_as_the_client_reads_them() {
    for (given, address) in
        [("k", "k:9092"), ("k:1", "k:1"), (" SASL_SSL://k:1", "k:1"), ("[::1]:7", "[::1]:7"), ("PLAINTEXT://k", "k:9092")]
    {
        assert_eq!(plain_address(given), address);
    }
}

#[test]
fn a_cause_is_told_in_a_few_words() {
    for (code, complaint, told) in [
        (
            E::RD_KAFKA_RESP_ERR__TRANSPORT,
            "k:9092/1: Connect to ipv4#10.0.0.1:9092 failed: Connection refused (after 0ms in state CONNECT)",
            "k:9092: connection refused",
        ),
        (
            E::RD_KAFKA_RESP_ERR__RESOLVE,
            "k:9092/1: Failed to resolve 'k:9092': Name or service not known (after 82ms in state CONNECT)",
            "k:9092: its name does not resolve",
        ),
        (E::RD_KAFKA_RESP_ERR__TRANSPORT, "k:9092/1: Disconnected (after 7081ms in state UP)", "k:9092: disconnected"),
        (
            E::RD_KAFKA_RESP_ERR__AUTHENTICATION,
            "sasl_ssl://k:1/2: SASL authentication error: Authentication failed (after 3ms in state AUTH_REQ)",
            "k:1: it does not accept the job's credentials (Authentication failed)",
        ),
        (E::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, "1/1 brokers are down", "1/1 brokers are down"),
    ] {
        assert_eq!(in_short(Code::of(code), complaint), told);
    }
}
