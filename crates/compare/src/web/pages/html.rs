//! The web scene as a page: latencies of both routes by flush, the table, where and how it ran.

use migration::units::show_count;
use report::figures::{ms, show};
use report::html::{Cell, Figure, Numbers, advice, definitions, footer, headline, notes, page, section, table, warning};
use report::markup::Element;
use report::svg::{Anchor, Room, Scale, Words, bottom_axis, label, line, marker, picture};
use serde_json::{Map, Value};

use super::{failures, text};
use crate::pages::environment_section;
use crate::pages::figures::plain;
use crate::web::figures::{WebComparison, WebConditions};

/// The page; `object` is [`super::object`] as the command prints it, and is embedded.
pub fn html(comparison: &WebComparison, object: &Map<String, Value>) -> String {
    let numbers = Numbers(object);
    let mut body = headline("What a flush does to other requests", &text::asked(comparison));
    if comparison.interrupted {
        body.push(warning("This comparison was interrupted: these are the figures of the rounds that had run."));
    }
    body.extend(advice(&comparison.advice));
    body.extend(latencies(comparison, &numbers));
    body.push(figures(comparison, &numbers));
    body.extend(notes("Notes", &failures(comparison)));
    body.push(section("Conditions", [conditions(&comparison.conditions)]));
    body.push(environment_section(&comparison.environment));
    body.push(footer(&comparison.environment.version, "Medians over the rounds."));
    page("shardlift compare web", body, object)
}

/// A line of the picture: a route under a flush.
struct Route {
    name: String,
    p50: String,
    p99: String,
    plain: bool,
}

fn routes(comparison: &WebComparison) -> Vec<Route> {
    let of = |route: &'static str| {
        comparison.results.iter().enumerate().map(move |(i, result)| Route {
            name: format!("{route}, {} flush", result.flush.name()),
            p50: format!("results.{i}.{route}_latency_p50_ms"),
            p99: format!("results.{i}.{route}_latency_p99_ms"),
            plain: route == "plain",
        })
    };
    of("plain").chain(of("produce")).collect()
}

/// The picture; nothing without a latency above zero.
fn latencies(comparison: &WebComparison, numbers: &Numbers<'_>) -> Option<Element> {
    let routes = routes(comparison);
    let get = |path: &str| numbers.get(path).filter(|value| *value > 0.0);
    let values = || routes.iter().flat_map(|route| [get(&route.p50), get(&route.p99)]).flatten();
    let (least, most) = (values().reduce(f64::min)?, values().reduce(f64::max)?);
    let parts = routes.iter().filter(|route| route.plain).filter_map(|route| Some((route, get(&route.p50)?)));
    let parts: Vec<String> = parts.map(|(route, p50)| format!("{} ms under {}", show(p50), flush_of(&route.name))).collect();
    let sentence = format!("The median plain request takes {}.", parts.join(", "));
    let draw = |room: Room| {
        let (left, height) = if room == Room::Wide { (190.0, 34.0) } else { (4.0, 50.0) };
        let right = room.width() - if room == Room::Wide { 140.0 } else { 10.0 };
        let (top, gap) = (8.0, 14.0);
        let bottom = top + routes.len() as f64 * height + gap;
        let scale = Scale::log_around(least, most, (left + 6.0, right));
        let mut marks = bottom_axis(&scale, &scale.ticks(room.ticks()), top, bottom, "ms, each step to the right a factor");
        for (i, route) in routes.iter().enumerate() {
            let y = top
                + i as f64 * height
                + if route.plain { 0.0 } else { gap }
                + if room == Room::Wide { height / 2.0 } else { 34.0 };
            marks.push(match room {
                Room::Wide => label("", left - 12.0, y, Anchor::End, &route.name),
                Room::Narrow => label("halo", 0.0, y - 21.0, Anchor::Start, &route.name),
            });
            if let (Some(p50), Some(p99)) = (get(&route.p50), get(&route.p99)) {
                marks.extend(span(numbers, route, (p50, p99), &scale, y));
                let text = format!("{} / {} ms", show(p50), show(p99));
                marks.push(match room {
                    Room::Wide => label("strong", right + 14.0, y, Anchor::Start, &text),
                    Room::Narrow => label("strong", room.width(), y - 21.0, Anchor::End, &text),
                });
            }
        }
        let words = Words { id: format!("latency-{}", room.name()), title: "Latency by flush", description: &sentence };
        picture(&words, room.name(), room.width(), bottom + 38.0, marks)
    };
    let figure = Figure {
        id: "latency",
        title: "How long requests take, by flush",
        sentence: &sentence,
        reading: "Filled mark: half of the requests take at most so long (p50). Hollow mark: 99 of 100 do (p99). The plain route needs no \
                  record; the produce route answers when its record's delivery is confirmed. The scale is logarithmic.",
        legend: None,
    };
    Some(figure.drawn(draw))
}

fn flush_of(name: &str) -> &str {
    name.split(", ").nth(1).unwrap_or(name)
}

fn span(numbers: &Numbers<'_>, route: &Route, (p50, p99): (f64, f64), scale: &Scale, y: f64) -> [Element; 3] {
    let (colour, shape) = if route.plain { ("var(--s5)", 0) } else { ("var(--s1)", 1) };
    let title = |what: &str, value: f64| Element::new("title").text(&format!("{}: {what} {} ms", route.name, show(value)));
    let range = line("range", (scale.at(p50), y), (scale.at(p99), y)).set("stroke", colour);
    let late = marker(shape, scale.at(p99), y, 5.0).set("class", "mark hollow").set("stroke", colour);
    let middle = marker(shape, scale.at(p50), y, 5.5).set("class", "mark").set("fill", colour);
    [range, numbers.mark(late, &route.p99).with(title("p99", p99)), numbers.mark(middle, &route.p50).with(title("p50", p50))]
}

const COLUMNS: [Cell; 10] = [
    Cell { head: "plain", unit: "p50 ms", name: "plain_latency_p50_ms", show },
    Cell { head: "plain", unit: "p99 ms", name: "plain_latency_p99_ms", show },
    Cell { head: "plain", unit: "a second", name: "plain_requests_per_second", show },
    Cell { head: "produce", unit: "p50 ms", name: "produce_latency_p50_ms", show },
    Cell { head: "produce", unit: "p99 ms", name: "produce_latency_p99_ms", show },
    Cell { head: "produce", unit: "a second", name: "produce_requests_per_second", show },
    Cell { head: "thread", unit: "CPU cores", name: "thread_cpu_cores", show },
    Cell { head: "beat late", unit: "p50 ms", name: "heartbeat_delay_p50_ms", show },
    Cell { head: "beat late", unit: "p99 ms", name: "heartbeat_delay_p99_ms", show },
    Cell { head: "records", unit: "all rounds", name: "records", show: |value| show_count(value as u64) },
];

fn figures(comparison: &WebComparison, numbers: &Numbers<'_>) -> Element {
    let rows: Vec<(String, String)> = comparison
        .results
        .iter()
        .enumerate()
        .map(|(i, result)| (format!("results.{i}"), result.flush.name().to_owned()))
        .collect();
    let figure = Figure {
        id: "figures",
        title: "All figures",
        sentence: "",
        reading: "The beat is a 1 ms timer on the server's thread: how late it comes is what everything else on that thread feels.",
        legend: None,
    };
    figure.holding([table(numbers, "Requests and the server's thread", "flush", &COLUMNS, &rows)])
}

fn conditions(c: &WebConditions) -> Element {
    let properties: Vec<String> = c.properties.iter().map(|(key, value)| format!("{key}={value}")).collect();
    definitions(&[
        ("brokers", c.rtt_us.map_or_else(|| c.brokers.clone(), |rtt| format!("embedded, round trip {} ms", plain(ms(rtt))))),
        ("topic", c.topic.clone()),
        ("source", c.source.join(", ")),
        ("produce connections", c.clients.to_string()),
        ("plain connections", format!("{}, resting {} ms after each answer", c.others, plain(ms(c.pause_us)))),
        ("producers", if c.shared_producer { "one for all requests" } else { "one for each connection" }.to_owned()),
        ("producer", properties.join(", ")),
        ("a run takes", format!("{} s", plain(c.seconds))),
        ("rounds", format!("{}, flushes interleaved, each run in fresh processes", c.rounds)),
    ])
}

#[cfg(test)]
mod tests {
    use super::super::{example, object};
    use super::*;

    #[test]
    fn the_page_has_a_mark_for_each_route_and_flush() {
        let scene = example::scene();
        let page = html(&scene, &object(&scene));
        for result in 0..3 {
            for name in ["plain_latency_p50_ms", "plain_latency_p99_ms", "produce_latency_p50_ms", "produce_latency_p99_ms"] {
                // In the wide and the narrow picture, and in the table.
                assert_eq!(page.matches(&format!("data-json=\"results.{result}.{name}\"")).count(), 3, "{result} {name}");
            }
        }
        assert!(page.contains("80.0 ms under blocking flush"));
    }

    #[test]
    fn a_scene_without_results_is_a_page_too() {
        let mut scene = example::scene();
        scene.results.clear();
        assert!(!html(&scene, &object(&scene)).contains("id=\"latency\""));
    }
}
