//! The archive of blocks and certificates, which is never pruned.
//!
//! The engine prunes its state and its archive together. The state's log may be pruned, for everything in it follows from
//! the blocks; the blocks are the ledger, and the way across a change of the engine's formats. So the archive ignores it.

use super::held::Held;
use commonware_consensus::{
    marshal::store::{Blocks, Certificates},
    simplex::types::Finalization,
    types::Height,
};
use commonware_cryptography::Digestible;
use commonware_runtime::Handle;
use commonware_storage::archive::Identifier;

/// Blocks, all of them.
pub(super) struct Kept<S>(pub(super) S);

/// Certificates, all of them; what there is is noted.
pub(super) struct Noted<S> {
    store: S,
    held: Held,
}

impl<S: Certificates> Noted<S> {
    /// A store whose certificates are noted from now on, and those that it has.
    pub(super) fn new(store: S) -> (Self, Held) {
        let held = Held::new(store.ranges_from(Height::zero()));
        let noted = held.clone();
        (Self { store, held }, noted)
    }
}

impl<S: Certificates> Certificates for Noted<S> {
    type BlockDigest = S::BlockDigest;
    type Commitment = S::Commitment;
    type Scheme = S::Scheme;
    type Error = S::Error;

    async fn put(
        self,
        height: Height,
        digest: S::BlockDigest,
        finalization: &Finalization<S::Scheme, S::Commitment>,
    ) -> Result<Self, S::Error> {
        let Self { store, held } = self;
        let store = store.put(height, digest, finalization).await?;
        held.note(height.get());
        Ok(Self { store, held })
    }

    async fn sync(self) -> Result<Self, S::Error> {
        let Self { store, held } = self;
        let store = store.sync().await?;
        Ok(Self { store, held })
    }

    async fn start_sync(self) -> Result<(Self, Handle<()>), S::Error> {
        let Self { store, held } = self;
        let (store, handle) = store.start_sync().await?;
        Ok((Self { store, held }, handle))
    }

    async fn get(
        &self,
        id: Identifier<'_, S::BlockDigest>,
    ) -> Result<Option<Finalization<S::Scheme, S::Commitment>>, S::Error> {
        self.store.get(id).await
    }

    async fn has(&self, height: Height) -> Result<bool, S::Error> {
        self.store.has(height).await
    }

    async fn prune(self, _: Height) -> Result<Self, S::Error> {
        Ok(self)
    }

    fn last_index(&self) -> Option<Height> {
        self.store.last_index()
    }

    fn ranges_from(&self, from: Height) -> impl Iterator<Item = (Height, Height)> {
        self.store.ranges_from(from)
    }
}

impl<S: Blocks> Blocks for Kept<S> {
    type Block = S::Block;
    type Error = S::Error;

    async fn put(
        self,
        digest: <S::Block as Digestible>::Digest,
        block: &S::Block,
    ) -> Result<Self, S::Error> {
        self.0.put(digest, block).await.map(Self)
    }

    async fn sync(self) -> Result<Self, S::Error> {
        self.0.sync().await.map(Self)
    }

    async fn start_sync(self) -> Result<(Self, Handle<()>), S::Error> {
        let (store, handle) = self.0.start_sync().await?;
        Ok((Self(store), handle))
    }

    async fn get(
        &self,
        id: Identifier<'_, <S::Block as Digestible>::Digest>,
    ) -> Result<Option<S::Block>, S::Error> {
        self.0.get(id).await
    }

    async fn prune(self, _: Height) -> Result<Self, S::Error> {
        Ok(self)
    }

    fn missing_items(&self, start: Height, max: usize) -> Vec<Height> {
        self.0.missing_items(start, max)
    }

    fn next_gap(&self, value: Height) -> (Option<Height>, Option<Height>) {
        self.0.next_gap(value)
    }

    fn last_index(&self) -> Option<Height> {
        self.0.last_index()
    }
}
