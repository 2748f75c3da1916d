//! Kept proofs: a lookup's answer in a file, to be checked by someone who has nothing but the chain ID.
//!
//! JSON with base64 values: `{"kusabi": "proof-1", "genesis": …, "walk": [{"kind": …, "bytes": …}], "proof": …}`.

use std::{future::ready, path::Path, time::Duration};

use bytes::Bytes;
use kusabi_api::{
    Answer, Block, EventStream, Kind, Ledger, Problem,
    hex::base64,
    ledger::{Status, Step, Submitted, Transaction},
    verify::{Proven, Trust, VerifyError, VerifyingLedger},
};
use kusabi_core::{
    genesis::GenesisError,
    id::{ChainId, Epoch, Handle, Height, Nonce, StateKey, TxId},
    proof::ProofError,
    row::Record,
};
use serde::{Deserialize, Serialize};

use crate::{
    connection::Connection,
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
};

/// A genesis document, a proof and a long walk fit.
const LIMIT: u64 = 1 << 20;

const VERSION: &str = "proof-1";

/// What stands in the file.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    kusabi: String,
    #[serde(with = "base64")]
    genesis: Bytes,
    walk: Vec<Step>,
    #[serde(with = "base64")]
    proof: Bytes,
}

impl Kept {
    /// Packs a proof with the way to it.
    pub(crate) fn new(connection: &Connection, proof: &Bytes) -> Result<Self> {
        Ok(Self {
            kusabi: VERSION.to_owned(),
            genesis: connection.genesis()?.into(),
            walk: connection.walk()?,
            proof: proof.clone(),
        })
    }

    /// Writes it to a new file.
    pub(crate) fn create(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(self).map_err(|error| {
            Failure::new(Exit::Internal, format!("a proof has no JSON form: {error}"))
        })?;
        text.push(b'\n');
        files::create(path, &text, Mode::Public)
    }

    /// Reads a file; nothing is checked yet.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = files::read(path, LIMIT)?;
        let refused = |why: &dyn std::fmt::Display| {
            Failure::new(
                Exit::File,
                format!("{} is not a kept proof: {why}", path.display()),
            )
            .advise("`kusabi key lookup KEY --save FILE` makes one")
        };
        let kept: Self = serde_json::from_slice(&bytes).map_err(|why| refused(&why))?;
        if kept.kusabi != VERSION {
            return Err(refused(&"its version is not known"));
        }
        Ok(kept)
    }

    /// Checks the way from the chain ID to the record: the same check as for a node's answer, for a file is a courier too.
    pub(crate) fn check(
        self,
        chain: &ChainId,
        handle: &Handle,
        path: &Path,
    ) -> Result<Proven<Option<Record>>> {
        let refused = |why: &VerifyError| match why {
            VerifyError::Genesis(GenesisError::OtherChain) => Failure::new(
                Exit::OtherChain,
                format!("{} is from another chain than {chain}", path.display()),
            )
            .advise("check --chain; if it is right, this file proves nothing to you"),
            VerifyError::Proof(ProofError::OtherGap | ProofError::Path(_)) => Failure::new(
                Exit::Unproven,
                format!(
                    "{} does not prove anything about {handle}: {why}",
                    path.display()
                ),
            )
            .advise("was it made for another key, or changed?"),
            why => Failure::new(Exit::Unproven, format!("{}: {why}", path.display())),
        };
        let trust = Trust::found(chain, &self.genesis).map_err(|why| refused(&why))?;
        let ledger = VerifyingLedger::new(self, trust);
        tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|error| Failure::new(Exit::Internal, format!("no runtime: {error}")))?
            .block_on(ledger.record(handle))
            .map_err(|why| refused(&why))
    }
}

/// A ledger that answers the one question that it was asked before.
impl Ledger for Kept {
    fn lookup(&self, _: StateKey, _: Height) -> Answer<'_, Bytes> {
        Box::pin(ready(Ok(self.proof.clone())))
    }

    fn walk(&self, epoch: Epoch) -> Answer<'_, Vec<Step>> {
        // Asked once, from the genesis document's epoch on: the whole way is here.
        let walk = if epoch == Epoch::ZERO {
            self.walk.clone()
        } else {
            Vec::new()
        };
        Box::pin(ready(Ok(walk)))
    }

    fn genesis(&self) -> Answer<'_, Bytes> {
        Box::pin(ready(Ok(self.genesis.clone())))
    }

    fn submit(&self, _: Bytes, _: Duration) -> Answer<'_, Submitted> {
        nothing()
    }

    fn transaction(&self, _: TxId) -> Answer<'_, Transaction> {
        nothing()
    }

    fn checkpoint(&self, _: Height) -> Answer<'_, Bytes> {
        nothing()
    }

    fn freshness(&self, _: Nonce) -> Answer<'_, Bytes> {
        nothing()
    }

    fn block(&self, _: Height) -> Answer<'_, Block> {
        nothing()
    }

    fn events(&self, _: Height) -> Answer<'_, EventStream> {
        nothing()
    }

    fn status(&self) -> Answer<'_, Status> {
        nothing()
    }
}

fn nothing<'a, T: Send + 'a>() -> Answer<'a, T> {
    let problem = Problem::new(Kind::Unknown, "a kept proof answers one question only");
    Box::pin(ready(Err(problem)))
}
