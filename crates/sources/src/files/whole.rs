//! Whether compressed files can be unpacked to their end: told before the first record, where that takes little time.

use std::time::{Duration, Instant};

use migration::job::WindowLimit;
use migration::{Segment, SourceObject};

use super::stream::Stream;
use pipeline::SourceError;

/// How long all files are unpacked for at most. What is larger is found out when it is read.
const LONGEST: Duration = Duration::from_secs(1);
/// How much is unpacked at once.
const STEP_BYTES: usize = 256 << 10;

/// What is wrong with files that were not unpacked to their end yet, the small ones first.
pub(super) fn damages<'a>(objects: impl Iterator<Item = &'a SourceObject>, windows: WindowLimit) -> Vec<String> {
    let until = Instant::now() + LONGEST;
    let mut objects: Vec<_> = objects.collect();
    objects.sort_by_key(|object| object.known_bytes());
    let mut found = Vec::new();
    for object in objects {
        match damage(object, windows, until) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => found.push(error.0),
        }
    }
    found
}

/// What is wrong with a file, in the words that it would be told in when it is read. False: the time is over.
fn damage(object: &SourceObject, windows: WindowLimit, until: Instant) -> Result<bool, SourceError> {
    let segment = Segment { object: 0, start: 0, end: Segment::WHOLE, bytes: None };
    let mut stream = Stream::open(object, &segment, 0, &[], windows)?;
    let mut unpacked = Vec::with_capacity(STEP_BYTES);
    while Instant::now() < until {
        unpacked.clear();
        if stream.read(STEP_BYTES, &mut unpacked)? {
            return Ok(true);
        }
    }
    Ok(false)
}
