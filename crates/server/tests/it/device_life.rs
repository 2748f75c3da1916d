//! The life of devices through the device door: real router, real database, core's own device at the other end.

use crate::site::{Client, How, Site, held, problem, server_made};
use kusabi_core::{
    device::{Event, Input, Settings},
    id::Digest,
    protocol::{
        frame::Problem,
        request::{Facts, OutcomeCode},
    },
    suite::Purpose,
};
use kusabi_server::device::Bounds;
use serde_json::json;
use std::{sync::atomic::Ordering::SeqCst, time::Duration};

#[tokio::test]
async fn a_device_activates_with_a_key_of_its_own_and_polls() {
    let site = Site::new().await;
    let mut device = site.provision(Settings::default()).await;
    let pre = device.current();
    device.activate(&site.server).await;
    let act = device.current();
    assert_ne!(pre, act);
    let record = site.chain.lock().record(&act).unwrap();
    assert_eq!(
        (record.purpose(), record.predecessor()),
        (Purpose::Act, Some(pre))
    );
    device.poll(&site.server).await;
    assert!(device.problems().is_empty());

    let id = device.id.clone();
    site.server
        .until(async || site.server.state(&id).await == "active")
        .await;
    let shown = site.server.get(&format!("/api/v1/devices/{id}")).await;
    assert_eq!(shown["keys"].as_array().unwrap().len(), 2);
    site.server
        .until(async || {
            let shown = site.server.get(&format!("/api/v1/devices/{id}")).await;
            shown["last_contact_ms"].is_u64()
        })
        .await;
    assert!(
        site.server
            .timeline(&id)
            .await
            .contains(&String::from("activated"))
    );
    assert!(site.server.alarms(&id).await.is_empty());
}

#[tokio::test]
async fn a_device_without_entropy_gets_its_key_from_the_server_and_a_repeat_makes_another() {
    let site = Site::new().await;
    let mut device = site.provision(server_made()).await;
    // Power goes before the key is stored: it asks again, and gets another one.
    let mut request = device.input(Input::Tick);
    let mut before = device.unit.disk.clone();
    while device.unit.disk.slots[1].is_none() {
        let answer = site.server.post(&request.unwrap()).await;
        before = device.unit.disk.clone();
        request = device.answered(&answer);
    }
    let first = device.unit.disk.slots[1].as_ref().unwrap().0.handle();
    device.unit.disk = before;
    device.power_cut();
    device.later(3600);
    device.activate(&site.server).await;
    assert_ne!(device.current(), first);
}

#[tokio::test]
async fn an_order_reaches_a_poll_that_is_held_back_and_its_outcome_is_noted() {
    let site = Site::new().await;
    let mut device = site.provision(held(60)).await;
    // Until the poll that is held back.
    let mut request = device.input(Input::Tick);
    while device.purpose() == Purpose::Pre {
        let answer = site.server.post(&request.unwrap()).await;
        request = device.answered(&answer);
    }
    let mut poll = request;
    for _ in 0..10 {
        let sent = poll.unwrap();
        match tokio::time::timeout(Duration::from_millis(300), site.server.post(&sent)).await {
            Ok(answer) => {
                poll = device.answered(&answer);
                if poll.is_none() {
                    device.later(60);
                    poll = device.input(Input::Tick);
                }
            }
            // The connection has ended; the request is sent again, on a new one.
            Err(_) => {
                poll = Some(sent);
                break;
            }
        }
    }
    assert_eq!(site.server.door.counts().held.load(SeqCst), 1);
    let sent = poll.unwrap();
    let (answer, order) = tokio::join!(site.server.post(&sent), async {
        site.server.order(&device.id, "rotate").await
    });
    let asked = device.answered(&answer);
    assert!(asked.is_some(), "it takes a new key at once");
    assert_eq!(site.server.door.counts().held.load(SeqCst), 0);
    assert_eq!(
        site.server.orders(&device.id).await,
        [(String::from("rotate"), String::from("sent"))]
    );
    let act = device.current();
    let mut request = asked;
    for _ in 0..20 {
        let Some(sent) = request else {
            device.later(60);
            request = device.input(Input::Tick);
            continue;
        };
        match tokio::time::timeout(Duration::from_millis(300), site.server.post(&sent)).await {
            Ok(answer) => request = device.answered(&answer),
            Err(_) => break,
        }
    }
    // A key rests for 64 heights before it may be followed: the ledger grows, and the device comes again.
    for _ in 0..70 {
        site.chain.heartbeat();
    }
    site.settled().await;
    for _ in 0..30 {
        device.later(600);
        let mut request = device.input(Input::Tick);
        while let Some(sent) = request {
            request =
                match tokio::time::timeout(Duration::from_millis(200), site.server.post(&sent))
                    .await
                {
                    Ok(answer) => device.answered(&answer),
                    Err(_) => None,
                };
        }
        if device.current() != act {
            break;
        }
    }
    assert_ne!(device.current(), act);
    let id = device.id.clone();
    for _ in 0..10 {
        device.later(600);
        let mut request = device.input(Input::Tick);
        while let Some(sent) = request {
            request =
                match tokio::time::timeout(Duration::from_millis(200), site.server.post(&sent))
                    .await
                {
                    Ok(answer) => device.answered(&answer),
                    Err(_) => None,
                };
        }
        if site.server.orders(&id).await[0].1 == "done" {
            break;
        }
    }
    assert_eq!(site.server.orders(&id).await[0].1, "done");
    let shown = site.server.get("/api/v1/orders").await;
    assert_eq!(shown["items"][0]["id"], order);
    assert_eq!(shown["items"][0]["waiting"], 0);
    let timeline = site.server.timeline(&id).await;
    for kind in ["order-given", "order-sent", "order-answered"] {
        assert!(timeline.contains(&String::from(kind)), "{timeline:?}");
    }
}

#[tokio::test]
async fn an_order_is_given_once_in_a_session_and_again_in_the_next_until_it_is_answered() {
    let site = Site::new().await;
    let mut device = site.active().await;
    site.server.order(&device.id, "report").await;
    device.poll(&site.server).await;
    let orders = device.wanted();
    assert_eq!(orders.len(), 1);
    device.poll(&site.server).await;
    assert_eq!(device.wanted().len(), 1);
    // It forgets: after a power cut it has a new session, and gets it again.
    device.power_cut();
    device.poll_anew(&site.server).await;
    assert_eq!(device.wanted(), [orders[0], orders[0]]);
    device.input(Input::Outcome {
        order: orders[0],
        code: OutcomeCode::Failed,
    });
    device.poll(&site.server).await;
    assert_eq!(site.server.orders(&device.id).await[0].1, "failed");
    assert_eq!(site.server.alarms(&device.id).await, ["order"]);
    device.power_cut();
    device.poll_anew(&site.server).await;
    assert_eq!(device.wanted().len(), 2);
}

#[tokio::test]
async fn a_device_owes_no_more_answers_than_it_has_room_for() {
    let site = Site::new().await;
    let mut device = site.active().await;
    let all = 11;
    for _ in 0..all {
        site.server.order(&device.id, "report").await;
    }
    let mut answered = 0;
    for round in 0..all {
        device.poll(&site.server).await;
        let orders = device.wanted();
        assert_eq!(orders.len(), all.min(answered + 4), "round {round}");
        if answered == all {
            break;
        }
        // Some polls answer for one, others for as many as there are.
        let told = if round % 2 == 0 { 1 } else { 4 };
        for order in orders[answered..].iter().take(told) {
            let code = OutcomeCode::Failed;
            device.input(Input::Outcome {
                order: *order,
                code,
            });
            answered += 1;
        }
    }
    assert_eq!(answered, all);
    let orders = site.server.orders(&device.id).await;
    assert_eq!(orders.len(), all);
    for (_, state) in orders {
        assert_eq!(state, "failed");
    }
}

#[tokio::test]
async fn a_groups_order_reaches_each_of_its_devices() {
    let site = Site::new().await;
    let mut devices = [
        site.active().await,
        site.active().await,
        site.active().await,
    ];
    let group = site
        .server
        .do_post("/api/v1/groups", json!({ "name": "yard" }))
        .await;
    let group = group["id"].as_str().unwrap();
    for device in &devices[..2] {
        let address = format!("/api/v1/groups/{group}/devices/{}", device.id);
        let method = axum::http::Method::PUT;
        let got = site.server.ask(method, &address, &json!(null)).await;
        assert!(got.status.is_success());
    }
    for device in &mut devices {
        device.poll(&site.server).await;
    }
    let order = json!({ "kind": "rotate", "target": { "group": group } });
    site.server.do_post("/api/v1/orders", order).await;
    for device in &mut devices {
        let before = device.sent.len();
        device.poll(&site.server).await;
        // A succession begins with the order.
        let asked = device.sent.len() - before > 1;
        assert_eq!(asked, !site.server.orders(&device.id).await.is_empty());
    }
}

#[tokio::test]
async fn a_quiet_poll_asks_neither_database_nor_ledger() {
    let site = Site::new().await;
    let mut device = site.active().await;
    site.settled().await;
    // The activation has come into the database, too: that is news of the device, for which its next poll looks there.
    let address = format!("/api/v1/devices/{}", device.id);
    site.server
        .until(async || site.server.get(&address).await["state"] == "active")
        .await;
    // What was written by the time of this answer was also announced.
    site.server.get(&address).await;
    for _ in 0..3 {
        device.poll(&site.server).await;
    }
    let before = site.chain.lookups.load(SeqCst);
    let polls = site.server.door.counts().polls.load(SeqCst);
    // The database is gone, and the ledger does not answer: it is not noticed.
    site.chain.gone.store(true, SeqCst);
    site.server.app.close().await;
    for _ in 0..20 {
        device.poll(&site.server).await;
    }
    assert!(device.problems().is_empty());
    assert_eq!(site.chain.lookups.load(SeqCst), before);
    assert_eq!(site.server.door.counts().polls.load(SeqCst), polls + 20);
}

#[tokio::test]
async fn what_a_device_says_it_runs_is_shown() {
    let site = Site::new().await;
    let mut device = site.active().await;
    device.says(Facts {
        inventory: None,
        release: Some(Digest::new([7; 32])),
        counter: 3,
        ..Facts::default()
    });
    device.poll(&site.server).await;
    let id = device.id.clone();
    site.server
        .until(async || {
            let shown = site.server.get(&format!("/api/v1/devices/{id}")).await;
            shown["firmware"] == "07".repeat(32)
        })
        .await;
    assert!(
        site.server
            .timeline(&id)
            .await
            .contains(&String::from("firmware"))
    );
}

#[tokio::test]
async fn a_restarted_server_goes_on_with_the_links_of_its_database() {
    let mut site = Site::new().await;
    let mut device = site.active().await;
    device.poll(&site.server).await;
    site.restart().await;
    // Its session is unknown here; a new one follows on the last link.
    device.poll(&site.server).await;
    device.later(600);
    device.poll(&site.server).await;
    assert!(
        device
            .events
            .iter()
            .any(|event| matches!(event, Event::Problem(Problem::UnknownSession)))
    );
    assert!(site.server.alarms(&device.id).await.is_empty());
    assert!(device.problems().is_empty(), "{:?}", device.problems());
}

#[tokio::test]
async fn two_servers_over_one_database_serve_one_device_in_turn() {
    let site = Site::new().await;
    let other = site.another(How::default()).await;
    let mut device = site.active().await;
    for round in 0..6 {
        let server = if round % 2 == 0 { &other } else { &site.server };
        device.poll_anew(server).await;
        // What the other server knows of the link is out of date: the device handshakes anew, at most once.
        device.later(600);
        device.poll(server).await;
    }
    assert!(site.server.alarms(&device.id).await.is_empty());
    // An order that was given there is handed out here.
    site.server.order(&device.id, "report").await;
    let mut live = other.app.live();
    for _ in 0..100 {
        device.poll(&other).await;
        if device
            .events
            .iter()
            .any(|event| matches!(event, Event::ReportWanted { .. }))
        {
            break;
        }
        let tick = Duration::from_millis(100);
        let _ = tokio::time::timeout(tick, live.recv()).await;
    }
    let given = device
        .events
        .iter()
        .any(|event| matches!(event, Event::ReportWanted { .. }));
    assert!(given);
    other.stop().await;
}

#[tokio::test]
async fn a_server_whose_ledger_is_behind_sends_devices_elsewhere() {
    let site = Site::new().await;
    site.chain.heartbeat_ms.store(1_000, SeqCst);
    let server = site.another(How::default()).await;
    let device = site.provision(Settings::default()).await;
    drop(device);
    site.chain.gone.store(true, SeqCst);
    let seek = {
        use kusabi_core::cbor::ToCbor as _;
        kusabi_core::protocol::frame::RequestFrame::Seek {
            suite: kusabi_core::suite::Suite::Curve25519,
            epoch: kusabi_core::id::Epoch::ZERO,
        }
        .to_cbor_vec()
    };
    // Two heartbeats are two seconds, and no server that is busy for so long is behind.
    for (seconds, behind) in [(3, false), (13, true)] {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(seconds)).await;
        tokio::time::resume();
        let told = problem(&server.post(&seek).await) == Some(Problem::Behind);
        assert_eq!(told, behind, "after {seconds} s more");
    }
    site.chain.gone.store(false, SeqCst);
    let height = site.chain.heartbeat();
    server.door.reached(height).await;
    assert_eq!(problem(&server.post(&seek).await), None);
    server.stop().await;
}

#[tokio::test]
async fn a_device_that_slept_through_epochs_is_led_on() {
    let site = Site::new().await;
    let mut device = site.active().await;
    for _ in 0..20 {
        site.chain.turn_epoch();
    }
    let height = site.chain.heartbeat();
    site.server.door.reached(height).await;
    device.poll_anew(&site.server).await;
    device.later(60);
    device.poll(&site.server).await;
    let floor = device.unit.device.kept().trust().floor();
    assert_eq!((floor.epoch.get(), floor.height.get()), (20, height));
}

/// Has a device say all that it has to say, up to the poll that the server holds back.
async fn held_back(site: &Site, device: &mut Client) -> Vec<u8> {
    device.unit.settings.hold_secs = 200;
    device.power_cut();
    device.later(7200);
    let mut request = device.input(Input::Tick);
    loop {
        let sent = request.unwrap();
        match tokio::time::timeout(Duration::from_millis(500), site.server.post(&sent)).await {
            Ok(answer) => request = device.answered(&answer),
            Err(_) => return sent,
        }
    }
}

#[tokio::test]
async fn a_poll_that_is_held_back_over_the_end_of_an_epoch_disturbs_nobody() {
    let site = Site::new().await;
    let mut device = site.active().await;
    let held = held_back(&site, &mut device).await;
    let id = device.id.clone();
    let answered = async {
        site.chain.turn_epoch();
        let height = site.chain.heartbeat();
        site.server.door.reached(height).await;
        // Something to do ends it.
        site.server.order(&id, "report").await;
        height
    };
    let (answer, height) = tokio::join!(site.server.post(&held), answered);
    assert_eq!(problem(&answer), None);
    // What it is told it can use, and what it says next leads it on.
    let mut request = device.answered(&answer);
    while let Some(sent) = request {
        let answer = site.server.post(&sent).await;
        request = device.answered(&answer);
        if device.unit.device.kept().trust().floor().height.get() >= height {
            break;
        }
    }
    let floor = device.unit.device.kept().trust().floor();
    assert_eq!((floor.epoch.get(), floor.height.get()), (1, height));
    assert_eq!(device.problems(), []);
}

#[tokio::test]
async fn a_stopping_server_answers_what_it_holds_back() {
    let site = Site::new().await;
    let mut device = site.active().await;
    let held = held_back(&site, &mut device).await;
    let (answer, ()) = tokio::join!(site.server.post(&held), site.server.door.stop());
    assert_eq!(problem(&answer), None);
    assert_eq!(problem(&site.server.post(&held).await), Some(Problem::Busy));
}

#[tokio::test]
async fn held_polls_beyond_the_bound_are_told_to_wait() {
    let bounds = Bounds {
        held_max: 0,
        ..Bounds::default()
    };
    let site = Site::of(How {
        bounds,
        ..How::default()
    })
    .await;
    let mut device = site.active().await;
    device.unit.settings.hold_secs = 200;
    device.power_cut();
    device.later(7200);
    device.speak(&site.server, Input::Tick).await;
    assert_eq!(
        device.problems(),
        [kusabi_core::protocol::reply::SealedProblem::Unavailable]
    );
}
