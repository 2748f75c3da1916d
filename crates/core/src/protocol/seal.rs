//! Session keys and what is sealed with them (spec/device-protocol.md, "Session keys", "Sealed").

use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::noise::{Transport, aes_open, aes_seal};
use crate::crypto::hkdf_sha256;
use crate::id::SessionId;
use crate::wire::{Sink, fixed};

/// Bytes that sealing adds.
pub const TAG_LEN: usize = 16;

/// Which way a message goes; each has its own key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the device to the server.
    Request,
    /// From the server to the device.
    Reply,
}

/// The AES-256 key that the welcome carries (the paper's common key). Wiped when dropped, not shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct CommonKey([u8; 32]);

impl CommonKey {
    /// Wraps a key's bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret bytes.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for CommonKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CommonKey(secret)")
    }
}

/// The keys of a session. Wiped when dropped, not shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct SessionKeys {
    request: [u8; 32],
    reply: [u8; 32],
}

impl SessionKeys {
    /// Derives them from a finished handshake and the key that its welcome carried.
    #[must_use]
    pub fn derive(transport: &Transport, common: &CommonKey) -> Self {
        let mut ikm = fixed::<96>(|w| {
            w.put(&transport.device);
            w.put(&transport.server);
            w.put(common.expose());
        });
        let derive =
            |info: &[u8]| *hkdf_sha256(&transport.hash, &ikm, &[b"kusabi.session.v1 ", info]);
        let keys = Self {
            request: derive(b"device"),
            reply: derive(b"server"),
        };
        ikm.zeroize();
        keys
    }

    const fn of(&self, direction: Direction) -> &[u8; 32] {
        match direction {
            Direction::Request => &self.request,
            Direction::Reply => &self.reply,
        }
    }

    /// Encrypts `buffer` in place; the tag follows it on the wire. Never twice with other bytes under one counter.
    #[must_use]
    pub fn seal(
        &self,
        direction: Direction,
        session: &SessionId,
        counter: u64,
        buffer: &mut [u8],
    ) -> [u8; TAG_LEN] {
        aes_seal(self.of(direction), counter, &ad(session, counter), buffer)
    }

    /// Decrypts `ciphertext ‖ tag` in place; `None`, and the buffer as it was, if it was not sealed by the other end for
    /// this direction, session and counter.
    pub fn open<'b>(
        &self,
        direction: Direction,
        session: &SessionId,
        counter: u64,
        sealed: &'b mut [u8],
    ) -> Option<&'b mut [u8]> {
        let (body, tag) = sealed.split_last_chunk_mut()?;
        aes_open(
            self.of(direction),
            counter,
            &ad(session, counter),
            body,
            tag,
        )
        .ok()?;
        Some(body)
    }
}

fn ad(session: &SessionId, counter: u64) -> [u8; 24] {
    fixed(|w| {
        w.put(session.as_bytes());
        w.u64(counter);
    })
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKeys(secret)")
    }
}
