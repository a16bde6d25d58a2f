//! What every error code of a broker leads to, on every kind of request that is made, through the client library's own
//! mock cluster. The table of it is `docs/broker-errors.md`, which this test writes:
//! `UPDATE_SNAPSHOTS=1 cargo test --release -p kafka --test errors`.
//!
//! Whatever the code, nothing counts as delivered that is not in the topic, and nothing as read that was left out; and
//! a code that Kafka calls retriable stops no job and is no death, but for those that say that there is no such topic.

#[path = "../common/mod.rs"]
mod common;
mod drive;
mod rows;
mod transactions;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;

use drive::Outcome;
use migration::FailureKind;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr as E};
use rows::{Case, HEAD, NAMES, cases};

/// Cases at the same time: most of them wait.
const AT_ONCE: usize = 32;

#[test]
fn every_code_on_every_kind_of_request_has_the_outcome_of_the_table() {
    let cases = cases();
    let waiting = Mutex::new((0..cases.len()).rev().collect::<Vec<usize>>());
    let found = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(at) = waiting.lock().unwrap().pop() else { break };
                    let outcome = (cases[at].run)(cases[at].code);
                    found.lock().unwrap().insert(at, outcome);
                }
            });
        }
    });
    let found = found.into_inner().unwrap();
    assert_eq!(found.len(), cases.len(), "a case panicked");
    same_as_document(&table(&cases, &found));
    let harmful = |outcome: &Outcome| matches!(outcome, Outcome::Stops(_) | Outcome::GoesOn(FailureKind::Retry));
    let harmed: Vec<String> = found
        .iter()
        .filter(|(at, outcome)| rows::must_do_no_harm(cases[**at].code) && harmful(outcome))
        .map(|(at, outcome)| format!("{}, {}: {outcome}", cases[*at].request, rows::name(cases[*at].code)))
        .collect();
    assert!(harmed.is_empty(), "Kafka calls these retriable: {harmed:#?}");
}

fn table(cases: &[Case], found: &BTreeMap<usize, Outcome>) -> String {
    let mut text = String::from(HEAD);
    let mut request = "";
    for (at, case) in cases.iter().enumerate() {
        if case.request != request {
            request = case.request;
            let _ = write!(text, "\n## {request}\n\n{}\n\n| code | name | Kafka | outcome |\n|---|---|---|---|\n", case.about);
        }
        let kafka = if rows::is_retriable(case.code) { "retriable" } else { "permanent" };
        let _ = writeln!(text, "| {} | `{}` | {kafka} | {} |", case.code as i32, rows::name(case.code), found[&at]);
    }
    text
}

fn same_as_document(text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/broker-errors.md");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let document = std::fs::read_to_string(&path).unwrap_or_default();
    // By place: the same line may stand in several tables.
    let lines = (1..).zip(text.lines()).zip(document.lines());
    let differs: Vec<_> = lines.filter(|((_, line), other)| line != other).collect();
    assert!(document == text, "docs/broker-errors.md says otherwise (UPDATE_SNAPSHOTS=1 writes it): {differs:#?}");
}

/// Where a partition begins and where it ends are two questions, and the client may forget that one had no answer.
#[test]
fn one_answer_of_two_is_not_taken_for_both_ends_of_a_partition() {
    for _ in 0..20 {
        for code in [E::RD_KAFKA_RESP_ERR_POLICY_VIOLATION, E::RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED] {
            // That all is read, or an error is given, it says itself.
            let _ = drive::verified(RDKafkaApiKey::ListOffsets, &[code]);
        }
    }
}

#[test]
fn each_code_has_a_name() {
    for case in cases() {
        assert!(NAMES.iter().any(|(code, _, _)| *code == case.code), "{:?}", case.code);
    }
}
