//! The only place that calls librdkafka: thin owners of its handles with a safe surface.
//!
//! Responsible for: who frees what and in which order, and that bytes that were handed over without copying stay where
//! they are until their delivery report is back. Not responsible for any policy: what an error means, what is retried,
//! what is set aside is decided elsewhere. All of this crate's unsafe code is in the files of this folder, each of
//! which says what it wraps and which rule it keeps.

mod admin;
mod client;
mod code;
mod conf;
mod consume;
mod event;
mod held_back;
mod in_flight;
mod letters;
mod metadata;
mod produce;
mod rejoin;
mod reports;
mod system;
mod text;
mod topic;
mod transaction;
mod wakeup;

pub(crate) use admin::{
    TopicSetting, ask_broker_settings, ask_ends, ask_settings, ask_topic, create_topic, delete_topic, topic_operations,
    topic_settings,
};
pub(crate) use client::Client;
pub(crate) use code::Code;
pub(crate) use conf::{ClientKind, Conf, ConfError, version};
pub(crate) use consume::{FetchQueue, Fetched};
pub(crate) use event::Notice;
pub(crate) use in_flight::MOST_RECORDS;
pub(crate) use metadata::TopicMetadata;
pub(crate) use produce::Sender;
pub(crate) use reports::Served;
pub(crate) use system::{keep_freed_memory, monotonic_micros};
pub(crate) use topic::Topic;
pub(crate) use transaction::StepError;
pub use wakeup::Wakeup;
