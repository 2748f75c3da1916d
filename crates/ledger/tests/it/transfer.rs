//! Devices that come to another organisation: both say so, and the old owner can do nothing with them any more.

use kusabi_core::id::OrgId;
use kusabi_core::row::{Origin, Status};
use kusabi_core::suite::Purpose;
use kusabi_core::tx::{Act, Action, Transaction};
use kusabi_ledger::Rejection;
use kusabi_ledger::testing::{OFFICER, TestKey, WRITER, World};

use crate::{accept, refuse, revocation, with_key};

/// "cameras" with its officer, and a member that has a writer.
fn two() -> (World, OrgId, [TestKey; 2]) {
    let mut world = World::open_of(2);
    let to = world.org_of(1);
    let writer = TestKey::new(60, Purpose::Writer);
    let grant = Action::Grant {
        org: to,
        org_version: world.organisation_of(&to).unwrap().version,
        entry: Box::new(writer.entry(&world.chain, &to)),
    };
    let grant = world.sign(grant, &[&world.others[0].officer]);
    accept(&mut world, grant);
    (world, to, [TestKey::new(OFFICER, Purpose::Officer), writer])
}

fn transfer(world: &World, to: OrgId, keys: &[&TestKey], signers: &[&TestKey]) -> Transaction {
    let action = Action::Transfer {
        org: world.org,
        to,
        targets: keys.iter().map(|key| world.named(key)).collect(),
    };
    world.sign(action, signers)
}

#[test]
fn a_device_moves_with_its_row_and_the_old_owner_loses_all_power() {
    let (mut world, to, [officer, writer]) = two();
    let act = with_key(&mut world, 70, Purpose::Act);
    let pre = with_key(&mut world, 71, Purpose::Pre);
    let before = (world.organisation(), world.organisation_of(&to).unwrap());
    let stale = world.sign(revocation(&world, &[&act]), &[&world.officer]);
    let both = [&officer, &writer];
    let moved = transfer(&world, to, &[&act, &pre], &both);
    accept(&mut world, moved);
    let after = (world.organisation(), world.organisation_of(&to).unwrap());
    assert_eq!(
        (before.0.rows - 2, before.0.active - 2),
        (after.0.rows, after.0.active)
    );
    assert_eq!(
        (before.1.rows + 2, before.1.active + 2),
        (after.1.rows, after.1.active)
    );
    let record = world.record(&act.handle).unwrap();
    assert_eq!(
        (record.owner(), record.version(), record.moves()),
        (to, 2, 1)
    );
    assert!(record.is_active());
    assert_eq!(record.origin(), Origin::Registered(world.org));
    // What ties it to its ID names the first owner: nobody pairs with it before it has replaced its key.
    assert!(!record.is_bound(&act.id, &world.chain));

    // The old owner neither revokes it, nor takes it back, nor activates or replaces it, not even with what it signed before.
    refuse(&mut world, stale, Rejection::ForeignRecord);
    let revoke = world.sign(revocation(&world, &[&act]), &[&world.officer]);
    refuse(&mut world, revoke, Rejection::ForeignRecord);
    let back = transfer(&world, to, &[&act], &[&officer, &writer]);
    refuse(&mut world, back, Rejection::ForeignRecord);
    let born = TestKey::new(72, Purpose::Act);
    let activate = |world: &World, org| {
        let action = Action::Activate {
            org,
            pre: world.named(&pre),
            act: Box::new(born.entry(&world.chain, &org)),
        };
        world.sign(action, &[&pre, &born])
    };
    let old = activate(&world, world.org);
    refuse(&mut world, old, Rejection::ForeignRecord);

    // The device follows: it activates and replaces its key as the new owner's.
    let new = activate(&world, to);
    accept(&mut world, new);
    let pre_record = world.record(&pre.handle).unwrap();
    assert_eq!(
        (pre_record.status(), pre_record.version()),
        (Status::Spent, 3)
    );
    let next = TestKey::new(73, Purpose::Act);
    let follow = Action::Supersede {
        org: to,
        old: world.named(&act),
        new: Box::new(next.entry(&world.chain, &to)),
    };
    let follow = world.sign(follow, &[&act, &next]);
    accept(&mut world, follow);
    let record = world.record(&next.handle).unwrap();
    assert_eq!((record.owner(), record.moves()), (to, 0));
    assert!(record.is_bound(&next.id, &world.chain));

    // And the new owner has the power.
    let revoke = Action::Revoke {
        org: to,
        targets: vec![world.named(&next)],
        reason: kusabi_core::row::Reason::Lost,
        compromised_since: None,
        signers: 1,
    };
    let revoke = world.sign(revoke, &[&world.others[0].officer]);
    accept(&mut world, revoke);
}

#[test]
fn both_sign_and_nobody_else() {
    let (mut world, to, [officer, writer]) = two();
    let act = with_key(&mut world, 70, Purpose::Act);
    let own_writer = TestKey::new(WRITER, Purpose::Writer);
    let second = TestKey::new(61, Purpose::Writer);
    let other_officer = TestKey::new(1 << 32 | 1, Purpose::Officer);
    for (signers, why) in [
        (vec![&officer], Rejection::TooFewSignatures),
        (vec![&writer], Rejection::TooFewSignatures),
        (vec![&officer, &other_officer], Rejection::ForeignSigner),
        (vec![&officer, &own_writer], Rejection::ForeignSigner),
        (vec![&officer, &writer, &second], Rejection::UnknownSigner),
        (vec![&act, &writer], Rejection::SignerPurpose),
    ] {
        let transaction = transfer(&world, to, &[&act], &signers);
        refuse(&mut world, transaction, why);
    }
    let nobody = OrgId::new([4; 16]);
    let both = [&officer, &writer];
    let lost = transfer(&world, nobody, &[&act], &both);
    refuse(&mut world, lost, Rejection::ForeignSigner);
}

#[test]
fn only_active_keys_of_devices_move() {
    let (mut world, to, [officer, writer]) = two();
    let own_writer = TestKey::new(WRITER, Purpose::Writer);
    let app = with_key(&mut world, 70, Purpose::App);
    let act = with_key(&mut world, 71, Purpose::Act);
    let gone = with_key(&mut world, 72, Purpose::Act);
    let revoke = world.sign(revocation(&world, &[&gone]), &[&world.officer]);
    accept(&mut world, revoke);
    for (keys, why) in [
        (vec![&app], Rejection::RecordPurpose),
        (vec![&act, &app], Rejection::RecordPurpose),
        (vec![&act, &gone], Rejection::RecordEnded),
        (vec![&own_writer], Rejection::RecordPurpose),
    ] {
        let transaction = transfer(&world, to, &keys, &[&officer, &writer]);
        refuse(&mut world, transaction, why);
    }
}

#[test]
fn a_frozen_owner_loses_no_device_and_a_full_one_takes_none() {
    let (mut world, to, [officer, writer]) = two();
    let act = with_key(&mut world, 70, Purpose::Act);
    let both = [&officer, &writer];
    let moved = transfer(&world, to, &[&act], &both);
    let rows = world.organisation_of(&to).unwrap().rows;
    let decide = |world: &mut World, act: Act| {
        let (proposal, propose) = world.propose(0, vec![act]);
        accept(world, propose);
        let vote = world.vote(1, &proposal, true);
        accept(world, vote);
    };
    decide(&mut world, Act::Quota { org: to, rows });
    refuse(&mut world, moved.clone(), Rejection::Quota);
    decide(
        &mut world,
        Act::Quota {
            org: to,
            rows: rows + 1,
        },
    );
    let org = world.org;
    decide(&mut world, Act::Freeze { org });
    refuse(&mut world, moved.clone(), Rejection::Frozen);
    world.time_ms += kusabi_core::tx::FREEZE_MS;
    accept(&mut world, moved);
}
