//! The web scene as text.

use std::fmt::Write as _;

use report::figures::{ms, show};
use report::table::{Column, render};

use super::failures;
use crate::figures::Spread;
use crate::pages::figures::{only_round, plain, show_rounds};
use crate::web::figures::{WebComparison, WebSummary};

/// The whole web scene for people.
pub fn text(comparison: &WebComparison) -> String {
    let mut out = asked(comparison).join("\n") + "\n";
    if comparison.interrupted {
        out += "interrupted: these are the figures of the rounds that had run\n";
    }
    let _ = write!(out, "\n{}", table(comparison));
    for failure in failures(comparison) {
        let _ = writeln!(out, "  {failure}");
    }
    for advice in &comparison.advice {
        let _ = write!(out, "\n{advice}\n");
    }
    out
}

/// What was asked, a line each.
pub(crate) fn asked(comparison: &WebComparison) -> Vec<String> {
    let c = &comparison.conditions;
    let brokers = match c.rtt_us {
        Some(rtt) => format!("embedded broker with a round trip of {} ms", plain(ms(rtt))),
        None => c.brokers.clone(),
    };
    let producer = if c.shared_producer { "one producer for all requests" } else { "a producer for each connection" };
    let rest = if c.pause_us > 0 { format!(", resting {} ms after each answer", plain(ms(c.pause_us))) } else { String::new() };
    let mut lines = vec![
        format!("one HTTP server on one thread; {brokers}, topic {}; {producer}", c.topic),
        format!("{} connections ask for the produce route, one request after the other", c.clients),
        format!("{} connections ask for the plain route{rest}", c.others),
        format!("{} of {} s for each flush", show_rounds(c.rounds), plain(c.seconds)),
    ];
    lines.extend(only_round(c.rounds));
    lines
}

fn table(comparison: &WebComparison) -> String {
    let columns = [
        Column::words("flush"),
        Column::figures("plain", "p50 ms"),
        Column::figures("", "p99 ms"),
        Column::figures("", "a second"),
        Column::figures("produce", "p50 ms"),
        Column::figures("", "p99 ms"),
        Column::figures("", "a second"),
        Column::figures("its thread", "CPU cores"),
        Column::figures("1 ms beat", "late p50 ms"),
        Column::figures("", "p99 ms"),
    ];
    let in_ms = |us: &Spread| show(us.median / 1000.0);
    let row = |s: &WebSummary| {
        vec![
            s.flush.name().to_owned(),
            in_ms(&s.plain_p50_us),
            in_ms(&s.plain_p99_us),
            show(s.plain_per_second.median),
            in_ms(&s.produce_p50_us),
            in_ms(&s.produce_p99_us),
            show(s.produce_per_second.median),
            show(s.thread_cpu_cores.median),
            in_ms(&s.heartbeat_p50_us),
            in_ms(&s.heartbeat_p99_us),
        ]
    };
    render(&columns, 1, &comparison.results.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn each_flush_has_a_line_that_fits_a_terminal() {
        let mut scene = example::scene();
        scene.rounds[0].failure = Some("the server did not answer".to_owned());
        let text = text(&scene);
        assert!(text.lines().skip(1).all(|line| line.chars().count() <= 110), "{text}");
        let line = text.lines().find(|line| line.trim_start().starts_with("blocking ")).expect("a line");
        assert!(line.contains("80.0") && line.contains("160"), "{line}");
        assert!(text.contains("failed: blocking, round 1: the server did not answer"), "{text}");
        assert!(text.contains(&scene.advice[0]));
        assert!(!text.contains("chance"), "{text}");
        scene.conditions.rounds = 1;
        assert!(asked(&scene).iter().any(|line| line.starts_with("one round is no fact")));
    }
}
