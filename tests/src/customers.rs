//! Orders of customers in several files, plain and compressed in turn: by these a job that keeps the order of keys is
//! judged.
//!
//! Orders are numbered through over all files, and each has its version for its customer. Among them may be rows of
//! other kinds: without a key, blank, too long, bad.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::order::Expected;
use crate::random::Random;

/// The `max_line` of a job whose dataset has rows that are too long; as a job's config says it.
pub const MAX_LINE: &str = "\"1kB\"";
/// Longer than that.
const TOO_LONG: usize = 1200;
/// Shares no factor with a number of customers, so that each of them has its turn.
const STRIDE: u64 = 7919;

/// What is written.
pub struct Customers {
    /// Rows of all files, a CSV file's header apart.
    pub orders: u64,
    /// How many customers have them.
    pub customers: u64,
    /// In how many files.
    pub files: u64,
    /// Each row of this number is none of an order but of the next of the other kinds; 0 = none is.
    pub odd_every: u64,
    /// Whether the job's records have times, so that a row with a bad one is set aside.
    pub timed: bool,
    /// Equal seeds give equal files.
    pub seed: u64,
    /// How a row is written.
    pub form: Form,
}

/// How a row is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As a line of JSON.
    Jsonl,
    /// As a row of CSV; without odd ones.
    Csv,
}

/// What kind of a row it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Order,
    NullKey,
    MissingKey,
    EmptyKey,
    Blank,
    /// It has a customer that can't be known.
    TooLong,
    NotJson,
    /// It has a customer, and a time that is none: bad if the job looks at it.
    BadTime,
}

/// The kinds of odd rows, in turn.
const ODD: [Kind; 7] =
    [Kind::NullKey, Kind::TooLong, Kind::MissingKey, Kind::NotJson, Kind::EmptyKey, Kind::BadTime, Kind::Blank];

/// What becomes of a row in a job with `on_missing = "null"`, and with `record.timestamp = ".created_at"` where it is
/// timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is sent.
    Sent,
    /// It is blank.
    Filtered,
    /// It is set aside.
    Dead,
}

/// A file that was written.
pub struct OrdersFile {
    /// Where it is.
    pub path: PathBuf,
    /// The places of its records among those that are sent.
    pub places: std::ops::Range<u64>,
}

/// What was written.
pub struct Written {
    /// What is to be in the topic.
    pub expected: Expected,
    /// The files, in source order.
    pub files: Vec<OrdersFile>,
    /// What becomes of each row.
    pub fates: Vec<Fate>,
}

impl Written {
    /// How many of the rows have this fate.
    pub fn count(&self, fate: Fate) -> u64 {
        self.fates.iter().filter(|found| **found == fate).count() as u64
    }

    /// The same without what follows the first `limit` rows that are not blank.
    #[must_use]
    pub fn first(mut self, limit: u64) -> Written {
        let mut left = limit;
        let end = self.fates.iter().position(|fate| {
            left -= u64::from(*fate != Fate::Filtered);
            left == 0
        });
        self.fates.truncate(end.expect("there are more") + 1);
        self.expected = self.expected.first(self.count(Fate::Sent));
        self
    }
}

impl Customers {
    /// Orders as lines, all of them usual.
    pub fn new(seed: u64, orders: u64, customers: u64, files: u64) -> Self {
        Customers { orders, customers, files, odd_every: 0, timed: true, seed, form: Form::Jsonl }
    }

    /// Writes the files into a folder that is there.
    pub fn write(&self, folder: &Path) -> Written {
        let mut random = Random::new(self.seed);
        let mut versions = HashMap::new();
        let mut written = Written { expected: Expected::default(), files: Vec::new(), fates: Vec::new() };
        let mut line = Vec::new();
        for file in 0..self.files {
            let (path, first) = (folder.join(self.name(file)), written.expected.len());
            let mut out = Out::create(&path);
            if self.form == Form::Csv {
                out.write(b"order_id,customer_id,version,note\r\n");
            }
            for order in self.orders * file / self.files..self.orders * (file + 1) / self.files {
                let customer = self.customer(order, &mut random);
                let kind = self.kind(order);
                let version = if kind == Kind::Order { versions.entry(customer).or_insert(0u32) } else { &mut 0 };
                *version += 1;
                line.clear();
                let row = Row { kind, order, customer, version: *version, timed: self.timed };
                let fate = match self.form {
                    Form::Jsonl => row.jsonl(&mut line, &mut written.expected),
                    Form::Csv => row.csv(&mut line, &mut written.expected),
                };
                written.fates.push(fate);
                out.write(&line);
            }
            out.close();
            written.files.push(OrdersFile { path, places: first..written.expected.len() });
        }
        written
    }

    /// Names in the order of the source; every second file is compressed.
    fn name(&self, file: u64) -> String {
        let ending = if self.form == Form::Jsonl { "jsonl" } else { "csv" };
        format!("orders-{file:03}.{ending}{}", if file % 2 == 1 { ".gz" } else { "" })
    }

    fn kind(&self, order: u64) -> Kind {
        match (order + 1).checked_rem(self.odd_every) {
            Some(0) => ODD[(order / self.odd_every) as usize % ODD.len()],
            _ => Kind::Order,
        }
    }

    /// Half of the orders go round all customers, the other half are for few of them.
    fn customer(&self, order: u64, random: &mut Random) -> u64 {
        if order.is_multiple_of(2) {
            return order / 2 * STRIDE % self.customers;
        }
        let most = random.between(1, self.customers + 1);
        random.between(0, most)
    }
}

/// A row that is to be written.
struct Row {
    kind: Kind,
    order: u64,
    customer: u64,
    version: u32,
    timed: bool,
}

impl Row {
    /// Appends the line, and adds what is to be sent.
    fn jsonl(&self, line: &mut Vec<u8>, expected: &mut Expected) -> Fate {
        let customer = format!("c{}", self.customer);
        let (key, field) = match self.kind {
            Kind::NullKey => (None, r#""customer_id":null,"#.to_owned()),
            Kind::MissingKey => (None, String::new()),
            Kind::EmptyKey => (Some(""), r#""customer_id":"","#.to_owned()),
            _ => (Some(&*customer), format!(r#""customer_id":"{customer}","#)),
        };
        let time = if self.kind == Kind::BadTime { "never" } else { "2026-03-01T08:00:00Z" };
        let note = "x".repeat(if self.kind == Kind::TooLong { TOO_LONG } else { 5 + self.order as usize % 40 });
        let text = match self.kind {
            Kind::Blank => String::new(),
            Kind::NotJson => format!("no order {}", self.order + 1),
            _ => format!(
                r#"{{"order_id":{},{field}"version":{},"created_at":"{time}","note":"{note}"}}"#,
                self.order + 1,
                self.version
            ),
        };
        line.extend_from_slice(text.as_bytes());
        line.push(b'\n');
        match self.kind {
            Kind::TooLong | Kind::NotJson => Fate::Dead,
            Kind::BadTime if self.timed => Fate::Dead,
            Kind::Blank => Fate::Filtered,
            _ => {
                expected.add(key.map(str::as_bytes), text.as_bytes());
                Fate::Sent
            }
        }
    }

    /// The same as a row of CSV; a third of the notes have a line end.
    fn csv(&self, line: &mut Vec<u8>, expected: &mut Expected) -> Fate {
        assert_eq!(self.kind, Kind::Order, "odd rows are lines");
        let (order, customer, version) = (self.order + 1, format!("c{}", self.customer), self.version);
        let (field, value) = [("plain", "plain"), ("\"two\nlines\"", "two\\nlines"), ("\"a, b\"", "a, b")][order as usize % 3];
        write!(line, "{order},{customer},{version},{field}\r\n").expect("memory can be written");
        let object = format!(r#"{{"order_id":"{order}","customer_id":"{customer}","version":"{version}","note":"{value}"}}"#);
        expected.add(Some(customer.as_bytes()), object.as_bytes());
        Fate::Sent
    }
}

/// A file that is written, plain or through gzip.
enum Out {
    Plain(BufWriter<File>),
    Gzip(Box<Child>, BufWriter<std::process::ChildStdin>),
}

impl Out {
    fn create(path: &Path) -> Out {
        let file = File::create(path).unwrap_or_else(|error| panic!("can't create {}: {error}", path.display()));
        if path.extension().is_none_or(|ending| ending != "gz") {
            return Out::Plain(BufWriter::with_capacity(1 << 20, file));
        }
        let mut gzip = Command::new("gzip").arg("-1").stdin(Stdio::piped()).stdout(file).spawn().expect("gzip can be started");
        let stdin = gzip.stdin.take().expect("stdin is a pipe");
        Out::Gzip(Box::new(gzip), BufWriter::with_capacity(1 << 16, stdin))
    }

    fn write(&mut self, bytes: &[u8]) {
        match self {
            Out::Plain(out) => out.write_all(bytes),
            Out::Gzip(_, out) => out.write_all(bytes),
        }
        .expect("the dataset can be written");
    }

    fn close(self) {
        match self {
            Out::Plain(mut out) => out.flush().expect("the dataset can be written"),
            Out::Gzip(mut gzip, out) => {
                drop(out.into_inner().expect("the dataset can be written"));
                assert!(gzip.wait().expect("gzip can be waited for").success(), "gzip failed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::temporary::TempDir;

    fn text(path: &Path) -> String {
        let tool = if path.extension().is_some_and(|ending| ending == "gz") { "zcat" } else { "cat" };
        let output = Command::new(tool).arg(path).output().expect("it can be started");
        String::from_utf8(output.stdout).expect("it is text")
    }

    #[test]
    fn orders_ascend_over_plain_and_compressed_files() {
        let folder = TempDir::new("customers");
        let written = Customers::new(1, 4_000, 100, 5).write(folder.path());
        assert_eq!((written.expected.len(), written.expected.keys(), written.files.len()), (4_000, 100, 5));
        let names: Vec<_> = written.files.iter().map(|file| file.path.file_name().expect("it has a name")).collect();
        assert!(names.is_sorted() && names[1] == "orders-001.jsonl.gz" && names[2] == "orders-002.jsonl", "{names:?}");
        let mut versions: HashMap<String, u64> = HashMap::new();
        let all: String = written.files.iter().map(|file| text(&file.path)).collect();
        for (number, line) in (1u64..).zip(all.lines()) {
            let order: serde_json::Value = serde_json::from_str(line).expect("it is JSON");
            assert_eq!(order["order_id"], number);
            let version = versions.entry(order["customer_id"].as_str().expect("a name").to_owned()).or_default();
            *version += 1;
            assert_eq!(order["version"], *version);
        }
        assert!(versions.values().max() > Some(&60), "some have more orders than others");
        assert_eq!(written.files[4].places, 3_200..4_000);
    }

    #[test]
    fn odd_rows_are_among_them() {
        let folder = TempDir::new("customers-odd");
        let written = Customers { odd_every: 10, ..Customers::new(1, 1_400, 100, 4) }.write(folder.path());
        let fates = [Fate::Sent, Fate::Filtered, Fate::Dead].map(|fate| written.count(fate));
        assert_eq!(fates, [1_260 + 60, 20, 60]);
        assert_eq!(written.expected.keys(), 101, "the empty key is one");
        let all: String = written.files.iter().map(|file| text(&file.path)).collect();
        assert_eq!(all.lines().filter(|line| line.len() > 1_000).count(), 20);
        // Rows 10, 20, … are odd: no key, too long, no key, bad, an empty key, a bad time, blank.
        let first = written.first(70);
        assert_eq!((first.fates.len(), first.count(Fate::Dead), first.expected.len()), (71, 3, 67));
    }

    #[test]
    fn rows_of_csv_are_what_the_csv_crate_reads() {
        let folder = TempDir::new("customers-csv");
        let written = Customers { form: Form::Csv, ..Customers::new(1, 300, 20, 3) }.write(folder.path());
        let mut again = Expected::default();
        for file in &written.files {
            let text = text(&file.path);
            let mut reader = csv::Reader::from_reader(text.as_bytes());
            let names = reader.headers().expect("a header").clone();
            for row in reader.records() {
                let row = row.expect("a row");
                let field = |(name, field)| format!("\"{name}\":{}", serde_json::json!(field));
                let fields: Vec<String> = names.iter().zip(&row).map(field).collect();
                again.add(Some(row[1].as_bytes()), format!("{{{}}}", fields.join(",")).as_bytes());
            }
        }
        assert!(again == written.expected);
    }
}
