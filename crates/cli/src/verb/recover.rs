//! `kusabi recover`: the ledger goes on after its disk was lost (spec/proof.md, "Recovery").

use std::path::{Path, PathBuf};

use kusabi_core::{
    genesis::Genesis,
    handover::{RECOVERY_JUMP_MAX, RecoveryParts},
    header::Header,
    id::{ChainId, Epoch, Height},
    keystore::KeyStore as _,
    set::{EpochSet, EpochSetParts, OrganisationParts},
    suite::{Purpose, VerificationKey},
    tx::{Action, Draft, Transaction},
};
use kusabi_node::{
    backup::read_stopped,
    directory::{Directory, DirectoryError, VoteKey},
    engine::Tail,
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
    officers::Officers,
    page::{Answer, Page, grouped, instant},
    session::Session,
    verb::{node::directory_failure, restore::restored},
};

/// How far a machine's clock may be behind the newest block, in milliseconds: as far as a header's time may run ahead.
const CLOCK_BEHIND_MS_MAX: u64 = 60 * 60 * 1_000;

/// Go on with a ledger whose disk or vote key was lost, signed by the recovery key
///
/// Makes a new vote key and a new epoch. No device needs a visit: each follows the recovery at its next contact.
///
/// The new epoch's number is the time in milliseconds since 1970, and the height of its first block that since the founding,
/// so that two recoveries from one backup, which know nothing of each other, do not meet: have the clock right. Interrupted,
/// the same command goes on where it stopped.
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
    /// Height of the first new block, above every height that a device may have seen [default: milliseconds since the founding]
    #[arg(long, value_name = "HEIGHT")]
    from: Option<u64>,
    /// An epoch that a device may have seen; the new one's number is above it [default: milliseconds since 1970]
    #[arg(long, value_name = "EPOCH")]
    above_epoch: Option<u64>,
    /// Go on although this machine has verified blocks that are not in the directory and will be lost
    #[arg(long)]
    accept_loss: bool,
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
    let mut directory = open(args, session)?;
    let chain = *directory.outline().chain();
    let index = signatory(directory.outline(), &key, &args.key)?;
    let (last, officers) = survey(&directory)?;
    let seen = Seen::of(&chain, &last, directory.outline())?;
    seen.accepted(args, &last)?;
    let clock_ms = session.now_ms();
    let before = Before {
        kept: last.height.get(),
        height: last.height.get().max(seen.within_reach(&last)),
        epoch: directory.outline().newest().number.get().max(seen.epoch),
        time_ms: last.time_ms,
        created_ms: directory.outline().created_ms(),
    };
    let (from, epoch) = before.numbers(args, clock_ms)?;

    let mut seed = [0; 32];
    session.rng().fill_bytes(&mut seed);
    let vote_key = VoteKey::new(seed);
    let parts = RecoveryParts {
        from,
        parent_height: last.height,
        parent_hash: last.hash(&chain),
        next_set: next_set(directory.outline(), &officers, epoch, &vote_key)?,
    };
    let recovery = signed(&parts, directory.outline(), index, &key)?;
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
        lost_up_to: seen.lost.then_some(seen.height),
        clock_ms,
    })
}

/// The directory to go on with; with --backup a new one, or the one that an interrupted run has restored from it.
fn open(args: &Args, session: &Session) -> Result<Directory> {
    let node = Places::new(&args.data).node();
    let Some(backup) = &args.backup else {
        return Directory::open(&node).map_err(|why| directory_failure(&why));
    };
    let directory = match Directory::open(&node) {
        Ok(directory) => directory,
        Err(DirectoryError::NoLedger(_)) => {
            return restored(backup, &args.data, session.known_chain()?.as_ref());
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
                args.data.display(),
                grouped(last.height.get()),
                backup.display()
            ),
        )
        .advise("leave --backup out to recover what is there, or name a new directory"));
    }
    Ok(directory)
}

/// The newest block in a directory, and the officers in force there.
fn survey(directory: &Directory) -> Result<(Header, Officers)> {
    let genesis = Genesis::decode(directory.outline().document()).map_err(|why| wrong(&why))?;
    let mut officers = Officers::default();
    let mut last = None;
    let mut malformed = None;
    let tail = read_stopped(directory, |block| {
        for bytes in &block.transactions {
            match Transaction::decode(bytes) {
                Ok(transaction) => officers.follow(&transaction, genesis.epoch_set()),
                Err(why) => malformed = Some((block.header.height, why)),
            }
        }
        last = Some(block.header);
        Ok(())
    })
    .map_err(|why| backup_file::failure(directory.path(), &why))?;
    if tail == Tail::Cut {
        // The engine would find that block where the recovery's first one has to stand.
        return Err(Failure::new(
            Exit::Damaged,
            format!(
                "{} ends with a block whose certificate was not written",
                directory.path().display()
            ),
        )
        .advise(
            "copy it without that block and recover the copy: `kusabi backup FILE --data DIR`, then \
             `kusabi recover --data NEWDIR --backup FILE`; nobody was told of the block",
        ));
    }
    let damaged = |why: String| {
        Failure::new(
            Exit::Damaged,
            format!("{}: {why}", directory.path().display()),
        )
        .advise("restore a backup into a new directory")
    };
    match (last, malformed) {
        (_, Some((height, why))) => Err(damaged(format!("block {height}: {why}"))),
        (None, None) => Err(damaged("it holds no block".to_owned())),
        (Some(last), None) => Ok((last, officers)),
    }
}

/// What this machine has verified of the ledger: others may have seen it too.
struct Seen {
    height: u64,
    epoch: u64,
    /// Whether some of it is not in the directory.
    lost: bool,
}

impl Seen {
    fn of(chain: &ChainId, last: &Header, outline: &Outline) -> Result<Self> {
        let floor = Floor::of(chain)?.read()?;
        let Some(anchor) = floor.as_ref().map(|trust| trust.anchor()) else {
            return Ok(Self {
                height: 0,
                epoch: 0,
                lost: false,
            });
        };
        // A floor without a hash is the height before an epoch's first block, and no block.
        let block_lost = anchor.header_hash().is_some() && anchor.height() > last.height;
        Ok(Self {
            height: anchor.height().get(),
            epoch: anchor.epoch().get(),
            lost: block_lost || anchor.epoch() > outline.newest().number,
        })
    }

    /// The height that was seen. Farther up than a recovery reaches no honest ledger was: such a floor was lifted with a stolen
    /// vote key, and the recovery brings it down.
    fn within_reach(&self, last: &Header) -> u64 {
        let above = self.height.saturating_sub(last.height.get());
        if above < RECOVERY_JUMP_MAX {
            self.height
        } else {
            0
        }
    }

    fn accepted(&self, args: &Args, last: &Header) -> Result<()> {
        if !self.lost || args.accept_loss {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Usage,
            format!(
                "this machine has verified block {} in epoch {}, and {} ends at block {} in epoch {}",
                grouped(self.height),
                self.epoch,
                // Where there is one, it is the backup that ends too early; the directory was made of it.
                args.backup.as_ref().unwrap_or(&args.data).display(),
                grouped(last.height.get()),
                last.epoch.get()
            ),
        )
        .advise(
            "what came after it will be lost for good: look for a newer backup or another node's copy first; if there is none, \
             give --accept-loss",
        ))
    }
}

/// The highest numbers that are known to have been used.
struct Before {
    /// Height of the last block that survived.
    kept: u64,
    height: u64,
    epoch: u64,
    /// Of the newest block.
    time_ms: u64,
    /// Of the founding.
    created_ms: u64,
}

impl Before {
    /// Height of the first new block and number of the new epoch.
    ///
    /// Devices go on from what they have seen to a higher epoch only. What they have seen is not all in the backup: a
    /// recovery from the same one may have happened since, on a disk that was lost as well. The clock is what both have in
    /// common. A chain grows by less than one block a millisecond, so a height of “milliseconds since the founding” is above
    /// all that were made before, and so is an epoch of “milliseconds since 1970” (docs/rfd/0004).
    fn numbers(&self, args: &Args, clock_ms: u64) -> Result<(Height, Epoch)> {
        let by_clock = args.from.is_none() || args.above_epoch.is_none();
        if by_clock && clock_ms.saturating_add(CLOCK_BEHIND_MS_MAX) < self.time_ms {
            return Err(Failure::new(
                Exit::Usage,
                format!(
                    "this machine's clock says {}, and the newest block was made at {}",
                    instant(clock_ms),
                    instant(self.time_ms)
                ),
            )
            .advise(
                "set the clock; or give both --from HEIGHT and --above-epoch EPOCH, above all that a device may have seen",
            ));
        }
        let now_ms = clock_ms.max(self.time_ms);
        let epoch = match args.above_epoch {
            Some(above) => self.epoch.max(above).saturating_add(1),
            None => self.epoch.saturating_add(1).max(now_ms),
        };
        let highest = self.kept.saturating_add(RECOVERY_JUMP_MAX);
        // 34 years; what is farther was founded by a wrong clock.
        let age_ms = now_ms.saturating_sub(self.created_ms).min(highest);
        let from = args
            .from
            .unwrap_or_else(|| self.height.saturating_add(1).max(age_ms));
        if from <= self.height {
            return Err(Failure::new(
                Exit::Usage,
                format!(
                    "--from {from} is not above block {}, which was seen",
                    grouped(self.height)
                ),
            )
            .advise(
                "devices refuse to go back: choose a height above all that they may have seen",
            ));
        }
        if from > highest {
            return Err(Failure::new(
                Exit::Usage,
                format!("block {from} is more than 2^40 heights above the last one that survived"),
            )
            .advise(
                "look for a typing error in --from: heights that are jumped over are gone for good",
            ));
        }
        let from =
            Height::new(from).map_err(|why| Failure::new(Exit::Usage, format!("--from: {why}")))?;
        Ok((from, Epoch::new(epoch)))
    }
}

/// The same organisations, with the officers in force and one new validator.
fn next_set(
    outline: &Outline,
    officers: &Officers,
    epoch: Epoch,
    vote_key: &VoteKey,
) -> Result<Vec<u8>> {
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
        .map(|(index, organisation)| {
            let named: Vec<VerificationKey> = (0..organisation.officers.len())
                .filter_map(|officer| organisation.officers.key(officer))
                .collect();
            OrganisationParts {
                id: organisation.id,
                threshold: u8::try_from(organisation.officers.threshold()).unwrap_or(u8::MAX),
                // A key that was revoked or withdrawn signs no handover of the new epoch.
                officers: officers.of(&organisation.id, &named),
                vote_keys: validator
                    .filter(|validator| usize::from(validator.organisation) == index)
                    .map(|_| vote_key.public())
                    .into_iter()
                    .collect(),
            }
        })
        .collect();
    EpochSetParts {
        epoch,
        organisations,
    }
    .encode()
    .map_err(|why| wrong(&why))
}

/// The index of the key in the ledger's recovery set.
fn signatory(outline: &Outline, key: &KeyFile, path: &Path) -> Result<u8> {
    let genesis = Genesis::decode(outline.document()).map_err(|why| wrong(&why))?;
    let signatories = genesis.recovery_set().signatories();
    let public = verification_key(key)?;
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
    Ok(index)
}

fn signed(parts: &RecoveryParts, outline: &Outline, index: u8, key: &KeyFile) -> Result<Vec<u8>> {
    let genesis = Genesis::decode(outline.document()).map_err(|why| wrong(&why))?;
    let statement = parts
        .statement(outline.chain(), &verification_key(key)?)
        .map_err(|why| wrong(&why))?;
    let signature = key.key().sign(&statement).map_err(|why| wrong(&why))?;
    parts
        .encode(genesis.recovery_set().as_bytes(), &[(index, signature)])
        .map_err(|why| wrong(&why))
}

fn wrong(why: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Internal, format!("no recovery could be made: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-26.
    const NOW_MS: u64 = 1_795_700_000_000;

    fn args(from: Option<u64>, above_epoch: Option<u64>) -> Args {
        Args {
            data: PathBuf::new(),
            backup: None,
            key: PathBuf::new(),
            from,
            above_epoch,
            accept_loss: false,
        }
    }

    fn numbers(before: &Before, args: &Args, clock_ms: u64) -> Result<(u64, u64), Exit> {
        before
            .numbers(args, clock_ms)
            .map(|(from, epoch)| (from.get(), epoch.get()))
            .map_err(|failure| failure.exit())
    }

    #[test]
    fn the_clock_keeps_recoveries_apart_that_know_nothing_of_each_other() {
        let backup = Before {
            kept: 4,
            height: 4,
            epoch: 0,
            time_ms: NOW_MS - 1_000_000,
            created_ms: NOW_MS - 2_000_000,
        };
        let by_clock = args(None, None);
        let first = numbers(&backup, &by_clock, NOW_MS).unwrap();
        assert_eq!(first, (2_000_000, NOW_MS));
        // A minute later, after thousands of blocks of the first.
        let second = numbers(&backup, &by_clock, NOW_MS + 60_000).unwrap();
        assert!(second.0 > first.0 + 50_000 && second.1 > first.1);
        // What is known counts where the clock says less.
        let known = Before {
            height: 3_000_000,
            epoch: NOW_MS,
            ..backup
        };
        assert_eq!(
            numbers(&known, &by_clock, NOW_MS),
            Ok((3_000_001, NOW_MS + 1))
        );
        // A founding in 1970 leaves heights for later.
        let wrong = Before {
            created_ms: 0,
            ..backup
        };
        assert_eq!(
            numbers(&wrong, &by_clock, NOW_MS),
            Ok((4 + RECOVERY_JUMP_MAX, NOW_MS))
        );
    }

    #[test]
    fn a_clock_that_is_behind_the_newest_block_is_not_believed() {
        let before = Before {
            kept: 4,
            height: 4,
            epoch: 2,
            time_ms: NOW_MS,
            created_ms: NOW_MS - 2_000_000,
        };
        // As far as a header may be ahead, the newest block's time is the better clock.
        let behind = NOW_MS - CLOCK_BEHIND_MS_MAX;
        assert_eq!(
            numbers(&before, &args(None, None), behind),
            Ok((2_000_000, NOW_MS))
        );
        for half in [args(None, None), args(Some(9), None), args(None, Some(9))] {
            assert_eq!(numbers(&before, &half, 1_000), Err(Exit::Usage));
        }
        assert_eq!(numbers(&before, &args(Some(9), Some(5)), 1_000), Ok((9, 6)));
        assert_eq!(numbers(&before, &args(Some(9), Some(1)), 1_000), Ok((9, 3)));
        assert_eq!(
            numbers(&before, &args(Some(4), Some(1)), 1_000),
            Err(Exit::Usage)
        );
        assert_eq!(
            numbers(&before, &args(Some(1 << 48), Some(1)), 1_000),
            Err(Exit::Usage)
        );
    }
}
