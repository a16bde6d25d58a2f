//! A comparison as text: what was asked, how fast each setting is, what it costs, what stands out, what to do.

use std::fmt::Write as _;

use migration::job::FlushPolicy;
use migration::units::{show_count, show_size};
use report::figures::{ms, quantile_ms, show, show_percent, show_speed};
use report::table::{Column, render};
use report::wrapped::{COLUMNS, wrapped_at};

use super::{differ, failures, flush_name, label, rows};
use crate::conclusion::overlap;
use crate::figures::{Comparison, Conditions, Setting, Spread, Summary};
use crate::pages::figures::{only_round, plain, show_rounds, show_spread};

/// The whole comparison for people.
pub fn text(comparison: &Comparison) -> String {
    let head = asked(comparison).into_iter().chain(settled(comparison));
    let mut out = head.flat_map(|line| wrap(&line)).collect::<Vec<_>>().join("\n") + "\n";
    if comparison.interrupted {
        out += "interrupted: these are the figures of the rounds that had run\n";
    }
    if comparison.results.is_empty() {
        out += "\n  no setting has a figure\n";
    } else {
        let _ = write!(out, "\n{}\n{}\n{}", speed(comparison), waits(comparison), cost(comparison));
    }
    let remarks = remarks(comparison);
    if !remarks.is_empty() {
        out += "\n  notes\n";
        remarks.iter().flat_map(|remark| wrap(remark)).for_each(|line| out += &format!("  {line}\n"));
    }
    for line in conclusion(comparison) {
        let _ = write!(out, "\n{line}");
    }
    if comparison.conclusion.is_some() {
        out.push('\n');
    }
    for advice in &comparison.advice {
        let _ = write!(out, "\n{}\n", wrap(advice).join("\n"));
    }
    out
}

/// What was asked, a line each: which brokers, what each record costs besides, when a run ends.
pub(crate) fn asked(comparison: &Comparison) -> Vec<String> {
    let c = &comparison.conditions;
    let mut parts = vec![where_to(c)];
    if c.wait_us > 0 || c.cpu_us > 0 {
        let part = |us: u64, what: &str| (us > 0).then(|| format!("{} ms of {what}", plain(ms(us))));
        let parts_of_record: Vec<String> =
            [part(c.wait_us, "other waits"), part(c.cpu_us, "CPU")].into_iter().flatten().collect();
        parts.push(format!("for each record also {}", parts_of_record.join(" and ")));
    }
    if let (false, Some(setting)) = (differ(comparison, |s| s.flush), comparison.settings.first()) {
        parts.push(format!("flush = \"{}\"", flush_name(setting.flush)));
    }
    let end = match c.records {
        Some(records) => format!("{} s or {} records", plain(c.seconds), show_count(records)),
        None => format!("{} s", plain(c.seconds)),
    };
    parts.push(format!("{} of {end}, each setting in a fresh process", show_rounds(c.rounds)));
    if c.by_key {
        parts.push("order by key: each worker reads everything and sends a set of partitions, as in `run`".to_owned());
    }
    parts.extend(only_round(c.rounds));
    parts
}

/// What was the same for all beside what was asked: the producers' properties, the limits of chunks, the model; lines
/// of a terminal.
fn settled(comparison: &Comparison) -> Vec<String> {
    let c = &comparison.conditions;
    let mut lines = Vec::new();
    for (whose, properties) in producers(comparison) {
        lines.push(format!("{whose}: {properties}"));
    }
    let in_flight = format!("at most {} in flight for each worker", show_size(c.in_flight_bytes));
    lines.extend(chunk(comparison).map(|chunk| format!("a chunk: {chunk}; {in_flight}; partitioner {}", c.partitioner)));
    if let Some(model) = &comparison.model {
        lines.push(format!(
            "model: a record of one worker waits d = {} ms, computes c = {} ms and flushes f = {} ms",
            show(model.wait_us / 1e3),
            show(model.cpu_us / 1e3),
            show(model.flush_us / 1e3)
        ));
    }
    if c.source_repeated {
        lines.push("the source is short: it was read more than once in a run".to_owned());
    }
    lines
}

/// Whose producers have which properties.
pub(crate) fn producers(comparison: &Comparison) -> Vec<(String, String)> {
    let c = &comparison.conditions;
    let list = |properties: &[(String, String)]| {
        let properties: Vec<String> = properties.iter().map(|(name, value)| format!("{name}={value}")).collect();
        properties.join(", ")
    };
    let usual =
        c.properties.iter().map(|(flush, pairs)| (format!("producer, flush = \"{}\"", flush_name(*flush)), list(pairs)));
    let instead =
        c.properties_instead.iter().map(|(setting, pairs)| (format!("only {}", label(comparison, setting)), list(pairs)));
    usual.chain(instead).collect()
}

/// The limits of a chunk, where a row has chunks.
pub(crate) fn chunk(comparison: &Comparison) -> Option<String> {
    let c = &comparison.conditions;
    let has = comparison.settings.iter().any(|setting| setting.flush != FlushPolicy::Record);
    let interval = plain(c.chunk_interval_ms as f64);
    has.then(|| format!("at most {} records, {}, {interval} ms", show_count(c.chunk_records), show_size(c.chunk_bytes)))
}

/// How many replicas a delivery report waits for, on real brokers.
pub(crate) fn replicas(c: &Conditions) -> String {
    c.replication.map_or_else(String::new, |replication| format!(", replication {replication}"))
}

/// Lines that fit a terminal, set in by two or not; later ones are set in by two more.
fn wrap(text: &str) -> Vec<String> {
    wrapped_at(COLUMNS - 2, text, "", "  ").lines().map(str::to_owned).collect()
}

fn where_to(c: &Conditions) -> String {
    let topic = format!("topic {} with {} partitions{}", c.topic, c.partitions, replicas(c));
    match c.rtt_us {
        Some(rtt) => format!("embedded broker with a round trip of {} ms, {topic}", plain(ms(rtt))),
        None => format!("{}, {topic}", c.brokers),
    }
}

fn speed(comparison: &Comparison) -> String {
    let reference = comparison.reference.and_then(|i| comparison.settings.get(i as usize));
    let to = reference.map_or_else(String::new, |setting| format!("to {}", setting.variant.name()));
    let figures = [
        Column::figures("", "records/s"),
        Column::figures("", "spread"),
        Column::figures("speed", &to),
        Column::figures("model:", "records/s"),
    ];
    table(comparison, figures, |s| {
        [
            show(s.records_per_second.median),
            show_spread(&s.records_per_second, s.rounds),
            s.relative_speed.map_or_else(String::new, |speed| relative(&speed, s.relative_speed_error)),
            s.predicted_records_per_second.map_or_else(String::new, show),
        ]
    })
}

/// What a record waits for, and what else on its thread waits for it.
fn waits(comparison: &Comparison) -> String {
    let figures = [
        Column::figures("in flush", "%"),
        Column::figures("delivery", "p50 ms"),
        Column::figures("", "p99 ms"),
        Column::figures("1 ms beat", "late p50 ms"),
        Column::figures("", "p99 ms"),
    ];
    table(comparison, figures, |s| {
        [
            show_percent(s.flush_share.median),
            milliseconds(quantile_ms(&s.latency, 0.5)),
            milliseconds(quantile_ms(&s.latency, 0.99)),
            milliseconds(quantile_ms(&s.heartbeat, 0.5)),
            milliseconds(quantile_ms(&s.heartbeat, 0.99)),
        ]
    })
}

fn cost(comparison: &Comparison) -> String {
    let figures = [
        Column::figures("CPU", "cores"),
        Column::figures("its thread", "cores"),
        Column::figures("CPU us", "a record"),
        Column::figures("beats a ms", "of flush"),
        Column::figures("peak", "memory"),
    ];
    table(comparison, figures, |s| {
        [
            show(s.cpu_cores.median),
            show(s.thread_cpu_cores.median),
            show(s.cpu_us_per_record.median),
            if s.heartbeat.count() > 0 { show(s.ticks_per_flush_ms) } else { String::new() },
            show_size(s.peak_memory_bytes),
        ]
    })
}

/// A table of some figures of each row.
fn table<const N: usize>(comparison: &Comparison, figures: [Column; N], of: impl Fn(&Summary) -> [String; N]) -> String {
    let columns: Vec<Column> = names().into_iter().chain(figures).collect();
    let row = |(setting, summary): (&Setting, &Summary)| {
        let names = name_cells(comparison, setting);
        names.into_iter().chain(of(summary)).collect::<Vec<String>>()
    };
    render(&columns, NAMES, &rows(comparison).map(row).collect::<Vec<_>>())
}

/// The columns that say which setting a row is.
const NAMES: usize = 4;

fn names() -> Vec<Column> {
    vec![Column::words("variant"), Column::figures("", "workers"), Column::words("flush"), Column::words("producer")]
}

/// What a setting is; what all have in common is left out.
fn name_cells(comparison: &Comparison, setting: &Setting) -> Vec<String> {
    let flush = if differ(comparison, |s| s.flush) { flush_name(setting.flush) } else { String::new() };
    let producer = match differ(comparison, |s| s.shared_producer) {
        true if setting.shared_producer => "shared",
        true => "own",
        false => "",
    };
    vec![setting.variant.name().to_owned(), setting.workers.to_string(), flush, producer.to_owned()]
}

fn relative(speed: &Spread, error: Option<f64>) -> String {
    match error.filter(|error| error.is_finite() && *error > 0.0) {
        Some(error) => format!("{} ±{}", show_speed(speed.median), show_speed(error)),
        None => show_speed(speed.median),
    }
}

fn milliseconds(value: Option<f64>) -> String {
    value.map_or_else(String::new, show)
}

/// What to set, and the same as flags.
pub(crate) fn conclusion(comparison: &Comparison) -> Vec<String> {
    let Some(found) = &comparison.conclusion else { return Vec::new() };
    let embedded = match comparison.conditions.rtt_us {
        Some(_) => "; that is on the embedded broker, -b HOST:PORT compares on yours",
        None => "",
    };
    let mut lines = wrap(&format!("to set: {} ({}{embedded})", found.keys(), found.why));
    lines.push(format!("  {}", found.flags()));
    lines
}

/// Neighbours in speed that the rounds don't tell apart.
fn overlaps(comparison: &Comparison) -> Option<String> {
    let mut all: Vec<_> = rows(comparison).filter(|(_, summary)| summary.rounds > 1).collect();
    all.sort_by(|(_, a), (_, b)| b.records_per_second.median.total_cmp(&a.records_per_second.median));
    let close = all.windows(2).filter(|pair| overlap(pair[0].1, pair[1].1));
    let told: Vec<String> =
        close.map(|pair| format!("{} and {}", label(comparison, pair[0].0), label(comparison, pair[1].0))).collect();
    (!told.is_empty()).then(|| format!("their rounds overlap, so which is faster is not told: {}", told.join("; ")))
}

/// What stands out, and what failed.
pub(crate) fn remarks(comparison: &Comparison) -> Vec<String> {
    let noted = rows(comparison).flat_map(|(setting, summary)| {
        let name = label(comparison, setting);
        summary.notes.iter().map(move |note| format!("{name}: {note}"))
    });
    noted
        .chain(overlaps(comparison))
        .chain(failures(comparison).into_iter().map(|failure| format!("failed: {failure}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn each_setting_has_a_line_that_fits_a_terminal() {
        let story = example::story();
        let text = text(&story);
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}\n{text}");
        }
        let lines: Vec<&str> = text.lines().filter(|line| line.trim_start().starts_with("processes ")).collect();
        assert_eq!(lines.len(), 3 * 4, "a line in each of three tables for 1, 2, 4 and 8 workers\n{text}");
        assert!(lines[3].contains(" 547 ") && lines[3].contains("±2 %") && lines[3].contains("7.50 ±0.05"), "{}", lines[3]);
    }

    #[test]
    fn only_what_differs_gets_a_column() {
        let mut story = example::story();
        let tables =
            |story: &Comparison| text(story).split_once("\n\n").map(|(_, tables)| tables.to_owned()).unwrap_or_default();
        assert!(!tables(&story).contains("producer"));
        assert!(text(&story).contains("flush = \"record\""));
        story.settings[1].shared_producer = true;
        story.settings[2].flush = migration::job::FlushPolicy::Chunk;
        let text = text(&story);
        let tables = tables(&story);
        assert!(tables.contains("producer") && tables.contains("shared") && tables.contains("chunk"), "{text}");
        assert!(!text.contains("\nflush = "), "{text}");
    }

    #[test]
    fn what_matters_for_speed_is_told() {
        let mut story = example::story();
        let head = |story: &Comparison| text(story).split("\n\n").next().unwrap_or_default().to_owned();
        let told = head(&story);
        assert!(told.contains("producer, flush = \"record\": linger.ms=0, acks=all"), "{told}");
        let instead = story.settings.iter().find(|setting| setting.variant.name() == "green-wakeup").copied().unwrap();
        story.conditions.properties_instead.push((instead, vec![("linger.ms".to_owned(), "1".to_owned())]));
        assert!(head(&story).contains("only green-wakeup × "), "{}", head(&story));
        assert!(told.contains("d = 2.5") && told.contains("c = 0.85") && told.contains("f = 10.2"), "{told}");
        assert!(!told.contains("a chunk") && !told.contains("short") && !told.contains("replication"), "{told}");
        assert!(!told.contains("chance"), "{told}");
        story.conditions.rounds = 1;
        assert!(head(&story).contains("\none round is no fact"), "{}", head(&story));
        story.settings[2].flush = FlushPolicy::Chunk;
        (story.conditions.source_repeated, story.conditions.replication) = (true, Some(3));
        let many = (0..20).map(|number| (format!("some.long.property.{number}"), "value".to_owned())).collect();
        story.conditions.properties.push((FlushPolicy::Chunk, many));
        let told = head(&story);
        let joined = told.replace("\n  ", " ");
        assert!(joined.contains("a chunk: at most 5,000 records") && joined.contains("partitioner murmur2"), "{told}");
        assert!(told.contains("more than once") && told.contains("replication 3"), "{told}");
        assert!(told.lines().all(|line| line.chars().count() <= 80), "{told}");
    }

    #[test]
    fn failures_notes_and_an_interruption_are_told() {
        let mut story = example::story();
        story.interrupted = true;
        story.results[0].notes.push("round 3 is far from the others".to_owned());
        let mut failed = story.rounds[0].clone();
        failed.failure = Some("no broker".to_owned());
        story.rounds.extend([failed.clone(), crate::figures::Round { round: 2, ..failed }]);
        let text = text(&story);
        assert!(text.contains("interrupted"), "{text}");
        assert!(text.contains("single: round 3 is far from the others"), "{text}");
        assert!(text.contains("failed: single, rounds 1, 2: no broker"), "{text}");
        assert!(text.contains(&story.advice[0]));
    }

    #[test]
    fn a_comparison_without_any_figure_is_text_too() {
        let mut story = example::story();
        (story.results, story.rounds, story.advice) = (Vec::new(), Vec::new(), Vec::new());
        assert!(text(&story).contains("no setting has a figure"));
    }
}
