//! Genesis and recovery.

use kusabi_core::handover::RecoveryParts;
use kusabi_core::id::{ChainId, Epoch, HeaderHash, Height, NodesHash, SetHash};
use kusabi_core::keystore::KeyStore;
use kusabi_core::set::{EpochSet, recovery_set};
use kusabi_core::suite::Purpose;
use kusabi_core::tx::{Action, Draft, Transaction};
use kusabi_ledger::testing::{TestKey, World};
use kusabi_ledger::{BlockContext, BlockError, Rejection};

use crate::with_key;

fn genesis_of(world: &World, document: Vec<u8>, officers: &[&TestKey]) -> Transaction {
    let action = Action::Genesis {
        document,
        entries: officers
            .iter()
            .map(|key| key.entry(&ChainId::ZERO, &world.org))
            .collect(),
    };
    world.sign(action, officers)
}

fn refused(world: &mut World, transaction: Transaction) -> Rejection {
    let rejection = world.submit(transaction).unwrap_err();
    assert_eq!(world.state.rows().count(), 0);
    rejection
}

#[test]
fn the_genesis_block_founds_the_ledger() {
    let mut world = World::new(1000);
    let genesis = world.genesis();
    let writes = world.submit(genesis).unwrap();
    assert_eq!(writes.len(), 4, "organisation, officer, ledger, members");
    let row = world.ledger().unwrap();
    assert_eq!((row.epoch, row.skipped), (Epoch::ZERO, Height::ZERO));
    let org = world.organisation();
    assert_eq!((org.officers_k, org.officers_n), (1, 1));
    assert_eq!((org.active, org.rows, org.quota), (1, 1, 1000));
    assert_eq!(
        world
            .record(&world.officer.handle)
            .unwrap()
            .registered()
            .get(),
        1
    );

    let again = world.genesis();
    crate::refuse(&mut world, again, Rejection::GenesisPlace);
}

#[test]
fn the_genesis_transaction_is_one_for_this_chain() {
    let mut world = World::new(1000);
    let mut other_document = world.document.clone();
    other_document[5] ^= 1;
    let other_document = genesis_of(&world, other_document, &[&world.officer]);
    assert_eq!(
        refused(&mut world, other_document),
        Rejection::GenesisDocument
    );

    let stranger = TestKey::new(77, Purpose::Officer);
    let stranger_alone = genesis_of(&world, world.document.clone(), &[&stranger]);
    assert_eq!(
        refused(&mut world, stranger_alone),
        Rejection::GenesisEntries
    );
    let one_too_many = genesis_of(&world, world.document.clone(), &[&world.officer, &stranger]);
    assert_eq!(refused(&mut world, one_too_many), Rejection::GenesisEntries);

    // Whoever submits first must not choose handle and agreement key for the officer.
    let unsigned = Action::Genesis {
        document: world.document.clone(),
        entries: vec![world.officer.entry(&ChainId::ZERO, &world.org)],
    };
    let unsigned = world.sign(unsigned, &[]);
    assert_eq!(refused(&mut world, unsigned), Rejection::TooFewSignatures);
    let entry = kusabi_core::tx::Entry::new(
        stranger.handle,
        Purpose::Officer,
        world.officer.public_keys(),
        stranger.entry(&world.chain, &world.org).binding(),
        None,
    );
    let taken_over = Action::Genesis {
        document: world.document.clone(),
        entries: vec![entry.unwrap()],
    };
    let taken_over = world.sign(taken_over, &[&stranger]);
    assert_eq!(refused(&mut world, taken_over), Rejection::BadSignature);
}

#[test]
fn a_quota_below_the_officers_or_a_malformed_document_founds_nothing() {
    let mut none = World::new(0);
    let genesis = none.genesis();
    assert_eq!(refused(&mut none, genesis), Rejection::Quota);
    let mut malformed = World::new(1000);
    let context = malformed.context();
    malformed.document = vec![0x80];
    malformed.chain = ChainId::of(&malformed.document);
    let context = BlockContext {
        chain: malformed.chain,
        ..context
    };
    let genesis = malformed.genesis();
    assert_eq!(
        malformed.block_in(vec![genesis], context),
        Err(BlockError::Transaction {
            index: 0,
            rejection: Rejection::GenesisMalformed
        })
    );
}

#[test]
fn at_height_one_there_is_nothing_else() {
    let mut world = World::new(1 << 40);
    assert_eq!(world.block(vec![]), Err(BlockError::Epoch));
    let early = Action::Anchor {
        org: world.org,
        topic: kusabi_core::row::Topic::AuditLog,
        digest: [1; 32].into(),
    };
    let mut early = world.sign(early, &[&world.officer]);
    let genesis = world.genesis();
    assert_eq!(
        world.block(vec![genesis.clone(), early]),
        Err(BlockError::Transaction {
            index: 1,
            rejection: Rejection::NotFounded
        })
    );
    early = genesis.clone();
    assert_eq!(
        world.block(vec![genesis.clone(), early]),
        Err(BlockError::Transaction {
            index: 1,
            rejection: Rejection::GenesisPlace
        })
    );
    world.block(vec![genesis]).unwrap();
}

/// A recovery after the world's last block and the header of the block that carries it.
struct Plan {
    parts: RecoveryParts,
    context: BlockContext,
}

fn plan(world: &World, epoch: u64, from: u64) -> Plan {
    let next_set = world.epoch_set(epoch);
    let parent = world.context();
    let skipped = parent.skipped.get() + from - parent.height.get();
    let from = Height::new(from).unwrap();
    Plan {
        context: BlockContext {
            height: from,
            epoch: Epoch::new(epoch),
            set_hash: EpochSet::decode(&next_set).unwrap().hash(),
            skipped: Height::new(skipped).unwrap(),
            ..parent
        },
        parts: RecoveryParts {
            from,
            parent_height: world.height,
            parent_hash: parent.parent,
            nodes_hash: NodesHash::of(&nodes(world)),
            next_set,
        },
    }
}

/// The node of the only validator, whatever its vote key.
fn nodes(world: &World) -> Vec<u8> {
    world.nodes_in(0, &[0], &[])
}

fn recovery(world: &World, parts: &RecoveryParts, key: &impl KeyStore) -> Transaction {
    let public = key.public_keys().verification_key().unwrap();
    let statement = parts.statement(&world.chain, &public).unwrap();
    let signature = key.sign(&statement).unwrap();
    let set = recovery_set(1, &[public]).unwrap();
    let recovery = parts.encode(&set, &[(0, signature)]).unwrap();
    let nodes = nodes(world);
    Draft::new(world.chain, Action::Recovery { recovery, nodes })
        .unwrap()
        .finish()
        .unwrap()
}

fn at_zero(result: Result<Vec<kusabi_ledger::Write>, BlockError>) -> Rejection {
    match result {
        Err(BlockError::Transaction {
            index: 0,
            rejection,
        }) => rejection,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_recovery_begins_an_epoch() {
    let mut world = World::open();
    let Plan { parts, context } = plan(&world, 3, 5000);
    let transaction = recovery(&world, &parts, &world.recovery);
    let app = TestKey::new(20, Purpose::App);
    let register = world.register(&[&app]);

    let late = world.block_in(vec![register.clone(), transaction.clone()], context);
    assert_eq!(
        at_zero(late),
        Rejection::EpochPlace,
        "nothing goes before it"
    );
    assert_eq!(
        world.block_in(vec![], context),
        Err(BlockError::Epoch),
        "nor is it left out"
    );
    let same_epoch = world.context();
    let out_of_place = world.block_in(vec![transaction.clone()], same_epoch);
    assert_eq!(at_zero(out_of_place), Rejection::EpochPlace);

    world
        .block_in(vec![transaction.clone(), register], context)
        .unwrap();
    let row = world.ledger().unwrap();
    assert_eq!((row.version, row.epoch), (2, Epoch::new(3)));
    assert_eq!(row.set_hash, context.set_hash);
    assert_eq!(row.skipped, context.skipped);
    assert_eq!(world.record(&app.handle).unwrap().registered().get(), 5000);

    let replayed = world.block(vec![transaction]);
    assert_eq!(at_zero(replayed), Rejection::EpochPlace);
    with_key(&mut world, 21, Purpose::App);
    assert_eq!(world.height.get(), 5001);

    let again = plan(&world, 4, 6000);
    let transaction = recovery(&world, &again.parts, &world.recovery);
    world.block_in(vec![transaction], again.context).unwrap();
    assert_eq!(world.ledger().unwrap().skipped, again.context.skipped);
}

#[test]
fn only_the_recovery_set_of_the_genesis_document_recovers() {
    let mut world = World::open();
    let Plan { parts, context } = plan(&world, 1, 5000);
    let stranger = recovery(&world, &parts, &TestKey::new(99, Purpose::App).key);
    let refused = world.block_in(vec![stranger], context);
    assert_eq!(at_zero(refused), Rejection::RecoveryRefused);

    let mut other_chain = World::new(5);
    other_chain.recovery = TestKey::new(98, Purpose::App).key;
    let moved = recovery(&other_chain, &parts, &world.recovery);
    let refused = world.block_in(vec![moved], context);
    assert_eq!(at_zero(refused), Rejection::WrongChain);

    let public = world.recovery.public_keys().verification_key().unwrap();
    let unsigned = parts
        .encode(&recovery_set(1, &[public]).unwrap(), &[])
        .unwrap();
    let bytes = |recovery: Vec<u8>, nodes: Vec<u8>| Action::Recovery { recovery, nodes };
    let of_set = nodes(&world);
    let unsigned = world.sign(bytes(unsigned, of_set.clone()), &[]);
    let refused = world.block_in(vec![unsigned], context);
    assert_eq!(at_zero(refused), Rejection::RecoveryRefused);
    let garbage = world.sign(bytes(vec![1; 40], of_set), &[]);
    let refused = world.block_in(vec![garbage], context);
    assert_eq!(at_zero(refused), Rejection::RecoveryRefused);

    // And whatever nodes its keys have signed for, not others.
    let signed = recovery(&world, &parts, &world.recovery);
    let Action::Recovery { recovery, .. } = signed.action() else {
        unreachable!("it is one");
    };
    for others in [world.nodes_in(0, &[0], &["here:1"]), vec![1; 40]] {
        let other = world.sign(bytes(recovery.clone(), others), &[]);
        let refused = world.block_in(vec![other], context);
        assert_eq!(at_zero(refused), Rejection::AppointmentNodes);
    }
}

#[test]
fn a_recovery_fits_its_block() {
    let mut world = World::open();
    let Plan { parts, context } = plan(&world, 1, 5000);
    let transaction = recovery(&world, &parts, &world.recovery);
    let height = |height| Height::new(height).unwrap();
    let others = [
        BlockContext {
            height: height(5001),
            ..context
        },
        BlockContext {
            parent_height: height(1),
            ..context
        },
        BlockContext {
            parent: HeaderHash::new([1; 32]),
            ..context
        },
        BlockContext {
            epoch: Epoch::new(2),
            ..context
        },
        BlockContext {
            set_hash: SetHash::new([1; 32]),
            ..context
        },
        BlockContext {
            skipped: height(context.skipped.get() + 1),
            ..context
        },
    ];
    for other in others {
        let refused = world.block_in(vec![transaction.clone()], other);
        assert_eq!(at_zero(refused), Rejection::RecoveryMismatch);
    }
    world.block_in(vec![transaction], context).unwrap();
}
