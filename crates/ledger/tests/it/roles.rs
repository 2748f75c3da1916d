//! Grant, withdraw, art policy.

use kusabi_core::id::{Binding, Handle};
use kusabi_core::row::{Reason, Status};
use kusabi_core::suite::{ForeignAlgorithm, Purpose};
use kusabi_core::tx::{Action, Draft, Entry, Named, OFFICERS_MAX, Transaction};
use kusabi_ledger::Rejection;
use kusabi_ledger::testing::{TestKey, World};

use crate::{accept, refuse, revocation, with_key};

fn withdrawal(world: &World, target: &TestKey, signers: &[&TestKey]) -> Transaction {
    let action = Action::Withdraw {
        org: world.org,
        target: world.named(target),
    };
    world.sign(action, signers)
}

pub(crate) fn policy(
    world: &World,
    k: u8,
    added: &[&TestKey],
    removed: &[&TestKey],
    signers: &[&TestKey],
) -> Transaction {
    let action = Action::ArtPolicy {
        org: world.org,
        policy_version: world.policy().map_or(0, |policy| policy.version),
        k,
        added: added.iter().map(|key| world.entry(key)).collect(),
        removed: removed.iter().map(|key| world.named(key)).collect(),
        signers: 1,
    };
    world.sign(action, signers)
}

/// Release keys 50, 51, …, all on the ledger, k of which sign.
pub(crate) fn with_policy(world: &mut World, k: u8, n: u64) -> Vec<TestKey> {
    let keys: Vec<TestKey> = (50..50 + n)
        .map(|number| TestKey::new(number, Purpose::Art))
        .collect();
    let added: Vec<&TestKey> = keys.iter().collect();
    let mut signers = vec![&world.officer];
    signers.extend(&keys[..k.into()]);
    let transaction = policy(world, k, &added, &[], &signers);
    accept(world, transaction);
    keys
}

#[test]
fn officers_give_and_take_roles() {
    let mut world = World::open();
    for (number, purpose) in (20..).zip([
        Purpose::Writer,
        Purpose::Revoker,
        Purpose::Ps,
        Purpose::Officer,
    ]) {
        let before = world.organisation();
        let key = with_key(&mut world, number, purpose);
        let granted = world.organisation();
        assert_eq!(granted.version, before.version + 1);
        assert_eq!(granted.active, before.active + 1);
        let is_officer = u8::from(purpose == Purpose::Officer);
        assert_eq!(granted.officers_n, before.officers_n + is_officer);

        let withdraw = withdrawal(&world, &key, &[&world.officer]);
        accept(&mut world, withdraw);
        let record = world.record(&key.handle).unwrap();
        assert_eq!(record.status(), Status::Revoked);
        assert_eq!(record.reason(), Reason::Withdrawn);
        assert_eq!(world.organisation().active, before.active);
        assert_eq!(world.organisation().officers_n, before.officers_n);
        let again = withdrawal(&world, &key, &[&world.officer]);
        refuse(&mut world, again, Rejection::RecordEnded);
    }
}

#[test]
fn nobody_but_officers_gives_roles() {
    let mut world = World::open();
    let revoker = with_key(&mut world, 10, Purpose::Revoker);
    let second = with_key(&mut world, 11, Purpose::Officer);
    let new = TestKey::new(20, Purpose::Officer);
    let grant = |world: &World, signers: &[&TestKey]| {
        let action = Action::Grant {
            org: world.org,
            org_version: world.organisation().version,
            entry: Box::new(world.entry(&new)),
        };
        world.sign(action, signers)
    };
    let cases = [
        (grant(&world, &[&world.writer]), Rejection::SignerPurpose),
        (grant(&world, &[&revoker]), Rejection::SignerPurpose),
        // A new officer has no say in whether it becomes one.
        (grant(&world, &[&new]), Rejection::UnknownSigner),
        (
            grant(&world, &[&world.officer, &new]),
            Rejection::SuperfluousSignature,
        ),
        (
            grant(&world, &[&world.officer, &second]),
            Rejection::SuperfluousSignature,
        ),
    ];
    for (transaction, rejection) in cases {
        refuse(&mut world, transaction, rejection);
    }
    let app = with_key(&mut world, 12, Purpose::App);
    let cases = [
        (
            withdrawal(&world, &revoker, &[&world.writer]),
            Rejection::SignerPurpose,
        ),
        (
            withdrawal(&world, &revoker, &[&revoker]),
            Rejection::SignerPurpose,
        ),
        (
            withdrawal(&world, &app, &[&world.officer]),
            Rejection::RecordPurpose,
        ),
    ];
    for (transaction, rejection) in cases {
        refuse(&mut world, transaction, rejection);
    }
}

#[test]
fn a_grant_is_signed_for_the_organisation_as_it_stands() {
    let mut world = World::open();
    let early = world.grant(&TestKey::new(20, Purpose::Writer));
    // A day's registrations do not make it stale, another act of the officers does.
    with_key(&mut world, 10, Purpose::App);
    assert_eq!(crate::verdict(&world, &early), Ok(()));
    with_key(&mut world, 11, Purpose::Revoker);
    refuse(&mut world, early, Rejection::StaleVersion);
}

#[test]
fn an_organisation_has_between_k_and_sixteen_officers() {
    let mut world = World::open();
    let last = withdrawal(&world, &world.officer, &[&world.officer]);
    refuse(&mut world, last, Rejection::LastOfficers);
    for number in 0..u64::from(OFFICERS_MAX) - 1 {
        with_key(&mut world, 100 + number, Purpose::Officer);
    }
    let one_more = world.grant(&TestKey::new(200, Purpose::Officer));
    refuse(&mut world, one_more, Rejection::TooManyOfficers);
}

#[test]
fn officers_and_new_keys_set_the_first_policy() {
    let mut world = World::open();
    let keys: Vec<TestKey> = (50..53).map(|n| TestKey::new(n, Purpose::Art)).collect();
    let added: Vec<&TestKey> = keys.iter().collect();
    let officer = TestKey::new(1, Purpose::Officer);
    let cases = [
        (
            policy(&world, 2, &added, &[], &[&officer]),
            Rejection::TooFewSignatures,
        ),
        (
            policy(&world, 2, &added, &[], &[&officer, &keys[0]]),
            Rejection::TooFewSignatures,
        ),
        (
            policy(&world, 2, &added, &[], &[&keys[0], &keys[1]]),
            Rejection::UnknownSigner,
        ),
        (
            policy(
                &world,
                2,
                &added,
                &[],
                &[&officer, &keys[0], &keys[1], &world.writer],
            ),
            Rejection::SignerPurpose,
        ),
        (
            policy(
                &world,
                4,
                &added,
                &[],
                &[&officer, &keys[0], &keys[1], &keys[2]],
            ),
            Rejection::TooFewSignatures,
        ),
    ];
    for (transaction, rejection) in cases {
        refuse(&mut world, transaction, rejection);
    }
    let before = world.organisation();
    let keys = with_policy(&mut world, 2, 3);
    let row = world.policy().unwrap();
    assert_eq!((row.version, row.k, row.n), (1, 2, 3));
    assert_eq!(world.organisation().active, before.active + 3);
    assert_eq!(
        world.record(&keys[0].handle).unwrap().purpose(),
        Purpose::Art
    );
}

#[test]
fn old_and_new_keys_change_the_policy() {
    let mut world = World::open();
    let keys = with_policy(&mut world, 2, 3);
    let new = TestKey::new(60, Purpose::Art);
    let officer = TestKey::new(1, Purpose::Officer);
    let swap =
        |world: &World, signers: &[&TestKey]| policy(world, 2, &[&new], &[&keys[0]], signers);
    let cases = [
        // k of the old, but only one that stays, and the new key is silent.
        (
            swap(&world, &[&keys[0], &keys[1]]),
            Rejection::TooFewSignatures,
        ),
        (swap(&world, &[&keys[1], &new]), Rejection::TooFewSignatures),
        (
            swap(&world, &[&officer, &keys[1], &keys[2]]),
            Rejection::SuperfluousSignature,
        ),
        (swap(&world, &[&officer, &new]), Rejection::TooFewSignatures),
        (
            policy(
                &world,
                1,
                &[],
                &[&keys[0], &keys[1], &keys[2]],
                &[&keys[0], &keys[1]],
            ),
            Rejection::TooFewSignatures,
        ),
        (
            policy(&world, 2, &[], &[&world.writer], &[&keys[0], &keys[1]]),
            Rejection::RecordPurpose,
        ),
    ];
    for (transaction, rejection) in cases {
        refuse(&mut world, transaction, rejection);
    }
    let good = swap(&world, &[&keys[0], &keys[1], &new]);
    accept(&mut world, good);
    let row = world.policy().unwrap();
    assert_eq!((row.version, row.k, row.n), (2, 2, 3));
    let ended = world.record(&keys[0].handle).unwrap();
    assert_eq!(
        (ended.status(), ended.reason()),
        (Status::Revoked, Reason::Retired)
    );

    let raise = policy(&world, 3, &[], &[], &[&keys[1], &keys[2], &new]);
    accept(&mut world, raise);
    let fifth = TestKey::new(61, Purpose::Art);
    let removes_ended = policy(
        &world,
        2,
        &[&fifth],
        &[&keys[0]],
        &[&keys[1], &keys[2], &new],
    );
    refuse(&mut world, removes_ended, Rejection::RecordEnded);
}

#[test]
fn a_policy_has_bounds() {
    let mut world = World::open();
    let keys = with_policy(&mut world, 1, 16);
    let one_more = TestKey::new(90, Purpose::Art);
    let seventeen = policy(&world, 1, &[&one_more], &[], &[&keys[0]]);
    refuse(&mut world, seventeen, Rejection::TooManyArtKeys);
}

#[test]
fn revoked_release_keys_do_not_lock_the_organisation_out() {
    let mut world = World::open();
    let keys = with_policy(&mut world, 2, 2);
    let officer = TestKey::new(1, Purpose::Officer);
    let revoke = world.sign(revocation(&world, &[&keys[0]]), &[&officer]);
    accept(&mut world, revoke);
    let row = world.policy().unwrap();
    assert_eq!((row.version, row.k, row.n), (2, 2, 1));

    let new = TestKey::new(60, Purpose::Art);
    let without_officers = policy(&world, 2, &[&new], &[], &[&keys[1], &new]);
    refuse(&mut world, without_officers, Rejection::TooFewSignatures);
    let by_ended = policy(&world, 2, &[&new], &[], &[&officer, &keys[0], &new]);
    refuse(&mut world, by_ended, Rejection::SignerEnded);
    let with_officers = policy(&world, 2, &[&new], &[], &[&officer, &keys[1], &new]);
    accept(&mut world, with_officers);
    let row = world.policy().unwrap();
    assert_eq!((row.version, row.k, row.n), (3, 2, 2));
}

#[test]
fn the_policy_names_how_many_sign_it() {
    let mut world = World::open();
    let keys = with_policy(&mut world, 2, 3);
    let new = TestKey::new(60, Purpose::Art);
    // Four keys sign where two of them would do.
    let signers = [&keys[0], &keys[1], &keys[2], &new];
    let signed = policy(&world, 2, &[&new], &[], &signers);
    for taken in signers {
        let mut draft = Draft::new(world.chain, signed.action().clone()).unwrap();
        for left in signed.signatures() {
            if left.signer != taken.handle {
                draft.add(left.signer, left.signature);
            }
        }
        let cut = draft.finish().unwrap();
        refuse(&mut world, cut, Rejection::TooFewSignatures);
    }
    accept(&mut world, signed);
}

#[test]
fn foreign_release_keys_stand_beside_the_policy_and_do_not_count_in_it() {
    let mut world = World::open();
    let keys = with_policy(&mut world, 1, 2);
    let spki: Vec<u8> = (0..=255).cycle().take(294).collect();
    let foreign = |number: u8| {
        Entry::foreign(
            Handle::new([number; 32]),
            Purpose::Art,
            ForeignAlgorithm::Rsa,
            &spki,
            Binding::ZERO,
            None,
        )
        .unwrap()
    };
    let set = |world: &World, k, added: Vec<Entry>, removed, signers: &[&TestKey]| {
        let action = Action::ArtPolicy {
            org: world.org,
            policy_version: world.policy().unwrap().version,
            k,
            added,
            removed,
            signers: 1,
        };
        world.sign(action, signers)
    };
    let rows = world.organisation().rows;
    let both = set(&world, 1, vec![foreign(1), foreign(2)], vec![], &[&keys[0]]);
    accept(&mut world, both);
    let policy = world.policy().unwrap();
    assert_eq!((policy.k, policy.n), (1, 2), "neither of them publishes");
    assert_eq!(
        world.organisation().rows,
        rows + 2 + 2,
        "one key's bytes, in two parts"
    );
    let record = world.record(&Handle::new([1; 32])).unwrap();
    assert_eq!(record.purpose(), Purpose::Art);

    // A policy that only foreign keys could meet is none.
    let more = set(&world, 3, vec![foreign(3)], vec![], &[&keys[0], &keys[1]]);
    refuse(&mut world, more, Rejection::TooFewSignatures);

    // Ended by the policy's next change, or revoked like any other key: the number of those that publish stays.
    let named = |world: &World, number| {
        let handle = Handle::new([number; 32]);
        let version = world.record(&handle).unwrap().version();
        Named { handle, version }
    };
    let ended = set(
        &world,
        2,
        vec![],
        vec![named(&world, 1)],
        &[&keys[0], &keys[1]],
    );
    accept(&mut world, ended);
    let policy = world.policy().unwrap();
    assert_eq!((policy.k, policy.n), (2, 2));
    let revoke = Action::Revoke {
        org: world.org,
        targets: vec![named(&world, 2)],
        reason: Reason::Compromised,
        compromised_since: None,
        signers: 1,
    };
    let revoke = world.sign(revoke, &[&world.officer]);
    accept(&mut world, revoke);
    assert_eq!(world.policy().unwrap(), policy);
    let record = world.record(&Handle::new([2; 32])).unwrap();
    assert_eq!(record.status(), Status::Revoked);
}
