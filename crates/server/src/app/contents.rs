//! Contents: what releases and types name, uploaded in parts, handed out in ranges.

use super::{App, By, Error, act::Done, packs};
use crate::{
    blob::{BlobError, Blobs, Pieces},
    store::{
        contents::{self, Row},
        releases,
    },
};
use bytes::Bytes;
use futures_util::stream::BoxStream;
use kusabi_api::{Hex, Hex32, admin::Content};
use serde_json::json;
use std::{ops::Range, sync::Arc};

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

    /// As the store has it, whatever was noted.
    pub(super) async fn state_of(&self, row: &Row) -> Result<Content, Error> {
        let blobs = self.blobs()?;
        let complete = blobs.size(&row.digest.0).await? == Some(row.size);
        let received = match complete {
            true => row.size,
            false => blobs.received(&row.digest.to_string()).await?,
        };
        Ok(Content {
            digest: row.digest,
            size: row.size,
            received,
            complete,
        })
    }

    /// Receives a part of a content from `offset` on; with the last one, the digest is checked and the content gets its name.
    ///
    /// # Errors
    /// No release and no type names it; the part begins beyond what is here; too many bytes, others than the digest says, or no inventory
    /// or chunk index where there must be one (what was sent is dropped then); no room (what was sent is kept); database or disk fail.
    pub async fn receive_content(
        &self,
        by: &By,
        digest: Hex32,
        offset: u64,
        parts: Parts,
    ) -> Result<Content, Error> {
        let row = self.named(digest).await?;
        let indexed = match row.complete {
            true => Vec::new(),
            false => self.indexed(digest).await?,
        };
        let blobs = Arc::clone(self.blobs()?);
        if blobs.size(&digest.0).await? != Some(row.size) {
            // A task of its own: a client that goes away must not leave a write behind that another request could meet.
            let sizes: Vec<u64> = indexed.iter().map(|(_, size)| *size).collect();
            let receiving =
                tokio::spawn(async move { receive(&blobs, &row, &sizes, offset, parts).await });
            match receiving.await {
                Ok(received) => match received? {
                    received if received < row.size => {
                        return Ok(Content {
                            digest,
                            size: row.size,
                            received,
                            complete: false,
                        });
                    }
                    _ => {}
                },
                Err(why) => return Err(why.into()),
            }
        }
        let complete = Content {
            digest,
            size: row.size,
            received: row.size,
            complete: true,
        };
        if row.complete {
            return Ok(complete);
        }
        let pack = match indexed.first() {
            Some((_, size)) => self.pack_of(digest, row.size, *size).await?,
            None => None,
        };
        let (indexed, pack) = (&indexed, &pack);
        self.act(by, "content.complete", move |tx, now_ms| {
            Box::pin(async move {
                contents::complete(tx.on(), digest, now_ms).await?;
                if let Some(pack) = pack {
                    let releases: Vec<u64> = indexed.iter().map(|(id, _)| *id).collect();
                    packs::name(tx, &releases, pack).await?;
                }
                let detail = json!({ "size": complete.size });
                Ok(Done::changed(complete, digest.to_string(), detail))
            })
        })
        .await
    }

    /// The releases in which a content is the chunk index of a payload, each with that one's size.
    async fn indexed(&self, digest: Hex32) -> Result<Vec<(u64, u64)>, Error> {
        let mut reader = self.store.read("find the releases of a content").await?;
        let naming = releases::naming(reader.on(), digest).await?;
        let sizes = naming.iter().flat_map(|(id, signed)| {
            let sizes = packs::payload_sizes(signed, digest);
            sizes.into_iter().map(|size| (*id, size))
        });
        Ok(sizes.collect())
    }

    /// Drops what a server that died left behind; once, at the start.
    pub(crate) async fn drop_leftovers(&self) {
        let Some(blobs) = &self.blobs else { return };
        if let Err(why) = blobs.drop_leftovers().await {
            tracing::warn!(%why, "what an upload left behind was not removed; the next start tries again");
        }
    }

    /// How many bytes a whole content has; `None`: there is none of this digest. For devices: what they fetch is named by its hash.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn content_size(&self, digest: Hex32) -> Result<Option<u64>, Error> {
        Ok(self.blobs()?.size(&digest.0).await?)
    }

    /// Bytes of a whole content; the range is inside of it.
    ///
    /// # Errors
    /// The disk fails.
    pub(crate) async fn read_content(
        &self,
        digest: Hex32,
        range: Range<u64>,
    ) -> Result<Pieces, Error> {
        Ok(self.blobs()?.read(&digest.0, range).await?)
    }
}

/// Receives a part; when it is the last one, checks the whole and gives it its name.
async fn receive(
    blobs: &Blobs,
    row: &Row,
    indexed: &[u64],
    offset: u64,
    parts: Parts,
) -> Result<u64, BlobError> {
    let name = row.digest.to_string();
    let claim = blobs.claim(&name)?;
    let received = blobs.receive(&claim, row.size, offset, parts).await?;
    if received < row.size {
        return Ok(received);
    }
    let found = match blobs.inspect(&claim, row.inventory).await {
        Ok(found) if found.digest == row.digest.0 => {
            let mut checked = Ok(());
            for payload_size in indexed {
                checked = checked.and(blobs.check_index(&claim, *payload_size).await);
            }
            checked
        }
        Ok(found) => Err(BlobError::WrongDigest {
            is: Hex(found.digest),
        }),
        Err(why) => Err(why),
    };
    match found {
        Ok(()) => {
            blobs.place(&claim, &row.digest.0).await?;
            Ok(received)
        }
        Err(
            fault @ (BlobError::WrongDigest { .. }
            | BlobError::Inventory(_)
            | BlobError::ChunkIndex(_)),
        ) => {
            blobs.drop_received(&claim).await?;
            Err(fault)
        }
        // The disk: what came stays.
        Err(why) => Err(why),
    }
}
