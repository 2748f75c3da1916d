//! A backup: the whole history of a ledger in one stream, in the formats of `spec/`, independent of the engine's files.
//!
//! ```text
//! "kusabi.backup.v1" 16 ‖ length u32 ‖ genesis document ‖ for each block from height 1 on: length u32 ‖ block
//! block = length u16 ‖ header ‖ length u16 (0: none) ‖ checkpoint ‖ for each transaction: length u32 ‖ bytes
//! ```
//! Whoever reads it checks every block ([`crate::history`]), so a backup needs no secrecy and no signature of its own.

use crate::{
    directory::{Claim, Directory, DirectoryError},
    engine::{self, EngineError, ImportError, Tail},
    handle::{FinalBlock, NodeHandle, QueryError},
    history::BadBlock,
    outline::{Outline, OutlineError},
};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kusabi_core::{
    genesis::GENESIS_LEN_MAX,
    header::{Header, HeaderError},
    id::{ChainId, Height},
};
use std::{
    fs,
    io::{self, Read, Write},
    path::Path,
};

const MAGIC: &[u8; 16] = b"kusabi.backup.v1";
/// Longest block, with room for header, checkpoint and lengths.
const BLOCK_LEN_MAX: usize = kusabi_ledger::BLOCK_BYTES_MAX + (64 << 10);

/// Why a backup cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// Reading or writing failed.
    #[error("the backup cannot be read or written: {0}")]
    Io(#[from] io::Error),
    /// Not a backup.
    #[error("this is not a kusabi backup")]
    Magic,
    /// It ends inside a block: everything before is good.
    #[error("the backup ends inside a block; the blocks before are whole")]
    Cut,
    /// A length is impossible.
    #[error("the backup is damaged: a length is impossible")]
    Length,
    /// A header is malformed.
    #[error("the backup is damaged: {0}")]
    Header(HeaderError),
    /// The genesis document or transaction is refused.
    #[error("{0}")]
    Outline(#[from] OutlineError),
    /// A block is refused.
    #[error("{0}")]
    Block(#[from] BadBlock),
    /// It holds another chain than the one asked for.
    #[error("the backup holds the ledger {found}, not {expected}")]
    OtherChain {
        /// The chain asked for.
        expected: ChainId,
        /// The chain in the backup.
        found: ChainId,
    },
    /// It holds no block.
    #[error("the backup holds no block")]
    Empty,
    /// The engine's files cannot be read.
    #[error("{0}")]
    Engine(#[from] EngineError),
    /// The node does not answer.
    #[error("{0}")]
    Node(#[from] QueryError),
}

/// Writes a backup.
#[derive(Debug)]
pub struct BackupWriter<W> {
    out: W,
}

impl<W: Write> BackupWriter<W> {
    /// Begins with the genesis document.
    ///
    /// # Errors
    /// [`BackupError::Io`]
    pub fn new(mut out: W, document: &[u8]) -> Result<Self, BackupError> {
        out.write_all(MAGIC)?;
        out.write_all(&length(document.len())?.to_be_bytes())?;
        out.write_all(document)?;
        Ok(Self { out })
    }

    /// Goes on where another one ended.
    pub const fn resume(out: W) -> Self {
        Self { out }
    }

    /// Appends a block.
    ///
    /// # Errors
    /// [`BackupError::Io`]
    pub fn block(&mut self, block: &FinalBlock) -> Result<(), BackupError> {
        let body: usize = block.transactions.iter().map(|t| t.len() + 4).sum();
        let checkpoint = block.checkpoint.as_deref().unwrap_or_default();
        let mut bytes = BytesMut::with_capacity(512 + checkpoint.len() + body);
        let mut header = Vec::new();
        block.header.encode(&mut header);
        for part in [&header[..], checkpoint] {
            bytes.put_u16(u16::try_from(part.len()).map_err(|_| BackupError::Length)?);
            bytes.put_slice(part);
        }
        for transaction in &block.transactions {
            bytes.put_u32(length(transaction.len())?);
            bytes.put_slice(transaction);
        }
        self.out.write_all(&length(bytes.len())?.to_be_bytes())?;
        self.out.write_all(&bytes)?;
        Ok(())
    }

    /// Gives the stream back, flushed.
    ///
    /// # Errors
    /// [`BackupError::Io`]
    pub fn finish(mut self) -> Result<W, BackupError> {
        self.out.flush()?;
        Ok(self.out)
    }
}

fn length(len: usize) -> Result<u32, BackupError> {
    u32::try_from(len).map_err(|_| BackupError::Length)
}

/// Reads a backup block by block. Nothing of it is checked but its form.
#[derive(Debug)]
pub struct BackupReader<R> {
    input: R,
    document: Bytes,
}

impl<R: Read> BackupReader<R> {
    /// Reads the beginning.
    ///
    /// # Errors
    /// [`BackupError::Magic`], [`BackupError::Length`], [`BackupError::Io`]
    pub fn new(mut input: R) -> Result<Self, BackupError> {
        let mut magic = [0; 16];
        input
            .read_exact(&mut magic)
            .map_err(|_| BackupError::Magic)?;
        if magic != *MAGIC {
            return Err(BackupError::Magic);
        }
        let document = frame(&mut input, GENESIS_LEN_MAX)?.ok_or(BackupError::Cut)?;
        Ok(Self { input, document })
    }

    /// The genesis document.
    pub const fn document(&self) -> &Bytes {
        &self.document
    }

    fn next_block(&mut self) -> Result<Option<FinalBlock>, BackupError> {
        let Some(mut bytes) = frame(&mut self.input, BLOCK_LEN_MAX)? else {
            return Ok(None);
        };
        let short = |bytes: &mut Bytes| {
            let len = bytes.try_get_u16().map_err(|_| BackupError::Length)?;
            part(bytes, usize::from(len))
        };
        let header = short(&mut bytes)?;
        let header = Header::decode(&header).map_err(BackupError::Header)?;
        let checkpoint = short(&mut bytes)?;
        let mut transactions = Vec::new();
        while bytes.has_remaining() {
            let len = bytes.try_get_u32().map_err(|_| BackupError::Length)?;
            transactions.push(part(&mut bytes, len as usize)?);
        }
        Ok(Some(FinalBlock {
            header,
            hash: header.hash(&ChainId::of(&self.document)),
            checkpoint: Some(checkpoint).filter(|c| !c.is_empty()),
            transactions,
        }))
    }
}

fn part(bytes: &mut Bytes, len: usize) -> Result<Bytes, BackupError> {
    if len > bytes.len() {
        return Err(BackupError::Length);
    }
    Ok(bytes.split_to(len))
}

/// `None` at the end of the input; an end inside a frame is [`BackupError::Cut`].
fn frame(input: &mut impl Read, max: usize) -> Result<Option<Bytes>, BackupError> {
    let mut len = [0; 4];
    let mut got = 0;
    while got < len.len() {
        match input.read(&mut len[got..]) {
            Ok(0) if got == 0 => return Ok(None),
            Ok(0) => return Err(BackupError::Cut),
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    let len = u32::from_be_bytes(len) as usize;
    if len > max {
        return Err(BackupError::Length);
    }
    let mut bytes = vec![0; len];
    match input.read_exact(&mut bytes) {
        Ok(()) => Ok(Some(bytes.into())),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(BackupError::Cut),
        Err(error) => Err(error.into()),
    }
}

impl<R: Read> Iterator for BackupReader<R> {
    type Item = Result<FinalBlock, BackupError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_block().transpose()
    }
}

/// Writes the blocks of a running node from a height up to its newest, and returns the height after the last one.
///
/// # Errors
/// [`BackupError`]
pub async fn export<W: Write>(
    node: &NodeHandle,
    from: Height,
    writer: &mut BackupWriter<W>,
) -> Result<Height, BackupError> {
    let mut events = node.events(from);
    while events.behind() > 0 {
        writer.block(&events.next().await?)?;
    }
    Ok(events.next_height())
}

/// Writes all blocks of a stopped node.
///
/// # Errors
/// [`BackupError`]
pub fn export_stopped<W: Write>(
    directory: &Directory,
    writer: &mut BackupWriter<W>,
) -> Result<(), BackupError> {
    // A block whose certificate a crash took is no part of the ledger.
    read_stopped(directory, |block| writer.block(&block)).map(drop)
}

/// Reads all blocks of a stopped node, oldest first.
///
/// # Errors
/// [`BackupError`]; what `each` says ends it.
pub fn read_stopped(
    directory: &Directory,
    mut each: impl FnMut(FinalBlock) -> Result<(), BackupError>,
) -> Result<Tail, BackupError> {
    engine::read_all(&directory.engine(), directory.outline().clone(), &mut each)
}

/// Why a backup was not restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The directory.
    #[error("{0}")]
    Directory(#[from] DirectoryError),
    /// The backup.
    #[error("{0}")]
    Backup(#[from] BackupError),
    /// Writing it.
    #[error("{0}")]
    Import(#[from] ImportError),
}

/// Restores a backup into a new directory. Every block is checked from genesis on.
///
/// The directory has no vote key then: the validator's votes are not in a backup, so going on as it would be voting twice.
/// The ledger goes on after [`Directory::recover`].
///
/// # Errors
/// [`RestoreError`]; the directory holds no ledger then.
pub fn restore<R: Read>(
    path: &Path,
    chain: Option<&ChainId>,
    backup: BackupReader<R>,
) -> Result<Directory, RestoreError> {
    let found = ChainId::of(backup.document());
    if let Some(expected) = chain.copied().filter(|expected| *expected != found) {
        return Err(BackupError::OtherChain { expected, found }.into());
    }
    let document = backup.document().clone();
    let mut blocks = backup.peekable();
    let genesis = match blocks.peek() {
        Some(Ok(block)) => block.transactions.first().cloned(),
        // The error itself is met below.
        Some(Err(_)) => None,
        None => return Err(BackupError::Empty.into()),
    };
    let outline = match genesis {
        Some(genesis) => Outline::new(document, genesis).map_err(BackupError::from)?,
        None => {
            return Err(blocks
                .find_map(Result::err)
                .unwrap_or(BackupError::Empty)
                .into());
        }
    };
    let claim = Claim::new(path)?;
    claim.restoring()?;
    let imported = engine::import(&claim.engine(), outline, &mut blocks).inspect_err(|_| {
        // Best effort: the directory holds no ledger either way, and the mark says so.
        let _ = fs::remove_dir_all(claim.engine());
    })?;
    Ok(claim.finish(imported.outline, None)?)
}
