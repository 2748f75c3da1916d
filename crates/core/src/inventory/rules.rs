//! What a device walks and what it passes over, as its owner signed it with the release (spec/firmware.md, "Rules of the walk").

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::component::is_name;
use crate::cbor::{CborError, Decoder, Encoder, FromCbor, ToCbor, decode_canonical};
use crate::release::{Label, ManifestError, TARGETS_MAX};
use crate::wire::Sink;

/// Kind of the manifest's document that holds them.
pub const RULES_KIND: &str = "inventory-rules";
/// Longest rules in bytes: 64 KiB.
pub const RULES_BYTES_MAX: u64 = 64 << 10;
/// Most paths, and most patterns, of a device type.
const ENTRIES_MAX: usize = 64;
/// Longest path or pattern in bytes.
const ENTRY_BYTES_MAX: usize = 256;

const VERSION: u64 = 1;

/// Why bytes are no rules, or a text no path or pattern of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RulesError {
    /// Not the CBOR that the format asks for.
    Cbor(CborError),
    /// More than 64 KiB.
    TooLong,
    /// A format version other than 1.
    Version,
    /// A device type is no label.
    Label,
    /// A path or pattern is longer than 256 bytes, not escaped as names are, or has an empty part, `.` or `..`.
    Path,
    /// A path lies within another one.
    Nested,
    /// Device types, paths or patterns are not in strictly ascending order.
    Order,
}

impl fmt::Display for RulesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cbor(error) => return write!(f, "the bytes are no rules of an inventory: {error}"),
            Self::TooLong => "the rules of an inventory have 64 KiB at most",
            Self::Version => "the rules of the inventory have a format version that this program does not know; use a newer program",
            Self::Label => "a device type has 1 to 64 characters of A-Z, a-z, 0-9, '.', '_', '+', '-', a letter or digit first",
            Self::Path => "a path of the inventory has 1 to 256 bytes, and no empty part, '.' or '..'",
            Self::Nested => "a path of the inventory lies within another one",
            Self::Order => "device types, paths or patterns are out of order, or one stands twice",
        })
    }
}

impl core::error::Error for RulesError {}

impl From<CborError> for RulesError {
    fn from(error: CborError) -> Self {
        Self::Cbor(error)
    }
}

/// What is passed over: a name in escaped form in which `*` stands for any characters, none as well, within one part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern(String);

impl Pattern {
    /// Checks a text.
    ///
    /// # Errors
    /// [`RulesError::Path`]
    pub fn new(text: &str) -> Result<Self, RulesError> {
        if is_path(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(RulesError::Path)
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is this name's. What lies below such a name is passed over because the walk does not go there.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        let mut parts = name.split('/');
        let all = self
            .0
            .split('/')
            .all(|part| parts.next().is_some_and(|name| part_is(part, name)));
        all && parts.next().is_none()
    }
}

/// Whether a part's pattern is this part's. Time is within the product of both lengths.
fn part_is(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.as_bytes(), name.as_bytes());
    // Behind the last `*`, and where what it stands for would end if it were one byte longer.
    let mut again: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern, name) {
            ([b'*', rest @ ..], _) => {
                pattern = rest;
                again = name.split_first().map(|(_, longer)| (rest, longer));
                if rest.is_empty() {
                    return true;
                }
            }
            ([a, pattern_rest @ ..], [b, name_rest @ ..]) if a == b => {
                (pattern, name) = (pattern_rest, name_rest);
            }
            ([], []) => return true,
            _ => {
                let Some((rest, longer)) = again else {
                    return false;
                };
                (pattern, name) = (rest, longer);
                again = longer.split_first().map(|(_, longer)| (rest, longer));
            }
        }
    }
}

/// Whether it is a path below a root, in the form that names have.
fn is_path(text: &str) -> bool {
    text.len() <= ENTRY_BYTES_MAX
        && is_name(text.as_bytes())
        && text.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// What devices of one type walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeRules {
    /// The device type.
    pub device_type: String,
    /// Paths in escaped form, ascending by bytes, none within another one; an empty one is the root, and then the only one.
    pub paths: Vec<String>,
    /// What is passed over, ascending by bytes.
    pub excluded: Vec<Pattern>,
}

impl TypeRules {
    fn check(&self) -> Result<(), RulesError> {
        let root = self.paths.len() == 1 && self.paths.iter().all(String::is_empty);
        if !root && !self.paths.iter().all(|path| is_path(path)) {
            return Err(RulesError::Path);
        }
        if !self.paths.is_sorted_by(|a, b| a < b) || !self.excluded.is_sorted_by(|a, b| a < b) {
            return Err(RulesError::Order);
        }
        let within = |path: &String, other: &String| {
            path.strip_prefix(other.as_str())
                .is_some_and(|rest| rest.starts_with('/'))
        };
        let nested = |path| self.paths.iter().any(|other| within(path, other));
        if self.paths.iter().any(nested) {
            return Err(RulesError::Nested);
        }
        Ok(())
    }
}

impl<'b> FromCbor<'b> for TypeRules {
    type Error = RulesError;

    fn from_cbor(d: &mut Decoder<'b>) -> Result<Self, RulesError> {
        d.array(3)?;
        let device_type = Label::from_cbor(d).map_err(|error| match error {
            ManifestError::Cbor(error) => RulesError::Cbor(error),
            _ => RulesError::Label,
        })?;
        let mut paths = Vec::new();
        for _ in 0..d.list(1..=ENTRIES_MAX)? {
            paths.push(entry(d, 0)?.to_owned());
        }
        let mut excluded = Vec::new();
        for _ in 0..d.list(0..=ENTRIES_MAX)? {
            excluded.push(Pattern::new(entry(d, 1)?)?);
        }
        let rules = Self {
            device_type: device_type.as_str().to_owned(),
            paths,
            excluded,
        };
        rules.check()?;
        Ok(rules)
    }
}

fn entry<'b>(d: &mut Decoder<'b>, least: usize) -> Result<&'b str, RulesError> {
    d.text(least..=ENTRY_BYTES_MAX)
        .map_err(|error| match error {
            CborError::OutOfBounds => RulesError::Path,
            error => RulesError::Cbor(error),
        })
}

impl ToCbor for TypeRules {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        e.array(3).text(&self.device_type);
        e.array(self.paths.len());
        for path in &self.paths {
            e.text(path);
        }
        e.array(self.excluded.len());
        for pattern in &self.excluded {
            e.text(pattern.as_str());
        }
    }
}

/// The rules of a release: for each device type that has some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Ascending by device type.
    types: Vec<TypeRules>,
}

impl Rules {
    /// The rules, put into the format's order.
    ///
    /// # Errors
    /// [`RulesError`] for the first rule of form that they break.
    pub fn new(mut types: Vec<TypeRules>) -> Result<Self, RulesError> {
        types.sort_by(|a, b| a.device_type.cmp(&b.device_type));
        for one in &mut types {
            one.paths.sort();
            one.excluded.sort();
        }
        let rules = Self { types };
        // The rules of form stand in the decoder, once.
        Self::decode(&rules.encode())
    }

    /// Decodes rules.
    ///
    /// # Errors
    /// The first rule of form broken.
    pub fn decode(bytes: &[u8]) -> Result<Self, RulesError> {
        if bytes.len() as u64 > RULES_BYTES_MAX {
            return Err(RulesError::TooLong);
        }
        decode_canonical(bytes)
    }

    /// Their bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.to_cbor(&mut Encoder::new(&mut bytes));
        bytes
    }

    /// What devices of this type walk, if the rules say it.
    #[must_use]
    pub fn of(&self, device_type: &str) -> Option<&TypeRules> {
        self.types.iter().find(|one| one.device_type == device_type)
    }
}

impl<'b> FromCbor<'b> for Rules {
    type Error = RulesError;

    fn from_cbor(d: &mut Decoder<'b>) -> Result<Self, RulesError> {
        d.array(2)?;
        if d.u64()? != VERSION {
            return Err(RulesError::Version);
        }
        let mut types: Vec<TypeRules> = Vec::new();
        for _ in 0..d.list(1..=TARGETS_MAX)? {
            let next = TypeRules::from_cbor(d)?;
            if types
                .last()
                .is_some_and(|last| last.device_type >= next.device_type)
            {
                return Err(RulesError::Order);
            }
            types.push(next);
        }
        Ok(Self { types })
    }
}

impl ToCbor for Rules {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        e.array(2).u64(VERSION).array(self.types.len());
        for one in &self.types {
            one.to_cbor(e);
        }
    }
}
