//! The manifest: what a release is made of and for whom (spec/firmware.md, "Manifest").

use core::fmt;
use core::marker::PhantomData;

use super::Label;
use crate::cbor::{CborError, Decoder, Encoder, FromCbor, ToCbor, decode_canonical};
use crate::id::{ChainId, Digest, Handle, OrgId};
use crate::inventory::INVENTORY_BYTES_MAX;
use crate::statement::{Statement, StatementKind};
use crate::suite::Purpose;
use crate::wire::Sink;

/// Longest manifest in bytes.
pub const MANIFEST_BYTES_MAX: usize = 8 << 10;
/// Most device types of a release.
pub const TARGETS_MAX: usize = 32;
/// Most payloads of a release.
pub const PAYLOADS_MAX: usize = 16;
/// Most documents of a release.
pub const DOCUMENTS_MAX: usize = 8;
/// Largest content in bytes: 1 TiB.
pub const CONTENT_BYTES_MAX: u64 = 1 << 40;
/// Largest chunk index in bytes.
pub const CHUNK_INDEX_BYTES_MAX: u64 = 64 << 20;

const VERSION: u64 = 1;

/// Why bytes are no manifest, or no signed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ManifestError {
    /// Not the CBOR that the format asks for.
    Cbor(CborError),
    /// More bytes than a manifest may have.
    TooLong,
    /// A format version other than 1.
    Version,
    /// A label is empty, longer than 64 bytes, or holds a character that labels do not have.
    Label,
    /// A size is 0 or above its bound.
    Size,
    /// A digest is zero.
    Zero,
    /// Device types, documents or signers are not in strictly ascending order.
    Order,
    /// Two payloads have one name.
    SameName,
    /// The minimum counter is above the counter.
    Counter,
    /// A target takes no payload or one that is not there, or a payload is taken by no target.
    Taken,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cbor(error) => return write!(f, "the bytes are no manifest: {error}"),
            Self::TooLong => "the manifest is too long",
            Self::Version => "the manifest has a format version that this program does not know; use a newer program",
            Self::Label => "a name in the manifest has 1 to 64 characters of A-Z, a-z, 0-9, '.', '_', '+', '-', a letter or digit first",
            Self::Size => "a size in the manifest is zero or above what is allowed",
            Self::Zero => "a digest in the manifest is zero",
            Self::Order => "device types, documents or signers are out of order or stand twice",
            Self::SameName => "two payloads of the manifest have the same name",
            Self::Counter => "the minimum counter is above the release's counter",
            Self::Taken => "each device type takes at least one payload of the manifest, and each payload is taken by one",
        })
    }
}

impl core::error::Error for ManifestError {}

impl From<CborError> for ManifestError {
    fn from(error: CborError) -> Self {
        Self::Cbor(error)
    }
}

/// Something that is fetched by its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    size: u64,
    digest: Digest,
}

impl Content {
    /// Content of `size` bytes (1 to 2^40) with this SHA-256.
    ///
    /// # Errors
    /// [`ManifestError::Size`], [`ManifestError::Zero`]
    pub fn new(size: u64, digest: Digest) -> Result<Self, ManifestError> {
        if size == 0 || size > CONTENT_BYTES_MAX {
            return Err(ManifestError::Size);
        }
        if digest.is_zero() {
            return Err(ManifestError::Zero);
        }
        Ok(Self { size, digest })
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

    fn at_most(self, size_max: u64) -> Result<Self, ManifestError> {
        if self.size > size_max {
            return Err(ManifestError::Size);
        }
        Ok(self)
    }
}

impl<'b> FromCbor<'b> for Content {
    type Error = ManifestError;

    fn from_cbor(d: &mut Decoder<'b>) -> Result<Self, ManifestError> {
        d.array(2)?;
        Self::new(d.u64()?, Digest::new(d.array_of()?))
    }
}

impl ToCbor for Content {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        e.array(2).u64(self.size).bytes(self.digest);
    }
}

/// What a release is for one device type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// The device type.
    pub device_type: Label<'a>,
    /// The inventory that a device of this type has after the release was installed.
    pub inventory: Option<Content>,
    /// Bit i is set when devices of this type take payload i.
    payloads: u16,
}

impl<'b> FromCbor<'b> for Target<'b> {
    type Error = ManifestError;

    fn from_cbor(d: &mut Decoder<'b>) -> Result<Self, ManifestError> {
        d.array(3)?;
        Ok(Self {
            device_type: Label::from_cbor(d)?,
            inventory: d.optional(|d| Content::from_cbor(d)?.at_most(INVENTORY_BYTES_MAX))?,
            payloads: d.u16()?,
        })
    }
}

impl ToCbor for Target<'_> {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        e.array(3);
        self.device_type.to_cbor(e);
        e.optional(self.inventory, |e, content| content.to_cbor(e));
        e.u64(self.payloads.into());
    }
}

/// A file of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    /// Its name.
    pub name: Label<'a>,
    /// What it is to the updater ("tar", "raw", "raucb", …).
    pub format: Label<'a>,
    /// Its size and digest.
    pub content: Content,
    /// The index of the chunks that it is made of.
    pub chunk_index: Option<Content>,
}

impl<'b> FromCbor<'b> for Payload<'b> {
    type Error = ManifestError;

    fn from_cbor(d: &mut Decoder<'b>) -> Result<Self, ManifestError> {
        d.array(4)?;
        Ok(Self {
            name: Label::from_cbor(d)?,
            format: Label::from_cbor(d)?,
            content: Content::from_cbor(d)?,
            chunk_index: d.optional(|d| Content::from_cbor(d)?.at_most(CHUNK_INDEX_BYTES_MAX))?,
        })
    }
}

impl ToCbor for Payload<'_> {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        e.array(4);
        self.name.to_cbor(e);
        self.format.to_cbor(e);
        self.content.to_cbor(e);
        e.optional(self.chunk_index, |e, content| content.to_cbor(e));
    }
}

/// Something that goes with a release and is not installed, such as its bill of materials ("sbom").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Document<'a> {
    /// What it is.
    pub kind: Label<'a>,
    /// Its size and digest.
    pub content: Content,
}

impl<'b> FromCbor<'b> for Document<'b> {
    type Error = ManifestError;

    fn from_cbor(d: &mut Decoder<'b>) -> Result<Self, ManifestError> {
        d.array(2)?;
        Ok(Self {
            kind: Label::from_cbor(d)?,
            content: Content::from_cbor(d)?,
        })
    }
}

impl ToCbor for Document<'_> {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        e.array(2);
        self.kind.to_cbor(e);
        self.content.to_cbor(e);
    }
}

/// A list whose elements were decoded once and stay where they are, so that no allocator is needed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct List<'a, T> {
    elements: &'a [u8],
    count: usize,
    kind: PhantomData<T>,
}

impl<T> Clone for List<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for List<'_, T> {}

impl<'a, T: FromCbor<'a> + 'a> List<'a, T> {
    pub(super) fn read(
        d: &mut Decoder<'a>,
        bounds: core::ops::RangeInclusive<usize>,
    ) -> Result<Self, T::Error> {
        let count = d.list(bounds)?;
        let start = d.position();
        for _ in 0..count {
            T::from_cbor(d)?;
        }
        Ok(Self {
            elements: d.since(start),
            count,
            kind: PhantomData,
        })
    }

    pub(super) const fn count(&self) -> usize {
        self.count
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = T> + Clone + use<'a, T> {
        let mut decoder = Decoder::new(self.elements);
        // They were decoded before, so none of them fails.
        (0..self.count).map_while(move |_| T::from_cbor(&mut decoder).ok())
    }
}

impl<'a, T: FromCbor<'a> + ToCbor + 'a> ToCbor for List<'a, T> {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        e.array(self.count);
        for element in self.iter() {
            element.to_cbor(e);
        }
    }
}

/// What stands in a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Body<'a> {
    org: OrgId,
    name: Label<'a>,
    version: Label<'a>,
    channel: Label<'a>,
    counter: u64,
    minimum_counter: u64,
    targets: List<'a, Target<'a>>,
    payloads: List<'a, Payload<'a>>,
    documents: List<'a, Document<'a>>,
}

impl Body<'_> {
    fn check(&self) -> Result<(), ManifestError> {
        if self.minimum_counter > self.counter {
            return Err(ManifestError::Counter);
        }
        let types = self.targets.iter().map(|target| target.device_type);
        let kinds = self.documents.iter().map(|document| document.kind);
        if !types.is_sorted_by(|a, b| a < b) || !kinds.is_sorted_by(|a, b| a < b) {
            return Err(ManifestError::Order);
        }
        for (at, payload) in self.payloads.iter().enumerate() {
            let mut earlier = self.payloads.iter().take(at);
            if earlier.any(|other| other.name == payload.name) {
                return Err(ManifestError::SameName);
            }
        }
        let taken = self.targets.iter().try_fold(0, |taken, target| {
            (target.payloads != 0).then_some(taken | target.payloads)
        });
        let there = u32::try_from(self.payloads.count())
            .ok()
            .and_then(|count| u16::MAX.checked_shr(u16::BITS.saturating_sub(count)));
        if taken.is_none() || taken != there {
            return Err(ManifestError::Taken);
        }
        Ok(())
    }
}

impl<'b> FromCbor<'b> for Body<'b> {
    type Error = ManifestError;

    fn from_cbor(d: &mut Decoder<'b>) -> Result<Self, ManifestError> {
        d.array(10)?;
        if d.u64()? != VERSION {
            return Err(ManifestError::Version);
        }
        let body = Self {
            org: OrgId::new(d.array_of()?),
            name: Label::from_cbor(d)?,
            version: Label::from_cbor(d)?,
            channel: Label::from_cbor(d)?,
            counter: d.u64()?,
            minimum_counter: d.u64()?,
            targets: List::read(d, 1..=TARGETS_MAX)?,
            payloads: List::read(d, 1..=PAYLOADS_MAX)?,
            documents: List::read(d, 0..=DOCUMENTS_MAX)?,
        };
        body.check()?;
        Ok(body)
    }
}

impl ToCbor for Body<'_> {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        e.array(10).u64(VERSION).bytes(self.org);
        self.name.to_cbor(e);
        self.version.to_cbor(e);
        self.channel.to_cbor(e);
        e.u64(self.counter).u64(self.minimum_counter);
        self.targets.to_cbor(e);
        self.payloads.to_cbor(e);
        self.documents.to_cbor(e);
    }
}

/// A decoded manifest with the bytes that it came as: its form is checked, nothing is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manifest<'a> {
    bytes: &'a [u8],
    digest: Digest,
    body: Body<'a>,
}

impl<'a> Manifest<'a> {
    /// Decodes a manifest.
    ///
    /// # Errors
    /// The first rule of form broken.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(ManifestError::TooLong);
        }
        Ok(Self {
            body: decode_canonical(bytes)?,
            digest: Digest::of(bytes),
            bytes,
        })
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The release digest: SHA-256 of the bytes. The release stands on the ledger under it.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Whose release it is.
    #[must_use]
    pub const fn org(&self) -> OrgId {
        self.body.org
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> Label<'a> {
        self.body.name
    }

    /// Its version, for people.
    #[must_use]
    pub const fn version(&self) -> Label<'a> {
        self.body.version
    }

    /// Its channel.
    #[must_use]
    pub const fn channel(&self) -> Label<'a> {
        self.body.channel
    }

    /// How many holes are closed up to it: devices whose counter is above this refuse it.
    #[must_use]
    pub const fn counter(&self) -> u64 {
        self.body.counter
    }

    /// What a device's counter rises to when it commits the release; at most [`counter`](Self::counter).
    #[must_use]
    pub const fn minimum_counter(&self) -> u64 {
        self.body.minimum_counter
    }

    /// The device types that it is for, ascending.
    pub fn targets(&self) -> impl Iterator<Item = Target<'a>> + Clone + use<'a> {
        self.body.targets.iter()
    }

    /// What it is for devices of this type, if it is for them.
    #[must_use]
    pub fn target(&self, device_type: &Label<'_>) -> Option<Target<'a>> {
        self.targets()
            .find(|target| target.device_type.as_str() == device_type.as_str())
    }

    /// All payloads, in the order in which they are installed.
    pub fn payloads(&self) -> impl Iterator<Item = Payload<'a>> + Clone + use<'a> {
        self.body.payloads.iter()
    }

    /// The payloads that a target takes, in the order in which they are installed.
    pub fn payloads_of(
        &self,
        target: &Target<'_>,
    ) -> impl Iterator<Item = Payload<'a>> + Clone + use<'a> {
        let taken = target.payloads;
        (0u32..)
            .zip(self.payloads())
            .filter(move |(index, _)| taken.checked_shr(*index).unwrap_or(0) & 1 == 1)
            .map(|(_, payload)| payload)
    }

    /// What goes with the release and is not installed, ascending by kind.
    pub fn documents(&self) -> impl Iterator<Item = Document<'a>> + Clone + use<'a> {
        self.body.documents.iter()
    }

    /// What a release key signs.
    #[must_use]
    pub fn statement(&self, chain: &ChainId, signer: &Handle) -> Statement {
        Statement::new(
            chain,
            signer,
            Purpose::Art,
            StatementKind::Release,
            &[self.bytes],
        )
    }
}
