//! How a key of the config is declared: once, beside the field that it fills. Reading, defaults, suggestions, the
//! annotated file and the tables of `docs/configuration.md` are made of the declaration.
//!
//! [`rules!`] declares a table of keys and the struct that they fill.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::origin::{At, ValueOrigin};
use super::value::{NamedValue, TypedValue, ValueKind};

/// A key of the config without the type of what it means.
#[derive(Clone, Copy, Debug)]
pub struct Declared {
    /// Dotted path, such as `workers.chunk.records`.
    pub path: &'static str,
    /// What its value may be.
    pub kind: ValueKind,
    /// Its default as TOML; `None`: absent means absent, or the key is required.
    pub default: Option<&'static str>,
    /// Whether a job can't be without it.
    pub required: bool,
    /// A value as TOML, not the default.
    pub example: &'static str,
    /// What it is for, line by line: a paragraph for the annotated file; after an empty line, more for the
    /// documentation.
    pub doc: &'static [&'static str],
    /// Whether it may change between stop and resume.
    pub resume: Resume,
    /// The flag of its own, if it has one.
    pub flag: Option<Flag>,
}

/// What becomes of a job that is continued with another value of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// The next run follows the new value.
    May,
    /// The plan was made with the old value, and stays: the new one has no effect.
    Planned,
    /// The run is refused: some records were sent by the old value. Or the new value means another job.
    MustNot,
    /// The next run follows the new value, unless a record was set aside; then as [`Resume::MustNot`].
    UntilSetAside,
}

impl Resume {
    /// As the documentation has it.
    pub fn name(self) -> &'static str {
        match self {
            Resume::May => "yes",
            Resume::Planned => "no effect",
            Resume::MustNot => "no",
            Resume::UntilSetAside => "until a record is set aside",
        }
    }
}

/// A flag that replaces a key, and the environment variable that does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag {
    /// `--topic`
    pub long: &'static str,
    /// `SHARDLIFT_TOPIC`
    pub variable: &'static str,
}

impl Declared {
    /// The table that it stands in: `workers.chunk`.
    pub fn table(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(table, _)| table)
    }

    /// Its name in that table: `records`.
    pub fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }
}

/// A key of the config whose value means a `T`.
#[derive(Clone, Copy, Debug)]
pub struct ConfigKey<T: 'static> {
    declared: Declared,
    read: Read<T>,
}

/// From what was typed, or the default, to what it means. Relative paths start at the folder. `None`: absent, and no
/// default.
type Read<T> = fn(Option<&TypedValue>, &Path) -> T;

/// What a key's value may be, and what it means.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape<T: 'static> {
    pub(crate) kind: ValueKind,
    pub(crate) read: Read<T>,
}

/// A key that may change between stop and resume, with no default.
pub(crate) const fn key<T>(path: &'static str, shape: Shape<T>) -> ConfigKey<T> {
    let Shape { kind, read } = shape;
    let declared =
        Declared { path, kind, default: None, required: false, example: "", doc: &[], resume: Resume::May, flag: None };
    ConfigKey { declared, read }
}

impl<T> ConfigKey<T> {
    /// Its declaration.
    pub const fn declared(&'static self) -> &'static Declared {
        &self.declared
    }

    /// With a default, in TOML.
    pub(crate) const fn default(self, default: &'static str) -> Self {
        ConfigKey { declared: Declared { default: Some(default), ..self.declared }, ..self }
    }

    /// Without it there is no job.
    pub(crate) const fn required(self) -> Self {
        ConfigKey { declared: Declared { required: true, ..self.declared }, ..self }
    }

    /// With an example, in TOML.
    pub(crate) const fn example(self, example: &'static str) -> Self {
        ConfigKey { declared: Declared { example, ..self.declared }, ..self }
    }

    /// The plan is made with it and stays.
    pub(crate) const fn planned(self) -> Self {
        ConfigKey { declared: Declared { resume: Resume::Planned, ..self.declared }, ..self }
    }

    /// It must not change between stop and resume.
    pub(crate) const fn fixed(self) -> Self {
        ConfigKey { declared: Declared { resume: Resume::MustNot, ..self.declared }, ..self }
    }

    /// It may change as long as no record is set aside.
    pub(crate) const fn until_set_aside(self) -> Self {
        ConfigKey { declared: Declared { resume: Resume::UntilSetAside, ..self.declared }, ..self }
    }

    /// With a flag and a variable of its own.
    pub(crate) const fn flag(self, long: &'static str, variable: &'static str) -> Self {
        ConfigKey { declared: Declared { flag: Some(Flag { long, variable }), ..self.declared }, ..self }
    }

    /// What it is for; [`rules!`] gives the field's documentation.
    pub(crate) const fn doc(self, doc: &'static [&'static str]) -> Self {
        ConfigKey { declared: Declared { doc, ..self.declared }, ..self }
    }
}

/// A struct that keys of the config fill.
pub(crate) trait KeyTable: Sized {
    /// Its keys, in the order of the annotated file.
    const ITEMS: &'static [Item];

    /// What was typed, merged with the defaults, as it means.
    fn read(config: &Merged<'_>) -> Self;
}

/// What stands in a table.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Item {
    ConfigKey(&'static Declared),
    Table(&'static [Item]),
}

impl Item {
    /// Adds its keys.
    pub(crate) fn add_to(&self, keys: &mut Vec<&'static Declared>) {
        match self {
            Item::ConfigKey(key) => keys.push(key),
            Item::Table(items) => items.iter().for_each(|item| item.add_to(keys)),
        }
    }
}

/// The second stage: what was typed, merged with the defaults. Where a value came from is still known.
pub(crate) struct Merged<'a> {
    /// Values of keys that have a default or were typed.
    pub(super) values: BTreeMap<&'static str, At<TypedValue>>,
    /// Entries of tables of the user's own names.
    pub(super) entries: BTreeMap<&'static str, Vec<NamedValue>>,
    /// Keys whose value was refused; they stand here with their defaults.
    pub(super) refused: BTreeSet<&'static str>,
    /// The tables of sources that were typed, and where each was first.
    pub(super) sources: BTreeMap<&'static str, ValueOrigin>,
    /// Relative paths start here.
    pub(super) folder: &'a Path,
}

impl Merged<'_> {
    /// What a key means.
    pub(crate) fn get<T>(&self, key: &ConfigKey<T>) -> T {
        (key.read)(self.values.get(key.declared.path).map(|at| &at.value), self.folder)
    }

    /// The same, with where it was typed.
    pub(super) fn at<T>(&self, key: &ConfigKey<T>) -> At<T> {
        let origin = self.values.get(key.declared.path).map_or(ValueOrigin::Default, |at| at.origin.clone());
        At::new(self.get(key), origin)
    }

    /// Puts a value there.
    pub(super) fn set<T>(&mut self, key: &'static ConfigKey<T>, value: TypedValue) {
        self.values.insert(key.declared.path, At::new(value, ValueOrigin::Default));
    }

    /// Whether a value stands there, typed or by default.
    pub(super) fn has(&self, key: &Declared) -> bool {
        self.values.contains_key(key.path)
    }

    /// Whether a value was typed and refused.
    pub(super) fn refused<T>(&self, key: &ConfigKey<T>) -> bool {
        self.refused.contains(key.declared.path)
    }

    /// The entries of a table of the user's own names.
    pub(super) fn entries<T>(&self, key: &ConfigKey<T>) -> &[NamedValue] {
        self.entries.get(key.declared.path).map_or(&[], Vec::as_slice)
    }

    /// Whether a source's table was typed.
    pub(crate) fn has_source(&self, table: &str) -> bool {
        self.sources.contains_key(table)
    }
}

/// Declares keys together with the struct that they fill: `field: Type = key NAME DECLARATION;` (the field's
/// documentation is the key's), `field: Type = table;` for a struct of keys of its own, `field: Type = by FUNCTION;`
/// for what is made of several, and `key NAME: Type = DECLARATION;` for a key that fills no field of its own.
macro_rules! rules {
    ($(#[$meta:meta])* pub struct $name:ident { $($body:tt)* }) => {
        $crate::config::rules! { @ [$(#[$meta])* $name] [] [] [] [] $($body)* }
    };
    (@ $head:tt [$($field:tt)*] [$($key:tt)*] [$($item:tt)*] [$($read:tt)*]
        $(#[doc = $doc:literal])* $f:ident: $t:ty = key $k:ident $declared:expr; $($rest:tt)*) => {
        $crate::config::rules! { @ $head
            [$($field)* $(#[doc = $doc])* pub $f: $t,]
            [$($key)*
                #[doc = concat!("The key of `", stringify!($f), "`.")]
                pub const $k: $crate::config::ConfigKey<$t> = $declared.doc(&[$($doc),*]);]
            [$($item)* $crate::config::Item::ConfigKey(Self::$k.declared()),]
            [$($read)* $f (|config: &$crate::config::Merged<'_>| config.get(&Self::$k))]
            $($rest)* }
    };
    (@ $head:tt [$($field:tt)*] $key:tt [$($item:tt)*] [$($read:tt)*]
        $(#[doc = $doc:literal])* $f:ident: $t:ty = table; $($rest:tt)*) => {
        $crate::config::rules! { @ $head
            [$($field)* $(#[doc = $doc])* pub $f: $t,]
            $key
            [$($item)* $crate::config::Item::Table(<$t as $crate::config::KeyTable>::ITEMS),]
            [$($read)* $f (<$t as $crate::config::KeyTable>::read)]
            $($rest)* }
    };
    (@ $head:tt [$($field:tt)*] $key:tt $item:tt [$($read:tt)*]
        $(#[doc = $doc:literal])* $f:ident: $t:ty = by $made:expr; $($rest:tt)*) => {
        $crate::config::rules! { @ $head
            [$($field)* $(#[doc = $doc])* pub $f: $t,]
            $key $item
            [$($read)* $f ($made)]
            $($rest)* }
    };
    (@ $head:tt $field:tt [$($key:tt)*] [$($item:tt)*] $read:tt
        $(#[doc = $doc:literal])* key $k:ident: $t:ty = $declared:expr; $($rest:tt)*) => {
        $crate::config::rules! { @ $head
            $field
            [$($key)* $(#[doc = $doc])* pub const $k: $crate::config::ConfigKey<$t> = $declared.doc(&[$($doc),*]);]
            [$($item)* $crate::config::Item::ConfigKey(Self::$k.declared()),]
            $read
            $($rest)* }
    };
    (@ [$(#[$meta:meta])* $name:ident] [$($field:tt)*] [$($key:tt)*] [$($item:tt)*] [$($f:ident $read:tt)*]) => {
        $(#[$meta])*
        pub struct $name { $($field)* }

        impl $name { $($key)* }

        impl $crate::config::KeyTable for $name {
            const ITEMS: &'static [$crate::config::Item] = &[$($item)*];

            fn read(config: &$crate::config::Merged<'_>) -> Self {
                $name { $($f: $read(config)),* }
            }
        }
    };
}
pub(crate) use rules;
