//! The member `manifest`: digests of all that a signature covers.

use std::collections::BTreeMap;

use kusabi_core::id::{Digest, parse_hex};

use crate::{
    codec::Compression,
    error::{ArtifactError, ManifestFault, Place, shown},
    key::{ArtifactKey, SignatureError},
    limits::Limits,
};

/// The manifest of an artifact, with the signature over it if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    bytes: Vec<u8>,
    signature: Option<Vec<u8>>,
    /// Name of the header's member, which says how it is compressed, and its digest.
    pub(crate) header: (Compression, Digest),
    pub(crate) version: Digest,
    /// What the payload files are, by payload and name; taken out as they are met.
    pub(crate) files: BTreeMap<(usize, String), Digest>,
}

impl Manifest {
    /// The bytes that are signed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The signature, decoded; none in an unsigned artifact.
    #[must_use]
    pub fn signature(&self) -> Option<&[u8]> {
        self.signature.as_deref()
    }

    /// Whether there is a signature, whoever made it.
    #[must_use]
    pub const fn is_signed(&self) -> bool {
        self.signature.is_some()
    }

    /// Which of `keys` signed it: the position of the first one that did.
    ///
    /// # Errors
    /// [`SignatureError`]
    pub fn verify(&self, keys: &[ArtifactKey]) -> Result<usize, SignatureError> {
        let signature = self.signature().ok_or(SignatureError::Unsigned)?;
        keys.iter()
            .position(|key| key.verifies(&self.bytes, signature))
            .ok_or(SignatureError::Mismatch { keys: keys.len() })
    }

    pub(crate) fn set_signature(&mut self, signature: Vec<u8>) {
        self.signature = Some(signature);
    }

    pub(crate) fn read(bytes: Vec<u8>, limits: &Limits) -> Result<Self, ArtifactError> {
        let mut header = None;
        let mut version = None;
        let mut files = BTreeMap::new();
        let text = str::from_utf8(&bytes).map_err(|error| {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = before.iter().filter(|byte| **byte == b'\n').count();
            refuse(line, ManifestFault::Form)
        })?;
        for (at, line) in text.split_inclusive('\n').enumerate() {
            let (digest, name) = fields(line).ok_or_else(|| refuse(at, ManifestFault::Form))?;
            let twice = if name == "version" {
                version.replace(digest).is_some()
            } else if let Some(compression) = Compression::of(name, "header") {
                header.replace((compression, digest)).is_some()
            } else {
                let file = payload_file(name).ok_or_else(|| refuse(at, ManifestFault::Name))?;
                if files.len() == limits.files {
                    return Err(ArtifactError::TooMany {
                        at: Place::member("manifest"),
                        what: "payload files",
                        max: limits.files as u64,
                    });
                }
                files.insert(file, digest).is_some()
            };
            if twice {
                return Err(refuse(at, ManifestFault::Twice));
            }
        }
        let lacks = |name| ArtifactError::Unlisted {
            at: Place::member(name),
        };
        Ok(Self {
            header: header.ok_or_else(|| lacks("header.tar"))?,
            version: version.ok_or_else(|| lacks("version"))?,
            bytes,
            signature: None,
            files,
        })
    }

    /// Takes out what is said of a payload file; a second file of that name finds nothing.
    pub(crate) fn take(&mut self, payload: usize, name: &str) -> Option<Digest> {
        self.files.remove(&(payload, name.to_owned()))
    }

    /// Refuses when a file was not there.
    pub(crate) fn finish(&self) -> Result<(), ArtifactError> {
        match self.files.keys().next() {
            None => Ok(()),
            Some((payload, name)) => Err(ArtifactError::Absent {
                name: shown(format!("data/{payload:04}/{name}").as_bytes()),
            }),
        }
    }
}

const fn refuse(at: usize, fault: ManifestFault) -> ArtifactError {
    ArtifactError::Manifest {
        line: at.saturating_add(1),
        fault,
    }
}

fn fields(line: &str) -> Option<(Digest, &str)> {
    let (digest, name) = line.strip_suffix('\n')?.split_once("  ")?;
    Some((Digest::new(parse_hex(digest).ok()?), name))
}

/// `data/NNNN/NAME`
fn payload_file(name: &str) -> Option<(usize, String)> {
    let (payload, name) = name.strip_prefix("data/")?.split_once('/')?;
    let payload = four_digits(payload)?;
    is_file_name(name).then(|| (payload, name.to_owned()))
}

/// A payload's number as it stands in names.
pub(crate) fn four_digits(text: &str) -> Option<usize> {
    let digits = text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// Whether a payload file, or an update module, can have this name. It is a file name on the device.
pub(crate) fn is_file_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.,".contains(&byte))
}
