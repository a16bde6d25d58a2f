//! What the command line asks for, in the words of cargo's own harness: `cargo test … -- WORDS` is the same for every
//! test binary.
//!
//! What can't be obeyed is an error, never everything: a typo must not start half an hour of tests.

use super::{Chosen, Module, Wanted};

/// What `--help` prints.
pub(super) const USAGE: &str = "\
usage: cargo test --release --workspace --test whole_program -- [PART…] [OPTION…]

Runs the tests whose `module::name` has one of the parts in it, or all.

  --exact             the parts are whole names
  --skip PART         leaves out tests with such a part in their name; can be repeated
  --ignored           only the lane Nightly
  --include-ignored   the lane Nightly, too
  --list              prints the names
  --test-threads N    1: one test at a time; any other number: as the lanes say
  --help              prints this

Without an effect here, as no output is captured: --nocapture, --no-capture, --show-output, --quiet, --color WHEN, --format pretty|terse.
SHARDLIFT_REQUIRE_KAFKA=1 makes a failure of a test that lacks a tool.
";

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    pub parts: Vec<String>,
    skip: Vec<String>,
    exact: bool,
    ignored: bool,
    include_ignored: bool,
    pub list: bool,
    pub help: bool,
    pub one_at_a_time: bool,
}

impl Wishes {
    /// From the words behind the program's name.
    pub fn parse(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut words = words;
        let mut wishes = Wishes::default();
        while let Some(word) = words.next() {
            let (name, joined) = match word.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name.to_owned(), Some(value.to_owned())),
                _ => (word, None),
            };
            let mut value = || joined.clone().or_else(|| words.next()).ok_or_else(|| format!("{name} needs a value"));
            match name.as_str() {
                "--skip" => wishes.skip.push(value()?),
                "--test-threads" => wishes.one_at_a_time = threads(&value()?)? == 1,
                "--color" => one_of("--color", &value()?, &["auto", "always", "never"])?,
                "--format" => one_of("--format", &value()?, &["pretty", "terse"])?,
                _ if joined.is_some() => return Err(format!("{name} takes no value, or is no option")),
                "--exact" => wishes.exact = true,
                "--ignored" => wishes.ignored = true,
                "--include-ignored" => wishes.include_ignored = true,
                "--list" => wishes.list = true,
                "--help" | "-h" => wishes.help = true,
                "--nocapture" | "--no-capture" | "--show-output" | "--quiet" | "-q" => {}
                _ if name.starts_with('-') => return Err(format!("there is no option {name}")),
                _ => wishes.parts.push(name),
            }
        }
        Ok(wishes)
    }

    pub fn lanes(&self) -> Wanted {
        match (self.ignored, self.include_ignored) {
            (true, _) => Wanted::Nightly,
            (false, true) => Wanted::All,
            (false, false) => Wanted::Daily,
        }
    }

    pub fn choose(&self, modules: &[Module]) -> Vec<Chosen> {
        let tests = modules.iter().flat_map(|module| module.tests.iter().map(move |test| (module, test)));
        let named = tests.map(|(module, test)| Chosen { name: format!("{}::{}", module.name, test.name), test });
        named.filter(|chosen| self.wants(&chosen.name)).collect()
    }

    fn wants(&self, test: &str) -> bool {
        let fits = |part: &String| if self.exact { test == part } else { test.contains(part.as_str()) };
        (self.parts.is_empty() || self.parts.iter().any(fits)) && !self.skip.iter().any(fits)
    }
}

fn threads(value: &str) -> Result<u32, String> {
    value
        .parse()
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| format!("--test-threads takes a number from 1 on, not {value}"))
}

fn one_of(name: &str, value: &str, known: &[&str]) -> Result<(), String> {
    if known.contains(&value) { Ok(()) } else { Err(format!("{name} takes {}, not {value}", known.join(", "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Wishes, String> {
        Wishes::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn the_words_of_cargos_harness_are_understood() {
        let wishes =
            parse("verify:: --skip compaction door --skip=rights --exact --nocapture -q --color always --test-threads=1");
        let wishes = wishes.expect("all are options");
        assert_eq!(wishes.parts, ["verify::", "door"]);
        assert_eq!((wishes.skip, wishes.exact, wishes.one_at_a_time), (vec!["compaction".into(), "rights".into()], true, true));
        assert!(parse("--include-ignored").is_ok_and(|wishes| wishes.lanes() == Wanted::All));
        assert!(parse("--ignored --list").is_ok_and(|wishes| wishes.lanes() == Wanted::Nightly && wishes.list));
        assert!(parse("--help").is_ok_and(|wishes| wishes.help));
        assert!(parse("--test-threads 4").is_ok_and(|wishes| !wishes.one_at_a_time && wishes.parts.is_empty()));
    }

    #[test]
    fn what_is_no_option_is_an_error_and_not_everything() {
        for line in
            ["--hepl", "-x", "--skip", "--list=yes", "--test-threads none", "--test-threads 0", "--format json", "--color=red"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_whole_name_is_not_a_part() {
        let wants = |line: &str, name: &str| parse(line).expect("options").wants(name);
        assert!(wants("kills", "worker_kills::lose_nothing") && wants("", "any::thing"));
        assert!(!wants("--exact kills", "worker_kills::lose_nothing") && wants("--exact a::b", "a::b"));
        assert!(!wants("kills --skip nothing", "worker_kills::lose_nothing"));
    }
}
