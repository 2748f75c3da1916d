//! The proofs that come with a signed manifest, as they are sent (spec/firmware.md, "Proofs").

use core::fmt;

use arrayvec::ArrayVec;

use super::manifest::List;
use super::{
    DeviceFacts, ReleaseError, ReleaseProofs, SIGNERS_MAX, SignedManifest, Subject, VerifiedRelease,
};
use crate::cbor::{CborError, Decoder, Encoder, FromCbor, ToCbor, decode_canonical};
use crate::device::{Trust, TrustError};
use crate::id::StateKey;
use crate::protocol::PROOF_LEN_MAX;
use crate::wire::Sink;

/// Longest bundle in bytes.
pub const PROOF_BUNDLE_BYTES_MAX: usize = 128 << 10;

/// Why a release is refused together with the proofs that came with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProofBundleError {
    /// The bytes are no bundle of proofs.
    Cbor(CborError),
    /// A proof is not believed: it is of another epoch than the device's, below its floor, or wrong.
    Proof(Subject, TrustError),
    /// The release is refused.
    Release(ReleaseError),
}

impl fmt::Display for ProofBundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cbor(error) => write!(f, "the bytes are no proofs of a release: {error}"),
            Self::Proof(subject, error) => {
                write!(f, "the proof of {subject} is not believed: {error}")
            }
            Self::Release(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for ProofBundleError {}

impl From<CborError> for ProofBundleError {
    fn from(error: CborError) -> Self {
        Self::Cbor(error)
    }
}

/// Proofs of the release row, of the art policy's row and of each signer's record, in the order of the signatures; nothing is
/// believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProofBundle<'a> {
    release: &'a [u8],
    policy: &'a [u8],
    signers: List<'a, ProofBytes<'a>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ProofBytes<'a>(&'a [u8]);

impl<'a> ProofBundle<'a> {
    /// Decodes a bundle.
    ///
    /// # Errors
    /// [`ProofBundleError::Cbor`]
    pub fn decode(bytes: &'a [u8]) -> Result<Self, ProofBundleError> {
        if bytes.len() > PROOF_BUNDLE_BYTES_MAX {
            return Err(CborError::OutOfBounds.into());
        }
        Ok(decode_canonical(bytes)?)
    }

    /// Checks a release against these proofs, under what the device believes.
    ///
    /// # Errors
    /// [`ProofBundleError`]
    pub fn check<'m>(
        &self,
        signed: &SignedManifest<'m>,
        trust: &Trust,
        device: &DeviceFacts<'_>,
    ) -> Result<VerifiedRelease<'m>, ProofBundleError> {
        let check = |subject, bytes, key: &StateKey| {
            trust
                .verify(bytes, key)
                .map_err(|error| ProofBundleError::Proof(subject, error))
        };
        let digest = signed.manifest().digest();
        let release = check(
            Subject::Release,
            self.release,
            &StateKey::release(&device.org, &digest),
        )?;
        let policy = check(
            Subject::Policy,
            self.policy,
            &StateKey::art_policy(&device.org),
        )?;
        if self.signers.count() != signed.signature_count() {
            return Err(ProofBundleError::Release(ReleaseError::ProofCount));
        }
        let signers: ArrayVec<_, SIGNERS_MAX> = signed
            .signatures()
            .zip(self.signers.iter())
            .map(|(signature, proof)| {
                let signer = signature.signer;
                check(Subject::Signer(signer), proof.0, &StateKey::record(&signer))
            })
            .collect::<Result<_, _>>()?;
        let proofs = ReleaseProofs {
            release: &release,
            policy: &policy,
            signers: &signers,
        };
        VerifiedRelease::check(signed, &proofs, device).map_err(ProofBundleError::Release)
    }
}

/// Encodes a bundle: proofs of the release row, of the art policy's row, and of each signer's record in the order of the
/// signed manifest's signatures.
///
/// # Errors
/// [`CborError::OutOfBounds`] for no signer, more than sixteen, or a proof that is too long.
#[cfg(feature = "alloc")]
pub fn encode_proofs(
    release: &[u8],
    policy: &[u8],
    signers: &[impl AsRef<[u8]>],
) -> Result<alloc::vec::Vec<u8>, CborError> {
    let mut bytes = alloc::vec::Vec::new();
    let mut e = Encoder::new(&mut bytes);
    e.array(3).bytes(release).bytes(policy).array(signers.len());
    for signer in signers {
        e.bytes(signer);
    }
    // What is written is what can be read.
    decode_canonical::<ProofBundle<'_>>(&bytes)?;
    Ok(bytes)
}

impl<'b> FromCbor<'b> for ProofBundle<'b> {
    type Error = CborError;

    fn from_cbor(d: &mut Decoder<'b>) -> Result<Self, CborError> {
        d.array(3)?;
        Ok(Self {
            release: d.bytes(1..=PROOF_LEN_MAX)?,
            policy: d.bytes(1..=PROOF_LEN_MAX)?,
            signers: List::read(d, 1..=SIGNERS_MAX)?,
        })
    }
}

impl ToCbor for ProofBundle<'_> {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        e.array(3).bytes(self.release).bytes(self.policy);
        self.signers.to_cbor(e);
    }
}

impl<'b> FromCbor<'b> for ProofBytes<'b> {
    type Error = CborError;

    fn from_cbor(d: &mut Decoder<'b>) -> Result<Self, CborError> {
        d.bytes(1..=PROOF_LEN_MAX).map(Self)
    }
}

impl ToCbor for ProofBytes<'_> {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        e.bytes(self.0);
    }
}
