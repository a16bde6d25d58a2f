//! What the delivery reports of one batch said.
//!
//! Responsible for: telling the records because of which a broker refused a batch from their neighbours. Not
//! responsible for: sending the others again.

use pipeline::{Blame, RecordPlace, RejectedRecord};
use rdkafka::types::RDKafkaRespErr as E;

use crate::ffi::Code;

/// What the reports of a partition's group said so far.
#[derive(Debug, Default)]
pub(super) struct ReportTally {
    pub(super) acknowledged: usize,
    pub(super) refused: Vec<RejectedRecord>,
    /// When it was handed over, microseconds of the monotonic clock.
    pub(super) handed_us: u64,
    /// The broker that it went to, as far as that was known, and how many groups this broker had then, with it.
    pub(super) leader: Option<i32>,
    pub(super) queue: usize,
}

/// A record that the brokers refused for good, where a transaction is lost with it.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) partition: u32,
    pub(super) index: usize,
    pub(super) reason: String,
    pub(super) blame: Blame,
    /// Where it stands in its shard.
    pub(super) place: Option<RecordPlace>,
}

/// What the reports of one batch said.
#[derive(Debug)]
pub(super) struct Batch {
    /// Something of it was acknowledged.
    pub(super) delivered: bool,
    /// What the answer says of it as a whole.
    pub(super) code: Code,
    /// Partition, index and code of what was refused.
    pub(super) refused: Vec<(u32, usize, Code)>,
}

impl Batch {
    /// Because of which records the broker refused the batch, if it said so: the client reports the others with a code
    /// of its own.
    pub(super) fn judge(self) -> impl Iterator<Item = (u32, RejectedRecord)> {
        let is_other = |code: Code| code == Code::of(E::RD_KAFKA_RESP_ERR__INVALID_DIFFERENT_RECORD);
        let others = self.refused.iter().filter(|(_, _, code)| is_other(*code)).count();
        let whole = self.code;
        let named = match &self.refused[..] {
            [(_, _, code)] => !self.delivered && !is_other(*code),
            // Each is named where more than one is: then the client gives it another code than the batch has.
            all if others == 0 => all.iter().any(|(_, _, code)| *code != whole),
            all => others < all.len(),
        };
        self.refused.into_iter().map(move |(partition, index, code)| {
            let blame = match named {
                false => Blame::Unknown,
                true if is_other(code) => Blame::Others,
                true => Blame::Own,
            };
            let reason = if code == whole { code.to_string() } else { format!("{code}; of its batch: {whole}") };
            (partition, RejectedRecord { index, reason, blame })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVALID: Code = Code::of(E::RD_KAFKA_RESP_ERR_INVALID_RECORD);
    const OTHER: Code = Code::of(E::RD_KAFKA_RESP_ERR__INVALID_DIFFERENT_RECORD);

    fn blames(delivered: bool, code: Code, refused: &[Code]) -> Vec<Blame> {
        let refused = refused.iter().enumerate().map(|(i, code)| (0, i, *code)).collect();
        Batch { delivered, code, refused }.judge().map(|(_, refusal)| refusal.blame).collect()
    }

    #[test]
    fn records_that_the_answer_names_are_told_from_their_neighbours() {
        use Blame::{Others, Own, Unknown};
        let timestamp = Code::of(E::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP);
        assert_eq!(blames(false, timestamp, &[OTHER, timestamp, OTHER]), [Others, Own, Others]);
        assert_eq!(blames(false, INVALID, &[INVALID, OTHER, INVALID]), [Own, Others, Own]);
        // Everything in it is named.
        assert_eq!(blames(false, timestamp, &[INVALID, INVALID]), [Own, Own]);
        // The code is the batch's own, and may be about one of them.
        assert_eq!(blames(false, INVALID, &[INVALID, INVALID]), [Unknown, Unknown]);
        assert_eq!(blames(false, timestamp, &[timestamp, timestamp]), [Unknown, Unknown]);
        // A batch of one.
        assert_eq!(blames(false, INVALID, &[INVALID]), [Own]);
        // Nothing that brokers say, but nothing may be sent again for ever.
        assert_eq!(blames(true, INVALID, &[INVALID]), [Unknown]);
        assert_eq!(blames(false, INVALID, &[OTHER]), [Unknown]);
        assert_eq!(blames(false, INVALID, &[OTHER, OTHER]), [Unknown, Unknown]);
    }
}
