//! The server as courier of freshness receipts: many nonces with one question, a place for each device, and what is told when there are
//! none.

use crate::{
    raw::Told,
    site::{Client, How, Site, problem},
};
use futures_util::future::join_all;
use kusabi_core::{
    device::{Event, Input, Staleness},
    id::Nonce,
    protocol::{
        frame::Problem,
        reply::SealedProblem,
        request::{Ask, Poll},
    },
    suite::Purpose,
};
use kusabi_ledger::testing::TestKey;
use kusabi_server::device::Bounds;
use kusabi_sim::ledger::Ledger;
use std::sync::atomic::Ordering::SeqCst;

/// Device keys on the ledger.
async fn keys(site: &Site, numbers: std::ops::Range<u64>) -> Vec<TestKey> {
    let keys: Vec<_> = numbers
        .map(|number| TestKey::new(number, Purpose::Act))
        .collect();
    for some in keys.chunks(8) {
        let some: Vec<_> = some.iter().collect();
        site.chain.commit(|world| world.register(&some));
    }
    site.settled().await;
    keys
}

async fn nonces_reach(site: &Site, count: u64) {
    let mut asked = site.chain.nonces.subscribe();
    asked.wait_for(|asked| *asked >= count).await.unwrap();
}

#[tokio::test]
async fn a_fleet_that_starts_at_once_costs_two_questions_and_each_has_its_own_receipt() {
    let site = Site::new().await;
    let keys = keys(&site, 3000..3040).await;
    let mut devices = Vec::new();
    for key in &keys {
        devices.push(site.raw(key).await);
    }
    // The first one's question runs while the others come.
    site.chain.slow_receipts.send_replace(true);
    let nonce = |number: usize| Nonce::new([u8::try_from(number).unwrap(); 32]);
    let (first, rest) = devices.split_at_mut(1);
    let rest = rest.iter_mut().enumerate();
    let rest =
        join_all(rest.map(|(at, device)| device.ask(&site.server, Ask::Fresh(nonce(at + 1)))));
    let go = async {
        nonces_reach(&site, 1).await;
        // Those that came are those whose messages were taken.
        let all = || site.server.door.counts().messages.load(SeqCst) >= 40;
        site.server.until(async || all()).await;
        site.chain.slow_receipts.send_replace(false);
    };
    let (one, rest, ()) = tokio::join!(first[0].ask(&site.server, Ask::Fresh(nonce(0))), rest, go);
    let trust = {
        let mut trust = site.trust();
        let checkpoint = site.chain.lock().checkpoint();
        let checkpoint = trust.check(&checkpoint).unwrap();
        trust.advance(&checkpoint);
        trust
    };
    let told: Vec<_> = std::iter::once(one).chain(rest).collect();
    for (at, told) in told.iter().enumerate() {
        let Told::Fresh(receipt, branch) = told else {
            panic!("{told:?}");
        };
        let vouched = trust.vouched(receipt, branch, &nonce(at)).unwrap();
        assert_eq!(vouched.check_floor(trust.anchor()), Ok(()));
        assert!(trust.vouched(receipt, branch, &nonce(at + 1)).is_err());
    }
    let asked = *site.chain.nonces.borrow();
    assert!(asked <= 3, "{asked} questions for forty devices");
    assert_eq!(site.server.door.counts().receipts.load(SeqCst), 40);
    assert_eq!(
        site.server.door.counts().receipt_questions.load(SeqCst),
        asked
    );
}

#[tokio::test]
async fn who_asks_without_end_keeps_nobody_waiting() {
    let site = Site::new().await;
    let keys = keys(&site, 3100..3102).await;
    let (mut greedy, mut other) = (site.raw(&keys[0]).await, site.raw(&keys[1]).await);
    let mut refused = 0;
    for number in 0..40 {
        let nonce = Nonce::new([number; 32]);
        match greedy.ask(&site.server, Ask::Fresh(nonce)).await {
            Told::Fresh(..) => {}
            Told::Problem(SealedProblem::Unavailable) => refused += 1,
            told => panic!("{told:?}"),
        }
    }
    assert!((20..30).contains(&refused), "{refused} of 40");
    let asked = *site.chain.nonces.borrow();
    assert!(asked <= 20, "what is refused asks nobody: {asked}");
    // It polls on, and so does everybody else.
    let polled = greedy.ask(&site.server, Ask::Poll(Poll::default())).await;
    assert!(matches!(polled, Told::Orders(_)), "{polled:?}");
    let told = other
        .ask(&site.server, Ask::Fresh(Nonce::new([99; 32])))
        .await;
    assert!(matches!(told, Told::Fresh(..)), "{told:?}");
}

#[tokio::test]
async fn who_waits_for_a_receipt_takes_no_place_of_those_who_poll() {
    let bounds = Bounds {
        working_max: 1,
        fresh_max: 2,
        ..Bounds::default()
    };
    let site = Site::of(How {
        bounds,
        ..How::default()
    })
    .await;
    let keys = keys(&site, 3200..3205).await;
    let mut devices = Vec::new();
    for key in &keys {
        devices.push(site.raw(key).await);
    }
    site.chain.slow_receipts.send_replace(true);
    let [carried, one, two, three, polls] = &mut devices[..] else {
        unreachable!("five devices");
    };
    let fresh = |number| Ask::Fresh(Nonce::new([number; 32]));
    let waiting = async {
        tokio::join!(
            carried.ask(&site.server, fresh(1)),
            one.ask(&site.server, fresh(2)),
            two.ask(&site.server, fresh(3)),
        )
    };
    let meanwhile = async {
        nonces_reach(&site, 1).await;
        let all = || site.server.door.counts().messages.load(SeqCst) >= 3;
        site.server.until(async || all()).await;
        let polled = polls.ask(&site.server, Ask::Poll(Poll::default())).await;
        assert!(matches!(polled, Told::Orders(_)), "{polled:?}");
        // The places are taken; it is told to come back, and loses nothing.
        assert_eq!(three.ask(&site.server, fresh(4)).await, Told::Pending);
        site.chain.slow_receipts.send_replace(false);
    };
    let (waited, ()) = tokio::join!(waiting, meanwhile);
    let told = [&waited.0, &waited.1, &waited.2];
    assert!(
        told.iter().all(|told| matches!(told, Told::Fresh(..))),
        "{told:?}"
    );
    let again = three.ask(&site.server, fresh(5)).await;
    assert!(matches!(again, Told::Fresh(..)), "{again:?}");
}

#[tokio::test]
async fn without_receipts_devices_poll_on_and_the_owner_sees_it() {
    let site = Site::new().await;
    let mut device = site.active().await;
    let id = device.id.clone();
    let shows = async |word: &str| {
        let shown = site.server.get(&format!("/api/v1/devices/{id}")).await;
        shown["freshness"] == word
    };
    device.poll(&site.server).await;
    site.server.until(async || shows("shown").await).await;

    site.chain.no_receipts.store(true, SeqCst);
    device.power_cut();
    device.later(3600);
    let polls = site.server.door.counts().polls.load(SeqCst);
    let stale = Event::Stale(Staleness::NoReceipt);
    device
        .until(&site.server, |device| device.saw(&stale))
        .await;
    device.poll(&site.server).await;
    assert!(site.server.door.counts().polls.load(SeqCst) > polls);
    assert!(device.unit.device.is_stale());
    site.server.until(async || shows("stale").await).await;
    assert_eq!(site.server.alarms(&id).await, ["stale"]);
    // Said again with each poll, it is one alarm.
    device.poll_anew(&site.server).await;
    assert_eq!(site.server.alarms(&id).await, ["stale"]);

    site.chain.no_receipts.store(false, SeqCst);
    device.later(120);
    device.poll_anew(&site.server).await;
    assert!(device.saw(&Event::Fresh));
    site.server.until(async || shows("shown").await).await;
}

#[tokio::test]
async fn a_node_that_shows_the_past_is_found_out_and_other_servers_are_left_to_speak() {
    let site = Site::new().await;
    let mut device = site.active().await;
    let mut present = Ledger::new();
    present.grow_to(site.chain.lock().height().get() + 100);
    *site.chain.present.lock().unwrap() = Some(present);
    device.power_cut();
    device.later(60);
    device.events.clear();
    device.speak(&site.server, Input::Tick).await;
    let got = |device: &Client| {
        device
            .events
            .iter()
            .any(|event| matches!(event, Event::Present { .. }))
    };
    assert!(!got(&device));
    // The server does not speak for a ledger that is behind the validators.
    let hello = site.hello(&TestKey::new(3300, Purpose::Act));
    assert_eq!(
        problem(&site.server.post(&hello).await),
        Some(Problem::Behind)
    );
    // The node catches up.
    *site.chain.present.lock().unwrap() = None;
    let height = site.chain.heartbeat();
    site.server.door.reached(height).await;
    device.later(3600);
    device.poll(&site.server).await;
    assert!(got(&device), "{:?}", device.events);
}
