//! Contents: what releases and types name, uploaded in parts, handed out in ranges.

use super::{App, By, Error, act::Done};
use crate::{
    blob::{BlobError, Blobs, Pieces},
    store::contents::{self, Row},
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
    /// where there must be one (what was sent is dropped then); no room (what was sent is kept); database or disk fail.
    pub async fn receive_content(
        &self,
        by: &By,
        digest: Hex32,
        offset: u64,
        parts: Parts,
    ) -> Result<Content, Error> {
        let row = self.named(digest).await?;
        let blobs = Arc::clone(self.blobs()?);
        if blobs.size(&digest.0).await? != Some(row.size) {
            // A task of its own: a client that goes away must not leave a write behind that another request could meet.
            let receiving = tokio::spawn(async move { receive(&blobs, &row, offset, parts).await });
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
        self.act(by, "content.complete", move |tx, now_ms| {
            Box::pin(async move {
                contents::complete(tx.on(), digest, now_ms).await?;
                let detail = json!({ "size": complete.size });
                Ok(Done::changed(complete, digest.to_string(), detail))
            })
        })
        .await
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
async fn receive(blobs: &Blobs, row: &Row, offset: u64, parts: Parts) -> Result<u64, BlobError> {
    let name = row.digest.to_string();
    let claim = blobs.claim(&name)?;
    let received = blobs.receive(&claim, row.size, offset, parts).await?;
    if received < row.size {
        return Ok(received);
    }
    let found = blobs.inspect(&claim, row.inventory).await;
    let fault = match found {
        Ok(found) if found.digest == row.digest.0 => {
            blobs.place(&claim, &row.digest.0).await?;
            return Ok(received);
        }
        Ok(found) => BlobError::WrongDigest {
            is: Hex(found.digest),
        },
        Err(why @ BlobError::Inventory(_)) => why,
        // The disk: what came stays.
        Err(why) => return Err(why),
    };
    blobs.drop_received(&claim).await?;
    Err(fault)
}
