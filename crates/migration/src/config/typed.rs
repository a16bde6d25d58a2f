//! The first stage: what was typed, in the file and in overrides. Everything is optional; what can't be understood is
//! kept as an error until [`Typed::mean`] reports all of them at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::checks;
use super::error::{ConfigErrors, ErrorCode, Problems, SourceText};
use super::key::Declared;
use super::origin::{At, ValueOrigin};
use super::properties::is_secret_property;
use super::schema::{self, LATER};
use super::suggest::nearest;
use super::value::{EntryValue, NOT_YET, NamedValue, TypedValue, ValueKind, quoted, scalar, seen};
use crate::job::{JsonlSource, SourceRules};

/// What was typed. Overrides are laid over it with [`Typed::set`] and its companions, then [`Typed::mean`] says what it
/// means.
#[derive(Debug)]
pub struct Typed {
    pub(super) values: BTreeMap<&'static str, At<TypedValue>>,
    pub(super) entries: BTreeMap<&'static str, Vec<NamedValue>>,
    /// Keys whose value was refused: no further errors about them.
    pub(super) refused: BTreeSet<&'static str>,
    /// The tables of sources, and where each was first.
    pub(super) sources: BTreeMap<&'static str, ValueOrigin>,
    pub(super) problems: Problems,
}

impl Typed {
    /// Reads a file's text. `name` is how errors call the file. An error means that the text is not TOML; all other
    /// mistakes are kept and reported by [`Typed::mean`] together.
    pub fn parse(text: &str, name: &str) -> Result<Typed, ConfigErrors> {
        let source = Arc::new(SourceText { name: name.into(), text: text.into() });
        let mut typed = Typed {
            values: BTreeMap::new(),
            entries: BTreeMap::new(),
            refused: BTreeSet::new(),
            sources: BTreeMap::new(),
            problems: Problems::new(source),
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            typed.read_table(table.get_ref(), "", &ValueOrigin::File(0..0));
            return Ok(typed);
        }
        for error in errors {
            let origin = ValueOrigin::File(error.span().unwrap_or(0..0));
            typed.problems.add(ErrorCode::Syntax, &origin, format!("this is not TOML: {}", error.message()));
        }
        Err(typed.problems.into_errors())
    }

    /// Whether a key was typed, in the file or in an override.
    pub fn has(&self, path: &str) -> bool {
        self.values.contains_key(path) || self.entries.contains_key(path) || self.refused.contains(path)
    }

    pub(super) fn read_table(&mut self, table: &DeTable<'_>, at: &str, origin: &ValueOrigin) {
        for (name, value) in in_order(table) {
            let path = join(at, name.get_ref());
            let here = origin.part(name.span());
            if name.get_ref().contains('.') {
                // A quoted name with dots is another key than the path it looks like.
                self.unknown(name.get_ref(), at, &here);
            } else if let Some(key) = schema::find(&path) {
                if key.kind.has_entries() {
                    self.read_entries(key, value, origin);
                } else {
                    self.read_value(key, value, origin);
                }
            } else if LATER.contains(&path.as_str()) {
                let another =
                    SourceRules::TABLES.into_iter().find(|other| self.sources.contains_key(other) || has_table(table, other));
                self.later(&path, &here, another);
            } else if let Some(path) = schema::table(&path) {
                match value.get_ref() {
                    DeValue::Table(inner) => {
                        if SourceRules::TABLES.contains(&path) {
                            self.sources.entry(path).or_insert(here);
                        }
                        self.read_table(inner, path, origin);
                    }
                    other => {
                        let message = format!("`{path}` is {}; it must be a table", seen(other));
                        self.problems.add(ErrorCode::WrongType, &origin.part(value.span()), message).help(allowed_in(path));
                    }
                }
            } else {
                self.unknown(name.get_ref(), at, &here);
            }
        }
    }

    fn later(&mut self, path: &str, here: &ValueOrigin, another: Option<&str>) {
        if let Some(another) = another {
            let message = format!("two sources: `{another}` and `{path}`");
            self.problems
                .add(ErrorCode::Contradiction, here, message)
                .help(format!("a job has exactly one source: delete [{path}]"));
        } else {
            // No source is missing: one is typed.
            self.refused.insert(JsonlSource::PATHS.declared().path);
            let message = format!("`{path}` is not in this version");
            let tables = SourceRules::TABLES.map(|table| format!("[{table}]")).join(" and ");
            self.problems.add(ErrorCode::NotYet, here, message).help(format!("the sources of this version are {tables}"));
        }
    }

    fn unknown(&mut self, name: &str, at: &str, here: &ValueOrigin) {
        let path = join(at, name);
        let near = nearest(name, schema::names_in(at)).map(|near| join(at, near));
        let error = self.problems.add(ErrorCode::UnknownKey, here, format!("unknown key {}", tick(&path)));
        match schema::elsewhere(name, at).as_slice() {
            [] => error.suggest(near.as_deref()),
            homes => error.help(format!("`{name}` belongs in [{}]", homes.join("] or ["))),
        };
        error.help(allowed_in(at));
    }

    fn read_value(&mut self, key: &'static Declared, value: &Spanned<DeValue<'_>>, origin: &ValueOrigin) {
        match key.kind.read(value) {
            Ok(read) => {
                self.refused.remove(key.path);
                self.values.insert(key.path, At::new(read, origin.part(value.span())));
            }
            Err(refusal) => {
                self.refused.insert(key.path);
                let message = format!("`{}` {}", key.path, refusal.message);
                let error = self.problems.add(refusal.code, &origin.part(refusal.span), message);
                let instead = refusal.instead.unwrap_or_else(|| format!("allowed: {}", key.kind.allowed()));
                error.suggest(refusal.near.as_deref()).help(instead);
            }
        }
    }

    fn read_entries(&mut self, key: &'static Declared, value: &Spanned<DeValue<'_>>, origin: &ValueOrigin) {
        self.entries.entry(key.path).or_default();
        match value.get_ref() {
            DeValue::Table(table) => {
                self.read_entry_table(key, table, "", origin);
            }
            other => {
                let message = format!("`{}` is {}", key.path, seen(other));
                let error = self.problems.add(ErrorCode::WrongType, &origin.part(value.span()), message);
                error.help(format!("allowed: {}", key.kind.allowed()));
            }
        }
    }

    /// Property names have dots: `compression.type = "lz4"` and `"compression.type" = "lz4"` are the same.
    fn read_entry_table(&mut self, key: &'static Declared, table: &DeTable<'_>, at: &str, origin: &ValueOrigin) {
        let properties = matches!(key.kind, ValueKind::Properties);
        for (name, value) in in_order(table) {
            let here = origin.part(name.span());
            let name = join(at, name.get_ref());
            let read = match value.get_ref() {
                DeValue::Table(inner) if properties && (is_secret_property(&name) || is_reference(inner)) => {
                    self.read_reference(&name, inner, &here, origin)
                }
                DeValue::Table(inner) if properties && !inner.is_empty() => {
                    self.read_entry_table(key, inner, &name, origin);
                    continue;
                }
                _ => self.read_entry_value(key, &name, value, origin),
            };
            if let Some(read) = read {
                let value = At::new(read, origin.part(value.span()));
                self.insert_entry(key.path, NamedValue { name: At::new(name, here), value });
            }
        }
    }

    fn read_entry_value(
        &mut self,
        key: &'static Declared,
        name: &str,
        value: &Spanned<DeValue<'_>>,
        origin: &ValueOrigin,
    ) -> Option<EntryValue> {
        let here = origin.part(value.span());
        match (key.kind, value.get_ref()) {
            (ValueKind::Choices(words), DeValue::String(text)) if !words.contains(&text.as_ref()) => {
                let message = format!("{} in [{}] is {}", tick(name), key.path, quoted(text));
                let error = self.problems.add(ErrorCode::BadValue, &here, message);
                error.suggest(nearest(text, words.iter().copied())).help(format!("allowed: {}", key.kind.allowed()));
                None
            }
            (ValueKind::Headers, DeValue::String(text)) if checks::field_path(text).is_ok() => {
                self.header_of_field(name, &quoted(text), &here);
                None
            }
            (ValueKind::Headers, DeValue::Table(table)) if table.contains_key("field") => {
                self.header_of_field(name, "a field of the record", &here);
                None
            }
            (ValueKind::Headers | ValueKind::Choices(_), DeValue::String(text)) => Some(EntryValue::Plain(text.to_string())),
            (kind, other) => {
                let properties = matches!(kind, ValueKind::Properties);
                if let Some(text) = scalar(other).filter(|_| properties) {
                    return Some(EntryValue::Plain(text));
                }
                let what = if properties { "a string, number or boolean" } else { "a string" };
                let message = format!("{} in [{}] is {}; it must be {what}", tick(name), key.path, seen(other));
                self.problems.add(ErrorCode::WrongType, &here, message);
                None
            }
        }
    }

    /// A header from a field of each record, which looks like one with a text. Sent as that text it would be wrong in
    /// every record.
    fn header_of_field(&mut self, name: &str, seen: &str, here: &ValueOrigin) {
        let message = format!("{} in [record.headers] is {seen}: a header from a field {NOT_YET}", tick(name));
        self.problems
            .add(ErrorCode::NotYet, here, message)
            .help("headers are the same for every record; a text that begins with a dot can't be one");
    }

    fn read_reference(
        &mut self,
        name: &str,
        table: &DeTable<'_>,
        here: &ValueOrigin,
        origin: &ValueOrigin,
    ) -> Option<EntryValue> {
        let entries = in_order(table);
        for (key, _) in &entries {
            if !matches!(key.get_ref().as_ref(), "env" | "file") {
                let near = nearest(key.get_ref(), ["env", "file"]);
                let message = format!("unknown key {} in the secret {}", tick(key.get_ref()), tick(name));
                let error = self.problems.add(ErrorCode::UnknownKey, &origin.part(key.span()), message);
                error.suggest(near).help("a secret is { env = \"NAME\" } or { file = \"PATH\" }");
                return None;
            }
        }
        match entries.as_slice() {
            [(key, value)] => match value.get_ref() {
                DeValue::String(text) if key.get_ref() == "env" => Some(EntryValue::Env(text.to_string())),
                DeValue::String(text) => Some(EntryValue::File(text.to_string())),
                other => {
                    let message =
                        format!("`{}` of the secret {} is {}; it must be a string", key.get_ref(), tick(name), seen(other));
                    self.problems.add(ErrorCode::WrongType, &origin.part(value.span()), message);
                    None
                }
            },
            [] => {
                let message = format!("the secret {} names neither a variable nor a file", tick(name));
                self.problems
                    .add(ErrorCode::BadValue, here, message)
                    .help("a secret is { env = \"NAME\" } or { file = \"PATH\" }");
                None
            }
            _ => {
                let message = format!("the secret {} has both `env` and `file`", tick(name));
                self.problems.add(ErrorCode::Contradiction, here, message).help("delete one of them");
                None
            }
        }
    }

    pub(super) fn insert_entry(&mut self, path: &'static str, entry: NamedValue) {
        let entries = self.entries.entry(path).or_default();
        if let Some(old) = entries.iter_mut().find(|old| old.name.value == entry.name.value) {
            if old.in_file() && entry.in_file() {
                let message = format!("{} is given twice", tick(&entry.name.value));
                let first = self.problems.whence(&old.name.origin);
                self.problems
                    .add(ErrorCode::Contradiction, &entry.name.origin, message)
                    .help(format!("delete this one or the one before {first}"));
            }
            *old = entry;
        } else {
            entries.push(entry);
        }
    }
}

fn is_reference(table: &DeTable<'_>) -> bool {
    !table.is_empty() && in_order(table).iter().all(|(key, _)| matches!(key.get_ref().as_ref(), "env" | "file"))
}

/// Whether a table below `[source]` has this source.
fn has_table(source: &DeTable<'_>, path: &str) -> bool {
    source.iter().any(|(name, _)| join("source", name.get_ref()) == path)
}

type Pair<'t, 'i> = (&'t Spanned<std::borrow::Cow<'i, str>>, &'t Spanned<DeValue<'i>>);

/// Entries as the text has them.
fn in_order<'t, 'i>(table: &'t DeTable<'i>) -> Vec<Pair<'t, 'i>> {
    let mut pairs: Vec<_> = table.iter().collect();
    pairs.sort_by_key(|(key, _)| key.span().start);
    pairs
}

fn join(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

/// A name that was typed, in backticks: control characters can't reach the terminal.
pub(super) fn tick(name: &str) -> String {
    format!("`{}`", name.escape_debug())
}

fn allowed_in(table: &str) -> String {
    let mut names: Vec<_> = schema::names_in(table).collect();
    names.dedup();
    let list = names.join(", ");
    if table.is_empty() { format!("the tables are: {list}") } else { format!("the keys of [{table}] are: {list}") }
}
