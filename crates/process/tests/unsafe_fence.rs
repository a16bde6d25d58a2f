//! `unsafe` stands in two places of the whole workspace: the fork wrapper and the folder with the FFI of the Kafka
//! client.

use std::fs;
use std::path::{Path, PathBuf};

const ALLOWED: [&str; 2] = ["process/src/fork.rs", "kafka/src/ffi"];

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Numbers of the lines that have the keyword outside of a comment.
fn lines_with_unsafe(text: &str) -> Vec<usize> {
    let keyword = |line: &str| {
        let code = line.split_once("//").map_or(line, |(code, _)| code);
        code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe")
    };
    text.lines().zip(1..).filter(|(line, _)| keyword(line)).map(|(_, number)| number).collect()
}

#[test]
fn unsafe_code_stands_in_two_places_only() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for entry in fs::read_dir(crates).unwrap() {
        for folder in ["src", "tests", "benches", "examples", "build.rs"].map(|name| entry.as_ref().unwrap().path().join(name))
        {
            if folder.is_dir() {
                rust_files(&folder, &mut files);
            } else if folder.is_file() {
                files.push(folder);
            }
        }
    }
    assert!(files.iter().any(|file| file.ends_with(ALLOWED[0])), "the scan must see the sources");
    let allowed = |file: &Path| {
        ALLOWED.iter().any(|name| file.starts_with(crates.join(name))) || file == crates.join("process/tests/unsafe_fence.rs")
    };
    let mut found = String::new();
    for file in files.iter().filter(|file| !allowed(file)) {
        for line in lines_with_unsafe(&fs::read_to_string(file).unwrap()) {
            found += &format!("{}:{line}\n", file.display());
        }
    }
    assert_eq!(found, "", "unsafe code outside of {ALLOWED:?}");
}

#[test]
fn the_scan_finds_the_keyword_and_nothing_else() {
    let text = "unsafe { x }\n// unsafe\nlet y = unsafe_op(); // unsafe\n#[unsafe(no_mangle)]\npub unsafe fn z()\nunsafe_code";
    assert_eq!(lines_with_unsafe(text), vec![1, 4, 5]);
}
