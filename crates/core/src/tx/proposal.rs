//! What is proposed to the members (spec/governance.md): acts about organisations and about all.

use alloc::vec::Vec;

use super::codec::{list, write_list};
use super::{Entry, TxError};
use crate::cbor::{Decoder, Encoder, FromCbor, ToCbor, decode_canonical};
use crate::id::{ChainId, OrgId, OrgName, ProposalId};
use crate::row::Organisation;
use crate::set::SIGNATORIES_MAX;
use crate::statement::{Statement, StatementKind};
use crate::suite::{Purpose, Signature, Suite};
use crate::wire::{Sink, U48_END};

/// Longest proposal in bytes: eight candidates with five officers each fit four times.
pub const PROPOSAL_BYTES_MAX: usize = 32 << 10;
/// Most acts of one proposal.
pub const ACTS_MAX: usize = 8;
/// How long a proposal may be open at most, in milliseconds of the ledger's time: 90 days.
pub const PROPOSAL_OPEN_MS_MAX: u64 = 90 * 24 * 3_600_000;
/// How long a freeze lasts, in milliseconds of the ledger's time: 72 hours.
pub const FREEZE_MS: u64 = 72 * 3_600_000;

const VERSION: u8 = 1;

/// An officer of a candidate: its entry, and its signature under the candidate's wish to be admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    /// The officer's entry.
    pub entry: Entry,
    /// Its signature; not verified yet.
    pub signature: Signature,
}

/// An organisation that wants to be on the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub name: OrgName,
    /// How many of its officers act together.
    pub threshold: u8,
    /// Its officers, ascending by handle, 1 to 5.
    pub officers: Vec<Consent>,
}

impl Candidate {
    /// What an officer of it signs: the name, the threshold and all officers' entries, for one chain.
    pub fn statement(&self, chain: &ChainId, officer: &Entry) -> Statement {
        let mut payload = Vec::new();
        let mut e = Encoder::new(&mut payload);
        e.array(4).u64(VERSION.into()).text(self.name.as_str());
        e.u64(self.threshold.into()).array(self.officers.len());
        for consent in &self.officers {
            consent.entry.to_cbor(&mut e);
        }
        let kind = StatementKind::Admission;
        Statement::new(
            chain,
            &officer.handle(),
            Purpose::Officer,
            kind,
            &[&payload],
        )
    }

    /// Whether every officer has signed for this chain, with a key that is one.
    pub fn is_signed(&self, chain: &ChainId) -> bool {
        self.officers.iter().all(|Consent { entry, signature }| {
            let key = entry.check_keys().ok();
            key.and_then(|keys| keys.verification_key())
                .is_some_and(|key| {
                    let statement = self.statement(chain, entry);
                    key.verify(&statement, signature).is_ok()
                })
        })
    }

    /// Every rule that needs no state.
    ///
    /// # Errors
    /// [`TxError`]
    pub fn check(&self) -> Result<(), TxError> {
        if !(1..=SIGNATORIES_MAX).contains(&self.officers.len()) {
            return Err(TxError::Count);
        }
        if !(1..=self.officers.len()).contains(&usize::from(self.threshold)) {
            return Err(TxError::Value);
        }
        super::action::ascending(self.officers.iter().map(|consent| consent.entry.handle()))?;
        let mut entries = self.officers.iter().map(|consent| &consent.entry);
        if entries.any(|entry| entry.purpose() != Purpose::Officer) {
            return Err(TxError::Purpose);
        }
        let mut entries = self.officers.iter().map(|consent| &consent.entry);
        if entries.any(|entry| entry.keys().suite() == Suite::Foreign) {
            return Err(TxError::Suite);
        }
        Ok(())
    }
}

/// What the members may decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Admits an organisation.
    Admit {
        /// Who it is.
        candidate: Candidate,
        /// Most rows that it may have.
        quota: u64,
        /// Whether it has a seat, and so a vote; else it is a guest.
        seat: bool,
    },
    /// Takes an organisation's seat, and stops what it adds for good. What stands stays.
    Remove {
        /// Which.
        org: OrgId,
    },
    /// Gives a seat to a guest, or to an organisation that was removed.
    Seat {
        /// Which.
        org: OrgId,
    },
    /// Sets how many rows an organisation may have.
    Quota {
        /// Which.
        org: OrgId,
        /// Most rows, below 2^48.
        rows: u64,
    },
    /// Stops what an organisation adds, for 72 hours.
    Freeze {
        /// Which.
        org: OrgId,
    },
    /// Ends a freeze.
    Thaw {
        /// Which.
        org: OrgId,
    },
    /// Sets the time between blocks where nothing happens.
    Heartbeat {
        /// In milliseconds.
        ms: u32,
    },
}

impl Act {
    /// The spec's word for it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Admit { .. } => "admit",
            Self::Remove { .. } => "remove",
            Self::Seat { .. } => "seat",
            Self::Quota { .. } => "quota",
            Self::Freeze { .. } => "freeze",
            Self::Thaw { .. } => "thaw",
            Self::Heartbeat { .. } => "heartbeat",
        }
    }

    /// The organisation that it is about; none where it is about all.
    pub fn org(&self) -> Option<OrgId> {
        match self {
            Self::Admit { candidate, .. } => Some(candidate.name.id()),
            Self::Remove { org }
            | Self::Seat { org }
            | Self::Quota { org, .. }
            | Self::Freeze { org }
            | Self::Thaw { org } => Some(*org),
            Self::Heartbeat { .. } => None,
        }
    }

    /// The officers that it puts on the ledger, with their signatures.
    pub fn officers(&self) -> &[Consent] {
        match self {
            Self::Admit { candidate, .. } => &candidate.officers,
            _ => &[],
        }
    }

    /// Whether two thirds of the members have to be for it, as its organisation stands: for all but a raised quota, a first
    /// freeze, and a thaw. (A quota of what it has already would be a freeze without end.)
    pub fn is_high(&self, organisation: Option<&Organisation>) -> bool {
        match self {
            Self::Quota { rows, .. } => organisation.is_none_or(|org| *rows < org.quota),
            Self::Freeze { .. } => organisation.is_none_or(|org| org.frozen_until_ms != 0),
            Self::Thaw { .. } => false,
            _ => true,
        }
    }

    fn check(&self) -> Result<(), TxError> {
        match self {
            Self::Admit {
                candidate, quota, ..
            } => {
                candidate.check()?;
                if *quota >= U48_END {
                    return Err(TxError::Value);
                }
            }
            Self::Quota { rows, .. } if *rows >= U48_END => return Err(TxError::Value),
            Self::Heartbeat { ms } if !crate::genesis::is_heartbeat((*ms).into()) => {
                return Err(TxError::Value);
            }
            _ => {}
        }
        Ok(())
    }
}

/// A proposal: acts that happen together, or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    bytes: Vec<u8>,
    proposer: OrgId,
    expires_ms: u64,
    acts: Vec<Act>,
}

impl Proposal {
    /// A proposal of 1 to 8 acts, each about another organisation, until a time in milliseconds since 1970.
    ///
    /// # Errors
    /// [`TxError`] for the first rule that it breaks.
    pub fn new(proposer: OrgId, expires_ms: u64, acts: Vec<Act>) -> Result<Self, TxError> {
        let parts = Parts {
            proposer,
            expires_ms,
            acts,
        };
        parts.check()?;
        let bytes = parts.to_cbor_vec();
        if bytes.len() > PROPOSAL_BYTES_MAX {
            return Err(TxError::TooLong);
        }
        Ok(Self::of(parts, bytes))
    }

    /// Reads a proposal.
    ///
    /// # Errors
    /// [`TxError`] for the first rule that the bytes break.
    pub fn decode(bytes: &[u8]) -> Result<Self, TxError> {
        if bytes.len() > PROPOSAL_BYTES_MAX {
            return Err(TxError::TooLong);
        }
        let parts: Parts = decode_canonical(bytes)?;
        parts.check()?;
        Ok(Self::of(parts, bytes.to_vec()))
    }

    fn of(parts: Parts, bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            proposer: parts.proposer,
            expires_ms: parts.expires_ms,
            acts: parts.acts,
        }
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its ID.
    pub fn id(&self) -> ProposalId {
        ProposalId::of(&self.bytes)
    }

    /// The member that proposes it.
    pub const fn proposer(&self) -> OrgId {
        self.proposer
    }

    /// The time after which nobody votes on it any more, in milliseconds since 1970.
    pub const fn expires_ms(&self) -> u64 {
        self.expires_ms
    }

    /// Its acts, in order.
    pub fn acts(&self) -> &[Act] {
        &self.acts
    }

    /// The officers whom it puts on the ledger, with their signatures.
    pub fn officers(&self) -> impl Iterator<Item = &Consent> {
        self.acts.iter().flat_map(Act::officers)
    }
}

/// A proposal as it stands on the wire.
struct Parts {
    proposer: OrgId,
    expires_ms: u64,
    acts: Vec<Act>,
}

impl Parts {
    fn check(&self) -> Result<(), TxError> {
        if !(1..=ACTS_MAX).contains(&self.acts.len()) {
            return Err(TxError::Count);
        }
        if self.expires_ms >= U48_END {
            return Err(TxError::Value);
        }
        // spec: two acts about one organisation, or two heartbeats, would depend on their order.
        for (index, act) in self.acts.iter().enumerate() {
            act.check()?;
            let mut earlier = self.acts.iter().take(index);
            if earlier.any(|other| other.org() == act.org()) {
                return Err(TxError::Order);
            }
        }
        // spec: of two officers with one handle the second would take the first one's record; two with one key are one.
        let officers = || {
            let officers = self.acts.iter().flat_map(Act::officers);
            officers.map(|consent| &consent.entry)
        };
        for (index, entry) in officers().enumerate() {
            let mut earlier = officers().take(index);
            if earlier.any(|other| other.handle() == entry.handle() || shares_a_key(other, entry)) {
                return Err(TxError::Order);
            }
        }
        Ok(())
    }
}

/// Whether two officers' entries bring one signing key: the first half of either suite's keys.
fn shares_a_key(one: &Entry, other: &Entry) -> bool {
    fn signing(entry: &Entry) -> Option<(Suite, &[u8])> {
        let keys = entry.keys().compact()?;
        let (signing, _) = keys.split_at_checked(keys.len() / 2)?;
        Some((entry.keys().suite(), signing))
    }
    signing(one).is_some_and(|key| signing(other) == Some(key))
}

impl FromCbor<'_> for Parts {
    type Error = TxError;

    fn from_cbor(d: &mut Decoder<'_>) -> Result<Self, TxError> {
        d.array(4)?;
        if d.u64()? != VERSION.into() {
            return Err(TxError::Version);
        }
        Ok(Self {
            proposer: OrgId::new(d.array_of()?),
            expires_ms: d.u64()?,
            acts: list(d, 1..=ACTS_MAX)?,
        })
    }
}

impl ToCbor for Parts {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        e.array(4).u64(VERSION.into());
        e.bytes(self.proposer).u64(self.expires_ms);
        write_list(e, &self.acts);
    }
}

impl FromCbor<'_> for Act {
    type Error = TxError;

    fn from_cbor(d: &mut Decoder<'_>) -> Result<Self, TxError> {
        let elements = d.list(2..=6)?;
        let code = d.u64()?;
        let expected = match code {
            0 => 6,
            3 => 3,
            1 | 2 | 4 | 5 | 6 => 2,
            _ => return Err(TxError::Action),
        };
        if elements != expected {
            return Err(TxError::Cbor);
        }
        if code == 6 {
            return Ok(Self::Heartbeat { ms: d.u32()? });
        }
        if code == 0 {
            let name = d.text(1..=32)?;
            return Ok(Self::Admit {
                candidate: Candidate {
                    name: OrgName::new(name).map_err(|_| TxError::Value)?,
                    threshold: d.u8()?,
                    officers: list(d, 1..=SIGNATORIES_MAX)?,
                },
                quota: d.u64()?,
                seat: flag(d)?,
            });
        }
        let org = OrgId::new(d.array_of()?);
        Ok(match code {
            1 => Self::Remove { org },
            2 => Self::Seat { org },
            3 => Self::Quota {
                org,
                rows: d.u64()?,
            },
            4 => Self::Freeze { org },
            _ => Self::Thaw { org },
        })
    }
}

impl ToCbor for Act {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        let mut of_org = |code, org: &OrgId, elements| {
            e.array(elements).u64(code).bytes(org);
        };
        match self {
            Self::Admit {
                candidate,
                quota,
                seat,
            } => {
                e.array(6).u64(0).text(candidate.name.as_str());
                e.u64(candidate.threshold.into());
                write_list(e, &candidate.officers);
                e.u64(*quota).u64((*seat).into());
            }
            Self::Remove { org } => of_org(1, org, 2),
            Self::Seat { org } => of_org(2, org, 2),
            Self::Quota { org, rows } => {
                of_org(3, org, 3);
                e.u64(*rows);
            }
            Self::Freeze { org } => of_org(4, org, 2),
            Self::Thaw { org } => of_org(5, org, 2),
            Self::Heartbeat { ms } => {
                e.array(2).u64(6).u64((*ms).into());
            }
        }
    }
}

impl FromCbor<'_> for Consent {
    type Error = TxError;

    fn from_cbor(d: &mut Decoder<'_>) -> Result<Self, TxError> {
        d.array(2)?;
        Ok(Self {
            entry: Entry::from_cbor(d)?,
            signature: Signature::new(d.array_of()?),
        })
    }
}

impl ToCbor for Consent {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        e.array(2);
        self.entry.to_cbor(e);
        e.bytes(self.signature);
    }
}

/// 0 or 1.
pub(super) fn flag(d: &mut Decoder<'_>) -> Result<bool, TxError> {
    match d.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(TxError::Value),
    }
}
