//! What an artifact is, once it was read.

use std::collections::BTreeMap;

use kusabi_core::id::Digest;
use serde_json::{Map, Value};

use crate::{
    codec::Compression,
    key::{ArtifactKey, SignatureError},
    manifest::Manifest,
};

/// An artifact that was read to its end and is as its manifest says. Who signed it is another question:
/// [`verify`](Self::verify).
#[derive(Clone, Debug, PartialEq)]
pub struct Artifact {
    pub(crate) manifest: Manifest,
    pub(crate) bytes: u64,
    pub(crate) compression: Compression,
    pub(crate) name: String,
    pub(crate) group: Option<String>,
    pub(crate) device_types: Vec<String>,
    pub(crate) depends_names: Vec<String>,
    pub(crate) depends_groups: Vec<String>,
    pub(crate) scripts: Vec<String>,
    pub(crate) payloads: Vec<Payload>,
}

/// One payload of an artifact.
#[derive(Clone, Debug, PartialEq)]
pub struct Payload {
    /// The update module that installs it; none where there is nothing to install (a bootstrap artifact).
    pub module: Option<String>,
    /// What a device has once it was installed, beside the artifact's name and group.
    pub provides: BTreeMap<String, String>,
    /// What a device must have before, beside what the artifact depends on: one of the values of each key.
    pub depends: BTreeMap<String, Vec<String>>,
    /// Keys, with `*` for any text, that a device no longer has then.
    pub clears: Vec<String>,
    /// What its maker gave the update module.
    pub meta_data: Option<Map<String, Value>>,
    /// Its files, in their order.
    pub files: Vec<File>,
}

/// A file of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name: letters, digits, `.`, `,`, `_`, `-`.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256.
    pub digest: Digest,
}

impl Artifact {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The group that a device belongs to with it.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }

    /// The device types that it is for; at least one.
    #[must_use]
    pub fn device_types(&self) -> &[String] {
        &self.device_types
    }

    /// Its payloads; at least one.
    #[must_use]
    pub fn payloads(&self) -> &[Payload] {
        &self.payloads
    }

    /// The names of its state scripts, in their order.
    #[must_use]
    pub fn scripts(&self) -> &[String] {
        &self.scripts
    }

    /// All that a device has with it, `artifact_name` among it.
    #[must_use]
    pub fn provides(&self) -> BTreeMap<&str, &str> {
        let mut provides = BTreeMap::from([("artifact_name", &*self.name)]);
        if let Some(group) = &self.group {
            provides.insert("artifact_group", group);
        }
        for payload in &self.payloads {
            provides.extend(
                payload
                    .provides
                    .iter()
                    .map(|(key, value)| (&**key, &**value)),
            );
        }
        provides
    }

    /// All that a device must have for it, `device_type` among it: one of the values of each key.
    #[must_use]
    pub fn depends(&self) -> BTreeMap<&str, &[String]> {
        let mut depends = BTreeMap::from([("device_type", &*self.device_types)]);
        for (key, values) in [
            ("artifact_name", &self.depends_names),
            ("artifact_group", &self.depends_groups),
        ] {
            if !values.is_empty() {
                depends.insert(key, values);
            }
        }
        for payload in &self.payloads {
            depends.extend(
                payload
                    .depends
                    .iter()
                    .map(|(key, values)| (&**key, &**values)),
            );
        }
        depends
    }

    /// What its signature is over, and the signature.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its size in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How its header is compressed; the tools compress the payloads alike.
    #[must_use]
    pub const fn compression(&self) -> Compression {
        self.compression
    }

    /// Whether there is a signature, whoever made it.
    #[must_use]
    pub const fn is_signed(&self) -> bool {
        self.manifest.is_signed()
    }

    /// Says which of `keys` signed it.
    ///
    /// # Errors
    /// [`SignatureError`]
    pub fn verify(self, keys: &[ArtifactKey]) -> Result<VerifiedArtifact, SignatureError> {
        let key = self.manifest.verify(keys)?;
        Ok(VerifiedArtifact {
            artifact: self,
            key,
        })
    }
}

/// An artifact that one of the keys that count has signed.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifiedArtifact {
    artifact: Artifact,
    key: usize,
}

impl VerifiedArtifact {
    /// The artifact.
    #[must_use]
    pub const fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    /// The position, among the keys that were asked for, of the one that signed it.
    #[must_use]
    pub const fn key(&self) -> usize {
        self.key
    }

    /// The artifact, without the word that it is verified.
    #[must_use]
    pub fn into_artifact(self) -> Artifact {
        self.artifact
    }
}
