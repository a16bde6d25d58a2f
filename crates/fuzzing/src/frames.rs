//! The codec of frames.

use std::io::Write as _;

use process::{Filled, FrameError, FrameReader, FrameWriter};

/// So that long frames are short.
const LIMIT: usize = 300;

type Frame = (u8, Vec<u8>);

/// The data is a recipe: whole frames and raw bytes in turn. However the bytes are cut on their way, the same frames
/// come out, and these make the same bytes again.
pub(crate) fn frames(data: &[u8]) {
    let (cut, recipe) = crate::first(data);
    let stream = stream_of(recipe);
    let whole = read(&[&stream]);
    let cut = usize::from(cut) * stream.len() / 256;
    assert_eq!(read(&[&stream[..cut], &stream[cut..]]), whole, "cut at {cut}");

    let mut writer = FrameWriter::with_limit(LIMIT);
    for (kind, payload) in &whole.0 {
        writer.queue(*kind, payload).expect("what was read is not too long");
    }
    assert!(stream.starts_with(&bytes_of(writer)));
}

fn stream_of(mut recipe: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    while let [what, length, rest @ ..] = recipe {
        let (taken, left) = rest.split_at(usize::from(*length).min(rest.len()));
        recipe = left;
        if what % 2 == 0 {
            let mut writer = FrameWriter::with_limit(LIMIT);
            writer.queue(*what, taken).expect("it is not too long");
            stream.extend(bytes_of(writer));
        } else {
            stream.extend(taken);
        }
    }
    stream
}

fn bytes_of(mut writer: FrameWriter) -> Vec<u8> {
    let (here, there) = crate::pair();
    writer.flush(&here).expect("it fits");
    drop(here);
    crate::all_of(there)
}

/// The frames of bytes that come in pieces, and the error that ended them.
fn read(pieces: &[&[u8]]) -> (Vec<Frame>, Option<FrameError>) {
    let (mut here, there) = crate::pair();
    there.set_nonblocking(true).expect("a socket can be made so");
    let (mut reader, mut frames) = (FrameReader::with_limit(LIMIT), Vec::new());
    for piece in pieces {
        here.write_all(piece).expect("it fits");
        while let Filled::Bytes(_) | Filled::Full = reader.fill(&there).expect("a socket can be read") {
            loop {
                match reader.next_frame() {
                    Ok(Some((kind, payload))) => frames.push((kind, payload.to_vec())),
                    Ok(None) => break,
                    Err(error) => {
                        let again = reader.next_frame().map(drop);
                        assert_eq!(again, Err(error.clone()), "an error stays");
                        return (frames, Some(error));
                    }
                }
            }
            assert!(reader.waiting() < process::HEADER_BYTES + LIMIT);
        }
    }
    (frames, None)
}
