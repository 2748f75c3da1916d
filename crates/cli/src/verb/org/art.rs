//! `kusabi org art`: who signs an organisation's releases.

use std::path::PathBuf;

use kusabi_core::{
    id::{Handle, OrgName, StateKey},
    row::{ArtPolicy, Row},
    suite::Purpose,
    tx::{Action, Entry, Named},
};
use serde::Serialize;

use crate::{
    artifact_key,
    connection::Connection,
    entry::entry,
    exit::Exit,
    failure::{Failure, Result},
    keyfile::KeyFile,
    page::{Answer, Page, grouped},
    session::Session,
    who::Who,
};

/// Set who signs releases: how many of which release keys
///
/// The first policy is signed by the officers, every later one by as many old release keys as the old policy asks for; and always
/// by as many of the keys that count afterwards as the new one asks for.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many release keys sign a release
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..))]
    sign: u8,
    /// Key file of a new release key (purpose art)
    #[arg(long, value_name = "KEYFILE")]
    add: Vec<PathBuf>,
    /// Public key (PEM, RSA or P-256) that signs artifacts for stock Mender devices; it signs no release, so --sign does not count it
    #[arg(long, value_name = "FILE.pem")]
    foreign: Vec<PathBuf>,
    /// A release key that ends: its handle or key file
    #[arg(long, value_name = "KEY")]
    remove: Vec<Who>,
    /// Key files of release keys that sign the change, beside the new ones [default: the profile's]
    #[arg(long = "key", value_name = "KEYFILE")]
    keys: Vec<PathBuf>,
    /// Key files of officers, where there is no policy yet [default: the profile's]
    #[arg(long = "officer", value_name = "KEYFILE")]
    officers: Vec<PathBuf>,
    /// Organisation [default: the profile's]
    #[arg(long, value_name = "NAME")]
    org: Option<OrgName>,
}

#[derive(Serialize)]
struct Set {
    organisation: String,
    sign: u8,
    keys: u8,
    version: u32,
    height: u64,
    /// Keys that sign artifacts, by the file that each came from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    foreign: Vec<Foreign>,
    /// Handles under which a key that was removed still counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    still: Vec<String>,
}

#[derive(Serialize)]
struct Foreign {
    file: PathBuf,
    handle: String,
}

impl Answer for Set {
    fn page(&self, page: &mut Page) {
        page.good("Set", &format!("the art policy of {}", self.organisation))
            .field(
                "release keys",
                format!("{} of {} sign a release", self.sign, self.keys),
            )
            .field("policy version", self.version.to_string())
            .field("at block", grouped(self.height));
        for key in &self.foreign {
            let said = format!("{} ({})", key.handle, key.file.display());
            page.field("signs artifacts", said);
        }
        for handle in &self.still {
            page.field("still counts", handle);
        }
        if !self.still.is_empty() {
            page.text("A key that was removed stands on the ledger under another handle, too, and still counts: remove that one as well.");
        }
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let org = session.org(args.org.as_ref())?;
    let connection = Connection::open(session)?;
    let old = find(&connection, &org)?;
    let added = KeyFile::read_all(&args.add)?;
    let others = match old {
        // With fewer active keys than the old policy asks for, the officers stand in (spec/ledger.md, action 7).
        Some(old) if old.n >= old.k => KeyFile::read_all(&session.art_keys(&args.keys)?)?,
        _ => session.officer_keys(&args.officers)?,
    };
    let mut removed = Vec::new();
    let mut ending = Vec::new();
    for who in &args.remove {
        let handle = who.resolve()?.handle();
        let record = connection.known_record(&handle)?;
        removed.push(Named {
            handle,
            version: record.version(),
        });
        ending.push(record);
    }
    let mut foreign: Vec<Entry> = Vec::new();
    for path in &args.foreign {
        let rng = &mut session.rng();
        let entry = artifact_key::entry(path, connection.chain(), &org, rng)?;
        let twice = |what: &str| {
            Failure::new(Exit::Usage, format!("{} {what}", path.display())).advise(
                "a key that stands there twice goes on counting when one of both is removed",
            )
        };
        if foreign.iter().any(|other| other.keys() == entry.keys()) {
            return Err(twice("is named twice"));
        }
        let standing = artifact_key::handles(&connection, &org, entry.keys().foreign_key())?;
        if let Some(handle) = standing.iter().find(|handle| stays(handle, &removed)) {
            let what = format!("is a release key already, under the handle {handle}");
            return Err(twice(&what));
        }
        foreign.push(entry);
    }
    let named = args
        .foreign
        .iter()
        .zip(&foreign)
        .map(|(path, entry)| Foreign {
            file: path.clone(),
            handle: entry.handle().to_string(),
        });
    let named = named.collect();
    let ended = removed.clone();
    let change = Change {
        k: args.sign,
        added: &added,
        foreign,
        removed,
    };
    let height = set(&connection, &org, old, change, &others)?;
    let now = find(&connection, &org)?.ok_or_else(|| {
        Failure::new(
            Exit::Unproven,
            "the node says that the policy is set and does not prove it",
        )
    })?;
    let mut still = Vec::new();
    for record in &ending {
        let standing = artifact_key::handles(&connection, &org, record.keys().foreign_key())?;
        let stays = standing.iter().filter(|handle| stays(handle, &ended));
        still.extend(stays.map(ToString::to_string));
    }
    still.sort_unstable();
    still.dedup();
    session.output().say(&Set {
        organisation: org.to_string(),
        sign: now.k,
        keys: now.n,
        version: now.version,
        height,
        foreign: named,
        still,
    })?;
    Ok(Exit::Ok)
}

/// Whether a key is none of those that end.
fn stays(handle: &Handle, removed: &[Named]) -> bool {
    removed.iter().all(|named| named.handle != *handle)
}

/// The organisation's art policy, if it has one.
pub(crate) fn find(connection: &Connection, org: &OrgName) -> Result<Option<ArtPolicy>> {
    Ok(
        match connection
            .row(StateKey::art_policy(&org.id()))?
            .into_value()
        {
            Some(Row::ArtPolicy(policy)) => Some(policy),
            _ => None,
        },
    )
}

/// What a policy is to be, and what of it is new.
pub(crate) struct Change<'a> {
    /// How many release keys sign a release.
    pub(crate) k: u8,
    /// New release keys.
    pub(crate) added: &'a [KeyFile],
    /// New keys that sign artifacts of other systems, and nothing here.
    pub(crate) foreign: Vec<Entry>,
    /// Keys that end.
    pub(crate) removed: Vec<Named>,
}

/// Sets a policy; at which height.
pub(crate) fn set(
    connection: &Connection,
    org: &OrgName,
    old: Option<ArtPolicy>,
    change: Change<'_>,
    others: &[KeyFile],
) -> Result<u64> {
    let Change {
        k,
        added,
        foreign,
        removed,
    } = change;
    if let Some(key) = added.iter().find(|key| key.purpose() != Purpose::Art) {
        return Err(Failure::new(
            Exit::Usage,
            format!("a {} key is no release key", key.purpose()),
        )
        .advise("kusabi key new KEYFILE --purpose art makes one"));
    }
    let mut entries = added
        .iter()
        .map(|key| entry(key, connection.chain(), &org.id()))
        .collect::<Result<Vec<_>>>()?;
    entries.extend(foreign);
    // Nobody signs twice, also where a new key is named as one that signs.
    let mut signers: Vec<&KeyFile> = Vec::new();
    for key in added.iter().chain(others) {
        if !signers.iter().any(|other| other.handle() == key.handle()) {
            signers.push(key);
        }
    }
    let action = Action::ArtPolicy {
        org: org.id(),
        policy_version: old.map_or(0, |policy| policy.version),
        k,
        added: entries,
        removed,
        signers: u8::try_from(signers.len()).unwrap_or(u8::MAX),
    };
    Ok(connection.act(action, &signers)?.get())
}
