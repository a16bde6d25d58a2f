//! Delivery reports.
//!
//! Wraps: the events of kind `DR`. Safety rule kept here: a report is read before its event is freed, and settles its
//! record only if that is in flight: one of an older group, or a second one, changes nothing.

use std::time::Duration;

use rdkafka::bindings as rd;

use super::client::Client;
use super::code::Code;
use super::event::{Event, Notice};
use super::in_flight::{from_opaque, letter_from_opaque, progress_serial};
use super::produce::Sender;

/// What a sender has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    /// Records of a partition's group were delivered. Each was counted by a report of its own.
    Delivered {
        /// Their partition.
        partition: u32,
        /// How many.
        records: usize,
    },
    /// A record was not delivered.
    Failed {
        /// Its partition.
        partition: u32,
        /// Its index in the group.
        index: usize,
        /// Why.
        code: Code,
        /// What the answer says of its batch as a whole. The broker's words about the record are not to be had: this
        /// version of the client keeps a pointer to them after it has freed them.
        batch: Code,
    },
    /// A report that belongs to no record in flight: a second one, or one for an older group.
    Stray {
        /// The partition that the report names.
        partition: u32,
        /// The index that it names.
        index: usize,
        /// What it says.
        code: Code,
    },
    /// The report of a copied record, see [`super::Topic::produce_copy`].
    Copied {
        /// Its serial, modulo 2^20.
        serial: u32,
        /// What became of it.
        code: Code,
    },
    /// A dead letter was delivered.
    LetterDelivered,
    /// A dead letter was not delivered.
    LetterFailed {
        /// Why.
        code: Code,
    },
    /// Something else.
    Notice(Notice),
}

/// The next report of an event: what it says, and the value that the message carries.
fn next_report(event: &Event) -> Option<(Code, usize)> {
    // SAFETY: the event is alive; each message belongs to it and is read before the event is freed. Its error is read
    // as an integer. Freeing the event never touches a value: it was handed over with flags 0, or copied.
    unsafe {
        let message = rd::rd_kafka_event_message_next(event.0.as_ptr());
        (!message.is_null()).then(|| (Code((&raw const (*message).err).cast::<i32>().read()), (*message)._private as usize))
    }
}

impl Client {
    /// Serves one event of a client that only copied records were handed to. False: none came.
    pub(crate) fn serve_copied(&self, timeout: Duration, visit: &mut dyn FnMut(Served)) -> bool {
        let Some(event) = self.next_event(timeout) else { return false };
        if event.kind() != rd::RD_KAFKA_EVENT_DR {
            self.notice(&event).into_iter().for_each(|notice| visit(Served::Notice(notice)));
            return true;
        }
        while let Some((code, private)) = next_report(&event) {
            if let Some(serial) = progress_serial(private) {
                visit(Served::Copied { serial, code });
            }
        }
        true
    }
}

impl Sender {
    /// Serves one event, waiting up to `timeout` for it: one report, many reports or a notice. False: none came.
    pub(crate) fn serve(&mut self, timeout: Duration, visit: &mut dyn FnMut(Served)) -> bool {
        let Some(event) = self.client().next_event(timeout) else { return false };
        if event.kind() != rd::RD_KAFKA_EVENT_DR {
            if let Some(notice) = self.client().notice(&event) {
                visit(Served::Notice(notice));
            }
            return true;
        }
        let batch = event.code();
        // Reports come in runs of one partition: a run of good ones is told once.
        let mut run: (u32, usize) = (0, 0);
        loop {
            let Some((code, private)) = next_report(&event) else {
                tell_run(run, visit);
                return true;
            };
            if let Some(serial) = progress_serial(private) {
                visit(Served::Copied { serial, code });
                continue;
            }
            if let Some(number) = letter_from_opaque(private) {
                let known = self.letters.as_mut().is_some_and(|letters| letters.report(number));
                match (known, code) {
                    (true, Code::NONE) => visit(Served::LetterDelivered),
                    (true, _) => visit(Served::LetterFailed { code }),
                    // A second report of one changes nothing.
                    (false, _) => {}
                }
                continue;
            }
            let (partition, generation, index) = from_opaque(private);
            let flight = self.in_flight.get_mut(partition as usize).and_then(Option::as_mut);
            let known = flight.is_some_and(|f| f.report(generation, index));
            if known && code == Code::NONE && run.0 == partition {
                run.1 += 1;
                continue;
            }
            tell_run(run, visit);
            run = (partition, 0);
            match (known, code) {
                (true, Code::NONE) => run.1 = 1,
                (true, _) => visit(Served::Failed { partition, index, code, batch }),
                (false, _) => visit(Served::Stray { partition, index, code }),
            }
        }
    }
}

fn tell_run((partition, records): (u32, usize), visit: &mut dyn FnMut(Served)) {
    if records > 0 {
        visit(Served::Delivered { partition, records });
    }
}
