//! A few places of a file, for a sample of what it holds.

use std::fs::File;

use migration::{Compression, Plan, Position, Segment};

use super::object::unreadable;
use super::split::start_near;
use super::{Format, sample};
use pipeline::SourceError;
use pipeline::source::Probes;

/// How far before its end a file is looked at the last time.
const NEAR_THE_END: u64 = 64 << 10;
/// How much is read at most in search of a record's start.
const SEARCH_BYTES: u64 = 4 << 20;
/// How much is unpacked of a compressed file to judge the rest by.
const UNPACKED_BYTES: u64 = 1 << 20;

/// Readers at a file's start and, of one that can be cut, in its middle and near its end. Each reads to where the next
/// begins, so that no row is read twice, and none beyond what the plan takes of the file.
pub(crate) fn probes(format: &dyn Format, plan: &Plan, index: u32) -> Result<Probes, SourceError> {
    let Some(object) = plan.objects.get(index as usize) else {
        return Ok(Probes { readers: Vec::new(), unpacked: 1.0 });
    };
    let cant_read = |e| unreadable(&object.path, e);
    let unpacking = match object.compression {
        Compression::None => None,
        Compression::Gzip | Compression::Zstd => {
            let file = File::open(&object.path).map_err(cant_read)?;
            sample::unpack(&file, object, UNPACKED_BYTES).map_err(cant_read)?
        }
    };
    let unpacked = unpacking.map_or(1.0, |unpacking| unpacking.ratio);
    let Some(end) = plan.segments.iter().filter(|segment| segment.object == index).map(|segment| segment.end).max() else {
        return Ok(Probes { readers: Vec::new(), unpacked });
    };
    let mut starts = vec![0];
    if object.splittable {
        for wished in [end / 2, end.saturating_sub(NEAR_THE_END)] {
            let last = starts.last().copied().unwrap_or(0);
            let near = if wished > last { start_near(object, wished, SEARCH_BYTES)? } else { None };
            starts.extend(near.filter(|start| (last + 1..end).contains(start)));
        }
    }
    let ends = starts.iter().skip(1).copied().chain([end]);
    let open = |(start, end): (u64, u64)| {
        let segment = Segment { object: 0, start, end, bytes: None };
        format.reader(vec![(object.clone(), segment)], Position { segment: 0, place: start, records: 0 })
    };
    let readers = starts.iter().copied().zip(ends).map(open).collect::<Result<Vec<_>, _>>()?;
    Ok(Probes { readers, unpacked })
}
