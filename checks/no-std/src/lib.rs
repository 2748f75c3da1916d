//! A program without std and without an allocator that uses the device side of kusabi-core.
//!
//! If any dependency linked std, there would be two panic handlers and rustc would stop with E0152; if any linked alloc,
//! it would miss a global allocator. Built on the host, so no other target is needed; it says nothing about the size of
//! code or stack.
#![no_std]

use kusabi_core::id::{ChainId, Handle, KusabiId};
use kusabi_core::keystore::{KeyStore, Seed, SoftKey};
use kusabi_core::statement::{Statement, StatementKind};
use kusabi_core::suite::{PublicKeys, Purpose, Signature, Suite};

#[cfg(feature = "must-fail-std")]
extern crate std;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Decodes keys, verifies and makes a signature, agrees on a secret: what a device does.
pub fn device_side(
    id: &str,
    seed: [u8; 32],
    keys: &[u8; 66],
    signature: [u8; 64],
) -> Option<[u8; 32]> {
    let id: KusabiId = id.parse().ok()?;
    let statement = Statement::new(
        &ChainId::ZERO,
        &Handle::of(&id),
        Purpose::Act,
        StatementKind::Transaction(2),
        &[],
    );
    let peer = PublicKeys::decode(Suite::P256, keys).ok()?;
    peer.verification_key()?
        .verify(&statement, &Signature::new(signature))
        .ok()?;
    let own = SoftKey::from_seed(Suite::P256, &Seed::new(seed)).ok()?;
    own.sign(&statement).ok()?;
    own.agree(&peer.agreement_key()?)
        .ok()
        .map(|secret| *secret.expose())
}
