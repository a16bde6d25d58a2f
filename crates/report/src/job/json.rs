//! The report as JSON. Names that others rely on are listed in docs/report.md; more may be added, none is renamed.

use migration::report::{AnswerTimes, AttemptReport, JobReport};
use migration::steer::{Pace, SteerEvent};
use migration::{Order, Phase, Phases, Work};
use serde_json::{Map, Value, json};

use super::advice::advice;

/// The members of the object, without `_command` and `_version`.
pub fn object(report: &JobReport) -> Map<String, Value> {
    let exit_code = report.exit.map(|exit| exit.code());
    let elsewhere = report.elsewhere();
    let mut value = json!({
        "job": report.name,
        "outcome": report.outcome.name(),
        "exit_code": exit_code,
        "reasons": report.reasons,
        "topic": report.binding.topic,
        "delivery": report.delivery().name(),
        "progress_topic": report.progress_topic,
        "records": {
            "read": report.counts.read,
            "acknowledged": report.counts.acknowledged,
            "filtered": report.counts.filtered,
            "dead_lettered": report.counts.dead_lettered,
            "resent": report.resent.map(|resent| resent.most),
            "resent_exact": report.resent.map(|resent| resent.exact),
            "elsewhere": elsewhere.map(|elsewhere| elsewhere.acknowledged),
        },
        "accepted": report.accepted,
        "balances": report.counts.balance(),
        "order": report.order.map(Order::name),
        "bytes": {
            "read": report.counts.bytes_read, "sent": report.counts.bytes_sent, "source": report.source_bytes,
            "elsewhere": elsewhere.map(|elsewhere| elsewhere.bytes_sent),
        },
        "shards": { "total": report.shards.total, "done": report.shards.done, "quarantined": report.shards.quarantined },
        "workers": {
            "count": report.workers.count,
            "forked": report.workers.forked,
            "restarts": report.workers.restarts,
            "peak_memory_bytes": report.peak_worker_memory_bytes,
        },
        "elapsed_ms": ms(report.elapsed_us),
        "records_per_second": report.records_per_second().map(round),
        "round_trip_ms": report.round_trip().map(|time| ms(time.as_micros() as u64)),
        "answers": answers(&report.work),
        "held_back": held_back(&report.work),
        "cpu_ms": { "supervisor": ms(report.cpu_supervisor_us), "workers": ms(report.cpu_workers_us) },
        "phases_ms": phases(&report.work.phases),
        "flush": flush(&report.work),
        "partitions": report.work.partitions,
        "slowest_shard": report.slowest_shard().map(|s| json!({ "id": s.id.0, "elapsed_ms": ms(s.elapsed_us) })),
        "attempts": report.attempts.iter().map(attempt).collect::<Vec<_>>(),
        "runs": report.runs.iter().map(|run| json!({
            "number": run.number,
            "started_unix_ms": run.started_ms,
            "elapsed_ms": ms(run.elapsed_us),
            "workers": run.slots,
            "exit_code": run.exit_code,
            "reasons": run.reasons,
            "accepted": run.accepted,
            "command": run.command,
            "cpu_ms": ms(run.cpu_supervisor_us),
        })).collect::<Vec<_>>(),
        "events": report.events.iter().map(|(at, text)| json!({ "unix_ms": at, "text": text })).collect::<Vec<_>>(),
        "outages": report.outages.iter().map(|outage| json!({
            "run": outage.run,
            "began_unix_ms": outage.began_ms,
            "ended_unix_ms": outage.ended_ms,
        })).collect::<Vec<_>>(),
        "notices": report.notices,
        "steering": report.steering.iter().map(turn).collect::<Vec<_>>(),
        "advice": advice(report),
    });
    if report.counts.others > 0 {
        value["records"]["others"] = report.counts.others.into();
        value["bytes"]["others"] = report.counts.bytes_others.into();
    }
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn turn(turn: &SteerEvent) -> Value {
    let pace = |pace: &Pace| {
        json!({
            "records_per_second": round(pace.records_per_second),
            "flush_share": (pace.flush_share * 1000.0).round() / 1000.0,
        })
    };
    json!({
        "unix_ms": turn.unix_ms,
        "text": turn.text,
        "before": pace(&turn.before),
        "after": turn.after.as_ref().map(pace),
    })
}

fn attempt(a: &AttemptReport) -> Value {
    json!({
        "shard": a.shard.0,
        "attempt": a.number,
        "run": a.run,
        "pid": known(a.pid),
        "started_unix_ms": a.started_ms,
        "elapsed_ms": known(a.elapsed_us).map(ms),
        "outcome": a.outcome.name(),
        "reason": if a.reason.is_empty() { Value::Null } else { a.reason.as_str().into() },
        "acknowledged": a.counts.acknowledged,
        "dead_lettered": a.counts.dead_lettered,
        "resent": a.resent.most,
        "resent_exact": a.resent.exact,
        "restart": a.restart,
        "cpu_ms": a.cpu_us.map(ms),
        "peak_memory_bytes": a.peak_memory_bytes,
        "start_latency_ms": a.first_delivery_us.map(ms),
        "round_trip_ms": a.work.quickest_us.map(ms),
        "answers": answers(&a.work),
        "held_back": held_back(&a.work),
        "deliveries_us": a.work.deliveries.map(|(first, last)| [first, last]),
        "phases_ms": phases(&a.work.phases),
        "flush": flush(&a.work),
    })
}

/// Of an attempt that began and never committed anything neither process nor time is known, if its supervisor died.
fn known<T: Default + PartialEq>(value: T) -> Option<T> {
    (value != T::default()).then_some(value)
}

fn phases(phases: &Phases) -> Value {
    Phase::ALL.iter().map(|&phase| (phase.name().to_owned(), ms(phases.get(phase) / 1000))).collect::<Map<_, _>>().into()
}

fn answers(work: &Work) -> Value {
    let AnswerTimes { count, longest_us, .. } = work.answers;
    json!({ "count": count, "mean_ms": work.answers.mean_us().map(ms), "longest_ms": (count > 0).then(|| ms(longest_us)) })
}

fn held_back(work: &Work) -> Value {
    let AnswerTimes { count, total_us, longest_us } = work.held_back;
    json!({ "count": count, "total_ms": ms(total_us), "longest_ms": (count > 0).then(|| ms(longest_us)) })
}

fn flush(work: &Work) -> Value {
    let count = work.flush.count();
    let after = |quantile: f64| (count > 0).then(|| ms(work.flush.quantile(quantile)));
    json!({ "count": count, "p50_ms": after(0.5), "p99_ms": after(0.99) })
}

/// Microseconds as milliseconds with three decimals.
fn ms(us: u64) -> Value {
    json!(us as f64 / 1000.0)
}

fn round(value: f64) -> Value {
    json!((value * 10.0).round() / 10.0)
}
