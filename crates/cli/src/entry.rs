//! What the ledger is told about a key, and whether what it holds is that key.

use kusabi_core::{
    id::{ChainId, Handle, KusabiId, OrgId, OrgName},
    row::{Origin, Record},
    suite::{BindingContext, PublicKeys, Purpose},
    tx::Entry,
};

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    keyfile::KeyFile,
};

/// Whether a record is tied to a kusabi-ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binding {
    /// It is: nobody else can have made the record.
    Holds,
    /// It is not: someone who saw the handle put a key of his own under it.
    Broken,
    /// The key came from another owner, to whom it was tied; to the new one it is not.
    Moved,
    /// The ID is not known here.
    Unchecked,
}

impl Binding {
    /// The word in JSON.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Broken => "broken",
            Self::Moved => "moved",
            Self::Unchecked => "unchecked",
        }
    }
}

/// The entry of a key file, bound to a chain and an organisation.
pub(crate) fn entry(key: &KeyFile, chain: &ChainId, org: &OrgId) -> Result<Entry> {
    let id = key.id().ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            format!(
                "a {} key has no record, so it is not put on the ledger",
                key.purpose()
            ),
        )
    })?;
    let context = BindingContext {
        chain,
        owner: org,
        purpose: key.purpose(),
    };
    let binding = key.public().bind(id, &context);
    Entry::new(key.handle(), key.purpose(), key.public(), binding, None)
        .map_err(|why| Failure::new(Exit::Usage, why.to_string()))
}

/// Checks a record's binding.
pub(crate) fn binding(record: &Record, id: Option<&KusabiId>, chain: &ChainId) -> Binding {
    let Some(id) = id else {
        return Binding::Unchecked;
    };
    if record.is_bound(id, chain) {
        return Binding::Holds;
    }
    // It was made for its first owner. Who owned it when it followed on another key does not stand in the record.
    let made = match record.origin() {
        Origin::Registered(first) => record.was_made_for(&first, id, chain),
        Origin::Follows(_) => true,
    };
    if record.moves() > 0 && made {
        Binding::Moved
    } else {
        Binding::Broken
    }
}

/// Whether a record is that of a key file.
pub(crate) fn is_record_of(record: &Record, key: &KeyFile, chain: &ChainId) -> bool {
    let same: (PublicKeys, Purpose) = (*record.keys(), record.purpose());
    same == (key.public(), key.purpose()) && binding(record, key.id(), chain) == Binding::Holds
}

/// Whether a record is what an entry puts on the ledger in an organisation's name, whatever became of it since.
pub(crate) fn is_record_of_entry(record: &Record, entry: &Entry, owner: &OrgId) -> bool {
    record.keys() == entry.keys()
        && (record.purpose(), record.binding()) == (entry.purpose(), entry.binding())
        && record.owner() == *owner
        && record.metadata() == entry.metadata()
        && record.predecessor().is_none()
}

/// The sentence for a key that belongs to another organisation than the one that was named.
pub(crate) fn of_another(what: &str, owner: &str, named: &OrgName) -> Failure {
    Failure::new(
        Exit::Negative,
        format!("{what} is on the ledger already, as a key of {owner} and not of {named}"),
    )
    .advise(
        "name that one with --org, or make a new key; a device's key comes to another organisation with kusabi key transfer",
    )
}

/// The sentence for a key that stands on the ledger and counts no more.
pub(crate) fn ended(what: &str, record: &Record) -> Failure {
    Failure::new(
        Exit::Negative,
        format!(
            "{what} is on the ledger already, and it has ended ({})",
            kusabi_api::view::status(record.status())
        ),
    )
    .advise("nothing brings a key back: make a new one with kusabi key new")
}

/// The sentence for a handle under which someone else's key stands.
pub(crate) fn foreign(handle: &Handle) -> Failure {
    Failure::new(
        Exit::Negative,
        format!("the record under {handle} is not this key's: its binding does not hold"),
    )
    .advise("someone who saw the handle registered a key of his own under it; make a new key")
}

#[cfg(test)]
mod tests {
    use super::*;
    use kusabi_core::{
        id::{Digest, Height},
        keystore::{KeyStore as _, Seed, SoftKey},
        suite::Suite,
    };

    #[test]
    fn a_key_that_moved_is_its_first_owners_and_a_copied_entry_is_nobodys() {
        let (id, chain) = (KusabiId::new([8; 16]), ChainId::new([9; 32]));
        let [home, thief, buyer] =
            ["home", "thief", "buyer"].map(|name| OrgName::new(name).unwrap().id());
        let (suite, purpose) = (Suite::Curve25519, Purpose::Act);
        let keys = SoftKey::from_seed(suite, &Seed::new([7; 32]))
            .unwrap()
            .public_keys();
        let context = BindingContext {
            chain: &chain,
            owner: &home,
            purpose,
        };
        let bound = keys.bind(&id, &context);
        let height = Height::new(5).unwrap();
        let put_by = |org| Record::register(purpose, keys, org, height, bound, Digest::ZERO);
        let tied = |record: &Record| binding(record, Some(&id), &chain);
        assert_eq!(tied(&put_by(home)), Binding::Holds);
        assert_eq!(tied(&put_by(home).move_to(buyer).unwrap()), Binding::Moved);
        assert_eq!(tied(&put_by(thief)), Binding::Broken);
        assert_eq!(
            tied(&put_by(thief).move_to(buyer).unwrap()),
            Binding::Broken
        );
        let follows = put_by(home).after(Handle::new([6; 32]));
        assert_eq!(tied(&follows.move_to(buyer).unwrap()), Binding::Moved);
    }
}
