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
