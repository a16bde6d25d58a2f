//! The only file that calls librdkafka: thin owners of its handles with a safe surface.
//!
//! Responsible for: who frees what, in which order, and that bytes handed over without copying stay where they are until
//! their delivery report is back ([`Sender`] owns the groups for that reason). Not responsible for any policy: what an error
//! means, what is retried, what is set aside is decided elsewhere.
//!
//! Error codes travel as plain integers ([`Code`]): a broker may answer with a code that the generated Rust enum does not
//! know, and reading such a value as that enum would be undefined behaviour.

use std::cell::OnceCell;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use migration::SeenTopic;
use pipeline::Group;
use pipeline::verify::encode_header;
use rdkafka::bindings as rd;

use crate::turns::Turns;

/// Functions that return or take a code of the broker's, declared with the integer that the code is in C.
mod codes {
    use super::{c_char, c_int, c_void, rd};

    unsafe extern "C" {
        pub fn rd_kafka_err2name(code: c_int) -> *const c_char;
        pub fn rd_kafka_err2str(code: c_int) -> *const c_char;
        pub fn rd_kafka_last_error() -> c_int;
        pub fn rd_kafka_event_error(event: *mut rd::rd_kafka_event_t) -> c_int;
        pub fn rd_kafka_error_code(error: *const rd::rd_kafka_error_t) -> c_int;
        pub fn rd_kafka_fatal_error(rk: *mut rd::rd_kafka_t, text: *mut c_char, size: usize) -> c_int;
        pub fn rd_kafka_topic_result_error(result: *const rd::rd_kafka_topic_result_t) -> c_int;
        pub fn rd_kafka_ConfigResource_error(resource: *const rd::rd_kafka_ConfigResource_t) -> c_int;
        pub fn rd_kafka_query_watermark_offsets(
            rk: *mut rd::rd_kafka_t,
            topic: *const c_char,
            partition: i32,
            low: *mut i64,
            high: *mut i64,
            timeout_ms: c_int,
        ) -> c_int;
        pub fn rd_kafka_metadata(
            rk: *mut rd::rd_kafka_t,
            all_topics: c_int,
            only: *mut rd::rd_kafka_topic_t,
            metadata: *mut *const rd::rd_kafka_metadata,
            timeout_ms: c_int,
        ) -> c_int;
        pub fn rd_kafka_message_headers(
            message: *const rd::rd_kafka_message_t,
            headers: *mut *mut rd::rd_kafka_headers_t,
        ) -> c_int;
        pub fn rd_kafka_header_get_all(
            headers: *const rd::rd_kafka_headers_t,
            index: usize,
            name: *mut *const c_char,
            value: *mut *const c_void,
            size: *mut usize,
        ) -> c_int;
    }
}

/// An error code of librdkafka (negative) or of a broker (positive); 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Code(pub i32);

impl Code {
    /// No error.
    pub(crate) const NONE: Code = Code(0);

    /// Code of a value of the generated enum.
    pub(crate) const fn of(known: rd::rd_kafka_resp_err_t) -> Code {
        Code(known as i32)
    }

    /// The generated enum's value, if it knows the code.
    pub(crate) fn known(self) -> Option<rd::rd_kafka_resp_err_t> {
        rd::rd_kafka_resp_err_t::try_from(self.0).ok()
    }

    /// Whether it is an error.
    pub(crate) fn is_error(self) -> bool {
        self != Code::NONE
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // SAFETY: both functions take any integer and return a string that is static or lives in thread-local storage until
        // the next call of the same function; it is copied at once.
        let (name, text) = unsafe { (text(codes::rd_kafka_err2name(self.0)), text(codes::rd_kafka_err2str(self.0))) };
        write!(f, "{text} ({name})")
    }
}

/// Copies a C string; null is the empty string.
///
/// # Safety
/// `from` is null or points to a NUL-terminated string that nobody changes during the call.
unsafe fn text(from: *const c_char) -> String {
    if from.is_null() {
        return String::new();
    }
    // SAFETY: not null, and NUL-terminated by the caller's word.
    unsafe { CStr::from_ptr(from) }.to_string_lossy().into_owned()
}

/// Milliseconds for librdkafka: rounded up, so that a short wait is not none.
fn millis(timeout: Duration) -> c_int {
    c_int::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX)
}

/// A buffer for an error text, as librdkafka fills it.
struct ErrorText([c_char; 512]);

impl ErrorText {
    fn new() -> Self {
        ErrorText([0; 512])
    }

    fn read(&self) -> String {
        // SAFETY: the buffer was zeroed and librdkafka writes at most its size including the final NUL.
        unsafe { text(self.0.as_ptr()) }
    }
}

/// The version of librdkafka.
pub(crate) fn version() -> String {
    // SAFETY: returns a static string.
    unsafe { text(rd::rd_kafka_version_str()) }
}

/// Has the C library keep freed memory for the next allocation instead of giving it back to the system.
///
/// The client allocates and frees about 1 MB for each batch. By default each of them is mapped, zeroed page by page and unmapped:
/// some per cent of a worker's CPU time. How much a worker may hold is bounded elsewhere (`in_flight`, `RLIMIT_DATA`).
pub(crate) fn keep_freed_memory() {
    #[cfg(target_env = "gnu")]
    {
        unsafe extern "C" {
            fn mallopt(parameter: c_int, value: c_int) -> c_int;
        }
        const M_TRIM_THRESHOLD: c_int = -1;
        const M_MMAP_THRESHOLD: c_int = -3;
        // SAFETY: mallopt takes any parameters, refuses what it can't use, and takes the allocator's own lock.
        unsafe {
            mallopt(M_MMAP_THRESHOLD, 4 << 20);
            mallopt(M_TRIM_THRESHOLD, 64 << 20);
        }
    }
}

// ------------------------------------------------------------------------------------------------------------------ config

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
pub(crate) enum Kind {
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
        // SAFETY: the configuration is ours and alive, both strings are NUL-terminated and copied by the call, the buffer has
        // the size given.
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
        // SAFETY: the stream writes into a buffer of its own, whose address is valid once the stream is closed; the text is
        // copied before the buffer is freed.
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

    /// Creates the client. Its reports, errors and log lines are all served by [`Client::serve`] or [`Sender::serve`]: nothing
    /// of librdkafka ever calls into Rust.
    pub(crate) fn into_client(mut self, kind: Kind) -> Result<Rc<Client>, String> {
        self.set("log.queue", "true").map_err(|e| format!("log.queue: {e:?}"))?;
        let events = rd::RD_KAFKA_EVENT_DR | rd::RD_KAFKA_EVENT_ERROR | rd::RD_KAFKA_EVENT_LOG;
        // SAFETY: the configuration is ours and alive.
        unsafe { rd::rd_kafka_conf_set_events(self.0.as_ptr(), events) };
        let c_kind = match kind {
            Kind::Producer => rd::rd_kafka_type_t::RD_KAFKA_PRODUCER,
            Kind::Consumer => rd::rd_kafka_type_t::RD_KAFKA_CONSUMER,
        };
        let mut error = ErrorText::new();
        // SAFETY: on success the client takes the configuration over (it is forgotten below); on failure it stays ours and is
        // freed by `Drop`.
        let rk = unsafe { rd::rd_kafka_new(c_kind, self.0.as_ptr(), error.0.as_mut_ptr(), error.0.len()) };
        let Some(rk) = NonNull::new(rk) else { return Err(error.read()) };
        std::mem::forget(self);
        // SAFETY: the client is alive. The reference to its main queue is freed in `Client::drop`, before the client. A null
        // queue routes the log to the main queue.
        let main = unsafe {
            rd::rd_kafka_set_log_queue(rk.as_ptr(), ptr::null_mut());
            rd::rd_kafka_queue_get_main(rk.as_ptr())
        };
        let main = NonNull::new(main).expect("every client has a main queue");
        Ok(Rc::new(Client { rk, main, wakeup: OnceCell::new() }))
    }
}

impl Drop for Conf {
    fn drop(&mut self) {
        // SAFETY: ours, and not taken over by a client (then it was forgotten).
        unsafe { rd::rd_kafka_conf_destroy(self.0.as_ptr()) };
    }
}

// ------------------------------------------------------------------------------------------------------------------ client

/// A client. Whoever holds something of it (a topic, a queue) holds the client too, so that it is destroyed last.
pub(crate) struct Client {
    rk: NonNull<rd::rd_kafka_t>,
    main: NonNull<rd::rd_kafka_queue_t>,
    // Closed after the client is destroyed: fields are dropped after `Client::drop` has run.
    wakeup: OnceCell<Wakeup>,
}

/// A descriptor that becomes readable when a client has something to serve: delivery reports, errors or log lines.
///
/// The client signals only when its queue was empty, and only once until somebody looks at the queue. So: wait until this is
/// readable, [`Wakeup::drain`] it, *then* serve the client (`poll`) until nothing is left. In the other order a signal is lost.
#[derive(Clone, Debug)]
pub struct Wakeup(Rc<File>);

impl Wakeup {
    /// An eventfd that is readable from the start, so that nothing that came before it is overlooked.
    fn new() -> io::Result<Wakeup> {
        unsafe extern "C" {
            fn eventfd(initial: c_uint, flags: c_int) -> c_int;
        }
        const EFD_CLOEXEC: c_int = 0o2_000_000;
        const EFD_NONBLOCK: c_int = 0o4_000;
        // SAFETY: takes plain numbers.
        let fd = unsafe { eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is open, and nobody else knows it.
        Ok(Wakeup(Rc::new(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))))
    }

    /// Takes the signal back; false if there was none.
    pub fn drain(&self) -> bool {
        // Never blocks; the only error is that there is nothing to read.
        (&*self.0).read(&mut [0; 8]).is_ok()
    }
}

impl AsFd for Wakeup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Wakeup {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// What a client says besides delivery reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// A log line.
    Log {
        /// As in syslog: 0 worst, 7 debug.
        level: i32,
        /// The facility.
        facility: String,
        /// The line.
        text: String,
    },
    /// An error of the client as a whole.
    Error {
        /// Which; for a fatal error the cause, not `_FATAL`.
        code: Code,
        /// The client can't go on.
        fatal: bool,
        /// In the client's words.
        text: String,
    },
}

/// A topic as the cluster describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TopicMetadata {
    /// The topic's own error.
    pub(crate) code: i32,
    /// Error and leader (-1: none) by partition.
    pub(crate) partitions: Vec<(i32, i32)>,
    /// Replicas of the partition that has most.
    pub(crate) replication: u32,
    /// The brokers' ids.
    pub(crate) brokers: Vec<i32>,
    /// The names or addresses by which the brokers tell clients to reach them.
    pub(crate) hosts: Vec<String>,
}

impl Client {
    /// The descriptor that is signalled from now on when there is something to serve.
    pub(crate) fn wakeup(&self) -> io::Result<Wakeup> {
        if let Some(known) = self.wakeup.get() {
            return Ok(known.clone());
        }
        let wakeup = Wakeup::new()?;
        let one = 1u64.to_ne_bytes();
        // SAFETY: the queue is alive. The client copies the payload and writes it, from its threads and holding the queue's
        // lock, to a descriptor that this object keeps open until `drop` has told the client to forget it. Writing to a
        // non-blocking eventfd never blocks.
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
    pub(crate) fn fatal_error(&self) -> Option<(Code, String)> {
        let mut error = ErrorText::new();
        // SAFETY: the client is alive, the buffer has the size given.
        let code = Code(unsafe { codes::rd_kafka_fatal_error(self.rk.as_ptr(), error.0.as_mut_ptr(), error.0.len()) });
        code.is_error().then(|| (code, error.read()))
    }

    /// The cluster's id, if one came within the time.
    pub(crate) fn cluster_id(&self, timeout: Duration) -> Option<String> {
        // SAFETY: the client is alive; the returned string is ours and freed once by the function made for it.
        unsafe {
            let id = rd::rd_kafka_clusterid(self.rk.as_ptr(), millis(timeout));
            let copy = (!id.is_null()).then(|| text(id));
            if !id.is_null() {
                rd::rd_kafka_mem_free(self.rk.as_ptr(), id.cast());
            }
            copy
        }
    }

    /// The broker that is the cluster's controller, without which no request of the admin API is answered.
    pub(crate) fn controller(&self, timeout: Duration) -> i32 {
        // SAFETY: the client is alive.
        unsafe { rd::rd_kafka_controllerid(self.rk.as_ptr(), millis(timeout)) }
    }

    /// Asks the cluster for one topic, or (with `None`) only whether it answers.
    pub(crate) fn metadata(&self, topic: Option<&Topic>, timeout: Duration) -> Result<TopicMetadata, Code> {
        let only = topic.map_or(ptr::null_mut(), |t| t.rkt.as_ptr());
        let mut answer: *const rd::rd_kafka_metadata = ptr::null();
        // SAFETY: client and topic are alive; the answer is ours when the call succeeds.
        let code = Code(unsafe { codes::rd_kafka_metadata(self.rk.as_ptr(), 0, only, &mut answer, millis(timeout)) });
        if code.is_error() || answer.is_null() {
            return Err(code);
        }
        let mut found = TopicMetadata::default();
        // SAFETY: the answer holds `broker_cnt` brokers and `topic_cnt` topics with `partition_cnt` partitions each; it is only
        // read, and its error fields only as integers.
        unsafe {
            found.brokers.extend((0..(*answer).broker_cnt as usize).map(|i| (*(*answer).brokers.add(i)).id));
            found.hosts.extend((0..(*answer).broker_cnt as usize).map(|i| text((*(*answer).brokers.add(i)).host)));
            if (*answer).topic_cnt > 0 {
                let first = (*answer).topics;
                found.code = (&raw const (*first).err).cast::<i32>().read();
                for i in 0..usize::try_from((*first).partition_cnt).unwrap_or(0) {
                    let partition = (*first).partitions.add(i);
                    let id = usize::try_from((*partition).id).unwrap_or(i);
                    if found.partitions.len() <= id {
                        found.partitions.resize(id + 1, (0, -1));
                    }
                    found.replication = found.replication.max(u32::try_from((*partition).replica_cnt).unwrap_or(0));
                    found.partitions[id] = ((&raw const (*partition).err).cast::<i32>().read(), (*partition).leader);
                }
            }
            rd::rd_kafka_metadata_destroy(answer);
        }
        Ok(found)
    }

    /// A partition's first and next offset; with `read_committed` the next is the last stable one.
    pub(crate) fn watermarks(&self, topic: &str, partition: u32, timeout: Duration) -> Result<(i64, i64), Code> {
        let topic = CString::new(topic).map_err(|_| Code::of(rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__INVALID_ARG))?;
        let (mut low, mut high) = (0, 0);
        // SAFETY: client and name are alive, both places are written by the call.
        let code = unsafe {
            codes::rd_kafka_query_watermark_offsets(
                self.rk.as_ptr(),
                topic.as_ptr(),
                partition as i32,
                &mut low,
                &mut high,
                millis(timeout),
            )
        };
        if code == 0 { Ok((low, high)) } else { Err(Code(code)) }
    }

    /// Serves one event of the main queue that is not a delivery report, waiting up to `timeout`. `None`: none came.
    pub(crate) fn serve(&self, timeout: Duration) -> Option<Notice> {
        // SAFETY: the queue is the client's main queue and alive; the event is ours and freed by `Event`.
        let event = Event(NonNull::new(unsafe { rd::rd_kafka_queue_poll(self.main.as_ptr(), millis(timeout)) })?);
        event.notice(self)
    }
}

impl Drop for Client {
    /// When this returns the client's threads have ended, or end by themselves: one that looks up a name can't be interrupted, which
    /// may last for many seconds.
    fn drop(&mut self) {
        // SAFETY: the queue is alive and freed once. The client's threads may go on for a while, and must not write to a descriptor
        // that is about to be closed: the first call waits for the queue's lock, which they hold while they write.
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
        // SAFETY: this is the last holder, so no topic, queue or event of the client is left, and it is freed once (dropping a
        // handle frees nothing). The call returns after all of the client's threads have ended.
        unsafe { rd::rd_kafka_destroy(self.0.as_ptr()) };
    }
}

/// One event, freed when dropped.
struct Event(NonNull<rd::rd_kafka_event_t>);

impl Event {
    fn kind(&self) -> i32 {
        // SAFETY: the event is alive.
        unsafe { rd::rd_kafka_event_type(self.0.as_ptr()) }
    }

    fn code(&self) -> Code {
        // SAFETY: the event is alive.
        Code(unsafe { codes::rd_kafka_event_error(self.0.as_ptr()) })
    }

    fn error_text(&self) -> String {
        // SAFETY: the event is alive and owns the string, which is copied.
        unsafe { text(rd::rd_kafka_event_error_string(self.0.as_ptr())) }
    }

    /// A log line or an error; `None` for every other kind.
    fn notice(&self, client: &Client) -> Option<Notice> {
        match self.kind() {
            rd::RD_KAFKA_EVENT_LOG => {
                let (mut facility, mut line, mut level) = (ptr::null(), ptr::null(), 0);
                // SAFETY: the event is alive and owns both strings, which are copied; all three places are written when the
                // call returns 0.
                unsafe {
                    (rd::rd_kafka_event_log(self.0.as_ptr(), &mut facility, &mut line, &mut level) == 0).then(|| Notice::Log {
                        level,
                        facility: text(facility),
                        text: text(line),
                    })
                }
            }
            rd::RD_KAFKA_EVENT_ERROR => Some(match client.fatal_error() {
                Some((code, text)) => Notice::Error { code, fatal: true, text },
                None => Notice::Error { code: self.code(), fatal: false, text: self.error_text() },
            }),
            _ => None,
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: ours, freed once.
        unsafe { rd::rd_kafka_event_destroy(self.0.as_ptr()) };
    }
}

/// A client's view of one topic.
pub(crate) struct Topic {
    rkt: NonNull<rd::rd_kafka_topic_t>,
    client: Rc<Client>,
}

impl Topic {
    /// Names a topic to a client; asks nobody.
    pub(crate) fn new(client: &Rc<Client>, name: &str) -> Result<Topic, Code> {
        let name = CString::new(name).map_err(|_| Code::of(rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__INVALID_ARG))?;
        // SAFETY: the client is alive, the name is copied, a null configuration means the client's defaults.
        let rkt = unsafe { rd::rd_kafka_topic_new(client.rk.as_ptr(), name.as_ptr(), ptr::null_mut()) };
        match NonNull::new(rkt) {
            Some(rkt) => Ok(Topic { rkt, client: Rc::clone(client) }),
            // SAFETY: reads a thread-local integer.
            None => Err(Code(unsafe { codes::rd_kafka_last_error() })),
        }
    }

    /// The client.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Starts fetching a partition from `offset` into `queue`.
    pub(crate) fn start(&self, partition: u32, offset: i64, queue: &FetchQueue) -> Result<(), Code> {
        // SAFETY: topic and queue are alive; the queue holds a reference of its own inside the client.
        let failed =
            unsafe { rd::rd_kafka_consume_start_queue(self.rkt.as_ptr(), partition as i32, offset, queue.queue.as_ptr()) };
        // SAFETY: reads a thread-local integer.
        if failed == 0 { Ok(()) } else { Err(Code(unsafe { codes::rd_kafka_last_error() })) }
    }

    /// Stops fetching a partition.
    pub(crate) fn stop(&self, partition: u32) {
        // SAFETY: the topic is alive. It fails only for a partition that was not started: nothing to stop then.
        unsafe { rd::rd_kafka_consume_stop(self.rkt.as_ptr(), partition as i32) };
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: ours, freed once, before the client (which this object still holds).
        unsafe { rd::rd_kafka_topic_destroy(self.rkt.as_ptr()) };
    }
}

// ----------------------------------------------------------------------------------------------------------------- sending

/// Bits of a message's opaque value: partition, generation of the partition's group, index in the group.
const INDEX_BITS: u32 = 20;
const GENERATION_BITS: u32 = 20;
const PARTITION_BITS: u32 = 24;
const _: () = assert!(usize::BITS == 64 && INDEX_BITS + GENERATION_BITS + PARTITION_BITS == 64);

/// The most records a group can have.
pub(crate) const MOST_RECORDS: usize = 1 << INDEX_BITS;

fn opaque(partition: u32, generation: u32, index: usize) -> usize {
    ((partition as usize) << (INDEX_BITS + GENERATION_BITS)) | ((generation as usize) << INDEX_BITS) | index
}

fn from_opaque(opaque: usize) -> (u32, u32, usize) {
    let generation = (opaque >> INDEX_BITS) & ((1 << GENERATION_BITS) - 1);
    ((opaque >> (INDEX_BITS + GENERATION_BITS)) as u32, generation as u32, opaque & (MOST_RECORDS - 1))
}

/// A group whose bytes the client may read at any time.
struct InFlight {
    group: Group,
    generation: u32,
    /// Handed over up to here.
    next: usize,
    /// Accepted by the client and not reported yet.
    waiting: usize,
    /// One bit a record: it needs no report any more.
    settled: Vec<u64>,
}

impl InFlight {
    /// Settles a record; false if it was settled before.
    fn settle(&mut self, index: usize) -> bool {
        let (word, bit) = (index / 64, 1u64 << (index % 64));
        let fresh = self.settled[word] & bit == 0;
        self.settled[word] |= bit;
        fresh
    }

    /// Notes the report of a record; false if it is not one that was waited for.
    fn report(&mut self, generation: u32, index: usize) -> bool {
        let expected = self.generation == generation && index < self.next && self.settle(index);
        self.waiting -= usize::from(expected);
        expected
    }
}

/// What a sender has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    /// So many records of a partition's group were delivered. Each was counted by a report of its own.
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
        /// What the answer says of its batch as a whole. The broker's words about the record are not to be had: this version of
        /// the client keeps a pointer to them after it has freed them.
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
    /// Something else.
    Notice(Notice),
}

/// Hands groups to a producer without copying their values, and owns them until the last report.
pub(crate) struct Sender {
    topic: Topic,
    in_flight: Vec<Option<InFlight>>,
    generations: Vec<u32>,
    headers: Vec<(CString, Vec<u8>)>,
    scratch: Vec<rd::rd_kafka_message_t>,
}

impl Sender {
    /// A sender for a topic with `partitions` partitions. `headers` go with every record; a name with a NUL byte is refused.
    pub(crate) fn new(topic: Topic, partitions: u32, headers: &[(String, String)]) -> Result<Sender, String> {
        if partitions >= 1 << PARTITION_BITS {
            return Err(format!("{partitions} partitions are more than a Kafka cluster has"));
        }
        let headers = headers
            .iter()
            .map(|(name, value)| {
                let c_name = CString::new(name.as_str()).map_err(|_| format!("header {name:?} has a NUL byte in its name"))?;
                Ok((c_name, value.clone().into_bytes()))
            })
            .collect::<Result<_, String>>()?;
        Ok(Sender {
            topic,
            in_flight: (0..partitions).map(|_| None).collect(),
            generations: vec![0; partitions as usize],
            headers,
            scratch: Vec::new(),
        })
    }

    /// The client.
    pub(crate) fn client(&self) -> &Client {
        self.topic.client()
    }

    /// The topic.
    pub(crate) fn topic(&self) -> &Topic {
        &self.topic
    }

    /// How many partitions.
    pub(crate) fn partitions(&self) -> u32 {
        self.in_flight.len() as u32
    }

    /// Accepts ownership of a group; nothing is sent yet. Gives it back if the partition is unknown, busy, or the group too
    /// long.
    pub(crate) fn begin(&mut self, partition: u32, group: Group) -> Result<(), Group> {
        match self.in_flight.get_mut(partition as usize) {
            Some(free @ None) if group.len() <= MOST_RECORDS => {
                let generation = &mut self.generations[partition as usize];
                *generation = (*generation + 1) & ((1 << GENERATION_BITS) - 1);
                let settled = vec![0; group.len().div_ceil(64)];
                *free = Some(InFlight { group, generation: *generation, next: 0, waiting: 0, settled });
                Ok(())
            }
            _ => Err(group),
        }
    }

    /// Hands over what is left of a partition's group, in order. Calls `refused` for each record that the client did not take.
    /// True: all were handed over or refused. False: the client's queue is full at some record, and the rest waits for the next
    /// call.
    pub(crate) fn enqueue(&mut self, partition: u32, refused: &mut dyn FnMut(usize, Code)) -> bool {
        let Some(Some(flight)) = self.in_flight.get_mut(partition as usize) else { return true };
        if self.headers.is_empty() && !flight.group.has_timestamps() {
            Self::enqueue_batch(&self.topic, flight, partition, &mut self.scratch, refused)
        } else {
            Self::enqueue_singly(&self.topic, flight, partition, &self.headers, refused)
        }
    }

    fn enqueue_batch(
        topic: &Topic,
        flight: &mut InFlight,
        partition: u32,
        scratch: &mut Vec<rd::rd_kafka_message_t>,
        refused: &mut dyn FnMut(usize, Code),
    ) -> bool {
        let first = flight.next;
        scratch.clear();
        scratch.extend(flight.group.messages_from(first).zip(first..).map(|(message, index)| rd::rd_kafka_message_t {
            err: rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
            rkt: ptr::null_mut(),
            partition: 0,
            payload: message.value.as_ptr().cast_mut().cast(),
            len: message.value.len(),
            key: message.key.map_or(ptr::null_mut(), |key| key.as_ptr().cast_mut().cast()),
            key_len: message.key.map_or(0, <[u8]>::len),
            offset: 0,
            _private: opaque(partition, flight.generation, index) as *mut c_void,
        }));
        let count = c_int::try_from(scratch.len()).expect("a group has at most 2^20 records");
        // SAFETY: the topic is alive and `scratch` holds `count` messages. Flags 0: the client copies keys, neither copies nor
        // frees values, and only reads them. The values' bytes stay: they stand in blocks that `flight.group` shares ownership
        // of, or in its copies; a shared block can't be changed (no interior mutability) or freed, and nobody changes the group
        // in flight, whose copies stay where they are when it moves; and this sender gives the group up only when the client
        // has reported every record it took (`take`), or never (`drop`). After the first record that finds the
        // queue full the call takes none of the rest, so the records counted below are all that it took.
        let taken = unsafe { rd::rd_kafka_produce_batch(topic.rkt.as_ptr(), partition as i32, 0, scratch.as_mut_ptr(), count) };
        if taken == count {
            flight.next = flight.group.len();
            flight.waiting += scratch.len();
            return true;
        }
        for (i, message) in scratch.iter().enumerate() {
            // SAFETY: reads the field as the integer that it is in C; the array is alive.
            let code = Code(unsafe { (&raw const message.err).cast::<i32>().read() });
            if code == QUEUE_FULL {
                return false;
            }
            Self::handed(flight, first + i, code, refused);
        }
        true
    }

    fn enqueue_singly(
        topic: &Topic,
        flight: &mut InFlight,
        partition: u32,
        headers: &[(CString, Vec<u8>)],
        refused: &mut dyn FnMut(usize, Code),
    ) -> bool {
        use rd::rd_kafka_vtype_t as V;
        type Value = rd::rd_kafka_vu_s__bindgen_ty_1;
        type Bytes = rd::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1;
        type Header = rd::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_2;
        let argument = |vtype, u| rd::rd_kafka_vu_t { vtype, u };
        let mut arguments = vec![
            argument(V::RD_KAFKA_VTYPE_RKT, Value { rkt: topic.rkt.as_ptr() }),
            argument(V::RD_KAFKA_VTYPE_PARTITION, Value { i32_: partition as i32 }),
            argument(V::RD_KAFKA_VTYPE_MSGFLAGS, Value { i: 0 }),
        ];
        arguments.extend(headers.iter().map(|(name, value)| {
            let header = Header { name: name.as_ptr(), val: value.as_ptr().cast(), size: value.len() as isize };
            argument(V::RD_KAFKA_VTYPE_HEADER, Value { header })
        }));
        let fixed = arguments.len();
        for index in flight.next..flight.group.len() {
            let message = flight.group.message(index);
            if message.timestamp == Some(0) {
                Self::handed(flight, index, Code::of(rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP), refused);
                continue;
            }
            let bytes = |b: &[u8]| Value { mem: Bytes { ptr: b.as_ptr().cast_mut().cast(), size: b.len() } };
            arguments.truncate(fixed);
            arguments.push(argument(V::RD_KAFKA_VTYPE_VALUE, bytes(message.value)));
            if let Some(key) = message.key {
                arguments.push(argument(V::RD_KAFKA_VTYPE_KEY, bytes(key)));
            }
            if let Some(timestamp) = message.timestamp {
                arguments.push(argument(V::RD_KAFKA_VTYPE_TIMESTAMP, Value { i64_: timestamp }));
            }
            let ptr = opaque(partition, flight.generation, index) as *mut c_void;
            arguments.push(argument(V::RD_KAFKA_VTYPE_OPAQUE, Value { ptr }));
            // SAFETY: each argument's union field is the one that its type names; topic, header names and values live through
            // the call, which copies keys and headers. Flags 0: the value is neither copied nor freed, and stays as argued in
            // `enqueue_batch`.
            let code = unsafe {
                let error = rd::rd_kafka_produceva(topic.client.rk.as_ptr(), arguments.as_ptr(), arguments.len());
                let code = if error.is_null() { Code::NONE } else { Code(codes::rd_kafka_error_code(error)) };
                // Null is allowed.
                rd::rd_kafka_error_destroy(error);
                code
            };
            if code == QUEUE_FULL {
                return false;
            }
            Self::handed(flight, index, code, refused);
        }
        true
    }

    /// Notes that the client took (or refused) the record at `index`.
    fn handed(flight: &mut InFlight, index: usize, code: Code, refused: &mut dyn FnMut(usize, Code)) {
        flight.next = index + 1;
        if code.is_error() {
            flight.settle(index);
            refused(index, code);
        } else {
            flight.waiting += 1;
        }
    }

    /// Gives a group back if everything of it was handed over and every record that the client took has its report.
    pub(crate) fn take(&mut self, partition: u32) -> Option<Group> {
        self.in_flight.get_mut(partition as usize)?.take_if(|f| f.waiting == 0 && f.next == f.group.len()).map(|f| f.group)
    }

    /// How many records the client took and has not reported.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting_in(0..self.partitions())
    }

    /// The same for some partitions.
    pub(crate) fn waiting_in(&self, partitions: Range<u32>) -> usize {
        self.in_flight[partitions.start as usize..partitions.end as usize].iter().flatten().map(|f| f.waiting).sum()
    }

    /// Serves one event, waiting up to `timeout` for it: one report, many reports or a notice. False: none came.
    pub(crate) fn serve(&mut self, timeout: Duration, visit: &mut dyn FnMut(Served)) -> bool {
        // SAFETY: the queue is the client's main queue and alive; the event is ours and freed by `Event`.
        let event = unsafe { rd::rd_kafka_queue_poll(self.client().main.as_ptr(), millis(timeout)) };
        let Some(event) = NonNull::new(event).map(Event) else { return false };
        if event.kind() != rd::RD_KAFKA_EVENT_DR {
            if let Some(notice) = event.notice(self.client()) {
                visit(Served::Notice(notice));
            }
            return true;
        }
        let batch = event.code();
        // Reports come in runs of one partition: a run of good ones is told once.
        let mut run: (u32, usize) = (0, 0);
        loop {
            // SAFETY: the event is alive; each message belongs to it and is read before the event is freed. Its error is read
            // as an integer. Freeing the event never touches a value: it was handed over with flags 0.
            let next = unsafe {
                let message = rd::rd_kafka_event_message_next(event.0.as_ptr());
                (!message.is_null())
                    .then(|| (Code((&raw const (*message).err).cast::<i32>().read()), (*message)._private as usize))
            };
            let Some((code, private)) = next else {
                tell_run(run, visit);
                return true;
            };
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

/// The client's queue has no room.
const QUEUE_FULL: Code = Code::of(rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__QUEUE_FULL);

impl Drop for Sender {
    fn drop(&mut self) {
        // The client may read values until its threads have ended, which may be later than its drop, and another holder could have
        // it. So groups with reports missing are never freed; the orderly way (`Producer::drop`) purges first, and then nothing is
        // missing.
        for slot in &mut self.in_flight {
            if slot.as_ref().is_some_and(|f| f.waiting > 0) {
                std::mem::forget(slot.take());
            }
        }
    }
}

// ----------------------------------------------------------------------------------------------------------------- reading

/// A queue that several partitions are fetched into.
pub(crate) struct FetchQueue {
    queue: NonNull<rd::rd_kafka_queue_t>,
    scratch: Vec<*mut rd::rd_kafka_message_t>,
    /// Of the message that is visited, if they are wanted.
    headers: Option<Vec<u8>>,
    // Freed after the queue.
    _client: Rc<Client>,
}

/// One message, or what happened instead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fetched<'a> {
    /// Its partition.
    pub(crate) partition: u32,
    /// Its offset.
    pub(crate) offset: i64,
    /// [`Code::NONE`]: a message. Else `value` is the error's text.
    pub(crate) code: Code,
    /// `None` = null.
    pub(crate) key: Option<&'a [u8]>,
    /// Null is empty.
    pub(crate) value: &'a [u8],
    /// See `TopicRecord`; empty if they are not wanted.
    pub(crate) headers: &'a [u8],
    /// See `TopicRecord`.
    pub(crate) time: Option<i64>,
}

impl FetchQueue {
    /// A queue that gives up to `at_once` messages in one call, with their headers if they are wanted.
    pub(crate) fn new(client: &Rc<Client>, at_once: usize, headers: bool) -> FetchQueue {
        // SAFETY: the client is alive; the queue is ours and freed in `drop`, before the client.
        let queue = unsafe { rd::rd_kafka_queue_new(client.rk.as_ptr()) };
        FetchQueue {
            queue: NonNull::new(queue).expect("librdkafka aborts by itself when it is out of memory"),
            scratch: vec![ptr::null_mut(); at_once],
            headers: headers.then(Vec::new),
            _client: Rc::clone(client),
        }
    }

    /// Visits what has come, waiting up to `timeout` for the first message; returns how many.
    pub(crate) fn fetch(&mut self, timeout: Duration, visit: &mut dyn FnMut(Fetched<'_>)) -> usize {
        // SAFETY: the queue is alive and `scratch` has the room given.
        let count = unsafe {
            rd::rd_kafka_consume_batch_queue(
                self.queue.as_ptr(),
                millis(timeout),
                self.scratch.as_mut_ptr(),
                self.scratch.len(),
            )
        };
        let count = usize::try_from(count).unwrap_or(0);
        for &message in &self.scratch[..count] {
            // SAFETY: the call filled `count` messages that are ours until destroyed, each once, after the last use of its
            // bytes. A null key or value has length 0 and is never made a slice. The error is read as an integer.
            unsafe {
                let bytes = |from: *mut c_void, len: usize| {
                    (!from.is_null()).then(|| std::slice::from_raw_parts(from.cast_const().cast::<u8>(), len))
                };
                if let Some(headers) = &mut self.headers {
                    encode_headers(message, headers);
                }
                visit(Fetched {
                    partition: (*message).partition as u32,
                    offset: (*message).offset,
                    code: Code((&raw const (*message).err).cast::<i32>().read()),
                    key: bytes((*message).key, (*message).key_len),
                    value: bytes((*message).payload, (*message).len).unwrap_or_default(),
                    headers: self.headers.as_deref().unwrap_or_default(),
                    time: producers_time(message),
                });
                rd::rd_kafka_message_destroy(message);
            }
        }
        count
    }
}

/// A message has no headers.
const NO_SUCH: Code = Code::of(rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__NOENT);

/// Replaces `into` by the headers of a message.
///
/// # Safety
///
/// The message came from a fetch and is not destroyed.
unsafe fn encode_headers(message: *const rd::rd_kafka_message_t, into: &mut Vec<u8>) {
    into.clear();
    let mut headers = ptr::null_mut();
    // SAFETY: the message is alive by this function's contract. The headers stay its own and live as long as it does.
    let code = Code(unsafe { codes::rd_kafka_message_headers(message, &mut headers) });
    if code == NO_SUCH {
        return;
    }
    if code.is_error() {
        // What can't be parsed is no header that any job sets: those have values.
        encode_header(into, b"", None);
        return;
    }
    let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
    for index in 0.. {
        // SAFETY: the headers are alive with the message; the three places are written only if there is a header of this index.
        let code = Code(unsafe { codes::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut size) });
        if code.is_error() {
            break;
        }
        // SAFETY: the name ends with a NUL byte, a value that is not null has `size` bytes, and both live as long as the message.
        unsafe {
            let value = (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), size));
            encode_header(into, CStr::from_ptr(name).to_bytes(), value);
        }
    }
}

/// The time that its producer gave a message; `None`: the brokers wrote their own over it.
///
/// # Safety
///
/// The message came from a fetch and is not destroyed.
unsafe fn producers_time(message: *const rd::rd_kafka_message_t) -> Option<i64> {
    use rd::rd_kafka_timestamp_type_t as T;
    let mut kind = T::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    // SAFETY: the message is alive by this function's contract, and the kind has one of the three values that the client has.
    let time = unsafe { rd::rd_kafka_message_timestamp(message, &mut kind) };
    (kind != T::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME).then_some(time)
}

impl Drop for FetchQueue {
    fn drop(&mut self) {
        // SAFETY: ours, freed once, before the client.
        unsafe { rd::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

// ------------------------------------------------------------------------------------------------------------------- admin

/// The longest time that the admin API takes for a request.
const LONGEST_REQUEST: Duration = Duration::from_secs(3600);

/// Between the end of a request's time and the client's word that it is over.
const REQUEST_IS_OVER: Duration = Duration::from_secs(1);

/// What the admin API takes for a time: more than the longest is refused, and would leave the default of a minute.
fn request_millis(timeout: Duration) -> c_int {
    millis(timeout.min(LONGEST_REQUEST))
}

/// A request of the admin API that is on its way, and the queue of its own that its answer comes to.
struct Request<'a> {
    queue: NonNull<rd::rd_kafka_queue_t>,
    deadline: Option<Instant>,
    // Keeps the client alive as long as the queue.
    _client: &'a Client,
}

impl<'a> Request<'a> {
    /// Sends it.
    fn send(
        client: &'a Client,
        operation: rd::rd_kafka_admin_op_t,
        timeout: Duration,
        ask: impl FnOnce(*const rd::rd_kafka_AdminOptions_t, *mut rd::rd_kafka_queue_t),
    ) -> Request<'a> {
        let mut error = ErrorText::new();
        // SAFETY: the client is alive. The options are ours and freed once, after `ask` has returned; the queue is freed in `drop`.
        let queue = unsafe {
            let options = rd::rd_kafka_AdminOptions_new(client.rk.as_ptr(), operation);
            let queue = rd::rd_kafka_queue_new(client.rk.as_ptr());
            rd::rd_kafka_AdminOptions_set_request_timeout(
                options,
                request_millis(timeout),
                error.0.as_mut_ptr(),
                error.0.len(),
            );
            ask(options, queue);
            rd::rd_kafka_AdminOptions_destroy(options);
            queue
        };
        let queue = NonNull::new(queue).expect("librdkafka aborts by itself when it is out of memory");
        // `None`: later than clocks go.
        let deadline = Instant::now().checked_add(timeout.saturating_add(REQUEST_IS_OVER));
        Request { queue, deadline, _client: client }
    }

    /// Waits for the answer.
    fn answer(self, turns: &mut Turns<'_>) -> Result<Event, (Code, String)> {
        let timed_out = Code::of(rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TIMED_OUT);
        loop {
            let left = self.deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
            // SAFETY: the queue is alive; the event is ours.
            let event = unsafe { rd::rd_kafka_queue_poll(self.queue.as_ptr(), millis(turns.bound(left))) };
            if let Some(event) = NonNull::new(event).map(Event) {
                return if event.code().is_error() { Err((event.code(), event.error_text())) } else { Ok(event) };
            }
            if left.is_zero() || !turns.go_on() {
                return Err((timed_out, "no answer".to_owned()));
            }
        }
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        // SAFETY: ours, freed once, before the client; the client keeps a reference of its own while the request is open.
        unsafe { rd::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

/// Sends one request of the admin API and waits for its answer.
fn answer(
    client: &Client,
    operation: rd::rd_kafka_admin_op_t,
    timeout: Duration,
    ask: impl FnOnce(*const rd::rd_kafka_AdminOptions_t, *mut rd::rd_kafka_queue_t),
) -> Result<Event, (Code, String)> {
    Request::send(client, operation, timeout, ask).answer(&mut Turns::one(&mut || true))
}

/// The verdict on the only topic of an answer.
///
/// # Safety
/// `results` is null or points to `count` results that belong to an event which is alive.
unsafe fn topic_result(results: *mut *const rd::rd_kafka_topic_result_t, count: usize) -> Result<(), (Code, String)> {
    if results.is_null() || count == 0 {
        return Err((Code::of(rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__BAD_MSG), "the answer names no topic".to_owned()));
    }
    // SAFETY: there is a first result, alive by the caller's word; the text is copied, the code read as an integer.
    let (code, words) =
        unsafe { (Code(codes::rd_kafka_topic_result_error(*results)), text(rd::rd_kafka_topic_result_error_string(*results))) };
    if code.is_error() { Err((code, words)) } else { Ok(()) }
}

/// Creates a topic; without `replication` the brokers' default is taken. They answer when the controller knows it.
pub(crate) fn create_topic(
    client: &Client,
    topic: &str,
    partitions: u32,
    replication: Option<u32>,
    settings: &[(&str, String)],
    timeout: Duration,
) -> Result<(), (Code, String)> {
    let invalid = Code::of(rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__INVALID_ARG);
    let name = CString::new(topic).map_err(|_| (invalid, "NUL byte in the topic's name".to_owned()))?;
    let number = |number: u32| c_int::try_from(number).map_err(|_| (invalid, format!("{number} is too many")));
    let (partitions, replication) = (number(partitions)?, replication.map_or(Ok(-1), number)?);
    let text = |text: &str| CString::new(text).map_err(|_| (invalid, "NUL byte in a setting of the topic".to_owned()));
    let settings: Vec<(CString, CString)> =
        settings.iter().map(|(key, value)| Ok((text(key)?, text(value)?))).collect::<Result<_, _>>()?;
    let mut error = ErrorText::new();
    // SAFETY: the name is copied, the buffer has the size given; the new object is ours, or null with the reason in the buffer.
    let new = unsafe { rd::rd_kafka_NewTopic_new(name.as_ptr(), partitions, replication, error.0.as_mut_ptr(), error.0.len()) };
    if new.is_null() {
        return Err((invalid, error.read()));
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
    let mut count = 0usize;
    // SAFETY: the event answers the request above and is alive; a null result has no topics.
    unsafe {
        let result = rd::rd_kafka_event_CreateTopics_result(event.0.as_ptr());
        let topics =
            if result.is_null() { ptr::null_mut() } else { rd::rd_kafka_CreateTopics_result_topics(result, &mut count) };
        topic_result(topics, count)
    }
}

/// Deletes a topic. The brokers answer when the controller has forgotten it.
pub(crate) fn delete_topic(client: &Client, topic: &str, timeout: Duration) -> Result<(), (Code, String)> {
    let invalid = Code::of(rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__INVALID_ARG);
    let name = CString::new(topic).map_err(|_| (invalid, "NUL byte in the topic's name".to_owned()))?;
    let event = answer(client, rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DELETETOPICS, timeout, |options, queue| {
        // SAFETY: the name and then the request copy what they are given; the object is freed once; client, options and
        // queue are alive.
        unsafe {
            let mut all = [rd::rd_kafka_DeleteTopic_new(name.as_ptr())];
            rd::rd_kafka_DeleteTopics(client.rk.as_ptr(), all.as_mut_ptr(), 1, options, queue);
            rd::rd_kafka_DeleteTopic_destroy(all[0]);
        }
    })?;
    let mut count = 0usize;
    // SAFETY: the event answers the request above and is alive; a null result has no topics.
    unsafe {
        let result = rd::rd_kafka_event_DeleteTopics_result(event.0.as_ptr());
        let topics =
            if result.is_null() { ptr::null_mut() } else { rd::rd_kafka_DeleteTopics_result_topics(result, &mut count) };
        topic_result(topics, count)
    }
}

/// A question for a topic's id that is on its way.
pub(crate) struct TopicQuestion<'a>(Request<'a>);

/// Asks for a topic's id and partitions, and does not wait for the answer. A controller must be known, or none comes.
pub(crate) fn ask_topic<'a>(client: &'a Client, topic: &str, timeout: Duration) -> Result<TopicQuestion<'a>, (Code, String)> {
    let invalid = Code::of(rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__INVALID_ARG);
    let name = CString::new(topic).map_err(|_| (invalid, "NUL byte in the topic's name".to_owned()))?;
    let operation = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    Ok(TopicQuestion(Request::send(client, operation, timeout, |options, queue| {
        let mut names = [name.as_ptr()];
        // SAFETY: the collection copies the names and is freed once; client, options and queue are alive.
        unsafe {
            let topics = rd::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1);
            rd::rd_kafka_DescribeTopics(client.rk.as_ptr(), topics, options, queue);
            rd::rd_kafka_TopicCollection_destroy(topics);
        }
    })))
}

impl TopicQuestion<'_> {
    /// Waits for the answer: the topic's id as base64 (`None` where brokers have no topic ids) and its partitions.
    pub(crate) fn answer(self, turns: &mut Turns<'_>) -> Result<SeenTopic, (Code, String)> {
        let event = self.0.answer(turns)?;
        // SAFETY: the event answers the request above; everything read below belongs to it and is copied while it is alive.
        unsafe {
            let result = rd::rd_kafka_event_DescribeTopics_result(event.0.as_ptr());
            let mut count = 0usize;
            let topics =
                if result.is_null() { ptr::null_mut() } else { rd::rd_kafka_DescribeTopics_result_topics(result, &mut count) };
            if topics.is_null() || count == 0 {
                let bad = Code::of(rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__BAD_MSG);
                return Err((bad, "the answer names no topic".to_owned()));
            }
            let error = rd::rd_kafka_TopicDescription_error(*topics);
            if !error.is_null() && codes::rd_kafka_error_code(error) != 0 {
                return Err((Code(codes::rd_kafka_error_code(error)), text(rd::rd_kafka_error_string(error))));
            }
            let mut partitions = 0usize;
            rd::rd_kafka_TopicDescription_partitions(*topics, &mut partitions);
            let id = rd::rd_kafka_TopicDescription_topic_id(*topics);
            let none = id.is_null()
                || (rd::rd_kafka_Uuid_most_significant_bits(id), rd::rd_kafka_Uuid_least_significant_bits(id)) == (0, 0);
            let id = (!none).then(|| text(rd::rd_kafka_Uuid_base64str(id))).filter(|id| !id.is_empty());
            Ok(SeenTopic { id, partitions: u32::try_from(partitions).unwrap_or(u32::MAX) })
        }
    }
}

/// What the principal may do with a topic, as the numbers of `rd_kafka_AclOperation_t`; `None`: the brokers don't tell.
pub(crate) fn topic_operations(client: &Client, topic: &str, timeout: Duration) -> Result<Option<Vec<i32>>, (Code, String)> {
    let invalid = Code::of(rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__INVALID_ARG);
    let name = CString::new(topic).map_err(|_| (invalid, "NUL byte in the topic's name".to_owned()))?;
    let event = answer(client, rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, timeout, |options, queue| {
        let mut names = [name.as_ptr()];
        // SAFETY: the options are not yet in use; setting one returns null or an error that is freed once. The collection copies the
        // names and is freed once; client, options and queue are alive.
        unsafe {
            let error = rd::rd_kafka_AdminOptions_set_include_authorized_operations(options.cast_mut(), 1);
            if !error.is_null() {
                rd::rd_kafka_error_destroy(error);
            }
            let topics = rd::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1);
            rd::rd_kafka_DescribeTopics(client.rk.as_ptr(), topics, options, queue);
            rd::rd_kafka_TopicCollection_destroy(topics);
        }
    })?;
    // SAFETY: the event answers the request above; everything read below belongs to it and is copied while it is alive. The
    // operations are read as integers: a broker may know more of them than the generated enum.
    unsafe {
        let result = rd::rd_kafka_event_DescribeTopics_result(event.0.as_ptr());
        let mut count = 0usize;
        let topics =
            if result.is_null() { ptr::null_mut() } else { rd::rd_kafka_DescribeTopics_result_topics(result, &mut count) };
        if topics.is_null() || count == 0 {
            return Ok(None);
        }
        let error = rd::rd_kafka_TopicDescription_error(*topics);
        if !error.is_null() && codes::rd_kafka_error_code(error) != 0 {
            return Err((Code(codes::rd_kafka_error_code(error)), text(rd::rd_kafka_error_string(error))));
        }
        let mut count = 0usize;
        let operations = rd::rd_kafka_TopicDescription_authorized_operations(*topics, &mut count).cast::<i32>();
        Ok((!operations.is_null()).then(|| (0..count).map(|i| *operations.add(i)).collect()))
    }
}

/// A question for a topic's settings that is on its way.
pub(crate) struct SettingsQuestion<'a>(Request<'a>);

/// Asks for the settings of a topic, and does not wait for the answer.
pub(crate) fn ask_settings<'a>(
    client: &'a Client,
    topic: &str,
    timeout: Duration,
) -> Result<SettingsQuestion<'a>, (Code, String)> {
    let invalid = Code::of(rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__INVALID_ARG);
    let name = CString::new(topic).map_err(|_| (invalid, "NUL byte in the topic's name".to_owned()))?;
    let operation = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS;
    Ok(SettingsQuestion(Request::send(client, operation, timeout, |options, queue| {
        // SAFETY: the request copies the resource, which is freed once; client, options and queue are alive.
        unsafe {
            let kind = rd::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
            let mut resources = [rd::rd_kafka_ConfigResource_new(kind, name.as_ptr())];
            rd::rd_kafka_DescribeConfigs(client.rk.as_ptr(), resources.as_mut_ptr(), 1, options, queue);
            rd::rd_kafka_ConfigResource_destroy(resources[0]);
        }
    })))
}

impl SettingsQuestion<'_> {
    /// Waits for the answer: names and values.
    pub(crate) fn answer(self, turns: &mut Turns<'_>) -> Result<Vec<(String, String)>, (Code, String)> {
        let event = self.0.answer(turns)?;
        settings_of(&event)
    }
}

/// The settings of a topic, as names and values.
pub(crate) fn topic_settings(client: &Client, topic: &str, timeout: Duration) -> Result<Vec<(String, String)>, (Code, String)> {
    ask_settings(client, topic, timeout)?.answer(&mut Turns::one(&mut || true))
}

fn settings_of(event: &Event) -> Result<Vec<(String, String)>, (Code, String)> {
    // SAFETY: the event is alive, and of another kind of answer the result is null; everything read below belongs to the event and
    // is copied.
    unsafe {
        let result = rd::rd_kafka_event_DescribeConfigs_result(event.0.as_ptr());
        let mut count = 0usize;
        let resources =
            if result.is_null() { ptr::null_mut() } else { rd::rd_kafka_DescribeConfigs_result_resources(result, &mut count) };
        if resources.is_null() || count == 0 {
            return Ok(Vec::new());
        }
        let code = Code(codes::rd_kafka_ConfigResource_error(*resources));
        if code.is_error() {
            return Err((code, text(rd::rd_kafka_ConfigResource_error_string(*resources))));
        }
        let mut count = 0usize;
        let entries = rd::rd_kafka_ConfigResource_configs(*resources, &mut count);
        Ok((0..count)
            .map(|i| {
                let entry = *entries.add(i);
                (text(rd::rd_kafka_ConfigEntry_name(entry)), text(rd::rd_kafka_ConfigEntry_value(entry)))
            })
            .collect())
    }
}

// ------------------------------------------------------------------------------------------------------------------- clock

/// Microseconds of the machine's monotonic clock, comparable between processes (which `std::time::Instant` is not).
pub(crate) fn monotonic_micros() -> u64 {
    #[repr(C)]
    struct Time {
        seconds: i64,
        nanos: std::ffi::c_long,
    }
    unsafe extern "C" {
        fn clock_gettime(clock: c_int, time: *mut Time) -> c_int;
    }
    const CLOCK_MONOTONIC: c_int = 1;
    let mut time = Time { seconds: 0, nanos: 0 };
    // SAFETY: `Time` is Linux's 64-bit `struct timespec`, written by the call.
    unsafe { clock_gettime(CLOCK_MONOTONIC, &mut time) };
    time.seconds as u64 * 1_000_000 + time.nanos as u64 / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the admin API takes a time for a request.
    fn takes(client: &Client, millis: c_int) -> bool {
        let mut error = ErrorText::new();
        // SAFETY: the client is alive, the options are ours and freed once, the buffer has the size given.
        unsafe {
            let options =
                rd::rd_kafka_AdminOptions_new(client.rk.as_ptr(), rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
            let code = rd::rd_kafka_AdminOptions_set_request_timeout(options, millis, error.0.as_mut_ptr(), error.0.len());
            rd::rd_kafka_AdminOptions_destroy(options);
            code as i32 == 0
        }
    }

    #[test]
    fn a_request_may_take_as_long_as_the_client_allows_and_no_longer() {
        let client = Conf::new().into_client(Kind::Producer).unwrap();
        let hour = Duration::from_secs(3600);
        for (timeout, expected) in [
            (Duration::from_micros(1), 1),
            (Duration::from_secs(900), 900_000),
            (hour, 3_600_000),
            (hour + Duration::from_millis(1), 3_600_000),
            (24 * hour, 3_600_000),
            (Duration::MAX, 3_600_000),
        ] {
            assert_eq!(request_millis(timeout), expected, "{timeout:?}");
            assert!(takes(&client, request_millis(timeout)), "{timeout:?}");
        }
        assert!(!takes(&client, 3_600_001), "the client's own limit");
    }
}
