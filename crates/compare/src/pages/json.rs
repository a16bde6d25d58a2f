//! A comparison as JSON: each figure's unit is in its name.

use migration::{Histogram, Phase, Phases};
use report::figures::{members, ms, number, quantile_ms, quantiles};
use serde_json::{Map, Value, json};

use super::{flush_name, phases, rows};
use crate::figures::{Comparison, Conditions, Environment, Round, Setting, Spread, Summary};

/// The members of the object, without `_command` and `_version`.
pub fn object(comparison: &Comparison) -> Map<String, Value> {
    members(json!({
        "interrupted": comparison.interrupted,
        "results": rows(comparison).map(|(setting, summary)| result(comparison, setting, summary)).collect::<Vec<_>>(),
        "conclusion": comparison.conclusion.as_ref().map(|found| json!({
            "workers": found.workers,
            "flush": flush_name(found.flush),
            "relative_speed": number(found.relative_speed),
            "relative_speed_error": number(found.relative_speed_error),
            "why": found.why,
        })),
        "advice": comparison.advice,
        "reference": comparison.reference.and_then(|i| comparison.settings.get(i as usize)).map(setting),
        "model": comparison.model.as_ref().map(|model| json!({
            "wait_us": number(model.wait_us),
            "cpu_us": number(model.cpu_us),
            "flush_us": number(model.flush_us),
            "rounds": model.rounds.iter().map(|one| round(comparison, one)).collect::<Vec<_>>(),
        })),
        "conditions": conditions(&comparison.conditions),
        "environment": environment(&comparison.environment),
        "settings": comparison.settings.iter().map(setting).collect::<Vec<_>>(),
        "rounds": comparison.rounds.iter().map(|one| round(comparison, one)).collect::<Vec<_>>(),
    }))
}

fn setting(setting: &Setting) -> Value {
    json!({
        "variant": setting.variant.name(),
        "workers": setting.workers,
        "flush": flush_name(setting.flush),
        "shared_producer": setting.shared_producer,
    })
}

fn result(comparison: &Comparison, of: &Setting, s: &Summary) -> Value {
    let mut out = members(setting(of));
    let late = |histogram: &Histogram, quantile| quantile_ms(histogram, quantile).map(number);
    out.append(&mut members(json!({
        "rounds": s.rounds,
        "records": s.records,
        "elapsed_ms": ms(s.elapsed_us),
        "records_per_second": number(s.records_per_second.median),
        "relative_speed": s.relative_speed.map(|speed| number(speed.median)),
        "relative_speed_error": s.relative_speed_error.map(number),
        "predicted_records_per_second": s.predicted_records_per_second.map(number),
        "flush_share": number(s.flush_share.median),
        "predicted_flush_share": s.predicted_flush_share.map(number),
        "cpu_cores": number(s.cpu_cores.median),
        "thread_cpu_cores": number(s.thread_cpu_cores.median),
        "cpu_us_per_record": number(s.cpu_us_per_record.median),
        "latency_p50_ms": late(&s.latency, 0.5),
        "latency_p99_ms": late(&s.latency, 0.99),
        "heartbeat_delay_p50_ms": late(&s.heartbeat, 0.5),
        "heartbeat_delay_p99_ms": late(&s.heartbeat, 0.99),
        "heartbeat_ticks_per_flush_ms": number(s.ticks_per_flush_ms),
        "peak_memory_bytes": s.peak_memory_bytes,
        "phases_ms": phases_ms(&phases(comparison, s.setting)),
        // The least and the greatest over the rounds.
        "spread": {
            "records_per_second": spread(&s.records_per_second),
            "relative_speed": s.relative_speed.as_ref().map(spread),
            "flush_share": spread(&s.flush_share),
            "cpu_cores": spread(&s.cpu_cores),
            "thread_cpu_cores": spread(&s.thread_cpu_cores),
            "cpu_us_per_record": spread(&s.cpu_us_per_record),
        },
        "notes": s.notes,
    })));
    out.into()
}

pub(crate) fn spread(spread: &Spread) -> Value {
    json!([number(spread.least), number(spread.most)])
}

fn phases_ms(phases: &Phases) -> Value {
    Phase::ALL
        .iter()
        .map(|&phase| (phase.name().to_owned(), number(phases.get(phase) as f64 / 1e6)))
        .collect::<Map<_, _>>()
        .into()
}

fn round(comparison: &Comparison, round: &Round) -> Value {
    let mut out = comparison.settings.get(round.setting as usize).map(|s| members(setting(s))).unwrap_or_default();
    let curve = |points: &[(u32, f32)]| -> Value {
        points.iter().map(|(at, cores)| json!({ "ms": at, "cores": number(f64::from(*cores)) })).collect()
    };
    out.append(&mut members(json!({
        "setting": round.setting,
        "round": round.round,
        "failure": round.failure,
        "ran_out": round.ran_out,
        "set_aside": round.set_aside,
        "records": round.records,
        "elapsed_ms": ms(round.elapsed_us),
        "phases_ms": phases_ms(&round.phases),
        "cpu_ms": ms(round.cpu_us),
        "thread_cpu_ms": ms(round.thread_cpu_us),
        "latency_ms": quantiles(&round.latency),
        "heartbeat_delay_ms": quantiles(&round.heartbeat),
        "heartbeat_ticks_in_flush": round.ticks_in_flush,
        "flush_ms": ms(round.flush_us),
        "peak_memory_bytes": round.peak_memory_bytes,
        "rtt_ms": round.rtt_us.iter().map(|us| ms(*us)).collect::<Vec<_>>(),
        // At a number of milliseconds since the clock began.
        "cpu_over_time": curve(&round.cpu_over_time),
        "cpu_by_worker": round.cpu_by_worker.iter().map(|points| curve(points)).collect::<Vec<_>>(),
    })));
    out.into()
}

fn conditions(c: &Conditions) -> Value {
    let object = |pairs: &[(String, String)]| -> Value {
        pairs.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect::<Map<_, _>>().into()
    };
    let properties: Map<String, Value> =
        c.properties.iter().map(|(flush, pairs)| (flush_name(*flush), object(pairs))).collect();
    let instead = c.properties_instead.iter().map(|(setting, pairs)| {
        let mut members = members(self::setting(setting));
        members.insert("properties".to_owned(), object(pairs));
        Value::from(members)
    });
    let instead: Vec<Value> = instead.collect();
    json!({
        "brokers": c.brokers,
        "rtt_ms": c.rtt_us.map(ms),
        "topic": c.topic,
        "partitions": c.partitions,
        "replication": c.replication,
        "partitioner": c.partitioner,
        "by_key": c.by_key,
        "chunk_records": c.chunk_records,
        "chunk_bytes": c.chunk_bytes,
        "chunk_interval_ms": c.chunk_interval_ms,
        "in_flight_bytes": c.in_flight_bytes,
        "wait_ms": ms(c.wait_us),
        "cpu_ms": ms(c.cpu_us),
        "seconds": number(c.seconds),
        "records": c.records,
        "rounds": c.rounds,
        "properties": properties,
        "properties_instead": instead,
        "source": c.source,
        "source_repeated": c.source_repeated,
    })
}

/// Where it ran.
pub(crate) fn environment(e: &Environment) -> Value {
    json!({
        "version": e.version,
        "client": e.client,
        "system": e.system,
        "processors": e.processors,
        "processor": e.processor,
        "memory_bytes": e.memory_bytes,
        "started_unix_ms": e.started_unix_ms,
        "command": e.command,
    })
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    /// Names that others rely on.
    const NAMES: [&str; 15] = [
        "variant",
        "workers",
        "records",
        "elapsed_ms",
        "records_per_second",
        "relative_speed",
        "relative_speed_error",
        "flush_share",
        "cpu_cores",
        "cpu_us_per_record",
        "latency_p50_ms",
        "latency_p99_ms",
        "heartbeat_delay_p50_ms",
        "heartbeat_delay_p99_ms",
        "peak_memory_bytes",
    ];

    #[test]
    fn results_have_the_names_that_others_rely_on() {
        let object = object(&example::story());
        let results = object["results"].as_array().expect("a list");
        assert_eq!(results.len(), example::story().results.len());
        for result in results {
            for name in NAMES {
                assert!(result.get(name).is_some_and(|value| !value.is_null()), "{name} in {result}");
            }
        }
        let processes = results.iter().find(|r| r["variant"] == "processes" && r["workers"] == 8).expect("a row");
        assert_eq!(processes["relative_speed"], 7.5);
        assert_eq!(processes["spread"]["relative_speed"], json!([7.35, 7.65]));
    }

    #[test]
    fn conditions_and_curves_say_their_units() {
        let mut story = example::story();
        story.conditions.replication = Some(3);
        let object = object(&story);
        let names = ["replication", "partitioner", "chunk_records", "chunk_bytes", "chunk_interval_ms", "in_flight_bytes"];
        let values = names.map(|name| object["conditions"][name].clone());
        assert_eq!(json!(values), json!([3, "murmur2", 5_000, 8 << 20, 1_000, 16 << 20]));
        assert!(object["rounds"][0]["cpu_over_time"][0]["cores"].is_number());
        assert_eq!(object["rounds"][0]["cpu_over_time"][1]["ms"], 250);
    }

    #[test]
    fn what_was_not_measured_is_null_and_not_zero() {
        let mut comparison = example::story();
        comparison.reference = None;
        for result in &mut comparison.results {
            (result.relative_speed, result.relative_speed_error) = (None, None);
            result.heartbeat = Histogram::default();
        }
        let object = object(&comparison);
        assert!(object["reference"].is_null());
        assert!(object["results"][0]["relative_speed"].is_null());
        assert!(object["results"][0]["heartbeat_delay_p50_ms"].is_null());
    }

    #[test]
    fn phases_are_the_sum_over_the_rounds() {
        let comparison = example::story();
        let result = &object(&comparison)["results"][0];
        let rounds: f64 = good(&comparison).iter().map(|round| round.phases.get(Phase::Flush) as f64 / 1e6).sum();
        assert!((result["phases_ms"]["flush"].as_f64().expect("a number") / rounds - 1.0).abs() < 1e-4);
    }

    fn good(comparison: &Comparison) -> Vec<&Round> {
        super::super::good_rounds(comparison, 0).collect()
    }
}
