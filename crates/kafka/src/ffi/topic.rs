//! A client's view of one topic.
//!
//! Wraps: `rd_kafka_topic_t`. Safety rule kept here: the topic is freed once, before its client, which it holds.

use std::ffi::CString;
use std::ptr::{self, NonNull};
use std::rc::Rc;

use rdkafka::bindings as rd;

use super::client::Client;
use super::code::{Code, INVALID_ARGUMENT};

/// A topic's name as the client takes it.
pub(super) fn topic_name(topic: &str) -> Result<CString, Code> {
    CString::new(topic).map_err(|_| INVALID_ARGUMENT)
}

/// A client's view of one topic.
pub(crate) struct Topic {
    /// Alive as long as this object.
    pub(super) rkt: NonNull<rd::rd_kafka_topic_t>,
    client: Rc<Client>,
}

impl Topic {
    /// Names a topic to a client; asks no broker.
    pub(crate) fn new(client: &Rc<Client>, name: &str) -> Result<Topic, Code> {
        let name = topic_name(name)?;
        // SAFETY: the client is alive, the name is copied, a null configuration means the client's defaults.
        let rkt = unsafe { rd::rd_kafka_topic_new(client.rk.as_ptr(), name.as_ptr(), ptr::null_mut()) };
        match NonNull::new(rkt) {
            Some(rkt) => Ok(Topic { rkt, client: Rc::clone(client) }),
            None => Err(Code::of_last_call()),
        }
    }

    /// The client.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: ours, freed once, before the client (which this object still holds).
        unsafe { rd::rd_kafka_topic_destroy(self.rkt.as_ptr()) };
    }
}
