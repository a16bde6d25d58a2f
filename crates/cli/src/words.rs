//! The command line as it was typed, for a user to type again.

/// The words of this process after its name.
pub fn of_this_process() -> impl Iterator<Item = String> {
    std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned())
}

/// `shardlift` and these words, quoted for a shell where need be.
pub fn joined(words: impl Iterator<Item = String>) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=+@%".contains(c);
    let quoted = |word: String| {
        let whole = !word.is_empty() && word.chars().all(plain);
        if whole { word } else { format!("'{}'", word.replace('\'', "'\\''")) }
    };
    ["shardlift".to_owned()].into_iter().chain(words.map(quoted)).collect::<Vec<_>>().join(" ")
}
