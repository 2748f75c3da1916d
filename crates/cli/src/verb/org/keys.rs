//! Which keys speak for an organisation: its officers, writers, revokers, servers and release keys.
//!
//! No row lists them. A node's events say which keys came in a role; each is looked up and proven before it is shown, and what the
//! organisation's rows count is compared with what was found, for a node can leave out an event.

use std::collections::BTreeSet;

use kusabi_api::ledger::Event;
use kusabi_core::{
    id::{Handle, Height, OrgId, OrgName},
    row::Record,
    suite::Purpose,
    tx::{Act, Action, Transaction},
};
use serde::Serialize;

use crate::{connection::Connection, failure::Result, keyfile::hex};

/// A key that speaks for the organisation.
#[derive(Serialize)]
pub(super) struct RoleKey {
    pub(super) role: &'static str,
    pub(super) handle: String,
    /// Whether it signs artifacts for stock Mender devices, and nothing on the ledger.
    pub(super) foreign: bool,
    /// Public half; none of a foreign key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) signing_key: Option<String>,
    /// Height of its block.
    pub(super) registered_at: u64,
}

impl RoleKey {
    /// A key with a role of this organisation; nothing for one that has ended, is a device's, or is another organisation's.
    fn of(handle: &Handle, record: &Record, org: &OrgId) -> Option<Self> {
        let purpose = record.purpose();
        let has_role = matches!(
            purpose,
            Purpose::Art | Purpose::Ps | Purpose::Writer | Purpose::Officer | Purpose::Revoker
        );
        let key = record.keys().verification_key();
        (has_role && record.is_active() && record.owner() == *org).then(|| Self {
            role: purpose.name(),
            handle: handle.to_string(),
            foreign: key.is_none(),
            signing_key: key.map(|key| hex(key.raw())),
            registered_at: record.registered().get(),
        })
    }
}

/// The keys in the order of their roles, up to the block of this height.
pub(super) fn list(connection: &Connection, org: &OrgName, until: Height) -> Result<Vec<RoleKey>> {
    let mut came = BTreeSet::new();
    connection.events(until, |block| {
        for event in &block.events {
            follow(event, &org.id(), &mut came);
            // Those of an organisation that was admitted stand in its application.
            if event.action == "propose" {
                let height = Height::new(block.height).ok();
                let block = height.map(|height| connection.block(height)).transpose()?;
                let transactions = block.flatten().map(|block| block.transactions);
                came.extend(
                    transactions
                        .iter()
                        .flatten()
                        .flat_map(|bytes| applied(bytes, org)),
                );
            }
        }
        Ok(())
    })?;
    let mut keys = Vec::new();
    for handle in came {
        let record = connection.record(&handle)?.into_value();
        keys.extend(record.and_then(|record| RoleKey::of(&handle, &record, &org.id())));
    }
    keys.sort_by_key(|key| (key.role, key.foreign, key.registered_at));
    Ok(keys)
}

/// Notes the keys that came in a role, or in the place of one. Of devices' keys, which may be millions, none is kept.
fn follow(event: &Event, org: &OrgId, came: &mut BTreeSet<Handle>) {
    let own = |id: &kusabi_api::hex::Hex<16>| id.0 == org.to_bytes();
    if !event.organisation.as_ref().is_none_or(own) {
        return;
    }
    let handles = |hexes: &[kusabi_api::hex::Hex32]| {
        let handles = hexes.iter().map(|hex| Handle::new(hex.0));
        handles.collect::<Vec<_>>()
    };
    let ended = handles(&event.ended);
    let replaced = ended.iter().filter(|handle| came.remove(*handle)).count() > 0;
    match &*event.action {
        "genesis" | "grant" | "art policy" => came.extend(handles(&event.added)),
        _ if replaced => came.extend(handles(&event.added)),
        _ => {}
    }
}

/// The officers with whom an organisation of this name applied.
fn applied(transaction: &[u8], org: &OrgName) -> Vec<Handle> {
    let Ok(transaction) = Transaction::decode(transaction) else {
        return Vec::new();
    };
    let Action::Propose { proposal } = transaction.action() else {
        return Vec::new();
    };
    let candidates = proposal.acts().iter().filter_map(|act| match act {
        Act::Admit { candidate, .. } if candidate.name == *org => Some(candidate),
        _ => None,
    });
    candidates
        .flat_map(|candidate| &candidate.officers)
        .map(|consent| consent.entry.handle())
        .collect()
}
