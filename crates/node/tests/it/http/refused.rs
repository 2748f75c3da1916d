//! Every transaction that the ledger refuses, through the router, against the ledger's real rules.

use super::world::{Got, Memory, Router, id_of};
use bytes::Bytes;
use kusabi_api::{
    Kind,
    ledger::{Receipt, Submitted},
};
use kusabi_core::{
    id::ChainId,
    row::Reason,
    suite::Purpose,
    tx::{Action, Draft, Transaction},
};
use kusabi_ledger::{
    Rejection,
    testing::{TestKey, World},
};
use kusabi_node::{
    http::Limits,
    ledger::refusal::{malformed, rejected},
};
use std::sync::{Arc, Mutex};

/// The API on a ledger with the real rules, whose every transaction is a block.
fn ledger(world: World) -> (Router, Arc<Mutex<World>>) {
    let world = Arc::new(Mutex::new(world));
    let shared = Arc::clone(&world);
    let submit = move |bytes: &Bytes, _| {
        let transaction = Transaction::decode(bytes).map_err(malformed)?;
        let mut world = shared.lock().unwrap();
        world.submit(transaction).map_err(rejected)?;
        Ok(Submitted::Final(Receipt {
            id: id_of(bytes),
            height: world.height.get(),
            index: 0,
            proof: None,
        }))
    };
    let memory = Memory {
        submit: Box::new(submit),
        ..Memory::default()
    };
    (Router::new(memory, Limits::default()), world)
}

fn open() -> (Router, Arc<Mutex<World>>) {
    ledger(World::open())
}

fn key(number: u64) -> TestKey {
    TestKey::new(number, Purpose::Pre)
}

fn is(got: &Got, kind: Kind, why: Rejection) {
    assert_eq!(got.problem(), kind, "{}", got.json());
    assert_eq!(got.json()["code"], why.code(), "{}", got.json());
    assert_eq!(got.json()["detail"], why.to_string());
}

/// Posts what is to be refused and checks that it changed nothing.
async fn refused(router: &Router, world: &Mutex<World>, bytes: &[u8]) -> Got {
    let rows = |world: &Mutex<World>| -> Vec<_> {
        let world = world.lock().unwrap();
        world.state.rows().map(|(key, row)| (*key, *row)).collect()
    };
    let before = rows(world);
    let got = router.post(bytes.to_vec(), &[]).await;
    assert_eq!(
        rows(world),
        before,
        "a refused transaction changed the state"
    );
    got
}

#[tokio::test]
async fn replayed() {
    let (router, world) = open();
    let transaction = world.lock().unwrap().register(&[&key(10)]);
    let bytes = transaction.as_bytes();
    assert_eq!(router.post(bytes.to_vec(), &[]).await.status.as_u16(), 200);
    let again = refused(&router, &world, bytes).await;
    is(&again, Kind::Conflict, Rejection::HandleTaken);
}

#[tokio::test]
async fn stale() {
    let (router, world) = open();
    let (first, second) = {
        let world = world.lock().unwrap();
        let grant = |n| world.grant(&TestKey::new(n, Purpose::Revoker));
        (grant(11), grant(12))
    };
    assert_eq!(
        router
            .post(first.as_bytes().to_vec(), &[])
            .await
            .status
            .as_u16(),
        200
    );
    let got = refused(&router, &world, second.as_bytes()).await;
    is(&got, Kind::Conflict, Rejection::StaleVersion);
}

#[tokio::test]
async fn for_another_chain() {
    let (router, world) = open();
    let other = {
        let world = world.lock().unwrap();
        let chain = ChainId::new([9; 32]);
        let entry = key(10).entry(&chain, &world.org);
        let action = Action::Register {
            org: world.org,
            entries: vec![entry],
        };
        let mut draft = Draft::new(chain, action).unwrap();
        let writer = &world.writer;
        draft
            .sign(writer.handle, writer.purpose, &writer.key)
            .unwrap();
        draft.finish().unwrap()
    };
    let got = refused(&router, &world, other.as_bytes()).await;
    is(&got, Kind::WrongChain, Rejection::WrongChain);
}

#[tokio::test]
async fn wrongly_signed() {
    let (router, world) = open();
    let good = world.lock().unwrap().register(&[&key(10)]);
    // The signature is the last 64 bytes.
    let mut bad = good.as_bytes().to_vec();
    *bad.last_mut().unwrap() ^= 1;
    let got = refused(&router, &world, &bad).await;
    is(&got, Kind::BadSignature, Rejection::BadSignature);

    let unknown = {
        let world = world.lock().unwrap();
        let action = Action::Register {
            org: world.org,
            entries: vec![world.entry(&key(10))],
        };
        world.sign(action, &[&TestKey::new(77, Purpose::Writer)])
    };
    let got = refused(&router, &world, unknown.as_bytes()).await;
    is(&got, Kind::Rejected, Rejection::UnknownSigner);
}

#[tokio::test]
async fn for_a_purpose_that_may_not() {
    let (router, world) = open();
    let by_officer = {
        let world = world.lock().unwrap();
        let action = Action::Register {
            org: world.org,
            entries: vec![world.entry(&key(10))],
        };
        world.sign(action, &[&world.officer])
    };
    let got = refused(&router, &world, by_officer.as_bytes()).await;
    is(&got, Kind::Rejected, Rejection::SignerPurpose);
}

#[tokio::test]
async fn with_an_ended_key() {
    let (router, world) = open();
    let withdraw = {
        let world = world.lock().unwrap();
        let action = Action::Withdraw {
            org: world.org,
            target: world.named(&world.writer),
        };
        world.sign(action, &[&world.officer])
    };
    assert_eq!(
        router
            .post(withdraw.as_bytes().to_vec(), &[])
            .await
            .status
            .as_u16(),
        200
    );
    let late = world.lock().unwrap().register(&[&key(10)]);
    let got = refused(&router, &world, late.as_bytes()).await;
    is(&got, Kind::Conflict, Rejection::SignerEnded);

    let revoke = {
        let world = world.lock().unwrap();
        let action = Action::Revoke {
            org: world.org,
            targets: vec![world.named(&world.writer)],
            reason: Reason::Retired,
            compromised_since: None,
            signers: 1,
        };
        world.sign(action, &[&world.officer])
    };
    let got = refused(&router, &world, revoke.as_bytes()).await;
    assert_eq!(got.problem(), Kind::Conflict);
}

#[tokio::test]
async fn over_quota() {
    let mut world = World::new(3);
    let genesis = world.genesis();
    world.block(vec![genesis]).unwrap();
    let grant = world.grant(&TestKey::new(
        kusabi_ledger::testing::WRITER,
        Purpose::Writer,
    ));
    world.submit(grant).unwrap();
    let (router, world) = ledger(world);
    let (fits, too_many) = {
        let world = world.lock().unwrap();
        (
            world.register(&[&key(10)]),
            world.register(&[&key(11), &key(12)]),
        )
    };
    let got = refused(&router, &world, too_many.as_bytes()).await;
    is(&got, Kind::Rejected, Rejection::Quota);
    assert_eq!(
        router
            .post(fits.as_bytes().to_vec(), &[])
            .await
            .status
            .as_u16(),
        200
    );
}

#[tokio::test]
async fn malformed_at_every_place() {
    let (router, world) = open();
    let good = world.lock().unwrap().register(&[&key(10)]);
    let good = good.as_bytes();
    for cut in 0..good.len() {
        let got = refused(&router, &world, &good[..cut]).await;
        assert_eq!(got.problem(), Kind::Malformed, "cut at {cut}");
    }
    let trailing = [good, &[0]].concat();
    assert_eq!(
        refused(&router, &world, &trailing).await.problem(),
        Kind::Malformed
    );
    // The same array of four with its length in one byte more than needed.
    let longer = [&[0x98, 0x04], &good[1..]].concat();
    assert_eq!(
        refused(&router, &world, &longer).await.problem(),
        Kind::NotCanonical
    );
    for bit in 0..good.len() * 8 {
        let mut bad = good.to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        let got = refused(&router, &world, &bad).await;
        assert!(
            [400, 409, 422].contains(&got.status.as_u16()),
            "bit {bit}: {}",
            got.json()
        );
    }
}
