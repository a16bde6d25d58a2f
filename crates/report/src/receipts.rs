//! What a comparison with receipts found, as text and JSON.

use std::time::Duration;

use migration::Receipt;
use migration::report::receipts::ComparedReceipts;
use migration::units::{show_count, show_duration};
use serde_json::{Map, Value, json};

use crate::figures::members;

/// For people.
pub fn text(compared: &ComparedReceipts) -> String {
    let took = show_duration(Duration::from_millis(compared.elapsed_ms));
    let mut out = format!("receipts: {} ({took})\n", compared.verdict());
    let rows = [
        ("delivered", compared.kept.receipt.records, true),
        ("topic records", compared.found.records, true),
        ("others", compared.others, compared.others > 0),
        ("gone", compared.gone, compared.gone > 0),
    ];
    for (name, count, _) in rows.iter().filter(|(.., shown)| *shown) {
        out += &format!("  {name:<16}{:>16}\n", show_count(*count));
    }
    out + "  compared: count and sum of keys and values; not partitions, headers, times, or the source\n"
}

/// For machines.
pub fn object(compared: &ComparedReceipts) -> Map<String, Value> {
    let side = |receipt: &Receipt| json!({ "records": receipt.records, "sum": format!("{:032x}", receipt.sum) });
    members(json!({
        "outcome": if compared.is_same() { "same" } else { "different" },
        "verdict": compared.verdict(),
        "delivered": side(&compared.kept.receipt),
        "topic": side(&compared.found),
        "complete": compared.kept.done,
        "others": compared.others,
        "gone": compared.gone,
        "compacted": compared.compacted,
        "explained_duplicates": compared.explained,
        "elapsed_ms": compared.elapsed_ms,
        "exit_code": compared.exit().code(),
    }))
}
