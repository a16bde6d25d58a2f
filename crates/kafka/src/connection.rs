//! Why a connection to a broker does not come about, in words that say what to set.
//!
//! Responsible for: which step failed (name, TCP, TLS, SASL), by what the client complains about and, where that says
//! too little, by a look at the port. Not responsible for: how long is waited, or how a command ends.

mod cause;
mod port;
mod wire;

use migration::Job;
use migration::job::{Brokers, Property};

use crate::problem::{PreflightProblem, PreflightProblemKind as Kind};
use crate::rights::shown_user;

pub(crate) use cause::{ConnectionFault, Speaker, in_short, without_circumstances};
pub(crate) use port::{Port, Sasl, look};

/// How a job's clients connect, as far as its properties say.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// The brokers that are asked first, each as `host:port`.
    pub(crate) bootstrap: Vec<String>,
    /// Whether the connection is encrypted.
    pub(crate) tls: bool,
    /// Whether the client says who it is by SASL.
    pub(crate) sasl: bool,
    /// `sasl.mechanisms`.
    pub(crate) mechanism: String,
    /// Whether the host's name is compared with that of the certificate.
    pub(crate) compares_names: bool,
    user: Option<String>,
    authority: Option<String>,
    certificate: Option<String>,
}

impl Access {
    /// Of a job.
    pub(crate) fn of(job: &Job) -> Access {
        let given = |names: &[&str]| {
            let found = job.kafka.properties.iter().rfind(|(name, _)| names.contains(&name.as_str()));
            found.map(|(_, value)| value)
        };
        let text = |names: &[&str]| given(names).map(|value| value.expose().trim().to_ascii_uppercase()).unwrap_or_default();
        // What is a secret by its kind (a key in PEM) is told by its name alone.
        let named = |names: &[&str]| {
            let value = given(names)?;
            let name = names[0];
            Some(match value {
                Property::Plain(path) if name.ends_with(".location") => format!("{name} = {path:?}"),
                Property::Plain(_) | Property::Secret(_) => name.to_owned(),
            })
        };
        let protocol = text(&["security.protocol"]);
        let bootstrap = match &job.kafka.brokers {
            Brokers::Bootstrap(brokers) => brokers.iter().flat_map(|some| some.split(',')).map(plain_address).collect(),
            Brokers::Embedded => Vec::new(),
        };
        Access {
            bootstrap,
            tls: protocol.ends_with("SSL"),
            sasl: protocol.starts_with("SASL"),
            mechanism: text(&["sasl.mechanisms", "sasl.mechanism"]),
            compares_names: text(&["ssl.endpoint.identification.algorithm"]) != "NONE",
            user: shown_user(job).map(str::to_owned),
            authority: named(&["ssl.ca.location"]).or_else(|| named(&["ssl.ca.pem"])),
            certificate: ["ssl.certificate.location", "ssl.keystore.location", "ssl.certificate.pem"]
                .into_iter()
                .find_map(|name| named(&[name])),
        }
    }

    /// The name of a protocol with or without TLS and SASL.
    fn protocol(tls: bool, sasl: bool) -> &'static str {
        match (tls, sasl) {
            (false, false) => "PLAINTEXT",
            (true, false) => "SSL",
            (false, true) => "SASL_PLAINTEXT",
            (true, true) => "SASL_SSL",
        }
    }

    fn own_protocol(&self) -> &'static str {
        Self::protocol(self.tls, self.sasl)
    }

    /// What a complaint of the client about one address means for this job.
    pub(crate) fn explain(&self, address: &str, cause: &ConnectionFault) -> PreflightProblem {
        let (kind, message) = match cause {
            ConnectionFault::Unresolved => (Kind::Unreachable, format!("the name of {address} does not resolve")),
            ConnectionFault::Closed(why) => (Kind::Unreachable, format!("{address} can't be reached: {why}")),
            ConnectionFault::NoTls => (Kind::NoTrust, self.no_tls(address, self.sasl)),
            ConnectionFault::Untrusted => (Kind::NoTrust, self.untrusted(address)),
            ConnectionFault::OtherName => {
                let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
                let message = format!(
                    "the TLS certificate of {address} is for another name than {host:?}: name the brokers in kafka.brokers (and in their \
                     advertised.listeners) as the certificate does"
                );
                (Kind::NoTrust, message)
            }
            ConnectionFault::CertificateRefused => (Kind::NoTrust, self.certificate_refused(address)),
            ConnectionFault::NoMechanism(mechanisms) => {
                let own = &self.mechanism;
                let has = mechanisms.join(", ");
                let which = if mechanisms.len() == 1 { has.clone() } else { format!("one of {has}") };
                let message = format!("{address} has no SASL mechanism {own}: set sasl.mechanisms to {which}");
                (Kind::NoTrust, message)
            }
            ConnectionFault::NoSasl => {
                let (own, without) = (self.own_protocol(), Self::protocol(self.tls, false));
                let message = format!(
                    "{address} wants no SASL, and security.protocol is {own}: set security.protocol = {without:?} and leave the sasl.* \
                     properties out"
                );
                (Kind::NoTrust, message)
            }
            ConnectionFault::Refused(said) => (Kind::NoTrust, self.refused(address, said)),
        };
        PreflightProblem::new(kind, message)
    }

    fn no_tls(&self, address: &str, sasl: bool) -> String {
        let (own, other) = (self.own_protocol(), Self::protocol(false, sasl));
        format!(
            "{address} speaks no TLS (it is a plaintext listener), and security.protocol is {own}: set security.protocol = {other:?}, \
             or name the brokers' TLS listener in kafka.brokers"
        )
    }

    fn untrusted(&self, address: &str) -> String {
        match &self.authority {
            Some(authority) => format!(
                "the TLS certificate of {address} is not signed by an authority of {authority}, or has expired: ssl.ca.location must \
                 name the file (PEM) with the certificate of the authority that signed it"
            ),
            None => format!(
                "the TLS certificate of {address} is signed by no authority that this machine trusts, or has expired: set ssl.ca.location \
                 to the file (PEM) with the certificate of the authority that signed it"
            ),
        }
    }

    fn certificate_refused(&self, address: &str) -> String {
        match &self.certificate {
            Some(certificate) => format!(
                "{address} does not accept the client certificate of {certificate}: it must be signed by an authority that the brokers trust"
            ),
            None => format!(
                "{address} wants a client certificate, and the job has none: set ssl.certificate.location and ssl.key.location (PEM), or \
                 ssl.keystore.location (PKCS#12)"
            ),
        }
    }

    fn refused(&self, address: &str, said: &str) -> String {
        let mechanism = if self.mechanism.is_empty() { "SASL" } else { &self.mechanism };
        if mechanism == "OAUTHBEARER" {
            return format!(
                "{address} does not accept the token of SASL OAUTHBEARER: check the sasl.oauthbearer.* properties ({said})"
            );
        }
        let user = self.user.as_ref().map_or_else(|| "the job's user".to_owned(), |user| format!("user {user:?}"));
        format!("{address} does not accept {user} with SASL {mechanism}: check sasl.username and sasl.password ({said})")
    }

    /// What a look at a port means for this job; `None`: nothing that explains it.
    pub(crate) fn of_port(&self, address: &str, port: &Port) -> Option<PreflightProblem> {
        let own = self.own_protocol();
        let problem = |kind, message| Some(PreflightProblem::new(kind, message));
        match port {
            Port::Tls if !self.tls => {
                let ways = if self.sasl { "\"SASL_SSL\"" } else { "\"SSL\" (or \"SASL_SSL\", with a user and a password)" };
                let message = format!("{address} speaks TLS, and security.protocol is {own}: set security.protocol = {ways}");
                problem(Kind::NoTrust, message)
            }
            Port::Kafka(sasl) if self.tls => problem(
                Kind::NoTrust,
                self.no_tls(address, matches!(sasl, Sasl::Wanted(_)) || self.sasl && *sasl == Sasl::Unknown),
            ),
            Port::Kafka(Sasl::Wanted(mechanisms)) if !self.sasl => {
                let has = mechanisms.join(", ");
                let message = format!(
                    "{address} wants SASL (it has {has}), and security.protocol is {own}: set security.protocol = \"SASL_PLAINTEXT\", \
                     sasl.mechanisms, sasl.username and sasl.password"
                );
                problem(Kind::NoTrust, message)
            }
            Port::Web => {
                problem(Kind::Unreachable, format!("{address} is a web server and not a Kafka broker: check kafka.brokers"))
            }
            Port::Unresolved => Some(self.explain(address, &ConnectionFault::Unresolved)),
            Port::Closed(why) => Some(self.explain(address, &ConnectionFault::Closed(why.clone()))),
            Port::Tls | Port::Kafka(_) | Port::Silent | Port::Unknown => None,
        }
    }

    /// A connection that is made and ended by the broker at the first question.
    pub(crate) fn wants_sasl_behind_tls(&self, address: &str) -> PreflightProblem {
        let own = self.own_protocol();
        let message = format!(
            "{address} ends the connection as soon as TLS is set up and something is asked, as a listener does that wants SASL, and \
             security.protocol is {own}: set security.protocol = \"SASL_SSL\", sasl.mechanisms, sasl.username and sasl.password"
        );
        PreflightProblem::new(Kind::NoTrust, message)
    }
}

/// An address without the protocol that may stand before it, and with a port.
fn plain_address(given: &str) -> String {
    let given = given.trim();
    let address = given.rsplit_once("://").map_or(given, |(_, address)| address);
    let has_port = address.rsplit_once(':').is_some_and(|(host, port)| port.parse::<u16>().is_ok() && !host.ends_with(':'));
    if has_port { address.to_owned() } else { format!("{address}:9092") }
}

#[cfg(test)]
mod tests;
