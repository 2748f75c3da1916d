//! Strict, canonical CBOR on top of minicbor (spec/README.md, conventions; RFC 8949, 4.2.1).
//!
//! [`Decoder`] accepts one encoding of each value: definite lengths, shortest forms, exact array lengths, bounds on every
//! string and list. [`decode_canonical`] adds the last two rules, no trailing bytes and re-encoding gives the same bytes,
//! and is the door through which all CBOR of kusabi comes in. Neither needs an allocator.
//!
//! Maps and floats are not offered, because no format here has them (COSE brings its own maps, see `evidence`).

use core::convert::Infallible;
use core::fmt;
use core::ops::RangeInclusive;

use crate::id::{Height, IdError};
use crate::wire::Sink;

/// Why CBOR was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u16)]
pub enum CborError {
    /// The input ended before the value did.
    Short = 0x0501,
    /// Another type of value was expected here (or one of indefinite length was found).
    Type = 0x0502,
    /// A number or length is not in its shortest form.
    NotShortest = 0x0503,
    /// An array does not have the elements that the format names.
    ArrayLength = 0x0504,
    /// A list, string or number is outside its bounds.
    OutOfBounds = 0x0505,
    /// Text is not UTF-8.
    Utf8 = 0x0506,
    /// Bytes are left after the value.
    Trailing = 0x0507,
    /// The value, encoded again, gives other bytes.
    NotCanonical = 0x0508,
}

impl fmt::Display for CborError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "the CBOR ends too early",
            Self::Type => "the CBOR holds another type than the format has here",
            Self::NotShortest => "a number or length in the CBOR is not in its shortest form",
            Self::ArrayLength => "a CBOR array has the wrong number of elements",
            Self::OutOfBounds => "a list, string or number in the CBOR is outside its bounds",
            Self::Utf8 => "a text in the CBOR is not UTF-8",
            Self::Trailing => "there are bytes after the end of the CBOR",
            Self::NotCanonical => "the CBOR is not in canonical form",
        })
    }
}

impl core::error::Error for CborError {}

crate::code::codes!(CborError {
    Short,
    Type,
    NotShortest,
    ArrayLength,
    OutOfBounds,
    Utf8,
    Trailing,
    NotCanonical,
});

impl From<minicbor::decode::Error> for CborError {
    fn from(error: minicbor::decode::Error) -> Self {
        if error.is_end_of_input() {
            Self::Short
        } else {
            Self::Type
        }
    }
}

impl From<IdError> for CborError {
    fn from(_: IdError) -> Self {
        Self::OutOfBounds
    }
}

/// A type with one CBOR encoding; the other half is [`ToCbor`].
pub trait FromCbor<'b>: Sized {
    /// What can be wrong with it.
    type Error: From<CborError>;

    /// Reads one value; leaves what follows it.
    ///
    /// # Errors
    /// The first rule that the bytes break.
    fn from_cbor(d: &mut Decoder<'b>) -> Result<Self, Self::Error>;
}

/// A type with one CBOR encoding; the other half is [`FromCbor`].
pub trait ToCbor {
    /// Writes the value.
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>);

    /// The encoding.
    #[cfg(feature = "alloc")]
    fn to_cbor_vec(&self) -> alloc::vec::Vec<u8> {
        let mut bytes = alloc::vec::Vec::new();
        self.to_cbor(&mut Encoder::new(&mut bytes));
        bytes
    }
}

/// Decodes a whole byte string and refuses it unless encoding the value again gives the same bytes.
///
/// # Errors
/// [`CborError::Trailing`], [`CborError::NotCanonical`] and those of the type.
pub fn decode_canonical<'b, T: FromCbor<'b> + ToCbor>(bytes: &'b [u8]) -> Result<T, T::Error> {
    let mut decoder = Decoder::new(bytes);
    let value = T::from_cbor(&mut decoder)?;
    decoder.finish()?;
    let mut same = Same {
        rest: bytes,
        same: true,
    };
    value.to_cbor(&mut Encoder::new(&mut same));
    if same.same && same.rest.is_empty() {
        Ok(value)
    } else {
        Err(CborError::NotCanonical.into())
    }
}

/// A sink that compares instead of storing.
struct Same<'a> {
    rest: &'a [u8],
    same: bool,
}

impl Sink for Same<'_> {
    fn put(&mut self, bytes: &[u8]) {
        match self.rest.strip_prefix(bytes) {
            Some(rest) => self.rest = rest,
            None => self.same = false,
        }
    }
}

/// Reads canonical CBOR from the front of a byte slice.
#[derive(Debug, Clone)]
pub struct Decoder<'b> {
    inner: minicbor::Decoder<'b>,
}

impl<'b> Decoder<'b> {
    /// Starts at the front of `bytes`.
    #[must_use]
    pub fn new(bytes: &'b [u8]) -> Self {
        Self {
            inner: minicbor::Decoder::new(bytes),
        }
    }

    /// How many bytes were read.
    #[must_use]
    pub fn position(&self) -> usize {
        self.inner.position()
    }

    /// The bytes read since `start`, a former [`position`](Self::position): what a signature covers is taken as
    /// received.
    #[must_use]
    pub fn since(&self, start: usize) -> &'b [u8] {
        self.inner
            .input()
            .get(start..self.position())
            .unwrap_or(&[])
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`CborError::Trailing`] when bytes are left.
    pub fn finish(self) -> Result<(), CborError> {
        if self.position() == self.inner.input().len() {
            Ok(())
        } else {
            Err(CborError::Trailing)
        }
    }

    /// An unsigned number.
    ///
    /// # Errors
    /// [`CborError::Short`], [`CborError::Type`], [`CborError::NotShortest`]
    pub fn u64(&mut self) -> Result<u64, CborError> {
        let start = self.position();
        let number = self.inner.u64()?;
        self.check_head(start, number, 0)?;
        Ok(number)
    }

    /// An unsigned number up to 2^32 − 1.
    ///
    /// # Errors
    /// As [`u64`](Self::u64), and [`CborError::OutOfBounds`].
    pub fn u32(&mut self) -> Result<u32, CborError> {
        u32::try_from(self.u64()?).map_err(|_| CborError::OutOfBounds)
    }

    /// An unsigned number up to 65,535.
    ///
    /// # Errors
    /// As [`u64`](Self::u64), and [`CborError::OutOfBounds`].
    pub fn u16(&mut self) -> Result<u16, CborError> {
        u16::try_from(self.u64()?).map_err(|_| CborError::OutOfBounds)
    }

    /// An unsigned number up to 255.
    ///
    /// # Errors
    /// As [`u64`](Self::u64), and [`CborError::OutOfBounds`].
    pub fn u8(&mut self) -> Result<u8, CborError> {
        u8::try_from(self.u64()?).map_err(|_| CborError::OutOfBounds)
    }

    /// A height.
    ///
    /// # Errors
    /// As [`u64`](Self::u64), and [`CborError::OutOfBounds`] from 2^48 on.
    pub fn height(&mut self) -> Result<Height, CborError> {
        Ok(Height::new(self.u64()?)?)
    }

    /// A signed number.
    ///
    /// # Errors
    /// As [`u64`](Self::u64), and [`CborError::OutOfBounds`] outside of `i64`.
    pub fn i64(&mut self) -> Result<i64, CborError> {
        let start = self.position();
        let number = i128::from(self.inner.int()?);
        let head = u64::try_from(if number < 0 { -1 - number } else { number })
            .map_err(|_| CborError::OutOfBounds)?;
        self.check_head(start, head, 0)?;
        i64::try_from(number).map_err(|_| CborError::OutOfBounds)
    }

    /// A byte string with a length in `bounds`.
    ///
    /// # Errors
    /// [`CborError::Short`], [`CborError::Type`], [`CborError::NotShortest`], [`CborError::OutOfBounds`]
    pub fn bytes(&mut self, bounds: RangeInclusive<usize>) -> Result<&'b [u8], CborError> {
        let start = self.position();
        let bytes = self.inner.bytes()?;
        self.check_head(start, bytes.len() as u64, bytes.len())?;
        check_bounds(bytes.len(), &bounds)?;
        Ok(bytes)
    }

    /// A byte string of exactly `N` bytes.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes).
    pub fn array_of<const N: usize>(&mut self) -> Result<[u8; N], CborError> {
        self.bytes(N..=N)?
            .try_into()
            .map_err(|_| CborError::OutOfBounds)
    }

    /// A text with a length in bytes within `bounds`.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes), and [`CborError::Utf8`].
    pub fn text(&mut self, bounds: RangeInclusive<usize>) -> Result<&'b str, CborError> {
        let start = self.position();
        let text = self.inner.str().map_err(|error| {
            if error.is_end_of_input() || error.is_type_mismatch() {
                CborError::from(error)
            } else {
                CborError::Utf8
            }
        })?;
        self.check_head(start, text.len() as u64, text.len())?;
        check_bounds(text.len(), &bounds)?;
        Ok(text)
    }

    /// The head of an array with exactly `len` elements, which the caller reads next.
    ///
    /// # Errors
    /// [`CborError::Short`], [`CborError::Type`], [`CborError::NotShortest`], [`CborError::ArrayLength`]
    pub fn array(&mut self, len: u64) -> Result<(), CborError> {
        if self.array_head()? == len {
            Ok(())
        } else {
            Err(CborError::ArrayLength)
        }
    }

    /// The head of a list with a number of elements in `bounds`; the caller reads that many next.
    ///
    /// # Errors
    /// [`CborError::Short`], [`CborError::Type`], [`CborError::NotShortest`], [`CborError::OutOfBounds`]
    pub fn list(&mut self, bounds: RangeInclusive<usize>) -> Result<usize, CborError> {
        let len = usize::try_from(self.array_head()?).map_err(|_| CborError::OutOfBounds)?;
        check_bounds(len, &bounds)?;
        Ok(len)
    }

    /// Whether `null` comes next; if so it is consumed.
    ///
    /// # Errors
    /// [`CborError::Short`], [`CborError::Type`]
    pub fn null(&mut self) -> Result<bool, CborError> {
        if self.inner.datatype()? == minicbor::data::Type::Null {
            self.inner.null()?;
            Ok(true)
        } else {
            Ok(false)
        }
    }

    /// A value or `null`.
    ///
    /// # Errors
    /// Those of `read`, [`CborError::Short`], [`CborError::Type`]
    pub fn optional<T, E: From<CborError>>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        if self.null()? {
            Ok(None)
        } else {
            read(self).map(Some)
        }
    }

    fn array_head(&mut self) -> Result<u64, CborError> {
        let start = self.position();
        let len = self.inner.array()?.ok_or(CborError::Type)?;
        self.check_head(start, len, 0)?;
        Ok(len)
    }

    /// Refuses a head that took more bytes than `number` needs; `content` bytes were read after it.
    fn check_head(&self, start: usize, number: u64, content: usize) -> Result<(), CborError> {
        let shortest = match number {
            0..=0x17 => 1,
            0x18..=0xff => 2,
            0x100..=0xffff => 3,
            0x1_0000..=0xffff_ffff => 5,
            _ => 9,
        };
        if self.position() - start - content == shortest {
            Ok(())
        } else {
            Err(CborError::NotShortest)
        }
    }
}

fn check_bounds(len: usize, bounds: &RangeInclusive<usize>) -> Result<(), CborError> {
    if bounds.contains(&len) {
        Ok(())
    } else {
        Err(CborError::OutOfBounds)
    }
}

/// Writes canonical CBOR into a [`Sink`].
pub struct Encoder<S> {
    inner: minicbor::Encoder<Adapter<S>>,
}

/// A [`Sink`] as minicbor sees it.
struct Adapter<S>(S);

impl<S: Sink> minicbor::encode::Write for Adapter<S> {
    type Error = Infallible;

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        self.0.put(bytes);
        Ok(())
    }
}

impl<S: Sink> Encoder<S> {
    /// Writes to `sink`.
    pub fn new(sink: S) -> Self {
        Self {
            inner: minicbor::Encoder::new(Adapter(sink)),
        }
    }

    /// An unsigned number.
    pub fn u64(&mut self, number: u64) -> &mut Self {
        certain(self.inner.u64(number).is_ok());
        self
    }

    /// A signed number.
    pub fn i64(&mut self, number: i64) -> &mut Self {
        certain(self.inner.i64(number).is_ok());
        self
    }

    /// A byte string.
    pub fn bytes(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        certain(self.inner.bytes(bytes.as_ref()).is_ok());
        self
    }

    /// The head of a byte string; its `len` bytes come next, from elsewhere.
    pub fn bytes_head(&mut self, len: usize) -> &mut Self {
        certain(self.inner.bytes_len(len as u64).is_ok());
        self
    }

    /// A text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        certain(self.inner.str(text).is_ok());
        self
    }

    /// The head of an array; its `len` elements come next.
    pub fn array(&mut self, len: usize) -> &mut Self {
        certain(self.inner.array(len as u64).is_ok());
        self
    }

    /// The head of a map; its `len` pairs come next, in the order of RFC 8949, 4.2.1.
    pub fn map(&mut self, len: usize) -> &mut Self {
        certain(self.inner.map(len as u64).is_ok());
        self
    }

    /// `null`.
    pub fn null(&mut self) -> &mut Self {
        certain(self.inner.null().is_ok());
        self
    }

    /// A value, or `null` for none.
    pub fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) -> &mut Self {
        match value {
            Some(value) => write(self, value),
            None => {
                self.null();
            }
        }
        self
    }
}

/// Writing into a sink cannot fail; minicbor's type does not know it.
fn certain(ok: bool) {
    debug_assert!(ok, "a sink refused bytes");
}

/// How many bytes a value is in CBOR.
#[must_use]
pub fn encoded_len(value: &impl ToCbor) -> usize {
    struct Count(usize);
    impl Sink for Count {
        fn put(&mut self, bytes: &[u8]) {
            self.0 = self.0.saturating_add(bytes.len());
        }
    }
    let mut count = Count(0);
    value.to_cbor(&mut Encoder::new(&mut count));
    count.0
}

impl<S> fmt::Debug for Encoder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Encoder")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// `[number, text / null, [* bytes]]`
    #[derive(Debug, PartialEq)]
    struct Sample<'b> {
        number: u64,
        text: Option<&'b str>,
        list: Vec<&'b [u8]>,
    }

    impl<'b> FromCbor<'b> for Sample<'b> {
        type Error = CborError;

        fn from_cbor(d: &mut Decoder<'b>) -> Result<Self, CborError> {
            d.array(3)?;
            Ok(Self {
                number: d.u64()?,
                text: d.optional(|d| d.text(1..=4))?,
                list: (0..d.list(0..=2)?)
                    .map(|_| d.bytes(0..=300))
                    .collect::<Result<_, _>>()?,
            })
        }
    }

    impl ToCbor for Sample<'_> {
        fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
            e.array(3).u64(self.number);
            e.optional(self.text, |e, text| {
                e.text(text);
            });
            e.array(self.list.len());
            for bytes in &self.list {
                e.bytes(bytes);
            }
        }
    }

    fn encode(sample: &Sample<'_>) -> Vec<u8> {
        let mut bytes = [0; 1024];
        let mut writer = crate::wire::Writer::new(&mut bytes);
        sample.to_cbor(&mut Encoder::new(&mut writer));
        let len = writer.finish().unwrap();
        bytes[..len].to_vec()
    }

    #[test]
    fn round_trips() {
        for number in [0, 23, 24, 255, 256, 65_535, 65_536, 1 << 32, u64::MAX] {
            let sample = Sample {
                number,
                text: Some("ab"),
                list: std::vec![&[1; 23][..], &[2; 256][..]],
            };
            assert_eq!(decode_canonical::<Sample<'_>>(&encode(&sample)), Ok(sample));
        }
    }

    #[test]
    fn refuses_each_other_form() {
        let cases: &[(&[u8], CborError)] = &[
            (b"\x83\x05\xf6\x80\x00", CborError::Trailing),
            (b"\x83\x05\xf6", CborError::Short),
            (b"\x83\x18\x05\xf6\x80", CborError::NotShortest),
            (b"\x83\x19\x00\xff\xf6\x80", CborError::NotShortest),
            (b"\x98\x03\x05\xf6\x80", CborError::NotShortest),
            (b"\x83\x05\x78\x01a\x80", CborError::NotShortest),
            (b"\x83\x05\xf6\x81\x58\x01\x00", CborError::NotShortest),
            (b"\x9f\x05\xf6\x80\xff", CborError::Type),
            (b"\x83\x05\xf6\x9f\xff", CborError::Type),
            (b"\x83\x05\x7f\x61a\xff\x80", CborError::Type),
            (b"\x83\x05\xf6\x81\x5f\x41a\xff", CborError::Type),
            (b"\x83\x20\xf6\x80", CborError::Type),
            (b"\x83\xf9\x00\x00\xf6\x80", CborError::Type),
            (b"\xc1\x83\x05\xf6\x80", CborError::Type),
            (b"\x83\x05\xf7\x80", CborError::Type),
            (b"\x83\x05\x61\xff\x80", CborError::Utf8),
            (b"\x83\x05\x60\x80", CborError::OutOfBounds),
            (b"\x83\x05\x65abcde\x80", CborError::OutOfBounds),
            (b"\x83\x05\xf6\x83\x40\x40\x40", CborError::OutOfBounds),
            (b"\x82\x05\xf6", CborError::ArrayLength),
            (b"\x84\x05\xf6\x80\x00", CborError::ArrayLength),
            (
                b"\x83\x05\xf6\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
                CborError::OutOfBounds,
            ),
            (
                b"\x83\x05\xf6\x81\x5b\xff\xff\xff\xff\xff\xff\xff\xff",
                CborError::Short,
            ),
            (b"", CborError::Short),
        ];
        for (bytes, error) in cases {
            assert_eq!(
                decode_canonical::<Sample<'_>>(bytes),
                Err(*error),
                "{bytes:02x?}"
            );
        }
    }

    #[test]
    fn signed_numbers_round_trip_in_their_shortest_form() {
        for number in [0, -1, -24, -25, -256, -257, i64::MIN, i64::MAX] {
            let mut bytes = [0; 9];
            let mut writer = crate::wire::Writer::new(&mut bytes);
            Encoder::new(&mut writer).i64(number);
            let len = writer.finish().unwrap();
            let mut d = Decoder::new(&bytes[..len]);
            assert_eq!(d.i64(), Ok(number));
            assert_eq!(d.finish(), Ok(()));
        }
        assert_eq!(Decoder::new(b"\x38\x07").i64(), Err(CborError::NotShortest));
        assert_eq!(
            Decoder::new(b"\x3b\xff\xff\xff\xff\xff\xff\xff\xff").i64(),
            Err(CborError::OutOfBounds)
        );
    }

    /// A type that reads what its encoder does not write is refused by the last rule, whatever its reader let through.
    #[test]
    fn refuses_what_encodes_differently() {
        #[derive(Debug, PartialEq)]
        struct Lax;
        impl FromCbor<'_> for Lax {
            type Error = CborError;
            fn from_cbor(d: &mut Decoder<'_>) -> Result<Self, CborError> {
                d.u64().map(|_| Self)
            }
        }
        impl ToCbor for Lax {
            fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
                e.u64(1);
            }
        }
        assert_eq!(decode_canonical::<Lax>(&[1]), Ok(Lax));
        assert_eq!(decode_canonical::<Lax>(&[2]), Err(CborError::NotCanonical));
    }
}
