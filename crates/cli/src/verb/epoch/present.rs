//! Whether an appointment ends the present epoch, as far as this machine can know.

use bytes::Bytes;
use kusabi_core::{
    appointment::{Appointment, CLOSING_BLOCKS},
    id::{ChainId, Height, NodesHash, Nonce, SetHash},
    row::Ends,
    set::EpochSet,
    tx::{Action, Transaction},
};
use rand_core::Rng as _;

use crate::{
    appointing::Appointing,
    connection::Connection,
    exit::Exit,
    failure::{Failure, Result},
    floor::Floor,
    session::Session,
};

/// What is known of the present epoch.
pub(super) enum Present {
    /// A node has shown it, and it is no older than what this machine has verified before.
    Shown {
        /// The validator set.
        set: Bytes,
        /// The appointment that ends it, once the ledger has one.
        taken: Option<Taken>,
        /// Why no validators have said that it is of now, where they have not.
        unsaid: Option<String>,
    },
    /// No node was reached.
    Kept {
        /// The set that this machine has verified last, if it has one.
        set: Option<Bytes>,
        why: String,
    },
}

/// The appointment that the ledger has for the epoch that follows.
pub(super) struct Taken {
    /// The last block of the present epoch.
    last: Height,
    next_set: SetHash,
    /// Digest of the nodes' keys and addresses, which only its own block says; none where that cannot be proven yet.
    nodes: Option<NodesHash>,
}

impl Taken {
    fn of(connection: &Connection, ends: &Ends) -> Result<Self> {
        // The ledger ends an epoch so many blocks after the one that holds the appointment, in the same epoch.
        let height = Height::new(ends.last.get().saturating_sub(CLOSING_BLOCKS));
        let block = match height {
            Ok(height) => connection.proven_block(height)?,
            Err(_) => None,
        };
        let transactions = block.as_ref().map(|block| block.transactions());
        let transactions = transactions.unwrap_or_default();
        Ok(Self {
            last: ends.last,
            next_set: ends.next_set_hash,
            nodes: transactions
                .iter()
                .find_map(|transaction| nodes_of(transaction, &ends.next_set_hash)),
        })
    }
}

/// The digest of the nodes, where this is the appointment of that set.
fn nodes_of(transaction: &Transaction, next_set: &SetHash) -> Option<NodesHash> {
    let Action::Appoint { appointment, .. } = transaction.action() else {
        return None;
    };
    let appointment = Appointment::decode(appointment).ok()?;
    (appointment.next_set().hash() == *next_set).then(|| appointment.nodes_hash())
}

impl Present {
    /// Asks the node that the session names; the open way to it, if there is one.
    ///
    /// An answer that is refused is an error, and none at all is not: officers' keys may lie where there is no ledger.
    pub(super) fn ask(session: &Session, chain: &ChainId) -> Result<(Self, Option<Connection>)> {
        let kept = |why: &Failure| {
            let set = Floor::of(chain)?.read()?.map(|trust| trust.set().clone());
            let why = why.what().to_owned();
            Ok((Self::Kept { set, why }, None))
        };
        match session.ledger() {
            Err(why) if why.exit() == Exit::Usage => return kept(&why),
            address => address?,
        };
        match Self::shown(session) {
            Ok((shown, connection)) => Ok((shown, Some(connection))),
            Err(why) if why.exit() == Exit::Unavailable => kept(&why),
            Err(why) => Err(why),
        }
    }

    fn shown(session: &Session) -> Result<(Self, Connection)> {
        let connection = Connection::open(session)?;
        let mut nonce = [0; 32];
        session.rng().fill_bytes(&mut nonce);
        let unsaid = match connection.fresh(Nonce::new(nonce)) {
            Ok(_) => None,
            // Too few validators answer, or this node has no way to them: what it shows is looked at all the same.
            Err(why) if [Exit::Unavailable, Exit::Refused].contains(&why.exit()) => {
                Some(why.what().to_owned())
            }
            Err(why) => return Err(why),
        };
        let (_, row) = connection.ledger_row()?;
        let trust = connection.trust();
        let ends = row.ends.filter(|_| row.epoch == trust.anchor().epoch());
        let shown = Self::Shown {
            set: trust.set().clone(),
            taken: ends.map(|ends| Taken::of(&connection, &ends)).transpose()?,
            unsaid,
        };
        Ok((shown, connection))
    }

    /// Refuses an appointment that does not end the present epoch, or another one than the ledger has for it already; else what is
    /// not known, for a person to look at.
    pub(super) fn compare(&self, appointing: &Appointing) -> Result<Option<String>> {
        let (old, next) = (appointing.old()?, appointing.next()?);
        let (set, taken, unknown) = match self {
            Self::Shown { set, taken, unsaid } => {
                let unsaid = unsaid.as_ref().map(|why| {
                    format!("no validators say that what the node shows is of now: {why}")
                });
                (Some(set), taken.as_ref(), unsaid)
            }
            Self::Kept { set, why } => {
                let unknown = format!(
                    "no node could be asked whether epoch {} is the present one, with this set: {} ({why})",
                    old.epoch(),
                    old.hash()
                );
                (set.as_ref(), None, Some(unknown))
            }
        };
        let Some(set) = set else {
            return Ok(unknown);
        };
        let now =
            EpochSet::decode(set).map_err(|why| Failure::new(Exit::Internal, why.to_string()))?;
        let refused =
            |what: String, advice: &str| Err(Failure::new(Exit::Negative, what).advise(advice));
        if old.epoch() < now.epoch() {
            return refused(
                format!(
                    "the appointment ends epoch {}, and the ledger is in epoch {}",
                    old.epoch(),
                    now.epoch()
                ),
                "an epoch has turned since it was made: make it again. If none has, somebody made it up: do not sign",
            );
        }
        if old.epoch() > now.epoch() {
            // What this machine knew last may be of long ago.
            if matches!(self, Self::Kept { .. }) {
                return Ok(unknown);
            }
            return refused(
                format!(
                    "the appointment ends epoch {}, and the node shows epoch {}: it is behind, or there is no such epoch",
                    old.epoch(),
                    now.epoch()
                ),
                "wait until the node has caught up, or ask another one with --ledger URL; if no node knows that epoch, somebody made \
                 the appointment up: do not sign",
            );
        }
        if old.hash() != now.hash() {
            return refused(
                format!(
                    "the appointment ends epoch {} with another set than the ledger has",
                    old.epoch()
                ),
                "no set of an epoch changes: somebody made it up: do not sign",
            );
        }
        let Some(taken) = taken else {
            return Ok(unknown);
        };
        let another = |how: &str| {
            refused(
                format!(
                    "the ledger has another appointment of epoch {} already{how}, and this one ends with block {}",
                    next.epoch(),
                    taken.last.get()
                ),
                "do not sign, also not with --instead: with two of one epoch the ledger can be led two ways; destroy every file of it",
            )
        };
        if taken.next_set != next.hash() {
            return another("");
        }
        match taken.nodes {
            Some(nodes) if nodes == appointing.parts.nodes_hash => Ok(unknown),
            Some(_) => another(", of the same validators with other addresses or node keys"),
            None => {
                let untold = format!(
                    "the ledger has an appointment of epoch {} with these validators already, and the node does not prove which \
                     addresses it says: if they are others, do not sign this one",
                    next.epoch()
                );
                let all = unknown.into_iter().chain([untold]);
                Ok(Some(all.collect::<Vec<_>>().join("; ")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use kusabi_core::tx::Draft;

    use super::*;
    use crate::appointing::made::{ALL, EPOCH, four, made, set};

    fn shown(set: Vec<u8>, taken: Option<Taken>) -> Present {
        Present::Shown {
            set: set.into(),
            taken,
            unsaid: None,
        }
    }

    fn kept(set: Option<Vec<u8>>) -> Present {
        Present::Kept {
            set: set.map(Bytes::from),
            why: "nobody is there".to_owned(),
        }
    }

    #[test]
    fn what_an_appointment_says_of_its_nodes_is_read_from_its_transaction() {
        let old = four([&[1], &[2], &[3], &[4]]);
        let appointing = made(&old, &four([&[11], &[12], &[13], &[14]]), &ALL);
        let set = appointing.next().unwrap().hash();
        let of = |action| {
            let draft = Draft::new(appointing.chain, action).unwrap();
            nodes_of(&draft.finish().unwrap(), &set)
        };
        let action = appointing.action(appointing.org).unwrap();
        assert_eq!(of(action), Some(appointing.parts.nodes_hash));
        let others = made(&old, &four([&[21], &[22], &[23], &[24]]), &[]);
        assert_eq!(of(others.action(others.org).unwrap()), None);
    }

    #[test]
    fn an_appointment_ends_the_epoch_that_the_ledger_has_or_nobody_signs_it() {
        let old = four([&[1], &[2], &[3], &[4]]);
        let others = four([&[1], &[2], &[3], &[5]]);
        let appointing = made(&old, &four([&[11], &[12], &[13], &[14]]), &ALL);
        let at = |epoch| set(epoch, &old);
        let another = || set(EPOCH, &others);
        let taken = |next_set, nodes| {
            let last = Height::new(40).unwrap();
            Some(Taken {
                last,
                next_set,
                nodes,
            })
        };
        let (set_hash, nodes) = (
            appointing.next().unwrap().hash(),
            appointing.parts.nodes_hash,
        );
        let same = taken(set_hash, Some(nodes));
        let other = taken(SetHash::new([9; 32]), Some(nodes));
        let elsewhere = taken(set_hash, Some(NodesHash::of(b"elsewhere")));
        let unproven = taken(set_hash, None);
        let past = "the appointment ends epoch 4, and the ledger is in epoch 5";
        let made_up = "the appointment ends epoch 4 with another set than the ledger has";
        let nobody = "no node could be asked whether epoch 4 is the present one, with this set: ";
        // What is known; what is refused, with which advice; else of what a person is warned.
        let cases = [
            (shown(at(EPOCH), None), Ok(None)),
            (shown(at(EPOCH), same), Ok(None)),
            (
                shown(at(EPOCH), elsewhere),
                Err((
                    "the ledger has another appointment of epoch 5 already, of the same validators with other addresses",
                    "--instead",
                )),
            ),
            (
                shown(at(EPOCH), unproven),
                Ok(Some("the node does not prove which addresses it says")),
            ),
            (
                shown(at(EPOCH), other),
                Err((
                    "the ledger has another appointment of epoch 5 already",
                    "--instead",
                )),
            ),
            (shown(another(), None), Err((made_up, "do not sign"))),
            (shown(at(EPOCH + 1), None), Err((past, "make it again"))),
            (
                shown(at(EPOCH - 1), None),
                Err(("and the node shows epoch 3: it is behind", "caught up")),
            ),
            (kept(None), Ok(Some(nobody))),
            (kept(Some(at(EPOCH))), Ok(Some(nobody))),
            (kept(Some(at(EPOCH - 1))), Ok(Some(nobody))),
            (kept(Some(at(EPOCH + 1))), Err((past, "make it again"))),
            (kept(Some(another())), Err((made_up, "do not sign"))),
            (
                Present::Shown {
                    set: at(EPOCH).into(),
                    taken: None,
                    unsaid: Some("too few".to_owned()),
                },
                Ok(Some(
                    "no validators say that what the node shows is of now: too few",
                )),
            ),
        ];
        for (present, expected) in cases {
            match (present.compare(&appointing), expected) {
                (Ok(None), Ok(None)) => {}
                (Ok(Some(warning)), Ok(Some(said))) => assert!(warning.contains(said), "{warning}"),
                (Err(refused), Err((what, advice))) => {
                    assert_eq!(refused.exit(), Exit::Negative);
                    assert!(refused.what().contains(what), "{refused}");
                    assert!(refused.advice().unwrap().contains(advice), "{refused}");
                }
                (was, expected) => panic!("{was:?} where {expected:?} was expected"),
            }
        }
    }
}
