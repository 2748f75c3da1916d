//! The tars in an artifact: the header's, and those of the payloads.

use std::io::{self, BufRead, BufReader, Read};

use kusabi_core::id::Digest;
use sha2::{Digest as _, Sha256};

use crate::{
    artifact::File,
    codec::{Compression, Decoder, wants_memory},
    error::{ArtifactError, Place, shown},
    info::{HeaderInfo, TypeInfo, meta_data},
    json::Budget,
    limits::Limits,
    manifest::{Manifest, is_file_name},
    read::Sink,
    source::{Source, read_buffered},
    tar::{Entry, Tar, TarError},
};

/// How much of a payload file is in memory at a time.
const PIECE_BYTES: usize = 128 << 10;

/// A member's bytes, digested as they are used where that is asked for.
struct Hashed<'a, R> {
    input: &'a mut Tar<Source<R>>,
    hasher: Option<Sha256>,
}

impl<R: Read> BufRead for Hashed<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        // It was filled before, so it is there without reading.
        if let Some(hasher) = &mut self.hasher
            && let Ok(buffer) = self.input.fill_buf()
        {
            hasher.update(buffer.get(..amount).unwrap_or(buffer));
        }
        self.input.consume(amount);
    }
}

impl<R: Read> Read for Hashed<'_, R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, to)
    }
}

/// The tar in a member.
pub(crate) struct Inner<'a, R: Read> {
    tar: Tar<BufReader<Decoder<Hashed<'a, R>>>>,
    at: Place,
}

/// What a header holds.
pub(crate) struct Header {
    pub(crate) info: HeaderInfo,
    pub(crate) scripts: Vec<String>,
    pub(crate) types: Vec<(TypeInfo, Option<serde_json::Map<String, serde_json::Value>>)>,
}

/// What goes with the files of one payload.
pub(crate) struct Reading<'a, S> {
    pub(crate) payload: usize,
    pub(crate) manifest: &'a mut Manifest,
    pub(crate) bytes_left: &'a mut u64,
    pub(crate) limits: &'a Limits,
    pub(crate) sink: &'a mut S,
}

impl<'a, R: Read> Inner<'a, R> {
    /// Begins with the member at which `outer` is.
    pub(crate) fn open(
        outer: &'a mut Tar<Source<R>>,
        at: Place,
        compression: Compression,
        limits: &Limits,
        hasher: Option<Sha256>,
    ) -> Result<Self, ArtifactError> {
        let hashed = Hashed {
            input: outer,
            hasher,
        };
        match Decoder::new(compression, hashed, limits) {
            Ok(decoder) => Ok(Self {
                tar: Tar::new(BufReader::with_capacity(PIECE_BYTES, decoder)),
                at,
            }),
            Err(error) => Err(compressed(&at, &error)),
        }
    }

    /// Ends where the member does; the hasher, if one was given.
    pub(crate) fn close(self) -> Result<Option<Sha256>, ArtifactError> {
        let mut hashed = self.tar.into_input().into_inner().into_input();
        match hashed.fill_buf() {
            Ok([]) => Ok(hashed.hasher),
            Ok(_) => Err(ArtifactError::Trailing { at: self.at }),
            Err(error) => Err(compressed(&self.at, &error)),
        }
    }

    fn next(&mut self) -> Result<Option<Entry>, ArtifactError> {
        self.tar.next().map_err(|why| refuse(&self.at, why))
    }

    fn named(&self, entry: Option<Entry>, expected: &str) -> Result<Entry, ArtifactError> {
        named(entry, expected, |name| self.at.file(name), &self.at)
    }

    fn json(&mut self, entry: &Entry, limits: &Limits) -> Result<(Vec<u8>, Place), ArtifactError> {
        let at = self.at.file(&entry.name);
        Ok((hold(&mut self.tar, entry, &at, limits.json_bytes)?, at))
    }

    pub(crate) fn header(&mut self, limits: &Limits) -> Result<Header, ArtifactError> {
        let entry = self.next()?;
        let entry = self.named(entry, "header-info")?;
        let (bytes, at) = self.json(&entry, limits)?;
        let mut budget = Budget::new(limits.json_values);
        let info = HeaderInfo::read(&bytes, &at, limits, &mut budget)?;

        let mut scripts: Vec<String> = Vec::new();
        let mut entry = self.next()?;
        while let Some(found) = entry
            .as_ref()
            .filter(|found| found.name.starts_with("scripts/"))
        {
            scripts.push(self.script(found, &scripts, limits)?);
            entry = self.next()?;
        }
        let mut types: Vec<(TypeInfo, _)> = Vec::new();
        for (number, module) in info.payloads.iter().enumerate() {
            let found = self.named(entry, &format!("headers/{number:04}/type-info"))?;
            let (bytes, at) = self.json(&found, limits)?;
            let type_info = TypeInfo::read(&bytes, module.as_deref(), &at, limits, &mut budget)?;
            for (earlier, _) in &types {
                type_info.differs(earlier, &at)?;
            }
            entry = self.next()?;
            let mut meta = None;
            if let Some(found) = entry
                .as_ref()
                .filter(|found| found.name == format!("headers/{number:04}/meta-data"))
            {
                let (bytes, at) = self.json(found, limits)?;
                meta = meta_data(&bytes, &at, limits, &mut budget)?;
                entry = self.next()?;
            }
            types.push((type_info, meta));
        }
        match entry {
            None => Ok(Header {
                info,
                scripts,
                types,
            }),
            Some(entry) => Err(ArtifactError::Member {
                found: self.at.file(&entry.name),
                expected: format!("the end of {}", self.at),
            }),
        }
    }

    fn script(
        &mut self,
        entry: &Entry,
        earlier: &[String],
        limits: &Limits,
    ) -> Result<String, ArtifactError> {
        let at = self.at.file(&entry.name);
        let name = entry.name.strip_prefix("scripts/").unwrap_or_default();
        if !is_script(name) || name.len() > limits.text_bytes {
            return Err(ArtifactError::Script { at });
        }
        if earlier.iter().any(|earlier| earlier == name) {
            return Err(ArtifactError::Member {
                found: at,
                expected: String::from("a script that is not there yet"),
            });
        }
        if earlier.len() == limits.scripts {
            return Err(ArtifactError::TooMany {
                at: self.at.clone(),
                what: "state scripts",
                max: limits.scripts as u64,
            });
        }
        bounded(&at, entry.size, limits.script_bytes)?;
        io::copy(&mut self.tar, &mut io::sink()).map_err(|error| compressed(&self.at, &error))?;
        Ok(name.to_owned())
    }

    pub(crate) fn payload(
        &mut self,
        reading: &mut Reading<'_, impl Sink>,
    ) -> Result<Vec<File>, ArtifactError> {
        let mut files = Vec::new();
        while let Some(entry) = self.next()? {
            files.push(self.payload_file(entry, reading)?);
        }
        Ok(files)
    }

    fn payload_file(
        &mut self,
        entry: Entry,
        reading: &mut Reading<'_, impl Sink>,
    ) -> Result<File, ArtifactError> {
        let Entry { name, size } = entry;
        let at = self.at.file(&name);
        if !is_file_name(&name) || name.len() > reading.limits.text_bytes {
            return Err(ArtifactError::FileName { at });
        }
        let Some(listed) = reading.manifest.take(reading.payload, &name) else {
            return Err(ArtifactError::Unlisted { at });
        };
        bounded(&at, size, reading.limits.file_bytes)?;
        *reading.bytes_left =
            reading
                .bytes_left
                .checked_sub(size)
                .ok_or_else(|| ArtifactError::TooMany {
                    at: at.clone(),
                    what: "bytes of all payloads together",
                    max: reading.limits.payload_bytes,
                })?;

        let to = |at: &Place, source| ArtifactError::Sink {
            at: at.clone(),
            source,
        };
        reading
            .sink
            .begin(reading.payload, &name, size)
            .map_err(|error| to(&at, error))?;
        let mut hasher = Sha256::new();
        loop {
            let piece = self
                .tar
                .fill_buf()
                .map_err(|error| compressed(&self.at, &error))?;
            if piece.is_empty() {
                break;
            }
            hasher.update(piece);
            reading.sink.data(piece).map_err(|error| to(&at, error))?;
            let count = piece.len();
            self.tar.consume(count);
        }
        let digest = Digest::new(hasher.finalize().into());
        compare(&at, listed, digest)?;
        Ok(File { name, size, digest })
    }
}

/// An entry that has to have a name.
pub(crate) fn named(
    entry: Option<Entry>,
    expected: &str,
    place: impl Fn(&str) -> Place,
    tar: &Place,
) -> Result<Entry, ArtifactError> {
    match entry {
        Some(entry) if entry.name == expected => Ok(entry),
        Some(entry)
            if entry.name == "manifest-augment" || entry.name.starts_with("header-augment") =>
        {
            Err(ArtifactError::Augmented {
                member: shown(entry.name.as_bytes()),
            })
        }
        Some(entry) => Err(ArtifactError::Member {
            found: place(&entry.name),
            expected: expected.to_owned(),
        }),
        None => Err(ArtifactError::Missing {
            at: tar.clone(),
            expected: expected.to_owned(),
        }),
    }
}

/// `STATE_ACTION_NN[_WHAT]`
fn is_script(name: &str) -> bool {
    const STATES: [&str; 6] = [
        "ArtifactInstall",
        "ArtifactReboot",
        "ArtifactCommit",
        "ArtifactRollback",
        "ArtifactRollbackReboot",
        "ArtifactFailure",
    ];
    let mut parts = name.splitn(4, '_');
    let (state, action, number) = (parts.next(), parts.next(), parts.next());
    let rest = parts.next();
    state.is_some_and(|state| STATES.contains(&state))
        && matches!(action, Some("Enter" | "Leave" | "Error"))
        && number.is_some_and(|number| {
            number.len() == 2 && number.bytes().all(|byte| byte.is_ascii_digit())
        })
        && rest.is_none_or(|rest| {
            !rest.is_empty()
                && rest
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && byte != b'/')
        })
}

fn bounded(at: &Place, size: u64, max: u64) -> Result<(), ArtifactError> {
    match size > max {
        true => Err(ArtifactError::TooMany {
            at: at.clone(),
            what: "bytes",
            max,
        }),
        false => Ok(()),
    }
}

pub(crate) fn hold<T: BufRead>(
    tar: &mut Tar<T>,
    entry: &Entry,
    at: &Place,
    bytes_max: u64,
) -> Result<Vec<u8>, ArtifactError> {
    bounded(at, entry.size, bytes_max)?;
    let mut bytes = Vec::new();
    tar.read_to_end(&mut bytes)
        .map_err(|error| compressed(at, &error))?;
    Ok(bytes)
}

pub(crate) fn compare(at: &Place, listed: Digest, found: Digest) -> Result<(), ArtifactError> {
    match listed == found {
        true => Ok(()),
        false => Err(ArtifactError::Checksum {
            at: at.clone(),
            listed,
            found,
        }),
    }
}

pub(crate) fn refuse(at: &Place, why: TarError) -> ArtifactError {
    match why {
        TarError::Io(error) => compressed(at, &error),
        TarError::Fault(fault) => ArtifactError::Tar {
            at: at.clone(),
            fault,
        },
        TarError::Trailing => ArtifactError::Trailing { at: at.clone() },
    }
}

fn compressed(at: &Place, error: &io::Error) -> ArtifactError {
    match wants_memory(error) {
        true => ArtifactError::Window { at: at.clone() },
        false => ArtifactError::Compressed {
            at: at.clone(),
            why: shown(error.to_string().as_bytes()),
        },
    }
}
