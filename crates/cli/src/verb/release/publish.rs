//! `kusabi release publish`: the ledger lists a release, and the server has it.

use std::path::PathBuf;

use kusabi_core::row::ReleaseStatus;
use serde::Serialize;

use super::{
    Publication, art_keys, listed, manifest, policy, publication_of, read, read_signed, upload,
};
use crate::{
    connection::Connection,
    exit::Exit,
    failure::{Failure, Result},
    page::{Answer, Page, grouped},
    session::Session,
};

/// Publish a signed release on the ledger, and hand it to the server
///
/// Its contents are found on this machine before the ledger is told. Safe to repeat: what is listed already is not listed again, and
/// an upload goes on where it broke off.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The signed file that `kusabi release sign` made
    #[arg(value_name = "FILE.release")]
    file: PathBuf,
    /// Key file of a release key that signs the transaction now, beside those who have signed [default: the profile's]
    #[arg(long = "key", value_name = "KEYFILE")]
    keys: Vec<PathBuf>,
    /// Where the payloads lie: files, or folders to look in [default: the folder of FILE.release]
    #[arg(long, value_name = "PATH")]
    from: Vec<PathBuf>,
    /// Only the ledger: its contents need not be here
    #[arg(long)]
    no_upload: bool,
}

#[derive(Serialize)]
struct Published {
    file: PathBuf,
    digest: String,
    height: u64,
    new: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    uploaded: Option<upload::Uploaded>,
}

impl Answer for Published {
    fn page(&self, page: &mut Page) {
        let done = if self.new {
            "Published"
        } else {
            "Already published"
        };
        page.good(done, &self.file.display().to_string())
            .field("digest", &*self.digest)
            .field("at block", grouped(self.height));
        if let Some(uploaded) = &self.uploaded {
            uploaded.fields(page);
            let release = self.file.display();
            page.gap()
                .text("Order it for one device, or for a group:")
                .command(&format!(
                    "kusabi device order update DEVICE --release {release}"
                ))
                .command(&format!(
                    "kusabi device order update --group GROUP --release {release}"
                ))
                .text("Roll it out to all that it is for, in phases if you like:")
                .command(&format!(
                    "kusabi rollout new NAME --release {release} --all"
                ));
        }
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let signed = read_signed(&args.file)?;
    let draft = read(&args.file)?;
    let manifest = manifest(draft.manifest())?;
    let places = upload::places(&args.file, &args.from);
    let mut contents = upload::Contents::new(&manifest, places);
    let connection = Connection::open(session)?;
    let before = listed(&connection, &manifest.org(), &manifest.digest())?;
    let new = before.is_none();
    if new {
        let policy = policy(&connection, &manifest)?;
        if draft.signatures().len() < usize::from(policy.k) {
            return Err(Failure::new(
                Exit::Negative,
                format!(
                    "{} has {} signatures, and the art policy asks for {}: no device would install it",
                    args.file.display(),
                    draft.signatures().len(),
                    policy.k
                ),
            )
            .advise("kusabi release sign on the machines of the other release keys, and kusabi release merge"));
        }
        let mut publication = Publication::new(*connection.chain(), &manifest, policy.version)?;
        publication.take(&publication_of(&args.file))?;
        let lacks = |publication: &Publication| {
            usize::from(policy.k).saturating_sub(publication.signers.len())
        };
        if lacks(&publication) > 0 {
            for key in art_keys(&session.art_keys(&args.keys)?)? {
                if lacks(&publication) > 0 {
                    publication.sign(&key)?;
                }
            }
        }
        if lacks(&publication) > 0 {
            return Err(Failure::new(
                Exit::Negative,
                format!(
                    "{} of {} release keys have signed for the ledger",
                    publication.signers.len(),
                    policy.k
                ),
            )
            .advise("name the other keys with --key, or sign again with them (the art policy may have changed since they did)"));
        }
        // What is listed and cannot be handed on is a release that no device gets, and that stands on the ledger for ever.
        if !args.no_upload {
            contents.find_all(session)?;
        }
        connection.submit(&publication.finish()?)?;
    }
    let row = listed(&connection, &manifest.org(), &manifest.digest())?.ok_or_else(|| {
        Failure::new(
            Exit::Unproven,
            "the node says that the release is published and does not prove it",
        )
    })?;
    if row.status() == ReleaseStatus::Withdrawn {
        return Err(Failure::new(
            Exit::Negative,
            format!(
                "the release {} is withdrawn: no device installs it",
                manifest.digest()
            ),
        )
        .advise("withdrawal is for ever: make a release with another version"));
    }
    let uploaded = if args.no_upload {
        None
    } else {
        Some(upload::upload(&signed, &mut contents, session)?)
    };
    session.output().say(&Published {
        file: args.file.clone(),
        digest: manifest.digest().to_string(),
        height: row.published_at().get(),
        new,
        uploaded,
    })?;
    Ok(Exit::Ok)
}
