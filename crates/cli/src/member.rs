//! What an organisation brings into a ledger that is founded with others: its member file, and the directory behind it.
//!
//! ```toml
//! kusabi_member = 1
//! organisation = "acme"
//! address = "node.acme.example:7043"   where the other nodes reach this one; empty for a ledger of one's own
//! quota = 1099511627776                rows that it may have
//! threshold = 2                        officers that have to sign together
//! vote_key = "64 hex digits"
//! node_key = "64 hex digits"
//! recovery_key = "68 hex digits"       the 34 bytes of a verification key (spec/identity.md)
//!
//! [[officer]]                          ascending by signing key; what the genesis transaction says of each
//! handle = "64 hex digits"
//! suite = 1
//! keys = "132 hex digits"
//! binding = "32 hex digits"
//! ```
//! Nothing in it is secret. Nothing in it is believed either: each organisation compares what the genesis says of it with
//! its own directory before it signs.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use kusabi_core::{
    address::is_address,
    id::{Binding, ChainId, Epoch, Handle, OrgName, parse_hex},
    set::{EpochSetParts, OrganisationParts, SIGNATORIES_MAX},
    suite::{PublicKeys, Purpose, Suite, VerificationKey},
    tx::Entry,
};
use kusabi_node::prepared::Prepared;
use serde::{Deserialize, Serialize};

use crate::{
    entry::entry,
    exit::Exit,
    failure::{Failure, Result},
    founding::{self, Places, verification_key},
    keyfile::{KeyFile, hex},
    profile::Sent,
    verb::node::directory_failure,
};

/// How member files end.
pub(crate) const ENDING: &str = "member";

/// Quotas end below this.
pub(crate) const QUOTA_END: u64 = 1 << 48;

const VERSION: u8 = 1;

/// Five officers have some 2 KiB.
const LIMIT: u64 = 64 * 1024;

/// An organisation on its way into a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: OrgName,
    pub(crate) address: String,
    pub(crate) quota: u64,
    pub(crate) threshold: u8,
    pub(crate) vote_key: [u8; 32],
    pub(crate) node_key: [u8; 32],
    pub(crate) recovery: VerificationKey,
    /// Each with its signing key, in the set's order.
    pub(crate) officers: Vec<(Entry, VerificationKey)>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct File {
    kusabi_member: u8,
    organisation: String,
    address: String,
    quota: u64,
    threshold: u8,
    vote_key: String,
    node_key: String,
    recovery_key: String,
    officer: Vec<OfficerFields>,
}

/// An officer's entry in a file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfficerFields {
    handle: String,
    suite: u8,
    keys: String,
    binding: String,
}

impl OfficerFields {
    pub(crate) fn of(entry: &Entry) -> Self {
        Self {
            handle: entry.handle().to_string(),
            suite: entry.keys().suite().into(),
            keys: hex(entry.keys().as_bytes()),
            binding: hex(entry.binding().as_bytes()),
        }
    }

    /// The entry, with its signing key.
    pub(crate) fn entry(&self) -> Result<(Entry, VerificationKey), String> {
        let suite = field("suite", Suite::try_from(self.suite))?;
        let keys: [u8; PublicKeys::LEN] = field("keys", parse_hex(&self.keys))?;
        let keys = field("keys", PublicKeys::decode(suite, &keys))?;
        let signing = keys
            .verification_key()
            .ok_or("an officer's key is of suite 1 or 2")?;
        let binding: Binding = field("binding", parse_hex(&self.binding).map(Binding::new))?;
        let handle: Handle = field("handle", self.handle.parse())?;
        let entry = Entry::new(handle, Purpose::Officer, keys, binding, None);
        Ok((field("officer", entry)?, signing))
    }
}

/// A field's value, or the field's name before what is wrong with it.
pub(crate) fn field<T, E: std::fmt::Display>(name: &str, value: Result<T, E>) -> Result<T, String> {
    value.map_err(|why| format!("{name}: {why}"))
}

impl Member {
    /// Puts the officers into the set's order, and checks the whole.
    pub(crate) fn checked(mut self) -> Result<Self, String> {
        self.officers.sort_by_key(|(_, key)| key.encode());
        if !(1..=SIGNATORIES_MAX).contains(&self.officers.len()) {
            return Err(format!(
                "an organisation has 1 to {SIGNATORIES_MAX} officers, and it has {}",
                self.officers.len()
            ));
        }
        if self.threshold == 0 || usize::from(self.threshold) > self.officers.len() {
            return Err(format!(
                "{} officers cannot sign together where there are {}",
                self.threshold,
                self.officers.len()
            ));
        }
        if !self.address.is_empty() && !is_address(&self.address) {
            return Err(not_an_address(&self.address));
        }
        if self.quota >= QUOTA_END {
            return Err("its quota is not below 2^48".to_owned());
        }
        // The rest is for the set to say, as the ledger will.
        EpochSetParts {
            epoch: Epoch::ZERO,
            organisations: vec![self.parts()],
        }
        .encode()
        .map_err(|why| why.to_string())?;
        VerificationKey::ed25519(&self.node_key).map_err(|why| format!("its node key: {why}"))?;
        // Vote, node and recovery key, and of each officer key and handle.
        if self.identities().len() != 3 + 2 * self.officers.len() {
            return Err("one key stands in it for two things".to_owned());
        }
        Ok(self)
    }

    /// What stands in a genesis once: its keys, and the handles of its officers.
    pub(crate) fn identities(&self) -> BTreeSet<Vec<u8>> {
        let keys = [self.vote_key, self.node_key].map(|key| key.to_vec());
        let officers = self
            .officers
            .iter()
            .flat_map(|(entry, key)| [entry.handle().as_bytes().to_vec(), key.raw().to_vec()]);
        keys.into_iter()
            .chain([self.recovery.raw().to_vec()])
            .chain(officers)
            .collect()
    }

    /// Its part of the first epoch's set.
    pub(crate) fn parts(&self) -> OrganisationParts {
        OrganisationParts {
            id: self.name.id(),
            threshold: self.threshold,
            officers: self.officers.iter().map(|(_, key)| *key).collect(),
            vote_keys: vec![self.vote_key],
        }
    }

    /// Reads a member file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let sent = Sent {
            path,
            what: "member file",
            advice: "have its organisation send it again: `kusabi org init` made it",
        };
        let file: File = sent.read(LIMIT)?;
        Self::from_file(&file)
            .and_then(Self::checked)
            .map_err(|why| sent.wrong(why))
    }

    fn from_file(file: &File) -> Result<Self, String> {
        if file.kusabi_member != VERSION {
            return Err("it is of another version".to_owned());
        }
        let recovery: [u8; VerificationKey::LEN] =
            field("recovery_key", parse_hex(&file.recovery_key))?;
        Ok(Self {
            name: field("organisation", file.organisation.parse())?,
            address: file.address.clone(),
            quota: file.quota,
            threshold: file.threshold,
            vote_key: field("vote_key", parse_hex(&file.vote_key))?,
            node_key: field("node_key", parse_hex(&file.node_key))?,
            recovery: field("recovery_key", VerificationKey::decode(&recovery))?,
            officers: file
                .officer
                .iter()
                .map(OfficerFields::entry)
                .collect::<Result<_, _>>()?,
        })
    }

    /// The file's text.
    pub(crate) fn to_text(&self) -> String {
        let file = File {
            kusabi_member: VERSION,
            organisation: self.name.to_string(),
            address: self.address.clone(),
            quota: self.quota,
            threshold: self.threshold,
            vote_key: hex(&self.vote_key),
            node_key: hex(&self.node_key),
            recovery_key: hex(&self.recovery.encode()),
            officer: self
                .officers
                .iter()
                .map(|(entry, _)| OfficerFields::of(entry))
                .collect(),
        };
        format!(
            "# What {} brings into a ledger. Nothing in it is secret: send it to whoever gathers them.\n{}",
            self.name,
            // A struct of strings and numbers always has a TOML form.
            toml::to_string(&file).unwrap_or_default()
        )
    }
}

/// The sentence for a text that is no address.
pub(crate) fn not_an_address(text: &str) -> String {
    format!(
        "{text:?} is no address that others can reach: a name, an IPv4 address or an IPv6 address in brackets, a colon, a port"
    )
}

/// An organisation's own directory, before its ledger is founded; held until dropped.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) member: Member,
    pub(crate) prepared: Prepared,
}

impl Own {
    /// Opens what `kusabi org init` made, and compares the member file with every key that lies beside it.
    pub(crate) fn open(places: &Places) -> Result<Self> {
        let waits = Prepared::is_at(&places.node());
        let path = file_in(places.root())?;
        if waits && path.is_none() {
            return Err(founding::waits(places)?);
        }
        let Some(path) = path.filter(|_| waits) else {
            return Err(Failure::new(
                Exit::File,
                format!(
                    "{} holds no keys that wait for a ledger to be founded",
                    places.root().display()
                ),
            )
            .advise("name the directory that `kusabi org init` made"));
        };
        let member = Member::read(&path)?;
        let prepared =
            Prepared::open_or_make(&places.node()).map_err(|why| directory_failure(&why))?;
        let other = |what: &str| {
            Failure::new(
                Exit::Damaged,
                format!(
                    "{} does not say of {what} what {} itself says",
                    path.display(),
                    places.root().display()
                ),
            )
            .advise(
                "the file was changed or exchanged: run `kusabi org init` again as the first time",
            )
        };
        if prepared.vote_key().public() != member.vote_key {
            return Err(other("the vote key"));
        }
        if prepared.node_key().public() != member.node_key {
            return Err(other("the node key"));
        }
        let recovery = places.key(Purpose::Recovery);
        // Officers' and recovery keys may be kept elsewhere by now.
        if recovery.exists() && verification_key(&KeyFile::read(&recovery)?)? != member.recovery {
            return Err(other("the recovery key"));
        }
        for path in places.officer_keys()? {
            if !is_officer(&member, &KeyFile::read(&path)?)? {
                return Err(other("the officers"));
            }
        }
        Ok(Self { member, prepared })
    }
}

/// Whether a key is one of a member's officers, with its handle and binding.
pub(crate) fn is_officer(member: &Member, key: &KeyFile) -> Result<bool> {
    if key.purpose() != Purpose::Officer {
        return Ok(false);
    }
    let entry = founding_entry(key, &member.name)?;
    Ok(member.officers.iter().any(|(officer, _)| *officer == entry))
}

/// The entry of an officer that a genesis makes. The document cannot hold its own hash, so it is bound to no chain
/// (spec/identity.md).
pub(crate) fn founding_entry(key: &KeyFile, org: &OrgName) -> Result<Entry> {
    entry(key, &ChainId::ZERO, &org.id())
}

/// The member file in a directory, if there is one.
pub(crate) fn file_in(folder: &Path) -> Result<Option<PathBuf>> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(None);
    };
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == ENDING))
        .collect();
    found.sort();
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        _ => Err(Failure::new(
            Exit::File,
            format!("{} holds several member files", folder.display()),
        )
        .advise(
            "leave only the one that `kusabi org init` made there; keep those of others elsewhere",
        )),
    }
}
