//! Handing groups of records to a producer without copying their values.
//!
//! Wraps: `rd_kafka_produce_batch` and `rd_kafka_produceva`. Safety rule kept here: the bytes that were handed over
//! stay where they are until the delivery report of each of their records is back. [`Sender`] owns the groups for that
//! reason.

use std::ffi::{CString, c_int, c_void};
use std::ops::Range;
use std::ptr;

use pipeline::{Group, LettersInFlight, RecordPlace};
use rdkafka::bindings as rd;

use super::client::Client;
use super::code::{Code, codes};
use super::in_flight::{GENERATION_BITS, GroupInFlight, MOST_RECORDS, PARTITION_BITS, opaque};
use super::letters::LetterSender;
use super::topic::Topic;

/// Hands groups to a producer without copying their values, and owns them until the last report.
pub(crate) struct Sender {
    topic: Topic,
    pub(super) in_flight: Vec<Option<GroupInFlight>>,
    generations: Vec<u32>,
    headers: Vec<(CString, Vec<u8>)>,
    scratch: Vec<rd::rd_kafka_message_t>,
    pub(super) letters: Option<LetterSender>,
}

impl Sender {
    /// A sender for a topic with `partitions` partitions. `headers` go with every record; a name with a NUL byte is
    /// refused.
    pub(crate) fn new(topic: Topic, partitions: u32, headers: &[(String, String)]) -> Result<Sender, String> {
        if partitions >= (1 << PARTITION_BITS) - 2 {
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
            letters: None,
        })
    }

    /// Sends dead letters to this topic of the same client.
    pub(crate) fn set_letters_topic(&mut self, topic: Topic) {
        self.letters = Some(LetterSender::new(topic));
    }

    /// The dead letters, if they go to a topic.
    pub(crate) fn letters(&mut self) -> Option<&mut LetterSender> {
        self.letters.as_mut()
    }

    /// Those that have no report.
    pub(crate) fn letters_in_flight(&self) -> LettersInFlight {
        self.letters.as_ref().map(LetterSender::in_flight).unwrap_or_default()
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

    /// Accepts ownership of a group; nothing is sent yet. Gives it back if the partition is unknown, busy, or the group
    /// too long.
    pub(crate) fn begin(&mut self, partition: u32, group: Group) -> Result<(), Group> {
        match self.in_flight.get_mut(partition as usize) {
            Some(free @ None) if group.len() <= MOST_RECORDS => {
                let generation = &mut self.generations[partition as usize];
                *generation = (*generation + 1) & ((1 << GENERATION_BITS) - 1);
                *free = Some(GroupInFlight::new(group, *generation));
                Ok(())
            }
            _ => Err(group),
        }
    }

    /// Hands over what is left of a partition's group, in order. Calls `refused` for each record that the client did
    /// not take. True: all were handed over or refused. False: the client's queue is full at some record, and the rest
    /// waits for the next call.
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
        flight: &mut GroupInFlight,
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
        // SAFETY: the topic is alive and `scratch` holds `count` messages. Flags 0: the client copies keys, neither
        // copies nor frees values, and only reads them. The values' bytes stay: they stand in blocks that
        // `flight.group` shares ownership of, or in its copies; a shared block can't be changed (no interior
        // mutability) or freed, and the group is not changed in flight, and its copies stay where they are when it
        // moves; and this sender gives the group up only when the client has reported every record it took (`take`), or
        // never (`drop`). After the first record that finds the queue full the call takes none of the rest, so the
        // records counted below are all that it took.
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
        flight: &mut GroupInFlight,
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
            // SAFETY: each argument's union field is the one that its type names; topic, header names and values live
            // through the call, which copies keys and headers. Flags 0: the value is neither copied nor freed, and
            // stays as argued in `enqueue_batch`.
            let code = unsafe {
                let error = rd::rd_kafka_produceva(topic.client().rk.as_ptr(), arguments.as_ptr(), arguments.len());
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
    fn handed(flight: &mut GroupInFlight, index: usize, code: Code, refused: &mut dyn FnMut(usize, Code)) {
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

    /// Where a record of a partition's group stands in its shard, until the group is taken.
    pub(crate) fn place(&self, partition: u32, index: usize) -> Option<RecordPlace> {
        let flight = self.in_flight.get(partition as usize)?.as_ref()?;
        (index < flight.group.len()).then(|| flight.group.place(index))
    }

    /// How many records the client took and has not reported.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting_in(0..self.partitions())
    }

    /// The same for some partitions.
    pub(crate) fn waiting_in(&self, partitions: Range<u32>) -> usize {
        self.in_flight[partitions.start as usize..partitions.end as usize].iter().flatten().map(|f| f.waiting).sum()
    }
}

/// The client's queue has no room.
const QUEUE_FULL: Code = Code::of(rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__QUEUE_FULL);

impl Drop for Sender {
    fn drop(&mut self) {
        // The client may read values until its threads have ended, which may be later than its drop, and another holder
        // could have it. So groups with reports missing are never freed; the orderly way (`Producer::drop`) purges
        // first, and then nothing is missing.
        for slot in &mut self.in_flight {
            if slot.as_ref().is_some_and(|f| f.waiting > 0) {
                std::mem::forget(slot.take());
            }
        }
    }
}
