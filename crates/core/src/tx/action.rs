//! What transactions ask for.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::{
    APPOINTMENT_BYTES_MAX, ART_K_MAX, ART_KEYS_MAX, ENTRIES_MAX, GENESIS_BYTES_MAX,
    GENESIS_SIGNATURES_MAX, HANDOVER_BYTES_MAX, OFFICERS_K_MAX, Proposal, RECOVERY_BYTES_MAX,
    SIGNATURES_MAX, TARGETS_MAX, TxError,
};
use crate::id::{Binding, Digest, Handle, Height, OrgId};
use crate::nodes::NODES_LEN_MAX;
use crate::row::{Reason, Seat, Topic};
use crate::set::EPOCH_SET_LEN_MAX;
use crate::suite::{ForeignAlgorithm, PublicKeys, Purpose, Suite, UncheckedKeys};

/// Number of an action; a signature covers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ActionCode {
    /// [`Action::Genesis`]
    Genesis = 0,
    /// [`Action::Register`]
    Register = 1,
    /// [`Action::Activate`]
    Activate = 2,
    /// [`Action::Supersede`]
    Supersede = 3,
    /// [`Action::Revoke`]
    Revoke = 4,
    /// [`Action::Grant`]
    Grant = 5,
    /// [`Action::Withdraw`]
    Withdraw = 6,
    /// [`Action::ArtPolicy`]
    ArtPolicy = 7,
    /// [`Action::Publish`]
    Publish = 8,
    /// [`Action::WithdrawRelease`]
    WithdrawRelease = 9,
    /// [`Action::Anchor`]
    Anchor = 10,
    /// [`Action::Recovery`]
    Recovery = 11,
    /// [`Action::Appoint`]
    Appoint = 12,
    /// [`Action::Handover`]
    Handover = 13,
    /// [`Action::Propose`]
    Propose = 14,
    /// [`Action::Vote`]
    Vote = 15,
    /// [`Action::Officers`]
    Officers = 16,
    /// [`Action::Transfer`]
    Transfer = 17,
}

impl ActionCode {
    /// The spec's word for the action.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Genesis => "genesis",
            Self::Register => "register",
            Self::Activate => "activate",
            Self::Supersede => "supersede",
            Self::Revoke => "revoke",
            Self::Grant => "grant",
            Self::Withdraw => "withdraw",
            Self::ArtPolicy => "art policy",
            Self::Publish => "publish",
            Self::WithdrawRelease => "withdraw release",
            Self::Anchor => "anchor",
            Self::Recovery => "recovery",
            Self::Appoint => "appoint",
            Self::Handover => "handover",
            Self::Propose => "propose",
            Self::Vote => "vote",
            Self::Officers => "officers",
            Self::Transfer => "transfer",
        }
    }
}

/// A record as its author last saw it: a transaction that names an outdated version is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Named {
    /// The record's handle.
    pub handle: Handle,
    /// Its row version.
    pub version: u32,
}

/// A key to be put on the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    handle: Handle,
    purpose: Purpose,
    keys: UncheckedKeys,
    /// Empty unless the suite is foreign.
    spki: Box<[u8]>,
    binding: Binding,
    metadata: Digest,
}

impl Entry {
    /// An entry with keys of suite 1 or 2.
    ///
    /// # Errors
    /// [`TxError::Suite`] for foreign keys, which [`Entry::foreign`] takes; [`TxError::Zero`] for zero metadata or handle.
    pub fn new(
        handle: Handle,
        purpose: Purpose,
        keys: PublicKeys,
        binding: Binding,
        metadata: Option<Digest>,
    ) -> Result<Self, TxError> {
        if keys.suite() == Suite::Foreign {
            return Err(TxError::Suite);
        }
        Self::formed(
            handle,
            purpose,
            keys.into(),
            Box::default(),
            binding,
            metadata,
        )
    }

    /// An entry with a foreign key, given as SubjectPublicKeyInfo (DER). The binding covers [`PublicKeys::foreign`].
    ///
    /// # Errors
    /// [`TxError::Key`], [`TxError::Zero`]
    pub fn foreign(
        handle: Handle,
        purpose: Purpose,
        algorithm: ForeignAlgorithm,
        spki: &[u8],
        binding: Binding,
        metadata: Option<Digest>,
    ) -> Result<Self, TxError> {
        let keys = PublicKeys::foreign(algorithm, spki).map_err(|_| TxError::Key)?;
        Self::formed(handle, purpose, keys.into(), spki.into(), binding, metadata)
    }

    /// An entry of which everything holds but that its keys' points are points.
    pub(super) fn formed(
        handle: Handle,
        purpose: Purpose,
        keys: UncheckedKeys,
        spki: Box<[u8]>,
        binding: Binding,
        metadata: Option<Digest>,
    ) -> Result<Self, TxError> {
        if !purpose.has_record() {
            return Err(TxError::Purpose);
        }
        let metadata = match metadata {
            Some(metadata) if metadata.is_zero() => return Err(TxError::Zero),
            Some(metadata) => metadata,
            None => Digest::ZERO,
        };
        if handle.is_zero() {
            return Err(TxError::Zero);
        }
        Ok(Self {
            handle,
            purpose,
            keys,
            spki,
            binding,
            metadata,
        })
    }

    /// The handle under which the key will stand.
    pub const fn handle(&self) -> Handle {
        self.handle
    }

    /// What the key will be for.
    pub const fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// The public keys, as they came; [`check_keys`](Self::check_keys) looks at their points.
    pub const fn keys(&self) -> &UncheckedKeys {
        &self.keys
    }

    /// The public keys, their points checked, those inside a foreign key too.
    ///
    /// # Errors
    /// [`TxError::Key`]
    pub fn check_keys(&self) -> Result<PublicKeys, TxError> {
        match self.keys.foreign_key() {
            Some((algorithm, ..)) => PublicKeys::foreign(algorithm, &self.spki),
            None => self.keys.check(),
        }
        .map_err(|_| TxError::Key)
    }

    /// The whole of a foreign key; empty for other suites.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// What ties it to its kusabi-ID.
    pub const fn binding(&self) -> Binding {
        self.binding
    }

    /// Commitment to private metadata.
    pub fn metadata(&self) -> Option<Digest> {
        (!self.metadata.is_zero()).then_some(self.metadata)
    }
}

/// What a transaction asks for (spec/ledger.md, table of actions).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Founds the ledger; only at height 1, signed by every officer that it makes.
    Genesis {
        /// The genesis document.
        document: Vec<u8>,
        /// One officer entry per officer key of the document's validator set, in its order.
        entries: Vec<Entry>,
    },
    /// Puts keys on the ledger, all or none.
    Register {
        /// Whose keys they are.
        org: OrgId,
        /// 1 to 4,096, ascending by handle.
        entries: Vec<Entry>,
    },
    /// Spends a factory key for a device key.
    Activate {
        /// Whose keys they are.
        org: OrgId,
        /// The factory key.
        pre: Named,
        /// The device key.
        act: Box<Entry>,
    },
    /// Replaces a key of the same purpose.
    Supersede {
        /// Whose keys they are.
        org: OrgId,
        /// The key that ends.
        old: Named,
        /// The key that follows.
        new: Box<Entry>,
    },
    /// Takes keys out of force.
    Revoke {
        /// Whose keys they are.
        org: OrgId,
        /// 1 to 1,024, ascending by handle.
        targets: Vec<Named>,
        /// Why.
        reason: Reason,
        /// Height from which the keys were in other hands.
        compromised_since: Option<Height>,
        /// How many keys sign, 1 to 16; signed with the rest, so that no signature can be taken off on the way.
        signers: u8,
    },
    /// Gives a role.
    Grant {
        /// The organisation.
        org: OrgId,
        /// Its row version.
        org_version: u32,
        /// Key with purpose writer, revoker, ps or officer.
        entry: Box<Entry>,
    },
    /// Takes a role back.
    Withdraw {
        /// The organisation.
        org: OrgId,
        /// The key.
        target: Named,
    },
    /// Sets who signs releases.
    ArtPolicy {
        /// The organisation.
        org: OrgId,
        /// Row version of the policy; 0 when there is none yet.
        policy_version: u32,
        /// How many release keys will sign.
        k: u8,
        /// New release keys, ascending by handle.
        added: Vec<Entry>,
        /// Release keys that end, ascending by handle.
        removed: Vec<Named>,
        /// How many keys sign, 1 to 16; signed with the rest, so that no signature can be taken off on the way.
        signers: u8,
    },
    /// Publishes a release.
    Publish {
        /// The organisation.
        org: OrgId,
        /// Row version of its policy.
        policy_version: u32,
        /// Digest of the manifest.
        digest: Digest,
        /// Devices whose counter is above this refuse it.
        minimum_counter: u64,
    },
    /// Withdraws a release.
    WithdrawRelease {
        /// The organisation.
        org: OrgId,
        /// Digest of the manifest.
        digest: Digest,
        /// Row version of the release.
        version: u32,
    },
    /// Puts a digest on the ledger.
    Anchor {
        /// The organisation.
        org: OrgId,
        /// What the digest is of.
        topic: Topic,
        /// The digest.
        digest: Digest,
    },
    /// Moves the ledger to a validator set that its recovery set certified.
    Recovery {
        /// The recovery (spec/proof.md).
        recovery: Vec<u8>,
        /// The nodes of the set that it leads to.
        nodes: Vec<u8>,
    },
    /// Appoints the validators of the next epoch, and lets the present one end.
    Appoint {
        /// The organisation of who brings it.
        org: OrgId,
        /// Bytes of the set that ends: the ledger itself holds its hash only.
        old_set: Vec<u8>,
        /// The appointment (spec/proof.md).
        appointment: Vec<u8>,
        /// The next validators' nodes (spec/ledger.md).
        nodes: Vec<u8>,
    },
    /// Moves the ledger to the validator set that was appointed.
    Handover {
        /// Bytes of the set that ends.
        old_set: Vec<u8>,
        /// The handover (spec/proof.md).
        handover: Vec<u8>,
        /// The nodes of the set that it leads to, so that whoever comes later knows whom to ask.
        nodes: Vec<u8>,
    },
    /// Puts something to the members; the proposer is for it.
    Propose {
        /// What.
        proposal: Box<Proposal>,
    },
    /// A member's vote. The one that is enough carries the proposal out.
    Vote {
        /// Whose vote.
        org: OrgId,
        /// Its seat: a vote of an earlier one is none of this one.
        seat: Seat,
        /// On what: its bytes, so that whoever signs has it before him.
        proposal: Box<Proposal>,
        /// For it or against it.
        yes: bool,
    },
    /// Sets how many officers of an organisation act together.
    Officers {
        /// The organisation.
        org: OrgId,
        /// Its row version.
        org_version: u32,
        /// How many, 1 to 15.
        k: u8,
    },
    /// Gives devices to another organisation.
    Transfer {
        /// Whose they are.
        org: OrgId,
        /// Whose they become.
        to: OrgId,
        /// Factory and device keys, 1 to 1,024, ascending by handle.
        targets: Vec<Named>,
    },
}

impl Action {
    /// Its number.
    pub const fn code(&self) -> ActionCode {
        match self {
            Self::Genesis { .. } => ActionCode::Genesis,
            Self::Register { .. } => ActionCode::Register,
            Self::Activate { .. } => ActionCode::Activate,
            Self::Supersede { .. } => ActionCode::Supersede,
            Self::Revoke { .. } => ActionCode::Revoke,
            Self::Grant { .. } => ActionCode::Grant,
            Self::Withdraw { .. } => ActionCode::Withdraw,
            Self::ArtPolicy { .. } => ActionCode::ArtPolicy,
            Self::Publish { .. } => ActionCode::Publish,
            Self::WithdrawRelease { .. } => ActionCode::WithdrawRelease,
            Self::Anchor { .. } => ActionCode::Anchor,
            Self::Recovery { .. } => ActionCode::Recovery,
            Self::Appoint { .. } => ActionCode::Appoint,
            Self::Handover { .. } => ActionCode::Handover,
            Self::Propose { .. } => ActionCode::Propose,
            Self::Vote { .. } => ActionCode::Vote,
            Self::Officers { .. } => ActionCode::Officers,
            Self::Transfer { .. } => ActionCode::Transfer,
        }
    }

    /// The organisation that it is about, or whose key brings it; genesis, recovery and handover are about all.
    pub const fn org(&self) -> Option<OrgId> {
        match self {
            Self::Propose { proposal } => Some(proposal.proposer()),
            Self::Genesis { .. } | Self::Recovery { .. } | Self::Handover { .. } => None,
            Self::Register { org, .. }
            | Self::Activate { org, .. }
            | Self::Supersede { org, .. }
            | Self::Revoke { org, .. }
            | Self::Grant { org, .. }
            | Self::Withdraw { org, .. }
            | Self::ArtPolicy { org, .. }
            | Self::Publish { org, .. }
            | Self::WithdrawRelease { org, .. }
            | Self::Anchor { org, .. }
            | Self::Appoint { org, .. }
            | Self::Vote { org, .. }
            | Self::Officers { org, .. }
            | Self::Transfer { org, .. } => Some(*org),
        }
    }

    /// The keys that it puts on the ledger.
    pub fn entries(&self) -> &[Entry] {
        match self {
            Self::Genesis { entries, .. }
            | Self::Register { entries, .. }
            | Self::ArtPolicy { added: entries, .. } => entries,
            Self::Activate { act: entry, .. }
            | Self::Supersede { new: entry, .. }
            | Self::Grant { entry, .. } => core::slice::from_ref(entry),
            _ => &[],
        }
    }

    /// The records that it ends, or gives away.
    pub fn named(&self) -> &[Named] {
        match self {
            Self::Revoke { targets: named, .. }
            | Self::ArtPolicy { removed: named, .. }
            | Self::Transfer { targets: named, .. } => named,
            Self::Activate { pre: named, .. }
            | Self::Supersede { old: named, .. }
            | Self::Withdraw { target: named, .. } => core::slice::from_ref(named),
            _ => &[],
        }
    }

    /// How many keys sign, where the rules leave it open and the action itself therefore says it.
    pub const fn signers(&self) -> Option<u8> {
        match self {
            Self::Revoke { signers, .. } | Self::ArtPolicy { signers, .. } => Some(*signers),
            _ => None,
        }
    }

    /// The entry with this handle.
    pub fn entry(&self, handle: &Handle) -> Option<&Entry> {
        let entries = self.entries();
        if let Self::Genesis { .. } = self {
            return entries.iter().find(|entry| entry.handle == *handle);
        }
        let index = entries
            .binary_search_by(|entry| entry.handle.cmp(handle))
            .ok()?;
        entries.get(index)
    }

    /// How many signatures it may carry.
    pub(super) const fn signatures_max(&self) -> usize {
        match self {
            Self::Genesis { .. } => GENESIS_SIGNATURES_MAX,
            Self::Recovery { .. } | Self::Handover { .. } => 0,
            _ => SIGNATURES_MAX,
        }
    }

    /// Puts lists whose order has no meaning into the order that the format asks for.
    pub(super) fn sort(&mut self) {
        match self {
            Self::Register { entries, .. } => entries.sort_by_key(Entry::handle),
            Self::Revoke { targets, .. } | Self::Transfer { targets, .. } => {
                targets.sort_unstable();
            }
            Self::ArtPolicy { added, removed, .. } => {
                added.sort_by_key(Entry::handle);
                removed.sort_unstable();
            }
            _ => {}
        }
    }

    /// Every rule that needs no state.
    pub(super) fn check(&self) -> Result<(), TxError> {
        let (entries, named) = (self.entries(), self.named());
        // spec: the entries of genesis follow the document's order; all other lists ascend, so that each has one form and
        // nothing stands in it twice.
        if self.code() != ActionCode::Genesis {
            ascending(entries.iter().map(Entry::handle))?;
        }
        ascending(named.iter().map(|named| named.handle))?;
        if named
            .iter()
            .any(|named| named.version == 0 || named.handle.is_zero())
        {
            return Err(TxError::Zero);
        }
        for entry in entries {
            self.check_entry(entry)?;
        }
        if let Some(signers) = self.signers() {
            within(signers.into(), 1, SIGNATURES_MAX).map_err(|_| TxError::Value)?;
        }
        match self {
            Self::Genesis { document, entries } => {
                within(document.len(), 1, GENESIS_BYTES_MAX)?;
                within(entries.len(), 1, GENESIS_SIGNATURES_MAX)
            }
            Self::Register { entries, .. } => within(entries.len(), 1, ENTRIES_MAX),
            Self::Revoke {
                targets,
                compromised_since,
                reason,
                ..
            } => {
                // spec: "withdrawn by officers" is what a withdrawal writes.
                if *compromised_since == Some(Height::ZERO) || *reason == Reason::Withdrawn {
                    return Err(TxError::Value);
                }
                within(targets.len(), 1, TARGETS_MAX)
            }
            Self::ArtPolicy {
                k, added, removed, ..
            } => {
                if !(1..=ART_K_MAX).contains(k) {
                    return Err(TxError::Value);
                }
                within(added.len(), 0, ART_KEYS_MAX)?;
                within(removed.len(), 0, ART_KEYS_MAX)
            }
            Self::Publish {
                digest,
                policy_version: version,
                ..
            }
            | Self::WithdrawRelease {
                digest, version, ..
            } if digest.is_zero() || *version == 0 => Err(TxError::Zero),
            Self::Anchor { digest, .. } if digest.is_zero() => Err(TxError::Zero),
            Self::Recovery { recovery, nodes } => {
                within(recovery.len(), 1, RECOVERY_BYTES_MAX)?;
                within(nodes.len(), 1, NODES_LEN_MAX)
            }
            Self::Appoint {
                old_set,
                appointment,
                nodes,
                ..
            } => {
                within(old_set.len(), 1, EPOCH_SET_LEN_MAX)?;
                within(appointment.len(), 1, APPOINTMENT_BYTES_MAX)?;
                within(nodes.len(), 1, NODES_LEN_MAX)
            }
            Self::Handover {
                old_set,
                handover,
                nodes,
            } => {
                within(old_set.len(), 1, EPOCH_SET_LEN_MAX)?;
                within(handover.len(), 1, HANDOVER_BYTES_MAX)?;
                within(nodes.len(), 1, NODES_LEN_MAX)
            }
            Self::Officers { k, .. } if !(1..=OFFICERS_K_MAX).contains(k) => Err(TxError::Value),
            Self::Transfer { org, to, targets } => {
                if org == to {
                    return Err(TxError::Value);
                }
                within(targets.len(), 1, TARGETS_MAX)
            }
            _ => Ok(()),
        }
    }

    fn check_entry(&self, entry: &Entry) -> Result<(), TxError> {
        let fits = match self {
            Self::Genesis { .. } => entry.purpose == Purpose::Officer,
            Self::Register { .. } => entry.purpose.is_registered(),
            Self::Activate { .. } => entry.purpose == Purpose::Act,
            Self::Supersede { .. } => entry.purpose.is_superseded(),
            Self::Grant { .. } => entry.purpose.is_granted(),
            Self::ArtPolicy { .. } => entry.purpose == Purpose::Art,
            _ => false,
        };
        if !fits {
            return Err(TxError::Purpose);
        }
        // spec: a foreign key signs no transaction, therefore it can neither activate nor follow on another key, and has no
        // role that acts by signing. As a release key it is one of those that sign other systems' artifacts.
        let foreign_fits = match self {
            Self::Register { .. } => entry.purpose != Purpose::Pre,
            Self::ArtPolicy { .. } => true,
            _ => false,
        };
        if entry.keys.suite() == Suite::Foreign && !foreign_fits {
            return Err(TxError::Suite);
        }
        Ok(())
    }
}

pub(super) fn ascending(handles: impl Iterator<Item = Handle>) -> Result<(), TxError> {
    if handles.is_sorted_by(|a, b| a < b) {
        Ok(())
    } else {
        Err(TxError::Order)
    }
}

fn within(count: usize, min: usize, max: usize) -> Result<(), TxError> {
    if (min..=max).contains(&count) {
        Ok(())
    } else {
        Err(TxError::Count)
    }
}
