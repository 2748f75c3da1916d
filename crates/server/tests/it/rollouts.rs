//! Rollouts: through the admin API, with devices that take and answer their orders through the device door.

use crate::{
    raw::{Raw, Told},
    site::{How, Site},
    world::{Got, at_once, call},
};
use axum::http::{Method, Request, StatusCode};
use kusabi_api::{Hex32, Kind};
use kusabi_core::{
    crypto::sha256,
    id::{Digest, Height},
    protocol::{
        reply::{Order, Task},
        request::{Ask, Facts, Outcome, OutcomeCode, Poll},
        tripwire::{Link, Value as LinkValue},
    },
    receipt::{Answered, Signer},
    release::{Content, ManifestParts, PayloadParts, ReleaseDraft, TargetParts},
    suite::Purpose,
    tx::Action,
};
use kusabi_ledger::testing::TestKey;
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::atomic::Ordering::SeqCst};

const ROLLOUTS: &str = "/api/v1/rollouts";
const ART: u64 = 700;

struct Camera {
    key: TestKey,
    id: String,
    raw: Raw,
    /// How many sessions it has opened.
    session: u8,
}

/// A site with cameras and a release for them.
struct Field {
    site: Site,
    cameras: Vec<Camera>,
    release: Hex32,
}

fn link(number: u8) -> Link {
    let value = match number {
        0 => LinkValue::ZERO,
        number => LinkValue {
            seq: number.into(),
            tag: [number; 16],
        },
    };
    Link {
        value,
        next_tag: [number + 1; 16],
    }
}

fn poll(outcomes: &[Outcome], facts: Facts) -> Ask<'static> {
    Ask::Poll(Poll {
        outcomes: outcomes.iter().copied().collect(),
        facts,
        ..Poll::default()
    })
}

impl Field {
    async fn new(count: u64) -> Self {
        let site = Site::new().await;
        let art = TestKey::new(ART, Purpose::Art);
        site.chain.commit(|world| {
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
        let mut field = Self {
            site,
            cameras: Vec::new(),
            release: Hex32::from([0; 32]),
        };
        field.release = field.release(1).await;
        for number in 0..count {
            let device = field.site.registered(2000 + number).await;
            let raw = field.site.raw_with(&device.key, link(0)).await;
            field.cameras.push(Camera {
                key: device.key,
                id: device.id,
                raw,
                session: 0,
            });
        }
        field
    }

    async fn bytes(&self, address: &str, bytes: Vec<u8>) -> Got {
        let request = Request::put(address)
            .header(
                "authorization",
                format!("Bearer {}", self.site.server.operator),
            )
            .header("content-type", "application/octet-stream")
            .body(bytes.into());
        call(&self.site.server.admin, request.unwrap()).await
    }

    /// A release with this counter, published, its manifest and payload uploaded.
    async fn release(&self, counter: u64) -> Hex32 {
        let payload = vec![counter as u8; 100];
        let digest = sha256(&[&payload]);
        let art = TestKey::new(ART, Purpose::Art);
        let (made, signed) = {
            let ledger = self.site.chain.lock();
            let parts = ManifestParts {
                org: ledger.world.org,
                name: "camera-os".into(),
                version: counter.to_string(),
                channel: "stable".into(),
                counter,
                minimum_counter: 0,
                targets: vec![TargetParts {
                    device_type: "camera".into(),
                    inventory: None,
                    payloads: vec![0],
                }],
                payloads: vec![PayloadParts {
                    name: "root".into(),
                    format: "raw".into(),
                    content: Content::new(100, Digest::new(digest)).unwrap(),
                    chunk_index: None,
                }],
                documents: Vec::new(),
            };
            let mut draft = ReleaseDraft::new(parts.encode().unwrap()).unwrap();
            draft
                .sign(&ledger.world.chain, art.handle, &art.key)
                .unwrap();
            let made = Hex32::from(sha256(&[draft.manifest()]));
            (made, draft.encode().unwrap())
        };
        self.site.chain.commit(|world| {
            let action = Action::Publish {
                org: world.org,
                policy_version: 1,
                digest: Digest::new(made.0),
                minimum_counter: counter,
            };
            world.sign(action, &[&art])
        });
        self.bytes(&format!("/api/v1/releases/{made}"), signed)
            .await
            .json();
        let payload_address = format!("/api/v1/contents/{}", Hex32::from(digest));
        self.bytes(&payload_address, payload).await.json();
        made
    }

    fn withdraw(&self) {
        let art = TestKey::new(ART, Purpose::Art);
        let digest = Digest::new(self.release.0);
        self.site.chain.commit(|world| {
            let action = Action::WithdrawRelease {
                org: world.org,
                digest,
                version: 1,
            };
            world.sign(action, &[&art])
        });
    }

    fn asked(&self, more: &Value) -> Value {
        let mut create = json!({ "name": "test", "release": self.release });
        for (name, value) in more.as_object().unwrap() {
            create[name] = value.clone();
        }
        create
    }

    async fn try_rollout(&self, more: Value) -> Got {
        let create = self.asked(&more);
        self.site.server.ask(Method::POST, ROLLOUTS, &create).await
    }

    /// Makes a rollout; its number.
    async fn rollout(&self, more: Value) -> u64 {
        let got = self.try_rollout(more).await;
        assert_eq!(got.status, StatusCode::CREATED, "{:?}", got.body);
        got.json()["id"].as_u64().unwrap()
    }

    async fn show(&self, id: u64) -> Value {
        self.site.server.get(&format!("{ROLLOUTS}/{id}")).await
    }

    async fn state(&self, id: u64) -> String {
        let shown = self.show(id).await;
        shown["state"].as_str().unwrap().to_owned()
    }

    async fn act(&self, id: u64, act: &str) -> Got {
        let address = format!("{ROLLOUTS}/{id}/{act}");
        self.site
            .server
            .ask(Method::POST, &address, &Value::Null)
            .await
    }

    /// Device, state and reason, for each of a rollout's devices.
    async fn devices(&self, id: u64) -> Vec<(String, String, Option<String>)> {
        let page = self
            .site
            .server
            .get(&format!("{ROLLOUTS}/{id}/devices?limit=200"))
            .await;
        let items = page["items"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        items
            .map(|item| {
                let (device, state) = (text(&item["device"]), text(&item["state"]));
                (device.unwrap(), state.unwrap(), text(&item["reason"]))
            })
            .collect()
    }

    async fn is(&self, id: u64, camera: usize) -> (String, Option<String>) {
        let all = self.devices(id).await;
        let found = all.into_iter().find(|one| one.0 == self.cameras[camera].id);
        let (_, state, reason) = found.unwrap();
        (state, reason)
    }

    /// Everybody polls; who got which update.
    async fn fetch(&mut self) -> Vec<(usize, Order)> {
        let mut got = Vec::new();
        for number in 0..self.cameras.len() {
            got.extend(self.fetch_one(number).await.map(|order| (number, order)));
        }
        got
    }

    async fn fetch_one(&mut self, number: usize) -> Option<Order> {
        let camera = &mut self.cameras[number];
        let told = camera
            .raw
            .ask(&self.site.server, poll(&[], Facts::default()))
            .await;
        let Told::Orders(orders) = told else {
            panic!("no orders: {told:?}");
        };
        assert!(orders.len() <= 1, "{orders:?}");
        orders.into_iter().next()
    }

    /// A camera says what became of an order; the one that it gets in return.
    async fn says(&mut self, number: usize, order: Order, code: OutcomeCode) -> Option<Order> {
        let (chain, org) = {
            let ledger = self.site.chain.lock();
            (ledger.world.chain, ledger.world.org)
        };
        let server = self.site.known_servers()[0].handle;
        let camera = &mut self.cameras[number];
        let signer = Signer {
            chain,
            handle: camera.key.handle,
            purpose: Purpose::Act,
        };
        let answered = Answered {
            org,
            device: camera.key.handle,
            server,
            order,
            code,
            height: Height::ZERO,
        };
        let outcome = Outcome {
            order: order.id,
            code,
            signature: signer.sign(&camera.key.key, &answered.text()).unwrap(),
        };
        let told = camera
            .raw
            .ask(&self.site.server, poll(&[outcome], Facts::default()))
            .await;
        let Told::Orders(orders) = told else {
            panic!("no orders: {told:?}");
        };
        orders.into_iter().next()
    }

    /// The same for all of these.
    async fn all_say(&mut self, got: &[(usize, Order)], code: OutcomeCode) {
        for (number, order) in got {
            self.says(*number, *order, code).await;
        }
    }

    async fn later(&self, secs: u64) {
        self.site.edge.now_ms.fetch_add(secs * 1000, SeqCst);
        self.site.server.app.advance_rollouts().await.unwrap();
    }

    async fn acts(&self) -> Vec<String> {
        // Admins read it; this is the server itself.
        let app = &self.site.server.app;
        let log = app.audit_log(&kusabi_server::app::Cut::default()).await;
        let entries = log.unwrap().items.into_iter();
        entries
            .filter(|entry| entry.act.starts_with("rollout."))
            .map(|entry| entry.act)
            .collect()
    }
}

fn percents(parts: &[u64]) -> Value {
    let phases: Vec<_> = parts
        .iter()
        .map(|part| json!({ "size": { "percent": part } }))
        .collect();
    json!({ "phases": phases })
}

#[tokio::test]
async fn a_release_reaches_everybody_phase_by_phase() {
    for (count, sizes) in [
        (1, &[1][..]),
        (2, &[1, 1]),
        (3, &[1, 1, 1]),
        (10, &[1, 4, 5]),
    ] {
        let mut field = Field::new(count).await;
        let id = field.rollout(percents(&[10, 40, 50])).await;
        let mut reached = BTreeSet::new();
        for (phase, size) in (1..).zip(sizes) {
            let got = field.fetch().await;
            assert_eq!(got.len(), *size, "phase {phase} of {count}");
            let release = Digest::new(field.release.0);
            for (number, order) in &got {
                assert_eq!(order.task, Task::Update(release));
                assert!(reached.insert(*number), "{number} had it");
                assert_eq!(field.is(id, *number).await.0, "sent");
            }
            let shown = field.show(id).await;
            assert_eq!(shown["counts"]["sent"], *size);
            assert_eq!(shown["awaits"], "devices");
            assert!(field.fetch().await.is_empty(), "an order is given once");
            field.all_say(&got, OutcomeCode::Done).await;
        }
        let shown = field.show(id).await;
        assert_eq!(
            (&shown["state"], &shown["counts"]["done"]),
            (&json!("done"), &json!(count))
        );
        assert!(shown["ended_ms"].is_u64());
        let orders = field.site.server.get("/api/v1/orders").await;
        let orders = orders["items"].as_array().unwrap();
        assert_eq!(orders.len(), sizes.len());
        assert!(
            orders.iter().all(|order| {
                order["target"] == json!({ "rollout": id }) && order["waiting"] == 0
            })
        );
        let mut expected = vec!["rollout.begin"];
        expected.extend(sizes.iter().map(|_| "rollout.phase"));
        expected.extend(["rollout.done"]);
        let mut acts = field.acts().await;
        // What it does at once stands before what a person did.
        acts.retain(|act| act != "rollout.create");
        assert_eq!(acts, expected);
    }
}

#[tokio::test]
async fn failures_pause_it_and_take_back_what_nobody_has() {
    let mut field = Field::new(6).await;
    let mut plan = percents(&[50, 50]);
    plan["phases"][0]["failures"] = json!({ "count": 0 });
    let id = field.rollout(plan).await;
    // Only one of them fetches its order.
    let mut ordered = Vec::new();
    for number in 0..6 {
        if field.is_in(id, number).await == "ordered" {
            ordered.push(number);
        }
    }
    assert_eq!(ordered.len(), 3);
    let order = field.fetch_one(ordered[0]).await.unwrap();
    field.says(ordered[0], order, OutcomeCode::Failed).await;
    let first = field.show(id).await;
    assert_eq!(first["state"], "paused");
    assert_eq!(first["reason"], "failures");
    assert_eq!(
        first["counts"],
        json!({ "waiting": 5, "ordered": 0, "sent": 0, "done": 0, "failed": 1, "skipped": 0, "aborted": 0 })
    );
    assert!(
        field.fetch().await.is_empty(),
        "what was taken back is not given"
    );
    assert!(field.site.server.get("/api/v1/orders").await["items"][0]["waiting"] == 0);
    assert_eq!(field.act(id, "next").await.kind(), Kind::Unfit);
    // Whoever resumes it has seen the failure.
    assert_eq!(field.act(id, "resume").await.json()["state"], "running");
    let got = field.fetch().await;
    assert_eq!(got.len(), 2);
    field.all_say(&got, OutcomeCode::Done).await;
    let shown = field.show(id).await;
    assert_eq!(
        (&shown["phase"], &shown["awaits"]),
        (&json!(1), &json!("devices"))
    );
    // Two of three are not ninety per cent: a person decides.
    assert_eq!(field.act(id, "next").await.json()["phase"], 2);
    let got = field.fetch().await;
    assert_eq!(got.len(), 3);
    field.all_say(&got, OutcomeCode::Done).await;
    assert_eq!(field.state(id).await, "done");
    // The device says why.
    let failed: Vec<_> = field
        .devices(id)
        .await
        .into_iter()
        .filter(|(_, state, _)| state == "failed")
        .collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].2.as_deref(), Some("failed"));
}

impl Field {
    async fn is_in(&self, id: u64, camera: usize) -> String {
        self.is(id, camera).await.0
    }
}

#[tokio::test]
async fn pause_resume_and_abort_in_each_state() {
    let mut field = Field::new(2).await;
    let start = field.site.edge.now_ms.load(SeqCst) + 60_000;
    let id = field.rollout(json!({ "start_ms": start })).await;
    let shown = field.show(id).await;
    assert_eq!(
        (&shown["state"], &shown["awaits"]),
        (&json!("scheduled"), &json!("start"))
    );
    assert_eq!(shown["next_ms"], start);
    assert!(field.devices(id).await.is_empty(), "nobody is chosen yet");
    for (act, state) in [
        ("pause", "paused"),
        ("pause", "paused"),
        ("resume", "scheduled"),
        ("resume", "scheduled"),
    ] {
        assert_eq!(field.act(id, act).await.json()["state"], state);
    }
    field.later(60).await;
    assert_eq!(field.state(id).await, "running");
    let order = field.fetch_one(0).await.unwrap();
    assert_eq!(field.act(id, "pause").await.json()["counts"]["waiting"], 1);
    assert!(field.fetch_one(1).await.is_none());
    // What a device has it may answer while the rollout is held.
    field.says(0, order, OutcomeCode::Done).await;
    assert_eq!(field.is_in(id, 0).await, "done");
    assert_eq!(field.state(id).await, "paused");
    assert_eq!(field.act(id, "abort").await.json()["state"], "aborted");
    assert_eq!(field.act(id, "abort").await.json()["state"], "aborted");
    for act in ["pause", "resume", "next"] {
        assert_eq!(field.act(id, act).await.kind(), Kind::Unfit, "{act}");
    }
    assert_eq!(field.is_in(id, 1).await, "aborted");

    // What a device had already counts, and it may be in another rollout meanwhile.
    let second = field
        .rollout(json!({ "name": "second", "force": true }))
        .await;
    let got = field.fetch().await;
    assert_eq!(got.len(), 2);
    assert!(matches!(got[0].1.task, Task::Repair(_)));
    field.act(second, "abort").await.json();
    field.says(0, got[0].1, OutcomeCode::Done).await;
    field.says(1, got[1].1, OutcomeCode::Failed).await;
    assert_eq!(field.is_in(second, 0).await, "done");
    assert_eq!(
        field.is(second, 1).await,
        (String::from("failed"), Some(String::from("failed")))
    );
    assert_eq!(field.state(second).await, "aborted");
    for (id, kind) in [("99", Kind::Unknown), ("x", Kind::BadParameter)] {
        let address = format!("{ROLLOUTS}/{id}/pause");
        let got = field
            .site
            .server
            .ask(Method::POST, &address, &Value::Null)
            .await;
        assert_eq!(got.kind(), kind);
    }
}

#[tokio::test]
async fn a_release_that_is_withdrawn_stops_its_rollouts_at_once() {
    let mut field = Field::new(3).await;
    let id = field.rollout(json!({})).await;
    let later = field.site.edge.now_ms.load(SeqCst) + 60_000;
    let waits = field.rollout(json!({ "start_ms": later })).await;
    let order = field.fetch_one(0).await.unwrap();
    field.withdraw();
    let stopped =
        async || field.state(id).await == "paused" && field.state(waits).await == "paused";
    field.site.server.until(stopped).await;
    let shown = field.show(id).await;
    assert_eq!(shown["reason"], "withdrawn");
    assert_eq!(shown["counts"]["waiting"], 2);
    assert!(field.fetch_one(1).await.is_none());
    let (kind, why) = field.act(id, "resume").await.problem();
    assert_eq!(kind, Kind::Unfit);
    assert!(why.contains("is withdrawn"), "{why}");
    // The device that has it refuses by itself, and says so.
    field.says(0, order, OutcomeCode::Unproven).await;
    let refused = (
        String::from("failed"),
        Some(String::from("refused-unproven")),
    );
    assert_eq!(field.is(id, 0).await, refused);
    assert_eq!(field.act(id, "abort").await.json()["counts"]["aborted"], 2);
    let (kind, why) = field.try_rollout(json!({})).await.problem();
    assert_eq!(kind, Kind::Unfit);
    assert!(why.contains("is withdrawn"), "{why}");
}

#[tokio::test]
async fn servers_over_one_database_take_each_step_once() {
    let mut field = Field::new(8).await;
    let others = [
        field.site.another(How::default()).await,
        field.site.another(How::default()).await,
    ];
    let start = field.site.edge.now_ms.load(SeqCst) + 1000;
    let mut plan = percents(&[25, 25, 50]);
    plan["start_ms"] = json!(start);
    for phase in 1..3 {
        plan["phases"][phase]["start"] = json!({ "after_secs": 60 });
        plan["phases"][phase - 1]["success_percent"] = json!(0);
    }
    let id = field.rollout(plan).await;
    for (secs, ordered) in [(1, 2), (60, 4), (60, 8)] {
        field.site.edge.now_ms.fetch_add(secs * 1000, SeqCst);
        let apps = [&field.site.server.app, &others[0].app, &others[1].app];
        let all = (0..9).map(|n| apps[n % 3].advance_rollouts());
        for done in at_once(all).await {
            done.unwrap();
        }
        let shown = field.show(id).await;
        assert_eq!(shown["counts"]["ordered"], ordered);
    }
    for camera in &field.cameras {
        assert_eq!(field.site.server.orders(&camera.id).await.len(), 1);
    }
    // Answers that come to several servers at once are each counted once.
    let got = field.fetch().await;
    assert_eq!(got.len(), 8);
    field.all_say(&got, OutcomeCode::Done).await;
    assert_eq!(field.show(id).await["counts"]["done"], 8);
    let acts = field.acts().await;
    let phases = acts.iter().filter(|act| *act == "rollout.phase");
    assert_eq!(phases.count(), 3);
    for other in others {
        other.stop().await;
    }
}

#[tokio::test]
async fn a_restart_in_the_middle_changes_nothing() {
    let mut field = Field::new(4).await;
    let mut plan = percents(&[50, 50]);
    plan["phases"][1]["start"] = json!({ "after_secs": 3600 });
    let id = field.rollout(plan).await;
    let got = field.fetch().await;
    assert_eq!(got.len(), 2);
    field.says(got[0].0, got[0].1, OutcomeCode::Done).await;
    let before = field.show(id).await;
    field.site.restart().await;
    assert_eq!(field.show(id).await, before);
    for camera in &mut field.cameras {
        camera.session += 1;
        camera.raw = field.site.raw_with(&camera.key, link(camera.session)).await;
    }
    // Who had not answered gets its order again, the same one.
    let again = field.fetch().await;
    assert_eq!(again, got[1..]);
    field.says(got[1].0, got[1].1, OutcomeCode::Done).await;
    assert!(field.fetch().await.is_empty());
    field.later(3600).await;
    let got = field.fetch().await;
    assert_eq!(got.len(), 2);
    field.all_say(&got, OutcomeCode::Done).await;
    assert_eq!(field.state(id).await, "done");
}

#[tokio::test]
async fn a_device_is_in_one_rollout_at_a_time() {
    let mut field = Field::new(2).await;
    let server = &field.site.server;
    let group = server
        .do_post("/api/v1/groups", json!({ "name": "one" }))
        .await;
    let group = group["id"].as_str().unwrap();
    let page = format!("/api/v1/groups/{group}/devices/{}", field.cameras[0].id);
    server.ask(Method::PUT, &page, &Value::Null).await;
    let first = field
        .rollout(json!({ "devices": { "group": group } }))
        .await;
    assert_eq!(field.show(first).await["total"], 1);
    let second = field.rollout(json!({})).await;
    let busy = (String::from("skipped"), Some(String::from("busy")));
    assert_eq!(field.is(second, 0).await, busy);
    assert_eq!(field.is_in(second, 1).await, "ordered");
    let got = field.fetch().await;
    assert_eq!(got.len(), 2);
    field.all_say(&got, OutcomeCode::Done).await;
    for id in [first, second] {
        assert_eq!(field.state(id).await, "done");
    }
    // Both have had their end.
    let third = field.rollout(json!({ "force": true })).await;
    assert_eq!(field.show(third).await["total"], 2);
}

#[tokio::test]
async fn who_is_revoked_or_kept_apart_leaves_its_rollout() {
    let field = Field::new(4).await;
    let before = field.cameras[3].id.clone();
    let address = |id: &str| format!("/api/v1/devices/{id}/quarantine");
    field
        .site
        .server
        .do_post(&address(&before), Value::Null)
        .await;
    let id = field.rollout(json!({})).await;
    let quarantined = (String::from("skipped"), Some(String::from("quarantined")));
    assert_eq!(field.is(id, 3).await, quarantined);
    field
        .site
        .server
        .do_post(&address(&field.cameras[0].id), Value::Null)
        .await;
    assert_eq!(field.is(id, 0).await, quarantined);
    field.site.revoke(field.cameras[1].key.handle);
    field
        .site
        .server
        .until(async || field.is_in(id, 1).await == "skipped")
        .await;
    assert_eq!(field.is(id, 1).await.1.as_deref(), Some("revoked"));
    let shown = field.show(id).await;
    assert_eq!(
        (&shown["counts"]["skipped"], &shown["counts"]["ordered"]),
        (&json!(3), &json!(1))
    );
    // Their orders were taken back.
    for camera in &field.cameras[..2] {
        let orders = field.site.server.orders(&camera.id).await;
        assert_eq!(orders[0].1, "dropped");
    }
    let orders = field.site.server.get("/api/v1/orders").await;
    assert_eq!(orders["items"][0]["waiting"], 1);
}

#[tokio::test]
async fn a_device_that_fails_is_tried_again_as_often_as_it_may_be() {
    let mut field = Field::new(1).await;
    let id = field.rollout(json!({ "retries": 2 })).await;
    let mut numbers = BTreeSet::new();
    let mut next = field.fetch_one(0).await;
    while let Some(order) = next {
        assert!(numbers.insert(order.id), "each try is an order of its own");
        next = field.says(0, order, OutcomeCode::Failed).await;
    }
    assert_eq!(numbers.len(), 3);
    let failed = (String::from("failed"), Some(String::from("failed")));
    assert_eq!(field.is(id, 0).await, failed);
    assert_eq!(field.state(id).await, "done");
    let page = field
        .site
        .server
        .get(&format!("{ROLLOUTS}/{id}/devices"))
        .await;
    assert_eq!(page["items"][0]["attempts"], 3);
    // Unlike a device that cannot do it.
    let id = field.rollout(json!({ "retries": 2 })).await;
    let order = field.fetch_one(0).await.unwrap();
    field.says(0, order, OutcomeCode::Unsupported).await;
    assert_eq!(field.is(id, 0).await.1.as_deref(), Some("unable"));
}

#[tokio::test]
async fn who_runs_it_already_is_skipped_unless_it_is_forced() {
    let mut field = Field::new(2).await;
    let facts = Facts {
        release: Some(Digest::new(field.release.0)),
        ..Facts::default()
    };
    let server = &field.site.server;
    field.cameras[0].raw.ask(server, poll(&[], facts)).await;
    let page = format!("/api/v1/devices/{}", field.cameras[0].id);
    server
        .until(async || server.get(&page).await["firmware"] == json!(field.release))
        .await;
    let id = field.rollout(json!({})).await;
    let current = (String::from("skipped"), Some(String::from("current")));
    assert_eq!(field.is(id, 0).await, current);
    assert_eq!(field.show(id).await["total"], 1);
    field.act(id, "abort").await.json();
    let running = json!({ "force": true, "devices": { "running": field.release } });
    let forced = field.rollout(running).await;
    assert_eq!(
        field.show(forced).await["counts"].as_object().unwrap()["ordered"],
        1
    );
    let order = field.fetch_one(0).await.unwrap();
    assert!(matches!(order.task, Task::Repair(_)));
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_shown_and_is_a_failure_only_by_a_deadline() {
    let mut field = Field::new(2).await;
    let id = field.rollout(json!({})).await;
    field.later(25 * 60 * 60).await;
    let shown = field.show(id).await;
    assert_eq!(
        (&shown["state"], &shown["silent"]),
        (&json!("running"), &json!(2))
    );
    field.act(id, "abort").await.json();
    let id = field
        .rollout(json!({ "deadline_secs": 60, "retries": 5 }))
        .await;
    let order = field.fetch_one(0).await.unwrap();
    field.later(59).await;
    assert_eq!(field.state(id).await, "running");
    field.later(1).await;
    let overdue = (String::from("failed"), Some(String::from("overdue")));
    assert_eq!(field.is(id, 0).await, overdue);
    assert_eq!(field.is(id, 1).await, overdue);
    assert_eq!(field.state(id).await, "done");
    assert!(field.fetch_one(1).await.is_none());
    // What it says in the end counts.
    field.says(0, order, OutcomeCode::Done).await;
    assert_eq!(field.is_in(id, 0).await, "done");
}

#[tokio::test]
async fn a_channel_has_a_lowest_counter() {
    let mut field = Field::new(2).await;
    let page = "/api/v1/channels/stable";
    let set = async |field: &Field, minimum: u64| {
        let body = json!({ "minimum_counter": minimum });
        field.site.server.ask(Method::PUT, page, &body).await
    };
    let id = field.rollout(percents(&[50, 50])).await;
    assert_eq!(set(&field, 1).await.json()["minimum_counter"], 1);
    assert_eq!(field.state(id).await, "running");
    set(&field, 2).await.json();
    let shown = field.show(id).await;
    assert_eq!(
        (&shown["state"], &shown["reason"]),
        (&json!("paused"), &json!("channel-minimum"))
    );
    assert!(field.fetch().await.is_empty());
    let (_, why) = field.act(id, "resume").await.problem();
    assert!(why.contains("below its channel's minimum"), "{why}");
    for order in [
        field.try_rollout(json!({})).await,
        field
            .site
            .server
            .ask(
                Method::POST,
                "/api/v1/orders",
                &json!({ "kind": "update", "release": field.release, "target": { "device": field.cameras[0].id } }),
            )
            .await,
    ] {
        let (kind, why) = order.problem();
        assert_eq!(kind, Kind::Unfit);
        assert!(why.contains("minimum of the channel stable is 2"), "{why}");
    }
    let newer = field.release(2).await;
    let order =
        json!({ "kind": "update", "release": newer, "target": { "device": field.cameras[0].id } });
    field.site.server.do_post("/api/v1/orders", order).await;
    set(&field, 0).await.json();
    assert_eq!(field.act(id, "resume").await.json()["state"], "running");
    let channels = field.site.server.get("/api/v1/channels").await;
    assert_eq!(channels["items"][0]["channel"], "stable");
    let bad = field
        .site
        .server
        .ask(
            Method::PUT,
            "/api/v1/channels/-x",
            &json!({ "minimum_counter": 1 }),
        )
        .await;
    assert_eq!(bad.kind(), Kind::BadParameter);
}

#[tokio::test]
async fn rollouts_that_make_no_sense_and_those_that_are_repeated() {
    let field = Field::new(1).await;
    for (more, kind, why) in [
        (
            json!({ "release": Hex32::from([9; 32]) }),
            Kind::Unfit,
            "is not on the ledger",
        ),
        (json!({ "phases": [] }), Kind::Unfit, "1 to 16 phases"),
        (
            json!({ "phases": [{ "size": { "percent": 50 } }] }),
            Kind::Unfit,
            "leave devices over",
        ),
        (
            json!({ "phases": [{ "size": "half" }] }),
            Kind::Malformed,
            "half",
        ),
        (json!({ "retries": 11 }), Kind::Unfit, "at most 10"),
        (
            json!({ "devices": { "types": ["toaster"] } }),
            Kind::Unfit,
            "type toaster",
        ),
        (
            json!({ "devices": { "group": "grp_0" } }),
            Kind::Unknown,
            "grp_0",
        ),
        (
            json!({ "devices": { "group": "a\0b" } }),
            Kind::Unknown,
            "group",
        ),
        (
            json!({ "devices": { "colour": "red" } }),
            Kind::Malformed,
            "colour",
        ),
        (json!({ "name": "" }), Kind::Malformed, "name"),
    ] {
        let (got, detail) = field.try_rollout(more.clone()).await.problem();
        assert_eq!(got, kind, "{more}: {detail}");
        assert!(detail.contains(why), "{detail}");
    }
    let order = json!({ "kind": "rotate", "target": { "rollout": 1 } });
    let got = field
        .site
        .server
        .ask(Method::POST, "/api/v1/orders", &order)
        .await;
    assert_eq!(got.kind(), Kind::Unfit);
    // Filters that fit nobody make a rollout that is over.
    for filter in [
        json!({ "state": "registered" }),
        json!({ "serials": ["S-1", "%", "'; --"] }),
        json!({ "search": "%_" }),
        json!({ "inventory": "differs" }),
        json!({ "running": field.release }),
    ] {
        let id = field.rollout(json!({ "devices": filter })).await;
        let shown = field.show(id).await;
        assert_eq!(
            (&shown["state"], &shown["total"]),
            (&json!("done"), &json!(0)),
            "{shown}"
        );
    }
    let all =
        json!({ "devices": { "types": ["camera"], "state": "active", "inventory": "unknown" } });
    let create = field.asked(&all);
    let send = async || {
        let request = Request::post(ROLLOUTS)
            .header(
                "authorization",
                format!("Bearer {}", field.site.server.operator),
            )
            .header("content-type", "application/json")
            .header("idempotency-key", "once")
            .body(create.to_string().into());
        call(&field.site.server.admin, request.unwrap())
            .await
            .json()
    };
    let first = send().await;
    assert_eq!(first["total"], 1);
    assert_eq!(send().await, first);
    let page = field.site.server.get(&format!("{ROLLOUTS}?limit=2")).await;
    assert_eq!(page["items"][0], first);
    let next = page["next"].as_str().unwrap();
    let page = field
        .site
        .server
        .get(&format!("{ROLLOUTS}?limit=200&cursor={next}"))
        .await;
    assert_eq!(page["items"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn a_group_may_change_and_the_rollout_does_not() {
    let field = Field::new(3).await;
    let server = &field.site.server;
    let group = server
        .do_post("/api/v1/groups", json!({ "name": "north" }))
        .await;
    let group = group["id"].as_str().unwrap();
    let member = async |method, camera: usize| {
        let page = format!(
            "/api/v1/groups/{group}/devices/{}",
            field.cameras[camera].id
        );
        let got = server.ask(method, &page, &Value::Null).await;
        assert_eq!(got.status, StatusCode::NO_CONTENT);
    };
    member(Method::PUT, 0).await;
    member(Method::PUT, 1).await;
    let mut plan = percents(&[50, 50]);
    plan["devices"] = json!({ "group": group });
    let id = field.rollout(plan).await;
    member(Method::PUT, 2).await;
    member(Method::DELETE, 0).await;
    let devices: BTreeSet<_> = field
        .devices(id)
        .await
        .into_iter()
        .map(|one| one.0)
        .collect();
    let expected = field.cameras[..2].iter().map(|camera| camera.id.clone());
    assert_eq!(devices, expected.collect());
}
