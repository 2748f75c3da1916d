//! Several nodes of one ledger, each followed by itself and compared with the others.
//!
//! Every [`Watched`] node is verified from the chain ID on, as if there were no other: what it shows is signed by a quorum, or refused.
//! [`compare_all`] then asks whether what they show can be one history. Two that cannot are [`Evidence`], which was checked before it is
//! handed out. Nothing here waits, has a clock or writes anything down.
//!
//! What it does not do: find out that all of them hold the present back together, or that a node shows others another history than the
//! one who watches. The first is told by time, the second by more who watch.

use crate::{
    contradiction::{Differ, Evidence, EvidenceError, STEPS_MAX, Signed, differ, last_height},
    ledger::{Ledger, Step, StepKind},
    verify::{Trust, VerifyError, VerifyingLedger},
};
use bytes::Bytes;
use kusabi_core::{
    anchor::{Anchor, AnchorError},
    checkpoint::{CheckpointError, HEADERS_MAX, VerifiedCheckpoint},
    handover::Recovery,
    header::Header,
    id::{ChainId, Height},
};
use std::sync::Arc;

/// How often a node may come to a later epoch while it is asked for its newest block.
const TURNS: usize = 3;

/// The newest block that a node has shown, verified.
#[derive(Clone, Debug)]
pub struct Seen {
    checkpoint: VerifiedCheckpoint,
    bytes: Bytes,
}

impl Seen {
    /// Its header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        self.checkpoint.header()
    }

    fn differs(&self, other: &Self) -> bool {
        self.checkpoint.hash() != other.checkpoint.hash()
    }

    fn signed(&self) -> Signed {
        Signed::checkpoint(&self.bytes)
    }
}

/// A node that is watched, and what it has shown so far.
#[derive(Debug)]
pub struct Watched<L: ?Sized> {
    ledger: Arc<L>,
    chain: ChainId,
    /// What was verified before by whoever watches, until it was compared.
    known: Option<Anchor>,
    founded: Option<Founded>,
    newest: Option<Seen>,
}

/// The way from the genesis document to the newest epoch.
#[derive(Debug)]
struct Founded {
    genesis: Bytes,
    founded: Trust,
    steps: Vec<Step>,
    /// Where the newest epoch begins.
    trust: Trust,
}

/// What a node turned out to be when it was asked.
#[derive(Debug)]
pub enum Look {
    /// It is where it was, or further.
    On,
    /// It shows an older block than before: of this height it was.
    Back(Height),
    /// It does not show what whoever watches has verified before, or is not as far.
    Unlike(VerifyError),
    /// It shows another history than it did itself.
    Contradicts(Box<Evidence>),
}

impl<L: Ledger + ?Sized> Watched<L> {
    /// A node of the chain. `known` is what whoever watches has verified before, from wherever.
    #[must_use]
    pub const fn new(ledger: Arc<L>, chain: ChainId, known: Option<Anchor>) -> Self {
        Self {
            ledger,
            chain,
            known,
            founded: None,
            newest: None,
        }
    }

    /// The node itself, of which nothing is verified.
    #[must_use]
    pub const fn ledger(&self) -> &Arc<L> {
        &self.ledger
    }

    /// The newest block that it has shown.
    #[must_use]
    pub const fn newest(&self) -> Option<&Seen> {
        self.newest.as_ref()
    }

    /// The genesis document, as soon as the node has shown it.
    #[must_use]
    pub fn genesis(&self) -> Option<&Bytes> {
        self.founded.as_ref().map(|founded| &founded.genesis)
    }

    /// What can be trusted after what it has shown, to be stored.
    #[must_use]
    pub fn trust(&self) -> Option<Trust> {
        let mut trust = self.founded.as_ref()?.trust.clone();
        trust.advance(&self.newest.as_ref()?.checkpoint);
        Some(trust)
    }

    /// Asks the node for its way and its newest block, and compares with what it has shown before.
    ///
    /// # Errors
    /// The node gave no answer, or one that is refused; what it has shown before stays.
    pub async fn look(&mut self) -> Result<Look, VerifyError> {
        let seen = self.ask().await?;
        // It is compared with the others all the same: they may have what it takes to show who is right.
        let unlike = match self.compare_with_known(&seen).await {
            Err(why) if why.is_refusal() => Look::Unlike(why),
            _ => Look::On,
        };
        let (Some(before), Some(founded)) = (self.newest.replace(seen.clone()), &self.founded)
        else {
            return Ok(unlike);
        };
        // The way is only ever made longer; an epoch that was left is compared with the other nodes'.
        if before.header().epoch != seen.header().epoch {
            return Ok(unlike);
        }
        let was = before.header().height;
        if seen.header().height < was {
            return Ok(Look::Back(was));
        }
        let same = if seen.header().height == was {
            Some(seen)
        } else {
            at(&*self.ledger, &founded.trust, was).await?
        };
        Ok(match same {
            Some(same) if same.differs(&before) => Look::Contradicts(Box::new(checked(
                &self.chain,
                founded,
                &founded.steps,
                before.signed(),
                same.signed(),
            )?)),
            _ => unlike,
        })
    }

    async fn ask(&mut self) -> Result<Seen, VerifyError> {
        let founded = match &mut self.founded {
            Some(founded) => founded,
            none => {
                let genesis = self.ledger.genesis().await?;
                let trust = Trust::found(&self.chain, &genesis)?;
                none.insert(Founded {
                    genesis,
                    founded: trust.clone(),
                    steps: Vec::new(),
                    trust,
                })
            }
        };
        let mut answered = founded.trust.anchor().epoch();
        for _ in 0..TURNS {
            let asking =
                |trust: &Trust| VerifyingLedger::new(Arc::clone(&self.ledger), trust.clone());
            let (mut trust, mut steps) = asking(&founded.trust)
                .way(founded.trust.clone(), None)
                .await?;
            // Evidence holds no more; a longer way is not followed.
            if founded.steps.len() + steps.len() > STEPS_MAX {
                steps.clear();
                trust = founded.trust.clone();
            }
            let (checkpoint, bytes) = match asking(&trust).checkpoint().await {
                // An epoch has ended, and the one to which the last step leads has no block yet: it is walked to once it has.
                Err(VerifyError::Checkpoint(CheckpointError::Anchor(AnchorError::Epoch)))
                    if steps.pop().is_some() =>
                {
                    trust = founded.trust.clone();
                    steps.iter().try_for_each(|step| trust.step(step))?;
                    asking(&trust).checkpoint().await?
                }
                answered => answered?,
            };
            founded.steps.extend(steps);
            founded.trust = trust;
            answered = checkpoint.header().epoch;
            // It may have come to a later epoch meanwhile.
            if answered == founded.trust.anchor().epoch() {
                // Under the set to which the steps that are kept lead, whatever was asked on the way.
                let checkpoint = founded.trust.certified(&bytes)?;
                return Ok(Seen { checkpoint, bytes });
            }
        }
        Err(VerifyError::NoWay {
            trusted: founded.trust.anchor().epoch(),
            answered,
        })
    }

    /// Compares with what was known before, until it could be.
    async fn compare_with_known(&mut self, seen: &Seen) -> Result<(), VerifyError> {
        let (Some(known), Some(founded)) = (self.known, &self.founded) else {
            return Ok(());
        };
        let refused = |why| Err(VerifyError::Checkpoint(CheckpointError::Anchor(why)));
        let header = seen.header();
        if header.epoch < known.epoch() {
            return refused(AnchorError::BelowFloor);
        }
        if header.epoch > known.epoch() {
            // The steps of the way between are compared with those of other nodes.
            self.known = None;
            return Ok(());
        }
        if header.set_hash != known.set_hash() {
            return refused(AnchorError::Set);
        }
        if header.height < known.height() {
            return refused(AnchorError::BelowFloor);
        }
        let same = if header.height == known.height() {
            Some(seen.clone())
        } else {
            at(&*self.ledger, &founded.trust, known.height()).await?
        };
        if let (Some(same), Some(hash)) = (same, known.header_hash())
            && *same.checkpoint.hash() != hash
        {
            return refused(AnchorError::Fork);
        }
        self.known = None;
        Ok(())
    }
}

/// The block of a height of the epoch that `trust` begins, certified. None where it has no certificate near enough, or is
/// not of that epoch.
async fn at<L: Ledger + ?Sized>(
    ledger: &L,
    trust: &Trust,
    height: Height,
) -> Result<Option<Seen>, VerifyError> {
    if height <= trust.anchor().height() {
        return Ok(None);
    }
    let block = ledger.block(height).await?;
    let Some(bytes) = block.checkpoint else {
        return Ok(None);
    };
    let checkpoint = trust.certified(&bytes)?;
    if checkpoint.header().height != height {
        return Err(VerifyError::Block(height));
    }
    Ok(Some(Seen { checkpoint, bytes }))
}

/// Two nodes of those that were compared, by their places, and what came of it.
#[derive(Debug)]
pub struct Comparison {
    /// Place of the one.
    pub one: usize,
    /// Place of the other.
    pub other: usize,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a comparison.
#[derive(Debug)]
pub enum Outcome {
    /// As far as both have come, they show one history.
    Agree,
    /// They show two, and here is the evidence.
    Contradict(Box<Evidence>),
    /// A recovery stands between them: one is in an epoch that the other has left behind.
    Apart,
    /// One of them did not show the block that it takes, or not one that checks.
    Unknown(VerifyError),
}

/// Compares what nodes have shown: each with the one that is furthest, and where it does not agree with that one, with those of the
/// others that do not either. `nodes` has None for those that have nothing to compare now.
pub async fn compare_all<L: Ledger + ?Sized>(nodes: &[Option<&Watched<L>>]) -> Vec<Comparison> {
    let place = |node: &Watched<L>| {
        let header = node.newest.as_ref().map(Seen::header);
        header.map(|header| (header.epoch, header.height))
    };
    let mut order: Vec<_> = nodes
        .iter()
        .enumerate()
        .filter_map(|(number, node)| node.map(|node| (place(node), number, node)))
        .filter(|(place, ..)| place.is_some())
        .collect();
    order.sort_by(|(one, first, _), (other, second, _)| other.cmp(one).then(first.cmp(second)));
    // One of each history that was met.
    let mut histories: Vec<(usize, &Watched<L>)> = Vec::new();
    let mut comparisons = Vec::new();
    for (_, number, node) in order {
        let mut agrees = false;
        for (first, history) in &histories {
            let outcome = compare(history, node)
                .await
                .unwrap_or_else(Outcome::Unknown);
            agrees = matches!(outcome, Outcome::Agree);
            comparisons.push(Comparison {
                one: *first,
                other: number,
                outcome,
            });
            if agrees {
                break;
            }
        }
        if !agrees {
            histories.push((number, node));
        }
    }
    comparisons
}

/// Compares two nodes, of which `high` is as far as `low` or further.
async fn compare<L: Ledger + ?Sized>(
    high: &Watched<L>,
    low: &Watched<L>,
) -> Result<Outcome, VerifyError> {
    let (Some(high_way), Some(low_way)) = (&high.founded, &low.founded) else {
        return Ok(Outcome::Apart);
    };
    let (Some(high_seen), Some(low_seen)) = (&high.newest, &low.newest) else {
        return Ok(Outcome::Apart);
    };
    for (at, (one, other)) in high_way.steps.iter().zip(&low_way.steps).enumerate() {
        if one == other {
            continue;
        }
        match differ(one, other).map_err(VerifyError::Walk)? {
            Differ::Not => {}
            Differ::Apart => return Ok(Outcome::Apart),
            Differ::Contradict => {
                let before = high_way.steps.get(..at).unwrap_or_default();
                let (one, other) = (Signed::step(one), Signed::step(other));
                return checked(&low.chain, low_way, before, one, other).map(contradict);
            }
        }
    }
    let height = low_seen.header().height;
    match high_way.steps.get(low_way.steps.len()) {
        // A recovery to a lower epoch than the other's is the shorter way, and the longer one has left its epochs behind.
        None if high_way.steps.len() < low_way.steps.len() => return Ok(Outcome::Apart),
        None => {}
        Some(step) if step.kind == StepKind::Recovery => {
            let recovery = Recovery::decode(&step.bytes)
                .and_then(|recovery| recovery.check(low_way.founded.anchor()))
                .map_err(VerifyError::Walk)?;
            if height > recovery.parent_height() {
                return Ok(Outcome::Apart);
            }
        }
        Some(step) if last_height(step).is_some_and(|last| height >= last) => {
            let (step, block) = (Signed::step(step), low_seen.signed());
            match evidence(&low.chain, low_way, &low_way.steps, step, block) {
                Ok(found) => return Ok(contradict(found)),
                // It is the last block itself.
                Err(EvidenceError::NoContradiction) => return Ok(Outcome::Agree),
                Err(why) => return Err(refused(why)),
            }
        }
        Some(_) => {}
    }
    // The newest height of the lower one, or the nearest below it of which both have a certificate.
    let mut uncertified = VerifyError::Uncertified(height);
    for below in 0..HEADERS_MAX as u64 {
        let Some(Ok(height)) = height.get().checked_sub(below).map(Height::new) else {
            break;
        };
        let ours = if below == 0 {
            Some(low_seen.clone())
        } else {
            at(&*low.ledger, &low_way.trust, height).await?
        };
        let Some(ours) = ours else { continue };
        let theirs = if high_seen.header().height == height
            && high_seen.header().epoch == low_seen.header().epoch
        {
            Some(high_seen.clone())
        } else {
            // Up to here both have walked one way, so the epoch's set is one and the same.
            at(&*high.ledger, &low_way.trust, height).await?
        };
        let Some(theirs) = theirs else {
            uncertified = VerifyError::Uncertified(height);
            continue;
        };
        if !ours.differs(&theirs) {
            return Ok(Outcome::Agree);
        }
        let (one, other) = (ours.signed(), theirs.signed());
        return checked(&low.chain, low_way, &low_way.steps, one, other).map(contradict);
    }
    Err(uncertified)
}

fn contradict(evidence: Evidence) -> Outcome {
    Outcome::Contradict(Box::new(evidence))
}

/// Evidence that anyone can check, because it was.
fn checked(
    chain: &ChainId,
    way: &Founded,
    steps: &[Step],
    one: Signed,
    other: Signed,
) -> Result<Evidence, VerifyError> {
    evidence(chain, way, steps, one, other).map_err(refused)
}

fn evidence(
    chain: &ChainId,
    way: &Founded,
    steps: &[Step],
    one: Signed,
    other: Signed,
) -> Result<Evidence, EvidenceError> {
    let evidence = Evidence::new(*chain, way.genesis.clone(), steps, one, other);
    evidence.check(chain)?;
    Ok(evidence)
}

/// Both halves were verified before they were put together, so what is refused is a step or a block that does not fit beside the other.
fn refused(why: EvidenceError) -> VerifyError {
    match why {
        EvidenceError::Verify(why) => why,
        _ => VerifyError::Checkpoint(CheckpointError::Anchor(AnchorError::Fork)),
    }
}
