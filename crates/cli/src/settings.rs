//! From file, environment and flags to a [`Job`]: flag beats environment beats file.

use std::path::Path;

use migration::config::{Context, Typed, is_secret_property};
use migration::{Exit, Job};

use crate::args::JobArgs;
use crate::error::CliError;

/// Reads the config and applies what the command line and the environment change in it.
pub fn load(args: &JobArgs) -> Result<Job, CliError> {
    let shown = args.config.display().to_string();
    let text = std::fs::read_to_string(&args.config).map_err(|error| missing(&shown, &error))?;
    let file = std::path::absolute(&args.config).map_err(|error| missing(&shown, &error))?;
    let mut typed = Typed::parse(&text, &shown).map_err(|errors| CliError::new(errors.exit(), errors))?;
    override_keys(&mut typed, args)?;
    let context = Context {
        config_dir: file.parent().unwrap_or(Path::new("/")),
        env: &|name| std::env::var(name).ok(),
        read_secret_file: &|path| std::fs::read_to_string(path),
        check_properties: &kafka::options::check_properties,
    };
    let mut job = typed.mean(&context).map_err(|errors| CliError::new(errors.exit(), errors))?;
    if let Some(limit) = args.limit {
        job.name = format!("{}.limit-{limit}", job.name);
        job.record_limit = Some(limit.get());
    }
    Ok(job)
}

fn missing(path: &str, error: &std::io::Error) -> CliError {
    CliError::new(Exit::Config, format!("cannot read the config {path}: {error}"))
        .hint("name it with -c FILE, or make one with `shardlift init --from 'data/*.jsonl'`")
}

fn override_keys(typed: &mut Typed, args: &JobArgs) -> Result<(), CliError> {
    // In this order, so that a flag of its own beats the general --set.
    for pair in lines_of("SHARDLIFT_SET") {
        let (path, value) = split(&pair, "SHARDLIFT_SET", "shards.target_size=64MiB")?;
        typed.set(path, value, "SHARDLIFT_SET");
    }
    for pair in &args.set {
        let (path, value) = split(pair, "--set", "shards.target_size=64MiB")?;
        typed.set(path, value, "--set");
    }
    for pair in lines_of("SHARDLIFT_PROPERTIES") {
        set_property(typed, &pair, "SHARDLIFT_PROPERTIES")?;
    }
    for pair in &args.properties {
        set_property(typed, pair, "-X")?;
    }
    match args.brokers.as_slice() {
        [] => {}
        [one] if one == "embedded" => typed.set("kafka.brokers", &quoted(one), "--brokers"),
        several => typed.set("kafka.brokers", &toml_list(several), "--brokers"),
    }
    if let Some(topic) = &args.topic {
        typed.set("kafka.topic", &quoted(topic), "--topic");
    }
    if let Some(workers) = &args.workers {
        typed.set("workers.count", workers, "--workers");
    }
    Ok(())
}

/// A list in a variable: one entry a line, because values may hold commas.
fn lines_of(variable: &str) -> Vec<String> {
    let text = std::env::var(variable).unwrap_or_default();
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn split<'a>(pair: &'a str, flag: &str, example: &str) -> Result<(&'a str, &'a str), CliError> {
    pair.split_once('=')
        .map(|(name, value)| (name.trim(), value.trim()))
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| CliError::new(Exit::Usage, format!("{flag} {pair}: expected NAME=VALUE, such as {flag} {example}")))
}

fn set_property(typed: &mut Typed, pair: &str, flag: &str) -> Result<(), CliError> {
    let (name, value) = split(pair, flag, "compression.type=lz4")?;
    if is_secret_property(name) {
        return Err(CliError::new(Exit::Usage, format!("{flag} {name}=…: a secret on the command line is visible to everybody on this machine"))
            .hint(format!("write it in the config: [kafka.properties] \"{name}\" = {{ env = \"NAME\" }} or {{ file = \"path\" }}")));
    }
    typed.set(&format!("kafka.properties.{}", quoted(name)), &quoted(value), flag);
    Ok(())
}

fn toml_list(values: &[String]) -> String {
    format!("[{}]", values.iter().map(|v| quoted(v)).collect::<Vec<_>>().join(", "))
}

/// A TOML basic string.
fn quoted(value: &str) -> String {
    toml::Value::String(value.to_owned()).to_string()
}
