//! A comparison as a page: what to do, four pictures, the tables, where and how it ran.

use migration::units::{show_count, show_size};
use report::figures::{ms, show, show_percent, show_speed};
use report::html::{Cell, Figure, Numbers, advice, definitions, footer, headline, notes, page, section, table, warning};
use report::markup::Element;
use serde_json::{Map, Value};

use super::{charts, label, rows, text};
use crate::figures::{Comparison, Conditions, Environment};
use crate::pages::figures::plain;

/// The page; `object` is [`super::object`] as the command prints it, and is embedded.
pub fn html(comparison: &Comparison, object: &Map<String, Value>) -> String {
    let numbers = Numbers(object);
    let mut body = headline("Which way of running pays", &text::asked(comparison));
    if comparison.interrupted {
        body.push(warning("This comparison was interrupted: these are the figures of the rounds that had run."));
    }
    let conclusion = text::conclusion(comparison);
    let conclusion = (!conclusion.is_empty()).then(|| conclusion.join(" "));
    body.extend(advice(&conclusion.into_iter().chain(comparison.advice.iter().cloned()).collect::<Vec<_>>()));
    body.extend(charts::rates(comparison, &numbers));
    body.extend(charts::phases(comparison, &numbers));
    body.extend(charts::cpu(comparison, &numbers));
    body.extend(charts::scaling(comparison, &numbers));
    body.push(tables(comparison, &numbers));
    body.extend(notes("Notes", &text::remarks(comparison)));
    body.push(section("Conditions", [conditions(comparison)]));
    body.push(environment_section(&comparison.environment));
    body.push(footer(&comparison.environment.version, "Medians over the rounds unless said."));
    page("shardlift compare", body, object)
}

fn size(value: f64) -> String {
    show_size(value as u64)
}

const SPEED: [Cell; 10] = [
    Cell { head: "records", unit: "a second", name: "records_per_second", show },
    Cell { head: "least", unit: "round", name: "spread.records_per_second.0", show },
    Cell { head: "greatest", unit: "round", name: "spread.records_per_second.1", show },
    Cell { head: "model", unit: "a second", name: "predicted_records_per_second", show },
    Cell { head: "speed", unit: "× reference", name: "relative_speed", show: show_speed },
    Cell { head: "±", unit: "error", name: "relative_speed_error", show: show_speed },
    Cell { head: "in flush", unit: "% of time", name: "flush_share", show: show_percent },
    Cell { head: "model", unit: "% in flush", name: "predicted_flush_share", show: show_percent },
    Cell { head: "delivery", unit: "p50 ms", name: "latency_p50_ms", show },
    Cell { head: "delivery", unit: "p99 ms", name: "latency_p99_ms", show },
];

const COST: [Cell; 8] = [
    Cell { head: "CPU", unit: "cores", name: "cpu_cores", show },
    Cell { head: "its thread", unit: "cores", name: "thread_cpu_cores", show },
    Cell { head: "CPU", unit: "us a record", name: "cpu_us_per_record", show },
    Cell { head: "beat late", unit: "p50 ms", name: "heartbeat_delay_p50_ms", show },
    Cell { head: "beat late", unit: "p99 ms", name: "heartbeat_delay_p99_ms", show },
    Cell { head: "beats", unit: "a ms of flush", name: "heartbeat_ticks_per_flush_ms", show },
    Cell { head: "peak memory", unit: "", name: "peak_memory_bytes", show: size },
    Cell { head: "rounds", unit: "with a figure", name: "rounds", show: |value| show_count(value as u64) },
];

fn tables(comparison: &Comparison, numbers: &Numbers<'_>) -> Element {
    let rows: Vec<(String, String)> =
        rows(comparison).enumerate().map(|(i, (setting, _))| (format!("results.{i}"), label(comparison, setting))).collect();
    let figure = Figure {
        id: "figures",
        title: "All figures",
        sentence: "",
        reading: "The beat is a 1 ms timer on the thread that steps the workers: how late it comes is what other work on that thread feels. \
                  Peak memory of processes is their sum, in which pages that they share count once for each.",
        legend: None,
    };
    figure.holding([
        table(numbers, "How fast", "setting", &SPEED, &rows),
        table(numbers, "What it costs", "setting", &COST, &rows),
    ])
}

fn conditions(comparison: &Comparison) -> Element {
    let c: &Conditions = &comparison.conditions;
    let time = |us: u64| if us == 0 { "none".to_owned() } else { format!("{} ms a record", plain(ms(us))) };
    let mut pairs = vec![
        ("brokers", c.rtt_us.map_or_else(|| c.brokers.clone(), |rtt| format!("embedded, round trip {} ms", plain(ms(rtt))))),
        ("topic", format!("{}, {} partitions{}", c.topic, c.partitions, text::replicas(c))),
        ("partitioner", c.partitioner.clone()),
        ("order", if c.by_key { "by key: each worker has a set of partitions" } else { "none between workers" }.to_owned()),
        ("a worker has in flight", format!("at most {}", show_size(c.in_flight_bytes))),
        ("source", c.source.join(", ") + if c.source_repeated { " (read more than once in a run: it is short)" } else { "" }),
        ("other waits", time(c.wait_us)),
        ("other CPU", time(c.cpu_us)),
        (
            "a run ends after",
            match c.records {
                Some(records) => format!("{} s or {} records", plain(c.seconds), show_count(records)),
                None => format!("{} s", plain(c.seconds)),
            },
        ),
        ("rounds", format!("{}, variants interleaved, each run in a fresh process", c.rounds)),
        (
            "reference",
            comparison
                .reference
                .and_then(|i| comparison.settings.get(i as usize))
                .map_or_else(String::new, |s| label(comparison, s)),
        ),
    ];
    if let Some(chunk) = text::chunk(comparison) {
        pairs.push(("a chunk", chunk));
    }
    if let Some(model) = &comparison.model {
        let text = "a worker needs for a record";
        pairs.push((
            "the model",
            format!(
                "{text} {} us of other waits, {} us of CPU and {} us of flush",
                show(model.wait_us),
                show(model.cpu_us),
                show(model.flush_us)
            ),
        ));
    }
    let names = text::producers(comparison);
    pairs.extend(names.iter().map(|(name, text)| (name.as_str(), text.clone())));
    definitions(&pairs)
}

/// Where it ran.
pub(crate) fn environment_section(e: &Environment) -> Element {
    let pairs = definitions(&[
        ("shardlift", e.version.clone()),
        ("Kafka client", e.client.clone()),
        ("system", e.system.clone()),
        ("processors", format!("{} × {}", e.processors, if e.processor.is_empty() { "unknown" } else { &e.processor })),
        ("memory", if e.memory_bytes > 0 { show_size(e.memory_bytes) } else { String::new() }),
        ("began", report::figures::show_utc(e.started_unix_ms)),
        ("command", e.command.clone()),
    ]);
    section("Environment", [pairs])
}

#[cfg(test)]
mod tests {
    use super::super::{example, object};
    use super::*;

    fn page_of(comparison: &Comparison) -> String {
        html(comparison, &object(comparison))
    }

    #[test]
    fn a_round_far_above_the_median_stays_in_the_picture() {
        let mut story = example::story();
        for result in &mut story.results {
            if let Some(speed) = &mut result.relative_speed {
                speed.most = 5_000.0;
            }
        }
        let page = page_of(&story);
        let scaling = page.split("<figure id=\"scaling\"").nth(1).and_then(|rest| rest.split("</figure>").next()).unwrap();
        let tops = scaling.split("class=\"range\"").skip(1).map(|mark| {
            let y = mark.split("y2=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
            y.parse::<f64>().unwrap()
        });
        let tops: Vec<f64> = tops.collect();
        assert!(!tops.is_empty() && tops.iter().all(|top| *top >= 34.0), "{tops:?}");
    }

    #[test]
    fn a_page_has_the_pictures_that_have_data() {
        let mut story = example::story();
        let ids = |page: &str| {
            ["rates", "phases", "cpu", "scaling", "figures"].map(|id| page.contains(&format!("<figure id=\"{id}\"")))
        };
        assert_eq!(ids(&page_of(&story)), [true; 5]);
        story.rounds.iter_mut().filter(|round| round.setting == 0).for_each(|round| round.cpu_over_time.clear());
        let page = page_of(&story);
        let named = page.split("Over too soon for a curve: ").nth(1).and_then(|rest| rest.split("</").next()).unwrap();
        assert_eq!(named, "single.", "the first setting, and no other");
        story.rounds.iter_mut().for_each(|round| round.cpu_over_time.clear());
        story.results.iter_mut().for_each(|result| result.relative_speed = None);
        assert_eq!(ids(&page_of(&story)), [true, true, false, false, true]);
        (story.results, story.rounds, story.reference) = (Vec::new(), Vec::new(), None);
        assert_eq!(ids(&page_of(&story)), [false, false, false, false, true], "a page without figures is one too");
    }

    #[test]
    fn every_number_says_where_it_is_in_the_json() {
        let story = example::story();
        let page = page_of(&story);
        for result in 0..story.results.len() {
            for name in ["records_per_second", "relative_speed", "phases_ms.flush", "cpu_us_per_record", "peak_memory_bytes"] {
                assert!(page.contains(&format!("data-json=\"results.{result}.{name}\"")), "{result} {name}");
            }
        }
    }

    #[test]
    fn what_a_user_typed_can_not_break_the_page() {
        let mut story = example::story();
        story.conditions.topic = "<script>alert(1)</script>".into();
        story.advice.push("</main><img src=x onerror=alert(1)>".into());
        let page = page_of(&story);
        assert_eq!(page.matches("<script").count(), 1, "only the JSON's");
        assert!(!page.contains("<img"));
    }
}
