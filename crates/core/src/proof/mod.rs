//! Proof of presence and of absence (spec/proof.md, "Proof").
//!
//! A proof is a checkpoint, a path and a claim about one state key. [`Proof::check`] is the one door: what comes out says
//! what the ledger held under that key at that height, as far as a quorum of the anchored set can be believed.
//!
//! It does not say that the height is the newest (the anchor's floor says only "not older than what was seen"), nor what the
//! row means ([`crate::row`]).

use core::fmt;

use crate::anchor::Anchor;
use crate::checkpoint::{Checkpoint, CheckpointError, VerifiedCheckpoint};
use crate::id::StateKey;
use crate::row::ROW_BYTES;
use crate::set::EpochSet;
use crate::wire::{Reader, Sink, WireError};

pub mod path;

use path::{Log, Operation, Path, PathError};

const VERSION: u8 = 1;
const PRESENT: u8 = 1;
const BETWEEN: u8 = 2;
const EMPTY: u8 = 3;

/// Why a proof is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProofError {
    /// The bytes end early or late, or a flag is neither 0 nor 1.
    Wire(WireError),
    /// A version other than 1.
    Version,
    /// An unknown kind of proof.
    Kind,
    /// The checkpoint is refused.
    Checkpoint(CheckpointError),
    /// The path is refused.
    Path(PathError),
    /// The absence shown is not that of the wanted key.
    OtherGap,
    /// The proof stands under another header than the one that was verified before.
    OtherHeader,
}

impl fmt::Display for ProofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wire(error) => write!(f, "the bytes are no proof: {error}"),
            Self::Version => f.write_str("the proof is of another version"),
            Self::Kind => f.write_str("the proof is of an unknown kind"),
            Self::Checkpoint(error) => write!(f, "{error}"),
            Self::Path(error) => write!(f, "{error}"),
            Self::OtherGap => {
                f.write_str("the proof shows the absence of other keys, not of this one")
            }
            Self::OtherHeader => {
                f.write_str("the proof stands under another block than the one verified before")
            }
        }
    }
}

impl core::error::Error for ProofError {}

crate::code::codes!(ProofError {
    Version = 0x0f01,
    Kind = 0x0f02,
    OtherGap = 0x0f03,
    OtherHeader = 0x0f04,
} in { Wire, Checkpoint, Path });

impl From<WireError> for ProofError {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl From<CheckpointError> for ProofError {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Wire(error) => Self::Wire(error),
            error => Self::Checkpoint(error),
        }
    }
}

impl From<PathError> for ProofError {
    fn from(error: PathError) -> Self {
        match error {
            PathError::Wire(error) => Self::Wire(error),
            error => Self::Path(error),
        }
    }
}

/// What a proof says about the wanted key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim<'a> {
    /// It holds this row.
    Present {
        /// The row.
        row: &'a [u8; ROW_BYTES],
        /// The key after it.
        next_key: StateKey,
    },
    /// It holds nothing: it lies between two neighbours.
    Between {
        /// The key before it.
        key: StateKey,
        /// The row of the key before it.
        row: &'a [u8; ROW_BYTES],
        /// The key after it.
        next_key: StateKey,
    },
    /// No key holds anything.
    Empty {
        /// What the engine stored with its last commit.
        metadata: Option<&'a [u8; ROW_BYTES]>,
    },
}

impl<'a> Claim<'a> {
    fn read(kind: u8, reader: &mut Reader<'a>) -> Result<Self, ProofError> {
        Ok(match kind {
            PRESENT => Self::Present {
                row: row(reader)?,
                next_key: StateKey::new(reader.array()?),
            },
            BETWEEN => Self::Between {
                key: StateKey::new(reader.array()?),
                row: row(reader)?,
                next_key: StateKey::new(reader.array()?),
            },
            EMPTY => Self::Empty {
                metadata: if reader.flag()? {
                    Some(row(reader)?)
                } else {
                    None
                },
            },
            _ => return Err(ProofError::Kind),
        })
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::Present { .. } => PRESENT,
            Self::Between { .. } => BETWEEN,
            Self::Empty { .. } => EMPTY,
        }
    }

    fn encode(&self, out: &mut impl Sink) {
        match self {
            Self::Present { row, next_key } => {
                out.put(*row);
                out.put(next_key.as_bytes());
            }
            Self::Between { key, row, next_key } => {
                out.put(key.as_bytes());
                out.put(*row);
                out.put(next_key.as_bytes());
            }
            Self::Empty { metadata } => {
                out.flag(metadata.is_some());
                if let Some(metadata) = metadata {
                    out.put(*metadata);
                }
            }
        }
    }

    /// Checks this claim about `wanted` along `path`, against a log and a state root that the caller believes: those of a
    /// certified header. [`Proof::check`] calls it; the engine's oracle does too.
    ///
    /// # Errors
    /// [`ProofError::OtherGap`], [`ProofError::Path`]
    pub fn check(
        &self,
        path: &Path<'_>,
        log: Log<'_>,
        state_root: &[u8; 32],
        wanted: &StateKey,
    ) -> Result<(), ProofError> {
        let operation = match self {
            Self::Present { row, next_key } => Operation::Update {
                key: wanted.as_bytes(),
                row,
                next_key: next_key.as_bytes(),
            },
            Self::Between { key, row, next_key } => {
                if !lies_between(key, wanted, next_key) {
                    return Err(ProofError::OtherGap);
                }
                Operation::Update {
                    key: key.as_bytes(),
                    row,
                    next_key: next_key.as_bytes(),
                }
            }
            Self::Empty { metadata } => Operation::EmptyCommit {
                metadata: *metadata,
            },
        };
        Ok(path.verify(log, operation, state_root)?)
    }
}

/// Whether `wanted` lies strictly between two neighbours of the cyclic order. A key that is its own neighbour is alone, and
/// every other key lies between.
fn lies_between(key: &StateKey, wanted: &StateKey, next_key: &StateKey) -> bool {
    if key < next_key {
        key < wanted && wanted < next_key
    } else {
        wanted > key || wanted < next_key
    }
}

fn row<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8; ROW_BYTES], WireError> {
    reader
        .bytes(ROW_BYTES)?
        .first_chunk()
        .ok_or(WireError::Short)
}

/// A decoded proof: its form is checked, nothing is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof<'a> {
    checkpoint: Checkpoint<'a>,
    path: Path<'a>,
    claim: Claim<'a>,
}

impl<'a> Proof<'a> {
    /// Decodes exactly one proof.
    ///
    /// # Errors
    /// The first rule of form broken.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, ProofError> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != VERSION {
            return Err(ProofError::Version);
        }
        let kind = reader.u8()?;
        let proof = Self {
            checkpoint: Checkpoint::read(&mut reader)?,
            path: Path::read(&mut reader)?,
            claim: Claim::read(kind, &mut reader)?,
        };
        reader.finish()?;
        Ok(proof)
    }

    /// The checkpoint, unchecked.
    #[must_use]
    pub const fn checkpoint(&self) -> &Checkpoint<'a> {
        &self.checkpoint
    }

    /// What it claims, unchecked: for those who show proofs without believing them.
    #[must_use]
    pub const fn claim(&self) -> &Claim<'a> {
        &self.claim
    }

    /// The path, unchecked.
    #[must_use]
    pub const fn path(&self) -> &Path<'a> {
        &self.path
    }

    /// Checks the checkpoint under the anchor, then the path, and says what `wanted` held. The anchor is not changed:
    /// [`Anchor::advance`] does that with the verified checkpoint.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(
        &self,
        anchor: &Anchor,
        set: &EpochSet<'_>,
        wanted: &StateKey,
    ) -> Result<VerifiedProof<'a>, ProofError> {
        self.check_path(self.checkpoint.check(anchor, set)?, wanted)
    }

    /// The same for one more proof of a block whose checkpoint was verified before, without checking signatures again:
    /// what this proof's own checkpoint holds besides the proven header is not looked at. The caller answers for the anchor
    /// under which `checkpoint` was verified being still its own.
    ///
    /// # Errors
    /// [`ProofError::OtherHeader`], [`ProofError::OtherGap`], [`ProofError::Path`]
    pub fn check_under(
        &self,
        checkpoint: &VerifiedCheckpoint,
        wanted: &StateKey,
    ) -> Result<VerifiedProof<'a>, ProofError> {
        if self.checkpoint.claimed() != checkpoint.header() {
            return Err(ProofError::OtherHeader);
        }
        self.check_path(*checkpoint, wanted)
    }

    fn check_path(
        &self,
        checkpoint: VerifiedCheckpoint,
        wanted: &StateKey,
    ) -> Result<VerifiedProof<'a>, ProofError> {
        let header = checkpoint.header();
        let log = Log {
            leaves: header.ops_end,
            ops_root: header.ops_root.as_bytes(),
        };
        self.claim
            .check(&self.path, log, header.state_root.as_bytes(), wanted)?;
        Ok(VerifiedProof {
            checkpoint,
            key: *wanted,
            row: match self.claim {
                Claim::Present { row, .. } => Some(row),
                Claim::Between { .. } | Claim::Empty { .. } => None,
            },
        })
    }
}

/// What the ledger held under a key at a certified height; only [`Proof::check`] makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedProof<'a> {
    checkpoint: VerifiedCheckpoint,
    key: StateKey,
    row: Option<&'a [u8; ROW_BYTES]>,
}

impl<'a> VerifiedProof<'a> {
    /// The checkpoint that it stands under.
    #[must_use]
    pub const fn checkpoint(&self) -> &VerifiedCheckpoint {
        &self.checkpoint
    }

    /// The key that was asked for.
    #[must_use]
    pub const fn key(&self) -> &StateKey {
        &self.key
    }

    /// The key's row, or `None` when its absence is proven.
    #[must_use]
    pub const fn row(&self) -> Option<&'a [u8; ROW_BYTES]> {
        self.row
    }
}

/// Writes a proof around the bytes of an encoded checkpoint, which is the same for all proofs of a height.
///
/// # Errors
/// [`PathError::DigestsMax`]
pub fn encode(
    checkpoint: &[u8],
    path: &Path<'_>,
    claim: &Claim<'_>,
    out: &mut impl Sink,
) -> Result<(), PathError> {
    out.u8(VERSION);
    out.u8(claim.kind());
    out.put(checkpoint);
    path.encode(out)?;
    claim.encode(out);
    Ok(())
}
