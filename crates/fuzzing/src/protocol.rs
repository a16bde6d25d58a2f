//! What goes between supervisor and worker.

use std::os::unix::net::UnixStream;

use migration::{Control, WorkerEvent};
use process::{Filled, FrameWriter};
use supervisor::protocol::{ControlReceiver, EventReceiver, EventSender};

/// The data are a kind and a payload, in a frame that is sound. What is taken for an event comes out again as it was
/// when it is sent.
pub(crate) fn protocol(data: &[u8]) {
    let (kind, payload) = crate::first(data);
    let mut frame = FrameWriter::new();
    frame.queue(kind % 5, payload).expect("it is not too long");

    let (here, there) = crate::pair();
    EventSender::greet(&here).expect("it fits");
    frame.flush(&here).expect("it fits");
    if let Some(event) = events(here, &there).pop() {
        let (here, there) = crate::pair();
        EventSender::greet(&here).expect("it fits").send(&event).expect("it fits");
        let again = events(here, &there);
        // Not by `==`: a rate may be no number.
        assert_eq!(format!("{again:?}"), format!("{:?}", [event]));
    }

    let (here, there) = crate::pair();
    there.set_nonblocking(true).expect("a socket can be made so");
    frame = FrameWriter::new();
    frame.queue(kind % 5, payload).expect("it is not too long");
    frame.flush(&here).expect("it fits");
    let mut receiver = ControlReceiver::new(Control::default());
    if receiver.newest(&there).is_ok() {
        drop(here);
        assert!(matches!(receiver.newest(&there), Ok(None)), "the supervisor is gone");
    }
}

/// What comes before an error or the end.
fn events(here: UnixStream, there: &UnixStream) -> Vec<WorkerEvent> {
    drop(here);
    let (mut receiver, mut events) = (EventReceiver::default(), Vec::new());
    while receiver.fill(there).expect("a socket can be read") != Filled::Eof {
        loop {
            match receiver.next_event() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(_) => return events,
            }
        }
    }
    events
}
