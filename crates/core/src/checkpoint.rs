//! Checkpoints: a header and the quorum's signature (spec/proof.md, "Checkpoint").
//!
//! Not every height has a certificate of its own: a certificate for a later header counts for its ancestors. So a checkpoint
//! carries the proven header and up to eight that link to the certified one.

use core::fmt;

use crate::anchor::{Anchor, AnchorError};
use crate::crypto::verify_ed25519;
use crate::header::{Header, HeaderError};
use crate::id::{ChainId, Epoch, HeaderHash, View};
use crate::quorum::{Certificate, Quorum, QuorumError};
use crate::set::EpochSet;
use crate::wire::{Reader, Sink, WireError, Writer, fixed};

/// The most headers in a checkpoint: the proven one and eight that link to the certified one.
pub const HEADERS_MAX: usize = 9;

const NAMESPACE: &[u8; 19] = b"kusabi.consensus.v1";
const FINALIZE: &[u8] = b"_FINALIZE";
/// Length of the namespace in a finalize message; below 128, so its varint is one byte.
const NAMESPACE_LEN: u8 = 19 + 32 + 9;

/// The label under which the engine signs all its votes, before it adds the kind of vote: it holds the chain, so that no vote
/// is good on another.
#[must_use]
pub fn namespace(chain: &ChainId) -> [u8; 51] {
    fixed(|out| {
        out.put(NAMESPACE);
        out.put(chain.as_bytes());
    })
}
/// The longest finalize message: length, namespace, three varints of up to ten bytes, hash.
const MESSAGE_LEN_MAX: usize = 1 + NAMESPACE_LEN as usize + 30 + 32;

/// Why a checkpoint is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The bytes end early or late.
    Wire(WireError),
    /// No headers, or more than nine.
    Count,
    /// A header is malformed.
    Header(HeaderError),
    /// A header does not name its predecessor's hash, or not the next height.
    Link,
    /// The headers are not all of one epoch and set.
    Epoch,
    /// The checkpoint does not stand under the anchor.
    Anchor(AnchorError),
    /// The signatures are not a quorum's.
    Quorum(QuorumError),
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wire(error) => write!(f, "the bytes are no checkpoint: {error}"),
            Self::Count => f.write_str("a checkpoint has 1 to 9 headers"),
            Self::Header(error) => write!(f, "in the checkpoint, {error}"),
            Self::Link => f.write_str("the checkpoint's headers do not link to each other"),
            Self::Epoch => f.write_str("the checkpoint's headers are of different epochs or sets"),
            Self::Anchor(error) => write!(f, "{error}"),
            Self::Quorum(error) => write!(f, "no quorum certifies the checkpoint: {error}"),
        }
    }
}

impl core::error::Error for CheckpointError {}

crate::code::codes!(CheckpointError {
    Count = 0x0d01,
    Link = 0x0d02,
    Epoch = 0x0d03,
} in { Wire, Header, Anchor, Quorum });

impl From<WireError> for CheckpointError {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl From<HeaderError> for CheckpointError {
    fn from(error: HeaderError) -> Self {
        match error {
            HeaderError::Wire(error) => Self::Wire(error),
            error => Self::Header(error),
        }
    }
}

impl From<AnchorError> for CheckpointError {
    fn from(error: AnchorError) -> Self {
        Self::Anchor(error)
    }
}

impl From<QuorumError> for CheckpointError {
    fn from(error: QuorumError) -> Self {
        match error {
            QuorumError::Wire(error) => Self::Wire(error),
            error => Self::Quorum(error),
        }
    }
}

/// A decoded checkpoint: its form is checked, nothing is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint<'a> {
    count: u8,
    headers: &'a [u8],
    first: Header,
    view: View,
    parent_view: View,
    certificate: Certificate<'a>,
}

impl<'a> Checkpoint<'a> {
    /// Decodes exactly one checkpoint.
    ///
    /// # Errors
    /// The first rule of form broken.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, CheckpointError> {
        let mut reader = Reader::new(bytes);
        let checkpoint = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(checkpoint)
    }

    /// Reads a checkpoint from where `reader` stands.
    ///
    /// # Errors
    /// The first rule of form broken.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, CheckpointError> {
        let count = reader.u8()?;
        if count == 0 || usize::from(count) > HEADERS_MAX {
            return Err(CheckpointError::Count);
        }
        let headers = reader.rest();
        let first = Header::read(reader)?;
        for _ in 1..count {
            Header::read(reader)?;
        }
        Ok(Self {
            count,
            headers,
            first,
            view: View::new(reader.u64()?),
            parent_view: View::new(reader.u64()?),
            certificate: Certificate::read(reader)?,
        })
    }

    /// The header that is proven, unchecked: to find out which set is needed, for instance.
    #[must_use]
    pub const fn claimed(&self) -> &Header {
        &self.first
    }

    /// The header that its signatures are of, unchecked: the claimed one or a descendant.
    ///
    /// # Errors
    /// None that [`read`](Self::read) has not had.
    pub fn signed(&self) -> Result<Header, CheckpointError> {
        let mut reader = Reader::new(self.headers);
        let mut last = Header::read(&mut reader)?;
        for _ in 1..self.count {
            last = Header::read(&mut reader)?;
        }
        Ok(last)
    }

    /// How many headers it carries: one when the proven header is the certified one.
    #[must_use]
    pub const fn header_count(&self) -> usize {
        self.count as usize
    }

    /// View and parent view of the vote, unchecked.
    #[must_use]
    pub const fn views(&self) -> (View, View) {
        (self.view, self.parent_view)
    }

    /// The signatures, unchecked.
    #[must_use]
    pub const fn certificate(&self) -> &Certificate<'a> {
        &self.certificate
    }

    /// Checks links, anchor and certificate.
    ///
    /// # Errors
    /// The first rule broken. The signatures come last, because they cost most.
    pub fn check(
        &self,
        anchor: &Anchor,
        set: &EpochSet<'_>,
    ) -> Result<VerifiedCheckpoint, CheckpointError> {
        let chain = anchor.chain();
        let mut reader = Reader::new(self.headers);
        let mut last = Header::read(&mut reader)?;
        let hash = last.hash(&chain);
        let mut last_hash = hash;
        for _ in 1..self.count {
            let header = Header::read(&mut reader)?;
            if header.parent != last_hash || Some(header.height) != last.height.next() {
                return Err(CheckpointError::Link);
            }
            if header.epoch != last.epoch || header.set_hash != last.set_hash {
                return Err(CheckpointError::Epoch);
            }
            last_hash = header.hash(&chain);
            last = header;
        }
        anchor.admits(&self.first, &hash, set)?;
        // The views are the certificate's own: a header may be proposed again in a later view, at the end of an epoch.
        let vote = FinalizeVote {
            epoch: last.epoch,
            view: self.view,
            parent_view: self.parent_view,
            header: last_hash,
        };
        let quorum = check_certificate(&chain, set, &vote, &self.certificate)?;
        Ok(VerifiedCheckpoint {
            chain,
            header: self.first,
            hash,
            certified: last,
            quorum,
        })
    }
}

/// What a validator signs to make a header final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinalizeVote {
    /// Epoch of the vote.
    pub epoch: Epoch,
    /// View of the vote.
    pub view: View,
    /// View of the parent.
    pub parent_view: View,
    /// Hash of the header.
    pub header: HeaderHash,
}

impl FinalizeVote {
    /// Writes the message that is signed.
    pub fn encode(&self, chain: &ChainId, out: &mut impl Sink) {
        out.u8(NAMESPACE_LEN);
        out.put(&namespace(chain));
        out.put(FINALIZE);
        varint(self.epoch.get(), out);
        varint(self.view.get(), out);
        varint(self.parent_view.get(), out);
        out.put(self.header.as_bytes());
    }
}

/// LEB128: seven bits at a time, lowest first, the top bit set on all but the last byte.
fn varint(mut value: u64, out: &mut impl Sink) {
    loop {
        let [.., low] = value.to_be_bytes();
        value >>= 7;
        if value == 0 {
            out.u8(low);
            return;
        }
        out.u8(low | 0x80);
    }
}

/// Checks that a quorum of `set` cast `vote`.
///
/// # Errors
/// The first rule broken.
pub fn check_certificate(
    chain: &ChainId,
    set: &EpochSet<'_>,
    vote: &FinalizeVote,
    certificate: &Certificate<'_>,
) -> Result<Quorum, QuorumError> {
    let mut buffer = [0; MESSAGE_LEN_MAX];
    let mut writer = Writer::new(&mut buffer);
    vote.encode(chain, &mut writer);
    let len = writer.finish()?;
    let message = buffer.get(..len).unwrap_or_default();
    certificate.check(set.validator_count(), |index, signature| {
        let validator = set.validator(index)?;
        Some(verify_ed25519(validator.vote_key, message, signature).is_ok())
    })
}

/// A checkpoint that a quorum certified and an anchor admitted; only [`Checkpoint::check`] makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedCheckpoint {
    chain: ChainId,
    header: Header,
    hash: HeaderHash,
    certified: Header,
    quorum: Quorum,
}

impl VerifiedCheckpoint {
    /// The chain that it stands on.
    #[must_use]
    pub const fn chain(&self) -> &ChainId {
        &self.chain
    }

    /// The proven header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The proven header's hash.
    #[must_use]
    pub const fn hash(&self) -> &HeaderHash {
        &self.hash
    }

    /// The header whose certificate counts for the proven one: itself, or a descendant.
    #[must_use]
    pub const fn certified(&self) -> &Header {
        &self.certified
    }

    /// The signers.
    #[must_use]
    pub const fn quorum(&self) -> &Quorum {
        &self.quorum
    }
}

#[cfg(feature = "alloc")]
pub use owned::{CheckpointParts, encode_certificate};

#[cfg(feature = "alloc")]
mod owned {
    use alloc::vec::Vec;

    use super::{CheckpointError, HEADERS_MAX, View};
    use crate::header::Header;
    use crate::quorum::QuorumError;
    use crate::set::VALIDATORS_MAX;
    use crate::suite::Signature;
    use crate::wire::Sink;

    /// What a checkpoint is made of.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct CheckpointParts {
        /// The proven header first, the certified one last.
        pub headers: Vec<Header>,
        /// View of the certificate.
        pub view: View,
        /// Parent view of the certificate.
        pub parent_view: View,
        /// Size of the set.
        pub n: u8,
        /// (validator index, finalize signature), ascending.
        pub signatures: Vec<(u8, Signature)>,
    }

    impl CheckpointParts {
        /// Writes the checkpoint.
        ///
        /// # Errors
        /// [`CheckpointError::Count`], or the rule that the signatures break.
        pub fn encode(&self, out: &mut impl Sink) -> Result<(), CheckpointError> {
            if self.headers.is_empty() || self.headers.len() > HEADERS_MAX {
                return Err(CheckpointError::Count);
            }
            out.u8(u8::try_from(self.headers.len()).map_err(|_| CheckpointError::Count)?);
            for header in &self.headers {
                header.encode(out);
            }
            out.u64(self.view.get());
            out.u64(self.parent_view.get());
            Ok(encode_certificate(self.n, &self.signatures, out)?)
        }
    }

    /// Writes a certificate: `n u8 ‖ signers u16 ‖ signatures`.
    ///
    /// # Errors
    /// [`QuorumError::SetSize`], [`QuorumError::UnknownSigner`], [`QuorumError::Order`]
    pub fn encode_certificate(
        n: u8,
        signatures: &[(u8, Signature)],
        out: &mut impl Sink,
    ) -> Result<(), QuorumError> {
        if usize::from(n) > VALIDATORS_MAX {
            return Err(QuorumError::SetSize);
        }
        if !signatures.is_sorted_by(|(a, _), (b, _)| a < b) {
            return Err(QuorumError::Order);
        }
        let mut signers = 0u16;
        for (index, _) in signatures {
            if *index >= n {
                return Err(QuorumError::UnknownSigner);
            }
            signers |= 1 << index;
        }
        out.u8(n);
        out.u16(signers);
        for (_, signature) in signatures {
            out.put(signature.as_bytes());
        }
        Ok(())
    }
}
