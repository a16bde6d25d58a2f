//! Names: each type's name means one thing, and the words that the glossary bans stand in no name and no message.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use whole_program::root;

/// How many of a hundred definitions may have a name that another definition has too.
const MOST_SHARED: usize = 10;

/// The word before a type's name in its definition.
const DEFINES: [&str; 5] = ["struct ", "enum ", "trait ", "type ", "union "];

#[test]
fn each_type_name_means_one_thing() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut public: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, code) in product() {
        for (name, is_public) in code.lines().filter_map(defined) {
            places.entry(name.to_owned()).or_default().push(path.clone());
            if is_public {
                public.entry(name.to_owned()).or_default().push(path.clone());
            }
        }
    }
    for (what, mut names) in [("types", places), ("public types", public)] {
        let all: usize = names.values().map(Vec::len).sum();
        names.retain(|_, places| places.len() > 1);
        let shared: usize = names.values().map(Vec::len).sum();
        assert!(all > 300, "only {all} {what} were found");
        assert!(shared * 100 < all * MOST_SHARED, "{shared} of {all} {what} share their name with another: {names:#?}");
    }
}

#[test]
fn the_scan_finds_definitions_and_nothing_else() {
    for (line, found) in [
        ("pub struct Job {", Some(("Job", true))),
        ("    pub(crate) enum Fate<'a> {", Some(("Fate", false))),
        ("type Pair = (u8, u8);", Some(("Pair", false))),
        ("    type Item = u8;", None),
        ("    type Value: Sized;", None),
        ("let struct_ = 1;", None),
        ("/// struct Job", None),
    ] {
        assert_eq!(defined(line), found, "{line}");
    }
}

#[test]
fn words_that_the_glossary_bans_stand_in_no_name_and_no_message() {
    let glossary = fs::read_to_string(root().join("docs/glossary.md")).expect("it can be read");
    let banned = banned(&glossary);
    assert!(banned.len() > 5, "the glossary bans {banned:?}");
    let mut found = Vec::new();
    for (path, code) in product() {
        for (line, number) in code.lines().zip(1..).filter(|(line, _)| !line.trim_start().starts_with("//")) {
            let words = words(line);
            let says = |banned: &&String| words.windows(banned.split(' ').count()).any(|part| part.join(" ") == **banned);
            found.extend(banned.iter().filter(says).map(|word| format!("{path}:{number}: {word}")));
        }
    }
    assert!(found.is_empty(), "docs/glossary.md has other words for these: {found:#?}");
}

#[test]
fn the_scan_finds_words_of_names_and_messages() {
    assert_eq!(
        words("let next_batch = MyQueue::of(\"a state file\");"),
        "let next batch my queue of a state file".split(' ').collect::<Vec<_>>()
    );
    assert_eq!(
        banned("| word | means | never say |\n|---|---|---|\n| a | b | |\n| c | d | one, two words |\n"),
        ["one", "two words"]
    );
}

/// What stands in the last column of the glossary's table.
fn banned(glossary: &str) -> Vec<String> {
    let rows = glossary.lines().filter(|line| line.starts_with("| ")).skip(1);
    let cells = rows.filter_map(|row| row.trim().trim_end_matches('|').rsplit('|').next());
    let words = cells.flat_map(|cell| cell.split(',')).map(str::trim).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

/// The words of a line of code: names are parted where words in them begin.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in line.chars() {
        if !c.is_alphabetic() || (c.is_uppercase() && before.is_lowercase()) {
            words.push(String::new());
        }
        if c.is_alphabetic() {
            words.last_mut().expect("there is one").extend(c.to_lowercase());
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The type that a line defines, and whether it is public. Associated types are no definitions of their own.
fn defined(line: &str) -> Option<(&str, bool)> {
    let (indented, rest) = (line.starts_with(' '), line.trim_start());
    let is_public = rest.starts_with("pub ");
    let rest = rest.strip_prefix("pub").map_or(rest, |rest| rest.trim_start_matches(|c: char| c != ' ').trim_start());
    let (keyword, rest) = DEFINES.iter().find_map(|keyword| Some((*keyword, rest.strip_prefix(keyword)?)))?;
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    let name = &rest[..end];
    let associated = keyword == "type " && indented;
    (!associated && name.starts_with(|c: char| c.is_ascii_uppercase())).then_some((name, is_public))
}

/// The files of all crates with their code, without tests.
fn product() -> Vec<(String, String)> {
    let crates = root().join("crates");
    let files = rust_files(&crates).into_iter().filter_map(|path| {
        let name = path.strip_prefix(&crates).expect("it is below").to_string_lossy().into_owned();
        let is_test = !name.contains("/src/") || name.contains("/tests/") || name.ends_with("/tests.rs");
        let text = fs::read_to_string(&path).expect("a source file can be read");
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned();
        (!is_test).then_some((name, code))
    });
    files.collect()
}

/// All Rust files below a folder.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of the checkout") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
