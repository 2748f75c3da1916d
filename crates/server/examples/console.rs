//! The console over a made-up fleet, to look at: `cargo run -p kusabi-server --example console -- 127.0.0.1:8990`.
//!
//! The router, the database (in a temporary directory) and the ledger's rules are the real ones. What devices would have said is
//! written into the database; nothing here is a device.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program to look at: it prints where, and ends when something is not as it should be"
)]

#[expect(
    dead_code,
    clippy::unwrap_used,
    reason = "the tests' ledger, of which not everything is needed here"
)]
#[path = "../tests/it/ledger.rs"]
mod ledger;

use kusabi_api::{
    Hex, Hex32, Ledger, VerifyingLedger,
    admin::{AlarmKind, Role},
};
use kusabi_core::{
    id::Digest,
    release::{Content, ManifestParts, PayloadParts, ReleaseDraft, TargetParts},
    row::Reason,
    suite::Purpose,
    tx::Action,
};
use kusabi_ledger::testing::TestKey;
use kusabi_server::{
    App, Blobs, Edge, Store,
    app::{By, Caller},
};
use serde_json::json;
use sqlx::{AnyConnection, Connection as _};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

const MINUTE_MS: u64 = 60 * 1000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// A clock that is the system's, moved back while the past is made up.
struct Machine {
    back_ms: AtomicU64,
    drawn: AtomicU64,
}

impl Edge for Machine {
    #[expect(clippy::disallowed_methods, reason = "the edge of the program")]
    fn now_ms(&self) -> u64 {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now_ms = u64::try_from(now.unwrap().as_millis()).unwrap();
        now_ms - self.back_ms.load(SeqCst)
    }

    fn random(&self) -> std::io::Result<[u8; 32]> {
        // Made-up secrets for a made-up fleet.
        let number = self.drawn.fetch_add(1, SeqCst);
        Ok(kusabi_core::crypto::sha256(&[
            b"console example",
            &number.to_be_bytes(),
        ]))
    }
}

/// A camera, sensor or gateway of the fleet: its place and type.
const PLACES: [(&str, &str); 20] = [
    ("North gate", "camera-2"),
    ("正門", "camera-2"),
    ("Loading dock A", "camera-2"),
    ("Loading dock B", "camera-2"),
    ("第二倉庫 通路", "camera-2"),
    ("Roof, west", "camera-3"),
    ("Roof, east", "camera-3"),
    ("Cold store 1", "sensor-t1"),
    ("Cold store 2", "sensor-t1"),
    ("冷蔵庫 3", "sensor-t1"),
    ("Pump room", "sensor-t1"),
    ("Line 4", "gateway-m"),
    ("Line 5", "gateway-m"),
    ("変電所", "gateway-m"),
    ("Car park P2", "camera-3"),
    ("Reception", "camera-2"),
    ("東側フェンス", "camera-3"),
    ("Server room", "sensor-t1"),
    ("Workshop", "camera-2"),
    ("<b>Lab</b> & \"test\" 'bench'", "camera-2"),
];

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let listen = arguments
        .next()
        .unwrap_or_else(|| String::from("127.0.0.1:8990"));
    let empty = arguments.next().as_deref() == Some("empty");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("server.sqlite");
    let memory = Arc::new(ledger::Memory::new());
    let (org, chain) = {
        let world = memory.world.lock().unwrap();
        (world.org, world.chain)
    };
    let edge = Arc::new(Machine {
        back_ms: AtomicU64::new(0),
        drawn: AtomicU64::new(0),
    });
    let store = Store::sqlite(&path, org).await.unwrap();
    let shared: Arc<dyn Ledger> = Arc::<ledger::Memory>::clone(&memory);
    let verifying = VerifyingLedger::found(shared, &chain).await.unwrap();
    let firmware = directory.path().join("firmware");
    let blobs = Blobs::open(firmware.to_str().unwrap(), &firmware).unwrap();
    let app = App::new(store, verifying, Arc::<Machine>::clone(&edge));
    let app = Arc::new(app.with_blobs(blobs));
    let listener = tokio::net::TcpListener::bind(&listen).await.unwrap();
    println!("http://{listen}");
    if let Some(link) = app.first_admin_link().await.unwrap() {
        println!("first admin: http://{listen}/first-admin?link={link}");
    }
    let by = By::only(Caller::server());
    for role in [Role::Viewer, Role::Operator, Role::Admin] {
        let name = match role {
            Role::Viewer => "Hall display",
            Role::Operator => "田中",
            _ => "Aiko",
        };
        let create = serde_json::from_value(json!({ "name": name, "role": role })).unwrap();
        let created = app.create_token(&by, create).await.unwrap();
        println!("{}: {}", role.name(), created.secret);
    }
    if !empty {
        let mut database = AnyConnection::connect(&format!("sqlite://{}", path.display()))
            .await
            .unwrap();
        fleet(&app, &memory, &edge, &mut database).await;
    }
    axum::serve(listener, kusabi_server::http::router(app))
        .await
        .unwrap();
}

/// Sixty devices with a past.
async fn fleet(app: &App, memory: &ledger::Memory, edge: &Machine, database: &mut AnyConnection) {
    let by = By::only(Caller::server());
    let at = |back_ms| edge.back_ms.store(back_ms, SeqCst);
    at(40 * DAY_MS);
    let mut groups = Vec::new();
    for name in ["Yokohama", "Osaka", "warehouse", "pilot"] {
        let create = serde_json::from_value(json!({ "name": name })).unwrap();
        groups.push(app.create_group(&by, create).await.unwrap().id);
    }
    at(36 * DAY_MS);
    art_policy(memory);
    let mut releases = Vec::new();
    for (counter, version) in [(4, "2.3.9"), (5, "2.4.0"), (6, "2.4.1")] {
        at((41 - counter * 6) * DAY_MS);
        releases.push(release(app, memory, version, counter).await);
    }
    let mut devices = Vec::new();
    for number in 0..60_u64 {
        at((39 - number / 2) * DAY_MS + number * 17 * MINUTE_MS);
        let (place, kind) = PLACES[usize::try_from(number % 20).unwrap()];
        let pre = TestKey::new(100 + number, Purpose::Pre);
        let act = TestKey::new(1000 + number, Purpose::Act);
        let active = number % 11 != 7;
        let revoked = number == 13 || number == 44;
        {
            let mut world = memory.world.lock().unwrap();
            let register = world.register(&[&pre]);
            world.submit(register).unwrap();
        }
        let floor = number / 20 + 1;
        let name = match number {
            3 | 29 => None,
            _ => Some(format!("{place} {floor}")),
        };
        let import = json!({
            "handle": Hex(pre.handle.to_bytes()), "type": kind,
            "serial": format!("KC{}-{:05}", if kind.starts_with("camera") { "2A" } else { "7S" }, 20417 + number * 37), "name": name,
        });
        let device = app
            .import_device(&by, serde_json::from_value(import).unwrap())
            .await
            .unwrap()
            .id;
        app.add_to_group(&by, &groups[usize::try_from(number % 2).unwrap()], &device)
            .await
            .unwrap();
        if number % 5 == 0 {
            app.add_to_group(&by, &groups[2], &device).await.unwrap();
        }
        if number % 9 == 0 {
            app.add_to_group(&by, &groups[3], &device).await.unwrap();
        }
        if active {
            let registered = activate(memory, &pre, &act, revoked);
            let insert = "INSERT INTO device_keys (org, handle, device, purpose, predecessor, registered, status) VALUES ($1, $2, $3, 'act', $4, $5, $6)";
            sqlx::query(insert)
                .bind(app.org().to_bytes().to_vec())
                .bind(act.handle.to_bytes().to_vec())
                .bind(device.clone())
                .bind(pre.handle.to_bytes().to_vec())
                .bind(i64::try_from(registered).unwrap())
                .bind(if revoked { "revoked" } else { "active" })
                .execute(&mut *database)
                .await
                .unwrap();
            let state = match number {
                _ if revoked => "revoked",
                21 | 38 => "quarantined",
                _ => "active",
            };
            let verdict = match number {
                _ if revoked => "unknown",
                4 | 21 | 33 | 50 => "differs",
                n if n % 13 == 6 => "unknown",
                _ => "expected",
            };
            at(0);
            let ago = match number {
                _ if revoked => 12 * DAY_MS,
                17 => 6 * DAY_MS,
                n => (n * 7919 % 1800) * 1000,
            };
            let release = releases[if number % 7 == 0 { 1 } else { 2 }];
            sqlx::query("UPDATE devices SET state = $2, inventory = $3, firmware = $4, last_contact_ms = $5 WHERE id = $1")
                .bind(device.clone())
                .bind(state)
                .bind(verdict)
                .bind(release.0.to_vec())
                .bind(i64::try_from(edge.now_ms() - ago).unwrap())
                .execute(&mut *database)
                .await
                .unwrap();
        }
        devices.push(device);
    }
    for (back, device, kind, detail) in [
        (
            19 * DAY_MS,
            13,
            AlarmKind::UnknownHead,
            "the device knows nothing of the last session; it was installed anew",
        ),
        (
            3 * DAY_MS,
            21,
            AlarmKind::Inventory,
            "2 components differ from the expected inventory: /usr/bin/streamd changed, /tmp/.x/miner is unexpected",
        ),
        (
            26 * HOUR_MS,
            33,
            AlarmKind::Inventory,
            "1 component differs from the expected inventory: /etc/ssh/sshd_config changed",
        ),
        (
            5 * HOUR_MS,
            17,
            AlarmKind::Stale,
            "height 1,204 has not grown for 10 heartbeats",
        ),
        (
            42 * MINUTE_MS,
            21,
            AlarmKind::Fork,
            "a session began with an older chain value than the confirmed one: two devices hold this key",
        ),
        (
            9 * MINUTE_MS,
            50,
            AlarmKind::Order,
            "order 6 failed: the self-test ended with status 1; rolled back",
        ),
    ] {
        at(back);
        app.raise_alarm(&by, &devices[device], kind, detail)
            .await
            .unwrap();
    }
    at(18 * DAY_MS);
    app.acknowledge_alarm(&by, 1).await.unwrap();
    for (back, kind, target) in [
        (30 * DAY_MS, "report", json!({ "group": groups[0] })),
        (21 * DAY_MS, "report", json!({ "group": groups[1] })),
        (8 * DAY_MS, "rotate", json!({ "device": devices[21] })),
        (4 * DAY_MS, "update", json!({ "group": groups[3] })),
        (2 * DAY_MS, "rotate", json!({ "group": groups[2] })),
        (50 * MINUTE_MS, "report", json!({ "device": devices[21] })),
        (20 * MINUTE_MS, "report", json!({ "group": groups[3] })),
    ] {
        at(back);
        let release = (kind == "update").then_some(releases[2]);
        let create = json!({ "kind": kind, "target": target, "release": release });
        app.create_order(&by, serde_json::from_value(create).unwrap())
            .await
            .unwrap();
    }
    at(0);
    for sql in [
        "UPDATE device_orders SET state = 'done' WHERE order_id <= 4",
        "UPDATE device_orders SET state = 'failed' WHERE order_id = 4 AND device < 'dev_4'",
        "UPDATE device_orders SET state = 'done' WHERE order_id = 5 AND device < 'dev_8'",
        "UPDATE device_orders SET state = 'sent' WHERE order_id = 6",
        "UPDATE orders SET waiting = (SELECT COUNT(*) FROM device_orders d WHERE d.order_id = orders.id AND d.state = 'waiting')",
    ] {
        sqlx::query(sql).execute(&mut *database).await.unwrap();
    }
    let item = |name: &str, size: u64, n: u8| {
        json!({
            "name": name, "kind": "program", "size": size,
            "digest": Hex(kusabi_core::crypto::sha256(&[name.as_bytes(), &[n]])),
        })
    };
    let differences = json!([
        { "kind": "changed", "expected": item("usr/bin/streamd", 1_204_312, 1), "actual": item("usr/bin/streamd", 1_261_656, 2) },
        { "kind": "unexpected", "actual": item("tmp/.x/miner", 3_402_880, 1) },
        { "kind": "missing", "expected": item("etc/audit/rules.d/10-base.rules", 1_824, 1) },
    ]);
    for number in [4, 21, 33, 50] {
        sqlx::query("INSERT INTO device_inventories (org, device, digest, statement, signer, at_ms, expected, missing, unexpected, changed, differences) VALUES ($1, $2, $3, $4, $3, $5, $3, 1, 1, 1, $6)")
            .bind(app.org().to_bytes().to_vec())
            .bind(devices[number].clone())
            .bind(vec![7_u8; 32])
            .bind(vec![7_u8; 245])
            .bind(i64::try_from(edge.now_ms() - 3 * HOUR_MS).unwrap())
            .bind(differences.to_string())
            .execute(&mut *database)
            .await
            .unwrap();
    }
    for (ago, kind, detail) in [
        (
            34 * DAY_MS,
            "activated",
            json!({ "handle": Hex([0x5a; 32]), "height": 1038 }),
        ),
        (8 * DAY_MS, "order-sent", json!({ "order": 3 })),
        (
            8 * DAY_MS - MINUTE_MS,
            "rotated",
            json!({ "handle": Hex([0x9c; 32]), "height": 1151 }),
        ),
        (
            8 * DAY_MS - MINUTE_MS,
            "order-answered",
            json!({ "order": 3, "outcome": "done" }),
        ),
        (
            3 * DAY_MS,
            "inventory-changed",
            json!({ "digest": Hex([0x31; 32]) }),
        ),
        (
            3 * DAY_MS - MINUTE_MS,
            "reported",
            json!({ "digest": Hex([0x31; 32]), "verdict": "differs" }),
        ),
        (
            42 * MINUTE_MS,
            "quarantined",
            json!({ "by": "server", "why": "fork" }),
        ),
    ] {
        sqlx::query("INSERT INTO device_events (org, device, seq, at_ms, kind, detail) SELECT $1, $2, MAX(seq) + 1, $3, $4, $5 FROM device_events WHERE device = $2")
            .bind(app.org().to_bytes().to_vec())
            .bind(devices[21].clone())
            .bind(i64::try_from(edge.now_ms() - ago).unwrap())
            .bind(kind)
            .bind(detail.to_string())
            .execute(&mut *database)
            .await
            .unwrap();
    }
    // In the order in which it would have happened.
    sqlx::query("UPDATE device_events SET seq = seq + 1000")
        .execute(&mut *database)
        .await
        .unwrap();
    sqlx::query("UPDATE device_events AS e SET seq = (SELECT COUNT(*) FROM device_events o WHERE o.device = e.device AND (o.at_ms < e.at_ms OR (o.at_ms = e.at_ms AND o.seq <= e.seq)))")
        .execute(&mut *database)
        .await
        .unwrap();
    println!("copied key: /devices/{}", devices[21]);
    rollouts(app, edge, database, &groups, &releases).await;
}

/// A rollout in each state. What devices would have answered is written into the database.
async fn rollouts(
    app: &App,
    edge: &Machine,
    database: &mut AnyConnection,
    groups: &[String],
    releases: &[Hex32],
) {
    let by = By::only(Caller::server());
    sqlx::query("UPDATE contents SET complete_ms = 1")
        .execute(&mut *database)
        .await
        .unwrap();
    let phases = json!([
        { "size": { "percent": 10 }, "failures": { "count": 0 } },
        { "size": { "percent": 40 }, "start": { "after_secs": 7200 }, "success_percent": 95 },
        { "size": "rest", "start": "by-hand", "failures": { "percent": 5 } },
    ]);
    for (back, name, release, devices, state) in [
        (
            20 * DAY_MS,
            "2.3.9 to Osaka",
            0,
            json!({ "group": groups[1] }),
            "done",
        ),
        (
            3 * DAY_MS,
            "2.4.0, cameras",
            1,
            json!({ "types": ["camera-2"] }),
            "paused",
        ),
        (5 * HOUR_MS, "2.4.1 everywhere", 2, json!({}), "running"),
        (
            HOUR_MS,
            "夜間の更新(倉庫)",
            0,
            json!({ "group": groups[2] }),
            "scheduled",
        ),
    ] {
        edge.back_ms.store(back, SeqCst);
        let mut create = json!({
            "name": name, "release": releases[release], "devices": devices, "phases": phases,
            "retries": 1, "deadline_secs": 7 * 24 * 60 * 60, "force": state == "running",
        });
        if state == "scheduled" {
            create["start_ms"] = json!(edge.now_ms() + 9 * HOUR_MS);
        }
        let made = app.create_rollout(&by, serde_json::from_value(create).unwrap());
        let id = made.await.unwrap().id;
        let answers: &[(&str, Option<&str>, &str)] = match state {
            "done" => &[
                ("done", None, "place >= 0"),
                ("failed", Some("overdue"), "place = 3"),
            ],
            "paused" => &[
                ("failed", Some("failed"), "place = 0"),
                ("done", None, "place = 1"),
            ],
            "running" => &[
                ("done", None, "place < 11"),
                ("sent", None, "place BETWEEN 11 AND 15"),
                ("ordered", None, "place BETWEEN 16 AND 20"),
                ("failed", Some("refused-unproven"), "place = 7"),
            ],
            _ => &[],
        };
        for (state, reason, which) in answers {
            let sql = format!(
                "UPDATE rollout_devices SET state = $2, reason = $3, attempts = 1, held = 0, changed_ms = changed_ms + 3600000 \
                 WHERE rollout = $1 AND {which}"
            );
            sqlx::query(sqlx::AssertSqlSafe(sql))
                .bind(i64::try_from(id).unwrap())
                .bind(*state)
                .bind(*reason)
                .execute(&mut *database)
                .await
                .unwrap();
        }
        let (phase, reason) = match state {
            "done" => (3, None),
            "paused" => (1, Some("failures")),
            "running" => (2, None),
            _ => continue,
        };
        for word in [
            "waiting", "ordered", "sent", "done", "failed", "skipped", "aborted",
        ] {
            let sql = format!(
                "UPDATE rollouts SET {word} = (SELECT COUNT(*) FROM rollout_devices WHERE rollout = $1 AND state = '{word}') WHERE id = $1"
            );
            sqlx::query(sqlx::AssertSqlSafe(sql))
                .bind(i64::try_from(id).unwrap())
                .execute(&mut *database)
                .await
                .unwrap();
        }
        let ended = (state == "done").then(|| i64::try_from(edge.now_ms() + 2 * DAY_MS).unwrap());
        sqlx::query("UPDATE rollouts SET state = $2, reason = $3, phase = $4, released = total * $4 / 3, ended_ms = $5, next_ms = NULL WHERE id = $1")
            .bind(i64::try_from(id).unwrap())
            .bind(state)
            .bind(reason)
            .bind(i64::from(phase))
            .bind(ended)
            .execute(&mut *database)
            .await
            .unwrap();
    }
    edge.back_ms.store(0, SeqCst);
}

/// Spends the factory key for a device key; revokes that one, too, if it is to be. The height of the device key.
fn activate(memory: &ledger::Memory, pre: &TestKey, act: &TestKey, revoked: bool) -> u64 {
    let mut world = memory.world.lock().unwrap();
    let action = Action::Activate {
        org: world.org,
        pre: world.named(pre),
        act: Box::new(world.entry(act)),
    };
    let activate = world.sign(action, &[pre, act]);
    world.submit(activate).unwrap();
    if revoked {
        let action = Action::Revoke {
            org: world.org,
            targets: vec![world.named(act)],
            reason: Reason::Lost,
            compromised_since: None,
            signers: 1,
        };
        let revoke = world.sign(action, &[&world.officer]);
        world.submit(revoke).unwrap();
    }
    let record = world.record(&act.handle).unwrap();
    record.registered().get()
}

const ART: [u64; 2] = [10, 11];

fn art_keys() -> Vec<TestKey> {
    ART.map(|number| TestKey::new(number, Purpose::Art)).into()
}

/// Two release keys sign.
fn art_policy(memory: &ledger::Memory) {
    let mut world = memory.world.lock().unwrap();
    let keys = art_keys();
    let action = Action::ArtPolicy {
        org: world.org,
        policy_version: 0,
        k: 2,
        added: keys.iter().map(|key| world.entry(key)).collect(),
        removed: Vec::new(),
        signers: 3,
    };
    let policy = world.sign(action, &[&world.officer, &keys[0], &keys[1]]);
    world.submit(policy).unwrap();
}

/// A release that is published, its manifest here.
async fn release(app: &App, memory: &ledger::Memory, version: &str, counter: u64) -> Hex32 {
    let content = || Content::new(1, Digest::new([7; 32])).unwrap();
    let targets =
        ["camera-2", "camera-3", "gateway-m", "sensor-t1"].map(|device_type| TargetParts {
            device_type: device_type.into(),
            inventory: None,
            payloads: vec![0],
        });
    let (digest, signed) = {
        let mut world = memory.world.lock().unwrap();
        let parts = ManifestParts {
            org: world.org,
            name: "field-os".into(),
            version: version.into(),
            channel: "stable".into(),
            counter,
            minimum_counter: 3,
            targets: targets.into(),
            payloads: vec![PayloadParts {
                name: "root".into(),
                format: "raw".into(),
                content: content(),
                chunk_index: None,
            }],
            documents: Vec::new(),
        };
        let mut draft = ReleaseDraft::new(parts.encode().unwrap()).unwrap();
        let keys = art_keys();
        for key in &keys {
            draft.sign(&world.chain, key.handle, &key.key).unwrap();
        }
        let digest = kusabi_core::crypto::sha256(&[draft.manifest()]);
        let action = Action::Publish {
            org: world.org,
            policy_version: 1,
            digest: Digest::new(digest),
            minimum_counter: counter,
        };
        let publish = world.sign(action, &[&keys[0], &keys[1]]);
        world.submit(publish).unwrap();
        (Hex(digest), draft.encode().unwrap())
    };
    let by = By::only(Caller::server());
    app.upload_release(&by, digest, &signed).await.unwrap();
    digest
}
