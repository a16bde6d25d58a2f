//! A few places of a file, for a sample of what it holds.

use migration::{Compression, Plan, Position, Segment};

use super::object::unreadable;
use super::split::start_near;
use super::{Format, fail, sample};
use pipeline::SourceError;
use pipeline::source::Probes;

/// How far before its end a file is looked at the last time.
const NEAR_THE_END: u64 = 64 << 10;
/// How much is read at most in search of a record's start.
const SEARCH_BYTES: u64 = 4 << 20;

/// Readers at a file's start and, of one that can be cut, in its middle and near its end.
pub(crate) fn probes(format: &dyn Format, plan: &Plan, object: u32) -> Result<Probes, SourceError> {
    let Some(object) = plan.objects.get(object as usize) else {
        return Ok(Probes { readers: Vec::new(), unpacked: 1.0 });
    };
    let bytes = object.known_bytes();
    let (end, unpacked) = match object.compression {
        Compression::None => (bytes, 1.0),
        Compression::Gzip | Compression::Zstd => {
            let ratio = sample::unpacked(object).map_err(|e| unreadable(&object.path, e))?;
            (Segment::WHOLE, ratio)
        }
    };
    let mut starts = vec![0];
    if object.splittable {
        for wished in [bytes / 2, bytes.saturating_sub(NEAR_THE_END)] {
            let near = if wished > 0 { start_near(object, wished, SEARCH_BYTES)? } else { None };
            starts.extend(near.filter(|start| *start < bytes));
        }
        starts.dedup();
    }
    let open = |start: u64| {
        let segment = Segment { object: 0, start, end, bytes: None };
        format.reader(vec![(object.clone(), segment)], Position { segment: 0, place: start, records: 0 })
    };
    let readers = starts.into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
    if readers.is_empty() {
        return Err(fail(&object.path, "has no place to begin at"));
    }
    Ok(Probes { readers, unpacked })
}
