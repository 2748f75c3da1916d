//! One component: a file, a link, a package, an image.

use super::InventoryError;
use crate::cbor::{CborError, Decoder, Encoder, FromCbor, ToCbor};
use crate::id::Digest;
use crate::wire::Sink;

/// Longest name in bytes.
pub const NAME_BYTES_MAX: usize = 1024;
/// Longest version in bytes.
const VERSION_BYTES_MAX: usize = 64;
/// Longest encoding of a component: array 1, name 3 + 1,024, version 2 + 64, kind 1, size 9, digest 2 + 32.
pub const COMPONENT_BYTES_MAX: usize = 1138;
const SIZE_END: u64 = 1 << 63;

/// Kind of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ComponentKind {
    /// A file.
    File = 1,
    /// A file that someone may execute.
    Program = 2,
    /// A file with the set-user or set-group bit.
    Privileged = 3,
    /// A symbolic link; size and digest are those of the path that it points to.
    Link = 4,
    /// A package; size and digest are what its manager says.
    Package = 5,
    /// A partition, or the firmware of a part.
    Image = 6,
}

impl TryFrom<u8> for ComponentKind {
    type Error = InventoryError;

    fn try_from(number: u8) -> Result<Self, InventoryError> {
        Ok(match number {
            1 => Self::File,
            2 => Self::Program,
            3 => Self::Privileged,
            4 => Self::Link,
            5 => Self::Package,
            6 => Self::Image,
            _ => return Err(InventoryError::Kind),
        })
    }
}

impl ComponentKind {
    /// The spec's word for the kind.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Program => "program",
            Self::Privileged => "privileged",
            Self::Link => "link",
            Self::Package => "package",
            Self::Image => "image",
        }
    }
}

/// A component of an inventory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Component<'a> {
    name: &'a str,
    version: Option<&'a str>,
    kind: ComponentKind,
    size: u64,
    digest: Digest,
}

impl<'a> Component<'a> {
    /// A component; its name is in escaped form (`escape_name`, spec/firmware.md).
    ///
    /// # Errors
    /// [`InventoryError::Name`], [`InventoryError::ComponentVersion`], [`InventoryError::Size`]
    pub fn new(
        name: &'a str,
        version: Option<&'a str>,
        kind: ComponentKind,
        size: u64,
        digest: Digest,
    ) -> Result<Self, InventoryError> {
        if !is_name(name.as_bytes()) {
            return Err(InventoryError::Name);
        }
        if version.is_some_and(|version| !is_version(version.as_bytes())) {
            return Err(InventoryError::ComponentVersion);
        }
        if size >= SIZE_END {
            return Err(InventoryError::Size);
        }
        Ok(Self {
            name,
            version,
            kind,
            size,
            digest,
        })
    }

    /// Its name, in escaped form.
    #[must_use]
    pub const fn name(&self) -> &'a str {
        self.name
    }

    /// Its version, if it has one.
    #[must_use]
    pub const fn version(&self) -> Option<&'a str> {
        self.version
    }

    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> ComponentKind {
        self.kind
    }

    /// Its size in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Its SHA-256.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }
}

impl<'b> FromCbor<'b> for Component<'b> {
    type Error = InventoryError;

    fn from_cbor(d: &mut Decoder<'b>) -> Result<Self, InventoryError> {
        let within = |error, outside| match error {
            CborError::OutOfBounds => outside,
            error => InventoryError::Cbor(error),
        };
        d.array(5)?;
        let name = d
            .text(1..=NAME_BYTES_MAX)
            .map_err(|error| within(error, InventoryError::Name))?;
        let version = d
            .optional(|d| d.text(1..=VERSION_BYTES_MAX))
            .map_err(|error| within(error, InventoryError::ComponentVersion))?;
        let kind = d
            .u8()
            .map_err(|error| within(error, InventoryError::Kind))?;
        let kind = ComponentKind::try_from(kind)?;
        Self::new(name, version, kind, d.u64()?, Digest::new(d.array_of()?))
    }
}

impl ToCbor for Component<'_> {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        e.array(5).text(self.name);
        e.optional(self.version, |e, version| {
            e.text(version);
        });
        e.u64(self.kind as u64).u64(self.size).bytes(self.digest);
    }
}

/// Whether a byte of a name stands for itself.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7e) && byte != b'%'
}

pub(super) fn is_name(name: &[u8]) -> bool {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return false;
    }
    let mut rest = name;
    loop {
        rest = match rest {
            [] => return true,
            [b'%', high, low, rest @ ..] => match hex_byte(*high, *low) {
                Some(byte) if !is_plain(byte) => rest,
                _ => return false,
            },
            [byte, rest @ ..] if is_plain(*byte) => rest,
            _ => return false,
        };
    }
}

fn is_version(version: &[u8]) -> bool {
    (1..=VERSION_BYTES_MAX).contains(&version.len()) && version.iter().all(u8::is_ascii_graphic)
}

/// The byte of two upper-case hexadecimal digits.
fn hex_byte(high: u8, low: u8) -> Option<u8> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    };
    Some((digit(high)? << 4) | digit(low)?)
}

/// The form in which the bytes of a path or package name stand in an inventory.
#[cfg(feature = "alloc")]
#[must_use]
pub fn escape_name(raw: &[u8]) -> alloc::string::String {
    use core::fmt::Write as _;
    let mut name = alloc::string::String::with_capacity(raw.len());
    for byte in raw {
        if is_plain(*byte) {
            name.push(char::from(*byte));
        } else {
            // Writing into a String does not fail.
            let _ = write!(name, "%{byte:02X}");
        }
    }
    name
}

/// The bytes that a name stands for; `None` when it is not in its one form.
#[cfg(feature = "alloc")]
#[must_use]
pub fn unescape_name(name: &str) -> Option<alloc::vec::Vec<u8>> {
    if !is_name(name.as_bytes()) {
        return None;
    }
    let mut raw = alloc::vec::Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    loop {
        rest = match rest {
            [] => return Some(raw),
            [b'%', high, low, rest @ ..] => {
                raw.push(hex_byte(*high, *low)?);
                rest
            }
            [byte, rest @ ..] => {
                raw.push(*byte);
                rest
            }
        };
    }
}
