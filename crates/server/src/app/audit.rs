//! The audit log: who did what, when, to what, in a chain of hashes.

use super::{App, Cut, Error};
use crate::store::{Tx, audit};
use kusabi_api::{
    Hex,
    admin::{AuditEntry, Page},
};
use sha2::{Digest as _, Sha256};

/// What stands in the place of the hash before the first entry.
pub const GENESIS: [u8; 32] = [0; 32];

/// The hash of an entry, its own `hash` left aside, after the one with hash `before`:
/// `SHA-256("kusabi.audit.v1" ‖ before ‖ u64(seq) ‖ u64(at_ms) ‖ parts)`, where the parts are actor, act, subject and detail, each as
/// `u32(length) ‖ UTF-8`. Numbers are big-endian.
#[must_use]
pub fn link(before: &[u8; 32], entry: &AuditEntry) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(b"kusabi.audit.v1");
    hasher.update(before);
    hasher.update(entry.seq.to_be_bytes());
    hasher.update(entry.at_ms.to_be_bytes());
    for part in [&entry.actor, &entry.act, &entry.subject, &entry.detail] {
        // All parts come from bounded requests, far below 2^32.
        hasher.update(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

pub(crate) async fn append(
    tx: &mut Tx<'_>,
    at_ms: u64,
    actor: &str,
    act: &str,
    subject: &str,
    detail: &serde_json::Value,
) -> Result<(), Error> {
    let (last, before) = audit::head(tx.on()).await?.unwrap_or((0, GENESIS));
    let mut entry = AuditEntry {
        seq: last + 1,
        at_ms,
        actor: actor.to_owned(),
        act: act.to_owned(),
        subject: subject.to_owned(),
        detail: detail.to_string(),
        hash: Hex(GENESIS),
    };
    entry.hash = Hex(link(&before, &entry));
    audit::append(tx.on(), &entry).await?;
    Ok(())
}

impl App {
    /// The audit log, the oldest entry first.
    ///
    /// # Errors
    /// A bad cursor or limit; the database.
    pub async fn audit_log(&self, cut: &Cut) -> Result<Page<AuditEntry>, Error> {
        let (after, count) = (cut.number(0)?, cut.fetch()?);
        let mut reader = self.store.read("list the audit log").await?;
        let entries = audit::list(reader.on(), after, count).await?;
        cut.page(entries, |entry| entry.seq.to_string())
    }
}
