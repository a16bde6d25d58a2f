//! What happened to a job, as text: what is no warning about the source, no turn of a knob and no refused run, which
//! stand in lists of their own.

use std::fmt::Write as _;

use migration::printable::printable;
use migration::report::JobReport;
use migration::units::show_utc;

use crate::wrapped::wrapped;

/// Events shown, the last ones; `-o json` has them all.
const EVENTS_SHOWN: usize = 20;

/// The list with its title; nothing if there is nothing in it.
pub fn happened(out: &mut String, report: &JobReport) {
    let elsewhere = |text: &str| {
        let turned = report.steering.iter().any(|turn| turn.text == text);
        turned || report.notices.iter().any(|notice| notice == text) || text.starts_with("not begun (exit ")
    };
    let events: Vec<&(i64, String)> = report.events.iter().filter(|(_, text)| !elsewhere(text)).collect();
    if events.is_empty() {
        return;
    }
    out.push_str("\n  what happened\n");
    let more = events.len().saturating_sub(EVENTS_SHOWN);
    if more > 0 {
        let _ = writeln!(out, "  {more} earlier; -o json has them all …");
    }
    for (at, text) in events.into_iter().skip(more) {
        let line = format!("{} {}", show_utc(at.unsigned_abs()), printable(text));
        let _ = writeln!(out, "{}", wrapped(&line, "  ", "    "));
    }
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn an_outage_is_told_with_its_times_and_a_turn_is_not_told_twice() {
        let mut report = example::report();
        let outage = "no broker answers since 08:31:07Z (k:9092: connection refused); workers wait, giving up at 08:46:07Z \
                      (kafka.give_up_after = 15min)";
        report.events.push((1_795_422_669_000, outage.to_owned()));
        let mut out = String::new();
        happened(&mut out, &report);
        assert!(out.starts_with("\n  what happened\n") && !out.contains("scaled 1 -> 2"), "{out}");
        let expected =
            "  2026-11-23 08:31:09 UTC no broker answers since 08:31:07Z (k:9092: connection\n    refused); workers wait,";
        assert!(out.contains(expected), "{out}");
        assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
        report.events.clear();
        let mut out = String::new();
        happened(&mut out, &report);
        assert_eq!(out, "");
    }
}
