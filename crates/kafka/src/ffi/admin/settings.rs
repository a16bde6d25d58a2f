//! The settings of a topic, or of a broker.
//!
//! Wraps: `DescribeConfigs`. Safety rules kept here: the request copies the resource, which is freed once; names and
//! values are copied while the answer is alive; where a setting comes from is read as an integer, because a broker may
//! know more of it than the generated enum.

use std::ffi::CString;
use std::time::Duration;

use rdkafka::bindings as rd;

use super::{AdminRequest, named, only_one};
use crate::ffi::client::Client;
use crate::ffi::code::{Code, Failed, codes};
use crate::ffi::event::Event;
use crate::ffi::text::text;
use crate::turns::Turns;

/// Where a setting comes from: it was set for the topic.
const OWN: i32 = rd::rd_kafka_ConfigSource_t::RD_KAFKA_CONFIG_SOURCE_DYNAMIC_TOPIC_CONFIG as i32;

/// One setting of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TopicSetting {
    /// Its name.
    pub(crate) name: String,
    /// Its value, as text.
    pub(crate) value: String,
    /// Whether it was set for this topic, and is not a default of the brokers.
    pub(crate) is_own: bool,
}

/// A question for a topic's settings that is on its way.
pub(crate) struct SettingsQuestion<'a>(AdminRequest<'a>);

/// Asks for the settings of a topic, and does not wait for the answer.
pub(crate) fn ask_settings<'a>(client: &'a Client, topic: &str, timeout: Duration) -> Result<SettingsQuestion<'a>, Failed> {
    ask(client, rd::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC, named(topic)?, timeout)
}

/// The same for the settings of a broker.
pub(crate) fn ask_broker_settings(client: &Client, broker: i32, timeout: Duration) -> Result<SettingsQuestion<'_>, Failed> {
    ask(client, rd::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_BROKER, named(&broker.to_string())?, timeout)
}

fn ask(
    client: &Client,
    kind: rd::rd_kafka_ResourceType_t,
    name: CString,
    timeout: Duration,
) -> Result<SettingsQuestion<'_>, Failed> {
    let operation = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS;
    Ok(SettingsQuestion(AdminRequest::send(client, operation, timeout, |options, queue| {
        // SAFETY: the request copies the resource, which is freed once; client, options and queue are alive.
        unsafe {
            let mut resources = [rd::rd_kafka_ConfigResource_new(kind, name.as_ptr())];
            rd::rd_kafka_DescribeConfigs(client.rk.as_ptr(), resources.as_mut_ptr(), 1, options, queue);
            rd::rd_kafka_ConfigResource_destroy(resources[0]);
        }
    })))
}

impl SettingsQuestion<'_> {
    /// Waits for the answer.
    pub(crate) fn answer(self, turns: &mut Turns<'_>) -> Result<Vec<TopicSetting>, Failed> {
        settings_of(&self.0.answer(turns)?)
    }
}

/// The settings of a topic.
pub(crate) fn topic_settings(client: &Client, topic: &str, timeout: Duration) -> Result<Vec<TopicSetting>, Failed> {
    ask_settings(client, topic, timeout)?.answer(&mut Turns::one(&mut || true))
}

fn settings_of(event: &Event) -> Result<Vec<TopicSetting>, Failed> {
    // SAFETY: both functions are those of this request.
    let resource =
        unsafe { only_one(event, rd::rd_kafka_event_DescribeConfigs_result, rd::rd_kafka_DescribeConfigs_result_resources) };
    let Some(resource) = resource else { return Ok(Vec::new()) };
    // SAFETY: the resource is alive while it is borrowed, and owns `count` entries with their strings, which are
    // copied.
    unsafe {
        let code = Code(codes::rd_kafka_ConfigResource_error(resource));
        if code.is_error() {
            return Err((code, text(rd::rd_kafka_ConfigResource_error_string(resource))));
        }
        let mut count = 0usize;
        let entries = rd::rd_kafka_ConfigResource_configs(resource, &mut count);
        Ok((0..count)
            .map(|i| {
                let entry = *entries.add(i);
                TopicSetting {
                    name: text(rd::rd_kafka_ConfigEntry_name(entry)),
                    value: text(rd::rd_kafka_ConfigEntry_value(entry)),
                    is_own: codes::rd_kafka_ConfigEntry_source(entry) == OWN,
                }
            })
            .collect())
    }
}
