//! Receipts (spec/evidence.md): what this server or a device said, to be checked by those who were not there, without this server and
//! without a network.

use super::{App, Error};
use crate::store::{audit, doorstep};
use bytes::Bytes;
use kusabi_api::{Hex, admin::Receipt, verify::Trust};
use kusabi_core::{
    evidence::{Evidence, Signed},
    id::{ChainId, Digest, Handle},
    receipt::Answered,
    row::Record,
    step::StepKind,
    suite::Purpose,
};
use serde_json::json;

/// What a bundle holds besides the signature: why its signer is to be believed.
struct Grounds {
    chain: ChainId,
    record: Option<Record>,
    proof: Vec<u8>,
    genesis: Vec<u8>,
    walk: Vec<Vec<u8>>,
}

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
        let grounds = self.grounds(&ps.handle).await?;
        let signed = Signed {
            chain: grounds.chain,
            signer: ps.handle,
            purpose: Purpose::Ps,
            file: Digest::of(statement.as_bytes()),
        };
        let Grounds {
            proof,
            genesis,
            walk,
            ..
        } = grounds;
        let evidence = Evidence::sign(&*ps.key, signed, proof, genesis, walk)
            .map_err(|why| Error::Unfit(format!("the receipt cannot be signed: {why}")))?;
        Ok(Receipt {
            statement,
            evidence: evidence.encoded().to_vec().into(),
        })
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
        let statement = answered.text().to_string();
        let grounds = self.grounds(&kept.signer).await?;
        let key = grounds
            .record
            .and_then(|record| record.keys().verification_key())
            .ok_or_else(damaged)?;
        let signed = Signed {
            chain: grounds.chain,
            signer: kept.signer,
            purpose: Purpose::Act,
            file: Digest::of(statement.as_bytes()),
        };
        let Grounds {
            chain,
            proof,
            genesis,
            walk,
            ..
        } = grounds;
        let evidence = Evidence::pack(
            signed,
            key.algorithm(),
            kept.signature,
            proof,
            genesis,
            walk,
        )
        .map_err(|why| Error::Unfit(format!("the receipt cannot be packed: {why}")))?;
        // Whatever was changed in the database shows here, and not first where it is wanted as evidence.
        evidence
            .check_signature(&chain, &signed.file, &key)
            .map_err(|_| damaged())?;
        Ok(Receipt {
            statement,
            evidence: evidence.encoded().to_vec().into(),
        })
    }

    async fn grounds(&self, signer: &Handle) -> Result<Grounds, Error> {
        let proven = self.ask(self.ledger.record(signer)).await?;
        let chain = self.ledger.trust().anchor().chain();
        let genesis: Bytes = self
            .ask(async { Ok(self.ledger.unverified().genesis().await?) })
            .await?;
        let from = Trust::found(&chain, &genesis)?;
        let (_, way) = self.ask(self.ledger.way(from, None)).await?;
        // Each step after a byte for its kind (spec/evidence.md).
        let walk = way
            .iter()
            .map(|step| [&[StepKind::from(step.kind) as u8], &step.bytes[..]].concat());
        Ok(Grounds {
            chain,
            record: *proven.value(),
            proof: proven.proof().to_vec(),
            genesis: genesis.to_vec(),
            walk: walk.collect(),
        })
    }
}
