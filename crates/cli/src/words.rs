//! The command line as it was typed, for a user to type again.

/// `shardlift` and the words of this process that `keep` wants, quoted for a shell where need be.
pub fn typed(keep: impl Fn(&str) -> bool) -> String {
    let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    joined(words.filter(|word| keep(word)))
}

/// These words after `shardlift`.
pub fn joined(words: impl Iterator<Item = String>) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=+@%".contains(c);
    let quoted = |word: String| {
        let whole = !word.is_empty() && word.chars().all(plain);
        if whole { word } else { format!("'{}'", word.replace('\'', "'\\''")) }
    };
    ["shardlift".to_owned()].into_iter().chain(words.map(quoted)).collect::<Vec<_>>().join(" ")
}
