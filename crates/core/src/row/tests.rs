//! Rows: strict in, canonical out, and statuses that move forward only.

use super::*;
use crate::id::{
    Binding, ChainId, Digest, Epoch, KusabiId, OrgName, ProposalId, RecoveryHash, SetHash,
};
use crate::suite::{BindingContext, PublicKeys, Purpose, Suite};
use proptest::prelude::*;

/// Seed 0…: an Ed25519 key, and the X25519 base point, which is not of small order.
fn keys() -> PublicKeys {
    let signing = ed25519_zebra::SigningKey::from([7; 32]);
    let ed25519: [u8; 32] = ed25519_zebra::VerificationKeyBytes::from(&signing).into();
    let mut x25519 = [0; 32];
    x25519[0] = 9;
    PublicKeys::curve25519(&ed25519, &x25519).unwrap()
}

fn height(value: u64) -> Height {
    Height::new(value).unwrap()
}

fn record(purpose: Purpose) -> Record {
    let owner = OrgName::new("cameras").unwrap().id();
    Record::register(
        purpose,
        keys(),
        owner,
        height(10),
        Binding::new([3; 16]),
        Digest::new([4; 32]),
    )
}

fn samples() -> [Row; 18] {
    let name = OrgName::new("cameras").unwrap();
    let digest = Digest::new([5; 32]);
    let act = record(Purpose::Act).after(Handle::new([6; 32]));
    let release = Release::published(name.id(), digest, height(3), u64::MAX);
    [
        Row::Record(act),
        Row::Record(record(Purpose::Pre).spend(height(11)).unwrap()),
        Row::Record(act.supersede(height(12)).unwrap()),
        Row::Record(act.revoke(height(12), Reason::Lost, None).unwrap()),
        Row::Record(
            act.revoke(height(12), Reason::Compromised, Some(height(11)))
                .unwrap(),
        ),
        Row::Organisation(Organisation {
            version: 1,
            name,
            officers_k: 1,
            officers_n: 2,
            active: 3,
            rows: 4,
            quota: 1 << 40,
            window: 0,
            window_cap: 16,
            revoked_in_window: 2,
            seat: Some(Seat::new(255)),
            removed: Height::ZERO,
            frozen_until_ms: 0,
            proposed_until_ms: 1 << 40,
        }),
        Row::ArtPolicy(ArtPolicy {
            version: 1,
            org: name.id(),
            k: 2,
            n: 1,
        }),
        Row::Release(release),
        Row::Release(release.withdraw(height(9)).unwrap()),
        Row::Anchor(AnchorRow {
            topic: Topic::AuditLog,
            height: height(7),
            org: name.id(),
            signer: Handle::new([8; 32]),
            digest,
        }),
        Row::BlobPart(BlobPart::new(&[1; 160]).unwrap()),
        Row::BlobPart(BlobPart::new(&[1]).unwrap()),
        Row::Ledger(LedgerRow {
            version: 1,
            epoch: Epoch::new(2),
            set_hash: SetHash::new([1; 32]),
            recovery_hash: RecoveryHash::new([2; 32]),
            skipped: Height::MAX,
            ends: None,
        }),
        Row::Ledger(LedgerRow {
            version: 2,
            epoch: Epoch::new(2),
            set_hash: SetHash::new([1; 32]),
            recovery_hash: RecoveryHash::new([2; 32]),
            skipped: Height::ZERO,
            ends: Some(Ends {
                last: height(9),
                next_set_hash: SetHash::new([3; 32]),
            }),
        }),
        Row::Record(
            record(Purpose::Pre)
                .move_to(OrgName::new("others").unwrap().id())
                .unwrap(),
        ),
        Row::Members(Members {
            version: 3,
            given: 256,
            seats: [0, 7, 8, 255]
                .into_iter()
                .fold(Seats::default(), |seats, seat| seats.with(Seat::new(seat))),
            heartbeat_ms: 1_000,
            longest_heartbeat_ms: 60_000,
            newest: Some(ProposalId::new([6; 32])),
        }),
        Row::Proposal(ProposalRow {
            id: ProposalId::new([6; 32]),
            proposer: name.id(),
            proposed: height(5),
            carried: Height::ZERO,
            expires_ms: 1 << 41,
            previous: None,
            yes: Seats::default().with(Seat::new(3)),
            no: Seats::default().with(Seat::new(4)),
        }),
        Row::Proposal(ProposalRow {
            id: ProposalId::new([6; 32]),
            proposer: name.id(),
            proposed: height(5),
            carried: height(5),
            expires_ms: 1 << 41,
            previous: Some(ProposalId::new([7; 32])),
            yes: Seats::default().with(Seat::new(0)),
            no: Seats::default(),
        }),
    ]
}

#[test]
fn every_row_reads_back() {
    for row in samples() {
        assert_eq!(Row::decode(&row.encode()), Ok(row));
    }
}

#[test]
fn a_changed_byte_is_refused_or_means_something_else() {
    let moved = record(Purpose::Pre).move_to(OrgId::new([7; 16])).unwrap();
    for row in samples().into_iter().chain([Row::Record(moved)]) {
        let bytes = row.encode();
        for index in 0..ROW_BYTES {
            for bit in 0..8 {
                let mut changed = bytes;
                changed[index] ^= 1 << bit;
                if let Ok(other) = Row::decode(&changed) {
                    assert_ne!(other, row);
                    assert_eq!(other.encode(), changed, "canonical: {row:?}");
                }
            }
        }
    }
}

#[test]
fn refuses_each_kind_of_fault() {
    let good = record(Purpose::Act).encode();
    let with = |index: usize, value: u8| {
        let mut bytes = good;
        bytes[index] = value;
        Record::decode(&bytes)
    };
    assert_eq!(with(0, 2), Err(RowError::Kind));
    assert_eq!(with(1, 2), Err(RowError::Version));
    assert_eq!(
        with(191, 1),
        Err(RowError::Contradiction),
        "a first owner before it has moved"
    );
    assert_eq!(with(191, 2), Err(RowError::Value), "no flag");
    let mut moved = record(Purpose::Act)
        .move_to(OrgId::new([7; 16]))
        .unwrap()
        .encode();
    moved[141] = 1;
    assert_eq!(
        Record::decode(&moved),
        Err(RowError::Reserved),
        "beside the first owner"
    );
    moved[141] = 0;
    moved[191] = 0;
    assert!(Record::decode(&moved).is_ok(), "then it is a predecessor");
    moved[110..126].fill(0);
    assert_eq!(
        Record::decode(&moved),
        Err(RowError::Contradiction),
        "moved, and from nobody"
    );
    assert_eq!(with(2, 0), Err(RowError::Value), "purpose 0");
    assert_eq!(
        with(2, 64),
        Err(RowError::Value),
        "a vote key has no record"
    );
    assert_eq!(with(3, 3), Err(RowError::Value), "suite 3 is reserved");
    assert_eq!(with(4, 5), Err(RowError::Value), "status 5");
    assert_eq!(with(5, 5), Err(RowError::Value), "reason 5");
    assert_eq!(with(108, 1), Err(RowError::Key), "padding of the keys");
    assert_eq!(
        with(5, 1),
        Err(RowError::Contradiction),
        "active with a reason"
    );
    assert_eq!(
        with(21, 11),
        Err(RowError::Contradiction),
        "active and ended"
    );
    assert_eq!(
        with(27, 11),
        Err(RowError::Contradiction),
        "active and compromised"
    );
    assert_eq!(
        with(4, 4),
        Err(RowError::Contradiction),
        "revoked and not ended"
    );
    assert_eq!(with(15, 0), Err(RowError::Contradiction), "registered at 0");
    assert_eq!(
        with(9, 2),
        Err(RowError::Contradiction),
        "active at version 2"
    );
    assert_eq!(
        Row::decode(&[10; ROW_BYTES]),
        Err(RowError::Kind),
        "no such kind"
    );
}

#[test]
fn validity_follows_the_heights() {
    let active = record(Purpose::App);
    assert_eq!(
        active.valid_at(height(9)),
        Validity::NotYet {
            registered: height(10)
        }
    );
    assert!(active.valid_at(height(10)).is_valid());
    assert!(active.valid_at(Height::MAX).is_valid());

    let ended = active.supersede(height(20)).unwrap();
    assert!(ended.valid_at(height(19)).is_valid());
    assert_eq!(
        ended.valid_at(height(20)),
        Validity::Ended {
            at: height(20),
            status: Status::Superseded
        }
    );

    let revoked = active
        .revoke(height(30), Reason::Compromised, Some(height(15)))
        .unwrap();
    assert!(revoked.valid_at(height(14)).is_valid());
    for at in [15, 29, 30, 31] {
        assert_eq!(
            revoked.valid_at(height(at)),
            Validity::Compromised { since: height(15) }
        );
    }
}

#[test]
fn a_status_moves_forward_only() {
    let active = record(Purpose::Act);
    let at = height(20);
    assert_eq!(active.spend(at), None, "only a factory key is spent");
    assert_eq!(record(Purpose::Pre).supersede(at), None);
    assert_eq!(
        active.supersede(height(9)),
        None,
        "before it was registered"
    );
    assert_eq!(
        active.revoke(at, Reason::None, Some(height(21))),
        None,
        "from the future"
    );
    assert_eq!(active.revoke(at, Reason::None, Some(Height::ZERO)), None);

    let superseded = active.supersede(at).unwrap();
    assert_eq!(superseded.supersede(at), None);
    assert_eq!(
        superseded.revoke(at, Reason::Lost, None),
        None,
        "says nothing new"
    );
    let dated = superseded
        .revoke(height(25), Reason::Compromised, Some(height(12)))
        .unwrap();
    assert_eq!(
        dated.ended(),
        Some(at),
        "it keeps the height at which it ended"
    );
    assert_eq!(Record::decode(&dated.encode()), Ok(dated));
    assert_eq!(
        dated.revoke(height(26), Reason::Compromised, Some(height(12))),
        None,
        "says nothing new"
    );
    let earlier = dated
        .revoke(height(26), Reason::Compromised, Some(height(11)))
        .unwrap();
    assert_eq!((earlier.version(), earlier.ended()), (4, Some(at)));
    assert_eq!(earlier.compromised_since(), Some(height(11)));
    assert_eq!(Record::decode(&earlier.encode()), Ok(earlier));

    let revoked = active.revoke(at, Reason::None, None).unwrap();
    assert_eq!(revoked.revoke(at, Reason::Lost, None), None);
    assert_eq!(revoked.supersede(at), None);
    let dated = revoked
        .revoke(height(25), Reason::Compromised, Some(height(12)))
        .unwrap();
    assert_eq!((dated.version(), dated.ended()), (3, Some(at)));
    assert_eq!(Record::decode(&dated.encode()), Ok(dated));

    let release = Release::published(active.owner(), Digest::new([1; 32]), at, 0);
    assert_eq!(release.withdraw(at).unwrap().withdraw(at), None);
}

#[test]
fn a_key_moves_while_it_is_a_devices_and_active() {
    let other = OrgName::new("others").unwrap().id();
    let at = height(20);
    let moved = record(Purpose::Act).move_to(other).unwrap();
    assert_eq!(
        (moved.owner(), moved.moves(), moved.version()),
        (other, 1, 2)
    );
    for purpose in [
        Purpose::App,
        Purpose::Art,
        Purpose::Officer,
        Purpose::Writer,
    ] {
        assert_eq!(record(purpose).move_to(other), None);
    }
    assert_eq!(moved.supersede(at).unwrap().move_to(other), None);
    let ended = moved.revoke(at, Reason::Lost, None).unwrap();
    for row in [moved, moved.move_to(other).unwrap(), ended] {
        assert_eq!(Record::decode(&row.encode()), Ok(row));
    }
    // Who owned it first stays, wherever it goes; a key that follows on another keeps that one's name instead.
    let first = record(Purpose::Act).owner();
    for row in [moved, moved.move_to(first).unwrap(), ended] {
        assert_eq!(row.origin(), Origin::Registered(first));
        assert_eq!(row.predecessor(), None);
    }
    let before = Handle::new([6; 32]);
    let follows = record(Purpose::Act).after(before).move_to(other).unwrap();
    assert_eq!(follows.origin(), Origin::Follows(before));
    assert_eq!(Record::decode(&follows.encode()), Ok(follows));
    let often = (0..255).try_fold(record(Purpose::Act), |record, _| record.move_to(other));
    assert_eq!(often.unwrap().move_to(other), None);
}

#[test]
fn a_copied_entry_makes_no_record_that_was_made_for_its_first_owner() {
    let (id, chain) = (KusabiId::new([8; 16]), ChainId::new([9; 32]));
    let [home, thief, buyer] = ["home", "thief", "buyer"].map(|n| OrgName::new(n).unwrap().id());
    let context = BindingContext {
        chain: &chain,
        owner: &home,
        purpose: Purpose::Act,
    };
    let binding = keys().bind(&id, &context);
    let put_by =
        |org| Record::register(Purpose::Act, keys(), org, height(10), binding, Digest::ZERO);
    let copied = put_by(thief).move_to(buyer).unwrap();
    let own = put_by(home).move_to(buyer).unwrap();
    let follows = put_by(buyer).after(Handle::new([6; 32]));
    assert!(own.was_made_for(&home, &id, &chain));
    assert!(own.move_to(thief).unwrap().was_made_for(&home, &id, &chain));
    assert!(follows.was_made_for(&home, &id, &chain));
    for org in [home, thief, buyer] {
        assert!(!copied.was_made_for(&org, &id, &chain));
    }
    for row in [own, follows] {
        assert!(!row.was_made_for(&buyer, &id, &chain));
        assert!(!row.was_made_for(&home, &KusabiId::new([7; 16]), &chain));
    }
}

#[test]
fn seats_are_given_once() {
    let Row::Members(full) = samples()[15] else {
        unreachable!("the sixteenth sample is the members' row")
    };
    assert_eq!(full.seat_one(), None);
    let one = Members {
        given: 1,
        seats: Seats::default().with(Seat::new(0)),
        ..full
    };
    let (two, seat) = one.seat_one().unwrap();
    assert_eq!((seat.number(), two.count()), (1, 2));
    let left = Members {
        seats: two.seats.without(seat),
        ..two
    };
    let (again, seat) = left.seat_one().unwrap();
    assert_eq!((seat.number(), again.count()), (2, 2));
    assert!(again.seats.iter().map(Seat::number).eq([0, 2]));
    assert_eq!(again.seats.count_in(&two.seats), 1);
}

#[test]
fn a_window_takes_its_cap_from_its_beginning() {
    let Row::Organisation(org) = samples()[5] else {
        unreachable!("the sixth sample is the organisation")
    };
    assert_eq!(org.at(height(999)), org);
    let next = Organisation {
        active: 5_000,
        ..org
    }
    .at(height(1_000));
    assert_eq!(
        (next.window, next.window_cap, next.revoked_in_window),
        (1, 50, 0)
    );
    assert_eq!(Organisation::cap_of(1_699), 16);
    assert_eq!(Organisation::cap_of(1_700), 17);
    assert_eq!(Organisation::cap_of(u64::MAX), u32::MAX);
}

#[test]
fn state_keys_differ_by_kind_and_name() {
    let org = OrgName::new("cameras").unwrap().id();
    let digest = Digest::new([1; 32]);
    let keys = [
        StateKey::record(&Handle::new([1; 32])),
        StateKey::anchor(&digest),
        StateKey::organisation(&org),
        StateKey::art_policy(&org),
        StateKey::release(&org, &digest),
        StateKey::blob_part(&digest, 0),
        StateKey::blob_part(&digest, 1),
        StateKey::ledger(),
        StateKey::members(),
        StateKey::proposal(&ProposalId::new([1; 32])),
    ];
    let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len());
}

#[test]
fn a_foreign_key_stands_by_its_digest() {
    let mut bytes = [0; 66];
    bytes[..3].copy_from_slice(&[1, 1, 38]);
    bytes[3..35].copy_from_slice(&[9; 32]);
    assert!(PublicKeys::decode(Suite::Foreign, &bytes).is_ok());
    bytes[35] = 1;
    assert!(PublicKeys::decode(Suite::Foreign, &bytes).is_err());
}

proptest! {
    #[test]
    fn decoding_never_panics(mut bytes in proptest::array::uniform32(any::<[u8; 6]>()), kind in 0_u8..11) {
        bytes[0][0] = kind;
        bytes[0][1] = 1;
        let flat: [u8; ROW_BYTES] = bytes.as_flattened().try_into().unwrap();
        if let Ok(row) = Row::decode(&flat) {
            prop_assert_eq!(row.encode(), flat);
        }
    }
}

/// Who knows the kusabi-ID sees that a record was made by one who knew it, for this chain; records of the first block were
/// made before there was one.
#[test]
fn a_record_is_bound_to_its_id_and_chain() {
    let id = KusabiId::new([6; 16]);
    let (chain, other) = (ChainId::new([1; 32]), ChainId::new([2; 32]));
    let owner = OrgName::new("cameras").unwrap().id();
    let bound_at = |height: Height, chain: &ChainId| {
        let context = BindingContext {
            chain,
            owner: &owner,
            purpose: Purpose::App,
        };
        let binding = keys().bind(&id, &context);
        Record::register(Purpose::App, keys(), owner, height, binding, Digest::ZERO)
    };
    let second = height(2);
    assert!(bound_at(second, &chain).is_bound(&id, &chain));
    assert!(!bound_at(second, &chain).is_bound(&id, &other));
    assert!(!bound_at(second, &chain).is_bound(&KusabiId::new([7; 16]), &chain));
    assert!(!bound_at(second, &ChainId::ZERO).is_bound(&id, &chain));
    assert!(bound_at(Height::FIRST, &ChainId::ZERO).is_bound(&id, &chain));
    assert!(!bound_at(Height::FIRST, &chain).is_bound(&id, &chain));
}
