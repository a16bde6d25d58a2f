//! Creating and deleting a topic.
//!
//! Wraps: `CreateTopics` and `DeleteTopics`. Safety rule kept here: each request copies what it is given, so its
//! objects are freed once, right after it was sent.

use std::ffi::{CString, c_int};
use std::time::Duration;

use rdkafka::bindings as rd;

use super::{answer, named, names_no_topic, only_one};
use crate::ffi::client::Client;
use crate::ffi::code::{Code, Failed, INVALID_ARGUMENT, codes};
use crate::ffi::text::{ErrorText, text};

/// Creates a topic; without `replication` the brokers' default is taken. They answer when the controller knows it.
pub(crate) fn create_topic(
    client: &Client,
    topic: &str,
    partitions: u32,
    replication: Option<u32>,
    settings: &[(&str, String)],
    timeout: Duration,
) -> Result<(), Failed> {
    let name = named(topic)?;
    let number = |number: u32| c_int::try_from(number).map_err(|_| (INVALID_ARGUMENT, format!("{number} is too many")));
    let (partitions, replication) = (number(partitions)?, replication.map_or(Ok(-1), number)?);
    let text = |text: &str| CString::new(text).map_err(|_| (INVALID_ARGUMENT, "NUL byte in a setting of the topic".to_owned()));
    let settings: Vec<(CString, CString)> =
        settings.iter().map(|(key, value)| Ok((text(key)?, text(value)?))).collect::<Result<_, _>>()?;
    let mut error = ErrorText::new();
    // SAFETY: the name is copied, the buffer has the size given; the new object is ours, or null with the reason in the
    // buffer.
    let new = unsafe { rd::rd_kafka_NewTopic_new(name.as_ptr(), partitions, replication, error.0.as_mut_ptr(), error.0.len()) };
    if new.is_null() {
        return Err((INVALID_ARGUMENT, error.read()));
    }
    for (key, value) in &settings {
        // SAFETY: the new topic is alive and copies both; names and values are not empty, the only thing it refuses.
        unsafe { rd::rd_kafka_NewTopic_set_config(new, key.as_ptr(), value.as_ptr()) };
    }
    let event = answer(client, rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATETOPICS, timeout, |options, queue| {
        let mut all = [new];
        // SAFETY: the request copies the topic, which is freed once; client, options and queue are alive.
        unsafe {
            rd::rd_kafka_CreateTopics(client.rk.as_ptr(), all.as_mut_ptr(), 1, options, queue);
            rd::rd_kafka_NewTopic_destroy(new);
        }
    })?;
    // SAFETY: both functions are those of this request.
    verdict(unsafe { only_one(&event, rd::rd_kafka_event_CreateTopics_result, rd::rd_kafka_CreateTopics_result_topics) })
}

/// Deletes a topic. The brokers answer when the controller has forgotten it.
pub(crate) fn delete_topic(client: &Client, topic: &str, timeout: Duration) -> Result<(), Failed> {
    let name = named(topic)?;
    let event = answer(client, rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DELETETOPICS, timeout, |options, queue| {
        // SAFETY: the name and then the request copy what they are given; the object is freed once; client, options and
        // queue are alive.
        unsafe {
            let mut all = [rd::rd_kafka_DeleteTopic_new(name.as_ptr())];
            rd::rd_kafka_DeleteTopics(client.rk.as_ptr(), all.as_mut_ptr(), 1, options, queue);
            rd::rd_kafka_DeleteTopic_destroy(all[0]);
        }
    })?;
    // SAFETY: both functions are those of this request.
    verdict(unsafe { only_one(&event, rd::rd_kafka_event_DeleteTopics_result, rd::rd_kafka_DeleteTopics_result_topics) })
}

/// The verdict on the only topic of an answer.
fn verdict(topic: Option<&rd::rd_kafka_topic_result_t>) -> Result<(), Failed> {
    let topic = topic.ok_or_else(names_no_topic)?;
    // SAFETY: the result is alive while it is borrowed; the text is copied, the code read as an integer.
    let (code, words) =
        unsafe { (Code(codes::rd_kafka_topic_result_error(topic)), text(rd::rd_kafka_topic_result_error_string(topic))) };
    if code.is_error() { Err((code, words)) } else { Ok(()) }
}
