//! The fences between the crates: who may depend on what, and where `unsafe` may stand. See "Crates" in
//! docs/architecture.md. And one between the documents and the tests: what a table names as a test is one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use whole_program::root;

/// A crate, the packages of this workspace that it may use, and the outside packages that it may use.
type Row = (&'static str, &'static [&'static str], &'static [&'static str]);

/// Everything else is forbidden. `thiserror` is allowed everywhere.
const ALLOWED: [Row; 12] = [
    ("migration", &[], &["serde", "toml", "strsim", "jiff"]),
    ("pipeline", &["migration"], &["tracing", "base64", "jiff", "memchr", "xxhash-rust", "serde", "serde_json"]),
    ("process", &[], &["nix", "libc", "crc32fast"]),
    ("sources", &["migration", "pipeline"], &["tracing", "memchr", "glob", "flate2", "zstd", "xxhash-rust"]),
    (
        "kafka",
        &["migration", "pipeline"],
        &["rdkafka", "base64", "crc32fast", "postcard", "serde", "serde_json", "strsim", "tracing", "xxhash-rust"],
    ),
    ("supervisor", &["migration", "process"], &["rusqlite", "postcard", "serde", "tracing", "xxhash-rust"]),
    ("report", &["migration"], &["serde_json"]),
    ("worker", &["migration", "process", "pipeline", "kafka", "supervisor"], &[]),
    (
        "compare",
        &["migration", "process", "pipeline", "sources", "kafka", "supervisor", "worker", "report"],
        &["crossbeam-channel", "http-body-util", "hyper", "hyper-util", "postcard", "serde", "serde_json", "tokio", "tracing"],
    ),
    (
        "cli",
        &["migration", "pipeline", "process", "sources", "kafka", "supervisor", "worker", "report", "compare"],
        &[
            "clap",
            "console",
            "postcard",
            "rustix",
            "serde",
            "serde_core",
            "serde_json",
            "tracing",
            "tracing-subscriber",
            "unicode-width",
        ],
    ),
    // Not in the shipped program.
    ("fuzzing", &["migration", "process", "pipeline", "sources", "supervisor"], &["tempfile"]),
    // The judge must not be able to call what it judges.
    ("whole-program", &[], &["jiff", "nix", "serde_json", "tempfile", "xxhash-rust"]),
];

/// What only some crates may use, in tests too.
const OWNERS: [(&str, &[&str]); 8] = [
    ("rdkafka", &["kafka"]),
    ("rusqlite", &["supervisor"]),
    ("clap", &["cli"]),
    ("libc", &["process"]),
    ("nix", &["process", "whole-program"]),
    ("tokio", &["compare"]),
    ("hyper", &["compare"]),
    ("crossbeam-channel", &["compare"]),
];

/// What only its features are wanted of, so that [`tests_do_not_compile_the_program_again`].
const FOR_FEATURES: [&str; 2] = ["rustix", "serde_core"];

/// What a worker of a job never links, by whatever way: beginnings of names.
const NOT_IN_A_WORKER: [&str; 5] = ["tokio", "hyper", "crossbeam", "clap", "http"];

/// Where `unsafe` may stand: a file or a folder below the crate's sources.
const UNSAFE: [(&str, &str); 2] = [("process", "fork.rs"), ("kafka", "ffi")];

fn packages() -> Vec<Value> {
    let output = cargo(&["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let metadata: Value = serde_json::from_slice(&output).expect("cargo prints JSON");
    metadata["packages"].as_array().expect("an array").clone()
}

/// What cargo prints.
fn cargo(words: &[&str]) -> Vec<u8> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(words).current_dir(root()).output().expect("cargo can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn name(value: &Value) -> &str {
    value["name"].as_str().expect("a name")
}

/// Dependencies of one kind: `None` normal, or `dev`, `build`.
fn dependencies<'a>(package: &'a Value, kind: Option<&'a str>) -> impl Iterator<Item = &'a str> {
    let all = package["dependencies"].as_array().expect("an array").iter();
    all.filter(move |dependency| dependency["kind"].as_str() == kind).map(name)
}

#[test]
fn each_crate_uses_only_what_its_row_allows() {
    let packages = packages();
    let names: BTreeSet<&str> = packages.iter().map(name).collect();
    assert_eq!(names, ALLOWED.iter().map(|row| row.0).collect(), "each crate has a row, and each row a crate");
    let rows: BTreeMap<&str, &Row> = ALLOWED.iter().map(|row| (row.0, row)).collect();
    let mut broken = Vec::new();
    for package in &packages {
        let (own, crates, outside) = rows[name(package)];
        for used in dependencies(package, None).chain(dependencies(package, Some("build"))) {
            if used != "thiserror" && !crates.contains(&used) && !outside.contains(&used) {
                broken.push(format!("{own} must not use {used}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn some_packages_have_one_owner_in_tests_too() {
    let mut broken = Vec::new();
    for package in packages() {
        for kind in [None, Some("dev"), Some("build")] {
            for used in dependencies(&package, kind) {
                let owners = OWNERS.iter().find(|(owned, _)| *owned == used).map(|(_, owners)| *owners);
                if owners.is_some_and(|owners| !owners.contains(&name(&package))) {
                    broken.push(format!("{} must not use {used}", name(&package)));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn a_worker_links_nothing_of_the_instrument() {
    let instrument = linked("compare");
    let found = |names: &[String], part: &str| names.iter().any(|name| name.starts_with(part));
    for part in ["tokio", "hyper", "crossbeam"] {
        assert!(found(&instrument, part), "what compare links names {part}: {instrument:?}");
    }
    let worker = linked("worker");
    assert!(found(&worker, "rdkafka-sys"), "what a worker links has its client: {worker:?}");
    for part in NOT_IN_A_WORKER {
        assert!(!found(&worker, part), "a worker links {part}: {worker:?}");
    }
}

/// All packages that a crate links, its dependencies' dependencies too.
fn linked(package: &str) -> Vec<String> {
    let words = ["tree", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}", "--package", package];
    let output = cargo(&words);
    String::from_utf8_lossy(&output).lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
}

/// In place of a tool, which would have to be installed: what a crate does not name in its code, it does not use.
#[test]
fn each_dependency_is_used() {
    let packages = packages();
    let mut unused = Vec::new();
    for package in &packages {
        let folder = package["manifest_path"].as_str().map(Path::new).and_then(Path::parent).expect("a path");
        let (product, tests) = (code_below(&folder.join("src")), code_below(&folder.join("tests")));
        let own = dependencies(package, None).filter(|used| !names_crate(&product, used) && !FOR_FEATURES.contains(used));
        unused.extend(own.map(|used| format!("{} does not use {used}", name(package))));
        let in_tests =
            dependencies(package, Some("dev")).filter(|used| !names_crate(&product, used) && !names_crate(&tests, used));
        unused.extend(in_tests.map(|used| format!("the tests of {} do not use {used}", name(package))));
    }
    let workspace = manifest(&root());
    let of_all = section(&workspace, "[workspace.dependencies]").into_iter().filter_map(|line| line.split_once(" = "));
    let is_taken =
        |used: &str| packages.iter().any(|package| package["dependencies"].to_string().contains(&format!("\"{used}\"")));
    unused.extend(of_all.filter(|(used, _)| !is_taken(used)).map(|(used, _)| format!("no crate uses {used}")));
    assert!(unused.is_empty(), "{unused:#?}");
}

/// A feature that only a library of the tests switches on makes another build of all that is above it: minutes of the
/// gate.
#[test]
fn tests_do_not_compile_the_program_again() {
    let compiled = |words: &[&str]| -> BTreeSet<String> {
        let tree = cargo(&[&["tree", "--offline", "--prefix", "none", "--format", "{p} {f}"], words].concat());
        let lines = String::from_utf8_lossy(&tree);
        lines.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect()
    };
    let program = compiled(&["-p", "cli", "-e", "normal,build"]);
    let with_tests = compiled(&["--workspace", "-e", "normal,build,dev"]);
    let twice: Vec<&String> = program.difference(&with_tests).collect();
    assert!(program.len() > 100, "{program:#?}");
    assert!(twice.is_empty(), "name these in cli's Cargo.toml with the features that they have in the tests: {twice:#?}");
}

#[test]
fn the_scan_finds_what_names_a_crate_and_not_its_mention() {
    for code in
        ["use serde_json::Value;", "let x = serde_json::to_string(&y);", "use serde_json;", "#[derive(Debug, serde_json::X)]"]
    {
        assert!(names_crate(code, "serde-json"), "{code}");
    }
    for code in ["", "serde_json", "my_serde_json::f()", "use serde_jsonl::Value;", "x.serde_json()"] {
        assert!(!names_crate(code, "serde-json"), "{code}");
    }
    assert_eq!(without_comments("a // serde_json::\n/// b::\nc"), "a \n\nc\n");
}

/// Whether code has the crate's name as the begin of a path, or uses it whole.
fn names_crate(code: &str, package: &str) -> bool {
    let name = package.replace('-', "_");
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(&name).any(|(at, _)| {
        let (before, after) = (&code[..at], &code[at + name.len()..]);
        !before.ends_with(is_word) && (after.starts_with("::") || before.ends_with("use ") && after.starts_with([';', ' ']))
    })
}

fn code_below(folder: &Path) -> String {
    let files = if folder.is_dir() { sources(folder) } else { Vec::new() };
    files.iter().map(|path| without_comments(&fs::read_to_string(path).expect("a source file can be read"))).collect()
}

fn without_comments(text: &str) -> String {
    text.lines().flat_map(|line| [line.split("//").next().unwrap_or_default(), "\n"]).collect()
}

#[test]
fn no_crate_of_the_product_knows_one_above_it() {
    let layers = BTreeMap::from([
        ("migration", 0),
        ("pipeline", 1),
        ("process", 1),
        ("sources", 2),
        ("kafka", 2),
        ("supervisor", 2),
        ("worker", 3),
        ("report", 3),
        ("fuzzing", 3),
        ("compare", 4),
        ("cli", 5),
    ]);
    for (own, crates, _) in &ALLOWED {
        for used in *crates {
            assert!(layers[used] < layers[own], "{own} and {used} are on the wrong layers");
        }
    }
}

#[test]
fn crates_without_unsafe_forbid_it() {
    let workspace = manifest(&root());
    let rust = section(&workspace, "[workspace.lints.rust]");
    let clippy = section(&workspace, "[workspace.lints.clippy]");
    assert!(rust.contains(&"unsafe_code = \"forbid\""), "the workspace forbids unsafe code");
    for package in packages() {
        let folder = package["manifest_path"].as_str().map(Path::new).and_then(Path::parent).expect("a path");
        let own = manifest(folder);
        if UNSAFE.iter().any(|(owner, _)| *owner == name(&package)) {
            let kept: Vec<&str> = rust.iter().copied().filter(|line| !line.starts_with("unsafe_code")).collect();
            assert_eq!(section(&own, "[lints.rust]"), kept, "{} repeats the workspace's lints", name(&package));
            assert_eq!(section(&own, "[lints.clippy]"), clippy, "{} repeats the workspace's lints", name(&package));
        } else {
            assert_eq!(section(&own, "[lints]"), ["workspace = true"], "{} inherits the workspace's lints", name(&package));
        }
    }
}

fn manifest(folder: &Path) -> String {
    fs::read_to_string(folder.join("Cargo.toml")).expect("each package has a manifest")
}

/// The lines of one table of a manifest, without comments and blank lines.
fn section<'a>(manifest: &'a str, header: &str) -> Vec<&'a str> {
    let lines = manifest.lines().map(str::trim).skip_while(|line| *line != header).skip(1);
    lines.take_while(|line| !line.starts_with('[')).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

#[test]
fn unsafe_stands_in_one_file_and_one_folder() {
    for (own, allowed) in UNSAFE {
        let folder = root().join("crates").join(own).join("src");
        let with: Vec<PathBuf> = sources(&folder)
            .into_iter()
            .filter(|path| has_unsafe(&fs::read_to_string(path).expect("a source file can be read")))
            .collect();
        assert!(!with.is_empty(), "the scan must see {own}/src/{allowed}");
        for path in &with {
            assert!(path.starts_with(folder.join(allowed)), "unsafe in {}; only {own}/src/{allowed} may", path.display());
        }
    }
}

#[test]
fn the_scan_finds_unsafe_code_and_not_its_mention() {
    assert!(has_unsafe("fn f() {\n    unsafe { g() }\n}"));
    assert!(has_unsafe("let x=unsafe{g()};"));
    assert!(has_unsafe("unsafe extern \"C\" fn f() {}"));
    assert!(!has_unsafe("// unsafe is explained here\n/// unsafe\n#![deny(unsafe_code)]\n#![deny(unsafe_op_in_unsafe_fn)]"));
}

/// Whether a line has the word outside a comment.
fn has_unsafe(text: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .any(|code| code.split(|c: char| !is_word(c)).any(|word| word == "unsafe"))
}

#[test]
fn what_the_documents_name_as_tests_are_tests() {
    let code: String = [root().join("crates"), root().join("tests")]
        .iter()
        .flat_map(|folder| sources(folder))
        .filter(|path| !path.ends_with("fences.rs"))
        .map(|path| fs::read_to_string(path).expect("a source file can be read"))
        .collect();
    let mut unknown = Vec::new();
    for (document, columns, tests) in [("verdicts.md", 5, 3), ("faults.md", 4, 0), ("reliability.md", 5, 2)] {
        let text = fs::read_to_string(root().join("docs").join(document)).expect("it can be read");
        let rows = table_rows(&text);
        assert!(rows.len() > 20, "{document} has a table");
        for row in rows {
            assert_eq!(row.len(), columns, "{document}: a row has {columns} cells: {row:?}");
            let names = row[tests].split('`').skip(1).step_by(2);
            unknown.extend(names.filter(|name| !is_test(name, &code)).map(|name| format!("{document}: {name}")));
        }
    }
    assert!(unknown.is_empty(), "no tests: {unknown:#?}");
}

#[test]
fn what_the_walks_pass_through_is_there() {
    let text = fs::read_to_string(root().join("docs/architecture.md")).expect("it can be read");
    let steps: Vec<Vec<&str>> = text.lines().filter_map(|line| line.strip_prefix("  +- ")).map(columns).collect();
    assert!(steps.len() > 20, "two walks are drawn");
    let mut unknown = Vec::new();
    for step in &steps {
        let [file, names, _] = step[..] else { panic!("a step has a file, functions, and what happens: {step:?}") };
        let code = fs::read_to_string(root().join("crates").join(file)).unwrap_or_default();
        let defines = |name: &str| ["fn", "struct"].iter().any(|kind| defined(&code, kind, name));
        unknown.extend(names.split(", ").filter(|name| !defines(name)).map(|name| format!("{file}: {name}")));
    }
    assert!(unknown.is_empty(), "the walks in architecture.md name what is not there: {unknown:#?}");
}

/// What stands in a line with two spaces or more between.
fn columns(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|column| !column.is_empty()).collect()
}

/// Whether the code has a definition of this kind and name.
fn defined(code: &str, kind: &str, name: &str) -> bool {
    let head = format!("{kind} {name}");
    code.match_indices(&head).any(|(at, _)| !code[at + head.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// The rows of all tables of a document, without heads, each as its cells.
fn table_rows(text: &str) -> Vec<Vec<&str>> {
    let lines: Vec<&str> = text.lines().collect();
    let is_head = |place: usize| place + 1 < lines.len() && lines[place + 1].starts_with("|---");
    let rows = lines.iter().enumerate().filter(|(place, line)| line.starts_with("| ") && !is_head(*place));
    rows.map(|(_, line)| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// A test of the whole program by its whole name, another test by its function, a scenario by its words; or what tests
/// are in: a module, a crate, a file.
fn is_test(name: &str, code: &str) -> bool {
    let whole_program = root().join("tests/tests/whole_program");
    if let Some((module, test)) = name.split_once("::") {
        let text = fs::read_to_string(whole_program.join(format!("{module}.rs"))).unwrap_or_default();
        return text.contains(&format!(", {test})")) || text.contains(&format!("\"{test}\""));
    }
    let is_place = whole_program.join(format!("{name}.rs")).is_file() || root().join("crates").join(name).is_dir();
    let is_file = name.ends_with(".txt") && code.contains(&format!("{name}\""));
    is_place || is_file || code.contains(&format!("fn {name}(")) || code.contains(&format!("(\"{name}\","))
}

/// All Rust files below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of the checkout") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
