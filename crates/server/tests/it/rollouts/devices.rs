//! Who takes part, and who leaves.

use super::*;

#[tokio::test]
async fn a_device_is_in_one_rollout_at_a_time() {
    let mut field = Field::new(2).await;
    let server = &field.site.server;
    let group = server
        .do_post("/api/v1/groups", json!({ "name": "one" }))
        .await;
    let group = group["id"].as_str().unwrap();
    let page = format!("/api/v1/groups/{group}/devices/{}", field.cameras[0].id);
    server.ask(Method::PUT, &page, &Value::Null).await;
    let first = field
        .rollout(json!({ "devices": { "group": group } }))
        .await;
    assert_eq!(field.show(first).await["total"], 1);
    let second = field.rollout(json!({})).await;
    let busy = (String::from("skipped"), Some(String::from("busy")));
    assert_eq!(field.is(second, 0).await, busy);
    assert_eq!(field.is_in(second, 1).await, "ordered");
    let got = field.fetch().await;
    assert_eq!(got.len(), 2);
    field.all_say(&got, OutcomeCode::Done).await;
    for id in [first, second] {
        assert_eq!(field.state(id).await, "done");
    }
    // Both have had their end.
    let third = field.rollout(json!({ "force": true })).await;
    assert_eq!(field.show(third).await["total"], 2);
}

#[tokio::test]
async fn who_is_revoked_or_kept_apart_leaves_its_rollout() {
    let field = Field::new(4).await;
    let before = field.cameras[3].id.clone();
    let address = |id: &str| format!("/api/v1/devices/{id}/quarantine");
    field
        .site
        .server
        .do_post(&address(&before), Value::Null)
        .await;
    let id = field.rollout(json!({})).await;
    let quarantined = (String::from("skipped"), Some(String::from("quarantined")));
    assert_eq!(field.is(id, 3).await, quarantined);
    field
        .site
        .server
        .do_post(&address(&field.cameras[0].id), Value::Null)
        .await;
    assert_eq!(field.is(id, 0).await, quarantined);
    field.site.revoke(field.cameras[1].key.handle);
    field
        .site
        .server
        .until(async || field.is_in(id, 1).await == "skipped")
        .await;
    assert_eq!(field.is(id, 1).await.1.as_deref(), Some("revoked"));
    let shown = field.show(id).await;
    assert_eq!(
        (&shown["counts"]["skipped"], &shown["counts"]["ordered"]),
        (&json!(3), &json!(1))
    );
    // Their orders were taken back.
    for camera in &field.cameras[..2] {
        let orders = field.site.server.orders(&camera.id).await;
        assert_eq!(orders[0].1, "dropped");
    }
    let orders = field.site.server.get("/api/v1/orders").await;
    assert_eq!(orders["items"][0]["waiting"], 1);
}

#[tokio::test]
async fn who_is_kept_apart_after_it_had_the_order_counts_against_it() {
    let mut field = Field::new(4).await;
    let id = field.rollout(percents(&[25, 75])).await;
    let got = field.fetch().await;
    assert_eq!(got.len(), 1);
    let (first, _) = got[0];
    let address = format!("/api/v1/devices/{}/quarantine", field.cameras[first].id);
    field.site.server.do_post(&address, Value::Null).await;
    let failed = (String::from("failed"), Some(String::from("quarantined")));
    assert_eq!(field.is(id, first).await, failed);
    let shown = field.show(id).await;
    assert_eq!(
        (&shown["state"], &shown["reason"]),
        (&json!("paused"), &json!("failures"))
    );
    assert_eq!(field.fetch().await.len(), 0);
}

#[tokio::test]
async fn who_runs_it_already_is_skipped_unless_it_is_forced() {
    let mut field = Field::new(2).await;
    let facts = Facts {
        release: Some(Digest::new(field.release.0)),
        ..Facts::default()
    };
    let server = &field.site.server;
    field.cameras[0].raw.ask(server, poll(&[], facts)).await;
    let page = format!("/api/v1/devices/{}", field.cameras[0].id);
    server
        .until(async || server.get(&page).await["firmware"] == json!(field.release))
        .await;
    let id = field.rollout(json!({})).await;
    let current = (String::from("skipped"), Some(String::from("current")));
    assert_eq!(field.is(id, 0).await, current);
    assert_eq!(field.show(id).await["total"], 1);
    field.act(id, "abort").await.json();
    let running = json!({ "force": true, "devices": { "running": field.release } });
    let forced = field.rollout(running).await;
    assert_eq!(
        field.show(forced).await["counts"].as_object().unwrap()["ordered"],
        1
    );
    let order = field.fetch_one(0).await.unwrap();
    assert!(matches!(order.task, Task::Repair(_)));
}

#[tokio::test]
async fn a_group_may_change_and_the_rollout_does_not() {
    let field = Field::new(3).await;
    let server = &field.site.server;
    let group = server
        .do_post("/api/v1/groups", json!({ "name": "north" }))
        .await;
    let group = group["id"].as_str().unwrap();
    let member = async |method, camera: usize| {
        let page = format!(
            "/api/v1/groups/{group}/devices/{}",
            field.cameras[camera].id
        );
        let got = server.ask(method, &page, &Value::Null).await;
        assert_eq!(got.status, StatusCode::NO_CONTENT);
    };
    member(Method::PUT, 0).await;
    member(Method::PUT, 1).await;
    let mut plan = percents(&[50, 50]);
    plan["devices"] = json!({ "group": group });
    let id = field.rollout(plan).await;
    member(Method::PUT, 2).await;
    member(Method::DELETE, 0).await;
    let devices: BTreeSet<_> = field
        .devices(id)
        .await
        .into_iter()
        .map(|one| one.0)
        .collect();
    let expected = field.cameras[..2].iter().map(|camera| camera.id.clone());
    assert_eq!(devices, expected.collect());
}

#[tokio::test]
async fn who_is_given_away_in_the_middle_leaves_its_rollout_and_the_others_go_on() {
    let mut field = Field::new(6).await;
    let to = admit(&field.site);
    let id = field.rollout(percents(&[50, 50])).await;
    let got = field.fetch().await;
    assert_eq!(got.len(), 3);
    let later = (0..6).find(|number| got.iter().all(|(one, _)| one != number));
    let (sent, waiting) = (got[0].0, later.unwrap());
    // One that has its order, and one whose phase has not begun.
    for number in [sent, waiting] {
        transfer(&field.site, field.cameras[number].key.handle, to);
    }
    for number in [sent, waiting] {
        let gone = async || field.is_in(id, number).await == "skipped";
        field.site.server.until(gone).await;
        assert_eq!(field.is(id, number).await.1.as_deref(), Some("moved"));
    }
    // It is nobody's failure, and nobody waits for it.
    let shown = field.show(id).await;
    assert_eq!(
        shown["counts"],
        json!({ "waiting": 2, "ordered": 0, "sent": 2, "done": 0, "failed": 0, "skipped": 2, "aborted": 0 })
    );
    assert_eq!(shown["state"], "running");
    let dropped = [(String::from("update"), String::from("dropped"))];
    let server = &field.site.server;
    assert_eq!(server.orders(&field.cameras[sent].id).await, dropped);
    // What it says of the order now is not taken: the old owner has nothing to do with it any more.
    let signed = poll(&[], Facts::default());
    let told = field.cameras[sent].raw.ask(server, signed).await;
    assert!(!matches!(told, Told::Orders(_)), "{told:?}");
    assert_eq!(field.show(id).await["counts"], shown["counts"]);
    field.all_say(&got[1..], OutcomeCode::Done).await;
    let second = field.ordered(id).await;
    assert_eq!(second.len(), 2);
    assert!(!second.contains(&waiting), "it is given no order");
    for number in second {
        let order = field.fetch_one(number).await.unwrap();
        field.says(number, order, OutcomeCode::Done).await;
    }
    let shown = field.show(id).await;
    assert_eq!(
        (
            &shown["state"],
            &shown["counts"]["done"],
            &shown["counts"]["skipped"]
        ),
        (&json!("done"), &json!(4), &json!(2))
    );
    let never = &field.cameras[waiting].id;
    assert!(field.site.server.orders(never).await.is_empty());
}
