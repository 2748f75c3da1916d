//! What applied transactions leave behind: rows and events.

use kusabi_core::id::{Digest, Epoch, Handle, Height, OrgId, SetHash, StateKey};
use kusabi_core::row::{Reason, RowBytes, Topic};
use kusabi_core::suite::Purpose;

/// One row to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// Where.
    pub key: StateKey,
    /// What stands there from now on.
    pub row: RowBytes,
}

/// What a transaction changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Rows to write; each key at most once.
    pub writes: Vec<Write>,
    /// What happened, in the order of the transaction.
    pub events: Vec<Event>,
}

/// Something that happened on the ledger, as followers are told of it. Which block it happened in is known from where it
/// is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// An organisation stands on the ledger.
    Founded {
        /// The organisation.
        org: OrgId,
    },
    /// A key was registered.
    Registered {
        /// Its owner.
        org: OrgId,
        /// The key.
        handle: Handle,
        /// What it is for.
        purpose: Purpose,
    },
    /// A factory key was spent for a device key.
    Activated {
        /// Their owner.
        org: OrgId,
        /// The factory key.
        pre: Handle,
        /// The device key.
        act: Handle,
    },
    /// A key took another's place.
    Superseded {
        /// Their owner.
        org: OrgId,
        /// The key that ended.
        old: Handle,
        /// The key that follows.
        new: Handle,
    },
    /// A key was revoked.
    Revoked {
        /// Its owner.
        org: OrgId,
        /// The key.
        handle: Handle,
        /// Why.
        reason: Reason,
        /// Height from which it was in other hands.
        compromised_since: Option<Height>,
    },
    /// A role was given (writer, revoker, ps, officer, or art by a policy).
    Granted {
        /// The organisation.
        org: OrgId,
        /// The key.
        handle: Handle,
        /// The role.
        purpose: Purpose,
    },
    /// A role was taken back.
    Withdrawn {
        /// The organisation.
        org: OrgId,
        /// The key.
        handle: Handle,
        /// The role.
        purpose: Purpose,
    },
    /// An art policy was set.
    PolicySet {
        /// The organisation.
        org: OrgId,
        /// How many release keys sign.
        k: u8,
        /// How many there are.
        n: u8,
    },
    /// A release was published.
    ReleasePublished {
        /// The organisation.
        org: OrgId,
        /// Digest of its manifest.
        digest: Digest,
        /// Devices whose counter is above this refuse it.
        minimum_counter: u64,
    },
    /// A release was withdrawn.
    ReleaseWithdrawn {
        /// The organisation.
        org: OrgId,
        /// Digest of its manifest.
        digest: Digest,
    },
    /// A digest was anchored.
    Anchored {
        /// Organisation that did it.
        org: OrgId,
        /// What the digest is of.
        topic: Topic,
        /// The digest.
        digest: Digest,
        /// Key that signed.
        signer: Handle,
    },
    /// An epoch began.
    EpochBegan {
        /// The epoch.
        epoch: Epoch,
        /// Its validator set.
        set_hash: SetHash,
    },
}
