//! The console, through the real router, as a browser without scripts sees it.

use crate::{
    browser::{Browser, Form, forms, tags, text},
    world::{Database, Got, World},
};
use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use futures_util::StreamExt as _;
use kusabi_api::admin::AlarmKind;
use kusabi_core::suite::Purpose;
use kusabi_server::{
    app::{By, Caller},
    http::Transport,
};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering::SeqCst},
};
use tower_service::Service as _;

const HOUR_MS: u64 = 60 * 60 * 1000;

/// The form of the page that leads there.
#[track_caller]
fn form(page: &str, address: &str, action: &str) -> Form {
    let found = forms(page, address)
        .into_iter()
        .find(|form| form.action == action);
    found.unwrap_or_else(|| panic!("no form to {action} on {address}"))
}

/// A fleet of a few, with something of everything; the ID of the one that is active.
async fn fleet(world: &World) -> String {
    for (number, name) in [(101, "カメラ 3"), (102, "Roof")] {
        let serial = format!("S-{number}");
        world
            .device(
                number,
                json!({ "type": "cam-2", "serial": serial, "name": name }),
            )
            .await;
    }
    let handle = world.register(100, Purpose::Act);
    let body = json!({ "handle": handle, "type": "cam-2", "serial": "S-100", "name": "Gate" });
    let first = world.post("/api/v1/devices", body).await.json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let group = world
        .post("/api/v1/groups", json!({ "name": "north" }))
        .await
        .json();
    let group = group["id"].as_str().unwrap();
    let member = format!("/api/v1/groups/{group}/devices/{first}");
    let put = world
        .ask(&world.operator, Method::PUT, &member, &[], &json!(null))
        .await;
    assert_eq!(put.status, StatusCode::NO_CONTENT);
    for target in [json!({ "device": first }), json!({ "group": group })] {
        let order = json!({ "kind": "report", "target": target });
        world.post("/api/v1/orders", order).await.json();
    }
    let app = world.app().await;
    let by = By::only(Caller::server());
    for kind in [AlarmKind::Fork, AlarmKind::Inventory] {
        app.raise_alarm(&by, &first, kind, "two devices answered")
            .await
            .unwrap();
    }
    first
}

#[tokio::test]
async fn a_token_makes_a_session_and_the_token_stays_out_of_it() {
    let world = World::new().await;
    let mut browser = Browser::new(&world);
    // Without a session every page leads to where one signs in, and then back.
    let got = browser.get("/orders?cursor=3").await;
    assert_eq!(got.status, StatusCode::SEE_OTHER);
    assert_eq!(
        got.header("location"),
        "/sign-in?next=%2Forders%3Fcursor%3D3"
    );
    let address = got.header("location").to_owned();
    let page = browser.page(&address).await;
    let sign_in = form(&page, &address, "/sign-in");

    for bad in ["", "kusabi_token_", "x", &world.admin.to_uppercase()] {
        let got = browser.submit(&sign_in.clone().with("token", bad)).await;
        assert_eq!(got.status, StatusCode::FORBIDDEN, "{bad:?}");
        assert!(text(&got).contains("No one is known by this token"));
        assert!(got.headers.get("set-cookie").is_none());
    }
    let got = browser
        .submit(&sign_in.with("token", &format!(" {} ", world.viewer)))
        .await;
    assert_eq!(got.status, StatusCode::SEE_OTHER);
    assert_eq!(got.header("location"), "/orders?cursor=3");
    let cookie = got.header("set-cookie");
    for part in [
        "kusabi_session=kusabi_session_",
        "; HttpOnly",
        "; SameSite=Strict",
        "; Path=/",
        "; Max-Age=43200",
    ] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(
        !cookie.contains("Secure") && !cookie.contains(&world.viewer),
        "{cookie}"
    );
    browser.page("/orders?cursor=3").await;
    // The way in is shut behind one.
    assert_eq!(browser.get("/sign-in").await.status, StatusCode::SEE_OTHER);

    // Neither secret is in the database.
    if let Database::Sqlite(directory) = &world.database {
        let secret = browser.cookie("kusabi_session").unwrap();
        for file in std::fs::read_dir(directory.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            let found = bytes
                .windows(secret.len())
                .any(|part| part == secret.as_bytes());
            assert!(!found, "a session's secret stands in the database");
        }
    }
}

#[tokio::test]
async fn signing_out_ends_the_session_here_too() {
    let world = World::new().await;
    let mut browser = Browser::signed_in(&world, &world.viewer).await;
    let secret = browser.cookie("kusabi_session").unwrap().to_owned();
    let page = browser.page("/devices").await;
    let got = browser.submit(&form(&page, "/devices", "/sign-out")).await;
    assert_eq!(got.status, StatusCode::SEE_OTHER);
    assert!(browser.cookie("kusabi_session").is_none());
    let note = browser.page(got.header("location")).await;
    assert!(note.contains("You are signed out"));
    // Whoever kept the cookie has nothing.
    browser.keep("kusabi_session", &secret);
    assert_eq!(browser.get("/devices").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_session_ends_by_itself_and_with_its_token() {
    let world = World::new().await;
    let mut browser = Browser::signed_in(&world, &world.viewer).await;
    world.edge.now_ms.fetch_add(12 * HOUR_MS - 1, SeqCst);
    browser.page("/devices").await;
    world.edge.now_ms.fetch_add(1, SeqCst);
    assert_eq!(browser.get("/devices").await.status, StatusCode::SEE_OTHER);

    let mut browser = Browser::signed_in(&world, &world.viewer).await;
    let page = browser.page("/account").await;
    let token = tags(&page)
        .into_iter()
        .find(|tag| tag.text.starts_with("tok_"))
        .unwrap()
        .text;
    let revoke = format!("/api/v1/tokens/{token}/revocation");
    world
        .ask(&world.admin, Method::POST, &revoke, &[], &json!(null))
        .await
        .json();
    assert_eq!(browser.get("/devices").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn sessions_are_listed_and_ended_one_by_one_or_all() {
    let world = World::new().await;
    let mut one = Browser::signed_in(&world, &world.viewer).await;
    world.edge.now_ms.fetch_add(1000, SeqCst);
    let mut two = Browser::signed_in(&world, &world.viewer).await;
    let mut other = Browser::signed_in(&world, &world.operator).await;
    let page = two.page("/account").await;
    let ends: Vec<_> = forms(&page, "/account")
        .into_iter()
        .filter(|form| form.action.starts_with("/account/sessions/ses_"))
        .collect();
    assert_eq!(ends.len(), 2, "the newest first, of this token only");
    // Nobody ends somebody else's.
    let foreign = other.page("/account").await;
    let csrf = form(&foreign, "/account", "/account/sessions/end").fields;
    let foreign = Form {
        fields: csrf,
        ..ends[1].clone()
    };
    other.submit(&foreign).await;
    one.page("/devices").await;
    assert_eq!(two.submit(&ends[1]).await.header("location"), "/account");
    assert_eq!(one.get("/devices").await.status, StatusCode::SEE_OTHER);
    let all = form(&page, "/account", "/account/sessions/end");
    assert_eq!(
        two.submit(&all).await.header("location"),
        "/sign-in?out=true"
    );
    assert_eq!(two.get("/devices").await.status, StatusCode::SEE_OTHER);
    other.page("/devices").await;
}

#[tokio::test]
async fn a_token_has_a_bounded_number_of_sessions() {
    let world = World::new().await;
    let mut first = Browser::signed_in(&world, &world.viewer).await;
    for _ in 0..20 {
        first.page("/devices").await;
        world.edge.now_ms.fetch_add(1, SeqCst);
        Browser::signed_in(&world, &world.viewer).await;
    }
    assert_eq!(first.get("/devices").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn the_first_admin_comes_by_the_link() {
    let world = World::new().await;
    let link = world.app().await.first_admin_link().await.unwrap().unwrap();
    let mut browser = Browser::new(&world);
    let address = format!("/first-admin?link={link}");
    let page = browser.page(&address).await;
    let become_admin = form(&page, &address, "/first-admin");
    let got = browser
        .submit(&become_admin.clone().with("name", "  "))
        .await;
    assert_eq!(got.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(text(&got).contains("at least one character"));
    let got = browser
        .submit(&become_admin.clone().with("name", "Aiko"))
        .await;
    assert_eq!(got.status, StatusCode::OK);
    assert!(text(&got).contains("You are the admin, Aiko"));
    let shown = tags(text(&got));
    let token = shown
        .iter()
        .find(|tag| tag.text.starts_with("kusabi_token_"))
        .unwrap();
    // The session is there, and so is the token.
    browser.page("/audit-log").await;
    Browser::signed_in(&world, &token.text).await;
    let again = browser.submit(&become_admin.with("name", "Mallory")).await;
    assert_eq!(again.status, StatusCode::FORBIDDEN);
    assert!(text(&again).contains("This link is used"));
    let bare = browser.page("/first-admin").await;
    assert!(bare.contains("the whole link"));
}

#[tokio::test]
async fn under_tls_cookies_stay_under_tls() {
    let world = World::new().await;
    let app = Arc::new(world.app().await);
    let mut router = kusabi_server::http::router_over(app, Transport::Tls);
    let body = serde_urlencoded::to_string([("token", &world.viewer)]).unwrap();
    let request = Request::post("/sign-in")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(body))
        .unwrap();
    let answer = router.call(request).await.unwrap();
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    assert!(
        cookie.starts_with("__Host-kusabi_session=") && cookie.ends_with("; Secure"),
        "{cookie}"
    );
}

#[tokio::test]
async fn forms_of_others_are_refused() {
    let world = World::new().await;
    let device = fleet(&world).await;
    let mut browser = Browser::signed_in(&world, &world.operator).await;
    let mut other = Browser::signed_in(&world, &world.admin).await;
    let address = format!("/devices/{device}/acts/rotate");
    let page = browser.page(&address).await;
    let good = form(&page, &address, &address);
    let others = other.page(&address).await;
    let others = form(&others, &address, &address);
    let csrf = |form: &Form| {
        form.fields
            .iter()
            .find(|(name, _)| name == "csrf")
            .unwrap()
            .1
            .clone()
    };
    assert_ne!(csrf(&good), csrf(&others));

    let before = world.pages(&world.viewer, "/api/v1/orders").await.0.len();
    let fields = |csrf: &str| [("csrf", csrf.to_owned()), ("once", String::from("a1"))];
    for csrf in [
        String::new(),
        csrf(&others),
        csrf(&good)[1..].to_owned(),
        csrf(&good).to_uppercase(),
    ] {
        let fields = fields(&csrf);
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let got = browser.post(&address, &fields, &[]).await;
        assert_eq!(got.status, StatusCode::FORBIDDEN, "{csrf}");
        assert!(text(&got).contains("This form was not accepted"));
    }
    let csrf = csrf(&good);
    for headers in [
        [("sec-fetch-site", "cross-site"), ("x", "")],
        [
            ("sec-fetch-site", "same-site"),
            ("origin", "http://console.example"),
        ],
        [("origin", "http://evil.example"), ("x", "")],
        [("origin", "null"), ("x", "")],
        [("origin", "http://console.example:8080"), ("x", "")],
    ] {
        let got = browser.post(&address, &[("csrf", &csrf)], &headers).await;
        assert_eq!(got.status, StatusCode::FORBIDDEN, "{headers:?}");
        // Nor may another site sign someone in, or turn a switch.
        let got = browser
            .post("/sign-in", &[("token", &world.viewer)], &headers)
            .await;
        assert_eq!(got.status, StatusCode::FORBIDDEN, "{headers:?}");
        let got = browser
            .post("/preferences", &[("theme", "dark")], &headers)
            .await;
        assert_eq!(got.status, StatusCode::FORBIDDEN, "{headers:?}");
    }
    // A form is sent as one: what other sites' scripts may send without asking is not read.
    let request = browser
        .request(Method::POST, &address)
        .header("content-type", "text/plain")
        .body(Body::from(format!("csrf={csrf}")));
    let got = world.send(request.unwrap()).await;
    assert_eq!(got.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(
        world.pages(&world.viewer, "/api/v1/orders").await.0.len(),
        before
    );
    assert_eq!(browser.submit(&good).await.status, StatusCode::SEE_OTHER);
    assert_eq!(
        world.pages(&world.viewer, "/api/v1/orders").await.0.len(),
        before + 1
    );
}

#[tokio::test]
async fn each_role_sees_and_does_what_is_its() {
    let world = World::new().await;
    let device = fleet(&world).await;
    let shown = format!("/devices/{device}");
    let act = format!("{shown}/acts/report");
    let mut viewer = Browser::signed_in(&world, &world.viewer).await;
    let page = viewer.page(&shown).await;
    assert!(!page.contains("/acts/") && page.contains("Your role is viewer"));
    assert!(!page.contains("/acknowledge"));
    assert!(!viewer.page("/alarms").await.contains("/acknowledge"));
    assert!(!page.contains("/audit-log"));
    assert_eq!(viewer.get(&act).await.status, StatusCode::FORBIDDEN);
    // With a form of his own session, too.
    let csrf = form(&page, &shown, "/sign-out").fields;
    let csrf = csrf
        .iter()
        .find(|(name, _)| name == "csrf")
        .unwrap()
        .1
        .clone();
    let orders = world.pages(&world.viewer, "/api/v1/orders").await.0.len();
    for address in [act.as_str(), "/alarms/1/acknowledge"] {
        let got = viewer.post(address, &[("csrf", &csrf)], &[]).await;
        assert_eq!(got.status, StatusCode::FORBIDDEN, "{address}");
        assert!(text(&got).contains("Your role does not allow this"));
    }
    assert_eq!(
        world.pages(&world.viewer, "/api/v1/orders").await.0.len(),
        orders
    );

    let mut operator = Browser::signed_in(&world, &world.operator).await;
    assert!(operator.page(&shown).await.contains(&act));
    operator.page(&act).await;
    assert_eq!(
        operator.get("/audit-log").await.status,
        StatusCode::FORBIDDEN
    );
    let mut admin = Browser::signed_in(&world, &world.admin).await;
    assert!(admin.page("/audit-log").await.contains("session.open"));
}

#[tokio::test]
async fn an_order_is_asked_confirmed_and_given_once() {
    let world = World::new().await;
    let device = fleet(&world).await;
    let mut browser = Browser::signed_in(&world, &world.operator).await;
    let shown = format!("/devices/{device}");
    let address = format!("{shown}/acts/rotate");
    let confirm = form(&browser.page(&address).await, &address, &address);
    let before = world.pages(&world.viewer, "/api/v1/orders").await.0.len();
    for _ in 0..2 {
        let got = browser.submit(&confirm).await;
        assert_eq!(got.status, StatusCode::SEE_OTHER);
        assert_eq!(got.header("location"), format!("{shown}?done=rotate"));
    }
    assert_eq!(
        world.pages(&world.viewer, "/api/v1/orders").await.0.len(),
        before + 1
    );
    assert!(
        browser
            .page(&format!("{shown}?done=rotate"))
            .await
            .contains("Done: Rotate its key")
    );
    assert!(browser.page("/orders").await.contains("rotate key"));

    // A release that is none, and one that nobody published.
    let address = format!("{shown}/acts/update");
    let page = browser.page(&address).await;
    let update = form(&page, &address, &address);
    let got = browser.submit(&update.clone().with("release", "abc")).await;
    assert_eq!(got.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(text(&got).contains("This is no digest") && text(&got).contains("value=\"abc\""));
    let got = browser
        .submit(&update.with("release", &"ab".repeat(32)))
        .await;
    assert_eq!(got.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(text(&got).contains("is not on the ledger"));
    assert_eq!(
        browser.get(&format!("{shown}/acts/explode")).await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_device_is_quarantined_and_readmitted() {
    let world = World::new().await;
    let device = fleet(&world).await;
    let mut browser = Browser::signed_in(&world, &world.operator).await;
    let shown = format!("/devices/{device}");
    for (act, other, state) in [
        ("quarantine", "readmit", "quarantined"),
        ("readmit", "quarantine", "active"),
    ] {
        let offered = browser.page(&shown).await;
        assert!(
            offered.contains(&format!("/acts/{act}"))
                && !offered.contains(&format!("/acts/{other}"))
        );
        let address = format!("{shown}/acts/{act}");
        let confirm = form(&browser.page(&address).await, &address, &address);
        assert_eq!(browser.submit(&confirm).await.status, StatusCode::SEE_OTHER);
        let now = world.get(&format!("/api/v1/devices/{device}")).await.json();
        assert_eq!(now["state"], state);
    }
    // Readmitted: it is to take a new key, and the timeline tells all of it.
    let page = browser.page(&shown).await;
    for what in ["Quarantined", "Readmitted", "rotate key", "Order given"] {
        assert!(page.contains(what), "{what}");
    }
    // Nothing to be done to one that is not active yet.
    let other = world.device(200, json!({})).await;
    let page = browser.page(&format!("/devices/{other}")).await;
    assert!(page.contains("Nothing can be done to it now") && !page.contains("/acts/"));
    let address = format!("/devices/{other}/acts/quarantine");
    let confirm = form(&browser.page(&address).await, &address, &address);
    assert_eq!(
        browser.submit(&confirm).await.status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
}

/// The parts of a page that follow the fleet.
fn live(page: &str) -> BTreeSet<String> {
    let parts = tags(page);
    let parts = parts.iter().filter_map(|tag| tag.attribute("data-live"));
    parts.map(str::to_owned).collect()
}

#[tokio::test]
async fn of_a_device_that_has_moved_nothing_is_said_to_be_as_expected() {
    let world = World::new().await;
    let device = fleet(&world).await;
    let mut browser = Browser::signed_in(&world, &world.operator).await;
    let shown = format!("/devices/{device}");
    let only = "/devices?inventory=expected";
    // Past the server: which inventories are as expected, and which devices come and go, is for other tests.
    let set = async |column: &str, value: &str| {
        let mut connection = world.database.connection().await;
        let done = sqlx::query(sqlx::AssertSqlSafe(format!(
            "UPDATE devices SET {column} = $1 WHERE id = $2"
        )))
        .bind(value.to_owned())
        .bind(device.clone())
        .execute(&mut connection)
        .await
        .unwrap();
        assert_eq!(done.rows_affected(), 1);
    };
    set("inventory", "expected").await;
    let before = browser.page(&shown).await;
    assert!(before.contains("Inventory difference") && before.contains("as expected"));
    let cell = |page: &str| {
        let rows: Vec<_> = page.split("<tr>").collect();
        let row = rows.iter().find(|row| row.contains(&shown)).unwrap();
        let cell = row.split("data-label=\"Inventory\"").nth(1).unwrap();
        cell.split("</td>").next().unwrap().to_owned()
    };
    assert!(cell(&browser.page("/devices").await).contains("as expected"));
    assert!(browser.page(only).await.contains(&shown));

    set("state", "moved").await;
    let after = browser.page(&shown).await;
    assert!(!after.contains("Inventory difference") && !after.contains("as expected"));
    // A page that was open while it moved puts each part in its place, also the one in which nothing stands now.
    assert_eq!(live(&before), live(&after));
    let listed = cell(&browser.page("/devices").await);
    assert!(!listed.contains("as expected"), "{listed}");
    for verdict in ["expected", "differs", "unknown"] {
        let page = browser.page(&format!("/devices?inventory={verdict}")).await;
        assert!(!page.contains(&shown), "{verdict}");
    }
    assert!(browser.page("/devices?state=moved").await.contains(&shown));
}

#[tokio::test]
async fn a_timeline_has_pages() {
    let world = World::new().await;
    let device = fleet(&world).await;
    for _ in 0..25 {
        world
            .post(
                "/api/v1/orders",
                json!({ "kind": "rotate", "target": { "device": device } }),
            )
            .await
            .json();
    }
    let mut browser = Browser::signed_in(&world, &world.viewer).await;
    let mut next = format!("/devices/{device}");
    let mut events = 0;
    for _ in 0..10 {
        let page = browser.page(&next).await;
        events += tags(&page)
            .iter()
            .filter(|tag| tag.attribute("class") == Some("what"))
            .count();
        let more = tags(&page)
            .into_iter()
            .find(|tag| tag.attribute("rel") == Some("next"));
        match more {
            Some(tag) => next = tag.attribute("href").unwrap().to_owned(),
            None => break,
        }
    }
    // Known, two orders, two alarms, and the 25.
    assert_eq!(events, 30);
}

#[tokio::test]
async fn an_alarm_is_acknowledged_and_leads_back() {
    let world = World::new().await;
    let device = fleet(&world).await;
    let mut browser = Browser::signed_in(&world, &world.operator).await;
    let shown = format!("/devices/{device}");
    let page = browser.page(&shown).await;
    assert!(page.contains("two devices answered") && page.contains("aria-label=\"2 open\""));
    let got = browser
        .submit(&form(&page, &shown, "/alarms/1/acknowledge"))
        .await;
    assert_eq!(got.header("location"), shown);
    let open = browser.page("/alarms").await;
    assert!(!open.contains("/alarms/1/acknowledge") && open.contains("/alarms/2/acknowledge"));
    let all = browser.page("/alarms?which=all").await;
    assert!(
        all.contains("by operator"),
        "who took note of it stands there by name"
    );
}

/// What every page must be.
#[track_caller]
fn check(address: &str, got: &Got) {
    let page = text(got);
    assert!(
        got.header("content-type").starts_with("text/html"),
        "{address}"
    );
    let policy = got.header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none';"),
        "{address}: {policy}"
    );
    assert!(
        !policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"),
        "{policy}"
    );
    for part in [
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert_eq!(got.header("x-content-type-options"), "nosniff");
    assert_eq!(got.header("cache-control"), "no-store");
    let mut ids = BTreeSet::new();
    for tag in tags(page) {
        assert!(
            !tag.names()
                .any(|name| name == "style" || name.starts_with("on")),
            "{address}: {tag:?}"
        );
        assert_ne!(tag.name, "style", "{address}");
        if tag.name == "script" {
            assert!(
                tag.attribute("src").is_some() && tag.text.is_empty(),
                "{address}: {tag:?}"
            );
        }
        for name in ["href", "src", "action"] {
            if let Some(leads) = tag.attribute(name) {
                assert!(
                    leads.starts_with('/') || leads.starts_with('#'),
                    "{address} → {leads}"
                );
            }
        }
        if let Some(id) = tag.attribute("id") {
            assert!(
                ids.insert(id.to_owned()),
                "{address}: two elements are `{id}`"
            );
        }
        // What has no text of its own has a name for those who do not see it.
        if tag.name == "svg" {
            assert_eq!(
                tag.attribute("aria-hidden"),
                Some("true"),
                "{address}: {tag:?}"
            );
        }
    }
    // Every field has a label.
    let all = tags(page);
    for (at, tag) in all.iter().enumerate() {
        let field = matches!(tag.name.as_str(), "input" | "select")
            && tag.attribute("type") != Some("hidden");
        if field {
            let by_id = tag.attribute("id").is_some_and(|id| {
                all.iter()
                    .any(|other| other.name == "label" && other.attribute("for") == Some(id))
            });
            let around = at >= 2 && all[at - 2].name == "label";
            assert!(by_id || around, "{address}: {tag:?} has no label");
        }
    }
    assert!(page.contains("<main id=\"content\""), "{address}");
    assert_eq!(page.matches("<h1").count(), 1, "{address}");
}

#[tokio::test]
async fn every_link_leads_somewhere_and_every_page_is_strict() {
    let world = World::new().await;
    let device = fleet(&world).await;
    for language in ["en", "ja"] {
        let mut browser = Browser::signed_in(&world, &world.admin).await;
        browser.language = language;
        let mut waiting = vec![
            String::from("/"),
            format!("/devices/{device}?done=report"),
            String::from("/nowhere"),
        ];
        let mut seen = BTreeSet::new();
        let mut targets: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        while let Some(address) = waiting.pop() {
            if !seen.insert(address.clone()) {
                continue;
            }
            assert!(seen.len() < 400, "the console has no end");
            let got = browser.get(&address).await;
            match got.status {
                StatusCode::SEE_OTHER => {
                    waiting.push(got.header("location").to_owned());
                    continue;
                }
                StatusCode::NOT_FOUND => assert_eq!(address, "/nowhere"),
                status => assert_eq!(status, StatusCode::OK, "{address}"),
            }
            if address.starts_with("/assets/") || address.ends_with("/proof") {
                assert!(!got.body.is_empty());
                continue;
            }
            check(&address, &got);
            let page = text(&got);
            let html = format!("<html lang=\"{language}\"");
            assert!(page.contains(&html), "{address}");
            assert!(
                !page.contains("{{") && !page.contains("{}"),
                "{address}: something was not filled in"
            );
            for tag in tags(page) {
                for leads in ["href", "src"]
                    .iter()
                    .filter_map(|name| tag.attribute(name))
                {
                    let (path, fragment) = leads.split_once('#').unwrap_or((leads, ""));
                    if !fragment.is_empty() {
                        let path = if path.is_empty() { &address } else { path };
                        targets
                            .entry(path.to_owned())
                            .or_default()
                            .insert(fragment.to_owned());
                    }
                    if !path.is_empty() {
                        waiting.push(path.to_owned());
                    }
                }
            }
            // A form that leads nowhere would be a 404 or 405; without its fields none is accepted, so nothing changes.
            for form in forms(page, &address) {
                if form.method != "post" || form.action == "/preferences" {
                    continue;
                }
                let got = browser.post(&form.action, &[], &[]).await;
                let refused = [StatusCode::FORBIDDEN, StatusCode::BAD_REQUEST];
                assert!(
                    refused.contains(&got.status),
                    "{address}: {} {}",
                    form.action,
                    got.status
                );
            }
        }
        for (page, fragments) in targets {
            let page = browser.get(&page).await;
            let page = text(&page);
            for fragment in fragments {
                assert!(page.contains(&format!("id=\"{fragment}\"")), "#{fragment}");
            }
        }
        for page in [
            "/account",
            "/alarms",
            "/alarms?which=all",
            "/audit-log",
            "/channels",
            "/components",
            "/devices",
            "/orders",
            "/rollouts/new",
            "/words",
        ] {
            assert!(seen.contains(page), "nothing leads to {page}: {seen:?}");
        }
        assert!(
            seen.iter()
                .any(|page| page.starts_with("/keys/") && page.ends_with("/proof"))
        );
        assert!(seen.iter().any(|page| page.contains("/acts/update")));
    }
    // Those that need no session.
    let mut stranger = Browser::new(&world);
    for address in ["/sign-in", "/words", "/first-admin?link=x"] {
        let got = stranger.get(address).await;
        assert_eq!(got.status, StatusCode::OK);
        check(address, &got);
    }
}

#[tokio::test]
async fn hostile_names_are_only_text() {
    let world = World::new().await;
    let hostile = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' onmouseover='alert(1)",
        "{{ 7 * 7 }}{% raw %}",
        "&lt;b&gt;",
        "'; DROP TABLE devices; --",
    ];
    let mut devices = Vec::new();
    for (number, name) in (100..).zip(hostile) {
        let body = json!({ "type": name, "serial": name, "name": name });
        devices.push(world.device(number, body).await);
        let group = world
            .post("/api/v1/groups", json!({ "name": name }))
            .await
            .json();
        let group = group["id"].as_str().unwrap();
        let member = format!("/api/v1/groups/{group}/devices/{}", devices[0]);
        world
            .ask(&world.operator, Method::PUT, &member, &[], &json!(null))
            .await;
        world
            .post(
                "/api/v1/orders",
                json!({ "kind": "report", "target": { "group": group } }),
            )
            .await
            .json();
        let token = json!({ "name": name, "role": "admin" });
        let token = world
            .ask(&world.admin, Method::POST, "/api/v1/tokens", &[], &token)
            .await
            .json();
        let app = world.app().await;
        let by = By::only(Caller::server());
        app.raise_alarm(&by, &devices[0], AlarmKind::Order, name)
            .await
            .unwrap();
        // Who signs in under such a name sees it in the frame of every page.
        let mut browser = Browser::signed_in(&world, token["secret"].as_str().unwrap()).await;
        let escaped = name
            .replace('&', "&#38;")
            .replace('<', "&#60;")
            .replace('>', "&#62;")
            .replace('"', "&#34;")
            .replace('\'', "&#39;");
        let query = serde_urlencoded::to_string([("q", name), ("type", name)]).unwrap();
        for address in [
            String::from("/devices"),
            format!("/devices?{query}"),
            format!("/devices/{}", devices[0]),
            format!("/devices/{}/acts/rotate", devices[0]),
            String::from("/alarms"),
            String::from("/orders"),
            String::from("/audit-log"),
            String::from("/account"),
        ] {
            let got = browser.get(&address).await;
            assert_eq!(got.status, StatusCode::OK, "{address}");
            check(&address, &got);
            let page = text(&got);
            assert!(page.contains(&escaped), "{address}: {name}");
            if escaped != name {
                assert!(!page.contains(name), "{address}: {name}");
            }
            assert!(
                !tags(page)
                    .iter()
                    .any(|tag| tag.name == "img" || tag.name == "b" && tag.text.is_empty())
            );
        }
        let (found, _) = list(&mut browser, &format!("/devices?{query}")).await;
        assert_eq!(found.len(), 1, "{name}");
    }
    // A problem that quotes what was asked.
    let mut browser = Browser::signed_in(&world, &world.viewer).await;
    let got = browser
        .get("/devices?state=%3Cscript%3Ealert(1)%3C/script%3E")
        .await;
    assert_eq!(got.status, StatusCode::BAD_REQUEST);
    check("/devices?state=…", &got);
    assert!(text(&got).contains("&#60;script&#62;"));
    let got = browser.get("/devices/%3Cscript%3E").await;
    assert_eq!(got.status, StatusCode::NOT_FOUND);
    check("/devices/…", &got);
}

/// The devices of a list with all of its pages, and how many pages there were.
async fn list(browser: &mut Browser<'_>, address: &str) -> (Vec<String>, usize) {
    let mut devices = Vec::new();
    let mut next = address.to_owned();
    for pages in 1..50 {
        let page = browser.page(&next).await;
        let all = tags(&page);
        let links = all.iter().filter(|tag| tag.name == "a");
        let rows = links
            .clone()
            .filter_map(|tag| tag.attribute("href"))
            .filter(|address| address.starts_with("/devices/dev_"));
        devices.extend(rows.map(str::to_owned));
        match links
            .clone()
            .find(|tag| tag.attribute("rel") == Some("next"))
        {
            Some(tag) => next = tag.attribute("href").unwrap().to_owned(),
            None => return (devices, pages),
        }
    }
    panic!("the list has no end");
}

#[tokio::test]
async fn long_lists_have_pages_and_filters_hold_on_all_of_them() {
    let world = World::new().await;
    for number in 0..103 {
        let kind = if number % 2 == 0 { "cam-2" } else { "gateway" };
        let body = json!({ "type": kind, "serial": format!("SN_{number:03}"), "name": format!("Camera {}%", number % 10) });
        world.device(1000 + number, body).await;
    }
    let act = world.register(5000, Purpose::Act);
    world
        .post("/api/v1/devices", json!({ "handle": act }))
        .await
        .json();
    let mut browser = Browser::signed_in(&world, &world.viewer).await;
    let (all, pages) = list(&mut browser, "/devices").await;
    assert_eq!(
        (all.iter().collect::<BTreeSet<_>>().len(), all.len(), pages),
        (104, 104, 3)
    );
    for (query, count) in [
        ("type=cam-2", 52),
        ("type=cam-2&state=registered", 52),
        ("type=gateway&state=active", 0),
        ("state=active", 1),
        ("inventory=unknown", 104),
        ("inventory=differs", 0),
        ("q=camera", 103),
        ("q=CAMERA+3", 10),
        ("q=3%25", 10),
        ("q=sn_00", 10),
        ("q=SN%2500", 0),
        ("q=sn-00", 0),
        ("q=%5C", 0),
        ("group=grp_none", 0),
        ("q=&state=&type=&group=&inventory=", 104),
    ] {
        let (found, _) = list(&mut browser, &format!("/devices?{query}")).await;
        assert_eq!(found.len(), count, "{query}");
    }
    let page = browser.page("/devices?state=active&q=x").await;
    assert!(page.contains("No device matches") && page.contains("104 in all"));
    let types: Vec<_> = tags(&page)
        .into_iter()
        .filter(|tag| tag.name == "option")
        .filter_map(|tag| tag.attribute("value").map(str::to_owned))
        .collect();
    assert!(types.contains(&String::from("cam-2")) && types.contains(&String::from("gateway")));
    for bad in ["cursor=%27", "state=asleep", "inventory=?", "q=a%00b"] {
        let got = browser.get(&format!("/devices?{bad}")).await;
        assert_eq!(got.status, StatusCode::BAD_REQUEST, "{bad}");
    }
}

#[tokio::test]
async fn an_empty_fleet_says_what_to_do() {
    let world = World::new().await;
    let mut browser = Browser::signed_in(&world, &world.viewer).await;
    let page = browser.page("/devices").await;
    assert!(
        page.contains("No device yet")
            && page.contains("kusabi provision")
            && page.contains("kusabi enrol")
    );
    assert!(browser.page("/alarms").await.contains("No open alarm"));
    assert!(
        browser
            .page("/orders")
            .await
            .contains("No order was given yet")
    );
}

#[tokio::test]
async fn language_and_colours_are_chosen_and_kept() {
    let world = World::new().await;
    let mut browser = Browser::signed_in(&world, &world.viewer).await;
    browser.language = "ja-JP,en;q=0.5";
    let page = browser.page("/words").await;
    assert!(
        page.contains("lang=\"ja\"")
            && page.contains("工場鍵")
            && page.contains("data-theme=\"auto\"")
    );
    let switch = form(&page, "/words", "/preferences");
    let got = browser.submit(&switch.clone().with("language", "en")).await;
    assert_eq!(got.header("location"), "/words");
    let got = browser.submit(&switch.clone().with("theme", "dark")).await;
    assert_eq!(got.status, StatusCode::SEE_OTHER);
    let page = browser.page("/words").await;
    assert!(page.contains("<html lang=\"en\" data-theme=\"dark\"") && page.contains("Factory key"));
    for (name, value) in [("language", "xx"), ("theme", "\"><script>")] {
        let got = browser.submit(&switch.clone().with(name, value)).await;
        assert_eq!(got.status, StatusCode::BAD_REQUEST);
    }
    // A switch leads nowhere else.
    for back in ["//evil.example", "https://evil.example", "/\\evil.example"] {
        let got = browser
            .submit(&switch.clone().with("theme", "light").with("back", back))
            .await;
        assert_eq!(got.header("location"), "/devices", "{back}");
    }
    browser.keep("kusabi_theme", "\"><script>");
    browser.keep("kusabi_language", "../../etc");
    assert!(
        browser
            .page("/words")
            .await
            .contains("<html lang=\"ja\" data-theme=\"auto\"")
    );
}

#[tokio::test]
async fn a_key_is_shown_with_its_proof_or_not_at_all() {
    let world = World::new().await;
    let device = fleet(&world).await;
    let handle =
        world.get(&format!("/api/v1/devices/{device}")).await.json()["keys"][0]["handle"].clone();
    let handle = handle.as_str().unwrap().to_owned();
    let mut browser = Browser::signed_in(&world, &world.viewer).await;
    let shown = browser.page(&format!("/devices/{device}")).await;
    assert!(shown.contains("proven at height") && shown.contains("Device key"));
    let page = browser.page(&format!("/keys/{handle}")).await;
    assert!(page.contains(&format!("kusabi key lookup {handle}")) && page.contains("Gate"));
    let proof = browser.get(&format!("/keys/{handle}/proof")).await;
    let record = world.get(&format!("/api/v1/keys/{handle}")).await.json();
    assert_eq!(proof.header("content-type"), "application/octet-stream");
    assert!(proof.body.len() > 300 && record["present"] == true);
    let absent = browser.page(&format!("/keys/{}", "ab".repeat(32))).await;
    assert!(absent.contains("no key has this handle"));

    // A ledger that lies, or is away: the device is shown, what is not proven is not said.
    world.ledger.lies.store(true, SeqCst);
    let shown = browser.page(&format!("/devices/{device}")).await;
    assert!(shown.contains("nothing is proven") && !shown.contains("proven at height"));
    let got = browser.get(&format!("/keys/{handle}")).await;
    assert_eq!(got.status, StatusCode::BAD_GATEWAY);
    check("/keys/…", &got);
    world.ledger.lies.store(false, SeqCst);
    world.ledger.gone.store(true, SeqCst);
    assert!(
        browser
            .page(&format!("/devices/{device}"))
            .await
            .contains("nothing is proven")
    );
}

#[tokio::test]
async fn what_goes_wrong_is_a_page_for_people_and_a_problem_for_programs() {
    let world = World::new().await;
    let mut browser = Browser::signed_in(&world, &world.viewer).await;
    let got = browser.get("/nowhere").await;
    assert_eq!(got.status, StatusCode::NOT_FOUND);
    check("/nowhere", &got);
    for address in ["/api/v1/nowhere", "/nowhere"] {
        let request = Request::get(address).header("accept", "application/json");
        let got = world.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(got.kind(), kusabi_api::Kind::Unknown, "{address}");
    }
    let got = browser.post("/words", &[], &[]).await;
    assert_eq!(got.status, StatusCode::METHOD_NOT_ALLOWED);
    check("/words", &got);
    let got = browser.post("/live", &[], &[]).await;
    assert_eq!(got.kind(), kusabi_api::Kind::MethodNotAllowed);
    // Signed out in the middle of a form: a page, not a lost form that seems sent.
    let got = Browser::new(&world).post("/sign-out", &[], &[]).await;
    assert_eq!(got.status, StatusCode::UNAUTHORIZED);
    check("/sign-out", &got);
}

/// The next piece of a stream, as text.
async fn piece(stream: &mut axum::body::BodyDataStream) -> Option<String> {
    let piece = stream.next().await?.unwrap();
    Some(String::from_utf8(piece.to_vec()).unwrap())
}

#[tokio::test]
async fn a_page_that_follows_hears_of_changes_until_its_session_ends() {
    let world = World::new().await;
    let device = fleet(&world).await;
    let browser = Browser::signed_in(&world, &world.operator).await;
    let request = browser
        .request(Method::GET, "/live")
        .body(Body::empty())
        .unwrap();
    let answer = world.router.clone().call(request).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut stream = answer.into_body().into_data_stream();
    assert_eq!(piece(&mut stream).await.unwrap(), "retry: 3000\n\n");
    let order = json!({ "kind": "rotate", "target": { "device": device } });
    world.post("/api/v1/orders", order.clone()).await.json();
    let told = piece(&mut stream).await.unwrap();
    let data = told.strip_prefix("event: change\ndata: ").unwrap();
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    let expected =
        json!({ "devices": [device], "alarms": [], "orders": [3], "rollouts": [], "many": false });
    assert_eq!(data, expected);
    // What comes at once is told at once.
    for _ in 0..100 {
        world.post("/api/v1/orders", order.clone()).await.json();
    }
    assert!(piece(&mut stream).await.unwrap().contains("\"many\":true"));
    // Whoever is signed out hears nothing more.
    world.edge.now_ms.fetch_add(12 * HOUR_MS, SeqCst);
    world.post("/api/v1/orders", order).await.json();
    assert_eq!(piece(&mut stream).await, None);

    let stranger = Request::get("/live").body(Body::empty()).unwrap();
    assert_eq!(world.send(stranger).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn one_account_leaves_places_for_others_that_follow() {
    let world = World::new().await;
    let follow = async |browser: &Browser<'_>| {
        let request = browser.request(Method::GET, "/live");
        let request = request.body(Body::empty()).unwrap();
        world.router.clone().call(request).await.unwrap()
    };
    let greedy = Browser::signed_in(&world, &world.viewer).await;
    let again = Browser::signed_in(&world, &world.viewer).await;
    let other = Browser::signed_in(&world, &world.operator).await;
    let mut open = Vec::new();
    let refused = loop {
        assert!(open.len() < 1000, "one account has all places");
        // The session makes no difference.
        let browser = if open.len().is_multiple_of(2) {
            &greedy
        } else {
            &again
        };
        let answer = follow(browser).await;
        if answer.status() != StatusCode::OK {
            break answer;
        }
        open.push(answer);
    };
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(open.len(), 256);
    assert_eq!(follow(&other).await.status(), StatusCode::OK);
    // A place is free as soon as its page is left.
    open.truncate(250);
    assert_eq!(follow(&greedy).await.status(), StatusCode::OK);
}

/// A form from this address, without cookies.
async fn send_from(world: &World, source: &str, address: &str, fields: &[(&str, &str)]) -> Got {
    let peer = std::net::SocketAddr::new(source.parse().unwrap(), 5000);
    let request = Request::post(address)
        .header("content-type", "application/x-www-form-urlencoded")
        .extension(axum::extract::ConnectInfo(peer))
        .body(Body::from(serde_urlencoded::to_string(fields).unwrap()));
    world.send(request.unwrap()).await
}

#[tokio::test]
async fn attempts_to_sign_in_are_bounded_by_source_and_shut_nobody_else_out() {
    let world = World::new().await;
    let mut browser = Browser::signed_in(&world, &world.admin).await;
    let wrong = [("token", "kusabi_token_0")];
    for attempt in 0..60 {
        // Tokens and links are one share.
        let got = match attempt % 2 {
            0 => send_from(&world, "192.0.2.1", "/sign-in", &wrong).await,
            _ => {
                let fields = [("link", "kusabi_link_0"), ("name", "x")];
                send_from(&world, "192.0.2.1", "/first-admin", &fields).await
            }
        };
        assert_eq!(got.status, StatusCode::FORBIDDEN, "{attempt}");
    }
    let mut got = send_from(&world, "192.0.2.1", "/sign-in", &wrong).await;
    if got.status == StatusCode::FORBIDDEN {
        // Five seconds passed meanwhile.
        got = send_from(&world, "192.0.2.1", "/sign-in", &wrong).await;
    }
    assert_eq!(got.status, StatusCode::TOO_MANY_REQUESTS);
    let wait: u32 = got.header("retry-after").parse().unwrap();
    assert!((1..=5).contains(&wait), "{wait}");
    // From elsewhere, and in sessions that are open, everything is as before.
    let right = [("token", &*world.admin)];
    for source in ["192.0.2.2", "2001:db8::1"] {
        let got = send_from(&world, source, "/sign-in", &right).await;
        assert_eq!(got.status, StatusCode::SEE_OTHER, "{source}");
    }
    browser.page("/devices").await;
    // Behind a proxy on this machine nobody uses up another's share.
    for _ in 0..100 {
        let got = send_from(&world, "127.0.0.1", "/sign-in", &wrong).await;
        assert_eq!(got.status, StatusCode::FORBIDDEN);
    }
    let got = send_from(&world, "127.0.0.1", "/sign-in", &right).await;
    assert_eq!(got.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_token_does_not_fill_the_audit_log_with_sessions() {
    let world = World::new().await;
    let right = [("token", &*world.viewer)];
    let mut opened = 0;
    let refused = loop {
        assert!(opened < 200, "there is no end to it");
        let source = format!("192.0.2.{opened}");
        let got = send_from(&world, &source, "/sign-in", &right).await;
        if got.status != StatusCode::SEE_OTHER {
            break got;
        }
        opened += 1;
    };
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert!((1..=60).contains(&refused.header("retry-after").parse::<u32>().unwrap()));
    assert!((60..63).contains(&opened), "{opened}");
    // Nor is its owner shut out: another token signs in, and this one goes on counting where it is sent.
    let other = [("token", &*world.operator)];
    let got = send_from(&world, "192.0.2.9", "/sign-in", &other).await;
    assert_eq!(got.status, StatusCode::SEE_OTHER);
    assert_eq!(world.get("/api/v1/devices").await.status, StatusCode::OK);
}
