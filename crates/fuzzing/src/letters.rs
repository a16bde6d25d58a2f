//! Files of dead letters.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use migration::ShardId;
use pipeline::RecordPlace;
use pipeline::dead_letter::{DeadLetter, DeadLetterFile, LetterPlace, LetterReader, each, gone, places, read_all, uncommitted};

const SHARD: ShardId = ShardId(7);

/// The data are a file, and how much of it is committed. All ways to read it tell the same, and what is appended stands
/// behind it.
pub(crate) fn letters(data: &[u8]) {
    let (share, file) = crate::first(data);
    let folder = crate::folder();
    let folder = folder.path();
    std::fs::write(folder.join("00007.jsonl"), file).expect("a file can be written");
    // Also more than there is: some was cut off.
    let committed = file.len() as u64 * u64::from(share) / 200;

    let all = [(SHARD, committed)];
    let Ok(letters) = read(folder, committed) else {
        read_all(folder, &all, open).expect_err("both can't read it");
        return;
    };
    assert_eq!(read_all(folder, &all, open).expect("both read it"), only_letters(&letters));
    let mut reader = LetterReader::new(folder, open);
    for (place, letter) in &letters {
        assert_eq!(reader.read(*place).expect("it is there"), *letter);
    }
    let (_, count) = places(folder, &all, open).expect("it can be read");
    assert_eq!(count, letters.len() as u64);
    let missing = gone(folder, &[((SHARD, committed), count + 2)], open).expect("it can be read");
    assert_eq!(missing.iter().map(|gone| gone.letters).sum::<u64>(), 2);
    uncommitted(folder, &all, open).expect("it can be read");

    let kept = file.get(..committed as usize);
    if kept.is_some_and(|kept| kept.last().is_some_and(|last| *last != b'\n')) {
        return; // a commit is never within a line
    }
    let mut appended = DeadLetterFile::open(folder, SHARD, &["a.jsonl".into()], committed, open).expect("it can be opened");
    appended.append(RecordPlace { segment: 0, start: 5, bytes: 4 }, "why", b"{\n\0}").expect("it can be appended");
    appended.sync().expect("it can be made durable");
    let now = read(folder, appended.length()).expect("it can be read");
    let (last, before) = now.split_last().expect("one was appended");
    assert_eq!((last.1.start, last.1.record.as_slice()), (5, &b"{\n\0}"[..]));
    assert_eq!(before, letters);
}

fn read(folder: &Path, committed: u64) -> io::Result<Vec<(LetterPlace, DeadLetter)>> {
    let mut letters = Vec::new();
    each(folder, &[(SHARD, committed)], open, &mut |place, letter| {
        letters.push((place, letter));
        Ok(())
    })?;
    Ok(letters)
}

fn only_letters(letters: &[(LetterPlace, DeadLetter)]) -> Vec<DeadLetter> {
    letters.iter().map(|(_, letter)| letter.clone()).collect()
}

fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    options.open(path)
}
