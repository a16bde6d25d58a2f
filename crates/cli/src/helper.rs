//! Work that needs a client or threads, done in a forked helper process: its answer travels back over a pipe.

use std::io::Write;

use migration::Exit;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::CliError;

/// Runs `body` in a helper process and returns its answer.
pub fn ask<T: Serialize + DeserializeOwned>(name: &str, body: impl FnOnce() -> Result<T, CliError>) -> Result<T, CliError> {
    let output = process::run_helper(name, |answer: &mut dyn Write| {
        let encoded = postcard::to_stdvec(&body());
        match encoded.map(|bytes| answer.write_all(&bytes)) {
            Ok(Ok(())) => 0,
            Ok(Err(_)) | Err(_) => 1,
        }
    })
    .map_err(|error| CliError::new(Exit::Internal, error))?;
    if !output.status.is_success() {
        return Err(CliError::new(Exit::Internal, format!("the helper process {name} ended badly: {}", output.status)));
    }
    postcard::from_bytes::<Result<T, CliError>>(&output.bytes)
        .map_err(|error| CliError::new(Exit::Internal, format!("the helper process {name} gave no readable answer: {error}")))?
}
