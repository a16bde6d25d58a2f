//! Overrides: flags and variables that are laid over what the file says. Their mistakes name the flag, not a line.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Typed;
use super::error::ErrorCode;
use super::java::java_name;
use super::origin::{At, ValueOrigin};
use super::properties::{PROPERTIES, is_secret_property, typed_form};
use super::typed::tick;
use super::value::{EntryValue, NamedValue};

impl Typed {
    /// Sets the key at `path` to a TOML value; what is not TOML is taken as a bare word, a string. Tables keep what
    /// they are not told (`workers.chunk` = `{ records = 5 }`), lists are replaced. `origin` names the flag or variable
    /// in errors.
    pub fn set(&mut self, path: &str, value: &str, origin: &str) {
        self.set_from(path, value, &ValueOrigin::given(origin));
    }

    /// Like [`Typed::set`] with a text that is not TOML: what `--topic 2026` means is the string `2026`.
    pub fn set_text(&mut self, path: &str, text: &str, origin: &str) {
        self.set_value(path, DeValue::String(text.into()), &ValueOrigin::given(origin));
    }

    /// One `--set`: `PATH=VALUE`. Errors name `FLAG PATH`.
    pub fn set_assignment(&mut self, assignment: &str, flag: &str) {
        match split(assignment) {
            Some((path, value)) => self.set_from(path, value, &ValueOrigin::given(&format!("{flag} {path}"))),
            None => self.malformed(flag, "PATH=VALUE", "workers.count=4"),
        }
    }

    /// One `-X`: `NAME=VALUE` of a librdkafka property. Errors name `FLAG NAME` and are the command line's (exit 2).
    pub fn set_property(&mut self, assignment: &str, flag: &str) {
        match assignment.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() => {
                let (name, value) = (name.trim().to_owned(), value.to_owned());
                let origin = ValueOrigin::usage(&format!("{flag} {}", name.escape_debug()));
                if is_secret_property(&name) && java_name(&name).is_none() {
                    return self.secret_in_sight(&name, &origin);
                }
                let value = At::new(EntryValue::Plain(value), origin.clone());
                self.insert_entry(PROPERTIES, NamedValue { name: At::new(name, origin), value });
            }
            _ => self.malformed(flag, "NAME=VALUE", "compression.type=lz4"),
        }
    }

    fn set_from(&mut self, path: &str, value: &str, origin: &ValueOrigin) {
        match DeValue::parse(value) {
            Ok(parsed) => self.set_value(path, parsed.into_inner(), origin),
            Err(_) if is_bare(value) => self.set_value(path, DeValue::String(value.into()), origin),
            Err(error) => {
                let message = format!("the value of {} is not TOML: {}", tick(path), error.message());
                self.problems.add(ErrorCode::Syntax, &ValueOrigin::usage(&origin_name(origin)), message);
            }
        }
    }

    fn set_value(&mut self, path: &str, value: DeValue<'_>, origin: &ValueOrigin) {
        let Some(names) = names(path) else {
            let message = format!("{} is not the path of a key", tick(path));
            let origin = ValueOrigin::usage(&origin_name(origin));
            self.problems.add(ErrorCode::BadOverride, &origin, message).help("a path looks like workers.chunk.records");
            return;
        };
        let nested = names.into_iter().rev().fold(value, |inner, name| {
            let mut table = DeTable::new();
            table.insert(Spanned::new(0..0, name.into()), Spanned::new(0..0, inner));
            DeValue::Table(table)
        });
        let DeValue::Table(table) = nested else { return };
        let plain_secrets = self.plain_secrets();
        self.read_table(&table, "", origin);
        if matches!(origin, ValueOrigin::Given(_)) {
            for name in self.plain_secrets().into_iter().filter(|name| !plain_secrets.contains(name)) {
                self.entries.entry(PROPERTIES).or_default().retain(|entry| entry.name.value != name);
                self.secret_in_sight(&name, &ValueOrigin::usage(&origin_name(origin)));
            }
        }
    }

    /// Names of secrets that an override gave as they are.
    fn plain_secrets(&self) -> Vec<String> {
        let entries = self.entries.get(PROPERTIES).into_iter().flatten();
        entries
            .filter(|e| !e.in_file() && is_secret_property(&e.name.value) && java_name(&e.name.value).is_none())
            .filter(|e| matches!(e.value.value, EntryValue::Plain(_)))
            .map(|e| e.name.value.clone())
            .collect()
    }

    fn secret_in_sight(&mut self, name: &str, origin: &ValueOrigin) {
        let message = format!("{} is a secret: any user of this machine can read a command line", tick(name));
        let error = self.problems.add(ErrorCode::SecretInSight, origin, message);
        error.help("write into the config file, below [kafka.properties]:").help(typed_form(name));
    }

    fn malformed(&mut self, flag: &str, shape: &str, example: &str) {
        let origin = ValueOrigin::usage(flag);
        self.problems
            .add(ErrorCode::BadOverride, &origin, format!("{flag} needs {shape}"))
            .help(format!("such as {flag} {example}"));
    }
}

fn origin_name(origin: &ValueOrigin) -> String {
    match origin {
        ValueOrigin::Given(given) => given.name.to_string(),
        _ => String::new(),
    }
}

/// What can be meant as a string without quotes: anything that does not begin like another TOML value and stays on a
/// line.
fn is_bare(value: &str) -> bool {
    !value.trim_start().starts_with(['"', '\'', '[', '{']) && !value.contains(['\n', '\r'])
}

/// The first `=` outside quotes parts path and value.
fn split(assignment: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    for (i, c) in assignment.char_indices() {
        match (quote, c) {
            (None, '=') => {
                let path = assignment[..i].trim();
                return (!path.is_empty()).then(|| (path, assignment[i + 1..].trim()));
            }
            (None, '"' | '\'') => quote = Some(c),
            (Some(q), _) if q == c => quote = None,
            _ => {}
        }
    }
    None
}

/// The names of a dotted path, quoted ones too.
fn names(path: &str) -> Option<Vec<String>> {
    if path.contains(['\n', '\r', '#']) {
        return None;
    }
    let text = format!("{path} = 0");
    let table = DeTable::parse(&text).ok()?;
    let mut names = Vec::new();
    let mut level = table.get_ref();
    loop {
        let (name, value) = level.iter().next()?;
        names.push(name.get_ref().to_string());
        match value.get_ref() {
            DeValue::Table(inner) => level = inner,
            DeValue::Integer(_) => return Some(names),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_as_toml_does() {
        assert_eq!(names("a.b"), Some(vec!["a".into(), "b".into()]));
        assert_eq!(names("a.\"b.c\""), Some(vec!["a".into(), "b.c".into()]));
        for bad in ["", "a.", "[a]", "a = 1 #", "a = {b", "a\nb"] {
            assert_eq!(names(bad), None, "{bad}");
        }
        assert_eq!(split("a.\"x=y\"=1"), Some(("a.\"x=y\"", "1")));
        assert_eq!(split("a"), None);
        assert_eq!(split("=1"), None);
    }
}
