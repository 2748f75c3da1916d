//! The reader: members in the order of the format, each once.

use std::io::{self, Read};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use kusabi_core::id::Digest;
use sha2::{Digest as _, Sha256};

use crate::{
    artifact::{Artifact, Payload},
    codec::Compression,
    error::{ArtifactError, Place},
    inner::{Header, Inner, Reading, compare, hold, named, refuse},
    limits::Limits,
    manifest::Manifest,
    source::{Failed, Source},
    tar::{Entry, Tar},
};

/// The whole of the member `version`.
const VERSION: &[u8] = br#"{"format":"mender","version":3}"#;
/// More than the member `version` has in any format.
const VERSION_BYTES_MAX: u64 = 256;
/// Base64 of a signature by an RSA key of 8,192 bits.
const SIGNATURE_BYTES_MAX: u64 = 1368;

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
        let mut inner = Inner::open(&mut self.tar, self.at.clone(), compression, limits, hasher)?;
        let value = read(&mut inner)?;
        Ok((value, inner.close()?))
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
            if version != 3
                && says("format").and_then(|format| format.as_str()) == Some("mender") =>
        {
            Err(ArtifactError::Version { version })
        }
        _ => Err(ArtifactError::NotMender),
    }
}
