//! Bytes as Base64 (RFC 4648, with padding), for the records that are not text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes that are written as Base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base64(pub Vec<u8>);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        STANDARD.decode(text.as_bytes()).map(Base64).map_err(|error| D::Error::custom(format_args!("not Base64: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(bytes: &[u8]) -> String {
        serde_json::to_string(&Base64(bytes.to_vec())).unwrap()
    }

    fn decode(json: &str) -> Option<Vec<u8>> {
        serde_json::from_str(json).ok().map(|Base64(bytes)| bytes)
    }

    #[test]
    fn the_vectors_of_rfc_4648() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            let coded = format!("\"{coded}\"");
            assert_eq!(encode(plain.as_bytes()), coded);
            assert_eq!(decode(&coded).as_deref(), Some(plain.as_bytes()));
        }
        assert_eq!(decode("\"Zg=\""), None);
        assert_eq!(decode("\"Z!==\""), None);
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }
    }
}
