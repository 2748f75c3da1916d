//! `kusabi release`: firmware, from its files to the ledger and the server.
//!
//! ```text
//! new      NAME-VERSION.manifest                     what it is made of; of large payloads NAME-VERSION-PAYLOAD.chunks and .pack
//! import   the same                                  from a Mender artifact
//! sign     NAME-VERSION.release, NAME-VERSION.publish   signatures, of any number of keys on any number of machines
//! merge                                              brings them together
//! publish  the ledger lists it, the server has it
//! ```
//! A release key signs twice: the manifest, which devices check, and the transaction that publishes it, which validators check.

mod chunks;
mod expected;
mod import;
mod list;
mod merge;
mod new;
mod publish;
mod show;
mod sign;
mod upload;
mod withdraw;

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::Subcommand;
use kusabi_core::{
    id::{ChainId, Digest, Handle, StateKey},
    release::{
        MANIFEST_BYTES_MAX, Manifest, ReleaseDraft, SIGNED_MANIFEST_BYTES_MAX, SignedManifest,
    },
    row::{ArtPolicy, Release, Row},
    suite::Purpose,
    tx::{Action, Draft, TX_BYTES_MAX, Transaction},
};

use crate::{
    connection::Connection,
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    keyfile::KeyFile,
    session::Session,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    New(new::Args),
    Import(import::Args),
    Sign(sign::Args),
    Merge(merge::Args),
    Publish(publish::Args),
    Upload(upload::Args),
    Withdraw(withdraw::Args),
    List(list::Args),
    Show(show::Args),
}

pub(crate) fn run(verb: &Verb, session: &Session) -> Result<Exit> {
    match verb {
        Verb::New(args) => new::run(args, session),
        Verb::Import(args) => import::run(args, session),
        Verb::Sign(args) => sign::run(args, session),
        Verb::Merge(args) => merge::run(args, session),
        Verb::Publish(args) => publish::run(args, session),
        Verb::Upload(args) => upload::run(args, session),
        Verb::Withdraw(args) => withdraw::run(args, session),
        Verb::List(args) => list::run(args, session),
        Verb::Show(args) => show::run(args, session),
    }
}

/// A release as a person names it: by its digest, or by its file.
#[derive(Clone, Debug)]
pub(crate) enum Which {
    Digest(Digest),
    File(PathBuf),
}

impl FromStr for Which {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Ok(text
            .parse()
            .map_or_else(|_| Self::File(text.into()), Self::Digest))
    }
}

impl Which {
    /// The digest of its manifest.
    pub(crate) fn digest(&self) -> Result<Digest> {
        match self {
            Self::Digest(digest) => Ok(*digest),
            Self::File(path) => Ok(Digest::of(read(path)?.manifest())),
        }
    }
}

/// Reads a manifest, signed or not.
fn read(path: &Path) -> Result<ReleaseDraft> {
    let bytes = files::read(path, SIGNED_MANIFEST_BYTES_MAX as u64)?;
    if bytes.len() <= MANIFEST_BYTES_MAX && Manifest::decode(&bytes).is_ok() {
        return ReleaseDraft::new(bytes).map_err(|why| not_one(path, &why));
    }
    ReleaseDraft::resume(&bytes).map_err(|why| not_one(path, &why))
}

fn not_one(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        Exit::File,
        format!("{} is no release: {why}", path.display()),
    )
    .advise("kusabi release new makes one")
}

/// Reads a signed manifest; its bytes.
fn read_signed(path: &Path) -> Result<Vec<u8>> {
    let bytes = files::read(path, SIGNED_MANIFEST_BYTES_MAX as u64)?;
    match SignedManifest::decode(&bytes) {
        Ok(_) => Ok(bytes),
        Err(_) if Manifest::decode(&bytes).is_ok() => Err(Failure::new(
            Exit::Usage,
            format!("{} is not signed yet", path.display()),
        )
        .advise(format!("kusabi release sign {}", path.display()))),
        Err(why) => Err(not_one(path, &why)),
    }
}

/// Decodes what was decoded when it was read.
fn manifest(bytes: &[u8]) -> Result<Manifest<'_>> {
    Manifest::decode(bytes).map_err(|why| Failure::new(Exit::Internal, why.to_string()))
}

/// The transaction that publishes a release, or what of it is signed.
struct Publication {
    chain: ChainId,
    draft: Draft,
    signers: Vec<Handle>,
}

impl Publication {
    fn new(chain: ChainId, manifest: &Manifest<'_>, policy_version: u32) -> Result<Self> {
        let action = Action::Publish {
            org: manifest.org(),
            policy_version,
            digest: manifest.digest(),
            minimum_counter: manifest.counter(),
        };
        let draft =
            Draft::new(chain, action).map_err(|why| Failure::new(Exit::Usage, why.to_string()))?;
        Ok(Self {
            chain,
            draft,
            signers: Vec::new(),
        })
    }

    /// What is signed of it in a file, if there is one and it is of this very action.
    fn take(&mut self, path: &Path) -> Result<bool> {
        if !path.exists() {
            return Ok(false);
        }
        let bytes = files::read(path, TX_BYTES_MAX as u64)?;
        let transaction = Transaction::decode(&bytes).map_err(|why| not_one(path, &why))?;
        if transaction.chain() != self.chain || transaction.action() != self.draft.action() {
            return Ok(false);
        }
        for signed in transaction.signatures() {
            self.draft.add(signed.signer, signed.signature);
            self.note(signed.signer);
        }
        Ok(true)
    }

    fn sign(&mut self, key: &KeyFile) -> Result<()> {
        self.draft
            .sign(key.handle(), Purpose::Art, key.key())
            .map_err(|why| Failure::new(Exit::Usage, why.to_string()))?;
        self.note(key.handle());
        Ok(())
    }

    fn note(&mut self, signer: Handle) {
        if !self.signers.contains(&signer) {
            self.signers.push(signer);
        }
    }

    fn write(self, path: &Path) -> Result<()> {
        files::replace(path, self.finish()?.as_bytes(), Mode::Public)
    }

    fn finish(self) -> Result<Transaction> {
        self.draft
            .finish()
            .map_err(|why| Failure::new(Exit::Usage, why.to_string()))
    }
}

/// The file beside a release that holds its transaction.
fn publication_of(release: &Path) -> PathBuf {
    release.with_extension("publish")
}

/// The organisation's art policy, as the ledger proves it.
fn policy(connection: &Connection, manifest: &Manifest<'_>) -> Result<ArtPolicy> {
    match connection
        .row(StateKey::art_policy(&manifest.org()))?
        .into_value()
    {
        Some(Row::ArtPolicy(policy)) => Ok(policy),
        _ => Err(Failure::new(
            Exit::Negative,
            "the organisation has no art policy yet, so nobody can sign its releases",
        )
        .advise("its officers set one: kusabi org art --sign 1 --add KEYFILE")),
    }
}

/// What the ledger says of a release.
fn listed(
    connection: &Connection,
    org: &kusabi_core::id::OrgId,
    digest: &Digest,
) -> Result<Option<Release>> {
    Ok(
        match connection.row(StateKey::release(org, digest))?.into_value() {
            Some(Row::Release(row)) => Some(row),
            _ => None,
        },
    )
}

/// Reads release keys.
fn art_keys(files: &[PathBuf]) -> Result<Vec<KeyFile>> {
    let keys = KeyFile::read_all(files)?;
    for (key, file) in keys.iter().zip(files) {
        if key.purpose() != Purpose::Art {
            return Err(Failure::new(
                Exit::Usage,
                format!(
                    "{} is a {} key, and releases are signed by art keys",
                    file.display(),
                    key.purpose()
                ),
            )
            .advise("kusabi key new KEYFILE --purpose art makes one, and kusabi org art gives it its role"));
        }
    }
    Ok(keys)
}
