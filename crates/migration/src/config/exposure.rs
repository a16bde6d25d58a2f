//! Whether a password or token would travel where others can read it.
//!
//! Responsible for what the config says: protocol, credentials, addresses. Not responsible for where brokers send a
//! client on to: preflight looks at the addresses that they tell.

use std::net::IpAddr;

use super::error::{ErrorCode, Problems};
use super::key::Merged;
use super::origin::ValueOrigin;
use super::typed::tick;
use super::value::NamedValue;
use crate::Accept;
use crate::job::{Brokers, Job, KafkaRules, Property};

pub(super) const PROTOCOL: &str = "security.protocol";
/// What it is when it is not given.
const DEFAULT: &str = "plaintext";
/// The one that sends credentials over a connection that is not encrypted.
const UNENCRYPTED: &str = "sasl_plaintext";

/// Refuses credentials that travel unencrypted over a network, and ones that would not be used at all. `given` are the
/// properties with their secrets resolved.
pub(super) fn credentials(merged: &Merged<'_>, given: &[(String, Property)], contacts_brokers: bool, problems: &mut Problems) {
    let entry = merged.entries(&KafkaRules::PROPERTIES).iter().find(|entry| entry.name.value == PROTOCOL);
    let protocol = protocol(given);
    if protocol == "plaintext" || protocol == "ssl" {
        unused(merged, &protocol, entry, problems);
    }
    let accepted = merged.get(&Job::ACCEPT).contains(&Accept::PlaintextPassword);
    if protocol != UNENCRYPTED || accepted || !contacts_brokers {
        return;
    }
    let Brokers::Bootstrap(brokers) = merged.get(&KafkaRules::BROKERS) else { return };
    let far = brokers.iter().find(|broker| !is_this_machine(broker));
    if let (Some(broker), Some(entry)) = (far, entry) {
        let message = format!("the credentials would travel unencrypted to {}", tick(broker));
        // What the job means is wrong, not how the command line is written.
        let origin = match &entry.value.origin {
            ValueOrigin::Given(given) => ValueOrigin::given(&given.name),
            other => other.clone(),
        };
        problems
            .add(ErrorCode::Exposed, &origin, message)
            .help("use \"SASL_SSL\", or let it pass with --accept plaintext-password (checks.accept)");
    }
}

/// Credentials without a protocol that uses them: the brokers would see an unknown client.
fn unused(merged: &Merged<'_>, protocol: &str, given: Option<&NamedValue>, problems: &mut Problems) {
    let credentials = |name: &str| matches!(name, "sasl.username" | "sasl.password") || name.starts_with("sasl.oauthbearer.");
    let Some(entry) = merged.entries(&KafkaRules::PROPERTIES).iter().find(|entry| credentials(&entry.name.value)) else {
        return;
    };
    let whence = problems.whence(given.map_or(&ValueOrigin::Default, |given| &given.value.origin));
    let message = format!("{} is not used: `{PROTOCOL}` is {protocol} {whence}", tick(&entry.name.value));
    problems
        .add(ErrorCode::Contradiction, &entry.name.origin, message)
        .help(format!("set \"{PROTOCOL}\" = \"SASL_SSL\", or delete it"));
}

/// The protocol as the client reads it.
pub(super) fn protocol(given: &[(String, Property)]) -> String {
    let value = given.iter().find(|(name, _)| name == PROTOCOL).map(|(_, value)| value.expose());
    as_read(value.unwrap_or_default())
}

/// A protocol as the client reads it: without white space around it, in any case; nothing is the default.
pub(super) fn as_read(protocol: &str) -> String {
    let protocol = protocol.trim();
    if protocol.is_empty() { DEFAULT.to_owned() } else { protocol.to_ascii_lowercase() }
}

/// Whether a broker's address, with or without protocol and port, is surely this machine's. A name is looked up by
/// no address here: only `localhost` counts.
pub fn is_this_machine(address: &str) -> bool {
    let address = address.rsplit_once("://").map_or(address, |(_, address)| address);
    let host = match address.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None if address.matches(':').count() > 1 => address,
        None => address.split(':').next().unwrap_or_default(),
    };
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) => v6.to_canonical().is_loopback(),
        Ok(v4) => v4.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

impl Job {
    /// Whether its credentials travel unencrypted, and not even to be let pass.
    pub fn must_stay_on_this_machine(&self) -> bool {
        protocol(&self.kafka.properties) == UNENCRYPTED && !self.accepts(Accept::PlaintextPassword)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_are_this_machine() {
        for here in
            ["localhost", "LOCALHOST:9092", "127.0.0.1:9092", "127.9.8.7", "[::1]:9092", "::1", "SASL_PLAINTEXT://127.0.0.1:1"]
        {
            assert!(is_this_machine(here), "{here}");
        }
        for far in [
            "kafka-1:9092",
            "10.0.0.1:9092",
            "localhost.evil.example:9092",
            "127.0.0.1.example",
            "[fe80::1]:9092",
            "0.0.0.0:1",
            "",
        ] {
            assert!(!is_this_machine(far), "{far}");
        }
        assert!(is_this_machine("[::ffff:127.0.0.1]:9092"));
    }
}
