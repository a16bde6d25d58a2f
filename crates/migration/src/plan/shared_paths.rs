//! Objects with what each path shares with the one before it told once: a plan of a hundred thousand small files is
//! stored, and most of it would be the name of their folder.

use std::path::PathBuf;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Compression, SourceObject};

/// An object without the beginning of its path.
#[derive(Serialize, Deserialize)]
struct PathlessObject {
    /// How many bytes the path has in common with the one before it.
    shared: u32,
    /// What follows them.
    rest: String,
    bytes: Option<u64>,
    modified_ns: i64,
    fingerprint: u128,
    compression: Compression,
    splittable: bool,
    #[serde(with = "super::differences")]
    record_starts: Vec<u64>,
}

pub(super) fn serialize<S: Serializer>(objects: &[SourceObject], to: S) -> Result<S::Ok, S::Error> {
    let mut before = "";
    let stored = objects.iter().map(|object| {
        let path = object.path.to_str().ok_or_else(|| S::Error::custom("path contains invalid UTF-8 characters"))?;
        let shared = shared(before, path);
        before = path;
        Ok(PathlessObject {
            shared: u32::try_from(shared).map_err(S::Error::custom)?,
            rest: path[shared..].to_owned(),
            bytes: object.bytes,
            modified_ns: object.modified_ns,
            fingerprint: object.fingerprint,
            compression: object.compression,
            splittable: object.splittable,
            record_starts: object.record_starts.clone(),
        })
    });
    stored.collect::<Result<Vec<_>, _>>()?.serialize(to)
}

/// Bytes of a path: no system that this runs on takes longer ones.
const LONGEST_PATH: usize = 4096;

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<SourceObject>, D::Error> {
    let mut before = String::new();
    let objects = Vec::<PathlessObject>::deserialize(from)?.into_iter().map(|stored| {
        let beginning = before.get(..stored.shared as usize);
        let path =
            beginning.ok_or_else(|| D::Error::custom("a path that shares more than there is"))?.to_owned() + &stored.rest;
        // A few bytes must not become gigabytes.
        if path.len() > LONGEST_PATH {
            return Err(D::Error::custom("a path that is longer than paths are"));
        }
        before.clone_from(&path);
        Ok(SourceObject {
            path: PathBuf::from(path),
            bytes: stored.bytes,
            modified_ns: stored.modified_ns,
            fingerprint: stored.fingerprint,
            compression: stored.compression,
            splittable: stored.splittable,
            record_starts: stored.record_starts,
        })
    });
    objects.collect()
}

/// How many bytes two texts begin with alike, up to a letter's end.
fn shared(a: &str, b: &str) -> usize {
    let alike = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    (0..=alike).rev().find(|end| b.is_char_boundary(*end)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Plan;

    fn plan(paths: &[&str]) -> Plan {
        let object = |path: &&str| SourceObject {
            path: path.into(),
            bytes: Some(7),
            modified_ns: 1,
            fingerprint: u128::MAX,
            compression: Compression::None,
            splittable: true,
            record_starts: vec![3, 5],
        };
        Plan { objects: paths.iter().map(object).collect(), ..Plan::default() }
    }

    #[test]
    fn paths_are_the_same_again() {
        for paths in [&[][..], &[""], &["/d/a", "/d/ab", "/d/a", "/e", "", "x", "x"], &["/d/ä", "/d/ö", "/d/öö"]] {
            let plan = plan(paths);
            let text = serde_json::to_string(&plan).expect("it can be stored");
            assert_eq!(serde_json::from_str::<Plan>(&text).expect("it can be read"), plan, "{text}");
        }
        let text = serde_json::to_string(&plan(&["/a/long/folder/1", "/a/long/folder/2"])).expect("it can be stored");
        assert_eq!(text.matches("folder").count(), 1, "{text}");
    }

    #[test]
    fn a_few_bytes_do_not_become_a_long_path() {
        let text = |bytes| serde_json::to_string(&plan(&[&"x".repeat(bytes)])).expect("it can be stored");
        assert!(serde_json::from_str::<Plan>(&text(LONGEST_PATH)).is_ok());
        let error = serde_json::from_str::<Plan>(&text(LONGEST_PATH + 1)).expect_err("too long");
        assert!(error.to_string().contains("longer than paths are"), "{error}");
    }

    #[test]
    fn what_shares_more_than_there_is_is_an_error() {
        let text = serde_json::to_string(&plan(&["/d/ä", "/d/x"])).expect("it can be stored");
        for shared in ["4", "6", "4294967295"] {
            let wrong = text.replace("\"shared\":3", &format!("\"shared\":{shared}"));
            assert_ne!(wrong, text);
            assert!(serde_json::from_str::<Plan>(&wrong).is_err(), "{wrong}");
        }
    }
}
