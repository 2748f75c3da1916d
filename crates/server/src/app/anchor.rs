//! The audit log's head on the ledger, and receipts: what the server said, provable to those who were not there.

use super::{App, Error};
use crate::{
    serve::ServerKey,
    store::{audit, followed},
};
use kusabi_api::{
    Hex,
    admin::{AuditAnchor, AuditHead, Receipt},
    serve::stopped,
    verify::{Done, Trust},
};
use kusabi_core::{
    evidence::{Evidence, Signed},
    id::{Digest, StateKey},
    row::{Row, Topic},
    step::StepKind,
    suite::Purpose,
    tx::{Action, Draft},
};
use serde_json::json;
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

    /// A receipt for an entry of the audit log: what it says, signed with the server's key, to be checked without this server and without
    /// a network.
    ///
    /// It says that this server, whose key the ledger vouches for, showed this entry at this place of its log. That the log was not
    /// changed later is what the anchored head shows.
    ///
    /// # Errors
    /// There is no such entry; the server has no key; ledger or database fail.
    pub async fn audit_receipt(&self, seq: u64) -> Result<Receipt, Error> {
        let entry = {
            let mut reader = self.store.read("read an entry of the audit log").await?;
            let entries = audit::list(reader.on(), seq.saturating_sub(1), 1).await?;
            entries
                .into_iter()
                .find(|entry| entry.seq == seq && seq > 0)
        };
        let entry = entry.ok_or_else(|| Error::Unknown {
            what: "entry of the audit log",
            id: seq.to_string(),
        })?;
        self.receipt("audit-log", &serde_json::to_value(entry)?)
            .await
    }

    /// A statement of this server, signed.
    ///
    /// # Errors
    /// The server has no key; the ledger fails.
    pub(crate) async fn receipt(
        &self,
        about: &str,
        content: &serde_json::Value,
    ) -> Result<Receipt, Error> {
        let ps = self.ps.as_ref().ok_or_else(|| {
            Error::Unfit(String::from(
                "this server was started without a key; it signs nothing",
            ))
        })?;
        let statement = json!({
            "kusabi": "receipt-1",
            "organisation": Hex(self.org().to_bytes()),
            "about": about,
            "content": content,
            "at_ms": self.edge.now_ms(),
        })
        .to_string();
        let proven = self.ask(self.ledger.record(&ps.handle)).await?;
        let chain = self.ledger.trust().anchor().chain();
        let genesis = self
            .ask(async { Ok(self.ledger.unverified().genesis().await?) })
            .await?;
        let from = Trust::found(&chain, &genesis)?;
        let (_, way) = self.ask(self.ledger.way(from, None)).await?;
        // Each step after a byte for its kind (spec/evidence.md).
        let walk = way
            .iter()
            .map(|step| [&[StepKind::from(step.kind) as u8], &step.bytes[..]].concat());
        let signed = Signed {
            chain,
            signer: ps.handle,
            purpose: Purpose::Ps,
            file: Digest::new(kusabi_core::crypto::sha256(&[statement.as_bytes()])),
        };
        let evidence = Evidence::sign(
            &*ps.key,
            signed,
            proven.proof().to_vec(),
            genesis.to_vec(),
            walk.collect(),
        )
        .map_err(|why| Error::Unfit(format!("the receipt cannot be signed: {why}")))?;
        Ok(Receipt {
            statement,
            evidence: evidence.encoded().to_vec().into(),
        })
    }
}
