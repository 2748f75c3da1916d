//! `kusabi recover`: the ledger goes on after its disk was lost (spec/proof.md, "Recovery").

use std::path::{Path, PathBuf};

use kusabi_core::{
    genesis::Genesis,
    handover::{RECOVERY_JUMP_MAX, RecoveryParts},
    header::Header,
    id::{ChainId, Epoch, Height},
    keystore::KeyStore as _,
    set::{EpochSet, EpochSetParts, OrganisationParts},
    suite::Purpose,
    tx::{Action, Draft},
};
use kusabi_node::{
    directory::{Directory, VoteKey},
    outline::Outline,
};
use rand_core::Rng as _;
use serde::Serialize;

use crate::{
    backup_file,
    exit::Exit,
    failure::{Failure, Result},
    floor::Floor,
    founding::{Places, verification_key},
    keyfile::KeyFile,
    page::{Answer, Page, grouped},
    session::Session,
    verb::{node::directory_failure, restore::restored},
};

/// How far above the backup the ledger goes on by default: more blocks than any device can have seen since a backup of
/// years ago.
const JUMP: u64 = 1_000_000_000;

/// Go on with a ledger whose disk or vote key was lost, signed by the recovery key
///
/// Makes a new vote key and a new epoch. No device needs a visit: each follows the recovery at its next contact.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory of the ledger: a restored one, or a new one with --backup
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Restore this backup first
    #[arg(long, value_name = "FILE")]
    backup: Option<PathBuf>,
    /// File of the recovery key
    #[arg(long, value_name = "KEYFILE")]
    key: PathBuf,
    /// Height of the first new block, above every height that a device may have seen [default: a billion above the backup]
    #[arg(long, value_name = "HEIGHT")]
    from: Option<u64>,
}

#[derive(Serialize)]
struct Recovered {
    data: PathBuf,
    chain: String,
    epoch: u64,
    last_kept: u64,
    from: u64,
}

impl Answer for Recovered {
    fn page(&self, page: &mut Page) {
        page.good(
            "Recovered",
            &format!("the ledger in {}", self.data.display()),
        )
        .field("chain", &*self.chain)
        .field("kept", format!("up to block {}", grouped(self.last_kept)))
        .field(
            "goes on",
            format!("at block {}, in epoch {}", grouped(self.from), self.epoch),
        )
        .gap()
        .text(
            "What was registered after that block is lost: register it again. Now start the node:",
        )
        .command(&format!("kusabi node run --data {}", self.data.display()));
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<()> {
    let key = KeyFile::read(&args.key)?;
    if key.purpose() != Purpose::Recovery {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "{} is a {} key, and a recovery key is needed",
                args.key.display(),
                key.purpose()
            ),
        )
        .advise("the first start wrote it to keys/recovery.key"));
    }
    let places = Places::new(&args.data);
    if let Some(backup) = &args.backup {
        drop(restored(
            backup,
            &args.data,
            session.named_chain()?.as_ref(),
        )?);
    }
    let last = last_block(&args.data)?;
    let mut directory = Directory::open(&places.node()).map_err(|why| directory_failure(&why))?;
    let chain = *directory.outline().chain();
    let from = first_height(args, &chain, &last)?;

    let mut seed = [0; 32];
    session.rng().fill_bytes(&mut seed);
    let vote_key = VoteKey::new(seed);
    let epoch = Epoch::new(directory.outline().newest().number.get() + 1);
    let parts = RecoveryParts {
        from,
        parent_height: last.height,
        parent_hash: last.hash(&chain),
        next_set: next_set(directory.outline(), epoch, &vote_key)?,
    };
    let recovery = signed(&parts, directory.outline(), &key, &args.key)?;
    let transaction = Draft::new(chain, Action::Recovery { recovery })
        .and_then(Draft::finish)
        .map_err(|why| wrong(&why))?;
    directory
        .recover(transaction.as_bytes().to_vec().into(), &vote_key)
        .map_err(|why| directory_failure(&why))?;
    session.output().say(&Recovered {
        data: args.data.clone(),
        chain: chain.to_string(),
        epoch: epoch.get(),
        last_kept: last.height.get(),
        from: from.get(),
    })
}

/// The newest block in a directory.
fn last_block(data: &Path) -> Result<Header> {
    let copy = data.join("recovering.backup");
    // Left by a run that was stopped here.
    let _ = std::fs::remove_file(&copy);
    backup_file::from_directory(data, &copy)?;
    let extent = backup_file::extent(&copy);
    let _ = std::fs::remove_file(&copy);
    extent.map(|extent| extent.last)
}

fn first_height(args: &Args, chain: &ChainId, last: &Header) -> Result<Height> {
    // What this machine has seen itself is a height that others may have seen too. Farther up than a recovery reaches no
    // honest ledger was: such a floor was lifted with a stolen vote key, and the recovery brings it down.
    let seen = Floor::of(chain)?
        .read()?
        .map(|trust| trust.anchor().height().get())
        .filter(|seen| seen - seen.min(&last.height.get()) < RECOVERY_JUMP_MAX)
        .unwrap_or(0);
    let lowest = last.height.get().max(seen) + 1;
    let from = args
        .from
        .unwrap_or_else(|| last.height.get().saturating_add(JUMP).max(lowest));
    if from < lowest {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "--from {from} is not above block {}, which was seen",
                lowest - 1
            ),
        )
        .advise("no height is used twice: choose one above all that devices may have seen"));
    }
    Height::new(from).map_err(|why| Failure::new(Exit::Usage, format!("--from: {why}")))
}

/// The same organisations and officers, with one new validator.
fn next_set(outline: &Outline, epoch: Epoch, vote_key: &VoteKey) -> Result<Vec<u8>> {
    let set = EpochSet::decode(&outline.newest().set).map_err(|why| wrong(&why))?;
    if set.validator_count() != 1 {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "the ledger has {} validators; this command recovers those with one",
                set.validator_count()
            ),
        )
        .advise("the organisations agree on the next validators and sign the recovery together"));
    }
    let validator = set.validators().next();
    let organisations = set
        .organisations()
        .enumerate()
        .map(|(index, organisation)| OrganisationParts {
            id: organisation.id,
            threshold: u8::try_from(organisation.officers.threshold()).unwrap_or(u8::MAX),
            officers: (0..organisation.officers.len())
                .filter_map(|officer| organisation.officers.key(officer))
                .collect(),
            vote_keys: validator
                .filter(|validator| usize::from(validator.organisation) == index)
                .map(|_| vote_key.public())
                .into_iter()
                .collect(),
        })
        .collect();
    EpochSetParts {
        epoch,
        organisations,
    }
    .encode()
    .map_err(|why| wrong(&why))
}

fn signed(parts: &RecoveryParts, outline: &Outline, key: &KeyFile, path: &Path) -> Result<Vec<u8>> {
    let genesis = Genesis::decode(outline.document()).map_err(|why| wrong(&why))?;
    let set = genesis.recovery_set();
    let public = verification_key(key)?;
    let signatories = set.signatories();
    let index = (0..signatories.len())
        .find(|index| signatories.key(*index) == Some(public))
        .and_then(|index| u8::try_from(index).ok())
        .ok_or_else(|| {
            Failure::new(
                Exit::OtherChain,
                format!("{} is no recovery key of this ledger", path.display()),
            )
            .advise("the genesis document names the recovery keys for ever; find the file of this ledger's founding")
        })?;
    if signatories.threshold() != 1 {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "this ledger needs {} recovery keys, and one was given",
                signatories.threshold()
            ),
        ));
    }
    let statement = parts
        .statement(outline.chain(), &public)
        .map_err(|why| wrong(&why))?;
    let signature = key.key().sign(&statement).map_err(|why| wrong(&why))?;
    parts
        .encode(set.as_bytes(), &[(index, signature)])
        .map_err(|why| wrong(&why))
}

fn wrong(why: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Internal, format!("no recovery could be made: {why}"))
}
