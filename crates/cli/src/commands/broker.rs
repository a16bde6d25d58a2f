//! `shardlift broker`: the embedded broker alone, until a signal.

use std::io::Write;
use std::os::fd::AsFd;

use kafka::embedded::EmbeddedOptions;
use migration::{Exit, UserError};
use process::Interest;

use crate::args::{BrokerArgs, OutputFormat};
use crate::embedded;
use crate::interrupt::Interrupt;
use crate::ui::Ui;

/// Serves until SIGINT, SIGTERM or SIGHUP.
pub fn broker(args: &BrokerArgs, ui: &Ui) -> Result<Exit, UserError> {
    let internal = |error: std::io::Error| UserError::new(Exit::Internal, error);
    let signals = Interrupt::new()?;
    let options = EmbeddedOptions { partitions: args.partitions, topics: args.topics.clone(), rtt: args.rtt };
    let broker = embedded::start(&options)?;
    let address = embedded::address(&broker);
    match ui.output {
        OutputFormat::Text => drop(writeln!(std::io::stdout(), "{address}")),
        OutputFormat::Json => ui.result(String::new, || {
            let mut object = serde_json::Map::new();
            object.insert("address".into(), address.clone().into());
            object
        }),
    }
    ui.say(format!(
        "embedded broker on {address}: {} with {} partitions, of each the newest 5 MiB or 100,000 batches are kept; Ctrl-C ends it",
        args.topics.join(", "),
        args.partitions
    ));
    let ready =
        process::poll(&[(0, signals.as_fd(), Interest::Read), (1, broker.events(), Interest::Read)], None).map_err(internal)?;
    if ready.iter().any(|ready| ready.token == 1) {
        return Err(UserError::new(Exit::Internal, "the embedded broker died"));
    }
    broker.stop(std::time::Duration::from_secs(2)).map_err(|error| UserError::new(Exit::Internal, error))?;
    Ok(Exit::Done)
}
