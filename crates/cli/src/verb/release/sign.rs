//! `kusabi release sign`: a release key's signatures, made where the key is.

use std::path::PathBuf;

use serde::Serialize;

use super::{Publication, art_keys, manifest, policy, publication_of, read};
use crate::{
    connection::Connection,
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    page::{Answer, Page},
    session::Session,
};

/// Sign a release with release keys, on one machine or on several
///
/// Without a network name --chain and --policy-version. Keys on other machines sign the manifest, or the signed file that comes
/// out here; `kusabi release merge` brings separate results together.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The manifest, or the signed file of an earlier signature
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Key file of a release key; several times for several [default: the profile's]
    #[arg(long = "key", value_name = "KEYFILE")]
    keys: Vec<PathBuf>,
    /// Version of the art policy, which `kusabi org show` says [default: the ledger is asked]
    #[arg(long, value_name = "NUMBER")]
    policy_version: Option<u32>,
    /// The signed file [default: FILE with the ending .release]; beside it stands the transaction, ending in .publish
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Serialize)]
struct Signed {
    file: PathBuf,
    transaction: PathBuf,
    digest: String,
    signatures: usize,
    policy_version: u32,
}

impl Answer for Signed {
    fn page(&self, page: &mut Page) {
        page.good("Signed", &self.file.display().to_string())
            .field("digest", &*self.digest)
            .field("signatures", self.signatures.to_string())
            .field("transaction", self.transaction.display().to_string());
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let chain = session.chain()?;
    let mut draft = read(&args.file)?;
    let keys = art_keys(&session.art_keys(&args.keys)?)?;
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| args.file.with_extension("release"));
    let transaction = publication_of(&out);
    let (policy_version, mut publication) = {
        let manifest = manifest(draft.manifest())?;
        let policy_version = match args.policy_version {
            Some(version) => version,
            None => policy(&Connection::open(session)?, &manifest)?.version,
        };
        (
            policy_version,
            Publication::new(chain, &manifest, policy_version)?,
        )
    };
    publication.take(&publication_of(&args.file))?;
    publication.take(&transaction)?;
    if out != args.file && out.exists() {
        draft
            .merge(&read(&out)?)
            .map_err(|why| Failure::new(Exit::Usage, format!("{}: {why}", out.display())))?;
    }
    for key in &keys {
        draft
            .sign(&chain, key.handle(), key.key())
            .map_err(|why| Failure::new(Exit::Usage, why.to_string()))?;
        publication.sign(key)?;
    }
    let bytes = draft
        .encode()
        .map_err(|why| Failure::new(Exit::Usage, why.to_string()))?;
    files::replace(&out, &bytes, Mode::Public)?;
    publication.write(&transaction)?;
    session.output().say(&Signed {
        file: out,
        transaction,
        digest: kusabi_core::id::Digest::of(draft.manifest()).to_string(),
        signatures: draft.signatures().len(),
        policy_version,
    })?;
    Ok(Exit::Ok)
}
