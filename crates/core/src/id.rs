//! Identifiers: kusabi-ID, handle, chain, organisation, height (spec/identity.md, "Identifiers").
//!
//! Every identifier is its own type, checked when it is made, so that a handle is never taken for a digest. The
//! kusabi-ID is the only secret among them: it is wiped when dropped and never printed by `Debug`.

use core::fmt;
use core::str::FromStr;

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32m, Hrp};
use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::crypto;
use crate::wire::U48_END;

/// Why an identifier was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u16)]
pub enum IdError {
    /// A hexadecimal identifier has the wrong number of digits.
    HexLength = 0x0201,
    /// A character is not one of `0-9 a-f`.
    HexDigit = 0x0202,
    /// Not a bech32m text with prefix `kid`: a character is wrong or the checksum fails.
    KusabiId = 0x0203,
    /// An organisation name is empty or longer than 32 bytes.
    OrgNameLength = 0x0204,
    /// An organisation name holds something else than `a-z 0-9 . -`, or starts with `.` or `-`.
    OrgNameCharacter = 0x0205,
    /// A height is 2^48 or more.
    Height = 0x0206,
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HexLength => "the hexadecimal text has the wrong length",
            Self::HexDigit => "the text holds a character that is not one of 0-9 a-f",
            Self::KusabiId => "this is not a kusabi-ID (kid1…): a character is wrong or missing",
            Self::OrgNameLength => "an organisation name has 1 to 32 characters",
            Self::OrgNameCharacter => {
                "an organisation name holds a-z, 0-9, '.' and '-' and starts with a letter or digit"
            }
            Self::Height => "a height is below 2^48",
        })
    }
}

impl core::error::Error for IdError {}

crate::code::codes!(IdError {
    HexLength,
    HexDigit,
    KusabiId,
    OrgNameLength,
    OrgNameCharacter,
    Height,
});

/// Writes lower-case hexadecimal digits.
pub(crate) fn write_hex(bytes: &[u8], f: &mut impl fmt::Write) -> fmt::Result {
    for byte in bytes {
        write!(f, "{byte:02x}")?;
    }
    Ok(())
}

/// Reads exactly `N` bytes of lower-case hexadecimal digits.
///
/// # Errors
/// [`IdError::HexLength`], [`IdError::HexDigit`] (upper-case digits too: one value has one text)
pub fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], IdError> {
    let (pairs, odd) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !odd.is_empty() {
        return Err(IdError::HexLength);
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = (hex_digit(*high)? << 4) | hex_digit(*low)?;
    }
    Ok(bytes)
}

const fn hex_digit(digit: u8) -> Result<u8, IdError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(IdError::HexDigit),
    }
}

macro_rules! digest_like {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;
            /// All bytes zero: "none" where a format allows it.
            pub const ZERO: Self = Self([0; $len]);

            /// Wraps bytes that are one already.
            #[must_use]
            pub const fn new(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// The bytes.
            #[must_use]
            pub const fn to_bytes(self) -> [u8; $len] {
                self.0
            }

            /// Whether all bytes are zero ("none").
            #[must_use]
            pub fn is_zero(&self) -> bool {
                *self == Self::ZERO
            }
        }

        impl From<[u8; $len]> for $name {
            fn from(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_hex(text).map(Self)
            }
        }
    };
}

digest_like!(
    /// What lookups, tables and pages use for a key: a hash of its kusabi-ID, or of a bare key. Text: 64 hex digits.
    Handle, 32
);
digest_like!(
    /// Hash of the genesis document; everything signed names it. Text: 64 hex digits.
    ChainId, 32
);
digest_like!(
    /// The first 16 bytes of a hash of the organisation's name. Text: 32 hex digits.
    OrgId, 16
);
digest_like!(
    /// Ties a record to its kusabi-ID: whoever knows the ID checks it (spec/identity.md, "Binding").
    Binding, 16
);
digest_like!(
    /// SHA-256 of something outside the ledger: a file, firmware, a topic's entry, private metadata.
    Digest, 32
);
digest_like!(
    /// Key of a row in the ledger's state.
    StateKey, 32
);
digest_like!(
    /// Root of the ledger's state: what proofs are checked against.
    StateRoot, 32
);
digest_like!(
    /// Root of the log of operations below the state.
    OpsRoot, 32
);
digest_like!(
    /// Hash of a transaction's bytes.
    TxId, 32
);
digest_like!(
    /// Hash of what is proposed to the members (spec/governance.md).
    ProposalId, 32
);
digest_like!(
    /// Hash of a block's transactions.
    BodyHash, 32
);
digest_like!(
    /// Hash of a header, with the chain.
    HeaderHash, 32
);
digest_like!(
    /// Hash of a validator set.
    SetHash, 32
);
digest_like!(
    /// Hash of a recovery set.
    RecoveryHash, 32
);
digest_like!(
    /// Hash of the list of a set's nodes.
    NodesHash, 32
);

digest_like!(
    /// What somebody makes to ask whether something is of now: 32 random bytes, used once.
    Nonce, 32
);
digest_like!(
    /// Merkle root over the nonces of a freshness receipt.
    NonceRoot, 32
);

digest_like!(
    /// Names a session on the wire; random, and of no meaning outside of it.
    SessionId, 16
);

impl Handle {
    /// The handle of an ID.
    #[must_use]
    pub fn of(id: &KusabiId) -> Self {
        Self(crypto::sha256(&[b"kusabi.handle.v1", &id.0]))
    }
}

impl TxId {
    /// ID of a transaction's bytes, its signatures among them (spec/ledger.md, "Transactions").
    #[must_use]
    pub fn of(transaction: &[u8]) -> Self {
        Self(crypto::sha256(&[b"kusabi.tx.v1", transaction]))
    }
}

impl ProposalId {
    /// `H("kusabi.proposal.v1" ‖ proposal)`
    #[must_use]
    pub fn of(proposal: &[u8]) -> Self {
        Self::new(crypto::sha256(&[b"kusabi.proposal.v1", proposal]))
    }
}

impl NodesHash {
    /// Hash of an encoded list of nodes (spec/proof.md, "Appointment").
    #[must_use]
    pub fn of(nodes: &[u8]) -> Self {
        Self(crypto::sha256(&[b"kusabi.appointed.nodes.v1", nodes]))
    }
}

impl ChainId {
    /// The chain that a genesis document founds.
    #[must_use]
    pub fn of(genesis_document: &[u8]) -> Self {
        Self(crypto::sha256(&[b"kusabi.genesis.v1", genesis_document]))
    }
}

impl OrgId {
    /// The ID of the organisation with this name.
    #[must_use]
    pub fn of(name: &OrgName) -> Self {
        let digest = crypto::sha256(&[b"kusabi.org.v1", name.as_str().as_bytes()]);
        Self(crypto::first_16(&digest))
    }
}

impl Digest {
    /// SHA-256 of `content`.
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        Self(crypto::sha256(&[content]))
    }
}

/// The secret name of a key: 16 random bytes, known to the key's holder and to whom it was given.
///
/// Knowing it allows to check that a record was made for it, so it never stands in a URL, a log or a database; the
/// [`Handle`] does. Wiped when dropped; `Debug` shows nothing of it; equality takes the same time for all values.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct KusabiId([u8; 16]);

impl KusabiId {
    /// Length in bytes.
    pub const LEN: usize = 16;

    const PREFIX: &'static str = "kid";
    /// 16 bytes are 26 characters of five bits, the last two bits zero.
    const DATA_CHARACTERS: usize = 26;

    /// A new ID from the operating system's randomness.
    #[must_use]
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// Wraps bytes that are an ID already.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The secret bytes.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 16] {
        &self.0
    }

    /// The handle of this ID.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::of(self)
    }

    /// The secret text, `kid1…`, 36 characters.
    #[must_use]
    pub fn to_text(&self) -> KusabiIdText {
        let mut text = KusabiIdText {
            buffer: [0; KusabiIdText::LEN],
            len: 0,
        };
        // Cannot fail: the prefix is valid and the buffer has the text's size. If it did, the text would be empty.
        let written = Hrp::parse(Self::PREFIX).ok().and_then(|prefix| {
            bech32::encode_to_fmt::<Bech32m, _>(&mut text, prefix, &self.0).ok()
        });
        debug_assert!(written.is_some(), "the text of an ID has a fixed size");
        text
    }
}

impl FromStr for KusabiId {
    type Err = IdError;

    /// Reads `kid1…`; all lower case or, as QR codes like it, all upper case.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let parsed = CheckedHrpstring::new::<Bech32m>(text).map_err(|_| IdError::KusabiId)?;
        let prefix = Hrp::parse(Self::PREFIX).map_err(|_| IdError::KusabiId)?;
        if parsed.hrp() != prefix
            || parsed.data_part_ascii_no_checksum().len() != Self::DATA_CHARACTERS
        {
            return Err(IdError::KusabiId);
        }
        parsed
            .validate_segwit_padding()
            .map_err(|_| IdError::KusabiId)?;
        let mut id = Self([0; 16]);
        for (to, from) in id.0.iter_mut().zip(parsed.byte_iter()) {
            *to = from;
        }
        Ok(id)
    }
}

impl PartialEq for KusabiId {
    fn eq(&self, other: &Self) -> bool {
        crypto::constant_time_eq(&self.0, &other.0)
    }
}

impl Eq for KusabiId {}

impl fmt::Debug for KusabiId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KusabiId(secret)")
    }
}

/// The text of a [`KusabiId`]: as secret as the ID, wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct KusabiIdText {
    buffer: [u8; Self::LEN],
    len: usize,
}

impl KusabiIdText {
    /// Length in characters.
    pub const LEN: usize = 36;

    /// The secret text.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.buffer
            .get(..self.len)
            .and_then(|bytes| core::str::from_utf8(bytes).ok())
            .unwrap_or("")
    }
}

impl fmt::Write for KusabiIdText {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let end = self.len.saturating_add(part.len());
        self.buffer
            .get_mut(self.len..end)
            .ok_or(fmt::Error)?
            .copy_from_slice(part.as_bytes());
        self.len = end;
        Ok(())
    }
}

impl fmt::Debug for KusabiIdText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KusabiIdText(secret)")
    }
}

/// Name of an organisation: 1 to 32 of `a-z 0-9 . -`, starting with a letter or digit.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct OrgName {
    /// Padded with zeros, as in the organisation's row.
    bytes: [u8; 32],
    len: u8,
}

impl OrgName {
    /// Longest name, in bytes.
    pub const MAX: usize = 32;

    /// Checks a name.
    ///
    /// # Errors
    /// [`IdError::OrgNameLength`], [`IdError::OrgNameCharacter`]
    pub fn new(name: &str) -> Result<Self, IdError> {
        let len = u8::try_from(name.len()).map_err(|_| IdError::OrgNameLength)?;
        let mut bytes = [0; Self::MAX];
        bytes
            .get_mut(..name.len())
            .ok_or(IdError::OrgNameLength)?
            .copy_from_slice(name.as_bytes());
        match name.as_bytes() {
            [] => Err(IdError::OrgNameLength),
            [b'a'..=b'z' | b'0'..=b'9', rest @ ..]
                if rest
                    .iter()
                    .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-')) =>
            {
                Ok(Self { bytes, len })
            }
            _ => Err(IdError::OrgNameCharacter),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.bytes
            .get(..usize::from(self.len))
            .and_then(|bytes| core::str::from_utf8(bytes).ok())
            .unwrap_or("")
    }

    /// The name padded with zeros to 32 bytes, as it stands in a row.
    #[must_use]
    pub const fn padded(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// The organisation's ID.
    #[must_use]
    pub fn id(&self) -> OrgId {
        OrgId::of(self)
    }
}

impl PartialOrd for OrgName {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for OrgName {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl FromStr for OrgName {
    type Err = IdError;

    fn from_str(name: &str) -> Result<Self, IdError> {
        Self::new(name)
    }
}

impl fmt::Display for OrgName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for OrgName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Height of a block: below 2^48, so that it fits the six bytes that rows give it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Height(u64);

impl Height {
    /// The genesis.
    pub const ZERO: Self = Self(0);
    /// That of the first block, which holds the genesis transaction and nothing else.
    pub const FIRST: Self = Self(1);
    /// The highest one.
    pub const MAX: Self = Self(U48_END - 1);

    /// Checks a height.
    ///
    /// # Errors
    /// [`IdError::Height`] from 2^48 on.
    pub const fn new(height: u64) -> Result<Self, IdError> {
        if height < U48_END {
            Ok(Self(height))
        } else {
            Err(IdError::Height)
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The next height, if there is one.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        if self.0 < Self::MAX.0 {
            Some(Self(self.0 + 1))
        } else {
            None
        }
    }
}

impl TryFrom<u64> for Height {
    type Error = IdError;

    fn try_from(height: u64) -> Result<Self, IdError> {
        Self::new(height)
    }
}

impl From<Height> for u64 {
    fn from(height: Height) -> Self {
        height.0
    }
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(u64);

        impl $name {
            /// The first one.
            pub const ZERO: Self = Self(0);

            /// Wraps a number.
            #[must_use]
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// The number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The next one, if there is one.
            #[must_use]
            pub const fn next(self) -> Option<Self> {
                match self.0.checked_add(1) {
                    Some(number) => Some(Self(number)),
                    None => None,
                }
            }
        }
    };
}

counter!(
    /// Number of a validator set's term.
    Epoch
);
counter!(
    /// Number of a consensus round within an epoch.
    View
);

macro_rules! number_text {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    )*};
}

number_text!(Height, Epoch, View);
