//! Which rows a transaction's claims and check may ask for.

use kusabi_core::appointment::Appointment;
use kusabi_core::id::StateKey;
use kusabi_core::row::BLOB_PART_BYTES;
use kusabi_core::tx::{Act, Action, Entry, Transaction};

/// Every state key that [`claims`](crate::claims) and [`check`](crate::check) may ask for, ascending, each once.
///
/// It is known from the transaction alone, because every transaction names its organisation and handles; counts such as
/// those of the active officers stand in the organisation's row.
pub fn reads(transaction: &Transaction) -> Vec<StateKey> {
    let action = transaction.action();
    let mut keys = Vec::with_capacity(action.entries().len() + action.named().len() + 4);
    if let Some(org) = action.org() {
        keys.push(StateKey::organisation(&org));
    }
    for entry in action.entries() {
        keys.push(StateKey::record(&entry.handle()));
        keys.extend(blob_parts(entry).map(|(key, _)| key));
    }
    keys.extend(
        action
            .named()
            .iter()
            .map(|named| StateKey::record(&named.handle)),
    );
    keys.extend(
        transaction
            .signatures()
            .iter()
            .map(|signed| StateKey::record(&signed.signer)),
    );
    match action {
        Action::Genesis { .. } => keys.extend([StateKey::ledger(), StateKey::members()]),
        Action::Recovery { .. } | Action::Handover { .. } => keys.push(StateKey::ledger()),
        Action::Appoint { appointment, .. } => {
            keys.push(StateKey::ledger());
            // Each organisation of the next set is to be a member.
            if let Ok(appointment) = Appointment::decode(appointment) {
                let organisations = appointment.next_set().organisations();
                keys.extend(organisations.map(|org| StateKey::organisation(&org.id)));
            }
        }
        Action::Propose { proposal } | Action::Vote { proposal, .. } => {
            keys.push(StateKey::members());
            keys.push(StateKey::proposal(&proposal.id()));
            let organisations = proposal.acts().iter().filter_map(Act::org);
            keys.extend(organisations.map(|org| StateKey::organisation(&org)));
            let officers = proposal.officers();
            keys.extend(officers.map(|officer| StateKey::record(&officer.entry.handle())));
        }
        Action::Transfer { to, .. } => keys.push(StateKey::organisation(to)),
        // A revoked key may be a release key, which the policy counts.
        Action::Revoke { org, .. } | Action::ArtPolicy { org, .. } => {
            keys.push(StateKey::art_policy(org))
        }
        Action::Publish { org, digest, .. } | Action::WithdrawRelease { org, digest, .. } => {
            keys.push(StateKey::art_policy(org));
            keys.push(StateKey::release(org, digest));
        }
        Action::Anchor { digest, .. } => keys.push(StateKey::anchor(digest)),
        Action::Register { .. }
        | Action::Activate { .. }
        | Action::Supersede { .. }
        | Action::Grant { .. }
        | Action::Withdraw { .. }
        | Action::Officers { .. } => {}
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Every state key that [`claims`](crate::claims) may ask for: the records of those who are said to have signed, at most 16
/// (80 for a genesis). A node that fetches these first reads nothing else for a transaction before its signatures are
/// known to be good.
pub fn signer_reads(transaction: &Transaction) -> Vec<StateKey> {
    let mut keys: Vec<_> = transaction
        .signatures()
        .iter()
        .filter(|signed| transaction.action().entry(&signed.signer).is_none())
        .map(|signed| StateKey::record(&signed.signer))
        .collect();
    keys.sort_unstable();
    keys
}

/// The blob parts of an entry's foreign key, with their bytes; none for other suites.
pub(crate) fn blob_parts(entry: &Entry) -> impl Iterator<Item = (StateKey, &[u8])> {
    let digest = entry
        .keys()
        .foreign_key()
        .map(|(_, _, digest)| kusabi_core::id::Digest::new(digest))
        .unwrap_or_default();
    // An SPKI is at most 2,048 bytes, so that an index is at most 12.
    (0_u16..)
        .zip(entry.spki().chunks(BLOB_PART_BYTES))
        .map(move |(index, part)| (StateKey::blob_part(&digest, index), part))
}
