//! Pages at none, one and many.

use crate::world::World;
use kusabi_api::Kind;
use serde_json::{Value, json};

const GROUPS: &str = "/api/v1/groups";

fn ids(items: &[Value]) -> Vec<String> {
    items.iter().map(|item| item["id"].to_string()).collect()
}

#[tokio::test]
async fn none_one_and_many() {
    let world = World::new().await;
    assert_eq!(world.get(GROUPS).await.json(), json!({ "items": [] }));
    for n in 1..=11 {
        world
            .post(GROUPS, json!({ "name": format!("g{n}") }))
            .await
            .json();
        for limit in [1, 2, 5, 10, 200] {
            let (items, pages) = world
                .pages(&world.viewer, &format!("{GROUPS}?limit={limit}"))
                .await;
            let ids = ids(&items);
            assert_eq!(ids.len(), n);
            assert!(ids.is_sorted() && ids.windows(2).all(|two| two[0] != two[1]));
            assert_eq!(pages, n.div_ceil(limit), "{n} groups, {limit} on a page");
        }
    }
}

#[tokio::test]
async fn newest_first_lists_do_not_shift_when_something_comes() {
    let world = World::new().await;
    let device = world.device(100, json!({})).await;
    let order = json!({ "kind": "rotate", "target": { "device": device } });
    for _ in 0..5 {
        world.post("/api/v1/orders", order.clone()).await.json();
    }
    let first = world.get("/api/v1/orders?limit=2").await.json();
    assert_eq!(ids(first["items"].as_array().unwrap()), ["5", "4"]);
    world.post("/api/v1/orders", order).await.json();
    let next = format!(
        "/api/v1/orders?limit=2&cursor={}",
        first["next"].as_str().unwrap()
    );
    let second = world.get(&next).await.json();
    assert_eq!(ids(second["items"].as_array().unwrap()), ["3", "2"]);
}

#[tokio::test]
async fn limits_and_cursors_that_are_none() {
    let world = World::new().await;
    for page in [
        "/api/v1/groups",
        "/api/v1/orders",
        "/api/v1/alarms",
        "/api/v1/devices",
    ] {
        for bad in [
            "limit=0",
            "limit=201",
            "limit=-1",
            "limit=65536",
            "cursor=a%00b",
            "cursor=%27",
        ] {
            let got = world.get(&format!("{page}?{bad}")).await;
            assert_eq!(got.kind(), Kind::BadParameter, "{page} {bad}");
        }
        let long = format!("{page}?cursor={}", "9".repeat(65));
        assert_eq!(world.get(&long).await.kind(), Kind::BadParameter, "{page}");
    }
}
