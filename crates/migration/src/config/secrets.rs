//! Resolving references to secrets. No error and no debug output ever holds a secret's text.

use super::checks;
use super::context::Context;
use super::error::{ErrorCode, Problems};
use super::paths::joined;
use super::properties::is_secret_property;
use super::typed::tick;
use super::value::{EntryValue, NamedValue};
use crate::job::property::{Property, Secret};
use crate::printable::printable_path;

/// The value of a property; `None` after an error was added.
pub(super) fn resolve(entry: &NamedValue, ctx: &Context<'_>, accepts_space: bool, problems: &mut Problems) -> Option<Property> {
    let property = value(entry, ctx, problems)?;
    if let Property::Secret(secret) = &property
        && !accepts_space
        && !entry.name.value.ends_with(".pem")
        && let Some(what) = space(&secret.value)
    {
        let message = format!("the secret {} ({}) {what}", tick(&entry.name.value), secret.from);
        problems
            .add(ErrorCode::Secret, &entry.value.origin, message)
            .help("take it away there; if it belongs to the secret, let it pass with --accept secret-space (checks.accept)");
        return None;
    }
    Some(property)
}

/// Which white space a text begins or ends with: an accident of the file or variable that holds it, nearly always.
fn space(text: &str) -> Option<String> {
    let name = |c: char| match c {
        '\n' | '\r' => "a line end",
        '\t' => "a tab",
        _ => "a space",
    };
    let end = text.chars().next_back().filter(|c| c.is_whitespace()).map(|c| format!("ends in {}", name(c)));
    end.or_else(|| text.chars().next().filter(|c| c.is_whitespace()).map(|c| format!("begins with {}", name(c))))
}

fn value(entry: &NamedValue, ctx: &Context<'_>, problems: &mut Problems) -> Option<Property> {
    let name = &entry.name.value;
    let secret = |from: String, value: String| Some(Property::Secret(Secret { from, value }));
    match &entry.value.value {
        EntryValue::Plain(text) if is_secret_property(name) => secret("the config file".into(), text.clone()),
        EntryValue::Plain(text) => Some(Property::Plain(text.clone())),
        EntryValue::Env(variable) => match (ctx.env)(variable) {
            Some(value) if !value.is_empty() => secret(format!("env {variable}"), value),
            found => {
                let what = if found.is_some() { "empty" } else { "not set" };
                let message = format!("the secret {} needs the variable {}, which is {what}", tick(name), tick(variable));
                problems.add(ErrorCode::Secret, &entry.value.origin, message).help("set it in the environment of this command");
                None
            }
        },
        EntryValue::File(file) => {
            let path = joined(ctx.config_dir, file);
            let shown = printable_path(&path);
            let failed = match (ctx.read_secret_file)(&path) {
                Ok(text) => {
                    let value = text.strip_suffix('\n').unwrap_or(&text);
                    let value = value.strip_suffix('\r').unwrap_or(value);
                    if !value.is_empty() {
                        return secret(format!("file {shown}"), value.to_owned());
                    }
                    "the file is empty".to_owned()
                }
                Err(error) => error.to_string(),
            };
            let message = format!("the secret {} can't be read from {}: {failed}", tick(name), tick(&shown));
            let error = problems.add(ErrorCode::Secret, &entry.value.origin, message);
            match checks::path(file) {
                Err(refusal) => error.help(format!("{}: write the whole path", refusal.why)),
                Ok(()) => error.help("relative paths start at the config's folder"),
            };
            None
        }
    }
}
