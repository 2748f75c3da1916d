//! The bytes of contents between the firmware store and the database: announced, written, wanted, retired, removed.
//!
//! The store is asked for nothing inside of a transaction: it may be slow, and the organisation's other writers would wait for it. So the
//! database says what is wanted, and the store follows. Before bytes are written they are announced, and only the transaction that
//! acknowledges them makes them wanted; what is not wanted any more is retired in the transaction that forgets it, and removed after it.
//! Whatever a crash leaves between two of these is a row that is looked at later. See [`store::blobs`](crate::store::blobs) for why nothing
//! that comes late does harm.

use super::{App, Error};
use crate::{
    blob::{Blob, Blobs, Claim},
    store::{
        Tx,
        blobs::{self as rows, Due},
        contents,
    },
};
use bytes::Bytes;
use kusabi_api::{Hex, Hex32, serve::stopped};
use std::time::Duration;
use tokio::sync::watch;

/// How long bytes may take from their announcement to the transaction that acknowledges them, and how long after their retirement they
/// may still come into the store, from a server that died: a day, in milliseconds.
const ON_ITS_WAY_MS: u64 = 24 * 60 * 60 * 1000;

/// How often it is looked for bytes that nobody wants.
const TIDY_TIME: Duration = Duration::from_secs(60 * 60);

/// Rows that are looked at with one question.
const PART: u16 = 200;

/// So many bytes that could not be removed, and the store is left in peace until the next time: one that is down or silent is down for
/// all of them.
const FAILURES_MAX: usize = 10;

/// A whole content that is in the firmware store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whole {
    pub(super) blob: Blob,
    /// How many bytes it has.
    pub(crate) size: u64,
}

impl Whole {
    /// What it is named by.
    pub(crate) const fn digest(&self) -> Hex32 {
        Hex(self.blob.digest)
    }
}

impl App {
    /// A content that is complete and whose bytes are there.
    ///
    /// # Errors
    /// Database or disk fail.
    pub(crate) async fn whole(&self, digest: Hex32) -> Result<Option<Whole>, Error> {
        let row = {
            let mut reader = self.store.read("find a content").await?;
            contents::find(reader.on(), digest).await?
        };
        let Some(row) = row.filter(|row| row.complete) else {
            return Ok(None);
        };
        let blob = row.blob();
        let size = self.blobs()?.size(blob).await?;
        Ok(size.map(|size| Whole { blob, size }))
    }

    /// All bytes of a whole content that is known to be small.
    ///
    /// # Errors
    /// Database or disk fail.
    pub(super) async fn whole_bytes(&self, digest: Hex32) -> Result<Option<Bytes>, Error> {
        match self.whole(digest).await? {
            Some(whole) => Ok(self.blobs()?.bytes(whole.blob).await?),
            None => Ok(None),
        }
    }

    /// Announces bytes of this digest: under which name they are to be written.
    pub(super) async fn announce_blob(&self, digest: Hex32) -> Result<Blob, Error> {
        let now_ms = self.edge.now_ms();
        let due_ms = now_ms.saturating_add(ON_ITS_WAY_MS);
        self.store
            .tx("announce the bytes of a content", move |tx| {
                Box::pin(async move {
                    let blob = rows::current(tx.on(), digest).await?;
                    rows::announce(tx.on(), blob, now_ms, due_ms).await?;
                    Ok::<_, Error>(blob)
                })
            })
            .await
    }

    /// Announces what arrived, whose digest the caller has checked, and writes it. Who acknowledges it has it [wanted](want).
    pub(super) async fn place(&self, claim: &Claim<'_>, digest: Hex32) -> Result<Blob, Error> {
        let blob = self.announce_blob(digest).await?;
        self.blobs()?.place(claim, blob).await?;
        Ok(blob)
    }

    /// Retires bytes that were written and that nobody acknowledged, and removes them; those that somebody wants stay. The caller has a
    /// fault to tell already: what goes wrong here is done later.
    pub(super) async fn discard(&self, blob: Blob) {
        let now_ms = self.edge.now_ms();
        let retired = self.store.tx("retire bytes that nobody wants", move |tx| {
            Box::pin(async move { retire_unwanted(tx, blob, now_ms).await })
        });
        match retired.await {
            Ok(true) => self.remove_retired(blob).await,
            Ok(false) => {}
            Err(why) => {
                tracing::warn!(%blob, %why, "bytes that nobody wants stay in the firmware store until tomorrow")
            }
        }
    }

    /// Removes bytes whose retirement is committed.
    pub(super) async fn remove_retired(&self, blob: Blob) {
        let due = Due {
            blob,
            retired: true,
            since_ms: self.edge.now_ms(),
        };
        if let Err(why) = self.look_at(due).await {
            tracing::warn!(%blob, %why, "bytes that nobody wants were not removed from the firmware store; trying again within the hour");
        }
    }

    /// The same of the bytes of this digest that were retired last.
    pub(super) async fn remove_last_retired(&self, digest: Hex32) {
        let next = async {
            let mut reader = self.store.read("find bytes that nobody wants").await?;
            rows::current(reader.on(), digest).await
        };
        match next.await {
            Ok(Blob { generation: 0, .. }) => {}
            Ok(Blob { digest, generation }) => {
                let generation = generation - 1;
                self.remove_retired(Blob { digest, generation }).await;
            }
            Err(why) => {
                tracing::warn!(%digest, %why, "bytes that nobody wants were not removed from the firmware store; trying again within the hour")
            }
        }
    }

    /// Does what is due with bytes that nobody wants: announced ones that were never acknowledged are retired, retired ones removed; those
    /// once more after a day, for what was on its way to the store may have come since.
    async fn look_at(
        &self,
        Due {
            blob,
            retired,
            since_ms,
        }: Due,
    ) -> Result<(), Error> {
        let now_ms = self.edge.now_ms();
        if !retired {
            return self
                .store
                .tx("retire bytes that nobody wants", move |tx| {
                    Box::pin(async move {
                        // The list may be old by now, and somebody be sending them.
                        if rows::is_due(tx.on(), blob, now_ms).await? {
                            retire_unwanted(tx, blob, now_ms).await?;
                        }
                        Ok(())
                    })
                })
                .await;
        }
        self.blobs()?.remove(blob).await?;
        let last_ms = since_ms.saturating_add(ON_ITS_WAY_MS);
        let due_ms = (now_ms < last_ms).then_some(last_ms);
        self.store
            .tx("note that bytes were removed", move |tx| {
                Box::pin(async move { Ok(rows::set_due(tx.on(), blob, due_ms).await?) })
            })
            .await
    }

    /// Removes what nobody wants and what a server that died left behind, as far as its time has come. What disk or store do not remove
    /// is told to the operator and looked at an hour later; the others do not wait for it.
    ///
    /// # Errors
    /// The database fails; what is left is left to the next time.
    pub async fn tidy_firmware(&self) -> Result<(), Error> {
        let Some(blobs) = &self.blobs else {
            return Ok(());
        };
        let arrived = blobs.arrived().await.unwrap_or_else(|why| {
            tracing::warn!(%why, "it was not looked for uploads that nobody goes on with; trying again in an hour");
            Vec::new()
        });
        for digest in arrived {
            match self.drop_if_over(blobs, digest).await {
                Err(Error::Blob(why)) => {
                    tracing::warn!(digest = %Hex(digest), %why, "what arrived of a content that is complete or that nothing names was not removed; trying again in an hour");
                }
                dropped => dropped?,
            }
        }
        let mut failures = 0;
        loop {
            let due = {
                let mut reader = self.store.read("look for bytes that nobody wants").await?;
                rows::due(reader.on(), self.edge.now_ms(), PART).await?
            };
            if due.is_empty() {
                return Ok(());
            }
            for one in due {
                let Err(why) = self.look_at(one).await else {
                    continue;
                };
                let blob = one.blob;
                tracing::warn!(%blob, %why, "bytes that nobody wants were not removed from the firmware store; trying again in an hour");
                self.postpone(blob).await?;
                failures += 1;
                if failures == FAILURES_MAX {
                    tracing::warn!(
                        "{failures} were not removed; the firmware store is asked again in an hour"
                    );
                    return Ok(());
                }
            }
        }
    }

    /// Bytes that could not be looked at come after all others, an hour from now.
    async fn postpone(&self, blob: Blob) -> Result<(), Error> {
        let now_ms = self.edge.now_ms();
        let due_ms = now_ms.saturating_add(TIDY_TIME.as_millis() as u64);
        self.store
            .tx("look at bytes later", move |tx| {
                Box::pin(async move { Ok(rows::postpone(tx.on(), blob, now_ms, due_ms).await?) })
            })
            .await
    }

    /// Drops what arrived of a content that is complete, for it does not come any more, or that nothing names, for it is not taken.
    async fn drop_if_over(&self, blobs: &Blobs, digest: [u8; 32]) -> Result<(), Error> {
        let content = {
            let mut reader = self.store.read("find a content").await?;
            contents::find(reader.on(), Hex(digest)).await?
        };
        let over = match content {
            Some(row) if row.complete => blobs.size(row.blob()).await? == Some(row.size),
            Some(_) => false,
            None => true,
        };
        if over {
            blobs.drop_arrived(digest).await?;
        }
        Ok(())
    }

    /// The same at once, and every hour until `stop` turns true.
    pub(crate) async fn keep_firmware_tidy(&self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                tidied = self.tidy_firmware() => if let Err(why) = tidied {
                    tracing::warn!(%why, "it was not looked at all that nobody wants in the firmware store; trying again in an hour");
                },
                () = stopped(&mut stop) => return,
            }
            tokio::select! {
                () = stopped(&mut stop) => return,
                () = tokio::time::sleep(TIDY_TIME) => {}
            }
        }
    }
}

/// Acknowledges bytes that were written, in the transaction that says so: from now on they are a complete content. Says whether that
/// is news.
pub(super) async fn want(
    tx: &mut Tx<'_>,
    row: &contents::Row,
    blob: Blob,
    now_ms: u64,
) -> Result<bool, Error> {
    if rows::current(tx.on(), row.digest).await? != blob {
        return Err(deleted(row.digest));
    }
    let news = match contents::find(tx.on(), row.digest).await? {
        None => {
            contents::insert(tx.on(), row, Some(now_ms)).await?;
            true
        }
        Some(there) if there.size != row.size || there.inventory && !row.inventory => {
            return Err(Error::Unfit(format!(
                "a release says that {} has {} bytes{}, and {} came",
                row.digest,
                there.size,
                if there.inventory {
                    " and is an inventory"
                } else {
                    ""
                },
                row.size
            )));
        }
        Some(there) if there.complete => false,
        Some(_) => {
            contents::complete(tx.on(), row.digest, now_ms).await?;
            true
        }
    };
    rows::forget(tx.on(), blob).await?;
    Ok(news)
}

/// Retires what bytes of this digest there may be, in the transaction in which nobody wants them any more.
pub(super) async fn retire(tx: &mut Tx<'_>, digest: Hex32, now_ms: u64) -> Result<(), Error> {
    let blob = rows::current(tx.on(), digest).await?;
    rows::retire(tx.on(), blob, now_ms).await?;
    Ok(())
}

/// Retires bytes unless a content wants them; says whether it did.
async fn retire_unwanted(tx: &mut Tx<'_>, blob: Blob, now_ms: u64) -> Result<bool, Error> {
    let digest = Hex(blob.digest);
    let content = contents::find(tx.on(), digest).await?;
    if content.is_some_and(|row| row.complete && row.blob() == blob) {
        rows::forget(tx.on(), blob).await?;
        return Ok(false);
    }
    rows::retire(tx.on(), blob, now_ms).await?;
    Ok(true)
}

/// What came was retired meanwhile.
pub(super) fn deleted(digest: Hex32) -> Error {
    Error::Conflict(format!(
        "the content {digest} was deleted while it came; upload it again"
    ))
}
