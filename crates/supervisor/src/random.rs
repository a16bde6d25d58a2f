//! A small seeded generator (SplitMix64): the machine is repeatable, and every worker's seed comes from the supervisor.

use std::time::Duration;

/// Repeats itself for the same seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts at `seed`.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A duration between half of `whole` and `whole`.
    pub fn jitter(&mut self, whole: Duration) -> Duration {
        let part = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        whole.mul_f64(0.5 + part / 2.0)
    }
}

/// The pause after the `failures`-th failure in a row (from 1), before jitter: doubled each time from `min` up to
/// `max`.
pub fn backoff(failures: u32, min: Duration, max: Duration) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    min.saturating_mul(1 << doublings).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_its_limit() {
        let (min, max) = (Duration::from_millis(100), Duration::from_secs(30));
        let pauses: Vec<u128> = (1..=11).map(|n| backoff(n, min, max).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000]);
        assert_eq!(backoff(u32::MAX, min, max), max);
    }

    #[test]
    fn jitter_stays_within_half_and_whole_and_varies() {
        let whole = Duration::from_secs(1);
        let mut random = Random::new(7);
        let all: Vec<Duration> = (0..1000).map(|_| random.jitter(whole)).collect();
        assert!(all.iter().all(|d| (whole / 2..=whole).contains(d)));
        assert!(all.iter().max().unwrap().abs_diff(*all.iter().min().unwrap()) > whole / 3);
    }
}
