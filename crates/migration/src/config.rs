//! From the text of a config file to a [`Job`](crate::Job), in three stages with a type each: what was typed
//! ([`Typed`]), merged with the defaults (`key::Merged`), and what it means (`Job`).
//!
//! Responsible for: which keys exist and what their values may be, defaults, overrides, contradictions between keys,
//! and errors that show the place, what was seen and what is allowed. Not responsible for anything that happens: no
//! file or variable is read here (closures in [`Context`] do that), and whether a broker knows the topic is preflight's
//! business.
//!
//! ```
//! use std::path::Path;
//! use migration::config::{Context, Typed};
//!
//! let text = "job.name = 'demo'\nsource.jsonl.paths = ['data/*.jsonl']\nkafka.topic = 'orders'\n";
//! let mut typed = Typed::parse(text, "orchestrator.toml").expect("the text is TOML");
//! typed.set("workers.count", "4", "--workers");
//! let job = typed
//!     .mean(&Context {
//!         config_dir: Path::new("/jobs"),
//!         env: &|_| None,
//!         read_secret_file: &|path| std::fs::read_to_string(path),
//!         check_properties: &|_| Vec::new(),
//!         is_folder: &|path| std::fs::metadata(path).map(|meta| meta.is_dir()),
//!         contacts_brokers: true,
//!     })
//!     .expect("the config is valid");
//! assert_eq!(job.source.files().paths, ["/jobs/data/*.jsonl"]);
//! assert_eq!(job.workers.count.map(u32::from), Some(4));
//! ```

mod annotated;
pub(crate) mod checks;
mod context;
mod error;
mod exposure;
mod java;
mod key;
mod meaning;
mod merge;
mod origin;
mod paths;
mod properties;
mod schema;
mod secrets;
mod security;
mod set;
mod shape;
mod suggest;
mod typed;
mod value;

pub use annotated::{AnnotatedTime, AnnotatedValues, SECTIONS, Section, annotated};
pub use checks::Refusal;
pub use context::{CheckProperties, Context};
pub use error::{ConfigError, ConfigErrors, ErrorCode, ErrorPlace};
pub use exposure::is_this_machine;
pub use java::JAVA_NAMES;
pub use key::{ConfigKey, Declared, Flag, Resume};
pub use properties::{PropertyProblem, PropertyRule, is_compressing, is_secret_property, property_rule};
pub use schema::{KEYS, LATER};
pub use typed::Typed;
pub use value::{TextRule, ValueKind};

pub(crate) use key::{Item, KeyTable, Merged, Shape, key, rules};
pub use paths::as_pattern;
pub(crate) use paths::pattern_in;
pub(crate) use shape::{
    BOOL, COUNT_32, HEADERS, PATH, PRESENT, SIZE, TIMES, Vocabulary, bool_or, count, count_32_or, count_or, only, size_or,
    some_words, text, time, word, word_but, words,
};
pub(crate) use value::{NOT_YET, TypedValue};
