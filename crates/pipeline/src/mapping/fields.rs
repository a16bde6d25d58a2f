//! What a row has where a job's rules look for key and timestamp, apart from what follows from it: for a sample.

use migration::job::RecordRules;

use super::json::{Finder, Kind, Value};
use super::to_path;

/// Looks for the fields of a job's rules.
#[derive(Debug)]
pub struct FieldLook {
    finder: Finder,
    key: bool,
    time: bool,
}

/// What a row has there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenFields {
    /// The job names a key, and it is absent or null.
    pub without_key: bool,
    /// The job names a timestamp, and it is absent or null.
    pub without_time: bool,
}

impl FieldLook {
    /// For these rules.
    pub fn new(rules: &RecordRules) -> FieldLook {
        let paths = rules.key.iter().chain(&rules.timestamp).map(to_path).collect();
        FieldLook { finder: Finder::new(paths), key: rules.key.is_some(), time: rules.timestamp.is_some() }
    }

    /// What a row has; `None`: it is not JSON up to there.
    pub fn look(&mut self, row: &[u8]) -> Option<SeenFields> {
        if !self.key && !self.time {
            return Some(SeenFields { without_key: false, without_time: false });
        }
        self.finder.scan(row, false).ok()?;
        let time = if self.time { self.finder.found(usize::from(self.key)) } else { None };
        let is_there = |found: Option<Value>| found.is_some_and(|value| value.kind != Kind::Null);
        Some(SeenFields {
            without_key: self.key && !is_there(self.finder.found(0)),
            without_time: self.time && !is_there(time),
        })
    }
}

#[cfg(test)]
mod tests {
    use migration::job::{FieldPath, OnMissing, TimestampUnit, Validate};

    use super::*;

    fn rules(key: Option<&str>, timestamp: Option<&str>) -> RecordRules {
        let path = |name: &str| FieldPath(vec![name.to_owned()]);
        RecordRules {
            key: key.map(path),
            on_missing: OnMissing::Null,
            validate: Validate::Field,
            timestamp: timestamp.map(path),
            timestamp_unit: TimestampUnit::Seconds,
            headers: Vec::new(),
        }
    }

    #[test]
    fn absent_and_null_are_the_same_and_what_is_not_json_is_neither() {
        let mut look = FieldLook::new(&rules(Some("k"), Some("t")));
        let seen = |without_key, without_time| Some(SeenFields { without_key, without_time });
        assert_eq!(look.look(br#"{"k":1,"t":"x y"}"#), seen(false, false));
        assert_eq!(look.look(br#"{"k":null,"t":null}"#), seen(true, true));
        assert_eq!(look.look(br#"{"k":{},"t":[1]}"#), seen(false, false));
        assert_eq!(look.look(b"[1]"), seen(true, true));
        assert_eq!(look.look(b"{k:1}"), None);
    }

    #[test]
    fn only_what_the_job_names_is_looked_for() {
        let row = br#"{"a":1}"#;
        let nothing = Some(SeenFields { without_key: false, without_time: false });
        assert_eq!(FieldLook::new(&rules(None, None)).look(b"x"), nothing);
        assert!(FieldLook::new(&rules(None, Some("t"))).look(row).is_some_and(|seen| seen.without_time && !seen.without_key));
        assert!(FieldLook::new(&rules(Some("k"), None)).look(row).is_some_and(|seen| seen.without_key && !seen.without_time));
    }
}
