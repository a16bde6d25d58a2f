//! Which acknowledged records may be in the topic twice.

/// Counts them.
///
/// When a broker refuses a batch for good, the client begins a new producer epoch and numbers anew what is not
/// acknowledged. A batch that was written and whose answer got lost is then sent again under numbers that the broker
/// can't recognise. So what is in flight when a refusal comes is counted, if a connection ever broke, until it is known
/// that a record of it is not in the topic.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    /// By partition: its group was in flight when a batch was refused.
    renumbered: Vec<bool>,
    /// A connection broke. The client does not tell of each one, so one is enough.
    pub(super) broke: bool,
    /// Of what has its reports.
    settled: u64,
}

impl Epochs {
    pub(super) fn new(partitions: u32) -> Epochs {
        Epochs { renumbered: vec![false; partitions as usize], ..Epochs::default() }
    }

    /// A batch was refused while groups of these partitions were in flight.
    pub(super) fn refused(&mut self, is_in_flight: impl Fn(u32) -> bool) {
        for (partition, renumbered) in (0..).zip(&mut self.renumbered) {
            *renumbered |= is_in_flight(partition);
        }
    }

    /// A partition's group has all its reports.
    pub(super) fn settled(&mut self, partition: u32, acknowledged: usize) {
        let renumbered = std::mem::take(&mut self.renumbered[partition as usize]);
        if renumbered && self.broke {
            self.settled += acknowledged as u64;
        }
    }

    /// `in_flight`: how many records a partition's group has that may still be acknowledged. An attempt may end before
    /// they are.
    pub(super) fn perhaps_doubled(&self, in_flight: impl Fn(u32) -> usize) -> u64 {
        if !self.broke {
            return self.settled;
        }
        let renumbered = (0..).zip(&self.renumbered).filter(|(_, renumbered)| **renumbered);
        self.settled + renumbered.map(|(partition, _)| in_flight(partition) as u64).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_in_flight_at_a_refusal_counts_only_if_a_connection_broke() {
        let none = |_: u32| 0;
        let mut epochs = Epochs { renumbered: vec![false; 2], ..Epochs::default() };
        epochs.renumbered[1] = true;
        assert_eq!(epochs.perhaps_doubled(|_| 20), 0);
        epochs.settled(0, 10);
        epochs.settled(1, 20);
        assert_eq!(epochs.perhaps_doubled(none), 0);
        epochs.broke = true;
        epochs.settled(1, 30);
        assert_eq!(epochs.perhaps_doubled(none), 0, "a group after the refusal");
        epochs.renumbered[1] = true;
        assert_eq!(
            epochs.perhaps_doubled(|partition| 50 + partition as usize),
            51,
            "an attempt may end before they have their reports"
        );
        epochs.settled(1, 40);
        assert_eq!(epochs.perhaps_doubled(|_| 50), 40, "the others are not in the topic");
    }
}
