//! What a client says besides reports: its log lines and errors go into our log, with levels that fit.
//!
//! Responsible for: levels. What a client says of its connections it mends by itself, so it is shown with `-v` only
//! and counted otherwise: that no broker answers is told once for the whole job, with the cause. Not responsible for:
//! what an error means for a run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use migration::Level;

use crate::classify::{Verdict, verdict};
use crate::connection::{Speaker, in_short, without_circumstances};
use crate::ffi::{Client, Code, Notice, monotonic_micros};
use crate::turns::Turns;

/// The level of a log line.
pub(crate) fn level(syslog: i32, facility: &str, text: &str) -> Level {
    match syslog {
        // Settings that only the other kind of client uses; start-up and shut-down of the telemetry. What ends a
        // client is said by the failure of its attempt, which knows what it means.
        _ if matches!(facility, "CONFWARN" | "GETSUBSCRIPTIONS" | "TELEMETRY" | "FATAL") => Level::Debug,
        // What was asked for with `debug`.
        7.. => Level::Trace,
        // The attempt says it, in its own words.
        _ if facility == "TXNERR" => Level::Debug,
        // A young or busy cluster; the client tries again by itself.
        _ if text.contains("retrying") || text.contains("in progress") => Level::Debug,
        ..=2 => Level::Error,
        3 | 4 => Level::Warning,
        5 => Level::Info,
        6 => Level::Debug,
    }
}

/// Writes a notice to the log.
pub(crate) fn log(notice: &Notice) {
    match notice {
        Notice::Log { level: syslog, facility, text } => match level(*syslog, facility, text) {
            Level::Error => tracing::error!(facility, "{text}"),
            Level::Warning | Level::Info | Level::Debug => tracing::debug!(facility, "{text}"),
            Level::Trace => tracing::trace!(facility, "{text}"),
        },
        // The log has a line for each connection that fails; the error event repeats it.
        Notice::Error { code, fatal: false, text } => tracing::debug!(code = code.0, "{text}"),
        Notice::Error { code, fatal: true, text } => tracing::debug!(code = code.0, fatal = true, "{text}"),
        // They are read by what asked for them.
        Notice::Statistics(_) => {}
    }
}

/// Whether a notice is a line that is worth to be shown, and is not.
fn is_hidden(notice: &Notice) -> bool {
    let Notice::Log { level: syslog, facility, text } = notice else { return false };
    level(*syslog, facility, text) == Level::Warning && !tracing::enabled!(tracing::Level::DEBUG)
}

/// What a client complained about while it was waited for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Complaints {
    /// The newest error that says why no broker answers.
    pub(crate) connection: Option<(Code, String)>,
    /// The newest error that no waiting will cure (authentication, TLS).
    pub(crate) hopeless: Option<(Code, String)>,
    /// What was complained about, each once, oldest first.
    pub(crate) heard: Vec<(Code, String)>,
    /// Lines of the log that were written; `None`: each is written as often as it comes.
    logged: Option<BTreeSet<String>>,
    /// Whether none is written.
    silent: bool,
    /// Lines that are not shown.
    hidden: u32,
    /// No connection to any broker is left; until something is answered.
    all_down: bool,
    /// What it said last of each broker, and when (microseconds of the monotonic clock); `None`: of an address whose
    /// broker is not known.
    newest: BTreeMap<Option<i32>, (u64, Code, String)>,
}

/// For this time the client does not repeat itself.
const REPEATED_AFTER: Duration = Duration::from_secs(35);
/// The most complaints that are kept.
const MOST_HEARD: usize = 100;

impl Complaints {
    /// Ones of which each is logged once: for a client that only asks, and fails in the same way a hundred times.
    pub(crate) fn logged_once() -> Complaints {
        Complaints { logged: Some(BTreeSet::new()), ..Complaints::default() }
    }

    /// Ones of which none is logged: of a client that is to fail.
    pub(crate) fn unlogged() -> Complaints {
        Complaints { silent: true, ..Complaints::default() }
    }

    /// Logs a notice and remembers what it complains about.
    pub(crate) fn hear(&mut self, notice: &Notice) {
        let is_new = match (&mut self.logged, notice) {
            (Some(logged), Notice::Log { text, .. }) => logged.insert(without_circumstances(text).to_owned()),
            _ => true,
        };
        if is_new && !self.silent {
            log(notice);
        }
        self.hidden = self.hidden.saturating_add(is_hidden(notice).into());
        let Notice::Error { code, text, fatal } = notice else { return };
        let known = |(_, earlier): &(Code, String)| without_circumstances(earlier) == without_circumstances(text);
        if self.heard.len() < MOST_HEARD && !self.heard.iter().any(known) {
            self.heard.push((*code, text.clone()));
        }
        self.all_down |= *code == Code::ALL_BROKERS_DOWN;
        if *code != Code::ALL_BROKERS_DOWN {
            let broker = Speaker::of(text).and_then(|(speaker, _)| speaker.broker);
            self.newest.insert(broker, (monotonic_micros(), *code, text.clone()));
        }
        match verdict(*code) {
            // A broker that goes down in the middle of a TLS handshake is an error of TLS, too.
            Verdict::AllRejected if !text.contains("isconnected") => {
                // No waiting cures it, so it is said once; who only asks has an error that explains it.
                if self.hopeless.is_none() && self.logged.is_none() && !self.silent && !fatal {
                    tracing::warn!("{text}");
                }
                self.hopeless = Some((*code, text.clone()));
            }
            // "All brokers are down" says less than the reason that came before it.
            _ if *code == Code::ALL_BROKERS_DOWN && self.connection.is_some() => {}
            _ => self.connection = Some((*code, text.clone())),
        }
    }

    /// Serves everything that waits, without waiting.
    pub(crate) fn hear_all(&mut self, client: &Client) {
        while let Some(notice) = client.serve(Duration::ZERO) {
            self.hear(&notice);
        }
    }

    /// A broker answered.
    pub(crate) fn answered(&mut self) {
        self.all_down = false;
    }

    /// How many lines were not shown.
    pub(crate) fn hidden(&self) -> u32 {
        self.hidden
    }

    /// Whether no connection to any broker is left.
    pub(crate) fn all_down(&self) -> bool {
        self.all_down
    }

    /// What it says of these brokers (`None`: one that is not known), which have not answered since then (microseconds
    /// of the monotonic clock). A complaint from shortly before counts: the client says the same again only after 30 s.
    pub(crate) fn cause(&self, since: u64, of: impl Fn(Option<i32>) -> bool) -> Option<String> {
        let late = |at: u64| at.saturating_add(REPEATED_AFTER.as_micros() as u64) >= since;
        let of_them = self.newest.iter().filter(|(broker, (at, ..))| of(**broker) && late(*at));
        let (_, (_, code, text)) = of_them.max_by_key(|(_, (at, ..))| *at)?;
        Some(in_short(*code, text))
    }

    /// The best explanation for "no answer".
    pub(crate) fn reason(&self, fallback: Code) -> String {
        let heard = self.hopeless.as_ref().or(self.connection.as_ref());
        heard.map_or_else(|| fallback.to_string(), |(code, text)| in_short(*code, text))
    }
}

/// The first wait for an answer; each further one is twice as long, so that slow answers are waited for too. In
/// between, complaints are looked at.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// Whether a wait for an answer ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// At the first error that waiting will probably not cure: for a person who waits.
    UntilHopeless,
    /// Only with the time: brokers that are just coming up refuse much.
    UntilTimeout,
}

const TIMED_OUT: Code = Code::of(rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR__TIMED_OUT);

/// Calls `ask`, with a short timeout at first, until it succeeds or patience ends.
pub(crate) fn until_answered<T>(
    client: &Client,
    timeout: Duration,
    patience: Patience,
    complaints: &mut Complaints,
    ask: impl FnMut(Duration) -> Result<T, Code>,
) -> Result<T, Code> {
    until_answered_in(&mut Turns::one(&mut || true), client, timeout, patience, complaints, ask)
}

/// The same, in turns.
pub(crate) fn until_answered_in<T>(
    turns: &mut Turns<'_>,
    client: &Client,
    timeout: Duration,
    patience: Patience,
    complaints: &mut Complaints,
    mut ask: impl FnMut(Duration) -> Result<T, Code>,
) -> Result<T, Code> {
    let deadline = Instant::now() + timeout;
    let (mut wait, mut before) = (FIRST_WAIT, None);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let is_cut = left < wait;
        let error = match ask(turns.bound(left.min(wait)).max(Duration::from_millis(1))) {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        complaints.hear_all(client);
        let hopeless = complaints.hopeless.is_some() || verdict(error) == Verdict::AllRejected;
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || (hopeless && patience == Patience::UntilHopeless) || !turns.go_on() {
            // What is left at the end may be too short for any answer: then the one before tells more.
            return Err(before.filter(|_| is_cut && error == TIMED_OUT).unwrap_or(error));
        }
        before = Some(error);
        // An error may come back at once.
        std::thread::sleep(left.min(Duration::from_millis(50)));
        // Errors may come back at once, for long.
        wait = wait.saturating_mul(2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_is_a_warning_and_a_young_cluster_nothing() {
        assert_eq!(level(3, "FAIL", "Connect to ipv4#127.0.0.1:9092 failed: Connection refused"), Level::Warning);
        assert_eq!(level(4, "GETPID", "Failed to acquire PID: Coordinator load in progress: retrying"), Level::Debug);
        assert_eq!(level(4, "CONFWARN", "Configuration property x is a consumer property"), Level::Debug);
        assert_eq!(level(0, "FATAL", "fenced"), Level::Debug, "the attempt's failure says it");
        assert_eq!(level(0, "CRASH", "broken"), Level::Error);
        assert_eq!(level(7, "BROKER", "detail"), Level::Trace);
        assert_eq!(level(7, "ENDTXN", "EndTxn returned _TRANSPORT: retrying"), Level::Trace);
    }

    #[test]
    fn an_attempt_that_had_no_time_hides_no_answer() {
        let properties = [("bootstrap.servers".to_owned(), "127.0.0.1:9".to_owned())];
        let conf = crate::options::configure(&properties).unwrap();
        let client = conf.into_client(crate::ffi::ClientKind::Consumer).unwrap();
        let unknown = Code::of(rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
        let ends_with = |ask: &mut dyn FnMut(Duration) -> Code| {
            let mut complaints = Complaints::default();
            let timeout = FIRST_WAIT * 2;
            until_answered::<()>(&client, timeout, Patience::UntilTimeout, &mut complaints, |left| Err(ask(left))).unwrap_err()
        };
        let mut attempts = 0;
        let last_one_cut = ends_with(&mut |left| {
            attempts += 1;
            std::thread::sleep(left);
            if attempts == 1 { unknown } else { TIMED_OUT }
        });
        assert_eq!((last_one_cut, attempts), (unknown, 2));
        assert_eq!(
            ends_with(&mut |left| {
                std::thread::sleep(left);
                TIMED_OUT
            }),
            TIMED_OUT,
            "where none answered"
        );
    }

    #[test]
    fn the_same_complaint_is_kept_once() {
        let mut complaints = Complaints::logged_once();
        let refused = Code::of(rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT);
        for (broker, after) in [(1, 3), (1, 9), (2, 3)] {
            let text = format!("a:{broker}/bootstrap: Connect failed (after {after}ms in state CONNECT)");
            complaints.hear(&Notice::Log { level: 7, facility: "FAIL".into(), text: text.clone() });
            complaints.hear(&Notice::Error { code: refused, fatal: false, text });
        }
        assert_eq!((complaints.heard.len(), complaints.logged.map(|logged| logged.len())), (2, Some(2)));
    }

    #[test]
    fn a_complaint_of_one_broker_is_no_cause_for_another_ones_silence() {
        let mut complaints = Complaints::default();
        let refused = Code::of(rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT);
        for broker in ["k:9092/2", "k:9093/3", "k:9094/bootstrap"] {
            let text = format!("{broker}: Connect to ipv4#127.0.0.1:9 failed: Connection refused (after 0ms in state CONNECT)");
            complaints.hear(&Notice::Error { code: refused, fatal: false, text });
        }
        let of = |broker: i32| complaints.cause(0, |speaker| speaker == Some(broker));
        assert_eq!(of(1), None);
        assert!(of(2).is_some_and(|cause| cause.contains("k:9092")), "{:?}", of(2));
        assert!(complaints.cause(0, |_| true).is_some());
        let late = monotonic_micros() + 2 * REPEATED_AFTER.as_micros() as u64;
        assert_eq!(complaints.cause(late, |_| true), None, "it was long before");
    }

    #[test]
    fn the_first_reason_is_kept_when_all_brokers_are_down() {
        let mut complaints = Complaints::default();
        let refused = Code::of(rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT);
        complaints.hear(&Notice::Error { code: refused, fatal: false, text: "Connection refused".into() });
        complaints.hear(&Notice::Error { code: Code::ALL_BROKERS_DOWN, fatal: false, text: "1/1 brokers are down".into() });
        assert_eq!(complaints.reason(refused), "Connection refused");
    }
}
