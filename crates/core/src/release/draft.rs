//! Releases that are being made: manifests written, signed on several machines, and merged.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::{Content, Label, Manifest, ManifestError, SIGNERS_MAX, SignedManifest};
use crate::cbor::{Encoder, ToCbor};
use crate::id::{ChainId, Handle, OrgId};
use crate::keystore::{KeyStore, KeyStoreError};
use crate::suite::Signature;
use crate::tx::Signed;

/// What a manifest is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestParts {
    /// Whose release it is.
    pub org: OrgId,
    /// Its name.
    pub name: String,
    /// Its version, for people.
    pub version: String,
    /// Its channel.
    pub channel: String,
    /// How many holes are closed up to it.
    pub counter: u64,
    /// What a device's counter rises to at commit; at most `counter`.
    pub minimum_counter: u64,
    /// Device types that it is for.
    pub targets: Vec<TargetParts>,
    /// Files, in the order in which they are installed.
    pub payloads: Vec<PayloadParts>,
    /// What goes with it: (kind, content), for instance "sbom".
    pub documents: Vec<(String, Content)>,
}

/// What a release is for one device type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetParts {
    /// The device type.
    pub device_type: String,
    /// The inventory after installation.
    pub inventory: Option<Content>,
    /// Indices of the payloads that devices of this type take.
    pub payloads: Vec<usize>,
}

/// A file of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadParts {
    /// Its name.
    pub name: String,
    /// What it is to the updater.
    pub format: String,
    /// Its size and digest.
    pub content: Content,
    /// The index of its chunks.
    pub chunk_index: Option<Content>,
}

impl ManifestParts {
    /// The manifest's bytes. Targets and documents are put into the format's order.
    ///
    /// # Errors
    /// [`ManifestError`] for the first rule that the parts break.
    pub fn encode(&self) -> Result<Vec<u8>, ManifestError> {
        let mut targets: Vec<&TargetParts> = self.targets.iter().collect();
        targets.sort_by(|a, b| a.device_type.cmp(&b.device_type));
        let mut documents: Vec<_> = self.documents.iter().collect();
        documents.sort_by(|(a, _), (b, _)| a.cmp(b));

        let mut bytes = Vec::new();
        let mut e = Encoder::new(&mut bytes);
        e.array(10).u64(1).bytes(self.org);
        for label in [&self.name, &self.version, &self.channel] {
            e.text(Label::new(label)?.as_str());
        }
        e.u64(self.counter).u64(self.minimum_counter);
        e.array(targets.len());
        for target in targets {
            let payloads = target.payloads.iter().try_fold(0u16, |taken, index| {
                let bit = u32::try_from(*index)
                    .ok()
                    .and_then(|index| 1u16.checked_shl(index))?;
                Some(taken | bit)
            });
            e.array(3).text(Label::new(&target.device_type)?.as_str());
            e.optional(target.inventory, |e, content| content.to_cbor(e));
            e.u64(payloads.ok_or(ManifestError::Taken)?.into());
        }
        e.array(self.payloads.len());
        for payload in &self.payloads {
            e.array(4).text(Label::new(&payload.name)?.as_str());
            e.text(Label::new(&payload.format)?.as_str());
            payload.content.to_cbor(&mut e);
            e.optional(payload.chunk_index, |e, content| content.to_cbor(e));
        }
        e.array(documents.len());
        for (kind, content) in documents {
            e.array(2).text(Label::new(kind)?.as_str());
            content.to_cbor(&mut e);
        }
        // The rules stand in the decoder, once.
        Manifest::decode(&bytes)?;
        Ok(bytes)
    }
}

/// Why signatures were not merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DraftError {
    /// The other is of another manifest.
    OtherManifest,
    /// Both have a signature by this signer, and they differ: one may be damaged.
    TwoSignatures(Handle),
    /// There would be more than sixteen signatures.
    TooMany,
    /// There is no signature yet.
    Unsigned,
}

impl fmt::Display for DraftError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherManifest => {
                f.write_str("the signatures are for another manifest; sign the same file")
            }
            Self::TwoSignatures(signer) => write!(
                f,
                "there are two different signatures by {signer}; find out which is good, and leave the other out"
            ),
            Self::TooMany => f.write_str("a release takes at most 16 signatures"),
            Self::Unsigned => f.write_str("the release has no signature yet"),
        }
    }
}

impl core::error::Error for DraftError {}

/// A manifest that is being signed: by any number of keys, on one machine or on several whose results are merged.
///
/// It does not say whose signatures count: that needs the ledger ([`VerifiedRelease`](super::VerifiedRelease)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseDraft {
    manifest: Vec<u8>,
    /// Ascending by handle.
    signatures: Vec<Signed>,
}

impl ReleaseDraft {
    /// A draft of a manifest, with no signature.
    ///
    /// # Errors
    /// [`ManifestError`]
    pub fn new(manifest: Vec<u8>) -> Result<Self, ManifestError> {
        Manifest::decode(&manifest)?;
        Ok(Self {
            manifest,
            signatures: Vec::new(),
        })
    }

    /// Takes a signed manifest up again.
    ///
    /// # Errors
    /// [`ManifestError`]
    pub fn resume(signed: &[u8]) -> Result<Self, ManifestError> {
        let signed = SignedManifest::decode(signed)?;
        Ok(Self {
            manifest: signed.manifest().as_bytes().into(),
            signatures: signed
                .signatures()
                .map(|art| Signed {
                    signer: art.signer,
                    signature: Signature::new(*art.signature),
                })
                .collect(),
        })
    }

    /// The manifest's bytes.
    #[must_use]
    pub fn manifest(&self) -> &[u8] {
        &self.manifest
    }

    /// The signatures, ascending by handle.
    #[must_use]
    pub fn signatures(&self) -> &[Signed] {
        &self.signatures
    }

    /// Signs with a release key; an earlier signature by the same signer is replaced.
    ///
    /// # Errors
    /// Those of the key store; the draft is then as it was.
    pub fn sign(
        &mut self,
        chain: &ChainId,
        signer: Handle,
        key: &(impl KeyStore + ?Sized),
    ) -> Result<&mut Self, KeyStoreError> {
        // Decoded when the draft was made.
        let manifest = Manifest::decode(&self.manifest).map_err(|_| KeyStoreError::Refused)?;
        let signature = key.sign(&manifest.statement(chain, &signer))?;
        let signed = Signed { signer, signature };
        match self.place(&signer) {
            Ok(at) => {
                if let Some(earlier) = self.signatures.get_mut(at) {
                    *earlier = signed;
                }
            }
            Err(at) => self.signatures.insert(at, signed),
        }
        Ok(self)
    }

    /// Takes over the other's signatures. Says how many were new.
    ///
    /// # Errors
    /// [`DraftError`]; the draft is then as it was.
    pub fn merge(&mut self, other: &Self) -> Result<usize, DraftError> {
        if self.manifest != other.manifest {
            return Err(DraftError::OtherManifest);
        }
        let mut merged = self.clone();
        for signed in &other.signatures {
            match merged.place(&signed.signer) {
                Ok(at) if merged.signatures.get(at) == Some(signed) => {}
                Ok(_) => return Err(DraftError::TwoSignatures(signed.signer)),
                Err(at) => merged.signatures.insert(at, *signed),
            }
        }
        if merged.signatures.len() > SIGNERS_MAX {
            return Err(DraftError::TooMany);
        }
        let new = merged
            .signatures
            .len()
            .saturating_sub(self.signatures.len());
        *self = merged;
        Ok(new)
    }

    /// The signed manifest's bytes.
    ///
    /// # Errors
    /// [`DraftError::Unsigned`], [`DraftError::TooMany`]
    pub fn encode(&self) -> Result<Vec<u8>, DraftError> {
        if self.signatures.is_empty() {
            return Err(DraftError::Unsigned);
        }
        if self.signatures.len() > SIGNERS_MAX {
            return Err(DraftError::TooMany);
        }
        let mut bytes = Vec::new();
        let mut e = Encoder::new(&mut bytes);
        e.array(3).u64(1).bytes(&self.manifest);
        e.array(self.signatures.len());
        for signed in &self.signatures {
            e.array(2).bytes(signed.signer).bytes(signed.signature);
        }
        Ok(bytes)
    }

    fn place(&self, signer: &Handle) -> Result<usize, usize> {
        self.signatures
            .binary_search_by(|signed| signed.signer.cmp(signer))
    }
}
