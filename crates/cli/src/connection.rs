//! The ledger that the session names: what comes out of here was verified, and the floor is kept before it is shown.

use std::{convert::Infallible, future::Future, time::Duration};

use futures::{StreamExt as _, future::join_all};
use kusabi_api::{
    Hex, HttpLedger, Kind, Ledger as _, Problem,
    ledger::{BlockEvents, NodeView, Status, Step, StepKind},
    problem::Retry,
    verify::{Done, Proven, ProvenBlock, Trust, VerifyError, VerifyingLedger},
};
use kusabi_core::{
    anchor::{Anchor, AnchorError},
    checkpoint::{CheckpointError, VerifiedCheckpoint},
    genesis::{Genesis, GenesisError},
    handover::Recovery,
    id::{ChainId, Handle, Height, Nonce, OrgId, StateKey},
    proof::ProofError,
    row::{LedgerRow, Organisation, Record, Row},
    tx::{Action, Draft, Transaction},
};
use tokio::runtime::Runtime;

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    floor::Floor,
    keyfile::KeyFile,
    page::{Output, counted, grouped},
    session::Session,
};

/// How long a submission waits to become final before it is asked for again.
const WAIT: Duration = Duration::from_secs(30);

/// How often it is asked for again.
const WAITS: u32 = 4;

/// How long a submission takes until a person is told what it waits for.
const PATIENCE: Duration = Duration::from_secs(5);

/// When a person is told again, if it is something else.
const TOLD_AGAIN: Duration = Duration::from_secs(30);

/// An open way to the ledger.
pub(crate) struct Connection {
    runtime: Runtime,
    ledger: VerifyingLedger<HttpLedger>,
    chain: ChainId,
    floor: Floor,
    output: Output,
}

impl Connection {
    /// Finds the way and what is trusted. Only a chain that was never asked before costs a request here.
    pub(crate) fn open(session: &Session) -> Result<Self> {
        let chain = session.chain()?;
        let address = session.ledger()?;
        let (http, runtime) = way(&address)?;
        let floor = Floor::of(&chain)?;
        let trust = match floor.read()? {
            Some(trust) => trust,
            None => {
                let genesis = runtime
                    .block_on(http.genesis())
                    .map_err(|why| failure(&why.into()))?;
                Trust::found(&chain, &genesis).map_err(|why| failure(&why))?
            }
        };
        Ok(Self {
            runtime,
            ledger: VerifyingLedger::new(http, trust),
            chain,
            floor,
            output: session.output(),
        })
    }

    /// The chain.
    pub(crate) const fn chain(&self) -> &ChainId {
        &self.chain
    }

    /// Waits for an answer, then keeps the floor.
    fn ask<T>(&self, answer: impl Future<Output = Result<T, VerifyError>>) -> Result<T> {
        let before = *self.ledger.trust().anchor();
        let answer = self.runtime.block_on(answer).map_err(|why| failure(&why))?;
        let trust = self.ledger.trust();
        if *trust.anchor() != before {
            self.floor.raise(&trust)?;
        }
        Ok(answer)
    }

    /// The record of a key, or its absence.
    pub(crate) fn record(&self, handle: &Handle) -> Result<Proven<Option<Record>>> {
        self.ask(self.ledger.record(handle))
    }

    /// The record of a key that has to be there.
    pub(crate) fn known_record(&self, handle: &Handle) -> Result<Record> {
        self.record(handle)?.into_value().ok_or_else(|| {
            Failure::new(Exit::Negative, format!("the ledger has no key {handle}"))
                .advise("check the handle: kusabi key show KEYFILE\nkusabi key register KEYFILE puts a key there")
        })
    }

    /// Any row, or its absence.
    pub(crate) fn row(&self, key: StateKey) -> Result<Proven<Option<Row>>> {
        self.ask(self.ledger.lookup(key))
    }

    /// The row that the ledger has of itself, and at which height.
    pub(crate) fn ledger_row(&self) -> Result<(Height, LedgerRow)> {
        let row = self.row(StateKey::ledger())?;
        let height = row.height();
        match row.into_value() {
            Some(Row::Ledger(row)) => Ok((height, row)),
            _ => Err(Failure::new(
                Exit::Unproven,
                "the ledger has no row of its own",
            )),
        }
    }

    /// An organisation.
    pub(crate) fn organisation(&self, org: &OrgId) -> Result<Proven<Option<Row>>> {
        self.row(StateKey::organisation(org))
    }

    /// An organisation that has to be there.
    pub(crate) fn known_organisation(&self, org: &OrgId) -> Result<Organisation> {
        match self.organisation(org)?.into_value() {
            Some(Row::Organisation(row)) => Ok(row),
            _ => Err(Failure::new(
                Exit::Negative,
                format!("the ledger has no organisation {org}"),
            )
            .advise("check the name; `kusabi org show NAME` asks for one")),
        }
    }

    /// Name of an organisation, or its ID where the ledger does not know it.
    pub(crate) fn organisation_name(&self, org: &OrgId) -> Result<String> {
        Ok(match self.organisation(org)?.into_value() {
            Some(Row::Organisation(row)) => row.name.to_string(),
            _ => org.to_string(),
        })
    }

    /// The genesis document, checked against the chain ID.
    pub(crate) fn genesis(&self) -> Result<Vec<u8>> {
        let genesis = self
            .runtime
            .block_on(self.ledger.unverified().genesis())
            .map_err(|why| failure(&why.into()))?;
        Trust::found(&self.chain, &genesis).map_err(|why| failure(&why))?;
        Ok(genesis.to_vec())
    }

    /// The steps from the genesis document to the newest epoch, each verified.
    pub(crate) fn walk(&self) -> Result<Vec<Step>> {
        let founded = Trust::found(&self.chain, &self.genesis()?).map_err(|why| failure(&why))?;
        let (_, way) = self
            .runtime
            .block_on(self.ledger.way(founded, None))
            .map_err(|why| failure(&why))?;
        Ok(way)
    }

    /// Where recoveries went on: the height of the block before, and that of the first block after it.
    pub(crate) fn jumps(&self) -> Result<Vec<(Height, Height)>> {
        let genesis = self.genesis()?;
        let genesis =
            Genesis::decode(&genesis).map_err(|why| failure(&VerifyError::Genesis(why)))?;
        // The walk has checked each under the anchor before it; this one knows the recovery keys, and is below them all.
        let founded = Anchor::from_genesis(&genesis);
        self.walk()?
            .iter()
            .filter(|step| step.kind == StepKind::Recovery)
            .map(|step| {
                let recovery = Recovery::decode(&step.bytes)
                    .and_then(|recovery| recovery.check(&founded))
                    .map_err(|why| failure(&VerifyError::Walk(why)))?;
                Ok((recovery.parent_height(), recovery.from()))
            })
            .collect()
    }

    /// Time between blocks when nothing happens, from the genesis document.
    pub(crate) fn heartbeat_ms(&self) -> Result<u64> {
        let genesis = self.genesis()?;
        let genesis =
            Genesis::decode(&genesis).map_err(|why| failure(&VerifyError::Genesis(why)))?;
        Ok(genesis.heartbeat_ms())
    }

    /// The newest block's header, verified.
    pub(crate) fn newest(&self) -> Result<VerifiedCheckpoint> {
        self.ask(self.ledger.checkpoint())
            .map(|(checkpoint, _)| checkpoint)
    }

    /// The newest block's header, of which as many validators as may not all lie say that it is of now; `nonce` was just made.
    pub(crate) fn fresh(&self, nonce: Nonce) -> Result<VerifiedCheckpoint> {
        self.ask(self.ledger.fresh_checkpoint(nonce))
            .map(|(_, checkpoint)| checkpoint)
    }

    /// What is trusted now, with the validator set.
    pub(crate) fn trust(&self) -> Trust {
        self.ledger.trust()
    }

    /// What is trusted now.
    pub(crate) fn anchor(&self) -> Anchor {
        *self.ledger.trust().anchor()
    }

    /// A block of the past with its transactions, verified; nothing where it cannot be proven by itself.
    pub(crate) fn proven_block(&self, height: Height) -> Result<Option<ProvenBlock>> {
        match self.runtime.block_on(self.ledger.block(height)) {
            Ok(block) => Ok(Some(block)),
            Err(VerifyError::Uncertified(_)) => Ok(None),
            Err(why) => Err(failure(&why)),
        }
    }

    /// A block as the node has it, unchecked; nothing where a recovery left the height out.
    pub(crate) fn block(&self, height: Height) -> Result<Option<kusabi_api::Block>> {
        match self
            .runtime
            .block_on(self.ledger.unverified().block(height))
        {
            Ok(block) => Ok(Some(block)),
            Err(problem) if problem.kind == Kind::Unknown => Ok(None),
            Err(problem) => Err(failure(&problem.into())),
        }
    }

    /// What the node says happened in every block up to one that it has, unchecked, but for that no block is left out.
    pub(crate) fn events(
        &self,
        until: Height,
        mut each: impl FnMut(BlockEvents) -> Result<()>,
    ) -> Result<()> {
        let events = self.ledger.unverified().events(Height::ZERO);
        let mut events = self
            .runtime
            .block_on(events)
            .map_err(|why| failure(&why.into()))?;
        // A node's heights without what recoveries left out.
        let mut position = 0;
        loop {
            // A live node is never silent for longer than this about a block that it has.
            let next = async { tokio::time::timeout(WAIT, events.next()).await };
            let block = match self.runtime.block_on(next) {
                Ok(Some(block)) => block.map_err(|why| failure(&why.into()))?,
                Ok(None) | Err(_) => {
                    return Err(Failure::new(
                        Exit::Unavailable,
                        format!(
                            "the node's events end before block {}",
                            grouped(until.get())
                        ),
                    )
                    .advise("run the same command again, or ask another node with --ledger URL"));
                }
            };
            position += 1;
            if block.height.checked_sub(block.skipped) != Some(position) {
                return Err(Failure::new(
                    Exit::Unproven,
                    format!(
                        "the node's events leave out what is before block {}",
                        grouped(block.height)
                    ),
                )
                .advise("ask another node with --ledger URL"));
            }
            let last = block.height >= until.get();
            each(block)?;
            if last {
                return Ok(());
            }
        }
    }

    /// The heights at which an organisation changed its art policy, as the node says: it proves none of them.
    pub(crate) fn art_policies(&self, org: &OrgId) -> Result<Vec<Height>> {
        let org = Some(Hex(org.to_bytes()));
        let status = self.runtime.block_on(self.ledger.unverified().status());
        let status = status.map_err(|why| failure(&why.into()))?;
        let newest = Height::new(status.height)
            .map_err(|why| Failure::new(Exit::Unproven, format!("the node's height: {why}")))?;
        let mut heights = Vec::new();
        self.events(newest, |block| {
            let changes = block
                .events
                .iter()
                .any(|event| event.action == "art policy" && event.organisation == org);
            if changes && let Ok(height) = Height::new(block.height) {
                heights.push(height);
            }
            Ok(())
        })?;
        Ok(heights)
    }

    /// Signs and submits an action; the answer is the height at which it became final.
    pub(crate) fn act(&self, action: Action, signers: &[&KeyFile]) -> Result<Height> {
        self.submit(&transaction(&self.chain, action, signers)?)
    }

    /// Submits a transaction and waits until it is final and proven.
    pub(crate) fn submit(&self, transaction: &Transaction) -> Result<Height> {
        let bytes = transaction.as_bytes().to_vec();
        let end = async {
            for _ in 0..WAITS {
                match self.ledger.submit(bytes.clone().into(), WAIT).await? {
                    Done::Final { height, .. } => return Ok(Some(height)),
                    Done::Pending(_) => {}
                }
            }
            Ok::<_, VerifyError>(None)
        };
        let height = self.ask(async {
            tokio::select! {
                biased;
                end = end => end,
                never = self.tell() => match never {},
            }
        })?;
        height.ok_or_else(|| Failure::new(
            Exit::Unavailable,
            format!(
                "transaction {} was taken and is not final after {} s",
                transaction.id(),
                WAIT.as_secs() * u64::from(WAITS)
            ),
        )
        .advise("the ledger may be short of validators; run the same command again later: it takes effect once"))
    }

    /// Tells a person what a submission waits for that takes long.
    async fn tell(&self) -> Infallible {
        let mut told = None;
        tokio::time::sleep(PATIENCE).await;
        loop {
            // A node that does not answer is met by the submission, too.
            if let Ok(status) = self.ledger.unverified().status().await {
                let waits_for = status.waits_for.unwrap_or_else(|| {
                    format!(
                        "the next block after {}; pending: {}",
                        grouped(status.height),
                        counted(status.waiting, "transaction")
                    )
                });
                if told.as_ref() != Some(&waits_for) {
                    self.output.waits_for(&waits_for);
                    told = Some(waits_for);
                }
            }
            tokio::time::sleep(TOLD_AGAIN).await;
        }
    }
}

fn way(address: &str) -> Result<(HttpLedger, Runtime)> {
    Ok((http(address)?, runtime()?))
}

fn http(address: &str) -> Result<HttpLedger> {
    HttpLedger::new(address).map_err(|problem| Failure::new(Exit::Usage, problem.to_string()))
}

fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Internal, format!("no runtime: {error}")))
}

/// How a node says that it is doing; nothing of it is proven.
pub(crate) fn status_of(address: &str) -> Result<Status> {
    let (http, runtime) = way(address)?;
    let status = runtime.block_on(http.status());
    status.map_err(|why| failure(&why.into()))
}

/// The same of several nodes, asked at the same time, in their order. Fails where an address is none.
pub(crate) fn statuses_of(addresses: &[String]) -> Result<Vec<Result<Status>>> {
    let nodes = addresses.iter().map(|address| http(address));
    let nodes: Vec<_> = nodes.collect::<Result<_>>()?;
    let statuses = runtime()?.block_on(join_all(nodes.iter().map(|node| node.status())));
    let failed =
        |status: std::result::Result<_, Problem>| status.map_err(|why| failure(&why.into()));
    Ok(statuses.into_iter().map(failed).collect())
}

/// An action signed by key files.
pub(crate) fn transaction(
    chain: &ChainId,
    action: Action,
    signers: &[&KeyFile],
) -> Result<Transaction> {
    let wrong = |why: &dyn std::fmt::Display| Failure::new(Exit::Usage, why.to_string());
    let mut draft = Draft::new(*chain, action).map_err(|why| wrong(&why))?;
    for key in signers {
        draft
            .sign(key.handle(), key.purpose(), key.key())
            .map_err(|why| wrong(&why))?;
    }
    draft.finish().map_err(|why| wrong(&why))
}

/// What a node says of itself. Not proven: who appoints it compares.
pub(crate) fn node(url: &str) -> Result<NodeView> {
    let (http, runtime) = way(url)?;
    runtime.block_on(http.node()).map_err(|why| {
        let why = failure(&why.into());
        let what = format!("the node at {url}: {}", why.what());
        why.saying(what)
    })
}

/// Says why there is no verified answer.
pub(crate) fn failure(why: &VerifyError) -> Failure {
    match why {
        VerifyError::Ledger(problem) => refusal(problem),
        VerifyError::Genesis(GenesisError::OtherChain) => Failure::new(
            Exit::OtherChain,
            "the node serves another ledger than the chain that you named",
        )
        .advise("check --ledger and --chain; if both are right, this node is not to be trusted"),
        VerifyError::Transaction(why) => Failure::new(Exit::Usage, why.to_string()),
        // To a later one the walk leads.
        why if anchor_error(why) == Some(&AnchorError::Epoch) => Failure::new(
            Exit::Unproven,
            "the node answers for an epoch that is over, as this machine has verified",
        )
        .advise(
            "when an epoch has ended, or the ledger was recovered, each node follows within seconds: run the same command again; one \
             that stays behind stands still, as `kusabi node status` says, or shows an old state: ask another one with --ledger URL",
        ),
        why => Failure::new(Exit::Unproven, why.to_string()).advise(match anchor_error(why) {
            Some(AnchorError::BelowFloor) => {
                "the node is behind what this machine has verified, or shows an old state: wait until it has caught up, or ask \
                 another one with --ledger URL"
            }
            Some(AnchorError::Fork | AnchorError::Set) => {
                "the ledger has two histories, or this node one of its own: keep the answers of both, and ask every operator \
                 before you go on"
            }
            _ => {
                "nothing of the answer was used; ask another node with --ledger URL, and tell the operator of this one"
            }
        }),
    }
}

/// What an answer contradicts, where it is the anchor.
fn anchor_error(why: &VerifyError) -> Option<&AnchorError> {
    match why {
        VerifyError::Checkpoint(CheckpointError::Anchor(why))
        | VerifyError::Proof(ProofError::Checkpoint(CheckpointError::Anchor(why))) => Some(why),
        VerifyError::Fork(_) => Some(&AnchorError::Fork),
        _ => None,
    }
}

fn refusal(problem: &Problem) -> Failure {
    let what = problem.to_string();
    match problem.kind {
        Kind::BadAnswer => Failure::new(Exit::Unproven, what)
            .advise("ask another node with --ledger URL, and tell the operator of this one"),
        Kind::Unreachable => Failure::new(Exit::Unavailable, what)
            .advise("is the node running? `kusabi node run --data DIR` starts it; --ledger URL names another"),
        Kind::Internal => Failure::new(Exit::Unavailable, what).advise("the node's log says why"),
        kind if kind.retry() == Retry::Later => {
            Failure::new(Exit::Unavailable, what).advise("run the same command again later: it is safe")
        }
        _ => Failure::new(Exit::Refused, format!("the ledger refused: {what}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_has_not_followed_an_epoch_yet_is_given_time() {
        let of = |why| failure(&VerifyError::Checkpoint(CheckpointError::Anchor(why)));
        let over = of(AnchorError::Epoch);
        assert_eq!(over.exit(), Exit::Unproven);
        assert!(over.what().contains("epoch that is over"), "{over}");
        assert!(over.advice().unwrap().contains("within seconds"));
        assert!(of(AnchorError::Fork).what().contains("refused"));
    }
}
