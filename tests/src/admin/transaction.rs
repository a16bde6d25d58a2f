//! A transaction of another producer, held open for as long as a test wants.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Admin;
use super::wire::Request;

/// A transaction with records that are written and not committed. Dropped without [`OpenTransaction::commit`] it is
/// aborted.
pub struct OpenTransaction {
    admin: Admin,
    name: String,
    coordinator: String,
    producer: (i64, i16),
    is_open: bool,
}

impl OpenTransaction {
    /// Opens one under a name of its own and writes values, without keys, to one partition. The broker itself aborts it
    /// after `timeout`.
    pub(super) fn begin(admin: Admin, topic: &str, partition: u32, values: &[&str], timeout: Duration) -> Self {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let name = format!("whole-program-{}", NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        let coordinator = admin.coordinator(&name);
        let timeout = i32::try_from(timeout.as_millis()).expect("transactions are short");
        let partition = i32::try_from(partition).expect("partitions are few");
        let producer = super::retried("get a producer id", || {
            let mut answer = Request::new(22, 1).text(&name).i32(timeout).send(&coordinator)?;
            answer.i32(); // throttle
            Ok((answer.i16(), (answer.i64(), answer.i16())))
        });
        super::retried("add a partition to a transaction", || {
            let request = Request::new(24, 1).text(&name).i64(producer.0).i16(producer.1);
            let mut answer = request.count(1).text(topic).count(1).i32(partition).send(&coordinator)?;
            answer.i32(); // throttle
            let errors = answer.list(|topic| (topic.text(), topic.list(|partition| (partition.i32(), partition.i16()))));
            Ok((errors[0].1[0].1, ()))
        });
        let transaction = OpenTransaction { admin, name, coordinator, producer, is_open: true };
        transaction.write(topic, partition, values);
        transaction
    }

    fn write(&self, topic: &str, partition: i32, values: &[&str]) {
        let batch = batch(values, self.producer);
        let request = Request::new(0, 3).text(&self.name).i16(-1).i32(30_000);
        let request = request.count(1).text(topic).count(1).i32(partition).bytes(&batch);
        super::retried("write in a transaction", || {
            let mut answer = request.send(&self.admin.leader(topic, partition))?;
            let errors =
                answer.list(|topic| (topic.text(), topic.list(|part| (part.i32(), part.i16(), part.i64(), part.i64()))));
            Ok((errors[0].1[0].1, ()))
        });
    }

    /// Commits it.
    pub fn commit(mut self) {
        self.end(true);
    }

    /// Aborts it.
    pub fn abort(mut self) {
        self.end(false);
    }

    fn end(&mut self, commit: bool) {
        self.is_open = false;
        super::retried("end a transaction", || {
            let request = Request::new(26, 1).text(&self.name).i64(self.producer.0).i16(self.producer.1);
            let mut answer = request.i8(i8::from(commit)).send(&self.coordinator)?;
            answer.i32(); // throttle
            Ok((answer.i16(), ()))
        });
    }
}

impl Drop for OpenTransaction {
    fn drop(&mut self) {
        if self.is_open && !std::thread::panicking() {
            self.end(false);
        }
    }
}

/// A batch of records without keys in a transaction, as the log has it.
fn batch(values: &[&str], producer: (i64, i16)) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_millis();
    let now = i64::try_from(now).expect("it is not so late");
    let count = i32::try_from(values.len()).expect("records are few");
    let mut checked = Vec::new();
    checked.extend(0x10_i16.to_be_bytes()); // in a transaction, not compressed
    checked.extend((count - 1).to_be_bytes());
    checked.extend([now.to_be_bytes(), now.to_be_bytes()].concat());
    checked.extend(producer.0.to_be_bytes());
    checked.extend(producer.1.to_be_bytes());
    checked.extend(0_i32.to_be_bytes()); // the first sequence number
    checked.extend(count.to_be_bytes());
    for (place, value) in values.iter().enumerate() {
        let mut record = vec![0, 0]; // attributes, no difference in time
        varint(&mut record, place as i64);
        varint(&mut record, -1); // no key
        varint(&mut record, value.len() as i64);
        record.extend(value.as_bytes());
        varint(&mut record, 0); // no headers
        varint(&mut checked, record.len() as i64);
        checked.extend(record);
    }
    let mut batch = 0_i64.to_be_bytes().to_vec(); // the first offset
    let length = i32::try_from(checked.len() + 9).expect("batches are small"); // from the next field's end on
    batch.extend(length.to_be_bytes());
    batch.extend((-1_i32).to_be_bytes()); // the leader's epoch
    batch.push(2); // the format
    batch.extend(crc32c(&checked).to_be_bytes());
    batch.extend(checked);
    batch
}

/// A signed number of variable length.
fn varint(bytes: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
    !bytes.iter().fold(!0, |crc: u32, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_and_lengths_are_kafkas() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        let mut bytes = Vec::new();
        [0, -1, 1, 300].into_iter().for_each(|number| varint(&mut bytes, number));
        assert_eq!(bytes, [0, 1, 2, 0xd8, 0x04]);
    }
}
