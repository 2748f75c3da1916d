//! Public keys, and signatures by whatever key that gives.
#![no_main]

use kusabi_core::id::{ChainId, Handle};
use kusabi_core::statement::{Statement, StatementKind};
use kusabi_core::suite::{PublicKeys, Purpose, Signature, Suite, VerificationKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    |input: (u8, [u8; 32], [u8; 32], [u8; 2], [u8; 32], [u8; 32], &[u8])| {
        let (suite, a, b, c, r, s, compact) = input;
        let mut keys = [0; PublicKeys::LEN];
        keys[..32].copy_from_slice(&a);
        keys[32..64].copy_from_slice(&b);
        keys[64..].copy_from_slice(&c);
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&r);
        signature[32..].copy_from_slice(&s);
        let Ok(suite) = Suite::try_from(suite) else {
            return;
        };
        if let Ok(keys) = PublicKeys::from_compact(suite, compact) {
            assert_eq!(PublicKeys::decode(suite, keys.as_bytes()), Ok(keys));
        }
        let Ok(decoded) = PublicKeys::decode(suite, &keys) else {
            return;
        };
        assert_eq!(decoded.as_bytes(), &keys);
        let Some(key) = decoded.verification_key() else {
            return;
        };
        assert_eq!(VerificationKey::decode(&key.encode()), Ok(key));
        let kind = StatementKind::Transaction(1);
        let statement = Statement::new(&ChainId::ZERO, &Handle::ZERO, Purpose::Writer, kind, &[]);
        // A key of small order may verify by chance; nothing may panic.
        let _ = key.verify(&statement, &Signature::new(signature));
    }
);
