//! The chunk index of a payload: received like the payload, then read from the disk record by record.

use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use kusabi_core::id::Digest;
use kusabi_core::release::{
    CHUNK_INDEX_HEAD_BYTES, CHUNK_RECORD_BYTES, Chunk, ChunkIndexError, ChunkIndexHead, ChunkWalk,
    Content, ContentCheck, ContentError,
};

use super::UpdateError;
use super::staging::{at, each_piece};
use crate::disk::{Disk, Node};

/// An index that is being received. It is hashed from its first byte whenever it is taken up, so that nothing of it is synced: what a
/// power cut takes is fetched again.
#[derive(Debug)]
pub(crate) struct ReceivingIndex<D> {
    disk: D,
    path: PathBuf,
    content: Content,
    payload_size: u64,
    check: ContentCheck,
}

/// Why what came is no index.
#[derive(Debug)]
pub(crate) enum BadIndex {
    /// The bytes are others than the manifest names; they are gone.
    Bytes(ContentError),
    /// They are those that were signed, and say nothing that can be followed.
    Form(ChunkIndexError),
    /// The disk.
    Disk(UpdateError),
}

impl<D: Disk + Clone> ReceivingIndex<D> {
    /// Begins to receive an index into this file, or goes on.
    ///
    /// # Errors
    /// [`UpdateError::Disk`]
    pub(crate) fn take_up(
        disk: D,
        path: PathBuf,
        content: Content,
        payload_size: u64,
    ) -> Result<Self, UpdateError> {
        let mut receiving = Self {
            check: ContentCheck::new(content),
            disk,
            path,
            content,
            payload_size,
        };
        let path = &receiving.path;
        let there = receiving.disk.node(path).map_err(at(path))?;
        if let Some(Node::File { size, .. }) = there
            && size <= content.size()
        {
            let mut file = receiving.disk.open(path).map_err(at(path))?;
            let mut check = ContentCheck::new(content);
            each_piece(&mut file, |piece| {
                check.feed(piece).map_err(io::Error::other)
            })
            .map_err(at(path))?;
            if check.remaining() > 0 || check.clone().finish().is_ok() {
                receiving.check = check;
                return Ok(receiving);
            }
        }
        receiving.begin()?;
        Ok(receiving)
    }

    /// Digest of the index.
    pub(crate) const fn digest(&self) -> Digest {
        self.content.digest()
    }

    /// Where the next byte belongs.
    pub(crate) const fn offset(&self) -> u64 {
        self.check.received()
    }

    /// How many bytes are to come.
    pub(crate) const fn remaining(&self) -> u64 {
        self.check.remaining()
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`UpdateError::Disk`], also for more bytes than it has.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), UpdateError> {
        let fed = self.check.feed(bytes).map_err(io::Error::other);
        fed.and_then(|()| self.disk.append(&self.path, bytes))
            .map_err(at(&self.path))
    }

    /// All bytes have come: the index, if it is the one that was named, and well formed.
    ///
    /// # Errors
    /// [`BadIndex`]
    pub(crate) fn finish(self) -> Result<ChunkIndex<D>, BadIndex> {
        if let Err(error) = self.check.clone().finish() {
            self.disk
                .remove(&self.path)
                .map_err(|error| BadIndex::Disk(at(&self.path)(error)))?;
            return Err(BadIndex::Bytes(error));
        }
        let disk = |error| BadIndex::Disk(at(&self.path)(error));
        let mut file = BufReader::new(self.disk.open(&self.path).map_err(disk)?);
        let mut bytes = [0; CHUNK_INDEX_HEAD_BYTES];
        if self.content.size() < bytes.len() as u64 {
            return Err(BadIndex::Form(ChunkIndexError::Short));
        }
        file.read_exact(&mut bytes).map_err(disk)?;
        let head = ChunkIndexHead::decode(&bytes, self.content.size(), self.payload_size)
            .map_err(BadIndex::Form)?;
        let mut walk = head.walk();
        while walk.left() > 0 {
            let mut record = [0; CHUNK_RECORD_BYTES];
            file.read_exact(&mut record).map_err(disk)?;
            walk.next(&record).map_err(BadIndex::Form)?;
        }
        walk.finish().map_err(BadIndex::Form)?;
        Ok(ChunkIndex {
            disk: self.disk,
            path: self.path,
            head,
        })
    }

    fn begin(&self) -> Result<(), UpdateError> {
        self.disk.remove(&self.path).map_err(at(&self.path))?;
        self.disk.create(&self.path, 0o600).map_err(at(&self.path))
    }
}

/// An index that lies on the disk, hashed and well formed since this agent runs.
#[derive(Debug)]
pub(crate) struct ChunkIndex<D> {
    disk: D,
    path: PathBuf,
    head: ChunkIndexHead,
}

impl<D: Disk> ChunkIndex<D> {
    /// What it says before the records.
    pub(crate) const fn head(&self) -> &ChunkIndexHead {
        &self.head
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the records, from the first on.
    ///
    /// # Errors
    /// Those of the disk.
    pub(crate) fn records(&self) -> io::Result<Records> {
        let head = CHUNK_INDEX_HEAD_BYTES as u64;
        Ok(Records {
            file: BufReader::new(self.disk.open_at(&self.path, head)?),
            walk: self.head.walk(),
        })
    }
}

/// The records of an index, in order. What the disk changed meanwhile is an error where it breaks a rule, and else found out when the
/// payload is whole.
pub(crate) struct Records {
    file: BufReader<Box<dyn Read + Send>>,
    walk: ChunkWalk,
}

impl Iterator for Records {
    type Item = io::Result<Chunk>;

    fn next(&mut self) -> Option<io::Result<Chunk>> {
        if self.walk.left() == 0 {
            return None;
        }
        let mut record = [0; CHUNK_RECORD_BYTES];
        let read = self.file.read_exact(&mut record);
        Some(read.and_then(|()| self.walk.next(&record).map_err(io::Error::other)))
    }
}
