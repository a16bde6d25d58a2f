//! What the last comparison of topic and source found, on a job's page.

use migration::report::verify::KeptVerdict;
use migration::units::show_count;

use crate::figures::show_utc;
use crate::html::{Numbers, scrolling, section, warning};
use crate::markup::Element;
use crate::verify::{notes, verdict};

/// The counts, by their names in the JSON.
const COUNTS: [(&str, &str); 12] = [
    ("source_records", "source records"),
    ("dead_lettered", "dead letters"),
    ("retried", "retried"),
    ("topic_records", "topic records"),
    ("missing", "missing"),
    ("superseded", "superseded"),
    ("doubtful", "doubtful"),
    ("duplicates", "duplicates"),
    ("altered", "altered"),
    ("misplaced", "misplaced"),
    ("unexpected", "unexpected"),
    ("others", "other producers'"),
];

/// The section.
pub(super) fn verified(kept: &KeptVerdict, numbers: &Numbers<'_>) -> Element {
    let verified = &kept.verified;
    let when = format!("After run {}, {}: {}.", kept.run, show_utc(kept.unix_ms.unsigned_abs()), verdict(verified));
    let mut inside = vec![if verified.exit().code() == 0 { Element::new("p").text(&when) } else { warning(&when) }];
    if kept.sent_since {
        inside.push(warning("A later run sent records, of which it says nothing: `shardlift verify` compares again."));
    }
    inside.extend(notes(verified).iter().map(|note| Element::new("p").text(note)));
    let row = |(name, shown): &(&str, &str)| {
        let cell = numbers.cell(&format!("verify.{name}"), |value| show_count(value.round() as u64));
        Element::new("tr").with(Element::new("th").set("scope", "row").text(shown)).with(cell)
    };
    let table = Element::of_class("table", "small")
        .with(Element::new("caption").text("Topic and source, record by record."))
        .with(Element::new("tbody").with_all(COUNTS.iter().map(row)));
    inside.push(scrolling("Topic and source", table));
    section("What a comparison of topic and source found", inside)
}

#[cfg(test)]
mod tests {
    use migration::report::verify::{Compared, Verified, VerifyReport};
    use serde_json::{Map, Value};

    use super::*;
    use crate::verify::kept_object;

    #[test]
    fn counts_time_and_verdict_are_on_the_page() {
        let compared = Compared { headers: true, times: true, replaced_times: 9, ..Compared::default() };
        let report = VerifyReport { source_records: 9, topic_records: 309, others: 300, compared, ..VerifyReport::default() };
        let mut kept = KeptVerdict {
            run: 2,
            unix_ms: 1_795_000_000_000,
            verified: Verified { report, ..Verified::default() },
            sent_since: false,
        };
        let page = |kept: &KeptVerdict| {
            let object = Map::from_iter([("verify".to_owned(), Value::Object(kept_object(kept)))]);
            verified(kept, &Numbers(&object)).to_string()
        };
        let text = page(&kept);
        assert!(text.contains("After run 2, 2026-11-18 11:06:40 UTC: the topic holds exactly"), "{text}");
        assert!(text.contains("data-json=\"verify.others\" data-value=\"300\">300</td>"), "{text}");
        assert!(text.contains("the brokers wrote their own over those of 9 records"), "{text}");
        assert!(!text.contains("warning"), "{text}");
        kept.verified.report.missing = 1;
        kept.sent_since = true;
        let text = page(&kept);
        assert!(text.contains("THE TOPIC DIFFERS") && text.matches("warning").count() == 2, "{text}");
    }
}
