//! Handing single records to a producer, which copies them: dead letters for a topic of their own.
//!
//! Wraps: `rd_kafka_produceva`. Safety rule kept here: everything that a call is given lives through the call, which
//! copies it.

use std::collections::HashMap;
use std::ffi::{CString, c_void};

use pipeline::LettersInFlight;
use pipeline::dead_letter::OutgoingLetter;
use rdkafka::bindings as rd;

use super::code::{Code, INVALID_ARGUMENT, codes};
use super::in_flight::letter_opaque;
use super::topic::Topic;

/// The client chooses the partition by its `partitioner`.
const ANY_PARTITION: i32 = -1;

/// Sends dead letters, and knows which have no report.
pub(crate) struct LetterSender {
    topic: Topic,
    next: u64,
    /// Their bytes by number.
    in_flight: HashMap<u64, usize>,
    bytes: usize,
}

impl LetterSender {
    pub(super) fn new(topic: Topic) -> LetterSender {
        LetterSender { topic, next: 0, in_flight: HashMap::new(), bytes: 0 }
    }

    /// What has no report.
    pub(super) fn in_flight(&self) -> LettersInFlight {
        LettersInFlight { count: self.in_flight.len(), bytes: self.bytes }
    }

    /// Hands a letter over; the client chooses its partition. Its queue may be full.
    pub(crate) fn send(&mut self, letter: &OutgoingLetter) -> Result<(), Code> {
        use rd::rd_kafka_vtype_t as V;
        type Value = rd::rd_kafka_vu_s__bindgen_ty_1;
        type Bytes = rd::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1;
        type Header = rd::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_2;
        let argument = |vtype, u| rd::rd_kafka_vu_t { vtype, u };
        let bytes = |b: &[u8]| Value { mem: Bytes { ptr: b.as_ptr().cast_mut().cast(), size: b.len() } };
        let number = self.next;
        let names: Vec<CString> = letter
            .headers
            .iter()
            .map(|(name, _)| CString::new(*name))
            .collect::<Result<_, _>>()
            .map_err(|_| INVALID_ARGUMENT)?;
        let mut arguments = vec![
            argument(V::RD_KAFKA_VTYPE_RKT, Value { rkt: self.topic.rkt.as_ptr() }),
            argument(V::RD_KAFKA_VTYPE_PARTITION, Value { i32_: ANY_PARTITION }),
            argument(V::RD_KAFKA_VTYPE_MSGFLAGS, Value { i: rd::RD_KAFKA_MSG_F_COPY }),
            argument(V::RD_KAFKA_VTYPE_VALUE, bytes(&letter.value)),
            argument(V::RD_KAFKA_VTYPE_OPAQUE, Value { ptr: letter_opaque(number) as *mut c_void }),
        ];
        if let Some(key) = &letter.key {
            arguments.push(argument(V::RD_KAFKA_VTYPE_KEY, bytes(key)));
        }
        arguments.extend(names.iter().zip(&letter.headers).map(|(name, (_, value))| {
            let header = Header { name: name.as_ptr(), val: value.as_ptr().cast(), size: value.len() as isize };
            argument(V::RD_KAFKA_VTYPE_HEADER, Value { header })
        }));
        // SAFETY: each argument's union field is the one that its type names; topic, header names, key and value live
        // through the call, which copies key, headers and (by its flags) value.
        let code = unsafe {
            let error = rd::rd_kafka_produceva(self.topic.client().rk.as_ptr(), arguments.as_ptr(), arguments.len());
            let code = if error.is_null() { Code::NONE } else { Code(codes::rd_kafka_error_code(error)) };
            // Null is allowed.
            rd::rd_kafka_error_destroy(error);
            code
        };
        if code.is_error() {
            return Err(code);
        }
        self.next += 1;
        let bytes = letter.bytes();
        self.in_flight.insert(number, bytes);
        self.bytes += bytes;
        Ok(())
    }

    /// Notes the report of a letter; false if it is not one that was waited for.
    pub(super) fn report(&mut self, number: u64) -> bool {
        let bytes = self.in_flight.remove(&number);
        self.bytes -= bytes.unwrap_or(0);
        bytes.is_some()
    }
}
