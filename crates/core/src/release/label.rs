//! Labels: the short names in a manifest.

use core::fmt;

use super::ManifestError;
use crate::cbor::{CborError, Decoder, Encoder, FromCbor, ToCbor};
use crate::wire::Sink;

/// A short name: 1 to 64 bytes, `[A-Za-z0-9]` first, then `[A-Za-z0-9._+-]`. It is a safe file name, and safe to print.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label<'a>(&'a str);

impl<'a> Label<'a> {
    /// Longest label in bytes.
    pub const LEN_MAX: usize = 64;

    /// Checks a text.
    ///
    /// # Errors
    /// [`ManifestError::Label`]
    pub fn new(text: &'a str) -> Result<Self, ManifestError> {
        let [first, rest @ ..] = text.as_bytes() else {
            return Err(ManifestError::Label);
        };
        let rest_fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"._+-".contains(byte);
        if text.len() <= Self::LEN_MAX
            && first.is_ascii_alphanumeric()
            && rest.iter().all(rest_fits)
        {
            Ok(Self(text))
        } else {
            Err(ManifestError::Label)
        }
    }

    /// The text.
    #[must_use]
    pub const fn as_str(&self) -> &'a str {
        self.0
    }
}

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0)
    }
}

impl fmt::Debug for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0, f)
    }
}

impl<'b> FromCbor<'b> for Label<'b> {
    type Error = ManifestError;

    fn from_cbor(d: &mut Decoder<'b>) -> Result<Self, ManifestError> {
        match d.text(1..=Self::LEN_MAX) {
            Ok(text) => Self::new(text),
            Err(CborError::OutOfBounds) => Err(ManifestError::Label),
            Err(error) => Err(error.into()),
        }
    }
}

impl ToCbor for Label<'_> {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        e.text(self.0);
    }
}
