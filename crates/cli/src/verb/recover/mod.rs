//! `kusabi recover`: the ledger goes on after its disks were lost (spec/proof.md, "Recovery").
//!
//! A ledger with one validator is recovered in one step, where its recovery key is. Among several, files travel and keys do not, as
//! in an appointment: `new` names the block that survived and the next validators, `sign` is done where each recovery key is,
//! `finish` by each organisation in its node's directory.

mod alone;
mod basis;
mod compare;
mod finish;
mod new;
mod show;
mod sign;

use std::path::Path;

use kusabi_core::{keystore::KeyStore as _, suite::Purpose};

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    founding::verification_key,
    keyfile::KeyFile,
    recovering::Recovering,
    session::Session,
};

/// Go on with a ledger whose disks or vote keys were lost, signed by its recovery keys
///
/// Names new vote keys and begins a new epoch. No device needs a visit: each follows the recovery at its next contact. A ledger with
/// one validator: --data and --key, and all is done. One with several: kusabi recover new, sign and finish.
///
/// The new epoch's number is the time in milliseconds since 1970, and the height of its first block that since the founding,
/// so that two recoveries from one backup, which know nothing of each other, do not meet: have the clock right. Interrupted,
/// the same command goes on where it stopped.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    several: Option<Verb>,
    #[command(flatten)]
    alone: alone::Args,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    New(new::Args),
    Show(show::Args),
    Sign(sign::Args),
    Finish(finish::Args),
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<()> {
    match &args.several {
        Some(Verb::New(args)) => new::run(args, session),
        Some(Verb::Show(args)) => show::run(args, session),
        Some(Verb::Sign(args)) => sign::run(args, session),
        Some(Verb::Finish(args)) => finish::run(args, session),
        None => alone::run(&args.alone, session),
    }
}

fn recovery_key(path: &Path) -> Result<KeyFile> {
    let key = KeyFile::read(path)?;
    if key.purpose() == Purpose::Recovery {
        return Ok(key);
    }
    Err(Failure::new(
        Exit::Usage,
        format!(
            "{} holds a key of purpose {}, and a recovery key is needed",
            path.display(),
            key.purpose()
        ),
    )
    .advise("kusabi up and kusabi org init wrote it to keys/recovery.key"))
}

fn of_another_ledger(path: &Path) -> Failure {
    Failure::new(
        Exit::OtherChain,
        format!("{} is no recovery key of this ledger", path.display()),
    )
    .advise("the genesis document names the recovery keys for ever; find the file of this ledger's founding")
}

/// Adds the signature of a recovery key.
fn sign(recovering: &mut Recovering, key: &KeyFile, path: &Path) -> Result<()> {
    let public = verification_key(key)?;
    let index = recovering
        .index_of(&public)?
        .ok_or_else(|| of_another_ledger(path))?;
    let statement = recovering
        .parts
        .statement(&recovering.chain, &public)
        .map_err(|why| wrong(&why))?;
    let signature = key.key().sign(&statement).map_err(|why| wrong(&why))?;
    recovering.add(index, signature);
    Ok(())
}

fn wrong(why: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Internal, format!("no recovery could be made: {why}"))
}
