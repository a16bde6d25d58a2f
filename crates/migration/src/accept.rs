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
}

impl Accept {
    /// All, in the order in which they are listed for people.
    pub const ALL: [Accept; 3] = [Accept::Partitions, Accept::Owner, Accept::PlaintextPassword];
    /// Their names, in the same order.
    pub const NAMES: [&'static str; 3] = [Accept::Partitions.name(), Accept::Owner.name(), Accept::PlaintextPassword.name()];

    /// Its name in the config, on the command line, in the state and in the JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Accept::Partitions => "partitions",
            Accept::Owner => "owner",
            Accept::PlaintextPassword => "plaintext-password",
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
