//! Rules about whole blocks.

use kusabi_core::id::{Binding, BodyHash, Height, StateKey};
use kusabi_core::row::Kind;
use kusabi_core::suite::{ForeignAlgorithm, Purpose, Suite};
use kusabi_core::tx::{Action, Entry, Transaction};
use kusabi_ledger::testing::{SeededRng, TestKey, World};
use kusabi_ledger::{
    BLOCK_TXS_MAX, BLOCK_WORK_MAX, BlockContext, BlockError, BlockRun, Rejection, TIME_STEP_MS_MAX,
    Verified, Write, check_bounds, check_time, claims, run_block, verify, work,
};

use crate::{revocation, with_key};

#[test]
fn time_moves_by_at_most_an_hour_and_never_back() {
    assert_eq!(check_time(5, 5), Ok(()));
    assert_eq!(check_time(5, 5 + TIME_STEP_MS_MAX), Ok(()));
    assert_eq!(check_time(5, 4), Err(BlockError::TimeBefore));
    assert_eq!(
        check_time(5, 6 + TIME_STEP_MS_MAX),
        Err(BlockError::TimeAfter)
    );
    assert_eq!(check_time(0, u64::MAX), Err(BlockError::TimeAfter));
    assert_eq!(check_time(u64::MAX, u64::MAX), Ok(()));
}

#[test]
fn the_body_hash_tells_where_transactions_end() {
    let hashes = [
        BodyHash::of([]),
        BodyHash::of([&b""[..]]),
        BodyHash::of([&b"ab"[..]]),
        BodyHash::of([&b"a"[..], b"b"]),
        BodyHash::of([&b"b"[..], b"a"]),
    ];
    let distinct: std::collections::BTreeSet<_> = hashes.iter().collect();
    assert_eq!(distinct.len(), hashes.len());
}

#[test]
fn a_block_has_bounds() {
    let world = World::open();
    let small = world.register(&[&TestKey::new(20, Purpose::App)]);
    assert_eq!(work(&small), 1 + 50 + 2);
    assert_eq!(check_bounds(&vec![small.clone(); BLOCK_TXS_MAX]), Ok(()));
    assert_eq!(
        check_bounds(&vec![small; BLOCK_TXS_MAX + 1]),
        Err(BlockError::TooMany)
    );

    let keys: Vec<TestKey> = (0..4096).map(|n| TestKey::new(n, Purpose::Pre)).collect();
    let large = world.register(&keys.iter().collect::<Vec<_>>());
    let fitting = (4 << 20) / (large.as_bytes().len() + 4);
    assert_eq!(check_bounds(&vec![large.clone(); fitting]), Ok(()));
    assert_eq!(
        check_bounds(&vec![large; fitting + 1]),
        Err(BlockError::TooLong)
    );

    let signers: Vec<TestKey> = (0..16).map(|n| TestKey::new(n, Purpose::Officer)).collect();
    let signers: Vec<&TestKey> = signers.iter().collect();
    let heavy = world.sign(
        revocation(&world, &[&TestKey::new(9, Purpose::App)]),
        &signers,
    );
    let fitting = usize::try_from(BLOCK_WORK_MAX / work(&heavy)).unwrap();
    assert_eq!(check_bounds(&vec![heavy.clone(); fitting]), Ok(()));
    assert_eq!(
        check_bounds(&vec![heavy; fitting + 1]),
        Err(BlockError::TooMuchWork)
    );
}

/// What a transaction counts is no less than what it costs: measured, in tens of microseconds (measure.rs).
#[test]
fn each_kind_has_its_work() {
    let mut world = World::open();
    let p256 = TestKey::of_suite(Suite::P256, 20, Purpose::App);
    let old = with_key(&mut world, 21, Purpose::App);
    let register = world.register(&[&p256]);
    assert_eq!(work(&register), 1 + 50 + 7);
    let action = Action::Supersede {
        org: world.org,
        old: world.named(&old),
        new: Box::new(world.entry(&p256)),
    };
    let supersede = world.sign(action, &[&old, &p256]);
    assert_eq!(work(&supersede), 1 + 2 * 50 + 1 + 7);
    let many: Vec<TestKey> = (0..1024).map(|n| TestKey::new(n, Purpose::App)).collect();
    let revoke = revocation(&world, &many.iter().collect::<Vec<_>>());
    let revoke = world.sign(revoke, &[&world.officer]);
    assert_eq!(work(&revoke), 1 + 50 + 1024);
    let spki = [7; 161];
    let foreign = Entry::foreign(
        p256.handle,
        Purpose::App,
        ForeignAlgorithm::Rsa,
        &spki,
        Binding::ZERO,
        None,
    );
    let action = Action::Register {
        org: world.org,
        entries: vec![foreign.unwrap()],
    };
    let register = world.sign(action, &[&world.writer]);
    assert_eq!(work(&register), 1 + 50 + 3 + 2, "161 bytes are two parts");
    let recovery = Action::Recovery {
        recovery: vec![1; 300],
        nodes: vec![1; 40],
    };
    assert_eq!(work(&world.sign(recovery, &[])), 1 + 660);
}

fn verified(world: &World, transactions: Vec<Transaction>) -> Vec<Verified> {
    let claims = transactions
        .into_iter()
        .map(|transaction| claims(transaction, &world.chain, &world.state).unwrap())
        .collect();
    verify(claims, &mut SeededRng::new(3))
        .into_iter()
        .collect::<Result<_, _>>()
        .unwrap()
}

#[test]
fn a_proposer_leaves_out_what_is_refused() {
    let mut world = World::open();
    let key = with_key(&mut world, 10, Purpose::App);
    let revoke = world.sign(revocation(&world, &[&key]), &[&key]);
    let other = world.register(&[&TestKey::new(11, Purpose::App)]);
    let batch = verified(&world, vec![revoke.clone(), revoke, other]);
    let mut run = BlockRun::new(world.context(), &world.state);
    let verdicts: Vec<_> = batch
        .iter()
        .map(|transaction| run.push(transaction))
        .collect();
    assert_eq!(verdicts, [Ok(()), Err(Rejection::RecordEnded), Ok(())]);
    let writes = run.finish().unwrap().writes;
    let ended = StateKey::record(&key.handle);
    let registered = StateKey::record(&TestKey::new(11, Purpose::App).handle);
    for of in [ended, registered] {
        assert!(writes.iter().any(|write| write.key == of));
    }
    assert!(writes.is_sorted_by(|a, b| a.key < b.key));
}

#[test]
fn a_full_block_takes_no_more() {
    let world = World::open();
    let signers: Vec<TestKey> = (0..4)
        .map(|n| TestKey::new(100 + n, Purpose::Officer))
        .collect();
    let mut world = world;
    for signer in &signers {
        let grant = world.grant(signer);
        world.submit(grant).unwrap();
    }
    // Anchors by the hundred, until the number of transactions is reached.
    let anchors: Vec<Transaction> = (0..=BLOCK_TXS_MAX)
        .map(|n| {
            let mut digest = [1; 32];
            digest[..8].copy_from_slice(&(n as u64).to_be_bytes());
            let action = Action::Anchor {
                org: world.org,
                topic: kusabi_core::row::Topic::AuditLog,
                digest: digest.into(),
            };
            world.sign(action, &[&world.writer])
        })
        .collect();
    let batch = verified(&world, anchors);
    let mut run = BlockRun::new(world.context(), &world.state);
    for transaction in &batch[..BLOCK_TXS_MAX] {
        assert_eq!(run.push(transaction), Ok(()));
    }
    assert_eq!(run.push(&batch[BLOCK_TXS_MAX]), Err(Rejection::BlockFull));
    let anchored = |write: &&Write| write.row[0] == Kind::Anchor as u8;
    let writes = run.finish().unwrap().writes;
    assert_eq!(writes.iter().filter(anchored).count(), BLOCK_TXS_MAX);
}

#[test]
fn a_key_acts_in_the_block_that_brings_it() {
    let mut world = World::open();
    let writer = TestKey::new(10, Purpose::Writer);
    let grant = world.grant(&writer);
    let app = TestKey::new(11, Purpose::App);
    let action = Action::Register {
        org: world.org,
        entries: vec![world.entry(&app)],
    };
    let register = world.sign(action, &[&writer]);
    let revoke = world.sign(revocation(&world, &[&app]), &[&app]);
    assert_eq!(
        world.block(vec![register.clone(), grant.clone()]),
        Err(BlockError::Transaction {
            index: 0,
            rejection: Rejection::UnknownSigner
        })
    );
    world.block(vec![grant, register, revoke]).unwrap();
    assert!(!world.record(&app.handle).unwrap().is_active());
}

#[test]
fn a_refused_transaction_makes_the_block_invalid() {
    let mut world = World::open();
    let key = TestKey::new(10, Purpose::App);
    let register = world.register(&[&key]);
    let before = world.state.clone();
    assert_eq!(
        world.block(vec![register.clone(), register]),
        Err(BlockError::Transaction {
            index: 1,
            rejection: Rejection::HandleTaken
        })
    );
    assert!(world.state == before);
}

#[test]
fn a_header_agrees_with_the_ledger() {
    let world = World::open();
    let context = world.context();
    let run = |context| run_block(vec![], context, &world.state, &mut SeededRng::new(1));
    assert!(run(context).unwrap().writes.is_empty(), "a heartbeat");
    let higher = BlockContext {
        height: context.height.next().unwrap(),
        ..context
    };
    assert_eq!(run(higher), Err(BlockError::Height));
    let skipping = BlockContext {
        skipped: Height::new(1).unwrap(),
        ..context
    };
    assert_eq!(run(skipping), Err(BlockError::Epoch));
    let other_set = BlockContext {
        set_hash: [1; 32].into(),
        ..context
    };
    assert_eq!(run(other_set), Err(BlockError::Epoch));
}
