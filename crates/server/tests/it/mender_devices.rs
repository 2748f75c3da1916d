//! Stock Mender devices at the door: who is who, who gets a token, what ends one.

use crate::{
    browser::{Browser, forms},
    site::{How, Server, Site},
    world::{Got, World, call},
};
use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use kusabi_api::{Hex32, Kind};
use kusabi_core::id::Handle;
use kusabi_mender::testing::{Signer, pem_of, rsa_of};
use kusabi_server::{
    app::{By, Caller, Cut},
    http::mender,
};
use serde_json::{Value, json};
use sqlx::Connection as _;
use std::sync::{Arc, atomic::Ordering::SeqCst};

const ASK: &str = "/api/devices/v1/authentication/auth_requests";
const ATTRIBUTES: &str = "/api/devices/v1/inventory/device/attributes";
const DEVICES: &str = "/api/management/v2/devauth/devices";

/// A stock device: who it says it is, and its key.
pub(crate) struct Stock {
    pub(crate) identity: Value,
    pub(crate) signer: Signer,
}

impl Stock {
    pub(crate) fn new(mac: &str, signer: Signer) -> Self {
        Self {
            identity: json!({ "mac": mac }),
            signer,
        }
    }

    /// The body of its request for a token, as mender-client 3.4 writes it.
    pub(crate) fn body(&self) -> String {
        let mut body = json!({
            "id_data": self.identity.to_string(), "tenant_token": "", "pubkey": self.signer.pem(),
        })
        .to_string();
        body.push('\n');
        body
    }

    /// Asks for a token.
    pub(crate) async fn ask(&self, server: &Server) -> Got {
        let body = self.body();
        let signature = self.signer.sign(body.as_bytes());
        ask(server, body, &signature, "192.0.2.1").await
    }

    /// Its token, or the sentence that says why it has none.
    pub(crate) async fn token(&self, server: &Server) -> Result<String, String> {
        let got = self.ask(server).await;
        match got.status {
            StatusCode::OK => {
                assert_eq!(got.header("content-type"), "application/jwt");
                Ok(String::from_utf8(got.body.to_vec()).unwrap())
            }
            StatusCode::UNAUTHORIZED => Err(error(&got)),
            status => panic!("{status}: {:?}", got.body),
        }
    }
}

async fn ask(server: &Server, body: impl Into<Body>, signature: &str, source: &str) -> Got {
    let peer = std::net::SocketAddr::new(source.parse().unwrap(), 5000);
    let request = Request::post(ASK)
        .header("content-type", "application/json")
        .header("authorization", "API_KEY")
        .header("X-MEN-Signature", signature)
        .extension(axum::extract::ConnectInfo(peer))
        .body(body.into());
    device(server, request.unwrap()).await
}

/// A request of a device.
pub(crate) async fn device(server: &Server, request: Request<Body>) -> Got {
    call(&mender::device::router(Arc::clone(&server.app)), request).await
}

/// The sentence of an error in Mender's form, after checking that it is one.
#[track_caller]
fn error(got: &Got) -> String {
    assert_eq!(got.header("content-type"), "application/json");
    let error: Value = serde_json::from_slice(&got.body).unwrap();
    assert_eq!(error.as_object().unwrap().len(), 2, "{error}");
    assert_eq!(error["request_id"].as_str().unwrap().len(), 36);
    error["error"].as_str().unwrap().to_owned()
}

/// What a token is good for: 200, or 401 with nothing in it.
async fn is_good(server: &Server, token: &str) -> bool {
    let got = report(server, token, Method::PATCH, "[]").await;
    assert!(got.body.is_empty(), "{:?}", got.body);
    match got.status {
        StatusCode::OK => true,
        StatusCode::UNAUTHORIZED => false,
        status => panic!("{status}"),
    }
}

async fn report(server: &Server, token: &str, method: Method, body: impl Into<Body>) -> Got {
    let request = Request::builder()
        .method(method)
        .uri(ATTRIBUTES)
        .header("authorization", format!("Bearer {token}"))
        .body(body.into());
    device(server, request.unwrap()).await
}

/// The devices as the management API shows them.
async fn shown(server: &Server) -> Vec<Value> {
    let devices = server.get(DEVICES).await;
    devices.as_array().unwrap().clone()
}

/// Decides the newest auth set of the one device that there is.
async fn decide(server: &Server, status: &str) -> Got {
    let devices = shown(server).await;
    let [one] = &devices[..] else {
        panic!("{devices:?}");
    };
    let set = one["auth_sets"].as_array().unwrap().last().unwrap();
    set_status(server, one, set, status).await
}

async fn set_status(server: &Server, device: &Value, set: &Value, status: &str) -> Got {
    let (device, set) = (device["id"].as_str().unwrap(), set["id"].as_str().unwrap());
    let address = format!("{DEVICES}/{device}/auth/{set}/status");
    let body = json!({ "status": status });
    server.ask(Method::PUT, &address, &body).await
}

#[tokio::test]
async fn a_device_waits_until_it_is_accepted_and_then_has_a_token() {
    for signer in [Signer::rsa(), Signer::p256(1), Signer::ed25519(1)] {
        let site = Site::new().await;
        let server = &site.server;
        let stock = Stock::new("02:00:00:00:00:01", signer);
        for _ in 0..2 {
            let told = stock.token(server).await.unwrap_err();
            assert!(told.contains("waits to be accepted"), "{told}");
        }
        let devices = shown(server).await;
        assert_eq!(devices.len(), 1);
        assert_eq!(devices[0]["status"], "pending");
        assert_eq!(devices[0]["identity_data"], stock.identity);
        assert_eq!(devices[0]["auth_sets"][0]["pubkey"], stock.signer.pem());
        let id = devices[0]["id"].as_str().unwrap();
        // Nothing of it stands on the ledger, and it is none of the fleet.
        let got = server
            .ask(Method::GET, &format!("/api/v1/devices/{id}"), &Value::Null)
            .await;
        assert_eq!(got.status, StatusCode::NOT_FOUND);
        let got = decide(server, "accepted").await;
        assert_eq!(got.status, StatusCode::NO_CONTENT, "{:?}", got.body);
        let token = stock.token(server).await.unwrap();
        assert!(is_good(server, &token).await);
        let known = server.get(&format!("/api/v1/devices/{id}")).await;
        assert_eq!(known["class"], "mender");
        assert_eq!(known["state"], "active");
        assert_eq!(known["keys"].as_array().unwrap().len(), 1);
        assert_eq!(shown(server).await[0]["status"], "accepted");
    }
}

impl Stock {
    /// Asks, is accepted, and has a token.
    pub(crate) async fn accepted(&self, server: &Server) -> String {
        assert!(self.token(server).await.is_err());
        let set = self.set(server).await;
        server
            .do_post(
                &format!("/api/v1/mender/auth-sets/{set}/accept"),
                Value::Null,
            )
            .await;
        self.token(server).await.unwrap()
    }

    /// The device as the server has it.
    async fn shown(&self, server: &Server) -> Value {
        let devices = shown(server).await;
        let mine = |device: &Value| device["identity_data"] == self.identity;
        devices.iter().find(|device| mine(device)).unwrap().clone()
    }

    /// The ID of its auth set.
    async fn set(&self, server: &Server) -> String {
        let device = self.shown(server).await;
        let pem = self.signer.pem();
        let sets = device["auth_sets"].as_array().unwrap();
        let mine = sets.iter().find(|set| set["pubkey"] == pem.as_str());
        mine.unwrap()["id"].as_str().unwrap().to_owned()
    }

    async fn id(&self, server: &Server) -> String {
        self.shown(server).await["id"].as_str().unwrap().to_owned()
    }

    /// The handle of its key.
    async fn handle(&self, server: &Server) -> Handle {
        let id = self.id(server).await;
        let device = server.get(&format!("/api/v1/mender/devices/{id}")).await;
        let pem = self.signer.pem();
        let sets = device["auth_sets"].as_array().unwrap();
        let mine = sets.iter().find(|set| set["key"] == pem.as_str()).unwrap();
        let handle: Hex32 = mine["handle"].as_str().unwrap().parse().unwrap();
        Handle::new(handle.0)
    }
}

#[tokio::test]
async fn only_a_signature_of_these_bytes_by_the_key_in_them_counts() {
    let site = Site::new().await;
    let server = &site.server;
    for signer in [Signer::rsa(), Signer::p256(1), Signer::ed25519(1)] {
        let stock = Stock::new("02:00:00:00:00:01", signer);
        let body = stock.body();
        let good = stock.signer.sign(body.as_bytes());
        let other = Signer::p256(2).sign(body.as_bytes());
        let without_end = body.trim_end().to_owned();
        let spaced = body.replacen(',', ", ", 1);
        let renamed = body.replace("00:01", "00:02");
        let mut cut = good.clone();
        cut.truncate(good.len() - 4);
        for (body, signature) in [
            (&body, &*other),
            (&body, ""),
            (&body, "API_KEY"),
            (&body, &*cut),
            (&body, &*format!("{good}{good}")),
            (&without_end, &*good),
            (&spaced, &*good),
            (&renamed, &*good),
        ] {
            let got = ask(server, body.clone(), signature, "192.0.2.1").await;
            assert_eq!(got.status, StatusCode::UNAUTHORIZED, "{body} {signature}");
            assert!(error(&got).contains("no signature"), "{:?}", got.body);
        }
        assert!(shown(server).await.is_empty(), "nothing of it is kept");
    }
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_what_5_1_adds_is_passed_over() {
    let site = Site::new().await;
    let server = &site.server;
    let signer = Signer::ed25519(1);
    let identity = json!({ "mac": "02" }).to_string();
    let ec_p384 = concat!(
        "-----BEGIN PUBLIC KEY-----\n",
        "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEotKI2lwSE1Z3K2/kycYzptztfwmiMwEc\n",
        "RWQwUiXgxgkfNSMnuRrhWH9VGtI2HDWHhRCUnsXsSxxduYHsqBsoq1wEP4cFcf/2\n",
        "g5GvY2aiJURWyyDd05w0X7y6xYsYLLvH\n-----END PUBLIC KEY-----\n"
    );
    for (body, why) in [
        (String::new(), "the request for a token"),
        (String::from("{}"), "the request for a token"),
        (json!({ "id_data": identity }).to_string(), "pubkey"),
        (json!({ "id_data": identity, "pubkey": 7 }).to_string(), "request"),
        (json!({ "id_data": identity, "pubkey": "" }).to_string(), "pubkey"),
        (json!({ "id_data": identity, "pubkey": ec_p384 }).to_string(), "P-256"),
        (
            json!({ "id_data": identity, "pubkey": pem_of(&rsa_of(128)) }).to_string(),
            "2048 to 8192 bits",
        ),
        (
            json!({ "id_data": identity, "pubkey": pem_of(&rsa_of(255)) }).to_string(),
            "2048 to 8192 bits",
        ),
        (
            json!({ "id_data": identity, "pubkey": pem_of(&rsa_of(1025)) }).to_string(),
            "2048 to 8192 bits",
        ),
        (json!({ "id_data": "{}", "pubkey": signer.pem() }).to_string(), "at least one value"),
        (json!({ "id_data": "x", "pubkey": signer.pem() }).to_string(), "id_data"),
        (
            json!({ "id_data": r#"{"mac":7}"#, "pubkey": signer.pem() }).to_string(),
            "id_data",
        ),
        (
            json!({ "id_data": format!(r#"{{"mac":"{}"}}"#, "x".repeat(4096)), "pubkey": signer.pem() })
                .to_string(),
            "4096 bytes",
        ),
    ] {
        let signature = signer.sign(body.as_bytes());
        let got = ask(server, body.clone(), &signature, "192.0.2.1").await;
        assert_eq!(got.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(error(&got).contains(why), "{body}: {:?}", got.body);
    }
    let got = ask(server, "x".repeat(64 * 1024 + 1), "", "192.0.2.1").await;
    assert_eq!(got.status, StatusCode::PAYLOAD_TOO_LARGE);
    error(&got);
    assert!(shown(server).await.is_empty());
    // mender 5.1: another order, another field, no line end.
    let body =
        json!({ "tier": "standard", "pubkey": signer.pem(), "id_data": identity }).to_string();
    let signature = signer.sign(body.as_bytes());
    let got = ask(server, body, &signature, "192.0.2.1").await;
    assert_eq!(got.status, StatusCode::UNAUTHORIZED);
    assert_eq!(shown(server).await.len(), 1);
    // The same in 3.4's words is the same auth set.
    let same = Stock {
        identity: json!({ "mac": "02" }),
        signer,
    };
    assert!(same.token(server).await.is_err());
    assert_eq!(
        shown(server).await[0]["auth_sets"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn a_request_that_is_said_again_gets_another_token_and_few_are_kept() {
    let site = Site::new().await;
    let server = &site.server;
    let stock = Stock::new("02:00:00:00:00:01", Signer::rsa());
    let mut tokens = vec![stock.accepted(server).await];
    // The same bytes each time: it is RSA, and the protocol has nothing that changes.
    let body = stock.body();
    assert_eq!(
        stock.signer.sign(body.as_bytes()),
        stock.signer.sign(body.as_bytes())
    );
    for _ in 0..6 {
        site.edge.now_ms.fetch_add(1, SeqCst);
        tokens.push(stock.token(server).await.unwrap());
    }
    let mut good = 0;
    for token in tokens.iter().rev() {
        good += u32::from(is_good(server, token).await);
    }
    assert_eq!(good, 5);
    assert!(is_good(server, tokens.last().unwrap()).await);
    // Too often is too often, and the ones that there are stay good.
    let mut crowded = None;
    for _ in 0..8 {
        let got = stock.ask(server).await;
        if got.status == StatusCode::TOO_MANY_REQUESTS {
            crowded = Some(got);
            break;
        }
    }
    let crowded = crowded.unwrap();
    error(&crowded);
    assert!(crowded.header("retry-after").parse::<u32>().unwrap() >= 1);
    // A token is over after a week.
    let last = tokens.last().unwrap();
    site.edge.now_ms.fetch_add(7 * 24 * 60 * 60 * 1000, SeqCst);
    assert!(!is_good(server, last).await);
    for none in ["", "kusabi_mender_", &server.operator] {
        assert!(!is_good(server, none).await);
    }
}

#[tokio::test]
async fn a_rejected_device_has_nothing_and_may_be_accepted_again() {
    let site = Site::new().await;
    let server = &site.server;
    let stock = Stock::new("02:00:00:00:00:01", Signer::p256(1));
    let token = stock.accepted(server).await;
    assert!(is_good(server, &token).await);
    for _ in 0..2 {
        let got = decide(server, "rejected").await;
        assert_eq!(got.status, StatusCode::NO_CONTENT);
        assert!(!is_good(server, &token).await);
        let told = stock.token(server).await.unwrap_err();
        assert!(told.contains("rejected"), "{told}");
    }
    let got = decide(server, "pending").await;
    assert_eq!(got.status, StatusCode::BAD_REQUEST);
    error(&got);
    assert_eq!(
        decide(server, "accepted").await.status,
        StatusCode::NO_CONTENT
    );
    assert!(
        !is_good(server, &token).await,
        "what ended does not come back"
    );
    let token = stock.token(server).await.unwrap();
    assert!(is_good(server, &token).await);
    let id = stock.id(server).await;
    let kinds = server.timeline(&id).await;
    assert!(kinds.contains(&String::from("accepted")), "{kinds:?}");
    assert!(kinds.contains(&String::from("rejected")), "{kinds:?}");
    let log = server.app.audit_log(&Cut::default()).await.unwrap();
    let acts: Vec<&str> = log.items.iter().map(|entry| &*entry.act).collect();
    for act in ["mender.accept", "mender.register", "mender.reject"] {
        assert!(acts.contains(&act), "{acts:?}");
    }
}

#[tokio::test]
async fn a_further_key_of_a_device_takes_the_place_of_the_one_before() {
    let site = Site::new().await;
    let server = &site.server;
    let old = Stock::new("02:00:00:00:00:01", Signer::p256(1));
    let token = old.accepted(server).await;
    let id = old.id(server).await;
    let new = Stock::new("02:00:00:00:00:01", Signer::ed25519(2));
    assert!(new.token(server).await.is_err());
    assert_eq!(new.id(server).await, id, "it is the same device");
    assert!(
        is_good(server, &token).await,
        "who only asks takes nothing away"
    );
    // It is among those who wait, though it is served.
    let waiting = server.get("/api/v1/mender/devices?state=pending").await;
    assert_eq!(waiting["items"][0]["id"], id.as_str());
    assert_eq!(waiting["items"][0]["state"], "accepted");
    let set = new.set(server).await;
    server
        .do_post(
            &format!("/api/v1/mender/auth-sets/{set}/accept"),
            Value::Null,
        )
        .await;
    assert!(!is_good(server, &token).await);
    let told = old.token(server).await.unwrap_err();
    assert!(told.contains("rejected"), "{told}");
    let token = new.token(server).await.unwrap();
    assert!(is_good(server, &token).await);
    site.settled().await;
    let known = server.get(&format!("/api/v1/devices/{id}")).await;
    assert_eq!(known["keys"].as_array().unwrap().len(), 2);
    let all = server.get("/api/v1/devices").await;
    assert_eq!(
        all["items"].as_array().unwrap().len(),
        1,
        "one device, whatever the follower saw first"
    );
    // The key before is revoked, as it should be: that ends nothing of the one that counts.
    site.revoke(old.handle(server).await);
    let both = async || {
        let known = server.get(&format!("/api/v1/devices/{id}")).await;
        known["keys"]
            .as_array()
            .unwrap()
            .iter()
            .any(|key| key["status"] == "revoked")
    };
    server.until(both).await;
    assert!(is_good(server, &token).await);
    assert_eq!(server.state(&id).await, "active");
    // A rebuild finds the same.
    let by = By::only(Caller::server());
    server.app.rebuild(&by).await.unwrap();
    let known = server.get(&format!("/api/v1/devices/{id}")).await;
    assert_eq!(known["keys"].as_array().unwrap().len(), 2);
    assert_eq!(known["state"], "active");
    let all = server.get("/api/v1/devices").await;
    assert_eq!(all["items"].as_array().unwrap().len(), 1);
    assert!(is_good(server, &token).await);
}

#[tokio::test]
async fn what_the_ledger_revokes_ends_with_the_next_call_at_every_server() {
    let site = Site::new().await;
    let server = &site.server;
    let other = site.another(How::default()).await;
    let stock = Stock::new("02:00:00:00:00:01", Signer::rsa());
    let token = stock.accepted(server).await;
    assert!(is_good(server, &token).await && is_good(&other, &token).await);
    site.revoke(stock.handle(server).await);
    server.until(async || !is_good(server, &token).await).await;
    // The other one has not followed by itself, perhaps: it is in the database that they share.
    assert!(!is_good(&other, &token).await);
    let id = stock.id(server).await;
    assert_eq!(server.state(&id).await, "revoked");
    let told = stock.token(&other).await.unwrap_err();
    assert!(told.contains("revoked"), "{told}");
    // It does not come back, neither by accepting it again nor under another name.
    for status in ["rejected", "accepted"] {
        let got = decide(server, status).await;
        match status {
            "rejected" => assert_eq!(got.status, StatusCode::NO_CONTENT),
            _ => {
                assert_eq!(got.status, StatusCode::UNPROCESSABLE_ENTITY);
                assert!(error(&got).contains("revoked"), "{:?}", got.body);
            }
        }
    }
    let renamed = Stock::new("02:00:00:00:00:02", Signer::rsa());
    let told = renamed.token(server).await.unwrap_err();
    assert!(told.contains("revoked"), "{told}");
    assert_eq!(shown(server).await.len(), 1);
    let vouch = json!({ "identity": renamed.identity, "key": renamed.signer.pem() });
    let got = server
        .ask(Method::POST, "/api/v1/mender/devices", &vouch)
        .await;
    assert_eq!(got.kind(), Kind::Unfit);
    // It comes with a new key, and is the device that it was.
    let again = Stock::new("02:00:00:00:00:01", Signer::p256(7));
    let token = again.accepted(server).await;
    assert!(is_good(&other, &token).await);
    assert_eq!(again.id(server).await, id);
    assert_eq!(server.state(&id).await, "active");
    other.stop().await;
}

#[tokio::test]
async fn a_key_that_was_accepted_under_two_identities_ends_with_either() {
    let site = Site::new().await;
    let server = &site.server;
    // One image with a key in it on two devices.
    let one = Stock::new("02:00:00:00:00:01", Signer::rsa());
    let two = Stock::new("02:00:00:00:00:02", Signer::rsa());
    let tokens = [one.accepted(server).await, two.accepted(server).await];
    for token in &tokens {
        assert!(is_good(server, token).await);
    }
    site.revoke(two.handle(server).await);
    for token in &tokens {
        server.until(async || !is_good(server, token).await).await;
    }
    for stock in [one, two] {
        let told = stock.token(server).await.unwrap_err();
        assert!(told.contains("revoked"), "{told}");
        // Nobody is told that it was accepted.
        let shown = stock.shown(server).await;
        let got = set_status(server, &shown, &shown["auth_sets"][0], "accepted").await;
        assert!(got.status.is_client_error(), "{:?}", got.body);
    }
}

#[tokio::test]
async fn a_node_that_hides_a_revocation_gets_the_device_no_further_token() {
    let site = Site::new().await;
    let server = &site.server;
    let stock = Stock::new("02:00:00:00:00:01", Signer::p256(1));
    let token = stock.accepted(server).await;
    site.settled().await;
    site.chain.hides.store(true, SeqCst);
    site.revoke(stock.handle(server).await);
    site.settled().await;
    assert!(
        is_good(server, &token).await,
        "what it has is good for a week: nobody has said otherwise"
    );
    let told = stock.token(server).await.unwrap_err();
    assert!(told.contains("revoked"), "{told}");
    assert!(!is_good(server, &token).await, "it was found out");
    // A ledger that does not answer takes no token away.
    let other = Stock::new("02:00:00:00:00:02", Signer::p256(2));
    site.chain.hides.store(false, SeqCst);
    other.accepted(server).await;
    site.chain.gone.store(true, SeqCst);
    assert!(other.token(server).await.is_ok());
    assert!(
        stock.token(server).await.is_err(),
        "what was proven stays so"
    );
}

#[tokio::test]
async fn a_node_that_makes_a_revocation_up_ends_nothing() {
    let site = Site::new().await;
    let server = &site.server;
    let stock = Stock::new("02:00:00:00:00:01", Signer::p256(1));
    let token = stock.accepted(server).await;
    let (id, handle) = (stock.id(server).await, stock.handle(server).await);
    let device = site.active().await;
    let quarantine = format!("/api/v1/devices/{}/quarantine", device.id);
    server.do_post(&quarantine, Value::Null).await;
    site.settled().await;
    let revoked = |handle: Handle| kusabi_api::ledger::Event {
        index: 0,
        id: kusabi_core::id::TxId::new([9; 32]),
        action: "revoke".into(),
        organisation: Some(kusabi_api::Hex(site.chain.lock().world.org.to_bytes())),
        added: Vec::new(),
        ended: vec![handle.to_bytes().into()],
        moved: None,
        digest: None,
    };
    let none = Handle::new([7; 32]);
    let lies = [device.current(), handle, none].map(revoked);
    let mut changes = server.app.ledger_changes();
    site.chain.invents.lock().unwrap().extend(lies);
    site.chain.heartbeat();
    let told = async { while changes.recv().await.unwrap() != none {} };
    tokio::time::timeout(std::time::Duration::from_secs(20), told)
        .await
        .unwrap();
    assert!(is_good(server, &token).await);
    assert!(stock.token(server).await.is_ok());
    assert_eq!(server.state(&id).await, "active");
    assert_eq!(server.state(&device.id).await, "quarantined");
    // What is true is done.
    site.revoke(handle);
    server.until(async || !is_good(server, &token).await).await;
    assert_eq!(server.state(&id).await, "revoked");
}

#[tokio::test]
async fn a_node_that_makes_a_successor_up_ends_no_token() {
    let site = Site::new().await;
    let server = &site.server;
    let stock = Stock::new("02:00:00:00:00:01", Signer::p256(1));
    let token = stock.accepted(server).await;
    let (id, handle) = (stock.id(server).await, stock.handle(server).await);
    // A key that is there, and follows on nothing; and one that is not.
    let other = site.active().await;
    let none = Handle::new([7; 32]);
    let before = server.timeline(&id).await;
    let follows = |action: &'static str, new: Handle| kusabi_api::ledger::Event {
        index: 0,
        id: kusabi_core::id::TxId::new([9; 32]),
        action: action.into(),
        organisation: Some(kusabi_api::Hex(site.chain.lock().world.org.to_bytes())),
        added: vec![new.to_bytes().into()],
        ended: vec![handle.to_bytes().into()],
        moved: None,
        digest: None,
    };
    let lies = [
        follows("supersede", other.current()),
        follows("activate", none),
        follows("supersede", none),
    ];
    let mut changes = server.app.ledger_changes();
    site.chain.invents.lock().unwrap().extend(lies);
    site.chain.heartbeat();
    let told = async { while changes.recv().await.unwrap() != none {} };
    tokio::time::timeout(std::time::Duration::from_secs(20), told)
        .await
        .unwrap();
    assert!(is_good(server, &token).await);
    assert!(stock.token(server).await.is_ok());
    assert_eq!(server.state(&id).await, "active");
    assert_eq!(server.timeline(&id).await, before);
    // What is true is done.
    site.revoke(handle);
    server.until(async || !is_good(server, &token).await).await;
}

#[tokio::test]
async fn a_node_that_keeps_a_registration_back_and_says_it_was_done_keeps_no_device_out_for_good() {
    let site = Site::new().await;
    let server = &site.server;
    let stock = Stock::new("02:00:00:00:00:01", Signer::p256(1));
    assert!(stock.token(server).await.is_err());
    site.chain.waits.store(true, SeqCst);
    let got = decide(server, "accepted").await;
    assert_eq!(got.status, StatusCode::NO_CONTENT);
    let kept = site.chain.waiting.lock().unwrap().clone();
    assert!(!kept.is_empty());
    let handle = stock.handle(server).await;
    let mut changes = server.app.ledger_changes();
    site.chain.make_up(&kept);
    let told = async { while changes.recv().await.unwrap() != handle {} };
    tokio::time::timeout(std::time::Duration::from_secs(20), told)
        .await
        .unwrap();
    // It is not final, whatever the node says, and is brought again.
    let got = stock.ask(server).await;
    assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE);
    site.chain.waits.store(false, SeqCst);
    let token = stock.token(server).await.unwrap();
    assert!(is_good(server, &token).await);
    assert_eq!(server.state(&stock.id(server).await).await, "active");
}

#[tokio::test]
async fn a_key_that_is_not_final_yet_is_no_key_that_was_revoked() {
    let site = Site::new().await;
    let server = &site.server;
    let stock = Stock::new("02:00:00:00:00:01", Signer::p256(1));
    assert!(stock.token(server).await.is_err());
    site.chain.waits.store(true, SeqCst);
    let got = decide(server, "accepted").await;
    assert_eq!(got.status, StatusCode::NO_CONTENT);
    let got = stock.ask(server).await;
    assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(error(&got).contains("try again"), "{:?}", got.body);
    // One that cannot put it there says what to do.
    let reader = How {
        writes: false,
        ..How::default()
    };
    let other = site.another(reader).await;
    let told = stock.token(&other).await.unwrap_err();
    assert!(told.contains("--writer"), "{told}");
    site.chain.waits.store(false, SeqCst);
    let token = stock.token(server).await.unwrap();
    assert!(is_good(server, &token).await);
    assert!(stock.token(&other).await.is_ok());
    other.stop().await;
}

#[tokio::test]
async fn strangers_behind_the_same_address_keep_no_device_from_its_token() {
    let site = Site::new().await;
    let server = &site.server;
    let stock = Stock::new("02:00:00:00:00:01", Signer::rsa());
    stock.accepted(server).await;
    // How a source is answered that asks until it has asked too often.
    let crowds = async |body: &str, signature: &str, source: &str| {
        for before in 0..5000 {
            let got = ask(server, body.to_owned(), signature, source).await;
            if got.status == StatusCode::TOO_MANY_REQUESTS {
                return before;
            }
            assert!(got.status.is_client_error(), "{}", got.status);
        }
        panic!("it may ask as often as it likes");
    };
    let stranger = Stock::new("02:00:00:00:00:01", Signer::ed25519(9)).body();
    assert!(crowds(&stranger, "", "192.0.2.1").await > 40);
    assert!(stock.token(server).await.is_ok());
    crowds("", "", "192.0.2.1").await;
    assert!(stock.token(server).await.is_ok());
    // Nor does one who says its name with its key and cannot sign, from elsewhere: signatures cost.
    assert!(crowds(&stock.body(), "", "192.0.2.9").await >= 64);
    assert!(stock.token(server).await.is_ok());
}

#[tokio::test]
async fn a_device_that_somebody_vouched_for_is_served_when_it_comes() {
    let site = Site::new().await;
    let server = &site.server;
    let stock = Stock::new("02:00:00:00:00:01", Signer::ed25519(1));
    let vouch = json!({ "identity_data": stock.identity, "pubkey": stock.signer.pem() });
    let got = server.ask(Method::POST, DEVICES, &vouch).await;
    assert_eq!(got.status, StatusCode::CREATED, "{:?}", got.body);
    let place = got.header("location").to_owned();
    let there = server.get(&place).await;
    assert_eq!(there["status"], "preauthorized");
    let got = server.ask(Method::POST, DEVICES, &vouch).await;
    assert_eq!(got.status, StatusCode::CONFLICT);
    error(&got);
    // A line of the identity was forgotten, or one is mistyped: its device would never come.
    let other = Stock::new("02:00:00:00:00:03", Signer::ed25519(1));
    let mistyped = json!({ "identity_data": other.identity, "pubkey": other.signer.pem() });
    let got = server.ask(Method::POST, DEVICES, &mistyped).await;
    assert_eq!(got.status, StatusCode::UNPROCESSABLE_ENTITY);
    error(&got);
    let handle = stock.handle(server).await;
    assert!(site.chain.lock().record(&handle).is_some());
    let liar = Stock::new("02:00:00:00:00:01", Signer::ed25519(2));
    assert!(
        liar.token(server).await.is_err(),
        "it vouches for the key, not for the name"
    );
    let token = stock.token(server).await.unwrap();
    assert!(is_good(server, &token).await);
    assert_eq!(stock.shown(server).await["status"], "accepted");
    assert_eq!(
        server
            .timeline(&stock.id(server).await)
            .await
            .last()
            .unwrap(),
        "accepted"
    );
    // One that waits is vouched for, too.
    let known = json!({ "identity": liar.identity, "key": liar.signer.pem() });
    let got = server
        .ask(Method::POST, "/api/v1/mender/devices", &known)
        .await;
    assert_eq!(got.status, StatusCode::CREATED, "{:?}", got.body);
    assert!(
        is_good(server, &token).await,
        "until it comes, the other one is served"
    );
    let token_of_liar = liar.token(server).await.unwrap();
    assert!(is_good(server, &token_of_liar).await);
    assert!(!is_good(server, &token).await);
}

#[tokio::test]
async fn without_a_writer_nobody_is_accepted_and_the_sentence_says_what_to_do() {
    let site = Site::of(How {
        writes: false,
        ..How::default()
    })
    .await;
    let server = &site.server;
    let stock = Stock::new("02:00:00:00:00:01", Signer::p256(1));
    assert!(stock.token(server).await.is_err());
    let got = decide(server, "accepted").await;
    assert_eq!(got.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(error(&got).contains("--writer"), "{:?}", got.body);
    assert_eq!(shown(server).await[0]["status"], "pending");
}

#[tokio::test]
async fn what_was_accepted_while_the_ledger_was_slow_is_done_when_the_device_comes() {
    let site = Site::new().await;
    let server = &site.server;
    let stock = Stock::new("02:00:00:00:00:01", Signer::p256(1));
    assert!(stock.token(server).await.is_err());
    site.chain.gone.store(true, SeqCst);
    let got = decide(server, "accepted").await;
    assert!(got.status.is_server_error(), "{}", got.status);
    error(&got);
    assert_eq!(
        shown(server).await[0]["status"],
        "pending",
        "nothing was said to be done"
    );
    site.chain.gone.store(false, SeqCst);
    site.chain.slow.store(true, SeqCst);
    let got = decide(server, "accepted").await;
    assert_eq!(got.status, StatusCode::NO_CONTENT);
    assert_eq!(shown(server).await[0]["status"], "accepted");
    site.chain.slow.store(false, SeqCst);
    let token = stock.token(server).await.unwrap();
    assert!(is_good(server, &token).await);
}

#[tokio::test]
async fn strangers_fill_neither_the_list_nor_a_devices_own() {
    let site = Site::new().await;
    let server = &site.server;
    // Anyone can say that he is this device.
    for seed in 1..=4 {
        let stock = Stock::new("02:00:00:00:00:01", Signer::ed25519(seed));
        assert!(stock.token(server).await.is_err());
    }
    let fifth = Stock::new("02:00:00:00:00:01", Signer::ed25519(5));
    let told = fifth.token(server).await.unwrap_err();
    assert!(told.contains("others ask under this identity"), "{told}");
    assert_eq!(
        shown(server).await[0]["auth_sets"]
            .as_array()
            .unwrap()
            .len(),
        4
    );
    // The true one gets in all the same, by its key.
    let vouch = json!({ "identity": fifth.identity, "key": fifth.signer.pem() });
    server.do_post("/api/v1/mender/devices", vouch).await;
    assert!(fifth.token(server).await.is_ok());
    // A source asks so often and no more, whatever it says.
    let mut crowded = 0;
    for _ in 0..100 {
        let got = ask(server, "", "", "198.51.100.7").await;
        match got.status {
            StatusCode::BAD_REQUEST => {}
            StatusCode::TOO_MANY_REQUESTS => crowded += 1,
            status => panic!("{status}"),
        }
    }
    assert!(crowded > 20, "{crowded}");
    let other = Stock::new("02:00:00:00:00:02", Signer::p256(1));
    assert!(
        other
            .token(server)
            .await
            .unwrap_err()
            .contains("waits to be accepted")
    );
}

#[tokio::test]
async fn of_those_who_wait_no_source_has_more_than_half_and_who_fell_silent_gives_way() {
    let site = Site::new().await;
    let server = &site.server;
    let first = Stock::new("first", Signer::ed25519(1));
    assert!(first.token(server).await.is_err());
    // As many as one source may have: rows like the first one's.
    let set = first.set(server).await;
    let mut into = site.database.connection().await;
    let mut tx = into.begin().await.unwrap();
    let numbers: Vec<u32> = (1..10_000).collect();
    for some in numbers.chunks(250) {
        let rows: Vec<String> = (0..some.len())
            .map(|row| format!("(${}, ${})", 2 * row + 2, 2 * row + 3))
            .collect();
        let sql = format!(
            "INSERT INTO mender_auth_sets (org, id, device, spki, spki_digest, handle, binding, state, source, created_ms, asked_ms) \
             SELECT s.org, n.column1, n.column1, s.spki, s.spki_digest, n.column2, s.binding, s.state, s.source, s.created_ms, s.asked_ms \
             FROM mender_auth_sets s, (VALUES {}) AS n WHERE s.id = $1",
            rows.join(", ")
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(set.clone());
        for number in some {
            let handle = kusabi_core::crypto::sha256(&[&number.to_be_bytes()]);
            query = query.bind(format!("mas_{number}")).bind(handle.to_vec());
        }
        query.execute(&mut *tx).await.unwrap();
    }
    tx.commit().await.unwrap();
    into.close().await.unwrap();
    let late = Stock::new("late", Signer::ed25519(2));
    let told = late.token(server).await.unwrap_err();
    assert!(told.contains("too many devices wait"), "{told}");
    let body = late.body();
    let signature = late.signer.sign(body.as_bytes());
    let got = ask(server, body, &signature, "203.0.113.1").await;
    assert!(
        error(&got).contains("waits to be accepted"),
        "another source has room"
    );
    // A week later those who do not ask any more make room.
    site.edge.now_ms.fetch_add(8 * 24 * 60 * 60 * 1000, SeqCst);
    let later = Stock::new("later", Signer::ed25519(3));
    let told = later.token(server).await.unwrap_err();
    assert!(told.contains("waits to be accepted"), "{told}");
}

#[tokio::test]
async fn a_devices_inventory_is_replaced_added_to_and_bounded() {
    let site = Site::new().await;
    let server = &site.server;
    let stock = Stock::new("02:00:00:00:00:01", Signer::p256(1));
    let token = stock.accepted(server).await;
    let id = stock.id(server).await;
    let say = async |method: Method, body: Value| {
        let got = report(server, &token, method, body.to_string()).await;
        assert_eq!(got.status, StatusCode::OK, "{:?}", got.body);
        assert!(got.body.is_empty());
    };
    let kept = async || {
        let detail = server.get(&format!("/api/v1/mender/devices/{id}")).await;
        detail["attributes"].clone()
    };
    say(
        Method::PUT,
        json!([
            { "name": "device_type", "value": "board" },
            { "name": "ipv4", "value": ["192.0.2.7/24", "198.51.100.7/24"] },
            { "name": "kernel", "value": "6.1", "description": "passed over" },
        ]),
    )
    .await;
    assert_eq!(
        kept().await,
        json!([
            { "name": "device_type", "value": "board" },
            { "name": "ipv4", "value": ["192.0.2.7/24", "198.51.100.7/24"] },
            { "name": "kernel", "value": "6.1" },
        ])
    );
    let device_type = async || server.get(&format!("/api/v1/devices/{id}")).await["type"].clone();
    assert_eq!(device_type().await, "board");
    say(
        Method::PATCH,
        json!([{ "name": "kernel", "value": "6.6" }, { "name": "note", "value": "a\u{0}b" }]),
    )
    .await;
    assert_eq!(kept().await.as_array().unwrap().len(), 4);
    assert_eq!(kept().await[2]["value"], "6.6");
    assert_eq!(kept().await[3]["value"], "a\u{0}b");
    // The type is what it was: it decides what is installed.
    say(
        Method::PUT,
        json!([{ "name": "device_type", "value": "other" }]),
    )
    .await;
    assert_eq!(device_type().await, "board");
    assert_eq!(kept().await.as_array().unwrap().len(), 1);
    // What says nothing new is no event.
    let before = server.timeline(&id).await.len();
    say(
        Method::PUT,
        json!([{ "name": "device_type", "value": "other" }]),
    )
    .await;
    say(Method::PATCH, json!([])).await;
    assert_eq!(server.timeline(&id).await.len(), before);
    let long = "x".repeat(1025);
    let many: Vec<Value> = (0..513)
        .map(|number| json!({ "name": number.to_string(), "value": "" }))
        .collect();
    for (body, status) in [
        (String::from("{}"), StatusCode::BAD_REQUEST),
        (String::from("[{}]"), StatusCode::BAD_REQUEST),
        (
            json!([{ "name": "a", "value": 7 }]).to_string(),
            StatusCode::BAD_REQUEST,
        ),
        (
            json!([{ "name": "a", "value": [["b"]] }]).to_string(),
            StatusCode::BAD_REQUEST,
        ),
        (
            json!([{ "name": "", "value": "b" }]).to_string(),
            StatusCode::BAD_REQUEST,
        ),
        (
            json!([{ "name": long, "value": "b" }]).to_string(),
            StatusCode::BAD_REQUEST,
        ),
        (json!(many).to_string(), StatusCode::PAYLOAD_TOO_LARGE),
        ("x".repeat(64 * 1024 + 1), StatusCode::PAYLOAD_TOO_LARGE),
        (
            // Short as it comes, long as it is written.
            format!(r#"[{{"name":"a","value":"{}"}}]"#, "\\b".repeat(8_000)),
            StatusCode::OK,
        ),
    ] {
        let got = report(server, &token, Method::PUT, body.clone()).await;
        assert_eq!(got.status, status, "{body:.80}");
        if status != StatusCode::OK {
            error(&got);
        }
    }
    // Parts that are small are not more than there may be when they are put together.
    let mut refused = None;
    for number in 0..8 {
        let part = json!([{ "name": number.to_string(), "value": "x".repeat(10_000) }]);
        let got = report(server, &token, Method::PATCH, part.to_string()).await;
        if got.status != StatusCode::OK {
            refused = Some(got);
            break;
        }
    }
    let refused = refused.unwrap();
    assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
    let shown = server.get("/api/management/v1/inventory/devices").await;
    assert_eq!(shown[0]["id"], id.as_str());
    let attributes = shown[0]["attributes"].as_array().unwrap();
    assert!(
        attributes
            .contains(&json!({ "name": "mac", "value": "02:00:00:00:00:01", "scope": "identity" }))
    );
    // It was heard.
    server.app.write_mender_contacts().await.unwrap();
    let known = server.get(&format!("/api/v1/devices/{id}")).await;
    assert_eq!(known["last_contact_ms"], site.edge.now_ms.load(SeqCst));
}

#[tokio::test]
async fn a_stock_device_is_ordered_nothing_that_it_does_not_know() {
    let site = Site::new().await;
    let server = &site.server;
    let stock = Stock::new("02:00:00:00:00:01", Signer::p256(1));
    stock.accepted(server).await;
    let id = stock.id(server).await;
    let made = server
        .do_post("/api/v1/groups", json!({ "name": "all" }))
        .await;
    let group = made["id"].as_str().unwrap();
    let member = format!("/api/v1/groups/{group}/devices/{id}");
    let put = server.ask(Method::PUT, &member, &Value::Null).await;
    assert!(put.status.is_success(), "{:?}", put.body);
    for kind in ["report", "rotate"] {
        let order = json!({ "kind": kind, "target": { "device": id } });
        let got = server.ask(Method::POST, "/api/v1/orders", &order).await;
        assert_eq!(got.kind(), Kind::Unfit);
        let order = json!({ "kind": kind, "target": { "group": group } });
        let made = server.do_post("/api/v1/orders", order).await;
        assert_eq!(made["devices"], 0);
    }
    assert!(server.orders(&id).await.is_empty());
}

#[tokio::test]
async fn a_body_in_chunks_is_a_body() {
    let site = Site::new().await;
    let server = &site.server;
    let stock = Stock::new("02:00:00:00:00:01", Signer::p256(1));
    let token = stock.accepted(server).await;
    let parts = [r#"[{"name":"device_"#, r#"type","value":"#, r#""board"}]"#];
    let parts =
        parts.map(|part| Ok::<_, std::io::Error>(bytes::Bytes::from_static(part.as_bytes())));
    let body = Body::from_stream(futures_util::stream::iter(parts));
    let got = report(server, &token, Method::PUT, body).await;
    assert_eq!(got.status, StatusCode::OK, "{:?}", got.body);
    let id = stock.id(server).await;
    assert_eq!(
        server.get(&format!("/api/v1/devices/{id}")).await["type"],
        "board"
    );
}

#[tokio::test]
async fn a_refusal_at_the_devices_door_has_an_empty_body_where_a_token_is_shown() {
    let site = Site::new().await;
    let server = &site.server;
    for token in ["", "x", "kusabi_mender_00"] {
        for method in [Method::PUT, Method::PATCH] {
            let got = report(server, token, method, "[]").await;
            assert_eq!(got.status, StatusCode::UNAUTHORIZED);
            assert!(got.body.is_empty(), "{:?}", got.body);
            assert!(!got.headers.contains_key("content-type"));
        }
    }
    // What there is not: in Mender's words, and not a 401.
    for (method, address, status) in [
        (
            Method::GET,
            "/api/devices/v9/nothing",
            StatusCode::NOT_FOUND,
        ),
        (Method::GET, ASK, StatusCode::METHOD_NOT_ALLOWED),
        (Method::POST, ATTRIBUTES, StatusCode::METHOD_NOT_ALLOWED),
        (Method::GET, DEVICES, StatusCode::NOT_FOUND),
        (Method::GET, "/api/v1/devices", StatusCode::NOT_FOUND),
    ] {
        let request = Request::builder().method(method).uri(address);
        let got = device(server, request.body(Body::empty()).unwrap()).await;
        assert_eq!(got.status, status, "{address}");
        error(&got);
    }
}

#[tokio::test]
async fn menders_tools_log_in_with_an_api_token_and_see_texts_and_pages() {
    let site = Site::new().await;
    let server = &site.server;
    let login = async |authorization: &str| {
        let request = Request::post("/api/management/v1/useradm/auth/login")
            .header("authorization", authorization)
            .header("content-type", "application/json");
        call(&server.admin, request.body(Body::empty()).unwrap()).await
    };
    let basic = |pair: String| format!("Basic {}", STANDARD.encode(pair));
    let got = login(&basic(format!("admin@example:{}", server.operator))).await;
    assert_eq!(got.status, StatusCode::OK);
    assert_eq!(got.body, server.operator.as_bytes());
    for bad in [
        String::new(),
        String::from("Basic"),
        String::from("Basic !"),
        basic(String::from("admin")),
        basic(String::from("admin:")),
        basic(String::from("admin:wrong")),
        format!("Bearer {}", server.operator),
    ] {
        let got = login(&bad).await;
        assert_eq!(got.status, StatusCode::UNAUTHORIZED, "{bad}");
        error(&got);
    }
    let stock = Stock {
        identity: json!({ "mac": ["02:00", "02:01"], "sn": "7", "disks": ["a", "b"] }),
        signer: Signer::p256(1),
    };
    assert!(stock.token(server).await.is_err());
    let seen = shown(server).await;
    assert_eq!(
        seen[0]["identity_data"],
        json!({ "mac": "02:00,02:01", "sn": "7", "disks": ["a", "b"] })
    );
    assert!(seen[0]["created_ts"].as_str().unwrap().ends_with('Z'));
    for number in 0..4 {
        let stock = Stock::new(&format!("page {number}"), Signer::p256(1));
        assert!(stock.token(server).await.is_err());
    }
    let mut ids = Vec::new();
    for (page, links) in [(1, "first next"), (2, "first prev next"), (3, "first prev")] {
        let address = format!("{DEVICES}?status=pending&page={page}&per_page=2");
        let got = server.ask(Method::GET, &address, &Value::Null).await;
        assert_eq!(got.header("x-total-count"), "5");
        let link = got.header("link").to_owned();
        let names: Vec<&str> = link
            .split("rel=\"")
            .skip(1)
            .map(|rel| rel.split('"').next().unwrap())
            .collect();
        assert_eq!(names.join(" "), links, "{link}");
        assert!(link.contains("status=pending"), "{link}");
        ids.extend(
            got.json()
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["id"].clone()),
        );
    }
    assert_eq!(ids.len(), 5);
    ids.dedup();
    assert_eq!(ids.len(), 5);
    assert_eq!(
        server.get(&format!("{DEVICES}/count?status=pending")).await["count"],
        5
    );
    assert_eq!(
        server
            .get(&format!("{DEVICES}/count?status=accepted"))
            .await["count"],
        0
    );
    for bad in [
        "page=0",
        "per_page=501",
        "per_page=0",
        "page=x",
        "status=lost",
        "page=100001",
    ] {
        let got = server
            .ask(Method::GET, &format!("{DEVICES}?{bad}"), &Value::Null)
            .await;
        assert_eq!(got.status, StatusCode::BAD_REQUEST, "{bad}");
        error(&got);
    }
    // Who never was accepted can be forgotten; who was cannot.
    let first = ids[0].as_str().unwrap();
    let got = server
        .ask(Method::DELETE, &format!("{DEVICES}/{first}"), &Value::Null)
        .await;
    assert_eq!(got.status, StatusCode::NO_CONTENT, "{:?}", got.body);
    assert_eq!(shown(server).await.len(), 4);
    let one = &shown(server).await[0];
    let set = &one["auth_sets"][0];
    assert_eq!(
        set_status(server, one, set, "accepted").await.status,
        StatusCode::NO_CONTENT
    );
    let (id, set) = (one["id"].as_str().unwrap(), set["id"].as_str().unwrap());
    let address = format!("{DEVICES}/{id}/auth/{set}");
    assert_eq!(
        server.get(&format!("{address}/status")).await["status"],
        "accepted"
    );
    let got = server.ask(Method::DELETE, &address, &Value::Null).await;
    assert_eq!(got.status, StatusCode::CONFLICT);
    assert!(error(&got).contains("kusabi key revoke"), "{:?}", got.body);
    let other = ids[2].as_str().unwrap();
    assert_ne!(other, id);
    let elsewhere = format!("{DEVICES}/{other}/auth/{set}/status");
    let got = server.ask(Method::GET, &elsewhere, &Value::Null).await;
    assert_eq!(got.status, StatusCode::NOT_FOUND);
    // Roles count here as they do there.
    let create = serde_json::from_value(json!({ "name": "v", "role": "viewer" })).unwrap();
    let by = By::only(Caller::server());
    let viewer = server.app.create_token(&by, create).await.unwrap().secret;
    let request = Request::delete(&address).header("authorization", format!("Bearer {viewer}"));
    let got = call(&server.admin, request.body(Body::empty()).unwrap()).await;
    assert_eq!(got.status, StatusCode::FORBIDDEN);
    error(&got);
}

#[tokio::test]
async fn an_operator_accepts_on_the_consoles_page_and_a_viewer_only_looks() {
    let world = World::keyed().await;
    let router = mender::device::router(Arc::new(world.app().await));
    let stock = Stock {
        identity: json!({ "mac": "<b>02:00</b>", "sn": ["7", "8"] }),
        signer: Signer::ed25519(1),
    };
    let asks = async || {
        let body = stock.body();
        let request =
            Request::post(ASK).header("x-men-signature", stock.signer.sign(body.as_bytes()));
        call(&router, request.body(Body::from(body)).unwrap())
            .await
            .status
    };
    assert_eq!(asks().await, StatusCode::UNAUTHORIZED);
    let mut looks = Browser::signed_in(&world, &world.viewer).await;
    let page = looks.page("/mender").await;
    assert!(
        page.contains("&#60;b&#62;02:00") && page.contains("7, 8"),
        "{page}"
    );
    let decides = |page: &str| -> Vec<String> {
        let forms = forms(page, "/mender").into_iter();
        let actions = forms.map(|form| form.action);
        actions
            .filter(|action| action.starts_with("/mender/"))
            .collect()
    };
    assert!(decides(&page).is_empty(), "a viewer decides nothing");
    let mut browser = Browser::signed_in(&world, &world.operator).await;
    let page = browser.page("/mender").await;
    let actions = decides(&page);
    assert_eq!(actions.len(), 2, "{actions:?}");
    for (action, word) in [(&actions[0], "accept"), (&actions[1], "reject")] {
        assert!(action.ends_with(word), "{action}");
        let form = forms(&page, "/mender")
            .into_iter()
            .find(|form| form.action == *action)
            .unwrap();
        let refused = looks.submit(&form).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        let got = browser.submit(&form).await;
        assert_eq!(got.status, StatusCode::SEE_OTHER, "{:?}", got.body);
        assert_eq!(got.header("location"), "/mender");
        let expected = match word {
            "accept" => StatusCode::OK,
            _ => StatusCode::UNAUTHORIZED,
        };
        assert_eq!(asks().await, expected, "{word}");
    }
    assert!(decides(&browser.page("/mender").await).is_empty());
    let all = browser.page("/mender?which=all").await;
    assert_eq!(decides(&all).len(), 1, "what is rejected can be accepted");
    assert!(!all.contains("Another key is served"), "{all}");
    // Another key under the identity of a device that is served.
    let accept = forms(&all, "/mender").into_iter();
    let accept = accept.last().unwrap();
    assert!(accept.action.ends_with("accept"), "{}", accept.action);
    assert_eq!(browser.submit(&accept).await.status, StatusCode::SEE_OTHER);
    let decoy = Stock {
        identity: stock.identity.clone(),
        signer: Signer::ed25519(2),
    };
    let body = decoy.body();
    let request = Request::post(ASK).header("x-men-signature", decoy.signer.sign(body.as_bytes()));
    call(&router, request.body(Body::from(body)).unwrap()).await;
    let page = browser.page("/mender").await;
    assert!(page.contains("Another key is served"), "{page}");
    let reject = forms(&page, "/mender").into_iter();
    let reject = reject.last().unwrap();
    assert_eq!(browser.submit(&reject).await.status, StatusCode::SEE_OTHER);
    browser.language = "ja";
    assert!(browser.page("/mender?which=all").await.contains("拒否済み"));
    // The device's own page says what it does without.
    let devices = world.get("/api/v1/devices").await.json();
    let id = devices["items"][0]["id"].as_str().unwrap();
    browser.language = "en";
    let page = browser.page(&format!("/devices/{id}")).await;
    assert!(page.contains("Stock Mender client"), "{page}");
    assert!(
        page.contains("/acts/update") && !page.contains("/acts/rotate"),
        "{page}"
    );
}
