//! Scales: where on an axis a value stands, and which values get a tick.

use crate::figures::show;

/// From values to places.
#[derive(Clone, Debug)]
pub struct Scale {
    log: bool,
    values: (f64, f64),
    places: (f64, f64),
}

impl Scale {
    /// Even steps from the first value to the second.
    pub fn linear(values: (f64, f64), places: (f64, f64)) -> Self {
        let to = if values.1 > values.0 { values.1 } else { values.0 + 1.0 };
        Scale { log: false, values: (values.0, to), places }
    }

    /// Even steps from zero to a round number at or above `most`.
    pub fn from_zero(most: f64, places: (f64, f64), ticks: usize) -> Self {
        let step = round_step(most.max(f64::MIN_POSITIVE) / ticks as f64);
        Scale::linear((0.0, (most / step - 1e-9).ceil().max(1.0) * step), places)
    }

    /// Even steps for equal factors. Both values are above zero.
    pub fn log(values: (f64, f64), places: (f64, f64)) -> Self {
        let from = values.0.max(1e-9);
        let to = if values.1 > from { values.1 } else { from * 10.0 };
        Scale { log: true, values: (from, to), places }
    }

    /// The same, from and to a value whose first digit is 1, 2 or 5.
    pub fn log_around(least: f64, most: f64, places: (f64, f64)) -> Self {
        let least = least.max(1e-9);
        Scale::log((below(least), above(most.max(least))), places)
    }

    /// Where a value stands; a value outside stands at the end.
    pub fn at(&self, value: f64) -> f64 {
        let (from, to) = self.values;
        let part = match self.log {
            true => (value.max(from) / from).ln() / (to / from).ln(),
            false => (value - from) / (to - from),
        };
        let part = if part.is_finite() { part.clamp(0.0, 1.0) } else { 0.0 };
        self.places.0 + part * (self.places.1 - self.places.0)
    }

    /// The values of its two ends.
    pub fn ends(&self) -> (f64, f64) {
        self.values
    }

    /// The values that get a tick, about as many as asked for, ascending, each with its text.
    pub fn ticks(&self, about: usize) -> Vec<(f64, String)> {
        let (from, to) = self.values;
        let values = if self.log { log_ticks(from, to, about) } else { even_ticks(from, to, about) };
        let label = |value: f64| if self.log { short(value) } else { even_label(value, to - from, about) };
        values.into_iter().map(|value| (value, label(value))).collect()
    }
}

/// The least of 1, 2, 5, 10, 20, … (and 0.5, 0.2, …) that is not below the value.
fn round_step(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|step| step * power)
        .find(|step| *step >= value * (1.0 - 1e-9))
        .unwrap_or(power * 10.0)
}

fn below(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    [5.0, 2.0, 1.0].into_iter().map(|step| step * power).find(|step| *step <= value * (1.0 + 1e-9)).unwrap_or(power)
}

fn above(value: f64) -> f64 {
    round_step(value)
}

fn even_ticks(from: f64, to: f64, about: usize) -> Vec<f64> {
    let step = round_step((to - from) / about.max(1) as f64);
    let first = (from / step - 1e-9).ceil() as i64;
    let last = (to / step + 1e-9).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

fn log_ticks(from: f64, to: f64, about: usize) -> Vec<f64> {
    let (first, last) = (from.log10().floor() as i32, to.log10().ceil() as i32);
    let inside = |value: &f64| *value >= from * (1.0 - 1e-9) && *value <= to * (1.0 + 1e-9);
    let of = |digits: &[f64], every: i32| -> Vec<f64> {
        let powers = (first..=last).filter(|power| power % every == 0);
        powers.flat_map(|power| digits.iter().map(move |digit| digit * 10_f64.powi(power))).filter(inside).collect()
    };
    let finer = [of(&[1.0, 2.0, 5.0], 1), of(&[1.0, 3.0], 1), of(&[1.0], 1), of(&[1.0], 2), of(&[1.0], 3)];
    finer.into_iter().find(|ticks| (2..=about + 1).contains(&ticks.len())).unwrap_or_else(|| vec![from, to])
}

/// All labels of one axis have as many decimals as their step needs.
fn even_label(value: f64, range: f64, about: usize) -> String {
    let step = round_step(range / about.max(1) as f64);
    let decimals = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
    if value >= 999.5 { short(value) } else { format!("{value:.decimals$}") }
}

/// 0.5, 20, 5,000, 20 k, 1 M.
fn short(value: f64) -> String {
    let of = |unit: f64, name: &str| format!("{} {name}", (value / unit * 100.0).round() / 100.0);
    match value {
        v if v >= 999.5e6 => of(1e9, "G"),
        v if v >= 999.5e3 => of(1e6, "M"),
        v if v >= 9_999.5 => of(1e3, "k"),
        v if v >= 999.5 => show(v),
        v => format!("{}", (v * 1e6).round() / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: &Scale, about: usize) -> Vec<String> {
        scale.ticks(about).into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn even_steps_are_round() {
        let scale = Scale::from_zero(0.43, (0.0, 100.0), 4);
        assert!((scale.ends().1 - 0.6).abs() < 1e-9);
        assert_eq!(labels(&scale, 4), ["0.0", "0.2", "0.4", "0.6"]);
        assert_eq!(labels(&Scale::from_zero(8.0, (0.0, 1.0), 4), 4), ["0", "2", "4", "6", "8"]);
        assert_eq!(labels(&Scale::from_zero(43_000.0, (0.0, 1.0), 5), 5), ["0", "10 k", "20 k", "30 k", "40 k", "50 k"]);
        assert_eq!(Scale::from_zero(0.0, (0.0, 1.0), 4).at(0.0), 0.0, "nothing at all has a scale too");
    }

    #[test]
    fn equal_factors_are_equal_ways() {
        let scale = Scale::log_around(73.0, 906_000.0, (0.0, 400.0));
        assert_eq!(scale.ends(), (50.0, 1e6));
        let (a, b, c) = (scale.at(100.0), scale.at(1_000.0), scale.at(10_000.0));
        assert!((b - a - (c - b)).abs() < 1e-9);
        assert_eq!(labels(&scale, 6), ["100", "1,000", "10 k", "100 k", "1 M"]);
        assert_eq!(labels(&Scale::log((0.5, 20.0), (0.0, 1.0)), 6), ["0.5", "1", "2", "5", "10", "20"]);
        assert_eq!(labels(&Scale::log((1.0, 1e9), (0.0, 1.0)), 5), ["1", "100", "10 k", "1 M", "100 M"]);
    }

    #[test]
    fn what_lies_outside_stands_at_the_end() {
        let scale = Scale::log((1.0, 10.0), (10.0, 20.0));
        assert_eq!((scale.at(0.0), scale.at(1e9), scale.at(f64::NAN)), (10.0, 20.0, 10.0));
        let down = Scale::linear((0.0, 1.0), (100.0, 0.0));
        assert_eq!(down.at(0.25), 75.0);
    }
}
