//! Text forms in JSON: lower-case hexadecimal for fixed sizes, base64 for the rest.

use core::fmt;
use kusabi_core::id::{IdError, parse_hex};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// `N` bytes whose meaning the place around them tells (a handle here, a digest there), written as lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hex<const N: usize>(pub [u8; N]);

/// 32 bytes: a handle or a digest.
pub type Hex32 = Hex<32>;

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<const N: usize> fmt::Debug for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> core::str::FromStr for Hex<N> {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        parse_hex(text).map(Self)
    }
}

impl<const N: usize> From<[u8; N]> for Hex<N> {
    fn from(bytes: [u8; N]) -> Self {
        Self(bytes)
    }
}

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(feature = "openapi")]
mod openapi {
    use super::Hex;
    use utoipa::{
        PartialSchema, ToSchema,
        openapi::{ObjectBuilder, RefOr, schema::Schema},
    };

    impl<const N: usize> PartialSchema for Hex<N> {
        fn schema() -> RefOr<Schema> {
            ObjectBuilder::new()
                .schema_type(utoipa::openapi::schema::Type::String)
                .pattern(Some(format!("^[0-9a-f]{{{}}}$", 2 * N)))
                .into()
        }
    }

    impl<const N: usize> ToSchema for Hex<N> {
        fn name() -> std::borrow::Cow<'static, str> {
            format!("Hex{N}").into()
        }
    }
}

/// A value of the core by its own text form.
pub mod text {
    use core::{fmt::Display, str::FromStr};
    use serde::{Deserialize, Deserializer, Serializer, de};

    /// For `#[serde(with)]`.
    pub fn serialize<T: Display, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    /// For `#[serde(with)]`.
    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Bytes of any length that stand as standard base64 (RFC 4648, with padding) in JSON: proofs, transactions, checkpoints.
pub mod base64 {
    use ::base64::{Engine as _, engine::general_purpose::STANDARD};
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer, de};

    /// For `#[serde(with)]`.
    pub fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    /// For `#[serde(with)]`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        STANDARD
            .decode(text.as_bytes())
            .map(Bytes::from)
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_the_text_form() {
        let value = Hex([1, 2]);
        assert_eq!(serde_json::to_string(&value).unwrap(), "\"0102\"");
        assert_eq!(serde_json::from_str::<Hex<2>>("\"0102\"").unwrap(), value);
        for bad in ["01", "010203", "01A2", "01g2"] {
            assert!(
                serde_json::from_str::<Hex<2>>(&format!("{bad:?}")).is_err(),
                "{bad}"
            );
        }
    }
}
