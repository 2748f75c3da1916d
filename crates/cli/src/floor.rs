//! The floor: the newest anchor that was verified for a chain, with the validator set that it names.
//!
//! One file per chain under `anchors/` in kusabi's home: `anchor 144 ‖ set` (spec/proof.md). It is replaced as a whole and
//! never goes back, also when several commands run at once: not in epochs, and within an epoch not in heights. A recovery, which
//! begins a higher epoch, may bring the height down.

use std::{fs::File, path::PathBuf};

use kusabi_api::verify::Trust;
use kusabi_core::{anchor::Anchor, id::ChainId, set::EPOCH_SET_LEN_MAX};

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    page::grouped,
    profile,
};

/// The file of one chain.
pub(crate) struct Floor {
    chain: ChainId,
    path: PathBuf,
}

impl Floor {
    /// The floor of a chain; nothing is read yet.
    pub(crate) fn of(chain: &ChainId) -> Result<Self> {
        Ok(Self {
            chain: *chain,
            path: profile::home()?.join("anchors").join(chain.to_string()),
        })
    }

    /// What is stored; nothing for a chain that was never asked.
    pub(crate) fn read(&self) -> Result<Option<Trust>> {
        if !self.path.exists() {
            return Ok(None);
        }
        let bytes = files::read(&self.path, (Anchor::LEN + EPOCH_SET_LEN_MAX) as u64)?;
        let damaged = |why: &dyn std::fmt::Display| {
            Failure::new(
                Exit::Damaged,
                format!("{} is damaged: {why}", self.path.display()),
            )
            .advise(
                "bring it back from a copy; without it a node could show you an older state of the ledger \
                 than you have seen: delete it only if you accept that once",
            )
        };
        let (anchor, set) = bytes
            .split_at_checked(Anchor::LEN)
            .ok_or_else(|| damaged(&"it is too short"))?;
        let anchor = Anchor::decode(anchor).map_err(|why| damaged(&why))?;
        if anchor.chain() != self.chain {
            return Err(damaged(&"it is of another chain"));
        }
        Trust::stored(anchor, set.to_vec().into())
            .map(Some)
            .map_err(|why| damaged(&why))
    }

    /// Stores what was verified, unless another command has stored something newer.
    ///
    /// Two commands that run at once may have been told two histories: the second to come here finds the first one's block.
    pub(crate) fn raise(&self, trust: &Trust) -> Result<()> {
        let folder = self.path.parent().unwrap_or(&self.path);
        files::make_folder(folder)?;
        let lock_path = self.path.with_extension("lock");
        let locked = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .and_then(|file| file.lock().map(|()| file));
        let _lock = locked.map_err(|error| Failure::io("locked", &lock_path, &error))?;
        let place = |trust: &Trust| (trust.anchor().epoch(), trust.anchor().height());
        if let Some(stored) = self.read()? {
            if contradict(&stored, trust) {
                return Err(Failure::new(
                    Exit::Unproven,
                    format!(
                        "two different blocks or validator sets of height {} in epoch {} were verified by this machine: the \
                         ledger is forked",
                        grouped(trust.anchor().height().get()),
                        trust.anchor().epoch().get()
                    ),
                )
                .advise("keep the answers of both nodes, and ask every operator before you go on"));
            }
            let fills_in =
                place(&stored) == place(trust) && stored.anchor().header_hash().is_none();
            if place(&stored) >= place(trust) && !fills_in {
                return Ok(());
            }
        }
        let bytes = [&trust.anchor().encode()[..], trust.set()].concat();
        files::replace(&self.path, &bytes, Mode::Public)
    }
}

/// Whether two anchors of one chain cannot both be true.
fn contradict(one: &Trust, other: &Trust) -> bool {
    let (one, other) = (one.anchor(), other.anchor());
    let hashes = (one.header_hash(), other.header_hash());
    one.epoch() == other.epoch()
        && (one.set_hash() != other.set_hash()
            || one.height() == other.height()
                && matches!(hashes, (Some(one), Some(other)) if one != other))
}

#[cfg(test)]
mod tests {
    use kusabi_core::{
        genesis::{Genesis, GenesisParts},
        id::{Epoch, OrgName},
        keystore::{KeyStore as _, Seed, SoftKey},
        nodes::NodeParts,
        set::{EpochSetParts, OrganisationParts, recovery_set},
        suite::{Suite, VerificationKey},
    };

    use super::*;

    fn key(seed: u8) -> VerificationKey {
        let key = SoftKey::from_seed(Suite::Curve25519, &Seed::new([seed; 32])).unwrap();
        key.public_keys().verification_key().unwrap()
    }

    /// Trust of one chain at a height, with the hash of its block.
    fn trust(height: u64, hash: u8) -> Trust {
        let org = OrgName::new("home").unwrap();
        let set = EpochSetParts {
            epoch: Epoch::ZERO,
            organisations: vec![OrganisationParts {
                id: org.id(),
                threshold: 1,
                officers: vec![key(1)],
                vote_keys: vec![key(2).raw().try_into().unwrap()],
            }],
        }
        .encode()
        .unwrap();
        let node = NodeParts {
            vote_key: key(2).raw().try_into().unwrap(),
            key: key(4).raw().try_into().unwrap(),
            address: "",
        };
        let document = GenesisParts {
            name: "home",
            created_ms: 1,
            heartbeat_ms: 60_000,
            epoch_set: &set,
            recovery_set: &recovery_set(1, &[key(3)]).unwrap(),
            organisations: vec![(org, 1)],
            nodes: vec![node],
        }
        .encode()
        .unwrap();
        let founded = Anchor::from_genesis(&Genesis::decode(&document).unwrap());
        let mut bytes = founded.encode();
        // The last fields: height 8, header hash 32, recovery hash 32.
        bytes[Anchor::LEN - 72..Anchor::LEN - 64].copy_from_slice(&height.to_be_bytes());
        bytes[Anchor::LEN - 64..Anchor::LEN - 32].fill(hash);
        Trust::stored(Anchor::decode(&bytes).unwrap(), set.into()).unwrap()
    }

    #[test]
    fn the_floor_rises_and_says_when_there_are_two_histories() {
        let folder = tempfile::tempdir().unwrap();
        let floor = Floor {
            chain: trust(0, 0).anchor().chain(),
            path: folder.path().join("floor"),
        };
        let height = || floor.read().unwrap().unwrap().anchor().height().get();
        floor.raise(&trust(5, 1)).unwrap();
        floor.raise(&trust(5, 1)).unwrap();
        // Older, from a command that took longer.
        floor.raise(&trust(4, 9)).unwrap();
        floor.raise(&trust(5, 0)).unwrap();
        assert_eq!(height(), 5);
        let forked = floor.raise(&trust(5, 2)).unwrap_err();
        assert_eq!(forked.exit(), Exit::Unproven);
        assert_eq!(
            floor.read().unwrap().unwrap(),
            trust(5, 1),
            "the first stays"
        );
        // A floor whose block was not seen gets its hash.
        floor.raise(&trust(6, 0)).unwrap();
        floor.raise(&trust(6, 3)).unwrap();
        assert_eq!(floor.read().unwrap().unwrap(), trust(6, 3));
    }
}
