//! The web scene: an HTTP server on one thread, with a route that waits for its record's delivery report and a plain
//! one, and who asks both.
//!
//! Responsible for: the server ([`server`]) and how its produce route waits ([`produce`]), the load ([`load`]), and
//! what the rounds say together ([`summary`]). Not responsible for: the two processes in which server and load run, or
//! how often.

pub mod figures;
pub mod load;
pub mod meter;
pub mod pages;
pub mod produce;
pub mod records;
pub mod scene;
pub mod server;
pub mod summary;

use load::{Load, LoadFigures};
use migration::Histogram;

use crate::web::figures::{WebFlush, WebRound};

/// What a run came to. Without figures where answers and delivery reports are not equally many: then an answer was no
/// delivery.
pub fn round(flush: WebFlush, number: u32, load: &Load, figures: Result<LoadFigures, String>) -> WebRound {
    let mut round = WebRound {
        flush,
        round: number,
        elapsed_us: 0,
        plain: Histogram::default(),
        produce: Histogram::default(),
        records: 0,
        thread_cpu_us: 0,
        cpu_us: 0,
        load_cpu_us: 0,
        heartbeat: Histogram::default(),
        ticks_in_flush: 0,
        flush_us: 0,
        failure: None,
    };
    match figures {
        Err(failure) => round.failure = Some(failure),
        Ok(LoadFigures { elapsed_us, plain, produce, delivered, cpu_us, server }) => {
            // The handler warms each of its slots up with a record of its own.
            let expected = delivered + u64::from(load.clients);
            round.failure = (server.records != expected)
                .then(|| format!("{expected} answers and warm-up records, but {} delivery reports", server.records));
            round.elapsed_us = elapsed_us;
            round.plain = plain;
            round.produce = produce;
            round.records = server.records;
            round.thread_cpu_us = server.thread_cpu_us;
            round.cpu_us = server.cpu_us;
            round.load_cpu_us = cpu_us;
            round.heartbeat = server.heartbeat;
            round.ticks_in_flush = server.ticks_in_flush;
            round.flush_us = server.flush_us;
        }
    }
    round
}

/// The routes. Methods: POST, but GET for the plain one.
mod route {
    /// Sends a record and answers when its delivery report is there.
    pub const PRODUCE: &str = "/produce";
    /// Answers at once.
    pub const PLAIN: &str = "/plain";
    /// Starts the server's clock.
    pub const BEGIN: &str = "/begin";
    /// Answers what the server measured since then.
    pub const END: &str = "/end";
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::meter::ServerFigures;
    use super::*;

    #[test]
    fn a_run_whose_answers_were_not_all_delivered_has_no_figures() {
        let load = Load { clients: 8, others: 2, pause: Duration::ZERO, duration: Duration::from_secs(1) };
        let figures = |records| LoadFigures {
            delivered: 100,
            server: ServerFigures { records, ..ServerFigures::default() },
            ..LoadFigures::default()
        };
        assert_eq!(round(WebFlush::Blocking, 1, &load, Ok(figures(108))).failure, None);
        let failure = round(WebFlush::Blocking, 1, &load, Ok(figures(107))).failure;
        assert_eq!(failure.as_deref(), Some("108 answers and warm-up records, but 107 delivery reports"));
        assert_eq!(round(WebFlush::Wakeup, 1, &load, Err("no".to_owned())).failure.as_deref(), Some("no"));
    }
}
