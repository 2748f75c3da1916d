//! The audit log's head on the ledger.

use super::{App, Error};
use crate::{
    serve::ServerKey,
    store::{audit, followed},
};
use kusabi_api::{
    Hex,
    admin::{AuditAnchor, AuditHead},
    serve::stopped,
    verify::Done,
};
use kusabi_core::{
    id::{Digest, StateKey},
    row::{Row, Topic},
    suite::Purpose,
    tx::{Action, Draft},
};
use std::time::Duration;
use tokio::sync::watch;

/// Between two anchors. Each takes a row of the organisation's quota, for ever.
const INTERVAL: Duration = Duration::from_secs(600);

/// How long a submission waits for its block.
const WAIT: Duration = Duration::from_secs(10);

impl App {
    /// Where the audit log stands, and what of it the ledger holds.
    ///
    /// # Errors
    /// The database.
    pub async fn audit_head(&self) -> Result<AuditHead, Error> {
        let mut reader = self.store.read("read the audit log's head").await?;
        let (seq, hash) = audit::head(reader.on())
            .await?
            .unwrap_or((0, super::AUDIT_GENESIS));
        let anchored = followed::anchored(reader.on()).await?;
        Ok(AuditHead {
            seq,
            hash: Hex(hash),
            anchored: anchored.map(|(seq, hash, height)| AuditAnchor {
                seq,
                hash: Hex(hash),
                height,
            }),
        })
    }

    /// Puts the audit log's head on the ledger, if it grew since the last time and the server has a writer's key. `None`: nothing to do, or
    /// not final yet; the next time goes on with it.
    ///
    /// # Errors
    /// Ledger or database fail.
    pub async fn anchor_audit_log(&self) -> Result<Option<AuditAnchor>, Error> {
        let Some(writer) = &self.writer else {
            return Ok(None);
        };
        let head = self.audit_head().await?;
        if head.seq == 0
            || head
                .anchored
                .is_some_and(|anchored| anchored.seq == head.seq)
        {
            return Ok(None);
        }
        let digest = Digest::new(head.hash.0);
        // It may stand there: the answer of the last time was lost, perhaps.
        let height = match self.anchored_at(digest).await? {
            Some(height) => height,
            None => match self.submit_anchor(writer, digest).await? {
                Some(height) => height,
                None => return Ok(None),
            },
        };
        let anchor = AuditAnchor {
            seq: head.seq,
            hash: head.hash,
            height,
        };
        self.store
            .tx("note an anchor of the audit log", move |tx| {
                Box::pin(async move {
                    followed::set_anchored(tx.on(), anchor.seq, anchor.hash.0, height).await?;
                    Ok::<_, Error>(())
                })
            })
            .await?;
        Ok(Some(anchor))
    }

    async fn anchored_at(&self, digest: Digest) -> Result<Option<u64>, Error> {
        let proven = self
            .ask(self.ledger.lookup(StateKey::anchor(&digest)))
            .await?;
        Ok(match proven.value() {
            Some(Row::Anchor(row)) => Some(row.height.get()),
            _ => None,
        })
    }

    async fn submit_anchor(
        &self,
        writer: &ServerKey,
        digest: Digest,
    ) -> Result<Option<u64>, Error> {
        let action = Action::Anchor {
            org: self.org(),
            topic: Topic::AuditLog,
            digest,
        };
        let unfit = |why: &dyn std::fmt::Display| {
            Error::Unfit(format!("the audit log's head cannot be anchored: {why}"))
        };
        let chain = self.ledger.trust().anchor().chain();
        let mut draft = Draft::new(chain, action).map_err(|why| unfit(&why))?;
        draft
            .sign(writer.handle, Purpose::Writer, &*writer.key)
            .map_err(|why| unfit(&why))?;
        let transaction = draft.finish().map_err(|why| unfit(&why))?;
        let bytes = transaction.as_bytes().to_vec().into();
        match self.ledger.submit(bytes, WAIT).await? {
            Done::Final { height, .. } => Ok(Some(height.get())),
            Done::Pending(_) => Ok(None),
        }
    }

    /// Anchors the head every ten minutes until `stop` turns true, and then once more.
    pub async fn keep_anchored(&self, mut stop: watch::Receiver<bool>) {
        loop {
            let stopping = tokio::select! {
                () = stopped(&mut stop) => true,
                () = tokio::time::sleep(INTERVAL) => false,
            };
            match self.anchor_audit_log().await {
                Ok(Some(anchor)) => {
                    tracing::info!(
                        seq = anchor.seq,
                        height = anchor.height,
                        "audit log anchored"
                    );
                }
                Ok(None) => {}
                Err(why) => tracing::warn!(%why, "the audit log's head is not on the ledger yet"),
            }
            if stopping {
                return;
            }
        }
    }
}
