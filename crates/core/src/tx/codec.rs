//! The CBOR of transactions.
//!
//! `[1, chain, action, signatures]`; the action's own bytes are kept as received, for they are what signatures cover.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

use super::action::{Action, Entry, Named, ascending};
use super::proposal::{PROPOSAL_BYTES_MAX, Proposal, flag};
use super::{
    APPOINTMENT_BYTES_MAX, ART_KEYS_MAX, ENTRIES_MAX, GENESIS_BYTES_MAX, GENESIS_SIGNATURES_MAX,
    HANDOVER_BYTES_MAX, RECOVERY_BYTES_MAX, Signed, TARGETS_MAX, TX_BYTES_MAX, Transaction,
    TxError,
};
use crate::cbor::{CborError, Decoder, Encoder, FromCbor, ToCbor, decode_canonical};
use crate::id::{Binding, ChainId, Digest, Handle, OrgId, TxId};
use crate::nodes::NODES_LEN_MAX;
use crate::row::{Reason, Seat, Topic};
use crate::set::EPOCH_SET_LEN_MAX;
use crate::suite::{PublicKeys, Purpose, Signature, Suite, UncheckedKeys};
use crate::wire::Sink;

/// Version of the transaction format.
const VERSION: u8 = 1;

impl From<CborError> for TxError {
    fn from(error: CborError) -> Self {
        match error {
            CborError::OutOfBounds => Self::Value,
            CborError::NotShortest | CborError::NotCanonical => Self::NotCanonical,
            _ => Self::Cbor,
        }
    }
}

/// A transaction as it stands on the wire.
struct Envelope {
    chain: ChainId,
    action: Action,
    range: Range<usize>,
    signatures: Vec<Signed>,
}

pub(super) fn decode(bytes: &[u8]) -> Result<Transaction, TxError> {
    if bytes.len() > TX_BYTES_MAX {
        return Err(TxError::TooLong);
    }
    let envelope: Envelope = decode_canonical(bytes)?;
    Ok(Transaction {
        bytes: bytes.to_vec(),
        id: TxId::of(bytes),
        chain: envelope.chain,
        action: envelope.action,
        action_range: envelope.range,
        signatures: envelope.signatures,
    })
}

pub(super) fn encode(
    chain: ChainId,
    action: Action,
    signatures: Vec<Signed>,
) -> Result<Transaction, TxError> {
    check_signatures(&action, &signatures)?;
    let mut envelope = Envelope {
        chain,
        action,
        range: 0..0,
        signatures,
    };
    let bytes = envelope.to_cbor_vec();
    if bytes.len() > TX_BYTES_MAX {
        return Err(TxError::TooLong);
    }
    // Array head, version, and the chain with its two bytes of head stand before the action.
    let start = 1 + 1 + 2 + ChainId::LEN;
    envelope.range = start..start + envelope.action.to_cbor_vec().len();
    Ok(Transaction {
        id: TxId::of(&bytes),
        chain: envelope.chain,
        action: envelope.action,
        action_range: envelope.range,
        signatures: envelope.signatures,
        bytes,
    })
}

pub(super) fn check_signatures(action: &Action, signatures: &[Signed]) -> Result<(), TxError> {
    if signatures.len() > action.signatures_max() {
        return Err(TxError::Count);
    }
    ascending(signatures.iter().map(|signed| signed.signer))
}

impl FromCbor<'_> for Envelope {
    type Error = TxError;

    fn from_cbor(d: &mut Decoder<'_>) -> Result<Self, TxError> {
        d.array(4)?;
        if d.u64()? != u64::from(VERSION) {
            return Err(TxError::Version);
        }
        let chain = ChainId::new(d.array_of()?);
        let start = d.position();
        let action = Action::from_cbor(d)?;
        let range = start..d.position();
        let count = d.list(0..=GENESIS_SIGNATURES_MAX).map_err(count_of)?;
        let mut signatures = Vec::with_capacity(count);
        for _ in 0..count {
            d.array(2)?;
            signatures.push(Signed {
                signer: Handle::new(d.array_of()?),
                signature: Signature::new(d.array_of()?),
            });
        }
        check_signatures(&action, &signatures)?;
        Ok(Self {
            chain,
            action,
            range,
            signatures,
        })
    }
}

impl ToCbor for Envelope {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        e.array(4).u64(VERSION.into()).bytes(self.chain);
        self.action.to_cbor(e);
        e.array(self.signatures.len());
        for signed in &self.signatures {
            e.array(2).bytes(signed.signer).bytes(signed.signature);
        }
    }
}

impl FromCbor<'_> for Action {
    type Error = TxError;

    fn from_cbor(d: &mut Decoder<'_>) -> Result<Self, TxError> {
        // The code comes after the head that it decides about: read it on a copy first.
        let mut ahead = d.clone();
        let elements = ahead.list(2..=7)?;
        let code = ahead.u64()?;
        let expected = match code {
            14 => 2,
            0 | 1 | 6 | 11 => 3,
            2 | 3 | 5 | 9 | 10 | 13 | 16 | 17 => 4,
            8 | 12 | 15 => 5,
            4 => 6,
            7 => 7,
            _ => return Err(TxError::Action),
        };
        if elements != expected {
            return Err(TxError::Cbor);
        }
        *d = ahead;
        let action = match code {
            0 => Self::Genesis {
                document: d.bytes(1..=GENESIS_BYTES_MAX)?.to_vec(),
                entries: list(d, 1..=GENESIS_SIGNATURES_MAX)?,
            },
            11 => Self::Recovery {
                recovery: d.bytes(1..=RECOVERY_BYTES_MAX)?.to_vec(),
                nodes: d.bytes(1..=NODES_LEN_MAX)?.to_vec(),
            },
            13 => Self::Handover {
                old_set: d.bytes(1..=EPOCH_SET_LEN_MAX)?.to_vec(),
                handover: d.bytes(1..=HANDOVER_BYTES_MAX)?.to_vec(),
                nodes: d.bytes(1..=NODES_LEN_MAX)?.to_vec(),
            },
            14 => Self::Propose {
                proposal: Box::new(proposal(d)?),
            },
            _ => {
                let org = OrgId::new(d.array_of()?);
                Self::of_org(code, org, d)?
            }
        };
        action.check()?;
        Ok(action)
    }
}

impl Action {
    fn of_org(code: u64, org: OrgId, d: &mut Decoder<'_>) -> Result<Self, TxError> {
        Ok(match code {
            1 => Self::Register {
                org,
                entries: list(d, 1..=ENTRIES_MAX)?,
            },
            2 => Self::Activate {
                org,
                pre: Named::from_cbor(d)?,
                act: Box::new(Entry::from_cbor(d)?),
            },
            3 => Self::Supersede {
                org,
                old: Named::from_cbor(d)?,
                new: Box::new(Entry::from_cbor(d)?),
            },
            4 => Self::Revoke {
                org,
                targets: list(d, 1..=TARGETS_MAX)?,
                reason: Reason::try_from(d.u8()?).map_err(|_| TxError::Value)?,
                compromised_since: d.optional(Decoder::height)?,
                signers: d.u8()?,
            },
            5 => Self::Grant {
                org,
                org_version: d.u32()?,
                entry: Box::new(Entry::from_cbor(d)?),
            },
            6 => Self::Withdraw {
                org,
                target: Named::from_cbor(d)?,
            },
            7 => Self::ArtPolicy {
                org,
                policy_version: d.u32()?,
                k: d.u8()?,
                added: list(d, 0..=ART_KEYS_MAX)?,
                removed: list(d, 0..=ART_KEYS_MAX)?,
                signers: d.u8()?,
            },
            8 => Self::Publish {
                org,
                policy_version: d.u32()?,
                digest: Digest::new(d.array_of()?),
                minimum_counter: d.u64()?,
            },
            9 => Self::WithdrawRelease {
                org,
                digest: Digest::new(d.array_of()?),
                version: d.u32()?,
            },
            10 => Self::Anchor {
                org,
                topic: Topic::try_from(d.u8()?).map_err(|_| TxError::Value)?,
                digest: Digest::new(d.array_of()?),
            },
            12 => Self::Appoint {
                org,
                old_set: d.bytes(1..=EPOCH_SET_LEN_MAX)?.to_vec(),
                appointment: d.bytes(1..=APPOINTMENT_BYTES_MAX)?.to_vec(),
                nodes: d.bytes(1..=NODES_LEN_MAX)?.to_vec(),
            },
            15 => Self::Vote {
                org,
                seat: Seat::new(d.u8()?),
                proposal: Box::new(proposal(d)?),
                yes: flag(d)?,
            },
            16 => Self::Officers {
                org,
                org_version: d.u32()?,
                k: d.u8()?,
            },
            17 => Self::Transfer {
                org,
                to: OrgId::new(d.array_of()?),
                targets: list(d, 1..=TARGETS_MAX)?,
            },
            _ => return Err(TxError::Action),
        })
    }
}

impl ToCbor for Action {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        let code = self.code() as u64;
        match self {
            Self::Genesis { document, entries } => {
                e.array(3).u64(code).bytes(document);
                write_list(e, entries);
            }
            Self::Register { org, entries } => {
                e.array(3).u64(code).bytes(org);
                write_list(e, entries);
            }
            Self::Activate {
                org,
                pre: named,
                act: entry,
            }
            | Self::Supersede {
                org,
                old: named,
                new: entry,
            } => {
                e.array(4).u64(code).bytes(org);
                named.to_cbor(e);
                entry.to_cbor(e);
            }
            Self::Revoke {
                org,
                targets,
                reason,
                compromised_since,
                signers,
            } => {
                e.array(6).u64(code).bytes(org);
                write_list(e, targets);
                e.u64(*reason as u64);
                e.optional(*compromised_since, |e, height| {
                    e.u64(height.get());
                });
                e.u64((*signers).into());
            }
            Self::Grant {
                org,
                org_version,
                entry,
            } => {
                e.array(4).u64(code).bytes(org).u64((*org_version).into());
                entry.to_cbor(e);
            }
            Self::Withdraw { org, target } => {
                e.array(3).u64(code).bytes(org);
                target.to_cbor(e);
            }
            Self::ArtPolicy {
                org,
                policy_version,
                k,
                added,
                removed,
                signers,
            } => {
                e.array(7).u64(code).bytes(org);
                e.u64((*policy_version).into()).u64((*k).into());
                write_list(e, added);
                write_list(e, removed);
                e.u64((*signers).into());
            }
            Self::Publish {
                org,
                policy_version,
                digest,
                minimum_counter,
            } => {
                e.array(5).u64(code).bytes(org);
                e.u64((*policy_version).into())
                    .bytes(digest)
                    .u64(*minimum_counter);
            }
            Self::WithdrawRelease {
                org,
                digest,
                version,
            } => {
                e.array(4).u64(code).bytes(org);
                e.bytes(digest).u64((*version).into());
            }
            Self::Anchor { org, topic, digest } => {
                e.array(4).u64(code).bytes(org);
                e.u64(*topic as u64).bytes(digest);
            }
            Self::Recovery { recovery, nodes } => {
                e.array(3).u64(code).bytes(recovery).bytes(nodes);
            }
            Self::Appoint {
                org,
                old_set,
                appointment,
                nodes,
            } => {
                e.array(5).u64(code).bytes(org);
                e.bytes(old_set).bytes(appointment).bytes(nodes);
            }
            Self::Handover {
                old_set,
                handover,
                nodes,
            } => {
                e.array(4).u64(code);
                e.bytes(old_set).bytes(handover).bytes(nodes);
            }
            Self::Propose { proposal } => {
                e.array(2).u64(code).bytes(proposal.as_bytes());
            }
            Self::Vote {
                org,
                seat,
                proposal,
                yes,
            } => {
                e.array(5).u64(code).bytes(org).u64(seat.number().into());
                e.bytes(proposal.as_bytes()).u64((*yes).into());
            }
            Self::Officers {
                org,
                org_version,
                k,
            } => {
                e.array(4).u64(code).bytes(org);
                e.u64((*org_version).into()).u64((*k).into());
            }
            Self::Transfer { org, to, targets } => {
                e.array(4).u64(code).bytes(org).bytes(to);
                write_list(e, targets);
            }
        }
    }
}

fn proposal(d: &mut Decoder<'_>) -> Result<Proposal, TxError> {
    Proposal::decode(d.bytes(1..=PROPOSAL_BYTES_MAX)?)
}

/// The code of a transaction's action, from its first bytes alone. Whether the rest is a transaction is not looked at.
#[must_use]
pub fn code_of(transaction: &[u8]) -> Option<u8> {
    let mut d = Decoder::new(transaction);
    d.array(4).ok()?;
    d.u64().ok()?;
    d.bytes(32..=32).ok()?;
    d.list(2..=7).ok()?;
    d.u8().ok()
}

impl FromCbor<'_> for Named {
    type Error = TxError;

    fn from_cbor(d: &mut Decoder<'_>) -> Result<Self, TxError> {
        d.array(2)?;
        Ok(Self {
            handle: Handle::new(d.array_of()?),
            version: d.u32()?,
        })
    }
}

impl ToCbor for Named {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        e.array(2).bytes(self.handle).u64(self.version.into());
    }
}

impl FromCbor<'_> for Entry {
    type Error = TxError;

    fn from_cbor(d: &mut Decoder<'_>) -> Result<Self, TxError> {
        d.array(6)?;
        let handle = Handle::new(d.array_of()?);
        let purpose = Purpose::try_from(d.u8()?).map_err(|_| TxError::Purpose)?;
        let suite = Suite::try_from(d.u8()?).map_err(|_| TxError::Suite)?;
        let keys = d.bytes(2..=PublicKeys::SPKI_MAX + 1)?;
        let binding = Binding::new(d.array_of()?);
        let metadata = d.optional(|d| d.array_of().map(Digest::new))?;
        let spki = match suite {
            Suite::Foreign => keys.split_first().map(|(_, spki)| spki.into()),
            _ => None,
        };
        let keys = UncheckedKeys::from_compact(suite, keys).map_err(|_| TxError::Key)?;
        let spki = spki.unwrap_or_default();
        Self::formed(handle, purpose, keys, spki, binding, metadata)
    }
}

impl ToCbor for Entry {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        e.array(6).bytes(self.handle());
        e.u64(u8::from(self.purpose()).into());
        e.u64(u8::from(self.keys().suite()).into());
        match (self.keys().compact(), self.keys().foreign_key()) {
            (Some(compact), _) => e.bytes(compact),
            (None, Some((algorithm, ..))) => {
                let mut keys = Vec::with_capacity(1 + self.spki().len());
                keys.push(algorithm as u8);
                keys.extend_from_slice(self.spki());
                e.bytes(keys)
            }
            (None, None) => e.null(),
        };
        e.bytes(self.binding());
        e.optional(self.metadata(), |e, metadata| {
            e.bytes(metadata);
        });
    }
}

pub(super) fn list<'b, T: FromCbor<'b, Error = TxError>>(
    d: &mut Decoder<'b>,
    bounds: core::ops::RangeInclusive<usize>,
) -> Result<Vec<T>, TxError> {
    let count = d.list(bounds).map_err(count_of)?;
    // Not reserved ahead: the count is the sender's claim, the elements are what it paid for.
    let mut elements = Vec::new();
    for _ in 0..count {
        elements.push(T::from_cbor(d)?);
    }
    Ok(elements)
}

pub(super) fn write_list<S: Sink, T: ToCbor>(e: &mut Encoder<S>, elements: &[T]) {
    e.array(elements.len());
    for element in elements {
        element.to_cbor(e);
    }
}

/// A list's length out of its bounds has its own error.
fn count_of(error: CborError) -> TxError {
    match error {
        CborError::OutOfBounds => TxError::Count,
        other => other.into(),
    }
}
