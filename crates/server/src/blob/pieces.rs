//! Contents of a directory, on their way through this process: over TLS, or to be read here. Otherwise they leave by
//! [`sendfile`](crate::sendfile).
//!
//! The library reads 8 KiB at a time, each on a thread that has to be woken (docs/performance.md has what that costs). Here a piece is
//! larger, lies in a buffer that is used again, and what the operating system has in memory is read at once (`preadv2` with
//! `RWF_NOWAIT`); only what the disk has to bring is waited for on another thread.
//!
//! A content that is removed meanwhile is read to its end: its file is open.

use bytes::Bytes;
use futures_util::{Stream, stream};
use rustix::io::{ReadWriteFlags, preadv2};
use std::{
    fs::File,
    io::{self, IoSliceMut},
    ops::Range,
    os::unix::fs::FileExt as _,
    sync::{Arc, Mutex, PoisonError},
};

/// Bytes of a piece. A connection that does not take them holds one, and the one that is sent.
const PIECE_BYTES: usize = 128 * 1024;

/// Buffers that nobody reads from.
type Free = Arc<Mutex<Vec<Vec<u8>>>>;

/// A piece on its way; when it was sent, its buffer serves again.
struct Piece {
    buffer: Vec<u8>,
    length: usize,
    free: Free,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        self.buffer.get(..self.length).unwrap_or_default()
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        lock(&self.free).push(buffer);
    }
}

fn lock(free: &Free) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
    free.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The bytes of a file in this range, which is inside of it.
pub(super) fn of(file: File, range: Range<u64>) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let free = Free::default();
    stream::try_unfold((Arc::new(file), range.start), move |(file, at)| {
        let (free, left) = (Arc::clone(&free), range.end.saturating_sub(at));
        async move {
            if left == 0 {
                return Ok(None);
            }
            let length = usize::try_from(left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
            let mut buffer = lock(&free).pop().unwrap_or_default();
            buffer.resize(length, 0);
            let (buffer, length) = match now(&file, &mut buffer, at) {
                Some(length) => (buffer, length),
                None => read(Arc::clone(&file), buffer, at).await?,
            };
            if length == 0 {
                // Contents never change; somebody has been at the directory.
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            let piece = Bytes::from_owner(Piece {
                buffer,
                length,
                free,
            });
            Ok(Some((piece, (file, at + length as u64))))
        }
    })
}

/// What of it is in memory; `None`: nothing, or the file system cannot say.
fn now(file: &File, buffer: &mut [u8], at: u64) -> Option<usize> {
    let slices = &mut [IoSliceMut::new(buffer)];
    let read = preadv2(file, slices, at, ReadWriteFlags::NOWAIT);
    read.ok().filter(|&length| length > 0)
}

/// Reads on a thread that may wait for the disk.
async fn read(file: Arc<File>, mut buffer: Vec<u8>, at: u64) -> io::Result<(Vec<u8>, usize)> {
    let read = tokio::task::spawn_blocking(move || {
        loop {
            match file.read_at(&mut buffer, at) {
                Ok(length) => return Ok((buffer, length)),
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(why) => return Err(why),
            }
        }
    });
    read.await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{StreamExt as _, TryStreamExt as _};

    fn file_of(size: usize) -> (File, Vec<u8>) {
        use std::io::Write as _;
        let bytes: Vec<u8> = (0..size).map(|at| (at / 251 % 256) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        (file, bytes)
    }

    #[tokio::test]
    async fn every_range_is_what_the_file_has_there() {
        let (file, bytes) = file_of(3 * PIECE_BYTES + 17);
        let size = bytes.len();
        let piece = PIECE_BYTES;
        for (from, to) in [
            (0, size),
            (0, 0),
            (0, 1),
            (piece - 1, piece + 1),
            (piece, 2 * piece),
            (size - 1, size),
            (5, size - 5),
        ] {
            let pieces = of(file.try_clone().unwrap(), from as u64..to as u64);
            let came: Vec<Bytes> = pieces.try_collect().await.unwrap();
            assert!(came.concat() == bytes[from..to], "{from} to {to}");
        }
    }

    #[tokio::test]
    async fn buffers_serve_again_and_never_change_under_who_holds_them() {
        let (file, bytes) = file_of(8 * PIECE_BYTES);
        let mut pieces = Box::pin(of(file, 0..bytes.len() as u64));
        let mut addresses = std::collections::BTreeSet::new();
        let mut held = Vec::new();
        let mut at = 0;
        while let Some(piece) = pieces.next().await {
            let piece = piece.unwrap();
            addresses.insert(piece.as_ptr());
            assert!(piece == bytes[at..at + piece.len()]);
            at += piece.len();
            held.push((at - piece.len(), piece));
            // Two at a time, as a connection has them.
            if held.len() > 2 {
                held.remove(0);
            }
            for (from, piece) in &held {
                assert!(*piece == bytes[*from..from + piece.len()]);
            }
        }
        assert_eq!(at, bytes.len());
        assert!(addresses.len() <= 4, "{} buffers", addresses.len());
    }

    #[tokio::test]
    async fn a_file_that_was_cut_short_is_an_error_and_no_shorter_content() {
        let (file, bytes) = file_of(PIECE_BYTES + 1);
        let pieces = of(file, 0..bytes.len() as u64 + 1);
        let came: Result<Vec<Bytes>, _> = pieces.try_collect().await;
        assert_eq!(came.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
