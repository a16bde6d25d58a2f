//! Where a value came from, so that an error can point at it.

use std::ops::Range;
use std::sync::Arc;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ValueOrigin {
    /// It was not typed.
    Default,
    /// Bytes of the config file.
    File(Range<usize>),
    /// A flag or a variable.
    Given(Given),
}

/// A flag or variable that gave a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    /// As shown in errors: `--topic`, `SHARDLIFT_TOPIC`, `--set workers.count`. Never with the value.
    pub(super) name: Arc<str>,
    /// Whether a mistake in it is a wrong command line (exit 2) and not an invalid config (exit 3).
    pub(super) usage: bool,
}

impl ValueOrigin {
    /// A flag or variable whose mistakes are the config's.
    pub(super) fn given(name: &str) -> ValueOrigin {
        ValueOrigin::Given(Given { name: name.into(), usage: false })
    }

    /// A flag or variable whose mistakes are the command line's.
    pub(super) fn usage(name: &str) -> ValueOrigin {
        ValueOrigin::Given(Given { name: name.into(), usage: true })
    }

    /// For an order of places: overrides last.
    pub(super) fn rank(&self) -> usize {
        match self {
            ValueOrigin::File(span) => span.start,
            ValueOrigin::Default => usize::MAX - 1,
            ValueOrigin::Given(_) => usize::MAX,
        }
    }

    /// The origin of a part of the value: a range in the file, the same flag otherwise.
    pub(super) fn part(&self, span: Range<usize>) -> ValueOrigin {
        match self {
            ValueOrigin::File(_) => ValueOrigin::File(span),
            other => other.clone(),
        }
    }
}

/// A value with its origin.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct At<T> {
    /// The value.
    pub(super) value: T,
    /// Where it came from.
    pub(super) origin: ValueOrigin,
}

impl<T> At<T> {
    /// A value from somewhere.
    pub(super) fn new(value: T, origin: ValueOrigin) -> Self {
        At { value, origin }
    }

    /// Whether it was typed.
    pub(super) fn typed(&self) -> bool {
        self.origin != ValueOrigin::Default
    }
}
