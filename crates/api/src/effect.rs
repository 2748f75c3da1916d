//! What a final transaction did, read from its bytes: events for those who listen, the rows for those who look up, the history of a key.

use crate::{
    hex::{Hex, Hex32},
    ledger::{BlockEvents, Event, Moved},
    problem::{Kind, Problem},
};
use bytes::Bytes;
use kusabi_core::{
    appointment::Appointment,
    handover::Handover,
    header::Header,
    id::{Handle, Height, StateKey},
    row::{Record, ReleaseStatus, Row, Status as RecordStatus},
    tx::{Action, Named, Transaction},
};
use std::borrow::Cow;

/// The first row that an action writes: the one that a receipt proves.
#[must_use]
pub fn first_row(action: &Action) -> StateKey {
    let entry = action.entries().first().map(|entry| entry.handle());
    let named = action.named().first().map(|named| named.handle);
    match action {
        Action::Publish { org, digest, .. } | Action::WithdrawRelease { org, digest, .. } => {
            StateKey::release(org, digest)
        }
        Action::Anchor { digest, .. } => StateKey::anchor(digest),
        Action::ArtPolicy { org, .. } => StateKey::art_policy(org),
        Action::Officers { org, .. } => StateKey::organisation(org),
        Action::Propose { proposal } | Action::Vote { proposal, .. } => {
            StateKey::proposal(&proposal.id())
        }
        _ => entry
            .or(named)
            .map_or_else(StateKey::ledger, |handle| StateKey::record(&handle)),
    }
}

/// Whether a row is what [`first_row`] holds after an action took effect at `height`, then or later. A row that stood there before
/// shows nothing about the action, nor does one that somebody else put there.
#[must_use]
pub fn shows(action: &Action, row: &Row, height: Height) -> bool {
    match (action, row) {
        (
            Action::Revoke {
                targets,
                compromised_since,
                ..
            },
            Row::Record(record),
        ) => {
            // A date that is said later is an earlier one.
            let dated = compromised_since
                .is_none_or(|since| record.compromised_since().is_some_and(|said| said <= since));
            dated
                && targets
                    .first()
                    .is_some_and(|target| has_ended(record, target))
        }
        (Action::Withdraw { target, .. }, Row::Record(record)) => has_ended(record, target),
        (
            Action::ArtPolicy {
                org,
                policy_version,
                ..
            },
            Row::ArtPolicy(policy),
        ) => policy.org == *org && policy.version > *policy_version,
        (
            Action::Publish {
                minimum_counter, ..
            },
            Row::Release(release),
        ) => release.published_at() == height && release.minimum_counter() == *minimum_counter,
        (Action::WithdrawRelease { .. }, Row::Release(release)) => {
            release.status() == ReleaseStatus::Withdrawn
        }
        (Action::Anchor { org, topic, .. }, Row::Anchor(anchor)) => {
            (anchor.org, anchor.topic, anchor.height) == (*org, *topic, height)
        }
        (Action::Recovery { .. }, Row::Ledger(_)) => true,
        (Action::Appoint { appointment, .. }, Row::Ledger(row)) => {
            Appointment::decode(appointment).is_ok_and(|appointment| {
                let next = appointment.next_set();
                // Pending, or come to pass.
                let pending = row.ends.is_some_and(|e| e.next_set_hash == next.hash());
                pending || row.epoch >= next.epoch()
            })
        }
        (Action::Handover { handover, .. }, Row::Ledger(row)) => Handover::decode(handover)
            .is_ok_and(|handover| row.epoch >= handover.appointment().next_set().epoch()),
        (Action::Propose { proposal }, Row::Proposal(row)) => {
            row.id == proposal.id() && row.proposed == height
        }
        (
            Action::Vote {
                seat,
                proposal,
                yes,
                ..
            },
            Row::Proposal(row),
        ) => {
            // A yes stands; a no may have become one.
            let said = row.yes.contains(*seat) || (!yes && row.no.contains(*seat));
            row.id == proposal.id() && said
        }
        (
            Action::Officers {
                org, org_version, ..
            },
            Row::Organisation(row),
        ) => row.id() == *org && row.version > *org_version,
        (Action::Transfer { to, targets, .. }, Row::Record(record)) => {
            // It may have ended since, or gone on to a third.
            let version = targets.first().map(|target| target.version);
            version.is_some_and(|version| record.version() > version)
                && record.moves() > 0
                && (record.owner() == *to || record.moves() > 1)
        }
        (_, Row::Record(record)) => action.entries().first().is_some_and(|entry| {
            record.registered() == height
                && record.purpose() == entry.purpose()
                && record.keys() == entry.keys()
                && record.binding() == entry.binding()
                && record.metadata() == entry.metadata()
                && record.predecessor() == action.named().first().map(|named| named.handle)
                && action.org().is_none_or(|org| org == record.owner())
        }),
        _ => false,
    }
}

fn has_ended(record: &Record, named: &Named) -> bool {
    record.status() == RecordStatus::Revoked && record.version() > named.version
}

/// Whether an action puts, ends or replaces the key under this handle.
#[must_use]
pub fn touches(action: &Action, handle: &Handle) -> bool {
    action.entry(handle).is_some() || action.named().iter().any(|named| named.handle == *handle)
}

impl Event {
    /// What the transaction at `index` of a final block did.
    #[must_use]
    pub fn of(index: u32, transaction: &Transaction) -> Self {
        let action = transaction.action();
        let digest = match action {
            Action::Publish { digest, .. }
            | Action::WithdrawRelease { digest, .. }
            | Action::Anchor { digest, .. } => Some(Hex(digest.to_bytes())),
            Action::Propose { proposal } | Action::Vote { proposal, .. } => {
                Some(Hex(proposal.id().to_bytes()))
            }
            _ => None,
        };
        let hex = |handle: Handle| Hex32::from(handle.to_bytes());
        let named: Vec<_> = action
            .named()
            .iter()
            .map(|named| hex(named.handle))
            .collect();
        let (ended, moved) = match action {
            Action::Transfer { to, .. } => {
                let to = Hex(to.to_bytes());
                (Vec::new(), Some(Moved { to, keys: named }))
            }
            _ => (named, None),
        };
        Self {
            index,
            id: transaction.id(),
            action: Cow::Borrowed(action.code().name()),
            organisation: action.org().map(|org| Hex(org.to_bytes())),
            added: action
                .entries()
                .iter()
                .map(|entry| hex(entry.handle()))
                .collect(),
            ended,
            moved,
            digest,
        }
    }
}

impl BlockEvents {
    /// What a final block did. A transaction that cannot be read is a fault of the node that calls it final.
    pub fn of(header: &Header, transactions: &[Bytes]) -> Result<Self, Problem> {
        let events = (0_u32..)
            .zip(transactions)
            .map(|(index, bytes)| match Transaction::decode(bytes) {
                Ok(transaction) => Ok(Event::of(index, &transaction)),
                Err(why) => Err(Problem::new(
                    Kind::Internal,
                    format!(
                        "transaction {index} of block {} cannot be read: {why}",
                        header.height
                    ),
                )),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            height: header.height.get(),
            skipped: header.skipped,
            time_ms: header.time_ms,
            events,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kusabi_core::{
        id::{Binding, Digest, OrgId},
        keystore::{KeyStore, Seed, SoftKey},
        row::{AnchorRow, ArtPolicy, ProposalRow, Reason, Release, Seat, Seats, Topic},
        suite::{Purpose, Suite},
        tx::{Act, Entry, Proposal},
    };

    const ORG: OrgId = OrgId::new([1; 16]);
    const HANDLE: Handle = Handle::new([2; 32]);
    const OTHER: Handle = Handle::new([3; 32]);

    fn at(height: u64) -> Height {
        Height::new(height).unwrap()
    }

    fn entry(seed: u8, purpose: Purpose) -> Entry {
        let key = SoftKey::from_seed(Suite::Curve25519, &Seed::new([seed; 32])).unwrap();
        let keys = key.public_keys();
        Entry::new(HANDLE, purpose, keys, Binding::new([4; 16]), None).unwrap()
    }

    fn record(seed: u8, purpose: Purpose, height: u64) -> Record {
        let entry = entry(seed, purpose);
        Record::register(
            purpose,
            entry.check_keys().unwrap(),
            ORG,
            at(height),
            entry.binding(),
            Digest::ZERO,
        )
    }

    fn named(handle: Handle, version: u32) -> Named {
        Named { handle, version }
    }

    /// An action that took effect at height 20, rows that show it, rows that do not.
    fn check(action: &Action, shown: &[Row], not_shown: &[Row]) {
        for row in shown {
            assert!(shows(action, row, at(20)), "{action:?} by {row:?}");
        }
        for row in not_shown {
            assert!(!shows(action, row, at(20)), "{action:?} by {row:?}");
        }
    }

    #[test]
    fn a_key_on_the_ledger_is_shown_by_the_same_key_of_that_height() {
        let good = record(1, Purpose::App, 20);
        let wrong = [
            record(1, Purpose::App, 19),
            record(2, Purpose::App, 20),
            record(1, Purpose::Act, 20),
        ];
        let register = Action::Register {
            org: ORG,
            entries: vec![entry(1, Purpose::App)],
        };
        let ended = good.revoke(at(30), Reason::Lost, None).unwrap();
        check(
            &register,
            &[Row::Record(good), Row::Record(ended)],
            &wrong.map(Row::Record),
        );
        check(&register, &[], &[Row::Record(good.after(OTHER))]);
        let other_org = Action::Register {
            org: OrgId::new([9; 16]),
            entries: vec![entry(1, Purpose::App)],
        };
        check(&other_org, &[], &[Row::Record(good)]);

        let supersede = Action::Supersede {
            org: ORG,
            old: named(OTHER, 1),
            new: Box::new(entry(1, Purpose::App)),
        };
        check(
            &supersede,
            &[Row::Record(good.after(OTHER))],
            &[Row::Record(good), Row::Record(good.after(HANDLE))],
        );
    }

    #[test]
    fn an_end_is_shown_by_a_revoked_row_of_a_later_version() {
        let active = record(1, Purpose::App, 10);
        let superseded = active.supersede(at(20)).unwrap();
        let lost = active.revoke(at(20), Reason::Lost, None).unwrap();
        let since = |since| {
            Row::Record(
                lost.revoke(at(20), Reason::Compromised, Some(at(since)))
                    .unwrap(),
            )
        };
        let revoke = |version, compromised_since| Action::Revoke {
            org: ORG,
            targets: vec![named(HANDLE, version)],
            reason: Reason::Lost,
            compromised_since,
            signers: 1,
        };
        let not_ended = [Row::Record(active), Row::Record(superseded)];
        check(&revoke(1, None), &[Row::Record(lost), since(5)], &not_ended);
        check(
            &revoke(2, Some(at(15))),
            &[since(15), since(14)],
            &[Row::Record(lost), since(16)],
        );
        let withdraw = Action::Withdraw {
            org: ORG,
            target: named(HANDLE, 1),
        };
        check(&withdraw, &[Row::Record(lost)], &not_ended);
    }

    #[test]
    fn other_rows() {
        let digest = Digest::new([5; 32]);
        let policy = |version| {
            Row::ArtPolicy(ArtPolicy {
                version,
                org: ORG,
                k: 1,
                n: 1,
            })
        };
        let set = Action::ArtPolicy {
            org: ORG,
            policy_version: 3,
            k: 1,
            added: vec![],
            removed: vec![],
            signers: 1,
        };
        check(&set, &[policy(4), policy(5)], &[policy(3)]);

        let release = |height, counter| Release::published(ORG, digest, at(height), counter);
        let publish = Action::Publish {
            org: ORG,
            policy_version: 3,
            digest,
            minimum_counter: 7,
        };
        let withdrawn = release(20, 7).withdraw(at(20)).unwrap();
        check(
            &publish,
            &[Row::Release(release(20, 7)), Row::Release(withdrawn)],
            &[Row::Release(release(19, 7)), Row::Release(release(20, 6))],
        );
        let withdraw = Action::WithdrawRelease {
            org: ORG,
            digest,
            version: 1,
        };
        check(
            &withdraw,
            &[Row::Release(withdrawn)],
            &[Row::Release(release(20, 7))],
        );

        let acts = || vec![Act::Heartbeat { ms: 1_000 }];
        let proposal = Proposal::new(ORG, 1 << 41, acts()).unwrap();
        let other = Proposal::new(ORG, 1 << 40, acts()).unwrap();
        let voted = |of: &Proposal, yes: &[u8], no: &[u8]| {
            let seats = |numbers: &[u8]| {
                let numbers = numbers.iter().map(|number| Seat::new(*number));
                numbers.fold(Seats::default(), Seats::with)
            };
            Row::Proposal(ProposalRow {
                id: of.id(),
                proposer: ORG,
                proposed: at(9),
                carried: Height::ZERO,
                expires_ms: of.expires_ms(),
                previous: None,
                yes: seats(yes),
                no: seats(no),
            })
        };
        let vote = |yes| Action::Vote {
            org: ORG,
            seat: Seat::new(3),
            proposal: Box::new(proposal.clone()),
            yes,
        };
        // Others have voted; it has said no; it is another proposal's.
        check(
            &vote(true),
            &[voted(&proposal, &[0, 3], &[1])],
            &[
                voted(&proposal, &[0, 2, 4], &[]),
                voted(&proposal, &[0], &[3]),
                voted(&other, &[3], &[]),
            ],
        );
        check(
            &vote(false),
            &[voted(&proposal, &[0], &[3]), voted(&proposal, &[0, 3], &[])],
            &[voted(&proposal, &[0], &[2]), voted(&other, &[], &[3])],
        );

        let anchored = |topic, height, org| {
            Row::Anchor(AnchorRow {
                topic,
                height: at(height),
                org,
                signer: HANDLE,
                digest,
            })
        };
        let anchor = Action::Anchor {
            org: ORG,
            topic: Topic::Evidence,
            digest,
        };
        check(
            &anchor,
            &[anchored(Topic::Evidence, 20, ORG)],
            &[
                anchored(Topic::Evidence, 19, ORG),
                anchored(Topic::AuditLog, 20, ORG),
                anchored(Topic::Evidence, 20, OrgId::new([9; 16])),
                policy(4),
            ],
        );
    }
}
