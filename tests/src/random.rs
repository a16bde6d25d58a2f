//! Random numbers that repeat from a seed (SplitMix64), and a seed that a failing test can be repeated with.

/// A generator; equal seeds give equal numbers.
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// From `SHARDLIFT_TEST_SEED`, or from the clock. Prints the seed, so that a failure can be repeated.
    pub fn seeded(what: &str) -> Self {
        let seed = match std::env::var("SHARDLIFT_TEST_SEED") {
            Ok(text) => text.parse().expect("SHARDLIFT_TEST_SEED is a number"),
            Err(_) => {
                std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("the clock is past 1970").as_nanos()
                    as u64
            }
        };
        println!("{what}: SHARDLIFT_TEST_SEED={seed}");
        Random(seed)
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `from..to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        assert!(from < to, "an empty range: {from}..{to}");
        from + self.next_u64() % (to - from)
    }

    /// One of the items.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.between(0, items.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_repeat_and_ranges_hold() {
        let (mut one, mut other) = (Random::new(5), Random::new(5));
        for _ in 0..1000 {
            let number = one.between(10, 20);
            assert_eq!(number, other.between(10, 20));
            assert!((10..20).contains(&number));
        }
    }
}
