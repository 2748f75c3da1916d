//! Revoke, and the cap on what one signature may end.

use kusabi_core::id::Height;
use kusabi_core::row::{Reason, Status, Validity};
use kusabi_core::suite::Purpose;
use kusabi_core::tx::{Action, Draft, Transaction};
use kusabi_ledger::Rejection;
use kusabi_ledger::testing::{TestKey, World};

use crate::{accept, refuse, revocation, verdict, with_key};

fn revoke(world: &World, targets: &[&TestKey], signers: &[&TestKey]) -> Transaction {
    world.sign(revocation(world, targets), signers)
}

fn dated(world: &World, target: &TestKey, since: u64, signers: &[&TestKey]) -> Transaction {
    let action = Action::Revoke {
        org: world.org,
        targets: vec![world.named(target)],
        reason: Reason::Compromised,
        compromised_since: Some(Height::new(since).unwrap()),
        signers: 1,
    };
    world.sign(action, signers)
}

fn registered(world: &mut World, numbers: std::ops::Range<u64>) -> Vec<TestKey> {
    let keys: Vec<TestKey> = numbers.map(|n| TestKey::new(n, Purpose::App)).collect();
    let register = world.register(&keys.iter().collect::<Vec<_>>());
    accept(world, register);
    keys
}

#[test]
fn a_holder_a_revoker_or_an_officer_revokes() {
    let mut world = World::open();
    let revoker = with_key(&mut world, 10, Purpose::Revoker);
    let keys = registered(&mut world, 20..23);
    let before = world.organisation();
    for (key, signer) in [
        (&keys[0], &keys[0]),
        (&keys[1], &revoker),
        (&keys[2], &TestKey::new(1, Purpose::Officer)),
    ] {
        let transaction = revoke(&world, &[key], &[signer]);
        accept(&mut world, transaction);
        let record = world.record(&key.handle).unwrap();
        assert_eq!(record.status(), Status::Revoked);
        assert_eq!(record.reason(), Reason::Lost);
        assert_eq!(record.ended(), Some(world.height));
    }
    let after = world.organisation();
    assert_eq!(after.active, before.active - 3);
    assert_eq!(after.rows, before.rows);
    assert_eq!(
        after.revoked_in_window, 2,
        "the holder's own does not count"
    );
}

#[test]
fn nobody_else_revokes() {
    let mut world = World::open();
    let revoker = with_key(&mut world, 10, Purpose::Revoker);
    let keys = registered(&mut world, 20..23);
    let cases = [
        (
            revoke(&world, &[&keys[0]], &[&keys[1]]),
            Rejection::SignerPurpose,
        ),
        (
            revoke(&world, &[&keys[0]], &[&world.writer]),
            Rejection::SignerPurpose,
        ),
        (
            revoke(&world, &[&keys[0], &keys[1]], &[&keys[0]]),
            Rejection::SignerPurpose,
        ),
        (
            revoke(&world, &[&keys[0]], &[&keys[0], &world.officer]),
            Rejection::SignerPurpose,
        ),
        (
            revoke(&world, &[&keys[0]], &[&revoker, &world.officer]),
            Rejection::SuperfluousSignature,
        ),
        (
            revoke(&world, &[&keys[0]], &[]),
            Rejection::TooFewSignatures,
        ),
        (
            revoke(&world, &[&TestKey::new(99, Purpose::App)], &[&revoker]),
            Rejection::UnknownRecord,
        ),
    ];
    for (transaction, rejection) in cases {
        refuse(&mut world, transaction, rejection);
    }
    let once = revoke(&world, &[&keys[0]], &[&keys[0]]);
    accept(&mut world, once);
    let again = revoke(&world, &[&keys[0]], &[&revoker]);
    refuse(&mut world, again, Rejection::RecordEnded);
    let by_itself = revoke(&world, &[&keys[0], &keys[1]], &[&world.officer]);
    refuse(&mut world, by_itself, Rejection::RecordEnded);
}

#[test]
fn a_key_is_found_to_have_been_compromised() {
    let mut world = World::open();
    let revoker = with_key(&mut world, 10, Purpose::Revoker);
    let keys = registered(&mut world, 20..23);
    let next = world.height.get() + 1;
    let cases = [
        (
            dated(&world, &keys[0], next + 1, &[&revoker]),
            Rejection::CompromisedInFuture,
        ),
        (
            dated(&world, &keys[0], 1, &[&keys[0]]),
            Rejection::HolderCannotDate,
        ),
    ];
    for (transaction, rejection) in cases {
        refuse(&mut world, transaction, rejection);
    }
    let now = dated(&world, &keys[0], next, &[&revoker]);
    accept(&mut world, now);

    // A thief supersedes the stolen key to shield it; it can be dated all the same, once.
    let shield = TestKey::new(30, Purpose::App);
    let action = Action::Supersede {
        org: world.org,
        old: world.named(&keys[1]),
        new: Box::new(world.entry(&shield)),
    };
    let supersede = world.sign(action, &[&keys[1], &shield]);
    accept(&mut world, supersede);
    let ended = world.record(&keys[1].handle).unwrap().ended();
    let active = world.organisation().active;
    let undated = revoke(&world, &[&keys[1]], &[&revoker]);
    refuse(&mut world, undated, Rejection::RecordEnded);
    let late = dated(&world, &keys[1], 3, &[&revoker]);
    accept(&mut world, late);
    let record = world.record(&keys[1].handle).unwrap();
    assert_eq!((record.status(), record.ended()), (Status::Revoked, ended));
    assert_eq!(
        record.valid_at(world.height),
        Validity::Compromised {
            since: Height::new(3).unwrap()
        }
    );
    assert_eq!(world.organisation().active, active, "it had ended before");
    for since in [3, 4] {
        let again = dated(&world, &keys[1], since, &[&revoker]);
        refuse(&mut world, again, Rejection::RecordEnded);
    }
    let earlier = dated(&world, &keys[1], 2, &[&revoker]);
    accept(&mut world, earlier);
}

/// A thief revokes the stolen key with the key itself, which gives no date: what it signed before stays open to one.
#[test]
fn revoking_a_stolen_key_with_itself_does_not_shield_it() {
    let mut world = World::open();
    let revoker = with_key(&mut world, 10, Purpose::Revoker);
    let keys = registered(&mut world, 20..21);
    let by_thief = revoke(&world, &[&keys[0]], &[&keys[0]]);
    accept(&mut world, by_thief);
    let (ended, before) = (
        world.record(&keys[0].handle).unwrap().ended(),
        world.organisation(),
    );
    let again = dated(&world, &keys[0], 3, &[&keys[0]]);
    refuse(&mut world, again, Rejection::SignerEnded);
    let late = dated(&world, &keys[0], 3, &[&revoker]);
    accept(&mut world, late);
    let record = world.record(&keys[0].handle).unwrap();
    assert_eq!((record.status(), record.ended()), (Status::Revoked, ended));
    assert_eq!(
        record.valid_at(Height::new(3).unwrap()),
        Validity::NotYet {
            registered: record.registered()
        }
    );
    assert_eq!(
        record.valid_at(record.registered()),
        Validity::Compromised {
            since: Height::new(3).unwrap()
        }
    );
    let after = world.organisation();
    assert_eq!(
        after.active, before.active,
        "it is taken out of the count once"
    );
    assert_eq!(after.revoked_in_window, before.revoked_in_window + 1);
}

#[test]
fn a_revoker_does_not_undo_what_a_former_officer_signed() {
    let mut world = World::open();
    let revoker = with_key(&mut world, 10, Purpose::Revoker);
    let second = with_key(&mut world, 11, Purpose::Officer);
    let action = Action::Withdraw {
        org: world.org,
        target: world.named(&second),
    };
    let withdrawal = world.sign(action, &[&world.officer]);
    accept(&mut world, withdrawal);
    let by_revoker = dated(&world, &second, 1, &[&revoker]);
    refuse(&mut world, by_revoker, Rejection::SignerPurpose);
    let by_officer = dated(&world, &second, 1, &[&world.officer]);
    accept(&mut world, by_officer);
}

#[test]
fn beyond_the_cap_a_second_officer_signs() {
    let mut world = World::open();
    let revoker = with_key(&mut world, 10, Purpose::Revoker);
    let second = with_key(&mut world, 11, Purpose::Officer);
    let keys = registered(&mut world, 20..60);
    let all: Vec<&TestKey> = keys.iter().collect();

    let seventeen = revoke(&world, &all[..17], &[&revoker]);
    refuse(&mut world, seventeen, Rejection::SecondOfficer);
    // Split over transactions, signers and one block, the cap is the same.
    let ten = revoke(&world, &all[..10], &[&revoker]);
    let six = revoke(&world, &all[10..16], &[&world.officer]);
    world.block(vec![ten, six]).unwrap();
    for signer in [&revoker, &world.officer, &second] {
        let one = revoke(&world, &all[16..17], &[signer]);
        assert_eq!(verdict(&world, &one), Err(Rejection::SecondOfficer));
    }
    let own = revoke(&world, &all[16..17], &[all[16]]);
    accept(&mut world, own);
    let two_officers = revoke(&world, &all[17..37], &[&world.officer, &second]);
    accept(&mut world, two_officers);
    assert_eq!(world.organisation().revoked_in_window, 16);

    world.height = Height::new(998).unwrap();
    let same_window = revoke(&world, &all[37..38], &[&revoker]);
    refuse(&mut world, same_window, Rejection::SecondOfficer);
    world.height = Height::new(999).unwrap();
    let next_window = revoke(&world, &all[37..38], &[&revoker]);
    accept(&mut world, next_window);
    assert_eq!(world.organisation().window, 1);
    assert_eq!(world.organisation().revoked_in_window, 1);
}

#[test]
fn the_cap_is_taken_when_the_window_begins() {
    let mut world = World::open();
    let revoker = with_key(&mut world, 10, Purpose::Revoker);
    // 1,700 keys registered in this window raise the cap of the next one only.
    let keys = registered(&mut world, 1000..2700);
    let all: Vec<&TestKey> = keys.iter().collect();
    let seventeen = revoke(&world, &all[..17], &[&revoker]);
    refuse(&mut world, seventeen, Rejection::SecondOfficer);

    world.height = Height::new(999).unwrap();
    let seventeen = revoke(&world, &all[..17], &[&revoker]);
    accept(&mut world, seventeen);
    let one = revoke(&world, &all[17..18], &[&revoker]);
    refuse(&mut world, one, Rejection::SecondOfficer);
}

#[test]
fn one_stolen_key_does_not_shut_the_officers_out() {
    let mut world = World::open();
    let revoker = with_key(&mut world, 10, Purpose::Revoker);
    let second = with_key(&mut world, 11, Purpose::Officer);
    let by_revoker = revoke(&world, &[&second], &[&revoker]);
    refuse(&mut world, by_revoker, Rejection::SignerPurpose);
    // With k = 1 one officer is k officers.
    let by_officer = revoke(&world, &[&second], &[&world.officer]);
    let version = world.organisation().version;
    accept(&mut world, by_officer);
    assert_eq!(world.organisation().officers_n, 1);
    assert_eq!(world.organisation().version, version + 1);

    let last = revoke(&world, &[&world.officer], &[&world.officer]);
    refuse(&mut world, last, Rejection::LastOfficers);
}

#[test]
fn of_two_officers_both_revoke_a_third() {
    let mut world = World::open();
    let second = with_key(&mut world, 11, Purpose::Officer);
    let third = with_key(&mut world, 12, Purpose::Officer);
    let row = kusabi_core::row::Organisation {
        officers_k: 2,
        ..world.organisation()
    };
    let key = kusabi_core::id::StateKey::organisation(&world.org);
    world.state.put(key, row.encode());

    let by_one = revoke(&world, &[&third], &[&world.officer]);
    refuse(&mut world, by_one, Rejection::TooFewSignatures);
    let both = revoke(&world, &[&second, &third], &[&world.officer, &second]);
    refuse(&mut world, both, Rejection::LastOfficers);
    let one = revoke(&world, &[&third], &[&world.officer, &second]);
    accept(&mut world, one);
    let own = revoke(&world, &[&second], &[&second]);
    refuse(&mut world, own, Rejection::LastOfficers);
}

/// What the transaction `signed` becomes when whoever carries it takes one signature off.
fn stripped(signed: &Transaction, world: &World, taken: &TestKey) -> Transaction {
    let mut draft = Draft::new(world.chain, signed.action().clone()).unwrap();
    for left in signed.signatures() {
        if left.signer != taken.handle {
            draft.add(left.signer, left.signature);
        }
    }
    draft.finish().unwrap()
}

#[test]
fn no_signature_is_taken_off_on_the_way() {
    let mut world = World::open();
    let second = with_key(&mut world, 11, Purpose::Officer);
    let third = with_key(&mut world, 12, Purpose::Officer);
    let keys = registered(&mut world, 20..22);
    // Well within the cap, where one officer would do; and of an officer's own key, where the holder would.
    let officers = [&world.officer, &second, &third];
    for (target, signers) in [(&keys[0], &officers[..]), (&second, &officers[..2])] {
        let signed = revoke(&world, &[target], signers);
        for taken in signers {
            let cut = stripped(&signed, &world, taken);
            assert_eq!(verdict(&world, &cut), Err(Rejection::TooFewSignatures));
        }
        assert_eq!(verdict(&world, &signed), Ok(()));
    }
    // Nor is one put on: it signs the same words, but they say how many sign.
    let alone = revoke(&world, &[&keys[1]], &[&world.officer]);
    let mut draft = Draft::from(alone);
    draft
        .sign(second.handle, second.purpose, &second.key)
        .unwrap();
    let two = draft.finish().unwrap();
    refuse(&mut world, two, Rejection::SuperfluousSignature);
}
