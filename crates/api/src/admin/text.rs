//! Names that people give: bounded and printable.

use core::fmt;
use serde::{Deserialize, Deserializer, Serialize, de};
use std::borrow::Cow;

/// A name, a serial, a type: 1 to 128 characters of any script, without control characters, without invisible characters that turn
/// the direction of writing around, and without space at its ends. Nothing else is forbidden: whoever shows it escapes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Text(String);

/// Why something is no [`Text`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// It is empty.
    #[error("a name has at least one character")]
    Empty,
    /// It has more than [`Text::CHARS_MAX`] characters.
    #[error("a name has at most {} characters", Text::CHARS_MAX)]
    TooLong,
    /// It begins or ends with space.
    #[error("a name does not begin or end with space")]
    Space,
    /// It holds a control character or one that turns the direction of writing around.
    #[error(
        "a name has no control characters and none that turn the direction of writing around (U+{0:04X})"
    )]
    Control(u32),
}

impl Text {
    /// Most characters.
    pub const CHARS_MAX: usize = 128;

    /// Takes a text that may be one.
    pub fn new(text: impl Into<String>) -> Result<Self, TextError> {
        let text = text.into();
        if text.is_empty() {
            return Err(TextError::Empty);
        }
        if text.chars().count() > Self::CHARS_MAX {
            return Err(TextError::TooLong);
        }
        if let Some(c) = text.chars().find(|&c| c.is_control() || turns(c)) {
            return Err(TextError::Control(c.into()));
        }
        if text.trim() != text {
            return Err(TextError::Space);
        }
        Ok(Self(text))
    }

    /// The characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The embedding, override and isolate characters of Unicode's bidirectional algorithm (UAX #9, section 2), and the line separators.
const fn turns(c: char) -> bool {
    matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::str::FromStr for Text {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        Self::new(text)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        Self::new(text).map_err(de::Error::custom)
    }
}

#[cfg(feature = "openapi")]
mod openapi {
    use super::Text;
    use utoipa::{
        PartialSchema, ToSchema,
        openapi::{ObjectBuilder, RefOr, schema::Schema},
    };

    impl PartialSchema for Text {
        fn schema() -> RefOr<Schema> {
            ObjectBuilder::new()
                .schema_type(utoipa::openapi::schema::Type::String)
                .min_length(Some(1))
                .max_length(Some(Self::CHARS_MAX))
                .description(Some("Printable characters of any script."))
                .into()
        }
    }

    impl ToSchema for Text {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_script_are_kept_as_they_are() {
        for name in [
            "x",
            "カメラ 3",
            "'; DROP TABLE devices; --",
            "<b>&amp;",
            "%00",
            "🎥",
            &"é".repeat(128),
        ] {
            assert_eq!(Text::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn what_is_no_name() {
        for (name, why) in [
            ("", TextError::Empty),
            (" x", TextError::Space),
            ("x\u{3000}", TextError::Space),
            ("a\0b", TextError::Control(0)),
            ("a\nb", TextError::Control(10)),
            ("a\u{1b}[2J", TextError::Control(27)),
            ("gnp\u{202E}exe", TextError::Control(0x202E)),
        ] {
            assert_eq!(Text::new(name), Err(why), "{name:?}");
        }
        assert_eq!(Text::new("é".repeat(129)), Err(TextError::TooLong));
        assert!(serde_json::from_str::<Text>("\"a\\u0000\"").is_err());
    }
}
