//! Which files, which cuts, which sizes.

use super::*;

const MIB: u64 = 1 << 20;

fn names(plan: &Plan) -> Vec<&str> {
    plan.objects.iter().map(|object| object.path.file_name().unwrap().to_str().unwrap()).collect()
}

#[test]
fn files_are_in_the_order_of_patterns_and_names() {
    let folder = Folder::new();
    for name in ["b.jsonl", "a.jsonl", "z.json", ".hidden.jsonl", "[x].jsonl"] {
        folder.write(name, "{}\n");
    }
    std::os::unix::fs::symlink(folder.path().join("a.jsonl"), folder.path().join("link.jsonl")).unwrap();
    let plan = planned(&folder.source(&["z.*", "*.jsonl", "a.jsonl", "./b.jsonl"]), MIB, None);
    assert_eq!(names(&plan)[..4], ["z.json", "[x].jsonl", "a.jsonl", "b.jsonl"]);
    assert_eq!(plan.objects.len(), 4, "each file once, the hidden one not");
    assert_eq!(names(&planned(&folder.source(&["[x].jsonl"]), MIB, None)), ["[x].jsonl"]);
}

#[test]
fn a_file_is_the_same_however_it_is_spelled() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path().join("data/sub")).unwrap();
    let file = folder.write("data/a.jsonl", b"{\"n\":1}\n".repeat(1000));
    std::os::unix::fs::symlink(folder.path().join("data"), folder.path().join("linked")).unwrap();
    std::os::unix::fs::symlink("a.jsonl", folder.path().join("data/link.json")).unwrap();
    let spellings =
        ["data/a.jsonl", "./data/*.jsonl", "data/sub/../a.jsonl", "linked/a.jsonl", "linked/*.jsonl", "data/link.json"];
    for spelling in spellings {
        let first = planned(&folder.source(&[spelling]), 3000, None);
        assert_eq!(first.objects[0].path, file, "{spelling}");
        for other in spellings {
            unchanged(&first, &folder.source(&[other])).unwrap();
        }
    }
    // Another file below the same link is another file.
    let planned = planned(&folder.source(&["linked/a.jsonl"]), 3000, None);
    std::fs::create_dir(folder.path().join("new")).unwrap();
    let other = folder.write("new/a.jsonl", b"{\"n\":1}\n".repeat(1000));
    std::fs::remove_file(folder.path().join("linked")).unwrap();
    std::os::unix::fs::symlink("new", folder.path().join("linked")).unwrap();
    let now = folder.source(&["linked/a.jsonl"]);
    said(unchanged(&planned, &now), &other, "did not when planned");
}

#[test]
fn other_names_of_a_file_add_nothing_and_are_told() {
    let folder = Folder::new();
    let lines = "{}\n".repeat(50);
    let a = folder.write("a.jsonl", &lines);
    folder.write("same-bytes.jsonl", &lines);
    let (hard, soft) = (folder.path().join("hard.jsonl"), folder.path().join("soft.jsonl"));
    std::fs::hard_link(&a, &hard).unwrap();
    std::os::unix::fs::symlink("hard.jsonl", &soft).unwrap();
    let plan = planned(&folder.source(&["a.jsonl", "./a.jsonl", "*.jsonl"]), MIB, None);
    assert_eq!(names(&plan), ["a.jsonl", "same-bytes.jsonl"]);
    assert_eq!(read_all(&plan, MAX_LINE).unwrap().len(), 100);
    let (a, hard, soft) = (a.display(), hard.display(), soft.display());
    assert_eq!(
        plan.notes,
        [
            format!("{hard} and {a} are one file (hard links): its records are sent once"),
            format!("{soft} and {hard} are one file (a symbolic link): its records are sent once"),
        ]
    );
    std::os::unix::fs::symlink("a.jsonl", folder.path().join("forged\n\u{1b}]0;x.log")).unwrap();
    let notes = planned(&folder.source(&["a.jsonl", "*.log"]), MIB, None).notes;
    assert!(notes[0].contains("forged\\n\\u{1b}]0;x.log and"), "{notes:?}");
    for number in 0..5 {
        std::os::unix::fs::symlink("a.jsonl", folder.path().join(format!("z{number}.jsonl"))).unwrap();
    }
    let notes = planned(&folder.source(&["*.jsonl"]), MIB, None).notes;
    assert_eq!(notes.len(), 4);
    assert!(notes[3].starts_with("4 more names are links"), "{}", notes[3]);
}

#[test]
fn a_last_line_that_was_cut_off_is_told() {
    let long = "x".repeat(70_000);
    for (text, told) in [
        ("{\"n\":1}\n{\"n\":2".to_owned(), Some("the line ends early at byte 6 of the line")),
        ("{\"n\":1".to_owned(), Some("the line ends early at byte 6")),
        (format!("{}{{\"n\":\"cu", format!("{{\"n\":\"{long}\"}}\n").repeat(3)), Some("the line ends early at byte 8")),
        ("{\"n\":1}\n{\"n\":2}{".to_owned(), Some("more after the end of the value at byte 7")),
        ("{\"n\":1}\n{\"n\":2}".to_owned(), None),
        ("{\"n\":1}\n{\"n\":2\n".to_owned(), None),
        ("{\"n\":1}\nplain words".to_owned(), None),
        (String::new(), None),
    ] {
        let folder = Folder::new();
        let path = folder.write("a.jsonl", &text);
        let notes = planned(&folder.source(&["a.jsonl"]), MIB, None).notes;
        match told {
            None => assert_eq!(notes, [""; 0], "{text}"),
            Some(words) => {
                assert!(notes.len() == 1 && notes[0].contains(words), "{notes:?}");
                assert!(notes[0].starts_with(path.to_str().unwrap()), "{notes:?}");
            }
        }
        assert!(planned(&folder.source(&["a.jsonl"]), MIB, Some(1)).notes.is_empty(), "the last line is not taken");
    }
}

#[test]
fn patterns_that_mean_no_file_are_errors() {
    let folder = Folder::new();
    folder.write("a.jsonl", "{}\n");
    std::fs::create_dir(folder.path().join("sub.jsonl")).unwrap();
    let error = |patterns: &[&str]| plan(&folder.source(patterns), &by_size(1), FlushPolicy::Chunk, 1, None);
    said(error(&["a.jsonl", "none-*.jsonl"]), &folder.path().join("none-*.jsonl"), "no file matches");
    said(error(&["none.jsonl"]), &folder.path().join("none.jsonl"), "no file matches");
    said(error(&["*.jsonl"]), &folder.path().join("sub.jsonl"), "is a folder");
    said(error(&["a**b/x"]), &folder.path().join("a**b/x"), "is not a file pattern");
    let long = format!("{}/*.jsonl", "x".repeat(300));
    said(error(&[&long]), &folder.path().join("x".repeat(300)), "can't be searched for");
    let device = FileRules { paths: vec!["/dev/null".to_owned()], max_line: 1 };
    said(plan(&device, &by_size(1), FlushPolicy::Chunk, 1, None), Path::new("/dev/null"), "not a regular file");
}

#[test]
fn names_that_are_no_files_are_told_together() {
    let folder = Folder::new();
    folder.write("a.jsonl", "{}\n");
    for number in 0..200 {
        std::os::unix::fs::symlink("gone", folder.path().join(format!("l-{number:03}.jsonl"))).unwrap();
        std::fs::create_dir(folder.path().join(format!("d-{number:03}.json"))).unwrap();
    }
    let error = |pattern: &str| plan(&folder.source(&[pattern]), &by_size(1), FlushPolicy::Chunk, 1, None).unwrap_err().0;
    let links = error("*.jsonl");
    assert!(links.contains("l-000.jsonl: can't be found: it is a link to gone, which is not there; "), "{links}");
    assert!(links.ends_with("; 197 more names are no files that can be read") && links.len() < 600, "{links}");
    let folders = error("*.json");
    assert!(folders.contains("d-000.json: is a folder; name the files in it") && folders.contains("; 197 more "), "{folders}");
}

#[test]
fn empty_files_are_told_once_where_most_are_empty() {
    let folder = Folder::new();
    for number in 0..40 {
        folder.write(&format!("e-{number:02}.jsonl"), ["", "\n \r\n\n", "\u{feff}"][number % 3]);
    }
    let none = format!("none of 40 files has a record, {} for example", folder.path().join("e-00.jsonl").display());
    assert_eq!(planned(&folder.source(&["*.jsonl"]), MIB, None).notes, [none]);
    folder.write("z.jsonl", "{}\n");
    let notes = planned(&folder.source(&["*.jsonl"]), MIB, None).notes;
    assert!(notes.len() == 1 && notes[0].starts_with("40 of 41 files have no record, "), "{notes:?}");
    assert!(planned(&folder.source(&["[ez]*[0-2z].jsonl", "z*"]), MIB, Some(1)).notes.is_empty(), "a limit looks no further");
}

#[test]
fn a_large_file_is_cut_evenly_at_line_starts() {
    let folder = Folder::new();
    let bytes = b"{\"n\":123456}\n".repeat(10_000);
    folder.write("a.jsonl", &bytes);
    let plan = planned(&folder.source(&["a.jsonl"]), 30_000, None);
    assert_eq!(plan.shards.len(), 5);
    let mut end = 0;
    for (index, shard) in plan.shards.iter().enumerate() {
        let [segment] = plan.segments(shard) else { panic!("one segment") };
        assert_eq!((shard.id, segment.start), (ShardId(index as u32), end));
        assert!(segment.start % 13 == 0 && shard.bytes.is_some_and(|bytes| bytes.abs_diff(26_000) <= 13));
        assert_eq!((shard.bytes, segment.bytes), (Some(segment.end - segment.start), shard.bytes));
        assert!(shard.records_estimate.abs_diff(2000) <= 2, "{}", shard.records_estimate);
        end = segment.end;
    }
    assert_eq!(end, bytes.len() as u64);
}

#[test]
fn a_line_longer_than_the_target_makes_a_larger_shard() {
    let folder = Folder::new();
    let bytes = [&b"a\n".repeat(50)[..], &[b'x'; 10_000], b"\n", &b"b\n".repeat(50)].concat();
    folder.write("a.jsonl", &bytes);
    let plan = planned(&folder.source(&["a.jsonl"]), 100, None);
    assert!(plan.shards.iter().any(|shard| shard.bytes >= Some(10_000)));
    assert!(plan.shards.len() <= 4);
    assert_eq!(strip(&read_all(&plan, MAX_LINE).unwrap()), naive(&bytes, MAX_LINE));
}

#[test]
fn small_files_are_packed_and_compressed_ones_stay_whole() {
    let folder = Folder::new();
    for number in 0..10 {
        folder.write(&format!("{number}.jsonl"), b"12345678\n\n");
    }
    let packed = gzip([&b"x\n".repeat(100)[..]]);
    folder.write("c.gz", &packed);
    let plan = planned(&folder.source(&["*.jsonl", "c.gz"]), 35, None);
    let segments: Vec<_> = plan.shards.iter().map(|shard| shard.segments.len() as u32).collect();
    assert_eq!(segments, [3, 3, 3, 1, 1].map(|n| n));
    assert_eq!(plan.segments(&plan.shards[4])[0].end, migration::Segment::WHOLE);
    assert_eq!(plan.shards[4].bytes, Some(packed.len() as u64));
    assert_eq!(plan.shards[4].records_estimate, 100);
    assert_eq!(plan.shards[0].records_estimate, 6);
    let order = ShardRules { target_size: Some(35), order: ShardOrder::LargestFirst, by_key: Some(false) };
    let largest = super::plan(&folder.source(&["*.jsonl", "c.gz"]), &order, FlushPolicy::Chunk, 1, None).unwrap();
    assert!(largest.shards.is_sorted_by_key(|shard| std::cmp::Reverse(shard.bytes)));
    assert!(largest.shards.iter().zip(0..).all(|(shard, id)| shard.id == ShardId(id)));
    assert_eq!(largest.bytes(), plan.bytes());
}

#[test]
fn without_a_target_that_can_be_reached_all_is_one_shard_in_source_order() {
    let folder = Folder::new();
    folder.write("2.jsonl", "{}\n".repeat(100));
    folder.write("1.jsonl.gz", gzip([&b"{}\n".repeat(9)[..]]));
    folder.write("3.jsonl", "");
    let plan = super::plan(&folder.source(&["*"]), &ShardRules::uncut(), FlushPolicy::Chunk, 8, None).unwrap();
    assert_eq!((plan.shards.len(), plan.objects.len(), plan.segments.len()), (1, 3, 2));
    assert_eq!((plan.segments[0].object, plan.segments[1].object, plan.segments[1].end), (0, 1, 300));
}

#[test]
fn automatic_sizes() {
    let folder = Folder::new();
    // A hole with a line end each 4 MiB: quick to make, any size.
    let path = folder.write("a.jsonl", "");
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let auto = ShardRules { target_size: None, order: ShardOrder::Source, by_key: Some(false) };
    for (mib, workers, flush, shards) in [
        (1, 4, FlushPolicy::Chunk, 4),
        (100, 1, FlushPolicy::Chunk, 4),
        (100, 2, FlushPolicy::Chunk, 4),
        (100, 16, FlushPolicy::Chunk, 16),
        (512, 2, FlushPolicy::Chunk, 8),
        (3072, 1, FlushPolicy::Chunk, 12),
        (1, 4, FlushPolicy::Record, 16),
        (1, 1, FlushPolicy::Record, 4),
    ] {
        let step = if mib == 1 { 1 << 10 } else { 4 * MIB };
        file.set_len(0).unwrap();
        file.set_len(mib * MIB).unwrap();
        for at in 1..=mib * MIB / step {
            std::os::unix::fs::FileExt::write_all_at(&file, b"\n", at * step - 1).unwrap();
        }
        let plan = super::plan(&folder.source(&["a.jsonl"]), &auto, flush, workers, None).unwrap();
        assert_eq!(plan.shards.len(), shards, "{mib} MiB, {workers} workers, {flush:?}");
    }
}

#[test]
fn the_estimate_of_a_compressed_file_is_near() {
    let folder = Folder::new();
    let text: Vec<u8> =
        (0..400_000u32).flat_map(|i| format!("{{\"n\":{}}}\n", i.wrapping_mul(2_654_435_761)).into_bytes()).collect();
    for packed in [gzip([&text[..]]), zstd([&text[..]])] {
        folder.write("a", &packed);
        let estimate = planned(&folder.source(&["a"]), MIB, None).records_estimate();
        assert!((300_000..500_000).contains(&estimate), "{estimate}");
    }
}

#[test]
fn a_limit_reads_no_further_than_it_must() {
    let folder = Folder::new();
    folder.write("a.jsonl", "1\n\n2\n");
    folder.write("b.gz", gzip([&b"3\n4\n5\n"[..]]));
    folder.write("c.jsonl", "6\n");
    let source = folder.source(&["*"]);
    let plan = planned(&source, MIB, Some(3));
    assert_eq!(names(&plan), ["a.jsonl", "b.gz"]);
    assert_eq!(plan.segments(&plan.shards[0]).iter().map(|s| s.end).collect::<Vec<_>>(), [5, 2]);
    assert_eq!(plan.records_estimate(), 3);
    assert_eq!(planned(&source, MIB, Some(100)).objects.len(), 3);
    let reached = |limit| planned(&source, MIB, limit).limit_reached;
    assert_eq!([Some(3), Some(6), Some(7), None].map(reached), [true, true, false, false]);
    // A limit above the source's size leaves nothing out, so that a new file is one of the dataset's.
    let (exact, above) = (planned(&source, MIB, Some(6)), planned(&source, MIB, Some(7)));
    let new = folder.write("d.jsonl", "7\n");
    unchanged(&exact, &source).unwrap();
    said(unchanged(&above, &source), &new, "did not when planned");
}

#[test]
fn the_rest_of_a_shard_is_cut_at_line_starts_and_nothing_is_lost() {
    let folder = Folder::new();
    let line = |n: usize| format!("{{\"n\":{n},\"text\":\"{}\"}}\n", "x".repeat(n * 7 % 90));
    let text = |range: std::ops::Range<usize>| range.map(line).collect::<String>();
    folder.write("a.jsonl", text(0..700));
    folder.write("b.jsonl.gz", gzip([text(700..800).as_bytes()]));
    folder.write("c.jsonl", text(800..1500).trim_end());
    let whole = planned(&folder.source(&["*.jsonl*"]), MIB, None);
    assert_eq!(whole.shards.len(), 1);
    let lines = read(&whole, ShardId(0), whole.shards[0].start, MAX_LINE).unwrap();
    for (done, pieces) in [(0, 8), (1, 2), (350, 5), (700, 3), (750, 4), (1490, 8), (1499, 2)] {
        let from = if done == 0 { whole.shards[0].start } else { lines[done - 1].after };
        let found = cuts(&whole, ShardId(0), &from, pieces).unwrap();
        let mut split = whole.clone();
        let added = split.split(ShardId(0), &from, &migration::Division::Places(found.clone())).unwrap();
        assert_eq!(added.len(), found.len());
        assert!(done > 1400 || found.len() >= pieces as usize - 2, "{done} {pieces}: {found:?}");
        let mut rest = kept(&read(&split, ShardId(0), from, MAX_LINE).unwrap());
        for shard in &split.shards[1..] {
            rest.extend(kept(&read(&split, shard.id, shard.start, MAX_LINE).unwrap()));
        }
        assert_eq!(rest, kept(&lines[done..]), "{done} {pieces}");
    }
}

#[test]
fn pieces_of_a_rest_are_about_the_same_size_and_a_compressed_file_is_none() {
    let folder = Folder::new();
    folder.write("a.jsonl", b"{\"n\":123456}\n".repeat(10_000));
    folder.write("b.jsonl.zst", zstd([&b"{\"n\":123456}\n".repeat(10_000)[..]]));
    let plain = planned(&folder.source(&["a.jsonl"]), MIB, None);
    let from = Position { segment: 0, place: 13 * 2_000, records: 2_000 };
    let found = cuts(&plain, ShardId(0), &from, 4).unwrap();
    assert_eq!(found.iter().map(|cut| cut.place / 13).collect::<Vec<_>>(), [4_000, 6_000, 8_000]);
    let packed = planned(&folder.source(&["b.*"]), MIB, None);
    assert_eq!(cuts(&packed, ShardId(0), &packed.shards[0].start, 4), Ok(vec![]));
}

#[test]
fn a_search_through_links_that_lead_in_circles_ends() {
    use std::os::unix::fs::symlink;
    let folder = Folder::new();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(at("data/sub")).unwrap();
    folder.write("data/a.jsonl", "{}\n");
    folder.write("data/sub/b.jsonl", "{}\n{}\n");
    // Two circles, and twenty folders that each lead to the next by two names: a million ways to the last.
    symlink(".", at("data/again")).unwrap();
    symlink("..", at("data/sub/up")).unwrap();
    for number in 0..20 {
        std::fs::create_dir(at(&format!("chain{number}"))).unwrap();
        for name in ["left", "right"] {
            symlink(format!("../chain{}", number + 1), at(&format!("chain{number}/{name}"))).unwrap();
        }
    }
    std::fs::create_dir(at("chain20")).unwrap();
    folder.write("chain20/c.jsonl", "{}\n{}\n{}\n");
    let (say, said) = std::sync::mpsc::channel();
    let source = folder.source(&["data/**/*.jsonl", "chain0/**/*.jsonl"]);
    std::thread::scope(|scope| {
        scope.spawn(|| say.send(planned(&source, MIB, None)).is_ok());
        let Ok(plan) = said.recv_timeout(std::time::Duration::from_secs(20)) else {
            eprintln!("the search does not end");
            std::process::abort();
        };
        assert_eq!(names(&plan), ["a.jsonl", "b.jsonl", "c.jsonl"]);
        assert_eq!(read_all(&plan, MAX_LINE).unwrap().len(), 6);
        let one = |name: &str, other: &str| {
            let (name, other) = (at(name), at(other));
            format!("{} and {} are one folder (a symbolic link): its records are sent once", name.display(), other.display())
        };
        assert_eq!(plan.notes[..2], [one("data/again", "data"), one("data/sub/up", "data")]);
        assert!(plan.notes[3].starts_with("19 more names are links"), "{:?}", plan.notes);
    });
}

#[test]
fn a_folder_that_is_found_twice_by_its_own_name_is_no_link() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path().join("data/deep/deep")).unwrap();
    folder.write("data/deep/deep/a.jsonl", "{}\n");
    let plan = planned(&folder.source(&["data/**/deep/**/*.jsonl"]), MIB, None);
    assert_eq!((names(&plan), plan.notes.len()), (vec!["a.jsonl"], 0), "{:?}", plan.notes);
}

#[test]
fn names_are_found_in_the_order_of_folders() {
    let folder = Folder::new();
    for name in ["b/x.jsonl", "b.jsonl", "a/deep/er/x.jsonl", "a/y.jsonl", ".hidden/x.jsonl", "c.txt", "a/.z.jsonl"] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("{{\"n\":\"{name}\"}}\n")).unwrap();
    }
    let found = |patterns: &[&str]| -> Vec<String> {
        let plan = planned(&folder.source(patterns), MIB, None);
        let relative =
            |object: &migration::SourceObject| object.path.strip_prefix(folder.path()).unwrap().to_str().unwrap().to_owned();
        plan.objects.iter().map(relative).collect()
    };
    assert_eq!(found(&["**/*.jsonl"]), ["a/deep/er/x.jsonl", "a/y.jsonl", "b/x.jsonl", "b.jsonl"]);
    assert_eq!(found(&["**/**/x.jsonl"]), ["a/deep/er/x.jsonl", "b/x.jsonl"]);
    assert_eq!(found(&["*/**/?.jsonl"]), ["a/deep/er/x.jsonl", "a/y.jsonl", "b/x.jsonl"]);
    assert_eq!(found(&["**/deep/**/*.jsonl"]), ["a/deep/er/x.jsonl"]);
    assert_eq!(found(&["*/x.jsonl", "[!a].jsonl"]), ["b/x.jsonl", "b.jsonl"]);
    assert_eq!(found(&[".hidden/*", "a/.z*"]), [".hidden/x.jsonl", "a/.z.jsonl"]);
}

#[test]
fn a_name_that_is_no_text_is_refused_where_it_is_meant_and_else_no_matter() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = Folder::new();
    folder.write("a.jsonl", "{}\n");
    std::fs::write(folder.path().join(std::ffi::OsStr::from_bytes(b"\xff.json")), "{}\n").unwrap();
    assert_eq!(names(&planned(&folder.source(&["*.jsonl"]), MIB, None)), ["a.jsonl"]);
    let refused = plan(&folder.source(&["**/*.json"]), &by_size(MIB), FlushPolicy::Chunk, 1, None).unwrap_err();
    assert!(refused.to_string().contains("is not UTF-8"), "{refused}");
}
