//! `kusabi recover --data DIR --key KEYFILE`: a ledger with one validator goes on.

use std::path::{Path, PathBuf};

use kusabi_core::{genesis::Genesis, id::OrgId, set::EpochSet, suite::VerificationKey};
use kusabi_node::{
    directory::{Directory, DirectoryError, VoteKey},
    outline::Outline,
};
use rand_core::Rng as _;
use serde::Serialize;

use super::{
    basis::{Basis, Choice, survey},
    of_another_ledger, recovery_key, sign, wrong,
};
use crate::{
    backup_file,
    exit::Exit,
    failure::{Failure, Result},
    founding::{Places, verification_key},
    node_file::Seat,
    page::{Answer, Page, grouped, instant},
    session::Session,
    verb::{node::directory_failure, restore::restored},
};

#[derive(Debug, clap::Args)]
#[group(id = "alone")]
pub(crate) struct Args {
    /// Directory of the ledger: a restored one, or a new one with --backup
    #[arg(long, value_name = "DIR", required = true)]
    data: Option<PathBuf>,
    /// Restore this backup first
    #[arg(long, value_name = "FILE")]
    backup: Option<PathBuf>,
    /// File of the recovery key
    #[arg(long, value_name = "KEYFILE", required = true)]
    key: Option<PathBuf>,
    #[command(flatten)]
    choice: Choice,
}

#[derive(Serialize)]
struct Recovered {
    data: PathBuf,
    chain: String,
    epoch: u64,
    last_kept: u64,
    from: u64,
    /// Height of the newest block that this machine has verified, where it is lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    lost_up_to: Option<u64>,
    clock_ms: u64,
}

impl Answer for Recovered {
    fn page(&self, page: &mut Page) {
        page.good(
            "Recovered",
            &format!("the ledger in {}", self.data.display()),
        )
        .field("chain", &*self.chain)
        .field("kept", format!("up to block {}", grouped(self.last_kept)))
        .field_if(
            "lost",
            self.lost_up_to.map(|height| {
                format!(
                    "what came after it, up to block {} or further",
                    grouped(height)
                )
            }),
        )
        .field(
            "goes on",
            format!("at block {}, in epoch {}", grouped(self.from), self.epoch),
        )
        .field("clock", instant(self.clock_ms))
        .gap()
        .text(
            "What was registered after that block is lost: register it again. Now start the node:",
        )
        .command(&format!("kusabi node run --data {}", self.data.display()));
    }
}

pub(super) fn run(args: &Args, session: &Session) -> Result<()> {
    // Required, but for the verbs of several validators.
    let (Some(data), Some(path)) = (&args.data, &args.key) else {
        return Err(wrong(&"--data and --key were not given"));
    };
    let key = recovery_key(path)?;
    let mut directory = open(data, args.backup.as_deref(), session)?;
    let (owner, is_known) = only_one(directory.outline(), &verification_key(&key)?)?;
    // Before anything that would be answered with another option.
    if !is_known {
        return Err(of_another_ledger(path));
    }
    let mut seed = [0; 32];
    session.rng().fill_bytes(&mut seed);
    let vote_key = VoteKey::new(seed);
    let seat = Seat {
        // A lone validator has no peers that would have to find it.
        address: String::new(),
        vote_key: vote_key.public(),
        node_key: directory.node_key().public(),
    };
    // Where there is one, it is the backup that ends too early; the directory was made of it.
    let what = args.backup.as_ref().unwrap_or(data);
    let Basis {
        mut recovering,
        last,
        lost_up_to,
        clock_ms,
        ..
    } = Basis::new(&directory, what, &args.choice, &[(owner, seat)], session)?;
    sign(&mut recovering, &key, path)?;
    let transaction = recovering.transaction()?;
    directory
        .recover(transaction.as_bytes().to_vec().into(), &vote_key)
        .map_err(|why| directory_failure(&why))?;
    session.output().say(&Recovered {
        data: data.clone(),
        chain: recovering.chain.to_string(),
        epoch: recovering.next()?.epoch().get(),
        last_kept: last.height.get(),
        from: recovering.parts.from.get(),
        lost_up_to,
        clock_ms,
    })
}

/// The directory to go on with; with --backup a new one, or the one that an interrupted run has restored from it.
fn open(data: &Path, backup: Option<&Path>, session: &Session) -> Result<Directory> {
    let node = Places::new(data).node();
    let Some(backup) = backup else {
        return Directory::open(&node).map_err(|why| directory_failure(&why));
    };
    let directory = match Directory::open(&node) {
        Ok(directory) => directory,
        Err(DirectoryError::NoLedger(_)) => {
            return restored(backup, data, session.known_chain()?.as_ref());
        }
        Err(why) => return Err(directory_failure(&why)),
    };
    let extent = backup_file::extent(backup)?;
    let (last, _) = survey(&directory)?;
    if *directory.outline().chain() != extent.chain || last != extent.last {
        return Err(Failure::new(
            Exit::File,
            format!(
                "{} holds a ledger already, up to block {}, and {} ends at another block",
                data.display(),
                grouped(last.height.get()),
                backup.display()
            ),
        )
        .advise("leave --backup out to recover what is there, or name a new directory"));
    }
    Ok(directory)
}

/// Whose the only validator is, and whether this is a recovery key of the ledger.
fn only_one(outline: &Outline, key: &VerificationKey) -> Result<(OrgId, bool)> {
    let several = |what: String| {
        Failure::new(Exit::Usage, what).advise(
            "the organisations name the next validators together: kusabi recover new, sign and finish (docs/consortium.md)",
        )
    };
    let set = EpochSet::decode(&outline.newest().set).map_err(|why| wrong(&why))?;
    let mut validators = set.validators();
    let (Some(only), None) = (validators.next(), validators.next()) else {
        return Err(several(format!(
            "the ledger has {} validators, and this recovers one",
            set.validator_count()
        )));
    };
    let genesis = Genesis::decode(outline.document()).map_err(|why| wrong(&why))?;
    let keys = genesis.recovery_set().signatories();
    let is_known = (0..keys.len()).any(|index| keys.key(index) == Some(*key));
    let threshold = keys.threshold();
    if threshold != 1 {
        return Err(several(format!(
            "this ledger needs {threshold} recovery keys, and one was given"
        )));
    }
    set.organisation(usize::from(only.organisation))
        .map(|organisation| (organisation.id, is_known))
        .ok_or_else(|| wrong(&"its validator belongs to nobody"))
}
