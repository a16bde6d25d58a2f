//! `docs/exit-codes.md` has every code and the order in which they win.

use migration::{Cause, Exit};

const DOCS: &str = include_str!("../../../docs/exit-codes.md");

const ALL: [Exit; 12] = [
    Exit::Done,
    Exit::Internal,
    Exit::Usage,
    Exit::Config,
    Exit::Preflight,
    Exit::Failed,
    Exit::Difference,
    Exit::Source,
    Exit::State,
    Exit::Stopped,
    Exit::Signal(2),
    Exit::Signal(15),
];

#[test]
fn every_code_has_a_row() {
    let first_cells: Vec<&str> = DOCS.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next()).collect();
    for exit in ALL {
        let code = exit.code().to_string();
        assert!(first_cells.iter().any(|cell| cell.split(", ").any(|c| c == code)), "no row for {code}");
    }
}

#[test]
fn the_order_is_the_documented_one() {
    let mut order = [
        Cause::Difference,
        Cause::Failed,
        Cause::Stopped,
        Cause::TooManyBad,
        Cause::Preflight,
        Cause::Source,
        Cause::State,
        Cause::Internal,
        Cause::Signal(15),
    ];
    order.sort();
    let named = order[1..].iter().map(|cause| match cause {
        Cause::TooManyBad => "5 by `max_bad_records`".to_owned(),
        cause => cause.exit().code().to_string(),
    });
    let text = named.collect::<Vec<_>>().join(", ");
    assert_eq!(order[0], Cause::Signal(15));
    let docs = DOCS.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(docs.contains(&format!("then {text}, 0")), "{text}");
    assert!(docs.contains("first of this order wins: a second signal"), "{docs}");
}
