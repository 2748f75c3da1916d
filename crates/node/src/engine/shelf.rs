//! Where blocks and certificates are looked up: at the engine while it runs, or in the archive that a follower fills.

use super::{
    Digest, EngineError, Runtime, Scheme,
    archive::{self, Blocks, Certificates},
    block::Block,
    epochs::Epochs,
    held::Held,
    service::Certificate,
};
use commonware_consensus::{
    marshal::{core::Mailbox, standard::Standard},
    types::Height,
};
use commonware_runtime::buffer::paged::CacheRef;
use commonware_storage::archive::{Archive as _, Error, Identifier};
use commonware_utils::sync::AsyncRwLock;
use futures::future::Either;
use std::{future::pending, sync::Arc};

/// Blocks by position, with their certificates.
pub(super) enum Shelf<E: Runtime> {
    /// The engine has them, and certificates that were missed are brought.
    Engine(Mailbox<Scheme, Standard<Block>>, Held),
    /// The archive is this node's own.
    Own(Own<E>),
}

impl<E: Runtime> Clone for Shelf<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Engine(mailbox, held) => Self::Engine(mailbox.clone(), held.clone()),
            Self::Own(own) => Self::Own(own.clone()),
        }
    }
}

impl<E: Runtime> Shelf<E> {
    pub(super) async fn block(&self, position: u64) -> Option<Arc<Block>> {
        match self {
            Self::Engine(mailbox, _) => {
                let block = mailbox.get_block(Height::new(position)).await?;
                Some(block.inner_shared())
            }
            Self::Own(own) => own.block(position).await,
        }
    }

    pub(super) async fn certificate(&self, position: u64) -> Option<Certificate> {
        match self {
            Self::Engine(mailbox, _) => mailbox.get_finalization(Height::new(position)).await,
            Self::Own(own) => own.certificate(position).await,
        }
    }

    /// When the next certificate is brought that was missed, from the moment of this call on. Never, where none is ever missed.
    pub(super) fn brought(&self) -> impl Future<Output = ()> + Send + '_ {
        match self {
            Self::Engine(_, held) => Either::Left(held.brought()),
            Self::Own(_) => Either::Right(pending()),
        }
    }
}

/// Both archives, read by many and written by one.
pub(super) struct Own<E: Runtime>(Arc<AsyncRwLock<Option<Archives<E>>>>);

struct Archives<E: Runtime> {
    certificates: Certificates<E>,
    blocks: Blocks<E>,
}

impl<E: Runtime> Clone for Own<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[expect(
    clippy::expect_used,
    reason = "the engine's rule on a disk that fails: stop at once, the thread turns it into an error"
)]
impl<E: Runtime> Own<E> {
    pub(super) async fn open(
        context: &E,
        pages: &CacheRef,
        epochs: &Epochs,
    ) -> Result<Self, EngineError> {
        let (certificates, blocks) = archive::open(context, pages, epochs).await?;
        let archives = Archives {
            certificates,
            blocks,
        };
        Ok(Self(Arc::new(AsyncRwLock::new(Some(archives)))))
    }

    /// Position of the newest block before which none is missing and which has a certificate of its own; 0 where there is none.
    pub(super) async fn newest(&self) -> u64 {
        let last = {
            let archives = self.0.read().await;
            let Archives {
                certificates,
                blocks,
            } = archives.as_ref().expect(LOST);
            let whole = blocks.next_gap(1).0.unwrap_or(0);
            whole.min(certificates.last_index().unwrap_or(0))
        };
        for position in (1..=last).rev() {
            if self.certificate(position).await.is_some() {
                return position;
            }
        }
        0
    }

    pub(super) async fn block(&self, position: u64) -> Option<Arc<Block>> {
        let archives = self.0.read().await;
        let blocks = &archives.as_ref().expect(LOST).blocks;
        let read = blocks.get(Identifier::Index(position)).await;
        read.expect("reading the archive")
    }

    pub(super) async fn certificate(&self, position: u64) -> Option<Certificate> {
        let archives = self.0.read().await;
        let certificates = &archives.as_ref().expect(LOST).certificates;
        let read = certificates.get(Identifier::Index(position)).await;
        read.expect("reading the archive")
    }

    /// Adds blocks, with their own certificates where they have any. When this returns, they are on disk.
    pub(super) async fn put(
        &self,
        new: &[(Arc<Block>, Option<Certificate>)],
    ) -> Result<(), EngineError> {
        let failed = |what| EngineError::store::<Error>(what);
        // Whoever is interrupted here has lost them until the next start.
        let mut archives = self.0.write().await;
        let Archives {
            mut certificates,
            mut blocks,
        } = archives.take().expect(LOST);
        for (block, certificate) in new {
            let (position, digest) = (block.position(), Digest::from(block.hash().to_bytes()));
            // What is there stays there: kept before a crash that took the certificates of those above it, or another one.
            let there = blocks.get(Identifier::Index(position)).await;
            let there = there.map_err(failed("blocks"))?;
            if there.is_some_and(|there| there.hash() != block.hash()) {
                return Err(EngineError::Forsaken(block.header.height.get()));
            }
            let put = blocks.put(position, digest, block).await;
            blocks = put.map_err(failed("blocks"))?;
            if let Some(certificate) = certificate {
                let put = certificates.put(position, digest, certificate).await;
                certificates = put.map_err(failed("certificates"))?;
            }
        }
        let blocks = blocks.sync().await.map_err(failed("blocks"))?;
        let synced = certificates.sync().await;
        let certificates = synced.map_err(failed("certificates"))?;
        *archives = Some(Archives {
            certificates,
            blocks,
        });
        Ok(())
    }
}

const LOST: &str = "the archive was lost by an earlier failure";
