//! `kusabi audit [FILE]`: replays a ledger from its genesis and compares every root and signature, and the whole with what this machine
//! has verified before.

use std::path::{Path, PathBuf};

use kusabi_core::{anchor::Anchor, header::Header, id::ChainId};
use kusabi_node::engine::{Audit, AuditError, audit};
use serde::Serialize;

use crate::{
    backup_file,
    connection::Connection,
    exit::Exit,
    failure::{Failure, Result},
    floor::Floor,
    page::{Answer, Page, grouped, instant},
    progress,
    session::Session,
};

#[derive(Debug, clap::Args)]
#[group(id = "replay")]
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
    /// Height of the newest block that this machine has verified, where the history does not hold that block.
    #[serde(skip_serializing_if = "Option::is_none")]
    seen_above: Option<u64>,
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
            .field_if("state root", self.state_root.as_deref())
            .field_if(
                "not in it",
                self.seen_above.map(|height| {
                    format!(
                        "block {}, which this machine has verified: this copy is older, or a recovery left it out",
                        grouped(height)
                    )
                }),
            );
    }
}

/// What this machine knows of the ledger already, and what of it was met in a history.
struct Seen {
    anchor: Option<Anchor>,
    chain: ChainId,
    contradiction: Option<String>,
    /// Whether the anchor's block, or its epoch where no block of it was seen, has come by.
    met: bool,
}

impl Seen {
    /// `anchor` is of this chain, or there is none.
    fn new(anchor: Option<Anchor>, chain: ChainId) -> Self {
        Self {
            anchor,
            chain,
            contradiction: None,
            met: false,
        }
    }

    fn compare(&mut self, header: &Header) {
        let Some(anchor) = &self.anchor else {
            return;
        };
        if header.epoch == anchor.epoch() && header.set_hash != anchor.set_hash() {
            self.contradiction.get_or_insert_with(|| {
                format!(
                    "block {} is of another validator set of epoch {} than this machine has verified",
                    grouped(header.height.get()),
                    header.epoch.get()
                )
            });
        }
        // A recovery that began lower has other blocks at heights that were seen in an earlier epoch.
        if header.height == anchor.height() && header.epoch == anchor.epoch() {
            let other = anchor
                .header_hash()
                .is_some_and(|hash| hash != header.hash(&self.chain));
            if other {
                self.contradiction.get_or_insert_with(|| {
                    format!(
                        "block {} is not the one that this machine has verified",
                        grouped(header.height.get())
                    )
                });
            }
            self.met = true;
        }
        // After a recovery the floor is the height before its first block, which is no block.
        if anchor.header_hash().is_none() && header.epoch == anchor.epoch() {
            self.met = true;
        }
    }

    /// Height of the block that was verified and is not there.
    fn missing(&self) -> Option<u64> {
        let anchor = self.anchor.as_ref()?;
        (!self.met && anchor.height().get() > 0).then(|| anchor.height().get())
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    // A new folder with a name that nobody can guess; what is in it is a copy of what is public.
    let scratch = tempfile::Builder::new()
        .prefix("kusabi-audit-")
        .tempdir()
        .map_err(|error| Failure::io("created", &std::env::temp_dir(), &error))?;
    let copy = scratch.path().join("blocks");
    let mut seen = None;
    let file = match (&args.file, &args.data) {
        (Some(file), _) => file,
        (None, Some(data)) => {
            backup_file::from_directory(data, &copy)?;
            &copy
        }
        (None, None) => {
            let connection = Connection::open(session)?;
            // What was trusted before this node was asked: the copy ends at what it has proven since.
            seen = Some(connection.anchor());
            backup_file::from_ledger(&connection, &copy, session.output())?;
            &copy
        }
    };
    let extent = backup_file::extent(file)?;
    if let Some(chain) = session
        .known_chain()?
        .filter(|chain| *chain != extent.chain)
    {
        return Err(backup_file::of_another_chain(file, &extent.chain, &chain));
    }
    if seen.is_none() {
        seen = Floor::of(&extent.chain)?
            .read()?
            .map(|trust| *trust.anchor());
    }
    let mut seen = Seen::new(seen, extent.chain);
    let replayed = replay(
        &scratch.path().join("state"),
        file,
        extent.blocks,
        session,
        &mut seen,
    )?;
    let audit = replayed.and_then(|audit| match seen.contradiction.take() {
        None => Ok(audit),
        Some(why) => Err(why),
    });
    let last = audit.as_ref().ok().map(|audit| audit.last);
    let audited = Audited {
        good: audit.is_ok(),
        chain: extent.chain.to_string(),
        blocks: audit.as_ref().ok().map(|audit| audit.blocks),
        transactions: audit.as_ref().ok().map(|audit| audit.transactions),
        height: last.map(|last| last.height.get()),
        time_ms: last.map(|last| last.time_ms),
        state_root: last.map(|last| last.state_root.to_string()),
        seen_above: last.and_then(|_| seen.missing()),
        why: audit.err(),
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
    seen: &mut Seen,
) -> Result<Result<Audit, String>> {
    let bar = progress::bar(session.output(), "Replaying", blocks);
    let outcome = audit(
        scratch,
        backup_file::outline(file)?,
        backup_file::open(file)?,
        |header| {
            seen.compare(header);
            bar.inc(1);
        },
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
