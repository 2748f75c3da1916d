//! Devices and keys.

use crate::world::World;
use axum::http::{Method, StatusCode};
use kusabi_api::{Hex32, Kind, Ledger as _, VerifyingLedger, admin::DeviceDetail};
use kusabi_core::{id::Handle, row::Reason, suite::Purpose, tx::Action};
use kusabi_ledger::testing::TestKey;
use serde_json::{Value, json};
use std::sync::{Arc, atomic::Ordering::SeqCst};

const DEVICES: &str = "/api/v1/devices";

#[tokio::test]
async fn a_device_is_imported_listed_and_shown() {
    let world = World::new().await;
    let handle = world.register(100, Purpose::Pre);
    let body = json!({ "handle": handle, "type": "cam-2", "serial": "S-1", "name": "Gate" });
    let got = world.post(DEVICES, body.clone()).await;
    assert_eq!(got.status, StatusCode::CREATED);
    let device = got.json();
    let id = kusabi_api::admin::device_id(&handle);
    assert_eq!(device["id"], id);
    assert_eq!(device["state"], "registered");
    assert_eq!(device["inventory"], "unknown");
    // A repeat without any key is the same device, unchanged.
    world.edge.now_ms.fetch_add(1, SeqCst);
    assert_eq!(world.post(DEVICES, body).await.json(), device);
    let shown = world.get(&format!("{DEVICES}/{id}")).await.json();
    let shown: DeviceDetail = serde_json::from_value(shown).unwrap();
    assert_eq!(serde_json::to_value(&shown.device).unwrap(), device);
    let [key] = &shown.keys[..] else {
        panic!("one key")
    };
    assert_eq!((key.handle, key.purpose.as_str()), (handle, "pre"));
    assert_eq!(shown.groups, [""; 0]);
    // A device key that needed no factory key.
    let act = world.register(101, Purpose::Act);
    assert_eq!(
        world.post(DEVICES, json!({ "handle": act })).await.json()["state"],
        "active"
    );
}

#[tokio::test]
async fn a_device_needs_a_key_on_the_ledger_that_fits() {
    let world = World::new().await;
    let absent = Hex32::from(TestKey::new(1, Purpose::App).handle.to_bytes().map(|b| !b));
    let app = world.register(101, Purpose::App);
    let revoked = world.register(102, Purpose::Pre);
    {
        let mut ledger = world.ledger.world.lock().unwrap();
        let action = Action::Revoke {
            org: ledger.org,
            targets: vec![ledger.named(&TestKey::new(102, Purpose::Pre))],
            reason: Reason::Lost,
            compromised_since: None,
            signers: 1,
        };
        let revoke = ledger.sign(action, &[&ledger.officer]);
        ledger.submit(revoke).unwrap();
    }
    for (handle, why) in [
        (absent, "is not on the ledger"),
        (app, "is of purpose app"),
        (revoked, "is not active any more: revoked"),
    ] {
        let (kind, detail) = world
            .post(DEVICES, json!({ "handle": handle }))
            .await
            .problem();
        assert_eq!(kind, Kind::Unfit);
        assert!(detail.contains(why), "{detail}");
    }
    assert_eq!(world.pages(&world.viewer, DEVICES).await, (vec![], 1));
}

#[tokio::test]
async fn a_serial_and_a_key_belong_to_one_device() {
    let world = World::new().await;
    let first = world.device(100, json!({ "serial": "S-1" })).await;
    let other = world.register(101, Purpose::Pre);
    let (kind, detail) = world
        .post(DEVICES, json!({ "handle": other, "serial": "S-1" }))
        .await
        .problem();
    assert_eq!(kind, Kind::Exists);
    assert!(
        detail.contains("serial") && detail.contains(&first),
        "{detail}"
    );
    let handle = world.get(&format!("{DEVICES}/{first}")).await.json()["keys"][0]["handle"].clone();
    let (kind, detail) = world
        .post(DEVICES, json!({ "handle": handle, "serial": "S-2" }))
        .await
        .problem();
    assert_eq!(kind, Kind::Exists);
    assert!(
        detail.contains("key") && detail.contains(&first),
        "{detail}"
    );
    // Devices without a serial do not get in each other's way.
    world.device(102, json!({})).await;
    world.device(103, json!({})).await;
}

#[tokio::test]
async fn hostile_names_are_kept_as_they_are_or_refused() {
    let world = World::new().await;
    for (number, name) in (100..).zip([
        "'; DROP TABLE devices; --",
        "<script>alert(1)</script>",
        "$2 ?1 :x %s {bytes}",
        "カメラ・玄関 🎥",
        "\u{5e9}\u{5dc}\u{5d5}\u{5dd}",
        &"é".repeat(128),
    ]) {
        let id = world
            .device(
                number,
                json!({ "name": name, "serial": name, "type": name }),
            )
            .await;
        let shown = world.get(&format!("{DEVICES}/{id}")).await.json();
        for field in ["name", "serial", "type"] {
            assert_eq!(shown[field], name);
        }
        let query: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
        for filter in ["serial", "type"] {
            let found = world
                .get(&format!("{DEVICES}?{filter}={query}"))
                .await
                .json();
            assert_eq!(found["items"].as_array().unwrap().len(), 1, "{name}");
        }
    }
    let handle = world.register(200, Purpose::Pre);
    for name in [
        "",
        " x",
        "a\0b",
        "a\nb",
        "\u{1b}[2J",
        "exe\u{202E}gpj",
        &"é".repeat(129),
    ] {
        let got = world
            .post(DEVICES, json!({ "handle": handle, "name": name }))
            .await;
        assert_eq!(got.kind(), Kind::Malformed, "{name:?}");
    }
    assert_eq!(
        world.get(&format!("{DEVICES}?serial=a%00b")).await.kind(),
        Kind::BadParameter
    );
}

#[tokio::test]
async fn filters_hold_together() {
    let world = World::new().await;
    let mut ids = Vec::new();
    for number in 100..106 {
        let more = json!({
            "type": if number % 2 == 0 { "cam" } else { "gate" },
            "serial": format!("S-{number}"),
        });
        ids.push(world.device(number, more).await);
    }
    let group = world
        .post("/api/v1/groups", json!({ "name": "north" }))
        .await
        .json();
    let group = group["id"].as_str().unwrap();
    for id in &ids[..3] {
        let member = format!("/api/v1/groups/{group}/devices/{id}");
        let got = world
            .ask(&world.operator, Method::PUT, &member, &[], &Value::Null)
            .await;
        assert_eq!(got.status, StatusCode::NO_CONTENT);
    }
    for (query, expected) in [
        (String::new(), vec![0, 1, 2, 3, 4, 5]),
        (format!("?group={group}"), vec![0, 1, 2]),
        (String::from("?type=cam"), vec![0, 2, 4]),
        (format!("?type=cam&group={group}"), vec![0, 2]),
        (String::from("?state=registered&type=gate"), vec![1, 3, 5]),
        (String::from("?state=active"), vec![]),
        (String::from("?serial=S-103"), vec![3]),
        (format!("?serial=S-103&group={group}"), vec![]),
        (String::from("?group=grp_none"), vec![]),
        (String::from("?group=a%00b"), vec![]),
    ] {
        let (items, _) = world
            .pages(&world.viewer, &format!("{DEVICES}{query}"))
            .await;
        let mut expected: Vec<&String> = expected.into_iter().map(|i| &ids[i]).collect();
        expected.sort();
        let got: Vec<&str> = items
            .iter()
            .map(|item| item["id"].as_str().unwrap())
            .collect();
        assert_eq!(got, expected, "{query}");
    }
    for bad in ["?state=broken", "?colour=red", "?limit=x", "?type="] {
        assert_eq!(
            world.get(&format!("{DEVICES}{bad}")).await.kind(),
            Kind::BadParameter,
            "{bad}"
        );
    }
}

#[tokio::test]
async fn devices_that_are_not_there() {
    let world = World::new().await;
    for id in ["dev_0", "x", "a%00b", "..", "%F0%9F%8E%A5"] {
        assert_eq!(
            world.get(&format!("{DEVICES}/{id}")).await.kind(),
            Kind::Unknown,
            "{id}"
        );
    }
    assert_eq!(
        world.get(&format!("{DEVICES}/%FF")).await.kind(),
        Kind::BadParameter
    );
}

#[tokio::test]
async fn every_key_comes_with_a_proof_that_stands_by_itself() {
    let world = World::new().await;
    let handle = world.register(100, Purpose::Pre);
    let absent = "ab".repeat(32);
    let chain = world.ledger.world.lock().unwrap().chain;
    let judge = VerifyingLedger::found(Arc::clone(&world.ledger), &chain)
        .await
        .unwrap();
    for (handle, present) in [(handle.to_string(), true), (absent, false)] {
        let page = format!("/api/v1/keys/{handle}");
        let view: kusabi_api::view::ProofView =
            serde_json::from_value(world.get(&page).await.json()).unwrap();
        assert_eq!((view.present, view.row.is_some()), (present, present));
        // What the server says is what the proof says, to someone who trusts the genesis document alone.
        assert_eq!(
            kusabi_api::view::ProofView::claimed(&view.proof).unwrap(),
            view
        );
        let key =
            kusabi_core::id::StateKey::record(&Handle::new(handle.parse::<Hex32>().unwrap().0));
        let proof = kusabi_core::proof::Proof::decode(&view.proof).unwrap();
        let trust = judge.trust();
        let set = kusabi_core::set::EpochSet::decode(trust.set()).unwrap();
        proof.check(trust.anchor(), &set, &key).unwrap();

        let got = world
            .ask(
                &world.viewer,
                Method::GET,
                &page,
                &[("accept", "application/cbor")],
                &Value::Null,
            )
            .await;
        assert_eq!(
            (got.status, got.header("content-type")),
            (StatusCode::OK, "application/cbor")
        );
        let mut cbor = minicbor::Decoder::new(&got.body);
        assert_eq!(cbor.map().unwrap(), Some(5));
        assert_eq!(cbor.str().unwrap(), "row");
        match present {
            true => assert_eq!(cbor.bytes().unwrap().len(), 192),
            false => cbor.null().unwrap(),
        }
        assert_eq!(cbor.str().unwrap(), "proof");
        kusabi_core::proof::Proof::decode(cbor.bytes().unwrap()).unwrap();
        for name in ["height", "present", "time_ms"] {
            assert_eq!(cbor.str().unwrap(), name);
            cbor.skip().unwrap();
        }
        assert_eq!(cbor.position(), got.body.len());
    }
    for bad in ["x", &"AB".repeat(32), &"ab".repeat(31)] {
        assert_eq!(
            world.get(&format!("/api/v1/keys/{bad}")).await.kind(),
            Kind::BadParameter
        );
    }
    let page = format!("/api/v1/keys/{handle}");
    let html = world.ask(
        &world.viewer,
        Method::GET,
        &page,
        &[("accept", "text/html")],
        &Value::Null,
    );
    assert_eq!(html.await.kind(), Kind::NotAcceptable);
}

#[tokio::test]
async fn a_ledger_that_lies_or_is_gone_is_not_passed_on() {
    let world = World::new().await;
    let handle = world.register(100, Purpose::Pre);
    let page = format!("/api/v1/keys/{handle}");
    world.ledger.lies.store(true, SeqCst);
    assert_eq!(world.get(&page).await.kind(), Kind::BadAnswer);
    let import = json!({ "handle": handle });
    assert_eq!(
        world.post(DEVICES, import.clone()).await.kind(),
        Kind::BadAnswer
    );
    world.ledger.lies.store(false, SeqCst);
    world.ledger.gone.store(true, SeqCst);
    assert!(world.ledger.status().await.is_err());
    let got = world.get(&page).await;
    assert_eq!(
        (got.kind(), got.header("retry-after")),
        (Kind::Unreachable, "1")
    );
    assert_eq!(
        world.post(DEVICES, import.clone()).await.kind(),
        Kind::Unreachable
    );
    assert_eq!(world.get("/readyz").await.kind(), Kind::Unreachable);
    // What needs no ledger works.
    assert_eq!(world.pages(&world.viewer, DEVICES).await, (vec![], 1));
    world.ledger.gone.store(false, SeqCst);
    assert_eq!(
        world.post(DEVICES, import).await.status,
        StatusCode::CREATED
    );
}
