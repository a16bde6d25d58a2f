//! Dead letters: records set aside with their reason, one JSON line each in `DIRECTORY/SHARD.jsonl`.
//!
//! Responsible for: writing them so that a commit can rely on them, and telling those that are committed from those that a killed
//! worker left behind: a commit keeps the file's length, the next attempt cuts the file back to it, and who reads before that looks
//! no further. Not responsible for: deciding which record is bad.
//!
//! Each letter stays at the place where it was committed. Where letters were taken away (the file was moved or cut off), there is a hole
//! from then on: NUL bytes, which no letter has and which take no room on disk. So what is behind the committed length is never read as
//! committed, and the letters that are gone are missing in the count of those that are there.
//!
//! A file that was removed or replaced while it is open would take letters that are never found: a commit fails then. What goes after
//! that is found by [`gone`].

use std::collections::{HashMap, HashSet};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use migration::ShardId;
use migration::printable::printable_path;
use migration::report::GoneLetters;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{RecordPlace, dead_letter::base64::Base64};

mod base64;

/// Written to the file when this many bytes are waiting.
const BUFFER_BYTES: usize = 64 << 10;

/// How a file of letters is opened; every one is opened with it. It refuses what leads elsewhere: a link in the place of the file or
/// of its folder.
pub type Opener = fn(&Path, &mut OpenOptions) -> io::Result<File>;

/// One record that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Why.
    pub reason: String,
    /// The source object it stands in.
    pub path: String,
    /// The place of its first byte there.
    pub start: u64,
    /// Its length in the source without the line end. More than `record` holds when it exceeded `max_line`.
    pub bytes: u64,
    /// The record, or its first 64 KiB.
    pub record: Vec<u8>,
}

/// The line in the file: `record` where the bytes are text, else `record_base64`.
#[derive(Serialize, Deserialize)]
struct Written<'a> {
    #[serde(borrow)]
    reason: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    path: std::borrow::Cow<'a, str>,
    start: u64,
    bytes: u64,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    record: Option<std::borrow::Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    record_base64: Option<Base64>,
}

/// Where records stand that were set aside: for each source object the places of their first bytes, and what was kept of each.
pub type Places = HashMap<String, HashMap<u64, Held>>;

/// What a letter holds of its record, as a hash: its length in the source, and the bytes that were kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held(u64);

impl Held {
    /// Of a record of `bytes` bytes, of which `record` was kept.
    pub fn of(bytes: u64, record: &[u8]) -> Held {
        Held(xxh3_64_with_seed(record, bytes))
    }
}

/// One shard's file of dead letters, written by the attempt that works on the shard. It is made when the first is written.
#[derive(Debug)]
pub struct DeadLetterFile {
    objects: Vec<String>,
    out: Out,
    unsynced: bool,
    /// Bytes of committed letters that were not there any more when it was opened.
    missing: u64,
}

/// The file and what is not yet written to it. Pieces of a line are written as they come, so that a large record needs no
/// second copy in memory.
#[derive(Debug)]
struct Out {
    path: PathBuf,
    opener: Opener,
    file: Option<File>,
    buffer: Vec<u8>,
    /// How long the file is with what is in the buffer.
    length: u64,
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let some = &bytes[..bytes.len().min(BUFFER_BYTES)];
        self.buffer.extend_from_slice(some);
        self.length += some.len() as u64;
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(some.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(create(&self.path, self.opener)?),
        };
        // A file that was moved away or cut off meanwhile gets a hole.
        file.write_all_at(&self.buffer, self.length - self.buffer.len() as u64)?;
        self.buffer.clear();
        Ok(())
    }
}

impl DeadLetterFile {
    /// The file of `shard` in `directory`. `objects` are the paths of the shard's segments, by segment index. What stands behind
    /// the first `committed` bytes is cut off: its chunk was never committed, so its records come again.
    pub fn open(directory: &Path, shard: ShardId, objects: &[PathBuf], committed: u64, opener: Opener) -> io::Result<Self> {
        let path = path_of(directory, shard);
        let there = match open_there(&path, OpenOptions::new().read(true).write(true), opener)? {
            Some(file) => cut_back(&file, committed)?,
            None => 0,
        };
        let objects = objects.iter().map(|object| object.to_string_lossy().into_owned()).collect();
        let out = Out { path, opener, file: None, buffer: Vec::new(), length: committed };
        Ok(DeadLetterFile { objects, out, unsynced: false, missing: committed - there })
    }

    /// How long the file is, holes and what was appended since the last [`DeadLetterFile::sync`] included.
    pub fn length(&self) -> u64 {
        self.out.length
    }

    /// How many bytes of committed letters were missing when it was opened: whoever took them away has them.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.out.path
    }

    /// Appends a record. Durable only after [`DeadLetterFile::sync`].
    pub fn append(&mut self, place: RecordPlace, reason: &str, record: &[u8]) -> io::Result<()> {
        let text = std::str::from_utf8(record).ok();
        let letter = Written {
            reason: reason.into(),
            path: self.objects.get(place.segment as usize).map_or("", String::as_str).into(),
            start: place.start,
            bytes: place.bytes,
            record: text.map(Into::into),
            record_base64: text.is_none().then(|| Base64(record.to_vec())),
        };
        self.unsynced = true;
        serde_json::to_writer(&mut self.out, &letter)?;
        self.out.write_all(b"\n")
    }

    /// Makes everything appended so far survive a crash of the machine. An error if the file has lost its name meanwhile: nothing
    /// that was appended could be found there.
    pub fn sync(&mut self) -> io::Result<()> {
        if !self.unsynced {
            return Ok(());
        }
        self.out.flush()?;
        if let Some(file) = &self.out.file {
            file.sync_data()?;
            require_name(&self.out.path, file)?;
        }
        self.unsynced = false;
        Ok(())
    }
}

/// An error unless the open file is the one of this name.
fn require_name(path: &Path, file: &File) -> io::Result<()> {
    let same = match std::fs::symlink_metadata(path) {
        Ok(named) => {
            let open = file.metadata()?;
            (named.dev(), named.ino()) == (open.dev(), open.ino())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    let what = "the file was removed or replaced while it was written; what it got since the last commit is set aside again by the next \
                run";
    if same { Ok(()) } else { Err(io::Error::other(what)) }
}

/// A shard and how long its file of dead letters is committed to be, bytes.
pub type CommittedLength = (ShardId, u64);

/// Which committed letters are gone: of each shard its file's committed length and how many letters that is. The folder is listed
/// once; then each file is read, but not what its letters say.
pub fn gone(directory: &Path, committed: &[(CommittedLength, u64)], opener: Opener) -> io::Result<Vec<GoneLetters>> {
    let expected = || committed.iter().filter(|(_, letters)| *letters > 0);
    if expected().next().is_none() {
        return Ok(Vec::new());
    }
    let there = shards_in(directory)?;
    let mut all = Vec::new();
    for &((shard, length), letters) in expected() {
        let (mut found, mut bytes) = (0, length);
        if there.contains(&shard) {
            let path = path_of(directory, shard);
            each_line(&path, length, opener, &mut |_| {
                found += 1;
                Ok(())
            })?;
            let file = open_there(&path, OpenOptions::new().read(true), opener)?;
            let now = file.map_or(Ok(0), |file| file.metadata().map(|facts| facts.len()))?;
            bytes = length.saturating_sub(now);
        }
        if found < letters {
            all.push(GoneLetters { shard, letters: letters - found, bytes });
        }
    }
    Ok(all)
}

/// The committed dead letters of some shards that are there, in their order and then as written. Nothing is read of a shard without any.
pub fn read_all(directory: &Path, committed: &[CommittedLength], opener: Opener) -> io::Result<Vec<DeadLetter>> {
    let mut letters = Vec::new();
    for &(shard, length) in committed {
        each_line(&path_of(directory, shard), length, opener, &mut |line| {
            letters.push(parse(line)?);
            Ok(())
        })?;
    }
    Ok(letters)
}

/// Where the committed dead letters of some shards stand and a hash of what they hold (memory does not depend on their size, but for
/// one at a time), and how many are there: fewer than were committed if some were taken away.
pub fn places(directory: &Path, committed: &[CommittedLength], opener: Opener) -> io::Result<(Places, u64)> {
    let (mut places, mut count) = (Places::new(), 0);
    for &(shard, length) in committed {
        each_line(&path_of(directory, shard), length, opener, &mut |line| {
            let Written { path, start, bytes, record, record_base64, .. } = serde_json::from_slice(line)?;
            let coded = record_base64.map_or(Vec::new(), |coded| coded.0);
            let held = Held::of(bytes, record.as_deref().map_or(&coded, str::as_bytes));
            match places.get_mut(&*path) {
                Some(starts) => starts,
                None => places.entry(path.into_owned()).or_default(),
            }
            .insert(start, held);
            count += 1;
            Ok(())
        })?;
    }
    Ok((places, count))
}

/// How many letters stand in the files behind what is committed: of chunks that are open, or whose worker died. The next attempt
/// cuts them off. A torn last one counts. Only files that are there are opened: most shards have none.
pub fn uncommitted(directory: &Path, committed: &[CommittedLength], opener: Opener) -> io::Result<u64> {
    let there = shards_in(directory)?;
    let mut count = 0;
    for &(shard, length) in committed.iter().filter(|(shard, _)| there.contains(shard)) {
        let path = path_of(directory, shard);
        let Some(mut file) = open_there(&path, OpenOptions::new().read(true), opener)? else { continue };
        file.seek(SeekFrom::Start(length))?;
        count += BufReader::with_capacity(BUFFER_BYTES, file).split(b'\n').count() as u64;
    }
    Ok(count)
}

fn path_of(directory: &Path, shard: ShardId) -> PathBuf {
    directory.join(format!("{shard}.jsonl"))
}

/// The shards that have a file in the folder.
fn shards_in(directory: &Path) -> io::Result<HashSet<ShardId>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashSet::new()),
        Err(error) => return Err(named(directory, error)),
    };
    let mut shards = HashSet::new();
    for entry in entries {
        let name = entry.map_err(|error| named(directory, error))?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".jsonl")?.parse().ok());
        shards.extend(number.map(ShardId));
    }
    Ok(shards)
}

/// Visits the whole lines within a file's first `length` bytes, without their ends. What is not there any more is left out.
fn each_line(
    path: &Path,
    length: u64,
    opener: Opener,
    visit: &mut dyn FnMut(&[u8]) -> serde_json::Result<()>,
) -> io::Result<()> {
    if length == 0 {
        return Ok(());
    }
    let Some(file) = open_there(path, OpenOptions::new().read(true), opener)? else { return Ok(()) };
    let mut file = BufReader::with_capacity(BUFFER_BYTES, file.take(length));
    let mut line = Vec::new();
    for number in 1u64.. {
        if !next_line(&mut file, &mut line)? {
            break;
        }
        if !line.is_empty() {
            visit(&line).map_err(|error| {
                let message = format!("{}: line {number} is not a dead letter: {error}", printable_path(path));
                io::Error::new(io::ErrorKind::InvalidData, message)
            })?;
        }
    }
    Ok(())
}

/// Reads a line without its end; false if there is none. Holes are passed over, and what stands before one in a line is torn.
fn next_line(file: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    loop {
        let bytes = file.fill_buf()?;
        let len = bytes.len();
        if len == 0 {
            return Ok(false);
        }
        let used = match memchr::memchr2(b'\n', 0, bytes) {
            Some(at) if bytes[at] == 0 => {
                line.clear();
                at + bytes[at..].iter().take_while(|byte| **byte == 0).count()
            }
            Some(at) => {
                line.extend_from_slice(&bytes[..at]);
                file.consume(at + 1);
                return Ok(true);
            }
            None => {
                line.extend_from_slice(bytes);
                len
            }
        };
        file.consume(used);
    }
}

fn parse(line: &[u8]) -> serde_json::Result<DeadLetter> {
    let written: Written<'_> = serde_json::from_slice(line)?;
    let record = match (written.record, written.record_base64) {
        (Some(text), _) => text.into_owned().into_bytes(),
        (None, coded) => coded.map_or(Vec::new(), |coded| coded.0),
    };
    Ok(DeadLetter {
        reason: written.reason.into_owned(),
        path: written.path.into_owned(),
        start: written.start,
        bytes: written.bytes,
        record,
    })
}

/// Opens a file, if there is one. Errors name it.
fn open_there(path: &Path, options: &mut OpenOptions, opener: Opener) -> io::Result<Option<File>> {
    match opener(path, options) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(named(path, error)),
    }
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", printable_path(path)))
}

fn create(path: &Path, opener: Opener) -> io::Result<File> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(false).mode(0o600);
    let file = opener(path, options).map_err(|error| named(path, error))?;
    // The names of file and folder must survive a crash as well as the contents.
    for folder in [Some(directory), directory.parent()].into_iter().flatten() {
        File::open(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })?.sync_all()?;
    }
    Ok(file)
}

/// Cuts a file back to what is committed, and gives its length. If it is shorter than that, its last line may be torn: it goes.
fn cut_back(file: &File, committed: u64) -> io::Result<u64> {
    let length = file.metadata()?.len();
    if length < committed {
        return cut_torn_line(file, length);
    }
    if length > committed {
        file.set_len(committed)?;
    }
    Ok(committed)
}

fn cut_torn_line(mut file: &File, length: u64) -> io::Result<u64> {
    const STEP: u64 = 64 << 10;
    let mut end = length;
    let mut piece = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(STEP);
        piece.clear();
        file.seek(SeekFrom::Start(start))?;
        Read::take(file, end - start).read_to_end(&mut piece)?;
        if let Some(newline) = piece.iter().rposition(|&b| b == b'\n') {
            end = start + newline as u64 + 1;
            break;
        }
        end = start;
    }
    if end < length {
        file.set_len(end)?;
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

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

    fn reasons(folder: &Folder, length: u64) -> Vec<String> {
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
        assert_eq!(reasons(&folder, successor.length()), ["first", "third"]);
        assert_eq!(places(&folder.path, &up_to(successor.length()), plain).unwrap().1, 2, "of three");
        std::fs::remove_file(letters.path()).unwrap();
        let successor = file(&folder, committed);
        assert_eq!((successor.length(), successor.missing()), (committed, committed));
        assert_eq!(
            (
                read_all(&folder.path, &up_to(committed), plain).unwrap().len(),
                uncommitted(&folder.path, &up_to(5), plain).unwrap()
            ),
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
            assert_eq!(reasons(&folder, committed), [""; 0], "{when}: it was written behind that");
            assert_eq!(places(&folder.path, &up_to(committed), plain).unwrap(), (Places::new(), 0), "{when}");
            let expected: &[&str] = if when == "written" { &["more"] } else { &["other"] };
            assert_eq!(reasons(&folder, successor.length()), expected, "{when}: once that is committed");
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
        assert_eq!(reasons(&folder, letters.length()), ["behind it"]);
        let mut line = Vec::new();
        let opened = plain(letters.path(), OpenOptions::new().read(true)).unwrap();
        assert!(next_line(&mut BufReader::with_capacity(BUFFER_BYTES, opened), &mut line).unwrap());
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
}
