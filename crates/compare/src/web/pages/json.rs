//! The web scene as JSON and CSV: each figure's unit is in its name.

use report::figures::{members, ms, number, quantiles};
use serde_json::{Map, Value, json};

use crate::figures::Spread;
use crate::pages::{environment, lines, spread};
use crate::web::figures::{WebComparison, WebConditions, WebRound, WebSummary};

/// What a line of the CSV has, in order.
const COLUMNS: [&str; 14] = [
    "flush",
    "plain_latency_p50_ms",
    "plain_latency_p99_ms",
    "produce_latency_p50_ms",
    "produce_latency_p99_ms",
    "plain_requests_per_second",
    "produce_requests_per_second",
    "cpu_cores",
    "thread_cpu_cores",
    "heartbeat_delay_p50_ms",
    "heartbeat_delay_p99_ms",
    "heartbeat_ticks_per_flush_ms",
    "records",
    "rounds",
];

/// The members of the object, without `_command` and `_version`.
pub fn object(comparison: &WebComparison) -> Map<String, Value> {
    members(json!({
        "interrupted": comparison.interrupted,
        "results": comparison.results.iter().map(result).collect::<Vec<_>>(),
        "advice": comparison.advice,
        "conditions": conditions(&comparison.conditions),
        "environment": environment(&comparison.environment),
        "rounds": comparison.rounds.iter().map(round).collect::<Vec<_>>(),
    }))
}

/// A header and a line for each flush.
pub fn csv(comparison: &WebComparison) -> String {
    let results: Vec<Value> = comparison.results.iter().map(result).collect();
    lines(&COLUMNS, &results)
}

fn result(s: &WebSummary) -> Value {
    let in_ms = |us: &Spread| number(us.median / 1000.0);
    let spread_ms =
        |us: &Spread| spread(&Spread { median: us.median / 1000.0, least: us.least / 1000.0, most: us.most / 1000.0 });
    json!({
        "flush": s.flush.name(),
        "plain_latency_p50_ms": in_ms(&s.plain_p50_us),
        "plain_latency_p99_ms": in_ms(&s.plain_p99_us),
        "produce_latency_p50_ms": in_ms(&s.produce_p50_us),
        "produce_latency_p99_ms": in_ms(&s.produce_p99_us),
        "plain_requests_per_second": number(s.plain_per_second.median),
        "produce_requests_per_second": number(s.produce_per_second.median),
        "cpu_cores": number(s.cpu_cores.median),
        "thread_cpu_cores": number(s.thread_cpu_cores.median),
        "heartbeat_delay_p50_ms": in_ms(&s.heartbeat_p50_us),
        "heartbeat_delay_p99_ms": in_ms(&s.heartbeat_p99_us),
        "heartbeat_ticks_per_flush_ms": number(s.ticks_per_flush_ms.median),
        "records": s.records,
        "rounds": s.rounds,
        // The least and the greatest over the rounds.
        "spread": {
            "plain_latency_p50_ms": spread_ms(&s.plain_p50_us),
            "plain_latency_p99_ms": spread_ms(&s.plain_p99_us),
            "produce_latency_p50_ms": spread_ms(&s.produce_p50_us),
            "produce_latency_p99_ms": spread_ms(&s.produce_p99_us),
            "plain_requests_per_second": spread(&s.plain_per_second),
            "produce_requests_per_second": spread(&s.produce_per_second),
            "cpu_cores": spread(&s.cpu_cores),
            "thread_cpu_cores": spread(&s.thread_cpu_cores),
            "heartbeat_delay_p50_ms": spread_ms(&s.heartbeat_p50_us),
            "heartbeat_delay_p99_ms": spread_ms(&s.heartbeat_p99_us),
            "heartbeat_ticks_per_flush_ms": spread(&s.ticks_per_flush_ms),
        },
    })
}

fn round(round: &WebRound) -> Value {
    json!({
        "flush": round.flush.name(),
        "round": round.round,
        "failure": round.failure,
        "elapsed_ms": ms(round.elapsed_us),
        "plain_latency_ms": quantiles(&round.plain),
        "produce_latency_ms": quantiles(&round.produce),
        "records": round.records,
        "thread_cpu_ms": ms(round.thread_cpu_us),
        "cpu_ms": ms(round.cpu_us),
        "load_cpu_ms": ms(round.load_cpu_us),
        "heartbeat_delay_ms": quantiles(&round.heartbeat),
        "heartbeat_ticks_in_flush": round.ticks_in_flush,
        "flush_ms": ms(round.flush_us),
    })
}

fn conditions(c: &WebConditions) -> Value {
    json!({
        "brokers": c.brokers,
        "rtt_ms": c.rtt_us.map(ms),
        "topic": c.topic,
        "clients": c.clients,
        "others": c.others,
        "pause_ms": ms(c.pause_us),
        "seconds": number(c.seconds),
        "rounds": c.rounds,
        "shared_producer": c.shared_producer,
        "source": c.source,
        "properties": c.properties.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect::<Map<_, _>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn results_have_the_names_that_others_rely_on() {
        let object = object(&example::scene());
        let results = object["results"].as_array().expect("a list");
        assert_eq!(results.len(), 3);
        for (result, flush) in results.iter().zip(["blocking", "cooperative", "wakeup"]) {
            assert_eq!(result["flush"], flush);
            for name in &COLUMNS[1..7] {
                assert!(result[*name].is_number(), "{name} in {result}");
            }
        }
        assert_eq!(results[0]["plain_latency_p50_ms"], 80.0);
    }

    #[test]
    fn the_csv_has_a_line_for_each_flush() {
        let csv = csv(&example::scene());
        assert_eq!(csv.lines().count(), 4);
        assert!(csv.lines().nth(1).is_some_and(|line| line.starts_with("blocking,80.0,160.0,")), "{csv}");
    }
}
