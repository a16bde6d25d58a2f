//! docs/your-data.md as a test: its files are made as they stand there, its commands run, and what the program says is
//! what the document says. With `UPDATE_SNAPSHOTS=1` the document gets what the program says.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use whole_program::program::{Finished, Program};
use whole_program::root;
use whole_program::scene::PATIENCE;
use whole_program::suite::{Clusters, Test};
use whole_program::test;

/// The tests of this module.
pub const TESTS: &[Test] = &[test!(Works, Tools, each_shape_of_the_document_is_met_as_it_says)];

/// How many sections are tried at the same time.
const AT_ONCE: usize = 2;

/// A block of the document: what stands behind its fence, and its lines.
#[derive(Clone, Debug)]
struct Block {
    language: String,
    words: Vec<String>,
    text: String,
}

/// A part of the document that is one session: it ends with how many records are sent.
#[derive(Debug)]
struct Session {
    heading: String,
    blocks: Vec<Block>,
    sends: u64,
}

fn document() -> PathBuf {
    root().join("docs/your-data.md")
}

/// The sessions, and all that stands between their blocks, so that the document can be written anew.
fn sessions(text: &str) -> Vec<Session> {
    let (mut sessions, mut blocks, mut heading) = (Vec::new(), Vec::new(), String::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(found) = line.strip_prefix("## ") {
            heading = found.to_owned();
            assert!(blocks.is_empty(), "the section before {heading:?} does not say what it sends");
        } else if let Some(fence) = line.strip_prefix("```") {
            let mut words = fence.split_whitespace().map(str::to_owned);
            let language = words.next().unwrap_or_else(|| panic!("a block of {heading:?} has no language"));
            let text = lines.by_ref().take_while(|line| *line != "```").fold(String::new(), |text, line| text + line + "\n");
            blocks.push(Block { language, words: words.collect(), text });
        } else if let Some(sends) = line.strip_prefix("<!-- sends ").and_then(|rest| rest.strip_suffix(" -->")) {
            let sends = sends.parse().unwrap_or_else(|_| panic!("{line:?} of {heading:?} has no number"));
            sessions.push(Session { heading: heading.clone(), blocks: std::mem::take(&mut blocks), sends });
        }
    }
    assert!(blocks.is_empty(), "the last section does not say what it sends");
    sessions
}

/// A file of the document: its text as it was encoded, ended and packed.
fn write_file(program: &Program, block: &Block) {
    let mut words = block.words.iter().map(String::as_str);
    let name = words.next().unwrap_or_else(|| panic!("a file needs a name: {block:?}"));
    let mut bytes = block.text.clone().into_bytes();
    let mut packer = None;
    for word in words {
        match word {
            "crlf" => bytes = String::from_utf8(bytes).expect("text").replace('\n', "\r\n").into_bytes(),
            "bom" => bytes.splice(..0, *b"\xef\xbb\xbf").for_each(drop),
            "rs" => bytes = bytes.split_inclusive(|byte| *byte == b'\n').flat_map(|line| [b"\x1e", line].concat()).collect(),
            "no-newline" => drop(bytes.pop()),
            "utf-16" => {}
            "gzip" => packer = Some(vec!["gzip"]),
            "zstd-long" => packer = Some(vec!["zstd", "-q", "--long=31", "-1"]),
            other => panic!("{other:?} is not known: {block:?}"),
        }
    }
    if block.words.iter().any(|word| word == "utf-16") {
        let text = String::from_utf8(bytes).expect("text");
        bytes = [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    }
    let Some(packer) = packer else {
        program.write(name, bytes);
        return;
    };
    let path = program.write(name, "");
    let file = std::fs::File::create(&path).expect("it was just made");
    // From a pipe zstd can't know how little it is, so that the file wants the whole window.
    let mut packing = Command::new(packer[0])
        .args(&packer[1..])
        .stdin(Stdio::piped())
        .stdout(file)
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}; scripts/setup --tests installs it", packer[0]));
    packing.stdin.take().expect("stdin is a pipe").write_all(&bytes).expect("it reads all");
    assert!(packing.wait().expect("it can be waited for").success(), "{packer:?} failed");
}

/// What a user sees of a run that ended badly: its messages without times and temporary folders, and its exit code.
fn shown(program: &Program, finished: &Finished) -> String {
    let folder = format!("{}/", program.folder().display());
    let canonical = format!("{}/", std::fs::canonicalize(program.folder()).expect("it is there").display());
    let mut text = "$ shardlift run\n".to_owned();
    for line in finished.stderr.replace(&canonical, "").replace(&folder, "").lines().filter(|line| !line.is_empty()) {
        let _ = writeln!(text, "{}", without_time(line));
    }
    text + &format!("$ echo $?\n{}\n", finished.code)
}

/// A log's line begins with `HH:MM:SSZ`.
fn without_time(line: &str) -> &str {
    let is_time = |word: &str| word.len() == 9 && word.ends_with('Z') && word.matches(':').count() == 2;
    line.split_once(' ').filter(|(time, _)| is_time(time)).map_or(line, |(_, rest)| rest)
}

/// Plays a session. Returns what is wrong with it, and what each of its runs that ended badly says.
fn play(session: &Session) -> (Vec<String>, Vec<String>) {
    let program = Program::new("your-data");
    let (mut wrong, mut said) = (Vec::new(), Vec::new());
    for block in &session.blocks {
        match block.language.as_str() {
            "json" | "text" => write_file(&program, block),
            "toml" => {
                let own = "job.name = \"your-data\"\nkafka.topic = \"your-data\"\nkafka.brokers = \"embedded\"\n";
                program.write("orchestrator.toml", own.to_owned() + &block.text);
            }
            "sh" => {
                let finished = program.spawn(program.shell(&format!("set -e; {}", block.text))).finish(PATIENCE);
                if finished.code != 0 {
                    wrong.push(format!("{} ends with {}\n{}", block.text.trim(), finished.code, finished.stderr));
                }
            }
            "console" => {
                let finished = program.run(&["run", "-o", "json"], PATIENCE);
                let shown = shown(&program, &finished);
                if finished.code == 0 {
                    wrong.push(format!("a run that is said to end badly ends well; it says\n{shown}"));
                } else if shown != block.text {
                    wrong.push(format!("the program says\n{shown}\nthe document says\n{}", block.text));
                }
                said.push(shown);
            }
            other => wrong.push(format!("a block in {other}")),
        }
    }
    let finished = program.run(&["run", "-o", "json"], PATIENCE);
    if finished.code != 0 || finished.stderr.contains("warning") {
        wrong.push(format!("the last run: {}", shown(&program, &finished)));
    } else if finished.json()["records"]["acknowledged"] != session.sends {
        wrong.push(format!("{} are to be sent: {}", session.sends, finished.json()["records"]));
    }
    program.assert_nothing_left();
    (wrong, said)
}

fn each_shape_of_the_document_is_met_as_it_says(_: &Clusters) {
    let text = std::fs::read_to_string(document()).expect("the document is there");
    let sessions = sessions(&text);
    assert!(sessions.len() > 20, "{} sessions", sessions.len());
    let next = std::sync::atomic::AtomicUsize::new(0);
    let play_next = || {
        let mut played = Vec::new();
        loop {
            let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let Some(session) = sessions.get(number) else { return played };
            played.push((number, play(session)));
        }
    };
    let mut played: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(play_next)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a session can be played")).collect()
    });
    played.sort_by_key(|(number, _)| *number);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        let said: Vec<String> = played.iter().flat_map(|(_, (_, said))| said.clone()).collect();
        std::fs::write(document(), with_what_is_said(&text, &said)).expect("the document can be written");
    }
    let wrong: Vec<String> = played
        .iter()
        .filter(|(_, (wrong, _))| !wrong.is_empty())
        .map(|(number, (wrong, _))| format!("{}: {}", sessions[*number].heading, wrong.join("\n")))
        .collect();
    assert!(wrong.is_empty(), "{} of {} sessions\n{}", wrong.len(), sessions.len(), wrong.join("\n\n"));
}

/// The document with these texts in its blocks of what is said.
fn with_what_is_said(text: &str, said: &[String]) -> String {
    let (mut new, mut said, mut skipping) = (String::new(), said.iter(), false);
    for line in text.lines() {
        if line == "```console" {
            skipping = true;
            new += "```console\n";
            new += said.next().expect("each block has its run");
        } else if skipping && line == "```" {
            skipping = false;
        }
        if !skipping && line != "```console" {
            new += line;
            new.push('\n');
        }
    }
    new
}
