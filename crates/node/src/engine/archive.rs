//! The engine's archive of blocks and certificates: how it lies on the disk, and how it is read and written while no engine runs.

use super::{
    Digest, EngineError, Runtime, Scheme,
    block::{self, Block},
    disk::{self, Real},
    epochs::Epochs,
    proof,
    service::Certificate,
    state::{Databases, PAGE},
};
use crate::{backup::BackupError, handle::FinalBlock, history::History, outline::Outline};
use bytes::Bytes;
use commonware_codec::DecodeExt as _;
use commonware_consensus::{
    simplex::types::Proposal,
    types::{Epoch, Round, View},
};
use commonware_cryptography::{
    certificate::{Signers, Verifier as _},
    ed25519::{Signature, certificate::Certificate as Signatures},
};
use commonware_glue::stateful::db::DatabaseSet;
use commonware_runtime::buffer::paged::CacheRef;
use commonware_storage::{
    archive::{Archive as _, Identifier, prunable},
    translator::EightCap,
};
use commonware_utils::{NZU64, NZUsize, Participant};
use kusabi_core::{
    checkpoint::{Checkpoint, HEADERS_MAX},
    header::Header,
    id::{ChainId, OpsRoot},
};
use std::{
    num::{NonZeroU64, NonZeroUsize},
    path::Path,
    sync::Arc,
};

/// The archive of blocks.
pub(super) type Blocks<E> = prunable::Archive<EightCap, E, Digest, Arc<Block>>;
/// The archive of certificates.
pub(super) type Certificates<E> = prunable::Archive<EightCap, E, Digest, Certificate>;

/// Blocks from somewhere. A trait object, so that the engine is compiled here once and not at every caller's.
pub(crate) type BlockSource<'a> = dyn Iterator<Item = Result<FinalBlock, BackupError>> + 'a;

/// Threads of the engine while no node runs.
pub(super) const THREADS: NonZeroUsize = NZUsize!(2);

/// Blocks written between two syncs of an import.
const SYNC_EVERY: u64 = 1024;

/// Blocks per file of the archives, and certificates; fixed for the life of the data. Nothing is ever pruned, and the engine
/// keeps each file open: with these two years of heartbeats, or three hours of a hundred blocks a second, take four
/// descriptors.
const ARCHIVE_SECTION: NonZeroU64 = NZU64!(1 << 20);
/// Bytes of its buffers.
const BUFFER: NonZeroUsize = NZUsize!(1 << 16);

/// Opens both archives.
pub(super) async fn open<E: Runtime>(
    context: &E,
    pages: &CacheRef,
    epochs: &Epochs,
) -> Result<(Certificates<E>, Blocks<E>), EngineError> {
    let certificates = prunable::Archive::init(
        context.child("certificates"),
        config(
            "certificates",
            pages,
            Scheme::certificate_codec_config_unbounded(),
        ),
    )
    .await
    .map_err(EngineError::store("certificates"))?;
    let blocks = prunable::Archive::init(
        context.child("blocks"),
        config("blocks", pages, epochs.clone()),
    )
    .await
    .map_err(EngineError::store("blocks"))?;
    Ok((certificates, blocks))
}

/// How an archive of this name lies on the disk.
fn config<C>(name: &str, pages: &CacheRef, codec_config: C) -> prunable::Config<EightCap, C> {
    prunable::Config {
        translator: EightCap,
        metadata_partition: format!("{name}-metadata"),
        key_partition: format!("{name}-key"),
        key_page_cache: pages.clone(),
        value_partition: format!("{name}-value"),
        compression: None,
        codec_config,
        items_per_section: ARCHIVE_SECTION,
        key_write_buffer: BUFFER,
        value_write_buffer: BUFFER,
        replay_buffer: BUFFER,
    }
}

/// The block of height 0, over the empty state.
pub(super) fn genesis<E: Runtime>(
    epochs: &Epochs,
    outline: &Outline,
) -> Result<Block, EngineError> {
    let empty = <Databases<E> as DatabaseSet<E>>::initial_sync_targets();
    block::genesis(
        epochs,
        outline.created_ms(),
        OpsRoot::new(empty.root.0),
        (empty.range.start().into(), empty.range.end().into()),
    )
    .ok_or(EngineError::NotWhole("block of height 0"))
}

/// The header of height 0 of a chain.
///
/// # Errors
/// [`EngineError::Set`], [`EngineError::NotWhole`]
pub fn genesis_header(outline: &Outline) -> Result<Header, EngineError> {
    let epochs = Epochs::of(outline, None)?;
    Ok(genesis::<Real>(&epochs, outline)?.header)
}

/// What an import has written.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The chain's outline with all its epochs.
    pub outline: Outline,
    /// Header of the last block.
    pub last: Header,
}

/// Checks blocks from height 1 on and writes them where a node of this directory will find them at its first start.
///
/// # Errors
/// The first block that is refused, or what the disk says. The directory must then be removed.
pub(crate) fn import(
    storage: &Path,
    outline: Outline,
    blocks: &mut BlockSource<'_>,
) -> Result<Imported, ImportError> {
    disk::start(storage, THREADS, |context| {
        write_all(context, outline, blocks)
    })
}

/// Why an import failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The backup is refused.
    #[error("{0}")]
    Backup(#[from] BackupError),
    /// The engine's files cannot be written.
    #[error("{0}")]
    Engine(#[from] EngineError),
}

pub(super) async fn write_all<E: Runtime>(
    context: E,
    outline: Outline,
    blocks: &mut BlockSource<'_>,
) -> Result<Imported, ImportError> {
    let epochs = Epochs::of(&outline, None)?;
    let genesis = genesis::<E>(&epochs, &outline)?;
    let mut known = outline.epochs().len();
    let mut history = History::new(outline, genesis.header);
    let pages = CacheRef::new(PAGE, NZUsize!(256));
    let (mut certificates, mut archive) = open(&context, &pages, &epochs).await?;
    let failed = |what| EngineError::store::<commonware_storage::archive::Error>(what);
    let mut written = 0;
    for block in blocks {
        let block = block?;
        history.push(&block).map_err(BackupError::from)?;
        for epoch in history.outline().epochs().iter().skip(known) {
            epochs.push(epoch, None).map_err(EngineError::Set)?;
            known += 1;
        }
        let certificate = certificate(epochs.chain(), &block)
            .filter(|(of, _)| *of == block.header)
            .map(|(_, certificate)| certificate);
        let block = Block::new(&epochs, block.header, block.transactions)
            .ok_or(EngineError::NotWhole("validator that has led its block"))?;
        let (position, digest) = (block.position(), Digest::from(block.hash().to_bytes()));
        archive = archive
            .put(position, digest, &Arc::new(block))
            .await
            .map_err(failed("blocks"))?;
        if let Some(certificate) = certificate {
            certificates = certificates
                .put(position, digest, &certificate)
                .await
                .map_err(failed("certificates"))?;
        }
        written += 1;
        if written % SYNC_EVERY == 0 {
            archive = archive.sync().await.map_err(failed("blocks"))?;
            certificates = certificates.sync().await.map_err(failed("certificates"))?;
        }
    }
    history.finish().map_err(BackupError::from)?;
    if written == 0 {
        return Err(BackupError::Empty.into());
    }
    archive.sync().await.map_err(failed("blocks"))?;
    certificates.sync().await.map_err(failed("certificates"))?;
    Ok(Imported {
        outline: history.outline().clone(),
        last: *history.last().0,
    })
}

/// The certificate that came with a block, in the engine's form, and the header of the block that it is of: this one, or one
/// that is not far above it.
pub(super) fn certificate(chain: &ChainId, block: &FinalBlock) -> Option<(Header, Certificate)> {
    let bytes = block.checkpoint.as_deref()?;
    let checkpoint = Checkpoint::decode(bytes).ok()?;
    let signed = checkpoint.signed().ok()?;
    let (view, parent) = checkpoint.views();
    let votes = checkpoint.certificate();
    let mut signers = Vec::new();
    let mut signatures = Vec::new();
    for (index, signature) in votes.signatures() {
        signers.push(Participant::new(u32::try_from(index).ok()?));
        signatures.push(
            Signature::decode(Bytes::copy_from_slice(signature))
                .ok()?
                .into(),
        );
    }
    let header = &block.header;
    let certificate = Certificate {
        proposal: Proposal {
            round: Round::new(Epoch::new(header.epoch.get()), View::new(view.get())),
            parent: View::new(parent.get()),
            payload: Digest::from(signed.hash(chain).to_bytes()),
        },
        certificate: Signatures {
            signers: Signers::new(u32::from(votes.size()), signers).ok()?,
            signatures,
        },
    };
    Some((signed, certificate))
}

/// How an archive ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// With the last block that has a certificate.
    Certified,
    /// With a block whose certificate a crash took: nobody was told of it, and it is handed to nobody.
    Cut,
}

/// Reads all blocks of a stopped node, from height 1 on, and hands each to `each`.
pub(crate) fn read_all(
    storage: &Path,
    outline: Outline,
    each: &mut dyn FnMut(FinalBlock) -> Result<(), BackupError>,
) -> Result<Tail, BackupError> {
    disk::start(storage, THREADS, |context| async move {
        let epochs = Epochs::of(&outline, None)?;
        let pages = CacheRef::new(PAGE, NZUsize!(256));
        let (certificates, archive) = open(&context, &pages, &epochs).await?;
        let mut waiting: Vec<Arc<Block>> = Vec::new();
        for position in 1.. {
            let Some(block) = archive
                .get(Identifier::Index(position))
                .await
                .map_err(EngineError::store("blocks"))?
            else {
                break;
            };
            waiting.push(block);
            let certificate = certificates
                .get(Identifier::Index(position))
                .await
                .map_err(EngineError::store("certificates"))?;
            let Some(certificate) = certificate else {
                continue;
            };
            for (index, block) in waiting.iter().enumerate() {
                let headers: Vec<_> = waiting[index..].iter().map(|b| b.header).collect();
                let linked = headers.len() <= HEADERS_MAX;
                each(FinalBlock {
                    header: block.header,
                    hash: *block.hash(),
                    checkpoint: linked
                        .then(|| proof::checkpoint(headers, &certificate))
                        .flatten()
                        .map(Bytes::from),
                    transactions: block.transactions.clone(),
                })?;
            }
            waiting.clear();
        }
        Ok(if waiting.is_empty() {
            Tail::Certified
        } else {
            Tail::Cut
        })
    })
}
