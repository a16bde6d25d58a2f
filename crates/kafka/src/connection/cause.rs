//! What the client's complaints mean.
//!
//! Responsible for: reading who is complained about and which step failed from the client's own words, which have no
//! codes of their own for it. Not responsible for: what a user reads.

use rdkafka::types::RDKafkaRespErr as E;

use crate::ffi::Code;

/// Whom a complaint is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Speaker {
    /// `host:port`.
    pub(crate) address: String,
    /// The broker's number; `None`: an address of the job's own, before it is known whose it is.
    pub(crate) broker: Option<i32>,
}

impl Speaker {
    /// Reads `ssl://host:9092/bootstrap: what` or `host:9092/3: what`.
    pub(crate) fn of(complaint: &str) -> Option<(Speaker, &str)> {
        let (name, what) = complaint.split_once(": ")?;
        let name = name.rsplit_once("://").map_or(name, |(_, name)| name);
        let (address, number) = name.rsplit_once('/')?;
        Some((Speaker { address: address.to_owned(), broker: number.parse().ok() }, what))
    }
}

/// Which step failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionFault {
    /// The name has no address.
    Unresolved,
    /// No TCP connection; why.
    Closed(String),
    /// The port speaks no TLS.
    NoTls,
    /// Its certificate is not trusted, for whatever reason.
    Untrusted,
    /// Its certificate is trusted, and is another host's.
    OtherName,
    /// It refuses the client's certificate, or its absence.
    CertificateRefused,
    /// It has other SASL mechanisms.
    NoMechanism(Vec<String>),
    /// It has no SASL.
    NoSasl,
    /// It refuses the credentials; what it says.
    Refused(String),
}

impl ConnectionFault {
    /// What a complaint means; `None`: it says too little. `what`: without the name that it begins with.
    pub(crate) fn of(code: Code, what: &str) -> Option<ConnectionFault> {
        let what = without_circumstances(what);
        let has = |part: &str| what.contains(part);
        if code == Code::of(E::RD_KAFKA_RESP_ERR__RESOLVE) || what.starts_with("Failed to resolve") {
            return Some(ConnectionFault::Unresolved);
        }
        if let Some((_, why)) = what.strip_prefix("Connect to ").and_then(|rest| rest.split_once(" failed: ")) {
            return Some(ConnectionFault::Closed(why.to_lowercase()));
        }
        if has("PLAINTEXT broker listener") || has("wrong version number") || has("packet length too long") {
            return Some(ConnectionFault::NoTls);
        }
        if has("certificate verify failed") {
            return Some(ConnectionFault::Untrusted);
        }
        // By the numbers that TLS gives alerts: a bad, an unsupported, a revoked, an expired or an unknown certificate,
        // an unknown authority, none at all.
        let alert = what.rsplit_once("SSL alert number ").and_then(|(_, number)| number.trim().parse::<u8>().ok());
        if alert.is_some_and(|number| matches!(number, 42..=46 | 48 | 116)) {
            return Some(ConnectionFault::CertificateRefused);
        }
        if let Some((_, mechanisms)) = what.split_once("Unsupported SASL mechanism: broker's supported mechanisms:") {
            let mechanisms = mechanisms.split(',').map(str::trim).filter(|name| !name.is_empty());
            return Some(ConnectionFault::NoMechanism(mechanisms.map(str::to_owned).collect()));
        }
        if has("Request not valid in current SASL state") {
            return Some(ConnectionFault::NoSasl);
        }
        // A broker that goes down in the middle of it is none that refuses.
        let lost = ["Broker transport failure", "Timed out", "isconnected"].iter().any(|words| has(words));
        if code == Code::of(E::RD_KAFKA_RESP_ERR__AUTHENTICATION) && !lost {
            let said = what.strip_prefix("SASL authentication error: ").unwrap_or(what);
            return Some(ConnectionFault::Refused(said.to_owned()));
        }
        None
    }

    /// Whether waiting will not cure it: an address may still come up.
    pub(crate) fn is_final(&self) -> bool {
        !matches!(self, ConnectionFault::Unresolved | ConnectionFault::Closed(_) | ConnectionFault::NoTls)
    }
}

/// A complaint in a few words: "kafka-1:9092: connection refused".
pub(crate) fn in_short(code: Code, complaint: &str) -> String {
    let Some((speaker, what)) = Speaker::of(complaint) else { return without_circumstances(complaint).to_owned() };
    let what = match ConnectionFault::of(code, what) {
        Some(ConnectionFault::Unresolved) => "its name does not resolve".to_owned(),
        Some(ConnectionFault::Closed(why)) => why,
        Some(ConnectionFault::Untrusted) => "its TLS certificate is not trusted, or has expired".to_owned(),
        Some(ConnectionFault::Refused(said)) => format!("it does not accept the job's credentials ({said})"),
        Some(_) | None => {
            let mut said = without_circumstances(what).to_owned();
            // It stands in the middle of a sentence.
            if said.starts_with(|first: char| first.is_ascii_uppercase()) && !said.starts_with("S") {
                said[..1].make_ascii_lowercase();
            }
            said
        }
    };
    format!("{}: {what}", speaker.address)
}

/// A complaint without what differs from one time to the next: `(after 3ms in state CONNECT, 4 identical …)`.
pub(crate) fn without_circumstances(complaint: &str) -> &str {
    complaint.rsplit_once(" (after ").map_or(complaint, |(what, _)| what)
}
