//! How a running job stands, as JSON. In words it is the value's own `Display`.

use migration::steer::Standing;
use serde_json::{Map, Value, json};

/// How a job stands, as JSON.
pub fn object(standing: &Standing) -> Map<String, Value> {
    let limit = |rate: f64| if rate.is_finite() { json!(rate) } else { Value::Null };
    let Standing { asked, running, leaving, waiting, paused, rate, stopping, counts } = standing;
    let value = json!({
        "asked": asked,
        "running": running,
        "leaving": leaving,
        "waiting_shards": waiting,
        "paused": paused,
        "rate_records": limit(rate.records),
        "rate_bytes": limit(rate.bytes),
        "stopping": stopping,
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
