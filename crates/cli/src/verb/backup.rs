//! `kusabi backup`: the whole history of a ledger in one file.

use std::path::PathBuf;

use serde::Serialize;

use crate::{
    backup_file,
    connection::Connection,
    failure::{Failure, Result},
    page::{Answer, Page, counted, grouped},
    session::Session,
};

/// Copy the ledger's blocks to a file
///
/// From the running node that the profile or --ledger names, or from a stopped one's directory. A node's blocks are checked as
/// they come; what an interrupted run has copied stays in FILE.partial, and the same command goes on with it. The file holds
/// no secret: neither vote keys nor officers' keys; keep those apart.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The new file
    file: PathBuf,
    /// Directory of a stopped node
    #[arg(long, value_name = "DIR", conflicts_with = "ledger")]
    data: Option<PathBuf>,
}

#[derive(Serialize)]
struct Copied {
    file: PathBuf,
    chain: String,
    blocks: u64,
    height: u64,
    bytes: u64,
}

impl Answer for Copied {
    fn page(&self, page: &mut Page) {
        page.good(
            "Copied",
            &format!(
                "{} to {}",
                counted(self.blocks, "block"),
                self.file.display()
            ),
        )
        .field("chain", &*self.chain)
        .field("up to", format!("block {}", grouped(self.height)))
        .field("size", format!("{} bytes", grouped(self.bytes)));
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<()> {
    match &args.data {
        Some(data) => backup_file::from_directory(data, &args.file)?,
        None => {
            let connection = Connection::open(session)?;
            backup_file::from_ledger(&connection, &args.file, session.output())?;
        }
    }
    let extent = backup_file::extent(&args.file)?;
    let metadata = args
        .file
        .metadata()
        .map_err(|error| Failure::io("read", &args.file, &error))?;
    session.output().say(&Copied {
        file: args.file.clone(),
        chain: extent.chain.to_string(),
        blocks: extent.blocks,
        height: extent.last.height.get(),
        bytes: metadata.len(),
    })
}
