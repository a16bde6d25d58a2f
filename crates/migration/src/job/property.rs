//! Properties of the Kafka client, and secrets among them.

/// A property's value; a secret is never shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Property {
    /// Written in the config or on the command line.
    Plain(String),
    /// Came from `{ env = … }` or `{ file = … }`.
    Secret(Secret),
}

impl Property {
    /// The value for the client; never print it.
    pub fn expose(&self) -> &str {
        match self {
            Property::Plain(value) => value,
            Property::Secret(secret) => &secret.value,
        }
    }
}

impl std::fmt::Debug for Property {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Property::Plain(value) => write!(f, "{value:?}"),
            Property::Secret(secret) => write!(f, "<secret from {}>", secret.from),
        }
    }
}

/// A secret after it was resolved, with where it came from.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// `env NAME` or `file PATH`.
    pub from: String,
    /// The secret itself.
    pub value: String,
}
