//! Statements and their signatures (spec/vectors/statements.json).

use kusabi_core::crypto::SignatureError;
use kusabi_core::id::{ChainId, Handle};
use kusabi_core::keystore::{KeyStore, Seed, SoftKey};
use kusabi_core::statement::{Statement, StatementKind};
use kusabi_core::suite::{Signature, VerificationKey};
use serde::Deserialize;

use crate::vectors::{Hex, read};

#[derive(Deserialize)]
struct Statements {
    statements: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    chain: Hex,
    handle: Hex,
    purpose: u8,
    kind: u16,
    payload: Hex,
    statement: Hex,
    suite: u8,
    seed: Hex,
    verification_key: Hex,
    signature: Hex,
    high_s: Option<Hex>,
}

fn kind(code: u16) -> StatementKind {
    match code.to_be_bytes() {
        [1, action] => StatementKind::Transaction(action),
        [2, 0] => StatementKind::Handover,
        [2, 1] => StatementKind::Recovery,
        [2, 2] => StatementKind::Appointment,
        _ => panic!("no kind {code:#06x}"),
    }
}

#[test]
fn statements() {
    for case in read::<Statements>("statements.json").statements {
        let (front, back) = case.payload.0.split_at(case.payload.0.len() / 2);
        let statement = Statement::new(
            &ChainId::new(case.chain.array()),
            &Handle::new(case.handle.array()),
            case.purpose.try_into().unwrap(),
            kind(case.kind),
            &[front, back],
        );
        assert_eq!(statement.as_bytes().as_slice(), case.statement.0);

        let key = SoftKey::from_seed(
            case.suite.try_into().unwrap(),
            &Seed::new(case.seed.array()),
        )
        .unwrap();
        let signature = Signature::new(case.signature.array());
        // Both algorithms sign deterministically (RFC 8032; RFC 6979), so the signatures are equal.
        assert_eq!(key.sign(&statement), Ok(signature));

        let public = VerificationKey::decode(&case.verification_key.array()).unwrap();
        assert_eq!(public.verify(&statement, &signature), Ok(()));
        if let Some(high_s) = case.high_s {
            assert_eq!(
                public.verify(&statement, &Signature::new(high_s.array())),
                Err(SignatureError::HighS)
            );
        }

        for bit in 0..Statement::LEN * 8 {
            let mut flipped = *statement.as_bytes();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                public.verify_message(&flipped, &signature),
                Err(SignatureError::Mismatch),
                "bit {bit}"
            );
        }
        for bit in 0..512 {
            let mut flipped = *signature.as_bytes();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(
                public.verify(&statement, &Signature::new(flipped)).is_err(),
                "bit {bit}"
            );
        }
    }
}
