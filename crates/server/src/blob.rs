//! Contents: files that are named by their SHA-256, in a directory or in an object store.
//!
//! What arrives lies in a local directory until it is whole and its digest was checked; only then does it get its name. So whatever has
//! its name is whole, after a crash too. Of a content that is larger than memory no more than a piece is ever in memory.
//!
//! Which of them are wanted is what the database says ([`store::blobs`](crate::store::blobs)). A [name](Blob) that was retired is never
//! used again: a removal that a store does late takes nothing that came since.
//!
//! The library's own writer for directories does not wait for the disk, and its reader for them is slow; that is why files are put in
//! place and [read](pieces) here. Object stores are the library's.

mod pieces;

use crate::sendfile::Outlet;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream::BoxStream};
use kusabi_core::{
    id::parse_hex,
    inventory::{InventoryError, InventoryReader, InventorySummary},
    release::{CHUNK_INDEX_HEAD_BYTES, CHUNK_RECORD_BYTES, ChunkIndexError, ChunkIndexHead},
};
use object_store::{
    GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, WriteMultipart, local::LocalFileSystem,
    path::Path as Key,
};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeSet,
    io::{self, Read as _},
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::io::AsyncWriteExt as _;

/// Longest pause between two pieces of an upload.
pub(crate) const PIECE_TIME: Duration = Duration::from_secs(15);

/// How what arrives without a name that is known is called until then.
const DRAFT: &str = "draft_";

/// A draft that nobody has written to for so long is nobody's any more: another server over the same directory may be at it otherwise.
const DRAFT_TIME: Duration = Duration::from_secs(60 * 60);

/// Bytes that are read from a file at a time.
const READ_BYTES: usize = 256 * 1024;

/// Pieces of an upload to an object store that are under way at once.
const UPLOADS_MAX: usize = 4;

/// How long a store may take to say whether it has something, and to begin to give it. The library asks an object store again for
/// minutes, and nobody is to be kept waiting for so long.
const ANSWER_TIME: Duration = Duration::from_secs(15);

/// Why a content is not taken or not given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// The part begins beyond what is here.
    #[error("{received} bytes are here; send the rest from offset {received}")]
    WrongOffset {
        /// How many bytes are here.
        received: u64,
    },
    /// Someone else is sending it.
    #[error("another request is sending this content now; wait until it has ended")]
    Busy,
    /// More bytes come than it has.
    #[error("the content has {size} bytes, and more are sent")]
    TooLong {
        /// How many it has.
        size: u64,
    },
    /// The client went away or fell silent; what came is kept.
    #[error("the body broke off, or paused for more than {} s; what has arrived is kept", PIECE_TIME.as_secs())]
    BrokeOff,
    /// The bytes are others than its name says; they are gone.
    #[error(
        "the bytes that were sent have the digest {is}; they were dropped, send the content again"
    )]
    WrongDigest {
        /// Their SHA-256.
        is: kusabi_api::Hex32,
    },
    /// It should be an inventory, and is none; it is gone.
    #[error("the content is no canonical inventory: {0}")]
    Inventory(InventoryError),
    /// It should be a payload's chunk index, and is none; it is gone.
    #[error("the content is no chunk index of its payload: {0}")]
    ChunkIndex(ChunkIndexError),
    /// It should be a Mender artifact, and is none; it is gone.
    #[error("the content is no Mender artifact: {0}")]
    Artifact(Box<kusabi_mender::ArtifactError>),
    /// The disk.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The store.
    #[error("the firmware store: {0}")]
    Store(#[from] object_store::Error),
    /// The store does not answer.
    #[error("the firmware store has not answered for {} s", ANSWER_TIME.as_secs())]
    Silent,
    /// The address of the store.
    #[error("{0}")]
    Address(String),
}

impl BlobError {
    pub(crate) fn of(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    }

    /// Whether there is no room left.
    pub(crate) fn is_full(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match self {
            Self::Io { source, .. } => {
                matches!(source.kind(), StorageFull | QuotaExceeded | FileTooLarge)
            }
            _ => false,
        }
    }
}

/// The bytes of a content under one name: its digest, and how often a content of this digest was retired before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) digest: [u8; 32],
    pub(crate) generation: u64,
}

impl std::fmt::Display for Blob {
    /// Its name in the store; the first one is the digest itself.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", kusabi_api::Hex(self.digest))?;
        match self.generation {
            0 => Ok(()),
            generation => write!(f, ".{generation}"),
        }
    }
}

/// What was found in bytes that arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) digest: [u8; 32],
    pub(crate) size: u64,
    /// Where an inventory was asked for.
    pub(crate) inventory: Option<InventorySummary>,
}

/// Bytes on their way out.
pub(crate) type Pieces = BoxStream<'static, Result<Bytes, object_store::Error>>;

/// Where contents lie.
#[derive(Debug)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    prefix: Key,
    /// The directory in which whole files get their names; `None`: the store is no directory.
    directory: Option<PathBuf>,
    incoming: PathBuf,
    /// What is being received.
    busy: Mutex<BTreeSet<String>>,
}

/// A name that nobody else writes to.
pub(crate) struct Claim<'b> {
    blobs: &'b Blobs,
    name: &'b str,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.blobs.lock().remove(self.name);
    }
}

impl Blobs {
    /// Contents in a directory, or in the object store of a URL. What is on its way lies in `incoming`, or in the directory itself.
    ///
    /// # Errors
    /// The directory cannot be made; the URL is none that this program was built for.
    pub fn open(place: &str, incoming: &Path) -> Result<Self, BlobError> {
        // Also where a slash is missing: nobody means a directory of that name.
        if place.contains("://") || place.starts_with("s3:") {
            return Self::remote(place, incoming);
        }
        let root = Path::new(place);
        let directory = root.join("contents");
        let incoming = root.join("incoming");
        for directory in [&directory, &incoming] {
            make_directory(directory)?;
        }
        Ok(Self {
            store: Arc::new(LocalFileSystem::new_with_prefix(&directory)?),
            prefix: Key::default(),
            directory: Some(directory),
            incoming,
            busy: Mutex::default(),
        })
    }

    /// Contents in any store that the library speaks to. What is on its way lies in `incoming`.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn over(store: Arc<dyn ObjectStore>, incoming: &Path) -> Result<Self, BlobError> {
        Self::within(store, Key::default(), incoming)
    }

    fn within(
        store: Arc<dyn ObjectStore>,
        prefix: Key,
        incoming: &Path,
    ) -> Result<Self, BlobError> {
        make_directory(incoming)?;
        Ok(Self {
            store,
            prefix,
            directory: None,
            incoming: incoming.to_owned(),
            busy: Mutex::default(),
        })
    }

    #[cfg(feature = "s3")]
    fn remote(place: &str, incoming: &Path) -> Result<Self, BlobError> {
        let address = |why: &dyn std::fmt::Display| {
            BlobError::Address(format!("the firmware store `{place}`: {why}"))
        };
        let url = url::Url::parse(place).map_err(|why| address(&why))?;
        // The library knows further places, among them memory, and directories that it does not wait for.
        if url.scheme() != "s3" || !url.has_host() {
            return Err(address(&"write s3://BUCKET/FOLDER, or name a directory"));
        }
        // Credentials and region come from the environment, as for every other tool that speaks to such a store.
        let settings = std::env::vars()
            .filter(|(name, _)| name.starts_with("AWS_"))
            .map(|(name, value)| (name.to_ascii_lowercase(), value));
        let (store, prefix) =
            object_store::parse_url_opts(&url, settings).map_err(|why| address(&why))?;
        Self::within(Arc::from(store), prefix, incoming)
    }

    #[cfg(not(feature = "s3"))]
    fn remote(place: &str, _: &Path) -> Result<Self, BlobError> {
        Err(BlobError::Address(format!(
            "the firmware store `{place}` is a URL, and this program was built without the feature `s3`; name a directory"
        )))
    }

    fn key(&self, blob: Blob) -> Key {
        self.prefix.clone().join(blob.to_string())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        // A set of names is whole whenever the lock is free.
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims a name for as long as what is returned lives.
    pub(crate) fn claim<'b>(&'b self, name: &'b str) -> Result<Claim<'b>, BlobError> {
        if self.lock().insert(name.to_owned()) {
            Ok(Claim { blobs: self, name })
        } else {
            Err(BlobError::Busy)
        }
    }

    /// How many bytes a whole content has; `None`: it is not here.
    pub(crate) async fn size(&self, blob: Blob) -> Result<Option<u64>, BlobError> {
        match in_time(self.store.head(&self.key(blob))).await? {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(why) => Err(why.into()),
        }
    }

    /// Bytes of a whole content, piece by piece; the range is inside of it.
    pub(crate) async fn read(&self, blob: Blob, range: Range<u64>) -> Result<Pieces, BlobError> {
        if let Some(path) = self.path(blob) {
            let pieces = pieces::of(open(&path).await?, range);
            return Ok(pieces.map_err(move |why| of_disk(&path, why)).boxed());
        }
        let options = GetOptions {
            range: Some(GetRange::Bounded(range)),
            ..GetOptions::default()
        };
        let found = in_time(self.store.get_opts(&self.key(blob), options)).await??;
        Ok(found.into_stream())
    }

    /// The same for who sends them on: a file leaves by the outlet of the connection, where it has one.
    pub(crate) async fn send(
        &self,
        blob: Blob,
        range: Range<u64>,
        outlet: Option<Outlet>,
    ) -> Result<Pieces, BlobError> {
        match (self.path(blob), outlet) {
            (Some(path), Some(outlet)) => {
                let file = open(&path).await?;
                Ok(outlet.stand_ins(file, range).map(Ok).boxed())
            }
            _ => self.read(blob, range).await,
        }
    }

    /// Where a whole content lies, if the store is a directory.
    fn path(&self, blob: Blob) -> Option<PathBuf> {
        let directory = self.directory.as_ref()?;
        Some(directory.join(blob.to_string()))
    }

    /// All bytes of a whole content that is known to be small.
    pub(crate) async fn bytes(&self, blob: Blob) -> Result<Option<Bytes>, BlobError> {
        match in_time(self.store.get(&self.key(blob))).await? {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(why) => Err(why.into()),
        }
    }

    /// How many bytes have arrived under a name.
    pub(crate) async fn received(&self, name: &str) -> Result<u64, BlobError> {
        let path = self.incoming.join(name);
        match tokio::fs::metadata(&path).await {
            Ok(meta) => Ok(meta.len()),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(why) => Err(BlobError::of("look at", &path)(why)),
        }
    }

    /// Receives a part that begins at `offset`; what of it is here already is passed over. Says how many bytes are here now; they are on
    /// disk. What came before a fault stays.
    pub(crate) async fn receive<E>(
        &self,
        claim: &Claim<'_>,
        size_max: u64,
        offset: u64,
        mut pieces: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<u64, BlobError> {
        let path = self.incoming.join(claim.name);
        let error = BlobError::of("write", &path);
        let mut options = tokio::fs::OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        options.mode(0o600);
        let mut file = options.open(&path).await.map_err(&error)?;
        let mut received = file.metadata().await.map_err(&error)?.len();
        if offset > received {
            return Err(BlobError::WrongOffset { received });
        }
        let mut passed = received - offset;
        let mut fault = None;
        loop {
            let piece = match tokio::time::timeout(PIECE_TIME, pieces.next()).await {
                Ok(None) => break,
                Ok(Some(Ok(piece))) => piece,
                Ok(Some(Err(_))) | Err(_) => {
                    fault = Some(BlobError::BrokeOff);
                    break;
                }
            };
            let pass = usize::try_from(passed).map_or(piece.len(), |n| n.min(piece.len()));
            passed -= pass as u64;
            let new = &piece[pass..];
            if received + new.len() as u64 > size_max {
                fault = Some(BlobError::TooLong { size: size_max });
                break;
            }
            file.write_all(new).await.map_err(&error)?;
            received += new.len() as u64;
        }
        file.flush().await.map_err(&error)?;
        file.sync_data().await.map_err(&error)?;
        match fault {
            None => Ok(received),
            Some(fault) => Err(fault),
        }
    }

    /// A file for something whose digest is known at its end only: the caller writes it, and then has it [placed](Self::place) or
    /// [dropped](Self::drop_received). `name` comes from [`draft_name`].
    pub(crate) async fn draft(
        &self,
        claim: &Claim<'_>,
    ) -> Result<(std::fs::File, PathBuf), BlobError> {
        let path = self.incoming.join(claim.name);
        blocking("make", &path, |path| {
            let mut options = std::fs::OpenOptions::new();
            options.write(true).create(true).truncate(true);
            #[cfg(unix)]
            {
                use std::os::unix::fs::OpenOptionsExt as _;
                options.mode(0o600);
            }
            let file = options.open(path).map_err(BlobError::of("make", path))?;
            Ok((file, path.to_owned()))
        })
        .await
    }

    /// Opens what arrived under a name.
    pub(crate) async fn reopen(&self, claim: &Claim<'_>) -> Result<std::fs::File, BlobError> {
        open(&self.incoming.join(claim.name)).await
    }

    /// Removes bytes whose name was retired; that they are not there is as good. A store may do it late, whatever it answers.
    pub(crate) async fn remove(&self, blob: Blob) -> Result<(), BlobError> {
        match in_time(self.store.delete(&self.key(blob))).await? {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(why) => Err(why.into()),
        }
    }

    /// What arrived under a name.
    pub(crate) async fn inspect(
        &self,
        claim: &Claim<'_>,
        inventory: bool,
    ) -> Result<Found, BlobError> {
        let path = self.incoming.join(claim.name);
        blocking("read", &path, move |path| {
            let error = BlobError::of("read", path);
            let mut file = std::fs::File::open(path).map_err(&error)?;
            let mut buffer = vec![0; READ_BYTES];
            let (mut hasher, mut size) = (Sha256::new(), 0);
            let mut reader = inventory.then(InventoryReader::default);
            loop {
                let read = file.read(&mut buffer).map_err(&error)?;
                let piece = &buffer[..read];
                if piece.is_empty() {
                    break;
                }
                hasher.update(piece);
                size += read as u64;
                if let Some(reader) = &mut reader {
                    reader.feed(piece, |_| {}).map_err(BlobError::Inventory)?;
                }
            }
            let inventory = reader.map(InventoryReader::finish).transpose();
            Ok(Found {
                digest: hasher.finalize().into(),
                size,
                inventory: inventory.map_err(BlobError::Inventory)?,
            })
        })
        .await
    }

    /// Reads what arrived under a name as the chunk index of a payload of so many bytes.
    pub(crate) async fn check_index(
        &self,
        claim: &Claim<'_>,
        payload_size: u64,
    ) -> Result<(), BlobError> {
        let path = self.incoming.join(claim.name);
        blocking("read", &path, move |path| {
            let (error, bad) = (BlobError::of("read", path), BlobError::ChunkIndex);
            let file = std::fs::File::open(path).map_err(&error)?;
            let size = file.metadata().map_err(&error)?.len();
            let mut file = io::BufReader::new(file);
            let mut head = [0; CHUNK_INDEX_HEAD_BYTES];
            if size < head.len() as u64 {
                return Err(bad(ChunkIndexError::Short));
            }
            file.read_exact(&mut head).map_err(&error)?;
            let head = ChunkIndexHead::decode(&head, size, payload_size).map_err(bad)?;
            let mut walk = head.walk();
            let mut record = [0; CHUNK_RECORD_BYTES];
            while walk.left() > 0 {
                file.read_exact(&mut record).map_err(&error)?;
                walk.next(&record).map_err(bad)?;
            }
            walk.finish().map_err(bad)
        })
        .await
    }

    /// Drops what arrived under a name.
    pub(crate) async fn drop_received(&self, claim: &Claim<'_>) -> Result<(), BlobError> {
        let path = self.incoming.join(claim.name);
        match tokio::fs::remove_file(&path).await {
            Err(why) if why.kind() != io::ErrorKind::NotFound => {
                Err(BlobError::of("remove", &path)(why))
            }
            _ => Ok(()),
        }
    }

    /// Drops the drafts that nobody writes to any more, and says which contents have arrived in part or whole.
    pub(crate) async fn arrived(&self) -> Result<Vec<[u8; 32]>, BlobError> {
        let error = BlobError::of("read the directory", &self.incoming);
        let mut entries = tokio::fs::read_dir(&self.incoming).await.map_err(&error)?;
        let mut arrived = Vec::new();
        while let Some(entry) = entries.next_entry().await.map_err(&error)? {
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                continue;
            };
            if name.starts_with(DRAFT) {
                // What is being written, or is on its way from here to the store, is no leftover.
                let Ok(claim) = self.claim(name) else {
                    continue;
                };
                let written = match entry.metadata().await.and_then(|meta| meta.modified()) {
                    Err(why) if why.kind() == io::ErrorKind::NotFound => continue,
                    written => written.map_err(&error)?,
                };
                if written.elapsed().unwrap_or_default() > DRAFT_TIME {
                    self.drop_received(&claim).await?;
                }
            } else if let Ok(digest) = parse_hex(name) {
                arrived.push(digest);
            }
        }
        Ok(arrived)
    }

    /// Drops what arrived of a content, unless it is being sent now.
    pub(crate) async fn drop_arrived(&self, digest: [u8; 32]) -> Result<(), BlobError> {
        let name = kusabi_api::Hex(digest).to_string();
        match self.claim(&name) {
            Ok(claim) => self.drop_received(&claim).await,
            Err(_) => Ok(()),
        }
    }

    /// Gives what arrived under a name the name of its digest, which the caller has checked. It is durable then.
    pub(crate) async fn place(&self, claim: &Claim<'_>, blob: Blob) -> Result<(), BlobError> {
        let from = self.incoming.join(claim.name);
        let Some(directory) = &self.directory else {
            return self.upload(&from, blob).await;
        };
        let directory = directory.clone();
        let to = directory.join(blob.to_string());
        blocking("move", &from, move |from| {
            let error = BlobError::of("move", from);
            std::fs::File::open(from)
                .and_then(|file| file.sync_all())
                .map_err(&error)?;
            std::fs::rename(from, &to).map_err(&error)?;
            sync_directory(&directory)
        })
        .await
    }

    async fn upload(&self, from: &Path, blob: Blob) -> Result<(), BlobError> {
        use tokio::io::AsyncReadExt as _;
        let error = BlobError::of("read", from);
        let mut file = tokio::fs::File::open(from).await.map_err(&error)?;
        let upload = self.store.put_multipart(&self.key(blob)).await?;
        let mut writer = WriteMultipart::new(upload);
        let mut buffer = vec![0; READ_BYTES];
        let sent = loop {
            match file.read(&mut buffer).await {
                Ok(0) => break Ok(()),
                Ok(read) => match writer.wait_for_capacity(UPLOADS_MAX).await {
                    Ok(()) => writer.write(&buffer[..read]),
                    Err(why) => break Err(why.into()),
                },
                Err(why) => break Err(error(why)),
            }
        };
        if let Err(why) = sent {
            // What has no end yet is kept by such a store, and paid for, until somebody ends it. If this fails too, the first fault
            // is the one to tell.
            let _ = writer.abort().await;
            return Err(why);
        }
        writer.finish().await?;
        tokio::fs::remove_file(from)
            .await
            .map_err(BlobError::of("remove", from))
    }
}

/// The name of what has none yet, from something that no other one is called by.
pub(crate) fn draft_name(id: &str) -> String {
    format!("{DRAFT}{id}")
}

/// A fault of the disk under a content that is being sent.
fn of_disk(path: &Path, source: io::Error) -> object_store::Error {
    object_store::Error::Generic {
        store: "directory",
        source: Box::new(BlobError::of("read", path)(source)),
    }
}

/// What the store answers, if it does.
async fn in_time<T>(answer: impl Future<Output = T>) -> Result<T, BlobError> {
    let answer = tokio::time::timeout(ANSWER_TIME, answer).await;
    answer.map_err(|_| BlobError::Silent)
}

async fn open(path: &Path) -> Result<std::fs::File, BlobError> {
    let open = |path: &Path| std::fs::File::open(path).map_err(BlobError::of("read", path));
    blocking("read", path, open).await
}

/// Work with a file on a thread that may wait for the disk.
async fn blocking<T: Send + 'static>(
    doing: &'static str,
    path: &Path,
    work: impl FnOnce(&Path) -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    let owned = path.to_owned();
    match tokio::task::spawn_blocking(move || work(&owned)).await {
        Ok(done) => done,
        Err(why) => Err(BlobError::of(doing, path)(io::Error::other(why))),
    }
}

fn make_directory(path: &Path) -> Result<(), BlobError> {
    std::fs::create_dir_all(path).map_err(BlobError::of("make the directory", path))
}

fn sync_directory(path: &Path) -> Result<(), BlobError> {
    std::fs::File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(BlobError::of("write the directory", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use object_store::{
        memory::InMemory,
        throttle::{ThrottleConfig, ThrottledStore},
    };

    /// Contents in this store.
    fn blobs(store: impl ObjectStore, incoming: &Path) -> Blobs {
        Blobs::within(Arc::new(store), Key::from("folder"), incoming).unwrap()
    }

    fn first(digest: [u8; 32]) -> Blob {
        Blob {
            digest,
            generation: 0,
        }
    }

    #[tokio::test]
    async fn what_is_whole_goes_into_an_object_store_and_is_read_in_ranges() {
        let incoming = tempfile::tempdir().unwrap();
        let blobs = blobs(InMemory::new(), incoming.path());
        // Nothing, less than a part of an upload, and more than as many parts as are under way at once.
        for size in [0, 1, 31 << 20] {
            let bytes: Vec<u8> = (0..size).map(|at: u32| (at >> 10) as u8).collect();
            let claim = blobs.claim("name").unwrap();
            let pieces = stream::iter([Ok::<_, ()>(Bytes::from(bytes.clone()))]);
            let received = blobs.receive(&claim, size.into(), 0, pieces).await;
            assert_eq!(received.unwrap(), u64::from(size));
            let found = blobs.inspect(&claim, false).await.unwrap();
            let blob = first(found.digest);
            assert_eq!(blobs.size(blob).await.unwrap(), None);
            blobs.place(&claim, blob).await.unwrap();
            assert_eq!(blobs.received("name").await.unwrap(), 0);
            assert_eq!(blobs.size(blob).await.unwrap(), Some(size.into()));
            let all = blobs.bytes(blob).await.unwrap();
            assert!(all.is_some_and(|all| all == bytes), "{size} bytes");
            if size > 0 {
                let range = u64::from(size) / 3..u64::from(size);
                let pieces = blobs.read(blob, range).await.unwrap();
                let part: Vec<Bytes> = pieces.try_collect().await.unwrap();
                assert!(part.concat() == bytes[size as usize / 3..], "{size} bytes");
            }
        }
    }

    #[tokio::test]
    async fn names_that_were_given_up_are_others_than_those_that_come_after_them() {
        let incoming = tempfile::tempdir().unwrap();
        let blobs = blobs(InMemory::new(), incoming.path());
        let put = async |blob: Blob| {
            let claim = blobs.claim("name").unwrap();
            std::fs::write(incoming.path().join("name"), "bytes").unwrap();
            blobs.place(&claim, blob).await.unwrap();
        };
        let all = [0, 1, 11].map(|generation| Blob {
            digest: [1; 32],
            generation,
        });
        for blob in all {
            put(blob).await;
        }
        blobs.remove(all[1]).await.unwrap();
        blobs.remove(all[1]).await.unwrap();
        let mut sizes = Vec::new();
        for blob in all {
            sizes.push(blobs.size(blob).await.unwrap());
        }
        assert_eq!(sizes, [Some(5), None, Some(5)]);
    }

    #[tokio::test]
    async fn what_is_sent_now_is_not_dropped() {
        let incoming = tempfile::tempdir().unwrap();
        let blobs = blobs(InMemory::new(), incoming.path());
        let names = [[1; 32], [2; 32]].map(|digest| kusabi_api::Hex(digest).to_string());
        for name in names.iter().map(String::as_str).chain(["another"]) {
            std::fs::write(incoming.path().join(name), "bytes").unwrap();
        }
        let mut arrived = blobs.arrived().await.unwrap();
        arrived.sort_unstable();
        assert_eq!(arrived, [[1; 32], [2; 32]]);
        let drafts = [draft_name("old"), draft_name("sent"), draft_name("new")];
        let hours = std::time::SystemTime::now() - 2 * DRAFT_TIME;
        for (draft, old) in drafts.iter().zip([true, true, false]) {
            let file = std::fs::File::create(incoming.path().join(draft)).unwrap();
            if old {
                file.set_modified(hours).unwrap();
            }
        }
        let sent = blobs.claim(&drafts[1]).unwrap();
        blobs.arrived().await.unwrap();
        let left = drafts
            .each_ref()
            .map(|draft| incoming.path().join(draft).exists());
        assert_eq!(left, [false, true, true]);
        drop(sent);
        let claim = blobs.claim(&names[1]).unwrap();
        for digest in arrived {
            blobs.drop_arrived(digest).await.unwrap();
        }
        assert_eq!(blobs.arrived().await.unwrap(), [[2; 32]]);
        drop(claim);
        assert!(incoming.path().join("another").exists());
    }

    #[test]
    fn firmware_lies_in_a_directory_or_in_s3_and_nowhere_else() {
        let root = tempfile::tempdir().unwrap();
        for place in [
            "gs://bucket/folder",
            "memory:///",
            "file:///firmware",
            "https://bucket/folder",
            "s3://",
            "s3:/bucket/folder",
            "s3:bucket",
        ] {
            let opened = Blobs::open(place, root.path());
            assert!(matches!(opened, Err(BlobError::Address(_))), "{place}");
        }
        let directory = root.path().join("firmware");
        Blobs::open(directory.to_str().unwrap(), root.path()).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_minutes_for_a_store_that_is_silent() {
        let incoming = tempfile::tempdir().unwrap();
        let silent = ThrottleConfig {
            wait_get_per_call: Duration::from_secs(180),
            ..ThrottleConfig::default()
        };
        let blobs = blobs(
            ThrottledStore::new(InMemory::new(), silent),
            incoming.path(),
        );
        let began = tokio::time::Instant::now();
        let size = blobs.size(first([1; 32])).await;
        assert!(matches!(size, Err(BlobError::Silent)), "{size:?}");
        let read = blobs.read(first([1; 32]), 0..1).await;
        assert!(matches!(read, Err(BlobError::Silent)));
        let bytes = blobs.bytes(first([1; 32])).await;
        assert!(matches!(bytes, Err(BlobError::Silent)), "{bytes:?}");
        assert_eq!(began.elapsed(), 3 * ANSWER_TIME);
    }
}
