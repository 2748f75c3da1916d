//! What a follower cannot do itself it carries to the nodes that it follows: transactions, and nonces for freshness.
//!
//! What they answer is not passed on unseen: that a transaction is final, a follower says when it stands in a block of its own, with
//! a proof of its own; a receipt of freshness of a known epoch is checked. Only a refusal is their word: it is passed on when two
//! nodes, where there are two, refuse.

use super::{Source, within};
use crate::{
    handle::{Awaited, NodeHandle, Receipt},
    health::Following,
};
use bytes::Bytes;
use kusabi_api::{
    Kind, Problem,
    ledger::{CATCH_UP, MAX_WAIT, Submitted, Transaction},
};
use kusabi_core::{
    anchor::Anchor,
    freshness,
    id::{HeaderHash, Height, Nonce, RecoveryHash, TxId},
    set::EpochSet,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

/// How many nodes refuse before it is believed.
const REFUSALS: usize = 2;
/// How long at least the second one is given to refuse what the first one has: whose signer a node does not know it looks at again
/// after two seconds.
const DOUBT: Duration = Duration::from_secs(6);
/// Beyond the wait itself: for a connection and the way.
const WAY: Duration = Duration::from_secs(10);
/// For a freshness receipt: six seconds and the way.
const FRESHNESS: Duration = Duration::from_secs(8);

/// The nodes that a follower carries to.
#[derive(Debug)]
pub(crate) struct Carrier {
    sources: Arc<[Source]>,
    seen: watch::Receiver<Following>,
}

/// What became of a transaction that was carried.
pub(crate) enum Carried {
    /// It stands in a block of this follower.
    Final(Receipt),
    /// Some node has taken it.
    Pending,
}

impl Carrier {
    pub(crate) const fn new(sources: Arc<[Source]>, seen: watch::Receiver<Following>) -> Self {
        Self { sources, seen }
    }

    /// Whom to ask, the one that gives blocks first; those that lied last.
    fn in_turn(&self) -> Vec<&Source> {
        let seen = self.seen.borrow();
        let mut order: Vec<usize> = (0..self.sources.len()).collect();
        order.sort_by_key(|source| {
            let lied = seen.nodes.get(*source).is_some_and(|node| node.lied);
            (lied, seen.from != Some(*source))
        });
        let sources = order.into_iter().filter_map(|n| self.sources.get(n));
        sources.collect()
    }

    /// Carries a transaction to one node after the other until one takes it, and waits until it stands in a block of this follower.
    pub(crate) async fn submit(
        &self,
        node: &NodeHandle,
        transaction: &Bytes,
        mut own: Awaited,
        wait: Duration,
    ) -> Result<Carried, Problem> {
        let until = Instant::now() + wait.min(MAX_WAIT);
        let mut answers = Answers::default();
        for source in self.in_turn() {
            let mut left = until.saturating_duration_since(Instant::now());
            if answers.refusals > 0 {
                left = left.max(DOUBT);
            }
            let asked = within(left + WAY, source.ledger.submit(transaction.clone(), left));
            let answer = tokio::select! {
                biased;
                end = own.end() => return end.map(Carried::Final).ok_or_else(stopping),
                answer = asked => answer,
            };
            match answer {
                Ok(Submitted::Final(receipt)) => {
                    let until = until.max(Instant::now() + CATCH_UP);
                    match is_there(node, &receipt, own.id(), until).await {
                        Some(true) => {
                            return own.end().await.map(Carried::Final).ok_or_else(stopping);
                        }
                        // This follower is behind.
                        None => return Ok(Carried::Pending),
                        Some(false) => answers.unsure(
                            source,
                            &Problem::new(
                                Kind::BadAnswer,
                                "says that the transaction is final in a block in which it is not",
                            ),
                        ),
                    }
                }
                Ok(Submitted::Pending { .. }) => {
                    return match timeout_at(until, own.end()).await {
                        Ok(end) => end.map(Carried::Final).ok_or_else(stopping),
                        Err(_) => Ok(Carried::Pending),
                    };
                }
                Err(problem) => answers.note(source, problem),
            }
            if answers.refusals >= REFUSALS {
                break;
            }
        }
        Err(answers.problem())
    }

    /// What became of a transaction that this follower does not remember.
    pub(crate) async fn transaction(&self, node: &NodeHandle, id: TxId) -> Result<Asked, Problem> {
        let mut last = nobody();
        for source in self.in_turn() {
            match within(WAY, source.ledger.transaction(id)).await {
                Ok(Transaction::Final(receipt)) => {
                    let until = Instant::now() + CATCH_UP;
                    match is_there(node, &receipt, id, until).await {
                        Some(true) => return Ok(Asked::Final(receipt.height, receipt.index)),
                        None => return Ok(Asked::Said(Transaction::Pending { id })),
                        Some(false) => {}
                    }
                }
                Ok(said) => return Ok(Asked::Said(said)),
                Err(problem) => last = problem,
            }
        }
        Err(last)
    }

    /// A receipt for a nonce, from the first node that gives a good one.
    pub(crate) async fn freshness(
        &self,
        node: &NodeHandle,
        nonce: Nonce,
    ) -> Result<Bytes, Problem> {
        let mut last = nobody();
        for source in self.in_turn() {
            match within(FRESHNESS, source.ledger.freshness(nonce)).await {
                Ok(receipt) => match check(node, &receipt, nonce) {
                    Ok(()) => return Ok(receipt),
                    Err(why) => {
                        let why = format!("{}: {why}", source.address);
                        last = Problem::new(Kind::BadAnswer, why);
                    }
                },
                Err(problem) => last = of(source, problem),
            }
        }
        Err(last)
    }
}

/// What a node that is followed says of a transaction.
pub(crate) enum Asked {
    /// Final, and it is so here: height and place.
    Final(u64, u32),
    /// Anything else.
    Said(Transaction),
}

/// What nodes answered that did not take a transaction.
#[derive(Default)]
struct Answers {
    refusals: usize,
    refused: Option<Problem>,
    other: Option<Problem>,
    /// Whether one may have it that did not say so.
    unsure: bool,
}

impl Answers {
    fn note(&mut self, source: &Source, problem: Problem) {
        let transient = matches!(
            problem.kind,
            Kind::Behind
                | Kind::PoolFull
                | Kind::TooManyRequests
                | Kind::NoRoom
                | Kind::Unvouched
                | Kind::Unknown
        );
        let unsure = matches!(
            problem.kind,
            Kind::Unreachable
                | Kind::Internal
                | Kind::Stopping
                | Kind::BadAnswer
                | Kind::RequestTimeout
        );
        if unsure {
            self.unsure(source, &problem);
        } else if transient {
            self.other = Some(of(source, problem));
        } else {
            self.refusals += 1;
            // Its own words and code: as if the client had asked that node.
            self.refused.get_or_insert(problem);
        }
    }

    fn unsure(&mut self, source: &Source, problem: &Problem) {
        self.unsure = true;
        self.other = Some(of(source, problem.clone()));
    }

    fn problem(self) -> Problem {
        match self.refused {
            // It may be in conflict with itself: one that did not answer has brought it to the ledger.
            Some(refused) if !(self.unsure && refused.kind == Kind::Conflict) => refused,
            Some(_) | None if self.unsure => {
                let why = self.other.unwrap_or_else(nobody);
                let detail = format!(
                    "{why}; whether the transaction arrived is not known: ask for it by its ID before sending another"
                );
                Problem::new(Kind::Unreachable, detail)
            }
            refused => refused.or(self.other).unwrap_or_else(nobody),
        }
    }
}

fn of(source: &Source, mut problem: Problem) -> Problem {
    problem.detail = format!("{}: {problem}", source.address).into();
    problem
}

fn nobody() -> Problem {
    Problem::new(Kind::Unreachable, "this follower follows no node")
}

fn stopping() -> Problem {
    Problem::new(
        Kind::Stopping,
        "the follower stops; the transaction may or may not become final: look its rows up later",
    )
}

/// Whether a transaction stands where somebody says; `None`: this follower has not come there in time.
async fn is_there(
    node: &NodeHandle,
    said: &kusabi_api::ledger::Receipt,
    id: TxId,
    until: Instant,
) -> Option<bool> {
    let Ok(height) = Height::new(said.height) else {
        return Some(false);
    };
    timeout_at(until, node.reached(height)).await.ok()?.ok()?;
    let block = node.block(height).await.ok()?;
    let place = usize::try_from(said.index).ok()?;
    Some(block.is_some_and(|block| {
        let there = block.transactions.get(place);
        there.is_some_and(|bytes| TxId::of(bytes) == id)
    }))
}

/// Checks a receipt of an epoch that is known. One of a later epoch is for who asked to check.
fn check(node: &NodeHandle, receipt: &[u8], nonce: Nonce) -> Result<(), String> {
    let receipt = freshness::Receipt::decode(receipt).map_err(|why| why.to_string())?;
    let outline = node.outline();
    let mut epochs = outline.epochs().iter();
    let Some(epoch) = epochs.find(|epoch| epoch.number == receipt.claimed().epoch) else {
        return Ok(());
    };
    let anchor = Anchor::of_ledger(
        *outline.chain(),
        epoch.number,
        epoch.set_hash,
        Height::ZERO,
        HeaderHash::ZERO,
        RecoveryHash::ZERO,
    );
    let set = EpochSet::decode(&epoch.set).map_err(|why| why.to_string())?;
    let checked = receipt.check(&anchor, &set, &nonce);
    checked.map(drop).map_err(|why| why.to_string())
}
