//! Receipts: what a device signs of its orders, what the server signs that it heard.

use crate::{raw::Told, site::Site};
use axum::http::{Method, StatusCode};
use kusabi_api::admin::Receipt;
use kusabi_core::{
    device::Input,
    evidence::{Evidence, EvidenceError},
    id::{Digest, Handle, Height},
    protocol::{
        reply::{Order, SealedProblem},
        request::{Ask, Outcome, OutcomeCode, Poll},
    },
    receipt::{Answered, Signer},
    suite::{Purpose, Signature},
};
use serde_json::json;

impl Site {
    /// The receipt's answer.
    async fn receipt(&self, device: &str, order: u64) -> (StatusCode, serde_json::Value) {
        let address = format!("/api/v1/devices/{device}/orders/{order}/receipt");
        let got = self.server.ask(Method::GET, &address, &json!(null)).await;
        let told = serde_json::from_slice(&got.body);
        (got.status, told.unwrap())
    }

    /// Holds a bundle against the record on the ledger.
    fn check(
        &self,
        signer: &Handle,
        statement: &str,
        evidence: &[u8],
    ) -> Result<(), EvidenceError> {
        let evidence = Evidence::decode(evidence).unwrap();
        assert_eq!(evidence.signed().signer, *signer);
        let chain = self.chain.lock();
        let record = chain.record(signer).unwrap();
        let key = record.keys().verification_key().unwrap();
        let file = Digest::of(statement.as_bytes());
        evidence.check_signature(&chain.world.chain, &file, &key)
    }
}

#[tokio::test]
async fn what_a_device_signs_of_an_order_is_evidence() {
    let site = Site::new().await;
    let mut device = site.active().await;
    site.server.order(&device.id, "report").await;
    device.poll(&site.server).await;
    let order = device.wanted()[0];
    let (status, problem) = site.receipt(&device.id, order.id).await;
    assert!(status.is_client_error(), "{problem}");
    assert!(
        problem.to_string().contains("has signed nothing"),
        "{problem}"
    );

    device.input(Input::Outcome {
        order,
        code: OutcomeCode::Failed,
    });
    device.poll(&site.server).await;
    let (status, receipt) = site.receipt(&device.id, order.id).await;
    assert_eq!(status, StatusCode::OK, "{receipt}");
    let receipt: Receipt = serde_json::from_value(receipt).unwrap();
    let said: serde_json::Value = serde_json::from_str(&receipt.statement).unwrap();
    assert_eq!(said["about"], "order");
    assert_eq!(said["content"]["order"], order.id);
    assert_eq!(said["content"]["outcome"], "failed");
    assert_eq!(said["content"]["task"], "report");
    let (act, ps) = (device.current(), site.known_servers()[0].handle);
    assert_eq!(said["content"]["server"], ps.to_string());
    assert_eq!(
        site.check(&act, &receipt.statement, &receipt.evidence),
        Ok(())
    );
    let other = receipt.statement.replace("failed", "done");
    assert_eq!(
        site.check(&act, &other, &receipt.evidence),
        Err(EvidenceError::OtherFile)
    );

    // And the device has the server's word that it heard it; once.
    device.poll(&site.server).await;
    let [heard] = &device.receipts[..] else {
        panic!("{:?}", device.receipts);
    };
    assert_eq!(heard.signer, ps);
    let said: serde_json::Value = serde_json::from_str(&heard.text).unwrap();
    assert_eq!(said["content"]["device"], act.to_string());
    let evidence = Evidence::decode(&receipt.evidence).unwrap();
    let signature = Digest::of(evidence.signature().as_ref()).to_string();
    assert_eq!(
        said["content"]["outcomes"],
        json!([{ "order": order.id, "outcome": "failed", "signature": signature }])
    );

    // The key that signed has a successor: the receipt is the same.
    let again = site.receipt(&device.id, order.id).await.1;
    assert_eq!(again["statement"], receipt.statement);
    // It is this device's, and no other's.
    let stranger = site.active().await;
    let (status, _) = site.receipt(&stranger.id, order.id).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_a_device_did_not_sign_it_did_not_say() {
    let site = Site::new().await;
    let device = site.registered(90).await;
    site.server.order(&device.id, "rotate").await;
    site.server.order(&device.id, "report").await;
    let mut raw = site.raw(&device.key).await;
    let poll = |outcomes: &[Outcome]| {
        Ask::Poll(Poll {
            outcomes: outcomes.iter().copied().collect(),
            ..Poll::default()
        })
    };
    let Told::Orders(orders) = raw.ask(&site.server, poll(&[])).await else {
        panic!("no orders");
    };
    let (order, report): (Order, Order) = (orders[0], orders[1]);
    let states = async || -> Vec<String> {
        let orders = site.server.orders(&device.id).await;
        orders.into_iter().map(|(_, state)| state).collect()
    };
    let chain = site.chain.lock().world.chain;
    let org = site.chain.lock().world.org;
    let signer = Signer {
        chain,
        handle: device.key.handle,
        purpose: Purpose::Act,
    };
    let server = site.known_servers()[0].handle;
    let answered = Answered {
        org,
        device: device.key.handle,
        server,
        order,
        code: OutcomeCode::Done,
        height: Height::ZERO,
    };
    let sign = |answered: Answered| signer.sign(&device.key.key, &answered.text()).unwrap();
    // Unsigned; of another outcome; of another height; for another server; of another order.
    for signature in [
        Signature::new([0; Signature::LEN]),
        sign(Answered {
            code: OutcomeCode::Failed,
            ..answered
        }),
        sign(Answered {
            height: Height::new(1).unwrap(),
            ..answered
        }),
        sign(Answered {
            server: device.key.handle,
            ..answered
        }),
        sign(Answered {
            order: Order::install(order.id, Digest::ZERO, false),
            ..answered
        }),
    ] {
        let outcome = Outcome {
            order: order.id,
            code: OutcomeCode::Done,
            signature,
        };
        assert_eq!(
            raw.ask(&site.server, poll(&[outcome])).await,
            Told::Problem(SealedProblem::NotAllowed)
        );
        assert_eq!(states().await, ["sent", "sent"]);
    }
    // Ahead of all blocks that the server knows of.
    let ahead = Height::new(1 << 40).unwrap();
    let ask = poll(&[Outcome {
        order: order.id,
        code: OutcomeCode::Done,
        signature: sign(Answered {
            height: ahead,
            ..answered
        }),
    }]);
    assert_eq!(
        raw.ask_at(&site.server, ahead, ask).await,
        Told::Problem(SealedProblem::Unavailable)
    );
    assert_eq!(states().await, ["sent", "sent"]);
    // One that is not signed does not hold up another one that is.
    let unsigned = Outcome {
        order: order.id,
        code: OutcomeCode::Done,
        signature: Signature::new([0; Signature::LEN]),
    };
    let signed = Outcome {
        order: report.id,
        code: OutcomeCode::Failed,
        signature: sign(Answered {
            order: report,
            code: OutcomeCode::Failed,
            ..answered
        }),
    };
    assert_eq!(
        raw.ask(&site.server, poll(&[unsigned, signed])).await,
        Told::Problem(SealedProblem::NotAllowed)
    );
    assert_eq!(states().await, ["sent", "failed"]);
    let outcome = Outcome {
        order: order.id,
        code: OutcomeCode::Done,
        signature: sign(answered),
    };
    assert_eq!(
        raw.ask(&site.server, poll(&[outcome])).await,
        Told::Orders(Vec::new())
    );
    assert_eq!(states().await, ["done", "failed"]);
    let (status, _) = site.receipt(&device.id, order.id).await;
    assert_eq!(status, StatusCode::OK);
}
