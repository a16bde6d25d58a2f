//! The samples of attempts as JSON: a list for each figure, so that a long job stays readable for machines and small.

use migration::report::{JobReport, Samples};
use migration::{Phase, report::Sample};
use serde_json::{Map, Value, json};

use crate::figures::number;

/// Adds `samples` to each attempt of the object that [`super::object`] made of the same report.
pub fn add_samples(object: &mut Map<String, Value>, report: &JobReport, samples: &Samples) {
    let Some(Value::Array(attempts)) = object.get_mut("attempts") else { return };
    for (attempt, value) in report.attempts.iter().zip(attempts) {
        if let (Value::Object(members), Some(samples)) = (value, samples.get(&(attempt.shard, attempt.number))) {
            members.insert("samples".into(), lists(samples));
        }
    }
}

fn lists(samples: &[Sample]) -> Value {
    let ms = |of: &dyn Fn(&Sample) -> f64| samples.iter().map(|sample| number(of(sample))).collect::<Vec<_>>();
    let used = Phase::ALL.into_iter().filter(|phase| samples.iter().any(|sample| sample.phases.get(*phase) > 0));
    let phases: Map<String, Value> =
        used.map(|phase| (phase.name().to_owned(), ms(&|sample| sample.phases.get(phase) as f64 / 1e6).into())).collect();
    json!({
        "at_ms": samples.iter().map(|sample| sample.at_ms).collect::<Vec<_>>(),
        "acknowledged": samples.iter().map(|sample| sample.acknowledged).collect::<Vec<_>>(),
        "cpu_ms": ms(&|sample| sample.cpu_us as f64 / 1000.0),
        "phases_ms": phases,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{example, object};
    use super::*;

    #[test]
    fn each_attempt_has_its_samples() {
        let report = example::report();
        let mut object = object(&report);
        add_samples(&mut object, &report, &example::samples());
        let first = &object["attempts"][0]["samples"];
        assert_eq!(first["at_ms"], json!([0, 1000, 2000, 3000, 4000]));
        assert_eq!(first["cpu_ms"][4], 1200.0);
        assert_eq!(first["phases_ms"]["flush"][1], 400.0);
        assert!(first["phases_ms"].get("throttled").is_none(), "what took no time has no list");
    }
}
