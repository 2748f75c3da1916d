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
use kusabi_mender::{Artifact, ArtifactError, ArtifactKey, Limits, SignatureError};
use sha2::{Digest as _, Sha256};
use std::{
    fs::File,
    io::{self, Read, Write as _},
    path::PathBuf,
};
use tokio::sync::mpsc;

/// Pieces between the network and the thread that reads.
const PIECES: usize = 4;

/// Proofs of keys that are asked for at once.
const PROOFS: usize = 8;

/// The release keys that count now and can sign artifacts, each with its handle.
pub(in crate::app) type Keys = Vec<(Hex32, ArtifactKey)>;

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
) -> Result<Arrived, Refused> {
    let (to, from) = mpsc::channel(PIECES);
    let reading = tokio::task::spawn_blocking(move || {
        let tee = Tee::new(
            Pieces {
                from,
                piece: Bytes::new(),
                is_over: false,
            },
            file,
        );
        read(tee, &keys, must_be_signed)
    });
    let fed = feed(pieces, to).await;
    let read = match reading.await {
        Ok(read) => read,
        Err(why) => {
            let source = io::Error::other(why);
            return Err(Refused::Blob(BlobError::Io {
                doing: "read an artifact in",
                path: PathBuf::new(),
                source,
            }));
        }
    };
    // A line that broke is the reason for whatever the reader says then.
    fed.map_err(Refused::Blob)?;
    read
}

/// Reads an artifact that lies in a file.
pub(in crate::app) async fn read_file(file: File, keys: Keys) -> Result<Arrived, Refused> {
    let reading = tokio::task::spawn_blocking(move || read(Tee::new(file, None), &keys, false));
    match reading.await {
        Ok(read) => read,
        Err(why) => Err(Refused::Blob(BlobError::Io {
            doing: "read an artifact in",
            path: PathBuf::new(),
            source: io::Error::other(why),
        })),
    }
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
    let (handles, keys): (Vec<Hex32>, Vec<ArtifactKey>) = keys.iter().cloned().unzip();
    let read = (|| {
        let opened =
            kusabi_mender::open(&mut tee, &Limits::default()).map_err(Refused::Artifact)?;
        let signer = opened.manifest().verify(&keys);
        if must_be_signed && let Err(why) = signer {
            return Err(Refused::Signature(why));
        }
        let signer = signer.map(|at| handles.get(at).copied().unwrap_or(Hex([0; 32])));
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
