//! `docs/configuration.md`: the tables of keys are made of their declarations, and nothing that can be checked is
//! missing. `UPDATE_SNAPSHOTS=1` writes the tables anew.

mod common;

use migration::Accept;
use migration::config::{Declared, ErrorCode, KEYS, LATER, SECTIONS};

const PATH: &str = "../../docs/configuration.md";
const CONFIGURATION: &str = include_str!("../../../docs/configuration.md");
const HEAD: &str = "| key | type | default | meaning | example | may change |\n|---|---|---|---|---|---|\n";

/// A key's row.
fn row(key: &Declared) -> String {
    let default = key.default.map_or("—".to_owned(), |default| format!("`{default}`"));
    let doc: Vec<&str> = key.doc.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect();
    let required = if key.required { "Required. " } else { "" };
    format!(
        "| `{}` | {} | {default} | {required}{} | `{}` | {} |\n",
        key.path,
        key.kind.noun(),
        doc.join(" "),
        key.example,
        key.resume.name()
    )
}

/// The rows of a table's keys, with those of tables that stand on one of its lines.
fn rows(table: &str) -> String {
    let inline = |home: &str| SECTIONS.iter().any(|section| section.inline && section.table == home);
    let here = |key: &&&Declared| {
        let home = key.table();
        home == table || (inline(home) && home.strip_prefix(table).is_some_and(|rest| rest.starts_with('.')))
    };
    KEYS.iter().filter(here).map(|key| row(key)).collect()
}

/// The page with each table of keys as the declarations say: it stands below its table's heading.
fn rendered(page: &str) -> String {
    let mut out = String::new();
    let (mut table, mut inside) = ("", false);
    for line in page.split_inclusive('\n') {
        if let Some(name) = line.strip_prefix("### `[").and_then(|rest| rest.split(']').next()) {
            table = name;
        }
        inside = line.starts_with("| key | type |") || (inside && line.starts_with('|'));
        if line.starts_with("| key | type |") {
            out.push_str(HEAD);
            out.push_str(&rows(table));
        } else if !inside {
            out.push_str(line);
        }
    }
    out
}

#[test]
fn each_row_is_what_the_declaration_says() {
    common::snapshot(PATH, &rendered(CONFIGURATION));
}

#[test]
fn the_docs_have_every_key_and_code() {
    for key in KEYS.iter() {
        assert!(CONFIGURATION.contains(&format!("| `{}` |", key.path)), "docs/configuration.md has no row for `{}`", key.path);
    }
    for code in ErrorCode::ALL {
        assert!(CONFIGURATION.contains(&format!("| {code} |")), "docs/configuration.md does not explain {code}");
    }
    for name in Accept::NAMES {
        assert!(
            CONFIGURATION.contains(&format!("\n| `{name}` |")),
            "docs/configuration.md does not say what `{name}` lets pass"
        );
    }
    for later in LATER {
        assert!(CONFIGURATION.contains(later), "docs/configuration.md does not say that {later} is not in yet");
    }
}

#[test]
fn the_docs_have_every_flag_of_a_key() {
    let flags = KEYS.iter().filter_map(|key| Some((key.path, key.flag?)));
    for (path, flag) in flags {
        // Two keys may have one flag, of different commands.
        let mut rows = CONFIGURATION.lines().filter(|line| line.starts_with('|') && line.contains(&format!("`{}", flag.long)));
        let is_its = |row: &str| row.contains(&format!("`{}`", flag.variable)) && row.contains(&format!("`{path}`"));
        assert!(rows.any(is_its), "docs/configuration.md has no row for {} of {path}", flag.long);
    }
}
