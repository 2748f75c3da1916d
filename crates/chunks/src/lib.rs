//! Payloads in chunks: cut where their content says, compressed, and packed beside an index (spec/firmware.md, "Chunk index").
//!
//! Who makes a release and the device that looks through what it has cut with the same cutter, so that what did not change is cut
//! alike, wherever it moved. Both see one chunk at a time. Nothing here is trusted: a cut in another place costs bytes, no more.

#[cfg(feature = "pack")]
mod pack;

use std::io::{self, Read};

use fastcdc::v2020::{Normalization, StreamCDC};
use kusabi_core::release::CutSizes;

#[cfg(feature = "pack")]
pub use pack::{PackError, pack};

const KIB: u32 = 1 << 10;
const GIB: u64 = 1 << 30;
/// Payloads below this are fetched whole: an index and a request for each gap would cost as much, in bytes.
pub const PAYLOAD_BYTES_MIN: u64 = 1 << 20;

/// What a payload of so many bytes is cut with: as small as an index of about 65,536 chunks allows, for a change costs about a chunk more
/// than it has bytes; `None`: it pays not, or there would be
/// more than an index may have.
#[must_use]
pub fn sizes(payload_size: u64) -> Option<CutSizes> {
    let average = match payload_size {
        ..PAYLOAD_BYTES_MIN => return None,
        size if size <= GIB => 16 * KIB,
        size if size <= 2 * GIB => 32 * KIB,
        size if size <= 4 * GIB => 64 * KIB,
        size if size <= 8 * GIB => 128 * KIB,
        size if size <= 16 * GIB => 256 * KIB,
        _ => return None,
    };
    CutSizes::new(average / 4, average, average * 4).ok()
}

/// Cuts what is read. No more than two chunks are in memory.
pub fn cut<R: Read>(from: R, sizes: &CutSizes) -> impl Iterator<Item = io::Result<Vec<u8>>> {
    let size = |size: u32| usize::try_from(size).unwrap_or(usize::MAX);
    StreamCDC::with_level(
        Retrying(from),
        size(sizes.minimum()),
        size(sizes.average()),
        size(sizes.maximum()),
        Normalization::Level1,
    )
    .map(|chunk| Ok(chunk?.data))
}

/// Reads again where a signal came between.
struct Retrying<R>(R);

impl<R: Read> Read for Retrying<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(to) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}
