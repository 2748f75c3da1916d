//! What whoever has shown nothing may cost the ledger, and that nobody waits behind it.

use crate::{
    raw::Told,
    site::{Site, problem},
    world::{World, call},
};
use axum::{Router, body::Body, extract::ConnectInfo, http::Request};
use kusabi_api::Kind;
use kusabi_core::{
    protocol::{
        frame::{AnswerFrame, Problem},
        request::{Ask, Poll},
    },
    suite::Purpose,
};
use kusabi_ledger::testing::TestKey;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::Ordering::{Relaxed, SeqCst},
    },
};
use tokio::task::JoinSet;

/// Most questions at once for strangers, and most hellos that wait for one that another asked.
const AT_ONCE: u64 = 64;
const JOINED: usize = 32;

fn stranger(number: u64) -> TestKey {
    TestKey::new(20_000 + number, Purpose::Act)
}

fn is_welcome(answer: &[u8]) -> bool {
    matches!(AnswerFrame::decode(answer), Ok(AnswerFrame::Welcome(_)))
}

#[tokio::test]
async fn a_handle_that_is_absent_is_asked_for_once_until_it_is_there() {
    let site = Site::new().await;
    let key = stranger(0);
    let hello = site.hello(&key);
    let asked = || site.chain.lookups.load(SeqCst);
    let before = asked();
    for _ in 0..5 {
        let answer = site.server.post(&hello).await;
        assert_eq!(problem(&answer), Some(Problem::Refused));
    }
    assert_eq!(asked(), before + 1);
    // Its owner registers it: the next hello is good.
    site.chain.commit(|world| world.register(&[&key]));
    site.settled().await;
    assert!(is_welcome(&site.server.post(&hello).await));
    assert_eq!(site.server.door.counts().refused.load(Relaxed), 5);
}

#[tokio::test]
async fn strangers_that_wait_keep_no_device_waiting() {
    let site = Arc::new(Site::new().await);
    let device = site.registered(8800).await;
    let mut raw = site.raw(&device.key).await;
    raw.ask(&site.server, Ask::Poll(Poll::default())).await;
    // The ledger answers no question any more.
    site.chain.stuck.send_replace(true);
    let before = site.chain.lookups.load(SeqCst);
    let mut strangers = JoinSet::new();
    for number in 0..AT_ONCE + 16 {
        let site = Arc::clone(&site);
        strangers.spawn(async move {
            let hello = site.hello(&stranger(number));
            // A source each.
            let source = format!("2001:db8:0:{number:x}::1");
            problem(&site.server.post_from(&source, &hello).await)
        });
    }
    // Those beyond the bound are told at once.
    for _ in 0..16 {
        let told = strangers.join_next().await.unwrap().unwrap();
        assert_eq!(told, Some(Problem::Busy));
    }
    assert_eq!(site.server.door.counts().put_off.load(Relaxed), 16);
    site.server
        .until(async || site.chain.lookups.load(SeqCst) == before + AT_ONCE)
        .await;
    // Whom the server knows is served, the ledger or not: a poll, and a new session.
    let told = raw.ask(&site.server, Ask::Poll(Poll::default())).await;
    assert!(matches!(told, Told::Orders(_)), "{told:?}");
    assert!(is_welcome(
        &site.server.post(&site.hello(&device.key)).await
    ));
    assert_eq!(strangers.len() as u64, AT_ONCE, "they still wait");
    site.chain.stuck.send_replace(false);
    while let Some(told) = strangers.join_next().await {
        assert_eq!(told.unwrap(), Some(Problem::Refused));
    }
}

#[tokio::test]
async fn whoever_names_the_fleets_handles_keeps_no_device_waiting() {
    let site = Arc::new(Site::new().await);
    let device = site.registered(8850).await;
    let absent = site.registered(8851).await;
    site.raw(&device.key).await;
    site.chain.stuck.send_replace(true);
    let hello = site.hello(&absent.key);
    let mut named = JoinSet::new();
    for _ in 0..150 {
        let (site, hello) = (Arc::clone(&site), hello.clone());
        named.spawn(async move { site.server.post(&hello).await });
    }
    for _ in 0..22 {
        let told = named.join_next().await.unwrap().unwrap();
        assert_eq!(problem(&told), Some(Problem::Busy));
    }
    assert!(is_welcome(
        &site.server.post(&site.hello(&device.key)).await
    ));
    assert_eq!(named.len(), 128, "they still wait");
    site.chain.stuck.send_replace(false);
    while let Some(told) = named.join_next().await {
        assert!(is_welcome(&told.unwrap()));
    }
}

#[tokio::test]
async fn one_hello_many_times_is_one_question() {
    let site = Arc::new(Site::new().await);
    let hello = site.hello(&stranger(0));
    site.chain.stuck.send_replace(true);
    let before = site.chain.lookups.load(SeqCst);
    let mut copies = JoinSet::new();
    for _ in 0..=JOINED + 1 {
        let (site, hello) = (Arc::clone(&site), hello.clone());
        copies.spawn(async move { problem(&site.server.post(&hello).await) });
    }
    // The one that has no place any more: so all others are there.
    let told = copies.join_next().await.unwrap();
    assert_eq!(told.unwrap(), Some(Problem::Busy));
    site.chain.stuck.send_replace(false);
    while let Some(told) = copies.join_next().await {
        assert_eq!(told.unwrap(), Some(Problem::Refused));
    }
    assert_eq!(site.chain.lookups.load(SeqCst), before + 1);
}

#[tokio::test]
async fn copies_of_one_hello_take_no_others_place_and_what_they_asked_goes_on_without_them() {
    let site = Arc::new(Site::new().await);
    site.chain.stuck.send_replace(true);
    let before = site.chain.lookups.load(SeqCst);
    let asked = async |count| {
        let asked = async || site.chain.lookups.load(SeqCst) == before + count;
        site.server.until(asked).await;
    };
    let say = |number: u64, source: String| {
        let site = Arc::clone(&site);
        async move {
            let hello = site.hello(&stranger(number));
            problem(&site.server.post_from(&source, &hello).await)
        }
    };
    let mut copies = JoinSet::new();
    for _ in 0..100 {
        copies.spawn(say(0, String::from("2001:db8:9::1")));
    }
    // One asks, some join, the others are told at once: handshakes are not held by one key.
    for _ in 0..99 - JOINED {
        let told = copies.join_next().await.unwrap().unwrap();
        assert_eq!(told, Some(Problem::Busy));
    }
    asked(1).await;
    // All other places are there for others.
    let mut others = JoinSet::new();
    for number in 1..AT_ONCE {
        others.spawn(say(number, format!("2001:db8:0:{number:x}::1")));
    }
    asked(AT_ONCE).await;
    assert_eq!(
        say(AT_ONCE, String::from("192.0.2.9")).await,
        Some(Problem::Busy)
    );
    // Who said it hangs up, all of them: the ledger is still asked, and others wait for the same answer.
    assert_eq!(copies.len(), 1 + JOINED, "they still wait");
    copies.shutdown().await;
    let mut late = JoinSet::new();
    for _ in 0..=JOINED {
        late.spawn(say(0, String::from("192.0.2.9")));
    }
    let told = late.join_next().await.unwrap().unwrap();
    assert_eq!(told, Some(Problem::Busy), "the others have joined");
    site.chain.stuck.send_replace(false);
    while let Some(told) = late.join_next().await {
        assert_eq!(told.unwrap(), Some(Problem::Refused));
    }
    while let Some(told) = others.join_next().await {
        assert_eq!(told.unwrap(), Some(Problem::Refused));
    }
    assert_eq!(site.chain.lookups.load(SeqCst), before + AT_ONCE);
}

#[tokio::test]
async fn a_source_has_a_share_of_questions_and_a_subscribers_network_is_one() {
    let site = Site::new().await;
    let device = site.registered(8900).await;
    let from = async |source: &str, number| {
        let hello = site.hello(&stranger(number));
        problem(&site.server.post_from(source, &hello).await)
    };
    let mut number = 0;
    let mut told = Some(Problem::Refused);
    // Some more than a share: it grows while it is used.
    while told == Some(Problem::Refused) && number < 2000 {
        number += 1;
        told = from("2001:db8:7:7::1", number).await;
    }
    assert_eq!(told, Some(Problem::Busy));
    assert!(number > 64, "only {number} were looked up");
    let mut neighbours = Vec::new();
    for host in 2..6 {
        let source = format!("2001:db8:7:7:{host}::9");
        neighbours.push(from(&source, 3000 + host).await);
    }
    assert!(neighbours.contains(&Some(Problem::Busy)), "{neighbours:?}");
    // Others have theirs, and a device of the fleet needs none.
    for source in ["2001:db8:7:8::1", "192.0.2.7"] {
        assert_eq!(from(source, 4000).await, Some(Problem::Refused), "{source}");
    }
    let hello = site.hello(&device.key);
    let answer = site.server.post_from("2001:db8:7:7::1", &hello).await;
    assert!(is_welcome(&answer));
    // Nor has a proxy on this machine, behind which are all.
    for number in 5000..5100 {
        assert_eq!(from("127.0.0.1", number).await, Some(Problem::Refused));
    }
}

async fn fetch(router: &Router, source: &str, address: &str) -> crate::world::Got {
    let peer = SocketAddr::new(source.parse().unwrap(), 5000);
    let request = Request::get(address).extension(ConnectInfo(peer));
    call(router, request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn proofs_of_a_release_are_asked_for_once_a_height() {
    let world = World::new().await;
    world.art_policy();
    let release = world.whole(1000).await;
    let app = Arc::new(world.app().await);
    let router = kusabi_server::http::firmware::router(Arc::clone(&app));
    let address = format!("/device/v1/releases/{}/proofs", release.digest);
    let asked = || world.ledger.lookups.load(SeqCst);
    let before = asked();
    let first = fetch(&router, "192.0.2.1", &address).await;
    assert_eq!(first.status, 200);
    let each = asked() - before;
    assert!(each >= 3, "the release, the policy, its signers");
    for _ in 0..200 {
        let again = fetch(&router, "192.0.2.1", &address).await;
        assert_eq!(again.body, first.body);
    }
    assert_eq!(asked(), before + each);
    // Something newer was verified: no device is told less.
    let newer = async || {
        let handle = TestKey::new(kusabi_ledger::testing::WRITER, Purpose::Writer).handle;
        app.key(&handle).await.unwrap();
    };
    newer().await;
    let before = asked();
    let second = fetch(&router, "192.0.2.1", &address).await;
    assert_eq!(asked(), before + each);
    assert_ne!(second.body, first.body);
    // Who has them asked for again and again is told to wait; another source is not.
    let mut told = second;
    for _ in 0..2000 {
        if told.status != 200 {
            break;
        }
        newer().await;
        told = fetch(&router, "192.0.2.1", &address).await;
    }
    assert_eq!(told.kind(), Kind::TooManyRequests);
    assert!(told.header("retry-after").parse::<u32>().unwrap() >= 1);
    assert_eq!(fetch(&router, "192.0.2.2", &address).await.status, 200);
}

#[tokio::test]
async fn a_ledger_that_does_not_answer_is_not_asked_by_each() {
    let world = World::new().await;
    world.art_policy();
    let release = world.whole(1000).await;
    let app = Arc::new(world.app().await);
    let router = kusabi_server::http::firmware::router(app);
    let address = format!("/device/v1/releases/{}/proofs", release.digest);
    world.ledger.set_gone(true);
    let before = world.ledger.lookups.load(SeqCst);
    assert_eq!(
        fetch(&router, "192.0.2.1", &address).await.kind(),
        Kind::Unreachable
    );
    let told = fetch(&router, "192.0.2.1", &address).await;
    assert_eq!(told.kind(), Kind::Behind);
    assert_eq!(world.ledger.lookups.load(SeqCst), before + 1);
}
