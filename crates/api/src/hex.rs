//! Fixed-size bytes whose text form is lower-case hexadecimal: handles, state keys, hashes in addresses and in JSON.

use core::fmt;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// `N` bytes that are written as `2 N` lower-case hex digits. Upper case is refused, so that a value has one text form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hex<const N: usize>(pub [u8; N]);

/// 32 bytes: a handle, a hash, a state key, a transaction ID.
pub type Hex32 = Hex<32>;

/// The text is not `2 N` lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {digits} lower-case hex digits")]
pub struct NotHex {
    /// How many digits were expected.
    pub digits: usize,
}

impl<const N: usize> Hex<N> {
    /// Reads the text form.
    pub fn parse(text: &str) -> Result<Self, NotHex> {
        let wrong = NotHex { digits: 2 * N };
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != N || !rest.is_empty() {
            return Err(wrong);
        }
        let mut bytes = [0; N];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            let (Some(high), Some(low)) = (digit(*high), digit(*low)) else {
                return Err(wrong);
            };
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

fn digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    }
}

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
    type Err = NotHex;
    fn from_str(text: &str) -> Result<Self, NotHex> {
        Self::parse(text)
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
        Self::parse(&text).map_err(de::Error::custom)
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
    fn one_text_form() {
        let value = Hex([0x00, 0x9f, 0xa0]);
        assert_eq!(value.to_string(), "009fa0");
        assert_eq!(Hex::<3>::parse("009fa0"), Ok(value));
        for bad in [
            "", "009fa", "009fa00", "009FA0", "00 fa0", "009fag", "é9fa0",
        ] {
            assert_eq!(Hex::<3>::parse(bad), Err(NotHex { digits: 6 }), "{bad}");
        }
    }

    #[test]
    fn json_is_the_text_form() {
        let value = Hex([1, 2]);
        assert_eq!(serde_json::to_string(&value).unwrap(), "\"0102\"");
        assert_eq!(serde_json::from_str::<Hex<2>>("\"0102\"").unwrap(), value);
        assert!(serde_json::from_str::<Hex<2>>("\"01\"").is_err());
    }
}
