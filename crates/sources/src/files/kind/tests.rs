//! Broken and foreign files by name: what is said of each, by a job that needs no field and by one that does. The
//! sentences stand in `tests/said.txt`, the table in docs/formats.md; `UPDATE_SNAPSHOTS=1` writes both anew.

mod corpus;

use std::fmt::Write as _;
use std::path::Path;

use migration::job::{CsvFormat, CsvHeader, CsvSource};
use migration::job::{FileRules, JsonlSource, ShardOrder, ShardRules, WindowLimit};
use pipeline::Source;
use pipeline::source::PlanRules;

use super::known::Class;
use super::{Head, Kind};
use crate::csv::CsvFiles;
use crate::jsonl::JsonlFiles;
use crate::jsonl::tests::Folder;
use corpus::{File, corpus};
use migration::Compression;

/// What a plan says of the files of a pattern: notes, or the error.
fn said(source: &dyn Source, folder: &Path, needs_fields: bool) -> Result<Vec<String>, String> {
    let shards = ShardRules { target_size: None, order: ShardOrder::Source, by_key: Some(false) };
    let rules = PlanRules { needs_fields, ..PlanRules::of_one_worker(&shards) };
    let short = |text: String| text.replace(&format!("{}/", folder.display()), "");
    source.plan(&rules).map(|plan| plan.notes.into_iter().map(short).collect()).map_err(|error| short(error.0))
}

fn rules(folder: &Folder, pattern: &str) -> FileRules {
    FileRules {
        paths: vec![folder.path().join(glob::Pattern::escape(pattern)).to_str().unwrap().to_owned()],
        max_line: 1 << 20,
    }
}

fn jsonl(folder: &Folder, pattern: &str, raw: bool) -> JsonlFiles {
    JsonlFiles::new(JsonlSource { raw, files: rules(folder, pattern) }, WindowLimit::default())
}

fn csv(folder: &Folder, pattern: &str, header: CsvHeader) -> CsvFiles {
    let format =
        CsvFormat { delimiter: b',', quote: b'"', header, multiline: true, null: String::new(), types: Default::default() };
    CsvFiles::new(CsvSource { files: rules(folder, pattern), format }, WindowLimit::default())
}

/// A sentence, or what stands for silence.
fn sentence(said: &Result<Vec<String>, String>) -> String {
    match said {
        Ok(notes) if notes.is_empty() => "sent".to_owned(),
        Ok(notes) => format!("told: {}", notes.join("\n          ")),
        Err(error) => format!("refused: {error}"),
    }
}

fn update() -> bool {
    std::env::var_os("UPDATE_SNAPSHOTS").is_some()
}

/// Compares with a file of the repository, or writes it.
fn assert_file(path: &Path, text: &str) {
    if update() {
        std::fs::write(path, text).unwrap();
    }
    let stored = std::fs::read_to_string(path).unwrap_or_default();
    let differs = stored.lines().zip(text.lines()).find(|(stored, now)| stored != now);
    assert!(stored == text, "{} is not as the code says (UPDATE_SNAPSHOTS=1 writes it): {differs:#?}", path.display());
}

#[test]
fn each_file_of_the_corpus_is_told_by_what_it_is() {
    let (mut text, mut table) = (String::new(), String::new());
    let corpus = corpus();
    assert!(corpus.iter().filter(|file| file.is != "lines of JSON objects").count() >= 60);
    for File { name, bytes, is, .. } in &corpus {
        let folder = Folder::new();
        let path = folder.write(name, bytes);
        let [keyless, keyed, raw, rows] = [
            said(&jsonl(&folder, name, false), folder.path(), false),
            said(&jsonl(&folder, name, false), folder.path(), true),
            said(&jsonl(&folder, name, true), folder.path(), false),
            said(&csv(&folder, name, CsvHeader::FirstRow), folder.path(), false),
        ];
        assert!(raw.is_ok(), "{name}: raw lifts all: {raw:?}");
        for refused in [&keyless, &keyed].into_iter().filter_map(|said| said.as_ref().err()) {
            assert!(refused.contains(is) && refused.starts_with(name), "{name} is {is}: {refused}");
            assert!(crate::is_of_another_format(refused), "{refused}");
        }
        let kind = kind_of(&path);
        assert_eq!(kind.known.what, *is, "{name}");
        writeln!(text, "{name}: {is}\n  no field: {}\n  a key:    {}", sentence(&keyless), sentence(&keyed)).unwrap();
        writeln!(text, "  CSV:      {}\n", sentence(&rows)).unwrap();
        let what = |said: &Result<Vec<String>, String>| match said {
            Ok(notes) if notes.is_empty() => "sent",
            Ok(_) => "told, sent",
            Err(_) => "refused",
        };
        let remedy = kind.known.remedy(Path::new(name), compression(bytes)).unwrap_or_default();
        let cell = |text: &str| text.replace('|', "\\|");
        let (remedy, name) = (cell(&remedy), cell(name));
        writeln!(table, "| `{name}` | {} | {} | {} | {remedy} |", cell(is), what(&keyless), what(&keyed)).unwrap();
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert_file(&here.join("src/files/kind/tests/said.txt"), &text);
    let doc = here.join("../../docs/formats.md");
    let page = std::fs::read_to_string(&doc).unwrap();
    let head = "| file | is | no field needed | a key | what to do |\n|---|---|---|---|---|\n";
    let begin = page.find(head).expect("the page has the table") + head.len();
    let end = page[begin..].find("\n\n").map_or(page.len(), |end| begin + end + 1);
    assert_file(&doc, &format!("{}{table}{}", &page[..begin], &page[end..]));
}

fn compression(bytes: &[u8]) -> Compression {
    match bytes {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        _ => Compression::None,
    }
}

fn kind_of(path: &Path) -> Kind {
    super::super::look::look(path, |_| None).unwrap().kind
}

fn kind(bytes: &[u8]) -> Kind {
    Kind::of(Head { bytes, whole: true, compression: Compression::None })
}

#[test]
fn good_lines_are_sent_without_a_word() {
    let long = format!("{{\"text\":\"{}\"}}\n", "x".repeat(100_000));
    let latin1 = b"{\"name\":\"M\xfcller\"}\n{\"name\":\"Stra\xdfe\"}\n".to_vec();
    for (what, bytes) in [
        ("objects", b"{\"a\":1}\n{\"a\":2}\n".to_vec()),
        ("one object", b"{\"a\":1}".to_vec()),
        ("white space around", b"\n\r\n  {\"a\":1}  \r\n\n{ \"a\" : 2 }\n".to_vec()),
        ("a byte order mark", b"\xef\xbb\xbf{\"a\":1}\r\n{\"a\":2}\r\n".to_vec()),
        ("the first line is broken", b"{\"a\":\n{\"a\":1}\n{\"a\":2}\n".to_vec()),
        ("a header of another tool", b"connected\n{\"a\":1}\n{\"a\":2}\n".to_vec()),
        ("half of the lines are broken", b"{\"a\":1}\noops\n{\"a\":2}\nno\n".to_vec()),
        ("the last line is cut off", b"{\"a\":1}\n{\"a\":2}\n{\"a\"".to_vec()),
        ("one line, cut off", b"{\"a\":1,\"b\":".to_vec()),
        ("all lines are cut off", b"{\"a\":1,\"b\":\n{\"a\":1,\"b\":\n".to_vec()),
        ("another encoding", latin1),
        ("NaN", b"{\"a\":NaN}\n{\"a\":-Infinity}\n".to_vec()),
        ("a long line", long.clone().into_bytes()),
        ("nothing but a long line", long.trim_end().as_bytes().to_vec()),
        ("numbers", b"1\n2.5\n-3e9\n".to_vec()),
        ("one array a line", b"[1,2]\n[3,4]\n".to_vec()),
        ("one array of numbers", b"[1,2]\n".to_vec()),
        ("arrays of objects a line", b"[{\"a\":1}]\n[{\"a\":2}]\n".to_vec()),
        ("texts, null and words", b"\"a\"\nnull\ntrue\n".to_vec()),
        ("an index that is a number", b"{\"index\":1}\n{\"index\":2}\n".to_vec()),
        ("an index with other fields", b"{\"index\":{\"name\":\"a\"}}\n{\"index\":{\"name\":\"b\"}}\n".to_vec()),
        ("braces in texts", b"{\"a\":\"}{\"}\n{\"a\":\"}\\\"{\"}\n".to_vec()),
        ("nothing", Vec::new()),
        ("white space", b" \n\n\t\r\n".to_vec()),
    ] {
        for name in ["a.jsonl", "a.json", "a.ndjson", "a.txt", "a"] {
            let folder = Folder::new();
            folder.write(name, &bytes);
            for needs_fields in [false, true] {
                let source = jsonl(&folder, name, false);
                let notes =
                    said(&source, folder.path(), needs_fields).unwrap_or_else(|error| panic!("{what}, {name}: {error}"));
                let notes: Vec<_> = notes.iter().filter(|note| !note.contains("its last line has no line end")).collect();
                assert!(notes.is_empty(), "{what}, {name}: {notes:?}");
            }
        }
    }
}

#[test]
fn plain_words_are_what_they_are() {
    for (text, is) in [
        ("2026-11-28 10:00:00,123 INFO started\n2026-11-28 10:00:01,456 WARN slow\n", "plain text"),
        ("<34>Oct 11 22:14:15 host su: failed\n<34>Oct 11 22:14:16 host su: failed\n", "plain text"),
        ("<ann> hello\n<ben> hello\n", "plain text"),
        ("[info] started\n[warn] slow\n", "plain text"),
        ("[2026-11-28 10:00] started\n[2026-11-28 10:01] slow\n", "plain text"),
        ("[section]\nname = 1\n", "plain text"),
        ("[12] started\n[13] slow\n", "plain text"),
        ("{curly words}\n", "plain text"),
        ("level=info msg=\"a b\"\nlevel=warn msg=\"c\"\n", "plain text"),
        ("127.0.0.1 - - [10/Oct/2000:13:55:36 -0700] \"GET / HTTP/1.0\" 200 2326\n", "plain text"),
        ("First, we go. Then, we stay.\nSecond, we rest; then, not.\n", "plain text"),
        ("Error: it failed\nWarning: it is slow\n", "plain text"),
        ("PAR1\nBZh9\nPK\nORC\nMZ\n", "plain text"),
        ("\u{1b}[31mred\u{1b}[0m\n\u{1b}[32mgreen\u{1b}[0m\n", "plain text"),
        ("приветствие\nмир\n", "plain text"),
        ("a,b\n", "CSV with a header"),
        ("1,2,3\n4,5,6\n7,8,9\n", "CSV without a header"),
        ("id\tname\n1\tx\n", "TSV with a header"),
        ("first name,last name\n\"An, n\",x\n", "CSV with a header"),
    ] {
        assert_eq!(kind(text.as_bytes()).known.what, is, "{text}");
    }
}

#[test]
fn every_beginning_of_every_file_is_judged_without_a_panic() {
    for File { name, bytes, .. } in corpus() {
        for end in 0..bytes.len().min(700) {
            for whole in [false, true] {
                let head = Head { bytes: &bytes[..end], whole, compression: Compression::None };
                assert!(!Kind::of(head).known.what.is_empty(), "{name}");
            }
        }
    }
}

proptest::proptest! {
    #[test]
    fn lines_of_objects_are_never_refused(
        values in proptest::collection::vec((proptest::prelude::any::<i64>(), ".{0,40}"), 1..30),
        broken in proptest::option::of(0_usize..30),
    ) {
        let mut text = String::new();
        for (at, (number, words)) in values.iter().enumerate() {
            let line = serde_json::json!({ "n": number, "words": words }).to_string();
            // A line that another program wrote among them.
            if broken == Some(at) && values.len() > 2 { text += "oops\n" } else { text += &format!("{line}\n") }
        }
        let class = kind(text.as_bytes()).known.class;
        proptest::prop_assert_eq!(class, Class::Objects);
    }

    #[test]
    fn bytes_at_random_are_binary(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 1000..2000)) {
        proptest::prop_assert_eq!(kind(&bytes).known.class, Class::Foreign);
    }
}

#[test]
fn the_refusal_names_three_files_and_how_many_more_there_are() {
    let folder = Folder::new();
    for (name, bytes) in [("a.jsonl", "[1,\n2]\n"), ("b.jsonl", "id,name\n1,x\n"), ("c.jsonl", "{\"a\":1}\n")] {
        folder.write(name, bytes);
    }
    for number in 0..5 {
        folder.write(&format!("d{number}.jsonl"), "[\n{\"a\":1},\n{\"a\":2}\n]\n");
    }
    folder.write("e.jsonl", b"PAR1\0\0\0\0\0\0PAR1");
    let all = |needs_fields| {
        let paths = vec![folder.path().join("*.jsonl").to_str().unwrap().to_owned()];
        let files = FileRules { paths, max_line: 1 << 20 };
        let source = JsonlFiles::new(JsonlSource { raw: false, files }, WindowLimit::default());
        said(&source, folder.path(), needs_fields).unwrap_err()
    };
    assert_eq!(
        all(false),
        "8 files are not lines of JSON: a.jsonl (a JSON array), b.jsonl (CSV with a header), \
         d0.jsonl (a JSON array with an element on each line) and 5 more (4: a JSON array with an element on each line; 1: Parquet); \
         a JSON array with an element on each line: to make lines of JSON of it: `jq -c '.[]' d0.jsonl > d0.lines.jsonl`; \
         CSV with a header: [source.csv] makes a JSON object of each row; Parquet: to make lines of JSON of it: \
         `duckdb -c \"COPY (FROM read_parquet('e.jsonl')) TO 'e.lines.jsonl' (FORMAT json)\"`; \
         source.jsonl.raw = true sends each line as it is, whatever the file is"
    );
    assert!(all(true).contains(", and the job needs fields of its records: a.jsonl"), "{}", all(true));
}

#[test]
fn text_without_a_name_that_promises_json_is_told_once() {
    let folder = Folder::new();
    for number in 0..5 {
        folder.write(&format!("app.{number}.log"), "words and words\n");
    }
    let paths = vec![folder.path().join("*.log").to_str().unwrap().to_owned()];
    let source = |raw| {
        let files = FileRules { paths: paths.clone(), max_line: 1 << 20 };
        JsonlFiles::new(JsonlSource { raw, files }, WindowLimit::default())
    };
    assert_eq!(
        said(&source(false), folder.path(), false).unwrap(),
        [
            "5 files are not lines of JSON, and each line of them is sent as it is: app.0.log (plain text), app.1.log (plain text), \
          app.2.log (plain text) and 2 more (2: plain text); source.jsonl.raw = true says that this is meant"
        ]
    );
    assert_eq!(said(&source(true), folder.path(), false).unwrap(), [""; 0]);
}

#[test]
fn bytes_in_mid_file_that_surprise_are_told() {
    for (bytes, told) in [
        (&b"{\"a\":1}\n\xef\xbb\xbf{\"a\":2}\n{\"a\":3}\n"[..], "a byte order mark stands at byte 8, as where files were put"),
        (b"\xef\xbb\xbf{\"a\":1}\n\xef\xbb\xbf{\"a\":2}\n", "a byte order mark stands at byte 11"),
        (b"{\"a\":1}\n{\"a\":2}\n\0\0\0\n", "a zero byte stands at byte 16"),
        (b"{\"a\":1}\n{\"a\":2}\n\x1e{\"a\":3}\n", "a byte RS (0x1e) stands at byte 16"),
    ] {
        let folder = Folder::new();
        folder.write("a.jsonl", bytes);
        let notes = said(&jsonl(&folder, "a.jsonl", false), folder.path(), true).unwrap();
        assert!(matches!(&notes[..], [note] if note.starts_with("a.jsonl: ") && note.contains(told)), "{notes:?}");
        assert!(said(&jsonl(&folder, "a.jsonl", true), folder.path(), true).unwrap().is_empty());
    }
}

#[test]
fn rows_of_csv_may_look_like_anything_where_the_names_are_given() {
    let folder = Folder::new();
    folder.write("a.csv", "{\"a\":1}\n{\"a\":2}\n");
    folder.write("numbers.csv", "n\n1\n2\n3\n");
    folder.write("zero.csv", "a,b\n1,\0\n2,x\n3,yyyyyyyyyyyyyyyyyy\n");
    let names = CsvHeader::Names(vec!["json".to_owned()]);
    assert!(said(&csv(&folder, "a.csv", names), folder.path(), false).is_ok());
    let refused = said(&csv(&folder, "a.csv", CsvHeader::FirstRow), folder.path(), false).unwrap_err();
    assert_eq!(refused, "a.csv: is lines of JSON objects, not rows of CSV; use [source.jsonl], which reads lines of JSON");
    for name in ["numbers.csv", "zero.csv"] {
        assert_eq!(said(&csv(&folder, name, CsvHeader::FirstRow), folder.path(), false), Ok(vec![]), "{name}");
    }
}
