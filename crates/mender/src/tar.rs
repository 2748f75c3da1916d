//! A strict reader of tars, for the artifact itself and those in it.
//!
//! The crate `tar` reads for extraction: the end of the input ends a tar for it, long names are held whatever their size, and
//! numbers, magic, padding and what follows the end are taken as they come. Here a tar has one spelling: ustar (POSIX.1-1988), plain
//! files, two blocks of zeros at the end and nothing behind them. Before a file there may be one extended header (POSIX.1-2001) with
//! the records that Go's writer, which mender-artifact uses, needs for an owner, a size or a name that does not fit.

use std::io::{self, BufRead, Read};

use crate::{error::TarFault, source::read_buffered};

const BLOCK: usize = 512;
/// Extended headers of mender-artifact have a record or two.
const EXTENDED_BYTES_MAX: u64 = 2048;

pub(crate) struct Tar<R> {
    input: R,
    /// Bytes of the current file that are to come, and those that fill its last block.
    rest: u64,
    padding: usize,
    cut: bool,
}

/// A file in a tar, whose bytes come next.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) size: u64,
}

#[derive(Debug)]
pub(crate) enum TarError {
    /// Of what the tar is read from.
    Io(io::Error),
    Fault(TarFault),
    /// Bytes behind the end.
    Trailing,
}

impl From<TarFault> for TarError {
    fn from(fault: TarFault) -> Self {
        Self::Fault(fault)
    }
}

impl<R: BufRead> Tar<R> {
    pub(crate) const fn new(input: R) -> Self {
        Self {
            input,
            rest: 0,
            padding: 0,
            cut: false,
        }
    }

    /// Whether the input ended before the tar did.
    pub(crate) const fn is_cut(&self) -> bool {
        self.cut
    }

    pub(crate) const fn input_mut(&mut self) -> &mut R {
        &mut self.input
    }

    pub(crate) fn into_input(self) -> R {
        self.input
    }

    /// The next file; none is left once the tar's end was read, with nothing behind it. The one before it was read to its end.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, TarError> {
        io::copy(self, &mut io::sink()).map_err(TarError::Io)?;
        let mut padding = [0; BLOCK];
        let padding = padding.get_mut(..self.padding).unwrap_or_default();
        self.fill(padding)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(TarFault::Padding.into());
        }
        self.padding = 0;

        let Some(mut header) = self.header()? else {
            return self.end().map(|()| None);
        };
        let mut extended = Extended::default();
        if header.kind == b'x' {
            extended = self.extended(header.size)?;
            header = self.header()?.ok_or(TarFault::Extended)?;
        }
        if header.kind != b'0' {
            return Err(match header.kind {
                b'x' | b'g' | b'L' | b'K' => TarFault::Extended,
                _ => TarFault::Kind,
            }
            .into());
        }
        let size = extended.size.unwrap_or(header.size);
        self.begin(size);
        Ok(Some(Entry {
            name: extended.name.unwrap_or(header.name),
            size,
        }))
    }

    fn begin(&mut self, size: u64) {
        self.rest = size;
        let over = usize::try_from(size % BLOCK as u64).unwrap_or_default();
        self.padding = if over == 0 { 0 } else { BLOCK - over };
    }

    /// The second block of zeros, and nothing more.
    fn end(&mut self) -> Result<(), TarError> {
        let mut block = [0; BLOCK];
        self.fill(&mut block)?;
        if block != [0; BLOCK] {
            return Err(TarFault::Padding.into());
        }
        match self.input.fill_buf().map_err(TarError::Io)? {
            [] => Ok(()),
            _ => Err(TarError::Trailing),
        }
    }

    /// Fills `to` from the input, whatever file that is of.
    fn fill(&mut self, to: &mut [u8]) -> Result<(), TarError> {
        match self.input.read_exact(to) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && self.at_end() => {
                self.cut = true;
                Err(TarFault::Cut.into())
            }
            Err(error) => Err(TarError::Io(error)),
        }
    }

    /// Whether the input is at its end, and not only says so of something in it.
    fn at_end(&mut self) -> bool {
        self.input.fill_buf().is_ok_and(<[u8]>::is_empty)
    }

    fn header(&mut self) -> Result<Option<Header>, TarError> {
        let mut block = [0; BLOCK];
        self.fill(&mut block)?;
        if block == [0; BLOCK] {
            return Ok(None);
        }
        Ok(Some(Header::read(&block)?))
    }

    fn extended(&mut self, size: u64) -> Result<Extended, TarError> {
        if size == 0 || size > EXTENDED_BYTES_MAX {
            return Err(TarFault::Extended.into());
        }
        self.begin(size);
        let mut records = vec![0; usize::try_from(size).unwrap_or_default()];
        self.fill(&mut records)?;
        self.rest = 0;
        let mut padding = vec![0; self.padding];
        self.fill(&mut padding)?;
        self.padding = 0;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(TarFault::Padding.into());
        }
        Ok(Extended::read(&records)?)
    }
}

/// The bytes of the current file.
impl<R: BufRead> BufRead for Tar<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.rest == 0 {
            return Ok(&[]);
        }
        let buffer = self.input.fill_buf()?;
        if buffer.is_empty() {
            self.cut = true;
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let most = usize::try_from(self.rest).unwrap_or(usize::MAX);
        Ok(buffer.get(..most).unwrap_or(buffer))
    }

    fn consume(&mut self, amount: usize) {
        self.rest = self.rest.saturating_sub(amount as u64);
        self.input.consume(amount);
    }
}

impl<R: BufRead> Read for Tar<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, to)
    }
}

struct Header {
    name: String,
    size: u64,
    kind: u8,
}

impl Header {
    fn read(block: &[u8; BLOCK]) -> Result<Self, TarFault> {
        let field = |start: usize, length: usize| {
            block
                .get(start..start.saturating_add(length))
                .unwrap_or_default()
        };
        let sum = block
            .iter()
            .enumerate()
            .map(|(at, byte)| match at {
                // The sum's own field counts as spaces.
                148..156 => u64::from(b' '),
                _ => u64::from(*byte),
            })
            .sum();
        if octal(field(148, 8)) != Some(sum) {
            return Err(TarFault::Sum);
        }
        if field(257, 8) != b"ustar\x0000" {
            return Err(TarFault::Ustar);
        }
        let kind = block.get(156).copied().unwrap_or_default();
        // Mode, owner, group, time, and the numbers of a device: of no interest, but of one form.
        for (start, length) in [(100, 8), (108, 8), (116, 8), (136, 12), (329, 8), (337, 8)] {
            octal(field(start, length)).ok_or(TarFault::Number)?;
        }
        let size = octal(field(124, 12)).ok_or(TarFault::Number)?;
        if matches!(kind, b'0') && field(157, 100).iter().any(|byte| *byte != 0) {
            return Err(TarFault::Kind);
        }
        let name = text(field(0, 100))?;
        let name = match text(field(345, 155))? {
            "" => name.to_owned(),
            prefix => format!("{prefix}/{name}"),
        };
        if name.is_empty() {
            return Err(TarFault::Name);
        }
        Ok(Self { name, size, kind })
    }
}

/// Octal digits up to a zero byte or a space, and nothing but those behind them; an empty field is 0.
fn octal(field: &[u8]) -> Option<u64> {
    let digits = field
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(field.len());
    let (digits, rest) = field.split_at_checked(digits)?;
    if rest.iter().any(|byte| !matches!(byte, 0 | b' ')) {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 8)?;
        number.checked_mul(8)?.checked_add(digit.into())
    })
}

/// Text up to a zero byte, and nothing but those behind it.
fn text(field: &[u8]) -> Result<&str, TarFault> {
    let end = field
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(field.len());
    let (text, rest) = field.split_at_checked(end).ok_or(TarFault::Name)?;
    if rest.iter().any(|byte| *byte != 0) {
        return Err(TarFault::Name);
    }
    str::from_utf8(text).map_err(|_| TarFault::Name)
}

/// What of an extended header matters; owners do not.
#[derive(Default)]
struct Extended {
    name: Option<String>,
    size: Option<u64>,
}

impl Extended {
    fn read(mut records: &[u8]) -> Result<Self, TarFault> {
        let mut extended = Self::default();
        let mut seen = Vec::new();
        while !records.is_empty() {
            let (key, value) = record(&mut records).ok_or(TarFault::Extended)?;
            if seen.contains(&key) {
                return Err(TarFault::Extended);
            }
            seen.push(key);
            match key {
                "path" if !value.is_empty() && !value.contains('\0') => {
                    extended.name = Some(value.to_owned());
                }
                "size" => extended.size = Some(decimal(value).ok_or(TarFault::Extended)?),
                "uid" | "gid" | "uname" | "gname" => {}
                _ => return Err(TarFault::Extended),
            }
        }
        Ok(extended)
    }
}

/// `LENGTH KEY=VALUE\n`, the length counting itself.
fn record<'a>(records: &mut &'a [u8]) -> Option<(&'a str, &'a str)> {
    let space = records.iter().position(|byte| *byte == b' ')?;
    let length = decimal(str::from_utf8(records.get(..space)?).ok()?)?;
    let (record, rest) = records.split_at_checked(usize::try_from(length).ok()?)?;
    let text = str::from_utf8(record.get(space.checked_add(1)?..)?).ok()?;
    *records = rest;
    text.strip_suffix('\n')?.split_once('=')
}

/// A number without sign and leading zeros.
fn decimal(text: &str) -> Option<u64> {
    let canonical =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| canonical)
}
