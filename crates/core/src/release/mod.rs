//! Releases: what a device may install (spec/firmware.md).
//!
//! bytes → [`SignedManifest`] (form) → [`VerifiedRelease`] (who signed it, what the ledger says of it, whether it is for this
//! device) → [`PayloadCheck`] → [`VerifiedPayload`]. Whatever installs takes the last two kinds of proof and nothing else.
//!
//! It does not say how new the ledger's word is: [`VerifiedRelease::known_at`] is a height, and how old that may be is a rule
//! of the device protocol. Nor does it fetch or write anything.

mod check;
mod chunks;
#[cfg(feature = "alloc")]
mod draft;
mod label;
mod manifest;
mod payload;
mod proofs;
mod signed;

pub use check::{DeviceFacts, ReleaseError, ReleaseProofs, Subject, VerifiedRelease};
#[cfg(feature = "alloc")]
pub use chunks::ChunkIndexDraft;
pub use chunks::{
    CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, CHUNK_INDEX_HEAD_BYTES, CHUNK_RECORD_BYTES, CHUNKS_MAX,
    Chunk, ChunkIndexError, ChunkIndexHead, ChunkWalk, CutSizes, check_chunk_index,
};
#[cfg(feature = "alloc")]
pub use draft::{DraftError, ManifestParts, PayloadParts, ReleaseDraft, TargetParts};
pub use label::Label;
pub use manifest::{
    CHUNK_INDEX_BYTES_MAX, CONTENT_BYTES_MAX, Content, DOCUMENTS_MAX, Document, MANIFEST_BYTES_MAX,
    Manifest, ManifestError, PAYLOADS_MAX, Payload, TARGETS_MAX, Target,
};
pub use payload::{ContentCheck, ContentError, PayloadCheck, VerifiedPayload};
#[cfg(feature = "alloc")]
pub use proofs::encode_proofs;
pub use proofs::{PROOF_BUNDLE_BYTES_MAX, ProofBundle, ProofBundleError};
pub use signed::{ArtSignature, SIGNED_MANIFEST_BYTES_MAX, SIGNERS_MAX, SignedManifest};
