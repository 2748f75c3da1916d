//! Attacks on the device door, by name.

use crate::{
    raw::Told,
    site::{Client, How, Site, problem},
};
use kusabi_core::{
    cbor::ToCbor as _,
    device::{Event, Input, Kept, Settings},
    id::{Epoch, Handle, OrgId},
    protocol::{
        frame::{AnswerFrame, Problem, RequestFrame},
        reply::{SealedProblem, Task},
        request::{Ask, Poll},
        tripwire::{DISPLACED_MAX, Link, Value},
    },
    suite::{Purpose, Suite},
};
use kusabi_ledger::testing::TestKey;
use kusabi_server::device::Bounds;
use serde_json::json;
use std::{sync::atomic::Ordering::SeqCst, time::Duration};

#[tokio::test]
async fn a_clone_is_seen_quarantined_and_the_survivor_re_keyed() {
    let site = Site::new().await;
    let mut device = site.active().await;
    device.poll(&site.server).await;
    let mut thief = device.copy(77);
    thief.power_cut();
    // Both speak: whoever comes later has a link that the other has moved past.
    device.poll_anew(&site.server).await;
    thief.poll_anew(&site.server).await;
    assert_eq!(thief.problems(), [SealedProblem::Fork]);
    assert_eq!(site.server.alarms(&device.id).await, ["fork"]);
    assert_eq!(site.server.state(&device.id).await, "quarantined");

    // In quarantine it gets no orders but repair and rotate.
    site.server.order(&device.id, "report").await;
    device.poll_anew(&site.server).await;
    assert!(
        !device
            .events
            .iter()
            .any(|event| matches!(event, Event::ReportWanted { .. }))
    );
    // A second time is no second alarm.
    thief.later(7200);
    thief.poll_anew(&site.server).await;
    assert_eq!(site.server.alarms(&device.id).await, ["fork"]);

    for _ in 0..70 {
        site.chain.heartbeat();
    }
    site.settled().await;
    let act = device.current();
    let address = format!("/api/v1/devices/{}/readmit", device.id);
    let readmitted = site.server.do_post(&address, json!(null)).await;
    assert_eq!(readmitted["state"], "active");
    device.poll_anew(&site.server).await;
    device
        .until(&site.server, |client| client.current() != act)
        .await;
    // What the thief has is a key that was superseded: it may ask for proofs, and nothing else.
    let before = thief.problems().len();
    thief.later(7200);
    thief.poll_anew(&site.server).await;
    assert!(thief.problems().len() > before);
    assert!(thief.problems()[before..].iter().all(|problem| matches!(
        problem,
        SealedProblem::Fork | SealedProblem::Rejected | SealedProblem::StaleLink
    )));
    assert_eq!(site.server.state(&device.id).await, "active");
    // And the report that waited is given now.
    device.poll_anew(&site.server).await;
    assert!(
        device
            .events
            .iter()
            .any(|event| matches!(event, Event::ReportWanted { .. }))
    );
}

#[tokio::test]
async fn a_device_that_lost_its_memory_is_an_alarm_and_no_quarantine() {
    let site = Site::new().await;
    let mut device = site.active().await;
    device.poll(&site.server).await;
    // A reflash: the key is there, the link's value is the first one again.
    let kept = Kept::provisioned(
        site.trust(),
        site.chain.lock().world.org,
        &site.known_servers(),
        device.current(),
        Purpose::Act,
    );
    let mut bytes = vec![0; Kept::LEN_MAX];
    let len = kept.unwrap().encode(&mut bytes).unwrap();
    bytes.truncate(len);
    device.unit.disk.kept = bytes;
    device.unit.disk.slots.swap(0, 1);
    if device.unit.disk.slots[0].is_none() {
        device.unit.disk.slots.swap(0, 1);
    }
    device.power_cut();
    device.poll_anew(&site.server).await;
    device.later(60);
    device.poll(&site.server).await;
    assert_eq!(site.server.alarms(&device.id).await, ["unknown-head"]);
    site.server
        .until(async || site.server.state(&device.id).await == "active")
        .await;
    assert!(device.problems().is_empty());
}

#[tokio::test]
async fn a_revocation_ends_open_sessions() {
    let site = Site::new().await;
    let mut device = site.active().await;
    device.poll(&site.server).await;
    let sessions = site.server.door.sessions();
    site.revoke(device.current());
    site.settled().await;
    site.server
        .until(async || site.server.door.sessions() < sessions)
        .await;
    device.events.clear();
    device.poll(&site.server).await;
    assert!(device.saw(&Event::Problem(Problem::UnknownSession)));
    device.later(600);
    device.speak(&site.server, Input::Tick).await;
    assert!(device.saw(&Event::Problem(Problem::Refused)));
    site.server
        .until(async || site.server.state(&device.id).await == "revoked")
        .await;
}

#[tokio::test]
async fn whom_a_reset_device_displaced_stays_refused_when_it_is_taken_back() {
    let site = Site::new().await;
    let device = site.registered(8500).await;
    let link = |seq, tag: u8, next: u8| Link {
        value: Value {
            seq,
            tag: if seq == 0 { [0; 16] } else { [tag; 16] },
        },
        next_tag: [next; 16],
    };
    let speaks = async |link| {
        let mut raw = site.raw_with(&device.key, link).await;
        match raw.ask(&site.server, Ask::Poll(Poll::default())).await {
            Told::Problem(problem) => Err(problem),
            Told::Orders(orders) => Ok(orders),
            told => panic!("{told:?}"),
        }
    };
    // Before its reset, and what a copy of its memory knows.
    assert!(speaks(link(0, 0, 1)).await.is_ok());
    assert!(speaks(link(1, 1, 2)).await.is_ok());
    let copied = link(2, 2, 3);
    // It is reset; the copy is told apart; the owner takes the device back.
    assert!(speaks(link(0, 0, 11)).await.is_ok());
    assert_eq!(speaks(copied).await, Err(SealedProblem::Fork));
    assert_eq!(site.server.state(&device.id).await, "quarantined");
    let address = format!("/api/v1/devices/{}/readmit", device.id);
    site.server.do_post(&address, json!(null)).await;
    // The copy comes first, and is refused again; the device gets the order to take a new key.
    assert_eq!(speaks(copied).await, Err(SealedProblem::Fork));
    let orders = speaks(link(1, 11, 12)).await.unwrap();
    assert!(orders.iter().any(|order| order.task == Task::Rotate));
}

#[tokio::test]
async fn a_device_that_loses_its_memory_again_and_again_is_served_at_its_owners_word() {
    let site = Site::new().await;
    let device = site.registered(8600).await;
    let speaks = async |seq: u64, tag: u8, next: u8| {
        let link = Link {
            value: Value {
                seq,
                tag: if seq == 0 { [0; 16] } else { [tag; 16] },
            },
            next_tag: [next; 16],
        };
        let mut raw = site.raw_with(&device.key, link).await;
        raw.ask(&site.server, Ask::Poll(Poll::default())).await
    };
    let fork = Told::Problem(SealedProblem::Fork);
    for time in 0..=DISPLACED_MAX as u8 {
        assert_ne!(speaks(0, 0, 10 * time + 1).await, fork, "{time}");
        assert_ne!(speaks(1, 10 * time + 1, 10 * time + 2).await, fork);
    }
    assert_eq!(speaks(0, 0, 101).await, fork);
    let address = format!("/api/v1/devices/{}/readmit", device.id);
    site.server.do_post(&address, json!(null)).await;
    assert_ne!(speaks(0, 0, 102).await, fork);
    assert_ne!(speaks(1, 102, 103).await, fork);
    assert_eq!(speaks(0, 0, 104).await, fork);
}

#[tokio::test]
async fn a_node_that_hides_a_revocation_is_found_out() {
    let counts = Duration::from_millis(300);
    let bounds = Bounds {
        record_counts: counts,
        ..Bounds::default()
    };
    let site = Site::of(How {
        bounds,
        ..How::default()
    })
    .await;
    let mut device = site.active().await;
    device.poll(&site.server).await;
    site.chain.hides.store(true, SeqCst);
    site.revoke(device.current());
    site.settled().await;
    // It is served as long as its record counts, and not longer: bounded looks, one each few milliseconds.
    let mut refused = false;
    for _ in 0..200 {
        device.events.clear();
        device.later(1);
        device.speak(&site.server, Input::Poll).await;
        refused = device.saw(&Event::Problem(Problem::UnknownSession));
        if refused {
            break;
        }
        tokio::time::sleep(counts / 50).await;
    }
    assert!(refused);
    device.events.clear();
    device.later(600);
    device.speak(&site.server, Input::Tick).await;
    assert!(device.saw(&Event::Problem(Problem::Refused)));
}

#[tokio::test]
async fn a_replayed_hello_changes_nothing() {
    let site = Site::new().await;
    let mut device = site.active().await;
    device.poll(&site.server).await;
    device.poll_anew(&site.server).await;
    let hellos: Vec<Vec<u8>> = device
        .sent
        .iter()
        .filter(|sent| matches!(RequestFrame::decode(sent), Ok(RequestFrame::Hello { .. })))
        .cloned()
        .collect();
    let timeline = site.server.timeline(&device.id).await;
    for hello in hellos.iter().rev().take(1) {
        for _ in 0..50 {
            let answer = site.server.post(hello).await;
            assert!(matches!(
                AnswerFrame::decode(&answer),
                Ok(AnswerFrame::Welcome(_))
            ));
        }
    }
    // The factory key's hello is refused no earlier and no later than before: its record says it is spent, not revoked.
    device.events.clear();
    device.poll(&site.server).await;
    assert!(device.problems().is_empty());
    assert!(
        device
            .events
            .iter()
            .all(|event| !matches!(event, Event::Problem(_)))
    );
    assert_eq!(site.server.timeline(&device.id).await, timeline);
    assert!(site.server.alarms(&device.id).await.is_empty());
}

#[tokio::test]
async fn a_recorded_message_gets_the_same_bytes_and_does_nothing_again() {
    let site = Site::new().await;
    let mut device = site.active().await;
    device.poll(&site.server).await;
    let (last, answer) = (device.sent.last().unwrap().clone(), device.answer.clone());
    let polls = site.server.door.counts().polls.load(SeqCst);
    for _ in 0..5 {
        assert_eq!(site.server.post(&last).await, answer);
    }
    assert_eq!(site.server.door.counts().polls.load(SeqCst), polls);
    // An older one is not taken at all, nor a changed one.
    let mut changed = last.clone();
    *changed.last_mut().unwrap() ^= 1;
    assert_eq!(
        problem(&site.server.post(&changed).await),
        Some(Problem::UnknownSession)
    );
    device.poll(&site.server).await;
    assert_eq!(
        problem(&site.server.post(&last).await),
        Some(Problem::UnknownSession)
    );
}

#[tokio::test]
async fn a_key_that_the_ledger_does_not_hold_and_one_of_another_purpose_get_the_same_refusal() {
    let site = Site::new().await;
    let app = TestKey::new(4001, Purpose::App);
    site.chain.commit(|world| world.register(&[&app]));
    site.settled().await;
    for key in [TestKey::new(4000, Purpose::Pre), app] {
        let mut device = site.pretend(key);
        let request = device.input(Input::Tick).unwrap();
        let answer = site.server.post(&request).await;
        assert_eq!(problem(&answer), Some(Problem::Refused));
    }
    assert_eq!(site.server.door.sessions(), 0);
}

#[tokio::test]
async fn a_device_of_another_organisation_is_refused() {
    let site = Site::new().await;
    let mut device = site.provision(Settings::default()).await;
    let stranger = site
        .another(How {
            org: Some(OrgId::new([9; 16])),
            ..How::default()
        })
        .await;
    let request = device.input(Input::Tick).unwrap();
    let answer = stranger.post(&request).await;
    assert_eq!(problem(&answer), Some(Problem::Refused));
    assert_eq!(stranger.door.sessions(), 0);
    // Its own server takes it.
    assert_eq!(problem(&site.server.post(&request).await), None);
    stranger.stop().await;
}

#[tokio::test]
async fn a_handle_that_belongs_to_another_key_is_refused() {
    let site = Site::new().await;
    let victim = site.active().await;
    // The attacker knows the handle, and has a key of its own.
    let key = TestKey::new(4002, Purpose::Act);
    let forged = TestKey {
        handle: victim.current(),
        ..key
    };
    let mut attacker = site.pretend(forged);
    let request = attacker.input(Input::Tick).unwrap();
    let answer = site.server.post(&request).await;
    assert_eq!(problem(&answer), Some(Problem::Refused));
}

#[tokio::test]
async fn a_spent_factory_key_may_ask_for_a_proof_and_for_nothing_else() {
    let site = Site::new().await;
    let mut device = site.provision(Settings::default()).await;
    // A copy of the factory's flash.
    let mut thief = device.copy(78);
    device.activate(&site.server).await;
    device.poll(&site.server).await;
    site.settled().await;
    for _ in 0..10 {
        thief.speak(&site.server, Input::Tick).await;
        thief.later(300);
    }
    assert_eq!(thief.purpose(), Purpose::Pre);
    assert!(!thief.problems().is_empty());
    // The owner is told; the device that holds the successor is not quarantined for it.
    site.server
        .until(async || site.server.state(&device.id).await == "active")
        .await;
    assert_eq!(site.server.alarms(&device.id).await, ["fork"]);
    device.poll_anew(&site.server).await;
    device.poll_anew(&site.server).await;
    assert!(device.problems().is_empty(), "{:?}", device.problems());
    assert_eq!(site.server.state(&device.id).await, "active");
}

#[tokio::test]
async fn a_server_key_that_was_replaced_is_found_by_seek() {
    let site = Site::new().await;
    let seek = RequestFrame::Seek {
        suite: Suite::Curve25519,
        epoch: Epoch::ZERO,
    }
    .to_cbor_vec();
    let answer = site.server.post(&seek).await;
    let Ok(AnswerFrame::Redirect { server, proof, .. }) = AnswerFrame::decode(&answer) else {
        panic!("no redirect");
    };
    assert_eq!(server, site.known_servers()[0].handle);
    assert!(proof.is_some());
    // A hello for another key of the server's is unreadable.
    let key = TestKey::new(4003, Purpose::Pre);
    site.chain.commit(|world| world.register(&[&key]));
    site.settled().await;
    let other = TestKey::new(4004, Purpose::Ps);
    let known = kusabi_core::device::Server {
        handle: other.handle,
        keys: other.public_keys(),
    };
    let kept = Kept::provisioned(
        site.trust(),
        site.chain.lock().world.org,
        &[known],
        key.handle,
        Purpose::Pre,
    );
    let mut device = site.ship(&kept.unwrap(), key, Settings::default());
    let request = device.input(Input::Tick).unwrap();
    let answer = site.server.post(&request).await;
    assert_eq!(problem(&answer), Some(Problem::Unreadable));
    // It seeks, speaks with what is proven, and adopts that when a receipt has come.
    let seek = device.answered(&answer).unwrap();
    let answer = site.server.post(&seek).await;
    assert!(device.answered(&answer).is_none());
    let servers = |device: &Client| device.unit.device.kept().servers().to_vec();
    assert_eq!(servers(&device), [known]);
    device.later(60);
    device.speak(&site.server, Input::Tick).await;
    let adopted = Event::ServerAdopted {
        server: 0,
        handle: server,
    };
    assert!(device.saw(&adopted), "{:?}", device.events);
    assert_eq!(servers(&device), site.known_servers());
}

#[tokio::test]
async fn a_flood_of_hellos_gets_cookies_and_no_computation() {
    let bounds = Bounds {
        handshakes_calm: 0,
        ..Bounds::default()
    };
    let site = Site::of(How {
        bounds,
        ..How::default()
    })
    .await;
    let mut device = site.provision(Settings::default()).await;
    let garbage = RequestFrame::Hello {
        suite: Suite::Curve25519,
        cookie: None,
        noise: &[7; 200],
    }
    .to_cbor_vec();
    for _ in 0..100 {
        let answer = site.server.post(&garbage).await;
        assert!(matches!(
            AnswerFrame::decode(&answer),
            Ok(AnswerFrame::Retry(_))
        ));
    }
    let counts = site.server.door.counts();
    assert_eq!(counts.retried.load(SeqCst), 100);
    assert_eq!(counts.unreadable.load(SeqCst), 0);
    // A cookie of another address is none.
    let forged = RequestFrame::Hello {
        suite: Suite::Curve25519,
        cookie: Some([9; 16]),
        noise: &[7; 200],
    }
    .to_cbor_vec();
    let answer = site.server.post(&forged).await;
    assert!(matches!(
        AnswerFrame::decode(&answer),
        Ok(AnswerFrame::Retry(_))
    ));
    // Whoever receives what is sent to its address comes in.
    device.activate(&site.server).await;
    assert_eq!(device.purpose(), Purpose::Act);
}

#[tokio::test]
async fn no_room_for_handshakes_is_said_at_once() {
    let bounds = Bounds {
        handshakes_calm: 0,
        handshakes_max: 0,
        ..Bounds::default()
    };
    let site = Site::of(How {
        bounds,
        ..How::default()
    })
    .await;
    let mut device = site.provision(Settings::default()).await;
    device.speak(&site.server, Input::Tick).await;
    assert!(device.saw(&Event::Problem(Problem::Busy)));
    assert_eq!(site.server.door.counts().welcomed.load(SeqCst), 0);
}

#[tokio::test]
async fn bodies_that_are_too_long_of_another_type_or_no_frames() {
    let site = Site::new().await;
    let server = &site.server;
    let got = server
        .post_as("application/kusabi+cbor", vec![0x84; 4097])
        .await;
    assert_eq!(got.status.as_u16(), 413);
    for media_type in ["application/json", "application/cbor", ""] {
        let got = server.post_as(media_type, vec![0x80]).await;
        assert_eq!(got.status.as_u16(), 415);
    }
    for body in [
        &[][..],
        &[0x80],
        &[0xff; 4096],
        b"GET / HTTP/1.1",
        &[0x84, 1, 9, 0, 0],
    ] {
        assert_eq!(problem(&server.post(body).await), Some(Problem::Malformed));
    }
    // Another version of the protocol.
    let answer = server.post(&[0x84, 2, 3, 1, 0]).await;
    assert_eq!(problem(&answer), Some(Problem::Version));
    // A canonical frame with one byte after it.
    let mut seek = RequestFrame::Seek {
        suite: Suite::Curve25519,
        epoch: Epoch::ZERO,
    }
    .to_cbor_vec();
    seek.push(0);
    assert_eq!(problem(&server.post(&seek).await), Some(Problem::Malformed));
    assert_eq!(server.door.sessions(), 0);
}

#[tokio::test]
async fn a_session_of_one_key_cannot_put_another_keys_successor_on_the_ledger() {
    use kusabi_core::protocol::succession::{NewKey, Succession, TRANSACTION_LEN_MAX};
    let site = Site::new().await;
    let mut victim = site.provision(Settings::default()).await;
    let pre = TestKey::new(4100, Purpose::Pre);
    site.chain.commit(|world| world.register(&[&pre]));
    site.settled().await;
    let mut attacker = site.raw(&pre).await;
    // The attacker even has the victim's signature: a transaction that it saw elsewhere.
    let stolen = {
        let (id, key) = victim.unit.disk.slots[0].as_deref().unwrap();
        let (chain, org) = {
            let ledger = site.chain.lock();
            (ledger.world.chain, ledger.world.org)
        };
        let new = TestKey::new(4101, Purpose::Act);
        let succession = Succession {
            chain,
            org,
            old: id.handle(),
            old_purpose: Purpose::Pre,
            moves: 0,
            new: NewKey::new(&new.id, new.public_keys(), &chain, &org),
        };
        let mut bytes = [0; TRANSACTION_LEN_MAX];
        let len = succession.write(key, &new.key, &mut bytes).unwrap();
        bytes[..len].to_vec()
    };
    let height = site.chain.lock().height();
    let told = attacker.succeed(&site.server, &stolen).await;
    assert_eq!(told, Some(SealedProblem::NotAllowed));
    assert_eq!(site.chain.lock().height(), height);
    victim.activate(&site.server).await;
}

impl Site {
    /// A device that says it is whoever this key says.
    fn pretend(&self, key: TestKey) -> Client {
        let purpose = match key.purpose {
            Purpose::Pre => Purpose::Pre,
            _ => Purpose::Act,
        };
        let handle: Handle = key.handle;
        let kept = Kept::provisioned(
            self.trust(),
            self.chain.lock().world.org,
            &self.known_servers(),
            handle,
            purpose,
        );
        self.ship(&kept.unwrap(), key, Settings::default())
    }
}
