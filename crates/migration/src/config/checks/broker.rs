//! What a broker's address is, and what is often written in its place.

use super::Refusal;

/// The port that brokers listen on by custom.
const USUAL_PORT: u16 = 9092;

/// Protocols that an address may begin with, as brokers list them.
const PROTOCOLS: [&str; 4] = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];

/// `host:port` or `[v6]:port`.
pub(crate) fn broker(text: &str) -> Result<(), Refusal> {
    if text.is_empty() {
        return Err("it is empty".into());
    }
    if text == "embedded" {
        return Err("the embedded broker stands alone, not in a list".into());
    }
    if text.contains('$') {
        let instead = "give it by flag or variable: -b \"$BROKERS\", or SHARDLIFT_BROKERS";
        return Err(Refusal::with("nothing puts a variable's value here", instead));
    }
    if text.contains(',') {
        let each: Vec<String> = text.split(',').map(|one| format!("{:?}", one.trim())).collect();
        let instead = format!("write each address as a string of its own: [{}]", each.join(", "));
        return Err(Refusal::with("it is a list in one string", instead));
    }
    let address = match text.split_once("://") {
        Some((protocol, address)) if PROTOCOLS.iter().any(|known| known.eq_ignore_ascii_case(protocol)) => address,
        Some((scheme, rest)) => return Err(no_scheme(scheme, rest)),
        None => text,
    };
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'')) {
        return Err("a host has no spaces or quotes".into());
    }
    if address.contains('/') {
        return Err(Refusal::with("it is a path", "a broker's address is HOST:PORT, such as \"kafka-1:9092\""));
    }
    host_and_port(text, address)
}

/// An address with a scheme that no broker has: web proxies and registries are named so.
fn no_scheme(scheme: &str, rest: &str) -> Refusal {
    let host = rest.split('/').next().unwrap_or_default();
    let web = matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https");
    // A name and a password before the host are no part of it, and an IPv6 address has colons of its own.
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let name = match host.find(']') {
        Some(end) => &host[..=end],
        None => host.split(':').next().unwrap_or_default(),
    };
    // What stands behind a web address's host is the port of something else.
    let address = match host.len() > name.len() && !web {
        true => host.to_owned(),
        false => format!("{name}:{USUAL_PORT}"),
    };
    let why = format!("a broker's address has no {scheme}://");
    Refusal::with(why, format!("write host and port alone, such as {address:?}"))
}

fn host_and_port(text: &str, address: &str) -> Result<(), Refusal> {
    let after = address.rsplit_once(']').map_or(address, |(_, after)| after);
    let (host, port) = match after.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (after, None),
    };
    if host.is_empty() && after.len() == address.len() {
        return Err("the host is missing".into());
    }
    match port {
        Some(port) if !port.parse::<u16>().is_ok_and(|p| p > 0) => Err(format!("{port:?} is not a port").into()),
        Some(_) => Ok(()),
        None => Err(Refusal::with(
            "the port is missing",
            format!("write {:?}, if it listens on the usual port", format!("{text}:{USUAL_PORT}")),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_pass() {
        for text in ["kafka-1:9092", "[::1]:9092", "10.0.0.1:1", "SASL_SSL://b:9093", "ssl://b:1", "kafka_1.svc:9092"] {
            assert_eq!(broker(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_none_is_told_with_one_that_is() {
        for (text, part) in [
            ("", "empty"),
            ("a b:1", "no spaces"),
            ("a:0", "\"0\" is not a port"),
            ("a:70000", "not a port"),
            ("a:x", "not a port"),
            ("a:", "\"\" is not a port"),
            (":9092", "the host is missing"),
            ("embedded", "stands alone"),
            ("a:1,b:2", "[\"a:1\", \"b:2\"]"),
            ("localhost", "write \"localhost:9092\", if"),
            ("[::1]", "\"[::1]:9092\""),
            ("SSL://b", "the port is missing"),
            ("https://kafka.example:8082/topics", "such as \"kafka.example:9092\""),
            ("https://user:pw@kafka.example/", "such as \"kafka.example:9092\""),
            ("http://[::1]:8082", "such as \"[::1]:9092\""),
            ("kafka://[::1]:9093", "such as \"[::1]:9093\""),
            ("kafka://b:9094", "no kafka://; write host and port alone, such as \"b:9094\""),
            ("/etc/kafka/client.properties", "it is a path"),
            ("b:9092/chroot", "it is a path"),
            ("${BROKERS}", "-b \"$BROKERS\""),
            ("$BROKERS", "SHARDLIFT_BROKERS"),
        ] {
            let refused = broker(text).expect_err(text);
            let seen = format!("{}; {}", refused.why, refused.instead.unwrap_or_default());
            assert!(seen.contains(part), "{text}: {seen}");
        }
    }
}
