//! How a running job stands, and that its brokers don't answer, as JSON. In words it is the values' own `Display`.

use migration::steer::Standing;
use migration::{Outage, Unanswered};
use serde_json::{Map, Value, json};

/// How a job stands, as JSON.
pub fn object(standing: &Standing) -> Map<String, Value> {
    let limit = |rate: f64| if rate.is_finite() { json!(rate) } else { Value::Null };
    let Standing { asked, running, leaving, waiting, paused, rate, stopping, counts, fewer } = standing;
    let value = json!({
        "asked": asked,
        "running": running,
        "leaving": leaving,
        "waiting_shards": waiting,
        "paused": paused,
        "rate_records": limit(rate.records),
        "rate_bytes": limit(rate.bytes),
        "stopping": stopping,
        "fewer_because": fewer.map(|fewer| fewer.to_string()),
        "records": {
            "read": counts.read,
            "acknowledged": counts.acknowledged,
            "filtered": counts.filtered,
            "dead_lettered": counts.dead_lettered,
        },
    });
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// That brokers don't answer, as JSON.
pub fn outage(outage: &Outage) -> Value {
    let (leaders, partitions) = match &outage.who {
        Unanswered::All => (None, None),
        Unanswered::Leaders { leaders, partitions, .. } => (Some(leaders), Some(partitions)),
    };
    json!({
        "since_unix_ms": outage.since_unix_ms,
        "gives_up_unix_ms": outage.gives_up_unix_ms,
        "all_brokers": outage.who == Unanswered::All,
        "leaders": leaders,
        "partitions": partitions,
        "cause": outage.cause,
        "text": outage.to_string(),
    })
}
