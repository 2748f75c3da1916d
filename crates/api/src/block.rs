//! A block on its way to a reader: header, transactions and, where there is one, the checkpoint that certifies it.
//!
//! ```text
//! version u8 = 1 ‖ length u16 ‖ header ‖ length u16 (0: none) ‖ checkpoint ‖ for each transaction: length u32 ‖ bytes
//! ```
//! What follows the checkpoint is what the header's body hash covers (spec/proof.md). Big-endian, to the last byte.

use crate::problem::{Kind, Problem};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Longest encoded block that a client reads, in bytes: a body of 4 MiB (spec/ledger.md, "Blocks"), header and checkpoint.
pub const MAX_BLOCK: usize = (4 << 20) + (64 << 10);

/// Most transactions of a block (spec/ledger.md, "Blocks"). Empty ones cost the sender next to nothing, the reader more.
const MAX_TRANSACTIONS: usize = 4096;

/// A block. Not verified: the reader hashes header and body and checks the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The header (spec/proof.md).
    pub header: Bytes,
    /// A checkpoint whose first header is this one. `None` at height 0 only.
    pub checkpoint: Option<Bytes>,
    /// The transactions, in order.
    pub transactions: Vec<Bytes>,
}

impl Block {
    /// The bytes of the block. Header and checkpoint are below 64 KiB, as every one that the formats allow is.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        self.behind(&[])
    }

    /// The bytes of the block behind their length, as a stream of blocks has them.
    #[must_use]
    pub fn frame(&self) -> Bytes {
        self.behind(&(self.encoded_len() as u32).to_be_bytes())
    }

    fn encoded_len(&self) -> usize {
        let checkpoint = self.checkpoint.as_deref().unwrap_or_default();
        let body: usize = self.transactions.iter().map(|tx| 4 + tx.len()).sum();
        5 + self.header.len() + checkpoint.len() + body
    }

    fn behind(&self, prefix: &[u8]) -> Bytes {
        let checkpoint = self.checkpoint.as_deref().unwrap_or_default();
        let mut out = BytesMut::with_capacity(prefix.len() + self.encoded_len());
        out.put_slice(prefix);
        out.put_u8(1);
        for part in [&self.header[..], checkpoint] {
            debug_assert!(part.len() <= usize::from(u16::MAX));
            out.put_u16(part.len() as u16);
            out.put_slice(part);
        }
        for transaction in &self.transactions {
            out.put_u32(transaction.len() as u32);
            out.put_slice(transaction);
        }
        out.freeze()
    }

    /// Reads the bytes of a block; shares them, copies nothing.
    pub fn decode(mut bytes: Bytes) -> Result<Self, Problem> {
        if bytes.try_get_u8() != Ok(1) {
            return Err(malformed("its version is not 1"));
        }
        let header = part(&mut bytes, |b| b.try_get_u16().ok().map(usize::from))?;
        let checkpoint = part(&mut bytes, |b| b.try_get_u16().ok().map(usize::from))?;
        let mut transactions = Vec::new();
        while bytes.has_remaining() {
            if transactions.len() == MAX_TRANSACTIONS {
                return Err(malformed("it holds more than 4,096 transactions"));
            }
            transactions.push(part(&mut bytes, |b| {
                b.try_get_u32().ok().and_then(|n| usize::try_from(n).ok())
            })?);
        }
        Ok(Self {
            header,
            checkpoint: (!checkpoint.is_empty()).then_some(checkpoint),
            transactions,
        })
    }
}

fn part(
    bytes: &mut Bytes,
    length: impl FnOnce(&mut Bytes) -> Option<usize>,
) -> Result<Bytes, Problem> {
    let length = length(bytes).ok_or_else(|| malformed("it ends inside a length"))?;
    if length > bytes.len() {
        return Err(malformed("it ends before its last part does"));
    }
    Ok(bytes.split_to(length))
}

fn malformed(why: &'static str) -> Problem {
    Problem::new(Kind::BadAnswer, format!("the block cannot be read: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Block {
        Block {
            header: Bytes::from_static(&[1; 228]),
            checkpoint: Some(Bytes::from_static(&[2; 400])),
            transactions: vec![
                Bytes::from_static(b"one"),
                Bytes::new(),
                Bytes::from_static(b"three"),
            ],
        }
    }

    #[test]
    fn round_trip() {
        for block in [
            sample(),
            Block {
                checkpoint: None,
                transactions: Vec::new(),
                ..sample()
            },
        ] {
            assert_eq!(Block::decode(block.encode()).unwrap(), block);
        }
    }

    #[test]
    fn more_transactions_than_a_block_has_are_refused() {
        let of = |count| Block {
            transactions: vec![Bytes::new(); count],
            ..sample()
        };
        assert!(Block::decode(of(4096).encode()).is_ok());
        assert!(Block::decode(of(4097).encode()).is_err());
    }

    #[test]
    fn every_cut_is_refused_or_ends_between_transactions() {
        let bytes = sample().encode();
        let whole = |n: usize| Block::decode(bytes.slice(..n)).is_ok();
        let good: Vec<_> = (0..=bytes.len()).filter(|&n| whole(n)).collect();
        let start = 5 + 228 + 400;
        assert_eq!(good, [start, start + 7, start + 11, start + 20]);
    }
}
