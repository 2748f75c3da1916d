//! What a final transaction did, read from its bytes: events for those who listen, the rows for those who look up, the history of a key.

use crate::{
    hex::{Hex, Hex32},
    ledger::{BlockEvents, Event},
    problem::{Kind, Problem},
};
use bytes::Bytes;
use kusabi_core::{
    header::Header,
    id::{Handle, StateKey},
    tx::{Action, Transaction},
};
use std::borrow::Cow;

/// The first row that an action writes: the one that a receipt proves.
#[must_use]
pub fn first_row(action: &Action) -> StateKey {
    let entry = action.entries().first().map(|entry| entry.handle());
    let named = action.named().first().map(|named| named.handle);
    match action {
        Action::Publish { org, digest, .. } | Action::WithdrawRelease { org, digest, .. } => {
            StateKey::release(org, digest)
        }
        Action::Anchor { digest, .. } => StateKey::anchor(digest),
        Action::ArtPolicy { org, .. } => StateKey::art_policy(org),
        _ => entry
            .or(named)
            .map_or_else(StateKey::ledger, |handle| StateKey::record(&handle)),
    }
}

/// Whether an action puts, ends or replaces the key under this handle.
#[must_use]
pub fn touches(action: &Action, handle: &Handle) -> bool {
    action.entry(handle).is_some() || action.named().iter().any(|named| named.handle == *handle)
}

impl Event {
    /// What the transaction at `index` of a final block did.
    #[must_use]
    pub fn of(index: u32, transaction: &Transaction) -> Self {
        let action = transaction.action();
        let digest = match action {
            Action::Publish { digest, .. }
            | Action::WithdrawRelease { digest, .. }
            | Action::Anchor { digest, .. } => Some(Hex(digest.to_bytes())),
            _ => None,
        };
        let hex = |handle: Handle| Hex32::from(handle.to_bytes());
        Self {
            index,
            id: transaction.id(),
            action: Cow::Borrowed(action.code().name()),
            organisation: action.org().map(|org| Hex(org.to_bytes())),
            added: action
                .entries()
                .iter()
                .map(|entry| hex(entry.handle()))
                .collect(),
            ended: action
                .named()
                .iter()
                .map(|named| hex(named.handle))
                .collect(),
            digest,
        }
    }
}

impl BlockEvents {
    /// What a final block did. A transaction that cannot be read is a fault of the node that calls it final.
    pub fn of(header: &Header, transactions: &[Bytes]) -> Result<Self, Problem> {
        let events = (0_u32..)
            .zip(transactions)
            .map(|(index, bytes)| match Transaction::decode(bytes) {
                Ok(transaction) => Ok(Event::of(index, &transaction)),
                Err(why) => Err(Problem::new(
                    Kind::Internal,
                    format!(
                        "transaction {index} of block {} cannot be read: {why}",
                        header.height
                    ),
                )),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            height: header.height.get(),
            skipped: header.skipped,
            time_ms: header.time_ms,
            events,
        })
    }
}
