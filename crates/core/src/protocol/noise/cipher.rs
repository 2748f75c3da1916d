//! AES-256-GCM and SHA-256 as the handshake takes them; the same cipher seals the messages of a session.

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use noise_protocol::{Cipher, Hash};
use sha2::{Digest as _, Sha256};

use super::copy;
use super::curves::Octets;
use crate::wire::Sink;

pub(super) enum Aes {}

/// The nonce of Noise's AESGCM and of our sealing: four zero bytes and the counter, big-endian.
fn nonce(counter: u64) -> [u8; 12] {
    crate::wire::fixed(|w| {
        w.zeros(4);
        w.u64(counter);
    })
}

/// Encrypts the buffer in place and returns the tag.
pub(in crate::protocol) fn aes_seal(
    key: &[u8; 32],
    counter: u64,
    ad: &[u8],
    buffer: &mut [u8],
) -> [u8; 16] {
    let cipher = Aes256Gcm::new(key.into());
    let tag = cipher.encrypt_inout_detached(&nonce(counter).into(), ad, buffer.into());
    debug_assert!(tag.is_ok(), "AES-GCM takes up to 64 GiB");
    tag.map(Into::into).unwrap_or_default()
}

/// Decrypts the buffer in place, if the tag is right; else leaves it as it was.
pub(in crate::protocol) fn aes_open(
    key: &[u8; 32],
    counter: u64,
    ad: &[u8],
    buffer: &mut [u8],
    tag: &[u8; 16],
) -> Result<(), ()> {
    Aes256Gcm::new(key.into())
        .decrypt_inout_detached(&nonce(counter).into(), ad, buffer.into(), tag.into())
        .map_err(drop)
}

impl Cipher for Aes {
    type Key = Octets<32>;

    fn name() -> &'static str {
        "AESGCM"
    }

    fn encrypt(key: &Octets<32>, nonce: u64, ad: &[u8], plaintext: &[u8], out: &mut [u8]) {
        let Some((body, tag)) = out.split_at_mut_checked(plaintext.len()) else {
            debug_assert!(false, "the buffer holds plaintext and tag");
            return;
        };
        copy(body, plaintext);
        copy(tag, &aes_seal(&key.0, nonce, ad, body));
    }

    fn encrypt_in_place(
        key: &Octets<32>,
        nonce: u64,
        ad: &[u8],
        in_out: &mut [u8],
        plaintext_len: usize,
    ) -> usize {
        let Some((body, rest)) = in_out.split_at_mut_checked(plaintext_len) else {
            return 0;
        };
        let Some(tag) = rest.first_chunk_mut() else {
            return 0;
        };
        *tag = aes_seal(&key.0, nonce, ad, body);
        plaintext_len + tag.len()
    }

    fn decrypt(
        key: &Octets<32>,
        nonce: u64,
        ad: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<(), ()> {
        let (body, tag) = ciphertext.split_last_chunk().ok_or(())?;
        copy(out, body);
        aes_open(&key.0, nonce, ad, out, tag)
    }

    fn decrypt_in_place(
        key: &Octets<32>,
        nonce: u64,
        ad: &[u8],
        in_out: &mut [u8],
        ciphertext_len: usize,
    ) -> Result<usize, ()> {
        let ciphertext = in_out.get_mut(..ciphertext_len).ok_or(())?;
        let (body, tag) = ciphertext.split_last_chunk_mut().ok_or(())?;
        aes_open(&key.0, nonce, ad, body, tag)?;
        Ok(body.len())
    }
}

#[derive(Default)]
pub(super) struct Sha(Sha256);

impl Hash for Sha {
    type Block = Octets<64>;
    type Output = Octets<32>;

    fn name() -> &'static str {
        "SHA256"
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self) -> Octets<32> {
        Octets(self.0.finalize_reset().into())
    }
}
