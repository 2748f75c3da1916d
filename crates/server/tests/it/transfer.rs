//! Devices that come to another organisation, at both servers' doors: real routers and databases, core's own device at the other end.

mod named;

use crate::site::{Client, How, Server, Site, held};
use axum::http::Method;
use kusabi_api::{Hex, admin::device_id, ledger::Moved};
use kusabi_core::{
    device::{Event, Input, Settings},
    id::{Handle, OrgId, TxId},
    protocol::reply::SealedProblem,
    suite::Purpose,
    tx::{Act, Action, Named},
};
use kusabi_ledger::testing::{OFFICER, TestKey, WRITER};
use kusabi_server::device::Successors;
use serde_json::{Value, json};
use std::sync::atomic::Ordering::SeqCst;
use tokio::sync::broadcast::Receiver;

/// Numbers of the other organisation's keys.
const THEIRS: u64 = 7000;
const HINT: &str = "https://devices.newcomer.example";

/// An organisation with a writer and a server's key.
pub(crate) fn admit(site: &Site) -> OrgId {
    admit_as(site, "newcomer", THEIRS)
}

fn admit_as(site: &Site, name: &str, number: u64) -> OrgId {
    let [officer, writer, ps] = [Purpose::Officer, Purpose::Writer, Purpose::Ps]
        .into_iter()
        .zip(number..)
        .map(|(purpose, number)| TestKey::new(number, purpose))
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    let mut org = None;
    site.chain.commit(|world| {
        let candidate = world.candidate(name, 1, &[&officer]);
        org = Some(candidate.name.id());
        let act = Act::Admit {
            candidate,
            quota: 100,
            seat: false,
        };
        world.propose(0, vec![act]).1
    });
    let org = org.unwrap();
    for key in [&writer, &ps] {
        site.chain.commit(|world| {
            let action = Action::Grant {
                org,
                org_version: world.organisation_of(&org).unwrap().version,
                entry: Box::new(key.entry(&world.chain, &org)),
            };
            world.sign(action, &[&officer])
        });
    }
    org
}

/// Both sign that a device goes from one to the other.
pub(crate) fn transfer(site: &Site, handle: Handle, to: OrgId) {
    let [officer, writer] = [
        TestKey::new(OFFICER, Purpose::Officer),
        TestKey::new(THEIRS + 1, Purpose::Writer),
    ];
    move_key(site, handle, None, Some(to), &[&officer, &writer]);
}

fn move_key(
    site: &Site,
    handle: Handle,
    from: Option<OrgId>,
    to: Option<OrgId>,
    signers: &[&TestKey],
) {
    site.chain.commit(|world| {
        let action = Action::Transfer {
            org: from.unwrap_or(world.org),
            to: to.unwrap_or(world.org),
            targets: vec![Named {
                handle,
                version: world.record(&handle).unwrap().version(),
            }],
        };
        world.sign(action, signers)
    });
}

/// A key that took another's place rests before it may be followed.
async fn rest(site: &Site) {
    for _ in 0..70 {
        site.chain.heartbeat();
    }
    site.settled().await;
}

fn theirs(org: OrgId) -> How {
    How {
        org: Some(org),
        ps: THEIRS + 2,
        writes: false,
        ..How::default()
    }
}

/// Its key was made for its owner, and nothing is left to be done.
fn has_followed(client: &Client, org: OrgId) -> bool {
    let kept = client.unit.device.kept();
    kept.org() == org && !kept.is_bound_elsewhere() && kept.next().is_none()
}

/// Whether a server shows a device in this state; it may not know it yet.
async fn stands(server: &Server, id: &str, state: &str) -> bool {
    let address = format!("/api/v1/devices/{id}");
    let shown = server.ask(Method::GET, &address, &Value::Null).await;
    shown.status.is_success() && shown.json()["state"] == state
}

#[tokio::test]
async fn a_device_that_is_given_away_is_told_so_and_its_new_owners_server_takes_it() {
    let site = Site::new().await;
    let to = admit(&site);
    let mut device = site.active().await;
    rest(&site).await;
    let old = device.current();
    let id = device.id.clone();
    let order = json!({ "kind": "rotate", "target": { "device": id } });
    let given = site.server.do_post("/api/v1/orders", order.clone()).await;
    assert_eq!(given["devices"], 1, "{given}");

    transfer(&site, old, to);
    site.settled().await;
    let moved = async || stands(&site.server, &id, "moved").await;
    site.server.until(moved).await;
    let timeline = site.server.timeline(&id).await;
    assert!(timeline.contains(&String::from("given-away")));
    let dropped = [(String::from("rotate"), String::from("dropped"))];
    assert_eq!(site.server.orders(&id).await, dropped);
    // It is given nothing more.
    let given = site
        .server
        .ask(Method::POST, "/api/v1/orders", &order)
        .await;
    assert_eq!(site.server.orders(&id).await, dropped, "{:?}", given.body);

    // It has no session any more, and in a new one it is told, and shown.
    device.later(60);
    device
        .until(&site.server, |device| device.saw(&Event::Moved { to }))
        .await;
    assert_eq!(device.hints, Vec::<String>::new());

    let other = site.another(theirs(to)).await;
    device
        .until(&other, |device| has_followed(device, to))
        .await;
    assert_ne!(device.current(), old);
    let record = site.chain.lock().record(&device.current()).unwrap();
    assert_eq!((record.owner(), record.predecessor()), (to, Some(old)));
    device.poll(&other).await;
    let new = device_id(&Hex(old.to_bytes()));
    let active = async || stands(&other, &new, "active").await;
    other.until(active).await;
    // It is active from when it was taken; the key that it made for its owner comes a block later.
    other
        .until(async || {
            other
                .timeline(&new)
                .await
                .ends_with(&["taken", "rotated"].map(String::from))
        })
        .await;
    assert!(active().await);
    assert!(other.alarms(&new).await.is_empty());
    // The old owner's server knows nothing of the new key, and refuses it.
    let polls = device.events.len();
    device.later(7200);
    device.speak(&site.server, Input::Poll).await;
    let polled = |event: &Event| matches!(event, Event::Polled { .. });
    assert!(!device.events[polls..].iter().any(polled));
    assert_eq!(site.server.state(&id).await, "moved");
    other.stop().await;
}

#[tokio::test]
async fn a_device_whose_poll_is_held_back_is_told_at_once_and_where_to_go() {
    let site = Site::of(How {
        successors: Successors::new(),
        ..How::default()
    })
    .await;
    let to = admit(&site);
    let pointing = site
        .another(How {
            successors: [(to, HINT.into())].into(),
            ..How::default()
        })
        .await;
    let mut device = site.provision(held(300)).await;
    let mut request = device.input(Input::Tick);
    while device.purpose() == Purpose::Pre || device.sent.len() < 4 {
        let answer = pointing.post(&request.unwrap()).await;
        request = device.answered(&answer);
        if device.purpose() == Purpose::Act {
            break;
        }
    }
    // The next request but the handshake is a poll that is held back.
    let mut waiting = request.unwrap();
    loop {
        let answer = {
            let post = pointing.post(&waiting);
            tokio::pin!(post);
            tokio::select! {
                biased;
                answer = &mut post => answer,
                () = held_back(&pointing) => {
                    transfer(&site, device.current(), to);
                    post.await
                }
            }
        };
        match device.answered(&answer) {
            Some(next) => waiting = next,
            None if device.saw(&Event::Moved { to }) => break,
            None => {
                device.later(60);
                waiting = device.input(Input::Tick).unwrap();
            }
        }
    }
    assert_eq!(device.hints, [HINT]);
    pointing.stop().await;
}

/// Until a poll is held back.
async fn held_back(server: &Server) {
    server
        .until(async || server.door.counts().held.load(SeqCst) > 0)
        .await;
}

#[tokio::test]
async fn a_device_that_comes_back_is_the_same_device() {
    let site = Site::new().await;
    let to = admit(&site);
    let mut device = site.active().await;
    let id = device.id.clone();
    rest(&site).await;
    transfer(&site, device.current(), to);
    site.settled().await;
    let moved = async || stands(&site.server, &id, "moved").await;
    site.server.until(moved).await;
    device
        .until(&site.server, |device| device.saw(&Event::Moved { to }))
        .await;
    let other = site.another(theirs(to)).await;
    device
        .until(&other, |device| has_followed(device, to))
        .await;

    rest(&site).await;
    let [officer, writer] = [
        TestKey::new(THEIRS, Purpose::Officer),
        TestKey::new(WRITER, Purpose::Writer),
    ];
    let home = site.chain.lock().world.org;
    move_key(
        &site,
        device.current(),
        Some(to),
        None,
        &[&officer, &writer],
    );
    site.settled().await;
    let back = async || stands(&site.server, &id, "active").await;
    site.server.until(back).await;
    device
        .until(&site.server, |device| has_followed(device, home))
        .await;
    device.poll(&site.server).await;
    assert!(site.server.alarms(&id).await.is_empty());
    // The door knows what took the key's place before it stands in the database, and so does the device.
    let address = format!("/api/v1/devices/{id}");
    site.server
        .until(async || site.server.get(&address).await["keys"][3].is_object())
        .await;
    let shown = site.server.get(&address).await;
    // Its factory key, the one that went, the one that came back, and the one that took its place.
    assert_eq!(shown["keys"].as_array().unwrap().len(), 4, "{shown}");
    other.stop().await;
}

#[tokio::test]
async fn a_rebuilt_server_knows_which_devices_went_and_which_came() {
    let site = Site::new().await;
    let to = admit(&site);
    let device = site.active().await;
    let stays = site.provision(Settings::default()).await;
    transfer(&site, device.current(), to);
    site.settled().await;
    let other = site.another(theirs(to)).await;
    let taken = device_id(&Hex(device.current().to_bytes()));
    let active = async || stands(&other, &taken, "active").await;
    other.until(active).await;
    for (server, id, state) in [
        (&site.server, &device.id, "moved"),
        (&site.server, &stays.id, "registered"),
        (&other, &taken, "active"),
    ] {
        let shown = async || stands(server, id, state).await;
        server.until(shown).await;
        let before = server.timeline(id).await;
        server
            .app
            .rebuild(&kusabi_server::app::By::only(
                kusabi_server::app::Caller::server(),
            ))
            .await
            .unwrap();
        server.until(shown).await;
        assert_eq!(server.timeline(id).await, before);
    }
    other.stop().await;
}

/// What a node says that lies: these keys went from one organisation to another.
fn made_up(from: OrgId, to: OrgId, keys: &[Handle]) -> kusabi_api::ledger::Event {
    kusabi_api::ledger::Event {
        index: 0,
        id: TxId::new([9; 32]),
        action: "transfer".into(),
        organisation: Some(Hex(from.to_bytes())),
        added: Vec::new(),
        ended: Vec::new(),
        moved: Some(Moved {
            to: Hex(to.to_bytes()),
            keys: keys.iter().map(|key| Hex(key.to_bytes())).collect(),
        }),
        digest: None,
    }
}

/// The server's node says this of its next block, and the follower is through with it: it comes across `last`, which nothing else names.
async fn is_told(site: &Site, events: Vec<kusabi_api::ledger::Event>, last: Handle) {
    let mut changes = site.server.app.ledger_changes();
    site.chain.invents.lock().unwrap().extend(events);
    site.chain.heartbeat();
    comes_across(&mut changes, last).await;
}

async fn comes_across(changes: &mut Receiver<Handle>, last: Handle) {
    let seen = async { while changes.recv().await.unwrap() != last {} };
    let time = std::time::Duration::from_secs(20);
    tokio::time::timeout(time, seen).await.unwrap();
}

#[tokio::test]
async fn a_node_that_makes_transfers_up_changes_nothing() {
    let site = Site::new().await;
    let to = admit(&site);
    let home = site.chain.lock().world.org;
    let mut device = site.active().await;
    let id = device.id.clone();
    rest(&site).await;
    // In quarantine, with an order that waits; and its copy is known for one.
    device.poll(&site.server).await;
    let mut thief = device.copy(77);
    thief.power_cut();
    device.poll_anew(&site.server).await;
    thief.poll_anew(&site.server).await;
    assert_eq!(site.server.state(&id).await, "quarantined");
    site.server.order(&id, "report").await;
    let waits = [(String::from("report"), String::from("waiting"))];
    assert_eq!(site.server.orders(&id).await, waits);

    // It went; it came; another organisation's came, and one that nobody has.
    let key = device.current();
    let [foreign, none] = [THEIRS + 10, THEIRS + 11].map(|n| TestKey::new(n, Purpose::Act));
    site.chain.commit(|world| {
        let entries = vec![foreign.entry(&world.chain, &to)];
        let action = Action::Register { org: to, entries };
        world.sign(action, &[&TestKey::new(THEIRS + 1, Purpose::Writer)])
    });
    let lies = vec![
        made_up(home, to, &[key]),
        made_up(to, home, &[key, foreign.handle, none.handle]),
    ];
    let before = site.server.timeline(&id).await;
    is_told(&site, lies, none.handle).await;
    assert_eq!(site.server.state(&id).await, "quarantined");
    assert_eq!(site.server.orders(&id).await, waits);
    assert_eq!(site.server.timeline(&id).await, before);
    let all = site.server.get("/api/v1/devices?limit=200").await;
    assert_eq!(all["items"].as_array().unwrap().len(), 1, "{all}");
    thief.later(7200);
    thief.poll_anew(&site.server).await;
    assert_eq!(thief.problems(), [SealedProblem::Fork, SealedProblem::Fork]);

    // What is true is done; and it does not come back because a node says so.
    transfer(&site, key, to);
    let moved = async || stands(&site.server, &id, "moved").await;
    site.server.until(moved).await;
    let last = Handle::new([7; 32]);
    is_told(&site, vec![made_up(to, home, &[key, last])], last).await;
    assert_eq!(site.server.state(&id).await, "moved");
    let dropped = [(String::from("report"), String::from("dropped"))];
    assert_eq!(site.server.orders(&id).await, dropped);
}

#[tokio::test]
async fn a_transfer_that_was_true_once_is_not_told_again_because_a_node_says_so() {
    let site = Site::new().await;
    let to = admit(&site);
    let home = site.chain.lock().world.org;
    let device = site.active().await;
    rest(&site).await;
    let key = device.current();
    transfer(&site, key, to);
    let moved = async || stands(&site.server, &device.id, "moved").await;
    site.server.until(moved).await;
    let [officer, writer] = [
        TestKey::new(THEIRS, Purpose::Officer),
        TestKey::new(WRITER, Purpose::Writer),
    ];
    move_key(&site, key, Some(to), None, &[&officer, &writer]);
    let active = async || stands(&site.server, &device.id, "active").await;
    site.server.until(active).await;
    let before = site.server.timeline(&device.id).await;
    for n in [7, 8] {
        let last = Handle::new([n; 32]);
        is_told(&site, vec![made_up(to, home, &[key, last])], last).await;
    }
    assert_eq!(site.server.timeline(&device.id).await, before);
}

#[tokio::test]
async fn of_keys_that_moved_few_are_asked_for_at_once() {
    let site = Site::new().await;
    let to = admit(&site);
    let home = site.chain.lock().world.org;
    site.settled().await;
    let mut changes = site.server.app.ledger_changes();
    let keys: Vec<_> = (0..200_u8).map(|n| Handle::new([n + 1; 32])).collect();
    site.chain.stuck.send_replace(true);
    let before = site.chain.lookups.load(SeqCst);
    let asked = || site.chain.lookups.load(SeqCst) - before;
    let lies = vec![made_up(to, home, &keys)];
    site.chain.invents.lock().unwrap().extend(lies);
    site.chain.heartbeat();
    // The door asks for its own key's proof, too.
    site.server.until(async || asked() >= 8).await;
    assert!(asked() < 16, "{} at once", asked());
    site.chain.stuck.send_replace(false);
    comes_across(&mut changes, *keys.last().unwrap()).await;
    assert!(asked() >= 200, "{}", asked());
}

#[tokio::test]
async fn a_server_of_an_organisation_that_never_had_it_lets_no_key_in_that_moved() {
    let site = Site::new().await;
    let to = admit(&site);
    let third = admit_as(&site, "third", THEIRS + 100);
    let mut device = site.active().await;
    rest(&site).await;
    transfer(&site, device.current(), to);
    site.settled().await;
    device.later(60);
    device
        .until(&site.server, |device| device.saw(&Event::Moved { to }))
        .await;
    let stranger = site
        .another(How {
            ps: THEIRS + 102,
            ..theirs(third)
        })
        .await;
    let counts = stranger.door.counts();
    let refused = || counts.refused.load(SeqCst);
    for _ in 0..40 {
        device.speak(&stranger, Input::Tick).await;
        device.later(60);
    }
    assert!(refused() > 0, "it was never greeted");
    assert_eq!(counts.welcomed.load(SeqCst), 0);
    // Where it comes from it is let in, to learn so.
    let welcomed = &site.server.door.counts().welcomed;
    assert!(welcomed.load(SeqCst) > 0);
    stranger.stop().await;
}
