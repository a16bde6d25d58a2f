//! A few bytes of Kafka's and TLS's protocols: enough to tell what a port speaks.
//!
//! Responsible for: the questions, and reading what comes back, whatever it is. Not responsible for: connections.

/// The number that our questions carry and answers repeat.
const CORRELATION: i32 = 0x5348_4c46;

/// What the first bytes of an answer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PortAnswer {
    /// An alert or a handshake of TLS.
    Tls,
    /// Kafka's answer to our question, whole: its bytes begin here.
    Kafka(usize),
    /// A web server's.
    Web,
    /// Too few bytes to tell.
    More,
    /// Something else.
    Unknown,
}

/// Which versions of requests are there (`ApiVersions` 0): answered before SASL, too.
pub(super) fn ask_versions() -> Vec<u8> {
    request(18, 0, &[])
}

/// Whether SASL is wanted (`SaslHandshake` 1). Nothing secret is in it.
pub(super) fn ask_mechanisms(mechanism: &str) -> Vec<u8> {
    let mut body = Vec::new();
    text(mechanism, &mut body);
    request(17, 1, &body)
}

fn text(text: &str, into: &mut Vec<u8>) {
    let bytes = &text.as_bytes()[..text.len().min(1_000)];
    into.extend((bytes.len() as i16).to_be_bytes());
    into.extend(bytes);
}

fn request(api: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(api.to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend(CORRELATION.to_be_bytes());
    text("shardlift", &mut frame);
    frame.extend(body);
    let mut bytes = (frame.len() as i32).to_be_bytes().to_vec();
    bytes.extend(frame);
    bytes
}

/// The beginning of a TLS 1.2 handshake, to which every server of TLS answers with a handshake or an alert.
pub(super) fn client_hello() -> Vec<u8> {
    // Version 1.2, a random number, no session, two cipher suites, no compression.
    let mut hello = vec![3, 3];
    hello.extend([0x5a; 32]);
    hello.extend([0, 0, 4, 0xc0, 0x2f, 0xc0, 0x2b, 1, 0]);
    let mut handshake = vec![1, 0, 0, hello.len() as u8];
    handshake.extend(hello);
    let mut record = vec![0x16, 3, 1, 0, handshake.len() as u8];
    record.extend(handshake);
    record
}

/// What came back so far.
pub(super) fn answer(bytes: &[u8]) -> PortAnswer {
    const LARGEST: usize = 1 << 20;
    match bytes {
        [0x15 | 0x16, 3, 0..=4, ..] => return PortAnswer::Tls,
        [0x15 | 0x16] | [0x15 | 0x16, 3] => return PortAnswer::More,
        _ if bytes.starts_with(b"HTTP/") => return PortAnswer::Web,
        _ if b"HTTP/".starts_with(bytes) => return PortAnswer::More,
        _ => {}
    }
    let Some((size, rest)) = bytes.split_first_chunk::<4>() else { return PortAnswer::More };
    let size = i32::from_be_bytes(*size);
    let Ok(size @ 4..=LARGEST) = usize::try_from(size) else { return PortAnswer::Unknown };
    match rest.split_first_chunk::<4>() {
        None => PortAnswer::More,
        Some((number, _)) if i32::from_be_bytes(*number) != CORRELATION => PortAnswer::Unknown,
        Some(_) if rest.len() < size => PortAnswer::More,
        Some(_) => PortAnswer::Kafka(8),
    }
}

/// What `SaslHandshake` was answered with: the error's code and the mechanisms.
pub(super) fn mechanisms(body: &[u8]) -> Option<(i16, Vec<String>)> {
    let (code, rest) = body.split_first_chunk::<2>()?;
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    let mut found = Vec::new();
    for _ in 0..i32::from_be_bytes(*count).clamp(0, 100) {
        let (size, after) = rest.split_first_chunk::<2>()?;
        let (name, after) = after.split_at_checked(usize::try_from(i16::from_be_bytes(*size)).ok()?)?;
        found.push(String::from_utf8_lossy(name).into_owned());
        rest = after;
    }
    Some((i16::from_be_bytes(*code), found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_what_a_port_speaks() {
        let kafka = [0, 0, 0, 6, 0x53, 0x48, 0x4c, 0x46, 0, 0];
        for (bytes, expected) in [
            (&[0x15, 3, 3, 0, 2, 2, 80][..], PortAnswer::Tls),
            (&[0x15, 3, 1, 0, 2, 2, 10], PortAnswer::Tls),
            (&[0x16, 3, 3, 0, 60], PortAnswer::Tls),
            (&[0x15], PortAnswer::More),
            (&kafka, PortAnswer::Kafka(8)),
            (&kafka[..9], PortAnswer::More),
            (&kafka[..3], PortAnswer::More),
            (&[0, 0, 0, 6, 0, 0, 0, 1, 0, 0], PortAnswer::Unknown),
            (b"HTTP/1.1 400 Bad Request", PortAnswer::Web),
            (b"HT", PortAnswer::More),
            (b"", PortAnswer::More),
            (b"SSH-2.0-OpenSSH_9.2", PortAnswer::Unknown),
            (b"220 mail ESMTP", PortAnswer::Unknown),
            (&[0xff; 16], PortAnswer::Unknown),
        ] {
            assert_eq!(answer(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn mechanisms_are_read_and_what_is_cut_off_is_none() {
        let mut body = 33i16.to_be_bytes().to_vec();
        body.extend(2i32.to_be_bytes());
        text("PLAIN", &mut body);
        text("SCRAM-SHA-512", &mut body);
        assert_eq!(mechanisms(&body), Some((33, vec!["PLAIN".to_owned(), "SCRAM-SHA-512".to_owned()])));
        for cut in 0..body.len() {
            assert_eq!(mechanisms(&body[..cut]), None, "{cut}");
        }
        assert_eq!(mechanisms(&[0, 34, 0, 0, 0, 0]), Some((34, Vec::new())));
        assert_eq!(mechanisms(&[0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
    }

    #[test]
    fn questions_have_their_size_in_front() {
        for bytes in [ask_versions(), ask_mechanisms("PLAIN")] {
            let (size, rest) = bytes.split_first_chunk::<4>().unwrap();
            assert_eq!(i32::from_be_bytes(*size) as usize, rest.len());
        }
        let hello = client_hello();
        assert_eq!(hello[4] as usize, hello.len() - 5);
        assert_eq!(hello[8] as usize, hello.len() - 9);
    }
}
