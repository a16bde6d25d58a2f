//! Any bytes as a line: the field scanner must agree with serde_json.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pipeline::mapping::{MapError, Mapping};

#[path = "../../crates/pipeline/src/mapping/against_serde.rs"]
mod against_serde;

fuzz_target!(|line: &[u8]| against_serde::compare(line));
