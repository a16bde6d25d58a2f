//! "Did you mean": the known word nearest to a mistyped one.

/// The nearest of `known`, if it is near enough to be a typo: a third of the letters may differ, a swap counts once.
pub(super) fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&typed, &word.replace('-', "_")), word))
        .filter(|(distance, word)| *distance <= (word.chars().count().max(typed.chars().count()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typos_are_found_and_strangers_are_not() {
        let known = ["count", "flush", "chunk", "in_flight", "memory_limit"];
        assert_eq!(nearest("cuont", known), Some("count"));
        assert_eq!(nearest("in-flight", known), Some("in_flight"));
        assert_eq!(nearest("Memory_Limits", known), Some("memory_limit"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("x", []), None);
    }
}
