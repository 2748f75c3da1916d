//! Who gets in, with what.

use crate::world::{Got, World};
use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use kusabi_api::{Hex, Kind};
use kusabi_core::id::Handle;
use kusabi_server::app::Presence;
use serde_json::{Value, json};
use std::sync::atomic::Ordering::SeqCst;

/// Method, address (with something in the place of each variable) and whether a token is needed, from the document itself.
async fn endpoints(world: &World) -> Vec<(Method, String, bool)> {
    let document = world.get("/openapi.json").await.json();
    let mut all = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let address = path
                .replace("{alarm}", "1")
                .replace("{handle}", &"ab".repeat(32))
                .replace("{digest}", &"ab".repeat(32))
                .replace("{entry}", "1")
                .replace("{rollout}", "1")
                .replace(['{', '}'], "");
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let open = operation["security"] == json!([{}]);
            all.push((method, address, !open));
        }
    }
    assert!(all.len() >= 19, "{all:?}");
    all
}

#[tokio::test]
async fn no_page_is_served_without_a_token_but_those_that_say_so() {
    let world = World::new().await;
    let mut open = Vec::new();
    for (method, address, needs_token) in endpoints(&world).await {
        let request = || Request::builder().method(method.clone()).uri(&address);
        let bare = world.send(request().body(Body::empty()).unwrap()).await;
        if !needs_token {
            assert_ne!(bare.status, StatusCode::UNAUTHORIZED, "{address}");
            open.push(address);
            continue;
        }
        assert_eq!(bare.kind(), Kind::Unauthenticated, "{method} {address}");
        assert_eq!(bare.header("www-authenticate"), "Bearer");
        let admin = &world.admin;
        for value in [
            String::new(),
            String::from("Bearer"),
            String::from("Bearer "),
            format!("Basic {admin}"),
            admin.clone(),
            format!("Bearer {}", &admin[..admin.len() - 1]),
            format!("Bearer {admin}0"),
            format!("Bearer {}", admin.to_uppercase()),
        ] {
            let request = request().header("authorization", &value);
            let got = world.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(got.kind(), Kind::Unauthenticated, "{address} {value}");
        }
    }
    open.sort();
    assert_eq!(
        open,
        ["/api/v1/first-admin", "/healthz", "/metrics", "/readyz"]
    );
}

#[tokio::test]
async fn each_role_may_do_what_is_its() {
    let world = World::new().await;
    let for_admins = ["/api/v1/tokens", "/api/v1/audit-log", "/api/v1/rebuild"];
    for (method, address, needs_token) in endpoints(&world).await {
        if !needs_token {
            continue;
        }
        let admins = for_admins.iter().any(|page| address.starts_with(page));
        let reads = method == Method::GET;
        for (token, may) in [
            (&world.viewer, reads && !admins),
            (&world.operator, !admins),
            (&world.admin, true),
        ] {
            let got = world
                .ask(token, method.clone(), &address, &[], &Value::Null)
                .await;
            assert_eq!(
                got.status != StatusCode::FORBIDDEN,
                may,
                "{method} {address}"
            );
            if !may {
                let (kind, detail) = got.problem();
                assert_eq!(kind, Kind::Forbidden);
                assert!(detail.contains("needs the role"), "{detail}");
            }
        }
    }
}

#[tokio::test]
async fn no_text_is_a_fault_of_the_server() {
    let world = World::new().await;
    let document = world.get("/openapi.json").await.json();
    let mut asked = 0;
    // PostgreSQL holds no NUL, and not every client sends UTF-8.
    for odd in ["%00", "a%00b", "%ff%fe", "%f0%9f%94%91", "%27%22%3b--"] {
        for (path, operations) in document["paths"].as_object().unwrap() {
            let pieces: Vec<_> = path
                .split('/')
                .map(|piece| if piece.starts_with('{') { odd } else { piece })
                .collect();
            for (method, operation) in operations.as_object().unwrap() {
                let parameters = operation["parameters"].as_array();
                let queries = parameters
                    .into_iter()
                    .flatten()
                    .filter(|parameter| parameter["in"] == "query")
                    .map(|parameter| parameter["name"].as_str().unwrap());
                let mut addresses = vec![pieces.join("/")];
                addresses.extend(queries.map(|name| {
                    let path = path.replace(['{', '}'], "");
                    format!("{path}?{name}={odd}")
                }));
                let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                for address in addresses {
                    let got = world
                        .ask(&world.admin, method.clone(), &address, &[], &Value::Null)
                        .await;
                    let why = &got.body;
                    assert!(got.status.as_u16() != 500, "{method} {address}: {why:?}");
                    asked += 1;
                }
            }
        }
    }
    assert!(asked > 200, "{asked}");
}

async fn raw(world: &World, media_type: &str, body: impl Into<Body>) -> Got {
    let request = Request::post("/api/v1/groups")
        .header("authorization", format!("Bearer {}", world.operator))
        .header("content-type", media_type);
    world.send(request.body(body.into()).unwrap()).await
}

#[tokio::test]
async fn wrong_bodies() {
    let world = World::new().await;
    for body in [
        "",
        "{",
        "null",
        "[]",
        "{}",
        "{\"name\":7}",
        "{\"name\":\"x\",\"colour\":\"red\"}",
        "{\"name\":\"x\"} {}",
        "{\"name\":\"x\",\"name\":\"y\"}",
        "\u{feff}{\"name\":\"x\"}",
    ] {
        assert_eq!(
            raw(&world, "application/json", body).await.kind(),
            Kind::Malformed,
            "{body}"
        );
    }
    let invalid = raw(&world, "application/json", &b"{\"name\":\"\xff\"}"[..]).await;
    assert_eq!(invalid.kind(), Kind::Malformed);
    let deep = "[".repeat(60_000);
    assert_eq!(
        raw(&world, "application/json", deep).await.kind(),
        Kind::Malformed
    );
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(64 * 1024));
    assert_eq!(
        raw(&world, "application/json", large).await.kind(),
        Kind::TooLarge
    );
    for media_type in ["", "text/plain", "application/x-www-form-urlencoded"] {
        let got = raw(&world, media_type, "{\"name\":\"x\"}").await;
        assert_eq!(got.kind(), Kind::UnsupportedMediaType, "{media_type}");
    }
    let parameter = raw(
        &world,
        "Application/JSON; charset=utf-8",
        "{\"name\":\"x\"}",
    )
    .await;
    assert_eq!(parameter.status, StatusCode::CREATED);
    let body = json!({ "x": 1 });
    let full = world.ask(
        &world.admin,
        Method::POST,
        "/api/v1/tokens/tok_0/revocation",
        &[],
        &body,
    );
    assert_eq!(full.await.kind(), Kind::Malformed);
}

#[tokio::test]
async fn pages_that_are_not_there() {
    let world = World::new().await;
    for address in [
        "/nowhere",
        "/api/v1",
        "/api/v1/devices/",
        "/api/v2/devices",
        "/api/v1/users",
    ] {
        assert_eq!(world.get(address).await.kind(), Kind::Unknown, "{address}");
    }
    let patch = world
        .ask(
            &world.admin,
            Method::PATCH,
            "/api/v1/devices",
            &[],
            &Value::Null,
        )
        .await;
    assert_eq!(patch.kind(), Kind::MethodNotAllowed);
    let long = format!("/api/v1/devices?serial={}", "x".repeat(2048));
    assert_eq!(world.get(&long).await.kind(), Kind::AddressTooLong);
}

#[tokio::test]
async fn a_revoked_token_is_none_from_now_on() {
    let world = World::new().await;
    let (tokens, _) = world.pages(&world.admin, "/api/v1/tokens").await;
    let operator = tokens
        .iter()
        .find(|token| token["role"] == "operator")
        .unwrap();
    let page = format!(
        "/api/v1/tokens/{}/revocation",
        operator["id"].as_str().unwrap()
    );
    let revoke = || world.ask(&world.admin, Method::POST, &page, &[], &Value::Null);
    let revoked = revoke().await.json();
    world.edge.now_ms.fetch_add(1, SeqCst);
    assert_eq!(revoke().await.json(), revoked, "the first time stays");
    let got = world.post("/api/v1/groups", json!({ "name": "x" })).await;
    assert_eq!(got.kind(), Kind::Unauthenticated);
    let unknown = "/api/v1/tokens/tok_0/revocation";
    let got = world
        .ask(&world.admin, Method::POST, unknown, &[], &Value::Null)
        .await;
    assert_eq!(got.kind(), Kind::Unknown);
}

#[tokio::test]
async fn the_first_admin() {
    let world = World::new().await;
    let app = world.app().await;
    let claim = |link: String| {
        let body = json!({ "link": link, "name": "Aiko" });
        let request =
            Request::post("/api/v1/first-admin").header("content-type", "application/json");
        world.send(request.body(Body::from(body.to_string())).unwrap())
    };
    let old = app.first_admin_link().await.unwrap().unwrap();
    let link = app.first_admin_link().await.unwrap().unwrap();
    for bad in [String::new(), old, world.admin.clone()] {
        assert_eq!(claim(bad).await.kind(), Kind::Unauthenticated);
    }
    let got = claim(link.clone()).await;
    assert_eq!(got.status, StatusCode::CREATED);
    let secret = got.json()["secret"].as_str().unwrap().to_owned();
    let tokens = world
        .ask(&secret, Method::GET, "/api/v1/tokens", &[], &Value::Null)
        .await;
    assert_eq!(tokens.json()["items"].as_array().unwrap().len(), 4);
    assert_eq!(claim(link).await.kind(), Kind::AlreadyDone);
    assert_eq!(app.first_admin_link().await.unwrap(), None);
}

#[tokio::test]
async fn the_first_admins_link_is_good_for_an_hour() {
    let world = World::new().await;
    let link = world.app().await.first_admin_link().await.unwrap().unwrap();
    world.edge.now_ms.fetch_add(60 * 60 * 1000, SeqCst);
    let body = json!({ "link": link, "name": "Aiko" }).to_string();
    let request = Request::post("/api/v1/first-admin").header("content-type", "application/json");
    let got = world.send(request.body(Body::from(body)).unwrap()).await;
    assert_eq!(got.kind(), Kind::Unauthenticated);
}

#[tokio::test]
async fn operations() {
    let world = World::new().await;
    world.device(100, json!({})).await;
    for (page, text) in [("/healthz", "ok\n"), ("/readyz", "ready\n")] {
        let got = world.get(page).await;
        assert_eq!(
            (got.status, &got.body[..]),
            (StatusCode::OK, text.as_bytes())
        );
        assert_eq!(got.header("cache-control"), "no-store");
        assert_eq!(got.header("x-content-type-options"), "nosniff");
    }
    let page = String::from_utf8(world.get("/metrics").await.body.into()).unwrap();
    assert!(
        page.contains("kusabi_server_devices{state=\"registered\"} 1\n"),
        "{page}"
    );
    assert!(
        page.contains("kusabi_server_devices{state=\"active\"} 0\n"),
        "{page}"
    );
    assert!(
        page.contains("kusabi_server_http_answers_total{class=\"2xx\"} 3\n"),
        "{page}"
    );
}

#[tokio::test]
async fn a_server_says_what_it_is() {
    let world = World::new().await;
    let here = world.get("/api/v1/server").await.json();
    assert_eq!(
        here["organisation"],
        Hex(world.app().await.org().to_bytes()).to_string()
    );
    assert_eq!(here["keys"], json!([]));
    let presence = Presence {
        keys: vec![Handle::new([7; 32])],
        device_urls: vec![String::from("http://192.0.2.1:7041")],
        ..Presence::default()
    };
    let app = world.app().await.with_presence(presence);
    let here = serde_json::to_value(app.server()).unwrap();
    assert_eq!(here["keys"], json!(["07".repeat(32)]));
    assert_eq!(here["device_urls"], json!(["http://192.0.2.1:7041"]));
    assert_eq!(here["chain"].as_str().unwrap().len(), 64);
    assert!(here.get("writer").is_none());
}
