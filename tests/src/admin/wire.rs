//! Kafka's requests and answers as bytes, in the versions before compact fields: whole numbers in network order,
//! strings and lists with their length before them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// The longest that a broker may take for one answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request that is being written.
pub struct Request(Vec<u8>);

impl Request {
    /// With its header: the kind of request by Kafka's number, and its version.
    pub fn new(kind: i16, version: i16) -> Self {
        Request(Vec::new()).i16(kind).i16(version).i32(0).text("whole-program")
    }

    /// A number of 8 bits.
    pub fn i8(mut self, number: i8) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    /// A number of 16 bits.
    pub fn i16(mut self, number: i16) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    /// A number of 32 bits.
    pub fn i32(mut self, number: i32) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    /// A number of 64 bits.
    pub fn i64(mut self, number: i64) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    /// A text.
    pub fn text(mut self, text: &str) -> Self {
        self = self.i16(i16::try_from(text.len()).expect("names are short"));
        self.0.extend(text.as_bytes());
        self
    }

    /// No text.
    pub fn no_text(self) -> Self {
        self.i16(-1)
    }

    /// Bytes.
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self = self.count(bytes.len());
        self.0.extend(bytes);
        self
    }

    /// How many items follow.
    pub fn count(self, items: usize) -> Self {
        self.i32(i32::try_from(items).expect("lists are short"))
    }

    /// A list whose items `write` appends.
    pub fn list<T>(self, items: &[T], write: impl Fn(Self, &T) -> Self) -> Self {
        items.iter().fold(self.count(items.len()), write)
    }

    /// Sends it to `host:port` on a connection of its own, and gives the answer after its header.
    pub fn send(&self, address: &str) -> std::io::Result<Answer> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let length = u32::try_from(self.0.len()).expect("requests are short");
        stream.write_all(&[&length.to_be_bytes()[..], &self.0].concat())?;
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut bytes)?;
        let mut answer = Answer { bytes, place: 0 };
        answer.i32(); // the request's number, which we leave 0
        Ok(answer)
    }
}

/// An answer that is being read.
pub struct Answer {
    bytes: Vec<u8>,
    place: usize,
}

impl Answer {
    fn take(&mut self, count: usize) -> &[u8] {
        let taken = self.bytes.get(self.place..self.place + count).expect("an answer has what its version promises");
        self.place += count;
        taken
    }

    fn number<const N: usize>(&mut self) -> [u8; N] {
        self.take(N).try_into().expect("as many bytes as were taken")
    }

    /// A number of 8 bits.
    pub fn i8(&mut self) -> i8 {
        i8::from_be_bytes(self.number())
    }

    /// A number of 16 bits.
    pub fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.number())
    }

    /// A number of 32 bits.
    pub fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.number())
    }

    /// A number of 64 bits.
    pub fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.number())
    }

    /// A text; empty if there is none.
    pub fn text(&mut self) -> String {
        let length = usize::try_from(self.i16()).unwrap_or(0);
        String::from_utf8(self.take(length).to_vec()).expect("brokers answer in UTF-8")
    }

    /// A list whose items `read` takes.
    pub fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.i32()).map(|_| read(self)).collect()
    }
}
