//! Waiting for brokers, and saying early why they will not answer.
//!
//! Responsible for: how long is waited for the first answer and for a leader's, and which evidence ends it. Not
//! responsible for: what the evidence says (`crate::connection`).

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use migration::units::{show_time_after, show_time_of_day};

use crate::classify::{Verdict, verdict};
use crate::connection::{Access, ConnectionFault, Port, Speaker, look, without_circumstances};
use crate::ffi::{ClientKind, Code};
use crate::notice::Complaints;
use crate::options::{Role, client_properties, configure};
use crate::problem::{PreflightProblem, PreflightProblemKind};

use super::Asker;

/// The first wait for an answer; each further one is longer, so that slow answers are waited for too. In between,
/// complaints are looked at.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// From when on a first run takes it for final that nothing is reachable: a broker that comes up is as quick.
pub(super) const FINAL: Duration = Duration::from_secs(2);
/// The most addresses that are looked at.
const MOST_LOOKS: usize = 3;
/// How long a client that compares no names may take.
const WITHOUT_NAMES: Duration = Duration::from_millis(1_000);

/// That a job which goes on waits for its brokers.
fn waits(complaints: &Complaints, waited: Duration, left: Duration) -> String {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let since_ms = now_ms.saturating_sub(waited.as_millis() as u64);
    let since = show_time_of_day(since_ms);
    let until = show_time_after(now_ms.saturating_add(left.as_millis() as u64), since_ms);
    let cause = complaints.cause(0, |_| true).map_or_else(String::new, |cause| format!(" ({cause})"));
    format!("no broker answers since {since}{cause}; waiting for an answer until {until}")
}

impl Asker<'_> {
    /// Calls `ask`, with a short timeout at first, until it succeeds, the time is over, or it is clear that waiting
    /// does not help.
    ///
    /// `last`: nothing is waited for after it, so that the end of its time is the time to say why.
    pub(super) fn answered<T>(
        &self,
        timeout: Duration,
        last: bool,
        mut ask: impl FnMut(Duration) -> Result<T, Code>,
    ) -> Result<T, PreflightProblem> {
        let since = Instant::now();
        let left = || timeout.saturating_sub(since.elapsed());
        let mut wait = FIRST_WAIT;
        let mut told = self.first;
        loop {
            let code = match ask(left().min(wait).max(Duration::from_millis(1))) {
                Ok(answer) => return Ok(answer),
                Err(code) => code,
            };
            let mut complaints = self.complaints.borrow_mut();
            complaints.hear_all(&self.client);
            let over = left().is_zero();
            if let Some(problem) = self.refusal(&complaints, since.elapsed(), over && last) {
                return Err(problem);
            }
            if over || complaints.hopeless.is_some() || verdict(code) == Verdict::AllRejected {
                return Err(self.problem(code, &complaints));
            }
            if !told && since.elapsed() >= FIRST_WAIT {
                told = true;
                tracing::warn!("{}", waits(&complaints, since.elapsed(), left()));
            }
            drop(complaints);
            // An error may come back at once.
            std::thread::sleep(left().min(Duration::from_millis(50)));
            wait = wait.saturating_add(if self.first { wait / 3 } else { wait });
        }
    }

    /// Why no broker will answer, as far as that is clear. `over`: nothing more is waited for.
    fn refusal(&self, complaints: &Complaints, waited: Duration, over: bool) -> Option<PreflightProblem> {
        let access = Access::of(self.job);
        let heard = complaints.heard.iter().filter_map(|(code, text)| {
            let (speaker, what) = Speaker::of(text)?;
            Some((speaker, ConnectionFault::of(*code, what)?))
        });
        if let Some((speaker, cause)) = heard.clone().find(|(_, cause)| cause.is_final()) {
            return Some(self.explain(&access, &speaker.address, cause));
        }
        if !self.first && !over {
            return None;
        }
        let addresses: Vec<String> = access.bootstrap.iter().take(MOST_LOOKS).cloned().collect();
        let ports = look(&addresses, &access.mechanism);
        let seen = || addresses.iter().zip(&ports);
        let away = |port: &Port| matches!(port, Port::Closed(_) | Port::Unresolved);
        if let Some(problem) = seen().filter(|(_, port)| !away(port)).find_map(|(address, port)| access.of_port(address, port))
        {
            return Some(problem);
        }
        let looked_at_all = access.bootstrap.len() <= MOST_LOOKS;
        if waited < FINAL || ports.is_empty() {
            return None;
        }
        if looked_at_all && ports.iter().all(away) {
            let all: Vec<String> =
                seen().filter_map(|(address, port)| access.of_port(address, port)).map(|problem| problem.message).collect();
            let message = match all.as_slice() {
                [only] => only.clone(),
                several => format!("no broker can be reached: {}", several.join("; ")),
            };
            return Some(PreflightProblem::new(PreflightProblemKind::Unreachable, message));
        }
        if let Some((address, _)) = seen().find(|(_, port)| over && **port == Port::Silent) {
            let message = format!("{address} takes connections and says nothing: is it a Kafka broker, and does it run?");
            return Some(PreflightProblem::new(PreflightProblemKind::Unreachable, message));
        }
        let (address, _) = seen().find(|(_, port)| **port == Port::Tls)?;
        // Whatever else the client complains about is not this.
        let said_nothing = complaints.heard.iter().all(|(_, text)| {
            let what = without_circumstances(text);
            what.ends_with("brokers are down") || text.contains("in state UP") || text.contains("require SASL")
        });
        (access.tls && !access.sasl && said_nothing && !complaints.heard.is_empty())
            .then(|| access.wants_sasl_behind_tls(address))
    }

    /// What a complaint about an address means. A certificate that is not trusted may only have another name.
    fn explain(&self, access: &Access, address: &str, cause: ConnectionFault) -> PreflightProblem {
        let other_name = cause == ConnectionFault::Untrusted && access.compares_names && self.is_trusted_without_name();
        access.explain(address, if other_name { &ConnectionFault::OtherName } else { &cause })
    }

    /// Whether the brokers' certificate is trusted if its name is not compared. Credentials are left out.
    fn is_trusted_without_name(&self) -> bool {
        let mut properties = client_properties(self.job, Role::Admin);
        properties.retain(|(name, _)| !name.starts_with("sasl."));
        properties.push(("security.protocol".into(), "SSL".into()));
        properties.push(("ssl.endpoint.identification.algorithm".into(), "none".into()));
        let Some(client) = configure(&properties).ok().and_then(|conf| conf.into_client(ClientKind::Consumer).ok()) else {
            return false;
        };
        let answer = client.metadata(None, WITHOUT_NAMES);
        let mut complaints = Complaints::unlogged();
        complaints.hear_all(&client);
        let distrusts = |(code, text): &(Code, String)| {
            Speaker::of(text).is_some_and(|(_, what)| ConnectionFault::of(*code, what) == Some(ConnectionFault::Untrusted))
        };
        // A broker that wants SASL too ends the connection behind the handshake; silence proves nothing.
        let behind = |(_, text): &(Code, String)| {
            ["APIVERSION_QUERY", "AUTH_", "UP"].iter().any(|state| text.contains(&format!("in state {state}")))
        };
        answer.is_ok() || complaints.heard.iter().any(behind) && !complaints.heard.iter().any(distrusts)
    }

    /// Why a leader does not answer although other addresses do, for a first run: it is not where the brokers say.
    /// `brokers`: numbers and addresses as they tell them.
    pub(super) fn advertised(&self, broker: i32, brokers: &[(i32, String)], waited: Duration) -> Option<PreflightProblem> {
        let address = &brokers.iter().find(|(id, _)| *id == broker)?.1;
        let access = Access::of(self.job);
        let cause = self.complaint_about(broker);
        if let Some(cause) = cause.clone().filter(ConnectionFault::is_final) {
            return Some(self.explain(&access, address, cause));
        }
        let is_away = match cause {
            Some(ConnectionFault::Unresolved) => "does not resolve".to_owned(),
            _ if waited < FINAL => return None,
            Some(ConnectionFault::Closed(why)) => format!("can't be reached ({why})"),
            // The client waits long for a connection that nothing refuses.
            _ => match look(std::slice::from_ref(address), &access.mechanism).first() {
                Some(Port::Closed(why)) => format!("can't be reached ({why})"),
                Some(Port::Unresolved) => "does not resolve".to_owned(),
                _ => return None,
            },
        };
        let answered = self.brokers();
        let who = match brokers.len() {
            1 => "the brokers call themselves".to_owned(),
            all => format!("broker {broker} of {all} calls itself"),
        };
        // An address of the job's own is no fault of what brokers tell.
        let (reason, fault) = match access.bootstrap.contains(address) {
            true => (format!("broker {broker} at {address} {is_away}"), ""),
            false => (format!("{who} {address}, which {is_away}"), " (advertised.listeners)"),
        };
        let message = format!("{answered} answered, but {reason}{fault}");
        Some(PreflightProblem::new(PreflightProblemKind::Unreachable, message))
    }

    /// What the client complained about last of a broker.
    pub(super) fn complaint_about(&self, broker: i32) -> Option<ConnectionFault> {
        let mut complaints = self.complaints.borrow_mut();
        complaints.hear_all(&self.client);
        complaints.heard.iter().rev().find_map(|(code, text)| {
            let (speaker, what) = Speaker::of(text)?;
            (speaker.broker == Some(broker)).then(|| ConnectionFault::of(*code, what))?
        })
    }
}
