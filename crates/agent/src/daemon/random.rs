//! Random numbers for keys and handshakes: the system's, hedged with a secret and a counter that the device keeps.
//!
//! A device that was just switched on may have little entropy, and two of one make may have the same. Each 32 bytes are
//! `HKDF-SHA-256(salt, ikm = secret ‖ 32 bytes of the system, info = start ‖ number)`: as good as the system's as long as those are
//! good, and unpredictable without the secret when they are not. `start` is stored before anything is drawn, so that the
//! same input never comes twice.

use std::convert::Infallible;

use kusabi_core::crypto::hkdf_sha256;
use rand_core::{TryCryptoRng, TryRng};
use zeroize::Zeroizing;

const SALT: &[u8] = b"kusabi.agent.random.v1";

/// The generator of one start of the agent.
pub(crate) struct Random {
    secret: Zeroizing<[u8; 32]>,
    start: u64,
    number: u64,
}

impl Random {
    /// The generator of this start. `start` has never been used with this secret.
    pub(crate) const fn new(secret: Zeroizing<[u8; 32]>, start: u64) -> Self {
        Self {
            secret,
            start,
            number: 0,
        }
    }

    /// The system's own bytes, where there is no secret yet.
    pub(crate) fn of_the_system() -> Zeroizing<[u8; 32]> {
        let mut bytes = Zeroizing::new([0; 32]);
        // It fails only where there is no such call; Linux has it since 3.17.
        getrandom::fill(bytes.as_mut()).expect("the system gives random bytes");
        bytes
    }

    fn block(&mut self) -> Zeroizing<[u8; 32]> {
        let mut ikm = Zeroizing::new([0; 64]);
        let (secret, system) = ikm.split_at_mut(32);
        secret.copy_from_slice(self.secret.as_ref());
        system.copy_from_slice(Self::of_the_system().as_ref());
        self.number += 1;
        let info = [&self.start.to_be_bytes()[..], &self.number.to_be_bytes()];
        hkdf_sha256(SALT, ikm.as_ref(), &info)
    }
}

impl TryRng for Random {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_be_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for piece in out.chunks_mut(32) {
            for (to, from) in piece.iter_mut().zip(self.block().iter()) {
                *to = *from;
            }
        }
        Ok(())
    }
}

impl TryCryptoRng for Random {}

#[cfg(test)]
mod tests {
    use rand_core::Rng as _;

    use super::*;

    #[test]
    fn no_two_draws_are_alike() {
        let mut drawn = std::collections::BTreeSet::new();
        for start in 0..4 {
            let mut random = Random::new(Zeroizing::new([7; 32]), start);
            for _ in 0..50 {
                let mut bytes = [0; 40];
                random.fill_bytes(&mut bytes);
                assert!(drawn.insert(bytes));
                assert_ne!(bytes[..8], bytes[32..]);
            }
        }
    }
}
