//! Mender artifacts (`.mender`, format v3), read strictly while they stream in; and the keys that stock Mender devices ask with
//! ([`DeviceKey`]).
//!
//! [`open`] reads as far as the signature, [`Opened::read`] the rest; [`read`] does both. What comes out is an [`Artifact`]: all
//! that its manifest stands for, compared with the manifest. Nobody has said yet that it is good: [`Artifact::verify`] says which
//! of the keys that count signed it, and only that makes a [`VerifiedArtifact`].
//!
//! ```text
//! version  manifest  [manifest.sig]  header.tar[.gz|.xz|.zst]  data/0000.tar[…]  data/0001.tar[…] …
//! ```
//! The signature is over the manifest's bytes, and the manifest names SHA-256 of `version`, of the header as it is in the artifact,
//! and of each payload file as it is once decompressed. Everything around them is signed by nobody: times and owners in the tars,
//! how payloads are compressed. Nothing of that comes out.
//!
//! **What it guarantees.** Whatever comes in, memory stays within what [`Limits`] say: files of a payload are never held, and no
//! compressed stream makes more bytes than are wanted of it. An artifact that is taken has one reading: what stands twice, out of
//! order, behind the end, or in a spelling that others may read otherwise is refused.
//!
//! **What it does not.** It neither opens payload files nor knows update modules. It takes what the tools make, which is less than
//! the tools take: no augmented sections (they are signed by nobody), no format 1 and 2, no tar but ustar with the pax records that
//! an owner's large number or a large file needs.
#![forbid(unsafe_code)]

mod artifact;
mod codec;
mod device_key;
mod error;
mod info;
mod inner;
mod json;
mod key;
mod limits;
mod manifest;
mod read;
mod rsa;
mod source;
mod tar;
#[cfg(feature = "testing")]
pub mod testing;

pub use artifact::{Artifact, File, Payload, VerifiedArtifact};
pub use codec::Compression;
pub use device_key::DeviceKey;
pub use error::{ArtifactError, InfoFault, ManifestFault, Place, TarFault};
pub use key::{ArtifactKey, KeyError, SignatureError};
pub use limits::Limits;
pub use manifest::Manifest;
pub use read::{Opened, Sink, open, read};
