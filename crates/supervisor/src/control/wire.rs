//! What goes over the control socket: both ends' messages and their codec.
//!
//! ```text
//! frame (process::FrameReader)   length, checksum, kind, payload
//!   up    kind 1  Request        version (u16, little endian), postcard of Request; at most 4 KiB; once for each connection
//!   down  kind 2  Answer         version, postcard of Answer; at most 1 MiB; once, but to a watcher again and again
//!         kind 3  OtherVersion   the version that the supervisor speaks, and nothing else, in every version for ever
//! ```
//!
//! A command may be newer or older than the job that it steers, so the version comes before anything else, and a
//! supervisor that can't read a request says which version it speaks. What comes in is not trusted: whatever is no
//! request is an error value, never a panic. Not responsible for: sockets and framing (`process`), and for whether a
//! wish can be met (the machine).

use migration::steer::{Standing, Steer};
use process::FrameError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::watch::Snapshot;

/// The version of kinds and payloads.
pub(super) const VERSION: u16 = 2;
/// The largest request in bytes.
pub(super) const LARGEST_REQUEST: usize = 4 * 1024;

pub(super) const REQUEST: u8 = 1;
pub(super) const ANSWER: u8 = 2;
pub(super) const OTHER_VERSION: u8 = 3;

/// What a command asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Turn a knob, then say how the job stands.
    Steer(Steer),
    /// How the run stands.
    State,
    /// How the run stands, again and again until it ends.
    Watch,
}

/// What the supervisor answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// The wish was taken; so the job stands now.
    Standing(Standing),
    /// It was not, for this reason.
    Refused(String),
    /// How the run stands.
    State(Box<Snapshot>),
}

/// Bytes that make no sense here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Not a frame.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// A frame of a kind that does not belong here.
    #[error("a frame of kind {0} came, which is none that belongs here")]
    Kind(u8),
    /// The other end speaks another version.
    #[error("the other end speaks version {0} of this protocol, this one version {VERSION}")]
    Version(u16),
    /// Not the payload that its kind promises.
    #[error("the payload can't be read: {0}")]
    Payload(String),
}

/// The payload of a request or an answer.
pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut payload = VERSION.to_le_bytes().to_vec();
    payload.extend(postcard::to_stdvec(value).expect("plain values without unknown lengths can always be encoded"));
    payload
}

/// The request or answer in a frame of the kind that is expected.
pub(super) fn decode<T: DeserializeOwned>(kind: u8, payload: &[u8], expected: u8) -> Result<T, WireError> {
    let Some((version, payload)) = payload.split_first_chunk::<2>() else {
        return Err(WireError::Payload("it has no version".to_owned()));
    };
    let version = u16::from_le_bytes(*version);
    match kind {
        OTHER_VERSION => Err(WireError::Version(version)),
        kind if kind != expected => Err(WireError::Kind(kind)),
        _ if version != VERSION => Err(WireError::Version(version)),
        _ => match postcard::take_from_bytes(payload) {
            Ok((value, [])) => Ok(value),
            Ok((_, rest)) => Err(WireError::Payload(format!("{} bytes are left over", rest.len()))),
            Err(cause) => Err(WireError::Payload(cause.to_string())),
        },
    }
}

#[cfg(test)]
mod tests {
    use migration::steer::Scale;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_and_answers_come_out_as_they_went_in() {
        let throttle = Steer::Throttle { records: Some(f64::INFINITY), bytes: None };
        for request in [Request::Steer(Steer::Scale(Scale::Down(3))), Request::Steer(throttle), Request::State, Request::Watch]
        {
            let payload = encode(&request);
            assert!(payload.len() < 100);
            assert_eq!(decode::<Request>(REQUEST, &payload, REQUEST), Ok(request));
        }
        let answer = Answer::State(Box::default());
        assert_eq!(decode::<Answer>(ANSWER, &encode(&answer), ANSWER), Ok(answer));
    }

    #[test]
    fn another_version_is_known_for_what_it_is() {
        let mut payload = encode(&Request::State);
        payload[0] = 9;
        payload.extend([0xFF; 50]);
        assert_eq!(decode::<Request>(REQUEST, &payload, REQUEST), Err(WireError::Version(9)));
        assert_eq!(decode::<Answer>(OTHER_VERSION, &7u16.to_le_bytes(), ANSWER), Err(WireError::Version(7)));
    }

    #[test]
    fn what_is_left_over_or_of_another_kind_is_an_error() {
        let mut payload = encode(&Request::State);
        assert_eq!(decode::<Request>(ANSWER, &payload, REQUEST), Err(WireError::Kind(ANSWER)));
        payload.push(0);
        assert!(matches!(decode::<Request>(REQUEST, &payload, REQUEST), Err(WireError::Payload(_))));
        assert!(matches!(decode::<Request>(REQUEST, &[1], REQUEST), Err(WireError::Payload(_))));
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_panic(kind in 0u8..5, payload in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<Request>(kind, &payload, REQUEST);
            let mut versioned = VERSION.to_le_bytes().to_vec();
            versioned.extend(&payload);
            let _ = decode::<Request>(REQUEST, &versioned, REQUEST);
            let _ = decode::<Answer>(ANSWER, &versioned, ANSWER);
        }
    }
}
