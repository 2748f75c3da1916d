//! The authenticated state: which database, with which settings.

use super::Digest;
use commonware_cryptography::Sha256;
use commonware_glue::stateful::db::Shared;
use commonware_parallel::Rayon;
use commonware_runtime::buffer::paged::{CacheRef, page_size};
use commonware_storage::{
    journal::contiguous::fixed::Config as LogConfig,
    mmr::{self, full::Config as MmrConfig},
    qmdb::current::{FixedConfig, ordered::fixed},
    translator::EightCap,
};
use commonware_utils::{NZU64, NZUsize, sequence::FixedBytes};
use kusabi_core::row::ROW_BYTES;
use std::num::{NonZeroU16, NonZeroUsize};

/// Bytes of a chunk of the bitmap of current rows (spec/proof.md, "Proof").
pub(super) const CHUNK: usize = 32;

/// A row as the database stores it.
pub(super) type Value = FixedBytes<ROW_BYTES>;

/// The database.
pub(super) type Database<E> =
    fixed::Db<mmr::Family, E, Digest, Value, Sha256, EightCap, CHUNK, Rayon>;

/// The databases of the application: one.
pub(super) type Databases<E> = Shared<Database<E>>;

/// What may be tuned without touching the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caches {
    /// Bytes of the state's pages kept in memory.
    pub page_cache: usize,
    /// Operations remembered while the index is rebuilt at a start.
    pub init_cache: NonZeroUsize,
    /// Bytes read at a time while the index is rebuilt at a start.
    pub init_buffer: NonZeroUsize,
    /// Blocks between two prunings of the state's log, whose old part follows from the blocks and serves nobody.
    pub prune_every: NonZeroUsize,
}

impl Default for Caches {
    fn default() -> Self {
        Self {
            page_cache: 64 << 20,
            init_cache: NZUsize!(1 << 20),
            init_buffer: NZUsize!(8 << 20),
            prune_every: NZUsize!(256),
        }
    }
}

/// Bytes of a page of the files of blocks and certificates: with their checksum they fill a page of the operating system. Fixed
/// for the life of the data.
pub(super) const PAGE: NonZeroU16 = page_size(4096);
/// Bytes of a page of the state's files. A change reads single rows and nodes of the tree that are spread over all of them, and
/// what is read is a page, with its checksum computed and copied more than once. Fixed for the life of the data.
const STATE_PAGE: NonZeroU16 = page_size(1024);
const BUFFER: NonZeroUsize = NZUsize!(1 << 16);

/// The database's settings. Partitions and items per blob are fixed for the life of the data.
pub(super) fn config(caches: &Caches, strategy: Rayon) -> FixedConfig<EightCap, Rayon> {
    let pages = caches.page_cache / usize::from(STATE_PAGE.get());
    let pages = NonZeroUsize::new(pages).unwrap_or(NonZeroUsize::MIN);
    let page_cache = CacheRef::new(STATE_PAGE, pages);
    FixedConfig {
        merkle_config: MmrConfig {
            journal_partition: "state-tree".into(),
            metadata_partition: "state-tree-pins".into(),
            items_per_blob: NZU64!(1 << 19),
            write_buffer: BUFFER,
            replay_buffer: BUFFER,
            strategy,
            page_cache: page_cache.clone(),
        },
        journal_config: LogConfig {
            partition: "state-log".into(),
            items_per_blob: NZU64!(1 << 17),
            page_cache,
            write_buffer: BUFFER,
            replay_buffer: BUFFER,
        },
        grafted_metadata_partition: "state-bitmap".into(),
        translator: EightCap,
        init_cache: Some(caches.init_cache),
        init_buffer: caches.init_buffer,
        init_concurrency: (),
    }
}
