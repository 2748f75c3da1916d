//! The audit log's head on the ledger, and receipts.

use crate::world::{PS, World};
use axum::http::Method;
use kusabi_api::{Hex32, Kind, admin::Receipt};
use kusabi_core::{
    evidence::{Evidence, Invalid, Verdict},
    id::{Digest, Height, StateKey},
    row::{AnchorRow, Topic},
    suite::Purpose,
    tx::Action,
};
use kusabi_ledger::{State as _, testing::TestKey};
use serde_json::{Value, json};

impl World {
    async fn admin_get(&self, address: &str) -> crate::world::Got {
        self.ask(&self.admin, Method::GET, address, &[], &Value::Null)
            .await
    }

    fn anchor(&self, hash: &Value) -> Option<AnchorRow> {
        let digest: Hex32 = serde_json::from_value(hash.clone()).unwrap();
        let world = self.ledger.world.lock().unwrap();
        let row = world.state.row(&StateKey::anchor(&Digest::new(digest.0)))?;
        Some(AnchorRow::decode(&row).unwrap())
    }
}

#[tokio::test]
async fn the_head_is_anchored_when_the_log_grew_and_only_then() {
    let world = World::keyed().await;
    let app = world.app().await;
    let head = world.admin_get("/api/v1/audit-log/head").await.json();
    assert_eq!((&head["seq"], &head["anchored"]), (&json!(3), &Value::Null));

    // A ledger that is away costs nothing but time.
    world.ledger.set_gone(true);
    app.anchor_audit_log().await.unwrap_err();
    world.ledger.set_gone(false);
    let anchored = app.anchor_audit_log().await.unwrap().unwrap();
    assert_eq!(
        (anchored.seq, json!(anchored.hash)),
        (3, head["hash"].clone())
    );
    let row = world.anchor(&head["hash"]).unwrap();
    assert_eq!(
        (row.topic, row.height.get()),
        (Topic::AuditLog, anchored.height)
    );
    let head = world.admin_get("/api/v1/audit-log/head").await.json();
    assert_eq!(head["anchored"], json!(anchored));
    assert_eq!(app.anchor_audit_log().await.unwrap(), None);

    world.device(100, json!({})).await;
    let grown = world.admin_get("/api/v1/audit-log/head").await.json();
    assert_eq!(
        (&grown["seq"], &grown["anchored"]["seq"]),
        (&json!(4), &json!(3))
    );
    // It stood there already, for an answer was lost: it is found, not sent again.
    let height = {
        let digest: Hex32 = serde_json::from_value(grown["hash"].clone()).unwrap();
        let transaction = {
            let world = world.ledger.world.lock().unwrap();
            let action = Action::Anchor {
                org: world.org,
                topic: Topic::AuditLog,
                digest: Digest::new(digest.0),
            };
            world.sign(action, &[&world.writer])
        };
        world.ledger.commit(transaction).unwrap()
    };
    assert_eq!(
        app.anchor_audit_log().await.unwrap().unwrap().height,
        height
    );

    // Who has no writer's key anchors nothing, and says nothing else.
    let keyless = World::new().await;
    assert_eq!(keyless.app().await.anchor_audit_log().await.unwrap(), None);
    let viewer = world.get("/api/v1/audit-log/head").await;
    assert_eq!(viewer.kind(), Kind::Forbidden);
}

#[tokio::test]
async fn a_receipt_is_checked_without_the_server_and_without_a_network() {
    let world = World::keyed().await;
    world.device(100, json!({ "name": "gate <b>" })).await;
    let got = world.admin_get("/api/v1/audit-log/4/receipt").await.json();
    let receipt: Receipt = serde_json::from_value(got).unwrap();
    let statement: Value = serde_json::from_str(&receipt.statement).unwrap();
    assert_eq!(statement["kusabi"], "receipt-1");
    assert_eq!(statement["content"]["act"], "device.import");
    let entries = world.admin_get("/api/v1/audit-log?cursor=3").await.json();
    assert_eq!(statement["content"], entries["items"][0]);

    let chain = world.ledger.world.lock().unwrap().chain;
    let verify = |statement: &str| {
        let file = Digest::new(crate::releases::of(statement.as_bytes()).0);
        Evidence::verify(&receipt.evidence, &chain, &file, None, Height::ZERO)
    };
    let evidence = Evidence::decode(&receipt.evidence).unwrap();
    assert_eq!(
        evidence.signed().signer,
        TestKey::new(PS, Purpose::Ps).handle
    );
    let verdict = verify(&receipt.statement);
    assert!(!matches!(verdict, Verdict::Invalid(_)), "{verdict:?}");
    let forged = receipt.statement.replace("device.import", "device.revoke");
    assert!(matches!(
        verify(&forged),
        Verdict::Invalid(Invalid::Evidence(_))
    ));

    for seq in ["0", "5", "18446744073709551615"] {
        let got = world
            .admin_get(&format!("/api/v1/audit-log/{seq}/receipt"))
            .await;
        assert_eq!(got.kind(), Kind::Unknown, "{seq}");
    }
    let keyless = World::new().await;
    let got = keyless.admin_get("/api/v1/audit-log/1/receipt").await;
    assert_eq!(got.kind(), Kind::Unfit);
}
