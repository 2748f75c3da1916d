//! Whether the ledger's state allows a transaction, and what it then changes.
//!
//! Each action has its own function; all follow one order (spec/ledger.md): chain, existence, state, authority, limits.

mod desk;
mod epochs;
mod founding;
mod governance;
mod keys;
mod releases;
mod revoke;
mod roles;
mod signers;
mod transfer;

use kusabi_core::id::{ChainId, Epoch, HeaderHash, Height, SetHash};
use kusabi_core::tx::{Action, ActionCode};

use crate::claims::Verified;
use crate::rejection::Rejection;
use crate::state::{State, Write};
use desk::Desk;

pub(crate) use desk::exactly;
pub(crate) use signers::may_sign;

/// The block that a transaction is to stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockContext {
    /// The chain.
    pub chain: ChainId,
    /// The block's height.
    pub height: Height,
    /// The block's epoch.
    pub epoch: Epoch,
    /// Hash of that epoch's validator set.
    pub set_hash: SetHash,
    /// Heights that recoveries have jumped over, as the block's header says.
    pub skipped: Height,
    /// Height of the block before.
    pub parent_height: Height,
    /// Hash of its header.
    pub parent: HeaderHash,
    /// The block's time, in milliseconds since 1970.
    pub time_ms: u64,
    /// How many transactions stand before this one in the block.
    pub position: usize,
}

/// A transaction that the state allows, with everything it changes; good for the state that it was checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "nothing has happened before it is applied"]
pub struct Checked {
    writes: Vec<Write>,
}

impl Checked {
    /// The rows to write, each key at most once. Cannot fail, and does the same every time.
    pub fn apply(self) -> Vec<Write> {
        self.writes
    }
}

/// Checks a transaction against the state in which it is to be applied. Changes nothing.
///
/// # Errors
/// The first rule that it breaks.
pub fn check(
    transaction: &Verified,
    context: &BlockContext,
    state: &(impl State + ?Sized),
) -> Result<Checked, Rejection> {
    let action = transaction.transaction().action();
    if transaction.transaction().chain() != context.chain {
        return Err(Rejection::WrongChain);
    }
    // spec: height 1 is the genesis transaction and nothing else.
    if context.height <= Height::FIRST && action.code() != ActionCode::Genesis {
        return Err(Rejection::NotFounded);
    }
    let mut desk = Desk::new(transaction, context, state);
    match action {
        Action::Genesis { document, entries } => desk.genesis(document, entries)?,
        Action::Register { org, entries } => desk.register(*org, entries)?,
        Action::Activate { org, pre, act } => desk.activate(*org, pre, act)?,
        Action::Supersede { org, old, new } => desk.supersede(*org, old, new)?,
        Action::Revoke {
            org,
            targets,
            reason,
            compromised_since,
            signers: _,
        } => desk.revoke(*org, targets, *reason, *compromised_since)?,
        Action::Grant {
            org,
            org_version,
            entry,
        } => desk.grant(*org, *org_version, entry)?,
        Action::Withdraw { org, target } => desk.withdraw(*org, target)?,
        Action::ArtPolicy {
            org,
            policy_version,
            k,
            added,
            removed,
            signers: _,
        } => desk.art_policy(*org, *policy_version, *k, added, removed)?,
        Action::Publish {
            org,
            policy_version,
            digest,
            minimum_counter,
        } => desk.publish(*org, *policy_version, *digest, *minimum_counter)?,
        Action::WithdrawRelease {
            org,
            digest,
            version,
        } => desk.withdraw_release(*org, *digest, *version)?,
        Action::Anchor { org, topic, digest } => desk.anchor(*org, *topic, *digest)?,
        Action::Recovery { recovery, nodes } => desk.recovery(recovery, nodes)?,
        Action::Appoint {
            org,
            old_set,
            appointment,
            nodes,
        } => desk.appoint(*org, old_set, appointment, nodes)?,
        Action::Handover {
            old_set,
            handover,
            nodes,
        } => desk.handover(old_set, handover, nodes)?,
        Action::Propose { proposal } => desk.propose(proposal)?,
        Action::Vote {
            org,
            seat,
            proposal,
            yes,
        } => desk.vote(*org, *seat, proposal, *yes)?,
        Action::Officers {
            org,
            org_version,
            k,
        } => desk.officers(*org, *org_version, *k)?,
        Action::Transfer { org, to, targets } => desk.transfer(*org, *to, targets)?,
    }
    Ok(Checked {
        writes: desk.into_writes(),
    })
}
