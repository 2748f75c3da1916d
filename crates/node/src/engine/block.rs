//! The engine's block: a header as in spec/proof.md and the transactions that it binds.

use super::{Digest, PublicKey, epochs::Epochs};
use crate::handle::Newest;
use bytes::Bytes;
use commonware_codec::{Buf, EncodeSize, Error as CodecError, Read, ReadExt as _, Write};
use commonware_consensus::{
    Block as ConsensusBlock, BoundedBlock, CertifiableBlock, Heightable,
    simplex::types::Context,
    types::{Epoch, Height, Round, View},
};
use commonware_cryptography::Digestible;
use commonware_runtime::BufMut;
use kusabi_core::{
    header::{HEADER_LEN, HEADER_LEN_MAX, Header},
    id::{self, BodyHash, HeaderHash, OpsRoot, StateRoot},
    tx::TX_BYTES_MAX,
    wire::Sink,
};
use kusabi_ledger::{BLOCK_BYTES_MAX, BLOCK_TXS_MAX, TIME_STEP_MS_MAX};
use std::time::Instant;

/// What the engine passes around and stores for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// What devices see.
    pub(super) header: Header,
    /// The transactions' bytes, in order.
    pub(super) transactions: Vec<Bytes>,
    hash: HeaderHash,
    leader: PublicKey,
}

/// What decoding a block needs: the chain that its hash covers and the sets that its leader's index points into.
pub(super) type BlockCfg = Epochs;

fn length(bytes: &Bytes) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

impl Block {
    /// Puts a header and its transactions together. `None` if the header's epoch or leader is not known.
    pub(super) fn new(epochs: &Epochs, header: Header, transactions: Vec<Bytes>) -> Option<Self> {
        Some(Self {
            hash: header.hash(epochs.chain()),
            leader: epochs.leader(header.epoch, header.leader)?,
            header,
            transactions,
        })
    }

    /// The header's hash, which the quorum signs.
    pub(super) const fn hash(&self) -> &HeaderHash {
        &self.hash
    }

    /// The engine's height: without the heights that recoveries skipped.
    pub(super) const fn position(&self) -> u64 {
        position(&self.header)
    }

    /// Bytes of the transactions as they count towards [`BLOCK_BYTES_MAX`].
    pub(super) fn body_bytes(transactions: &[Bytes]) -> usize {
        transactions.iter().map(|t| t.len() + 4).sum()
    }
}

/// The engine's own height of a header's block: without the heights that recoveries skipped.
pub(super) const fn position(header: &Header) -> u64 {
    header.height.get() - header.skipped
}

/// Lets the core's encoders write into the engine's buffers.
struct Buffer<'a, B>(&'a mut B);

impl<B: BufMut> Sink for Buffer<'_, B> {
    fn put(&mut self, bytes: &[u8]) {
        self.0.put_slice(bytes);
    }
}

impl From<&Block> for Newest {
    fn from(block: &Block) -> Self {
        Self {
            height: block.header.height,
            time_ms: block.header.time_ms,
            epoch: block.header.epoch,
            hash: *block.hash(),
            view: block.header.view.get(),
            seen: Some(Instant::now()),
            late: false,
        }
    }
}

impl Newest {
    /// The newest block after the one that was.
    pub(super) fn after(before: Option<Self>, block: &Block) -> Self {
        let step_ms = before.map(|before| block.header.time_ms.saturating_sub(before.time_ms));
        Self {
            late: step_ms.is_some_and(|step| step >= TIME_STEP_MS_MAX),
            ..Self::from(block)
        }
    }
}

impl Write for Block {
    fn write(&self, buf: &mut impl BufMut) {
        self.header.encode(&mut Buffer(buf));
        buf.put_u32(u32::try_from(self.transactions.len()).unwrap_or(u32::MAX));
        for bytes in &self.transactions {
            buf.put_u32(length(bytes));
            buf.put_slice(bytes);
        }
    }
}

impl EncodeSize for Block {
    fn encode_size(&self) -> usize {
        self.header.encoded_len() + 4 + Self::body_bytes(&self.transactions)
    }
}

impl Read for Block {
    type Cfg = BlockCfg;

    fn read_cfg(buf: &mut impl Buf, epochs: &BlockCfg) -> Result<Self, CodecError> {
        let invalid = |what| CodecError::Invalid("Block", what);
        let header = read_header(buf)?;
        let count = u32::read(buf)? as usize;
        if count > BLOCK_TXS_MAX {
            return Err(invalid("too many transactions"));
        }
        let mut transactions = Vec::with_capacity(count.min(1024));
        let mut total = 0;
        for _ in 0..count {
            let len = u32::read(buf)? as usize;
            total += len + 4;
            if len > TX_BYTES_MAX || total > BLOCK_BYTES_MAX {
                return Err(invalid("too many bytes"));
            }
            if buf.remaining() < len {
                return Err(CodecError::EndOfBuffer);
            }
            transactions.push(buf.copy_to_bytes(len));
        }
        if BodyHash::of(transactions.iter().map(Bytes::as_ref)) != header.body {
            return Err(invalid("body hash"));
        }
        Self::new(epochs, header, transactions).ok_or_else(|| invalid("unknown epoch or leader"))
    }
}

fn read_header(buf: &mut impl Buf) -> Result<Header, CodecError> {
    let mut bytes = [0; HEADER_LEN_MAX];
    if buf.remaining() < HEADER_LEN {
        return Err(CodecError::EndOfBuffer);
    }
    let (front, rest) = bytes.split_at_mut(HEADER_LEN);
    buf.copy_to_slice(front);
    // The last byte of the short form says whether a next set hash follows.
    let len = if front.last() == Some(&1) {
        if buf.remaining() < rest.len() {
            return Err(CodecError::EndOfBuffer);
        }
        buf.copy_to_slice(rest);
        HEADER_LEN_MAX
    } else {
        HEADER_LEN
    };
    Header::decode(&bytes[..len]).map_err(|_| CodecError::Invalid("Block", "header"))
}

impl Digestible for Block {
    type Digest = Digest;

    fn digest(&self) -> Digest {
        Digest::from(self.hash.to_bytes())
    }
}

impl Heightable for Block {
    fn height(&self) -> Height {
        Height::new(self.position())
    }
}

impl ConsensusBlock for Block {
    fn parent(&self) -> Digest {
        Digest::from(self.header.parent.to_bytes())
    }
}

impl CertifiableBlock for Block {
    type Context = Context<Digest, PublicKey>;

    fn context(&self) -> Self::Context {
        Context {
            round: Round::new(
                Epoch::new(self.header.epoch.get()),
                View::new(self.header.view.get()),
            ),
            leader: self.leader.clone(),
            parent: (
                View::new(self.header.parent_view.get()),
                Digest::from(self.header.parent.to_bytes()),
            ),
        }
    }
}

impl BoundedBlock for Block {
    fn max_encode_size(_: &BlockCfg) -> usize {
        HEADER_LEN_MAX + 4 + BLOCK_BYTES_MAX
    }
}

/// The block of height 0, which nobody signs (spec/proof.md, "Header").
pub(super) fn genesis(
    epochs: &Epochs,
    created_ms: u64,
    ops_root: OpsRoot,
    (ops_start, ops_end): (u64, u64),
) -> Option<Block> {
    let epoch = epochs.at(0)?;
    let header = Header {
        height: id::Height::ZERO,
        skipped: 0,
        time_ms: created_ms,
        parent: HeaderHash::new(epochs.chain().to_bytes()),
        state_root: StateRoot::ZERO,
        ops_root,
        ops_start,
        ops_end,
        body: BodyHash::of([]),
        epoch: epoch.number,
        set_hash: epoch.set_hash,
        view: id::View::ZERO,
        parent_view: id::View::ZERO,
        leader: 0,
        next_set_hash: None,
    };
    Block::new(epochs, header, Vec::new())
}
