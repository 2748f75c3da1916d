//! The engine's proofs in the formats of spec/proof.md.

use super::{
    Digest, Runtime,
    service::Certificate,
    state::{CHUNK, Database, Value},
};
use bytes::Bytes;
use commonware_cryptography::ed25519::certificate::Certificate as Signatures;
use commonware_storage::{
    mmr,
    qmdb::{
        any::value::FixedEncoding,
        current::ordered::proof::constant::{ExclusionProof, KeyValueProof},
    },
};
use kusabi_core::{
    checkpoint::CheckpointParts,
    header::Header,
    id::{StateKey, View},
    proof::{self, Claim},
    row::ROW_BYTES,
    suite::Signature,
};

/// What was read of the state for one key; a checkpoint makes it a proof.
pub(super) enum Path {
    /// The key has a row.
    Present(KeyValueProof<mmr::Family, Digest, Digest, CHUNK>, Value),
    /// It has none.
    Absent(ExclusionProof<mmr::Family, Digest, FixedEncoding<Value>, Digest, CHUNK>),
}

/// Reads a key with its path.
pub(super) async fn path<E: Runtime>(state: &Database<E>, key: StateKey) -> Option<Path> {
    let key = Digest::from(key.to_bytes());
    Some(match state.get(&key).await.ok()? {
        Some(row) => Path::Present(state.key_value_proof(key).await.ok()?, row),
        None => Path::Absent(state.exclusion_proof(&key).await.ok()?),
    })
}

/// Digests as core has them.
fn digests(of: &[Digest]) -> Vec<[u8; 32]> {
    of.iter().map(|digest| digest.0).collect()
}

fn row(value: &Value) -> Option<&[u8; ROW_BYTES]> {
    value.as_ref().first_chunk()
}

impl Path {
    /// The proof's bytes.
    pub(super) fn proof(&self, checkpoint: &Bytes) -> Option<Bytes> {
        let (path, claim) = match self {
            Self::Present(proof, value) => (
                &proof.proof,
                Claim::Present {
                    row: row(value)?,
                    next_key: StateKey::new(proof.next_key.0),
                },
            ),
            Self::Absent(ExclusionProof::KeyValue(proof, span)) => (
                proof,
                Claim::Between {
                    key: StateKey::new(span.key.0),
                    row: row(&span.value)?,
                    next_key: StateKey::new(span.next_key.0),
                },
            ),
            Self::Absent(ExclusionProof::Commit(proof, metadata)) => (
                proof,
                Claim::Empty {
                    metadata: match metadata {
                        None => None,
                        Some(value) => Some(row(value)?),
                    },
                },
            ),
        };
        let inner = &path.range_proof;
        let path = proof::path::Path {
            location: *path.loc,
            chunk: path.chunk,
            inactive_peaks: u8::try_from(inner.proof.inactive_peaks).ok()?,
            partial: inner.partial_chunk_digest.map(|digest| digest.0),
            digests: &digests(&inner.proof.digests),
        };
        let mut out = Vec::with_capacity(checkpoint.len() + 1024);
        proof::encode(checkpoint, &path, &claim, &mut out).ok()?;
        Some(Bytes::from(out))
    }
}

/// A checkpoint's bytes.
pub(super) fn checkpoint(headers: Vec<Header>, certificate: &Certificate) -> Option<Vec<u8>> {
    let proposal = &certificate.proposal;
    let Signatures {
        signers,
        signatures,
    } = &certificate.certificate;
    let signatures = signers.iter().zip(signatures).map(|(signer, signature)| {
        let index = u8::try_from(signer.get()).ok()?;
        let bytes = commonware_codec::Encode::encode(signature.get()?);
        Some((index, Signature::new(*bytes.first_chunk()?)))
    });
    let parts = CheckpointParts {
        headers,
        view: View::new(proposal.round.view().get()),
        parent_view: View::new(proposal.parent.get()),
        n: u8::try_from(signers.len()).ok()?,
        signatures: signatures.collect::<Option<_>>()?,
    };
    let mut out = Vec::with_capacity(512);
    parts.encode(&mut out).ok()?;
    Some(out)
}
