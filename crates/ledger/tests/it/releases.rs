//! Publish, withdraw release, anchor.

use kusabi_core::id::{Digest, StateKey};
use kusabi_core::row::{AnchorRow, Release, ReleaseStatus, Topic};
use kusabi_core::suite::Purpose;
use kusabi_core::tx::{Action, Transaction};
use kusabi_ledger::testing::{TestKey, World};
use kusabi_ledger::{Rejection, State};

use crate::keys::foreign_writer;
use crate::roles::with_policy;
use crate::{accept, refuse, revocation, with_key};

const DIGEST: Digest = Digest::new([7; 32]);

fn publish(world: &World, signers: &[&TestKey]) -> Transaction {
    let action = Action::Publish {
        org: world.org,
        policy_version: world.policy().map_or(1, |policy| policy.version),
        digest: DIGEST,
        minimum_counter: 5,
    };
    world.sign(action, signers)
}

fn withdraw(world: &World, version: u32, signers: &[&TestKey]) -> Transaction {
    let action = Action::WithdrawRelease {
        org: world.org,
        digest: DIGEST,
        version,
    };
    world.sign(action, signers)
}

fn anchor(world: &World, digest: u8, signers: &[&TestKey]) -> Transaction {
    let action = Action::Anchor {
        org: world.org,
        topic: Topic::Evidence,
        digest: Digest::new([digest; 32]),
    };
    world.sign(action, signers)
}

fn release(world: &World) -> Release {
    let row = world.state.row(&StateKey::release(&world.org, &DIGEST));
    Release::decode(&row.unwrap()).unwrap()
}

#[test]
fn k_release_keys_publish() {
    let mut world = World::open();
    // Without a policy there is no release key, and nobody else publishes.
    let early = publish(&world, &[&world.writer]);
    refuse(&mut world, early, Rejection::SignerPurpose);
    let keys = with_policy(&mut world, 2, 3);
    let cases = [
        (publish(&world, &[]), Rejection::TooFewSignatures),
        (publish(&world, &[&keys[0]]), Rejection::TooFewSignatures),
        (
            publish(&world, &[&keys[0], &world.officer]),
            Rejection::SignerPurpose,
        ),
        (
            publish(&world, &[&keys[0], &keys[1], &keys[2]]),
            Rejection::SuperfluousSignature,
        ),
    ];
    for (transaction, rejection) in cases {
        refuse(&mut world, transaction, rejection);
    }
    let rows = world.organisation().rows;
    let good = publish(&world, &[&keys[0], &keys[2]]);
    accept(&mut world, good);
    assert_eq!(release(&world).published_at(), world.height);
    assert_eq!(release(&world).minimum_counter(), 5);
    assert_eq!(world.organisation().rows, rows + 1);
    let again = publish(&world, &[&keys[0], &keys[1]]);
    refuse(&mut world, again, Rejection::ReleaseExists);
}

#[test]
fn a_release_signed_before_a_key_was_revoked_is_stale() {
    let mut world = World::open();
    let keys = with_policy(&mut world, 1, 3);
    let signed = publish(&world, &[&keys[0]]);
    let revoke = world.sign(revocation(&world, &[&keys[1]]), &[&world.officer]);
    accept(&mut world, revoke);
    refuse(&mut world, signed, Rejection::StaleVersion);
    let revoke = world.sign(revocation(&world, &[&keys[0]]), &[&world.officer]);
    accept(&mut world, revoke);
    let by_ended = publish(&world, &[&keys[0]]);
    refuse(&mut world, by_ended, Rejection::SignerEnded);
}

#[test]
fn a_release_is_withdrawn_for_ever() {
    let mut world = World::open();
    let keys = with_policy(&mut world, 2, 2);
    let revoker = with_key(&mut world, 10, Purpose::Revoker);
    let none = withdraw(&world, 1, &[&revoker]);
    refuse(&mut world, none, Rejection::UnknownRelease);
    let good = publish(&world, &[&keys[0], &keys[1]]);
    accept(&mut world, good);
    let cases = [
        (
            withdraw(&world, 1, &[&keys[0]]),
            Rejection::TooFewSignatures,
        ),
        (
            withdraw(&world, 1, &[&world.officer]),
            Rejection::SignerPurpose,
        ),
        (
            withdraw(&world, 1, &[&revoker, &keys[0]]),
            Rejection::SignerPurpose,
        ),
        (withdraw(&world, 2, &[&revoker]), Rejection::StaleVersion),
    ];
    for (transaction, rejection) in cases {
        refuse(&mut world, transaction, rejection);
    }
    // Also when too few release keys are left to publish anything.
    let revoke = world.sign(revocation(&world, &[&keys[0]]), &[&world.officer]);
    accept(&mut world, revoke);
    let good = withdraw(&world, 1, &[&revoker]);
    accept(&mut world, good);
    assert_eq!(release(&world).status(), ReleaseStatus::Withdrawn);
    assert_eq!(release(&world).withdrawn_at(), Some(world.height));
    let again = withdraw(&world, 2, &[&revoker]);
    refuse(&mut world, again, Rejection::ReleaseWithdrawn);
}

#[test]
fn release_keys_withdraw_too() {
    let mut world = World::open();
    let keys = with_policy(&mut world, 2, 2);
    let good = publish(&world, &[&keys[0], &keys[1]]);
    accept(&mut world, good);
    let back = withdraw(&world, 1, &[&keys[0], &keys[1]]);
    accept(&mut world, back);
    let once_more = publish(&world, &[&keys[0], &keys[1]]);
    refuse(&mut world, once_more, Rejection::ReleaseExists);
}

#[test]
fn a_digest_is_anchored_once() {
    let mut world = World::open();
    let art = with_policy(&mut world, 1, 1);
    let keys: Vec<TestKey> = [Purpose::Revoker, Purpose::App]
        .into_iter()
        .zip(10..)
        .map(|(purpose, number)| with_key(&mut world, number, purpose))
        .collect();
    let silent: Vec<TestKey> = [Purpose::Pre, Purpose::Act, Purpose::Ps]
        .into_iter()
        .zip(20..)
        .map(|(purpose, number)| with_key(&mut world, number, purpose))
        .collect();
    for key in &silent {
        let transaction = anchor(&world, 1, &[key]);
        refuse(&mut world, transaction, Rejection::SignerPurpose);
    }
    let officer = TestKey::new(1, Purpose::Officer);
    let writer = TestKey::new(2, Purpose::Writer);
    let able = [&officer, &writer, &art[0], &keys[0], &keys[1]];
    for (key, digest) in able.into_iter().zip(1..) {
        let rows = world.organisation().rows;
        let transaction = anchor(&world, digest, &[key]);
        accept(&mut world, transaction);
        let row = world
            .state
            .row(&StateKey::anchor(&Digest::new([digest; 32])));
        let row = AnchorRow::decode(&row.unwrap()).unwrap();
        assert_eq!(row.signer, key.handle);
        assert_eq!(row.height, world.height);
        assert_eq!(world.organisation().rows, rows + 1);
    }
    let foreign = foreign_writer(&mut world);
    let cases = [
        (anchor(&world, 1, &[&keys[1]]), Rejection::AnchorExists),
        (anchor(&world, 9, &[]), Rejection::TooFewSignatures),
        (
            anchor(&world, 9, &[&officer, &writer]),
            Rejection::SuperfluousSignature,
        ),
        (anchor(&world, 9, &[&foreign]), Rejection::ForeignSigner),
    ];
    for (transaction, rejection) in cases {
        refuse(&mut world, transaction, rejection);
    }
}
