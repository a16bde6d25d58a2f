//! Files that took the place of ones that could not be read: which may be taken for a plan's, and the proof that one
//! begins with the records that were sent of the other.

use migration::job::WindowLimit;
use migration::{Plan, Segment, SourceObject};
use xxhash_rust::xxh3::Xxh3;

use super::object::Difference;
use super::stream::Stream;
use super::{changed, object};
use pipeline::SourceError;
use pipeline::source::{Beginning, Sent};

/// How much is read in one step.
const STEP_BYTES: usize = 256 << 10;

/// Hashes an object's bytes (decompressed) before a place, in steps between which the caller can live.
pub(crate) struct FileBeginning {
    stream: Stream,
    hash: Xxh3,
    bytes: Vec<u8>,
}

impl FileBeginning {
    /// Opens an object, which must be as `object` says.
    pub(crate) fn open(object: &SourceObject, place: u64, windows: WindowLimit) -> Result<FileBeginning, SourceError> {
        let segment = Segment { object: 0, start: 0, end: place, bytes: None };
        let stream = Stream::open(object, &segment, 0, &[], windows)?;
        Ok(FileBeginning { stream, hash: Xxh3::new(), bytes: Vec::with_capacity(STEP_BYTES) })
    }
}

impl Beginning for FileBeginning {
    fn step(&mut self) -> Result<Option<u128>, SourceError> {
        self.bytes.clear();
        let over = self.stream.read(STEP_BYTES, &mut self.bytes)?;
        self.hash.update(&self.bytes);
        if !over {
            return Ok(None);
        }
        self.stream.is_unchanged()?;
        Ok(Some(self.hash.digest128()))
    }
}

/// The files that took the place of the plan's: of which nothing was sent, or which begin with what was sent. `sent`
/// says why an object (an index into [`Plan::objects`]) can't have another file in its place, if so. A file that is
/// gone is none of these.
pub(crate) fn replaced(
    plan: &Plan,
    windows: WindowLimit,
    sent: &dyn Fn(u32) -> Result<Sent, String>,
) -> Result<Vec<(u32, SourceObject)>, SourceError> {
    let mut found = Vec::new();
    for (index, planned) in (0..).zip(&plan.objects) {
        let Ok(meta) = std::fs::metadata(&planned.path) else { continue };
        let Err(difference) = object::check(planned, &meta) else { continue };
        let sent = match sent(index) {
            Ok(sent) => sent,
            // It is the planned one as far as can be told: that it has another time is what `changes` tells.
            Err(_) if matches!(object::difference(planned), Some(Difference::Time(_))) => continue,
            Err(why) => return Err(SourceError(format!("{difference}. It can't be replaced: {why}"))),
        };
        let now = object::facts(&planned.path)?;
        if now.compression != planned.compression {
            return Err(changed(&planned.path, "was replaced by a file that is compressed in another way"));
        }
        if let Some((place, hash)) = sent
            && !begins_with(&now, place, hash, windows)?
        {
            let what = format!("was replaced by a file that does not begin with the {place} bytes of it that were sent");
            return Err(changed(&planned.path, what));
        }
        found.push((index, now));
    }
    Ok(found)
}

fn begins_with(object: &SourceObject, place: u64, expected: u128, windows: WindowLimit) -> Result<bool, SourceError> {
    let mut beginning = FileBeginning::open(object, place, windows)?;
    loop {
        if let Some(hash) = beginning.step()? {
            return Ok(hash == expected);
        }
    }
}
