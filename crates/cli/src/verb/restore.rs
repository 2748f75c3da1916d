//! `kusabi restore`: a directory from a backup.

use std::path::{Path, PathBuf};

use kusabi_core::id::ChainId;
use kusabi_node::{
    backup::{RestoreError, restore},
    directory::Directory,
};
use serde::Serialize;

use crate::{
    backup_file,
    exit::Exit,
    failure::{Failure, Result},
    files,
    founding::Places,
    page::{Answer, Page, counted, grouped},
    session::Session,
    verb::node::directory_failure,
};

/// Bring a ledger's blocks back from a backup; each is checked from the genesis on
///
/// The directory has no vote key, and refuses the old one: with that the validator could vote twice. A lone validator gets a new one
/// from `kusabi recover`; one of several makes fresh keys (kusabi node prepare), which the next epoch names.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The backup
    file: PathBuf,
    /// The new directory
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

#[derive(Serialize)]
struct Restored {
    data: PathBuf,
    chain: String,
    blocks: u64,
    height: u64,
    validators: usize,
}

impl Answer for Restored {
    fn page(&self, page: &mut Page) {
        page.good(
            "Restored",
            &format!(
                "{} to {}",
                counted(self.blocks, "block"),
                self.data.display()
            ),
        )
        .field("chain", &*self.chain)
        .field("up to", format!("block {}", grouped(self.height)))
        .gap();
        let data = self.data.display();
        if self.validators == 1 {
            page.text("To go on with it, with the recovery key at hand:")
                .command(&format!("kusabi recover --data {data} --key recovery.key"));
        } else {
            page.text("Its old vote key never votes again. For fresh keys, which the next epoch is to name:")
                .command(&format!(
                    "kusabi node prepare --data {data} --org ORG --address HOST:PORT"
                ));
        }
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<()> {
    let extent = backup_file::extent(&args.file)?;
    let directory = restored(&args.file, &args.data, session.known_chain()?.as_ref())?;
    session.output().say(&Restored {
        data: args.data.clone(),
        chain: extent.chain.to_string(),
        blocks: extent.blocks,
        height: extent.last.height.get(),
        validators: directory.outline().newest().vote_keys.len(),
    })
}

/// Restores a backup into a new data directory, or into one where restoring was interrupted.
pub(crate) fn restored(file: &Path, data: &Path, chain: Option<&ChainId>) -> Result<Directory> {
    let places = Places::new(data);
    let reader = backup_file::open(file)?;
    let found = ChainId::of(reader.document());
    let noted = places.noted_chain()?;
    if let Some(expected) = chain.or(noted.as_ref()).filter(|chain| **chain != found) {
        return Err(backup_file::of_another_chain(file, &found, expected));
    }
    files::make_folder(data)?;
    Directory::discard_unfinished(&places.node()).map_err(|why| directory_failure(&why))?;
    let directory =
        restore(&places.node(), Some(&found), reader).map_err(|why| restore_failure(file, &why))?;
    places.note_chain(&found)?;
    Ok(directory)
}

fn restore_failure(file: &Path, why: &RestoreError) -> Failure {
    match why {
        RestoreError::Directory(why) => directory_failure(why),
        RestoreError::Backup(why) => backup_file::failure(file, why),
        why => Failure::new(Exit::Damaged, format!("{}: {why}", file.display()))
            .advise("take an older or another copy; nothing was restored"),
    }
}
