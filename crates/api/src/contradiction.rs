//! Evidence that a ledger has two histories (spec/contradiction.md).
//!
//! [`Evidence`] is what travels: the genesis document, the steps to an epoch, and two signed things of that epoch that cannot both be
//! true. [`Evidence::check`] needs the chain ID and nothing else, and gives a [`Contradiction`], which only it makes. Whoever has
//! no faith in who found it, or in the nodes that it was found on, checks it himself.
//!
//! What it does not say: which of the two is the ledger. The operators have to answer that.

use crate::{
    ledger::{MAX_GENESIS, MAX_PROOF, MAX_WALK_STEP, Step},
    verify::{Trust, VerifyError},
};
use bytes::Bytes;
use core::mem;
use kusabi_core::{
    cbor::{CborError, Decoder, Encoder, FromCbor, ToCbor, decode_canonical},
    checkpoint::{Checkpoint, VerifiedCheckpoint},
    genesis::Genesis,
    handover::{Handover, HandoverError},
    id::{ChainId, Epoch, HeaderHash, Height, OrgId, OrgName, SetHash},
    quorum::Certificate,
    set::EpochSet,
    step::{self, End, StepKind},
    suite::VerificationKey,
    wire::Sink,
};

/// Longest evidence, in bytes.
pub const EVIDENCE_LEN_MAX: usize = 16 << 20;

/// Most steps before the epoch of the contradiction: one each month for 85 years.
pub const STEPS_MAX: usize = 1024;

const VERSION: u64 = 1;

/// The kind of a signed thing that is a checkpoint; steps have their own numbers.
const CHECKPOINT: u8 = 0;

/// Longest signed thing, with its kind.
const SIGNED_MAX: usize = 1 + MAX_WALK_STEP;

const _: () = assert!(MAX_PROOF < MAX_WALK_STEP);

/// Why evidence shows nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// More than 16 MiB, or more than 1,024 steps.
    #[error("evidence of a contradiction has at most 16 MiB and 1,024 steps")]
    Length,
    /// Not the format.
    #[error("this is no evidence of a contradiction: {0}")]
    Cbor(CborError),
    /// A version other than 1.
    #[error("the evidence is of another version; a newer kusabi may read it")]
    Version,
    /// The two are the same, or not in ascending order.
    #[error("the two that are to contradict each other are not two, or not in order")]
    Order,
    /// Made for another chain.
    #[error("the evidence is about another ledger")]
    OtherChain,
    /// Something in it is not signed as it must be, or does not follow from the genesis document.
    #[error("the evidence does not check: {0}")]
    Verify(#[from] VerifyError),
    /// Both are good, and both can be true.
    #[error("the evidence shows no contradiction: both can be true")]
    NoContradiction,
}

impl From<CborError> for EvidenceError {
    fn from(error: CborError) -> Self {
        Self::Cbor(error)
    }
}

/// A checkpoint or a step, with the byte of its kind before it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Signed(Bytes);

impl Signed {
    /// A checkpoint (spec/proof.md).
    #[must_use]
    pub fn checkpoint(bytes: &[u8]) -> Self {
        Self([&[CHECKPOINT], bytes].concat().into())
    }

    /// A handover or a recovery (spec/proof.md).
    #[must_use]
    pub fn step(step: &Step) -> Self {
        let kind: StepKind = step.kind.into();
        Self([&[kind as u8], &step.bytes[..]].concat().into())
    }

    fn read(&self) -> Result<Says<'_>, VerifyError> {
        Ok(match self.0.split_first() {
            Some((&CHECKPOINT, bytes)) => Says::Checkpoint(
                Checkpoint::decode(bytes).map_err(VerifyError::Checkpoint)?,
                bytes,
            ),
            _ => Says::Step(tagged(&self.0)?),
        })
    }
}

enum Says<'a> {
    Checkpoint(Checkpoint<'a>, &'a [u8]),
    Step(step::Step<'a>),
}

fn tagged(bytes: &[u8]) -> Result<step::Step<'_>, VerifyError> {
    step::Step::decode_tagged(bytes).map_err(VerifyError::Walk)
}

/// Decoded evidence: its form is checked, nothing is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    chain: ChainId,
    genesis: Bytes,
    /// Each with the byte of its kind before it.
    steps: Vec<Bytes>,
    signed: [Signed; 2],
}

impl Evidence {
    /// Puts evidence together: `steps` lead from the genesis document to the epoch of the two that are said to contradict each
    /// other. Nothing is checked.
    #[must_use]
    pub fn new(chain: ChainId, genesis: Bytes, steps: &[Step], one: Signed, other: Signed) -> Self {
        Self {
            chain,
            genesis,
            steps: steps.iter().map(|step| Signed::step(step).0).collect(),
            signed: if one <= other {
                [one, other]
            } else {
                [other, one]
            },
        }
    }

    /// Decodes exactly one piece of evidence.
    ///
    /// # Errors
    /// The first rule of form broken.
    pub fn decode(bytes: &[u8]) -> Result<Self, EvidenceError> {
        if bytes.len() > EVIDENCE_LEN_MAX {
            return Err(EvidenceError::Length);
        }
        decode_canonical(bytes)
    }

    /// The bytes.
    ///
    /// # Errors
    /// [`EvidenceError::Length`]
    pub fn encode(&self) -> Result<Vec<u8>, EvidenceError> {
        let bytes = self.to_cbor_vec();
        if bytes.len() > EVIDENCE_LEN_MAX || self.steps.len() > STEPS_MAX {
            return Err(EvidenceError::Length);
        }
        Ok(bytes)
    }

    /// The chain that it says to be about.
    #[must_use]
    pub const fn chain(&self) -> &ChainId {
        &self.chain
    }

    /// Checks from the chain ID on that both are signed as only the ledger's own can be, and that not both can be true.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(&self, chain: &ChainId) -> Result<Contradiction, EvidenceError> {
        if self.chain != *chain {
            return Err(EvidenceError::OtherChain);
        }
        let mut trust = Trust::found(chain, &self.genesis)?;
        for bytes in &self.steps {
            trust.take(&tagged(bytes)?)?;
        }
        let [one, other] = &self.signed;
        let found = match (one.read()?, other.read()?) {
            (Says::Checkpoint(one, one_bytes), Says::Checkpoint(other, other_bytes)) => {
                two_blocks(&trust, [(&one, one_bytes), (&other, other_bytes)])?
            }
            // Their kinds are in ascending order, so a checkpoint comes first.
            (Says::Checkpoint(block, bytes), Says::Step(step))
            | (Says::Step(step), Says::Checkpoint(block, bytes)) => {
                block_and_end(&trust, (&block, bytes), &step)?
            }
            (Says::Step(one), Says::Step(other)) => two_steps(&trust, &one, &other)?,
        };
        let genesis = Genesis::decode_for(chain, &self.genesis).map_err(VerifyError::Genesis)?;
        let set = trust.epoch_set()?;
        Ok(Contradiction {
            epoch: trust.anchor().epoch(),
            validators: set.validator_count(),
            finding: found.finding,
            both: found.both.named(&set, &genesis),
            by_itself: found.by_itself,
        })
    }
}

impl FromCbor<'_> for Evidence {
    type Error = EvidenceError;

    fn from_cbor(d: &mut Decoder<'_>) -> Result<Self, EvidenceError> {
        d.array(5)?;
        if d.u64()? != VERSION {
            return Err(EvidenceError::Version);
        }
        let chain = ChainId::new(d.array_of()?);
        let genesis = Bytes::copy_from_slice(d.bytes(1..=MAX_GENESIS)?);
        let count = d.list(0..=STEPS_MAX)?;
        let mut steps = Vec::new();
        for _ in 0..count {
            steps.push(Bytes::copy_from_slice(d.bytes(2..=SIGNED_MAX)?));
        }
        d.array(2)?;
        let mut signed =
            || Ok::<_, CborError>(Signed(Bytes::copy_from_slice(d.bytes(2..=SIGNED_MAX)?)));
        let signed = [signed()?, signed()?];
        let [one, other] = &signed;
        if one >= other {
            return Err(EvidenceError::Order);
        }
        Ok(Self {
            chain,
            genesis,
            steps,
            signed,
        })
    }
}

impl ToCbor for Evidence {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        e.array(5)
            .u64(VERSION)
            .bytes(self.chain.as_bytes())
            .bytes(&self.genesis);
        e.array(self.steps.len());
        for step in &self.steps {
            e.bytes(step);
        }
        e.array(2);
        for Signed(bytes) in &self.signed {
            e.bytes(bytes);
        }
    }
}

/// What cannot be, and was signed. Only [`Evidence::check`] makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    epoch: Epoch,
    validators: usize,
    finding: Finding,
    both: Vec<Signer>,
    by_itself: bool,
}

impl Contradiction {
    /// The epoch whose keys signed.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// How many validators that epoch has. More than a third of them broke the rules, unless recovery keys did.
    #[must_use]
    pub const fn validators(&self) -> usize {
        self.validators
    }

    /// What the two say.
    #[must_use]
    pub const fn finding(&self) -> &Finding {
        &self.finding
    }

    /// Who signed both.
    #[must_use]
    pub fn both(&self) -> &[Signer] {
        &self.both
    }

    /// Whether to sign both breaks the rules by itself: two ends of one epoch, two blocks in one view, two recoveries to one epoch.
    /// Otherwise who signed both may have been led by others, who broke a rule that this evidence does not show: they voted to skip
    /// a view in which they had voted for a block.
    #[must_use]
    pub const fn by_itself(&self) -> bool {
        self.by_itself
    }
}

/// What two signed things say that cannot both be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Two blocks of one height.
    Blocks {
        /// The height.
        height: Height,
        /// Hashes of the headers.
        hashes: [HeaderHash; 2],
    },
    /// Two ways into one epoch: to different sets, or after different blocks.
    Steps {
        /// The epoch that both lead to.
        to: Epoch,
        /// The sets that they lead to.
        sets: [SetHash; 2],
        /// How the epoch before ended.
        ends: [End; 2],
    },
    /// A block of an epoch that its handover has no room for.
    BeyondEnd {
        /// Last height, as the handover says.
        last: Height,
        /// Hash of the last header, as the handover says.
        last_hash: HeaderHash,
        /// Height of the block.
        height: Height,
        /// Hash of its header.
        hash: HeaderHash,
    },
}

/// Who signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// The key: a vote key, or a recovery key.
    pub key: VerificationKey,
    /// Whose vote key it is. None for a recovery key.
    pub organisation: Option<OrgId>,
    /// That organisation's name, where it is one of the genesis document.
    pub name: Option<OrgName>,
}

struct Found {
    finding: Finding,
    both: Both,
    by_itself: bool,
}

/// Who signed both: indices in the set, or recovery keys.
enum Both {
    Votes(Vec<usize>),
    Recovery(Vec<VerificationKey>),
}

impl Both {
    fn votes(one: &Certificate<'_>, other: &Certificate<'_>) -> Self {
        let signed = |index: usize| other.signatures().any(|(signer, _)| signer == index);
        let both = one.signatures().map(|(index, _)| index);
        Self::Votes(both.filter(|index| signed(*index)).collect())
    }

    fn named(self, set: &EpochSet<'_>, genesis: &Genesis<'_>) -> Vec<Signer> {
        let name = |id: &OrgId| {
            let mut names = genesis
                .founders()
                .filter_map(|founder| OrgName::new(founder.name).ok());
            names.find(|name| name.id() == *id)
        };
        match self {
            Self::Votes(indices) => indices
                .into_iter()
                .filter_map(|index| {
                    let validator = set.validator(index)?;
                    let organisation = set.organisation(usize::from(validator.organisation))?.id;
                    Some(Signer {
                        key: VerificationKey::ed25519(validator.vote_key).ok()?,
                        organisation: Some(organisation),
                        name: name(&organisation),
                    })
                })
                .collect(),
            Self::Recovery(keys) => keys
                .into_iter()
                .map(|key| Signer {
                    key,
                    organisation: None,
                    name: None,
                })
                .collect(),
        }
    }
}

fn two_blocks(
    trust: &Trust,
    [one, other]: [(&Checkpoint<'_>, &[u8]); 2],
) -> Result<Found, EvidenceError> {
    let (first, second) = (trust.certified(one.1)?, trust.certified(other.1)?);
    if first.header().height != second.header().height || first.hash() == second.hash() {
        return Err(EvidenceError::NoContradiction);
    }
    let voted = |checkpoint: &VerifiedCheckpoint| checkpoint.certified().hash(checkpoint.chain());
    Ok(Found {
        finding: Finding::Blocks {
            height: first.header().height,
            hashes: [*first.hash(), *second.hash()],
        },
        both: Both::votes(one.0.certificate(), other.0.certificate()),
        by_itself: one.0.views().0 == other.0.views().0 && voted(&first) != voted(&second),
    })
}

fn block_and_end(
    trust: &Trust,
    block: (&Checkpoint<'_>, &[u8]),
    step: &step::Step<'_>,
) -> Result<Found, EvidenceError> {
    let checkpoint = trust.certified(block.1)?;
    let end = trust.clone().take(step)?;
    let (height, hash) = (checkpoint.header().height, *checkpoint.hash());
    match (step, end) {
        (step::Step::Handover(handover), End::At(last, last_hash))
            if !end.admits(height, &hash) =>
        {
            Ok(Found {
                finding: Finding::BeyondEnd {
                    last,
                    last_hash,
                    height,
                    hash,
                },
                both: Both::votes(block.0.certificate(), handover.votes()),
                by_itself: false,
            })
        }
        // What a recovery left behind is lost, and was no lie.
        _ => Err(EvidenceError::NoContradiction),
    }
}

fn two_steps(
    trust: &Trust,
    one: &step::Step<'_>,
    other: &step::Step<'_>,
) -> Result<Found, EvidenceError> {
    let (mut first, mut second) = (trust.clone(), trust.clone());
    let ends = [first.take(one)?, second.take(other)?];
    // A recovery to a higher epoch stands above whatever was there before it, so different epochs are no contradiction.
    if one.leads_to() != other.leads_to() || one.says_the_same(other) {
        return Err(EvidenceError::NoContradiction);
    }
    let both = match (one, other) {
        (step::Step::Handover(one), step::Step::Handover(other)) => {
            Both::votes(one.votes(), other.votes())
        }
        (step::Step::Recovery(one), step::Step::Recovery(other)) => Both::Recovery(
            one.signers()
                .filter(|key| other.signers().any(|signer| signer == *key))
                .collect(),
        ),
        _ => Both::Recovery(Vec::new()),
    };
    Ok(Found {
        finding: Finding::Steps {
            to: first.anchor().epoch(),
            sets: [first.anchor().set_hash(), second.anchor().set_hash()],
            ends,
        },
        both,
        by_itself: mem::discriminant(one) == mem::discriminant(other),
    })
}

/// Whether a walk's two steps from one place cannot both be true, as far as their words go: their signatures are checked elsewhere.
pub(crate) fn differ(one: &Step, other: &Step) -> Result<Differ, HandoverError> {
    let one = step::Step::decode(one.kind.into(), &one.bytes)?;
    let other = step::Step::decode(other.kind.into(), &other.bytes)?;
    Ok(if one.says_the_same(&other) {
        Differ::Not
    } else if one.leads_to() == other.leads_to() {
        Differ::Contradict
    } else {
        Differ::Apart
    })
}

/// How two verified steps from one place stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Differ {
    /// They say the same.
    Not,
    /// Not both can be true.
    Contradict,
    /// One leads to a higher epoch by a recovery, which leaves the other behind.
    Apart,
}

/// The last height that a handover names, unchecked.
pub(crate) fn last_height(step: &Step) -> Option<Height> {
    match step.kind {
        crate::ledger::StepKind::Handover => {
            Some(Handover::decode(&step.bytes).ok()?.last_height())
        }
        crate::ledger::StepKind::Recovery => None,
    }
}
