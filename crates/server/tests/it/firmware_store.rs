//! Bytes in the firmware store and rows in the database: what is acknowledged is there, whatever the store does, and when.

use crate::{
    bucket::Bucket,
    mender_artifacts::{SIGNER, error, form},
    releases::{Made, of},
    world::{Got, World},
};
use axum::http::{Method, StatusCode};
use kusabi_api::Kind;
use kusabi_core::{
    id::Digest,
    release::{Content, PayloadParts, TargetParts},
};
use kusabi_mender::testing::Parts;
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

const ARTIFACTS: &str = "/api/management/v1/deployments/artifacts";

/// Longer than anything of a server that is not kept waiting takes, and shorter than a writer waits for its turn.
const SOON: Duration = Duration::from_secs(8);

const HOUR_MS: u64 = 60 * 60 * 1000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// A server that knows who signs artifacts, and its store.
async fn world() -> (World, Bucket) {
    let bucket = Bucket::default();
    let world = World::over(Arc::new(bucket.clone())).await;
    world.signing().await;
    (world, bucket)
}

fn artifact(name: &str) -> Vec<u8> {
    Parts::new(name, b"content").signed(SIGNER)
}

impl World {
    async fn delete_artifact(&self, id: &str) -> StatusCode {
        let address = format!("{ARTIFACTS}/{id}");
        let gone = self.ask(&self.operator, Method::DELETE, &address, &[], &Value::Null);
        gone.await.status
    }

    /// Somebody else writes, and is not kept waiting.
    async fn writes(&self, group: &str) {
        let made = self.post("/api/v1/groups", json!({ "name": group }));
        let made = tokio::time::timeout(SOON, made).await;
        assert_eq!(made.unwrap().status, StatusCode::CREATED, "{group}");
    }

    /// Whether devices can have it.
    async fn has(&self, bytes: &[u8]) -> bool {
        let got = self
            .fetch(&format!("/device/v1/payloads/{}", of(bytes)), &[])
            .await;
        match got.status {
            StatusCode::OK => {
                assert!(got.body == bytes);
                true
            }
            _ => {
                assert_eq!(got.kind(), Kind::Unknown);
                false
            }
        }
    }

    async fn send_content(&self, bytes: &[u8]) -> Got {
        self.put(&content(bytes), bytes.to_vec()).await
    }

    async fn acts(&self, act: &str) -> usize {
        let (log, _) = self.pages(&self.admin, "/api/v1/audit-log").await;
        log.iter().filter(|entry| entry["act"] == act).count()
    }

    /// What the server does every hour; later, by so many milliseconds.
    async fn tidy(&self, later_ms: u64) {
        self.edge.now_ms.fetch_add(later_ms, SeqCst);
        self.app().await.tidy_firmware().await.unwrap();
    }

    /// A release that has these bytes as a payload without a meaning.
    fn wrap_raw(&self, bytes: &[u8], counter: u64) -> Made {
        let content = Content::new(bytes.len() as u64, Digest::new(of(bytes).0)).unwrap();
        let made = self.make(&[10, 11], 1, |parts| {
            parts.counter = counter;
            parts.targets = vec![TargetParts {
                device_type: "cam-2".into(),
                inventory: None,
                payloads: vec![0],
            }];
            parts.payloads = vec![PayloadParts {
                name: "root".into(),
                format: "raw".into(),
                content,
                chunk_index: None,
            }];
        });
        self.publish(made.digest, counter);
        made
    }
}

fn content(bytes: &[u8]) -> String {
    format!("/api/v1/contents/{}", of(bytes))
}

#[tokio::test]
async fn a_store_that_is_slow_keeps_no_other_writer_waiting() {
    let (world, bucket) = world().await;
    let id = world.upload_artifact(&artifact("app-1.0")).await;
    bucket.removals().shut();
    let meanwhile = async {
        bucket.removals().reached(1).await;
        world.writes("while it is removed").await;
        bucket.removals().open();
    };
    let (gone, ()) = tokio::join!(world.delete_artifact(&id), meanwhile);
    assert_eq!(gone, StatusCode::NO_CONTENT);

    let next = artifact("app-1.1");
    bucket.puts().shut();
    let meanwhile = async {
        bucket.puts().reached(1).await;
        world.writes("while it is written").await;
        bucket.puts().open();
    };
    tokio::join!(world.upload_artifact(&next), meanwhile);

    // A release of it is made while the store is asked whether it is there.
    let made = world.wrap(&next, &["board"], 4);
    world.upload(&made).await.json();
    bucket.looks().shut();
    let meanwhile = async {
        bucket.looks().reached(1).await;
        world.writes("while it is looked for").await;
        bucket.looks().open();
    };
    let (sent, ()) = tokio::join!(world.send_content(&next), meanwhile);
    assert_eq!(sent.json()["complete"], true);
    assert!(world.has(&next).await);
}

#[tokio::test]
async fn what_the_store_does_not_remove_keeps_nothing_else_from_it() {
    let (world, bucket) = world().await;
    let both = ["app-1.0", "app-1.1"].map(artifact);
    let names = both.each_ref().map(|bytes| of(bytes).to_string());
    for bytes in &both {
        let id = world.upload_artifact(bytes).await;
        bucket.removes_late(true);
        assert_eq!(world.delete_artifact(&id).await, StatusCode::NO_CONTENT);
        bucket.removes_late(false);
        // The one that is not removed is due first.
        world.edge.now_ms.fetch_add(1, SeqCst);
    }
    bucket.keeps([names[0].clone()]);
    // What lies in the way among what is on its way keeps nothing from it either.
    let stuck = world.firmware.path().join("draft_stuck");
    std::fs::create_dir(&stuck).unwrap();
    std::fs::File::open(&stuck)
        .unwrap()
        .set_modified(std::time::UNIX_EPOCH)
        .unwrap();
    world.tidy(0).await;
    assert!(stuck.exists());
    assert_eq!(bucket.names().await, [names[0].clone()]);
    bucket.keeps([]);
    world.tidy(HOUR_MS - 1).await;
    assert_eq!(bucket.names().await, [names[0].clone()]);
    world.tidy(1).await;
    assert_eq!(bucket.names().await, Vec::<String>::new());
}

#[tokio::test]
async fn what_is_sent_again_while_it_is_tidied_stays() {
    let (world, bucket) = world().await;
    let [gone, artifact] = ["app-1.0", "app-1.1"].map(artifact);
    let id = world.upload_artifact(&gone).await;
    // Due first: it is at this one that the list grows old.
    bucket.removes_late(true);
    assert_eq!(world.delete_artifact(&id).await, StatusCode::NO_CONTENT);
    bucket.removes_late(false);
    bucket.loses_answers(true);
    let body = form(&[("artifact", &artifact)]);
    assert_eq!(error(&world.send_form(body).await).0, 502);
    bucket.loses_answers(false);

    bucket.removals().shut();
    bucket.puts().shut();
    let (tidied, mut sent) = (AtomicBool::new(false), None);
    let tidy = async {
        world.tidy(DAY_MS).await;
        tidied.store(true, SeqCst);
        // Announced, and not yet acknowledged.
        bucket.puts().open();
    };
    let send = async {
        bucket.removals().reached(1).await;
        let comes = async {
            bucket.puts().reached(1).await;
            assert!(!tidied.load(SeqCst));
            bucket.removals().open();
        };
        sent = Some(tokio::join!(world.upload_artifact(&artifact), comes));
    };
    tokio::join!(tidy, send);
    assert!(sent.is_some() && world.has(&artifact).await);
    assert_eq!(bucket.names().await, [of(&artifact).to_string()]);
}

#[tokio::test]
async fn a_removal_that_the_store_does_late_takes_nothing_that_came_since() {
    let (world, bucket) = world().await;
    let artifact = artifact("app-1.0");
    let id = world.upload_artifact(&artifact).await;
    bucket.removes_late(true);
    assert_eq!(world.delete_artifact(&id).await, StatusCode::NO_CONTENT);
    assert!(!world.has(&artifact).await);
    bucket.removes_late(false);
    assert_eq!(world.upload_artifact(&artifact).await, id);
    assert_eq!(bucket.catch_up().await, 1);
    assert!(world.has(&artifact).await);

    // Neither what is done every hour, nor what is done once more after a day.
    for later_ms in [0, DAY_MS, 2 * DAY_MS] {
        world.tidy(later_ms).await;
        assert!(world.has(&artifact).await);
        assert_eq!(bucket.names().await.len(), 1);
    }
    // Again and again.
    for _ in 0..2 {
        assert_eq!(world.delete_artifact(&id).await, StatusCode::NO_CONTENT);
        assert_eq!(bucket.names().await, Vec::<String>::new());
        assert_eq!(world.upload_artifact(&artifact).await, id);
        assert!(world.has(&artifact).await);
    }
}

#[tokio::test]
async fn what_a_server_that_died_left_in_the_store_is_removed_when_nobody_can_want_it_any_more() {
    let (world, bucket) = world().await;
    let artifact = artifact("app-1.0");
    let body = form(&[("artifact", &artifact)]);
    // Written, and nobody said so.
    bucket.loses_answers(true);
    let (status, _) = error(&world.send_form(body.clone()).await);
    assert_eq!(status, 502);
    assert!(!world.has(&artifact).await);
    world.tidy(DAY_MS - 1).await;
    assert_eq!(bucket.names().await.len(), 1);
    world.tidy(1).await;
    assert_eq!(bucket.names().await, Vec::<String>::new());
    // Somebody sent it again: it stays.
    assert_eq!(error(&world.send_form(body).await).0, 502);
    bucket.loses_answers(false);
    let id = world.upload_artifact(&artifact).await;
    world.tidy(DAY_MS).await;
    assert!(world.has(&artifact).await);

    // Forgotten, and the server died before it could remove it; one that was on its way to the store comes a little later still.
    bucket.puts().shut();
    let late = async {
        bucket.puts().reached(1).await;
        bucket.removes_late(true);
        assert_eq!(world.delete_artifact(&id).await, StatusCode::NO_CONTENT);
        bucket.puts().open();
    };
    let (refused, ()) = tokio::join!(world.send_form(form(&[("artifact", &artifact)])), late);
    let (status, why) = error(&refused);
    assert!(status == 409 && why.contains("upload it again"), "{why}");
    assert_eq!(bucket.names().await.len(), 1);
    bucket.removes_late(false);
    world.tidy(0).await;
    assert_eq!(bucket.names().await, Vec::<String>::new());
    assert!(!world.has(&artifact).await);
    assert_eq!(world.upload_artifact(&artifact).await, id);
    assert!(world.has(&artifact).await);
}

#[tokio::test]
async fn a_content_whose_answer_was_lost_is_complete_without_another_byte() {
    let (world, bucket) = world().await;
    let artifact = artifact("app-1.0");
    let made = world.wrap(&artifact, &["board"], 4);
    world.upload(&made).await.json();
    bucket.loses_answers(true);
    let got = world.send_content(&artifact).await;
    assert_eq!(got.kind(), Kind::FirmwareStore);
    bucket.loses_answers(false);
    let shown = world.get(&content(&artifact)).await.json();
    assert_eq!(
        (&shown["complete"], &shown["received"]),
        (&json!(false), &json!(artifact.len()))
    );
    assert!(!world.has(&artifact).await);
    assert_eq!(
        world.put(&content(&artifact), "").await.json()["complete"],
        true
    );
    assert!(world.has(&artifact).await);
    assert_eq!(world.acts("content.complete").await, 1);
    assert_eq!(world.get(ARTIFACTS).await.json()[0]["signed"], true);
    // Lost by the store, it comes back the same way.
    bucket.lose().await;
    assert!(!world.has(&artifact).await);
    let got = world.send_content(&artifact).await;
    assert_eq!(got.json()["complete"], true);
    assert!(world.has(&artifact).await);
    world.tidy(DAY_MS).await;
    assert!(world.has(&artifact).await);
}

#[tokio::test]
async fn of_two_contents_whose_artifacts_have_one_name_the_one_that_is_refused_leaves_nothing() {
    let (world, bucket) = world().await;
    let both = [b"one".as_slice(), b"other"].map(|bytes| {
        let artifact = Parts::new("app-1.0", bytes).signed(SIGNER);
        let made = world.wrap(&artifact, &["board"], 4 + bytes.len() as u64);
        (artifact, made)
    });
    for (_, made) in &both {
        world.upload(made).await.json();
    }
    // Each is looked at before the other one has its name.
    bucket.puts().shut();
    let open = async {
        bucket.puts().reached(2).await;
        bucket.puts().open();
    };
    let [one, other] = &both;
    let (got, other_got, ()) = tokio::join!(
        world.send_content(&one.0),
        world.send_content(&other.0),
        open
    );
    let (refused, lost, won) = match got.status {
        StatusCode::OK => (other_got, &other.0, &one.0),
        _ => (got, &one.0, &other.0),
    };
    let (kind, why) = refused.problem();
    assert!(
        kind == Kind::AlreadyDone && why.contains("another name"),
        "{why}"
    );
    for again in 0..2 {
        let shown = world.get(&content(lost)).await.json();
        assert_eq!(
            (&shown["complete"], &shown["received"]),
            (&json!(false), &json!(0)),
            "{again}"
        );
        assert!(world.has(won).await && !world.has(lost).await);
        assert_eq!(bucket.names().await, [of(won).to_string()]);
        assert_eq!(world.acts("content.complete").await, 1);
        let got = world.send_content(lost).await;
        assert_eq!(got.kind(), Kind::AlreadyDone);
    }
}

#[tokio::test]
async fn what_a_release_says_of_a_content_while_it_comes_holds_when_it_is_complete() {
    let (world, bucket) = world().await;
    let artifact = artifact("app-1.0");
    let raw = world.wrap_raw(&artifact, 4);
    world.upload(&raw).await.json();
    let made = world.wrap(&artifact, &["board"], 5);
    let comes = async |made: &Made| {
        bucket.puts().shut();
        let meanwhile = async {
            bucket.puts().reached(1).await;
            world.upload(made).await.json();
            bucket.puts().open();
        };
        let put = world.send_content(&artifact);
        tokio::join!(put, meanwhile).0
    };
    assert_eq!(comes(&made).await.json()["complete"], true);
    assert_eq!(world.get(ARTIFACTS).await.json()[0]["name"], "app-1.0");
    let acts = [
        world.acts("content.complete").await,
        world.acts("artifact.note").await,
    ];
    assert_eq!(acts, [1, 0], "one transaction has all of it");
}

#[tokio::test]
async fn an_artifact_that_cannot_stand_beside_another_one_is_not_complete_however_it_came() {
    let (world, bucket) = world().await;
    let first = Parts::new("app-1.0", b"first").signed(SIGNER);
    let made = world.wrap(&first, &["board"], 4);
    world.upload(&made).await.json();
    world.send_content(&first).await.json();
    let artifact = artifact("app-1.0");
    let raw = world.wrap_raw(&artifact, 5);
    world.upload(&raw).await.json();

    // A release says that it is one while it comes.
    bucket.puts().shut();
    let made = world.wrap(&artifact, &["board"], 6);
    let meanwhile = async {
        bucket.puts().reached(1).await;
        world.upload(&made).await.json();
        bucket.puts().open();
    };
    let put = world.send_content(&artifact);
    let (refused, ()) = tokio::join!(put, meanwhile);
    assert_eq!(refused.kind(), Kind::AlreadyDone);
    let shown = world.get(&content(&artifact)).await.json();
    assert_eq!(shown["complete"], false);
    assert_eq!(bucket.names().await, [of(&first).to_string()]);

    // It is here, whatever it is, when a release says so: the release is refused, and nothing is noted.
    let other = Parts::new("app-1.0", b"other").signed(SIGNER);
    let raw = world.wrap_raw(&other, 7);
    world.upload(&raw).await.json();
    assert_eq!(world.send_content(&other).await.json()["complete"], true);
    let made = world.wrap(&other, &["board"], 8);
    let before = world.acts("release.upload").await;
    let (kind, why) = world.upload(&made).await.problem();
    assert!(
        kind == Kind::AlreadyDone && why.contains("another name"),
        "{why}"
    );
    let shown = world
        .get(&format!("/api/v1/releases/{}", made.digest))
        .await;
    assert_eq!(shown.kind(), Kind::Unknown);
    assert_eq!(
        (
            world.acts("release.upload").await,
            world.acts("artifact.note").await
        ),
        (before, 0)
    );
    // One that fits is noted with it.
    let fit = Parts::new("app-2.0", b"fit").signed(SIGNER);
    let raw = world.wrap_raw(&fit, 9);
    world.upload(&raw).await.json();
    world.send_content(&fit).await.json();
    let made = world.wrap(&fit, &["board"], 10);
    world.upload(&made).await.json();
    assert_eq!(world.acts("artifact.note").await, 1);
    assert_eq!(
        world.get(ARTIFACTS).await.json().as_array().unwrap().len(),
        2
    );
}
