//! Compressed streams, with bounds on the memory that they may ask for.

use std::io::{self, BufRead, Read};

use crate::limits::Limits;

/// How a member of an artifact is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// `.tar`
    None,
    /// `.tar.gz` (RFC 1952)
    Gzip,
    /// `.tar.xz`
    Xz,
    /// `.tar.zst` (RFC 8878)
    Zstd,
}

impl Compression {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::None, Self::Gzip, Self::Xz, Self::Zstd];

    /// What a member's name ends in.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::None => ".tar",
            Self::Gzip => ".tar.gz",
            Self::Xz => ".tar.xz",
            Self::Zstd => ".tar.zst",
        }
    }

    /// The compression of the member that is called `stem` and one of the suffixes.
    pub(crate) fn of(name: &str, stem: &str) -> Option<Self> {
        let suffix = name.strip_prefix(stem)?;
        Self::ALL.into_iter().find(|one| one.suffix() == suffix)
    }
}

/// One stream, decompressed. Its end is the end of the stream: what follows it stays in the input.
pub(crate) enum Decoder<B: BufRead> {
    None(B),
    Gzip(flate2::bufread::GzDecoder<B>),
    Xz(liblzma::bufread::XzDecoder<B>),
    Zstd(zstd::Decoder<'static, B>),
}

impl<B: BufRead> Decoder<B> {
    pub(crate) fn new(compression: Compression, input: B, limits: &Limits) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::None(input),
            Compression::Gzip => Self::Gzip(flate2::bufread::GzDecoder::new(input)),
            Compression::Xz => {
                let stream = liblzma::stream::Stream::new_stream_decoder(
                    limits.xz_memory_bytes,
                    liblzma::stream::TELL_UNSUPPORTED_CHECK,
                )?;
                Self::Xz(liblzma::bufread::XzDecoder::new_stream(input, stream))
            }
            Compression::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(input)?.single_frame();
                decoder.window_log_max(limits.zstd_window_log)?;
                Self::Zstd(decoder)
            }
        })
    }

    pub(crate) fn into_input(self) -> B {
        match self {
            Self::None(input) => input,
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Xz(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.finish(),
        }
    }
}

impl<B: BufRead> Read for Decoder<B> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::None(input) => input.read(to),
            Self::Gzip(decoder) => decoder.read(to),
            Self::Xz(decoder) => decoder.read(to),
            Self::Zstd(decoder) => decoder.read(to),
        }
    }
}

/// Whether a decoder stopped because of the memory that its stream asks for.
pub(crate) fn wants_memory(error: &io::Error) -> bool {
    let inner = error.get_ref();
    let xz = inner
        .and_then(|inner| inner.downcast_ref::<liblzma::stream::Error>())
        .is_some_and(|error| matches!(error, liblzma::stream::Error::MemLimit));
    // The binding of zstd passes on the library's words only.
    xz || error.to_string() == "Frame requires too much memory for decoding"
}
