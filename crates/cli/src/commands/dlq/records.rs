//! The records of dead letters, one a line: for a user to edit, and for a retry to send.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Read as _, Write};
use std::path::Path;

use migration::printable::printable_path;
use migration::units::show_things;
use migration::{Exit, UserError};

use crate::retries::{RetryPlace, unusable};
use crate::set_aside::{ChosenLetter, LeftOut, SetAside};
use crate::ui::Ui;

/// What compressed files begin with: gzip and zstd.
const COMPRESSED: [&[u8]; 2] = [&[0x1f, 0x8b], &[0x28, 0xb5, 0x2f, 0xfd]];
/// At the beginning of a file it is skipped, and what follows it is no other mark of a file.
const BYTE_ORDER_MARK: &[u8] = &[0xef, 0xbb, 0xbf];

/// Writes records to stdout, and what was left out to stderr.
pub fn print(letters: &SetAside<'_>, chosen: &[ChosenLetter], left: LeftOut, ui: &Ui) -> Result<Exit, UserError> {
    if io::stdout().is_terminal() {
        return Err(UserError::new(
            Exit::Usage,
            "--records writes records as they are, and what stands in them can act on a terminal",
        )
        .hint("send stdout to a file, as `shardlift dlq show --records > mended.jsonl`; --show-values is for a look"));
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let mut written = |line: &[u8]| out.write_all(line).and_then(|()| out.write_all(b"\n"));
    let mut failed = None;
    letters.read(chosen, &mut |_, letter| {
        if failed.is_none() {
            failed = written(&letter.record).err();
        }
        Ok(())
    })?;
    let failed = failed.or_else(|| out.flush().err());
    let closed = match failed {
        None => false,
        // A reader that closed stdout does not want more; how many it has is not known.
        Some(error) if error.kind() == io::ErrorKind::BrokenPipe => true,
        Some(error) => {
            return Err(UserError::new(Exit::State, format!("the records could not be written to stdout: {error}")));
        }
    };
    if !ui.quiet && !closed {
        ui.say(format!("{} written", show_things(chosen.len() as u64, "record")));
    }
    tell(left, true);
    Ok(Exit::Done)
}

/// Says what was left out, and what to do with it. `edit`: to write them for editing; else to send them.
pub fn tell(left: LeftOut, edit: bool) {
    let rest = if edit { "left out" } else { "not sent, still set aside" };
    let whole =
        "put the whole records, each in one line, into a file and send it with `shardlift dlq retry --cut --edited FILE`";
    if left.cut > 0 {
        let letters = show_things(left.cut, "dead letter");
        tracing::warn!("{rest}: {letters} with the beginning of a record and no more (cut); {whole}");
    }
    if left.line_ends > 0 {
        let letters = show_things(left.line_ends, "dead letter");
        tracing::warn!("{rest}: {letters} whose record has a line end in it; {whole}");
    }
    if left.rows > 0 {
        let letters = show_things(left.rows, "dead letter");
        tracing::warn!(
            "{rest}: {letters} with a row of CSV that could not be read; `shardlift dlq show --records` writes the rows: make a JSON \
             object of each, and send them with `shardlift dlq retry --edited FILE`"
        );
    }
}

/// Writes the records of letters to a retry's file, durably.
pub fn write(place: &RetryPlace, letters: &SetAside<'_>, chosen: &[ChosenLetter]) -> Result<(), UserError> {
    let path = place.records();
    let refused = |error: io::Error| unusable(&path, &error);
    let mut out = BufWriter::new(place.make_records().map_err(refused)?);
    let mut first = true;
    letters.read(chosen, &mut |chosen, letter| {
        let line = letters.line(chosen, &letter).unwrap_or_default();
        let mark: &[u8] = if first && !line.starts_with(b"{") { BYTE_ORDER_MARK } else { b"" };
        first = false;
        [mark, line, b"\n"].iter().try_for_each(|part| out.write_all(part)).map_err(refused)
    })?;
    let file = out.into_inner().map_err(|error| refused(error.into_error()))?;
    file.sync_all().map_err(refused)
}

/// Copies a file of edited records, so that it can't change any more, and counts them.
pub fn copy(place: &RetryPlace, edited: &Path) -> Result<u64, UserError> {
    let mut source = open(edited)?;
    let path = place.records();
    let refused = |error: io::Error| unusable(&path, &error);
    let mut copy = place.make_records().map_err(refused)?;
    let (mut records, mut blank, mut bytes) = (0, true, vec![0; 64 << 10]);
    let mut first = true;
    loop {
        let read = source.read(&mut bytes).map_err(|error| unread(edited, &error))?;
        if read == 0 {
            break;
        }
        let mut some = &bytes[..read];
        copy.write_all(some).map_err(refused)?;
        if std::mem::take(&mut first) {
            if COMPRESSED.iter().any(|magic| some.starts_with(magic)) {
                let what = format!("{} is compressed", printable_path(edited));
                return Err(UserError::new(Exit::Source, what).hint("unpack it first"));
            }
            some = some.strip_prefix(BYTE_ORDER_MARK).unwrap_or(some);
        }
        for &byte in some {
            match byte {
                b'\n' => {
                    records += u64::from(!blank);
                    blank = true;
                }
                byte => blank &= byte.is_ascii_whitespace(),
            }
        }
    }
    copy.sync_all().map_err(refused)?;
    records += u64::from(!blank);
    if records > 0 {
        return Ok(records);
    }
    let what = format!("{} has no record", printable_path(edited));
    Err(UserError::new(Exit::Source, what).hint("`shardlift dlq show --records` writes them, one a line"))
}

/// Whether a file holds what a retry has as its records.
pub fn is_same(place: &RetryPlace, edited: &Path) -> Result<bool, UserError> {
    let (mut one, path) = (io::BufReader::new(open(edited)?), place.records());
    let mut other = io::BufReader::new(File::open(&path).map_err(|error| unusable(&path, &error))?);
    loop {
        let one_bytes = io::BufRead::fill_buf(&mut one).map_err(|error| unread(edited, &error))?;
        let other_bytes = io::BufRead::fill_buf(&mut other).map_err(|error| unusable(&path, &error))?;
        let length = one_bytes.len().min(other_bytes.len());
        if length == 0 {
            return Ok(one_bytes.len() == other_bytes.len());
        }
        if one_bytes[..length] != other_bytes[..length] {
            return Ok(false);
        }
        io::BufRead::consume(&mut one, length);
        io::BufRead::consume(&mut other, length);
    }
}

fn open(edited: &Path) -> Result<File, UserError> {
    let file = File::open(edited).map_err(|error| unread(edited, &error))?;
    if file.metadata().is_ok_and(|about| about.is_dir()) {
        return Err(UserError::new(Exit::Source, format!("{} is a folder, not a file", printable_path(edited))));
    }
    Ok(file)
}

fn unread(edited: &Path, error: &io::Error) -> UserError {
    UserError::new(Exit::Source, format!("cannot read {}: {error}", printable_path(edited)))
        .hint("`shardlift dlq show --records > FILE` writes the records that are set aside")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edited_files_are_copied_as_they_are_and_their_records_counted() {
        let state = tempfile::tempdir().unwrap();
        let place = RetryPlace::of("orders", &state.path().join("orders"), 1);
        std::fs::create_dir(&place.folder).unwrap();
        let edited = state.path().join("edited.jsonl");
        for (text, records) in
            [(&b"{}\n{}\n"[..], 2), (b"{}\n{}", 2), (b"\n \t\r\n{}\n\n", 1), (b"\xef\xbb\xbf{}\n", 1), (b"x", 1)]
        {
            std::fs::write(&edited, text).unwrap();
            assert_eq!(copy(&place, &edited).unwrap(), records, "{text:?}");
            assert_eq!(std::fs::read(place.records()).unwrap(), text);
            assert!(is_same(&place, &edited).unwrap());
        }
        for (text, said) in [
            (&b""[..], "has no record"),
            (b"\n \n", "has no record"),
            (b"\xef\xbb\xbf\n", "has no record"),
            (b"\x1f\x8b\x08", "is compressed"),
        ] {
            std::fs::write(&edited, text).unwrap();
            let error = copy(&place, &edited).unwrap_err();
            assert!(error.exit == Exit::Source && error.message.ends_with(said), "{error}");
        }
        for (there, same) in [("x", false), ("xyz", false), ("xy", true)] {
            std::fs::write(place.records(), "xy").unwrap();
            std::fs::write(&edited, there).unwrap();
            assert_eq!(is_same(&place, &edited).unwrap(), same, "{there}");
        }
        for wrong in [state.path().join("none"), state.path().to_owned()] {
            assert_eq!(copy(&place, &wrong).unwrap_err().exit, Exit::Source);
        }
    }
}
