//! The artifact's bytes as they come: counted, bounded, and with a memory of what went wrong, as decoders between here and the
//! reader pass on that something did and not what.

use std::io::{self, BufRead, Read};

const BUFFER_BYTES: usize = 128 << 10;

pub(crate) struct Source<R> {
    input: R,
    buffer: Box<[u8]>,
    /// What of the buffer is to be read.
    start: usize,
    end: usize,
    /// How many bytes were taken out of the buffer.
    offset: u64,
    bytes_max: u64,
    failed: Option<Failed>,
}

pub(crate) enum Failed {
    Input(io::Error),
    TooMany(u64),
}

impl<R: Read> Source<R> {
    pub(crate) fn new(input: R, bytes_max: u64) -> Self {
        Self {
            input,
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
            start: 0,
            end: 0,
            offset: 0,
            bytes_max,
            failed: None,
        }
    }

    /// How many bytes were read of it, those that are not used yet included.
    pub(crate) fn arrived(&self) -> u64 {
        self.offset
            .saturating_add(self.end.saturating_sub(self.start) as u64)
    }

    pub(crate) fn take_failure(&mut self) -> Option<Failed> {
        self.failed.take()
    }

    fn fail(&mut self, failed: Failed) -> io::Error {
        self.failed = Some(failed);
        io::Error::other("the artifact could not be read")
    }
}

impl<R: Read> BufRead for Source<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            self.end = loop {
                match self.input.read(&mut self.buffer) {
                    Ok(count) => break count.min(self.buffer.len()),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(self.fail(Failed::Input(error))),
                }
            };
            if self.arrived() > self.bytes_max {
                return Err(self.fail(Failed::TooMany(self.bytes_max)));
            }
        }
        Ok(self.buffer.get(self.start..self.end).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        let amount = amount.min(self.end.saturating_sub(self.start));
        self.start = self.start.saturating_add(amount);
        self.offset = self.offset.saturating_add(amount as u64);
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, to)
    }
}

/// `read` of whatever has a buffer.
pub(crate) fn read_buffered(from: &mut impl BufRead, to: &mut [u8]) -> io::Result<usize> {
    let count = from.fill_buf()?.read(to)?;
    from.consume(count);
    Ok(count)
}
