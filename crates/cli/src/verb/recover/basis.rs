//! What a recovery starts from: the newest block that survived, what was seen beyond it, and who validates next.

use std::path::Path;

use kusabi_core::{
    genesis::Genesis,
    handover::{RECOVERY_JUMP_MAX, RecoveryParts},
    header::Header,
    id::{ChainId, Epoch, Height, NodesHash, OrgId},
    nodes::{NodeParts, nodes_of},
    set::{EpochSet, EpochSetParts, OrganisationParts},
    suite::VerificationKey,
    tx::Transaction,
};
use kusabi_node::{backup::read_stopped, directory::Directory, engine::Tail, outline::Outline};

use super::wrong;
use crate::{
    backup_file,
    exit::Exit,
    failure::{Failure, Result},
    floor::Floor,
    node_file::Seat,
    officers::Officers,
    page::{grouped, instant},
    recovering::Recovering,
    session::Session,
};

/// How far a machine's clock may be behind the newest block, in milliseconds: as far as a header's time may run ahead.
const CLOCK_BEHIND_MS_MAX: u64 = 60 * 60 * 1_000;

/// How far above what was, or the time in milliseconds, a recovery's epoch may be: so a typing error costs one of the 256 such jumps
/// that there are ([`RECOVERY_EPOCH_MAX`](kusabi_core::handover::RECOVERY_EPOCH_MAX)).
const EPOCH_JUMP_MAX: u64 = 1 << 48;

/// The numbers that a recovery chooses, and what it gives up.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Choice {
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

/// A recovery before anybody has signed it, and what it loses.
pub(super) struct Basis {
    pub(super) recovering: Recovering,
    /// Whose names and officers the blocks say.
    pub(super) officers: Officers,
    /// The newest block that survived.
    pub(super) last: Header,
    /// Height of the newest block that this machine has verified, where it is lost.
    pub(super) lost_up_to: Option<u64>,
    pub(super) clock_ms: u64,
}

impl Basis {
    /// Goes on from the newest block in a directory, with these nodes. `what` holds that block, in the eyes of whoever asks.
    pub(super) fn new(
        directory: &Directory,
        what: &Path,
        choice: &Choice,
        seats: &[(OrgId, Seat)],
        session: &Session,
    ) -> Result<Self> {
        let outline = directory.outline();
        let chain = *outline.chain();
        let (last, officers) = survey(directory)?;
        let seen = Seen::of(&chain, &last, outline)?;
        seen.accepted(choice, &last, what)?;
        let clock_ms = session.now_ms();
        let before = Before {
            kept: last.height.get(),
            height: last.height.get().max(seen.within_reach(&last)),
            epoch: outline.newest().number.get().max(seen.epoch),
            time_ms: last.time_ms,
            created_ms: outline.created_ms(),
        };
        let (from, epoch) = before.numbers(choice, clock_ms)?;
        let (next_set, nodes) = next(outline, &officers, epoch, seats)?;
        let genesis = Genesis::decode(outline.document()).map_err(|why| wrong(&why))?;
        let recovering = Recovering {
            chain,
            parts: RecoveryParts {
                from,
                parent_height: last.height,
                parent_hash: last.hash(&chain),
                nodes_hash: NodesHash::of(&nodes),
                next_set,
            },
            recovery_set: genesis.recovery_set().as_bytes().to_vec(),
            signatures: Vec::new(),
            nodes,
        };
        Ok(Self {
            recovering,
            officers,
            last,
            lost_up_to: seen.lost.then_some(seen.height),
            clock_ms,
        })
    }
}

/// The newest block in a directory, and the officers in force there.
pub(super) fn survey(directory: &Directory) -> Result<(Header, Officers)> {
    let genesis = Genesis::decode(directory.outline().document()).map_err(|why| wrong(&why))?;
    let mut officers = Officers::new(&genesis).map_err(|why| wrong(&why))?;
    let mut last = None;
    let mut malformed = None;
    let tail = read_stopped(directory, |block| {
        let Header {
            height, time_ms, ..
        } = block.header;
        for bytes in &block.transactions {
            let followed = Transaction::decode(bytes)
                .map_err(|why| why.to_string())
                .and_then(|transaction| {
                    let founded = genesis.epoch_set();
                    let followed = officers.follow(&transaction, founded, height, time_ms);
                    followed.map_err(|why| why.to_string())
                });
            if let (Err(why), None) = (followed, &malformed) {
                malformed = Some((height, why));
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

    fn accepted(&self, choice: &Choice, last: &Header, what: &Path) -> Result<()> {
        if !self.lost || choice.accept_loss {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Usage,
            format!(
                "this machine has verified block {} in epoch {}, and {} ends at block {} in epoch {}",
                grouped(self.height),
                self.epoch,
                what.display(),
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

/// The highest epoch that a recovery may open after this one, at this time.
pub(super) fn farthest_epoch(newest: u64, now_ms: u64) -> u64 {
    newest.max(now_ms).saturating_add(EPOCH_JUMP_MAX)
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
    fn numbers(&self, choice: &Choice, clock_ms: u64) -> Result<(Height, Epoch)> {
        let by_clock = choice.from.is_none() || choice.above_epoch.is_none();
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
        let epoch = match choice.above_epoch {
            Some(above) => self.epoch.max(above).saturating_add(1),
            None => self.epoch.saturating_add(1).max(now_ms),
        };
        if epoch > farthest_epoch(self.epoch, now_ms) {
            return Err(Failure::new(
                Exit::Usage,
                format!("epoch {epoch} is more than 2^48 above every one that can have been"),
            )
            .advise(
                "look for a typing error in --above-epoch: numbers that are jumped over are gone for good",
            ));
        }
        let highest = self.kept.saturating_add(RECOVERY_JUMP_MAX);
        // 34 years; what is farther was founded by a wrong clock.
        let age_ms = now_ms.saturating_sub(self.created_ms).min(highest);
        let from = choice
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

/// The same organisations, with the officers in force and these validators.
pub(super) fn organisations(
    outline: &Outline,
    officers: &Officers,
    seats: &[(OrgId, Seat)],
) -> Result<Vec<OrganisationParts>> {
    let set = EpochSet::decode(&outline.newest().set).map_err(|why| wrong(&why))?;
    let votes_of = |id: &OrgId| {
        let of = seats.iter().filter(|(org, _)| org == id);
        of.map(|(_, seat)| seat.vote_key).collect()
    };
    Ok(set
        .organisations()
        .map(|organisation| {
            let named: Vec<VerificationKey> = (0..organisation.officers.len())
                .filter_map(|officer| organisation.officers.key(officer))
                .collect();
            OrganisationParts {
                id: organisation.id,
                threshold: u8::try_from(organisation.officers.threshold()).unwrap_or(u8::MAX),
                // A key that was revoked or withdrawn signs no handover of the new epoch.
                officers: officers.of(&organisation.id, &named),
                vote_keys: votes_of(&organisation.id),
            }
        })
        .collect())
}

/// The set of the epoch that follows, and its nodes.
pub(super) fn next(
    outline: &Outline,
    officers: &Officers,
    epoch: Epoch,
    seats: &[(OrgId, Seat)],
) -> Result<(Vec<u8>, Vec<u8>)> {
    let organisations = organisations(outline, officers, seats)?;
    let impossible = |why: &dyn std::fmt::Display| {
        Failure::new(
            Exit::Usage,
            format!("no validators can be made of these: {why}"),
        )
    };
    let next_set = EpochSetParts {
        epoch,
        organisations,
    }
    .encode()
    .map_err(|why| impossible(&why))?;
    let nodes: Vec<_> = seats
        .iter()
        .map(|(_, seat)| NodeParts {
            vote_key: seat.vote_key,
            key: seat.node_key,
            address: &seat.address,
        })
        .collect();
    let decoded = EpochSet::decode(&next_set).map_err(|why| impossible(&why))?;
    let nodes = nodes_of(&decoded, &nodes).map_err(|why| impossible(&why))?;
    Ok((next_set, nodes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-26.
    const NOW_MS: u64 = 1_795_700_000_000;

    fn choice(from: Option<u64>, above_epoch: Option<u64>) -> Choice {
        Choice {
            from,
            above_epoch,
            accept_loss: false,
        }
    }

    fn numbers(before: &Before, choice: &Choice, clock_ms: u64) -> Result<(u64, u64), Exit> {
        before
            .numbers(choice, clock_ms)
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
        let by_clock = choice(None, None);
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
            numbers(&before, &choice(None, None), behind),
            Ok((2_000_000, NOW_MS))
        );
        for half in [
            choice(None, None),
            choice(Some(9), None),
            choice(None, Some(9)),
        ] {
            assert_eq!(numbers(&before, &half, 1_000), Err(Exit::Usage));
        }
        assert_eq!(
            numbers(&before, &choice(Some(9), Some(5)), 1_000),
            Ok((9, 6))
        );
        assert_eq!(
            numbers(&before, &choice(Some(9), Some(1)), 1_000),
            Ok((9, 3))
        );
        assert_eq!(
            numbers(&before, &choice(Some(4), Some(1)), 1_000),
            Err(Exit::Usage)
        );
        assert_eq!(
            numbers(&before, &choice(Some(1 << 48), Some(1)), 1_000),
            Err(Exit::Usage)
        );
        // So far, and no farther.
        let farthest = NOW_MS + (1 << 48);
        assert_eq!(
            numbers(&before, &choice(Some(9), Some(farthest - 1)), 1_000),
            Ok((9, farthest))
        );
        for above in [farthest, u64::MAX] {
            assert_eq!(
                numbers(&before, &choice(Some(9), Some(above)), 1_000),
                Err(Exit::Usage)
            );
        }
    }
}
