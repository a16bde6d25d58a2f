//! Dividing the job's limit over its workers.
//!
//! Responsible for shares that add up to the limit and move to the workers that can use them, and for what is caught up
//! with when they could not. Not responsible for keeping to a share (the worker does) or for telling the worker (the
//! machine does).

use std::time::Duration;

use migration::Rate;

/// A worker keeps at least this part of an equal share, so that it can speed up again.
const FLOOR: f64 = 0.1;
/// Above this part of its share a worker counts as held back by it.
const HELD_BACK: f64 = 0.8;
/// How much more than it uses a slower worker is granted.
const HEADROOM: f64 = 1.5;

/// How many seconds' worth is caught up with, at most: not the records of an hour of outage in a minute. Workers may
/// add the tenth of a second that their buckets hold, and in ten seconds both are below 5 %.
const MOST_OWED: f64 = 0.35;
/// How many seconds' worth is held back later, at most.
const MOST_AHEAD: f64 = 1.0;
/// This part of what is owed is caught up with in a second: figures are up to a second old, and more would swing.
const HASTE: f64 = 0.5;

/// What a worker has and uses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Use {
    /// Its present share.
    pub share: Rate,
    /// What it took a second in the last interval; `None` as long as that is unknown.
    pub used: Option<Rate>,
    /// Whether it can use a share at all: one that still connects, or is about to end, can't.
    pub takes: bool,
}

/// How far all workers together are behind a limit (above 0) or before it, in seconds of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Debt {
    records: f64,
    bytes: f64,
}

impl Debt {
    /// What was taken in a time in which the limit was in force.
    pub fn count(&mut self, limit: Rate, time: Duration, taken: Rate) {
        let next = |debt: f64, limit: f64, taken: f64| {
            if limit.is_finite() { (debt + time.as_secs_f64() - taken / limit).clamp(-MOST_AHEAD, MOST_OWED) } else { 0.0 }
        };
        self.records = next(self.records, limit.records, taken.records);
        self.bytes = next(self.bytes, limit.bytes, taken.bytes);
    }

    /// What to divide in the next second so that the limit is kept over several.
    pub fn goal(&self, limit: Rate) -> Rate {
        let goal = |limit: f64, debt: f64| limit * (1.0 + debt * HASTE);
        Rate { records: goal(limit.records, self.records), bytes: goal(limit.bytes, self.bytes) }
    }
}

/// The share of each worker, in the order of `uses`. The shares of one limit never add up to more than the limit.
pub fn divide(limit: Rate, uses: &[Use]) -> Vec<Rate> {
    let records = divide_one(limit.records, uses, |rate| rate.records);
    let bytes = divide_one(limit.bytes, uses, |rate| rate.bytes);
    records.into_iter().zip(bytes).map(|(records, bytes)| Rate { records, bytes }).collect()
}

fn divide_one(limit: f64, uses: &[Use], part: impl Fn(&Rate) -> f64) -> Vec<f64> {
    if !limit.is_finite() {
        return vec![f64::INFINITY; uses.len()];
    }
    let equal = limit / uses.len() as f64;
    let wants: Vec<Option<f64>> = uses
        .iter()
        .map(|u| {
            if !u.takes {
                return Some(equal * FLOOR);
            }
            let (share, used) = (part(&u.share), part(u.used.as_ref()?));
            let wanted = (used * HEADROOM).max(equal * FLOOR);
            (share.is_finite() && used < share * HELD_BACK && wanted < equal).then_some(wanted)
        })
        .collect();
    let modest: f64 = wants.iter().flatten().sum();
    let eager = wants.iter().filter(|w| w.is_none()).count();
    if eager == 0 {
        return vec![equal; uses.len()];
    }
    let rest = (limit - modest) / eager as f64;
    wants.into_iter().map(|wanted| wanted.unwrap_or(rest)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rate(records: f64) -> Rate {
        Rate { records, bytes: f64::INFINITY }
    }

    #[test]
    fn without_use_known_all_get_the_same() {
        let uses = [Use { share: Rate::UNLIMITED, used: None, takes: true }; 4];
        assert_eq!(divide(rate(1000.0), &uses), vec![rate(250.0); 4]);
        assert_eq!(divide(Rate::UNLIMITED, &uses), vec![Rate::UNLIMITED; 4]);
    }

    #[test]
    fn what_a_slow_worker_leaves_goes_to_the_others() {
        let slow = Use { share: rate(500.0), used: Some(rate(20.0)), takes: true };
        let fast = Use { share: rate(500.0), used: Some(rate(499.0)), takes: true };
        let shares = divide(rate(1000.0), &[slow, fast]);
        assert_eq!(shares, vec![rate(50.0), rate(950.0)]);
    }

    #[test]
    fn a_worker_that_speeds_up_gets_its_share_back() {
        let mut shares = vec![rate(50.0), rate(950.0)];
        for _ in 0..10 {
            let uses: Vec<Use> = shares.iter().map(|&share| Use { share, used: Some(share), takes: true }).collect();
            shares = divide(rate(1000.0), &uses);
        }
        assert_eq!(shares, vec![rate(500.0), rate(500.0)]);
    }

    proptest! {
        #[test]
        fn shares_never_exceed_the_limit(
            limit in 1.0f64..1e9,
            uses in prop::collection::vec((1.0f64..1e9, prop::option::of(0.0f64..1e9), any::<bool>()), 1..40),
        ) {
            let uses: Vec<Use> =
                uses.into_iter().map(|(share, used, takes)| Use { share: rate(share), used: used.map(rate), takes }).collect();
            let shares = divide(rate(limit), &uses);
            let sum: f64 = shares.iter().map(|r| r.records).sum();
            prop_assert!((sum / limit - 1.0).abs() < 1e-9);
            prop_assert!(shares.iter().all(|r| r.records >= limit / uses.len() as f64 * FLOOR * 0.999));
        }
    }
}
