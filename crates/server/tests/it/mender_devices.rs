//! Stock Mender devices at the door: who is who, who gets a token, what ends one.

use crate::{
    site::{Server, Site},
    world::{Got, call},
};
use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use kusabi_mender::testing::Signer;
use kusabi_server::http::mender;
use serde_json::{Value, json};
use std::sync::Arc;

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
