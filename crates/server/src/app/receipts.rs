//! Receipts (spec/evidence.md): what this server or a device said, to be checked by those who were not there, without this server and
//! without a network.

use super::{App, Error};
use crate::store::{audit, doorstep};
use kusabi_api::{Hex, admin::Receipt, verify::Trust};
use kusabi_core::{
    evidence::{Evidence, Signed},
    id::Digest,
    receipt::{Answered, Signer},
    step::StepKind,
    suite::{Purpose, Signature},
};
use serde_json::json;
use std::fmt;

impl App {
    /// A receipt for an entry of the audit log: what it says, signed with the server's key.
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
        let signer = Signer {
            chain: self.ledger.trust().anchor().chain(),
            handle: ps.handle,
            purpose: Purpose::Ps,
        };
        let signature = signer
            .sign(&*ps.key, &statement)
            .map_err(|why| Error::Unfit(format!("the receipt cannot be signed: {why}")))?;
        self.bundle(&signer, signature, statement).await
    }

    /// What a device signed of an order: what became of it, and after which block it said so.
    ///
    /// # Errors
    /// There is no such order of this device, or the device has not answered it; the ledger or the database fails.
    pub async fn order_receipt(&self, order: u64, device: &str) -> Result<Receipt, Error> {
        let found = {
            let mut reader = self.store.read("find an order of a device").await?;
            doorstep::order_of(reader.on(), device, order).await?
        };
        let (open, state, kept) = found.ok_or_else(|| Error::Unknown {
            what: "order of this device",
            id: order.to_string(),
        })?;
        let kept = kept.ok_or_else(|| {
            Error::Unfit(format!(
                "the device has signed nothing of order {order} yet; it is {}",
                state.name()
            ))
        })?;
        let damaged = || {
            Error::Unfit(format!(
                "what is kept of order {order} does not fit together"
            ))
        };
        let answered = Answered {
            org: self.org(),
            device: kept.signer,
            server: kept.server,
            order: open.order().ok_or_else(damaged)?,
            code: super::orders::code_of(state).ok_or_else(damaged)?,
            height: kept.height,
        };
        let signer = Signer {
            chain: self.ledger.trust().anchor().chain(),
            handle: kept.signer,
            purpose: Purpose::Act,
        };
        self.bundle(&signer, kept.signature, answered.text().to_string())
            .await
    }

    /// A statement and its bundle: the signature, and why its signer is to be believed.
    async fn bundle(
        &self,
        signer: &Signer,
        signature: Signature,
        statement: String,
    ) -> Result<Receipt, Error> {
        let unfit = |why: &dyn fmt::Display| {
            Error::Unfit(format!(
                "the receipt of {} cannot be made: {why}",
                signer.handle
            ))
        };
        let proven = self.ask(self.ledger.record(&signer.handle)).await?;
        let key = proven
            .value()
            .and_then(|record| record.keys().verification_key());
        let key = key.ok_or_else(|| unfit(&"the ledger has no such key"))?;
        // Whatever was changed in the database shows here, and not first where it is wanted as evidence.
        signer
            .check(&key, &statement, &signature)
            .map_err(|why| unfit(&why))?;
        let genesis = self
            .ask(async { Ok(self.ledger.unverified().genesis().await?) })
            .await?;
        let from = Trust::found(&signer.chain, &genesis)?;
        let (_, way) = self.ask(self.ledger.way(from, None)).await?;
        // Each step after a byte for its kind (spec/evidence.md).
        let walk = way
            .iter()
            .map(|step| [&[StepKind::from(step.kind) as u8], &step.bytes[..]].concat());
        let signed = Signed {
            chain: signer.chain,
            signer: signer.handle,
            purpose: signer.purpose,
            file: Digest::of(statement.as_bytes()),
        };
        let evidence = Evidence::pack(
            signed,
            key.algorithm(),
            signature,
            proven.proof().to_vec(),
            genesis.to_vec(),
            walk.collect(),
        )
        .map_err(|why| unfit(&why))?;
        Ok(Receipt {
            statement,
            evidence: evidence.encoded().to_vec().into(),
        })
    }
}
