//! Groups, orders, alarms.

use crate::world::World;
use axum::http::{Method, StatusCode};
use kusabi_api::{Hex32, Kind, admin::AlarmKind};
use kusabi_core::{id::Digest, suite::Purpose, tx::Action};
use kusabi_ledger::testing::TestKey;
use kusabi_server::app::{By, Caller};
use serde_json::{Value, json};
use std::sync::atomic::Ordering::SeqCst;

const ORDERS: &str = "/api/v1/orders";
const RELEASE: Digest = Digest::new([0x42; 32]);

/// Publishes the release, or withdraws it.
fn publish(world: &World, withdraw: bool) {
    let mut ledger = world.ledger.world.lock().unwrap();
    let art = TestKey::new(50, Purpose::Art);
    if withdraw {
        let action = Action::WithdrawRelease {
            org: ledger.org,
            digest: RELEASE,
            version: 1,
        };
        let transaction = ledger.sign(action, &[&art]);
        ledger.submit(transaction).unwrap();
        return;
    }
    let action = Action::ArtPolicy {
        org: ledger.org,
        policy_version: 0,
        k: 1,
        added: vec![ledger.entry(&art)],
        removed: vec![],
        signers: 1,
    };
    let transaction = ledger.sign(action, &[&ledger.officer, &art]);
    ledger.submit(transaction).unwrap();
    let action = Action::Publish {
        org: ledger.org,
        policy_version: ledger.policy().unwrap().version,
        digest: RELEASE,
        minimum_counter: 0,
    };
    let transaction = ledger.sign(action, &[&art]);
    ledger.submit(transaction).unwrap();
}

async fn member(world: &World, method: Method, group: &str, device: &str) -> crate::world::Got {
    let page = format!("/api/v1/groups/{group}/devices/{device}");
    world
        .ask(&world.operator, method, &page, &[], &Value::Null)
        .await
}

async fn group(world: &World, name: &str) -> String {
    let got = world.post("/api/v1/groups", json!({ "name": name })).await;
    got.json()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_device_is_in_many_groups() {
    let world = World::new().await;
    let device = world.device(100, json!({})).await;
    let (north, south) = (group(&world, "north").await, group(&world, "south").await);
    for id in [&north, &south, &south] {
        assert_eq!(
            member(&world, Method::PUT, id, &device).await.status,
            StatusCode::NO_CONTENT
        );
    }
    let groups = async || {
        let page = format!("/api/v1/devices/{device}");
        world.get(&page).await.json()["groups"].clone()
    };
    let mut both = [&north, &south];
    both.sort();
    assert_eq!(groups().await, json!(both));
    for _ in 0..2 {
        let got = member(&world, Method::DELETE, &south, &device).await;
        assert_eq!(got.status, StatusCode::NO_CONTENT);
    }
    assert_eq!(groups().await, json!([north]));
    for (group, device) in [
        ("grp_0", device.as_str()),
        (&north, "dev_0"),
        ("%00", &device),
    ] {
        assert_eq!(
            member(&world, Method::PUT, group, device).await.kind(),
            Kind::Unknown
        );
    }
}

#[tokio::test]
async fn an_order_goes_to_a_device_or_to_who_is_in_the_group_now() {
    let world = World::new().await;
    publish(&world, false);
    let mut devices = Vec::new();
    for number in 100..103 {
        devices.push(world.device(number, json!({})).await);
    }
    let north = group(&world, "north").await;
    for device in &devices[..2] {
        member(&world, Method::PUT, &north, device).await;
    }
    let release = Hex32::from(RELEASE.to_bytes());
    let update = json!({ "kind": "update", "release": release, "target": { "group": north } });
    let got = world.post(ORDERS, update).await;
    assert_eq!(got.status, StatusCode::CREATED);
    let first = got.json();
    assert_eq!((&first["id"], &first["devices"]), (&json!(1), &json!(2)));
    // Who comes later is not meant.
    member(&world, Method::PUT, &north, &devices[2]).await;
    let rotate = json!({ "kind": "rotate", "target": { "device": devices[2] } });
    let second = world.post(ORDERS, rotate).await.json();
    let nobody = json!({ "kind": "report", "target": { "group": group(&world, "empty").await } });
    let third = world.post(ORDERS, nobody).await.json();
    assert_eq!(
        (&second["devices"], &third["devices"]),
        (&json!(1), &json!(0))
    );
    let (orders, _) = world.pages(&world.viewer, ORDERS).await;
    assert_eq!(orders, [third, second, first]);
}

#[tokio::test]
async fn a_database_that_follows_on_a_lost_one_takes_no_order_number_again() {
    // Devices remember by number what they have done.
    let mut last = 0;
    for tenths in [600, 700] {
        let world = World::new().await;
        world
            .edge
            .now_ms
            .store(1_767_225_600_000 + tenths * 100, SeqCst);
        let device = world.device(100, json!({})).await;
        for number in 0..3 {
            let rotate = json!({ "kind": "rotate", "target": { "device": device } });
            let id = world.post(ORDERS, rotate).await.json()["id"]
                .as_u64()
                .unwrap();
            assert_eq!(id, tenths + number);
            assert!(id > last, "{id} after {last}");
            last = id;
        }
    }
}

#[tokio::test]
async fn orders_that_make_no_sense() {
    let world = World::new().await;
    let device = world.device(100, json!({})).await;
    let release = Hex32::from(RELEASE.to_bytes());
    let to = json!({ "device": device });
    let unfit = |why: &'static str| (Kind::Unfit, why);
    for (order, (kind, why)) in [
        (
            json!({ "kind": "update", "target": to }),
            unfit("names a release"),
        ),
        (
            json!({ "kind": "rotate", "release": release, "target": to }),
            unfit("names no release"),
        ),
        (
            json!({ "kind": "update", "release": release, "target": to }),
            unfit("is not on the ledger"),
        ),
        (
            json!({ "kind": "dance", "target": to }),
            (Kind::Malformed, "dance"),
        ),
        (json!({ "kind": "rotate" }), (Kind::Malformed, "target")),
        (
            json!({ "kind": "rotate", "target": {} }),
            (Kind::Malformed, ""),
        ),
        (
            json!({ "kind": "rotate", "target": { "device": device, "group": "g" } }),
            (Kind::Malformed, ""),
        ),
        (
            json!({ "kind": "rotate", "target": { "device": "dev_0" } }),
            (Kind::Unknown, "dev_0"),
        ),
        (
            json!({ "kind": "rotate", "target": { "device": "a\0b" } }),
            (Kind::Unknown, "device"),
        ),
        (
            json!({ "kind": "rotate", "target": { "group": "a\0b" } }),
            (Kind::Unknown, "group"),
        ),
    ] {
        let (got, detail) = world.post(ORDERS, order.clone()).await.problem();
        assert_eq!(got, kind, "{order}");
        assert!(detail.contains(why), "{detail}");
    }
    publish(&world, false);
    publish(&world, true);
    let order = json!({ "kind": "repair", "release": release, "target": to });
    let (kind, detail) = world.post(ORDERS, order).await.problem();
    assert_eq!(kind, Kind::Unfit);
    assert!(detail.contains("is withdrawn"), "{detail}");
    assert_eq!(world.pages(&world.viewer, ORDERS).await, (vec![], 1));
}

#[tokio::test]
async fn alarms_are_listed_and_acknowledged_once() {
    let world = World::new().await;
    let device = world.device(100, json!({})).await;
    let app = world.app().await;
    let server = By::only(Caller::server());
    for kind in [AlarmKind::Fork, AlarmKind::Inventory, AlarmKind::Stale] {
        app.raise_alarm(&server, &device, kind, "a sentence")
            .await
            .unwrap();
    }
    let page = "/api/v1/alarms/2/acknowledgement";
    let acknowledge = |token| world.ask(token, Method::POST, page, &[], &Value::Null);
    let first = acknowledge(&world.operator).await.json();
    assert_eq!(first["acknowledged_ms"], world.edge.now_ms.load(SeqCst));
    world.edge.now_ms.fetch_add(1, SeqCst);
    assert_eq!(
        acknowledge(&world.admin).await.json(),
        first,
        "who was first stays"
    );
    let kinds = async |address| -> Vec<Value> {
        let (alarms, _) = world.pages(&world.viewer, address).await;
        alarms.iter().map(|alarm| alarm["kind"].clone()).collect()
    };
    assert_eq!(
        kinds("/api/v1/alarms").await,
        ["stale", "inventory", "fork"]
    );
    assert_eq!(kinds("/api/v1/alarms?open=true").await, ["stale", "fork"]);
    for (alarm, kind) in [
        ("4", Kind::Unknown),
        ("18446744073709551615", Kind::Unknown),
        ("x", Kind::BadParameter),
        ("-1", Kind::BadParameter),
    ] {
        let page = format!("/api/v1/alarms/{alarm}/acknowledgement");
        let got = world
            .ask(&world.operator, Method::POST, &page, &[], &Value::Null)
            .await;
        assert_eq!(got.kind(), kind, "{alarm}");
    }
}
