//! Random bytes for keys, from the server's edge.

use crate::Edge;
use rand_core::{TryCryptoRng, TryRng};
use std::convert::Infallible;
use zeroize::Zeroize as _;

/// Bytes of one draw.
const LEN: usize = 32;

/// Random bytes that were drawn in advance, so that nothing fails half way; each is wiped here as it is taken.
pub(super) struct Drawn<const N: usize> {
    blocks: [[u8; LEN]; N],
    taken: usize,
}

impl<const N: usize> Drawn<N> {
    /// Draws `N` times 32 bytes.
    pub(super) fn draw(edge: &dyn Edge) -> std::io::Result<Self> {
        let mut drawn = Self {
            blocks: [[0; LEN]; N],
            taken: 0,
        };
        for block in &mut drawn.blocks {
            let mut random = edge.random()?;
            *block = random;
            random.zeroize();
        }
        Ok(drawn)
    }
}

impl<const N: usize> Drop for Drawn<N> {
    fn drop(&mut self) {
        self.blocks.zeroize();
    }
}

impl<const N: usize> TryRng for Drawn<N> {
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
        let all = self.blocks.as_flattened_mut();
        let end = self.taken.saturating_add(out.len());
        // What is drawn is four times what a handshake takes. Whoever takes more has a fault, and must not go on with zeros for a key.
        let Some(from) = all.get_mut(self.taken..end) else {
            panic!("more random bytes are taken than were drawn");
        };
        out.copy_from_slice(from);
        from.zeroize();
        self.taken = end;
        Ok(())
    }
}

impl<const N: usize> TryCryptoRng for Drawn<N> {}
