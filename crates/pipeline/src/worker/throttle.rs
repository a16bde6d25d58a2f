//! The rate limit: two token buckets, one of records and one of bytes. A record is taken only when both have a token
//! for it. Time is an argument, never read.

use std::time::{Duration, Instant};

use migration::Rate;

/// How much of a second a bucket holds at most: what may be sent at once after an idle time.
const BURST: f64 = 0.1;
/// How much of a second a wait lasts at least where a bucket can hold it: waking for every single token would cost more
/// than the record.
const REST: f64 = 0.01;
/// The longest wait for a token; a new rate is looked at no later than this.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Sums of fractions of tokens miss whole numbers by less than this.
const ROUNDING: f64 = 1e-6;

/// Takes records no faster than a rate.
#[derive(Debug)]
pub struct Throttle {
    records: Bucket,
    bytes: Bucket,
}

impl Throttle {
    /// No limit yet.
    pub fn new(now: Instant) -> Self {
        let bucket = Bucket { rate: f64::INFINITY, tokens: 0.0, at: now };
        Throttle { records: bucket, bytes: bucket }
    }

    /// Brings the buckets to `now` and sets the rate from now on.
    pub fn set(&mut self, rate: Rate, now: Instant) {
        self.records.set(rate.records, now);
        self.bytes.set(rate.bytes, now);
    }

    /// Whether there is any limit.
    pub fn limited(&self) -> bool {
        self.records.limited() || self.bytes.limited()
    }

    /// Whether a record of `bytes` may be taken now.
    pub fn allows(&self, bytes: usize) -> bool {
        self.records.allows(1.0) && self.bytes.allows(bytes as f64)
    }

    /// Takes the tokens of a record.
    pub fn charge(&mut self, bytes: usize) {
        self.records.charge(1.0);
        self.bytes.charge(bytes as f64);
    }

    /// When a record of `bytes` may be tried again.
    pub fn next(&self, bytes: usize, now: Instant) -> Instant {
        now + self.records.wait(1.0).max(self.bytes.wait(bytes as f64)).min(LONGEST_WAIT)
    }
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Tokens a second.
    rate: f64,
    /// Below zero after a record that is larger than the bucket.
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn limited(&self) -> bool {
        self.rate.is_finite()
    }

    fn burst(&self) -> f64 {
        (self.rate * BURST).max(1.0)
    }

    fn set(&mut self, rate: f64, now: Instant) {
        if self.limited() {
            let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
            self.tokens = (self.tokens + elapsed * self.rate).min(self.burst());
        } else {
            self.tokens = 0.0;
        }
        self.at = now;
        if rate != self.rate {
            self.rate = rate;
            self.tokens = self.tokens.min(self.burst());
        }
    }

    fn need(&self, cost: f64) -> f64 {
        cost.min(self.burst()) - ROUNDING
    }

    fn allows(&self, cost: f64) -> bool {
        !self.limited() || self.tokens >= self.need(cost)
    }

    fn charge(&mut self, cost: f64) {
        if self.limited() {
            self.tokens -= cost;
        }
    }

    fn wait(&self, cost: f64) -> Duration {
        if self.allows(cost) {
            return Duration::ZERO;
        }
        let goal = cost.min(self.burst()).max(self.burst().min(self.rate * REST));
        Duration::try_from_secs_f64((goal - self.tokens) / self.rate).unwrap_or(LONGEST_WAIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes records of `bytes` for `seconds`, waking up to `late` after the time that was asked for.
    fn taken(rate: Rate, bytes: usize, seconds: u64, late: Duration) -> u64 {
        let start = Instant::now();
        let (mut now, mut count) = (start, 0);
        let mut throttle = Throttle::new(now);
        while now < start + Duration::from_secs(seconds) {
            throttle.set(rate, now);
            while throttle.allows(bytes) {
                throttle.charge(bytes);
                count += 1;
            }
            now = throttle.next(bytes, now).max(now) + late;
        }
        count
    }

    #[test]
    fn the_rate_is_kept_within_one_percent_over_ten_seconds() {
        for late in [Duration::ZERO, Duration::from_micros(700), Duration::from_millis(20)] {
            for rate in [100.0, 7_777.0, 500_000.0] {
                let records = taken(Rate { records: rate, bytes: f64::INFINITY }, 132, 10, late) as f64;
                assert!((records / (rate * 10.0) - 1.0).abs() < 0.01, "{rate} {late:?}: {records}");
                let bytes = taken(Rate { records: f64::INFINITY, bytes: rate * 132.0 }, 132, 10, late) as f64;
                assert!((bytes / (rate * 10.0) - 1.0).abs() < 0.01, "{rate} {late:?}: {bytes}");
            }
        }
    }

    #[test]
    fn a_record_larger_than_the_bucket_passes_and_is_paid_for() {
        let records = taken(Rate { records: f64::INFINITY, bytes: 1_000.0 }, 5_000, 100, Duration::ZERO);
        assert!((19..=21).contains(&records), "{records}");
    }

    #[test]
    fn a_new_rate_counts_at_once_and_nothing_was_saved_up() {
        let start = Instant::now();
        let mut throttle = Throttle::new(start);
        assert!(!throttle.limited() && throttle.allows(1));
        let now = start + Duration::from_secs(60);
        throttle.set(Rate { records: 10.0, bytes: f64::INFINITY }, now);
        assert!(throttle.limited() && !throttle.allows(1));
        assert!(throttle.next(1, now) <= now + Duration::from_millis(101));
        throttle.set(Rate::UNLIMITED, now);
        assert!(throttle.allows(1) && !throttle.limited());
    }

    #[test]
    fn a_rate_of_nothing_takes_nothing_and_never_panics() {
        let now = Instant::now();
        let mut throttle = Throttle::new(now);
        throttle.set(Rate { records: 0.0, bytes: 0.0 }, now);
        throttle.set(Rate { records: 0.0, bytes: 0.0 }, now + Duration::from_secs(5));
        assert!(!throttle.allows(1));
        assert_eq!(throttle.next(1, now), now + LONGEST_WAIT);
    }
}
