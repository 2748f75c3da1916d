//! A cursor over fixed-layout bytes: the reader and writer of every binary format here (spec/README.md, conventions).
//!
//! All integers are unsigned and big-endian. A reader that was not read to its end is an error ([`Reader::finish`]), so
//! that no two byte strings mean the same.
//! It does not know any format: bounds of lists and meanings of values are checked by the type that is decoded.

use core::fmt;

/// Why bytes of a fixed layout were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u16)]
pub enum WireError {
    /// The input ended before the value did.
    Short = 0x0101,
    /// Bytes are left after the last value.
    Trailing = 0x0102,
    /// The output buffer is too small.
    Full = 0x0103,
    /// A value does not fit its field (for instance a height of 2^48 or more).
    OutOfRange = 0x0104,
    /// Padding that must be zero is not.
    Padding = 0x0105,
    /// A flag is neither 0 nor 1.
    Flag = 0x0106,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "the bytes end too early",
            Self::Trailing => "there are bytes after the end",
            Self::Full => "the output buffer is too small",
            Self::OutOfRange => "a value does not fit its field",
            Self::Padding => "padding bytes are not zero",
            Self::Flag => "a flag is neither 0 nor 1",
        })
    }
}

impl core::error::Error for WireError {}

crate::code::codes!(WireError {
    Short,
    Trailing,
    Full,
    OutOfRange,
    Padding,
    Flag,
});

/// Largest value of a `u48` field, plus one.
pub const U48_END: u64 = 1 << 48;

/// Reads values from the front of a byte slice; borrowed parts keep the slice's lifetime.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the front of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not read yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `len` bytes, borrowed.
    ///
    /// # Errors
    /// [`WireError::Short`]; nothing is consumed then.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(WireError::Short)?;
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes, copied.
    ///
    /// # Errors
    /// [`WireError::Short`]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(WireError::Short)?;
        self.rest = rest;
        Ok(*head)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`WireError::Short`]
    pub fn u8(&mut self) -> Result<u8, WireError> {
        self.array().map(u8::from_be_bytes)
    }

    /// Two bytes.
    ///
    /// # Errors
    /// [`WireError::Short`]
    pub fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes.
    ///
    /// # Errors
    /// [`WireError::Short`]
    pub fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Six bytes.
    ///
    /// # Errors
    /// [`WireError::Short`]
    pub fn u48(&mut self) -> Result<u64, WireError> {
        let [a, b, c, d, e, f] = self.array()?;
        Ok(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// [`WireError::Short`]
    pub fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_be_bytes)
    }

    /// One byte that is 0 or 1.
    ///
    /// # Errors
    /// [`WireError::Short`], [`WireError::Flag`]
    pub fn flag(&mut self) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError::Flag),
        }
    }

    /// `len` bytes of padding.
    ///
    /// # Errors
    /// [`WireError::Short`], [`WireError::Padding`]
    pub fn zeros(&mut self, len: usize) -> Result<(), WireError> {
        if self.bytes(len)?.iter().all(|byte| *byte == 0) {
            Ok(())
        } else {
            Err(WireError::Padding)
        }
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`WireError::Trailing`] when bytes are left.
    pub const fn finish(self) -> Result<(), WireError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(WireError::Trailing)
        }
    }
}

/// Where encoded bytes go: a [`Writer`] over a buffer, a [`Hasher`](crate::crypto::Hasher), a `Vec` (feature `alloc`).
///
/// One encoder per type, written against this trait, serves all three; putting never fails (a full [`Writer`] remembers
/// it and says so at the end).
pub trait Sink {
    /// Appends `bytes`.
    fn put(&mut self, bytes: &[u8]);

    /// Appends one byte.
    fn u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    /// Appends two bytes.
    fn u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    /// Appends four bytes.
    fn u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    /// Appends the lower six bytes of `value`; the upper two are cut off, so the caller holds a value below 2^48
    /// (a [`Height`](crate::id::Height) is one by construction).
    fn u48(&mut self, value: u64) {
        debug_assert!(value < U48_END, "a u48 field got a larger value");
        let [_, _, low @ ..] = value.to_be_bytes();
        self.put(&low);
    }

    /// Appends eight bytes.
    fn u64(&mut self, value: u64) {
        self.put(&value.to_be_bytes());
    }

    /// Appends 0 or 1.
    fn flag(&mut self, value: bool) {
        self.put(&[u8::from(value)]);
    }

    /// Appends `len` zero bytes.
    fn zeros(&mut self, len: usize) {
        for _ in 0..len {
            self.put(&[0]);
        }
    }
}

impl<S: Sink + ?Sized> Sink for &mut S {
    fn put(&mut self, bytes: &[u8]) {
        (**self).put(bytes);
    }
}

#[cfg(feature = "alloc")]
impl Sink for alloc::vec::Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Writes values into a buffer of the caller.
#[derive(Debug)]
pub struct Writer<'a> {
    rest: &'a mut [u8],
    written: usize,
    full: bool,
}

impl<'a> Writer<'a> {
    /// Starts at the front of `buffer`.
    #[must_use]
    pub const fn new(buffer: &'a mut [u8]) -> Self {
        Self {
            rest: buffer,
            written: 0,
            full: false,
        }
    }

    /// How many bytes were written.
    ///
    /// # Errors
    /// [`WireError::Full`] when anything did not fit; the buffer's content is then of no use.
    pub const fn finish(self) -> Result<usize, WireError> {
        if self.full {
            Err(WireError::Full)
        } else {
            Ok(self.written)
        }
    }
}

impl Sink for Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let rest = core::mem::take(&mut self.rest);
        match rest.split_at_mut_checked(bytes.len()) {
            Some((head, rest)) if !self.full => {
                head.copy_from_slice(bytes);
                self.written = self.written.saturating_add(bytes.len());
                self.rest = rest;
            }
            _ => self.full = true,
        }
    }
}

/// Encodes a value of exactly `N` bytes. `encode` must write `N` bytes: what is missing stays zero, what is too much is
/// cut off, and both fail a debug assertion, because they are faults of the encoder and not of any input.
#[must_use]
pub fn fixed<const N: usize>(encode: impl FnOnce(&mut Writer<'_>)) -> [u8; N] {
    let mut buffer = [0; N];
    let mut writer = Writer::new(&mut buffer);
    encode(&mut writer);
    let written = writer.finish();
    debug_assert_eq!(written, Ok(N), "an encoder did not fill its fixed layout");
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_was_written() {
        let bytes: [u8; 27] = fixed(|w| {
            w.u8(1);
            w.u16(0x0203);
            w.u32(0x0405_0607);
            w.u48(0x0809_0a0b_0c0d);
            w.u64(0x0e0f_1011_1213_1415);
            w.flag(true);
            w.zeros(3);
            w.put(&[9, 8]);
        });
        let mut r = Reader::new(&bytes);
        assert_eq!(r.u8(), Ok(1));
        assert_eq!(r.u16(), Ok(0x0203));
        assert_eq!(r.u32(), Ok(0x0405_0607));
        assert_eq!(r.u48(), Ok(0x0809_0a0b_0c0d));
        assert_eq!(r.u64(), Ok(0x0e0f_1011_1213_1415));
        assert_eq!(r.flag(), Ok(true));
        assert_eq!(r.zeros(3), Ok(()));
        assert_eq!(r.clone().finish(), Err(WireError::Trailing));
        assert_eq!(r.bytes(3), Err(WireError::Short));
        assert_eq!(r.bytes(2), Ok(&[9, 8][..]));
        assert_eq!(r.u8(), Err(WireError::Short));
        assert_eq!(r.finish(), Ok(()));
    }

    #[test]
    fn refuses_flags_and_padding_that_are_not_canonical() {
        assert_eq!(Reader::new(&[2]).flag(), Err(WireError::Flag));
        assert_eq!(Reader::new(&[0, 1]).zeros(2), Err(WireError::Padding));
    }

    #[test]
    fn a_full_writer_stays_full() {
        let mut buffer = [0; 3];
        let mut w = Writer::new(&mut buffer);
        w.u16(1);
        w.u16(2);
        w.u8(3);
        assert_eq!(w.finish(), Err(WireError::Full));
    }
}
