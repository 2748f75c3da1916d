//! The engine's proofs in the formats of spec/proof.md.

use super::{
    Digest, Runtime,
    service::Certificate,
    state::{CHUNK, Database, Value},
};
use bytes::Bytes;
use commonware_storage::{
    mmr,
    qmdb::{
        any::value::FixedEncoding,
        current::{
            ordered::proof::constant::{ExclusionProof, KeyValueProof},
            proof::constant::OperationProof,
        },
    },
};
use kusabi_core::{header::Header, id::StateKey};

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

fn write_path(out: &mut Vec<u8>, proof: &OperationProof<mmr::Family, Digest, CHUNK>) -> Option<()> {
    let inner = &proof.range_proof;
    out.extend_from_slice(&proof.loc.to_be_bytes());
    out.extend_from_slice(&proof.chunk);
    out.push(u8::try_from(inner.proof.inactive_peaks).ok()?);
    match &inner.partial_chunk_digest {
        None => out.push(0),
        Some(digest) => {
            out.push(1);
            out.extend_from_slice(&digest.0);
        }
    }
    out.push(u8::try_from(inner.proof.digests.len()).ok()?);
    for digest in &inner.proof.digests {
        out.extend_from_slice(&digest.0);
    }
    Some(())
}

impl Path {
    /// The proof's bytes.
    pub(super) fn proof(&self, checkpoint: &Bytes) -> Option<Bytes> {
        let mut out = Vec::with_capacity(checkpoint.len() + 1024);
        out.push(1);
        out.push(match self {
            Self::Present(..) => 1,
            Self::Absent(ExclusionProof::KeyValue(..)) => 2,
            Self::Absent(ExclusionProof::Commit(..)) => 3,
        });
        out.extend_from_slice(checkpoint);
        match self {
            Self::Present(proof, row) => {
                write_path(&mut out, &proof.proof)?;
                out.extend_from_slice(row.as_ref());
                out.extend_from_slice(&proof.next_key.0);
            }
            Self::Absent(ExclusionProof::KeyValue(proof, span)) => {
                write_path(&mut out, proof)?;
                out.extend_from_slice(&span.key.0);
                out.extend_from_slice(span.value.as_ref());
                out.extend_from_slice(&span.next_key.0);
            }
            Self::Absent(ExclusionProof::Commit(proof, metadata)) => {
                write_path(&mut out, proof)?;
                match metadata {
                    None => out.push(0),
                    Some(row) => {
                        out.push(1);
                        out.extend_from_slice(row.as_ref());
                    }
                }
            }
        }
        Some(Bytes::from(out))
    }
}

/// A checkpoint's bytes.
pub(super) fn checkpoint(headers: &[Header], certificate: &Certificate) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(512);
    out.push(u8::try_from(headers.len()).ok()?);
    for header in headers {
        header.encode(&mut out);
    }
    let proposal = &certificate.proposal;
    out.extend_from_slice(&proposal.round.view().get().to_be_bytes());
    out.extend_from_slice(&proposal.parent.get().to_be_bytes());
    let signers = &certificate.certificate.signers;
    out.push(u8::try_from(signers.len()).ok()?);
    let mut bits = 0u16;
    for signer in signers.iter() {
        bits |= 1 << signer.get();
    }
    out.extend_from_slice(&bits.to_be_bytes());
    for signature in &certificate.certificate.signatures {
        out.extend_from_slice(commonware_codec::Encode::encode(signature.get()?).as_ref());
    }
    Some(out)
}
