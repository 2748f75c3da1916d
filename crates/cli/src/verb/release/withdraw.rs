//! `kusabi release withdraw`: no device installs a release any more.

use std::path::PathBuf;

use kusabi_core::{id::OrgName, row::ReleaseStatus, tx::Action};
use serde::Serialize;

use super::{Which, listed};
use crate::{
    connection::Connection,
    exit::Exit,
    failure::{Failure, Result},
    keyfile::KeyFile,
    page::{Answer, Page, grouped},
    session::Session,
};

/// Withdraw a release, for ever: devices that learn of it do not install it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The release: its digest, or its file
    #[arg(value_name = "RELEASE")]
    release: Which,
    /// Key file of a revoker, or of as many release keys as the art policy asks for [default: the profile's release keys]
    #[arg(long, value_name = "KEYFILE")]
    by: Vec<PathBuf>,
    /// Organisation whose release it is [default: the profile's]
    #[arg(long, value_name = "NAME")]
    org: Option<OrgName>,
}

#[derive(Serialize)]
struct Withdrawn {
    digest: String,
    height: u64,
    new: bool,
}

impl Answer for Withdrawn {
    fn page(&self, page: &mut Page) {
        let done = if self.new {
            "Withdrawn"
        } else {
            "Already withdrawn"
        };
        page.good(done, "")
            .field("digest", &*self.digest)
            .field("from block", grouped(self.height));
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let digest = args.release.digest()?;
    let org = session.org(args.org.as_ref())?;
    let connection = Connection::open(session)?;
    let row = listed(&connection, &org.id(), &digest)?.ok_or_else(|| {
        Failure::new(
            Exit::Negative,
            format!("the ledger lists no release {digest} of {org}"),
        )
        .advise("check the digest; what was never published needs no withdrawal")
    })?;
    let new = row.status() != ReleaseStatus::Withdrawn;
    if new {
        let keys = KeyFile::read_all(&session.art_keys(&args.by)?)?;
        let action = Action::WithdrawRelease {
            org: org.id(),
            digest,
            version: row.version(),
        };
        connection.act(action, &keys.iter().collect::<Vec<_>>())?;
    }
    let height = listed(&connection, &org.id(), &digest)?
        .and_then(|row| row.withdrawn_at())
        .ok_or_else(|| {
            Failure::new(
                Exit::Unproven,
                "the node says that the release is withdrawn and does not prove it",
            )
        })?;
    session.output().say(&Withdrawn {
        digest: digest.to_string(),
        height: height.get(),
        new,
    })?;
    Ok(Exit::Ok)
}
