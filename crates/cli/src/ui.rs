//! Where words go: stdout is the result and nothing else, everything else goes to stderr.

use std::cell::Cell;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use migration::printable::{printable_json, printable_lines};
use migration::{Exit, UserError};
use serde_json::{Map, Value, json};

use crate::args::{Color, GlobalArgs, OutputFormat, ProgressChoice};
use crate::words;

/// The version of the JSON objects' shape.
const JSON_VERSION: u32 = 1;

/// How this invocation talks.
#[derive(Debug)]
pub struct Ui {
    /// The command's name.
    pub command: &'static str,
    /// Text or JSON on stdout.
    pub output: OutputFormat,
    /// How progress is shown; `Auto` is resolved.
    pub progress: ProgressStyle,
    /// Whether stderr is coloured.
    pub color: bool,
    /// Only errors on stderr.
    pub quiet: bool,
    /// How progress is shown was chosen by the user.
    progress_chosen: bool,
    /// Results are remarks: another one follows.
    in_between: bool,
    /// Whether a result was printed, or tried to be.
    printed: Cell<bool>,
    /// The result could not be written to stdout.
    unwritten: Cell<bool>,
}

/// How progress is shown, after looking at the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressStyle {
    /// Bars that are redrawn.
    Bars,
    /// One line each 10 s.
    Plain,
    /// One JSON object a second.
    Json,
    /// Nothing.
    None,
}

impl Ui {
    /// Resolves what depends on the terminal.
    pub fn new(global: &GlobalArgs, command: &'static str) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Ui {
            command,
            output: global.output,
            quiet: global.quiet,
            progress_chosen: global.progress != ProgressChoice::Auto,
            in_between: false,
            printed: Cell::new(false),
            unwritten: Cell::new(false),
            progress: match global.progress {
                ProgressChoice::None => ProgressStyle::None,
                ProgressChoice::Auto if global.quiet => ProgressStyle::None,
                ProgressChoice::Auto if terminal => ProgressStyle::Bars,
                ProgressChoice::Auto | ProgressChoice::Plain => ProgressStyle::Plain,
                ProgressChoice::Json => ProgressStyle::Json,
            },
            color: match global.color {
                Color::Always => true,
                Color::Never => false,
                Color::Auto => terminal && !no_color,
            },
        }
    }

    /// The same for a part of a command whose own result comes later: what it says of itself is text for stderr.
    pub fn in_between(&self) -> Ui {
        Ui {
            command: self.command,
            output: self.output,
            progress: self.progress,
            color: self.color,
            quiet: self.quiet,
            progress_chosen: self.progress_chosen,
            in_between: true,
            printed: Cell::new(false),
            unwritten: Cell::new(false),
        }
    }

    /// How a comparison shows its progress: with `-o json` in lines only if they were asked for.
    pub fn quiet_progress(&self) -> ProgressStyle {
        let unwanted = self.output == OutputFormat::Json && self.progress == ProgressStyle::Plain && !self.progress_chosen;
        if unwanted { ProgressStyle::None } else { self.progress }
    }

    /// A result as `-o json` prints it: these members after `_command` and `_version`.
    pub fn object(&self, mut members: Map<String, Value>) -> Map<String, Value> {
        let mut object = Map::new();
        object.insert("_command".into(), self.command.into());
        object.insert("_version".into(), JSON_VERSION.into());
        object.append(&mut members);
        object
    }

    /// Prints a result: `text` for people, or the JSON object with `_command` and `_version` in front.
    pub fn result(&self, text: impl FnOnce() -> String, json: impl FnOnce() -> Map<String, Value>) {
        if self.in_between {
            if !self.quiet {
                self.say(text().trim_end());
            }
            return;
        }
        let out = match self.output {
            OutputFormat::Text => printable_lines(&text()),
            OutputFormat::Json => printable_json(&Value::Object(self.object(json())).to_string()),
        };
        self.printed.set(true);
        if let Err(error) = writeln!(std::io::stdout(), "{}", out.trim_end()) {
            // A reader that closed stdout does not want the result.
            if !matches!(error.kind(), std::io::ErrorKind::BrokenPipe) {
                self.say(format!("the result could not be written to stdout: {error}"));
                self.unwritten.set(true);
            }
        }
    }

    /// How the command ends: one that went well without its result on stdout did not.
    pub fn exit(&self, exit: Exit) -> Exit {
        if exit == Exit::Done && self.unwritten.get() { Exit::State } else { exit }
    }

    /// Prints an error that ends the command: to stderr, and as the object of `-o json` where no result was printed.
    pub fn fail(&self, error: &UserError) {
        self.complain(error);
        if self.output == OutputFormat::Json && !self.printed.get() {
            let hints = error.hints().join("\n");
            let hint = Some(hints.as_str()).filter(|hints| !hints.is_empty());
            self.result(String::new, || failure(error.exit, &error.messages().join("\n"), hint));
        }
    }

    /// Prints an error.
    pub fn complain(&self, error: &UserError) {
        drop(writeln!(std::io::stderr(), "{}", printable_lines(&error.to_string())));
    }

    /// Prints a remark to stderr.
    pub fn say(&self, text: impl std::fmt::Display) {
        drop(writeln!(std::io::stderr(), "{}", printable_lines(&text.to_string())));
    }
}

/// The members of the object of a command that ended without a result.
fn failure(exit: Exit, message: &str, hint: Option<&str>) -> Map<String, Value> {
    let mut members = Map::new();
    members.insert("exit_code".into(), exit.code().into());
    members.insert("error".into(), json!({ "message": message.trim_end(), "hint": hint }));
    members
}

/// A command line that can't be read: clap's words, and the object of `-o json` where that was wanted.
pub fn refuse(error: &clap::Error) -> ExitCode {
    let wrong = error.use_stderr();
    drop(error.print());
    if !wrong {
        return ExitCode::SUCCESS;
    }
    let words: Vec<String> = words::of_this_process().collect();
    if wants_json(&words, std::env::var("SHARDLIFT_OUTPUT").ok().as_deref()) {
        let mut object = Map::from_iter([("_command".to_owned(), Value::Null), ("_version".to_owned(), JSON_VERSION.into())]);
        object.append(&mut failure(Exit::Usage, &error.to_string(), None));
        drop(writeln!(std::io::stdout(), "{}", printable_json(&Value::Object(object).to_string())));
    }
    ExitCode::from(Exit::Usage.code())
}

/// Whether a command line that can't be read asks for JSON: by its last `-o`, else by the variable.
fn wants_json(words: &[String], variable: Option<&str>) -> bool {
    let mut output = variable.map(str::to_owned);
    for (at, word) in words.iter().enumerate() {
        let next = || words.get(at + 1).cloned();
        let short = word.strip_prefix('-').filter(|rest| !rest.starts_with('-'));
        let of_short = short.and_then(|rest| rest.trim_start_matches(['q', 'v']).strip_prefix('o'));
        output = match (word.strip_prefix("--output"), of_short) {
            (Some(""), _) | (_, Some("")) => next().or(output),
            (Some(joined), _) if joined.starts_with('=') => Some(joined[1..].to_owned()),
            (_, Some(joined)) => Some(joined.trim_start_matches('=').to_owned()),
            _ => output,
        };
    }
    output.as_deref() == Some("json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_output_of_a_wrong_command_line_counts() {
        let wants = |line: &str, variable| wants_json(&line.split(' ').map(str::to_owned).collect::<Vec<_>>(), variable);
        for line in [
            "run -o json --typo",
            "run -ojson",
            "run -o=json",
            "run -qo json",
            "run -qojson",
            "run --output json",
            "run --output=json",
        ] {
            assert!(wants(line, None) && wants(line, Some("text")), "{line}");
        }
        for line in ["run", "run -o text", "run -o json -o text", "run --only json", "run -c o json"] {
            assert!(!wants(line, None), "{line}");
        }
        assert!(wants("run --typo", Some("json")) && !wants("run -o text", Some("json")));
    }

    #[test]
    fn lines_of_a_comparisons_progress_are_for_those_who_read_its_text_or_ask() {
        use clap::Parser as _;
        let style = |words: &[&str]| {
            let cli = crate::args::Cli::parse_from([&["shardlift", "verify"], words].concat());
            Ui::new(&cli.global, "verify").quiet_progress()
        };
        assert_ne!(style(&["-o", "json"]), ProgressStyle::Plain);
        assert_eq!(style(&["-o", "json", "--progress", "plain"]), ProgressStyle::Plain);
        assert_eq!(style(&["-o", "json", "--progress", "json"]), ProgressStyle::Json);
        assert_ne!(style(&[]), ProgressStyle::None);
    }
}
