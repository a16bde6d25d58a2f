//! What a config's meaning depends on besides its text.

use std::io;
use std::path::Path;

use super::properties::PropertyProblem;

/// What librdkafka thinks of properties, given as names and values.
pub type CheckProperties<'a> = dyn Fn(&[(String, String)]) -> Vec<PropertyProblem> + 'a;

/// What a config's meaning depends on besides its text.
pub struct Context<'a> {
    /// The folder of the config file; relative paths start here.
    pub config_dir: &'a Path,
    /// The value of an environment variable.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The text of a secret's file.
    pub read_secret_file: &'a dyn Fn(&Path) -> io::Result<String>,
    /// What librdkafka thinks of properties (name and value, secrets resolved).
    pub check_properties: &'a CheckProperties<'a>,
    /// Whether what stands at the path of a file that the client will read is a folder; an error if it can't be read.
    pub is_folder: &'a dyn Fn(&Path) -> io::Result<bool>,
    /// Whether the job is for a command that contacts brokers.
    pub contacts_brokers: bool,
}
