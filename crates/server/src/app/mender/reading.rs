//! Artifacts as they come: read, hashed and, where they are new, written to disk in one go, on a thread that may wait.
//!
//! Who signed an artifact is known as soon as its manifest is there. One that has to be signed by somebody who counts is refused then,
//! before the rest of it is taken.

use crate::{
    app::{App, Error},
    blob::{BlobError, PIECE_TIME},
    store::mender_artifacts::{self as rows, ArtKey},
};
use bytes::{Buf as _, Bytes};
use futures_util::{Stream, StreamExt as _, future::try_join_all};
use kusabi_api::{Hex, Hex32};
use kusabi_core::{id::Handle, row::Record, suite::Purpose};
use kusabi_mender::{Artifact, ArtifactError, ArtifactKey, Limits, Manifest, SignatureError};
use sha2::{Digest as _, Sha256};
use std::{
    fs::File,
    io::{self, Read, Write as _},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Artifacts that are read at a time, from wherever they come: each may ask for some 70 MiB of memory.
const AT_ONCE: usize = 8;

/// How long an artifact that is here already waits for its turn.
const TURN_TIME: Duration = Duration::from_secs(10);

/// When to come back where too many artifacts are read, in seconds.
const CROWDED_SECS: u32 = 10;

/// Pieces between the network and the thread that reads.
const PIECES: usize = 4;

/// Proofs of keys that are asked for at once.
const PROOFS: usize = 8;

/// The release keys that count now and can sign artifacts, each with its handle.
pub(in crate::app) type Keys = Vec<(Hex32, ArtifactKey)>;

/// The turns in which artifacts are read.
#[derive(Debug)]
pub(super) struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Turns {
    /// A turn for an artifact that comes over the network, as slowly as it likes: now or not at all.
    pub(super) fn take(&self) -> Result<Turn, Error> {
        let turn = Arc::clone(&self.0).try_acquire_owned();
        turn.map(Turn).map_err(|_| CROWDED)
    }

    /// A turn for an artifact whose bytes are here; it is waited for, for a while.
    async fn wait(&self) -> Result<Turn, Error> {
        let turn = Arc::clone(&self.0).acquire_owned();
        match tokio::time::timeout(TURN_TIME, turn).await {
            Ok(Ok(turn)) => Ok(Turn(turn)),
            _ => Err(CROWDED),
        }
    }
}

/// A turn: the reader has it until it ends, though nobody waits for it any more.
pub(in crate::app) struct Turn(
    #[expect(dead_code, reason = "it counts while it lives")] OwnedSemaphorePermit,
);

const CROWDED: Error = Error::Crowded {
    wait_secs: CROWDED_SECS,
};

/// An artifact that was read to its end.
pub(in crate::app) struct Arrived {
    pub(in crate::app) artifact: Artifact,
    /// SHA-256 of all of it.
    pub(in crate::app) digest: Hex32,
    /// The release key that signed it, or why none did.
    pub(in crate::app) signer: Result<Hex32, SignatureError>,
}

/// Why an artifact did not arrive.
#[derive(Debug)]
pub(in crate::app) enum Refused {
    /// It is none.
    Artifact(ArtifactError),
    /// Nobody who counts signed it, and somebody had to.
    Signature(SignatureError),
    /// The line, or the disk.
    Blob(BlobError),
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Artifact(ArtifactError::Artifact { bytes_max }) => {
                super::artifacts::too_large(bytes_max)
            }
            Refused::Artifact(why) => Self::Malformed(why.to_string()),
            Refused::Signature(why) => Self::Malformed(why.to_string()),
            Refused::Blob(why) => why.into(),
        }
    }
}

impl App {
    /// A turn for an artifact whose bytes are here; it is waited for, for a while.
    pub(in crate::app) async fn reading_turn(&self) -> Result<Turn, Error> {
        self.mender.turns.wait().await
    }

    /// The release keys that may sign artifacts: those that the ledger was seen to hold, each proven now.
    pub(in crate::app) async fn artifact_keys(&self) -> Result<Keys, Error> {
        let noted = {
            let mut reader = self.store.read("look for release keys").await?;
            rows::art_keys(reader.on()).await?
        };
        let mut keys = Vec::new();
        for some in noted.chunks(PROOFS) {
            let asked = some.iter().map(|key| self.artifact_key(key));
            keys.extend(try_join_all(asked).await?.into_iter().flatten());
        }
        Ok(keys)
    }

    async fn artifact_key(&self, noted: &ArtKey) -> Result<Option<(Hex32, ArtifactKey)>, Error> {
        let Some(record) = self.art_record(noted.handle).await? else {
            return Ok(None);
        };
        let key = match record.keys().verification_key() {
            Some(key) => ArtifactKey::try_from(key).ok(),
            // It stands on the ledger by its digest; the whole of it is a node's word until it is compared.
            None if record.keys().matches_spki(&noted.spki) => {
                ArtifactKey::from_spki(&noted.spki).ok()
            }
            None => None,
        };
        Ok(key.map(|key| (noted.handle, key)))
    }

    /// Whether a key is a release key of this organisation, in force; proven.
    pub(super) async fn counts(&self, handle: Hex32) -> Result<bool, Error> {
        Ok(self.art_record(handle).await?.is_some())
    }

    async fn art_record(&self, handle: Hex32) -> Result<Option<Record>, Error> {
        let proven = self.ask(self.ledger.record(&Handle::new(handle.0))).await?;
        Ok(proven.into_value().filter(|record| {
            record.purpose() == Purpose::Art && record.owner() == self.org() && record.is_active()
        }))
    }
}

/// Reads an artifact as it comes and, where there is a file for it, writes it there; what was written is on disk then. With
/// `must_be_signed` it is refused as soon as it is known that none of the keys signed it.
pub(in crate::app) async fn receive<E>(
    pieces: impl Stream<Item = Result<Bytes, E>> + Unpin,
    file: Option<(File, PathBuf)>,
    keys: Keys,
    must_be_signed: bool,
    turn: Turn,
) -> Result<Arrived, Refused> {
    fed(pieces, move |pieces| {
        let _turn = turn;
        read(Tee::new(pieces, file), &keys, must_be_signed)
    })
    .await
}

/// The release key that signed an artifact whose bytes are known, or why none did: no more than its manifest is read.
pub(super) async fn signer<E>(
    pieces: impl Stream<Item = Result<Bytes, E>> + Unpin,
    keys: Keys,
) -> Result<Result<Hex32, SignatureError>, Refused> {
    fed(pieces, move |pieces| {
        let opened = kusabi_mender::open(pieces, &Limits::default()).map_err(Refused::Artifact)?;
        Ok(signer_of(opened.manifest(), &keys))
    })
    .await
}

/// Reads an artifact that lies in a file.
pub(in crate::app) async fn read_file(
    file: File,
    keys: Keys,
    turn: Turn,
) -> Result<Arrived, Refused> {
    on_a_thread(move || {
        let _turn = turn;
        read(Tee::new(file, None), &keys, false)
    })
    .await
}

/// Reads, on a thread that may wait, what comes piece by piece.
async fn fed<E, T: Send + 'static>(
    pieces: impl Stream<Item = Result<Bytes, E>> + Unpin,
    read: impl FnOnce(Pieces) -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    let (to, from) = mpsc::channel(PIECES);
    let reading = on_a_thread(move || {
        read(Pieces {
            from,
            piece: Bytes::new(),
            is_over: false,
        })
    });
    let (fed, read) = tokio::join!(feed(pieces, to), reading);
    // A line that broke is the reason for whatever the reader says then.
    fed.map_err(Refused::Blob)?;
    read
}

async fn on_a_thread<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    let read = tokio::task::spawn_blocking(read).await;
    read.unwrap_or_else(|why| {
        Err(Refused::Blob(BlobError::Io {
            doing: "read an artifact in",
            path: PathBuf::new(),
            source: io::Error::other(why),
        }))
    })
}

async fn feed<E>(
    mut pieces: impl Stream<Item = Result<Bytes, E>> + Unpin,
    to: mpsc::Sender<Option<Bytes>>,
) -> Result<(), BlobError> {
    loop {
        let coming = tokio::select! {
            // The reader has gone: it has seen enough to say no, and nobody waits for the rest.
            () = to.closed() => return Ok(()),
            coming = tokio::time::timeout(PIECE_TIME, pieces.next()) => coming,
        };
        let piece = match coming {
            Ok(Some(Ok(piece))) => Some(piece),
            Ok(None) => None,
            Ok(Some(Err(_))) | Err(_) => return Err(BlobError::BrokeOff),
        };
        let ends = piece.is_none();
        if to.send(piece).await.is_err() || ends {
            return Ok(());
        }
    }
}

fn read<R: Read>(mut tee: Tee<R>, keys: &Keys, must_be_signed: bool) -> Result<Arrived, Refused> {
    let read = (|| {
        let opened =
            kusabi_mender::open(&mut tee, &Limits::default()).map_err(Refused::Artifact)?;
        let signer = signer_of(opened.manifest(), keys);
        if must_be_signed && let Err(why) = signer {
            return Err(Refused::Signature(why));
        }
        let artifact = opened.read(&mut ()).map_err(Refused::Artifact)?;
        Ok((artifact, signer))
    })();
    if let Some(fault) = tee.fault.take() {
        return Err(Refused::Blob(fault));
    }
    let (artifact, signer) = read?;
    let digest = tee.finish().map_err(Refused::Blob)?;
    Ok(Arrived {
        artifact,
        digest,
        signer,
    })
}

fn signer_of(manifest: &Manifest, keys: &Keys) -> Result<Hex32, SignatureError> {
    let (handles, keys): (Vec<Hex32>, Vec<ArtifactKey>) = keys.iter().cloned().unzip();
    let signer = manifest.verify(&keys);
    signer.map(|at| handles.get(at).copied().unwrap_or(Hex([0; 32])))
}

/// What comes over a channel; `None` is its end. A channel that ends without one broke off.
struct Pieces {
    from: mpsc::Receiver<Option<Bytes>>,
    piece: Bytes,
    is_over: bool,
}

impl Read for Pieces {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.from.blocking_recv() {
                Some(Some(piece)) => self.piece = piece,
                Some(None) => {
                    self.is_over = true;
                    return Ok(0);
                }
                None if self.is_over => return Ok(0),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let count = (&*self.piece).read(to)?;
        self.piece.advance(count);
        Ok(count)
    }
}

/// Hashes what is read and writes it down.
struct Tee<R> {
    input: R,
    file: Option<(File, PathBuf)>,
    hasher: Sha256,
    /// What went wrong with the file.
    fault: Option<BlobError>,
}

impl<R> Tee<R> {
    fn new(input: R, file: Option<(File, PathBuf)>) -> Self {
        Self {
            input,
            file,
            hasher: Sha256::new(),
            fault: None,
        }
    }

    fn finish(self) -> Result<Hex32, BlobError> {
        if let Some((file, path)) = &self.file {
            file.sync_all().map_err(BlobError::of("write", path))?;
        }
        Ok(Hex(self.hasher.finalize().into()))
    }
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(to)?;
        let read = to.get(..count).unwrap_or_default();
        self.hasher.update(read);
        if let Some((file, path)) = &mut self.file
            && let Err(source) = file.write_all(read)
        {
            let kind = source.kind();
            self.fault = Some(BlobError::Io {
                doing: "write",
                path: path.clone(),
                source,
            });
            return Err(kind.into());
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn so_many_artifacts_are_read_at_a_time_wherever_they_come_from() {
        let turns = Turns::default();
        let mut taken: Vec<Turn> = (0..AT_ONCE).map(|_| turns.take().unwrap()).collect();
        assert!(matches!(turns.take(), Err(Error::Crowded { .. })));
        assert!(matches!(turns.wait().await, Err(Error::Crowded { .. })));
        // Who reads what is here waits until another one is through.
        let freed = async { drop(taken.pop()) };
        let (waited, ()) = tokio::join!(turns.wait(), freed);
        let waited = waited.unwrap();
        assert!(turns.take().is_err());
        // A reader that nobody waits for any more has its turn until it ends.
        let (begun, go) = (std::sync::mpsc::channel(), std::sync::mpsc::channel::<()>());
        let reading = on_a_thread(move || {
            let _turn = waited;
            begun.0.send(()).unwrap();
            let _ = go.1.recv();
            Ok(())
        });
        let reading = tokio::spawn(reading);
        tokio::task::yield_now().await;
        begun.1.recv().unwrap();
        reading.abort();
        assert!(reading.await.unwrap_err().is_cancelled());
        assert!(turns.take().is_err());
        drop(go.0);
        assert!(turns.wait().await.is_ok());
    }
}
