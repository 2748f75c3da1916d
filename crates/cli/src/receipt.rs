//! Receipts as evidence (spec/evidence.md, "Receipts"): checked before anybody is told that they are good, or an anchor is put on them.

use kusabi_api::{Hex, admin::device_id};
use kusabi_core::{
    evidence::{Evidence, Signed},
    id::{Digest, Handle, OrgId},
    row::Record,
    suite::{Purpose, Signature, VerificationKey},
};
use serde_json::Value;

use crate::{
    connection::Connection,
    exit::Exit,
    failure::{Failure, Result},
    keyfile::KeyFile,
    verb::sign::{anchored, walk},
};

/// Longest chain of keys that is walked to a device's first one.
const PREDECESSORS_MAX: usize = 4096;

/// What somebody hands over as a receipt.
#[derive(Clone, Debug)]
pub(crate) struct Claimed {
    pub(crate) signer: Handle,
    /// What the signer's key has to be for: `act` or `ps`.
    pub(crate) purpose: Purpose,
    pub(crate) signature: Signature,
    pub(crate) text: String,
}

/// A receipt that its signer signed.
pub(crate) struct Checked {
    claimed: Claimed,
    key: VerificationKey,
    owner: OrgId,
    pub(crate) evidence: Evidence,
    pub(crate) said: Value,
}

impl Claimed {
    /// Checks who signed, and makes the bundle.
    pub(crate) fn check(self, connection: &Connection) -> Result<Checked> {
        let said: Value = serde_json::from_str(&self.text)
            .map_err(|_| no_receipt("its text is not what a receipt says"))?;
        let record = connection.known_record(&self.signer)?;
        let key = record
            .keys()
            .verification_key()
            .filter(|_| record.purpose() == self.purpose)
            .ok_or_else(|| no_receipt("its signer's key is for something else"))?;
        let owner = record.owner();
        if said["kusabi"] != "receipt-1" || said["organisation"] != owner.to_string() {
            return Err(no_receipt("its signer is of another organisation"));
        }
        let evidence = self.pack(connection, &key)?.0;
        let file = Digest::of(self.text.as_bytes());
        evidence
            .check_signature(connection.chain(), &file, &key)
            .map_err(|why| no_receipt(&why.to_string()))?;
        Ok(Checked {
            claimed: self,
            key,
            owner,
            evidence,
            said,
        })
    }

    /// The bundle with the newest proof of the signer's key, and that proof's height.
    fn pack(&self, connection: &Connection, key: &VerificationKey) -> Result<(Evidence, u64)> {
        let signed = Signed {
            chain: *connection.chain(),
            signer: self.signer,
            purpose: self.purpose,
            file: Digest::of(self.text.as_bytes()),
        };
        let proven = connection.record(&self.signer)?;
        let evidence = Evidence::pack(
            signed,
            key.algorithm(),
            self.signature,
            proven.proof().to_vec(),
            connection.genesis()?,
            walk(connection)?,
        )
        .map_err(|why| no_receipt(&why.to_string()))?;
        Ok((evidence, proven.height().get()))
    }
}

impl Checked {
    /// Has the ledger date it, with an anchor that `by` signs; the anchor's height.
    pub(crate) fn anchor(&mut self, connection: &Connection, by: &KeyFile) -> Result<u64> {
        let make = || self.claimed.pack(connection, &self.key);
        let anchored = anchored(connection, self.owner, by, make)?;
        self.evidence = anchored.evidence;
        Ok(anchored.anchored_at)
    }
}

/// Checks that a key is one of a device's: the device's ID is made of its first one.
pub(crate) fn is_key_of(connection: &Connection, handle: Handle, device: &str) -> Result<bool> {
    let mut at = handle;
    for _ in 0..PREDECESSORS_MAX {
        if device_id(&Hex(at.to_bytes())) == device {
            return Ok(true);
        }
        let record: Option<Record> = connection.record(&at)?.into_value();
        match record.and_then(|record| record.predecessor()) {
            Some(before) => at = before,
            None => break,
        }
    }
    Ok(false)
}

pub(crate) fn no_receipt(why: &str) -> Failure {
    Failure::new(Exit::Negative, format!("this is no receipt: {why}"))
}
