//! Bytes that are checked as they come.

use core::fmt;

use super::{Content, Payload, VerifiedRelease};
use crate::crypto::Hasher;
use crate::id::Digest;
use crate::wire::Sink;

/// Why bytes are not the content that was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u16)]
pub enum ContentError {
    /// More bytes than the content has.
    TooLong = 0x0e01,
    /// Fewer bytes than the content has.
    TooShort = 0x0e02,
    /// Bytes with another digest.
    Digest = 0x0e03,
}

impl fmt::Display for ContentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "more bytes came than the signed size",
            Self::TooShort => "the bytes ended before the signed size; fetch the rest",
            Self::Digest => {
                "the bytes have the signed size but another digest; drop them and fetch them again"
            }
        })
    }
}

impl core::error::Error for ContentError {}

/// Checks bytes against a size and a digest while they arrive, in any pieces.
#[derive(Clone, Debug)]
pub struct ContentCheck {
    expected: Content,
    received: u64,
    hasher: Hasher,
}

impl ContentCheck {
    /// Begins at the content's first byte.
    #[must_use]
    pub fn new(expected: Content) -> Self {
        Self {
            expected,
            received: 0,
            hasher: Hasher::default(),
        }
    }

    /// How many bytes have been taken.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// How many bytes are to come.
    #[must_use]
    pub const fn remaining(&self) -> u64 {
        self.expected.size().saturating_sub(self.received)
    }

    /// Takes the next bytes. Called before they are written, so that never more is written than the content has.
    ///
    /// # Errors
    /// [`ContentError::TooLong`]; nothing of `bytes` is taken then.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), ContentError> {
        let more = u64::try_from(bytes.len()).map_err(|_| ContentError::TooLong)?;
        if more > self.remaining() {
            return Err(ContentError::TooLong);
        }
        self.received = self.received.saturating_add(more);
        self.hasher.put(bytes);
        Ok(())
    }

    /// Says whether the bytes taken are the content.
    ///
    /// # Errors
    /// [`ContentError::TooShort`], [`ContentError::Digest`]
    pub fn finish(self) -> Result<Content, ContentError> {
        if self.remaining() > 0 {
            return Err(ContentError::TooShort);
        }
        if Digest::new(self.hasher.finish()) != self.expected.digest() {
            return Err(ContentError::Digest);
        }
        Ok(self.expected)
    }
}

/// Checks a payload of a verified release while it arrives.
#[derive(Clone, Debug)]
pub struct PayloadCheck<'a> {
    release: Digest,
    payload: Payload<'a>,
    check: ContentCheck,
}

impl<'a> PayloadCheck<'a> {
    /// The payload.
    #[must_use]
    pub const fn payload(&self) -> &Payload<'a> {
        &self.payload
    }

    /// How many bytes are to come.
    #[must_use]
    pub const fn remaining(&self) -> u64 {
        self.check.remaining()
    }

    /// Takes the next bytes, before they are written.
    ///
    /// # Errors
    /// [`ContentError::TooLong`]; nothing of `bytes` is taken then.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), ContentError> {
        self.check.feed(bytes)
    }

    /// Says whether the bytes taken are the payload.
    ///
    /// # Errors
    /// [`ContentError::TooShort`], [`ContentError::Digest`]
    pub fn finish(self) -> Result<VerifiedPayload<'a>, ContentError> {
        self.check.finish()?;
        Ok(VerifiedPayload {
            release: self.release,
            payload: self.payload,
        })
    }
}

impl<'a> VerifiedRelease<'a> {
    /// Begins to receive the payload with this name, if devices of this type take it.
    #[must_use]
    pub fn receive(&self, name: &str) -> Option<PayloadCheck<'a>> {
        let payload = self
            .payloads()
            .find(|payload| payload.name.as_str() == name)?;
        Some(PayloadCheck {
            release: self.digest(),
            payload,
            check: ContentCheck::new(payload.content),
        })
    }

    /// Whether these are the payloads that this device takes, all of them, in the order in which they are installed.
    #[must_use]
    pub fn is_complete(&self, received: &[VerifiedPayload<'_>]) -> bool {
        let wanted = self.payloads();
        wanted.clone().count() == received.len()
            && wanted.zip(received).all(|(wanted, received)| {
                received.release == self.digest() && received.payload == wanted
            })
    }
}

/// A payload that arrived whole and as the release names it; only [`PayloadCheck::finish`] makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedPayload<'a> {
    release: Digest,
    payload: Payload<'a>,
}

impl<'a> VerifiedPayload<'a> {
    /// Digest of the release that it belongs to.
    #[must_use]
    pub const fn release(&self) -> Digest {
        self.release
    }

    /// The payload.
    #[must_use]
    pub const fn payload(&self) -> &Payload<'a> {
        &self.payload
    }
}
