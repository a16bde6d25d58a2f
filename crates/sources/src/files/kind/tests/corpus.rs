//! The files: small ones of each kind, with the bytes that the kind is known by.

use crate::jsonl::tests::{gzip, zstd};

/// A file and what it is.
pub(super) struct File {
    pub(super) name: &'static str,
    pub(super) bytes: Vec<u8>,
    pub(super) is: &'static str,
}

const OBJECTS: &str = "{\"id\":1,\"name\":\"Ann\"}\n{\"id\":2,\"name\":\"Ben\"}\n";
const ARRAY: &str = "[{\"id\":1,\"name\":\"Ann\"},{\"id\":2,\"name\":\"Ben\"}]";

/// Bytes that are no text.
fn noise(count: u32) -> Vec<u8> {
    (0..count).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn utf16(text: &str, from: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(from).collect()
}

fn utf32(text: &str, from: fn(u32) -> [u8; 4]) -> Vec<u8> {
    text.chars().flat_map(|letter| from(u32::from(letter))).collect()
}

/// An archive with one file.
fn tar(text: &str) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..12].copy_from_slice(b"orders.jsonl");
    header[100..107].copy_from_slice(b"0000644");
    header[124..135].copy_from_slice(format!("{:011o}", text.len()).as_bytes());
    header[257..263].copy_from_slice(b"ustar\0");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header.extend(text.as_bytes());
    header.resize(header.len().next_multiple_of(512) + 1024, 0);
    header
}

fn zip(first: &str) -> Vec<u8> {
    let mut bytes = b"PK\x03\x04\x14\0\0\0\x08\0".to_vec();
    bytes.resize(26, 7);
    bytes.extend([first.len() as u8, 0, 0, 0]);
    bytes.extend(first.as_bytes());
    bytes.extend(noise(100));
    bytes
}

/// Some bytes with others behind.
fn before(magic: &[u8], rest: impl AsRef<[u8]>) -> Vec<u8> {
    [magic, rest.as_ref()].concat()
}

/// All of them.
pub(super) fn corpus() -> Vec<File> {
    let pretty = "{\n  \"id\": 1,\n  \"tags\": [\n    \"a\",\n    \"b\"\n  ]\n}\n";
    let bom = |text: &str| before(b"\xef\xbb\xbf", text);
    let page = "<!DOCTYPE html>\n<html><head><title>403 Forbidden</title></head></html>\n";
    let error =
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
    let xml = "<orders>\n<order id=\"1\"/>\n</orders>\n";
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
    let csv = "id,name\n1,Ann\n2,Ben\n";
    let mut all = Vec::new();
    let mut add = |name, is, bytes: Vec<u8>| all.push(File { name, bytes, is });

    // JSON in other forms.
    add("array.json", "a JSON array", ARRAY.into());
    add("array.jsonl", "a JSON array", format!("{ARRAY}\n").into());
    add("array.json.gz", "a JSON array", gzip([ARRAY.as_bytes()]));
    add("array.txt", "a JSON array", ARRAY.into());
    add("array-long.jsonl", "a JSON array", format!("[{}{{\"id\":0}}]", "{\"id\":1},".repeat(10_000)).into());
    add("array-empty.json", "a JSON array", "[]\n".into());
    add(
        "array-by-line.jsonl",
        "a JSON array with an element on each line",
        "[\n{\"id\":1},\n{\"id\":2},\n{\"id\":3}\n]\n".into(),
    );
    add("array-pretty.json", "a JSON array", "[\n  {\n    \"id\": 1\n  },\n  {\n    \"id\": 2\n  }\n]\n".into());
    add("array-numbers.json", "a JSON array", "[\n  1,\n  2\n]\n".into());
    add(
        "powershell.json",
        "a JSON array",
        bom("[\r\n    {\r\n        \"Id\":  1\r\n    },\r\n    {\r\n        \"Id\":  2\r\n    }\r\n]\r\n"),
    );
    add("document.json", "one JSON document over several lines", pretty.into());
    add("documents.jsonl", "JSON objects over several lines each", pretty.repeat(3).into());
    add("documents.json.zst", "JSON objects over several lines each", zstd([pretty.repeat(3).as_bytes()]));
    add("one-line.json", "JSON objects one behind the other on a line", "{\"id\":1}{\"id\":2}{\"id\":3}".into());
    add("firehose.json", "JSON objects one behind the other on a line", "{\"id\":1,\"n\":\"x\"}".repeat(9_000).into());
    add("commas.jsonl", "JSON objects with a comma behind each", "{\"id\":1},\n{\"id\":2},\n{\"id\":3}\n".into());
    add(
        "sequence.json",
        "a JSON text sequence (a byte RS, 0x1e, before each record)",
        "\x1e{\"id\":1}\n\x1e{\"id\":2}\n".into(),
    );
    add(
        "bulk.ndjson",
        "an Elasticsearch bulk file (a line with an action before each document)",
        "{\"index\":{\"_index\":\"orders\",\"_id\":\"1\"}}\n{\"id\":1}\n{\"index\":{\"_id\":\"2\"}}\n{\"id\":2}\n".into(),
    );
    add(
        "bulk-create.json",
        "an Elasticsearch bulk file (a line with an action before each document)",
        "{\"create\":{}}\n{\"id\":1}\n{\"create\":{}}\n{\"id\":2}\n".into(),
    );
    add(
        "reviews.json",
        "Python dictionaries (single quotes, no JSON)",
        "{'id': 1, 'ok': True}\n{'id': 2, 'ok': None}\n".into(),
    );
    add(
        "mongo-shell.json",
        "output of the MongoDB shell (ObjectId(…) is no JSON)",
        "{ \"_id\" : ObjectId(\"5f1\"), \"n\" : 1 }\n{ \"_id\" : ObjectId(\"5f2\"), \"n\" : 2 }\n".into(),
    );
    add("tweets.js", "JavaScript with a JSON array in it", "window.YTD.tweets.part0 = [ {\n  \"tweet\" : {\n  } } ]\n".into());
    add("data.json", "JavaScript with a JSON array in it", "const data = [\n  {\"id\": 1}\n]\n".into());
    add(
        "kubectl.jsonl",
        "lines with other text before a JSON object",
        "2026-11-28T10:00:00Z {\"id\":1}\n2026-11-28T10:00:01Z {\"id\":2}\n".into(),
    );

    // Text.
    add("orders.csv", "CSV with a header", csv.into());
    add("csv.jsonl", "CSV with a header", csv.into());
    add("csv.json.gz", "CSV with a header", gzip([csv.as_bytes()]));
    add("semicolons.csv", "CSV with a header and semicolons", "id;name\n1;Ann\n2;Ben\n".into());
    add("bars.txt", "CSV with a header and vertical bars", "id|name\n1|Ann\n2|Ben\n".into());
    add("orders.tsv", "TSV with a header", "id\tname\n1\tAnn\n2\tBen\n".into());
    add("no-header.csv", "CSV without a header", "1,Ann,3.5\n2,Ben,4.5\n3,Cy,5.5\n".into());
    add("copy.txt", "output of PostgreSQL's COPY (tabs, \\N for null)", "1\tAnn\t\\N\n2\t\\N\tx\n".into());
    add("dump.sql", "a dump of SQL", "--\n-- PostgreSQL database dump\n--\nSET client_encoding = 'UTF8';\n".into());
    add("mysql.sql.gz", "a dump of SQL", gzip([&b"-- MySQL dump 10.13\nINSERT INTO `a` VALUES (1,2);\n"[..]]));
    add(
        "inserts.json",
        "a dump of SQL",
        "INSERT INTO orders VALUES (1, 'Ann');\nINSERT INTO orders VALUES (2, 'Ben');\n".into(),
    );
    add("config.yaml", "YAML", "---\norders:\n  - id: 1\n  - id: 2\n".into());
    add("yaml.json", "YAML", "orders:\n  - id: 1\n  - id: 2\n".into());
    add("app.log", "plain text", "2026-11-28 10:00:00 started\n2026-11-28 10:00:01 ready\n".into());
    add("words.jsonl", "plain text", "hello\nworld\n".into());
    add("latin1.txt", "text in another encoding than UTF-8", b"M\xfcller aus K\xf6ln\nStra\xdfe\n".to_vec());
    add(
        "zeros.log",
        "text with zero bytes in it",
        before(&[0; 3], "2026-11-28 10:00:00 started again after the log was cut\n".repeat(3)),
    );

    // What stands in the place of a file.
    add("error.json", "an error of an object store (XML), not the object", error.into());
    add("error.log.gz", "an error of an object store (XML), not the object", error.into());
    add("page.jsonl.gz", "an HTML page", page.into());
    add("page.txt", "an HTML page", page.into());
    add("orders.xml", "XML", xml.into());
    add("xml.json", "XML", xml.into());
    add("pointer.jsonl", "a pointer of Git LFS, not the file", pointer.into());
    add("pointer.log.zst", "a pointer of Git LFS, not the file", pointer.into());
    add("empty.jsonl", "empty", Vec::new());
    add("blank.jsonl", "empty", " \n\n\t\n".into());

    // Other encodings.
    add("utf16.jsonl", "UTF-16", before(b"\xff\xfe", utf16(OBJECTS, u16::to_le_bytes)));
    add("utf16-be.txt", "UTF-16", before(b"\xfe\xff", utf16(OBJECTS, u16::to_be_bytes)));
    add("utf16-no-mark.txt", "UTF-16 (without a byte order mark)", utf16(OBJECTS, u16::to_le_bytes));
    add("utf16-be-no-mark.json", "UTF-16 (big-endian, without a byte order mark)", utf16(OBJECTS, u16::to_be_bytes));
    add("utf16.csv.gz", "UTF-16", gzip([&before(b"\xff\xfe", utf16(csv, u16::to_le_bytes))[..]]));
    add("utf32.json", "UTF-32", before(b"\xff\xfe\0\0", utf32(OBJECTS, u32::to_le_bytes)));
    add("utf32-no-mark.json", "UTF-32 (without a byte order mark)", utf32(OBJECTS, u32::to_le_bytes));
    add("utf32-be-no-mark.json", "UTF-32 (big-endian, without a byte order mark)", utf32(OBJECTS, u32::to_be_bytes));

    // Tables and objects of other programs.
    add("orders.parquet", "Parquet", [b"PAR1", &noise(200)[..], b"PAR1"].concat());
    add("parquet-cut-off.jsonl", "Parquet", before(b"PAR1\x15\x04\x15\0", noise(200)));
    add("orders.orc", "ORC", before(b"ORC\n\x01", noise(200)));
    add("orders.avro", "an Avro object file", before(b"Obj\x01\x04\x16avro.schema", noise(50)));
    add("orders.feather", "Arrow (Feather)", before(b"ARROW1\0\0\xff\xff\xff\xff", noise(50)));
    add("orders.arrows", "an Arrow stream", before(b"\xff\xff\xff\xff\x50\x01\0\0", noise(50)));
    add(
        "orders.bson",
        "BSON (of mongodump)",
        [&b"\x1a\0\0\0\x07_id\0"[..], &[9; 12], b"\x10n\0\x01\0\0\0\0"].concat()[..26].into(),
    );
    add("orders.sqlite", "a SQLite database", before(b"SQLite format 3\0", noise(50)));
    add("orders.duckdb", "a DuckDB database", [&noise(8)[..], b"DUCK", &[0; 60]].concat());
    add("orders.dump", "a PostgreSQL dump in its own format", before(b"PGDMP\x01\x0e", noise(50)));
    add("dump.rdb", "a Redis dump", before(b"REDIS0011\xfa\x09redis-ver", noise(50)));
    add("part-00000", "a Hadoop sequence file", before(b"SEQ\x06\x19org.apache.hadoop", noise(50)));
    add("orders.h5", "HDF5", before(b"\x89HDF\r\n\x1a\n", noise(50)));
    add("orders.npy", "a NumPy array", before(b"\x93NUMPY\x01\0", noise(50)));
    add("orders.pkl", "a Python pickle", before(b"\x80\x04\x95\x12\0\0\0\0\0\0\0]\x94", noise(50)));
    add("orders.ser", "serialised Java objects", before(b"\xac\xed\0\x05", noise(50)));
    add("orders.xlsx", "an Office file (.xlsx, .docx)", zip("[Content_Types].xml"));
    add("orders.xls", "an old Office file (.xls, .doc)", before(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", noise(50)));
    add("orders.pdf", "a PDF document", before(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", noise(50)));
    add("picture.png", "an image", before(b"\x89PNG\r\n\x1a\n", noise(50)));
    add("program", "a program", before(b"\x7fELF\x02\x01\x01\0", noise(50)));

    // Packed in other ways.
    add("orders.jsonl.bz2", "bzip2", before(b"BZh91AY&SY", noise(50)));
    add("orders.jsonl.xz", "xz", before(b"\xfd7zXZ\0\0\x04", noise(50)));
    add("orders.jsonl.lzma", "lzma", before(b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff", noise(50)));
    add("orders.jsonl.lz", "lzip", before(b"LZIP\x01\x0c", noise(50)));
    add("orders.jsonl.lz4", "lz4", before(b"\x04\x22\x4d\x18d@", noise(50)));
    add("orders.jsonl.lzo", "lzop", before(b"\x89LZO\0\r\n\x1a\n", noise(50)));
    add("orders.jsonl.sz", "snappy (framed)", before(b"\xff\x06\0\0sNaPpY", noise(50)));
    add("orders.snappy", "snappy (of snappy-java)", before(b"\x82SNAPPY\0\0\0\0\x01", noise(50)));
    add("orders.jsonl.Z", "compress (.Z)", before(b"\x1f\x9d\x90", noise(50)));
    add("orders.jsonl.zlib", "zlib", before(b"\x78\x9c", noise(200)));
    add("old.zst", "zstd of before version 0.8", before(b"\x25\xb5\x2f\xfd", noise(50)));
    add("orders.zip", "zip", zip("orders.jsonl"));
    add("orders.jar", "a Java archive", zip("META-INF/"));
    add("orders.7z", "7z", before(b"7z\xbc\xaf\x27\x1c\0\x04", noise(50)));
    add("orders.rar", "rar", before(b"Rar!\x1a\x07\x01\0", noise(50)));
    add("orders.tar", "a tar archive", tar(OBJECTS));
    add("orders.tar.gz", "a tar archive", gzip([&tar(OBJECTS)[..]]));
    add("tar.jsonl.zst", "a tar archive", zstd([&tar(OBJECTS)[..]]));
    add("orders.deb", "an ar archive", before(b"!<arch>\n", noise(50)));
    add("twice.jsonl.gz", "packed twice (gzip is in it)", gzip([&gzip([OBJECTS.as_bytes()])[..]]));
    add("twice.jsonl.zst", "packed twice (zstd is in it)", zstd([&zstd([OBJECTS.as_bytes()])[..]]));
    add("parquet.json.gz", "Parquet", gzip([&before(b"PAR1\x15\x04\x15\0", noise(200))[..]]));
    add("noise.bin", "binary", noise(500));
    add("noise.jsonl", "binary", noise(500));
    add("hole.jsonl", "binary", vec![0; 500]);

    // And some that are as they should be.
    add("orders.jsonl", "lines of JSON objects", OBJECTS.into());
    add("orders.jsonl.gz", "lines of JSON objects", gzip([OBJECTS.as_bytes()]));
    add("plain.jsonl.gz", "lines of JSON objects", OBJECTS.into());
    add("marked.json", "lines of JSON objects", bom(OBJECTS));
    add("numbers.ndjson", "lines of JSON values", "1\n2\n3\n".into());
    all
}
