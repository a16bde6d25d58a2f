//! Records sent before the clock begins, one at a time: connections are made, and each worker's round trip is known.

use std::rc::Rc;
use std::time::{Duration, Instant};

use kafka::partitioner;
use migration::{Failure, FailureKind};
use pipeline::fate::{self, Look, Takes};
use pipeline::mapping::Mapping;
use pipeline::source::wait_for_rows;
use pipeline::{Block, BlockPool, Group, Rows, Sink};

use worker::{Attempt, WorkerContext};

/// How many.
const RECORDS: usize = 5;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends the first records of a worker's shard, to as many partitions as their keys or their number allow, so that the
/// connections to these partitions' leaders are made. Returns the shortest time until a report, in microseconds: that
/// of a connection which was there before; 0 when the first block of the shard has no row that is a record.
pub(crate) fn warm_up(context: &WorkerContext, attempt: &Attempt, sink: &mut dyn Sink) -> Result<u64, Failure> {
    // Without waits and CPU: the source itself, not the one around it.
    let own = sources::source_of(&context.job.source, context.job.workers.windows());
    let mut source = own.open(&context.plan, attempt.shard, &attempt.from.position, None)?;
    let mut rows = Rows::default();
    if !wait_for_rows(source.as_mut(), &mut BlockPool::new(0), &mut rows)? {
        return Ok(0);
    }
    let Some(block) = &rows.block else { return Ok(0) };
    let mut mapping = Mapping::new(&context.job.record);
    let (any, partitions) = (attempt.shard.0, sink.partitions());
    let mut record = |index: usize, any: u32| record(context, &mut mapping, (&rows, block), index, any, partitions);
    let usable: Vec<usize> = (0..rows.rows.len()).filter(|index| record(*index, any).is_some()).take(RECORDS).collect();
    let mut least = None;
    for (index, any) in usable.iter().cycle().zip(any..).take(RECORDS) {
        if let Some((partition, group)) = record(*index, any) {
            let took = deliver(sink, partition, group)?;
            least = Some(least.map_or(took, |least: u64| least.min(took)));
        }
    }
    Ok(least.unwrap_or(0))
}

/// A group of this row alone and its partition; `None` if it is no record.
fn record(
    context: &WorkerContext,
    mapping: &mut Mapping,
    (rows, block): (&Rows, &Rc<Block>),
    index: usize,
    any: u32,
    partitions: u32,
) -> Option<(u32, Group)> {
    let Look::Record(text) = rows.look(block, index) else { return None };
    let mapped = fate::record(mapping, &Takes::anything(), text).ok()?;
    let choose = partitioner::choose(context.job.kafka.partitioner);
    let partition = mapped.key.bytes(text).and_then(|key| choose(key, partitions)).unwrap_or(any % partitions);
    let (row, mut group) = (&rows.rows[index], Group::default());
    group.push(block, row.start, row.len, mapped.key, mapped.timestamp);
    Some((partition, group))
}

fn deliver(sink: &mut dyn Sink, partition: u32, group: Group) -> Result<u64, Failure> {
    let began = Instant::now();
    sink.hand_over(partition, group)?;
    let mut done = Vec::new();
    while done.is_empty() {
        if began.elapsed() > PATIENCE {
            let message = format!("no delivery report for a warm-up record within {} s", PATIENCE.as_secs());
            return Err(Failure::new(FailureKind::Unreachable, message));
        }
        sink.poll(Duration::from_millis(50), &mut done)?;
    }
    Ok(began.elapsed().as_micros() as u64)
}
