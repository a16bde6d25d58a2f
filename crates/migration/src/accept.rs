//! Names of checks that a user lets pass: the one mechanism behind `--accept` and `checks.accept`.
//!
//! Responsible for the names, and for what each of them lets pass. Not responsible for the checks themselves: each asks
//! [`Job::accept`](crate::Job) for its own name before it refuses something.

use std::collections::BTreeSet;

/// What a user lets pass by name. A check that refuses something says the name in its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Accept {
    /// Partitions that were added to the topic since the job began, although records have keys.
    Partitions,
    /// A state folder that another user owns or may write to.
    Owner,
    /// A password or token that travels unencrypted to a broker on another machine.
    PlaintextPassword,
    /// A secret that ends in white space.
    SecretSpace,
    /// A topic that has fewer replicas in sync than it wants.
    Topic,
    /// Many records that are larger than the topic takes.
    Sizes,
    /// Records whose event times the topic's retention deletes.
    Retention,
    /// More bytes for each partition than the topic keeps.
    RetentionSize,
    /// Event times that the topic refuses or replaces.
    Timestamps,
    /// Records without a key for a compacted topic.
    Cleanup,
    /// Keys that lie in the topic where another partitioner puts them.
    Partitioner,
    /// Records that have no such field, or of which many would be set aside.
    Mapping,
    /// A machine that is too small for the workers.
    Machine,
    /// A state folder on a disk of another machine.
    NetworkDisk,
    /// Planned files that have another time of modification, and the same size, first and last 64 KiB.
    Mtime,
    /// Exactly-once delivery over topics that can lose what they acknowledged: too few replicas, or unclean elections.
    Unreplicated,
}

impl Accept {
    /// All, in the order in which they are listed for people.
    pub const ALL: [Accept; 16] = [
        Accept::Partitions,
        Accept::Owner,
        Accept::PlaintextPassword,
        Accept::SecretSpace,
        Accept::Topic,
        Accept::Sizes,
        Accept::Retention,
        Accept::RetentionSize,
        Accept::Timestamps,
        Accept::Cleanup,
        Accept::Partitioner,
        Accept::Mapping,
        Accept::Machine,
        Accept::NetworkDisk,
        Accept::Mtime,
        Accept::Unreplicated,
    ];
    /// Their names, in the same order.
    pub const NAMES: [&'static str; 16] = {
        let mut names = [""; 16];
        let mut index = 0;
        while index < names.len() {
            names[index] = Accept::ALL[index].name();
            index += 1;
        }
        names
    };

    /// Its name in the config, on the command line, in the state and in the JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Accept::Partitions => "partitions",
            Accept::Owner => "owner",
            Accept::PlaintextPassword => "plaintext-password",
            Accept::SecretSpace => "secret-space",
            Accept::Topic => "topic",
            Accept::Sizes => "sizes",
            Accept::Retention => "retention",
            Accept::RetentionSize => "retention-size",
            Accept::Timestamps => "timestamps",
            Accept::Cleanup => "cleanup",
            Accept::Partitioner => "partitioner",
            Accept::Mapping => "mapping",
            Accept::Machine => "machine",
            Accept::NetworkDisk => "network-disk",
            Accept::Mtime => "mtime",
            Accept::Unreplicated => "unreplicated",
        }
    }

    /// What has this name.
    pub fn named(name: &str) -> Option<Accept> {
        Accept::ALL.into_iter().find(|accept| accept.name() == name)
    }
}

/// Names with commas between them, as people and the state read them.
pub fn names(accepted: &BTreeSet<Accept>) -> String {
    accepted.iter().map(|accept| accept.name()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_found_again() {
        for (accept, name) in Accept::ALL.into_iter().zip(Accept::NAMES) {
            assert_eq!((accept.name(), Accept::named(name)), (name, Some(accept)));
        }
        assert_eq!(Accept::named("everything"), None);
    }

    #[test]
    fn names_are_told_in_one_order() {
        let accepted = BTreeSet::from([Accept::PlaintextPassword, Accept::Partitions]);
        assert_eq!(names(&accepted), "partitions, plaintext-password");
        assert_eq!(names(&BTreeSet::new()), "");
    }
}
