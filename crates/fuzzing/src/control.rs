//! What goes over the control socket.

use supervisor::control::{read_answer, read_request};

/// The data are a kind and a payload.
pub(crate) fn control(data: &[u8]) {
    let (kind, payload) = crate::first(data);
    let kind = kind % 5;
    if let Ok(request) = read_request(kind, payload) {
        assert!(!format!("{request:?}").is_empty());
    }
    if let Ok(answer) = read_answer(kind, payload) {
        assert!(!format!("{answer:?}").is_empty());
    }
}
