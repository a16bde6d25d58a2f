//! Figures as people and machines read them: three digits that count, units by name.

use migration::Histogram;
use migration::units::show_count;
pub use migration::units::show_utc;
use serde_json::{Map, Value, json};

/// Three digits that count, groups of thousands from 1,000 on; a dash for what is no number.
pub fn show(value: f64) -> String {
    if !value.is_finite() {
        return "-".to_owned();
    }
    let size = value.abs();
    if size >= 999.5 {
        let sign = if value < 0.0 { "-" } else { "" };
        return format!("{sign}{}", show_count(size.round() as u64));
    }
    let decimals = [(99.95, 0), (9.995, 1), (0.9995, 2)].into_iter().find(|(from, _)| size >= *from).map_or(3, |(_, d)| d);
    if size == 0.0 { "0".to_owned() } else { format!("{value:.decimals$}") }
}

/// A factor: two decimals below ten.
pub fn show_speed(value: f64) -> String {
    if value.is_finite() && (0.01..9.995).contains(&value) { format!("{value:.2}") } else { show(value) }
}

/// A part of a whole (0 to 1) in percent.
pub fn show_percent(share: f64) -> String {
    if share.is_finite() { format!("{:.0}", share * 100.0) } else { "-".to_owned() }
}

/// Microseconds as milliseconds.
pub fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

/// A number for JSON with at most six digits that count; null for what is no number.
pub fn number(value: f64) -> Value {
    if value == 0.0 {
        return json!(0.0);
    }
    let rounded: f64 = format!("{value:.5e}").parse().unwrap_or(f64::NAN);
    serde_json::Number::from_f64(rounded).map_or(Value::Null, Value::Number)
}

/// Quantiles of a histogram in milliseconds, and how many values it holds; null when it holds none.
pub fn quantiles(histogram: &Histogram) -> Value {
    if histogram.count() == 0 {
        return Value::Null;
    }
    let at = |quantile: f64| number(ms(histogram.quantile(quantile)));
    json!({ "count": histogram.count(), "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999), "most": at(1.0) })
}

/// A quantile in milliseconds; `None` when nothing was counted.
pub fn quantile_ms(histogram: &Histogram, quantile: f64) -> Option<f64> {
    (histogram.count() > 0).then(|| ms(histogram.quantile(quantile)))
}

/// The members of an object that `json!` made.
pub fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_count() {
        let shown = [0.0, 0.0123, 0.12345, 0.9996, 1.0, 9.996, 73.123, 99.97, 906.4, 999.6, 12_345.6, 1_234_567.0, f64::NAN];
        let texts = ["0", "0.012", "0.123", "1.00", "1.00", "10.0", "73.1", "100", "906", "1,000", "12,346", "1,234,567", "-"];
        assert_eq!(shown.map(show), texts);
    }

    #[test]
    fn moments_are_those_of_the_calendar() {
        let moments = [0, 951_782_400_000, 1_795_422_928_000, 4_107_542_399_999];
        let texts =
            ["1970-01-01 00:00:00 UTC", "2000-02-29 00:00:00 UTC", "2026-11-23 08:35:28 UTC", "2100-02-28 23:59:59 UTC"];
        assert_eq!(moments.map(show_utc), texts);
    }

    #[test]
    fn json_numbers_have_six_digits() {
        assert_eq!(number(1.0 / 3.0), json!(0.333333));
        assert_eq!(number(1_234_567.0), json!(1_234_570.0));
        assert_eq!(number(f64::INFINITY), Value::Null);
        assert_eq!(number(0.0), json!(0.0));
    }
}
