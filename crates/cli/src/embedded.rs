//! The embedded broker: librdkafka's mock cluster in a helper process, so that a first run needs no Kafka.

use std::fs::File;
use std::io::Write;
use std::time::Duration;

use kafka::embedded::{EmbeddedBroker, EmbeddedOptions};
use migration::job::Brokers;
use migration::{Job, UserError};
use process::{HelperOptions, RunningHelper};

use crate::helper;

/// Partitions of an embedded topic.
pub const PARTITIONS: u32 = 16;

/// Starts the embedded broker if the job wants it, and makes the job use it. The broker lives as long as the returned
/// handle.
pub fn start_if_wanted(job: &mut Job) -> Result<Option<RunningHelper>, UserError> {
    if job.kafka.brokers != Brokers::Embedded {
        return Ok(None);
    }
    let options = EmbeddedOptions { partitions: PARTITIONS, topics: vec![job.kafka.topic.clone()], rtt: Duration::ZERO };
    let broker = start(&options)?;
    job.kafka.brokers = Brokers::Bootstrap(vec![address(&broker)]);
    Ok(Some(broker))
}

/// Starts the embedded broker in a helper process.
pub fn start(options: &EmbeddedOptions) -> Result<RunningHelper, UserError> {
    let broker = HelperOptions { timeout: Some(Duration::from_secs(30)), ..HelperOptions::named("shardlift brok") };
    process::start_helper(&broker, |ends| match EmbeddedBroker::start(options) {
        Ok(broker) => {
            let mut events = match ends.events.try_clone() {
                Ok(fd) => File::from(fd),
                Err(_) => return 1,
            };
            if writeln!(events, "{}", broker.bootstrap()).is_err() {
                return 1;
            }
            ends.wait_for_close();
            0
        }
        Err(error) => {
            drop(writeln!(std::io::stderr(), "error: {error}"));
            1
        }
    })
    .map_err(|error| helper::not_started("the embedded broker did not start", error))
}

/// Where it listens.
pub fn address(broker: &RunningHelper) -> String {
    String::from_utf8_lossy(&broker.ready).into_owned()
}
