//! A rollout from the console's form, and the channels beside it.

use crate::{
    browser::{Browser, Form, forms, text},
    world::World,
};
use axum::http::StatusCode;
use serde_json::{Value, json};

fn form(page: &str, action: &str) -> Form {
    let mut all = forms(page, "/rollouts/new").into_iter();
    all.find(|form| form.action == action).unwrap()
}

async fn rollouts(world: &World) -> Vec<Value> {
    let all = world.get("/api/v1/rollouts").await.json();
    all["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_release_is_rolled_out_from_a_form() {
    let world = World::new().await;
    world.art_policy();
    let made = world.whole(100).await;
    world.device(8700, json!({ "type": "cam-2" })).await;
    let mut browser = Browser::signed_in(&world, &world.operator).await;
    let page = browser.page("/rollouts").await;
    assert!(page.contains("href=\"/rollouts/new\""), "{page}");
    let empty = browser.page("/rollouts/new").await;
    let digest = made.digest.to_string();
    // Boxes are not ticked.
    let asks = || {
        let blank = form(&empty, "/rollouts/new")
            .with("all", "")
            .with("force", "");
        blank.with("name", "night").with("release", &digest)
    };
    for (form, why) in [
        (asks(), "no devices are named"),
        (asks().with("name", " ").with("all", "yes"), "a name"),
        (
            asks().with("release", "x").with("all", "yes"),
            "by its digest",
        ),
        (
            asks().with("all", "yes").with("type", "cam-2"),
            "one of both",
        ),
        (asks().with("type", "other"), "not for devices of type"),
        (asks().with("group", "grp_none"), "there is no group"),
        (
            asks().with("inventory", "fine").with("all", "yes"),
            "verdict",
        ),
        (
            asks().with("all", "yes").with("size1", "0"),
            "phase 1 takes no device",
        ),
        (
            asks().with("all", "yes").with("size1", "x"),
            "phase 1: `x` is no number",
        ),
        (
            asks().with("all", "yes").with("size1", "10%"),
            "leave devices over",
        ),
        (
            asks().with("all", "yes").with("success1", "9"),
            "no number of devices",
        ),
        (
            asks()
                .with("all", "yes")
                .with("size1", "rest")
                .with("start1", "after"),
            "how many hours",
        ),
        (
            asks()
                .with("all", "yes")
                .with("size1", "rest")
                .with("after1", "2"),
            "hours are for",
        ),
        (
            asks()
                .with("all", "yes")
                .with("size1", "rest")
                .with("failures1", "few"),
            "no limit",
        ),
        (
            asks()
                .with("all", "yes")
                .with("size1", "rest")
                .with("success1", "300"),
            "success",
        ),
        (asks().with("all", "yes").with("start", "noon"), "in UTC"),
        (
            asks().with("all", "yes").with("retries", "11"),
            "at most 10",
        ),
        (
            asks()
                .with("all", "yes")
                .with("deadline", "99999999999999999999"),
            "the deadline",
        ),
    ] {
        let got = browser.submit(&form).await;
        assert_eq!(got.status, StatusCode::UNPROCESSABLE_ENTITY, "{why}");
        let page = text(&got);
        assert!(page.contains(why), "{why}: {page}");
    }
    assert!(rollouts(&world).await.is_empty());
    // What was entered stays in the form.
    let wrong = asks()
        .with("all", "yes")
        .with("size1", "7%")
        .with("retries", "3");
    let got = browser.submit(&wrong).await;
    let page = text(&got);
    for kept in ["value=\"night\"", "value=\"7%\"", "value=\"3\"", "checked"] {
        assert!(page.contains(kept), "{kept}: {page}");
    }

    let phases = form(page, "/rollouts/new")
        .with("release", &digest)
        .with("size1", "1")
        .with("failures1", "0")
        .with("size2", "10%")
        .with("start2", "after")
        .with("after2", "24")
        .with("size3", "rest")
        .with("start3", "by-hand")
        .with("success3", "95")
        .with("failures3", "5%")
        .with("start", "2100-01-31T02:00")
        .with("deadline", "12")
        .with("force", "yes");
    for _ in 0..2 {
        // Sent twice it is one.
        let got = browser.submit(&phases).await;
        assert_eq!(got.status, StatusCode::SEE_OTHER, "{}", text(&got));
        assert_eq!(got.header("location"), "/rollouts/1");
    }
    let all = rollouts(&world).await;
    assert_eq!(all.len(), 1);
    let expected = json!({
        "name": "night", "release": made.digest, "devices": {},
        "phases": [
            { "size": { "count": 1 }, "start": "at-once", "success_percent": 90, "failures": { "count": 0 } },
            { "size": { "percent": 10 }, "start": { "after_secs": 86_400 }, "success_percent": 90, "failures": { "percent": 10 } },
            { "size": "rest", "start": "by-hand", "success_percent": 95, "failures": { "percent": 5 } },
        ],
        "retries": 3, "force": true, "start_ms": 4_105_044_000_000_u64, "deadline_secs": 43_200,
    });
    assert_eq!(all[0]["plan"], expected);
    assert_eq!(all[0]["state"], "scheduled");

    // A viewer has neither the form nor its end.
    let mut viewer = Browser::signed_in(&world, &world.viewer).await;
    assert!(!viewer.page("/rollouts").await.contains("/rollouts/new"));
    assert_eq!(
        viewer.get("/rollouts/new").await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(viewer.submit(&phases).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn channels_are_shown_with_their_releases_and_set() {
    let world = World::new().await;
    world.art_policy();
    let mut browser = Browser::signed_in(&world, &world.operator).await;
    assert!(
        browser
            .page("/channels")
            .await
            .contains("There is no release yet.")
    );
    let made = world.whole(100).await;
    let page = browser.page("/channels").await;
    let digest = made.digest.to_string();
    assert!(
        page.contains("camera-os 1.2") && page.contains("stable"),
        "{page}"
    );
    let chosen = format!("/rollouts/new?release={digest}");
    assert!(page.contains(&chosen), "{page}");
    assert!(
        browser
            .page(&chosen)
            .await
            .contains(&format!("value=\"{digest}\" selected"))
    );
    let set = |page: &str, minimum: &str| form(page, "/channels/stable").with("minimum", minimum);
    let got = browser.submit(&set(&page, "5")).await;
    assert_eq!(got.header("location"), "/channels");
    let page = browser.page("/channels").await;
    assert!(
        page.contains("below the lowest counter") && !page.contains(&chosen),
        "{page}"
    );
    let channels = world.get("/api/v1/channels").await.json();
    assert_eq!(channels["items"][0]["minimum_counter"], 5);
    assert_eq!(
        browser.submit(&set(&page, "x")).await.status,
        StatusCode::BAD_REQUEST
    );
    world.withdraw(made.digest);
    world.follow().await;
    assert!(browser.page("/channels").await.contains("withdrawn"));

    let mut viewer = Browser::signed_in(&world, &world.viewer).await;
    let seen = viewer.page("/channels").await;
    assert!(seen.contains("camera-os 1.2") && !seen.contains("name=\"minimum\""));
    assert_eq!(
        viewer.submit(&set(&page, "1")).await.status,
        StatusCode::FORBIDDEN
    );
}
