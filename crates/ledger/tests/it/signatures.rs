//! Verification in batches: one bad signature condemns no neighbour.

use kusabi_core::id::{Digest, Handle};
use kusabi_core::row::{Record, Topic};
use kusabi_core::suite::{Purpose, Suite};
use kusabi_core::tx::{Action, Draft, Transaction};
use kusabi_ledger::testing::{SeededRng, TestKey, World};
use kusabi_ledger::{Overlay, Rejection, check, claims, verify};

use crate::accept;

/// A world and anchors by keys of both suites.
fn anchors(count: u8) -> (World, Vec<Transaction>) {
    let mut world = World::open();
    let keys: Vec<TestKey> = (0..count)
        .map(|n| {
            let suite = if n.is_multiple_of(3) {
                Suite::P256
            } else {
                Suite::Curve25519
            };
            TestKey::of_suite(suite, 100 + u64::from(n), Purpose::App)
        })
        .collect();
    let register = world.register(&keys.iter().collect::<Vec<_>>());
    accept(&mut world, register);
    let transactions = keys
        .iter()
        .zip(1..)
        .map(|(key, n)| {
            let action = Action::Anchor {
                org: world.org,
                topic: Topic::Evidence,
                digest: Digest::new([n; 32]),
            };
            world.sign(action, &[key])
        })
        .collect();
    (world, transactions)
}

fn spoiled(transaction: &Transaction, bit: usize) -> Transaction {
    let signed = transaction.signatures()[0];
    let mut signature = *signed.signature.as_bytes();
    signature[bit / 8] ^= 1 << (bit % 8);
    let mut draft = Draft::from(transaction.clone());
    draft.add(signed.signer, signature.into());
    draft.finish().unwrap()
}

#[test]
fn a_bad_signature_condemns_itself_only() {
    let (world, good) = anchors(12);
    let all_good = good
        .iter()
        .map(|transaction| claims(transaction.clone(), &world.chain, &world.state).unwrap())
        .collect();
    let verdicts = verify(all_good, &mut SeededRng::new(1));
    assert!(verdicts.iter().all(Result::is_ok));

    for bad in 0..12 {
        for bit in [0, 100, 255, 256, 400, 511] {
            let batch = good
                .iter()
                .enumerate()
                .map(|(index, transaction)| {
                    let transaction = if index == bad {
                        spoiled(transaction, bit)
                    } else {
                        transaction.clone()
                    };
                    claims(transaction, &world.chain, &world.state).unwrap()
                })
                .collect();
            for (index, verdict) in verify(batch, &mut SeededRng::new(2)).iter().enumerate() {
                match verdict {
                    Ok(verified) => {
                        assert_ne!(index, bad);
                        assert_eq!(verified.transaction(), &good[index]);
                    }
                    Err(rejection) => {
                        assert_eq!((index, *rejection), (bad, Rejection::BadSignature));
                    }
                }
            }
        }
    }
}

#[test]
fn a_signature_under_another_handle_is_no_signature() {
    let (world, good) = anchors(3);
    let signed = good[1].signatures()[0];
    let other = good[2].signatures()[0].signer;
    let action = good[1].action().clone();
    let mut draft = Draft::new(world.chain, action).unwrap();
    draft.add(other, signed.signature);
    let claims = claims(draft.finish().unwrap(), &world.chain, &world.state).unwrap();
    let verdict = verify(vec![claims], &mut SeededRng::new(1)).pop().unwrap();
    assert_eq!(verdict.unwrap_err(), Rejection::BadSignature);
}

#[test]
fn what_check_says_does_not_depend_on_where_a_signature_was_verified() {
    let (world, good) = anchors(3);
    let handle: Handle = good[1].signatures()[0].signer;
    let verified = claims(good[1].clone(), &world.chain, &world.state)
        .map(|claims| verify(vec![claims], &mut SeededRng::new(1)).pop().unwrap())
        .unwrap()
        .unwrap();
    assert!(check(&verified, &world.context(), &world.state).is_ok());

    // On another branch the handle stands for another key, or for the same one in another role: the signature is not of
    // that key, or not in that role.
    let old = world.record(&handle).unwrap();
    let other_key = TestKey::new(999, Purpose::App).public_keys();
    for (purpose, keys) in [(old.purpose(), other_key), (Purpose::Writer, *old.keys())] {
        let other = Record::register(
            purpose,
            keys,
            old.owner(),
            old.registered(),
            old.binding(),
            Digest::ZERO,
        );
        let mut branch = world.state.clone();
        branch.put(kusabi_core::id::StateKey::record(&handle), other.encode());
        assert_eq!(
            check(&verified, &world.context(), &Overlay::new(&branch)),
            Err(Rejection::BadSignature)
        );
    }
}

/// A transaction with the keys of one entry changed to bytes of the right form that are no keys, signed anew.
fn with_bad_point(
    world: &World,
    transaction: &Transaction,
    entry: &TestKey,
    signers: &[&TestKey],
) -> Transaction {
    let keys = entry.public_keys();
    let good = keys.compact().unwrap();
    let mut bytes = transaction.as_bytes().to_vec();
    let at = bytes.windows(good.len()).position(|window| window == good);
    let at = at.unwrap();
    // The agreement half: the signing half may have to sign.
    bytes[at + 33..at + good.len()].fill(0);
    let action = Transaction::decode(&bytes).unwrap().action().clone();
    world.sign(action, signers)
}

#[test]
fn points_are_looked_at_after_signatures_and_before_anything_is_verified() {
    let mut world = World::open();
    let bad = TestKey::of_suite(Suite::P256, 30, Purpose::App);
    let others: Vec<TestKey> = (31..40).map(|n| TestKey::new(n, Purpose::App)).collect();
    let mut keys: Vec<&TestKey> = others.iter().collect();
    keys.push(&bad);
    let register = world.register(&keys);
    let signed = with_bad_point(&world, &register, &bad, &[&world.writer]);
    // Where the signature is not good, nobody has looked at the points.
    let forged = spoiled(&signed, 7);
    crate::refuse(&mut world, forged, Rejection::BadSignature);
    crate::refuse(&mut world, signed.clone(), Rejection::BadKey);

    // The neighbour in the batch is as good as before.
    let batch = [signed, register]
        .map(|transaction| claims(transaction, &world.chain, &world.state).unwrap());
    let verdicts: Vec<_> = verify(batch.into(), &mut SeededRng::new(1))
        .into_iter()
        .map(|verdict| verdict.map(drop))
        .collect();
    assert_eq!(verdicts, [Err(Rejection::BadKey), Ok(())]);

    // A key that signs itself in is looked at before it does.
    let old = crate::with_key(&mut world, 50, Purpose::App);
    let action = Action::Supersede {
        org: world.org,
        old: world.named(&old),
        new: Box::new(world.entry(&bad)),
    };
    let supersede = world.sign(action, &[&old, &bad]);
    let with_bad = with_bad_point(&world, &supersede, &bad, &[&old, &bad]);
    let forged = spoiled(&with_bad, 7);
    for transaction in [forged, with_bad] {
        let refused = claims(transaction, &world.chain, &world.state).unwrap_err();
        assert_eq!(refused, Rejection::BadKey);
    }
}

/// Whoever has any key can sign registrations of thousands of keys whose points cost a hundred times what the signature
/// costs: whether it may is asked first.
#[test]
fn purpose_and_organisation_are_compared_before_anything_is_verified() {
    let mut world = World::open();
    let app = crate::with_key(&mut world, 30, Purpose::App);
    let [pre, ps, revoker] = [Purpose::Pre, Purpose::Ps, Purpose::Revoker]
        .map(|purpose| crate::with_key(&mut world, 40 + u64::from(u8::from(purpose)), purpose));
    let bad = TestKey::of_suite(Suite::P256, 50, Purpose::App);
    let register = world.register(&[&bad]);
    for signer in [&app, &pre, &ps, &revoker, &world.officer] {
        let signed = with_bad_point(&world, &register, &bad, &[signer]);
        let forged = spoiled(&signed, 7);
        for transaction in [signed, forged] {
            let refused = claims(transaction, &world.chain, &world.state).unwrap_err();
            assert_eq!(refused, Rejection::SignerPurpose);
        }
    }

    // Another organisation's writer, too.
    let handle = world.writer.handle;
    let writer = world.record(&handle).unwrap();
    let foreign = Record::register(
        Purpose::Writer,
        *writer.keys(),
        kusabi_core::id::OrgName::new("others").unwrap().id(),
        writer.registered(),
        writer.binding(),
        Digest::ZERO,
    );
    let verified = claims(register.clone(), &world.chain, &world.state)
        .map(|claims| verify(vec![claims], &mut SeededRng::new(1)).pop().unwrap())
        .unwrap()
        .unwrap();
    let mut branch = world.state.clone();
    branch.put(kusabi_core::id::StateKey::record(&handle), foreign.encode());
    let refused = claims(register, &world.chain, &branch).map(drop);
    assert_eq!(refused, Err(Rejection::ForeignSigner));
    // What was verified on one branch is not taken for another.
    assert!(check(&verified, &world.context(), &world.state).is_ok());
    assert_eq!(
        check(&verified, &world.context(), &branch),
        Err(Rejection::ForeignSigner)
    );
}

/// A transaction that only keys of its own have signed costs nobody anything: it is refused before a signature is looked at,
/// so that it takes no place in a pool.
#[test]
fn someone_whom_the_ledger_knows_signs_each_transaction() {
    let world = World::open();
    let nobody = kusabi_core::id::OrgName::new("nobody").unwrap().id();
    let fresh = TestKey::new(30, Purpose::App);
    for org in [world.org, nobody] {
        let action = Action::Register {
            org,
            entries: vec![world.entry(&fresh)],
        };
        let own = world.sign(action.clone(), &[&fresh]);
        for transaction in [spoiled(&own, 7), own] {
            let refused = claims(transaction, &world.chain, &world.state).unwrap_err();
            assert_eq!(refused, Rejection::UnknownSigner);
        }
        let by_writer = world.sign(action, &[&world.writer]);
        let claimed = claims(by_writer, &world.chain, &world.state).map(drop);
        let foreign = Err(Rejection::ForeignSigner);
        assert_eq!(claimed, if org == world.org { Ok(()) } else { foreign });
    }
    // The genesis is signed by the officers that it makes, and needs no state.
    let unfounded = World::new(1000);
    assert!(claims(unfounded.genesis(), &unfounded.chain, &unfounded.state).is_ok());
}
