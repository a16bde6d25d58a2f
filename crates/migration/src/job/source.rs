//! Where records come from: exactly one table below `[source]`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::{
    BOOL, Item, KeyTable, Merged, PRESENT, SIZE, Shape, TextRule, TypedValue, ValueKind, Vocabulary as _, checks, key,
    pattern_in, rules, text, words,
};

/// Where records come from: exactly one table below `[source]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceRules {
    /// `[source.jsonl]`
    Jsonl(JsonlSource),
    /// `[source.csv]`
    Csv(CsvSource),
}

impl SourceRules {
    /// The tables of all kinds, in the order in which they are told.
    pub const TABLES: [&'static str; 2] = ["source.jsonl", "source.csv"];

    /// The name of its table: `source.jsonl`.
    pub fn table(&self) -> &'static str {
        let [jsonl, csv] = Self::TABLES;
        match self {
            SourceRules::Jsonl(_) => jsonl,
            SourceRules::Csv(_) => csv,
        }
    }

    /// Its files.
    pub fn files(&self) -> &FileRules {
        match self {
            SourceRules::Jsonl(source) => &source.files,
            SourceRules::Csv(source) => &source.files,
        }
    }
}

impl KeyTable for SourceRules {
    const ITEMS: &'static [Item] = &[Item::Table(JsonlSource::ITEMS), Item::Table(CsvSource::ITEMS)];

    fn read(config: &Merged<'_>) -> Self {
        let [_, csv] = Self::TABLES;
        if config.has_source(csv) {
            SourceRules::Csv(CsvSource::read(config))
        } else {
            SourceRules::Jsonl(JsonlSource::read(config))
        }
    }
}

/// What all sources that are files have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRules {
    /// File patterns, already joined to the config's folder.
    pub paths: Vec<String>,
    /// The longest line or row, without its end, that is a record.
    pub max_line: u64,
}

/// Files or patterns; relative ones start at the config's folder.
const PATTERNS: Shape<Vec<String>> = Shape {
    kind: ValueKind::Texts(TextRule {
        noun: "paths or patterns",
        allowed: "a list of paths or patterns, such as [\"data/*.jsonl\"]",
        check: checks::pattern,
    }),
    read: |value, folder| {
        let patterns = value.and_then(TypedValue::texts).expect(PRESENT);
        patterns.iter().map(|pattern| pattern_in(folder, pattern)).collect()
    },
};

rules! {
    /// JSON lines in files.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct JsonlSource {
        /// Files or patterns, read in this order and by name within a pattern.
        ///
        /// `*`, `?` and `[…]` as in a shell (no hidden files, not across folders), `**` for any folders (each is
        /// searched once, under the first of its names, so that links in circles do no harm). One string is a list of
        /// one. A pattern that matches no file exits 7. A file is known by its canonical path: other spellings and
        /// links mean the same file, which is sent once (below).
        key PATHS: Vec<String> = key("source.jsonl.paths", PATTERNS).required().fixed().example("[\"data/*.jsonl\"]");
        /// A longer line, without its end, is a dead letter.
        ///
        /// At most `workers.in_flight`.
        key MAX_LINE: u64 = key("source.jsonl.max_line", SIZE).default("\"4MiB\"").fixed().example("\"1MiB\"");
        /// `true`: each line is sent as it is, whatever the files look like.
        ///
        /// `false`: files that are no lines of JSON are refused (exit 7) or told, by what they are.
        raw: bool = key RAW key("source.jsonl.raw", BOOL).default("false").example("true");
        /// Which files.
        files: FileRules = by |config: &Merged<'_>| FileRules {
            paths: config.get(&Self::PATHS),
            max_line: config.get(&Self::MAX_LINE),
        };
    }
}

rules! {
    /// Rows of CSV in files, each of which becomes a JSON object.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct CsvSource {
        /// Files or patterns, as in source.jsonl.
        key PATHS: Vec<String> = key("source.csv.paths", PATTERNS).required().fixed().example("[\"data/*.csv\"]");
        /// How a row is told and made.
        format: CsvFormat = table;
        /// A longer row, without its end, is a dead letter.
        ///
        /// At most `workers.in_flight`.
        key MAX_LINE: u64 = key("source.csv.max_line", SIZE).default("\"4MiB\"").fixed().example("\"1MiB\"");
        /// Which files.
        files: FileRules = by |config: &Merged<'_>| FileRules {
            paths: config.get(&Self::PATHS),
            max_line: config.get(&Self::MAX_LINE),
        };
    }
}

/// One ASCII character that can stand between or around fields.
const CHARACTER: Shape<u8> = Shape {
    kind: ValueKind::Text(TextRule {
        noun: "one character",
        allowed: "one ASCII character that is no line end, such as \",\", \";\" or \"\\t\"",
        check: checks::character,
    }),
    read: |value, _| value.and_then(|value| value.text().bytes().next()).expect(PRESENT),
};

const HEADER: Shape<CsvHeader> = Shape {
    kind: ValueKind::TrueOr(TextRule {
        noun: "names",
        allowed: "true (each file's first row has the names) or a list of the columns' names, such as [\"id\", \"name\"]",
        check: checks::name,
    }),
    read: |value, _| match value.map(TypedValue::texts).expect(PRESENT) {
        Some(names) => CsvHeader::Names(names.to_vec()),
        None => CsvHeader::FirstRow,
    },
};

const TYPES: Shape<BTreeMap<String, CsvType>> = Shape {
    kind: ValueKind::Choices(CsvType::WORDS),
    read: |value, _| {
        let pairs = value.map(TypedValue::pairs).unwrap_or_default();
        pairs.iter().filter_map(|(name, word)| Some((name.clone(), CsvType::of(word)?))).collect()
    },
};

const NULL: TextRule = TextRule { noun: "string", allowed: "a text without line ends", check: checks::one_line };

rules! {
    /// How rows of CSV are told apart and what becomes of their fields. Part of the plan's identity, hence
    /// serialisable.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct CsvFormat {
        /// The character between two fields.
        delimiter: u8 = key DELIMITER key("source.csv.delimiter", CHARACTER).default("\",\"").fixed().example("\";\"");
        /// The character around a field that holds delimiters, line ends or itself; twice within such a field: itself.
        quote: u8 = key QUOTE key("source.csv.quote", CHARACTER).default("\"\\\"\"").fixed().example("\"'\"");
        /// `true`: each file's first row has the columns' names. Or their names; then the first row is a record.
        header: CsvHeader = key HEADER key("source.csv.header", HEADER).default("true").fixed().example("[\"id\", \"name\"]");
        /// Whether a field in quotes may hold line ends. `false`: planning need not read the files, and each line is a
        /// row.
        multiline: bool = key MULTILINE key("source.csv.multiline", BOOL).default("true").fixed().example("false");
        /// A field that equals this text, without quotes, becomes `null`.
        null: String = key NULL key("source.csv.null", text(NULL)).default("\"\"").fixed().example("\"NULL\"");
        /// Columns that become something else than strings: `number`, `bool`, `json` or `string`.
        ///
        /// A field that is not of its column's type makes its row a dead letter.
        types: BTreeMap<String, CsvType> = key TYPES
            key("source.csv.types", TYPES).default("{}").fixed().example("{ total = \"number\" }");
    }
}

/// Where the names of CSV's columns are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CsvHeader {
    /// In each file's first row.
    FirstRow,
    /// Here; each file's first row is a record.
    Names(Vec<String>),
}

/// What a field of CSV becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CsvType {
    /// A JSON number with the field's own digits.
    Number,
    /// `true` or `false`.
    Bool,
    /// The field's text is JSON.
    Json,
    /// A string.
    String,
}

words! { CsvType { Number = "number", Bool = "bool", Json = "json", String = "string" } }
