//! The independent reader: kcat reads a topic from its beginning to its end, whatever bytes are in it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use crate::multiset::Multiset;

/// Lengths first, so that keys and values may hold any byte.
pub(crate) const FORMAT: &str = "%p %o %T %K %S\\n%k%s%h\\n";

/// One record as kcat saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicRecord {
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// Its key; `None` = null.
    pub key: Option<Vec<u8>>,
    /// Its value; `None` = null.
    pub value: Option<Vec<u8>>,
    /// Its headers as `name=value,name=value`; empty = none. They must not contain a line end.
    pub headers: String,
}

/// Which records a reader is shown. kcat's own default is committed only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Committed transactions and everything outside transactions.
    Committed,
    /// Everything, aborted transactions too.
    Uncommitted,
}

impl Isolation {
    /// The setting of Kafka's consumers.
    pub fn setting(self) -> &'static str {
        match self {
            Isolation::Committed => "isolation.level=read_committed",
            Isolation::Uncommitted => "isolation.level=read_uncommitted",
        }
    }
}

/// Reads a topic to its present end and shows each record, in order within a partition. Returns how many there were.
pub fn read(bootstrap: &str, topic: &str, isolation: Isolation, mut show: impl FnMut(TopicRecord)) -> u64 {
    let mut kcat = Command::new("kcat")
        .args(["-C", "-q", "-e", "-b", bootstrap, "-t", topic, "-o", "beginning", "-X", isolation.setting()])
        .args(["-f", FORMAT])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("kcat can be started");
    let mut out = BufReader::with_capacity(1 << 20, kcat.stdout.take().expect("stdout is a pipe"));
    let mut count = 0;
    while let Some(record) = next_record(&mut out) {
        show(record);
        count += 1;
    }
    let status = kcat.wait().expect("kcat can be waited for");
    assert!(status.success(), "kcat could not read {topic} from {bootstrap}: {status}");
    count
}

/// All records of a topic; for small ones.
pub fn all(bootstrap: &str, topic: &str, isolation: Isolation) -> Vec<TopicRecord> {
    let mut records = Vec::new();
    read(bootstrap, topic, isolation, |record| records.push(record));
    records
}

/// The multiset of a topic's values; a null value counts as an empty one.
pub fn values(bootstrap: &str, topic: &str, isolation: Isolation) -> Multiset {
    let mut values = Multiset::new();
    read(bootstrap, topic, isolation, |record| values.add(record.value.as_deref().unwrap_or_default()));
    values
}

/// The next record of what kcat prints in the format above.
pub(crate) fn next_record(out: &mut impl BufRead) -> Option<TopicRecord> {
    let mut line = String::new();
    if out.read_line(&mut line).expect("kcat's first line of a record is text") == 0 {
        return None;
    }
    let numbers: Vec<i64> =
        line.split_whitespace().map(|word| word.parse().unwrap_or_else(|_| panic!("not kcat's format: {line:?}"))).collect();
    let [partition, offset, timestamp, key, value] = numbers[..] else { panic!("not kcat's format: {line:?}") };
    let key = take(out, key);
    let value = take(out, value);
    let mut headers = String::new();
    out.read_line(&mut headers).expect("headers are text");
    assert_eq!(headers.pop(), Some('\n'), "kcat ended in the middle of a record");
    let positive = |number: i64| u64::try_from(number).expect("kcat prints it unsigned");
    let partition = u32::try_from(partition).expect("a partition is a small number");
    Some(TopicRecord { partition, offset: positive(offset), timestamp, key, value, headers })
}

/// A key or value of a length that kcat gave; -1 = null.
fn take(out: &mut impl Read, length: i64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    out.read_exact(&mut bytes).expect("kcat prints as many bytes as it said");
    Some(bytes)
}
