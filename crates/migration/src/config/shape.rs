//! What a key's value may be together with what it means, for the types that more than one key has. Those of one key
//! stand beside it.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use super::checks;
use super::key::Shape;
use super::paths::joined;
use super::value::{TextRule, TypedValue, ValueKind};

/// Why there is a value: the default, or a job is made only when nothing that is required is missing.
pub(crate) const PRESENT: &str = "it has a default, or a problem was added and no job is made";

/// One of the words of a type.
pub(crate) trait Vocabulary: Copy + 'static {
    /// As they are typed.
    const WORDS: &'static [&'static str];
    /// What they mean, in the same order.
    const MEANINGS: &'static [Self];

    /// How it is typed.
    fn typed(self) -> &'static str
    where
        Self: PartialEq,
    {
        let place = Self::MEANINGS.iter().position(|meaning| *meaning == self);
        place.map_or("", |place| Self::WORDS[place])
    }

    /// What a word means.
    fn of(word: &str) -> Option<Self> {
        let place = Self::WORDS.iter().position(|known| *known == word)?;
        Self::MEANINGS.get(place).copied()
    }
}

/// The words of an enum: `words! { ShardOrder { Source = "source", LargestFirst = "largest-first" } }`.
macro_rules! words {
    ($type:ident { $($variant:ident = $word:literal),+ }) => {
        impl $type {
            /// Its name in the config and in results.
            pub const fn name(self) -> &'static str {
                match self {
                    $($type::$variant => $word),+
                }
            }
        }

        impl $crate::config::Vocabulary for $type {
            const WORDS: &'static [&'static str] = &[$($word),+];
            const MEANINGS: &'static [Self] = &[$($type::$variant),+];
        }
    };
}
pub(crate) use words;

/// One of the words of `T`.
pub(crate) const fn word<T: Vocabulary>() -> Shape<T> {
    Shape {
        kind: ValueKind::Word(T::WORDS, &[]),
        read: |value, _| value.and_then(|value| T::of(value.word())).expect("the kind has no other words"),
    }
}

/// One of the words of `T`; some others are known and refused.
pub(crate) const fn word_but<T: Vocabulary>(refused: &'static [(&'static str, &'static str)]) -> Shape<T> {
    Shape { kind: ValueKind::Word(T::WORDS, refused), ..word() }
}

/// The only word that there is in this version, and ones that are known and refused.
pub(crate) const fn only(words: &'static [&'static str], refused: &'static [(&'static str, &'static str)]) -> Shape<()> {
    Shape { kind: ValueKind::Word(words, refused), read: |_, _| () }
}

/// Some of the words of `T`.
pub(crate) const fn some_words<T: Vocabulary + Ord>() -> Shape<BTreeSet<T>> {
    Shape {
        kind: ValueKind::Words(T::WORDS),
        read: |value, _| value.into_iter().flat_map(TypedValue::words).filter_map(|word| T::of(word)).collect(),
    }
}

/// `true` or `false`.
pub(crate) const BOOL: Shape<bool> =
    Shape { kind: ValueKind::Bool, read: |value, _| value.and_then(TypedValue::bool).unwrap_or(false) };

/// `true`, `false`, or a word for neither.
pub(crate) const fn bool_or(word: &'static str) -> Shape<Option<bool>> {
    Shape { kind: ValueKind::BoolOr(word), read: |value, _| value.and_then(TypedValue::bool) }
}

/// A whole number of at least this.
pub(crate) const fn count(least: u64) -> Shape<u64> {
    Shape { kind: ValueKind::Count(least), read: |value, _| value.and_then(TypedValue::number).expect(PRESENT) }
}

/// A whole number of at least 1; a larger one than the type holds is its largest.
pub(crate) const COUNT_32: Shape<u32> = Shape {
    kind: ValueKind::Count(1),
    read: |value, _| u32::try_from(value.and_then(TypedValue::number).expect(PRESENT)).unwrap_or(u32::MAX),
};

/// A whole number of at least 1, or a word for none.
pub(crate) const fn count_or(word: &'static str) -> Shape<Option<u64>> {
    Shape { kind: ValueKind::CountOr(u64::MAX, word), read: |value, _| value.and_then(TypedValue::number) }
}

/// A whole number of at least 1 that fits, or a word for none.
pub(crate) const fn count_32_or(word: &'static str) -> Shape<Option<NonZeroU32>> {
    Shape {
        kind: ValueKind::CountOr(u32::MAX as u64, word),
        read: |value, _| value.and_then(TypedValue::number).and_then(|n| NonZeroU32::new(u32::try_from(n).unwrap_or(u32::MAX))),
    }
}

/// A size of at least 1 byte.
pub(crate) const SIZE: Shape<u64> =
    Shape { kind: ValueKind::Size, read: |value, _| value.and_then(TypedValue::number).expect(PRESENT) };

/// A size of at least 1 byte, or a word for none.
pub(crate) const fn size_or(word: &'static str) -> Shape<Option<u64>> {
    Shape { kind: ValueKind::SizeOr(word), read: |value, _| value.and_then(TypedValue::number) }
}

/// A duration of at least this number of milliseconds.
pub(crate) const fn time(least_ms: u64) -> Shape<Duration> {
    Shape { kind: ValueKind::Time(least_ms), read: |value, _| value.map(TypedValue::time).expect(PRESENT) }
}

/// Two durations, the first not longer than the second.
pub(crate) const TIMES: Shape<(Duration, Duration)> =
    Shape { kind: ValueKind::Times, read: |value, _| value.map(TypedValue::times).expect(PRESENT) };

/// A text that a rule lets pass.
pub(crate) const fn text(rule: TextRule) -> Shape<String> {
    Shape { kind: ValueKind::Text(rule), read: |value, _| value.map(TypedValue::text).expect(PRESENT).to_owned() }
}

/// A path; a relative one starts at the config's folder.
pub(crate) const PATH: Shape<PathBuf> = Shape {
    kind: ValueKind::Text(TextRule { noun: "path", allowed: "a path", check: checks::path }),
    read: |value, folder| joined(folder, value.map(TypedValue::text).expect(PRESENT)),
};

/// Names of the user's own, each with a text, in the order of the config.
pub(crate) const HEADERS: Shape<Vec<(String, String)>> =
    Shape { kind: ValueKind::Headers, read: |value, _| value.map(TypedValue::pairs).unwrap_or_default().to_vec() };
