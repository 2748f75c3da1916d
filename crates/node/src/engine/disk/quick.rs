//! Reads that need no thread.
//!
//! The engine reads a page that it does not hold through a pool of threads, and past the operating system's cache, because
//! it assumes that nobody will want the page again. A lookup on a large ledger wants a few pages that are spread over the whole
//! state, so nearly each of them would wait for a thread and for the disk. Here the system is asked first
//! (`preadv2` with `RWF_NOWAIT`): what it has in memory is copied at once, the rest goes the engine's way, and stays in the
//! system's cache, which costs this process no memory and goes away when somebody else needs it.

use commonware_runtime::{
    BLOB_PAGE_SIZE, Blob, Error, Handle, IoBufs, IoBufsMut, ReadOptions, WriteOptions,
};
use futures::{FutureExt as _, Stream, StreamExt as _, stream, stream::FuturesUnordered};
use rustix::io::{ReadWriteFlags, preadv2};
use std::{fs::File, io::IoSliceMut, path::Path};

/// Bytes before a blob's first in its file, in the engine's layouts.
const STARTS: [u64; 2] = [8, BLOB_PAGE_SIZE as u64];

/// A blob of the engine, and a second way to read its file.
pub(in crate::engine) struct Quick<B> {
    inner: B,
    file: Option<Direct>,
}

struct Direct {
    file: File,
    /// Where the blob's first byte stands in the file.
    start: u64,
}

impl<B> Quick<B> {
    /// `size` is what the engine says of the blob that it just opened; it and the file's length tell where the blob begins.
    /// Without a path, or where it leads to something else, the engine's way alone serves.
    pub(super) fn new(inner: B, path: Option<&Path>, size: u64) -> Self {
        let open = || {
            let file = File::open(path?).ok()?;
            let start = file.metadata().ok()?.len().checked_sub(size)?;
            STARTS.contains(&start).then_some(Direct { file, start })
        };
        Self {
            inner,
            file: open(),
        }
    }
}

impl<B> Quick<B> {
    fn now(&self, offset: u64, len: usize) -> Option<IoBufsMut> {
        Some(self.file.as_ref()?.read(offset, len)?.into())
    }
}

impl Direct {
    /// The bytes, if all of them are in memory.
    fn read(&self, offset: u64, len: usize) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).ok()?;
        bytes.resize(len, 0);
        let at = self.start.checked_add(offset)?;
        let slices = &mut [IoSliceMut::new(&mut bytes)];
        // Less than all, "would block", a file system that cannot say: all the same, the engine reads.
        let read = preadv2(&self.file, slices, at, ReadWriteFlags::NOWAIT).ok()?;
        (read == len).then_some(bytes)
    }
}

impl<B: Blob> Blob for Quick<B> {
    async fn read_at_buf(
        &self,
        offset: u64,
        len: usize,
        bufs: impl Into<IoBufsMut> + Send,
        options: ReadOptions,
    ) -> Result<IoBufsMut, Error> {
        self.inner.read_at_buf(offset, len, bufs, options).await
    }

    async fn read_at(
        &self,
        offset: u64,
        len: usize,
        options: ReadOptions,
    ) -> Result<IoBufsMut, Error> {
        if let Some(bytes) = self.now(offset, len) {
            return Ok(bytes);
        }
        self.inner.read_at(offset, len, kept(options)).await
    }

    fn read_many(
        &self,
        ranges: &[(u64, usize)],
        options: ReadOptions,
    ) -> impl Stream<Item = Result<(usize, IoBufsMut), Error>> + Send {
        let at_once = Vec::with_capacity(ranges.len());
        let mut answers = (at_once, FuturesUnordered::new());
        for (index, &(offset, len)) in ranges.iter().enumerate() {
            match self.now(offset, len) {
                Some(bytes) => answers.0.push(Ok((index, bytes))),
                None => answers.1.push(
                    self.inner
                        .read_at(offset, len, kept(options))
                        .map(move |read| read.map(|bytes| (index, bytes))),
                ),
            }
        }
        stream::iter(answers.0).chain(answers.1)
    }

    // Whole files, once, in their order: what the engine's own way is made for.
    async fn start_read_many(
        &self,
        ranges: &[(u64, usize)],
        options: ReadOptions,
    ) -> Handle<Vec<IoBufsMut>> {
        self.inner.start_read_many(ranges, options).await
    }

    async fn write_at(
        &self,
        offset: u64,
        bufs: impl Into<IoBufs> + Send,
        options: WriteOptions,
    ) -> Result<(), Error> {
        self.inner.write_at(offset, bufs, options).await
    }

    async fn resize(&self, len: u64) -> Result<(), Error> {
        self.inner.resize(len).await
    }

    async fn sync(&self) -> Result<(), Error> {
        self.inner.sync().await
    }

    async fn start_sync(&self) -> Handle<()> {
        self.inner.start_sync().await
    }
}

/// A page that was asked for once stays in the system's cache.
const fn kept(options: ReadOptions) -> ReadOptions {
    options.without(ReadOptions::DONT_CACHE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_runtime::{Runner as _, Storage as _, tokio as engine};
    use std::io::Write as _;

    #[test]
    fn the_second_way_reads_what_the_first_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let config = engine::Config::new().with_storage_directory(folder.path());
        engine::Runner::new(config).start(|context| async move {
            let (blob, size) = context.open("part", b"blob").await.unwrap();
            let path = folder.path().join("part").join("626c6f62");
            let quick = Quick::new(blob, Some(&path), size);
            let bytes: Vec<u8> = (0..20_000u32).flat_map(u32::to_be_bytes).collect();
            quick
                .write_at(0, bytes.clone(), WriteOptions::default())
                .await
                .unwrap();
            // What was written a moment ago is in memory: the second way must serve.
            for (offset, len) in [(0, 1), (4095, 2), (4096, 4096), (79_999, 1)] {
                let at_once = quick.now(offset, len).unwrap().coalesce();
                let start = usize::try_from(offset).unwrap();
                assert_eq!(at_once.as_ref(), &bytes[start..start + len]);
            }
            assert!(quick.now(79_999, 2).is_none(), "beyond the end");
            let ranges = [(8, 4), (79_996, 4), (0, 4)];
            let mut read: Vec<_> = quick
                .read_many(&ranges, ReadOptions::DONT_CACHE)
                .map(Result::unwrap)
                .collect()
                .await;
            read.sort_by_key(|(index, _)| *index);
            for ((_, got), (offset, len)) in read.into_iter().zip(ranges) {
                let start = usize::try_from(offset).unwrap();
                assert_eq!(got.coalesce().as_ref(), &bytes[start..start + len]);
            }
            let beyond = quick.read_at(79_999, 2, ReadOptions::default()).await;
            assert!(beyond.is_err(), "the engine says so");
        });
    }

    #[test]
    fn where_the_layout_is_another_the_engine_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        File::create(&path).unwrap().write_all(&[0; 100]).unwrap();
        assert!(Quick::new((), Some(&path), 10).file.is_none());
        assert!(Quick::new((), Some(&path), 92).file.is_some());
        assert!(
            Quick::new((), Some(&folder.path().join("none")), 0)
                .file
                .is_none()
        );
    }
}
