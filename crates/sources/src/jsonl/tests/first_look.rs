//! What planning says of files that are missed, damaged or can't be opened; and a few places of files for a sample.

use pipeline::source::Probes;

use super::*;

const MIB: u64 = 1 << 20;

fn notes(folder: &Folder, patterns: &[&str]) -> Vec<String> {
    let notes = planned(&folder.source(patterns), MIB, None).notes;
    notes.into_iter().map(|note| note.replace(&format!("{}/", folder.path().display()), "")).collect()
}

fn folder_of(names: &[&str]) -> Folder {
    let folder = Folder::new();
    for name in names {
        let packed = name.ends_with(".gz").then(|| gzip([&b"{}\n"[..]]));
        folder.write(name, packed.unwrap_or(b"{}\n".to_vec()));
    }
    folder
}

#[test]
fn files_that_a_pattern_misses_by_their_ending_are_told() {
    for (pattern, names, told) in [
        (
            "*.jsonl",
            &["o-1.jsonl", "o-2.jsonl", "o-3.jsonl", "o-4.jsonl.gz", "o-5.jsonl.gz", "o-6.jsonl.gz", "o-7.jsonl.zst"][..],
            "4 files beside those of `*.jsonl` are not meant by it: o-4.jsonl.gz, o-5.jsonl.gz, o-6.jsonl.gz, 1 more; \
             `*.jsonl*` would mean them too",
        ),
        (
            "*.jsonl.gz",
            &["o-1.jsonl.gz", "o-2.jsonl"],
            "1 file beside those of `*.jsonl.gz` is not meant by it: o-2.jsonl; `*.jsonl*` would mean it too",
        ),
        (
            "*.jsonl",
            &["o-1.jsonl", "o-2.jsonl.gz", "o-2.jsonl.gz.md5"],
            "1 file beside those of `*.jsonl` is not meant by it: o-2.jsonl.gz; `*.jsonl.gz` would mean it too",
        ),
        ("app.log*[a-z]", &["app.log", "app.log.1", "app.log.2.gz"], ""),
        ("o-[1-3].jsonl", &["o-1.jsonl", "o-2.jsonl", "o-4.jsonl"], ""),
        (
            "*.log",
            &["app.log", "app.log.1", "app.log.2.gz"],
            "2 files beside those of `*.log` are not meant by it: app.log.1, app.log.2.gz; `*.log*` would mean them too",
        ),
        (
            "*.jsonl",
            &["o-01.jsonl", "o-02.ndjson", "o-03.json.gz", "o-04.csv"],
            "3 files beside those of `*.jsonl` are not meant by it: o-02.ndjson, o-03.json.gz, o-04.csv; \
             `*.csv` and `*.json.gz` and `*.ndjson` would mean them too",
        ),
        (
            "*.jsonl",
            &["o-1.jsonl", "o-2.jsonl.part"],
            "1 file beside those of `*.jsonl` is not meant by it: o-2.jsonl.part; `*.jsonl*` would mean it too",
        ),
        // Other forms of what is meant, other data, and files of tools.
        (
            "*.jsonl",
            &[
                "o-1.jsonl",
                "o-1.jsonl.gz",
                "o-1.csv",
                "schema.json",
                "customers.csv",
                "README.md",
                "README",
                "o-1.jsonl.md5",
                "o-2.jsonl.tmp",
                ".o-3.jsonl.gz",
                "_SUCCESS",
                "_o-4.jsonl.gz",
                "o-1.jsonl~",
                "SHA256SUMS",
                "o-1.jsonl.crc",
            ],
            "",
        ),
        // Meant as it is.
        ("o-1.jsonl", &["o-1.jsonl", "o-2.jsonl.gz", "o-1.jsonl.1"], ""),
        ("*", &["o-1.jsonl", "o-2.jsonl.gz"], ""),
    ] {
        let folder = folder_of(names);
        let expected: &[&str] = if told.is_empty() { &[] } else { &[told] };
        assert_eq!(notes(&folder, &[pattern]), expected, "{names:?}");
    }
}

#[test]
fn what_another_pattern_means_is_not_missed() {
    let folder = folder_of(&["o-1.jsonl", "o-2.jsonl.gz", "o-3.jsonl.zst"]);
    std::os::unix::fs::symlink("o-1.jsonl", folder.path().join("o-9.jsonl.1")).unwrap();
    let told = notes(&folder, &["*.jsonl", "*.jsonl.gz"]);
    assert!(matches!(&told[..], [note] if note.contains("not meant by it: o-3.jsonl.zst;")), "{told:?}");
    assert_eq!(notes(&folder, &["*.jsonl", "*.gz", "*.zst"]), [""; 0]);
}

#[test]
fn a_small_compressed_file_that_is_cut_off_or_damaged_is_told_when_it_is_planned() {
    let text: Vec<u8> =
        (0..300_000_u32).flat_map(|n| format!("{{\"n\":{}}}\n", n.wrapping_mul(2_654_435_761)).into_bytes()).collect();
    for (name, packed) in [("a.jsonl.gz", gzip([&text[..]])), ("a.jsonl.zst", zstd([&text[..]]))] {
        for share in [10, 2] {
            let folder = Folder::new();
            folder.write(name, &packed[..packed.len() - packed.len() / share]);
            folder.write("b.jsonl.gz", gzip([&b"{}\n"[..]]));
            let told = notes(&folder, &["*"]);
            let is = |note: &String| {
                note.starts_with(&format!("{name}: truncated")) && note.contains("put a whole copy of the file in its place")
            };
            assert!(matches!(&told[..], [note] if is(note)), "{told:?}");
            let plan = planned(&folder.source(&["*"]), MIB, None);
            let error = read_all(&plan, MAX_LINE).unwrap_err().0;
            assert_eq!(told[0], error.replace(&format!("{}/", folder.path().display()), ""), "the words of a run");
        }
    }
    let folder = Folder::new();
    let mut packed = gzip([&text[..]]);
    let middle = packed.len() / 2;
    packed[middle] ^= 1;
    folder.write("a.jsonl.gz", &packed);
    folder.write("b.jsonl.gz", [&gzip([&b"{}\n"[..]])[..], b"more"].concat());
    let told = notes(&folder, &["*"]);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().any(|note| note.starts_with("a.jsonl.gz: corrupt gzip stream")), "{told:?}");
    assert!(told.iter().any(|note| note.starts_with("b.jsonl.gz: 4 bytes from byte")), "{told:?}");
}

#[test]
fn files_that_cant_be_opened_are_named_together() {
    let folder = folder_of(&["a.jsonl", "b.jsonl"]);
    let read = |name: &str| crate::files::facts(&folder.path().join(name));
    std::fs::remove_file(folder.path().join("a.jsonl")).unwrap();
    let error = read("a.jsonl").unwrap_err().0;
    assert!(error.contains("a.jsonl: can't be read: No such file"), "{error}");
    let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    folder.write("a.jsonl", "{}\n");
    for name in ["a.jsonl", "b.jsonl"] {
        std::fs::set_permissions(folder.path().join(name), mode(0o000)).unwrap();
    }
    if std::fs::read(folder.path().join("a.jsonl")).is_ok() {
        eprintln!("root may read everything: nothing is refused");
        return;
    }
    let error = plan(&folder.source(&["*.jsonl"]), &by_size(1), FlushPolicy::Chunk, 1, None).unwrap_err().0;
    assert!(error.contains("a.jsonl: can't be read: Permission denied") && error.contains("b.jsonl"), "{error}");
}

fn probed(plan: &Plan, object: u32) -> (Vec<Vec<Vec<u8>>>, f64) {
    let Probes { readers, unpacked } =
        source(&FileRules { paths: Vec::new(), max_line: MAX_LINE }).probes(plan, object).unwrap();
    let all = readers.into_iter().map(|mut reader| {
        let (mut pool, mut rows, mut lines) = (BlockPool::new(64 << 10), Rows::default(), Vec::new());
        while wait_for_rows(reader.as_mut(), &mut pool, &mut rows).unwrap() {
            let looks =
                rows.looks().filter_map(|(_, look)| if let Look::Record(line) = look { Some(line.to_vec()) } else { None });
            lines.extend(looks);
        }
        lines
    });
    (all.collect(), unpacked)
}

#[test]
fn probes_begin_at_the_start_in_the_middle_and_near_the_end_and_no_row_is_in_two() {
    let folder = Folder::new();
    let lines: Vec<_> = (0..30_000).map(|n| format!("{{\"n\":{n}}}")).collect();
    folder.write("a.jsonl", lines.join("\n") + "\n");
    folder.write("b.jsonl", "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
    folder.write("c.jsonl", "{\"n\":1}");
    folder.write("d.jsonl", "");
    let plan = planned(&folder.source(&["*"]), 100_000, None);
    let (large, ratio) = probed(&plan, 0);
    assert_eq!((large.len(), ratio), (3, 1.0));
    assert_eq!(large[0][0], b"{\"n\":0}");
    assert_eq!(large.concat().len(), 30_000, "each row once");
    let number = |line: &[u8]| std::str::from_utf8(&line[5..line.len() - 1]).unwrap().parse::<u32>().unwrap();
    assert!((14_000..17_000).contains(&number(&large[1][0])), "the middle: {}", number(&large[1][0]));
    assert!((22_000..27_000).contains(&number(&large[2][0])), "near the end: {}", number(&large[2][0]));
    for (object, rows) in [(1, 3), (2, 1), (3, 0)] {
        assert_eq!(probed(&plan, object).0.concat().len(), rows);
    }
    let limited = planned(&folder.source(&["*"]), 100_000, Some(5));
    assert_eq!(probed(&limited, 0).0.concat().len(), 5, "none beyond the limit");
}

#[test]
fn a_probe_says_how_far_a_compressed_file_unpacks() {
    let folder = Folder::new();
    let line = |n: u32| format!("{{\"n\":{},\"text\":\"some words that are the same\"}}\n", n.wrapping_mul(2_654_435_761));
    for count in [1, 10, 1_000, 200_000] {
        let text: String = (0..count).map(line).collect();
        for (name, packed) in [("a.gz", gzip([text.as_bytes()])), ("b.zst", zstd([text.as_bytes()]))] {
            folder.write(name, &packed);
            let plan = planned(&folder.source(&[name]), MIB, None);
            let (rows, ratio) = probed(&plan, 0);
            assert_eq!((rows.len(), rows[0].len()), (1, count as usize));
            let right = text.len() as f64 / packed.len() as f64;
            let near = if count < 10_000 { 1e-9 } else { 0.1 };
            assert!((ratio / right - 1.0).abs() <= near, "{name}, {count} lines: {ratio} instead of {right}");
        }
    }
}
