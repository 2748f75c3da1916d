//! What follows from inventories, and from those that do not come.

use crate::{
    device_reports::{Device, inventory, poll, send},
    raw::{Raw, Told},
    site::Site,
    world::call,
};
use axum::http::{Method, Request};
use kusabi_api::Hex32;
use kusabi_core::{
    crypto::sha256,
    id::{Digest, Height},
    inventory::{InventoryStatement, InventorySummary},
    protocol::{
        reply::{Order, Task},
        request::{Ask, Facts, Outcome, OutcomeCode, PART_LEN_MAX, Poll},
    },
    receipt::{Answered, Signer},
    release::{Content, ManifestParts, PayloadParts, ReleaseDraft, TargetParts},
    suite::Purpose,
    tx::Action,
};
use kusabi_ledger::testing::TestKey;
use serde_json::json;
use std::sync::atomic::Ordering::SeqCst;

/// Number of the release key.
const ART: u64 = 700;
const DAY_MS: u64 = 86_400_000;

type Taken = (InventorySummary, Vec<u8>);

impl Site {
    async fn bytes(&self, address: &str, bytes: Vec<u8>) {
        let request = Request::put(address)
            .header("authorization", format!("Bearer {}", self.server.operator))
            .header("content-type", "application/octet-stream")
            .body(bytes.into());
        call(&self.server.admin, request.unwrap()).await.json();
    }

    /// A published release for cameras under which this is expected; the inventory itself is uploaded or not.
    async fn release(&self, (summary, bytes): &Taken, uploaded: bool) -> Digest {
        let art = TestKey::new(ART, Purpose::Art);
        self.chain.commit(|world| {
            let action = Action::ArtPolicy {
                org: world.org,
                policy_version: 0,
                k: 1,
                added: vec![world.entry(&art)],
                removed: vec![],
                signers: 1,
            };
            world.sign(action, &[&world.officer, &art])
        });
        let payload = vec![7; 100];
        let content =
            |bytes: &[u8]| Content::new(bytes.len() as u64, Digest::new(sha256(&[bytes]))).unwrap();
        let (made, signed) = {
            let ledger = self.chain.lock();
            let parts = ManifestParts {
                org: ledger.world.org,
                name: "camera-os".into(),
                version: "1".into(),
                channel: "stable".into(),
                counter: 1,
                minimum_counter: 0,
                targets: vec![TargetParts {
                    device_type: "camera".into(),
                    inventory: Some(content(bytes)),
                    payloads: vec![0],
                }],
                payloads: vec![PayloadParts {
                    name: "root".into(),
                    format: "raw".into(),
                    content: content(&payload),
                    chunk_index: None,
                }],
                documents: Vec::new(),
            };
            let mut draft = ReleaseDraft::new(parts.encode().unwrap()).unwrap();
            draft
                .sign(&ledger.world.chain, art.handle, &art.key)
                .unwrap();
            let made = Digest::new(sha256(&[draft.manifest()]));
            (made, draft.encode().unwrap())
        };
        self.chain.commit(|world| {
            let action = Action::Publish {
                org: world.org,
                policy_version: 1,
                digest: made,
                minimum_counter: 1,
            };
            world.sign(action, &[&art])
        });
        let address = |kind: &str, digest: Digest| {
            format!("/api/v1/{kind}/{}", Hex32::from(digest.to_bytes()))
        };
        self.bytes(&address("releases", made), signed).await;
        let digest = content(&payload).digest();
        self.bytes(&address("contents", digest), payload).await;
        if uploaded {
            let address = address("contents", summary.digest());
            self.bytes(&address, bytes.clone()).await;
        }
        made
    }

    /// The device, which runs this release, signs and sends this inventory.
    async fn runs(&self, device: &Device, release: Option<Digest>, (summary, bytes): &Taken) {
        let mut raw = self.raw(&device.key).await;
        raw.ask(&self.server, poll(Facts::default())).await;
        let (chain, height) = {
            let ledger = self.chain.lock();
            (ledger.world.chain, ledger.height())
        };
        let statement =
            InventoryStatement::new(summary, release, (height, None), raw.handshake, None);
        let signed = statement
            .sign(&chain, &device.key.handle, &device.key.key)
            .unwrap();
        let report = [&signed.encode()[..], bytes].concat();
        let told = send(self, &mut raw, &report, [0; 32], PART_LEN_MAX).await;
        assert_eq!(told, Told::Received(report.len() as u32));
    }

    async fn policy(&self, repair: &str) {
        let policy = json!({ "repair": repair, "fork": "alarm" });
        let address = "/api/v1/types/camera/policy";
        self.server.ask(Method::PUT, address, &policy).await.json();
    }

    async fn verdict(&self, device: &Device) -> String {
        let path = format!("/api/v1/devices/{}/inventory", device.id);
        let shown = self.server.get(&path).await;
        shown["verdict"].as_str().unwrap().to_owned()
    }

    fn pass(&self, ms: u64) {
        self.edge.now_ms.fetch_add(ms, SeqCst);
    }

    /// Polls until this many orders are known of the device; those that are open.
    async fn ordered(
        &self,
        device: &Device,
        raw: &mut Raw,
        facts: Facts,
        count: usize,
    ) -> Vec<Order> {
        raw.ask(&self.server, poll(facts)).await;
        self.server
            .until(async || self.server.orders(&device.id).await.len() == count)
            .await;
        match raw.ask(&self.server, poll(facts)).await {
            Told::Orders(orders) => orders,
            _ => Vec::new(),
        }
    }

    async fn answer(&self, device: &Device, raw: &mut Raw, order: Order, code: OutcomeCode) {
        let (chain, org) = {
            let ledger = self.chain.lock();
            (ledger.world.chain, ledger.world.org)
        };
        let signer = Signer {
            chain,
            handle: device.key.handle,
            purpose: Purpose::Act,
        };
        let answered = Answered {
            org,
            device: device.key.handle,
            server: self.known_servers()[0].handle,
            order,
            code,
            height: Height::ZERO,
        };
        let outcome = Outcome {
            order: order.id,
            code,
            signature: signer.sign(&device.key.key, &answered.text()).unwrap(),
        };
        let poll = Poll {
            outcomes: [outcome].into_iter().collect(),
            ..Poll::default()
        };
        raw.ask(&self.server, Ask::Poll(poll)).await;
    }

    async fn repairs(&self, device: &Device) -> usize {
        let orders = self.server.orders(&device.id).await;
        orders.iter().filter(|(kind, _)| kind == "repair").count()
    }
}

/// A repair that does not help is not given again and again, also where it is another file that differs each time.
#[tokio::test]
async fn policy_repairs_once_until_it_has_helped() {
    let site = Site::new().await;
    let device = site.registered(8900).await;
    let right = inventory(&[("bin/app", 1)]);
    let release = Some(site.release(&right, true).await);
    site.policy("order").await;
    site.runs(&device, release, &right).await;
    assert_eq!(site.verdict(&device).await, "expected");
    site.runs(&device, release, &inventory(&[("bin/app", 2)]))
        .await;
    assert_eq!(site.repairs(&device).await, 1);
    // It is done, and then another file differs: that day and the next.
    for (days, content) in [(0, 3), (1, 4), (1, 5)] {
        site.pass(days * DAY_MS);
        let mut raw = site.raw(&device.key).await;
        if let Told::Orders(orders) = raw.ask(&site.server, poll(Facts::default())).await {
            for order in orders {
                site.answer(&device, &mut raw, order, OutcomeCode::Done)
                    .await;
            }
        }
        let drift = inventory(&[("bin/app", content)]);
        site.runs(&device, release, &drift).await;
        assert_eq!(site.verdict(&device).await, "differs");
        assert_eq!(site.repairs(&device).await, 1, "{content}");
    }
    // Once it was as expected, the next one that differs is repaired.
    site.runs(&device, release, &right).await;
    site.runs(&device, release, &inventory(&[("bin/app", 6)]))
        .await;
    assert_eq!(site.repairs(&device).await, 2);
}

/// The same files may be right under one release and wrong under another: a device that holds them under another one is asked.
#[tokio::test]
async fn the_same_inventory_under_another_release_is_asked_for() {
    let site = Site::new().await;
    let device = site.registered(8910).await;
    let held = inventory(&[("bin/app", 1)]);
    site.expect(&held.1).await;
    let release = site.release(&inventory(&[("bin/app", 2)]), true).await;
    site.policy("quarantine").await;
    site.runs(&device, None, &held).await;
    let mut raw = site.raw(&device.key).await;
    let facts = |release| Facts {
        inventory: Some(held.0.digest()),
        release,
        ..Facts::default()
    };
    raw.ask(&site.server, poll(facts(None))).await;
    let orders = site
        .ordered(&device, &mut raw, facts(Some(release)), 1)
        .await;
    assert!(matches!(orders[0].task, Task::ReportInventory(_)));
    assert_ne!(site.server.state(&device.id).await, "quarantined");
    // Under its own release it is what was expected, or not.
    site.runs(&device, Some(release), &held).await;
    assert_eq!(site.server.state(&device.id).await, "quarantined");
}

/// A device that can take no inventory says so, one that does not answer is noticed: what it held says nothing more then.
#[tokio::test]
async fn an_inventory_that_does_not_come_is_an_alarm() {
    let site = Site::new().await;
    let held = inventory(&[("bin/app", 1)]);
    site.expect(&held.1).await;
    let facts = Facts {
        inventory: Some(held.0.digest()),
        ..Facts::default()
    };

    // It held one, and says of none now.
    let device = site.registered(8920).await;
    site.runs(&device, None, &held).await;
    let mut raw = site.raw(&device.key).await;
    raw.ask(&site.server, poll(facts)).await;
    let path = format!("/api/v1/devices/{}/inventory", device.id);
    site.server
        .until(async || !site.server.get(&path).await["said"].is_null())
        .await;
    let orders = site.ordered(&device, &mut raw, Facts::default(), 1).await;
    assert_eq!(site.verdict(&device).await, "expected");
    site.answer(&device, &mut raw, orders[0], OutcomeCode::Failed)
        .await;
    site.server
        .until(async || !site.server.alarms(&device.id).await.is_empty())
        .await;
    assert_eq!(site.server.alarms(&device.id).await, ["no-inventory"]);
    assert_eq!(site.verdict(&device).await, "unknown");
    site.runs(&device, None, &held).await;
    assert_eq!(site.verdict(&device).await, "expected");

    // It signs none for days, and is heard.
    let device = site.registered(8921).await;
    site.runs(&device, None, &held).await;
    site.pass(2 * DAY_MS);
    let mut raw = site.raw(&device.key).await;
    raw.ask(&site.server, poll(facts)).await;
    assert!(site.server.orders(&device.id).await.is_empty());
    site.pass(2 * DAY_MS);
    let mut raw = site.raw(&device.key).await;
    site.ordered(&device, &mut raw, facts, 1).await;
    assert_eq!(site.verdict(&device).await, "expected");
    assert!(site.server.alarms(&device.id).await.is_empty());
    site.pass(2 * DAY_MS);
    let mut raw = site.raw(&device.key).await;
    raw.ask(&site.server, poll(facts)).await;
    site.server
        .until(async || !site.server.alarms(&device.id).await.is_empty())
        .await;
    assert_eq!(site.server.alarms(&device.id).await, ["no-inventory"]);
    assert_eq!(site.verdict(&device).await, "unknown");
}

/// That nothing is expected, and that what is expected is not here, are two things.
#[tokio::test]
async fn an_expected_inventory_that_is_lost_is_an_alarm() {
    let site = Site::new().await;
    let held = inventory(&[("bin/app", 1)]);
    // Nobody said anything.
    let unsaid = site.registered(8930).await;
    site.runs(&unsaid, None, &held).await;
    assert_eq!(site.verdict(&unsaid).await, "unknown");
    assert!(site.server.alarms(&unsaid.id).await.is_empty());

    // It is named, and nobody uploaded it.
    let release = site.release(&held, false).await;
    let named = site.registered(8931).await;
    site.runs(&named, Some(release), &held).await;
    assert_eq!(site.verdict(&named).await, "unknown");
    assert_eq!(site.server.alarms(&named.id).await, ["no-inventory"]);

    // It was as expected, and then it runs what nobody knows.
    site.expect(&held.1).await;
    let other = site.registered(8932).await;
    site.runs(&other, None, &held).await;
    assert_eq!(site.verdict(&other).await, "expected");
    site.runs(&other, Some(Digest::new([3; 32])), &held).await;
    assert_eq!(site.verdict(&other).await, "unknown");
    assert_eq!(site.server.alarms(&other.id).await, ["no-inventory"]);
}
