//! A job as a page: how it stands, what it did over time, its attempts, what happened, and how it was configured.

use std::time::Duration;

use migration::report::{AttemptReport, JobReport, LetterReason, Samples, SeenLetters};
use migration::units::{show_count, show_duration, show_size};
use serde_json::{Map, Value};

use super::timeline::Timeline;
use super::{advice, charts, verified};
use crate::dlq;
use crate::figures::{show, show_utc};
use crate::html::{Numbers, advice as advised, definitions, footer, headline, page, scrolling, section, warning};
use crate::letters::not_read;
use crate::markup::Element;

/// Attempts in the table; the JSON has them all.
const ATTEMPTS_SHOWN: usize = 200;
/// Reasons of letters in the table; the JSON has them all.
const REASONS_SHOWN: usize = 20;
/// Commands of runs, the last ones; the JSON has them all.
const COMMANDS_SHOWN: usize = 20;
/// Events in the list; the JSON has them all.
const EVENTS_SHOWN: usize = 200;

/// What a page needs besides the report.
#[derive(Clone, Copy, Debug)]
pub struct Extras<'a> {
    /// Attempts over time.
    pub samples: &'a Samples,
    /// What was set aside.
    pub letters: &'a SeenLetters,
    /// The configuration in names and values, without secrets.
    pub settings: &'a [(String, String)],
    /// This program's version.
    pub version: &'a str,
}

/// The page; `object` is [`super::object`] with [`super::add_samples`] as the command prints it, and is embedded.
pub fn html(report: &JobReport, extras: &Extras<'_>, object: &Map<String, Value>) -> String {
    let numbers = Numbers(object);
    let timeline = Timeline::of(report);
    let mut body = headline(&format!("Job {}", report.name), &[stands(report)]);
    if !report.reasons.is_empty() {
        body.push(warning(&report.reasons.join("; ")));
    }
    body.extend(super::accepted(report).map(|accepted| warning(&accepted)));
    body.push(tiles(report, &numbers));
    body.extend(set_aside(report, extras.letters, &numbers));
    body.extend(report.verified.as_ref().map(|kept| verified::verified(kept, &numbers)));
    body.extend(advised(&advice(report).into_iter().collect::<Vec<_>>()));
    body.extend(charts::rate(report, &timeline, extras.samples));
    body.extend(events(report));
    body.extend(charts::phases(report, &timeline, extras.samples));
    body.extend(charts::workers(report, &timeline, extras.samples));
    body.extend(charts::cpu(report, &timeline, extras.samples));
    body.extend(charts::shards(report, &timeline, &numbers));
    body.extend(charts::flush(report, &numbers));
    body.extend(charts::partitions(report, &numbers));
    body.push(section("Records", [balance(report, &numbers)]));
    body.extend(attempts(report, &numbers));
    body.push(section("Configuration, as this command was given it", [configuration(report, extras.settings)]));
    body.push(footer(extras.version, "Totals are the job's, over all its runs."));
    page(&format!("shardlift report: {}", report.name), body, object)
}

fn stands(report: &JobReport) -> String {
    let code = report.exit.map(|exit| format!(" (exit {})", exit.code())).unwrap_or_default();
    let runs = if report.runs.len() == 1 { "one run".to_owned() } else { format!("{} runs", report.runs.len()) };
    let began =
        report.runs.first().map(|run| format!(", begun {}", show_utc(run.started_ms.unsigned_abs()))).unwrap_or_default();
    let took = show_duration(Duration::from_micros(report.elapsed_us));
    let here = if report.is_shared() { " here" } else { "" };
    format!("{}{code} after {took}{here} in {runs}{began}; topic {}", report.outcome.name(), report.binding.topic)
}

fn tiles(report: &JobReport, numbers: &Numbers<'_>) -> Element {
    let count = |value: f64| show_count(value.round() as u64);
    let tile = |path: &str, name: &str, show: &dyn Fn(f64) -> String| {
        let figure = numbers.mark(Element::new("b"), path).text(&numbers.get(path).map(show).unwrap_or_default());
        Element::new("li").with(figure).with(Element::new("span").text(name))
    };
    let mut tiles = vec![
        tile("records.acknowledged", "records acknowledged", &count),
        tile("bytes.sent", "sent", &|value| show_size(value as u64)),
        tile("shards.done", &format!("of {} shards done", show_count(report.shards.total)), &count),
        tile("workers.forked", "attempts", &count),
        tile("workers.restarts", "restarts", &count),
    ];
    if report.records_per_second().is_some() {
        tiles.insert(1, tile("records_per_second", "records a second", &|value| show(value)));
    }
    if report.counts.dead_lettered > 0 {
        tiles.push(tile("records.dead_lettered", "set aside", &count));
    }
    if report.shards.quarantined > 0 {
        tiles.push(tile("shards.quarantined", "shards quarantined", &count));
    }
    Element::of_class("ul", "tiles").with_all(tiles)
}

/// Why records were set aside; the page has this early, for it is what has to be mended.
fn set_aside(report: &JobReport, seen: &SeenLetters, numbers: &Numbers<'_>) -> Option<Element> {
    if seen.reasons.is_empty() && seen.unread == 0 {
        return None;
    }
    let head = |class: &str, name: &str| Element::of_class("th", class).set("scope", "col").text(name);
    let heads = [head("words", "why"), head("", "records"), head("words", "the first stands in"), head("", "at byte")];
    let row = |(i, one): (usize, &LetterReason)| {
        let cell = |name: &str| numbers.cell(&format!("dead_letters.reasons.{i}.{name}"), |value| show_count(value as u64));
        Element::new("tr")
            .with(Element::of_class("td", "wrap").text(&one.reason))
            .with(cell("count"))
            .with(Element::of_class("td", "wrap").text(&one.path))
            .with(cell("start"))
    };
    let rows = seen.reasons.iter().enumerate().take(REASONS_SHOWN).map(row);
    let more = seen.reasons.len().saturating_sub(REASONS_SHOWN);
    let mut caption = "Reasons that differ in their numbers alone are one.".to_owned();
    if more > 0 {
        caption += &format!(" {more} more stand in the JSON.");
    }
    caption.extend(not_read(seen).map(|text| format!(" {text}.")));
    let table = Element::new("table")
        .with(Element::new("caption").text(&caption))
        .with(Element::new("thead").with(Element::new("tr").with_all(heads)))
        .with(Element::new("tbody").with_all(rows));
    let parts = [scrolling("Records that were set aside", table)].into_iter().chain(retries(report, seen));
    Some(section("Records that were set aside, and why", parts))
}

/// What was sent again of them.
fn retries(report: &JobReport, seen: &SeenLetters) -> Option<Element> {
    let told = dlq::retries_told(report.counts.dead_lettered, &seen.retries);
    let items = told.iter().map(|text| Element::new("li").text(text));
    (!told.is_empty()).then(|| Element::new("ul").with_all(items))
}

/// What happened, numbered as in the picture of the rate.
fn events(report: &JobReport) -> Option<Element> {
    let left_out = report.events.len().saturating_sub(EVENTS_SHOWN);
    let items = report.events.iter().skip(left_out).map(|(at, text)| {
        let time = Element::new("small").text(&format!("{} ", show_utc(at.unsigned_abs())));
        let turn = report.steering.iter().find(|turn| turn.text == *text && turn.unix_ms.abs_diff(at.unsigned_abs()) < 1000);
        let brought = turn.map_or_else(String::new, |turn| match &turn.after {
            Some(after) => format!(": {} before, {after} after", turn.before),
            None => format!(": {} before", turn.before),
        });
        Element::new("li").with(time).text(text).text(&brought)
    });
    let list = Element::of_class("ol", "events").set("start", left_out + 1).with_all(items);
    (!report.events.is_empty()).then(|| section("What happened", [list]))
}

fn balance(report: &JobReport, numbers: &Numbers<'_>) -> Element {
    let row = |name: &str, path: &str| {
        let cell = numbers.cell(path, |value| show_count(value.round() as u64));
        Element::new("tr").with(Element::new("th").set("scope", "row").text(name)).with(cell)
    };
    let exact = report.resent.is_some_and(|resent| resent.exact);
    let sent_again = if exact { "sent again" } else { "sent again, at most" };
    let mut rows = vec![
        row("read", "records.read"),
        row("= acknowledged", "records.acknowledged"),
        row("+ filtered (blank lines)", "records.filtered"),
        row("+ dead letters", "records.dead_lettered"),
    ];
    if report.is_shared() {
        rows.push(row(&format!("sent elsewhere{}", super::elsewhere_note(report)), "records.elsewhere"));
    }
    if report.progress_topic.is_none() {
        rows.push(row(sent_again, "records.resent"));
    }
    if report.counts.others > 0 {
        rows.push(row("passed over by workers of other sets", "records.others"));
    }
    let verdict = if report.counts.balance() { "They balance." } else { "They DO NOT balance: please report this." };
    let twice = if report.progress_topic.is_some() { " None is there twice: exactly-once." } else { "" };
    let shared = if report.is_shared() { " What has to do with time counts only what was sent here." } else { "" };
    let table = Element::of_class("table", "small")
        .with(Element::new("caption").text(&format!("Committed records. {verdict}{twice}{shared}")))
        .with(Element::new("tbody").with_all(rows));
    scrolling("Committed records", table)
}

fn attempts(report: &JobReport, numbers: &Numbers<'_>) -> Option<Element> {
    if report.attempts.is_empty() {
        return None;
    }
    let mut rows: Vec<(usize, &AttemptReport)> = report.attempts.iter().enumerate().collect();
    rows.sort_by_key(|(_, attempt)| (!charts::troubled(attempt), std::cmp::Reverse(attempt.elapsed_us)));
    let heads = ["ended", "took", "records", "sent again", "CPU", "peak memory", "first delivery", "run", "process", "why"];
    let class = |name: &str| if matches!(name, "ended" | "why") { "words" } else { "" };
    let head = heads.iter().map(|name| Element::of_class("th", class(name)).set("scope", "col").text(name));
    let first = Element::of_class("th", "words").set("scope", "col").text("shard, attempt");
    let time = |ms: f64| show_duration(Duration::from_secs_f64(ms / 1000.0));
    let row = |(i, attempt): &(usize, &AttemptReport)| {
        let cell = |name: &str, show: &dyn Fn(f64) -> String| numbers.cell(&format!("attempts.{i}.{name}"), show);
        let count = |value: f64| show_count(value.round() as u64);
        Element::new("tr")
            .with(Element::new("th").set("scope", "row").text(&format!("{}, {}", attempt.shard, attempt.number)))
            .with(Element::of_class("td", "words").text(attempt.outcome.name()))
            .with(cell("elapsed_ms", &time))
            .with(cell("acknowledged", &count))
            .with(cell("resent", &count))
            .with(cell("cpu_ms", &time))
            .with(cell("peak_memory_bytes", &|bytes| show_size(bytes as u64)))
            .with(cell("start_latency_ms", &time))
            .with(Element::new("td").text(&attempt.run.to_string()))
            .with(Element::new("td").text(&if attempt.pid > 0 { attempt.pid.to_string() } else { String::new() }))
            .with(Element::of_class("td", "wrap").text(&attempt.reason))
    };
    let shown = rows.iter().take(ATTEMPTS_SHOWN).map(row);
    let caption = match rows.len() > ATTEMPTS_SHOWN {
        true => format!("{ATTEMPTS_SHOWN} of {}: those that ended badly, then the longest.", show_count(rows.len() as u64)),
        false => "Those that ended badly first, then the longest.".to_owned(),
    };
    let table = Element::new("table")
        .with(Element::new("caption").text(&caption))
        .with(Element::new("thead").with(Element::new("tr").with(first).with_all(head)))
        .with(Element::new("tbody").with_all(shown));
    Some(section("Attempts", [scrolling("Attempts", table)]))
}

fn configuration(report: &JobReport, settings: &[(String, String)]) -> Element {
    let mut pairs = vec![
        ("source", format!("{} ({})", report.binding.source, show_size(report.source_bytes))),
        ("topic", report.binding.topic.clone()),
        ("cluster", report.binding.cluster_id.clone()),
        ("plan", format!("{} shards, about {} records", show_count(report.shards.total), show_count(report.records_estimate))),
    ];
    pairs.extend(report.order.map(|order| ("order", order.promise().to_owned())));
    pairs.push(("delivery", super::delivery(report)));
    let commands: Vec<(String, String)> =
        report.runs.iter().map(|run| (format!("run {}", run.number), run.command.clone())).collect();
    let shown = commands.len().saturating_sub(COMMANDS_SHOWN);
    pairs.extend(commands[shown..].iter().map(|(name, command)| (name.as_str(), command.clone())));
    pairs.extend(settings.iter().map(|(name, value)| (name.as_str(), value.clone())));
    definitions(&pairs)
}

#[cfg(test)]
mod tests {
    use migration::Order;

    use super::super::{add_samples, example, object};
    use super::*;

    fn page_of(report: &JobReport, samples: &Samples) -> String {
        let mut object = object(report);
        add_samples(&mut object, report, samples);
        let settings = [("workers.flush".to_owned(), "chunk".to_owned())];
        let letters = SeenLetters::default();
        html(report, &Extras { samples, letters: &letters, settings: &settings, version: "0.1.0" }, &object)
    }

    #[test]
    fn reasons_of_letters_are_a_table_where_there_are_some() {
        let report = example::report();
        let page = |letters: &SeenLetters| {
            let mut object = object(&report);
            object.insert("dead_letters".into(), crate::letters::object(letters));
            html(&report, &Extras { samples: &Samples::new(), letters, settings: &[], version: "0.1.0" }, &object)
        };
        assert!(!page(&SeenLetters::default()).contains("set aside, and why"));
        let reason = LetterReason {
            reason: "no <field>".into(),
            letters: 330_184,
            path: "/data/a.jsonl".into(),
            ..LetterReason::default()
        };
        let seen = SeenLetters { reasons: vec![reason], unread: 7, ..SeenLetters::default() };
        let retries = vec![crate::dlq::tests::retry(1)];
        let told = page(&SeenLetters { retries, ..seen.clone() });
        assert!(told.contains("12 of 14 dead letters were sent again by orders.retry-1"));
        let page = page(&seen);
        assert!(page.contains("no &lt;field&gt;") && page.contains("330,184") && page.contains("/data/a.jsonl"));
        assert!(page.contains("7 letters were not read for this") && !page.contains("sent again by"));
    }

    const PICTURES: [&str; 7] = ["rate", "phases", "workers", "cpu", "shards", "flush", "partitions"];

    fn has(page: &str) -> [bool; 7] {
        PICTURES.map(|id| page.contains(&format!("<figure id=\"{id}\"")))
    }

    #[test]
    fn a_job_has_all_pictures_and_one_without_samples_those_that_need_none() {
        let report = example::report();
        assert_eq!(has(&page_of(&report, &example::samples())), [true; 7]);
        assert_eq!(has(&page_of(&report, &Samples::new())), [false, false, false, false, true, true, true]);
    }

    #[test]
    fn rows_of_other_sets_are_told_where_there_are_some_and_are_none_of_the_balance() {
        let mut report = example::report();
        let shown = |report: &JobReport| {
            let (page, text) = (page_of(report, &Samples::new()), crate::job::text(report));
            let object = object(report);
            [
                page.contains("passed over by workers of other sets"),
                text.contains("passed over                    7 rows"),
                object["records"].get("others").is_some(),
                object["bytes"].get("others").is_some(),
            ]
        };
        assert_eq!(shown(&report), [false; 4]);
        (report.counts.others, report.counts.bytes_others) = (7, 700);
        assert_eq!(shown(&report), [true; 4]);
        assert!(report.counts.balance());
    }

    #[test]
    fn the_delivery_is_told_with_the_place_of_progress() {
        let once = JobReport { progress_topic: Some("shardlift-progress".into()), ..example::report() };
        let said = "exactly-once; progress in topic shardlift-progress";
        for (report, delivery, progress, told, not) in [
            (once, "exactly-once", "shardlift-progress".into(), "none twice: exactly-once", "may be in the topic twice"),
            (example::report(), "at-least-once", Value::Null, "may be in the topic twice", said),
        ] {
            let (text, page, object) = (crate::job::text(&report), page_of(&report, &Samples::new()), object(&report));
            assert_eq!((&object["delivery"], &object["progress_topic"]), (&Value::from(delivery), &progress));
            assert!(text.contains(told) && !text.contains(not), "{text}");
            let (twice, again) = (page.contains("None is there twice: exactly-once."), page.contains("sent again, at most"));
            assert_eq!((text.contains(said), page.contains(said), twice), (!again, !again, !again), "{delivery}");
        }
    }

    #[test]
    fn the_order_that_was_kept_is_told_where_it_is_known() {
        let shown = |order: Option<Order>| {
            let report = JobReport { order, ..example::report() };
            let (page, text) = (page_of(&report, &Samples::new()), crate::job::text(&report));
            let told = |order: Order| page.contains(&order.promise().replace('\'', "&#39;")) && text.contains(order.promise());
            (told(Order::Key), told(Order::Shard), object(&report)["order"].clone())
        };
        assert_eq!(shown(Some(Order::Key)), (true, false, "key".into()));
        assert_eq!(shown(Some(Order::Shard)), (false, true, "shard".into()));
        assert_eq!(shown(None), (false, false, Value::Null));
    }

    #[test]
    fn what_was_sent_elsewhere_is_in_the_balance_and_in_no_rate() {
        let page = page_of(&example::shared(45_000), &example::samples());
        assert!(page.contains(">sent elsewhere of these, or here and not heard of</th>"), "{page}");
        assert!(page.contains("data-json=\"records.elsewhere\" data-value=\"45000\">45,000</td>"), "{page}");
        assert!(page.contains("1,620 records a second over the whole time.") && page.contains("after 20.00 s here in 2 runs"));
        let page = page_of(&example::done_elsewhere(9), &Samples::new());
        assert!(!page.contains("records a second"), "{page}");
    }

    #[test]
    fn a_job_that_never_sent_is_a_page_too() {
        let mut report = example::report();
        (report.attempts, report.runs, report.events) = (Vec::new(), Vec::new(), Vec::new());
        (report.work, report.elapsed_us) = (migration::Work::default(), 0);
        assert_eq!(has(&page_of(&report, &Samples::new())), [false; 7]);
    }

    #[test]
    fn reasons_of_attempts_are_told_and_can_not_break_the_page() {
        let page = page_of(&example::report(), &example::samples());
        // In the tooltips of both pictures, the table, and as JSON.
        assert_eq!(page.matches("killed by signal 9 (&lt;not&gt; asked for)").count(), 3);
        assert!(page.contains("scaled 1 -&gt; 2: 501 records/s (40 % flush) before, 998 records/s (41 % flush) after"));
        assert_eq!(page.matches("<script").count(), 1);
    }

    #[test]
    fn a_long_job_stays_a_small_page() {
        let mut report = example::report();
        let mut samples = Samples::new();
        let (one, its_samples) = (report.attempts[0].clone(), example::samples().into_values().next().expect("samples"));
        report.attempts.clear();
        for number in 0..5_000_u32 {
            let started_ms = one.started_ms + i64::from(number / 8) * 4_100;
            report.attempts.push(AttemptReport {
                shard: migration::ShardId(number),
                number: 1,
                run: 1,
                started_ms,
                ..one.clone()
            });
            samples.insert((migration::ShardId(number), 1), its_samples.clone());
        }
        let size = page_of(&report, &samples).len();
        assert!(size < 8 << 20, "{size}");
    }
}
