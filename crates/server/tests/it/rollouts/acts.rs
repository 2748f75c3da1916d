//! What people do to a rollout, and what stops it.

use super::*;

#[tokio::test]
async fn pause_resume_and_abort_in_each_state() {
    let mut field = Field::new(2).await;
    let start = field.site.edge.now_ms.load(SeqCst) + 60_000;
    let id = field.rollout(json!({ "start_ms": start })).await;
    let shown = field.show(id).await;
    assert_eq!(
        (&shown["state"], &shown["awaits"]),
        (&json!("scheduled"), &json!("start"))
    );
    assert_eq!(shown["next_ms"], start);
    assert!(field.devices(id).await.is_empty(), "nobody is chosen yet");
    for (act, state) in [
        ("pause", "paused"),
        ("pause", "paused"),
        ("resume", "scheduled"),
        ("resume", "scheduled"),
    ] {
        assert_eq!(field.act(id, act).await.json()["state"], state);
    }
    field.later(60).await;
    assert_eq!(field.state(id).await, "running");
    let order = field.fetch_one(0).await.unwrap();
    assert_eq!(field.act(id, "pause").await.json()["counts"]["waiting"], 1);
    assert!(field.fetch_one(1).await.is_none());
    // What a device has it may answer while the rollout is held.
    field.says(0, order, OutcomeCode::Done).await;
    assert_eq!(field.is_in(id, 0).await, "done");
    assert_eq!(field.state(id).await, "paused");
    assert_eq!(field.act(id, "abort").await.json()["state"], "aborted");
    assert_eq!(field.act(id, "abort").await.json()["state"], "aborted");
    for act in ["pause", "resume", "next"] {
        assert_eq!(field.act(id, act).await.kind(), Kind::Unfit, "{act}");
    }
    assert_eq!(field.is_in(id, 1).await, "aborted");

    // What a device had already counts, and it may be in another rollout meanwhile.
    let second = field
        .rollout(json!({ "name": "second", "force": true }))
        .await;
    let got = field.fetch().await;
    assert_eq!(got.len(), 2);
    assert!(matches!(got[0].1.task, Task::Repair(_)));
    field.act(second, "abort").await.json();
    field.says(0, got[0].1, OutcomeCode::Done).await;
    field.says(1, got[1].1, OutcomeCode::Failed).await;
    assert_eq!(field.is_in(second, 0).await, "done");
    assert_eq!(
        field.is(second, 1).await,
        (String::from("failed"), Some(String::from("failed")))
    );
    assert_eq!(field.state(second).await, "aborted");
    for (id, kind) in [("99", Kind::Unknown), ("x", Kind::BadParameter)] {
        let address = format!("{ROLLOUTS}/{id}/pause");
        let got = field
            .site
            .server
            .ask(Method::POST, &address, &Value::Null)
            .await;
        assert_eq!(got.kind(), kind);
    }
}

#[tokio::test]
async fn a_release_that_is_withdrawn_stops_its_rollouts_at_once() {
    let mut field = Field::new(3).await;
    let id = field.rollout(json!({})).await;
    let later = field.site.edge.now_ms.load(SeqCst) + 60_000;
    let waits = field.rollout(json!({ "start_ms": later })).await;
    let order = field.fetch_one(0).await.unwrap();
    field.withdraw();
    let stopped =
        async || field.state(id).await == "paused" && field.state(waits).await == "paused";
    field.site.server.until(stopped).await;
    let shown = field.show(id).await;
    assert_eq!(shown["reason"], "withdrawn");
    assert_eq!(shown["counts"]["waiting"], 2);
    assert!(field.fetch_one(1).await.is_none());
    let (kind, why) = field.act(id, "resume").await.problem();
    assert_eq!(kind, Kind::Unfit);
    assert!(why.contains("is withdrawn"), "{why}");
    // The device that has it refuses by itself, and says so.
    field.says(0, order, OutcomeCode::Unproven).await;
    let refused = (
        String::from("failed"),
        Some(String::from("refused-unproven")),
    );
    assert_eq!(field.is(id, 0).await, refused);
    assert_eq!(field.act(id, "abort").await.json()["counts"]["aborted"], 2);
    let (kind, why) = field.try_rollout(json!({})).await.problem();
    assert_eq!(kind, Kind::Unfit);
    assert!(why.contains("is withdrawn"), "{why}");
}

#[tokio::test]
async fn a_channel_has_a_lowest_counter() {
    let mut field = Field::new(2).await;
    let page = "/api/v1/channels/stable";
    let set = async |field: &Field, minimum: u64| {
        let body = json!({ "minimum_counter": minimum });
        field.site.server.ask(Method::PUT, page, &body).await
    };
    let id = field.rollout(percents(&[50, 50])).await;
    assert_eq!(set(&field, 1).await.json()["minimum_counter"], 1);
    assert_eq!(field.state(id).await, "running");
    set(&field, 2).await.json();
    let shown = field.show(id).await;
    assert_eq!(
        (&shown["state"], &shown["reason"]),
        (&json!("paused"), &json!("channel-minimum"))
    );
    assert!(field.fetch().await.is_empty());
    let (_, why) = field.act(id, "resume").await.problem();
    assert!(why.contains("below its channel's minimum"), "{why}");
    for order in [
        field.try_rollout(json!({})).await,
        field
            .site
            .server
            .ask(
                Method::POST,
                "/api/v1/orders",
                &json!({ "kind": "update", "release": field.release, "target": { "device": field.cameras[0].id } }),
            )
            .await,
    ] {
        let (kind, why) = order.problem();
        assert_eq!(kind, Kind::Unfit);
        assert!(why.contains("minimum of the channel stable is 2"), "{why}");
    }
    let newer = field.release(2).await;
    let order =
        json!({ "kind": "update", "release": newer, "target": { "device": field.cameras[0].id } });
    field.site.server.do_post("/api/v1/orders", order).await;
    set(&field, 0).await.json();
    assert_eq!(field.act(id, "resume").await.json()["state"], "running");
    let channels = field.site.server.get("/api/v1/channels").await;
    assert_eq!(channels["items"][0]["channel"], "stable");
    let bad = field
        .site
        .server
        .ask(
            Method::PUT,
            "/api/v1/channels/-x",
            &json!({ "minimum_counter": 1 }),
        )
        .await;
    assert_eq!(bad.kind(), Kind::BadParameter);
}

#[tokio::test]
async fn orders_below_a_channels_minimum_are_taken_back_unless_a_device_has_them() {
    let mut field = Field::new(3).await;
    let newer = field.release(2).await;
    let give = async |field: &Field, camera: usize, release: Hex32| {
        let target = json!({ "device": field.cameras[camera].id });
        let order = json!({ "kind": "update", "release": release, "target": target });
        field.site.server.do_post("/api/v1/orders", order).await["id"].clone()
    };
    let fetched = give(&field, 0, field.release).await;
    let given = field.fetch_one(0).await.unwrap();
    let waiting = give(&field, 1, field.release).await;
    let other = give(&field, 2, newer).await;
    let page = "/api/v1/channels/stable";
    let body = json!({ "minimum_counter": 2 });
    let got = field.site.server.ask(Method::PUT, page, &body).await;
    assert_eq!(got.status, StatusCode::OK);
    let states = ["sent", "dropped", "waiting"];
    for (camera, state) in states.iter().enumerate() {
        let orders = field.site.server.orders(&field.cameras[camera].id).await;
        assert_eq!(orders, [("update".to_owned(), (*state).to_owned())]);
    }
    let orders = field.site.server.get("/api/v1/orders").await;
    for (id, left) in [(&fetched, 1), (&waiting, 0), (&other, 1)] {
        let mut all = orders["items"].as_array().unwrap().iter();
        let one = all.find(|order| &order["id"] == id).unwrap();
        assert_eq!(one["waiting"], left, "{one}");
    }
    assert!(field.fetch_one(1).await.is_none());
    assert!(field.fetch_one(2).await.is_some());
    // What a device has it may finish, and it is heard.
    field.says(0, given, OutcomeCode::Done).await;
    let orders = field.site.server.orders(&field.cameras[0].id).await;
    assert_eq!(orders[0].1, "done");
}

#[tokio::test]
async fn rollouts_that_make_no_sense_and_those_that_are_repeated() {
    let field = Field::new(1).await;
    for (more, kind, why) in [
        (
            json!({ "release": Hex32::from([9; 32]) }),
            Kind::Unfit,
            "is not on the ledger",
        ),
        (json!({ "phases": [] }), Kind::Unfit, "1 to 16 phases"),
        (
            json!({ "phases": [{ "size": { "percent": 50 } }] }),
            Kind::Unfit,
            "leave devices over",
        ),
        (
            json!({ "phases": [{ "size": "half" }] }),
            Kind::Malformed,
            "half",
        ),
        (json!({ "retries": 11 }), Kind::Unfit, "at most 10"),
        (
            json!({ "devices": { "types": ["toaster"] } }),
            Kind::Unfit,
            "type toaster",
        ),
        (
            json!({ "devices": { "group": "grp_0" } }),
            Kind::Unknown,
            "grp_0",
        ),
        (
            json!({ "devices": { "group": "a\0b" } }),
            Kind::Unknown,
            "group",
        ),
        (
            json!({ "devices": { "colour": "red" } }),
            Kind::Malformed,
            "colour",
        ),
        (json!({ "name": "" }), Kind::Malformed, "name"),
    ] {
        let (got, detail) = field.try_rollout(more.clone()).await.problem();
        assert_eq!(got, kind, "{more}: {detail}");
        assert!(detail.contains(why), "{detail}");
    }
    let order = json!({ "kind": "rotate", "target": { "rollout": 1 } });
    let got = field
        .site
        .server
        .ask(Method::POST, "/api/v1/orders", &order)
        .await;
    assert_eq!(got.kind(), Kind::Unfit);
    // Filters that fit nobody make a rollout that is over.
    for filter in [
        json!({ "state": "registered" }),
        json!({ "serials": ["S-1", "%", "'; --"] }),
        json!({ "search": "%_" }),
        json!({ "inventory": "differs" }),
        json!({ "running": field.release }),
    ] {
        let id = field.rollout(json!({ "devices": filter })).await;
        let shown = field.show(id).await;
        assert_eq!(
            (&shown["state"], &shown["total"]),
            (&json!("done"), &json!(0)),
            "{shown}"
        );
    }
    let all =
        json!({ "devices": { "types": ["camera"], "state": "active", "inventory": "unknown" } });
    let create = field.asked(&all);
    let send = async || {
        let request = Request::post(ROLLOUTS)
            .header(
                "authorization",
                format!("Bearer {}", field.site.server.operator),
            )
            .header("content-type", "application/json")
            .header("idempotency-key", "once")
            .body(create.to_string().into());
        call(&field.site.server.admin, request.unwrap())
            .await
            .json()
    };
    let first = send().await;
    assert_eq!(first["total"], 1);
    assert_eq!(send().await, first);
    let page = field.site.server.get(&format!("{ROLLOUTS}?limit=2")).await;
    assert_eq!(page["items"][0], first);
    let next = page["next"].as_str().unwrap();
    let page = field
        .site
        .server
        .get(&format!("{ROLLOUTS}?limit=200&cursor={next}"))
        .await;
    assert_eq!(page["items"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn the_console_shows_a_rollout_and_acts_on_it() {
    let world = World::new().await;
    world.art_policy();
    let made = world.whole(10).await;
    for number in 100..103 {
        world.device(number, json!({ "type": "cam-2" })).await;
    }
    let mut operator = Browser::signed_in(&world, &world.operator).await;
    let empty = operator.page("/rollouts").await;
    assert!(empty.contains("Nothing was rolled out yet"), "{empty}");
    let create = json!({
        "name": "<b>night</b>", "release": made.digest, "retries": 2,
        "phases": [{ "size": { "percent": 34 } }, { "size": "rest", "start": "by-hand" }],
    });
    let rollout = world.post(ROLLOUTS, create).await;
    assert_eq!(rollout.status, StatusCode::CREATED, "{:?}", rollout.body);
    let list = operator.page("/rollouts").await;
    assert!(
        list.contains("&#60;b&#62;night") && !list.contains("<b>night"),
        "{list}"
    );
    assert!(list.contains("camera-os 1.2"), "{list}");
    let page = operator.page("/rollouts/1").await;
    for shown in [
        "running",
        "3 devices take part",
        "34 %",
        "by hand",
        "It waits for devices",
    ] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    let ordered = operator.page("/rollouts/1?state=ordered").await;
    assert_eq!(ordered.matches("/devices/dev_").count(), 2);
    // Those who only look are shown no buttons, and can press none.
    let mut viewer = Browser::signed_in(&world, &world.viewer).await;
    let looks = viewer.page("/rollouts/1").await;
    assert!(!looks.contains("/rollouts/1/abort"), "{looks}");
    let refused = viewer.press(&page, "/rollouts/1/abort").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    for (act, state) in [
        ("pause", "paused"),
        ("resume", "running"),
        ("next", "running"),
        ("abort", "aborted"),
    ] {
        let page = operator.page("/rollouts/1").await;
        let sent = operator.press(&page, &format!("/rollouts/1/{act}")).await;
        assert_eq!(sent.status, StatusCode::SEE_OTHER, "{act}");
        assert_eq!(sent.header("location"), "/rollouts/1");
        let shown = world.get(&format!("{ROLLOUTS}/1")).await.json();
        assert_eq!(shown["state"], state, "{act}");
    }
    // A page that was loaded before it ended.
    let over = operator.press(&page, "/rollouts/1/pause").await;
    assert_eq!(over.status, StatusCode::UNPROCESSABLE_ENTITY);
    let page = operator.page("/rollouts/1").await;
    assert!(page.contains("It is over"), "{page}");
    assert_eq!(
        operator.get("/rollouts/9").await.status,
        StatusCode::NOT_FOUND
    );
}

impl Browser<'_> {
    /// Sends the form of a page that leads to this address.
    async fn press(&mut self, page: &str, address: &str) -> Got {
        let form = forms(page, "/")
            .into_iter()
            .find(|form| form.action == address);
        self.submit(&form.unwrap()).await
    }
}
