//! What the tests of the whole program stand on: a real Kafka, an independent reader, multisets to compare, the program
//! as a user starts it, and proof that nothing is left behind.
//!
//! This package depends on none of the product's crates, so that it judges by what can be seen from outside. The
//! whole-program tests are one binary, `tests/whole_program`, with `harness = false`: it calls [`suite::main`], which
//! starts clusters when they are wanted, runs the tests and stops the clusters whatever happened.
#![forbid(unsafe_code)]

pub mod admin;
pub mod browser;
pub mod chaos;
pub mod clusters;
pub mod customers;
pub mod dataset;
pub mod faults;
pub mod kafka;
pub mod multiset;
pub mod murmur2;
pub mod order;
pub mod program;
pub mod proxy;
pub mod random;
pub mod scene;
pub mod steering;
pub mod suite;
pub mod temporary;
pub mod terminal;
pub mod timeline;
pub mod topic;
pub mod waiting;

use std::path::{Path, PathBuf};

/// The root of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is one level below the root").to_path_buf()
}
