//! Devices in the field: asked, looked at, accepted or refused.

use crate::site::{Client, How, Site, enrolling, problem};
use axum::http::Method;
use kusabi_api::Kind;
use kusabi_core::{
    device::{Event, Input, Kept, Settings},
    protocol::{frame::Problem, hello::Enrolment},
    suite::Purpose,
};
use kusabi_ledger::testing::TestKey;
use serde_json::{Value, json};
use sqlx::Connection as _;
use std::sync::atomic::Ordering::Relaxed;

impl Site {
    /// A device in the field, with a key that it made, and what it was given.
    fn field(&self, number: u64, settings: Settings) -> Client {
        let key = TestKey::new(number, Purpose::Act);
        let kept = Kept::enrolling(
            self.trust(),
            self.chain.lock().world.org,
            &self.known_servers(),
            key.handle,
        );
        self.ship(&kept.unwrap(), key, settings)
    }

    async fn token(&self, more: Value) -> (String, String) {
        let made = self.server.do_post("/api/v1/enrolment-tokens", more).await;
        let word = |name: &str| made[name].as_str().unwrap().to_owned();
        (word("id"), word("secret"))
    }

    async fn waiting(&self) -> Vec<Value> {
        let page = self.server.get("/api/v1/enrolments?state=waiting").await;
        page["items"].as_array().unwrap().clone()
    }
}

async fn ask(site: &Site, device: &mut Client) -> Enrolment {
    device.events.clear();
    device.later(4000);
    device.speak(&site.server, Input::Tick).await;
    let said = device.events.iter().find_map(|event| match event {
        Event::Enrolment(status) => Some(*status),
        _ => None,
    });
    said.unwrap()
}

#[tokio::test]
async fn an_accepted_device_is_registered_and_comes_as_what_it_is() {
    let site = Site::new().await;
    let group = site
        .server
        .do_post("/api/v1/groups", json!({ "name": "yard" }))
        .await;
    let group = group["id"].as_str().unwrap().to_owned();
    let (_, secret) = site
        .token(json!({ "name": "spring", "type": "gateway", "group": group }))
        .await;
    let mut device = site.field(7000, enrolling(&secret, "SN-0001"));
    assert_eq!(ask(&site, &mut device).await, Enrolment::Waiting);
    // It asks again, and again: one request.
    assert_eq!(ask(&site, &mut device).await, Enrolment::Waiting);
    let waiting = site.waiting().await;
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0]["label"], "SN-0001");
    let id = waiting[0]["id"].as_str().unwrap();
    let address = format!("/api/v1/enrolments/{id}/accept");
    let accepted = site.server.do_post(&address, json!(null)).await;
    assert_eq!(accepted["state"], "registered");
    assert!(site.chain.lock().record(&device.current()).is_some());
    site.settled().await;
    device
        .until(&site.server, |client| client.saw(&Event::Enrolled))
        .await;
    device.poll(&site.server).await;
    assert!(device.problems().is_empty());
    let page = site.server.get("/api/v1/devices?serial=SN-0001").await;
    let shown = &page["items"][0];
    assert_eq!(
        (shown["type"].as_str(), shown["state"].as_str()),
        (Some("gateway"), Some("active"))
    );
    let one = site
        .server
        .get(&format!(
            "/api/v1/devices/{}",
            shown["id"].as_str().unwrap()
        ))
        .await;
    assert_eq!(one["groups"], json!([group]));
    // A repeat of the act changes nothing.
    let again = site.server.do_post(&address, json!(null)).await;
    assert_eq!(again["state"], "registered");
}

#[tokio::test]
async fn without_a_writer_somebody_else_registers_what_was_accepted() {
    let site = Site::of(How {
        writes: false,
        ..How::default()
    })
    .await;
    let (_, secret) = site.token(json!({})).await;
    let mut device = site.field(7100, enrolling(&secret, "SN-2"));
    assert_eq!(ask(&site, &mut device).await, Enrolment::Waiting);
    let waiting = site.waiting().await;
    let id = waiting[0]["id"].as_str().unwrap();
    let address = format!("/api/v1/enrolments/{id}/accept");
    let accepted = site.server.do_post(&address, json!(null)).await;
    assert_eq!(accepted["state"], "accepted");
    let key = TestKey::new(7100, Purpose::Act);
    // What the answer holds is the ledger's entry.
    let entry = site.chain.lock().world.entry(&key);
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    assert_eq!(accepted["keys"], hex(key.public_keys().compact().unwrap()));
    assert_eq!(accepted["handle"], hex(entry.handle().as_bytes()));
    assert_eq!(ask(&site, &mut device).await, Enrolment::Waiting);
    site.chain.commit(|world| world.register(&[&key]));
    site.settled().await;
    assert_eq!(ask(&site, &mut device).await, Enrolment::Registered);
    device
        .until(&site.server, |client| client.saw(&Event::Enrolled))
        .await;
}

#[tokio::test]
async fn whoever_asks_with_anothers_handle_is_none_of_the_fleet() {
    let site = Site::new().await;
    let (_, secret) = site.token(json!({})).await;
    // Another key stands under that handle; it is no device's.
    let other = TestKey::new(7400, Purpose::App);
    site.chain.commit(|world| world.register(&[&other]));
    let mut device = site.field(7400, enrolling(&secret, "SN-5"));
    assert_eq!(ask(&site, &mut device).await, Enrolment::Waiting);
    let waiting = site.waiting().await;
    let id = waiting[0]["id"].as_str().unwrap();
    let address = format!("/api/v1/enrolments/{id}/accept");
    let got = site.server.ask(Method::POST, &address, &json!(null)).await;
    assert_eq!(got.kind(), Kind::Unfit);
    site.settled().await;
    assert_eq!(ask(&site, &mut device).await, Enrolment::Refused);
    let devices = site.server.get("/api/v1/devices").await;
    assert_eq!(devices["items"], json!([]));
}

#[tokio::test]
async fn a_refused_device_stays_refused() {
    let site = Site::new().await;
    let (_, secret) = site.token(json!({})).await;
    let mut device = site.field(7200, enrolling(&secret, "SN-3"));
    assert_eq!(ask(&site, &mut device).await, Enrolment::Waiting);
    let waiting = site.waiting().await;
    let id = waiting[0]["id"].as_str().unwrap();
    let refused = site
        .server
        .do_post(&format!("/api/v1/enrolments/{id}/refuse"), json!(null))
        .await;
    assert_eq!(refused["state"], "refused");
    assert_eq!(ask(&site, &mut device).await, Enrolment::Refused);
    let accept = format!("/api/v1/enrolments/{id}/accept");
    let got = site.server.ask(Method::POST, &accept, &json!(null)).await;
    assert_eq!(got.kind(), kusabi_api::Kind::AlreadyDone);
    assert!(site.chain.lock().record(&device.current()).is_none());
}

#[tokio::test]
async fn a_token_that_is_none_revoked_used_up_or_too_old() {
    let site = Site::new().await;
    let mut stranger = site.field(7300, enrolling("kusabi_enrolment_0000000000", "SN-4"));
    assert_eq!(ask(&site, &mut stranger).await, Enrolment::Refused);

    let (id, secret) = site.token(json!({})).await;
    let address = format!("/api/v1/enrolment-tokens/{id}/revocation");
    site.server.do_post(&address, json!(null)).await;
    let mut late = site.field(7301, enrolling(&secret, "SN-5"));
    assert_eq!(ask(&site, &mut late).await, Enrolment::Refused);

    let (_, secret) = site.token(json!({ "uses": 1 })).await;
    let mut first = site.field(7302, enrolling(&secret, "SN-6"));
    let mut second = site.field(7303, enrolling(&secret, "SN-7"));
    assert_eq!(ask(&site, &mut first).await, Enrolment::Waiting);
    assert_eq!(ask(&site, &mut second).await, Enrolment::Refused);
    assert_eq!(ask(&site, &mut first).await, Enrolment::Waiting);

    let (_, secret) = site.token(json!({ "expires_ms": 1 })).await;
    let mut old = site.field(7304, enrolling(&secret, "SN-8"));
    assert_eq!(ask(&site, &mut old).await, Enrolment::Refused);
    assert_eq!(site.waiting().await.len(), 1);
}

#[tokio::test]
async fn who_enrols_takes_of_his_sources_share() {
    let site = Site::new().await;
    let mut device = site.field(7310, enrolling("kusabi_enrolment_0000000000", "SN-4"));
    device.later(4000);
    let hello = device.input(Input::Tick).unwrap();
    let mut looked_at = 0;
    // Some more than a share: it grows while it is used.
    let told = loop {
        let told = problem(&site.server.post_from("2001:db8:7:7::1", &hello).await);
        if told.is_some() || looked_at == 2000 {
            break told;
        }
        looked_at += 1;
    };
    assert_eq!(told, Some(Problem::Busy));
    assert!(looked_at >= 64, "only {looked_at} were looked at");
    let counts = site.server.door.counts();
    assert_eq!(counts.enrolments.load(Relaxed), looked_at);
    // Others have theirs.
    let answer = site.server.post_from("2001:db8:7:8::1", &hello).await;
    device.answered(&answer);
    assert!(device.saw(&Event::Enrolment(Enrolment::Refused)));
}

#[tokio::test]
async fn with_a_token_that_is_good_no_more_nothing_is_counted() {
    let site = Site::new().await;
    let (id, revoked) = site.token(json!({})).await;
    let address = format!("/api/v1/enrolment-tokens/{id}/revocation");
    site.server.do_post(&address, json!(null)).await;
    let (_, used) = site.token(json!({ "uses": 1 })).await;
    let mut first = site.field(7320, enrolling(&used, "SN-1"));
    assert_eq!(ask(&site, &mut first).await, Enrolment::Waiting);
    let (_, old) = site.token(json!({ "expires_ms": 1 })).await;
    let (_, good) = site.token(json!({})).await;
    // Whoever looks for a place looks here first.
    let mut connection = site.database.connection().await;
    sqlx::query("ALTER TABLE enrolment_labels RENAME TO elsewhere")
        .execute(&mut connection)
        .await
        .unwrap();
    for (number, secret) in (7321..).zip([&revoked, &used, &old]) {
        let mut late = site.field(number, enrolling(secret, "SN-2"));
        assert_eq!(ask(&site, &mut late).await, Enrolment::Refused);
    }
    let mut device = site.field(7330, enrolling(&good, "SN-2"));
    device.later(4000);
    let hello = device.input(Input::Tick).unwrap();
    let told = site.server.post(&hello).await;
    assert_eq!(problem(&told), Some(Problem::Busy), "it is looked for");
}

#[tokio::test]
async fn a_listed_label_is_accepted_by_itself_once() {
    let site = Site::new().await;
    let (_, secret) = site.token(json!({})).await;
    let labels = json!({ "labels": ["SN-9", "SN-10"] });
    let got = site
        .server
        .ask(Method::PUT, "/api/v1/enrolment-labels", &labels)
        .await;
    assert_eq!(got.json(), 2);
    let mut device = site.field(7400, enrolling(&secret, "SN-9"));
    assert_ne!(ask(&site, &mut device).await, Enrolment::Refused);
    site.settled().await;
    device
        .until(&site.server, |client| client.saw(&Event::Enrolled))
        .await;
    // Another device that says the same name is looked at by a person.
    let mut copy = site.field(7401, enrolling(&secret, "SN-9"));
    assert_eq!(ask(&site, &mut copy).await, Enrolment::Waiting);
}

#[tokio::test]
async fn hostile_labels_and_the_secret_stay_out_of_the_database() {
    let site = Site::new().await;
    let (_, secret) = site.token(json!({})).await;
    let label = "<script>\u{202e}alert(1)</script>\u{0}";
    let mut device = site.field(7500, enrolling(&secret, label));
    assert_eq!(ask(&site, &mut device).await, Enrolment::Waiting);
    let waiting = site.waiting().await;
    assert_eq!(waiting[0].get("label"), None);
    let tokens = site.server.get("/api/v1/enrolment-tokens").await;
    assert!(!tokens.to_string().contains(&secret));
    if let crate::world::Database::Sqlite(directory) = &*site.database {
        for file in std::fs::read_dir(directory.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            let found = bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            assert!(!found, "the secret is on the disk");
        }
    }
}

/// Requests by a token, past the server, as if so many devices had asked with it.
async fn fill(site: &Site, token: &str, count: u32) {
    let mut connection = site.database.connection().await;
    let org = site.chain.lock().world.org.to_bytes().to_vec();
    let mut tx = connection.begin().await.unwrap();
    for number in 0..count {
        let mut handle = [0xfe; 32];
        handle[..4].copy_from_slice(&number.to_be_bytes());
        sqlx::query(
            "INSERT INTO enrolments (org, id, handle, token, suite, public_keys, binding, state, created_ms) \
             VALUES ($1, $2, $3, $4, 1, $3, $5, 'waiting', 1)",
        )
        .bind(org.clone())
        .bind(format!("enl_{number:032x}"))
        .bind(handle.to_vec())
        .bind(token.to_owned())
        .bind(vec![1; 16])
        .execute(&mut *tx)
        .await
        .unwrap();
    }
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_token_that_leaked_keeps_out_no_other_token_and_no_listed_device() {
    let site = Site::new().await;
    let (leaked, leaked_secret) = site.token(json!({})).await;
    let (_, other_secret) = site.token(json!({})).await;
    fill(&site, &leaked, 10_000).await;
    let mut late = site.field(7600, enrolling(&leaked_secret, "SN-1"));
    assert_eq!(ask(&site, &mut late).await, Enrolment::Refused);
    // The other token's devices have room, and so has a listed one, whichever token it has.
    let mut device = site.field(7601, enrolling(&other_secret, "SN-2"));
    assert_eq!(ask(&site, &mut device).await, Enrolment::Waiting);
    let labels = json!({ "labels": ["SN-3"] });
    site.server
        .ask(Method::PUT, "/api/v1/enrolment-labels", &labels)
        .await;
    let mut listed = site.field(7602, enrolling(&leaked_secret, "SN-3"));
    assert_eq!(ask(&site, &mut listed).await, Enrolment::Registered);
    // As soon as one is decided there is room again.
    let id = format!("enl_{:032x}", 0);
    let address = format!("/api/v1/enrolments/{id}/refuse");
    site.server.do_post(&address, json!(null)).await;
    let mut next = site.field(7603, enrolling(&leaked_secret, "SN-4"));
    assert_eq!(ask(&site, &mut next).await, Enrolment::Waiting);
}
