use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use migration::ShardId;
use migration::report::{GoneLetters, LetterReason};
use tempfile::TempDir;

use super::file::create;
use super::letter::BUFFER_BYTES;
use super::read::next_line;
use super::reasons::MOST_KINDS;
use super::*;
use crate::RecordPlace;

/// A folder's name; nothing is there before the first letter.
struct Folder {
    _parent: TempDir,
    path: PathBuf,
}

impl Folder {
    fn new() -> Self {
        let parent = tempfile::tempdir().unwrap();
        Folder { path: parent.path().join("letters"), _parent: parent }
    }
}

fn plain(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    options.open(path)
}

fn place(segment: u32, start: u64, bytes: u64) -> RecordPlace {
    RecordPlace { segment, start, bytes }
}

fn file(folder: &Folder, committed: u64) -> DeadLetterFile {
    DeadLetterFile::open(&folder.path, ShardId(7), &["a.jsonl".into(), "b.jsonl".into()], committed, plain).unwrap()
}

fn up_to(length: u64) -> [CommittedLength; 2] {
    [(ShardId(3), 0), (ShardId(7), length)]
}

#[test]
fn letters_come_back_as_they_were_written() {
    let folder = Folder::new();
    let mut letters = file(&folder, 0);
    letters.sync().unwrap();
    assert!(!folder.path.exists(), "nothing is made before the first letter");
    letters.append(place(0, 10, 5), "no key", b"{\"\n\\\"}").unwrap();
    letters.append(place(1, 20, 3), "bad \"json\"", &[0xff, 0, b'x']).unwrap();
    letters.append(place(1, 30, 900), "too long", b"").unwrap();
    letters.sync().unwrap();
    let metadata = std::fs::metadata(letters.path()).unwrap();
    assert_eq!((metadata.permissions().mode() & 0o777, metadata.len()), (0o600, letters.length()));
    assert!(letters.path().ends_with("00007.jsonl"));
    let all = up_to(letters.length());
    let back = read_all(&folder.path, &all, plain).unwrap();
    assert_eq!(back.len(), 3);
    let at = |letters: &[(u64, u64, &[u8])]| {
        letters.iter().map(|(start, bytes, record)| (*start, Held::of(*bytes, record))).collect::<HashMap<_, _>>()
    };
    let expected = Places::from([
        ("a.jsonl".to_owned(), at(&[(10, 5, b"{\"\n\\\"}")])),
        ("b.jsonl".to_owned(), at(&[(20, 3, &[0xff, 0, b'x']), (30, 900, b"")])),
    ]);
    assert_eq!(places(&folder.path, &all, plain).unwrap(), (expected, 3));
    assert_eq!((back[0].path.as_str(), back[0].start, back[0].bytes), ("a.jsonl", 10, 5));
    assert_eq!(back[0].record, b"{\"\n\\\"}");
    assert_eq!((back[1].path.as_str(), back[1].reason.as_str()), ("b.jsonl", "bad \"json\""));
    assert_eq!(back[1].record, [0xff, 0, b'x']);
    let text = std::fs::read_to_string(letters.path()).unwrap();
    assert!(text.lines().nth(1).unwrap().contains("\"record_base64\":\"/wB4\""), "{text}");
}

#[test]
fn a_letter_that_holds_only_a_beginning_says_so_and_letters_of_before_say_nothing() {
    let folder = Folder::new();
    let mut letters = file(&folder, 0);
    letters.append(place(0, 10, 900), "not cut", b"a short object of a long row").unwrap();
    letters.append_head(place(1, 30, 900), "too long", b"head").unwrap();
    letters.sync().unwrap();
    let text = std::fs::read_to_string(letters.path()).unwrap();
    assert!(text.ends_with("\"start\":30,\"bytes\":900,\"cut\":true,\"record\":\"head\"}\n"), "{text}");
    assert_eq!(text.matches("cut\":").count(), 1, "{text}");
    let all = up_to(letters.length());
    let cut = |_| read_all(&folder.path, &all, plain).unwrap().iter().map(|letter| letter.cut).collect::<Vec<_>>();
    assert_eq!(cut(()), [false, true]);
    // What is compared is the same with and without the mark.
    let marked = places(&folder.path, &all, plain).unwrap();
    let before = text.replace(",\"cut\":true", "");
    std::fs::write(letters.path(), &before).unwrap();
    assert_eq!(places(&folder.path, &up_to(before.len() as u64), plain).unwrap(), marked);
}

/// The reasons in the letters of two shards, of which at most `budget` bytes are read.
fn reasons_of(folder: &Folder, committed: &[(CommittedLength, u64)], budget: u64) -> Reasons {
    let rank = |path: &str| ["b.jsonl", "a.jsonl"].iter().position(|known| *known == path);
    super::reasons(&folder.path, committed, &rank, budget, plain).unwrap()
}

#[test]
fn reasons_are_counted_with_the_first_place_in_source_order() {
    let folder = Folder::new();
    let mut committed = Vec::new();
    for shard in [3, 7] {
        let objects = ["a.jsonl".into(), "b.jsonl".into()];
        let mut letters = DeadLetterFile::open(&folder.path, ShardId(shard), &objects, 0, plain).unwrap();
        let from = u64::from(shard);
        letters.append(place(0, from, 5), "no field .k", b"{\"x\":{\"y\":1}}").unwrap();
        letters.append(place(1, 100 - from, 5), "no field .k", b"{\"z\":1}").unwrap();
        letters.append(place(1, 200 - from, 5), &format!("the line has {from},000 bytes"), b"{\"secret\":1}").unwrap();
        letters.sync().unwrap();
        committed.push(((ShardId(shard), letters.length()), 3));
        letters.append(place(0, 1, 1), "not committed", b"").unwrap();
        letters.sync().unwrap();
    }
    let reason = |reason: &str, letters, start, fields: &[&str]| LetterReason {
        reason: reason.into(),
        letters,
        path: "b.jsonl".into(),
        start,
        fields: fields.iter().map(|&field| field.to_owned()).collect(),
    };
    let expected = vec![reason("no field .k", 4, 93, &[".z"]), reason("the line has 7,000 bytes", 2, 193, &[])];
    let all = committed.iter().map(|((_, length), _)| length).sum();
    assert_eq!(reasons_of(&folder, &committed, all), Reasons { reasons: expected, unread: 0 });
    // Each shard has its share; what was not read is counted.
    let some = reasons_of(&folder, &committed, all / 2);
    let read: u64 = some.reasons.iter().map(|one| one.letters).sum();
    assert!(read >= 2 && some.unread == 6 - read && some.unread > 0, "{some:?}");
    assert_eq!(reasons_of(&folder, &committed, 0), Reasons { reasons: Vec::new(), unread: 6 });
    // Letters that are gone are no letters that were not read.
    std::fs::remove_file(folder.path.join("00003.jsonl")).unwrap();
    assert_eq!(reasons_of(&folder, &committed, all).unread, 0);
    assert_eq!(reasons_of(&folder, &[], all), Reasons::default());
}

#[test]
fn many_kinds_of_reasons_take_no_more_memory_than_some() {
    let folder = Folder::new();
    let mut letters = file(&folder, 0);
    let kinds = MOST_KINDS as u64 + 5;
    for n in 0..kinds {
        letters.append(place(0, n, 5), &format!("broker{n}x says no"), b"").unwrap();
    }
    letters.sync().unwrap();
    let found = reasons_of(&folder, &[((ShardId(7), letters.length()), kinds)], u64::MAX);
    assert_eq!((found.reasons.len(), found.unread), (MOST_KINDS, 5));
}

#[test]
fn a_large_record_is_not_copied_in_memory() {
    let folder = Folder::new();
    let mut letters = file(&folder, 0);
    let record = vec![b'x'; 5 << 20];
    letters.append(place(0, 10, 5 << 20), "too large", &record).unwrap();
    assert!(letters.out.buffer.capacity() <= 4 * BUFFER_BYTES, "{}", letters.out.buffer.capacity());
    letters.sync().unwrap();
    assert_eq!(read_all(&folder.path, &up_to(letters.length()), plain).unwrap()[0].record, record);
}

#[test]
fn what_was_not_committed_does_not_count_and_is_cut_off_by_the_next_attempt() {
    let folder = Folder::new();
    let mut letters = file(&folder, 0);
    letters.append(place(0, 10, 1), "first", b"x").unwrap();
    let committed = letters.length();
    letters.append(place(0, 20, 1), "second", b"y").unwrap();
    letters.append(place(0, 30, 1), "third", b"z").unwrap();
    letters.sync().unwrap();
    // The worker dies in the middle of a line, or at its end.
    for torn in [4, 0] {
        let path = letters.path().to_owned();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - torn]).unwrap();
        let reasons = |length| {
            let letters = read_all(&folder.path, &up_to(length), plain).unwrap();
            letters.iter().map(|letter| letter.reason.clone()).collect::<Vec<_>>()
        };
        assert_eq!(reasons(committed), ["first"]);
        assert_eq!(places(&folder.path, &up_to(committed), plain).unwrap().0["a.jsonl"].keys().collect::<Vec<_>>(), [&10]);
        assert_eq!(uncommitted(&folder.path, &up_to(committed), plain).unwrap(), 2);
        let mut successor = file(&folder, committed);
        assert_eq!((successor.length(), successor.missing()), (committed, 0));
        assert_eq!(uncommitted(&folder.path, &up_to(committed), plain).unwrap(), 0);
        successor.append(place(0, 20, 1), "again", b"y").unwrap();
        successor.append(place(0, 30, 1), "and again", b"z").unwrap();
        successor.sync().unwrap();
        assert_eq!(reasons(successor.length()), ["first", "again", "and again"]);
        letters = file(&folder, successor.length());
    }
}

fn reasons_up_to(folder: &Folder, length: u64) -> Vec<String> {
    let letters = read_all(&folder.path, &up_to(length), plain).unwrap();
    letters.into_iter().map(|letter| letter.reason).collect()
}

#[test]
fn letters_that_somebody_took_away_are_told_and_the_others_stay_where_they_were_committed() {
    let folder = Folder::new();
    let mut letters = file(&folder, 0);
    letters.append(place(0, 10, 1), "first", b"x").unwrap();
    let first = letters.length();
    letters.append(place(0, 20, 1), "second", b"y").unwrap();
    letters.sync().unwrap();
    let committed = letters.length();
    // Half of the second one.
    File::options().write(true).open(letters.path()).unwrap().set_len(committed - 5).unwrap();
    assert_eq!(read_all(&folder.path, &up_to(committed), plain).unwrap().len(), 1);
    let mut successor = file(&folder, committed);
    assert_eq!((successor.length(), successor.missing()), (committed, committed - first));
    successor.append(place(0, 30, 1), "third", b"z").unwrap();
    successor.sync().unwrap();
    assert_eq!(reasons_up_to(&folder, successor.length()), ["first", "third"]);
    assert_eq!(places(&folder.path, &up_to(successor.length()), plain).unwrap().1, 2, "of three");
    std::fs::remove_file(letters.path()).unwrap();
    let successor = file(&folder, committed);
    assert_eq!((successor.length(), successor.missing()), (committed, committed));
    assert_eq!(
        (read_all(&folder.path, &up_to(committed), plain).unwrap().len(), uncommitted(&folder.path, &up_to(5), plain).unwrap()),
        (0, 0)
    );
}

/// As many letters as were taken away, each as long, and none of them committed.
#[test]
fn letters_that_are_not_committed_never_take_the_place_of_those_that_were_taken_away() {
    let folder = Folder::new();
    let mut letters = file(&folder, 0);
    letters.append(place(0, 10, 1), "first", b"x").unwrap();
    letters.sync().unwrap();
    let committed = letters.length();
    // Moved away between two attempts, before an attempt writes its first, and cut off while one writes.
    for when in ["before", "open", "written"] {
        if when == "before" {
            std::fs::remove_file(letters.path()).unwrap();
        }
        let mut successor = file(&folder, committed);
        if when == "open" {
            std::fs::remove_file(letters.path()).unwrap();
        }
        successor.append(place(0, 20, 1), "other", b"y").unwrap();
        successor.sync().unwrap();
        if when == "written" {
            File::options().write(true).open(letters.path()).unwrap().set_len(3).unwrap();
            successor.append(place(0, 30, 1), "more", b"z").unwrap();
            successor.sync().unwrap();
        }
        assert_eq!(reasons_up_to(&folder, committed), [""; 0], "{when}: it was written behind that");
        assert_eq!(places(&folder.path, &up_to(committed), plain).unwrap(), (Places::new(), 0), "{when}");
        let expected: &[&str] = if when == "written" { &["more"] } else { &["other"] };
        assert_eq!(reasons_up_to(&folder, successor.length()), expected, "{when}: once that is committed");
        // A successor forgets it.
        assert_eq!(file(&folder, committed).length(), committed);
        assert_eq!(uncommitted(&folder.path, &up_to(committed), plain).unwrap(), 0, "{when}");
    }
}

#[test]
fn letters_in_a_file_that_lost_its_name_are_not_committed() {
    for how in ["file", "folder", "replaced", "moved", "link"] {
        let folder = Folder::new();
        let mut letters = file(&folder, 0);
        letters.append(place(0, 10, 1), "first", b"x").unwrap();
        letters.sync().unwrap();
        let committed = letters.length();
        match how {
            "file" => std::fs::remove_file(letters.path()).unwrap(),
            "folder" => std::fs::remove_dir_all(&folder.path).unwrap(),
            "replaced" => {
                let copy = folder.path.join("copy");
                std::fs::copy(letters.path(), &copy).unwrap();
                std::fs::rename(copy, letters.path()).unwrap();
            }
            _ => std::fs::rename(letters.path(), folder.path.join("elsewhere")).unwrap(),
        }
        if how == "link" {
            std::os::unix::fs::symlink(folder.path.join("elsewhere"), letters.path()).unwrap();
        }
        letters.sync().expect("nothing was written since");
        letters.append(place(0, 20, 1), "second", b"y").unwrap();
        let error = letters.sync().unwrap_err().to_string();
        assert!(error.contains("removed or replaced while it was written"), "{how}: {error}");
        assert!(letters.sync().is_err(), "{how}: it stays so");
        if how != "link" {
            let left = u64::from(how == "replaced");
            let found = gone(&folder.path, &[(up_to(committed)[1], 1)], plain).unwrap();
            assert_eq!(found.iter().map(|gone| gone.letters).sum::<u64>(), 1 - left, "{how}");
            std::fs::create_dir_all(&folder.path).unwrap();
            assert_eq!(file(&folder, committed).missing(), (1 - left) * committed, "{how}");
        }
    }
}

#[test]
fn letters_that_are_gone_are_counted_for_each_shard() {
    let folder = Folder::new();
    let mut letters = file(&folder, 0);
    let mut lengths = Vec::new();
    for start in 0..10 {
        letters.append(place(0, start, 1), "bad", b"some\nbytes\0").unwrap();
        letters.sync().unwrap();
        lengths.push(letters.length());
    }
    let (path, all) = (letters.path().to_owned(), lengths[9]);
    let expected = [(up_to(all)[1], 10), ((ShardId(99), 0), 0)];
    let found = || gone(&folder.path, &expected, plain).unwrap();
    assert_eq!(found(), [], "all are there");
    letters.append(place(0, 99, 1), "not committed", b"x").unwrap();
    letters.out.flush().unwrap();
    assert_eq!(gone(&folder.path, &[(up_to(lengths[3])[1], 4)], plain).unwrap(), []);
    let cut = |length| File::options().write(true).open(&path).unwrap().set_len(length).unwrap();
    let shard = up_to(0)[1].0;
    // Whatever the place, letters that are torn are gone, too.
    for length in (0..=all).rev() {
        cut(length);
        let left = lengths.iter().filter(|end| **end <= length).count() as u64;
        let bytes = all - length;
        let expected = if left < 10 { vec![GoneLetters { shard, letters: 10 - left, bytes }] } else { Vec::new() };
        assert_eq!(found(), expected, "{length}");
    }
    // A hole, as a successor leaves it.
    cut(all);
    assert_eq!(found(), [GoneLetters { shard, letters: 10, bytes: 0 }]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(found(), [GoneLetters { shard, letters: 10, bytes: all }]);
    std::fs::remove_dir_all(&folder.path).unwrap();
    assert_eq!(found(), [GoneLetters { shard, letters: 10, bytes: all }]);
}

#[test]
fn a_large_hole_takes_neither_memory_nor_disk() {
    use std::os::unix::fs::MetadataExt;
    let folder = Folder::new();
    let mut letters = file(&folder, 1 << 30);
    letters.append(place(0, 10, 1), "behind it", b"x").unwrap();
    letters.sync().unwrap();
    assert!(std::fs::metadata(letters.path()).unwrap().blocks() < 1_000);
    assert_eq!(reasons_up_to(&folder, letters.length()), ["behind it"]);
    let mut line = Vec::new();
    let opened = plain(letters.path(), OpenOptions::new().read(true)).unwrap();
    assert!(next_line(&mut BufReader::with_capacity(BUFFER_BYTES, opened), &mut line).unwrap() > 1 << 30);
    assert!(line.capacity() < 4 * BUFFER_BYTES, "{}", line.capacity());
}

#[test]
fn only_files_that_are_there_are_opened() {
    use std::sync::atomic::{AtomicU32, Ordering};
    static OPENED: AtomicU32 = AtomicU32::new(0);
    fn counts(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
        OPENED.fetch_add(1, Ordering::Relaxed);
        plain(path, options)
    }
    let folder = Folder::new();
    let mut letters = file(&folder, 0);
    letters.append(place(0, 10, 1), "first", b"x").unwrap();
    letters.sync().unwrap();
    std::fs::write(folder.path.join("notes.txt"), "another's").unwrap();
    let shards: Vec<CommittedLength> = (0..100_000).map(|shard| (ShardId(shard), 0)).collect();
    assert_eq!(uncommitted(&folder.path, &shards, counts).unwrap(), 1);
    assert_eq!(OPENED.load(Ordering::Relaxed), 1);
    assert_eq!(places(&folder.path, &shards, counts).unwrap().1, 0);
    assert!(read_all(&folder.path, &shards, counts).unwrap().is_empty());
    assert_eq!(OPENED.load(Ordering::Relaxed), 1, "nothing of them is committed");
    assert_eq!(uncommitted(&folder.path.join("none"), &shards, counts).unwrap(), 0);
}

#[test]
fn a_long_torn_line_without_any_newline_is_cut_off_whole() {
    let folder = Folder::new();
    std::fs::create_dir_all(&folder.path).unwrap();
    let path = folder.path.join("00007.jsonl");
    std::fs::write(&path, vec![b'x'; 200_000]).unwrap();
    drop(file(&folder, 300_000));
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
}

#[test]
fn garbage_in_the_middle_is_an_error_that_names_the_line() {
    let folder = Folder::new();
    std::fs::create_dir_all(&folder.path).unwrap();
    std::fs::write(folder.path.join("00007.jsonl"), "nonsense\n").unwrap();
    let error = read_all(&folder.path, &up_to(9), plain).unwrap_err().to_string();
    assert!(error.contains("00007.jsonl: line 1"), "{error}");
    assert_eq!(places(&folder.path, &up_to(9), plain).unwrap_err().to_string().split(':').nth(1), error.split(':').nth(1));
    assert!(read_all(&folder.path.join("none"), &up_to(9), plain).unwrap().is_empty());
    assert!(read_all(&folder.path, &up_to(0), plain).unwrap().is_empty(), "nothing of it is committed");
}

#[test]
fn what_the_opener_refuses_is_neither_read_nor_cut_back_and_is_named() {
    fn refuses(_: &Path, _: &mut OpenOptions) -> io::Result<File> {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it leads elsewhere"))
    }
    let folder = Folder::new();
    std::fs::create_dir_all(&folder.path).unwrap();
    let path = folder.path.join("00007.jsonl");
    std::fs::write(&path, "precious").unwrap();
    let errors = [
        DeadLetterFile::open(&folder.path, ShardId(7), &[], 0, refuses).unwrap_err(),
        read_all(&folder.path, &up_to(3), refuses).unwrap_err(),
        places(&folder.path, &up_to(3), refuses).unwrap_err(),
        uncommitted(&folder.path, &[(ShardId(7), 0)], refuses).unwrap_err(),
        create(&path, refuses).unwrap_err(),
    ];
    for error in errors {
        assert!(error.to_string().ends_with("00007.jsonl: it leads elsewhere"), "{error}");
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn letters_are_read_again_at_the_places_where_they_were_seen() {
    let folder = Folder::new();
    // Behind a hole, as after letters were taken away.
    let mut letters = file(&folder, 100);
    let records: [&[u8]; 3] = [b"{\"a\":1}", b"\xff\n", &[b'x'; 200_000]];
    for (start, record) in (0..).zip(records) {
        letters.append(place(0, start, record.len() as u64), "bad", record).unwrap();
    }
    letters.sync().unwrap();
    let mut seen = Vec::new();
    each(&folder.path, &up_to(letters.length()), plain, &mut |place, letter| {
        seen.push((place, letter));
        Ok(())
    })
    .unwrap();
    assert_eq!(seen.iter().map(|(_, letter)| letter.record.as_slice()).collect::<Vec<_>>(), records);
    assert_eq!(seen[0].0.start, 100);
    let mut reader = LetterReader::new(&folder.path, plain);
    for (place, letter) in seen.iter().rev() {
        assert_eq!(reader.read(*place).unwrap(), *letter);
    }
    let stopped = each(&folder.path, &up_to(letters.length()), plain, &mut |_, _| Err(io::ErrorKind::Other.into()));
    assert_eq!(stopped.unwrap_err().kind(), io::ErrorKind::Other);
    std::fs::remove_file(letters.path()).unwrap();
    assert!(LetterReader::new(&folder.path, plain).read(seen[0].0).is_err());
}

#[test]
fn only_what_a_line_can_hold_whole_is_sent_again() {
    let letter = |record: &[u8], cut| DeadLetter {
        reason: String::new(),
        path: "p".into(),
        start: 0,
        bytes: record.len() as u64,
        record: record.to_vec(),
        cut,
    };
    let line = |record: &[u8], made| letter(record, false).line(made).map(<[u8]>::to_vec);
    assert_eq!(letter(b"{}", true).line(false), Err(Unsendable::Cut));
    for whole in [&b"{\"a\":1}"[..], b"no JSON", b"\xff"] {
        assert_eq!(line(whole, false), Ok(whole.to_vec()));
    }
    assert_eq!(line(b"{\"a\":1}", true), Ok(b"{\"a\":1}".to_vec()));
    for row in [&b"1,2,3"[..], b"{1,\"2\"", b""] {
        assert_eq!(line(row, true), Err(Unsendable::Row));
    }
    for torn in [&b"1,\"a\nb"[..], b"{}\r"] {
        assert_eq!(line(torn, true), Err(Unsendable::LineEnd));
    }
    assert_eq!(line(b"a\rb", false), Ok(b"a\rb".to_vec()));
}
