//! Rows through blocks of any size, from any row on, and whole plans.

use migration::job::{CsvFormat, CsvHeader, FileRules, ShardOrder, ShardRules, WindowLimit};
use migration::{Compression, Plan};
use pipeline::Source;
use pipeline::fate::Look;
use pipeline::source::{PlanRules, wait_for_rows};
use proptest::prelude::*;

use super::*;
use crate::files::Format;
use crate::jsonl::tests::Folder;

/// A row as it was read: what it became or is, whether it is bad, its bytes without its end, how many it counts, and
/// where it ends.
#[derive(Clone, Debug, PartialEq)]
struct Read {
    text: String,
    bad: Option<String>,
    at: u64,
    whole: u64,
    counts: u64,
    after: u64,
}

fn source(max_line: u64) -> CsvFiles {
    let format = CsvFormat {
        delimiter: b',',
        quote: b'"',
        header: CsvHeader::FirstRow,
        multiline: true,
        null: String::new(),
        types: Default::default(),
    };
    let files = FileRules { paths: Vec::new(), max_line };
    CsvFiles { files, format, windows: WindowLimit::default() }
}

fn reads(rows: &Rows, block: &Block) -> Vec<Read> {
    let read = |(index, row): (usize, &Row)| Read {
        text: String::from_utf8_lossy(row.text(block)).into_owned(),
        bad: rows.bad.iter().find(|(bad, _)| *bad as usize == index).map(|(_, reason)| reason.clone()),
        at: block.place_of(index, row).start,
        whole: row.whole,
        counts: row.counts,
        after: row.after,
    };
    rows.rows.iter().enumerate().map(read).collect()
}

/// Reads a file from a place on in blocks of about `block` bytes.
fn read(source: &CsvFiles, object: &SourceObject, place: u64, block: usize) -> Vec<Read> {
    let end = if object.compression == Compression::None { object.known_bytes() } else { Segment::WHOLE };
    let segment = Segment { object: 0, start: 0, end, bytes: None };
    let mut open = OpenSegment::new(source, object, &segment, place).unwrap();
    let mut all = Vec::new();
    loop {
        if !open.stream.skip().unwrap() {
            continue;
        }
        let mut rows = Rows::default();
        let mut made = Made { block: Block::default(), table: Vec::new(), rows: &mut rows, full: block, expected: 0 };
        let over = open.go_on(&mut made).unwrap();
        let Made { mut block, table, .. } = made;
        block.table = Some(Rc::new(table));
        all.extend(reads(&rows, &block));
        if over {
            return all;
        }
    }
}

fn object(source: &CsvFiles, folder: &Folder, bytes: &[u8]) -> SourceObject {
    begun(source, &folder.write("x.csv", bytes)).unwrap()
}

fn row(text: &str, at: u64, whole: u64, counts: u64) -> Read {
    Read { text: text.into(), bad: None, at, whole, counts, after: at + counts }
}

#[test]
fn the_header_is_no_row_and_counts_for_the_first() {
    let (source, folder) = (source(1 << 20), Folder::new());
    for mark in ["", "\u{feff}"] {
        let bytes = format!("{mark}\r\nid,\"na\nme\"\r\n1,x\r\n\r\n2,\"y\n\"\n");
        let (object, m) = (object(&source, &folder, bytes.as_bytes()), mark.len() as u64);
        let mut expected = [
            row(r#"{"id":"1","na\nme":"x"}"#, m + 14, 3, 5),
            row("", m + 19, 0, 2),
            row(r#"{"id":"2","na\nme":"y\n"}"#, m + 21, 6, 7),
        ];
        expected[0].counts += m + 14;
        for block in [1, 2, 3, 5, 8, 1000] {
            assert_eq!(read(&source, &object, 0, block), expected, "{mark:?} {block}");
        }
        // A reader that goes on has the header all the same.
        assert_eq!(read(&source, &object, m + 19, 7), expected[1..]);
    }
}

#[test]
fn a_row_that_is_too_long_is_kept_in_part_and_the_next_one_is_read() {
    let (source, folder) = (source(6), Folder::new());
    for end in ["\n", "\r\n", "\r"] {
        let e = end.len() as u64;
        let bytes = format!("a,b{end}1,2345{end}1,\"{end}45\"{end}1,23456789012{end}7,8{end}");
        let object = object(&source, &folder, bytes.as_bytes());
        let (second, third) = (3 + e + 6 + e, 3 + e + 6 + e + 6 + e + e);
        for block in [1, 2, 3, 4, 1000] {
            let read = read(&source, &object, 0, block);
            assert_eq!(read[0].text, r#"{"a":"1","b":"2345"}"#, "{end:?} {block}");
            let whole = 6 + e;
            let long = |text: &str, at, whole, after| Read {
                text: text.into(),
                bad: Some(format!("the row has {whole} bytes, more than source.csv.max_line allows")),
                at,
                whole,
                counts: after - at,
                after,
            };
            let kept = &bytes[second as usize..][..6];
            assert_eq!(read[1], long(kept, second, whole, third), "{end:?} {block}");
            assert_eq!(read[2], long("1,2345", third, 13, third + 13 + e), "{end:?} {block}");
            assert_eq!(read[3].text, r#"{"a":"7","b":"8"}"#);
        }
    }
    let object = object(&source, &folder, b"a,b\n1,\"2\n3,4\n5,6\n");
    let reason = "the row has 13 bytes, more than source.csv.max_line allows; a quote in it is never closed";
    assert_eq!(read(&source, &object, 0, 2)[0].bad.as_deref(), Some(reason));
}

#[test]
fn a_bad_row_keeps_its_own_bytes() {
    let (source, folder) = (source(1 << 20), Folder::new());
    let object = object(&source, &folder, b"a,b\n1,\"2\"3\n4\n\"\xff\",\n");
    let read = read(&source, &object, 0, 100);
    let told: Vec<(&str, &str)> = read.iter().map(|read| (read.text.as_str(), read.bad.as_deref().unwrap())).collect();
    let text = "text follows the closing quote at byte 4 of the row: a quote within quotes is written twice";
    let fields = "the row has 1 field and 2 are expected";
    assert_eq!(told, [("1,\"2\"3", text), ("4", fields), ("\"\u{fffd}\",", "column `a` is not UTF-8 at byte 0 of the field")]);
}

#[test]
fn a_file_without_a_row_is_no_error() {
    let (source, folder) = (source(1 << 20), Folder::new());
    for bytes in ["", "\n\r\n", "\u{feff}", "a,b", "a,b\n"] {
        let object = object(&source, &folder, bytes.as_bytes());
        assert_eq!(read(&source, &object, 0, 3), [], "{bytes:?}");
    }
}

#[test]
fn what_many_files_lack_is_told_once() {
    let (mut source, folder) = (source(1 << 20), Folder::new());
    let plan = |source: &CsvFiles| source.plan(&PlanRules::of_one_worker(&ShardRules::uncut()));
    for number in 0..40 {
        folder.write(&format!("{number:02}.csv"), ["a,b\n", "\n\n", "", "a,b"][number % 4]);
    }
    source.files = folder.source(&["*.csv"]);
    let none = format!("none of 40 files has a record, {} for example", folder.path().join("00.csv").display());
    assert_eq!(plan(&source).unwrap().notes, [none]);
    (0..40).for_each(|number| drop(folder.write(&format!("{number:02}.csv"), "a,a\n1,2\n")));
    let error = plan(&source).unwrap_err().0;
    assert_eq!(error.matches("has no usable header").count(), 3, "{error}");
    assert!(error.ends_with("; 37 more files do not begin as they must"), "{error}");
}

#[test]
fn headers_that_are_none_are_refused_when_the_file_is_looked_at() {
    let (mut source, folder) = (source(20), Folder::new());
    let refused = |source: &CsvFiles, bytes: &str| {
        let path = folder.write("x.csv", bytes);
        begun(source, &path).expect_err("an error").0.replace(&path.display().to_string(), "FILE")
    };
    let hint = "the first row names the columns, or source.csv.header does";
    assert_eq!(
        refused(&source, "a,a\n1,2\n"),
        format!("FILE: has no usable header: columns 1 and 2 are both named `a`; {hint}")
    );
    assert_eq!(refused(&source, "a,\n1,2\n"), format!("FILE: has no usable header: column 2 has no name; {hint}"));
    let long = "FILE: has no usable header: its first row is longer than source.csv.max_line allows, or opens a quote that is not \
                closed, or as many bytes of blank lines come before it";
    let blank = "\n".repeat(70_000);
    assert_eq!(refused(&source, &format!("a,\"b{blank}")), long);
    assert_eq!(refused(&source, &format!("{blank}a,b\n1,2\n")), long);
    let open = "FILE: has no usable header: the name of column 2 has text behind its closing quote, or no closing quote";
    assert_eq!(refused(&source, "a,\"b\n"), format!("{open}; {hint}"));
    source.format.types = [("c\n".into(), CsvType::Number)].into();
    let columns = "FILE: has no column `c\\n`, which source.csv.types names; its columns are: a, b";
    assert_eq!(refused(&source, "a,b\n1,2\n"), columns);
    source.format.header = CsvHeader::Names(vec!["x".into(), "x".into()]);
    assert_eq!(refused(&source, "1,2\n"), "source.csv.header: columns 1 and 2 are both named `x`");
}

#[test]
fn names_of_columns_may_be_given() {
    let (mut source, folder) = (source(1 << 20), Folder::new());
    source.format.header = CsvHeader::Names(vec!["x".into(), "y".into()]);
    source.format.types = [("y".into(), CsvType::Number)].into();
    let object = object(&source, &folder, b"\xef\xbb\xbfa,1\nb,2");
    let read = read(&source, &object, 0, 5);
    assert_eq!(read, [Read { counts: 7, ..row(r#"{"x":"a","y":1}"#, 3, 3, 4) }, row(r#"{"x":"b","y":2}"#, 7, 3, 3)]);
}

#[test]
fn a_worker_that_took_none_of_a_blocks_rows_can_go_on_there() {
    for header in [CsvHeader::FirstRow, CsvHeader::Names(vec!["x".into(), "y".into()])] {
        let (mut source, folder) = (source(1 << 20), Folder::new());
        source.format.header = header;
        for name in ["a", "b"] {
            let file = folder.write(&format!("{name}.csv"), b"\xef\xbb\xbf\nx,y\n1,2\n");
            source.files.paths.push(file.to_str().unwrap().to_owned());
        }
        let plan = planned(&source, 1 << 20, None);
        let (shard, mut pool, mut rows) = (&plan.shards[0], BlockPool::new(0), Rows::default());
        assert_eq!((plan.shards.len(), plan.segments(shard).len()), (1, 2));
        for segment in 0..2 {
            let from = Position { segment, ..shard.start };
            let mut reader = source.open(&plan, shard.id, &from, None).unwrap();
            assert!(wait_for_rows(reader.as_mut(), &mut pool, &mut rows).unwrap());
            let block = rows.block.clone().unwrap();
            assert_eq!((block.segment, block.place), (segment, 0), "nothing of the file was taken");
            let position = Position { segment, place: block.place, records: 0 };
            let (mut again, mut same) = (source.open(&plan, shard.id, &position, None).unwrap(), Rows::default());
            assert!(wait_for_rows(again.as_mut(), &mut pool, &mut same).unwrap());
            assert_eq!(reads(&same, same.block.as_ref().unwrap()), reads(&rows, &block));
        }
    }
}

fn rules(target: u64) -> ShardRules {
    ShardRules { target_size: Some(target), order: ShardOrder::Source, by_key: Some(false) }
}

fn planned(source: &CsvFiles, target: u64, record_limit: Option<u64>) -> Plan {
    let shards = &rules(target);
    source.plan(&PlanRules { record_limit, ..PlanRules::of_one_worker(shards) }).unwrap()
}

/// All rows of a plan, shard by shard, each read from a position that one of its rows gave.
fn read_plan(source: &CsvFiles, plan: &Plan, pause: usize) -> Vec<(u64, String)> {
    let mut all = Vec::new();
    for shard in &plan.shards {
        let mut position = shard.start;
        let mut left = pause;
        loop {
            let mut reader = source.open(plan, shard.id, &position, None).unwrap();
            let (mut pool, mut rows) = (BlockPool::new(0), Rows::default());
            let mut stopped = false;
            while !stopped && wait_for_rows(reader.as_mut(), &mut pool, &mut rows).unwrap() {
                let Some(block) = rows.block.clone() else { continue };
                for (index, look) in rows.looks() {
                    let row = &rows.rows[index];
                    if let Look::Record(text) = look {
                        all.push((block.place_of(index, row).start, String::from_utf8(text.to_vec()).unwrap()));
                    }
                    position.place = row.after;
                    position.segment = block.segment_of(index);
                    stopped = left == index;
                    if stopped {
                        break;
                    }
                }
            }
            if !stopped {
                break;
            }
            left = left.wrapping_mul(7) % 1000 + 1;
        }
    }
    all.sort();
    all
}

/// What the `csv` crate makes of a file, as objects.
fn judged(bytes: &[u8]) -> Vec<String> {
    let mut reader = csv::Reader::from_reader(bytes);
    let names = reader.headers().unwrap().clone();
    let object = |row: csv::StringRecord| {
        let value = |field: &str| if field.is_empty() { serde_json::Value::Null } else { field.into() };
        let fields = names.iter().zip(&row).map(|(name, field)| (name.to_owned(), value(field)));
        serde_json::Value::Object(fields.collect()).to_string()
    };
    reader.records().map(|row| object(row.unwrap())).collect()
}

/// A source of one file with these bytes.
fn source_of(folder: &Folder, name: &str, bytes: &[u8]) -> CsvFiles {
    let mut source = source(1 << 20);
    source.files.paths = vec![folder.write(name, bytes).to_str().unwrap().to_owned()];
    source
}

/// Rows of which each has a line end in quotes.
fn many_rows(rows: usize) -> String {
    (0..rows).fold("a,b\n".to_owned(), |file, row| file + &format!("{row},\"x\ny\"\r\n"))
}

#[test]
fn a_limit_takes_the_first_rows_that_are_not_blank() {
    let folder = Folder::new();
    let source = source_of(&folder, "x.csv", many_rows(10).replace("\n3,", "\n\n\n3,").as_bytes());
    let plan = planned(&source, 30, Some(5));
    let rows = read_plan(&source, &plan, usize::MAX);
    assert_eq!(rows.len(), 5);
    assert_eq!(rows[4].1, r#"{"a":"4","b":"x\ny"}"#);
    assert!(plan.limit_reached && plan.shards.len() > 1, "{plan:?}");
    assert!(!planned(&source, 30, Some(11)).limit_reached);
}

#[test]
fn without_multiline_a_file_is_cut_at_line_ends() {
    let folder = Folder::new();
    let file = "a,b\n".to_owned() + &"1,\"x\"\r\n".repeat(1000);
    let mut source = source_of(&folder, "x.csv", file.as_bytes());
    source.format.multiline = false;
    let plan = planned(&source, 1000, None);
    assert_eq!((plan.shards.len(), &plan.objects[0].record_starts[..]), (8, &[][..]));
    assert_eq!(read_plan(&source, &plan, 3).len(), 1000);
    let cuts = source.cuts(&plan, plan.shards[4].id, &plan.shards[4].start, 3).unwrap();
    assert_eq!(cuts.len(), 2);
}

#[test]
fn a_quote_that_is_never_closed_is_told_by_the_plan() {
    let folder = Folder::new();
    let source = source_of(&folder, "x.csv", b"a,b\n1,2\n3,\"4\n5,6\n");
    let told = "a quote in the row that begins at byte 8 is never closed: the rest of the file is that row";
    assert_eq!(planned(&source, 1 << 20, None).notes, [format!("{}: {told}", source.files.paths[0])]);
}

#[test]
fn without_cuts_a_file_is_not_read_for_its_starts() {
    let folder = Folder::new();
    // A pass over it would tell of the quote.
    let source = source_of(&folder, "x.csv", b"a,b\n1,2\n3,\"4\n5,6\n");
    let plan = planned(&source, ShardRules::UNCUT, None);
    assert_eq!((plan.shards.len(), plan.objects[0].splittable, &plan.notes[..]), (1, false, &[][..]));
    assert_eq!(source.cuts(&plan, plan.shards[0].id, &plan.shards[0].start, 4).unwrap(), [], "not at any line end");
    let whole = source_of(&folder, "x.csv", many_rows(3000).as_bytes());
    let plan = planned(&whole, ShardRules::UNCUT, None);
    let all = read_plan(&whole, &plan, 7);
    assert_eq!(all.into_iter().map(|(_, row)| row).collect::<Vec<_>>(), judged(many_rows(3000).as_bytes()));
}

#[test]
fn a_compressed_file_is_one_shard_and_is_entered_behind_any_row() {
    use std::io::Write as _;
    let folder = Folder::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(many_rows(3000).as_bytes()).unwrap();
    let source = source_of(&folder, "x.csv.gz", &gzip.finish().unwrap());
    let plan = planned(&source, 1000, None);
    assert_eq!(plan.shards.len(), 1);
    let all = read_plan(&source, &plan, 7);
    assert_eq!(all.into_iter().map(|(_, row)| row).collect::<Vec<_>>(), judged(many_rows(3000).as_bytes()));
    assert_eq!(source.cuts(&plan, plan.shards[0].id, &plan.shards[0].start, 4).unwrap(), []);
}

#[test]
fn another_file_in_the_place_of_one_is_read_by_its_own_header_and_not_cut() {
    let folder = Folder::new();
    let source = source_of(&folder, "x.csv", many_rows(10_000).as_bytes());
    let mut plan = planned(&source, 1 << 20, None);
    assert!(plan.objects[0].splittable && !plan.objects[0].record_starts.is_empty());
    folder.write("x.csv", "b\n7\n");
    assert!(source.changes(&plan).unwrap().changed[0].contains("shorter than planned"));
    let replaced = source.replaced(&plan, &|_| Ok(None)).unwrap();
    for (object, now) in replaced {
        plan.replace(object, now).unwrap();
    }
    assert!(!plan.objects[0].splittable);
    assert!(source.changes(&plan).unwrap().is_empty());
    assert_eq!(read_plan(&source, &plan, 0), [(2, r#"{"b":"7"}"#.to_owned())]);
    assert_eq!(source.cuts(&plan, plan.shards[0].id, &plan.shards[0].start, 4).unwrap(), []);
}

#[test]
fn a_new_file_is_a_change() {
    let folder = Folder::new();
    let mut source = source_of(&folder, "1.csv", b"a\n1\n");
    source.files.paths = vec![source.files.paths[0].replace("1.csv", "*.csv")];
    let plan = planned(&source, 1 << 20, None);
    let new = folder.write("2.csv", "b\n1\n");
    assert_eq!(source.changes(&plan).unwrap().new, [new]);
}

/// A file of some rows with line ends, quotes and letters of any kind in quotes.
fn file() -> impl Strategy<Value = Vec<u8>> {
    let text =
        proptest::collection::vec(proptest::sample::select(&["x", "\n", "\r\n", "\"", ",", "é", " ", "long text"][..]), 1..8);
    let row = (text.clone(), text, proptest::sample::select(&["\n", "\r\n", "\r", "\n\n"][..]));
    (proptest::collection::vec(row, 1..60), 1usize..120, any::<bool>()).prop_map(|(rows, times, mark)| {
        let mut file = if mark { "\u{feff}a,b\n".to_owned() } else { "a,b\n".to_owned() };
        for (first, second, end) in rows.iter().cycle().take(rows.len() * times) {
            let quoted = |text: &[&str]| format!("\"{}\"", text.concat().replace('"', "\"\""));
            file += &format!("{},{}{end}", quoted(first), quoted(second));
        }
        file.into_bytes()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn all_shards_together_are_the_file(bytes in file(), target in 200u64..40_000, pause in 0usize..500, pieces in 2u32..6) {
        let folder = Folder::new();
        let mut source = source(1 << 20);
        source.files.paths = vec![folder.write("x.csv", &bytes).to_str().unwrap().to_owned()];
        let mut plan = planned(&source, target, None);
        let expected = judged(&bytes);
        let all = read_plan(&source, &plan, pause);
        prop_assert!(all.windows(2).all(|two| two[0].0 < two[1].0), "no row twice");
        prop_assert_eq!(all.iter().map(|(_, object)| object.clone()).collect::<Vec<_>>(), expected);
        // And with each shard cut again, as a running job does.
        for shard in plan.shards.clone() {
            let from = shard.start;
            let cuts = source.cuts(&plan, shard.id, &from, pieces).unwrap();
            let cut = plan.pieces(shard.id, &from, &migration::Division::Places(cuts.clone())).unwrap();
            plan.put(cut);
        }
        prop_assert_eq!(read_plan(&source, &plan, usize::MAX), all);
        prop_assert_eq!(plan.bytes(), bytes.len() as u64);
    }

    #[test]
    fn any_block_gives_the_same_rows(bytes in file(), block in 1usize..300, from in 0usize..100) {
        let folder = Folder::new();
        let source = source(1 << 20);
        let bytes = &bytes[..bytes.len().min(3000)];
        let object = object(&source, &folder, bytes);
        let all = read(&source, &object, 0, 1 << 20);
        prop_assert_eq!(&read(&source, &object, 0, block), &all);
        if let Some(row) = all.get(from) {
            prop_assert_eq!(&read(&source, &object, row.after, block)[..], &all[from + 1..]);
        }
        if let (Some(first), Some(last)) = (all.first(), all.last()) {
            prop_assert_eq!(all.iter().map(|row| row.counts).sum::<u64>(), last.after);
            prop_assert!(first.at > 0, "the header is no row");
        }
    }
}

/// The facts of a file whose rows can begin.
fn begun(source: &CsvFiles, path: &std::path::Path) -> Result<SourceObject, SourceError> {
    let object = crate::files::facts(path)?;
    source.begins(&object).map(|_| object)
}
