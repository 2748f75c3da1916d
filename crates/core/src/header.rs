//! The block header (spec/proof.md, "Header").
//!
//! A header is small and holds everything a device needs; the block's body is bound by its digest only. Decoding is strict,
//! so `encode` gives the received bytes back and the hash may be taken of either.

use crate::crypto::Hasher;
use crate::id::{BodyHash, ChainId, Epoch, HeaderHash, Height, OpsRoot, SetHash, StateRoot, View};
use crate::proof::path::LEAVES_MAX;
use crate::set::VALIDATORS_MAX;
use crate::wire::{Reader, Sink, WireError};

/// The protocol version that this code writes and accepts.
pub const PROTOCOL: u16 = 1;
/// Bytes of a header that names no next set.
pub const HEADER_LEN: usize = 228;
/// Bytes of a header that names a next set.
pub const HEADER_LEN_MAX: usize = HEADER_LEN + 32;

/// Why bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderError {
    /// The bytes end early or late, or the next flag is neither 0 nor 1.
    Wire(WireError),
    /// A protocol version other than [`PROTOCOL`].
    Protocol,
    /// A height of 2^48 or more.
    Height,
    /// More heights skipped than there are.
    Skipped,
    /// The range of operations is empty, backward or too long.
    Operations,
    /// The parent's view is not before the block's own (both are 0 at height 0).
    View,
    /// The leader's index is beyond the largest set.
    Leader,
}

impl core::fmt::Display for HeaderError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Wire(error) => return write!(f, "the bytes are no header: {error}"),
            Self::Protocol => {
                "the header is of another protocol version; a newer kusabi may read it"
            }
            Self::Height => "the header's height is out of range",
            Self::Skipped => "the header skips more heights than it has",
            Self::Operations => "the header's range of operations is impossible",
            Self::View => "the header's parent view is not before its own view",
            Self::Leader => "the header's leader is beyond the largest validator set",
        })
    }
}

impl core::error::Error for HeaderError {}

crate::code::codes!(HeaderError {
    Protocol = 0x0801,
    Height = 0x0802,
    Skipped = 0x0803,
    Operations = 0x0804,
    View = 0x0805,
    Leader = 0x0806,
} in { Wire });

impl From<WireError> for HeaderError {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

/// A block header. Its own hash is not inside: [`Header::hash`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Position in the chain.
    pub height: Height,
    /// Heights that recoveries jumped over; the engine's own height is `height - skipped`.
    pub skipped: u64,
    /// Milliseconds since 1970, as the proposer's clock had them.
    pub time_ms: u64,
    /// Hash of the header before; the chain ID at height 0.
    pub parent: HeaderHash,
    /// What proofs lead to.
    pub state_root: StateRoot,
    /// Root of the operation log alone.
    pub ops_root: OpsRoot,
    /// First operation that state sync needs.
    pub ops_start: u64,
    /// Number of operations in the log.
    pub ops_end: u64,
    /// Hash of the transactions.
    pub body: BodyHash,
    /// Epoch of the set that certifies it.
    pub epoch: Epoch,
    /// Hash of that set.
    pub set_hash: SetHash,
    /// View in which it was proposed.
    pub view: View,
    /// View of its parent.
    pub parent_view: View,
    /// Index of the proposer in the set.
    pub leader: u8,
    /// Hash of the next epoch's set, once it is decided.
    pub next_set_hash: Option<SetHash>,
}

impl Header {
    /// Decodes exactly one header.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let mut reader = Reader::new(bytes);
        let header = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(header)
    }

    /// Reads a header from where `reader` stands.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, HeaderError> {
        if reader.u16()? != PROTOCOL {
            return Err(HeaderError::Protocol);
        }
        let header = Self {
            height: Height::new(reader.u64()?).map_err(|_| HeaderError::Height)?,
            skipped: reader.u64()?,
            time_ms: reader.u64()?,
            parent: HeaderHash::new(reader.array()?),
            state_root: StateRoot::new(reader.array()?),
            ops_root: OpsRoot::new(reader.array()?),
            ops_start: reader.u64()?,
            ops_end: reader.u64()?,
            body: BodyHash::new(reader.array()?),
            epoch: Epoch::new(reader.u64()?),
            set_hash: SetHash::new(reader.array()?),
            view: View::new(reader.u64()?),
            parent_view: View::new(reader.u64()?),
            leader: reader.u8()?,
            next_set_hash: if reader.flag()? {
                Some(SetHash::new(reader.array()?))
            } else {
                None
            },
        };
        header.check_form()?;
        Ok(header)
    }

    /// The rules that a header obeys by itself. Decoding applies them; whoever makes a header by hand can too.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check_form(&self) -> Result<(), HeaderError> {
        if self.skipped > self.height.get() {
            return Err(HeaderError::Skipped);
        }
        if self.ops_start >= self.ops_end || self.ops_end > LEAVES_MAX {
            return Err(HeaderError::Operations);
        }
        let founding = self.height == Height::ZERO
            && self.view == View::ZERO
            && self.parent_view == View::ZERO;
        if self.parent_view >= self.view && !founding {
            return Err(HeaderError::View);
        }
        if usize::from(self.leader) >= VALIDATORS_MAX {
            return Err(HeaderError::Leader);
        }
        Ok(())
    }

    /// Writes the header.
    pub fn encode(&self, out: &mut impl Sink) {
        out.u16(PROTOCOL);
        out.u64(self.height.get());
        out.u64(self.skipped);
        out.u64(self.time_ms);
        out.put(self.parent.as_bytes());
        out.put(self.state_root.as_bytes());
        out.put(self.ops_root.as_bytes());
        out.u64(self.ops_start);
        out.u64(self.ops_end);
        out.put(self.body.as_bytes());
        out.u64(self.epoch.get());
        out.put(self.set_hash.as_bytes());
        out.u64(self.view.get());
        out.u64(self.parent_view.get());
        out.u8(self.leader);
        out.flag(self.next_set_hash.is_some());
        if let Some(hash) = &self.next_set_hash {
            out.put(hash.as_bytes());
        }
    }

    /// Length of the encoded header.
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        match self.next_set_hash {
            None => HEADER_LEN,
            Some(_) => HEADER_LEN_MAX,
        }
    }

    /// The header's hash, which the quorum signs and the next header names. It covers the chain, which is not carried.
    #[must_use]
    pub fn hash(&self, chain: &ChainId) -> HeaderHash {
        let mut hasher = Hasher::new(b"kusabi.header.v1");
        hasher.put(chain.as_bytes());
        self.encode(&mut hasher);
        HeaderHash::new(hasher.finish())
    }
}

impl BodyHash {
    /// Hash of a block's body: `H("kusabi.body.v1" ‖ for each transaction: length u32 ‖ bytes)`.
    #[must_use]
    pub fn of<'a>(transactions: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = Hasher::new(b"kusabi.body.v1");
        for bytes in transactions {
            // A transaction has at most 1 MiB.
            hasher.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
            hasher.put(bytes);
        }
        Self::new(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::fixed;

    fn header() -> Header {
        Header {
            height: Height::new(7).unwrap(),
            skipped: 2,
            time_ms: 1_700_000_000_000,
            parent: HeaderHash::new([1; 32]),
            state_root: StateRoot::new([2; 32]),
            ops_root: OpsRoot::new([3; 32]),
            ops_start: 5,
            ops_end: 900,
            body: BodyHash::new([4; 32]),
            epoch: Epoch::new(1),
            set_hash: SetHash::new([5; 32]),
            view: View::new(12),
            parent_view: View::new(10),
            leader: 0,
            next_set_hash: Some(SetHash::new([6; 32])),
        }
    }

    #[test]
    fn encodes_to_the_lengths_of_the_spec_and_back() {
        let long = header();
        let bytes: [u8; HEADER_LEN_MAX] = fixed(|w| long.encode(w));
        assert_eq!(Header::decode(&bytes), Ok(long));
        let short = Header {
            next_set_hash: None,
            ..long
        };
        let bytes: [u8; HEADER_LEN] = fixed(|w| short.encode(w));
        assert_eq!(Header::decode(&bytes), Ok(short));
        assert_eq!(
            (long.encoded_len(), short.encoded_len()),
            (HEADER_LEN_MAX, HEADER_LEN)
        );
    }

    #[test]
    fn every_cut_and_every_tail_is_refused() {
        let bytes: [u8; HEADER_LEN_MAX] = fixed(|w| header().encode(w));
        for len in 0..bytes.len() {
            assert_eq!(
                Header::decode(&bytes[..len]),
                Err(HeaderError::Wire(WireError::Short))
            );
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert_eq!(
            Header::decode(&longer),
            Err(HeaderError::Wire(WireError::Trailing))
        );
    }

    #[test]
    fn every_bit_changes_the_hash_or_is_refused() {
        let chain = ChainId::new([9; 32]);
        let bytes: [u8; HEADER_LEN_MAX] = fixed(|w| header().encode(w));
        let hash = header().hash(&chain);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = Header::decode(&flipped) {
                assert_ne!(other.hash(&chain), hash, "bit {bit}");
            }
        }
        assert_ne!(header().hash(&ChainId::new([8; 32])), hash);
    }

    #[test]
    fn each_rule_has_its_error() {
        let h = header();
        let cases = [
            (Header { skipped: 8, ..h }, HeaderError::Skipped),
            (
                Header {
                    ops_start: 900,
                    ..h
                },
                HeaderError::Operations,
            ),
            (
                Header {
                    ops_end: LEAVES_MAX + 1,
                    ..h
                },
                HeaderError::Operations,
            ),
            (
                Header {
                    parent_view: h.view,
                    ..h
                },
                HeaderError::View,
            ),
            (Header { leader: 16, ..h }, HeaderError::Leader),
        ];
        for (case, error) in cases {
            let bytes: [u8; HEADER_LEN_MAX] = fixed(|w| case.encode(w));
            assert_eq!(Header::decode(&bytes), Err(error));
        }
        let genesis = Header {
            height: Height::ZERO,
            skipped: 0,
            view: View::ZERO,
            parent_view: View::ZERO,
            ..h
        };
        assert_eq!(genesis.check_form(), Ok(()));
        let mut bytes: [u8; HEADER_LEN_MAX] = fixed(|w| h.encode(w));
        bytes[2] = 1;
        assert_eq!(Header::decode(&bytes), Err(HeaderError::Height));
        bytes[1] = 2;
        assert_eq!(Header::decode(&bytes), Err(HeaderError::Protocol));
    }
}
