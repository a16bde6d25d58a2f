//! A mergeable histogram of durations with a relative error below 3 %.

use serde::{Deserialize, Serialize};

/// Sub-buckets per power of two: 32 give an error of at most 1/32.
const SUB: u64 = 32;

/// Counts of durations in microseconds, in log-linear buckets; two histograms add up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// Ascending by bucket; only buckets that hold something.
    buckets: Vec<(u16, u64)>,
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, micros: u64) {
        self.add(bucket(micros), 1);
    }

    /// Counts one duration `times` over: that of a batch, for each of its records.
    pub fn record_many(&mut self, micros: u64, times: u64) {
        if times > 0 {
            self.add(bucket(micros), times);
        }
    }

    /// Adds another histogram's counts.
    pub fn merge(&mut self, other: &Histogram) {
        for &(bucket, count) in &other.buckets {
            self.add(bucket, count);
        }
    }

    /// Whether it is one that [`Histogram::record`] could have made in a lifetime: ascending buckets, and counts that
    /// can be added up without overflow. What came over a wire or from a disk is checked with this before it is used.
    pub fn is_plausible(&self) -> bool {
        self.buckets.windows(2).all(|pair| pair[0].0 < pair[1].0)
            && self.buckets.iter().all(|&(b, n)| u64::from(b) < 64 * SUB && n < 1 << 48)
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|&(_, n)| n).sum()
    }

    /// The duration in microseconds that a share of `quantile` (0 to 1) does not exceed; 0 when nothing was counted.
    pub fn quantile(&self, quantile: f64) -> u64 {
        let rank = ((self.count() as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        for &(bucket, count) in &self.buckets {
            seen += count;
            if seen >= rank {
                return middle(bucket);
            }
        }
        0
    }

    fn add(&mut self, bucket: u16, count: u64) {
        match self.buckets.binary_search_by_key(&bucket, |&(b, _)| b) {
            Ok(i) => self.buckets[i].1 += count,
            Err(i) => self.buckets.insert(i, (bucket, count)),
        }
    }
}

fn bucket(micros: u64) -> u16 {
    if micros < SUB {
        return micros as u16;
    }
    let exponent = u64::from(63 - micros.leading_zeros()) - u64::from(SUB.trailing_zeros());
    (exponent * SUB + (micros >> exponent)) as u16
}

fn middle(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    if bucket < 2 * SUB {
        return bucket;
    }
    let exponent = bucket / SUB - 1;
    let low = (bucket % SUB + SUB) << exponent;
    low + ((1 << exponent) >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_value_comes_back_within_its_error(micros in 0u64..(1 << 50)) {
            let back = middle(bucket(micros));
            prop_assert!((back as f64 - micros as f64).abs() <= micros as f64 / SUB as f64);
        }

        #[test]
        fn merging_counts_everything(a in prop::collection::vec(0u64..10_000_000, 0..50), b in prop::collection::vec(0u64..10_000_000, 0..50)) {
            let (mut left, mut right) = (Histogram::default(), Histogram::default());
            a.iter().for_each(|&v| left.record(v));
            b.iter().for_each(|&v| right.record(v));
            left.merge(&right);
            prop_assert_eq!(left.count(), (a.len() + b.len()) as u64);
        }
    }

    #[test]
    fn a_batch_counts_for_each_of_its_records() {
        let (mut one_by_one, mut at_once) = (Histogram::default(), Histogram::default());
        (0..7).for_each(|_| one_by_one.record(5_100));
        at_once.record_many(5_100, 7);
        at_once.record_many(9_000, 0);
        assert_eq!(one_by_one, at_once);
    }

    #[test]
    fn quantiles_of_a_known_list() {
        let mut h = Histogram::default();
        (1..=100).for_each(|v| h.record(v * 1000));
        assert!((h.quantile(0.5) as f64 / 50_000.0 - 1.0).abs() < 0.04);
        assert!((h.quantile(0.99) as f64 / 99_000.0 - 1.0).abs() < 0.04);
        assert_eq!(Histogram::default().quantile(0.5), 0);
    }
}
