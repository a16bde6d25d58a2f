//! A client: its life, its main queue and what it says as a whole.
//!
//! Wraps: `rd_kafka_t` and its main queue. Safety rules kept here: each topic, queue and event of a client goes before
//! the client does (a holder of one of them holds the client, too); the client's threads write to the wake-up's
//! descriptor only while it is open.

use std::cell::{Cell, OnceCell};
use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd as _;
use std::ptr::{self, NonNull};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use migration::report::AnswerTimes;
use rdkafka::bindings as rd;

use super::code::{Code, Failed, codes};
use super::event::{Event, Notice};
use super::held_back;
use super::rejoin::Rejoin;
use super::text::ErrorText;
use super::wakeup::Wakeup;

/// A client. What belongs to it (a topic, a queue) holds it, so that it is destroyed last.
pub(crate) struct Client {
    /// Alive as long as this object.
    pub(super) rk: NonNull<rd::rd_kafka_t>,
    main: NonNull<rd::rd_kafka_queue_t>,
    /// The addresses that it was made with.
    brokers: CString,
    rejoin: Rejoin,
    // Closed after the client is destroyed: fields are dropped after `Client::drop` has run.
    wakeup: OnceCell<Wakeup>,
    held_back: Cell<AnswerTimes>,
}

impl Client {
    /// Owns a new client, whose log lines go to its main queue from now on. `brokers`: the addresses that it has.
    ///
    /// # Safety
    /// The client is alive, and has no other owner.
    pub(super) unsafe fn owning(rk: NonNull<rd::rd_kafka_t>, brokers: CString) -> Client {
        // SAFETY: the client is alive by the caller's word. The reference to its main queue is freed in `drop`, before
        // the client. A null queue routes the log to the main queue.
        let main = unsafe {
            rd::rd_kafka_set_log_queue(rk.as_ptr(), ptr::null_mut());
            rd::rd_kafka_queue_get_main(rk.as_ptr())
        };
        let main = NonNull::new(main).expect("every client has a main queue");
        let (rejoin, wakeup, held_back) = (Rejoin::default(), OnceCell::new(), Cell::default());
        Client { rk, main, brokers, rejoin, wakeup, held_back }
    }

    /// The descriptor that is signalled from now on when there is something to serve.
    pub(crate) fn wakeup(&self) -> io::Result<Wakeup> {
        if let Some(known) = self.wakeup.get() {
            return Ok(known.clone());
        }
        let wakeup = Wakeup::new()?;
        let one = 1u64.to_ne_bytes();
        // SAFETY: the queue is alive. The client copies the payload and writes it, from its threads and holding the
        // queue's lock, to a descriptor that this object keeps open until `drop` has told the client to forget it.
        // Writing to a non-blocking eventfd never blocks.
        unsafe {
            rd::rd_kafka_queue_io_event_enable(self.main.as_ptr(), wakeup.as_raw_fd(), one.as_ptr().cast(), one.len());
        }
        Ok(self.wakeup.get_or_init(|| wakeup).clone())
    }

    /// How many things are not served yet: messages without a served report, and events.
    pub(crate) fn queue_length(&self) -> usize {
        // SAFETY: the client is alive.
        usize::try_from(unsafe { rd::rd_kafka_outq_len(self.rk.as_ptr()) }).unwrap_or(0)
    }

    /// Drops what is queued and gives up what is in flight; reports follow for all of it.
    pub(crate) fn purge(&self) {
        let flags = rd::RD_KAFKA_PURGE_F_QUEUE | rd::RD_KAFKA_PURGE_F_INFLIGHT | rd::RD_KAFKA_PURGE_F_NON_BLOCKING;
        // SAFETY: the client is alive. The only possible error is "not a producer": nothing to purge then.
        unsafe { rd::rd_kafka_purge(self.rk.as_ptr(), flags) };
    }

    /// Why the client can't go on, if it can't.
    pub(crate) fn fatal_error(&self) -> Option<Failed> {
        let mut error = ErrorText::new();
        // SAFETY: the client is alive, the buffer has the size given.
        let code = Code(unsafe { codes::rd_kafka_fatal_error(self.rk.as_ptr(), error.0.as_mut_ptr(), error.0.len()) });
        code.is_error().then(|| (code, error.read()))
    }

    /// Serves one event of the main queue that is not a delivery report, waiting up to `timeout`. `None`: none came.
    pub(crate) fn serve(&self, timeout: Duration) -> Option<Notice> {
        self.notice(&self.next_event(timeout)?)
    }

    /// What an event says that is not a delivery report.
    pub(super) fn notice(&self, event: &Event) -> Option<Notice> {
        event.notice(|| self.fatal_error())
    }

    /// The next event of the main queue, waiting up to `timeout` for it.
    pub(super) fn next_event(&self, timeout: Duration) -> Option<Event> {
        if self.rejoin.is_due(Instant::now) {
            // SAFETY: client and text are alive; the call copies the text.
            unsafe { rd::rd_kafka_brokers_add(self.rk.as_ptr(), self.brokers.as_ptr()) };
        }
        // SAFETY: the main queue is alive as long as this object.
        let event = unsafe { Event::next(self.main, timeout) };
        let mut times = self.held_back.get();
        times.add(&held_back::take());
        self.held_back.set(times);
        let event = event?;
        match event.kind() {
            rd::RD_KAFKA_EVENT_DR if event.code() == Code::NONE => self.rejoin.answered(),
            rd::RD_KAFKA_EVENT_ERROR if event.code() == Code::ALL_BROKERS_DOWN => self.rejoin.all_down(Instant::now()),
            _ => {}
        }
        Some(event)
    }

    /// For how long brokers said so far that they hold back the producer's records.
    pub(crate) fn held_back(&self) -> AnswerTimes {
        self.held_back.get()
    }
}

impl Drop for Client {
    /// When this returns the client's threads have ended, or end by themselves: one that looks up a name can't be
    /// interrupted, which may last for many seconds.
    fn drop(&mut self) {
        // SAFETY: the queue is alive and freed once. The client's threads may go on for a while, and must not write to
        // a descriptor that is about to be closed: the first call waits for the queue's lock, which they hold while
        // they write.
        unsafe {
            rd::rd_kafka_queue_io_event_enable(self.main.as_ptr(), -1, ptr::null(), 0);
            rd::rd_kafka_queue_destroy(self.main.as_ptr());
        }
        Handle(self.rk).destroy_within(DESTROY_PATIENCE);
    }
}

/// How long the end of a client's threads is waited for.
const DESTROY_PATIENCE: Duration = Duration::from_millis(500);

/// A client that nothing else holds any more.
struct Handle(NonNull<rd::rd_kafka_t>);

// SAFETY: a client may be used and destroyed by any thread, and this is its only holder.
unsafe impl Send for Handle {}

impl Handle {
    /// Destroys the client, and waits for it no longer than `patience`; then the rest happens by itself.
    fn destroy_within(self, patience: Duration) {
        const STACK: usize = 256 << 10;
        let rk = self.0;
        let (over, told) = mpsc::channel::<()>();
        let destroy = move || {
            self.destroy();
            drop(over);
        };
        match std::thread::Builder::new().name("kafka end".into()).stack_size(STACK).spawn(destroy) {
            Ok(thread) => {
                if told.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Disconnected) {
                    // It has nothing more to do.
                    let _ = thread.join();
                }
            }
            // No room for another thread, and the closure is gone without having run: it takes as long as it takes.
            Err(_) => Handle(rk).destroy(),
        }
    }

    fn destroy(self) {
        // SAFETY: this is the last holder, so no topic, queue or event of the client is left, and it is freed once
        // (dropping a handle frees nothing). The call returns after all of the client's threads have ended.
        unsafe { rd::rd_kafka_destroy(self.0.as_ptr()) };
    }
}
