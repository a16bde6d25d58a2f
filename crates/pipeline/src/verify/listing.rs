//! The list of surplus copies: a JSON line for each.

use std::io::{self, Write};

use serde::Serialize;

use super::TopicRecord;
use crate::dead_letter::base64::Base64;

/// One line.
#[derive(Serialize)]
struct Listed<'a> {
    partition: u32,
    offset: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<Base64>,
}

/// Writes where a record stands in the topic, and its whole key: `key` if that is text, or null, else `key_base64`. One
/// write for each line, which a buffer keeps whole: several processes may append to one file.
pub fn list(record: &TopicRecord<'_>, out: &mut impl Write) -> io::Result<()> {
    let text = record.key.map(str::from_utf8).transpose();
    let key_base64 = record.key.filter(|_| text.is_err()).map(|key| Base64(key.to_vec()));
    let line = Listed { partition: record.partition, offset: record.offset, key: text.ok(), key_base64 };
    let mut line = serde_json::to_vec(&line)?;
    line.push(b'\n');
    out.write_all(&line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(key: Option<&[u8]>) -> String {
        let mut out = Vec::new();
        let record = TopicRecord { partition: 3, offset: 17, key, value: b"secret", headers: b"", time: None };
        list(&record, &mut out).expect("memory");
        String::from_utf8(out).expect("JSON")
    }

    #[test]
    fn a_line_has_the_place_and_the_key_and_nothing_of_the_value() {
        assert_eq!(line(Some(b"a\nb")), "{\"partition\":3,\"offset\":17,\"key\":\"a\\nb\"}\n");
        assert_eq!(line(Some(b"")), "{\"partition\":3,\"offset\":17,\"key\":\"\"}\n");
        assert_eq!(line(None), "{\"partition\":3,\"offset\":17,\"key\":null}\n");
        assert_eq!(line(Some(b"\xffx")), "{\"partition\":3,\"offset\":17,\"key_base64\":\"/3g=\"}\n");
    }
}
