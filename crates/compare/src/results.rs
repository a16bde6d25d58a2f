//! The file that each result of a comparison goes to as soon as it is known: what is lost to an interruption is one run
//! at most.

use std::fs::{DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use serde::Serialize;

/// JSON values, one a line.
pub struct Results(File);

impl Results {
    /// A new file, never one that is there; its folder is made if need be, for this user alone.
    pub fn create(path: &Path) -> io::Result<Results> {
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        Ok(Results(File::create_new(path)?))
    }

    /// Writes a line.
    pub fn add(&mut self, line: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.0.write_all(&text)
    }
}
