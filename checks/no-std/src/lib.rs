//! A program without std and without an allocator that uses the device side of kusabi-core.
//!
//! If any dependency linked std, there would be two panic handlers and rustc would stop with E0152; if any linked alloc,
//! it would miss a global allocator. Built on the host, so no other target is needed; it says nothing about the size of
//! code or stack.
#![no_std]

use kusabi_core::anchor::Anchor;
use kusabi_core::device::{Device, Input, Kept, KeyRing, Output, Settings, Slot};
use kusabi_core::freshness::Receipt;
use kusabi_core::id::{
    ChainId, Digest, Handle, HeaderHash, Height, KusabiId, Nonce, OrgId, StateKey,
};
use kusabi_core::inventory::{
    Comparison, Component, ComponentKind, Inventory, InventoryStatement, InventoryWriter,
    SignedInventory,
};
use kusabi_core::keystore::{KeyStore, Seed, SoftKey};
use kusabi_core::proof::Proof;
use kusabi_core::protocol::Time;
use kusabi_core::release::{DeviceFacts, Label, ReleaseProofs, SignedManifest, VerifiedRelease};
use kusabi_core::set::EpochSet;
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

/// Checks that a floor is of now.
pub fn is_of_now(receipt: &[u8], anchor: &[u8], set: &[u8], nonce: [u8; 32]) -> Option<()> {
    let receipt = Receipt::decode(receipt).ok()?;
    let (anchor, set) = (Anchor::decode(anchor).ok()?, EpochSet::decode(set).ok()?);
    let verified = receipt.check(&anchor, &set, &Nonce::new(nonce)).ok()?;
    verified.check_floor(&anchor).ok()
}

/// Checks a release with one signer from nothing but bytes, and receives its payload.
pub fn install(
    signed: &[u8],
    proofs: [&[u8]; 3],
    anchor: &[u8],
    set: &[u8],
    org: OrgId,
    payload: &[u8],
) -> Option<Digest> {
    let signed = SignedManifest::decode(signed).ok()?;
    let (anchor, set) = (Anchor::decode(anchor).ok()?, EpochSet::decode(set).ok()?);
    let signer = signed.signatures().next()?.signer;
    let keys = [
        StateKey::release(&org, &signed.manifest().digest()),
        StateKey::art_policy(&org),
        StateKey::record(&signer),
    ];
    let [release, policy, signer] = [0, 1, 2].map(|index| {
        let (bytes, key): (&&[u8], _) = (proofs.get(index)?, keys.get(index)?);
        Proof::decode(bytes).ok()?.check(&anchor, &set, key).ok()
    });
    let release = VerifiedRelease::check(
        &signed,
        &ReleaseProofs {
            release: &release?,
            policy: &policy?,
            signers: &[signer?],
        },
        &DeviceFacts {
            chain: anchor.chain(),
            org,
            device_type: Label::new("sensor").ok()?,
            channel: Label::new("stable").ok()?,
            counter: 0,
            channel_minimum: 0,
            floor: anchor.height(),
        },
    )
    .ok()?;
    let mut receive = release.receive("firmware.bin")?;
    receive.feed(payload).ok()?;
    let received = receive.finish().ok()?;
    release.is_complete(&[received]).then_some(release.digest())
}

/// Inventories itself, compares with what is expected, and signs.
pub fn take_inventory(
    image: &[u8],
    expected: &[u8],
    key: &SoftKey,
    signer: &Handle,
) -> Option<[u8; SignedInventory::LEN]> {
    let image = Component::new(
        "firmware",
        None,
        ComponentKind::Image,
        image.len() as u64,
        Digest::of(image),
    )
    .ok()?;
    let expected = Inventory::decode(expected).ok()?;
    let mut comparison = Comparison::new(expected.components());
    comparison.actual(&image, &mut |_| {});
    if !comparison.finish(&mut |_| {}).is_match() {
        return None;
    }
    let mut writer = InventoryWriter::digest_only();
    writer.put(&image).ok()?;
    let anchor = (Height::ZERO, Some(HeaderHash::ZERO));
    let statement = InventoryStatement::new(&writer.finish().0, None, anchor, [0; 32], None);
    let signed = statement.sign(&ChainId::ZERO, signer, key).ok()?;
    Some(signed.encode())
}

/// Runs the device machine: starts it with what it kept, gives it inputs and takes its outputs. Returns how many requests
/// it wanted to send.
pub fn device_machine<K: KeyRing, R: rand_core::CryptoRng>(
    kept: &[u8],
    keys: &K,
    rng: &mut R,
    answer: &mut [u8],
    store: &mut [u8; Kept::LEN_MAX],
) -> Option<usize> {
    let kept = Kept::decode(kept).ok()?;
    let mut device = Device::start(Settings::default(), kept, Time::from_ms(0));
    let mut sent = 0;
    for input in [Input::Tick, Input::Answer(answer), Input::KeyMade] {
        let _ = device.handle(Time::from_ms(1), keys, rng, input);
        loop {
            match device.poll() {
                Output::Persist(kept) => {
                    kept.encode(store).ok()?;
                }
                Output::Send { request, .. } => sent += request.len(),
                Output::Wait(_) => break,
                _ => {}
            }
        }
    }
    Some(sent)
}

/// Makes the generic machine into code: with keys in memory and numbers from a counter.
pub fn device_machine_in_memory(
    kept: &[u8],
    id: KusabiId,
    key: SoftKey,
    answer: &mut [u8],
    store: &mut [u8; Kept::LEN_MAX],
) -> Option<usize> {
    struct One(KusabiId, SoftKey);
    impl KeyRing for One {
        type Key = SoftKey;
        fn key(&self, _: Slot) -> Option<(&KusabiId, &SoftKey)> {
            Some((&self.0, &self.1))
        }
    }
    struct Counter(u64);
    impl rand_core::TryRng for Counter {
        type Error = core::convert::Infallible;
        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            self.0 += 1;
            Ok(self.0 as u32)
        }
        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            self.0 += 1;
            Ok(self.0)
        }
        fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
            out.fill(1);
            Ok(())
        }
    }
    impl rand_core::TryCryptoRng for Counter {}
    device_machine(kept, &One(id, key), &mut Counter(0), answer, store)
}
