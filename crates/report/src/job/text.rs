//! The report as text.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use migration::printable::printable;
use migration::report::{AnswerTimes, AttemptOutcome, AttemptReport, JobReport, Resent};
use migration::units::{show_count, show_duration, show_size, show_things, show_utc};
use migration::{Counts, Histogram, Phase, Phases};

use super::advice::advice;
use super::happened::happened;
use crate::table::{Column, render};

/// Attempts shown before the rest is summed up; `-o json` has them all.
const ATTEMPTS_SHOWN: usize = 12;

/// Turns of the knobs shown, the last ones.
const TURNS_SHOWN: usize = 20;

/// Warnings about the source shown, the last ones.
const NOTICES_SHOWN: usize = 12;

/// Runs that were refused shown, the last ones.
const REFUSALS_SHOWN: usize = 3;

/// The whole report.
pub fn text(report: &JobReport) -> String {
    let mut out = String::new();
    headline(&mut out, report);
    balance(&mut out, report);
    figures(&mut out, report);
    attempts(&mut out, report);
    troubles(&mut out, report);
    notices(&mut out, report);
    happened(&mut out, report);
    steering(&mut out, report);
    if let Some(advice) = advice(report) {
        let _ = writeln!(out, "\n{advice}");
    }
    out
}

fn headline(out: &mut String, report: &JobReport) {
    let code = report.exit.map(|exit| format!(" (exit {})", exit.code())).unwrap_or_default();
    let time = show_duration(Duration::from_micros(report.elapsed_us));
    let here = if report.is_shared() { " here" } else { "" };
    let runs = if report.runs.len() > 1 { format!(" over {} runs", report.runs.len()) } else { String::new() };
    let _ = writeln!(
        out,
        "{}: {}{code} after {time}{here}{runs}, topic {}",
        report.name,
        report.outcome.name(),
        report.binding.topic
    );
    for reason in &report.reasons {
        let _ = writeln!(out, "  {}", printable(reason));
    }
    if let Some(accepted) = super::accepted(report) {
        let _ = writeln!(out, "  {accepted}");
    }
    refusals(out, report);
    out.push('\n');
}

/// Runs that were refused since the last one began: the headline tells of that one.
fn refusals(out: &mut String, report: &JobReport) {
    let since = report.runs.last().map_or(i64::MIN, |run| run.started_ms);
    let refused: Vec<_> =
        report.events.iter().filter(|(at, text)| *at >= since && text.starts_with("not begun (exit ")).collect();
    for (at, text) in refused.iter().skip(refused.len().saturating_sub(REFUSALS_SHOWN)) {
        let _ = writeln!(out, "  then, {}: {}", show_utc(at.unsigned_abs()), printable(text));
    }
}

fn balance(out: &mut String, report: &JobReport) {
    let c = &report.counts;
    let verdict = if c.balance() { "balances" } else { "DOES NOT BALANCE: please report this" };
    let rows =
        [("records read", c.read, ""), ("= acknowledged", c.acknowledged, ""), ("+ filtered", c.filtered, " (blank lines)")];
    let letters = ("+ dead letters", c.dead_lettered, &*format!("  {verdict}"));
    for (name, count, note) in rows.into_iter().chain([letters]) {
        let _ = writeln!(out, "  {name:<16}{:>16}{note}", show_count(count));
    }
    if let Some(elsewhere) = report.elsewhere().filter(|_| report.is_shared()) {
        let (count, note) = (show_count(elsewhere.acknowledged), super::elsewhere_note(report));
        let _ = writeln!(out, "  {:<16}{count:>16}{note}", "sent elsewhere");
    }
    if report.progress_topic.is_some() {
        let _ = writeln!(out, "  {:<16}{:>16} twice: exactly-once", "sent again", "none");
    } else if let Some(Resent { most, exact }) = report.resent {
        let note = if exact { "" } else { " at most: may be in the topic twice" };
        let _ = writeln!(out, "  {:<16}{:>16}{note}", "sent again", show_count(most));
    }
    if c.others > 0 {
        let note = " rows by workers of other sets: each reads all";
        let _ = writeln!(out, "  {:<16}{:>16}{note}", "passed over", show_count(c.others));
    }
    out.push('\n');
}

fn figures(out: &mut String, report: &JobReport) {
    let mut row = |name: &str, text: String| {
        let _ = writeln!(out, "  {name:<16}{text}");
    };
    if let Some((records, bytes)) = report.records_per_second().zip(report.per_second(|here| here.bytes_read)) {
        row("rate", format!("{} records/s, {}/s", show_count(records.round() as u64), show_size(bytes as u64)));
    }
    row("volume", format!("{} read, {} sent", show_size(report.counts.bytes_read), show_size(report.counts.bytes_sent)));
    if let Some(here) = report.here.filter(|_| report.is_shared()) {
        row("sent here", here_alone(&here));
    }
    if let Some(order) = report.order {
        row("order", order.promise().to_owned());
    }
    row("delivery", super::delivery(report));
    let s = &report.shards;
    row("shards", format!("{} of {} done, {} quarantined", s.done, s.total, s.quarantined));
    let w = &report.workers;
    row("workers", format!("{} slots, {} forked, {} restarts", w.count, w.forked, w.restarts));
    if let Some(time) = report.round_trip() {
        let took = |us| format!(", {} for an answer to a group of records", show_duration(Duration::from_micros(us)));
        let answers = report.work.answers.mean_us().map_or_else(String::new, took);
        row("round trip", format!("{} to the brokers{answers}", show_duration(time)));
    }
    if report.work.held_back.count > 0 {
        let AnswerTimes { count, total_us, longest_us } = report.work.held_back;
        let [total, longest] = [total_us, longest_us].map(|us| show_duration(Duration::from_micros(us)));
        row("held back", format!("{total} in {} by a quota, up to {longest}", show_things(count, "answer")));
    }
    if report.work.phases.total() > 0 {
        row("time", shares(&report.work.phases));
    }
    if report.work.flush.count() > 0 {
        row("flush", flushes(&report.work.flush));
    }
    row(
        "CPU",
        format!(
            "supervisor {:.2} s, workers {:.2} s",
            report.cpu_supervisor_us as f64 / 1e6,
            report.cpu_workers_us as f64 / 1e6
        ),
    );
    if let Some(bytes) = report.peak_worker_memory_bytes {
        row("peak memory", format!("{} (the largest worker)", show_size(bytes)));
    }
    if let Some(shard) = report.slowest_shard() {
        row("slowest shard", format!("{} with {}", shard.id, show_duration(Duration::from_micros(shard.elapsed_us))));
    }
    if let Some(text) = skew(&report.work.partitions) {
        row("partitions", text);
    }
}

/// What was sent in this folder, where others have sent a part.
fn here_alone(here: &Counts) -> String {
    let Counts { acknowledged, bytes_sent, .. } = *here;
    if here.read == 0 {
        return "nothing".to_owned();
    }
    let (records, bytes) = (show_things(acknowledged, "record"), show_size(bytes_sent));
    format!("{records}, {bytes} sent; rate, time, flush, CPU, partitions are theirs")
}

fn flushes(flush: &Histogram) -> String {
    let after = |quantile: f64| show_duration(Duration::from_micros(flush.quantile(quantile)));
    format!("{} times, p50 {}, p99 {}", show_count(flush.count()), after(0.5), after(0.99))
}

/// Where the workers' wall time went, in shares of the whole; what rounds to nothing is left out.
fn shares(phases: &Phases) -> String {
    let total = phases.total().max(1) as f64;
    let parts: Vec<_> = Phase::ALL
        .iter()
        .map(|&phase| (phase, phases.get(phase) as f64 * 100.0 / total))
        .filter(|(_, percent)| *percent >= 0.5)
        .map(|(phase, percent)| format!("{} {percent:.0} %", phase.name()))
        .collect();
    parts.join(" · ")
}

/// The phase with the greatest share.
fn greatest(phases: &Phases) -> String {
    let total = phases.total().max(1) as f64;
    let most = Phase::ALL.iter().max_by_key(|phase| phases.get(**phase)).filter(|phase| phases.get(**phase) > 0);
    most.map_or_else(String::new, |phase| format!("{} {:.0} %", phase.name(), phases.get(*phase) as f64 * 100.0 / total))
}

fn skew(partitions: &[u64]) -> Option<String> {
    let (min, max) = (partitions.iter().min()?, partitions.iter().max().filter(|max| **max > 0)?);
    Some(format!("{}, from {} to {} records", partitions.len(), show_count(*min), show_count(*max)))
}

fn attempts(out: &mut String, report: &JobReport) {
    if report.attempts.is_empty() {
        return;
    }
    let mut columns = vec![Column::words("shard"), Column::figures("", "attempt"), Column::words("ended")];
    columns.extend(["took", "records", "CPU", "memory"].map(|unit| Column::figures("", unit)));
    columns.push(Column::words("mostly in"));
    // The troubled ones first, then the slowest: what a reader looks for.
    let mut rows: Vec<_> = report.attempts.iter().collect();
    rows.sort_by_key(|a| (!troubled(a), std::cmp::Reverse(a.elapsed_us)));
    let row = |a: &&AttemptReport| {
        vec![
            a.shard.to_string(),
            a.number.to_string(),
            a.outcome.name().to_owned(),
            if a.elapsed_us > 0 { show_duration(Duration::from_micros(a.elapsed_us)) } else { String::new() },
            show_count(a.counts.acknowledged),
            a.cpu_us.map_or_else(String::new, |us| format!("{:.2} s", us as f64 / 1e6)),
            a.peak_memory_bytes.map_or_else(String::new, show_size),
            greatest(&a.work.phases),
        ]
    };
    let shown: Vec<_> = rows.iter().take(ATTEMPTS_SHOWN).map(row).collect();
    let _ = write!(out, "\n{}", render(&columns, 3, &shown));
    if rows.len() > ATTEMPTS_SHOWN {
        let _ = writeln!(out, "  … and {} more; -o json has them all", rows.len() - ATTEMPTS_SHOWN);
    }
}

fn steering(out: &mut String, report: &JobReport) {
    if report.steering.is_empty() {
        return;
    }
    out.push_str("\n  turned while it ran (times in UTC)\n");
    let more = report.steering.len().saturating_sub(TURNS_SHOWN);
    if more > 0 {
        let _ = writeln!(out, "  {more} earlier; -o json has them all …");
    }
    for turn in report.steering.iter().skip(more) {
        let _ = writeln!(out, "  {turn}");
    }
}

/// The newest that there is room for.
fn notices(out: &mut String, report: &JobReport) {
    if report.notices.is_empty() {
        return;
    }
    out.push_str("\n  seen in the source and the dead letters\n");
    let more = report.notices.len().saturating_sub(NOTICES_SHOWN);
    if more > 0 {
        let _ = writeln!(out, "  {more} earlier; -o json has them all …");
    }
    for notice in report.notices.iter().skip(more) {
        let _ = writeln!(out, "  {}", printable(notice));
    }
}

fn troubled(a: &AttemptReport) -> bool {
    !matches!(a.outcome, AttemptOutcome::Finished | AttemptOutcome::Drained | AttemptOutcome::Running)
}

/// The restarts, each with the end that made it necessary; then the other attempts that ended before their time.
fn troubles(out: &mut String, report: &JobReport) {
    let replaced: BTreeSet<_> = report.attempts.iter().filter(|a| a.restart).map(|a| (a.shard, a.number - 1)).collect();
    let ended = |wanted: bool| -> Vec<&AttemptReport> {
        report.attempts.iter().filter(|a| troubled(a) && replaced.contains(&(a.shard, a.number)) == wanted).collect()
    };
    list(out, "restarts, and why the attempt before ended", &ended(true));
    list(out, "others that ended before their shard", &ended(false));
}

fn list(out: &mut String, title: &str, rows: &[&AttemptReport]) {
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n  {title}");
    for a in rows.iter().take(ATTEMPTS_SHOWN) {
        let reason = if a.reason.is_empty() { a.outcome.name() } else { a.reason.as_str() };
        let _ = writeln!(out, "  shard {} attempt {}: {}", a.shard, a.number, printable(reason));
    }
    if rows.len() > ATTEMPTS_SHOWN {
        let _ = writeln!(out, "  … and {} more; -o json has them all", rows.len() - ATTEMPTS_SHOWN);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{example, object};
    use super::*;

    #[test]
    fn rates_count_what_was_sent_here_and_the_rest_is_told() {
        let report = example::shared(45_000);
        let (here, both) = (text(&example::report()), text(&report));
        let rate = |text: &str| text.lines().find(|line| line.starts_with("  rate ")).map(str::to_owned);
        assert!(rate(&here).is_some() && rate(&here) == rate(&both), "{both}");
        assert!(both.contains("after 20.00 s here over 2 runs"), "{both}");
        // A worker died here, and may have committed before.
        assert!(both.contains("  sent elsewhere            45,000 of these, or here and not heard of\n"), "{both}");
        assert!(both.contains("  sent here       32,400 records, 0 B sent; rate, time"), "{both}");
        assert!(!here.contains("elsewhere") && !here.contains(" here"), "{here}");
        let (alone, shared) = (object(&example::report()), object(&report));
        assert_eq!((&alone["records"]["elsewhere"], &shared["records"]["elsewhere"]), (&0.into(), &45_000.into()));
        assert_eq!(alone["records_per_second"], shared["records_per_second"]);
    }

    #[test]
    fn where_nothing_was_sent_there_is_no_rate() {
        let report = example::done_elsewhere(200_000);
        let told = text(&report);
        assert!(told.contains("  sent elsewhere           200,000 of these\n"), "{told}");
        assert!(told.contains("  sent here       nothing\n"), "{told}");
        for unknown in ["\n  rate ", "\n  time ", "\n  flush ", "\n  partitions "] {
            assert!(!told.contains(unknown), "{unknown}: {told}");
        }
        let object = object(&report);
        assert!(object["records_per_second"].is_null() && object["flush"]["p50_ms"].is_null(), "{object:?}");
        assert_eq!(object["records"]["elsewhere"], 200_000);
        assert_eq!(super::super::advice(&report), None);
        let unread = JobReport { here: None, ..report };
        assert!(!text(&unread).contains("\n  rate "), "of a state that can't be read nothing is known");
    }
}
