//! What a signature of a file's digest covers, as COSE (RFC 9052) writes it: evidence bundles and receipts
//! (spec/evidence.md). No allocator is needed.

use arrayvec::ArrayVec;

use crate::cbor::{Encoder, ToCbor};
use crate::id::{ChainId, Digest, Handle};
use crate::statement::StatementKind;
use crate::suite::{Algorithm, Purpose};
use crate::wire::{Sink, Writer};

/// Name of the parameter that says for what a signature counts: `[1, chain, purpose, kind]`.
pub(crate) const KUSABI: &str = "kusabi";

/// Labels that have a number: algorithm, key identifier (RFC 9052, 3.1), "payload hash algorithm" of the COSE hash envelope.
const ALG: u64 = 1;
const KID: u64 = 4;
const PAYLOAD_HASH_ALG: u64 = 258;
/// Algorithms (IANA's COSE registry).
const EDDSA: i64 = -8;
const ES256: i64 = -7;
const SHA_256: i64 = -16;
/// Version of the parameter [`KUSABI`].
const VERSION: u64 = 1;

/// The protected header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Protected {
    pub(crate) algorithm: Algorithm,
    pub(crate) signer: Handle,
    pub(crate) chain: ChainId,
    pub(crate) purpose: Purpose,
}

const PROTECTED_LEN_MAX: usize = 104;

/// Longest `Sig_structure` in bytes.
pub(crate) const SIGNED_LEN_MAX: usize = PROTECTED_LEN_MAX + 52;

impl Protected {
    /// The `Sig_structure` of RFC 9052, 4.4, over a file.
    pub(crate) fn sig_structure(&self, file: &Digest) -> ArrayVec<u8, SIGNED_LEN_MAX> {
        let mut protected = [0; PROTECTED_LEN_MAX];
        let protected = written(&mut protected, |e| self.to_cbor(e));
        let mut bytes = [0; SIGNED_LEN_MAX];
        let signed = written(&mut bytes, |e| {
            e.array(4).text("Signature1").bytes(protected).bytes([]);
            e.bytes(file);
        });
        signed.iter().copied().collect()
    }
}

impl ToCbor for Protected {
    /// In the order of RFC 8949, 4.2.1: 1, 4, 258, "kusabi".
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        e.map(4);
        e.u64(ALG).i64(match self.algorithm {
            Algorithm::Ed25519 => EDDSA,
            Algorithm::P256 => ES256,
        });
        e.u64(KID).bytes(self.signer);
        e.u64(PAYLOAD_HASH_ALG).i64(SHA_256);
        e.text(KUSABI).array(4).u64(VERSION).bytes(self.chain);
        e.u64(u8::from(self.purpose).into());
        e.u64(StatementKind::Evidence.code().into());
    }
}

fn written(into: &mut [u8], write: impl FnOnce(&mut Encoder<&mut Writer<'_>>)) -> &[u8] {
    let mut writer = Writer::new(into);
    write(&mut Encoder::new(&mut writer));
    let len = writer.finish();
    debug_assert!(len.is_ok(), "there is room for it");
    into.get(..len.unwrap_or_default()).unwrap_or_default()
}
