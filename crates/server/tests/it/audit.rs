//! The audit log.

use crate::world::{World, at_once, call};
use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use kusabi_api::{Kind, admin::AuditEntry};
use kusabi_server::app::{AUDIT_GENESIS, audit_link};
use serde_json::{Value, json};
use std::sync::Arc;

async fn log(world: &World) -> Vec<AuditEntry> {
    let (items, _) = world.pages(&world.admin, "/api/v1/audit-log?limit=3").await;
    items
        .into_iter()
        .map(|item| serde_json::from_value(item).unwrap())
        .collect()
}

fn whole(log: &[AuditEntry]) -> bool {
    let mut before = AUDIT_GENESIS;
    (1..).zip(log).all(|(seq, entry)| {
        let good = entry.seq == seq && entry.hash.0 == audit_link(&before, entry);
        before = entry.hash.0;
        good
    })
}

#[tokio::test]
async fn every_act_is_noted_once_and_refused_ones_are_not() {
    let world = World::new().await;
    let device = world.device(100, json!({ "serial": "S-1" })).await;
    let group = world
        .post("/api/v1/groups", json!({ "name": "north" }))
        .await
        .json();
    let group = group["id"].as_str().unwrap();
    let member = format!("/api/v1/groups/{group}/devices/{device}");
    for _ in 0..2 {
        world
            .ask(&world.operator, Method::PUT, &member, &[], &Value::Null)
            .await;
    }
    assert_eq!(
        world
            .post("/api/v1/groups", json!({ "name": "north" }))
            .await
            .kind(),
        Kind::Exists
    );
    let viewer = world
        .ask(&world.viewer, Method::PUT, &member, &[], &Value::Null)
        .await;
    assert_eq!(viewer.kind(), Kind::Forbidden);
    world
        .ask(&world.operator, Method::DELETE, &member, &[], &Value::Null)
        .await;

    let log = log(&world).await;
    let acts: Vec<&str> = log.iter().map(|entry| entry.act.as_str()).collect();
    let made = ["token.create"; 3].into_iter();
    let done = ["device.import", "group.create", "group.add", "group.remove"];
    assert_eq!(acts, made.chain(done).collect::<Vec<_>>());
    assert_eq!(log[0].actor, "server");
    assert_eq!(
        log[4].actor, log[1].subject,
        "the operator's token is named, not its secret"
    );
    assert_eq!(log[5].subject, group);
    assert_eq!(log[5].detail, json!({ "device": device }).to_string());
    assert!(whole(&log));
}

#[tokio::test]
async fn a_log_that_was_touched_is_not_whole() {
    let world = World::new().await;
    for name in ["a", "b", "c"] {
        world
            .post("/api/v1/groups", json!({ "name": name }))
            .await
            .json();
    }
    let good = log(&world).await;
    assert!(whole(&good));
    let touch = |change: &dyn Fn(&mut Vec<AuditEntry>)| {
        let mut log = good.clone();
        change(&mut log);
        whole(&log)
    };
    assert!(!touch(&|log| log[4].detail = String::from("{}")));
    assert!(!touch(&|log| log[4].actor = String::from("tok_00")));
    assert!(!touch(&|log| log[4].at_ms += 1));
    assert!(!touch(&|log| drop(log.remove(2))));
    assert!(!touch(&|log| log.swap(3, 4)));
    // What moves from one field to the next is another entry.
    assert!(!touch(&|log| {
        let moved = log[4].act.pop().unwrap();
        log[4].subject.insert(0, moved);
    }));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_act_at_once_leave_one_chain() {
    let world = World::new().await;
    // Two servers over one database.
    let other = kusabi_server::http::router(Arc::new(world.app().await));
    let acts = (0..80).map(|n| {
        let request = Request::post("/api/v1/groups")
            .header("authorization", format!("Bearer {}", world.operator))
            .header("content-type", "application/json")
            .body(Body::from(json!({ "name": format!("g{n}") }).to_string()));
        let router = if n % 2 == 0 { &world.router } else { &other };
        call(router, request.unwrap())
    });
    for got in at_once(acts).await {
        assert_eq!(got.status, StatusCode::CREATED, "{:?}", got.body);
    }
    let log = log(&world).await;
    assert_eq!(log.len(), 3 + 80);
    assert!(whole(&log));
    assert_eq!(
        world.pages(&world.viewer, "/api/v1/groups").await.0.len(),
        80
    );
}

#[tokio::test]
async fn only_admins_read_it() {
    let world = World::new().await;
    for token in [&world.viewer, &world.operator] {
        let got = world
            .ask(token, Method::GET, "/api/v1/audit-log", &[], &Value::Null)
            .await;
        assert_eq!(got.kind(), Kind::Forbidden);
    }
}
