//! A client's properties, and the creation of a client from them.
//!
//! Wraps: `rd_kafka_conf_*` and `rd_kafka_new`. Safety rule kept here: a configuration is freed once, by us or by the
//! client that took it over.

use std::ffi::{CString, c_char};
#[cfg(test)]
use std::ffi::{c_int, c_void};
use std::ptr::{self, NonNull};
use std::rc::Rc;

use rdkafka::bindings as rd;

use super::client::Client;
use super::held_back;
use super::text::{ErrorText, text};

/// The version of librdkafka.
pub(crate) fn version() -> String {
    // SAFETY: returns a static string.
    unsafe { text(rd::rd_kafka_version_str()) }
}

/// A client's properties before there is a client.
pub(crate) struct Conf(NonNull<rd::rd_kafka_conf_t>);

/// Why a property was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConfError {
    /// No such property.
    Unknown,
    /// A value that it can't have; the text repeats the value.
    Invalid(String),
}

/// Which kind of client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientKind {
    /// Sends.
    Producer,
    /// Reads.
    Consumer,
}

impl Conf {
    /// All defaults.
    pub(crate) fn new() -> Conf {
        // SAFETY: takes nothing and returns a new object or null (out of memory).
        let conf = unsafe { rd::rd_kafka_conf_new() };
        Conf(NonNull::new(conf).expect("librdkafka aborts by itself when it is out of memory"))
    }

    /// Sets one property.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<(), ConfError> {
        let Ok(c_name) = CString::new(name) else { return Err(ConfError::Unknown) };
        let Ok(c_value) = CString::new(value) else { return Err(ConfError::Invalid("the value contains a NUL byte".into())) };
        let mut error = ErrorText::new();
        // SAFETY: the configuration is ours and alive, both strings are NUL-terminated and copied by the call, the
        // buffer has the size given.
        let result = unsafe {
            rd::rd_kafka_conf_set(self.0.as_ptr(), c_name.as_ptr(), c_value.as_ptr(), error.0.as_mut_ptr(), error.0.len())
        };
        match result {
            rd::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK => Ok(()),
            rd::rd_kafka_conf_res_t::RD_KAFKA_CONF_UNKNOWN => Err(ConfError::Unknown),
            rd::rd_kafka_conf_res_t::RD_KAFKA_CONF_INVALID => Err(ConfError::Invalid(error.read())),
        }
    }

    /// The value of one property as it would take effect.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let name = CString::new(name).ok()?;
        let mut size = 0usize;
        // SAFETY: a null destination asks for the size only.
        let result = unsafe { rd::rd_kafka_conf_get(self.0.as_ptr(), name.as_ptr(), ptr::null_mut(), &mut size) };
        if result != rd::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
            return None;
        }
        let mut value: Vec<c_char> = vec![0; size + 1];
        let mut room = value.len();
        // SAFETY: the destination has `room` bytes, one more than was asked for.
        let result = unsafe { rd::rd_kafka_conf_get(self.0.as_ptr(), name.as_ptr(), value.as_mut_ptr(), &mut room) };
        // SAFETY: the buffer was zeroed, and the call ends what it writes with NUL.
        (result == rd::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK).then(|| unsafe { text(value.as_ptr()) })
    }

    /// The names of all properties that have a value to show.
    pub(crate) fn names(&mut self) -> Vec<String> {
        let mut count = 0usize;
        // SAFETY: returns an array of `count` strings (name, value, name, …) that is ours until freed below.
        let dump = unsafe { rd::rd_kafka_conf_dump(self.0.as_ptr(), &mut count) };
        // SAFETY: index < count, and names (the even ones) are never null.
        let mut names: Vec<String> = (0..count).step_by(2).map(|i| unsafe { text(*dump.add(i)) }).collect();
        // SAFETY: the array and its count as returned.
        unsafe { rd::rd_kafka_conf_dump_free(dump, count) };
        // SAFETY: a new object; freed below.
        let topic = unsafe { rd::rd_kafka_topic_conf_new() };
        let mut count = 0usize;
        // SAFETY: as above, for the properties of a topic, which a client's configuration takes as well.
        let dump = unsafe { rd::rd_kafka_topic_conf_dump(topic, &mut count) };
        // SAFETY: index < count, and names are never null.
        names.extend((0..count).step_by(2).map(|i| unsafe { text(*dump.add(i)) }));
        // SAFETY: both as returned, each freed once.
        unsafe {
            rd::rd_kafka_conf_dump_free(dump, count);
            rd::rd_kafka_topic_conf_destroy(topic);
        }
        names
    }

    /// The names of all documented properties of the library, those without a value and of topics too.
    #[cfg(test)]
    pub(crate) fn all_properties() -> Vec<String> {
        unsafe extern "C" {
            fn open_memstream(text: *mut *mut c_char, size: *mut usize) -> *mut c_void;
            fn fclose(stream: *mut c_void) -> c_int;
            fn free(memory: *mut c_void);
            fn rd_kafka_conf_properties_show(stream: *mut c_void);
        }
        let (mut shown, mut size) = (ptr::null_mut(), 0usize);
        // SAFETY: the stream writes into a buffer of its own, whose address is valid once the stream is closed; the
        // text is copied before the buffer is freed.
        let page = unsafe {
            let stream = open_memstream(&mut shown, &mut size);
            assert!(!stream.is_null(), "a stream in memory needs nothing but memory");
            rd_kafka_conf_properties_show(stream);
            fclose(stream);
            let page = text(shown);
            free(shown.cast());
            page
        };
        // A table: name | C, P or * | range | …
        let names = page.lines().filter_map(|line| line.split_once('|').map(|(name, _)| name.trim().to_owned()));
        names.filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase())).collect()
    }

    /// Creates the client. Its reports, errors and log lines are all served by [`Client::serve`] or [`Sender::serve`]:
    /// nothing of librdkafka ever calls into Rust.
    pub(crate) fn into_client(self, kind: ClientKind) -> Result<Rc<Client>, String> {
        self.into_client_for(kind, rd::RD_KAFKA_EVENT_NONE)
    }

    /// The same; the client also tells its statistics, as often as `statistics.interval.ms` says.
    pub(crate) fn into_client_with_statistics(self, kind: ClientKind) -> Result<Rc<Client>, String> {
        self.into_client_for(kind, rd::RD_KAFKA_EVENT_STATS)
    }

    fn into_client_for(mut self, kind: ClientKind, more_events: i32) -> Result<Rc<Client>, String> {
        self.set("log.queue", "true").map_err(|e| format!("log.queue: {e:?}"))?;
        let events = rd::RD_KAFKA_EVENT_DR | rd::RD_KAFKA_EVENT_ERROR | rd::RD_KAFKA_EVENT_LOG | more_events;
        // SAFETY: the configuration is ours and alive.
        unsafe { rd::rd_kafka_conf_set_events(self.0.as_ptr(), events) };
        if kind == ClientKind::Producer {
            // SAFETY: the configuration is ours and alive.
            unsafe { held_back::listen(self.0.as_ptr()) };
        }
        let c_kind = match kind {
            ClientKind::Producer => rd::rd_kafka_type_t::RD_KAFKA_PRODUCER,
            ClientKind::Consumer => rd::rd_kafka_type_t::RD_KAFKA_CONSUMER,
        };
        let brokers = self.get("bootstrap.servers").and_then(|brokers| CString::new(brokers).ok()).unwrap_or_default();
        let mut error = ErrorText::new();
        // SAFETY: on success the client takes the configuration over (it is forgotten below); on failure it stays ours
        // and is freed by `Drop`.
        let rk = unsafe { rd::rd_kafka_new(c_kind, self.0.as_ptr(), error.0.as_mut_ptr(), error.0.len()) };
        let Some(rk) = NonNull::new(rk) else { return Err(error.read()) };
        std::mem::forget(self);
        // SAFETY: the client is new, so nothing else has it.
        Ok(Rc::new(unsafe { Client::owning(rk, brokers) }))
    }
}

impl Drop for Conf {
    fn drop(&mut self) {
        // SAFETY: ours, and not taken over by a client (then it was forgotten).
        unsafe { rd::rd_kafka_conf_destroy(self.0.as_ptr()) };
    }
}
