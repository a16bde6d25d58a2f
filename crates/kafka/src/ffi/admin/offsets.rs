//! Where partitions begin and end, of many at once.
//!
//! Wraps: `ListOffsets`. Safety rules kept here: the request copies the list of partitions, which is freed once; all
//! that is read of an answer is copied while the answer is alive; errors of partitions are read as integers.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::bindings as rd;

use super::{AdminRequest, named};
use crate::ffi::client::Client;
use crate::ffi::code::{Code, Failed};
use crate::ffi::event::Event;
use crate::turns::Turns;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    First = rd::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_EARLIEST as isize,
    Next = rd::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST as isize,
}

/// A partition's first and next offset, or why it does not tell them.
pub(crate) type EndsAnswer = Result<(i64, i64), Code>;

/// The first and the next offset of some partitions of a topic, uncommitted records counted; of one that does not tell
/// them the code why. Two requests to each leader at the same time, however many partitions it has: asked one by one,
/// a hundred partitions would take a hundred round trips.
pub(crate) fn ask_ends(client: &Client, topic: &str, partitions: &[u32], timeout: Duration) -> Result<Vec<EndsAnswer>, Failed> {
    let [first, next] = [Place::First, Place::Next].map(|place| ask(client, topic, partitions, place, timeout));
    let (first, next) = (answered(first?)?, answered(next?)?);
    let none = Err(Code::of(rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTIAL));
    let of = |answers: &HashMap<u32, Result<i64, Code>>, partition| answers.get(partition).copied().unwrap_or(none);
    Ok(partitions.iter().map(|partition| Ok((of(&first, partition)?, of(&next, partition)?))).collect())
}

fn ask<'a>(
    client: &'a Client,
    topic: &str,
    partitions: &[u32],
    place: Place,
    timeout: Duration,
) -> Result<AdminRequest<'a>, Failed> {
    let name = named(topic)?;
    let operation = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS;
    Ok(AdminRequest::send(client, operation, timeout, |options, queue| {
        // SAFETY: the list is ours and freed once; it copies the name, and the request copies the list. A partition
        // that was just added can be given its place. Client, options and queue are alive.
        unsafe {
            let list = rd::rd_kafka_topic_partition_list_new(i32::try_from(partitions.len()).unwrap_or(0));
            for partition in partitions {
                let added = rd::rd_kafka_topic_partition_list_add(list, name.as_ptr(), *partition as i32);
                (*added).offset = place as i64;
            }
            rd::rd_kafka_ListOffsets(client.rk.as_ptr(), list, options, queue);
            rd::rd_kafka_topic_partition_list_destroy(list);
        }
    }))
}

/// What an answer says of a partition. Where its leader did not answer, the client gives no error and an offset that is
/// none.
fn place_of(code: Code, offset: i64) -> Result<i64, Code> {
    match (code.is_error(), offset) {
        (true, _) => Err(code),
        (false, ..0) => Err(Code::of(rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TIMED_OUT)),
        (false, offset) => Ok(offset),
    }
}

/// The offset of each partition that an answer names.
fn answered(request: AdminRequest<'_>) -> Result<HashMap<u32, Result<i64, Code>>, Failed> {
    let event: Event = request.answer(&mut Turns::one(&mut || true))?;
    let mut found = HashMap::new();
    // SAFETY: the event is alive, and with it all that is read of it. The result is null for an event of another kind,
    // and the list has as many entries as the count says. The error is read as the integer that it is in C.
    unsafe {
        let result = rd::rd_kafka_event_ListOffsets_result(event.0.as_ptr());
        if result.is_null() {
            return Ok(found);
        }
        let mut count = 0usize;
        let infos = rd::rd_kafka_ListOffsets_result_infos(result, &mut count);
        for index in 0..count {
            let partition = rd::rd_kafka_ListOffsetsResultInfo_topic_partition(*infos.add(index));
            let code = Code((&raw const (*partition).err).cast::<i32>().read());
            let Ok(number) = u32::try_from((*partition).partition) else { continue };
            found.insert(number, place_of(code, (*partition).offset));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use rdkafka::types::RDKafkaRespErr as E;

    use super::*;

    #[test]
    fn an_offset_that_is_none_is_no_answer() {
        assert_eq!(place_of(Code::NONE, 0), Ok(0));
        assert_eq!(place_of(Code::NONE, -1001), Err(Code::of(E::RD_KAFKA_RESP_ERR__TIMED_OUT)));
        let denied = Code::of(E::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
        assert_eq!(place_of(denied, 7), Err(denied));
    }
}
