//! Orders in the hands of stock Mender clients, through the real routers: next, status, log, download.

use crate::{
    mender_artifacts::{SIGNER, error},
    mender_devices::Stock,
    releases::of,
    world::{Got, World, call},
};
use axum::{
    Router,
    body::Body,
    http::{Method, Request, StatusCode},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use kusabi_api::Hex32;
use kusabi_mender::testing::{Parts, Signer};
use kusabi_server::{app::Presence, http::mender};
use serde_json::{Value, json};
use std::sync::{Arc, atomic::Ordering::SeqCst};

/// How devices reach the server.
const URL: &str = "https://mender.example:8443";

const NEXT: &str = "/api/devices/v2/deployments/device/deployments/next";
const NEXT_V1: &str = "/api/devices/v1/deployments/device/deployments/next";
pub(crate) const DEPLOYMENTS: &str = "/api/devices/v1/deployments/device/deployments";

/// A stock client: what it sends and how it hears the answers.
pub(crate) struct Client {
    router: Router,
    pub(crate) id: String,
    token: String,
    provides: Value,
}

impl Client {
    pub(crate) async fn send(&self, method: Method, address: &str, body: &[u8]) -> Got {
        let pieces: Vec<_> = body
            .chunks(50)
            .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)))
            .collect();
        let request = Request::builder()
            .method(method)
            .uri(address)
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            // In pieces of no announced length, as client 3.4 sends all of it.
            .body(Body::from_stream(stream::iter(pieces)));
        call(&self.router, request.unwrap()).await
    }

    pub(crate) async fn next(&self) -> Got {
        let body = json!({ "device_provides": self.provides, "update_control_map": true });
        self.send(Method::POST, NEXT, body.to_string().as_bytes())
            .await
    }

    /// What it is told to install.
    #[track_caller]
    pub(crate) fn told(got: &Got) -> Value {
        assert_eq!(got.status, StatusCode::OK, "{:?}", got.body);
        serde_json::from_slice(&got.body).unwrap()
    }

    #[track_caller]
    pub(crate) fn is_idle(got: &Got) {
        assert_eq!(
            (got.status, got.body.len()),
            (StatusCode::NO_CONTENT, 0),
            "{:?}",
            got.body
        );
    }

    pub(crate) async fn status(&self, id: &str, status: &str) -> Got {
        let body = json!({ "status": status, "substate": "more" }).to_string();
        let address = format!("{DEPLOYMENTS}/{id}/status");
        self.send(Method::PUT, &address, body.as_bytes()).await
    }

    /// A status to which a client hears a yes, and nothing else.
    pub(crate) async fn says(&self, id: &str, status: &str) {
        let got = self.status(id, status).await;
        let heard = (got.status, got.body.len());
        assert_eq!(
            heard,
            (StatusCode::NO_CONTENT, 0),
            "{status}: {:?}",
            got.body
        );
    }

    pub(crate) async fn fetch(&self, method: Method, uri: &str, headers: &[(&str, &str)]) -> Got {
        let address = uri.strip_prefix(URL).unwrap();
        // No token; and it would understand gzip if it got any, and then not know how much comes.
        let mut request = Request::builder()
            .method(method)
            .uri(address)
            .header("accept-encoding", "gzip");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        call(&self.router, request.body(Body::empty()).unwrap()).await
    }
}

/// A site with a release for stock clients.
pub(crate) struct Field {
    pub(crate) world: World,
    pub(crate) signer: Hex32,
    pub(crate) artifact: Vec<u8>,
    pub(crate) release: Hex32,
    pub(crate) artifact_id: String,
}

impl Field {
    pub(crate) async fn new() -> Self {
        Self::of(Parts::new("app-1.2", &vec![9; 30_000])).await
    }

    pub(crate) async fn of(parts: Parts) -> Self {
        let world = World::keyed().await;
        let signer = world.signing().await;
        let artifact = parts.signed(SIGNER);
        let artifact_id = world.upload_artifact(&artifact).await;
        let made = world.wrap(&artifact, &["board"], 4);
        world.upload(&made).await.json();
        Self {
            world,
            signer,
            artifact,
            release: made.digest,
            artifact_id,
        }
    }

    /// A stock client that was accepted and has its token.
    pub(crate) async fn client(&self, number: u8) -> Client {
        let world = &self.world;
        let presence = Presence {
            mender_url: Some(String::from(URL)),
            ..Presence::default()
        };
        let app = world.app().await.with_presence(presence);
        let router = mender::device::router(Arc::new(app));
        let stock = Stock::new(
            &format!("02:00:00:00:00:{number:02x}"),
            Signer::p256(number),
        );
        let ask = async || {
            let body = stock.body();
            let peer: std::net::SocketAddr = "192.0.2.1:5000".parse().unwrap();
            let request = Request::post("/api/devices/v1/authentication/auth_requests")
                .header("X-MEN-Signature", stock.signer.sign(body.as_bytes()))
                .extension(axum::extract::ConnectInfo(peer))
                .body(body.into());
            call(&router, request.unwrap()).await
        };
        assert_eq!(ask().await.status, StatusCode::UNAUTHORIZED);
        let devices = "/api/management/v2/devauth/devices";
        let waiting = world.get(&format!("{devices}?status=pending")).await.json();
        let [device] = &waiting.as_array().unwrap()[..] else {
            panic!("{waiting}");
        };
        let id = device["id"].as_str().unwrap().to_owned();
        let set = device["auth_sets"][0]["id"].as_str().unwrap();
        let address = format!("{devices}/{id}/auth/{set}/status");
        let accept = json!({ "status": "accepted" });
        let got = world.ask(&world.operator, Method::PUT, &address, &[], &accept);
        assert_eq!(got.await.status, StatusCode::NO_CONTENT);
        let token = ask().await;
        assert_eq!(token.status, StatusCode::OK, "{:?}", token.body);
        Client {
            router,
            token: String::from_utf8(token.body.to_vec()).unwrap(),
            id,
            provides: json!({
                "artifact_name": "factory", "device_type": "board", "app.version": "1",
            }),
        }
    }

    pub(crate) async fn order(&self, client: &Client, kind: &str) -> u64 {
        let order =
            json!({ "kind": kind, "release": self.release, "target": { "device": client.id } });
        self.world.post("/api/v1/orders", order).await.json()["id"]
            .as_u64()
            .unwrap()
    }

    /// How far a device is with its newest order.
    pub(crate) async fn state(&self, client: &Client) -> String {
        let orders = self
            .world
            .get(&format!("/api/v1/devices/{}/orders", client.id))
            .await
            .json();
        orders["items"][0]["state"].as_str().unwrap().to_owned()
    }

    /// How far a device is with each of its orders, the oldest first.
    async fn states(&self, client: &Client) -> Vec<String> {
        let address = format!("/api/v1/devices/{}/orders", client.id);
        let orders = self.world.get(&address).await.json();
        let orders = orders["items"].as_array().unwrap().iter().rev();
        orders
            .map(|order| order["state"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Where the bytes of an artifact lie.
    fn path(&self, artifact: &[u8]) -> std::path::PathBuf {
        let contents = self.world.firmware.path().join("contents");
        contents.join(of(artifact).to_string())
    }

    /// Writes why a rollout stands still, in words that this version may not know.
    async fn set_reason(&self, rollout: u64, reason: Option<&str>) {
        let mut connection = self.world.database.connection().await;
        sqlx::query("UPDATE rollouts SET reason = $1 WHERE id = $2")
            .bind(reason.map(String::from))
            .bind(rollout.cast_signed())
            .execute(&mut connection)
            .await
            .unwrap();
    }

    /// Why its newest order ended so.
    async fn reason(&self, client: &Client) -> String {
        let events = self
            .world
            .get(&format!("/api/v1/devices/{}/events", client.id))
            .await
            .json();
        let events = events["items"].as_array().unwrap();
        let answered = events
            .iter()
            .filter(|event| event["kind"] == "order-answered");
        let newest = answered.max_by_key(|event| event["seq"].as_u64()).unwrap();
        newest["detail"]["reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    async fn device(&self, client: &Client) -> Value {
        self.world
            .get(&format!("/api/v1/devices/{}", client.id))
            .await
            .json()
    }

    pub(crate) async fn rollout(&self, more: &Value) -> u64 {
        let mut create = json!({ "name": "test", "release": self.release });
        for (name, value) in more.as_object().unwrap() {
            create[name] = value.clone();
        }
        let got = self.world.post("/api/v1/rollouts", create).await;
        assert_eq!(got.status, StatusCode::CREATED, "{:?}", got.body);
        got.json()["id"].as_u64().unwrap()
    }

    pub(crate) async fn act(&self, rollout: u64, act: &str) -> Value {
        let address = format!("/api/v1/rollouts/{rollout}/{act}");
        let got = self.world.ask(
            &self.world.operator,
            Method::POST,
            &address,
            &[],
            &Value::Null,
        );
        got.await.json()
    }
}

#[tokio::test]
async fn an_order_is_handed_out_fetched_and_answered() {
    let field = Field::new().await;
    let client = field.client(1).await;
    Client::is_idle(&client.next().await);
    field.order(&client, "update").await;
    let told = Client::told(&client.next().await);
    assert_eq!(field.state(&client).await, "sent");
    let id = told["id"].as_str().unwrap();
    assert_eq!(id.len(), 36);
    let artifact = &told["artifact"];
    assert_eq!(artifact["id"], json!(field.artifact_id));
    assert_eq!(artifact["artifact_name"], "app-1.2");
    assert_eq!(artifact["device_types_compatible"], json!(["board"]));
    let uri = artifact["source"]["uri"].as_str().unwrap();
    assert!(
        artifact["source"]["expire"]
            .as_str()
            .unwrap()
            .ends_with('Z')
    );

    // It is the same deployment however often and in whatever form the client asks.
    let again = Client::told(&client.next().await);
    assert_eq!(again["id"], told["id"]);
    let v1 = client
        .send(
            Method::POST,
            NEXT_V1,
            client.provides.to_string().as_bytes(),
        )
        .await;
    assert_eq!(Client::told(&v1)["id"], told["id"]);
    let get = format!("{NEXT_V1}?artifact_name=factory&device_type=board");
    assert_eq!(
        Client::told(&client.send(Method::GET, &get, b"").await)["id"],
        told["id"]
    );

    // Whole, and in ranges, open and closed, as clients go on after a cut.
    let whole = client.fetch(Method::GET, uri, &[]).await;
    let total = field.artifact.len();
    assert_eq!(whole.status, StatusCode::OK);
    assert!(whole.body == field.artifact);
    let length = total.to_string();
    for (name, value) in [
        ("content-length", &*length),
        ("accept-ranges", "bytes"),
        ("content-encoding", ""),
    ] {
        assert_eq!(whole.header(name), value, "{name}");
    }
    let head = client.fetch(Method::HEAD, uri, &[]).await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
    assert_eq!(
        (head.header("content-length"), head.header("accept-ranges")),
        (&*length, "bytes")
    );
    let closed = format!("bytes=1000-{}", total - 1);
    for (range, from, to) in [
        ("bytes=1000-", 1000, total),
        (&*closed, 1000, total),
        ("bytes=5-6", 5, 7),
    ] {
        let part = client.fetch(Method::GET, uri, &[("range", range)]).await;
        assert_eq!(part.status, StatusCode::PARTIAL_CONTENT);
        let expected = format!("bytes {from}-{}/{total}", to - 1);
        assert_eq!(part.header("content-range"), expected);
        assert_eq!(part.header("content-length"), (to - from).to_string());
        assert!(part.body == field.artifact[from..to]);
    }
    for range in [
        format!("bytes={total}-"),
        "bytes=99999999999999999999999-".into(),
    ] {
        let beyond = client.fetch(Method::GET, uri, &[("range", &range)]).await;
        assert_eq!(beyond.status, StatusCode::RANGE_NOT_SATISFIABLE);
        assert_eq!(beyond.header("content-range"), format!("bytes */{total}"));
    }
    for senseless in ["bytes=9-1", "bytes=x-", "lines=1-2", "bytes=0-1,5-6"] {
        let all = client
            .fetch(Method::GET, uri, &[("range", senseless)])
            .await;
        assert_eq!(
            (all.status, all.body.len()),
            (StatusCode::OK, total),
            "{senseless}"
        );
    }

    // What a client says, it says again and again.
    for status in [
        "downloading",
        "downloading",
        "downloading",
        "installing",
        "rebooting",
        "installing",
        "success",
        "success",
    ] {
        client.says(id, status).await;
    }
    assert_eq!(field.state(&client).await, "done");
    let device = field.device(&client).await;
    assert_eq!(device["firmware"], json!(field.release));
    // Nobody signed it.
    let orders = field
        .world
        .get(&format!("/api/v1/devices/{}/orders", client.id))
        .await
        .json();
    let order = &orders["items"][0]["id"];
    let receipt = field
        .world
        .get(&format!(
            "/api/v1/devices/{}/orders/{order}/receipt",
            client.id
        ))
        .await;
    assert_eq!(
        receipt.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "{:?}",
        receipt.body
    );
    // The address ends with its order.
    assert_eq!(error(&client.fetch(Method::GET, uri, &[]).await).0, 404);
    Client::is_idle(&client.next().await);
}

#[tokio::test]
async fn an_address_ends_with_its_time_and_is_known_to_who_was_told_it() {
    let field = Field::new().await;
    let client = field.client(1).await;
    field.order(&client, "update").await;
    let uri = |told: &Value| {
        told["artifact"]["source"]["uri"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let first = uri(&Client::told(&client.next().await));
    let secret = first.rsplit('/').next().unwrap();
    assert_eq!(secret.len(), 64);
    for other in [
        "0".repeat(64),
        secret.to_uppercase(),
        String::from("%00"),
        format!("{secret}0"),
    ] {
        let got = client
            .fetch(
                Method::GET,
                &format!("{URL}/api/devices/v1/download/{other}"),
                &[],
            )
            .await;
        assert_eq!(error(&got).0, 404, "{other}");
    }
    // Each time that it asks it gets another one; a few of them are good at a time.
    let mut addresses = vec![first];
    for _ in 0..5 {
        field.world.edge.now_ms.fetch_add(1, SeqCst);
        addresses.push(uri(&Client::told(&client.next().await)));
    }
    let mut good = Vec::new();
    for address in &addresses {
        good.push(client.fetch(Method::GET, address, &[]).await.status == StatusCode::OK);
    }
    assert_eq!(good, [false, false, true, true, true, true]);
    field
        .world
        .edge
        .now_ms
        .fetch_add(24 * 60 * 60 * 1000, SeqCst);
    let late = client
        .fetch(Method::GET, addresses.last().unwrap(), &[])
        .await;
    assert_eq!(error(&late).0, 404);
    // Not as often as it likes: each time costs questions to the ledger.
    let mut answers = Vec::new();
    for _ in 0..150 {
        answers.push(client.next().await.status.as_u16());
    }
    assert!(
        answers.contains(&200) && answers.contains(&429),
        "{answers:?}"
    );
}

#[tokio::test]
async fn an_address_leads_nowhere_for_a_device_that_is_not_served() {
    let field = Field::new().await;
    let client = field.client(1).await;
    field.order(&client, "update").await;
    let told = Client::told(&client.next().await);
    let uri = told["artifact"]["source"]["uri"].as_str().unwrap();
    let address = format!("/api/management/v2/devauth/devices/{}", client.id);
    let device = field.world.get(&address).await.json();
    let set = device["auth_sets"][0]["id"].as_str().unwrap();
    let address = format!("{address}/auth/{set}/status");
    for (status, expected) in [("rejected", 404), ("accepted", 200)] {
        let (world, decision) = (&field.world, json!({ "status": status }));
        let got = world.ask(&world.operator, Method::PUT, &address, &[], &decision);
        assert_eq!(got.await.status, StatusCode::NO_CONTENT);
        let got = client.fetch(Method::GET, uri, &[]).await;
        assert_eq!(got.status.as_u16(), expected, "{status}");
    }
}

#[tokio::test]
async fn a_failure_and_its_log_are_kept_whatever_the_client_sends() {
    let field = Field::new().await;
    let client = field.client(1).await;
    let order = field.order(&client, "update").await;
    let told = Client::told(&client.next().await);
    let id = told["id"].as_str().unwrap();
    for status in ["downloading", "installing", "failure", "failure", "failure"] {
        client.says(id, status).await;
    }
    assert_eq!(field.state(&client).await, "failed");
    assert!(field.reason(&client).await.contains("log"));
    // Cut off as client 5.1 does; then whole.
    let cut = br#"{"messages":[{"timestamp":"2026-11-23T02:25:13Z","level":"error","message":"no space"},{"#;
    let address = format!("{DEPLOYMENTS}/{id}/log");
    for (body, expected) in [
        (&cut[..], "2026-11-23T02:25:13Z error: no space\n"),
        (b"\xff\0", "\u{fffd}\u{fffd}\n"),
        (
            br#"{"messages":[{"level":"info","message":"a"}]}"#,
            " info: a\n",
        ),
    ] {
        let got = client.send(Method::PUT, &address, body).await;
        assert_eq!(got.status, StatusCode::NO_CONTENT, "{:?}", got.body);
        let log = format!("/api/v1/devices/{}/orders/{order}/log", client.id);
        let kept = field.world.get(&log).await.json();
        assert_eq!(kept["log"], expected);
        let address = |device: &str| {
            format!("/api/management/v1/deployments/deployments/{id}/devices/{device}/log")
        };
        let text = field.world.get(&address(&client.id)).await;
        assert_eq!(
            (text.status, &text.body[..]),
            (StatusCode::OK, expected.as_bytes())
        );
        assert!(text.header("content-type").starts_with("text/plain"));
        assert_eq!(error(&field.world.get(&address("dev_0")).await).0, 404);
    }
    let huge = vec![b'x'; (1 << 20) + 1];
    assert_eq!(
        client
            .send(Method::PUT, &address, &huge)
            .await
            .status
            .as_u16(),
        413
    );
    // Done is done: what it says later changes nothing.
    client.says(id, "success").await;
    assert_eq!(field.state(&client).await, "failed");
}

#[tokio::test]
async fn what_a_device_says_of_what_it_was_not_given_is_not_believed() {
    let field = Field::new().await;
    let (client, other) = (field.client(1).await, field.client(2).await);
    let stranger = "0".repeat(8) + "-0000-0000-0000-000000000000";
    assert_eq!(error(&client.status(&stranger, "success").await).0, 404);
    field.order(&client, "update").await;
    field.order(&other, "update").await;
    // Before it was handed out: its name can be worked out by nobody, and means nothing if it were.
    let told = Client::told(&other.next().await);
    let id = told["id"].as_str().unwrap();
    assert_eq!(error(&client.status(id, "success").await).0, 404);
    let log = format!("{DEPLOYMENTS}/{id}/log");
    assert_eq!(error(&client.send(Method::PUT, &log, b"x").await).0, 404);
    assert_eq!(field.state(&client).await, "waiting");
    for bad in [
        &b"{"[..],
        b"[]",
        br#"{"status":"finished"}"#,
        br#"{"status":7}"#,
        b"",
    ] {
        let got = other
            .send(Method::PUT, &format!("{DEPLOYMENTS}/{id}/status"), bad)
            .await;
        assert_eq!(error(&got).0, 400, "{:?}", got.body);
    }
    for id in ["%00", "x", "../next"] {
        let got = other.status(id, "success").await;
        assert!(got.status.is_client_error(), "{id}: {}", got.status);
    }
    for bad in [
        &br#"{"device_provides":{"artifact_name":["x"]}}"#[..],
        br#"{"device_provides":{"artifact_name":"a\u0000b"}}"#,
        br#"{}"#,
        b"\xff",
    ] {
        assert_eq!(error(&other.send(Method::POST, NEXT, bad).await).0, 400);
    }
    assert_eq!(field.state(&other).await, "sent");
}

#[tokio::test]
async fn what_the_device_cannot_check_is_checked_for_it() {
    let mut parts = Parts::new("app-1.2", b"content");
    parts.header[1].1 = br#"{"type":"single-file","artifact_depends":{"app.version":["1","2"]},"artifact_provides":{"app.version":"3"}}"#.to_vec();
    let field = Field::of(parts).await;
    let mut client = field.client(1).await;
    let fails = async |client: &Client, state: &str, why: &str| {
        Client::is_idle(&client.next().await);
        let (is, reason) = (field.state(client).await, field.reason(client).await);
        assert!(is == state && reason.contains(why), "{is}: {reason}");
    };
    // Another type; what it needs and the device has not.
    client.provides["device_type"] = json!("phone");
    field.order(&client, "update").await;
    fails(&client, "failed", "not for devices of type phone").await;
    client.provides["device_type"] = json!("board");
    for (has, said) in [(json!("9"), "`9`"), (Value::Null, "none")] {
        match has {
            Value::Null => drop(
                client
                    .provides
                    .as_object_mut()
                    .unwrap()
                    .remove("app.version"),
            ),
            has => client.provides["app.version"] = has,
        }
        field.order(&client, "update").await;
        fails(
            &client,
            "failed",
            &format!("needs app.version `1` or `2`, and the device has {said}"),
        )
        .await;
    }
    client.provides["app.version"] = json!("2");
    // The same one again: done, and not sent out; but a repair is.
    client.provides["artifact_name"] = json!("app-1.2");
    field.order(&client, "update").await;
    fails(&client, "done", "installed already").await;
    assert_eq!(
        field.device(&client).await["firmware"],
        json!(field.release)
    );
    field.order(&client, "repair").await;
    let told = Client::told(&client.next().await);
    client
        .says(told["id"].as_str().unwrap(), "already-installed")
        .await;
    assert_eq!(field.state(&client).await, "done");
    client.provides["artifact_name"] = json!("factory");

    // Orders that no stock client knows are not given.
    let order = json!({ "kind": "rotate", "target": { "device": client.id } });
    let got = field.world.post("/api/v1/orders", order).await;
    assert_eq!(got.status, StatusCode::UNPROCESSABLE_ENTITY);

    // Below the channel's minimum since it was handed out; what was not is taken back.
    field.order(&client, "update").await;
    Client::told(&client.next().await);
    let set = async |minimum: u64| {
        let body = json!({ "minimum_counter": minimum });
        let world = &field.world;
        let address = "/api/v1/channels/stable";
        let got = world
            .ask(&world.admin, Method::PUT, address, &[], &body)
            .await;
        assert!(got.status.is_success(), "{:?}", got.body);
    };
    set(5).await;
    fails(
        &client,
        "refused-unproven",
        "minimum of the channel stable is 5",
    )
    .await;
    set(0).await;
    field.order(&client, "update").await;
    set(5).await;
    Client::is_idle(&client.next().await);
    assert_eq!(field.state(&client).await, "dropped");
    set(0).await;

    // Whose key ended since.
    field.order(&client, "update").await;
    field.world.end_signer(field.signer).await;
    fails(&client, "refused-unproven", "no release key that counts").await;
}

#[tokio::test]
async fn a_release_below_what_a_device_has_committed_to_is_not_handed_out() {
    let field = Field::new().await;
    let client = field.client(1).await;
    let newer = Parts::new("app-1.3", b"closes a hole").signed(SIGNER);
    field.world.upload_artifact(&newer).await;
    let made = field.world.wrap_up_to(&newer, &["board"], 5, 5);
    field.world.upload(&made).await.json();
    let order = json!({
        "kind": "update", "release": made.digest, "target": { "device": client.id },
    });
    field.world.post("/api/v1/orders", order).await.json();
    let told = Client::told(&client.next().await);
    client.says(told["id"].as_str().unwrap(), "success").await;
    assert_eq!(field.state(&client).await, "done");
    // The one with counter 4 is published still.
    field.order(&client, "update").await;
    Client::is_idle(&client.next().await);
    let (state, why) = (field.state(&client).await, field.reason(&client).await);
    assert!(
        state == "refused-unproven" && why.contains("committed to 5"),
        "{state}: {why}"
    );
}

#[tokio::test]
async fn a_withdrawn_release_goes_to_nobody_and_stops_those_who_have_it() {
    let field = Field::new().await;
    let (client, late) = (field.client(1).await, field.client(2).await);
    field.order(&client, "update").await;
    field.order(&late, "update").await;
    let told = Client::told(&client.next().await);
    let id = told["id"].as_str().unwrap();
    let uri = told["artifact"]["source"]["uri"].as_str().unwrap();
    client.says(id, "downloading").await;
    field.world.withdraw(field.release);
    // The ledger is asked, not what was followed of it.
    Client::is_idle(&late.next().await);
    assert_eq!(field.state(&late).await, "dropped");
    assert!(field.reason(&late).await.contains("withdrawn"));
    field.world.follow().await;
    let (status, why) = error(&client.status(id, "installing").await);
    assert!(status == 409 && why.contains("withdrawn"), "{status} {why}");
    assert_eq!(field.state(&client).await, "dropped");
    assert_eq!(error(&client.fetch(Method::GET, uri, &[]).await).0, 404);
    assert_eq!(error(&client.status(id, "installing").await).0, 409);
    Client::is_idle(&client.next().await);
    // Without the ledger nothing goes out.
    let other = field.client(3).await;
    field.world.ledger.set_gone(true);
    Client::is_idle(&other.next().await);
}

#[tokio::test]
async fn a_rollouts_state_follows_its_stock_clients() {
    let field = Field::new().await;
    let clients = [
        field.client(1).await,
        field.client(2).await,
        field.client(3).await,
    ];
    let rollout = field.rollout(&json!({ "retries": 0 })).await;
    let counts = async || {
        field
            .world
            .get(&format!("/api/v1/rollouts/{rollout}"))
            .await
            .json()["counts"]
            .clone()
    };
    assert_eq!(counts().await["ordered"], 3);
    let mut ids = Vec::new();
    for client in &clients {
        let told = Client::told(&client.next().await);
        ids.push(told["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(counts().await["sent"], 3);
    clients[0].says(&ids[0], "success").await;
    clients[1].says(&ids[1], "failure").await;
    let now = counts().await;
    assert_eq!(
        (&now["done"], &now["failed"], &now["sent"]),
        (&json!(1), &json!(1), &json!(1))
    );

    // Paused: whoever has it may finish, for one that is told to stop reports a failure; who asks anew waits until it goes on.
    field.act(rollout, "pause").await;
    clients[2].says(&ids[2], "downloading").await;
    Client::is_idle(&clients[2].next().await);
    assert_eq!(field.state(&clients[2]).await, "sent");
    field.act(rollout, "resume").await;
    let told = Client::told(&clients[2].next().await);
    assert_eq!(told["id"], json!(ids[2]));
    let uri = told["artifact"]["source"]["uri"].as_str().unwrap();
    let fetched = clients[2].fetch(Method::GET, uri, &[]).await;
    assert_eq!(fetched.status, StatusCode::OK);
    clients[2].says(&ids[2], "installing").await;
    // Aborted: it stops for good, and what it was told of leads nowhere before it asks again.
    field.act(rollout, "abort").await;
    let fetched = clients[2].fetch(Method::GET, uri, &[]).await;
    assert_eq!(error(&fetched).0, 404);
    let (status, why) = error(&clients[2].status(&ids[2], "installing").await);
    assert!(status == 409 && why.contains("aborted"), "{why}");
    Client::is_idle(&clients[2].next().await);
    assert_eq!(field.state(&clients[2]).await, "dropped");
    assert_eq!(counts().await["aborted"], 1);
}

#[tokio::test]
async fn an_artifact_that_is_gone_is_told_to_the_operator_and_no_device_fails_of_it() {
    let field = Field::new().await;
    let client = field.client(1).await;
    let rollout = field.rollout(&json!({})).await;
    let path = field
        .world
        .firmware
        .path()
        .join("contents")
        .join(of(&field.artifact).to_string());
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    Client::is_idle(&client.next().await);
    Client::is_idle(&client.next().await);
    assert_eq!(field.state(&client).await, "waiting");
    let alarms = field.world.get("/api/v1/alarms").await.json();
    let alarms = alarms["items"].as_array().unwrap();
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert!(
        alarms[0]["detail"]
            .as_str()
            .unwrap()
            .contains("not in the firmware store any more")
    );
    // Put back by another upload, it goes on.
    field.world.upload_artifact(&bytes).await;
    let told = Client::told(&client.next().await);
    let uri = told["artifact"]["source"]["uri"].as_str().unwrap();
    // Gone in the middle of a download.
    std::fs::remove_file(&path).unwrap();
    assert_eq!(
        error(
            &client
                .fetch(Method::GET, uri, &[("range", "bytes=5-")])
                .await
        )
        .0,
        404
    );
    field.world.upload_artifact(&bytes).await;
    assert_eq!(
        client.fetch(Method::GET, uri, &[]).await.status,
        StatusCode::OK
    );
    client.says(told["id"].as_str().unwrap(), "success").await;
    let shown = field
        .world
        .get(&format!("/api/v1/rollouts/{rollout}"))
        .await
        .json();
    assert_eq!(shown["state"], "done");
}

#[tokio::test]
async fn an_order_that_cannot_be_given_out_keeps_no_later_one_waiting() {
    let field = Field::new().await;
    let client = field.client(1).await;
    let next = Parts::new("app-1.3", b"next").signed(SIGNER);
    field.world.upload_artifact(&next).await;
    let made = field.world.wrap(&next, &["board"], 5);
    field.world.upload(&made).await.json();
    let order = async |release: Hex32| {
        let order = json!({
            "kind": "update", "release": release, "target": { "device": client.id },
        });
        let made = field.world.post("/api/v1/orders", order).await.json();
        made["id"].as_u64().unwrap()
    };
    let states = || field.states(&client);
    // The bytes of the first one are gone; the second one waits in vain for nothing.
    let path = field.path(&field.artifact);
    std::fs::remove_file(&path).unwrap();
    order(field.release).await;
    Client::is_idle(&client.next().await);
    assert_eq!(states().await, ["waiting"]);
    let second = order(made.digest).await;
    let told = Client::told(&client.next().await);
    assert_eq!(told["artifact"]["artifact_name"], "app-1.3");
    assert_eq!(states().await, ["unable", "sent"]);
    let why = field.reason(&client).await;
    assert!(
        why.contains("not in the firmware store any more")
            && why.contains(&format!("order {second}")),
        "{why}"
    );
    client.says(told["id"].as_str().unwrap(), "success").await;
    // It does not come back when they do.
    std::fs::write(path, &field.artifact).unwrap();
    Client::is_idle(&client.next().await);

    // Of a manifest that cannot be read one ends at once, whether or not another one waits.
    let mut connection = field.world.database.connection().await;
    for (number, then) in [(0, vec!["unable", "done", "unable"]), (1, vec!["sent"])] {
        let broken = Parts::new("app-1.4", &[number]).signed(SIGNER);
        let counter = 6 + u64::from(number);
        let made = field.world.wrap(&broken, &["board"], counter);
        field.world.upload(&made).await.json();
        order(made.digest).await;
        sqlx::query("UPDATE releases SET signed = $1 WHERE digest = $2")
            .bind(b"no manifest".to_vec())
            .bind(made.digest.0.to_vec())
            .execute(&mut connection)
            .await
            .unwrap();
        if number == 1 {
            order(field.release).await;
            let told = Client::told(&client.next().await);
            assert_eq!(told["artifact"]["artifact_name"], "app-1.2");
            assert_eq!(states().await.last().unwrap(), then[0]);
        } else {
            Client::is_idle(&client.next().await);
            assert_eq!(states().await, then);
        }
        assert!(field.reason(&client).await.contains("cannot be read"));
    }
}

/// An artifact of a later release, which the rollout that is returned gives to a client.
async fn rolled_out(field: &Field, client: &Client) -> (Vec<u8>, u64) {
    let next = Parts::new("app-1.3", b"next").signed(SIGNER);
    field.world.upload_artifact(&next).await;
    let made = field.world.wrap(&next, &["board"], 6);
    field.world.upload(&made).await.json();
    let more = json!({ "release": made.digest, "devices": { "ids": [client.id] } });
    let rollout = field.rollout(&more).await;
    assert_eq!(field.states(client).await, ["waiting"]);
    (next, rollout)
}

#[tokio::test]
async fn an_order_that_cannot_be_given_out_ends_only_with_one_that_was_given_in_its_place() {
    let field = Field::new().await;
    let client = field.client(1).await;
    let (next, rollout) = rolled_out(&field, &client).await;
    // The later one is out already: nobody could tell what is to be done with the first one.
    field.set_reason(rollout, Some("of another version")).await;
    field.order(&client, "update").await;
    let told = Client::told(&client.next().await);
    assert_eq!(told["artifact"]["artifact_name"], "app-1.2");
    field.set_reason(rollout, None).await;
    let path = field.path(&next);
    std::fs::remove_file(&path).unwrap();
    // The later one would be given once more, and is below the channel's minimum by now.
    let world = &field.world;
    let minimum = json!({ "minimum_counter": 5 });
    let address = "/api/v1/channels/stable";
    let set = world.ask(&world.admin, Method::PUT, address, &[], &minimum);
    assert!(set.await.status.is_success());
    Client::is_idle(&client.next().await);
    assert_eq!(field.states(&client).await, ["waiting", "refused-unproven"]);
    std::fs::write(path, next).unwrap();
    let told = Client::told(&client.next().await);
    assert_eq!(told["artifact"]["artifact_name"], "app-1.3");
}

#[tokio::test]
async fn an_order_of_a_rollout_that_another_version_wrote_waits_and_keeps_no_later_one_waiting() {
    let field = Field::new().await;
    let client = field.client(1).await;
    let (_, rollout) = rolled_out(&field, &client).await;
    field.set_reason(rollout, Some("of another version")).await;
    Client::is_idle(&client.next().await);
    assert_eq!(field.states(&client).await, ["waiting"]);
    let alarms = field.world.get("/api/v1/alarms").await.json();
    let detail = alarms["items"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("cannot be given to the device"), "{detail}");
    field.order(&client, "update").await;
    let told = Client::told(&client.next().await);
    assert_eq!(told["artifact"]["artifact_name"], "app-1.2");
    assert_eq!(field.states(&client).await, ["waiting", "sent"]);
    client.says(told["id"].as_str().unwrap(), "success").await;
    field.set_reason(rollout, None).await;
    let told = Client::told(&client.next().await);
    assert_eq!(told["artifact"]["artifact_name"], "app-1.3");
}

#[tokio::test]
async fn an_order_of_a_kind_that_another_version_wrote_keeps_no_later_one_waiting() {
    let field = Field::new().await;
    let client = field.client(1).await;
    field.order(&client, "update").await;
    let mut connection = field.world.database.connection().await;
    let changed = sqlx::query("UPDATE orders SET kind = 'of another version'")
        .execute(&mut connection)
        .await
        .unwrap();
    assert_eq!(changed.rows_affected(), 1);
    Client::is_idle(&client.next().await);
    field.order(&client, "update").await;
    let told = Client::told(&client.next().await);
    assert_eq!(told["artifact"]["artifact_name"], "app-1.2");
}

#[tokio::test]
async fn an_unsigned_artifact_goes_to_no_stock_client() {
    let world = World::keyed().await;
    let signer = world.signing().await;
    let artifact = Parts::new("app-1.2", b"content").unsigned();
    let made = world.wrap(&artifact, &["board"], 4);
    world.upload(&made).await.json();
    world
        .put(
            &format!("/api/v1/contents/{}", of(&artifact)),
            artifact.clone(),
        )
        .await
        .json();
    let field = Field {
        world,
        signer,
        artifact,
        release: made.digest,
        artifact_id: String::new(),
    };
    let client = field.client(1).await;
    field.order(&client, "update").await;
    Client::is_idle(&client.next().await);
    assert_eq!(field.state(&client).await, "refused-unproven");
    assert!(
        field
            .reason(&client)
            .await
            .contains("signed by no release key")
    );
}

#[tokio::test]
async fn an_artifact_whose_key_came_later_goes_out_without_an_upload() {
    let world = World::keyed().await;
    world.art_policy();
    world.follow().await;
    let artifact = Parts::new("app-1.2", b"content").signed(SIGNER);
    let made = world.wrap(&artifact, &["board"], 4);
    world.upload(&made).await.json();
    world
        .put(
            &format!("/api/v1/contents/{}", of(&artifact)),
            artifact.clone(),
        )
        .await
        .json();
    let signer = world
        .sign_with(
            kusabi_core::suite::ForeignAlgorithm::P256,
            &kusabi_mender::testing::spki(SIGNER),
        )
        .await;
    let field = Field {
        world,
        signer,
        artifact,
        release: made.digest,
        artifact_id: String::new(),
    };
    let client = field.client(1).await;
    field.order(&client, "update").await;
    let told = Client::told(&client.next().await);
    assert_eq!(told["artifact"]["artifact_name"], "app-1.2");
}

#[tokio::test]
async fn of_a_name_that_two_artifacts_have_nothing_follows() {
    let field = Field::new().await;
    let mut client = field.client(1).await;
    let other = Parts::new("app-1.3", b"another").signed(SIGNER);
    field.world.upload_artifact(&other).await;
    let made = field.world.wrap(&other, &["board"], 5);
    field.world.upload(&made).await.json();
    // From before names were looked at.
    let mut connection = field.world.database.connection().await;
    sqlx::query("UPDATE mender_artifacts SET name = 'app-1.2' WHERE name = 'app-1.3'")
        .execute(&mut connection)
        .await
        .unwrap();
    client.provides["artifact_name"] = json!("app-1.2");
    field.order(&client, "update").await;
    Client::is_idle(&client.next().await);
    assert_eq!(field.state(&client).await, "failed");
    let why = field.reason(&client).await;
    assert!(why.contains("several artifacts are called so"), "{why}");
    assert_eq!(field.device(&client).await["firmware"], Value::Null);
    // Nor of the client's word that it has that name already.
    field.order(&client, "repair").await;
    let told = Client::told(&client.next().await);
    client
        .says(told["id"].as_str().unwrap(), "already-installed")
        .await;
    assert_eq!(field.state(&client).await, "failed");
    // What it was seen to install is known.
    client.provides["artifact_name"] = json!("factory");
    field.order(&client, "update").await;
    let told = Client::told(&client.next().await);
    client.says(told["id"].as_str().unwrap(), "success").await;
    client.provides["artifact_name"] = json!("app-1.2");
    Client::is_idle(&client.next().await);
    assert_eq!(
        field.device(&client).await["firmware"],
        json!(field.release)
    );
    field.order(&client, "update").await;
    Client::is_idle(&client.next().await);
    assert_eq!(field.state(&client).await, "done");
    // The other one it does not have, and its client would not take it.
    let order = json!({
        "kind": "update", "release": made.digest, "target": { "device": client.id },
    });
    field.world.post("/api/v1/orders", order).await.json();
    Client::is_idle(&client.next().await);
    assert_eq!(field.state(&client).await, "failed");
}

#[tokio::test]
async fn a_deployment_under_way_stops_when_the_key_of_its_artifact_ends() {
    let field = Field::new().await;
    let client = field.client(1).await;
    field.order(&client, "update").await;
    let told = Client::told(&client.next().await);
    let id = told["id"].as_str().unwrap();
    let uri = told["artifact"]["source"]["uri"].as_str().unwrap();
    let fetched = async || client.fetch(Method::GET, uri, &[]).await.status.as_u16();
    client.says(id, "downloading").await;
    // What a rebuild has not come to yet: the ledger proves that the key counts.
    let mut connection = field.world.database.connection().await;
    sqlx::query("DELETE FROM art_keys WHERE handle = $1")
        .bind(field.signer.0.to_vec())
        .execute(&mut connection)
        .await
        .unwrap();
    client.says(id, "downloading").await;
    assert_eq!(fetched().await, 200);
    // One that does not answer stops nobody.
    field.world.ledger.set_gone(true);
    client.says(id, "installing").await;
    assert_eq!(fetched().await, 200);
    field.world.ledger.set_gone(false);
    field.world.end_signer(field.signer).await;
    assert_eq!(fetched().await, 404);
    let (status, why) = error(&client.status(id, "installing").await);
    assert!(
        status == 409 && why.contains("key that signed"),
        "{status} {why}"
    );
    assert_eq!(field.state(&client).await, "dropped");
    assert_eq!(error(&client.status(id, "installing").await).0, 409);
    Client::is_idle(&client.next().await);
}

#[tokio::test]
async fn an_open_download_is_cut_when_its_device_is_not_served_any_more() {
    // Bytes that do not shrink: what is sent is an artifact of several pieces.
    let noise = std::iter::successors(Some(1_u32), |x| {
        let x = x ^ (x << 13);
        let x = x ^ (x >> 17);
        Some(x ^ (x << 5))
    });
    let noise: Vec<u8> = noise.map(|x| x as u8).take(3_000_000).collect();
    let field = Field::of(Parts::new("app-1.2", &noise)).await;
    let client = field.client(1).await;
    field.order(&client, "update").await;
    let told = Client::told(&client.next().await);
    let uri = told["artifact"]["source"]["uri"].as_str().unwrap();
    let later = || async {
        tokio::time::pause();
        tokio::time::advance(std::time::Duration::from_secs(6)).await;
        tokio::time::resume();
    };
    let open = async || {
        let request = Request::get(uri.strip_prefix(URL).unwrap());
        let request = request.body(Body::empty()).unwrap();
        let answer = tower_service::Service::call(&mut client.router.clone(), request).await;
        answer.unwrap().into_body().into_data_stream()
    };
    let mut pieces = open().await;
    let mut cut = open().await;
    let first = pieces.next().await.unwrap().unwrap();
    assert!(first.len() < 1_000_000, "it comes in several pieces");
    let begun = cut.next().await.unwrap().unwrap();
    // Who is served still goes on to the end, and has all of it.
    later().await;
    let mut all = first.to_vec();
    while let Some(piece) = pieces.next().await {
        all.extend(piece.unwrap());
    }
    assert!(all == field.artifact);
    let address = format!("/api/management/v2/devauth/devices/{}", client.id);
    let device = field.world.get(&address).await.json();
    let set = device["auth_sets"][0]["id"].as_str().unwrap();
    let address = format!("{address}/auth/{set}/status");
    let (world, decision) = (&field.world, json!({ "status": "rejected" }));
    let got = world.ask(&world.operator, Method::PUT, &address, &[], &decision);
    assert_eq!(got.await.status, StatusCode::NO_CONTENT);
    later().await;
    let mut come = begun.len();
    let over = loop {
        match cut.next().await.unwrap() {
            Ok(piece) => come += piece.len(),
            Err(why) => break why,
        }
    };
    assert!(over.to_string().contains("not served"), "{over}");
    assert!(come < field.artifact.len());
    assert!(cut.next().await.is_none());
}
