//! Several servers, and a restart.

use super::*;

#[tokio::test]
async fn servers_over_one_database_take_each_step_once() {
    let mut field = Field::new(8).await;
    let others = [
        field.site.another(How::default()).await,
        field.site.another(How::default()).await,
    ];
    let start = field.site.edge.now_ms.load(SeqCst) + 1000;
    let mut plan = percents(&[25, 25, 50]);
    plan["start_ms"] = json!(start);
    for phase in 1..3 {
        plan["phases"][phase]["start"] = json!({ "after_secs": 60 });
        plan["phases"][phase - 1]["success_percent"] = json!(0);
    }
    let id = field.rollout(plan).await;
    for (secs, ordered) in [(1, 2), (60, 4), (60, 8)] {
        field.site.edge.now_ms.fetch_add(secs * 1000, SeqCst);
        let apps = [&field.site.server.app, &others[0].app, &others[1].app];
        let all = (0..9).map(|n| apps[n % 3].advance_rollouts());
        for done in at_once(all).await {
            done.unwrap();
        }
        let shown = field.show(id).await;
        assert_eq!(shown["counts"]["ordered"], ordered);
    }
    for camera in &field.cameras {
        assert_eq!(field.site.server.orders(&camera.id).await.len(), 1);
    }
    // Answers that come to several servers at once are each counted once.
    let got = field.fetch().await;
    assert_eq!(got.len(), 8);
    field.all_say(&got, OutcomeCode::Done).await;
    assert_eq!(field.show(id).await["counts"]["done"], 8);
    let acts = field.acts().await;
    let phases = acts.iter().filter(|act| *act == "rollout.phase");
    assert_eq!(phases.count(), 3);
    for other in others {
        other.stop().await;
    }
}

#[tokio::test]
async fn a_restart_in_the_middle_changes_nothing() {
    let mut field = Field::new(4).await;
    let mut plan = percents(&[50, 50]);
    plan["phases"][1]["start"] = json!({ "after_secs": 3600 });
    let id = field.rollout(plan).await;
    let got = field.fetch().await;
    assert_eq!(got.len(), 2);
    field.says(got[0].0, got[0].1, OutcomeCode::Done).await;
    let before = field.show(id).await;
    field.site.restart().await;
    assert_eq!(field.show(id).await, before);
    for camera in &mut field.cameras {
        camera.session += 1;
        camera.raw = field.site.raw_with(&camera.key, link(camera.session)).await;
    }
    // Who had not answered gets its order again, the same one.
    let again = field.fetch().await;
    assert_eq!(again, got[1..]);
    field.says(got[1].0, got[1].1, OutcomeCode::Done).await;
    assert!(field.fetch().await.is_empty());
    field.later(3600).await;
    let got = field.fetch().await;
    assert_eq!(got.len(), 2);
    field.all_say(&got, OutcomeCode::Done).await;
    assert_eq!(field.state(id).await, "done");
}

#[tokio::test]
async fn a_rollout_that_cannot_be_read_keeps_no_other_one_waiting() {
    let mut field = Field::new(2).await;
    let server = &field.site.server;
    let group = server
        .do_post("/api/v1/groups", json!({ "name": "one" }))
        .await;
    let group = group["id"].as_str().unwrap();
    let page = format!("/api/v1/groups/{group}/devices/{}", field.cameras[0].id);
    server.ask(Method::PUT, &page, &Value::Null).await;
    let start = field.site.edge.now_ms.load(SeqCst) + 1000;
    let spoilt = field
        .rollout(json!({ "devices": { "group": group }, "start_ms": start }))
        .await;
    let whole = field.rollout(json!({ "start_ms": start + 1000 })).await;
    spoil(&field, spoilt, "plan").await;
    let page = format!("{ROLLOUTS}/{spoilt}");
    let got = field
        .site
        .server
        .ask(Method::GET, &page, &Value::Null)
        .await;
    assert_eq!(got.status, StatusCode::INTERNAL_SERVER_ERROR);
    field.later(2).await;
    assert_eq!(field.state(whole).await, "running");
    // What devices say of the one that can be read is noted.
    let got = field.fetch().await;
    assert_eq!(got.len(), 2);
    field.says(got[0].0, got[0].1, OutcomeCode::Done).await;
    assert_eq!(field.show(whole).await["counts"]["done"], 1);
    // And the ledger's word stops it.
    field.withdraw();
    let paused = async || field.state(whole).await == "paused";
    field.site.server.until(paused).await;
    assert_eq!(field.show(whole).await["reason"], "withdrawn");
}

/// Puts into a column of a rollout what the server does not write.
async fn spoil(field: &Field, id: u64, column: &'static str) {
    use sqlx::Executor as _;
    let mut connection = field.site.database.connection().await;
    let spoil = format!("UPDATE rollouts SET {column} = '?' WHERE id = {id}");
    let done = connection
        .execute(sqlx::AssertSqlSafe(spoil))
        .await
        .unwrap();
    assert_eq!(done.rows_affected(), 1);
}
