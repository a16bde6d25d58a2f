//! Faults at random moments: trials of each kind and rounds of all kinds mixed, on real Kafka.
//!
//! Without words, or with those of cargo's own harness, it runs a short fixed set. `scripts/campaign` and
//! `scripts/chaos` call it with `campaign`, `table` or `mixed`.

use std::process::ExitCode;

use whole_program::suite::{self, Module};

mod campaign;
mod mixed;
mod results;
mod short;
mod table;

const MODULES: &[Module] = &[Module { name: "short", tests: short::TESTS }];

fn main() -> ExitCode {
    suite::heed_signals();
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("campaign") => campaign::main(&words[1..]),
        Some("mixed") => mixed::main(&words[1..]),
        Some("table") => table::main(&words[1..]),
        _ => {
            let code = suite::main(MODULES);
            short::clean_up();
            code
        }
    }
}
