//! Describing a topic: its id, its partitions, and what the principal may do with it.
//!
//! Wraps: `DescribeTopics`. Safety rules kept here: the request copies the collection of names, which is freed once;
//! all that is read of an answer is copied while the answer is alive; operations are read as integers, because a broker
//! may know more of them than the generated enum.

use std::time::Duration;

use migration::SeenTopic;
use rdkafka::bindings as rd;

use super::{AdminRequest, named, names_no_topic, only_one};
use crate::ffi::client::Client;
use crate::ffi::code::{Code, Failed, codes};
use crate::ffi::event::Event;
use crate::ffi::text::text;
use crate::turns::Turns;

/// A question for a topic's id that is on its way.
pub(crate) struct TopicQuestion<'a>(AdminRequest<'a>);

/// Asks for a topic's id and partitions, and does not wait for the answer. A controller must be known, or none comes.
pub(crate) fn ask_topic<'a>(client: &'a Client, topic: &str, timeout: Duration) -> Result<TopicQuestion<'a>, Failed> {
    describe(client, topic, timeout, false).map(TopicQuestion)
}

impl TopicQuestion<'_> {
    /// Waits for the answer: the topic's id as base64 (`None` where brokers have no topic ids) and its partitions.
    pub(crate) fn answer(self, turns: &mut Turns<'_>) -> Result<SeenTopic, Failed> {
        let event = self.0.answer(turns)?;
        let topic = described(&event)?.ok_or_else(names_no_topic)?;
        // SAFETY: the description is alive while it is borrowed, and with it the id, whose text is copied.
        unsafe {
            let mut partitions = 0usize;
            rd::rd_kafka_TopicDescription_partitions(topic, &mut partitions);
            let id = rd::rd_kafka_TopicDescription_topic_id(topic);
            let none = id.is_null()
                || (rd::rd_kafka_Uuid_most_significant_bits(id), rd::rd_kafka_Uuid_least_significant_bits(id)) == (0, 0);
            let id = (!none).then(|| text(rd::rd_kafka_Uuid_base64str(id))).filter(|id| !id.is_empty());
            Ok(SeenTopic { id, partitions: u32::try_from(partitions).unwrap_or(u32::MAX) })
        }
    }
}

/// What the principal may do with a topic, as the numbers of `rd_kafka_AclOperation_t`; `None`: the brokers don't tell.
pub(crate) fn topic_operations(client: &Client, topic: &str, timeout: Duration) -> Result<Option<Vec<i32>>, Failed> {
    let event = describe(client, topic, timeout, true)?.answer(&mut Turns::one(&mut || true))?;
    let Some(topic) = described(&event)? else { return Ok(None) };
    // SAFETY: the description is alive while it is borrowed; there are `count` operations, unless there is no list.
    unsafe {
        let mut count = 0usize;
        let operations = rd::rd_kafka_TopicDescription_authorized_operations(topic, &mut count).cast::<i32>();
        Ok((!operations.is_null()).then(|| (0..count).map(|i| *operations.add(i)).collect()))
    }
}

/// Sends the request, with or without the question for the principal's operations.
fn describe<'a>(client: &'a Client, topic: &str, timeout: Duration, operations: bool) -> Result<AdminRequest<'a>, Failed> {
    let name = named(topic)?;
    let operation = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    Ok(AdminRequest::send(client, operation, timeout, |options, queue| {
        let mut names = [name.as_ptr()];
        // SAFETY: the options are not yet in use; setting one returns null or an error that is freed once (null is
        // allowed). The collection copies the names and is freed once; client, options and queue are alive.
        unsafe {
            if operations {
                rd::rd_kafka_error_destroy(rd::rd_kafka_AdminOptions_set_include_authorized_operations(options, 1));
            }
            let topics = rd::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1);
            rd::rd_kafka_DescribeTopics(client.rk.as_ptr(), topics, options, queue);
            rd::rd_kafka_TopicCollection_destroy(topics);
        }
    }))
}

/// The description of the only topic of an answer; `None`: the answer names no topic.
fn described(event: &Event) -> Result<Option<&rd::rd_kafka_TopicDescription_t>, Failed> {
    // SAFETY: both functions are those of this request.
    let topic = unsafe { only_one(event, rd::rd_kafka_event_DescribeTopics_result, rd::rd_kafka_DescribeTopics_result_topics) };
    let Some(topic) = topic else { return Ok(None) };
    // SAFETY: the description is alive while it is borrowed, and owns its error, whose text is copied.
    unsafe {
        let error = rd::rd_kafka_TopicDescription_error(topic);
        if !error.is_null() && codes::rd_kafka_error_code(error) != 0 {
            return Err((Code(codes::rd_kafka_error_code(error)), text(rd::rd_kafka_error_string(error))));
        }
    }
    Ok(Some(topic))
}
