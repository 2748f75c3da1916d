//! The follower and the rebuild.

use crate::{
    chain::Chain,
    world::{Database, Told, World},
};
use axum::http::Method;
use kusabi_api::{Hex32, Kind, Ledger, VerifyingLedger};
use kusabi_core::{row::Reason, suite::Purpose, tx::Action};
use kusabi_ledger::testing::TestKey;
use kusabi_server::App;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinHandle};

/// A server's follower, on its way.
pub(crate) struct Follower {
    pub(crate) app: Arc<App>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Follower {
    pub(crate) async fn start(world: &World) -> Self {
        Self::of(Arc::new(world.app().await))
    }

    /// A server's that has no door and answers nobody.
    pub(crate) async fn over(chain: &Arc<Chain>, database: &Database) -> Self {
        let (id, org) = {
            let ledger = chain.lock();
            (ledger.world.chain, ledger.world.org)
        };
        let ledger: Arc<dyn Ledger> = Arc::<Chain>::clone(chain);
        let ledger = VerifyingLedger::found(ledger, &id).await.unwrap();
        let store = database.store(org).await;
        Self::of(Arc::new(App::new(store, ledger, Arc::new(Told::new()))))
    }

    fn of(app: Arc<App>) -> Self {
        let (stop, stopping) = watch::channel(false);
        let following = Arc::clone(&app);
        let task = tokio::spawn(async move { following.follow(stopping).await });
        Self { app, stop, task }
    }

    pub(crate) async fn end(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap();
    }
}

pub(crate) fn hex(key: &TestKey) -> Hex32 {
    Hex32::from(key.handle.to_bytes())
}

fn id(key: &TestKey) -> String {
    kusabi_api::admin::device_id(&hex(key))
}

impl World {
    pub(crate) fn commit(
        &self,
        action: impl FnOnce(&kusabi_ledger::testing::World) -> kusabi_core::tx::Transaction,
    ) {
        let transaction = action(&self.ledger.world.lock().unwrap());
        self.ledger.commit(transaction).unwrap();
    }

    pub(crate) fn activate(&self, pre: &TestKey, act: &TestKey) {
        self.commit(|world| {
            let action = Action::Activate {
                org: world.org,
                pre: world.named(pre),
                act: Box::new(world.entry(act)),
            };
            world.sign(action, &[pre, act])
        });
    }

    pub(crate) fn revoke(&self, key: &TestKey) {
        self.commit(|world| {
            let action = Action::Revoke {
                org: world.org,
                targets: vec![world.named(key)],
                reason: Reason::Lost,
                compromised_since: None,
                signers: 1,
            };
            world.sign(action, &[&world.officer])
        });
    }

    pub(crate) async fn shown(&self, key: &TestKey) -> Value {
        self.get(&format!("/api/v1/devices/{}", id(key)))
            .await
            .json()
    }
}

/// Waits until the follower has come across this key.
pub(crate) async fn until(
    changes: &mut tokio::sync::broadcast::Receiver<kusabi_core::id::Handle>,
    key: &TestKey,
) {
    let seen = async { while changes.recv().await.unwrap() != key.handle {} };
    tokio::time::timeout(Duration::from_secs(20), seen)
        .await
        .unwrap();
}

#[tokio::test]
async fn devices_and_their_keys_come_from_the_ledger() {
    let world = World::new().await;
    let pre: Vec<_> = (100..103).map(|n| TestKey::new(n, Purpose::Pre)).collect();
    let act = TestKey::new(200, Purpose::Act);
    let rotated = TestKey::new(201, Purpose::Act);
    world.commit(|world| world.register(&pre.iter().collect::<Vec<_>>()));
    world.commit(|world| world.register(&[&TestKey::new(300, Purpose::App)]));
    let follower = Follower::start(&world).await;
    let mut changes = follower.app.ledger_changes();
    world.activate(&pre[0], &act);
    world.revoke(&pre[1]);
    until(&mut changes, &pre[1]).await;

    let device = world.shown(&pre[0]).await;
    assert_eq!(device["state"], "active");
    let keys: Vec<_> = device["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| {
            (
                key["handle"].clone(),
                key["purpose"].clone(),
                key["status"].clone(),
                key["predecessor"].clone(),
            )
        })
        .collect();
    assert_eq!(
        keys,
        [
            (
                json!(hex(&pre[0])),
                json!("pre"),
                json!("spent"),
                Value::Null
            ),
            (
                json!(hex(&act)),
                json!("act"),
                json!("active"),
                json!(hex(&pre[0]))
            ),
        ]
    );
    assert_eq!(world.shown(&pre[1]).await["state"], "revoked");
    assert_eq!(world.shown(&pre[2]).await["state"], "registered");
    let (all, _) = world.pages(&world.viewer, "/api/v1/devices").await;
    assert_eq!(all.len(), 3, "an app's key is no device");

    // An import tells what a followed device is called.
    let import =
        json!({ "handle": hex(&pre[2]), "serial": "S-2", "type": "cam-2", "name": "gate <b>" });
    let described = world.post("/api/v1/devices", import.clone()).await.json();
    assert_eq!(
        (&described["id"], &described["serial"]),
        (&json!(id(&pre[2])), &json!("S-2"))
    );
    assert_eq!(
        world.post("/api/v1/devices", import).await.json(),
        described
    );
    let other = json!({ "handle": hex(&pre[2]), "serial": "S-3" });
    assert_eq!(
        world.post("/api/v1/devices", other).await.kind(),
        Kind::Exists
    );

    // Down for a while, while the device rotated; nothing is missed.
    follower.end().await;
    for _ in 0..70 {
        world.ledger.heartbeat();
    }
    world.commit(|world| {
        let action = Action::Supersede {
            org: world.org,
            old: world.named(&act),
            new: Box::new(world.entry(&rotated)),
        };
        world.sign(action, &[&act, &rotated])
    });
    let follower = Follower::start(&world).await;
    let mut changes = follower.app.ledger_changes();
    world.revoke(&rotated);
    until(&mut changes, &rotated).await;
    let device = world.shown(&pre[0]).await;
    assert_eq!(device["state"], "revoked");
    let statuses: Vec<_> = device["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["status"].clone())
        .collect();
    assert_eq!(statuses, ["spent", "superseded", "revoked"]);
    follower.end().await;
}

#[tokio::test]
async fn a_ledger_that_goes_away_is_asked_again() {
    let world = World::new().await;
    let keys: Vec<_> = (100..102).map(|n| TestKey::new(n, Purpose::Pre)).collect();
    let follower = Follower::start(&world).await;
    let mut changes = follower.app.ledger_changes();
    world.commit(|world| world.register(&[&keys[0]]));
    until(&mut changes, &keys[0]).await;
    world.ledger.set_gone(true);
    world.commit(|world| world.register(&[&keys[1]]));
    world.ledger.set_gone(false);
    until(&mut changes, &keys[1]).await;
    assert_eq!(world.shown(&keys[1]).await["state"], "registered");
    follower.end().await;
}

#[tokio::test]
async fn a_rebuild_brings_back_what_the_ledger_knows_and_says_what_it_does_not() {
    let world = World::new().await;
    world.art_policy();
    let pre: Vec<_> = (100..104).map(|n| TestKey::new(n, Purpose::Pre)).collect();
    let act = TestKey::new(200, Purpose::Act);
    world.commit(|world| world.register(&pre.iter().collect::<Vec<_>>()));
    world.activate(&pre[0], &act);
    world.revoke(&pre[1]);
    let made = world.whole(10).await;
    let other = world.make(&[10, 11], 10, |parts| parts.counter = 9);
    world.publish(other.digest, 9);
    world.withdraw(other.digest);
    let import = json!({ "handle": hex(&pre[2]), "serial": "S-2" });
    world.post("/api/v1/devices", import).await.json();

    let rebuild = async |world: &World| {
        let ask = world.ask(
            &world.admin,
            Method::POST,
            "/api/v1/rebuild",
            &[],
            &Value::Null,
        );
        ask.await.json()
    };
    let shown = async |world: &World| {
        let mut all = Vec::new();
        for key in &pre {
            let mut device = world.shown(key).await;
            device["created_ms"] = Value::Null;
            device.as_object_mut().unwrap().remove("serial");
            all.push(device);
        }
        all
    };
    let rows = |rebuilt: &Value, what: &str| {
        let all = rebuilt["not_on_ledger"].as_array().unwrap().clone();
        all.iter().find(|one| one["what"] == what).unwrap()["rows"].clone()
    };
    let first = rebuild(&world).await;
    for (name, count) in [
        ("devices", 4),
        ("keys", 5),
        ("releases", 2),
        ("manifests_missing", 1),
        ("devices_unknown", 0),
    ] {
        assert_eq!(first[name], count, "{name}");
    }
    assert_eq!(rows(&first, "tokens"), 3);
    assert_eq!(rows(&first, "names, serials and types of devices"), 1);
    let before = shown(&world).await;
    assert_eq!(world.shown(&pre[2]).await["serial"], "S-2");

    // Again: the same, while the follower is at it too.
    let follower = Follower::start(&world).await;
    let mut second = rebuild(&world).await;
    second["not_on_ledger"] = first["not_on_ledger"].clone();
    assert_eq!(second, first);
    assert_eq!(shown(&world).await, before);
    follower.end().await;
    let release = world
        .get(&format!("/api/v1/releases/{}", made.digest))
        .await
        .json();
    assert_eq!(release["state"], "published");
    assert!(
        release["contents"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["complete"] == true)
    );

    // The database is lost: what the ledger knows is back, the rest is counted as gone.
    let fresh = World::on(Arc::clone(&world.ledger), false).await;
    let rebuilt = rebuild(&fresh).await;
    for (name, count) in [
        ("devices", 4),
        ("keys", 5),
        ("releases", 2),
        ("manifests_missing", 2),
    ] {
        assert_eq!(rebuilt[name], count, "{name}");
    }
    assert_eq!(rows(&rebuilt, "names, serials and types of devices"), 0);
    assert_eq!(rows(&rebuilt, "manifests"), 0);
    assert_eq!(shown(&fresh).await, before);

    // Devices get their names back, whatever has become of their first keys; a stranger whose key has ended is no device.
    for (number, key) in pre.iter().enumerate() {
        let import = json!({ "handle": hex(key), "serial": format!("S-{number}") });
        fresh.post("/api/v1/devices", import).await.json();
        let named = fresh.shown(key).await;
        assert_eq!(named["serial"], format!("S-{number}"));
        assert_eq!(named["state"], before[number]["state"]);
    }

    // Not without a ledger; the follower then goes on from where it stands.
    world.ledger.set_gone(true);
    let ask = world.ask(
        &world.admin,
        Method::POST,
        "/api/v1/rebuild",
        &[],
        &Value::Null,
    );
    assert_eq!(ask.await.kind(), Kind::Unreachable);
    let ask = world.ask(
        &world.operator,
        Method::POST,
        "/api/v1/rebuild",
        &[],
        &Value::Null,
    );
    assert_eq!(ask.await.kind(), Kind::Forbidden);
}
