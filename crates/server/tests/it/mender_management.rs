//! Deployments as tools written against a Mender server give, read and abort them, through the real routers.

use crate::{
    browser::{Browser, tags},
    mender_artifacts::{SIGNER, error},
    mender_deployments::{Client, DEPLOYMENTS as OF_DEVICES, Field},
    world::{Got, at_once},
};
use axum::http::{Method, StatusCode};
use kusabi_mender::testing::Parts;
use serde_json::{Value, json};

const DEPLOYMENTS: &str = "/api/management/v1/deployments/deployments";

impl Field {
    async fn create(&self, body: &Value) -> Got {
        self.world.post(DEPLOYMENTS, body.clone()).await
    }

    /// A deployment's ID.
    async fn deploy(&self, body: &Value) -> String {
        made(&self.create(body).await)
    }

    async fn read(&self, path: &str) -> Value {
        self.world.get(&format!("{DEPLOYMENTS}{path}")).await.json()
    }

    async fn set(&self, id: &str, status: &str) -> Got {
        let address = format!("{DEPLOYMENTS}/{id}/status");
        let body = json!({ "status": status });
        let world = &self.world;
        world
            .ask(&world.operator, Method::PUT, &address, &[], &body)
            .await
    }
}

#[track_caller]
fn made(got: &Got) -> String {
    assert_eq!(
        (got.status, got.body.len()),
        (StatusCode::CREATED, 0),
        "{:?}",
        got.body
    );
    let place = got.header("location");
    let id = place.strip_prefix("./management/v1/deployments/deployments/");
    id.unwrap().to_owned()
}

/// Those that are not 0.
fn counts(statistics: &Value) -> Value {
    let all = statistics.as_object().unwrap();
    assert_eq!(all.len(), 13, "{statistics}");
    let some = all.iter().filter(|(_, count)| **count != 0);
    some.map(|(name, count)| (name.clone(), count.clone()))
        .collect()
}

#[tokio::test]
async fn of_equal_deployments_that_are_given_at_the_same_moment_one_is_made() {
    let field = Field::new().await;
    let one = field.client(1).await;
    let body = json!({ "name": "Production", "artifact_name": "app-1.2", "devices": [one.id] });
    let got = at_once((0..3).map(|_| field.create(&body))).await;
    let (made_ones, refused): (Vec<_>, Vec<_>) = got
        .iter()
        .partition(|got| got.status == StatusCode::CREATED);
    assert_eq!((made_ones.len(), refused.len()), (1, 2));
    let id = made(made_ones[0]);
    for got in refused {
        let (status, why) = error(got);
        assert!(status == 409 && why.contains(&id), "{why}");
    }
    let all = field.read("").await;
    assert_eq!(all.as_array().unwrap().len(), 1, "{all}");
    // Under a key of its own it is the same one as well; said again under that, it has that answer.
    for _ in 0..2 {
        let world = &field.world;
        let key = [("idempotency-key", "another")];
        let got = world.ask(&world.operator, Method::POST, DEPLOYMENTS, &key, &body);
        assert_eq!(error(&got.await).0, 409);
    }
    let other = json!({ "name": "Another", "artifact_name": "app-1.2", "devices": [one.id] });
    let again = || async {
        let world = &field.world;
        let key = [("idempotency-key", "again")];
        let got = world.ask(&world.operator, Method::POST, DEPLOYMENTS, &key, &other);
        made(&got.await)
    };
    assert_eq!(again().await, again().await);
}

#[tokio::test]
async fn a_deployment_goes_from_pending_to_finished_as_its_devices_say() {
    let field = Field::new().await;
    let (one, other) = (field.client(1).await, field.client(2).await);
    let body = json!({ "name": "Production", "artifact_name": "app-1.2", "devices": [one.id, other.id, one.id] });
    let id = field.deploy(&body).await;
    assert_eq!(id.len(), 36);
    let shown = field.read(&format!("/{id}")).await;
    for (name, value) in [
        ("id", json!(id)),
        ("name", json!("Production")),
        ("artifact_name", json!("app-1.2")),
        ("status", json!("pending")),
        ("device_count", json!(2)),
        ("artifacts", json!([field.artifact_id])),
        ("type", json!("software")),
    ] {
        assert_eq!(shown[name], value, "{name}");
    }
    assert!(shown["created"].as_str().unwrap().ends_with('Z'));
    assert!(shown["finished"].is_null());
    assert_eq!(
        counts(&shown["statistics"]["status"]),
        json!({ "pending": 2 })
    );
    // The same once more, while it is under way.
    let (status, why) = error(&field.create(&body).await);
    assert!(status == 409 && why.contains(&id), "{why}");

    let told = Client::told(&one.next().await);
    let of_device = told["id"].as_str().unwrap();
    one.says(of_device, "downloading").await;
    let statistics = format!("/{id}/statistics");
    assert_eq!(
        counts(&field.read(&statistics).await),
        json!({ "downloading": 1, "pending": 1 })
    );
    assert_eq!(field.read(&format!("/{id}")).await["status"], "inprogress");
    one.says(of_device, "success").await;
    let told = Client::told(&other.next().await);
    let of_other = told["id"].as_str().unwrap();
    other.says(of_other, "failure").await;
    let address = format!("{OF_DEVICES}/{of_other}/log");
    let log = br#"{"messages":[{"timestamp":"t","level":"error","message":"no space"}]}"#;
    let got = other.send(Method::PUT, &address, log).await;
    assert_eq!(got.status, StatusCode::NO_CONTENT);

    assert_eq!(
        counts(&field.read(&statistics).await),
        json!({ "failure": 1, "success": 1 })
    );
    let shown = field.read(&format!("/{id}")).await;
    // One of two failed: a deployment is not paused by that, as it would not be at Mender.
    assert_eq!(shown["status"], "finished");
    assert!(shown["finished"].is_string());
    let devices = field.read(&format!("/{id}/devices")).await;
    let devices = devices.as_array().unwrap();
    assert_eq!(devices.len(), 2);
    for device in devices {
        let failed = device["id"] == json!(other.id);
        assert!(failed || device["id"] == json!(one.id));
        assert_eq!(device["status"], if failed { "failure" } else { "success" });
        assert_eq!(device["log"], failed);
        assert_eq!(device["device_type"], "board");
        for time in ["created", "started", "finished"] {
            assert!(device[time].is_string(), "{time}: {device}");
        }
    }
    let log = |device: &str| format!("{DEPLOYMENTS}/{id}/devices/{device}/log");
    let text = field.world.get(&log(&other.id)).await;
    assert_eq!(&text.body[..], b"t error: no space\n");
    assert!(text.header("content-type").starts_with("text/plain"));
    for none in [&*one.id, "dev_0", "%00"] {
        assert_eq!(error(&field.world.get(&log(none)).await).0, 404, "{none}");
    }
    // The console leads to the log, where there is one.
    let mut browser = Browser::signed_in(&field.world, &field.world.viewer).await;
    let page = browser.page(&format!("/devices/{}", other.id)).await;
    let links = tags(&page);
    let mut links = links.iter().filter_map(|tag| tag.attribute("href"));
    let link = links.find(|link| link.ends_with("/log")).unwrap();
    let page = browser.page(link).await;
    assert!(page.contains("t error: no space"), "{page}");
    let page = browser.page(&format!("/devices/{}", one.id)).await;
    assert!(!page.contains("/log\""), "{page}");

    // Over: it may be given again, and who has the artifact needs no other try.
    let again = field.deploy(&body).await;
    assert_ne!(again, id);
    assert_eq!(
        counts(&field.read(&format!("/{again}/statistics")).await),
        json!({ "already-installed": 1, "pending": 1 })
    );
}

#[tokio::test]
async fn deployments_are_listed_in_pages_by_status_name_and_time() {
    let field = Field::new().await;
    let client = field.client(1).await;
    let all = async |name: &str| {
        let body = json!({ "name": name, "artifact_name": "app-1.2", "all_devices": true });
        field.deploy(&body).await
    };
    let first = all("a \"50%\" \\ Test").await;
    // Its device is busy with the first one.
    let second = all("another").await;
    assert_eq!(
        counts(&field.read(&format!("/{second}/statistics")).await),
        json!({ "aborted": 1 })
    );
    // A rollout is a deployment, whoever made it.
    let third = field.rollout(&json!({ "name": "by kusabi" })).await;
    let listed = async |query: &str| -> Vec<String> {
        let got = field.read(&format!("?{query}")).await;
        let ids = got.as_array().unwrap().iter();
        ids.map(|one| one["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let third_id = format!("6b757361-6269-8000-8000-{third:012x}");
    assert_eq!(listed("").await, [&*third_id, &*second, &*first]);
    assert_eq!(listed("sort=asc").await, [&*first, &*second, &*third_id]);
    assert_eq!(listed("status=pending").await, [&*first]);
    assert_eq!(listed("status=finished").await, [&*third_id, &*second]);
    assert_eq!(listed("status=inprogress").await, [""; 0]);
    for (search, found) in [
        ("50%25", 1),
        ("%2250%25%22%20%5C%20test", 1),
        ("other", 1),
        ("5_%25", 0),
        ("release", 0),
        ("force", 0),
        ("%00", 0),
        ("A", 3),
        ("ANOTHER", 1),
    ] {
        assert_eq!(
            listed(&format!("search={search}")).await.len(),
            found,
            "{search}"
        );
    }
    assert_eq!(listed("created_after=99999999999").await.len(), 0);
    assert_eq!(listed("created_before=99999999999").await.len(), 3);
    assert_eq!(listed("created_before=1").await.len(), 0);
    assert_eq!(listed("type=software").await.len(), 3);
    let page = field
        .world
        .get(&format!("{DEPLOYMENTS}?per_page=2&page=2&search=a"))
        .await;
    assert_eq!(page.header("x-total-count"), "3");
    assert!(
        page.header("link").contains("rel=\"prev\""),
        "{}",
        page.header("link")
    );
    for bad in [
        "status=done",
        "per_page=501",
        "page=0",
        "sort=up",
        "created_after=x",
        "type=configuration",
    ] {
        let got = field.world.get(&format!("{DEPLOYMENTS}?{bad}")).await;
        assert_eq!(error(&got).0, 400, "{bad}");
    }
    // A device's page in its deployment, by how it stands.
    let told = Client::told(&client.next().await);
    client
        .says(told["id"].as_str().unwrap(), "installing")
        .await;
    for (status, count) in [
        ("installing", 1),
        ("active", 1),
        ("", 1),
        ("finished", 0),
        ("pause", 0),
        ("noartifact", 0),
    ] {
        let path = format!("/{first}/devices/list?status={status}&per_page=1");
        let got = field.world.get(&format!("{DEPLOYMENTS}{path}")).await;
        assert_eq!(got.header("x-total-count"), count.to_string(), "{status}");
        assert_eq!(got.json().as_array().unwrap().len(), count);
    }
    let unknown = format!("{DEPLOYMENTS}/{first}/devices/list?status=x");
    assert_eq!(error(&field.world.get(&unknown).await).0, 400);
}

#[tokio::test]
async fn an_abort_stops_devices_and_changes_nothing_that_is_over() {
    let field = Field::new().await;
    let (one, other) = (field.client(1).await, field.client(2).await);
    let all = json!({ "name": "n", "artifact_name": "app-1.2", "all_devices": true });
    let id = field.deploy(&all).await;
    let told = Client::told(&one.next().await);
    let of_device = told["id"].as_str().unwrap();
    one.says(of_device, "downloading").await;
    assert_eq!(error(&field.set(&id, "finished").await).0, 400);
    for _ in 0..2 {
        let got = field.set(&id, "aborted").await;
        assert_eq!(got.status, StatusCode::NO_CONTENT, "{:?}", got.body);
    }
    assert_eq!(error(&one.status(of_device, "installing").await).0, 409);
    Client::is_idle(&other.next().await);
    let shown = field.read(&format!("/{id}")).await;
    assert_eq!(shown["status"], "finished");
    assert_eq!(
        counts(&shown["statistics"]["status"]),
        json!({ "aborted": 2 })
    );

    let forced = json!({
        "name": "n", "artifact_name": "app-1.2", "devices": [other.id], "force_installation": true, "retries": 1,
    });
    let id = field.deploy(&forced).await;
    let told = Client::told(&other.next().await);
    other
        .says(told["id"].as_str().unwrap(), "already-installed")
        .await;
    assert_eq!(
        counts(&field.read(&format!("/{id}/statistics")).await),
        json!({ "already-installed": 1 })
    );
    assert_eq!(error(&field.set(&id, "aborted").await).0, 422);
    for path in ["", "/statistics", "/devices", "/devices/list"] {
        for none in ["x", "6b757361-6269-8000-8000-00000000ffff", "%00"] {
            let got = field
                .world
                .get(&format!("{DEPLOYMENTS}/{none}{path}"))
                .await;
            assert_eq!(error(&got).0, 404, "{none}{path}");
        }
    }
    assert_eq!(error(&field.set("x", "aborted").await).0, 404);
}

#[tokio::test]
async fn what_cannot_be_deployed_is_refused_with_what_to_do() {
    let field = Field::new().await;
    let client = field.client(1).await;
    let world = &field.world;
    // An artifact that no release is made of.
    let loose = Parts::new("loose", b"x").signed(SIGNER);
    world.upload_artifact(&loose).await;
    let of = |name: &str| json!({ "name": "n", "artifact_name": name, "devices": [client.id] });
    for (name, says) in [
        (
            "loose",
            "no release that the ledger lists has the artifact `loose`",
        ),
        ("none", "there is no artifact `none`"),
        ("\0", "there is no artifact"),
    ] {
        let (status, why) = error(&field.create(&of(name)).await);
        assert!(status == 422 && why.contains(says), "{status} {why}");
        assert!(why.contains("kusabi release import"), "{why}");
    }
    let with = |name: &str, value: Value| {
        let mut body = of("app-1.2");
        body[name] = value;
        body
    };
    for (body, status) in [
        (with("devices", json!([])), 400),
        (with("devices", Value::Null), 400),
        (with("all_devices", json!(true)), 400),
        (with("name", json!("")), 400),
        (with("name", Value::Null), 400),
        (with("artifact_name", Value::Null), 400),
        (with("devices", json!(["dev_none"])), 422),
        (with("devices", json!(["\0"])), 422),
        (with("devices", json!(vec!["dev_none"; 1])), 422),
        (with("phases", json!([{ "batch_size": 10 }])), 422),
        (with("filter_id", json!("x")), 422),
        (with("retries", json!(11)), 422),
        (json!("x"), 400),
    ] {
        let got = error(&field.create(&body).await);
        assert_eq!(got.0, status, "{body}: {}", got.1);
    }
    let body = of("app-1.2");
    let viewer = world.ask(&world.viewer, Method::POST, DEPLOYMENTS, &[], &body);
    assert_eq!(error(&viewer.await).0, 403);
    let nobody = world.ask("", Method::POST, DEPLOYMENTS, &[], &body);
    assert_eq!(error(&nobody.await).0, 401);
    assert_eq!(field.read("").await, json!([]));

    // Of one name, in a second release for another type of device.
    let other = Parts::with_types("app-1.2", &["other"], &[("app.bin", b"for another")]);
    let other = other.signed(SIGNER);
    world.upload_artifact(&other).await;
    let second = world.wrap(&other, &["other"], 5);
    world.upload(&second).await.json();
    let (status, why) = error(&field.create(&of("app-1.2")).await);
    assert!(status == 422 && why.contains("several releases"), "{why}");
    // Withdrawn, it is no choice any more.
    world.withdraw(second.digest);
    world.follow().await;
    // What changes nothing is passed over.
    let mut body = of("app-1.2");
    for (name, value) in [
        ("all_devices", json!(false)),
        ("phases", json!([])),
        ("filter_id", json!("")),
        ("type", json!("software")),
        ("autogenerate_delta", json!(false)),
    ] {
        body[name] = value;
    }
    field.deploy(&body).await;
    Client::told(&client.next().await);
    world.withdraw(field.release);
    world.follow().await;
    let (status, why) = error(&field.create(&of("app-1.2")).await);
    assert!(status == 422 && why.contains("no release"), "{why}");
}

#[tokio::test]
async fn a_deployment_for_a_group_is_for_who_is_in_it() {
    let field = Field::new().await;
    let (one, other) = (field.client(1).await, field.client(2).await);
    let world = &field.world;
    let group = world
        .post("/api/v1/groups", json!({ "name": "north hall" }))
        .await
        .json();
    let group = group["id"].as_str().unwrap();
    let address = format!("/api/v1/groups/{group}/devices/{}", one.id);
    let got = world.ask(&world.operator, Method::PUT, &address, &[], &Value::Null);
    assert!(got.await.status.is_success());
    let body = json!({ "name": "n", "artifact_name": "app-1.2" });
    let for_group = async |name: &str, body: &Value| {
        world
            .post(&format!("{DEPLOYMENTS}/group/{name}"), body.clone())
            .await
    };
    let id = made(&for_group("north%20hall", &body).await);
    let shown = field.read(&format!("/{id}")).await;
    assert_eq!(shown["groups"], json!(["north hall"]));
    assert_eq!(shown["device_count"], 1);
    Client::told(&one.next().await);
    Client::is_idle(&other.next().await);
    // By its ID as well: the same group, so the same deployment.
    assert_eq!(error(&for_group(group, &body).await).0, 409);
    assert_eq!(error(&for_group("none", &body).await).0, 404);
    let mut named = body.clone();
    named["devices"] = json!([one.id]);
    assert_eq!(error(&for_group(group, &named).await).0, 400);
    // A key for a request that may be said again.
    let key = [("idempotency-key", "k")];
    let mut body = body.clone();
    body["devices"] = json!([other.id]);
    let mut ids = Vec::new();
    for _ in 0..2 {
        let got = world.ask(&world.operator, Method::POST, DEPLOYMENTS, &key, &body);
        ids.push(made(&got.await));
    }
    assert_eq!(ids[0], ids[1]);
}
