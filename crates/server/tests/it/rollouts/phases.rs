//! Phases, thresholds, further tries, deadlines.

use super::*;

#[tokio::test]
async fn a_release_reaches_everybody_phase_by_phase() {
    for (count, sizes) in [
        (1, &[1][..]),
        (2, &[1, 1]),
        (3, &[1, 1, 1]),
        (10, &[1, 4, 5]),
    ] {
        let mut field = Field::new(count).await;
        let id = field.rollout(percents(&[10, 40, 50])).await;
        let mut reached = BTreeSet::new();
        for (phase, size) in (1..).zip(sizes) {
            let got = field.fetch().await;
            assert_eq!(got.len(), *size, "phase {phase} of {count}");
            let release = Digest::new(field.release.0);
            for (number, order) in &got {
                assert_eq!(order.task, Task::Update(release));
                assert!(reached.insert(*number), "{number} had it");
                assert_eq!(field.is(id, *number).await.0, "sent");
            }
            let shown = field.show(id).await;
            assert_eq!(shown["counts"]["sent"], *size);
            assert_eq!(shown["awaits"], "devices");
            assert!(field.fetch().await.is_empty(), "an order is given once");
            field.all_say(&got, OutcomeCode::Done).await;
        }
        let shown = field.show(id).await;
        assert_eq!(
            (&shown["state"], &shown["counts"]["done"]),
            (&json!("done"), &json!(count))
        );
        assert!(shown["ended_ms"].is_u64());
        let orders = field.site.server.get("/api/v1/orders").await;
        let orders = orders["items"].as_array().unwrap();
        assert_eq!(orders.len(), sizes.len());
        assert!(
            orders.iter().all(|order| {
                order["target"] == json!({ "rollout": id }) && order["waiting"] == 0
            })
        );
        let mut expected = vec!["rollout.begin"];
        expected.extend(sizes.iter().map(|_| "rollout.phase"));
        expected.extend(["rollout.done"]);
        let mut acts = field.acts().await;
        // What it does at once stands before what a person did.
        acts.retain(|act| act != "rollout.create");
        assert_eq!(acts, expected);
    }
}

#[tokio::test]
async fn failures_pause_it_and_take_back_what_nobody_has() {
    let mut field = Field::new(6).await;
    let mut plan = percents(&[50, 50]);
    plan["phases"][0]["failures"] = json!({ "count": 0 });
    let id = field.rollout(plan).await;
    // Only one of them fetches its order.
    let ordered = field.ordered(id).await;
    assert_eq!(ordered.len(), 3);
    let order = field.fetch_one(ordered[0]).await.unwrap();
    field.says(ordered[0], order, OutcomeCode::Failed).await;
    let first = field.show(id).await;
    assert_eq!(first["state"], "paused");
    assert_eq!(first["reason"], "failures");
    assert_eq!(
        first["counts"],
        json!({ "waiting": 5, "ordered": 0, "sent": 0, "done": 0, "failed": 1, "skipped": 0, "aborted": 0 })
    );
    assert!(
        field.fetch().await.is_empty(),
        "what was taken back is not given"
    );
    assert!(field.site.server.get("/api/v1/orders").await["items"][0]["waiting"] == 0);
    assert_eq!(field.act(id, "next").await.kind(), Kind::Unfit);
    // Whoever resumes it has seen the failure.
    assert_eq!(field.act(id, "resume").await.json()["state"], "running");
    let got = field.fetch().await;
    assert_eq!(got.len(), 2);
    field.all_say(&got, OutcomeCode::Done).await;
    let shown = field.show(id).await;
    assert_eq!(
        (&shown["phase"], &shown["awaits"]),
        (&json!(1), &json!("devices"))
    );
    // Two of three are not ninety per cent: a person decides.
    assert_eq!(field.act(id, "next").await.json()["phase"], 2);
    let got = field.fetch().await;
    assert_eq!(got.len(), 3);
    field.all_say(&got, OutcomeCode::Done).await;
    assert_eq!(field.state(id).await, "done");
    // The device says why.
    let failed: Vec<_> = field
        .devices(id)
        .await
        .into_iter()
        .filter(|(_, state, _)| state == "failed")
        .collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].2.as_deref(), Some("failed"));
}

#[tokio::test]
async fn a_device_that_fails_is_tried_again_as_often_as_it_may_be() {
    let mut field = Field::new(1).await;
    let id = field.rollout(json!({ "retries": 2 })).await;
    let mut numbers = BTreeSet::new();
    let mut next = field.fetch_one(0).await;
    while let Some(order) = next {
        assert!(numbers.insert(order.id), "each try is an order of its own");
        next = field.says(0, order, OutcomeCode::Failed).await;
    }
    assert_eq!(numbers.len(), 3);
    let failed = (String::from("failed"), Some(String::from("failed")));
    assert_eq!(field.is(id, 0).await, failed);
    assert_eq!(field.state(id).await, "done");
    let page = field
        .site
        .server
        .get(&format!("{ROLLOUTS}/{id}/devices"))
        .await;
    assert_eq!(page["items"][0]["attempts"], 3);
    // Unlike a device that cannot do it.
    let id = field.rollout(json!({ "retries": 2 })).await;
    let order = field.fetch_one(0).await.unwrap();
    field.says(0, order, OutcomeCode::Unsupported).await;
    assert_eq!(field.is(id, 0).await.1.as_deref(), Some("unable"));
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_shown_and_is_a_failure_only_by_a_deadline() {
    let mut field = Field::new(2).await;
    let id = field.rollout(json!({})).await;
    field.later(25 * 60 * 60).await;
    let shown = field.show(id).await;
    assert_eq!(
        (&shown["state"], &shown["silent"]),
        (&json!("running"), &json!(2))
    );
    field.act(id, "abort").await.json();
    let id = field
        .rollout(json!({ "deadline_secs": 60, "retries": 5 }))
        .await;
    let order = field.fetch_one(0).await.unwrap();
    field.later(59).await;
    assert_eq!(field.state(id).await, "running");
    field.later(1).await;
    let overdue = (String::from("failed"), Some(String::from("overdue")));
    assert_eq!(field.is(id, 0).await, overdue);
    assert_eq!(field.is(id, 1).await, overdue);
    assert_eq!(field.state(id).await, "done");
    assert!(field.fetch_one(1).await.is_none());
    // What it says in the end counts.
    field.says(0, order, OutcomeCode::Done).await;
    assert_eq!(field.is_in(id, 0).await, "done");
}

#[tokio::test]
async fn a_phase_whose_devices_were_all_skipped_opens_no_other_one() {
    let mut field = Field::new(5).await;
    let id = field.rollout(percents(&[40, 20, 40])).await;
    // Both are kept apart before they have heard of it: nobody has tried the release.
    let first = field.ordered(id).await;
    assert_eq!(first.len(), 2);
    for number in &first {
        field.quarantine(*number).await;
        let skipped = (String::from("skipped"), Some(String::from("quarantined")));
        assert_eq!(field.is(id, *number).await, skipped);
    }
    let shown = field.show(id).await;
    assert_eq!(
        (&shown["state"], &shown["reason"], &shown["phase"]),
        (&json!("paused"), &json!("untried"), &json!(1))
    );
    assert!(field.fetch().await.is_empty());
    assert!(field.acts().await.contains(&String::from("rollout.pause")));
    assert_eq!(field.act(id, "next").await.kind(), Kind::Unfit);
    // Nothing goes on by itself.
    field.later(24 * 60 * 60).await;
    assert_eq!(field.state(id).await, "paused");
    // Whoever resumes it begins the next phase.
    let resumed = field.act(id, "resume").await.json();
    assert_eq!(
        (&resumed["state"], &resumed["phase"], &resumed["reason"]),
        (&json!("running"), &json!(2), &Value::Null)
    );
    let got = field.fetch().await;
    assert_eq!(got.len(), 1);
    field.all_say(&got, OutcomeCode::Done).await;
    let got = field.fetch().await;
    assert_eq!(got.len(), 2);
    // The last ones: nobody is left who would be held back.
    for (number, order) in got {
        field.says(number, order, OutcomeCode::Done).await;
    }
    let shown = field.show(id).await;
    assert_eq!(
        (
            &shown["state"],
            &shown["counts"]["done"],
            &shown["counts"]["skipped"]
        ),
        (&json!("done"), &json!(3), &json!(2))
    );
}
