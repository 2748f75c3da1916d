//! Contents: what releases and types name, uploaded in parts, handed out in ranges.

use super::{
    App, By, Error, TRIES,
    act::Done,
    blobs::{Whole, deleted, want},
    mender,
    mender::reading::{self, Refused},
    packs,
};
use crate::{
    blob::{Blob, BlobError, Blobs, Claim, Pieces},
    sendfile::Outlet,
    store::{
        contents::{self, Row},
        mender_artifacts::Row as Artifact,
        releases,
    },
};
use bytes::Bytes;
use futures_util::stream::BoxStream;
use kusabi_api::{Hex, Hex32, admin::Content};
use serde_json::json;
use std::{collections::BTreeSet, ops::Range, sync::Arc};

/// The parts of a body as they come.
pub type Parts = BoxStream<'static, Result<Bytes, axum::Error>>;

impl App {
    pub(super) fn blobs(&self) -> Result<&Arc<Blobs>, Error> {
        self.blobs.as_ref().ok_or_else(|| {
            Error::Unfit(String::from(
                "this server was started without a place for firmware",
            ))
        })
    }

    /// How much of a content is here.
    ///
    /// # Errors
    /// No release and no type names it; disk or database fail.
    pub async fn content(&self, digest: Hex32) -> Result<Content, Error> {
        let row = self.named(digest).await?;
        self.state_of(&row).await
    }

    async fn named(&self, digest: Hex32) -> Result<Row, Error> {
        let mut reader = self.store.read("find a content").await?;
        let row = contents::find(reader.on(), digest).await?;
        row.ok_or_else(|| Error::Unknown {
            what: "content that a release or a type names, with the digest",
            id: digest.to_string(),
        })
    }

    /// What was noted, as far as the store has it still.
    pub(super) async fn state_of(&self, row: &Row) -> Result<Content, Error> {
        let blobs = self.blobs()?;
        let placed = blobs.size(row.blob()).await? == Some(row.size);
        let received = match placed {
            true => row.size,
            false => blobs.received(&row.digest.to_string()).await?,
        };
        Ok(Content {
            digest: row.digest,
            size: row.size,
            received,
            complete: placed && row.complete,
        })
    }

    /// Receives a part of a content from `offset` on; with the last one, the digest is checked and the content gets its name.
    ///
    /// # Errors
    /// No release and no type names it; the part begins beyond what is here; too many bytes, others than the digest says, or no inventory
    /// chunk index or Mender artifact where there must be one, or one that has another one's name (what was sent is dropped then); it was
    /// deleted meanwhile; no room, too many artifacts are read, or release after release comes that names it (what was sent is kept);
    /// database or disk fail.
    pub async fn receive_content(
        self: &Arc<Self>,
        by: &By,
        digest: Hex32,
        offset: u64,
        parts: Parts,
    ) -> Result<Content, Error> {
        let mut sent = Some((offset, parts));
        for _ in 0..TRIES {
            let row = self.named(digest).await?;
            let whole = Content {
                digest,
                size: row.size,
                received: row.size,
                complete: true,
            };
            let placed = self.blobs()?.size(row.blob()).await? == Some(row.size);
            if placed && row.complete {
                self.read_unread(by, digest).await?;
                return Ok(whole);
            }
            let naming = self.naming(digest).await?;
            let must_be = MustBe::of(&naming, digest, by);
            let written = match (placed, sent.take()) {
                // A server died before it could say so, or a release came meanwhile that says more of it.
                (true, _) => self.find_written(&row, &must_be).await?,
                (false, Some((offset, parts))) => {
                    // A task of its own: a client that goes away must not leave a write behind that another request could meet.
                    let app = Arc::clone(self);
                    let receiving =
                        tokio::spawn(
                            async move { app.receive(&row, must_be, offset, parts).await },
                        );
                    match receiving.await?? {
                        Received::Part(received) => {
                            return Ok(Content {
                                received,
                                complete: false,
                                ..whole
                            });
                        }
                        Received::All(written) => Some(*written),
                    }
                }
                (false, None) => return Err(deleted(digest)),
            };
            let Some(written) = written else { continue };
            match self.complete(by, whole, &naming, written).await {
                Err(Error::Stale) => {}
                completed => return completed,
            }
        }
        Err(Error::Stale)
    }

    /// Bytes that are in their place, and nobody said so.
    async fn find_written(&self, row: &Row, must_be: &MustBe) -> Result<Option<Written>, Error> {
        let blobs = self.blobs()?;
        let blob = self.announce_blob(row.digest).await?;
        // Announced: from here on nobody removes them unseen.
        if blobs.size(blob).await? != Some(row.size) {
            return Ok(None);
        }
        let artifact = match must_be.artifact {
            true => {
                let whole = Whole {
                    blob,
                    size: row.size,
                };
                Some(self.read_whole(&must_be.by, whole).await?)
            }
            false => None,
        };
        Ok(Some(Written { blob, artifact }))
    }

    /// Acknowledges a content whose bytes are in their place, with all that follows from it.
    ///
    /// # Errors
    /// A release came meanwhile, so that more may follow ([`Error::Stale`]); what [`receive_content`](Self::receive_content) says.
    async fn complete(
        &self,
        by: &By,
        complete: Content,
        naming: &[(u64, Vec<u8>)],
        Written { blob, artifact }: Written,
    ) -> Result<Content, Error> {
        let Content { digest, size, .. } = complete;
        let indexed = indexed(naming, digest);
        let pack = match indexed.first() {
            Some((_, payload_size)) => {
                let whole = Whole { blob, size };
                self.pack_in(whole, *payload_size).await?
            }
            None => None,
        };
        let (indexed, pack, artifact) = (&indexed, &pack, &artifact);
        let completed = self.act(by, "content.complete", move |tx, now_ms| {
            Box::pin(async move {
                let Some(row) = contents::find(tx.on(), digest).await? else {
                    return Err(deleted(digest));
                };
                // A release of the same number is of the same manifest for ever: the numbers are enough.
                let known: BTreeSet<u64> = naming.iter().map(|(id, _)| *id).collect();
                if releases::with_content(tx.on(), digest).await? != known {
                    return Err(Error::Stale);
                }
                let mut news = want(tx, &row, blob, now_ms).await?;
                if let Some(pack) = pack {
                    let releases: Vec<u64> = indexed.iter().map(|(id, _)| *id).collect();
                    packs::name(tx, &releases, pack).await?;
                }
                if let Some(artifact) = artifact {
                    news |= mender::note(tx, artifact, now_ms).await?;
                }
                if !news {
                    return Ok(Done::nothing(complete));
                }
                let detail = json!({ "size": size });
                Ok(Done::changed(complete, digest.to_string(), detail))
            })
        });
        match completed.await {
            Err(why @ (Error::Exists { .. } | Error::Conflict(_) | Error::Unfit(_))) => {
                self.discard(blob).await;
                Err(why)
            }
            completed => completed,
        }
    }

    /// Reads a content as an artifact where a release names it as one and nobody has, and looks who signed it, where nobody did who
    /// counts.
    async fn read_unread(&self, by: &By, digest: Hex32) -> Result<(), Error> {
        if mender::is_artifact_of(&self.naming(digest).await?, digest) {
            self.read_artifact(by, digest).await?;
        }
        Ok(())
    }

    /// The releases that name a content.
    async fn naming(&self, digest: Hex32) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        let mut reader = self.store.read("find the releases of a content").await?;
        Ok(releases::naming(reader.on(), digest).await?)
    }

    /// Bytes of a whole content for who asked for them; the range is inside of it. A file leaves by the connection's outlet, where it has
    /// one.
    ///
    /// # Errors
    /// The disk fails.
    pub(crate) async fn send_content(
        &self,
        whole: Whole,
        range: Range<u64>,
        outlet: Option<Outlet>,
    ) -> Result<Pieces, Error> {
        Ok(self.blobs()?.send(whole.blob, range, outlet).await?)
    }
}

/// The releases in which a content is the chunk index of a payload, each with that one's size.
fn indexed(naming: &[(u64, Vec<u8>)], digest: Hex32) -> Vec<(u64, u64)> {
    let sizes = naming.iter().flat_map(|(id, signed)| {
        let sizes = packs::payload_sizes(signed, digest);
        sizes.into_iter().map(|size| (*id, size))
    });
    sizes.collect()
}

/// What releases say that a content is, beside bytes.
struct MustBe {
    /// The chunk index of payloads of these sizes.
    indexed: Vec<u64>,
    /// A Mender artifact.
    artifact: bool,
    /// Who sends it.
    by: String,
}

impl MustBe {
    fn of(naming: &[(u64, Vec<u8>)], digest: Hex32, by: &By) -> Self {
        Self {
            indexed: indexed(naming, digest)
                .iter()
                .map(|(_, size)| *size)
                .collect(),
            artifact: mender::is_artifact_of(naming, digest),
            by: by.caller.id().to_owned(),
        }
    }
}

/// Bytes that are in their place, and which artifact they are; to be acknowledged.
struct Written {
    blob: Blob,
    artifact: Option<Artifact>,
}

/// What came of a content.
enum Received {
    /// So many bytes are here, and more are to come.
    Part(u64),
    All(Box<Written>),
}

impl App {
    /// Receives a part; when it is the last one, checks the whole and gives it its name.
    async fn receive(
        &self,
        row: &Row,
        must_be: MustBe,
        offset: u64,
        parts: Parts,
    ) -> Result<Received, Error> {
        let (blobs, name) = (self.blobs()?, row.digest.to_string());
        let claim = blobs.claim(&name)?;
        let received = blobs.receive(&claim, row.size, offset, parts).await?;
        if received < row.size {
            return Ok(Received::Part(received));
        }
        match self.check(&claim, row, must_be).await {
            Ok(artifact) => {
                let blob = self.place(&claim, row.digest).await?;
                Ok(Received::All(Box::new(Written { blob, artifact })))
            }
            Err(
                fault @ (Error::Blob(
                    BlobError::WrongDigest { .. }
                    | BlobError::Inventory(_)
                    | BlobError::ChunkIndex(_)
                    | BlobError::Artifact(_),
                )
                | Error::Exists { .. }
                | Error::Conflict(_)),
            ) => {
                blobs.drop_received(&claim).await?;
                Err(fault)
            }
            // The disk, the ledger, or no turn: what came stays.
            Err(why) => Err(why),
        }
    }

    /// Checks that what has come whole is what it must be.
    async fn check(
        &self,
        claim: &Claim<'_>,
        row: &Row,
        must_be: MustBe,
    ) -> Result<Option<Artifact>, Error> {
        let blobs = self.blobs()?;
        let found = blobs.inspect(claim, row.inventory).await?;
        if found.digest != row.digest.0 {
            let is = Hex(found.digest);
            return Err(BlobError::WrongDigest { is }.into());
        }
        for payload_size in must_be.indexed {
            blobs.check_index(claim, payload_size).await?;
        }
        if !must_be.artifact {
            return Ok(None);
        }
        // Whoever signed it is noted; only an upload of the artifact by itself asks for somebody.
        let keys = self.artifact_keys().await?;
        let turn = self.reading_turn().await?;
        match reading::read_file(blobs.reopen(claim).await?, keys, turn).await {
            Ok(arrived) => {
                let artifact = mender::row_of_release(&arrived, &must_be.by);
                self.fits(&artifact).await?;
                Ok(Some(artifact))
            }
            Err(Refused::Artifact(why)) => Err(BlobError::Artifact(Box::new(why)).into()),
            Err(Refused::Blob(why)) => Err(why.into()),
            // Nobody had to have signed it.
            Err(Refused::Signature(_)) => Ok(None),
        }
    }
}
