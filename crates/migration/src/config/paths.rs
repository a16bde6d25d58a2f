//! Relative paths of a config start at its folder.

use std::path::{Component, Path, PathBuf};

/// A path in the config's folder, without `./` in front.
pub(crate) fn joined(config_dir: &Path, path: &str) -> PathBuf {
    let config_dir: PathBuf = config_dir.components().filter(|c| *c != Component::CurDir).collect();
    config_dir.join(path)
}

/// A pattern in the config's folder; the folder's own name is no pattern, whatever characters it has.
pub(crate) fn pattern_in(config_dir: &Path, pattern: &str) -> String {
    if Path::new(pattern).is_absolute() {
        return pattern.to_owned();
    }
    let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
    format!("{}{pattern}", as_pattern(&joined(config_dir, "").to_string_lossy()))
}

/// A folder's name as a pattern that means it alone, also where a config has it.
pub fn as_pattern(folder: &str) -> String {
    folder.chars().fold(String::new(), |mut out, c| {
        match c {
            '?' | '*' | '[' | ']' | '{' | '$' => out.extend(['[', c, ']']),
            c => out.push(c),
        }
        out
    })
}
