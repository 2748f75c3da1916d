//! Signed inventories, in parts.

use crate::{
    raw::{Raw, Told},
    site::{How, Site},
};
use axum::http::{Method, Request};
use kusabi_core::{
    id::{Digest, Height},
    inventory::{
        Component, ComponentKind, InventoryStatement, InventorySummary, InventoryWriter,
        SignedInventory,
    },
    protocol::{
        reply::{SealedProblem, Task},
        request::{Ask, Facts, PART_LEN_MAX, Poll, ReportPart},
    },
    suite::Purpose,
};
use kusabi_ledger::testing::TestKey;
use kusabi_server::device::Bounds;
use serde_json::json;
use std::sync::atomic::Ordering::SeqCst;

/// An inventory of files, each with its content's number.
pub(crate) fn inventory(files: &[(&str, u8)]) -> (InventorySummary, Vec<u8>) {
    let mut writer = InventoryWriter::new(Vec::new());
    for (name, content) in files {
        let digest = Digest::new([*content; 32]);
        let component = Component::new(name, None, ComponentKind::File, 10, digest).unwrap();
        writer.put(&component).unwrap();
    }
    writer.finish()
}

/// So many files, in order.
fn many(count: u32, odd: Option<u32>) -> (InventorySummary, Vec<u8>) {
    let mut writer = InventoryWriter::new(Vec::new());
    for number in 0..count {
        let name = format!("usr/lib/file-{number:05}");
        let digest = Digest::new([if Some(number) == odd { 9 } else { 1 }; 32]);
        let component = Component::new(&name, None, ComponentKind::File, 10, digest).unwrap();
        writer.put(&component).unwrap();
    }
    writer.finish()
}

pub(crate) struct Device {
    pub(crate) key: TestKey,
    pub(crate) id: String,
}

impl Site {
    /// A device whose first key is its device key.
    pub(crate) async fn registered(&self, number: u64) -> Device {
        let key = TestKey::new(number, Purpose::Act);
        self.chain.commit(|world| world.register(&[&key]));
        self.settled().await;
        let handle = kusabi_api::Hex(key.handle.to_bytes());
        let body = json!({ "handle": handle, "type": "camera" });
        let made = self.server.do_post("/api/v1/devices", body).await;
        let id = made["id"].as_str().unwrap().to_owned();
        Device { key, id }
    }

    /// What cameras hold as they leave the factory.
    pub(crate) async fn expect(&self, bytes: &[u8]) {
        let request = Request::builder()
            .method(Method::POST)
            .uri("/api/v1/types/camera/expected")
            .header("authorization", format!("Bearer {}", self.server.operator))
            .header("content-type", "application/octet-stream")
            .body(bytes.to_vec().into());
        let got = crate::world::call(&self.server.admin, request.unwrap()).await;
        assert!(got.status.is_success(), "{:?}", got.body);
    }

    fn signed(
        &self,
        device: &Device,
        raw: &Raw,
        summary: &InventorySummary,
        nonce: Option<[u8; 32]>,
    ) -> SignedInventory {
        let (chain, height) = {
            let ledger = self.chain.lock();
            (ledger.world.chain, ledger.height())
        };
        let anchor = (height, None);
        InventoryStatement::new(summary, None, anchor, raw.handshake, nonce)
            .sign(&chain, &device.key.handle, &device.key.key)
            .unwrap()
    }

    async fn report(&self, device: &Device) -> serde_json::Value {
        self.server
            .get(&format!("/api/v1/devices/{}/inventory", device.id))
            .await
    }
}

/// Sends a report in parts of this size; what the last part was told.
pub(crate) async fn send(
    site: &Site,
    raw: &mut Raw,
    report: &[u8],
    nonce: [u8; 32],
    size: usize,
) -> Told {
    let mut told = Told::Other;
    for (index, bytes) in report.chunks(size).enumerate() {
        let part = ReportPart {
            nonce,
            total: report.len() as u32,
            offset: (index * size) as u32,
            bytes,
        };
        told = raw.ask(&site.server, Ask::Report(part)).await;
        if matches!(told, Told::Problem(_) | Told::Outside(_)) {
            return told;
        }
    }
    told
}

pub(crate) fn poll(facts: Facts) -> Ask<'static> {
    Ask::Poll(Poll {
        facts,
        ..Poll::default()
    })
}

#[tokio::test]
async fn an_inventory_as_expected_in_many_parts() {
    let site = Site::new().await;
    let device = site.registered(8000).await;
    let (summary, bytes) = many(500, None);
    site.expect(&bytes).await;
    let mut raw = site.raw(&device.key).await;
    raw.ask(&site.server, poll(Facts::default())).await;
    let signed = site.signed(&device, &raw, &summary, None);
    let report = [&signed.encode()[..], &bytes].concat();
    assert!(report.len() > 10 * PART_LEN_MAX);
    let told = send(&site, &mut raw, &report, [0; 32], PART_LEN_MAX).await;
    assert_eq!(told, Told::Received(report.len() as u32));
    let shown = site.report(&device).await;
    assert_eq!(shown["verdict"], "expected");
    assert_eq!(shown["report"]["differences"], json!([]));
    assert!(site.server.alarms(&device.id).await.is_empty());
    // What was signed is there for whoever wants to check it.
    let statement: String = signed
        .encode()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(shown["report"]["statement"], statement);
}

#[tokio::test]
async fn malware_in_one_camera_is_found_item_by_item_and_repaired_by_policy() {
    let site = Site::new().await;
    let device = site.registered(8100).await;
    let (_, expected) = inventory(&[("bin/app", 1), ("etc/conf", 2), ("etc/keys", 3)]);
    site.expect(&expected).await;
    let policy = json!({ "repair": "order", "fork": "quarantine" });
    let got = site
        .server
        .ask(Method::PUT, "/api/v1/types/camera/policy", &policy)
        .await;
    assert_eq!(got.json(), policy);
    let (summary, bytes) = inventory(&[("bin/app", 9), ("etc/conf", 2), ("tmp/miner", 4)]);

    // It is asked for by the poll: what it says it holds is not what it signed last.
    let mut raw = site.raw(&device.key).await;
    let facts = Facts {
        inventory: Some(summary.digest()),
        ..Facts::default()
    };
    raw.ask(&site.server, poll(facts)).await;
    site.server
        .until(async || !site.server.orders(&device.id).await.is_empty())
        .await;
    let Told::Orders(orders) = raw.ask(&site.server, poll(facts)).await else {
        panic!("no orders");
    };
    let Task::ReportInventory(nonce) = orders[0].task else {
        panic!("another order");
    };
    let signed = site.signed(&device, &raw, &summary, Some(nonce));
    let report = [&signed.encode()[..], &bytes].concat();
    let told = send(&site, &mut raw, &report, nonce, 300).await;
    assert_eq!(told, Told::Received(report.len() as u32));

    let shown = site.report(&device).await;
    assert_eq!(shown["verdict"], "differs");
    let found: Vec<(&str, &str)> = shown["report"]["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let item = one.get("actual").or_else(|| one.get("expected")).unwrap();
            (
                one["kind"].as_str().unwrap(),
                item["name"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("changed", "bin/app"),
            ("missing", "etc/keys"),
            ("unexpected", "tmp/miner")
        ]
    );
    assert_eq!(site.server.alarms(&device.id).await, ["inventory"]);
    assert_eq!(
        site.server.orders(&device.id).await,
        [(String::from("report"), String::from("done"))],
        "the factory image has no release to install again"
    );
    let kinds = site.server.timeline(&device.id).await;
    for kind in ["inventory-changed", "reported", "alarm"] {
        assert!(kinds.contains(&String::from(kind)), "{kinds:?}");
    }
    // The same again is no second alarm, and the daily report of a good one sets the verdict right.
    let (summary, bytes) = inventory(&[("bin/app", 1), ("etc/conf", 2), ("etc/keys", 3)]);
    let signed = site.signed(&device, &raw, &summary, None);
    let report = [&signed.encode()[..], &bytes].concat();
    send(&site, &mut raw, &report, [0; 32], PART_LEN_MAX).await;
    assert_eq!(site.report(&device).await["verdict"], "expected");
}

#[tokio::test]
async fn a_report_that_is_a_lie_leaves_nothing() {
    let site = Site::new().await;
    let device = site.registered(8200).await;
    let other = site.registered(8201).await;
    let (summary, bytes) = inventory(&[("bin/app", 1)]);
    let (_, others) = inventory(&[("bin/app", 2)]);
    let mut raw = site.raw(&device.key).await;
    raw.ask(&site.server, poll(Facts::default())).await;
    let refused = Told::Problem(SealedProblem::NotAllowed);

    // Other bytes than were signed.
    let signed = site.signed(&device, &raw, &summary, None);
    let report = [&signed.encode()[..], &others].concat();
    assert_eq!(send(&site, &mut raw, &report, [0; 32], 2048).await, refused);
    // Signed by another device's key.
    let signed = site.signed(&other, &raw, &summary, None);
    let report = [&signed.encode()[..], &bytes].concat();
    assert_eq!(send(&site, &mut raw, &report, [0; 32], 2048).await, refused);
    // For an order that nobody gave.
    let signed = site.signed(&device, &raw, &summary, Some([5; 32]));
    let report = [&signed.encode()[..], &bytes].concat();
    assert_eq!(send(&site, &mut raw, &report, [5; 32], 2048).await, refused);
    // Less than a statement.
    assert_eq!(
        send(&site, &mut raw, &report[..100], [0; 32], 2048).await,
        refused
    );
    // A length that is not the statement's: two gigabytes.
    let signed = site.signed(&device, &raw, &summary, None);
    let first = signed.encode();
    let part = ReportPart {
        nonce: [0; 32],
        total: 2_000_000_000,
        offset: 0,
        bytes: &first,
    };
    assert_eq!(raw.ask(&site.server, Ask::Report(part)).await, refused);
    // From the middle.
    let part = ReportPart {
        nonce: [0; 32],
        total: 1000,
        offset: 500,
        bytes: &[0; 100],
    };
    assert_eq!(
        raw.ask(&site.server, Ask::Report(part)).await,
        Told::Problem(SealedProblem::ReportOrder)
    );
    let shown = site.report(&device).await;
    assert_eq!(shown, json!({ "verdict": "unknown" }));
}

#[tokio::test]
async fn a_statement_of_an_earlier_session_is_to_be_signed_anew() {
    let site = Site::new().await;
    let device = site.registered(8300).await;
    let (summary, bytes) = inventory(&[("bin/app", 1)]);
    let raw = site.raw(&device.key).await;
    let signed = site.signed(&device, &raw, &summary, None);
    let report = [&signed.encode()[..], &bytes].concat();
    let mut later = site.raw(&device.key).await;
    assert_eq!(
        send(&site, &mut later, &report, [0; 32], 2048).await,
        Told::Problem(SealedProblem::ReportOrder)
    );
    let signed = site.signed(&device, &later, &summary, None);
    let report = [&signed.encode()[..], &bytes].concat();
    let told = send(&site, &mut later, &report, [0; 32], 2048).await;
    assert_eq!(told, Told::Received(report.len() as u32));
    assert_ne!(Height::ZERO, signed.claimed().height());
}

#[tokio::test]
async fn who_sends_much_without_end_keeps_nobody_out() {
    let bounds = Bounds {
        report_bytes_max: 10 << 10,
        ..Bounds::default()
    };
    let site = Site::of(How {
        bounds,
        ..How::default()
    })
    .await;
    // Two that send four kilobytes each of something large, and then nothing.
    let (summary, large) = many(300, None);
    let mut hostile = Vec::new();
    for number in [8400, 8401] {
        let device = site.registered(number).await;
        let mut raw = site.raw(&device.key).await;
        let signed = site.signed(&device, &raw, &summary, None);
        let report = [&signed.encode()[..], &large].concat();
        assert!(report.len() > 3 * PART_LEN_MAX);
        for index in 0..2 {
            let told = part(&site, &mut raw, &report, index).await;
            assert_eq!(told, Told::Received(((index + 1) * PART_LEN_MAX) as u32));
        }
        hostile.push((raw, report));
    }
    // One that sends as much finds no room; an ordinary one does, in the place of one of them.
    let third = site.registered(8402).await;
    let mut raw = site.raw(&third.key).await;
    let signed = site.signed(&third, &raw, &summary, None);
    let report = [&signed.encode()[..], &large].concat();
    assert_eq!(
        part(&site, &mut raw, &report, 0).await,
        Told::Received(PART_LEN_MAX as u32)
    );
    let mut told = Vec::new();
    for (raw, report) in &mut hostile {
        told.push(part(&site, raw, report, 2).await);
    }
    let refused = Told::Problem(SealedProblem::Unavailable);
    assert!(told.contains(&refused), "{told:?}");
    let ordinary = site.registered(8403).await;
    let mut raw = site.raw(&ordinary.key).await;
    let (summary, bytes) = inventory(&[("bin/app", 1)]);
    let signed = site.signed(&ordinary, &raw, &summary, None);
    let report = [&signed.encode()[..], &bytes].concat();
    let told = send(&site, &mut raw, &report, [0; 32], 2048).await;
    assert_eq!(told, Told::Received(report.len() as u32));
    let shown = site.report(&ordinary).await;
    let digest = kusabi_api::Hex(summary.digest().to_bytes());
    assert_eq!(shown["report"]["digest"], json!(digest), "{shown}");
}

#[tokio::test]
async fn another_inventory_each_second_is_soon_not_looked_at() {
    let site = Site::new().await;
    let device = site.registered(8500).await;
    let honest = site.registered(8501).await;
    let mut raw = site.raw(&device.key).await;
    let mut told = Told::Received(0);
    let mut taken = 0;
    while matches!(told, Told::Received(_)) && taken < 200 {
        taken += 1;
        let (summary, bytes) = inventory(&[("bin/app", taken)]);
        let signed = site.signed(&device, &raw, &summary, None);
        let report = [&signed.encode()[..], &bytes].concat();
        told = send(&site, &mut raw, &report, [0; 32], PART_LEN_MAX).await;
    }
    assert_eq!(told, Told::Problem(SealedProblem::Unavailable));
    assert_eq!(taken, 61);
    let kinds = site.server.timeline(&device.id).await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "reported").count(), 60);
    // No signature is verified for what comes then, and no record is looked up for one.
    let before = site.chain.lookups.load(SeqCst);
    let (summary, bytes) = inventory(&[("bin/app", 250)]);
    let signed = site.signed(&device, &raw, &summary, None);
    let report = [&signed.encode()[..], &bytes].concat();
    for _ in 0..5 {
        let told = send(&site, &mut raw, &report, [0; 32], PART_LEN_MAX).await;
        assert_eq!(told, Told::Problem(SealedProblem::Unavailable));
    }
    assert_eq!(site.chain.lookups.load(SeqCst), before);
    // Another device's reports are none the worse, nor is whatever else this one asks.
    let mut other = site.raw(&honest.key).await;
    let signed = site.signed(&honest, &other, &summary, None);
    let report = [&signed.encode()[..], &bytes].concat();
    let told = send(&site, &mut other, &report, [0; 32], PART_LEN_MAX).await;
    assert_eq!(told, Told::Received(report.len() as u32));
    let told = raw.ask(&site.server, poll(Facts::default())).await;
    assert!(matches!(told, Told::Orders(_)), "{told:?}");
}

/// Sends one part of a report that nobody asked for.
async fn part(site: &Site, raw: &mut Raw, report: &[u8], index: usize) -> Told {
    let bytes = report.chunks(PART_LEN_MAX).nth(index).unwrap();
    let part = ReportPart {
        nonce: [0; 32],
        total: report.len() as u32,
        offset: (index * PART_LEN_MAX) as u32,
        bytes,
    };
    raw.ask(&site.server, Ask::Report(part)).await
}

impl Site {
    /// The device signs and sends this inventory.
    async fn holds(&self, device: &Device, (summary, bytes): &(InventorySummary, Vec<u8>)) {
        let mut raw = self.raw(&device.key).await;
        raw.ask(&self.server, poll(Facts::default())).await;
        let signed = self.signed(device, &raw, summary, None);
        let report = [&signed.encode()[..], bytes].concat();
        let told = send(self, &mut raw, &report, [0; 32], PART_LEN_MAX).await;
        assert_eq!(told, Told::Received(report.len() as u32));
    }

    /// Which devices hold it, page by page of so many.
    async fn with(&self, query: &str, limit: usize) -> Vec<String> {
        let mut found = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self
                .server
                .get(&format!("/api/v1/components?{query}&limit={limit}{cursor}"))
                .await;
            let devices = page["devices"].as_array().unwrap();
            assert!(devices.len() <= limit);
            for device in devices {
                // What it holds of it stands on the same page.
                let inventories = page["inventories"].as_array().unwrap();
                assert!(
                    inventories
                        .iter()
                        .any(|one| one["digest"] == device["inventory"])
                );
                found.push(device["device"].as_str().unwrap().to_owned());
            }
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return found,
            }
        }
    }
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

#[tokio::test]
async fn which_devices_hold_a_component() {
    let site = Site::new().await;
    let mut devices = Vec::new();
    for number in 0..7 {
        devices.push(site.registered(8600 + number).await);
    }
    // Five hold one inventory, one another, one a third.
    let old = inventory(&[("usr/lib/libssl.so.1", 1), ("usr/lib/libz.so.1", 1)]);
    let new = inventory(&[("usr/lib/libssl.so.3", 3), ("usr/lib/libz.so.1", 1)]);
    let other = inventory(&[("bin/app", 3), ("usr/lib/libz.so.1", 2)]);
    for device in &devices[..5] {
        site.holds(device, &old).await;
    }
    site.holds(&devices[5], &new).await;
    site.holds(&devices[6], &other).await;
    let ids = |range: std::ops::Range<usize>| {
        sorted(devices[range].iter().map(|one| one.id.clone()).collect())
    };
    for limit in [1, 2, 3, 5, 7, 200] {
        for (query, wanted) in [
            ("name=usr/lib/libssl.so.1", ids(0..5)),
            ("prefix=usr/lib/libssl", ids(0..6)),
            ("prefix=usr/lib/", ids(0..7)),
            ("name=usr/lib/libssl", Vec::new()),
            ("name=bin/app&version=1", Vec::new()),
            (&format!("digest={}", "03".repeat(32)), ids(5..7)),
            (
                &format!("prefix=usr/&digest={}", "03".repeat(32)),
                ids(5..6),
            ),
        ] {
            let found = site.with(query, limit).await;
            assert_eq!(sorted(found), wanted, "{query}, {limit}");
        }
    }
    // What a device held before counts no more.
    site.holds(&devices[0], &new).await;
    assert_eq!(
        sorted(site.with("name=usr/lib/libssl.so.1", 2).await),
        ids(1..5)
    );

    let page = site
        .server
        .get("/api/v1/components?prefix=usr/lib/libssl&limit=200")
        .await;
    let shown: Vec<&str> = page["inventories"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["components"][0]["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        page["inventories"].as_array().unwrap().len(),
        2,
        "each once"
    );
    assert!(shown.contains(&"usr/lib/libssl.so.1") && shown.contains(&"usr/lib/libssl.so.3"));
    assert_eq!(page["devices"][0]["type"], "camera");

    let nothing = json!(null);
    for wrong in [
        "",
        "?name=",
        "?name=x&limit=0",
        "?name=x&cursor=y",
        "?name=x&cursor=.",
        "?what=x",
    ] {
        let got = site
            .server
            .ask(Method::GET, &format!("/api/v1/components{wrong}"), &nothing)
            .await;
        assert_eq!(got.status.as_u16(), 400, "{wrong}");
    }
}

/// Inventories of 2 MB each: a page ends when 32 MiB were read, whether it found anything or not, and the next one goes on behind.
#[tokio::test]
async fn a_question_about_components_reads_so_much_at_a_time() {
    let site = Site::new().await;
    let mut devices = Vec::new();
    for number in 0..20u32 {
        let device = site.registered(8700 + u64::from(number)).await;
        site.holds(&device, &many(36_000, Some(number))).await;
        devices.push(device.id);
    }
    let path = "/api/v1/components?name=none";
    let first = site.server.get(path).await;
    assert_eq!(first["devices"], json!([]));
    let next = first["next"]
        .as_str()
        .expect("40 MB are more than one page");
    let second = site.server.get(&format!("{path}&cursor={next}")).await;
    assert_eq!(second.get("next"), None);
    let found = site.with("name=usr/lib/file-00001", 200).await;
    assert_eq!(sorted(found), sorted(devices));
}

#[tokio::test]
async fn a_device_that_differs_is_quarantined_where_its_type_says_so() {
    let site = Site::new().await;
    let device = site.registered(8800).await;
    let (_, expected) = inventory(&[("bin/app", 1)]);
    site.expect(&expected).await;
    let policy = json!({ "repair": "quarantine", "fork": "alarm" });
    let got = site
        .server
        .ask(Method::PUT, "/api/v1/types/camera/policy", &policy)
        .await;
    assert_eq!(got.json(), policy);
    let path = format!("/api/v1/devices/{}", device.id);
    site.holds(&device, &inventory(&[("bin/app", 1)])).await;
    assert_ne!(site.server.get(&path).await["state"], "quarantined");
    site.holds(&device, &inventory(&[("bin/app", 2)])).await;
    assert_eq!(site.server.get(&path).await["state"], "quarantined");
    assert_eq!(site.server.alarms(&device.id).await, ["inventory"]);
    let kinds = site.server.timeline(&device.id).await;
    assert!(kinds.contains(&String::from("quarantined")), "{kinds:?}");
}
