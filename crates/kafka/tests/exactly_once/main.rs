//! Exactly-once as a model: every order of kills, zombies, late requests and lost answers within bounds, and what goes
//! wrong when a rule is taken out. The rules have the numbers of `docs/design/0009-exactly-once.md`.
//!
//! `counterexamples.txt` is written by a test: `UPDATE_SNAPSHOTS=1 cargo test --release -p kafka --test exactly_once`.
//! `-- --nocapture` prints how many states were visited; `scripts/nightly model` visits millions.

mod checker;
mod protocol;

use std::fmt::Write as _;
use std::path::Path;

use checker::{Broken, Graph};
use protocol::{ALL, Bounds, DISORDER, LOST, Rules, TWICE, World};

/// A check that is not over by then is refused: about 4 GB.
const LIMIT: usize = 6_000_000;

const FEW: Bounds = Bounds { attempts: 2, faults: 1, timeout: true, stranger: false };
/// What is visited on each change.
const SHORT: [Bounds; 3] = [
    FEW,
    Bounds { attempts: 2, faults: 1, timeout: false, stranger: true },
    Bounds { attempts: 3, faults: 0, timeout: false, stranger: false },
];
/// What is visited at night besides.
const LONG: [Bounds; 3] = [
    Bounds { attempts: 2, faults: 2, timeout: true, stranger: true },
    Bounds { attempts: 3, faults: 0, timeout: true, stranger: true },
    Bounds { attempts: 3, faults: 1, timeout: true, stranger: false },
];

fn visited(rules: Rules) -> Graph<Rules> {
    let begin = std::time::Instant::now();
    let graph = Graph::of(&rules, LIMIT);
    println!("{} states in {:.1} s: {}", graph.states(), begin.elapsed().as_secs_f64(), rules.bounds);
    graph
}

fn keeps_its_promises(bounds: Bounds) {
    let graph = visited(Rules { bounds, ..ALL });
    if let Some((broken, steps)) = graph.broken().first() {
        panic!("{}:\n{}", broken.0, in_words(steps));
    }
    if let Some(steps) = graph.stuck(World::may_go_on, World::is_done) {
        panic!("the shard can't be finished any more:\n{}", in_words(&steps));
    }
    // It did visit what it is about.
    assert!(graph.reaches(World::is_done));
    assert!(graph.reaches(World::has_zombie));
    assert!(graph.reaches(World::has_late_commit));
}

#[test]
fn with_all_rules_nothing_is_lost_or_twice_or_out_of_order_and_the_shard_can_be_finished() {
    SHORT.into_iter().for_each(keeps_its_promises);
}

#[test]
#[ignore = "minutes; scripts/nightly model"]
fn with_all_rules_the_same_holds_in_wider_bounds() {
    LONG.into_iter().for_each(keeps_its_promises);
}

/// What a variant must show.
enum Shows {
    Breaks(Broken),
    CanNotFinish,
    /// Within the bounds nothing goes wrong while the other rules hold.
    Nothing,
}

/// The mechanism without something that it consists of.
struct Variant {
    without: &'static str,
    rules: Rules,
    shows: &'static [Shows],
}

const REPEATED: Bounds = Bounds { timeout: false, ..FEW };
const NO_FAULTS: Bounds = Bounds { faults: 0, ..FEW };

const VARIANTS: &[Variant] = &[
    Variant {
        without: "rule 1: an attempt goes on after an ambiguous commit that said Ok",
        rules: Rules { exit_after_ambiguous_commit: false, bounds: REPEATED, ..ALL },
        shows: &[Shows::Breaks(TWICE)],
    },
    Variant {
        without: "rules 1 and 3: besides, progress is sent while the chunk's records are under way",
        rules: Rules { exit_after_ambiguous_commit: false, progress_after_reports: false, bounds: REPEATED, ..ALL },
        shows: &[Shows::Breaks(LOST), Shows::Breaks(TWICE)],
    },
    Variant {
        without: "rule 3 alone: progress is sent while the chunk's records are under way",
        rules: Rules { progress_after_reports: false, bounds: NO_FAULTS, ..ALL },
        shows: &[Shows::Nothing],
    },
    Variant {
        without: "rule 4, its time: progress is read before init",
        rules: Rules { progress_read_after_init: false, bounds: NO_FAULTS, ..ALL },
        shows: &[Shows::Breaks(TWICE)],
    },
    Variant {
        without: "rule 4, its scan: it ends where what is committed ends",
        rules: Rules { scan_past_strangers: false, bounds: Bounds { stranger: true, ..NO_FAULTS }, ..ALL },
        shows: &[Shows::Breaks(TWICE)],
    },
    Variant {
        without: "rule 6: an attempt that is fenced gives the shard up",
        rules: Rules { fenced_is_a_failure: false, bounds: REPEATED, ..ALL },
        shows: &[Shows::CanNotFinish],
    },
    Variant {
        without: "the transaction around progress: it is sent after the commit",
        rules: Rules { progress_in_transaction: false, bounds: NO_FAULTS, ..ALL },
        shows: &[Shows::Breaks(TWICE)],
    },
    Variant {
        without: "epochs: brokers take requests of a predecessor",
        rules: Rules { epochs: false, bounds: NO_FAULTS, ..ALL },
        shows: &[Shows::Breaks(LOST), Shows::Breaks(TWICE), Shows::Breaks(DISORDER)],
    },
    Variant {
        without: "partition verification",
        rules: Rules { verification: false, bounds: REPEATED, ..ALL },
        shows: &[Shows::Nothing],
    },
    Variant {
        without: "partition verification and rule 1",
        rules: Rules { verification: false, exit_after_ambiguous_commit: false, bounds: REPEATED, ..ALL },
        shows: &[Shows::Breaks(LOST), Shows::Breaks(TWICE)],
    },
];

#[test]
fn without_a_rule_a_counterexample_is_found() {
    let mut text = String::from(
        "What goes wrong when a part of exactly-once is taken out: for each property that is broken, the shortest way to\n\
         it. Two chunks of two records each. Written by the test beside this file; see docs/design/0009-exactly-once.md.\n",
    );
    for Variant { without, rules, shows } in VARIANTS {
        let graph = visited(*rules);
        let broken = graph.broken();
        let _ = write!(text, "\n== Without {without}\n{} states: {}\n", graph.states(), rules.bounds);
        for shown in *shows {
            let (what, steps) = match shown {
                Shows::Breaks(property) => {
                    let found = broken.iter().find(|(broken, _)| broken == property);
                    let (_, steps) = found.unwrap_or_else(|| panic!("without {without}: not found that {}", property.0));
                    (property.0, steps.clone())
                }
                Shows::CanNotFinish => {
                    assert_eq!(broken, [], "without {without}");
                    let steps = graph.stuck(World::may_go_on, World::is_done);
                    ("the shard can't be finished any more", steps.unwrap_or_else(|| panic!("without {without}: not stuck")))
                }
                Shows::Nothing => {
                    assert_eq!(broken, [], "without {without}");
                    assert_eq!(graph.stuck(World::may_go_on, World::is_done), None, "without {without}");
                    text += "\nNothing goes wrong while the other rules hold.\n";
                    continue;
                }
            };
            let mut capital = what.to_owned();
            capital[..1].make_ascii_uppercase();
            let _ = write!(text, "\n{capital}:\n{}", in_words(&steps));
        }
    }
    same_as_file("counterexamples.txt", &text);
}

fn in_words(steps: &[protocol::Step]) -> String {
    (1..).zip(steps).fold(String::new(), |text, (number, step)| text + &format!("{number:4}. {step}\n"))
}

/// With `UPDATE_SNAPSHOTS=1` it writes the file.
fn same_as_file(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exactly_once").join(name);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let file = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(file == text, "{name} is not what the model finds; UPDATE_SNAPSHOTS=1 writes it. It finds:\n{text}");
}
