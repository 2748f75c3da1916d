//! The real world as the engine sees it: its own runtime, with a storage that fits what a ledger does.
//!
//! Two things are done differently from the engine's storage. Reads that the operating system can answer from memory are
//! answered at once ([`Quick`]): this changes no byte on disk. And what is small and synchronised with each block stands
//! together in one file ([`Notebook`]): the votes of an epoch in one, the certificates of the newest views and notes of how far
//! other files go in another.

mod notebook;
mod quick;

use super::{EngineError, Runtime, votes::VOTES};
use commonware_formatting::hex;
use commonware_parallel::Rayon;
use commonware_runtime::{
    Blob, BlobVersion, Clock, Error, Handle, IoBufs, IoBufsMut, Metrics, Name, ReadOptions,
    Runner as _, Spawner, Storage, Strategizer, Supervisor, WriteOptions,
    signal::Signal,
    telemetry::metrics::{Metric, Registered},
    tokio as engine,
};
use commonware_utils::sync::AsyncMutex;
use futures::{Stream, future::Either, stream};
use notebook::{Note, Notebook, Unreadable};
use quick::Quick;
use rand_core::{TryCryptoRng, TryRng};
use std::{
    borrow::Cow,
    collections::HashMap,
    convert::Infallible,
    num::NonZeroUsize,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

#[cfg(feature = "testing")]
use commonware_utils::sync::Mutex;
#[cfg(feature = "testing")]
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

/// A context of the engine with our storage on top of its own.
pub(super) struct Disk<E: Runtime> {
    inner: E,
    shared: Arc<Shared<E>>,
}

struct Shared<E: Runtime> {
    /// Where the files are, in the real world.
    folder: Option<PathBuf>,
    place: Place,
    /// By their partitions below.
    notebooks: AsyncMutex<HashMap<String, Arc<Notebook<E>>>>,
    #[cfg(feature = "testing")]
    slow: Option<Slow<E>>,
}

/// What is a node's own where several share a simulated world. In the real one nothing is.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    /// What the names of its partitions begin with.
    pub(super) prefix: String,
    /// How far its clock is ahead.
    pub(super) ahead: Duration,
    #[cfg(feature = "testing")]
    pub(super) opened: Opened,
}

/// The partitions, by the engine's names, of which blobs were opened; whether each stands in a notebook.
#[cfg(feature = "testing")]
pub(super) type Opened = Arc<Mutex<BTreeMap<String, bool>>>;

/// Threads that wait for the disk. Few: each has its own share of the allocator's memory, and more make no disk faster.
const BLOCKING_THREADS: usize = 16;

/// After so long without a byte a connection is taken for broken; peers say something every five seconds.
const SILENCE: Duration = Duration::from_secs(15);

/// The engine's context in the real world.
pub(super) type Real = Disk<engine::Context>;

/// Runs a program of the engine on this thread, with `threads` more, on the files in `folder`.
pub(super) fn start<F, Fut>(folder: &Path, threads: NonZeroUsize, program: F) -> Fut::Output
where
    F: FnOnce(Real) -> Fut,
    Fut: Future,
{
    let config = engine::Config::new()
        .with_storage_directory(folder)
        .with_worker_threads(threads.get())
        .with_max_blocking_threads(BLOCKING_THREADS)
        .with_tcp_nodelay(Some(true))
        .with_read_write_timeout(SILENCE);
    engine::Runner::new(config).start(|inner| {
        program(Disk {
            inner,
            shared: Arc::new(Shared {
                folder: Some(folder.to_owned()),
                place: Place::default(),
                notebooks: AsyncMutex::default(),
                #[cfg(feature = "testing")]
                slow: None,
            }),
        })
    })
}

/// A disk that takes its time.
#[cfg(feature = "testing")]
struct Slow<E> {
    clock: E,
    /// The longest that a synchronisation takes.
    up_to_ms: Arc<AtomicU64>,
    count: AtomicU64,
}

#[cfg(feature = "testing")]
impl<E: Runtime> Disk<E> {
    /// In a simulated world, where each synchronisation takes up to `up_to_ms`.
    pub(super) fn simulated(inner: E, up_to_ms: Arc<AtomicU64>, place: Place) -> Self {
        let slow = Slow {
            clock: inner.child("slow"),
            up_to_ms,
            count: AtomicU64::new(0),
        };
        Self {
            inner,
            shared: Arc::new(Shared {
                folder: None,
                place,
                notebooks: AsyncMutex::default(),
                slow: Some(slow),
            }),
        }
    }
}

impl<E: Runtime> Shared<E> {
    /// What a slow disk adds to a synchronisation: nothing outside of tests.
    #[cfg(not(feature = "testing"))]
    fn take_time(&self) -> std::future::Ready<()> {
        std::future::ready(())
    }

    #[cfg(feature = "testing")]
    async fn take_time(&self) {
        let Some(slow) = &self.slow else { return };
        let up_to = slow.up_to_ms.load(Ordering::Relaxed);
        if up_to > 0 {
            // Uneven, so that what was begun first does not always end first.
            let n = slow.count.fetch_add(1, Ordering::Relaxed);
            let time = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % up_to;
            slow.clock.sleep(Duration::from_millis(time)).await;
        }
    }
}

impl<E: Runtime> Disk<E> {
    /// The context below, for what is no storage.
    pub(super) const fn world(&self) -> &E {
        &self.inner
    }

    fn with(&self, inner: E) -> Self {
        Self {
            inner,
            shared: self.shared.clone(),
        }
    }
}

impl<E: Runtime> Supervisor for Disk<E> {
    fn name(&self) -> Name {
        self.inner.name()
    }

    fn child(&self, label: &'static str) -> Self {
        self.with(self.inner.child(label))
    }

    fn with_attribute(self, key: &'static str, value: impl std::fmt::Display) -> Self {
        let Self { inner, shared } = self;
        Self {
            inner: inner.with_attribute(key, value),
            shared,
        }
    }
}

impl<E: Runtime> Spawner for Disk<E> {
    fn shared(self, blocking: bool) -> Self {
        let Self { inner, shared } = self;
        Self {
            inner: inner.shared(blocking),
            shared,
        }
    }

    fn dedicated(self) -> Self {
        let Self { inner, shared } = self;
        Self {
            inner: inner.dedicated(),
            shared,
        }
    }

    fn spawn<F, Fut, T>(self, task: F) -> Handle<T>
    where
        F: FnOnce(Self) -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let Self { inner, shared } = self;
        inner.spawn(move |inner| task(Self { inner, shared }))
    }

    async fn stop(self, value: i32, timeout: Option<Duration>) -> Result<(), Error> {
        self.inner.stop(value, timeout).await
    }

    fn stopped(&self) -> Signal {
        self.inner.stopped()
    }
}

impl<E: Runtime> Strategizer for Disk<E> {
    fn strategy(&self, parallelism: NonZeroUsize) -> Rayon {
        self.inner.strategy(parallelism)
    }
}

impl<E: Runtime> Metrics for Disk<E> {
    fn register<N: Into<String>, H: Into<String>, M: Metric>(
        &self,
        name: N,
        help: H,
        metric: M,
    ) -> Registered<M> {
        self.inner.register(name, help, metric)
    }

    fn encode(&self) -> String {
        self.inner.encode()
    }
}

impl<E: Runtime> Clock for Disk<E> {
    fn current(&self) -> SystemTime {
        self.inner.current() + self.shared.place.ahead
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static + use<E> {
        self.inner.sleep(duration)
    }

    fn sleep_until(
        &self,
        deadline: SystemTime,
    ) -> impl Future<Output = ()> + Send + 'static + use<E> {
        self.inner.sleep_until(deadline - self.shared.place.ahead)
    }
}

impl<E: Runtime> governor::clock::Clock for Disk<E> {
    type Instant = SystemTime;

    fn now(&self) -> SystemTime {
        self.current()
    }
}

impl<E: Runtime> governor::clock::ReasonablyRealtime for Disk<E> {}

impl<E: Runtime> TryRng for Disk<E> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.inner.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.inner.try_next_u64()
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.inner.try_fill_bytes(bytes)
    }
}

impl<E: Runtime> TryCryptoRng for Disk<E> {}

impl<E: Runtime> Disk<E> {
    /// What a partition is called below.
    fn place<'a>(&self, partition: &'a str) -> Cow<'a, str> {
        match self.shared.place.prefix.as_str() {
            "" => Cow::Borrowed(partition),
            prefix => Cow::Owned(format!("{prefix}{partition}")),
        }
    }

    /// Where a partition stands, if that is in a notebook. One is opened at its first use and open until the end.
    async fn chapter(&self, partition: &str) -> Result<Option<Chapter<E>>, Error> {
        let (file, prefix) = if partition.starts_with(VOTES) {
            (partition, Vec::new())
        } else if is_small(partition) {
            (NOTES, [partition.as_bytes(), b"/"].concat())
        } else {
            return Ok(None);
        };
        let mut notebooks = self.shared.notebooks.lock().await;
        let notebook = match notebooks.get(file) {
            Some(notebook) => notebook.clone(),
            None => {
                let unreadable = match file {
                    NOTES if self.has_state().await? => Unreadable::Refuse,
                    NOTES => Unreadable::RefuseDamaged,
                    // `start` looks by itself whether votes are missing that there were.
                    _ => Unreadable::BeginAnew,
                };
                let world = self.inner.child("notebook");
                let notebook = Notebook::open(world, &self.place(file), unreadable).await?;
                let notebook = Arc::new(notebook);
                notebooks.insert(file.to_owned(), notebook.clone());
                notebook
            }
        };
        Ok(Some(Chapter { notebook, prefix }))
    }

    /// Whether there is a state. It is begun when the notes are open, and these are on disk then ([`open_notes`]).
    async fn has_state(&self) -> Result<bool, Error> {
        match self.inner.scan(&self.place(STATE)).await {
            Ok(names) => Ok(!names.is_empty()),
            Err(Error::PartitionMissing(_)) => Ok(false),
            Err(why) => Err(why),
        }
    }
}

/// The notebook of what is small, beside those of the votes.
pub(super) const NOTES: &str = "notes";

/// Where the state's log is.
const STATE: &str = "state-log-blobs";

/// The engine's notes of how far its other files go that it writes with each block.
const HOW_FAR: [&str; 3] = [
    "state-log-metadata",
    "state-tree-metadata",
    "marshal-application-metadata",
];

/// Whether the blobs of a partition are small and written with each block: by the engine's names, some of its notes, and the
/// certificates in its caches of the newest views. Blocks may be a megabyte, and the archive is to be read without notes. Where
/// the engine changes a name, the format of a directory has to change, too: what was noted would not be found.
fn is_small(partition: &str) -> bool {
    let caches = partition.strip_prefix("marshal-cache-cache-");
    let certificates =
        |cache: &str| cache.contains("-notarizations-") || cache.contains("-finalizations-");
    HOW_FAR.contains(&partition) || caches.is_some_and(certificates)
}

/// Opens the notes before the state is: so where there is a state without them, or nothing at all stands in them, they are lost.
pub(super) async fn open_notes<E: Storage>(context: &E) -> Result<(), EngineError> {
    let [first, ..] = HOW_FAR;
    match context.scan(first).await {
        Ok(_) | Err(Error::PartitionMissing(_)) => Ok(()),
        Err(Error::PartitionCorrupt(_) | Error::BlobCorrupt(..)) => Err(EngineError::NotesLost),
        Err(why) => Err(EngineError::store("notes")(why)),
    }
}

/// A partition in a notebook: its blobs' names begin with the same bytes there.
struct Chapter<E: Runtime> {
    notebook: Arc<Notebook<E>>,
    /// None for votes, which have a notebook of their own.
    prefix: Vec<u8>,
}

impl<E: Runtime> Chapter<E> {
    fn name(&self, name: &[u8]) -> Vec<u8> {
        [&self.prefix, name].concat()
    }

    fn names(&self) -> Vec<Vec<u8>> {
        let all = self.notebook.scan().into_iter();
        let mine = all.filter_map(|name| Some(name.strip_prefix(&self.prefix[..])?.to_vec()));
        // The mark among the votes is ours, and not the engine's: its names are eight bytes.
        mine.filter(|name| !self.prefix.is_empty() || name.len() == 8)
            .collect()
    }

    /// As the engine's storage does: a partition among others is there while something is in it. One of votes always is.
    fn scan(&self, partition: &str) -> Result<Vec<Vec<u8>>, Error> {
        let names = self.names();
        if names.is_empty() && !self.prefix.is_empty() {
            return Err(Error::PartitionMissing(partition.to_owned()));
        }
        Ok(names)
    }

    /// What is removed from among the votes comes back after a crash at worst. Notes are of other files, which the engine removes
    /// next: there it is on disk when this returns.
    async fn remove(&self, partition: &str, name: Option<&[u8]>) -> Result<(), Error> {
        match name {
            Some(name) => self.notebook.remove(Some(&self.name(name)))?,
            None if self.prefix.is_empty() => self.notebook.remove(None)?,
            None => {
                for name in self.scan(partition)? {
                    self.notebook.remove(Some(&self.name(&name)))?;
                }
            }
        }
        if self.prefix.is_empty() {
            return Ok(());
        }
        self.notebook.sync().await
    }
}

impl<E: Runtime> Storage for Disk<E> {
    type Blob = DiskBlob<E>;

    async fn open_versioned(
        &self,
        partition: &str,
        name: &[u8],
        versions: RangeInclusive<BlobVersion>,
    ) -> Result<(DiskBlob<E>, u64, BlobVersion), Error> {
        let chapter = self.chapter(partition).await?;
        #[cfg(feature = "testing")]
        {
            let mut opened = self.shared.place.opened.lock();
            opened.insert(partition.to_owned(), chapter.is_some());
        }
        if let Some(chapter) = chapter {
            let (note, size, version) =
                chapter.notebook.open_blob(&chapter.name(name), &versions)?;
            return Ok((self.blob(Kind::Note(note)), size, version));
        }
        let place = self.place(partition);
        let (blob, size, version) = self.inner.open_versioned(&place, name, versions).await?;
        let folder = self.shared.folder.as_ref();
        let path = folder.map(|folder| folder.join(partition).join(hex(name)));
        let quick = Quick::new(blob, path.as_deref(), size);
        Ok((self.blob(Kind::File(quick)), size, version))
    }

    async fn remove(&self, partition: &str, name: Option<&[u8]>) -> Result<(), Error> {
        match self.chapter(partition).await? {
            Some(chapter) => chapter.remove(partition, name).await,
            None => self.inner.remove(&self.place(partition), name).await,
        }
    }

    async fn scan(&self, partition: &str) -> Result<Vec<Vec<u8>>, Error> {
        match self.chapter(partition).await? {
            Some(chapter) => chapter.scan(partition),
            None => self.inner.scan(&self.place(partition)).await,
        }
    }
}

impl<E: Runtime> Disk<E> {
    fn blob(&self, kind: Kind<E>) -> DiskBlob<E> {
        DiskBlob {
            kind,
            shared: self.shared.clone(),
        }
    }
}

/// A blob of either kind.
pub(super) struct DiskBlob<E: Runtime> {
    kind: Kind<E>,
    shared: Arc<Shared<E>>,
}

enum Kind<E: Runtime> {
    /// A file of the engine.
    File(Quick<E::Blob>),
    /// An entry of a notebook.
    Note(Note<E>),
}

impl<E: Runtime> Blob for DiskBlob<E> {
    async fn read_at_buf(
        &self,
        offset: u64,
        len: usize,
        bufs: impl Into<IoBufsMut> + Send,
        options: ReadOptions,
    ) -> Result<IoBufsMut, Error> {
        match &self.kind {
            Kind::File(blob) => blob.read_at_buf(offset, len, bufs, options).await,
            Kind::Note(note) => note.read(offset, len),
        }
    }

    async fn read_at(
        &self,
        offset: u64,
        len: usize,
        options: ReadOptions,
    ) -> Result<IoBufsMut, Error> {
        match &self.kind {
            Kind::File(blob) => blob.read_at(offset, len, options).await,
            Kind::Note(note) => note.read(offset, len),
        }
    }

    fn read_many(
        &self,
        ranges: &[(u64, usize)],
        options: ReadOptions,
    ) -> impl Stream<Item = Result<(usize, IoBufsMut), Error>> + Send {
        match &self.kind {
            Kind::File(blob) => Either::Left(blob.read_many(ranges, options)),
            Kind::Note(note) => Either::Right(stream::iter(note.read_many(ranges))),
        }
    }

    async fn start_read_many(
        &self,
        ranges: &[(u64, usize)],
        options: ReadOptions,
    ) -> Handle<Vec<IoBufsMut>> {
        match &self.kind {
            Kind::File(blob) => blob.start_read_many(ranges, options).await,
            Kind::Note(note) => {
                let all = note.read_many(ranges).into_iter();
                Handle::ready(all.map(|one| one.map(|(_, bytes)| bytes)).collect())
            }
        }
    }

    async fn write_at(
        &self,
        offset: u64,
        bufs: impl Into<IoBufs> + Send,
        options: WriteOptions,
    ) -> Result<(), Error> {
        if options.contains(WriteOptions::SYNC) {
            self.shared.take_time().await;
        }
        match &self.kind {
            Kind::File(blob) => blob.write_at(offset, bufs, options).await,
            Kind::Note(note) => note.write_at(offset, bufs.into(), options).await,
        }
    }

    async fn resize(&self, len: u64) -> Result<(), Error> {
        match &self.kind {
            Kind::File(blob) => blob.resize(len).await,
            Kind::Note(note) => note.resize(len),
        }
    }

    async fn sync(&self) -> Result<(), Error> {
        self.shared.take_time().await;
        match &self.kind {
            Kind::File(blob) => blob.sync().await,
            Kind::Note(note) => note.sync().await,
        }
    }

    async fn start_sync(&self) -> Handle<()> {
        self.shared.take_time().await;
        match &self.kind {
            Kind::File(blob) => blob.start_sync().await,
            Kind::Note(note) => Handle::ready(note.sync().await),
        }
    }
}

#[cfg(test)]
mod tests;
