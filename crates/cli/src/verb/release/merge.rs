//! `kusabi release merge`: signatures that were made apart, in one file.

use std::path::PathBuf;

use kusabi_core::{
    id::Digest,
    tx::{TX_BYTES_MAX, Transaction},
};
use serde::Serialize;

use super::{not_one, publication_of, read};
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    page::{Answer, Page},
    session::Session,
};

/// Bring signatures of one release together that were made on several machines
///
/// Of each file the transaction beside it (ending in .publish) is taken, too.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Signed files of one release
    #[arg(value_name = "FILE", required = true, num_args = 2..)]
    files: Vec<PathBuf>,
    /// The file for all signatures; may be one of them
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Merged {
    file: PathBuf,
    digest: String,
    signatures: usize,
    /// How many of them publish it.
    publishing: usize,
}

impl Answer for Merged {
    fn page(&self, page: &mut Page) {
        page.good("Merged", &self.file.display().to_string())
            .field("digest", &*self.digest)
            .field("signatures", self.signatures.to_string())
            .field("for the ledger", self.publishing.to_string());
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let mut merged = None;
    let mut publication: Option<Transaction> = None;
    for path in &args.files {
        let draft = read(path)?;
        match &mut merged {
            None => merged = Some(draft),
            Some(merged) => {
                merged.merge(&draft).map_err(|why| {
                    Failure::new(Exit::Usage, format!("{}: {why}", path.display()))
                })?;
            }
        }
        publication = with(publication, &publication_of(path))?;
    }
    // At least two files were named.
    let merged = merged.ok_or_else(|| Failure::new(Exit::Usage, "no file is named"))?;
    let bytes = merged
        .encode()
        .map_err(|why| Failure::new(Exit::Usage, why.to_string()))?;
    files::replace(&args.out, &bytes, Mode::Public)?;
    let publishing = publication.as_ref().map_or(0, |one| one.signatures().len());
    if let Some(publication) = publication {
        files::replace(
            &publication_of(&args.out),
            publication.as_bytes(),
            Mode::Public,
        )?;
    }
    session.output().say(&Merged {
        file: args.out.clone(),
        digest: Digest::of(merged.manifest()).to_string(),
        signatures: merged.signatures().len(),
        publishing,
    })?;
    Ok(Exit::Ok)
}

/// The transaction with the signatures of another one.
fn with(before: Option<Transaction>, path: &std::path::Path) -> Result<Option<Transaction>> {
    if !path.exists() {
        return Ok(before);
    }
    let bytes = files::read(path, TX_BYTES_MAX as u64)?;
    let other = Transaction::decode(&bytes).map_err(|why| not_one(path, &why))?;
    let Some(before) = before else {
        return Ok(Some(other));
    };
    if before.action() != other.action() || before.chain() != other.chain() {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "{} publishes something else, or under another art policy, than those before it",
                path.display()
            ),
        )
        .advise("the art policy changed between the signatures: sign again"));
    }
    let mut draft = kusabi_core::tx::Draft::from(before);
    for signed in other.signatures() {
        draft.add(signed.signer, signed.signature);
    }
    draft
        .finish()
        .map(Some)
        .map_err(|why| Failure::new(Exit::Usage, why.to_string()))
}
