//! Reading a config in a world of one variable and one secret's file.

use std::io;
use std::path::Path;

use migration::Job;
use migration::config::{ConfigErrors, Context, PropertyProblem, Typed};

/// The smallest config that means something.
pub const SMALLEST: &str = "[job]\nname = \"j\"\n[source.jsonl]\npaths = [\"a.jsonl\"]\n[kafka]\ntopic = \"t\"\n";

/// What `typed` means in the folder `/jobs`.
pub fn mean(typed: Typed) -> Result<Job, ConfigErrors> {
    let env = |name: &str| match name {
        "PASSWORD" => Some("hunter2".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    let read = |path: &Path| match path.to_str() {
        Some("/jobs/secrets/password") => Ok("s3cr3t\r\n".to_owned()),
        Some("/jobs/secrets/empty") => Ok("\n".to_owned()),
        _ => Err(io::Error::new(io::ErrorKind::NotFound, "No such file or directory")),
    };
    typed.mean(&Context {
        config_dir: Path::new("/jobs"),
        env: &env,
        read_secret_file: &read,
        check_properties: &check,
        contacts_brokers: true,
    })
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
