//! What the endings of a file's name say.

/// An ending of a name that says how its file is packed, what is in it, or which part of a whole it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameEnding {
    /// `.gz`, `.zst`, …
    Packed,
    /// `.json`, `.jsonl`, `.ndjson`
    Json,
    /// `.csv`, `.tsv`
    Csv,
    /// `.1`, `.2026-11-28`, `.part`, `.part-3`
    Part,
}

impl NameEnding {
    fn of(text: &str) -> Option<NameEnding> {
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'_'));
        Some(match text.to_ascii_lowercase().as_str() {
            "gz" | "gzip" | "zst" | "zstd" | "bz2" | "xz" | "lzma" | "lz" | "lz4" | "lzo" | "sz" | "snappy" | "z" | "zlib" => {
                NameEnding::Packed
            }
            "json" | "jsonl" | "ndjson" => NameEnding::Json,
            "csv" | "tsv" => NameEnding::Csv,
            other if !other.is_empty() && digits(other.strip_prefix("part").unwrap_or(other)) => NameEnding::Part,
            _ => return None,
        })
    }
}

/// A name without its endings, and these, the first one first: `orders`, [`.jsonl`, `.gz`].
pub(super) fn endings(name: &str) -> (&str, Vec<(&str, NameEnding)>) {
    let (mut base, mut endings) = (name, Vec::new());
    while let Some((before, last)) = base.rsplit_once('.') {
        let Some(ending) = NameEnding::of(last).filter(|_| !before.is_empty()) else { break };
        endings.insert(0, (&base[before.len()..], ending));
        base = before;
    }
    (base, endings)
}

/// Whether a name has an ending of this kind.
pub(super) fn has(name: &str, ending: NameEnding) -> bool {
    endings(name).1.iter().any(|(_, own)| *own == ending)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_are_taken_from_the_right() {
        for (name, base, found) in [
            ("orders.jsonl.gz", "orders", vec![".jsonl", ".gz"]),
            ("orders-04.2026.json", "orders-04", vec![".2026", ".json"]),
            ("app.log", "app.log", vec![]),
            ("app.log.1", "app.log", vec![".1"]),
            (".json", ".json", vec![]),
            ("a.JSON.part-3", "a", vec![".JSON", ".part-3"]),
            ("a.", "a.", vec![]),
            ("a.partly", "a.partly", vec![]),
        ] {
            let (own, endings) = endings(name);
            assert_eq!((own, endings.iter().map(|(text, _)| *text).collect::<Vec<_>>()), (base, found), "{name}");
        }
        assert!(has("x.NdJson.zst", NameEnding::Json) && !has("json", NameEnding::Json) && has("x.part", NameEnding::Part));
    }
}
