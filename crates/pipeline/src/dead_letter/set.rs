//! A set of dead letters of one job, by where their lines stand.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::letter::LetterPlace;

/// Some letters of a job. Neighbours in a file are kept as one stretch, so that a set of all letters is small.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterSet {
    /// By shard: from which byte of its file to which one, sorted.
    stretches: BTreeMap<u32, BTreeMap<u64, u64>>,
}

impl LetterSet {
    /// Adds a letter.
    pub fn add(&mut self, place: LetterPlace) {
        let LetterPlace { shard, mut start, bytes } = place;
        let mut end = start + bytes + 1;
        let stretches = self.stretches.entry(shard.0).or_default();
        if let Some((before, up_to)) = stretches.range(..=start).next_back()
            && *up_to >= start
        {
            (start, end) = (*before, end.max(*up_to));
        }
        if let Some(up_to) = stretches.remove(&end) {
            end = up_to;
        }
        stretches.insert(start, end);
    }

    /// Whether a letter is in it.
    pub fn has(&self, place: LetterPlace) -> bool {
        let stretches = self.stretches.get(&place.shard.0);
        let before = stretches.and_then(|stretches| stretches.range(..=place.start).next_back());
        before.is_some_and(|(_, end)| place.start < *end)
    }

    /// Whether none is in it.
    pub fn is_empty(&self) -> bool {
        self.stretches.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use migration::ShardId;
    use proptest::prelude::*;

    use super::*;

    fn place(shard: u32, line: u64) -> LetterPlace {
        LetterPlace { shard: ShardId(shard), start: line * 10, bytes: 9 }
    }

    #[test]
    fn neighbours_are_one_stretch() {
        let mut set = LetterSet::default();
        assert!(set.is_empty());
        for line in [3, 0, 1, 2, 7] {
            set.add(place(5, line));
        }
        assert_eq!(serde_json::to_string(&set).unwrap(), r#"{"stretches":{"5":{"0":40,"70":80}}}"#);
        assert!(!set.is_empty() && !set.has(place(4, 0)));
    }

    proptest! {
        #[test]
        fn it_has_what_was_added_and_nothing_else(lines in prop::collection::vec((0..3u32, 0..20u64), 0..60)) {
            let mut set = LetterSet::default();
            lines.iter().for_each(|&(shard, line)| set.add(place(shard, line)));
            let added: BTreeSet<_> = lines.into_iter().collect();
            for (shard, line) in (0..3).flat_map(|shard| (0..20).map(move |line| (shard, line))) {
                prop_assert_eq!(set.has(place(shard, line)), added.contains(&(shard, line)));
            }
            let kept: LetterSet = serde_json::from_str(&serde_json::to_string(&set).unwrap()).unwrap();
            prop_assert_eq!(kept, set);
        }
    }
}
