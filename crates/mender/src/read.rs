//! The reader: members in the order of the format, each once.

use std::io::{self, BufRead, BufReader, Read};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use kusabi_core::id::Digest;
use sha2::{Digest as _, Sha256};

use crate::{
    artifact::{Artifact, File, Payload},
    codec::{Compression, Decoder, wants_memory},
    error::{ArtifactError, Place, shown},
    info::{HeaderInfo, TypeInfo, meta_data},
    limits::Limits,
    manifest::{Manifest, is_file_name},
    source::{Failed, Source, read_buffered},
    tar::{Entry, Tar, TarError},
};

/// The whole of the member `version`.
const VERSION: &[u8] = br#"{"format":"mender","version":3}"#;
/// More than the member `version` has in any format.
const VERSION_BYTES_MAX: u64 = 256;
/// Base64 of a signature by an RSA key of 8,192 bits.
const SIGNATURE_BYTES_MAX: u64 = 1368;
/// How much of a payload file is in memory at a time.
const PIECE_BYTES: usize = 128 << 10;

/// Who takes the payload files while an artifact is read. Nothing of them is proven before all of it was read and its signature
/// verified: whoever keeps them forgets them when there is an error.
pub trait Sink {
    /// The next file begins: its payload, counted from 0, its name, which is a safe one, and its size in bytes.
    ///
    /// # Errors
    /// Ends the reading with [`ArtifactError::Sink`].
    fn begin(&mut self, payload: usize, name: &str, size: u64) -> io::Result<()>;

    /// The next bytes of it.
    ///
    /// # Errors
    /// Ends the reading with [`ArtifactError::Sink`].
    fn data(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// Nobody: the files are checked and forgotten.
impl Sink for () {
    fn begin(&mut self, _: usize, _: &str, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn data(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a whole artifact: [`open`] and [`Opened::read`].
///
/// # Errors
/// [`ArtifactError`]
pub fn read<R: Read>(
    input: R,
    limits: &Limits,
    sink: &mut impl Sink,
) -> Result<Artifact, ArtifactError> {
    open(input, limits)?.read(sink)
}

/// Reads an artifact as far as its signature, so that one of a stranger is refused before the rest of it comes.
///
/// # Errors
/// [`ArtifactError`]
pub fn open<R: Read>(input: R, limits: &Limits) -> Result<Opened<R>, ArtifactError> {
    let mut outer = Outer {
        tar: Tar::new(Source::new(input, limits.artifact_bytes)),
        at: Place::top(),
    };
    let opened = outer.open(limits);
    match outer.explain(opened) {
        Ok((manifest, header)) => Ok(Opened {
            outer,
            manifest,
            header,
            limits: limits.clone(),
        }),
        Err(why) => Err(why),
    }
}

/// An artifact whose manifest and signature were read, and nothing behind them.
pub struct Opened<R> {
    outer: Outer<R>,
    manifest: Manifest,
    /// The header's entry, which was met.
    header: Compression,
    limits: Limits,
}

impl<R: Read> Opened<R> {
    /// What is signed, and the signature.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Reads the rest.
    ///
    /// # Errors
    /// [`ArtifactError`]
    pub fn read(mut self, sink: &mut impl Sink) -> Result<Artifact, ArtifactError> {
        let artifact = self
            .outer
            .read(self.manifest, self.header, &self.limits, sink);
        self.outer.explain(artifact)
    }
}

impl<R> std::fmt::Debug for Opened<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened")
            .field("manifest", &self.manifest)
            .finish_non_exhaustive()
    }
}

/// The artifact's own tar, and the member that is read.
struct Outer<R> {
    tar: Tar<Source<R>>,
    at: Place,
}

impl<R: Read> Outer<R> {
    /// What is behind an error: that the input failed is more than that a decoder did.
    fn explain<T>(&mut self, result: Result<T, ArtifactError>) -> Result<T, ArtifactError> {
        result.map_err(|why| {
            let cut = self.tar.is_cut();
            let source = self.tar.input_mut();
            match source.take_failure() {
                Some(Failed::Input(error)) => ArtifactError::Read(error),
                Some(Failed::TooMany(bytes_max)) => ArtifactError::Artifact { bytes_max },
                None if cut => ArtifactError::Cut {
                    bytes: source.arrived(),
                    at: self.at.clone(),
                },
                None => why,
            }
        })
    }

    fn next(&mut self) -> Result<Option<Entry>, ArtifactError> {
        let entry = self.tar.next().map_err(|why| refuse(&Place::top(), why))?;
        self.at = match &entry {
            Some(entry) => Place::member(&entry.name),
            None => Place::top(),
        };
        Ok(entry)
    }

    /// The next member, which has this name.
    fn member(&mut self, expected: &str) -> Result<Entry, ArtifactError> {
        let entry = self.next()?;
        self.named(entry, expected)
    }

    fn named(&self, entry: Option<Entry>, expected: &str) -> Result<Entry, ArtifactError> {
        named(entry, expected, |_| self.at.clone(), &Place::top())
    }

    fn open(&mut self, limits: &Limits) -> Result<(Manifest, Compression), ArtifactError> {
        let entry = self.member("version").map_err(|why| match why {
            ArtifactError::Tar { .. }
            | ArtifactError::Trailing { .. }
            | ArtifactError::Member { .. }
            | ArtifactError::Missing { .. } => ArtifactError::NotMender,
            why => why,
        })?;
        let version = self.hold(&entry, VERSION_BYTES_MAX)?;
        check_version(&version)?;

        let entry = self.member("manifest")?;
        let manifest = self.hold(&entry, limits.manifest_bytes)?;
        let mut manifest = Manifest::read(manifest, limits)?;
        compare(
            &Place::member("version"),
            manifest.version,
            Digest::of(&version),
        )?;

        let mut entry = self.next()?;
        if let Some(found) = &entry
            && found.name == "manifest.sig"
        {
            let signature = self.hold(found, SIGNATURE_BYTES_MAX)?;
            let signature = BASE64
                .decode(signature)
                .ok()
                .filter(|signature| !signature.is_empty())
                .ok_or(ArtifactError::Signature)?;
            manifest.set_signature(signature);
            entry = self.next()?;
        }
        let (compression, _) = manifest.header;
        self.named(entry, &format!("header{}", compression.suffix()))?;
        Ok((manifest, compression))
    }

    fn read(
        &mut self,
        mut manifest: Manifest,
        compression: Compression,
        limits: &Limits,
        sink: &mut impl Sink,
    ) -> Result<Artifact, ArtifactError> {
        let whole = manifest.clone();
        let at = self.at.clone();
        let hasher = Some(Sha256::new());
        let (header, hasher) =
            self.inner(compression, limits, hasher, |inner| inner.header(limits))?;
        if let Some(hasher) = hasher {
            let (_, listed) = manifest.header;
            compare(&at, listed, Digest::new(hasher.finalize().into()))?;
        }

        let Header {
            info,
            scripts,
            types,
        } = header;
        let mut payloads = Vec::new();
        let mut payload_bytes_left = limits.payload_bytes;
        for (number, (module, (type_info, meta_data))) in
            info.payloads.into_iter().zip(types).enumerate()
        {
            let stem = format!("data/{number:04}");
            let entry = self.next()?;
            let compression = entry
                .as_ref()
                .and_then(|entry| Compression::of(&entry.name, &stem))
                .unwrap_or(compression);
            self.named(entry, &format!("{stem}{}", compression.suffix()))?;
            let mut reading = Reading {
                payload: number,
                manifest: &mut manifest,
                bytes_left: &mut payload_bytes_left,
                limits,
                sink,
            };
            // The manifest names its files, not the tar around them.
            let (files, _) = self.inner(compression, limits, None, |inner| {
                inner.payload(&mut reading)
            })?;
            payloads.push(Payload {
                module,
                provides: type_info.provides,
                depends: type_info.depends,
                clears: type_info.clears,
                meta_data,
                files,
            });
        }
        if self.next()?.is_some() {
            return Err(ArtifactError::Member {
                found: self.at.clone(),
                expected: String::from("the artifact's end"),
            });
        }
        manifest.finish()?;
        Ok(Artifact {
            bytes: self.tar.input_mut().arrived(),
            manifest: whole,
            compression,
            name: info.name,
            group: info.group,
            device_types: info.device_types,
            depends_names: info.depends_names,
            depends_groups: info.depends_groups,
            scripts,
            payloads,
        })
    }

    /// The bytes of a member that is small.
    fn hold(&mut self, entry: &Entry, bytes_max: u64) -> Result<Vec<u8>, ArtifactError> {
        hold(&mut self.tar, entry, &self.at, bytes_max)
    }

    /// Reads the current member as a tar; what `read` makes of it, and the hasher, if one was given, after the member as it is.
    fn inner<T>(
        &mut self,
        compression: Compression,
        limits: &Limits,
        hasher: Option<Sha256>,
        read: impl FnOnce(&mut Inner<'_, R>) -> Result<T, ArtifactError>,
    ) -> Result<(T, Option<Sha256>), ArtifactError> {
        let at = self.at.clone();
        let broken = |error: io::Error| compressed(&at, &error);
        let hashed = Hashed {
            input: &mut self.tar,
            hasher,
        };
        let decoder = Decoder::new(compression, hashed, limits).map_err(broken)?;
        let mut inner = Inner {
            tar: Tar::new(BufReader::with_capacity(PIECE_BYTES, decoder)),
            at: at.clone(),
        };
        let value = read(&mut inner)?;
        let mut hashed = inner.tar.into_input().into_inner().into_input();
        if !hashed.fill_buf().map_err(broken)?.is_empty() {
            return Err(ArtifactError::Trailing { at });
        }
        Ok((value, hashed.hasher))
    }
}

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
struct Inner<'a, R: Read> {
    tar: Tar<BufReader<Decoder<Hashed<'a, R>>>>,
    at: Place,
}

/// What a header holds.
struct Header {
    info: HeaderInfo,
    scripts: Vec<String>,
    types: Vec<(TypeInfo, Option<serde_json::Map<String, serde_json::Value>>)>,
}

/// What goes with the files of one payload.
struct Reading<'a, S> {
    payload: usize,
    manifest: &'a mut Manifest,
    bytes_left: &'a mut u64,
    limits: &'a Limits,
    sink: &'a mut S,
}

impl<R: Read> Inner<'_, R> {
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

    fn header(&mut self, limits: &Limits) -> Result<Header, ArtifactError> {
        let entry = self.next()?;
        let entry = self.named(entry, "header-info")?;
        let (bytes, at) = self.json(&entry, limits)?;
        let info = HeaderInfo::read(&bytes, &at, limits)?;

        let mut scripts: Vec<String> = Vec::new();
        let mut entry = self.next()?;
        while let Some(found) = entry
            .as_ref()
            .filter(|found| found.name.starts_with("scripts/"))
        {
            scripts.push(self.script(found, &scripts, limits)?);
            entry = self.next()?;
        }
        let mut types = Vec::new();
        for (number, module) in info.payloads.iter().enumerate() {
            let found = self.named(entry, &format!("headers/{number:04}/type-info"))?;
            let (bytes, at) = self.json(&found, limits)?;
            let type_info = TypeInfo::read(&bytes, module.as_deref(), &at, limits)?;
            entry = self.next()?;
            let mut meta = None;
            if let Some(found) = entry
                .as_ref()
                .filter(|found| found.name == format!("headers/{number:04}/meta-data"))
            {
                let (bytes, at) = self.json(found, limits)?;
                meta = meta_data(&bytes, &at, limits)?;
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

    fn payload(
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
            reading
                .sink
                .data(piece)
                .map_err(|error| to(&at, error))?;
            let count = piece.len();
            self.tar.consume(count);
        }
        let digest = Digest::new(hasher.finalize().into());
        compare(&at, listed, digest)?;
        Ok(File { name, size, digest })
    }
}

/// An entry that has to have a name.
fn named(
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

fn check_version(bytes: &[u8]) -> Result<(), ArtifactError> {
    if bytes == VERSION {
        return Ok(());
    }
    let document: Option<serde_json::Value> = serde_json::from_slice(bytes).ok();
    let says = |key: &str| document.as_ref().and_then(|document| document.get(key));
    match says("version").and_then(serde_json::Value::as_u64) {
        Some(version)
            if version != 3 && says("format").and_then(|format| format.as_str()) == Some("mender") =>
        {
            Err(ArtifactError::Version { version })
        }
        _ => Err(ArtifactError::NotMender),
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

fn hold<T: BufRead>(
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

fn compare(at: &Place, listed: Digest, found: Digest) -> Result<(), ArtifactError> {
    match listed == found {
        true => Ok(()),
        false => Err(ArtifactError::Checksum {
            at: at.clone(),
            listed,
            found,
        }),
    }
}

fn refuse(at: &Place, why: TarError) -> ArtifactError {
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
