//! A manifest with the signatures of release keys (spec/firmware.md, "Signed manifest").

use super::manifest::List;
use super::{MANIFEST_BYTES_MAX, Manifest, ManifestError};
use crate::cbor::{CborError, Decoder, Encoder, FromCbor, ToCbor, decode_canonical};
use crate::id::Handle;
use crate::suite::Signature;
use crate::wire::Sink;

/// Most signatures of a release: an organisation has at most sixteen release keys.
pub const SIGNERS_MAX: usize = 16;
/// Longest signed manifest in bytes.
pub const SIGNED_MANIFEST_BYTES_MAX: usize = 10 << 10;

const VERSION: u64 = 1;

/// A release key's signature; not verified yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArtSignature<'a> {
    /// Whose signature it is said to be.
    pub signer: Handle,
    /// The signature.
    pub signature: &'a [u8; Signature::LEN],
}

impl<'b> FromCbor<'b> for ArtSignature<'b> {
    type Error = ManifestError;

    fn from_cbor(d: &mut Decoder<'b>) -> Result<Self, ManifestError> {
        d.array(2)?;
        Ok(Self {
            signer: Handle::new(d.array_of()?),
            signature: d
                .bytes(Signature::LEN..=Signature::LEN)?
                .try_into()
                .map_err(|_| CborError::OutOfBounds)?,
        })
    }
}

impl ToCbor for ArtSignature<'_> {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        e.array(2).bytes(self.signer).bytes(self.signature);
    }
}

struct Body<'a> {
    manifest: &'a [u8],
    signatures: List<'a, ArtSignature<'a>>,
}

impl<'b> FromCbor<'b> for Body<'b> {
    type Error = ManifestError;

    fn from_cbor(d: &mut Decoder<'b>) -> Result<Self, ManifestError> {
        d.array(3)?;
        if d.u64()? != VERSION {
            return Err(ManifestError::Version);
        }
        Ok(Self {
            manifest: d.bytes(1..=MANIFEST_BYTES_MAX)?,
            signatures: List::read(d, 1..=SIGNERS_MAX)?,
        })
    }
}

impl ToCbor for Body<'_> {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        e.array(3).u64(VERSION).bytes(self.manifest);
        self.signatures.to_cbor(e);
    }
}

/// A decoded manifest with its signatures: their form is checked, nothing is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedManifest<'a> {
    manifest: Manifest<'a>,
    signatures: List<'a, ArtSignature<'a>>,
}

impl<'a> SignedManifest<'a> {
    /// Decodes a signed manifest.
    ///
    /// # Errors
    /// The first rule of form broken.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, ManifestError> {
        if bytes.len() > SIGNED_MANIFEST_BYTES_MAX {
            return Err(ManifestError::TooLong);
        }
        let body: Body<'a> = decode_canonical(bytes)?;
        let signers = body.signatures.iter().map(|signature| signature.signer);
        if !signers.is_sorted_by(|a, b| a < b) {
            return Err(ManifestError::Order);
        }
        Ok(Self {
            manifest: Manifest::decode(body.manifest)?,
            signatures: body.signatures,
        })
    }

    /// The manifest.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest<'a> {
        &self.manifest
    }

    /// How many signatures there are: 1 to 16.
    #[must_use]
    pub const fn signature_count(&self) -> usize {
        self.signatures.count()
    }

    /// The signatures, ascending by handle.
    pub fn signatures(&self) -> impl Iterator<Item = ArtSignature<'a>> + Clone + use<'a> {
        self.signatures.iter()
    }
}
