//! `docs/exit-codes.md` has every code and the order in which they win.

use migration::Exit;

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
    let mut order = ALL.to_vec();
    order.retain(|exit| !matches!(exit, Exit::Usage | Exit::Config | Exit::Preflight | Exit::Signal(_)));
    order.sort_by(|a, b| if a.worse(*b) == *a { std::cmp::Ordering::Less } else { std::cmp::Ordering::Greater });
    let codes: Vec<_> = order.iter().map(|exit| exit.code().to_string()).collect();
    assert!(DOCS.contains(&format!("a second signal, then {}", codes.join(", "))), "{codes:?}");
}
