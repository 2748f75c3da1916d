//! What a node says that a block did to the organisation. It is the node's word: nothing follows from it here.

use super::change::At;
use crate::{
    app::devices::class_of,
    store::{followed::Position, mender_artifacts::ArtKey},
};
use kusabi_api::{
    Hex, Hex32, Kind, Problem,
    admin::DeviceClass,
    ledger::{BlockEvents, Event, Moved},
};
use kusabi_core::{suite::Purpose, tx::Transaction};
use std::fmt;

/// Most that a block says: each of it takes the block 32 bytes at least, a handle or a digest.
pub(super) const SAID_MAX: usize = kusabi_api::block::MAX_BLOCK / 32;

/// What a block says.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) at: At,
    /// The place after it.
    pub(super) place: Position,
    /// Each thing once.
    pub(super) said: Vec<Said>,
    /// Keys that others may have to look at anew, each once.
    pub(super) handles: Vec<Hex32>,
}

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Said {
    /// A first key of a device was registered.
    Registered {
        handle: Hex32,
        purpose: Purpose,
        class: DeviceClass,
    },
    /// A key took the place of another.
    Follows { old: Hex32, new: Hex32 },
    /// A key was taken out of force.
    Revoked(Hex32),
    /// A key has gone to another organisation.
    GivenAway { handle: Hex32, to: Hex<16> },
    /// A key has come from another one.
    Taken {
        handle: Hex32,
        from: Option<Hex<16>>,
    },
    /// A release was published.
    Published(Hex32),
    /// A release was withdrawn.
    Withdrawn(Hex32),
    /// A key signs releases, or artifacts.
    ArtKey(ArtKey),
    /// One does so no more.
    ArtKeyEnded(Hex32),
    /// One of the server's own keys has ended.
    OwnKeyEnded { what: &'static str, handle: Hex32 },
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registered { handle, .. } => write!(f, "the key {handle} was registered"),
            Self::Follows { old, new } => {
                write!(f, "the key {new} took the place of the key {old}")
            }
            Self::Revoked(handle) => write!(f, "the key {handle} was revoked"),
            Self::GivenAway { handle, to } => write!(f, "the key {handle} went to {to}"),
            Self::Taken { handle, .. } => {
                write!(f, "the key {handle} came from another organisation")
            }
            Self::Published(digest) => write!(f, "the release {digest} was published"),
            Self::Withdrawn(digest) => write!(f, "the release {digest} was withdrawn"),
            Self::ArtKey(key) => write!(f, "{} became a release key", key.handle),
            Self::ArtKeyEnded(handle) => write!(f, "the release key {handle} has ended"),
            Self::OwnKeyEnded { what, handle } => {
                write!(f, "this server's {what} {handle} has ended")
            }
        }
    }
}

/// Whether what an event of the organisation means stands in its transaction only: what a registered key is for, the whole of a foreign
/// key.
pub(super) fn needs_transaction(event: &Event) -> bool {
    matches!(&*event.action, "register" | "art policy")
}

/// What of a block comes to an organisation from others.
pub(super) fn coming(block: &BlockEvents, org: Hex<16>) -> impl Iterator<Item = (&Event, &Moved)> {
    block.events.iter().filter_map(move |event| {
        let moved = event.moved.as_ref()?;
        (moved.to == org).then_some((event, moved))
    })
}

/// What an event of the organisation says.
pub(super) fn read(
    event: &Event,
    transactions: &[Transaction],
    say: &mut impl FnMut(Said),
) -> Result<(), Problem> {
    match (&*event.action, &event.added[..], &event.ended[..]) {
        ("art policy", _, ended) => {
            for entry in transaction(event, transactions)?.action().entries() {
                say(Said::ArtKey(ArtKey {
                    handle: Hex(entry.handle().to_bytes()),
                    suite: entry.keys().suite() as u8,
                    spki: entry.spki().to_vec(),
                }));
            }
            ended
                .iter()
                .for_each(|&ended| say(Said::ArtKeyEnded(ended)));
        }
        ("register", ..) => {
            for entry in transaction(event, transactions)?.action().entries() {
                if matches!(entry.purpose(), Purpose::Pre | Purpose::Act) {
                    say(Said::Registered {
                        handle: Hex(entry.handle().to_bytes()),
                        purpose: entry.purpose(),
                        class: class_of(entry.keys().suite()),
                    });
                }
            }
        }
        ("activate" | "supersede", &[new], &[old]) => say(Said::Follows { old, new }),
        ("revoke", _, ended) => ended.iter().for_each(|&ended| say(Said::Revoked(ended))),
        ("transfer", ..) => event.moved.iter().for_each(|moved| {
            let to = moved.to;
            moved
                .keys
                .iter()
                .for_each(|&handle| say(Said::GivenAway { handle, to }));
        }),
        ("publish", ..) => event
            .digest
            .iter()
            .for_each(|&digest| say(Said::Published(digest))),
        ("withdraw release", ..) => event
            .digest
            .iter()
            .for_each(|&digest| say(Said::Withdrawn(digest))),
        _ => {}
    }
    Ok(())
}

/// The transaction of an event.
fn transaction<'t>(
    event: &Event,
    transactions: &'t [Transaction],
) -> Result<&'t Transaction, Problem> {
    let transaction = usize::try_from(event.index)
        .ok()
        .and_then(|index| transactions.get(index))
        .filter(|transaction| transaction.id() == event.id);
    transaction.ok_or_else(|| {
        let detail = format!(
            "the ledger node's block does not hold the transaction {}",
            event.id
        );
        Problem::new(Kind::BadAnswer, detail)
    })
}
