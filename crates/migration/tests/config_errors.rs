//! Whole error texts: place, source line, caret, what was seen, what is allowed, suggestion.
//!
//! `config_errors.txt` has a case a block: `=== title`, lines that are added to the smallest config (`# csv` first:
//! that of CSV; `# alone`: to nothing; `$ FLAG VALUE`: an override instead), `--- exit CODE`, the text of the errors.
//! `UPDATE_SNAPSHOTS=1` writes the file anew.

mod common;

use std::fmt::Write as _;
use std::path::Path;

use common::{SMALLEST, SMALLEST_CSV, mean, read, updating};
use migration::config::{ErrorCode, Typed};

struct Case<'a> {
    title: &'a str,
    input: Vec<&'a str>,
    expected: &'a str,
}

fn cases(text: &str) -> Vec<Case<'_>> {
    text.split("=== ").skip(1).map(case).collect()
}

fn case(block: &str) -> Case<'_> {
    let (title, rest) = block.split_once('\n').expect("a title");
    let (input, expected) = rest.split_once("--- ").unwrap_or((rest, ""));
    Case { title, input: input.lines().collect(), expected: expected.trim_end() }
}

/// `exit CODE` and the errors.
fn outcome(case: &Case<'_>) -> String {
    let (overrides, lines): (Vec<&str>, Vec<&str>) = case.input.iter().partition(|line| line.starts_with("$ "));
    let before = match lines.first() {
        Some(&"# alone") => "",
        Some(&"# csv") => SMALLEST_CSV,
        _ => SMALLEST,
    };
    let text = format!("{before}{}\n", lines.join("\n"));
    let result = Typed::parse(&text, "orchestrator.toml").and_then(|mut typed| {
        for line in overrides {
            match line[2..].split_once(' ') {
                Some(("-X", value)) => typed.set_property(value, "-X"),
                Some(("--set", value)) => typed.set_assignment(value, "--set"),
                Some(("--workers", value)) => typed.set("workers.count", value, "--workers"),
                Some(("--accept", value)) => typed.set_text("checks.accept", value, "--accept"),
                Some(("SHARDLIFT_TOPIC", value)) => typed.set_text("kafka.topic", value, "SHARDLIFT_TOPIC"),
                _ => panic!("unknown override in {:?}: {line}", case.title),
            }
        }
        mean(typed)
    });
    match result {
        Ok(_) => "no error".into(),
        Err(errors) => format!("exit {}\n{errors}", errors.exit().code()),
    }
}

#[test]
fn every_mistake_is_answered_as_written_down() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config_errors.txt");
    let text = std::fs::read_to_string(&path).expect("the cases");
    if updating() {
        let new = cases(&text).iter().fold(String::new(), |mut out, case| {
            let input: String = case.input.iter().map(|line| format!("{line}\n")).collect();
            let _ = write!(out, "=== {}\n{input}--- {}\n\n", case.title, outcome(case));
            out
        });
        std::fs::write(&path, new.trim_end().to_owned() + "\n").expect("the cases can be written");
        return;
    }
    let cases = cases(&text);
    assert!(cases.len() > 40);
    for case in &cases {
        let seen = outcome(case);
        assert!(seen.trim_end() == case.expected, "{}\n--- seen\n{seen}\n--- expected\n{}\n", case.title, case.expected);
    }
    for code in ErrorCode::ALL {
        assert!(text.contains(&format!("error[{code}]")), "no case for {code}");
    }
}

#[test]
fn no_error_shows_a_secret() {
    for lines in [
        "\"sasl.password\" = \"hunter2\nx",
        "\"ssl.key.password\" = \"hunter2\"",
        "\"ssl.key.password\" = { env = \"PASSWORD\" }",
        "properties = { \"ssl.key.password\" = 'hunter2', x }",
        "\"ssl.key.pem\" = \"\"\"\nhunter2 \\q\n\"\"\"",
        "\"ssl.key.pem\" = '''\nhunter2\u{1}\n'''",
        "\"sasl.password\" = [\"hunter2\"]",
        "sasl.password = \"hunter2\" x",
        "\"sasl.pasword\" = \"hunter2\"",
        "\"sasl.jaas.config\" = 'x.PlainLoginModule required password=\"hunter2\";'",
        "sasl.jaas.config = \"hunter2\"",
        "\"sasl.jaas.config\" = \"\"\"\nx required\n password='hunter2';\"\"\"",
        "[kafka.properties.sasl.jaas]\nconfig = \"hunter2\"",
        "\"basic.auth.user.info\" = \"ann:hunter2\"",
        "\"ssl.keystore.key\" = \"hunter2\"",
        "\"ssl.key.password\" = \"hunter2 \"",
        "\"ssl.key.location\" = \"-----BEGIN PRIVATE KEY-----\\nhunter2\"",
    ] {
        let errors = read(&format!("{SMALLEST}[kafka.properties]\n{lines}\n")).expect_err(lines).to_string();
        assert!(!errors.contains("hunter2"), "{errors}");
    }
}

#[test]
fn hostile_texts_are_errors_and_never_reach_the_terminal_as_they_are() {
    for text in [
        "\u{1b}[31m = 1",
        "\"\\u001b[31m\" = 1",
        "[job]\nname = \"\\u001b[2J\"",
        "[job]\r\n\tname = \"\u{7}\"",
        "\u{feff}x",
        "=",
        "[[",
    ] {
        let errors = read(text).expect_err(text).to_string();
        assert!(errors.chars().all(|c| c == '\n' || !c.is_control()), "{errors:?}");
    }
}
