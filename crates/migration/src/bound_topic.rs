//! Which topic a job writes to, and whether the topic that is seen now is still that one.
//!
//! Responsible for: what of a topic must stay as it was while a job lasts, what each change means for the job, and the
//! sentence that tells it. Not responsible for: asking brokers, or how often they are asked.

use serde::{Deserialize, Serialize};

use crate::report::Binding;
use crate::{Accept, Job};

/// The topic that a job belongs to from its first run on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundTopic {
    /// Its name.
    pub name: String,
    /// Its id; `None`: the brokers tell none.
    pub id: Option<String>,
    /// How many partitions it had when the job began. A key's partition is computed from this number as long as the job
    /// lasts.
    pub partitions: u32,
    /// Whether records have keys.
    pub keyed: bool,
    /// Whether the job goes on although partitions were added and records have keys (`--accept partitions`).
    pub added_accepted: bool,
}

/// A topic as the brokers describe it now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenTopic {
    /// Its id; `None`: it was not asked for, or the brokers tell none.
    pub id: Option<String>,
    /// How many partitions it has.
    pub partitions: u32,
}

impl From<&Binding> for SeenTopic {
    /// The topic of a job that would begin now.
    fn from(now: &Binding) -> Self {
        SeenTopic { id: now.known_topic_id(), partitions: now.partitions() }
    }
}

/// How a topic differs from the one that a job belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TopicChange {
    /// It does not exist any more.
    Deleted,
    /// It has another id: it was deleted and made again.
    MadeAgain {
        /// The id of the job's topic.
        was: String,
        /// The id now.
        is: String,
    },
    /// It has fewer partitions. Brokers can't take partitions away, so it was deleted and made again.
    Fewer {
        /// How many partitions the job's topic has.
        was: u32,
        /// How many there are now.
        is: u32,
    },
    /// A partition ends before an offset that it had reached. Only asked where brokers tell no id.
    WentBack {
        /// The partition.
        partition: u32,
        /// Where it had ended.
        was: i64,
        /// Where it ends now.
        is: i64,
    },
    /// Partitions were added.
    Added {
        /// How many the job's topic had.
        was: u32,
        /// How many there are now.
        is: u32,
    },
}

/// What a change means for the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// It goes on; the user is told.
    Warn,
    /// It stops: workers close their chunk first, for their records still go where the plan says.
    Stop,
    /// It stops at once: what is sent from now on does not arrive in the job's topic.
    Gone,
}

impl BoundTopic {
    /// The topic of a job that began with `then`. `now`: as it is now; a state that began while no broker told the id
    /// has it from there.
    pub fn of(job: &Job, then: &Binding, now: &Binding) -> Self {
        BoundTopic {
            name: then.topic.clone(),
            id: then.known_topic_id().or_else(|| now.known_topic_id()),
            partitions: then.partitions(),
            keyed: job.record.key.is_some(),
            added_accepted: job.accepts(Accept::Partitions),
        }
    }

    /// How the topic differs from the bound one, the worst first; `None`: it is the same, as far as that can be told.
    pub fn compare(&self, seen: &SeenTopic) -> Option<TopicChange> {
        if let (Some(was), Some(is)) = (&self.id, &seen.id)
            && was != is
        {
            return Some(TopicChange::MadeAgain { was: was.clone(), is: is.clone() });
        }
        let (was, is) = (self.partitions, seen.partitions);
        match is.cmp(&was) {
            std::cmp::Ordering::Less => Some(TopicChange::Fewer { was, is }),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some(TopicChange::Added { was, is }),
        }
    }

    /// What a change means for the job.
    pub fn consequence(&self, change: &TopicChange) -> Consequence {
        match change {
            TopicChange::Added { .. } if self.keyed && !self.added_accepted => Consequence::Stop,
            TopicChange::Added { .. } => Consequence::Warn,
            TopicChange::Deleted | TopicChange::MadeAgain { .. } | TopicChange::Fewer { .. } | TopicChange::WentBack { .. } => {
                Consequence::Gone
            }
        }
    }

    /// What happened to the topic, and what follows from it, in one sentence.
    pub fn tell(&self, change: &TopicChange) -> String {
        let name = &self.name;
        match change {
            TopicChange::Deleted => format!("topic {name} was deleted"),
            TopicChange::MadeAgain { was, is } => {
                format!("topic {name} was deleted and made again (its id was {was}, is {is})")
            }
            TopicChange::Fewer { was, is } => {
                format!("topic {name} was deleted and made again (it had {was} partitions, has {is})")
            }
            TopicChange::WentBack { partition, was, is } => {
                format!(
                    "topic {name} was deleted and made again, or records of it were lost: partition {partition} had reached offset \
                     {was}, and ends at {is}"
                )
            }
            TopicChange::Added { was, is } => format!("topic {name}: partitions {was} -> {is}: {}", self.of_added(*was)),
        }
    }

    fn of_added(&self, was: u32) -> String {
        match (self.keyed, self.added_accepted) {
            (false, _) => format!("this job goes on to write to the first {was}"),
            (true, accepted) => {
                let told = format!(
                    "this job's keys stay in the first {was}, what others send under the same keys goes to other partitions now"
                );
                if accepted { told } else { told + " (--accept partitions goes on like that)" }
            }
        }
    }
}

/// Whether a partition ends at an offset below one that it had reached.
pub fn went_back(partition: u32, was: i64, is: i64) -> Option<TopicChange> {
    (is < was).then_some(TopicChange::WentBack { partition, was, is })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(id: Option<&str>, keyed: bool, added_accepted: bool) -> BoundTopic {
        BoundTopic { name: "t".into(), id: id.map(str::to_owned), partitions: 3, keyed, added_accepted }
    }

    fn seen(id: Option<&str>, partitions: u32) -> SeenTopic {
        SeenTopic { id: id.map(str::to_owned), partitions }
    }

    #[test]
    fn a_topic_is_known_by_its_id_and_its_partitions() {
        let topic = bound(Some("A"), true, false);
        assert_eq!(topic.compare(&seen(Some("A"), 3)), None);
        assert_eq!(topic.compare(&seen(Some("B"), 3)), Some(TopicChange::MadeAgain { was: "A".into(), is: "B".into() }));
        // The id says more than the count.
        assert_eq!(topic.compare(&seen(Some("B"), 7)), Some(TopicChange::MadeAgain { was: "A".into(), is: "B".into() }));
        assert_eq!(topic.compare(&seen(Some("A"), 7)), Some(TopicChange::Added { was: 3, is: 7 }));
        assert_eq!(topic.compare(&seen(Some("A"), 2)), Some(TopicChange::Fewer { was: 3, is: 2 }));
    }

    #[test]
    fn an_id_that_is_not_told_is_no_other_id() {
        for (then, now) in [(None, None), (Some("A"), None), (None, Some("A"))] {
            let topic = bound(then, true, false);
            assert_eq!(topic.compare(&seen(now, 3)), None, "{then:?} {now:?}");
            assert_eq!(topic.compare(&seen(now, 2)), Some(TopicChange::Fewer { was: 3, is: 2 }));
            assert_eq!(topic.compare(&seen(now, 4)), Some(TopicChange::Added { was: 3, is: 4 }));
        }
    }

    #[test]
    fn only_added_partitions_can_be_gone_on_with() {
        let added = TopicChange::Added { was: 3, is: 7 };
        assert_eq!(bound(None, true, false).consequence(&added), Consequence::Stop);
        assert_eq!(bound(None, true, true).consequence(&added), Consequence::Warn);
        assert_eq!(bound(None, false, false).consequence(&added), Consequence::Warn);
        let gone = [
            TopicChange::Deleted,
            TopicChange::MadeAgain { was: "A".into(), is: "B".into() },
            TopicChange::Fewer { was: 3, is: 2 },
            TopicChange::WentBack { partition: 1, was: 9, is: 4 },
        ];
        for change in gone {
            for keyed in [false, true] {
                assert_eq!(bound(None, keyed, true).consequence(&change), Consequence::Gone, "{change:?}");
            }
        }
    }

    #[test]
    fn it_says_what_happened() {
        let topic = bound(Some("A"), true, false);
        assert_eq!(topic.tell(&TopicChange::Deleted), "topic t was deleted");
        let again = TopicChange::MadeAgain { was: "A".into(), is: "B".into() };
        assert_eq!(topic.tell(&again), "topic t was deleted and made again (its id was A, is B)");
        let added = TopicChange::Added { was: 3, is: 7 };
        let said = topic.tell(&added);
        assert!(
            said.starts_with("topic t: partitions 3 -> 7:") && said.ends_with("(--accept partitions goes on like that)"),
            "{said}"
        );
        assert!(!bound(None, true, true).tell(&added).contains("--accept"));
        assert!(!bound(None, false, false).tell(&added).contains("key"));
    }
}
