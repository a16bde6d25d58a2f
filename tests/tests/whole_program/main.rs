//! The tests of the whole program, one binary: a module for each subject, each with its list of tests.
//!
//! A new test is a function `fn what_it_shows(clusters: &Clusters)` and its line in its module's `TESTS`; a new module
//! is its file and its two lines here.

use std::process::ExitCode;

use whole_program::suite::{self, Module};

mod added_files;
mod advice;
mod broker_outage;
mod check_of_begun;
mod checks;
mod compare;
mod compare_web;
mod csv;
mod damaged_files;
mod dead_letters;
mod delivery;
mod door;
mod early_workers;
mod exactly_once;
mod exit_codes;
mod first_contact;
mod first_contact_secured;
mod first_run;
mod good_shapes;
mod hostile_files;
mod hostile_lines;
mod html;
mod letters_topic;
mod names;
mod order;
mod order_stops;
mod outcomes;
mod preview;
mod real_kafka;
mod refusals;
mod retries;
mod signals;
mod small_files;
mod steering;
mod steering_commands;
mod steering_hostile;
mod steering_speed;
mod story;
mod supervisor_kills;
mod terminal;
mod topic_changes;
mod verify;
mod verify_live;
mod verify_repair;
mod verify_workers;
mod worker_kills;
mod your_data;

const MODULES: &[Module] = &[
    Module { name: "added_files", tests: added_files::TESTS },
    Module { name: "advice", tests: advice::TESTS },
    Module { name: "broker_outage", tests: broker_outage::TESTS },
    Module { name: "check_of_begun", tests: check_of_begun::TESTS },
    Module { name: "checks", tests: checks::TESTS },
    Module { name: "compare", tests: compare::TESTS },
    Module { name: "compare_web", tests: compare_web::TESTS },
    Module { name: "csv", tests: csv::TESTS },
    Module { name: "damaged_files", tests: damaged_files::TESTS },
    Module { name: "dead_letters", tests: dead_letters::TESTS },
    Module { name: "delivery", tests: delivery::TESTS },
    Module { name: "door", tests: door::TESTS },
    Module { name: "early_workers", tests: early_workers::TESTS },
    Module { name: "exactly_once", tests: exactly_once::TESTS },
    Module { name: "exit_codes", tests: exit_codes::TESTS },
    Module { name: "first_contact", tests: first_contact::TESTS },
    Module { name: "first_contact_secured", tests: first_contact_secured::TESTS },
    Module { name: "first_run", tests: first_run::TESTS },
    Module { name: "good_shapes", tests: good_shapes::TESTS },
    Module { name: "hostile_files", tests: hostile_files::TESTS },
    Module { name: "hostile_lines", tests: hostile_lines::TESTS },
    Module { name: "html", tests: html::TESTS },
    Module { name: "letters_topic", tests: letters_topic::TESTS },
    Module { name: "names", tests: names::TESTS },
    Module { name: "order", tests: order::TESTS },
    Module { name: "order_stops", tests: order_stops::TESTS },
    Module { name: "outcomes", tests: outcomes::TESTS },
    Module { name: "preview", tests: preview::TESTS },
    Module { name: "real_kafka", tests: real_kafka::TESTS },
    Module { name: "refusals", tests: refusals::TESTS },
    Module { name: "retries", tests: retries::TESTS },
    Module { name: "signals", tests: signals::TESTS },
    Module { name: "small_files", tests: small_files::TESTS },
    Module { name: "steering", tests: steering::TESTS },
    Module { name: "steering_commands", tests: steering_commands::TESTS },
    Module { name: "steering_hostile", tests: steering_hostile::TESTS },
    Module { name: "steering_speed", tests: steering_speed::TESTS },
    Module { name: "story", tests: story::TESTS },
    Module { name: "supervisor_kills", tests: supervisor_kills::TESTS },
    Module { name: "terminal", tests: terminal::TESTS },
    Module { name: "topic_changes", tests: topic_changes::TESTS },
    Module { name: "verify", tests: verify::TESTS },
    Module { name: "verify_live", tests: verify_live::TESTS },
    Module { name: "verify_repair", tests: verify_repair::TESTS },
    Module { name: "verify_workers", tests: verify_workers::TESTS },
    Module { name: "worker_kills", tests: worker_kills::TESTS },
    Module { name: "your_data", tests: your_data::TESTS },
];

fn main() -> ExitCode {
    suite::main(MODULES)
}
