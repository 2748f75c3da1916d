//! Register, activate, supersede.

use kusabi_core::id::{Binding, ChainId, Handle, Height, OrgName, StateKey};
use kusabi_core::row::{BlobPart, Organisation, Status};
use kusabi_core::suite::{ForeignAlgorithm, Purpose, Suite};
use kusabi_core::tx::{Action, Draft, Entry, Named, Transaction, TxError};
use kusabi_ledger::testing::{TestKey, WRITER, World};
use kusabi_ledger::{Rejection, State};

use crate::{accept, refuse, revocation, with_key};

/// Puts the row of a second organisation with one writer into the state, as another founder's would stand there.
pub(crate) fn foreign_writer(world: &mut World) -> TestKey {
    let name = OrgName::new("others").unwrap();
    let row = Organisation {
        name,
        ..world.organisation()
    };
    world
        .state
        .put(StateKey::organisation(&name.id()), row.encode());
    let key = TestKey::new(900, Purpose::Writer);
    let record = kusabi_core::row::Record::register(
        Purpose::Writer,
        key.public_keys(),
        name.id(),
        world.height,
        Binding::ZERO,
        kusabi_core::id::Digest::ZERO,
    );
    world
        .state
        .put(StateKey::record(&key.handle), record.encode());
    key
}

fn activation(world: &World, pre: &TestKey, act: &TestKey, signers: &[&TestKey]) -> Transaction {
    let action = Action::Activate {
        org: world.org,
        pre: world.named(pre),
        act: Box::new(world.entry(act)),
    };
    world.sign(action, signers)
}

fn supersession(world: &World, old: &TestKey, new: &TestKey, signers: &[&TestKey]) -> Transaction {
    let action = Action::Supersede {
        org: world.org,
        old: world.named(old),
        new: Box::new(world.entry(new)),
    };
    world.sign(action, signers)
}

#[test]
fn a_registered_key_stands_as_it_was_entered() {
    let mut world = World::open();
    let before = world.organisation();
    let key = TestKey::of_suite(Suite::P256, 10, Purpose::Act);
    let register = world.register(&[&key]);
    accept(&mut world, register);
    let record = world.record(&key.handle).unwrap();
    assert_eq!(record.keys(), &key.public_keys());
    assert_eq!(record.owner(), world.org);
    assert_eq!(record.registered(), world.height);
    assert_eq!((record.status(), record.version()), (Status::Active, 1));
    assert_eq!(record.binding(), world.entry(&key).binding());
    let after = world.organisation();
    assert_eq!(after.active, before.active + 1);
    assert_eq!(after.rows, before.rows + 1);
    assert_eq!(after.version, before.version, "counts do not move it");
}

#[test]
fn a_registration_is_all_or_nothing() {
    let mut world = World::open();
    let taken = with_key(&mut world, 10, Purpose::Pre);
    let fresh = TestKey::new(11, Purpose::Pre);
    let both = world.register(&[&taken, &fresh]);
    refuse(&mut world, both, Rejection::HandleTaken);
    assert_eq!(world.record(&fresh.handle), None);
}

#[test]
fn only_an_active_writer_of_the_organisation_registers() {
    let mut world = World::open();
    let revoker = with_key(&mut world, 10, Purpose::Revoker);
    let ps = with_key(&mut world, 11, Purpose::Ps);
    let app = with_key(&mut world, 12, Purpose::App);
    let other = with_key(&mut world, 13, Purpose::Writer);
    let stranger = TestKey::new(14, Purpose::Writer);
    let foreign = foreign_writer(&mut world);
    let fresh = TestKey::new(20, Purpose::Pre);
    let register = |world: &World, signers: &[&TestKey]| {
        let action = Action::Register {
            org: world.org,
            entries: vec![world.entry(&fresh)],
        };
        world.sign(action, signers)
    };
    for signer in [&world.officer, &revoker, &ps, &app] {
        let transaction = register(&world, &[signer]);
        assert_eq!(
            crate::verdict(&world, &transaction),
            Err(Rejection::SignerPurpose)
        );
    }
    let cases = [
        (register(&world, &[]), Rejection::TooFewSignatures),
        (
            register(&world, &[&world.writer, &other]),
            Rejection::SuperfluousSignature,
        ),
        (
            register(&world, &[&world.writer, &fresh]),
            Rejection::SuperfluousSignature,
        ),
        (register(&world, &[&fresh]), Rejection::UnknownSigner),
        (register(&world, &[&stranger]), Rejection::UnknownSigner),
        (register(&world, &[&foreign]), Rejection::ForeignSigner),
    ];
    for (transaction, rejection) in cases {
        refuse(&mut world, transaction, rejection);
    }
    let revoke = world.sign(revocation(&world, &[&other]), &[&world.officer]);
    accept(&mut world, revoke);
    let by_ended = register(&world, &[&other]);
    refuse(&mut world, by_ended, Rejection::SignerEnded);
}

#[test]
fn a_transaction_is_good_for_one_chain_and_one_purpose() {
    let mut world = World::open();
    let fresh = TestKey::new(20, Purpose::Pre);
    let action = || Action::Register {
        org: world.org,
        entries: vec![world.entry(&fresh)],
    };
    let mut elsewhere = Draft::new(ChainId::new([1; 32]), action()).unwrap();
    elsewhere
        .sign(world.writer.handle, Purpose::Writer, &world.writer.key)
        .unwrap();
    let elsewhere = elsewhere.finish().unwrap();

    // The signature of the other chain's transaction, put on this chain's.
    let mut moved = Draft::new(world.chain, action()).unwrap();
    moved.add(world.writer.handle, elsewhere.signatures()[0].signature);
    let moved = moved.finish().unwrap();

    let mut as_officer = Draft::new(world.chain, action()).unwrap();
    as_officer
        .sign(world.writer.handle, Purpose::Officer, &world.writer.key)
        .unwrap();
    let as_officer = as_officer.finish().unwrap();

    refuse(&mut world, elsewhere, Rejection::WrongChain);
    refuse(&mut world, moved, Rejection::BadSignature);
    refuse(&mut world, as_officer, Rejection::BadSignature);
}

#[test]
fn an_unknown_organisation_registers_nothing() {
    let mut world = World::open();
    let fresh = TestKey::new(20, Purpose::Pre);
    let action = Action::Register {
        org: OrgName::new("nobody").unwrap().id(),
        entries: vec![world.entry(&fresh)],
    };
    let transaction = world.sign(action, &[&world.writer]);
    refuse(&mut world, transaction, Rejection::ForeignSigner);

    // Where the keys are named, nobody asks whose the signers are before the organisation is looked for.
    let pre = with_key(&mut world, 21, Purpose::Pre);
    let act = TestKey::new(22, Purpose::Act);
    let action = Action::Activate {
        org: OrgName::new("nobody").unwrap().id(),
        pre: world.named(&pre),
        act: Box::new(world.entry(&act)),
    };
    let transaction = world.sign(action, &[&pre, &act]);
    refuse(&mut world, transaction, Rejection::UnknownOrganisation);
}

#[test]
fn the_quota_is_never_exceeded() {
    // Officer and writer take two of five rows.
    let mut world = World::new(5);
    let genesis = world.genesis();
    world.block(vec![genesis]).unwrap();
    let grant = world.grant(&TestKey::new(WRITER, Purpose::Writer));
    accept(&mut world, grant);
    let keys: Vec<TestKey> = (20..24).map(|n| TestKey::new(n, Purpose::App)).collect();
    let four = world.register(&keys.iter().collect::<Vec<_>>());
    refuse(&mut world, four, Rejection::Quota);
    let three = world.register(&keys[..3].iter().collect::<Vec<_>>());
    accept(&mut world, three);
    assert_eq!(world.organisation().rows, 5);

    // Nothing that adds a row has room any more, and everything that ends one has.
    let fourth = world.register(&[&keys[3]]);
    refuse(&mut world, fourth, Rejection::Quota);
    let supersede = supersession(&world, &keys[0], &keys[3], &[&keys[0], &keys[3]]);
    refuse(&mut world, supersede, Rejection::Quota);
    let revoke = world.sign(revocation(&world, &[&keys[0]]), &[&world.officer]);
    accept(&mut world, revoke);
    assert_eq!(world.organisation().rows, 5, "a record is never deleted");
}

#[test]
fn a_foreign_key_brings_its_bytes_and_signs_nothing() {
    let mut world = World::open();
    let spki: Vec<u8> = (0..=255).cycle().take(400).collect();
    let entry = |number: u8| {
        Entry::foreign(
            Handle::new([number; 32]),
            Purpose::Act,
            ForeignAlgorithm::Rsa,
            &spki,
            Binding::ZERO,
            None,
        )
        .unwrap()
    };
    let register = |world: &World, entries| {
        let action = Action::Register {
            org: world.org,
            entries,
        };
        world.sign(action, &[&world.writer])
    };
    let before = world.organisation().rows;
    let twice = register(&world, vec![entry(1), entry(2)]);
    accept(&mut world, twice);
    assert_eq!(
        world.organisation().rows,
        before + 2 + 3,
        "two records, one key in three parts"
    );
    let (_, length, digest) = world
        .record(&Handle::new([1; 32]))
        .unwrap()
        .keys()
        .foreign_key()
        .unwrap();
    assert_eq!(length, 400);
    let parts: Vec<u8> = (0..3)
        .flat_map(|index| {
            let row = world.state.row(&StateKey::blob_part(&digest.into(), index));
            BlobPart::decode(&row.unwrap()).unwrap().bytes().to_vec()
        })
        .collect();
    assert_eq!(parts, spki);

    let third = register(&world, vec![entry(3)]);
    accept(&mut world, third);
    assert_eq!(
        world.organisation().rows,
        before + 6,
        "its bytes stand already"
    );

    let action = Action::Anchor {
        org: world.org,
        topic: kusabi_core::row::Topic::Evidence,
        digest: [1; 32].into(),
    };
    let mut draft = Draft::new(world.chain, action).unwrap();
    draft.add(Handle::new([1; 32]), [0; 64].into());
    refuse(
        &mut world,
        draft.finish().unwrap(),
        Rejection::SignerPurpose,
    );
}

#[test]
fn an_activation_spends_the_factory_key() {
    let mut world = World::open();
    let pre = with_key(&mut world, 10, Purpose::Pre);
    let before = world.organisation();
    let act = TestKey::of_suite(Suite::P256, 11, Purpose::Act);
    let transaction = activation(&world, &pre, &act, &[&pre, &act]);
    accept(&mut world, transaction);
    let spent = world.record(&pre.handle).unwrap();
    assert_eq!(
        (spent.status(), spent.ended()),
        (Status::Spent, Some(world.height))
    );
    let record = world.record(&act.handle).unwrap();
    assert_eq!(record.predecessor(), Some(pre.handle));
    assert!(record.is_active());
    assert_eq!(world.organisation().active, before.active);
    assert_eq!(world.organisation().rows, before.rows + 1);

    // Neither again with the same factory key, nor with the spent one named at its new version.
    let another = TestKey::new(12, Purpose::Act);
    let again = activation(&world, &pre, &another, &[&pre, &another]);
    refuse(&mut world, again, Rejection::RecordEnded);
}

#[test]
fn an_activation_needs_both_keys_and_nobody_else() {
    let mut world = World::open();
    let pre = with_key(&mut world, 10, Purpose::Pre);
    let other_pre = with_key(&mut world, 11, Purpose::Pre);
    let app = with_key(&mut world, 12, Purpose::App);
    let act = TestKey::new(13, Purpose::Act);
    let cases = [
        (
            activation(&world, &pre, &act, &[&pre]),
            Rejection::TooFewSignatures,
        ),
        (
            activation(&world, &pre, &act, &[&act]),
            Rejection::UnknownSigner,
        ),
        (
            activation(&world, &pre, &act, &[&pre, &act, &world.writer]),
            Rejection::SuperfluousSignature,
        ),
        (
            activation(&world, &pre, &act, &[&other_pre, &act]),
            Rejection::SuperfluousSignature,
        ),
        (
            activation(&world, &app, &act, &[&app, &act]),
            Rejection::RecordPurpose,
        ),
        (
            activation(&world, &pre, &TestKey::new(11, Purpose::Act), &[&pre]),
            Rejection::HandleTaken,
        ),
        (
            activation(&world, &TestKey::new(99, Purpose::Pre), &act, &[&pre]),
            Rejection::UnknownRecord,
        ),
    ];
    for (transaction, rejection) in cases {
        refuse(&mut world, transaction, rejection);
    }
    let action = Action::Activate {
        org: world.org,
        pre: Named {
            handle: pre.handle,
            version: 2,
        },
        act: Box::new(world.entry(&act)),
    };
    let stale = world.sign(action, &[&pre, &act]);
    refuse(&mut world, stale, Rejection::StaleVersion);
}

#[test]
fn a_foreign_record_is_out_of_reach() {
    let mut world = World::open();
    let foreign = foreign_writer(&mut world);
    let new = TestKey::new(13, Purpose::App);
    let supersede = supersession(&world, &foreign, &new, &[&foreign, &new]);
    refuse(&mut world, supersede, Rejection::ForeignRecord);
    let revoke = world.sign(revocation(&world, &[&foreign]), &[&world.officer]);
    refuse(&mut world, revoke, Rejection::ForeignRecord);
    let withdraw = Action::Withdraw {
        org: world.org,
        target: world.named(&foreign),
    };
    let withdraw = world.sign(withdraw, &[&world.officer]);
    refuse(&mut world, withdraw, Rejection::ForeignRecord);
}

#[test]
fn a_superseded_key_leaves_its_place_to_its_successor() {
    let mut world = World::open();
    let old = with_key(&mut world, 10, Purpose::App);
    let new = TestKey::of_suite(Suite::P256, 11, Purpose::App);
    let transaction = supersession(&world, &old, &new, &[&old, &new]);
    accept(&mut world, transaction);
    assert_eq!(
        world.record(&old.handle).unwrap().status(),
        Status::Superseded
    );
    assert_eq!(
        world.record(&new.handle).unwrap().predecessor(),
        Some(old.handle)
    );

    let third = TestKey::new(12, Purpose::App);
    let act = TestKey::new(13, Purpose::Act);
    let cases = [
        (
            supersession(&world, &old, &third, &[&old, &third]),
            Rejection::RecordEnded,
        ),
        (
            supersession(&world, &new, &third, &[&new]),
            Rejection::TooFewSignatures,
        ),
        (
            supersession(&world, &new, &third, &[&third]),
            Rejection::UnknownSigner,
        ),
        (
            supersession(&world, &new, &third, &[&world.officer, &third]),
            Rejection::SuperfluousSignature,
        ),
        (
            supersession(&world, &new, &act, &[&new, &act]),
            Rejection::RecordPurpose,
        ),
        (
            supersession(&world, &new, &old, &[&new, &old]),
            Rejection::HandleTaken,
        ),
    ];
    for (transaction, rejection) in cases {
        refuse(&mut world, transaction, rejection);
    }
    // An ended key does not come back by being registered.
    let revived = world.register(&[&old]);
    refuse(&mut world, revived, Rejection::HandleTaken);
}

#[test]
fn a_factory_key_is_not_superseded() {
    let mut world = World::open();
    let pre = with_key(&mut world, 10, Purpose::Pre);
    let new = TestKey::new(11, Purpose::Act);
    let supersede = supersession(&world, &pre, &new, &[&pre, &new]);
    refuse(&mut world, supersede, Rejection::RecordPurpose);
}

/// What officers sign to end a stolen role key stays good, whatever the thief does with the key: it cannot go on under another
/// handle, neither as a role nor as a key that may follow.
#[test]
fn a_role_does_not_outrun_its_withdrawal() {
    let mut world = World::open();
    let stolen = [
        with_key(&mut world, 10, Purpose::Writer),
        with_key(&mut world, 11, Purpose::Revoker),
        with_key(&mut world, 12, Purpose::Ps),
        with_key(&mut world, 13, Purpose::Officer),
    ];
    for (key, number) in stolen.iter().zip(20..) {
        let action = Action::Withdraw {
            org: world.org,
            target: world.named(key),
        };
        let withdrawal = world.sign(action, &[&world.officer]);
        let escape = Action::Supersede {
            org: world.org,
            old: world.named(key),
            new: Box::new(world.entry(&TestKey::new(number, key.purpose))),
        };
        assert_eq!(
            Draft::new(world.chain, escape).unwrap_err(),
            TxError::Purpose
        );
        let app = TestKey::new(number, Purpose::App);
        let escape = supersession(&world, key, &app, &[key, &app]);
        refuse(&mut world, escape, Rejection::RecordPurpose);
        accept(&mut world, withdrawal);
        assert!(!world.record(&key.handle).unwrap().is_active());
    }
}

/// How a role's key is replaced: the new one is granted, the old one withdrawn. The last officer does it alone.
#[test]
fn an_officers_key_is_replaced_by_granting_and_withdrawing() {
    let mut world = World::open();
    let new = with_key(&mut world, 20, Purpose::Officer);
    let action = Action::Withdraw {
        org: world.org,
        target: world.named(&world.officer),
    };
    let withdrawal = world.sign(action, &[&new]);
    accept(&mut world, withdrawal);
    assert_eq!(world.organisation().officers_n, 1);
    let grant = Action::Grant {
        org: world.org,
        org_version: world.organisation().version,
        entry: Box::new(world.entry(&TestKey::new(21, Purpose::Writer))),
    };
    let by_old = world.sign(grant.clone(), &[&world.officer]);
    refuse(&mut world, by_old, Rejection::SignerEnded);
    let by_new = world.sign(grant, &[&new]);
    accept(&mut world, by_new);
}

#[test]
fn the_highest_height_is_still_a_height() {
    let mut world = World::open();
    world.height = Height::new(Height::MAX.get() - 1).unwrap();
    let key = TestKey::new(10, Purpose::App);
    let register = world.register(&[&key]);
    world.submit(register).unwrap();
    assert_eq!(world.record(&key.handle).unwrap().registered(), Height::MAX);
}

/// A stolen device key runs away from itself, step by step, each a row: it gets no further than one step in 64 heights.
#[test]
fn a_key_that_followed_rests_before_the_next_step() {
    let mut world = World::open();
    let first = with_key(&mut world, 10, Purpose::App);
    let [second, third] = [11, 12].map(|number| TestKey::new(number, Purpose::App));
    // A first key is followed at once.
    let step = supersession(&world, &first, &second, &[&first, &second]);
    accept(&mut world, step);
    let since = world.height.get();
    let step = supersession(&world, &second, &third, &[&second, &third]);
    refuse(&mut world, step.clone(), Rejection::Resting);
    world.height = Height::new(since + 62).unwrap();
    refuse(&mut world, step.clone(), Rejection::Resting);
    // Revoking does not wait.
    let revoke = world.sign(revocation(&world, &[&second]), &[&second]);
    assert_eq!(crate::verdict(&world, &revoke), Ok(()));
    world.height = Height::new(since + 63).unwrap();
    accept(&mut world, step);

    // The device key of an activation is a step too: the factory key is its predecessor.
    let pre = with_key(&mut world, 20, Purpose::Pre);
    let [act, next] = [21, 22].map(|number| TestKey::new(number, Purpose::Act));
    let activate = activation(&world, &pre, &act, &[&pre, &act]);
    accept(&mut world, activate);
    let step = supersession(&world, &act, &next, &[&act, &next]);
    refuse(&mut world, step.clone(), Rejection::Resting);
    world.height = Height::new(world.height.get() + 63).unwrap();
    accept(&mut world, step);
}
