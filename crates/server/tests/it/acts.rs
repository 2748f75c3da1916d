//! Requests that are repeated.

use crate::world::{Database, World, at_once};
use axum::http::{Method, StatusCode};
use kusabi_api::Kind;
use serde_json::{Value, json};
use std::sync::atomic::Ordering::SeqCst;

const GROUPS: &str = "/api/v1/groups";
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

async fn create(world: &World, token: &str, key: &str, name: &str) -> crate::world::Got {
    let headers = [("idempotency-key", key)];
    world
        .ask(
            token,
            Method::POST,
            GROUPS,
            &headers,
            &json!({ "name": name }),
        )
        .await
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_and_does_nothing() {
    let world = World::new().await;
    let first = create(&world, &world.operator, "k1", "north").await;
    assert_eq!(first.status, StatusCode::CREATED);
    world.edge.now_ms.fetch_add(5000, SeqCst);
    let again = create(&world, &world.operator, "k1", "north").await;
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!(world.pages(&world.viewer, GROUPS).await.0, [first.json()]);
    // Without the key it is another request.
    let plain = world.post(GROUPS, json!({ "name": "north" })).await;
    let (kind, detail) = plain.problem();
    assert_eq!(kind, Kind::Exists);
    assert!(
        detail.contains(first.json()["id"].as_str().unwrap()),
        "{detail}"
    );
}

#[tokio::test]
async fn a_key_stands_for_one_request_of_one_token() {
    let world = World::new().await;
    create(&world, &world.operator, "k1", "north").await.json();
    assert_eq!(
        create(&world, &world.operator, "k1", "south").await.kind(),
        Kind::KeyReused
    );
    // The same key of somebody else is another one.
    let other = create(&world, &world.admin, "k1", "south").await;
    assert_eq!(other.status, StatusCode::CREATED);
    // The same body to another page is another request.
    let headers = [("idempotency-key", "k1")];
    let page = "/api/v1/tokens";
    let body = json!({ "name": "south", "role": "viewer" });
    let moved = world
        .ask(&world.admin, Method::POST, page, &headers, &body)
        .await;
    assert_eq!(moved.kind(), Kind::KeyReused);
}

#[tokio::test]
async fn what_failed_may_be_tried_again_with_the_same_key() {
    let world = World::new().await;
    let taken = create(&world, &world.operator, "k1", "north").await.json();
    assert_eq!(
        create(&world, &world.operator, "k2", "north").await.kind(),
        Kind::Exists
    );
    assert_eq!(
        create(&world, &world.operator, "k2", "south").await.status,
        StatusCode::CREATED
    );
    assert_eq!(world.pages(&world.viewer, GROUPS).await.0.len(), 2);
    assert_eq!(taken["name"], "north");
}

#[tokio::test]
async fn a_secret_is_not_kept_for_the_repeat() {
    let world = World::new().await;
    let headers = [("idempotency-key", "k1")];
    let body = json!({ "name": "backup", "role": "viewer" });
    let page = "/api/v1/tokens";
    let first = world
        .ask(&world.admin, Method::POST, page, &headers, &body)
        .await
        .json();
    let again = world
        .ask(&world.admin, Method::POST, page, &headers, &body)
        .await;
    assert_eq!(again.kind(), Kind::AlreadyDone);
    // Three of the world's, one of ours.
    assert_eq!(world.pages(&world.admin, page).await.0.len(), 4);
    let secret = first["secret"].as_str().unwrap();
    let Database::Sqlite(directory) = &world.database else {
        return; // Where another program keeps the files, they are not ours to look at.
    };
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        for secret in [secret, &world.admin] {
            let found = bytes
                .windows(secret.len())
                .any(|part| part == secret.as_bytes());
            assert!(!found, "a token stands in the database");
        }
    }
}

#[tokio::test]
async fn keys_are_forgotten_after_a_day() {
    let world = World::new().await;
    create(&world, &world.operator, "k1", "north").await.json();
    world.edge.now_ms.fetch_add(DAY_MS, SeqCst);
    assert_eq!(
        create(&world, &world.operator, "k1", "south").await.kind(),
        Kind::KeyReused
    );
    world.edge.now_ms.fetch_add(1, SeqCst);
    create(&world, &world.operator, "k2", "east").await.json();
    assert_eq!(
        create(&world, &world.operator, "k1", "south").await.status,
        StatusCode::CREATED
    );
}

#[tokio::test]
async fn keys_that_are_none() {
    let world = World::new().await;
    for key in ["", &"x".repeat(129)] {
        assert_eq!(
            create(&world, &world.operator, key, "north").await.kind(),
            Kind::BadParameter
        );
    }
    let long = "x".repeat(128);
    assert_eq!(
        create(&world, &world.operator, &long, "north").await.status,
        StatusCode::CREATED
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_with_one_key_are_one() {
    let world = World::new().await;
    let all = (0..20).map(|_| create(&world, &world.operator, "k1", "north"));
    let mut answers: Vec<Value> = Vec::new();
    for got in at_once(all).await {
        answers.push(got.json());
    }
    assert!(answers.windows(2).all(|two| two[0] == two[1]));
    assert_eq!(world.pages(&world.viewer, GROUPS).await.0.len(), 1);
}
