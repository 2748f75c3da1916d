//! Packs: what chunk indexes name (spec/firmware.md, "Chunk index").
//!
//! A manifest names an index and not its pack, so a pack may be uploaded once its index is here and says which one. The index is read with
//! all its bounds before it gets its name; from then on its first bytes say enough.

use super::{App, Error, blobs::Whole};
use crate::{
    blob::BlobError,
    store::{Tx, contents, releases},
};
use futures_util::StreamExt as _;
use kusabi_api::{Hex, Hex32};
use kusabi_core::release::{CHUNK_INDEX_HEAD_BYTES, ChunkIndexHead, SignedManifest};

/// Sizes of the payloads whose index this is, in a release's manifest.
pub(super) fn payload_sizes(signed: &[u8], index: Hex32) -> Vec<u64> {
    let Ok(signed) = SignedManifest::decode(signed) else {
        return Vec::new();
    };
    let is_it = |digest: [u8; 32]| digest == index.0;
    signed
        .manifest()
        .payloads()
        .filter(|payload| {
            let named = payload.chunk_index;
            named.is_some_and(|named| is_it(named.digest().to_bytes()))
        })
        .map(|payload| payload.content.size())
        .collect()
}

impl App {
    /// The pack that an index names which is here, whole; `None`: it is not, or is no index of such a payload.
    pub(super) async fn pack_of(
        &self,
        index: Hex32,
        index_size: u64,
        payload_size: u64,
    ) -> Result<Option<contents::Row>, Error> {
        match self.whole(index).await? {
            Some(index) if index.size == index_size => self.pack_in(index, payload_size).await,
            _ => Ok(None),
        }
    }

    /// The same of an index whose bytes are in their place.
    pub(super) async fn pack_in(
        &self,
        index: Whole,
        payload_size: u64,
    ) -> Result<Option<contents::Row>, Error> {
        let head_size = CHUNK_INDEX_HEAD_BYTES as u64;
        if index.size < head_size {
            return Ok(None);
        }
        let mut pieces = self.blobs()?.read(index.blob, 0..head_size).await?;
        let mut bytes = Vec::with_capacity(CHUNK_INDEX_HEAD_BYTES);
        while let Some(piece) = pieces.next().await {
            bytes.extend_from_slice(&piece.map_err(BlobError::from)?);
        }
        let head = bytes.first_chunk();
        let head =
            head.and_then(|head| ChunkIndexHead::decode(head, index.size, payload_size).ok());
        Ok(head.map(|head| {
            let digest = Hex(head.pack().digest().to_bytes());
            contents::Row::new(digest, head.pack().size(), false)
        }))
    }
}

/// Names a pack for the releases whose index names it.
pub(super) async fn name(
    tx: &mut Tx<'_>,
    releases: &[u64],
    pack: &contents::Row,
) -> Result<(), Error> {
    match contents::find(tx.on(), pack.digest).await? {
        None => contents::insert(tx.on(), pack, None).await?,
        Some(there) if there.size != pack.size => {
            return Err(Error::Unfit(format!(
                "the chunk index says that {} has {} bytes; a manifest says {}",
                pack.digest, pack.size, there.size
            )));
        }
        Some(_) => {}
    }
    for &id in releases {
        let named = releases::contents(tx.on(), id, id).await?;
        if named.iter().all(|(_, row)| row.digest != pack.digest) {
            let place = named.len() as u64;
            releases::name(tx.on(), id, place, pack.digest).await?;
        }
    }
    Ok(())
}
