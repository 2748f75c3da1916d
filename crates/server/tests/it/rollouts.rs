//! Rollouts: through the admin API, with devices that take and answer their orders through the device door.

mod acts;
mod devices;
mod durable;
mod phases;

use crate::{
    browser::{Browser, forms},
    raw::{Raw, Told},
    site::{How, Site},
    transfer::{admit, transfer},
    world::{Got, World, at_once, call},
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

    /// Those that have an order which they have not fetched.
    async fn ordered(&self, id: u64) -> Vec<usize> {
        let mut ordered = Vec::new();
        for number in 0..self.cameras.len() {
            if self.is_in(id, number).await == "ordered" {
                ordered.push(number);
            }
        }
        ordered
    }

    async fn quarantine(&self, number: usize) {
        let address = format!("/api/v1/devices/{}/quarantine", self.cameras[number].id);
        self.site.server.do_post(&address, Value::Null).await;
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

impl Field {
    async fn is_in(&self, id: u64, camera: usize) -> String {
        self.is(id, camera).await.0
    }
}
