//! Every line once, in order, with its place, from any position.

use proptest::prelude::*;

use super::*;

fn one_file(bytes: &[u8]) -> (Folder, Plan) {
    let folder = Folder::new();
    folder.write("a.jsonl", bytes);
    let plan = planned(&folder.source(&["a.jsonl"]), u64::MAX, None);
    (folder, plan)
}

#[test]
fn line_ends_blank_lines_and_byte_order_marks() {
    for (bytes, expected) in [
        (&b"a\nb\n"[..], vec![&b"a"[..], b"b"]),
        (b"a\r\nb\r\r\nc\rd\n", vec![b"a", b"b\r", b"c\rd"]),
        (b"a\nb", vec![b"a", b"b"]),
        (b"a\nb\r", vec![b"a", b"b\r"]),
        (b"\n\r\n \n", vec![b"", b"", b" "]),
        (b"\n", vec![b""]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", vec![b"a", b"\xef\xbb\xbfb"]),
        (b"\xef\xbb\xbf\r\nb", vec![b"", b"b"]),
        (b"\xef\xbb\xbf", vec![]),
        (b"\0\n\xff\xfe\0", vec![b"\0", b"\xff\xfe\0"]),
    ] {
        let (_folder, plan) = one_file(bytes);
        let lines = read_all(&plan, MAX_LINE).unwrap();
        assert_eq!(kept(&lines), expected, "{bytes:?}");
        assert_eq!(strip(&lines), naive(bytes, MAX_LINE));
    }
}

#[test]
fn an_empty_file_has_no_shard() {
    let (_folder, plan) = one_file(b"");
    assert_eq!((plan.objects.len(), plan.shards.len()), (1, 0));
}

#[test]
fn a_position_outside_the_shard_is_refused() {
    let (folder, plan) = one_file(b"aaa\nbbb\n");
    let path = folder.path().join("a.jsonl");
    let at = |segment, place| open(&plan, ShardId(0), Position { segment, place, records: 0 });
    said(at(0, 9), &path, "not in the segment");
    said(at(0, 5), &path, "no line starts at byte 5");
    assert!(open(&plan, ShardId(7), Position::default()).is_err());
    let mut after_all = at(1, 0).unwrap();
    assert_eq!(drain(after_all.as_mut(), Position::default()).unwrap(), vec![]);
}

#[test]
fn a_line_of_a_gibibyte_takes_little_memory() {
    let folder = Folder::new();
    let path = folder.write("a.jsonl", b"first\n");
    let mut file = std::fs::File::options().append(true).open(&path).unwrap();
    // A hole: bytes that are zero and take no space on disk.
    file.set_len((1 << 30) + 6).unwrap();
    file.write_all(b"\r\nlast\n").unwrap();
    drop(file);
    let plan = planned(&folder.source(&["a.jsonl"]), 32 << 20, None);
    assert_eq!(plan.shards.len(), 2, "the cuts in the long line are none; the rest of the lines is a shard");
    let mut seen = Vec::new();
    for shard in &plan.shards {
        let mut reader = open(&plan, shard.id, shard.start).unwrap();
        let (mut pool, mut lines) = (BlockPool::new(32 << 20), Rows::default());
        while wait_for_rows(reader.as_mut(), &mut pool, &mut lines).unwrap() {
            let Some(block) = lines.block.as_ref() else { continue };
            assert!(pool.alive_bytes() <= 2 * pool.block_bytes(), "{}", pool.alive_bytes());
            seen.extend(lines.rows.iter().map(|line| (line.len, line.whole, line.after, block.bytes[line.start as usize])));
        }
    }
    let gibi = 1 << 30;
    assert_eq!(seen, [(5, 5, 6, b'f'), (64 << 10, gibi, gibi + 8, 0), (4, 4, gibi + 13, b'l')]);
}

#[test]
fn the_longest_line_is_kept_and_one_byte_more_is_not() {
    for max_line in [1u64, 5, 16 << 10, 100_000] {
        for end in ["", "\n", "\r\n"] {
            for extra in [0, 1, 2] {
                let bytes = format!("{}{end}", "x".repeat((max_line + extra) as usize));
                let (_folder, plan) = one_file(bytes.as_bytes());
                let lines = read_all(&plan, max_line).unwrap();
                assert_eq!(strip(&lines), naive(bytes.as_bytes(), max_line), "{max_line} {end:?} {extra}");
                assert_eq!(lines[0].kept.len() as u64 == lines[0].whole, extra == 0);
            }
        }
    }
}

#[test]
fn a_truncated_or_corrupt_stream_is_an_error() {
    let text: Vec<u8> = (0..200).flat_map(|i| format!("{{\"n\":{i}}}\n").into_bytes()).collect();
    let parts = [&text[..700], &text[700..]];
    for (packed, first) in [(gzip(parts), gzip([parts[0]]).len()), (zstd(parts), zstd([parts[0]]).len())] {
        let folder = Folder::new();
        for len in 4..packed.len() {
            let path = folder.write("a.gz", &packed[..len]);
            let plan = planned(&folder.source(&["a.gz"]), 1000, None);
            let lines = read_all(&plan, MAX_LINE);
            if len == first {
                assert_eq!(strip(&lines.unwrap()), naive(parts[0], MAX_LINE));
            } else {
                said(lines, &path, "truncated");
            }
        }
        let mut broken = packed.clone();
        broken[packed.len() - 6] ^= 1;
        folder.write("a.gz", &broken);
        assert!(read_all(&planned(&folder.source(&["a.gz"]), 1000, None), MAX_LINE).is_err());
        let path = folder.write("a.gz", [&packed[..], b"garbage after the end"].concat());
        let read = read_all(&planned(&folder.source(&["a.gz"]), 1000, None), MAX_LINE);
        said(read, &path, &format!("21 bytes from byte {} of the file on are no", packed.len()));
        folder.write("a.gz", [&packed[..], &[0; 5000]].concat());
        let padded = read_all(&planned(&folder.source(&["a.gz"]), 1000, None), MAX_LINE);
        assert_eq!(strip(&padded.unwrap()), naive(&text, MAX_LINE));
    }
}

/// What the format's own library makes of a stream until it is cut off.
fn reference(packed: &[u8]) -> Vec<u8> {
    use std::io::Read as _;
    let mut from: Box<dyn std::io::Read> = match packed {
        [0x1f, ..] => Box::new(flate2::read::MultiGzDecoder::new(packed)),
        _ => Box::new(::zstd::stream::read::Decoder::new(packed).unwrap()),
    };
    let (mut all, mut piece) = (Vec::new(), [0; 1000]);
    while let Ok(n @ 1..) = from.read(&mut piece) {
        all.extend_from_slice(&piece[..n]);
    }
    all
}

/// Each row of a shard until its end or its error.
fn until_error(plan: &Plan, pool: usize) -> (Vec<(Vec<u8>, u64)>, Option<String>) {
    let mut rows = Vec::new();
    let mut reader = match open(plan, ShardId(0), Position::default()) {
        Ok(reader) => reader,
        Err(error) => return (rows, Some(error.0)),
    };
    let (mut pool, mut lines) = (BlockPool::new(pool), Rows::default());
    loop {
        match reader.next(&mut pool, &mut lines) {
            Ok(Next::Rows) => {}
            Ok(_) => return (rows, None),
            Err(error) => return (rows, Some(error.0)),
        }
        let Some(block) = &lines.block else { continue };
        rows.extend(
            lines.rows.iter().map(|line| (block.bytes[line.start as usize..][..line.len as usize].to_vec(), line.after)),
        );
    }
}

#[test]
fn a_stream_that_is_cut_off_gives_its_whole_lines_and_says_the_true_place() {
    let text: Vec<u8> = (0..30_000u64).flat_map(|n| format!("{{\"n\":{}}}\n", n * n % 7919).into_bytes()).collect();
    let parts = [&text[..100_000], &text[100_000..]];
    let folder = Folder::new();
    for packed in [gzip(parts), gzip([&text[..]]), zstd(parts), zstd([&text[..]])] {
        let mut some = 0;
        for len in (4..40).chain((40..packed.len()).step_by(packed.len() / 150)).chain(packed.len() - 12..packed.len()) {
            let path = folder.write("a", &packed[..len]);
            let plan = planned(&folder.source(&["a"]), u64::MAX, None);
            let unpacked = reference(&packed[..len]);
            // The rest of a line is no record.
            let whole = memchr::memrchr(b'\n', &unpacked).map_or(0, |end| end + 1);
            let expected: Vec<_> = naive(&unpacked[..whole], MAX_LINE).into_iter().map(|(line, _, end)| (line, end)).collect();
            for pool in [0, 64 << 20] {
                let (rows, error) = until_error(&plan, pool);
                let error = error.expect("it is cut off");
                assert_eq!(rows.len(), expected.len(), "{len} of {}", packed.len());
                assert!(rows == expected, "{len} of {}", packed.len());
                let place = format!("cut off after decompressed byte {};", unpacked.len());
                assert!(error.contains(&place) && error.contains(path.to_str().unwrap()), "{error} instead of {place}");
            }
            some += usize::from(!expected.is_empty());
        }
        assert!(some > 10, "{some} had rows");
    }
}

#[test]
fn a_bomb_costs_only_time() {
    let folder = Folder::new();
    let zeros = vec![0; 1 << 20];
    let packed = gzip(std::iter::repeat_n(&zeros[..], 100));
    folder.write("a.gz", &packed);
    let plan = planned(&folder.source(&["a.gz"]), 1000, None);
    let mut reader = open_with(&plan, ShardId(0), Position::default(), 1 << 20).unwrap();
    let (mut pool, mut lines) = (BlockPool::new(0), Rows::default());
    let mut steps = 0;
    while lines.block.is_none() {
        assert_eq!(reader.next(&mut pool, &mut lines).unwrap(), Next::Rows);
        assert!(pool.alive_bytes() <= 70 << 10);
        steps += 1;
    }
    assert!(steps > 1000, "a step is short: {steps}");
    assert_eq!((lines.rows[0].len, lines.rows[0].whole), (64 << 10, 100 << 20));
    assert_eq!(reader.next(&mut pool, &mut lines).unwrap(), Next::End);
}

#[test]
fn continuing_far_into_a_compressed_stream_is_done_in_steps() {
    let folder = Folder::new();
    let line = [&vec![b'x'; (1 << 20) - 1][..], b"\n"].concat();
    let text = line.repeat(40);
    folder.write("a.zst", zstd([&text[..]]));
    let plan = planned(&folder.source(&["a.zst"]), 1000, None);
    let from = Position { segment: 0, place: 39 << 20, records: 39 };
    let mut reader = open(&plan, ShardId(0), from).unwrap();
    let (mut pool, mut lines) = (BlockPool::new(0), Rows::default());
    let mut steps = 0;
    while wait_for_rows(reader.as_mut(), &mut pool, &mut lines).unwrap() && lines.block.is_none() {
        steps += 1;
    }
    assert!((2..200).contains(&steps), "{steps}");
    assert_eq!((lines.rows.len(), lines.rows[0].after), (1, 40 << 20));
    let beyond = Position { segment: 0, place: 41 << 20, records: 41 };
    said(read(&plan, ShardId(0), beyond, MAX_LINE), &folder.path().join("a.zst"), "ends before decompressed byte");
}

/// Bytes of a file: lines of all sorts with ends of all sorts.
fn file() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        4 => "[ -~]{0,60}".prop_map(String::into_bytes),
        2 => prop::sample::select(vec![&b""[..], b" ", b"\r", b"\xef\xbb\xbf", b"\0"]).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>().prop_filter("no end", |b| *b != b'\n'), 0..40),
        1 => (0usize..100_000).prop_map(|len| vec![b'l'; len]),
    ];
    let end = prop::sample::select(vec![&b"\n"[..], b"\n", b"\r\n"]);
    let repeat = prop_oneof![3 => Just(1usize), 1 => 1usize..400];
    let lines = prop::collection::vec((line, end, repeat), 0..24);
    let files = (any::<bool>(), lines, any::<bool>()).prop_map(|(mark, lines, ended)| {
        let mut bytes = if mark { b"\xef\xbb\xbf".to_vec() } else { Vec::new() };
        for (line, end, repeat) in lines {
            bytes.extend([&line[..], end].concat().repeat(repeat));
        }
        if !ended {
            bytes.pop();
        }
        bytes
    });
    files.prop_filter("begins like another format", |bytes| !matches!(bytes[..], [0x1e..=0x28 | 0xfd..=0xff, 0x80..=0xff, ..]))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_shards_together_are_all_lines_once_in_order(
        files in prop::collection::vec((file(), 0..3), 1..4),
        target in prop_oneof![1u64..200, 200u64..200_000],
        max_line in prop::sample::select(vec![10u64, 30_000, MAX_LINE]),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 6),
    ) {
        let folder = Folder::new();
        let mut expected = Vec::new();
        for (number, (bytes, packing)) in files.iter().enumerate() {
            let (head, tail) = bytes.split_at(bytes.len() / 3);
            let stored = match packing {
                0 => bytes.clone(),
                1 => gzip([head, tail]),
                _ => zstd([head, tail]),
            };
            folder.write(&format!("{number}.jsonl"), stored);
            expected.extend(naive(bytes, max_line));
        }
        let plan = planned(&folder.source(&["*.jsonl"]), target, None);
        let stored: u64 = plan.objects.iter().map(|object| object.known_bytes()).sum();
        prop_assert_eq!(plan.bytes(), stored);
        let lines = read_all(&plan, max_line).unwrap();
        prop_assert_eq!(strip(&lines), expected);
        // From the position after any line comes exactly the rest.
        if let Some(shard) = plan.shards.iter().max_by_key(|shard| shard.bytes) {
            let lines = read(&plan, shard.id, shard.start, max_line).unwrap();
            for pick in picks.iter().filter(|_| !lines.is_empty()) {
                let at = pick.index(lines.len());
                let rest = read(&plan, shard.id, lines[at].after, max_line).unwrap();
                prop_assert_eq!(&rest[..], &lines[at + 1..]);
            }
        }
    }

    #[test]
    fn a_limit_takes_the_first_records(
        files in prop::collection::vec((file(), 0..3), 1..4),
        target in 1u64..100_000,
        limit in 1u64..300,
    ) {
        let folder = Folder::new();
        let mut expected = Vec::new();
        for (number, (bytes, packing)) in files.iter().enumerate() {
            let stored = match packing {
                0 => bytes.clone(),
                1 => gzip([&bytes[..]]),
                _ => zstd([&bytes[..]]),
            };
            folder.write(&format!("{number}.jsonl"), stored);
            expected.extend(naive(bytes, MAX_LINE).into_iter().filter(|(line, ..)| !pipeline::fate::is_blank(line)));
        }
        expected.truncate(limit as usize);
        let source = folder.source(&["*.jsonl"]);
        let plan = planned(&source, target, Some(limit));
        let mut lines = strip(&read_all(&plan, MAX_LINE).unwrap());
        lines.retain(|(line, ..)| !pipeline::fate::is_blank(line));
        prop_assert_eq!(lines, expected);
        unchanged(&plan, &source).unwrap();
    }
}
