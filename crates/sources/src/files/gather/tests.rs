//! Many small files through one reader: each row once, with its exact place, in few blocks.

use std::path::Path;

use migration::job::{FileRules, FlushPolicy, JsonlSource, ShardOrder, ShardRules, WindowLimit};
use migration::{Plan, Position, ShardId};
use pipeline::source::PlanRules;
use pipeline::{BlockPool, Next, Reader, RecordPlace, Rows, Source, SourceError};

use crate::jsonl::JsonlFiles;
use crate::jsonl::tests::{Folder, gzip, zstd};

fn source(folder: &Folder) -> JsonlFiles {
    let paths = vec![folder.path().join("*").to_str().unwrap().to_owned()];
    JsonlFiles::new(JsonlSource { raw: true, files: FileRules { paths, max_line: 1 << 20 } }, WindowLimit::default())
}

/// A plan with one shard.
fn planned(source: &JsonlFiles) -> Plan {
    let shards = ShardRules { target_size: Some(u64::MAX), order: ShardOrder::Source, by_key: Some(false) };
    let plan = source.plan(&PlanRules { flush: FlushPolicy::Chunk, ..PlanRules::of_one_worker(&shards) }).unwrap();
    assert_eq!(plan.shards.len(), 1);
    plan
}

/// A row: its text, where it stands, and where a position stands behind it.
type Read = (String, RecordPlace, Position);

/// What a reader gives until its end or an error, and in how many blocks.
fn drain(reader: &mut dyn Reader, pool: &mut BlockPool, from: Position) -> (Vec<Read>, usize, Result<(), SourceError>) {
    let (mut rows, mut all, mut blocks, mut position) = (Rows::default(), Vec::new(), 0, from);
    loop {
        match reader.next(pool, &mut rows) {
            Ok(Next::Rows) => {}
            Ok(_) => return (all, blocks, reader.unchanged()),
            Err(error) => return (all, blocks, Err(error)),
        }
        let Some(block) = &rows.block else { continue };
        blocks += 1;
        assert!(!rows.rows.is_empty());
        // A worker that takes none of these rows goes on here.
        assert!((block.segment, block.place) >= (position.segment, position.place) || block.segment > position.segment);
        for (index, row) in rows.rows.iter().enumerate() {
            let place = block.place_of(index, row);
            position = Position { segment: place.segment, place: row.after, records: position.records + 1 };
            all.push((String::from_utf8_lossy(row.text(block)).into_owned(), place, position));
        }
    }
}

/// A row as it should be read: its text, its first byte, the place behind it.
type Expected = (&'static str, u64, u64);

/// Files of all sorts, in the order of their names, with the rows that each has.
fn files(folder: &Folder) -> Vec<Vec<Expected>> {
    let sorts: [(&[u8], &[Expected]); 9] = [
        (b"{\"a\":1}\n{\"a\":2}\n", &[("{\"a\":1}", 0, 8), ("{\"a\":2}", 8, 16)]),
        (b"no end", &[("no end", 0, 6)]),
        (b"", &[]),
        (b"\xef\xbb\xbfmark\nnext", &[("mark", 3, 8), ("next", 8, 12)]),
        (b"one\r\n\r\ntwo\r", &[("one", 0, 5), ("", 5, 7), ("two\r", 7, 11)]),
        (b"\n \n", &[("", 0, 1), (" ", 1, 3)]),
        (b"\xef\xbb\xbf", &[]),
        (b"packed\nrow", &[("packed", 0, 7), ("row", 7, 10)]),
        (b"packed\nrow\n", &[("packed", 0, 7), ("row", 7, 11)]),
    ];
    let mut expected = Vec::new();
    for number in 0..300 {
        let sort = number % sorts.len();
        let (bytes, rows) = sorts[sort];
        let bytes = match sort {
            7 => gzip(bytes.chunks(4)),
            8 => zstd([bytes]),
            _ => bytes.to_vec(),
        };
        folder.write(&format!("{number:04}"), bytes);
        if number % sorts.len() != 2 {
            expected.push(rows.to_vec());
        }
    }
    expected
}

#[test]
fn small_files_of_all_sorts_share_blocks_and_keep_their_places() {
    let folder = Folder::new();
    let expected: Vec<_> = (0u32..)
        .zip(files(&folder))
        .flat_map(|(segment, rows)| rows.into_iter().map(move |(text, start, after)| (text, segment, start, after)))
        .collect();
    let source = source(&folder);
    let plan = planned(&source);
    let mut pool = BlockPool::new(8 << 20);
    let start = plan.shards[0].start;
    let mut reader = source.open(&plan, ShardId(0), &start, None).unwrap();
    let (read, blocks, end) = drain(reader.as_mut(), &mut pool, start);
    end.unwrap();
    let seen: Vec<_> = read.iter().map(|(text, place, after)| (&text[..], place.segment, place.start, after.place)).collect();
    assert_eq!(seen, expected);
    assert!(blocks < 50, "{blocks} blocks");
    // From behind each row on, the rest and no more.
    for at in (0..read.len()).step_by(7) {
        let from = read[at].2;
        let mut reader = source.open(&plan, ShardId(0), &from, None).unwrap();
        let (rest, ..) = drain(reader.as_mut(), &mut pool, from);
        assert!(rest == read[at + 1..], "behind row {at}, {from:?}");
    }
}

#[test]
fn small_files_hold_no_more_memory_than_their_bytes() {
    let folder = Folder::new();
    (0..2000).for_each(|number| _ = folder.write(&format!("{number:04}"), "0123456789abcde\n".repeat(10)));
    let source = source(&folder);
    let plan = planned(&source);
    let (mut pool, mut rows, mut held) = (BlockPool::new(1 << 20), Rows::default(), Vec::new());
    let mut reader = source.open(&plan, ShardId(0), &Position::default(), None).unwrap();
    while reader.next(&mut pool, &mut rows).unwrap() != Next::End {
        held.extend(rows.block.clone());
    }
    let bytes: usize = held.iter().map(|block| block.bytes.len()).sum();
    assert_eq!(bytes, 320_000);
    // With 24 bytes for each row of 16, and blocks that were handed over before they were full.
    assert!(pool.alive_bytes() < 4 * bytes, "{} for {bytes}", pool.alive_bytes());
    let most = held.iter().map(|block| block.table.as_ref().map_or(0, |table| table.len())).max();
    assert!(most.is_some_and(|most| most * 24 <= pool.block_bytes()), "{most:?}");
}

#[test]
fn large_files_are_not_copied() {
    let folder = Folder::new();
    for name in ["a", "b"] {
        folder.write(name, "0123456789abcde\n".repeat(20_000));
    }
    let source = source(&folder);
    let plan = planned(&source);
    let (mut pool, mut rows) = (BlockPool::new(1 << 20), Rows::default());
    let mut reader = source.open(&plan, ShardId(0), &Position::default(), None).unwrap();
    let (mut tables, mut plain) = (0, 0);
    while reader.next(&mut pool, &mut rows).unwrap() != Next::End {
        let Some(block) = &rows.block else { continue };
        *(if block.table.is_some() { &mut tables } else { &mut plain }) += 1;
    }
    assert!(tables <= 2 && plain >= 18, "{tables} with a table, {plain} without");
}

#[test]
fn a_file_that_changed_is_named_behind_the_rows_before_it() {
    type Change<'a> = (&'a str, &'a dyn Fn(&Path));
    let change: [Change<'_>; 4] = [
        ("is gone", &|path| std::fs::remove_file(path).unwrap()),
        ("longer than planned", &|path| std::fs::write(path, "0123456789\n0123456789\n").unwrap()),
        ("shorter than planned", &|path| std::fs::write(path, "0\n").unwrap()),
        ("was modified", &|path| {
            std::fs::write(path, "9876543210\n").unwrap();
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        }),
    ];
    for (what, change) in change {
        let folder = Folder::new();
        (0..40).for_each(|number| _ = folder.write(&format!("{number:02}"), "0123456789\n"));
        let source = source(&folder);
        let plan = planned(&source);
        let mut reader = source.open(&plan, ShardId(0), &Position::default(), None).unwrap();
        let path = folder.path().join("25");
        change(&path);
        let (read, blocks, end) = drain(reader.as_mut(), &mut BlockPool::new(8 << 20), Position::default());
        let error = end.expect_err(what).0;
        assert!(error.contains(path.to_str().unwrap()), "{error} does not name the file");
        let what = if what == "is gone" { "No such file" } else { what };
        assert!(error.contains(what), "{error} does not say `{what}`");
        assert_eq!((read.len(), reader.segment()), (25, 25), "{what}");
        assert!(blocks < 25);
        assert_eq!(read[24].2, Position { segment: 24, place: 11, records: 25 });
    }
}
