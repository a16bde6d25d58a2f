//! Reading a config in a world of one variable and one secret's file.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::io;
use std::path::Path;

use migration::Job;
use migration::config::{ConfigErrors, Context, PropertyProblem, Typed};

/// The smallest config that means something.
pub const SMALLEST: &str = "[job]\nname = \"j\"\n[source.jsonl]\npaths = [\"a.jsonl\"]\n[kafka]\ntopic = \"t\"\n";

/// The smallest config of CSV.
pub const SMALLEST_CSV: &str = "[job]\nname = \"j\"\n[source.csv]\npaths = [\"a.csv\"]\n[kafka]\ntopic = \"t\"\n";

/// Whether snapshots are to be written anew.
pub fn updating() -> bool {
    std::env::var_os("UPDATE_SNAPSHOTS").is_some()
}

/// The file at a path from this crate's folder is `expected`; with `UPDATE_SNAPSHOTS=1` it is written.
pub fn snapshot(path: &str, expected: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if updating() {
        std::fs::write(&file, expected).unwrap_or_else(|error| panic!("{path}: {error}"));
        return;
    }
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"));
    let different = text.lines().zip(expected.lines()).find(|(old, new)| old != new);
    assert!(
        text == expected,
        "{path} is not what the declarations say; UPDATE_SNAPSHOTS=1 writes it anew. The first line that differs:\n{different:#?}"
    );
}

/// What `typed` means in the folder `/jobs`.
pub fn mean(typed: Typed) -> Result<Job, ConfigErrors> {
    let env = |name: &str| match name {
        "PASSWORD" => Some("hunter2".to_owned()),
        "PADDED" => Some("hunter2\t".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    let read = |path: &Path| match path.to_str() {
        Some("/jobs/secrets/password") => Ok("s3cr3t\r\n".to_owned()),
        Some("/jobs/secrets/padded") => Ok("hunter2 \n\n".to_owned()),
        Some("/jobs/secrets/empty") => Ok("\n".to_owned()),
        _ => Err(io::Error::new(io::ErrorKind::NotFound, "No such file or directory")),
    };
    typed.mean(&Context {
        config_dir: Path::new("/jobs"),
        env: &env,
        read_secret_file: &read,
        check_properties: &check,
        is_folder: &is_folder,
        contacts_brokers: true,
    })
}

/// Knows a file and a folder.
fn is_folder(path: &Path) -> io::Result<bool> {
    match path.to_str() {
        Some("/etc/ca.pem") => Ok(false),
        Some("/etc/certs") => Ok(true),
        _ => Err(io::Error::new(io::ErrorKind::NotFound, "No such file or directory")),
    }
}

/// Knows two properties, and quotes what it refuses, as librdkafka does.
fn check(properties: &[(String, String)]) -> Vec<PropertyProblem> {
    let problem = |name: &String, message: String, near: Option<&str>| PropertyProblem {
        name: name.clone(),
        message,
        did_you_mean: near.map(str::to_owned),
    };
    properties
        .iter()
        .filter_map(|(name, value)| match (name.as_str(), value.as_str()) {
            ("compression.tpye", _) => Some(problem(name, "no such property".into(), Some("compression.type"))),
            ("compression.type", "lz5") => Some(problem(name, format!("invalid value {value:?}"), None)),
            ("sasl.pasword", _) => Some(problem(name, "no such property".into(), Some("sasl.password"))),
            ("ssl.key.password", _) => Some(problem(name, format!("invalid value {value:?}"), None)),
            _ => None,
        })
        .collect()
}

/// What a text means.
pub fn read(text: &str) -> Result<Job, ConfigErrors> {
    mean(Typed::parse(text, "orchestrator.toml")?)
}
