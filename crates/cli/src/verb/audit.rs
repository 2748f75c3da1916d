//! `kusabi audit`: replays a ledger from its genesis and compares every root and signature.

use std::path::{Path, PathBuf};

use kusabi_node::engine::{Audit, AuditError, audit};
use serde::Serialize;

use crate::{
    backup_file,
    connection::Connection,
    exit::Exit,
    failure::{Failure, Result},
    page::{Answer, Page, grouped, instant},
    progress,
    session::Session,
};

/// Replay the ledger from its genesis; every root and every signature is compared
///
/// Of the running node that the profile or --ledger names, of a backup, or of a stopped node's directory. The state is
/// built anew in a temporary folder ($TMPDIR), which needs about as much room as the ledger.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A backup
    file: Option<PathBuf>,
    /// Directory of a stopped node
    #[arg(long, value_name = "DIR", conflicts_with_all = ["file", "ledger"])]
    data: Option<PathBuf>,
}

#[derive(Serialize)]
struct Audited {
    good: bool,
    chain: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocks: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transactions: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl Answer for Audited {
    fn page(&self, page: &mut Page) {
        match &self.why {
            None => page.good(
                "Sound:",
                "every block follows from the genesis by the ledger's rules",
            ),
            Some(why) => page.bad("Not sound:", why),
        };
        page.field("chain", &*self.chain)
            .field_if("blocks", self.blocks.map(grouped))
            .field_if("transactions", self.transactions.map(grouped))
            .field_if(
                "up to",
                self.height
                    .map(|height| format!("block {}", grouped(height))),
            )
            .field_if("time", self.time_ms.map(instant))
            .field_if("state root", self.state_root.as_deref());
    }
}

/// A folder that goes away with the audit.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("kusabi-audit-{}", std::process::id()));
        crate::files::make_folder(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left is only a copy of what is public.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let scratch = Scratch::new()?;
    let copy = scratch.0.join("blocks");
    let file = match (&args.file, &args.data) {
        (Some(file), _) => file,
        (None, Some(data)) => {
            backup_file::from_directory(data, &copy)?;
            &copy
        }
        (None, None) => {
            backup_file::from_ledger(&Connection::open(session)?, &copy, session.output())?;
            &copy
        }
    };
    let extent = backup_file::extent(file)?;
    if let Some(chain) = session
        .named_chain()?
        .filter(|chain| *chain != extent.chain)
    {
        return Err(Failure::new(
            Exit::OtherChain,
            format!(
                "{} is of the ledger {}, not of {chain}",
                file.display(),
                extent.chain
            ),
        ));
    }
    let audited = match replay(&scratch.0.join("state"), file, extent.blocks, session)? {
        Ok(audit) => Audited {
            good: true,
            chain: extent.chain.to_string(),
            blocks: Some(audit.blocks),
            transactions: Some(audit.transactions),
            height: Some(audit.last.height.get()),
            time_ms: Some(audit.last.time_ms),
            state_root: Some(audit.last.state_root.to_string()),
            why: None,
        },
        Err(why) => Audited {
            good: false,
            chain: extent.chain.to_string(),
            blocks: None,
            transactions: None,
            height: None,
            time_ms: None,
            state_root: None,
            why: Some(why),
        },
    };
    session.output().say(&audited)?;
    Ok(if audited.good {
        Exit::Ok
    } else {
        Exit::Negative
    })
}

/// The audit, or the sentence about the first difference.
fn replay(
    scratch: &Path,
    file: &Path,
    blocks: u64,
    session: &Session,
) -> Result<Result<Audit, String>> {
    let bar = progress::bar(session.output(), "Replaying", blocks);
    let outcome = audit(
        scratch,
        backup_file::outline(file)?,
        backup_file::open(file)?,
        |_| bar.inc(1),
    );
    bar.finish_and_clear();
    match outcome {
        Ok(audit) => Ok(Ok(audit)),
        Err(AuditError::Backup(why)) => Err(backup_file::failure(file, &why)),
        Err(AuditError::Engine(why)) => Err(Failure::new(
            Exit::File,
            format!("the audit's own copy of the state fails: {why}"),
        )
        .advise("is there room in $TMPDIR?")),
        Err(why) => Ok(Err(why.to_string())),
    }
}
