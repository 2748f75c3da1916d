//! Receipts (spec/evidence.md, "Receipts"): an independent program's vectors, and that each is good in a bundle.

use kusabi_core::cbor::decode_canonical;
use kusabi_core::evidence::{Evidence, Signed};
use kusabi_core::id::{Digest, Handle, Height, OrgId};
use kusabi_core::inventory::SignedInventory;
use kusabi_core::keystore::{KeyStore, SoftKey};
use kusabi_core::protocol::reply::{Answer, Order, Reply, Task};
use kusabi_core::protocol::request::{Ask, OutcomeCode, Request};
use kusabi_core::receipt::{Answered, Heard, Signer, Speaker, TEXT_LEN_MAX};
use kusabi_core::suite::{Purpose, Signature};

use crate::device_protocol::{Case, cases};

const TASKS: [(u64, Task, OutcomeCode); 2] = [
    (9, Task::Update(Digest::new([b'r'; 32])), OutcomeCode::Done),
    (10, Task::Rotate, OutcomeCode::Unproven),
];

fn org(case: &Case) -> OrgId {
    OrgId::new(case.org.array())
}

fn device(case: &Case) -> (Signer, SoftKey) {
    let signer = Signer {
        chain: case.chain(),
        handle: Handle::new(case.device_handle.array()),
        purpose: Purpose::Act,
    };
    (signer, case.key(&case.device_seed))
}

fn server(case: &Case) -> (Signer, SoftKey) {
    let signer = Signer {
        chain: case.chain(),
        handle: Handle::new(case.server_handle.array()),
        purpose: Purpose::Ps,
    };
    (signer, case.key(&case.server_seed))
}

/// Good in a bundle, for this text and signer alone.
fn in_a_bundle(signer: &Signer, key: &SoftKey, text: &str, signature: Signature) {
    let key = key.public_keys().verification_key().unwrap();
    let signed = Signed {
        chain: signer.chain,
        signer: signer.handle,
        purpose: signer.purpose,
        file: Digest::of(text.as_bytes()),
    };
    let pack = |signature| {
        let (proof, genesis) = (b"a proof".to_vec(), b"a genesis".to_vec());
        Evidence::pack(
            signed,
            key.algorithm(),
            signature,
            proof,
            genesis,
            Vec::new(),
        )
        .unwrap()
    };
    let bundle = Evidence::decode(pack(signature).encoded()).unwrap();
    let check =
        |bundle: &Evidence, file: &Digest| bundle.check_signature(&signer.chain, file, &key);
    assert_eq!(check(&bundle, &signed.file), Ok(()));
    assert!(check(&bundle, &Digest::of(b"another text")).is_err());
    for byte in 0..Signature::LEN {
        let mut changed: [u8; Signature::LEN] = signature.as_ref().try_into().unwrap();
        changed[byte] ^= 1;
        let changed = Signature::new(changed);
        assert!(
            check(&pack(changed), &signed.file).is_err(),
            "byte {byte} was changed"
        );
        assert!(signer.check(&key, text, &changed).is_err());
    }
    for other in [
        Signer {
            purpose: Purpose::App,
            ..*signer
        },
        Signer {
            handle: Handle::ZERO,
            ..*signer
        },
    ] {
        assert!(other.check(&key, text, &signature).is_err());
    }
}

#[test]
fn what_a_device_signs_of_its_orders() {
    for case in cases() {
        let (signer, key) = device(&case);
        let request: Request<'_> = decode_canonical(&case.request_plaintext.0).unwrap();
        let Ask::Poll(poll) = &request.ask else {
            panic!("a poll");
        };
        for (at, (id, task, code)) in TASKS.into_iter().enumerate() {
            let answered = Answered {
                org: org(&case),
                device: signer.handle,
                server: server(&case).0.handle,
                order: Order { id, task },
                code,
                height: request.floor.height,
            };
            let (text, wanted) = (answered.text(), &case.answered[at]);
            assert_eq!(text.as_str(), wanted.text);
            let signature = signer.sign(&key, &text).unwrap();
            assert_eq!(signature.as_ref(), wanted.signature.0);
            assert_eq!(poll.outcomes[at].signature, signature);
            assert_eq!(
                (poll.outcomes[at].order, poll.outcomes[at].code),
                (id, code)
            );
            in_a_bundle(&signer, &key, &text, signature);
        }
    }
}

#[test]
fn what_a_server_signs_that_it_heard() {
    for case in cases() {
        let (signer, key) = server(&case);
        let request: Request<'_> = decode_canonical(&case.request_plaintext.0).unwrap();
        let reply: Reply<'_> = decode_canonical(&case.reply_plaintext.0).unwrap();
        let (Ask::Poll(poll), Answer::Orders { receipt, .. }) = (&request.ask, &reply.answer)
        else {
            panic!("a poll and its answer");
        };
        let outcomes = Heard::outcomes(&poll.outcomes).unwrap();
        let report = Heard::report(&case.statement.0).unwrap();
        for (heard, wanted) in [outcomes, report].into_iter().zip(&case.heard) {
            let from = Speaker {
                org: org(&case),
                device: device(&case).0.handle,
                height: request.floor.height,
            };
            let text = heard.text(&from, case.at_ms);
            assert_eq!(text.as_str(), wanted.text);
            let made = heard.receipt(&from, case.at_ms, &signer, &key).unwrap();
            assert_eq!(made.signature.as_ref(), wanted.signature.0);
            in_a_bundle(&signer, &key, &text, made.signature);
        }
        let receipt = receipt.unwrap();
        assert_eq!(receipt.at_ms, case.at_ms);
        assert_eq!(receipt.signature.as_ref(), case.heard[0].signature.0);
    }
    assert_eq!(Heard::outcomes(&[]), None);
    assert_eq!(Heard::report(&[0; SignedInventory::LEN - 1]), None);
}

#[test]
fn the_longest_texts_fit() {
    let longest = Answered {
        org: OrgId::ZERO,
        device: Handle::ZERO,
        server: Handle::ZERO,
        order: Order {
            id: u64::MAX,
            task: Task::ReportInventory([0xff; 32]),
        },
        code: OutcomeCode::Unproven,
        height: Height::MAX,
    };
    assert!(longest.text().ends_with('}'));
    let heard = Heard::Outcomes([(u64::MAX, OutcomeCode::Unproven, Digest::ZERO); 4].into());
    let from = Speaker {
        org: OrgId::ZERO,
        device: Handle::ZERO,
        height: Height::MAX,
    };
    let text = heard.text(&from, u64::MAX);
    assert!(text.ends_with('}') && text.len() <= TEXT_LEN_MAX);
    let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
    // The members stand in the order that a sorted writer gives them.
    assert_eq!(parsed.to_string(), text.as_str());
}
