//! Rules for the English of comments and documents that a program can check; the others are in CONTRIBUTING.md,
//! "Style".

use std::fs;
use std::path::{Path, PathBuf};

use whole_program::root;

/// What comments and messages do without: subjects are things, and counts have names.
const VAGUE: [&str; 4] = ["nobody", "somebody", "whoever", "so many"];

/// How often these words may stand in all code, tests and scripts together.
const MOST_VAGUE: usize = 59;

/// The longest line of prose, in columns. Tables, code and lines with an address may be longer.
const COLUMNS: usize = 120;

/// What programs write.
const MADE: [&str; 2] = ["docs/story", "docs/benchmarks"];

#[test]
fn subjects_are_things_and_counts_have_names() {
    let mut found = Vec::new();
    for path in files(&["crates", "tests", "scripts"]).filter(|path| !path.ends_with("tests/prose.rs")) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for (line, number) in text.lines().zip(1..) {
            found.extend((0..vague_words(line)).map(|_| format!("{}:{number}", path.display())));
        }
    }
    assert!(found.len() <= MOST_VAGUE, "{} times {VAGUE:?}, at most {MOST_VAGUE}: {found:#?}", found.len());
}

#[test]
fn lines_of_prose_are_no_longer_than_120_columns() {
    let mut long = Vec::new();
    let made = MADE.map(|folder| root().join(folder));
    for path in files(&["crates", "tests", "docs", "README.md", "CHANGELOG.md", "CONTRIBUTING.md"]) {
        if made.iter().any(|folder| path.starts_with(folder)) {
            continue;
        }
        let lines = match path.extension().and_then(|extension| extension.to_str()) {
            Some("rs") => comment_lines,
            Some("md") => prose_lines,
            _ => continue,
        };
        let text = fs::read_to_string(&path).expect("a file of the checkout is text");
        let places = lines(&text).into_iter().filter(|(line, _)| line.chars().count() > COLUMNS);
        long.extend(places.map(|(_, number)| format!("{}:{number}", path.display())));
    }
    assert!(long.is_empty(), "{} lines: {long:#?}", long.len());
}

#[test]
fn the_scans_find_what_they_are_for() {
    assert_eq!(["So many: nobody knows", "somebody's", "nobodys, so few, many"].map(vague_words), [2, 1, 0]);
    let code = "//! one\n    /// two\nlet x = 1; // not three\n// see https://example.com\n/// | a | table |\n/// ```text\n/// code\n/// ```\n// four\n";
    assert_eq!(numbers(comment_lines(code)), [1, 2, 9]);
    let document = "# one\n\ntwo\n| a | table |\n```\ncode\n```\n- five, https://example.com\n- six\n";
    assert_eq!(numbers(prose_lines(document)), [1, 2, 3, 9]);
}

fn numbers(lines: Vec<(&str, usize)>) -> Vec<usize> {
    lines.into_iter().map(|(_, number)| number).collect()
}

/// How many of the vague words stand in a line.
fn vague_words(line: &str) -> usize {
    let words = line.to_lowercase();
    let words: Vec<&str> = words.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).collect();
    let is_vague = |part: &[&str]| VAGUE.contains(&part.join(" ").as_str());
    words.windows(1).filter(|one| is_vague(one)).count() + words.windows(2).filter(|two| is_vague(two)).count()
}

/// Lines that are comments and nothing else, with their numbers.
fn comment_lines(text: &str) -> Vec<(&str, usize)> {
    let comments = text.lines().zip(1..).filter(|(line, _)| line.trim_start().starts_with("//"));
    without_tables_and_code(comments.map(|(line, number)| (line, line.trim_start().trim_start_matches(['/', '!']), number)))
}

/// The lines of a document, with their numbers.
fn prose_lines(text: &str) -> Vec<(&str, usize)> {
    without_tables_and_code(text.lines().zip(1..).map(|(line, number)| (line, line, number)))
}

/// Lines (whole, and what stands in them) that are no table, no code and have no address.
fn without_tables_and_code<'a>(lines: impl Iterator<Item = (&'a str, &'a str, usize)>) -> Vec<(&'a str, usize)> {
    let mut in_code = false;
    lines
        .filter(|(_, text, _)| {
            let text = text.trim_start();
            let is_border = text.starts_with("```");
            in_code ^= is_border;
            let is_code = in_code || is_border || text.starts_with('`') && text.ends_with('`');
            !is_code && !text.starts_with('|') && !text.contains("://")
        })
        .map(|(line, _, number)| (line, number))
        .collect()
}

/// All files at or below some places of the checkout.
fn files(places: &[&str]) -> impl Iterator<Item = PathBuf> {
    let mut found = Vec::new();
    places.iter().for_each(|place| below(&root().join(place), &mut found));
    found.into_iter()
}

fn below(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a folder of the checkout") {
            below(&entry.expect("readable").path(), found);
        }
    } else {
        found.push(path.to_owned());
    }
}
